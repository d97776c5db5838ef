"""What the catalog says of what may go, and keeps of what went, on real SQLite files."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from archiverd.errors import SourceChanged
from archiverd.policy.model import (
    Fingerprint,
    FoundFile,
    Held,
    Place,
    Recording,
    Snapshot,
    State,
    Trashed,
    Tree,
)
from archiverd.policy.naming import RETIRED
from archiverd.policy.planning import STANDS_AGAIN
from archiverd.policy.rebuilding import KnownAgain, SeenArchive
from archiverd.storage.catalog import Catalog, CatalogLostError, ClaimLostError
from archiverd.storage.catalog_rows import receipt_text
from archiverd.storage.catalog_schema import FILE_NAME, MIGRATIONS
from tests.recordings import MARK, NOW, PATH, TAKEN_AT, found, name_of, receipt, snapshot_of

DAY = PATH.parent
DAY_S = 86400.0
CAMERA = "front"
STRANGE = "T\udcfcr_20260630081500.mp4"  # not UTF-8
OLD = "older than 90 days"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


@pytest.fixture
def catalog(path: Path) -> Iterator[Catalog]:
    with Catalog(path, new_id="c1") as opened:
        yield opened


@pytest.fixture
def worker(path: Path, catalog: Catalog) -> Iterator[Catalog]:
    """Another connection to the same file."""
    with Catalog(path) as opened:
        assert opened.id == catalog.id
        yield opened


def archived(
    catalog: Catalog, path: PurePosixPath = PATH, mark: Fingerprint = MARK, *, archive: PurePosixPath | None = None,
    snapshots: tuple[FoundFile, ...] = (),
) -> Recording:  # fmt: skip
    row = catalog.offer(found(path, mark, snapshots=snapshots), NOW, reason="new")
    row = catalog.claim(row, "j1", NOW + 1)
    row = catalog.publishing(row, archive or path, "a" * 64, 400, receipt(), NOW + 2)
    return catalog.archived(row, receipt(), "transcoded", NOW + 3)


def done(
    catalog: Catalog, path: PurePosixPath = PATH, mark: Fingerprint = MARK, *, archive: PurePosixPath | None = None,
    lies: PurePosixPath | None = None, snapshots: tuple[FoundFile, ...] = (),
) -> Recording:  # fmt: skip
    row = archived(catalog, path, mark, archive=archive, snapshots=snapshots)
    return catalog.done(row, lies, "let go of", NOW + 4)


def removed(catalog: Catalog, row: Recording, one: Trashed | None = None) -> Recording:
    assert catalog.claim_removal([(row.id, OLD)], "r1") == {row.id}
    catalog.removed([(row.id, one)], "r1", NOW + 5)
    return catalog.reload(row)


def quarantined(catalog: Catalog, path: PurePosixPath = PATH) -> Recording:
    row = catalog.claim(catalog.offer(found(path), NOW, reason="new"), "j1", NOW + 1)
    return catalog.quarantine(row, "no moov", NOW + 2)


def in_trash(path: PurePosixPath, recording: int | None = None, at: float = NOW, **changes: Any) -> Trashed:
    one = Trashed(path, MARK, CAMERA, Place(Tree.SOURCE, path), "let go of", at, recording)
    return replace(one, **changes)


def archive_in_trash(row: Recording) -> Trashed:
    """Where the archive of a recording lies when it was moved to the trash."""
    assert row.archive is not None, "it has one"
    lies = PurePosixPath(RETIRED) / row.archive
    mark = Fingerprint(21, 400, MARK.mtime_ns)
    return Trashed(lies, mark, CAMERA, Place(Tree.ARCHIVE, row.archive), OLD, NOW + 5, row.id)


def told(catalog: Catalog, row: Recording) -> list[tuple[State, str]]:
    return [(event.state, event.reason) for event in catalog.history(row)]


def other(number: int) -> Fingerprint:
    return Fingerprint(100 + number, 1000, MARK.mtime_ns + number)


# -- a recording whose archive was removed ----------------------------------------------------------------


def test_removed_says_when_and_why_and_leaves_its_job(catalog: Catalog) -> None:
    row = removed(catalog, done(catalog))

    assert (row.state, row.reason, row.job, row.not_before) == (State.REMOVED, OLD, "", NOW + 5)
    assert told(catalog, row)[-1] == (State.REMOVED, OLD)
    assert (row.archive, row.receipt) == (PATH, receipt())  # what it was is kept


def test_the_very_source_of_a_removed_archive_waits_again_from_nothing(catalog: Catalog) -> None:
    was = removed(catalog, done(catalog))
    row = catalog.offer(found(), NOW + 9, reason="new")

    assert (row.id, row.state, row.reason, row.not_before) == (was.id, State.WAITING, STANDS_AGAIN, NOW + 9)
    assert (row.archive, row.archive_sha256, row.archive_size, row.receipt) == (None, "", 0, None)


def test_another_upload_under_the_name_of_a_removed_one_is_another_recording(catalog: Catalog) -> None:
    was = removed(catalog, done(catalog))
    row = catalog.offer(found(mark=other(1)), NOW + 9, reason="new")

    assert row.id != was.id
    assert catalog.reload(was) == was


def test_a_removed_recording_is_not_unfinished(catalog: Catalog) -> None:
    removed(catalog, done(catalog, snapshots=(snapshot_of(),)))

    assert catalog.unfinished_directories() == []
    assert catalog.known_in(DAY, unfinished=True).clips == ()
    assert catalog.known_in(DAY).snapshots == frozenset()
    assert [row.state for row in catalog.known_in(DAY).clips] == [State.REMOVED]


def test_a_removed_archive_counts_no_more_among_those_that_stand(catalog: Catalog) -> None:
    removed(catalog, done(catalog))

    assert catalog.archived_totals() == (0, 0, 0)
    assert catalog.counts() == {State.REMOVED: (1, 1000)}


def test_the_place_of_a_removed_archive_still_leads_to_its_recording(catalog: Catalog) -> None:
    row = done(catalog, archive=DAY / "elsewhere.mp4")
    row = removed(catalog, row, archive_in_trash(row))

    assert catalog.at_path(DAY / "elsewhere.mp4") == [row]
    assert catalog.at_path(PurePosixPath(RETIRED) / DAY / "elsewhere.mp4") == [row]


# -- what stands in a directory of the archive ------------------------------------------------------------


def held(row: Recording, size: int = 400, *, is_snapshot: bool = False) -> Held:
    return Held(row.id, row.state, row.name.camera, row.name.taken_at, row.seen_at, size, is_snapshot)


def beside(catalog: Catalog, row: Recording, name: str = "front.jpg") -> Place:
    place = Place(Tree.ARCHIVE, DAY / name)
    catalog.snapshot_disposed(catalog.reload(row).snapshots[0], place, NOW + 4)
    return place


def test_archives_in_tells_of_the_clips_of_one_directory_and_of_none_below(catalog: Catalog) -> None:
    row = done(catalog)
    strange = done(catalog, DAY / STRANGE, other(1))
    for number, elsewhere in enumerate((DAY / "below/x.mp4", DAY.parent / "x.mp4", PurePosixPath(f"{DAY}0/x.mp4"))):
        done(catalog, elsewhere, other(2 + number))

    assert catalog.archives_in(DAY) == {PATH.name: held(row), STRANGE: held(strange)}
    assert catalog.archives_in(PurePosixPath("2026/06/29")) == {}


def test_archives_in_tells_of_the_top(catalog: Catalog) -> None:
    row = done(catalog, PurePosixPath("front_20260630081500.mp4"))
    done(catalog)

    assert catalog.archives_in(PurePosixPath()) == {row.path.name: held(row)}


def test_archives_in_tells_of_snapshots_beside_an_archive(catalog: Catalog) -> None:
    row = done(catalog, snapshots=(snapshot_of(),))
    beside(catalog, row)

    assert catalog.archives_in(DAY) == {PATH.name: held(row), "front.jpg": held(row, 100, is_snapshot=True)}


def test_archives_in_tells_of_a_snapshot_that_was_left_when_its_archive_went(catalog: Catalog) -> None:
    row = done(catalog, snapshots=(snapshot_of(),))
    beside(catalog, row)
    row = removed(catalog, row)

    assert catalog.archives_in(DAY) == {"front.jpg": held(row, 100, is_snapshot=True)}


@pytest.mark.parametrize("done_first", [True, False])
def test_archives_in_names_who_still_needs_an_archive_that_two_have(catalog: Catalog, done_first: bool) -> None:
    first = (done if done_first else archived)(catalog)
    second = (archived if done_first else done)(catalog, mark=other(1), archive=PATH)

    assert catalog.archives_in(DAY) == {PATH.name: held(second if done_first else first)}


def test_archives_in_reads_no_receipt_and_goes_by_an_index(catalog: Catalog) -> None:
    done(catalog)
    catalog._connection.execute("UPDATE receipt SET body = 'no JSON'")
    asked: list[str] = []
    catalog._connection.set_trace_callback(asked.append)
    assert len(catalog.archives_in(DAY)) == 1
    catalog._connection.set_trace_callback(None)

    plans = [catalog._connection.execute(f"EXPLAIN QUERY PLAN {question}").fetchall() for question in asked]
    assert [[row["detail"].split(" (")[0] for row in plan] for plan in plans] == [
        ["SEARCH recording USING INDEX recording_by_archive"],
        ["SEARCH snapshot USING INDEX snapshot_by_disposed_to", "SEARCH recording USING INTEGER PRIMARY KEY"],
    ]


# -- claims -----------------------------------------------------------------------------------------------


def test_claim_removal_takes_what_is_done_and_nothing_else(catalog: Catalog) -> None:
    row = done(catalog)
    others = [
        archived(catalog, DAY / "b.mp4", other(1)),
        quarantined(catalog, DAY / "c.mp4"),
        removed(catalog, done(catalog, DAY / "d.mp4", other(2))),
        catalog.offer(found(DAY / "e.mp4"), NOW, reason="new"),
    ]
    wanted = [(one.id, OLD) for one in (row, *others)]

    assert catalog.claim_removal([*wanted, (999, OLD)], "r1") == {row.id}
    assert (catalog.reload(row).job, catalog.reload(row).reason) == ("r1", OLD)
    assert [catalog.reload(one) for one in others] == others


def test_claim_removal_leaves_what_another_job_has(catalog: Catalog, worker: Catalog) -> None:
    row = done(catalog)

    assert catalog.claim_removal([(row.id, OLD)], "r1") == {row.id}
    assert worker.claim_removal([(row.id, "another reason")], "r2") == set()
    assert worker.reload(row).reason == OLD


def test_claim_removal_leaves_an_archive_that_another_recording_still_needs(catalog: Catalog) -> None:
    row = done(catalog)
    needs = archived(catalog, mark=other(1), archive=PATH)

    assert catalog.claim_removal([(row.id, OLD)], "r1") == set()
    catalog.done(needs, None, "let go of", NOW)
    assert catalog.claim_removal([(row.id, OLD)], "r1") == {row.id}


def test_all_that_are_done_with_one_archive_are_claimed_and_removed_together(catalog: Catalog) -> None:
    rows = [done(catalog), done(catalog, mark=other(1), archive=PATH)]
    alone = done(catalog, DAY / "b.mp4", other(2))

    assert catalog.claim_removal([(rows[1].id, OLD)], "r1") == {rows[1].id}
    assert catalog.claim_removal([(rows[0].id, "another reason")], "r2") == set()
    catalog.removed([(rows[1].id, None)], "r1", NOW + 5)

    assert [(catalog.reload(row).state, told(catalog, row)[-1]) for row in rows] == [
        (State.REMOVED, (State.REMOVED, OLD))
    ] * 2
    assert catalog.reload(alone) == alone


def test_removed_moves_only_what_its_job_had_claimed(catalog: Catalog) -> None:
    row, taken_back = done(catalog), done(catalog, DAY / "b.mp4", other(1))
    catalog.claim_removal([(row.id, OLD)], "r1")
    before = [catalog.reload(one) for one in (row, taken_back)]
    catalog.removed([(row.id, None), (taken_back.id, None)], "r2", NOW + 5)

    assert [catalog.reload(one) for one in (row, taken_back)] == before


def test_what_is_released_is_what_it_was(catalog: Catalog) -> None:
    rows = [done(catalog), done(catalog, mark=other(1), archive=PATH), quarantined(catalog, DAY / "q.mp4")]
    catalog.claim_removal([(rows[0].id, OLD)], "r1")
    catalog.claim_quarantined(rows[2], "r1", OLD)
    before = [told(catalog, row) for row in rows]
    catalog.release_removal([rows[0].id, rows[2].id], "r1")

    assert [catalog.reload(row) for row in rows] == rows
    assert [told(catalog, row) for row in rows] == before


def test_release_leaves_what_another_job_has(catalog: Catalog) -> None:
    row = done(catalog)
    catalog.claim_removal([(row.id, OLD)], "r1")
    catalog.release_removal([row.id], "r2")

    assert catalog.reload(row).job == "r1"


def test_claimed_removals_are_those_that_are_being_let_go_of(catalog: Catalog) -> None:
    row, stays = done(catalog), quarantined(catalog, DAY / "q.mp4")
    archived(catalog, DAY / "b.mp4", other(1))  # has a job of another kind
    assert catalog.claimed_removals() == []
    catalog.claim_removal([(row.id, OLD)], "r1")
    claimed = catalog.claim_quarantined(stays, "r2", OLD)

    assert catalog.claimed_removals() == [catalog.reload(row), claimed]


def test_an_archive_that_is_being_removed_is_not_adopted(catalog: Catalog, worker: Catalog) -> None:
    row = done(catalog)
    wants = worker.claim(worker.offer(found(mark=other(1)), NOW, reason="new"), "j2", NOW)
    catalog.claim_removal([(row.id, OLD)], "r1")

    with pytest.raises(SourceChanged, match="the archive it was to be is being removed"):
        worker.adopted(wants, PATH, receipt(), NOW)
    assert worker.reload(wants) == wants
    catalog.release_removal([row.id], "r1")
    assert worker.adopted(wants, PATH, receipt(), NOW).state is State.ARCHIVED


def test_an_archive_that_was_adopted_a_moment_ago_is_not_claimed(catalog: Catalog, worker: Catalog) -> None:
    row = done(catalog)
    wants = worker.claim(worker.offer(found(mark=other(1)), NOW, reason="new"), "j2", NOW)
    worker.adopted(wants, PATH, receipt(), NOW)

    assert catalog.claim_removal([(row.id, OLD)], "r1") == set()


@pytest.mark.parametrize("read_before", [True, False])
def test_nobody_takes_up_what_is_being_removed(catalog: Catalog, worker: Catalog, read_before: bool) -> None:
    row, set_aside = done(catalog), quarantined(catalog, DAY / "q.mp4")
    catalog.claim_removal([(row.id, OLD)], "r1")
    claimed = catalog.claim_quarantined(set_aside, "r1", OLD)
    if not read_before:
        row, set_aside = worker.reload(row), worker.reload(set_aside)

    with pytest.raises(ClaimLostError):
        worker.take_up_again(row, "its source stands again", NOW)
    with pytest.raises(ClaimLostError):
        worker.wait(row, "archived again, as asked", NOW, NOW)
    with pytest.raises(ClaimLostError):
        worker.retry(set_aside, NOW)
    assert worker.reload(set_aside) == claimed
    assert worker.reload(row).job == "r1"


def test_counts_on_tells_whether_a_name_is_anothers_too(catalog: Catalog) -> None:
    row = done(catalog)
    catalog.claim_removal([(row.id, OLD)], "r1")
    row = catalog.reload(row)
    assert not catalog.counts_on(PATH, row)
    archived(catalog, mark=other(1), archive=PATH)
    assert catalog.counts_on(PATH, row)


# -- the trash --------------------------------------------------------------------------------------------


def test_a_source_that_goes_to_the_trash_is_known_there(catalog: Catalog) -> None:
    row = done(catalog, lies=PATH)

    assert catalog.trash_at(PATH) == in_trash(PATH, row.id, NOW + 4)


def test_a_source_that_is_deleted_is_not_in_the_trash(catalog: Catalog) -> None:
    done(catalog)

    assert list(catalog.trash_all()) == []


def test_a_source_keeps_its_time_in_the_trash_when_its_late_snapshots_follow(catalog: Catalog) -> None:
    row = catalog.take_up_again(done(catalog, lies=PATH), "its snapshot came later", NOW + 90)
    catalog.done(row, PATH, "its late snapshots were let go of", NOW + 99)

    assert catalog.trash_at(PATH) == in_trash(PATH, row.id, NOW + 4)


def test_a_snapshot_that_goes_to_the_trash_is_known_there(catalog: Catalog) -> None:
    row = archived(catalog, snapshots=(snapshot_of(),))
    place = DAY / "moved.jpg"
    catalog.snapshot_disposed(row.snapshots[0], Place(Tree.TRASH, place), NOW + 4)

    mark, origin = snapshot_of().fingerprint, Place(Tree.SOURCE, snapshot_of().path)
    assert list(catalog.trash_all()) == [
        Trashed(place, mark, CAMERA, origin, "it went with its recording", NOW + 4, row.id)
    ]


def test_a_snapshot_that_goes_beside_its_archive_is_not_in_the_trash(catalog: Catalog) -> None:
    beside(catalog, archived(catalog, snapshots=(snapshot_of(),)))

    assert list(catalog.trash_all()) == []


def test_what_is_known_again_lies_in_the_trash_since_it_is_told_or_since_now(catalog: Catalog) -> None:
    other_path, jpg = DAY / "REO_front_20260630091500.mp4", snapshot_of()
    gone = (Snapshot(0, jpg.path, jpg.fingerprint, Place(Tree.TRASH, jpg.path), disposed=True),)
    known = KnownAgain(PATH, MARK, name_of(PATH), State.GONE, "no archive of it stands", None, PATH, gone)
    untold = KnownAgain(other_path, other(1), name_of(other_path), State.GONE, "likewise", None, other_path)
    catalog.enter_known([known, untold], NOW, {PATH: NOW - 50, jpg.path: NOW - 40})

    assert [(one.path, one.trashed_at, one.reason) for one in catalog.trash_all()] == [
        (PATH, NOW - 50, "no archive of it stands"),
        (jpg.path, NOW - 40, "it went with its recording"),
        (other_path, NOW, "likewise"),
    ]


def test_trashed_enters_what_no_recording_is_of(catalog: Catalog) -> None:
    one = in_trash(DAY / "orphan.jpg", reason="no recording came")
    catalog.trashed(one, NOW)

    assert catalog.trash_at(one.path) == one


def test_trashed_tells_the_recording_it_is_of(catalog: Catalog) -> None:
    row = archived(catalog)
    one = replace(archive_in_trash(row), reason="another archive was made in its place")
    catalog.trashed(one, NOW + 5)

    assert catalog.trash_at(one.path) == one
    words = "moved from the archive tree to the trash: another archive was made in its place"
    assert told(catalog, row)[-1] == (State.ARCHIVED, words)


def test_trashed_takes_the_place_of_what_lay_there(catalog: Catalog) -> None:
    catalog.trashed(in_trash(PATH, reason="first"), NOW)
    catalog.trash_gone([PATH], OLD, NOW + 1)
    second = in_trash(PATH, at=NOW + 2, reason="second")
    catalog.trashed(second, NOW + 2)

    assert list(catalog.trash_all()) == [second]


def test_trash_in_tells_of_one_directory_and_of_none_below(catalog: Catalog) -> None:
    here = [in_trash(DAY / name) for name in (PATH.name, STRANGE)]
    elsewhere = [in_trash(path) for path in (DAY / "below/x.mp4", DAY.parent / "x.mp4", PurePosixPath(f"{DAY}0/x.mp4"))]
    for one in (*here, *elsewhere, in_trash(DAY / "went.mp4")):
        catalog.trashed(one, NOW)
    catalog.trash_gone([DAY / "went.mp4"], OLD, NOW)

    assert catalog.trash_in(DAY) == {one.path.name: one for one in here}
    assert catalog.trash_in(PurePosixPath()) == {}


def test_trash_all_comes_oldest_first_over_more_than_a_page(catalog: Catalog) -> None:
    all_of_them = [in_trash(DAY / f"{number}.mp4", at=NOW - number // 3) for number in range(1100)]
    catalog.removed([], "r1", NOW, [(DAY / "a.jpg", one) for one in all_of_them])

    assert list(catalog.trash_all()) == sorted(all_of_them, key=lambda one: (one.trashed_at, os.fsencode(one.path)))


def test_trash_of_tells_what_still_lies_there_of_a_recording(catalog: Catalog) -> None:
    row, stranger = done(catalog, lies=PATH), in_trash(DAY / "stranger.mp4")
    row = removed(catalog, row, archive_in_trash(row))
    catalog.trashed(stranger, NOW)
    assert {one.path for one in catalog.trash_of(row.id)} == {PATH, archive_in_trash(row).path}
    catalog.trash_gone([PATH], OLD, NOW + 9)
    assert catalog.trash_of(row.id) == [archive_in_trash(row)]


def test_trash_gone_closes_it_and_tells_its_recording(catalog: Catalog) -> None:
    row = done(catalog, lies=PATH, snapshots=(snapshot_of(),))
    jpg = DAY / "front.jpg"
    catalog.snapshot_disposed(catalog.reload(row).snapshots[0], Place(Tree.TRASH, jpg), NOW + 4)
    row = removed(catalog, row, archive_in_trash(row))
    catalog.trash_gone([PATH, jpg, PurePosixPath(RETIRED) / PATH, DAY / "unknown.mp4"], OLD, NOW + 9)

    after = catalog.reload(row)
    assert list(catalog.trash_all()) == []
    assert (after.state, after.reason, after.disposed_to, after.not_before) == (State.REMOVED, OLD, None, NOW + 9)
    assert [(one.disposed, one.disposed_to) for one in after.snapshots] == [(True, None)]
    assert told(catalog, row)[-3:] == [
        (State.REMOVED, f"its source in the trash was removed: {OLD}"),
        (State.REMOVED, f"its snapshot in the trash was removed: {OLD}"),
        (State.REMOVED, f"its archive in the trash was removed: {OLD}"),
    ]
    assert catalog.at_path(jpg) == [after]  # what lay there is still known


def test_trash_gone_changes_nothing_else_of_a_recording(catalog: Catalog) -> None:
    row = done(catalog, lies=PATH)
    catalog.trash_gone([PATH], OLD, NOW + 9)
    catalog.trash_gone([PATH], OLD, NOW + 10)  # once is enough

    assert catalog.reload(row) == replace(row, disposed_to=None)
    assert told(catalog, row)[-2:] == [
        (State.DONE, "let go of"),
        (State.DONE, f"its source in the trash was removed: {OLD}"),
    ]


def test_a_source_taken_back_from_the_trash_lies_there_no_more(catalog: Catalog) -> None:
    row = done(catalog, lies=PATH)
    one = catalog.trash_at(PATH)
    assert one is not None
    catalog.trash_restored(one, Place(Tree.SOURCE, PATH), NOW + 9)

    words = f"its source was taken back from the trash as '{PATH}' in the source tree"
    assert catalog.reload(row) == replace(row, disposed_to=None)
    assert told(catalog, row)[-1] == (State.DONE, words)
    assert catalog.trash_at(PATH) is None


def test_a_snapshot_taken_back_from_the_trash_stands_in_the_source_tree_again(catalog: Catalog) -> None:
    row = done(catalog, snapshots=(snapshot_of(),))
    catalog.snapshot_disposed(row.snapshots[0], Place(Tree.TRASH, snapshot_of().path), NOW + 4)
    one = catalog.trash_at(snapshot_of().path)
    assert one is not None
    catalog.trash_restored(one, Place(Tree.SOURCE, snapshot_of().path), NOW + 9)

    assert catalog.reload(row).snapshots == row.snapshots


def test_an_archive_taken_back_from_the_trash_is_the_archive_again(catalog: Catalog) -> None:
    rows = [done(catalog), done(catalog, mark=other(1), archive=PATH)]
    alone = removed(catalog, done(catalog, DAY / "b.mp4", other(2)))
    one = archive_in_trash(rows[0])
    removed(catalog, rows[0], one)
    to = Place(Tree.ARCHIVE, PATH.with_name("REO_front_20260630081500~2.mp4"))
    catalog.trash_restored(one, to, NOW + 9)

    assert [(row.state, row.archive) for row in map(catalog.reload, rows)] == [(State.DONE, to.path)] * 2
    words = f"its archive was taken back from the trash as '{to.path}' in the archive tree"
    assert [told(catalog, row)[-1] for row in rows] == [(State.DONE, words)] * 2
    assert catalog.reload(alone) == alone
    assert catalog.trash_at(one.path) is None


def test_an_archive_of_which_no_hash_is_known_is_again_that_of_its_recording_alone(catalog: Catalog) -> None:
    lies = [PurePosixPath(RETIRED, PATH), PurePosixPath(RETIRED, PATH).with_stem(f"{PATH.stem}~2")]
    catalog.enter_known([known_retired(number, place) for number, place in enumerate(lies)], NOW)
    one = catalog.trash_at(lies[1])
    assert one is not None
    assert one.origin == Place(Tree.ARCHIVE, PATH)
    catalog.trash_restored(one, one.origin, NOW + 9)

    states = {row.fingerprint.ino: row.state for row in catalog.recordings()}
    assert states == {-1: State.REMOVED, -2: State.DONE}


def known_retired(number: int, lies: PurePosixPath) -> KnownAgain:
    """A recording that is known again by an archive in the trash that stood at one path, of one size."""
    seen = SeenArchive(FoundFile.at(PATH, Fingerprint(number, 400, MARK.mtime_ns), name_of(PATH)), None, 30, 2.0)
    mark = MARK._replace(ino=-1 - number)
    return KnownAgain(PATH, mark, name_of(PATH), State.REMOVED, "it lay there", seen, None, retired=lies)


def test_a_snapshot_of_an_archive_goes_to_the_trash_and_back(catalog: Catalog) -> None:
    row = done(catalog, snapshots=(snapshot_of(),))
    place = beside(catalog, row)
    stood = catalog.reload(row)
    lies = Trashed(PurePosixPath(RETIRED) / place.path, snapshot_of().fingerprint, CAMERA, place, OLD, NOW, row.id)
    catalog.claim_removal([(row.id, OLD)], "r1")
    catalog.removed([(row.id, archive_in_trash(row))], "r1", NOW + 5, [(place.path, lies)])
    assert catalog.reload(row).snapshots[0].disposed_to == Place(Tree.TRASH, lies.path)
    assert catalog.archives_in(DAY) == {}

    catalog.trash_restored(lies, place, NOW + 9)
    catalog.trash_restored(archive_in_trash(row), Place(Tree.ARCHIVE, PATH), NOW + 9)
    assert catalog.reload(row).snapshots == stood.snapshots
    assert catalog.reload(row).state is State.DONE


def test_an_old_archive_taken_back_changes_nothing_of_a_recording_that_has_another(catalog: Catalog) -> None:
    row = done(catalog)
    one = replace(archive_in_trash(row), origin=Place(Tree.ARCHIVE, DAY / "old.mp4"))
    catalog.trashed(one, NOW)
    catalog.trash_restored(one, Place(Tree.ARCHIVE, DAY / "old.mp4"), NOW + 9)

    assert catalog.reload(row) == row
    assert catalog.trash_at(one.path) is None


def test_taken_back_closes_its_place_in_the_trash(catalog: Catalog) -> None:
    catalog.taken_back(done(catalog, lies=PATH), "no archive of it stood", NOW + 9)

    assert catalog.trash_at(PATH) is None


# -- what is quarantined ----------------------------------------------------------------------------------


def test_quarantined_comes_oldest_first(catalog: Catalog) -> None:
    rows = [quarantined(catalog, DAY / f"REO_front_202606300{hour}1500.mp4") for hour in (9, 7)]
    done(catalog)

    assert catalog.quarantined() == rows[::-1]


@pytest.mark.parametrize("deleted", [False, True])
def test_a_quarantined_source_that_is_let_go_of_is_gone(catalog: Catalog, deleted: bool) -> None:
    claimed = catalog.claim_quarantined(quarantined(catalog), "r1", OLD)
    assert (claimed.state, claimed.job) == (State.QUARANTINED, "r1")
    one = None if deleted else in_trash(PATH, claimed.id, reason=OLD)
    row = catalog.trash_quarantined(claimed, one, NOW + 5)

    assert (row.state, row.reason, row.job, row.disposed_to) == (State.GONE, OLD, "", None if deleted else PATH)
    assert told(catalog, row)[-2:] == [(State.QUARANTINED, "no moov"), (State.GONE, OLD)]
    assert (catalog.trash_at(PATH), catalog.is_given_up(row)) == (one, not deleted)


def test_a_source_whose_archive_was_lost_was_not_given_up(catalog: Catalog) -> None:
    row = catalog.take_up_again(done(catalog, lies=PATH), "its source stands again", NOW)
    row = catalog.gone(catalog.wait(row, "its archive no longer stands", NOW, NOW), "not there any more", NOW)

    assert (row.disposed_to, catalog.is_given_up(row)) == (PATH, False)


def test_a_quarantined_source_is_claimed_once(catalog: Catalog, worker: Catalog) -> None:
    row = quarantined(catalog)
    catalog.claim_quarantined(row, "r1", OLD)

    with pytest.raises(ClaimLostError):
        worker.claim_quarantined(row, "r2", OLD)


def test_another_upload_leaves_a_quarantined_one_to_who_is_letting_go_of_it(catalog: Catalog, worker: Catalog) -> None:
    claimed = catalog.claim_quarantined(quarantined(catalog), "r1", OLD)
    worker.offer(found(mark=other(1)), NOW + 1, reason="new")

    assert catalog.trash_quarantined(claimed, in_trash(PATH, claimed.id), NOW + 2).state is State.GONE


# -- totals -----------------------------------------------------------------------------------------------


def test_source_totals_tell_of_what_stands_in_the_source_tree(catalog: Catalog) -> None:
    done(catalog)
    removed(catalog, done(catalog, DAY / "b.mp4", other(1)))
    quarantined(catalog, DAY / "REO_back_20260630081500.mp4")
    for number in (2, 3):
        catalog.offer(found(DAY / f"REO_back_2026063009150{number}.mp4", other(number)), NOW, reason="new")
    archived(catalog, DAY / "REO_back_20260630101500.mp4", other(4))

    assert catalog.source_totals() == {
        ("back", State.QUARANTINED): (1, 1000),
        ("back", State.WAITING): (2, 2000),
        ("back", State.ARCHIVED): (1, 1000),
    }


def test_latest_gone_tells_of_archives_when_they_were_taken_and_of_the_trash_when_it_came_there(
    catalog: Catalog,
) -> None:
    assert catalog.latest_gone() == {}
    removed(catalog, done(catalog, lies=PATH))
    catalog.trashed(in_trash(DAY / "old.mp4", at=NOW - 5), NOW)
    catalog.trash_gone([DAY / "old.mp4"], OLD, NOW + 9)
    assert catalog.latest_gone() == {
        (Tree.ARCHIVE, CAMERA): TAKEN_AT.timestamp(), (Tree.TRASH, CAMERA): NOW - 5,
    }  # fmt: skip


def test_lately_counts_what_was_recorded_in_the_last_days_and_is_archived(catalog: Catalog) -> None:
    def at(days_ago: float, camera: str) -> PurePosixPath:
        return DAY / f"{camera}_{TAKEN_AT - timedelta(days=days_ago):%Y%m%d%H%M%S}.mp4"

    now = TAKEN_AT.timestamp()
    rows = [
        done(catalog, at(days, camera), other(number))
        for number, (days, camera) in enumerate(
            [(0.1, "front"), (6.9, "front"), (7.1, "front"), (1, "back"), (-400, "back")]
        )
    ]
    removed(catalog, rows[0])
    catalog.offer(found(at(0.2, "front")), NOW, reason="new")

    assert catalog.lately(7, now) == {"front": (2, 2000, 800), "back": (1, 1000, 400)}


# -- what is long gone ------------------------------------------------------------------------------------


def all_rows(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as connection:
        return {
            table: connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]  # noqa: S608  (names written here)
            for table in ("recording", "snapshot", "history", "trash")
        }


def test_forget_takes_what_is_long_gone_with_all_that_is_known_of_it(path: Path, catalog: Catalog) -> None:
    row = removed(catalog, done(catalog, lies=PATH, snapshots=(snapshot_of(),)))
    catalog.trash_gone([PATH], OLD, NOW + 9)

    assert catalog.forget(NOW + 9, 10) == 0
    assert catalog.reload(row).id == row.id
    assert catalog.forget(NOW + 10, 10) == 2  # the recording, and its place in the trash
    assert set(all_rows(path).values()) == {0}


def test_forget_leaves_what_is_not_over_or_lies_in_the_trash(path: Path, catalog: Catalog) -> None:
    snapshots = (snapshot_of(DAY / "c.mp4"),)
    rows = [
        done(catalog),
        removed(catalog, done(catalog, DAY / "a.mp4", other(1), lies=DAY / "a.mp4")),
        catalog.trash_quarantined(
            catalog.claim_quarantined(quarantined(catalog, DAY / "b.mp4"), "r1", OLD), in_trash(DAY / "b.mp4"), NOW
        ),
        done(catalog, DAY / "c.mp4", other(2), snapshots=snapshots),
        quarantined(catalog, DAY / "d.mp4"),
    ]
    beside(catalog, rows[3])
    removed(catalog, rows[3])  # its snapshot was left

    assert catalog.forget(NOW * 2, 10) == 0
    assert all_rows(path)["recording"] == len(rows)


def test_forget_takes_no_more_than_it_is_told(path: Path, catalog: Catalog) -> None:
    for number in range(3):
        removed(catalog, done(catalog, DAY / f"{number}.mp4", other(number)))
    catalog.gone(catalog.offer(found(DAY / "g.mp4"), NOW, reason="new"), "taken away", NOW)
    for number in range(2):
        catalog.trashed(in_trash(DAY / f"{number}.jpg"), NOW)
        catalog.trash_gone([DAY / f"{number}.jpg"], OLD, NOW)

    assert [catalog.forget(NOW + 60, 2) for _ in range(4)] == [2, 2, 2, 0]
    assert all_rows(path)["recording"] == all_rows(path)["trash"] == 0


def test_forget_goes_by_indexes(catalog: Catalog) -> None:
    asked: list[str] = []
    catalog._connection.set_trace_callback(asked.append)
    catalog.forget(NOW, 10)
    catalog._connection.set_trace_callback(None)

    plans = [
        row["detail"]
        for question in asked
        if question.startswith("DELETE")
        for row in catalog._connection.execute(f"EXPLAIN QUERY PLAN {question}")
    ]
    assert [plan for plan in plans if plan.startswith("SCAN")] == []
    assert sum("recording_by_due (state=? AND not_before<?)" in plan for plan in plans) == 2


# -- catalogs of before -----------------------------------------------------------------------------------


def of_the_fourth_schema(path: Path) -> None:
    """What the archiverd before would have left: sources and snapshots in the trash, one place named twice."""
    columns = "id, path, ino, size, mtime_ns, camera, taken_at, copy, state, reason, not_before, seen_at, disposed_to"
    rows = [
        (1, b"a.mp4", 1, 10, 100, b"front", "done", "source moved to the trash", 5.0, b"a.mp4"),
        (2, b"b.mp4", 2, 20, 200, b"front", "gone", "lost its archive", 6.0, b"b.mp4"),
        (3, b"a.mp4", 3, 30, 300, b"front", "gone", "it lies in the trash", 7.0, b"a.mp4"),
        (4, b"c.mp4", 4, 40, 400, b"front", "done", "source deleted", 8.0, None),
    ]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(";\n".join(MIGRATIONS[:4]))
        connection.executescript("PRAGMA application_id = 0x61726368; PRAGMA user_version = 4;")
        connection.execute("INSERT INTO about VALUES ('id', 'c1')")
        connection.executemany(
            f"INSERT INTO recording ({columns}) VALUES (?, ?, ?, ?, ?, ?, '2026-06-30T08:15:00', 1, ?, ?, 0, ?, ?)",  # noqa: S608  (written here)
            rows,
        )
        connection.executemany(
            "INSERT INTO history (recording, at, state, reason) VALUES (?, ?, 'done', 'x')", [(1, 50.0), (1, 55.0)]
        )
        connection.execute("INSERT INTO snapshot VALUES (1, 1, x'7a', 9, 90, 900, 1, x'792e6a7067', 'trash')")
        connection.execute("INSERT INTO snapshot VALUES (2, 1, x'77', 8, 80, 800, 1, x'772e6a7067', 'archive')")


def test_open_of_a_catalog_of_before_knows_what_lies_in_the_trash(path: Path) -> None:
    of_the_fourth_schema(path)
    with Catalog(path) as catalog:
        catalog.examine()
        lies = {str(one.path): one for one in catalog.trash_all()}

    a, b, jpg = PurePosixPath("a.mp4"), PurePosixPath("b.mp4"), PurePosixPath("y.jpg")
    why = "source moved to the trash"
    assert lies == {
        "a.mp4": Trashed(a, Fingerprint(1, 10, 100), "front", Place(Tree.SOURCE, a), why, 55.0, 1),
        "b.mp4": Trashed(b, Fingerprint(2, 20, 200), "front", Place(Tree.SOURCE, b), "lost its archive", 6.0, 2),
        "y.jpg": Trashed(
            jpg, Fingerprint(9, 90, 900), "front", Place(Tree.SOURCE, PurePosixPath("z")),
            "it went with its recording", 55.0, 1,
        ),
    }  # fmt: skip


def test_a_row_of_the_trash_that_makes_no_sense_is_damage(catalog: Catalog) -> None:
    catalog.trashed(in_trash(PATH), NOW)
    catalog.examine()
    catalog._connection.execute("UPDATE trash SET origin_tree = 'sourcf'")

    with pytest.raises(CatalogLostError, match="a row makes no sense"):
        catalog.examine()


def test_receipts_are_not_read_where_they_are_not_asked_for(catalog: Catalog) -> None:
    row = done(catalog)
    assert receipt_text(receipt()) == catalog._connection.execute("SELECT body FROM receipt").fetchone()[0]
    catalog._connection.execute("UPDATE receipt SET body = '{'")

    assert catalog.claim_removal([(row.id, OLD)], "r1") == {row.id}
    catalog.removed([(row.id, None)], "r1", NOW)
    assert catalog.forget(NOW + 1, 5) == 1
