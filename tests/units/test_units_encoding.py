"""The command lines of ffmpeg and ffprobe.

Each stands in `golden/<case>.txt` as a reviewer reads it, an option a line. After a wanted change,
`ARCHIVERD_WRITE_GOLDEN=1 pytest tests/units/test_units_encoding.py` writes them anew; that run still fails.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from archiverd.policy.clip_info import ClipInfo, Stream, StreamKind, select
from archiverd.policy.encoding import (
    EncodeSettings,
    file_url,
    likeness_command,
    probe_command,
    strict_decode_command,
    transcode_command,
)
from archiverd.policy.rungs import SOFTWARE, Engine, RateControl, Rung, rate_controls

GOLDEN = Path(__file__).with_name("golden")
WRITE = "ARCHIVERD_WRITE_GOLDEN"

VIDEO = Stream(0, StreamKind.VIDEO, "h264", 30, 0.0, 2.0, 0.1, "v", width=1920, height=1080, pix_fmt="yuv420p")
FULL_RANGE = replace(VIDEO, pix_fmt="yuvj420p", color_range="pc")
HEVC_VIDEO = replace(VIDEO, codec="hevc")
HEVC_10_VIDEO = replace(HEVC_VIDEO, pix_fmt="yuv420p10le")
MJPEG = replace(FULL_RANGE, codec="mjpeg")
AAC = Stream(1, StreamKind.AUDIO, "aac", 30, 0.0, 2.0, 0.1, "a")
G711 = Stream(2, StreamKind.AUDIO, "pcm_alaw", 30, 0.0, 2.0, 0.1, "g")
TEXT = Stream(3, StreamKind.SUBTITLE, "mov_text", 3, 0.0, 2.0, 0.1, "t")

HEVC = EncodeSettings("hevc", 25, "fast")
H264 = EncodeSettings("h264", 23, "medium")
SOURCE, TARGET = file_url("/proc/self/fd/7"), file_url("/proc/self/fd/8")
TAGS = {"archiverd": '{"v": 1, "source": "2026/06/30/REO_front 1_20260630081500.mp4"}'}

Command = tuple[str, ...]


TIMES = tuple(number / 15 for number in range(30))  # seconds
INTEL, ANY = "/dev/dri/renderD128", "/dev/dri/renderD129"
QSV, QSV_ENCODE = (Engine(rung, RateControl.ICQ, INTEL, "iHD") for rung in (Rung.QSV, Rung.QSV_ENCODE))
VAAPI = Engine(Rung.VAAPI, RateControl.CQP, ANY)
LOW = replace(HEVC, max_height=720)


def transcode(
    *streams: Stream, settings: EncodeSettings = HEVC, engine: Engine = SOFTWARE, tags: dict[str, str] | None = None,
    times: tuple[float, ...] = TIMES, duration_s: float = 2.0,
) -> Command:  # fmt: skip
    info = ClipInfo(streams, duration_s, {}, times)
    return transcode_command(
        info, select(info), settings, engine, SOURCE, TARGET, size_bytes=2_000_000, tags=TAGS if tags is None else tags
    )


def by_rate_control(engine: Engine, settings: EncodeSettings) -> dict[str, Command]:
    """A transcode with each of a rung's rate controls."""
    return {
        f"{engine.rung}_{settings.codec}_by_{control.replace(',', '')}".replace(" ", "_").replace("-", "_"): transcode(
            VIDEO, AAC, settings=settings, engine=replace(engine, rate_control=control)
        )
        for control in rate_controls(engine.rung)
    }


