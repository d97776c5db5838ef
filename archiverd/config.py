"""The configuration: what may be set, where each value came from, and everything wrong with it at once.

A value comes from the command line, else from one TOML file, else from its default. In the file and on the
command line durations and sizes carry their unit; inside they are seconds (float) and bytes (int).
"""

from __future__ import annotations

import difflib
import grp
import itertools
import json
import math
import os
import re
import shutil
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ByteSize, Field, ValidationError, ValidationInfo
from pytimeparse.timeparse import timeparse

from archiverd.errors import ConfigError, Problem
from archiverd.policy.name_patterns import NamePatterns, compile_names
from archiverd.policy.naming import printable
from archiverd.policy.watching import Observer

DEFAULT_FILE = Path("/etc/archiverd/archiverd.toml")
DEFAULT = "default"
COMMAND_LINE = "command line"

_NONE = "none"  # the word that unsets a key which may be unset: TOML has no null
_SECOND, _MINUTE, _HOUR, _DAY = 1, 60, 3600, 86400
_DURATION_UNITS = ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute"), (_SECOND, "second"))
_LONGEST_S = 36500 * _DAY  # a hundred years: no date reckoned back from now leaves the calendar
_LARGEST_BYTES = 2**53  # up to here ByteSize, which multiplies floats, is exact
_SMALLEST_MEMORY = 256 * 2**20  # below this no ffmpeg starts, and every recording would fail
_SIZE_UNITS = (
    (2**50, "PiB"),
    (10**15, "PB"),
    (2**40, "TiB"),
    (10**12, "TB"),
    (2**30, "GiB"),
    (10**9, "GB"),
    (2**20, "MiB"),
    (10**6, "MB"),
    (2**10, "KiB"),
    (10**3, "KB"),
)
_SIZE = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?\s*([KMGTP]I?)?B", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_MODE = re.compile(r"[0-7]{3,4}")
_YEAR = re.compile(r"[0-9]{4}")


class Hardware(StrEnum):
    """What may encode."""

    AUTO = "auto"
    QSV = "qsv"
    VAAPI = "vaapi"
    SOFTWARE = "software"


class Codec(StrEnum):
    """What archives are encoded as."""

    HEVC = "hevc"
    H264 = "h264"


class Order(StrEnum):
    """Which waiting recording comes first."""

    OLDEST = "oldest"
    NEWEST = "newest"


class Snapshots(StrEnum):
    """What becomes of a snapshot when its recording is archived."""

    DISPOSE = "dispose"  # it goes with its clip
    ARCHIVE = "archive"  # it is put beside its clip's archive


