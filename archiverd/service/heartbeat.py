"""What one thread shows another: that it is alive, and that it is to end."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from archiverd.errors import Interrupted
from archiverd.policy.stop import StopToken

_LONGEST_WAIT_MS = 2**31 - 1  # poll(2) takes an int


class Heartbeat:
    """When a thread last showed that it goes on. One thread beats; any may ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock()

    def beat(self) -> None:
        self._at = self._clock()

    def age_s(self) -> float:
        """Seconds since the last beat."""
        return self._clock() - self._at


class Ending:
    """A StopToken for some threads of a process: ends with the process's own, or before it when it is asked to.

    From `with` to its end, which comes when nobody waits on it any more.
    """

    def __init__(self, parent: StopToken) -> None:
        self._parent = parent
        self._asked = threading.Event()
        self._descriptor = -1  # readable once it was asked
        self._either = -1  # an epoll over that and the parent's: readable when one of them is

    def __enter__(self) -> Self:
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        either = select.epoll()
        for descriptor in (self._descriptor, self._parent.fileno()):
            either.register(descriptor, select.EPOLLIN)
        self._either = os.dup(either.fileno())
        os.set_inheritable(self._either, False)
        either.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in (self._either, self._descriptor):
            os.close(descriptor)
        self._either = self._descriptor = -1

    def end(self) -> None:
        """Have them end. Any thread, any number of times."""
        if not self._asked.is_set():
            self._asked.set()
            os.eventfd_write(self._descriptor, 1)

    @property
    def requested(self) -> bool:
        return self._asked.is_set() or self._parent.requested

    def wait(self, timeout_s: float) -> bool:
        if not self.requested:
            wait_for([self.fileno()], timeout_s)
        return self.requested

    def check(self) -> None:
        self._parent.check()
        if self._asked.is_set():
            raise Interrupted(signal.SIGTERM)

    def fileno(self) -> int:
        return self._either


class BeatingStop:
    """A StopToken whose every use is a beat: who asks often enough whether to stop is alive."""

    def __init__(self, stop: StopToken, heartbeat: Heartbeat) -> None:
        self._stop = stop
        self._heartbeat = heartbeat

    @property
    def requested(self) -> bool:
        self._heartbeat.beat()
        return self._stop.requested

    def wait(self, timeout_s: float) -> bool:
        self._heartbeat.beat()
        return self._stop.wait(timeout_s)

    def check(self) -> None:
        self._heartbeat.beat()
        self._stop.check()

    def fileno(self) -> int:
        return self._stop.fileno()


class Bell:
    """What wakes a thread that waits in `wait_for`, from any other. From `with` to its end."""

    def __init__(self) -> None:
        self._descriptor = -1

    def __enter__(self) -> Self:
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    def ring(self) -> None:
        if self._descriptor >= 0:
            os.eventfd_write(self._descriptor, 1)

    def heard(self) -> bool:
        """Whether it rang since the last call."""
        try:
            return bool(os.eventfd_read(self._descriptor))
        except BlockingIOError:
            return False

    def fileno(self) -> int:
        return self._descriptor


def wait_for(descriptors: list[int], timeout_s: float) -> None:
    """Wait until one of the descriptors is readable, at most so many seconds."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    # Rounded up: to wake a moment too early would be to wake twice.
    poll.poll(min(max(0.0, timeout_s) * 1000 + 0.999, _LONGEST_WAIT_MS))
