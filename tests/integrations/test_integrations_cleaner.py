"""A cleanup over real trees and a real catalog: what goes, what stays, and what the catalog says of it after."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from archiverd.cleaner import Cleaner
from archiverd.config import WhenFull
from archiverd.errors import ResourceError
from archiverd.policy.model import FoundRecording, Place, Recording, State, Tree
from archiverd.policy.retention import CleanupPlan, Rule
from archiverd.remover import Done
from archiverd.storage.file_manager import FileManager, Room
from tests.holdings import DAY_S, House, upload

EVERY_DAY = 86_400


@pytest.fixture
def make_house(tmp_path: Path, request: pytest.FixtureRequest) -> Any:  # Any: a function with keys of Config
    def make(**settings: Any) -> House:
        house = House(tmp_path, min_free=None, **settings)
        opened = house.open()
        opened.__enter__()
        request.addfinalizer(lambda: opened.__exit__(None, None, None))
        return house

    return make


@pytest.fixture
def house(make_house: Any) -> House:
    made: House = make_house()
    return made


def cleaned(house: House, cleaner: Cleaner | None = None) -> tuple[CleanupPlan, Done]:
    """One whole cleanup."""
    cleaner = cleaner or house.cleaner()
    cleaner.finish(cleaner.look())
    cleaner.finish(cleaner.look_at_source())
    policy, done = cleaner.policy(), Done()
    plan = cleaner.plan(policy, cleaner.now())
    cleaner.finish(cleaner.apply(plan, policy, done))
    return plan, done


def state_of(house: House, row: Recording) -> tuple[State, str]:
    now = house.catalog.by_id(row.id)
    return now.state, now.reason


# -- the trash --------------------------------------------------------------------------------------------


def test_what_lay_in_the_trash_for_long_goes_for_good(house: House) -> None:
    old = house.archived("front", 50, trashed_days_ago=40)
    young = house.archived("front", 50.5, trashed_days_ago=20)
    plan, done = cleaned(house)
    assert house.standing(Tree.TRASH) == [young.path.name]
    assert {(one.candidate.path, one.reason) for one in plan.removals} == {
        (old.path, "in the trash for more than 30 days")
    }
    assert done.total.files == 1
    assert house.catalog.trash_at(old.path) is None
    assert house.catalog.trash_at(young.path) is not None
    assert "removed: in the trash for more than 30 days" in house.catalog.history(old)[-1].reason


def test_age_in_the_trash_counts_from_when_it_came_there(house: House) -> None:
    house.archived("front", 300, trashed_days_ago=1)
    assert cleaned(house)[0].removals == ()


def test_what_the_catalog_forgot_counts_from_the_change_of_its_place(house: House) -> None:
    row = house.archived("front", 300, trashed_days_ago=100)
    house.catalog.trash_gone([row.path], "forgotten", house.now)
    lies = house.roots_by_tree[Tree.TRASH] / row.path
    house.now = lies.stat().st_ctime + 29 * DAY_S
    assert cleaned(house)[0].removals == ()
    house.now = lies.stat().st_ctime + 31 * DAY_S
    cleaned(house)
    assert house.standing(Tree.TRASH) == []


def test_keep_file_in_the_trash_keeps_a_clip_and_its_snapshots(house: House) -> None:
    row = house.archived("front", 50, trashed_days_ago=40, snapshots=2)
    house.keep(Tree.TRASH, row.path)
    assert cleaned(house)[0].removals == ()
    assert len(house.standing(Tree.TRASH)) == 4


# -- the archive ------------------------------------------------------------------------------------------


def test_archive_is_left_alone_unless_the_owner_says_otherwise(house: House) -> None:
    house.archived("front", 4000)
    plan, _ = cleaned(house)
    assert plan.removals == ()
    assert len(house.standing(Tree.ARCHIVE)) == 1


def test_old_archive_goes_to_the_trash_and_the_catalog_says_why(make_house: Any) -> None:
    house = make_house(clean_output=True)
    old, young = house.archived("front", 31), house.archived("front", 29)
    cleaned(house)
    assert house.standing(Tree.ARCHIVE) == [young.path.name]
    assert state_of(house, old) == (State.REMOVED, "older than 30 days")
    assert state_of(house, young) == (State.DONE, "let go of")
    (lies,) = house.catalog.trash_all()
    assert (lies.path, lies.origin.tree, lies.origin.path, lies.reason, lies.recording) == (
        PurePosixPath("archived") / old.path, Tree.ARCHIVE, old.path, "older than 30 days", old.id,
    )  # fmt: skip


def test_old_archive_is_deleted_where_the_owner_has_things_deleted(make_house: Any) -> None:
    house = make_house(clean_output=True, delete=True)
    row = house.archived("front", 31)
    cleaned(house)
    assert (house.standing(Tree.ARCHIVE), house.standing(Tree.TRASH)) == ([], [])
    assert house.catalog.by_id(row.id).job == ""


def test_archive_whose_source_is_not_let_go_of_stays(make_house: Any) -> None:
    house = make_house(clean_output=True)
    row = house.archived("front", 100)
    house.catalog.take_up_again(row, "its snapshot came later", house.now)
    plan, _ = cleaned(house)
    assert plan.removals == ()
    assert (Tree.ARCHIVE, "its source is not let go of yet") in plan.kept


def test_archive_that_no_row_speaks_of_stays_and_counts_for_no_size(make_house: Any) -> None:
    house = make_house(clean_output=True, max_size=5000)
    house.file(Tree.ARCHIVE, upload("mine", datetime(2020, 1, 1)), 100_000, datetime(2020, 1, 1))
    house.archived("front", 10)
    plan, _ = cleaned(house)
    assert plan.removals == ()
    assert len(house.standing(Tree.ARCHIVE)) == 2


def test_protected_archive_stays(make_house: Any) -> None:
    house = make_house(clean_output=True)
    row = house.archived("front", 100)
    house.keep(Tree.ARCHIVE, row.path)
    assert cleaned(house)[0].removals == ()


def test_archive_of_another_size_than_was_committed_stays(make_house: Any) -> None:
    house = make_house(clean_output=True)
    row = house.archived("front", 100)
    house.file(Tree.ARCHIVE, row.path, 7, datetime.fromtimestamp(house.now - 100 * DAY_S))
    assert cleaned(house)[0].removals == ()


def test_size_takes_the_oldest_and_not_one_more(make_house: Any) -> None:
    house = make_house(clean_output=True, age=4000 * EVERY_DAY, max_size=5000)
    rows = [house.archived("front", days) for days in (9, 8, 7, 6, 5, 4, 3)]
    cleaned(house)
    assert [state_of(house, row)[0] for row in rows] == [State.REMOVED] * 3 + [State.DONE] * 4
    assert cleaned(house)[0].removals == ()


def test_rule_of_one_camera_touches_no_other(make_house: Any) -> None:
    house = make_house(retention=(Rule(Tree.ARCHIVE, ("garden*",), age_s=14 * DAY_S),))
    front, garden = house.archived("front", 100), house.archived("garden 2", 15)
    cleaned(house)
    assert (state_of(house, front)[0], state_of(house, garden)[0]) == (State.DONE, State.REMOVED)


def test_snapshots_beside_an_archive_go_with_it(make_house: Any) -> None:
    house = make_house(clean_output=True)
    row = house.archived("front", 31)
    snapshot = house.file(
        Tree.ARCHIVE,
        row.path.with_name("front_20260531120007.jpg"),
        100,
        datetime.fromtimestamp(house.now - 31 * DAY_S),
    )
    source = house.catalog.attach(row, [snapshot]).snapshots[0]
    house.catalog.snapshot_disposed(source, Place(Tree.ARCHIVE, snapshot.path), house.now)
    plan, _ = cleaned(house)
    assert [len(removal.candidate.files) for removal in plan.removals] == [2]
    assert house.standing(Tree.ARCHIVE) == []


# -- the source tree --------------------------------------------------------------------------------------


def test_what_waits_is_never_removed(make_house: Any) -> None:
    house = make_house(max_size=10, retention=(Rule(Tree.SOURCE, age_s=1.0, max_bytes=1),))
    row = house.waiting("front", 400)
    plan, _ = cleaned(house)
    assert plan.removals == ()
    assert [short.size > 0 for short in plan.shortfalls] == [True, True]
    assert state_of(house, row)[0] is State.WAITING


def test_quarantined_clip_goes_to_the_trash_after_its_time_also_with_delete(make_house: Any) -> None:
    house = make_house(delete=True)
    old, young = house.quarantined("front", 31), house.quarantined("front", 29)
    cleaned(house)
    assert state_of(house, old) == (State.GONE, "older than 30 days")
    assert state_of(house, young)[0] is State.QUARANTINED
    assert house.standing(Tree.TRASH) == [old.path.name]
    assert house.catalog.by_id(old.id).disposed_to == old.path


def test_quarantined_clip_is_waited_with_from_when_it_was_set_aside(house: House) -> None:
    row = house.quarantined("front", 3)
    house.catalog.correct("unrelated", "")
    aged = datetime.fromtimestamp(house.now - 400 * DAY_S)
    other = house.file(Tree.SOURCE, upload("back", aged), 10, aged)
    offered = house.catalog.offer(FoundRecording(other), house.now - DAY_S, reason="new")
    house.catalog.quarantine(house.catalog.claim(offered, "j2", house.now), "no moov", house.now - DAY_S)
    assert cleaned(house)[0].removals == ()
    assert state_of(house, row)[0] is State.QUARANTINED


def test_quarantined_clip_that_is_written_to_again_stays(house: House) -> None:
    row = house.quarantined("front", 31)
    with (house.root / row.path).open("ab"):
        _, done = cleaned(house)
    assert list(done.refused.values()) == ["somebody has it open for writing"]
    assert (house.root / row.path).exists()
    now = house.catalog.by_id(row.id)
    assert (now.state, now.job, now.reason) == (State.QUARANTINED, "", "no moov")


def test_snapshot_whose_recording_never_came_goes_after_a_day(house: House) -> None:
    old, young = (datetime.fromtimestamp(house.now - days * DAY_S) for days in (1.5, 0.5))
    for camera, when in (("old", old), ("young", young)):
        house.file(Tree.SOURCE, upload(camera, when).with_suffix(".jpg"), 100, when)
    plan, _ = cleaned(house)
    assert [removal.reason for removal in plan.removals] == ["a snapshot whose recording never came"]
    assert [name[:3] for name in house.standing(Tree.TRASH)] == ["old"]


def test_snapshot_of_a_clip_that_waits_stays(house: House) -> None:
    row = house.waiting("front", 5)
    house.file(Tree.SOURCE, row.path.with_suffix(".jpg"), 100, datetime.fromtimestamp(house.now - 5 * DAY_S))
    assert cleaned(house)[0].removals == ()


def test_empty_directories_of_past_days_go_and_those_of_today_stay(house: House) -> None:
    for days in (0, 1, 40):
        house.archived("front", days)
        upload_dir = house.root / upload("front", datetime.fromtimestamp(house.now - days * DAY_S)).parent
        upload_dir.mkdir(parents=True, exist_ok=True)
    strange = house.root / "2019/01/01"
    strange.mkdir(parents=True)
    cleaned(house)
    assert sorted(str(path.relative_to(house.root)) for path in house.root.glob("20*/*/*")) == [
        "2019/01/01", "2026/06/30", "2026/07/01",
    ]  # fmt: skip


@pytest.mark.parametrize("above", [False, True], ids=["day", "month"])
def test_directory_that_a_death_left_empty_goes_with_the_next_cleanup(make_house: Any, above: bool) -> None:
    """In archive and trash; the death came after the last file of the day, or after the directory of the day."""
    house: House = make_house(clean_output=True)
    archive, trash = (house.roots_by_tree[tree] for tree in (Tree.ARCHIVE, Tree.TRASH))
    row = house.archived("front", 40)
    cleaned(house)
    lay = trash / "archived" / row.path
    lay.unlink()
    lay.parent.rmdir()
    left = [
        (root / row.path).parent.parent if above else (root / row.path).parent for root in (archive, lay.parents[3])
    ]
    strange = [root / "2019/01/01" for root in (archive, trash)]
    for directory in (*left, *strange):
        directory.mkdir(parents=True, exist_ok=True)
    cleaned(house)
    assert [directory.exists() for directory in (*left, *strange)] == [False, False, True, True]


# -- room -------------------------------------------------------------------------------------------------


class Cramped(FileManager):
    """Files on disks that tell of as much room as a test says."""

    room = Room(free=10**9, size=10**9, device=1)

    def free_room(self, _tree: Tree) -> Room:
        return self.room


def cramped(tmp_path: Path, request: pytest.FixtureRequest, free: int, **settings: Any) -> House:
    house = House(tmp_path, min_free=100_000, **settings)
    opened = house.open()
    opened.__enter__()
    request.addfinalizer(lambda: opened.__exit__(None, None, None))
    house.files = Cramped(house.roots_by_tree, house.catalog.id, house.parts.modes())
    house.files.room = Room(free, 10**9, 1)
    return house


def test_room_is_made_in_the_trash_oldest_first_and_no_further(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    house = cramped(tmp_path, request, free=99_000)
    rows = [house.archived("front", 20 + days, 4096, trashed_days_ago=days) for days in (9, 8, 7, 6, 5)]
    plan, done = cleaned(house)
    assert [removal.candidate.path for removal in plan.removals] == [row.path for row in rows[:3]]
    assert done.freed[Tree.TRASH] == 3 * 4096
    assert plan.shortfalls == ()


def test_archive_gives_no_room_unless_the_owner_says_so(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    house = cramped(tmp_path, request, free=99_000)
    house.archived("front", 9, 4096)
    plan, _ = cleaned(house)
    assert plan.removals == ()
    assert [short.size for short in plan.shortfalls] == [11_000]


def test_archive_gives_room_where_the_owner_says_so_but_for_what_is_guaranteed(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    rule = Rule(Tree.ARCHIVE, ("front",), keep_s=7 * DAY_S)
    house = cramped(tmp_path, request, free=60_000, when_full=WhenFull.OLDEST, retention=(rule,))
    old, young = house.archived("front", 8, 4096), house.archived("front", 6, 4096)
    plan, _ = cleaned(house)
    assert (state_of(house, old)[0], state_of(house, young)[0]) == (State.REMOVED, State.DONE)
    assert house.standing(Tree.TRASH) == []
    assert plan.shortfalls[0].size == 110_000 - 60_000 - 4096


# -- faults -----------------------------------------------------------------------------------------------


def test_root_that_is_lost_ends_it_before_anything_is_removed(house: House) -> None:
    house.archived("front", 50, trashed_days_ago=40)
    cleaner = house.cleaner()
    cleaner.finish(cleaner.look())
    policy = cleaner.policy()
    plan = cleaner.plan(policy, cleaner.now())
    (house.roots_by_tree[Tree.ARCHIVE] / ".archiverd-root").unlink()
    with pytest.raises(ResourceError, match="marker"):
        cleaner.finish(cleaner.apply(plan, policy, Done()))
    assert len(house.standing(Tree.TRASH)) == 1


def test_what_changed_since_it_was_planned_stays(make_house: Any) -> None:
    house = make_house(clean_output=True)
    row = house.archived("front", 50)
    cleaner, done = house.cleaner(), Done()
    cleaner.finish(cleaner.look())
    policy = cleaner.policy()
    plan = cleaner.plan(policy, cleaner.now())
    os.utime(house.roots_by_tree[Tree.ARCHIVE] / row.path, (1, 1))
    cleaner.finish(cleaner.apply(plan, policy, done))
    assert len(house.standing(Tree.ARCHIVE)) == 1
    assert len(done.refused) == 1
    now = house.catalog.by_id(row.id)
    assert (now.state, now.job, now.reason) == (State.DONE, "", "let go of")


@pytest.mark.parametrize("tree", [Tree.ARCHIVE, Tree.TRASH, Tree.SOURCE])
def test_what_is_protected_since_it_was_planned_stays(make_house: Any, tree: Tree) -> None:
    house = make_house(clean_output=True)
    row = {
        Tree.ARCHIVE: lambda: house.archived("front", 50),
        Tree.TRASH: lambda: house.archived("front", 29, trashed_days_ago=50, snapshots=1),
        Tree.SOURCE: lambda: house.quarantined("front", 50),
    }[tree]()
    cleaner, done = house.cleaner(), Done()
    cleaner.finish(cleaner.look())
    policy = cleaner.policy()
    plan = cleaner.plan(policy, cleaner.now())
    before = house.standing(tree)
    house.keep(tree, row.path)
    cleaner.finish(cleaner.apply(plan, policy, done))
    assert plan.removals
    assert set(before) < set(house.standing(tree))
    assert house.catalog.claimed_removals() == []


def test_what_somebody_else_removed_meanwhile_is_no_failure(house: House) -> None:
    rows = [house.archived(f"cam{number}", 60, trashed_days_ago=40) for number in range(3)]
    cleaner, done = house.cleaner(), Done()
    cleaner.finish(cleaner.look())
    policy = cleaner.policy()
    plan = cleaner.plan(policy, cleaner.now())
    (house.roots_by_tree[Tree.TRASH] / rows[1].path).unlink()
    cleaner.finish(cleaner.apply(plan, policy, done))
    assert (done.refused, done.total.files) == ({}, 2)
    assert house.catalog.trash_at(rows[1].path) is None


def test_orphan_whose_recording_came_since_the_plan_stays(house: House) -> None:
    when = datetime.fromtimestamp(house.now - 5 * DAY_S)
    snapshot = house.file(Tree.SOURCE, upload("front", when).with_suffix(".jpg"), 100, when)
    cleaner, done = house.cleaner(), Done()
    cleaner.finish(cleaner.look())
    cleaner.finish(cleaner.look_at_source())
    policy = cleaner.policy()
    plan = cleaner.plan(policy, cleaner.now())
    assert len(plan.removals) == 1
    clip = house.file(Tree.SOURCE, upload("front", when), 1000, when)
    house.catalog.offer(FoundRecording(clip, (snapshot,)), house.now, reason="new")
    cleaner.finish(cleaner.apply(plan, policy, done))
    assert len(house.standing(Tree.SOURCE)) == 2


def test_orphan_is_an_only_copy_and_goes_nowhere_but_to_the_trash(make_house: Any) -> None:
    house = make_house(delete=True)
    when = datetime.fromtimestamp(house.now - 5 * DAY_S)
    house.file(Tree.SOURCE, upload("front", when).with_suffix(".jpg"), 100, when)
    cleaned(house)
    assert (len(house.standing(Tree.SOURCE)), len(house.standing(Tree.TRASH))) == (0, 1)


def test_many_are_removed_moment_by_moment(make_house: Any) -> None:
    house = make_house(clean_output=True, delete=True)
    rows = [house.archived(f"cam{number}", 31 + number / 1440) for number in range(40)]
    cleaner, done = house.cleaner(), Done()
    cleaner.finish(cleaner.look())
    policy = cleaner.policy()
    plan = cleaner.plan(policy, cleaner.now())
    ticks = iter(range(10_000))
    cleaner.moment._clock = lambda: next(ticks) * 0.1  # every question takes a tenth of a second
    pauses = 0
    cleaner.moment.begin()
    for _ in cleaner.apply(plan, policy, done):
        pauses += 1
        cleaner.moment.begin()
    assert pauses > 5
    assert {state_of(house, row)[0] for row in rows} == {State.REMOVED}
    assert done.total.files == 40
