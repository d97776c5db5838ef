"""Forty clips that differ in whatever cameras differ in, archived by one run, and looked at with ffprobe and ffmpeg.

Nothing of archiverd looks at the archives here. What is compared is what a player sees: decoded frames with their
times, decoded samples of sound, pictures.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import sqlite3
import stat
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.program import Entry, archiverd, once, sha256_of, standing
from tools import footage
from tools.footage import FORTY, Clip

LOG = "archiver.log"
STATE = ".archiverd"
EDGE_S = 0.002  # two muxers may round one time differently

each = pytest.mark.parametrize("clip", [pytest.param(clip, id=clip.name) for clip in FORTY])


def having(wanted: Callable[[Clip], bool]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("clip", [pytest.param(clip, id=clip.name) for clip in FORTY if wanted(clip)])


def is_small(clip: Clip) -> bool:
    """Whether a clip is encoded so well that no archive of it gets smaller."""
    return clip.name.endswith("-tiny")


# ---- the runs, made once


@dataclass(frozen=True)
class Forty:
    """The tree after both runs."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "camera"

    @functools.cached_property
    def told(self) -> dict[str, Any]:  # Any: JSON as `_build` wrote it
        told: dict[str, Any] = json.loads((self.folder / "told.json").read_text())
        return told

    def path(self, clip: Clip) -> Path:
        """Where a clip was uploaded, below the root."""
        (path,) = (Path(path) for path, name in self.told["clips"].items() if name == clip.name)
        return path

    def source(self, clip: Clip) -> Path:
        return self.root / ".deleted" / self.path(clip)

    def archive(self, clip: Clip) -> Path:
        return self.root / "archived" / self.path(clip)

    def outcome(self, clip: Clip) -> dict[str, Any]:  # Any: JSON as archiverd wrote it
        (outcome,) = (o for o in self.told["first"]["outcomes"] if o["path"] == str(self.path(clip)))
        found: dict[str, Any] = outcome
        return found


def _build(folder: Path) -> None:
    root = folder / "camera"
    footage.forty(root)
    clips = sorted(root.rglob("*.mp4"), key=lambda path: path.stem[-14:])
    files = [*clips, *root.rglob("*.jpg")]
    for number, path in enumerate(files):
        odd_ns = path.stat().st_mtime_ns // 10**9 * 10**9 + 123_456_789 + number
        os.utime(path, ns=(odd_ns, odd_ns))
    before = {str(path.relative_to(root)): (path.stat().st_mtime_ns, sha256_of(path)) for path in files}
    first = archiverd("run", root, "--no-confirm", "--json")
    stood, rows = _standing(root), _rows(root)
    second = archiverd("run", root, "--no-confirm", "--json")
    told = {
        "clips": {str(path.relative_to(root)): clip.name for path, clip in zip(clips, FORTY, strict=True)},
        "before": before,
        "first": first.json,
        "codes": [first.code, second.code],
        "second": second.json,
        "changed": _differences(stood, _standing(root)),
        "rows": [rows, _rows(root)],
    }
    (folder / "told.json").write_text(json.dumps(told))


def _standing(root: Path) -> dict[bytes, Entry]:
    return standing(root, but=(LOG,))


def _differences(before: dict[bytes, Entry], after: dict[bytes, Entry]) -> list[str]:
    # The state directory is written in while SQLite holds its journal there; what it holds is compared by rows.
    names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return sorted(os.fsdecode(name) for name in names - {STATE.encode()})


def _rows(root: Path) -> dict[str, list[str]]:
    connection = sqlite3.connect(f"file:{root / STATE / 'catalog.sqlite'}?mode=ro", uri=True)
    try:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: [repr(row) for row in connection.execute(f"SELECT * FROM {table}")] for table in tables}  # noqa: S608  (names out of the catalog itself)
    finally:
        connection.close()


@pytest.fixture(scope="session")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Forty:
    return Forty(once(tmp_path_factory, "forty", _build))


# ---- looking, independently of archiverd


