"""The catalog on real SQLite files: its steps, what it remembers, and what it survives."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from archiverd.errors import ResourceError, StartupError
from archiverd.policy.model import (
    ArchiveKind,
    ClipName,
    Event,
    Fingerprint,
    FoundFile,
    FoundRecording,
    Place,
    Recording,
    Snapshot,
    State,
    Tree,
)
from archiverd.policy.problems import Change, Course, Notice, Problem, ProblemKind
from archiverd.policy.room import Taken
from archiverd.storage.catalog import Catalog, ClaimLostError
from archiverd.storage.catalog_rows import receipt_text
from archiverd.storage.catalog_schema import FILE_NAME, MIGRATIONS
from tests.recordings import MARK, NOW, PATH, TAKEN_AT, found, receipt, snapshot_of

REPOSITORY = Path(__file__).parents[2]
ARCHIVE = PurePosixPath("2026/06/30/REO_front_20260630081500.mp4")
OTHER_MARK = Fingerprint(99, 2000, MARK.mtime_ns + 1)
NEVER_UTF8 = "REO_T\udcfcr \n\x1b[31m_20260630081500.mp4"
LONGEST = "x" * (255 - len("_20260630081500.mp4")) + "_20260630081500.mp4"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


@pytest.fixture
def catalog(path: Path) -> Iterator[Catalog]:
    with Catalog(path, new_id="c1") as opened:
        yield opened


def offer(catalog: Catalog, seen: FoundRecording | None = None, at: float = NOW) -> Recording:
    return catalog.offer(found() if seen is None else seen, at, reason="found")


def entry(catalog: Catalog, name: str) -> Recording:
    return offer(catalog, found(PATH.with_name(name)))


def nth_entry(catalog: Catalog, number: int) -> Recording:
    day, hour, minute = number // 1440 + 1, number // 60 % 24, number % 60
    return entry(catalog, f"front_202606{day:02}{hour:02}{minute:02}00.mp4")


def claimed(catalog: Catalog) -> Recording:
    return catalog.claim(offer(catalog), "j1", NOW + 1)


def publishing(catalog: Catalog, row: Recording | None = None) -> Recording:
    row = claimed(catalog) if row is None else catalog.claim(row, "j1", NOW + 1)
    return catalog.publishing(row, ARCHIVE, "a" * 64, 400, receipt(), NOW + 2)


def archived(catalog: Catalog) -> Recording:
    return catalog.archived(publishing(catalog), receipt(), "transcoded", NOW + 3)


def done(catalog: Catalog) -> Recording:
    return catalog.done(archived(catalog), PATH, "source moved to the trash", NOW + 4)


def quarantined(catalog: Catalog) -> Recording:
    return catalog.quarantine(claimed(catalog), "no moov", NOW + 2)


def gone(catalog: Catalog) -> Recording:
    return catalog.gone(claimed(catalog), "the source is not there any more", NOW + 2)


def removed(catalog: Catalog) -> Recording:
    row = done(catalog)
    catalog.claim_removal([(row.id, "older than 90 days")], "r1")
    catalog.removed([(row.id, None)], "r1", NOW + 5)
    return catalog.reload(row)


BRING_TO: dict[State, Callable[[Catalog], Recording]] = {
    State.WAITING: offer,
    State.ACTIVE: claimed,
    State.PUBLISHING: publishing,
    State.ARCHIVED: archived,
    State.DONE: done,
    State.REMOVED: removed,
    State.QUARANTINED: quarantined,
    State.GONE: gone,
}


def dump(path: Path) -> list[str]:
    """All that the file holds, as a connection of its own sees it."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def python(script: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", script, *map(str, arguments)]


def in_another_process(script: str, *arguments: object) -> None:
    ended = subprocess.run(python(script, *arguments), cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


# -- opening ----------------------------------------------------------------------------------------------


def test_open_makes_the_file_with_the_id_it_is_given(path: Path) -> None:
    with Catalog(path, new_id="c1"):
        pass
    with Catalog(path, new_id="another") as catalog:
        assert catalog.id == "c1"


def test_open_invents_an_id_where_none_is_given(tmp_path: Path) -> None:
    with Catalog(tmp_path / "one") as one, Catalog(tmp_path / "two") as two:
        assert len({one.id, two.id, ""}) == 3


def test_open_makes_a_file_that_others_cannot_read(path: Path) -> None:
    before = os.umask(0)
    try:
        with Catalog(path):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_open_takes_an_empty_file_for_a_new_one(path: Path) -> None:
    """A first start on a full disk leaves such a file."""
    path.touch()
    with Catalog(path, new_id="c1") as catalog:
        assert (catalog.id, done(catalog).state) == ("c1", State.DONE)


def test_open_again_changes_nothing(path: Path, catalog: Catalog) -> None:
    done(catalog)
    before = dump(path)
    with Catalog(path):
        pass
    assert dump(path) == before


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("synchronous", 3),  # EXTRA: https://www.sqlite.org/pragma.html#pragma_synchronous
        ("journal_mode", "delete"),
        ("foreign_keys", 1),
        ("trusted_schema", 0),
        ("user_version", len(MIGRATIONS)),
        ("application_id", 0x61726368),
    ],
)
def test_open_sets_what_makes_it_safe(catalog: Catalog, pragma: str, value: int | str) -> None:
    assert catalog._connection.execute(f"PRAGMA {pragma}").fetchone()[0] == value


EITHER_WAY = pytest.mark.parametrize("opened", [Catalog, Catalog.to_read], ids=["to write", "to read"])


@EITHER_WAY
def test_open_refuses_a_newer_catalog_and_leaves_it_alone(
    path: Path, opened: Callable[[Path], AbstractContextManager[Catalog]]
) -> None:
    with Catalog(path) as catalog:
        catalog._connection.execute("PRAGMA user_version = 1000")
    before = path.read_bytes()
    with pytest.raises(StartupError, match=r"by a newer archiverd \(schema 1000, this one knows"), opened(path):
        pass
    assert path.read_bytes() == before


