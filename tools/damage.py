"""Makes of whole clips what becomes of uploads, and what cameras write that others do not.

Every function takes the bytes of a file and returns others; nothing here is random. The clips come from
`tools.footage`, so that what was made once is kept.
"""

from __future__ import annotations

import functools
import os
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tools import footage
from tools.footage import Clip

Change = Callable[[bytes], bytes]

MOOV_LAST = Clip("damage", 160, 120, "10", 1.0, audio="aac", crf=12, noise=8, preset="medium")
MOOV_FIRST = replace(MOOV_LAST, layout="moov_first")
FRAGMENTED = replace(MOOV_LAST, layout="fragmented", seconds=2.0)
SILENT = replace(MOOV_LAST, audio="none")

TABLES = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def clip(asked: Clip) -> bytes:
    """The bytes of a clip."""
    return footage.cached(asked).read_bytes()


# ---- boxes, as bytes


def box(kind: bytes, *payload: bytes) -> bytes:
    body = b"".join(payload)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def boxes(data: bytes) -> list[tuple[bytes, int, int]]:
    """Type, beginning and end of each box of a sequence; sizes of 32 bits, as ffmpeg writes them into small files."""
    found, at = [], 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        found.append((kind, at, at + size))
        at += size
    return found


def rewritten(data: bytes, path: Sequence[bytes], change: Change) -> bytes:
    """`data` with the payload of every box at `path` changed, and the sizes of all that hold it.

    What comes after a `moov` that changes its size moves: the sample tables are left as they are.
    """
    kind, *deeper = path
    done = []
    for found, at, end in boxes(data):
        payload = data[at + 8 : end]
        if found == kind:
            payload = rewritten(payload, deeper, change) if deeper else change(payload)
        done.append(box(found, payload))
    return b"".join(done)


def first(data: bytes, *path: bytes) -> bytes:
    """The payload of the first box at `path`."""
    for kind in path:
        data = next(data[at + 8 : end] for found, at, end in boxes(data) if found == kind)
    return data


def with_words(at: int, *values: int) -> Change:
    """Writes numbers of 32 bits over a payload, `at` bytes into it."""
    return lambda payload: payload[:at] + words(*values) + payload[at + 4 * len(values) :]


def in_front(data: bytes, more: bytes) -> bytes:
    """A clip whose `moov` comes last, with boxes put between its `ftyp` and the rest."""
    end = boxes(data)[0][2]

    def moved(table: bytes) -> bytes:
        count, *offsets = struct.unpack(f">{len(table) // 4 - 1}I", table[4:])
        return table[:4] + words(count, *(offset + len(more) for offset in offsets))

    shifted = rewritten(data, (*TABLES, b"stco"), moved)
    return shifted[:end] + more + shifted[end:]


# ---- what becomes of uploads


def cut(data: bytes, share: float) -> bytes:
    """The first part of a file."""
    return data[: int(len(data) * share)]


def cut_between_fragments(data: bytes, fragments: int) -> bytes:
    """A fragmented file that ends exactly where one of its fragments does."""
    ends = [end for kind, _, end in boxes(data) if kind == b"mdat"]
    return data[: ends[fragments - 1]]


def zeroed(data: bytes, start: float, end: float) -> bytes:
    """Zeros from one share of a file to another, in whole blocks of a disk, as where a page was never written."""
    lower = int(len(data) * start) // 4096 * 4096
    upper = len(data) if end == 1 else int(len(data) * end) // 4096 * 4096
    return data[:lower] + bytes(upper - lower) + data[upper:]


def place(data: bytes, path: Path) -> None:
    """Write a file, and nothing where it holds whole blocks of zeros: there it has holes."""
    with path.open("wb") as file:
        for at in range(0, len(data), 4096):
            block = data[at : at + 4096]
            if any(block):
                file.seek(at)
                file.write(block)
        file.truncate(len(data))


def flipped(data: bytes, *places: int) -> bytes:
    """One bit turned over in each of these bytes."""
    turned = bytearray(data)
    for number, at in enumerate(places):
        turned[at] ^= 1 << number % 8
    return bytes(turned)


