"""Catalogs that are lost when the rules had moved archives to the trash: known again, and had back."""

from __future__ import annotations

import json
import os
import shutil
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

import pytest

from archiverd.cli import run_command_line
from archiverd.policy.model import State, Trashed
from archiverd.policy.naming import RETIRED
from archiverd.policy.outcome import Result
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_schema import FILE_NAME
from tests.e2e.invariants import Places, contents
from tests.e2e.rig import START, UNPRIVILEGED, Rig, Upload, results

IN_TRASH = "an archive that lay in the trash when the catalog was made anew"
KNOWN_AGAIN = "its archive lay in the trash when the catalog was made anew"


def call(rig: Rig, verb: str, *options: str) -> int:
    return run_command_line([verb, *rig.options, "--quiet", *options])


def in_trash(rig: Rig, verb: str, *arguments: str) -> int:
    where = ["--directory", str(rig.camera)] if verb == "restore" else [str(rig.camera)]
    return run_command_line(["trash", verb, *where, "--config", str(rig.config_file), *arguments])


def troubles(rig: Rig, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[tuple[str, str]]]:
    """What `check` says that somebody should look at, and its exit code."""
    capsys.readouterr()
    code = call(rig, "check", "--json", *options)
    findings = json.loads(capsys.readouterr().out)["findings"]
    return code, [(one["path"], one["what"]) for one in findings if one["severity"] != "note"]


def clean_up(rig: Rig) -> int:
    """Have all archives go to the trash: what is trashed today is too young to leave it."""
    return call(rig, "cleanup", "--no-confirm", "--clean-output", "--confirm-held", "--age", "1")


def old(rig: Rig, name: str = "a", minute: int = 0, *, snapshots: int = 0) -> Upload:
    """An upload that was written when its name says, two days ago."""
    upload = rig.upload(name, rig.path(minute), snapshots=snapshots)
    written = (START + timedelta(minutes=minute)).timestamp()
    for file in (rig.camera / upload.path).parent.glob(f"{upload.path.stem[:-2]}*"):
        os.utime(file, (written, written))
    return upload


def retired(upload: Upload) -> PurePosixPath:
    return RETIRED / upload.path


