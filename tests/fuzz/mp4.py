"""MP4 read and changed by a second hand: slowly, sample by sample, with nothing of archiverd's own.

`contradiction` looks at what the box walk called clean. `mutated` changes a file where it matters: boxes and tables.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from archiverd.media.boxes import BoxWalk, Layout

_HOLD_BOXES = frozenset(
    {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mvex", b"moof", b"traf", b"udta", b"ilst", b"edts"}
)
_MOST_SAMPLES = 50_000  # that are laid out one by one
_MOST_REPEATED = 200_000  # bytes
_MOST_FOUND = 2000  # boxes that are looked at to change one
_TABLES = (b"stco", b"co64", b"stsz", b"stz2", b"stsc", b"stts", b"trun", b"tfhd", b"trex", b"tkhd", b"mdhd", b"keys")


@dataclass(frozen=True, slots=True)
class Box:
    """Where a box stands, and those that hold it, from the outermost."""

    kind: bytes
    at: int
    start: int
    end: int
    above: tuple[Box, ...] = ()


def children(data: bytes, at: int, end: int, above: tuple[Box, ...] = ()) -> Iterator[Box]:
    """The boxes from `at` to `end`, up to the first that does not fit."""
    while end - at >= 8:
        size, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1 and end - at >= 16:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        size = size or end - at
        if at + size > end or at + size < start:
            return
        yield Box(kind, at, start, at + size, above)
        at += size


def open_ended(data: bytes) -> bytes:
    """The type of the last box where that says no size, and so ends where the file does; else nothing."""
    last = next((box for box in children(data, 0, len(data)) if data[box.at : box.at + 4] == bytes(4)), None)
    return last.kind if last is not None else b""


# ---- is what was called clean really whole


def contradiction(data: bytes, found: BoxWalk) -> str:
    """How the file contradicts a clean walk, in words; empty where it does not."""
    tops = list(children(data, 0, len(data)))
    end = tops[-1].end if tops else 0
    if any(box.end > len(data) for box in tops):
        return "a box ends beyond the file"
    if any(data[end:]) and not any(box.kind == bytes(4) for box in tops):
        return f"bytes from {end} on belong to no box"
    moovs = [box for box in tops if box.kind == b"moov"]
    if len(moovs) != 1:
        return f"it has {len(moovs)} moovs"
    if found.layout is Layout.FRAGMENTED or sum(track.samples for track in found.tracks) > _MOST_SAMPLES:
        return ""
    return _misplaced(data, moovs[0], [box for box in tops if box.kind == b"mdat"])


def _misplaced(data: bytes, moov: Box, mdats: Sequence[Box]) -> str:
    """Of a file without fragments: each sample lies in an `mdat`, and no two share a byte."""
    samples = [
        place
        for trak in children(data, moov.start, moov.end)
        if trak.kind == b"trak"
        for place in _samples(data, _inside(data, trak, b"mdia", b"minf", b"stbl"))
    ]
    outside = next((one for one in samples if not any(box.start <= one[0] <= one[1] <= box.end for box in mdats)), None)
    if outside is not None:
        return f"a sample lies from {outside[0]} to {outside[1]}, in no mdat"
    shared = next((later for before, later in pairwise(sorted(samples)) if before[1] > later[0]), None)
    return "" if shared is None else f"two samples share the byte at {shared[0]}"


def _inside(data: bytes, box: Box, *kinds: bytes) -> Box:
    for kind in kinds:
        box = next(child for child in children(data, box.start, box.end) if child.kind == kind)
    return box


def _samples(data: bytes, stbl: Box) -> list[tuple[int, int]]:
    """Beginning and end of each sample that has bytes (ISO/IEC 14496-12, 8.7)."""
    tables = {box.kind: box for box in children(data, stbl.start, stbl.end)}
    sizes = _sizes(data, tables[b"stsz"] if b"stsz" in tables else tables[b"stz2"])
    offsets = tables[b"stco"] if b"stco" in tables else tables[b"co64"]
    width = "I" if offsets.kind == b"stco" else "Q"
    (chunks,) = struct.unpack_from(">I", data, offsets.start + 4)
    starts = struct.unpack_from(f">{chunks}{width}", data, offsets.start + 8)
    (rows,) = struct.unpack_from(">I", data, tables[b"stsc"].start + 4)
    runs = [struct.unpack_from(">3I", data, tables[b"stsc"].start + 8 + 12 * row) for row in range(rows)]
    places, sample = [], 0
    for chunk, at in enumerate(starts, 1):
        each = next(run[1] for run in reversed(runs) if run[0] <= chunk)
        for size in sizes[sample : sample + each]:
            if size:
                places.append((at, at + size))
            at += size  # noqa: PLW2901  (the next sample of the chunk follows)
        sample += each
    return places


def _sizes(data: bytes, box: Box) -> Sequence[int]:
    size, count = struct.unpack_from(">II", data, box.start + 4)
    if box.kind == b"stsz":
        return [size] * count if size else struct.unpack_from(f">{count}I", data, box.start + 12)
    bits = size & 0xFF
    number = int.from_bytes(data[box.start + 12 : box.start + 12 + (count * bits + 7) // 8], "big")
    odd = -count * bits % 8
    return [number >> odd + bits * (count - 1 - index) & (1 << bits) - 1 for index in range(count)]


# ---- changes


def mutated(data: bytes, seed: int, most_bytes: int) -> bytes:
    """The file with one to three changes to its boxes, tables or bytes, which the seed chooses."""
    chance = random.Random(seed)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        found = list(_all_boxes(data))
        if not found:
            break
        data = chance.choice(_CHANGES)(data, found, chance)
    return data[:most_bytes]


def _all_boxes(data: bytes) -> Iterator[Box]:
    waiting, told = [(0, len(data), ())], 0  # type: list[tuple[int, int, tuple[Box, ...]]], int
    while waiting and told < _MOST_FOUND:
        at, end, above = waiting.pop()
        for box in children(data, at, end, above):
            yield box
            told += 1
            if box.kind in _HOLD_BOXES or box.kind == b"meta":
                waiting.append((box.start + (4 if box.kind == b"meta" else 0), box.end, (*above, box)))


def _spliced(data: bytes, at: int, end: int, new: bytes, above: Sequence[Box]) -> bytes:
    """`new` in place of what stands from `at` to `end`; the sizes of 32 bits of all boxes around follow."""
    more = len(new) - (end - at)
    result = bytearray(data[:at] + new + data[end:])
    for box in above:
        (size,) = struct.unpack_from(">I", result, box.at)
        if size > 1:
            struct.pack_into(">I", result, box.at, max(size + more, 0) & 0xFFFF_FFFF)
    return bytes(result)


def _pick(found: Sequence[Box], chance: random.Random) -> Box:
    tables = [box for box in found if box.kind in _TABLES]
    return chance.choice(tables if tables and chance.random() < 0.7 else found)


def _with_number(data: bytes, found: Sequence[Box], chance: random.Random) -> bytes:
    """A number of a table is another one: near it, or one at which counting goes wrong."""
    box = _pick(found, chance)
    places = range(box.start, box.end - 3, 4)
    if not places:
        return data
    at = chance.choice(places[: chance.choice((3, 6, len(places)))])
    (value,) = struct.unpack_from(">I", data, at)
    other = chance.choice(
        (0, 1, value + 1, value - 1, value * 2, value ^ 1 << chance.randrange(32), 0x7FFF_FFFF, 0xFFFF_FFFF, len(data))
    )
    return data[:at] + struct.pack(">I", other & 0xFFFF_FFFF) + data[at + 4 :]


def _with_flags(data: bytes, found: Sequence[Box], chance: random.Random) -> bytes:
    box = _pick(found, chance)
    if box.end - box.start < 4:
        return data
    flags = chance.choice((0, 1, 0x1000000, 0x20000, 0x201, 0x301, 0xF01, 0x1, 0x39, 0x20038, chance.getrandbits(24)))
    return data[: box.start] + struct.pack(">I", flags) + data[box.start + 4 :]


def _with_size(data: bytes, found: Sequence[Box], chance: random.Random) -> bytes:
    """A box says another size, or says it in 64 bits."""
    box = chance.choice(found)
    if chance.random() < 0.3:
        wide = struct.pack(">I4sQ", 1, box.kind, box.end - box.start + 16)
        return _spliced(data, box.at, box.start, wide, box.above)
    size = box.end - box.at
    other = chance.choice((0, 1, 7, 8, size - 1, size + 1, size + 8, len(data) - box.at, 0x7FFF_FFFF, 0xFFFF_FFFF))
    return data[: box.at] + struct.pack(">I", max(other, 0)) + data[box.at + 4 :]


def _without(data: bytes, found: Sequence[Box], chance: random.Random) -> bytes:
    box = chance.choice(found)
    return _spliced(data, box.at, box.end, b"", box.above)


def _moved(data: bytes, found: Sequence[Box], chance: random.Random) -> bytes:
    """A box stands once more somewhere else, or in place of another."""
    box, other = chance.choice(found), chance.choice(found)
    end = chance.choice((other.at, other.end))
    return _spliced(data, other.at, end, data[box.at : box.end], other.above)


def _filled(data: bytes, found: Sequence[Box], chance: random.Random) -> bytes:
    """More in a box, or less."""
    box = _pick(found, chance)
    if chance.random() < 0.5:
        return _spliced(data, box.end, box.end, chance.randbytes(chance.choice((1, 4, 8, 12))), (*box.above, box))
    less = min(chance.choice((1, 4, 8, 12)), box.end - box.start)
    return _spliced(data, box.end - less, box.end, b"", (*box.above, box))


def _repeated(data: bytes, found: Sequence[Box], chance: random.Random) -> bytes:
    """A box over and over, in the place of one. What takes time, or room, by the square of a number shows here."""
    box = chance.choice(found)
    times = chance.choice((2, 2, 3, 70)) if chance.random() < 0.98 else _MOST_REPEATED // (box.end - box.at)
    return _spliced(data, box.at, box.end, data[box.at : box.end] * times, box.above)


def _renamed(data: bytes, found: Sequence[Box], chance: random.Random) -> bytes:
    box = chance.choice(found)
    kind = chance.choice((*_TABLES, *sorted(_HOLD_BOXES), b"mdat", b"free", b"ftyp", b"mfra", bytes(4), b"meta"))
    return data[: box.at + 4] + kind + data[box.at + 8 :]


def _cut_or_longer(data: bytes, found: Sequence[Box], chance: random.Random) -> bytes:
    box = chance.choice(found)
    if chance.random() < 0.5:
        return data[: chance.choice((box.at, box.start, box.end, max(box.end - 1, 0), chance.randrange(len(data) + 1)))]
    return data + chance.choice((bytes(8), bytes(3), b"\0\0\0\0free", data[box.at : box.end], chance.randbytes(9)))


def _with_bytes(data: bytes, found: Sequence[Box], chance: random.Random) -> bytes:
    box = chance.choice(found)
    at = chance.randrange(box.at, box.end)
    return data[:at] + chance.randbytes(chance.choice((1, 1, 2, 4))) + data[at + 1 :]


_CHANGES = (
    _with_number, _with_number, _with_number, _with_flags, _with_size, _without, _moved, _filled, _renamed,
    _cut_or_longer, _with_bytes, _repeated,
)  # fmt: skip
