"""The daemon's main thread: signals, the configuration that holds, the lives of the others, the service manager.

It never touches a media root: a disk that hangs must not keep it from answering.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from archiverd import __version__
from archiverd.config import Loaded, doubts, show
from archiverd.errors import ArchiverError, ConfigError, InternalError
from archiverd.live import LiveState
from archiverd.policy.live import Phase, status_words
from archiverd.policy.problems import Problem, ProblemKind
from archiverd.policy.reloading import changes, refused
from archiverd.problems import Problems
from archiverd.service.graceful_exit import GracefulExit
from archiverd.service.notify import Notifier
from archiverd.session import Current, Memory, Session

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
NOTES = (signal.SIGHUP, signal.SIGUSR1)

_RESTART = "Restart the service, or take the change back"
_MEND = "Mend it (`archiverd config check` names all that is wrong), and reload again"
_TURN_S = 1.0  # between two looks at everything
_AGAIN_S = 10.0  # before a session is tried again
_GRACE_S = 15.0  # beyond the time ffmpeg has to end, for the threads to end
_SILENT_S = 120.0  # without a sign of life a thread is not taken for alive
_STARTING_S = 30.0  # what is asked of the service manager at a time while the start goes on


class Launcher(Protocol):
    """Who waits for the start."""

    def alive(self, doing: str, /) -> None:
        """The start goes on, with what is said in words."""

    def __call__(self) -> None:
        """The daemon is ready."""


class Daemon:
    """Serves until it is stopped. For the main thread.

    `reload` loads the configuration anew, as it was loaded for `loaded`; `apply` is told of each that comes to hold,
    to set what stands outside (the level of the log).
    """

    def __init__(
        self, loaded: Loaded, stop: GracefulExit, problems: Problems, *, reload: Callable[[], Loaded],
        apply: Callable[[Loaded], None], launcher: Launcher, notifier: Notifier, clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._loaded = loaded
        self._current = Current(loaded.config)
        self._stop = stop
        self._problems = problems
        self._reload_file = reload
        self._apply = apply
        self._launcher = launcher
        self._notifier = notifier
        self._clock = clock
        self._live = LiveState(clock)
        self._was_ready = False
        self._extended_at = -_STARTING_S  # monotonic
        self._said_silent: list[str] = []
        self._memory = Memory()
        self._lost_root = False
        self._lost = ""  # what the latest session ended of; empty once one is ready again

    def serve(self) -> None:
        """Until the stop.

        Raises: whatever keeps the first session from its start; InternalError where a thread dies of a bug.
        """
        directory, file = self._loaded.config.directory, self._loaded.file or "defaults"
        log.info("archiverd %s starts as process %d: %s, by %s", __version__, os.getpid(), directory, file)
        for doubt in doubts(self._loaded):
            log.warning("%s", doubt)
        while self._serve_session():
            self._between()

    def _serve_session(self) -> bool:
        """One session, to its end; whether there is to be another."""
        session = Session(
            self._current, self._stop, self._problems, self._live, self._stop.wake, self._memory, clock=self._clock
        )  # fmt: skip
        with session:
            session.start()
            while self._goes_on(session):
                self._stop.wait_for_news(self._turn_s())
                self._tend(session)
            self._wind_up(session)
        error = session.error
        if self._stop.requested:
            log.info("stopped, as asked by %s", signal.Signals(self._stop.signum or signal.SIGTERM).name)
            return False
        assert error is not None, "a session that was not asked to ends of an error"
        if not self._was_ready or isinstance(error, InternalError):
            raise error
        assert isinstance(error, ArchiverError), "else a thread died of it, and that is an internal error"
        if error.message != self._lost:  # while it lasts it is told once
            log.error("%s; tried again every %.0f s", error, _AGAIN_S)
        self._lost = error.message
        self._live.enter(Phase.CUT_OFF, error.message)
        self._lost_root = self._lost_root or session.lost_root
        kind = ProblemKind.ROOT if self._lost_root else ProblemKind.PAUSED
        self._problems.found(kind, [Problem(kind, "", error.message, error.advice)])
        return True

    def _between(self) -> None:
        """Wait for the machine to be well again."""
        until = time.monotonic() + _AGAIN_S
        while not self._stop.requested and time.monotonic() < until:
            self._problems.step(self._clock())
            self._stop.wait_for_news(min(self._turn_s(), until - time.monotonic()))
            self._take_notes(None)
            self._notifier.status(status_words(self._live.value))
            self._notifier.watchdog()

    def _goes_on(self, session: Session) -> bool:
        return not self._stop.requested and not session.over

    # -- one turn -----------------------------------------------------------------------------------------

    def _turn_s(self) -> float:
        watchdog_s = self._notifier.watchdog_s
        return _TURN_S if watchdog_s is None else min(_TURN_S, watchdog_s / 3)

    def _tend(self, session: Session) -> None:
        self._take_notes(session)
        silent = session.silent(_SILENT_S)
        if silent and silent != self._said_silent and not session.over:
            log.error("no sign of life for %.0f s from the thread: %s", _SILENT_S, ", ".join(silent))
        self._said_silent = silent
        if session.ready and not self._was_ready:
            self._was_ready = True
            log.info("ready: what was left is taken up, and new files are noticed")
            self._notifier.ready(status_words(self._live.value))
            self._launcher()
        if session.ready:
            if self._lost:
                log.info("all is there again, and watched: %s", self._loaded.config.directory)
            self._lost, self._lost_root = "", False
            self._problems.found(ProblemKind.ROOT)
        if silent:
            return
        if not self._was_ready:
            self._launcher.alive(status_words(self._live.value))
        if not self._was_ready and time.monotonic() - self._extended_at > _STARTING_S / 3:
            self._extended_at = time.monotonic()
            self._notifier.extend(_STARTING_S)
        self._notifier.status(status_words(self._live.value))
        self._notifier.watchdog()

    def _wind_up(self, session: Session) -> None:
        """Have the session's threads end, against one deadline."""
        within_s = self._current.config.stop_timeout + _GRACE_S
        if self._stop.requested:
            self._live.enter(Phase.STOPPING)
            self._notifier.stopping(status_words(self._live.value))
            self._notifier.extend(within_s + _GRACE_S)
        session.end()
        hanging = session.join(time.monotonic() + within_s)
        if hanging:
            log.error(
                "did not end within %.0f s: the thread %s; it goes with the process", within_s, ", ".join(hanging)
            )
            if not self._stop.requested:
                raise InternalError(f"the thread {', '.join(hanging)} hangs")

    # -- reload -------------------------------------------------------------------------------------------

    def _take_notes(self, session: Session | None) -> None:
        for note in dict.fromkeys(self._stop.take_notes()):  # a hundred wishes for the same are one
            if note == signal.SIGHUP:
                self._reload(session)
            elif note == signal.SIGUSR1 and session is not None:
                log.info("the whole source tree is looked through, as asked")
                session.rescan()

    def _reload(self, session: Session | None) -> None:
        if self._was_ready:  # else READY would tell that the start is over
            self._notifier.reloading()
        try:
            loaded = self._reload_file()
        except ConfigError as error:
            self._refuse([str(problem) for problem in error.problems])
        else:
            self._take_up(loaded, session)
        if self._was_ready:
            self._notifier.ready(status_words(self._live.value))

    def _take_up(self, loaded: Loaded, session: Session | None) -> None:
        changed = changes(_written(self._loaded), _written(loaded))
        no = [f"{change}: needs a restart" for change in refused(changed)]
        no += [str(doubt) for doubt in doubts(loaded) if doubt not in doubts(self._loaded)]
        if no:
            self._refuse(no, _RESTART if refused(changed) else _MEND)
            return
        self._problems.found(ProblemKind.CONFIG)
        self._loaded = loaded
        self._current.config = loaded.config
        self._apply(loaded)
        log.info("reloaded: %s", "; ".join(map(str, changed)) if changed else "nothing has changed")
        if changed and session is not None:
            session.renew()

    def _refuse(self, reasons: Sequence[str], remedy: str = _MEND) -> None:
        for reason in reasons:
            log.error("the new configuration is refused, and the old one holds: %s", reason)
        where = f"{self._loaded.file}" if self._loaded.file is not None else "the configuration"
        message = f"{where}: the new configuration is refused, and the old one holds: {'; '.join(reasons)}"
        self._problems.found(ProblemKind.CONFIG, [Problem(ProblemKind.CONFIG, "", message, remedy)])


def _written(loaded: Loaded) -> dict[str, str]:
    return {key: value for key, value, _ in show(loaded)}
