"""What the command of `on_problem` is given, and when it is tried again: pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from archiverd.policy.problems import Notice, is_serious

PAUSES_S = (10.0, 60.0, 300.0)  # before each further try; after the last the notice is given up

_LONGEST = 4000  # characters of one text in the environment, which the kernel bounds
# What a service manager gave us is said to us alone. Source: sd_notify(3), sd_listen_fds(3), systemd.exec(5).
_NOT_HANDED_ON = frozenset(
    {
        "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES",
        "JOURNAL_STREAM", "INVOCATION_ID", "MAINPID",
    }
)  # fmt: skip


def environment(notice: Notice, host: str, ours: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the command: our own, and what is told. Each text is one line."""
    handed_on = {name: value for name, value in ours.items() if name not in _NOT_HANDED_ON}
    told = {
        "ARCHIVERD_PROBLEM": notice.change,
        "ARCHIVERD_KIND": notice.problem.kind,
        "ARCHIVERD_SUBJECT": notice.problem.subject,
        "ARCHIVERD_MESSAGE": notice.problem.message,
        "ARCHIVERD_REMEDY": notice.problem.remedy,
        "ARCHIVERD_SINCE": _iso(notice.since),
        "ARCHIVERD_AT": _iso(notice.at),
        "ARCHIVERD_HOST": host,
    }
    return handed_on | {name: _shortened(value) for name, value in told.items()}


def details(notice: Notice, host: str) -> bytes:
    """The same as one JSON object on one line, for its stdin. ASCII."""
    values = {
        "problem": notice.change,
        "kind": notice.problem.kind,
        "subject": notice.problem.subject,
        "message": notice.problem.message,
        "remedy": notice.problem.remedy,
        "serious": is_serious(notice.problem.kind),
        "since": _iso(notice.since),
        "at": _iso(notice.at),
        "host": host,
    }
    return json.dumps(values, ensure_ascii=True).encode("ascii") + b"\n"


def _iso(seconds: float) -> str:
    """A moment in local time with its offset, to the second."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
