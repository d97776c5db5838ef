"""Walks by directory handle: no step of a path is ever taken through a symlink.

A path given to the kernel as one string is followed through whatever stands there at that moment; a
directory swapped for a symlink then leads outside the tree. Here every component is opened by itself, relative
to the one above, with O_NOFOLLOW.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

_POOLED = ("btrfs", "zfs")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def directory(root: Path, parts: Sequence[str] = ()) -> Iterator[int]:
    """A descriptor of the directory `parts` below `root`, closed at the end.

    The root itself may be reached through symlinks (it is the owner's choice); nothing below it may.

    Raises: OSError, with the whole path of the directory that can't be opened; ELOOP or ENOTDIR where a component is a
    symlink or not a directory.
    """
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for depth, part in enumerate(parts, 1):
            try:
                deeper = open_directory(handle, part)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(root.joinpath(*parts[:depth]))) from error
            os.close(handle)
            handle = deeper
        yield handle
    finally:
        os.close(handle)


def open_directory(parent: int, name: str) -> int:
    """Open the directory `name` in the open directory `parent`, never through a symlink.

    Raises: OSError; ELOOP or ENOTDIR where the name is a symlink or not a directory; EINVAL for a name that
    is not one plain component.
    """
    if name in ("", ".", "..") or "/" in name:
        raise OSError(errno.EINVAL, "not the name of one directory", name)
    return os.open(name, _DIRECTORY, dir_fd=parent)


@contextmanager
def parent(root: Path, path: PurePosixPath) -> Iterator[int]:
    """A descriptor of the directory that holds `path` (relative to `root`), closed at the end."""
    with directory(root, path.parts[:-1]) as handle:
        yield handle


def open_file(directory_fd: int, name: str) -> int:
    """Open a regular file for reading, never through a symlink, and never hanging on a FIFO.

    Raises: OSError; EINVAL where the name is something other than a regular file.
    """
    handle = os.open(
        name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=directory_fd
    )
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", name)
    return handle


def pool(handle: int) -> str:
    """What shares its room with the file system of an open directory, by a name; "" where nothing else does.

    Subvolumes of one btrfs, and datasets of one ZFS pool, have a device each. Source: proc(5), mountinfo.
    """
    wanted = mount_id(handle)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            before, _, after = line.partition(" - ")
            if before.split(" ", 1)[0] == str(wanted):
                kind, source, *_ = after.split()
                return f"{kind} {source.partition('/')[0] if kind == 'zfs' else source}" if kind in _POOLED else ""
    return ""


def mount_id(handle: int) -> int:
    """The mount the open file or directory was reached through.

    Two mounts of one file system (a bind mount) share st_dev but not this. Source: proc(5), fdinfo.
    """
    with open(f"/proc/self/fdinfo/{handle}", encoding="ascii") as info:
        for line in info:
            if line.startswith("mnt_id:"):
                return int(line.split()[1])
    raise OSError(errno.ENOSYS, "the kernel does not tell mount ids", f"/proc/self/fdinfo/{handle}")
