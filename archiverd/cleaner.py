"""Cleaner: what a cleanup finds, what it is to do, and how it is done, a moment at a time.

Every part is a generator that pauses when its moment is over, so that the daemon's timer may call it between others,
and a command may run it to its end.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from archiverd.policy import naming
from archiverd.policy.holding_back import terms_of
from archiverd.policy.inventory import Inventory
from archiverd.policy.model import Recording, State, Tree
from archiverd.policy.retention import (
    Candidate,
    CleanupPlan,
    Demand,
    Disk,
    Holdings,
    Policy,
    Rule,
    Sum,
    in_order,
    noted_at,
    plan_cleanup,
    reckoned_at,
)
from archiverd.policy.room import Room
from archiverd.policy.room_shown import Space
from archiverd.policy.stocktaking import PROTECTED
from archiverd.remover import CleaningTools, Done, Remover, add_to
from archiverd.storage.file_manager import Room as FileSystemRoom
from archiverd.sweep import Sweep
from archiverd.trees import Keeps

_WAITS = "waits for its archive"
_LET_GO_SOON = "archived, and let go of when that may be"
_IN_TREE = (State.WAITING, State.ACTIVE, State.PUBLISHING, State.ARCHIVED)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Terms:
    """What the owner wants cleaned up, as the configuration says it."""

    rules: tuple[Rule, ...]
    delete: bool
    archives_for_room: bool
    min_free: int | None  # bytes


class Cleaner:
    """Cleans up the three trees. Belongs to the thread of its catalog."""

    def __init__(self, tools: CleaningTools, sweep: Sweep, terms: Terms) -> None:
        self._tools = tools
        self._sweep = sweep
        self._remover = Remover(tools)
        self.terms = terms
        self.moment = tools.moment
        self._read_to: int | None = None  # of the catalog's history

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._tools.clock()

    def take_back(self) -> None:
        """Let go of what an earlier cleanup had claimed, or set aside, and could not let go of for a fault.

        Raises: ResourceError where a root is not the one that is ours: nothing follows from what is missing then.
        """
        for tree in Tree:
            self._tools.verify(tree)
        self._tools.take_back()

    # -- looking ------------------------------------------------------------------------------------------

    def look(self) -> Generator[None, None, None]:
        """Bring what is known of archive and trash up to date with the trees."""
        self._read_to = self._tools.catalog.last_change()
        for stock in self._tools.stocks.values():
            self._tools.verify(stock.tree)
            for _ in stock.renew():
                if self._tools.moment.is_over():
                    yield

    def look_at_source(self) -> Generator[None, None, None]:
        """Look through the source tree for orphan snapshots and empty directories."""
        self._tools.verify(Tree.SOURCE)
        for _ in self._sweep.look():
            if self._tools.moment.is_over():
                yield

    def forget_source(self) -> None:
        """Forget what was seen in the source tree."""
        self._sweep.forget()

    def catch_up(self) -> Generator[None, None, None]:
        """Look again where archiverd itself has changed something since."""
        assert self._read_to is not None, "everything was looked at once"
        self._read_to, touched = self._tools.catalog.touched_since(self._read_to)
        for place in touched:
            stock = self._tools.stocks.get(place.tree)
            if stock is not None:
                stock.touch([place.path])
            if self._tools.moment.is_over():
                yield

    def inventory(self) -> Inventory:
        """What stands in archive and trash, for the catalog to keep."""
        cameras = {
            (stock.tree, camera): span
            for stock in self._tools.stocks.values()
            for camera, span in stock.cameras().items()
        }
        return Inventory(
            self._tools.clock(), cameras, {stock.tree: stock.days() for stock in self._tools.stocks.values()}
        )

    # -- planning -----------------------------------------------------------------------------------------

    def policy(self, resting: Collection[str] = ()) -> Policy:
        """What a cleanup goes by now: the owner's terms, and the room there is; for disks that rest none is wanted."""
        terms = self.terms
        disks = tuple(
            Disk(path, trees, 0 if path in resting else space.wanted) for path, (trees, space) in self._disks().items()
        )
        return Policy(terms.rules, terms.delete, terms.archives_for_room, disks)

    def terms_text(self) -> str:
        """The owner's terms as text: another text is another set of rules."""
        return terms_of(self.policy(), self.terms.min_free)

    def spaces(self) -> dict[str, Space]:
        """The room on each disk, by the path of its first tree."""
        return {path: space for path, (_, space) in self._disks().items()}

    def _disks(self) -> dict[str, tuple[frozenset[Tree], Space]]:
        """Two trees on subvolumes of one pool have two devices and one room: they are taken for one disk."""
        found: list[tuple[list[Tree], FileSystemRoom]] = []
        for tree in Tree:
            room = self._tools.files.free_room(tree)
            same = next((trees for trees, other in found if _is_one_disk(room, other)), None)
            if same is None:
                found.append(([tree], room))
            else:
                same.append(tree)
        disks = {}
        for trees, room in found:
            path = naming.printable(self._tools.files.roots[trees[0]])
            of_disk = Room(path, tuple(trees), room.size, room.free)
            wanted = 0 if self.terms.min_free is None else of_disk.wanted(self.terms.min_free)
            disks[path] = frozenset(trees), Space(room.free, wanted)
        return disks

    def is_due(self, policy: Policy, now: float) -> bool:
        """Whether something in archive or trash is to go, as far as is known."""
        holdings = self._holdings()
        return any(stock.is_due(Demand(stock.tree, holdings, policy, now)) for stock in self._tools.stocks.values())

    def plan(self, policy: Policy, now: float) -> CleanupPlan:
        """What is to go now, by what is known."""
        holdings = self._holdings(with_source=True)

        def candidates(demand: Demand) -> Iterable[Candidate]:
            stock = self._tools.stocks.get(demand.tree)
            return self._in_source(demand, now) if stock is None else stock.candidates(demand)

        return plan_cleanup(holdings, candidates, policy, now)

    def _holdings(self, *, with_source: bool = False) -> Holdings:
        stocks = self._tools.stocks
        by_camera = {
            (tree, camera): Sum(span.files, span.size)
            for tree, stock in stocks.items()
            for camera, span in stock.cameras().items()
        }
        kept = {(tree, why): one for tree, stock in stocks.items() for why, one in stock.kept().items()}
        beside = {(tree, why): one for tree, stock in stocks.items() for why, one in stock.beside().items()}
        if with_source:
            for (camera, state), (files, size) in self._tools.catalog.source_totals().items():
                add_to(by_camera, (Tree.SOURCE, camera), Sum(files, size))
                if state in _IN_TREE:
                    add_to(kept, (Tree.SOURCE, _LET_GO_SOON if state is State.ARCHIVED else _WAITS), Sum(files, size))
            for one in self._sweep.orphans:
                add_to(by_camera, (Tree.SOURCE, one.camera), one.sum)
        return Holdings(by_camera, kept, beside)

    def _in_source(self, demand: Demand, now: float) -> list[Candidate]:
        """What is in demand of the source tree: snapshots of nothing, and what was never archived."""
        keeps = Keeps(self._tools.files, Tree.SOURCE)
        found = [
            replace(one, keep=PROTECTED) if keeps.protect(one.path) else one
            for one in (_quarantined(row, now) for row in self._tools.catalog.quarantined())
            if demand.wants(one.camera, one.at)
        ]
        return in_order([*self._sweep.orphans, *found])

    # -- carrying out -------------------------------------------------------------------------------------

    def apply(self, plan: CleanupPlan, policy: Policy, done: Done) -> Generator[None, None, None]:
        """Carry a plan out; `done` tells how far it is. Raises: what `Remover.apply` raises."""
        return self._remover.apply(plan, policy.disks, self._sweep.empty, done)

    def finish(self, work: Generator[None, None, T]) -> T:
        """Do the whole of it now, moment by moment; what comes of it."""
        while True:
            self.moment.begin()
            try:
                next(work)
            except StopIteration as end:
                value: T = end.value
                return value


def _quarantined(row: Recording, now: float) -> Candidate:
    """Its age counts from when it was set aside: till then nobody could look at it."""
    snapshots = [one for one in row.snapshots if not one.disposed and one.path.parent == row.path.parent]
    files = ((row.path.name, row.fingerprint), *((one.path.name, one.fingerprint) for one in snapshots))
    taken_at = reckoned_at(row.name.taken_at, row.fingerprint.mtime_ns / 1e9, row.seen_at, now)
    return Candidate(
        Tree.SOURCE, row.path, row.name.camera, max(taken_at, noted_at(row.not_before, now)),
        sum(mark.size for _, mark in files), files, recording=row.id, only_copy=True,
    )  # fmt: skip


def _is_one_disk(one: FileSystemRoom, other: FileSystemRoom) -> bool:
    return one.device == other.device or (one.pool != "" and one.pool == other.pool)
