"""Retention: what goes by the owner's rules, why, and what stays: pure.

A rule is about some cameras in one tree: what is older than its age goes, what is more than its size goes oldest
first, and what is younger than its `keep` stays whatever else is said. Nothing is planned that may not go for a reason
of its own (`Candidate.keep`), and never one recording more than a rule needs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import PurePosixPath

from archiverd.policy.model import Fingerprint, Tree
from archiverd.policy.words import days_words, size_words

LOW_WATER = 0.99  # of a max_size: down to that, so that not every new clip has one removed

NOT_DUE = "too young, or within the sizes"
NO_ROOM_IN_TRASH = "never archived, and no room in the trash"
LINKED = "has another name (a hard link), and its removal makes no room"

_BLOCK = 4096  # bytes
_DAY_S = 86_400.0
_TRUSTED_S = 86_400.0  # between a name's time and the file's: time zones, summer time, a late upload
_FIRST_AT = 1_104_537_600.0  # 2005: earlier times are those of clocks that lost their battery
FIRST_CLOCK = datetime(2026, 1, 1).timestamp()  # archiverd is younger: a machine's clock that said less was wrong


@dataclass(frozen=True, slots=True)
class Rule:
    """What the owner wants of some cameras in one tree. Seconds and bytes; None where a rule does not say."""

    tree: Tree
    cameras: tuple[str, ...] = ("*",)  # globs
    age_s: float | None = None  # what is older goes
    max_bytes: int | None = None  # what they may hold together
    keep_s: float | None = None  # what is younger stays, whatever any rule says

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
        """How young a file of this camera must be to stay, whatever ages, sizes and the disk say."""
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
    files: tuple[tuple[str, Fingerprint], ...]  # names in the directory of `path`, its own first
    keep: str = ""  # why it may not go, whatever the rules say
    recording: int | None = None  # as the catalog numbers it
    only_copy: bool = False  # never archived: it goes to the trash, and nowhere else
    due: str = ""  # why it goes, whatever its age; a `keep` of its camera still holds
    linked: bool = False  # a file of it has another name somewhere, so its bytes stay

    @property
    def sum(self) -> Sum:
        return Sum(len(self.files), self.size)

    @property
    def room(self) -> int:
        """The bytes that its removal frees on a disk, which gives whole blocks."""
        return 0 if self.linked else sum(-(-mark.size // _BLOCK) * _BLOCK for _, mark in self.files)


def rules_for_nobody(rules: Iterable[Rule], cameras: Collection[str]) -> list[tuple[int, Rule]]:
    """The rules that fit none of the cameras that are known, by their numbers as the owner counts them."""
    if not cameras:
        return []
    return [(number, rule) for number, rule in enumerate(rules, 1) if not any(map(rule.fits, cameras))]


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
    disk: str = field(default="", compare=False)  # its path, where it is room that is wanted


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

    @property
    def total(self) -> Sum:
        """All that goes."""
        return _total(removal.candidate.sum for removal in self.removals)

    def going(self, tree: Tree) -> Sum:
        """What goes of a tree."""
        return _total(removal.candidate.sum for removal in self.removals if removal.candidate.tree is tree)


def plan_cleanup(
    holdings: Holdings, candidates: Callable[[Demand], Iterable[Candidate]], policy: Policy, now: float
) -> CleanupPlan:  # fmt: skip
    """Plan a cleanup at `now` (seconds since the epoch).

    `candidates` tells those of one tree, in the order of `in_order`; what is not in demand may be left out. They are
    read no further than is needed. Ages and sizes come first, then the room on the disks: of the trash, then of the
    archive where the owner allows it.
    """
    planning = _Planning(holdings, policy, now)
    for tree in (Tree.SOURCE, Tree.ARCHIVE, Tree.TRASH):  # what is moved to the trash counts there
        planning.by_rules(tree, candidates)
    for disk in policy.disks:
        planning.for_room(disk)
    return planning.plan()


def in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The candidates of a tree as a plan takes them: what is due whatever its age, then oldest first."""
    return sorted(candidates, key=lambda one: (not one.due, one.at, one.path))


