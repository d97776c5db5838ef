"""What goes by the owner's rules and what stays: laws of every plan, and examples of what they leave open."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiverd.policy.model import Fingerprint, Tree
from archiverd.policy.retention import (
    FIRST_CLOCK,
    LINKED,
    LOW_WATER,
    NO_ROOM_IN_TRASH,
    NOT_DUE,
    Candidate,
    Cause,
    CleanupPlan,
    Demand,
    Disk,
    Holdings,
    Policy,
    Removal,
    Rule,
    Shortfall,
    Sum,
    in_order,
    noted_at,
    plan_cleanup,
    reckoned_at,
    rules_for_nobody,
)
from archiverd.policy.words import size_words

NOW = 1_800_000_000.0
DAY = 86_400.0
BLOCK = 4096
KEPT = "protected by its .keep file"
ORPHAN = "a snapshot of nothing"

EVERYWHERE = Disk("/one", frozenset(Tree))
APART = (Disk("/media", frozenset({Tree.SOURCE, Tree.ARCHIVE})), Disk("/trash", frozenset({Tree.TRASH})))

Candidates = Mapping[Tree, list[Candidate]]


@dataclass(frozen=True)
class World:
    """What stands in the trees."""

    candidates: Candidates = field(default_factory=dict)

    def of(self, tree: Tree) -> list[Candidate]:
        return self.candidates.get(tree, [])

    @property
    def all(self) -> list[Candidate]:
        return [one for tree in Tree for one in self.of(tree)]

    @property
    def holdings(self) -> Holdings:
        by_camera: dict[tuple[Tree, str], Sum] = {}
        kept: dict[tuple[Tree, str], Sum] = {}
        for one in self.all:
            by_camera[one.tree, one.camera] = by_camera.get((one.tree, one.camera), Sum()) + one.sum
            if one.keep:
                kept[one.tree, one.keep] = kept.get((one.tree, one.keep), Sum()) + one.sum
        return Holdings(by_camera, kept, {(Tree.ARCHIVE, "not ours"): Sum(9, 9_000_000)})

    def in_demand(self, demand: Demand) -> Iterable[Candidate]:
        """What a reader that leaves out all that it may tells of a tree."""
        return (one for one in self.of(demand.tree) if one.due or demand.wants(one.camera, one.at))

    def plan(self, policy: Policy) -> CleanupPlan:
        return plan_cleanup(self.holdings, lambda demand: self.of(demand.tree), policy, NOW)

    def after(self, plan: CleanupPlan) -> World:
        """What stands when a plan was carried out."""
        gone = {(one.candidate.tree, one.candidate.path) for one in plan.removals}
        left = {tree: [one for one in self.of(tree) if (tree, one.path) not in gone] for tree in Tree}
        left[Tree.TRASH] += [
            replace(
                one.candidate, tree=Tree.TRASH, path=one.candidate.tree / one.candidate.path, at=NOW, due="",
                only_copy=False,
            )
            for one in plan.removals
            if one.to_trash
        ]  # fmt: skip
        return World({tree: in_order(found) for tree, found in left.items()})


def candidate(
    days: float, size: int = BLOCK, camera: str = "front", tree: Tree = Tree.ARCHIVE, *, name: str = "", keep: str = "",
    only_copy: bool = False, due: str = "", snapshot: int = 0,
) -> Candidate:  # fmt: skip
    """One that is so many days old."""
    name = name or f"{camera}_{days:08.3f}"
    files = [(f"{name}.mp4", Fingerprint(1, size - snapshot, 1))]
    files += [(f"{name}.jpg", Fingerprint(2, snapshot, 1))] if snapshot else []
    return Candidate(
        tree, PurePosixPath(f"2026/{name}.mp4"), camera, NOW - days * DAY, size, tuple(files), keep,
        only_copy=only_copy, due=due,
    )  # fmt: skip


def world(*candidates: Candidate) -> World:
    return World({tree: in_order(one for one in candidates if one.tree is tree) for tree in Tree})


def names(plan: CleanupPlan) -> list[str]:
    return [one.candidate.path.stem for one in plan.removals]


# -- random worlds and policies ---------------------------------------------------------------------------

CAMERAS = ("front", "front-door", "garden", "\udcff[x]")
GLOBS = (("*",), ("front*",), ("garden",), ("front", "garden"), ("*[!a-z]*",))
ages = st.integers(0, 240).map(lambda quarters: quarters / 4)  # in days: many of the same, and on the edge of a rule
sizes = st.sampled_from([1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 10 * BLOCK, 40 * BLOCK])


Marks = Mapping[str, Any]  # Any: a text or whether
MARKS: tuple[Marks, ...] = (
    {}, {}, {}, {"keep": KEPT}, {"only_copy": True}, {"due": ORPHAN}, {"due": ORPHAN, "only_copy": True, "keep": "no"}
)  # fmt: skip
marks: st.SearchStrategy[Marks] = st.sampled_from(MARKS)
kinds = st.tuples(ages, sizes, st.sampled_from(CAMERAS), st.sampled_from(Tree), marks)


def built(number: int, days: float, size: int, camera: str, tree: Tree, marks: Marks) -> Candidate:
    """Only of the source tree are there only copies, and what is due."""
    allowed = marks if tree is Tree.SOURCE else {name: why for name, why in marks.items() if name == "keep"}
    return candidate(days, size, camera, tree, name=f"n{number}", snapshot=size // 3, **allowed)


crowded = st.tuples(ages, st.integers(1, 3).map(BLOCK.__mul__), st.sampled_from(CAMERAS), st.just(Tree.ARCHIVE), marks)
worlds = (st.lists(kinds, max_size=20) | st.lists(crowded, min_size=4, max_size=20)).map(
    lambda found: world(*(built(n, *one) for n, one in enumerate(found)))
)


def optional(numbers: st.SearchStrategy[int], unit: float) -> st.SearchStrategy[float | None]:
    return st.none() | numbers.map(lambda number: number * unit)


rules = st.builds(
    Rule, st.sampled_from(Tree), st.sampled_from(GLOBS), optional(st.integers(0, 50), DAY),
    st.none() | st.integers(0, 120 * BLOCK), optional(st.integers(0, 40), DAY),
)  # fmt: skip
wanted = st.just(0) | st.integers(1, 150 * BLOCK)


@st.composite
def disks(draw: st.DrawFn) -> tuple[Disk, ...]:
    layout = draw(st.sampled_from([(EVERYWHERE,), APART]))
    return tuple(replace(disk, wanted=draw(wanted)) for disk in layout)


overlapping = st.builds(
    Rule, st.just(Tree.ARCHIVE), st.sampled_from(GLOBS), st.none(), st.integers(1, 20).map(BLOCK.__mul__)
)
policies = st.builds(
    Policy, (st.lists(rules, max_size=4) | st.lists(overlapping, min_size=2, max_size=3)).map(tuple), st.booleans(),
    st.booleans(), disks(),
)  # fmt: skip
cases = settings(max_examples=100)


# -- the laws, in other words than the planner's ----------------------------------------------------------


def about(policy: Policy, one: Candidate) -> Iterator[Rule]:
    for rule in policy.rules:
        if rule.tree is one.tree and any(fnmatchcase(one.camera, glob) for glob in rule.cameras):
            yield rule


def is_too_old(policy: Policy, one: Candidate) -> bool:
    found = [rule.age_s for rule in about(policy, one) if rule.age_s is not None]
    return bool(found) and NOW - one.at > found[0]


def is_guaranteed(policy: Policy, one: Candidate) -> bool:
    found = [rule.keep_s for rule in about(policy, one) if rule.keep_s is not None]
    return bool(found) and NOW - one.at < found[0]


def may_go(policy: Policy, one: Candidate) -> bool:
    stuck = one.only_copy and any(disk.wanted and Tree.TRASH in disk.trees for disk in policy.disks)
    return not one.keep and not is_guaranteed(policy, one) and not stuck


def ceilings(policy: Policy) -> list[tuple[Rule, int]]:
    return [(rule, rule.max_bytes) for rule in policy.rules if rule.max_bytes is not None]


def reason_of(rule: Rule) -> str:
    return f"{rule.about} may hold {size_words(rule.max_bytes or 0)}"


def before_and_after(world: World, plan: CleanupPlan, rule: Rule) -> tuple[int, int]:
    """What the cameras of a rule hold there, with what the plan moves there: before and after the removals."""
    moved = [one.candidate for one in plan.removals if one.to_trash and rule.tree is Tree.TRASH]
    held = sum(one.size for one in [*world.of(rule.tree), *moved] if rule.fits(one.camera))
    gone = sum(
        one.candidate.size
        for one in plan.removals
        if one.candidate.tree is rule.tree and rule.fits(one.candidate.camera)
    )
    return held, held - gone


def freed(plan: CleanupPlan, disk: Disk) -> int:
    """The bytes a plan makes free on a disk."""
    return sum(
        -(-mark.size // BLOCK) * BLOCK
        for one in plan.removals
        if one.candidate.tree in disk.trees and not (one.to_trash and Tree.TRASH in disk.trees)
        for _, mark in one.candidate.files
    )


@cases
@given(worlds, policies)
def test_nothing_goes_that_must_stay(world: World, policy: Policy) -> None:
    plan = world.plan(policy)

    going = [one.candidate for one in plan.removals]
    assert all(one in world.of(one.tree) for one in going)
    assert len({(one.tree, one.path) for one in going}) == len(going)
    for one in plan.removals:
        assert not one.candidate.keep
        assert not is_guaranteed(policy, one.candidate)
        assert one.reason
        match one.cause:
            case Cause.AGE:
                assert one.candidate.due or is_too_old(policy, one.candidate)
            case Cause.SIZE:
                assert one.reason in {
                    reason_of(rule) for rule in about(policy, one.candidate) if rule.max_bytes is not None
                }
            case Cause.ROOM:
                allowed = {Tree.TRASH, Tree.ARCHIVE} if policy.archives_for_room else {Tree.TRASH}
                assert one.candidate.tree in allowed
                assert not one.to_trash


@cases
@given(worlds, policies)
def test_only_copy_is_moved_to_the_trash_or_stays(world: World, policy: Policy) -> None:
    plan = world.plan(policy)

    assert all(one.to_trash for one in plan.removals if one.candidate.only_copy)
    if any(disk.wanted and Tree.TRASH in disk.trees for disk in policy.disks):
        assert not any(one.to_trash for one in plan.removals)  # there it would be gone with the next cleanup
    assert not any(one.to_trash for one in plan.removals if one.candidate.tree is Tree.TRASH)


@cases
@given(worlds, policies)
def test_all_that_is_too_old_goes(world: World, policy: Policy) -> None:
    plan = world.plan(policy)

    going = [one.candidate for one in plan.removals if one.cause is Cause.AGE]
    assert going == [
        one
        for tree in (Tree.SOURCE, Tree.ARCHIVE, Tree.TRASH)
        for one in world.of(tree)
        if may_go(policy, one) and (one.due or is_too_old(policy, one))
    ]  # fmt: skip


@cases
@given(worlds, policies)
def test_each_rule_takes_the_oldest_that_may_go(world: World, policy: Policy) -> None:
    plan = world.plan(policy)

    going = {(one.candidate.tree, one.candidate.path) for one in plan.removals}
    for one in plan.removals:
        if one.cause is Cause.AGE:
            continue
        order = world.of(one.candidate.tree)
        rule = next((rule for rule in about(policy, one.candidate) if one.reason == reason_of(rule)), None)
        for other in order[: order.index(one.candidate)]:
            if may_go(policy, other) and (rule is None or rule.fits(other.camera)):
                assert (other.tree, other.path) in going


@cases
@given(worlds, policies)
def test_archives_go_for_room_only_when_the_trash_of_their_disk_is_empty(world: World, policy: Policy) -> None:
    plan = world.plan(policy)

    going = {(one.candidate.tree, one.candidate.path) for one in plan.removals}
    for one in plan.removals:
        if one.cause is Cause.ROOM and one.candidate.tree is Tree.ARCHIVE and policy.disks[0].trees == frozenset(Tree):
            assert all((Tree.TRASH, other.path) in going for other in world.of(Tree.TRASH) if may_go(policy, other))


@cases
@given(worlds, policies)
def test_no_rule_takes_one_more_than_it_needs(world: World, policy: Policy) -> None:
    plan = world.plan(policy)

    for rule, most in ceilings(policy):
        held, left = before_and_after(world, plan, rule)
        theirs = [
            one.candidate
            for one in plan.removals
            if one.cause is Cause.SIZE and one.candidate.tree is rule.tree and one.reason == reason_of(rule)
        ]
        if theirs:  # the last of them is needed, or one that comes after it, and then those before it go first
            after = [
                one.candidate for one in plan.removals if one.cause is Cause.SIZE and one.candidate.tree is rule.tree
            ]
            after = [one for one in after[after.index(theirs[-1]) :] if rule.fits(one.camera)]
            assert held > most
            assert any(left + one.size > int(most * LOW_WATER) for one in after)
    for disk in policy.disks:
        for_it = [
            one.candidate for one in plan.removals if one.cause is Cause.ROOM and one.candidate.tree in disk.trees
        ]
        if for_it:
            assert freed(plan, disk) - for_it[-1].room < disk.wanted


@cases
@given(worlds, policies)
def test_what_can_not_be_reached_is_said(world: World, policy: Policy) -> None:
    plan = world.plan(policy)

    going = {(one.candidate.tree, one.candidate.path) for one in plan.removals}
    expected = []
    for tree in (Tree.SOURCE, Tree.ARCHIVE, Tree.TRASH):
        for rule, most in ceilings(policy):
            held, left = before_and_after(world, plan, rule)
            if rule.tree is not tree or held <= most or left <= int(most * LOW_WATER):
                continue
            assert all(
                (one.tree, one.path) in going for one in world.of(tree) if rule.fits(one.camera) and may_go(policy, one)
            )
            moved = held - sum(one.size for one in world.of(tree) if rule.fits(one.camera))  # can go the next time
            missing = left - most - moved
            expected += [Shortfall(reason_of(rule), missing)] if missing > 0 else []
    for disk in policy.disks:
        missing = disk.wanted - freed(plan, disk)
        expected += [Shortfall(f"no room left on the disk of {disk.path}", missing)] if missing > 0 else []
    assert list(plan.shortfalls) == expected


@cases
@given(worlds, policies)
def test_sums_are_right(world: World, policy: Policy) -> None:
    plan = world.plan(policy)

    for tree in Tree:
        total = plan.going(tree)
        for (where, _), kept in plan.kept.items():
            total += kept if where is tree else Sum()
        assert total == plan.holdings.of(tree) == Sum(
            sum(len(one.files) for one in world.of(tree)), sum(one.size for one in world.of(tree))
        )  # fmt: skip
    stuck = [
        one
        for one in world.all
        if one.only_copy and not one.keep and not is_guaranteed(policy, one) and not may_go(policy, one)
        if one.due or is_too_old(policy, one)
    ]
    assert plan.kept.get((Tree.SOURCE, NO_ROOM_IN_TRASH), Sum()).files >= sum(len(one.files) for one in stuck)


@cases
@given(worlds, policies)
def test_second_cleanup_finds_nothing_to_do(world: World, policy: Policy) -> None:
    plan = world.plan(policy)
    left = tuple(replace(disk, wanted=max(0, disk.wanted - freed(plan, disk))) for disk in policy.disks)

    again = world.after(plan).plan(replace(policy, disks=left))

    lacked_room = any(disk.wanted and Tree.TRASH in disk.trees for disk in policy.disks)
    moved = any(one.to_trash for one in (*plan.removals, *again.removals))
    for one in again.removals:
        in_trash = one.candidate.tree is Tree.TRASH and one.cause is Cause.SIZE and moved  # its ceiling, of what came
        assert in_trash or (one.candidate.only_copy and lacked_room)  # which now has room for it


@cases
@given(worlds, policies)
def test_what_is_not_in_demand_can_stay_unread(world: World, policy: Policy) -> None:
    assert plan_cleanup(world.holdings, world.in_demand, policy, NOW) == world.plan(policy)


def paths(plan: CleanupPlan) -> set[tuple[Tree, PurePosixPath]]:
    return {(one.candidate.tree, one.candidate.path) for one in plan.removals}


no_disks: tuple[Disk, ...] = ()
keeps_only = rules.map(lambda rule: replace(rule, age_s=None, max_bytes=None))
ages_only = rules.map(lambda rule: replace(rule, max_bytes=None))


@cases
@given(worlds, st.lists(ages_only, max_size=3), rules, st.integers(0, 120 * BLOCK), st.integers(0, 120 * BLOCK))
def test_larger_size_has_fewer_of_the_same_go(
    world: World, others: list[Rule], rule: Rule, most: int, more: int
) -> None:  # fmt: skip
    """With one ceiling, that is: of two that overlap, what the one spares, the other may have to take elsewhere."""
    smaller, larger = (
        Policy((*others, replace(rule, max_bytes=size)), disks=no_disks) for size in (most, most + more)
    )  # fmt: skip

    assert paths(world.plan(larger)) <= paths(world.plan(smaller))


@cases
@given(worlds, st.lists(ages_only, max_size=3), rules, st.integers(0, 50), st.integers(0, 50))
def test_larger_age_has_fewer_of_the_same_go(
    world: World, others: list[Rule], rule: Rule, days: int, more: int
) -> None:  # fmt: skip
    shorter, longer = (
        Policy((replace(rule, age_s=age * DAY, max_bytes=None), *others), disks=no_disks)
        for age in (days, days + more)
    )  # fmt: skip

    assert paths(world.plan(longer)) <= paths(world.plan(shorter))


@cases
@given(worlds, policies, st.integers(1, 150 * BLOCK), st.integers(0, 150 * BLOCK))
def test_more_room_has_fewer_of_the_same_go(world: World, policy: Policy, less: int, more: int) -> None:
    scarce, ample = (
        replace(policy, disks=tuple(replace(disk, wanted=size) for disk in policy.disks))
        for size in (less + more, less)
    )  # fmt: skip

    assert paths(world.plan(ample)) <= paths(world.plan(scarce))


@cases
@given(worlds, policies)
def test_nothing_but_the_want_of_room_has_more_go(world: World, policy: Policy) -> None:
    """But for only copies, for which the trash has room then, and what the trash then holds too much."""
    no_trash = replace(policy, rules=tuple(rule for rule in policy.rules if rule.tree is not Tree.TRASH))
    room = replace(no_trash, disks=tuple(replace(disk, wanted=0) for disk in policy.disks))

    more = paths(world.plan(room)) - paths(world.plan(no_trash))

    assert all(one.only_copy for one in world.all if (one.tree, one.path) in more)


# -- reading ----------------------------------------------------------------------------------------------


@dataclass
class Reader:
    """Tells the candidates of a world and counts those that are read."""

    world: World
    read: dict[Tree, int] = field(default_factory=dict)

    def __call__(self, demand: Demand) -> Iterator[Candidate]:
        self.read[demand.tree] = 0
        for one in self.world.of(demand.tree):
            self.read[demand.tree] += 1
            yield one


def last_of(world: World, plan: CleanupPlan, tree: Tree) -> int:
    """How many candidates stand up to the last that goes."""
    places = [world.of(tree).index(one.candidate) + 1 for one in plan.removals if one.candidate.tree is tree]
    return max(places, default=0)


@cases
@given(worlds, st.lists(ages_only, max_size=3).map(tuple))
def test_ages_read_no_further_than_to_the_first_that_is_younger_than_all(world: World, rules: tuple[Rule, ...]) -> None:
    reader = Reader(world)

    plan_cleanup(world.holdings, reader, Policy(rules), NOW)

    for tree in Tree:
        shortest = min((rule.age_s for rule in rules if rule.tree is tree and rule.age_s is not None), default=1e12)
        order = world.of(tree)
        first = next((n for n, one in enumerate(order) if not one.due and NOW - one.at <= shortest), len(order))
        assert reader.read[tree] == min(len(order), first + 1)


@cases
@given(worlds, st.sampled_from(Tree), st.integers(0, 200 * BLOCK))
def test_size_reads_no_further_than_to_the_last_that_goes(world: World, tree: Tree, most: int) -> None:
    reader = Reader(world)
    plan = plan_cleanup(world.holdings, reader, Policy((Rule(tree, max_bytes=most),), delete=True), NOW)

    if tree is not Tree.SOURCE and not plan.shortfalls:
        assert reader.read[tree] == max(last_of(world, plan, tree), min(1, len(world.of(tree))))


@cases
@given(worlds, st.booleans(), st.integers(0, 200 * BLOCK))
def test_room_reads_no_further_than_to_the_last_that_goes(world: World, archives: bool, size: int) -> None:
    reader = Reader(world)
    policy = Policy((), archives_for_room=archives, disks=(replace(EVERYWHERE, wanted=size),))
    plan = plan_cleanup(world.holdings, reader, policy, NOW)

    for tree in (Tree.ARCHIVE, Tree.TRASH):
        if not plan.shortfalls and not (tree is Tree.TRASH and last_of(world, plan, Tree.ARCHIVE)):
            assert reader.read[tree] == max(last_of(world, plan, tree), min(1, len(world.of(tree))))


@pytest.mark.parametrize(
    ("rules", "lacks", "camera", "days", "wanted"),
    [
        ((), 0, "front", 900, False),
        ((Rule(Tree.TRASH, age_s=30 * DAY),), 0, "front", 30, False),
        ((Rule(Tree.TRASH, age_s=30 * DAY),), 0, "front", 31, True),
        ((Rule(Tree.ARCHIVE, age_s=30 * DAY),), 0, "front", 31, False),
        ((Rule(Tree.TRASH, ("front",), max_bytes=BLOCK),), 0, "front", 8, True),
        ((Rule(Tree.TRASH, ("front",), max_bytes=BLOCK),), 0, "garden", 8, False),
        ((Rule(Tree.TRASH, max_bytes=2 * BLOCK),), 0, "front", 8, False),
        ((Rule(Tree.TRASH, max_bytes=BLOCK, keep_s=9 * DAY),), 1, "front", 8, False),  # nor for room
        ((), 1, "garden", 8, True),
    ],
)
def test_demand_is_for_what_may_have_to_go(
    rules: tuple[Rule, ...], lacks: int, camera: str, days: float, *, wanted: bool
) -> None:
    stands = world(candidate(50, 2 * BLOCK, tree=Tree.TRASH))
    policy = Policy(rules, disks=(replace(EVERYWHERE, wanted=lacks),))

    assert Demand(Tree.TRASH, stands.holdings, policy, NOW).wants(camera, NOW - days * DAY) is wanted


# -- examples ---------------------------------------------------------------------------------------------


def test_broad_ceiling_takes_nothing_that_a_narrow_one_makes_needless() -> None:
    """Oldest first and rule after rule, the garden's would go, and then the front's for their own ceiling as well."""
    stands = world(
        *(candidate(50 - n, 10 * BLOCK, "garden") for n in range(5)),
        *(candidate(40 - n, 10 * BLOCK) for n in range(10)),
    )
    rules = (
        Rule(Tree.ARCHIVE, max_bytes=120 * BLOCK),
        Rule(Tree.ARCHIVE, ("front",), max_bytes=60 * BLOCK),
    )

    plan = stands.plan(Policy(rules))

    assert [one.candidate.camera for one in plan.removals] == ["front"] * 5
    assert {one.reason for one in plan.removals} == {reason_of(rules[1])}


def test_broad_ceiling_takes_the_oldest_of_what_it_needs_besides() -> None:
    stands = world(
        *(candidate(50 - n, 10 * BLOCK, "garden", name=f"garden{n}") for n in range(5)),
        *(candidate(40 - n, 10 * BLOCK, name=f"front{n}") for n in range(5)),
    )
    rules = (Rule(Tree.ARCHIVE, max_bytes=61 * BLOCK), Rule(Tree.ARCHIVE, ("front",), max_bytes=31 * BLOCK))

    plan = stands.plan(Policy(rules))

    assert [(one.candidate.path.stem, one.reason) for one in plan.removals] == [
        ("garden0", reason_of(rules[0])), ("garden1", reason_of(rules[0])),
        ("front0", reason_of(rules[1])), ("front1", reason_of(rules[1])),
    ]  # fmt: skip


def test_reading_goes_on_while_any_camera_has_something_too_old() -> None:
    stands = world(candidate(20, camera="garden"), candidate(15, camera="garden"), candidate(10))
    rules = (Rule(Tree.ARCHIVE, ("front",), age_s=7 * DAY), Rule(Tree.ARCHIVE, age_s=30 * DAY))

    assert names(stands.plan(Policy(rules))) == ["front_0010.000"]


@pytest.mark.parametrize(("days", "goes"), [(30, False), (30.001, True)])
def test_age_is_to_be_exceeded(days: float, *, goes: bool) -> None:
    assert bool(world(candidate(days)).plan(Policy((Rule(Tree.ARCHIVE, age_s=30 * DAY),))).removals) is goes


@pytest.mark.parametrize(("days", "goes"), [(7, True), (6.999, False)])
def test_keep_ends_when_it_is_reached(days: float, *, goes: bool) -> None:
    rules = (Rule(Tree.ARCHIVE, keep_s=7 * DAY, max_bytes=0),)

    assert bool(world(candidate(days)).plan(Policy(rules)).removals) is goes


def test_size_takes_nothing_that_an_age_makes_needless() -> None:
    """To the byte: with the front's gone for its age, 99 % of the size are left."""
    stands = world(candidate(300, 49_000, "garden"), candidate(40, 5_000), candidate(1, 50_000))
    rules = (Rule(Tree.ARCHIVE, ("front",), age_s=30 * DAY), Rule(Tree.ARCHIVE, max_bytes=100_000))

    plan = stands.plan(Policy(rules))

    assert [(one.candidate.camera, one.cause) for one in plan.removals] == [("front", Cause.AGE)]


