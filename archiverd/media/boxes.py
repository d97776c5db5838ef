"""The box walk: is this file a whole MP4, judged by its structure alone?

Source of the format: ISO/IEC 14496-12 (ISO base media file format), clauses named below, and Apple's QuickTime File
Format, its ancestor. A demuxer plays a cut or damaged file as far as it goes and reports success; the walk asks
instead whether the boxes end exactly where the file ends, whether the sample tables agree with each other, and
whether all samples they declare lie inside an `mdat`, each in bytes of its own. What the samples hold takes a decoder.

The bytes are hostile. Nothing is trusted before it is bounded: every box by its parent, every table by its box, and
all of it by the limits below, which stand far above what a camera writes and keep a walk within seconds and 100 MB.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import accumulate, compress, islice
from operator import add, ge, gt, mul, sub

from archiverd.media.box_reader import ZEROS, Box, BoxFault, BoxReader, fourcc_text

_MAX_TRACKS = 64
_MAX_CHUNKS = 1_000_000  # chunks and runs of all tracks together
_MAX_FRAMES = 2_000_000  # of one video track; 18 hours of 30 a second
_MAX_ZEROS = 64 << 20  # bytes after the last box
_READ_BYTES = 1 << 20


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
    state = _Walk(BoxReader(file_fd))
    tracks: tuple[Track, ...] = ()
    fault, truncated = "", False
    try:
        state.walk_file()
        tracks = state.walk_media()
    except BoxFault as found:
        fault, truncated = found.message, found.truncated
    size = state.reader.size
    return BoxWalk(size, state.layout, state.moov_first, state.has_mfra, tracks, fault, truncated)


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

    def __init__(self, reader: BoxReader) -> None:
        self.reader = reader
        self.layout = Layout.NONE
        self.moov_first = False
        self.has_mfra = False
        self._moov: Box | None = None
        self._moofs: array[int] = array("Q")  # where each begins
        self._mdats: tuple[array[int], array[int]] = array("Q"), array("Q")  # where each payload begins and ends
        self._grows = False  # the last mdat says no size: it ends where the file does
        self._samples: tuple[array[int], array[int]] = array("Q"), array("Q")  # the same of each chunk and run
        self._counts: dict[int, _Count] = {}

    def walk_file(self) -> None:
        """The top-level boxes end exactly at the end of the file (ISO 6.2.3), or zeros stand from there to it.

        Some writers end a list of boxes with an empty one, some fill up the last block of a disk.
        """
        at, size = 0, self.reader.size
        has_ftyp = False
        if not size:
            raise BoxFault("the file is empty", truncated=True)
        while size - at >= 8:
            box = self.reader.box(at, size, top=True)
            if box.kind == ZEROS:
                break
            if box.kind == b"ftyp" and (has_ftyp or self._moov or self._mdats[0]):
                raise BoxFault(f"a second file begins with {box}")
            has_ftyp |= box.kind == b"ftyp"
            self._note(box)
            at = box.end
        self._read_end(at)

    def _read_end(self, at: int) -> None:
        """After the last box there may be zeros, and nothing else."""
        left = self.reader.size - at
        blocks = (self.reader.read(at + done, min(_READ_BYTES, left - done)) for done in range(0, left, _READ_BYTES))
        if left <= _MAX_ZEROS and not any(map(any, blocks)):
            return
        what = f"the box header at {at} is cut short after {left} bytes"
        raise BoxFault(what if left < 8 else f"zeros stand at {at}, where the next box should", truncated=True)

    def _note(self, box: Box) -> None:
        if box.kind == b"moov":
            if self._moov:
                raise BoxFault(f"{box} is the second moov")
            self._moov, self.moov_first, self.layout = box, not self._mdats[0], Layout.PROGRESSIVE
        elif box.kind == b"moof":
            if not self._moov:
                raise BoxFault(f"{box} comes before any moov")
            self._moofs.append(box.at)
            self.layout = Layout.FRAGMENTED
        elif box.kind == b"mdat":
            self._mdats[0].append(box.start)
            self._mdats[1].append(box.end)
            self._grows = box.end == self.reader.size and self.reader.read(box.at, 4) == bytes(4)
        elif box.kind == b"mfra":
            self.has_mfra = True

    def walk_media(self) -> tuple[Track, ...]:
        """The `moov`, then each `moof`; then the places of all samples against the `mdat`s."""
        if not self._moov:
            raise BoxFault(f"no moov in {self.reader.size} bytes", truncated=True)
        self._walk_moov(self._moov)
        if self.layout is Layout.FRAGMENTED:
            self._walk_fragments()
        if not self._samples[0]:
            raise BoxFault(f"{self._moov} declares no samples", truncated=self.layout is Layout.FRAGMENTED)
        _check_places(self._samples, self._mdats, grows=self._grows)
        for count in self._counts.values():
            if count.track.handler == "vide" and count.samples > _MAX_FRAMES:
                raise BoxFault(f"track {count.track.id} has {count.samples} frames, more than are worked on")
        return tuple(count.total() for count in self._counts.values())

    def _place(self, starts: array[int], lengths: array[int]) -> None:
        """Note where chunks lie; those without bytes lie nowhere. Neither number exceeds the file, so 64 bits hold."""
        self._samples[0].extend(compress(starts, lengths))
        self._samples[1].extend(compress(map(add, starts, lengths), lengths))
        if len(self._samples[0]) > _MAX_CHUNKS:
            raise BoxFault(f"more than {_MAX_CHUNKS} chunks in {self.reader.size} bytes")

    def _walk_moov(self, moov: Box) -> None:
        """The tracks, and the defaults for their fragments (ISO 8.2.1, 8.8.1, 8.8.3)."""
        for trak in (box for box in self.reader.children(moov) if box.kind == b"trak"):
            self._walk_trak(trak)
        fragments = False
        for mvex in (box for box in self.reader.children(moov) if box.kind == b"mvex"):
            self.layout, fragments = Layout.FRAGMENTED, True
            self._read_defaults(mvex)
        if self._moofs and not fragments:
            raise BoxFault(f"{moov} has no mvex, yet a moof comes at {self._moofs[0]}")

    def _read_defaults(self, mvex: Box) -> None:
        for trex in (box for box in self.reader.children(mvex) if box.kind == b"trex"):
            track_id, _, duration, size = self.reader.fields(trex, 4, ">4I")
            if track_id in self._counts:
                self._counts[track_id].defaults = duration, size

    def _walk_trak(self, trak: Box) -> None:
        """ISO 8.3.2 (tkhd), 8.4.2 (mdhd), 8.4.3 (hdlr), 8.5.1 (stbl)."""
        reader = self.reader
        if len(self._counts) == _MAX_TRACKS:
            raise BoxFault(f"too many tracks: {trak} is one more than {_MAX_TRACKS}")
        tkhd, mdia = reader.need(trak, b"tkhd", b"mdia")
        mdhd, hdlr, minf = reader.need(mdia, b"mdhd", b"hdlr", b"minf")
        (stbl,) = reader.need(minf, b"stbl")
        tables = reader.pick(stbl, b"stsd", b"stts", b"stsc", b"stsz", b"stz2", b"stco", b"co64")
        track_id = reader.u32(tkhd, 20 if reader.u32(tkhd, 0) >> 24 else 12)
        timescale = reader.u32(mdhd, 20 if reader.u32(mdhd, 0) >> 24 else 12)
        handler = fourcc_text(reader.inside(hdlr, 8, 4))
        codec, width, height = _sample_entry(reader, _one_of(stbl, tables, b"stsd"), handler)
        if track_id in self._counts:
            raise BoxFault(f"{trak} is the second of track {track_id}")
        track = Track(track_id, handler, codec, 0, 0.0, width, height, timescale)
        self._counts[track_id] = count = _Count(track)
        self._walk_tables(count, stbl, tables)

    def _walk_tables(self, count: _Count, stbl: Box, tables: dict[bytes, Box]) -> None:
        """The sample tables agree with each other (ISO 8.6.1.2, 8.7)."""
        reader, track_id = self.reader, count.track.id
        timed, count.units = _sample_times(reader, _one_of(stbl, tables, b"stts"))
        bounds = _sample_bounds(reader, _one_of(stbl, tables, b"stsz", b"stz2"))
        count.samples = len(bounds) - 1
        if timed != count.samples:
            raise BoxFault(f"track {track_id} in {stbl} has {count.samples} samples, and durations of {timed}")
        offsets = _chunk_offsets(reader, _one_of(stbl, tables, b"stco", b"co64"))
        if max(bounds[-1], max(offsets, default=0)) > reader.size:
            what = f"track {track_id} in {stbl} has samples beyond the end of the file at {reader.size}"
            raise BoxFault(what, truncated=self.moov_first)  # a moov that comes last speaks of what is there
        self._place(offsets, _chunk_lengths(reader, _one_of(stbl, tables, b"stsc"), bounds, len(offsets)))

    def _walk_fragments(self) -> None:
        """Fragments are numbered upwards (ISO 8.8.5); of a writer that does not count, all have one number."""
        numbers = array("I", map(self._walk_moof, self._moofs))
        if any(map(ge, numbers, islice(numbers, 1, None))) and min(numbers) < max(numbers):
            index = next(index for index in range(1, len(numbers)) if numbers[index - 1] >= numbers[index])
            place = f"at {self._moofs[index]}"
            raise BoxFault(f"fragment {numbers[index]} {place} comes after fragment {numbers[index - 1]}")

    def _walk_moof(self, at: int) -> int:
        """One fragment; its sequence number (ISO 8.8.4 to 8.8.6)."""
        moof = self.reader.box(at, self.reader.size)
        (mfhd,) = self.reader.need(moof, b"mfhd")
        for traf in (box for box in self.reader.children(moof) if box.kind == b"traf"):
            at = self._walk_traf(traf, moof.at, at)
        return self.reader.u32(mfhd, 4)

    def _walk_traf(self, traf: Box, moof_at: int, follow: int) -> int:
        """ISO 8.8.7 (tfhd). Data lies from a base on: one given, the moof, or where the traf before it ended."""
        reader = self.reader
        (tfhd,) = reader.need(traf, b"tfhd")
        flags, track_id = reader.fields(tfhd, 0, ">II")
        count = self._counts.get(track_id)
        if count is None or count.defaults is None:
            raise BoxFault(f"{traf} is of track {track_id}, which has no trak or no trex")
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

    def _walk_trun(self, trun: Box, count: _Count, base: int, at: int, defaults: tuple[int, int]) -> int:
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
            raise BoxFault(f"{trun} declares {samples} samples without bytes")
        if at < 0 or at + length > self.reader.size:
            raise BoxFault(f"{trun} has samples from {at} to {at + length}, beyond the file", truncated=at >= 0)
        count.samples += samples
        count.units += units
        self._place(array("Q", (at,)), array("Q", (length,)))
        return at + length


def _check_places(samples: tuple[array[int], array[int]], mdats: tuple[array[int], array[int]], *, grows: bool) -> None:
    """Every chunk and run lies inside one `mdat`, the last of which may grow with the file, and no two share a byte.

    Starts and ends may be sorted apart: ranges overlap exactly when some end exceeds the start that comes after it.
    """
    starts, ends = (array("Q", sorted(edges)) for edges in samples)
    if any(map(gt, ends, islice(starts, 1, None))):
        at = next(start for start, end in zip(islice(starts, 1, None), ends, strict=False) if end > start)
        raise BoxFault(f"the samples at {at} share bytes with other samples")
    done = 0
    for lower, upper in zip(*mdats, strict=True):
        after = bisect_left(starts, upper, done)
        if after > done and starts[done] < lower:
            break
        if after > done and ends[after - 1] > upper:
            what = f"the samples at {starts[after - 1]} reach beyond the mdat that ends at {upper}"
            raise BoxFault(what, truncated=grows and upper == mdats[1][-1])
        done = after
    if done < len(starts):
        what = f"the samples at {starts[done]} lie outside every mdat"
        raise BoxFault(what, truncated=grows and starts[done] >= mdats[1][-1])


def _one_of(stbl: Box, tables: dict[bytes, Box], *kinds: bytes) -> Box:
    found = [tables[kind] for kind in kinds if kind in tables]
    if len(found) != 1:
        raise BoxFault(f"{stbl} has {'two' if found else 'no'} {' or '.join(map(fourcc_text, kinds))}")
    return found[0]


def _sample_entry(reader: BoxReader, stsd: Box, handler: str) -> tuple[str, int, int]:
    """The codec, and of video the width and height, as the first sample entry says (ISO 8.5.2, 12.1.3)."""
    if not reader.u32(stsd, 4):
        return "", 0, 0
    reader.inside(stsd, 8, 8)
    entry = reader.box(stsd.start + 8, stsd.end)
    width, height = reader.fields(entry, 24, ">HH") if handler == "vide" else (0, 0)
    return fourcc_text(entry.kind), width, height


def _sample_times(reader: BoxReader, stts: Box) -> tuple[int, int]:
    """How many samples have a duration, and the sum of these (ISO 8.6.1.2)."""
    pairs = reader.table(stts, 8, "I", reader.u32(stts, 4), 2)
    return sum(pairs[::2]), sum(map(mul, pairs[::2], pairs[1::2]))


def _sample_bounds(reader: BoxReader, box: Box) -> Sequence[int]:
    """Where each sample begins when all are laid end to end, and where the last one ends (ISO 8.7.3: stsz, stz2)."""
    size, count = reader.fields(box, 4, ">II")
    if box.kind == b"stsz" and size:
        return range(0, count * size + 1, size)
    bits = 32 if box.kind == b"stsz" else size & 0xFF
    if bits not in (4, 8, 16, 32):
        raise BoxFault(f"{box} has sample sizes of {bits} bits")
    if bits == 4:
        pairs = reader.table(box, 12, "B", (count + 1) // 2)
        sizes = array("B", islice((half for pair in pairs for half in (pair >> 4, pair & 0xF)), count))
    else:
        sizes = reader.table(box, 12, {8: "B", 16: "H", 32: "I"}[bits], count)
    return array("Q", accumulate(sizes, initial=0))


def _chunk_offsets(reader: BoxReader, box: Box) -> array[int]:
    """Where each chunk begins in the file (ISO 8.7.5: stco, co64)."""
    count = reader.u32(box, 4)
    if count > _MAX_CHUNKS:
        raise BoxFault(f"{box} declares {count} chunks, more than are walked")
    return reader.table(box, 8, "I" if box.kind == b"stco" else "Q", count)


def _chunk_lengths(reader: BoxReader, stsc: Box, bounds: Sequence[int], chunks: int) -> array[int]:
    """The bytes in each chunk (ISO 8.7.4: runs of chunks, numbered from 1, that hold equally many samples)."""
    rows = reader.u32(stsc, 4)
    samples = len(bounds) - 1
    misfit = f"{stsc} does not fit {chunks} chunks and {samples} samples"
    table, lengths = reader.table(stsc, 8, "I", rows, 3), array("Q")
    if not chunks and not samples:
        return lengths
    if not 0 < rows <= chunks:
        raise BoxFault(misfit)
    sample = 0
    for first, following, each in zip(table[::3], [*table[3::3], chunks + 1], table[1::3], strict=True):
        if not first < following <= chunks + 1 or not each:
            raise BoxFault(misfit)
        after = sample + (following - first) * each
        lengths.extend(map(sub, bounds[sample + each : after + 1 : each], bounds[sample:after:each]))
        sample = after
    if len(lengths) != chunks or sample != samples:
        raise BoxFault(misfit)
    return lengths
