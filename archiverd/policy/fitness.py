"""Whether a rung can take a clip at all, and which of its probes tells how it does.

What no device takes is sent past it without a try: a try that fails says nothing of the device, and would count
against it. Sizes: Intel's media driver (media_libva_caps.h) decodes and encodes H.264 up to 4096 pixels either way and
HEVC up to 8192, and encodes HEVC in its low-power circuit from 128 on; those of AMD's (radeonsi) are near. A device
that takes less than these fails at the clip, and the clip falls by itself.
"""

from __future__ import annotations

from archiverd.policy.clip_info import ClipInfo, Stream
from archiverd.policy.encoding import EncodeSettings, scaled_to
from archiverd.policy.rungs import Kind, Rung
from archiverd.policy.video_options import EIGHT_BITS, QSV_DECODERS, TEN_BITS

_SMALLEST = 128  # pixels, either way
_LARGEST = {"h264": 4096, "hevc": 8192}
_NAMES = {"h264": "H.264", "hevc": "HEVC"}


def kind_for(rung: Rung, video: Stream) -> Kind | None:
    """The kind of footage whose probe answers for this clip; None where none does.

    Where software decodes, only the depth of the picture matters and not its codec: 8 bits count as H.264, more as
    10-bit HEVC. Software encodes whatever it decodes.
    """
    deep = video.pix_fmt in TEN_BITS
    if rung is not Rung.SOFTWARE and not deep and video.pix_fmt not in EIGHT_BITS:
        return None
    if rung is not Rung.QSV:
        return Kind.HEVC_10 if deep else Kind.H264
    if video.codec == "hevc":
        return Kind.HEVC_10 if deep else Kind.HEVC
    return Kind.H264 if video.codec == "h264" and not deep else None


def unfit(rung: Rung, settings: EncodeSettings, info: ClipInfo) -> str:
    """Why a rung can't take this clip, in words; empty where it can."""
    video = info.video
    if not rung.on_device:
        return ""
    if video is None:
        return "it has no video"
    if never_scaled(rung, video) and scaled_to(video, settings.max_height) is not None:
        return "it has the full range and is to be scaled down, which Quick Sync does not do well"
    refused = _refused_pixels(settings.codec, video) or _refused_size(settings, video)
    return refused or (_not_decoded(video) if rung is Rung.QSV else "")


def _refused_pixels(codec: str, video: Stream) -> str:
    if video.pix_fmt not in EIGHT_BITS | TEN_BITS:
        return f"it has pixels of {video.pix_fmt or 'an unknown format'}, and devices take 4:2:0 of 8 or 10 bits"
    if codec == "h264" and video.pix_fmt in TEN_BITS:
        return "it has 10 bits, and devices write H.264 of 8 only"
    return ""


def _refused_size(settings: EncodeSettings, video: Stream) -> str:
    if video.width % 2 or video.height % 2:
        return f"its pictures are {video.width}x{video.height}, and devices take even sizes"
    width, height = scaled_to(video, settings.max_height) or (video.width, video.height)
    largest = _LARGEST[settings.codec]
    if min(width, height) < _SMALLEST:
        return f"its archive would be {width}x{height}, and devices write {_SMALLEST}x{_SMALLEST} and more"
    if max(width, height) > largest:
        name = _NAMES[settings.codec]
        return f"its archive would be {width}x{height}, and devices write {name} of up to {largest}x{largest}"
    return ""


def _not_decoded(video: Stream) -> str:
    if video.codec not in QSV_DECODERS:
        return f"Quick Sync is asked to decode H.264 and HEVC only, and this is {video.codec or 'an unknown codec'}"
    name, largest = _NAMES[video.codec], _LARGEST[video.codec]
    if video.codec == "h264" and video.pix_fmt in TEN_BITS:
        return "it is H.264 of 10 bits, which Quick Sync does not decode"
    if max(video.width, video.height) > largest:
        return f"it is {name} of {video.width}x{video.height}, and Quick Sync decodes up to {largest}x{largest}"
    return ""


def never_scaled(rung: Rung, video: Stream) -> bool:
    """Whether this rung leaves the size of such a clip alone.

    HandBrake took full range off Quick Sync's filters, which garbled it (its pull requests 4337 and 4620).
    """
    return rung is Rung.QSV and video.is_full_range