def test_size_goes_down_to_the_low_water_mark_and_only_when_it_is_exceeded() -> None:
    stands = world(*(candidate(200 - n, 10_000) for n in range(100)))

    assert names(stands.plan(Policy((Rule(Tree.ARCHIVE, max_bytes=1_000_000),)))) == []
    assert len(stands.plan(Policy((Rule(Tree.ARCHIVE, max_bytes=999_999),))).removals) == 2  # to 989,999


def test_keep_holds_against_every_rule_of_any_age() -> None:
    stands = world(candidate(40), candidate(5), candidate(3, tree=Tree.SOURCE, due=ORPHAN))
    rules = (
        Rule(Tree.ARCHIVE, keep_s=60 * DAY),
        Rule(Tree.SOURCE, keep_s=7 * DAY),
        Rule(Tree.ARCHIVE, age_s=30 * DAY, max_bytes=0),
    )

    plan = stands.plan(Policy(rules, archives_for_room=True, disks=(replace(EVERYWHERE, wanted=BLOCK),)))

    assert plan.removals == ()
    assert plan.kept == {(Tree.ARCHIVE, NOT_DUE): Sum(2, 2 * BLOCK), (Tree.SOURCE, NOT_DUE): Sum(1, BLOCK)}
    assert plan.shortfalls == (
        Shortfall("the archive may hold 0 bytes", 2 * BLOCK), Shortfall("no room left on the disk of /one", BLOCK)
    )  # fmt: skip


