"""A disk that is nearly full: what fits goes on, past the trash, and what does not waits until there is room."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from archiverd.cli import run_command_line
from archiverd.live import find_daemon
from archiverd.policy.model import State
from archiverd.policy.outcome import Result
from tests.e2e.invariants import assert_all_archived, assert_no_traces, contents
from tests.e2e.rig import Rig, can_mount, results, sha256_of
from tests.e2e.serving import SOON, becomes, serving
from tests.screen import until

_SIZE = 4 * 2**20
_RESERVE = _SIZE // 50
_FLOORED = 'min_free = "2GB"\n'  # of which a small disk is to have a tenth


@contextlib.contextmanager
def small_disk(rig: Rig) -> Iterator[Path]:
    """All of a rig's trees, and its catalog, on a file system of 4 MiB; the file that is returned is to fill it."""
    bystanders = {path: path.read_bytes() for path in rig.bystanders if path.is_relative_to(rig.camera)}
    subprocess.run(("mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(rig.camera)), check=True)
    try:
        for path, data in bystanders.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        yield rig.camera / "filler"
    finally:
        subprocess.run(("umount", "--lazy", str(rig.camera)), check=True)


def free(path: Path) -> int:
    room = os.statvfs(path)
    return room.f_bavail * room.f_frsize


def fill(filler: Path, *, but_for: int) -> None:
    """Have only so many bytes left on the disk."""
    filler.write_bytes(bytes(free(filler.parent) - but_for))


def asked(rig: Rig, verb: str, *paths: Path) -> int:
    return run_command_line([verb, *map(str, paths), "--config", str(rig.config_file), "--directory", str(rig.camera)])


def paused(rig: Rig) -> str:
    """Why the daemon of a rig does nothing, as `status` tells it."""
    live = find_daemon(rig.state).live
    return "" if live is None else live.paused


if can_mount():

    def test_clips_go_on_one_by_one_while_one_archive_fits_and_their_sources_past_the_trash(
        rig: Rig, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        rig.config_file.write_text(rig.config_file.read_text().replace('min_free = "none"\n', _FLOORED))
        with small_disk(rig) as filler:
            known = [rig.upload(name, rig.path(minute)) for minute, name in enumerate("abcde")]
            assert rig.run_inside().exit_code == 0
            assert contents(rig, rig.trash).keys() == {upload.sha256 for upload in known}
            late = [rig.upload(name, rig.path(10 + minute), snapshots=1) for minute, name in enumerate("fghij")]
            source = min((rig.camera / upload.path).stat().st_size for upload in late)
            fill(filler, but_for=_RESERVE + source * 3 // 4)

            assert results(rig.run_inside()) == [Result.TRANSCODED] * 5

            assert contents(rig, rig.trash).keys() == {upload.sha256 for upload in known}
            assert not contents(rig, rig.camera)
            assert {row.state for row in rig.rows()} == {State.DONE}
            assert asked(rig, "why", rig.camera / late[0].path) == 0
            assert "source deleted: no room in the trash" in capsys.readouterr().out
            told = [record for record in caplog.records if "no room in the trash" in record.getMessage()]
            assert [record.levelname for record in told] == ["WARNING"] * 5
            assert_no_traces(rig)

            filler.unlink()
            last = rig.upload("k", rig.path(20))
            rig.run_inside()
            assert last.sha256 in contents(rig, rig.trash), "there is room again"

    def test_what_does_not_fit_waits_and_is_told_until_room_is_made(rig: Rig) -> None:
        with small_disk(rig) as filler, ExitStack() as stack:
            rig.run_inside()  # makes the catalog
            uploads = [rig.upload(name, rig.path(minute)) for minute, name in enumerate("abc")]
            fill(filler, but_for=_RESERVE + 4096)
            daemon = stack.enter_context(serving(rig, settings=SOON))
            until(lambda: "are free for it" in paused(rig), 30)
            assert {(row.state, row.attempts) for row in rig.rows()} == {(State.WAITING, 0)}
            assert {sha256_of(rig.camera / upload.path) for upload in uploads} == {one.sha256 for one in uploads}

            filler.unlink()
            assert asked(rig, "retry", *(rig.camera / upload.path for upload in uploads)) == 0
            for upload in uploads:
                becomes(rig, upload, State.DONE)
            daemon.says("the work goes on")
            assert daemon.stop() == 0
            assert_all_archived(rig)
