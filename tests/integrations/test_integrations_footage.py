"""The clips the other tests stand on are what they say they are."""

from __future__ import annotations

import functools
import itertools
import json
import os
import statistics
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tools import footage
from tools.footage import FORTY, Clip

NOW = datetime(2025, 5, 6, 12, 0, 0)
SMALL = Clip("small", 160, 120, "10", 0.5)


def each(clips: Iterable[Clip]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("clip", [pytest.param(clip, id=clip.name) for clip in clips])


def having(wanted: Callable[[Clip], bool]) -> pytest.MarkDecorator:
    return each(clip for clip in FORTY if wanted(clip))


@functools.cache
def probe(clip: Clip) -> dict[str, Any]:  # Any: JSON as ffprobe writes it
    shown = ("-show_format", "-show_streams", "-show_frames")
    path = footage.cached(clip)
    command = ["ffprobe", "-v", "error", "-of", "json", *shown, "-f", "mov", f"file:{path}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def video(clip: Clip) -> dict[str, Any]:  # Any: JSON as ffprobe writes it
    stream: dict[str, Any] = probe(clip)["streams"][0]
    return stream


def frame_times(clip: Clip) -> list[float]:
    return [float(frame["pts_time"]) for frame in probe(clip)["frames"] if frame["media_type"] == "video"]


def steps(clip: Clip) -> list[float]:
    times = frame_times(clip)
    return [after - before for before, after in itertools.pairwise(times)]


def box_names(path: Path) -> list[str]:
    data, at, names = path.read_bytes(), 0, []
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        names.append(name.decode())
        at += size
    assert at == len(data)
    return names


def test_forty_are_forty() -> None:
    assert len({clip.name for clip in FORTY}) == len(FORTY) == 40


def test_forty_have_every_codec_with_every_audio_in_every_layout() -> None:
    assert len({(clip.codec, clip.audio, clip.layout) for clip in FORTY}) == 2 * 4 * 3


@pytest.mark.parametrize(
    ("wanted", "at_least"),
    [
        pytest.param(lambda clip: clip.vfr, 4, id="vfr"),
        pytest.param(lambda clip: clip.full_range, 2, id="full range"),
        pytest.param(lambda clip: clip.width % 2 == 1, 2, id="odd size"),
        pytest.param(lambda clip: clip.width % 8 and clip.height % 8, 4, id="no multiple of 8"),
        pytest.param(lambda clip: clip.width == 3840, 1, id="4K"),
        pytest.param(lambda clip: clip.bframes, 2, id="B-frames"),
        pytest.param(lambda clip: "10le" in clip.pix_fmt, 1, id="10 bit"),
        pytest.param(lambda clip: clip.fps == "12", 2, id="12 fps"),
        pytest.param(lambda clip: clip.fps == "30000/1001", 2, id="29.97 fps"),
    ],
)
def test_forty_have_enough_of(wanted: Callable[[Clip], bool], at_least: int) -> None:
    assert sum(map(bool, map(wanted, FORTY))) >= at_least


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_forty_have_every_rotation(rotation: int) -> None:
    assert rotation in {clip.rotation for clip in FORTY}


def test_clips_differ_in_content() -> None:
    assert Counter(footage.cached(clip).read_bytes() for clip in FORTY).most_common(1)[0][1] == 1


@each(FORTY)
def test_picture_has_the_codec_and_size_asked_for(clip: Clip) -> None:
    stream = video(clip)
    assert (stream["codec_name"], stream["width"], stream["height"]) == (clip.codec, clip.width, clip.height)


@each(FORTY)
def test_audio_is_the_one_asked_for(clip: Clip) -> None:
    assert [stream["codec_name"] for stream in probe(clip)["streams"][1:]] == (
        [] if clip.audio == "none" else [clip.audio]
    )


@each(FORTY)
def test_creation_time_is_set(clip: Clip) -> None:
    assert probe(clip)["format"]["tags"]["creation_time"] == clip.created


@each(FORTY)
def test_boxes_are_in_the_order_asked_for(clip: Clip) -> None:
    names = [name for name in box_names(footage.cached(clip)) if name not in ("ftyp", "free", "wide")]
    match clip.layout:
        case "moov_last":
            assert names == ["mdat", "moov"]
        case "moov_first":
            assert names == ["moov", "mdat"]
        case "fragmented":
            assert names == ["moov", *["moof", "mdat"] * names.count("moof"), "mfra"]


@having(lambda clip: clip.layout == "fragmented")
def test_fragmented_clip_has_more_than_one_fragment(clip: Clip) -> None:
    assert box_names(footage.cached(clip)).count("moof") >= 2


@having(lambda clip: not clip.vfr)
def test_frames_come_at_the_rate_asked_for(clip: Clip) -> None:
    beat = float(1 / Fraction(clip.fps))
    assert steps(clip) == pytest.approx([beat] * len(steps(clip)), abs=0.001)


@having(lambda clip: not clip.vfr)
def test_frames_are_as_many_as_asked_for(clip: Clip) -> None:
    assert len(frame_times(clip)) == pytest.approx(clip.seconds * Fraction(clip.fps), abs=1)


@having(lambda clip: clip.vfr)
def test_frames_come_at_varying_distances(clip: Clip) -> None:
    beat = float(1 / Fraction(clip.fps))
    assert min(steps(clip)) < 0.9 * beat < 1.5 * beat < max(steps(clip))


@having(lambda clip: clip.vfr)
def test_frames_at_varying_distances_stay_in_order(clip: Clip) -> None:
    assert min(steps(clip)) > 0


@each(FORTY)
def test_first_frame_stands_at_zero(clip: Clip) -> None:
    assert frame_times(clip)[0] == 0


@each(FORTY)
def test_display_matrix_turns_as_asked_for(clip: Clip) -> None:
    matrices = [data["rotation"] for data in video(clip).get("side_data_list", ()) if "rotation" in data]
    counter_clockwise = sum(matrices)  # none when upright
    assert -counter_clockwise % 360 == clip.rotation


@each(FORTY)
def test_colour_range_is_the_one_asked_for(clip: Clip) -> None:
    assert (video(clip).get("color_range") == "pc") is clip.full_range


@each(FORTY)
def test_pixel_format_is_the_one_asked_for(clip: Clip) -> None:
    assert video(clip)["pix_fmt"] == ("yuvj420p" if clip.full_range else clip.pix_fmt)


@each(FORTY)
def test_b_frames_are_there_when_asked_for(clip: Clip) -> None:
    kinds = {frame["pict_type"] for frame in probe(clip)["frames"] if frame["media_type"] == "video"}
    assert ("B" in kinds) is bool(clip.bframes)


def luma(clip: Clip) -> list[bytes]:
    """The luma of every frame."""
    shape = ("-pix_fmt", "gray", "-f", "rawvideo", "-")
    command = ("ffmpeg", "-v", "error", "-i", f"file:{footage.cached(clip)}", *shape)
    data = subprocess.run(command, check=True, capture_output=True).stdout
    size = clip.width * clip.height
    return [data[at : at + size] for at in range(0, len(data), size)]


def changed(clip: Clip) -> float:
    """The share of pixels that differ much from the first frame in the last."""
    first, *_, last = luma(clip)
    return sum(abs(one - other) > 24 for one, other in zip(first, last, strict=True)) / len(first)


def test_more_objects_move_more_of_the_picture() -> None:
    none, one, four = (changed(replace(SMALL, name="objects", objects=number)) for number in (0, 1, 4))
    assert none == 0 < one < four / 2


def test_object_is_where_its_box_says() -> None:
    clip = replace(SMALL, name="objects", noise=0)
    width, height, x, y = footage.object_box(clip, 0, "0")
    at_x, at_y = 0, clip.height // 2
    assert (x, y) == (f"mod(0*{clip.width}/4+0*{clip.width}/3,{clip.width - width})", "120/2+120/4*sin(2*0+0)")
    with_it, without = (luma(replace(clip, objects=number))[0] for number in (1, 0))
    inside = {
        (n % clip.width < at_x + width) and at_y <= n // clip.width < at_y + height
        for n, (one, other) in enumerate(zip(with_it, without, strict=True))
        if abs(one - other) > 24
    }
    assert inside == {True}


def test_night_is_dark_and_as_noisy_as_the_day() -> None:
    day = replace(SMALL, name="night", objects=0, noise=20, crf=4)
    by_day, by_night = (luma(replace(day, night=night)) for night in (False, True))
    assert max(map(statistics.fmean, by_night)) < 0.7 * min(map(statistics.fmean, by_day))
    assert noise(by_night) > 0.8 * noise(by_day)


def noise(frames: list[bytes]) -> float:
    return statistics.fmean(abs(one - other) for one, other in zip(frames[0], frames[1], strict=True))


def test_rate_is_held_by_its_buffer() -> None:
    clip = replace(SMALL, seconds=4.0, noise=80, preset="veryfast", bitrate="100k")
    free, held = (footage.cached(each).stat().st_size * 8 / 4000 for each in (clip, replace(clip, buffer="100k")))
    assert held < 130 < free


def test_film_shows_the_pictures_of_its_file_from_where_it_was_told() -> None:
    original = replace(SMALL, name="film", seconds=1.0)
    film = replace(SMALL, film=str(footage.cached(original)), film_from_s=0.5, noise=0)
    assert noise([luma(film)[0], luma(original)[5]]) < 3 < noise([luma(film)[0], luma(original)[0]])


def test_cached_is_made_once_when_many_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counting_ffmpeg(tmp_path, monkeypatch)
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: footage.cached(SMALL, tmp_path / "cache"), range(4)))
    assert (len(paths), len(calls.read_text().splitlines())) == (1, 1)