def test_first_rule_that_says_an_age_or_a_keep_decides_it() -> None:
    rules = (
        Rule(Tree.ARCHIVE, ("front*",), max_bytes=1),
        Rule(Tree.ARCHIVE, ("front-*",), age_s=3 * DAY),
        Rule(Tree.ARCHIVE, ("front*",), age_s=90 * DAY, keep_s=DAY),
        Rule(Tree.ARCHIVE, age_s=30 * DAY, keep_s=2 * DAY),
        Rule(Tree.TRASH, age_s=5 * DAY),
    )
    policy = Policy(rules)

    assert [policy.age_s(Tree.ARCHIVE, name) for name in ("front-door", "front", "yard")] == [
        3 * DAY,
        90 * DAY,
        30 * DAY,
    ]
    assert [policy.keep_s(Tree.ARCHIVE, name) for name in ("front-door", "front", "yard")] == [DAY, DAY, 2 * DAY]
    assert (policy.age_s(Tree.SOURCE, "front"), policy.keep_s(Tree.TRASH, "front")) == (None, 0)


def test_what_is_due_goes_at_any_age_and_without_any_rule() -> None:
    young = [candidate(n, tree=Tree.SOURCE, name=f"young{n}") for n in (4, 3)]
    stands = world(*young, candidate(2, tree=Tree.SOURCE, due=ORPHAN, name="orphan"))

    for rules in ((), (Rule(Tree.SOURCE, age_s=30 * DAY),)):
        plan = stands.plan(Policy(rules))

        assert names(plan) == ["orphan"]
        assert plan.removals[0].reason == ORPHAN


