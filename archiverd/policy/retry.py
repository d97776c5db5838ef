"""When a recording that failed is tried again, and when no more."""

from __future__ import annotations

from dataclasses import dataclass

_FIRST_S = 60.0
_LONGEST_S = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again in `for_s` seconds."""

    for_s: float


@dataclass(frozen=True, slots=True)
class Quarantine:
    """It has failed often enough."""


def after_failure(attempt: int, attempts: int, jitter: float) -> Retry | Quarantine:
    """What follows on the `attempt`-th failure of at most `attempts`.

    The wait doubles each time, from a minute to six hours; `jitter` (0 to 1) spreads it over half to all of
    that, so that what failed together does not come back together.
    """
    if attempt >= attempts:
        return Quarantine()
    return Retry(min(_LONGEST_S, _FIRST_S * 2 ** (attempt - 1)) * (0.5 + jitter / 2))
