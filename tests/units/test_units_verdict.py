"""Whether an output is proven to be its source.

One set of evidence is good in every point. Each test spoils one thing, or moves it to its limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiverd.policy.clip_info import ClipInfo, Selection, Stream, StreamKind
from archiverd.policy.likeness import Likeness
from archiverd.policy.verdict import Evidence, Ruling, agrees, grown, too_large, verdict

TIMES = tuple(n / 10 for n in range(30))  # ten frames a second for three seconds
VIDEO = Stream(0, StreamKind.VIDEO, "h264", 30, 0.0, 3.0, 0.1, "v", width=640, height=360)
COPIED = Stream(1, StreamKind.AUDIO, "aac", 47, 0.0, 3.0, 0.064, "s")
ENCODED = Stream(2, StreamKind.AUDIO, "pcm_alaw", 30, 0.0, 3.0, 0.128, "g")
TEXT = Stream(3, StreamKind.SUBTITLE, "mov_text", 2, 0.0, 3.0, 2.0, "t")

SOURCE = ClipInfo((VIDEO, COPIED, ENCODED, TEXT), 3.0, {}, TIMES)
OUTPUT = ClipInfo(
    (
        replace(VIDEO, codec="hevc", digest="other"),
        COPIED,
        replace(ENCODED, codec="aac", packets=48, longest_packet_s=0.064, digest="other"),
        TEXT,
    ),
    3.0,
    {},
    TIMES,
)
GOOD = Evidence(
    source=SOURCE,
    selection=Selection(0, copied_audio=(1,), encoded_audio=(2,), subtitles=(3,), left_out=()),
    declared_frames=30,
    source_frames=30,
    source_size=1000,
    output=OUTPUT,
    output_fault="",
    output_frames=30,
    output_error="",
    output_size=500,
    height=360,
)

Spoil = Callable[[Evidence], Evidence]


def with_output(**changes: object) -> Spoil:
    """Change fields of the output's ClipInfo."""
    return lambda evidence: replace(evidence, output=replace(evidence.output, **changes))  # type: ignore[arg-type]  # fields of ClipInfo, by name


def with_stream(index: int, **changes: object) -> Spoil:
    """Change fields of one stream of the output."""

    def spoil(evidence: Evidence) -> Evidence:
        streams = tuple(
            replace(stream, **changes) if stream.index == index else stream  # type: ignore[arg-type]  # fields of Stream, by name
            for stream in evidence.output.streams
        )
        return replace(evidence, output=replace(evidence.output, streams=streams))

    return spoil


def without_stream(index: int) -> Spoil:
    return lambda evidence: replace(
        evidence,
        output=replace(evidence.output, streams=tuple(s for s in evidence.output.streams if s.index != index)),
    )


def with_more(stream: Stream) -> Spoil:
    return lambda evidence: replace(
        evidence, output=replace(evidence.output, streams=(*evidence.output.streams, stream))
    )


def having(**changes: object) -> Spoil:
    """Change fields of the evidence itself."""
    return lambda evidence: replace(evidence, **changes)  # type: ignore[arg-type]  # fields of Evidence, by name


def with_source_stream(index: int, **changes: object) -> Spoil:
    def spoil(evidence: Evidence) -> Evidence:
        streams = tuple(
            replace(stream, **changes) if stream.index == index else stream  # type: ignore[arg-type]  # fields of Stream, by name
            for stream in evidence.source.streams
        )
        return replace(evidence, source=replace(evidence.source, streams=streams))

    return spoil


def moved(frame: int, by_s: float) -> tuple[float, ...]:
    """The times of the frames, one of them moved."""
    return (*TIMES[:frame], TIMES[frame] + by_s, *TIMES[frame + 1 :])


def later(by_s: float) -> tuple[float, ...]:
    return tuple(time_s + by_s for time_s in TIMES)


def test_good_evidence_makes_an_archive() -> None:
    ruled = verdict(GOOD)
    assert (ruled.ruling, ruled.reason) == (Ruling.ARCHIVE, "")


def test_verdict_of_an_archive_names_every_check() -> None:
    assert [str(check) for check in verdict(GOOD).checks] == [
        "source frames: 30 of 30 declared ones decode",
        "output structure: whole",
        "output decodes strictly: without an error",
        "frames: 30 of 30",
        "frame times: off by 0.000 ms at most",
        "picture: 640x360 from 640x360, rotation 0 from 0, range unknown from unknown, 8 bits from 8, hevc",
        "streams: 2 of 2 sound, 1 of 1 text",
        "sound 1: 47 of 47 packets copied",
        "sync of sound 1: 0 ms off",
        "sound 2: encoded, 0 ms off its 3.000 s",
        "sync of sound 2: 0 ms off",
        "text 3: 2 packets copied",
    ]


