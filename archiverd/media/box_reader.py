"""Bounded reading of an MP4's boxes: headers, fields, tables.

The bytes are hostile. Nothing is trusted before it is bounded: every box by its parent, every table by its box, and
all of it by the limits below, which stand far above what a camera writes.
"""

from __future__ import annotations

import os
import struct
import sys
from array import array
from collections.abc import Iterator
from typing import NamedTuple

_MAX_BOXES = 1_000_000  # headers read in one walk, at every depth; one fragment for each frame takes some 900 a second
_MAX_ENTRIES = 2_000_000  # of one table; as samples, 18 hours of 30 a second
_MAX_TABLE_BYTES = 128 << 20  # all tables of one walk together
_READ_BYTES = 1 << 20

ZEROS = bytes(4)  # as a type, with a size of 0: what the file holds from there on is no box
_FIRST = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid"})
_FOURCC = bytes(range(0x20, 0x7F)) + b"\xa9"  # QuickTime types may begin with a Mac Roman copyright sign


class BoxFault(Exception):  # noqa: N818  (never leaves the walk)
    """The first thing found wrong ends the walk."""

    def __init__(self, message: str, *, truncated: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.truncated = truncated


class Box(NamedTuple):
    """Where a box stands: offsets from the beginning of the file."""

    kind: bytes
    at: int  # of its header
    start: int  # of its payload
    end: int

    def __str__(self) -> str:
        return f"box {fourcc_text(self.kind)} at {self.at}"


class BoxReader:
    """Bounded reading of one file: boxes, fields of boxes, and tables."""

    def __init__(self, file_fd: int) -> None:
        self._fd = file_fd
        self.size = os.fstat(file_fd).st_size
        self._boxes_left = _MAX_BOXES
        self._table_bytes_left = _MAX_TABLE_BYTES

    def read(self, at: int, length: int) -> bytes:
        data = os.pread(self._fd, length, at)
        if len(data) < length:
            raise BoxFault(f"the file ends at {at + len(data)}, shorter than it was", truncated=True)
        return data

    def box(self, at: int, end: int, *, top: bool = False) -> Box:
        """The box at `at`, which must end by `end` (ISO 4.2): size 0 reaches to `end`, size 1 says 64 bits follow."""
        self._boxes_left -= 1
        if self._boxes_left < 0:
            raise BoxFault(f"more than {_MAX_BOXES} boxes, at {at}")
        size, kind = struct.unpack(">I4s", self.read(at, 8))
        if top:
            _check_type(at, size, kind)
        start = at + 8
        if size == 1:
            if end - at < 16:
                raise BoxFault(f"the header of box {fourcc_text(kind)} at {at} is cut short", truncated=top)
            (size,) = struct.unpack(">Q", self.read(start, 8))
            start += 8
        box = Box(kind, at, start, at + size if size else end)
        if box.end < start:
            raise BoxFault(f"{box} says it is {size} bytes long, less than its header")
        if box.end > end:
            raise BoxFault(f"{box} needs {size} bytes, {end - at} are there", truncated=top)
        return box

    def children(self, parent: Box) -> Iterator[Box]:
        """The boxes inside `parent`. Up to 7 bytes after them are padding: QuickTime ends some lists with zeros."""
        at = parent.start
        while parent.end - at >= 8:
            box = self.box(at, parent.end)
            yield box
            at = box.end

    def pick(self, parent: Box, *kinds: bytes) -> dict[bytes, Box]:
        """The children of these kinds; a second of one kind is a fault, for readers differ in which one they take."""
        found: dict[bytes, Box] = {}
        for box in self.children(parent):
            if box.kind in found:
                raise BoxFault(f"{box} is the second in {parent}")
            if box.kind in kinds:
                found[box.kind] = box
        return found

    def need(self, parent: Box, *kinds: bytes) -> list[Box]:
        """The child of each of these kinds, in this order."""
        found = self.pick(parent, *kinds)
        for kind in kinds:
            if kind not in found:
                raise BoxFault(f"{parent} has no {fourcc_text(kind)}")
        return [found[kind] for kind in kinds]

    def fields(self, box: Box, offset: int, form: str) -> tuple[int, ...]:
        """The integers of struct form `form` at `offset` in the payload of `box`."""
        return struct.unpack(form, self.inside(box, offset, struct.calcsize(form)))

    def u32(self, box: Box, offset: int) -> int:
        return self.fields(box, offset, ">I")[0]

    def inside(self, box: Box, offset: int, length: int) -> bytes:
        if box.start + offset + length > box.end:
            raise BoxFault(f"{box} is too short for what it should hold")
        return self.read(box.start + offset, length)

    def table(self, box: Box, offset: int, typecode: str, count: int, row: int = 1) -> array[int]:
        """`count` rows of `row` big-endian integers of `typecode` at `offset` in the payload of `box`."""
        values = array(typecode)
        at, length = box.start + offset, count * row * values.itemsize
        if at + length > box.end:
            raise BoxFault(f"{box} declares {count} entries, more than it holds")
        self._table_bytes_left -= length
        if (row and count > _MAX_ENTRIES) or self._table_bytes_left < 0:
            raise BoxFault(f"{box} declares {count} entries, more than are walked")
        for done in range(0, length, _READ_BYTES):
            values.frombytes(self.read(at + done, min(_READ_BYTES, length - done)))
        if sys.byteorder == "little":
            values.byteswap()
        return values


def _check_type(at: int, size: int, kind: bytes) -> None:
    """Top-level types: what no MP4 begins with, or no writer uses, will not become one."""
    if at == 0 and kind not in _FIRST:
        raise BoxFault(f"the file begins with '{fourcc_text(kind)}' at 4, as no MP4 does")
    if kind.translate(None, _FOURCC) and (size, kind) != (0, ZEROS):
        raise BoxFault(f"no box begins at {at}, where the one before it ends")


def fourcc_text(kind: bytes) -> str:
    """A type of four bytes as it can be printed."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in kind)
