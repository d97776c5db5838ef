"""What an owner asks of the trash: what lies there, to have it back, to have it gone for good.

All of it works beside a run and a daemon, without their locks: a file leaves its name in the trash in one step, and
whoever comes second finds it gone.
"""

from __future__ import annotations

import logging
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby, islice
from pathlib import PurePosixPath

from archiverd.errors import ArchiverError, ResourceError
from archiverd.policy import naming
from archiverd.policy.answer import Answer
from archiverd.policy.model import ClipName, Fingerprint, FoundFile, Place, Trashed, Tree
from archiverd.policy.name_patterns import NamePatterns
from archiverd.policy.naming import printable
from archiverd.policy.stop import StopToken
from archiverd.storage.catalog import Catalog
from archiverd.storage.clearing import ClearingFailed
from archiverd.storage.discovery import FileDiscovery
from archiverd.storage.file_manager import FileManager
from archiverd.trees import Keeps

log = logging.getLogger(__name__)

NOT_KNOWN = "not in the catalog"
EMPTIED = "the trash was emptied by its owner"
_BATCH = 500  # files that are removed, and committed, in one go


@dataclass(frozen=True, slots=True)
class Lying:
    """A file that lies in the trash."""

    what: Trashed  # as the catalog knows it, or as its place tells
    fingerprint: Fingerprint  # as it lies there now
    clip: PurePosixPath  # that protects it, by a `.keep` beside: its own path, or that of the clip it lies beside
    protected: bool

    @property
    def size(self) -> int:
        return self.fingerprint.size


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which files of the trash are meant; None: all."""

    camera: str | None = None  # a glob
    tree: Tree | None = None  # they came from
    since: float | None = None  # they went there then, or later; seconds since the epoch
    before: float | None = None

    def fits(self, one: Trashed) -> bool:
        """Whether a file is one of them."""
        return (
            (self.camera is None or fnmatchcase(one.camera, self.camera))
            and (self.tree is None or one.origin.tree is self.tree)
            and (self.since is None or one.trashed_at >= self.since)
            and (self.before is None or one.trashed_at < self.before)
        )


@dataclass(frozen=True, slots=True)
class Emptied:
    """What became of files that were to go for good."""

    files: int
    freed: int  # bytes
    refused: tuple[Answer, ...]


class Trash:
    """The trash of one catalog.

    `finder` looks through it. `names` are the source tree's. `verify` raises where the root of a tree is not there, or
    is another's.
    """

    def __init__(
        self, files: FileManager, finder: FileDiscovery, names: NamePatterns, catalog: Catalog, *,
        verify: Callable[[Tree], None], stop: StopToken, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._files = files
        self._finder = finder
        self._names = names.in_tree(Tree.TRASH)
        self._catalog = catalog
        self._verify = verify
        self._stop = stop
        self._clock = clock

    # -- what lies there ----------------------------------------------------------------------------------

    def lying(self, wanted: Wanted = Wanted()) -> list[Lying]:
        """All that lies there and is meant, what went there first at first. Raises: StartupError."""
        self._verify(Tree.TRASH)
        known = {one.path: one for one in self._catalog.trash_all()}
        found = [one for one in self._all(known) if wanted.fits(one.what)]
        return sorted(found, key=lambda one: (one.what.trashed_at, one.what.path))

    def _all(self, known: dict[PurePosixPath, Trashed]) -> Iterator[Lying]:
        seen = self._finder.scan()
        for recording in seen.recordings:
            for file in (recording.clip, *recording.snapshots):
                yield from self._lying(file, known, recording.clip.path, protected=recording.protected)
        keeps = Keeps(self._files, Tree.TRASH)
        for file in seen.orphans:
            yield from self._lying(file, known, file.path, protected=keeps.protect(file.path))

    def _lying(
        self, file: FoundFile, known: dict[PurePosixPath, Trashed], clip: PurePosixPath, *, protected: bool
    ) -> Iterator[Lying]:
        what = known.get(file.path)
        if what is None or not _is_same(what.fingerprint, file.fingerprint):
            status = self._files.status(Tree.TRASH, file.path)
            if status is None:  # it has left meanwhile
                return
            what = by_place(file, status.st_ctime)
        yield Lying(what, file.fingerprint, clip, protected)

    # -- to have it back ----------------------------------------------------------------------------------

    def restore(self, paths: Iterable[PurePosixPath]) -> list[Answer]:
        """Bring files back to where they were, each clip with its snapshots, protected.

        Raises: StartupError where the trash is not there; Interrupted.
        """
        self._verify(Tree.TRASH)
        answers: list[Answer] = []
        brought: set[PurePosixPath] = set()
        for path in paths:
            self._stop.check()
            if path not in brought:
                answers += self._restore(path, brought)
        return answers

    def _restore(self, path: PurePosixPath, brought: set[PurePosixPath]) -> list[Answer]:
        one = self._at(path)
        if one is None:
            return [Answer(path, "no recording lies there", refused=True)]
        clip = one
        if _is_snapshot(path):
            found = self._clip_of(one)
            if isinstance(found, str):
                return [Answer(path, found, refused=True)]
            clip = found or one
        snapshots, unseen = ([], []) if _is_snapshot(clip.path) else self._snapshots_of(clip)
        answers = [self._bring(clip, protected=clip is not one or not self._goes_with_clip(one))]
        if not answers[0].refused or self._has_left(clip):
            answers += [self._bring(snapshot, protected=False) for snapshot in snapshots]
            answers += unseen
        brought.update(answer.path for answer in answers if not answer.refused)
        return answers

    def _at(self, path: PurePosixPath) -> Trashed | None:
        """The clip or snapshot that lies at a path; None where there is none."""
        status = self._files.status(Tree.TRASH, path)
        name = self._names.parse(path)
        if status is None or not stat.S_ISREG(status.st_mode) or not isinstance(name, ClipName):
            return None
        mark = Fingerprint.of(status)
        known = self._catalog.trash_at(path)
        if known is not None and _is_same(known.fingerprint, mark):
            return known
        return by_place(FoundFile.at(path, mark, name), status.st_ctime)

    def _together(self, one: Trashed) -> list[Trashed]:
        """All that lies in the trash and came there from the same recording in the same tree."""
        if one.recording is None:
            return self._beside(one)
        places = {theirs.path for theirs in self._catalog.trash_in(one.path.parent).values()}
        row = self._catalog.by_id(one.recording)
        places |= {s.disposed_to.path for s in row.snapshots if s.disposed_to and s.disposed_to.tree is Tree.TRASH}
        places |= {row.disposed_to} if row.disposed_to is not None else set()
        found = [self._at(path) for path in sorted(places)]
        key = (one.recording, one.origin.tree)
        return [other for other in found if other is not None and (other.recording, other.origin.tree) == key]

    def _beside(self, one: Trashed) -> list[Trashed]:
        """What the catalog does not know either, and has the same name but for its ending."""
        names = self._files.names(Tree.TRASH, one.path.parent)
        beside = (one.path.with_name(name) for name in names if name.rpartition(".")[0] == one.path.stem)
        return [other for other in map(self._at, beside) if other is not None and other.recording is None]

    def _snapshots_of(self, clip: Trashed) -> tuple[list[Trashed], list[Answer]]:
        """The snapshots that lie there with a clip, and why they are not known: that keeps no clip from coming back."""
        try:
            return [one for one in self._together(clip) if _is_snapshot(one.path)], []
        except OSError as error:
            return [], [Answer(clip.path, f"its snapshots can't be looked for: {_words(error)}", refused=True)]

    def _clip_of(self, snapshot: Trashed) -> Trashed | str | None:
        """The clip a snapshot goes with, in the trash; None where it may come alone; why it may not, in words."""
        clip = next((one for one in self._together(snapshot) if not _is_snapshot(one.path)), None)
        if clip is not None or not self._goes_with_clip(snapshot):
            return clip
        assert snapshot.recording is not None, "it goes with a recording"
        stands = self._catalog.by_id(snapshot.recording).path
        if self._files.status(Tree.SOURCE, stands) and self._files.keep_beside(Tree.SOURCE, stands):
            return None
        return "its recording does not stand, and it would follow it into the trash again: copy it to another place"

    def _goes_with_clip(self, one: Trashed) -> bool:
        """Whether what keeps a file, once it is back, is the `.keep` of its clip and not one of its own."""
        return _is_snapshot(one.path) and one.recording is not None and one.origin.tree is Tree.SOURCE

    def _bring(self, one: Trashed, *, protected: bool) -> Answer:
        try:
            self._verify(Tree.TRASH)
            self._verify(one.origin.tree)
            job = secrets.token_hex(6)
            path = self._files.bring_back(one.path, one.origin, job, self._stop, protected=protected)
            place = Place(one.origin.tree, path)
            if one.reason != NOT_KNOWN:
                self._catalog.trash_restored(one, place, self._clock())
        except FileNotFoundError:
            return Answer(one.path, "is not there any more", refused=True)
        except (OSError, ArchiverError) as error:
            return Answer(one.path, f"{self._how_far(one)}: {_words(error)}", refused=True)
        words = f"restored to the {place.tree} tree"
        if path != one.origin.path or path != _by_place(one.path).path:
            words += f" as {printable(path)}"
        log.info("%s: %s", printable(one.path), words)
        return Answer(one.path, f"{words}, protected" if protected else words)

    def _how_far(self, one: Trashed) -> str:
        """What became of a file whose way back was cut short."""
        if not self._has_left(one):
            return "can't be restored"
        return f"stands in the {one.origin.tree} tree again, but that may not last, or is not noted"

    def _has_left(self, one: Trashed) -> bool:
        """Whether a file is seen to stand where it came from, and in the trash no more."""
        try:
            lies, stands = (
                self._files.status(Tree.TRASH, one.path),
                self._files.status(one.origin.tree, one.origin.path),
            )
        except OSError:  # it can't be looked at either
            return False
        return lies is None and stands is not None

    # -- to have it gone ----------------------------------------------------------------------------------

    def empty(self, going: Sequence[Lying]) -> Emptied:
        """Delete files for good, directory by directory, but for what is protected by now; a stop ends it early.

        Raises: StartupError, ResourceError; what is gone by then is committed.
        """
        files, freed = 0, 0
        refused: list[Answer] = []
        for directory, batch in _batches(going):
            if self._stop.requested:
                break
            keeps = Keeps(self._files, Tree.TRASH)  # as they stand now
            gone = self._clear(directory, [one for one in batch if not keeps.protect(one.clip)], refused)
            files, freed = files + len(gone), freed + sum(gone.values())
            self._files.remove_empty(Tree.TRASH, directory)
        return Emptied(files, freed, tuple(refused))

    def _clear(self, directory: PurePosixPath, batch: Sequence[Lying], refused: list[Answer]) -> dict[str, int]:
        self._verify(Tree.TRASH)
        wanted = [(one.what.path.name, one.fingerprint) for one in batch]
        job = secrets.token_hex(6)
        failed: ResourceError | None = None
        try:
            cleared = self._files.clear(
                Tree.TRASH, directory, wanted, job, to_trash=False, go_on=lambda: not self._stop.requested
            )  # fmt: skip
        except ClearingFailed as error:
            cleared, failed = error.cleared, error
        self._catalog.trash_gone([directory / name for name in cleared.gone], EMPTIED, self._clock())
        for one in batch:
            if one.what.path.name in cleared.gone:
                self._tell_gone(one.what, job)
        for name, why in cleared.refused.items():
            refused.append(Answer(directory / name, f"stays: {why}", refused=True))
        if failed is not None:
            raise failed
        return dict(cleared.gone)

    def _tell_gone(self, one: Trashed, job: str) -> None:
        fields = {"camera": one.camera, "job": job, "reason": EMPTIED}
        if one.recording is not None:
            fields["recording"] = printable(self._catalog.by_id(one.recording).path)
        log.info("%s: deleted from the trash for good: %s", printable(one.path), EMPTIED, extra=fields)


def by_place(file: FoundFile, at: float) -> Trashed:
    """What the place of a file in the trash tells of it; it went there when its name was given, at the latest."""
    return Trashed(file.path, file.fingerprint, file.name.camera, _by_place(file.path), NOT_KNOWN, at)


def _by_place(path: PurePosixPath) -> Place:
    """Where a file of the trash came from, but for a mark it may have got there."""
    if path.parts[0] == naming.RETIRED:
        return Place(Tree.ARCHIVE, path.relative_to(naming.RETIRED))
    return Place(Tree.SOURCE, path)


def _is_same(one: Fingerprint, other: Fingerprint) -> bool:
    """Whether it is the same file: what came from another file system has another inode."""
    return (one.size, one.mtime_ns) == (other.size, other.mtime_ns)


def _words(error: OSError | ArchiverError) -> str:
    if isinstance(error, ArchiverError):
        return str(error)
    where = f"{printable(str(error.filename))}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _is_snapshot(path: PurePosixPath) -> bool:
    return naming.is_snapshot_name(path.name)


def _batches(files: Sequence[Lying]) -> Iterator[tuple[PurePosixPath, list[Lying]]]:
    """Files of one directory each, not too many at a time."""
    by_path = sorted(files, key=lambda one: (one.what.path.parent, one.what.path))
    for directory, theirs in groupby(by_path, key=lambda one: one.what.path.parent):
        while batch := list(islice(theirs, _BATCH)):
            yield directory, batch
