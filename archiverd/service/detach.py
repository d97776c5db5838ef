"""Going into the background, for boxes without systemd: `archiverd daemon --detach`.

Over python-daemon, which does the forks and the closing of files, and is asked for nothing that it does too late or out
of sight: no pid file, no locks, no signal handlers. What starts the daemon waits until it is ready, told over a pipe,
and ends with its error and exit code where it is not. Sources: daemon(7), pipe(7), python-daemon 3.1.2.

The daemon opens everything itself, after the forks: a thread, a lock or a database opened before would be dead,
shared or closed in it.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, assert_never

from daemon import DaemonContext

from archiverd.errors import ArchiverError, Interrupted, StartupError, UsageError

UMASK = 0o027
SILENCE_S = 300.0  # without a sign of life from a daemon that starts
_TOLD_S = 15.0  # between two lines of who waits for it
_REPORT_S = 5.0  # for a launcher that does not read (stopped by Ctrl-Z): the daemon goes on without it
_MESSAGE, _ADVICE = 2000, 500  # characters of a report: the pipe holds 64 KiB
_FIRST_WORD_S = 5.0  # of a daemon that was just started
_BLOCK = 64 * 1024

log = logging.getLogger(__name__)


class PidFile(Protocol):
    """Where the daemon's process is named. Raises, from both: OSError, ResourceError."""

    def write(self) -> None: ...

    def remove(self) -> None: ...


class DetachedError(ArchiverError):
    """The daemon did not come to be ready: its own words and exit code."""

    def __init__(self, message: str, *, advice: str, exit_code: int) -> None:
        super().__init__(message, advice=advice)
        self.exit_code = exit_code


