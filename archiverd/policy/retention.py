"""Retention: what goes by the owner's rules, why, and what stays: pure.

A rule is about some cameras in one tree: what is older than its age goes, what is more than its size goes oldest
first, and what is younger than its `keep` stays whatever the sizes and the disk. Nothing is planned that may not go
for a reason of its own (`Candidate.keep`), and never one recording more than a rule needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import PurePosixPath

from archiverd.policy.model import Fingerprint, Tree

LOW_WATER = 0.99  # of a max_size: down to that, so that not every new clip has one removed

NOT_DUE = "younger, and within the sizes"
GUARANTEED = "younger than its keep"
NO_ROOM_IN_TRASH = "never archived, and no room in the trash"

_BLOCK = 4096  # bytes
_DAY_S = 86_400.0
_TRUSTED_S = 86_400.0  # between a name's time and the file's: time zones, summer time, a late upload


@dataclass(frozen=True, slots=True)
class Rule:
    """What the owner wants of some cameras in one tree. Seconds and bytes; None where a rule does not say."""

    tree: Tree
    cameras: tuple[str, ...] = ("*",)  # globs
    age_s: float | None = None  # what is older goes
    max_bytes: int | None = None  # what they may hold together
    keep_s: float | None = None  # what is younger stays

    def fits(self, camera: str) -> bool:
        """Whether it is about this camera."""
        return any(fnmatchcase(camera, pattern) for pattern in self.cameras)

    @property
    def about(self) -> str:
        """Whose files it is about, in words."""
        return f"the {self.tree}" if self.cameras == ("*",) else f"{', '.join(self.cameras)} in the {self.tree}"


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system on which trees stand."""

    path: str  # the first of them
    trees: frozenset[Tree]
    wanted: int = 0  # bytes that are to become free on it


@dataclass(frozen=True, slots=True)
class Policy:
    """All that a cleanup goes by."""

    rules: tuple[Rule, ...]
    delete: bool = False  # what is archived or not footage is deleted instead of moved to the trash
    archives_for_room: bool = False  # the oldest archives may go where their disk has no room
    disks: tuple[Disk, ...] = ()

    def age_s(self, tree: Tree, camera: str) -> float | None:
        """The age of the first rule that says one; None where nothing goes for its age."""
        return next((rule.age_s for rule in self._about(tree, camera) if rule.age_s is not None), None)

    def keep_s(self, tree: Tree, camera: str) -> float:
        """How young a file of this camera must be to stay, whatever the sizes and the disk."""
        return next((rule.keep_s for rule in self._about(tree, camera) if rule.keep_s is not None), 0.0)

    def _about(self, tree: Tree, camera: str) -> Iterator[Rule]:
        return (rule for rule in self.rules if rule.tree is tree and rule.fits(camera))

    def wanted_on_disk_of(self, tree: Tree) -> int:
        """The bytes that are to become free where a tree stands."""
        return sum(disk.wanted for disk in self.disks if tree in disk.trees)

    def gives_room(self, tree: Tree) -> bool:
        """Whether its oldest go where their disk has no room."""
        return tree is Tree.TRASH or (tree is Tree.ARCHIVE and self.archives_for_room)


@dataclass(frozen=True, slots=True)
class Sum:
    """So many files, of so many bytes."""

    files: int = 0
    size: int = 0

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.files + other.files, self.size + other.size)

    def __sub__(self, other: Sum) -> Sum:
        return Sum(max(0, self.files - other.files), max(0, self.size - other.size))


