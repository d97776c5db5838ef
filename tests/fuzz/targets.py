"""What is fuzzed, and what must hold of every answer, whatever the bytes are.

A target takes bytes and returns; an exception that leaves it is a finding. It asks more than that nothing is raised:
an answer that contradicts itself, or the file, is a finding too. `python -m tests.fuzz` looks for such bytes, guided by
the coverage of archiverd; `tests/units/test_units_fuzz.py` tries the corpus and its neighbours.
"""

from __future__ import annotations

import math
import os
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from archiverd.config import Loaded, load, show
from archiverd.errors import ConfigError
from archiverd.media.boxes import BoxWalk, Layout, walk
from archiverd.media.own_tag import read_own_tag
from archiverd.media.probe import Listing
from archiverd.media.source import declared_frames
from archiverd.policy.admission import Admitted, Look, Patience, admit
from archiverd.policy.clip_info import ClipInfo, Selection, select
from archiverd.policy.model import ClipName
from archiverd.policy.name_patterns import CANONICAL, compile_names
from archiverd.policy.naming import (
    FileKind,
    NotAClip,
    archive_path,
    archived_snapshot_name,
    doubts,
    keep_name,
    kind_of,
    numbered,
    parse_clip_name,
    printable,
)
from archiverd.policy.told import parse_told
from archiverd.policy.verdict import Evidence, Ruling, verdict
from tests.fuzz.mp4 import contradiction, open_ended

Target = Callable[[bytes], None]

MOST_BYTES = 1 << 20  # of an input
MOST_MEMORY = 64 << 20  # bytes that one may take beside what the program has
LONGEST_S = 1.0  # of the processor's time

CORPUS = Path(__file__).parent / "corpus"

_PATIENCE = Patience(settle_s=60, quarantine_after_s=600)
_QUIET_FOR_LONG = Look(quiet_s=9999, being_written=False, fault="", has_video=True, open_ended=False)
_ALL_MAKES = compile_names(("reolink", "hikvision", "dahua"))
_NAME_BYTES = 255
_STAND_IN = b"_"  # for what no name holds: NUL
_NO_NAMES = frozenset({".", ".."})


@contextmanager
def held(data: bytes) -> Iterator[int]:
    """An open file of these bytes that has no name."""
    handle = os.memfd_create("fuzz")
    try:
        os.write(handle, data)
        yield handle
    finally:
        os.close(handle)


def boxes(data: bytes) -> None:
    """The box walk, the tag, and whether such a file is admitted."""
    with held(data) as handle:
        offset = os.lseek(handle, 0, os.SEEK_CUR)
        with _quick("the walk"):
            found = walk(handle)
        with _quick("reading the tag"):
            text = read_own_tag(handle)
        assert walk(handle) == found, "another walk finds something else"
        assert os.lseek(handle, 0, os.SEEK_CUR) == offset
    _holds_together(found, len(data))
    text.encode("utf-8")
    assert parse_told(text, "a secret nobody knows") is None
    look = replace(
        _QUIET_FOR_LONG,
        fault=found.fault,
        has_video=any(track.handler == "vide" for track in found.tracks),
        open_ended=found.layout is Layout.FRAGMENTED and not found.has_mfra,
    )
    assert isinstance(admit(look, _PATIENCE), Admitted) == (found.clean and look.has_video)
    if found.clean:
        wrong = contradiction(data, found)
        assert not wrong, wrong
        _may_be_cut(data)


@contextmanager
def _quick(what: str) -> Iterator[None]:
    """By the processor's time: the machine may have more to do than this."""
    began = time.thread_time()
    yield
    took_s = time.thread_time() - began
    assert took_s <= LONGEST_S, f"{what} took {took_s:.1f} s"


def _holds_together(found: BoxWalk, size: int) -> None:
    assert found.size_bytes == size
    assert "shorter than it was" not in found.fault, "it reads beyond the end of the file"
    found.fault.encode("utf-8")
    if not found.clean:
        assert found.tracks == ()
        return
    assert not found.truncated
    assert found.tracks
    assert found.layout is not Layout.NONE
    assert sum(track.samples for track in found.tracks) > 0
    assert declared_frames(found) >= 0
    assert all(math.isfinite(track.duration_s) and track.duration_s >= 0 for track in found.tracks)
    assert len({track.id for track in found.tracks}) == len(found.tracks)


def _may_be_cut(data: bytes) -> None:
    """What is left of a clean file that is cut is one that more bytes could mend, for they did.

    Left aside: a last box without a size that is no `mdat`. No writer makes a `moov` like that.
    """
    if open_ended(data) not in (b"", b"mdat"):
        return
    for length in {len(data) - 1, zlib.crc32(data) % len(data)}:
        with held(data[:length]) as handle:
            found = walk(handle)
        assert found.clean or found.truncated, f"of {length} bytes it says {found.fault}, which no more bytes can mend"


