"""What it costs that ffmpeg and ffprobe are confined: one clip through all that a job starts for it, with and without.

Probe of the source, transcode, strict decode of both, probe of the output, on open files as a job does it. The two take
turns, and every second round begins with the other.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from archiverd.config import Config
from archiverd.media import boxes, process
from archiverd.media.confinement import landlock_version
from archiverd.media.probe import probe
from archiverd.media.source import Source, declared_frames
from archiverd.media.transcoder import Transcoder
from archiverd.policy.clip_info import select
from archiverd.policy.encoding import EncodeSettings
from archiverd.policy.rungs import SOFTWARE
from archiverd.policy.stop import NeverStop
from bench import command, daemon
from bench.command import BenchError
from bench.overhead import camera_clip
from tools import footage

TARGET_PERCENT = 3.0
_FREE = process.Limits(stall_s=120, wall_s=3600)
_CONFINED = replace(_FREE, confined=True)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run."""

    measured_at: str
    clip_s: float
    landlock: int  # the version of the kernel's interface
    machine: dict[str, str]
    free_s: tuple[float, ...]  # by round
    confined_s: tuple[float, ...]

    @property
    def percent(self) -> float:
        """How much longer it takes confined: the median of the rounds, each by itself."""
        pairs = zip(self.confined_s, self.free_s, strict=True)
        return 100 * (statistics.median(confined / free for confined, free in pairs) - 1)


def run(rounds: int, seconds: float, work: Path | None = None) -> Result:
    """Measure. Says on stderr how far it is. Raises: BenchError, FootageError, OSError."""
    if not landlock_version():
        raise BenchError("this kernel has no Landlock: there is nothing to measure")
    clip = footage.cached(camera_clip(seconds))
    times: dict[process.Limits, list[float]] = {_FREE: [], _CONFINED: []}
    for number in range(rounds):
        for limits in (_FREE, _CONFINED) if number % 2 == 0 else (_CONFINED, _FREE):
            with tempfile.TemporaryFile(dir=work) as output:
                times[limits].append(_timed(clip, output.fileno(), limits))
        print(
            f"round {number + 1} of {rounds}: {times[_FREE][-1]:.2f} s and {times[_CONFINED][-1]:.2f} s",
            file=sys.stderr,
        )
    return Result(
        datetime.now(UTC).isoformat(timespec="seconds"), seconds, landlock_version(), command.machine(),
        tuple(times[_FREE]), tuple(times[_CONFINED]),
    )  # fmt: skip


def _timed(clip: Path, output: int, limits: process.Limits) -> float:
    stop = NeverStop()
    transcoder = Transcoder(EncodeSettings("hevc", Config().crf, Config().preset), limits, stop)
    with _opened(clip) as handle:
        began = time.monotonic()
        info = probe(handle, stop=stop, limits=limits)
        source = Source(handle, clip.stat().st_size, declared_frames(boxes.walk(handle)), info, select(info))
        transcoder.transcode(source, output, SOFTWARE, {}, lambda _: None)
        for file in (handle, output):
            if transcoder.decode(file, encoded_audio=False, on_position=lambda _: None).error:
                raise BenchError("the clip, or what was made of it, does not decode")
        probe(output, stop=stop, limits=limits)
        return time.monotonic() - began


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def table(result: Result) -> str:
    """The figures, for people."""
    rounds = enumerate(zip(result.free_s, result.confined_s, strict=True), 1)
    lines = [
        f"{result.clip_s:g} s of 1080p, Landlock {result.landlock}",
        *(f"{name:<8}{value}" for name, value in result.machine.items()),
        "",
        *daemon.table(
            ("round", "unconfined s", "confined s"),
            [(f"{number}", f"{free:.2f}", f"{confined:.2f}") for number, (free, confined) in rounds],
        ),
        "",
        f"confined takes longer: {daemon.met(result.percent, TARGET_PERCENT, '%')}",
    ]
    return "\n".join(lines)
