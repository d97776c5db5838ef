"""For how long nothing is removed for a disk, by a clock that leaps."""

from __future__ import annotations

import pytest

from archiverd.policy.room_shown import Course, Space, passed, seen

NOW = 1_785_000_000.0
DAY = 86_400.0
FULL = Space(free=10, wanted=1000)


def resting(course: Course, now: float) -> bool:
    return now < course.not_before


@pytest.mark.parametrize("ahead", [DAY, 3 * 365 * DAY])
@pytest.mark.parametrize("short", [False, True])
def test_disk_that_rests_by_a_clock_that_was_ahead_rests_no_more(ahead: float, short: bool) -> None:
    course = passed(Course(), FULL, 4000, NOW + ahead, short=short)
    assert resting(course, NOW + ahead)

    assert not resting(seen(course, FULL, NOW), NOW)


def test_blocked_disk_is_tried_again_where_the_clock_was_set_back() -> None:
    course, now = Course(), NOW + 400 * DAY
    for _ in range(2):
        course = passed(course, FULL, 4000, now, short=False)
        now += 61
        course = seen(course, FULL, now)
    assert course.is_blocked
    assert resting(course, now + 3600)

    assert not resting(seen(course, FULL, NOW), NOW)


def test_rest_is_kept_where_the_clock_is_right() -> None:
    course = passed(Course(), FULL, 4000, NOW, short=True)
    assert resting(seen(course, FULL, NOW + 1), NOW + 1)
    assert not resting(seen(course, FULL, NOW + 601), NOW + 601)