class Demand:
    """Of which cameras the candidates of a tree are needed, and how old: what else stands there can stay unread.

    What is due whatever its age is needed always.
    """

    def __init__(self, tree: Tree, holdings: Holdings, policy: Policy, now: float) -> None:
        self.tree = tree
        self._policy = policy
        self._now = now
        self._everybody = policy.gives_room(tree) and policy.wanted_on_disk_of(tree) > 0
        self._over = [ceiling for ceiling in _ceilings(tree, holdings, policy) if ceiling.over > 0]

    def wants(self, camera: str, oldest_at: float) -> bool:
        """Whether files of this camera, of which the oldest is this old, are needed."""
        if _is_younger(oldest_at, self._policy.keep_s(self.tree, camera), self._now):
            return False
        if self._everybody or any(ceiling.rule.fits(camera) for ceiling in self._over):
            return True
        return _is_older(oldest_at, self._policy.age_s(self.tree, camera), self._now)


def _is_older(at: float, age_s: float | None, now: float) -> bool:
    return age_s is not None and now - at > age_s


def _is_younger(at: float, keep_s: float, now: float) -> bool:
    return now - at < keep_s


@dataclass(slots=True)
class _Ceiling:
    rule: Rule
    most: int  # bytes
    held: int
    down_to: int
    is_tight: bool = False  # what is planned for it is needed, from the youngest on

    @property
    def over(self) -> int:
        """The bytes that are still to go."""
        return self.held - self.down_to

    def __str__(self) -> str:
        return f"{self.rule.about} may hold {size_words(self.most)}"


def _ceilings(tree: Tree, holdings: Holdings, policy: Policy) -> list[_Ceiling]:
    found = []
    for rule in policy.rules:
        if rule.tree is tree and rule.max_bytes is not None:
            held = sum(
                of_camera.size
                for (where, camera), of_camera in holdings.by_camera.items()
                if where is tree and rule.fits(camera)
            )
            down_to = int(rule.max_bytes * LOW_WATER) if held > rule.max_bytes else held
            found.append(_Ceiling(rule, rule.max_bytes, held, down_to))
    return found


@dataclass(frozen=True, slots=True)
class _Said:
    """What the rules say of one camera in one tree."""

    age_s: float | None
    keep_s: float
    ceilings: Sequence[_Ceiling]


@dataclass(slots=True)
class _Thought:
    """A candidate as it was come by, and what speaks for its going."""

    candidate: Candidate
    too_old: str = ""  # in words; empty where it is not
    fitting: Sequence[_Ceiling] = ()  # that it counts for
    over: Sequence[_Ceiling] = ()  # of these, those that were still exceeded then