IN_SOFTWARE = {
    "transcode_hevc": transcode(VIDEO, AAC),
    "transcode_h264": transcode(VIDEO, AAC, settings=H264),
    "transcode_full_range": transcode(FULL_RANGE, AAC),
    "transcode_max_height": transcode(VIDEO, AAC, settings=LOW),
    "transcode_full_range_max_height": transcode(FULL_RANGE, AAC, settings=LOW),
    "transcode_g711_and_aac": transcode(VIDEO, replace(G711, index=1), replace(AAC, index=2)),
    "transcode_no_audio": transcode(VIDEO),
    "transcode_text": transcode(VIDEO, AAC, TEXT),
}
ON_QSV = {
    "qsv_hevc_from_h264": transcode(VIDEO, AAC, engine=QSV),
    "qsv_hevc_from_hevc": transcode(HEVC_VIDEO, AAC, engine=QSV),
    "qsv_hevc_from_hevc_10_bit": transcode(HEVC_10_VIDEO, AAC, engine=QSV),
    "qsv_h264_from_h264": transcode(VIDEO, AAC, settings=H264, engine=QSV),
    "qsv_h264_from_hevc": transcode(HEVC_VIDEO, AAC, settings=H264, engine=QSV),
    "qsv_hevc_full_range": transcode(FULL_RANGE, AAC, engine=QSV),
    "qsv_hevc_max_height": transcode(VIDEO, AAC, settings=LOW, engine=QSV),
    "qsv_hevc_g711_and_text": transcode(VIDEO, G711, TEXT, engine=QSV),
    "qsv_hevc_on_another_driver": transcode(VIDEO, AAC, engine=replace(QSV, driver="")),
    **by_rate_control(QSV, HEVC),
    **by_rate_control(QSV, H264),
}
ON_QSV_ENCODE = {
    "qsv_encode_hevc_from_8_bit": transcode(VIDEO, AAC, engine=QSV_ENCODE),
    "qsv_encode_hevc_from_10_bit": transcode(HEVC_10_VIDEO, AAC, engine=QSV_ENCODE),
    "qsv_encode_h264_from_8_bit": transcode(HEVC_VIDEO, AAC, settings=H264, engine=QSV_ENCODE),
    "qsv_encode_hevc_full_range": transcode(MJPEG, AAC, engine=QSV_ENCODE),
    "qsv_encode_hevc_full_range_max_height": transcode(FULL_RANGE, AAC, settings=LOW, engine=QSV_ENCODE),
    "qsv_encode_hevc_max_height": transcode(VIDEO, AAC, settings=LOW, engine=QSV_ENCODE),
    **by_rate_control(QSV_ENCODE, HEVC),
}
ON_VAAPI = {
    "vaapi_hevc_from_8_bit": transcode(VIDEO, AAC, engine=VAAPI),
    "vaapi_hevc_from_10_bit": transcode(HEVC_10_VIDEO, AAC, engine=VAAPI),
    "vaapi_h264_from_8_bit": transcode(VIDEO, AAC, settings=H264, engine=VAAPI),
    "vaapi_hevc_full_range": transcode(FULL_RANGE, AAC, engine=VAAPI),
    "vaapi_hevc_max_height": transcode(VIDEO, AAC, settings=LOW, engine=VAAPI),
    "vaapi_hevc_full_range_max_height": transcode(FULL_RANGE, AAC, settings=LOW, engine=VAAPI),
    "vaapi_hevc_on_intel": transcode(VIDEO, AAC, engine=replace(VAAPI, device=INTEL, driver="iHD")),
    **by_rate_control(VAAPI, HEVC),
    **by_rate_control(VAAPI, H264),
}
TRANSCODES = IN_SOFTWARE | ON_QSV | ON_QSV_ENCODE | ON_VAAPI
DECODES = {
    "strict_decode": strict_decode_command(SOURCE, encoded_audio=False),
    "strict_decode_with_audio": strict_decode_command(SOURCE, encoded_audio=True),
}
PROBES = {"probe": probe_command(SOURCE)}
LIKENESSES = {
    "likeness": likeness_command(SOURCE, TARGET),
}

READING = TRANSCODES | DECODES | PROBES
COMMANDS = READING | LIKENESSES

# Options that take no value.
FLAGS = frozenset(
    {
        "-hide_banner", "-nostdin", "-y", "-xerror", "-noautorotate",
        "-show_packets", "-show_streams", "-show_format",
    }
)  # fmt: skip


def options(command: Command) -> Iterator[tuple[str, ...]]:
    """Each option with its value; what is no option stands alone."""
    words = iter(command[1:])
    for word in words:
        yield (word, next(words)) if word.startswith("-") and word != "-" and word not in FLAGS else (word,)


def rendered(command: Command) -> str:
    return "".join(f"{line}\n" for line in (command[0], *map(shlex.join, options(command))))


# ---- as a whole