def probe(data: bytes) -> None:
    """What ffprobe lists of a clip, what an archive keeps of it, and the verdict on an output that lists the same."""
    listing = Listing()
    for line in data.decode("utf-8", "replace").split("\n"):
        assert listing.feed(line)
    info = listing.info()
    assert list(info.frame_times_s) == sorted(info.frame_times_s)
    for stream in info.streams:
        assert math.isfinite(stream.duration_s), stream
        assert stream.bits >= 0
    assert info.frame_interval_s >= 0
    if info.video is None:
        return
    selection = select(info)
    kept = {selection.video, *selection.copied_audio, *selection.encoded_audio, *selection.subtitles}
    assert kept <= {stream.index for stream in info.streams}
    _is_judged(info, selection)


def _is_judged(info: ClipInfo, selection: Selection) -> None:
    """An output with other frames, or of which nothing decodes, is never the archive."""
    assert info.video is not None
    frames = len(info.frame_times_s)
    same = Evidence(
        source=info, selection=selection, declared_frames=frames, source_frames=frames, source_size=1000, output=info,
        output_fault="", output_frames=frames, output_error="", output_size=500, height=info.video.height,
    )  # fmt: skip
    for worse in (
        replace(same, output_fault="cut"),
        replace(same, output_error="it does not decode"),
        replace(same, output_frames=frames + 1),
        replace(same, source_frames=frames + 1),
        replace(same, output=replace(info, frame_times_s=info.frame_times_s[1:])),
    ):
        ruled = verdict(worse)
        assert ruled.ruling is not Ruling.ARCHIVE or not frames, ruled
        assert ruled.reason


def names(data: bytes) -> None:
    """A path as an upload may have it: what it says, and where its archive would go."""
    path = _path(data)
    if path is None:
        return
    said = _ALL_MAKES.parse(path)
    kind = _ALL_MAKES.kind(path)
    assert (kind in (FileKind.CLIP, FileKind.SNAPSHOT)) == isinstance(said, ClipName)
    folder = _ALL_MAKES.folder(path.parts[:-1])
    if folder is not None:
        assert folder.parse(path.name) == said, "down the tree and by the whole path it says two things"
    for misfit in _ALL_MAKES.misfits(path):
        assert 0 <= misfit.component < max(len(path.parts), misfit.component + 1)
    assert printable(path).isprintable()
    kind_of(path.name)
    parse_clip_name(path.name)
    if isinstance(said, NotAClip):
        assert said.reason
        return
    assert said.copy >= 1
    mtime = zlib.crc32(data)
    doubts(said, (mtime - 2**31) * 10**10, 1_785_000_000.0)
    _has_a_place(said, path.name)


def _has_a_place(name: ClipName, filename: str) -> None:
    """An archive lies where its name is read again, and says what the source's says, unless it had to be shortened."""
    for place in (archive_path(name, filename), numbered(archive_path(name, filename), 2)):
        assert len(os.fsencode(place.name)) <= _NAME_BYTES
        again = CANONICAL.parse(place)
        assert isinstance(again, ClipName), f"{place} is not read again: {again}"
        assert again.taken_at == name.taken_at, place
    placed = archive_path(name, filename)
    again = CANONICAL.parse(placed)
    if len(os.fsencode(placed.name)) < _NAME_BYTES - 4:
        assert again == name, f"{placed} says {again}, its source {name}"
    snapshot = parse_clip_name(archived_snapshot_name(name, filename))
    assert isinstance(snapshot, ClipName)
    assert kind_of(keep_name(placed.name)) is FileKind.KEEP


def _path(data: bytes) -> PurePosixPath | None:
    """The bytes as a path that a tree may hold; None where they are none."""
    parts = os.fsdecode(data.replace(b"\0", _STAND_IN)).split("/")
    wrong = any(not part or part in _NO_NAMES or len(os.fsencode(part)) > _NAME_BYTES for part in parts)
    return None if wrong else PurePosixPath(*parts)


def config(data: bytes) -> None:
    """A configuration file: it is refused in words, or what it says is written down again as the same."""
    with held(data) as handle:
        loaded = _loaded(handle)
    if isinstance(loaded, ConfigError):
        assert loaded.problems
        str(loaded).encode("utf-8")
        return
    lines = "\n".join(f"{key} = {value}" for key, value, _ in show(loaded))
    with held(lines.encode("utf-8")) as handle:
        again = load(Path(f"/proc/self/fd/{handle}"), {})
    assert again.config == loaded.config, f"shown as {lines}"


def _loaded(handle: int) -> Loaded | ConfigError:
    try:
        return load(Path(f"/proc/self/fd/{handle}"), {})
    except ConfigError as error:
        return error


TARGETS: dict[str, Target] = {"boxes": boxes, "probe": probe, "names": names, "config": config}
