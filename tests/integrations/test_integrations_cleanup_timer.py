"""When the daemon cleans up, what it holds back, and what it tells: stepped through days in a moment."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from archiverd.cleanup_pass import Caution, confirm
from archiverd.cleanup_timer import CleanupTimer
from archiverd.config import WhenFull
from archiverd.errors import ResourceError
from archiverd.policy.holding_back import Accepted, HeldPlan
from archiverd.policy.inventory import Inventory
from archiverd.policy.model import State, Tree
from archiverd.policy.problems import Problem, ProblemKind
from archiverd.policy.retention import Rule
from archiverd.storage.catalog_connection import ACCEPTED, HELD, INVENTORY
from archiverd.storage.clearing import Cleared
from archiverd.storage.file_manager import FileManager, Room
from tests.holdings import DAY_S, House, upload

HISTORY_S = 400 * DAY_S


class Daemon:
    """The stepper, as the timer would call it."""

    def __init__(self, house: House, max_removal: int = 20) -> None:
        self.house = house
        self.told: tuple[Problem, ...] = ()
        self.rang = 0  # that there is room now
        self.timer = CleanupTimer(
            house.cleaner(), house.catalog, Caution(max_removal, HISTORY_S), self._report, self._ring
        )

    def _report(self, kind: ProblemKind, problems: Sequence[Problem]) -> None:
        assert kind is ProblemKind.CLEANUP
        self.told = tuple(problems)

    def _ring(self) -> None:
        self.rang += 1

    def rest(self) -> float:
        """Step until it wants to wait; returns for how long."""
        for _ in range(1000):
            again_at = self.timer.step(self.house.now)
            if again_at > self.house.now:
                return again_at - self.house.now
        raise AssertionError("it never comes to rest")

    def after(self, seconds: float) -> Daemon:
        """So much later."""
        self.house.now += seconds
        self.rest()
        return self


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path, min_free=None, clean_output=True, delete=True).open() as opened:
        yield opened


@pytest.fixture
def daemon(house: House) -> Daemon:
    return Daemon(house)


def many(house: House, count: int, days_ago: float = 1) -> None:
    for number in range(count):
        house.archived(f"cam{number}", days_ago + number / 1440)


def many_trashed(house: House, count: int) -> None:
    for number in range(count):
        house.archived(f"cam{number}", 1, trashed_days_ago=1)


def day_by_day(daemon: Daemon, days: int) -> None:
    for _ in range(days):
        daemon.after(DAY_S)


def archives(house: House) -> int:
    return len(house.standing(Tree.ARCHIVE))


# -- what goes when ---------------------------------------------------------------------------------------


def test_first_pass_removes_little_that_is_too_old(daemon: Daemon, house: House) -> None:
    many(house, 9)
    house.archived("front", 31)
    daemon.rest()
    assert archives(house) == 9
    assert daemon.told == ()
    assert Accepted.from_text(house.catalog.recall(ACCEPTED)) is not None


def test_what_grows_too_old_goes_within_the_minute(daemon: Daemon, house: House) -> None:
    many(house, 9)
    house.archived("front", 30 - 0.01)
    daemon.rest()
    assert archives(house) == 10
    daemon.after(0.01 * DAY_S + 61)
    assert archives(house) == 9


def test_what_the_worker_archives_meanwhile_counts(tmp_path: Path) -> None:
    with House(tmp_path, min_free=None, clean_output=True, delete=True, max_size=10_000).open() as house:
        daemon = Daemon(house)
        many(house, 10)
        daemon.rest()
        assert archives(house) == 10
        house.archived("new", 0.001)
        daemon.after(601)
        assert archives(house) == 9
        assert "new" in house.standing(Tree.ARCHIVE)[-1]


def test_what_somebody_took_away_by_hand_is_known_before_more_is_removed(tmp_path: Path) -> None:
    with House(tmp_path, min_free=None, clean_output=True, delete=True, max_size=10_000).open() as house:
        daemon = Daemon(house)
        many(house, 10)
        daemon.rest()
        for name in house.standing(Tree.ARCHIVE)[:5]:
            next(house.roots_by_tree[Tree.ARCHIVE].rglob(name)).unlink()
        for number in range(3):
            house.archived(f"new{number}", 0.001)
        daemon.after(61)
        assert archives(house) == 8


def test_nothing_is_looked_at_anew_where_nothing_is_due(daemon: Daemon, house: House, mocker: Any) -> None:
    many(house, 3)
    daemon.rest()
    looks = mocker.spy(daemon.timer._cleaner, "look")
    for _ in range(10):
        daemon.after(61)
    assert looks.call_count == 0
    daemon.after(3600)
    assert looks.call_count == 1


def test_source_tree_is_swept_once_a_day(daemon: Daemon, house: House) -> None:
    daemon.rest()
    when = datetime.fromtimestamp(house.now - 1.5 * DAY_S)
    house.file(Tree.SOURCE, upload("front", when).with_suffix(".jpg"), 100, when)
    daemon.after(3700)
    assert len(house.standing(Tree.SOURCE)) == 1
    daemon.after(DAY_S)
    assert house.standing(Tree.SOURCE) == []


def test_long_gone_rows_are_forgotten(daemon: Daemon, house: House) -> None:
    many(house, 9)
    row = house.archived("front", 31)
    daemon.rest()
    assert house.catalog.by_id(row.id).state is State.REMOVED
    daemon.after(399 * DAY_S)
    assert house.catalog.at_path(row.path)
    house.catalog.correct(ACCEPTED, "")
    daemon.after(2 * DAY_S)
    assert house.catalog.at_path(row.path) == []


def test_inventory_is_kept_for_others(daemon: Daemon, house: House) -> None:
    many(house, 3)
    daemon.rest()
    kept = Inventory.from_text(house.catalog.recall(INVENTORY) or "")
    assert kept is not None
    assert kept.cameras[Tree.ARCHIVE, "cam0"].files == 1


# -- held -------------------------------------------------------------------------------------------------


def test_much_at_a_first_start_is_held_and_told_once_confirmed_it_goes(daemon: Daemon, house: House) -> None:
    many(house, 3)
    many(house, 3, days_ago=40)
    daemon.rest()
    assert archives(house) == 6
    (problem,) = daemon.told
    assert problem.subject == "held"
    assert "nothing was cleaned up here before, and 50 % of the archive (for good) would go" in problem.message
    held = HeldPlan.from_text(house.catalog.recall(HELD))
    assert held is not None
    assert (held.files, held.since) == (3, house.now)
    daemon.after(3 * DAY_S)
    assert archives(house) == 6
    assert confirm(house.catalog, house.now) == HeldPlan.from_text(held.to_text())
    daemon.after(1)
    assert archives(house) == 3
    assert daemon.told == ()
    assert HeldPlan.from_text(house.catalog.recall(HELD)) is None


def test_much_after_a_change_of_the_rules_is_held(tmp_path: Path) -> None:
    with House(tmp_path, min_free=None, retention=(Rule(Tree.ARCHIVE, age_s=90 * DAY_S),), delete=True).open() as house:
        many(house, 4)
        many(house, 4, days_ago=40)
        Daemon(house).rest()
    with House(tmp_path, min_free=None, retention=(Rule(Tree.ARCHIVE, age_s=9 * DAY_S),), delete=True).open() as house:
        daemon = Daemon(house)
        daemon.rest()
        assert "the rules were changed, and 50 % of the archive (for good)" in daemon.told[0].message
        assert archives(house) == 8
    with House(tmp_path, min_free=None, retention=(Rule(Tree.ARCHIVE, age_s=90 * DAY_S),), delete=True).open() as house:
        daemon = Daemon(house)
        daemon.rest()
        assert daemon.told == ()
        assert not house.catalog.recall(HELD)


def test_much_by_the_usual_rules_is_not_held(daemon: Daemon, house: House) -> None:
    many(house, 6, days_ago=29.9)
    daemon.rest()
    daemon.after(0.2 * DAY_S)
    assert archives(house) == 0


def test_much_after_a_leap_of_the_clock_is_held(daemon: Daemon, house: House) -> None:
    many(house, 6)
    daemon.rest()
    daemon.after(4000 * DAY_S)
    assert archives(house) == 6
    assert "by a clock that now says" in daemon.told[0].message


def test_clock_that_lost_its_battery_has_nothing_removed_until_it_is_right(daemon: Daemon, house: House) -> None:
    many(house, 9)
    house.archived("front", 30 - 0.01)
    daemon.rest()
    right = house.now + 0.02 * DAY_S
    house.now = 86_400.0
    daemon.after(4000)
    assert daemon.told[0].subject == "clock"
    assert archives(house) == 10
    house.now = right
    daemon.after(4000)
    assert daemon.told == ()
    assert archives(house) == 9


def test_clock_that_was_ahead_for_a_while_keeps_nothing_from_going(daemon: Daemon, house: House) -> None:
    many(house, 9)
    daemon.rest()
    right = house.now
    house.archived("front", 31)
    daemon.after(20 * DAY_S)  # of ten, one is due
    assert Accepted.from_text(house.catalog.recall(ACCEPTED)) is not None
    house.now = right
    house.archived("back", 31)
    daemon.after(4000)
    assert daemon.told == ()
    assert archives(house) == 9


def test_what_a_lost_clock_moved_to_the_trash_lies_there_since_it_was_set(tmp_path: Path) -> None:
    with House(tmp_path, min_free=None).open() as house:
        daemon = Daemon(house)
        many_trashed(house, 9)
        daemon.rest()
        right = house.now
        house.now = 86_400.0
        house.archived("front", 0, trashed_days_ago=0)
        daemon.after(600)
        house.now = right
        daemon.after(600)
        assert len(house.standing(Tree.TRASH)) == 10
        day_by_day(daemon, 29)
        assert house.standing(Tree.TRASH) == ["front_19700102000000.mp4"]
        day_by_day(daemon, 2)
        assert house.standing(Tree.TRASH) == []


def test_archive_of_which_all_clocks_were_lost_is_as_old_as_the_right_time(daemon: Daemon, house: House) -> None:
    """Camera and machine began at 1970 after a power cut: name, file and catalog say so."""
    many(house, 9)
    daemon.rest()
    right = house.now
    house.now = 86_400.0
    house.archived("front", 0)
    daemon.after(600)
    house.now = right
    daemon.after(4000)
    assert archives(house) == 10
    day_by_day(daemon, 29)
    assert house.standing(Tree.ARCHIVE) == ["front_19700102000000.mp4"]
    day_by_day(daemon, 2)
    assert archives(house) == 0


def test_what_was_quarantined_by_a_lost_clock_can_be_looked_at_for_as_long_as_any_other(tmp_path: Path) -> None:
    with House(tmp_path, min_free=None, max_removal=100).open() as house:
        daemon = Daemon(house, max_removal=100)
        row = house.quarantined("front", 50)
        house.catalog.retry(row, house.now)
        row = house.catalog.claim(house.catalog.by_id(row.id), "j2", 86_400.0)
        house.catalog.quarantine(row, "no moov", 86_400.0)
        daemon.rest()
        daemon.after(29 * DAY_S)
        assert len(house.standing(Tree.SOURCE)) == 1
        daemon.after(2 * DAY_S)
        assert house.standing(Tree.SOURCE) == []


def test_rules_over_nothing_are_no_usual_rules(daemon: Daemon, house: House) -> None:
    daemon.rest()
    many(house, 3, days_ago=40)
    daemon.after(4000)
    assert archives(house) == 3
    assert "nothing was cleaned up here before" in daemon.told[0].message


# -- what can't be done -----------------------------------------------------------------------------------


class Refusing(FileManager):
    """Files that can't be removed."""

    def clear(self, *arguments: Any, **_options: Any) -> Cleared:  # Any: as they come
        wanted = arguments[2]
        return Cleared({}, {name: "it is immutable" for name, _ in wanted})


