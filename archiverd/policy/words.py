"""Sizes and spans in words, the same wherever a person reads them."""

from __future__ import annotations

_HOUR_S = 3600.0
_DAY_S = 86_400.0
_UNITS = ("kB", "MB", "GB", "TB")


def size_words(size: float) -> str:
    """A number of bytes in decimal units, as disks are sold and rules are written."""
    if abs(round(size)) < 1000:
        return f"{round(size)} byte{'' if abs(round(size)) == 1 else 's'}"
    unit, *larger = _UNITS
    size /= 1000
    while larger and abs(round(size, 2)) >= 1000:
        unit, *larger = larger
        size /= 1000
    return f"{round(size, 2):.10g} {unit}"


def days_words(seconds: float) -> str:
    """A span in days, or in hours where it is shorter than two."""
    if seconds < 2 * _DAY_S:
        return f"{round(seconds / _HOUR_S, 1):g} hours"
    return f"{round(seconds / _DAY_S, 1):.10g} days"
