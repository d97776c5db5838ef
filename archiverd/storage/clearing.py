"""Removing many files from one directory, each with the care of a single one.

Every file is first renamed into an aside directory beside it, `.archiverd-<job>.gone`, under its own name. What stands
there nobody else reaches by the name it had: so what was looked at is what goes. A death leaves a few files aside, and
their names say where they belong.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from archiverd.errors import Interrupted, JobError, ResourceError
from archiverd.policy import naming
from archiverd.policy.model import Fingerprint
from archiverd.storage import paths
from archiverd.storage.open_files import NO_ROOM, environment_fault, place_of, sync, writers
from archiverd.storage.renaming import candidates, rename_no_replace

log = logging.getLogger(__name__)

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_STRIDE = 32  # files
_THREADS = 2
_AHEAD = 2  # strides that wait for each thread, at most: whoever asks to stop waits for no more
_NO_NAMES = frozenset({"", ".", ".."})
NOT_THERE = "is not there any more"
PROTECTED = "is protected by a .keep file since"
_CHANGED = "is another file than the one that was to go, or was written to since"


@dataclass(frozen=True, slots=True)
class Cleared:
    """What became of each name; one that was not come to is in neither of the first two."""

    gone: Mapping[str, int]  # what its removal freed on its disk, in bytes: 0 where it has another name, or only moved
    refused: Mapping[str, str]  # why it stays, in words
    moved: Mapping[str, PurePosixPath] = field(default_factory=dict)  # of those that are gone: the place in the trash


class ClearingFailed(ResourceError):  # noqa: N818  (an event: the machine failed within a batch)
    """The machine failed within a batch. `cleared` says what had become of it: what is gone is gone."""

    def __init__(self, error: ResourceError, cleared: Cleared) -> None:
        super().__init__(error.message, advice=error.advice)
        self.cleared = cleared


class OpenPlace:
    """An open directory, and whether it still stands where it was opened.

    The kernel tells the path of an open directory as it is now (proc(5), fd): another one where it, or one above it,
    was renamed.
    """

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.device = os.fstat(handle).st_dev
        self._link = f"/proc/self/fd/{handle}"
        self._where = os.readlink(self._link)

    def stands(self) -> bool:
        """Whether neither it nor a directory above it was moved or removed."""
        return os.readlink(self._link) == self._where


@dataclass(frozen=True, slots=True)
class Trash:
    """Where in the trash the files of a batch go.

    `carry` moves one that a rename alone does not bring there, by its path below the directory that is cleared.
    """

    place: OpenPlace
    directory: PurePosixPath
    carry: Callable[[PurePosixPath], PurePosixPath]


_Unlinked = tuple[str, os.stat_result, OSError | None]  # a name, what it was, and why it could not be unlinked


class _RefusedError(Exception):
    """A file stays, for the reason in words."""


class _Aside:
    """An open aside directory, and the unlinking of what stands there.

    That is done in strides, by threads of its own, while the next files are set aside and looked at: an unlink is by
    far the longest of what is done for a file, and the kernel does several at a time.
    """

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.fault: OSError | None = None  # of the machine: nothing more is unlinked
        self._stride: list[tuple[str, os.stat_result]] = []
        self._ended: list[_Unlinked] = []
        self._given: list[Future[list[_Unlinked]]] = []
        self._threads: list[ThreadPoolExecutor] | None = None  # of one thread each

    def unlink(self, name: str, status: os.stat_result) -> None:
        """Have one unlinked that was looked at, soon; `finish` tells what became of it."""
        self._stride.append((name, status))
        if len(self._stride) == _STRIDE:
            stride, self._stride = self._stride, []
            self._give(stride)

    def _give(self, stride: Sequence[tuple[str, os.stat_result]]) -> None:
        if self._threads is None:
            self._threads = _threads()
        if not self._threads:
            self._ended += self._unlink_all(stride)
            return
        thread = self._threads[len(self._given) % len(self._threads)]
        self._given.append(thread.submit(self._unlink_all, stride))
        ahead = _AHEAD * len(self._threads)
        if len(self._given) > ahead:
            self._given[-ahead - 1].result()

    def finish(self) -> Iterator[_Unlinked]:
        """See all of them through, and tell what became of each."""
        self._ended += self._unlink_all(self._stride)
        for thread in self._threads or ():
            thread.shutdown()
        for given in self._given:
            yield from given.result()
        yield from self._ended

    def _unlink_all(self, stride: Sequence[tuple[str, os.stat_result]]) -> list[_Unlinked]:
        return [(name, status, self._unlink(name)) for name, status in stride]

    def _unlink(self, name: str) -> OSError | None:
        """Unlink one; why it could not be."""
        if self.fault is not None:
            return self.fault
        try:
            os.unlink(name, dir_fd=self.handle)
        except OSError as error:
            if environment_fault(error, name) is not None:
                self.fault = error
            return error
        return None


def _threads() -> list[ThreadPoolExecutor]:
    """So many as can be had, each running: what is given to one of them later needs no further thread."""
    running: list[ThreadPoolExecutor] = []
    for _ in range(_THREADS):
        thread = ThreadPoolExecutor(1, "unlinking")
        try:
            thread.submit(int)
        except RuntimeError as error:  # "can't start new thread"
            log.debug("unlinking with %d threads: %s", len(running), error)
            break
        running.append(thread)
    return running


class Batch:
    """One batch of removals from an open directory; into the trash where there is one.

    `uploads`: others write there, and what one of them has open for writing stays.
    """

    def __init__(self, place: OpenPlace, job: str, trash: Trash | None, *, uploads: bool = False) -> None:
        self._uploads = uploads
        self._place = place
        self._directory = place.handle
        self._trash = trash
        self._apart = False  # the trash is on another mount
        self._aside_name = naming.gone_name(job)
        self._aside: _Aside | None = None
        self._is_safe = True  # what was moved is on the disk
        self._gone: dict[str, int] = {}
        self._refused: dict[str, str] = {}
        self._moved: dict[str, PurePosixPath] = {}

    def run(self, wanted: Iterable[tuple[str, Fingerprint]], go_on: Callable[[], bool]) -> Cleared:
        """Remove what is wanted, until `go_on` says otherwise or a stop is asked for within a copy.

        Raises: ClearingFailed.
        """
        cleared = Cleared(self._gone, self._refused, self._moved)
        try:
            try:
                with suppress(Interrupted):  # the file is put back, and who asked for the stop knows of it
                    self._take_all(wanted, go_on)
            finally:
                self._end()
        except ResourceError as error:
            raise ClearingFailed(error, cleared) from error
        return cleared

    def _take_all(self, wanted: Iterable[tuple[str, Fingerprint]], go_on: Callable[[], bool]) -> None:
        left = iter(wanted)
        for name, mark in left:
            if not go_on() or (self._aside is not None and self._aside.fault is not None):
                return
            why_none = "" if self._place.stands() else "its directory was moved or removed meanwhile"
            try:
                why_none = why_none or self._why_none(name)
                if not why_none:
                    self._take(name, mark)
            except _RefusedError as refusal:
                self._refused[name] = str(refusal)
            except JobError as error:
                self._refused[name] = error.message
            except OSError as error:
                self._refused[name] = self._why(name, error)
            if why_none:
                self._refused |= {name: why_none, **{other: why_none for other, _ in left}}

    def _why_none(self, name: str) -> str:
        """Why nothing can be removed from this directory, in words: "" where nothing speaks against it."""
        if self._aside is None:
            try:
                self._make_aside()
            except OSError as error:
                fault = environment_fault(error, f"{place_of(self._directory)}/{name}")
                if fault is None:
                    return words(error)
                if error.errno not in NO_ROOM:
                    raise fault from error
        return ""

    def _take(self, name: str, mark: Fingerprint) -> None:
        """Remove one file. No context managers here: this is done ten thousand times."""
        if name in _NO_NAMES or "/" in name or "\0" in name:
            raise _RefusedError("is not the name of one file")
        if self._aside is None:  # a full disk had no room for it
            self._take_in_place(name, mark)
            return
        try:
            rename_no_replace(self._directory, name, self._aside.handle, name)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            self._take_in_place(name, mark)  # nor for the other name
        else:
            self._take_from_aside(self._aside, name, mark)

    def _make_aside(self) -> None:
        # One that stands already is of a batch of the same job, and could not be removed at its end.
        with suppress(FileExistsError):
            os.mkdir(self._aside_name, 0o700, dir_fd=self._directory)
        self._aside = _Aside(paths.open_directory(self._directory, self._aside_name))

    def _take_from_aside(self, aside: _Aside, name: str, mark: Fingerprint) -> None:
        try:
            status = os.stat(name, dir_fd=aside.handle, follow_symlinks=False)
            _see_same(status, mark)
            self._see_unprotected(name)
            if self._uploads:
                _see_unwritten(aside.handle, name, keep=self._trash is not None)
            if self._trash is not None:
                self._moved[name] = self._move(self._trash, aside.handle, name)
            elif status.st_nlink > 1:  # at once, for whoever looks at its other name next is to see how many are left
                os.unlink(name, dir_fd=aside.handle)
        except BaseException:
            self._put_back(aside.handle, name)
            raise
        if self._trash is None and status.st_nlink == 1:
            aside.unlink(name, status)
        else:
            self._note_gone(name, status)

    def _finish_unlinking(self, aside: _Aside) -> None:
        """See through what is being unlinked; what could not be has its name again. Raises: ResourceError."""
        fault: ResourceError | None = None
        for name, status, error in aside.finish():
            if error is None:
                self._note_gone(name, status)
                continue
            self._put_back(aside.handle, name)
            try:
                self._refused[name] = self._why(name, error)
            except ResourceError as one:
                fault = fault or one
        if fault is not None:
            raise fault

    def _see_unprotected(self, name: str) -> None:
        """Whoever protects a clip looks whether it stands once its `.keep` is made: one of the two sees the other.

        A `.keep` of another case that somebody makes by hand is seen by whoever plans.
        """
        try:
            os.stat(naming.keep_name(name), dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return
        raise _RefusedError(PROTECTED)

    def _move(self, trash: Trash, aside: int, name: str) -> PurePosixPath:
        """By one rename where the name is free on the same mount; where not, as every file is moved."""
        if not self._apart and trash.place.stands():
            try:
                rename_no_replace(aside, name, trash.place.handle, name)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EEXIST, errno.ENOENT):
                    raise
                self._apart = error.errno == errno.EXDEV
            else:
                return trash.directory / name
        return trash.carry(PurePosixPath(self._aside_name, name))

    def _take_in_place(self, name: str, mark: Fingerprint) -> None:
        """Remove a file from where it stands, for a full disk has no room to set it aside.

        Between the look and the removal another file might get its name. So this is done only while it must be: what
        it frees soon leaves room for an aside directory.
        """
        handle = os.open(name, _LOOK, dir_fd=self._directory)
        try:
            status = os.fstat(handle)
            _see_same(status, mark)
            self._see_unprotected(name)
            if self._uploads:
                _see_unwritten(self._directory, name, keep=self._trash is not None)
            if self._trash is None:
                os.unlink(name, dir_fd=self._directory)
                left = os.fstat(handle).st_nlink
            else:
                self._moved[name] = self._trash.carry(PurePosixPath(name))
                left = 0
        finally:
            os.close(handle)
        if left >= status.st_nlink:
            shown = naming.printable(name)
            log.error("%s: another file got this name as it was removed from a full disk, and went in its stead", shown)
            raise _RefusedError("lost its name to another file in the moment it was to go")
        self._note_gone(name, status)

    def _note_gone(self, name: str, status: os.stat_result) -> None:
        leaves_disk = self._trash is None or self._trash.place.device != status.st_dev
        self._gone[name] = status.st_blocks * 512 if leaves_disk and status.st_nlink == 1 else 0

    def _put_back(self, aside: int, name: str) -> None:
        """Give a file that stands aside its name back, or the next free one."""
        shown = naming.printable(name)
        try:
            back = _rename_to_free(aside, name, self._directory)
        except FileNotFoundError:  # it has gone to where it was to go
            return
        except OSError as error:
            log.warning("%s: stands in %s until the next start: %s", shown, self._aside_name, error.strerror)
            return
        if back != name:
            log.warning("%s: stands as %s from now on", shown, naming.printable(back))

    def _why(self, name: str, error: OSError) -> str:
        """What speaks against the removal of one file, in words. Raises: ResourceError for a fault of the machine."""
        fault = environment_fault(error, f"{place_of(self._directory)}/{name}")
        if fault is not None:
            raise fault from error
        try:
            status = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return NOT_THERE
        except OSError:  # it can't be seen, so nothing says that it is not there
            return words(error)
        if error.errno == errno.ENOENT:
            return "its aside directory was removed meanwhile"
        above = os.fstat(self._directory)
        others = os.geteuid() not in (0, status.st_uid, above.st_uid)
        if error.errno == errno.EPERM and above.st_mode & stat.S_ISVTX and others:
            return (
                "belongs to another user, and its directory is sticky, where only its owner may remove it: "
                "`chmod -t` on the directory lets archiverd"
            )
        return words(error)

    def _end(self) -> None:
        """Remove the aside directory, and bring all of it to the disk, once. In the trash first."""
        with ExitStack() as ending:  # whatever fails, the rest is done
            ending.callback(self._sync)
            if self._aside is not None:
                ending.callback(self._remove_aside, self._aside)
                self._finish_unlinking(self._aside)
            if self._trash is not None and self._moved:
                self._is_safe = False  # the names here are not to go for good before those there have come
                sync(self._trash.place.handle)
                self._is_safe = True

    def _remove_aside(self, aside: _Aside) -> None:
        os.close(aside.handle)
        try:
            os.rmdir(self._aside_name, dir_fd=self._directory)
        except OSError as error:
            log.warning("%s: stays until the next start: %s", self._aside_name, error.strerror)

    def _sync(self) -> None:
        if self._gone and self._is_safe:
            sync(self._directory)


def _rename_to_free(old_directory: int, name: str, new_directory: int) -> str:
    for candidate in candidates(PurePosixPath(name)):
        with suppress(FileExistsError):
            rename_no_replace(old_directory, name, new_directory, candidate.name)
            return candidate.name
    raise FileExistsError(errno.EEXIST, "no name is free for it", name)


def words(error: OSError) -> str:
    """Why a file, or all of a directory, stays, and what helps."""
    match error.errno:
        case errno.EACCES:
            return (
                "archiverd's user may not change its directory: give it the right to write and search there "
                "(`setfacl`, `chown` or `chmod`)"
            )
        case errno.EPERM if error.strerror == os.strerror(errno.EPERM):  # not one of ours, which has its own words
            return (
                "the system does not permit it: the file or its directory may be immutable or append-only: "
                "`lsattr` shows that, `chattr -i -a` lifts it"
            )
        case errno.ENOENT:
            return NOT_THERE
        case errno.ENOTDIR | errno.ELOOP:
            return "its directory is no directory, or a symlink stands in its place: it is not followed"
        case _:
            return error.strerror or str(error)


def _see_unwritten(directory: int, name: str, *, keep: bool) -> None:
    """`keep`: it is to lie in the trash, and nobody may have brought it to the disk since it was uploaded."""
    handle = paths.open_file(directory, name)
    try:
        if writers(handle):
            raise _RefusedError("somebody has it open for writing")
        if keep:
            sync(handle)
    finally:
        os.close(handle)


def _see_same(status: os.stat_result, mark: Fingerprint) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _RefusedError("is no regular file")
    if status.st_ino == mark.ino and status.st_size == mark.size and status.st_mtime_ns == mark.mtime_ns:
        return
    if Fingerprint.of(status) != mark:
        raise _RefusedError(_CHANGED)
