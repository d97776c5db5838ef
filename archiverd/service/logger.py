"""Logger: the log file that turns over, and the console beside the progress display, or the journal.

A log that cannot be written stops nothing.
"""

from __future__ import annotations

import contextlib
import io
import logging
import logging.handlers
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TextIO

from archiverd.service.log_lines import (
    Display,
    LineFormatter,
    ThreadSafeStreamHandler,
    fault_text,
    goes_to_journal,
    say_lost,
)

ROOT_LOGGER = "archiverd"
LOG_FILE_BYTES = 4 * 1024 * 1024
LOG_FILES_KEPT = 5
LOG_FILE_MODE = 0o640
JOURNAL_SOCKET = Path("/run/systemd/journal/socket")


class _LogFile(logging.handlers.RotatingFileHandler):
    """The log file. Tells its owner once when a line cannot be written, and goes on trying."""

    def __init__(self, path: Path, on_failure: Callable[[str, logging.LogRecord], None]) -> None:
        self.failures = 0
        self._on_failure = on_failure
        super().__init__(
            path, maxBytes=LOG_FILE_BYTES, backupCount=LOG_FILES_KEPT, encoding="utf-8", errors="backslashreplace"
        )

    def _open(self) -> io.TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", errors="backslashreplace", opener=_open_log)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (the name is logging's)
        error = sys.exc_info()[1]
        self.failures += 1
        if self.failures > 1:
            return
        if isinstance(error, OSError):
            self._on_failure(fault_text(error), record)
            return
        say_lost(record, error)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a full disk: what it would not take was counted when it was emitted
            super().close()


def _open_log(path: str, flags: int) -> int:
    # The log may stand where uploads arrive: a link planted under its name must not turn it onto another file.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, LOG_FILE_MODE)


class Logger:
    """Sets up the `archiverd` logger with a console and, where asked for, a log file; undoes it at the end.

    The console is the stream, or the journal where the stream leads there. `level` is what the file takes,
    `console_level` what the console takes (the same unless given). A file that cannot be opened or written is named
    once, with the reason, and the console takes its level over. Start and close from one thread; log from any.
    """

    def __init__(
        self,
        level: int,
        log_file: Path | None = None,
        *,
        display: Display | None = None,
        console_level: int | None = None,
        stream: TextIO | None = None,
        environ: Mapping[str, str] = os.environ,
        journal: Path = JOURNAL_SOCKET,
    ) -> None:
        self._level = level
        self._log_file = log_file
        self._display = display
        self._console_level = level if console_level is None else console_level
        self._stream = stream
        self._environ = environ
        self._journal = journal
        self._console: ThreadSafeStreamHandler | None = None
        self._file: _LogFile | None = None
        self._file_fails = False  # and the console takes its lines
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Logger:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Attach the handlers. Raises nothing for a log file that will not do."""
        logger = logging.getLogger(ROOT_LOGGER)
        self._undo.callback(_restore, logger, logger.level, logger.propagate)
        logger.setLevel(min(self._level, self._console_level))
        logger.propagate = False
        self._console = self._open_console()
        self._attach(self._console)
        if self._log_file is not None:
            self._open_file(self._log_file)

    def close(self) -> None:
        """Detach and close the handlers, and leave the logger as it was. A second call does nothing."""
        self._undo.close()
        self._console = None
        self._file = None
        self._file_fails = False

    def set_level(self, level: int, *, console_level: int | None = None) -> None:
        """From now on take other levels, as if they had been given at first. Any thread. Raises: ValueError."""
        if self._console is None:
            raise ValueError("the Logger is not started")
        self._level = level
        self._console_level = level if console_level is None else console_level
        if self._file is not None:
            self._file.setLevel(level)
        self._console.setLevel(self._level_of_console())
        logging.getLogger(ROOT_LOGGER).setLevel(min(self._level, self._console_level))

    def _level_of_console(self) -> int:
        return min(self._level, self._console_level) if self._file_fails else self._console_level

    @contextlib.contextmanager
    def below(self, display: Display) -> Iterator[None]:
        """Show this display below the console's lines, until the end of the `with`."""
        if self._console is None:
            raise ValueError("the Logger is not started")
        console, before = self._console, self._console.display
        console.display = display
        try:
            yield
        finally:
            console.display = before

    def _open_console(self) -> ThreadSafeStreamHandler:
        stream: TextIO | None = sys.stderr if self._stream is None else self._stream
        if goes_to_journal(stream, self._environ):
            from archiverd.service.journal import JournalHandler  # noqa: PLC0415  (loaded only where it is used)

            console: ThreadSafeStreamHandler = JournalHandler(self._journal, stream)
        else:
            console = ThreadSafeStreamHandler(stream, display=self._display)
            console.setFormatter(LineFormatter())
        console.setLevel(self._level_of_console())
        return console

    def _open_file(self, path: Path) -> None:
        try:
            self._file = _LogFile(path, self._fall_back)
        except OSError as error:
            self._fall_back(fault_text(error), None)
            return
        self._file.setLevel(self._level)
        self._file.setFormatter(LineFormatter())
        self._attach(self._file)

    def _attach(self, handler: logging.Handler) -> None:
        logger = logging.getLogger(ROOT_LOGGER)
        logger.addHandler(handler)
        self._undo.callback(handler.close)
        self._undo.callback(logger.removeHandler, handler)

    def _fall_back(self, reason: str, lost: logging.LogRecord | None) -> None:
        console = self._console
        if console is None:
            return
        # Given to the console alone: the file would only fail once more.
        warning = "log file %s cannot be written: %s; the console takes its lines"
        values = (self._log_file, reason)
        console.handle(logging.LogRecord(__name__, logging.WARNING, __file__, 0, warning, values, None))
        if lost is not None and lost.levelno < console.level:
            console.handle(lost)
        self._file_fails = True
        console.setLevel(self._level_of_console())


def forget_lost_output() -> None:
    """Let no output that can't be written change the exit code; to be called last.

    Python flushes stdout and stderr at its end, and exits with 120 where that fails.
    """
    stream: TextIO | None
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            _send_nowhere(stream)


def _send_nowhere(stream: TextIO) -> None:
    """What is still in the stream's buffer then goes to /dev/null."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _restore(logger: logging.Logger, level: int, propagate: bool) -> None:
    logger.setLevel(level)
    logger.propagate = propagate
