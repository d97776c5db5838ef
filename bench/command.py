"""What every measurement stands on: a command with what it cost, archiverd's own ffmpeg command, and the machine."""

from __future__ import annotations

import json
import os
import platform
import resource
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from archiverd.policy.clip_info import ClipInfo, Stream, StreamKind, select
from archiverd.policy.encoding import EncodeSettings, file_url, transcode_command
from archiverd.policy.rungs import SOFTWARE
from tools import footage

CHECKOUT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
TIMEOUT_S = 3600


class BenchError(Exception):
    """A command failed, or did something else than what was to be measured."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended well, and what it took, its children included."""

    wall_s: float
    cpu_s: float  # user and system
    stdout: str
    stderr: str


def run(command: Sequence[str], cwd: Path = CHECKOUT) -> Ran:
    """Run a command to its end. Raises: BenchError where it fails."""
    cpu_before, began = _children_cpu_s(), time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=TIMEOUT_S,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise BenchError(f"{command[0]} is not there") from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{shlex.join(command)} was not done after {TIMEOUT_S} s") from error
    wall_s, cpu_s = time.monotonic() - began, _children_cpu_s() - cpu_before
    if done.returncode != 0:
        raise BenchError(f"{shlex.join(command)} exited {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    return Ran(wall_s, cpu_s, done.stdout, done.stderr)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def transcode(source: Path, output: Path, settings: EncodeSettings, *, sound: bool) -> tuple[str, ...]:
    """The ffmpeg command that archiverd's software rung runs on an H.264 clip, and nothing around it."""
    streams = (_stream(0, StreamKind.VIDEO, "h264"), *((_stream(1, StreamKind.AUDIO, "aac"),) if sound else ()))
    info = ClipInfo(streams, 0.0, {}, ())
    return transcode_command(
        info, select(info), settings, SOFTWARE, file_url(str(source)), file_url(str(output)), size_bytes=0, tags={}
    )


def _stream(index: int, kind: StreamKind, codec: str) -> Stream:
    return Stream(
        index, kind, codec, packets=0, first_s=0.0, end_s=0.0, longest_packet_s=0.0, digest="", pix_fmt="yuv420p"
    )  # fmt: skip


class Measured(Protocol):
    """The result of a bench: a dataclass of what JSON holds."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def measured_at(self) -> str: ...


def keep(kind: str, result: Measured, folder: Path) -> Path:
    """Write all there is to a result as JSON, in a file of its own: `KIND-TIME.json`. Raises: OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind}-{result.measured_at.replace(':', '')[:17]}.json"
    path.write_text(json.dumps(asdict(result), indent=2) + "\n", "utf-8")
    return path


def machine() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "cpu": _proc_value("/proc/cpuinfo", "model name"),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": _proc_value("/proc/meminfo", "MemTotal"),
        "load": f"{os.getloadavg()[0]:.2f} (1 minute, at the end)",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "ffmpeg": footage.ffmpeg_version(),
        "commit": _commit(),
    }


def _proc_value(path: str, key: str) -> str:
    for line in Path(path).read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return "unknown"


def _commit() -> str:
    command = ("git", "-C", str(CHECKOUT), "describe", "--always", "--dirty")
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
