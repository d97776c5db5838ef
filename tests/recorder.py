"""A disk that remembers every write, in order, and every flush: `python -m tests.recorder WHERE IMAGES RECORD`.

A file system of the kernel's FUSE, mounted on WHERE, that shows the files of the directory IMAGES. A loop device on one
of them is a disk: what the kernel writes to it is appended to the file RECORD before it is answered, and so is each
flush of the disk's cache. What only the page cache of a file system holds is in neither. As root only.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path

# One entry of the record: which image (its place among the sorted names), where, and how many bytes follow.
ENTRY = struct.Struct("<HQI")
FLUSH = 1 << 15  # set in the first field of a flush, of which no bytes follow

# linux/fuse.h
_IN, _OUT = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
_INIT_OUT = struct.Struct("<IIIIHHIIHHII6I")
_ATTR = struct.Struct("<6Q10I")
_PLACE = struct.Struct("<QQIIQII")  # of fuse_read_in and fuse_write_in
_LOOKUP, _FORGET, _GETATTR, _SETATTR, _OPEN, _READ, _WRITE, _STATFS = 1, 2, 3, 4, 14, 15, 16, 17
_RELEASE, _FSYNC, _FLUSH, _INIT, _INTERRUPT, _DESTROY, _BATCH_FORGET = 18, 20, 25, 26, 36, 38, 42
_SILENT = (_FORGET, _INTERRUPT, _BATCH_FORGET)
_BIG_WRITES, _MAX_PAGES = 1 << 5, 1 << 22
_PAGES = 256  # of one request
_FOREVER_S = 1 << 30
_FILE, _DIRECTORY = 0o100600, 0o040700


class Recorder:
    """Answers the kernel. A file has the number of its place among the sorted names, and 2."""

    def __init__(self, images: Path, record: int) -> None:
        self._names = sorted(os.listdir(images))
        self._handles = [os.open(images / name, os.O_RDWR | os.O_CLOEXEC) for name in self._names]
        self._record = record
        self._answers: dict[int, Callable[[int, bytes], bytes]] = {
            _INIT: self._init,
            _LOOKUP: self._look_up,
            _GETATTR: self._tell,
            _SETATTR: self._tell,
            _OPEN: lambda _node, _body: bytes(16),
            _READ: self._read,
            _WRITE: self._write,
            _FSYNC: self._flush,
            _FLUSH: lambda _node, _body: b"",
            _RELEASE: lambda _node, _body: b"",
            _STATFS: lambda _node, _body: struct.pack("<5Q4I24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0),
            _DESTROY: lambda _node, _body: b"",
        }

    def serve(self, fuse: int) -> None:
        """Until it is unmounted."""
        while True:
            try:
                request = os.read(fuse, (_PAGES + 1) << 12)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):  # a request that was taken back
                    continue
                raise
            _, what, number, node, *_ = _IN.unpack_from(request)
            if what in _SILENT:
                continue
            answer, wrong = b"", -errno.ENOSYS
            if what in self._answers:
                try:
                    answer, wrong = self._answers[what](node, request[_IN.size :]), 0
                except OSError as error:
                    wrong = -(error.errno or errno.EIO)
            with contextlib.suppress(FileNotFoundError):  # nobody waits for it any more
                os.write(fuse, _OUT.pack(_OUT.size + len(answer), wrong, number) + answer)

    def _init(self, _node: int, body: bytes) -> bytes:
        major, _minor, ahead, _flags = struct.unpack_from("<IIII", body)
        flags = _BIG_WRITES | _MAX_PAGES
        return _INIT_OUT.pack(major, 31, ahead, flags, 16, 12, _PAGES << 12, 1, _PAGES, 0, 0, 0, *[0] * 6)

    def _look_up(self, _node: int, body: bytes) -> bytes:
        name = os.fsdecode(body.rstrip(b"\0"))
        if name not in self._names:
            raise FileNotFoundError(errno.ENOENT, name)
        node = self._names.index(name) + 2
        return struct.pack("<QQQQII", node, 0, _FOREVER_S, _FOREVER_S, 0, 0) + self._attributes(node)

    def _tell(self, node: int, _body: bytes) -> bytes:
        return struct.pack("<QII", _FOREVER_S, 0, 0) + self._attributes(node)

    def _attributes(self, node: int) -> bytes:
        size = os.fstat(self._handles[node - 2]).st_size if node > 1 else 4096
        mode = _FILE if node > 1 else _DIRECTORY
        return _ATTR.pack(node, size, size >> 9, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _read(self, node: int, body: bytes) -> bytes:
        _, offset, size, *_ = _PLACE.unpack_from(body)
        return os.pread(self._handles[node - 2], size, offset)

    def _write(self, node: int, body: bytes) -> bytes:
        _, offset, size, *_ = _PLACE.unpack_from(body)
        data = memoryview(body)[_PLACE.size : _PLACE.size + size]
        os.writev(self._record, [ENTRY.pack(node - 2, offset, size), data])
        os.pwrite(self._handles[node - 2], data, offset)
        return struct.pack("<II", size, 0)

    def _flush(self, node: int, _body: bytes) -> bytes:
        os.write(self._record, ENTRY.pack((node - 2) | FLUSH, 0, 0))
        return b""


def main() -> None:
    where, images, record = map(Path, sys.argv[1:])
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other,max_read={_PAGES << 12}"
    if libc.mount(b"archiverd-test", os.fsencode(where), b"fuse", 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(where))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    Recorder(images, os.open(record, flags, 0o600)).serve(fuse)


if __name__ == "__main__":
    main()
