"""What people read: plans, summaries, the state of things, the story of one file, proofs. As text, and as JSON."""

from __future__ import annotations

from archiverd.reports.cleanup import cleaned_lines, refused_json, removal_lines, removed_json
from archiverd.reports.cleanup import plan_json as cleanup_json
from archiverd.reports.cleanup import plan_lines as cleanup_lines
from archiverd.reports.cleanup import plan_table as cleanup_table
from archiverd.reports.forecast import forecast_json, forecast_lines
from archiverd.reports.probes import equipment_lines, probe_json, probe_lines, probe_table
from archiverd.reports.proof import check_json, check_lines
from archiverd.reports.recordings import list_table, recording_json, status_json, status_lines, unknown_lines, why_lines
from archiverd.reports.runs import (
    outcome_json,
    plan_json,
    plan_lines,
    plan_table,
    standing_lines,
    summary_lines,
)
from archiverd.reports.trash import emptied_lines, emptying_lines, trash_json, trash_lines, trash_table
from archiverd.reports.tree import discovery_json, discovery_lines, discovery_table, explanation_json, explanation_lines
from archiverd.reports.words import JsonObject, share_text, size_text, span_text, time_text

__all__ = [
    "JsonObject",
    "check_json",
    "check_lines",
    "cleaned_lines",
    "cleanup_json",
    "cleanup_lines",
    "cleanup_table",
    "discovery_json",
    "discovery_lines",
    "discovery_table",
    "emptied_lines",
    "emptying_lines",
    "equipment_lines",
    "explanation_json",
    "explanation_lines",
    "forecast_json",
    "forecast_lines",
    "list_table",
    "outcome_json",
    "plan_json",
    "plan_lines",
    "plan_table",
    "probe_json",
    "probe_lines",
    "probe_table",
    "recording_json",
    "refused_json",
    "removal_lines",
    "removed_json",
    "share_text",
    "size_text",
    "span_text",
    "standing_lines",
    "status_json",
    "status_lines",
    "summary_lines",
    "time_text",
    "trash_json",
    "trash_lines",
    "trash_table",
    "unknown_lines",
    "why_lines",
]