def of_the_first_schema(path: Path) -> None:
    """What the first archiverd would have left: one recording, its snapshot in the trash."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(MIGRATIONS[0])
        connection.executescript("""
            PRAGMA application_id = 0x61726368;
            PRAGMA user_version = 1;
            INSERT INTO about VALUES ('id', 'c1');
            INSERT INTO recording (id, path, ino, size, mtime_ns, camera, taken_at, copy, state, reason, not_before,
                seen_at) VALUES (1, x'61', 1, 2, 3, x'62', '2026-06-30T08:15:00', 1, 'done', '', 0, 0);
            INSERT INTO snapshot VALUES (1, 1, x'63', 4, 5, 6, 1, x'64'), (2, 1, x'65', 7, 8, 9, 1, NULL);
        """)


@EITHER_WAY
def test_open_of_an_older_catalog_knows_what_went_to_the_trash(
    path: Path, opened: Callable[[Path], AbstractContextManager[Catalog]]
) -> None:
    of_the_first_schema(path)
    before = path.read_bytes()
    with opened(path) as catalog:
        (row,) = catalog.recordings()
    places = [snapshot.disposed_to for snapshot in row.snapshots]
    assert (catalog.id, places) == ("c1", [Place(Tree.TRASH, PurePosixPath("d")), None])
    assert (path.read_bytes() == before) is (opened != Catalog)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(receipt_text(receipt(rung="software")), {"software": 1}), (receipt_text(receipt(rung="")), {}), ("{", {})],
)
def test_open_of_an_older_catalog_knows_what_encoded_its_archives(
    path: Path, text: str, expected: dict[str, int]
) -> None:
    of_the_first_schema(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE recording SET receipt = ?", (text,))
    with Catalog(path) as catalog:
        assert catalog.encoded() == expected


def test_open_of_an_older_catalog_knows_its_receipts(path: Path) -> None:
    of_the_first_schema(path)
    made = receipt(rung="software")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE recording SET receipt = ?", (receipt_text(made),))
    with Catalog(path) as catalog:
        catalog.examine()
        assert [row.receipt for row in catalog.recordings()] == [made]


PROBLEM = Problem(ProblemKind.QUIET, "T\udcfcr", "T\udcfcr is quiet", "Look at it")
NOTICES = [Notice(change, PROBLEM, NOW, NOW + 1) for change in (Change.OPENED, Change.CLOSED, Change.OPENED)]


def test_problems_are_known_to_the_next_who_opens_it_and_to_readers(path: Path) -> None:
    of_the_first_schema(path)
    courses = [Course(PROBLEM, NOW, is_open=True), Course(replace(PROBLEM, subject="b"), NOW + 1, True, NOW + 2)]
    with Catalog(path) as catalog:
        assert catalog.problems() == ([], [])
        catalog.keep_problems([Course(PROBLEM, NOW - 1, is_open=True)], NOTICES[:1])
        catalog.keep_problems(courses, NOTICES)
    with Catalog.to_read(path) as catalog:
        assert catalog.problems() == (courses, NOTICES)


def test_a_problem_that_makes_no_sense_is_left_out(path: Path) -> None:
    with Catalog(path) as catalog:
        catalog.keep_problems([Course(PROBLEM, NOW, is_open=True)], NOTICES[:1])
        catalog._connection.execute("UPDATE problem SET kind = 'quiex'")
        catalog._connection.execute("UPDATE notice SET change = 'opened?'")
        assert catalog.problems() == ([], [])


def no_database(path: Path) -> None:
    path.write_bytes(b"This is no database. " * 200)


def no_pages(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100] + bytes(path.stat().st_size - 100))


def cut_short(path: Path) -> None:
    os.truncate(path, 4096)


def changed_by(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


def without_its_id(path: Path) -> None:
    changed_by(path, "DELETE FROM about")


def without_a_table(path: Path) -> None:
    changed_by(path, "DROP TABLE about")


def of_another_program(path: Path) -> None:
    path.unlink()
    changed_by(path, "CREATE TABLE bookmarks (address TEXT)")


DAMAGES = [no_database, no_pages, cut_short, without_its_id, without_a_table, of_another_program]


@EITHER_WAY
@pytest.mark.parametrize("damage", DAMAGES)
def test_open_refuses_what_is_not_its_catalog_and_leaves_it_alone(
    path: Path, damage: Callable[[Path], None], opened: Callable[[Path], AbstractContextManager[Catalog]]
) -> None:
    with Catalog(path):
        pass
    damage(path)
    before = path.read_bytes()
    with pytest.raises(StartupError, match=FILE_NAME), opened(path):
        pass
    assert path.read_bytes() == before


def test_a_damaged_page_is_told_when_it_is_met(path: Path, catalog: Catalog) -> None:
    for number in range(100):
        nth_entry(catalog, number)
    pages = path.stat().st_size // 4096
    with path.open("r+b") as file:
        file.seek(pages // 4 * 4096)
        file.write(b"\xff" * (pages // 2 * 4096))
    with pytest.raises(StartupError, match="the catalog is damaged"), Catalog(path) as damaged:
        damaged.recordings()


# -- the disk under it ------------------------------------------------------------------------------------


def can_mount() -> bool:
    """Whether this process has CAP_SYS_ADMIN (bit 21)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    capabilities = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return os.geteuid() == 0 and bool(int(capabilities, 16) >> 21 & 1)


@contextmanager
def tmpfs(where: Path, options: str) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", where], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", "--lazy", where], check=True)


@contextmanager
def missing_directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "none"


@contextmanager
def read_only_directory(tmp_path: Path) -> Iterator[Path]:
    tmp_path.chmod(0o555)
    yield tmp_path
    tmp_path.chmod(0o755)


@contextmanager
def read_only_mount(tmp_path: Path) -> Iterator[Path]:
    with tmpfs(tmp_path, "ro"):
        yield tmp_path


@contextmanager
def full_mount(tmp_path: Path) -> Iterator[Path]:
    with tmpfs(tmp_path, "size=16k"):
        (tmp_path / "other").write_bytes(bytes(16384))
        yield tmp_path


@contextmanager
def mount_without_inodes(tmp_path: Path) -> Iterator[Path]:
    with tmpfs(tmp_path, "nr_inodes=1"):
        yield tmp_path


# Nothing but a mount is read-only to root.
UNWRITABLE = [missing_directory, *([] if os.geteuid() == 0 else [read_only_directory])]
UNWRITABLE_MOUNTS = [read_only_mount, full_mount, mount_without_inodes] if can_mount() else []


@pytest.mark.parametrize("place", [*UNWRITABLE, *UNWRITABLE_MOUNTS])
def test_open_tells_a_disk_it_cannot_write_to(
    tmp_path: Path, place: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    with place(tmp_path) as directory, pytest.raises(ResourceError, match=FILE_NAME), Catalog(directory / FILE_NAME):
        pass


class Bounded:
    """A catalog on a disk that can be filled and freed."""

    def __init__(self, catalog: Catalog, fill: Callable[[], object], free: Callable[[], object]) -> None:
        self.catalog = catalog
        self.fill = fill
        self.free = free


@contextmanager
def bounded_by_sqlite(tmp_path: Path) -> Iterator[Bounded]:
    """SQLite gives the very error of a full disk where the file may not grow."""
    with Catalog(tmp_path / FILE_NAME) as catalog:
        execute = catalog._connection.execute
        yield Bounded(
            catalog,
            lambda: execute("PRAGMA max_page_count = 1").fetchall(),
            lambda: execute("PRAGMA max_page_count = 100000").fetchall(),
        )


@contextmanager
def bounded_by_its_disk(tmp_path: Path) -> Iterator[Bounded]:
    filler = tmp_path / "filler"
    with tmpfs(tmp_path, "size=512k"), Catalog(tmp_path / FILE_NAME) as catalog:
        yield Bounded(catalog, lambda: fill_up(filler), filler.unlink)


def fill_up(filler: Path) -> None:
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.fixture(params=[bounded_by_sqlite, *([bounded_by_its_disk] if can_mount() else [])])
def bounded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bounded]:
    with request.param(tmp_path) as made:
        yield made


def offer_until_full(catalog: Catalog) -> list[Recording]:
    """What the catalog took before it told that its disk is full."""
    taken: list[Recording] = []

    def offer_on() -> None:
        taken.extend(nth_entry(catalog, number) for number in range(10_000))

    with pytest.raises(ResourceError, match="disk is full"):
        offer_on()
    return taken


