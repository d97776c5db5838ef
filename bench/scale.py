"""How archiverd bears up as the source tree grows: ten thousand files, a hundred thousand, a million.

Half of the files are clips and half their snapshots, of ten cameras, 5,480 files a day, each as large as its name says
and of no content. Measured over each tree, in a process of its own, and held against what reads the same tree in the
same run, the two taking turns:

- *look*: the whole tree looked at as `archiverd run` does: names, sizes, parsed and paired. `find -printf` of sizes
  and names.
- *adoption*: the same as the daemon does it, into a catalog that was empty. The same `find`.
- *rescan*: the daemon's daily look through the tree, of which all is known. `find -type f`.
- *start*: `archiverd --version`, and `archiverd status` over that catalog. `python -c pass`.

What is read is in the page cache: each tree is read once before.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from archiverd.assembly import Assembly
from archiverd.config import Config
from archiverd.intake import Intake, SourceRoot
from archiverd.policy.arrival import Settling
from archiverd.policy.model import Tree
from archiverd.policy.naming import MARKER_NAME
from archiverd.policy.planning import follows_after_s
from archiverd.policy.stop import NeverStop
from archiverd.scanner import Scanner
from archiverd.service.inbox import Inbox
from bench import command, daemon
from bench.command import BenchError
from tools import footage

SIZES = (10_000, 100_000, 1_000_000)
TARGET_LOOK, TARGET_ADOPTION, TARGET_RESCAN = 5.0, 10.0, 5.0  # times the reference
TARGET_VERSION_S, TARGET_STATUS_S = 0.15, 0.3  # more than `python -c pass`
TARGET_SCAN_MIB = 150.0
_DAILY = 2740  # clips
_CAMERAS = 10
_STARTS = 7
_CONFIG = 'settle = "0 s"\nhardware = "software"\n'


@dataclass(frozen=True, slots=True)
class Pair:
    """What archiverd took, and right before or after it the reference. Seconds."""

    ours_s: float
    reference_s: float

    @property
    def ratio(self) -> float:
        return self.ours_s / self.reference_s


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that was measured, a few times over, in one process."""

    rounds: tuple[Pair, ...]
    rss_mib: float  # the most of that process

    @property
    def ratio(self) -> float:
        return statistics.median(each.ratio for each in self.rounds)

    @property
    def ours_s(self) -> float:
        return statistics.median(each.ours_s for each in self.rounds)

    @property
    def reference_s(self) -> float:
        return statistics.median(each.reference_s for each in self.rounds)

    @property
    def more_s(self) -> float:
        """How much longer archiverd takes than the reference."""
        return statistics.median(each.ours_s - each.reference_s for each in self.rounds)


@dataclass(frozen=True, slots=True)
class Size:
    """All that was measured over a tree of one size."""

    files: int
    parts: dict[str, Part]  # "look", "adoption", "rescan", "version", "status"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run."""

    measured_at: str
    machine: dict[str, str]
    sizes: tuple[Size, ...]


def run(sizes: Sequence[int], rounds: int, work: Path | None = None) -> Result:
    """Measure over each size. Says on stderr how far it is. Raises: BenchError, OSError."""
    measured = []
    for files in sizes:
        with tempfile.TemporaryDirectory(prefix="archiverd-bench-", dir=work) as place:
            print(f"making a tree of {files} files", file=sys.stderr)
            tree, config = Path(place, "camera"), Path(place, "archiverd.toml")
            config.write_text(_CONFIG)
            fill(tree, files)
            os.sync()
            measured.append(Size(files, dict(_measured(tree, config, files, rounds))))
    return Result(datetime.now(UTC).isoformat(timespec="seconds"), command.machine(), tuple(measured))


