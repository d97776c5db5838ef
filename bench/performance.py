"""The page on speed and scale: what the benches kept last, as one table, with plots, written between marks.

It measures nothing. Each figure names the bench it comes from; one that was not run on this machine is told as such.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import cleanup, fleet, idle, scale
from bench.chart import chart, even, tens
from bench.command import CHECKOUT, BenchError

GUIDE = CHECKOUT / "docs" / "guide" / "performance.md"
BEGIN = "<!-- from here on written by ./dev bench performance -->"
END = "<!-- to here -->"
KINDS = ("scale", "cleanup", "idle", "latency", "overhead", "fleet")
TARGET_RUN, TARGET_NOTICED_MS = 1.10, 20.0

Kept = Mapping[str, Any]  # Any: JSON of a bench's own making


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: what it is of, against what, and what it is to be under."""

    what: str
    reference: str
    found: str
    to_reach: str
    met: bool

    @property
    def cells(self) -> tuple[str, ...]:
        return (self.what, self.reference, self.found, self.to_reach, "yes" if self.met else "**no**")


def newest(folder: Path) -> dict[str, Kept]:
    """The newest result of each kind. Raises: BenchError where there is none at all; OSError."""
    kept = {}
    for kind in KINDS:
        files = sorted(folder.glob(f"{kind}-*.json"))
        if files:
            kept[kind] = json.loads(files[-1].read_text("utf-8"))
    if not kept:
        raise BenchError(f"{folder} holds no results: run a bench first")
    return kept


def write(kept: Mapping[str, Kept], guide: Path) -> list[Path]:
    """Put tables between the marks of a page, and plots beside it; returns what was written.

    Raises: BenchError, OSError.
    """
    page = guide.read_text("utf-8")
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise BenchError(f"{guide} lacks the lines {BEGIN!r} and {END!r}: nothing written there")
    plots = _plots(kept)
    guide.write_text(f"{head}{BEGIN}\n\n{text(kept, plots)}\n{END}{tail}", "utf-8")
    paths = [guide.with_name(name) for name in plots]
    for path, plot in zip(paths, plots.values(), strict=True):
        path.write_text(plot, "utf-8")
    return [guide, *paths]


def text(kept: Mapping[str, Kept], plots: Iterable[str] = ()) -> str:
    """All of it, in Markdown."""
    rows = [row for kind, told in kept.items() for row in _ROWS[kind](told)]
    missing = [kind for kind in KINDS if kind not in kept]
    parts = [
        _table(("what", "reference", "found", "to reach", "met"), [row.cells for row in rows]),
        *([f"Not measured here: {', '.join(missing)}."] if missing else []),
        *(_growth(kept["scale"]) if "scale" in kept else ()),
        *(_stages(kept["overhead"]) if "overhead" in kept else ()),
        *(_fleet(kept["fleet"]) if "fleet" in kept else ()),
        *(f"![{name.partition('.')[0].replace('-', ' ')}]({name})" for name in plots),
        "### The machine",
        *_machines(kept),
    ]
    return "\n\n".join(parts) + "\n"


# ---- the table


def _of_scale(told: Kept) -> Iterable[Row]:
    most = max(told["sizes"], key=lambda size: size["files"])
    files = f"{most['files']:,} files"
    ratios = {
        "look": ("a look at them as `run` takes it", "`find -printf '%s %f\\n'`", scale.TARGET_LOOK),
        "adoption": ("the same, entered into the catalog", "`find -printf '%s %f\\n'`", scale.TARGET_ADOPTION),
        "rescan": ("the daily look, nothing changed", "`find -type f`", scale.TARGET_RESCAN),
    }
    for name, (what, reference, target) in ratios.items():
        ratio = _ratio(most["parts"][name])
        yield Row(f"{files}: {what}", reference, f"{ratio:.1f} x", f"{target:g} x", ratio <= target)
    for name, what, target_s in (
        ("version", "`archiverd --version`", scale.TARGET_VERSION_S),
        ("status", f"`archiverd status`, {files} in the catalog", scale.TARGET_STATUS_S),
    ):
        more_s = statistics.median(each["ours_s"] - each["reference_s"] for each in most["parts"][name]["rounds"])
        found, to_reach = f"+{1000 * more_s:.0f} ms", f"+{1000 * target_s:.0f} ms"
        yield Row(what, "`python -c pass`", found, to_reach, more_s <= target_s)
    mib = max(most["parts"][name]["rss_mib"] for name in ("adoption", "rescan"))
    yield Row(f"{files}: memory of a full look of the daemon's", "-", *_mib(mib, scale.TARGET_SCAN_MIB))


def _of_cleanup(told: Kept) -> Iterable[Row]:
    many = f"{told['recordings']:,} archives"
    tick = max(told["tick_ms"])
    yield Row(f"{many}: a cleanup tick, nothing due", "-", f"{tick:.1f} ms", "20 ms", tick <= cleanup.TARGET_TICK_MS)
    ratio = statistics.median(each["apply_s"] / each["reference_s"] for each in told["rounds"])
    what = f"{many}: {told['removed']:,} due and removed"
    yield Row(what, "`xargs -0 rm`", f"{ratio:.2f} x", f"{cleanup.TARGET_RATIO:g} x", ratio <= cleanup.TARGET_RATIO)
    yield Row(f"{many}: memory of a cleanup's plan", "-", *_mib(told["rss_mib"], cleanup.TARGET_MIB))


