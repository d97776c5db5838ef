"""Stock: what archive and trash hold, looked at a little at a time, and again only where something changed."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from archiverd.policy.inventory import Span
from archiverd.policy.model import Listing, Tree
from archiverd.policy.retention import Candidate, Demand, Sum
from archiverd.policy.stocktaking import (
    Contents,
    Shelf,
    archive_contents,
    joined,
    shelf_of,
    trash_contents,
    unknown_in_trash,
)
from archiverd.storage.catalog import Catalog
from archiverd.storage.discovery import FileDiscovery
from archiverd.storage.file_manager import FileManager

_TOP = PurePosixPath()


class Stock:
    """What the archive, or the trash, holds. Belongs to the thread of its catalog.

    A directory is a shelf, of which a summary is kept; what stands on it is listed when it may have to go. `clock`
    tells seconds since the epoch.
    """

    def __init__(
        self, tree: Tree, find: FileDiscovery, catalog: Catalog, files: FileManager, clock: Callable[[], float]
    ) -> None:  # fmt: skip
        self.tree = tree
        self._find = find
        self._catalog = catalog
        self._files = files
        self._clock = clock
        self._shelves: dict[PurePosixPath, Shelf] = {}
        self._together: tuple[dict[str, Span], dict[str, float]] | None = None  # None where it is to be added up

    # -- looking ------------------------------------------------------------------------------------------

    def renew(self) -> Iterator[None]:
        """Look at every directory in which something changed; pauses after each.

        Raises: StartupError where the root can't be opened and listed.
        """
        pending, seen = [_TOP], set()
        while pending:
            where = pending.pop()
            shelf = self._renewed(where)
            if shelf is not None:
                seen.add(where)
                pending += [where / name for name in reversed(shelf.below)]
            yield
        for where in self._shelves.keys() - seen:
            self._put(where, None)

    def touch(self, directories: Iterable[PurePosixPath]) -> None:
        """Look again at directories in which archiverd itself changed something, and at those above that are new."""
        for where in directories:
            for directory in (where, *where.parents):
                known = directory in self._shelves
                self.look(directory)
                if known:
                    break

    def _renewed(self, where: PurePosixPath) -> Shelf | None:
        shelf = self._shelves.get(where)
        if shelf is not None and shelf.is_as_it_was(self._find.modified_ns(where) or 0):
            return shelf
        self.look(where)
        return self._shelves.get(where)

    def look(self, where: PurePosixPath) -> tuple[Candidate, ...]:
        """Look at one directory; what of archiverd's stands there."""
        listing = self._find.listing(where)
        if listing is None:
            self._put(where, None)
            return ()
        contents = self._contents(listing)
        self._put(where, shelf_of(listing, contents, self._clock()))
        return contents.candidates

    def _contents(self, listing: Listing) -> Contents:
        if not listing.clips and not listing.snapshots:
            return Contents()
        now = self._clock()
        if self.tree is Tree.ARCHIVE:
            return archive_contents(listing, self._catalog.archives_in(listing.path), now)
        rows = self._catalog.trash_in(listing.path)
        return trash_contents(listing, rows, self._since(unknown_in_trash(listing, rows)), now)

    def _since(self, paths: Iterable[PurePosixPath]) -> dict[PurePosixPath, float]:
        """Since when files lie where they lie: a rename, and the end of a copy, set the ctime."""
        found = ((path, self._files.status(self.tree, path)) for path in paths)
        return {path: status.st_ctime for path, status in found if status is not None}

    def _put(self, where: PurePosixPath, shelf: Shelf | None) -> None:
        if shelf is None:
            self._shelves.pop(where, None)
        else:
            self._shelves[where] = shelf
        self._together = None

    # -- what is there ------------------------------------------------------------------------------------

    def cameras(self) -> dict[str, Span]:
        """All that archiverd holds in the tree, by camera."""
        return self._added_up()[0]

    def _added_up(self) -> tuple[dict[str, Span], dict[str, float]]:
        """By camera, over all shelves: what is held, and from when the oldest is that may go."""
        if self._together is None:
            cameras: dict[str, Span] = {}
            oldest: dict[str, float] = {}
            for shelf in self._shelves.values():
                for camera, span in shelf.cameras.items():
                    there = cameras.get(camera)
                    cameras[camera] = span if there is None else joined(there, span)
                for camera, at in shelf.oldest.items():
                    oldest[camera] = min(oldest.get(camera, at), at)
            self._together = cameras, oldest
        return self._together

    def kept(self) -> dict[str, Sum]:
        """Of that, what may not go: by why."""
        return _added(shelf.kept for shelf in self._shelves.values())

    def beside(self) -> dict[str, Sum]:
        """What is not archiverd's to remove: by why."""
        return _added(shelf.beside for shelf in self._shelves.values())

    def days(self) -> dict[int, int]:
        """Bytes by the day from which their age counts."""
        total: dict[int, int] = {}
        for shelf in self._shelves.values():
            for day, size in shelf.days.items():
                total[day] = total.get(day, 0) + size
        return total

    def leftovers(self) -> list[PurePosixPath]:
        """Parts, and what was set aside."""
        return [path for shelf in self._shelves.values() for path in shelf.leftovers]

    def bare(self) -> list[PurePosixPath]:
        """Where something of ours stood and nothing does: a death came between the last file and its directory."""
        empty = [where for where, shelf in self._shelves.items() if where.parts and shelf.is_bare]
        return [where for where in empty if self._catalog.knows_of(where, self.tree)]

    def is_due(self, demand: Demand) -> bool:
        """Whether something of it is in demand."""
        return any(demand.wants(camera, oldest_at) for camera, oldest_at in self._added_up()[1].items())

    def candidates(self, demand: Demand) -> Iterator[Candidate]:
        """What is in demand and may go, oldest first. A directory is listed when its turn comes, and not before."""
        wanted = sorted(
            (min(shelf.oldest.values()), where)
            for where, shelf in self._shelves.items()
            if any(demand.wants(camera, oldest_at) for camera, oldest_at in shelf.oldest.items())
        )
        heap: list[tuple[float, PurePosixPath, Candidate]] = []
        for first_at, where in wanted:
            while heap and heap[0][0] < first_at:
                yield heapq.heappop(heap)[2]
            for one in self.look(where):
                if not one.keep:
                    heapq.heappush(heap, (one.at, one.path, one))
        while heap:
            yield heapq.heappop(heap)[2]


def _added(counts: Iterable[Mapping[str, Sum]]) -> dict[str, Sum]:
    total: dict[str, Sum] = {}
    for of_shelf in counts:
        for why, one in of_shelf.items():
            total[why] = total.get(why, Sum()) + one
    return total
