"""GracefulExit within one process; with signals from outside: test_integrations_signals."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiverd.errors import Interrupted
from archiverd.policy.stop import NeverStop, StopToken
from archiverd.service.graceful_exit import ONE_REQUEST_S, GracefulExit
from tests.screen import until

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPS = (signal.SIGINT, signal.SIGTERM)
NOTES = (signal.SIGHUP, signal.SIGUSR1)


@pytest.fixture
def known_actions() -> Iterator[None]:
    """Signals as a process started from a shell has them, whatever ran the tests."""
    before = {signum: signal.getsignal(signum) for signum in (*HANDLED, *NOTES, signal.SIGIO)}
    for signum in (signal.SIGTERM, *NOTES, signal.SIGIO):
        signal.signal(signum, signal.SIG_DFL)
    yield
    for signum, action in before.items():
        signal.signal(signum, action)


def readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def eventfds() -> int:
    """How many of them this process has open."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor that listed the directory
            found += "eventfd" in str(link.readlink())
    return found


@pytest.mark.parametrize("signum", HANDLED)
@pytest.mark.usefixtures("known_actions")
def test_signal_is_recorded_as_a_request(signum: signal.Signals) -> None:
    with GracefulExit() as stop:
        signal.raise_signal(signum)

        assert (stop.requested, stop.signum) == (True, signum)


@pytest.mark.usefixtures("known_actions")
def test_before_any_request_nothing_is_asked_for() -> None:
    with GracefulExit() as stop:
        stop.check()

        assert (stop.requested, stop.signum, readable(stop.fileno())) == (False, None, False)


def test_check_after_a_request_raises_interrupted_with_its_exit_code() -> None:
    with GracefulExit() as stop:
        stop.request(signal.SIGINT)

        with pytest.raises(Interrupted) as caught:
            stop.check()

    assert caught.value.exit_code == 130


def test_first_request_names_the_signal() -> None:
    with GracefulExit() as stop:
        stop.request(signal.SIGINT)
        stop.request(signal.SIGTERM)

        assert stop.signum == signal.SIGINT


@pytest.mark.usefixtures("known_actions")
def test_signal_after_a_request_is_no_second_signal() -> None:
    with GracefulExit() as stop:
        stop.request(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)  # a second one would end this very process

        assert stop.signum == signal.SIGTERM


def test_request_makes_the_descriptor_readable_for_good() -> None:
    with GracefulExit() as stop:
        stop.request()
        stop.wait(0)

        assert readable(stop.fileno())


def test_request_wakes_every_waiting_thread() -> None:
    woken: list[bool] = []
    with GracefulExit() as stop:
        waiting = [threading.Thread(target=lambda: woken.append(stop.wait(60))) for _ in range(3)]
        for thread in waiting:
            thread.start()
        stop.request()
        for thread in waiting:
            thread.join(10)

    assert woken == [True, True, True]


def test_request_of_a_thread_wakes_the_main_thread() -> None:
    with GracefulExit() as stop:
        timer = threading.Timer(0.05, stop.request)
        timer.start()
        began = time.monotonic()

        assert stop.wait(60)

    timer.join()
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("timeout_s", [0.02, 0, -1])
def test_wait_without_a_request_ends_at_its_timeout(timeout_s: float) -> None:
    with GracefulExit() as stop:
        began = time.monotonic()

        assert not stop.wait(timeout_s)

    assert max(timeout_s, 0) <= time.monotonic() - began < 10


def test_wait_takes_any_length_of_time() -> None:
    with GracefulExit() as stop:
        timer = threading.Timer(0.05, stop.request)
        timer.start()

        assert stop.wait(float("inf"))

    timer.join()


def test_request_before_the_with_is_not_lost() -> None:
    stop = GracefulExit()
    stop.request(signal.SIGINT)

    with stop:
        assert (stop.signum, readable(stop.fileno())) == (signal.SIGINT, True)


@pytest.mark.usefixtures("known_actions")
def test_end_of_with_restores_what_was_there() -> None:
    before = [signal.getsignal(signum) for signum in (*HANDLED, signal.SIGIO)]

    with GracefulExit():
        during = [signal.getsignal(signum) for signum in (*HANDLED, signal.SIGIO)]

    assert [signal.getsignal(signum) for signum in (*HANDLED, signal.SIGIO)] == before
    assert not set(map(str, during)) & set(map(str, before))


@pytest.mark.usefixtures("known_actions")
def test_signals_not_named_keep_their_action() -> None:
    with GracefulExit((signal.SIGTERM,)):
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


@pytest.mark.usefixtures("known_actions")
def test_broken_lease_signal_is_ignored_meanwhile() -> None:
    with GracefulExit():
        assert signal.getsignal(signal.SIGIO) is signal.SIG_IGN


@pytest.mark.usefixtures("known_actions")
def test_hangup_ignored_from_outside_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with GracefulExit() as stop:
        signal.raise_signal(signal.SIGHUP)

        assert not stop.requested


def test_descriptor_is_gone_after_the_with() -> None:
    before = eventfds()
    stop = GracefulExit()
    with stop:
        pass

    assert eventfds() == before
    with pytest.raises(ValueError, match="not entered"):
        stop.fileno()


