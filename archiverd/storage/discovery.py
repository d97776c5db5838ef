"""What stands in a tree: recordings, orphan snapshots, leftovers, and what was left alone.

A tree is laid out `YYYY/MM/DD/<files>`. Everything is looked at through directory handles and without following
symlinks below the root. Nothing here changes anything.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from operator import attrgetter
from pathlib import Path, PurePosixPath

from archiverd.errors import StartupError
from archiverd.policy.model import Discovery, Fingerprint, FoundFile, FoundRecording
from archiverd.policy.naming import (
    MARKER_NAME,
    FileKind,
    NotAClip,
    doubts,
    is_date_directory,
    is_snapshot_name,
    keep_name,
    kind_of,
    parse_clip_name,
    printable,
)
from archiverd.policy.pairing import pair
from archiverd.storage.paths import directory, open_directory

log = logging.getLogger(__name__)

# What archiverd itself puts at the top of a tree: marker, state, archive, trash. The log comes with its rotations.
_OWN_AT_TOP = frozenset({MARKER_NAME, ".archiverd", "archived", ".deleted"})
_OWN_LOG = "archiver.log"
_LEFTOVERS = frozenset({FileKind.PART, FileKind.GONE})
_VANISHED = frozenset({errno.ENOENT, errno.ESTALE})  # ESTALE: deleted on the server of a network file system
_REPLACED = frozenset({errno.ELOOP, errno.ENOTDIR})  # it was a directory when it was listed
_TOP = PurePosixPath()
_FIRST_OF_YEAR = ("", "01", "01")  # completes the parts of a year or month directory to a date

_Identity = tuple[int, int]  # st_dev, st_ino; compared only within one walk


class Ignored(StrEnum):
    """Why something was left alone: the keys of `Discovery.ignored`."""

    SYMLINK = "symlink"
    SPECIAL = "FIFO, socket or device"
    DIRECTORY = "directory where files belong"
    FOREIGN = "foreign name"
    IMPOSSIBLE = "impossible date"
    OUTSIDE = "file outside the date directories"
    NOT_A_DATE = "not a date directory"
    REPLACED = "directory replaced while it was looked at"
    UNREADABLE = "unreadable directory"
    UNREADABLE_FILE = "unreadable file"


_HIDING = (Ignored.UNREADABLE, Ignored.UNREADABLE_FILE, Ignored.REPLACED)  # what stands there is not known


class FileDiscovery:
    """Looks through one tree. For one thread at a time.

    `exclude` are directories never descended into, wherever they stand and by whatever path they are reached
    (the other trees, the state); the tree's own root may be among them. `now` gives seconds since the epoch.
    """

    def __init__(
        self, root: Path, *, exclude: Iterable[Path] = (), snapshot_window_s: float, now: Callable[[], float]
    ) -> None:
        self._root = root
        self._exclude = tuple(exclude)
        self._snapshot_window_s = snapshot_window_s
        self._now = now
        self._warned: frozenset[PurePosixPath] = frozenset()

    def scan(self) -> Discovery:
        """All that stands in the date directories. Recordings come oldest first, by (taken_at, path).

        What vanishes meanwhile is passed over. What cannot be read is counted, and logged once for as long as it
        stays so: that a path was not found proves nothing where the discovery is `incomplete`.

        Raises: StartupError where the root itself cannot be opened and listed.
        """
        now = self._now()
        with _collector_paused(), self._walk() as (walk, root):
            content = _Content(walk)
            for day, handle in walk.days(root):
                content.read(day, handle)
            content.clips.sort(key=attrgetter("name.taken_at", "path"))
            pairing = pair(content.clips, content.snapshots, self._snapshot_window_s)
            recordings = tuple(
                FoundRecording(
                    clip,
                    pairing.by_clip.get(clip.path, ()),
                    content.is_protected(clip.path),
                    doubts(clip.name, clip.fingerprint.mtime_ns, now),
                )
                for clip in content.clips
            )
            incomplete = any(walk.ignored[reason] for reason in _HIDING)
        return Discovery(recordings, pairing.orphans, dict(walk.ignored), tuple(sorted(content.leftovers)), incomplete)

    def scan_leftovers(self) -> tuple[PurePosixPath, ...]:
        """Every `.part` and `.gone` of any archiverd in the date directories, by name alone, sorted.

        Looks also below one more directory at the top (`archived/YYYY/MM/DD`).

        Raises: StartupError where the root itself cannot be opened and listed.
        """
        leftovers: list[PurePosixPath] = []
        with self._walk() as (walk, root):
            for day, handle in walk.days_below_top(root):
                files = (entry.name for entry in walk.entries(day, handle) if _is_file(entry))
                leftovers.extend(day / name for name in files if kind_of(name) in _LEFTOVERS)
        return tuple(sorted(leftovers))

    @contextmanager
    def _walk(self) -> Iterator[tuple[_Walk, int]]:
        """A walk, and the open root to begin it at."""
        walk = _Walk(self._root, _identities(self._exclude), self._warned)
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
        self._warned = frozenset(walk.unreadable)


class _Content:
    """What the date directories hold, gathered one by one."""

    def __init__(self, walk: _Walk) -> None:
        self._walk = walk
        self.clips: list[FoundFile] = []
        self.snapshots: list[FoundFile] = []
        self.leftovers: list[PurePosixPath] = []
        self._keeps: set[PurePosixPath] = set()

    def read(self, day: PurePosixPath, handle: int) -> None:
        for entry in self._walk.entries(day, handle):
            filename = entry.name
            name = parse_clip_name(filename)
            if isinstance(name, NotAClip):
                self._take_other(day, entry, name)
                continue
            status = self._walk.status(day, entry)
            if status is None:
                continue
            if not stat.S_ISREG(status.st_mode):
                self._walk.ignored[_reason_by_type(status.st_mode)] += 1
                continue
            file = FoundFile(day / filename, Fingerprint.of(status), name)
            (self.snapshots if is_snapshot_name(filename) else self.clips).append(file)

    def _take_other(self, day: PurePosixPath, entry: os.DirEntry[str], name: NotAClip) -> None:
        kind = kind_of(entry.name)
        if kind is FileKind.KEEP:  # of whatever type: a doubtful protection protects
            self._keeps.add(day / (entry.name[: -len("keep")] + "keep"))
            return
        if not _is_file(entry):
            self._walk.pass_over_other_type(day, entry, Ignored.DIRECTORY)
        elif kind in _LEFTOVERS:
            self.leftovers.append(day / entry.name)
        else:
            self._walk.ignored[Ignored.IMPOSSIBLE if name.impossible_date else Ignored.FOREIGN] += 1

    def is_protected(self, clip: PurePosixPath) -> bool:
        return bool(self._keeps) and clip.with_name(keep_name(clip.name)) in self._keeps


class _Walk:
    """One walk over a tree: opens, lists, and accounts for all it leaves alone."""

    def __init__(self, root: Path, excluded: frozenset[_Identity], warned: frozenset[PurePosixPath]) -> None:
        self._root = root
        self._excluded = excluded
        self._warned = warned
        self.ignored: Counter[str] = Counter()
        self.unreadable: set[PurePosixPath] = set()

    def days(
        self, handle: int, above: PurePosixPath = _TOP, parts: tuple[str, ...] = ()
    ) -> Iterator[tuple[PurePosixPath, int]]:
        """Each date directory with a handle that is open for this turn, oldest first.

        `handle` is the open directory `above`/`parts`, `parts` what there is of the date so far.
        """
        here = above.joinpath(*parts)
        if len(parts) == 3:
            yield here, handle
            return
        for name in self._date_names(here, handle, parts):
            with self._opened(handle, here / name) as deeper:
                if deeper is not None:
                    yield from self.days(deeper, above, (*parts, name))

    def days_below_top(self, root: int) -> Iterator[tuple[PurePosixPath, int]]:
        """As `days`, and those below each other directory at the top."""
        yield from self.days(root)
        for entry in list(self.entries(_TOP, root)):
            if _may_be_date((entry.name,)) or not _is_directory(entry):
                continue
            with self._opened(root, _TOP / entry.name, expected=False) as handle:
                if handle is not None:
                    yield from self.days(handle, _TOP / entry.name)

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
        except PermissionError as error:  # of the directory: it may be listed, not searched
            self._cannot_read(where, error)
        except OSError as error:
            if error.errno not in _VANISHED:
                self._warn(where / entry.name, error)
                self.ignored[Ignored.UNREADABLE_FILE] += 1
        return None

    def pass_over_other_type(self, where: PurePosixPath, entry: os.DirEntry[str], as_directory: Ignored) -> None:
        """Account for what is not a regular file. An excluded directory, or a symlink to one, is expected there."""
        status = self.status(where, entry)
        if status is None or _identity(status) in self._excluded:
            return
        reason = _reason_by_type(status.st_mode)
        self.ignored[as_directory if reason is Ignored.DIRECTORY else reason] += 1

    def _date_names(self, where: PurePosixPath, handle: int, parts: tuple[str, ...]) -> list[str]:
        names = []
        at_top = not where.parts
        for entry in self.entries(where, handle):
            if at_top and (entry.name in _OWN_AT_TOP or entry.name.startswith(_OWN_LOG)):
                continue
            if _is_file(entry):
                self.ignored[Ignored.OUTSIDE] += 1
            elif _may_be_date((*parts, entry.name)) and _is_directory(entry):
                names.append(entry.name)
            else:
                self.pass_over_other_type(where, entry, Ignored.NOT_A_DATE)
        return sorted(names)

    @contextmanager
    def _opened(self, parent: int, path: PurePosixPath, *, expected: bool = True) -> Iterator[int | None]:
        """A handle of `path` in the open directory `parent`; None where there is nothing to be looked at."""
        try:
            handle = open_directory(parent, path.name)
        except OSError as error:
            self._cannot_open(path, error, expected)
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

    def _cannot_open(self, path: PurePosixPath, error: OSError, expected: bool) -> None:
        if error.errno in _VANISHED:
            return
        if error.errno in _REPLACED:
            self.ignored[Ignored.REPLACED] += 1
            return
        if expected:
            self._cannot_read(path, error)
            return
        # Directories of others (lost+found) are no business of ours, and often closed to us.
        log.debug("did not look into %s: %s", printable(self._root / path), error.strerror)

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


def _may_be_date(parts: tuple[str, ...]) -> bool:
    """Whether a date directory may be, or stand below, these parts."""
    return is_date_directory((*parts, *_FIRST_OF_YEAR[len(parts) :]))


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
