"""What a check found, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archiverd.policy.checking import CheckReport, Finding, Mend, Mended, Severity, counted, worst_first
from archiverd.policy.naming import printable
from archiverd.reports.words import (
    JsonObject,
    path_json,
    safe,
    size_text,
)

if TYPE_CHECKING:
    pass


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
    return safe(lines)


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
        "path": path_json(finding.path),
        "what": finding.what,
        "advice": finding.advice,
        "repair": finding.mend,
        "mended": None if mended is None else mended.holds,
        "outcome": "" if mended is None else mended.words,
    }
