"""What is read from ffprobe's listing of a clip."""

from __future__ import annotations

import itertools
import math
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import astuple, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiverd.media.probe import Listing, own_url
from archiverd.policy.clip_info import ClipInfo, Stream, StreamKind
from archiverd.policy.encoding import file_url, probe_command
from tools import footage
from tools.footage import Clip

# As ffprobe 5.1 lists an H.264 clip of three frames with AAC sound: the sound's first packet, which only primes its
# decoder, is marked to be dropped and carries side data, so that its line is broken in two.
LISTED = """\
packet|stream_index=1|pts_time=-0.064000|dts_time=-0.064000|duration_time=0.064000|flags=KD|side_data|
|data_hash=MD5:43e7c992f905e75a93caedb80463b827
packet|stream_index=0|pts_time=0.000000|dts_time=-0.040000|duration_time=0.040000|flags=K_|data_hash=MD5:79f0
packet|stream_index=1|pts_time=0.000000|dts_time=0.000000|duration_time=0.064000|flags=K_|data_hash=MD5:4dd8
packet|stream_index=0|pts_time=0.080000|dts_time=0.000000|duration_time=0.040000|flags=__|data_hash=MD5:e3b5
packet|stream_index=0|pts_time=0.040000|dts_time=0.040000|duration_time=0.040000|flags=__|data_hash=MD5:2caf
packet|stream_index=1|pts_time=0.064000|dts_time=0.064000|duration_time=0.028000|flags=K_|data_hash=MD5:4dd8
stream|index=0|codec_name=h264|codec_type=video|width=480|height=270|pix_fmt=yuv420p|color_range=unknown\
|disposition:attached_pic=0|side_data|rotation=-90
stream|index=1|codec_name=aac|codec_type=audio|disposition:attached_pic=0
format|duration=0.120000|tag:major_brand=isom|tag:creation_time=2024-03-09T16:13:07.000000Z|tag:encoder=Lavf59.27.100
"""
FIRST_FRAME = LISTED.splitlines()[2]
VIDEO_LINE = "stream|index=0|codec_name=h264|codec_type=video|width=480|height=270"


def read(*lines: str) -> ClipInfo:
    listing = Listing()
    for line in lines:
        assert listing.feed(line) is True
    return listing.info()


def video_of(*lines: str) -> Stream:
    video = read(*lines).video
    assert video is not None
    return video


def sound_of(info: ClipInfo) -> Stream:
    (sound,) = info.of_kind(StreamKind.AUDIO)
    return sound


@pytest.fixture(name="clip", scope="module")
def _clip() -> ClipInfo:
    return read(*LISTED.splitlines())


# ---- a listing in full


def test_video_stream_is_read(clip: ClipInfo) -> None:
    assert replace(clip.streams[0], digest="") == Stream(
        index=0, kind=StreamKind.VIDEO, codec="h264", packets=3, first_s=0.0, end_s=0.12, longest_packet_s=0.04,
        digest="", width=480, height=270, pix_fmt="yuv420p", color_range="", rotation=-90,
    )  # fmt: skip


def test_sound_is_read_without_its_dropped_packet(clip: ClipInfo) -> None:
    sound = sound_of(clip)
    assert (sound.packets, sound.first_s, sound.end_s, sound.longest_packet_s) == (2, 0.0, 0.092, 0.064)


def test_dropped_packet_counts_among_the_payloads(clip: ClipInfo) -> None:
    without = read(*LISTED.splitlines()[2:])
    assert sound_of(clip).digest != sound_of(without).digest


def test_frame_times_are_those_of_the_video_ascending(clip: ClipInfo) -> None:
    assert clip.frame_times_s == (0.0, 0.04, 0.08)


def test_duration_and_tags_are_read(clip: ClipInfo) -> None:
    assert clip.duration_s == 0.12
    assert clip.tags == {
        "major_brand": "isom",
        "creation_time": "2024-03-09T16:13:07.000000Z",
        "encoder": "Lavf59.27.100",
    }


