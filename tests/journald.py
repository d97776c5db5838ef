"""A journald to log to: a real datagram socket that understands the native protocol."""

from __future__ import annotations

import array
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from archiverd.service.logger import Logger

Entry = dict[str, str]


class Journald:
    """The socket journald listens on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    @property
    def entries(self) -> list[Entry]:
        """What came since this was asked last."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, ancillary, _, _ = self._socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
                found.append(parsed(data or large(ancillary)))
        return found

    def close(self) -> None:
        self._socket.close()
        self.path.unlink()


def large(ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """An entry that came as a file of its own."""
    (descriptor,) = array.array("i", ancillary[0][2])
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return file.read()


def parsed(data: bytes) -> Entry:
    """The fields of an entry in the native protocol; a field that comes twice is an error."""
    entry: Entry = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, is_short, value = line.partition(b"=")
        if not is_short:
            (length,) = struct.unpack("<Q", data[:8])
            value, data = data[8 : 8 + length], data[9 + length :]
        assert name.decode() not in entry
        entry[name.decode()] = value.decode()
    return entry


@contextlib.contextmanager
def logging_to(journal: Path, stream: TextIO, level: int = logging.INFO) -> Iterator[Logger]:
    status = os.fstat(stream.fileno())
    environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    with Logger(level, stream=stream, environ=environ, journal=journal) as logger:
        yield logger
