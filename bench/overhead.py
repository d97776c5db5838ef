"""What a whole run costs beside the ffmpeg commands it cannot do without, and where the rest goes.

Clips of 1080p, as a camera writes them. A is the bare ffmpeg command with the settings archiverd uses, for one clip
after the other; B is a whole `archiverd run` on a fresh tree with those clips: discovery, catalog, transcode,
verification, publishing, disposal. The two take turns, and every second round begins with B, so that a machine that
warms up or slows down counts against both. Each begins with the clips newly copied and the disks synced.

Once more a run is made that notes when each stage of each clip begins: that tells where the rest goes.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from archiverd.config import Config
from archiverd.pipeline import Pipeline
from archiverd.policy.encoding import EncodeSettings
from archiverd.policy.stop import NeverStop
from archiverd.service.progress import ProgressReporter
from bench import command
from bench.command import BenchError
from tools import footage

WHOLE = f"{shlex.quote(sys.executable)} -m archiverd run {{tree}} --no-confirm"
SIZE_TOLERANCE = 0.02  # of the output's bytes: further apart, the two did not encode with the same settings


@dataclass(frozen=True, slots=True)
class Cost:
    """What one command took, its children included."""

    wall_s: float
    cpu_s: float  # user and system
    output_bytes: int


@dataclass(frozen=True, slots=True)
class Round:
    """The two commands, one after the other."""

    bare: Cost
    whole: Cost

    @property
    def ratio(self) -> float:
        return self.whole.wall_s / self.bare.wall_s


@dataclass(frozen=True, slots=True)
class Result:
    """All rounds, and what they were run on."""

    measured_at: str
    clip: footage.Clip
    clip_bytes: int
    bare_command: str
    whole_command: str
    machine: dict[str, str]
    rounds: tuple[Round, ...]
    clips: int = 1
    stages: dict[str, float] = field(default_factory=dict)  # seconds by what was done, of one more run


def camera_clip(seconds: float) -> footage.Clip:
    """1080p, 20 frames a second, H.264 of about 4 Mb/s, with sound: a common camera's main stream."""
    return footage.Clip(
        "bench", 1920, 1080, "20", seconds, audio="aac", bitrate="4M", preset="veryfast", noise=4, layout="moov_last"
    )


def bare_command(source: Path, output: Path) -> tuple[str, ...]:
    """The ffmpeg command that archiverd's software rung runs on the clip, and nothing around it."""
    return command.transcode(source, output, EncodeSettings("hevc", Config().crf, Config().preset), sound=True)


def whole_command(template: str, tree: Path) -> tuple[str, ...]:
    """The whole run on `tree`, of a command line in which `{tree}` stands for it."""
    return tuple(word.replace("{tree}", str(tree)) for word in shlex.split(template))


def run(rounds: int, seconds: float, *, clips: int = 1, whole: str = WHOLE, work: Path | None = None) -> Result:
    """Measure. Takes two transcodes of each clip per round, and one more, and says on stderr how far it is.

    Raises: BenchError, FootageError, OSError.
    """
    clip = camera_clip(seconds)
    source = footage.cached(clip)
    measured = []
    for number in range(1, rounds + 1):
        measured.append(one_round(source, clips, whole, work, whole_first=number % 2 == 0))
        print(f"round {number} of {rounds}: {measured[-1].ratio:.3f}", file=sys.stderr)
    return Result(
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        clip=clip,
        clip_bytes=source.stat().st_size,
        bare_command=shlex.join(bare_command(Path("SOURCE"), Path("OUTPUT"))),
        whole_command=whole,
        machine=command.machine(),
        rounds=tuple(measured),
        clips=clips,
        stages=stages(source, clips, work),
    )


def one_round(source: Path, clips: int, whole: str, work: Path | None, *, whole_first: bool) -> Round:
    """Both commands once. Raises: BenchError, OSError."""
    if whole_first:
        whole_cost = whole_run(source, clips, whole, work)
        return _comparable(Round(bare_run(source, clips, work), whole_cost))
    bare_cost = bare_run(source, clips, work)
    return _comparable(Round(bare_cost, whole_run(source, clips, whole, work)))


def _comparable(measured: Round) -> Round:
    bare, whole = measured.bare.output_bytes, measured.whole.output_bytes
    if abs(whole - bare) > SIZE_TOLERANCE * bare:
        raise BenchError(f"the bare output has {bare} bytes, the whole run's {whole}: not the same settings")
    return measured


def bare_run(source: Path, clips: int, work: Path | None) -> Cost:
    """A. Raises: BenchError, OSError."""
    with tempfile.TemporaryDirectory(prefix="archiverd-bench-", dir=work) as place:
        for number in range(clips):
            _copy(source, Path(place, f"source{number}.mp4"), number)
        os.sync()
        wall_s = cpu_s = 0.0
        for number in range(clips):
            ran = command.run(bare_command(Path(place, f"source{number}.mp4"), Path(place, f"output{number}.mp4")))
            wall_s, cpu_s = wall_s + ran.wall_s, cpu_s + ran.cpu_s
        return Cost(wall_s, cpu_s, sum(path.stat().st_size for path in Path(place).glob("output*")))


