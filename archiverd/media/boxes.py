"""The box walk: is this file a whole MP4, judged by its structure alone?

Source of the format: ISO/IEC 14496-12 (ISO base media file format), clauses named below, and Apple's QuickTime File
Format, its ancestor. A demuxer plays a cut or damaged file as far as it goes and reports success; the walk asks
instead whether the boxes end exactly where the file ends, whether the sample tables agree with each other, and
whether all samples they declare lie inside an `mdat`, each in bytes of its own. What the samples hold takes a decoder.

The bytes are hostile. Nothing is trusted before it is bounded: every box by its parent, every table by its box, and
all of it by the limits below, which stand far above what a camera writes and keep a walk within seconds and 100 MB.
"""

from __future__ import annotations

import os
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import accumulate, compress, islice
from operator import add, ge, gt, mul, sub
from typing import NamedTuple

_MAX_BOXES = 1_000_000  # headers read in one walk, at every depth; one fragment for each frame takes some 900 a second
_MAX_TRACKS = 64
_MAX_ENTRIES = 2_000_000  # of one table; as samples, 18 hours of 30 a second
_MAX_CHUNKS = 1_000_000  # chunks and runs of all tracks together
_MAX_TABLE_BYTES = 128 << 20  # all tables of one walk together
_READ_BYTES = 1 << 20

_FIRST = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid"})
_FOURCC = bytes(range(0x20, 0x7F)) + b"\xa9"  # QuickTime types may begin with a Mac Roman copyright sign


class Layout(StrEnum):
    """How the samples of a file are indexed: by one `moov`, or by a `moof` for each fragment (ISO 8.8)."""

    PROGRESSIVE = "progressive"
    FRAGMENTED = "fragmented"
    NONE = "none"  # the walk ended before it met a `moov`


@dataclass(frozen=True, slots=True)
class Track:
    """One track as the file declares it."""

    id: int
    handler: str  # four characters: "vide", "soun", "text", …
    codec: str  # four characters of the first sample entry; bytes that do not print are escaped
    samples: int  # in the sample table and all fragments together
    duration_s: float  # the sum of the durations of all samples; edit lists and gaps between fragments do not count
    width: int  # pixels, as the sample entry says; 0 unless video
    height: int
    timescale: int  # units per second


@dataclass(frozen=True, slots=True)
class BoxWalk:
    """What a walk found. `tracks` is empty unless the walk is clean."""

    size_bytes: int
    layout: Layout
    moov_first: bool
    has_mfra: bool  # without it, a fragmented file may have been cut between two fragments
    tracks: tuple[Track, ...]
    fault: str  # "" when clean, else what is wrong and at which byte
    truncated: bool  # more bytes at the end could mend the fault

    @property
    def clean(self) -> bool:
        """Whether the walk found nothing wrong."""
        return not self.fault


def walk(file_fd: int) -> BoxWalk:
    """Walk the boxes of the open file `file_fd`, whatever its bytes are.

    Reads with pread only: the descriptor's offset stays where it is. Any thread. Raises: OSError from reading.
    """
    state = _Walk(_Reader(file_fd))
    tracks: tuple[Track, ...] = ()
    fault, truncated = "", False
    try:
        state.walk_file()
        tracks = state.walk_media()
    except _Fault as found:
        fault, truncated = found.message, found.truncated
    size = state.reader.size
    return BoxWalk(size, state.layout, state.moov_first, state.has_mfra, tracks, fault, truncated)


