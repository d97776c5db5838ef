"""What an owner asks of the trash, by the command line, on real trees."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from archiverd.cli import run_command_line
from archiverd.policy.model import Place, State, Trashed, Tree
from archiverd.policy.outcome import Result
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_schema import FILE_NAME
from archiverd.storage.file_manager import FileManager, Modes
from tests.e2e.invariants import assert_no_traces
from tests.e2e.rig import Rig, Upload, results, sha256_of
from tests.e2e.serving import becomes, serving
from tests.program import ARCHIVERD, environment
from tests.screen import until

DAY_S = 86_400.0


def ask(rig: Rig, verb: str, *arguments: str | Path) -> int:
    """`archiverd trash VERB` in this process; its exit code."""
    where = ("--directory", str(rig.camera)) if verb == "restore" else (str(rig.camera),)
    config = ("--config", str(rig.config_file))
    return run_command_line(["trash", verb, *where, *config, *map(str, arguments)])


def sound(rig: Rig) -> bool:
    """Whether `check` finds nothing that somebody should look at."""
    return run_command_line(["check", "--quick", "--config", str(rig.config_file), str(rig.camera)]) == 0


def listed(rig: Rig, capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert ask(rig, "list", "--json", *options) == 0
    told = json.loads(capsys.readouterr().out)
    files: list[dict[str, Any]] = told["files"]
    assert told["total"] == {"files": len(files), "bytes": sum(file["bytes"] for file in files)}
    return files


def paths(files: list[dict[str, Any]]) -> list[str]:
    return [file["path"] for file in files]


def history(rig: Rig, upload: Upload) -> list[str]:
    with Catalog.to_read(rig.state / FILE_NAME) as catalog:
        return [event.reason for event in catalog.history(rig.row(upload))]


def keep_of(path: Path) -> Path:
    return path.with_suffix(".keep")


Archived = tuple[Rig, Upload, Upload]  # two clips of two cameras that are archived, the first with a snapshot


def archive_two(rig: Rig) -> Archived:
    first, second = rig.upload("a", snapshots=1), rig.upload("b", rig.path(7, "back"))
    rig.run_inside()
    return rig, first, second


@pytest.fixture(scope="session")
def archived_once(tmp_path_factory: pytest.TempPathFactory) -> Archived:
    return archive_two(Rig(tmp_path_factory.mktemp("trash")))


@pytest.fixture
def archived(rig: Rig, archived_once: Archived) -> Archived:
    """A copy of it: all are other files, of the same content and time."""
    once, first, second = archived_once
    shutil.rmtree(rig.camera)
    shutil.copytree(once.camera, rig.camera, symlinks=True)
    return rig, first, second


# -- list ---------------------------------------------------------------------------------------------------


def test_list_tells_where_from_since_when_and_why(archived: Archived, capsys: pytest.CaptureFixture[str]) -> None:
    rig, first, second = archived
    files = listed(rig, capsys)
    snapshot = first.path.with_name(f"{first.path.stem[:-2]}00.jpg")
    assert sorted(paths(files)) == sorted(map(str, (first.path, snapshot, second.path)))
    (told,) = [file for file in files if file["path"] == str(second.path)]
    assert told | {"trashed_at": 0, "bytes": 0} == {
        "path": str(second.path), "camera": "back", "bytes": 0, "trashed_at": 0, "from": "source",
        "origin": str(second.path), "reason": "source moved to the trash", "protected": False,
    }  # fmt: skip
    assert abs(told["trashed_at"] - time.time()) < DAY_S
    assert paths(listed(rig, capsys, "--camera", "ba*")) == [str(second.path)]
    assert listed(rig, capsys, "--from", "archive") == []
    assert listed(rig, capsys, "--since", "2199-01-01") == []
    assert ask(rig, "list") == 0
    table = capsys.readouterr().out
    assert "source moved to the trash" in table
    assert table.splitlines()[-1].startswith("3 files, ")


def test_list_tells_what_the_catalog_does_not_know_by_its_place(
    archived: Archived, capsys: pytest.CaptureFixture[str]
) -> None:
    rig, first, second = archived
    (rig.trash / second.path).unlink()
    strangers = [rig.trash / above / rig.path(30, "yard") for above in ("", "archived")]
    for stranger in strangers:
        stranger.parent.mkdir(parents=True, exist_ok=True)
        stranger.write_bytes(b"of unknown origin")
    keep_of(strangers[1]).touch()
    files = {file["path"]: file for file in listed(rig, capsys)}
    assert str(second.path) not in files
    unknown = [files[str(PurePosixPath(above, rig.path(30, "yard")))] for above in ("", "archived")]
    assert [(one["from"], one["origin"], one["reason"], one["protected"]) for one in unknown] == [
        ("source", str(rig.path(30, "yard")), "not in the catalog", False),
        ("archive", str(rig.path(30, "yard")), "not in the catalog", True),
    ]
    assert str(first.path) in files


def test_trash_of_an_archive_that_was_made_anew_is_listed_as_such(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    upload = rig.upload("a")
    rig.keep(upload)
    rig.run_inside()
    rig.run_inside(no_skip=True)
    (file,) = listed(rig, capsys, "--from", "archive")
    assert (file["path"], file["origin"]) == (f"archived/{upload.path}", str(upload.path))


# -- restore ------------------------------------------------------------------------------------------------


def test_source_comes_back_with_its_snapshots_and_is_kept(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    _, first, _ = archive_two(rig)
    source = rig.camera / first.path
    snapshot = source.with_name(f"{source.stem[:-2]}00.jpg")
    assert ask(rig, "restore", str(first.path)) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{first.path}: restored to the source tree, protected",
        f"{first.path.with_name(snapshot.name)}: restored to the source tree",
    ]
    assert sha256_of(source) == first.sha256
    assert snapshot.is_file()
    assert keep_of(source).is_file()
    assert not (rig.trash / first.path).exists()
    assert rig.row(first).disposed_to is None
    assert "taken back from the trash as" in "".join(history(rig, first))
    assert str(first.path) not in paths(listed(rig, capsys))
    assert sound(rig)

    rig.run_inside()
    assert source.is_file(), "a run leaves it"
    assert snapshot.is_file()
    keep_of(source).unlink()
    rig.run_inside()
    assert not source.exists()
    assert (rig.trash / first.path).is_file()
    assert_no_traces(rig)


def test_snapshot_brings_its_clip(archived: Archived, capsys: pytest.CaptureFixture[str]) -> None:
    rig, first, _ = archived
    snapshot = first.path.with_name(f"{first.path.stem[:-2]}00.jpg")
    assert ask(rig, "restore", rig.trash / snapshot, rig.trash / first.path) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert (rig.camera / first.path).is_file()
    assert (rig.camera / snapshot).is_file()


def test_snapshot_whose_clip_is_gone_for_good_does_not_come_back_to_be_trashed_again(
    archived: Archived, capsys: pytest.CaptureFixture[str]
) -> None:
    rig, first, _ = archived
    snapshot = first.path.with_name(f"{first.path.stem[:-2]}00.jpg")
    (rig.trash / first.path).unlink()
    assert ask(rig, "restore", str(snapshot)) == 1
    assert "its recording does not stand" in capsys.readouterr().out
    assert (rig.trash / snapshot).is_file()


def test_taken_name_is_left_alone_and_the_next_is_given(archived: Archived, capsys: pytest.CaptureFixture[str]) -> None:
    rig, _, second = archived
    other = rig.upload("c", second.path)
    assert ask(rig, "restore", str(second.path)) == 0
    back = (rig.camera / second.path).with_name(f"{second.path.stem}~2.mp4")
    assert (
        capsys.readouterr().out
        == f"{second.path}: restored to the source tree as {back.relative_to(rig.camera)}, protected\n"
    )
    assert sha256_of(rig.camera / second.path) == other.sha256
    assert sha256_of(back) == second.sha256
    assert not keep_of(rig.camera / second.path).exists()
    assert results(rig.run_inside()) == [Result.TRANSCODED, Result.ADOPTED]
    assert sha256_of(back) == second.sha256


def give_up(rig: Rig, upload: Upload) -> None:
    """Move a quarantined clip to the trash, as the owner's rules do after a while."""
    now = time.time()
    with Catalog(rig.state / FILE_NAME) as catalog:
        row = rig.row(upload)
        roots = {Tree.SOURCE: rig.camera, Tree.ARCHIVE: rig.archive, Tree.TRASH: rig.trash}
        aside = FileManager(roots, catalog.id, Modes()).set_aside(Tree.SOURCE, row.path, "j1")
        (rig.trash / row.path).parent.mkdir(parents=True, exist_ok=True)
        (rig.camera / aside).rename(rig.trash / row.path)
        origin = Place(Tree.SOURCE, row.path)
        one = Trashed(row.path, row.fingerprint, row.name.camera, origin, "quarantined for 30 days", now, row.id)
        catalog.trash_quarantined(row, one, now)


