"""Every change to the trees: parts, publishing, setting aside, moving, deletion.

With `storage.clearing` and `storage.renaming` the only rename, link and unlink. Nothing here decides. Nothing here
overwrites: a taken name raises FileExistsError. Every path is walked one component at a time through open directories
(`storage.paths`), and a removal never leaves the mount of its root.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

from archiverd.errors import ResourceError, SourceChanged
from archiverd.policy import naming
from archiverd.policy.model import Fingerprint, Place, Tree
from archiverd.policy.stop import NeverStop, StopToken
from archiverd.storage import open_files, paths
from archiverd.storage.clearing import Batch, Cleared, OpenPlace, Trash, words
from archiverd.storage.open_files import about, environment_faults, named, place_of, sync, write_all
from archiverd.storage.renaming import TAKEN_LIMIT, candidates, rename_no_replace

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_TRIED_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Modes:
    """What archives and their directories are given: permission bits, and a group or None to leave it."""

    file: int = 0o640
    directory: int = 0o750
    group: int | None = None


class Room(NamedTuple):
    """The file system a tree stands on: bytes that archiverd's user may still write, bytes in all, st_dev, and pool."""

    free: int
    size: int
    device: int
    pool: str = ""


def _always(_path: PurePosixPath) -> bool:
    return True