def test_a_full_disk_takes_nothing_that_was_committed(bounded: Bounded) -> None:
    first = archived(bounded.catalog)
    bounded.fill()
    taken = offer_until_full(bounded.catalog)
    assert bounded.catalog.recordings() == [*taken, first]


@pytest.mark.parametrize("bounded", [bounded_by_its_disk] if can_mount() else [], indirect=True)
def test_a_full_disk_is_no_damage(bounded: Bounded) -> None:
    archived(bounded.catalog)
    bounded.fill()
    with pytest.raises(ResourceError, match="disk is full"):
        bounded.catalog.examine()


def test_a_full_disk_that_is_freed_takes_more(bounded: Bounded) -> None:
    bounded.fill()
    offer_until_full(bounded.catalog)
    bounded.free()
    assert done(bounded.catalog).state is State.DONE


def test_a_writer_that_will_not_end_is_told(path: Path, catalog: Catalog) -> None:
    catalog._connection.execute("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ResourceError, match="locked"):
            offer(catalog)


# -- offers -----------------------------------------------------------------------------------------------


def test_offer_enters_what_was_found(catalog: Catalog) -> None:
    assert offer(catalog, found(snapshots=(snapshot_of(),))) == Recording(
        id=1, path=PATH, fingerprint=MARK, name=ClipName("front", TAKEN_AT), state=State.WAITING, reason="found",
        not_before=NOW, seen_at=NOW, attempts=0, crashes=0, job="", archive=None, archive_sha256="", archive_size=0,
        receipt=None, disposed_to=None, snapshots=(Snapshot(1, snapshot_of().path, snapshot_of().fingerprint),),
    )  # fmt: skip


@pytest.mark.parametrize("state", [state for state in State if state not in (State.GONE, State.REMOVED)])
def test_offer_of_the_same_content_changes_nothing(path: Path, catalog: Catalog, state: State) -> None:
    BRING_TO[state](catalog)
    before = dump(path)
    offer(catalog, at=NOW + 100)
    assert dump(path) == before


def test_offer_of_what_a_clock_ahead_has_seen_counts_from_now(catalog: Catalog) -> None:
    """Until that clock's time has come again, the recording would never be old enough."""
    was = offer(catalog, at=NOW + 3600)
    again = offer(catalog, at=NOW)
    assert (again.seen_at, again) == (NOW, replace(was, seen_at=NOW))


def test_offer_of_what_a_clock_ahead_has_seen_leaves_others_alone(catalog: Catalog) -> None:
    other = offer(catalog, found(PATH.with_name("back_20260630081500.mp4")), NOW + 3600)
    offer(catalog, at=NOW)
    assert catalog.reload(other) == other


def test_offer_of_the_same_content_that_was_gone_waits_again(catalog: Catalog) -> None:
    was = gone(catalog)
    again = offer(catalog, at=NOW + 100)
    assert again == replace(was, state=State.WAITING, reason="the source is there again", not_before=NOW + 100)


def test_offer_of_other_content_brings_what_waits_up_to_date(catalog: Catalog) -> None:
    failed = catalog.wait(claimed(catalog), "ffmpeg failed", NOW + 60, NOW + 2, failed=True)
    offer(catalog, found(mark=OTHER_MARK), NOW + 100)
    assert catalog.recordings() == [
        replace(
            failed, fingerprint=OTHER_MARK, attempts=0, reason="the file has changed", not_before=NOW + 100,
            seen_at=NOW + 100,
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    "state", [State.ACTIVE, State.PUBLISHING, State.ARCHIVED, State.DONE, State.REMOVED, State.GONE]
)
def test_offer_of_other_content_is_another_recording(catalog: Catalog, state: State) -> None:
    old = BRING_TO[state](catalog)
    new = offer(catalog, found(mark=OTHER_MARK))
    assert (catalog.at_path(PATH), new.state) == ([old, new], State.WAITING)


def test_offer_of_other_content_closes_what_was_quarantined(catalog: Catalog) -> None:
    old = quarantined(catalog)
    offer(catalog, found(mark=OTHER_MARK), NOW + 100)
    assert [(row.state, row.reason) for row in catalog.at_path(PATH)] == [
        (State.GONE, "replaced by another upload of the same name"),
        (State.WAITING, "found"),
    ]
    assert catalog.history(old)[-1].at == NOW + 100


@pytest.mark.parametrize("state", State)
def test_offer_attaches_a_snapshot_that_comes_late(catalog: Catalog, state: State) -> None:
    was = BRING_TO[state](catalog)
    offer(catalog, found(snapshots=(snapshot_of(),)))
    assert was.snapshots == ()
    assert catalog.reload(was).snapshots == (Snapshot(1, snapshot_of().path, snapshot_of().fingerprint),)


def test_offer_takes_a_snapshot_to_the_recording_it_is_paired_with_now(catalog: Catalog) -> None:
    first = offer(catalog, found(snapshots=(snapshot_of(),)))
    second = offer(catalog, found(PATH.with_name("front_20260630081501.mp4"), snapshots=(snapshot_of(),)))
    assert (catalog.reload(first).snapshots, second.snapshots) == ((), first.snapshots)


def test_offer_gives_each_snapshot_an_id_and_keeps_it(catalog: Catalog) -> None:
    pictures = tuple(snapshot_of().moved(PATH.with_suffix(suffix)) for suffix in (".a.jpg", ".b.jpg"))
    first = offer(catalog, found(snapshots=pictures))
    other = offer(catalog, found(PATH.with_name("back_20260630081500.mp4"), snapshots=(snapshot_of(),)))
    assert len({snapshot.id for row in (first, other) for snapshot in row.snapshots}) == 3
    assert offer(catalog, found(snapshots=pictures), NOW + 1).snapshots == first.snapshots


def test_offer_of_a_disposed_snapshot_takes_it_back(catalog: Catalog) -> None:
    (snapshot,) = offer(catalog, found(snapshots=(snapshot_of(),))).snapshots
    catalog.snapshot_disposed(snapshot, Place(Tree.ARCHIVE, PurePosixPath("a.jpg")), NOW)
    (again,) = offer(catalog, found(snapshots=(snapshot_of(),))).snapshots
    assert again == snapshot


def test_offer_is_committed_whole_or_not_at_all(path: Path, catalog: Catalog) -> None:
    """The second snapshot can't be stored, so that neither the recording nor the first one is."""
    before = dump(path)
    impossible = snapshot_of()._replace(fingerprint=Fingerprint(1, 2**63, 0))
    with pytest.raises(OverflowError):
        offer(catalog, found(snapshots=(snapshot_of(), impossible)))
    assert dump(path) == before


# -- the way of a recording -------------------------------------------------------------------------------

Step = Callable[[Catalog, Recording], Recording]

# From which state, what is done, and to which state it leads.
STEPS: dict[str, tuple[State, Step, State]] = {
    "claim": (State.WAITING, lambda catalog, row: catalog.claim(row, "j1", NOW), State.ACTIVE),
    "claim again": (State.ARCHIVED, lambda catalog, row: catalog.claim(row, "j2", NOW), State.ARCHIVED),
    "wait": (State.ACTIVE, lambda catalog, row: catalog.wait(row, "later", NOW + 9, NOW), State.WAITING),
    "crashed": (State.PUBLISHING, lambda catalog, row: catalog.crashed(row, "died", NOW, NOW), State.WAITING),
    "publishing": (
        State.ACTIVE,
        lambda catalog, row: catalog.publishing(row, ARCHIVE, "a", 4, receipt(), NOW),
        State.PUBLISHING,
    ),
    "archived": (
        State.PUBLISHING,
        lambda catalog, row: catalog.archived(row, receipt(), "transcoded", NOW),
        State.ARCHIVED,
    ),
    "adopted": (State.ACTIVE, lambda catalog, row: catalog.adopted(row, ARCHIVE, receipt(), NOW), State.ARCHIVED),
    "hold": (State.ARCHIVED, lambda catalog, row: catalog.hold(row, "protected", NOW + 9, NOW), State.ARCHIVED),
    "stands again": (
        State.DONE,
        lambda catalog, row: catalog.take_up_again(row, "its source stands again", NOW),
        State.ARCHIVED,
    ),
    "done": (State.ARCHIVED, lambda catalog, row: catalog.done(row, PATH, "in the trash", NOW), State.DONE),
    "quarantine": (State.ACTIVE, lambda catalog, row: catalog.quarantine(row, "no moov", NOW), State.QUARANTINED),
    "gone": (State.ACTIVE, lambda catalog, row: catalog.gone(row, "not there", NOW), State.GONE),
}
EVERY_STEP = pytest.mark.parametrize("name", STEPS)

RIVAL = """
import sys
from pathlib import Path
from archiverd.storage.catalog import Catalog
with Catalog(Path(sys.argv[1])) as catalog:
    (row,) = catalog.recordings()
    catalog.quarantine(row, "set aside by another process", 1.0)
"""


@EVERY_STEP
def test_step_leads_to_its_state(catalog: Catalog, name: str) -> None:
    begin, step, end = STEPS[name]
    assert step(catalog, BRING_TO[begin](catalog)).state is end


@EVERY_STEP
def test_step_returns_what_is_committed(path: Path, catalog: Catalog, name: str) -> None:
    begin, step, _ = STEPS[name]
    row = step(catalog, BRING_TO[begin](catalog))
    with Catalog(path) as other:
        assert other.recordings() == [row]


@EVERY_STEP
def test_step_writes_its_line_of_history(catalog: Catalog, name: str) -> None:
    begin, step, _ = STEPS[name]
    before = BRING_TO[begin](catalog)
    lines = catalog.history(before)
    row = step(catalog, before)
    told = [Event(NOW, row.state, row.reason)] if name != "claim again" else []  # nothing has become of it
    assert catalog.history(row) == [*lines, *told]


@EVERY_STEP
def test_step_on_what_another_process_moved_is_refused_and_changes_nothing(
    path: Path, catalog: Catalog, name: str
) -> None:
    begin, step, _ = STEPS[name]
    row = BRING_TO[begin](catalog)
    in_another_process(RIVAL, path)
    before = dump(path)
    with pytest.raises(ClaimLostError, match="no longer"):
        step(catalog, row)
    assert dump(path) == before


@EVERY_STEP
def test_step_under_another_job_is_refused_and_changes_nothing(path: Path, catalog: Catalog, name: str) -> None:
    begin, step, _ = STEPS[name]
    row = BRING_TO[begin](catalog)
    before = dump(path)
    with pytest.raises(ClaimLostError, match="no longer"):
        step(catalog, replace(row, job="another"))
    assert dump(path) == before


@pytest.mark.parametrize(
    ("name", "state"), [(name, state) for name, (begin, _, _) in STEPS.items() for state in State if state is not begin]
)
def test_step_from_a_state_the_row_is_not_in_is_refused_and_changes_nothing(
    path: Path, catalog: Catalog, name: str, state: State
) -> None:
    begin, step, _ = STEPS[name]
    stale = replace(BRING_TO[state](catalog), state=begin)
    before = dump(path)
    with pytest.raises(ClaimLostError, match="no longer"):
        step(catalog, stale)
    assert dump(path) == before


CLAIM_ALL = """
import sys
from pathlib import Path
from archiverd.policy.problems import Change, Course, Notice, Problem, ProblemKind
from archiverd.storage.catalog import Catalog, ClaimLostError
with Catalog(Path(sys.argv[1])) as catalog:
    rows = catalog.recordings()
    print("ready", flush=True)
    sys.stdin.readline()
    for row in rows:
        try:
            catalog.claim(row, sys.argv[2], 1.0)
        except ClaimLostError:
            continue
        print(row.id, flush=True)
"""


def claimer(path: Path, job: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        python(CLAIM_ALL, path, job), cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_claims_of_two_processes_never_meet(path: Path, catalog: Catalog) -> None:
    everything = [nth_entry(catalog, number).id for number in range(60)]
    with claimer(path, "one") as one, claimer(path, "two") as two:
        for rival in (one, two):
            assert rival.stdout is not None
            assert rival.stdout.readline() == "ready\n"
        for rival in (one, two):
            assert rival.stdin is not None
            rival.stdin.write("go\n")
            rival.stdin.flush()
        won = {job: rival.communicate(timeout=60)[0].split() for job, rival in (("one", one), ("two", two))}
    assert sorted(map(int, won["one"] + won["two"])) == everything
    assert {str(row.id): row.job for row in catalog.recordings()} == {
        number: job for job, numbers in won.items() for number in numbers
    }


def test_wait_takes_back_what_was_about_to_be_published(catalog: Catalog) -> None:
    row = catalog.wait(publishing(catalog), "paused", NOW + 9, NOW + 3)
    assert (row.archive, row.archive_sha256, row.archive_size, row.receipt, row.job) == (None, "", 0, None, "")


@pytest.mark.parametrize(("failed", "attempts"), [(False, 0), (True, 1)])
def test_wait_counts_only_failures(catalog: Catalog, failed: bool, attempts: int) -> None:
    assert catalog.wait(claimed(catalog), "later", NOW + 9, NOW, failed=failed).attempts == attempts


def test_crashed_counts_apart_from_failures(catalog: Catalog) -> None:
    row = catalog.crashed(claimed(catalog), "died", NOW, NOW)
    assert (row.crashes, row.attempts) == (1, 0)


@pytest.mark.parametrize("newest_first", [False, True])
def test_what_died_comes_after_all_others_and_at_once_where_there_are_none(
    catalog: Catalog, newest_first: bool
) -> None:
    """One death is held against nobody."""
    rows = [nth_entry(catalog, number) for number in range(4)]
    for index, deaths in ((0, 3), (1, 2), (2, 1)):
        for job in range(deaths):
            row = catalog.claim(catalog.reload(rows[index]), f"j{index}{job}", NOW)
            catalog.crashed(row, "died", NOW, NOW)

    order = []
    while (row_due := catalog.due(NOW, newest_first=newest_first)) is not None:
        order.append(row_due.id)
        catalog.gone(row_due, "taken away", NOW)

    without = [rows[3].id, rows[2].id] if newest_first else [rows[2].id, rows[3].id]
    assert order == [*without, rows[1].id, rows[0].id]


def test_what_is_put_off_for_its_deaths_is_not_due_till_then(catalog: Catalog) -> None:
    row = catalog.crashed(claimed(catalog), "died", NOW + 600, NOW)
    assert catalog.due(NOW) is None
    assert catalog.next_due(NOW) == NOW + 600
    assert catalog.due(NOW + 600) == row


def test_catalog_tells_whether_an_archive_was_made_since(catalog: Catalog) -> None:
    assert catalog.archived_since(0)
    row = publishing(catalog)
    change = catalog.last_change()
    assert not catalog.archived_since(change)
    catalog.archived(row, receipt(), "transcoded", NOW)
    assert catalog.archived_since(change)
    assert not catalog.archived_since(catalog.last_change())


def test_archived_forgets_failures_and_crashes(catalog: Catalog) -> None:
    row = catalog.crashed(claimed(catalog), "died", NOW, NOW)
    row = catalog.wait(catalog.claim(row, "j2", NOW), "ffmpeg failed", NOW, NOW, failed=True)
    row = catalog.publishing(catalog.claim(row, "j3", NOW), ARCHIVE, "a", 4, receipt(), NOW)
    row = catalog.archived(row, receipt(), "transcoded", NOW)
    assert (row.attempts, row.crashes) == (0, 0)


def test_publishing_again_takes_the_other_name(catalog: Catalog) -> None:
    other = ARCHIVE.with_name("REO_front_20260630081500~2.mp4")
    row = catalog.publishing(publishing(catalog), other, "b" * 64, 401, receipt(), NOW)
    assert (row.archive, row.archive_sha256, row.archive_size) == (other, "b" * 64, 401)


def test_hold_keeps_the_job(catalog: Catalog) -> None:
    assert catalog.hold(archived(catalog), "protected", NOW + 9, NOW).job == "j1"


def test_what_is_held_each_day_anew_writes_one_line(catalog: Catalog) -> None:
    row = catalog.hold(archived(catalog), "protected", NOW + 9, NOW)
    lines = catalog.history(row)
    again = catalog.hold(catalog.claim(row, "j2", NOW + 9), "protected", NOW + 18, NOW + 9)
    assert (catalog.history(again), again.not_before) == (lines, NOW + 18)


def test_what_is_released_is_due_at_once_and_nothing_else_is_touched(path: Path, catalog: Catalog) -> None:
    held = catalog.hold(archived(catalog), "protected", NOW + 86400, NOW)
    waiting = catalog.wait(catalog.claim(entry(catalog, "REO_b_20260630081500.mp4"), "j2", NOW), "later", NOW + 9, NOW)
    with Catalog(path) as owner:
        owner.release(held.path, NOW + 1)
        owner.release(waiting.path, NOW + 1)
    assert catalog.reload(held) == replace(held, not_before=NOW + 1)
    assert catalog.reload(waiting) == waiting
    assert catalog.done(held, None, "let go", NOW + 2).state is State.DONE


def test_what_somebody_else_commits_is_noticed_and_what_one_commits_oneself_is_not(
    path: Path, catalog: Catalog
) -> None:
    row = offer(catalog)
    assert catalog.changed()
    catalog.claim(row, "j1", NOW)
    assert not catalog.changed()
    in_another_process(RIVAL, path)
    assert catalog.changed()
    assert not catalog.changed()


@pytest.mark.parametrize("place", [PATH, None])
def test_done_tells_where_the_source_went(catalog: Catalog, place: PurePosixPath | None) -> None:
    row = catalog.done(archived(catalog), place, "let go", NOW)
    assert (row.disposed_to, row.job) == (place, "")


@pytest.mark.parametrize(
    "place", [*(Place(tree, PurePosixPath("2026/06/30/a.jpg")) for tree in (Tree.TRASH, Tree.ARCHIVE)), None]
)
def test_snapshot_disposed_tells_where_it_went(catalog: Catalog, place: Place | None) -> None:
    row = offer(catalog, found(snapshots=(snapshot_of(),)))
    catalog.snapshot_disposed(row.snapshots[0], place, NOW)
    assert catalog.reload(row).snapshots == (replace(row.snapshots[0], disposed=True, disposed_to=place),)


def test_history_is_complete_and_in_order(catalog: Catalog) -> None:
    row = catalog.take_up_again(done(catalog), "its source stands again", NOW + 5)
    row = catalog.done(catalog.claim(row, "j2", NOW + 6), None, "source deleted", NOW + 7)
    assert catalog.history(row) == [
        Event(NOW, State.WAITING, "found"),
        Event(NOW + 1, State.ACTIVE, "claimed"),
        Event(NOW + 2, State.PUBLISHING, f"as {os.fspath(ARCHIVE)!r}"),
        Event(NOW + 3, State.ARCHIVED, "transcoded"),
        Event(NOW + 4, State.DONE, "source moved to the trash"),
        Event(NOW + 5, State.ARCHIVED, "its source stands again"),
        Event(NOW + 7, State.DONE, "source deleted"),
    ]


def test_history_keeps_its_order_when_the_clock_is_set_back(catalog: Catalog) -> None:
    row = catalog.quarantine(catalog.claim(offer(catalog, at=NOW), "j1", NOW - 3600), "no moov", NOW - 7200)
    assert [event.at for event in catalog.history(row)] == [NOW, NOW - 3600, NOW - 7200]


def test_history_of_one_recording_holds_nothing_of_another(catalog: Catalog) -> None:
    row = offer(catalog)
    catalog.claim(entry(catalog, "back_20260630081500.mp4"), "j1", NOW)
    assert len(catalog.history(row)) == 1


# -- values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(NEVER_UTF8, id="bytes that are not UTF-8, a newline, an escape"),
        pytest.param(LONGEST, id="255 bytes"),
        pytest.param("REO_Flur – Tür 2_01_20260630081500.mp4", id="UTF-8"),
    ],
)
def test_names_of_any_bytes_come_back_whole(path: Path, name: str) -> None:
    clip = FoundFile.at(PATH.with_name(name), MARK, ClipName(name.rpartition("_")[0], TAKEN_AT, 2))
    picture = snapshot_of().moved(clip.path.with_suffix(".jpg"))
    with Catalog(path) as catalog:
        row = catalog.offer(FoundRecording(clip, (picture,)), NOW, reason="found")
        row = catalog.publishing(catalog.claim(row, "j1", NOW), clip.path, "a", 4, receipt(), NOW)
        catalog.done(catalog.archived(row, receipt(), "", NOW), clip.path, "let go", NOW)
    with Catalog(path) as catalog:
        (row,) = catalog.at_path(clip.path)
    assert (row.path, row.archive, row.disposed_to, row.snapshots[0].path, row.name) == (
        clip.path, clip.path, clip.path, picture.path, clip.name
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "stored"),
    [
        pytest.param("cut off: T\udcfcr.mp4", "cut off: T\\udcfcr.mp4", id="a name that is not UTF-8"),
        pytest.param("\ud83d alone", "\\ud83d alone", id="half a character"),
        pytest.param("a\nb\x00c – 📷", "a\nb\x00c – 📷", id="anything else"),
    ],
)
def test_reasons_of_any_text_are_kept_readable(catalog: Catalog, reason: str, stored: str) -> None:
    row = catalog.quarantine(claimed(catalog), reason, NOW)
    assert (row.reason, catalog.history(row)[-1].reason) == (stored, stored)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="transcoded"),
        pytest.param({"kind": ArchiveKind.VERBATIM, "rung": "", "reason": "decode: T\udcfcr – 📷\n"}, id="verbatim"),
        pytest.param({"kind": ArchiveKind.ADOPTED, "checks": (), "frames": 2**53 + 1}, id="adopted"),
        pytest.param({"checks": ("frames: 30 of 30", "left out: 'T\udcfcr'", "")}, id="checks"),
        pytest.param({"archive": Fingerprint(2**63 - 1, 0, -1), "encode_s": 0.1 + 0.2}, id="numbers"),
    ],
)
def test_receipts_come_back_whole(catalog: Catalog, changes: dict[str, object]) -> None:
    written = receipt(**changes)
    assert catalog.reload(catalog.archived(publishing(catalog), written, "", NOW)).receipt == written