class LogLevel(StrEnum):
    """The least serious message that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Preset(StrEnum):
    """How much time an encoder spends: the names x264 and x265 share."""

    ULTRAFAST = "ultrafast"
    SUPERFAST = "superfast"
    VERYFAST = "veryfast"
    FASTER = "faster"
    FAST = "fast"
    MEDIUM = "medium"
    SLOW = "slow"
    SLOWER = "slower"
    VERYSLOW = "veryslow"
    PLACEBO = "placebo"


# --- reading one value -----------------------------------------------------------------------------------
#
# Each reader takes what TOML, the command line or Python hands over and raises ValueError in the words the
# user reads. What is text outside (a duration, a size, a mode) may be a plain number only from Python.


def _origin(info: ValidationInfo) -> str:
    """Where the value came from: as in `Loaded.sources`; "" for one given in Python."""
    sources: Mapping[str, str] = info.context or {}
    return sources.get(info.field_name or "", "")


def _is_text_edge(info: ValidationInfo) -> bool:
    return _origin(info) not in ("", DEFAULT)


def _quoted(value: str) -> str:
    """The value as the user wrote it, cut to what fits in a message; what is not UTF-8 is escaped."""
    return _encodable(json.dumps(value if len(value) <= 40 else value[:39] + "…", ensure_ascii=False))


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _read_path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, (str, Path)) or value == "":
        raise ValueError('write a path as text, for instance "/camera"')
    origin = _origin(info)
    if origin not in ("", DEFAULT, COMMAND_LINE) and not Path(value).is_absolute():
        raise ValueError(f"{_quoted(str(value))} is relative; write an absolute path")
    try:
        # A shell leaves the tilde of `--output=~/x` as it is.
        path = Path(value).expanduser() if origin == COMMAND_LINE else Path(value)
        if "\0" in str(path):
            raise ValueError("embedded null byte")
        # The log stands where uploads arrive: a link planted under its name is left for the opening to refuse.
        keeps_its_name = info.field_name == "log_file" and path.name not in ("", "..")
        return path.parent.resolve() / path.name if keeps_its_name else path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of symlinks, no such home, a NUL
        raise ValueError(f"{_quoted(str(value))} cannot be resolved ({error})") from error


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
    if bare is not None and info.field_name == "age" and _origin(info) == COMMAND_LINE:
        return bare * _DAY
    if bare is not None or not text:
        raise ValueError('write a number and a unit, for instance "30 days"')
    # timeparse also reads clock times ("1:30"), which leave open what they count; and its patterns take a time
    # polynomial in the length of the text.
    seconds = _number(timeparse(text)) if len(text) <= 80 and ":" not in text else None
    if seconds is None:
        raise ValueError(f'{_quoted(text)} is not a duration; write for instance "30 days", "90s" or "1h30m"')
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
    if isinstance(value, str) and _origin(info) == COMMAND_LINE and _INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("write a whole number")


def _between(low: int, high: int) -> AfterValidator:
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
        raise ValueError(f"there is no group {_quoted(value)} on this machine") from error
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
        raise ValueError(f"{_quoted(program)} is relative; write an absolute path, or the name of a program on PATH")
    return command


def _read_none(value: object) -> object:
    return None if value == _NONE else value


AbsolutePath = Annotated[Path, BeforeValidator(_read_path)]
Seconds = Annotated[float, BeforeValidator(_read_seconds)]
PositiveSeconds = Annotated[Seconds, AfterValidator(_positive)]
Size = Annotated[ByteSize, BeforeValidator(_read_size), AfterValidator(_usual_size)]
Integer = Annotated[int, BeforeValidator(_read_integer)]
Flag = Annotated[bool, Field(strict=True)]
_OrNone = BeforeValidator(_read_none)


def _inside(name: str) -> Any:  # Any: pydantic's Field stands in for the value of the field
    """The default of a path: `name` in `directory`, resolved as any other path."""

    def path(fields: Mapping[str, Any]) -> Path:  # Any: pydantic hands over the fields validated so far
        directory: Path = fields["directory"]
        return directory / name

    return Field(default_factory=path, validate_default=True)


class Config(BaseModel, frozen=True, extra="forbid"):
    """Every setting, valid by itself; `load` also checks how they stand to each other.

    Durations are seconds, sizes bytes, paths absolute with their symlinks resolved. From Python, durations and
    sizes may be given as numbers. Raises pydantic's ValidationError; `load` puts that into the user's words.
    """

    directory: Annotated[AbsolutePath, Field(validate_default=True)] = Path("/camera")  # the source tree
    output: AbsolutePath = _inside("archived")  # the archive tree
    trash_root: AbsolutePath = _inside(".deleted")
    state_dir: AbsolutePath = _inside(".archiverd")  # holds the catalog
    log_file: AbsolutePath = _inside("archiver.log")
    log_level: LogLevel = LogLevel.INFO

    names: Annotated[tuple[str, ...], BeforeValidator(_read_names)] = ("reolink",)  # see `patterns`

    delete: Flag = False  # unlink sources instead of moving them to the trash
    snapshots: Snapshots = Snapshots.DISPOSE
    age: PositiveSeconds = 30.0 * _DAY  # what is older is cleaned up
    max_size: Annotated[Size | None, _OrNone] = None  # bytes a tree may hold

    hardware: Hardware = Hardware.AUTO
    device: Annotated[AbsolutePath | None, _OrNone] = None  # the one render node that may be used
    device_rest: PositiveSeconds = 10.0 * _MINUTE  # of a rung that failed too often, before it is probed again
    codec: Codec = Codec.HEVC
    quality: Annotated[Annotated[Integer, _between(0, 51)] | None, _OrNone] = None  # see `crf`
    preset: Preset = Preset.FAST
    max_height: Annotated[Annotated[Integer, _between(16, 8192), AfterValidator(_even)] | None, _OrNone] = None

    observer: Observer = Observer.AUTO  # how the daemon notices new files
    order: Order = Order.OLDEST
    snapshot_window: Seconds = 1.0 * _MINUTE  # a snapshot belongs to its camera's nearest recording within this
    settle: Seconds = 1.0 * _MINUTE  # how long a file found by a scan must have been quiet
    settle_closed: Seconds = 2.0  # how long a file must have been quiet after a close event
    quarantine_after: PositiveSeconds = 10.0 * _MINUTE  # an incomplete file unchanged for so long will not become whole
    attempts: Annotated[Integer, _between(1, 100)] = 3  # tries of one recording before it is quarantined

    stall_timeout: PositiveSeconds = 2.0 * _MINUTE  # one ffmpeg without progress
    job_timeout: PositiveSeconds = 6.0 * _HOUR  # one ffmpeg, by the wall clock
    stop_timeout: PositiveSeconds = 10.0  # from SIGTERM to SIGKILL
    max_memory: Annotated[Size, AfterValidator(_enough_memory)] = ByteSize(8 * 2**30)  # bytes, of a software ffmpeg
    nice: Annotated[Integer, _between(0, 19)] = 10
    idle_io: Flag = True

    file_mode: Annotated[int, BeforeValidator(_read_mode), _mode_with(0o600, 0o777)] = 0o640
    dir_mode: Annotated[int, BeforeValidator(_read_mode), _mode_with(0o700, 0o2777)] = 0o750
    group: Annotated[Annotated[str, BeforeValidator(_read_group)] | None, _OrNone] = None  # of archives

    min_free: Annotated[Size | None, _OrNone] = ByteSize(2 * 10**9)  # bytes; less room than this is a problem
    on_problem: Annotated[tuple[str, ...], BeforeValidator(_read_command)] = ()  # told of each; see `doubts`

    # The modes of one call (MODES): command line only.
    dry_run: Flag = False
    cleanup: Flag = False
    clean_output: Flag = False
    no_confirm: Flag = False
    no_skip: Flag = False

    @property
    def crf(self) -> int:
        """The constant rate factor in software, and what a device is told: `quality`, or what suits the codec."""
        if self.quality is not None:
            return self.quality
        return 25 if self.codec is Codec.HEVC else 23

    @property
    def patterns(self) -> NamePatterns:
        """How the cameras name what they upload: `names`, compiled."""
        return compile_names(self.names)

    @property
    def gid(self) -> int | None:
        """The number of `group`; None without one. Raises KeyError when the group has gone since `load`."""
        return None if self.group is None else grp.getgrnam(self.group).gr_gid


MODES = ("dry_run", "cleanup", "clean_output", "no_confirm", "no_skip")
"""Keys that belong to one call: options of the command line, never keys of the file."""

FILE_KEYS = tuple(key for key in Config.model_fields if key not in MODES)
"""Keys the file may hold, in the order they are shown."""

_NO_SIZE_LIMIT = "this version keeps no tree within a size yet; leave it out"
_NO_CLEANUP = "this version does not clean up yet; leave the option out"
_NOT_YET: tuple[tuple[str, Callable[[Config], bool], str], ...] = (
    # What may be asked for but is not built yet. A line goes when its work is there.
    ("max_size", lambda config: config.max_size is not None, _NO_SIZE_LIMIT),
    ("cleanup", lambda config: config.cleanup, _NO_CLEANUP),
    ("clean_output", lambda config: config.clean_output, _NO_CLEANUP),
)


# --- loading ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that holds, where each of its values came from, and the file that was read."""

    config: Config
    sources: Mapping[str, str]  # key -> DEFAULT, the path of the file, or COMMAND_LINE
    file: Path | None