@pytest.mark.parametrize("case", COMMANDS)
def test_command_is_the_golden_one(case: str) -> None:
    golden = GOLDEN / f"{case}.txt"
    text = rendered(COMMANDS[case])
    if os.environ.get(WRITE) and (not golden.exists() or golden.read_text() != text):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
        pytest.fail(f"{golden} was written: look at it, and run again without {WRITE}")
    assert text.splitlines() == golden.read_text().splitlines()


def test_every_golden_command_is_one_of_ours() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(COMMANDS)


@pytest.mark.parametrize("case", COMMANDS)
def test_golden_command_is_a_command_line(case: str) -> None:
    assert tuple(shlex.split((GOLDEN / f"{case}.txt").read_text())) == COMMANDS[case]


# ---- hostile input


def before_input(command: Command) -> list[tuple[str, ...]]:
    groups = list(options(command))
    (at,) = (number for number, group in enumerate(groups) if group[0] == "-i")
    return groups[:at]


@pytest.mark.parametrize("case", READING)
@pytest.mark.parametrize(
    "guard",
    [("-f", "mov"), ("-format_whitelist", "mov"), ("-protocol_whitelist", "file"), ("-max_pixels", "67108864")],
    ids=" ".join,
)
def test_input_is_guarded(case: str, guard: tuple[str, str]) -> None:
    groups = before_input(READING[case])
    assert [group for group in groups if group[0] == guard[0]] == [guard]


@pytest.mark.parametrize("case", READING)
def test_only_input_is_the_file(case: str) -> None:
    assert [group[1] for group in options(READING[case]) if group[0] == "-i"] == [SOURCE]


@pytest.mark.parametrize("case", TRANSCODES)
def test_only_output_is_the_file(case: str) -> None:
    *_, form, output = options(TRANSCODES[case])
    positional = [group for group in options(TRANSCODES[case]) if not group[0].startswith("-")]
    assert (form, positional) == (("-f", "mp4"), [(TARGET,)])
    assert output == (TARGET,)


@pytest.mark.parametrize("case", DECODES | LIKENESSES)
def test_decode_writes_no_file(case: str) -> None:
    assert COMMANDS[case][-3:] == ("-f", "null", "-")
    assert {group[0] for group in options(COMMANDS[case]) if not group[0].startswith("-")} <= {"-"}


@pytest.mark.parametrize("case", LIKENESSES)
def test_both_compared_clips_are_guarded_and_decoded_strictly(case: str) -> None:
    before: list[tuple[str, ...]] = []
    for clip in (SOURCE, TARGET):
        groups = list(options(LIKENESSES[case]))[len(before) :]
        before = groups[: groups.index(("-i", clip))]
        assert {
            ("-f", "mov"), ("-format_whitelist", "mov"), ("-protocol_whitelist", "file"), ("-max_pixels", "67108864"),
            ("-err_detect", "explode"), ("-noautorotate",),
        } <= set(before)  # fmt: skip
        before = [*before, ("-i", clip)]


@pytest.mark.parametrize("case", TRANSCODES | DECODES)
@pytest.mark.parametrize("word", ["-xerror", "-err_detect", "-noautorotate"])
def test_decoding_is_strict_and_leaves_the_picture_as_it_lies(case: str, word: str) -> None:
    assert word in {group[0] for group in before_input(COMMANDS[case])}


@pytest.mark.parametrize("case", TRANSCODES | DECODES | LIKENESSES)
def test_ffmpeg_reads_no_keys(case: str) -> None:
    assert "-nostdin" in COMMANDS[case]


@pytest.mark.parametrize(
    "path",
    ["/camera/a.mp4", "/camera/-i", "/camera/x:y.mp4", "/camera/%03d.mp4", "/camera/http://x", "/c/\udcff|concat:"],
)
def test_path_is_a_file_whatever_is_in_its_name(path: str) -> None:
    assert file_url(path) == f"file:{path}"


@pytest.mark.parametrize("build", [probe_command, functools.partial(strict_decode_command, encoded_audio=True)])
def test_name_of_a_file_stays_one_word(build: Callable[[str], Command]) -> None:
    plain, strange = build(file_url("/x")), build(file_url("/a b -f lavfi|\n"))
    assert [word for word in strange if word not in plain] == ["file:/a b -f lavfi|\n"]
    assert len(strange) == len(plain)