@pytest.mark.parametrize("ino", [2**63 - 1, 2**63, 2**64 - 1])
def test_inodes_above_what_sqlite_holds_are_known_again(catalog: Catalog, ino: int) -> None:
    mark = Fingerprint.of(os.stat_result((0o100644, ino, 1, 1, 0, 0, 1000, 0, 0, 0), {"st_mtime_ns": MARK.mtime_ns}))
    row = offer(catalog, found(mark=mark))
    assert (row.fingerprint, offer(catalog, found(mark=mark)).id) == (mark, row.id)


def test_a_time_before_1970_comes_back_whole(catalog: Catalog) -> None:
    mark = Fingerprint(1, 1, -1_000_000_001)
    assert offer(catalog, found(mark=mark)).fingerprint == mark


# -- questions --------------------------------------------------------------------------------------------


def test_recordings_come_oldest_first(catalog: Catalog) -> None:
    names = ["b_20260630081502.mp4", "b_20260630081501.mp4", "a_20260630081502.mp4"]
    rows = [entry(catalog, name) for name in names]
    assert catalog.recordings() == [rows[1], rows[0], rows[2]]


def test_recordings_are_chosen_by_state(catalog: Catalog) -> None:
    waiting, other = entry(catalog, "a_20260630081501.mp4"), entry(catalog, "a_20260630081502.mp4")
    active = catalog.claim(entry(catalog, "a_20260630081503.mp4"), "j1", NOW)
    catalog.quarantine(other, "no moov", NOW)
    assert catalog.recordings((State.WAITING, State.ACTIVE)) == [waiting, active]