@dataclass(frozen=True, slots=True)
class Candidate:
    """What goes, or stays, as one: a clip and its snapshots in one directory of a tree, or a file by itself."""

    tree: Tree
    path: PurePosixPath  # of the clip, or the file
    camera: str
    at: float  # by which its age is reckoned, in seconds since the epoch; see `reckoned_at`
    size: int  # bytes, of all its files
    files: tuple[tuple[str, Fingerprint], ...]  # names in the directory of `path`
    keep: str = ""  # why it may not go, whatever the rules say
    recording: int | None = None  # as the catalog numbers it
    only_copy: bool = False  # never archived: it goes to the trash, and nowhere else
    due: str = ""  # why it goes, whatever its age

    @property
    def sum(self) -> Sum:
        return Sum(len(self.files), self.size)

    @property
    def room(self) -> int:
        """The bytes it takes on a disk, which gives whole blocks."""
        return sum(-(-mark.size // _BLOCK) * _BLOCK for _, mark in self.files)


class Cause(StrEnum):
    """Which kind of rule has something removed."""

    AGE = "age"
    SIZE = "size"
    ROOM = "room"


@dataclass(frozen=True, slots=True)
class Removal:
    """One candidate that is to go."""

    candidate: Candidate
    cause: Cause
    reason: str
    to_trash: bool


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What can't be reached, for nothing more of it may go."""

    what: str
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Holdings:
    """What stands in the trees."""

    by_camera: Mapping[tuple[Tree, str], Sum] = field(default_factory=dict)  # what is archiverd's, by tree and camera
    kept: Mapping[tuple[Tree, str], Sum] = field(default_factory=dict)  # of that, what may not go: by tree and why
    beside: Mapping[tuple[Tree, str], Sum] = field(default_factory=dict)  # of others, which counts for no size: by why

    def of(self, tree: Tree) -> Sum:
        """All that archiverd holds in a tree."""
        return _total(of_camera for (where, _), of_camera in self.by_camera.items() if where is tree)


@dataclass(frozen=True, slots=True)
class CleanupPlan:
    """The whole of a cleanup, in the order it is carried out."""

    removals: tuple[Removal, ...] = ()
    kept: Mapping[tuple[Tree, str], Sum] = field(default_factory=dict)  # by tree and why
    shortfalls: tuple[Shortfall, ...] = ()
    holdings: Holdings = field(default_factory=Holdings)

    def going(self, tree: Tree) -> Sum:
        """What goes of a tree."""
        return _total(removal.candidate.sum for removal in self.removals if removal.candidate.tree is tree)


def plan_cleanup(
    holdings: Holdings, candidates: Mapping[Tree, Iterable[Candidate]], policy: Policy, now: float
) -> CleanupPlan:  # fmt: skip
    """Plan a cleanup at `now` (seconds since the epoch).

    `candidates`: of each tree, oldest first; read no further than is needed, and `Demand` tells whose may be left out.
    Ages and sizes come first, then the room on the disks: of the trash, then of the archive where the owner allows it.
    """
    planning = _Planning(holdings, policy, now)
    streams = {tree: iter(candidates.get(tree, ())) for tree in Tree}
    for tree in (Tree.SOURCE, Tree.ARCHIVE, Tree.TRASH):  # what is moved to the trash counts there
        planning.by_rules(tree, streams[tree])
    for disk in policy.disks:
        planning.for_room(disk, streams)
    return planning.plan()


class Demand:
    """Of which cameras the candidates of a tree are needed, and how old: what else stands there can stay unread."""

    def __init__(self, tree: Tree, holdings: Holdings, policy: Policy, now: float) -> None:
        self._tree = tree
        self._policy = policy
        self._now = now
        self._everybody = policy.gives_room(tree) and policy.wanted_on_disk_of(tree) > 0
        self._over = [ceiling for ceiling in _ceilings(tree, holdings, policy) if ceiling.over > 0]

    def wants(self, camera: str, oldest_at: float) -> bool:
        """Whether files of this camera, of which the oldest is this old, are needed."""
        if self._everybody or any(ceiling.rule.fits(camera) for ceiling in self._over):
            return True
        age_s = self._policy.age_s(self._tree, camera)
        return age_s is not None and self._now - oldest_at > age_s


@dataclass(slots=True)
class _Ceiling:
    rule: Rule
    over: int  # bytes that are still to go

    def __str__(self) -> str:
        return f"{self.rule.about} may hold {size_words(self.rule.max_bytes or 0)}"


def _ceilings(tree: Tree, holdings: Holdings, policy: Policy) -> list[_Ceiling]:
    found = []
    for rule in policy.rules:
        if rule.tree is tree and rule.max_bytes is not None:
            held = sum(
                of_camera.size
                for (where, camera), of_camera in holdings.by_camera.items()
                if where is tree and rule.fits(camera)
            )
            found.append(_Ceiling(rule, held - int(rule.max_bytes * LOW_WATER) if held > rule.max_bytes else 0))
    return found


class _Planning:
    """A plan in the making."""

    def __init__(self, holdings: Holdings, policy: Policy, now: float) -> None:
        self._holdings = holdings
        self._policy = policy
        self._now = now
        self._removals: list[Removal] = []
        self._kept: dict[tuple[Tree, str], Sum] = dict(holdings.kept)
        self._shortfalls: list[Shortfall] = []
        self._left: dict[Tree, list[Candidate]] = {tree: [] for tree in Tree}  # passed over, in their order
        self._freed: dict[Disk, int] = dict.fromkeys(policy.disks, 0)
        self._ages: dict[tuple[Tree, str], float | None] = {}
        self._keeps: dict[tuple[Tree, str], float] = {}

    # -- ages and sizes -----------------------------------------------------------------------------------

    def by_rules(self, tree: Tree, stream: Iterator[Candidate]) -> None:
        """What of a tree is too old, or too much."""
        ceilings = _ceilings(tree, self._with_moved(tree), self._policy)
        ages = [rule.age_s for rule in self._policy.rules if rule.tree is tree and rule.age_s is not None]
        youngest_due = self._now - min(ages) if ages else None
        while True:
            is_over = any(ceiling.over > 0 for ceiling in ceilings)
            if not is_over and youngest_due is None:
                break
            candidate = next(stream, None)
            if candidate is None:
                break
            if not is_over and youngest_due is not None and candidate.at >= youngest_due:
                self._left[tree].append(candidate)
                break
            self._decide(candidate, ceilings)
        self._shortfalls += [
            Shortfall(str(ceiling), ceiling.over) for ceiling in ceilings if ceiling.over > 0
        ]  # fmt: skip

    def _with_moved(self, tree: Tree) -> Holdings:
        """The holdings with what this plan moves to the trash."""
        moved = [removal.candidate for removal in self._removals if removal.to_trash]
        if tree is not Tree.TRASH or not moved:
            return self._holdings
        by_camera = dict(self._holdings.by_camera)
        for candidate in moved:
            key = (Tree.TRASH, candidate.camera)
            by_camera[key] = by_camera.get(key, Sum()) + candidate.sum
        return replace(self._holdings, by_camera=by_camera)

    def _decide(self, candidate: Candidate, ceilings: list[_Ceiling]) -> None:
        if candidate.keep:
            return  # counted by whoever knows of all of them
        over = next((one for one in ceilings if one.over > 0 and one.rule.fits(candidate.camera)), None)
        why = candidate.due or self._too_old(candidate)
        if why:
            self._remove(candidate, Cause.AGE, why, ceilings)
        elif over is None:
            self._left[candidate.tree].append(candidate)
        elif self._is_guaranteed(candidate):
            self._keep(candidate, GUARANTEED)
        else:
            self._remove(candidate, Cause.SIZE, str(over), ceilings)

    def _too_old(self, candidate: Candidate) -> str:
        """Why it goes for its age; empty where it does not."""
        key = (candidate.tree, candidate.camera)
        if key not in self._ages:
            self._ages[key] = self._policy.age_s(*key)
        age_s = self._ages[key]
        if age_s is None or self._now - candidate.at <= age_s:
            return ""
        where = "in the trash for more" if candidate.tree is Tree.TRASH else "older"
        return f"{where} than {days_words(age_s)}"

    def _is_guaranteed(self, candidate: Candidate) -> bool:
        key = (candidate.tree, candidate.camera)
        if key not in self._keeps:
            self._keeps[key] = self._policy.keep_s(*key)
        return self._now - candidate.at < self._keeps[key]

    def _keep(self, candidate: Candidate, why: str) -> None:
        key = (candidate.tree, why)
        self._kept[key] = self._kept.get(key, Sum()) + candidate.sum

    def _remove(self, candidate: Candidate, cause: Cause, reason: str, ceilings: Iterable[_Ceiling] = ()) -> None:
        to_trash = self._goes_to_trash(candidate, cause)
        if candidate.only_copy and not to_trash:
            self._keep(candidate, NO_ROOM_IN_TRASH)
            return
        self._removals.append(Removal(candidate, cause, reason, to_trash))
        for ceiling in ceilings:
            if ceiling.rule.fits(candidate.camera):
                ceiling.over -= candidate.size
        for disk in self._policy.disks:
            if candidate.tree in disk.trees and not (to_trash and Tree.TRASH in disk.trees):
                self._freed[disk] += candidate.room

    def _goes_to_trash(self, candidate: Candidate, cause: Cause) -> bool:
        if candidate.tree is Tree.TRASH or cause is Cause.ROOM:
            return False
        if self._policy.wanted_on_disk_of(Tree.TRASH):  # within one disk a move takes no room
            together = any({candidate.tree, Tree.TRASH} <= disk.trees for disk in self._policy.disks)
            return candidate.only_copy and together
        return candidate.only_copy or not self._policy.delete

    # -- room ---------------------------------------------------------------------------------------------

    def for_room(self, disk: Disk, streams: Mapping[Tree, Iterator[Candidate]]) -> None:
        """What goes for want of room on a disk, beyond what goes anyway."""
        reason = f"no room left on the disk of {disk.path}"
        for tree in (Tree.TRASH, Tree.ARCHIVE):
            if tree not in disk.trees or not self._policy.gives_room(tree):
                continue
            passed_over, self._left[tree] = self._left[tree], []
            for candidate in chain(passed_over, streams[tree]):
                if self._freed[disk] >= disk.wanted:
                    break
                if candidate.keep:
                    continue
                if self._is_guaranteed(candidate):
                    self._keep(candidate, GUARANTEED)
                else:
                    self._remove(candidate, Cause.ROOM, reason)
        if self._freed[disk] < disk.wanted:
            self._shortfalls.append(Shortfall(reason, disk.wanted - self._freed[disk]))

    def plan(self) -> CleanupPlan:
        """The plan, with all that stays counted by why."""
        kept = dict(self._kept)
        for tree in Tree:
            going = _total(one.candidate.sum for one in self._removals if one.candidate.tree is tree)
            known = _total(of_reason for (where, _), of_reason in kept.items() if where is tree)
            rest = self._holdings.of(tree) - going - known
            if rest.files:
                kept[tree, NOT_DUE] = rest
        return CleanupPlan(tuple(self._removals), kept, tuple(self._shortfalls), self._holdings)


def _total(sums: Iterable[Sum]) -> Sum:
    total = Sum()
    for one in sums:
        total += one
    return total


# -- dates ------------------------------------------------------------------------------------------------


def reckoned_at(taken_at: datetime, mtime_s: float, seen_at: float, now: float) -> float:
    """By which moment the age of a recording is reckoned, in seconds since the epoch; never one in the future.

    The time in its name (local, without zone) where the file's own time bears it out; else the file's own; where that
    is in the future, when it was first seen. A camera whose clock has run ahead thus shields nothing.
    """
    try:
        named_at = taken_at.timestamp()
    except (ValueError, OverflowError, OSError):  # no moment this machine can tell
        named_at = float("-inf")
    if abs(named_at - mtime_s) <= _TRUSTED_S and named_at <= now + _TRUSTED_S:
        return min(named_at, now)
    if mtime_s <= now + _TRUSTED_S:
        return min(mtime_s, now)
    return min(seen_at, now)


# -- words ------------------------------------------------------------------------------------------------


def days_words(seconds: float) -> str:
    """A span in days, or in hours where it is shorter than two."""
    if seconds < 2 * _DAY_S:
        return f"{seconds / 3600:.3g} hours"
    return f"{seconds / _DAY_S:.4g} days"


def size_words(size: int) -> str:
    """A number of bytes in decimal units, as disks are sold."""
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"
