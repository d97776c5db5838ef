"""The box walk over files that ffmpeg made: whole, cut anywhere, damaged in their tables, and joined."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from archiverd.media.boxes import BoxWalk, Layout, walk
from tools import damage

INPUT = ("-f", "lavfi", "-i", "testsrc=size=160x120:rate=25:duration=1", "-f", "lavfi", "-i", "sine=duration=1")
H264_AAC = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "8", "-c:a", "aac")
COPY = ("-c", "copy", "-movflags")
MADE = {
    "moov_last.mp4": (*INPUT, *H264_AAC),
    "b_frames.mp4": (*INPUT, "-c:v", "libx264", "-bf", "2", "-c:a", "aac"),
    "hevc.mp4": (*INPUT, "-c:v", "libx265", "-x265-params", "log-level=error", "-tag:v", "hvc1", "-c:a", "aac"),
    "mulaw.mov": (*INPUT, "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "pcm_mulaw", "-f", "mov"),
    "silent.mp4": (*INPUT, *H264_AAC, "-an"),
}
REMUXED = {
    "faststart.mp4": "+faststart",
    "fragmented.mp4": "+frag_keyframe+empty_moov",
    "base_is_moof.mp4": "+frag_keyframe+empty_moov+default_base_moof",
    "no_base.mp4": "+frag_keyframe+empty_moov+omit_tfhd_offset",
    "moov_with_samples.mp4": "+frag_keyframe",
    "moof_per_track.mp4": "+frag_keyframe+empty_moov+separate_moof",
    "moof_per_frame.mp4": "+frag_every_frame+empty_moov",
    "cmaf.mp4": "+cmaf+frag_keyframe",
    "sidx.mp4": "+frag_keyframe+empty_moov+delay_moov+global_sidx+default_base_moof",
}
PROGRESSIVE = (*MADE, "faststart.mp4")
FRAGMENTED = tuple(name for name in REMUXED if name not in PROGRESSIVE)


def ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *arguments], check=True, timeout=60)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("boxes")
    for name, arguments in MADE.items():
        ffmpeg(*arguments, f"file:{folder / name}")
    for name, flags in REMUXED.items():
        ffmpeg("-i", f"file:{folder / 'moov_last.mp4'}", *COPY, flags, f"file:{folder / name}")
    return {name: (folder / name).read_bytes() for name in (*MADE, *REMUXED)}


@contextmanager
def held(data: bytes) -> Iterator[int]:
    handle = os.memfd_create("boxes")
    try:
        os.write(handle, data)
        yield handle
    finally:
        os.close(handle)


def walked(data: bytes) -> BoxWalk:
    with held(data) as handle:
        return walk(handle)


def top_level(data: bytes) -> list[tuple[bytes, int]]:
    """Type and offset of each top-level box; ffmpeg writes only plain sizes into small files."""
    found, at = [], 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        found.append((kind, at))
        at += size
    return found


def cuts(data: bytes) -> list[int]:
    """Lengths to cut at: a hundred spread over the file, and those around every top-level box."""
    edges = (at + shift for _, at in top_level(data) for shift in range(-9, 18))
    spread = range(0, len(data), len(data) // 100)
    return sorted({length for length in (*edges, *spread, len(data) - 1) if 0 <= length < len(data)})


def replaced(data: bytes, table: bytes, offset: int, value: int) -> bytes:
    """`value` written as 32 bits, `offset` bytes after the type of the first box `table`."""
    at = data.index(table) + 4 + offset
    return data[:at] + struct.pack(">I", value) + data[at + 4 :]


def declared(data: bytes, table: bytes, offset: int) -> int:
    value: int = struct.unpack_from(">I", data, data.index(table) + 4 + offset)[0]
    return value


@pytest.mark.parametrize("name", [*MADE, *REMUXED])
def test_whole_file_is_clean(clips: Mapping[str, bytes], name: str) -> None:
    found = walked(clips[name])
    assert found.fault == ""
    assert found.size_bytes == len(clips[name])
    assert found.layout is (Layout.FRAGMENTED if name in FRAGMENTED else Layout.PROGRESSIVE)
    assert found.moov_first == (name in REMUXED)
    assert found.has_mfra == (name in FRAGMENTED)


@pytest.mark.parametrize("name", [*MADE, *REMUXED])
def test_tracks_are_those_of_ffprobe(clips: Mapping[str, bytes], name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(clips[name])
    entries = "stream=codec_tag_string,width,height,nb_read_packets"
    command = ["ffprobe", "-v", "error", "-count_packets", "-show_entries", entries, "-of", "json"]
    done = subprocess.run([*command, f"file:{tmp_path / name}"], check=True, capture_output=True, timeout=60)
    expected = [
        (stream["codec_tag_string"], stream.get("width", 0), stream.get("height", 0), int(stream["nb_read_packets"]))
        for stream in json.loads(done.stdout)["streams"]
    ]
    tracks = walked(clips[name]).tracks
    counts = [
        stream[3] if track.codec == "ulaw" else track.samples for stream, track in zip(expected, tracks, strict=True)
    ]
    found = [(track.codec, track.width, track.height, count) for track, count in zip(tracks, counts, strict=True)]
    assert found == expected
    assert [track.handler for track in tracks] == ["vide", "soun"][: len(tracks)]
    assert tracks[0].duration_s == pytest.approx(1.0, abs=0.05)


def test_samples_of_g711_are_bytes_not_packets(clips: Mapping[str, bytes]) -> None:
    audio = walked(clips["mulaw.mov"]).tracks[1]
    assert audio.codec == "ulaw"
    assert audio.samples / audio.timescale == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("name", PROGRESSIVE)
def test_progressive_file_cut_anywhere_is_truncated(clips: Mapping[str, bytes], name: str) -> None:
    data = clips[name]
    verdicts = {length: walked(data[:length]) for length in cuts(data)}
    assert [length for length, found in verdicts.items() if found.clean or not found.truncated] == []


@pytest.mark.parametrize("name", FRAGMENTED)
def test_fragmented_file_cut_inside_a_fragment_is_truncated(clips: Mapping[str, bytes], name: str) -> None:
    data = clips[name]
    ends = [at for (before, _), (_, at) in pairwise(top_level(data)) if before == b"mdat"]
    between = {at + zeros for at in ends for zeros in range(4) if not any(data[at : at + zeros])}
    verdicts = {length: walked(data[:length]) for length in cuts(data) if length not in between}
    assert [length for length, found in verdicts.items() if found.clean or not found.truncated] == []


@pytest.mark.parametrize("name", FRAGMENTED)
def test_fragmented_file_cut_between_fragments_is_clean_without_mfra(clips: Mapping[str, bytes], name: str) -> None:
    """The walk cannot tell this file from a whole one: only the missing `mfra`, or time, can.

    Nor when some of the next fragment's size has come, whose first bytes are zeros.
    """
    data = clips[name]
    between = [at for (before, _), (_, at) in pairwise(top_level(data)) if before == b"mdat"]
    assert len(between) > 2
    found = [walked(data[: at + zeros]) for at in between for zeros in (0, 2)]
    assert {(walk.fault, walk.has_mfra) for walk in found} == {("", False)}


@pytest.mark.parametrize("name", ["moov_last.mp4", "faststart.mp4", "hevc.mp4"])
@pytest.mark.parametrize("change", [-1_000_000, -40, 1, 1_000_000, 0x7F000000])
def test_corrupted_chunk_offset_is_a_fault(clips: Mapping[str, bytes], name: str, change: int) -> None:
    offset = declared(clips[name], b"stco", 8)
    assert not walked(replaced(clips[name], b"stco", 8, max(0, offset + change))).clean


@pytest.mark.parametrize("name", ["moov_last.mp4", "faststart.mp4", "hevc.mp4"])
@pytest.mark.parametrize("size", [1_000_000, 0xFFFFFFFF])
def test_sample_size_that_lies_is_a_fault(clips: Mapping[str, bytes], name: str, size: int) -> None:
    assert not walked(replaced(clips[name], b"stsz", 12, size)).clean


def test_sample_size_one_byte_too_long_is_a_fault(clips: Mapping[str, bytes]) -> None:
    data = clips["moov_last.mp4"]
    lie = replaced(data, b"stsz", 12, declared(data, b"stsz", 12) + 1)
    assert "share bytes" in walked(lie).fault


@pytest.mark.parametrize("table", [b"stsz", b"stts", b"stco", b"stsc"])
@pytest.mark.parametrize("change", [-1, 1])
def test_table_one_entry_off_is_a_fault(clips: Mapping[str, bytes], table: bytes, change: int) -> None:
    data = clips["moov_last.mp4"]
    offset = {b"stsz": 8, b"stts": 4, b"stco": 4, b"stsc": 4}[table]
    assert not walked(replaced(data, table, offset, declared(data, table, offset) + change)).clean


@pytest.mark.parametrize("first", ["moov_last.mp4", "faststart.mp4", "fragmented.mp4"])
@pytest.mark.parametrize("second", ["moov_last.mp4", "faststart.mp4", "fragmented.mp4"])
def test_two_files_joined_can_never_be_whole(clips: Mapping[str, bytes], first: str, second: str) -> None:
    found = walked(clips[first] + clips[second])
    assert "second file begins" in found.fault
    assert not found.truncated


def test_jpg_named_mp4_can_never_be_whole(tmp_path: Path) -> None:
    ffmpeg(*INPUT[:4], "-frames:v", "1", "-f", "mjpeg", f"file:{tmp_path / 'x.mp4'}")
    found = walked((tmp_path / "x.mp4").read_bytes())
    assert (found.clean, found.truncated, found.layout) == (False, False, Layout.NONE)


@pytest.mark.parametrize("name", ["moov_last.mp4", "fragmented.mp4"])
@pytest.mark.parametrize("tail", [b"\0\0\0\x08free", b"\0\0\0\0free", b"\0\0\0\x18uuid" + bytes(16)])
def test_harmless_box_at_the_end_is_clean(clips: Mapping[str, bytes], name: str, tail: bytes) -> None:
    assert walked(clips[name] + tail).fault == ""


@pytest.mark.parametrize("name", ["moov_last.mp4", "faststart.mp4", "fragmented.mp4", "no_base.mp4"])
@settings(max_examples=300, deadline=None)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 4095), st.sampled_from(["moov", "moof", "file"]), st.binary(min_size=1, max_size=8)),
        min_size=1,
        max_size=5,
    )
)
def test_walk_of_mutated_file_only_ever_returns(
    clips: Mapping[str, bytes], name: str, edits: list[tuple[int, str, bytes]]
) -> None:
    """Patches fall into the tables of the moov, into those of a moof, or anywhere."""
    data = bytearray(clips[name])
    for distance, where, patch in edits:
        start = max(0, data.find(where.encode())) if where != "file" else distance * len(data) // 4096
        at = min(start + (distance % 1024 if where != "file" else 0), len(data) - len(patch))
        data[at : at + len(patch)] = patch
    found = walked(bytes(data))
    assert found.clean == bool(found.tracks)


# ---- mutations that know the format

HOLDERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex", b"moof", b"traf", b"mfra", b"dinf"}
TABLES = {b"stts", b"stsc", b"stsz", b"stco"}
FEW = 24  # words of a table that are changed; all are alike after its head
EDGES = (0, 1, 2, 7, 8, 16, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF8, 0xFFFFFFFF)
Change = tuple[bool, int]  # whether it is added to what stands there, and the number
changes = st.one_of(
    st.tuples(st.just(False), st.sampled_from(EDGES) | st.integers(0, 0xFFFFFFFF)),
    st.tuples(st.just(True), st.sampled_from((-1000, -16, -8, -1, 1, 8, 16, 1000))),
)
edits_of_numbers = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), changes), min_size=1, max_size=4)


def numbers(data: bytes, begin: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Every 32-bit number the structure rests on: the box it stands in, which word of it (-2 its size), and where."""
    at = begin
    while at < (len(data) if end is None else end):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, -2, at
        if kind in HOLDERS:
            yield from numbers(data, at + 8, at + size)
        elif kind not in (b"mdat", b"free", b"udta"):
            yield from ((kind, word, at + 8 + 4 * word) for word in range(min(FEW, (size - 8) // 4)))
        at += size


def changed(data: bytes, places: list[tuple[bytes, int, int]], edits: list[tuple[float, Change]]) -> bytes:
    spoilt = bytearray(data)
    for share, (added, number) in edits:
        _, _, at = places[int(share * len(places))]
        (old,) = struct.unpack_from(">I", spoilt, at)
        struct.pack_into(">I", spoilt, at, (old * added + number) & 0xFFFFFFFF)
    return bytes(spoilt)


@pytest.mark.parametrize("name", ["moov_last.mp4", "faststart.mp4", "b_frames.mp4", *FRAGMENTED[:4]])
@settings(max_examples=200)
@given(edits=edits_of_numbers)
def test_walk_of_a_file_with_changed_numbers_only_ever_returns(
    clips: Mapping[str, bytes], name: str, edits: list[tuple[float, Change]]
) -> None:
    """Sizes of boxes at any depth, counts, offsets, flags of runs, numbers of fragments."""
    data = clips[name]
    found = walked(changed(data, list(numbers(data)), edits))
    assert found.clean == bool(found.tracks)
    assert all(track.samples <= len(data) for track in found.tracks)


def sample_places(data: bytes) -> list[tuple[int, int]]:
    """Where each sample of all tracks begins and ends, as the tables say it, the plain way."""
    found = []
    moov = damage.first(data, b"moov")
    for trak in (moov[at + 8 : end] for kind, at, end in damage.boxes(moov) if kind == b"trak"):
        stbl = damage.first(trak, b"mdia", b"minf", b"stbl")
        stsc, stsz, stco = (
            struct.unpack(f">{len(table) // 4}I", table)
            for table in (damage.first(stbl, kind) for kind in (b"stsc", b"stsz", b"stco"))
        )
        sizes = [stsz[1]] * stsz[2] if stsz[1] else list(stsz[3 : 3 + stsz[2]])
        firsts = dict(zip(stsc[2::3], stsc[3::3], strict=False))
        each = 0
        for number, place in enumerate(stco[2 : 2 + stco[1]], start=1):
            each, at = firsts.get(number, each), place
            for size in sizes[:each]:
                found.append((at, at + size))
                at += size
            del sizes[:each]
        assert not sizes
    return sorted(found)


@pytest.mark.parametrize("name", ["moov_last.mp4", "faststart.mp4", "b_frames.mp4"])
@settings(max_examples=300)
@given(edits=edits_of_numbers)
@example(edits=[(0.40625, (False, 0)), (0.234375, (False, 0))])  # a chunk of no bytes, at the beginning of the file
def test_clean_walk_means_that_each_sample_has_bytes_of_its_own(
    clips: Mapping[str, bytes], name: str, edits: list[tuple[float, Change]]
) -> None:
    whole = clips[name]
    spoilt = changed(whole, [place for place in numbers(whole) if place[0] in TABLES and place[1] >= 0], edits)
    if not walked(spoilt).clean:
        return
    places = [place for place in sample_places(spoilt) if place[0] < place[1]]  # one of no bytes stands nowhere
    (media,) = [(at + 8, end) for kind, at, end in damage.boxes(spoilt) if kind == b"mdat"]
    assert all(media[0] <= begin <= end <= media[1] for begin, end in places)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(places))
