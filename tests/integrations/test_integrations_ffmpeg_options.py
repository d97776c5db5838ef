"""Every option of every golden command line, against what the ffmpeg that is installed says of itself.

An option is one of ffmpeg's own (`-h long`), of every codec or container (`-h full`), or private to a part that the
command names: its encoder, its decoder, its muxer, its filters. Where that part lists words or a range for the value,
the value is held against them. So a line that asks one encoder for another's option fails here, without a device.
"""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "units" / "golden"
CASES = sorted(path.stem for path in GOLDEN.glob("*.txt") if path.read_text().startswith("ffmpeg\n"))
NEGATED = {"nostdin": "stdin", "noautorotate": "autorotate"}  # listed without their "no"
ALIASES = {"c", "i", "f"}  # given to ffmpeg's command line everywhere, checked by what they name

Line = tuple[str, ...]  # an option and its value, or what stands alone


@dataclass
class Described:
    """An option as a help text describes it."""

    words: set[str] = field(default_factory=set)
    least: float = float("-inf")
    most: float = float("inf")

    def takes(self, value: str) -> bool:
        """Whether the value is one of its words, a number in its range, or anything where it lists neither."""
        parts = value.strip("+").split("+")
        if self.words and all(part in self.words for part in parts):
            return True
        if re.fullmatch(r"-?\d+(\.\d+)?", value):
            return self.least <= float(value) <= self.most
        return not self.words and (self.least, self.most) == (float("-inf"), float("inf"))


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # INT_MAX, I64_MAX, FLT_MAX
        return float("-inf") if text.startswith("-") or "MIN" in text else float("inf")


@functools.cache
def told(*topic: str) -> str:
    return subprocess.run(("ffmpeg", "-hide_banner", "-h", *topic), check=True, capture_output=True, text=True).stdout


def described(text: str) -> dict[str, Described]:
    """The options of a help text with their types, words and ranges. Source: libavutil/opt.c, opt_list."""
    found: dict[str, Described] = {}
    last: Described | None = None
    for line in text.splitlines():
        option = re.match(r" {1,4}-?([\w-]+) +<\w+> +[.A-Z]{8,}(.*)", line)
        word = re.match(r" {5,}([\w.+-]+) +(?:-?\w+ +)?[.A-Z]{8,}", line)
        if option is not None:
            limits = re.search(r"\(from (\S+) to (\S+)\)", option[2])
            last = Described() if limits is None else Described(set(), number(limits[1]), number(limits[2]))
            if "<boolean>" in line:
                last.least, last.most = 0, 1
            found[option[1]] = last
        elif word is not None and last is not None:
            last.words.add(word[1])
        elif not line.strip() or "AVOptions" in line:
            last = None
    return found


@functools.cache
def own() -> frozenset[str]:
    """The options of the program ffmpeg."""
    return frozenset(re.findall(r"^ *-([\w-]+)", told("long"), re.MULTILINE))


@functools.cache
def common() -> dict[str, Described]:
    """The options that every codec or container takes."""
    found: dict[str, Described] = {}
    for section in re.split(r"^(?=\S.*AVOptions:)", told("full"), flags=re.MULTILINE):
        if re.match(r"(AVCodecContext|AVFormatContext) AVOptions:", section):
            for name, option in described(section).items():
                found.setdefault(name, option)
    return found


@functools.cache
def private(topic: str) -> dict[str, Described]:
    text = told(topic)
    kind, _, name = topic.partition("=")
    assert re.match(rf"{kind} {re.escape(name)}\b", text, re.IGNORECASE), f"this ffmpeg has no {kind} {name}"
    return described(text)


def lines(text: str) -> list[Line]:
    """A golden text, line by line."""
    return [tuple(shlex.split(line)) for line in text.splitlines()[1:]]


def topics(command: list[Line]) -> Iterator[str]:
    """The parts of ffmpeg that a command names, as help topics."""
    inputs = max(number for number, line in enumerate(command) if line[0] == "-i")
    for place, line in enumerate(command):
        name = line[0][1:].partition(":")[0]
        if name == "c" and line[1] != "copy":
            yield ("decoder=" if place < inputs else "encoder=") + line[1]
        if name == "f" and line[1] != "lavfi":
            yield ("demuxer=" if place < inputs else "muxer=") + line[1]


