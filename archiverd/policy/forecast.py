"""How far back footage reaches against what is wanted, and when a disk runs out of room at the present rates: pure.

The days to come are played through, one by one: what comes in, what ages out of the archive and of the trash, and what
a ceiling has go. An inventory counts bytes by day for all cameras of a tree together; each day is shared out among
those that had footage then, by what each has a day on average.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from archiverd.policy.inventory import Inventory, Span
from archiverd.policy.model import Tree
from archiverd.policy.retention import LOW_WATER, Policy, Rule
from archiverd.policy.room import Room
from archiverd.policy.words import days_words, size_words

YEARS = 10  # that are played through
RATE_DAYS = 7  # over which the rates are counted
NOTHING_OLDER = "nothing older has come"
OLDER_GONE = "older ones have gone"
ALL_GONE = "all that came have gone"

_DAY_S = 86_400.0
_HELD = (Tree.ARCHIVE, Tree.TRASH)

Daily = Mapping[str, tuple[float, float]]  # camera -> bytes a day that come to the trash, and to the archive
Rates = Mapping[str, tuple[int, int, int]]  # camera -> recordings, source bytes, archive bytes of the last days
Gone = Mapping[tuple[Tree, str], float]  # tree, camera -> from when the latest is that has gone, as far as is known


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back a camera's footage reaches in a tree. Seconds."""

    tree: Tree
    camera: str
    reach_s: float
    wanted_s: float | None  # None where all of it is kept
    limit: str = ""  # why it is less than wanted, in words
    is_empty: bool = False  # nothing is left of a camera that still records