def test_what_cannot_be_removed_is_told_and_tried_again_later(house: House) -> None:
    files, house.files = house.files, Refusing(house.roots_by_tree, house.catalog.id, house.parts.modes())
    daemon = Daemon(house)
    many(house, 9)
    house.archived("front", 31)
    daemon.rest()
    (problem,) = daemon.told
    assert problem.message.startswith("one file can't be removed, for instance 2026/05/31/front_")
    assert problem.message.endswith(".mp4 of the archive: it is immutable")
    assert house.catalog.claimed_removals() == []
    house.files.clear = files.clear  # type: ignore[method-assign]
    daemon.after(120)
    assert archives(house) == 10
    daemon.after(600)
    assert archives(house) == 9
    assert daemon.told == ()


def test_ceiling_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    with House(tmp_path, min_free=None, clean_output=True, delete=True, max_size=500).open() as house:
        row = house.archived("front", 1)
        house.keep(Tree.ARCHIVE, row.path)
        daemon = Daemon(house)
        daemon.rest()
        (problem,) = daemon.told
        assert problem.message == "the archive may hold 500 bytes, and holds 500 bytes more, of which nothing may go"


# -- room -------------------------------------------------------------------------------------------------


class Disk(FileManager):
    """Files on a disk that tells of as much room as a test says."""

    room = Room(free=10**9, size=10**9, device=1)

    def free_room(self, _tree: Tree) -> Room:
        return self.room


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[House, Disk]]:
    """A house with ten recordings in the trash, and the disk it stands on."""
    with House(tmp_path, min_free=100_000).open() as house:
        for number in range(10):
            house.archived(f"cam{number}", 20 - number, 4096, trashed_days_ago=20 - number)
        house.files = files = Disk(house.roots_by_tree, house.catalog.id, house.parts.modes())
        yield house, files


