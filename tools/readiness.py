"""The other side of sd_notify: hears what a service tells systemd, so that one knows when it is ready."""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Iterator


class NotReadyError(Exception):
    """It did not say READY=1 in time."""


class Readiness:
    """What was heard so far. `address` is what the service is to find in NOTIFY_SOCKET."""

    def __init__(self, listener: socket.socket, address: str) -> None:
        self._listener = listener
        self.address = address
        self.told: list[str] = []

    def wait(self, within_s: float) -> None:
        """Return when the service says that it is ready. Raises: NotReadyError."""
        deadline = time.monotonic() + within_s
        while "READY=1" not in self.told:
            self._listener.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                self.told += self._listener.recv(65536).decode("utf-8", "replace").splitlines()
            except TimeoutError:
                raise NotReadyError(f"no READY=1 within {within_s:g} s, only {self.told}") from None


@contextlib.contextmanager
def heard() -> Iterator[Readiness]:
    """A socket for one service. It has no file: the paths of tests may be longer than such an address."""
    name = f"archiverd-readiness-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        yield Readiness(listener, f"@{name}")
