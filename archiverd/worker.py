"""The worker: takes in what was seen, and works on one recording at a time until the stop.

It alone moves recordings on their way. A fault of the machine pauses it, and a look at the machine resumes it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Protocol, TypeVar

from archiverd.errors import ArchiverError, DeviceError, NoSpaceError, ResourceError, StartupError
from archiverd.intake import Intake
from archiverd.policy import naming
from archiverd.policy.model import Recording
from archiverd.policy.outcome import Outcome, Result
from archiverd.policy.pausing import SET_BACKS, Pause
from archiverd.policy.problems import Problem, ProblemKind
from archiverd.policy.stop import StopToken
from archiverd.processor import NEEDS_RIGHT, FileProcessor
from archiverd.service.heartbeat import Bell, wait_for
from archiverd.service.inbox import Inbox
from archiverd.storage.catalog import Catalog, CatalogLostError

log = logging.getLogger(__name__)

T = TypeVar("T")

_LOOK_S = 1.0  # between two looks at whether somebody else has changed the catalog
_RIGHTS = "`archiverd service install` says what mends it: setfacl, or the group of the FTP server's user, as a rule"
_ASK_S = 60.0  # the clock may have been set meanwhile
_MOST_TOLD = 10_000  # recordings that something is told of
_PUT_OFF_S = 600.0  # a recording that can't be looked at
BATCHES = 5  # of what was seen, between two recordings
_NO_MORE_S = 3600.0  # to the next due moment where there is none


class Show(Protocol):
    """Where the worker tells what it does."""

    def begin(self, name: str, size_bytes: int, /, *, camera: str = "") -> None: ...

    def end(self, outcome: str, /) -> None: ...

    def queue(self, waiting: int, held: int, unread: int, /) -> None: ...

    def pause(self, why: str, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What a job is done with; all of one configuration."""

    intake: Intake
    processor: FileProcessor
    newest_first: bool
    again: bool
    probe: Callable[[], None]  # raises where the machine does not bear the work now
    take_back: Callable[[], None]  # lets go of what a job that ended of a fault could not let go of itself


Report = Callable[[ProblemKind, Sequence[Problem]], None]
MakeTools = Callable[[], Tools]  # of the configuration that holds now; the same ones for the same