def test_disk_that_comes_under_its_floor_is_cleaned_up_within_a_second(disk: tuple[House, Disk]) -> None:
    """Each time it comes there anew; while it stays there, a minute passes between two looks."""
    house, files = disk
    daemon = Daemon(house)
    daemon.rest()
    for left in (7, 4):
        files.room = Room(free=99_000, size=10**9, device=1)
        daemon.after(1)
        assert len(house.standing(Tree.TRASH)) == left
        daemon.after(2)
        assert len(house.standing(Tree.TRASH)) == left, "what was freed may take a while to show"
        files.room = Room(free=111_000, size=10**9, device=1)
        daemon.after(1)
    assert daemon.rang == 2
    files.room = Room(free=99_000, size=10**9, device=1)
    daemon.after(1)
    daemon.after(61)
    assert house.standing(Tree.TRASH) == []


def test_reserve_is_given_up_where_the_catalog_has_no_room_and_taken_again(
    disk: tuple[House, Disk], monkeypatch: pytest.MonkeyPatch
) -> None:
    house, files = disk
    reserve = house.config.state_dir / "reserve"
    assert reserve.stat().st_blocks > 0
    daemon = Daemon(house)
    daemon.rest()
    correct = house.catalog.correct

    def full(key: str, value: str) -> None:
        if reserve.exists():
            raise ResourceError("database or disk is full")
        correct(key, value)

    monkeypatch.setattr(house.catalog, "correct", full)
    files.room = Room(free=99_000, size=10**9, device=1)
    house.now += 1
    with pytest.raises(ResourceError):
        daemon.rest()
    assert not reserve.exists()
    assert len(house.standing(Tree.TRASH)) == 10
    daemon.after(1)
    assert len(house.standing(Tree.TRASH)) == 7
    files.room = Room(free=111_000, size=10**9, device=1)
    daemon.after(61)
    assert reserve.stat().st_blocks > 0


