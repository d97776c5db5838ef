"""A clock that a test sets, for programs that it starts: libfaketime, as Debian packs it, preloaded into each of them.

Only the time of day is another. What counts seconds (CLOCK_MONOTONIC) goes on as the kernel has it, as on a machine
whose clock is set. Files get their times from the kernel too, or from the test.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

_LIBRARY = "libfaketimeMT.so.1"


class Clock:
    """The clock of every program that this process starts from now on. It goes right until it is set."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._file = base / "faketime"
        self.ahead_s = 0
        self.leap(0)
        for name, value in {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",  # the file is read at each question for the time
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # its name in earlier versions
            "FAKETIME_DISABLE_SHM": "1",
            "NO_FAKE_STAT": "1",
        }.items():
            monkeypatch.setenv(name, value)

    @property
    def now(self) -> float:
        return time.time() + self.ahead_s

    def leap(self, seconds: float) -> None:
        """Set it forward, or back."""
        self.ahead_s += int(seconds)
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{self.ahead_s:+d}\n")
        fresh.replace(self._file)

    def say(self, moment: float) -> None:
        """Set it to a moment, in seconds since the epoch."""
        self.leap(moment - self.now)

    def set_right(self) -> None:
        self.leap(-self.ahead_s)


def _library() -> Path:
    found = next(iter(Path("/usr/lib").glob(f"**/faketime/{_LIBRARY}")), None)
    assert found is not None, f"{_LIBRARY} is missing: install Debian's faketime, as ./dev setup does"
    return found


def written_at(path: Path, moment: float) -> None:
    os.utime(path, (moment, moment))
