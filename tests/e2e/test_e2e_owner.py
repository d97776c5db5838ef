"""What an owner asks of single recordings, by the command line, on real trees."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from archiverd.cli import run_command_line
from archiverd.errors import StartupError
from archiverd.policy.model import State
from archiverd.policy.outcome import Result
from archiverd.storage.catalog_schema import FILE_NAME
from tests.e2e.invariants import assert_all_archived
from tests.e2e.rig import Rig, at, results


def ask(rig: Rig, verb: str, *arguments: str | Path) -> int:
    options = ("--config", str(rig.config_file), "--directory", str(rig.camera))
    return run_command_line([verb, *options, *map(str, arguments)])


def damage(path: Path) -> None:
    os.truncate(path, 1000)
    os.utime(path, (1_700_000_000, 1_700_000_000))


def test_protected_recording_is_archived_and_stays_until_it_is_let_go(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    upload = rig.upload("a")
    source = rig.camera / upload.path
    assert ask(rig, "protect", source) == 0
    assert ask(rig, "protect", source) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{upload.path}: protected",
        f"{upload.path}: was protected already",
    ]
    rig.run_inside()
    assert source.is_file()
    assert rig.row(upload).not_before > time.time() + 80_000

    assert ask(rig, "unprotect", source) == 0
    assert rig.row(upload).not_before <= time.time()
    assert ask(rig, "unprotect", source) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{upload.path}: protected no more",
        f"{upload.path}: was not protected",
    ]
    rig.run_inside()
    assert_all_archived(rig)


def test_recording_is_let_go_without_a_catalog_to_tell(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    upload = rig.upload("a")
    source = rig.camera / upload.path
    assert ask(rig, "protect", source) == 0
    assert ask(rig, "unprotect", source) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{upload.path}: protected no more"
    assert not (rig.state / FILE_NAME).exists()


@pytest.mark.parametrize("deleting", [False, True])
@pytest.mark.parametrize("step", ["publish:after", "set_aside:before", "set_aside:after"])
def test_protection_that_comes_at_the_last_moment_keeps_the_source(rig: Rig, step: str, deleting: bool) -> None:
    upload = rig.upload("a")
    keep = (rig.camera / upload.path).with_suffix(".keep")

    rig.run_inside(at(step, keep.touch), delete=deleting)

    assert (rig.camera / upload.path).is_file()
    assert rig.row(upload).state is State.ARCHIVED
    keep.unlink()
    rig.run_inside(delete=deleting)
    assert_all_archived(rig, deleting=deleting)


def test_archive_can_be_protected_in_its_own_tree(rig: Rig) -> None:
    upload = rig.upload("a")
    rig.run_inside()
    archive = rig.archive / upload.path
    assert ask(rig, "protect", archive) == 0
    assert archive.with_suffix(".keep").is_file()


@pytest.mark.parametrize("verb", ["protect", "unprotect"])
def test_file_that_is_no_recording_is_refused(rig: Rig, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    notes = (rig.camera / rig.path()).with_name("notes.txt")
    assert ask(rig, verb, notes) == 1
    assert capsys.readouterr().out.endswith("notes.txt: is not a recording\n")
    assert not notes.with_suffix(".keep").exists()


def test_recording_that_is_not_there_can_not_be_protected(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(rig, "protect", rig.camera / rig.path()) == 1
    assert "can't be protected: No such file or directory" in capsys.readouterr().out
    assert not list(rig.camera.rglob("*.keep"))


def test_protection_never_follows_a_symlink_out_of_the_tree(rig: Rig) -> None:
    outside = rig.base / "outside" / "01" / "01"
    inside = rig.camera / "2020" / "01" / "01" / "REO_front_20200101100000.mp4"
    assert inside.is_file(), "the rig puts a symlink there"
    assert ask(rig, "protect", inside) == 1
    assert not list(outside.glob("*.keep"))


def test_quarantined_recording_is_tried_again_when_asked(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    upload = rig.upload("a")
    rig.fake_ffmpeg("if transcoding: sys.exit(1)")
    for _ in range(3):
        rig.run_inside()
    assert rig.row(upload).state is State.QUARANTINED
    rig.fake_ffmpeg()

    assert rig.run_inside().plan.work == ()
    assert ask(rig, "retry", rig.camera / upload.path) == 0
    assert capsys.readouterr().out == f"{upload.path}: is tried again by the next run\n"
    assert rig.row(upload).attempts == 0
    assert results(rig.run_inside()) == [Result.TRANSCODED]
    assert_all_archived(rig)


def test_retry_of_all_takes_every_quarantined_one(rig: Rig) -> None:
    uploads = [rig.upload(name, rig.path(minute)) for minute, name in enumerate("ab")]
    for upload in uploads:
        damage(rig.camera / upload.path)
    assert results(rig.run_inside()) == [Result.QUARANTINED] * 2
    assert ask(rig, "retry", "--all") == 0
    assert [rig.row(upload).state for upload in uploads] == [State.WAITING] * 2
    assert results(rig.run_inside()) == [Result.QUARANTINED] * 2


def test_retry_of_all_says_where_there_is_nothing_to_try(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.run_inside()
    capsys.readouterr()
    assert ask(rig, "retry", "--all") == 0
    assert capsys.readouterr().out == "Nothing is quarantined.\n"
    assert ask(rig, "retry", "--all", "--json") == 0
    assert capsys.readouterr().out == "[]\n"


def test_retry_of_what_is_done_is_refused(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    upload = rig.upload("a")
    rig.run_inside()
    assert ask(rig, "retry", rig.camera / upload.path) == 1
    assert "neither waits nor is quarantined" in capsys.readouterr().out
    assert rig.row(upload).state is State.DONE


@pytest.mark.parametrize("arguments", [(), ("--all", "/camera/x.mp4")], ids=["neither", "both"])
def test_retry_wants_recordings_or_all(rig: Rig, arguments: tuple[str, ...]) -> None:
    assert ask(rig, "retry", *arguments) == 2


# ---- another user


@pytest.mark.parametrize("arguments", [("status",), ("check",), ("run", "--dry-run")], ids=lambda words: words[0])
def test_user_who_may_not_read_the_catalog_is_told_to_be_another(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as base:
        Path(base).chmod(0o755)
        camera, state = Path(base, "camera"), Path(base, "state")
        camera.mkdir()
        state.mkdir()
        (state / "catalog.sqlite").touch()
        state.chmod(0)
        verb, *options = arguments
        user = os.geteuid()
        try:
            os.seteuid(user or 65534)
            code = run_command_line([verb, str(camera), "--state-dir", str(state), *options])
        finally:
            os.seteuid(user)
            state.chmod(0o700)
    assert code == StartupError.exit_code
    assert capsys.readouterr().err.splitlines() == [
        f"archiverd: {state}/catalog.sqlite: Permission denied",
        "  Run it as the user archiverd runs as, with sudo for instance.",
    ]
