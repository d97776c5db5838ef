"""When a recording that failed is tried again, and when no more."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

_FIRST_S = 60.0
_LONGEST_S = 6 * 3600.0
_REFUSED_S = 600.0  # somebody has to give archiverd's user a right


class Fault(StrEnum):
    """What went wrong with one recording."""

    TAKEN_AWAY = "taken away"  # its source is not there any more
    CHANGED = "changed"  # its source is not the file it was when the work began
    INVALID = "invalid"  # its source is not, and will not become, a clip
    REFUSED = "refused"  # archiverd's user has no right to it, or a directory above it can't be read
    FAILED = "failed"  # anything else


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again in `for_s` seconds (a run that is asked for tries at once); `counted` as one of its attempts."""

    for_s: float
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Quarantine:
    """It will not become better by itself: set it aside, where it stands, until somebody looks."""


@dataclass(frozen=True, slots=True)
class Vanished:
    """There is nothing left to work on."""


def after_fault(
    fault: Fault, *, attempt: int, attempts: int, settle_s: float, since_s: float, jitter: float
) -> Retry | Quarantine | Vanished:
    """What follows on a fault that befell the `attempt`-th try of a recording, `since_s` after it was first seen.

    Only what may be the file's own doing is counted: a file that changes is being written, and what one file
    refuses to archiverd's user all may refuse; an owner's mistake must not quarantine a year of footage.
    """
    match fault:
        case Fault.TAKEN_AWAY:
            return Vanished()
        case Fault.CHANGED:
            return Retry(settle_s, counted=False)
        case Fault.REFUSED:
            return Retry(min(max(settle_s, _REFUSED_S, since_s), _LONGEST_S), counted=False)
        case Fault.INVALID:
            return Quarantine()
        case Fault.FAILED:
            return after_failure(attempt, attempts, jitter)
        case unreachable:
            assert_never(unreachable)


def after_failure(attempt: int, attempts: int, jitter: float) -> Retry | Quarantine:
    """What follows on the `attempt`-th failure of at most `attempts`.

    The wait doubles each time, from a minute to six hours; `jitter` (0 to 1) spreads it over half to all of
    that, so that what failed together does not come back together.
    """
    if attempt >= attempts:
        return Quarantine()
    return Retry(min(_LONGEST_S, _FIRST_S * 2 ** (attempt - 1)) * (0.5 + jitter / 2))
