"""What the trees still tell when the catalog is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest

from archiverd.policy.model import ArchiveKind, Discovery, Fingerprint, FoundFile, FoundRecording, Place, State, Tree
from archiverd.policy.naming import RETIRED
from archiverd.policy.rebuilding import KnownAgain, SeenArchive, is_of, known_again, may_be_source, source_name
from archiverd.policy.told import Told
from tests.recordings import MARK, OLD_NS, PATH, found, name_of, receipt, recording, snapshot_of

SECOND = 1_000_000_000
OTHER = PATH.with_name("REO_front_20260630091500.mp4")
FURTHER = PATH.with_stem(f"{PATH.stem}~2")
EMPTY = Discovery((), (), {}, ())
TOLD = Told(PATH, "5" * 64, MARK.size, MARK.mtime_ns)


def archive(path: PurePosixPath = PATH, told: Told | None = TOLD, *, size: int = 400, ino: int = 21) -> SeenArchive:
    return SeenArchive(FoundFile.at(path, Fingerprint(ino, size, OLD_NS), name_of(path)), told, 30, 2.0)


def tree(*recordings: FoundRecording) -> Discovery:
    return Discovery(recordings, (), {}, ())


def only(rows: tuple[KnownAgain, ...]) -> KnownAgain:
    (row,) = rows
    return row


def test_archive_tells_its_source_and_the_trash_its_place() -> None:
    trashed = found(PATH, MARK._replace(ino=77), snapshots=(snapshot_of(),))
    row = only(known_again([archive()], EMPTY, tree(trashed)))
    assert (row.path, row.state, row.disposed_to) == (PATH, State.DONE, PATH)
    assert (row.fingerprint.size, row.fingerprint.mtime_ns) == (MARK.size, MARK.mtime_ns)
    assert row.reason == "its archive stands and names it"


def test_snapshots_are_known_where_they_lie() -> None:
    beside, in_trash = snapshot_of(OTHER), snapshot_of()
    trashed = found(PATH, snapshots=(in_trash,))
    row = only(known_again([replace(archive(), snapshots=(beside,))], EMPTY, tree(trashed)))
    assert [(s.path, s.fingerprint, s.disposed_to, s.disposed) for s in row.snapshots] == [
        (in_trash.path, in_trash.fingerprint, Place(Tree.TRASH, in_trash.path), True),
        (beside.path, beside.fingerprint, Place(Tree.ARCHIVE, beside.path), True),
    ]


def test_row_has_an_inode_that_no_file_has() -> None:
    rows = known_again([archive(), archive(PATH.with_stem(f"{PATH.stem}~2"), ino=22)], EMPTY, EMPTY)
    inodes = {row.fingerprint.ino for row in rows}
    assert len(inodes) == 2
    assert all(ino < 0 for ino in inodes)


def test_archive_whose_source_stands_is_left_to_the_run_that_proves_it() -> None:
    assert known_again([archive()], tree(found()), EMPTY) == ()


@pytest.mark.parametrize(
    "mark",
    [MARK._replace(size=MARK.size + 1), MARK._replace(mtime_ns=MARK.mtime_ns + 3 * SECOND)],
    ids=["other-size", "other-time"],
)
def test_other_content_under_the_name_of_the_source_is_not_its_source(mark: Fingerprint) -> None:
    assert only(known_again([archive()], tree(found(PATH, mark)), EMPTY)).disposed_to is None
    row, in_trash = sorted(known_again([archive()], EMPTY, tree(found(PATH, mark))), key=lambda row: row.state)
    assert (row.state, row.disposed_to) == (State.DONE, None)
    assert (in_trash.state, in_trash.disposed_to) == (State.GONE, PATH)


def test_time_that_the_trash_rounded_is_the_same_time() -> None:
    rounded = found(PATH, MARK._replace(mtime_ns=MARK.mtime_ns - MARK.mtime_ns % (2 * SECOND)))
    assert only(known_again([archive()], EMPTY, tree(rounded))).disposed_to == PATH


def test_place_in_the_trash_under_a_further_name_is_known() -> None:
    there = PATH.with_stem(f"{PATH.stem}~2")
    row = only(known_again([archive()], EMPTY, tree(found(there))))
    assert (row.path, row.disposed_to) == (PATH, there)


def test_of_two_alike_in_the_trash_each_archive_takes_the_one_it_names() -> None:
    second = PATH.with_stem(f"{PATH.stem}~2")
    archives = [archive(second, replace(TOLD, source=second), ino=22), archive()]
    rows = known_again(archives, EMPTY, tree(found(second), found(PATH)))
    assert {row.path: row.disposed_to for row in rows} == {PATH: PATH, second: second}


def test_archive_that_names_a_source_chooses_before_one_that_only_looks_alike() -> None:
    alike = archive(PATH.with_stem(f"{PATH.stem}~2"), None, size=MARK.size, ino=22)
    rows = known_again([alike, archive()], EMPTY, tree(found(PATH)))
    assert {row.archive.file.path: row.disposed_to for row in rows if row.archive} == {
        PATH: PATH,
        alike.file.path: None,
    }


def test_archive_that_names_no_source_is_known_by_its_size_and_time() -> None:
    row = only(known_again([archive(told=None, size=MARK.size)], EMPTY, tree(found(PATH))))
    assert (row.path, row.state, row.disposed_to) == (PATH, State.DONE, PATH)
    assert row.reason.startswith("an archive stands that names no source")


def test_archive_that_names_no_source_is_left_to_the_run_whatever_its_time() -> None:
    copied = archive(told=None, size=MARK.size)
    standing = found(PATH, MARK._replace(mtime_ns=MARK.mtime_ns + 9999 * SECOND))
    assert known_again([copied], tree(standing), EMPTY) == ()


def test_what_lies_in_the_trash_alone_is_told_as_such() -> None:
    row = only(known_again([], EMPTY, tree(found(OTHER, snapshots=(snapshot_of(OTHER),)))))
    assert (row.state, row.path, row.archive, row.disposed_to) == (State.GONE, OTHER, None, OTHER)
    assert row.reason == "it lies in the trash, and no archive of it stands"


def test_what_the_catalog_knows_of_the_trash_is_not_told_again() -> None:
    assert known_again([], EMPTY, tree(found(PATH)), [PATH]) == ()


def test_rows_come_oldest_first() -> None:
    rows = known_again([archive(OTHER, replace(TOLD, source=OTHER)), archive()], EMPTY, EMPTY)
    assert [row.path for row in rows] == [PATH, OTHER]


# ---- archives in the trash


def in_trash(path: PurePosixPath = PATH, told: Told | None = TOLD, *, size: int = 400, ino: int = 41) -> SeenArchive:
    seen = archive(path, told, size=size, ino=ino)
    return replace(seen, file=seen.file.moved(RETIRED / path))


def retired_rows(rows: tuple[KnownAgain, ...]) -> list[tuple[PurePosixPath | None, PurePosixPath | None]]:
    """The places in the trash of archive and source, of recordings that are REMOVED."""
    return [(row.retired, row.disposed_to) for row in rows if row.state is State.REMOVED]


def test_archive_in_the_trash_tells_its_source_and_what_path_it_had() -> None:
    row = only(known_again([], EMPTY, tree(found()), (), [in_trash(FURTHER)]))
    assert (row.state, row.path, row.disposed_to, row.retired) == (State.REMOVED, PATH, PATH, RETIRED / FURTHER)
    assert row.archive is not None
    assert row.archive.file.path == FURTHER
    assert row.reason == "its archive lay in the trash when the catalog was made anew"
    receipt = row.receipt(9.0)
    assert receipt is not None
    assert (receipt.kind, receipt.source_sha256, receipt.archive_sha256) == (ArchiveKind.REBUILT, TOLD.sha256, "")


def test_snapshots_of_an_archive_in_the_trash_were_beside_it() -> None:
    of_source, beside = snapshot_of(), snapshot_of(OTHER)
    lies = beside.moved(RETIRED / beside.path)
    seen = replace(in_trash(), snapshots=(lies,))
    row = only(known_again([], EMPTY, tree(found(PATH, snapshots=(of_source,))), (), [seen]))
    assert [(s.path, s.disposed_to, row.came_from(s)) for s in row.snapshots] == [
        (of_source.path, Place(Tree.TRASH, of_source.path), Place(Tree.SOURCE, of_source.path)),
        (PATH.with_name(beside.path.name), Place(Tree.TRASH, lies.path), Place(Tree.ARCHIVE, beside.path)),
    ]


@pytest.mark.parametrize("standing", [archive(FURTHER), archive(told=None, size=MARK.size)], ids=["named", "its bytes"])
def test_archive_that_stands_wins_over_one_in_the_trash(standing: SeenArchive) -> None:
    row = only(known_again([standing], EMPTY, tree(found()), (), [in_trash()]))
    assert (row.state, row.disposed_to, row.retired) == (State.DONE, PATH, None)


def test_archives_in_the_trash_of_a_source_that_stands_are_left_to_the_run_that_archives_it() -> None:
    further = in_trash(FURTHER, ino=42)
    assert known_again([], tree(found()), EMPTY, (), [in_trash(), further]) == ()


def test_each_of_several_archives_in_the_trash_has_a_row_and_one_the_source() -> None:
    further = in_trash(FURTHER, ino=42)
    rows = known_again([], EMPTY, tree(found()), (), [further, in_trash()])
    assert retired_rows(rows) == [(RETIRED / PATH, PATH), (further.file.path, None)]
    assert len({row.fingerprint for row in rows}) == 2


def test_other_content_of_the_same_path_is_another_recording() -> None:
    other = in_trash(told=replace(TOLD, sha256="6" * 64, size=MARK.size + 7))
    rows = known_again([archive()], EMPTY, tree(found()), (), [other])
    assert {(row.state, row.disposed_to) for row in rows} == {(State.DONE, PATH), (State.REMOVED, None)}


@pytest.mark.parametrize(
    ("size", "state", "retired"), [(MARK.size, State.REMOVED, RETIRED / PATH), (MARK.size + 1, State.GONE, None)]
)
def test_archive_in_the_trash_that_names_no_source_is_known_by_one_that_lies_there(
    size: int, state: State, retired: PurePosixPath | None
) -> None:
    row = only(known_again([], EMPTY, tree(found()), (), [in_trash(told=None, size=size)]))
    assert (row.state, row.retired, row.disposed_to) == (state, retired, PATH)


def test_archive_in_the_trash_that_names_its_source_chooses_first() -> None:
    alike = in_trash(FURTHER, None, size=MARK.size, ino=42)
    rows = known_again([], EMPTY, tree(found()), (), [alike, in_trash()])
    assert retired_rows(rows) == [(RETIRED / PATH, PATH)]


@pytest.mark.parametrize(
    ("changes", "sha256", "expected"),
    [
        ({"receipt": None}, TOLD.sha256, False),
        ({}, TOLD.sha256, True),
        ({}, "", True),
        ({}, "6" * 64, False),
        ({"fingerprint": MARK._replace(size=MARK.size + 1)}, "", False),
        ({"fingerprint": MARK._replace(mtime_ns=MARK.mtime_ns + 3 * SECOND)}, "", False),
        ({"fingerprint": MARK._replace(size=MARK.size + 1)}, TOLD.sha256, True),
    ],
)
def test_archive_is_of_a_recording_by_the_hash_of_its_source_else_by_size_and_time(
    changes: dict[str, Any], sha256: str, expected: bool
) -> None:
    row = recording(State.DONE, **{"receipt": receipt(source_sha256=sha256), **changes})
    assert is_of(TOLD, row) is expected


# ---- files without a name


@pytest.mark.parametrize(
    ("told", "directory", "size", "mtime_ns", "expected"),
    [
        (TOLD, PATH.parent, MARK.size, MARK.mtime_ns, True),
        (TOLD, PATH.parent, MARK.size, MARK.mtime_ns + 2 * SECOND, True),
        (TOLD, PATH.parent, MARK.size, MARK.mtime_ns + 2 * SECOND + 1, False),
        (TOLD, PATH.parent, MARK.size + 1, MARK.mtime_ns, False),
        (TOLD, PurePosixPath("2026/07/01"), MARK.size, MARK.mtime_ns, False),
        (None, PurePosixPath("2026/07/01"), 400, OLD_NS, True),
        (None, PATH.parent, 401, OLD_NS, False),
    ],
)
def test_nameless_file_may_be_the_source_of_an_archive(
    told: Told | None, directory: PurePosixPath, size: int, mtime_ns: int, expected: bool
) -> None:
    assert may_be_source(archive(told=told), directory, size, mtime_ns) is expected


def test_name_of_a_source_is_the_one_told_else_the_archives_own() -> None:
    assert source_name(archive(OTHER)) == PATH.name
    assert source_name(archive(OTHER, None)) == OTHER.name
