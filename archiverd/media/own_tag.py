"""Reads the tag that archiverd wrote into an archive's metadata, without ffprobe: a few reads of a file of any size.

Source of the format: QuickTime File Format, "Metadata": a `meta` box with the handler `mdta` holds `keys`, the list of
names, and `ilst`, whose items bear the number of their key. ffmpeg writes it into `moov/udta` (`-movflags
use_metadata_tags`).
"""

from __future__ import annotations

from collections.abc import Iterator

from archiverd.media.box_reader import Box, BoxFault, BoxReader
from archiverd.policy.told import TAG

_MAX_KEYS = 1000
_MAX_TEXT = 64 * 1024  # bytes of the text; a path of 4096 bytes, all of them escaped, takes half of that
_NEEDED = (b"hdlr", b"keys", b"ilst")
_UTF8 = 1  # the well-known type of a text


def read_own_tag(file_fd: int) -> str:
    """The text under archiverd's key, "" where there is none, or where the boxes on the way to it are not in order.

    Reads with pread only. Any thread. Raises: OSError from reading.
    """
    reader = BoxReader(file_fd)
    try:
        return next((text for meta in _metas(reader) if (text := _text(reader, meta))), "")
    except BoxFault:
        return ""


def _metas(reader: BoxReader) -> Iterator[Box]:
    whole = Box(b"file", 0, 0, reader.size)
    for moov in _of_kind(reader, whole, b"moov"):
        for udta in _of_kind(reader, moov, b"udta"):
            yield from _of_kind(reader, udta, b"meta")


def _of_kind(reader: BoxReader, parent: Box, kind: bytes) -> Iterator[Box]:
    return (box for box in reader.children(parent) if box.kind == kind)


def _text(reader: BoxReader, meta: Box) -> str:
    inside = meta._replace(start=meta.start + 4)  # version and flags
    found = {box.kind: box for box in reader.children(inside) if box.kind in _NEEDED}
    if len(found) < len(_NEEDED) or reader.inside(found[b"hdlr"], 8, 4) != b"mdta":
        return ""
    number = _number_of_key(reader, found[b"keys"])
    if number is None:
        return ""
    for item in _of_kind(reader, found[b"ilst"], number.to_bytes(4, "big")):
        for data in _of_kind(reader, item, b"data"):
            length = data.end - data.start - 8  # type and locale
            if 0 < length <= _MAX_TEXT and reader.u32(data, 0) == _UTF8:
                return reader.inside(data, 8, length).decode("utf-8", "replace")
    return ""


def _number_of_key(reader: BoxReader, keys: Box) -> int | None:
    """The number of archiverd's key, counted from 1; None where it is not in the list."""
    count, at = reader.u32(keys, 4), 8
    for number in range(1, min(count, _MAX_KEYS) + 1):
        size = reader.u32(keys, at)
        if size < 8:
            return None
        if size == 8 + len(TAG) and reader.inside(keys, at + 4, size - 4) == b"mdta" + TAG.encode("ascii"):
            return number
        at += size
    return None