class _Fault(Exception):  # noqa: N818  (never leaves this module)
    """The first thing found wrong ends the walk."""

    def __init__(self, message: str, *, truncated: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.truncated = truncated


class _Box(NamedTuple):
    kind: bytes
    at: int  # of its header
    start: int  # of its payload
    end: int

    def __str__(self) -> str:
        return f"box {_text(self.kind)} at {self.at}"


class _Reader:
    """Bounded reading of one file: boxes, fields of boxes, and tables."""

    def __init__(self, file_fd: int) -> None:
        self._fd = file_fd
        self.size = os.fstat(file_fd).st_size
        self._boxes_left = _MAX_BOXES
        self._table_bytes_left = _MAX_TABLE_BYTES

    def read(self, at: int, length: int) -> bytes:
        data = os.pread(self._fd, length, at)
        if len(data) < length:
            raise _Fault(f"the file ends at {at + len(data)}, shorter than it was", truncated=True)
        return data

    def box(self, at: int, end: int, *, top: bool = False) -> _Box:
        """The box at `at`, which must end by `end` (ISO 4.2): size 0 reaches to `end`, size 1 says 64 bits follow."""
        self._boxes_left -= 1
        if self._boxes_left < 0:
            raise _Fault(f"more than {_MAX_BOXES} boxes, at {at}")
        size, kind = struct.unpack(">I4s", self.read(at, 8))
        if top:
            _check_type(at, size, kind)
        start = at + 8
        if size == 1:
            if end - at < 16:
                raise _Fault(f"the header of box {_text(kind)} at {at} is cut short", truncated=top)
            (size,) = struct.unpack(">Q", self.read(start, 8))
            start += 8
        box = _Box(kind, at, start, at + size if size else end)
        if box.end < start:
            raise _Fault(f"{box} says it is {size} bytes long, less than its header")
        if box.end > end:
            raise _Fault(f"{box} needs {size} bytes, {end - at} are there", truncated=top)
        return box

    def children(self, parent: _Box) -> Iterator[_Box]:
        """The boxes inside `parent`. Up to 7 bytes after them are padding: QuickTime ends some lists with zeros."""
        at = parent.start
        while parent.end - at >= 8:
            box = self.box(at, parent.end)
            yield box
            at = box.end

    def pick(self, parent: _Box, *kinds: bytes) -> dict[bytes, _Box]:
        """The children of these kinds; a second of one kind is a fault, for readers differ in which one they take."""
        found: dict[bytes, _Box] = {}
        for box in self.children(parent):
            if box.kind in found:
                raise _Fault(f"{box} is the second in {parent}")
            if box.kind in kinds:
                found[box.kind] = box
        return found

    def need(self, parent: _Box, *kinds: bytes) -> list[_Box]:
        """The child of each of these kinds, in this order."""
        found = self.pick(parent, *kinds)
        for kind in kinds:
            if kind not in found:
                raise _Fault(f"{parent} has no {_text(kind)}")
        return [found[kind] for kind in kinds]

    def fields(self, box: _Box, offset: int, form: str) -> tuple[int, ...]:
        """The integers of struct form `form` at `offset` in the payload of `box`."""
        return struct.unpack(form, self.inside(box, offset, struct.calcsize(form)))

    def u32(self, box: _Box, offset: int) -> int:
        return self.fields(box, offset, ">I")[0]

    def inside(self, box: _Box, offset: int, length: int) -> bytes:
        if box.start + offset + length > box.end:
            raise _Fault(f"{box} is too short for what it should hold")
        return self.read(box.start + offset, length)

    def table(self, box: _Box, offset: int, typecode: str, count: int, row: int = 1) -> array[int]:
        """`count` rows of `row` big-endian integers of `typecode` at `offset` in the payload of `box`."""
        values = array(typecode)
        at, length = box.start + offset, count * row * values.itemsize
        if at + length > box.end:
            raise _Fault(f"{box} declares {count} entries, more than it holds")
        self._table_bytes_left -= length
        if (row and count > _MAX_ENTRIES) or self._table_bytes_left < 0:
            raise _Fault(f"{box} declares {count} entries, more than are walked")
        for done in range(0, length, _READ_BYTES):
            values.frombytes(self.read(at + done, min(_READ_BYTES, length - done)))
        if sys.byteorder == "little":
            values.byteswap()
        return values


@dataclass(slots=True)
class _Count:
    """A track while its samples are counted."""

    track: Track
    units: int = 0  # of duration
    samples: int = 0
    defaults: tuple[int, int] | None = None  # duration and size of a sample in a fragment

    def total(self) -> Track:
        duration_s = self.units / self.track.timescale if self.track.timescale else 0.0
        return replace(self.track, samples=self.samples, duration_s=duration_s)


class _Walk:
    """One walk: first over the top-level boxes, then through the tables of what they hold."""

    def __init__(self, reader: _Reader) -> None:
        self.reader = reader
        self.layout = Layout.NONE
        self.moov_first = False
        self.has_mfra = False
        self._moov: _Box | None = None
        self._moofs: array[int] = array("Q")  # where each begins
        self._mdats: tuple[array[int], array[int]] = array("Q"), array("Q")  # where each payload begins and ends
        self._samples: tuple[array[int], array[int]] = array("Q"), array("Q")  # the same of each chunk and run
        self._counts: dict[int, _Count] = {}
        self._padding_at = 0

    def walk_file(self) -> None:
        """The top-level boxes end exactly at the end of the file (ISO 6.2.3).

        1 to 7 zeros after the last are padding; longer zeros may be space still to be filled.
        """
        at, size = 0, self.reader.size
        has_ftyp = False
        if not size:
            raise _Fault("the file is empty", truncated=True)
        while size - at >= 8:
            box = self.reader.box(at, size, top=True)
            if box.kind == b"ftyp" and (has_ftyp or self._moov or self._mdats[0]):
                raise _Fault(f"a second file begins with {box}")
            has_ftyp |= box.kind == b"ftyp"
            self._note(box)
            at = box.end
        if any(self.reader.read(at, size - at)):
            raise _Fault(f"the box header at {at} is cut short after {size - at} bytes", truncated=True)
        self._padding_at = at if at < size else 0

    def _note(self, box: _Box) -> None:
        if box.kind == b"moov":
            if self._moov:
                raise _Fault(f"{box} is the second moov")
            self._moov, self.moov_first, self.layout = box, not self._mdats[0], Layout.PROGRESSIVE
        elif box.kind == b"moof":
            if not self._moov:
                raise _Fault(f"{box} comes before any moov")
            self._moofs.append(box.at)
            self.layout = Layout.FRAGMENTED
        elif box.kind == b"mdat":
            self._mdats[0].append(box.start)
            self._mdats[1].append(box.end)
        elif box.kind == b"mfra":
            self.has_mfra = True

    def walk_media(self) -> tuple[Track, ...]:
        """The `moov`, then each `moof`; then the places of all samples against the `mdat`s."""
        if not self._moov:
            raise _Fault(f"no moov in {self.reader.size} bytes", truncated=True)
        self._walk_moov(self._moov)
        if self.layout is Layout.FRAGMENTED:
            self._walk_fragments()
        if not self._samples[0]:
            raise _Fault(f"{self._moov} declares no samples", truncated=self.layout is Layout.FRAGMENTED)
        _check_places(self._samples, self._mdats)
        return tuple(count.total() for count in self._counts.values())

    def _place(self, starts: array[int], lengths: array[int]) -> None:
        """Note where chunks lie; those without bytes lie nowhere. Neither number exceeds the file, so 64 bits hold."""
        self._samples[0].extend(compress(starts, lengths))
        self._samples[1].extend(compress(map(add, starts, lengths), lengths))
        if len(self._samples[0]) > _MAX_CHUNKS:
            raise _Fault(f"more than {_MAX_CHUNKS} chunks in {self.reader.size} bytes")

    def _walk_moov(self, moov: _Box) -> None:
        """The tracks, and the defaults for their fragments (ISO 8.2.1, 8.8.1, 8.8.3)."""
        boxes = [box for box in self.reader.children(moov) if box.kind in (b"trak", b"mvex")]
        for trak in (box for box in boxes if box.kind == b"trak"):
            self._walk_trak(trak)
        extends = [box for box in boxes if box.kind == b"mvex"]
        if extends:
            self.layout = Layout.FRAGMENTED
        elif self._moofs:
            raise _Fault(f"{moov} has no mvex, yet a moof comes at {self._moofs[0]}")
        for trex in (box for mvex in extends for box in self.reader.children(mvex) if box.kind == b"trex"):
            track_id, _, duration, size = self.reader.fields(trex, 4, ">4I")
            if track_id in self._counts:
                self._counts[track_id].defaults = duration, size

    def _walk_trak(self, trak: _Box) -> None:
        """ISO 8.3.2 (tkhd), 8.4.2 (mdhd), 8.4.3 (hdlr), 8.5.1 (stbl)."""
        reader = self.reader
        if len(self._counts) == _MAX_TRACKS:
            raise _Fault(f"too many tracks: {trak} is one more than {_MAX_TRACKS}")
        tkhd, mdia = reader.need(trak, b"tkhd", b"mdia")
        mdhd, hdlr, minf = reader.need(mdia, b"mdhd", b"hdlr", b"minf")
        (stbl,) = reader.need(minf, b"stbl")
        tables = reader.pick(stbl, b"stsd", b"stts", b"stsc", b"stsz", b"stz2", b"stco", b"co64")
        track_id = reader.u32(tkhd, 20 if reader.u32(tkhd, 0) >> 24 else 12)
        timescale = reader.u32(mdhd, 20 if reader.u32(mdhd, 0) >> 24 else 12)
        handler = _text(reader.inside(hdlr, 8, 4))
        codec, width, height = _sample_entry(reader, _one_of(stbl, tables, b"stsd"), handler)
        if track_id in self._counts:
            raise _Fault(f"{trak} is the second of track {track_id}")
        track = Track(track_id, handler, codec, 0, 0.0, width, height, timescale)
        self._counts[track_id] = count = _Count(track)
        self._walk_tables(count, stbl, tables)

    def _walk_tables(self, count: _Count, stbl: _Box, tables: dict[bytes, _Box]) -> None:
        """The sample tables agree with each other (ISO 8.6.1.2, 8.7)."""
        reader, track_id = self.reader, count.track.id
        timed, count.units = _sample_times(reader, _one_of(stbl, tables, b"stts"))
        bounds = _sample_bounds(reader, _one_of(stbl, tables, b"stsz", b"stz2"))
        count.samples = len(bounds) - 1
        if timed != count.samples:
            raise _Fault(f"track {track_id} in {stbl} has {count.samples} samples, and durations of {timed}")
        offsets = _chunk_offsets(reader, _one_of(stbl, tables, b"stco", b"co64"))
        if max(bounds[-1], max(offsets, default=0)) > reader.size:
            what = f"track {track_id} in {stbl} has samples beyond the end of the file at {reader.size}"
            raise _Fault(what, truncated=self.moov_first)  # a moov that comes last speaks of what is there
        self._place(offsets, _chunk_lengths(reader, _one_of(stbl, tables, b"stsc"), bounds, len(offsets)))

    def _walk_fragments(self) -> None:
        """Fragments are numbered upwards (ISO 8.8.5); of a writer that does not count, all have one number."""
        if self._padding_at:  # it may as well be the first bytes of the next size
            raise _Fault(f"the box header at {self._padding_at} is cut short", truncated=True)
        numbers = array("I", map(self._walk_moof, self._moofs))
        if any(map(ge, numbers, islice(numbers, 1, None))) and min(numbers) < max(numbers):
            index = next(index for index in range(1, len(numbers)) if numbers[index - 1] >= numbers[index])
            place = f"at {self._moofs[index]}"
            raise _Fault(f"fragment {numbers[index]} {place} comes after fragment {numbers[index - 1]}")

    def _walk_moof(self, at: int) -> int:
        """One fragment; its sequence number (ISO 8.8.4 to 8.8.6)."""
        moof = self.reader.box(at, self.reader.size)
        (mfhd,) = self.reader.need(moof, b"mfhd")
        for traf in (box for box in self.reader.children(moof) if box.kind == b"traf"):
            at = self._walk_traf(traf, moof.at, at)
        return self.reader.u32(mfhd, 4)

    def _walk_traf(self, traf: _Box, moof_at: int, follow: int) -> int:
        """ISO 8.8.7 (tfhd). Data lies from a base on: one given, the moof, or where the traf before it ended."""
        reader = self.reader
        (tfhd,) = reader.need(traf, b"tfhd")
        flags, track_id = reader.fields(tfhd, 0, ">II")
        count = self._counts.get(track_id)
        if count is None or count.defaults is None:
            raise _Fault(f"{traf} is of track {track_id}, which has no trak or no trex")
        duration, size = count.defaults
        base = moof_at if flags & 0x020000 else follow
        offset = 8
        if flags & 0x01:
            (base,) = reader.fields(tfhd, offset, ">Q")
            offset += 8
        offset += 4 if flags & 0x02 else 0  # sample description index
        if flags & 0x08:
            duration = reader.u32(tfhd, offset)
            offset += 4
        if flags & 0x10:
            size = reader.u32(tfhd, offset)
        at = base
        for trun in (box for box in reader.children(traf) if box.kind == b"trun"):
            at = self._walk_trun(trun, count, base, at, (duration, size))
        return at

    def _walk_trun(self, trun: _Box, count: _Count, base: int, at: int, defaults: tuple[int, int]) -> int:
        """ISO 8.8.8: where the run ends. Without an offset of its own it begins where the one before it ended."""
        flags, samples = self.reader.fields(trun, 0, ">II")
        if flags & 0x01:
            at = base + self.reader.fields(trun, 8, ">i")[0]
        offset = 8 + 4 * (flags & 0x05).bit_count()  # data offset, flags of the first sample
        row = (flags & 0xF00).bit_count()  # duration, size, flags and composition offset of each sample
        words = self.reader.table(trun, offset, "I", samples, row)
        units = sum(words[::row]) if flags & 0x100 else samples * defaults[0]
        length = sum(words[(flags >> 8) & 1 :: row]) if flags & 0x200 else samples * defaults[1]
        if samples and not length:
            raise _Fault(f"{trun} declares {samples} samples without bytes")
        if at < 0 or at + length > self.reader.size:
            raise _Fault(f"{trun} has samples from {at} to {at + length}, beyond the file", truncated=at >= 0)
        count.samples += samples
        count.units += units
        self._place(array("Q", (at,)), array("Q", (length,)))
        return at + length


def _check_type(at: int, size: int, kind: bytes) -> None:
    """Top-level types: what no MP4 begins with, or no writer uses, will not become one."""
    if at == 0 and kind not in _FIRST:
        raise _Fault(f"the file begins with {_text(kind)!r} at 4, as no MP4 does")
    if size == 0 and kind == bytes(4):
        raise _Fault(f"zeros stand at {at}, where the next box should", truncated=True)
    if kind.translate(None, _FOURCC):
        raise _Fault(f"no box begins at {at}, where the one before it ends")


def _check_places(samples: tuple[array[int], array[int]], mdats: tuple[array[int], array[int]]) -> None:
    """Every chunk and run lies inside one `mdat`, and no two share a byte.

    Starts and ends may be sorted apart: ranges overlap exactly when some end exceeds the start that comes after it.
    """
    starts, ends = (array("Q", sorted(edges)) for edges in samples)
    if any(map(gt, ends, islice(starts, 1, None))):
        at = next(start for start, end in zip(islice(starts, 1, None), ends, strict=False) if end > start)
        raise _Fault(f"the samples at {at} share bytes with other samples")
    done = 0
    for lower, upper in zip(*mdats, strict=True):
        after = bisect_left(starts, upper, done)
        if after > done and starts[done] < lower:
            break
        if after > done and ends[after - 1] > upper:
            raise _Fault(f"the samples at {starts[after - 1]} reach beyond the mdat that ends at {upper}")
        done = after
    if done < len(starts):
        raise _Fault(f"the samples at {starts[done]} lie outside every mdat")


def _one_of(stbl: _Box, tables: dict[bytes, _Box], *kinds: bytes) -> _Box:
    found = [tables[kind] for kind in kinds if kind in tables]
    if len(found) != 1:
        raise _Fault(f"{stbl} has {'two' if found else 'no'} {' or '.join(map(_text, kinds))}")
    return found[0]


def _sample_entry(reader: _Reader, stsd: _Box, handler: str) -> tuple[str, int, int]:
    """The codec, and of video the width and height, as the first sample entry says (ISO 8.5.2, 12.1.3)."""
    if not reader.u32(stsd, 4):
        return "", 0, 0
    reader.inside(stsd, 8, 8)
    entry = reader.box(stsd.start + 8, stsd.end)
    width, height = reader.fields(entry, 24, ">HH") if handler == "vide" else (0, 0)
    return _text(entry.kind), width, height


def _sample_times(reader: _Reader, stts: _Box) -> tuple[int, int]:
    """How many samples have a duration, and the sum of these (ISO 8.6.1.2)."""
    pairs = reader.table(stts, 8, "I", reader.u32(stts, 4), 2)
    return sum(pairs[::2]), sum(map(mul, pairs[::2], pairs[1::2]))


def _sample_bounds(reader: _Reader, box: _Box) -> Sequence[int]:
    """Where each sample begins when all are laid end to end, and where the last one ends (ISO 8.7.3: stsz, stz2)."""
    size, count = reader.fields(box, 4, ">II")
    if box.kind == b"stsz" and size:
        return range(0, count * size + 1, size)
    bits = 32 if box.kind == b"stsz" else size & 0xFF
    if bits not in (4, 8, 16, 32):
        raise _Fault(f"{box} has sample sizes of {bits} bits")
    if bits == 4:
        pairs = reader.table(box, 12, "B", (count + 1) // 2)
        sizes = array("B", islice((half for pair in pairs for half in (pair >> 4, pair & 0xF)), count))
    else:
        sizes = reader.table(box, 12, {8: "B", 16: "H", 32: "I"}[bits], count)
    return array("Q", accumulate(sizes, initial=0))


def _chunk_offsets(reader: _Reader, box: _Box) -> array[int]:
    """Where each chunk begins in the file (ISO 8.7.5: stco, co64)."""
    count = reader.u32(box, 4)
    if count > _MAX_CHUNKS:
        raise _Fault(f"{box} declares {count} chunks, more than are walked")
    return reader.table(box, 8, "I" if box.kind == b"stco" else "Q", count)


def _chunk_lengths(reader: _Reader, stsc: _Box, bounds: Sequence[int], chunks: int) -> array[int]:
    """The bytes in each chunk (ISO 8.7.4: runs of chunks, numbered from 1, that hold equally many samples)."""
    rows = reader.u32(stsc, 4)
    samples = len(bounds) - 1
    misfit = f"{stsc} does not fit {chunks} chunks and {samples} samples"
    lengths = array("Q")
    if not chunks and not samples:
        return lengths
    if not 0 < rows <= chunks:
        raise _Fault(misfit)
    table = reader.table(stsc, 8, "I", rows, 3)
    sample = 0
    for first, following, each in zip(table[::3], [*table[3::3], chunks + 1], table[1::3], strict=True):
        if not first < following <= chunks + 1 or not each:
            raise _Fault(misfit)
        after = sample + (following - first) * each
        lengths.extend(map(sub, bounds[sample + each : after + 1 : each], bounds[sample:after:each]))
        sample = after
    if len(lengths) != chunks or sample != samples:
        raise _Fault(misfit)
    return lengths


def _text(kind: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in kind)