def test_trash_makes_place_for_what_is_moved_there() -> None:
    stands = world(
        candidate(40, 10 * BLOCK),
        *(candidate(20 - n, 10 * BLOCK, tree=Tree.TRASH, name=f"trash{n}") for n in range(9)),
    )
    rules = (Rule(Tree.ARCHIVE, age_s=30 * DAY), Rule(Tree.TRASH, max_bytes=95 * BLOCK))

    plan = plan_cleanup(stands.holdings, stands.in_demand, Policy(rules), NOW)

    assert names(plan) == ["front_0040.000", "trash0"]
    assert plan.shortfalls == ()


def test_trash_that_is_too_small_for_what_is_moved_there_is_no_shortfall() -> None:
    """It is short of nothing that the next cleanup can't take."""
    stands = world(candidate(40, 10 * BLOCK), candidate(20, BLOCK, tree=Tree.TRASH, keep=KEPT))
    rules = (Rule(Tree.ARCHIVE, age_s=30 * DAY), Rule(Tree.TRASH, max_bytes=BLOCK))

    plan = stands.plan(Policy(rules))

    assert [one.to_trash for one in plan.removals] == [True]
    assert plan.shortfalls == ()


@pytest.mark.parametrize(
    ("trees", "delete", "only_copy", "goes", "to_trash"),
    [
        ({Tree.TRASH}, False, False, True, False),  # the trash has no room
        ({Tree.ARCHIVE}, False, False, True, True),  # it is on another disk
        ({Tree.ARCHIVE}, True, False, True, False),
        ({Tree.ARCHIVE}, True, True, True, True),
        ({Tree.TRASH}, True, True, False, False),
        ({Tree.TRASH, Tree.ARCHIVE}, False, True, False, False),
    ],
)
def test_what_goes_is_moved_to_the_trash_where_that_has_room(
    trees: set[Tree], *, delete: bool, only_copy: bool, goes: bool, to_trash: bool
) -> None:
    stands = world(candidate(40, only_copy=only_copy))
    disk = Disk("/disk", frozenset(trees), wanted=BLOCK)

    plan = stands.plan(Policy((Rule(Tree.ARCHIVE, age_s=30 * DAY),), delete, disks=(disk,)))

    assert [one.to_trash for one in plan.removals] == ([to_trash] if goes else [])
    assert ((Tree.ARCHIVE, NO_ROOM_IN_TRASH) in plan.kept) is not goes