def test_entered_in_another_thread_fails_and_leaves_nothing_open() -> None:
    caught: list[BaseException] = []
    before = eventfds()

    def enter() -> None:
        try:
            with GracefulExit():
                pass
        except ValueError as error:
            caught.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()

    assert (len(caught), eventfds()) == (1, before)


def test_descriptor_is_not_inherited_by_programs() -> None:
    with GracefulExit() as stop:
        assert not os.get_inheritable(stop.fileno())


# --- notes: signals that are no stop


@pytest.mark.usefixtures("known_actions")
def test_notes_are_told_once_and_in_order() -> None:
    with GracefulExit(STOPS, notes=NOTES) as stop:
        for signum in (signal.SIGUSR1, signal.SIGHUP, signal.SIGUSR1):
            signal.raise_signal(signum)

        assert stop.take_notes() == [signal.SIGUSR1, signal.SIGHUP, signal.SIGUSR1]
        assert stop.take_notes() == []


@pytest.mark.usefixtures("known_actions")
def test_note_is_no_stop_and_a_stop_is_no_note() -> None:
    with GracefulExit(STOPS, notes=NOTES) as stop:
        signal.raise_signal(signal.SIGHUP)
        after_note = (stop.requested, stop.wait(0), readable(stop.fileno()))
        signal.raise_signal(signal.SIGTERM)

        assert after_note == (False, False, False)
        assert (stop.signum, stop.take_notes()) == (signal.SIGTERM, [signal.SIGHUP])


@pytest.mark.usefixtures("known_actions")
def test_notes_after_a_stop_never_count_as_its_second_signal() -> None:
    with GracefulExit(STOPS, notes=NOTES) as stop:
        signal.raise_signal(signal.SIGTERM)
        time_of_one_request = time.monotonic() + 2 * ONE_REQUEST_S
        until(lambda: time.monotonic() > time_of_one_request)
        signal.raise_signal(signal.SIGHUP)  # a second signal would end this very process

        assert stop.take_notes() == [signal.SIGHUP]


@pytest.mark.usefixtures("known_actions")
def test_each_note_wakes_who_waits_for_news() -> None:
    heard: list[int] = []
    answered = threading.Event()
    main = threading.get_ident()

    def send() -> None:
        for _ in range(300):
            answered.clear()
            signal.pthread_kill(main, signal.SIGUSR1)
            if not answered.wait(20):
                return

    with GracefulExit(STOPS, notes=NOTES) as stop:
        thread = threading.Thread(target=send)
        thread.start()
        while thread.is_alive():
            stop.wait_for_news(0.2)
            if notes := stop.take_notes():
                heard += notes
                answered.set()
        thread.join()

    assert heard == [signal.SIGUSR1] * 300


@pytest.mark.parametrize("ask", ["note", "stop", "wake"])
@pytest.mark.usefixtures("known_actions")
def test_news_that_came_before_the_wait_is_not_waited_for(ask: str) -> None:
    with GracefulExit(STOPS, notes=NOTES) as stop:
        match ask:
            case "note":
                signal.raise_signal(signal.SIGHUP)
            case "stop":
                stop.request()
            case _:
                stop.wake()
        began = time.monotonic()
        stop.wait_for_news(60)

    assert time.monotonic() - began < 30


@pytest.mark.parametrize("stops", [False, True])
def test_another_thread_wakes_who_waits_for_news(stops: bool) -> None:
    with GracefulExit(STOPS) as stop:
        timer = threading.Timer(0.05, stop.request if stops else stop.wake)
        timer.start()
        began = time.monotonic()
        stop.wait_for_news(60)

        assert stop.requested is stops

    timer.join()
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("ask", ["note", "stop"])
@pytest.mark.usefixtures("known_actions")
def test_stop_and_notes_not_taken_stay_news(ask: str) -> None:
    with GracefulExit(STOPS, notes=NOTES) as stop:
        if ask == "note":
            signal.raise_signal(signal.SIGHUP)
        else:
            stop.request()
        began = time.monotonic()
        stop.wait_for_news(60)
        stop.wait_for_news(60)

    assert time.monotonic() - began < 30


def test_one_wake_is_one_piece_of_news() -> None:
    with GracefulExit(STOPS) as stop:
        stop.wake()
        stop.wake()
        stop.wait_for_news(60)
        began = time.monotonic()
        stop.wait_for_news(0.05)

    assert time.monotonic() - began >= 0.05


@pytest.mark.usefixtures("known_actions")
def test_note_that_was_ignored_from_outside_is_heard() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with GracefulExit(STOPS, notes=NOTES) as stop:
        signal.raise_signal(signal.SIGHUP)

        assert stop.take_notes() == [signal.SIGHUP]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_news_can_only_be_waited_for_within_the_with() -> None:
    stop = GracefulExit(notes=NOTES)
    stop.wake()

    with pytest.raises(ValueError, match="not entered"):
        stop.wait_for_news(0)


# --- the stop that never comes


def test_never_stop_is_a_stop_token_that_is_never_requested() -> None:
    token: StopToken = NeverStop()
    token.check()

    assert (token.requested, token.wait(0.01), readable(token.fileno())) == (False, False, False)


def test_never_stop_closes_its_descriptor() -> None:
    before = eventfds()
    token = NeverStop()
    token.fileno()
    token.fileno()
    opened = eventfds()
    del token

    assert (opened - before, eventfds() - before) == (1, 0)
