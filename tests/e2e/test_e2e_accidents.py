"""Seven accidents, as `./dev bench accidents` has them happen: what archiverd promises of each. Never Unmanic here."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.accident_outcomes import Outcome
from bench.accident_programs import Archiverd
from bench.accident_scenes import ACCIDENTS, Accident, Patience, run
from tests.e2e.rig import can_mount

_QUICK = """
hardware = "software"
settle = "1 s"
settle_closed = "0.2 s"
quarantine_after = "2 s"
nice = 0
idle_io = false
"""
_PATIENCE = Patience(pause=1.0, archived=120.0, noticed=60.0)

PROMISED = {
    "truncated": Outcome.KEPT_TOLD,
    "slow": Outcome.WHOLE,
    "resumed": Outcome.WHOLE,
    "killed": Outcome.WHOLE,
    "script": Outcome.KEPT_TOLD,
    "disk-full": Outcome.WHOLE,
    "two-for-one": Outcome.WHOLE,
}
TOLD = {"truncated", "killed", "script", "disk-full"}  # of the others it may say that they have changed


@pytest.mark.parametrize(
    "accident", [each for each in ACCIDENTS if can_mount() or not each.small_disk], ids=lambda accident: accident.name
)
def test_footage_outlives_the_accident_and_the_work_goes_on(accident: Accident, tmp_path: Path) -> None:
    settings = _QUICK if accident.name == "killed" else f'{_QUICK}preset = "ultrafast"\n'  # to be killed in it

    report = run(accident, Archiverd(tmp_path, settings), _PATIENCE)

    word = PROMISED[accident.name]
    assert [told.outcome for told in report.contents] == [word] * len(report.contents), report
    assert accident.name not in TOLD or all(told.facts.told for told in report.contents), report
    assert all(told.facts.original for told in report.contents), report  # in the trash, where it was archived
    assert report.left == (), report
    assert report.goes_on
