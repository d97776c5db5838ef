"""The clips a rung is probed with: shipped in the package, and what their kinds say they are."""

from __future__ import annotations

import json
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from archiverd.policy.rungs import Kind
from tests.program import CHECKOUT
from tools.probe_clips import CLIPS

STREAMS = {
    Kind.H264: ("h264", "yuvj420p", "pc"),
    Kind.HEVC: ("hevc", "yuv420p", "tv"),
    Kind.HEVC_10: ("hevc", "yuv420p10le", "tv"),
}


def streams(path: Path) -> list[dict[str, Any]]:
    command = ("ffprobe", "-v", "error", "-show_streams", "-count_frames", "-of", "json", path)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)["streams"]
    return found


@pytest.mark.parametrize("kind", Kind)
def test_clip_is_what_its_kind_says(kind: Kind) -> None:
    with resources.as_file(resources.files("archiverd.media").joinpath("clips", f"{kind.name.lower()}.mp4")) as path:
        video, sound = streams(path)
        assert (video["codec_name"], video["pix_fmt"], video["color_range"]) == STREAMS[kind]
        assert (video["width"], video["height"], video["nb_read_frames"]) == (640, 360, "10")
        assert sound["codec_name"] == "aac"
        assert path.stat().st_size < 40_000


def test_every_kind_has_its_clip_and_no_other_is_shipped() -> None:
    shipped = {path.name for path in (CHECKOUT / "archiverd/media/clips").iterdir()}
    assert shipped == {f"{kind.name.lower()}.mp4" for kind in CLIPS} == {f"{kind.name.lower()}.mp4" for kind in Kind}
