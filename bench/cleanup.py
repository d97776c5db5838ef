"""What a cleanup costs over a catalog of a million archives: a look, a tick with nothing due, a plan, the removal.

The tree is that of `idle`: one real recording, and copies of its rows, each with a small archive that stands. The
cleanup is archiverd's own, in a process of its own, with a rule that makes the oldest due. Its removal is held against
`xargs -0 rm` over the next oldest files of the same tree, one after the other, so that both meet the disk as it is.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from archiverd.assembly import Assembly
from archiverd.cleaner import Cleaner
from archiverd.config import Config
from archiverd.policy.model import Tree
from archiverd.policy.retention import Rule
from archiverd.policy.stop import NeverStop
from archiverd.remover import Done
from bench import command, daemon, idle
from bench.command import BenchError

TARGET_TICK_MS, TARGET_PLAN_S, TARGET_RATIO, TARGET_MIB = 20.0, 1.0, 2.0, 150.0
_TICKS = 50
_BETWEEN_S = 1.0  # two recordings are at least 20 s apart
_CONFIG = 'settle = "0 s"\nhardware = "software"\npreset = "ultrafast"\n'


@dataclass(frozen=True, slots=True)
class Round:
    """One plan and removal by archiverd, and one removal of as many files by xargs."""

    plan_s: float
    apply_s: float
    reference_s: float


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run."""

    measured_at: str
    recordings: int
    removed: int  # in each round
    machine: dict[str, str]
    look_s: float  # the first, at every file
    again_s: float  # the next, where nothing has changed
    tick_ms: tuple[float, ...]  # with nothing due
    rounds: tuple[Round, ...]
    rss_mib: float  # the most of the whole process


def run(recordings: int, removed: int, rounds: int, work: Path | None = None) -> Result:
    """Measure. Says on stderr how far it is. Raises: BenchError, FootageError, OSError."""
    if removed * rounds * 2 >= recordings:
        raise BenchError(
            f"{recordings} recordings are too few to remove {removed} of, twice in each of {rounds} rounds"
        )
    with tempfile.TemporaryDirectory(prefix="archiverd-bench-", dir=work) as place:
        print(f"making a tree of {recordings} archives", file=sys.stderr)
        config, tree = Path(place, "archiverd.toml"), Path(place, "camera")
        config.write_text(_CONFIG)
        idle.fill(tree, config, recordings, idle.Variant.GONE)
        os.sync()
        print("measuring", file=sys.stderr)
        line = (sys.executable, "-m", "bench.cleanup", str(tree), str(removed), str(rounds))
        told = json.loads(command.run(line).stdout)
    return Result(
        datetime.now(UTC).isoformat(timespec="seconds"), recordings, removed, command.machine(), told["look_s"],
        told["again_s"], tuple(told["tick_ms"]), tuple(Round(**one) for one in told["rounds"]), told["rss_mib"],
    )  # fmt: skip


# ---- in a process of its own


def _measure(tree: Path, removed: int, rounds: int) -> dict[str, object]:
    oldest = _oldest_first(tree / "archived")
    config = Config(directory=tree, delete=True, min_free=None, retention=(_older_than(0.0),))
    parts = Assembly(config, NeverStop())
    with parts.opened(thoroughly=False) as (catalog, files, roots):
        cleaner = parts.cleaner(catalog, files, roots.verify)
        look_s = _timed(lambda: cleaner.finish(cleaner.look()))
        again_s = _timed(lambda: cleaner.finish(cleaner.look()))
        ticks = [_timed(lambda: _tick(cleaner)) * 1000 for _ in range(_TICKS)]
        told = []
        for _ in range(rounds):
            ours, theirs = (list(islice(oldest, removed)) for _ in range(2))
            rule = _older_than(_taken_at(ours[-1]) + _BETWEEN_S)
            cleaner.terms = replace(cleaner.terms, rules=(rule,))
            told.append(_round(cleaner, ours, theirs))
    return {
        "look_s": look_s, "again_s": again_s, "tick_ms": ticks, "rounds": [asdict(one) for one in told],
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def _round(cleaner: Cleaner, ours: list[Path], theirs: list[Path]) -> Round:
    cleaner.finish(cleaner.look())
    began = time.monotonic()
    policy = cleaner.policy()
    plan = cleaner.plan(policy, time.time())
    planned = time.monotonic()
    done = Done()
    cleaner.finish(cleaner.apply(plan, policy, done))
    ended = time.monotonic()
    if done.total.files != len(ours) or any(path.exists() for path in ours):
        raise BenchError(f"{len(ours)} files were to go, and {done.total.files} went")
    names = b"".join(os.fsencode(path) + b"\0" for path in theirs)
    reference_s = _timed(lambda: subprocess.run(("xargs", "-0", "rm"), input=names, check=True))
    return Round(planned - began, ended - planned, reference_s)


def _tick(cleaner: Cleaner) -> None:
    """What the daemon does every minute."""
    cleaner.finish(cleaner.catch_up())
    if cleaner.is_due(cleaner.policy(), time.time()):
        raise BenchError("nothing was to be due")


def _older_than(moment: float) -> Rule:
    """A rule that makes due what was taken before."""
    return Rule(Tree.ARCHIVE, age_s=time.time() - moment)


def _oldest_first(archive: Path) -> Iterator[Path]:
    """The archives by the times in their names."""
    for day in sorted(archive.glob("*/*/*")):
        yield from sorted(day.glob("*.mp4"), key=_taken_at)


def _taken_at(path: Path) -> float:
    return datetime.strptime(path.stem.rpartition("_")[2], "%Y%m%d%H%M%S").timestamp()


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


# ---- reports


def table(result: Result) -> str:
    """The figures, for people."""
    ratio = statistics.median(one.apply_s / one.reference_s for one in result.rounds)
    plan_s = statistics.median(one.plan_s for one in result.rounds)
    rows: list[tuple[str, ...]] = [
        (f"{number}", f"{one.plan_s:.2f}", f"{one.apply_s:.2f}", f"{one.reference_s:.2f}",
         f"{one.apply_s / one.reference_s:.2f}")
        for number, one in enumerate(result.rounds, 1)
    ]  # fmt: skip
    lines = [
        f"{result.recordings} archives in the catalog, {result.removed} removed in each round",
        *(f"{name:<8}{value}" for name, value in result.machine.items()),
        "",
        f"first look {result.look_s:.1f} s, the next {result.again_s * 1000:.0f} ms",
        "",
        *daemon.table(("round", "plan s", "removal s", "xargs -0 rm s", "ratio"), rows),
        "",
        f"tick with nothing due, the slowest: {daemon.met(max(result.tick_ms), TARGET_TICK_MS, 'ms')}",
        f"plan: {daemon.met(plan_s, TARGET_PLAN_S, 's')}",
        f"removal, times xargs -0 rm: {daemon.met(ratio, TARGET_RATIO, '')}",
        f"memory: {daemon.met(result.rss_mib, TARGET_MIB, 'MiB')}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