def test_nothing_listed_is_an_empty_clip() -> None:
    assert read() == ClipInfo((), 0.0, {}, ())


def test_listing_may_be_asked_twice() -> None:
    listing = Listing()
    for line in LISTED.splitlines():
        listing.feed(line)
    assert listing.info() == listing.info()


# ---- packets


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("data_hash=MD5:79f0", "data_hash=MD5:79f1", id="another payload"),
        pytest.param("|data_hash=MD5:79f0", "", id="no payload told"),
    ],
)
def test_digest_tells_payloads_apart(before: str, after: str) -> None:
    changed = FIRST_FRAME.replace(before, after)
    assert changed != FIRST_FRAME
    assert video_of(FIRST_FRAME, VIDEO_LINE).digest != video_of(changed, VIDEO_LINE).digest


def test_digest_tells_the_order_of_payloads() -> None:
    other = FIRST_FRAME.replace("79f0", "0000")
    assert video_of(FIRST_FRAME, other, VIDEO_LINE).digest != video_of(other, FIRST_FRAME, VIDEO_LINE).digest


def test_digest_does_not_depend_on_times() -> None:
    later = FIRST_FRAME.replace("pts_time=0.000000", "pts_time=9.000000")
    assert video_of(FIRST_FRAME, VIDEO_LINE).digest == video_of(later, VIDEO_LINE).digest


@pytest.mark.parametrize(
    ("times", "frame_times_s"),
    [
        pytest.param("pts_time=1.5|dts_time=1.0|duration_time=0.1", (1.5,), id="presentation time"),
        pytest.param("pts_time=N/A|dts_time=1.0|duration_time=0.1", (1.0,), id="else decoding time"),
        pytest.param("dts_time=1.0|duration_time=0.1", (1.0,), id="which may be all there is"),
        pytest.param("pts_time=N/A|dts_time=N/A|duration_time=0.1", (), id="no time"),
        pytest.param("pts_time=nan|dts_time=inf|duration_time=0.1", (), id="no finite time"),
        pytest.param("pts_time=1e308|dts_time=1.0|duration_time=0.1", (1.0,), id="no time beyond 64 bits"),
        pytest.param("pts_time=-0.5|dts_time=-0.5|duration_time=0.1", (-0.5,), id="before zero"),
        pytest.param("pts_time=0.0|dts_time=-0.1|duration_time=0.1", (0.0,), id="zero is a time"),
    ],
)
def test_time_of_a_packet_is(times: str, frame_times_s: tuple[float, ...]) -> None:
    assert read(f"packet|stream_index=0|{times}|flags=K_|data_hash=MD5:1", VIDEO_LINE).frame_times_s == frame_times_s


def test_packet_without_times_counts_all_the_same() -> None:
    line = "packet|stream_index=0|pts_time=N/A|dts_time=N/A|duration_time=N/A|flags=K_|data_hash=MD5:1"
    video = video_of(line, VIDEO_LINE)
    assert (video.packets, video.first_s, video.end_s) == (1, 0.0, 0.0)


def test_packet_without_length_ends_where_it_begins() -> None:
    line = "packet|stream_index=0|pts_time=2.0|dts_time=2.0|duration_time=N/A|flags=K_|data_hash=MD5:1"
    video = video_of(line, VIDEO_LINE)
    assert (video.first_s, video.end_s, video.longest_packet_s) == (2.0, 2.0, 0.0)


@pytest.mark.parametrize(
    ("flags", "packets"), [("K_", 1), ("__", 1), ("_C", 1), ("KD", 0), ("_D", 0), ("KDC", 0), ("", 1)]
)
def test_packet_to_be_dropped_does_not_count(flags: str, packets: int) -> None:
    line = f"packet|stream_index=0|pts_time=0.0|dts_time=0.0|duration_time=0.1|flags={flags}|data_hash=MD5:1"
    assert video_of(line, VIDEO_LINE).packets == packets


