"""When a camera has been quiet for much longer than it usually is at that time of day: pure.

A camera that uploads on movement is quiet for minutes at noon and for hours at night. What is usual is therefore asked
of the days before: the longest pause that touched the hours around this time of day, on each of them. The longest of
all is left out, for one outage is no habit. Times are seconds since the epoch.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from archiverd.policy.problems import Problem, ProblemKind

_HOUR_S, _DAY_S = 3600.0, 86_400.0

SLOT_S = 300  # times are counted in slots of so long: what a pause of less is, is of no interest here
DAYS = 14  # of uploads that are gone by
GIVEN_UP_S = 31 * _DAY_S  # a camera that is quiet for so long was taken away

_ENOUGH_DAYS = 7  # with uploads, before anything is said of a camera
_AROUND_S = 2 * _HOUR_S  # of this time of day
_LEAST_S = _HOUR_S  # no shorter pause is worth a word
_MUCH_LONGER = 4.0  # of chance alone, with long pauses far between, one word in half a year
_HEARD = 1.5  # times the usual pause it must have been listened for, or the pause may be our own
_GONE_S = 7 * _DAY_S  # what has been quiet for so long when it is found out is no news
_TRUSTED_S = 30 * _DAY_S  # an upload that was written longer before it was seen has its time from a clock that is wrong


@dataclass(frozen=True, slots=True)
class Upload:
    """One recording as it came."""

    id: int
    camera: str
    written_at: float
    seen_at: float

    @property
    def arrived_at(self) -> float:
        """When it came, by the clock of this machine: when it was written, unless that is not to be believed."""
        return self.written_at if 0 <= self.seen_at - self.written_at <= _TRUSTED_S else self.seen_at


class Rhythm:
    """The uploads of one camera within the days before its last: when they came, in slots."""

    def __init__(self) -> None:
        self._slots = array("I")
        self.last = 0.0

    def add(self, arrived_at: float) -> None:
        """Another upload, in whatever order they come."""
        self.last = max(self.last, arrived_at)
        slot = int(arrived_at // SLOT_S)
        at = bisect_left(self._slots, slot)
        if at == len(self._slots) or self._slots[at] != slot:
            insort(self._slots, slot)
        oldest = int((self.last - DAYS * _DAY_S) // SLOT_S)
        if self._slots[0] < oldest:
            del self._slots[: bisect_left(self._slots, oldest)]

    @property
    def weight(self) -> tuple[int, float]:
        """How much there is to lose of it: whoever can upload can name cameras."""
        return len(self._slots), self.last

    @property
    def is_known(self) -> bool:
        """Whether it uploaded on days enough to say what is usual."""
        per_day = int(_DAY_S) // SLOT_S
        return len({slot // per_day for slot in self._slots}) >= _ENOUGH_DAYS

    def usual_pause_s(self, at: float) -> float:
        """The longest pause that is usual around this time of day, but for one day's."""
        pauses = sorted({self._longest_around(moment) for moment in self._days_before(at)})  # a long one touches many
        return SLOT_S * float(pauses[-2][0]) if len(pauses) > 1 else 0.0

    def _days_before(self, at: float) -> Iterator[float]:
        """The same time of day on the days that are known, latest first. After the last upload there are no pauses."""
        first = self._slots[0] * SLOT_S
        moment = at - _DAY_S
        while moment >= first:
            yield moment
            moment -= _DAY_S

    def _longest_around(self, moment: float) -> tuple[int, int]:
        """The longest pause, in slots, and where it begins."""
        low, high = int((moment - _AROUND_S) // SLOT_S), int((moment + _AROUND_S) // SLOT_S)
        begin = max(0, bisect_left(self._slots, low) - 1)
        near = self._slots[begin : bisect_left(self._slots, high) + 1]
        return max(((later - earlier, earlier) for earlier, later in pairwise(near)), default=(0, 0))


def unusual_pause_s(rhythm: Rhythm, now: float, heard_since: float) -> float | None:
    """The pause that would have been usual, where the camera has been quiet for much longer; None where it has not.

    `heard_since`: uploads have been noticed without a break since then. It is never said of a camera that is little
    known, or has been gone for a week. What is unusual at noon may be usual at night: who was told remembers it.
    """
    quiet_s, heard_s = now - rhythm.last, now - heard_since
    if not _LEAST_S <= quiet_s <= _GONE_S or heard_s < _LEAST_S or not rhythm.is_known:
        return None
    usual_s = rhythm.usual_pause_s(now)
    return usual_s if quiet_s >= _MUCH_LONGER * usual_s and heard_s >= _HEARD * usual_s else None


def problem_of(camera: str, last: float, usual_s: float) -> Problem:
    """What is told of a camera that has been quiet since its last upload."""
    message = (
        f"camera {camera} has sent nothing since {_minute(last)}; around that time of day its pauses are usually no"
        f" longer than {_span(usual_s)}"
    )
    return Problem(ProblemKind.QUIET, camera, message, "See whether it has power and network, and can log in to upload")


def given_up(problem: Problem, last: float) -> Problem:
    """What is told of it at the end."""
    message = f"camera {problem.subject} has sent nothing since {_minute(last)}, and counts as taken away"
    return Problem(ProblemKind.QUIET, problem.subject, message)


def _minute(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(sep=" ", timespec="minutes")


def _span(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 120 else f"{round(minutes / 60)} h"


def latest(cameras: Sequence[tuple[Problem, float]], most: int) -> list[Problem]:
    """Of many, those that fell silent last."""
    ordered = sorted(cameras, key=lambda one: one[1], reverse=True)
    return [problem for problem, _last in ordered[:most]]
