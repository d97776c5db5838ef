"""JournalHandler: lines of the log in journald's own protocol, with fields to find them by.

`journalctl -u archiverd CAMERA=front`, and `-p warning`. Over logging-journald's transport; its handler is not used,
for it names fields EXTRA_CAMERA, sends arguments unescaped, and waits for a journal that is full.
Source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL, systemd.journal-fields(7).
"""

from __future__ import annotations

import logging
import select
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from logging_journald import Facility, JournaldTransport

from archiverd.service.log_fields import fields_of
from archiverd.service.log_lines import LineFormatter, ThreadSafeStreamHandler, one_line, priority

IDENTIFIER = "archiverd"


class JournalHandler(ThreadSafeStreamHandler):
    """Sends each line to journald; while it takes none, `<N>` lines to the stream, which leads there too.

    Never waits: a line that neither takes at once is lost, and counted in `failures`.
    """

    def __init__(self, socket: Path, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._lines = LineFormatter(journal=True)
        self.setFormatter(self._lines)
        # The path is looked up for each line: a connection would die with a journald that is started anew.
        self._transport = JournaldTransport(socket, connected=False)
        self._transport.socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._transport.send(_entry(record, self._lines.continuation(record)))
        except OSError:
            self._emit_line(record)
        except (ValueError, TypeError, KeyError):  # arguments that do not fit the message
            self.handleError(record)

    def _emit_line(self, record: logging.LogRecord) -> None:
        if _takes_some(self.stream):
            super().emit(record)
        else:
            self.failures += 1

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (the name is logging's)
        if _takes_some(self.stream):
            super().handleError(record)
        else:
            self.failures += 1

    def close(self) -> None:
        self._transport.socket.close()
        super().close()


def _entry(record: logging.LogRecord, further: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The fields of one entry. Only MESSAGE has more than one line, and only for a traceback."""
    yield "MESSAGE", "\n".join((one_line(record.getMessage()), *(f"  {line}" for line in further)))
    about = {
        "PRIORITY": str(priority(record.levelno)),
        "SYSLOG_FACILITY": str(int(Facility.DAEMON)),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "CODE_FILE": record.pathname,
        "CODE_LINE": str(record.lineno),
        "CODE_FUNC": record.funcName or "",
        "LOGGER": record.name,
        "THREAD_NAME": record.threadName or "",
    }
    about |= {name.upper(): value for name, value in fields_of(record).items()}
    for name, value in about.items():
        yield name, one_line(value)


def _takes_some(stream: TextIO) -> bool:
    """Whether a line can be written there without waiting. What has no descriptor never waits."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(event & select.POLLOUT for _, event in poll.poll(0))
    except (OSError, ValueError):
        return True