def listed(rig: Rig, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert in_trash(rig, "list", "--json") == 0
    return {file["path"]: file for file in json.loads(capsys.readouterr().out)["files"]}


def lying_at(rig: Rig, lies: PurePosixPath) -> Trashed:
    with Catalog.to_read(rig.state / FILE_NAME) as catalog:
        known = catalog.trash_at(lies)
    assert known is not None
    return known


def owner_of(rig: Rig, lies: PurePosixPath) -> int | None:
    return lying_at(rig, lies).recording


def trees(rig: Rig) -> list[Places]:
    return [contents(rig, root) for root in (rig.archive, rig.trash, rig.camera)]


@pytest.fixture
def cleaned(rig: Rig) -> tuple[Rig, Upload, Upload]:
    """Two recordings whose archives the rules moved to the trash, the first with its snapshot beside."""
    rig.archive_snapshots()
    first, second = old(rig, snapshots=1), old(rig, "b", 10)
    assert call(rig, "run", "--no-confirm") == 0
    assert clean_up(rig) == 0
    assert [(rig.trash / retired(one)).is_file() for one in (first, second)] == [True, True]
    return rig, first, second


def test_archives_in_the_trash_are_known_again_and_can_be_had_back(
    cleaned: tuple[Rig, Upload, Upload], capsys: pytest.CaptureFixture[str]
) -> None:
    rig, first, second = cleaned
    before = trees(rig)
    reasons = {path: file["origin"] for path, file in listed(rig, capsys).items()}
    rig.forget()

    assert troubles(rig, capsys)[0] == 1  # there is no catalog
    assert call(rig, "check", "--repair") == 0
    assert trees(rig) == before
    assert troubles(rig, capsys) == (0, [])
    assert call(rig, "run", "--no-confirm") == 0
    assert troubles(rig, capsys, "--full") == (0, [])
    assert trees(rig) == before

    for upload in (first, second):
        row = rig.row(upload)
        assert (row.state, row.reason) == (State.REMOVED, KNOWN_AGAIN)
        assert (row.archive, row.disposed_to) == (upload.path, upload.path)
        assert owner_of(rig, retired(upload)) == row.id
        for lies in (upload.path, retired(upload)):  # since it was renamed
            assert lying_at(rig, lies).trashed_at == (rig.trash / lies).stat().st_ctime
    files = listed(rig, capsys)
    assert {path: file["origin"] for path, file in files.items()} == reasons
    assert files[str(retired(first))]["from"] == "archive"

    assert in_trash(rig, "restore", str(retired(first))) == 0
    assert rig.row(first).state is State.DONE
    assert [snapshot.disposed_to.tree for snapshot in rig.row(first).snapshots if snapshot.disposed_to] == ["archive"]
    assert troubles(rig, capsys, "--full") == (0, [])
    assert call(rig, "run", "--no-confirm") == 0
    assert clean_up(rig) == 0  # it is protected
    assert (rig.archive / first.path).is_file()
    assert troubles(rig, capsys) == (0, [])


def test_run_that_makes_the_catalog_anew_says_so_and_takes_nothing_back(
    cleaned: tuple[Rig, Upload, Upload], capsys: pytest.CaptureFixture[str]
) -> None:
    rig, *_ = cleaned
    before = trees(rig)
    rig.forget()

    assert run_command_line(["run", "--no-confirm", *rig.options]) == 0

    assert "archives in the trash known again: 2" in capsys.readouterr().out
    assert trees(rig) == before
    assert troubles(rig, capsys) == (0, [])
    assert call(rig, "check", "--repair") == 0
    assert trees(rig) == before


def test_archive_in_the_trash_whose_source_was_deleted_is_had_back_too(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    upload = old(rig)
    assert call(rig, "run", "--no-confirm", "--delete") == 0
    assert clean_up(rig) == 0
    rig.forget()
    assert call(rig, "run", "--no-confirm") == 0
    assert rig.row(upload).disposed_to is None

    assert in_trash(rig, "restore", str(retired(upload))) == 0

    assert rig.row(upload).state is State.DONE
    assert troubles(rig, capsys) == (0, [])


def test_archive_in_the_trash_that_is_not_whole_is_only_listed(
    cleaned: tuple[Rig, Upload, Upload], capsys: pytest.CaptureFixture[str]
) -> None:
    rig, first, second = cleaned
    os.truncate(rig.trash / retired(second), 1000)
    rig.forget()

    assert call(rig, "run", "--no-confirm") == 0

    assert owner_of(rig, retired(second)) is None
    assert listed(rig, capsys)[str(retired(second))]["reason"] == IN_TRASH
    assert f"{retired(second)}: in the trash, is not whole" in (rig.camera / "archiver.log").read_text()
    alone = (str(second.path), "lies in the trash, and no archive of it is known")
    assert troubles(rig, capsys) == (1, [alone])
    assert call(rig, "check", "--repair") == 0  # its source is archived again
    assert call(rig, "run", "--no-confirm") == 0
    assert [rig.row(one).state for one in (first, second)] == [State.REMOVED, State.DONE]
    assert troubles(rig, capsys) == (0, [])


@pytest.mark.parametrize("closed", ["an archive in the trash", "a directory of archives"])
def test_nothing_is_concluded_from_the_trash_where_not_all_could_be_read(
    cleaned: tuple[Rig, Upload, Upload], capsys: pytest.CaptureFixture[str], closed: str
) -> None:
    rig, first, second = cleaned
    path = rig.trash / retired(first)
    if closed != "an archive in the trash":
        path = rig.archive / second.path.parent  # an archive may stand there
        path.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o777
    rig.forget()
    path.chmod(0o000)
    try:
        rig.run(wrapper=UNPRIVILEGED)
        assert rig.rows() == []
    finally:
        path.chmod(mode)

    assert rig.run(wrapper=UNPRIVILEGED) == 0

    assert [(row.state, row.disposed_to) for row in rig.rows()] == [
        (State.REMOVED, first.path),
        (State.REMOVED, second.path),
    ]
    assert troubles(rig, capsys) == (0, [])


def test_clip_that_somebody_put_among_the_archives_of_the_trash_is_entered_as_lying_there(
    cleaned: tuple[Rig, Upload, Upload], capsys: pytest.CaptureFixture[str]
) -> None:
    rig, first, _ = cleaned
    other = RETIRED / rig.path(20)
    shutil.copy(rig.trash / first.path, rig.trash / other)
    assert troubles(rig, capsys) == (1, [(str(other), "no recording knows it")])

    assert call(rig, "check", "--repair") == 0

    assert troubles(rig, capsys) == (0, [])
    assert owner_of(rig, other) is None


def test_archive_that_was_made_anew_is_of_the_recording_whose_archive_stands(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    upload = old(rig)
    keep = rig.keep(upload)
    assert call(rig, "run", "--no-confirm") == 0
    assert call(rig, "run", "--no-confirm", "--no-skip") == 0
    keep.unlink()
    assert call(rig, "run", "--no-confirm") == 0
    assert (rig.trash / retired(upload)).is_file()
    rig.forget()

    assert call(rig, "run", "--no-confirm") == 0

    (row,) = rig.rows()
    again = upload.path.with_stem(f"{upload.path.stem}~2")
    assert (row.state, row.archive, row.disposed_to) == (State.DONE, again, upload.path)
    assert owner_of(rig, retired(upload)) == row.id
    assert troubles(rig, capsys) == (0, [])


def test_each_of_several_archives_of_one_source_can_be_had_back(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    upload = old(rig)
    keep = rig.keep(upload)
    assert call(rig, "run", "--no-confirm") == 0
    assert call(rig, "run", "--no-confirm", "--no-skip") == 0
    keep.unlink()
    assert call(rig, "run", "--no-confirm") == 0
    assert clean_up(rig) == 0
    rig.forget()
    assert call(rig, "run", "--no-confirm") == 0
    further = retired(upload).with_stem(f"{upload.path.stem}~2")
    assert [(row.state, row.disposed_to) for row in rig.rows()] == [
        (State.REMOVED, upload.path),
        (State.REMOVED, None),
    ]

    for lies in (retired(upload), further):
        assert in_trash(rig, "restore", str(lies)) == 0
        assert troubles(rig, capsys) == (0, [])

    assert [row.state for row in rig.rows()] == [State.DONE, State.DONE]


def test_source_that_stands_is_archived_though_its_archive_lies_in_the_trash(
    cleaned: tuple[Rig, Upload, Upload], capsys: pytest.CaptureFixture[str]
) -> None:
    rig, first, second = cleaned
    assert in_trash(rig, "restore", str(second.path)) == 0
    rig.forget()

    assert results(rig.run_inside()) == [Result.TRANSCODED]

    assert [rig.row(one).state for one in (first, second)] == [State.REMOVED, State.ARCHIVED]
    assert troubles(rig, capsys) == (0, [])


def test_original_bytes_in_the_trash_are_known_by_their_source_there(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    """They name none: what has the size and time of the one in the trash is taken for its archive."""
    upload = old(rig)
    assert call(rig, "run", "--no-confirm") == 0
    (rig.trash / retired(upload)).parent.mkdir(parents=True)
    shutil.copy2(rig.trash / upload.path, rig.trash / retired(upload))  # as it was kept where no transcode was smaller
    (rig.archive / upload.path).unlink()
    rig.forget()

    assert call(rig, "run", "--no-confirm") == 0

    (row,) = rig.rows()
    assert (row.state, row.archive, row.disposed_to) == (State.REMOVED, upload.path, upload.path)
    assert troubles(rig, capsys) == (0, [])
