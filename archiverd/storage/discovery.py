"""What stands in a tree: recordings, orphan snapshots, leftovers, and what was left alone.

A walk goes down only where the name patterns of the tree may still fit. Everything is looked at through directory
handles and without following symlinks below the root. Nothing here changes anything.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from operator import attrgetter, itemgetter
from pathlib import Path, PurePosixPath

from archiverd.errors import StartupError
from archiverd.policy.model import ClipName, Discovery, Fingerprint, FoundFile, FoundRecording, Listing, Sighting
from archiverd.policy.name_patterns import CANONICAL, Folder, NamePatterns
from archiverd.policy.naming import (
    FileKind,
    NotAClip,
    doubts,
    is_keep_name,
    is_leftover,
    is_own_at_top,
    is_snapshot_name,
    keep_name,
    parse_gone_name,
    printable,
)
from archiverd.policy.pairing import Near, Pairing, owners, pair_asked
from archiverd.storage.paths import directory, open_directory

log = logging.getLogger(__name__)

_LEFTOVERS = frozenset({FileKind.PART, FileKind.GONE})
_VANISHED = frozenset({errno.ENOENT, errno.ESTALE})  # ESTALE: deleted on the server of a network file system
_REPLACED = frozenset({errno.ELOOP, errno.ENOTDIR})  # it was a directory when it was listed
_TOP = PurePosixPath()

_Identity = tuple[int, int]  # st_dev, st_ino; compared only within one walk
_Below = tuple[str, Folder]  # a directory to go down to, by its name
_Place = tuple[int, Folder]  # an open directory
_Read = Callable[[PurePosixPath, int, Folder], list[_Below]]  # what is done with each directory, by its open handle


class Ignored(StrEnum):
    """Why something was left alone: the keys of `Discovery.ignored`."""

    SYMLINK = "symlink"
    SPECIAL = "FIFO, socket or device"
    DIRECTORY = "directory where files belong"
    FOREIGN = "foreign name"
    IMPOSSIBLE = "impossible date"
    OUTSIDE = "file outside the directories of recordings"
    OTHER_DIRECTORY = "directory of something else"
    REPLACED = "directory replaced while it was looked at"
    UNREADABLE = "unreadable directory"
    UNREADABLE_FILE = "unreadable file"


_HIDING = (Ignored.UNREADABLE, Ignored.UNREADABLE_FILE, Ignored.REPLACED)  # what stands there is not known


def always() -> None:
    """Go on, whatever comes."""


class FileDiscovery:
    """Looks through one tree. For one thread at a time.

    `names` are the patterns of what stands in it. `exclude` are directories never descended into, wherever they stand
    and by whatever path they are reached (the other trees, the state); the tree's own root may be among them. `now`
    gives seconds since the epoch. `own_at_top` tells by name what at the top of the tree is not looked at, for it is
    archiverd's own. `go_on` is called before each directory of a walk, and may end it by raising.
    """

    def __init__(
        self, root: Path, *, names: NamePatterns = CANONICAL, exclude: Iterable[Path] = (), snapshot_window_s: float,
        now: Callable[[], float], go_on: Callable[[], None] = always, own_at_top: Callable[[str], bool] = is_own_at_top,
    ) -> None:  # fmt: skip
        self._own_at_top = own_at_top
        self._root = root
        self._names = names
        self._exclude = tuple(exclude)
        self._snapshot_window_s = snapshot_window_s
        self._now = now
        self._warned: frozenset[PurePosixPath] = frozenset()
        self._go_on = go_on

    def scan(self) -> Discovery:
        """All that stands where recordings may. Recordings come oldest first, by (taken_at, path).

        What vanishes meanwhile is passed over. What cannot be read is counted, and logged once for as long as it
        stays so: that a path was not found proves nothing where the discovery is `incomplete`.

        Raises: StartupError where the root itself cannot be opened and listed.
        """
        now = self._now()
        with _collector_paused(), self._walk(None) as (walk, root):
            content = _Content(walk)
            walk.go_down(_TOP, root, self._names.root, content.read)
            content.clips.sort(key=attrgetter("name.taken_at", "where", "filename"))
            owned, orphans = owners(content.clips, content.snapshots, self._snapshot_window_s)
            recordings = tuple(
                FoundRecording(
                    clip,
                    owned.get(number, ()),
                    content.is_protected(clip),
                    doubts(clip.name, clip.fingerprint.mtime_ns, now),
                )
                for number, clip in enumerate(content.clips)
            )
            incomplete = any(walk.ignored[reason] for reason in _HIDING)
        return Discovery(recordings, orphans, dict(walk.ignored), tuple(sorted(content.leftovers)), incomplete)

    def scan_leftovers(self) -> tuple[PurePosixPath, ...]:
        """Every `.part` and `.gone` of any archiverd in the directories of recordings, by name alone, sorted.

        A directory among them is what a batch of removals sets files aside in (`FileManager.put_back_all`).

        Raises: StartupError where the root itself cannot be opened and listed.
        """
        with self._walk(None) as (walk, root):
            content = _Content(walk)
            walk.go_down(_TOP, root, self._names.root, content.read_leftovers)
        return tuple(sorted(content.leftovers))

    def listing(self, where: PurePosixPath) -> Listing | None:
        """What stands directly in one directory; None where there is none.

        One that can't be looked into, or in which no recordings can stand, is not `complete`. Holds nothing open
        afterwards: the disk may be unmounted between two of these.

        Raises: StartupError where the root itself cannot be opened and listed.
        """
        with _collector_paused(), self._walk({where}) as (walk, root), walk.reached(root, where, self._names) as place:
            if place is None:
                return None if walk.is_gone(where) else Listing(where, 0, (), (), frozenset(), (), complete=False)
            handle, folder = place
            modified_ns = os.fstat(handle).st_mtime_ns  # before it is read: what comes meanwhile changes it
            content = _Content(walk)
            below = content.read(where, handle, folder)
        incomplete = any(walk.ignored[reason] for reason in _HIDING)
        return Listing(
            where,
            modified_ns,
            tuple(content.clips),
            tuple(content.snapshots),
            frozenset(clip.path for clip in content.clips if content.is_protected(clip)),
            tuple(sorted(name for name, _ in below)),
            complete=not incomplete,
            leftovers=tuple(sorted(content.leftovers)),
        )

    def modified_ns(self, where: PurePosixPath) -> int | None:
        """When something was last made, renamed or removed in a directory; None where there is none.

        0 for one that can't be looked into, or in which no recordings can stand.

        Raises: StartupError where the root itself cannot be opened and listed.
        """
        with self._walk(set()) as (walk, root), walk.reached(root, where, self._names) as place:
            if place is None:
                return None if walk.is_gone(where) else 0
            return os.fstat(place[0]).st_mtime_ns

    def mark(self, where: PurePosixPath) -> int | None:
        """A mark of all that stands directly in one directory: while it stays the same, so does that.

        It is of the names, of clips also which file it is, its size and when it was written to: what is written into
        a clip in place gives another mark. Holds within one process. None where the directory can't be looked into, or
        no recordings can stand in it.

        Raises: StartupError where the root itself cannot be opened and listed.
        """
        with self._walk(set()) as (walk, root), walk.reached(root, where, self._names) as place:
            if place is None:
                return None
            try:
                return _mark(place[0])
            except OSError:  # accounted for, or seen to be gone, when it is read
                return None

    def look(self, paths: Iterable[PurePosixPath], directories: Iterable[PurePosixPath] = ()) -> Sighting:
        """What stands at these paths of clips and snapshots, and all that stands in and below these directories.

        What is another thing than a regular file, or reached through a symlink, does not stand there.

        Raises: StartupError where the root itself cannot be opened and listed.
        """
        wanted: dict[PurePosixPath, set[str]] = {}
        for path in paths:
            wanted.setdefault(path.parent, set()).add(path.name)
        with _collector_paused(), self._walk(set()) as (walk, root):
            content = _Content(walk)
            for where in _uppermost(directories):
                content.read_below(root, where, self._names)
            seen = {file.path for file in (*content.clips, *content.snapshots)}
            missing = []
            for where, filenames in wanted.items():
                others = sorted(filename for filename in filenames if where / filename not in seen)
                missing += content.look(root, where, self._names, others)
        return Sighting(tuple(content.clips), tuple(content.snapshots), tuple(missing))

    def pairs(self, asked: Sequence[FoundFile], done: Sequence[FoundFile] = ()) -> Pairing:
        """Which of the snapshots that stand in the tree belong to the clips asked about, and to whom those asked about.

        `done` are clips that went before, which a snapshot may belong to as well: those of the same moments suffice.
        Reads the directories whose paths leave room for these moments, and those of the files themselves.

        Raises: StartupError where the root itself cannot be opened and listed.
        """
        near = Near(asked, self._snapshot_window_s)
        own = {above for file in asked for above in (file.path.parent, *file.path.parent.parents)}
        with _collector_paused(), self._walk(set()) as (walk, root):
            content = _Content(walk, near)

            def read(where: PurePosixPath, handle: int, folder: Folder) -> list[_Below]:
                below = content.read(where, handle, folder)
                return [(name, deeper) for name, deeper in below if where / name in own or _may_hold(deeper, near)]

            walk.go_down(_TOP, root, self._names.root, read)
        standing = {clip.path for clip in content.clips}
        clips = [*content.clips, *(clip for clip in done if clip.path not in standing)]
        return pair_asked(asked, clips, content.snapshots, self._snapshot_window_s)

    @contextmanager
    def _walk(self, within: set[PurePosixPath] | None) -> Iterator[tuple[_Walk, int]]:
        """A walk, and the open root to begin it at.

        What can't be read is told again only when it could be read meanwhile; `within` are the directories the walk
        reads, None for a walk over all of them.
        """
        walk = _Walk(self._root, _identities(self._exclude), self._warned, self._go_on, self._own_at_top)
        with ExitStack() as stack:
            try:
                root = stack.enter_context(directory(self._root))
                os.listdir(root)  # opening alone does not tell a device or a server that fails
            except OSError as error:
                raise StartupError(
                    f"cannot read the directory {printable(self._root)}: {error.strerror}",
                    advice="Check that it exists, is mounted, and may be read and searched by this user",
                ) from error
            yield walk, root
        kept = frozenset() if within is None else self._warned - within
        self._warned = kept | walk.unreadable


class _Content:
    """What the directories hold, gathered one by one."""

    def __init__(self, walk: _Walk, near: Near | None = None) -> None:
        self._walk = walk
        self._near = near  # of other files the names suffice
        self.clips: list[FoundFile] = []
        self.snapshots: list[FoundFile] = []
        self.leftovers: list[PurePosixPath] = []
        self._keeps: set[PurePosixPath] = set()

    def read(self, where: PurePosixPath, handle: int, folder: Folder) -> list[_Below]:
        below: list[_Below] = []
        parse, near = folder.parse, self._near
        at_top = not where.parts
        for entry in self._walk.entries(where, handle):
            filename = entry.name
            if at_top and self._walk.own_at_top(filename):
                continue
            name = parse(filename)
            if isinstance(name, NotAClip):
                below += self._take_other(where, entry, folder, name)
            elif near is None or near.holds(name):
                status = self._walk.status(where, entry)
                if status is not None:
                    self._take(where, filename, name, status)
        return below

    def read_below(self, root: int, where: PurePosixPath, names: NamePatterns) -> None:
        """Read one directory, if it is there, and all below it."""
        with self._walk.reached(root, where, names) as place:
            if place is not None:
                self._walk.go_down(where, *place, self.read)

    def look(
        self, root: int, where: PurePosixPath, names: NamePatterns, filenames: Iterable[str]
    ) -> list[PurePosixPath]:
        """Take the clips and snapshots of these names in one directory; returns those that do not stand there."""
        with self._walk.reached(root, where, names) as place:
            if place is not None:
                return [where / filename for filename in filenames if self._is_missing(where, filename, *place)]
            return [where / filename for filename in filenames] if self._walk.is_gone(where) else []

    def _is_missing(self, where: PurePosixPath, filename: str, handle: int, folder: Folder) -> bool:
        """Whether a clip or snapshot does not stand there; taken where it does."""
        name = folder.parse(filename)
        if isinstance(name, NotAClip) or (not where.parts and self._walk.own_at_top(filename)):
            return False
        try:
            status = os.stat(filename, dir_fd=handle, follow_symlinks=False)
        except OSError as error:
            return self._walk.has_vanished(where, filename, error)
        return not self._take(where, filename, name, status)

    def _take(self, where: PurePosixPath, filename: str, name: ClipName, status: os.stat_result) -> bool:
        """Take what has the name of a clip or snapshot, where it is a regular file; tells whether it is."""
        if not stat.S_ISREG(status.st_mode):
            self._walk.ignored[_reason_by_type(status.st_mode)] += 1
            return False
        file = FoundFile(where, filename, Fingerprint.of(status), name, status.st_nlink > 1)
        (self.snapshots if is_snapshot_name(filename) else self.clips).append(file)
        return True

    def read_leftovers(self, where: PurePosixPath, handle: int, folder: Folder) -> list[_Below]:
        below: list[_Below] = []
        for entry in self._walk.entries(where, handle):
            if folder.holds_files and _is_left_by_a_job(entry):
                self.leftovers.append(where / entry.name)
            elif (deeper := _below(entry, folder)) is not None:
                below.append((entry.name, deeper))
        return below

    def _take_other(
        self, where: PurePosixPath, entry: os.DirEntry[str], folder: Folder, name: NotAClip
    ) -> Iterable[_Below]:
        """Account for what is no clip; the directory to go down to, where it is one."""
        kind = folder.kind(entry.name)
        if folder.holds_files and is_keep_name(entry.name):  # of whatever type: a doubtful protection protects
            self._keeps.add(where / (entry.name[: -len("keep")] + "keep"))
        if kind is FileKind.KEEP:
            return ()
        if not _is_file(entry):
            if folder.holds_files and kind is FileKind.GONE and _is_directory(entry):
                self.leftovers.append(where / entry.name)
                return ()
            deeper = _below(entry, folder)
            if deeper is not None:
                return ((entry.name, deeper),)
            as_directory = Ignored.OTHER_DIRECTORY if folder.holds_directories else Ignored.DIRECTORY
            self._walk.pass_over_other_type(where, entry, as_directory)
        elif not folder.holds_files:
            self._walk.ignored[Ignored.OUTSIDE] += 1
        elif kind in _LEFTOVERS:
            self.leftovers.append(where / entry.name)
        else:
            self._walk.ignored[Ignored.IMPOSSIBLE if name.impossible_date else Ignored.FOREIGN] += 1
        return ()

    def is_protected(self, clip: FoundFile) -> bool:
        return bool(self._keeps) and clip.where / keep_name(clip.filename) in self._keeps


class _Walk:
    """One walk over a tree: opens, lists, and accounts for all it leaves alone."""

    def __init__(
        self, root: Path, excluded: frozenset[_Identity], warned: frozenset[PurePosixPath],
        go_on: Callable[[], None], own_at_top: Callable[[str], bool],
    ) -> None:  # fmt: skip
        self._go_on = go_on
        self.own_at_top = own_at_top
        self._root = root
        self._excluded = excluded
        self._warned = warned
        self.ignored: Counter[str] = Counter()
        self.unreadable: set[PurePosixPath] = set()
        self._gone: set[PurePosixPath] = set()  # no directory stands there

    @contextmanager
    def reached(self, root: int, where: PurePosixPath, names: NamePatterns) -> Iterator[_Place | None]:
        """An open directory below the open root, and what it is to the patterns; None where it can't be looked into."""
        folder = names.root
        with ExitStack() as stack:
            handle = root
            for depth, name in enumerate(where.parts, 1):
                deeper = folder.enter(name) if depth > 1 or not self.own_at_top(name) else None
                path = PurePosixPath(*where.parts[:depth])
                below = stack.enter_context(self._opened(handle, path)) if deeper is not None else None
                if deeper is None or below is None:
                    yield None
                    return
                handle, folder = below, deeper
            yield handle, folder

    def is_gone(self, where: PurePosixPath) -> bool:
        """Whether it was seen that no directory stands at this path."""
        return bool(self._gone) and not self._gone.isdisjoint((where, *where.parents))

    def go_down(self, where: PurePosixPath, handle: int, folder: Folder, read: _Read) -> None:
        """Have `read` look at the open directory `where`, then at each one below it that it names, by name."""
        for name, deeper in sorted(read(where, handle, folder), key=itemgetter(0)):
            self._go_on()
            with self._opened(handle, where / name) as below:
                if below is not None:
                    self.go_down(where / name, below, deeper, read)

    def entries(self, where: PurePosixPath, handle: int) -> Iterator[os.DirEntry[str]]:
        """The entries of the open directory `where`; one that cannot be listed to its end is accounted for."""
        try:
            with os.scandir(handle) as entries:
                yield from entries
        except OSError as error:
            self._cannot_read(where, error)

    def status(self, where: PurePosixPath, entry: os.DirEntry[str]) -> os.stat_result | None:
        """The entry's own status, no symlink followed; None where it vanished or, accounted for, fails."""
        try:
            return entry.stat(follow_symlinks=False)
        except OSError as error:
            self.has_vanished(where, entry.name, error)
            return None

    def has_vanished(self, where: PurePosixPath, filename: str, error: OSError) -> bool:
        """Whether a file of which there is no status is not there; if not, it is accounted for."""
        if error.errno in _VANISHED:
            return True
        if isinstance(error, PermissionError):  # of the directory: it may be listed, not searched
            self._cannot_read(where, error)
        else:
            self._warn(where / filename, error)
            self.ignored[Ignored.UNREADABLE_FILE] += 1
        return False

    def pass_over_other_type(self, where: PurePosixPath, entry: os.DirEntry[str], as_directory: Ignored) -> None:
        """Account for what is not a regular file. An excluded directory, or a symlink to one, is expected there."""
        status = self.status(where, entry)
        if status is None or _identity(status) in self._excluded:
            return
        reason = _reason_by_type(status.st_mode)
        self.ignored[as_directory if reason is Ignored.DIRECTORY else reason] += 1

    @contextmanager
    def _opened(self, parent: int, path: PurePosixPath) -> Iterator[int | None]:
        """A handle of `path` in the open directory `parent`; None where there is nothing to be looked at."""
        try:
            handle = open_directory(parent, path.name)
        except OSError as error:
            self._cannot_open(path, error)
            yield None
            return
        try:
            yield handle if self._may_enter(path, handle) else None
        finally:
            os.close(handle)

    def _may_enter(self, path: PurePosixPath, handle: int) -> bool:
        try:
            return _identity(os.fstat(handle)) not in self._excluded
        except OSError as error:
            self._cannot_read(path, error)
            return False

    def _cannot_open(self, path: PurePosixPath, error: OSError) -> None:
        if error.errno in _VANISHED:
            self._gone.add(path)
            return
        if error.errno in _REPLACED:
            self._gone.add(path)
            self.ignored[Ignored.REPLACED] += 1
            return
        self._cannot_read(path, error)

    def _cannot_read(self, path: PurePosixPath, error: OSError) -> None:
        if path not in self.unreadable:
            self.ignored[Ignored.UNREADABLE] += 1
            self._warn(path, error)

    def _warn(self, path: PurePosixPath, error: OSError) -> None:
        self.unreadable.add(path)
        if path not in self._warned:
            log.warning("cannot read %s: %s; left alone", printable(self._root / path), error.strerror)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Spare a scan the cyclic garbage collector, which went through all that was found again and again.

    What a scan makes holds no cycles. A quarter of the time over 100,000 files.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _mark(handle: int) -> int:
    """See `FileDiscovery.mark`; of the open directory. Raises: OSError."""
    mark = hash(os.fstat(handle).st_mtime_ns)
    with os.scandir(handle) as entries:
        for entry in entries:
            name = entry.name
            if name[-1] == "4":  # .mp4 in any case, and little else
                status = entry.stat(follow_symlinks=False)
                mark ^= hash((name, status.st_ino, status.st_size, status.st_mtime_ns))
            else:
                mark ^= hash(name)
    return mark