def test_disk_on_which_nothing_shows_is_left_alone_and_told(tmp_path: Path) -> None:
    """Snapshots of the file system keep what is removed: a whole archive would go for nothing."""
    with House(tmp_path, min_free=100_000, when_full=WhenFull.OLDEST).open() as house:
        many(house, 30)
        house.files = files = Disk(house.roots_by_tree, house.catalog.id, house.parts.modes())
        files.room = Room(free=99_000, size=10**9, device=1)
        daemon = Daemon(house)
        daemon.rest()
        confirm(house.catalog, house.now)
        for _ in range(600):
            daemon.after(61)
        left = archives(house)
        assert left >= 30 - 3 * 3 * 2
        assert [problem.subject for problem in daemon.told] == [f"not shown: {house.root}"]
        files.room = Room(free=111_000, size=10**9, device=1)
        daemon.after(61)
        assert daemon.told == ()
        files.room = Room(free=99_000, size=10**9, device=1)
        daemon.after(61)
        assert archives(house) == left - 3


class Disks(FileManager):
    """Files on as many disks as a test says."""

    rooms: Mapping[Tree, Room]

    def free_room(self, tree: Tree) -> Room:
        return self.rooms[tree]


def test_disk_that_stays_full_keeps_no_other_waiting(tmp_path: Path) -> None:
    with House(tmp_path, min_free=100_000, when_full=WhenFull.OLDEST).open() as house:
        many(house, 10)
        well = Room(free=10**8, size=10**9, device=2)
        house.files = files = Disks(house.roots_by_tree, house.catalog.id, house.parts.modes())
        files.rooms = {Tree.SOURCE: Room(10, 10**9, 1), Tree.ARCHIVE: well, Tree.TRASH: well._replace(device=3)}
        daemon = Daemon(house)
        daemon.rest()
        confirm(house.catalog, house.now)
        daemon.after(61)
        assert archives(house) == 10
        files.rooms = {**files.rooms, Tree.ARCHIVE: well._replace(free=99_000)}
        daemon.after(1)
        assert archives(house) == 7


