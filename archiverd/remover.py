"""Remover: carries the plan of a cleanup out, a moment at a time, and tells the catalog.

What lies in one directory is removed together: claimed in the catalog where a worker may count on it, set aside,
looked at, and only then unlinked or moved to the trash.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TypeVar

from archiverd.policy import naming
from archiverd.policy.model import Place, Trashed, Tree
from archiverd.policy.name_patterns import NamePatterns
from archiverd.policy.retention import Cause, CleanupPlan, Disk, Removal, Sum, way_words
from archiverd.policy.stop import StopToken
from archiverd.stock import Stock
from archiverd.storage.catalog import Catalog, ClaimLostError
from archiverd.storage.clearing import NOT_THERE, PROTECTED, Cleared, ClearingFailed
from archiverd.storage.file_manager import FileManager
from archiverd.sweep import is_past

log = logging.getLogger(__name__)

_SLICE_S = 0.5  # of work between two pauses
_BATCH = 5000  # files that are claimed and removed together
_SOURCES = 20  # of them in the source tree, each of which is a commit of its own
_STALE_S = 3600.0  # of a part that nobody owns and nobody writes
_ORDER = (Tree.TRASH, Tree.SOURCE, Tree.ARCHIVE)
_UNFINISHED = "left unfinished by a job that is no more"


@dataclass(slots=True)
class Done:
    """What a cleanup has done so far."""

    removed: dict[tuple[Tree, str, bool], Sum] = field(
        default_factory=dict
    )  # by tree, reason, and whether to the trash
    freed: dict[Tree, int] = field(default_factory=dict)  # bytes on the disk of the tree
    refused: dict[Place, str] = field(default_factory=dict)  # what could not be removed, and why
    ended_early: bool = False

    @property
    def total(self) -> Sum:
        """All that was removed."""
        total = Sum()
        for one in self.removed.values():
            total += one
        return total


class Moment:
    """A moment of work, so that others have theirs. Whoever calls begins each."""

    def __init__(self, stop: StopToken, clock: Callable[[], float] = time.monotonic) -> None:
        self._stop = stop
        self._clock = clock
        self._until = 0.0

    def begin(self) -> None:
        """The next moment begins now."""
        self._until = self._clock() + _SLICE_S

    def go_on(self) -> bool:
        """Whether there is time for one more file."""
        return not self._stop.requested and self._clock() < self._until

    def is_over(self) -> bool:
        """Whether to pause. Raises: Interrupted on a stop."""
        self._stop.check()
        return self._clock() >= self._until


@dataclass(frozen=True, slots=True)
class CleaningTools:
    """What a cleanup works with; all belong to one thread."""

    catalog: Catalog
    files: FileManager
    verify: Callable[[Tree], None]  # raises ResourceError where a root is not the one that is ours
    stocks: Mapping[Tree, Stock]  # of archive and trash
    names: NamePatterns  # of the source tree
    moment: Moment
    stop: StopToken
    take_back: Callable[[], None]  # lets go of what a cleanup that failed could not let go of itself
    clock: Callable[[], float]  # seconds since the epoch


class Remover:
    """Removes what is planned."""

    def __init__(self, tools: CleaningTools) -> None:
        self._tools = tools
        self._told: dict[Place, str] = {}  # what could not be removed by the last pass either

    def apply(
        self, plan: CleanupPlan, disks: Sequence[Disk], empty: Iterable[PurePosixPath], done: Done
    ) -> Generator[None, None, None]:  # fmt: skip
        """Carry a plan out, and clear away the directories of past days that are left empty.

        Of the source tree those are in `empty`. `done` tells how far it is.

        What is removed for want of room is removed oldest first, and no further than the room that was counted asks.
        Raises: ResourceError where the machine fails or a root is not ours any more; Interrupted.
        """
        self._see_roots()
        if any(disk.wanted for disk in disks):
            self._remove_stale_parts(done)
        batches = deque(_batches(plan.removals))
        changed: set[Place] = set()
        while batches:
            if self._tools.moment.is_over():
                yield
                self._see_roots()
            batch = batches.popleft()
            if batch[0].cause is Cause.ROOM and _has_room(batch[0].candidate.tree, disks, done):
                continue
            rest = self._remove(batch, done, changed)
            if rest:
                batches.appendleft(rest)
        changed |= {Place(Tree.SOURCE, where) for where in empty}
        changed |= {Place(stock.tree, where) for stock in self._tools.stocks.values() for where in stock.bare()}
        for place in sorted(changed, key=lambda one: (one.tree, one.path)):
            self._clear_away(place)
            if self._tools.moment.is_over():
                yield
        self._told = dict(done.refused)

    def _see_roots(self) -> None:
        for tree in Tree:
            self._tools.verify(tree)

    def _remove(self, batch: Sequence[Removal], done: Done, changed: set[Place]) -> list[Removal]:
        """Remove what lies in one directory; what the moment was too short for."""
        tree, where = batch[0].candidate.tree, batch[0].candidate.path.parent
        job = secrets.token_hex(6)
        unprotected = self._unprotected(batch)
        claimed = self._claim(unprotected, job) if unprotected else []
        if not claimed:
            return []
        # A clip after its snapshots, where they go one by one: while it stands, so does what they belong to.
        files = [file for removal in claimed for file in reversed(removal.candidate.files)]
        changed.add(Place(tree, where))
        cleared, failed = Cleared({}, {}), True
        self._tools.moment.begin()  # a disk that takes its time for the claim has its files removed all the same
        try:
            cleared = self._tools.files.clear(
                tree, where, files, job, to_trash=batch[0].to_trash, go_on=_at_least_once(self._tools.moment.go_on),
                stop=self._tools.stop,
            )  # fmt: skip
            failed = False
        except ClearingFailed as error:  # what is gone is gone
            cleared = error.cleared
            raise
        finally:
            gone = [removal for removal in claimed if _is_gone(removal, cleared)]
            self._commit(claimed, gone, cleared, job, failed=failed)
            self._count(gone, cleared, done)
        changed |= {Place(Tree.TRASH, path.parent) for path in cleared.moved.values()}
        for removal in claimed:
            self._refuse(removal, cleared, done)
        return [removal for removal in claimed if not _is_gone(removal, cleared) and not _refused(removal, cleared)]

    def _unprotected(self, batch: Sequence[Removal]) -> list[Removal]:
        """Those that nobody has protected since it was planned, which may be a while ago."""
        tree, where = batch[0].candidate.tree, batch[0].candidate.path.parent
        if not any(naming.is_keep_name(name) for name in self._tools.files.names(tree, where)):
            return list(batch)
        stock = self._tools.stocks.get(tree)
        if stock is not None:
            free = {one.path for one in stock.look(where) if not one.keep}
            return [removal for removal in batch if removal.candidate.path in free]
        keep_beside = self._tools.files.keep_beside
        return [removal for removal in batch if keep_beside(tree, removal.candidate.path) is None]

    # -- the catalog --------------------------------------------------------------------------------------

    def _claim(self, batch: Sequence[Removal], job: str) -> list[Removal]:
        """Those that nobody works on. What is claimed is nobody else's to work on, or to count on."""
        match batch[0].candidate.tree:
            case Tree.TRASH:
                return list(batch)
            case Tree.ARCHIVE:
                wanted = [(removal.candidate.recording or 0, removal.reason) for removal in batch]
                claimed = self._tools.catalog.claim_removal(wanted, job)
                return [removal for removal in batch if removal.candidate.recording in claimed]
            case Tree.SOURCE:
                return [removal for removal in batch if self._claim_source(removal, job)]

    def _claim_source(self, removal: Removal, job: str) -> bool:
        one = removal.candidate
        if one.recording is None:  # a recording may have come meanwhile that it belongs to
            theirs = self._tools.catalog.known_in(one.path.parent).snapshots
            return not any(file in theirs for file in one.files)
        try:
            row = self._tools.catalog.by_id(one.recording)
            self._tools.catalog.claim_quarantined(row, job, removal.reason)
        except ClaimLostError as error:  # somebody has it tried again
            log.debug("%s", error)
            return False
        return True

    def _commit(
        self, claimed: Sequence[Removal], gone: Sequence[Removal], cleared: Cleared, job: str, *, failed: bool
    ) -> None:
        """Have the catalog know what is gone, and give back what is not.

        Of a batch that `failed` a file may have left its place, and nobody could say so. It stays claimed, as after a
        death: the next start looks what became of it.
        """
        now, catalog = self._tools.clock(), self._tools.catalog
        match claimed[0].candidate.tree:
            case Tree.ARCHIVE:
                self._commit_archive(claimed, gone, cleared, job, now)
            case Tree.TRASH:
                absent = [one.candidate.path for one in claimed if cleared.refused.get(_name(one)) == NOT_THERE]
                if absent:
                    catalog.trash_gone(absent, "somebody else has removed it", now)
                for reason in dict.fromkeys(removal.reason for removal in gone):
                    paths = [removal.candidate.path for removal in gone if removal.reason == reason]
                    catalog.trash_gone(paths, reason, now)
            case Tree.SOURCE:
                for removal in claimed:
                    self._commit_source(removal, cleared, now)
        left = [
            removal.candidate.recording or 0
            for removal in claimed
            if not _is_gone(removal, cleared) and not (failed and self._has_left(removal))
        ]
        if left and claimed[0].candidate.tree is not Tree.TRASH:
            catalog.release_removal(left, job)

    def _has_left(self, removal: Removal) -> bool:
        """Whether nothing stands at its place any more, as far as that can be seen."""
        try:
            return self._tools.files.status(removal.candidate.tree, removal.candidate.path) is None
        except OSError:
            return True

    def _commit_archive(
        self, claimed: Sequence[Removal], gone: Sequence[Removal], cleared: Cleared, job: str, now: float
    ) -> None:  # fmt: skip
        archives = [(removal.candidate.recording or 0, self._trashed(removal, 0, cleared, now)) for removal in gone]
        beside = [
            (removal.candidate.path.with_name(name), self._trashed(removal, number, cleared, now))
            for removal in claimed
            for number, (name, _) in enumerate(removal.candidate.files)
            if number and name in cleared.gone
        ]
        self._tools.catalog.removed(archives, job, now, beside)

    def _commit_source(self, removal: Removal, cleared: Cleared, now: float) -> None:
        """A clip that was never archived, with its snapshots, or a snapshot of nothing; the clip is committed last."""
        catalog = self._tools.catalog
        for number in reversed(range(len(removal.candidate.files))):
            lies = self._trashed(removal, number, cleared, now)
            if number or removal.candidate.recording is None:
                if lies is not None:
                    catalog.trashed(lies, now)
            elif _is_gone(removal, cleared):
                catalog.trash_quarantined(catalog.by_id(removal.candidate.recording), lies, now)

    def _trashed(self, removal: Removal, number: int, cleared: Cleared, now: float) -> Trashed | None:
        """One file of a candidate as it lies in the trash; None where it does not."""
        one = removal.candidate
        name, mark = one.files[number]
        if name not in cleared.moved:
            return None
        origin = Place(one.tree, one.path.with_name(name))
        return Trashed(cleared.moved[name], mark, one.camera, origin, removal.reason, now, one.recording)

    def _count(self, gone: Sequence[Removal], cleared: Cleared, done: Done) -> None:
        for removal in gone:
            tree = removal.candidate.tree
            add_to(done.removed, (tree, removal.reason, removal.to_trash), removal.candidate.sum)
            path, how = naming.printable(removal.candidate.path), way_words(to_trash=removal.to_trash)
            fields = {"recording": path, "camera": removal.candidate.camera, "reason": removal.reason}
            log.info("%s: goes from the %s %s: %s", path, tree, how, removal.reason, extra=fields)
        if gone:
            tree = gone[0].candidate.tree
            done.freed[tree] = done.freed.get(tree, 0) + sum(cleared.gone.values())

    def _refuse(self, removal: Removal, cleared: Cleared, done: Done) -> None:
        """Tell of what could not be removed."""
        one = removal.candidate
        for name, _ in one.files:
            why = cleared.refused.get(name)
            if why in (None, NOT_THERE, PROTECTED):  # others have had their say
                continue
            place = Place(one.tree, one.path.with_name(name))
            done.refused[place] = why
            if self._told.get(place) != why:
                log.warning("%s: can't be removed from the %s: %s", naming.printable(place.path), place.tree, why)

    def _clear_away(self, place: Place) -> None:
        """Look again at a directory in which something was removed, and remove it where nothing is left in it."""
        names, now = self._tools.names.in_tree(place.tree), self._tools.clock()
        removed = self._tools.files.remove_empty(place.tree, place.path, lambda where: is_past(names, where, now))
        stock = self._tools.stocks.get(place.tree)
        if stock is not None:
            stock.touch([place.path, *(path.parent for path in removed)])

    def _remove_stale_parts(self, done: Done) -> None:
        """Remove what jobs that are no more have left unfinished."""
        for stock in self._tools.stocks.values():
            for path in stock.leftovers():
                part = naming.parse_part_name(path.name)
                status = self._tools.files.status(stock.tree, path)
                if part is None or status is None or part.catalog != self._tools.catalog.id:
                    continue
                if self._tools.clock() - status.st_mtime > _STALE_S and self._tools.catalog.of_job(part.job) is None:
                    self._tools.files.remove_part(stock.tree, path)
                    done.freed[stock.tree] = done.freed.get(stock.tree, 0) + status.st_blocks * 512
                    add_to(done.removed, (stock.tree, _UNFINISHED, False), Sum(1, status.st_size))


