"""What a probe tells of a clip, and which of its streams an archive keeps and how."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

# What the MP4 muxer of ffmpeg 5.1 and later takes as it is (libavformat/movenc.c, codec_mp4_tags).
_AUDIO_IN_MP4 = frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "opus", "flac", "alac"})
_TEXT_IN_MP4 = frozenset({"mov_text"})

# "yuv420p10le", "p010le", "gray12be": the bits of a sample, where they are more than 8. Packed RGB counts its pixels'.
_DEEP = re.compile(r"(?:p|gray)0?(\d{1,2})(?:le|be)$")

TICKS = 90_000  # per second: what a transcode counts in, as MPEG clocks do, so that no source time stamp is rounded


class StreamKind(StrEnum):
    """What a stream carries."""

    VIDEO = "video"
    AUDIO = "audio"
    SUBTITLE = "subtitle"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of a clip. Times are seconds on the clip's own clock; packets marked to be dropped don't count."""

    index: int
    kind: StreamKind
    codec: str
    packets: int
    first_s: float  # presentation time of the earliest packet
    end_s: float  # end of the latest packet
    longest_packet_s: float
    digest: str  # over the payloads of all its packets, in order
    width: int = 0
    height: int = 0
    pix_fmt: str = ""
    encoder: str = ""  # what wrote it, where it says so
    color_range: str = ""  # "pc" is full range; "tv" and "" are limited
    rotation: int = 0  # degrees, of the display matrix
    is_picture: bool = False  # a cover picture, not footage
    rises: bool = True  # each packet is to be decoded later than the one before it

    @property
    def duration_s(self) -> float:
        return self.end_s - self.first_s

    @property
    def bits(self) -> int:
        """The depth of a sample of the picture."""
        deep = _DEEP.search(self.pix_fmt)
        return 8 if deep is None else int(deep[1])

    @property
    def is_full_range(self) -> bool:
        """Whether luma takes all values: said by the range, or by the pixel formats that imply it."""
        return self.color_range == "pc" or self.pix_fmt.startswith("yuvj")


@dataclass(frozen=True, slots=True)
class ClipInfo:
    """One clip: its streams, its tags, and the presentation time of every video frame, ascending."""

    streams: tuple[Stream, ...]
    duration_s: float
    tags: Mapping[str, str]
    frame_times_s: tuple[float, ...]

    @property
    def video(self) -> Stream | None:
        """The footage: the first video stream that is not a cover picture."""
        return next((s for s in self.streams if s.kind is StreamKind.VIDEO and not s.is_picture), None)

    def of_kind(self, kind: StreamKind) -> tuple[Stream, ...]:
        return tuple(stream for stream in self.streams if stream.kind is kind)

    @property
    def frame_interval_s(self) -> float:
        """The usual distance of two frames: the median, which a gap or a burst does not move."""
        gaps = sorted(later - earlier for earlier, later in pairwise(self.frame_times_s))
        return gaps[len(gaps) // 2] if gaps else 0.04

    @property
    def shares_a_time(self) -> bool:
        """Whether two frames are shown at the same tick; MP4, as ffmpeg writes it, gives each its own."""
        ticks = [round(time_s * TICKS) for time_s in self.frame_times_s]
        return any(later == earlier for earlier, later in pairwise(ticks))


@dataclass(frozen=True, slots=True)
class Selection:
    """Which streams of a source go into its archive. Indexes are those of the source.

    `whole_only` says why nothing but the original bytes can hold the source; empty when a transcode can.
    """

    video: int
    copied_audio: tuple[int, ...]
    encoded_audio: tuple[int, ...]
    subtitles: tuple[int, ...]
    left_out: tuple[str, ...]  # in words
    whole_only: str = ""


def select(info: ClipInfo) -> Selection:
    """Choose what an archive keeps: the footage, every sound and text that MP4 can hold; the rest is named.

    Raises: ValueError for a clip without video, which admission lets nobody ask about.
    """
    video = info.video
    if video is None:
        raise ValueError("a clip without video has nothing to transcode")
    audio = info.of_kind(StreamKind.AUDIO)
    text = info.of_kind(StreamKind.SUBTITLE)
    footage = [s for s in info.of_kind(StreamKind.VIDEO) if not s.is_picture]
    kept_text = tuple(s.index for s in text if s.codec in _TEXT_IN_MP4)
    left_out = tuple(
        f"stream {s.index} ({s.kind}, {s.codec or 'unknown codec'})"
        for s in info.streams
        if s.is_picture or s.kind is StreamKind.OTHER or (s in text and s.index not in kept_text)
    )
    return Selection(
        video=video.index,
        copied_audio=tuple(s.index for s in audio if s.codec in _AUDIO_IN_MP4),
        encoded_audio=tuple(s.index for s in audio if s.codec not in _AUDIO_IN_MP4),
        subtitles=kept_text,
        left_out=left_out,
        whole_only=_whole_only(info, footage, [video, *audio, *(s for s in text if s.index in kept_text)]),
    )


def _whole_only(info: ClipInfo, footage: Sequence[Stream], kept: Sequence[Stream]) -> str:
    if len(footage) > 1:
        return f"it has {len(footage)} video streams, and a transcode keeps one"
    if any(stream.kind is StreamKind.AUDIO and stream.codec in ("", "none", "unknown") for stream in kept):
        return "ffmpeg knows no decoder for its sound"
    falling = next((stream for stream in kept if not stream.rises), None)
    if falling is not None:
        return f"the times of its {falling.kind} do not rise from packet to packet, and those of a transcode must"
    if info.shares_a_time:
        return "two of its frames have one time, and those of a transcode must differ"
    return ""