def test_trees_on_subvolumes_of_one_pool_give_room_once(tmp_path: Path) -> None:
    with House(tmp_path, min_free=100_000, when_full=WhenFull.OLDEST).open() as house:
        for number in range(10):
            house.archived(f"cam{number}", 20 - number, 4096, trashed_days_ago=20 - number)
        house.files = files = Disks(house.roots_by_tree, house.catalog.id, house.parts.modes())
        files.rooms = {tree: Room(99_000, 10**9, device, "btrfs /dev/sda") for device, tree in enumerate(Tree)}
        daemon = Daemon(house)
        daemon.rest()
        confirm(house.catalog, house.now)
        daemon.after(61)
        assert (archives(house), len(house.standing(Tree.TRASH))) == (10, 7)


def test_every_turn_removes_something_however_slow_the_disk(daemon: Daemon, house: House) -> None:
    """Every question for the time takes a second: the moment is over before the first file."""
    many(house, 20)
    many(house, 4, days_ago=40)
    seconds = itertools.count()
    daemon.timer._cleaner.moment._clock = lambda: float(next(seconds))
    daemon.rest()
    assert archives(house) == 20


def test_clock_that_leaps_during_the_look_is_noticed(daemon: Daemon, house: House) -> None:
    many(house, 9)
    daemon.rest()
    house.now += 3700
    look = daemon.timer._cleaner.look

    def leaping() -> Any:
        yield from look()
        house.now += 400 * DAY_S

    daemon.timer._cleaner.look = leaping  # type: ignore[method-assign]
    daemon.rest()
    assert archives(house) == 9
    assert daemon.told[0].subject == "held"


def test_claims_that_a_failed_pass_left_are_let_go_of_by_the_next(house: House) -> None:
    many(house, 9)
    row = house.archived("front", 31)
    house.catalog.claim_removal([(row.id, "older than 30 days")], "deadbeef")
    assert house.catalog.claimed_removals()
    Daemon(house).rest()
    assert house.catalog.claimed_removals() == []
    assert archives(house) == 9