def whole_run(source: Path, clips: int, template: str, work: Path | None) -> Cost:
    """B. Raises: BenchError, when there is not exactly one archive of each clip at the end; OSError."""
    with tempfile.TemporaryDirectory(prefix="archiverd-bench-", dir=work) as place:
        tree = Path(place, "camera")
        upload(source, clips, tree)
        wall_s, cpu_s = timed(whole_command(template, tree))
        archives = list((tree / "archived").rglob("*.mp4"))
        if len(archives) != clips:
            raise BenchError(f"the whole run made {len(archives)} archives of {clips} clips")
        return Cost(wall_s, cpu_s, sum(path.stat().st_size for path in archives))


def stages(source: Path, clips: int, work: Path | None) -> dict[str, float]:
    """Seconds by what a whole run does, in a process of its own. Raises: BenchError, OSError."""
    with tempfile.TemporaryDirectory(prefix="archiverd-bench-", dir=work) as place:
        tree = Path(place, "camera")
        upload(source, clips, tree)
        os.sync()
        ran = command.run((sys.executable, "-m", "bench.overhead", str(tree)))
    told: dict[str, float] = json.loads(ran.stdout)
    return {**told, "to start and end": ran.wall_s - sum(told.values())}


def upload(source: Path, clips: int, tree: Path) -> None:
    """Put the clips where a camera would have put them, a minute apart, the last an hour ago."""
    for number in range(clips):
        taken_at = datetime.now() - timedelta(hours=1, minutes=number)
        path = footage.upload_path(tree, "front", taken_at)
        path.parent.mkdir(parents=True, exist_ok=True)
        _copy(source, path, number)
        os.utime(path, (taken_at.timestamp(), taken_at.timestamp()))


def _copy(source: Path, target: Path, number: int) -> None:
    """Each another content: a box of no meaning at the end tells them apart."""
    shutil.copyfile(source, target)
    with target.open("ab") as file:
        file.write(struct.pack(">I4sQ", 16, b"free", number))


def timed(line: Sequence[str]) -> tuple[float, float]:
    """Run a command on synced disks: its seconds by the clock, and of the processors. Raises: BenchError."""
    os.sync()
    ran = command.run(line)
    return ran.wall_s, ran.cpu_s


# ---- in a process of its own


class _Stages(ProgressReporter):
    """Notes how long each stage takes, all clips together."""

    def __init__(self) -> None:
        super().__init__(0, 0, quiet=True)
        self.took: dict[str, float] = {}
        self._stage, self._since = "planning", time.monotonic()

    def begin(self, name: str, size_bytes: int, duration_s: float | None) -> None:
        self._enter("examining")
        super().begin(name, size_bytes, duration_s)

    def stage(self, text: str) -> None:
        self._enter(text)
        super().stage(text)

    def end(self, outcome: str) -> None:
        self._enter("between two clips")
        super().end(outcome)

    def _enter(self, stage: str) -> None:
        now = time.monotonic()
        self.took[self._stage] = self.took.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now


def _noted(tree: Path) -> dict[str, float]:
    reporter = _Stages()
    summary = Pipeline(Config(directory=tree), NeverStop()).run(
        lambda _plan: True, lambda _files, _size: reporter, lambda _reporter: nullcontext()
    )
    reporter.end("")
    if summary is None or summary.exit_code:
        raise BenchError(f"the run did not end well: {summary}")
    return reporter.took


# ---- reports


def summary(values: Sequence[float]) -> dict[str, float]:
    """The median, and how far the values lie apart."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def figures(result: Result) -> dict[str, dict[str, float]]:
    """What the rounds come to: seconds, and whole over bare. The ratio is taken round by round."""
    bare, whole = [each.bare for each in result.rounds], [each.whole for each in result.rounds]
    return {
        "bare wall s": summary([cost.wall_s for cost in bare]),
        "whole wall s": summary([cost.wall_s for cost in whole]),
        "bare cpu s": summary([cost.cpu_s for cost in bare]),
        "whole cpu s": summary([cost.cpu_s for cost in whole]),
        "wall, whole / bare": summary([each.ratio for each in result.rounds]),
        "cpu, whole / bare": summary([each.whole.cpu_s / each.bare.cpu_s for each in result.rounds]),
    }


def table(result: Result) -> str:
    """The figures, for people."""
    clip = result.clip
    many = f"{result.clips} clips, each " if result.clips > 1 else ""
    picture = (
        f"{many}{clip.seconds:g} s of {clip.width}x{clip.height} at {clip.fps} fps, {result.clip_bytes / 1e6:.1f} MB"
    )
    lines = [
        f"{picture}; {len(result.rounds)} rounds",
        *(f"{name:<8}{value}" for name, value in result.machine.items()),
        "",
        f"{'':<20}{'median':>10}{'least':>10}{'most':>10}",
    ]
    for name, found in figures(result).items():
        digits = 3 if "/" in name else 2
        lines.append(f"{name:<20}" + "".join(f"{value:>10.{digits}f}" for value in found.values()))
    lines += ["", "where it goes, once more, in seconds:"]
    lines += [f"{name:<30}{took:>10.2f}" for name, took in result.stages.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(json.dumps(_noted(Path(sys.argv[1]))))
