"""The values everything else speaks of: fingerprints, names, files found, recordings, receipts.

Those of which a scan makes a million are named tuples: they are made in a fraction of the time of a frozen dataclass.

Paths in these values are relative to the root of their tree. Names that are not UTF-8 are held as Python
holds them (`surrogateescape`); the catalog stores their bytes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import NamedTuple

_LARGEST = 0x7FFF_FFFF_FFFF_FFFF


class Tree(StrEnum):
    """The three trees, each with a root of its own."""

    SOURCE = "source"
    ARCHIVE = "archive"
    TRASH = "trash"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file stands: in which tree, and its path there."""

    tree: Tree
    path: PurePosixPath


class State(StrEnum):
    """Where a recording stands on its way.

    WAITING -> ACTIVE -> PUBLISHING -> ARCHIVED -> DONE is the way of a good one, and REMOVED its end, where the
    owner's rules have let go of its archive too. QUARANTINED stays in place until somebody looks. GONE is a source that
    was taken away, replaced, or let go of before it was archived.
    """

    WAITING = "waiting"
    ACTIVE = "active"
    PUBLISHING = "publishing"
    ARCHIVED = "archived"
    DONE = "done"
    REMOVED = "removed"
    QUARANTINED = "quarantined"
    GONE = "gone"


class ArchiveKind(StrEnum):
    """What the archive of a recording is."""

    TRANSCODED = "transcoded"
    VERBATIM = "verbatim"
    ADOPTED = "adopted"  # an archive found standing there, proven to be of this source
    REBUILT = "rebuilt"  # known again when the catalog was made anew; its source was gone by then


class Fingerprint(NamedTuple):
    """What tells one content of a path from another without reading it, under the root of its tree."""

    ino: int
    size: int  # bytes
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Fingerprint:
        mtime_ns = status.st_mtime_ns
        if not -_LARGEST <= mtime_ns <= _LARGEST:
            # An upload may bear a time beyond the year 2262, which SQLite can't hold: the nearest tells enough.
            mtime_ns = _LARGEST if mtime_ns > 0 else -_LARGEST
        # Some file systems number inodes above 2^63: the low bits tell enough.
        return cls(status.st_ino & _LARGEST, status.st_size, mtime_ns)


class ClipName(NamedTuple):
    """What the name of a clip or snapshot says."""

    camera: str  # as the name patterns read it, channel number included
    taken_at: datetime  # local time without zone, as the camera wrote it
    copy: int = 1  # 2 for `...~2.mp4`: the name archiverd gives when a name is taken


class FoundFile(NamedTuple):
    """A file of ours seen in a tree."""

    where: PurePosixPath  # the directory it stands in
    filename: str
    fingerprint: Fingerprint
    name: ClipName
    linked: bool = False  # it has more names than this one

    @classmethod
    def at(cls, path: PurePosixPath, fingerprint: Fingerprint, name: ClipName) -> FoundFile:
        """The file at a path below the root."""
        return cls(path.parent, path.name, fingerprint, name)

    def moved(self, path: PurePosixPath) -> FoundFile:
        """The same file at another path."""
        return self._replace(where=path.parent, filename=path.name)

    @property
    def path(self) -> PurePosixPath:
        """Made when it is asked for: of a million files only what is to be done about some of them is a path."""
        return self.where / self.filename

    @property
    def key(self) -> str:
        """The path as text, which is made more quickly, and looked up too."""
        where = str(self.where)
        return self.filename if where == "." else f"{where}/{self.filename}"


class FoundRecording(NamedTuple):
    """A clip seen in a tree, with the snapshots that belong to it."""

    clip: FoundFile
    snapshots: tuple[FoundFile, ...] = ()
    protected: bool = False  # a `<stem>.keep` stands beside it
    doubts: tuple[str, ...] = ()  # why its time stamp is not to be trusted, in words


@dataclass(frozen=True, slots=True)
class Discovery:
    """What one walk over a tree found. `ignored` counts what was left alone, by reason."""

    recordings: tuple[FoundRecording, ...]
    orphans: tuple[FoundFile, ...]  # snapshots whose recording is not there
    ignored: Mapping[str, int]
    leftovers: tuple[PurePosixPath, ...]  # `.archiverd-*.part` and `.archiverd-*.gone`, some of these directories
    incomplete: bool = False  # something could not be read: what was not found may still be there


