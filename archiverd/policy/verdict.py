"""Whether an output is proven to be its source, and what becomes the archive.

An exit status of 0 proves nothing: ffmpeg ends well on half-empty sources, wrong chunk offsets, files
concatenated, pictures named `.mp4`. The proof is that both decode strictly and agree, frame by frame in number
and time, sound packet by packet.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from archiverd.policy.clip_info import ClipInfo, Selection, Stream, StreamKind
from archiverd.policy.likeness import Likeness

WORTH_IT = 0.95  # an output of at least this part of its source is not worth the loss
_DEEPEST = {"h264": 10, "hevc": 12}  # bits that x264 and x265 write
_PACKET_S = 0.1  # the duration of a sound packet, where the container does not say


class Ruling(StrEnum):
    """What becomes of an output."""

    ARCHIVE = "archive"  # it is the archive
    VERBATIM = "verbatim"  # the original bytes are
    REJECT = "reject"  # neither; the source stays


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison: what was compared, whether it held, and the figures."""

    name: str
    holds: bool
    detail: str

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A ruling, its reason in words, and every check it rests on."""

    ruling: Ruling
    reason: str
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was gathered about a source and its output."""

    source: ClipInfo
    selection: Selection
    declared_frames: int  # by the source's own sample tables
    source_frames: int  # that decoded strictly
    source_size: int  # bytes
    output: ClipInfo
    output_fault: str  # of the output's box walk; empty when clean
    output_frames: int  # that decoded strictly
    output_error: str  # of its strict decode; empty when clean
    output_size: int  # bytes
    height: int  # pixels the output was to have
    codec: str = ""  # the output was to have; empty where none was asked for
    likeness: Likeness | None = None  # where the pictures were compared


def too_large(output_size: int, source_size: int) -> bool:
    """Whether an output of so many bytes, or more, is not worth the loss."""
    return output_size >= WORTH_IT * source_size


def verdict(evidence: Evidence) -> Verdict:
    """Rule on an output. The source's own oddities come first: they are no fault of the output."""
    source = _source_checks(evidence)
    odd = next((check for check in source if not check.holds), None)
    if odd is not None:
        return Verdict(Ruling.VERBATIM, str(odd), source)
    checks = (*source, *_output_checks(evidence), *_stream_checks(evidence))
    failed = [str(check) for check in checks if not check.holds]
    if failed:
        return Verdict(Ruling.REJECT, "; ".join(failed), checks)
    if too_large(evidence.output_size, evidence.source_size):
        return Verdict(Ruling.VERBATIM, grown(evidence.output_size, evidence.source_size), checks)
    return Verdict(Ruling.ARCHIVE, "", checks)


def grown(output_size: int, source_size: int) -> str:
    """Why an output is not worth it, in words."""
    share = 100 * output_size / source_size if source_size else 100
    return f"a transcode would take {share:.0f} % of the original's size or more"


def source_frames(decoded: int, declared: int) -> Check:
    """Whether a source decodes to as many frames as its own tables declare."""
    detail = f"{decoded} of {declared} declared ones decode"
    return Check("source frames", decoded == declared and decoded > 0, detail)


def _source_checks(evidence: Evidence) -> tuple[Check, ...]:
    return (source_frames(evidence.source_frames, evidence.declared_frames),)


def _output_checks(evidence: Evidence) -> tuple[Check, ...]:
    times, wanted = evidence.output.frame_times_s, evidence.source.frame_times_s
    drift = _drift_s(wanted, times)
    return (
        Check("output structure", not evidence.output_fault, evidence.output_fault or "whole"),
        Check("output decodes strictly", not evidence.output_error, evidence.output_error or "without an error"),
        Check(
            "frames",
            evidence.output_frames == evidence.source_frames,
            f"{evidence.output_frames} of {evidence.source_frames}",
        ),
        Check(
            "frame times",
            drift is not None and drift <= evidence.source.frame_interval_s,
            f"{len(times)} against {len(wanted)}" if drift is None else f"off by {drift * 1000:.3f} ms at most",
        ),
        _picture_check(evidence),
        *(() if evidence.likeness is None else (_likeness_check(evidence.likeness),)),
    )


