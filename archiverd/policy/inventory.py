"""What stood in archive and trash when that was looked at last, as one text for the catalog: pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from archiverd.policy.model import Tree

_VERSION = 1
_LARGEST = 2**63  # what file systems count to


@dataclass(frozen=True, slots=True)
class Span:
    """So many files, of so many bytes, and from when they are. Seconds since the epoch."""

    files: int
    size: int
    oldest_at: float
    newest_at: float


@dataclass(frozen=True, slots=True)
class Inventory:
    """What stood in archive and trash when that was looked at last; kept in the catalog as one word."""

    at: float  # seconds since the epoch
    cameras: Mapping[tuple[Tree, str], Span]
    days: Mapping[Tree, Mapping[int, int]]  # bytes by the day (UTC, since the epoch) from which their age counts

    def to_text(self) -> str:
        """As the catalog keeps it. ASCII: a name that is not UTF-8 survives as escaped surrogates."""
        cameras = [
            [tree, camera, span.files, span.size, span.oldest_at, span.newest_at]
            for (tree, camera), span in self.cameras.items()
        ]
        days = {tree: list(map(list, of_tree.items())) for tree, of_tree in self.days.items()}
        return json.dumps({"format": _VERSION, "at": self.at, "cameras": cameras, "days": days}, ensure_ascii=True)

    @classmethod
    def from_text(cls, text: str | None) -> Self | None:
        """What the catalog keeps; None where that is nothing, of another version, or makes no sense."""
        try:
            values = json.loads(text or "")
            if values["format"] != _VERSION:
                return None
            cameras = {(Tree(tree), _text(camera)): _span(*rest) for tree, camera, *rest in values["cameras"]}
            days = {Tree(tree): _days(of_tree) for tree, of_tree in values["days"].items()}
            return cls(_moment(values["at"]), cameras, days)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
            return None


def _span(files: Any, size: Any, oldest_at: Any, newest_at: Any) -> Span:  # Any: JSON's own value types
    return Span(_count(files), _count(size), _moment(oldest_at), _moment(newest_at))


def _days(pairs: Iterable[Any]) -> dict[int, int]:
    return {_whole(day): _count(size) for day, size in pairs}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _whole(value: Any, least: int = -_LARGEST) -> int:
    if type(value) is not int or not least <= value < _LARGEST:
        raise ValueError(value)
    return value


def _count(value: Any) -> int:
    return _whole(value, 0)


def _moment(value: Any) -> float:
    moment = float(value)
    if not math.isfinite(moment):
        raise ValueError(value)
    return moment
