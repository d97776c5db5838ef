"""What a probe tells of a clip, and what its archive keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archiverd.policy.clip_info import ClipInfo, Selection, Stream, StreamKind, select


def stream(index: int, kind: StreamKind, codec: str, *, is_picture: bool = False) -> Stream:
    return Stream(index, kind, codec, 30, 0.0, 2.0, 0.1, "digest", is_picture=is_picture)


VIDEO = stream(0, StreamKind.VIDEO, "h264")
COVER = stream(1, StreamKind.VIDEO, "mjpeg", is_picture=True)
AAC = stream(2, StreamKind.AUDIO, "aac")
ALAW = stream(3, StreamKind.AUDIO, "pcm_alaw")
TEXT = stream(4, StreamKind.SUBTITLE, "mov_text")
DATA = stream(5, StreamKind.OTHER, "")


def clip(*streams: Stream, times: tuple[float, ...] = ()) -> ClipInfo:
    return ClipInfo(streams, 2.0, {}, times)


@pytest.mark.parametrize(
    ("streams", "video"),
    [
        pytest.param((), None, id="no streams"),
        pytest.param((AAC, TEXT), None, id="no video"),
        pytest.param((COVER,), None, id="a cover picture alone is no footage"),
        pytest.param((AAC, VIDEO), VIDEO, id="wherever it stands"),
        pytest.param((COVER, VIDEO), VIDEO, id="never the cover"),
        pytest.param((VIDEO, replace(VIDEO, index=9)), VIDEO, id="the first of two"),
    ],
)
def test_footage_is(streams: tuple[Stream, ...], video: Stream | None) -> None:
    assert clip(*streams).video == video


def test_streams_of_a_kind_keep_their_order() -> None:
    assert clip(ALAW, VIDEO, AAC, COVER).of_kind(StreamKind.AUDIO) == (ALAW, AAC)


@pytest.mark.parametrize(
    ("times", "interval_s"),
    [
        pytest.param((), 0.04, id="no frames"),
        pytest.param((1.5,), 0.04, id="one frame"),
        pytest.param((0.0, 0.5), 0.5, id="two frames"),
        pytest.param((0.0, 0.1, 0.2, 0.3), 0.1, id="a steady rate"),
        pytest.param((0.0, 0.1, 0.2, 60.0), 0.1, id="a gap does not move it"),
        pytest.param((0.0, 0.1, 0.2, 0.3, 0.301), 0.1, id="a burst does not move it"),
    ],
)
def test_frame_interval_is(times: tuple[float, ...], interval_s: float) -> None:
    assert clip(times=times).frame_interval_s == pytest.approx(interval_s)


def test_stream_lasts_from_its_first_packet_to_its_end() -> None:
    assert replace(VIDEO, first_s=0.5, end_s=2.0).duration_s == 1.5


@pytest.mark.parametrize(
    ("streams", "selection"),
    [
        pytest.param((VIDEO,), Selection(0, (), (), (), ()), id="video alone"),
        pytest.param((VIDEO, AAC), Selection(0, (2,), (), (), ()), id="sound MP4 can hold is copied"),
        pytest.param((VIDEO, ALAW), Selection(0, (), (3,), (), ()), id="sound it can't is encoded"),
        pytest.param((VIDEO, ALAW, AAC), Selection(0, (2,), (3,), (), ()), id="both"),
        pytest.param((VIDEO, TEXT), Selection(0, (), (), (4,), ()), id="text MP4 can hold"),
        pytest.param(
            (VIDEO, replace(TEXT, codec="subrip")),
            Selection(0, (), (), (), ("stream 4 (subtitle, subrip)",)),
            id="text it can't is left out",
        ),
        pytest.param((VIDEO, DATA), Selection(0, (), (), (), ("stream 5 (other, unknown codec)",)), id="data"),
        pytest.param((COVER, VIDEO), Selection(0, (), (), (), ("stream 1 (video, mjpeg)",)), id="a cover picture"),
        pytest.param(
            (AAC, replace(VIDEO, index=7)), Selection(7, (2,), (), (), ()), id="indexes are those of the source"
        ),
        pytest.param(
            (VIDEO, replace(VIDEO, index=6)),
            Selection(0, (), (), (), (), "it has 2 video streams, and a transcode keeps one"),
            id="two videos: only the original holds both",
        ),
    ],
)
def test_archive_keeps(streams: tuple[Stream, ...], selection: Selection) -> None:
    assert select(clip(*streams)) == selection


@pytest.mark.parametrize("codec", ["aac", "mp3", "mp2", "ac3", "eac3", "opus", "flac", "alac"])
def test_sound_is_copied(codec: str) -> None:
    assert select(clip(VIDEO, replace(AAC, codec=codec))).copied_audio == (2,)


@pytest.mark.parametrize("codec", ["pcm_alaw", "pcm_mulaw", "pcm_s16le", "adpcm_ima_wav", "g726", ""])
def test_sound_is_encoded(codec: str) -> None:
    assert select(clip(VIDEO, replace(AAC, codec=codec))).encoded_audio == (2,)


@pytest.mark.parametrize("kind", StreamKind)
def test_every_stream_is_kept_or_named(kind: StreamKind) -> None:
    more = stream(8, kind, "strange")
    chosen = select(clip(VIDEO, more))
    kept = (*chosen.copied_audio, *chosen.encoded_audio, *chosen.subtitles)
    assert (8 in kept) + any("stream 8" in words for words in chosen.left_out) + bool(chosen.whole_only) == 1


def test_clip_without_video_is_refused() -> None:
    with pytest.raises(ValueError, match="without video"):
        select(clip(AAC))


@pytest.mark.parametrize("codec", ["", "none", "unknown"])
def test_sound_nobody_can_decode_is_kept_only_with_the_whole(codec: str) -> None:
    strange = replace(ALAW, codec=codec)
    assert select(clip(VIDEO, strange)).whole_only == "ffmpeg knows no decoder for its sound"


@pytest.mark.parametrize("falling", [VIDEO, AAC, ALAW, TEXT], ids=lambda stream: stream.codec)
def test_clip_with_times_that_do_not_rise_is_kept_only_as_a_whole(falling: Stream) -> None:
    others = [stream for stream in (VIDEO, AAC, ALAW, TEXT) if stream != falling]
    reason = select(clip(*others, replace(falling, rises=False))).whole_only
    assert reason == f"the times of its {falling.kind} do not rise from packet to packet, and those of a transcode must"


def test_times_of_what_is_left_out_do_not_matter() -> None:
    assert select(clip(VIDEO, replace(DATA, rises=False), replace(TEXT, codec="subrip", rises=False))).whole_only == ""


@pytest.mark.parametrize(
    ("times", "shares"),
    [
        pytest.param((), False, id="no frames"),
        pytest.param((0.0, 0.1, 0.2), False, id="each its own"),
        pytest.param((0.0, 0.1, 0.1, 0.2), True, id="one twice"),
        pytest.param((0.0, 1 / 90_000), False, id="a tick apart"),
        pytest.param((0.0, 0.4 / 90_000), True, id="less than a tick apart"),
    ],
)
def test_clip_with_two_frames_of_one_time_is_kept_only_as_a_whole(times: tuple[float, ...], shares: bool) -> None:
    reason = "two of its frames have one time, and those of a transcode must differ"
    assert select(clip(VIDEO, times=times)).whole_only == (reason if shares else "")
