"""What people read: plans, summaries, the state of things, the story of one file. As text, and as JSON."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from archiverd.policy.checking import CheckReport, Finding, Mend, Mended, Severity, counted, worst_first
from archiverd.policy.explanation import Answer, Explanation, Mark
from archiverd.policy.model import Discovery, Event, FoundFile, Recording, Snapshot, State, Tree
from archiverd.policy.name_patterns import NamePatterns
from archiverd.policy.naming import FileKind, NotAClip, printable
from archiverd.policy.outcome import Outcome, Result
from archiverd.policy.planning import Action, Orphan, Planned, RunPlan

if TYPE_CHECKING:
    from rich.table import Table

    from archiverd.storage.catalog import Catalog

JsonObject = dict[str, Any]  # Any: what json.dumps takes

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_LISTED = 10  # troubles named one by one in a status

_NEXT = {
    State.WAITING: "It is archived when its time has come, by the next run.",
    State.ACTIVE: "It is being worked on.",
    State.PUBLISHING: "Its archive is being given its name.",
    State.ARCHIVED: "Its archive is committed; its source goes with the next run, unless it is protected.",
    State.DONE: "Nothing: it is archived and its source was let go of.",
    State.QUARANTINED: "Nothing removes it. `archiverd retry` has it tried again, and so does a new upload.",
    State.GONE: "Nothing: its source went away before it was archived.",
}


def size_text(size: float) -> str:
    """Bytes as people read them, in powers of 1024."""
    for unit in _UNITS[:-1]:
        if abs(round(size, 1)) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"


def time_text(seconds: float) -> str:
    """A moment in local time."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="seconds")