def _has_room(tree: Tree, disks: Sequence[Disk], done: Done) -> bool:
    """Whether as much was freed on the disk of a tree as was wanted there."""
    disk = next((disk for disk in disks if tree in disk.trees), None)
    return disk is None or sum(done.freed.get(one, 0) for one in disk.trees) >= disk.wanted


def _batches(removals: Sequence[Removal]) -> Iterator[list[Removal]]:
    """The removals by directory. What goes for want of room keeps its order, but for what is near."""
    by_rules = [removal for removal in removals if removal.cause is not Cause.ROOM]
    for_room = [removal for removal in removals if removal.cause is Cause.ROOM]
    for some in (by_rules, *(for_room[at : at + _BATCH] for at in range(0, len(for_room), _BATCH))):
        groups: dict[tuple[Tree, bool, PurePosixPath], list[Removal]] = {}
        for removal in some:
            one = removal.candidate
            groups.setdefault((one.tree, removal.to_trash, one.path.parent), []).append(removal)
        for tree, to_trash, where in sorted(groups, key=lambda of: (_ORDER.index(of[0]), *of[1:])):
            of_one = groups[tree, to_trash, where]
            most = _SOURCES if tree is Tree.SOURCE else _BATCH
            yield from (of_one[at : at + most] for at in range(0, len(of_one), most))


def _at_least_once(go_on: Callable[[], bool]) -> Callable[[], bool]:
    """The first file is removed, however long all that comes before it took."""
    asked = iter([True])

    def at_least_once() -> bool:
        return next(asked, False) or go_on()

    return at_least_once


def _name(removal: Removal) -> str:
    return removal.candidate.files[0][0]


def _is_gone(removal: Removal, cleared: Cleared) -> bool:
    return _name(removal) in cleared.gone


def _refused(removal: Removal, cleared: Cleared) -> bool:
    return _name(removal) in cleared.refused


_Key = TypeVar("_Key")


def add_to(sums: dict[_Key, Sum], key: _Key, one: Sum) -> None:
    """Count one more."""
    sums[key] = sums.get(key, Sum()) + one
