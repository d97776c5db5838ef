"""Sweep: a look through the source tree for what nobody waits for: orphan snapshots and empty date directories."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from archiverd.policy.model import FoundFile, Listing, Tree
from archiverd.policy.name_patterns import NamePatterns
from archiverd.policy.pairing import Near
from archiverd.policy.retention import Candidate, reckoned_at
from archiverd.storage.catalog import Catalog
from archiverd.storage.discovery import FileDiscovery
from archiverd.storage.file_manager import FileManager
from archiverd.trees import Keeps

ORPHAN = "a snapshot whose recording never came"

_ORPHAN_AFTER_S = 86_400.0
_PAST = timedelta(days=2)  # after which no camera writes into the directory of a day


class Sweep:
    """Goes through the source tree once for each `look`. Belongs to the thread of its catalog.

    `names` are the source tree's; `clock` tells seconds since the epoch.
    """

    def __init__(
        self, find: FileDiscovery, catalog: Catalog, files: FileManager, names: NamePatterns, window_s: float,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._find = find
        self._catalog = catalog
        self._files = files
        self._names = names
        self._window_s = window_s
        self._clock = clock
        self.orphans: tuple[Candidate, ...] = ()  # oldest first
        self.empty: tuple[PurePosixPath, ...] = ()  # directories of days that are past, where recordings stood

    def look(self) -> Iterator[None]:
        """Go through the tree; pauses after each directory.

        Raises: StartupError where the root can't be opened and listed.
        """
        orphans: list[Candidate] = []
        empty: list[PurePosixPath] = []
        pending = [PurePosixPath()]
        while pending:
            listing = self._find.listing(pending.pop())
            if listing is not None:
                pending += [listing.path / name for name in reversed(listing.below)]
                orphans += self._orphans(listing)
                if self._is_empty(listing):
                    empty.append(listing.path)
            yield
        self.orphans = tuple(sorted(orphans, key=lambda one: (one.at, one.path)))
        self.empty = tuple(empty)

    def forget(self) -> None:
        """Forget what was seen: by the next look it may be otherwise."""
        self.orphans = self.empty = ()

    def _is_empty(self, listing: Listing) -> bool:
        """Whether recordings stood there, on a day that is past, and none does now; others' files may."""
        if listing.clips or listing.snapshots or listing.below or not listing.complete or not listing.path.parts:
            return False
        return is_past(self._names, listing.path, self._clock()) and self._catalog.knows_of(listing.path)

    def _orphans(self, listing: Listing) -> list[Candidate]:
        now = self._clock()
        old = [file for file in listing.snapshots if now - _at(file, now) > _ORPHAN_AFTER_S]
        if not old or not listing.complete:
            return []
        known = self._catalog.known_in(listing.path).snapshots
        asked = [file for file in old if (file.path.name, file.fingerprint) not in known]
        if not asked:
            return []
        cameras = {file.name.camera for file in asked}
        spans = Near(asked, self._window_s).spans
        done = [clip for first, last in spans for clip in self._catalog.done_between(first, last, cameras)]
        alone = self._find.pairs(asked, done).orphans
        keeps = Keeps(self._files, Tree.SOURCE)
        return [_candidate(file, now) for file in alone if not keeps.protect(file.path)]


def _candidate(file: FoundFile, now: float) -> Candidate:
    return Candidate(
        Tree.SOURCE, file.path, file.name.camera, _at(file, now), file.fingerprint.size,
        ((file.path.name, file.fingerprint),), only_copy=True, due=ORPHAN,
    )  # fmt: skip


def is_past(names: NamePatterns, where: PurePosixPath, now: float) -> bool:
    """Whether a directory is, by its path, of days that are over; one whose path tells no day never is."""
    folder = names.folder(where.parts)
    if folder is None:
        return False
    today = datetime.fromtimestamp(now)
    return not folder.may_hold(today - _PAST, datetime.max.replace(microsecond=0))


def _at(file: FoundFile, now: float) -> float:
    mtime_s = file.fingerprint.mtime_ns / 1e9
    return max(reckoned_at(file.name.taken_at, mtime_s, now, now), min(mtime_s, now))