def all_over(data: bytes) -> tuple[int, ...]:
    """A hundred places in the `mdat` of a clip, spread evenly."""
    at, end = next((at + 8, end) for kind, at, end in boxes(data) if kind == b"mdat")
    return tuple(at + number * (end - at) // 100 for number in range(100))


def in_the_sound(data: bytes) -> tuple[int, ...]:
    """Places in the first packets of the second track of a clip."""
    moov = first(data, b"moov")
    at, end = [(at, end) for kind, at, end in boxes(moov) if kind == b"trak"][1]
    (chunk,) = struct.unpack(">I", first(moov[at:end], *TABLES[1:], b"stco")[8:12])
    return tuple(range(chunk + 40, chunk + 60, 5))


@functools.cache
def flipped_unnoticed(asked: Clip) -> bytes:
    """A clip of which one bit is turned over that no decoder notices: it says another picture, in good order."""
    data = clip(asked)
    with tempfile.TemporaryDirectory() as folder:
        spoilt = Path(folder, "spoilt.mp4")
        for at in all_over(data):
            spoilt.write_bytes(flipped(data, at))
            strict = ("-xerror", "-err_detect", "crccheck+explode", "-i", f"file:{spoilt}", "-f", "null", "-")
            done = subprocess.run(("ffmpeg", "-v", "error", "-nostdin", *strict), capture_output=True, timeout=60)
            if done.returncode == 0 and not done.stderr:
                return spoilt.read_bytes()
    raise footage.FootageError("every bit of this clip is noticed by ffmpeg")


def longer_mdat(data: bytes) -> bytes:
    """A clip whose `mdat` says that it is as long as the whole file again."""
    at = next(at for kind, at, _ in boxes(data) if kind == b"mdat")
    return data[:at] + words(2 * len(data)) + data[at + 4 :]


# ---- files that are made to do harm


def movie(kind: bytes, width: int, height: int, samples: Sequence[bytes], handler: bytes = b"vide") -> bytes:
    """An MP4 of one track with these samples, ten a second, its `moov` last."""
    ftyp = box(b"ftyp", b"isom", words(512), b"isom")
    at, sizes = len(ftyp) + 8, [len(sample) for sample in samples]
    shape = struct.pack(">HHIIIH", width, height, 72 << 16, 72 << 16, 0, 1) + bytes(32) + struct.pack(">Hh", 24, -1)
    entry = box(kind, bytes(6), struct.pack(">H", 1), bytes(16), shape)
    stbl = box(
        b"stbl",
        box(b"stsd", words(0, 1), entry),
        box(b"stts", words(0, 1, len(samples), 100)),
        box(b"stsc", words(0, 1, 1, len(samples), 1)),
        box(b"stsz", words(0, 0, len(samples), *sizes)),
        box(b"stco", words(0, 1, at)),
    )
    unity = words(1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    length = 100 * len(samples)
    trak = box(
        b"trak",
        box(b"tkhd", words(3, 0, 0, 1, 0, length, 0, 0, 0, 0), unity, words(width << 16, height << 16)),
        box(
            b"mdia",
            box(b"mdhd", words(0, 0, 0, 1000, length, 0x55C40000)),
            box(b"hdlr", words(0, 0), handler, bytes(13)),
            box(b"minf", box(b"vmhd", words(1, 0, 0)), stbl),
        ),
    )
    head = box(b"mvhd", words(0, 0, 0, 1000, length, 1 << 16, 1 << 24, 0, 0), unity, bytes(24), words(2))
    return ftyp + box(b"mdat", *samples) + box(b"moov", head, trak)


def bomb(width: int, height: int, frames: int) -> bytes:
    """A clip of a few kilobytes whose every picture is a blank one of this size (PNG, one bit a pixel)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    return movie(b"png ", width, height, [png] * frames)


def many_tracks(data: bytes, count: int) -> bytes:
    """A clip whose `moov`, which comes last, has its first track `count` times more, each with a number of its own."""
    trak = box(b"trak", first(data, b"moov", b"trak"))
    more = b"".join(rewritten(trak, (b"trak", b"tkhd"), with_words(12, 100 + number)) for number in range(count))
    return rewritten(data, (b"moov",), lambda moov: moov + more)


def many_frames(count: int) -> bytes:
    """A clip that declares a frame in every byte of its `mdat`, in tables that take no room."""
    tables = {
        b"stts": words(0, 1, count, 1),
        b"stsc": words(0, 1, 1, count, 1),
        b"stsz": words(0, 1, count),
    }
    data = movie(b"avc1", 160, 120, [bytes(count)])
    for kind, payload in tables.items():
        data = rewritten(data, (*TABLES, kind), lambda _, payload=payload: payload)  # type: ignore[misc]  # a default
    return data


def elsewhere(data: bytes, path: Path) -> bytes:
    """A clip whose pictures lie in another file, as QuickTime can say it: by an alias record in the data reference.

    Source: QuickTime File Format, "Data Reference Atoms"; the record as libavformat/mov.c (mov_read_dref) reads it.
    """
    name, where = path.name.encode()[:63], os.fsencode(path)
    alias = struct.pack(">4xHH2xB27s12xB63s16xhh16x", 0, 2, 3, b"Vol", len(name), name, 1, 1)
    alias += struct.pack(">hh", 2, len(where)) + where + bytes(len(where) % 2) + struct.pack(">hh", -1, 0)
    reference = words(0, 1) + box(b"alis", words(0), alias)
    return rewritten(data, (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"), lambda _: reference)


SCRIPTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{bait}\n#EXTINF:5,\nbait.mp4\n#EXT-X-ENDLIST\n",
    "m3u8 over the network": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/bait.ts\n",
    "ffconcat, relative": "ffconcat version 1.0\nfile bait.mp4\n",
    "ffconcat, absolute": "ffconcat version 1.0\nfile '{bait}'\nfile 'file:{bait}'\n",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=bait\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 33\n",
    "MPD": (
        '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT5S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011">\n<Period>'
        '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{bait}</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>\n"
    ),
}
"""Scripts of other media formats, by name; `{bait}` is the absolute path of a clip they want opened."""


# ---- what cameras write that others do not


def timed(data: bytes, *runs: tuple[int, int]) -> bytes:
    """A silent clip whose frames have other distances: runs of (how many, ticks)."""
    rows = [number for run in runs for number in run]
    return rewritten(data, (*TABLES, b"stts"), lambda _: words(0, len(runs), *rows))


def ticks(data: bytes) -> int:
    """The distance of the first two frames of a clip, in the ticks of its track."""
    return int.from_bytes(first(data, *TABLES, b"stts")[12:16])


def stepped_back(data: bytes, fragment: int, by: int) -> bytes:
    """A fragmented clip whose time jumps back at a fragment, as when a camera's clock is set."""

    def earlier(tfdt: bytes) -> bytes:
        width = 8 if tfdt[0] else 4
        return tfdt[:-width] + (int.from_bytes(tfdt[-width:]) - by).to_bytes(width)

    place = [at for kind, at, _ in boxes(data) if kind == b"moof"][fragment - 1]
    return data[:place] + rewritten(data[place:], (b"moof", b"traf", b"tfdt"), earlier)


def edited(data: bytes, *edits: tuple[int, int]) -> bytes:
    """A silent clip with another edit list: (milliseconds, from which tick; -1 for a pause)."""
    rows = [number for length, begin in edits for number in (length, begin & 0xFFFFFFFF, 1 << 16)]
    return rewritten(data, (b"moov", b"trak", b"edts", b"elst"), lambda _: words(0, len(edits), *rows))


def stuffed(data: bytes) -> bytes:
    """A clip whose `moov` comes last, with boxes for nobody in every place that may hold some."""
    nothing = box(b"free", bytes(9)) + box(b"uuid", bytes(16), b"a maker's own") * 2 + box(b"free") * 2
    for path in (TABLES, TABLES[:3], TABLES[:2], TABLES[:1]):
        data = rewritten(data, path, lambda payload: nothing + payload + nothing)
    return in_front(data, nothing) + nothing


@functools.cache
def remuxed(asked: Clip, options: tuple[str, ...]) -> bytes:
    """A clip whose packets ffmpeg copied into another file, with these options."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "remuxed.mp4")
        source = ("-i", f"file:{footage.cached(asked)}", "-map", "0", "-c", "copy")
        command = ("ffmpeg", "-v", "error", "-nostdin", "-y", *source, *options, "-f", "mp4", f"file:{target}")
        subprocess.run(command, check=True, timeout=60)
        return target.read_bytes()


def without_first_frames(asked: Clip) -> bytes:
    """A clip that begins between two key frames, as ffmpeg's `-copyinkf` leaves it."""
    return remuxed(asked, ("-ss", "0.3", "-copyinkf:v"))


def two_pictures(asked: Clip) -> bytes:
    """A clip with its video twice, as a camera with two lenses writes it."""
    return remuxed(asked, ("-map", "0:v"))


# ---- every kind, by name

BAD: dict[str, Callable[[], bytes]] = {
    "cut off, index last": lambda: cut(clip(MOOV_LAST), 0.6),
    "cut off, index first": lambda: cut(clip(MOOV_FIRST), 0.6),
    "cut off within a fragment": lambda: cut(clip(FRAGMENTED), 0.6),
    "cut off between two fragments": lambda: cut_between_fragments(clip(FRAGMENTED), 2),
    "second half zeros, index last": lambda: zeroed(clip(MOOV_LAST), 0.5, 1),
    "second half zeros, index first": lambda: zeroed(clip(MOOV_FIRST), 0.5, 1),
    "first half zeros": lambda: zeroed(clip(MOOV_LAST), 0, 0.5),
    "hole in the pictures": lambda: zeroed(clip(MOOV_LAST), 0.3, 0.6),
    "glitched, its structure whole": lambda: flipped(clip(SILENT), *all_over(clip(SILENT))),
    "bits of the sound flipped": lambda: flipped(clip(MOOV_LAST), *in_the_sound(clip(MOOV_LAST))),
    "a bit flipped that no decoder notices": lambda: flipped_unnoticed(replace(SILENT, codec="hevc")),
    "bits of the index flipped": lambda: rewritten(
        clip(MOOV_LAST), (*TABLES, b"stsz"), lambda sizes: flipped(sizes, 13, 17, 21)
    ),
    "index points beyond the file": lambda: rewritten(clip(MOOV_LAST), (*TABLES, b"stco"), with_words(8, 1 << 20)),
    "index points at the wrong bytes": lambda: rewritten(clip(MOOV_LAST), (*TABLES, b"stco"), with_words(8, 4)),
    "frame larger than the file": lambda: rewritten(clip(MOOV_LAST), (*TABLES, b"stsz"), with_words(12, 1 << 20)),
    "box larger than the file": lambda: longer_mdat(clip(MOOV_LAST)),
    "two clips in one file": lambda: clip(MOOV_LAST) + clip(MOOV_FIRST),
    "JPEG": lambda: footage.cached_snapshot(SILENT).read_bytes(),
    "HTML": lambda: b"<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>\n",
    "nothing": lambda: b"",
    "garbage": lambda: bytes((at * at * 31 + at // 7) % 256 for at in range(20_000)),
    "sound alone": lambda: remuxed(MOOV_LAST, ("-map", "-0:v")),
    "pictures larger than any camera's": lambda: bomb(9000, 9000, 3),
    "pictures larger than the memory allowed": lambda: bomb(8000, 8000, 8),
    "4000 tracks": lambda: many_tracks(clip(MOOV_LAST), 4000),
    "3 million frames": lambda: many_frames(3_000_000),
}

ODD: dict[str, Callable[[], bytes]] = {
    "two frames of one time": lambda: timed(clip(SILENT), (4, ticks(clip(SILENT))), (1, 0), (5, ticks(clip(SILENT)))),
    "a frame's length below zero": lambda: timed(
        clip(SILENT), (4, ticks(clip(SILENT))), (1, -ticks(clip(SILENT)) // 2 & 0xFFFFFFFF), (5, ticks(clip(SILENT)))
    ),
    "a clock set back a little": lambda: stepped_back(clip(FRAGMENTED), 3, 300),
    "a clock set back by two frames": lambda: stepped_back(clip(FRAGMENTED), 3, 2048),
    "a clock set back to the start": lambda: stepped_back(clip(replace(FRAGMENTED, audio="none")), 3, 10_240),
    "no key frame at first": lambda: without_first_frames(replace(SILENT, seconds=3.0)),
    "no key frame at all": lambda: without_first_frames(SILENT),
    "edit list that begins late": lambda: edited(clip(SILENT), (600, 4 * ticks(clip(SILENT)))),
    "edit list that begins with a pause": lambda: edited(clip(SILENT), (500, -1), (1000, 0)),
    "edit list that shows a part twice": lambda: edited(clip(SILENT), (500, 0), (1000, 0)),
    "negative composition offsets": lambda: remuxed(replace(SILENT, bframes=2), ("-movflags", "+negative_cts_offsets")),
    "free and uuid boxes everywhere": lambda: stuffed(clip(SILENT)),
    "box of size 0 at the end": lambda: clip(SILENT) + words(0) + b"free",
    "empty box at the end": lambda: clip(SILENT) + box(b"free"),
    "zeros at the end": lambda: clip(SILENT) + bytes(512),
    "empty box of no type at the end": lambda: clip(SILENT) + bytes(8),
    "fragments, then zeros": lambda: clip(FRAGMENTED) + bytes(512),
    "fragments without an index": lambda: cut_between_fragments(clip(FRAGMENTED), 4),
    "two videos": lambda: two_pictures(SILENT),
}
