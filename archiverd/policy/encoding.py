"""The command lines of ffmpeg and ffprobe, as values.

Uploads are hostile input. Every reading command names the demuxer and allows nothing else, so that a playlist
or a script named `.mp4` opens no other file; allows the file protocol alone; bounds the pixels of a frame; and
gives the input as `file:/…`, so that no name is an option, a pattern or a protocol.
"""

from __future__ import annotations

from dataclasses import dataclass

from archiverd.policy.clip_info import TICKS, ClipInfo, Selection
from archiverd.policy.rungs import Engine

_MAX_PIXELS = "67108864"  # 8192 x 8192: above any camera, below what exhausts a small machine

_READ_ONLY_MP4 = (
    "-f", "mov", "-format_whitelist", "mov", "-protocol_whitelist", "file", "-max_pixels", _MAX_PIXELS,
)  # fmt: skip
_ENTRIES = (
    "packet=stream_index,pts_time,dts_time,duration_time,flags,data_hash", "packet_side_data=",
    "stream=index,codec_name,codec_type,width,height,pix_fmt,color_range", "stream_tags=rotate,encoder",
    "stream_disposition=attached_pic", "stream_side_data=rotation", "format=duration", "format_tags",
)  # fmt: skip
_QUIET = ("-hide_banner", "-nostdin", "-loglevel", "error")
_PROGRESS = ("-progress", "pipe:1", "-stats_period", "0.5")


@dataclass(frozen=True, slots=True)
class EncodeSettings:
    """How archives are to look.

    `codec` is "hevc" or "h264", `quality` the CRF of x265 and x264, `device_quality` what a device is told in its
    place, `preset` x265's and x264's word.
    """

    codec: str
    quality: int
    preset: str
    max_height: int | None = None  # pixels; None keeps the source's
    device_quality: int = 25


def file_url(path: str) -> str:
    """The path as ffmpeg takes it for a plain file, whatever is in its name."""
    return f"file:{path}"


def transcode_command(
    info: ClipInfo, selection: Selection, settings: EncodeSettings, engine: Engine, source: str, target: str,
    *, tags: dict[str, str],
) -> tuple[str, ...]:  # fmt: skip
    """The transcode of one clip on an engine from the URL `source` into the URL `target`.

    Decoding is strict (`-xerror -err_detect explode`), so that its success says that the source decodes.
    Frames keep their own time stamps: without `-enc_time_base` and the track's time scale the MP4 muxer of
    ffmpeg 5.1 forces a constant rate, and adds frames. Every tag of the source is kept, and `tags` added.
    """
    del engine
    maps = (selection.video, *selection.copied_audio, *selection.encoded_audio, *selection.subtitles)
    return (
        "ffmpeg", *_QUIET, "-y", "-xerror", "-err_detect", "explode",
        *_READ_ONLY_MP4, "-noautorotate", "-i", source,
        *(word for index in maps for word in ("-map", f"0:{index}")),
        "-map_metadata", "0",
        *_video_options(info, settings),
        "-fps_mode", "passthrough", "-enc_time_base", f"1:{TICKS}", "-video_track_timescale", str(TICKS),
        *_audio_options(selection), "-c:s", "copy",
        "-abort_on", "empty_output+empty_output_stream", "-max_error_rate", "0",
        "-movflags", "+faststart+use_metadata_tags",
        *(word for key, value in tags.items() for word in ("-metadata", f"{key}={value}")),
        *_PROGRESS, "-f", "mp4", target,
    )  # fmt: skip


def _video_options(info: ClipInfo, settings: EncodeSettings) -> tuple[str, ...]:
    video = info.video
    full_range = video is not None and video.is_full_range
    filters = []
    if settings.max_height is not None and video is not None and video.height > settings.max_height:
        filters.append(f"scale=-2:{settings.max_height}")
    if full_range:
        filters.append("scale=in_range=pc:out_range=pc")
    return (
        *(("-vf", ",".join(filters)) if filters else ()),
        *(("-color_range", "pc") if full_range else ()),
        *_encoder_options(settings),
    )


def _encoder_options(settings: EncodeSettings) -> tuple[str, ...]:
    encoder: tuple[str, ...] = ("libx264",)
    if settings.codec == "hevc":
        # hash=1 writes an MD5 of every picture, which a strict decode then checks; 1 % of the size.
        encoder = ("libx265", "-x265-params", "log-level=error:hash=1", "-tag:v", "hvc1")
    return ("-c:v", *encoder, "-preset", settings.preset, "-crf", str(settings.quality))


def _audio_options(selection: Selection) -> tuple[str, ...]:
    """Sound is copied; what MP4 can't hold (G.711) becomes AAC."""
    count = len(selection.copied_audio)
    options: list[str] = []
    for position in range(count + len(selection.encoded_audio)):
        options += (f"-c:a:{position}", "copy") if position < count else (f"-c:a:{position}", "aac")
    return tuple(options)


def strict_decode_command(source: str, *, encoded_audio: bool) -> tuple[str, ...]:
    """Decode the footage, and the sound where it was encoded anew, into nothing; any error is the end of it.

    `crccheck` compares each picture with the hash its encoder wrote, where it wrote one.
    """
    return (
        "ffmpeg", *_QUIET, "-xerror", "-err_detect", "crccheck+explode",
        *_READ_ONLY_MP4, "-noautorotate", "-i", source,
        "-map", "0:v:0", *(("-map", "0:a?") if encoded_audio else ()),
        "-fps_mode", "passthrough", "-enc_time_base", f"1:{TICKS}", "-max_error_rate", "0",
        *_PROGRESS, "-f", "null", "-",
    )  # fmt: skip


def probe_command(source: str) -> tuple[str, ...]:
    """List the streams, tags and packets of a clip, one line each, with a hash of every packet's payload."""
    return (
        "ffprobe", "-hide_banner", "-loglevel", "error", *_READ_ONLY_MP4,
        "-show_packets", "-show_streams", "-show_format", "-show_data_hash", "MD5",
        "-show_entries", ":".join(_ENTRIES),
        "-of", "compact=escape=c", "-i", source,
    )  # fmt: skip


def prove_command(settings: EncodeSettings) -> tuple[str, ...]:
    """Encode a few invented frames into nothing: shows that this ffmpeg has the encoder, that it takes the options
    of a transcode, and that it runs.
    """
    return (
        "ffmpeg", *_QUIET, "-f", "lavfi", "-i", "testsrc2=size=128x96:rate=5:duration=1",
        *_encoder_options(settings), "-f", "null", "-",
    )  # fmt: skip