@pytest.mark.parametrize(
    ("decoded_at", "rises"),
    [
        pytest.param(("0.0",), True, id="one"),
        pytest.param(("-0.2", "-0.1", "0.0"), True, id="later each time"),
        pytest.param(("0.0", "0.1", "0.1"), False, id="twice the same"),
        pytest.param(("0.0", "0.2", "0.1", "0.3"), False, id="a step back"),
        pytest.param(("0.0", "N/A", "0.1"), True, id="one without a time"),
        pytest.param(("0.2", "N/A", "0.1"), False, id="a step back over one without a time"),
    ],
)
def test_times_of_a_stream_rise(decoded_at: tuple[str, ...], rises: bool) -> None:
    """By the times of decoding: B-frames are shown in another order."""
    packets = [
        f"packet|stream_index=0|pts_time={9 - number}|dts_time={at}|duration_time=0.1|flags=__|data_hash=MD5:1"
        for number, at in enumerate(decoded_at)
    ]
    assert video_of(*packets, VIDEO_LINE).rises is rises


def test_packet_to_be_dropped_may_step_back() -> None:
    times = (("0.1", "__"), ("0.0", "_D"), ("0.2", "__"))
    packets = [f"packet|stream_index=0|pts_time={at}|dts_time={at}|flags={flags}|data_hash=" for at, flags in times]
    assert video_of(*packets, VIDEO_LINE).rises is True


def test_stream_without_packets_has_none() -> None:
    video = video_of(VIDEO_LINE)
    assert (video.packets, video.duration_s) == (0, 0.0)


def test_packets_of_a_stream_nobody_names_are_nobodys() -> None:
    info = read("packet|stream_index=7|pts_time=1.0|flags=K_|data_hash=MD5:1", VIDEO_LINE)
    assert (info.streams[0].packets, info.frame_times_s) == (0, ())


def test_packet_may_be_continued_more_than_once() -> None:
    broken = ["packet|stream_index=0|pts_time=1.0|flags=K_|side_data|", "|side_data|", "|data_hash=MD5:1"]
    assert video_of(*broken, VIDEO_LINE) == video_of("".join(broken), VIDEO_LINE)


# ---- streams


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        pytest.param("codec_type=video", "kind", StreamKind.VIDEO, id="video"),
        pytest.param("codec_type=audio", "kind", StreamKind.AUDIO, id="sound"),
        pytest.param("codec_type=subtitle", "kind", StreamKind.SUBTITLE, id="text"),
        pytest.param("codec_type=data", "kind", StreamKind.OTHER, id="data"),
        pytest.param("codec_type=other", "kind", StreamKind.OTHER, id="our own word for the rest"),
        pytest.param("codec_type=unknown", "kind", StreamKind.OTHER, id="unknown"),
        pytest.param("codec_name=aac", "kind", StreamKind.OTHER, id="no kind"),
        pytest.param("width=640", "width", 640, id="width"),
        pytest.param("height=N/A", "height", 0, id="no height"),
        pytest.param("color_range=pc", "color_range", "pc", id="full range"),
        pytest.param("color_range=tv", "color_range", "tv", id="limited range"),
        pytest.param("color_range=unknown", "color_range", "", id="unknown range"),
        pytest.param("disposition:attached_pic=1", "is_picture", True, id="a cover picture"),
        pytest.param("disposition:attached_pic=0", "is_picture", False, id="no cover picture"),
        pytest.param("side_data|rotation=-90", "rotation", -90, id="rotation"),
        pytest.param("side_data|rotation=180", "rotation", 180, id="upside down"),
        pytest.param("side_data|rotation=N/A", "rotation", 0, id="no rotation told"),
        pytest.param("tag:rotate=90", "rotation", 0, id="the tag of older versions says it with another sign"),
        pytest.param("side_data|side_datum/display_matrix:rotation=90", "rotation", 90, id="rotation by its long name"),
        pytest.param("index=-3", "index", -3, id="a strange index"),
        pytest.param("index=N/A", "index", 0, id="no index"),
    ],
)
def test_stream_line_says(line: str, field: str, value: object) -> None:
    (stream,) = read(f"stream|{line}").streams
    assert getattr(stream, field) == value