class _Planning:
    """A plan in the making."""

    def __init__(self, holdings: Holdings, policy: Policy, now: float) -> None:
        self._holdings = holdings
        self._policy = policy
        self._now = now
        self._removals: list[Removal] = []
        self._kept: dict[tuple[Tree, str], Sum] = dict(holdings.kept)
        self._shortfalls: list[Shortfall] = []
        self._rest: dict[Tree, Iterator[Candidate]] = {}  # what ages and sizes leave, in its order
        self._freed: dict[Disk, int] = dict.fromkeys(policy.disks, 0)
        self._ceilings: dict[Tree, Sequence[_Ceiling]] = {}
        self._said: dict[tuple[Tree, str], _Said] = {}

    # -- ages and sizes -----------------------------------------------------------------------------------

    def by_rules(self, tree: Tree, candidates: Callable[[Demand], Iterable[Candidate]]) -> None:
        """What of a tree is too old, or too much."""
        holdings, arriving = self._with_moved(tree)
        self._ceilings[tree] = ceilings = _ceilings(tree, holdings, self._policy)
        stream = iter(candidates(Demand(tree, holdings, self._policy, self._now)))
        thoughts = [thought for one in self._read(tree, stream, ceilings) if (thought := self._think(one))]
        _spare(thoughts)
        left = []
        for thought in thoughts:
            if thought.too_old:
                self._remove(thought.candidate, Cause.AGE, thought.too_old)
            elif thought.over:
                self._remove(thought.candidate, Cause.SIZE, str(thought.over[0]))
            else:
                left.append(thought.candidate)
        self._rest[tree] = chain(left, stream)
        for ceiling in ceilings:  # what arrives only now can go the next time
            missing = ceiling.held - ceiling.most - sum(one.size for one in arriving if ceiling.rule.fits(one.camera))
            if missing > 0:
                self._shortfalls.append(Shortfall(str(ceiling), missing))

    def _with_moved(self, tree: Tree) -> tuple[Holdings, list[Candidate]]:
        """The holdings with what this plan moves to this tree, and that."""
        moved = [removal.candidate for removal in self._removals if removal.to_trash and tree is Tree.TRASH]
        by_camera = dict(self._holdings.by_camera)
        for candidate in moved:
            key = (tree, candidate.camera)
            by_camera[key] = by_camera.get(key, Sum()) + candidate.sum
        return replace(self._holdings, by_camera=by_camera), moved

    def _read(self, tree: Tree, stream: Iterator[Candidate], ceilings: Sequence[_Ceiling]) -> Iterator[Candidate]:
        """The candidates of a tree, up to the first that nothing can be wanted of, nor of those behind it."""
        ages = [rule.age_s for rule in self._policy.rules if rule.tree is tree and rule.age_s is not None]
        shortest_s = min(ages, default=None)
        for candidate in stream:
            yield candidate
            is_over = any(ceiling.over > 0 for ceiling in ceilings)
            if not (is_over or candidate.due or _is_older(candidate.at, shortest_s, self._now)):
                return

    def _think(self, candidate: Candidate) -> _Thought | None:
        """What speaks for the going of a candidate; None where it stays whatever does."""
        if candidate.keep:
            return None  # counted by whoever knows of all of them
        said = self._said_of(candidate)
        too_old = candidate.due or self._too_old(candidate, said.age_s)
        over = [] if too_old else [ceiling for ceiling in said.ceilings if ceiling.over > 0]
        if not too_old and not over:
            return _Thought(candidate)
        if not self._may_go(candidate, Cause.AGE):
            return None
        for ceiling in said.ceilings:
            ceiling.held -= candidate.size
        return _Thought(candidate, too_old, said.ceilings, over)

    def _said_of(self, candidate: Candidate) -> _Said:
        tree, camera = key = candidate.tree, candidate.camera
        if key not in self._said:
            fitting = [ceiling for ceiling in self._ceilings[tree] if ceiling.rule.fits(camera)]
            self._said[key] = _Said(self._policy.age_s(tree, camera), self._policy.keep_s(tree, camera), fitting)
        return self._said[key]

    def _too_old(self, candidate: Candidate, age_s: float | None) -> str:
        """Why it goes for its age; empty where it does not."""
        if age_s is None or not _is_older(candidate.at, age_s, self._now):
            return ""
        where = "in the trash for more" if candidate.tree is Tree.TRASH else "older"
        return f"{where} than {days_words(age_s)}"

    def _may_go(self, candidate: Candidate, cause: Cause) -> bool:
        """Whether it is no longer guaranteed, nor an only copy that would be lost."""
        if _is_younger(candidate.at, self._said_of(candidate).keep_s, self._now):
            return False
        if candidate.only_copy and not self._goes_to_trash(candidate, cause):
            self._keep(candidate, NO_ROOM_IN_TRASH)
            return False
        return True

    def _keep(self, candidate: Candidate, why: str) -> None:
        key = (candidate.tree, why)
        self._kept[key] = self._kept.get(key, Sum()) + candidate.sum

    def _remove(self, candidate: Candidate, cause: Cause, reason: str) -> None:
        to_trash = self._goes_to_trash(candidate, cause)
        self._removals.append(Removal(candidate, cause, reason, to_trash))
        for disk in self._policy.disks:
            if candidate.tree in disk.trees:  # nothing is moved to a trash on a disk that lacks room
                self._freed[disk] += candidate.room

    def _goes_to_trash(self, candidate: Candidate, cause: Cause) -> bool:
        if candidate.tree is Tree.TRASH or cause is Cause.ROOM or self._policy.wanted_on_disk_of(Tree.TRASH):
            return False  # a trash without room is emptied: what is moved there now is gone with the next cleanup
        return candidate.only_copy or not self._policy.delete

    # -- room ---------------------------------------------------------------------------------------------

    def for_room(self, disk: Disk) -> None:
        """What goes for want of room on a disk, beyond what goes anyway."""
        reason = f"no room left on the disk of {disk.path}"
        for tree in (Tree.TRASH, Tree.ARCHIVE):
            if tree not in disk.trees or not self._policy.gives_room(tree):
                continue
            while self._freed[disk] < disk.wanted and (candidate := next(self._rest[tree], None)) is not None:
                if candidate.keep or not self._may_go(candidate, Cause.ROOM):
                    continue
                if candidate.linked:
                    self._keep(candidate, LINKED)
                else:
                    self._remove(candidate, Cause.ROOM, reason)
        if self._freed[disk] < disk.wanted:
            self._shortfalls.append(Shortfall(reason, disk.wanted - self._freed[disk], disk.path))

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


