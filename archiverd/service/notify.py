"""Notifier: tells systemd how the daemon stands. Where no systemd listens, every call costs a look at a flag.

Over sdnotify, which swallows every error and encodes as latin-1 unless it is told otherwise. So errors are asked for,
what carries names is ASCII, and what must arrive (READY, WATCHDOG) is never in one message with it. A socket is opened
for each message, as libsystemd does: nothing is held over a fork, or over a systemd that starts anew.
Sources: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping

from sdnotify import SystemdNotifier

from archiverd.service.log_lines import one_line

STATUS_CHARACTERS = 256
_NO_LIMIT = 2**64 - 1  # USEC_INFINITY

log = logging.getLogger(__name__)


class Notifier:
    """Belongs to one thread. Nothing it does raises: a message that is lost is told in the log, once in a row.

    The socket is the one the process's own NOTIFY_SOCKET names (sdnotify reads no other); `environ` says whether there
    is one, and whether the watchdog is on. No child must inherit it: see `media.process.environment`. A systemd that is
    too busy to read is waited for `patience_s` seconds.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, *, patience_s: float = 2.0) -> None:
        self._environ = environ
        self._patience_s = patience_s
        self._is_heard = bool(environ.get("NOTIFY_SOCKET"))
        self._status = ""
        self._is_lost = False  # the last message was

    @property
    def watchdog_s(self) -> float | None:
        """Seconds within which systemd wants to be told that all is well; None where it does not watch.

        It is to be told twice as often.
        """
        if self._environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            return None
        limit_us = _number(self._environ.get("WATCHDOG_USEC", ""))
        return limit_us / 1e6 if 0 < limit_us < _NO_LIMIT else None

    def ready(self, status: str) -> None:
        """The start, or a reload, is over."""
        self._send("READY=1")
        self.status(status)

    def status(self, text: str) -> None:
        """What it does now, in a line of words. Said again only when it has changed."""
        if not self._is_heard or text == self._status:
            return
        self._status = text
        self._send(f"STATUS={_ascii_line(text)}")

    def watchdog(self) -> None:
        """All is well."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """A reload begins; `ready` tells its end."""
        # Both in one message: systemd matches the time with that of its own request (Type=notify-reload).
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        """The end has begun."""
        self._send("STOPPING=1")
        self.status(status)

    def extend(self, seconds: float) -> None:
        """The start, a reload or the stop may take so long from now, whatever the unit says."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def _send(self, message: str) -> None:
        if not self._is_heard:
            return
        try:
            notifier = SystemdNotifier(debug=True)  # `debug`: raise what goes wrong
            try:
                notifier.socket.settimeout(self._patience_s)
                notifier.notify(message)
            finally:
                notifier.socket.close()
        except OSError as error:
            if not self._is_lost:
                log.warning("systemd can't be told %s: %s", message.partition("\n")[0], error)
            self._is_lost = True
        else:
            self._is_lost = False


def _ascii_line(text: str) -> str:
    """One bounded line of ASCII, whatever names stand in it."""
    line = one_line(text).encode("ascii", "backslashreplace").decode("ascii")
    return line if len(line) <= STATUS_CHARACTERS else f"{line[: STATUS_CHARACTERS - 3]}..."


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