def test_cover_picture_before_the_video_is_not_the_footage() -> None:
    cover = "stream|index=0|codec_name=mjpeg|codec_type=video|disposition:attached_pic=1"
    info = read(
        "packet|stream_index=0|pts_time=0.0|flags=K_|data_hash=MD5:1",
        "packet|stream_index=1|pts_time=0.5|flags=K_|data_hash=MD5:2",
        cover, "stream|index=1|codec_name=h264|codec_type=video|disposition:attached_pic=0",
    )  # fmt: skip
    assert info.video is not None
    assert (info.video.codec, info.frame_times_s) == ("h264", (0.5,))


# ---- tags


@pytest.mark.parametrize(
    ("listed", "value"),
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param("", "", id="empty"),
        pytest.param("a=b=c", "a=b=c", id="equals signs"),
        pytest.param(r"one\|two", "one|two", id="a bar"),
        pytest.param(r"one\ntwo\r", "one\ntwo\r", id="ends of lines"),
        pytest.param(r"C:\\new", r"C:\new", id="a backslash before an n"),
        pytest.param(r"\b\f\t", "\b\f\t", id="other controls"),
        pytest.param(r'{"sha256"\: "5\|5"}', '{"sha256": "5|5"}', id="what needs no escape"),
        pytest.param("камера 前", "камера 前", id="other scripts"),
        pytest.param("end\\", "end", id="a backslash at the end, which ffprobe never writes"),
    ],
)
def test_value_of_a_tag_is(listed: str, value: str) -> None:
    assert read(f"format|duration=1.0|tag:comment={listed}").tags["comment"] == value


@pytest.mark.parametrize("duration", ["N/A", "", "nan", "inf", "-inf", "1e999", "abc"])
def test_duration_that_is_no_number_is_zero(duration: str) -> None:
    assert read(f"format|duration={duration}").duration_s == 0.0


HONEST = [*LISTED.splitlines()[:-1], r"format|duration=0.120000|tag:archiverd={\"sha256\"\: \"5\"}"]


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("x\npacket|stream_index=0|pts_time=9.0|flags=K_|data_hash=MD5:9", id="a packet"),
        pytest.param("x\n|stream_index=0", id="a continuation"),
        pytest.param("x\nstream|index=9|codec_name=h264|codec_type=video", id="a stream"),
        pytest.param("x\nformat|duration=99", id="a second format"),
        pytest.param("x|duration=99", id="a duration"),
        pytest.param("x\n\n", id="empty lines"),
    ],
)
@pytest.mark.parametrize("value", ["", "=v"])
def test_key_of_a_tag_forges_nothing(key: str, value: str) -> None:
    """ffprobe escapes the value of a tag, not its key, and an upload may bring any key."""
    *before, last = HONEST
    honest, forged = read(*HONEST), read(*before, *f"{last}|tag:{key}{value}".split("\n"))
    assert (forged.streams, forged.frame_times_s) == (honest.streams, honest.frame_times_s)
    assert forged.duration_s == honest.duration_s


@pytest.mark.parametrize("forged_first", [True, False], ids=["forged before", "forged after"])
@pytest.mark.parametrize("end", ["|", "\nformat|"], ids=["as a field", "as a record"])
def test_tag_that_is_told_twice_is_not_believed(forged_first: bool, end: str) -> None:
    forged, honest = f"tag:x{end}tag:archiverd=forged", "tag:archiverd=honest"
    tags = (forged, honest) if forged_first else (honest, forged)
    info = read(*f"format|duration=1.0|{'|'.join(tags)}".split("\n"))
    assert (info.duration_s, "archiverd" in info.tags) == (1.0, False)


# ---- whatever comes