def _spare(thoughts: Sequence[_Thought]) -> None:
    """Take back what the sizes can do without, for what goes by its age or for another ceiling serves them as well.

    Of each ceiling the youngest are taken back, until one is needed: what is planned for it stays the oldest there is.
    Each thought is left with the ceilings that need it, as the rules are written.
    """
    for thought in reversed(thoughts):
        size = thought.candidate.size
        for ceiling in thought.over:
            ceiling.is_tight |= ceiling.over + size > 0
        needing = [ceiling for ceiling in thought.over if ceiling.is_tight]
        if thought.over and not needing:
            for ceiling in thought.fitting:
                ceiling.held += size
        thought.over = needing


def _total(sums: Iterable[Sum]) -> Sum:
    total = Sum()
    for one in sums:
        total += one
    return total


# -- dates ------------------------------------------------------------------------------------------------


def reckoned_at(taken_at: datetime, mtime_s: float, seen_at: float, now: float) -> float:
    """By which moment the age of a recording is reckoned, in seconds since the epoch; never one in the future.

    The time in its name (local, without zone; the later of two, of an hour that comes twice) where the file's own time
    bears it out; else the later of name and file, but for one in the future or before there were such cameras; else
    when it was first seen (`noted_at`). A clock that has run ahead thus shields nothing, and one that was lost makes
    nothing old.
    """
    try:
        named_at = max(taken_at.timestamp(), taken_at.replace(fold=1).timestamp())
    except (ValueError, OverflowError, OSError):  # no moment this machine can tell
        named_at = float("-inf")
    if abs(named_at - mtime_s) <= _TRUSTED_S and _is_credible(named_at, now):
        return min(named_at, now)
    credible = [at for at in (named_at, mtime_s) if _is_credible(at, now)]
    return min(max(credible, default=noted_at(seen_at, now)), now)


def noted_at(at: float, now: float) -> float:
    """When this machine noted something, by its own clock; `now` where that was lost, or is still to come.

    What a machine did that began at 1970 is not half a century old when its clock has been set.
    """
    return at if FIRST_CLOCK <= at <= now else now


def _is_credible(at: float, now: float) -> bool:
    return _FIRST_AT <= at <= now + _TRUSTED_S


# -- words ------------------------------------------------------------------------------------------------


def way_words(*, to_trash: bool) -> str:
    """Where what goes goes to."""
    return "to the trash" if to_trash else "for good"
