"""Room on a disk: a problem under the floor, and until there is well more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiverd.policy.room import Room, Taken, cramped, expected, is_under_floor, usable

GB = 10**9
MIB = 2**20
SIZES = st.integers(0, 2**50)


@pytest.mark.parametrize(
    ("free", "size", "before", "told"),
    [
        (2.0, 1000, False, False),
        (1.999, 1000, False, True),
        (2.199, 1000, True, True),
        (2.2, 1000, True, False),
        (1.9, 15, False, False),  # a small disk is allowed a tenth
        (1.4, 15, False, True),
        (0.0, 1000, False, True),
    ],
)
def test_disk_is_cramped_under_its_floor(free: float, size: int, before: bool, told: bool) -> None:
    room = Room("/camera", ("source", "trash"), size * GB, int(free * GB))
    problems = cramped([room], 2 * GB, {"/camera"} if before else set())
    assert len(problems) == told


def test_problem_names_the_disk_by_what_stands_there_and_the_room_it_has() -> None:
    (problem,) = cramped([Room("/camera", ("source", "trash"), 1000 * GB, 1_234_567_890)], 2 * GB, ())
    assert (problem.subject, problem.message) == (
        "/camera",
        "/camera: the disk of source, trash has 1.2 GB left, and should have 2 GB (min_free)",
    )


@pytest.mark.parametrize(
    ("size", "free", "told"),
    [
        (5_000_000, 123_456, "has 120 kB left, and should have 500 kB"),
        (300 * 10**6, 4_321_000, "has 4 MB left, and should have 30 MB"),
        (90, 4, "has 4 bytes left, and should have 9 bytes"),
    ],
)
def test_problem_of_a_small_disk_tells_its_room_in_finer_steps(size: int, free: int, told: str) -> None:
    (problem,) = cramped([Room("/camera", ("source",), size, free)], 2 * GB, ())
    assert told in problem.message


def test_room_is_not_looked_at_where_no_floor_is_set() -> None:
    assert cramped([Room("/camera", ("source",), 1000 * GB, 0)], None, ()) == []


@pytest.mark.parametrize(
    ("free", "size", "min_free", "under"),
    [
        (GB, 1000 * GB, 2 * GB, True),
        (2 * GB, 1000 * GB, 2 * GB, False),
        (GB, 10 * GB, 2 * GB, False),  # a small disk is allowed a tenth
        (0, 1000 * GB, None, False),
        (0, 0, 2 * GB, False),  # a file system that counts nothing
    ],
)
def test_file_system_is_under_its_floor(free: int, size: int, min_free: int | None, under: bool) -> None:
    assert is_under_floor(free, size, min_free) is under


@pytest.mark.parametrize(
    ("free", "size", "left"),
    [(100 * MIB, 1000 * GB, 68 * MIB), (10 * MIB, 1000 * GB, 0), (10 * MIB, 50 * MIB, 9 * MIB)],
)
def test_reserve_is_left_to_the_catalog(free: int, size: int, left: int) -> None:
    assert usable(free, size) == left


@pytest.mark.parametrize(
    ("latest", "size"),
    [
        ([], 1000),
        ([Taken(100, 10)] * 4, 1000),  # too few to say anything
        ([Taken(100, 10)] * 5, 126),
        ([Taken(100, 10)] * 4 + [Taken(100, 40)], 501),
        ([Taken(100, 10)] * 5 + [Taken(100, 94)], 1000),
        ([Taken(0, 10)] * 5, 1000),
    ],
)
def test_transcode_is_expected_to_take_what_the_largest_share_took_and_a_margin(latest: list[Taken], size: int) -> None:
    assert expected(1000, latest) == size


@given(SIZES, st.lists(st.builds(Taken, SIZES, SIZES)), st.builds(Taken, SIZES, SIZES))
def test_no_more_than_the_source_is_ever_expected_and_no_less_for_a_larger_share(
    source: int, latest: list[Taken], more: Taken
) -> None:
    taken = expected(source, latest)
    assert 0 <= taken <= source
    if len(latest) >= 5 and all(one.source for one in latest):
        assert expected(source, [*latest, more]) >= taken
