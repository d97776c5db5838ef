"""Inbox: paths that are to be looked at, from whoever saw something there to the one who looks."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from types import TracebackType
from typing import Self

from archiverd.policy.model import FoundFile

_CLOSED = 1
_DIRECTORY = 2


@dataclass(frozen=True, slots=True)
class Seen:
    """Something was seen at a path below the source root: what stands there now is to be looked at."""

    path: PurePosixPath
    closed: bool  # a close event was seen: its writer has closed it
    directory: bool = False  # a directory that came whole: what it holds is to be looked at


class Inbox:
    """A queue in which each path stands once. Any thread may put and take; what it holds is lost with the process.

    From `with` to its end it has a descriptor; put and take also work outside, where nothing wakes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._order: deque[str] = deque()
        self._seen: dict[str, int] = {}
        self._found: dict[str, FoundFile] = {}
        self._descriptor = -1

    def __enter__(self) -> Self:
        with self._lock:
            self._descriptor = os.eventfd(bool(self._seen or self._found), os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back. What is put from now on wakes nobody."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def put(self, path: PurePosixPath | str, *, closed: bool = False, directory: bool = False) -> None:
        """Add a path below the source root; one that stands here already keeps its place. Never blocks, never raises.

        Event handlers run under their observer's lock, so this takes the same short time however much is waiting.
        """
        key = os.fspath(path)
        with self._lock, self._waking():
            self._found.pop(key, None)
            before = self._seen.get(key)
            self._seen[key] = (before or 0) | closed * _CLOSED | directory * _DIRECTORY
            if before is None:
                self._order.append(key)

    def put_found(self, clips: Iterable[FoundFile]) -> None:
        """Add clips that nobody knows, as they were found: to be entered without another look.

        One at whose path something was seen is to be looked at, and that is enough.
        """
        with self._lock, self._waking():
            self._found.update((clip.key, clip) for clip in clips if clip.key not in self._seen)

    def take(self, most: int) -> list[Seen]:
        """At most so many, those first that wait longest; they are gone from here."""
        taken = []
        with self._lock, self._waking():
            for _ in range(min(most, len(self._order))):
                key = self._order.popleft()
                taken.append((key, self._seen.pop(key)))
        return [Seen(PurePosixPath(key), bool(was & _CLOSED), bool(was & _DIRECTORY)) for key, was in taken]

    def take_found(self, most: int) -> list[FoundFile]:
        """At most so many of the clips that were found, those first that wait longest; they are gone from here."""
        with self._lock, self._waking():
            keys = list(islice(self._found, most))
            return [self._found.pop(key) for key in keys]

    @contextmanager
    def _waking(self) -> Iterator[None]:
        """Keep the descriptor readable while something is in it."""
        before = bool(self)
        yield
        if self._descriptor >= 0 and before is not bool(self):
            if before:
                os.eventfd_read(self._descriptor)
            else:
                os.eventfd_write(self._descriptor, 1)

    def fileno(self) -> int:
        """A descriptor that is readable while something is in it: to poll beside others, never to read or close.

        Raises: ValueError outside of `with`.
        """
        if self._descriptor < 0:
            raise ValueError("the inbox is not open")
        return self._descriptor

    def __len__(self) -> int:
        return len(self._order) + len(self._found)
