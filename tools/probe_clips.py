"""Makes the clips that rungs are probed with, at the place where the package has them.

    python -m tools.probe_clips

They are shipped as they are, so that every machine is probed with the same bytes, also one whose ffmpeg could not make
them. Invented footage: see tools/footage.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

from archiverd.policy.rungs import Kind
from tools import footage
from tools.footage import Clip

PLACE = Path(__file__).resolve().parents[1] / "archiverd/media/clips"

# Of a size that every encoder takes, whose height is no whole number of blocks, as 1080 is none. Full range in one of
# them, as Reolink's cameras have it; sound, because it is copied beside what a device writes.
CLIPS = {
    Kind.H264: Clip(
        "probe-h264", 640, 360, "10", 1.0, audio="aac", full_range=True, pix_fmt="yuvj420p", bframes=0, crf=40,
        preset="slow", noise=0, layout="moov_first",
    ),
    Kind.HEVC: Clip(
        "probe-hevc", 640, 360, "10", 1.0, codec="hevc", audio="aac", crf=40, preset="slow", noise=0,
        layout="moov_first",
    ),
    Kind.HEVC_10: Clip(
        "probe-hevc-10", 640, 360, "10", 1.0, codec="hevc", audio="aac", pix_fmt="yuv420p10le", crf=40, preset="slow",
        noise=0, layout="moov_first",
    ),
}  # fmt: skip


def main() -> int:
    PLACE.mkdir(exist_ok=True)
    for kind, clip in CLIPS.items():
        path = PLACE / f"{kind.name.lower()}.mp4"
        footage.make(clip, path)
        print(f"{path}: {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
