"""Which options the codecs and filters of an ffmpeg have, and what each takes: the tables the fake goes by.

    python -m tests.fakes.make_tables                  writes tests/fakes/tables/VERSION.json anew
    python -m tests.fakes.make_tables --ffmpeg PROGRAM the same for another ffmpeg than the first on PATH

An option is one line of words: flags (E encoding, D decoding, V video, F filtering; `-` for none), kind, least and
greatest value (`-` where it has no range), default (`-` for none), and its named values as `name=number` (a flag of a
set has no number). Everything comes from what the program itself says (`-h type=name`, `-version`), but whether an
option of the program takes a value: that is tried, one by one.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fakes.make_messages import version

TABLES = Path(__file__).with_name("tables")

_ENCODERS = ("hevc_qsv", "h264_qsv", "hevc_vaapi", "h264_vaapi")
_DECODERS = ("hevc_qsv", "h264_qsv")
_FILTERS = ("vpp_qsv", "scale_qsv", "scale_vaapi", "hwupload", "hwdownload", "hwmap")
_FORMATS = ("muxer=mp4", "muxer=null", "demuxer=mov")

_SECTION = re.compile(r"^(.+) AVOptions:$")
_OPTION = re.compile(r"^ {2,3}-?(\S+) +<(\w+)> +([.A-Z]{9,})(.*)$")
_VALUE = re.compile(r"^ {5}(\S+)(?: +(-?\d+))? +[.A-Z]{9,}")
_RANGE = re.compile(r"\(from (\S+) to (\S+)\)")
_DEFAULT = re.compile(r"\(default (.*)\)$")
_TOOL = re.compile(r"^-{1,2}([a-z][\w]*)(?:\[.*?\])?(?: |$)")


def said(ffmpeg: str, *words: str) -> str:
    done = subprocess.run((ffmpeg, "-hide_banner", *words), capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def sections(text: str) -> dict[str, dict[str, str]]:
    """The options of each section of a help text, as lines of words."""
    found: dict[str, dict[str, str]] = {}
    options: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        if heading := _SECTION.match(line):
            options = found.setdefault(heading[1], {})
        elif option := _OPTION.match(line):
            last, kind, flags, rest = option.groups()
            options.setdefault(last, _words(kind, flags, rest))
        elif (value := _VALUE.match(line)) and last in options:
            number = "" if value[2] is None else f"={value[2]}"
            options[last] += f" {value[1]}{number}"
    return found


def _words(kind: str, flags: str, rest: str) -> str:
    least, greatest = _RANGE.findall(rest)[-1] if _RANGE.search(rest) else ("-", "-")
    default = _DEFAULT.search(rest)
    told = default[1].replace(" ", "_") if default else "-"
    kept = "".join(flag for flag in flags if flag in "EDVF") or "-"
    return f"{kept} {kind} {least} {greatest} {told or '-'}"


def class_of(found: dict[str, dict[str, str]]) -> str:
    """What an encoder calls itself when it complains of a value."""
    return next(iter(found), "")


def merged(found: dict[str, dict[str, str]]) -> dict[str, str]:
    return {name: words for options in found.values() for name, words in options.items()}


def tool_options(ffmpeg: str, folder: Path) -> dict[str, int]:
    """The program's own options: 1 where one takes a value."""
    names = sorted({match[1] for line in said(ffmpeg, "-h", "long").splitlines() if (match := _TOOL.match(line))})
    with ThreadPoolExecutor(2) as pool:
        takes = pool.map(lambda name: _takes_value(ffmpeg, name, folder), names)
    return dict(zip(names, takes, strict=True))


def _takes_value(ffmpeg: str, name: str, folder: Path) -> int:
    done = subprocess.run((ffmpeg, f"-{name}"), cwd=folder, capture_output=True, text=True, timeout=60)
    return int(f"Missing argument for option '{name}'" in done.stderr)


def described(ffmpeg: str) -> dict[str, object]:
    """Everything but `version` and `tool`."""
    full = sections(said(ffmpeg, "-h", "full"))
    codec = {name: words for name, words in full["AVCodecContext"].items() if "V" in words.split()[0]}
    encoders = {name: sections(said(ffmpeg, "-h", f"encoder={name}")) for name in _ENCODERS}
    formats = set(full["AVFormatContext"]) | {
        name for form in _FORMATS for name in merged(sections(said(ffmpeg, "-h", form)))
    }
    return {
        "codec": codec,
        "format": sorted(formats),
        "classes": {name: class_of(found) for name, found in encoders.items()},
        "encoders": {name: merged(found) for name, found in encoders.items()},
        "decoders": {name: merged(sections(said(ffmpeg, "-h", f"decoder={name}"))) for name in _DECODERS},
        "filters": {name: merged(sections(said(ffmpeg, "-h", f"filter={name}"))) for name in _FILTERS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ffmpeg", default="ffmpeg")
    ffmpeg = parser.parse_args().ffmpeg
    with tempfile.TemporaryDirectory() as folder:
        made = {"version": said(ffmpeg, "-version"), "tool": tool_options(ffmpeg, Path(folder))} | described(ffmpeg)
    TABLES.mkdir(exist_ok=True)
    (TABLES / f"{version(ffmpeg)[1]}.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
