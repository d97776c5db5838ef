"""Lines of the log: one message a line, that nobody can forge, and a stream that takes them beside a display.

File names come from whoever may upload. Each message therefore stays on one line, whatever its names contain, and
lines that continue a message (tracebacks) are indented: no name can make something that looks like a log line.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Protocol, TextIO

# What moves the cursor, ends a line or turns the reading direction, and the bytes of names that are not UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Display(Protocol):
    """What shows something that must stay below the log: it takes the log's lines and puts them above."""

    def print_above(self, text: str) -> None:
        """Write these lines (no final newline) above the display. Any thread; never raises for a broken stream."""


def one_line(text: str) -> str:
    """The text with everything escaped that could end its line, steer a terminal or fail to encode."""
    return _UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    if "\udc80" <= character <= "\udcff":  # surrogateescape: one byte of a name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def goes_to_journal(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    """Whether what is written to this stream reaches the journal. Source: systemd.exec(5), JOURNAL_STREAM."""
    if stream is None:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class LineFormatter(logging.Formatter):
    """`2026-07-30T12:34:56.123+02:00 INFO archiverd.cleaner: message`, further lines indented by two spaces.

    The time is local, with its offset from UTC. For the journal there is no time, and `<N>` stands before each line.
    """

    def __init__(self, *, journal: bool = False) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        message = f"{record.levelname} {record.name}: {one_line(record.getMessage())}"
        further = [f"  {line}" for line in self.continuation(record)]
        if self._journal:
            return "\n".join(f"<{priority(record.levelno)}>{line}" for line in (message, *further))
        stamp = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        return "\n".join((f"{stamp} {message}", *further))

    def continuation(self, record: logging.LogRecord) -> list[str]:
        """What follows the message of a record, line by line: a traceback."""
        lines: list[str] = []
        if record.exc_info:
            lines += self.formatException(record.exc_info).split("\n")
        if record.stack_info:
            lines += self.formatStack(record.stack_info).split("\n")
        return [one_line(line) for line in lines]


def priority(level: int) -> int:
    """The syslog priority of a level of logging. Source: sd-daemon(3)."""
    for least, priority in ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6)):
        if level >= least:
            return priority
    return 7


class ThreadSafeStreamHandler(logging.StreamHandler[TextIO]):
    """Whole lines to a stream, or above the display that is shown on it.

    While `display` is set it does the writing, under its own lock, so that bars and lines never mix. A stream that
    is closed, full or broken never raises: the lines lost are counted in `failures`, and stderr is told once.
    """

    def __init__(self, stream: TextIO | None = None, *, display: Display | None = None) -> None:
        super().__init__(stream)
        self.display = display
        self.failures = 0

    def emit(self, record: logging.LogRecord) -> None:
        display = self.display
        if display is None:
            super().emit(record)
            return
        try:
            display.print_above(self.format(record))
        except (OSError, ValueError, TypeError, KeyError):  # a broken stream, or arguments that do not fit the message
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (the name is logging's)
        self.failures += 1
        if self.failures == 1:
            say_lost(record, sys.exc_info()[1])

    def flush(self) -> None:
        # Also called when logging shuts down; what could not be written was counted when it was emitted.
        with contextlib.suppress(OSError, ValueError):
            super().flush()


def fault_text(error: BaseException | None) -> str:
    """Why something could not be done, in words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"


def say_lost(record: logging.LogRecord, error: BaseException | None) -> None:
    """Tell stderr, if there is one, that a line of the log is lost."""
    stream: TextIO | None = sys.stderr  # None when the process was started with descriptor 2 closed
    if stream is None:
        return
    origin = f"{Path(record.pathname).name}:{record.lineno}"
    with contextlib.suppress(OSError, ValueError):
        stream.write(one_line(f"archiverd: a line of the log is lost: {fault_text(error)} (logged at {origin})") + "\n")
        stream.flush()