class Said(StrEnum):
    """What a report says."""

    ALIVE = "alive"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Report:
    """One message of the daemon to who started it."""

    said: Said
    pid: int
    message: str = ""
    advice: str = ""
    exit_code: int = 0

    def to_line(self) -> bytes:
        # A name that is not UTF-8 becomes an escape of JSON's own.
        return json.dumps(asdict(self), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Report:
        values = json.loads(line)
        return cls(**values | {"said": Said(values["said"])})


class Launcher:
    """The daemon's end of the pipe: to be called when it is ready. Belongs to the thread that serves."""

    def __init__(self, descriptor: int, pid_file: PidFile) -> None:
        self._descriptor = descriptor
        self._pid_file = pid_file
        self._was_ready = False

    def __call__(self) -> None:
        """The daemon is ready, and holds its locks: the pid file is written, and who waits is let go.

        From then on standard output and error lead nowhere. A second call does nothing.
        """
        if self._descriptor < 0:
            return
        try:
            self._pid_file.write()
        except (OSError, ArchiverError) as error:  # who has no number of it can still ask `archiverd status`
            log.warning("the pid file can't be written: %s", error)
        self._was_ready = True
        self._end(Report(Said.READY, os.getpid()))

    def alive(self, doing: str) -> None:
        """The start goes on; `doing` says in words with what. Cheap enough for every step of it."""
        if self._descriptor >= 0:
            self._send(Report(Said.ALIVE, os.getpid(), doing[:_ADVICE]), within_s=0.0)

    def failed(self, message: str, advice: str, exit_code: int) -> None:
        """The start is over, and this is why. Nobody hears it once the daemon was ready."""
        if self._descriptor >= 0:
            self._end(Report(Said.FAILED, os.getpid(), message[:_MESSAGE], advice[:_ADVICE], exit_code))

    def close(self) -> None:
        """The daemon ends: take the pid file away, if it is still ours."""
        if self._was_ready:
            with suppress(OSError, ArchiverError):  # a file that stays names a process that is no more
                self._pid_file.remove()

    def _end(self, report: Report) -> None:
        _flush()
        self._send(report, _REPORT_S)
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        os.close(nowhere)
        os.close(self._descriptor)
        self._descriptor = -1

    def _send(self, report: Report, within_s: float) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        if poll.poll(within_s * 1000):
            with suppress(BrokenPipeError):  # who started it did not wait
                os.write(self._descriptor, report.to_line())


def detach(
    serve: Callable[[Launcher], int], pid_file: PidFile, log_file: Path, tell: Callable[[str], None], *,
    environ: Mapping[str, str] = os.environ, silence_s: float = SILENCE_S,
) -> int:  # fmt: skip
    """Run `serve` as a daemon, and return twice, each time with an exit code.

    In the process that calls: 0 when `serve` has said that it is ready; a long start is told to `tell`, line by line.
    Raises there: UsageError under a service manager; DetachedError with the daemon's message, advice and exit code;
    StartupError where it ends without a word, or gives no sign of life for `silence_s` seconds. KeyboardInterrupt ends
    the daemon too.

    In the daemon: what `serve` returns. Its session, umask (027) and directory (/) are its own, and nothing is open but
    standard input (/dev/null), output and error (the caller's until it is ready). An error that `serve` raises is told
    to who waits; one that comes later is for its own log.

    To be called before anything is opened, by a process of one thread; the configuration is to be loaded by then.
    """
    if environ.get("NOTIFY_SOCKET"):
        raise UsageError(
            "--detach: a service manager started this, and would take the daemon for ended",
            advice="Leave --detach out; `archiverd service install` writes a unit",
        )
    assert threading.active_count() == 1, "threads do not outlive a fork, and the locks they hold do"
    _fill_standard_streams()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    _flush()  # what is in the buffers would be written by both
    if os.fork():
        os.close(writer)
        try:
            return _Wait(reader, log_file, tell, silence_s).wait()
        finally:
            os.close(reader)
    os.close(reader)
    return _serve(serve, Launcher(writer, pid_file), writer)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # full or gone: nobody reads it
            stream.flush()


def _fill_standard_streams() -> None:
    """Open what the caller was started without: the pipe would get its number, and python-daemon needs the stream."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            assert opened == number, "the lowest number that is free"
            setattr(sys, name, os.fdopen(opened, "w" if number else "r"))


# -- in the daemon --------------------------------------------------------------------------------------------------


def _serve(serve: Callable[[Launcher], int], launcher: Launcher, writer: int) -> int:
    try:
        _leave(writer)
        launcher.alive("starting")
        code = serve(launcher)
    except ArchiverError as error:
        code = error.exit_code
        launcher.failed(error.message, error.advice, code)
    except Interrupted as stop:
        code = stop.exit_code
        launcher.failed(f"the daemon was stopped by signal {stop.signum} before it was ready", "", code)
    except OSError as error:
        code = StartupError.exit_code
        launcher.failed(str(error), "", code)
    # Anything else is a bug: its traceback goes to standard error, and the pipe ends with the process.
    launcher.failed("the daemon ended before it was ready", "", code or StartupError.exit_code)
    launcher.close()
    return code


def _leave(writer: int) -> None:
    """Leave the session, directory and open files of the caller. The process goes on in a grandchild."""
    with Path(os.devnull).open(encoding="ascii") as nowhere:
        context = DaemonContext(
            umask=UMASK, working_directory="/", files_preserve=[writer], stdin=nowhere, stdout=sys.stdout,
            stderr=sys.stderr,
            detach_process=True,  # by itself it does not where the parent is process 1, as in a container
            signal_map={},  # by itself it makes SIGTERM a SystemExit
        )  # fmt: skip
        context.open()


# -- in who waits ---------------------------------------------------------------------------------------------------


class _Wait:
    """Waits for the daemon's word."""

    def __init__(self, reader: int, log_file: Path, tell: Callable[[str], None], silence_s: float) -> None:
        self._reader = reader
        self._log_file = log_file
        self._tell = tell
        self._silence_s = silence_s
        self._pid = 0
        self._doing = "starting"
        self._lines = bytearray()

    def wait(self) -> int:
        """Raises: see `detach`."""
        try:
            report = self._last_report()
        except KeyboardInterrupt:
            self._end_daemon()
            raise
        match report.said:
            case Said.READY:
                return 0
            case Said.FAILED:
                raise DetachedError(report.message, advice=report.advice, exit_code=report.exit_code)
            case Said.ALIVE:
                raise AssertionError("no last word")
            case unreachable:
                assert_never(unreachable)

    def _last_report(self) -> Report:
        """The report that ends the wait. Raises: StartupError where none comes."""
        heard_at = told_at = time.monotonic()
        while True:
            now = time.monotonic()
            if now - heard_at >= self._silence_s:
                raise self._silent()
            if now - told_at >= _TOLD_S:
                self._tell(f"Still starting (process {self._pid}): {self._doing}")
                told_at = now
            block = self._read(min(heard_at + self._silence_s, told_at + _TOLD_S) - now)
            if block is None:
                continue
            if not block:
                raise self._without_a_word()
            heard_at = time.monotonic()
            last = self._hear(block)
            if last is not None:
                return last

    def _hear(self, block: bytes) -> Report | None:
        """Take in what came; the report that ends the wait, where it is among that."""
        self._lines += block
        while (end := self._lines.find(b"\n")) >= 0:
            report = Report.from_line(bytes(self._lines[:end]))
            del self._lines[: end + 1]
            if report.said is not Said.ALIVE:
                return report
            self._pid, self._doing = report.pid, report.message
        return None

    def _end_daemon(self) -> None:
        """Have the daemon end. Its first word, which tells who it is, may only be coming."""
        while not self._pid:
            block = self._read(_FIRST_WORD_S)
            if not block or self._hear(block) is not None:  # it has ended, or is about to
                return
        os.kill(self._pid, signal.SIGTERM)  # the pipe has not ended: the number is still the daemon's

    def _read(self, within_s: float) -> bytes | None:
        """What came; nothing at the end of the pipe, None where nothing came in time."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        return os.read(self._reader, _BLOCK) if poll.poll(max(within_s, 0.0) * 1000) else None

    def _silent(self) -> StartupError:
        who = f"process {self._pid}" if self._pid else "it"
        return StartupError(
            f"the daemon gives no sign of life since {self._silence_s:g} s ({self._doing}); {who} is left alone",
            advice=f"{self._log_file} may tell how far it is",
        )

    def _without_a_word(self) -> StartupError:
        return StartupError(
            f"the daemon ended before it was ready ({self._doing}), without a word",
            advice=f"Look in {self._log_file}, and run it without --detach to see what it says",
        )
