"""Reading one value of the configuration.

Each reader takes what TOML, the command line or Python hands over and raises ValueError in the words the
user reads. What is text outside (a duration, a size, a mode) may be a plain number only from Python.
"""

from __future__ import annotations

import grp
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, ValidationInfo
from pytimeparse.timeparse import timeparse

from archiverd.policy.name_patterns import compile_names

DEFAULT = "default"
COMMAND_LINE = "command line"

NONE = "none"  # the word that unsets a key which may be unset: TOML has no null
SECOND, MINUTE, HOUR, DAY = 1, 60, 3600, 86400
_LONGEST_S = 36500 * DAY  # a hundred years: no date reckoned back from now leaves the calendar
_LARGEST_BYTES = 2**53  # up to here ByteSize, which multiplies floats, is exact
_SMALLEST_MEMORY = 256 * 2**20  # below this no ffmpeg starts, and every recording would fail
_SIZE = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?\s*([KMGTP]I?)?B", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_MODE = re.compile(r"[0-7]{3,4}")


def origin_of(info: ValidationInfo) -> str:
    """Where the value came from: as in `Loaded.sources`; "" for one given in Python."""
    sources: Mapping[str, str] = info.context or {}
    return sources.get(info.field_name or "", "")


def _is_text_edge(info: ValidationInfo) -> bool:
    return origin_of(info) not in ("", DEFAULT)


def quoted(value: str) -> str:
    """The value as the user wrote it, cut to what fits in a message; what is not UTF-8 is escaped."""
    return encodable(json.dumps(value if len(value) <= 40 else value[:39] + "…", ensure_ascii=False))


def encodable(text: str) -> str:
    """The text with what is not UTF-8 escaped, so that it can be printed."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _read_path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, (str, Path)) or value == "":
        raise ValueError('write a path as text, for instance "/camera"')
    origin = origin_of(info)
    if origin not in ("", DEFAULT, COMMAND_LINE) and not Path(value).is_absolute():
        raise ValueError(f"{quoted(str(value))} is relative; write an absolute path")
    try:
        # A shell leaves the tilde of `--output=~/x` as it is.
        path = Path(value).expanduser() if origin == COMMAND_LINE else Path(value)
        if "\0" in str(path):
            raise ValueError("embedded null byte")
        # The log stands where uploads arrive: a link planted under its name is left for the opening to refuse.
        keeps_its_name = info.field_name == "log_file" and path.name not in ("", "..")
        return path.parent.resolve() / path.name if keeps_its_name else path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of symlinks, no such home, a NUL
        raise ValueError(f"{quoted(str(value))} cannot be resolved ({error})") from error


def _read_seconds(value: object, info: ValidationInfo) -> float:
    """Seconds, rounded to the millisecond, so that every duration can be written as text and read again."""
    seconds = _duration(value, info) if _is_text_edge(info) else _number(value)
    if seconds is None:
        raise ValueError("must be a number of seconds")
    if not math.isfinite(seconds) or seconds > _LONGEST_S:
        raise ValueError("must be at most 36500 days")
    if seconds < 0:
        raise ValueError("must not be negative")
    return round(seconds, 3)


def _number(value: object) -> float | None:
    """A number as a float, infinite where it is too large for one; None for what is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _duration(value: object, info: ValidationInfo) -> float | None:
    """The seconds of a duration with its unit; `--age 30` means days."""
    text = " ".join(value.split()) if isinstance(value, str) else ""
    bare = float(text) if _NUMBER.fullmatch(text) else _number(value)
    if bare is not None and info.field_name == "age" and origin_of(info) == COMMAND_LINE:
        return bare * DAY
    if bare is not None or not text:
        raise ValueError('write a number and a unit, for instance "30 days"')
    # timeparse also reads clock times ("1:30"), which leave open what they count; and its patterns take a time
    # polynomial in the length of the text.
    seconds = _number(timeparse(text)) if len(text) <= 80 and ":" not in text else None
    if seconds is None:
        raise ValueError(f'{quoted(text)} is not a duration; write for instance "30 days", "90s" or "1h30m"')
    return seconds


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("must be more than zero")
    return seconds


def _read_size(value: object, info: ValidationInfo) -> object:
    """A size that ByteSize reads: text with a unit, or from Python a number of bytes."""
    if isinstance(value, str) and _SIZE.fullmatch(value.strip()):
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool) and not _is_text_edge(info):
        return max(value, 0)  # ByteSize takes none below, and says so in other words than ours
    raise ValueError('write a number and a unit, for instance "500GB" or "1.5TiB"')


