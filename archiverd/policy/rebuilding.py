"""What the trees still tell of recordings that a lost catalog knew: pure, from what was seen to what is entered.

An archive names its source in its metadata, the trash has the layout of the source tree, protection is a file: so most
of what the catalog knew can be known again. What is entered here is an index, and no evidence. A source that
stands is never let go of by it: its recording is entered when its turn comes, and its archive is proven then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import PurePosixPath

from archiverd.policy import naming
from archiverd.policy.model import (
    ArchiveKind,
    ClipName,
    Discovery,
    Fingerprint,
    FoundFile,
    FoundRecording,
    Place,
    Receipt,
    Recording,
    Snapshot,
    State,
    Tree,
)
from archiverd.policy.told import Told

_NAMED = "its archive stands and names it"
_UNNAMED = "an archive stands that names no source: the original bytes, or a file somebody put there"
_NO_ARCHIVE = "it lies in the trash, and no archive of it stands"
_RETIRED = "its archive lay in the trash when the catalog was made anew"
_CLOCK_NS = 2_000_000_000  # what a file system may round a time to: FAT counts in steps of two seconds


@dataclass(frozen=True, slots=True)
class SeenArchive:
    """An archive, whole by its boxes. `told` is what it says of its source, None where it says nothing.

    It stands in the archive tree, or lies in the trash, below `archived/`: `file` has its path there.
    """

    file: FoundFile
    told: Told | None
    frames: int
    duration_s: float
    snapshots: tuple[FoundFile, ...] = ()  # beside it

    @property
    def source_size(self) -> int:
        return self.file.fingerprint.size if self.told is None else self.told.size

    @property
    def source_mtime_ns(self) -> int:
        return self.file.fingerprint.mtime_ns if self.told is None else self.told.mtime_ns


@dataclass(frozen=True, slots=True)
class KnownAgain:
    """A recording to be entered into a catalog that is made anew."""

    path: PurePosixPath  # its source's, as far as it can be known
    fingerprint: Fingerprint  # of its source, with an inode that no file has: no file is ever taken for it
    name: ClipName
    state: State  # DONE; REMOVED where its archive lies in the trash; GONE where there is none
    reason: str
    archive: SeenArchive | None  # by the path it has, or had, in the archive tree
    disposed_to: PurePosixPath | None  # its place in the trash
    snapshots: tuple[Snapshot, ...] = ()  # with their places, in the trash or beside the archive
    retired: PurePosixPath | None = None  # the place of its archive in the trash

    def came_from(self, snapshot: Snapshot) -> Place:
        """Where a snapshot of it was that lies in the trash: beside its clip, or beside its archive."""
        place = snapshot.disposed_to
        if self.retired is None or place is None or place.tree is not Tree.TRASH or not _is_retired(place.path):
            return Place(Tree.SOURCE, snapshot.path)
        return Place(Tree.ARCHIVE, stood_as(place.path))

    def receipt(self, now: float) -> Receipt | None:
        """What is known of its archive, of which no byte was read; None where there is none."""
        archive = self.archive
        if archive is None:
            return None
        return Receipt(
            kind=ArchiveKind.REBUILT, source=self.fingerprint,
            source_sha256="" if archive.told is None else archive.told.sha256,
            archive=archive.file.fingerprint, archive_sha256="", rung="", encoder="", reason=self.reason,
            frames=archive.frames, duration_s=archive.duration_s, checks=("its boxes are whole",), claimed_at=now,
            encode_s=0.0, verify_s=0.0, committed_at=now,
        )  # fmt: skip


def known_again(
    archives: Sequence[SeenArchive], sources: Discovery, trash: Discovery,
    known_in_trash: Iterable[PurePosixPath] = (), retired: Iterable[SeenArchive] = (),
) -> tuple[KnownAgain, ...]:  # fmt: skip
    """The recordings that are done, by what stands: archives whose source is gone, and what lies in the trash alone.

    `known_in_trash` are places in the trash that the catalog speaks of already, `retired` the archives that lie there:
    one is its recording's where no other stands, and where it names its source or has one in the trash. Oldest first.
    """
    standing = _BySize(sources.recordings)
    known = set(known_in_trash)
    trashed = _BySize(found for found in trash.recordings if found.clip.path not in known)
    # Those that name their source choose first: what only looks alike must not take its place.
    ordered = sorted(archives, key=lambda archive: (archive.told is None, archive.file.name.taken_at))
    # A copy that somebody made has a time of its own: the run that follows tells by its bytes whose it is.
    gone = [archive for archive in ordered if standing.take(archive, whatever_time=archive.told is None) is None]
    rows = [_of_archive(archive, trashed.take(archive)) for archive in gone]
    rows += _of_retired(retired, {_of_what(archive) for archive in archives}, standing, trashed)
    rows += [_of_trash(found) for found in trashed.rest()]
    return tuple(sorted(rows, key=lambda row: (row.name.taken_at, row.path)))


def is_of(told: Told, row: Recording) -> bool:
    """Whether an archive that tells this is one of a recording that stands, or stood, at the path it names."""
    if row.receipt is None:
        return False
    if row.receipt.source_sha256:
        return row.receipt.source_sha256 == told.sha256
    return row.fingerprint.size == told.size and abs(row.fingerprint.mtime_ns - told.mtime_ns) <= _CLOCK_NS


def _is_retired(lies: PurePosixPath) -> bool:
    return lies.parts[0] == naming.RETIRED


def stood_as(retired: PurePosixPath) -> PurePosixPath:
    """The path that an archive, or a snapshot beside it, had before it went to this place in the trash."""
    return retired.relative_to(naming.RETIRED)


def may_be_source(archive: SeenArchive, directory: PurePosixPath, size: int, mtime_ns: int) -> bool:
    """Whether a file of this size and time, found in this directory under no name of its own, may be its source."""
    if archive.told is not None and archive.told.source.parent != directory:
        return False
    return archive.source_size == size and abs(archive.source_mtime_ns - mtime_ns) <= _CLOCK_NS


def source_name(archive: SeenArchive) -> str:
    """The name an archive's source had, as far as it can be known."""
    return archive.file.path.name if archive.told is None else archive.told.source.name


