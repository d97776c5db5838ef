"""Watcher: the kernel's word of what happens in the source tree, by watchdog, and whether it is still to be trusted.

watchdog 7.1.0 makes three threads of it: one reads the kernel's events, one groups them, one hands them on. Each may
die, and none of the others notices; a queue that overflows it answers by a rebuild that overflows it again; a directory
that it may not watch for want of watches it passes over. So its classes are taken apart here, far enough to see all
three.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
    inotify_add_watch,
)

from archiverd.policy.naming import is_own_at_top, may_matter, printable
from archiverd.policy.watching import Doubt, DoubtKind, nothing_watched, watch_limit
from archiverd.service.inbox import Inbox

_EVENTS: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileMovedEvent,
    FileCreatedEvent,  # a file that is renamed or linked into the tree: it is closed no more
    DirCreatedEvent,
    DirMovedEvent,
]
_REMEMBERED = 32  # files of other names that were closed last, and may be renamed to a clip next
_LIMITS = Path("/proc/sys/fs/inotify")


class Watcher:
    """Puts into `inbox` what happens below `root`, from `start` to `stop`; to be used once.

    `exclude` are directories of which nothing is told: archive, trash and state stand in the source tree by default,
    and each commit of the catalog makes a file there. `start`, `stop` and `doubts` are for one thread.
    """

    def __init__(self, root: Path, exclude: Sequence[Path], inbox: Inbox) -> None:
        self._root = root
        self._exclude = tuple(exclude)
        self._inbox = inbox
        self._reader: _Reader | None = None
        self._observer: _Observer | None = None
        self._identity: tuple[int, int] | None = None  # st_dev and st_ino of the root that is watched
        self._failed: Doubt | None = None

    @property
    def watching(self) -> bool:
        """Whether every directory is watched that may be: what comes from now on is told."""
        return self._observer is not None and self._observer.watching

    def start(self) -> None:
        """Begin to watch. Returns at once; that it failed, or that it is done, is told by `doubts` and `watching`."""
        # A symlink is not watched itself, and nothing that comes directly into what it leads to.
        root = Path(os.path.realpath(self._root))
        self._failed = self._look_at_root(root)
        if self._failed is not None:
            return
        _quiet_watchdog()
        try:
            self._reader = _Reader()
        except OSError as error:
            self._failed = _not_begun(error, root)
            return
        self._observer = _Observer(self._reader, root, _Handler(root, self._exclude, self._inbox))
        self._reader.start()
        self._observer.start()

    def _look_at_root(self, root: Path) -> Doubt | None:
        """Note which directory the root is; the doubt where it can't be looked at."""
        try:
            status = root.stat()
            os.close(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError as error:
            return _of_root(error, root)
        identity = status.st_dev, status.st_ino
        if self._identity not in (None, identity):
            message = f"{printable(root)}: is not the directory that is watched"
            return Doubt(DoubtKind.REPLACED, message, "")
        self._identity = identity
        return None

    def stop(self, timeout_s: float) -> tuple[str, ...]:
        """Watch no more. Returns the names of the threads that did not end within `timeout_s` seconds.

        These hang in the kernel, on a disk that does not answer; they hold up nobody, and end with the process.
        """
        observer, reader = self._observer, self._reader
        if observer is None or reader is None:
            return ()
        reader.stopping = True
        deadline = time.monotonic() + timeout_s
        # watchdog's own stop waits for its threads without an end.
        stopper = threading.Thread(target=observer.stop, name="watcher-stop", daemon=True)
        stopper.start()
        threads = (stopper, observer, *observer.emitting, reader)
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        return tuple(thread.name for thread in threads if thread.is_alive())

    def doubts(self) -> tuple[Doubt, ...]:
        """Why not all that happens may be told, the gravest first; empty where all is well, or still beginning."""
        if self._failed is not None:
            return (self._failed,)
        observer, reader = self._observer, self._reader
        if observer is None or reader is None:
            return ()
        root = observer.root
        doubt = self._look_at_root(root) or _ended(observer, reader)
        if doubt is not None:
            return (doubt,)
        return tuple(self._of_events(observer, reader)) if observer.watching else ()

    def _of_events(self, observer: _Observer, reader: _Reader) -> Iterator[Doubt]:
        root = printable(observer.root)
        if not reader.watches(observer.root):
            yield Doubt(DoubtKind.DEAF, f"{root}: is not watched any more: unmounted, mounted over, or made anew", "")
        if reader.overflowed:
            message = f"{root}: more happened at once than the kernel keeps; some of it was not told"
            yield Doubt(DoubtKind.OVERFLOW, message, "")
        missed = reader.missed
        if missed:
            yield watch_limit(reader.missed_count, printable(os.fsdecode(missed)), _limit("max_user_watches"))


def _quiet_watchdog() -> None:
    """Have watchdog keep to itself what `doubts` tells."""
    # Each time directories are made quickly, it warns in one line that lists all it watches: a megabyte.
    warnings.filterwarnings("ignore", r"Callback with id '\d+' (already exists|does not exist)", RuntimeWarning)
    logging.getLogger("watchdog").setLevel(logging.CRITICAL)


def _of_root(error: OSError, root: Path) -> Doubt:
    """The doubt about a root that can't be looked at."""
    where = printable(root)
    if error.errno in (errno.EACCES, errno.EPERM):
        message = f"{where}: can't be read: {error.strerror}"
        return Doubt(DoubtKind.UNREADABLE, message, "Give archiverd's user the right to read and search it")
    message = f"{where}: can't be looked at: {error.strerror}"
    return Doubt(DoubtKind.GONE, message, "Check that it exists and is mounted")


def _not_begun(error: Exception, root: Path) -> Doubt:
    """The doubt about a watching that could not begin."""
    number = error.errno if isinstance(error, OSError) else None
    match number:
        case errno.EMFILE | errno.ENFILE:
            return nothing_watched(printable(root), "max_user_instances", _limit("max_user_instances"))
        case errno.ENOSPC:
            return nothing_watched(printable(root), "max_user_watches", _limit("max_user_watches"))
        case errno.ENOENT | errno.ENOTDIR | errno.EACCES | errno.EPERM:
            assert isinstance(error, OSError)
            return _of_root(error, root)
        case _:
            return Doubt(DoubtKind.NOT_STARTED, f"{printable(root)}: can't be watched: {error}", "")


def _ended(observer: _Observer, reader: _Reader) -> Doubt | None:
    """The doubt about a thread that is not there any more."""
    if not observer.watching and observer.ended_by is not None:
        return _not_begun(observer.ended_by, observer.root)
    threads = (reader, *observer.emitting) if observer.watching else (reader,)
    for thread in (*threads, observer):
        if not thread.is_alive():
            why = getattr(thread, "ended_by", None)
            message = f"{printable(observer.root)}: the thread {thread.name} ended" + (f": {why!r}" if why else "")
            return Doubt(DoubtKind.ENDED, message, "")
    return None


def _limit(name: str) -> int | None:
    try:
        return int((_LIMITS / name).read_text("ascii"))
    except (OSError, ValueError):  # no /proc here: the remedy does without
        return None


class _StopError(Exception):
    """Ends a walk over directories that is not needed any more."""


class _Reader(InotifyFD):
    """The thread that reads the kernel's events. It keeps what the health check asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "watcher-read"
        self.stopping = False
        self.overflowed = False
        self._first: WatchDescriptor | None = None  # of the root
        self.missed = b""  # the first directory that could not be watched for want of watches
        self.missed_count = 0
        self.ended_by: Exception | None = None
        os.set_inheritable(self._inotify_fd, False)

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:  # noqa: BLE001  (a thread's end: `doubts` tells why)
            self.ended_by = error

    def _add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
        if self.stopping:  # soon the number of our descriptor may be another's
            raise _StopError
        try:
            descriptor = super()._add_callback(path, mask, callback, id_)
        except OSError as error:
            if error.errno == errno.ENOSPC:  # watchdog passes over the directory
                self.missed = self.missed or path
                self.missed_count += 1
            raise
        if descriptor < 0:  # watchdog takes "no right to it" for an answer, also for the root
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        if self._first is None:
            self._first = descriptor
        return descriptor

    def handle_event(self, event: InotifyEvent) -> None:
        if event.is_queue_overflow:
            # Not watchdog's rebuild in place: among many directories it overflows again, without an end.
            self.overflowed = True
            return
        super().handle_event(event)

    def watches(self, root: Path) -> bool:
        """Whether the watch that was made first is still there, and on the directory that now stands at this path.

        The kernel answers the wish to watch what is watched already with the number it has. Source: inotify(7).
        """
        asked = InotifyConstants.IN_CREATE | InotifyConstants.IN_ONLYDIR | InotifyConstants.IN_MASK_ADD
        with self._lock:
            return not self._closed and inotify_add_watch(self._inotify_fd, os.fsencode(root), asked) == self._first


class _Emitter(InotifyEmitter):
    """The thread that makes watchdog's events of the kernel's."""

    ended_by: Exception | None = None

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:  # noqa: BLE001  (a thread's end: `doubts` tells why)
            self.ended_by = error


class _Observer(BaseObserver):
    """The thread that hands events on. It begins by having all directories watched, which may take a while."""

    def __init__(self, reader: _Reader, root: Path, handler: FileSystemEventHandler) -> None:
        super().__init__(_Emitter, inotify_fd=reader)
        self.name = "watcher"
        self.root = root
        self.watching = False
        self.ended_by: Exception | None = None
        self._reader = reader
        self.schedule(handler, str(root), recursive=True, event_filter=_EVENTS)
        self.emitting = tuple(self.emitters)
        for emitter in self.emitting:
            emitter.name = "watcher-emit"

    def on_thread_start(self) -> None:
        """Not in the thread that starts this one: there may be many directories, on a disk that sleeps."""

    def on_thread_stop(self) -> None:
        super().on_thread_stop()
        self._reader.stop()
        self._reader.join()

    def run(self) -> None:
        try:
            for emitter in self.emitting:
                emitter.start()
            self.watching = True
            super().run()
        except Exception as error:  # noqa: BLE001  (a thread's end: `doubts` tells why)
            self.ended_by = error


class _Handler(FileSystemEventHandler):
    """Hands paths on, by their names alone. Runs under the observer's lock."""

    def __init__(self, root: Path, exclude: Sequence[Path], inbox: Inbox) -> None:
        self._prefix = f"{root}/" if str(root) != "/" else "/"
        inside = (path.relative_to(root) for path in map(_resolved, exclude) if path.is_relative_to(root))
        self._excluded = tuple(f"{path}/" for path in inside)
        self._inbox = inbox
        self._closed: deque[str] = deque(maxlen=_REMEMBERED)

    def dispatch(self, event: FileSystemEvent) -> None:
        match event:
            case DirCreatedEvent():
                self._put(event.src_path, directory=True)
            case DirMovedEvent():
                self._put(event.dest_path, directory=True)
            case FileMovedEvent():
                self._put(event.dest_path, closed=event.src_path in self._closed)
            case FileClosedEvent():
                self._put(event.src_path, closed=True)
            case _:
                self._put(event.src_path)

    def _put(self, path: bytes | str, *, closed: bool = False, directory: bool = False) -> None:
        assert isinstance(path, str), "watchdog tells paths as the root was given"
        if not path.startswith(self._prefix):
            return
        relative = path[len(self._prefix) :]
        if f"{relative}/".startswith(self._excluded) or is_own_at_top(relative.partition("/")[0]):
            return
        if directory or may_matter(relative.rpartition("/")[2]):
            self._inbox.put(relative, closed=closed, directory=directory)
        elif closed:
            self._closed.append(path)


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))