@pytest.mark.parametrize("place", ["source.mp4", "archive.mp4", "trash.mp4", "snapshot.jpg", "moved.jpg"])
@pytest.mark.parametrize("tree", [Tree.TRASH, Tree.ARCHIVE])
def test_at_path_finds_a_recording_by_any_of_its_places(catalog: Catalog, place: str, tree: Tree) -> None:
    picture = snapshot_of().moved(PurePosixPath("snapshot.jpg"))
    row = offer(catalog, found(PurePosixPath("source.mp4"), snapshots=(picture,)))
    catalog.snapshot_disposed(row.snapshots[0], Place(tree, PurePosixPath("moved.jpg")), NOW)
    row = catalog.publishing(catalog.claim(row, "j1", NOW), PurePosixPath("archive.mp4"), "a", 4, receipt(), NOW)
    row = catalog.done(catalog.archived(row, receipt(), "", NOW), PurePosixPath("trash.mp4"), "", NOW)
    entry(catalog, "other_20260630081500.mp4")
    assert catalog.at_path(PurePosixPath(place)) == [catalog.reload(row)]


def with_snapshots(catalog: Catalog, count: int) -> list[Recording]:
    """So many recordings, the n-th of them with n snapshots."""
    return [
        offer(
            catalog,
            found(
                PATH.with_name(f"front_202606300815{number:02}.mp4"),
                snapshots=tuple(snapshot_of().moved(PATH.with_name(f"{number}{n}.jpg")) for n in range(number)),
            ),
        )
        for number in range(count)
    ]


