"""When the work pauses for a fault of the machine, and when it is tried again: pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

_FIRST_S = 5.0
_LONGEST_S = 300.0
SET_BACKS = 3  # clips in a row that could not be archived for want of room or a device: the next could not either


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is worked on, for the machine fails. Times are seconds since the epoch."""

    since: float
    message: str
    remedy: str
    retry_at: float
    wait_s: float  # before that

    @classmethod
    def begin(cls, message: str, remedy: str, now: float) -> Self:
        """The work has met a fault."""
        return cls(now, message, remedy, now + _FIRST_S, _FIRST_S)

    def again(self, message: str, remedy: str, now: float) -> Self:
        """It is still there: the next try comes after twice the time, up to five minutes."""
        wait_s = min(self.wait_s * 2, _LONGEST_S)
        return replace(self, message=message, remedy=remedy, retry_at=now + wait_s, wait_s=wait_s)

    def is_due(self, now: float) -> bool:
        """Whether it is time to try. Where the clock was set back, it is."""
        return not 0 < self.retry_at - now <= self.wait_s
