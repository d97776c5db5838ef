"""Whether a file is a whole clip that nobody writes to any more, so that work on it may begin.

Nothing says for certain that an upload is over: FTP servers close a partial file just as they close a whole
one. So several weak signs are asked for together: it has been quiet, nobody has it open, it is complete by its
own account. What is not clean may still become so; only when it has not changed for long is it set aside.
"""

from __future__ import annotations

from dataclasses import dataclass

_LOOKED_AT_EVERY_S = 60.0  # at least


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a file, all at one moment."""

    quiet_s: float  # since it was last seen to change
    being_written: bool | None  # None where the system does not tell
    fault: str  # of its box walk; empty when clean
    has_video: bool
    open_ended: bool  # fragmented without an index: it may have been cut between two fragments


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds."""

    settle_s: float
    quarantine_after_s: float


@dataclass(frozen=True, slots=True)
class Admitted:
    """Work may begin."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again in `for_s` seconds."""

    reason: str
    for_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """It has not changed for so long that it will not become a clip."""

    reason: str


def quiet_s(mtime_s: float, seen_at: float, now: float) -> float:
    """How long a file has been quiet: by its own time where that is believable, else since it was first seen.

    A time stamp in the future (a camera that sets it, another machine's clock) says nothing about the past.
    """
    return now - min(mtime_s, seen_at)


def unsettled(quiet: float, patience: Patience) -> Wait | None:
    """The wait of a file that changed a moment ago; None when it has been quiet for long enough."""
    if quiet >= patience.settle_s:
        return None
    return Wait(f"written {max(quiet, 0):.0f} s ago, may still be uploading", patience.settle_s - max(quiet, 0))


def admit(look: Look, patience: Patience) -> Admitted | Wait | Refused:
    """Decide on one file."""
    again_s = min(max(patience.settle_s, look.quiet_s), _LOOKED_AT_EVERY_S)  # the longer it has been so, the longer
    if look.being_written:
        return Wait("is being written", again_s)
    waiting = unsettled(look.quiet_s, patience)
    if waiting is not None:
        return waiting
    fault = look.fault or ("" if look.has_video else "it has no video track")
    left = patience.quarantine_after_s - look.quiet_s
    if fault and left <= 0:
        return Refused(f"not a whole clip: {fault}")
    if fault:
        return Wait(f"not a whole clip yet: {fault}", min(left, again_s))
    if look.open_ended and left > 0:
        return Wait("fragmented without an index, may still be uploading", left)
    return Admitted()
