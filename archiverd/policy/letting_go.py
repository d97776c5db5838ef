"""The last doubt before a file is removed: whether it is still exactly what was archived."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PROTECTED = "protected by its .keep file"  # why an archived recording's source stays


@dataclass(frozen=True, slots=True)
class LastLook:
    """What was seen of a file that was set aside to be removed."""

    same_fingerprint: bool
    being_written: bool | None  # None where the system does not tell
    same_content: bool | None = None  # by SHA-256; None where there is none to compare with


def doubt(look: LastLook) -> str:
    """Why the file may not go, in words; empty where nothing speaks against it."""
    if not look.same_fingerprint:
        return "it changed after it was archived"
    if look.being_written:
        return "somebody has it open for writing"
    if look.same_content is False:
        return "its content changed after it was archived"
    return ""


class Follows(StrEnum):
    """What becomes of a source that may not go."""

    NEW_RECORDING = "new recording"  # another fingerprint: the next look finds it as a recording of its own
    LATER = "later"  # somebody has it open: looked at again
    ARCHIVE_AGAIN = "archive again"  # other content under the same fingerprint: only its own row can archive it


def what_follows(look: LastLook) -> Follows:
    """What to do about a file that there is a doubt about."""
    if not look.same_fingerprint:
        return Follows.NEW_RECORDING
    return Follows.LATER if look.being_written else Follows.ARCHIVE_AGAIN
