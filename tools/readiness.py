"""The other side of sd_notify: hears what a service tells systemd, so that one knows when it is ready.

What nobody reads fills the socket's queue, and the service would wait for room in it: so it is read all the time.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from collections import deque
from collections.abc import Iterator

_KEPT = 20  # lines heard last


class NotReadyError(Exception):
    """It did not say READY=1 in time."""


class Readiness:
    """What was heard so far. `address` is what the service is to find in NOTIFY_SOCKET."""

    def __init__(self, listener: socket.socket, address: str) -> None:
        self.address = address
        self._listener = listener
        self._ready = threading.Event()
        self._last: deque[str] = deque(maxlen=_KEPT)
        self._hearing = threading.Thread(target=self._hear, name="readiness", daemon=True)

    def start(self) -> None:
        """Begin to hear."""
        self._hearing.start()

    def stop(self) -> None:
        """Hear no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._hearing.join(10)

    def wait(self, within_s: float) -> None:
        """Return when the service says that it is ready. Raises: NotReadyError."""
        if not self._ready.wait(within_s):
            raise NotReadyError(f"no READY=1 within {within_s:g} s, only {list(self._last)}")

    def _hear(self) -> None:
        while heard := self._listener.recv(65536):
            lines = heard.decode("utf-8", "replace").splitlines()
            self._last += lines
            if "READY=1" in lines:
                self._ready.set()


@contextlib.contextmanager
def heard() -> Iterator[Readiness]:
    """A socket for one service. It has no file: the paths of tests may be longer than such an address."""
    name = f"archiverd-readiness-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        readiness = Readiness(listener, f"@{name}")
        readiness.start()
        try:
            yield readiness
        finally:
            readiness.stop()
