"""Scanner: looks through the source tree, a little at a time, for what nobody told of."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from archiverd.errors import ArchiverError, ResourceError, StartupError
from archiverd.policy.model import FoundFile, Listing
from archiverd.policy.name_patterns import NamePatterns
from archiverd.policy.scanning import (
    Differences,
    Looked,
    Reach,
    Timetable,
    differences,
    due,
    looked,
    next_due,
    pace_of,
    recent,
)
from archiverd.policy.watching import Observing
from archiverd.service.inbox import Inbox
from archiverd.storage.catalog import Catalog, CatalogLostError
from archiverd.storage.discovery import FileDiscovery

log = logging.getLogger(__name__)

_STEP_S = 0.5  # of work in one step, and what one directory takes
_ENOUGH = 20_000  # paths in the inbox: a tree that is new does not go into memory at once
_TURN_S = 1.0  # until it is seen that something was requested, or the inbox was emptied
_AGAIN_S = 5.0  # after a look that failed
_MOST_RECENT = 1024  # directories
_MOST_LOOKED = 32 * _MOST_RECENT  # kept in mind, in some 15 MiB, before all but the recent are forgotten
_MOST_TOLD = 50_000  # snapshots that belong to nothing


@dataclass(frozen=True, slots=True)
class Scanned:
    """How a look through the whole tree went."""

    at: float  # it ended, in seconds since the epoch
    directories: int
    files: int
    took_s: float  # of work


@dataclass(slots=True)
class _Pass:
    """A look through the tree that is not over yet."""

    reach: Reach
    pending: list[PurePosixPath]  # directories still to be read; the last comes first
    expected: list[PurePosixPath] | None = None  # directories of rows, still to be seen; None before the others were
    directories: int = 0
    files: int = 0
    took_s: float = 0.0


class Scanner:
    """Puts into `inbox` what stands in the source tree and the catalog does not know, or knows otherwise.

    `catalog` is a connection of the thread that calls `step`, and is only read. `verify` raises ResourceError where
    the root is not the one that is ours: then nothing counts as missing. `old_after_s`: see
    `policy.planning.follows_after_s`. `clock` counts seconds.
    """

    def __init__(
        self, find: FileDiscovery, catalog: Catalog, inbox: Inbox, names: NamePatterns, *, verify: Callable[[], None],
        old_after_s: float, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._find = find
        self._catalog = catalog
        self._inbox = inbox
        self._names = names
        self._verify = verify
        self._old_after_s = old_after_s
        self._clock = clock
        self._observing = Observing.INOTIFY
        self._times = Timetable()
        self._requested = False
        self._all: _Pass | None = None
        self._recent: _Pass | None = None
        self._looked: dict[PurePosixPath, Looked] = {}
        self._read_to: int | None = None  # of the history: what was before is seen at the first look
        self._told: OrderedDict[int, None] = OrderedDict()  # the oldest is forgotten first
        self._failing = False
        self.last_full: Scanned | None = None

    def request(self) -> None:
        """Have the whole tree looked through from the beginning, as soon as may be. Any thread."""
        self._requested = True

    def observe(self, observing: Observing) -> None:
        """Go at the pace for this way of noticing new files. The thread of `step`."""
        self._observing = observing

    @property
    def observing(self) -> Observing:
        """How new files are noticed, as far as the pace is set for that. Any thread."""
        return self._observing

    @property
    def is_over(self) -> bool:
        """Whether the whole tree was looked through and nothing was requested since. Any thread."""
        return self.last_full is not None and self._all is None and not self._requested

    def step(self, now: float) -> float:
        """Work for about half a second at most; returns when it is to be called again. Seconds since the epoch.

        Raises: CatalogLostError.
        """
        began = self._clock()
        try:
            self._begin(now)
            current = self._recent or self._all
            if current is None:
                return min(next_due(self._times, pace_of(self._observing), now), now + _TURN_S)
            if len(self._inbox) >= _ENOUGH:
                return now + _TURN_S
            ended = self._go_on(current, began + _STEP_S, now)
        except CatalogLostError:
            raise
        except (StartupError, ResourceError, OSError) as error:
            return self._fail(error, now)
        current.took_s += self._clock() - began
        self._failing = False
        if ended:
            self._end(current, now)
        return now

    def _begin(self, now: float) -> None:
        """Begin what is due. A recent look goes before a whole one that takes its time."""
        pace = pace_of(self._observing)
        beginning = self._all, self._recent
        if self._all is None and due(replace(self._times, requested=self._requested), pace, now) is Reach.ALL:
            self._requested = False
            self._all = _Pass(Reach.ALL, [PurePosixPath()])
        if self._recent is None and self._looked and due(self._times, pace, now) is Reach.RECENT:
            self._recent = _Pass(Reach.RECENT, sorted(recent(self._looked, _MOST_RECENT, now)))
        if (self._all, self._recent) != beginning:
            self._follow_catalog()

    def _follow_catalog(self) -> None:
        """Have directories read anew of whose recordings the catalog says something else by now."""
        if self._read_to is None:
            self._read_to = self._catalog.last_change()
            return
        self._read_to, touched = self._catalog.sources_touched_since(self._read_to)
        for where in self._looked.keys() & touched if touched is not None else set(self._looked):
            self._looked[where] = replace(self._looked[where], quiet=False)

    def _go_on(self, current: _Pass, until: float, now: float) -> bool:
        """Read directories until that time of the clock; whether all are read."""
        while current.pending:
            self._look_at(current, current.pending.pop(), now)
            if self._clock() >= until or len(self._inbox) >= _ENOUGH:
                return False
        if current.reach is Reach.RECENT:
            return True
        if current.expected is None:
            current.expected = self._catalog.unfinished_directories()
        while current.expected:
            where = current.expected.pop()
            if self._find.modified_ns(where) is None:
                self._compare(_nothing_at(where), now)
            if self._clock() >= until:
                return False
        return True

    def _look_at(self, current: _Pass, where: PurePosixPath, now: float) -> None:
        """Read one directory, unless it is known to be as it was, and nothing was to be done there.

        In a look through the whole tree that is seen by the files themselves: what is written into one of them changes
        nothing about the directory. In between, by when something was made, renamed or removed there.
        """
        before = self._looked.get(where)
        current.directories += 1
        recent = current.reach is Reach.RECENT
        if before is not None and recent and self._is_unmodified(where, before, now):
            return
        mark = self._find.mark(where)  # before it is read: what comes meanwhile gives another one
        if before is not None and before.quiet and before.mark == mark is not None:
            self._looked[where] = replace(before, at=now)
            current.files += before.files
            current.pending += [] if recent else [where / name for name in before.below]
            return
        listing = self._find.listing(where)
        if listing is None:
            self._looked.pop(where, None)
            self._compare(_nothing_at(where), now)
            return
        current.files += len(listing.clips) + len(listing.snapshots)
        found = self._compare(listing, now)
        known = before.below if before is not None and recent else frozenset()
        current.pending += [where / name for name in listing.below if name not in known]
        self._looked[where] = looked(listing, found, self._old_after_s, now, mark)
        if len(self._looked) > _MOST_LOOKED:
            self._forget_old(now)

    def _is_unmodified(self, where: PurePosixPath, before: Looked, now: float) -> bool:
        if not before.quiet or now - before.at >= pace_of(self._observing).again_s:
            return False
        return self._find.modified_ns(where) == before.modified_ns

    def _compare(self, listing: Listing, now: float) -> Differences:
        """Put into the inbox what of a directory is to be looked at."""
        folder = self._names.folder(listing.path.parts)
        if folder is None or not folder.holds_files:
            return Differences()
        known = self._catalog.known_in(listing.path, unfinished=not listing.clips)
        found = differences(listing, known, self._names, now)
        self._inbox.put_found(found.unknown)
        self._put(found.clips)
        if found.missing:
            self._verify()
            self._put(found.missing)
        self._put(file.path for file in found.snapshots if self._is_new(file, now))
        return found

    def _is_new(self, snapshot: FoundFile, now: float) -> bool:
        """Whether a snapshot of nothing was not told of yet, or only young: old it may follow what went before."""
        old = now - snapshot.fingerprint.mtime_ns / 1e9 >= self._old_after_s
        key = hash((snapshot.key, snapshot.fingerprint, old))
        if key in self._told:
            return False
        self._told[key] = None
        if len(self._told) > _MOST_TOLD:
            self._told.popitem(last=False)
        return True

    def _put(self, paths: Iterable[PurePosixPath]) -> None:
        for path in paths:
            self._inbox.put(path)

    def _forget_old(self, now: float) -> None:
        kept = recent(self._looked, _MOST_RECENT, now)
        self._looked = {path: seen for path, seen in self._looked.items() if path in kept}

    def _end(self, ended: _Pass, now: float) -> None:
        if ended.reach is Reach.RECENT:
            self._recent = None
            self._times = replace(self._times, recent_at=now)
            return
        self._all = None
        self._times = replace(self._times, all_at=now, recent_at=now)
        self.last_full = Scanned(now, ended.directories, ended.files, ended.took_s)
        log.debug("looked through %d directories, %d files in %.1f s", ended.directories, ended.files, ended.took_s)

    def _fail(self, error: ArchiverError | OSError, now: float) -> float:
        """Begin again a little later; where the root is lost, others tell and end it."""
        if not self._failing:
            log.warning("the source tree can't be looked through now: %s", error)
        self._failing = True
        if self._all is not None:
            self._requested = True
        self._all = self._recent = None
        return now + _AGAIN_S


def _nothing_at(where: PurePosixPath) -> Listing:
    """A directory that is not there."""
    return Listing(where, 0, (), (), frozenset(), (), complete=True)
