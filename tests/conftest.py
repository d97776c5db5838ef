"""What every test shares."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests.outcomes import hardware_reports, table, told

# No deadline for one example: on a busy machine a slow one is no finding.
settings.register_profile("archiverd", deadline=None)
settings.load_profile("archiverd")

# What a shell of this machine may set, and a user's does not: output of children is buffered, as it is there.
os.environ.pop("PYTHONUNBUFFERED", None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what became of each bad and hostile input, and what a GPU does, where tests of the session told it."""
    every = [report for reports in terminalreporter.stats.values() for report in reports]
    for text in hardware_reports(every):
        terminalreporter.section("hardware report")
        terminalreporter.write_line(text)
    rows = told(every)
    if rows:
        terminalreporter.section("what became of each input")
        for line in table(rows):
            terminalreporter.write_line(line)
