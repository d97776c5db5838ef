"""What becomes of a disk under its floor: whether what was removed for it shows, and when more may be removed: pure.

What is removed is counted, and the file system may take a while to show it. One that never does (its snapshots keep
what was removed, a program holds it open) would have a whole archive removed, a little each minute, for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from archiverd.policy.problems import Problem, ProblemKind

SHOWS_S = 60.0  # a file system takes no longer to show what was freed: btrfs commits every 30 s
_NO_MORE_S = 600.0  # until it is looked again whether there is more that may go
_BLOCKED_S = 6 * 3600.0  # until it is tried again, where removals did not show
_SHARE = 4  # this part of what was counted is to show: uploads take some of it meanwhile
_STRIKES = 2  # passes in a row that did not show


@dataclass(frozen=True, slots=True)
class Space:
    """The room on a disk. Bytes."""

    free: int
    wanted: int  # more, for it to be above its floor again; 0 where it is


@dataclass(frozen=True, slots=True)
class Course:
    """How it went with a disk so far. Times are seconds since the epoch."""

    cramped: bool = False
    not_before: float = 0.0  # nothing more is removed for it till then
    counted: int = 0  # bytes that the last pass freed, by its count
    before: int = 0  # bytes that were free before that
    best: int = 0  # the most that were free since
    strikes: int = 0

    @property
    def is_blocked(self) -> bool:
        """Whether nothing is removed for it, for nothing of that shows."""
        return self.strikes >= _STRIKES


def seen(course: Course, space: Space, now: float) -> Course:
    """The course of a disk that has so much room now."""
    if not space.wanted:
        return Course()
    course = replace(course, cramped=True, best=max(course.best, space.free))
    if course.not_before > now + _BLOCKED_S:  # set by a clock that was ahead: nothing rests for so long
        course = replace(course, not_before=now)
    if not course.counted or now < course.not_before:
        return course
    shows = course.best - course.before >= course.counted // _SHARE
    strikes = 0 if shows else course.strikes + 1
    blocked = strikes >= _STRIKES
    return replace(course, counted=0, strikes=strikes, not_before=now + _BLOCKED_S if blocked else course.not_before)


def passed(course: Course, space: Space, counted: int, now: float, *, short: bool) -> Course:
    """The course after a pass that has freed so much; `space` is from before it. `short`: nothing more may go."""
    wait_s = _NO_MORE_S if short else SHOWS_S
    return replace(course, cramped=True, counted=counted, before=space.free, best=space.free, not_before=now + wait_s)


def not_shown(courses: Mapping[str, Course]) -> list[Problem]:
    """A problem for each disk, by path, on which removals do not show."""
    return [
        Problem(
            ProblemKind.CLEANUP,
            f"not shown: {path}",
            f"what is removed to make room on the disk of {path} does not show there; no more is removed for now",
            "Snapshots of the file system, or a program that has the files open, may keep it. Make room there",
        )
        for path, course in courses.items()
        if course.is_blocked
    ]
