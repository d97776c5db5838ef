"""Sixty-four cameras at a clip a minute, for a day in simulated time: what waits, for how long, and what is told.

The catalog, the forecast of `status` and the problems are archiverd's own; the clock is invented, and ffmpeg is a
speed: so many seconds of footage in one. Three machines are looked at: one that is too slow, one that just suffices,
and one with room to spare. Each minute brings its clips; between them the oldest is archived, as the daemon does it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from archiverd.concerns import Concerns
from archiverd.policy.model import ArchiveKind, ClipName, Fingerprint, FoundFile, Receipt, Recording
from archiverd.policy.naming import archive_path
from archiverd.policy.problems import ProblemKind
from archiverd.problems import Problems
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_schema import FILE_NAME
from bench import command, daemon

CAMERAS, CLIP_S = 64, 30.0
SPEEDS = (24.0, 34.0, 48.0)  # 32 would be as much as comes
HOURS = 24
_BEGAN = datetime(2026, 7, 1, 6, 0)
_SAMPLE_S = 600.0
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """How it stood at a moment of the day."""

    hour: float
    waiting: int
    longest_s: float  # the first has waited for so long
    over_in_s: float | None  # as `status` foretells it; None for never
    told: bool  # that it is behind


@dataclass(frozen=True, slots=True)
class Day:
    """The day of one machine."""

    speed: float  # seconds of footage in a second
    samples: tuple[Sample, ...]

    @property
    def told_at(self) -> float | None:
        """The hour at which the problem was told."""
        return next((sample.hour for sample in self.samples if sample.told), None)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run."""

    measured_at: str
    machine: dict[str, str]
    cameras: int
    hours: int
    days: tuple[Day, ...]


def run(hours: int = HOURS, work: Path | None = None) -> Result:
    """Play through the day of each machine. Says on stderr how far it is. Raises: OSError."""
    days = []
    for speed in SPEEDS:
        print(f"{CAMERAS} cameras, footage encoded {speed:g} times as fast as it is shot", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="archiverd-bench-", dir=work) as place:
            days.append(Day(speed, tuple(_day(Path(place, FILE_NAME), speed, hours))))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Result(now, command.machine(), CAMERAS, hours, tuple(days))


def _day(path: Path, speed: float, hours: int) -> Iterator[Sample]:
    with Catalog(path, new_id="fleet") as catalog:
        catalog._connection.execute("PRAGMA synchronous = OFF")  # noqa: SLF001  (the disk is not what is looked at)
        yield from _Box(catalog, speed).day(hours)


class _Box:
    """The recorder box: a catalog, what looks for problems, and a clock."""

    def __init__(self, catalog: Catalog, speed: float) -> None:
        self._catalog = catalog
        self._speed = speed
        self._problems = Problems()
        self._began = self._now = _BEGAN.timestamp()
        self._concerns = Concerns(catalog, self._problems, places={}, min_free=None, heard_until=lambda: self._now)

    def day(self, hours: int) -> Iterator[Sample]:
        """Play through so many hours, and tell now and then how it stands."""
        minute = sampled = 0
        while self._now < self._began + hours * 3600:
            while self._began + minute * _MINUTE_S <= self._now:
                self._upload(minute)
                minute += 1
            while self._began + sampled * _SAMPLE_S <= self._now:
                yield self._sample()
                sampled += 1
            row = self._catalog.due(self._now)
            if row is None:
                self._now = self._began + minute * _MINUTE_S
            else:
                self._now += CLIP_S / self._speed
                _archive(self._catalog, row, self._now)

    def _upload(self, minute: int) -> None:
        at = self._began + minute * _MINUTE_S
        self._catalog.enter_found([(_clip(minute, camera, at), at) for camera in range(CAMERAS)], "closed", at)

    def _sample(self) -> Sample:
        while self._concerns.step(self._now) <= self._now:
            continue
        self._problems.step(self._now, self._catalog)
        told = any(course.problem.kind is ProblemKind.BEHIND and course.is_open for course in self._problems.open())
        backlog = self._catalog.backlog(self._now)
        hour = (self._now - self._began) / 3600
        return Sample(hour, backlog.waiting, backlog.longest_s, backlog.over_in_s, told)


def _clip(minute: int, camera: int, at: float) -> FoundFile:
    name = ClipName(f"cam{camera}", _BEGAN + timedelta(minutes=minute))
    path = PurePosixPath(f"{name.taken_at:%Y/%m/%d}/REO_{name.camera}_{name.taken_at:%Y%m%d%H%M%S}.mp4")
    return FoundFile.at(path, Fingerprint(minute * CAMERAS + camera + 1, 5_000_000, int(at * 1e9)), name)


def _archive(catalog: Catalog, row: Recording, now: float) -> None:
    """Have a recording archived and its source let go of, as a job commits it."""
    archive = archive_path(row.name, row.path.name)
    receipt = Receipt(
        ArchiveKind.TRANSCODED, row.fingerprint, "5" * 64, Fingerprint(row.id, 1_000_000, int(now * 1e9)), "a" * 64,
        "software", "a speed", "", 600, CLIP_S, ("frames: 600 of 600",), now, 1.0, 0.1, now,
    )  # fmt: skip
    claimed = catalog.claim(row, f"{row.id:012x}", now)
    published = catalog.publishing(claimed, archive, "a" * 64, 1_000_000, receipt, now)
    catalog.done(catalog.archived(published, receipt, "transcoded", now), None, "source deleted", now)


# ---- reports


def table(result: Result) -> str:
    """The figures, for people."""
    rows: list[tuple[str, ...]] = []
    for day in result.days:
        last = day.samples[-1]
        rows.append((
            f"{day.speed:g}", str(max(sample.waiting for sample in day.samples)), str(last.waiting),
            f"{max(sample.longest_s for sample in day.samples) / 60:.0f}",
            "never" if last.over_in_s is None else f"{last.over_in_s / 60:.0f}",
            "" if day.told_at is None else f"{day.told_at:.1f}",
        ))  # fmt: skip
    heads = ("encoded at x", "most wait", "at the end", "longest min", "over in min", "told at hour")
    needs = result.cameras * CLIP_S / _MINUTE_S
    first = (
        f"{result.cameras} cameras, each a clip of {CLIP_S:g} s a minute, {result.hours} hours: {needs:g} x suffices"
    )
    return "\n".join([first, "", *daemon.table(heads, rows)])
