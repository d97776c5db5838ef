"""ffmpeg's own account of how far it is: the lines of `-progress pipe:1`.

A block of `key=value` lines, ended by `progress=continue` or `progress=end`. `progress=end` comes on failure
too and says nothing. `out_time_us` and `out_time_ms` are both microseconds; values may be `N/A`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

_LARGEST = 2**63 - 1  # ffmpeg counts in 64 bits; a larger number would not fit a float


@dataclass(frozen=True, slots=True)
class Position:
    """How far ffmpeg is."""

    frames: int = 0
    out_time_s: float = 0.0
    size_bytes: int = 0
    speed: float | None = None  # times real time


class ProgressFeed:
    """Takes the lines one by one; `position` is that of the last whole block."""

    def __init__(self) -> None:
        self.position = Position()
        self._next = Position()

    def feed(self, line: str) -> bool:
        """Take one line; True when it ended a block that is further than the one before."""
        key, _, value = line.strip().partition("=")
        match key:
            case "frame":
                self._next = replace(self._next, frames=_whole(value, self._next.frames))
            case "out_time_us":
                micros = _whole(value, round(self._next.out_time_s * 1e6))
                self._next = replace(self._next, out_time_s=micros / 1e6)
            case "total_size":
                self._next = replace(self._next, size_bytes=_whole(value, self._next.size_bytes))
            case "speed":
                self._next = replace(self._next, speed=_speed(value))
            case "progress":
                return self._turn()
            case _:
                return False
        return False

    def _turn(self) -> bool:
        before, self.position = self.position, self._next
        after = self.position
        return (
            after.frames > before.frames or after.out_time_s > before.out_time_s or after.size_bytes > before.size_bytes
        )


def _whole(text: str, otherwise: int) -> int:
    try:
        return min(max(0, int(text)), _LARGEST)
    except ValueError:
        return otherwise


def _speed(text: str) -> float | None:
    try:
        speed = float(text.strip().removesuffix("x"))
    except ValueError:
        return None
    return speed if 0 < speed < 1e6 else None
