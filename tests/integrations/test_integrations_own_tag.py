"""The tag in an archive's metadata, as ffmpeg writes it, and as others may."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiverd.media.own_tag import read_own_tag
from archiverd.policy.told import TAG, Told, tell
from tools import footage

CLIP = footage.Clip("own-tag", 64, 48, "5", 0.6, audio="aac")
TEXT = tell(Told(PurePosixPath("2026/06/30/REO_T\udcfcr_20260630081500.mp4"), "5" * 64, 1000, 7), "secret")


def read(path: Path) -> str:
    handle = os.open(path, os.O_RDONLY)
    try:
        return read_own_tag(handle)
    finally:
        os.close(handle)


def tagged(path: Path, *options: str, flags: str = "+faststart+use_metadata_tags") -> Path:
    copy = ("ffmpeg", "-v", "error", "-y", "-i", f"file:{footage.cached(CLIP)}", "-c", "copy", "-movflags", flags)
    subprocess.run((*copy, *options, "-f", "mp4", f"file:{path}"), check=True)
    return path


@pytest.mark.parametrize("flags", ["+faststart+use_metadata_tags", "use_metadata_tags"])
@pytest.mark.parametrize(
    "others", [(), ("-metadata", "title=x", "-metadata", "archiverd2=no", "-metadata", "archiver=no")]
)
def test_tag_is_read_as_it_was_written(tmp_path: Path, flags: str, others: tuple[str, ...]) -> None:
    assert read(tagged(tmp_path / "x.mp4", *others, "-metadata", f"{TAG}={TEXT}", flags=flags)) == TEXT


def test_long_tag_is_read(tmp_path: Path) -> None:
    deep = PurePosixPath(*["\udcff" * 250] * 16)
    text = tell(Told(deep, "5" * 64, 1, 1), "secret")
    assert len(text) > 24_000
    assert read(tagged(tmp_path / "x.mp4", "-metadata", f"{TAG}={text}")) == text


def test_clip_without_the_tag_tells_nothing(tmp_path: Path) -> None:
    assert read(footage.cached(CLIP)) == ""
    assert read(tagged(tmp_path / "x.mp4", "-metadata", "title=x")) == ""
    assert read(tagged(tmp_path / "x.mp4", "-metadata", f"comment={TEXT}", flags="+faststart")) == ""


@pytest.mark.parametrize("content", [b"", b"short", b"\0" * 5000, b"#EXTM3U\n" * 40, b"\0\0\0\x08moov" * 30])
def test_file_that_is_no_clip_tells_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    assert read(path) == ""


def patched(data: bytes, kind: bytes, at: int, words: bytes) -> bytes:
    """The file with bytes replaced, `at` bytes behind the type of the first box of this kind."""
    start = data.index(kind) + 4 + at
    return data[:start] + words + data[start + len(words) :]


@pytest.mark.parametrize(
    ("kind", "at", "words"),
    [
        (b"keys", 4, struct.pack(">I", 0)),  # no keys
        (b"keys", 4, struct.pack(">I", 2**32 - 1)),  # more keys than are there
        (b"keys", 8, struct.pack(">I", 0)),  # a key without length
        (b"keys", 8, struct.pack(">I", 2**31)),
        (b"keys", 12, b"mdtb"),
        (b"ilst", 8, b"free"),
        (b"data", 0, struct.pack(">I", 13)),  # a picture, not a text
    ],
)
def test_tables_that_lie_tell_nothing_or_the_truth(tmp_path: Path, kind: bytes, at: int, words: bytes) -> None:
    path = tagged(tmp_path / "x.mp4", "-map_metadata", "-1", "-fflags", "+bitexact", "-metadata", f"{TAG}={TEXT}")
    path.write_bytes(patched(path.read_bytes(), kind, at, words))
    assert read(path) in ("", TEXT)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tagged(tmp_path_factory.mktemp("tag") / "x.mp4", "-metadata", f"{TAG}={TEXT}").read_bytes()


@settings(max_examples=300)
@given(edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12))
def test_mutated_file_only_ever_gives_a_text(whole: bytes, edits: list[tuple[float, int]]) -> None:
    head = bytearray(whole[: whole.index(b"mdat") + 4])
    for place, value in edits:
        head[int(place * len(head))] = value
    handle = os.memfd_create("tag")
    try:
        os.write(handle, head)
        assert isinstance(read_own_tag(handle), str)
    finally:
        os.close(handle)


def test_offset_of_the_file_stays_where_it_is(tmp_path: Path) -> None:
    path = shutil.copyfile(footage.cached(CLIP), tmp_path / "x.mp4")
    handle = os.open(path, os.O_RDONLY)
    try:
        os.lseek(handle, 5, os.SEEK_SET)
        read_own_tag(handle)
        assert os.lseek(handle, 0, os.SEEK_CUR) == 5
    finally:
        os.close(handle)
