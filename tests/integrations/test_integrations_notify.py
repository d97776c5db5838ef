"""What systemd hears: a real datagram socket stands in for its own."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiverd.service.notify import STATUS_CHARACTERS, Notifier


class Systemd:
    """The socket that NOTIFY_SOCKET names."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    @property
    def heard(self) -> list[bytes]:
        """The messages that came since this was asked last."""
        messages = []
        with contextlib.suppress(BlockingIOError):
            while True:
                messages.append(self._socket.recv(8192))
        return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    path = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    listening = Systemd(path)
    yield listening
    listening.close()


def test_ready_is_a_message_of_its_own(systemd: Systemd) -> None:
    Notifier().ready("watching /camera")

    assert systemd.heard == [b"READY=1", b"STATUS=watching /camera"]


def test_stopping_is_a_message_of_its_own(systemd: Systemd) -> None:
    Notifier().stopping("ending")

    assert systemd.heard == [b"STOPPING=1", b"STATUS=ending"]


def test_watchdog_is_a_message_of_its_own(systemd: Systemd) -> None:
    Notifier().watchdog()

    assert systemd.heard == [b"WATCHDOG=1"]


def test_reload_is_told_with_its_moment_in_one_message(systemd: Systemd) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier().reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000

    (message,) = systemd.heard
    first, moment = message.decode("ascii").split("\nMONOTONIC_USEC=")
    assert first == "RELOADING=1"
    assert before <= int(moment) <= after


def test_more_time_is_asked_for_in_microseconds(systemd: Systemd) -> None:
    Notifier().extend(12.5)

    assert systemd.heard == [b"EXTEND_TIMEOUT_USEC=12500000"]


def test_status_is_said_when_it_changes(systemd: Systemd) -> None:
    notifier = Notifier()
    for text in ("idle", "idle", "transcoding front", "idle"):
        notifier.status(text)

    assert systemd.heard == [b"STATUS=idle", b"STATUS=transcoding front", b"STATUS=idle"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("カメラ 42 %", rb"\u30ab\u30e1\u30e9 42 %"),
        ("a\nREADY=1", rb"a\nREADY=1"),
        (os.fsdecode(b"caf\xe9"), rb"caf\xe9"),
        ("x" * 1000, b"x" * (STATUS_CHARACTERS - 3) + b"..."),
    ],
    ids=["no latin-1", "two lines", "no utf-8", "long"],
)
def test_status_is_one_bounded_line_of_ascii(systemd: Systemd, text: str, said: bytes) -> None:
    Notifier().status(text)

    assert systemd.heard == [b"STATUS=" + said]


def test_abstract_socket_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"archiverd-test-{secrets.token_hex(8)}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    listening = Systemd(f"\0{name}")
    Notifier().watchdog()

    assert listening.heard == [b"WATCHDOG=1"]
    listening.close()


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # sdnotify leaves one that can't be connected
@pytest.mark.usefixtures("systemd")
def test_what_is_lost_is_told_once_until_it_is_heard_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier()
    (tmp_path / "notify").unlink()
    notifier.watchdog()
    notifier.watchdog()
    again = Systemd(str(tmp_path / "notify"))
    notifier.watchdog()

    assert again.heard == [b"WATCHDOG=1"]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "systemd can't be told WATCHDOG=1: [Errno 2] No such file or directory")
    ]
    again.close()
    notifier.watchdog()
    assert len(caplog.records) == 2


@pytest.mark.timeout(20)
def test_systemd_that_does_not_read_is_not_waited_for_long(systemd: Systemd, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier(patience_s=0.05)
    while not caplog.records:  # until its queue is full
        notifier.watchdog()

    assert "timed out" in caplog.text
    assert set(systemd.heard) == {b"WATCHDOG=1"}


@pytest.mark.parametrize("value", [None, ""])
def test_off_systemd_nothing_is_sent(
    value: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier({} if value is None else {"NOTIFY_SOCKET": value})
    notifier.ready("a")
    notifier.watchdog()
    notifier.reloading()
    notifier.extend(1)
    notifier.stopping("b")

    assert caplog.records == []


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": str(2**64 - 1)}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_is_on_where_systemd_means_this_process(environ: dict[str, str], interval_s: float | None) -> None:
    assert Notifier(environ).watchdog_s == interval_s
