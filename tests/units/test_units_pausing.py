"""When the work pauses, and when it is tried again."""

from __future__ import annotations

from archiverd.policy.pausing import Pause

NOW = 1_800_000_000.0


def test_tries_come_after_twice_the_time_each_up_to_five_minutes() -> None:
    pause, waits = Pause.begin("full", "make room", NOW), []
    for _ in range(8):
        waits.append(pause.wait_s)
        pause = pause.again("full", "make room", NOW)

    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]
    assert pause.since == NOW


def test_pause_is_due_at_its_time_and_where_the_clock_was_set_back() -> None:
    pause = Pause.begin("full", "make room", NOW)

    assert not pause.is_due(NOW + 4)
    assert pause.is_due(NOW + 5)
    assert pause.is_due(NOW - 3600)
