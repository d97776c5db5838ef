"""What becomes of recordings whose archive was removed by the owner's rules, or that are being let go of just then."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from archiverd.cli import run_command_line
from archiverd.policy.model import (
    ClipName,
    Fingerprint,
    FoundFile,
    FoundRecording,
    Place,
    Recording,
    State,
    Trashed,
    Tree,
)
from archiverd.policy.naming import RETIRED, gone_name
from archiverd.policy.outcome import Result
from archiverd.policy.planning import STANDS_AGAIN
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_schema import FILE_NAME
from tests.e2e.invariants import assert_all_archived
from tests.e2e.rig import Rig, Upload, results, sha256_of

OLD = "older than 90 days"
JOB = "0123456789ab"


def catalog_of(rig: Rig) -> Catalog:
    return Catalog(rig.state / FILE_NAME)


def archived(rig: Rig, name: str = "a", minute: int = 0, *, snapshots: int = 0) -> Upload:
    upload = rig.upload(name, rig.path(minute), snapshots=snapshots)
    assert results(rig.run_inside()) == [Result.TRANSCODED]
    return upload


def claim(rig: Rig, upload: Upload) -> Recording:
    """What whoever removes archives does first."""
    row = rig.row(upload)
    with catalog_of(rig) as catalog:
        assert catalog.claim_removal([(row.id, OLD)], JOB) == {row.id}
    return rig.row(upload)


def archive_of(rig: Rig, row: Recording) -> Path:
    assert row.archive is not None, "it is archived"
    return rig.archive / row.archive


def to_trash(rig: Rig, row: Recording) -> PurePosixPath:
    assert row.archive is not None, "it is archived"
    lies = PurePosixPath(RETIRED) / row.archive
    (rig.trash / lies).parent.mkdir(parents=True, exist_ok=True)
    archive_of(rig, row).rename(rig.trash / lies)
    return lies


def remove(rig: Rig, upload: Upload) -> Recording:
    """All that whoever removes archives does, with the snapshots beside it."""
    row = claim(rig, upload)
    archive_of(rig, row).unlink()
    beside = [one.disposed_to.path for one in row.snapshots if one.disposed_to and one.disposed_to.tree is Tree.ARCHIVE]
    for snapshot in beside:
        (rig.archive / snapshot).unlink()
    with catalog_of(rig) as catalog:
        catalog.removed([(row.id, None)], JOB, 1e9, [(snapshot, None) for snapshot in beside])
    return rig.row(upload)


def check(rig: Rig, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, Any]:  # Any: parsed JSON
    capsys.readouterr()
    code = run_command_line(["check", *rig.options, "--quiet", "--json", *options])
    return code, json.loads(capsys.readouterr().out)["findings"]


def quarantined(rig: Rig) -> Upload:
    upload = rig.upload_bytes(b"no clip at all", rig.path())
    assert results(rig.run_inside()) == [Result.QUARANTINED]
    return upload


# ---- check


@pytest.mark.parametrize("options", [(), ("--delete",)], ids=["source in the trash", "source deleted"])
def test_a_removed_archive_is_no_finding(
    rig: Rig, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    rig.archive_snapshots()
    upload = rig.upload("a", snapshots=2)
    assert rig.run_to_the_end(*options) == 0
    assert remove(rig, upload).state is State.REMOVED

    code, findings = check(rig, capsys, "--full")
    assert (code, [one for one in findings if one["severity"] != "note"]) == (0, [])


def test_an_archive_that_is_just_being_removed_is_a_note(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.archive_snapshots()
    row = claim(rig, archived(rig, snapshots=1))
    archive_of(rig, row).unlink()

    code, findings = check(rig, capsys)
    told = [(one["severity"], one["path"]) for one in findings if "being removed" in one["what"]]
    assert (code, told) == (0, [("note", str(row.archive))])


def test_an_archive_lost_and_made_anew_is_no_finding_when_the_new_one_is_removed(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = archived(rig)
    old = archive_of(rig, rig.row(lost))
    first = rig.row(lost)
    old.rename(old.with_name("away"))
    old.write_text("somebody's")  # so that the second has another name
    upload = rig.upload("a")
    assert results(rig.run_inside()) == [Result.TRANSCODED]
    old.unlink()
    old.with_name("away").unlink()
    (rig.trash / rig.path()).unlink()
    assert remove(rig, upload).id != first.id

    code, findings = check(rig, capsys)
    assert (code, [one for one in findings if one["severity"] != "note"]) == (0, [])


def test_a_file_under_the_name_of_a_removed_archive_is_known_to_no_recording(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    upload = archived(rig)
    archive = archive_of(rig, rig.row(upload))
    shutil.copy2(archive, rig.base / "kept.mp4")
    row = remove(rig, upload)
    shutil.copy2(rig.base / "kept.mp4", archive)

    code, findings = check(rig, capsys)
    assert code == 1
    assert [(one["what"], one["path"]) for one in findings if one["severity"] == "doubt"] == [
        ("no recording knows it", str(row.archive))
    ]


# ---- a source that stands again


def test_the_source_of_a_removed_archive_that_stands_again_is_archived_again(rig: Rig) -> None:
    upload = archived(rig)
    row = remove(rig, upload)
    (rig.trash / rig.path()).rename(rig.camera / rig.path())  # the very file, taken back by hand

    summary = rig.run_inside()
    assert [(item.reason, item.action) for item in summary.plan.items] == [(STANDS_AGAIN, "archive")]
    assert results(summary) == [Result.TRANSCODED]
    assert (rig.row(upload).id, rig.row(upload).state) == (row.id, State.DONE)
    assert_all_archived(rig)


def test_another_upload_of_a_removed_recording_is_archived_by_itself(rig: Rig) -> None:
    row = remove(rig, archived(rig))
    (rig.trash / rig.path()).unlink()
    again = rig.upload("a")

    assert results(rig.run_inside()) == [Result.TRANSCODED]
    assert rig.row(again).id != row.id
    assert_all_archived(rig)


def test_why_tells_of_a_removed_archive(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    upload = archived(rig)
    row = remove(rig, upload)
    for path in (rig.camera / upload.path, archive_of(rig, row)):
        capsys.readouterr()
        assert run_command_line(["why", str(path), "--directory", str(rig.camera)]) == 0
        said = capsys.readouterr().out
        assert f"removed, {OLD}" in said
        assert "Next: Nothing: its archive was removed." in said


# ---- a death while something is let go of


def test_a_claim_whose_archive_stands_is_released_at_the_next_start(rig: Rig) -> None:
    upload = archived(rig)
    before = rig.row(upload)
    claim(rig, upload)
    rig.run_inside()

    assert rig.row(upload) == before
    assert_all_archived(rig)


@pytest.mark.parametrize("trashed", [True, False])
def test_a_claim_whose_archive_is_gone_is_noted_at_the_next_start(
    rig: Rig, capsys: pytest.CaptureFixture[str], trashed: bool
) -> None:
    upload = archived(rig)
    row = claim(rig, upload)
    lies = to_trash(rig, row)
    if not trashed:
        (rig.trash / lies).unlink()
    rig.run_inside()

    after = rig.row(upload)
    assert (after.state, after.reason, after.job) == (State.REMOVED, OLD, "")
    with catalog_of(rig) as catalog:
        known = catalog.trash_at(lies)
        assert catalog.history(after)[-1].reason == OLD
    assert (known is not None) is trashed
    if known is not None:
        assert (known.origin, known.reason, known.recording) == (Place(Tree.ARCHIVE, rig.path()), OLD, row.id)
    assert check(rig, capsys)[0] == 0


def test_a_repair_leaves_the_archive_of_a_claim_in_the_trash_to_its_recording(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    row = claim(rig, archived(rig))
    lies = to_trash(rig, row)
    unknown = rig.trash / lies.with_name(rig.path(30).name)  # has it look through the trees
    shutil.copy(rig.trash / row.path, unknown)

    assert check(rig, capsys, "--repair")[0] == 0

    (after,) = rig.rows()
    assert (after.id, after.state, after.reason, after.job) == (row.id, State.REMOVED, OLD, "")
    with catalog_of(rig) as catalog:
        known = catalog.trash_at(lies)
        assert known is not None
        assert (known.reason, known.recording) == (OLD, row.id)
    assert check(rig, capsys)[0] == 0


def test_a_claim_whose_name_was_given_to_another_archive_is_noted_at_the_next_start(rig: Rig) -> None:
    first = archived(rig)
    row = claim(rig, first)
    archive_of(rig, row).unlink()
    archive_of(rig, row).write_bytes(b"the archive of another")  # as a worker would have, while the file stood aside
    with catalog_of(rig) as catalog:
        another = found_upload(rig, rig.upload("b"), row.name)
        offered = catalog.claim(catalog.offer(another, 1e9, reason="new"), "j2", 1e9)
        assert row.receipt is not None
        catalog.publishing(offered, rig.path(), sha256_of(archive_of(rig, row)), 22, row.receipt, 1e9)
    rig.run_inside()

    assert [one.state for one in rig.rows() if one.id == row.id] == [State.REMOVED]


def found_upload(rig: Rig, upload: Upload, name: ClipName) -> FoundRecording:
    status = (rig.camera / upload.path).stat()
    return FoundRecording(FoundFile.at(upload.path, Fingerprint.of(status), name))


def test_snapshots_that_went_before_a_death_are_noted_at_the_next_start(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.archive_snapshots()
    upload = archived(rig, snapshots=2)
    row = claim(rig, upload)
    (place,) = {one.disposed_to for one in row.snapshots[:1]}
    assert place is not None
    (rig.archive / place.path).unlink()
    rig.run_inside()

    after = rig.row(upload)
    assert (after.state, after.job) == (State.DONE, "")
    assert [one.disposed_to is None for one in after.snapshots] == [True, False]
    assert check(rig, capsys)[0] == 0


def set_aside(rig: Rig, upload: Upload) -> None:
    source = rig.camera / upload.path
    source.rename(source.with_name(gone_name(JOB)))


def move_to_trash(rig: Rig, upload: Upload) -> None:
    (rig.trash / upload.path).parent.mkdir(parents=True, exist_ok=True)
    (rig.camera / upload.path).rename(rig.trash / upload.path)


def delete(rig: Rig, upload: Upload) -> None:
    (rig.camera / upload.path).unlink()


def nothing(rig: Rig, upload: Upload) -> None:
    assert (rig.camera / upload.path).exists()


@pytest.mark.parametrize(
    ("step", "state", "lies"),
    [
        (nothing, State.QUARANTINED, False),
        (set_aside, State.QUARANTINED, False),
        (move_to_trash, State.GONE, True),
        (delete, State.GONE, False),
    ],
)
def test_a_quarantined_source_that_was_being_let_go_of(
    rig: Rig, capsys: pytest.CaptureFixture[str], step: Callable[[Rig, Upload], None], state: State, lies: bool
) -> None:
    upload = quarantined(rig)
    before = rig.row(upload)
    with catalog_of(rig) as catalog:
        catalog.claim_quarantined(before, JOB, OLD)
    step(rig, upload)
    rig.run_inside()

    after = rig.row(upload)
    assert (after.state, after.job, after.disposed_to) == (state, "", upload.path if lies else None)
    assert after.reason == (before.reason if state is State.QUARANTINED else OLD)
    assert (rig.camera / upload.path).exists() is (state is State.QUARANTINED)
    assert check(rig, capsys, "--repair")[0] == 0
    assert rig.row(upload) == after  # nothing is taken back that was let go of


# ---- the ways into the trash


def in_trash(rig: Rig) -> dict[str, Trashed]:
    with catalog_of(rig) as catalog:
        return {str(one.path): one for one in catalog.trash_all()}


def test_an_archive_that_was_made_anew_is_known_in_the_trash(rig: Rig) -> None:
    upload = archived(rig)
    first = archive_of(rig, rig.row(upload)).stat()
    (rig.trash / rig.path()).rename(rig.camera / rig.path())
    assert results(rig.run_inside(no_skip=True)) == [Result.TRANSCODED]

    one = in_trash(rig)[f"{RETIRED}/{rig.path()}"]
    assert (one.fingerprint, one.origin) == (Fingerprint.of(first), Place(Tree.ARCHIVE, rig.path()))
    assert one.recording == rig.row(upload).id


def test_what_lies_in_the_trash_is_known_again_after_the_catalog_was_lost(rig: Rig) -> None:
    archived(rig, snapshots=1)
    before = in_trash(rig)
    rig.forget()
    rig.run_inside()

    after = in_trash(rig)
    assert {path: (one.camera, one.origin) for path, one in after.items()} == {
        path: (one.camera, one.origin) for path, one in before.items()
    }
    assert [one.trashed_at for one in after.values()] == [os.stat(rig.trash / path).st_ctime for path in after]
