"""Whether a file system has room enough: pure."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

from archiverd.policy.problems import Problem, ProblemKind

_RECOVERED = 1.1  # times the floor, before there is room enough again
_PART = 10  # of a small file system that is enough, whatever the floor
_STEP = 100_000_000  # bytes: what is told of the room left is no finer, for each change is kept


@dataclass(frozen=True, slots=True)
class Room:
    """A file system with what of ours stands on it."""

    path: str  # the first of ours
    what: tuple[str, ...]  # "source", "archive", "trash", "state"
    size: int  # bytes
    free: int  # bytes that this user may still write

    def floor(self, min_free: int) -> int:
        """The room it should have: `min_free`, and no more than a tenth of it."""
        return min(min_free, self.size // _PART)


def cramped(rooms: Iterable[Room], min_free: int | None, before: Container[str]) -> list[Problem]:
    """The file systems under their floor; those of `before`, by path, until they are well above it."""
    if min_free is None:
        return []
    return [
        _problem(room, room.floor(min_free))
        for room in rooms
        if room.free < room.floor(min_free) * (_RECOVERED if room.path in before else 1.0)
    ]


def _problem(room: Room, floor: int) -> Problem:
    free = room.free // _STEP * _STEP
    message = (
        f"{room.path}: the disk of {', '.join(room.what)} has {_gb(free)} left, and should have {_gb(floor)} (min_free)"
    )
    return Problem(ProblemKind.DISK, room.path, message, "Make room there, or give it a larger disk")


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
