"""Whole plans of realistic set-ups, as people read them.

Each stands in `golden/cleanup/<case>.txt`: the set-up, the rules, what stands, and the plan. After a wanted change,
`ARCHIVERD_WRITE_GOLDEN=1 pytest tests/units/test_units_cleanup_plans.py` writes them anew; that run still fails.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from textwrap import wrap

import pytest
from rich.console import Console

from archiverd import reports
from archiverd.policy.model import Fingerprint, Tree
from archiverd.policy.retention import (
    Candidate,
    CleanupPlan,
    Disk,
    Holdings,
    Policy,
    Rule,
    Sum,
    in_order,
    plan_cleanup,
    reckoned_at,
)
from archiverd.policy.words import days_words, size_words

GOLDEN = Path(__file__).with_name("golden") / "cleanup"
WRITE = "ARCHIVERD_WRITE_GOLDEN"
LISTED = 14  # removals that are listed one by one

NOW = datetime(2026, 7, 1, 10, tzinfo=UTC).timestamp()
DAY = 86_400.0
MB, GB = 10**6, 10**9
SOURCE, ARCHIVE, TRASH = Tree.SOURCE, Tree.ARCHIVE, Tree.TRASH

PROTECTED = "protected by its .keep file"
WAITS = "waits for its archive"


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is Berlin's, wherever the test runs."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@dataclass(frozen=True)
class Lot:
    """Recordings of one camera, so many a day, from so many days ago to so many."""

    tree: Tree
    camera: str
    first: int
    last: int
    a_day: int
    size: int  # bytes of each, of which the snapshot has a hundredth
    keep: str = ""
    only_copy: bool = False
    clock: str = ""  # what the clock of the camera said on the first of the days, where that was wrong

    @property
    def words(self) -> str:
        days = f"{self.first} days ago" if self.first == self.last else f"{self.first} to {self.last} days ago"
        notes = [self.keep, "never archived" if self.only_copy else "", f"dated {self.clock}" if self.clock else ""]
        end = "".join(f", {note}" for note in notes if note)
        return f"{self.tree:8} {self.camera:10} {days:20} {self.a_day:3} a day of {size_words(self.size)}{end}"

    def candidates(self, now: float) -> Iterator[Candidate]:
        for number in range((self.first - self.last + 1) * self.a_day):
            since = number * DAY / self.a_day + DAY / self.a_day / 2
            came_at = now - self.first * DAY - DAY / 2 + since
            dated = datetime.fromisoformat(self.clock).timestamp() + since if self.clock else came_at
            yield self._one(datetime.fromtimestamp(dated), came_at, now, number)

    def _one(self, taken_at: datetime, came_at: float, now: float, number: int) -> Candidate:
        name = f"{self.camera}_{taken_at:%Y%m%d%H%M%S}"
        snapshot = self.size // 100
        files = (
            (f"{name}.mp4", Fingerprint(number, self.size - snapshot, 0)),
            (f"{name}.jpg", Fingerprint(number, snapshot, 0)),
        )
        at = reckoned_at(taken_at, taken_at.timestamp(), came_at, now) if self.tree is not TRASH else came_at
        return Candidate(
            self.tree, PurePosixPath(f"{taken_at:%Y/%m/%d}/{name}.mp4"), self.camera, at, self.size, files, self.keep,
            only_copy=self.only_copy,
        )  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One set-up."""

    words: str
    stands: tuple[Lot, ...]
    rules: tuple[Rule, ...]
    disks: tuple[Disk, ...] = ()
    delete: bool = False
    when_full: str = "stop"

    def plan(self) -> CleanupPlan:
        everything = in_order(one for lot in self.stands for one in lot.candidates(NOW))
        by_camera: dict[tuple[Tree, str], Sum] = {}
        kept: dict[tuple[Tree, str], Sum] = {}
        for one in everything:
            add(by_camera, (one.tree, one.camera), one.sum)
            if one.keep:
                add(kept, (one.tree, one.keep), one.sum)
        policy = Policy(self.rules, self.delete, self.when_full == "oldest", self.disks)
        return plan_cleanup(
            Holdings(by_camera, kept),
            lambda demand: (one for one in everything if one.tree is demand.tree and demand.wants(one.camera, one.at)),
            policy, NOW,
        )  # fmt: skip