@functools.cache
def probe(path: Path) -> dict[str, Any]:  # Any: JSON as ffprobe writes it
    shown = (
        "-show_format",
        "-show_streams",
        "-show_frames",
        "-count_frames",
        "-show_packets",
        "-show_data_hash",
        "md5",
    )
    command = ("ffprobe", "-v", "error", "-of", "json", *shown, "-f", "mov", f"file:{path}")
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def stream(path: Path, kind: str) -> dict[str, Any]:  # Any: JSON as ffprobe writes it
    (found,) = (s for s in probe(path)["streams"] if s["codec_type"] == kind)
    return dict(found)


def decoded(path: Path, kind: str) -> list[dict[str, Any]]:  # Any: as above
    return [
        entry for entry in probe(path)["packets_and_frames"] if entry["type"] == "frame" and entry["media_type"] == kind
    ]


def frame_times(path: Path) -> list[float]:
    """When each frame is shown, in seconds on the clip's own clock, ascending."""
    return sorted(float(frame["pts_time"]) for frame in decoded(path, "video"))


def frame_s(path: Path) -> float:
    """The shortest distance of two frames, in seconds."""
    return min(later - earlier for earlier, later in itertools.pairwise(frame_times(path)))


def sound_packets(path: Path) -> list[str]:
    entries = probe(path)["packets_and_frames"]
    return [e["data_hash"] for e in entries if e["type"] == "packet" and e["codec_type"] == "audio"]


def sound_s(path: Path) -> float:
    """How long the sound lasts: its decoded samples, in seconds."""
    rate = int(stream(path, "audio")["sample_rate"])
    return sum(int(frame["nb_samples"]) for frame in decoded(path, "audio")) / rate


def packet_s(path: Path) -> float:
    rate = int(stream(path, "audio")["sample_rate"])
    return max(int(frame["nb_samples"]) for frame in decoded(path, "audio")) / rate


def sound_offset_s(path: Path) -> float:
    """How long after the first frame the sound begins, in seconds."""
    return float(decoded(path, "audio")[0]["pts_time"]) - frame_times(path)[0]


def rotation(path: Path) -> int:
    data = stream(path, "video").get("side_data_list", [])
    return next((int(side["rotation"]) for side in data if "rotation" in side), 0) % 360


def likeness(one: Path, other: Path) -> float:
    """The SSIM of the brightness of all frames, at a size at which sensor noise is gone."""
    small = "scale=160:90:flags=area,format=gray,settb=1/25,setpts=N"
    graph = f"[0:v]{small}[a];[1:v]{small}[b];[a][b]ssim"
    inputs = ("-noautorotate", "-i", f"file:{one}", "-noautorotate", "-i", f"file:{other}")
    command = ("ffmpeg", "-hide_banner", "-nostdin", *inputs, "-lavfi", graph, "-f", "null", "-")
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = re.search(r"All:([0-9.]+)", done.stderr)
    assert found is not None, done.stderr
    return float(found[1])


def tones(path: Path) -> tuple[int, int]:
    """The darkest and the brightest spot of the first frame, as stored and not as its range says it is shown."""
    graph = "scale=32:18:flags=area:in_range=tv:out_range=tv,format=yuv420p"  # one range: none is converted
    picked = ("-frames:v", "1", "-vf", graph, "-f", "rawvideo", "-")
    command = ("ffmpeg", "-v", "error", "-nostdin", "-noautorotate", "-i", f"file:{path}", *picked)
    spots = subprocess.run(command, check=True, capture_output=True).stdout
    luma = spots[: 32 * 18]
    return min(luma), max(luma)


def top_boxes(path: Path) -> list[str]:
    data, at, kinds = path.read_bytes(), 0, []
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        kinds.append(kind.decode())
        at += size
    return kinds


# ---- the archives


def test_run_over_good_clips_exits_0(forty: Forty) -> None:
    assert forty.told["codes"][0] == 0


@having(lambda clip: not is_small(clip))
def test_archive_is_hevc_and_smaller(forty: Forty, clip: Clip) -> None:
    assert stream(forty.archive(clip), "video")["codec_name"] == "hevc"
    assert forty.archive(clip).stat().st_size < 0.95 * forty.source(clip).stat().st_size


