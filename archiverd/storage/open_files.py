"""What is done to files that are open: copied, hashed, brought to the disk, asked for writers."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archiverd.errors import ResourceError
from archiverd.policy import naming
from archiverd.policy.stop import StopToken

_CHUNK = 1 << 20

# Faults of the machine rather than of one file: the work pauses and no file is blamed. EIO is one of them where
# archiverd writes; where it reads a source, it is that file's, and is not wrapped.
_ENVIRONMENT = frozenset(
    {
        errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE,
        errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.ESHUTDOWN,
    }
)  # fmt: skip

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def environment_faults(where: object) -> Iterator[None]:
    """Turn the OSErrors that no file is to blame for into ResourceError; let the others pass."""
    try:
        yield
    except OSError as error:
        fault = environment_fault(error, where)
        if fault is None:
            raise
        raise fault from error


@contextmanager
def about(path: Path) -> Iterator[None]:
    """The same; and the errors that pass name the file by its whole path, where the kernel was told its last name."""
    try:
        with environment_faults(path):
            yield
    except OSError as error:
        raise named(error, path) from error


def named(error: OSError, path: Path | str) -> OSError:
    """The same error, with the whole path of the file it is about, if it has not got that already."""
    has = error.filename
    return error if isinstance(has, str) and has.startswith("/") else OSError(error.errno, error.strerror, str(path))


def place_of(handle: int) -> str:
    """Where an open file stands now. Source: proc(5), fd."""
    try:
        return os.readlink(f"/proc/self/fd/{handle}")
    except OSError:
        return "an open file"


def environment_fault(error: OSError, where: object) -> ResourceError | None:
    """What an error is that no file is to blame for; None for the others."""
    if error.errno not in _ENVIRONMENT:
        return None
    return ResourceError(
        f"{naming.printable(str(where))}: {error.strerror}",
        advice="Make room there" if error.errno in NO_ROOM else "The work goes on when that is mended",
    )


def copy(source: int, target: int, stop: StopToken) -> str:
    """Copy all bytes of one open file into another and return their SHA-256, checked by reading them back.

    Raises: ResourceError where what is read back is not what was written.
    """
    copy_at = place_of(target)
    with environment_faults(copy_at):
        os.ftruncate(target, 0)
    digest, offset = hashlib.sha256(), 0
    while chunk := _read(source, offset):
        stop.check()
        digest.update(chunk)
        with environment_faults(copy_at):
            write_all(target, chunk, offset)
        offset += len(chunk)
    with environment_faults(copy_at):
        written = sha256(target, stop)
    if written != digest.hexdigest():
        raise ResourceError(
            f"{naming.printable(copy_at)}: a copy does not read back as it was written",
            advice="Look at the disk's health",
        )
    return digest.hexdigest()


def sha256(handle: int, stop: StopToken) -> str:
    """The SHA-256 of an open file, in hex; leaves its offset alone."""
    digest, offset = hashlib.sha256(), 0
    while chunk := _read(handle, offset):
        stop.check()
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()


def _read(handle: int, offset: int) -> bytes:
    try:
        return os.pread(handle, _CHUNK, offset)
    except OSError as error:
        raise named(error, place_of(handle)) from error


def sync(handle: int) -> None:
    """fsync, and no second try: after an error the kernel has dropped the pages, and a retry would succeed."""
    try:
        os.fsync(handle)
    except OSError as error:
        raise ResourceError(
            f"{naming.printable(place_of(handle))}: can't be brought to the disk: {error.strerror}",
            advice="Look at the disk: it reports write errors",
        ) from error


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


def write_all(handle: int, content: bytes, offset: int) -> None:
    """Write all of it, from `offset` on, however many writes that takes."""
    view = memoryview(content)
    while view:
        written = os.pwrite(handle, view, offset)
        offset, view = offset + written, view[written:]
