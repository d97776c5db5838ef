"""What to do about the traces of a process that died: pure, one trace at a time."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from archiverd.policy.model import Fingerprint, Recording, State
from archiverd.policy.naming import PartName

_SNAPSHOT_JOB = re.compile(r"([0-9a-f]+)s([0-9]{1,18})")  # `s` is no hexadecimal digit, so it can't be part of a job
CRASH_LIMIT = 5  # deaths in a row while working on one recording, until it is thought to be the cause
EXCUSED = 1  # death that is held against no recording: the power failed, as a rule
_OTHERS_S = 15.0  # a start needs a second or two to see what stands in the trees
_FIRST_S = 600.0
_LONGEST_S = 6 * 3600.0


class Trace(StrEnum):
    """What becomes of a recording whose job died."""

    REDO = "redo"  # back to waiting; its part is worth nothing
    PUT_OFF = "put off"  # back to waiting, for longer: it died often, and that may well be the machine's doing
    QUARANTINE = "quarantine"  # it has taken the process down too often
    FINISH = "finish"  # its archive stands as committed: sync it and go on


class Aside(StrEnum):
    """What becomes of a `.gone` file."""

    PUT_BACK = "put back"
    FINISH = "finish"  # its name is taken by now: the disposal of its recording goes on from where it stands
    LEAVE = "leave"  # nobody knows its name


@dataclass(frozen=True, slots=True)
class Deaths:
    """The latest deaths of the process within a job, as far as they were of one recording; kept in the catalog."""

    recording: int = 0  # its id
    in_a_row: int = 0  # of it, and of no other between
    blamed_to: int = 0  # how far the catalog's history had come when a recording was last quarantined for its deaths
    put_off: int = 0  # the id of the latest that was put off for its deaths

    def then(self, recording: int) -> Deaths:
        """With one more, of this recording."""
        return replace(self, recording=recording, in_a_row=self.in_a_row + 1 if recording == self.recording else 1)

    def to_text(self) -> str:
        """As the catalog keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str | None) -> Deaths:
        """What the catalog keeps; none where that is nothing, or makes no sense."""
        try:
            values = json.loads(text or "")
            return cls(*(int(values[name]) for name in ("recording", "in_a_row", "blamed_to", "put_off")))
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
            return cls()


def after_death(recording: Recording, deaths: Deaths, *, archive_stands: bool, others_fare_well: bool) -> Trace:
    """A recording found ACTIVE or PUBLISHING at a start: its job died with the process.

    `archive_stands`: a file of exactly the committed size and SHA-256 stands under the committed name. `deaths`: this
    one included. `others_fare_well`: an archive was made since a recording was last quarantined for its deaths.

    What kills the process (the kernel short of memory, a watchdog, a plug that is pulled) can't be told. A recording is
    the cause as far as one can see where the process dies of it again and again, and of no other. Where others die
    too, or where the last one that was blamed has changed nothing, it is the machine, and counts against no file.
    """
    if recording.state is State.PUBLISHING and archive_stands:
        return Trace.FINISH
    if recording.crashes + 1 < CRASH_LIMIT:
        return Trace.REDO
    return Trace.QUARANTINE if deaths.in_a_row >= CRASH_LIMIT and others_fare_well else Trace.PUT_OFF


def again_after_s(crashes: int) -> float:
    """How long a recording waits that has died so often.

    Not at all the first time (`EXCUSED`). Then for so long that a start sees the others, and they have
    their turn, twice as long each time; from the limit on from ten minutes to six hours, so that a machine that is at
    fault is not kept at it.
    """
    if crashes < CRASH_LIMIT:
        return _OTHERS_S * 2.0 ** (crashes - EXCUSED - 1) if crashes > EXCUSED else 0.0
    return min(_LONGEST_S, _FIRST_S * 2.0 ** min(crashes - CRASH_LIMIT, 10))


def removable_part(part: PartName, catalog_id: str) -> bool:
    """Whether a part found at a start, under the lock, may go: it is of this catalog, so no job can own it."""
    return part.catalog == catalog_id


class Removal(StrEnum):
    """What becomes of a recording that was claimed to be removed, and whose job died."""

    RELEASE = "release"  # it stands: nothing was removed
    FINISH = "finish"  # it does not: what the claim says is done


def after_removal(wanted: Fingerprint, seen: Fingerprint | None, *, others: bool) -> Removal:
    """A recording found claimed at a start, when all that stood aside has its name back.

    `wanted` is what was to be removed, `seen` what stands under its name. `others`: another recording was given that
    name, or has it as well; what stands there is then this one's only if it looks exactly as that. Inodes say
    nothing: somebody may have put a copy there.
    """
    if seen is None:
        return Removal.FINISH
    same = (seen.size, seen.mtime_ns) == (wanted.size, wanted.mtime_ns)
    return Removal.RELEASE if same or not others else Removal.FINISH


def owner_of_gone(job: str) -> tuple[str, int | None]:
    """The job a `.gone` name speaks of, and the id of the snapshot; None for the clip.

    A name that archiverd never gives is its own owner, which no recording has.
    """
    named = _SNAPSHOT_JOB.fullmatch(job)
    return (named[1], int(named[2])) if named else (job, None)


def snapshot_job(job: str, snapshot_id: int) -> str:
    """The name part of a snapshot that is set aside: its recording's job, and its own id."""
    return f"{job}s{snapshot_id}"


def aside_step(owner: Recording | None, *, name_free: bool) -> Aside:
    """A `.gone` file found at a start, of which `owner` is the recording whose job set it aside."""
    if owner is None:
        return Aside.LEAVE
    if name_free or owner.state is not State.ARCHIVED:
        return Aside.PUT_BACK
    return Aside.FINISH
