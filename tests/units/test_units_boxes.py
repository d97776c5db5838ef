"""The box walk over hand-made files: the odd cases of the format, lies in its tables, and bytes that are no MP4."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiverd.media.boxes import BoxWalk, Layout, Track, walk


def box(kind: bytes, *payload: bytes, wide: bool = False) -> bytes:
    body = b"".join(payload)
    if wide:
        return struct.pack(">I4sQ", 1, kind, len(body) + 16) + body
    return struct.pack(">I4s", len(body) + 8, kind) + body


def words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


FTYP = box(b"ftyp", b"isom", words(512), b"isom")


def stsz(sizes: Sequence[int]) -> bytes:
    return box(b"stsz", words(0, 0, len(sizes), *sizes))


def trak(
    offsets: Sequence[int] = (),
    sizes: Sequence[int] = (),
    *,
    track_id: int = 1,
    handler: bytes = b"vide",
    codec: bytes = b"avc1",
    stts: bytes | None = None,
    stsc: bytes | None = None,
    stsz_box: bytes | None = None,
    stco: bytes | None = None,
    stsd: bytes | None = None,
    tkhd: bytes | None = None,
    mdhd: bytes | None = None,
    extra: bytes = b"",
) -> bytes:
    """One sample in each chunk, unless the tables are given."""
    count = len(sizes)
    entry = box(codec, bytes(24), struct.pack(">HH", 64, 48), bytes(50))
    stbl = box(
        b"stbl",
        box(b"stsd", words(0, 1), entry) if stsd is None else stsd,
        box(b"stts", words(0, 1, count, 10)) if stts is None else stts,
        box(b"stsc", words(0, 1, 1, 1, 1)) if stsc is None else stsc,
        stsz(sizes) if stsz_box is None else stsz_box,
        box(b"stco", words(0, len(offsets), *offsets)) if stco is None else stco,
        extra,
    )
    return box(
        b"trak",
        box(b"tkhd", words(0, 0, 0, track_id), bytes(68)) if tkhd is None else tkhd,
        box(b"edts", box(b"elst", words(0, 0))),
        box(
            b"mdia",
            box(b"mdhd", words(0, 0, 0, 100, 0, 0)) if mdhd is None else mdhd,
            box(b"hdlr", words(0, 0), handler, bytes(13)),
            box(b"minf", box(b"hdlr", words(0), b"dhlralis", bytes(13)), stbl),
        ),
        box(b"udta", bytes(4)),
    )


MEDIA = b"0123456789" * 3
AT = len(FTYP) + 8  # where the samples begin when the mdat follows the ftyp
OFFSETS, SIZES = (AT, AT + 10, AT + 20), (10, 9, 10)


def moov(*traks: bytes, mvex: bytes = b"") -> bytes:
    return box(b"moov", box(b"mvhd", bytes(100)), *traks, mvex, box(b"udta", box(b"meta", box(b"hdlr", bytes(25)))))


def progressive(*, tail: bytes = b"", **tables: object) -> bytes:
    """ftyp, mdat with three samples, moov."""
    return FTYP + box(b"mdat", MEDIA) + moov(trak(OFFSETS, SIZES, **tables)) + tail  # type: ignore[arg-type]


MVEX = box(b"mvex", box(b"trex", words(0, 1, 1, 5, 6, 0)))
INIT = FTYP + moov(trak(), mvex=MVEX)


def fragment(
    number: int = 1, samples: int = 3, *, flags: int = 1, rows: Sequence[int] = (), tfhd: bytes = b"", offset: int = 0
) -> bytes:
    """moof with one run of samples of 6 bytes, and its mdat."""

    def moof(data_offset: int) -> bytes:
        head = struct.pack(">IIi", flags, samples, data_offset) if flags & 1 else words(flags, samples)
        traf = box(b"traf", tfhd or box(b"tfhd", words(0x020000, 1)), box(b"trun", head, words(*rows)))
        return box(b"moof", box(b"mfhd", words(0, number)), traf)

    return moof(len(moof(0)) + 8 + offset) + box(b"mdat", bytes(6 * samples))


def frames(count: int, handler: bytes = b"vide") -> bytes:
    """As many samples of one byte, in one chunk, which no table lists one by one."""
    tables = trak(
        (AT,),
        handler=handler,
        stts=box(b"stts", words(0, 1, count, 10)),
        stsc=box(b"stsc", words(0, 1, 1, count, 1)),
        stsz_box=box(b"stsz", words(0, 1, count)),
    )
    return FTYP + box(b"mdat", bytes(count)) + moov(tables)


@contextmanager
def held(data: bytes) -> Iterator[int]:
    handle = os.memfd_create("boxes")
    try:
        os.write(handle, data)
        os.lseek(handle, 3, os.SEEK_SET)
        yield handle
    finally:
        os.close(handle)


def walked(data: bytes) -> BoxWalk:
    with held(data) as handle:
        return walk(handle)


def test_progressive_file_is_clean_with_its_tracks() -> None:
    found = walked(progressive())
    assert found == BoxWalk(
        size_bytes=len(progressive()),
        layout=Layout.PROGRESSIVE,
        moov_first=False,
        has_mfra=False,
        tracks=(Track(1, "vide", "avc1", samples=3, duration_s=0.3, width=64, height=48, timescale=100),),
        fault="",
        truncated=False,
    )
    assert found.clean


def test_fragmented_file_is_clean_with_its_tracks() -> None:
    found = walked(INIT + fragment(7, 3) + fragment(9, 2) + box(b"mfra", bytes(8)))
    assert (found.fault, found.layout, found.moov_first, found.has_mfra) == ("", Layout.FRAGMENTED, True, True)
    assert found.tracks == (Track(1, "vide", "avc1", samples=5, duration_s=0.25, width=64, height=48, timescale=100),)


def test_walk_leaves_the_file_offset_alone() -> None:
    with held(progressive()) as handle:
        walk(handle)
        assert os.lseek(handle, 0, os.SEEK_CUR) == 3


def test_walk_of_a_closed_descriptor_raises_oserror() -> None:
    with held(b"") as handle:
        pass
    with pytest.raises(OSError, match="Bad file descriptor"):
        walk(handle)


BEFORE = box(b"free", bytes(5)) + box(b"uuid", bytes(16)) + box(b"zzzz", b"?") + box(b"\xa9swr")
SHIFTED = tuple(offset + len(BEFORE) for offset in OFFSETS)
WIDE = tuple(offset + 8 for offset in OFFSETS)
NO_FTYP = tuple(offset - len(FTYP) for offset in OFFSETS)
MOOV_SIZE = len(moov(trak(OFFSETS, SIZES)))
LATER = tuple(offset + MOOV_SIZE for offset in OFFSETS)
SPLIT = (AT, AT + 18, AT + 28)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(FTYP + BEFORE + box(b"mdat", MEDIA) + moov(trak(SHIFTED, SIZES)), id="unknown boxes between"),
        pytest.param(progressive(tail=BEFORE), id="unknown boxes at the end"),
        pytest.param(progressive(tail=box(b"free")), id="empty free at the end"),
        pytest.param(progressive(tail=words(0) + b"free"), id="free of size 0, to the end"),
        pytest.param(progressive(tail=bytes(4)), id="zeros of padding"),
        pytest.param(progressive(tail=bytes(8)), id="an empty box of no type at the end"),
        pytest.param(progressive(tail=bytes(512)), id="a disk block filled up with zeros"),
        pytest.param(progressive(tail=bytes(3 << 20)), id="more zeros than are read at once"),
        pytest.param(INIT + fragment() + box(b"mfra", bytes(8)) + bytes(512), id="zeros after the index of fragments"),
        pytest.param(INIT + fragment() + bytes(2), id="zeros after a fragment, which may be of the next"),
        pytest.param(progressive(tail=words(0) + b"skip" + bytes(99)), id="skip of size 0 with a body"),
        pytest.param(FTYP + box(b"mdat", MEDIA, wide=True) + moov(trak(WIDE, SIZES)), id="64-bit mdat"),
        pytest.param(box(b"mdat", MEDIA) + moov(trak(NO_FTYP, SIZES)), id="QuickTime without ftyp"),
        pytest.param(FTYP + moov(trak(LATER, SIZES)) + words(0) + b"mdat" + MEDIA, id="mdat of size 0, to the end"),
        pytest.param(
            FTYP + box(b"mdat", MEDIA[:10]) + box(b"mdat", MEDIA[10:]) + moov(trak(SPLIT, SIZES)), id="two mdats"
        ),
        pytest.param(progressive(stco=box(b"co64", words(0, 3), struct.pack(">3Q", *OFFSETS))), id="co64"),
        pytest.param(progressive(stsz_box=box(b"stsz", words(0, 10, 3))), id="samples of one size"),
        pytest.param(progressive(stsz_box=box(b"stz2", words(0, 16, 3), bytes((0, 9, 0, 9, 0, 9)))), id="stz2 of 16"),
        pytest.param(progressive(stsz_box=box(b"stz2", words(0, 8, 3), bytes((10, 9, 9)))), id="stz2 of 8"),
        pytest.param(progressive(stsz_box=box(b"stz2", words(0, 4, 3), bytes((0xA9, 0x90)))), id="stz2 of 4"),
        pytest.param(
            progressive(stsc=box(b"stsc", words(0, 2, 1, 2, 1, 2, 1, 1)), stco=box(b"stco", words(0, 2, AT, AT + 20))),
            id="chunks of 2 and 1",
        ),
        pytest.param(progressive(stts=box(b"stts", words(0, 2, 1, 5, 2, 7))), id="two durations"),
        pytest.param(progressive(extra=box(b"ctts", words(1 << 24, 1, 3, 0xFFFFFFF0))), id="negative composition"),
        pytest.param(
            FTYP + box(b"mdat", MEDIA) + moov(trak(OFFSETS, SIZES), trak(track_id=2, handler=b"text")),
            id="a track without samples",
        ),
        pytest.param(INIT + fragment(0) + fragment(0) + fragment(0), id="fragments not counted"),
        pytest.param(INIT + box(b"styp", b"msdh") + box(b"sidx", bytes(9)) + fragment(4), id="styp and sidx"),
        pytest.param(INIT + fragment(flags=0x201, rows=(9, 8, 1)), id="sizes in the run"),
        pytest.param(INIT + fragment(flags=0x205, rows=(0xFFFFFF, 9, 8, 1)), id="flags of the first sample"),
        pytest.param(INIT + fragment(flags=0xF01, rows=(1, 9, 0, 0, 1, 9, 0, 0, 1, 0, 0, 0)), id="all in the run"),
        pytest.param(INIT + fragment(tfhd=box(b"tfhd", words(0x020018, 1, 3, 5))), id="defaults in tfhd"),
        pytest.param(INIT + fragment(tfhd=box(b"tfhd", words(0x000001, 1, 0, len(INIT)))), id="a base in tfhd"),
        pytest.param(INIT + fragment(tfhd=box(b"tfhd", words(0, 1))), id="no base in tfhd"),
    ],
)
def test_what_cameras_and_muxers_write_is_clean(data: bytes) -> None:
    assert walked(data).fault == ""


def test_bytes_of_sound_may_be_many() -> None:
    """Of sound without compression each sample is one, a quarter of an hour of G.711 is seven million."""
    assert walked(frames(7_200_000, b"soun")).fault == ""


def test_fourcc_that_does_not_print_is_escaped() -> None:
    assert walked(progressive(codec=b"a\x00\xffb")).tracks[0].codec == "a\\x00\\xffb"


def test_headers_of_version_1_are_read() -> None:
    headers = {
        "tkhd": box(b"tkhd", words(1 << 24, 0, 8, 0, 8, 77)),
        "mdhd": box(b"mdhd", words(1 << 24, 0, 8, 0, 8, 50)),
    }
    track = walked(progressive(**headers)).tracks[0]
    assert (track.id, track.timescale, track.duration_s) == (77, 50, 0.6)


def test_track_without_timescale_has_no_duration() -> None:
    assert walked(progressive(mdhd=box(b"mdhd", words(0, 0, 0, 0, 0, 0)))).tracks[0].duration_s == 0.0


def test_track_without_sample_entry_has_no_codec() -> None:
    assert walked(progressive(stsd=box(b"stsd", words(0, 0)))).tracks[0].codec == ""


def test_run_without_base_follows_the_track_before_it() -> None:
    """Two tracks in one fragment, 12 and 6 bytes: the second has neither a base nor an offset of its own."""
    init = FTYP + moov(
        trak(), trak(track_id=2), mvex=box(b"mvex", *(box(b"trex", words(0, n, 1, 5, 6, 0)) for n in (1, 2)))
    )
    first = box(b"traf", box(b"tfhd", words(0, 1)), box(b"trun", words(1, 2, 116)))
    second = box(b"traf", box(b"tfhd", words(0, 2)), box(b"trun", words(0, 1)))
    moof = box(b"moof", box(b"mfhd", words(0, 1)), first, second)
    assert len(moof) + 8 == 116
    assert walked(init + moof + box(b"mdat", bytes(18))).fault == ""
    assert "reach beyond the mdat" in walked(init + moof + box(b"mdat", bytes(17)) + box(b"free")).fault


def test_file_shorter_than_its_size_is_truncated() -> None:
    """The kernel says of this file that it has 4096 bytes, and gives 6: like one cut short while it is walked."""
    with open("/sys/class/net/lo/mtu", "rb") as shrunk:
        found = walk(shrunk.fileno())
    assert "shorter than it was" in found.fault
    assert found.truncated


MENDABLE = [
    pytest.param(b"", "the file is empty", id="empty"),
    pytest.param(FTYP[:5], "box header at 0 is cut short", id="5 bytes"),
    pytest.param(FTYP, "no moov in 20 bytes", id="only ftyp"),
    pytest.param(FTYP + box(b"mdat", MEDIA), "no moov in 58 bytes", id="no moov yet"),
    pytest.param(FTYP + words(0) + b"mdat" + MEDIA, "no moov in 58 bytes", id="mdat of size 0 and nothing after"),
    pytest.param(FTYP + words(1) + b"mdat" + bytes(7), "header of box mdat at 20 is cut short", id="cut 64-bit size"),
    pytest.param(FTYP + box(b"mdat", MEDIA)[:-1], "box mdat at 20 needs 38 bytes, 37 are there", id="cut mdat"),
    pytest.param(progressive()[:-1], "box moov at 58 needs", id="cut moov"),
    pytest.param(FTYP + moov(trak(LATER, SIZES)), "beyond the end of the file", id="no mdat yet"),
    pytest.param(FTYP + box(b"mdat", MEDIA) + bytes(512), "no moov", id="space still to be filled"),
    pytest.param(progressive(tail=bytes(512) + b"x"), "zeros stand at", id="zeros and no box after them"),
    pytest.param(progressive(tail=bytes(2 << 20) + b"x"), "zeros stand at", id="something far behind the zeros"),
    pytest.param(
        FTYP + moov(trak(LATER, SIZES)) + words(0) + b"mdat" + MEDIA[:25], "beyond the mdat", id="mdat of size 0, cut"
    ),
    pytest.param(INIT, "declares no samples", id="no fragment yet"),
    pytest.param(INIT + fragment()[:-26], "beyond the file", id="no mdat for the last fragment"),
    pytest.param(INIT + fragment()[:-1], "box mdat at", id="last fragment cut"),
    pytest.param(INIT + fragment() + bytes(3) + b"x", "is cut short", id="first bytes of the next fragment"),
]


@pytest.mark.parametrize(("data", "fault"), MENDABLE)
def test_unfinished_file_is_truncated(data: bytes, fault: str) -> None:
    found = walked(data)
    assert fault in found.fault
    assert found.truncated


LIES = [
    pytest.param(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(99), "no MP4", id="jpg"),
    pytest.param(b"<!DOCTYPE html><html></html>", "no MP4", id="html"),
    pytest.param(b"#EXTM3U\n#EXT-X-VERSION:3\nfile:/etc/passwd\n", "no MP4", id="m3u8"),
    pytest.param(b"ffconcat version 1.0\nfile x.mp4\n", "no MP4", id="ffconcat"),
    pytest.param(bytes(4096), "no MP4", id="zeros"),
    pytest.param(progressive() + progressive(), "a second file begins", id="two files"),
    pytest.param(INIT + fragment() + INIT + fragment(), "a second file begins", id="two fragmented files"),
    pytest.param(box(b"mdat", MEDIA) + progressive(), "a second file begins", id="a file after the rest of another"),
    pytest.param(progressive(tail=moov(trak(OFFSETS, SIZES))), "is the second moov", id="two moovs"),
    pytest.param(FTYP + words(5) + b"free", "says it is 5 bytes long", id="size below the header's"),
    pytest.param(FTYP + box(b"mdat", MEDIA) + words(20) + b"\x00\x01\x67\x42" + bytes(12), "no box begins", id="noise"),
    pytest.param(FTYP + box(b"mdat", MEDIA) + moov(), "declares no samples", id="no tracks"),
    pytest.param(FTYP + box(b"mdat", MEDIA) + moov(trak()), "declares no samples", id="no samples"),
    pytest.param(FTYP + box(b"mdat", MEDIA) + box(b"moov", words(99) + b"trak"), "needs 99 bytes", id="child too long"),
    pytest.param(progressive(stco=b""), "no stco or co64", id="no stco"),
    pytest.param(progressive(extra=box(b"co64", words(0, 0))), "two stco or co64", id="stco and co64"),
    pytest.param(progressive(extra=stsz(SIZES)), "is the second in", id="two stsz"),
    pytest.param(
        progressive(stts=box(b"stts", words(0, 1, 4, 1))), "3 samples, and durations of 4", id="stts too long"
    ),
    pytest.param(progressive(stsc=box(b"stsc", words(0, 1, 1, 2, 1))), "does not fit", id="stsc too long"),
    pytest.param(progressive(stsc=box(b"stsc", words(0, 1, 2, 1, 1))), "does not fit", id="stsc begins at 2"),
    pytest.param(progressive(stsc=box(b"stsc", words(0, 1, 1, 0, 1))), "does not fit", id="no samples in a chunk"),
    pytest.param(progressive(stsc=box(b"stsc", words(0, 2, 1, 1, 1, 1, 1, 1))), "does not fit", id="stsc not rising"),
    pytest.param(
        progressive(
            stsc=box(b"stsc", words(0, 2, 1, 1, 1, 0xFFFFFFFF, 1, 1)),
            stsz_box=box(b"stsz", words(0, 1, 0xFFFFFFFF)),
            stts=box(b"stts", words(0, 1, 0xFFFFFFFF, 1)),
        ),
        "beyond the end of the file",
        id="four billion samples",
    ),
    pytest.param(progressive(stsc=box(b"stsc", words(0, 2, 1, 1, 1, 9, 1, 1))), "does not fit", id="stsc beyond stco"),
    pytest.param(progressive(stco=box(b"stco", words(0, 2, *OFFSETS[:2]))), "does not fit", id="stco too short"),
    pytest.param(
        FTYP + box(b"mdat", MEDIA) + moov(trak(OFFSETS, SIZES), trak(track_id=2, stsc=box(b"stsc", words(0, 9)))),
        "declares 9 entries",
        id="stsc of a track without samples lies",
    ),
    pytest.param(progressive(stco=box(b"stco", words(0, 9, *OFFSETS))), "declares 9 entries", id="stco lies"),
    pytest.param(progressive(stco=box(b"stco", words(0, 3, 4, *OFFSETS[1:]))), "outside every mdat", id="in the ftyp"),
    pytest.param(progressive(stco=box(b"stco", words(0, 3, *OFFSETS[:2], 70))), "outside every mdat", id="in the moov"),
    pytest.param(progressive(stco=box(b"stco", words(0, 3, AT, AT, AT + 20))), "share bytes", id="one place twice"),
    pytest.param(progressive(stsz_box=stsz((11, 9, 10))), "share bytes", id="size into the next sample"),
    pytest.param(progressive(stsz_box=stsz((10, 9, 11))), "reach beyond the mdat", id="size out of the mdat"),
    pytest.param(progressive(stsz_box=stsz((10, 9, 1 << 31))), "beyond the end of the file", id="size out of the file"),
    pytest.param(progressive(stco=box(b"stco", words(0, 3, AT, AT + 10, 9999))), "beyond the end", id="far offset"),
    pytest.param(
        progressive(stco=box(b"co64", words(0, 3), struct.pack(">3Q", AT, AT + 10, 2**64 - 1))),
        "beyond the end",
        id="offset that wraps",
    ),
    pytest.param(
        FTYP + box(b"mdat", MEDIA) + moov(*(trak(track_id=n) for n in range(1, 99))), "too many tracks", id="98 tracks"
    ),
    pytest.param(FTYP + box(b"mdat", MEDIA) + moov(trak(), trak()), "second of track 1", id="one track id twice"),
    pytest.param(INIT + fragment(2) + fragment(1), "comes after fragment 2", id="fragments not in sequence"),
    pytest.param(INIT + fragment(1) + fragment(2) + fragment(2), "comes after fragment 2", id="a fragment twice"),
    pytest.param(FTYP + moov(trak()) + fragment(), "has no mvex", id="no mvex"),
    pytest.param(FTYP + moov(trak(), mvex=box(b"mvex")) + fragment(), "no trak or no trex", id="no trex"),
    pytest.param(FTYP + fragment(), "before any moov", id="no moov before the fragment"),
    pytest.param(INIT + fragment(tfhd=box(b"tfhd", words(0, 2))), "no trak or no trex", id="unknown track"),
    pytest.param(INIT + fragment(tfhd=box(b"free")), "has no tfhd", id="no tfhd"),
    pytest.param(INIT + fragment(tfhd=box(b"tfhd", words(0x020010, 1, 0))), "without bytes", id="samples of no size"),
    pytest.param(INIT + fragment(offset=-9), "outside every mdat", id="run begins in the moof"),
    pytest.param(INIT + fragment(offset=-9999), "beyond the file", id="run before the file"),
    pytest.param(INIT + fragment(offset=1) + fragment(2), "reach beyond the mdat", id="run out of its mdat"),
    pytest.param(INIT + fragment(flags=0x201, rows=(9, 9)), "declares 3 entries", id="run shorter than it says"),
    pytest.param(
        INIT + fragment(flags=0x301, rows=(1, 9, 1, 9, 1, 9)) + fragment(2), "reach beyond", id="sizes second"
    ),
    pytest.param(progressive(tkhd=box(b"tkhd", words(0, 0))), "tkhd at 182 is too short", id="short tkhd"),
    pytest.param(progressive(stsd=box(b"stsd", words(0, 1))), "is too short", id="stsd without its entry"),
    pytest.param(progressive(stsc=box(b"stsc", words(0, 0))), "does not fit", id="empty stsc"),
    pytest.param(INIT + fragment(flags=0x201, rows=(9, 9, 9)) + fragment(2), "reach beyond the mdat", id="sizes lie"),
]


@pytest.mark.parametrize(("data", "fault"), LIES)
def test_file_that_can_never_be_whole_is_not_truncated(data: bytes, fault: str) -> None:
    found = walked(data)
    assert fault in found.fault
    assert not found.truncated


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(progressive(), id="moov last"),
        pytest.param(INIT + fragment(), id="moof"),
        pytest.param(FTYP + moov(trak(LATER, SIZES)) + words(0) + b"mdat" + MEDIA, id="mdat of size 0"),
    ],
)
def test_file_cut_at_any_byte_is_truncated(data: bytes) -> None:
    verdicts = [walked(data[:length]) for length in range(len(data))]
    assert [length for length, found in enumerate(verdicts) if found.clean or not found.truncated] == []


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        pytest.param(FTYP + box(b"free") * 1_000_001, "more than 1000000 boxes", id="boxes"),
        pytest.param(FTYP + moov(trak((1,) * 1_000_001)), "declares 1000001 chunks", id="chunks"),
        pytest.param(frames(2_000_001), "2000001 frames, more than are worked on", id="frames of one byte"),
        pytest.param(
            INIT + fragment(tfhd=box(b"tfhd", words(0x020010, 1, 1)), samples=2_000_001),
            "2000001 frames, more than are worked on",
            id="frames of one byte in a fragment",
        ),
        pytest.param(progressive(tail=bytes((64 << 20) + 1)), "zeros stand at", id="zeros at the end"),
        pytest.param(
            FTYP
            + moov(
                *(
                    trak(
                        (8,) * 600_000,
                        track_id=n,
                        stts=box(b"stts", words(0, 1, 600_000, 1)),
                        stsz_box=box(b"stsz", words(0, 1, 600_000)),
                    )
                    for n in (1, 2)
                )
            ),
            "more than 1000000 chunks",
            id="chunks together",
        ),
        pytest.param(
            FTYP + moov(trak(stsz_box=box(b"stsz", words(0, 0, 2_000_001), bytes(8_000_004)))),
            "declares 2000001 entries",
            id="samples",
        ),
        pytest.param(
            FTYP
            + moov(
                *(trak(track_id=n, stts=box(b"stts", words(0, 2_000_000), bytes(16_000_000))) for n in range(1, 10))
            ),
            "more than are walked",
            id="tables together",
        ),
    ],
)
def test_file_beyond_the_limits_is_a_fault(data: bytes, fault: str) -> None:
    assert fault in walked(data).fault


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600))
def test_random_bytes_are_never_clean(data: bytes) -> None:
    assert not walked(data).clean


SEEDS = (
    progressive(tail=BEFORE),
    FTYP + moov(trak(LATER, SIZES)) + box(b"mdat", MEDIA),
    INIT + fragment(flags=0xF01, rows=(1, 9, 0, 0, 1, 9, 0, 0, 1, 0, 0, 0)) + fragment(2),
)
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["set", "insert", "delete"]),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(SEEDS), EDITS)
def test_walk_of_mutated_file_only_ever_returns(data: bytes, edits: list[tuple[float, str, bytes]]) -> None:
    for place, how, patch in edits:
        at = int(place * len(data))
        kept = {"set": at + len(patch), "insert": at, "delete": at + len(patch)}[how]
        data = data[:at] + (b"" if how == "delete" else patch) + data[kept:]
    found = walked(data)
    assert found.clean == (found.fault == "")
    assert found.clean or not found.tracks