def fill(tree: Path, files: int) -> None:
    """Make that many files, clips and snapshots in turn, the newest an hour ago. Raises: OSError."""
    began = datetime.now().replace(microsecond=0) - timedelta(hours=1)
    folder = Path()
    for number in range((files + 1) // 2):
        taken_at = began - timedelta(seconds=round(number * 86400 / _DAILY))
        clip = footage.upload_path(tree, f"cam{number % _CAMERAS}", taken_at)
        if clip.parent != folder:
            folder = clip.parent
            folder.mkdir(parents=True, exist_ok=True)
        for path, size in ((clip, 5_000_000 + number), (clip.with_suffix(".jpg"), 50_000 + number))[
            : files - 2 * number
        ]:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.truncate(handle, size)  # of holes alone
            os.utime(handle, (taken_at.timestamp(),) * 2)
            os.close(handle)


def _measured(tree: Path, config: Path, files: int, rounds: int) -> Iterator[tuple[str, Part]]:
    for name in _PARTS:
        print(f"{files} files: {name}", file=sys.stderr)
        line: tuple[str, ...] = (sys.executable, "-m", "bench.scale", name, str(tree), str(files), str(rounds))
        told = json.loads(command.run(line).stdout)
        yield name, Part(tuple(Pair(**each) for each in told["rounds"]), told["rss_mib"])
    for name, words in (("version", ("--version",)), ("status", ("status", str(tree), "--config", str(config)))):
        print(f"{files} files: {name}", file=sys.stderr)
        yield name, _started(words)


def _started(words: Sequence[str]) -> Part:
    """A command of archiverd's, against a Python that does nothing."""
    ours = (sys.executable, "-m", "archiverd", *words)
    nothing = (sys.executable, "-c", "pass")
    pairs = tuple(Pair(command.run(ours).wall_s, command.run(nothing).wall_s) for _ in range(_STARTS))
    return Part(pairs, 0.0)


# ---- in a process of its own


def _look(parts: Assembly, rounds: int) -> Iterator[tuple[Callable[[], int], Sequence[str]]]:
    finder = parts.finders()[Tree.SOURCE]

    def look() -> int:
        found = finder.scan()
        return sum(1 + len(each.snapshots) for each in found.recordings) + len(found.orphans)

    for _ in range(rounds):
        yield look, ("-printf", "%s %f\\n")


def _adoption(parts: Assembly, rounds: int) -> Iterator[tuple[Callable[[], int], Sequence[str]]]:
    for _ in range(rounds):
        _forget(parts)
        with _scanning(parts) as (scanner, intake):
            yield partial(_through, scanner, intake), ("-printf", "%s %f\\n")


def _rescan(parts: Assembly, rounds: int) -> Iterator[tuple[Callable[[], int], Sequence[str]]]:
    with _scanning(parts) as (scanner, intake):
        _through(scanner, intake)  # as at the start of the daemon
        for _ in range(rounds):
            scanner.request()
            yield partial(_through, scanner, intake), ("-type", "f")


_PARTS = {"look": _look, "adoption": _adoption, "rescan": _rescan}


def _forget(parts: Assembly) -> None:
    """Have the tree stand as if archiverd had never been there."""
    for made in (parts.config.state_dir, parts.config.output, parts.config.trash_root):
        shutil.rmtree(made, ignore_errors=True)
    (parts.config.directory / MARKER_NAME).unlink(missing_ok=True)


@contextlib.contextmanager
def _scanning(parts: Assembly) -> Iterator[tuple[Scanner, Intake]]:
    """What looks through the tree, and what enters it, as a session of the daemon builds them."""
    config, inbox = parts.config, Inbox()
    with parts.opened(thoroughly=False) as (catalog, files, roots):
        scanner = Scanner(
            parts.finders()[Tree.SOURCE], catalog, inbox, config.patterns,
            verify=lambda: roots.verify(Tree.SOURCE), old_after_s=follows_after_s(config.settle),
        )  # fmt: skip
        intake = Intake(
            catalog, files, parts.finders()[Tree.SOURCE], inbox, parts.manner(),
            Settling(config.settle, config.settle_closed), clock=parts.clock,
            root=SourceRoot(partial(roots.verify, Tree.SOURCE), is_known=True),
        )  # fmt: skip
        yield scanner, intake


def _through(scanner: Scanner, intake: Intake) -> int:
    """Look through the whole tree, and enter what is found; the number of files that were seen."""
    before = scanner.last_full
    while scanner.last_full is before:
        scanner.step(time.time())
        while intake.take():
            pass
    assert scanner.last_full is not None
    return scanner.last_full.files


def _measure(name: str, tree: Path, files: int, rounds: int) -> dict[str, object]:
    parts = Assembly(Config(directory=tree, settle=0.0), NeverStop())
    told = []
    for work, tests in _PARTS[name](parts, rounds):
        began = time.monotonic()
        subprocess.run(("find", tree, *tests), stdout=subprocess.DEVNULL, check=True)
        reference_s = time.monotonic() - began
        began = time.monotonic()
        seen = work()
        told.append({"ours_s": time.monotonic() - began, "reference_s": reference_s})
        if seen != files:
            raise BenchError(f"{files} files stand there, and {seen} were seen")
    return {"rounds": told, "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


# ---- reports


def table(result: Result) -> str:
    """The figures, for people."""
    rows: list[tuple[str, ...]] = [
        (f"{size.files}", name, f"{part.ours_s:.3f}", f"{part.reference_s:.3f}", f"{part.ratio:.2f}",
         f"{1000 * part.more_s:.0f}", f"{part.rss_mib:.0f}" if part.rss_mib else "")
        for size in result.sizes
        for name, part in size.parts.items()
    ]  # fmt: skip
    heads = ("files", "", "s", "reference s", "ratio", "ms more", "RSS MiB")
    return "\n".join([*(f"{name:<8}{value}" for name, value in result.machine.items()), "", *daemon.table(heads, rows)])


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
