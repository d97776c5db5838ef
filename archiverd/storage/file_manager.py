"""Every change to the trees: parts, publishing, setting aside, trash, deletion. The only rename, link and unlink.

Nothing here decides. Nothing here overwrites: a taken name raises FileExistsError. Every path is walked one
component at a time through open directories (`storage.paths`), and a removal never leaves the mount of its root.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import logging
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from archiverd.errors import ResourceError
from archiverd.policy import naming
from archiverd.policy.model import Tree
from archiverd.policy.stop import StopToken
from archiverd.storage import paths

log = logging.getLogger(__name__)

_RENAME_NOREPLACE = 1
_CHUNK = 1 << 20
_TAKEN_LIMIT = 10_000

# Faults of the machine rather than of one file: the work pauses and no file is blamed. EIO is one of them where
# archiverd writes; where it reads a source, it is that file's, and is not wrapped.
_ENVIRONMENT = frozenset(
    {
        errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE,
        errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.ESHUTDOWN,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Modes:
    """What archives and their directories are given: permission bits, and a group or None to leave it."""

    file: int = 0o640
    directory: int = 0o750
    group: int | None = None


@contextmanager
def environment_faults(where: object) -> Iterator[None]:
    """Turn the OSErrors that no file is to blame for into ResourceError; let the others pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _ENVIRONMENT:
            raise
        raise ResourceError(
            f"{naming.printable(str(where))}: {error.strerror}", advice="The work goes on when that is mended"
        ) from error


