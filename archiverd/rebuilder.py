"""Rebuilder: a catalog that was lost, made anew from what the trees still tell."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import PurePosixPath

from archiverd.media import boxes
from archiverd.media.own_tag import read_own_tag
from archiverd.media.source import declared_frames
from archiverd.policy import naming
from archiverd.policy.model import (
    ClipName,
    Discovery,
    FoundFile,
    FoundRecording,
    Place,
    Recording,
    State,
    Trashed,
    Tree,
)
from archiverd.policy.name_patterns import NamePatterns
from archiverd.policy.rebuilding import (
    KnownAgain,
    SeenArchive,
    is_of,
    known_again,
    may_be_source,
    source_name,
    stood_as,
)
from archiverd.policy.recovery import owner_of_gone
from archiverd.policy.stop import StopToken
from archiverd.policy.told import Told, parse_told
from archiverd.storage.catalog import TREES_READ, Catalog
from archiverd.storage.discovery import FileDiscovery
from archiverd.storage.file_manager import FileManager
from archiverd.storage.open_files import environment_faults
from archiverd.storage.roots import read_marker
from archiverd.trees import put_back_cleared
from archiverd.workbench import MakeDisplay

log = logging.getLogger(__name__)

_BATCH = 500  # rows in one commit
_IN_TRASH = "an archive that lay in the trash when the catalog was made anew"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild entered."""

    archives: int = 0
    retired: int = 0  # recordings whose archive lies in the trash
    only_in_trash: int = 0
    unsound: tuple[PurePosixPath, ...] = ()  # in the archive tree, and not whole
    put_back: tuple[PurePosixPath, ...] = ()  # sources that stood aside under no name of their own


@dataclass(slots=True)
class _Looked:
    """What was looked at: the archives that are whole with what they tell, where they stand and in the trash."""

    archives: list[SeenArchive] = field(default_factory=list)
    retired: list[SeenArchive] = field(default_factory=list)
    unsound: list[PurePosixPath] = field(default_factory=list)  # in the archive tree
    unread: bool = False  # there were some that could not be looked at


class Unseen(StrEnum):
    """Why nothing is known of an archive."""

    UNSOUND = "not whole"
    UNREADABLE = "can't be read"


