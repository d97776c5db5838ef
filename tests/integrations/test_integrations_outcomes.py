"""The table of outcomes at the end of a test session."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.program import environment

_CONFTEST = "from tests.conftest import pytest_terminal_summary\n"
_TESTS = """\
import pytest
from tests.outcomes import tell

@pytest.mark.parametrize("name", ["b", "a", "longer"])
def test_row(name, record_property):
    tell(record_property, "bad", name, "quarantined", "x" * 300 if name == "longer" else f"it is {name}")

@pytest.mark.parametrize("step", range(3))
def test_step(step, record_property):
    tell(record_property, "swapped", "day", "waiting", "")

def test_failure(record_property):
    tell(record_property, "odd", "c", "lost", "what the program said")
    assert False

def test_other():
    pass
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_session_ends_with_the_table_and_its_closing_line(tmp_path: Path, workers: tuple[str, ...]) -> None:
    (tmp_path / "conftest.py").write_text(_CONFTEST)
    (tmp_path / "test_rows.py").write_text(_TESTS)
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *workers, "test_rows.py")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment(), timeout=60)
    lines = done.stdout.splitlines()
    begin = next(number for number, line in enumerate(lines) if "what became of each input" in line) + 1
    assert [line.rstrip() for line in lines[begin : begin + 6]] == [
        "kind     input   outcome        reason",
        "bad      a       quarantined    it is a",
        "bad      b       quarantined    it is b",
        f"bad      longer  quarantined    {'x' * 99}…",
        "odd      c       lost           what the program said",
        "swapped  day     waiting (x 3)",
    ]
    assert lines[-1].startswith("1 failed, 7 passed in ")