class FileManager:
    """Changes the three trees, for the jobs of one catalog. Holds no resource between calls."""

    def __init__(self, roots: Mapping[Tree, Path], catalog_id: str, modes: Modes) -> None:
        self.roots = dict(roots)
        self.catalog_id = catalog_id
        self.modes = modes

    # -- looking ------------------------------------------------------------------------------------------

    def status(self, tree: Tree, path: PurePosixPath) -> os.stat_result | None:
        """The lstat of a file, or None where it, or a directory on the way, is not there."""
        try:
            with paths.parent(self.roots[tree], path) as directory:
                return os.stat(path.name, dir_fd=directory, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    @contextmanager
    def opened(self, tree: Tree, path: PurePosixPath) -> Iterator[int]:
        """A regular file, open for reading. Raises: OSError; EINVAL for anything but a regular file."""
        with paths.parent(self.roots[tree], path) as directory:
            handle = paths.open_file(directory, path.name)
        try:
            yield handle
        finally:
            os.close(handle)

    def names(self, tree: Tree, directory: PurePosixPath) -> list[str]:
        """The names in a directory, sorted; none where it is not there."""
        try:
            with paths.directory(self.roots[tree], directory.parts) as handle:
                return sorted(os.listdir(handle))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def free_bytes(self, tree: Tree) -> int:
        """What archiverd's user may still write to the file system of a tree."""
        with paths.directory(self.roots[tree]) as handle:
            room = os.fstatvfs(handle)
        return room.f_bavail * room.f_frsize

    def free_name(self, tree: Tree, path: PurePosixPath) -> PurePosixPath:
        """The first of `path`, `~2`, `~3`, … under which nothing stands now."""
        for candidate in _candidates(path):
            if self.status(tree, candidate) is None:
                return candidate
        raise ResourceError(f"{naming.printable(path)}: {_TAKEN_LIMIT} files of this name stand in the {tree} tree")

    # -- protection ---------------------------------------------------------------------------------------

    def protect(self, tree: Tree, path: PurePosixPath) -> bool:
        """Put a `.keep` beside a clip, durably; False where one stands already.

        Raises: FileNotFoundError where the clip is not there.
        """
        if self.keep_beside(tree, path) is not None:
            return False
        with environment_faults(path), paths.parent(self.roots[tree], path) as directory:
            os.stat(path.name, dir_fd=directory, follow_symlinks=False)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(naming.keep_name(path.name), flags, 0o644, dir_fd=directory))
            _sync(directory, path)
        return True

    def unprotect(self, tree: Tree, path: PurePosixPath) -> bool:
        """Take the `.keep` beside a clip away; False where there is none."""
        keep = self.keep_beside(tree, path)
        if keep is None:
            return False
        self._unlink(tree, keep)
        return True

    def keep_beside(self, tree: Tree, path: PurePosixPath) -> PurePosixPath | None:
        """The file that protects a clip, its extension in any case; None where there is none."""
        wanted = naming.keep_name(path.name)
        stem = wanted.rpartition(".")[0]
        for name in self.names(tree, path.parent):
            if name.rpartition(".")[0] == stem and name.rpartition(".")[2].lower() == "keep":
                return path.with_name(name)
        return None

    # -- parts and publishing -----------------------------------------------------------------------------

    def part_path(self, directory: PurePosixPath, job: str) -> PurePosixPath:
        return directory / naming.part_name(self.catalog_id, job)

    @contextmanager
    def new_part(self, tree: Tree, path: PurePosixPath) -> Iterator[int]:
        """Make the directories of a part and the empty part itself, open for reading and writing."""
        self._make_directories(tree, path.parts[:-1])
        with environment_faults(path), paths.parent(self.roots[tree], path) as directory:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(path.name, flags, 0o600, dir_fd=directory)
        try:
            yield handle
        finally:
            os.close(handle)

    def finish_part(self, handle: int, mtime_ns: int) -> None:
        """Give a part its owner's modes and its source's time, and bring it to the disk.

        Raises: ResourceError where it can't be brought there; the part is then worth nothing.
        """
        with environment_faults("a finished part"):
            os.fchmod(handle, self.modes.file)
            if self.modes.group is not None:
                os.fchown(handle, -1, self.modes.group)
            os.utime(handle, ns=(mtime_ns, mtime_ns))
        _sync(handle, "a finished part")

    def publish(self, tree: Tree, part: PurePosixPath, final: PurePosixPath) -> None:
        """Give a part its final name in the same directory, and make that durable up to the root.

        Raises: FileExistsError where the name is taken.
        """
        with environment_faults(final), paths.parent(self.roots[tree], part) as directory:
            _rename_no_replace(directory, part.name, directory, final.name)
        self.sync_up(tree, final)

    def sync_up(self, tree: Tree, path: PurePosixPath) -> None:
        """Bring the directories of `path` to the disk, from its own up to the root.

        All of them each time: an earlier run may have made one and died before it was synced.
        """
        parts = path.parts[:-1]
        with environment_faults(path):
            for depth in range(len(parts), -1, -1):
                with paths.directory(self.roots[tree], parts[:depth]) as directory:
                    _sync(directory, path)

    def sync_file(self, tree: Tree, path: PurePosixPath) -> None:
        """Bring a file that stands and its directories to the disk."""
        with self.opened(tree, path) as handle:
            _sync(handle, path)
        self.sync_up(tree, path)

    def remove_part(self, tree: Tree, path: PurePosixPath) -> None:
        """Remove a part where it is still there. Parts are never an only copy."""
        if naming.kind_of(path.name) is not naming.FileKind.PART:
            raise ValueError(f"{path} is not a part")
        if self.status(tree, path) is None:
            return
        with suppress(FileNotFoundError, NotADirectoryError):
            self._unlink(tree, path)

    def copy(self, source: int, target: int, stop: StopToken) -> str:
        """Copy all bytes of one open file into another and return their SHA-256, checked by reading them back.

        Raises: ResourceError where what is read back is not what was written.
        """
        with environment_faults("copying"):
            os.ftruncate(target, 0)
        digest, offset = hashlib.sha256(), 0
        while chunk := os.pread(source, _CHUNK, offset):
            stop.check()
            digest.update(chunk)
            with environment_faults("copying"):
                _write_all(target, chunk, offset)
            offset += len(chunk)
        with environment_faults("reading a copy back"):
            written = self.sha256(target, stop)
        if written != digest.hexdigest():
            raise ResourceError("a copy does not read back as it was written", advice="Look at the disk's health")
        return digest.hexdigest()

    def sha256(self, handle: int, stop: StopToken) -> str:
        """The SHA-256 of an open file, in hex; leaves its offset alone."""
        digest, offset = hashlib.sha256(), 0
        while chunk := os.pread(handle, _CHUNK, offset):
            stop.check()
            digest.update(chunk)
            offset += len(chunk)
        return digest.hexdigest()

    # -- letting go ---------------------------------------------------------------------------------------

    def set_aside(self, tree: Tree, path: PurePosixPath, job: str) -> PurePosixPath:
        """Rename a file to its job's `.gone` name beside it; the new path is returned."""
        aside = path.with_name(naming.gone_name(job))
        self._rename(tree, path, aside)
        return aside

    def put_back(self, tree: Tree, aside: PurePosixPath, path: PurePosixPath) -> PurePosixPath:
        """Give a file that was set aside its name back, or the next free one where that is taken by now."""
        for candidate in _candidates(path):
            with suppress(FileExistsError):
                self._rename(tree, aside, candidate)
                return candidate
            if self._is_same_file(tree, aside, tree, candidate):
                self._unlink(tree, aside)
                return candidate
        raise ResourceError(f"{naming.printable(path)}: no name is free to put it back")

    def _is_same_file(self, tree: Tree, path: PurePosixPath, other_tree: Tree, other: PurePosixPath) -> bool:
        """Whether two names are of one file: a link-and-unlink that was cut short between the two."""
        one, two = self.status(tree, path), self.status(other_tree, other)
        return one is not None and two is not None and os.path.samestat(one, two)

    def delete(self, tree: Tree, path: PurePosixPath) -> None:
        """Remove a file for good, durably."""
        self._unlink(tree, path)

    def trash(
        self, tree: Tree, aside: PurePosixPath, origin: PurePosixPath, job: str, stop: StopToken
    ) -> PurePosixPath:
        """Move a file that was set aside into the trash, under the path it had; its place there is returned.

        From the source tree that is `origin` itself, from the archive `archived/<origin>`. Across file systems
        it is copied, compared and synced before the original goes.
        """
        wanted = origin if tree is Tree.SOURCE else PurePosixPath("archived") / origin
        self._make_directories(Tree.TRASH, wanted.parts[:-1])
        try:
            place = self._trash_by_rename(tree, aside, wanted)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return self._trash_by_copy(tree, aside, wanted, job, stop)
        self.sync_up(Tree.TRASH, place)
        with paths.parent(self.roots[tree], aside) as directory:
            _sync(directory, aside)
        return place

    def _trash_by_rename(self, tree: Tree, aside: PurePosixPath, wanted: PurePosixPath) -> PurePosixPath:
        with (
            environment_faults(aside),
            self._removable(tree, aside) as here,
            paths.parent(self.roots[Tree.TRASH], wanted) as there,
        ):
            for candidate in _candidates(wanted):
                with suppress(FileExistsError):
                    _rename_no_replace(here, aside.name, there, candidate.name)
                    return candidate
                if self._is_same_file(tree, aside, Tree.TRASH, candidate):
                    _sync(there, candidate)
                    os.unlink(aside.name, dir_fd=here)
                    return candidate
        raise ResourceError(f"{naming.printable(wanted)}: no name is free in the trash")

    def _trash_by_copy(
        self, tree: Tree, aside: PurePosixPath, wanted: PurePosixPath, job: str, stop: StopToken
    ) -> PurePosixPath:
        part = self.part_path(wanted.parent, job)
        self.remove_part(Tree.TRASH, part)
        try:
            with self.opened(tree, aside) as source:
                status = os.fstat(source)
                with self.new_part(Tree.TRASH, part) as copy:
                    sha256 = self.copy(source, copy, stop)
                    os.fchmod(copy, status.st_mode & 0o777)
                    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
                    _sync(copy, wanted)
            place = self._publish_copy(part, wanted, sha256, status.st_size, stop)
        except BaseException:
            self.remove_part(Tree.TRASH, part)
            raise
        self._unlink(tree, aside)
        return place

    def _publish_copy(
        self, part: PurePosixPath, wanted: PurePosixPath, sha256: str, size: int, stop: StopToken
    ) -> PurePosixPath:
        """Give a copy the first free name in the trash; one that stands there already needs no second copy.

        It stands there when the process died between the copy and the removal of the original.
        """
        for candidate in _candidates(wanted):
            if self._holds(Tree.TRASH, candidate, sha256, size, stop):
                self.remove_part(Tree.TRASH, part)
                self.sync_file(Tree.TRASH, candidate)
                return candidate
            with suppress(FileExistsError):
                self.publish(Tree.TRASH, part, candidate)
                return candidate
        raise ResourceError(f"{naming.printable(wanted)}: no name is free in the trash")

    def _holds(self, tree: Tree, path: PurePosixPath, sha256: str, size: int, stop: StopToken) -> bool:
        """Whether a file of exactly this content stands at a path."""
        status = self.status(tree, path)
        if status is None or status.st_size != size or not stat.S_ISREG(status.st_mode):
            return False
        with self.opened(tree, path) as handle:
            return self.sha256(handle, stop) == sha256

    # -- the bare operations ------------------------------------------------------------------------------

    @contextmanager
    def _removable(self, tree: Tree, path: PurePosixPath) -> Iterator[int]:
        """The open directory of a file that may be taken away: on the mount of its root, and nowhere else."""
        with paths.directory(self.roots[tree]) as root, paths.parent(self.roots[tree], path) as directory:
            if paths.mount_id(root) != paths.mount_id(directory):
                raise PermissionError(
                    errno.EPERM, f"is on another mount than the {tree} root; nothing is removed there", str(path)
                )
            yield directory

    def _rename(self, tree: Tree, old: PurePosixPath, new: PurePosixPath) -> None:
        with environment_faults(old), self._removable(tree, old) as directory:
            _rename_no_replace(directory, old.name, directory, new.name)

    def _unlink(self, tree: Tree, path: PurePosixPath) -> None:
        with environment_faults(path), self._removable(tree, path) as directory:
            os.unlink(path.name, dir_fd=directory)
            _sync(directory, path)

    def _make_directories(self, tree: Tree, parts: tuple[str, ...]) -> None:
        with environment_faults(PurePosixPath(*parts)):
            for depth, name in enumerate(parts):
                with paths.directory(self.roots[tree], parts[:depth]) as directory:
                    self._make_directory(directory, name)

    def _make_directory(self, parent: int, name: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            return
        made = paths.open_directory(parent, name)
        try:
            os.fchmod(made, self.modes.directory)
            if self.modes.group is not None:
                os.fchown(made, -1, self.modes.group)
        finally:
            os.close(made)


def writers(handle: int) -> bool | None:
    """Whether anybody has the open file open for writing; None where the system does not tell us.

    A read lease is refused with EAGAIN exactly while a writer exists (fcntl(2), F_SETLEASE). It needs ownership
    of the file or CAP_LEASE, and a file system that has leases. It is given back at once: a lease that is held
    makes the next writer wait.
    """
    try:
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Put a file outside the trees in place, whole and durable, or not at all. Its directory is made where missing.

    Raises: FileExistsError where the name is taken; OSError, ResourceError where it can't be written.
    """
    with suppress(FileExistsError):
        path.parent.mkdir(mode=0o755)
        path.parent.chmod(0o755)  # whatever the umask: who may read the file must reach it
    with paths.directory(path.parent) as directory:
        fresh = f".{secrets.token_hex(8)}.new"
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
        try:
            try:
                os.fchmod(handle, mode)
                _write_all(handle, content, 0)
                _sync(handle, path)
            finally:
                os.close(handle)
            _rename_no_replace(directory, fresh, directory, path.name)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(fresh, dir_fd=directory)
            raise
        _sync(directory, path)


def _write_all(handle: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(handle, view, offset)
        offset, view = offset + written, view[written:]


def _candidates(path: PurePosixPath) -> Iterator[PurePosixPath]:
    yield path
    for number in range(2, _TAKEN_LIMIT):
        yield naming.numbered(path, number)


def _sync(handle: int, what: object) -> None:
    """fsync, and no second try: after an error the kernel has dropped the pages, and a retry would succeed."""
    try:
        os.fsync(handle)
    except OSError as error:
        raise ResourceError(
            f"{naming.printable(str(what))}: can't be brought to the disk: {error.strerror}",
            advice="Look at the disk: it reports write errors",
        ) from error


def _load_renameat2() -> Callable[..., int] | None:
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    function.restype = ctypes.c_int
    typed: Callable[..., int] = function
    return typed


_renameat2 = _load_renameat2()


def _rename_no_replace(old_directory: int, old: str, new_directory: int, new: str) -> None:
    """Rename without ever replacing: renameat2(2) with RENAME_NOREPLACE, else link(2) and unlink(2).

    Raises: FileExistsError where the new name is taken; OSError with EXDEV across mounts.
    """
    if _renameat2 is not None:
        arguments = (old_directory, os.fsencode(old), new_directory, os.fsencode(new), _RENAME_NOREPLACE)
        if _renameat2(*arguments) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(code, os.strerror(code), old, None, new)
    os.link(old, new, src_dir_fd=old_directory, dst_dir_fd=new_directory, follow_symlinks=False)
    # Before the old name goes: not every file system keeps the order of two directory changes.
    _sync(new_directory, new)
    os.unlink(old, dir_fd=old_directory)