@dataclass(frozen=True, slots=True)
class _Finding:
    """Something wrong between keys: the one whose value was chosen most lately is named for it."""

    keys: tuple[str, ...]
    message: str


def load(file: Path | None, overrides: Mapping[str, object], *, default_file: Path = DEFAULT_FILE) -> Loaded:
    """Read the file, lay `overrides` (the command line) over it, and check everything.

    `file` None means `default_file` where it exists, else no file at all. An override of None was not given.
    A value of the file that is overridden is not looked at.

    Raises: ConfigError with all problems at once.
    """
    path, table = _read_file(file, default_file)
    given = {key: value for key, value in overrides.items() if value is not None}
    origin = str(path)
    problems = [Problem(origin, key, _misplaced(key, value)) for key, value in table.items() if key not in FILE_KEYS]
    unknown = [key for key in given if key not in Config.model_fields]
    problems += [Problem(COMMAND_LINE, key, "there is no such option") for key in unknown]

    settings = {key: value for key, value in table.items() if key in FILE_KEYS}
    options = {key: value for key, value in given.items() if key not in unknown}
    sources = dict.fromkeys(Config.model_fields, DEFAULT)
    sources |= dict.fromkeys(settings, origin) | dict.fromkeys(options, COMMAND_LINE)

    config, wrong = _validate(settings | options, sources)
    problems += [Problem(sources[key], key, message) for key, message in wrong.items() if message]
    if config is not None:
        checked = Config.model_fields.keys() - wrong.keys()
        problems += [_blame(finding, sources) for finding in _findings(config, checked)]
    if problems or config is None:
        raise ConfigError(problems)
    return Loaded(config, MappingProxyType(sources), path)


