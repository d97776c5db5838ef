"""The worker's turns, with a real catalog and real files, and a processor that does what it is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath

import pytest
from pytest_mock import MockerFixture

from archiverd.errors import DeviceError, NoSpaceError, ResourceError
from archiverd.intake import BATCH, Intake, SourceRoot
from archiverd.policy.admission import Patience
from archiverd.policy.arrival import Settling
from archiverd.policy.model import ArchiveKind, Fingerprint, FoundFile, Receipt, Recording, Sighting, State, Tree
from archiverd.policy.outcome import Outcome, Result
from archiverd.policy.planning import Manner
from archiverd.policy.problems import Problem, ProblemKind
from archiverd.policy.stop import NeverStop
from archiverd.processor import NEEDS_RIGHT, FileProcessor
from archiverd.recoverer import Recoverer
from archiverd.service.heartbeat import Bell
from archiverd.service.inbox import Inbox
from archiverd.storage.catalog import Catalog
from archiverd.storage.discovery import FileDiscovery
from archiverd.storage.file_manager import FileManager, Modes
from archiverd.worker import BATCHES, Tools, Worker

NOW = datetime(2027, 1, 15, 12).timestamp()


@dataclass
class Told:
    """What the worker showed."""

    begun: list[str] = field(default_factory=list)
    pauses: list[str] = field(default_factory=list)
    queues: list[tuple[int, int, int]] = field(default_factory=list)

    def begin(self, name: str, _size: int, /, *, camera: str = "") -> None:
        self.begun.append(f"{camera} {name}")

    def end(self, _outcome: str) -> None:
        return

    def queue(self, waiting: int, held: int, unread: int = 0) -> None:
        self.queues.append((waiting, held, unread))

    def pause(self, why: str) -> None:
        self.pauses.append(why)


class Processor(FileProcessor):
    """Archives by a word in the catalog; or fails as it is told."""

    def __init__(self, catalog: Catalog, clock: Callable[[], float]) -> None:
        self._catalog = catalog
        self._clock = clock
        self.faults: list[BaseException] = []
        self.keeps_claim: BaseException | None = None  # the fault after which the row can't be let go of
        self.worked_on: list[PurePosixPath] = []
        self.refused: set[PurePosixPath] = set()

    def process(self, recording: Recording, **_how: object) -> Outcome:
        self.worked_on.append(recording.path)
        if self.faults:
            fault, now = self.faults.pop(0), self._clock()
            claimed = self._catalog.claim(recording, "job", now)
            if fault is not self.keeps_claim:
                self._catalog.wait(claimed, "paused", now + 60, now)
            raise fault
        claimed = self._catalog.claim(recording, "job", self._clock())
        if recording.path in self.refused:
            self._catalog.wait(claimed, NEEDS_RIGHT, self._clock() + 600, self._clock())
            return Outcome(recording.path, Result.FAILED, f"Permission denied; {NEEDS_RIGHT}")
        self._catalog.quarantine(claimed, "looked at", self._clock())
        return Outcome(recording.path, Result.QUARANTINED, "looked at")


class Finder(FileDiscovery):
    """Sees nothing in some directories, as where it may not look into them."""

    closed: frozenset[PurePosixPath] = frozenset()

    def look(self, paths: Iterable[PurePosixPath], directories: Iterable[PurePosixPath] = ()) -> Sighting:
        return super().look([path for path in paths if path.parent not in self.closed], directories)


class Bench:
    """A worker over a camera's tree, and a clock that stands until it is moved."""

    def __init__(self, base: Path, catalog: Catalog, inbox: Inbox, bell: Bell) -> None:
        self.now = NOW
        self.camera = base / "camera"
        self.camera.mkdir()
        self.catalog = catalog
        self.inbox = inbox
        self.told = Told()
        self.reports: list[tuple[ProblemKind, Sequence[Problem]]] = []
        self.sick: Exception | None = None
        self.lost: Exception | None = None
        self.processor = Processor(catalog, lambda: self.now)
        self.intake = self.make_intake()
        self.worker = Worker(
            catalog,
            inbox,
            self._tools,
            NeverStop(),
            bell,
            self.told,
            report=self._report,
            clock=lambda: self.now,
        )

    def make_intake(self, *, known: bool = True) -> Intake:
        roots = dict.fromkeys(Tree, self.camera)
        finder = self.finder = Finder(self.camera, snapshot_window_s=60.0, now=lambda: self.now)
        return Intake(
            self.catalog, FileManager(roots, "c", Modes()), finder, self.inbox, Manner(Patience(60, 600)),
            Settling(60, 2), clock=lambda: self.now, root=SourceRoot(self._verify, is_known=known),
        )  # fmt: skip

    def _report(self, kind: ProblemKind, problems: Sequence[Problem]) -> None:
        self.reports.append((kind, problems))

    def _verify(self) -> None:
        if self.lost is not None:
            raise self.lost

    def _tools(self) -> Tools:
        return Tools(
            self.intake, self.processor, newest_first=False, again=False, probe=self._probe, take_back=self.take_back
        )

    def take_back(self) -> None:
        roots = dict.fromkeys(Tree, self.camera)
        Recoverer(self.catalog, FileManager(roots, "c", Modes()), {}, NeverStop(), lambda: self.now).take_back()

    def _probe(self) -> None:
        if self.sick is not None:
            raise self.sick

    def upload(self, minute: int, *, age_s: float = 3600.0, ending: str = "mp4", closed: bool = True) -> PurePosixPath:
        path = PurePosixPath(f"2027/01/15/REO_front_2027011510{minute:02}00.{ending}")
        file = self.camera / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(64))
        os.utime(file, (self.now - age_s, self.now - age_s))
        self.inbox.put(path, closed=closed)
        return path

    def turns(self, most: int = 50) -> float:
        """Turns until there is nothing to do; returns how long it then wants to wait."""
        for _ in range(most):
            wait_s = self.worker.step(self.now)
            if wait_s > 0:
                return wait_s
        raise AssertionError("it does not come to rest")

    def state(self, path: PurePosixPath) -> State:
        return self.catalog.standing_at(path)[-1].state


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Catalog(tmp_path / "catalog.sqlite") as catalog, Inbox() as inbox, Bell() as bell:
        yield Bench(tmp_path, catalog, inbox, bell)


