"""The last doubt before a file is removed."""

from __future__ import annotations

import pytest

from archiverd.policy.letting_go import LastLook, doubt


@pytest.mark.parametrize(
    ("look", "reason"),
    [
        pytest.param(LastLook(True, False, True), "", id="exactly what was archived"),
        pytest.param(LastLook(True, None, True), "", id="whether it is written the system does not tell"),
        pytest.param(LastLook(True, False), "", id="a snapshot: nothing to compare its content with"),
        pytest.param(LastLook(False, False, True), "it changed after it was archived", id="another fingerprint"),
        pytest.param(LastLook(True, True, True), "somebody has it open for writing", id="a writer"),
        pytest.param(
            LastLook(True, False, False), "its content changed after it was archived", id="times set back by a writer"
        ),
        pytest.param(LastLook(False, True, False), "it changed after it was archived", id="all at once"),
    ],
)
def test_doubt_names_what_speaks_against_it(look: LastLook, reason: str) -> None:
    assert doubt(look) == reason
