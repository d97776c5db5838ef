"""The rungs of the ladder: the ways to encode, best first, and what runs on each of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Rung(StrEnum):
    """The ways to encode, best first."""

    QSV = "qsv"  # Intel Quick Sync decodes and encodes
    QSV_ENCODE = "qsv-encode"  # software decodes, Quick Sync encodes
    VAAPI = "vaapi"  # software decodes, VA-API encodes
    SOFTWARE = "software"  # x265 or x264

    @property
    def on_device(self) -> bool:
        """Whether it needs a render node."""
        return self is not Rung.SOFTWARE

    @property
    def decodes_strictly(self) -> bool:
        """Whether its transcode shows that the source decodes: a decoder in hardware passes over errors."""
        return self is not Rung.QSV


class Kind(StrEnum):
    """The kinds of footage that a rung is probed with."""

    H264 = "h264"
    HEVC = "hevc"
    HEVC_10 = "hevc 10-bit"


class RateControl(StrEnum):
    """How an encoder is told the quality. Not every device takes each; a probe finds the first that works."""

    CRF = "crf"  # x264, x265


@dataclass(frozen=True, slots=True)
class Engine:
    """A rung as it stands on this machine: on which render node, and how its encoder is told the quality."""

    rung: Rung
    rate_control: RateControl
    device: str = ""  # the render node; empty in software
    driver: str = ""  # the VA driver to name; empty leaves the choice to libva
    generation: int = 5  # ffmpeg's major version


SOFTWARE = Engine(Rung.SOFTWARE, RateControl.CRF)
