"""What a stop looks like to those who must heed it: the one interface every wait and every loop knows."""

from __future__ import annotations

import os
import threading
from typing import Protocol


class StopToken(Protocol):
    """Tells whether a stop was asked for, and wakes those who wait. Any thread may use it."""

    @property
    def requested(self) -> bool:
        """Whether a stop was asked for. Once true it stays true."""

    def wait(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` seconds for a stop, and return `requested`."""

    def check(self) -> None:
        """Raise errors.Interrupted once a stop was asked for."""

    def fileno(self) -> int:
        """A descriptor that is readable once a stop was asked for: to poll beside others, never to read or close."""


class NeverStop:
    """The stop that never comes: for calls that nobody can interrupt."""

    def __init__(self) -> None:
        self._never = threading.Event()
        self._lock = threading.Lock()
        self._descriptor: int | None = None

    @property
    def requested(self) -> bool:
        return False

    def wait(self, timeout_s: float) -> bool:
        return self._never.wait(timeout_s)

    def check(self) -> None:
        return

    def fileno(self) -> int:
        """A descriptor that is never readable; opened when first asked for, closed with the object."""
        with self._lock:
            if self._descriptor is None:
                self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            return self._descriptor

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