# ---- what differs from clip to clip


def values_of(command: Command, option: str) -> list[str]:
    return [group[1] for group in options(command) if group[0] == option]


@pytest.mark.parametrize("case", TRANSCODES)
def test_quick_sync_alone_is_told_to_make_no_frames_out_of_order(case: str) -> None:
    assert values_of(TRANSCODES[case], "-bf") == (["0"] if case in ON_QSV | ON_QSV_ENCODE else [])


@pytest.mark.parametrize(
    ("height", "max_height", "filters"),
    [
        pytest.param(1080, None, [], id="no limit"),
        pytest.param(1080, 1080, [], id="at the limit"),
        pytest.param(720, 1080, [], id="below it: never scaled up"),
        pytest.param(1082, 1080, ["scale=1916:1080"], id="above it"),
    ],
)
def test_picture_is_scaled(height: int, max_height: int | None, filters: list[str]) -> None:
    command = transcode(replace(VIDEO, height=height), settings=replace(HEVC, max_height=max_height))
    assert values_of(command, "-vf") == filters


@pytest.mark.parametrize(
    ("pix_fmt", "color_range", "full"),
    [
        pytest.param("yuvj420p", "pc", True, id="by both"),
        pytest.param("yuv420p", "pc", True, id="by the range"),
        pytest.param("yuvj420p", "", True, id="by the pixel format"),
        pytest.param("yuv420p", "tv", False, id="limited"),
        pytest.param("yuv420p", "", False, id="not told"),
    ],
)
def test_full_range_is_kept(pix_fmt: str, color_range: str, full: bool) -> None:
    command = transcode(replace(VIDEO, pix_fmt=pix_fmt, color_range=color_range))
    assert values_of(command, "-color_range") == (["pc"] if full else [])
    assert values_of(command, "-vf") == (["scale=in_range=pc:out_range=pc"] if full else [])


@pytest.mark.parametrize(
    ("width", "height", "limit", "size"),
    [
        pytest.param(1920, 1080, 720, "1280:720", id="a shape that comes out even"),
        pytest.param(2560, 1920, 1080, "1440:1080", id="4:3"),
        pytest.param(1920, 1080, 480, "854:480", id="rounded to the nearest even width"),
        pytest.param(5120, 1440, 1080, "3840:1080", id="two pictures side by side"),
        pytest.param(1080, 1920, 720, "406:720", id="upright: 405 is odd"),
        pytest.param(2, 1000, 16, "2:16", id="never nothing"),
    ],
)
@pytest.mark.parametrize("engine", [SOFTWARE, QSV, QSV_ENCODE, VAAPI], ids=lambda engine: engine.rung)
def test_scaled_size_is_even_and_the_same_on_every_rung(
    engine: Engine, width: int, height: int, limit: int, size: str
) -> None:
    video = replace(VIDEO, width=width, height=height)
    (filters,) = values_of(transcode(video, settings=replace(HEVC, max_height=limit), engine=engine), "-vf")
    wide, high = size.split(":")
    assert re.search(rf"^(scale={size}|vpp_qsv=w={wide}:h={high})(,|$)", filters)


@pytest.mark.parametrize(
    ("streams", "maps"),
    [
        pytest.param((VIDEO,), ["0:0"], id="video alone"),
        pytest.param((VIDEO, G711, AAC, TEXT), ["0:0", "0:1", "0:2", "0:3"], id="copied sound before encoded"),
        pytest.param((replace(AAC, index=0), replace(VIDEO, index=1)), ["0:1", "0:0"], id="video first"),
        pytest.param((VIDEO, replace(TEXT, codec="subrip")), ["0:0"], id="what MP4 can't hold is left out"),
    ],
)
def test_streams_are_mapped(streams: tuple[Stream, ...], maps: list[str]) -> None:
    assert values_of(transcode(*streams), "-map") == maps


def test_tag_is_one_word_whatever_it_holds() -> None:
    command = transcode(VIDEO, tags={"archiverd": "a=b -y\n", "other": ""})
    assert values_of(command, "-metadata") == ["archiverd=a=b -y\n", "other="]


# ---- what differs from rung to rung