@having(is_small)
def test_archive_that_would_not_be_smaller_is_the_original_bytes(forty: Forty, clip: Clip) -> None:
    assert forty.archive(clip).read_bytes() == forty.source(clip).read_bytes()


@having(is_small)
def test_why_tells_the_reason_of_original_bytes(forty: Forty, clip: Clip) -> None:
    told = archiverd("why", forty.archive(clip), "--directory", forty.root)
    assert re.search(r"the original bytes: a transcode would take \d+ % of the original's size", told.out)


@each
def test_archive_has_every_frame(forty: Forty, clip: Clip) -> None:
    counts = [int(stream(path, "video")["nb_read_frames"]) for path in (forty.source(clip), forty.archive(clip))]
    assert counts[0] == counts[1] > 0


@each
def test_archive_lasts_as_long_to_within_a_frame(forty: Forty, clip: Clip) -> None:
    before, after = frame_times(forty.source(clip)), frame_times(forty.archive(clip))
    assert abs((after[-1] - after[0]) - (before[-1] - before[0])) < frame_s(forty.source(clip))


@each
def test_every_frame_is_shown_when_it_was_to_within_a_frame(forty: Forty, clip: Clip) -> None:
    before, after = frame_times(forty.source(clip)), frame_times(forty.archive(clip))
    furthest = max(abs((a - after[0]) - (b - before[0])) for b, a in zip(before, after, strict=True))
    assert furthest < frame_s(forty.source(clip))


@each
def test_archive_plays_without_an_error(forty: Forty, clip: Clip) -> None:
    strictly = ("ffmpeg", "-nostdin", "-v", "error", "-xerror", "-err_detect", "crccheck+explode")
    as_timed = ("-fps_mode", "passthrough", "-enc_time_base", "1:90000")
    command = (*strictly, "-i", f"file:{forty.archive(clip)}", *as_timed, "-f", "null", "-")
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@each
def test_archive_looks_like_its_source(forty: Forty, clip: Clip) -> None:
    assert likeness(forty.source(clip), forty.archive(clip)) > 0.985


@each
def test_archive_is_as_dark_and_as_bright_as_its_source(forty: Forty, clip: Clip) -> None:
    before, after = tones(forty.source(clip)), tones(forty.archive(clip))
    assert max(abs(b - a) for b, a in zip(before, after, strict=True)) <= 4


@each
def test_archive_is_as_large_as_its_source(forty: Forty, clip: Clip) -> None:
    picture = stream(forty.archive(clip), "video")
    assert (picture["width"], picture["height"]) == (clip.width, clip.height)


@each
def test_pixel_format_is_kept(forty: Forty, clip: Clip) -> None:
    formats = [stream(path, "video")["pix_fmt"] for path in (forty.source(clip), forty.archive(clip))]
    before, after = (name.replace("yuvj", "yuv") for name in formats)
    assert after == before


@each
def test_creation_time_is_kept(forty: Forty, clip: Clip) -> None:
    assert probe(forty.archive(clip))["format"]["tags"]["creation_time"] == clip.created


@each
def test_mtime_is_kept_to_the_nanosecond(forty: Forty, clip: Clip) -> None:
    assert forty.archive(clip).stat().st_mtime_ns == forty.told["before"][str(forty.path(clip))][0]


@each
def test_rotation_is_kept(forty: Forty, clip: Clip) -> None:
    # ffprobe tells degrees counterclockwise.
    assert rotation(forty.archive(clip)) == rotation(forty.source(clip)) == -clip.rotation % 360


@each
def test_colour_range_is_kept(forty: Forty, clip: Clip) -> None:
    is_full = stream(forty.archive(clip), "video").get("color_range") == "pc"
    assert is_full == clip.full_range


# ---- sound


@having(lambda clip: clip.audio == "none")
def test_archive_of_a_silent_clip_has_no_sound(forty: Forty, clip: Clip) -> None:
    assert {s["codec_type"] for s in probe(forty.archive(clip))["streams"]} == {"video"}


@having(lambda clip: clip.audio == "aac")
def test_sound_that_mp4_holds_is_copied_packet_by_packet(forty: Forty, clip: Clip) -> None:
    assert sound_packets(forty.archive(clip)) == sound_packets(forty.source(clip)) != []


