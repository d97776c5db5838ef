"""When a recording that failed is tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiverd.policy.retry import Fault, Quarantine, Retry, Vanished, after_failure, after_fault


@pytest.mark.parametrize(
    ("attempt", "jitter", "wait_s"),
    [
        pytest.param(1, 1.0, 60, id="first: a minute"),
        pytest.param(1, 0.0, 30, id="first, no jitter: half of it"),
        pytest.param(1, 0.5, 45, id="first, half the jitter"),
        pytest.param(2, 1.0, 120, id="second: twice that"),
        pytest.param(3, 1.0, 240, id="third: twice again"),
        pytest.param(9, 1.0, 15360, id="ninth: the last below the limit"),
        pytest.param(10, 1.0, 21600, id="tenth: six hours"),
        pytest.param(99, 1.0, 21600, id="from then on six hours"),
        pytest.param(99, 0.0, 10800, id="and half of it"),
    ],
)
def test_wait_after_failure(attempt: int, jitter: float, wait_s: float) -> None:
    assert after_failure(attempt, 100, jitter) == Retry(wait_s)


@pytest.mark.parametrize(
    ("attempt", "attempts", "again"),
    [
        pytest.param(1, 3, True, id="one of three"),
        pytest.param(2, 3, True, id="two of three"),
        pytest.param(3, 3, False, id="three of three"),
        pytest.param(4, 3, False, id="more than allowed: the limit was lowered"),
        pytest.param(1, 1, False, id="the only one"),
    ],
)
def test_recording_is_tried_again(attempt: int, attempts: int, again: bool) -> None:
    assert isinstance(after_failure(attempt, attempts, 0.5), Retry if again else Quarantine)


@given(st.integers(1, 100), st.floats(0, 1))
def test_wait_is_between_half_a_minute_and_six_hours(attempt: int, jitter: float) -> None:
    decision = after_failure(attempt, 101, jitter)
    assert isinstance(decision, Retry)
    assert 30 <= decision.for_s <= 6 * 3600


@pytest.mark.parametrize("attempt", [1, 3, 99])
@pytest.mark.parametrize(
    ("fault", "follows"),
    [
        pytest.param(Fault.TAKEN_AWAY, Vanished(), id="nothing is left to work on"),
        pytest.param(Fault.CHANGED, Retry(60, counted=False), id="being written is nobody's fault"),
        pytest.param(Fault.REFUSED, Retry(600, counted=False), id="a missing right is the owner's"),
        pytest.param(Fault.INVALID, Quarantine(), id="no clip, and never one"),
    ],
)
def test_fault_that_is_not_the_files_doing_is_never_counted(fault: Fault, follows: object, attempt: int) -> None:
    assert after_fault(fault, attempt=attempt, attempts=3, settle_s=60, since_s=0, jitter=0.5) == follows


def test_missing_right_is_looked_for_ever_more_seldom() -> None:
    def after(since_s: float) -> object:
        return after_fault(Fault.REFUSED, attempt=1, attempts=3, settle_s=2, since_s=since_s, jitter=0.5)

    assert [after(since_s) for since_s in (0, 3600, 1e6)] == [
        Retry(wait_s, counted=False) for wait_s in (600, 3600, 6 * 3600)
    ]


def test_failure_is_counted_until_there_were_enough() -> None:
    after = [after_fault(Fault.FAILED, attempt=n, attempts=3, settle_s=60, since_s=0, jitter=1.0) for n in (1, 2, 3)]
    assert after == [Retry(60), Retry(120), Quarantine()]