def test_quarantined_clip_that_comes_back_is_looked_at_again(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    upload = rig.upload("a")
    source = rig.camera / upload.path
    os.truncate(source, 1000)
    os.utime(source, (1_700_000_000, 1_700_000_000))
    assert results(rig.run_inside()) == [Result.QUARANTINED]
    give_up(rig, upload)
    assert rig.row(upload).state is State.GONE
    (file,) = listed(rig, capsys)
    assert file["reason"] == "quarantined for 30 days"

    assert ask(rig, "restore", str(upload.path)) == 0

    assert source.stat().st_size == 1000
    assert keep_of(source).is_file()
    assert results(rig.run_inside()) == [Result.QUARANTINED]
    assert source.is_file()


def test_archive_that_was_removed_is_the_archive_again(archived: Archived, capsys: pytest.CaptureFixture[str]) -> None:
    rig, first, _ = archived
    archive = rig.archive / first.path
    sha256 = sha256_of(archive)
    place = PurePosixPath("archived", first.path)
    now = time.time()
    with Catalog(rig.state / FILE_NAME) as catalog:
        row = rig.row(first)
        assert catalog.claim_removal([(row.id, "older than 90 days")], "j1") == {row.id}
        (rig.trash / place).parent.mkdir(parents=True)
        archive.rename(rig.trash / place)
        assert row.receipt is not None
        origin = Place(Tree.ARCHIVE, first.path)
        one = Trashed(place, row.receipt.archive, row.name.camera, origin, "older than 90 days", now, row.id)
        catalog.removed([(row.id, one)], "j1", now)
    assert rig.row(first).state is State.REMOVED

    assert ask(rig, "restore", str(place)) == 0

    assert capsys.readouterr().out == f"{place}: restored to the archive tree, protected\n"
    assert sha256_of(archive) == sha256
    assert keep_of(archive).is_file()
    assert (rig.row(first).state, rig.row(first).archive) == (State.DONE, first.path)
    assert sound(rig)
    assert rig.run_inside().plan.work == ()


def test_path_as_it_is_seen_from_here_finds_the_input_above_it(
    archived: Archived, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rig, _, second = archived
    monkeypatch.chdir((rig.trash / second.path).parent)
    elsewhere = rig.config_file.with_name("elsewhere.toml")
    elsewhere.write_text(f'directory = "{rig.base / "nothing"}"\n')
    assert run_command_line(["trash", "restore", "--config", str(elsewhere), second.path.name]) == 0
    assert capsys.readouterr().out == f"{second.path}: restored to the source tree, protected\n"
    assert (rig.camera / second.path).is_file()


def test_file_of_unknown_origin_goes_where_its_place_tells(rig: Rig) -> None:
    rig.run_inside()
    stranger = rig.trash / "archived" / rig.path(30, "yard")
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"of unknown origin")
    assert ask(rig, "restore", stranger) == 0
    assert (rig.archive / rig.path(30, "yard")).read_bytes() == b"of unknown origin"
    assert keep_of(rig.archive / rig.path(30, "yard")).is_file()


def test_refusals_are_told_in_words_and_the_others_go_on(
    archived: Archived, capsys: pytest.CaptureFixture[str]
) -> None:
    rig, first, _ = archived
    (rig.trash / "notes.txt").write_text("of somebody else")
    assert ask(rig, "restore", "notes.txt", str(rig.path(50)), str(first.path)) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == ["notes.txt: no recording lies there", f"{rig.path(50)}: no recording lies there"]
    assert (rig.camera / first.path).is_file()


@pytest.mark.parametrize("path", ["/elsewhere/a.mp4", "../a.mp4", "."])
def test_path_outside_the_trash_is_a_wrong_call(
    archived: Archived, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    assert ask(archived[0], "restore", path) == 2
    assert "does not lie in the trash" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["list", "empty", "restore"])
def test_trash_without_its_marker_is_not_touched(
    archived: Archived, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    rig, first, _ = archived
    (rig.trash / ".archiverd-root").unlink()
    arguments = {"list": (), "empty": ("--no-confirm",), "restore": (str(first.path),)}[verb]
    assert ask(rig, verb, *arguments) == 69
    told = capsys.readouterr()
    assert (told.out, "has no marker" in told.err) == ("", True)
    assert (rig.trash / first.path).is_file()


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory that is on another file system than the tests' own."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="archiverd-test-") as name:
        yield Path(name)


def test_source_comes_back_from_a_trash_on_another_disk(rig: Rig, elsewhere: Path) -> None:
    rig.trash = elsewhere / "trash"
    rig.config_file.write_text(rig.config_file.read_text() + f'trash_root = "{rig.trash}"\n')
    upload = rig.upload("a", snapshots=1)
    rig.run_inside()
    assert ask(rig, "restore", str(upload.path)) == 0
    assert sha256_of(rig.camera / upload.path) == upload.sha256
    assert results(rig.run_inside()) == [Result.ADOPTED]  # a copy is another file
    assert (rig.camera / upload.path).is_file()
    assert_no_traces(rig)


def test_daemon_leaves_what_is_restored_beside_it(rig: Rig) -> None:
    upload = rig.upload("a", snapshots=1)
    with serving(rig) as daemon:
        becomes(rig, upload, State.DONE)
        assert ask(rig, "restore", str(upload.path)) == 0
        after = rig.upload("b", rig.path(7))  # what comes later is done with when that one was seen
        becomes(rig, after, State.DONE)
        assert sha256_of(rig.camera / upload.path) == upload.sha256
        assert all((rig.camera / path).is_file() for path in rig.snapshots)

        keep_of(rig.camera / upload.path).unlink()
        daemon.signal(signal.SIGUSR1)
        until((rig.trash / upload.path).exists, 60)
        assert ask(rig, "empty", "--no-confirm") == 0
        assert not list(rig.trash.rglob("*.mp4"))
        assert daemon.stop() == 0
    assert_no_traces(rig)


# -- empty --------------------------------------------------------------------------------------------------


def test_empty_deletes_for_good_and_the_catalog_says_so(archived: Archived, capsys: pytest.CaptureFixture[str]) -> None:
    rig, first, second = archived
    keep_of(rig.trash / second.path).touch()
    (rig.trash / "notes.txt").write_text("of somebody else")
    assert ask(rig, "empty", "--no-confirm") == 0
    told = capsys.readouterr().out
    assert "To be deleted for good: 2 files" in told
    assert "Protected, and stays: 1 files" in told
    assert "Deleted for good: 2 files" in told
    left = sorted(path.name for path in rig.trash.rglob("*") if path.is_file())
    assert left == sorted((".archiverd-root", "notes.txt", second.path.name, keep_of(Path(second.path)).name))
    assert rig.row(first).disposed_to is None
    assert any("its source in the trash was removed: the trash was emptied" in line for line in history(rig, first))
    assert rig.row(first).state is State.DONE
    assert sound(rig)
    assert ask(rig, "restore", str(first.path)) == 1


def test_empty_takes_what_is_old_enough_and_of_the_camera(
    archived: Archived, capsys: pytest.CaptureFixture[str]
) -> None:
    rig, first, second = archived
    assert ask(rig, "empty", "--no-confirm", "--older-than", "1 day") == 0
    assert capsys.readouterr() == ("Nothing in the trash is to go.\n", "")
    assert ask(rig, "empty", "--no-confirm", "--older-than", "1 day", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"files": 0, "freed": 0, "refused": []}
    assert ask(rig, "empty", "--no-confirm", "--camera", "ba*", "--older-than", "0 s") == 0
    assert (rig.trash / first.path).is_file()
    assert not (rig.trash / second.path).exists()


def test_dry_run_of_empty_changes_nothing(archived: Archived, capsys: pytest.CaptureFixture[str]) -> None:
    rig, first, _ = archived
    assert ask(rig, "empty", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Nothing was changed (--dry-run)."
    assert (rig.trash / first.path).is_file()


def test_empty_asks_and_needs_a_terminal_for_that(archived: Archived) -> None:
    rig, first, _ = archived
    command = (*ARCHIVERD, "trash", "empty", rig.camera, "--config", rig.config_file)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment(), check=False)
    assert (done.returncode, b"--no-confirm" in done.stderr) == (2, True)
    assert (rig.trash / first.path).is_file()


@pytest.mark.parametrize("age", ["30", "old", "-1 day"])
def test_age_without_a_unit_is_a_wrong_call(archived: Archived, capsys: pytest.CaptureFixture[str], age: str) -> None:
    rig, first, _ = archived
    assert ask(rig, "empty", "--no-confirm", "--older-than", age) == 2
    assert "is not a duration" in capsys.readouterr().err
    assert (rig.trash / first.path).is_file()