SECTIONS = ["packet", "stream", "format", "", "side_data", "program"]
KEYS = [
    "stream_index", "pts_time", "dts_time", "duration_time", "flags", "data_hash", "index", "codec_type", "width",
    "height", "rotation", "duration", "tag:a", "color_range",
]  # fmt: skip
values = st.one_of(
    st.floats().map(str), st.integers().map(str), st.sampled_from(["N/A", "video", "audio", "KD", "1e308", "-1e308"]),
    st.text(max_size=8),
)  # fmt: skip
pairs = st.builds(lambda key, value: f"{key}={value}", st.sampled_from(KEYS), values)
records = st.builds(lambda section, rest: "|".join((section, *rest)), st.sampled_from(SECTIONS), st.lists(pairs))


def test_lengths_beyond_all_bounds_add_up_to_nothing_infinite() -> None:
    line = "packet|stream_index=0|pts_time=1e300|dts_time=1.8e19|duration_time=1e308|flags=K_|data_hash=MD5:1"
    assert all(math.isfinite(number) for number in numbers(read(line, line.replace("1.8e19", "-1.8e19"), VIDEO_LINE)))


def numbers(info: ClipInfo) -> Iterable[float]:
    yield from (info.duration_s, info.frame_interval_s, *info.frame_times_s)
    for stream in info.streams:
        yield stream.duration_s
        yield from (value for value in astuple(stream) if isinstance(value, int | float))


@given(st.lists(st.one_of(records, st.text()), max_size=30))
def test_any_lines_give_finite_numbers(lines: list[str]) -> None:
    assert all(math.isfinite(number) for number in numbers(read(*lines)))


@given(st.lists(st.builds("packet|{}".format, pairs.map(lambda pair: f"stream_index=0|{pair}")), min_size=1))
def test_any_packets_leave_times_in_order(lines: list[str]) -> None:
    info = read(*lines, VIDEO_LINE)
    assert list(info.frame_times_s) == sorted(info.frame_times_s)
    assert info.streams[0].first_s <= info.streams[0].end_s or any("duration_time=-" in line for line in lines)


def test_key_of_many_lines_is_read_in_moderate_time() -> None:
    listing = Listing()
    listing.feed("format|duration=1.0|tag:x")
    began = time.process_time()
    for _ in range(200_000):
        listing.feed("packet|stream_index=0|")
    assert listing.info().duration_s == 1.0
    assert time.process_time() - began < 30


@given(st.text(), st.text())
def test_tag_survives_the_escapes_of_ffprobe(value: str, other: str) -> None:
    """libavutil/bprint and fftools/ffprobe.c, `c_escape_str`: a backslash before what would end or break a field."""
    escapes = {"\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\\": r"\\", "|": r"\|"}
    listed = ["".join(escapes.get(character, character) for character in text) for text in (value, other)]
    assert read(f"format|duration=1.0|tag:one={listed[0]}|tag:two={listed[1]}").tags == {"one": value, "two": other}


# ---- listings of the ffprobe that is installed


@pytest.fixture(name="listed", scope="module")
def _listed() -> Callable[[Path], ClipInfo]:
    def listed(path: Path) -> ClipInfo:
        done = subprocess.run(probe_command(file_url(str(path))), check=True, capture_output=True, text=True)
        return read(*done.stdout.split("\n"))

    return listed


@pytest.mark.parametrize("layout", ["moov_last", "moov_first", "fragmented"])
def test_real_clip_is_read(listed: Callable[[Path], ClipInfo], layout: footage.Layout) -> None:
    info = listed(footage.cached(Clip("probe", 320, 180, "10", 1.0, audio="aac", layout=layout)))
    video, sound = info.video, sound_of(info)
    assert video is not None
    assert (video.codec, video.width, video.height, video.packets) == ("h264", 320, 180, 10)
    assert info.frame_times_s == pytest.approx([n / 10 for n in range(10)], abs=0.07)
    assert (sound.codec, sound.longest_packet_s) == ("aac", 0.064)
    assert info.duration_s == pytest.approx(1.0, abs=0.1)
    assert info.tags["creation_time"] == "2024-03-09T16:30:00.000000Z"


