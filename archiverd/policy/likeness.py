"""How like two clips look, as ffmpeg's filters `ssim` and `signalstats` tell it by the frame, and what is like enough.

The figures are of small pictures, 80x45 of 8 bits: noise, which an encoder rightly drops, is gone there, and what moves
is not. The thresholds stand between what honest encoders did and what wrong outputs showed; docs/design/decisions.md
has both (49).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LEAST_SSIM = 0.97  # of each plane of each frame: less is another picture, or a very poor one
MOST_APART = 24  # of 255, of any one small pixel: more is something that is not there, or should not be
MOST_APART_MEAN = 3.0  # of 255, of a plane of a frame: more is another brightness, range or colour

# libavfilter: vf_ssim.c and vf_signalstats.c leave these with each frame, f_metadata.c prints them.
_FRAME = "frame:"
_VALUE = re.compile(r"lavfi\.(?:ssim\.([YUV])|signalstats\.[YUV](MAX|AVG))=(-?[0-9.]+)$")
_PLANES = "YUV"
_VALUES_OF_A_FRAME = 3 * len(_PLANES)


@dataclass(frozen=True, slots=True)
class Likeness:
    """The worst of all frames that were compared. Luma and both planes of colour count alike."""

    frames: int
    ssim: tuple[float, float, float]  # of each plane, 1.0 for the same
    apart: float  # of 255: the furthest that one small pixel is off, in any plane
    apart_mean: float  # of 255: the mean of a plane's pixels

    @property
    def least(self) -> float:
        """The SSIM of the plane that is least like."""
        return min(self.ssim)

    @property
    def is_enough(self) -> bool:
        """Whether each frame, by itself, looks like the source's: one green one is enough for a no."""
        return (
            self.frames > 0
            and all(value >= LEAST_SSIM for value in self.ssim)
            and self.apart <= MOST_APART
            and self.apart_mean <= MOST_APART_MEAN
        )

    def __str__(self) -> str:
        luma, blue, red = self.ssim
        return (
            f"SSIM of {luma:.3f}, in colour {blue:.3f} and {red:.3f}, at least in {self.frames} frames "
            f"({LEAST_SSIM:.3f} wanted), off by {self.apart:.0f} of 255 at a point ({MOST_APART} allowed) "
            f"and {self.apart_mean:.1f} in the mean ({MOST_APART_MEAN:.1f})"
        )


class LikenessFeed:
    """Takes the lines one by one, and holds the worst alone: a clip may have any number of frames."""

    def __init__(self) -> None:
        self._frames = 0
        self._values = 0
        self._ssim = dict.fromkeys(_PLANES, 1.0)
        self._apart = {"MAX": 0.0, "AVG": 0.0}

    def feed(self, line: str) -> None:
        """Take one line; what is not of a comparison is passed over."""
        if line.startswith(_FRAME):
            self._frames += 1
            return
        told = _VALUE.match(line)
        if told is None:
            return
        self._values += 1
        plane, measure, value = told[1], told[2], float(told[3])
        if plane:
            self._ssim[plane] = min(self._ssim[plane], value)
        else:
            self._apart[measure] = max(self._apart[measure], value)

    @property
    def frames(self) -> int:
        """How many frames were told of with all their values."""
        return min(self._frames, self._values // _VALUES_OF_A_FRAME)

    @property
    def likeness(self) -> Likeness:
        ssim = (self._ssim["Y"], self._ssim["U"], self._ssim["V"])
        return Likeness(self.frames, ssim, self._apart["MAX"], self._apart["AVG"])