def add(sums: dict[tuple[Tree, str], Sum], key: tuple[Tree, str], one: Sum) -> None:
    sums[key] = sums.get(key, Sum()) + one


def lots(tree: Tree, cameras: str, first: int, last: int, a_day: int, size: int) -> tuple[Lot, ...]:
    return tuple(Lot(tree, camera, first, last, a_day, size) for camera in cameras.split())


def general(
    age_days: float | None = 30, most: int | None = None, *, clean_output: bool = False
) -> tuple[Rule, ...]:  # fmt: skip
    """The rules of the settings `age`, `max_size` and `clean_output`."""
    trees = (SOURCE, ARCHIVE, TRASH) if clean_output else (SOURCE, TRASH)
    return tuple(Rule(tree, ("*",), None if age_days is None else age_days * DAY, most) for tree in trees)


ONE_DISK = frozenset(Tree)
FLOOR = 10 * GB

CASES = {
    "defaults": Case(
        "Nothing is configured. Two cameras; their archives stay, their sources lie in the trash for 30 days, and some "
        "for 40, for the machine was off. Two clips of today wait, and three were quarantined 35 days ago.",
        (
            *lots(ARCHIVE, "front garden", 60, 1, 24, 12 * MB),
            *lots(TRASH, "front garden", 40, 1, 24, 40 * MB),
            Lot(SOURCE, "front", 0, 0, 2, 40 * MB, WAITS),
            Lot(SOURCE, "garden", 35, 35, 3, 40 * MB, only_copy=True),
        ),
        general(),
    ),
    "small_ssd": Case(
        "A small SSD: no tree may hold more than 60 GB, the archive neither. The backlog that waits for its archive "
        "counts in the source tree, and none of it goes.",
        (
            *lots(ARCHIVE, "front garden", 20, 1, 48, 40 * MB),
            *lots(TRASH, "front garden", 9, 1, 48, 60 * MB),
            Lot(SOURCE, "front", 1, 0, 48, 500 * MB, WAITS),
            Lot(SOURCE, "garden", 3, 3, 4, 60 * MB, only_copy=True),
            Lot(SOURCE, "garden", 1, 0, 48, 200 * MB, WAITS),
        ),
        general(None, 60 * GB, clean_output=True),
    ),
    "front_a_year": Case(
        "Six cameras. Those at the front are kept for a year, the others for two weeks; the trash is emptied after "
        "a week.",
        (
            *lots(ARCHIVE, "front-door front-gate", 368, 1, 12, 8 * MB),
            *lots(ARCHIVE, "garage garden shed yard", 16, 1, 12, 8 * MB),
            *lots(TRASH, "front-door front-gate garage garden shed yard", 7, 1, 12, 20 * MB),
        ),
        (
            Rule(ARCHIVE, ("front*",), age_s=365 * DAY),
            Rule(ARCHIVE, age_s=14 * DAY),
            Rule(TRASH, age_s=7 * DAY),
            *general(),
        ),
    ),
    "two_ceilings": Case(
        "The front may hold 20 GB, and the archive 50 GB together. Both are exceeded. What the front has to give for "
        "itself serves the archive as well, so that of the garden, which has the oldest, nothing goes.",
        (*lots(ARCHIVE, "garden", 60, 1, 24, 20 * MB), *lots(ARCHIVE, "front", 30, 1, 24, 36 * MB)),
        (Rule(ARCHIVE, max_bytes=50 * GB), Rule(ARCHIVE, ("front",), max_bytes=20 * GB), *general()),
    ),
    "keep_against_ceiling": Case(
        "The archive may hold 10 GB, and the front door is to be kept for 7 days whatever happens. These 7 days alone "
        "are more: all else goes that may, and what is missing is said.",
        (*lots(ARCHIVE, "front-door", 10, 0, 48, 36 * MB), *lots(ARCHIVE, "garden", 10, 0, 1, 36 * MB)),
        (Rule(ARCHIVE, ("front-door",), keep_s=7 * DAY), Rule(ARCHIVE, max_bytes=10 * GB), *general()),
    ),
    "floor_with_trash": Case(
        "Everything stands on one disk, which lacks 2 GB of the room that is to be free. The trash goes first, oldest "
        "first, and no further than needed; what would have gone there goes for good meanwhile.",
        (
            *lots(ARCHIVE, "front garden", 40, 1, 24, 12 * MB),
            *lots(TRASH, "front garden", 10, 1, 12, 40 * MB),
            Lot(SOURCE, "garden", 35, 35, 3, 40 * MB, only_copy=True),
        ),
        (Rule(ARCHIVE, ("garden",), age_s=38 * DAY), *general()),
        (Disk("/srv/cameras", ONE_DISK, 2 * GB),),
        when_full="oldest",
    ),
    "floor_stop": Case(
        "The archive's disk lacks 2 GB, and the trash lies on another. No archive goes for want of room: the work "
        "stops when nothing fits any more.",
        (*lots(ARCHIVE, "front garden", 40, 1, 24, 12 * MB), *lots(TRASH, "front garden", 10, 1, 12, 40 * MB)),
        general(),
        (Disk("/mnt/archive", frozenset({ARCHIVE}), 2 * GB), Disk("/srv/cameras", frozenset({SOURCE, TRASH}))),
    ),
    "floor_oldest": Case(
        "The same, and the owner lets the oldest archives go. The front is kept for 39 days all the same.",
        (*lots(ARCHIVE, "front garden", 40, 1, 24, 12 * MB), *lots(TRASH, "front garden", 10, 1, 12, 40 * MB)),
        (Rule(ARCHIVE, ("front",), keep_s=39 * DAY), *general()),
        (Disk("/mnt/archive", frozenset({ARCHIVE}), 2 * GB), Disk("/srv/cameras", frozenset({SOURCE, TRASH}))),
        when_full="oldest",
    ),
    "delete": Case(
        "Nothing is moved to the trash but what was never archived: of that it is the only copy.",
        (
            *lots(ARCHIVE, "front", 32, 1, 2, 12 * MB),
            Lot(SOURCE, "front", 33, 33, 3, 40 * MB, only_copy=True),
            Lot(SOURCE, "front", 34, 34, 2, 40 * MB, PROTECTED, only_copy=True),
            Lot(TRASH, "front", 31, 31, 1, 40 * MB),
        ),
        general(clean_output=True),
        delete=True,
    ),
    "clocks": Case(
        "The clock of one camera says 2099, and that of another was lost and says 1970; their files bear these times "
        "too. Their age counts from when they were first seen.",
        (
            *lots(ARCHIVE, "right", 16, 13, 2, 12 * MB),
            Lot(ARCHIVE, "ahead", 16, 13, 2, 12 * MB, clock="2099-01-01 08:00"),
            Lot(ARCHIVE, "lost", 16, 13, 2, 12 * MB, clock="1970-01-01 08:00"),
        ),
        general(14, clean_output=True),
    ),
    "protected": Case(
        "The archive may hold 10 GB, and what is protected is more by itself: all else goes, and what is missing is "
        "said.",
        (
            Lot(ARCHIVE, "front", 90, 61, 12, 36 * MB, PROTECTED),
            Lot(ARCHIVE, "front", 3, 1, 4, 36 * MB),
            Lot(ARCHIVE, "garden", 3, 1, 1, 36 * MB),
        ),
        (Rule(ARCHIVE, max_bytes=10 * GB), *general()),
    ),
}  # fmt: skip


