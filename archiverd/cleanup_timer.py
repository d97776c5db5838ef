"""CleanupTimer: when the daemon cleans up, and what it tells of that."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from archiverd.cleaner import Cleaner
from archiverd.cleanup_pass import CONFIRM, SHOW, Caution, Cleaned, clean_up
from archiverd.errors import ResourceError, StartupError
from archiverd.policy.holding_back import HeldPlan
from archiverd.policy.naming import printable
from archiverd.policy.problems import Problem, ProblemKind
from archiverd.policy.retention import Cause, CleanupPlan
from archiverd.policy.room_shown import Course, Space, not_shown, passed, seen
from archiverd.policy.words import size_words
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_connection import ACCEPTED
from archiverd.storage.reserve import Reserve

log = logging.getLogger(__name__)

_TURN_S = 1.0  # until it is seen that a disk has come under its floor, or somebody confirmed what was held
_TICK_S = 60.0  # between two looks at what archiverd itself has changed
_REST_S = 600.0  # between two passes by ages and sizes: what is due can wait so long
_HELD_S = 3600.0  # until what is held is planned anew
_LOOK_S = 3600.0  # between two looks at the whole of archive and trash
_SWEEP_S = 86_400.0  # between two looks through the source tree
_FORGOTTEN = 1000  # rows in one step

Report = Callable[[ProblemKind, Sequence[Problem]], None]
Work = Generator[None, None, None]


@dataclass(slots=True)
class _Times:
    """When things were done last. Seconds since the epoch; None for never."""

    tick: float | None = None
    look: float | None = None
    sweep: float | None = None


class CleanupTimer:
    """Cleans up when it is time to. Belongs to the thread of its catalog.

    `made_room` is called when a disk that had come under its floor is above it again, whoever made the room.
    """

    def __init__(
        self, cleaner: Cleaner, catalog: Catalog, caution: Caution, report: Report, made_room: Callable[[], None]
    ) -> None:  # fmt: skip
        self._cleaner = cleaner
        self._catalog = catalog
        self._caution = caution
        self._report = report
        self._made_room = made_room
        self._times = _Times()
        self._going: Work | None = None
        self._not_before = 0.0  # for what goes by ages and sizes
        self._courses: dict[str, Course] = {}  # of the disks, by path
        self._short: dict[str, Problem] = {}  # what can't be reached, by the disk it is about; "" for none
        self._of_pass: tuple[Problem, ...] = ()
        self._failed = False
        self._reserve = Reserve(catalog.path.parent)
        self._accepted: str | None = None  # as the catalog has it

    def step(self, now: float) -> float:
        """Work for about half a second at most; returns when it is to be called again. Seconds since the epoch.

        Raises: ResourceError where a root is lost, or a disk fails: the pass ends, and another begins later.
        """
        try:
            return self._turn(now)
        except BaseException as error:
            self._going, self._failed = None, True
            if isinstance(error, ResourceError) and self._is_cramped and self._reserve.give_up():
                self._times.tick = None
            raise

    def _turn(self, now: float) -> float:
        if self._going is None:
            self._going = self._begin(now)
        if self._going is None:
            return now + _TURN_S
        self._cleaner.moment.begin()
        try:
            next(self._going)
        except StopIteration:
            self._going = None
        return now

    def _begin(self, now: float) -> Work | None:
        """What is to be done now, if anything is."""
        accepted = self._catalog.recall(ACCEPTED)
        confirmed = accepted != self._accepted  # by somebody, or it is the first pass
        fell = self._look_at_disks(now)
        if not confirmed and not fell and not _is_over(self._times.tick, _TICK_S, now):
            return None
        self._accepted = accepted
        self._times.tick = now
        if not self._is_cramped:
            self._reserve.keep()
        return self._tick(now, whole=confirmed or _is_over(self._times.look, _LOOK_S, now))

    # -- disks --------------------------------------------------------------------------------------------

    @property
    def _is_cramped(self) -> bool:
        return any(course.cramped for course in self._courses.values())

    def _look_at_disks(self, now: float) -> bool:
        """Whether a disk has come under its floor since the last turn: uploads may fill the rest within a minute."""
        fell = False
        for path, space in self._cleaner.spaces().items():
            before = self._courses.get(path, Course())
            course = self._courses[path] = seen(before, space, now)
            fell = fell or (course.cramped and not before.cramped)
            if before.cramped and not course.cramped:
                self._short.pop(path, None)
                self._tell()
                self._made_room()
            if course.is_blocked and not before.is_blocked:
                log.error("%s: what is removed for room does not show there; no more is removed for now", path)
                self._tell()
        return fell

    def _resting(self, now: float) -> list[str]:
        """The disks for whose room nothing is removed now."""
        return [path for path, course in self._courses.items() if now < course.not_before]

    # -- passes -------------------------------------------------------------------------------------------

    def _tick(self, now: float, *, whole: bool) -> Work:
        """Look again where something was changed, and begin a pass where something is to go."""
        if self._failed or self._catalog.claimed_removals():
            self._cleaner.take_back()
            self._failed = False
        if not whole:
            yield from self._cleaner.catch_up()
            policy = self._cleaner.policy(self._resting(now))
            due = self._cleaner.is_due(policy, now)
            if not due or (now < self._not_before and not any(disk.wanted for disk in policy.disks)):
                return
        yield from self._pass(now)

    def _pass(self, began: float) -> Work:
        sweep = _is_over(self._times.sweep, _SWEEP_S, began)
        spaces = self._cleaner.spaces()
        try:
            cleaned = yield from clean_up(
                self._cleaner, self._catalog, self._caution, _unless_held, sweep=sweep, resting=self._resting(began)
            )
        except StartupError as error:
            self._times.sweep = None  # the first pass by a right clock is a whole one
            self._of_pass = (Problem(ProblemKind.CLEANUP, "clock", error.message, error.advice),)
            self._tell()
            return
        now = self._cleaner.now()
        self._times.look = now
        self._accepted = self._catalog.recall(ACCEPTED)
        self._not_before = now + (_REST_S if cleaned.held is None else _HELD_S)
        self._note(cleaned, spaces, now)
        self._tell()
        if cleaned.stopped is not None:
            raise cleaned.stopped
        if sweep:
            self._times.sweep = now
            while self._catalog.forget(now - self._caution.history_s, _FORGOTTEN):
                yield

    def _note(self, cleaned: Cleaned, spaces: dict[str, Space], now: float) -> None:
        """What a pass did for each disk, and what it could not do."""
        plan = cleaned.plan
        self._of_pass = tuple(_problems(cleaned))
        self._short = {}
        for short in plan.shortfalls:
            self._short[short.disk] = _short_problem(short.what, short.size, of_disk=bool(short.disk))
        for disk in cleaned.disks:
            freed = sum(cleaned.done.freed.get(tree, 0) for tree in disk.trees)
            for_room = any(one.cause is Cause.ROOM and one.candidate.tree in disk.trees for one in plan.removals)
            if disk.wanted and disk.path in spaces and cleaned.held is None:
                self._courses[disk.path] = passed(
                    self._courses.get(disk.path, Course()), spaces[disk.path], freed if for_room else 0, now,
                    short=disk.path in self._short,
                )  # fmt: skip

    def _tell(self) -> None:
        self._report(ProblemKind.CLEANUP, [*self._of_pass, *self._short.values(), *not_shown(self._courses)])


def _unless_held(_plan: CleanupPlan, held: HeldPlan | None) -> bool:
    return held is None


def _problems(cleaned: Cleaned) -> list[Problem]:
    """What a pass waits for, and what it could not remove."""
    found = []
    if cleaned.held is not None:
        held = cleaned.held
        message = f"a cleanup waits for you: {held.why}; {held.files} files, {size_words(held.size)}"
        found.append(Problem(ProblemKind.CLEANUP, "held", message, CONFIRM))
    refused = cleaned.done.refused
    if refused:
        place, why = next(iter(refused.items()))
        many = f"{len(refused)} files" if len(refused) > 1 else "one file"
        message = f"{many} can't be removed, for instance {printable(place.path)} of the {place.tree}: {why}"
        found.append(Problem(ProblemKind.CLEANUP, "refused", message, "The log names each"))
    return found


def _short_problem(what: str, size: int, *, of_disk: bool) -> Problem:
    if of_disk:
        message = f"{what}: {size_words(size)} more are to become free, and nothing more may go"
        remedy = 'Make room there; or let archives go: when_full = "oldest", or rules for them'
        return Problem(ProblemKind.CLEANUP, what, message, remedy)
    message = f"{what}, and holds {size_words(size)} more, of which nothing may go"
    return Problem(ProblemKind.CLEANUP, what, message, SHOW)


def _is_over(last: float | None, wait_s: float, now: float) -> bool:
    """Whether so long has passed; also where the clock says that the last time is still to come."""
    return last is None or not 0 <= now - last < wait_s