def test_what_was_left_out_is_named() -> None:
    selection = replace(GOOD.selection, left_out=("stream 5 (other, unknown codec)",))
    details = [str(check) for check in verdict(replace(GOOD, selection=selection)).checks]
    assert "streams: 2 of 2 sound, 1 of 1 text; left out: stream 5 (other, unknown codec)" in details


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(
            having(output_fault="no moov in 10 bytes"), "output structure: no moov in 10 bytes", id="output not whole"
        ),
        pytest.param(
            having(output_error="error while decoding MB 3 4"),
            "output decodes strictly: error while decoding MB 3 4",
            id="output does not decode",
        ),
        pytest.param(having(output_frames=29), "frames: 29 of 30", id="a frame is lost"),
        pytest.param(having(output_frames=31), "frames: 31 of 30", id="a frame is added"),
        pytest.param(having(output_frames=0), "frames: 0 of 30", id="no frames"),
        pytest.param(
            with_output(frame_times_s=TIMES[:-1]), "frame times: 29 against 30", id="fewer packets than frames"
        ),
        pytest.param(with_output(frame_times_s=()), "frame times: 0 against 30", id="no frame times"),
        pytest.param(
            with_output(frame_times_s=moved(29, 0.11)),
            "frame times: off by 110.000 ms at most",
            id="the last frame is late by more than a frame",
        ),
        pytest.param(
            with_output(frame_times_s=moved(15, -0.11)),
            "frame times: off by 110.000 ms at most",
            id="a frame in the middle is early",
        ),
        pytest.param(with_stream(0, height=358), "picture: 640x358 from 640x360", id="another height"),
        pytest.param(with_stream(0, width=638), "picture: 638x360 from 640x360", id="another width"),
        pytest.param(with_stream(0, rotation=90), "rotation 90 from 0", id="turned"),
        pytest.param(with_stream(0, color_range="pc"), "range pc from unknown", id="full range from limited"),
        pytest.param(
            with_source_stream(0, color_range="pc"), "range unknown from pc", id="full range is not said any more"
        ),
        pytest.param(with_source_stream(0, rotation=-90), "rotation 0 from -90", id="not turned any more"),
        pytest.param(without_stream(0), "picture: there is none", id="no video"),
        pytest.param(with_stream(0, is_picture=True), "picture: there is none", id="the video is a cover picture"),
        pytest.param(without_stream(1), "streams: 1 of 2 sound, 1 of 1 text", id="a sound is lost"),
        pytest.param(without_stream(3), "streams: 2 of 2 sound, 0 of 1 text", id="a text is lost"),
        pytest.param(
            with_more(replace(COPIED, index=9)), "streams: 3 of 2 sound, 1 of 1 text", id="a sound is added"
        ),
        pytest.param(with_more(replace(TEXT, index=9)), "streams: 2 of 2 sound, 2 of 1 text", id="a text is added"),
        pytest.param(with_stream(1, digest="else"), "sound 1: 47 of 47 packets copied", id="other bytes in the sound"),
        pytest.param(with_stream(1, packets=46), "sound 1: 46 of 47 packets copied", id="a packet of sound is lost"),
        pytest.param(
            with_stream(1, first_s=0.11), "sync of sound 1: 110 ms off", id="copied sound late by more than a frame"
        ),
        pytest.param(
            with_stream(2, first_s=-0.2, end_s=2.8), "sync of sound 2: 200 ms off", id="encoded sound begins early"
        ),
        pytest.param(
            with_output(frame_times_s=later(5.0)), "sync of sound 1: 5000 ms off", id="the whole picture is late"
        ),
        pytest.param(
            with_stream(2, end_s=3.13), "sound 2: encoded, 130 ms off its 3.000 s", id="encoded sound is longer"
        ),
        pytest.param(
            with_stream(2, end_s=2.87), "sound 2: encoded, 130 ms off its 3.000 s", id="encoded sound is shorter"
        ),
        pytest.param(with_stream(3, digest="else"), "text 3: 2 packets copied", id="other bytes in the text"),
    ],
)  # fmt: skip
def test_one_thing_wrong_rejects_and_is_named(spoil: Spoil, reason: str) -> None:
    ruled = verdict(spoil(GOOD))
    assert ruled.ruling is Ruling.REJECT
    assert reason in ruled.reason


