"""What stands at the end of a test session: tests tell it, `conftest.py` prints it.

A table of what became of each input; and what a machine with a GPU does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import pytest

HARDWARE_REPORT = "hardware report"

_PROPERTY = "outcome of an input"
_WIDEST = 100  # characters of a reason
_HEAD = ("kind", "input", "outcome", "reason")

Row = tuple[str, str, str, str]  # as _HEAD
RecordProperty = Callable[[str, object], None]


def tell(record_property: RecordProperty, kind: str, name: str, outcome: str, reason: str) -> None:
    """Have the table show what the program made of an input. Works across the processes of pytest-xdist."""
    record_property(_PROPERTY, [kind, name, outcome, reason])


def told(reports: Iterable[object]) -> list[Row]:
    """The rows of all tests, sorted; an input that many tests tell the same of has one, with their number."""
    rows: Counter[Row] = Counter()
    for report in reports:
        if not isinstance(report, pytest.TestReport) or report.when != "call":
            continue
        for name, values in report.user_properties:
            if name == _PROPERTY and isinstance(values, list):
                kind, what, outcome, reason = map(str, values)
                rows[kind, what, outcome, reason] += 1
    return [
        (kind, what, outcome if count == 1 else f"{outcome} (x {count})", reason)
        for (kind, what, outcome, reason), count in sorted(rows.items())
    ]


def hardware_reports(reports: Iterable[object]) -> list[str]:
    """What the hardware tests told, each once; a test tells it as it is cleaned up after."""
    properties = [
        told for report in reports if isinstance(report, pytest.TestReport) for told in report.user_properties
    ]
    return [str(text) for text in dict.fromkeys(text for name, text in properties if name == HARDWARE_REPORT)]


def table(rows: Iterable[Row]) -> list[str]:
    """The rows as aligned lines, the reasons cut to what fits."""
    short = [(*row[:3], row[3] if len(row[3]) <= _WIDEST else row[3][: _WIDEST - 1] + "…") for row in (_HEAD, *rows)]
    widths = [max(len(row[column]) for row in short) for column in range(3)]
    return [
        "  ".join((*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3])) for row in short
    ]
