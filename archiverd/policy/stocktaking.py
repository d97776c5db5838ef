"""What a directory of the archive or the trash holds, for a cleanup: pure.

A listing says what stands, the rows of the catalog say whose it is. What no row speaks of in the archive is not ours
to remove; in the trash the place alone tells enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from archiverd.policy.inventory import Span
from archiverd.policy.model import Fingerprint, FoundFile, Held, Listing, State, Trashed, Tree
from archiverd.policy.retention import Candidate, Sum, noted_at, reckoned_at

PROTECTED = "protected by its .keep file"
UNKNOWN = "not in the catalog: `archiverd check` says more"
NOT_LET_GO = "its source is not let go of yet"
NOT_AS_COMMITTED = "not as its receipt says: `archiverd check` says more"

_DAY_S = 86_400.0
_COARSEST_S = 2.0  # of the time stamps of file systems


@dataclass(frozen=True, slots=True)
class Contents:
    """What one directory holds: what is ours, one by one, and what is not, by why."""

    candidates: tuple[Candidate, ...] = ()
    beside: Mapping[str, Sum] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shelf:
    """The summary of one directory, which is kept while nothing changes there."""

    modified_ns: int
    looked_at: float  # seconds since the epoch
    below: tuple[str, ...]  # the directories in it that are looked into too
    cameras: Mapping[str, Span]  # all that is ours
    oldest: Mapping[str, float]  # by camera, of what may go
    kept: Mapping[str, Sum]  # of what is ours, what may not go: by why
    beside: Mapping[str, Sum]
    days: Mapping[int, int]  # bytes by the day from which their age counts
    settled: bool  # nothing in it will be another without a change of the directory
    leftovers: tuple[PurePosixPath, ...] = ()

    def is_as_it_was(self, modified_ns: int) -> bool:
        """Whether a directory that was changed last at that time holds what it held."""
        return self.settled and modified_ns == self.modified_ns

    @property
    def is_bare(self) -> bool:
        """Whether nothing stands there that is known."""
        return not (self.below or self.cameras or self.kept or self.beside or self.leftovers)


def shelf_of(listing: Listing, contents: Contents, looked_at: float) -> Shelf:
    """The summary of what a directory holds."""
    cameras: dict[str, Span] = {}
    oldest: dict[str, float] = {}
    kept: dict[str, Sum] = {}
    days: dict[int, int] = {}
    for one in contents.candidates:
        there = cameras.get(one.camera)
        added = Span(len(one.files), one.size, one.at, one.at)
        cameras[one.camera] = added if there is None else joined(there, added)
        day = int(one.at // _DAY_S)
        days[day] = days.get(day, 0) + one.size
        if one.keep:
            kept[one.keep] = kept.get(one.keep, Sum()) + one.sum
        else:
            oldest[one.camera] = min(oldest.get(one.camera, one.at), one.at)
    old_enough = listing.modified_ns / 1e9 < looked_at - _COARSEST_S
    settled = listing.complete and old_enough and NOT_LET_GO not in kept
    return Shelf(
        listing.modified_ns, looked_at, listing.below, cameras, oldest, kept, contents.beside, days, settled,
        listing.leftovers,
    )  # fmt: skip


def joined(one: Span, other: Span) -> Span:
    """Both together."""
    return Span(
        one.files + other.files, one.size + other.size,
        min(one.oldest_at, other.oldest_at), max(one.newest_at, other.newest_at),
    )  # fmt: skip


# -- the archive ------------------------------------------------------------------------------------------


def archive_contents(listing: Listing, rows: Mapping[str, Held], now: float) -> Contents:
    """What a directory of the archive holds; a recording with its snapshots goes, or stays, as one."""
    snapshots: dict[int, list[FoundFile]] = {}
    beside: dict[str, Sum] = {}
    for file in listing.snapshots:
        row = rows.get(file.path.name)
        if row is not None and row.is_snapshot and row.size == file.fingerprint.size:
            snapshots.setdefault(row.recording, []).append(file)
        else:
            _add(beside, UNKNOWN, file)
    candidates = []
    for clip in listing.clips:
        row = rows.get(clip.path.name)
        if row is None or row.is_snapshot:
            _add(beside, UNKNOWN, clip)
        else:
            protected = clip.path in listing.protected
            candidates.append(_archived(clip, row, snapshots.pop(row.recording, ()), protected=protected, now=now))
    for theirs in snapshots.values():  # their clip stands elsewhere, or does not
        for file in theirs:
            _add(beside, UNKNOWN, file)
    return Contents(tuple(candidates), beside)


def _archived(clip: FoundFile, row: Held, snapshots: Iterable[FoundFile], *, protected: bool, now: float) -> Candidate:
    files = (clip, *snapshots)
    keep = ""
    if protected:
        keep = PROTECTED
    elif row.size != clip.fingerprint.size:
        keep = NOT_AS_COMMITTED
    elif row.state is not State.DONE:
        keep = NOT_LET_GO
    return Candidate(
        Tree.ARCHIVE, clip.path, row.camera, reckoned_at(row.taken_at, _mtime(clip), row.seen_at, now),
        sum(file.fingerprint.size for file in files), _files(files), keep, row.recording,
        linked=any(file.linked for file in files),
    )  # fmt: skip


# -- the trash --------------------------------------------------------------------------------------------


def unknown_in_trash(listing: Listing, rows: Mapping[str, Trashed]) -> list[PurePosixPath]:
    """The files of a directory of the trash of which the file system has to tell since when they lie there."""
    return [file.path for file in (*listing.clips, *listing.snapshots) if _row(file, rows) is None]


def trash_contents(
    listing: Listing, rows: Mapping[str, Trashed], since: Mapping[PurePosixPath, float], now: float
) -> Contents:  # fmt: skip
    """What a directory of the trash holds. `since`: of what no row speaks of, since when it lies there."""
    protected = {
        row.recording for path in listing.protected if (row := rows.get(path.name)) is not None and row.recording
    }
    candidates = []
    for file in (*listing.clips, *listing.snapshots):
        row = _row(file, rows)
        at = since.get(file.path, now) if row is None else row.trashed_at
        stays = file.path in listing.protected or (row is not None and row.recording in protected)
        one = Candidate(
            Tree.TRASH, file.path, file.name.camera if row is None else row.camera, noted_at(at, now),
            file.fingerprint.size, _files([file]), PROTECTED if stays else "", None if row is None else row.recording,
            linked=file.linked,
        )  # fmt: skip
        candidates.append(one)
    return Contents(tuple(candidates))


def _row(file: FoundFile, rows: Mapping[str, Trashed]) -> Trashed | None:
    """What the catalog says of this very file."""
    row = rows.get(file.path.name)
    return row if row is not None and row.fingerprint.size == file.fingerprint.size else None


def _files(files: Iterable[FoundFile]) -> tuple[tuple[str, Fingerprint], ...]:
    return tuple((file.path.name, file.fingerprint) for file in files)


def _mtime(file: FoundFile) -> float:
    return file.fingerprint.mtime_ns / 1e9


def _add(beside: dict[str, Sum], why: str, file: FoundFile) -> None:
    beside[why] = beside.get(why, Sum()) + Sum(1, file.fingerprint.size)
