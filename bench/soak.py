"""The daemon under steady uploads for as long as one asks: what it holds is to be flat once it is warm.

Tiny clips, each of a content of its own and with a snapshot, come at a steady pace into a tree over whose catalog some
thousand recordings have gone already; archive and trash have a ceiling, so that each pass of the cleanup removes. Every
few seconds it is seen what the process holds: memory, descriptors, threads, children; and the catalog beside it.

What was seen is taken together by the minute: of memory the middle value, of descriptors, threads and children the
least, for each job opens some and closes them. The first part of the run is left out, and a line is laid through
the rest by least squares. A slope is told with its standard error: memory grows where the slope less two errors is
above what is allowed, it is flat where the slope and two errors is below, and between the two the run was too short
to tell.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from archiverd.errors import ArchiverError
from archiverd.policy.model import State
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_schema import FILE_NAME
from bench import command, daemon, idle
from bench.command import BenchError
from tools import damage, footage

MOST_MIB_PER_HOUR = 2.0  # of resident memory
MOST_KIB_PER_RECORDING = 8.0  # of the catalog: rows, receipt, history and their indexes, until `history` is over
_BEFORE = 3000  # recordings in the catalog at the start: SQLite's caches are full from then on
_CAMERAS = 10
_LOOK_S = 5.0
_SPAN_S = 60.0  # of what is taken together
_WARM_UP = 1 / 3  # of the run
_FEWEST_SPANS = 3
_DONE_WITHIN_S = 300
_ARCHIVED = (State.ARCHIVED, State.DONE, State.REMOVED)
_CLIP = footage.Clip("bench-soak", 160, 120, "10", 0.5, crf=12, noise=8)
_FILLING = 'settle = "0 s"\nhardware = "software"\npreset = "ultrafast"\n'
_CONFIG = """\
hardware = "software"
codec = "h264"
preset = "ultrafast"
min_free = "none"
max_removal = 100
history = "30 days"
[[retention]]
tree = "archive"
max_size = "{ceiling}KB"
[[retention]]
tree = "trash"
max_size = "{ceiling}KB"
"""


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen at one moment."""

    at_s: float  # since the start
    rss_mib: float
    fds: int
    threads: int
    children: int
    catalog_kib: float
    uploaded: int
    archives: int  # that stand