def test_cached_clip_is_made_anew_when_it_changes(tmp_path: Path) -> None:
    other = Clip("small", 160, 120, "10", 0.5, rotation=90)
    assert footage.cached(SMALL, tmp_path) != footage.cached(other, tmp_path)


def test_default_cache_dir_is_temporary_when_home_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert footage.default_cache_dir().name == f"archiverd-footage-{os.getuid()}"


def test_make_says_what_ffmpeg_said(tmp_path: Path) -> None:
    with pytest.raises(footage.FootageError, match="not divisible by 2"):
        footage.make(Clip("odd", 161, 121), tmp_path / "odd.mp4")


def test_tree_is_named_as_cameras_name(tmp_path: Path) -> None:
    start = datetime(2025, 5, 5, 23, 58, 0)
    paths = footage.tree(tmp_path, (SMALL,) * 3, start=start, every=timedelta(minutes=1), snapshots=False)
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "2025/05/05/REO_front_20250505235800.mp4",
        "2025/05/05/REO_Garden Gate_01_20250505235900.mp4",
        "2025/05/06/REO_front_20250506000000.mp4",
    ]


def test_tree_dates_a_clip_by_its_end(tmp_path: Path) -> None:
    (path,) = footage.tree(tmp_path, (SMALL,), start=NOW)
    assert path.stat().st_mtime == NOW.timestamp() + SMALL.seconds