def _uppermost(directories: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """The directories without those that lie below another of them."""
    every = set(directories)
    return sorted(path for path in every if every.isdisjoint(path.parents))


def _may_hold(folder: Folder, near: Near) -> bool:
    return any(folder.may_hold(first, last) for first, last in near.spans)


def _below(entry: os.DirEntry[str], folder: Folder) -> Folder | None:
    """The directory that an entry of `folder` is, where recordings may stand in or below it."""
    deeper = folder.enter(entry.name) if folder.holds_directories else None
    return deeper if deeper is not None and _is_directory(entry) else None


def _is_left_by_a_job(entry: os.DirEntry[str]) -> bool:
    if not is_leftover(entry.name):
        return False
    return _is_file(entry) or (parse_gone_name(entry.name) is not None and _is_directory(entry))


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file(follow_symlinks=False)
    except OSError:  # asks for the status where the listing tells no types; asked again, it is accounted for
        return False


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # as above
        return False


def _reason_by_type(mode: int) -> Ignored:
    if stat.S_ISLNK(mode):
        return Ignored.SYMLINK
    return Ignored.DIRECTORY if stat.S_ISDIR(mode) else Ignored.SPECIAL


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


def _identities(directories: Iterable[Path]) -> frozenset[_Identity]:
    """What tells the directories from others, and the symlinks that name them too. One that is missing has none."""
    found = set()
    for path in directories:
        for follow in (True, False):
            try:
                found.add(_identity(os.stat(path, follow_symlinks=follow)))
            except OSError as error:  # what we cannot reach, the walk cannot reach either
                log.debug("nothing to exclude at %s: %s", printable(path), error.strerror)
    return frozenset(found)
