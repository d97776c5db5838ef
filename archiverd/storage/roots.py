"""The roots of the three trees: markers that tell whose they are and that they are there, and locks.

Each root holds a file `.archiverd-root` naming the catalog it belongs to and which tree it is. A root without
it is not the root we knew: an unmounted disk, a wrong path. The same file carries the lock, so that one tree
never has two masters.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from archiverd.errors import LockedError, ResourceError, StartupError
from archiverd.policy.model import Tree
from archiverd.policy.naming import MARKER_NAME as MARKER
from archiverd.policy.naming import printable
from archiverd.policy.room import Room
from archiverd.storage import paths
from archiverd.storage.catalog_schema import FILE_NAME as CATALOG_NAME

log = logging.getLogger(__name__)

_FORMAT = 1
_DISK_ADVICE = "Look at the disk that holds it"
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Marker:
    """What a marker says. `catalog` is empty where a person made an empty file to say: this is the disk."""

    catalog: str
    tree: str
    state_dir: str
    nonce: str = ""  # of this one root


def read_marker(root: Path) -> Marker | None:
    """The marker of a root, or None where there is none.

    Raises: StartupError where the file can't be read or is not a marker.
    """
    try:
        with paths.directory(root) as directory:
            handle = paths.open_file(directory, MARKER)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StartupError(f"{root / MARKER}: can't be read: {error.strerror}", advice=_DISK_ADVICE) from error
    try:
        return _parse(root, os.read(handle, 4096))
    except OSError as error:
        raise StartupError(f"{root / MARKER}: can't be read: {error.strerror}", advice=_DISK_ADVICE) from error
    finally:
        os.close(handle)


def source_root_above(path: Path) -> Path | None:
    """The directory above a path that is marked as a source root; None where there is none."""
    return next((root for root in path.absolute().parents if _is_source_root(root)), None)


def _is_source_root(path: Path) -> bool:
    try:
        marker = read_marker(path)
    except StartupError:  # a file of that name that is no marker of ours, or that we may not read
        return False
    return marker is not None and marker.tree == Tree.SOURCE


def _parse(root: Path, content: bytes) -> Marker:
    if not content.strip():
        return Marker("", "", "")
    try:
        values = json.loads(content)
        return Marker(
            str(values["catalog"]), str(values["tree"]), str(values["state_dir"]), str(values.get("nonce", ""))
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise _no_marker(root) from error


def _no_marker(root: Path) -> StartupError:
    return StartupError(
        f"{root / MARKER}: is not a marker archiverd wrote",
        advice="If this is the right disk, replace it by an empty file of that name",
    )


def see_marked(tree: Tree, root: Path) -> None:
    """See that a root that was in use is marked. Raises: StartupError where it is not: its disk is not there."""
    if read_marker(root) is not None:
        return
    make = "" if root.is_dir() else f"mkdir '{root}' && "
    raise StartupError(
        f"{root}: the {tree} root has no marker {MARKER}, though it was in use",
        advice=f"Perhaps its disk is not mounted. If it is the right place: {make}touch '{root / MARKER}'",
    )


def see_marked_by(catalog_id: str, tree: Tree, root: Path) -> None:
    """See that a root is marked, and not by another catalog. Raises: StartupError, LockedError."""
    see_marked(tree, root)
    marker = read_marker(root)
    if marker is not None and marker.catalog not in ("", catalog_id):
        raise LockedError(f"{root}: the {tree} tree belongs to catalog {marker.catalog}, not to {catalog_id}")


def disks_of(roots: Iterable[Path]) -> dict[Path, int]:
    """On which file system (st_dev) each directory stands; what is not there is left out."""
    found = {}
    for path in roots:
        with suppress(OSError):
            found[path] = path.stat().st_dev
    return found


def rooms_of(places: Mapping[str, Path]) -> list[Room]:
    """The file systems of directories, each once; by the word for each directory. What is not there is left out."""
    rooms: dict[int, Room] = {}
    for what, path in places.items():
        try:
            device, room = path.stat().st_dev, os.statvfs(path)
        except OSError:
            continue
        before = rooms.get(device)
        named = printable(path) if before is None else before.path
        words = (what,) if before is None else (*before.what, what)
        if room.f_blocks:  # some file systems count nothing
            rooms[device] = Room(named, words, room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize)
    return list(rooms.values())


def see_disks(before: Mapping[Path, int]) -> None:
    """See that each directory is on the file system it was on, or still holds what is ours.

    So a bare mount point, whose disk has gone, is not taken for a place to begin anew in. A disk that was mounted again
    may have another number, and has what is ours.

    Raises: ResourceError.
    """
    for path, device in before.items():
        if os.path.lexists(path / MARKER) or os.path.lexists(path / CATALOG_NAME):
            continue
        there = path if path.exists() else path.parent
        if there.exists() and there.stat().st_dev != device:
            raise ResourceError(
                f"{path}: is on another file system than it was, and nothing of archiverd's stands there",
                advice="Its disk is not mounted, it seems: mount it, and the work goes on by itself",
            )


class Roots:
    """Owns the locks on the three roots, from `with` to its end.

    `state_dir` holds the catalog; it is written into the markers for the reader of an error message.
    """

    def __init__(self, paths: Mapping[Tree, Path], state_dir: Path) -> None:
        self.paths = dict(paths)
        self.state_dir = state_dir
        self._held: dict[Tree, int] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Make what may be made (the trees' own last directory, the state directory) and lock the source root.

        Raises: StartupError where a root is missing or can't be used, LockedError where somebody holds it.
        """
        with ExitStack() as stack:
            source = self.paths[Tree.SOURCE]
            if not source.is_dir():
                raise StartupError(
                    f"{source}: the input directory is not there", advice="Is it mounted, and is the name right?"
                )
            self._lock(Tree.SOURCE, stack)
            # Of a source root that is in use the others are there, or their disk is not: nothing is made in its place.
            in_use = bool(self._marker(Tree.SOURCE).catalog)
            for path in (
                (self.state_dir,) if in_use else (self.paths[Tree.ARCHIVE], self.paths[Tree.TRASH], self.state_dir)
            ):
                _make_root(path)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.clear()
        self._stack.close()

    def identity(self) -> str:
        """The id a new catalog of these roots takes: the one their markers agree on, or a new one.

        The marker of an archive or trash counts only where it names this state directory: with another it is of
        an archiverd that feeds the same archive from other cameras, and `claim` will refuse it.

        Raises: LockedError where markers name different catalogs.
        """
        known = {tree: marker for tree in Tree if (marker := read_marker(self.paths[tree])) and marker.catalog}
        names = {marker.catalog for marker in known.values()}
        if len(names) > 1:
            told = "; ".join(f"{self.paths[tree]} to {marker.catalog}" for tree, marker in known.items())
            raise LockedError(
                f"the roots belong to different catalogs: {told}",
                advice="Each tree belongs to one archiverd: choose other roots, or other catalogs",
            )
        source = known.get(Tree.SOURCE)
        if source is not None and self._stands_elsewhere(source):
            raise LockedError(
                f"{self.paths[Tree.SOURCE]}: belongs to catalog {source.catalog}, which stands in {source.state_dir}",
                advice=f"Give that as --state-dir (state_dir in the file), or move it to {self.state_dir}",
            )
        ours = (
            marker.catalog
            for tree, marker in known.items()
            if tree is Tree.SOURCE or marker.state_dir == str(self.state_dir)
        )
        return next(ours, None) or secrets.token_hex(4)

    def _stands_elsewhere(self, source: Marker) -> bool:
        """Whether the catalog of the source root stands where the marker says, and none in our state directory."""
        theirs, ours = Path(source.state_dir) / CATALOG_NAME, self.state_dir / CATALOG_NAME
        return theirs != ours and theirs.is_file() and not ours.exists()

    def claim(self, catalog_id: str, known: Mapping[Tree, bool]) -> None:
        """Lock the other roots, and see or make the markers of all three.

        `known[tree]` says that the catalog remembers files there: then a missing marker means that the disk is
        not there, and nothing is written. A source root that is marked already says the same of the other two,
        whatever has become of the catalog; so the source is marked last.

        Raises: StartupError for a missing marker, LockedError for another's, ResourceError for a full disk.
        """
        self._see_ours(Tree.SOURCE, catalog_id)
        in_use = bool(self._marker(Tree.SOURCE).catalog)
        for tree in (Tree.ARCHIVE, Tree.TRASH):
            root = self.paths[tree]
            if in_use or known.get(tree, False):
                see_marked(tree, root)
            self._lock(tree, self._stack)
            self._see_ours(tree, catalog_id)
        for tree in (Tree.ARCHIVE, Tree.TRASH, Tree.SOURCE):
            self._mark(tree, catalog_id)

    def nonce(self, tree: Tree) -> str:
        """What tells this root from another that is mounted, or made, in its place."""
        return self._marker(tree).nonce

    def _marker(self, tree: Tree) -> Marker:
        try:
            return _parse(self.paths[tree], os.pread(self._held[tree], 4096, 0))
        except OSError as error:
            if error.errno in (errno.ESPIPE, errno.EINVAL, errno.ENXIO):  # a FIFO, a device
                raise _no_marker(self.paths[tree]) from error
            raise ResourceError(
                f"{self.paths[tree] / MARKER}: can't be read: {error.strerror}", advice=_DISK_ADVICE
            ) from error

    def verify(self, tree: Tree) -> None:
        """See that the root is still the one that was locked.

        Raises: ResourceError where its marker is gone or another: unmounted, or mounted over.
        """
        path = self.paths[tree] / MARKER
        try:
            here, held = os.stat(path, follow_symlinks=False), os.fstat(self._held[tree])
        except KeyError as error:
            raise ResourceError(f"{path}: the {tree} root is not locked any more") from error
        except OSError as error:
            raise ResourceError(
                f"{path}: the marker of the {tree} root is gone: {error.strerror}", advice="Is its disk still mounted?"
            ) from error
        if (here.st_dev, here.st_ino) != (held.st_dev, held.st_ino):
            raise ResourceError(
                f"{path}: the {tree} root is no longer the one that was there at the start",
                advice="Something was mounted over it, or it was made anew",
            )

    def _lock(self, tree: Tree, stack: ExitStack) -> None:
        path = self.paths[tree] / MARKER
        try:
            handle = os.open(path, _OPEN | os.O_CREAT, 0o640)
        except OSError as error:
            raise StartupError(
                f"{path}: the marker of the {tree} root can't be written: {error.strerror}",
                advice="archiverd needs write permission on the directory",
            ) from error
        stack.callback(os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise StartupError(f"{path}: can't be locked: {error.strerror}") from error
            raise LockedError(
                f"{self.paths[tree]}: another archiverd is at work on this {tree} tree",
                advice="Wait for it to end, or stop it",
            ) from error
        self._held[tree] = handle

    def _see_ours(self, tree: Tree, catalog_id: str) -> None:
        """See that the locked marker is still empty, or names this catalog and tree."""
        root, marker = self.paths[tree], self._marker(tree)
        if marker.catalog and marker.catalog != catalog_id:
            raise LockedError(
                f"{root}: belongs to catalog {marker.catalog} (kept in {marker.state_dir}), not to {catalog_id}",
                advice="Each tree belongs to one archiverd: choose another root, or that catalog",
            )
        if marker.tree and marker.tree != tree:
            raise LockedError(
                f"{root}: is the {marker.tree} tree of this catalog, not its {tree} tree",
                advice="Look at directory, output and trash_root",
            )

    def _mark(self, tree: Tree, catalog_id: str) -> None:
        """Write the locked marker where it is still empty, durably."""
        if self._marker(tree).catalog:
            return
        root, handle = self.paths[tree], self._held[tree]
        text = {"format": _FORMAT, "catalog": catalog_id, "tree": tree, "state_dir": str(self.state_dir)}
        text["nonce"] = secrets.token_hex(8)
        try:
            os.pwrite(handle, (json.dumps(text) + "\n").encode("utf-8", "surrogateescape"), 0)
            os.fsync(handle)
            _sync_directory(root)
        except OSError as error:
            raise ResourceError(
                f"{root / MARKER}: can't be written: {error.strerror}", advice="Look at the disk: is it full?"
            ) from error
        log.info("%s: marked as the %s tree of catalog %s", root, tree, catalog_id)


def _make_root(path: Path) -> None:
    """Make the last directory of a root where it is missing; never its parents, which may be a missing mount."""
    try:
        with suppress(FileExistsError):
            path.mkdir(mode=0o750)
        # Each time: an earlier start may have made it and died before this.
        _sync_directory(path.parent)
    except FileNotFoundError as error:
        raise StartupError(
            f"{path}: can't be made, for {path.parent} is not there",
            advice=f"If that is not a disk waiting to be mounted: mkdir -p '{path.parent}'",
        ) from error
    except OSError as error:
        raise StartupError(f"{path}: can't be made: {error.strerror}") from error
    if not path.is_dir():
        raise StartupError(f"{path}: is not a directory")


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