def but_for_the_picture(command: Command) -> list[tuple[str, ...]]:
    """The options of a transcode but for those that decode, filter and encode the footage."""
    groups = list(options(command))
    opened = {"-init_hw_device", "-filter_hw_device", "-extra_hw_frames", "-hwaccel", "-hwaccel_device"}
    opened |= {"-hwaccel_output_format", "-c:0"}
    first = next(number for number, group in enumerate(groups) if group[0] in ("-vf", "-color_range", "-c:v"))
    last = groups.index(("-fps_mode", "passthrough"))
    return [group for group in (*groups[:first], *groups[last:]) if group[0] not in opened]


@pytest.mark.parametrize("engine", [QSV, QSV_ENCODE, VAAPI], ids=lambda engine: engine.rung)
@pytest.mark.parametrize("streams", [(VIDEO,), (VIDEO, AAC), (VIDEO, G711, AAC, TEXT)], ids=len)
def test_sound_text_tags_and_times_are_the_same_on_every_rung(engine: Engine, streams: tuple[Stream, ...]) -> None:
    assert but_for_the_picture(transcode(*streams, engine=engine)) == but_for_the_picture(transcode(*streams))


@pytest.mark.parametrize("case", ON_QSV | ON_QSV_ENCODE | ON_VAAPI)
def test_device_is_opened_by_its_name_and_nothing_falls_back_unseen(case: str) -> None:
    command = TRANSCODES[case]
    (opened, *_) = values_of(command, "-init_hw_device")
    assert opened.split(",")[0] == f"vaapi=va:{ANY if case in ON_VAAPI and ',' not in opened else INTEL}"
    assert "auto" not in values_of(command, "-hwaccel")
    assert (values_of(command, "-hwaccel") == ["qsv"]) == (case in ON_QSV)
    assert (values_of(command, "-c:0") != []) == (case in ON_QSV)


@pytest.mark.parametrize("case", IN_SOFTWARE)
def test_software_opens_no_device(case: str) -> None:
    assert not any("hw" in group[0] for group in options(IN_SOFTWARE[case]))


def test_decoder_is_named_for_the_footage_alone() -> None:
    command = transcode(replace(AAC, index=0), replace(VIDEO, index=2), engine=QSV)
    assert ("-c:2", "h264_qsv") in before_input(command)


@pytest.mark.parametrize(
    ("preset", "word"),
    [("ultrafast", "veryfast"), ("superfast", "veryfast"), ("veryfast", "veryfast"), ("faster", "faster"),
     ("fast", "fast"), ("medium", "medium"), ("slow", "slow"), ("slower", "slower"), ("veryslow", "veryslow"),
     ("placebo", "veryslow")],
)  # fmt: skip
def test_preset_is_the_nearest_that_quick_sync_has(preset: str, word: str) -> None:
    assert values_of(transcode(VIDEO, settings=replace(HEVC, preset=preset), engine=QSV), "-preset") == [word]
    assert values_of(transcode(VIDEO, settings=replace(HEVC, preset=preset), engine=VAAPI), "-preset") == []


def test_device_is_told_the_quality_in_its_own_option() -> None:
    settings = EncodeSettings("hevc", 21, "fast")
    assert values_of(transcode(VIDEO, settings=settings, engine=QSV), "-global_quality") == ["21"]
    assert values_of(transcode(VIDEO, settings=settings, engine=VAAPI), "-qp") == ["21"]
    assert values_of(transcode(VIDEO, settings=settings), "-crf") == ["21"]


@pytest.mark.parametrize(
    ("interval_s", "frames"),
    [
        pytest.param(1 / 15, "60", id="15 a second: every 4 s"),
        pytest.param(0.04, "100", id="25 a second"),
        pytest.param(2.0, "2", id="a frame every 2 s"),
        pytest.param(60.0, "1", id="a frame a minute: each stands alone"),
        pytest.param(1 / 90_000, "600", id="times that mean nothing"),
        pytest.param(0.0, "600", id="frames of one time"),
    ],
)
def test_key_frames_of_a_device_come_every_four_seconds(interval_s: float, frames: str) -> None:
    times = tuple(number * interval_s for number in range(10))
    info = ClipInfo((VIDEO,), 2.0, {}, times)
    selection = replace(select(info), whole_only="")
    command = transcode_command(info, selection, HEVC, QSV, SOURCE, TARGET, size_bytes=1, tags={})
    assert values_of(command, "-g") == [frames]


