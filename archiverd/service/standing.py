"""How far all the work has come, in numbers and in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

UNKNOWN_BEFORE_S = 5.0  # a rate measured over less than this says nothing about the time left
NAME_WIDTH = 24  # holds a stamp with its ending (18), and the first letters of the camera


@dataclass(frozen=True, slots=True)
class CurrentFile:
    """The file being worked on. Fractions are 0..1."""

    name: str  # printable, one line
    size_bytes: int
    duration_s: float | None  # playing time
    began_s: float  # on the reporter's clock
    stage: str = ""
    fraction: float | None = None  # of the stage; None where it is not told
    furthest: float = 0.0  # the largest fraction of any stage so far: the overall bar never goes back
    speed: float | None = None  # playing time per time taken


@dataclass(frozen=True, slots=True)
class Standing:
    """How far all the work has come: what is shown, in numbers."""

    total_files: int
    total_bytes: int
    done_files: int = 0
    done_bytes: int = 0
    elapsed_s: float = 0.0
    current: CurrentFile | None = None

    @property
    def worked_bytes(self) -> float:
        """The bytes done, those of the current file by its fraction."""
        if self.current is None:
            return float(self.done_bytes)
        return self.done_bytes + self.current.size_bytes * self.current.furthest

    @property
    def fraction(self) -> float:
        """How much of all the work is done, 0..1: by bytes, or by files where all are empty."""
        if self.total_bytes > 0:
            return clamped(self.worked_bytes / self.total_bytes)
        return clamped(self.done_files / self.total_files) if self.total_files > 0 else 0.0

    @property
    def bytes_per_s(self) -> float | None:
        """The rate since the beginning; None before there is one."""
        if self.elapsed_s <= 0 or self.worked_bytes <= 0:
            return None
        return self.worked_bytes / self.elapsed_s

    @property
    def left_s(self) -> float | None:
        """The time left for all the work; None where it is not known."""
        return time_left_s(self.elapsed_s, self.worked_bytes, self.total_bytes)


def time_left_s(elapsed_s: float, done_bytes: float, total_bytes: float) -> float | None:
    """The time the rest takes at the rate so far, never negative; None while there is no rate to go by."""
    if total_bytes <= 0 or done_bytes <= 0 or elapsed_s < UNKNOWN_BEFORE_S:
        return None
    return max(0.0, total_bytes - done_bytes) * elapsed_s / done_bytes


def file_left_s(current: CurrentFile) -> float | None:
    """The time the stage of this file takes at its speed of now; None where fraction, speed or length is not known."""
    if current.duration_s is None or current.fraction is None or not current.speed:
        return None
    return max(0.0, current.duration_s * (1.0 - current.fraction) / current.speed)


def clamped(fraction: float) -> float:
    """The fraction within 0..1; 0 for what is no number."""
    if not fraction > 0.0:
        return 0.0
    return min(fraction, 1.0)


def shortened(name: str, width: int) -> str:
    """The name in at most `width` characters: left out of its middle, for stamp and ending stand at its end."""
    if len(name) <= width:
        return name
    tail = width * 3 // 4
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


def clock_text(seconds: float) -> str:
    """Hours, minutes and seconds: `0:01:10`."""
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"


def rate_text(bytes_per_s: float) -> str:
    """A rate in the decimal unit that leaves one to three digits before the point: `9.8 MB/s`."""
    for unit in ("B", "kB", "MB"):
        if bytes_per_s < 999.95:
            return f"{bytes_per_s:.1f} {unit}/s"
        bytes_per_s /= 1000.0
    return f"{bytes_per_s:.1f} GB/s"


def percent_text(fraction: float) -> str:
    """Whole per cent, rounded down: 100 only when all is done."""
    return f"{int(fraction * 100)} %"


def plain_line(standing: Standing) -> str:
    """All of it in one line, for logs: files, per cent, the current file, rate, elapsed, left."""
    parts = [f"{standing.done_files}/{standing.total_files} files", percent_text(standing.fraction)]
    if standing.current is not None:
        parts.append(" ".join(_of_current(standing.current)))
    if standing.bytes_per_s is not None:
        parts.append(rate_text(standing.bytes_per_s))
    parts.append(f"elapsed {clock_text(standing.elapsed_s)}")
    if standing.left_s is not None:
        parts.append(f"left {clock_text(standing.left_s)}")
    return ", ".join(parts)


def _of_current(current: CurrentFile) -> Iterator[str]:
    yield shortened(current.name, NAME_WIDTH)
    if current.stage:
        yield current.stage
    if current.fraction is not None:
        yield percent_text(current.fraction)
    if current.speed:
        yield f"{current.speed:.1f}x"
