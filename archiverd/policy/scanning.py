"""When the source tree is looked through, and what of a directory is to be looked at again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import assert_never

from archiverd.policy.model import ClipName, FoundFile, Known, KnownFile, Listing, State
from archiverd.policy.name_patterns import NamePatterns
from archiverd.policy.watching import Observing

_RECENT_S = 2 * 86400.0  # today and yesterday, whenever the day of a camera begins
_FEWEST = 4  # directories that count as recent, however long nothing came
_TO_COME = frozenset({State.WAITING, State.ACTIVE, State.PUBLISHING, State.QUARANTINED})
_COARSEST_S = 2.0  # of the time stamps of file systems: what comes within this may leave them as they are


class Reach(StrEnum):
    """How much of the tree is looked through."""

    ALL = "all"
    RECENT = "recent"  # the directories in which something changed lately


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the tree is looked through. Seconds."""

    recent_s: float
    all_s: float
    again_s: float  # after so long also a directory is read in which nothing was made, renamed or removed


@dataclass(frozen=True, slots=True)
class Timetable:
    """When the tree was last looked through. Seconds since the epoch, None for never."""

    all_at: float | None = None
    recent_at: float | None = None
    requested: bool = False  # all of it is to be looked through now


def pace_of(observing: Observing) -> Pace:
    """The pace of scans where new files are noticed in this way."""
    match observing:
        case Observing.INOTIFY:
            return Pace(recent_s=60.0, all_s=86400.0, again_s=math.inf)
        case Observing.POLL:
            return Pace(recent_s=10.0, all_s=3600.0, again_s=60.0)
        case unreachable:
            assert_never(unreachable)


def due(timetable: Timetable, pace: Pace, now: float) -> Reach | None:
    """What is to be looked through now; None where nothing is."""
    if timetable.requested or _is_over(timetable.all_at, pace.all_s, now):
        return Reach.ALL
    return Reach.RECENT if _is_over(timetable.recent_at, pace.recent_s, now) else None


def next_due(timetable: Timetable, pace: Pace, now: float) -> float:
    """When something is due next, in seconds since the epoch; `now` where something is."""
    if due(timetable, pace, now) is not None:
        return now
    assert timetable.all_at is not None, "else it were due"
    assert timetable.recent_at is not None, "else it were due"
    # Never later than a clock that was set back would have it.
    return min(timetable.all_at + pace.all_s, timetable.recent_at + pace.recent_s, now + pace.recent_s)


def _is_over(last: float | None, wait_s: float, now: float) -> bool:
    """Whether so long has passed; also where the clock says that the last time is still to come."""
    return last is None or not 0 <= now - last < wait_s


@dataclass(frozen=True, slots=True)
class Differences:
    """What of a directory the catalog does not know, or knows otherwise."""

    unknown: tuple[FoundFile, ...] = ()  # clips, to be entered
    clips: tuple[PurePosixPath, ...] = ()  # to be looked at
    missing: tuple[PurePosixPath, ...] = ()  # to be looked at, for they do not stand there
    # That go with no recording whose turn is still to come: each to be looked at once, and once it is old.
    snapshots: tuple[FoundFile, ...] = ()


def differences(listing: Listing, known: Known, names: NamePatterns, now: float) -> Differences:
    """Hold what stands in a directory against what is known of it; `now` in seconds since the epoch."""
    rows: dict[str, list[KnownFile]] = {}
    for row in known.clips:
        rows.setdefault(row.name, []).append(row)
    unknown, clips = [], []
    stems = {row.name[:-4] for row in known.clips if row.state in _TO_COME}
    for clip in listing.clips:
        same = (row for row in rows.pop(clip.filename, ()) if row.fingerprint == clip.fingerprint)
        found = next(same, None)
        if found is None:
            unknown.append(clip)
            stems.add(clip.filename[:-4])
        elif _calls_for_a_look(found, clip.path, listing.protected, now):
            clips.append(clip.path)
    absent = [name for name, of_name in rows.items() if any(_is_expected(row, now) for row in of_name)]
    return Differences(
        tuple(unknown),
        tuple(clips),
        tuple(_missed(listing, absent, names)),
        tuple(
            file
            for file in listing.snapshots
            if file.filename[:-4] not in stems and (file.filename, file.fingerprint) not in known.snapshots
        ),
    )


def _calls_for_a_look(row: KnownFile, path: PurePosixPath, protected: frozenset[PurePosixPath], now: float) -> bool:
    """Whether something is to be done about a clip that stands there, and its row says so only now."""
    match row.state:
        case State.WAITING | State.ACTIVE | State.PUBLISHING | State.QUARANTINED:
            return False
        case State.GONE | State.REMOVED:
            return True
        case State.DONE:
            return path not in protected
        case State.ARCHIVED:
            return row.not_before <= now and path not in protected


def _is_expected(row: KnownFile, now: float) -> bool:
    """Whether the source of a row should stand in the tree, and nobody is at work on it."""
    if row.state is State.ARCHIVED:  # its disposal may have been begun
        return row.not_before <= now
    return row.state in (State.WAITING, State.QUARANTINED)


def _missed(listing: Listing, absent: Iterable[str], names: NamePatterns) -> Iterable[PurePosixPath]:
    """The clips that are not there; not those that could not be seen if they were."""
    folder = names.folder(listing.path.parts) if listing.complete else None
    if folder is None:
        return ()
    return (listing.path / name for name in absent if isinstance(folder.parse(name), ClipName))


@dataclass(frozen=True, slots=True)
class Looked:
    """A directory as it was when it was last read."""

    modified_ns: int  # when something was last made, renamed or removed in it
    at: float  # when it was read, in seconds since the epoch
    quiet: bool  # nothing was to be done, and while it is not modified nothing will be
    below: frozenset[str]  # the directories in it
    files: int = 0  # clips and snapshots
    mark: int | None = None  # of all that stands in it: see `FileDiscovery.mark`


def looked(listing: Listing, found: Differences, old_after_s: float, now: float, mark: int | None = None) -> Looked:
    """What to remember of a directory that was read. Snapshots that belong to nothing are old after `old_after_s`.

    `mark` is that of what stood there right before it was read.
    """
    young = any(now - file.fingerprint.mtime_ns / 1e9 < old_after_s for file in found.snapshots)
    settled = now - listing.modified_ns / 1e9 > _COARSEST_S
    quiet = listing.complete and settled and not (young or found.unknown or found.clips or found.missing)
    files = len(listing.clips) + len(listing.snapshots)
    return Looked(listing.modified_ns, now, quiet, frozenset(listing.below), files, mark)


def recent(directories: Mapping[PurePosixPath, Looked], most: int, now: float) -> set[PurePosixPath]:
    """The directories in which something changed lately, at most so many, and all above them.

    Whatever the layout: something that comes into a directory changes that, a new directory the one above it.
    """
    newest = sorted(directories, key=lambda path: directories[path].modified_ns, reverse=True)[:most]
    since_ns = (now - _RECENT_S) * 1e9
    chosen = [path for rank, path in enumerate(newest) if rank < _FEWEST or directories[path].modified_ns >= since_ns]
    return {PurePosixPath(), *chosen, *(above for path in chosen for above in path.parents)}
