"""What stands in the source tree, and why a path is or is no recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archiverd.policy.explanation import Answer, Explanation, Mark
from archiverd.policy.model import Discovery
from archiverd.policy.naming import printable
from archiverd.reports.words import (
    LISTED,
    JsonObject,
    add_row,
    safe,
    size_text,
    table_of,
)

if TYPE_CHECKING:
    from rich.table import Table


def discovery_table(found: Discovery) -> Table:
    """The recordings of the source tree, a line each, oldest first."""
    table = table_of("taken at", "camera", "size", "snapshots", "protected", "recording", "doubts")
    for one in found.recordings:
        name, size = one.clip.name, size_text(one.clip.fingerprint.size)
        add_row(
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
    lines += [f"Snapshot without a recording: {orphan.path}" for orphan in found.orphans[:LISTED]]
    if len(found.orphans) > LISTED:
        lines.append(f"and {len(found.orphans) - LISTED} more snapshots without a recording")
    lines += [f"Left by a job: {path}" for path in found.leftovers]
    lines += [f"Left alone, {reason}: {count}" for reason, count in sorted(found.ignored.items())]
    if found.incomplete:
        lines.append("Not everything could be read: what is missing here may still be there.")
    return safe(lines)


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
    return safe([explanation.path, *steps, f"  = {_ANSWERS[explanation.answer]}"])


_MARKS = {Mark.YES: "+", Mark.NO: "-", Mark.NOTE: " "}
_ANSWERS = {
    Answer.RECORDING: "It is a recording.",
    Answer.SNAPSHOT: "It is a snapshot.",
    Answer.WOULD_BE_RECORDING: "It would be a recording.",
    Answer.WOULD_BE_SNAPSHOT: "It would be a snapshot.",
    Answer.NEITHER: "It is neither a recording nor a snapshot.",
}


def explanation_json(explanation: Explanation) -> JsonObject:
    """The same, as JSON."""
    return {
        "path": printable(explanation.path),
        "answer": explanation.answer,
        "steps": [{"mark": step.mark, "words": printable(step.words)} for step in explanation.steps],
    }
