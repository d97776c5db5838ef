"""What one thread shows another."""

from __future__ import annotations

import select
import signal
from collections.abc import Callable

import pytest

from archiverd.errors import Interrupted
from archiverd.policy.stop import NeverStop
from archiverd.service.heartbeat import BeatingStop, Bell, Ending, Heartbeat, wait_for


def readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def test_ending_ends_alone() -> None:
    with Ending(NeverStop()) as parent, Ending(parent) as ending:
        assert not ending.wait(0)
        ending.end()
        ending.end()

        assert ending.requested
        assert readable(ending.fileno())
        assert not parent.requested
        with pytest.raises(Interrupted):
            ending.check()


def test_ending_ends_with_its_parent() -> None:
    with Ending(NeverStop()) as parent, Ending(parent) as ending:
        parent.end()

        assert ending.wait(60)
        assert readable(ending.fileno())
        with pytest.raises(Interrupted) as stop:
            ending.check()
    assert stop.value.signum == signal.SIGTERM


def test_every_question_is_a_beat() -> None:
    now = 0.0
    heart = Heartbeat(lambda: now)
    stop = BeatingStop(NeverStop(), heart)
    questions: list[Callable[[], object]] = [lambda: stop.requested, stop.check, lambda: stop.wait(0)]
    for number, ask in enumerate(questions, 1):
        now = 10.0 * number
        assert heart.age_s() == 10
        ask()
        assert heart.age_s() == 0


def test_bell_that_rang_wakes_once() -> None:
    with Bell() as bell:
        bell.ring()
        bell.ring()
        wait_for([bell.fileno()], 60)

        assert bell.heard()
        assert not bell.heard()
    bell.ring()  # nobody hears it any more, and nothing happens