@having(lambda clip: clip.audio.startswith("pcm"))
def test_sound_that_mp4_cannot_hold_becomes_aac(forty: Forty, clip: Clip) -> None:
    assert stream(forty.archive(clip), "audio")["codec_name"] == "aac"


@having(lambda clip: clip.audio != "none")
def test_sound_lasts_as_long_to_within_a_packet(forty: Forty, clip: Clip) -> None:
    off = abs(sound_s(forty.archive(clip)) - sound_s(forty.source(clip)))
    assert off <= packet_s(forty.archive(clip)) + EDGE_S


@having(lambda clip: clip.audio != "none")
def test_sound_keeps_its_distance_to_the_picture(forty: Forty, clip: Clip) -> None:
    off = abs(sound_offset_s(forty.archive(clip)) - sound_offset_s(forty.source(clip)))
    assert off <= max(packet_s(forty.archive(clip)), frame_s(forty.source(clip))) + EDGE_S


# ---- the container


@having(lambda clip: not is_small(clip))
def test_archive_plays_where_hvc1_is_wanted(forty: Forty, clip: Clip) -> None:
    assert stream(forty.archive(clip), "video")["codec_tag_string"] == "hvc1"


@having(lambda clip: not is_small(clip))
def test_archive_begins_to_play_before_it_is_read_whole(forty: Forty, clip: Clip) -> None:
    kinds = top_boxes(forty.archive(clip))
    assert kinds.index("moov") < kinds.index("mdat")


@each
def test_archive_may_be_read_by_its_group_and_nobody_else(forty: Forty, clip: Clip) -> None:
    assert stat.S_IMODE(forty.archive(clip).stat().st_mode) == 0o640


def test_directories_of_archives_may_be_entered_by_their_group_and_nobody_else(forty: Forty) -> None:
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (forty.root / "archived").rglob("*") if path.is_dir()}
    assert modes == {0o750}


# ---- what was let go of


@each
def test_source_is_in_the_trash_as_it_was(forty: Forty, clip: Clip) -> None:
    path = forty.source(clip)
    assert [path.stat().st_mtime_ns, sha256_of(path)] == forty.told["before"][str(forty.path(clip))]


def test_snapshots_are_in_the_trash_as_they_were(forty: Forty) -> None:
    trash = forty.root / ".deleted"
    found = {str(path.relative_to(trash)): [path.stat().st_mtime_ns, sha256_of(path)] for path in trash.rglob("*.jpg")}
    assert found == {path: was for path, was in forty.told["before"].items() if path.endswith(".jpg")}
    assert len(found) == len(FORTY)


def test_nothing_is_left_where_it_was_uploaded(forty: Forty) -> None:
    left = [path for path in (forty.root / footage_year(forty)).rglob("*") if not path.is_dir()]
    assert left == []


def test_archive_tree_holds_one_file_for_each_clip_and_nothing_else(forty: Forty) -> None:
    archive = forty.root / "archived"
    found = {str(path.relative_to(archive)) for path in archive.rglob("*") if path.is_file()}
    assert found == {*forty.told["clips"], ".archiverd-root"}


def footage_year(forty: Forty) -> str:
    return Path(next(iter(forty.told["clips"]))).parts[0]


@each
def test_outcome_tells_the_sizes_before_and_after(forty: Forty, clip: Clip) -> None:
    outcome = forty.outcome(clip)
    sizes = (forty.source(clip).stat().st_size, forty.archive(clip).stat().st_size)
    assert (outcome["source_bytes"], outcome["archive_bytes"]) == sizes


# ---- again


def test_second_run_exits_0(forty: Forty) -> None:
    assert forty.told["codes"][1] == 0


def test_second_run_has_nothing_to_do(forty: Forty) -> None:
    second = forty.told["second"]
    assert (second["plan"]["items"], second["outcomes"]) == ([], [])


def test_second_run_changes_no_file(forty: Forty) -> None:
    assert forty.told["changed"] == []


def test_second_run_changes_no_row_of_the_catalog(forty: Forty) -> None:
    before, after = forty.told["rows"]
    assert before == after
    assert len(before["recording"]) == len(FORTY)
