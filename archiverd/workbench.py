"""What a job works with, in one value: built once by the pipeline, handed to whoever does a part of the way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from archiverd.errors import NoSpaceError
from archiverd.ladder import Ladder
from archiverd.media.ffmpeg_progress import Position
from archiverd.media.process import Limits
from archiverd.media.source import Source
from archiverd.media.transcoder import Transcoder
from archiverd.media.verifier import Verifier
from archiverd.policy.admission import Patience
from archiverd.policy.encoding import archived_height
from archiverd.policy.model import Recording, Tree
from archiverd.policy.name_patterns import NamePatterns
from archiverd.policy.outcome import Outcome, Result
from archiverd.policy.room import is_under_floor, usable
from archiverd.policy.stop import StopToken
from archiverd.storage.catalog import Catalog
from archiverd.storage.file_manager import FileManager
from archiverd.storage.roots import Roots

_WITH_ARCHIVE = (Result.TRANSCODED, Result.VERBATIM, Result.ADOPTED)


class Display(Protocol):
    """Where a job shows how far it is."""

    def stage(self, text: str) -> None: ...

    def update(self, fraction: float, speed: float | None) -> None: ...


class FilesDisplay(Display, Protocol):
    """Where it is shown which of many files is looked at."""

    def begin(self, name: str, size_bytes: int, duration_s: float | None) -> None: ...

    def end(self, outcome: str) -> None: ...


MakeDisplay = Callable[[int, int], AbstractContextManager[FilesDisplay]]  # for so many files, of so many bytes together


def as_it_is(recording: Recording) -> Recording:
    """All that belongs to it is known."""
    return recording


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What a job goes by, beside what ffmpeg is told."""

    patience: Patience
    attempts: int
    delete: bool
    limits: Limits
    names: NamePatterns  # of the source tree
    archive_snapshots: bool = False  # beside the archive of their recording, instead of going with its source
    min_free: int | None = None  # bytes: under it, sources skip the trash; None where room is not looked at


@dataclass(frozen=True, slots=True)
class Workbench:
    """The tools of one archiverd; all belong to the thread that works with them."""

    catalog: Catalog
    files: FileManager
    roots: Roots
    transcoder: Transcoder
    ladder: Ladder
    verifier: Verifier
    settings: JobSettings
    stop: StopToken
    display: Display
    clock: Callable[[], float]  # seconds since the epoch
    with_snapshots: Callable[[Recording], Recording] = as_it_is  # adds those that came since the row was entered

    def height(self, source: Source) -> int:
        """The pixels an archive of this source is to be high."""
        return archived_height(source.info.video, self.transcoder.settings.max_height)

    def see_room(self, size: int, held: int = 0) -> None:
        """See that an archive of this size fits; `held` are the bytes that its part takes already.

        Raises: NoSpaceError.
        """
        room = self.files.free_room(Tree.ARCHIVE)
        left = usable(room.free + held, room.size)
        if room.size and size > left:  # some file systems count nothing
            root = self.files.roots[Tree.ARCHIVE]
            raise NoSpaceError(
                f"{root}: its archive may take {size} bytes, and {left} are free for it", advice="Make room there"
            )

    def has_room_in_trash(self) -> bool:
        """Whether the file system of the trash has the room it should have, where that is asked for."""
        if self.settings.min_free is None:
            return True
        room = self.files.free_room(Tree.TRASH)
        return not is_under_floor(room.free, room.size, self.settings.min_free)

    def show(self, source: Source) -> Callable[[Position], None]:
        """What shows ffmpeg's position in a clip on the display."""
        total_s = source.info.duration_s

        def show(position: Position) -> None:
            self.display.update(min(1.0, position.out_time_s / total_s) if total_s > 0 else 0.0, position.speed)

        return show


def outcome(recording: Recording, result: Result, reason: str) -> Outcome:
    """The outcome of a go that leaves the recording as it is given."""
    size = recording.fingerprint.size
    receipt = recording.receipt if result in _WITH_ARCHIVE else None
    if receipt is None:
        return Outcome(recording.path, result, reason, size)
    return Outcome(recording.path, result, reason, size, recording.archive_size, receipt.rung, receipt.falls)
