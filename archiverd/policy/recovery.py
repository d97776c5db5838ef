"""What to do about the traces of a process that died: pure, one trace at a time."""

from __future__ import annotations

import re
from enum import StrEnum

from archiverd.policy.model import Fingerprint, Recording, State
from archiverd.policy.naming import PartName

_SNAPSHOT_JOB = re.compile(r"([0-9a-f]+)s([0-9]{1,18})")  # `s` is no hexadecimal digit, so it can't be part of a job
CRASH_LIMIT = 5  # deaths in a row while working on one recording, until it is thought to be the cause


class Trace(StrEnum):
    """What becomes of a recording whose job died."""

    REDO = "redo"  # back to waiting; its part is worth nothing
    QUARANTINE = "quarantine"  # it has taken the process down too often
    FINISH = "finish"  # its archive stands as committed: sync it and go on


class Aside(StrEnum):
    """What becomes of a `.gone` file."""

    PUT_BACK = "put back"
    FINISH = "finish"  # its name is taken by now: the disposal of its recording goes on from where it stands
    LEAVE = "leave"  # nobody knows its name


def after_death(recording: Recording, *, archive_stands: bool) -> Trace:
    """A recording found ACTIVE or PUBLISHING at a start: its job died with the process.

    `archive_stands`: a file of exactly the committed size and SHA-256 stands under the committed name.
    """
    if recording.state is State.PUBLISHING and archive_stands:
        return Trace.FINISH
    if recording.crashes + 1 >= CRASH_LIMIT:
        return Trace.QUARANTINE
    return Trace.REDO


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