def test_recordings_come_each_with_its_own_snapshots(catalog: Catalog) -> None:
    offered = with_snapshots(catalog, 4)
    assert [[picture.path.name for picture in row.snapshots] for row in catalog.recordings()] == [
        [], ["10.jpg"], ["20.jpg", "21.jpg"], ["30.jpg", "31.jpg", "32.jpg"]
    ]  # fmt: skip
    assert catalog.recordings() == offered


def test_recordings_ask_no_more_often_when_there_are_more(catalog: Catalog) -> None:
    asked: list[str] = []
    with_snapshots(catalog, 9)
    catalog._connection.set_trace_callback(asked.append)
    catalog.recordings()
    assert len(asked) == 2, asked


def test_of_job_is_the_recording_a_job_owns(catalog: Catalog) -> None:
    entry(catalog, "back_20260630081500.mp4")
    row = catalog.claim(offer(catalog, found(snapshots=(snapshot_of(),))), "j1", NOW)
    catalog.claim(entry(catalog, "side_20260630081500.mp4"), "j2", NOW)
    assert catalog.of_job("j1") == row


@pytest.mark.parametrize("state", [State.ACTIVE, State.PUBLISHING, State.ARCHIVED])
def test_of_job_finds_a_recording_on_its_way(catalog: Catalog, state: State) -> None:
    row = BRING_TO[state](catalog)
    assert catalog.of_job("j1") == row


@pytest.mark.parametrize("state", [State.WAITING, State.DONE, State.QUARANTINED, State.GONE])
@pytest.mark.parametrize("job", ["j1", ""])
def test_of_job_where_no_job_is_at_work_is_none(catalog: Catalog, state: State, job: str) -> None:
    BRING_TO[state](catalog)
    assert catalog.of_job(job) is None


def test_of_job_goes_by_an_index(catalog: Catalog) -> None:
    asked: list[str] = []
    catalog._connection.set_trace_callback(asked.append)
    catalog.of_job("j1")
    plans = [catalog._connection.execute(f"EXPLAIN QUERY PLAN {question}").fetchall() for question in asked[:2]]
    told = [" ".join(row["detail"] for row in plan) for plan in plans]
    assert ["recording_by_job" in plan and "SCAN recording" not in plan for plan in told] == [True, True], told


def test_remember_keeps_the_first_word_it_is_told(path: Path) -> None:
    with Catalog(path) as catalog:
        assert [catalog.remember("root", word) for word in ("one", "two")] == ["one", "one"]
    with Catalog(path) as catalog:
        assert catalog.remember("root", "three") == "one"


def test_remember_keeps_each_key_by_itself(catalog: Catalog) -> None:
    catalog.remember("root", "one")
    assert (catalog.remember("other", "two"), catalog.remember("root", "two")) == ("two", "one")


def test_remember_takes_nothing_from_the_id(path: Path, catalog: Catalog) -> None:
    assert catalog.remember("id", "another") == "c1"
    with Catalog(path) as again:
        assert again.id == "c1"


def test_counts_tells_files_and_bytes_by_state(catalog: Catalog) -> None:
    entry(catalog, "a_20260630081501.mp4")
    entry(catalog, "a_20260630081502.mp4")
    archived(catalog)
    assert catalog.counts() == {State.WAITING: (2, 2000), State.ARCHIVED: (1, 1000)}


def test_archived_totals_tells_bytes_before_and_after(catalog: Catalog) -> None:
    done(catalog)
    catalog.claim(entry(catalog, "a_20260630081501.mp4"), "j1", NOW)
    assert catalog.archived_totals() == (1, 1000, 400)