def _of_idle(told: Kept) -> Iterable[Row]:
    mib = max(variant["rss_mib"] for variant in told["variants"])
    yield Row(f"{told['recordings']:,} recordings: memory of the daemon, idle", "-", *_mib(mib, idle.TARGET_MIB))


def _of_latency(told: Kept) -> Iterable[Row]:
    more = told["probe"]["p95"] - told["noticed"]["p95"]
    among = f" among {told['among']:,}" if told.get("among") else ""
    what = f"one new file{among}: from its close to the first program started for it, p95, without the settling"
    target = f"+{TARGET_NOTICED_MS:g} ms"
    yield Row(what, "`inotifywait`, the same event", f"+{more:.1f} ms", target, more <= TARGET_NOTICED_MS)


def _of_overhead(told: Kept) -> Iterable[Row]:
    ratio = statistics.median(each["whole"]["wall_s"] / each["bare"]["wall_s"] for each in told["rounds"])
    what = f"a whole run over {told.get('clips', 1)} clips of {told['clip']['seconds']:g} s, 1080p, software"
    yield Row(what, "the same ffmpeg commands, nothing else", f"{ratio:.2f} x", "1.10 x", ratio <= TARGET_RUN)


_ROWS: dict[str, Callable[[Kept], Iterable[Row]]] = {
    "scale": _of_scale, "cleanup": _of_cleanup, "idle": _of_idle, "latency": _of_latency, "overhead": _of_overhead,
    "fleet": lambda _told: (),
}  # fmt: skip


def _ratio(part: Kept) -> float:
    return float(statistics.median(each["ours_s"] / each["reference_s"] for each in part["rounds"]))


def _mib(found: float, target: float) -> tuple[str, str, bool]:
    return f"{found:.0f} MiB", f"{target:g} MiB", found <= target


# ---- the sections


def _growth(told: Kept) -> Iterable[str]:
    yield "### From ten thousand files to a million"
    yield "Microseconds for each file; in brackets times the reference. What grows no faster than its tree stays level."
    names = ("look", "adoption", "rescan")
    rows = [
        (f"{size['files']:,}", *(f"{_each_us(size, name):.1f} ({_ratio(size['parts'][name]):.1f} x)" for name in names))
        for size in told["sizes"]
    ]
    yield _table(("files", *names), rows)


def _each_us(size: Kept, name: str) -> float:
    took_s = float(statistics.median(each["ours_s"] for each in size["parts"][name]["rounds"]))
    return 1e6 * took_s / float(size["files"])


def _stages(told: Kept) -> Iterable[str]:
    stages = told.get("stages", {})
    if not stages:
        return
    whole = sum(stages.values())
    yield "### Where the time of a run goes"
    yield _table(
        ("stage", "s", "share"), [(name, f"{took:.2f}", f"{100 * took / whole:.1f} %") for name, took in stages.items()]
    )


def _fleet(told: Kept) -> Iterable[str]:
    needs = told["cameras"] * fleet.CLIP_S / 60
    yield "### Sixty-four cameras"
    yield (
        f"{told['cameras']} cameras send a clip of {fleet.CLIP_S:g} s a minute each, for {told['hours']} hours of "
        f"simulated time. A machine that encodes {needs:g} times as fast as is shot keeps up."
    )
    rows = [
        (f"{day['speed']:g} x", f"{max(one['waiting'] for one in day['samples']):,}",
         f"{max(one['longest_s'] for one in day['samples']) / 3600:.1f} h", _foretold(day["samples"][-1]),
         _told_at(day["samples"]))
        for day in told["days"]
    ]  # fmt: skip
    yield _table(("encodes at", "most that wait", "longest wait", "`status` at the end: done in", "told at hour"), rows)


def _foretold(sample: Kept) -> str:
    return "never" if sample["over_in_s"] is None else f"{sample['over_in_s'] / 60:.0f} min"


def _told_at(samples: Sequence[Kept]) -> str:
    return next((f"{one['hour']:.1f}" for one in samples if one["told"]), "not told")


def _plots(kept: Mapping[str, Kept]) -> dict[str, str]:
    plots = {}
    if "scale" in kept:
        sizes = kept["scale"]["sizes"]
        lines = {
            name: [(size["files"], _each_us(size, name)) for size in sizes] for name in ("look", "adoption", "rescan")
        }
        most = max(value for points in lines.values() for _, value in points)
        x = tens("files in the tree", sizes[0]["files"], sizes[-1]["files"])
        plots["performance-growth.svg"] = chart("Microseconds for each file", x, even("microseconds", most), lines)
    if "fleet" in kept:
        days = kept["fleet"]["days"]
        for name, key, each, words in (
            ("waiting", "waiting", 1.0, "recordings"), ("oldest", "longest_s", 3600.0, "hours"),
        ):  # fmt: skip
            lines = {
                f"encodes at {day['speed']:g} x": [(one["hour"], one[key] / each) for one in day["samples"]]
                for day in days
            }
            most = max(value for points in lines.values() for _, value in points)
            title = "What waits for its turn" if name == "waiting" else "How long the first of them has waited"
            x = even("hours", kept["fleet"]["hours"], 12)
            plots[f"performance-fleet-{name}.svg"] = chart(title, x, even(words, most), lines)
    return plots


def _machines(kept: Mapping[str, Kept]) -> Iterable[str]:
    rows = []
    for kind, told in kept.items():
        machine = told["machine"]
        rows.append((kind, told["measured_at"][:10], machine["cpu"], machine["cores"], machine["kernel"],
                     machine["python"], machine["commit"]))  # fmt: skip
    yield _table(("bench", "day", "cpu", "cores", "kernel", "Python", "commit"), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