def test_archive_that_goes_for_room_goes_for_good() -> None:
    lacking, trash = replace(APART[0], wanted=BLOCK), APART[1]
    policy = Policy((), archives_for_room=True, disks=(lacking, trash))

    assert [one.to_trash for one in world(candidate(40), candidate(30)).plan(policy).removals] == [False]


def test_what_has_another_name_goes_by_the_rules_and_makes_no_room() -> None:
    """It is passed over for want of room, and what its age frees counts for nothing."""
    linked = [replace(candidate(days, tree=Tree.TRASH), linked=True) for days in (50, 20)]
    disk = Disk("/disk", frozenset({Tree.TRASH}), 2 * BLOCK)
    plan = world(*linked, candidate(10, tree=Tree.TRASH)).plan(
        Policy((Rule(Tree.TRASH, age_s=30 * DAY),), disks=(disk,))
    )
    assert [(one.candidate.at, one.cause) for one in plan.removals] == [
        (NOW - 50 * DAY, Cause.AGE), (NOW - 10 * DAY, Cause.ROOM),
    ]  # fmt: skip
    assert plan.kept[Tree.TRASH, LINKED].files == 1
    assert plan.shortfalls == (Shortfall("no room left on the disk of /disk", BLOCK),)


def test_disk_counts_what_the_rules_free_there_before_it_takes_more() -> None:
    stands = world(candidate(40, 5 * BLOCK), candidate(20, 5 * BLOCK), candidate(10, 5 * BLOCK, tree=Tree.TRASH))
    rules = (Rule(Tree.ARCHIVE, age_s=30 * DAY),)

    def plan(size: int) -> list[tuple[str, str, Cause]]:
        policy = Policy(rules, archives_for_room=True, disks=(replace(EVERYWHERE, wanted=size),))
        removals: tuple[Removal, ...] = stands.plan(policy).removals
        return [(one.candidate.tree, one.candidate.path.stem, one.cause) for one in removals]

    by_age = (Tree.ARCHIVE, "front_0040.000", Cause.AGE)
    of_trash = (Tree.TRASH, "front_0010.000", Cause.ROOM)
    assert plan(5 * BLOCK) == [by_age]
    assert plan(5 * BLOCK + 1) == [by_age, of_trash]
    assert plan(10 * BLOCK + 1) == [by_age, of_trash, (Tree.ARCHIVE, "front_0020.000", Cause.ROOM)]


