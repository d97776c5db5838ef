"""What the documents promise names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.program import CHECKOUT

DESIGN = CHECKOUT / "docs/design"


def named(text: str) -> list[tuple[str, str]]:
    """Each test file a document names, and the test in it, "" for all; `::test` alone is of the file before."""
    found, file = [], ""
    for path, test in re.findall(
        r"`(?:(?:tests/)?((?:e2e|integrations|units)/\w+\.py))?(?:::(test_\w+))?(?:\[\w+\])?`", text
    ):
        file = path or file
        if path or test:
            found.append((file, test))
    return found


def missing(file: str, test: str) -> bool:
    path = CHECKOUT / "tests" / file
    return not path.is_file() or (bool(test) and f"def {test}(" not in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", sorted(DESIGN.glob("*.md")), ids=lambda page: page.name)
def test_tests_that_a_page_names_are_there(page: Path) -> None:
    assert not [one for one in named(page.read_text(encoding="utf-8")) if missing(*one)]


def test_each_fault_is_shown_by_a_test() -> None:
    rows = [line for line in (DESIGN / "faults.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    facts = [row for row in rows if not row.startswith("| fault |")]
    assert len(facts) > 30
    assert not [row for row in facts if not named(row.rsplit("|", 2)[1])]


def test_a_test_that_is_not_there_is_found() -> None:
    assert named("`tests/units/test_units_promises.py::test_of_nothing`, `::test_each`") == [
        ("units/test_units_promises.py", "test_of_nothing"), ("units/test_units_promises.py", "test_each"),
    ]  # fmt: skip
    assert missing("units/test_units_promises.py", "test_of_nothing")
    assert missing("units/test_units_no_such.py", "")