def span_text(seconds: float) -> str:
    """A duration, to the second."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def share_text(part: int, whole: int) -> str:
    """A part of a whole, in percent."""
    return f"{100 * part / whole:.0f} %" if whole else "-"


# -- plans ------------------------------------------------------------------------------------------------


def plan_table(plan: RunPlan) -> Table:
    """The plan, a line for each recording that is not merely left."""
    table = _table("action", "recording", "size", "snapshots", "why")
    for item in plan.items:
        doubts = f" ({'; '.join(item.doubts)})" if item.doubts else ""
        _row(
            table, item.action, printable(item.path), size_text(item.size), str(item.snapshots or ""),
            item.reason + doubts,
        )  # fmt: skip
    return table


def plan_lines(plan: RunPlan) -> list[str]:
    """The totals of a plan, and what is left alone."""
    lines = [f"Note: {note}" for note in plan.notes]
    lines += [
        f"{_PLANNED[action]}: {files} recording{'' if files == 1 else 's'}, {size_text(size)}"
        for action, (files, size) in plan.totals().items()
    ]
    if plan.work:
        end = "deleted" if plan.delete else "moved to the trash"
        what = "Sources are" if plan.archive_snapshots else "Sources and their snapshots are"
        lines.append(f"{what} {end} once their archives are proven.")
        lines += ["Snapshots are put beside the archives."] if plan.archive_snapshots else []
    if plan.vanished:
        lines.append(f"No longer there, to be noted: {len(plan.vanished)}")
    if plan.leftovers:
        lines.append(f"Left by jobs nobody knows, see the log: {', '.join(map(printable, plan.leftovers))}")
    lines += _orphan_lines(plan.orphans)
    lines += [f"Left alone, {reason}: {count}" for reason, count in plan.ignored.items()]
    return _safe(lines) or ["There is nothing here."]


def _orphan_lines(orphans: Sequence[Orphan]) -> list[str]:
    """How many snapshots have no recording, and since when; nothing where there is none."""
    if not orphans:
        return []
    oldest = time_text(min(orphan.written_at for orphan in orphans))
    return [f"Snapshots without a recording, left alone: {len(orphans)}, the oldest of {oldest}"]


_PLANNED = {
    Action.ARCHIVE: "To archive",
    Action.DISPOSE: "Archived, source to go",
    Action.WAIT: "Too young",
    Action.KEEP: "Archived and protected",
    Action.LEAVE: "Quarantined",
}


def plan_json(plan: RunPlan) -> JsonObject:
    """The plan, as JSON."""
    return {
        "items": [_planned_json(item) for item in plan.items],
        "totals": {action: {"recordings": n, "bytes": size} for action, (n, size) in plan.totals().items()},
        "ignored": dict(plan.ignored),
        "orphans": [
            {"path": printable(orphan.path), "written_at": orphan.written_at, "waits_for": orphan.waits_for}
            for orphan in plan.orphans
        ],
        "leftovers": [printable(path) for path in plan.leftovers],
        "vanished": [printable(row.path) for row in plan.vanished],
        "notes": list(plan.notes),
        "sources": "delete" if plan.delete else "trash",
        "snapshots": "archive" if plan.archive_snapshots else "dispose",
    }


def _planned_json(item: Planned) -> JsonObject:
    return {
        "path": printable(item.path),
        "camera": printable(item.camera),
        "bytes": item.size,
        "snapshots": item.snapshots,
        "action": item.action,
        "reason": item.reason,
        "doubts": list(item.doubts),
    }


# -- what stands in the source tree -----------------------------------------------------------------------


def discovery_table(found: Discovery) -> Table:
    """The recordings of the source tree, a line each, oldest first."""
    table = _table("taken at", "camera", "size", "snapshots", "protected", "recording", "doubts")
    for one in found.recordings:
        name, size = one.clip.name, size_text(one.clip.fingerprint.size)
        _row(
            table, name.taken_at.isoformat(sep=" "), name.camera, size, str(len(one.snapshots) or ""),
            "yes" if one.protected else "", str(one.clip.path), "; ".join(one.doubts),
        )  # fmt: skip
    return table


def discovery_lines(found: Discovery) -> list[str]:
    """The totals of the source tree, and what was left alone there."""
    sizes = [one.clip.fingerprint.size for one in found.recordings]
    cameras = {one.clip.name.camera for one in found.recordings}
    snapshots = sum(len(one.snapshots) for one in found.recordings)
    lines = [f"Recordings: {len(sizes)} of {len(cameras)} cameras, {size_text(sum(sizes))}, {snapshots} snapshots"]
    lines += [f"Snapshot without a recording: {orphan.path}" for orphan in found.orphans[:_LISTED]]
    if len(found.orphans) > _LISTED:
        lines.append(f"and {len(found.orphans) - _LISTED} more snapshots without a recording")
    lines += [f"Left by a job: {path}" for path in found.leftovers]
    lines += [f"Left alone, {reason}: {count}" for reason, count in sorted(found.ignored.items())]
    if found.incomplete:
        lines.append("Not everything could be read: what is missing here may still be there.")
    return _safe(lines)


def discovery_json(found: Discovery) -> JsonObject:
    """What stands in the source tree, as JSON."""
    return {
        "recordings": [
            {
                "path": printable(one.clip.path),
                "camera": printable(one.clip.name.camera),
                "taken_at": one.clip.name.taken_at.isoformat(),
                "bytes": one.clip.fingerprint.size,
                "snapshots": [printable(snapshot.path) for snapshot in one.snapshots],
                "protected": one.protected,
                "doubts": list(one.doubts),
            }
            for one in found.recordings
        ],
        "orphans": [printable(orphan.path) for orphan in found.orphans],
        "leftovers": [printable(path) for path in found.leftovers],
        "ignored": dict(sorted(found.ignored.items())),
        "incomplete": found.incomplete,
    }


def explanation_lines(explanation: Explanation) -> list[str]:
    """Why a path is, or is not, a recording: the steps, then the answer."""
    steps = [f"  {_MARKS[step.mark]} {step.words}" for step in explanation.steps]
    return _safe([explanation.path, *steps, f"  = {_ANSWERS[explanation.answer]}"])


_MARKS = {Mark.YES: "+", Mark.NO: "-", Mark.NOTE: " "}
_ANSWERS = {
    Answer.RECORDING: "It is a recording.",
    Answer.SNAPSHOT: "It is a snapshot.",
    Answer.NEITHER: "It is neither a recording nor a snapshot.",
}


def explanation_json(explanation: Explanation) -> JsonObject:
    """The same, as JSON."""
    return {
        "path": printable(explanation.path),
        "answer": explanation.answer,
        "steps": [{"mark": step.mark, "words": printable(step.words)} for step in explanation.steps],
    }


# -- recordings -------------------------------------------------------------------------------------------


def recording_json(recording: Recording) -> JsonObject:
    """One recording with its receipt, as JSON."""
    receipt = recording.receipt
    return {
        "path": printable(recording.path),
        "camera": printable(recording.name.camera),
        "taken_at": recording.name.taken_at.isoformat(),
        "bytes": recording.fingerprint.size,
        "state": recording.state,
        "reason": recording.reason,
        "attempts": recording.attempts,
        "archive": _path_json(recording.archive),
        "disposed_to": _path_json(recording.disposed_to),
        "snapshots": [_snapshot_json(snapshot) for snapshot in recording.snapshots],
        "receipt": None if receipt is None else asdict(receipt),
    }


def _snapshot_json(snapshot: Snapshot) -> JsonObject:
    place = snapshot.disposed_to
    return {
        "path": printable(snapshot.path),
        "disposed": snapshot.disposed,
        "disposed_to": None if place is None else printable(place.path),
        "disposed_in": None if place is None else place.tree,
    }


def _path_json(path: PurePosixPath | None) -> str | None:
    return None if path is None else printable(path)


def list_table(recordings: Iterable[Recording]) -> Table:
    """Recordings, a line each."""
    table = _table("taken at", "camera", "state", "size", "archive", "recording", "why")
    for recording in recordings:
        archived = size_text(recording.archive_size) if recording.receipt else ""
        _row(
            table, recording.name.taken_at.isoformat(sep=" "), printable(recording.name.camera), recording.state,
            size_text(recording.fingerprint.size), archived, printable(recording.path), recording.reason,
        )  # fmt: skip
    return table


# -- status -----------------------------------------------------------------------------------------------


def status_json(
    catalog: Catalog, roots: Mapping[Tree, Path], orphans: Sequence[FoundFile] | None = ()
) -> JsonObject:  # fmt: skip
    """Queue, totals, and what needs somebody to look.

    `orphans` are the snapshots that stand in the source tree without a recording; None where that can't be seen.
    """
    archived, before, after = catalog.archived_totals()
    troubled = catalog.recordings((State.QUARANTINED,))
    waiting = catalog.recordings((State.WAITING,))
    active = catalog.recordings((State.ACTIVE, State.PUBLISHING))
    return {
        "catalog": catalog.id,
        "roots": {tree: printable(path) for tree, path in roots.items()},
        "states": {state: {"recordings": n, "bytes": size} for state, (n, size) in catalog.counts().items()},
        "archived": {"recordings": archived, "source_bytes": before, "archive_bytes": after},
        "active": [_reason_json(row) for row in active],
        "waiting": [_reason_json(row) for row in waiting],
        "quarantined": [_reason_json(row) for row in troubled],
        "orphans": None if orphans is None else _orphans_json(orphans),
    }


def _orphans_json(orphans: Sequence[FoundFile]) -> JsonObject:
    oldest = min(orphans, key=lambda orphan: orphan.fingerprint.mtime_ns, default=None)
    return {"snapshots": len(orphans), "oldest": None if oldest is None else printable(oldest.path)}


def _reason_json(row: Recording) -> JsonObject:
    return {"path": printable(row.path), "reason": row.reason}


def status_lines(status: JsonObject) -> list[str]:
    """The status, as text."""
    archived = status["archived"]
    lines = [f"{tree:8} {path}" for tree, path in status["roots"].items()]
    lines += [f"{state:12} {n['recordings']:6}  {size_text(n['bytes'])}" for state, n in status["states"].items()]
    lines.append(
        f"Archived: {archived['recordings']}, {size_text(archived['source_bytes'])} as "
        f"{size_text(archived['archive_bytes'])} ({share_text(archived['archive_bytes'], archived['source_bytes'])})"
    )
    for title, key in (("Working on", "active"), ("Waiting", "waiting"), ("Quarantined", "quarantined")):
        rows: Sequence[JsonObject] = status[key]
        if rows:
            lines.append(f"{title}:")
            lines += [f"  {row['path']}: {row['reason']}" for row in rows[:_LISTED]]
        if len(rows) > _LISTED:
            lines.append(f"  and {len(rows) - _LISTED} more (archiverd list --state {key})")
    orphans = status["orphans"]
    if orphans is None:
        lines.append("The source tree can't be looked at now.")
    elif orphans["snapshots"]:
        lines.append(f"Snapshots without a recording in the source tree: {orphans['snapshots']}")
        lines.append(f"  the oldest is {orphans['oldest']} (archiverd why PATH tells what it waits for)")
    return _safe(lines)


# -- why --------------------------------------------------------------------------------------------------


def why_lines(recording: Recording, history: Iterable[Event]) -> list[str]:
    """The story of one recording, in order, and what comes next."""
    lines = [
        f"{printable(recording.path)}: {recording.state}" + (f", {recording.reason}" if recording.reason else ""),
        (
            f"  camera {printable(recording.name.camera)}, taken at {recording.name.taken_at}, "
            f"{size_text(recording.fingerprint.size)}"
        ),
    ]
    lines += [f"  snapshot {printable(snapshot.path)}{_went_to(snapshot)}" for snapshot in recording.snapshots]
    receipt = recording.receipt
    if receipt is not None and recording.archive is not None:
        lines.append(
            f"  archive {printable(recording.archive)}: {receipt.kind}, {size_text(receipt.archive.size)} "
            f"({share_text(receipt.archive.size, receipt.source.size)}), sha256 {receipt.archive_sha256}"
        )
        if receipt.encoder:
            lines.append(f"  encoded in {receipt.encode_s:.1f} s by {receipt.rung}, {receipt.encoder}")
        lines += [f"  checked: {check}" for check in receipt.checks]
    if recording.disposed_to is not None:
        lines.append(f"  source in the trash as {printable(recording.disposed_to)}")
    lines += [f"  {time_text(event.at)}  {event.state}: {event.reason}" for event in history]
    lines.append(f"  Next: {_NEXT[recording.state]}")
    return _safe(lines)


def _went_to(snapshot: Snapshot) -> str:
    if not snapshot.disposed:
        return ""
    if snapshot.disposed_to is None:
        return " (deleted)"
    where = "beside the archive" if snapshot.disposed_to.tree is Tree.ARCHIVE else "in the trash"
    return f" ({where} as {printable(snapshot.disposed_to.path)})"


def unknown_lines(path: Path, names: NamePatterns, place: PurePosixPath, of_snapshot: str = "") -> list[str]:
    """What can be said of a file the catalog does not know: `place` is its path in its tree, `names` that tree's.

    `of_snapshot` is what the plan says of a snapshot.
    """
    lines = [f"{printable(path)}: not in the catalog"]
    if not os.path.lexists(path):
        return [*lines, "  There is no such file either."]
    match names.kind(place):
        case FileKind.CLIP:
            lines.append("  Its name is that of a recording. The next run looks at it.")
        case FileKind.SNAPSHOT:
            lines.append("  A snapshot. It goes the way of a recording of its camera, once there is one close in time.")
            lines += [f"  {of_snapshot}"] if of_snapshot else []
        case FileKind.KEEP:
            lines.append("  It protects the recording of its name: that is archived, and its source stays.")
        case FileKind.PART | FileKind.GONE:
            lines.append("  A job of archiverd made it or set it aside. The next run mends it, if it knows that job.")
        case FileKind.MARKER:
            lines.append("  It tells whose tree this is. Leave it where it is.")
        case FileKind.FOREIGN:
            name = names.parse(place)
            reason = name.reason if isinstance(name, NotAClip) else "its name is none of ours"
            lines.append(f"  It is not a recording: {reason}. archiverd leaves it alone.")
    return lines


# -- checks -----------------------------------------------------------------------------------------------


def check_lines(report: CheckReport) -> list[str]:
    """A check, as text: each finding with what to do, worst first, then how much was looked at."""
    lines: list[str] = []
    for finding in worst_first(report.findings):
        where = _where(finding)
        lines.append(f"{finding.severity:7} {where}{': ' if where else ''}{finding.what} ({finding.invariant})")
        mended = report.mended.get(finding)
        if mended is not None:
            lines.append(f"        {'mended' if mended.holds else 'not mended'}: {mended.words}")
        elif finding.advice or finding.mend is not Mend.NOTHING:
            lines.append(f"        {finding.advice or 'archiverd check --repair mends it'}.")
    counts = ", ".join(_count_text(severity, count) for severity, count in counted(report.findings).items() if count)
    checked = report.checked
    lines.append(
        f"Checked ({report.level}) {checked.recordings} recordings, {checked.archives} archives of "
        f"{size_text(checked.archive_bytes)}, {checked.in_trash} in the trash: {counts or 'nothing to tell'}."
    )
    if report.mended:
        lines.append(f"Left: {len(report.left())} of {len(report.findings)}.")
    return _safe(lines)


def _count_text(severity: Severity, count: int) -> str:
    several = count > 1 and severity in (Severity.DOUBT, Severity.NOTE)
    return f"{count} {severity}{'s' if several else ''}"


def _where(finding: Finding) -> str:
    return " ".join(part for part in (finding.tree or "", printable(finding.path or "")) if part)


def check_json(report: CheckReport) -> JsonObject:
    """A check, as JSON."""
    checked = report.checked
    return {
        "level": report.level,
        "looked_at": {
            "recordings": checked.recordings,
            "archives": checked.archives,
            "archive_bytes": checked.archive_bytes,
            "in_trash": checked.in_trash,
        },
        "counts": counted(report.findings),
        "findings": [_finding_json(finding, report.mended.get(finding)) for finding in worst_first(report.findings)],
    }


def _finding_json(finding: Finding, mended: Mended | None) -> JsonObject:
    return {
        "severity": finding.severity,
        "invariant": finding.invariant,
        "tree": finding.tree,
        "path": _path_json(finding.path),
        "what": finding.what,
        "advice": finding.advice,
        "repair": finding.mend,
        "mended": None if mended is None else mended.holds,
        "outcome": "" if mended is None else mended.words,
    }


# -- summaries --------------------------------------------------------------------------------------------


def summary_lines(
    outcomes: Sequence[Outcome], waiting: int, elapsed_s: float, orphans: Sequence[Orphan] = ()
) -> list[str]:  # fmt: skip
    """The end of a run: counts, bytes before and after, and each recording there is something to say of."""
    counts = Counter(outcome.result for outcome in outcomes)
    made = [outcome for outcome in outcomes if outcome.archive_size]
    before, after = sum(o.source_size for o in made), sum(o.archive_size for o in made)
    lines = [f"{result}: {counts[result]}" for result in Result if counts[result]]
    if made:
        lines.append(f"{len(made)} archived: {size_text(before)} as {size_text(after)} ({share_text(after, before)})")
    lines += [f"  {o.result} {printable(o.path)}: {o.reason}" for o in outcomes if o.reason]
    if waiting:
        lines.append(f"Too young, for a later run: {waiting}")
    lines += _orphan_lines(orphans)
    lines.append(f"Took {span_text(elapsed_s)}.")
    return _safe(lines)


def outcome_json(outcome: Outcome) -> JsonObject:
    """One outcome, as JSON."""
    return {
        "path": printable(outcome.path),
        "result": outcome.result,
        "reason": outcome.reason,
        "source_bytes": outcome.source_size,
        "archive_bytes": outcome.archive_size,
    }


def _safe(lines: Iterable[str]) -> list[str]:
    """The lines with what a terminal would obey, or a log not encode, escaped; each stays one line."""
    return [printable(line) for line in lines]


def _table(*columns: str) -> Table:
    from rich import box  # noqa: PLC0415  (rich is loaded only where it is shown)
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column, justify="right" if column in ("size", "archive", "snapshots") else "left", overflow="fold"
        )
    return table


def _row(table: Table, *cells: str) -> None:
    """Add a row of plain text: a name or a reason may hold what rich would take for markup, or a terminal obey."""
    from rich.text import Text  # noqa: PLC0415

    table.add_row(*(Text(printable(cell)) for cell in cells))