# -- dates ------------------------------------------------------------------------------------------------

moments = st.floats(-3e9, 5e9) | st.floats(NOW - 3 * DAY, NOW + 3 * DAY) | st.floats(NOW - 400 * DAY, NOW)
dates = st.datetimes() | moments.map(datetime.fromtimestamp)
FIRST = datetime(2005, 1, 1, tzinfo=UTC).timestamp()


@cases
@given(dates, moments, st.floats(0, NOW))
def test_reckoned_date_is_never_in_the_future_nor_out_of_the_air(taken_at: datetime, mtime: float, seen: float) -> None:
    at = reckoned_at(taken_at, mtime, seen, NOW)

    assert at <= NOW
    try:
        named = taken_at.timestamp()
    except (ValueError, OverflowError):
        named = float("-inf")
    assert at in (named, mtime, seen, NOW)
    if abs(named - mtime) > DAY:
        credible = [moment for moment in (named, mtime) if FIRST <= moment <= NOW + DAY]
        noted = seen if FIRST_CLOCK <= seen <= NOW else NOW
        assert at == min(max(credible, default=noted), NOW)


@cases
@given(st.floats(NOW + 2 * DAY, 5e9), st.floats(NOW + 2 * DAY, 5e9), st.floats(31, 150))
def test_date_in_the_future_shields_nothing(named: float, mtime: float, days: float) -> None:
    at = reckoned_at(datetime.fromtimestamp(named), mtime, NOW - days * DAY, NOW)
    stands = world(replace(candidate(0), at=at))

    assert len(stands.plan(Policy((Rule(Tree.ARCHIVE, age_s=30 * DAY),))).removals) == 1


