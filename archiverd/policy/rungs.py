"""The rungs of the ladder: the ways to encode, best first, and what runs on each of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never


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
    """How an encoder is told the quality. Not every device takes each; a probe finds the first that works.

    Intel's encoders come as two circuits: the full one, which newer chips lack for some codecs, and the low-power
    one, which lacks some controls. Quick Sync chooses between them; VA-API has to be told.
    """

    CRF = "crf"  # x264, x265
    ICQ = "icq"  # constant quality as the eye sees it
    ICQ_FULL_POWER = "icq, full power"
    ICQ_LOW_POWER = "icq, low power"
    QVBR = "qvbr"  # constant quality under a ceiling of bits
    QVBR_LOW_POWER = "qvbr, low power"
    CQP = "cqp"  # one quantizer for all
    CQP_LOW_POWER = "cqp, low power"
    VBR = "vbr"  # so many bits
    VBR_LOW_POWER = "vbr, low power"

    @property
    def low_power(self) -> bool:
        """Whether the low-power circuit is asked for by name."""
        return self.value.endswith("low power")


_QSV = (RateControl.ICQ, RateControl.ICQ_FULL_POWER, RateControl.QVBR, RateControl.CQP)
_VAAPI = (
    RateControl.ICQ, RateControl.ICQ_LOW_POWER, RateControl.QVBR, RateControl.QVBR_LOW_POWER,
    RateControl.CQP, RateControl.CQP_LOW_POWER, RateControl.VBR, RateControl.VBR_LOW_POWER,
)  # fmt: skip


def rate_controls(rung: Rung) -> tuple[RateControl, ...]:
    """The rate controls of a rung's encoders, in the order a probe tries them: what keeps quality comes first."""
    match rung:
        case Rung.QSV | Rung.QSV_ENCODE:
            return _QSV
        case Rung.VAAPI:
            return _VAAPI
        case Rung.SOFTWARE:
            return (RateControl.CRF,)
        case _:
            assert_never(rung)


@dataclass(frozen=True, slots=True)
class Engine:
    """A rung as it stands on this machine: on which render node, and how its encoder is told the quality."""

    rung: Rung
    rate_control: RateControl
    device: str = ""  # the render node; empty in software
    driver: str = ""  # the VA driver to name; empty leaves the choice to libva


SOFTWARE = Engine(Rung.SOFTWARE, RateControl.CRF)