@dataclass(frozen=True, slots=True)
class Span:
    """What was seen within a minute, taken together."""

    at_s: float
    rss_mib: float
    fds: int
    threads: int
    children: int
    catalog_kib: float
    uploaded: int

    @classmethod
    def of(cls, looks: Sequence[Look]) -> Span:
        """Of at least one."""
        return cls(
            statistics.mean(look.at_s for look in looks), statistics.median(look.rss_mib for look in looks),
            min(look.fds for look in looks), min(look.threads for look in looks),
            min(look.children for look in looks), looks[-1].catalog_kib, looks[-1].uploaded,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trend:
    """A line through values over time, by least squares. `error` is the standard error of the slope."""

    start: float  # of the line, not of the first value
    end: float
    per_hour: float
    error: float

    @classmethod
    def of(cls, points: Sequence[tuple[float, float]]) -> Trend:
        """Of at least three moments, in seconds, and the value at each."""
        times, values = zip(*points, strict=True)
        middle_s, middle = statistics.mean(times), statistics.mean(values)
        spread = sum((at - middle_s) ** 2 for at in times)
        slope = sum((at - middle_s) * (value - middle) for at, value in points) / spread
        beside = sum((value - middle - slope * (at - middle_s)) ** 2 for at, value in points)
        error = math.sqrt(beside / (len(points) - 2) / spread)
        first, last = (middle + slope * (at - middle_s) for at in (times[0], times[-1]))
        return cls(first, last, 3600 * slope, 3600 * error)


class Verdict(StrEnum):
    """What a figure says of what is asked."""

    MET = "met"
    MISSED = "MISSED"
    UNCLEAR = "too short to tell"


def slope_verdict(trend: Trend, most_per_hour: float) -> Verdict:
    """Whether something grows faster than that, as far as its noise lets one say."""
    if trend.per_hour - 2 * trend.error > most_per_hour:
        return Verdict.MISSED
    return Verdict.MET if trend.per_hour + 2 * trend.error < most_per_hour else Verdict.UNCLEAR


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    name: str
    start: float
    end: float
    per_hour: float
    error: float
    asked: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run."""

    measured_at: str
    minutes: float
    per_minute: float
    machine: dict[str, str]
    uploaded: int
    archived: int
    removed: int  # archives, by the cleanup
    problems: tuple[str, ...]  # that were open at a look
    figures: tuple[Figure, ...]
    looks: tuple[Look, ...]

    @property
    def is_met(self) -> bool:
        """Whether nothing was missed."""
        return all(figure.verdict is not Verdict.MISSED for figure in self.figures)


def warm(looks: Sequence[Look]) -> list[Span]:
    """The minutes after the warm-up. Raises: BenchError where they are too few for a line."""
    begins_s = looks[-1].at_s * _WARM_UP
    by_span: dict[int, list[Look]] = {}
    for look in looks:
        if look.at_s >= begins_s:
            by_span.setdefault(int((look.at_s - begins_s) / _SPAN_S), []).append(look)
    spans = [Span.of(by_span[number]) for number in sorted(by_span)]
    if len(spans) < _FEWEST_SPANS:
        raise BenchError(
            f"{looks[-1].at_s / 60:.1f} minutes are too few: no {_FEWEST_SPANS} are left after the warm-up"
        )
    return spans


def judged(looks: Sequence[Look], problems: Sequence[str], left: int) -> tuple[Figure, ...]:
    """What the looks say. `left`: uploads without an archive at the end. Raises: BenchError where they are too few."""
    spans = warm(looks)
    memory = Trend.of([(span.at_s, span.rss_mib) for span in spans])
    catalog = Trend.of([(span.at_s, span.catalog_kib) for span in spans])
    uploaded = spans[-1].uploaded - spans[0].uploaded
    each_kib = (spans[-1].catalog_kib - spans[0].catalog_kib) / uploaded if uploaded else 0.0
    return (
        Figure(
            "RSS, MiB", memory.start, memory.end, memory.per_hour, memory.error,
            f"grows by at most {MOST_MIB_PER_HOUR:g} an hour", slope_verdict(memory, MOST_MIB_PER_HOUR),
        ),
        _counted("descriptors", [(span.at_s, span.fds) for span in spans]),
        _counted("threads", [(span.at_s, span.threads) for span in spans]),
        _counted("children", [(span.at_s, span.children) for span in spans]),
        Figure(
            "catalog, KiB", catalog.start, catalog.end, catalog.per_hour, catalog.error,
            f"{each_kib:.2f} for each recording, to be under {MOST_KIB_PER_RECORDING:g}",
            Verdict.MET if each_kib < MOST_KIB_PER_RECORDING else Verdict.MISSED,
        ),
        Figure("problems", 0, len(problems), 0, 0, "none", Verdict.MISSED if problems else Verdict.MET),
        Figure("not archived", 0, left, 0, 0, "none", Verdict.MISSED if left else Verdict.MET),
    )  # fmt: skip


def _counted(name: str, points: Sequence[tuple[float, int]]) -> Figure:
    """Of something that is counted: as many at the end as at the start. One job over a whole minute is no growth."""
    third = max(1, len(points) // 3)
    start, end = (min(value for _, value in part) for part in (points[:third], points[-third:]))
    trend = Trend.of(points)
    verdict = Verdict.MET if end <= start else Verdict.MISSED
    return Figure(name, start, end, trend.per_hour, trend.error, "no more at the end", verdict)


# ---- measuring


@dataclass(slots=True)
class _Tree:
    """Where it all stands, and what came of it so far."""

    camera: Path
    config: Path
    clip: bytes
    snapshot: bytes
    uploaded: int = 0
    archived: int = 0
    problems: list[str] = field(default_factory=list)

    def upload(self) -> None:
        """Write the next clip and its snapshot."""
        now = datetime.now()
        path = footage.upload_path(self.camera, f"cam{self.uploaded % _CAMERAS}", now)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".jpg").write_bytes(self.snapshot + str(self.uploaded).encode())
        path.write_bytes(self.clip + damage.box(b"free", str(self.uploaded).encode()))
        self.uploaded += 1

    def look(self, pid: int, at_s: float) -> Look:
        """Raises: OSError where the daemon is not there any more."""
        use, process = daemon.use_of(pid), Path(f"/proc/{pid}")
        tasks = list((process / "task").iterdir())
        children = sum(len(_read(task / "children").split()) for task in tasks)
        archives = sum(1 for _ in (self.camera / "archived").rglob("[!.]*.mp4"))
        self._ask()
        size = (self.camera / ".archiverd" / FILE_NAME).stat().st_size
        return Look(
            at_s, use.rss_mib, sum(1 for _ in (process / "fd").iterdir()), len(tasks), children, size / 1024,
            self.uploaded, archives,
        )  # fmt: skip

    def _ask(self) -> None:
        try:
            with Catalog.to_read(self.camera / ".archiverd" / FILE_NAME) as catalog:
                counts = catalog.counts()
                self.archived = sum(counts[state][0] for state in _ARCHIVED if state in counts)
                told = [course.problem.message for course in catalog.problems()[0]]
        except ArchiverError:  # it is just being written to; the next look tells it
            return
        self.problems += [message for message in told if message not in self.problems]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # a thread that has ended meanwhile
        return ""


def run(minutes: float, per_minute: float, ceiling_kb: int, work: Path | None = None) -> Result:
    """Measure. Says on stderr how far it is. Raises: BenchError, FootageError, OSError."""
    with tempfile.TemporaryDirectory(prefix="archiverd-bench-", dir=work) as place:
        tree = _Tree(
            Path(place, "camera"), Path(place, "archiverd.toml"), footage.cached(_CLIP).read_bytes(),
            footage.cached_snapshot(_CLIP).read_bytes(),
        )  # fmt: skip
        print(f"making a tree of {_BEFORE} recordings", file=sys.stderr)
        tree.config.write_text(_FILLING)
        idle.fill(tree.camera, tree.config, _BEFORE, idle.Variant.GONE)
        tree.config.write_text(_CONFIG.format(ceiling=ceiling_kb))
        with daemon.running(tree.camera, tree.config) as process:
            print(f"measuring for {minutes:g} minutes", file=sys.stderr)
            try:
                looks = _measured(tree, process.pid, minutes, per_minute)
                _wait_for_archives(tree, process.pid)
                standing = tree.look(process.pid, looks[-1].at_s).archives
            except OSError as error:  # it has ended, or its trees are gone
                said = daemon.said(tree.config.with_name("daemon.log"))
                raise BenchError(f"{error}; the daemon said: {said}") from error
    archived = tree.archived - _BEFORE
    return Result(
        datetime.now(UTC).isoformat(timespec="seconds"), minutes, per_minute, command.machine(), tree.uploaded,
        archived, tree.archived - standing, tuple(tree.problems),
        judged(looks, tree.problems, tree.uploaded - archived), tuple(looks),
    )  # fmt: skip


def _measured(tree: _Tree, pid: int, minutes: float, per_minute: float) -> list[Look]:
    looks: list[Look] = []
    began, beat_s = time.monotonic(), 60 / per_minute
    look_at, upload_at = 0.0, 0.0
    while (at_s := time.monotonic() - began) < 60 * minutes:
        if at_s >= upload_at:
            tree.upload()
            upload_at += beat_s
        if at_s >= look_at:
            looks.append(tree.look(pid, at_s))
            look_at = at_s + _LOOK_S
        daemon.pause(max(0.0, min(upload_at, look_at) - (time.monotonic() - began)))
    return looks


def _wait_for_archives(tree: _Tree, pid: int) -> None:
    """Until nothing is left to archive, or no longer can be waited; what is left then is told with the figures."""
    deadline = time.monotonic() + _DONE_WITHIN_S
    while time.monotonic() < deadline:
        tree.look(pid, 0.0)
        if tree.archived - _BEFORE >= tree.uploaded:
            return
        daemon.pause(1.0)


# ---- reports


def table(result: Result) -> str:
    """The figures, for people."""
    rows: list[tuple[str, ...]] = [
        (
            figure.name, f"{figure.start:.1f}", f"{figure.end:.1f}", f"{figure.per_hour:+.2f}", f"{figure.error:.2f}",
            f"{figure.asked}: {figure.verdict}",
        )
        for figure in result.figures
    ]  # fmt: skip
    lines = [
        f"{result.minutes:g} minutes, {result.per_minute:g} uploads each, over {_BEFORE} recordings of before",
        f"{result.uploaded} uploaded, {result.archived} archived, {result.removed} archives removed by the cleanup",
        *(f"{name:<8}{value}" for name, value in result.machine.items()),
        "",
        *daemon.table((f"after {_WARM_UP:.0%} of the time", "start", "end", "an hour", "+-", "asked"), rows),
        *(f"problem: {message}" for message in result.problems),
    ]
    return "\n".join(lines)