# -- as text ----------------------------------------------------------------------------------------------


def rule_words(rule: Rule) -> str:
    wants = [f"age {days_words(rule.age_s)}"] if rule.age_s is not None else []
    wants += [f"max_size {size_words(rule.max_bytes)}"] if rule.max_bytes is not None else []
    wants += [f"keep {days_words(rule.keep_s)}"] if rule.keep_s is not None else []
    return f"{rule.tree:8} {', '.join(rule.cameras):10} {', '.join(wants)}"


def disk_words(disk: Disk) -> str:
    trees = ", ".join(tree for tree in Tree if tree in disk.trees)
    return f"{disk.path}: {trees}; {f'lacks {size_words(disk.wanted)}' if disk.wanted else 'has room'}"


def indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def rendered(case: Case) -> str:
    plan = case.plan()
    stream = io.StringIO()
    Console(file=stream, width=160, color_system=None).print(reports.cleanup_table(plan))
    removals = reports.removal_lines(plan)
    lines = [*wrap(case.words, 120), "", "Rules, as they are asked:", *indented(map(rule_words, case.rules))]
    lines += [f"  delete = {str(case.delete).lower()}, when_full = {case.when_full}"]
    lines += ["", "Disks:", *indented(map(disk_words, case.disks))] if case.disks else []
    lines += ["", "What stands:", *indented(lot.words for lot in case.stands)]
    lines += ["", f"The plan on {datetime.fromtimestamp(NOW):%Y-%m-%d %H:%M}:"]
    lines += [line.rstrip() for line in stream.getvalue().splitlines() if line.strip()] if plan.removals else []
    lines += ["", *reports.cleanup_lines(plan)]
    lines += ["", "One by one:", *indented(removals)] if 0 < len(removals) <= LISTED else []
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("name", CASES)
def test_plan_is_the_golden_one(name: str) -> None:
    golden = GOLDEN / f"{name}.txt"
    text = rendered(CASES[name])
    if os.environ.get(WRITE) and (not golden.exists() or golden.read_text("utf-8") != text):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text, "utf-8")
        pytest.fail(f"{golden} was written: look at it, and run again without {WRITE}")
    assert text.splitlines() == golden.read_text("utf-8").splitlines()