def test_archived_totals_of_nothing_is_nothing(catalog: Catalog) -> None:
    assert catalog.archived_totals() == (0, 0, 0)


def test_encoded_counts_the_archives_of_each_rung(catalog: Catalog) -> None:
    for number, rung in enumerate(("qsv", "software", "qsv", "")):
        row = publishing(catalog, entry(catalog, f"a_2026063008150{number}.mp4"))
        catalog.archived(row, receipt(rung=rung), "transcoded", NOW)
    assert catalog.encoded() == {"qsv": 2, "software": 1}


def test_latest_taken_tells_what_the_encoded_archives_of_a_camera_took(catalog: Catalog) -> None:
    names = ("a_20260630081501.mp4", "b_20260630081502.mp4", "a_20260630081503.mp4", "a_20260630081504.mp4")
    for name, rung in zip(names, ("software", "qsv", "", "software"), strict=True):
        row = publishing(catalog, entry(catalog, name))
        catalog.archived(row, receipt(rung=rung), "archived", NOW)
    assert catalog.latest_taken("a", 50) == [Taken(1000, 400)] * 2
    assert catalog.latest_taken("a", 1) == [Taken(1000, 400)]
    assert catalog.latest_taken("nobody", 50) == []


def test_falls_counts_all_and_tells_of_the_latest(catalog: Catalog) -> None:
    rows = [publishing(catalog, entry(catalog, f"a_2026063008150{number}.mp4")) for number in range(4)]
    for number, row in enumerate(rows):
        falls = (f"qsv: {number} \udcff", "vaapi: too") if number else ()
        catalog.archived(row, receipt(falls=falls), "transcoded", NOW)
    total, latest = catalog.falls(2)
    assert (total, [row.path for row in latest]) == (3, [rows[3].path, rows[2].path])
    assert latest[0].receipt is not None
    assert latest[0].receipt.falls == ("qsv: 3 \udcff", "vaapi: too")


def test_receipt_keeps_its_falls_and_its_device(catalog: Catalog) -> None:
    made = receipt(falls=("qsv: it hangs",), device="/dev/dri/renderD128")
    assert catalog.archived(publishing(catalog), made, "transcoded", NOW).receipt == made


@pytest.mark.parametrize(
    ("state", "expected"),
    [(State.ACTIVE, (False, False)), (State.ARCHIVED, (True, False)), (State.DONE, (True, True))],
)
def test_remembers_tells_which_trees_hold_files(catalog: Catalog, state: State, expected: tuple[bool, bool]) -> None:
    BRING_TO[state](catalog)
    assert catalog.remembers() == expected


# -- reading beside, and deaths ---------------------------------------------------------------------------

DIES_WRITING = """
import sys
from pathlib import Path
from archiverd.storage.catalog import Catalog
with Catalog(Path(sys.argv[1])) as catalog:
    execute = catalog._connection.execute
    execute("PRAGMA cache_size = 5")  # pages go to the file long before the commit
    execute("BEGIN IMMEDIATE")
    execute("UPDATE recording SET state = 'done', reason = 'never committed'")
    for number in range(4000):
        execute("INSERT INTO history (recording, at, state, reason) VALUES (1, 0.0, 'done', ?)", ("x" * 100,))
    print("written", flush=True)
    sys.stdin.read()
"""


def die_in_a_transaction(path: Path) -> None:
    """Leave what a process leaves that is killed while it writes: changed pages, and the journal that undoes them."""
    with subprocess.Popen(
        python(DIES_WRITING, path), cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "written\n"
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=60)


class Torn:
    """A catalog whose writer was killed in mid-transaction, and what it holds to whoever opens it."""

    def __init__(self, path: Path) -> None:
        with Catalog(path, new_id="c1") as catalog:
            self.row = archived(catalog)
        self.path = path
        self.content = dump(path)
        size = path.stat().st_size
        die_in_a_transaction(path)
        assert path.with_name(path.name + "-journal").exists()
        assert path.stat().st_size > 2 * size


@pytest.fixture
def torn(path: Path) -> Torn:
    return Torn(path)