class Rebuilder:
    """Enters what a new catalog can know, under the locks of all three roots. What is cut short is done again."""

    def __init__(
        self, catalog: Catalog, files: FileManager, discoveries: dict[Tree, FileDiscovery], names: NamePatterns,
        stop: StopToken, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._files = files
        self._discoveries = discoveries
        self._names = names  # of the source tree
        self._stop = stop
        self._clock = clock

    @property
    def needed(self) -> bool:
        """Whether the trees were not read, or not to their end, since the catalog was made."""
        return self._catalog.recall(TREES_READ) is None

    def rebuild(self, make_display: MakeDisplay) -> Rebuilt:
        """Enter every recording that is done by what stands, and put back what was set aside by a job nobody knows.

        An archive whose source stands is left to the run that follows: it proves it, and enters it then.
        Raises: Interrupted; ResourceError; StartupError where a root can't be read.
        """
        for tree in Tree:  # what removals had set aside stands again, or it would be taken for missing
            put_back_cleared(self._files, tree, self._discoveries[tree].scan_leftovers())
        rows = self._catalog.recordings()
        standing = self._discoveries[Tree.ARCHIVE].scan()
        known = {row.archive for row in rows if row.state not in (State.GONE, State.REMOVED)}
        sources, trash = (self._discoveries[tree].scan() for tree in (Tree.SOURCE, Tree.TRASH))
        trash, retired, alone = _without_archives(trash)
        unknown = [(Tree.ARCHIVE, found) for found in standing.recordings if found.clip.path not in known]
        unknown += [(Tree.TRASH, found) for found in retired if self._catalog.trash_at(found.clip.path) is None]
        looked = self._look_at(unknown, make_display) if unknown else _Looked()
        put_back = self._put_back(sources.leftovers, looked.archives)
        if put_back:
            sources = self._discoveries[Tree.SOURCE].scan()
        # What a disposal that was cut short has moved to the trash is its recording's, and no row says so yet.
        in_trash = [row.disposed_to or row.path for row in rows if row.disposed_to or row.state is State.ARCHIVED]
        new = [archive for archive in looked.retired if self._owner_of(archive) is None]
        entered = known_again(looked.archives, sources, trash, in_trash, new)
        all_seen = not looked.unread and not any(discovery.incomplete for discovery in (standing, sources, trash))
        if not all_seen:  # that no archive of it stands is not known
            entered = tuple(row for row in entered if row.state is State.DONE)
        for batch in _batches(entered):
            self._stop.check()
            self._catalog.enter_known(batch, self._clock(), self._trashed_at(batch))
        if all_seen:
            self._enter_retired(retired, alone, looked.retired)
            self._catalog.remember(TREES_READ, f"{self._clock():.0f}")
        counts = Counter(row.state for row in entered)
        return Rebuilt(
            counts[State.DONE], counts[State.REMOVED], counts[State.GONE], tuple(looked.unsound), tuple(put_back)
        )

    def _trashed_at(self, rows: Collection[KnownAgain]) -> dict[PurePosixPath, float]:
        """Since when what these rows speak of lies in the trash: by its ctime, which a rename sets as well."""
        places = [row.disposed_to for row in rows if row.disposed_to is not None]
        places += [row.retired for row in rows if row.retired is not None]
        for row in rows:
            theirs = (snapshot.disposed_to for snapshot in row.snapshots)
            places += [place.path for place in theirs if place is not None and place.tree is Tree.TRASH]
        statuses = ((place, self._files.status(Tree.TRASH, place)) for place in places)
        return {place: status.st_ctime for place, status in statuses if status is not None}

    def _enter_retired(
        self, retired: Iterable[FoundRecording], alone: Iterable[FoundFile], seen: Iterable[SeenArchive]
    ) -> None:
        """Enter what lies in the trash of archives and is not entered with its recording: of which it is, if one is."""
        by_path = {archive.file.path: archive for archive in seen}
        for found in retired:
            self._stop.check()
            clip = self._catalog.trash_at(found.clip.path)
            archive = by_path.get(found.clip.path)
            owner = None if clip is not None or archive is None else self._owner_of(archive)
            if owner is not None and owner.state is State.DONE and owner.job:  # a death came; it is noted next
                continue
            recording = clip.recording if clip is not None else None if owner is None else owner.id
            for file in (found.clip, *found.snapshots):
                self._enter_lying(file, recording)
        for file in alone:
            self._stop.check()
            self._enter_lying(file, None)

    def _enter_lying(self, file: FoundFile, recording: int | None) -> None:
        status = self._files.status(Tree.TRASH, file.path)
        if status is None or self._catalog.trash_at(file.path) is not None:
            return
        origin = Place(Tree.ARCHIVE, stood_as(file.path))
        one = Trashed(file.path, file.fingerprint, file.name.camera, origin, _IN_TRASH, status.st_ctime, recording)
        self._catalog.trashed(one, self._clock())

    def _owner_of(self, archive: SeenArchive) -> Recording | None:
        """The recording that is known and that an archive in the trash names: best one whose archive stands."""
        told = archive.told
        rows = [] if told is None else [row for row in self._catalog.standing_at(told.source) if is_of(told, row)]
        return max(rows, key=lambda row: (row.state is State.DONE, row.id), default=None)

    def _look_at(self, unknown: list[tuple[Tree, FoundRecording]], make_display: MakeDisplay) -> _Looked:
        """Look into what stands in the archive, and what lies of it in the trash."""
        looked = _Looked()
        marker = read_marker(self._files.roots[Tree.ARCHIVE])
        secret = "" if marker is None else marker.nonce
        with make_display(len(unknown), sum(found.clip.fingerprint.size for _, found in unknown)) as display:
            for tree, found in unknown:
                self._stop.check()
                display.begin(naming.printable(found.clip.path.name), found.clip.fingerprint.size, None)
                seen = self._look(tree, found, secret)
                match seen:
                    case SeenArchive():
                        (looked.archives if tree is Tree.ARCHIVE else looked.retired).append(seen)
                    case Unseen.UNSOUND:
                        looked.unsound += [found.clip.path] if tree is Tree.ARCHIVE else []
                    case Unseen.UNREADABLE:
                        looked.unread = True
                display.end("" if isinstance(seen, SeenArchive) else seen)
        return looked

    def _look(self, tree: Tree, found: FoundRecording, secret: str) -> SeenArchive | Unseen:
        """Raises: ResourceError where the machine fails: nothing is to be concluded from that."""
        name, where = naming.printable(found.clip.path), "trash" if tree is Tree.TRASH else f"{tree} tree"
        try:
            with environment_faults(found.clip.path), self._files.opened(tree, found.clip.path) as handle:
                walk = boxes.walk(handle)
                told = parse_told(read_own_tag(handle), secret) if walk.clean else None
        except OSError as error:
            log.warning("%s: in the %s, can't be read: %s", name, where, error.strerror)
            return Unseen.UNREADABLE
        if not walk.clean:
            log.warning("%s: in the %s, is not whole: %s", name, where, walk.fault)
            return Unseen.UNSOUND
        duration_s = max((track.duration_s for track in walk.tracks), default=0.0)
        return SeenArchive(self._named(found.clip, told), told, declared_frames(walk), duration_s, found.snapshots)

    def _named(self, clip: FoundFile, told: Told | None) -> FoundFile:
        """The archive with what its source's name says: its own may be shortened, or bear a `~2` of its own."""
        name = None if told is None else self._names.parse(told.source)
        return clip._replace(name=name) if isinstance(name, ClipName) else clip

    # -- what stands aside --------------------------------------------------------------------------------

    def _put_back(self, leftovers: Iterable[PurePosixPath], archives: list[SeenArchive]) -> list[PurePosixPath]:
        """Give sources that a job set aside their names back, where an archive tells the name by their content."""
        asides = [path for path in leftovers if naming.parse_gone_name(path.name) is not None]
        put_back: list[PurePosixPath] = []
        for aside in asides:
            self._stop.check()
            job, snapshot_id = owner_of_gone(naming.parse_gone_name(aside.name) or "")
            if snapshot_id is not None or self._catalog.of_job(job) is not None:
                continue
            try:
                put_back += self._put_back_job(aside, job, asides, archives)
            except OSError as error:  # one that can't be mended now keeps nobody from the others
                log.warning("%s: set aside by a job nobody knows: %s", naming.printable(aside), error)
        return put_back

    def _put_back_job(
        self, aside: PurePosixPath, job: str, asides: Iterable[PurePosixPath], archives: Iterable[SeenArchive]
    ) -> Iterator[PurePosixPath]:
        """Put back a source and the snapshots that the same job set aside, these first: it is the source that tells.

        The names of snapshots are lost; they are named after their clip.
        """
        name = self._name_of(aside, archives)
        if name is None:
            return
        clip = aside.with_name(name)
        for other in asides:
            owner, snapshot_id = owner_of_gone(naming.parse_gone_name(other.name) or "")
            if owner == job and snapshot_id is not None:
                yield self._files.put_back(Tree.SOURCE, other, other.with_name(f"{clip.stem}.jpg"))
        back = self._files.put_back(Tree.SOURCE, aside, clip)
        log.warning("%s: was set aside by a job nobody knows; its archive told its name", naming.printable(back))
        yield back

    def _name_of(self, aside: PurePosixPath, archives: Iterable[SeenArchive]) -> str | None:
        """The name a set-aside source had, by an archive that is of exactly its content."""
        status = self._files.status(Tree.SOURCE, aside)
        if status is None:
            return None
        for archive in archives:
            if not may_be_source(archive, aside.parent, status.st_size, status.st_mtime_ns):
                continue
            name = source_name(archive)
            is_clip = self._names.kind(aside.with_name(name)) is naming.FileKind.CLIP
            if is_clip and self._is_source(archive, aside):
                return name
        return None

    def _is_source(self, archive: SeenArchive, aside: PurePosixPath) -> bool:
        told = archive.told
        wanted = self._sha256(Tree.ARCHIVE, archive.file.path) if told is None else told.sha256
        return self._sha256(Tree.SOURCE, aside) == wanted

    def _sha256(self, tree: Tree, path: PurePosixPath) -> str:
        with self._files.opened(tree, path) as handle:
            return self._files.sha256(handle, self._stop)


def _batches(rows: Iterable[KnownAgain]) -> Iterator[list[KnownAgain]]:
    left = iter(rows)
    while batch := list(itertools.islice(left, _BATCH)):
        yield batch


def tell_of(rebuilt: Rebuilt) -> tuple[str, ...]:
    """What a rebuild found, in words and in the log; nothing of a first start over empty trees."""
    found = {
        "archives known again": rebuilt.archives,
        "archives in the trash known again": rebuilt.retired,
        "sources in the trash without an archive": rebuilt.only_in_trash,
        "archives that are not whole (`archiverd check` names them)": len(rebuilt.unsound),
        "sources that stood aside, and were put back": len(rebuilt.put_back),
    }
    words = [f"{what}: {count}" for what, count in found.items() if count]
    if not words:
        return ()
    note = f"the catalog is new, and was made from the trees; {'; '.join(words)}"
    log.warning("%s", note)
    return (note,)


def _without_archives(trash: Discovery) -> tuple[Discovery, list[FoundRecording], list[FoundFile]]:
    """The trash without the archives in it, these with their snapshots, and snapshots that lie there alone."""
    retired = [found for found in trash.recordings if _is_retired(found.clip)]
    sources = tuple(found for found in trash.recordings if not _is_retired(found.clip))
    alone = [orphan for orphan in trash.orphans if _is_retired(orphan)]
    orphans = tuple(orphan for orphan in trash.orphans if not _is_retired(orphan))
    return replace(trash, recordings=sources, orphans=orphans), retired, alone


def _is_retired(file: FoundFile) -> bool:
    return file.path.parts[0] == naming.RETIRED
