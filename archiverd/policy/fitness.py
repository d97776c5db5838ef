"""Whether a rung can take a clip at all, and which of its probes tells how it does."""

from __future__ import annotations

from archiverd.policy.clip_info import ClipInfo, Stream
from archiverd.policy.encoding import EncodeSettings
from archiverd.policy.rungs import Kind, Rung
from archiverd.policy.video_options import EIGHT_BITS, QSV_DECODERS, TEN_BITS


def kind_for(rung: Rung, video: Stream) -> Kind | None:
    """The kind of footage whose probe answers for this clip; None where none does.

    Where software decodes only the depth of the picture matters, not the codec: 8 bits count as H.264, more as
    10-bit HEVC.
    """
    if rung is Rung.SOFTWARE:
        return Kind.HEVC_10 if video.pix_fmt in TEN_BITS else Kind.H264
    if video.pix_fmt not in EIGHT_BITS | TEN_BITS:
        return None
    deep = video.pix_fmt in TEN_BITS
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
    return _not_encoded(settings.codec, video) or (_not_decoded(video) if rung is Rung.QSV else "")


def _not_encoded(codec: str, video: Stream) -> str:
    if video.pix_fmt not in EIGHT_BITS | TEN_BITS:
        return f"a device takes pictures of 8 or 10 bits with halved colour (4:2:0), and this has {video.pix_fmt}"
    if video.width % 2 or video.height % 2:
        return f"a device takes pictures of even width and height, and this has {video.width}x{video.height}"
    if codec == "h264" and video.pix_fmt in TEN_BITS:
        return "a device writes H.264 of 8 bits only, and this has 10"
    return ""


def _not_decoded(video: Stream) -> str:
    if video.codec not in QSV_DECODERS:
        return f"Quick Sync has no decoder for {video.codec or 'its codec'}"
    if video.codec == "h264" and video.pix_fmt in TEN_BITS:
        return "Quick Sync does not decode H.264 of 10 bits"
    return ""
