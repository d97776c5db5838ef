"""Giving a file a name without ever replacing another: what every rename of the trees goes through."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from archiverd.policy import naming
from archiverd.storage.open_files import sync

TAKEN_LIMIT = 10_000
_RENAME_NOREPLACE = 1


def candidates(path: PurePosixPath) -> Iterator[PurePosixPath]:
    """The names to try for a file, its own first, then `~2`, `~3` and so on."""
    yield path
    for number in range(2, TAKEN_LIMIT):
        yield naming.numbered(path, number)


def _load_renameat2() -> Callable[..., int] | None:
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    function.restype = ctypes.c_int
    typed: Callable[..., int] = function
    return typed


_renameat2 = _load_renameat2()


def rename_no_replace(old_directory: int, old: str, new_directory: int, new: str) -> None:
    """Rename without ever replacing: renameat2(2) with RENAME_NOREPLACE, else link(2) and unlink(2).

    Raises: FileExistsError where the new name is taken; OSError with EXDEV across mounts.
    """
    if _renameat2 is not None:
        source = os.fsencode(old)
        target = source if new is old else os.fsencode(new)
        if _renameat2(old_directory, source, new_directory, target, _RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(code, os.strerror(code), old, None, new)
    os.link(old, new, src_dir_fd=old_directory, dst_dir_fd=new_directory, follow_symlinks=False)
    # Before the old name goes: not every file system keeps the order of two directory changes.
    sync(new_directory)
    os.unlink(old, dir_fd=old_directory)
