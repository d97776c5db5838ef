"""A stop that a test asks for."""

from __future__ import annotations

import math
import os
import signal
import threading
import time

from archiverd.errors import Interrupted


class Asked:
    """A stop token that is asked by calling it, from any thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.asked_at = math.nan  # monotonic

    def __call__(self) -> None:
        self.asked_at = time.monotonic()
        self._event.set()
        os.eventfd_write(self._descriptor, 1)

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    def wait(self, timeout_s: float) -> bool:
        return self._event.wait(timeout_s)

    def check(self) -> None:
        if self.requested:
            raise Interrupted(signal.SIGTERM)

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        os.close(self._descriptor)
