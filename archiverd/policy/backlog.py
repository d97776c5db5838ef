"""Whether recordings come faster than they are archived: pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from archiverd.policy.problems import Problem, ProblemKind

DAY_S = 86_400.0  # cameras send more by day than by night
HOUR_S = 3600.0
_SHORT_S = 600.0
_LONG_S = 3600.0  # nobody is told of what waits for less

_REMEDY = "A device mends it (`archiverd probe` tells of this machine's), a quicker `preset`, or less `max_height`"


@dataclass(frozen=True, slots=True)
class Pace:
    """What came and went in some time."""

    came: int  # uploads
    archived: int  # recordings


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for its turn, and how that has changed lately."""

    waiting: int  # recordings whose time has come
    longest_s: float  # for so long the one waits whose time came first
    day: Pace  # of the last day
    hour: Pace

    @property
    def grows(self) -> bool:
        """Whether more comes than is archived, over a day and also now: not where an outage is being made up for."""
        return self.day.came > self.day.archived and self.hour.came >= self.hour.archived

    @property
    def over_in_s(self) -> float | None:
        """When nothing waits any more, at the pace of the last day; None where that is never.

        Where nothing waits for long, what comes is kept up with: then what waits now is done at the pace of the work.
        """
        if not self.waiting:
            return 0.0
        gained = self.day.archived - (self.day.came if self.longest_s >= _SHORT_S else 0)
        return self.waiting / gained * DAY_S if gained > 0 else None


def backlog_words(backlog: Backlog) -> str:
    """What waits for its turn, and for how long still, in one line; empty where nothing waits."""
    if not backlog.waiting:
        return ""
    over = backlog.over_in_s
    pace = f"in the last day {backlog.day.came} came and {backlog.day.archived} were archived"
    ends = "at that pace they become no fewer" if over is None else f"at that pace they are done in {_time(over)}"
    return f"{backlog.waiting} wait for their turn, the first for {_time(backlog.longest_s)}; {pace}, {ends}"


def _time(seconds: float) -> str:
    if seconds < 2 * HOUR_S:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / HOUR_S:.0f} hours" if seconds < 2 * DAY_S else f"{seconds / DAY_S:.0f} days"


def behind(backlog: Backlog, since_pause_s: float = math.inf) -> list[Problem]:
    """The problem there is where more comes than can be archived, and what waits has waited for long.

    `since_pause_s`: since the work paused last. That is told as such, and the hour after it says nothing of the pace.
    """
    if 0 <= since_pause_s <= HOUR_S or not backlog.grows or backlog.longest_s < _LONG_S:
        return []
    message = (
        f"recordings come faster than they are archived: {backlog.day.came} came in a day, and {backlog.day.archived} "
        f"were archived; {backlog.waiting} wait, the first for {_time(backlog.longest_s)}"
    )
    return [Problem(ProblemKind.BEHIND, "", message, _REMEDY)]
