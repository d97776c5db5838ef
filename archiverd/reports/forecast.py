"""How far back footage reaches, and when room runs out."""

from __future__ import annotations

from collections.abc import Iterator

from archiverd.policy.forecast import YEARS, Forecast, Outlook, Reach
from archiverd.policy.model import Tree
from archiverd.policy.naming import printable
from archiverd.policy.words import days_words, size_words
from archiverd.reports.words import JsonObject, safe

NOT_KNOWN = (
    "How far back footage reaches, and when room runs out, is not known yet: a daemon looks soon after its start, and"
    " so does `archiverd cleanup`"
)

_DAY_S = 86_400.0


def forecast_lines(found: Forecast) -> list[str]:
    """What is to be expected: a line for each tree, with what is less than wanted and why, and one for each disk."""
    lines = []
    for tree in Tree:
        reaches = [one for one in found.reaches if one.tree is tree]
        if reaches:
            lines.append(f"{tree.capitalize()}: {', '.join(_reach(one, first=one is reaches[0]) for one in reaches)}")
            lines += _limits(reaches)
    return safe([*lines, *map(_outlook, found.outlooks)])


def _reach(one: Reach, *, first: bool) -> str:
    reaches = "has none" if one.is_empty else f"{'reaches back ' if first else ''}{_days(one.reach_s)}"
    wanted = "" if one.wanted_s is None else f" of {days_words(one.wanted_s)}{' wanted' if first else ''}"
    return f"{one.camera} {reaches}{wanted}"


def _limits(reaches: list[Reach]) -> Iterator[str]:
    """What keeps cameras from reaching back as far as wanted, each once."""
    for limit in dict.fromkeys(one.limit for one in reaches if one.limit):
        cameras = ", ".join(one.camera for one in reaches if one.limit == limit)
        yield f"  {cameras}: {limit}"


def _outlook(one: Outlook) -> str:
    words = f"{one.path}: {size_words(one.free)} free of {size_words(one.size)}"
    if one.in_days == 0:
        return f"{words}, less than the {size_words(one.floor)} there should be"
    if not one.is_known:
        return f"{words}; nothing is foretold before there is a day of history"
    if one.in_days is None:
        return f"{words}; at the present rates room does not run out within {YEARS} years"
    about = float(f"{one.in_days:.2g}")
    return f"{words}; at the present rates room runs out in about {days_words(about * _DAY_S)}, {one.then}"


def _days(seconds: float) -> str:
    """Whole days, and hours where there are less than two."""
    if seconds < 2 * _DAY_S:
        return days_words(seconds // 3600 * 3600)
    return days_words(seconds // _DAY_S * _DAY_S)


def forecast_json(found: Forecast) -> JsonObject:
    """What is to be expected, as JSON. Spans are in seconds; None is what is not wanted, or not foretold."""
    return {
        "reaches": [
            {
                "tree": one.tree, "camera": printable(one.camera), "reach_s": one.reach_s, "wanted_s": one.wanted_s,
                "limit": printable(one.limit), "is_empty": one.is_empty,
            }
            for one in found.reaches
        ],
        "disks": [
            {
                "path": printable(one.path), "bytes": one.size, "free": one.free, "floor": one.floor,
                "in_days": one.in_days, "is_known": one.is_known, "then": one.then,
            }
            for one in found.outlooks
        ],
    }  # fmt: skip
