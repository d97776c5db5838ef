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
    probe_command,
    prove_command,
    strict_decode_command,
    transcode_command,
)
from archiverd.policy.rungs import SOFTWARE

GOLDEN = Path(__file__).with_name("golden")
WRITE = "ARCHIVERD_WRITE_GOLDEN"

VIDEO = Stream(0, StreamKind.VIDEO, "h264", 30, 0.0, 2.0, 0.1, "v", width=1920, height=1080, pix_fmt="yuv420p")
FULL_RANGE = replace(VIDEO, pix_fmt="yuvj420p", color_range="pc")
AAC = Stream(1, StreamKind.AUDIO, "aac", 30, 0.0, 2.0, 0.1, "a")
G711 = Stream(2, StreamKind.AUDIO, "pcm_alaw", 30, 0.0, 2.0, 0.1, "g")
TEXT = Stream(3, StreamKind.SUBTITLE, "mov_text", 3, 0.0, 2.0, 0.1, "t")

HEVC = EncodeSettings("hevc", 26, "fast")
H264 = EncodeSettings("h264", 23, "medium")
SOURCE, TARGET = file_url("/proc/self/fd/7"), file_url("/proc/self/fd/8")
TAGS = {"archiverd": '{"v": 1, "source": "2026/06/30/REO_front 1_20260630081500.mp4"}'}

Command = tuple[str, ...]


def transcode(*streams: Stream, settings: EncodeSettings = HEVC, tags: dict[str, str] | None = None) -> Command:
    info = ClipInfo(streams, 2.0, {}, ())
    return transcode_command(
        info,
        select(info),
        settings,
        SOFTWARE,
        SOURCE,
        TARGET,
        size_bytes=2_000_000,
        tags=TAGS if tags is None else tags,
    )


TRANSCODES = {
    "transcode_hevc": transcode(VIDEO, AAC),
    "transcode_h264": transcode(VIDEO, AAC, settings=H264),
    "transcode_full_range": transcode(FULL_RANGE, AAC),
    "transcode_max_height": transcode(VIDEO, AAC, settings=replace(HEVC, max_height=720)),
    "transcode_full_range_max_height": transcode(FULL_RANGE, AAC, settings=replace(HEVC, max_height=720)),
    "transcode_g711_and_aac": transcode(VIDEO, replace(G711, index=1), replace(AAC, index=2)),
    "transcode_no_audio": transcode(VIDEO),
    "transcode_text": transcode(VIDEO, AAC, TEXT),
}
DECODES = {
    "strict_decode": strict_decode_command(SOURCE, encoded_audio=False),
    "strict_decode_with_audio": strict_decode_command(SOURCE, encoded_audio=True),
}
PROBES = {"probe": probe_command(SOURCE)}
PROVES = {"prove_hevc": prove_command(HEVC), "prove_h264": prove_command(H264)}

READING = TRANSCODES | DECODES | PROBES
COMMANDS = READING | PROVES

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
    assert {path.stem for path in GOLDEN.iterdir()} == set(COMMANDS)


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


@pytest.mark.parametrize("case", DECODES | PROVES)
def test_decode_writes_no_file(case: str) -> None:
    assert COMMANDS[case][-3:] == ("-f", "null", "-")


@pytest.mark.parametrize("case", TRANSCODES | DECODES)
@pytest.mark.parametrize("word", ["-xerror", "-err_detect", "-noautorotate"])
def test_decoding_is_strict_and_leaves_the_picture_as_it_lies(case: str, word: str) -> None:
    assert word in {group[0] for group in before_input(COMMANDS[case])}


@pytest.mark.parametrize("case", TRANSCODES | DECODES | PROVES)
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


@pytest.mark.parametrize("case", PROVES)
def test_prove_command_succeeds(case: str) -> None:
    done = subprocess.run(PROVES[case], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