@dataclass(frozen=True, slots=True)
class Orphans:
    """The snapshots of a tree whose recording is not there."""

    files: tuple[FoundFile, ...] = ()
    unseen: str = ""  # why they were not looked for, in words; empty where they were


@dataclass(frozen=True, slots=True)
class Listing:
    """What one directory of a tree holds; `path` is `.` for the root."""

    path: PurePosixPath
    modified_ns: int  # when something was last made, renamed or removed in it
    clips: tuple[FoundFile, ...]
    snapshots: tuple[FoundFile, ...]
    protected: frozenset[PurePosixPath]  # those of the clips that a `.keep` stands beside
    below: tuple[str, ...]  # the directories in it that recordings may stand in or below, sorted
    complete: bool  # all of it could be seen: what is not here is not there
    leftovers: tuple[PurePosixPath, ...] = ()  # `.archiverd-*.part` and `.archiverd-*.gone`


@dataclass(frozen=True, slots=True)
class Sighting:
    """What stands at paths that were asked about, and in directories that were."""

    clips: tuple[FoundFile, ...] = ()
    snapshots: tuple[FoundFile, ...] = ()
    missing: tuple[
        PurePosixPath, ...
    ] = ()  # clips and snapshots that do not stand there; what can't be seen is no more


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What the catalog knows of one content of a file of a directory."""

    name: str  # of the file
    fingerprint: Fingerprint
    state: State
    not_before: float  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Known:
    """What the catalog knows of the files directly in one directory."""

    clips: tuple[KnownFile, ...] = ()
    snapshots: frozenset[tuple[str, Fingerprint]] = frozenset()  # names, of those that are to go with their recording


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot as the catalog knows it; `id` names it there, and in its `.gone`."""

    id: int
    path: PurePosixPath
    fingerprint: Fingerprint
    disposed_to: Place | None = None  # in the trash, or beside the archive
    disposed: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """The evidence on which a source is let go. Written once, when its archive is committed."""

    kind: ArchiveKind
    source: Fingerprint
    source_sha256: str
    archive: Fingerprint
    archive_sha256: str
    rung: str  # "software", …; empty for a verbatim or adopted archive
    encoder: str  # what made it, with its version
    reason: str  # why verbatim or adopted; empty when transcoded
    frames: int
    duration_s: float
    checks: tuple[str, ...]  # the verdict's checks, each in words
    claimed_at: float  # seconds since the epoch
    encode_s: float
    verify_s: float
    committed_at: float
    device: str = ""  # the render node it was encoded on; empty in software
    falls: tuple[str, ...] = ()  # the rungs that were to make it and did not, each with why

    def as_json(self) -> dict[str, object]:
        """As it is written down, and told."""
        return asdict(self) | {"source": self.source._asdict(), "archive": self.archive._asdict()}


@dataclass(frozen=True, slots=True)
class Trashed:
    """A file in the trash, as the catalog knows it."""

    path: PurePosixPath  # below the root of the trash
    fingerprint: Fingerprint  # as it came: its inode is another where it was copied, or known again
    camera: str
    origin: Place  # the tree it came from, and its path there
    reason: str  # why it was let go of
    trashed_at: float  # seconds since the epoch
    recording: int | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A file in the archive that the catalog knows, as far as is asked before it may be removed."""

    recording: int
    state: State
    camera: str
    taken_at: datetime
    seen_at: float  # seconds since the epoch
    size: int  # as its receipt says, for a clip; the snapshot's own
    is_snapshot: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a recording's history."""

    at: float  # seconds since the epoch
    state: State
    reason: str


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording as the catalog knows it: a path and fingerprint, and how far it has come."""

    id: int
    path: PurePosixPath
    fingerprint: Fingerprint
    name: ClipName
    state: State
    reason: str
    not_before: float  # seconds since the epoch
    seen_at: float  # when this fingerprint was first seen
    attempts: int
    crashes: int
    job: str  # names its `.part` and `.gone`; empty when no job owns it
    archive: PurePosixPath | None
    archive_sha256: str  # set with `archive`, before the archive stands under its name
    archive_size: int
    receipt: Receipt | None
    disposed_to: PurePosixPath | None  # its place in the trash
    snapshots: tuple[Snapshot, ...] = ()
