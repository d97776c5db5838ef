"""The last doubt before a file is removed: whether it is still exactly what was archived."""

from __future__ import annotations

from dataclasses import dataclass


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