@dataclass(frozen=True, slots=True)
class Outlook:
    """When the room on a disk runs out."""

    path: str
    size: int  # bytes
    free: int
    floor: int  # of what is free
    in_days: int | None = None  # until less is free than that; None: not at the present rates
    is_known: bool = True  # False before there is a day of history
    then: str = ""  # what gives way, in words


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to be expected."""

    reaches: tuple[Reach, ...] = ()
    outlooks: tuple[Outlook, ...] = ()


def forecast(
    inventory: Inventory, policy: Policy, rates: Rates, rooms: Iterable[Room], now: float, *,
    min_free: int | None, known_since: float, gone: Gone | None = None,
) -> Forecast:  # fmt: skip
    """What is to be expected at `now` (seconds since the epoch).

    `rates` are of the last `RATE_DAYS` days, or of those since `known_since`, when the catalog began, where that is
    less; before it is a day old nothing is foretold. `gone`: what was removed.
    """
    days = min((now - known_since) / _DAY_S, RATE_DAYS)
    daily = {
        camera: (0.0 if policy.delete else source / days, archive / days)
        for camera, (_, source, archive) in rates.items()
        if days >= 1
    }
    rooms, coming = tuple(rooms), [camera for camera, (files, _, _) in rates.items() if files]
    floors = {room.path: 0 if min_free is None else room.floor(min_free) for room in rooms}
    cramped = {tree for room in rooms if room.free < 1.1 * floors[room.path] for tree in _HELD if tree in room.what}
    return Forecast(
        tuple(_reaches(inventory, policy, daily, cramped, coming, gone=gone or {}, now=now)),
        tuple(_outlooks(_Future(inventory, policy, daily, now), policy, rooms, floors, is_known=days >= 1)),
    )


# -- how far back -----------------------------------------------------------------------------------------


def _reaches(
    inventory: Inventory, policy: Policy, daily: Daily, cramped: Container[Tree], coming: Iterable[str], *,
    gone: Gone, now: float,
) -> Iterator[Reach]:  # fmt: skip
    """`cramped`: trees whose disk has no room left. `coming`: cameras of which something came lately."""
    standing = {key: span.oldest_at for key, span in inventory.cameras.items() if span.files}
    empty = {(Tree.ARCHIVE, camera) for camera in coming if (Tree.ARCHIVE, camera) in gone} - standing.keys()
    for tree, camera in sorted((*standing, *empty), key=lambda key: (_HELD.index(key[0]), key[1])):
        is_empty = (tree, camera) in empty
        reach_s = 0.0 if is_empty else max(0.0, now - standing[tree, camera])
        wanted_s, limit = _wanted_s(policy, tree, camera), ""
        if wanted_s is not None and (is_empty or reach_s < wanted_s - _DAY_S):
            limit = _ceiling_in_the_way(inventory, policy, daily, tree, camera, wanted_s)
            if not limit and tree in cramped and policy.gives_room(tree):
                limit = "its disk has no room left"
            has_gone = now - wanted_s <= gone.get((tree, camera), -inf) <= now  # not for its age: it is wanted
            limit = limit or (ALL_GONE if is_empty else OLDER_GONE if has_gone else NOTHING_OLDER)
        yield Reach(tree, camera, reach_s, wanted_s, limit, is_empty)


def _wanted_s(policy: Policy, tree: Tree, camera: str) -> float | None:
    """Till which age footage is to stay; None where nothing is said."""
    age_s, keep_s = policy.age_s(tree, camera), policy.keep_s(tree, camera)
    return max(age_s, keep_s) if age_s is not None else keep_s or None


def _ceiling_in_the_way(
    inventory: Inventory, policy: Policy, daily: Daily, tree: Tree, camera: str, wanted_s: float
) -> str:  # fmt: skip
    """The ceiling that is nearly reached, or will be before the footage is as old as wanted, in words; "" for none."""
    index = 0 if tree is Tree.TRASH else 1  # of what comes there
    for rule in policy.rules:
        if rule.tree is not tree or rule.max_bytes is None or not rule.fits(camera):
            continue
        held = sum(span.size for (where, name), span in inventory.cameras.items() if where is tree and rule.fits(name))
        a_day = sum(coming[index] for name, coming in daily.items() if rule.fits(name))
        lasts_s = rule.max_bytes / a_day * _DAY_S if a_day else inf
        if held >= rule.max_bytes * LOW_WATER * LOW_WATER or lasts_s < wanted_s:
            words = f"{rule.about} may hold {size_words(rule.max_bytes)}"
            return words if lasts_s == inf else f"{words}, which is about {days_words(lasts_s)} at the present rates"
    return ""


# -- room -------------------------------------------------------------------------------------------------


def _outlooks(
    future: _Future, policy: Policy, rooms: Sequence[Room], floors: Mapping[str, int], *, is_known: bool
) -> Iterator[Outlook]:  # fmt: skip
    held = {room.path: _held_on(room, future) for room in rooms}
    in_days: dict[str, int] = {room.path: 0 for room in rooms if room.free < max(floors[room.path], 1)}
    for day in range(1, YEARS * 365 + 1) if is_known and len(in_days) < len(rooms) else ():
        future.pass_day()
        for room in rooms:
            free = room.free - (_held_on(room, future) - held[room.path])
            if room.path not in in_days and free < max(floors[room.path], 1):
                in_days[room.path] = day
    for room in rooms:
        days = in_days.get(room.path)
        then = "" if days is None else _then(policy, room)
        yield Outlook(
            room.path, room.size, room.free, floors[room.path], days, is_known=is_known or days == 0, then=then
        )  # fmt: skip


def _held_on(room: Room, future: _Future) -> float:
    return sum(future.held(tree) for tree in _HELD if tree in room.what)


def _then(policy: Policy, room: Room) -> str:
    giving = [f"the oldest of the {tree}" for tree in reversed(_HELD) if tree in room.what and policy.gives_room(tree)]
    return f"then {' and '.join(giving)} must go" if giving else "then the work stops"


@dataclass(slots=True)
class _Class:
    """Cameras that all rules treat alike, and what they hold: by tree, bytes by the day from which their age counts.

    `sizes` is all they hold, with what is not going to go.
    """

    camera: str  # one of them
    keep_s: Mapping[Tree, float]
    longest_s: Mapping[Tree, float]  # the age at which it goes; infinite where none is said
    trash_a_day: float = 0.0
    archive_a_day: float = 0.0
    held: dict[Tree, deque[tuple[int, float]]] = field(default_factory=lambda: {tree: deque() for tree in _HELD})
    sizes: dict[Tree, float] = field(default_factory=lambda: dict.fromkeys(_HELD, 0.0))

    def enter(self, tree: Tree, day: int, size: float) -> None:
        """Have so much come in."""
        held = self.held[tree]
        if held and held[-1][0] == day:
            held[-1] = day, held[-1][1] + size
        elif size:
            held.append((day, size))
        self.sizes[tree] += size

    def leave(self, tree: Tree, most: float) -> float:
        """Have the oldest go, of one day and no more than `most`; how much that is."""
        day, size = self.held[tree].popleft()
        part = min(size, most)
        if part < size:
            self.held[tree].appendleft((day, size - part))
        self.sizes[tree] -= part
        return part


class _Future:
    """Archive and trash as they will be, a day at a time."""

    def __init__(self, inventory: Inventory, policy: Policy, daily: Daily, now: float) -> None:
        self._policy = policy
        self._day = int(now // _DAY_S)
        self._classes: dict[tuple[object, ...], _Class] = {}
        self._rules = [rule for rule in policy.rules if rule.max_bytes is not None and rule.tree in _HELD]
        for camera, (trash, archive) in daily.items():
            its = self._class_of(camera)
            its.trash_a_day += trash
            its.archive_a_day += archive
        for tree in _HELD:
            self._stock(tree, inventory)
        self._ceilings = [
            (rule, [its for its in self._classes.values() if rule.fits(its.camera)]) for rule in self._rules
        ]  # fmt: skip

    def held(self, tree: Tree) -> float:
        """The bytes in a tree."""
        return sum(its.sizes[tree] for its in self._classes.values())

    def pass_day(self) -> None:
        """Live through one more day."""
        self._day += 1
        for its in self._classes.values():
            its.enter(Tree.ARCHIVE, self._day, its.archive_a_day)
            its.enter(Tree.TRASH, self._day, its.trash_a_day)
        for tree in _HELD:  # what leaves the archive comes to the trash
            for its in self._classes.values():
                while its.held[tree] and self._age_s(its.held[tree][0][0]) > its.longest_s[tree]:
                    self._let_go(its, tree, inf)
            for rule, theirs in self._ceilings:
                if rule.tree is tree:
                    self._lower(rule, theirs)

    def _age_s(self, day: int) -> float:
        """How old what is of a day is, at the most."""
        return (self._day - day) * _DAY_S

    def _let_go(self, its: _Class, tree: Tree, most: float) -> float:
        part = its.leave(tree, most)
        if tree is Tree.ARCHIVE and not self._policy.delete:
            its.enter(Tree.TRASH, self._day, part)
        return part

    def _lower(self, rule: Rule, theirs: Sequence[_Class]) -> None:
        """Have the oldest go that are more than a ceiling allows."""
        tree = rule.tree
        over = sum(its.sizes[tree] for its in theirs) - (rule.max_bytes or 0)
        while over > 0:
            old = [
                its for its in theirs if its.held[tree] and self._age_s(its.held[tree][0][0]) >= its.keep_s[tree]
            ]  # fmt: skip
            if not old:
                return
            over -= self._let_go(min(old, key=lambda one: one.held[tree][0][0]), tree, over)

    def _stock(self, tree: Tree, inventory: Inventory) -> None:
        """Share what stands out among the cameras."""
        spans = {camera: span for (where, camera), span in inventory.cameras.items() if where is tree}
        classes = {camera: self._class_of(camera) for camera in (*spans, "")}
        for day, size in sorted(inventory.days.get(tree, {}).items()):
            shares = {camera: share for camera, span in spans.items() if (share := _share(span, day))} or {"": 1.0}
            total = sum(shares.values())
            for camera, share in shares.items():
                its, part = classes[camera], size * share / total
                if self._age_s(day) > its.longest_s[tree] + 2 * _DAY_S:
                    its.sizes[tree] += part  # it should be gone, and is not: it stays
                else:
                    its.enter(tree, day, part)

    def _class_of(self, camera: str) -> _Class:
        policy = self._policy
        keep_s = {tree: policy.keep_s(tree, camera) for tree in _HELD}
        ages = ((tree, policy.age_s(tree, camera)) for tree in _HELD)
        longest_s = {tree: inf if age_s is None else max(age_s, keep_s[tree]) for tree, age_s in ages}
        alike = (*keep_s.values(), *longest_s.values(), *(rule.fits(camera) for rule in self._rules))
        return self._classes.setdefault(alike, _Class(camera, keep_s, longest_s))


def _share(span: Span, day: int) -> float:
    """What a camera has a day on average; 0 for a day on which it had nothing."""
    first, last = int(span.oldest_at // _DAY_S), int(span.newest_at // _DAY_S)
    return span.size / (last - first + 1) if first <= day <= last else 0.0