def test_all_that_is_wrong_is_named() -> None:
    ruled = verdict(replace(GOOD, output_frames=29, output_fault="cut off"))
    assert ruled.reason == "output structure: cut off; frames: 29 of 30"


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(with_output(frame_times_s=moved(29, 0.0999)), id="a frame late by less than a frame"),
        pytest.param(with_output(frame_times_s=moved(15, -0.0999)), id="a frame early by less than a frame"),
        pytest.param(with_stream(1, first_s=0.0999), id="sound late by less than a frame"),
        pytest.param(with_stream(2, end_s=3.127), id="encoded sound longer by less than a packet"),
        pytest.param(with_stream(2, end_s=2.873), id="encoded sound shorter by less than a packet"),
        pytest.param(with_stream(2, digest="anything", packets=1), id="encoded sound of other bytes and packets"),
        pytest.param(with_stream(0, digest="anything", packets=1), id="video of other bytes"),
        pytest.param(with_stream(0, color_range="tv"), id="limited range, said"),
        pytest.param(having(height=180), id="scaled as asked"),
    ],
)
def test_what_a_good_transcode_may_change(spoil: Spoil) -> None:
    evidence = spoil(GOOD)
    if evidence.height != 360:
        evidence = with_stream(0, height=evidence.height, width=320)(evidence)
    assert verdict(evidence).ruling is Ruling.ARCHIVE


def test_both_moved_together_are_in_sync() -> None:
    moved_all = with_output(frame_times_s=later(5.0))(GOOD)
    for index in (1, 2):
        moved_all = with_stream(index, first_s=5.0, end_s=8.0)(moved_all)
    assert verdict(moved_all).ruling is Ruling.ARCHIVE


@pytest.mark.parametrize(("end_s", "ruling"), [(3.09, Ruling.ARCHIVE), (3.11, Ruling.REJECT)])
def test_sound_whose_packets_have_no_length_may_differ_by_a_tenth_of_a_second(end_s: float, ruling: Ruling) -> None:
    evidence = with_source_stream(2, longest_packet_s=0.0)(with_stream(2, longest_packet_s=0.0, end_s=end_s)(GOOD))
    assert verdict(evidence).ruling is ruling


def test_sounds_are_matched_in_the_order_they_are_mapped() -> None:
    swapped = replace(GOOD, selection=replace(GOOD.selection, copied_audio=(2,), encoded_audio=(1,)))
    assert "sound 2: 47 of 30 packets copied" in verdict(swapped).reason


@pytest.mark.parametrize(
    ("decoded", "declared", "reason"),
    [
        pytest.param(29, 30, "source frames: 29 of 30 declared ones decode", id="fewer than declared"),
        pytest.param(31, 30, "source frames: 31 of 30 declared ones decode", id="more than declared"),
        pytest.param(0, 0, "source frames: 0 of 0 declared ones decode", id="none at all"),
    ],
)
def test_odd_source_is_kept_as_it_is(decoded: int, declared: int, reason: str) -> None:
    ruled = verdict(replace(GOOD, source_frames=decoded, output_frames=decoded, declared_frames=declared))
    assert (ruled.ruling, ruled.reason) == (Ruling.VERBATIM, reason)


def test_odd_source_is_no_fault_of_its_output() -> None:
    ruled = verdict(replace(GOOD, source_frames=29, output_frames=12, output_fault="cut off"))
    assert (ruled.ruling, ruled.reason) == (Ruling.VERBATIM, "source frames: 29 of 30 declared ones decode")


@pytest.mark.parametrize(
    ("output_size", "ruling"),
    [
        (949, Ruling.ARCHIVE),
        (950, Ruling.VERBATIM),
        (951, Ruling.VERBATIM),
        (1000, Ruling.VERBATIM),
        (5000, Ruling.VERBATIM),
    ],
)
def test_output_must_be_below_95_percent(output_size: int, ruling: Ruling) -> None:
    assert verdict(replace(GOOD, output_size=output_size)).ruling is ruling


def test_output_not_worth_it_says_its_share() -> None:
    assert (
        verdict(replace(GOOD, output_size=970)).reason == "a transcode would take 97 % of the original's size or more"
    )


def test_wrong_output_is_rejected_whatever_its_size() -> None:
    assert verdict(replace(GOOD, output_frames=29, output_size=5000)).ruling is Ruling.REJECT


@pytest.mark.parametrize(
    ("output", "source", "large"),
    [(0, 100, False), (94, 100, False), (95, 100, True), (19, 20, True), (18, 20, False), (0, 0, True), (1, 0, True)],
)
def test_too_large_is(output: int, source: int, large: bool) -> None:
    assert too_large(output, source) is large


@given(st.integers(0, 2**40))
def test_limit_of_size_is_exact(twentieth: int) -> None:
    source = 20 * twentieth
    assert too_large(19 * twentieth, source)
    assert twentieth == 0 or not too_large(19 * twentieth - 1, source)


