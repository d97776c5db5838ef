"""What a changed configuration means for a daemon that runs: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NEEDS_RESTART = ("directory", "output", "trash_root", "state_dir", "log_file")
"""Keys that say what a daemon is: another value is another daemon."""


@dataclass(frozen=True, slots=True)
class Change:
    """One key with its value before and now, as the file would hold them."""

    key: str
    before: str
    now: str

    def __str__(self) -> str:
        return f"{self.key}: {self.before} -> {self.now}"


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[Change, ...]:
    """What is another value, in the order of the keys."""
    return tuple(Change(key, before[key], now[key]) for key in now if before[key] != now[key])


def refused(changed: tuple[Change, ...]) -> tuple[Change, ...]:
    """Those of the changes that a reload can't carry out; with one of them nothing of the new configuration holds."""
    return tuple(change for change in changed if change.key in NEEDS_RESTART)
