"""The timer: what is due is called, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from archiverd.errors import ResourceError
from archiverd.policy.stop import NeverStop
from archiverd.service.heartbeat import Bell, Ending, Heartbeat
from archiverd.timer import Steppers, Timer


class Clock:
    """Goes on by itself, a second each time it is asked."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.step = 1.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Stepper:
    """Notes when it was called, and wants to be called again after so long; ends the timer after `most` calls."""

    def __init__(self, again_s: float, most: int, end: Callable[[], None], fails: Exception | None = None) -> None:
        self._again_s = again_s
        self._most = most
        self._end = end
        self._fails = fails
        self.calls: list[float] = []

    def step(self, now: float) -> float:
        self.calls.append(now)
        if len(self.calls) >= self._most:
            self._end()
        if self._fails is not None:
            raise self._fails
        return now + self._again_s


@pytest.fixture
def ending() -> Iterator[Ending]:
    with Ending(NeverStop()) as ending:
        yield ending


def timed(ending: Ending, clock: Callable[[], float], made: Callable[[], Steppers]) -> list[str]:
    life: list[str] = []

    @contextmanager
    def make() -> Iterator[Steppers]:
        life.append("made")
        yield made()
        life.append("taken down")

    with Bell() as bell:
        timer = Timer(make, ending, Heartbeat(), bell, clock)
        bell.ring()
        timer.run()
    return life


def test_each_is_called_when_it_is_due(ending: Ending) -> None:
    often, seldom = Stepper(0.0, 30, ending.end), Stepper(10.0, 99, ending.end)

    life = timed(ending, Clock(), lambda: {"often": often, "seldom": seldom})

    assert len(often.calls) == 30
    assert 3 <= len(seldom.calls) <= 5
    assert life == ["made", "taken down"]


def test_one_that_fails_keeps_no_other_from_its_turn_and_is_told_once(
    ending: Ending, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Stepper(0.0, 99, ending.end, ResourceError("/camera: can't be read"))
    other = Stepper(0.0, 50, ending.end)

    timed(ending, Clock(), lambda: {"failing": failing, "other": other})

    assert len(other.calls) == 50
    assert len(failing.calls) > 2
    assert caplog.text.count("/camera: can't be read") == 1


def test_bug_in_one_ends_the_thread(ending: Ending) -> None:
    with pytest.raises(ZeroDivisionError):
        timed(ending, Clock(), lambda: {"bad": Stepper(0.0, 99, ending.end, ZeroDivisionError())})


def test_clock_that_is_set_back_makes_all_due(ending: Ending) -> None:
    clock = Clock()
    patient = Stepper(1e6, 2, ending.end)

    class SetsBack:
        def step(self, now: float) -> float:
            clock.now -= 5000
            return now

    timed(ending, clock, lambda: {"patient": patient, "back": SetsBack()})

    assert len(patient.calls) == 2


def test_renewed_timer_builds_its_steppers_anew(ending: Ending) -> None:
    life: list[str] = []
    timers: list[Timer] = []

    class Renews:
        def step(self, now: float) -> float:
            timers[0].renew()
            if len(life) > 2:
                ending.end()
            return now

    @contextmanager
    def make() -> Iterator[Steppers]:
        life.append("made")
        yield {"renews": Renews()}

    with Bell() as bell:
        timers.append(Timer(make, ending, Heartbeat(), bell, Clock()))
        timers[0].run()

    assert life == ["made"] * 3
