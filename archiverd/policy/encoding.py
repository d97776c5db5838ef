"""The command lines of ffmpeg and ffprobe, as values.

Uploads are hostile input. Every reading command names the demuxer and allows nothing else, so that a playlist
or a script named `.mp4` opens no other file; allows the file protocol alone; bounds the pixels of a frame; and
gives the input as `file:/…`, so that no name is an option, a pattern or a protocol.
"""

from __future__ import annotations

from dataclasses import dataclass

from archiverd.policy.clip_info import TICKS, ClipInfo, Selection, Stream
from archiverd.policy.rungs import Engine
from archiverd.policy.video_options import TEN_BITS, Picture, decoder_options, device_options, encoder_options

_MAX_PIXELS = "67108864"  # 8192 x 8192: above any camera, below what exhausts a small machine

_READ_ONLY_MP4 = (
    "-f", "mov", "-format_whitelist", "mov", "-protocol_whitelist", "file", "-max_pixels", _MAX_PIXELS,
)  # fmt: skip
_ENTRIES = (
    "packet=stream_index,pts_time,dts_time,duration_time,flags,data_hash", "packet_side_data=",
    "stream=index,codec_name,codec_type,width,height,pix_fmt,color_range", "stream_tags=rotate,encoder",
    "stream_disposition=attached_pic", "stream_side_data=rotation", "format=duration", "format_tags",
)  # fmt: skip
_KEY_FRAMES_S = 4.0  # a player seeks to key frames, and damage reaches to the next one; shorter costs bits
_MOST_FRAMES = 600  # between key frames, whatever the times of a clip say; the encoders count in 16 bits
_SHARE = {"hevc": 0.5, "h264": 0.7}  # of the source's own bits; an output of 0.95 and more is not kept
_FEWEST_BITS = 100_000  # per second; the encoders count in thousands

_COMPARED_SIZE = "80:45"  # pixels; `policy.likeness` tells why, and what is like enough at this size

_QUIET = ("-hide_banner", "-nostdin", "-loglevel", "error")
_PROGRESS = ("-progress", "pipe:1", "-stats_period", "0.5")


@dataclass(frozen=True, slots=True)
class EncodeSettings:
    """How archives are to look.

    `codec` is "hevc" or "h264", `quality` the CRF of x265 and x264 and what a device is told in its place, `preset`
    x265's and x264's word.
    """

    codec: str
    quality: int
    preset: str
    max_height: int | None = None  # pixels; None keeps the source's


def file_url(path: str) -> str:
    """The path as ffmpeg takes it for a plain file, whatever is in its name."""
    return f"file:{path}"


def transcode_command(
    info: ClipInfo, selection: Selection, settings: EncodeSettings, engine: Engine, source: str, target: str,
    *, size_bytes: int, tags: dict[str, str],
) -> tuple[str, ...]:  # fmt: skip
    """The transcode of one clip, which the engine fits, from the URL `source`, so large, into the URL `target`.

    Decoding is strict (`-xerror -err_detect explode`), so that its success says that the source decodes, but for
    Quick Sync's decoder. Only how the footage is decoded, filtered and encoded differs from rung to rung.
    Frames keep their own time stamps: without `-enc_time_base` and the track's time scale the MP4 muxer of
    ffmpeg 5.1 forces a constant rate, and adds frames. Every tag of the source is kept, and `tags` added.
    """
    picture = _picture(info, selection, settings, size_bytes)
    maps = (selection.video, *selection.copied_audio, *selection.encoded_audio, *selection.subtitles)
    return (
        "ffmpeg", *_QUIET, "-y", "-xerror", "-err_detect", "explode",
        *device_options(engine), *_READ_ONLY_MP4, "-noautorotate", *decoder_options(engine, picture), "-i", source,
        *(word for index in maps for word in ("-map", f"0:{index}")),
        "-map_metadata", "0",
        *encoder_options(engine, picture),
        "-fps_mode", "passthrough", "-enc_time_base", f"1:{TICKS}", "-video_track_timescale", str(TICKS),
        *_audio_options(selection), "-c:s", "copy",
        "-abort_on", "empty_output+empty_output_stream", "-max_error_rate", "0",
        "-movflags", "+faststart+use_metadata_tags",
        *(word for key, value in tags.items() for word in ("-metadata", f"{key}={value}")),
        *_PROGRESS, "-f", "mp4", target,
    )  # fmt: skip


