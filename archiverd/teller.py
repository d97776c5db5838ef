"""Tells people of problems: runs the command of `on_problem` for each that opens or closes."""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence

from archiverd.errors import ResourceError, StartupError
from archiverd.media.process import Limits, run
from archiverd.policy.naming import printable
from archiverd.policy.problems import Notice
from archiverd.policy.stop import StopToken
from archiverd.policy.telling import PAUSES_S, details, environment

log = logging.getLogger(__name__)

_TURN_S = 1.0  # between two looks at what came
_ROOM = 100  # notices that are taken before they are handed on
_LIMITS = Limits(stall_s=math.inf, wall_s=60.0, stop_s=2.0)


class Teller:
    """Hands notices on, one at a time and in their order, on a thread of its own; takes them on any.

    `command`: the program and its arguments; empty where nobody is to be told. A command that fails is tried again a
    few times, and then its notice is given up; nothing else waits for it. What is not handed on when `stop` is asked
    for stays with whoever offered it. What comes after `environ` is for tests.
    """

    def __init__(
        self, command: Sequence[str], stop: StopToken, *, environ: Mapping[str, str] = os.environ,
        pauses_s: Sequence[float] = PAUSES_S, limits: Limits = _LIMITS, turn_s: float = _TURN_S,
    ) -> None:  # fmt: skip
        self._command = tuple(command)
        self._stop = stop
        self._environ = environ
        self._pauses_s = tuple(pauses_s)
        self._limits = limits
        self._turn_s = turn_s
        self._host = socket.gethostname()
        self._lock = threading.Lock()
        self._waiting: deque[Notice] = deque()
        self._settled: list[Notice] = []
        self._fails = False  # the last notice was given up
        self._thread = threading.Thread(target=self._work, name="teller", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, deadline: float) -> bool:
        """Wait for the thread until that moment of the monotonic clock; whether it has ended. Once `stop` is asked."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def use(self, command: Sequence[str]) -> None:
        """Take another command from the next notice on."""
        with self._lock:
            self._command = tuple(command)

    def offer(self, notice: Notice) -> bool:
        """Take a notice to be handed on; False where there is no room for it now."""
        with self._lock:
            if len(self._waiting) >= _ROOM:
                return False
            self._waiting.append(notice)
            return True

    def settled(self) -> list[Notice]:
        """The notices that are done with since this was asked last: handed on, or given up."""
        with self._lock:
            settled, self._settled = self._settled, []
        return settled

    # -- the thread ---------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stop.wait(self._turn_s):
            while (notice := self._next()) is not None:
                if not self._hand_on(notice):
                    return
                self._settle(notice)

    def _next(self) -> Notice | None:
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def _settle(self, notice: Notice) -> None:
        with self._lock:
            self._waiting.popleft()
            self._settled.append(notice)

    def _hand_on(self, notice: Notice) -> bool:
        """Run the command until it goes well or the tries are over. False where a stop came before."""
        why = ""
        for pause_s in (*self._pauses_s, 0.0):
            if self._stop.requested:
                return False
            with self._lock:
                command = self._command
            if not command:
                return True
            why = self._run(command, notice)
            if not why:
                self._fails = False
                return True
            if self._stop.wait(pause_s):  # it may have failed for being stopped
                return False
        if not self._fails:
            tries = len(self._pauses_s) + 1
            log.warning("on_problem failed %d times, and this was not told: %s: %s", tries, notice.problem.message, why)
        self._fails = True
        return True

    def _run(self, command: tuple[str, ...], notice: Notice) -> str:
        """Run it once. Returns why it failed, "" where it went well."""
        said: list[str] = []

        def listen(line: str) -> None:
            said[:] = [line] if line.strip() else said  # programs tell on either stream why they fail

        env = environment(notice, self._host, self._environ)
        try:
            finished = run(
                command, stop=self._stop, limits=self._limits, env=env, stdin=details(notice, self._host),
                on_line=listen,
            )  # fmt: skip
        except (StartupError, ResourceError) as error:
            return error.message
        if finished.ok:
            return ""
        return printable(finished.describe() if finished.stderr.strip() else ": ".join([finished.describe(), *said]))