@pytest.mark.parametrize(("output", "source", "share"), [(970, 1000, "97"), (2000, 1000, "200"), (7, 0, "100")])
def test_growth_is_told_in_percent(output: int, source: int, share: str) -> None:
    assert grown(output, source) == f"a transcode would take {share} % of the original's size or more"


# ---- likeness

SAME = Likeness(30, (1.0, 1.0, 1.0), 0, 0.0)


@pytest.mark.parametrize(
    ("likeness", "ruling"),
    [
        pytest.param(None, Ruling.ARCHIVE, id="not compared"),
        pytest.param(SAME, Ruling.ARCHIVE, id="the same"),
        pytest.param(replace(SAME, apart_mean=3.1), Ruling.REJECT, id="another"),
    ],
)
def test_output_must_look_like_its_source(likeness: Likeness | None, ruling: Ruling) -> None:
    assert verdict(replace(GOOD, likeness=likeness)).ruling is ruling


def test_likeness_is_named_where_it_was_compared() -> None:
    ruled = verdict(replace(GOOD, likeness=Likeness(30, (0.9876, 0.4123, 0.98), 27, 1.26)))
    assert ruled.reason == (
        "likeness: SSIM of 0.988, in colour 0.412 and 0.980, at least in 30 frames (0.970 wanted), "
        "off by 27 of 255 at a point (24 allowed) and 1.3 in the mean (3.0)"
    )


# ---- depth and codec


@pytest.mark.parametrize(
    ("codec", "source", "output", "ruling"),
    [
        pytest.param("hevc", "yuv420p", "yuv420p", Ruling.ARCHIVE, id="8 of 8 bits"),
        pytest.param("hevc", "yuvj420p", "yuv420p", Ruling.ARCHIVE, id="8 of 8 bits, full range"),
        pytest.param("hevc", "yuv420p10le", "yuv420p10le", Ruling.ARCHIVE, id="10 of 10 bits"),
        pytest.param("hevc", "p010le", "yuv420p10le", Ruling.ARCHIVE, id="10 of 10 bits, packed otherwise"),
        pytest.param("hevc", "yuv420p10le", "yuv420p", Ruling.REJECT, id="8 of 10 bits"),
        pytest.param("hevc", "p010le", "yuv420p", Ruling.REJECT, id="8 of 10 bits, packed otherwise"),
        pytest.param("h264", "yuv420p10le", "yuv420p", Ruling.REJECT, id="8 of 10 bits in H.264"),
        pytest.param("h264", "yuv420p12le", "yuv420p10le", Ruling.ARCHIVE, id="12 bits, which x264 has not"),
        pytest.param("hevc", "yuv420p12le", "yuv420p10le", Ruling.REJECT, id="12 bits, which x265 has"),
        pytest.param("hevc", "gray16le", "gray12le", Ruling.ARCHIVE, id="16 bits, which neither has"),
        pytest.param("hevc", "yuv420p", "yuv420p10le", Ruling.ARCHIVE, id="10 of 8 bits, which lose nothing"),
    ],
)
def test_depth_of_the_picture_is_kept(codec: str, source: str, output: str, ruling: Ruling) -> None:
    spoilt = with_source_stream(0, pix_fmt=source, color_range="pc")(GOOD)
    assert verdict(with_stream(0, pix_fmt=output, codec=codec, color_range="pc")(spoilt)).ruling is ruling


def test_depth_is_named() -> None:
    spoilt = with_stream(0, pix_fmt="yuv420p")(with_source_stream(0, pix_fmt="yuv420p10le")(GOOD))
    assert verdict(spoilt).reason.endswith("8 bits from 10, hevc")


@pytest.mark.parametrize(("asked", "ruling"), [("", Ruling.ARCHIVE), ("hevc", Ruling.ARCHIVE), ("h264", Ruling.REJECT)])
def test_codec_is_the_one_that_was_asked_for(asked: str, ruling: Ruling) -> None:
    ruled = verdict(replace(GOOD, codec=asked))
    assert ruled.ruling is ruling
    assert ruled.reason.endswith("hevc, h264 wanted" if ruling is Ruling.REJECT else "")


# ---- an archive that stood there before


def test_agreement_asks_for_no_size() -> None:
    assert agrees(replace(GOOD, output_size=10**9))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(having(declared_frames=31), id="the source is odd"),
        pytest.param(having(output_frames=29), id="the output is"),
        pytest.param(with_stream(1, digest="else"), id="the sound differs"),
    ],
)
def test_disagreement_in_one_point_is_enough(spoil: Spoil) -> None:
    assert not agrees(spoil(GOOD))
