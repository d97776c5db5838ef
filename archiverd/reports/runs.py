"""What a run will do, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from archiverd.policy.falling import Footing, Standing, standings_json
from archiverd.policy.naming import printable
from archiverd.policy.outcome import Outcome, Result
from archiverd.policy.planning import Action, Orphan, Planned, RunPlan
from archiverd.reports.words import (
    LISTED,
    JsonObject,
    add_row,
    safe,
    share_text,
    size_text,
    span_text,
    table_of,
    time_text,
)

if TYPE_CHECKING:
    from rich.table import Table


def plan_table(plan: RunPlan) -> Table:
    """The plan, a line for each recording that is not merely left."""
    table = table_of("action", "recording", "size", "snapshots", "why")
    for item in plan.items:
        doubts = f" ({'; '.join(item.doubts)})" if item.doubts else ""
        add_row(
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
    return safe(lines) or ["There is nothing here."]


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


def summary_lines(
    outcomes: Sequence[Outcome], waiting: int, elapsed_s: float, orphans: Sequence[Orphan] = (),
    ladder: Sequence[Standing] = (),
) -> list[str]:  # fmt: skip
    """The end of a run: counts, bytes before and after, and each recording there is something to say of."""
    counts = Counter(outcome.result for outcome in outcomes)
    made = [outcome for outcome in outcomes if outcome.archive_size]
    before, after = sum(o.source_size for o in made), sum(o.archive_size for o in made)
    lines = [f"{result}: {counts[result]}" for result in Result if counts[result]]
    if made:
        lines.append(f"{len(made)} archived: {size_text(before)} as {size_text(after)} ({share_text(after, before)})")
    lines += _encoded_lines(outcomes)
    lines += [f"  {o.result} {printable(o.path)}: {o.reason}" for o in outcomes if o.reason]
    lines += standing_lines(standings_json(ladder))
    if waiting:
        lines.append(f"Too young, for a later run: {waiting}")
    lines += _orphan_lines(orphans)
    lines.append(f"Took {span_text(elapsed_s)}.")
    return safe(lines)


def _encoded_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """What encoded how many, and each that fell on the way; nothing where no rung made an archive."""
    rungs = Counter(outcome.rung for outcome in outcomes if outcome.rung)
    fell = [outcome for outcome in outcomes if outcome.falls]
    lines = [f"Encoded by {', '.join(f'{rung} {count}' for rung, count in rungs.items())}"] if rungs else []
    if fell:
        lines.append(f"Fell from a better rung, and archived all the same: {len(fell)}")
        lines += [f"  {printable(o.path)}: {'; '.join(o.falls)}" for o in fell[:LISTED]]
    if len(fell) > LISTED:
        lines.append(f"  and {len(fell) - LISTED} more (archiverd why PATH tells of each)")
    return lines


def standing_lines(standings: Sequence[JsonObject]) -> list[str]:
    """What is to be told of the rungs: those that are allowed and not used, and what mends it.

    `standings` as `policy.falling.standings_json` gives them.
    """
    together: dict[tuple[str, ...], list[JsonObject]] = {}  # of one reason the rungs
    for one in standings:
        if one["reason"]:
            same = (one["footing"], one["device"], one["reason"], one["remedy"])
            together.setdefault(same, []).append(one)
    lines = []
    for (footing, device, reason, remedy), alike in together.items():
        rungs = ", ".join(_with_footage(rung, alike, standings) for rung in dict.fromkeys(one["rung"] for one in alike))
        where = f" on {device}" if device else ""
        lines.append(f"{rungs}{where}: {'rests' if footing == Footing.RESTS else 'not used'}, {reason}")
        again = min((one["again_at"] for one in alike if one["again_at"] is not None), default=None)
        if again is not None:
            lines.append(f"  not tried before {time_text(again)}, unless the machine is changed or started anew")
        lines += [f"  {remedy}"] if remedy else []
    return lines


def _with_footage(rung: str, alike: Sequence[JsonObject], standings: Sequence[JsonObject]) -> str:
    """A rung in words, with the footage where it stands otherwise for other footage."""
    kinds = [one["footage"] for one in alike if one["rung"] == rung]
    return rung if len(kinds) == sum(one["rung"] == rung for one in standings) else f"{rung} ({', '.join(kinds)})"


def outcome_json(outcome: Outcome) -> JsonObject:
    """One outcome, as JSON."""
    return {
        "path": printable(outcome.path),
        "result": outcome.result,
        "reason": outcome.reason,
        "source_bytes": outcome.source_size,
        "archive_bytes": outcome.archive_size,
        "rung": outcome.rung,
        "falls": list(outcome.falls),
    }