class FileManager:
    """Changes the three trees, for the jobs of one catalog. Holds no resource between calls."""

    copy = staticmethod(open_files.copy)
    sha256 = staticmethod(open_files.sha256)

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
        except OSError as error:
            raise named(error, self.roots[tree] / path) from error

    @contextmanager
    def opened(self, tree: Tree, path: PurePosixPath) -> Iterator[int]:
        """A regular file, open for reading. Raises: OSError; EINVAL for anything but a regular file."""
        try:
            with paths.parent(self.roots[tree], path) as directory:
                handle = paths.open_file(directory, path.name)
        except OSError as error:
            raise named(error, self.roots[tree] / path) from error
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
        except OSError as error:
            raise named(error, self.roots[tree] / directory) from error

    def free_bytes(self, tree: Tree) -> int:
        """What archiverd's user may still write to the file system of a tree."""
        return self.free_room(tree).free

    def free_room(self, tree: Tree) -> Room:
        """How much room the file system of a tree has. What it keeps for root counts as its size, and not as free."""
        try:
            with paths.directory(self.roots[tree]) as handle:
                room, device, pool = os.fstatvfs(handle), os.fstat(handle).st_dev, paths.pool(handle)
        except OSError as error:  # of an open directory it has no name, as one has of an open source
            raise named(error, self.roots[tree]) from error
        return Room(room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize, device, pool)

    def see_writable(self, tree: Tree) -> None:
        """See that a file can be written to the disk of a tree, and brought there, now. Leaves none, however it ends.

        Raises: ResourceError, OSError. Where the file system makes no file without a name, nothing is seen.
        """
        root = self.roots[tree]
        with environment_faults(root), paths.directory(root) as directory:
            try:
                handle = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=directory)
            except OSError as error:
                if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                    return
                raise
            try:
                write_all(handle, bytes(_TRIED_BYTES), 0)
                sync(handle)
            finally:
                os.close(handle)

    def free_name(self, tree: Tree, path: PurePosixPath) -> PurePosixPath:
        """The first of `path`, `~2`, `~3`, … under which nothing stands now."""
        for candidate in candidates(path):
            if self.status(tree, candidate) is None:
                return candidate
        raise _no_name_free(Place(tree, path))

    # -- protection ---------------------------------------------------------------------------------------

    def protect(self, tree: Tree, path: PurePosixPath) -> bool:
        """Put a `.keep` beside a clip, durably; False where one stands already.

        Raises: FileNotFoundError where the clip is not there.
        """
        if self.keep_beside(tree, path) is not None:
            return False
        with about(self.roots[tree] / path), paths.parent(self.roots[tree], path) as directory:
            os.stat(path.name, dir_fd=directory, follow_symlinks=False)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(naming.keep_name(path.name), flags, 0o644, dir_fd=directory))
            sync(directory)
            # Whoever lets go of a clip looks for its `.keep` when it is set aside: one that stands now will stay.
            os.stat(path.name, dir_fd=directory, follow_symlinks=False)
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
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

        def make() -> int:
            with about(self.roots[tree] / path), paths.parent(self.roots[tree], path) as directory:
                return os.open(path.name, flags, 0o600, dir_fd=directory)

        handle = self._in_directories(tree, path.parts[:-1], make)
        try:
            yield handle
        finally:
            os.close(handle)

    def finish_part(self, handle: int, mtime_ns: int) -> None:
        """Give a part its owner's modes and its source's time, and bring it to the disk.

        Raises: ResourceError where it can't be brought there; the part is then worth nothing.
        """
        with about(Path(place_of(handle))):
            os.fchmod(handle, self.modes.file)
            if self.modes.group is not None:
                os.fchown(handle, -1, self.modes.group)
            os.utime(handle, ns=(mtime_ns, mtime_ns))
        sync(handle)

    def publish(self, tree: Tree, part: PurePosixPath, final: PurePosixPath) -> None:
        """Give a part its final name in the same directory, and make that durable up to the root.

        Raises: FileExistsError where the name is taken; ResourceError.
        """
        with about(self.roots[tree] / final), paths.parent(self.roots[tree], part) as directory:
            try:
                rename_no_replace(directory, part.name, directory, final.name)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                raise ResourceError(  # whoever's file it is: there is no copying where copies get their names
                    f"{naming.printable(str(self.roots[tree] / final))}: its file system gives no file another name"
                    f" within one directory: {error.strerror}",
                    advice="Look at how it is mounted, and at what lies above it (an overlay, a union, quotas)",
                ) from error
        self.sync_up(tree, final)

    def sync_up(self, tree: Tree, path: PurePosixPath) -> None:
        """Bring the directories of `path` to the disk, from its own up to the root.

        All of them each time: an earlier run may have made one and died before it was synced.
        """
        parts = path.parts[:-1]
        with about(self.roots[tree] / path):
            for depth in range(len(parts), -1, -1):
                with paths.directory(self.roots[tree], parts[:depth]) as directory:
                    sync(directory)

    def sync_file(self, tree: Tree, path: PurePosixPath) -> None:
        """Bring a file that stands and its directories to the disk."""
        with self.opened(tree, path) as handle:
            sync(handle)
        self.sync_up(tree, path)

    def remove_part(self, tree: Tree, path: PurePosixPath) -> None:
        """Remove a part where it is still there. Parts are never an only copy."""
        if naming.kind_of(path.name) is not naming.FileKind.PART:
            raise ValueError(f"{path} is not a part")
        if self.status(tree, path) is None:
            return
        with suppress(FileNotFoundError, NotADirectoryError):
            self._unlink(tree, path)

    # -- letting go ---------------------------------------------------------------------------------------

    def set_aside(self, tree: Tree, path: PurePosixPath, job: str) -> PurePosixPath:
        """Rename a file to its job's `.gone` name beside it; the new path is returned."""
        aside = path.with_name(naming.gone_name(job))
        self._rename(tree, path, aside)
        return aside

    def put_back(self, tree: Tree, aside: PurePosixPath, path: PurePosixPath) -> PurePosixPath:
        """Give a file that was set aside its name back, or the next free one where that is taken by now."""
        return self._rename_to_free(Place(tree, aside), Place(tree, path))

    def delete(self, tree: Tree, path: PurePosixPath) -> None:
        """Remove a file for good, durably."""
        self._unlink(tree, path)

    def trash(
        self, tree: Tree, aside: PurePosixPath, origin: PurePosixPath, job: str, stop: StopToken
    ) -> PurePosixPath:
        """Move a file that was set aside into the trash, under the path it had; its path there is returned.

        From the source tree that is `origin` itself, from the archive `archived/<origin>`.
        """
        return self.move(Place(tree, aside), Place(Tree.TRASH, _in_trash(tree, origin)), job, stop)

    def clear(
        self, tree: Tree, directory: PurePosixPath, wanted: Sequence[tuple[str, Fingerprint]], job: str, *,
        to_trash: bool, go_on: Callable[[], bool], stop: StopToken | None = None,
    ) -> Cleared:  # fmt: skip
        """Remove files from one directory, or move them into the trash, durably; each only if it is the one meant.

        `go_on` is asked before each file, and False ends the batch. A copy into a trash on another file system heeds
        `stop`, which ends the batch too; so does a directory that is moved away meanwhile, and what was not done
        then is refused.

        Raises: ResourceError; ClearingFailed, which is one, where the batch had begun.
        """
        if to_trash and tree is Tree.TRASH:
            raise ValueError("what lies in the trash is not moved there")
        with ExitStack() as stack:
            try:
                with about(self.roots[tree] / directory):
                    here = OpenPlace(stack.enter_context(self._removable(tree, directory / naming.gone_name(job))))
            except OSError as error:
                why = "its directory is not there any more" if isinstance(error, FileNotFoundError) else words(error)
                return Cleared({}, {name: why for name, _ in wanted})
            trash = None
            if to_trash:
                try:
                    trash = self._trash_for(stack, tree, directory, job, stop or NeverStop())
                except OSError as error:
                    why = f"the trash takes nothing: {words(error)}"
                    return Cleared({}, {name: why for name, _ in wanted})
            return Batch(here, job, trash, uploads=tree is Tree.SOURCE).run(wanted, go_on)

    def _trash_for(self, stack: ExitStack, tree: Tree, directory: PurePosixPath, job: str, stop: StopToken) -> Trash:
        """The directory of the trash where the files of a directory go: made where missing, and open."""
        where = _in_trash(tree, directory)
        open_it = partial(paths.directory, self.roots[Tree.TRASH], where.parts)
        handle = self._in_directories(Tree.TRASH, where.parts, lambda: stack.enter_context(open_it()))
        self.sync_up(Tree.TRASH, where / naming.gone_name(job))

        def carry(path: PurePosixPath) -> PurePosixPath:
            return self.trash(tree, directory / path, directory / path.name, job, stop)

        return Trash(OpenPlace(handle), where, carry)

    def put_back_all(self, tree: Tree, aside: PurePosixPath) -> list[PurePosixPath]:
        """Give what stands in the aside directory of a batch that died its names back, the next free where taken.

        Where it stands now is returned. The aside directory goes, if nothing is left in it.
        """
        back = [
            self._rename_to_free(Place(tree, aside / name), Place(tree, aside.with_name(name)))
            for name in self.names(tree, aside)
        ]
        with about(self.roots[tree] / aside), self._removable(tree, aside) as directory:
            with suppress(FileNotFoundError):
                os.rmdir(aside.name, dir_fd=directory)
            sync(directory)
        return back

    def remove_empty(
        self, tree: Tree, directory: PurePosixPath, may_go: Callable[[PurePosixPath], bool] = _always
    ) -> list[PurePosixPath]:  # fmt: skip
        """Remove a directory and then those above it, as long as they are empty and may go; which ones, in order.

        Never the root, and nothing on another mount. One that may not be removed ends it.
        """
        removed: list[PurePosixPath] = []
        for path in (directory, *directory.parents):
            if not path.parts or not may_go(path) or not self._remove_if_empty(tree, path, removed):
                break
        if removed:
            with suppress(OSError):  # nothing is lost where it stands again after a power cut
                self.sync_up(tree, removed[-1])
        return removed

    def _remove_if_empty(self, tree: Tree, path: PurePosixPath, removed: list[PurePosixPath]) -> bool:
        """Whether no directory stands there any more."""
        try:
            with about(self.roots[tree] / path), self._removable(tree, path) as above:
                os.rmdir(path.name, dir_fd=above)
        except FileNotFoundError:  # removed before, or by somebody else: the one above may be empty
            return True
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                log.debug("%s: an empty directory is left: %s", naming.printable(path), error.strerror)
            return False
        removed.append(path)
        return True

    # -- moving -------------------------------------------------------------------------------------------

    def move(self, old: Place, new: Place, job: str, stop: StopToken, *, own: bool = False) -> PurePosixPath:
        """Move a file between any two places, durably; its path there is returned, the first free of `~2`, `~3`, ….

        By rename where that can be done, of a file that is synced then. Across file systems it is copied into the part
        of `job`, read back, and synced up to the root before the original goes; where a death left such a copy, no
        second one is made.
        `own`: what stands there in the end is a file of archiverd's own, with the modes of archives. It is always
        a copy, so that nobody who uploaded the original keeps a hold on it.
        Raises: SourceChanged where a file was written to while it was copied; it then stays.
        """
        path = (
            None if own else self._in_directories(new.tree, new.path.parts[:-1], lambda: self._move_by_rename(old, new))
        )
        return self._move_by_copy(old, new, job, stop, own=own) if path is None else path

    def find(self, place: Place, sha256: str, original: os.stat_result, stop: StopToken) -> PurePosixPath | None:
        """Which of a path, `~2`, `~3`, … up to the first free name has the content of `original`, and is not it."""
        for candidate in candidates(place.path):
            status = self.status(place.tree, candidate)
            if status is None:
                return None
            if self._holds(Place(place.tree, candidate), status, sha256, original, stop):
                return candidate
        return None

    def _holds(
        self, place: Place, status: os.stat_result, sha256: str, original: os.stat_result, stop: StopToken
    ) -> bool:
        """Whether a file of the trees has the content of another, and is not that very file."""
        # A bind mount or a hard link can show the original itself in the other tree.
        if not stat.S_ISREG(status.st_mode) or os.path.samestat(status, original):
            return False
        if status.st_size != original.st_size:
            return False
        with self.opened(place.tree, place.path) as handle:
            return self.sha256(handle, stop) == sha256

    def _move_by_rename(self, old: Place, new: Place) -> PurePosixPath | None:
        """None where the two places are on different mounts.

        The file is synced first: nobody may have done that since it was uploaded, and a name of its own in the trash
        would last longer than what it names.
        """
        with self.opened(old.tree, old.path) as handle:
            sync(handle)
        try:
            path = self._in_directories(new.tree, new.path.parts[:-1], partial(self._rename_to_free, old, new))
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return None
        self.sync_up(new.tree, path)
        with paths.parent(self.roots[old.tree], old.path) as directory:
            sync(directory)
        return path

    def _move_by_copy(self, old: Place, new: Place, job: str, stop: StopToken, *, own: bool) -> PurePosixPath:
        part = self.part_path(new.path.parent, job)
        self.remove_part(new.tree, part)
        try:
            sha256, original = self._copy_to_part(old, Place(new.tree, part), stop, own=own)
            self._see_unchanged(old, original)
            path = self._publish_copy(part, new, sha256, original, stop)
        except BaseException:
            self.remove_part(new.tree, part)
            raise
        self._see_unchanged(old, original)
        self._unlink(old.tree, old.path)
        return path

    def _see_unchanged(self, place: Place, was: os.stat_result) -> None:
        """Raises: SourceChanged where a file was written to, or is not there any more, since it was copied."""
        status = self.status(place.tree, place.path)
        if status is None or Fingerprint.of(status) != Fingerprint.of(was):
            raise SourceChanged("it was written to while it was moved")

    def _copy_to_part(self, old: Place, part: Place, stop: StopToken, *, own: bool) -> tuple[str, os.stat_result]:
        """The SHA-256 of the copy, and the status of what was copied. What can't be removed is not copied either."""
        with self._removable(old.tree, old.path), self.opened(old.tree, old.path) as original:
            status = os.fstat(original)
            with self.new_part(part.tree, part.path) as copy:
                sha256 = self.copy(original, copy, stop)
                if own:
                    self.finish_part(copy, status.st_mtime_ns)
                else:
                    _finish_like(copy, status)
        return sha256, status

    def _publish_copy(
        self, part: PurePosixPath, new: Place, sha256: str, original: os.stat_result, stop: StopToken
    ) -> PurePosixPath:
        """Give a copy the first free name; one that stands there already needs no second copy.

        It stands there when the process died between the copy and the removal of the original.
        """
        found = self.find(new, sha256, original, stop)
        if found is not None:
            self.remove_part(new.tree, part)
            self.sync_file(new.tree, found)
            return found
        for candidate in candidates(new.path):
            with suppress(FileExistsError):
                self.publish(new.tree, part, candidate)
                return candidate
        raise _no_name_free(new)

    def _rename_to_free(self, old: Place, new: Place) -> PurePosixPath:
        """Rename to the first free of a path, `~2`, `~3`, …. Raises: OSError with EXDEV across mounts."""
        with (
            about(self.roots[old.tree] / old.path),
            self._removable(old.tree, old.path) as here,
            paths.parent(self.roots[new.tree], new.path) as there,
        ):
            for candidate in candidates(new.path):
                with suppress(FileExistsError):
                    rename_no_replace(here, old.path.name, there, candidate.name)
                    return candidate
                names = self._names_of_one_file(old, Place(new.tree, candidate))
                if names > 1:  # a link-and-unlink that was cut short between the two
                    sync(there)
                    os.unlink(old.path.name, dir_fd=here)
                if names:  # one name, seen by two ways: it stands where it is to go
                    return candidate
        raise _no_name_free(new)

    def _names_of_one_file(self, one: Place, other: Place) -> int:
        """How many names the file has that both places show; 0 where they show two files."""
        first, second = self.status(one.tree, one.path), self.status(other.tree, other.path)
        same = first is not None and second is not None and os.path.samestat(first, second)
        return first.st_nlink if first is not None and same else 0

    def drop_second_name(self, place: Place, other: Place) -> bool:
        """Take a name away from a file that stands at another place too; False where it does not."""
        there = self.status(other.tree, other.path)
        if there is None or self._names_of_one_file(place, other) < 2:
            return False
        self._leave_at(other, there, place)
        return True

    def _leave_at(self, place: Place, seen: os.stat_result, other: Place) -> None:
        """Take a file away from one place that was seen to stand at another, once it is sure to last there."""
        self.sync_file(place.tree, place.path)
        self._see_unchanged(place, seen)
        self._unlink(other.tree, other.path)

    # -- bringing back ------------------------------------------------------------------------------------

    def bring_back(
        self, path: PurePosixPath, to: Place, job: str, stop: StopToken, *, protected: bool
    ) -> PurePosixPath:
        """Move a file out of the trash to its place, or the first free of `~2`, `~3`, …; its path there is returned.

        `protected`: a `.keep` stands beside that name before the file does, so that nobody lets go of it meanwhile.
        Needs no lock. Across file systems it is copied and read back before it leaves the trash. Where the very file
        stands there already it only leaves the trash: a death came between the two.
        Raises: OSError, ResourceError, SourceChanged; the file is then in the trash as before.
        """
        for candidate in candidates(to.path):
            place = Place(to.tree, candidate)
            if self.status(to.tree, candidate) is not None:
                if self._is_back(path, place, stop, protected=protected):
                    return candidate
                continue
            above = candidate.parts[:-1]
            keep = self._in_directories(to.tree, above, partial(self._keep_ahead, place)) if protected else None
            with self._dropped_if_in_vain(keep, place), suppress(FileExistsError):
                bring = partial(self._bring_to, Place(Tree.TRASH, path), place, job, stop)
                self._in_directories(to.tree, above, bring)
                return candidate
            # Somebody else's file has just got this name; a `.keep` made for ours would keep that one.
            if keep is not None:
                self._unlink(to.tree, keep)
        raise _no_name_free(to)

    def _is_back(self, path: PurePosixPath, place: Place, stop: StopToken, *, protected: bool) -> bool:
        """See whether a file of the trash stands at its place too, and then have it leave the trash.

        That is the same file under two names, or one of its very bytes and time.
        """
        original, there = self.status(Tree.TRASH, path), self.status(place.tree, place.path)
        if original is None or there is None or not stat.S_ISREG(original.st_mode):
            return False
        if self._names_of_one_file(Place(Tree.TRASH, path), place) <= 1:
            if (original.st_size, original.st_mtime_ns) != (there.st_size, there.st_mtime_ns):
                return False
            with self.opened(Tree.TRASH, path) as handle:
                sha256 = self.sha256(handle, stop)
            if not self._holds(place, there, sha256, original, stop):
                return False
        keep = self._keep_ahead(place) if protected else None
        with self._dropped_if_in_vain(keep, place):
            self._leave_at(place, there, Place(Tree.TRASH, path))
        return True

    def _keep_ahead(self, place: Place) -> PurePosixPath | None:
        """Put a `.keep` where a clip is to stand, durably; its path, or None where one stands already."""
        if self.keep_beside(place.tree, place.path) is not None:
            return None
        keep = place.path.with_name(naming.keep_name(place.path.name))
        with about(self.roots[place.tree] / keep), paths.parent(self.roots[place.tree], keep) as directory:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(keep.name, flags, 0o644, dir_fd=directory))
        self.sync_up(place.tree, keep)
        return keep

    @contextmanager
    def _dropped_if_in_vain(self, keep: PurePosixPath | None, place: Place) -> Iterator[None]:
        """Take the `.keep` away again where what it was made for does not come."""
        try:
            yield
        except BaseException:
            if keep is not None and self.status(place.tree, place.path) is None:
                with suppress(OSError, ResourceError):  # what failed first is what is told
                    self._unlink(place.tree, keep)
            raise

    def _bring_to(self, old: Place, new: Place, job: str, stop: StopToken) -> None:
        """Give a file exactly this name, by rename or by a copy. Raises: FileExistsError where it is taken."""
        with (
            about(self.roots[new.tree] / new.path),
            self._removable(old.tree, old.path) as here,
            paths.parent(self.roots[new.tree], new.path) as there,
        ):
            try:
                rename_no_replace(here, old.path.name, there, new.path.name)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._bring_copy(old, new, there, job, stop)
                self.sync_up(new.tree, new.path)
                os.unlink(old.path.name, dir_fd=here)
            else:
                self.sync_up(new.tree, new.path)
            sync(here)

    def _bring_copy(self, old: Place, new: Place, there: int, job: str, stop: StopToken) -> None:
        """Put a copy under a name: of a file without one, where the file system has such, else of a part.

        A part is taken for a leftover by whoever starts just then; this then fails, and nothing is lost.
        """
        with self.opened(old.tree, old.path) as original:
            status = os.fstat(original)
            nameless = _nameless(there)
            if nameless is not None:
                try:
                    self._fill(nameless, original, status, stop)
                    self._see_unchanged(old, status)
                    os.link(f"/proc/self/fd/{nameless}", new.path.name, dst_dir_fd=there, follow_symlinks=True)
                finally:
                    os.close(nameless)
                return
            part = self.part_path(new.path.parent, job)
            try:
                with self.new_part(new.tree, part) as copy:
                    self._fill(copy, original, status, stop)
                self._see_unchanged(old, status)
                if self.status(new.tree, part) is None:
                    raise SourceChanged("its copy was taken away by an archiverd that started meanwhile")
                rename_no_replace(there, part.name, there, new.path.name)
            finally:
                self.remove_part(new.tree, part)

    def _fill(self, copy: int, original: int, status: os.stat_result, stop: StopToken) -> None:
        self.copy(original, copy, stop)
        _finish_like(copy, status)

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
        with about(self.roots[tree] / old), self._removable(tree, old) as directory:
            rename_no_replace(directory, old.name, directory, new.name)

    def _unlink(self, tree: Tree, path: PurePosixPath) -> None:
        with about(self.roots[tree] / path), self._removable(tree, path) as directory:
            os.unlink(path.name, dir_fd=directory)
            sync(directory)

    def _in_directories(self, tree: Tree, parts: tuple[str, ...], do: Callable[[], _T]) -> _T:
        """Make directories, and do something there; both once more where one vanished between.

        The cleaner removes an empty directory of a day, also one that was just made to be written to.
        """
        try:
            self._make_directories(tree, parts)
            return do()
        except FileNotFoundError:
            self._make_directories(tree, parts)
            return do()

    def _make_directories(self, tree: Tree, parts: tuple[str, ...]) -> None:
        for depth, name in enumerate(parts):
            with (
                about(self.roots[tree].joinpath(*parts[: depth + 1])),
                paths.directory(self.roots[tree], parts[:depth]) as directory,
            ):
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


