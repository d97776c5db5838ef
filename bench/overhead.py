"""What a whole run costs beside the one ffmpeg command it cannot do without.

One clip of 1080p, as a camera writes it. A is the bare ffmpeg command with the settings archiverd uses; B is a whole
`archiverd run` on a fresh tree with that clip: discovery, catalog, transcode, verification, publishing, disposal.
The two take turns, and every second round begins with B, so that a machine that warms up or slows down counts
against both. Each begins with the clip newly copied and the disks synced.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from archiverd.config import Config
from archiverd.policy.encoding import EncodeSettings
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


def run(rounds: int, seconds: float, *, whole: str = WHOLE, work: Path | None = None) -> Result:
    """Measure. Takes two transcodes of the clip per round, and says on stderr how far it is.

    Raises: BenchError, FootageError, OSError.
    """
    clip = camera_clip(seconds)
    source = footage.cached(clip)
    measured = []
    for number in range(1, rounds + 1):
        measured.append(one_round(source, whole, work, whole_first=number % 2 == 0))
        print(f"round {number} of {rounds}: {measured[-1].ratio:.3f}", file=sys.stderr)
    return Result(
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        clip=clip,
        clip_bytes=source.stat().st_size,
        bare_command=shlex.join(bare_command(Path("SOURCE"), Path("OUTPUT"))),
        whole_command=whole,
        machine=command.machine(),
        rounds=tuple(measured),
    )


def one_round(source: Path, whole: str, work: Path | None, *, whole_first: bool) -> Round:
    """Both commands once. Raises: BenchError, OSError."""
    if whole_first:
        whole_cost = whole_run(source, whole, work)
        return _comparable(Round(bare_run(source, work), whole_cost))
    bare_cost = bare_run(source, work)
    return _comparable(Round(bare_cost, whole_run(source, whole, work)))


def _comparable(measured: Round) -> Round:
    bare, whole = measured.bare.output_bytes, measured.whole.output_bytes
    if abs(whole - bare) > SIZE_TOLERANCE * bare:
        raise BenchError(f"the bare output has {bare} bytes, the whole run's {whole}: not the same settings")
    return measured


def bare_run(source: Path, work: Path | None) -> Cost:
    """A. Raises: BenchError, OSError."""
    with tempfile.TemporaryDirectory(prefix="archiverd-bench-", dir=work) as place:
        copy, output = Path(place, "source.mp4"), Path(place, "output.mp4")
        shutil.copyfile(source, copy)
        wall_s, cpu_s = timed(bare_command(copy, output))
        return Cost(wall_s, cpu_s, output.stat().st_size)


def whole_run(source: Path, template: str, work: Path | None) -> Cost:
    """B. Raises: BenchError, when there is not exactly one archive at the end; OSError."""
    with tempfile.TemporaryDirectory(prefix="archiverd-bench-", dir=work) as place:
        tree = Path(place, "camera")
        upload(source, tree)
        wall_s, cpu_s = timed(whole_command(template, tree))
        archives = list((tree / "archived").rglob("*.mp4"))
        if len(archives) != 1:
            raise BenchError(f"the whole run made {len(archives)} archives and not one")
        return Cost(wall_s, cpu_s, archives[0].stat().st_size)


def upload(source: Path, tree: Path) -> None:
    """Put the clip where a camera would have put it an hour ago."""
    taken_at = datetime.now() - timedelta(hours=1)
    path = footage.upload_path(tree, "front", taken_at)
    path.parent.mkdir(parents=True)
    shutil.copyfile(source, path)
    os.utime(path, (taken_at.timestamp(), taken_at.timestamp()))


def timed(line: Sequence[str]) -> tuple[float, float]:
    """Run a command on synced disks: its seconds by the clock, and of the processors. Raises: BenchError."""
    os.sync()
    ran = command.run(line)
    return ran.wall_s, ran.cpu_s


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
    picture = f"{clip.seconds:g} s of {clip.width}x{clip.height} at {clip.fps} fps, {result.clip_bytes / 1e6:.1f} MB"
    lines = [
        f"{picture}; {len(result.rounds)} rounds",
        *(f"{name:<8}{value}" for name, value in result.machine.items()),
        "",
        f"{'':<20}{'median':>10}{'least':>10}{'most':>10}",
    ]
    for name, found in figures(result).items():
        digits = 3 if "/" in name else 2
        lines.append(f"{name:<20}" + "".join(f"{value:>10.{digits}f}" for value in found.values()))
    return "\n".join(lines)


def keep(result: Result, folder: Path) -> Path:
    """Write all there is to the result as JSON, in a file of its own. Raises: OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"overhead-{result.measured_at.replace(':', '')[:17]}.json"
    path.write_text(json.dumps({"figures": figures(result), **asdict(result)}, indent=2) + "\n")
    return path