def _read_file(file: Path | None, default_file: Path) -> tuple[Path | None, dict[str, object]]:
    """The file that is read, and its table; None and an empty one where there is none to read."""
    path = default_file if file is None else file
    try:
        path = path.absolute()
        return path, tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError as error:
        if file is None:
            return None, {}
        raise _unusable(path, "there is no such file") from error
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _unusable(path, f"not UTF-8 (at line {line})") from error
    except (ValueError, RecursionError) as error:  # also more digits, or deeper nesting, than Python takes
        raise _unusable(path, f"not valid TOML: {error}") from error


def _unusable(path: Path, message: str) -> ConfigError:
    return ConfigError([Problem(str(path), "", message)])


def _misplaced(key: str, value: object) -> str:
    """What to say of a key of the file that is none of FILE_KEYS."""
    name = key.replace("-", "_").lower()
    if name in MODES:
        return f"is a mode of one call, not a setting; give --{name.replace('_', '-')} on the command line"
    near = difflib.get_close_matches(name, FILE_KEYS, n=1)
    if near:
        return f"there is no such key; did you mean {near[0]}?"
    if isinstance(value, dict):
        return "there is no such table; keys stand at the top of the file, outside any table"
    return "there is no such key"


def _validate(values: Mapping[str, object], sources: Mapping[str, str]) -> tuple[Config | None, dict[str, str]]:
    """The configuration, with defaults in place of what is wrong, and what is wrong by key.

    A key whose default hangs on a wrong one stands there with an empty message. None where not even the
    defaults hold.
    """
    try:
        return Config.model_validate(values, context=sources), {}
    except ValidationError as error:
        wrong = {str(detail["loc"][0]): _in_words(detail) for detail in error.errors(include_url=False)}
    try:
        rest = {key: value for key, value in values.items() if key not in wrong}
        return Config.model_validate(rest, context={**sources, **dict.fromkeys(wrong, DEFAULT)}), wrong
    except ValidationError:
        return None, wrong


_WORDS = {
    "bool_type": "write true or false",
    "default_factory_not_called": "",
    "string_unicode": "is not UTF-8",
}


def _in_words(detail: Mapping[str, Any]) -> str:  # Any: pydantic's ErrorDetails
    """One of pydantic's errors, said to somebody who has never heard of it."""
    kind = str(detail["type"])
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind == "enum":
        return f"must be {detail['ctx']['expected']}".replace("'", "")
    return _WORDS.get(kind, str(detail["msg"]))


def _blame(finding: _Finding, sources: Mapping[str, str]) -> Problem:
    """Of the keys that do not go together, the one that was set, rather than one left to its default."""

    def strength(key: str) -> int:
        return (sources[key] != DEFAULT) + (sources[key] == COMMAND_LINE)

    key = max(reversed(finding.keys), key=strength)
    return Problem(sources[key], key, printable(finding.message))


# --- how the settings stand to each other ----------------------------------------------------------------


def _findings(config: Config, checked: Collection[str]) -> Iterator[_Finding]:
    """Everything wrong between the keys of `checked`, each of which is valid by itself."""
    roots = {key: getattr(config, key) for key in ("directory", "output", "trash_root", "state_dir") if key in checked}
    # A tree that holds the source tree holds all that stands in it: that is said once, of the source tree.
    source = roots.get("directory")
    holders = {key for key in roots if key != "directory" and source and source.is_relative_to(roots[key])}
    for first, second in itertools.combinations(roots, 2):
        message = _overlap(first, roots[first], second, roots[second])
        if message and (first == "directory" or not holders & {first, second}):
            yield _Finding((first, second), message)
    if "log_file" in checked:
        yield from _log_findings(config.log_file, {key: roots[key] for key in roots if key not in holders})
    for key, asked_for, message in _NOT_YET:
        if key in checked and asked_for(config):
            yield _Finding((key,), message)


