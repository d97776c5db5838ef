"""Problems: what stands in the way, told once as it opens and once as it closes.

Reporters say what is so now; nobody is told of what comes and goes. A problem opens when it has stood for a little
while, and closes when it has been gone for a little while; one that comes back before is the same problem.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from archiverd.policy.naming import printable


class ProblemKind(StrEnum):
    """What a problem is about; each kind has one reporter at a time."""

    PAUSED = "paused"  # no recording is worked on, for the machine fails
    DISK = "disk"  # a file system is under its floor; the subject is a directory on it
    HARDWARE = "hardware"  # a rung that worked does not; the subject is the rung
    QUARANTINED = "quarantined"  # recordings were set aside
    ROOT = "root"  # a root is missing, or another one; the subject is its path
    BEHIND = "behind"  # recordings come faster than they are archived
    QUIET = "quiet"  # a camera, the subject, sends nothing
    WATCHING = "watching"  # new files are found late, or not all
    REFUSED = "refused"  # recordings that archiverd's user has no right to
    CONFIG = "config"  # a new configuration was refused, and the old one holds
    CLEANUP = "cleanup"  # a cleanup waits for its owner, or can't do all that the rules ask


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong and needs somebody to look. Its texts are made safe to show: printable, one line."""

    kind: ProblemKind
    subject: str  # which root, camera or rung; "" where there is one problem of the kind
    message: str  # what is wrong, and where
    remedy: str = ""  # what mends it

    def __post_init__(self) -> None:
        for name in ("subject", "message", "remedy"):
            object.__setattr__(self, name, printable(getattr(self, name)))

    @property
    def key(self) -> str:
        """What makes it the same problem, whatever its message."""
        return f"{self.kind}:{self.subject}"

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


@dataclass(frozen=True, slots=True)
class Times:
    """How long a problem must have stood to be told, and must have been gone to be closed. Seconds."""

    opens_after_s: float
    closes_after_s: float


_TIMES = {
    ProblemKind.PAUSED: Times(30.0, 120.0),  # a disk that is full for a moment mends itself
    ProblemKind.DISK: Times(30.0, 120.0),
    ProblemKind.HARDWARE: Times(0.0, 300.0),  # a rung on trial soon shows what it is worth
    ProblemKind.QUARANTINED: Times(0.0, 120.0),  # what is tried again may come back at once
    ProblemKind.ROOT: Times(10.0, 60.0),  # a mount that is moved
    ProblemKind.BEHIND: Times(600.0, 43200.0),  # by night nothing comes, and next day it would be told again
    ProblemKind.QUIET: Times(0.0, 0.0),
    ProblemKind.WATCHING: Times(30.0, 120.0),  # a new observer mends most of it
    ProblemKind.REFUSED: Times(30.0, 120.0),  # a right that is given makes many of them right, one after the other
    ProblemKind.CONFIG: Times(0.0, 0.0),
    ProblemKind.CLEANUP: Times(0.0, 0.0),  # told once a pass is over
}

_SERIOUS = frozenset({ProblemKind.PAUSED, ProblemKind.DISK, ProblemKind.ROOT, ProblemKind.BEHIND})


def times_of(kind: ProblemKind) -> Times:
    """When a problem of this kind opens and closes."""
    return _TIMES[kind]


def is_serious(kind: ProblemKind) -> bool:
    """Whether recordings pile up, or are not seen, while it stands."""
    return kind in _SERIOUS


@dataclass(frozen=True, slots=True)
class Course:
    """How a problem has gone so far. Times are seconds since the epoch."""

    problem: Problem
    since: float  # it was found first
    is_open: bool = False  # it has stood long enough, and was told
    gone_at: float | None = None  # not found any more since then; None while it is


class Change(StrEnum):
    """What is told of a problem."""

    OPENED = "opened"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell of a problem. Times are seconds since the epoch."""

    change: Change
    problem: Problem
    since: float  # it was found first
    at: float  # it opened or closed


@dataclass(frozen=True, slots=True)
class Review:
    """What became of the problems: those that stand on, and what is to be told."""

    courses: tuple[Course, ...]
    notices: tuple[Notice, ...]


def review(
    courses: Iterable[Course], reported: Mapping[ProblemKind, Collection[Problem]], now: float
) -> Review:  # fmt: skip
    """Hold the problems so far against what is reported to stand now.

    `reported`: by kind all that stand; a kind that nobody has spoken of yet stays as it is.
    """
    found = {problem.key: problem for problems in reported.values() for problem in problems}
    kept: list[Course] = []
    notices: list[Notice] = []
    for course in courses:
        problem = found.pop(course.problem.key, None)
        if problem is None and course.problem.kind not in reported:
            kept.append(course)
            continue
        goes_on = _found_again(course, problem, now) if problem is not None else _gone(course, now)
        if goes_on is None:
            notices += [Notice(Change.CLOSED, course.problem, course.since, now)] if course.is_open else []
            continue
        kept.append(goes_on)
    kept += [Course(problem, now) for problem in found.values()]
    opened = [_opened(course, now) for course in kept]
    notices += [
        Notice(Change.OPENED, after.problem, after.since, now)
        for before, after in zip(kept, opened, strict=True)
        if after.is_open and not before.is_open
    ]
    return Review(tuple(opened), tuple(notices))


def _found_again(course: Course, problem: Problem, now: float) -> Course:
    # A clock that was set back: from now on it counts from now.
    return replace(course, problem=problem, since=min(course.since, now), gone_at=None)


def _gone(course: Course, now: float) -> Course | None:
    """A problem that is not found any more; None once it has been gone long enough, or was never told."""
    gone_at = now if course.gone_at is None else min(course.gone_at, now)
    if not course.is_open or now - gone_at >= times_of(course.problem.kind).closes_after_s:
        return None
    return replace(course, gone_at=gone_at)


def _opened(course: Course, now: float) -> Course:
    stands = course.gone_at is None and now - course.since >= times_of(course.problem.kind).opens_after_s
    return replace(course, is_open=course.is_open or stands)