def filters(command: list[Line]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each filter of a command with the arguments it is given by name."""
    for line in command:
        if line[0] not in ("-vf", "-filter_complex"):
            continue
        for part in re.split(r"[;,](?=(?:[^']*'[^']*')*[^']*$)", re.sub(r"\[\w+(:\w+)*\]", "", line[1])):
            name, _, rest = part.partition("=")
            arguments = dict(word.split("=", 1) for word in rest.split(":") if re.match(r"\w+=", word))
            yield name, arguments


def faults(text: str) -> list[str]:
    """What the ffmpeg that is installed would not take of a golden text."""
    command = lines(text)
    parts = {topic: private(topic) for topic in topics(command)}
    found = []
    for line in command:
        if not line[0].startswith("-") or line[0] == "-":
            continue
        name = NEGATED.get(line[0][1:], line[0][1:].partition(":")[0])
        meant = next((options[name] for options in parts.values() if name in options), None)
        if meant is None and name not in own() | ALIASES:
            meant = common().get(name)
            found += [f"no {line[0]}"] if meant is None else []
        if meant is not None and not meant.takes(line[1]):
            found.append(f"{line[0]} does not take {line[1]}")
    for name, arguments in filters(command):
        options = private(f"filter={name}")
        for key, value in arguments.items():
            if key not in options:
                found.append(f"{name} has no {key}")
            elif value not in options[key].words and not options[key].takes(value):
                found.append(f"{key} of {name} does not take {value}")
    return found


@pytest.mark.parametrize("case", CASES)
def test_ffmpeg_has_every_option_of_a_command(case: str) -> None:
    assert faults((GOLDEN / f"{case}.txt").read_text()) == []


def test_every_rung_is_among_the_commands() -> None:
    encoders = {line for case in CASES for line in (GOLDEN / f"{case}.txt").read_text().splitlines()}
    wanted = ("libx265", "libx264", "hevc_qsv", "h264_qsv", "hevc_vaapi", "h264_vaapi")
    assert {f"-c:v {name}" for name in wanted} <= encoders


def with_line(case: str, old: str, new: str) -> str:
    text = (GOLDEN / f"{case}.txt").read_text()
    assert f"\n{old}\n" in text
    return text.replace(f"\n{old}\n", f"\n{new}\n")


@pytest.mark.parametrize(
    ("case", "old", "new", "fault"),
    [
        ("qsv_hevc_from_h264", "-preset fast", "-invented 1", "no -invented"),
        ("qsv_hevc_from_h264", "-preset fast", "-preset ultrafast", "-preset does not take ultrafast"),
        ("qsv_hevc_from_h264", "-preset fast", "-preset 9", "-preset does not take 9"),
        ("qsv_hevc_from_h264", "-preset fast", "-look_ahead 1", "no -look_ahead"),
        ("qsv_hevc_from_h264", "-preset fast", "-rc_mode ICQ", "no -rc_mode"),
        ("qsv_hevc_from_h264", "-profile:v main", "-profile:v main12", "-profile:v does not take main12"),
        ("vaapi_hevc_by_icq", "-rc_mode ICQ", "-rc_mode CRF", "-rc_mode does not take CRF"),
        ("vaapi_hevc_by_cqp", "-qp 25", "-qp 99", "-qp does not take 99"),
        ("vaapi_hevc_by_icq", "-rc_mode ICQ", "-crf 25", "no -crf"),
        ("vaapi_hevc_by_icq_low_power", "-low_power 1", "-low_power 2", "-low_power does not take 2"),
        ("qsv_hevc_max_height", "-vf vpp_qsv=w=1280:h=720", "-vf vpp_qsv=w=1280:tall=720", "vpp_qsv has no tall"),
        (
            "qsv_hevc_full_range", "-vf setparams=range=pc", "-vf setparams=range=wide",
            "range of setparams does not take wide",
        ),
        ("transcode_hevc", "-crf 25", "-qsv 25", "no -qsv"),
        ("transcode_hevc", "-fps_mode passthrough", "-fps_modes passthrough", "no -fps_modes"),
    ],
)  # fmt: skip
def test_option_that_ffmpeg_does_not_have_is_noticed(case: str, old: str, new: str, fault: str) -> None:
    assert faults(with_line(case, old, new)) == [fault]


@pytest.mark.parametrize(
    ("case", "old", "new"),
    [
        ("qsv_hevc_from_h264", "-c:v hevc_qsv", "-c:v hevc_quick"),
        ("qsv_hevc_from_h264", "-c:0 h264_qsv", "-c:0 h264_quick"),
        ("vaapi_hevc_from_8_bit", "-vf format=nv12,hwupload", "-vf format=nv12,upload"),
        ("transcode_hevc", "-f mp4", "-f mp5"),
    ],
)
def test_part_that_ffmpeg_does_not_have_is_noticed(case: str, old: str, new: str) -> None:
    with pytest.raises(AssertionError, match="this ffmpeg has no"):
        faults(with_line(case, old, new))
