"""The last doubt before a file is removed."""

from __future__ import annotations

import pytest

from archiverd.policy.letting_go import Follows, LastLook, doubt, what_follows


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


@pytest.mark.parametrize(
    ("look", "follows"),
    [
        pytest.param(LastLook(False, False, False), Follows.NEW_RECORDING, id="another fingerprint"),
        pytest.param(LastLook(False, True, False), Follows.NEW_RECORDING, id="another fingerprint, still written"),
        pytest.param(LastLook(True, True, True), Follows.LATER, id="open for writing"),
        pytest.param(LastLook(True, False, False), Follows.ARCHIVE_AGAIN, id="other content, same fingerprint"),
    ],
)
def test_source_that_may_not_go(look: LastLook, follows: Follows) -> None:
    assert what_follows(look) is follows