def _picture(info: ClipInfo, selection: Selection, settings: EncodeSettings, size_bytes: int) -> Picture:
    video = next(stream for stream in info.streams if stream.index == selection.video)
    return Picture(
        index=video.index,
        source_codec=video.codec,
        codec=settings.codec,
        quality=settings.quality,
        preset=settings.preset,
        deep=video.pix_fmt in TEN_BITS,
        full_range=video.is_full_range,
        scaled_to=scaled_to(video, settings.max_height),
        key_frames_every=_key_frames_every(info.frame_interval_s),
        bits_per_s=_bits_per_s(settings.codec, size_bytes, info.duration_s),
    )


def scaled_to(video: Stream, max_height: int | None) -> tuple[int, int] | None:
    """The even size below `max_height` that keeps the shape; None where the picture is no higher."""
    if max_height is None or video.height <= max_height:
        return None
    width = 2 * ((video.width * max_height + video.height) // (2 * video.height))  # to the nearest, halves up
    return max(2, width), max_height


def archived_height(video: Stream | None, max_height: int | None) -> int:
    """The pixels an archive is high; 0 without a picture."""
    height = 0 if video is None else video.height
    return height if max_height is None else min(height, max_height)


def _key_frames_every(frame_interval_s: float) -> int:
    """Frames from one key frame to the next, on a device."""
    if frame_interval_s <= 0:
        return _MOST_FRAMES
    return max(1, min(_MOST_FRAMES, round(_KEY_FRAMES_S / frame_interval_s)))


def _bits_per_s(codec: str, size_bytes: int, duration_s: float) -> int:
    """What a rate control that counts bits is to aim at; twice as many is its ceiling."""
    own = 8 * size_bytes / duration_s if duration_s > 0 else 0.0
    return max(_FEWEST_BITS, round(_SHARE[codec] * own))


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
        "-map", "0:V:0", *(("-map", "0:a?") if encoded_audio else ()),
        "-fps_mode", "passthrough", "-enc_time_base", f"1:{TICKS}", "-max_error_rate", "0",
        *_PROGRESS, "-f", "null", "-",
    )  # fmt: skip


def likeness_command(source: str, output: str) -> tuple[str, ...]:
    """Compare every frame of two clips: on stdout, the lines that `policy.likeness` takes for each.

    The same frames by number, whatever their times; small, so that a scaled output is compared as well, and that what
    a lossy encoder changes is little beside a wrong picture; in all three planes, of 8 bits; as they lie, not as a
    player would turn them. `direct` writes each line at once and whole, between those of the progress.
    All frames of the source go to an output of their own, by which ffmpeg tells how far it is.
    """
    small = f"scale={_COMPARED_SIZE},format=yuv420p,settb=1/{TICKS},setpts=N"
    strictly = ("-xerror", "-err_detect", "explode")
    null = ("-fps_mode", "passthrough", "-f", "null", "-")
    graph = (
        "[0:V:0]split[all][own]", f"[own]{small}[a]", f"[1:V:0]{small},split[b][c]",
        "[a][b]ssim=eof_action=endall[d]",
        "[d][c]blend=all_mode=difference:eof_action=endall,signalstats,metadata=print:file=-:direct=1[e]",
    )  # fmt: skip
    return (
        "ffmpeg", *_QUIET, *strictly, *_READ_ONLY_MP4, "-noautorotate", "-i", source,
        *strictly[1:], *_READ_ONLY_MP4, "-noautorotate", "-i", output,
        "-filter_complex", ";".join(graph),
        "-map", "[all]", *null, *_PROGRESS, "-map", "[e]", *null,
    )  # fmt: skip


def probe_command(source: str) -> tuple[str, ...]:
    """List the streams, tags and packets of a clip, one line each, with a hash of every packet's payload."""
    return (
        "ffprobe", "-hide_banner", "-loglevel", "error", *_READ_ONLY_MP4,
        "-show_packets", "-show_streams", "-show_format", "-show_data_hash", "MD5",
        "-show_entries", ":".join(_ENTRIES),
        "-of", "compact=escape=c", "-i", source,
    )  # fmt: skip