def _likeness_check(likeness: Likeness) -> Check:
    """Whether it looks like its source.

    What stands still as the scene does can't be told from it, and need not be: it is what the scene looked like.
    """
    return Check("likeness", likeness.is_enough, str(likeness))


def _picture_check(evidence: Evidence) -> Check:
    """Size, rotation, range and depth are those of the source; only the size may have been asked to change.

    A codec that can't hold the depth of the source is to hold the most it can.
    """
    video, original = evidence.output.video, evidence.source.video
    if video is None or original is None:
        return Check("picture", False, "there is none")
    scaled = evidence.height != original.height
    return Check(
        "picture",
        video.height == evidence.height
        and (scaled or video.width == original.width)
        and video.rotation == original.rotation
        and video.is_full_range == original.is_full_range
        and video.bits >= min(original.bits, _DEEPEST.get(video.codec, original.bits))
        and evidence.codec in ("", video.codec),
        f"{video.width}x{video.height} from {original.width}x{original.height}, "
        f"rotation {video.rotation} from {original.rotation}, "
        f"range {video.color_range or 'unknown'} from {original.color_range or 'unknown'}, "
        f"{video.bits} bits from {original.bits}, {video.codec or 'unknown codec'}"
        + (f", {evidence.codec} wanted" if evidence.codec not in ("", video.codec) else ""),
    )


def _drift_s(wanted: tuple[float, ...], got: tuple[float, ...]) -> float | None:
    """The furthest that any frame's time, counted from the first frame, is off; None where the numbers differ."""
    if len(wanted) != len(got) or not wanted:
        return None
    return max(abs((w - wanted[0]) - (g - got[0])) for w, g in zip(wanted, got, strict=True))


def _stream_checks(evidence: Evidence) -> tuple[Check, ...]:
    selection, output = evidence.selection, evidence.output
    by_index = {stream.index: stream for stream in evidence.source.streams}
    sounds = output.of_kind(StreamKind.AUDIO)
    texts = output.of_kind(StreamKind.SUBTITLE)
    wanted = (*selection.copied_audio, *selection.encoded_audio)
    checks = [
        Check(
            "streams",
            len(sounds) == len(wanted) and len(texts) == len(selection.subtitles),
            f"{len(sounds)} of {len(wanted)} sound, {len(texts)} of {len(selection.subtitles)} text"
            + (f"; left out: {', '.join(selection.left_out)}" if selection.left_out else ""),
        )
    ]
    for index, sound in zip(wanted, sounds, strict=False):
        checks.append(_sound_check(evidence, by_index[index], sound))
        checks.append(_sync_check(evidence, by_index[index], sound))
    for index, text in zip(selection.subtitles, texts, strict=False):
        checks.append(Check(f"text {index}", text.digest == by_index[index].digest, f"{text.packets} packets copied"))
    return tuple(checks)


def _sound_check(evidence: Evidence, original: Stream, sound: Stream) -> Check:
    name = f"sound {original.index}"
    if original.index in evidence.selection.copied_audio:
        same = sound.digest == original.digest and sound.packets == original.packets
        return Check(name, same, f"{sound.packets} of {original.packets} packets copied")
    off = abs(sound.duration_s - original.duration_s)
    return Check(
        name, off <= _packet_s(original, sound), f"encoded, {off * 1000:.0f} ms off its {original.duration_s:.3f} s"
    )


def _sync_check(evidence: Evidence, original: Stream, sound: Stream) -> Check:
    """Sound begins where it began against the first frame, to within a packet or a frame."""
    before = original.first_s - next(iter(evidence.source.frame_times_s), 0.0)
    after = sound.first_s - next(iter(evidence.output.frame_times_s), 0.0)
    off = abs(after - before)
    slack = max(_packet_s(original, sound), evidence.source.frame_interval_s)
    return Check(f"sync of sound {original.index}", off <= slack, f"{off * 1000:.0f} ms off")


def _packet_s(one: Stream, other: Stream) -> float:
    return max(one.longest_packet_s, other.longest_packet_s) or _PACKET_S


def agrees(evidence: Evidence) -> bool:
    """Whether every comparison of the two holds, whatever their sizes."""
    checks = (*_source_checks(evidence), *_output_checks(evidence), *_stream_checks(evidence))
    return all(check.holds for check in checks)
