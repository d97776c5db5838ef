"""The timer thread: calls what is due, one after the other, each for a moment."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from archiverd.errors import ArchiverError
from archiverd.policy.stop import StopToken
from archiverd.service.heartbeat import Bell, Heartbeat, wait_for
from archiverd.storage.catalog import CatalogLostError

log = logging.getLogger(__name__)

_LONGEST_S = 5.0  # no wait is longer: who watches the heartbeat wants to see it
_AGAIN_S = 10.0  # after a step that failed


class Stepper(Protocol):
    """Work that is done a little at a time."""

    def step(self, now: float) -> float:
        """Work for a second at most, at `now` (seconds since the epoch); returns when it wants to be called again."""


Steppers = Mapping[str, Stepper]  # by a name for the log
MakeSteppers = Callable[[], AbstractContextManager[Steppers]]


class Timer:
    """Runs steppers until the stop. What it makes belongs to the thread that calls `run`.

    `make` builds the steppers, and takes them down at its end; `renew` has them built anew.
    """

    def __init__(
        self, make: MakeSteppers, stop: StopToken, heartbeat: Heartbeat, bell: Bell, clock: Callable[[], float]
    ) -> None:  # fmt: skip
        self._make = make
        self._stop = stop
        self._heartbeat = heartbeat
        self._bell = bell
        self._clock = clock
        self._renewed = False

    def renew(self) -> None:
        """Build the steppers anew, for the configuration is another. Any thread."""
        self._renewed = True
        self._bell.ring()

    def run(self) -> None:
        """Until the stop. Raises: CatalogLostError, and what is a bug; any other error is told, and tried again."""
        while not self._stop.requested:
            self._renewed = False
            with self._make() as steppers:
                _Round(steppers, self._clock).go(self._go_on, self._wait)

    def _go_on(self) -> bool:
        self._heartbeat.beat()
        return not self._renewed and not self._stop.requested

    def _wait(self, for_s: float) -> bool:
        """Wait, and tell whether the bell rang: then everybody is asked."""
        wait_for([self._stop.fileno(), self._bell.fileno()], min(for_s, _LONGEST_S))
        return self._bell.heard()


class _Round:
    """The steppers, and when each wants to be called."""

    def __init__(self, steppers: Steppers, clock: Callable[[], float]) -> None:
        self._steppers = steppers
        self._clock = clock
        self._due = dict.fromkeys(steppers, -math.inf)
        self._seen = clock()
        self._failed: dict[str, str] = {}

    def go(self, go_on: Callable[[], bool], wait: Callable[[float], bool]) -> None:
        while go_on():
            now = self._clock()
            if now < self._seen - 1.0:  # the clock was set back: what was due then is due now
                self._due = dict.fromkeys(self._steppers, -math.inf)
            self._seen = now
            name = min(self._due, key=lambda name: self._due[name])
            if self._due[name] > now:
                if wait(self._due[name] - now):
                    self._due = dict.fromkeys(self._steppers, -math.inf)
                continue
            self._due[name] = self._step(name, now)

    def _step(self, name: str, now: float) -> float:
        try:
            again_at = self._steppers[name].step(now)
        except CatalogLostError:
            raise
        except (ArchiverError, OSError) as error:
            if self._failed.get(name) != str(error):
                log.warning("%s can't be done now, and is tried again: %s", name, error)
            self._failed[name] = str(error)
            return now + _AGAIN_S
        self._failed.pop(name, None)
        return again_at