def _usual_size(size: ByteSize) -> ByteSize:
    if size <= 0:
        raise ValueError("must be more than zero")
    if size > _LARGEST_BYTES:
        raise ValueError("must be at most 8PiB")
    return size


def _enough_memory(size: ByteSize) -> ByteSize:
    if size < _SMALLEST_MEMORY:
        raise ValueError("must be at least 256MiB, or ffmpeg does not start")
    return size


def _read_integer(value: object, info: ValidationInfo) -> int:
    if isinstance(value, str) and origin_of(info) == COMMAND_LINE and _INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("write a whole number")


def between(low: int, high: int) -> AfterValidator:
    """The check that a number lies within these bounds."""

    def check(value: int) -> int:
        if not low <= value <= high:
            raise ValueError(f"must be from {low} to {high}")
        return value

    return AfterValidator(check)


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("must be even: encoders take no odd height")
    return value


def _read_mode(value: object, info: ValidationInfo) -> int:
    if isinstance(value, str) and _MODE.fullmatch(value):
        return int(value, 8)
    if isinstance(value, int) and not isinstance(value, bool) and not _is_text_edge(info):
        return value
    raise ValueError('write the octal digits as text, for instance "0640"')


def _mode_with(owner: int, most: int) -> AfterValidator:
    def check(mode: int) -> int:
        if mode & owner != owner:
            raise ValueError(f"must leave the owner at least {owner:04o}, or archiverd shuts itself out")
        if not 0 <= mode <= most:
            raise ValueError(f"must be at most {most:04o}")
        return mode

    return AfterValidator(check)


def _read_group(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("write the name of a group")
    try:
        grp.getgrnam(value)
    except (KeyError, ValueError) as error:  # ValueError: a NUL, or what no group name can be encoded as
        raise ValueError(f"there is no group {quoted(value)} on this machine") from error
    return value


def _read_names(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(element, str) for element in value):
        raise ValueError('write a list of texts, for instance ["reolink"]')
    names = tuple(value)
    compile_names(names)  # raises ValueError that names what is wrong
    return names


def _read_command(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(element, str) for element in value):
        raise ValueError('write a list of texts, the program and its arguments, for instance ["mail", "root"]')
    if not value:
        return ()
    command = tuple(value)
    if any("\0" in element for element in command):
        raise ValueError("holds a NUL, which no argument can")
    program = command[0]
    if not program:
        raise ValueError("names no program")
    if "/" in program and not program.startswith("/"):
        raise ValueError(f"{quoted(program)} is relative; write an absolute path, or the name of a program on PATH")
    return command


def _read_none(value: object) -> object:
    return None if value == NONE else value


_WORDS = {
    "bool_type": "write true or false",
    "default_factory_not_called": "",
    "string_unicode": "is not UTF-8",
}


def in_words(detail: Mapping[str, Any]) -> str:  # Any: pydantic's ErrorDetails
    """One of pydantic's errors, said to somebody who has never heard of it."""
    kind = str(detail["type"])
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind == "enum":
        return f"must be {detail['ctx']['expected']}".replace("'", "")
    return _WORDS.get(kind, str(detail["msg"]))


AbsolutePath = Annotated[Path, BeforeValidator(_read_path)]
Seconds = Annotated[float, BeforeValidator(_read_seconds)]
PositiveSeconds = Annotated[Seconds, AfterValidator(_positive)]
Size = Annotated[ByteSize, BeforeValidator(_read_size), AfterValidator(_usual_size)]
Memory = Annotated[Size, AfterValidator(_enough_memory)]
Integer = Annotated[int, BeforeValidator(_read_integer)]
Height = Annotated[Integer, between(16, 8192), AfterValidator(_even)]
FileMode = Annotated[int, BeforeValidator(_read_mode), _mode_with(0o600, 0o777)]
DirMode = Annotated[int, BeforeValidator(_read_mode), _mode_with(0o700, 0o2777)]
Group = Annotated[str, BeforeValidator(_read_group)]
Names = Annotated[tuple[str, ...], BeforeValidator(_read_names)]
Command = Annotated[tuple[str, ...], BeforeValidator(_read_command)]
Flag = Annotated[bool, Field(strict=True)]
OrNone = BeforeValidator(_read_none)
