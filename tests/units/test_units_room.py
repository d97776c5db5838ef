"""Room on a disk: a problem under the floor, and until there is well more."""

from __future__ import annotations

import pytest

from archiverd.policy.room import Room, cramped

GB = 10**9


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
        "/camera: the disk of source, trash has 1.2 GB left, and should have 2.0 GB (min_free)",
    )


def test_room_is_not_looked_at_where_no_floor_is_set() -> None:
    assert cramped([Room("/camera", ("source",), 1000 * GB, 0)], None, ()) == []