class Worker:
    """One turn after the other, in the thread that owns the catalog connection.

    `report` takes all problems of a kind that stand now: a pause, and what archiverd's user has no right to. Raises,
    from `run`: CatalogLostError where the catalog is damaged; Interrupted on a stop; whatever is a bug.
    """

    def __init__(
        self, catalog: Catalog, inbox: Inbox, make_tools: MakeTools, stop: StopToken, bell: Bell, show: Show, *,
        report: Report, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._inbox = inbox
        self._make_tools = make_tools
        self._stop = stop
        self._bell = bell
        self._show = show
        self._report = report
        self._clock = clock
        self._tools: Tools | None = None
        self._pause: Pause | None = None
        self._takes_in = True
        self._on_trial = False  # the machine looks well again, and no job has shown it yet
        self._set_backs = 0  # in a row
        self._next_due: float | None = None  # None: to be asked for
        self._asked_at = 0.0  # for that
        self._counted_at = 0.0
        self._set_back: dict[PurePosixPath, ArchiverError] = {}  # what can't be archived now, and why
        self._refused: dict[PurePosixPath, str] = {}  # what archiverd's user has no right to, and why

    def run(self) -> None:
        """Until the stop."""
        while not self._stop.requested:
            wait_s = self.step(self._clock())
            if wait_s > 0:
                seen = [self._inbox.fileno()] if self._takes_in else []
                wait_for([self._stop.fileno(), self._bell.fileno(), *seen], min(wait_s, _LOOK_S))
            if self._bell.heard():
                self._next_due = None
                self._try_now()

    def step(self, now: float) -> float:
        """One turn: what was seen is entered, or one recording is worked on. Returns the seconds until the next."""
        try:
            return self._turn(now)
        except CatalogLostError:
            raise
        except (ResourceError, StartupError) as error:
            self._fault(error)
            return _LOOK_S

    def _turn(self, now: float) -> float:
        tools = self._tools = self._tools or self._make_tools()
        took = self._take_in(tools)
        if self._pause is not None and not self._on_trial:
            if not self._pause.is_due(now):
                return 0.0 if took else self._pause.retry_at - now
            tools.probe()
            tools.take_back()
            self._on_trial, self._takes_in, self._set_backs = True, True, 0
        if self._next_due is None or not 0 <= now - self._asked_at < _ASK_S or self._catalog.changed():
            self._count(now)
        tools = self._tools = self._make_tools()
        if self._next_due is not None and self._next_due > now:
            if not self._set_back:
                self._go_on()
            return 0.0 if took else self._next_due - now
        self._next_due = None
        row = self._catalog.due(now, newest_first=tools.newest_first)
        if row is not None:
            self._work_on(row, tools)
        return 0.0

    def _take_in(self, tools: Tools) -> bool:
        """Enter what was seen, also while nothing is worked on; whether there was anything.

        Of a tree that is new there is more than a turn: then recordings are worked on in between.
        """
        if not self._takes_in:
            return False
        took = False
        try:
            for _ in range(BATCHES):
                if self._stop.requested or not tools.intake.take():
                    break
                took = True
        except (ResourceError, StartupError):
            self._takes_in = False  # until the machine has been looked at
            raise
        if took:
            self._next_due = None
        return took

    def _count(self, now: float) -> None:
        """Ask when something is due, and tell how much waits."""
        self._next_due = self._catalog.next_due(now)
        if self._next_due is None:
            self._next_due = now + _NO_MORE_S
        self._asked_at = now
        if not 0 <= now - self._counted_at < _LOOK_S:
            self._counted_at = now
            waiting, held = self._catalog.queue(now)
            self._show.queue(waiting, held, len(self._inbox))

    # -- one recording ------------------------------------------------------------------------------------

    def _work_on(self, row: Recording, tools: Tools) -> None:
        ready = self._look_again(row, tools)
        if ready is None:  # another upload, or nothing, stands in its place: that is another matter
            self._tell_of(row, None, "")
            return
        waiting, held = self._catalog.queue(self._clock())
        self._show.queue(max(waiting - 1, 0), held, len(self._inbox))  # but for this one
        self._show.begin(naming.printable(row.path.name), row.fingerprint.size, camera=row.name.camera)
        outcome: Outcome | None = None
        try:
            outcome = tools.processor.process(ready, again=tools.again)
        except (NoSpaceError, DeviceError) as error:  # this clip waits, and others may go on
            log.error("%s: %s", naming.printable(row.path), error)  # noqa: TRY400  (an expected fault)
            self._set_backs += 1
            self._tell_of(row, error, "")
            if self._set_backs >= SET_BACKS:
                raise
        else:
            self._after(row, outcome)
        finally:
            self._show.end("" if outcome is None else outcome.result)

    def _look_again(self, row: Recording, tools: Tools) -> Recording | None:
        """The row as it stands now; None where there is nothing to be done about it at this time."""
        try:
            return tools.intake.look_again(row)
        except ArchiverError:
            raise
        except Exception:  # a file that can't be looked at, or a bug of ours, keeps no other from its turn
            log.exception("%s: can't be looked at now, and is put off", naming.printable(row.path))
            self._catalog.make_due(row, self._clock() + _PUT_OFF_S)
            return None

    def _after(self, row: Recording, outcome: Outcome) -> None:
        self._tell_of(row, None, outcome.reason if NEEDS_RIGHT in outcome.reason else "")
        if outcome.result not in (Result.WAITING, Result.FAILED):
            self._go_on()
        if outcome.result in (Result.WAITING, Result.GONE):
            # What stands there now may be another upload of the same name.
            self._inbox.put(row.path)

    def _tell_of(self, row: Recording, set_back: ArchiverError | None, refused: str) -> None:
        """Tell of what can't be archived now, while others can, and of what archiverd's user has no right to.

        Both wait, and nobody is to take that for idling.
        """
        if _note(self._set_back, row.path, set_back):
            self._report_paused()
        if _note(self._refused, row.path, refused or None):
            self._report(ProblemKind.REFUSED, _refusals(self._refused))

    def _report_paused(self) -> None:
        problems = []
        if self._pause is not None:
            problems.append(Problem(ProblemKind.PAUSED, "", self._pause.message, self._pause.remedy))
        if self._set_back:
            error = next(iter(self._set_back.values()))
            many = f"{len(self._set_back)} recordings" if len(self._set_back) > 1 else "one recording"
            message = f"{many} can't be archived now: {error.message}"
            problems.append(Problem(ProblemKind.PAUSED, "some", message, error.advice))
        self._report(ProblemKind.PAUSED, problems)

    # -- faults of the machine ----------------------------------------------------------------------------

    def _fault(self, error: ArchiverError) -> None:
        now = self._clock()
        self._on_trial = False
        if self._pause is None:
            self._pause = Pause.begin(error.message, error.advice, now)
            log.error("the work pauses: %s", error)
        else:
            self._pause = self._pause.again(error.message, error.advice, now)
        self._show.pause(error.message)
        self._report_paused()

    def _try_now(self) -> None:
        """Somebody has changed something, or room was made: it may be what was missing."""
        for path, error in self._set_back.items():
            if isinstance(error, NoSpaceError):
                for row in self._catalog.at_path(path):
                    self._catalog.make_due(row, self._clock())
        if self._pause is not None:
            self._pause = replace(self._pause, retry_at=self._clock())

    def _go_on(self) -> None:
        """The work goes on: a job went well, or the machine bears it and there is none."""
        self._set_backs = 0
        if self._pause is None:
            return
        log.info("the work goes on, after %.0f s", self._clock() - self._pause.since)
        self._pause, self._on_trial = None, False
        self._show.pause("")
        self._report_paused()


def _note(told: dict[PurePosixPath, T], path: PurePosixPath, what: T | None) -> bool:
    """Note what is told of a path, or that nothing is any more; whether there is more or less to tell."""
    if what is None:
        return told.pop(path, None) is not None
    more = path not in told and len(told) < _MOST_TOLD
    if more or path in told:
        told[path] = what
    return more


def _refusals(refused: Mapping[PurePosixPath, str]) -> list[Problem]:
    """One problem for all that archiverd's user may not read, or not remove."""
    if not refused:
        return []
    path, reason = next(iter(refused.items()))
    many = f"{len(refused)} recordings" if len(refused) > 1 else "one recording"
    message = f"{many} may not be read, or not be removed, for instance {naming.printable(path)}: {reason}"
    return [Problem(ProblemKind.REFUSED, "", message, _RIGHTS)]
