"""When a cleanup is held until somebody confirms it, and when none is to be trusted at all: pure.

Rules that were changed by mistake, a program that begins on trees it has not cleaned before, a clock that leapt: each
would have much removed at once that was to stay. So the first plan after such a change is held where it takes more of
a tree than the owner allows (`max_removal`); one that takes less goes ahead, and is the new normal.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from datetime import datetime

from archiverd.policy.model import Tree
from archiverd.policy.retention import FIRST_CLOCK, CleanupPlan, Policy

_LEAP_S = 2 * 86_400.0  # a box that was off for so long, or a clock that leapt: one can't be told from the other
_BACK_S = 3600.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """By which rules, and when, a cleanup last went ahead; kept in the catalog as one word."""

    terms: str
    at: float  # seconds since the epoch

    def to_text(self) -> str:
        """As the catalog keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str | None) -> Accepted | None:
        """What the catalog keeps; None where that is nothing, or makes no sense."""
        try:
            values = json.loads(text or "")
            at = float(values["at"])
            return cls(str(values["terms"]), at) if math.isfinite(at) else None
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
            return None


@dataclass(frozen=True, slots=True)
class HeldPlan:
    """A plan that waits for its owner; kept in the catalog as one word."""

    why: str
    terms: str  # that are confirmed with it
    since: float  # seconds since the epoch
    files: int
    size: int  # bytes

    def to_text(self) -> str:
        """As the catalog keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str | None) -> HeldPlan | None:
        """What the catalog keeps; None where that is nothing, or makes no sense."""
        try:
            values = json.loads(text or "")
            return cls(
                str(values["why"]), str(values["terms"]), float(values["since"]), int(values["files"]),
                int(values["size"]),
            )  # fmt: skip
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
            return None


def terms_of(policy: Policy, min_free: int | None) -> str:
    """The rules as text: another text is another set of rules."""
    rules = [asdict(rule) for rule in policy.rules]
    return json.dumps([rules, policy.delete, policy.archives_for_room, min_free], sort_keys=True)


def clock_fault(now: float) -> str:
    """Why this clock tells no ages at all, in words; empty where it may be right."""
    return f"the clock of this machine says {_date(now)}" if now < FIRST_CLOCK else ""


def why_held(
    plan: CleanupPlan, terms: str, accepted: Accepted | None, max_removal: int, now: float, *, leaps: bool = True
) -> str:
    """Why a plan waits for its owner, in words; empty where it may go ahead. `max_removal`: per cent of a tree.

    `leaps`: a clock that leapt since the last cleanup is a change too. It can't be told from one that was long ago.
    """
    change = _change(terms, accepted, now if leaps or accepted is None else accepted.at)
    if not change:
        return ""
    much = [words for tree in Tree if (words := _much(plan, tree, max_removal))]
    return f"{change}, and {' and '.join(much)} would go (max_removal is {max_removal} %)" if much else ""


def _much(plan: CleanupPlan, tree: Tree, max_removal: int) -> str:
    """What goes of a tree, in words, where it is more than that; orphans, which no rule speaks of, apart."""
    going = [one for one in plan.removals if one.candidate.tree is tree and not one.candidate.due]
    size, there = sum(one.candidate.size for one in going), plan.holdings.of(tree).size
    if size * 100 <= there * max_removal:
        return ""
    share = round(100 * size / there) if there else 100
    return f"{share} % of the {tree} ({'to the trash' if all(one.to_trash for one in going) else 'for good'})"


def _change(terms: str, accepted: Accepted | None, now: float) -> str:
    if accepted is None:
        return "nothing was cleaned up here before"
    if accepted.terms != terms:
        return "the rules were changed"
    if not -_BACK_S <= now - accepted.at <= _LEAP_S:
        return f"the last cleanup was on {_date(accepted.at)}, by a clock that now says {_date(now)}"
    return ""


def _date(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f}"