@pytest.mark.parametrize(
    ("taken_at", "mtime", "expected"),
    [
        (NOW - 40 * DAY, NOW - 40 * DAY + 60, NOW - 40 * DAY),
        (NOW - 40 * DAY, NOW - 20 * DAY, NOW - 20 * DAY),  # a late upload, or a clock that is behind
        (NOW - 20 * DAY, NOW - 40 * DAY, NOW - 20 * DAY),  # a copy that was given an old time
        (NOW + 3600, NOW + 7200, NOW),  # a zone to the east
        (NOW + 900 * DAY, NOW - 3 * DAY, NOW - 3 * DAY),
        (NOW + 900 * DAY, NOW + 900 * DAY, NOW - 5 * DAY),
        (60.0, NOW - 3 * DAY, NOW - 3 * DAY),
        (60.0, 60.0, NOW - 5 * DAY),  # a clock that was lost makes nothing old
    ],
)
def test_age_counts_from_the_name_where_the_file_bears_it_out(taken_at: float, mtime: float, expected: float) -> None:
    assert reckoned_at(datetime.fromtimestamp(taken_at), mtime, NOW - 5 * DAY, NOW) == expected


def test_of_an_hour_that_comes_twice_the_later_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        again = datetime(2026, 10, 25, 2, 30)
        first, second = again.timestamp(), again.replace(fold=1).timestamp()
        at = reckoned_at(again, second + 60, second, second + DAY)
    time.tzset()
    assert (second - first, at) == (3600, second)


