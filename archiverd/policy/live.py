"""What a daemon does now, as one value: for `status`, for the service manager, and as the JSON between them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, assert_never

from archiverd.policy.naming import printable

LIVE_NAME = "daemon.json"  # in the state directory

_VERSION = 1
_LONGEST = 120  # characters of what is told in one line of others' making


class Phase(StrEnum):
    """Where a daemon stands in its life."""

    STARTING = "starting"  # recovers, reads the trees
    WORKING = "working"
    CUT_OFF = "cut off"  # a root is missing or another one; it waits for it
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Task:
    """The recording that is worked on. Texts are printable. Times are seconds since the epoch."""

    name: str  # of its file
    size_bytes: int
    began_at: float
    camera: str = ""
    duration_s: float | None = None  # playing time
    stage: str = ""  # as it goes on: "transcoding", "verifying"
    fraction: float | None = None  # of the stage, 0..1; None where it is not told
    speed: float | None = None  # playing time per time taken


@dataclass(frozen=True, slots=True)
class Live:
    """What a daemon does now. Times are seconds since the epoch."""

    pid: int
    start_ticks: int  # when the process began, in the kernel's count: tells it from another of the same number
    version: str
    since: float  # the daemon began
    phase: Phase = Phase.STARTING
    about: str = ""  # in words, what the phase is about: "reading the trees", "/camera is not mounted"
    task: Task | None = None
    waiting: int = 0  # recordings whose turn comes as soon as there is time
    held: int = 0  # recordings whose time has not come: still being written, or tried again later
    unread: int = 0  # paths that were seen and not looked at yet
    paused: str = ""  # why nothing is worked on; empty while something may be
    watching: str = ""  # how new files are found: "by events", "by looking"
    scanned_at: float | None = None  # the last look through the whole tree ended
    last: str = ""  # the recording that was done with last, and what came of it

    def to_json(self) -> dict[str, Any]:  # Any: values of JSON
        """For programs, and for the file."""
        return {"format": _VERSION, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Daemon:
    """The daemon as it is found from outside: `live` is what its file says, None where there is none."""

    running: bool
    live: Live | None = None


NO_DAEMON = Daemon(running=False)


def to_text(live: Live) -> str:
    """What the file holds: one line of ASCII."""
    return json.dumps(live.to_json(), ensure_ascii=True) + "\n"


def from_text(text: str) -> Live | None:
    """What a file says; None where that is of another version, or makes no sense."""
    try:
        values = json.loads(text)
        if values["format"] != _VERSION:
            return None
        task = values["task"]
        return Live(
            int(values["pid"]), int(values["start_ticks"]), _text(values["version"]), _moment(values["since"]),
            Phase(values["phase"]), _text(values["about"]), None if task is None else _task(task),
            int(values["waiting"]), int(values["held"]), int(values["unread"]), _text(values["paused"]),
            _text(values["watching"]), _number(values["scanned_at"]), _text(values["last"]),
        )  # fmt: skip
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None


def _task(values: Mapping[str, Any]) -> Task:  # Any: values of JSON
    return Task(
        _text(values["name"]), int(values["size_bytes"]), _moment(values["began_at"]), _text(values["camera"]),
        _number(values["duration_s"]), _text(values["stage"]), _number(values["fraction"]), _number(values["speed"]),
    )  # fmt: skip


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return printable(value)


def _number(value: Any) -> float | None:  # Any: a value of JSON
    return None if value is None else _moment(value)


def _moment(value: Any) -> float:  # Any: as above
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("no number")
    return number


def status_words(live: Live) -> str:
    """All of it in one line of ASCII: `transcoding front 42 %, 3 waiting, 2 held`."""
    parts = [_doing(live)]
    parts += [f"{live.waiting} waiting"] if live.waiting else []
    parts += [f"{live.held} held"] if live.held else []
    return ", ".join(parts)


def _doing(live: Live) -> str:
    match live.phase:
        case Phase.STARTING | Phase.STOPPING:
            return _with_words(live.phase, live.about)
        case Phase.CUT_OFF:
            return _with_words("cut off", live.about)
        case Phase.WORKING:
            pass
        case _:
            assert_never(live.phase)
    if live.paused:
        return _with_words("paused", live.paused)
    return "idle" if live.task is None else _task_words(live.task)


def _task_words(task: Task) -> str:
    percent = "" if task.fraction is None else f" {int(task.fraction * 100 + 0.5)} %"
    name, stage = _ascii(task.camera or task.name), _ascii(task.stage or "examining")
    return f"{name}: {stage}{percent}" if " " in stage else f"{stage} {name}{percent}"


def _with_words(what: str, words: str) -> str:
    return f"{what}: {_ascii(words)}" if words else what


def _ascii(text: str) -> str:
    """Text others made, as sdnotify and any terminal can take it, and no longer than a line."""
    plain = printable(text).encode("ascii", "backslashreplace").decode("ascii")
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 3]}..."
