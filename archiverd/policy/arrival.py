"""What follows on the sight of a clip, or of its absence, at a path of the source tree: pure, one path at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archiverd.policy.letting_go import PROTECTED
from archiverd.policy.model import FoundFile, Recording, State

NEW = "new"
_EXPECTED = (State.WAITING, State.QUARANTINED)  # their sources should be in the tree
_OVER = (State.GONE, State.REMOVED)  # nothing is promised of them: a source that stands is to be archived


@dataclass(frozen=True, slots=True)
class Settling:
    """How long a file must have been quiet before it is looked at, in seconds."""

    seen_s: float  # that was found by a scan
    closed_s: float  # whose writer has closed it

    def due(self, clip: FoundFile, now: float, *, closed: bool) -> float:
        """When a clip will have been quiet for long enough. A time stamp in the future says nothing."""
        return min(clip.fingerprint.mtime_ns / 1e9, now) + (self.closed_s if closed else self.seen_s)


@dataclass(frozen=True, slots=True)
class Offer:
    """Enter it, to be taken up at `due`."""

    reason: str
    due: float


@dataclass(frozen=True, slots=True)
class Hasten:
    """It is known and waits: take it up at `due` already."""

    row: Recording
    due: float


@dataclass(frozen=True, slots=True)
class TakeUpAgain:
    """It was archived and let go of, and stands again."""

    row: Recording


@dataclass(frozen=True, slots=True)
class Nothing:
    """What is to be done about it is known, or is being done."""


Step = Offer | Hasten | TakeUpAgain | Nothing


def on_sight(
    clip: FoundFile, rows: Sequence[Recording], settling: Settling, now: float, *, closed: bool, protected: bool
) -> Step:
    """What follows on a clip that stands at a path; `rows` are those of that path.

    One that failed keeps its time: only a new content, or somebody who asks, has it tried before.
    """
    row = next((row for row in rows if row.fingerprint == clip.fingerprint), None)
    if row is None or row.state in _OVER:
        return Offer(NEW, settling.due(clip, now, closed=closed))
    if row.state is State.WAITING and closed and not row.attempts:
        due = settling.due(clip, now, closed=True)
        return Hasten(row, due) if due < row.not_before else Nothing()
    if row.state is State.ARCHIVED and row.reason == PROTECTED and not protected:
        return Hasten(row, now)
    if row.state is State.DONE and not protected:
        return TakeUpAgain(row)
    return Nothing()


def missed(rows: Sequence[Recording]) -> list[Recording]:
    """Those that wait for their turn, or for somebody to look, where nothing stands at their path.

    Not those that are just being let go of: they are set aside meanwhile.
    """
    return [row for row in rows if row.state in _EXPECTED and not row.job]