@pytest.mark.parametrize("noted", [0.0, 86_400.0, FIRST_CLOCK - 1, NOW + 1, NOW + 900 * DAY])
def test_what_a_wrong_clock_noted_makes_nothing_old(noted: float) -> None:
    assert noted_at(noted, NOW) == NOW
    assert reckoned_at(datetime.fromtimestamp(60), 60.0, noted, NOW) == NOW


@pytest.mark.parametrize("year", [1, 9999])
def test_date_that_is_no_moment_is_left_aside(year: int) -> None:
    assert reckoned_at(datetime(year, 1, 1), NOW - 3 * DAY, NOW, NOW) == NOW - 3 * DAY


# -- words ------------------------------------------------------------------------------------------------


def test_rule_whose_cameras_nobody_knows_is_found() -> None:
    rules = (Rule(Tree.ARCHIVE, ("front*", "bell")), Rule(Tree.TRASH, ("fornt",)), Rule(Tree.ARCHIVE))

    assert rules_for_nobody(rules, {"front 2", "garden"}) == [(2, rules[1])]
    assert rules_for_nobody(rules, set()) == []


def test_rule_says_whom_it_is_about() -> None:
    assert Rule(Tree.TRASH).about == "the trash"
    assert Rule(Tree.ARCHIVE, ("front*", "yard")).about == "front*, yard in the archive"
