"""Real signals to real processes: how they end, how fast, and what they leave on a terminal."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.screen import terminal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PRELUDE = """
import fcntl, logging, os, select, signal, sys, termios, threading
from archiverd.errors import Interrupted
from archiverd.service.graceful_exit import ONE_REQUEST_S, GracefulExit

def say(word):
    os.write(1, f"{word}\\n".encode())

for signum in (signal.SIGTERM, signal.SIGHUP):  # whatever ran the tests may have these ignored
    if "as inherited" not in sys.argv:
        signal.signal(signum, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
WAITS_IN_MAIN = """
with GracefulExit() as stop:
    say("ready")
    stop.wait(60)
    say("woken")
    try:
        stop.check()
    except Interrupted as interrupted:
        sys.exit(interrupted.exit_code)
"""
WAITS_IN_THREAD = """
with GracefulExit() as stop:
    def work():
        stop.wait(60)
        say("woken")
    thread = threading.Thread(target=work)
    thread.start()
    say("ready")
    thread.join()
    sys.exit(128 + (stop.signum or 0))
"""
POLLS = """
with GracefulExit() as stop:
    say("ready")
    select.select([stop.fileno()], [], [], 60)
    say("woken")
    sys.exit(128 + (stop.signum or 0))
"""
HEEDS_NOTHING = """
with GracefulExit() as stop:
    say("ready")
    stop.wait(60)
    threading.Event().wait(2 * ONE_REQUEST_S)
    {before}
    say("still here")
    threading.Event().wait(60)
"""


@contextlib.contextmanager
def child(
    body: str, *arguments: str, stderr: int = subprocess.PIPE, wrapper: tuple[str, ...] = (), own_session: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program with the prelude above; killed at the end if it is still there."""
    command = (*wrapper, sys.executable, "-c", textwrap.dedent(PRELUDE + body), *arguments)
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, start_new_session=own_session
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def hear(process: subprocess.Popen[bytes], word: str, within_s: float = 30.0) -> None:
    """Wait for the child to say this word as its next line."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], within_s)[0], f"{word!r} was not said in time"
    assert process.stdout.readline().decode() == f"{word}\n"


@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize("body", [WAITS_IN_MAIN, WAITS_IN_THREAD, POLLS], ids=["main", "thread", "poll"])
def test_signal_wakes_who_waits_and_ends_the_process_with_its_number(body: str, signum: signal.Signals) -> None:
    with child(body) as process:
        hear(process, "ready")
        process.send_signal(signum)
        hear(process, "woken", within_s=10)

        assert process.wait(10) == 128 + signum


def test_signal_wakes_the_main_thread_at_once() -> None:
    with child(WAITS_IN_MAIN) as process:
        hear(process, "ready")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        hear(process, "woken")

        assert time.monotonic() - began < 2  # milliseconds, but the machine may be busy


@pytest.mark.parametrize("second", SIGNALS)
def test_second_signal_ends_the_process_at_once(second: signal.Signals) -> None:
    with child(HEEDS_NOTHING.format(before="")) as process:
        hear(process, "ready")
        process.send_signal(signal.SIGTERM)
        hear(process, "still here")
        process.send_signal(second)
        _, stderr = process.communicate(timeout=10)

        assert (process.returncode, stderr) == (128 + second, b"archiverd: second signal: ending at once\n")


def test_second_signal_ends_a_process_whose_stderr_nobody_reads() -> None:
    fill = "os.set_blocking(2, False)\n    while select.select([], [2], [], 0)[1]: os.write(2, b'x' * 4096)\n"
    fill += "    os.set_blocking(2, True)"
    with child(HEEDS_NOTHING.format(before=fill)) as process:
        hear(process, "ready")
        process.send_signal(signal.SIGTERM)
        hear(process, "still here")
        process.send_signal(signal.SIGTERM)

        assert process.wait(10) == 143


def test_second_signal_ends_a_process_whose_stderr_is_closed() -> None:
    with child(HEEDS_NOTHING.format(before="os.close(2)")) as process:
        hear(process, "ready")
        process.send_signal(signal.SIGTERM)
        hear(process, "still here")
        process.send_signal(signal.SIGTERM)

        assert process.wait(10) == 143


def test_one_wish_delivered_as_two_signals_is_one_request() -> None:
    body = """
with GracefulExit() as stop:
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGHUP)
    sys.exit(f"request {stop.signum}")
"""
    with child(body) as process:
        _, stderr = process.communicate(timeout=30)

    assert (process.returncode, stderr) == (1, b"request 15\n")


def test_signal_before_the_with_kills_as_usual() -> None:
    with child("say('ready')\nthreading.Event().wait(60)") as process:
        hear(process, "ready")
        process.send_signal(signal.SIGTERM)

        assert process.wait(10) == -signal.SIGTERM


def test_broken_lease_does_not_end_the_process(tmp_path: Path) -> None:
    leased = tmp_path / "leased"
    leased.touch()
    body = """
with GracefulExit() as stop:
    handle = os.open(sys.argv[1], os.O_RDONLY)
    fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    say("ready")
    while fcntl.fcntl(handle, fcntl.F_GETLEASE) != fcntl.F_UNLCK:
        stop.wait(0.01)
    say("broken")
    fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    stop.wait(60)
"""
    with child(body, str(leased)) as process:
        hear(process, "ready")
        with pytest.raises(BlockingIOError):
            os.open(leased, os.O_WRONLY | os.O_NONBLOCK)
        hear(process, "broken")

        assert process.poll() is None


def test_nohup_keeps_the_process_over_a_hangup() -> None:
    with child(WAITS_IN_MAIN, "as inherited", wrapper=("nohup",)) as process:
        hear(process, "ready")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)  # were the hangup heard, it would be the one named: 129

        assert process.wait(10) == 143


SHOWS_BARS = """
from archiverd.service.logger import Logger, forget_lost_output
from archiverd.service.progress import ProgressReporter
log = logging.getLogger("archiverd.test")
signum = None
with GracefulExit() as stop, Logger(logging.INFO, stream=sys.stderr) as logger:
    try:
        with ProgressReporter(2, 2000, environ={"TERM": "xterm-256color"}) as progress, logger.below(progress):
            progress.begin("REO_front_20260730120000.mp4", 1000, 60.0)
            progress.stage("transcoding")
            progress.refresh()
            log.info("one line")
            say("ready")
            stop.wait(60)
            stop.check()
    except Interrupted as interrupted:
        log.warning("interrupted")
        signum = interrupted.signum
forget_lost_output()
sys.exit(128 + signum)
"""


@pytest.mark.parametrize("signum", SIGNALS)
def test_terminal_is_left_clean_by_an_interrupted_process(signum: signal.Signals) -> None:
    with terminal() as tty:
        with child(SHOWS_BARS, stderr=tty.stream.fileno()) as process:
            hear(process, "ready")
            process.send_signal(signum)

            assert process.wait(10) == 128 + signum
        output = tty.close()

        assert [line.partition(" ")[2] for line in tty.screen] == [
            "INFO archiverd.test: one line",
            "WARNING archiverd.test: interrupted",
        ]
    assert "transcoding" in output
    assert "\x1b[?25l" not in output  # a process that is killed could not show the cursor again


def test_terminal_that_hangs_up_ends_the_process_as_a_hangup() -> None:
    body = "fcntl.ioctl(2, termios.TIOCSCTTY, 0)\n" + SHOWS_BARS
    master, slave = os.openpty()
    with child(body, stderr=slave, own_session=True) as process:
        os.close(slave)
        hear(process, "ready")
        os.close(master)

        assert process.wait(10) == 129


@pytest.mark.parametrize("kind", ["full", "pipe", "closed"])
def test_stderr_that_takes_nothing_changes_no_exit_code(kind: str) -> None:
    body = """
from archiverd.service.logger import Logger, forget_lost_output
from archiverd.service.progress import ProgressReporter
if sys.argv[1] == "closed":
    sys.stderr = None
with Logger(logging.INFO) as logger, ProgressReporter(1, 1000, interval_s=0.01) as progress, logger.below(progress):
    logging.getLogger("archiverd.test").info("one line")
    progress.begin("a.mp4", 1000, None)
    progress.refresh()
    progress.end("archived")
logging.getLogger("archiverd.test").error("after the end")
forget_lost_output()
"""
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with child(body, kind, stderr=full if kind == "full" else writer) as process:
            assert process.wait(30) == 0
    finally:
        os.close(full)
        os.close(writer)
