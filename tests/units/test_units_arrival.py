"""What follows on the sight of a clip, or of its absence."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import PurePosixPath

import pytest

from archiverd.policy.arrival import NEW, Hasten, Nothing, Offer, Settling, TakeUpAgain, missed, on_sight
from archiverd.policy.letting_go import PROTECTED
from archiverd.policy.model import ClipName, Fingerprint, FoundFile, Recording, State

NOW = 1_800_000_000.0
SETTLING = Settling(seen_s=60, closed_s=2)
PATH = PurePosixPath("2027/01/15/REO_front_20270115080000.mp4")
NAME = ClipName("front", datetime(2027, 1, 15, 8))


def clip(age_s: float = 0.0, size: int = 100) -> FoundFile:
    return FoundFile.at(PATH, Fingerprint(7, size, int((NOW - age_s) * 1e9)), NAME)


def row(
    state: State, *, of: FoundFile | None = None, reason: str = "", attempts: int = 0, due: float = NOW
) -> Recording:
    return Recording(
        1, PATH, (of or clip()).fingerprint, NAME, state, reason, due, NOW, attempts, 0, "", None, "", 0, None, None
    )  # fmt: skip


def seen(*rows: Recording, of: FoundFile | None = None, closed: bool = False, protected: bool = False) -> object:
    return on_sight(of or clip(), rows, SETTLING, NOW, closed=closed, protected=protected)


@pytest.mark.parametrize(
    ("age_s", "closed", "due"),
    [(0, False, 60), (0, True, 2), (10, False, 50), (10, True, -8), (-3600, False, 60), (-3600, True, 2)],
    ids=["seen", "closed", "seen later", "closed and taken in later", "from the future", "from the future, closed"],
)
def test_new_clip_is_due_when_it_has_been_quiet_for_long_enough(age_s: float, closed: bool, due: float) -> None:
    assert seen(of=clip(age_s), closed=closed) == Offer(NEW, NOW + due)


def test_another_content_is_offered_whatever_became_of_the_first() -> None:
    for state in State:
        assert isinstance(seen(row(state), of=clip(size=101)), Offer)


@pytest.mark.parametrize("state", [State.GONE, State.REMOVED])
@pytest.mark.parametrize("protected", [True, False])
def test_clip_of_which_nothing_is_promised_any_more_is_offered(state: State, protected: bool) -> None:
    assert isinstance(seen(row(state), protected=protected), Offer)


def test_close_hastens_what_waits_to_settle_and_never_puts_it_off() -> None:
    waits = row(State.WAITING, due=NOW + 60)

    assert seen(waits, closed=True) == Hasten(waits, NOW + 2)
    assert seen(replace(waits, not_before=NOW + 1), closed=True) == Nothing()
    assert seen(waits) == Nothing()


def test_what_failed_keeps_its_time() -> None:
    assert seen(row(State.WAITING, attempts=1, due=NOW + 600), closed=True) == Nothing()


def test_archived_clip_is_let_go_of_when_its_protection_is_gone() -> None:
    kept = row(State.ARCHIVED, reason=PROTECTED, due=NOW + 86400)

    assert seen(kept) == Hasten(kept, NOW)
    assert seen(kept, protected=True) == Nothing()


def test_archived_clip_that_is_held_for_another_reason_keeps_its_time() -> None:
    assert seen(row(State.ARCHIVED, reason="somebody has it open for writing", due=NOW + 2), closed=True) == Nothing()


def test_clip_that_is_done_with_and_stands_again_is_taken_up_unless_protected() -> None:
    done = row(State.DONE)

    assert seen(done) == TakeUpAgain(done)
    assert seen(done, protected=True) == Nothing()


@pytest.mark.parametrize("state", [State.ACTIVE, State.PUBLISHING, State.QUARANTINED])
def test_what_is_at_work_or_set_aside_is_left_alone(state: State) -> None:
    assert seen(row(state), closed=True) == Nothing()


def test_only_what_should_be_there_is_missed() -> None:
    rows = [row(state) for state in State]

    assert {one.state for one in missed(rows)} == {State.WAITING, State.QUARANTINED}


def test_what_is_just_being_let_go_of_is_not_missed() -> None:
    assert missed([replace(row(State.QUARANTINED), job="r1")]) == []
