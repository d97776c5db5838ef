"""What ffmpeg tells of two clips that are compared, and what is like enough."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archiverd.policy.likeness import Likeness, LikenessFeed

SAME = Likeness(30, (1.0, 1.0, 1.0), 0, 0.0)


@pytest.mark.parametrize(
    ("likeness", "enough"),
    [
        pytest.param(SAME, True, id="the same"),
        pytest.param(Likeness(1, (0.97, 0.97, 0.97), 24, 3.0), True, id="at every limit"),
        pytest.param(replace(SAME, ssim=(0.9699, 1.0, 1.0)), False, id="luma below it"),
        pytest.param(replace(SAME, ssim=(1.0, 0.9699, 1.0)), False, id="blue below it"),
        pytest.param(replace(SAME, ssim=(1.0, 1.0, 0.9699)), False, id="red below it"),
        pytest.param(replace(SAME, apart=25), False, id="one point too far apart"),
        pytest.param(replace(SAME, apart_mean=3.01), False, id="too far apart in the mean"),
        pytest.param(replace(SAME, frames=0), False, id="nothing was compared"),
        pytest.param(replace(SAME, ssim=(float("nan"), 1.0, 1.0)), False, id="no number of a likeness"),
        pytest.param(replace(SAME, apart=float("nan")), False, id="no number of a distance"),
    ],
)
def test_each_plane_and_each_point_counts(likeness: Likeness, enough: bool) -> None:
    assert likeness.is_enough is enough


def test_least_is_that_of_the_plane_least_like() -> None:
    assert Likeness(1, (0.99, 0.98, 0.5), 0, 0.0).least == 0.5


def told(
    number: int, *, ssim: tuple[float, float, float] = (1, 1, 1), most: tuple[int, int, int] = (0, 0, 0),
    mean: tuple[float, float, float] = (0, 0, 0),
) -> list[str]:  # fmt: skip
    """The lines of a frame, as ffmpeg 5.1 and 7.1 print them."""
    return [
        f"frame:{number}    pts:{number}       pts_time:0.0000{number}",
        *(f"lavfi.ssim.{plane}={value:f}" for plane, value in zip("YUV", ssim, strict=True)),
        "lavfi.ssim.All=0.1",
        "lavfi.ssim.dB=1.0",
        *(
            line
            for plane, highest, average in zip("YUV", most, mean, strict=True)
            for line in (
                f"lavfi.signalstats.{plane}MIN=0",
                f"lavfi.signalstats.{plane}HIGH=255",
                f"lavfi.signalstats.{plane}AVG={average:g}",
                f"lavfi.signalstats.{plane}MAX={highest}",
            )
        ),
        "lavfi.signalstats.SATMAX=180",
        "lavfi.signalstats.SATAVG=180",
        "lavfi.signalstats.HUEAVG=180",
    ]


def fed(*lines: str) -> LikenessFeed:
    feed = LikenessFeed()
    for line in lines:
        feed.feed(line)
    return feed


def test_worst_of_each_plane_is_kept_whichever_the_frame() -> None:
    found = fed(
        *told(0, ssim=(0.9, 1, 1), most=(1, 2, 3), mean=(0.25, 0.5, 0.125)),
        *told(1, ssim=(1, 0.8, 1), most=(1, 90, 3), mean=(1.5, 0, 0)),
        *told(2, ssim=(1, 1, -0.25)),
    ).likeness
    assert found == Likeness(3, (0.9, 0.8, -0.25), 90, 1.5)


@pytest.mark.parametrize("plane", range(3))
def test_every_plane_is_looked_at(plane: int) -> None:
    most, mean = [0, 0, 0], [0.0, 0.0, 0.0]
    most[plane], mean[plane] = 200, 9.0
    found = fed(*told(0, most=(most[0], most[1], most[2]), mean=(mean[0], mean[1], mean[2]))).likeness
    assert (found.apart, found.apart_mean) == (200, 9.0)


def test_lines_of_progress_are_passed_over() -> None:
    lines = ["frame=12", "out_time_us=7", "speed=2x", "progress=continue", "", "lavfi", "lavfi.other.Y=0.1"]
    assert fed(*lines).likeness == Likeness(0, (1.0, 1.0, 1.0), 0, 0.0)


@pytest.mark.parametrize("missing", ["lavfi.ssim.V=", "lavfi.signalstats.UMAX=", "lavfi.signalstats.YAVG=", "frame:"])
def test_frame_that_is_not_told_of_whole_does_not_count(missing: str) -> None:
    lines = [line for line in told(1) if not line.startswith(missing)]
    assert fed(*told(0), *lines).frames == 1


def test_value_that_is_no_number_does_not_count() -> None:
    assert fed(*(line.replace("ssim.Y=1.000000", "ssim.Y=nan") for line in told(0))).frames == 0
