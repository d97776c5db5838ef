"""What became of a recording, and whether somebody should look."""

from __future__ import annotations

import pytest

from archiverd.policy.model import ArchiveKind
from archiverd.policy.outcome import Result


@pytest.mark.parametrize("result", Result)
def test_only_failures_are_trouble(result: Result) -> None:
    assert result.is_trouble is (result in {Result.FAILED, Result.QUARANTINED})


@pytest.mark.parametrize("kind", [kind for kind in ArchiveKind if kind is not ArchiveKind.REBUILT])
def test_every_kind_of_archive_that_a_go_makes_is_a_result(kind: ArchiveKind) -> None:
    assert Result(kind.value).value == kind.value
