"""The same seven accidents for archiverd and, where it is installed, for Unmanic: what became of the footage.

Each happens to a daemon of its own, with a tree of its own and the settings that it comes with. What is told
afterwards comes from the trees alone (frames, SHA-256) and from what the program itself says.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from archiverd import __version__
from bench import command, daemon
from bench.accident_outcomes import MEANINGS, Facts, Outcome, together
from bench.accident_programs import SETUPS, Archiverd, Program, Setup, Unmanic, unmanic_program, unmanic_version
from bench.accident_scenes import ACCIDENTS, Accident, Patience, Report, Told
from bench.accident_scenes import run as happen
from bench.command import BenchError

GUIDE = command.CHECKOUT / "docs" / "guide" / "accidents.md"
BEGIN = "<!-- from here on written by ./dev bench accidents -->"
END = "<!-- to here -->"
ARCHIVERD = "archiverd"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run."""

    measured_at: str
    machine: dict[str, str]
    versions: dict[str, str]  # by program
    pause_s: float  # of the slow writer, and before an upload is taken up again
    reports: tuple[Report, ...]

    def of(self, accident: str, program: str) -> Report | None:
        return next((each for each in self.reports if (each.accident, each.program) == (accident, program)), None)

    def programs(self) -> list[str]:
        return list(dict.fromkeys(each.program for each in self.reports))


def run(
    only: Sequence[str] = (), unmanic: Path | None = None, programs: Sequence[str] = (), *,
    pause_s: float = Patience().pause, at_once: int = 6, work: Path | None = None,
) -> Result:  # fmt: skip
    """Have all accidents happen to all programs, or those named. Raises: BenchError, FootageError, OSError."""
    chosen = [each for each in ACCIDENTS if not only or each.name in only]
    versions, program = {ARCHIVERD: __version__}, None
    if unmanic is not None:
        program = unmanic_program(unmanic)
        versions["Unmanic"] = unmanic_version(program)
    patience, telling = Patience(pause=pause_s), threading.Lock()

    def one(accident: Accident, setup: Setup | None) -> Report:
        with tempfile.TemporaryDirectory(prefix="archiverd-bench-", dir=work, ignore_cleanup_errors=True) as place:
            victim: Program
            if setup is None or program is None:
                victim = Archiverd(Path(place))
            else:
                victim = Unmanic(Path(place), program, setup)
            report = happen(accident, victim, patience)
        with telling:
            print(f"{report.program}: {accident.title}: {words(report)}", file=sys.stderr)
        return report

    setups = [
        setup
        for setup in (None, *(SETUPS if program else ()))
        if not programs or (setup.name if setup else ARCHIVERD) in programs
    ]
    with ThreadPoolExecutor(at_once) as pool:
        running = [pool.submit(one, accident, setup) for setup in setups for accident in chosen]
        reports = tuple(each.result() for each in running)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Result(now, command.machine(), versions, pause_s, reports)


def words(report: Report) -> str:
    """What became of an accident, in the words of the table."""
    return together(told.outcome for told in report.contents)


# ---- reports


def table(result: Result) -> str:
    """The outcomes, for a terminal."""
    heads = ("accident", "program", "outcome")
    rows: list[tuple[str, ...]] = [
        (accident.title, program, words(report))
        for accident in ACCIDENTS
        for program in result.programs()
        if (report := result.of(accident.name, program)) is not None
    ]
    return "\n".join(daemon.table(heads, rows))


def kept(path: Path) -> Result:
    """What `keep` wrote. Raises: OSError, BenchError."""
    try:
        data = json.loads(path.read_text("utf-8"))
        reports = tuple(_report(each) for each in data.pop("reports"))
        return Result(**data, reports=reports)
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path} is no result of this bench: {error}") from error


def merged(results: Sequence[Result]) -> Result:
    """Of runs of a part each: of two reports of the same, the later one holds."""
    reports = {(each.program, each.accident): each for result in results for each in result.reports}
    programs = (ARCHIVERD, *(setup.name for setup in SETUPS))
    ranked = sorted(reports.values(), key=lambda report: programs.index(report.program))
    return replace(results[-1], versions=results[0].versions | results[-1].versions, reports=tuple(ranked))


def _report(data: dict[str, Any]) -> Report:  # Any: a document of JSON
    contents = tuple(
        Told(each["name"], Outcome(each["outcome"]), Facts(**each["facts"]), tuple(each["told"]))
        for each in data["contents"]
    )
    return Report(data["accident"], data["program"], contents, tuple(data["left"]), data["goes_on"])


def write(result: Result, guide: Path) -> None:
    """Put the tables between the marks of a page. Raises: BenchError, OSError."""
    head, begin, rest = guide.read_text("utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise BenchError(f"{guide} lacks the lines {BEGIN!r} and {END!r}: nothing written there")
    guide.write_text(f"{head}{BEGIN}\n\n{page(result)}\n{END}{tail}", "utf-8")


def page(result: Result) -> str:
    """All of it, in Markdown."""
    parts = (
        _measured(result), "### What became of the footage", _outcomes(result), _meanings(result),
        "### The accidents, one by one", *(_accident(result, each) for each in ACCIDENTS),
    )  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def _measured(result: Result) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    machine = result.machine
    ffmpeg = machine["ffmpeg"].partition(" Copyright")[0]
    return (
        f"Run on {result.measured_at[:10]}: {versions} (commit {machine['commit']}), {ffmpeg}, Python "
        f"{machine['python']}, kernel {machine['kernel']}, {machine['cores']} cores. Writers paused for "
        f"{result.pause_s:g} s."
    )


def _outcomes(result: Result) -> str:
    programs = result.programs()
    rows = [
        (accident.title, *(_cell(result.of(accident.name, program)) for program in programs)) for accident in ACCIDENTS
    ]
    return _table(("accident", *programs), rows)


def _cell(report: Report | None) -> str:
    return "-" if report is None else words(report)


def _meanings(result: Result) -> str:
    used = {told.outcome for report in result.reports for told in report.contents}
    return "\n".join(f"- **{outcome}**: {MEANINGS[outcome]}." for outcome in Outcome if outcome in used)


def _accident(result: Result, accident: Accident) -> str:
    rows = [_row(report) for program in result.programs() if (report := result.of(accident.name, program)) is not None]
    heads = ("program", "frames archived", "uploaded bytes", "told", "left lying about", "later clip archived")
    return f"#### {accident.title}\n\n{accident.about}\n\n{_table(heads, rows)}"


def _row(report: Report) -> tuple[str, ...]:
    contents = report.contents
    return (
        report.program,
        ", ".join(f"{told.facts.most} of {told.facts.frames}" if told.facts.frames else "none" for told in contents),
        ", ".join("there" if told.facts.original else "gone" for told in contents),
        _once(", ".join(sorted({line.partition(":")[0] for line in told.told})) or "no" for told in contents),
        _left(report.left),
        "yes" if report.goes_on else "no",
    )


def _once(cells: Iterable[str]) -> str:
    """One word where all are the same."""
    listed = list(cells)
    return listed[0] if len(set(listed)) == 1 else "; ".join(listed)


def _left(left: Sequence[str]) -> str:
    kinds = dict.fromkeys(_kind(each) for each in left)
    return ", ".join(kinds) or "nothing"


def _kind(stray: str) -> str:
    name = stray.rpartition("/")[2]
    for mark in (".unmanic.part", ".part", ".gone"):
        if name.endswith(mark):
            return f"a file `*{mark}`"
    return "a directory or file of its cache" if stray.startswith("cache/") else stray


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