def test_oldest_comes_first_whatever_the_order_they_came_in(bench: Bench) -> None:
    paths = [bench.upload(minute) for minute in (3, 1, 2)]

    bench.turns()

    assert bench.processor.worked_on == sorted(paths)
    assert bench.told.begun[0] == f"front {min(paths).name}"


def test_clip_waits_until_it_is_due_and_no_longer(bench: Bench) -> None:
    closed, seen = bench.upload(1, age_s=0), bench.upload(2, age_s=0, closed=False)

    assert bench.turns() == pytest.approx(2.0, abs=0.01)
    bench.now += 2
    assert bench.turns() == pytest.approx(58.0, abs=0.01)
    assert bench.processor.worked_on == [closed]
    bench.now += 58
    bench.turns()

    assert bench.processor.worked_on == [closed, seen]
    assert bench.told.queues[0] == (0, 2, 0)


def test_clip_that_grows_is_due_anew(bench: Bench) -> None:
    path = bench.upload(1, age_s=0)
    bench.turns()
    bench.now += 1
    (bench.camera / path).write_bytes(b"longer" * 20)
    os.utime(bench.camera / path, (bench.now, bench.now))
    bench.now += 1
    bench.turns()
    assert not bench.processor.worked_on

    bench.now += 60
    bench.turns()
    assert bench.processor.worked_on == [path]
    assert len(bench.catalog.standing_at(path)) == 1


def test_clip_that_is_taken_away_is_gone(bench: Bench) -> None:
    path = bench.upload(1, age_s=0)
    bench.turns()
    (bench.camera / path).unlink()
    bench.inbox.put(path)
    bench.turns()

    assert bench.state(path) is State.GONE


def test_nothing_is_gone_in_a_root_that_is_another_one(bench: Bench) -> None:
    bench.intake = bench.make_intake(known=False)
    path = bench.upload(1, age_s=0)
    bench.turns()
    (bench.camera / path).unlink()
    bench.inbox.put(path)
    bench.now += 10
    bench.worker.step(bench.now)

    assert bench.state(path) is State.WAITING


