"""What became of a recording in one go."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath


class Result(StrEnum):
    """Where a go has left a recording."""

    TRANSCODED = "transcoded"
    VERBATIM = "verbatim"
    ADOPTED = "adopted"
    DISPOSED = "disposed"  # archived before; its source is gone now
    KEPT = "kept"  # archived before; its source stays, for it is protected
    WAITING = "waiting"
    GONE = "gone"
    FAILED = "failed"
    QUARANTINED = "quarantined"

    @property
    def is_trouble(self) -> bool:
        """Whether somebody should look."""
        return self in (Result.FAILED, Result.QUARANTINED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one recording, in words and bytes."""

    path: PurePosixPath
    result: Result
    reason: str
    source_size: int = 0  # bytes
    archive_size: int = 0  # bytes; of an archive made or adopted in this go
    rung: str = ""  # what encoded it in this go
    falls: tuple[str, ...] = ()  # the rungs that were to, and did not, each with why