def _overlap(first: str, one: Path, second: str, other: Path) -> str:
    """Why two roots cannot stand where they stand; "" when they can. The source tree may hold the others."""
    if one == other:
        return f"{first} and {second} are the same directory ({one}); each needs its own"
    if one.is_relative_to(other):
        return f"{first} ({one}) lies inside {second} ({other}); neither may hold the other"
    if not other.is_relative_to(one):
        return ""
    if first != "directory":
        return f"{second} ({other}) lies inside {first} ({one}); neither may hold the other"
    if _YEAR.fullmatch(other.relative_to(one).parts[0]):
        return f"{second} ({other}) lies where the footage of a year lies; choose another name in {one}"
    return ""


def _log_findings(log_file: Path, roots: Mapping[str, Path]) -> Iterator[_Finding]:
    if os.path.isdir(log_file):  # noqa: PTH112  (Path.is_dir raises where it may not look)
        yield _Finding(("log_file",), f"{log_file} is a directory; write the path of a file")
    for key, root in roots.items():
        if root.is_relative_to(log_file):
            yield _Finding((key, "log_file"), f"log_file ({log_file}) is, or holds, the directory of {key} ({root})")
        elif key in ("output", "trash_root") and log_file.is_relative_to(root):
            yield _Finding((key, "log_file"), f"log_file ({log_file}) lies inside {key} ({root}), among recordings")


def doubts(loaded: Loaded) -> tuple[Problem, ...]:
    """What holds, and will not work as this machine is now: worth a word at a start, and no reason to refuse it."""
    program = next(iter(loaded.config.on_problem), None)
    if program is None or shutil.which(program) is not None:
        return ()
    there = shutil.which(program, mode=os.F_OK)
    message = f"{printable(program)} {'was not found' if there is None else 'may not be executed'}"
    return (Problem(loaded.sources["on_problem"], "on_problem", f"{message}; nobody would be told"),)


# --- showing ---------------------------------------------------------------------------------------------


def show(loaded: Loaded) -> list[tuple[str, str, str]]:
    """(key, value, source) of every key of the file; the value as the file would hold it.

    The lines `key = value` load as the same configuration, unless a path is not UTF-8, which TOML cannot hold.
    """
    return [(key, _literal(_written(loaded.config, key)), loaded.sources[key]) for key in FILE_KEYS]


def as_json(loaded: Loaded) -> dict[str, object]:
    """The same for programs: `file`, and `settings` by key with `value` (null where unset) and `source`."""
    settings = {key: {"value": _written(loaded.config, key), "source": loaded.sources[key]} for key in FILE_KEYS}
    return {"file": None if loaded.file is None else str(loaded.file), "settings": settings}


def file_line(key: str, value: bool | int | str) -> str:
    """A line of the file that gives a key this value."""
    return f"{key} = {_literal(value)}"


def _written(config: Config, key: str) -> bool | int | str | list[str] | None:
    """The value of a key as the file would hold it; None where it is unset."""
    value: object = getattr(config, key)
    match value:
        case None | bool():
            return value
        case float():
            return _duration_text(value)
        case ByteSize():
            return _size_text(value)
        case int() if key in ("file_mode", "dir_mode"):
            return f"{value:04o}"
        case int():
            return value
        case tuple():
            return [str(element) for element in value]
        case _:
            return str(value)


def _literal(value: bool | int | str | list[str] | None) -> str:
    match value:
        case list():
            return f"[{', '.join(map(_literal, value))}]"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case _:
            # A JSON string is a TOML one, but for DEL. What is not UTF-8 is escaped, so that it can be printed.
            return _encodable(json.dumps(value or _NONE, ensure_ascii=False).replace("\x7f", "\\u007f"))


def _duration_text(seconds: float) -> str:
    """The duration in the largest unit that takes a whole number of it, else in seconds to the millisecond."""
    for unit_s, name in _DURATION_UNITS:
        count, rest = divmod(seconds, unit_s)
        if not rest and count:
            return f"{count:.0f} {name}{'' if count == 1 else 's'}"
    return f"{seconds:.3f} seconds" if seconds else "0 seconds"


def _size_text(size: int) -> str:
    """The size in the largest unit that takes a whole number of it."""
    for unit, name in _SIZE_UNITS:
        if size % unit == 0:
            return f"{size // unit}{name}"
    return f"{size}B"