def test_clip_that_is_missing_in_another_root_keeps_no_other_of_its_directory_waiting(bench: Bench) -> None:
    bench.intake = bench.make_intake(known=False)
    missing, later = bench.upload(1), bench.upload(2)
    bench.intake.take()
    (bench.camera / missing).unlink()
    bench.turns()

    assert bench.processor.worked_on == [later]
    assert bench.catalog.standing_at(missing)[0].not_before == bench.now + 3600


def test_nothing_is_gone_where_the_root_is_not_there(bench: Bench) -> None:
    path = bench.upload(1, age_s=0)
    bench.turns()
    bench.lost = ResourceError("/camera: the marker of the source root is gone")
    (bench.camera / path).unlink()
    bench.inbox.put(path)
    bench.now += 3
    bench.turns()

    assert bench.state(path) is State.WAITING
    assert len(bench.inbox) == 1
    assert bench.told.pauses


def test_what_another_connection_asks_is_noticed(bench: Bench, tmp_path: Path) -> None:
    path = bench.upload(1)
    bench.turns()
    with Catalog(tmp_path / "catalog.sqlite") as other:
        other.retry(other.standing_at(path)[0], bench.now)
    bench.turns()

    assert bench.processor.worked_on == [path, path]


# -- faults of the machine --------------------------------------------------------------------------------------------


def test_fault_of_the_machine_pauses_all_and_a_look_at_it_resumes(bench: Bench) -> None:
    first, second = bench.upload(1), bench.upload(2)
    bench.processor.faults = [ResourceError("/archive: read-only")]
    bench.sick = ResourceError("/archive: read-only")

    bench.turns()
    assert bench.processor.worked_on == [first]
    for _ in range(3):
        bench.now += 600
        bench.turns()
    assert bench.processor.worked_on == [first]  # nothing is tried while the machine is sick
    bench.sick = None
    bench.now += 600
    bench.turns()

    assert bench.processor.worked_on == [first, first, second]
    assert bench.told.pauses[0] == "/archive: read-only"
    assert bench.told.pauses[-1] == ""
    assert bench.reports[-1] == (ProblemKind.PAUSED, [])


def test_row_that_could_not_be_let_go_of_is_taken_up_when_the_work_goes_on(bench: Bench) -> None:
    path = bench.upload(1)
    bench.processor.keeps_claim = ResourceError("/state: the disk of the catalog is full")
    bench.processor.faults = [bench.processor.keeps_claim]
    bench.turns()
    assert bench.state(path) is State.ACTIVE
    bench.now += 600
    bench.turns()

    assert bench.processor.worked_on == [path, path]
    assert bench.catalog.standing_at(path)[0].crashes == 0


def test_one_clip_without_room_lets_the_others_go_on(bench: Bench) -> None:
    paths = [bench.upload(minute) for minute in (1, 2, 3)]
    bench.processor.faults = [NoSpaceError("/archive: 100 bytes are free")]

    bench.turns()

    assert bench.processor.worked_on == paths
    assert not bench.told.pauses
    ((kind, (problem,)),) = bench.reports
    assert (kind, problem.message) == (
        ProblemKind.PAUSED, "one recording can't be archived now: /archive: 100 bytes are free"
    )  # fmt: skip
    bench.now += 120
    bench.turns()
    assert bench.reports[-1] == (ProblemKind.PAUSED, [])


def test_clips_without_room_are_tried_again_as_soon_as_room_is_made(bench: Bench) -> None:
    """Whoever makes it rings the bell; what rests for another reason is left to its time."""
    paths = [bench.upload(minute) for minute in (1, 2, 3)]
    bench.processor.faults = [NoSpaceError("/archive: 100 bytes are free"), DeviceError("/dev/dri: hangs")]
    bench.turns()
    assert bench.processor.worked_on == paths
    bench.now += 1
    bench.worker._try_now()
    bench.worker._next_due = None
    bench.turns()
    assert bench.processor.worked_on == [*paths, paths[0]]
    assert bench.state(paths[0]) is not State.WAITING
    assert bench.state(paths[1]) is State.WAITING