@pytest.mark.parametrize(
    ("clip", "field", "value"),
    [
        pytest.param(Clip("probe", 320, 180, "10", 1.0, rotation=90), "rotation", -90, id="rotated"),
        pytest.param(Clip("probe", 320, 180, "10", 1.0, full_range=True), "color_range", "pc", id="full range"),
        pytest.param(Clip("probe", 320, 180, "10", 1.0), "color_range", "", id="range not told"),
        pytest.param(Clip("probe", 320, 180, "10", 1.0, codec="hevc"), "codec", "hevc", id="HEVC"),
        pytest.param(Clip("probe", 320, 180, "10", 1.0, bframes=2), "packets", 10, id="B-frames"),
    ],
)
def test_real_video_stream_says(
    listed: Callable[[Path], ClipInfo], clip: Clip, field: str, value: object
) -> None:  # fmt: skip
    assert getattr(listed(footage.cached(clip)).video, field) == value


def test_real_video_stream_names_its_encoder(listed: Callable[[Path], ClipInfo]) -> None:
    video = listed(footage.cached(Clip("probe", 320, 180, "10", 1.0))).video
    assert video is not None
    assert video.encoder.endswith("libx264")


def test_real_frame_times_are_uneven_where_the_rate_is(listed: Callable[[Path], ClipInfo]) -> None:
    times = listed(footage.cached(Clip("probe", 320, 180, "10", 2.0, vfr=True))).frame_times_s
    gaps = [round(later - earlier, 3) for earlier, later in itertools.pairwise(times)]
    assert len(set(gaps)) > 3


def remuxed(source: Path, path: Path, *options: str) -> Path:
    """The streams of a clip in a new file, with what the options add."""
    subprocess.run(("ffmpeg", "-v", "error", "-i", source, *options, path), check=True)
    return path


def test_real_cover_picture_is_told_apart(listed: Callable[[Path], ClipInfo], tmp_path: Path) -> None:
    source = footage.cached(Clip("probe", 320, 180, "10", 1.0))
    cover = ("-f", "lavfi", "-i", "color=red:s=32x32:d=0.1", "-map", "0", "-map", "1", "-c:v:0", "copy")
    disposition = ("-c:v:1", "png", "-frames:v:1", "1", "-disposition:v:1", "attached_pic")
    info = listed(remuxed(source, tmp_path / "covered.mp4", *cover, *disposition))
    assert [(stream.codec, stream.is_picture) for stream in info.streams] == [("h264", False), ("png", True)]
    assert info.frame_times_s == listed(source).frame_times_s


def test_real_hostile_tags_forge_nothing(listed: Callable[[Path], ClipInfo], tmp_path: Path) -> None:
    source = footage.cached(Clip("probe", 320, 180, "10", 1.0))
    tags = {
        "comment": "p|q\\\r\nstream|index=7",
        "evil\npacket|stream_index=0|pts_time=9.0|flags=K_|data_hash": "MD5:9",
        "evil\nstream|codec_type": "video",
        "evil\nformat|duration": "99",
        "bar|duration": "99",
    }
    words = [word for key, value in tags.items() for word in ("-metadata", f"{key}={value}")]
    hostile = remuxed(source, tmp_path / "hostile.mp4", "-c", "copy", *words, "-movflags", "use_metadata_tags")
    info, plain = listed(hostile), listed(source)
    assert (info.streams, info.frame_times_s) == (plain.streams, plain.frame_times_s)
    assert info.duration_s == pytest.approx(plain.duration_s)
    assert info.tags["comment"] == tags["comment"]
    assert not info.tags.keys() & {"archiverd", "duration"}


def test_url_of_an_open_file_names_its_descriptor() -> None:
    assert own_url(7) == "file:/proc/self/fd/7"
