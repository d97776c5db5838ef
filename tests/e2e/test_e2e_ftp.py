"""Three cameras upload to a real FTP server while the daemon runs: what came whole is archived once, and nothing else.

Every way an upload goes is among them; see `uploading.Way`.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from archiverd.errors import ArchiverError
from archiverd.policy.model import Receipt, State
from tests.e2e.ftp_server import servers, serving
from tests.e2e.invariants import assert_no_traces, assert_nothing_lost, children
from tests.e2e.rig import Rig, sha256_of
from tests.e2e.uploading import Cameras, Gate, Way
from tests.screen import until
from tools import readiness

CAMERAS = ("front", "Garden Gate_01", "yard")
CLIPS = {"pyftpdlib": 30, "vsftpd": 10}  # of each camera
AT_A_TIME = 4  # uploads of one camera
QUARANTINE_AFTER_S = 8
IDLE_TICKS = 5  # of a hundred
CONFIG = f"""
settle = "3 seconds"
settle_closed = "0.5 seconds"
quarantine_after = "{QUARANTINE_AFTER_S} seconds"
codec = "h264"
preset = "ultrafast"
hardware = "software"
nice = 0
idle_io = false
"""


@dataclass
class Archives:
    """Every archive that was seen so far, by its path, with the SHA-256 it had at first sight."""

    rig: Rig
    seen: dict[Path, str] = field(default_factory=dict)

    def look(self) -> bool:
        """Note what is new; always true."""
        for path in self.rig.archive.rglob("[!.]*.mp4"):
            if path not in self.seen:
                self.seen[path] = sha256_of(path)
        return True

    def assert_standing(self) -> None:
        assert {path: sha256_of(path) for path in self.seen} == self.seen


@pytest.mark.parametrize("server", servers())
def test_each_whole_upload_is_archived_once_and_no_other(
    server: str, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.config_file.write_text(CONFIG)
    archives = Archives(rig)
    with serving(server, rig.camera, rig.base) as port, running_daemon(rig, monkeypatch) as daemon:
        cameras = Cameras(rig, port, Gate(rig))
        for uploads in uploading(cameras, rig, CLIPS[server]):
            archives.look()
            for upload in uploads:
                upload.result()
        until(lambda: archives.look() and all_settled(rig, cameras), within_s=120)
        until(lambda: cpu_ticks(daemon.pid, 1.0) <= IDLE_TICKS)
        assert [line for line in children(rig) if "ffmpeg" in line or "ffprobe" in line] == []
        daemon.terminate()
        assert daemon.wait(30) == 0
    assert_uploads_archived(rig, cameras, archives)


@contextlib.contextmanager
def running_daemon(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """The daemon on the rig's trees, when it has said that it is ready."""
    with readiness.heard() as ready:
        monkeypatch.setenv("NOTIFY_SOCKET", ready.address)
        with rig.started_verb("daemon") as daemon:
            ready.wait(60)
            yield daemon


def uploading(cameras: Cameras, rig: Rig, clips: int) -> Iterator[set[Future[None]]]:
    """Let every camera upload so many clips; yields those that came to their end meanwhile, now and then none."""
    ways = list(itertools.islice(itertools.cycle(Way), clips))
    with ThreadPoolExecutor(AT_A_TIME * len(CAMERAS), "camera") as pool:
        left = {
            pool.submit(cameras.upload, way, rig.path(minute, camera))
            for minute, way in enumerate(ways)
            for camera in CAMERAS
        }
        while left:
            done, left = wait(left, timeout=0.1)
            yield done


def all_settled(rig: Rig, cameras: Cameras) -> bool:
    """Whether everything that came whole is archived and gone, and what came in part is set aside."""
    standing = {path for path in (rig.camera / rig.path()).parent.glob("REO_*.mp4") if not path.is_symlink()}
    if standing != {rig.camera / path for path in cameras.partial}:
        return False
    try:
        rows = rig.rows()
    except ArchiverError:  # a commit is going on
        return False
    return {row.path for row in rows if row.state is State.QUARANTINED} == cameras.partial.keys()


def assert_uploads_archived(rig: Rig, cameras: Cameras, archives: Archives) -> None:
    assert_no_traces(rig)
    archives.assert_standing()
    archived = assert_nothing_lost(rig, overwritten=cameras.overwritten)
    whole = {upload.sha256 for upload in rig.uploads} - cameras.overwritten
    assert archived.keys() == whole
    for path, sha256 in cameras.partial.items():
        assert sha256_of(rig.camera / path) == sha256
    receipts = {row.receipt.source_sha256: row.receipt for row in rig.rows() if row.receipt is not None}
    early = {upload.path for upload in cameras.cut if quiet_s(receipts[upload.sha256]) < QUARANTINE_AFTER_S}
    assert early == set()


def quiet_s(receipt: Receipt) -> float:
    """How long a source had been quiet when its job began."""
    return receipt.claimed_at - receipt.source.mtime_ns / 1e9


def cpu_ticks(pid: int, over_s: float) -> int:
    """What a process and its children used of a processor for a while, in ticks."""
    before, until_s = _ticks(pid), time.monotonic() + over_s
    until(lambda: time.monotonic() >= until_s)
    return _ticks(pid) - before


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
