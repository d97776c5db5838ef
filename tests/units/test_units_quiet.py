"""When a camera is quiet for much longer than usual: told of the dead, never of those that merely see nobody."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator

import pytest

from archiverd.policy.quiet import Rhythm, Upload, given_up, latest, problem_of, unusual_pause_s

HOUR, DAY = 3600.0, 86_400.0
NOON = 20_000 * DAY + DAY / 2  # of a day, in UTC; which zone makes no difference
LONG_AGO = 0.0  # listened for ever since


def rhythm(uploads: Iterable[float]) -> Rhythm:
    made = Rhythm()
    for at in uploads:
        made.add(at)
    return made


def daily(first: float, days: int, *, hours: tuple[int, int] = (8, 20), every_s: float = 600.0) -> Iterator[float]:
    """Uploads through some hours of each day, up to noon of the last."""
    for day in range(days):
        at = first + day * DAY - DAY / 2 + hours[0] * HOUR
        end = first + day * DAY - DAY / 2 + hours[1] * HOUR
        while at <= min(end, first + (days - 1) * DAY):
            yield at
            at += every_s


def told_after_h(rhythm: Rhythm, within_h: int = 170, heard_since: float = LONG_AGO) -> int | None:
    """After how many hours of silence it is said; None where it is not."""
    hours = (hour for hour in range(within_h) if unusual_pause_s(rhythm, rhythm.last + hour * HOUR, heard_since))
    return next(hours, None)


def test_camera_that_falls_silent_in_its_busy_hours_is_told_soon() -> None:
    assert told_after_h(rhythm(daily(NOON - 13 * DAY, 14))) == 1


def test_camera_is_not_told_at_night_for_what_it_does_each_night() -> None:
    uploads = [*daily(NOON - 13 * DAY, 14), *(NOON + n * 600 for n in range(49))]  # up to 20:00 of the last day
    silent = rhythm(uploads)
    assert told_after_h(silent) == 15  # at 11:00: it usually sends from 8:00, and the hours around that are over
    assert told_after_h(silent, 15) is None


def test_camera_that_uploads_again_is_quiet_no_more() -> None:
    silent = rhythm(daily(NOON - 13 * DAY, 14))
    assert unusual_pause_s(silent, silent.last + HOUR, LONG_AGO) == 600.0
    silent.add(silent.last + HOUR)
    assert unusual_pause_s(silent, silent.last + 1, LONG_AGO) is None


@pytest.mark.parametrize(("days", "told"), [(1, False), (6, False), (7, True)])
def test_nothing_is_said_of_a_camera_that_is_little_known(days: int, told: bool) -> None:
    assert (told_after_h(rhythm(daily(NOON, days))) is not None) is told


def test_a_camera_that_was_gone_for_a_week_when_that_could_be_said_is_not_told() -> None:
    silent = rhythm(daily(NOON - 13 * DAY, 14))
    assert told_after_h(silent, 400, heard_since=silent.last + 6 * DAY) is not None
    assert told_after_h(silent, 400, heard_since=silent.last + 8 * DAY) is None


def test_our_own_absence_is_no_silence_of_a_camera() -> None:
    silent = rhythm(daily(NOON - 13 * DAY, 14))
    begun = silent.last + DAY
    assert unusual_pause_s(silent, begun + 0.9 * HOUR, begun) is None
    assert unusual_pause_s(silent, begun + HOUR, begun) == 600.0


def test_it_is_listened_for_longer_than_a_usual_pause_first() -> None:
    sparse = rhythm(NOON - 13 * DAY + hours * 4 * HOUR for hours in range(13 * 6 + 1))
    now = sparse.last + DAY
    assert unusual_pause_s(sparse, now, now - 6 * HOUR) == 4 * HOUR
    assert unusual_pause_s(sparse, now, now - 5.9 * HOUR) is None


def test_one_outage_of_days_is_no_habit() -> None:
    uploads = [at for at in daily(NOON - 13 * DAY, 14) if not NOON - 8 * DAY < at < NOON - 5 * DAY]
    assert told_after_h(rhythm(uploads)) == 1


def test_weekends_are_a_habit() -> None:
    # 14 days, silent on days 5, 6, 12 and 13: a Friday noon, and nothing until Monday.
    days = [day for day in range(19) if day % 7 not in (5, 6)]
    uploads = [NOON + day * DAY + hour * HOUR for day in days for hour in range(-4, 5)]
    friday = rhythm(at for at in uploads if at <= NOON + 18 * DAY)
    assert told_after_h(friday, 71) is None  # up to Monday, 11:00


def test_camera_that_sees_somebody_twice_a_day_is_not_told_the_next_morning() -> None:
    uploads = [NOON + day * DAY + hour * HOUR for day in range(14) for hour in (-4, 6)]
    assert told_after_h(rhythm(uploads), 24) is None
    assert told_after_h(rhythm(uploads)) is not None


@pytest.mark.parametrize("mean_s", [600.0, 3600.0])
def test_pauses_of_chance_raise_no_false_alarm(mean_s: float) -> None:
    chance, made, at = random.Random(5), Rhythm(), NOON
    while at < NOON + 45 * DAY:
        made.add(at)
        after = at + chance.expovariate(1 / mean_s)
        moments = (at + n * 1200 for n in range(3, int((after - at) // 1200) + 1))
        assert at < NOON + 15 * DAY or not any(unusual_pause_s(made, moment, LONG_AGO) for moment in moments)
        at = after


def test_uploads_may_come_in_any_order_and_are_kept_for_two_weeks_only() -> None:
    moments = list(daily(NOON - 40 * DAY, 41, every_s=60.0))
    shuffled = list(moments)
    random.Random(1).shuffle(shuffled)
    ordered, mixed = rhythm(moments), rhythm(shuffled)
    assert len(ordered._slots) <= 14 * 288 + 1
    for hours in (1, 5, 12, 20):
        at = ordered.last + hours * HOUR
        assert ordered.usual_pause_s(at) == mixed.usual_pause_s(at)


@pytest.mark.parametrize(
    ("written_at", "arrived_at"),
    [(NOON - 60, NOON - 60), (NOON + 60, NOON), (0.0, NOON), (NOON - 20 * DAY, NOON - 20 * DAY)],
)
def test_an_upload_came_when_it_was_written_unless_that_clock_is_wrong(written_at: float, arrived_at: float) -> None:
    assert Upload(1, "front", written_at, NOON).arrived_at == arrived_at


def test_problem_says_since_when_and_what_would_be_usual() -> None:
    problem = problem_of("T\udcfcr\n", 0.0, 600.0)
    assert problem.subject == r"T\xfcr\n"
    assert re.fullmatch(
        r"camera T\\xfcr\\n has sent nothing since 1970-01-01 \d\d:00; around that time of day its pauses are usually"
        " no longer than 10 min",
        problem.message,
    )
    assert problem.key == given_up(problem, 0.0).key
    assert problem_of("a", 0.0, 8 * HOUR).message.endswith("8 h")


def test_of_many_those_are_told_that_fell_silent_last() -> None:
    many = [(problem_of(str(number), float(number), 600.0), float(number)) for number in range(5)]
    assert [problem.subject for problem in latest(many, 2)] == ["4", "3"]
