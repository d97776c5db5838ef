"""Removing many files from one directory, each with the care of a single one.

Every file is first renamed into an aside directory beside it, `.archiverd-<job>.gone`, under its own name. What stands
there nobody else reaches by the name it had: so what was looked at is what goes. A death leaves at most one file
aside, and its name says where it belongs.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from archiverd.errors import Interrupted, JobError, ResourceError
from archiverd.policy import naming
from archiverd.policy.model import Fingerprint
from archiverd.storage import paths
from archiverd.storage.open_files import NO_ROOM, environment_faults, sync
from archiverd.storage.renaming import candidates, rename_no_replace

log = logging.getLogger(__name__)

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_THERE = "is not there any more"
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


class _RefusedError(Exception):
    """A file stays, for the reason in words."""


class Batch:
    """One batch of removals from an open directory; into the trash where there is one."""

    def __init__(self, place: OpenPlace, job: str, trash: Trash | None) -> None:
        self._place = place
        self._directory = place.handle
        self._trash = trash
        self._apart = False  # the trash is on another mount
        self._aside_name = naming.gone_name(job)
        self._aside: int | None = None
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
        why_none = ""
        for name, mark in wanted:
            if not why_none:
                if not go_on():
                    return
                if not self._place.stands():
                    why_none = "its directory was moved or removed meanwhile"
            if why_none:
                self._refused[name] = why_none
                continue
            try:
                why_none = self._take(name, mark)
            except _RefusedError as refusal:
                self._refused[name] = str(refusal)
            except JobError as error:
                self._refused[name] = error.message

    def _take(self, name: str, mark: Fingerprint) -> str:
        """Remove one file. Why no other can be removed either, in words, where that is so."""
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise _RefusedError("is not the name of one file")
        try:
            with environment_faults(self._aside_name):
                has_aside = self._has_aside()
        except OSError as error:
            self._refused[name] = words(error)
            return words(error)
        with self._told(name), environment_faults(name):
            if has_aside and self._set_aside(name):
                self._take_from_aside(name, mark)
            else:
                self._take_in_place(name, mark)
        return ""

    def _has_aside(self) -> bool:
        """Whether there is an aside directory, from now on; a full disk may have no room for one."""
        if self._aside is not None:
            return True
        try:
            # One that stands already is of a batch of the same job, and could not be removed at its end.
            with suppress(FileExistsError):
                os.mkdir(self._aside_name, 0o700, dir_fd=self._directory)
        except OSError as error:
            if error.errno in NO_ROOM:
                return False
            raise
        self._aside = paths.open_directory(self._directory, self._aside_name)
        return True

    def _set_aside(self, name: str) -> bool:
        """Whether the file stands aside now; a full disk may have no room for the other name."""
        assert self._aside is not None, "the aside directory is made before"
        try:
            rename_no_replace(self._directory, name, self._aside, name)
        except OSError as error:
            if error.errno in NO_ROOM:
                return False
            raise
        return True

    def _take_from_aside(self, name: str, mark: Fingerprint) -> None:
        assert self._aside is not None, "a file stands in it"
        try:
            status = os.stat(name, dir_fd=self._aside, follow_symlinks=False)
            _see_same(status, mark)
            if self._trash is None:
                os.unlink(name, dir_fd=self._aside)
            else:
                self._moved[name] = self._move(self._trash, self._aside, name)
        except BaseException:
            self._put_back(name)
            raise
        self._note_gone(name, status)

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
        leaves_disk = self._trash is None or os.fstat(self._trash.place.handle).st_dev != status.st_dev
        self._gone[name] = status.st_blocks * 512 if leaves_disk and status.st_nlink == 1 else 0

    def _put_back(self, name: str) -> None:
        """Give a file that stands aside its name back, or the next free one."""
        assert self._aside is not None, "a file stands in it"
        shown = naming.printable(name)
        try:
            back = _rename_to_free(self._aside, name, self._directory)
        except FileNotFoundError:  # it has gone to where it was to go
            return
        except OSError as error:
            log.warning("%s: stands in %s until the next start: %s", shown, self._aside_name, error.strerror)
            return
        if back != name:
            log.warning("%s: stands as %s from now on", shown, naming.printable(back))

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """Turn what speaks against the removal of one file into words. The faults of the machine are told before."""
        try:
            yield
        except FileNotFoundError as error:
            if self._status(name) is None:
                raise _RefusedError(_NOT_THERE) from error
            raise _RefusedError("its aside directory was removed meanwhile") from error
        except OSError as error:
            raise _RefusedError(self._words(name, error)) from error

    def _words(self, name: str, error: OSError) -> str:
        status, above = self._status(name), os.fstat(self._directory)
        is_sticky = error.errno == errno.EPERM and above.st_mode & stat.S_ISVTX
        if is_sticky and status is not None and os.geteuid() not in (0, status.st_uid, above.st_uid):
            return (
                "belongs to another user, and its directory is sticky, where only its owner may remove it: "
                "`chmod -t` on the directory lets archiverd"
            )
        return words(error)

    def _status(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        except OSError:
            return None

    def _end(self) -> None:
        """Remove the aside directory, and bring all of it to the disk, once. In the trash first."""
        try:
            if self._trash is not None and self._moved:
                sync(self._trash.place.handle, self._trash.directory)
        finally:
            if self._aside is not None:
                os.close(self._aside)
                try:
                    os.rmdir(self._aside_name, dir_fd=self._directory)
                except OSError as error:
                    log.warning("%s: stays until the next start: %s", self._aside_name, error.strerror)
        if self._gone:
            sync(self._directory, "a directory that was cleared")


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
            return _NOT_THERE
        case errno.ENOTDIR | errno.ELOOP:
            return "its directory is no directory, or a symlink stands in its place: it is not followed"
        case _:
            return error.strerror or str(error)


def _see_same(status: os.stat_result, mark: Fingerprint) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _RefusedError("is no regular file")
    if Fingerprint.of(status) != mark:
        raise _RefusedError(_CHANGED)
