"""What is wrong now: who reports it, what is kept of it, and that each is told once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import Protocol

from archiverd.errors import ResourceError
from archiverd.policy.problems import Change, Course, Notice, Problem, ProblemKind, is_serious, review

log = logging.getLogger(__name__)

_TURN_S = 1.0  # between two looks at what was reported
_FIELDS = {ProblemKind.QUIET: "camera", ProblemKind.HARDWARE: "rung"}  # of the log's line, by which it is found again
_MOST_UNTOLD = 100  # notices kept for `on_problem`; the oldest go first


class Memory(Protocol):
    """What outlives the process: the catalog."""

    def problems(self) -> tuple[list[Course], list[Notice]]: ...

    def keep_problems(self, courses: Iterable[Course], untold: Iterable[Notice]) -> None: ...


class Outlet(Protocol):
    """Where notices are handed on to. Takes them on any thread, and never waits."""

    def offer(self, notice: Notice) -> bool:
        """Take a notice to be handed on; False where there is no room for it now."""

    def settled(self) -> list[Notice]:
        """The notices that are done with since this was asked last: handed on, or given up."""


class Problems:
    """The problems of one process. `found` is for any thread, `step` for one at a time.

    `outlet` is what hands notices on; None where nobody is to be told but the log.
    """

    def __init__(self, outlet: Outlet | None = None) -> None:
        self._outlet = outlet
        self._lock = threading.Lock()
        self._reported: dict[ProblemKind, tuple[Problem, ...]] = {}
        self._courses: tuple[Course, ...] = ()
        self._untold: dict[Notice, bool] = {}  # whether the outlet has it
        self._memory: Memory | None = None
        self._kept: tuple[tuple[Course, ...], tuple[Notice, ...]] | None = None  # as `_memory` has it
        self._taken_up = False
        self._memory_fails = False

    def found(self, kind: ProblemKind, problems: Iterable[Problem] = ()) -> None:
        """These problems of this kind stand now, and no others. Any thread; it is told by the next step."""
        standing = tuple(problems)
        assert all(problem.kind is kind for problem in standing), "a report is of one kind"
        with self._lock:
            self._reported[kind] = standing

    def open(self) -> tuple[Course, ...]:
        """The problems that were told and not closed since. Any thread."""
        with self._lock:
            return tuple(course for course in self._courses if course.is_open)

    def step(self, now: float, memory: Memory | None = None) -> float:
        """Open and close what is due, tell of it, and keep it; returns when to look again. Never blocks for long.

        `now`: seconds since the epoch. `memory`: the catalog of the thread that calls, None where none is open: what
        changes then is kept by the first step that has one. A catalog whose disk fails stops no telling.
        """
        if memory is not None and not self._taken_up:
            self._take_up(memory)
        with self._lock:
            reviewed = review(self._courses, self._reported, now)
            self._courses = reviewed.courses
        for notice in reviewed.notices:
            _log(notice)
        self._tell(reviewed.notices)
        if memory is not None:
            self._keep(memory)
        return now + _TURN_S

    def _take_up(self, memory: Memory) -> None:
        """Go on from what an earlier process left."""
        try:
            courses, untold = memory.problems()
        except ResourceError as error:
            self._say_memory_fails(error)
            return
        self._taken_up = True
        left = {course.problem.key: course for course in courses}
        with self._lock:
            ours = [left.pop(course.problem.key, course) for course in self._courses]
            self._courses = (*ours, *left.values())
        if self._outlet is not None:
            self._untold = dict.fromkeys(untold, False) | self._untold

    def _tell(self, notices: Iterable[Notice]) -> None:
        """Hand on what is new, and what there was no room for, in the order it came."""
        if self._outlet is None:
            return
        self._untold |= dict.fromkeys(notices, False)
        for notice in self._outlet.settled():
            self._untold.pop(notice, None)
        while len(self._untold) > _MOST_UNTOLD:
            oldest = next(iter(self._untold))
            del self._untold[oldest]
            log.warning("too much to hand on to on_problem, never handed on: %s", oldest.problem.message)
        for notice, offered in self._untold.items():
            if not offered:
                if not self._outlet.offer(notice):
                    break
                self._untold[notice] = True

    def _keep(self, memory: Memory) -> None:
        told = tuple(course for course in self._courses if course.is_open)
        state = (told, tuple(self._untold))
        if self._memory is memory and self._kept == state:
            return
        try:
            memory.keep_problems(*state)
        except ResourceError as error:
            self._say_memory_fails(error)
            return
        self._memory, self._kept, self._memory_fails = memory, state, False

    def _say_memory_fails(self, error: ResourceError) -> None:
        if not self._memory_fails:
            log.warning("what is told of problems can't be kept, and may be told again after a restart: %s", error)
        self._memory_fails = True


# Whoever reports these has logged them already, as they came about.
_LOGGED = frozenset({ProblemKind.PAUSED, ProblemKind.ROOT, ProblemKind.CONFIG, ProblemKind.WATCHING})


def _log(notice: Notice) -> None:
    problem = notice.problem
    field = _FIELDS.get(problem.kind)
    extra = {} if field is None else {field: problem.subject}
    if notice.change is Change.CLOSED:
        log.info("over: %s", problem.message, extra=extra)
        return
    level = logging.ERROR if is_serious(problem.kind) else logging.WARNING
    if problem.kind in _LOGGED:
        level = logging.DEBUG
    log.log(level, "problem: %s", problem, extra=extra)
