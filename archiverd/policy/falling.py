"""How a recording falls down the ladder, and when a rung rests that failed too often.

A rung that fails several clips in a row, each of them sound, is given a rest: a device that hangs takes minutes of
every clip that tries it. After the rest it is probed; where that goes well it is on trial, and one more failure sends
it to rest again, for twice as long.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Self

from archiverd.policy.rungs import Kind, Rung

FAILURES = 3  # in a row, of clips that are sound: the rung rests
LONGEST_REST_S = 6 * 3600.0

_ALLOWED = {
    "auto": tuple(Rung),
    "qsv": (Rung.QSV, Rung.QSV_ENCODE),
    "vaapi": (Rung.VAAPI,),
    "software": (Rung.SOFTWARE,),
}


def rungs_for(hardware: str) -> tuple[Rung, ...]:
    """The rungs the setting `hardware` allows, best first. No other is ever taken."""
    return _ALLOWED[hardware]


@dataclass(frozen=True, slots=True)
class Fall:
    """Why a rung did not make an archive."""

    rung: Rung
    reason: str
    for_good: bool = False  # it never takes such a clip
    here: bool = True  # it works on this machine, or did: to pass over another is nothing to tell of each clip

    def __str__(self) -> str:
        return f"{self.rung}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Breaker:
    """Whether a rung is used for a kind of footage. Times are seconds since the epoch."""

    failures: int = 0  # in a row
    rest_s: float = 0.0  # of its latest rest; 0 before the first
    rests_until: float | None = None  # None while it is used
    reason: str = ""  # of the latest failure
    remedy: str = ""

    def failed(self, reason: str, remedy: str, now: float, first_rest_s: float) -> Self:
        """After a failure that was not the clip's."""
        failures = self.failures + 1
        if failures < FAILURES:
            return replace(self, failures=failures, reason=reason, remedy=remedy)
        return self.opened(reason, remedy, now, first_rest_s)

    def opened(self, reason: str, remedy: str, now: float, first_rest_s: float) -> Self:
        """At rest: for `first_rest_s`, then each time for twice as long, up to six hours."""
        longest = max(first_rest_s, LONGEST_REST_S)
        rest_s = min(longest, self.rest_s * 2) if self.rest_s else first_rest_s
        return replace(self, rest_s=rest_s, rests_until=now + rest_s, reason=reason, remedy=remedy)

    def on_trial(self) -> Self:
        """After a rest, and a probe that went well: the next failure sends it to rest again."""
        return replace(self, failures=FAILURES - 1, rests_until=None)

    def rests(self, now: float) -> bool:
        """Whether the rest goes on. One that would last longer than it was to is over: the clock was set back."""
        return self.rests_until is not None and 0 < self.rests_until - now <= self.rest_s


class Footing(StrEnum):
    """Whether a rung is used."""

    USED = "used"
    RESTS = "rests"  # it worked, and failed too often
    UNUSABLE = "unusable"  # it did not work when it was probed
    UNTRIED = "untried"  # nothing has come down to it yet


@dataclass(frozen=True, slots=True)
class Standing:
    """How one rung stands for one kind of footage: for people, their programs, and the next run."""

    rung: Rung
    kind: Kind | None  # None where nothing has come down to the rung
    footing: Footing
    device: str = ""  # its render node
    breaker: Breaker = Breaker()

    @property
    def reason(self) -> str:
        """Why it is not used; empty where it is."""
        return "" if self.footing in (Footing.USED, Footing.UNTRIED) else self.breaker.reason

    def __str__(self) -> str:
        where = f" on {self.device}" if self.device else ""
        return f"{self.rung}{where}: {_WORDS[self.footing]}" + (f", {self.reason}" if self.reason else "")


_WORDS = {
    Footing.USED: "used",
    Footing.RESTS: "rests",
    Footing.UNUSABLE: "not used",
    Footing.UNTRIED: "not tried",
}

STANDINGS = "ladder"  # under this word the catalog keeps how the rungs stand


@dataclass(frozen=True, slots=True)
class Standings:
    """What a run leaves to the next: how each rung stands, and on which machine; another word is another one."""

    machine: str = ""
    rungs: tuple[Standing, ...] = ()

    def to_text(self) -> str:
        """As the catalog keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str | None) -> Standings:
        """What the catalog keeps; nothing where that makes no sense: it costs a probe."""
        try:
            values = json.loads(text or "{}")
            return cls(str(values["machine"]), tuple(map(_standing, values["rungs"])))
        except (ValueError, LookupError, TypeError):
            return cls()


def _standing(values: Mapping[str, Any]) -> Standing:  # Any: JSON's own value types
    kind = values["kind"]
    return Standing(
        Rung(values["rung"]), None if kind is None else Kind(kind), Footing(values["footing"]), str(values["device"]),
        _breaker(values["breaker"]),
    )  # fmt: skip


def _breaker(values: Mapping[str, Any]) -> Breaker:  # Any: as above
    until = values["rests_until"]
    return Breaker(
        int(values["failures"]), float(values["rest_s"]), None if until is None else float(until),
        str(values["reason"]), str(values["remedy"]),
    )  # fmt: skip


def standings_json(standings: Iterable[Standing]) -> list[dict[str, Any]]:  # Any: values of JSON
    """For programs: what is used, what rests and until when, and why."""
    return [
        {
            "rung": one.rung, "footage": one.kind, "footing": one.footing, "device": one.device, "reason": one.reason,
            "remedy": one.breaker.remedy if one.reason else "",
            "again_at": one.breaker.rests_until if one.footing is Footing.RESTS else None,
        }
        for one in standings
    ]  # fmt: skip