def everything_in(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """All files of a directory, and itself, with what a write would change.

    Not their ctime: SQLite, run by root, gives a journal to the owner of its database each time it looks at it.
    """
    seen = {file.name: (file.stat(), file.read_bytes()) for file in directory.iterdir()}
    seen["."] = (directory.stat(), b"")
    return {
        name: (status.st_ino, status.st_mode, status.st_mtime_ns, content) for name, (status, content) in seen.items()
    }


def test_to_read_tells_all_and_writes_nothing(path: Path, tmp_path: Path) -> None:
    with Catalog(path, new_id="c1") as catalog:
        row = done(catalog)
    before = everything_in(tmp_path)
    with Catalog.to_read(path) as catalog:
        assert (catalog.id, catalog.recordings(), len(catalog.history(row))) == ("c1", [row], 5)
    assert everything_in(tmp_path) == before


def test_to_read_refuses_to_write(path: Path, tmp_path: Path) -> None:
    with Catalog(path):
        pass
    before = everything_in(tmp_path)
    with Catalog.to_read(path) as catalog, pytest.raises(ResourceError, match="readonly"):
        offer(catalog)
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize("name", ["a?mode=rwc#b %41.sqlite", pytest.param("T\udcfcr.sqlite", id="not UTF-8")])
def test_to_read_takes_a_path_of_any_bytes(tmp_path: Path, name: str) -> None:
    with Catalog(tmp_path / name, new_id="c1"):
        pass
    with Catalog.to_read(tmp_path / name) as catalog:
        assert catalog.id == "c1"


def test_to_read_beside_a_writer_tells_what_is_committed(path: Path, catalog: Catalog) -> None:
    row = archived(catalog)
    with Catalog.to_read(path) as reader:
        held = catalog.hold(row, "protected", NOW, NOW)
        assert reader.reload(row) == held


def test_to_read_makes_no_catalog(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=FILE_NAME), Catalog.to_read(path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_to_read_after_a_death_tells_what_was_committed(torn: Torn) -> None:
    with Catalog.to_read(torn.path) as catalog:
        assert (catalog.recordings(), len(catalog.history(torn.row))) == ([torn.row], 4)


def test_to_read_after_a_death_writes_nothing(torn: Torn, tmp_path: Path) -> None:
    before = everything_in(tmp_path)
    with Catalog.to_read(torn.path) as catalog:
        catalog.recordings()
    assert everything_in(tmp_path) == before


def test_to_read_after_a_death_leaves_no_copy(
    torn: Torn, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = tmp_path_factory.mktemp("copies")
    monkeypatch.setattr("tempfile.tempdir", str(copies))
    with Catalog.to_read(torn.path):
        assert len(list(copies.iterdir())) == 1
    assert list(copies.iterdir()) == []


def test_open_after_a_death_takes_back_what_was_not_committed(torn: Torn, tmp_path: Path) -> None:
    with Catalog(torn.path):
        pass
    assert ([file.name for file in tmp_path.iterdir()], dump(torn.path)) == ([FILE_NAME], torn.content)


def test_open_after_a_death_goes_on_with_the_work(torn: Torn) -> None:
    with Catalog(torn.path) as catalog:
        assert catalog.done(torn.row, PATH, "source moved to the trash", NOW).state is State.DONE


def test_open_after_a_death_is_sound(torn: Torn) -> None:
    with Catalog(torn.path) as catalog:
        assert catalog._connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


# -- questions about a directory ---------------------------------------------------------------------------


def test_known_in_tells_of_the_files_of_one_directory_and_of_none_below(catalog: Catalog) -> None:
    clip = entry(catalog, NEVER_UTF8)
    offer(catalog, found(PATH.parent / "deeper" / PATH.name))
    offer(catalog, found(PurePosixPath("2026/06/300") / PATH.name))
    offer(catalog, found(PurePosixPath(PATH.name)))
    (known,) = catalog.known_in(PATH.parent).clips
    assert (known.name, known.fingerprint, known.state) == (NEVER_UTF8, clip.fingerprint, State.WAITING)
    assert known.not_before == clip.not_before
    assert [row.name for row in catalog.known_in(PurePosixPath()).clips] == [PATH.name]
    assert catalog.known_in(PurePosixPath("2026")).clips == ()


def test_known_in_tells_of_snapshots_while_they_are_to_go_with_a_recording(catalog: Catalog) -> None:
    snapshot = snapshot_of()
    row = offer(catalog, found(snapshots=(snapshot,)))
    assert catalog.known_in(PATH.parent).snapshots == {(snapshot.path.name, snapshot.fingerprint)}
    row = catalog.archived(publishing(catalog, row), receipt(), "transcoded", NOW + 3)
    assert catalog.known_in(PATH.parent).snapshots == {(snapshot.path.name, snapshot.fingerprint)}
    catalog.done(row, None, "let go of, and the snapshot stayed", NOW + 4)
    assert catalog.known_in(PATH.parent).snapshots == frozenset()
    again = offer(catalog, found(PATH.with_name("x_20260630081500.mp4"), snapshots=(snapshot,)))
    assert catalog.known_in(PATH.parent).snapshots != frozenset()
    catalog.gone(again, "taken away without its snapshot", NOW + 5)
    assert catalog.known_in(PATH.parent).snapshots == frozenset()


def test_questions_of_what_is_unfinished_leave_out_what_is_done_with_or_gone(catalog: Catalog) -> None:
    catalog.done(archived(catalog), None, "done", NOW + 4)
    catalog.gone(entry(catalog, "gone_20260630000000.mp4"), "gone", NOW)
    offer(catalog, found(PurePosixPath("2026/07/01/front_20260701000000.mp4")))
    assert len(catalog.known_in(PATH.parent).clips) == 2
    assert catalog.known_in(PATH.parent, unfinished=True).clips == ()
    assert catalog.unfinished_directories() == [PurePosixPath("2026/07/01")]


def test_done_between_tells_of_clips_of_a_camera_let_go_of_by_their_own_time(catalog: Catalog) -> None:
    row = archived(catalog)
    around = TAKEN_AT.replace(second=0), TAKEN_AT.replace(second=59)
    cameras = {row.name.camera, "another"}
    assert catalog.done_between(*around, cameras) == []
    catalog.done(row, None, "done", NOW + 4)
    assert catalog.done_between(*around, cameras) == [FoundFile.at(PATH, MARK, row.name)]
    assert catalog.done_between(*around, {"another"}) == []
    assert catalog.done_between(around[1], around[1], cameras) == []


# ---- many


def found_clips(count: int) -> list[tuple[FoundFile, float]]:
    """So many, each with the moment it is due."""
    return [
        (found(PATH.with_name(f"front_202606{n // 24 + 1:02}{n % 24:02}0000.mp4")).clip, NOW + n) for n in range(count)
    ]


@pytest.mark.parametrize(("count", "lines"), [(20, 20), (21, 1)])
def test_what_a_scan_found_waits_and_is_told(
    catalog: Catalog, caplog: pytest.LogCaptureFixture, count: int, lines: int
) -> None:
    caplog.set_level("INFO")
    clips = found_clips(count)
    catalog.enter_found(clips, "new", NOW)

    rows = catalog.recordings()
    assert [(row.path, row.fingerprint, row.name) for row in rows] == [
        (clip.path, clip.fingerprint, clip.name) for clip, _ in clips
    ]
    assert [(row.state, row.reason, row.not_before) for row in rows] == [
        (State.WAITING, "new", due) for _, due in clips
    ]
    assert all(catalog.history(row) == [Event(NOW, State.WAITING, "new")] for row in rows)
    assert len(caplog.messages) == lines
    assert lines > 1 or f"{count} recordings were found" in caplog.text


def test_what_is_known_by_the_time_it_is_entered_is_told_and_left_as_it_is(catalog: Catalog) -> None:
    clips = found_clips(3)
    known = [catalog.offer(FoundRecording(clip), NOW, reason="closed") for clip, _ in clips[:2]]
    known[0] = catalog.quarantine(catalog.claim(known[0], "j1", NOW), "broken", NOW)
    again = [clips[0][0], clips[1][0]._replace(fingerprint=OTHER_MARK)]
    to_be_looked_at = catalog.enter_found([*((clip, NOW) for clip in again), clips[2]], "new", NOW)

    assert to_be_looked_at == again
    rows = {row.path: row for row in catalog.recordings()}
    assert len(rows) == len(catalog.recordings()) == 3
    assert [rows[row.path] for row in known] == known


def steps_of(catalog: Catalog, work: Callable[[], object]) -> int:
    """How many steps SQLite's machine takes for it, in hundreds."""
    counted = 0

    def count() -> None:
        nonlocal counted
        counted += 1

    catalog._connection.set_progress_handler(count, 100)
    work()
    catalog._connection.set_progress_handler(None, 0)
    return counted


OF_ONE_PATH: dict[str, Callable[[Catalog, Recording], object]] = {
    "a new one is entered": lambda catalog, _row: offer(catalog, found(PATH.with_name("front_20270101000000.mp4"))),
    "another content of a path is entered": lambda catalog, row: offer(catalog, found(row.path, mark=OTHER_MARK)),
    "one is looked for": lambda catalog, row: catalog.standing_at(row.path),
    "one is claimed": lambda catalog, row: catalog.claim(row, "j1", NOW),
    "one is released": lambda catalog, row: catalog.release(row.path, NOW),
    "those of a directory are put off": lambda catalog, _row: catalog.put_off(PurePosixPath("elsewhere"), NOW, NOW),
    "those of a directory are asked for": lambda catalog, _row: catalog.known_in(PurePosixPath("elsewhere")),
    "the next is asked for": lambda catalog, _row: (catalog.due(NOW), catalog.next_due(NOW)),
}


@pytest.mark.parametrize("work", OF_ONE_PATH.values(), ids=OF_ONE_PATH)
def test_work_on_one_path_costs_the_same_however_many_wait(
    catalog: Catalog, work: Callable[[Catalog, Recording], object]
) -> None:
    names = [f"front_2026{n % 12 + 1:02}{n // 12 % 28 + 1:02}{n // 336:02}0000.mp4" for n in range(2000)]
    catalog.offer_all([(found(PATH.with_name(name)), "found", NOW) for name in names], NOW)
    row = catalog.at_path(PATH.with_name(names[1000]))[0]

    assert steps_of(catalog, lambda: work(catalog, row)) <= 10