def test_tree_has_late_snapshots_too(tmp_path: Path) -> None:
    paths = footage.tree(tmp_path, (SMALL,) * 3, start=NOW)
    assert [path.with_suffix(".jpg").exists() for path in paths] == [True, True, False]


def test_sample_has_what_a_first_run_should_meet(tmp_path: Path) -> None:
    footage.sample(tmp_path, now=NOW)
    whole = Counter(playable(path) for path in tmp_path.rglob("*.mp4"))
    assert whole == {True: 7, False: 2}  # what is cut off behind its index looks whole


def test_sample_leaves_nothing_else_in_the_directory(tmp_path: Path) -> None:
    footage.sample(tmp_path, now=NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["2025"]


def test_sample_leaves_footage_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.mp4").touch()
    footage.sample(tmp_path, now=NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.mp4"]


def test_sample_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin/ffmpeg", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(footage.FootageError):
        footage.sample(tmp_path / "camera", now=NOW, cache_dir=tmp_path / "cache")
    assert list((tmp_path / "camera").iterdir()) == []


def test_sample_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    (tmp_path / ".footage-x/2025").mkdir(parents=True)
    (tmp_path / ".footage-x/2025/half.mp4").touch()
    footage.sample(tmp_path, now=NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["2025"]


def test_command_line_says_that_footage_is_there(tmp_path: Path) -> None:
    (tmp_path / "mine.mp4").touch()
    command = [sys.executable, "-m", "tools.footage", "sample", str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "has footage already" in done.stdout


def playable(path: Path) -> bool:
    command = ["ffprobe", "-v", "quiet", "-f", "mov", "-show_streams", f"file:{path}"]
    return subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0


def program(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def counting_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ffmpeg on PATH that writes a line for every clip it makes, slowly enough that others come to ask."""
    calls = tmp_path / "calls"
    lines = (
        '[ "$1" = -version ] && exec echo fake',
        f'sleep 0.3; echo made >>"{calls}"',
        'for output; do :; done; echo clip >"${output#file:}"',
    )
    program(tmp_path / "bin/ffmpeg", "\n".join(lines))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return calls
