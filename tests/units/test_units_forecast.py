"""How far back footage reaches against what is wanted, and when room runs out: laws, and examples by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiverd.policy.forecast import (
    ALL_GONE,
    NOTHING_OLDER,
    OLDER_GONE,
    YEARS,
    Forecast,
    Outlook,
    Rates,
    Reach,
    forecast,
)
from archiverd.policy.inventory import Inventory, Span
from archiverd.policy.model import Tree
from archiverd.policy.retention import Policy, Rule
from archiverd.policy.room import Room
from archiverd.reports.forecast import forecast_json, forecast_lines

DAY = 86_400.0
TODAY = 20_000  # days since the epoch
NOW = TODAY * DAY + DAY / 2
GB, TB = 10**9, 10**12
SOURCE, ARCHIVE, TRASH = Tree.SOURCE, Tree.ARCHIVE, Tree.TRASH

Stands = Mapping[tuple[Tree, str], tuple[int, int]]  # days, and bytes of each day


def inventory(stands: Stands) -> Inventory:
    """What stands of each camera: so many days up to yesterday, so many bytes each."""
    cameras = {
        key: Span(days, days * size, (TODAY - days) * DAY, TODAY * DAY - 1) for key, (days, size) in stands.items()
    }  # fmt: skip
    by_day: dict[Tree, dict[int, int]] = {}
    for (tree, _), (days, size) in stands.items():
        for day in range(TODAY - days, TODAY):
            of_tree = by_day.setdefault(tree, {})
            of_tree[day] = of_tree.get(day, 0) + size
    return Inventory(NOW, cameras, by_day)


def rates(source: int, archive: int, *cameras: str) -> Rates:
    """The same for each camera, in bytes a day."""
    return dict.fromkeys(cameras or ("front",), (7, 7 * source, 7 * archive))


def room(free: int, *trees: Tree, size: int = 4 * TB) -> Room:
    return Room("/mnt/archive", trees or (ARCHIVE,), size, free)


def foretell(
    stands: Stands, policy: Policy, its_rates: Rates, *rooms: Room, min_free: int | None = None, days: float = 400
) -> Forecast:  # fmt: skip
    return forecast(
        inventory(stands), policy, its_rates, rooms, NOW, min_free=min_free, known_since=NOW - days * DAY
    )  # fmt: skip


def only(outlooks: Iterable[Outlook]) -> Outlook:
    (one,) = outlooks
    return one


# -- room -------------------------------------------------------------------------------------------------


@given(st.integers(1, 50 * GB), st.integers(0, 4 * TB), st.integers(0, 400 * GB))
@settings(max_examples=50)
def test_archive_that_only_grows_fills_its_disk_by_division(a_day: int, free: int, min_free: int) -> None:
    found = foretell({}, Policy((), delete=True), rates(9, a_day), room(free), min_free=min_free)

    floor = max(1, min_free)
    expected = 0 if free < floor else int((free - floor) // a_day) + 1
    days = only(found.outlooks).in_days
    if expected > YEARS * 365:
        assert days is None
    else:
        assert days is not None
        assert abs(days - expected) <= 1  # the last byte


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, GB), st.integers(1, GB))
@settings(max_examples=25)
def test_what_ages_out_as_it_comes_in_never_fills_a_disk(age: int, stands: int, source: int, archive: int) -> None:
    """It holds at the most what comes in a few days more than the ages, and that there is room for."""
    rules = (Rule(ARCHIVE, age_s=age * DAY), Rule(TRASH, age_s=age * DAY))
    free = (age + 3) * (source + 2 * archive)

    found = foretell(
        {(ARCHIVE, "front"): (stands, archive), (TRASH, "front"): (stands, source)}, Policy(rules),
        rates(source, archive), room(free, *Tree),
    )  # fmt: skip

    assert only(found.outlooks).in_days is None


some_rules = st.lists(
    st.builds(
        Rule, st.sampled_from([ARCHIVE, TRASH]), st.sampled_from([("*",), ("front",)]),
        st.none() | st.integers(0, 90).map(DAY.__mul__), st.none() | st.integers(0, 500 * GB),
        st.none() | st.integers(0, 30).map(DAY.__mul__),
    ),
    max_size=3,
)  # fmt: skip
some_policies = st.builds(Policy, some_rules.map(tuple), st.booleans(), st.booleans())
some_stands = st.dictionaries(
    st.tuples(st.sampled_from([ARCHIVE, TRASH]), st.sampled_from(["front", "garden"])),
    st.tuples(st.integers(1, 60), st.integers(1, 5 * GB)),
)
bytes_a_day = st.integers(0, 20 * GB)


def days_of(found: Forecast) -> float:
    days = only(found.outlooks).in_days
    return float("inf") if days is None else days


@given(some_stands, some_policies, bytes_a_day, bytes_a_day, st.integers(0, TB), st.integers(0, TB))
@settings(max_examples=25)
def test_more_room_lasts_no_shorter(
    stands: Stands, policy: Policy, source: int, archive: int, free: int, more: int
) -> None:  # fmt: skip
    come = rates(source, archive, "front", "garden")

    less, ample = (days_of(foretell(stands, policy, come, room(size, *Tree))) for size in (free, free + more))

    assert less <= ample


@given(some_stands, some_policies, st.integers(1, 4 * TB))
@settings(max_examples=25)
def test_where_nothing_comes_in_room_never_runs_out(stands: Stands, policy: Policy, free: int) -> None:
    """What goes of the archive may go to the trash, which is no more than stood before."""
    found = foretell(stands, policy, {}, room(free, *Tree))

    assert only(found.outlooks).in_days is None


def test_ceiling_stops_the_growth() -> None:
    rules = (Rule(ARCHIVE, max_bytes=100 * GB),)
    stands = {(ARCHIVE, "front"): (10, 8 * GB)}

    def days(free: int) -> int | None:
        return only(foretell(stands, Policy(rules, delete=True), rates(0, 8 * GB), room(free)).outlooks).in_days

    assert days(21 * GB) is None
    assert days(19 * GB) == 3


def test_what_is_guaranteed_grows_through_a_ceiling() -> None:
    rules = (Rule(ARCHIVE, max_bytes=10 * GB, keep_s=50 * DAY),)

    found = foretell({}, Policy(rules, delete=True), rates(0, GB), room(30 * GB))

    assert only(found.outlooks).in_days == 30


def test_what_leaves_the_archive_fills_the_disk_of_the_trash() -> None:
    rules = (Rule(ARCHIVE, age_s=10 * DAY),)
    stands = {(ARCHIVE, "front"): (10, 2 * GB)}  # one day goes every day, but today none has come yet
    trash = replace(room(20 * GB + 1), what=(TRASH,))

    assert only(foretell(stands, Policy(rules), rates(0, 2 * GB), trash).outlooks).in_days == 12
    assert only(foretell(stands, Policy(rules, delete=True), rates(0, 2 * GB), trash).outlooks).in_days is None


def test_sources_fill_the_disk_of_the_trash_unless_they_are_deleted() -> None:
    trash = room(20 * GB + 1, TRASH)

    assert only(foretell({}, Policy(()), rates(2 * GB, 0), trash).outlooks).in_days == 11
    assert only(foretell({}, Policy((), delete=True), rates(2 * GB, 0), trash).outlooks).in_days is None


def test_what_should_be_gone_and_is_not_makes_no_room() -> None:
    rules = (Rule(ARCHIVE, age_s=10 * DAY),)

    found = foretell({(ARCHIVE, "front"): (100, GB)}, Policy(rules, delete=True), rates(0, 10 * GB), room(50 * GB))

    assert only(found.outlooks).in_days == 6  # of what stands, ten gigabytes leave in ten days


def test_age_of_one_camera_is_not_that_of_another() -> None:
    rules = (Rule(ARCHIVE, ("front",), age_s=30 * DAY),)
    stands = {(ARCHIVE, "front"): (30, GB), (ARCHIVE, "garden"): (30, GB)}

    found = foretell(stands, Policy(rules, delete=True), rates(0, GB, "front", "garden"), room(100 * GB + 1))

    assert 100 <= (only(found.outlooks).in_days or 0) <= 102  # only the garden's are more every day


@pytest.mark.parametrize(
    ("trees", "oldest", "then"),
    [
        ((ARCHIVE,), False, "then the work stops"),
        ((ARCHIVE,), True, "then the oldest of the archive must go"),
        ((ARCHIVE, TRASH), False, "then the oldest of the trash must go"),
        ((SOURCE, ARCHIVE, TRASH), True, "then the oldest of the trash and the oldest of the archive must go"),
    ],
)
def test_what_gives_way_is_said(trees: tuple[Tree, ...], *, oldest: bool, then: str) -> None:
    found = foretell({}, Policy((), archives_for_room=oldest), rates(GB, GB), room(GB, *trees))

    assert only(found.outlooks).then == then


def test_nothing_is_foretold_before_there_is_a_day_of_history() -> None:
    young, older = (foretell({}, Policy(()), rates(0, GB), room(7 * GB), days=days) for days in (0.9, 3.5))

    assert only(young.outlooks) == Outlook("/mnt/archive", 4 * TB, 7 * GB, 0, is_known=False)
    assert only(older.outlooks).in_days == 4  # seven gigabytes in three and a half days are two a day


def test_ceiling_is_named_without_rates_before_there_is_a_day_of_history() -> None:
    rules = (Rule(ARCHIVE, age_s=90 * DAY, max_bytes=GB),)

    found = foretell({(ARCHIVE, "front"): (1, GB)}, Policy(rules), rates(0, GB), days=0.9)

    assert [one.limit for one in found.reaches] == ["the archive may hold 1 GB"]


def test_disk_that_is_under_its_floor_now_is_told_whatever_is_known() -> None:
    found = foretell({}, Policy(()), {}, room(9 * GB), min_free=10 * GB, days=0)

    assert only(found.outlooks).in_days == 0


# -- reach ------------------------------------------------------------------------------------------------


def reaches(stands: Stands, rules: tuple[Rule, ...], *rooms: Room, come: Rates | None = None) -> list[Reach]:
    return list(foretell(stands, Policy(rules, archives_for_room=True), come or {}, *rooms, min_free=10 * GB).reaches)


def test_camera_reaches_back_to_its_oldest_against_its_age_or_its_keep() -> None:
    rules = (
        Rule(ARCHIVE, ("front",), age_s=90 * DAY),
        Rule(ARCHIVE, ("garden",), keep_s=14 * DAY),
        Rule(TRASH, age_s=10 * DAY, keep_s=2 * DAY),
    )
    stands = {
        (TRASH, "front"): (10, GB),
        (ARCHIVE, "garden"): (13, GB),
        (ARCHIVE, "front"): (41, GB),
        (ARCHIVE, "yard"): (5, GB),
    }

    assert reaches(stands, rules) == [
        Reach(ARCHIVE, "front", 41.5 * DAY, 90 * DAY, NOTHING_OLDER),
        Reach(ARCHIVE, "garden", 13.5 * DAY, 14 * DAY),
        Reach(ARCHIVE, "yard", 5.5 * DAY, None),
        Reach(TRASH, "front", 10.5 * DAY, 10 * DAY),
    ]


@pytest.mark.parametrize(
    ("most", "a_day", "limit"),
    [
        (40 * GB, 0, "the archive may hold 40 GB"),
        (40 * GB, 2 * GB, "the archive may hold 40 GB, which is about 20 days at the present rates"),
        (60 * GB, 2 * GB, "the archive may hold 60 GB, which is about 30 days at the present rates"),  # it will be
        (60 * GB, 0, NOTHING_OLDER),
        (400 * GB, GB, NOTHING_OLDER),
    ],
)
def test_ceiling_that_is_in_the_way_is_named(most: int, a_day: int, limit: str) -> None:
    rules = (Rule(ARCHIVE, age_s=90 * DAY, max_bytes=most),)

    (reach,) = reaches({(ARCHIVE, "front"): (40, GB)}, rules, come=rates(0, a_day))

    assert reach.limit == limit


def test_ceiling_of_another_camera_is_in_nobodys_way() -> None:
    rules = (Rule(ARCHIVE, age_s=90 * DAY), Rule(ARCHIVE, ("garden",), max_bytes=GB), Rule(TRASH, max_bytes=GB))

    stands = {(ARCHIVE, "front"): (40, GB), (ARCHIVE, "garden"): (1, GB)}

    assert [one.limit for one in reaches(stands, rules)] == [NOTHING_OLDER, "garden in the archive may hold 1 GB"]


def test_disk_without_room_is_named() -> None:
    rules = (Rule(ARCHIVE, age_s=90 * DAY),)
    stands = {(ARCHIVE, "front"): (40, GB)}

    assert [one.limit for one in reaches(stands, rules, room(10 * GB))] == ["its disk has no room left"]
    assert [one.limit for one in reaches(stands, rules, room(12 * GB))] == [NOTHING_OLDER]
    assert [one.limit for one in reaches(stands, rules, room(10 * GB, TRASH))] == [NOTHING_OLDER]


@pytest.mark.parametrize(
    ("days_ago", "limit"),
    [
        (60, OLDER_GONE),  # a size, or a full disk, took what is wanted
        (91, NOTHING_OLDER),  # its age did
        (-400, NOTHING_OLDER),  # a clock was wrong
    ],
)
@pytest.mark.parametrize("tree", [ARCHIVE, TRASH])
def test_what_was_wanted_and_has_gone_is_not_what_never_came(tree: Tree, days_ago: int, limit: str) -> None:
    policy = Policy((Rule(tree, age_s=90 * DAY),))
    stands = inventory({(tree, "front"): (40, GB), (tree, "garden"): (40, GB)})
    gone = {(tree, "front"): NOW - days_ago * DAY}

    found = forecast(stands, policy, {}, (), NOW, min_free=None, known_since=0.0, gone=gone)

    assert [one.limit for one in found.reaches] == [limit, NOTHING_OLDER]


def test_camera_that_records_and_has_nothing_left_is_listed() -> None:
    policy = Policy((Rule(ARCHIVE, age_s=30 * DAY), Rule(ARCHIVE, ("yard",), max_bytes=GB)))
    gone = dict.fromkeys(((ARCHIVE, "front"), (ARCHIVE, "yard"), (ARCHIVE, "long ago")), NOW - DAY)
    come = rates(GB, GB, "front", "yard", "new")

    found = forecast(inventory({}), policy, come, (), NOW, min_free=None, known_since=0.0, gone=gone)

    assert [(one.camera, one.reach_s, one.is_empty) for one in found.reaches] == [
        ("front", 0.0, True), ("yard", 0.0, True),
    ]  # fmt: skip
    assert [one.limit for one in found.reaches] == [
        ALL_GONE, "yard in the archive may hold 1 GB, which is about 24 hours at the present rates"
    ]  # fmt: skip
    assert forecast_lines(found)[0] == "Archive: front has none of 30 days wanted, yard has none of 30 days"


def test_less_than_an_hour_has_its_unit() -> None:
    found = Forecast((Reach(ARCHIVE, "front", 60.0, 30 * DAY, OLDER_GONE), Reach(ARCHIVE, "yard", 0.0, None)))
    assert forecast_lines(found) == [
        "Archive: front reaches back 0 hours of 30 days wanted, yard 0 hours",
        "  front: older ones have gone",
    ]


# -- as people read it ------------------------------------------------------------------------------------

FOUND = Forecast(
    (
        Reach(ARCHIVE, "front", 41.5 * DAY, 90 * DAY, "the archive may hold 200 GB"),
        Reach(ARCHIVE, "garden", 14.2 * DAY, 14 * DAY),
        Reach(ARCHIVE, "ya\x1brd", 1.5 * DAY, None),
        Reach(TRASH, "front", 30 * DAY, 30 * DAY),
    ),
    (
        Outlook("/mnt/archive", 4 * TB, 1200 * GB, 10 * GB, 233, then="then the work stops"),
        Outlook("/a", TB, GB, 10 * GB, 0),
        Outlook("/b", TB, GB, 0),
        Outlook("/c", TB, GB, 0, is_known=False),
    ),
)


def test_forecast_reads_plainly() -> None:
    assert forecast_lines(FOUND) == [
        r"Archive: front reaches back 41 days of 90 days wanted, garden 14 days of 14 days, ya\x1brd 36 hours",
        "  front: the archive may hold 200 GB",
        "Trash: front reaches back 30 days of 30 days wanted",
        "/mnt/archive: 1.2 TB free of 4 TB; at the present rates room runs out in about 230 days, then the work stops",
        "/a: 1 GB free of 1 TB, less than the 10 GB there should be",
        "/b: 1 GB free of 1 TB; at the present rates room does not run out within 10 years",
        "/c: 1 GB free of 1 TB; nothing is foretold before there is a day of history",
    ]


def test_forecast_as_json() -> None:
    told = json.loads(json.dumps(forecast_json(FOUND)))

    assert told["reaches"][2] == {
        "tree": "archive", "camera": r"ya\x1brd", "reach_s": 1.5 * DAY, "wanted_s": None, "limit": "",
        "is_empty": False,
    }  # fmt: skip
    assert told["disks"][0] == {
        "path": "/mnt/archive", "bytes": 4 * TB, "free": 1200 * GB, "floor": 10 * GB, "in_days": 233, "is_known": True,
        "then": "then the work stops",
    }  # fmt: skip