class _BySize:
    """Recordings that stand in a tree, each given out once."""

    def __init__(self, found: Iterable[FoundRecording]) -> None:
        self._found: dict[tuple[str, datetime, int], list[FoundRecording]] = defaultdict(list)
        for recording in found:
            name, mark = recording.clip.name, recording.clip.fingerprint
            self._found[name.camera, name.taken_at, mark.size].append(recording)

    def take(self, archive: SeenArchive, *, whatever_time: bool = False) -> FoundRecording | None:
        """The recording that is this archive's source, by camera, second, size and time; the one it names first."""
        name = archive.file.name
        there = self._found.get((name.camera, name.taken_at, archive.source_size), [])
        fitting = [
            found
            for found in there
            if whatever_time or abs(found.clip.fingerprint.mtime_ns - archive.source_mtime_ns) <= _CLOCK_NS
        ]
        if not fitting:
            return None
        wanted = archive.file.path if archive.told is None else archive.told.source
        best = min(fitting, key=lambda found: (found.clip.path != wanted, found.clip.path))
        there.remove(best)
        return best

    def rest(self) -> list[FoundRecording]:
        return [recording for there in self._found.values() for recording in there]


def _of_archive(archive: SeenArchive, trashed: FoundRecording | None) -> KnownAgain:
    path = archive.file.path
    if archive.told is not None:
        path = archive.told.source
    elif trashed is not None:
        path = trashed.clip.path
    return KnownAgain(
        path=path,
        fingerprint=Fingerprint(_no_inode(archive.file), archive.source_size, archive.source_mtime_ns),
        name=archive.file.name,
        state=State.DONE,
        reason=_UNNAMED if archive.told is None else _NAMED,
        archive=archive,
        disposed_to=None if trashed is None else trashed.clip.path,
        snapshots=(*_in_trash(trashed), *_beside(archive, path.parent)),
    )


def _of_what(archive: SeenArchive) -> tuple[PurePosixPath, str | int]:
    """The path and content of its source: by SHA-256, or where that is not known by size."""
    told = archive.told
    return (archive.file.path, archive.source_size) if told is None else (told.source, told.sha256)


def _of_retired(
    retired: Iterable[SeenArchive], stand: set[tuple[PurePosixPath, str | int]], sources: _BySize, trashed: _BySize
) -> Iterator[KnownAgain]:
    """The recordings whose archive lies in the trash: no other stands, and neither does their source."""
    for archive in sorted(retired, key=lambda one: (one.told is None, one.file.name.taken_at, one.file.path)):
        told = archive.told
        if told is not None and not stand.isdisjoint({(told.source, told.sha256), (told.source, told.size)}):
            continue
        stood = replace(archive, file=archive.file.moved(stood_as(archive.file.path)))
        if sources.take(stood) is not None:  # it is archived when its turn comes
            stand.add(_of_what(stood))
            continue
        source = trashed.take(stood)
        if told is None and source is None:  # of what it is an archive, nothing tells
            continue
        row = _of_archive(replace(stood, snapshots=()), source)
        beside = (
            Snapshot(0, row.path.with_name(file.path.name), file.fingerprint, Place(Tree.TRASH, file.path), True)
            for file in archive.snapshots
        )
        yield replace(
            row, state=State.REMOVED, reason=_RETIRED, retired=archive.file.path, snapshots=(*row.snapshots, *beside)
        )


def _in_trash(trashed: FoundRecording | None) -> Iterator[Snapshot]:
    """The trash is laid out as the source tree: the place there is the path each had."""
    for file in () if trashed is None else trashed.snapshots:
        yield Snapshot(0, file.path, file.fingerprint, Place(Tree.TRASH, file.path), disposed=True)


def _beside(archive: SeenArchive, directory: PurePosixPath) -> Iterator[Snapshot]:
    """Beside the archive only the names are kept: each lay in the directory of its clip, as far as can be known."""
    for file in archive.snapshots:
        place = Place(Tree.ARCHIVE, file.path)
        yield Snapshot(0, directory / file.path.name, file.fingerprint, place, disposed=True)


def _of_trash(found: FoundRecording) -> KnownAgain:
    mark = found.clip.fingerprint
    return KnownAgain(
        path=found.clip.path,
        fingerprint=Fingerprint(_no_inode(found.clip), mark.size, mark.mtime_ns),
        name=found.clip.name,
        state=State.GONE,
        reason=_NO_ARCHIVE,
        archive=None,
        disposed_to=found.clip.path,
        snapshots=tuple(_in_trash(found)),
    )


def _no_inode(file: FoundFile) -> int:
    """A number for what is not there any more: below zero, and another for each file it is known by."""
    return -1 - file.fingerprint.ino