@pytest.mark.parametrize(
    ("codec", "duration_s", "bits"),
    [
        pytest.param("hevc", 4.0, "2000000", id="half of 4 Mb/s"),
        pytest.param("h264", 4.0, "2800000", id="seven tenths of it"),
        pytest.param("hevc", 1000.0, "100000", id="never next to nothing"),
        pytest.param("hevc", 0.0, "100000", id="no duration is told"),
    ],
)
def test_rate_is_a_share_of_the_sources_own(codec: str, duration_s: float, bits: str) -> None:
    engine = replace(QSV, rate_control=RateControl.QVBR)
    command = transcode(VIDEO, settings=EncodeSettings(codec, 26, "fast"), engine=engine, duration_s=duration_s)
    assert values_of(command, "-b:v") == [bits]
    assert values_of(command, "-maxrate") == [str(2 * int(bits))]


@pytest.mark.parametrize(
    ("engine", "control"), [(QSV, RateControl.VBR), (VAAPI, RateControl.ICQ_FULL_POWER), (VAAPI, RateControl.CRF)]
)
def test_rate_control_of_another_family_is_refused(engine: Engine, control: RateControl) -> None:
    with pytest.raises(ValueError, match=f"has no rate control {control}"):
        transcode(VIDEO, engine=replace(engine, rate_control=control))


# ---- the ffmpeg that is installed


@functools.cache
def told(program: str, *arguments: str) -> str:
    return subprocess.run((program, "-hide_banner", *arguments), check=True, capture_output=True, text=True).stdout


NEGATED = {"nostdin": "stdin", "noautorotate": "autorotate"}  # listed without their "no"


def names(command: Command) -> set[str]:
    """The names of the options as ffmpeg lists them, without stream specifiers."""
    words = (group[0][1:].partition(":")[0] for group in options(command) if group[0].startswith("-"))
    return {NEGATED.get(word, word) for word in words if word}


def documented(name: str, text: str) -> bool:
    return re.search(rf"^ *-{re.escape(name)}\b", text, re.MULTILINE) is not None


USED = sorted({(command[0], name) for command in COMMANDS.values() for name in names(command)} - {("ffmpeg", "i")})


@pytest.mark.parametrize(("program", "name"), USED, ids=[" -".join(used) for used in USED])
def test_option_exists(program: str, name: str) -> None:
    assert documented(name, told(program, "-h", "full"))


@pytest.mark.parametrize(
    ("case", "topic", "option"),
    [
        ("transcode_hevc", "encoder=libx265", "-x265-params"),
        ("transcode_hevc", "encoder=libx265", "-preset"),
        ("transcode_hevc", "encoder=libx265", "-crf"),
        ("transcode_h264", "encoder=libx264", "-preset"),
        ("transcode_h264", "encoder=libx264", "-crf"),
        ("transcode_hevc", "muxer=mp4", "-movflags"),
        ("transcode_hevc", "muxer=mp4", "-video_track_timescale"),
    ],
)
def test_option_is_of_the_encoder_or_muxer_it_is_meant_for(case: str, topic: str, option: str) -> None:
    assert topic.partition("=")[2] in COMMANDS[case]
    assert option in COMMANDS[case]
    assert documented(option[1:], told("ffmpeg", "-h", topic))


@pytest.mark.parametrize(
    ("topic", "word"),
    [
        ("filter=scale", "in_range"),
        ("filter=scale", "out_range"),
        ("muxer=mp4", "faststart"),
        ("muxer=mp4", "use_metadata_tags"),
    ],
)
def test_word_of_an_option_exists(topic: str, word: str) -> None:
    assert any(word in part for command in TRANSCODES.values() for part in command)
    assert re.search(rf"\b{word}\b", told("ffmpeg", "-h", topic))


@pytest.mark.parametrize("topic", ["demuxer=mov", "muxer=mp4", "muxer=null", "encoder=aac", "filter=scale"])
def test_part_of_ffmpeg_exists(topic: str) -> None:
    kind, _, name = topic.partition("=")
    assert re.match(rf"{kind} {name}\b", told("ffmpeg", "-h", topic), re.IGNORECASE)
