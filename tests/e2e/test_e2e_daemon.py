"""The daemon as a whole, as its service manager starts it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiverd.policy.model import State
from tests.e2e.invariants import assert_all_archived
from tests.e2e.rig import Rig, can_mount, content
from tests.e2e.serving import SOON, becomes, begun, serving
from tests.program import archiverd
from tests.screen import until

HOLD = """
if transcoding and first_time():
    open({reached!r}, "w").close()
    while not os.path.exists({go!r}):
        time.sleep(0.01)
"""


BROKEN = """
if os.path.exists({broken!r}):
    print("ffmpeg: error while loading shared libraries: libavcodec.so.59", file=sys.stderr)
    sys.exit(127)
"""


def hold_first_transcode(rig: Rig) -> tuple[str, str]:
    """Have the first transcode wait; returns what stands once it has begun, and what lets it go on."""
    reached, go = str(rig.base / "reached"), str(rig.base / "go")
    rig.fake_ffmpeg(HOLD.format(reached=reached, go=go))
    return reached, go


def asked(rig: Rig, verb: str, *arguments: str) -> int:
    return archiverd(verb, *arguments, "--directory", str(rig.camera), config=rig.config_file).code


def test_closed_clip_is_archived_and_let_go_of_with_its_snapshot(rig: Rig) -> None:
    _, go = hold_first_transcode(rig)
    with serving(rig) as daemon:
        upload = rig.upload("a", snapshots=1)
        until(lambda: any(message.startswith("STATUS=transcoding front") for message in daemon.messages))
        open(go, "w").close()
        becomes(rig, upload, State.DONE)

        assert daemon.stop() == 0
    assert daemon.messages.index("READY=1") < daemon.messages.index("STOPPING=1")
    assert_all_archived(rig)
    assert not list(rig.camera.glob("20*/*/*/*.jpg"))


def test_what_stood_there_before_the_start_is_archived(rig: Rig) -> None:
    upload = rig.upload("a")

    with serving(rig):
        becomes(rig, upload, State.DONE)


def test_stop_within_a_transcode_leaves_nothing_and_counts_nothing(rig: Rig) -> None:
    reached, _ = hold_first_transcode(rig)
    upload = rig.upload("a")
    with serving(rig) as daemon:
        until(lambda: os.path.exists(reached), 60)

        assert daemon.stop() == 0
    row = rig.row(upload)
    assert (row.state, row.attempts, row.crashes) == (State.WAITING, 0, 0)
    assert not list(rig.camera.rglob("*.part"))
    assert not subprocess.run(["pgrep", "-f", reached], capture_output=True).stdout
    assert not (rig.state / "daemon.json").exists()


def test_killed_daemon_loses_nothing(rig: Rig) -> None:
    reached, go = hold_first_transcode(rig)
    upload = rig.upload("a")
    with serving(rig) as daemon:
        until(lambda: os.path.exists(reached), 60)
        daemon.signal(signal.SIGKILL)
        daemon.process.wait(10)
    open(go, "w").close()

    with serving(rig):
        becomes(rig, upload, State.DONE)
    assert_all_archived(rig)


def test_clip_with_which_the_daemon_died_twice_lets_those_go_first_that_came_meanwhile(rig: Rig) -> None:
    held = rig.upload("a")
    reached = rig.base / "reached"
    rig.fake_ffmpeg(f"""
        if transcoding and any({held.path.name!r} in word for word in arguments):
            open({str(reached)!r}, "w").close()
            time.sleep(60)
        """)
    for _ in range(2):
        with serving(rig) as daemon:
            until(reached.exists, 60)
            daemon.signal(signal.SIGKILL)
            daemon.process.wait(10)
        reached.unlink()
    other = rig.upload("b", rig.path(1))

    with serving(rig):
        becomes(rig, other, State.DONE)

        assert not reached.exists()
        assert (rig.row(held).state, rig.row(held).crashes) == (State.WAITING, 2)


# -- reload -----------------------------------------------------------------------------------------------------------


def test_reload_takes_effect_without_a_restart(rig: Rig) -> None:
    with serving(rig) as daemon:
        more = 'codec = "h264"\nlog_level = "debug"\n[[retention]]\nage = "900 days"\n'
        rig.config_file.write_text(rig.config_file.read_text() + more)
        daemon.signal(signal.SIGHUP)
        daemon.tells("READY=1", times=2)
        upload = rig.upload("a")
        becomes(rig, upload, State.DONE)

        receipt = rig.row(upload).receipt
        assert receipt is not None
        assert "x264" in receipt.encoder
        daemon.says('codec: "hevc" -> "h264"')
        daemon.says('retention: [] -> [{tree = "archive", cameras = ["*"], age = "900 days"}]')
    reloading = next(message for message in daemon.messages if message.startswith("RELOADING=1\nMONOTONIC_USEC="))
    assert daemon.messages.index(reloading) < len(daemon.messages) - daemon.messages[::-1].index("READY=1")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('codec = "mpeg2"\n', "codec: must be hevc or h264"),
        ("log_file = {other!r}\n", "needs a restart"),
        ('on_problem = ["no-such-program"]\n', "no-such-program was not found; nobody would be told"),
    ],
    ids=["invalid", "another root", "a program that is not there"],
)
def test_reload_that_can_not_be_leaves_the_old_configuration_whole(rig: Rig, line: str, words: str) -> None:
    with serving(rig) as daemon:
        text = rig.config_file.read_text()
        rig.config_file.write_text(text.replace('"ultrafast"', '"superfast"') + line.format(other=str(rig.base / "x")))
        daemon.signal(signal.SIGHUP)
        daemon.tells("READY=1", times=2)
        daemon.says(words)
        upload = rig.upload("a")
        becomes(rig, upload, State.DONE)

        assert daemon.process.poll() is None
        daemon.says("the new configuration is refused, and the old one holds")


def test_reload_within_the_start_does_not_tell_that_it_is_over(rig: Rig) -> None:
    reached, go = str(rig.base / "reached"), str(rig.base / "go")
    rig.fake_ffmpeg(HOLD.format(reached=reached, go=go).replace("transcoding", '"archiverd=probe" in arguments'))
    with begun(rig) as daemon:
        until(lambda: os.path.exists(reached), 60)
        daemon.signal(signal.SIGHUP)
        daemon.says("reloaded: nothing has changed")
        assert not [message for message in daemon.messages if message.startswith(("READY", "RELOADING"))]

        open(go, "w").close()
        daemon.tells("READY=1")


# -- being asked ------------------------------------------------------------------------------------------------------


def test_retry_is_noticed(rig: Rig) -> None:
    with serving(rig, settings=SOON + 'quarantine_after = "0.5 s"\n') as daemon:
        upload = rig.upload_bytes(content("a").read_bytes()[:-100], rig.path())
        becomes(rig, upload, State.QUARANTINED)
        tried = daemon.log.count("quarantined")

        assert asked(rig, "retry", str(rig.camera / upload.path)) == 0
        until(lambda: daemon.log.count("quarantined") > tried)


def test_unprotected_clip_is_let_go_of(rig: Rig) -> None:
    upload = rig.upload("a")
    rig.keep(upload)
    with serving(rig):
        becomes(rig, upload, State.ARCHIVED)

        assert asked(rig, "unprotect", str(rig.camera / upload.path)) == 0
        becomes(rig, upload, State.DONE)


def test_second_archiverd_is_refused(rig: Rig) -> None:
    with serving(rig):
        assert rig.run() == 75
        with begun(rig, settings="") as second:
            assert second.process.wait(60) == 75


def test_input_that_is_not_there_ends_the_first_start(rig: Rig) -> None:
    shutil.rmtree(rig.camera)

    with begun(rig) as daemon:
        assert daemon.process.wait(60) == 69
    assert "the input directory is not there" in daemon.log


# -- uploads that are not what they were ------------------------------------------------------------------------------


def test_clip_that_is_replaced_during_its_transcode_is_archived_as_what_it_became(rig: Rig) -> None:
    reached, go = hold_first_transcode(rig)
    with serving(rig):
        first = rig.upload("a")
        until(lambda: os.path.exists(reached), 60)
        second = rig.overwrite("b", first.path)
        open(go, "w").close()
        becomes(rig, second, State.DONE)

        receipt = rig.row(second).receipt
        assert receipt is not None
        assert receipt.source_sha256 == second.sha256
        until(lambda: not [row for row in rig.rows() if row.state in (State.WAITING, State.ACTIVE)])
    assert len(list(rig.archive.rglob("*.mp4"))) == 1


def test_clip_that_is_taken_away_is_gone(rig: Rig) -> None:
    with serving(rig, settings='settle = "1 min"\nsettle_closed = "1 min"\n') as daemon:
        data = content("a").read_bytes()
        path = rig.camera / rig.path()
        path.write_bytes(data)
        until(lambda: len(rig.rows()) == 1)
        path.unlink()
        daemon.signal(signal.SIGUSR1)
        until(lambda: rig.rows()[0].state is State.GONE)


# -- faults of the machine --------------------------------------------------------------------------------------------


def test_ffmpeg_that_does_not_start_pauses_the_work_and_counts_against_nothing(rig: Rig) -> None:
    broken = str(rig.base / "broken")
    rig.fake_ffmpeg(BROKEN.format(broken=broken))
    with serving(rig) as daemon:
        open(broken, "w").close()
        upload = rig.upload("a")
        daemon.says("the work pauses")
        assert rig.row(upload).attempts == 0
        os.unlink(broken)
        becomes(rig, upload, State.DONE)
        daemon.says("the work goes on")


def test_source_root_that_is_made_anew_is_watched(rig: Rig) -> None:
    outside = ("--output", str(rig.base / "archive"), "--trash-root", str(rig.base / "trash"))
    with serving(rig, *outside, "--state-dir", str(rig.base / "state")) as daemon:
        shutil.rmtree(rig.camera)
        rig.camera.mkdir()
        daemon.says("ready", within_s=60)
        upload = rig.upload("a")
        until(lambda: bool(list((rig.base / "archive").rglob(upload.path.name))), 60)


@contextlib.contextmanager
def mounted(rig: Rig) -> Iterator[Path]:
    """The camera's tree on a disk of its own, which stands elsewhere too; unmounted at the end."""
    disk = rig.base / "disk"
    disk.mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)), check=True)
    try:
        subprocess.run(("mount", "--bind", str(disk), str(rig.camera)), check=True)
        yield disk
    finally:
        subprocess.run(("umount", "--lazy", str(rig.camera)), check=False, capture_output=True)
        subprocess.run(("umount", "--lazy", str(disk)), check=True)


if can_mount():

    def test_disk_that_is_unmounted_is_waited_for_and_nothing_begun_in_its_place(rig: Rig) -> None:
        shutil.rmtree(rig.camera)
        rig.camera.mkdir()
        with mounted(rig) as disk, serving(rig) as daemon:
            subprocess.run(("umount", "--lazy", str(rig.camera)), check=True)
            daemon.says("is on another file system than it was")
            assert not list(rig.camera.iterdir())

            subprocess.run(("mount", "--bind", str(disk), str(rig.camera)), check=True)
            upload = rig.upload("a")
            becomes(rig, upload, State.DONE)
            assert daemon.stop() == 0