@pytest.mark.parametrize("name", CASES)
def test_plan_as_json_says_what_the_table_says(name: str) -> None:
    plan = CASES[name].plan()

    told = json.loads(json.dumps(reports.cleanup_json(plan)))

    for tree in Tree:
        groups = [one for one in told["removals"] if one["tree"] == tree]
        kept = [one for one in told["kept"] if one["tree"] == tree]
        for what in ("files", "bytes"):
            going = sum(one[what] for one in groups)
            assert going == told["totals"][tree]["going"][what]
            assert going + sum(one[what] for one in kept) == told["totals"][tree]["there"][what]
    assert [one["bytes"] for one in told["shortfalls"]] == [one.size for one in plan.shortfalls]
    assert len(reports.removal_lines(plan)) == len(plan.removals)


def test_names_from_outside_are_shown_escaped() -> None:
    hostile = "[red]x\n\x1b[31m\udcff"
    plan = Case("", (Lot(ARCHIVE, hostile, 3, 3, 1, MB),), (Rule(ARCHIVE, age_s=0),)).plan()
    stream = io.StringIO()
    Console(file=stream, width=160, force_terminal=True, color_system=None).print(reports.cleanup_table(plan))

    shown = r"[red]x\n\x1b[31m\xff"
    assert shown in stream.getvalue()
    assert all(line.isprintable() for line in [*reports.removal_lines(plan), *reports.cleanup_lines(plan)])
    assert reports.cleanup_json(plan)["removals"][0]["camera"] == shown


def test_every_golden_plan_is_one_of_ours() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)