def set_file_aside(path: Path, ending: str) -> Path:
    """Rename a file of archiverd's own (and SQLite's journal of it) out of the way, durably; its new path is returned.

    Never replaces: `<name>.<ending>`, or the next free `<name>.<ending>~2`, …

    Raises: OSError; ResourceError where the machine fails.
    """
    with environment_faults(path), paths.directory(path.parent) as directory:
        name = _rename_to_free(directory, path.name, f"{path.name}.{ending}")
        with suppress(FileNotFoundError):  # the journal belongs to the file, and goes by its name
            rename_no_replace(directory, f"{path.name}-journal", directory, f"{name}-journal")
        sync(directory)
    return path.with_name(name)


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Put a file outside the trees in place, whole and durable, or not at all. Its directory is made where missing.

    Raises: FileExistsError where the name is taken; OSError, ResourceError where it can't be written.
    """
    _make_open(path.parent)
    _write(path, content, mode, rename_no_replace)


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """The same in place of what may stand there. Directories above it are made where missing."""
    for directory in reversed(path.parents):
        _make_open(directory)

    def replace(old_directory: int, old: str, new_directory: int, new: str) -> None:
        os.rename(old, new, src_dir_fd=old_directory, dst_dir_fd=new_directory)

    _write(path, content, mode, replace)


def remove_empty(directory: Path) -> None:
    """Remove a directory outside the trees where it is empty."""
    with suppress(OSError):
        os.rmdir(directory)


def _make_open(directory: Path) -> None:
    with suppress(FileExistsError):
        directory.mkdir(mode=0o755)
        directory.chmod(0o755)  # whatever the umask: who may read the file must reach it


def _write(path: Path, content: bytes, mode: int, put: Callable[[int, str, int, str], None]) -> None:
    with paths.directory(path.parent) as directory:
        fresh = f".{secrets.token_hex(8)}.new"
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
        try:
            try:
                os.fchmod(handle, mode)
                write_all(handle, content, 0)
                sync(handle)
            finally:
                os.close(handle)
            put(directory, fresh, directory, path.name)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(fresh, dir_fd=directory)
            raise
        sync(directory)


def write_over(path: Path, content: bytes, mode: int) -> None:
    """Put a file of archiverd's own in place of the one of before. A reader sees one or the other, whole.

    Not durable: for what is worth nothing after a power cut. Its directory is to be there.

    Raises: OSError, ResourceError where it can't be written.
    """
    with environment_faults(path), paths.directory(path.parent) as directory:
        fresh = f"{path.name}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(fresh, flags, mode, dir_fd=directory)
        try:
            try:
                write_all(handle, content, 0)
            finally:
                os.close(handle)
            os.replace(fresh, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(fresh, dir_fd=directory)
            raise


def remove_file(path: Path) -> None:
    """Remove a file of archiverd's own outside the trees, if it is there. Raises: OSError, ResourceError."""
    with environment_faults(path), suppress(FileNotFoundError), paths.directory(path.parent) as directory:
        os.unlink(path.name, dir_fd=directory)


def _rename_to_free(directory: int, old: str, wanted: str) -> str:
    for number in range(1, TAKEN_LIMIT):
        name = wanted if number == 1 else f"{wanted}~{number}"
        with suppress(FileExistsError):
            rename_no_replace(directory, old, directory, name)
            return name
    raise ResourceError(f"{wanted}: no name is free to set {old} aside")


def _in_trash(tree: Tree, path: PurePosixPath) -> PurePosixPath:
    """Where in the trash that goes which stands there in a tree."""
    return path if tree is Tree.SOURCE else PurePosixPath(naming.RETIRED) / path


def _finish_like(copy: int, status: os.stat_result) -> None:
    """Give a copy the mode and times of its original, and bring it to the disk."""
    with about(Path(place_of(copy))):
        os.fchmod(copy, status.st_mode & 0o777)
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    sync(copy)


def _nameless(directory: int) -> int | None:
    """A new file without a name, open; None where the file system makes none. Closed, it is gone."""
    try:
        return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            return None
        raise


def _no_name_free(place: Place) -> ResourceError:
    return ResourceError(
        f"{naming.printable(place.path)}: {TAKEN_LIMIT} files of this name stand in the {place.tree} tree"
    )