def test_what_may_not_be_read_is_one_problem_until_it_may_or_is_gone(bench: Bench) -> None:
    paths = [bench.upload(minute) for minute in range(3)]
    bench.processor.refused = set(paths)
    bench.turns()
    kind, (problem,) = bench.reports[-1]
    assert (kind, problem.message[:12]) == (ProblemKind.REFUSED, "3 recordings")

    bench.processor.refused = {paths[1], paths[2]}
    (bench.camera / paths[1]).unlink()
    bench.now += 600
    bench.turns()
    kind, (problem,) = bench.reports[-1]
    assert (kind, problem.message[:13]) == (ProblemKind.REFUSED, "one recording")


def test_three_clips_in_a_row_without_room_pause_the_work(bench: Bench) -> None:
    paths = [bench.upload(minute) for minute in range(5)]
    bench.processor.faults = [NoSpaceError("/archive: 100 bytes are free") for _ in range(3)]

    bench.turns()

    assert bench.processor.worked_on == paths[:3]
    assert bench.told.pauses == ["/archive: 100 bytes are free"]


def test_file_that_can_not_be_looked_at_keeps_no_other_from_its_turn(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = bench.upload(1), bench.upload(2)
    look = FileDiscovery.look

    def failing(self: FileDiscovery, paths: object, directories: object = ()) -> object:
        asked = list(paths)  # type: ignore[call-overload]  # whatever collection it is
        if bad in asked:
            raise OverflowError("a time beyond all bounds")
        return look(self, asked, directories)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr(FileDiscovery, "look", failing)
    bench.turns()

    assert bench.processor.worked_on == [good]


# -- snapshots --------------------------------------------------------------------------------------------------------


def test_snapshot_that_stands_beside_its_clip_goes_with_it(bench: Bench) -> None:
    snapshot, path = bench.upload(1, ending="jpg"), bench.upload(1)

    bench.turns()

    assert [one.path for one in bench.catalog.standing_at(path)[0].snapshots] == [snapshot]


def test_snapshot_that_comes_late_follows_its_clip_when_it_is_old_enough(bench: Bench) -> None:
    path = bench.upload(1)
    bench.turns()
    row = bench.catalog.retry(bench.catalog.standing_at(path)[0], bench.now)
    row = bench.catalog.claim(row, "job", bench.now)
    receipt = Receipt(
        ArchiveKind.TRANSCODED, row.fingerprint, "s", row.fingerprint, "a", "software", "x265", "", 1, 1.0, (), 0.0,
        0.0, 0.0, 0.0,
    )  # fmt: skip
    row = bench.catalog.adopted(row, path, receipt, bench.now)
    bench.catalog.done(row, None, "deleted", bench.now)
    (bench.camera / path).unlink()

    snapshot = bench.upload(1, ending="jpg", age_s=0)
    bench.turns()
    assert bench.state(path) is State.DONE
    bench.now += 3600
    bench.inbox.put(snapshot)
    bench.worker.step(bench.now)

    (row,) = bench.catalog.standing_at(path)
    assert bench.processor.worked_on == [path, path]
    assert [one.path for one in row.snapshots] == [snapshot]


# -- many at once -----------------------------------------------------------------------------------------------------


def test_directory_that_came_whole_is_entered_in_batches_with_work_between(bench: Bench) -> None:
    clips = BATCH * BATCHES + 10
    day = PurePosixPath("2027/01/15")
    (bench.camera / day).mkdir(parents=True)
    for number in range(clips):
        file = bench.camera / day / f"REO_front_20270115{number // 3600:02}{number // 60 % 60:02}{number % 60:02}.mp4"
        file.touch()
        os.utime(file, (bench.now - 3600, bench.now - 3600))
    bench.inbox.put(day, directory=True)
    bench.worker.step(bench.now)

    assert len(bench.inbox) == BATCH + 10  # the first turn began with the directory itself
    assert len(bench.processor.worked_on) == 1


def found(bench: Bench, *minutes: int) -> list[FoundFile]:
    """Clips that stand there, as a scan finds them."""
    return list(bench.finder.look([bench.upload(minute, closed=False) for minute in minutes]).clips)


def test_clips_that_a_scan_found_are_entered_and_worked_on(bench: Bench) -> None:
    clips = found(bench, 1, 2)
    bench.inbox.take(9)
    bench.inbox.put_found(clips)
    bench.turns()

    assert bench.processor.worked_on == [clip.path for clip in clips]


def test_clip_that_was_written_to_since_a_scan_found_it_is_entered_as_it_is(bench: Bench) -> None:
    (clip,) = found(bench, 1)
    bench.inbox.take(9)
    bench.inbox.put_found([clip._replace(fingerprint=Fingerprint(1, 1, clip.fingerprint.mtime_ns))])
    bench.turns()

    (row,) = [row for row in bench.catalog.at_path(clip.path) if row.state is not State.GONE]
    assert row.fingerprint == clip.fingerprint
    assert bench.processor.worked_on == [clip.path]


def test_clip_that_was_found_as_it_was_before_it_was_archived_is_not_worked_on_for_ever(bench: Bench) -> None:
    (clip,) = found(bench, 1)
    bench.inbox.take(9)
    bench.inbox.put_found([clip])
    bench.turns()
    (row,) = bench.catalog.at_path(clip.path)
    before = clip._replace(fingerprint=Fingerprint(1, 1, clip.fingerprint.mtime_ns))
    bench.inbox.put_found([before])  # as the scan saw it, right before its upload ended
    bench.turns()

    assert bench.catalog.at_path(clip.path) == [row]
    assert bench.processor.worked_on == [clip.path]


def test_row_of_a_content_that_another_has_taken_the_place_of_does_not_stay_due(bench: Bench) -> None:
    path = bench.upload(1)
    bench.turns()
    (stands,) = bench.catalog.at_path(path)
    with bench.catalog._writing() as connection:  # as a clock, or a copy that keeps its time, may have it
        connection.execute(
            "INSERT INTO recording (path, ino, size, mtime_ns, camera, taken_at, copy, state, reason, not_before,"
            " seen_at) SELECT path, 1, 1, 1, camera, taken_at, copy, 'waiting', 'new', ?1, ?1 FROM recording",
            (bench.now,),
        )
    bench.turns()

    assert [row.state for row in bench.catalog.at_path(path)] == [stands.state, State.GONE]
    assert bench.processor.worked_on == [path]


def test_clips_that_can_not_be_entered_as_they_were_found_are_looked_at(bench: Bench, mocker: MockerFixture) -> None:
    clips = found(bench, 1, 2)
    bench.inbox.take(9)
    bench.inbox.put_found(clips)
    mocker.patch.object(bench.catalog, "enter_found", side_effect=ValueError("a bug"))
    bench.turns()

    assert bench.processor.worked_on == [clip.path for clip in clips]


def test_clips_that_were_found_wait_in_the_inbox_where_they_can_not_be_entered(bench: Bench) -> None:
    clips = found(bench, 1, 2)
    bench.inbox.take(9)
    bench.inbox.put_found(clips)
    bench.lost = ResourceError("the root is another")
    bench.worker.step(bench.now)
    assert len(bench.inbox) == 2
    bench.lost = None
    bench.now += 3600
    bench.turns()  # the machine is looked at, and bears it
    bench.turns()

    assert bench.processor.worked_on == [clip.path for clip in clips]


def test_directory_that_can_not_be_read_is_put_off_as_one(bench: Bench) -> None:
    unreadable = [bench.upload(minute) for minute in range(3)]
    good = PurePosixPath("2027/01/16/REO_front_20270116100000.mp4")
    bench.intake.take()
    bench.finder.closed = frozenset({unreadable[0].parent})
    (bench.camera / good).parent.mkdir()
    (bench.camera / good).touch()
    os.utime(bench.camera / good, (bench.now - 3600, bench.now - 3600))
    bench.inbox.put(good)
    bench.turns()

    assert bench.processor.worked_on == [good]
    assert {bench.catalog.standing_at(path)[0].not_before for path in unreadable} == {bench.now + 60}
    bench.now += 61
    bench.turns()
    assert {bench.catalog.standing_at(path)[0].not_before for path in unreadable} == {bench.now + 120}
