"""What the daemon does now: set by its threads, written to a file beside the catalog, read by `status`."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from archiverd import __version__
from archiverd.errors import ResourceError
from archiverd.policy.live import LIVE_NAME, NO_DAEMON, Daemon, Live, Phase, Task, from_text, to_text
from archiverd.policy.naming import printable
from archiverd.storage.file_manager import remove_file, write_over

log = logging.getLogger(__name__)

_TURN_S = 1.0  # between two writings
_LONGEST = 64 * 1024  # bytes read of the file
_PROC = Path("/proc")


class LiveState:
    """What the daemon does now. It is the display of the worker's jobs. Any thread may call anything.

    `clock` tells seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        pid = os.getpid()
        self._paused_at: float | None = None
        self._live = Live(pid, _start_ticks(pid) or 0, __version__, clock())

    @property
    def value(self) -> Live:
        """What it does now."""
        with self._lock:
            return self._live

    def enter(self, phase: Phase, about: str = "") -> None:
        """The daemon enters a phase of its life; `about` says in words what that is about."""
        with self._lock:
            self._live = replace(self._live, phase=phase, about=printable(about))

    def queue(self, waiting: int, held: int, unread: int = 0) -> None:
        """How many recordings wait for their turn, how many for their time, and how many paths were not looked at."""
        with self._lock:
            self._live = replace(self._live, waiting=waiting, held=held, unread=unread)

    def pause(self, why: str) -> None:
        """Nothing is worked on, and why; "" when work goes on."""
        with self._lock:
            was = self._paused_at
            self._paused_at = None if not why else self._clock() if was is None else was
            self._live = replace(self._live, paused=printable(why))

    def watch(self, how: str) -> None:
        """How new files are found: "by events", "by looking"."""
        with self._lock:
            self._live = replace(self._live, watching=printable(how))

    def scanned(self, at: float) -> None:
        """A look through the whole tree ended."""
        with self._lock:
            self._live = replace(self._live, scanned_at=at)

    def heard_until(self) -> float:
        """Until when all uploads have been heard of: a worker that is busy, or paused, takes nothing in."""
        now = self._clock()
        with self._lock:
            task_at = now if self._live.task is None else self._live.task.began_at
            return min(now, task_at, now if self._paused_at is None else self._paused_at)

    # -- the display of the jobs --------------------------------------------------------------------------

    def begin(self, name: str, size_bytes: int, duration_s: float | None = None, *, camera: str = "") -> None:
        """A recording is taken up."""
        task = Task(printable(name), size_bytes, self._clock(), printable(camera), duration_s)
        with self._lock:
            self._live = replace(self._live, task=task)

    def stage(self, text: str) -> None:
        """It enters a stage, named as it goes on: "transcoding", "verifying"."""
        self._renew(lambda task: replace(task, stage=printable(text), fraction=None, speed=None))

    def update(self, fraction: float, speed: float | None) -> None:
        """The stage is done by `fraction` (0..1), at `speed` seconds of playing time a second."""
        part = round(min(1.0, fraction), 2) if fraction > 0 else 0.0  # what is shown of it: each change is written
        self._renew(lambda task: replace(task, fraction=part, speed=None if speed is None else round(speed, 1)))

    def end(self, outcome: str = "") -> None:
        """The recording is done with, whatever came of it: "archived", "failed: ..."; "" is not told."""
        with self._lock:
            task = self._live.task
            last = self._live.last if task is None or not outcome else f"{task.name}: {printable(outcome)}"
            self._live = replace(self._live, task=None, last=last)

    def _renew(self, change: Callable[[Task], Task]) -> None:
        with self._lock:
            task = self._live.task
            if task is not None:
                self._live = replace(self._live, task=change(task))


class LiveFile:
    """Writes what the daemon does to its file, where it has changed. Belongs to the thread that steps it."""

    def __init__(self, state_dir: Path, state: LiveState) -> None:
        self._path = state_dir / LIVE_NAME
        self._state = state
        self._written: Live | None = None
        self._fails = False

    def step(self, now: float) -> float:
        """Write it where it has changed; returns when to look again. A disk that fails stops nothing."""
        live = self._state.value
        if live != self._written:
            self._write(live)
        return now + _TURN_S

    def _write(self, live: Live) -> None:
        try:
            write_over(self._path, to_text(live).encode("ascii"), 0o640)
        except (OSError, ResourceError) as error:
            if not self._fails:
                log.warning("%s: can't be written, and `status` will not tell what is done now: %s", self._path, error)
            self._fails = True
            return
        self._written, self._fails = live, False

    def close(self, *, ended: bool) -> None:
        """Take the file away where the daemon ends; else leave its last word there, for it goes on without this."""
        if not ended:
            self.step(0.0)
            return
        self._written = None
        with suppress(OSError, ResourceError):  # a file that stays names a process that is no more
            remove_file(self._path)


def find_daemon(state_dir: Path, proc: Path = _PROC) -> Daemon:
    """Whether a daemon works with this state directory, and what it does now. `proc` is for tests."""
    live = _read(state_dir / LIVE_NAME)
    if live is None:
        return NO_DAEMON
    return Daemon(_runs(live, proc), live)


def _read(path: Path) -> Live | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            return from_text(os.read(handle, _LONGEST).decode("utf-8", "replace"))
        finally:
            os.close(handle)
    except OSError:  # not there, or not for this user
        return None


def _runs(live: Live, proc: Path) -> bool:
    """Whether the process that wrote it is still the one of its number."""
    ticks = _start_ticks(live.pid, proc)
    return ticks == live.start_ticks if ticks is not None else proc is _PROC and _is_hidden(live.pid)


def _is_hidden(pid: int) -> bool:
    """Whether there is a process of another user that /proc does not show (its option hidepid)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _start_ticks(pid: int, proc: Path = _PROC) -> int | None:
    """When a process began, in clock ticks since boot; None where that can't be read. Source: proc(5), stat (22)."""
    try:
        text = (proc / str(pid) / "stat").read_text("utf-8", "replace")
        return int(text.rpartition(")")[2].split()[19])  # the name, in brackets, may hold anything
    except (OSError, ValueError, LookupError):
        return None
