"""Whether a file system has room enough, and for what: pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from archiverd.policy.problems import Problem, ProblemKind
from archiverd.policy.words import size_words

_RECOVERED = 1.1  # times the floor, before there is room enough again
_PART = 10  # of a small file system that is enough, whatever the floor
_STEP = 100_000_000  # bytes: what is told of the room left is no finer, for each change is kept; of a small disk it is

_RESERVE = 32 * 1024 * 1024  # bytes that no archive is begun in: the catalog is to note how each job ends
_RESERVE_PART = 50  # of a small file system that is enough

LATEST = 50  # archives of a camera that say what its next one takes
_FEWEST = 5  # that say anything
_MARGIN = 1.25  # times the share of its source that the largest of them took


@dataclass(frozen=True, slots=True)
class Room:
    """A file system with what of ours stands on it."""

    path: str  # the first of ours
    what: tuple[str, ...]  # "source", "archive", "trash", "state"
    size: int  # bytes
    free: int  # bytes that this user may still write

    def floor(self, min_free: int) -> int:
        """The room it should have: `min_free`, and no more than a tenth of it."""
        return floor(self.size, min_free)

    def wanted(self, min_free: int) -> int:
        """The bytes that are to become free, where there is less room than that: a little more, to last for a while."""
        least = self.floor(min_free)
        return int(least * _RECOVERED) - self.free if self.free < least else 0


@dataclass(frozen=True, slots=True)
class Taken:
    """What an archive took of its source."""

    source: int  # bytes
    archive: int


def floor(size: int, min_free: int) -> int:
    """The room a file system of a size should have: `min_free`, and no more than a tenth of it."""
    return min(min_free, size // _PART)


def is_under_floor(free: int, size: int, min_free: int | None) -> bool:
    """Whether a file system has less room than it should have; never where that is not asked for."""
    return min_free is not None and free < floor(size, min_free)


def usable(free: int, size: int) -> int:
    """What of the free room of a file system an archive may take: all but what the catalog needs to go on."""
    return max(0, free - min(_RESERVE, size // _RESERVE_PART))


def expected(source: int, latest: Sequence[Taken]) -> int:
    """What the transcode of a source may be expected to take, by the latest of its camera: rather too much.

    Never more than the source, which is what the original bytes take, and that where little is known of the camera.
    """
    shares = [one.archive / one.source for one in latest if one.source > 0]
    if len(shares) < _FEWEST:
        return source
    return min(source, int(source * max(shares) * _MARGIN) + 1)


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
    step = max(1, min(_STEP, 10 ** len(str(floor)) // 100))
    left, least = size_words(room.free // step * step), size_words(floor)
    message = f"{room.path}: the disk of {', '.join(room.what)} has {left} left, and should have {least} (min_free)"
    return Problem(ProblemKind.DISK, room.path, message, "Make room there, or give it a larger disk")
