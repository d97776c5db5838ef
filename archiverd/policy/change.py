"""A state that a recording was committed to, as a line of the log and as its fields. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from archiverd.policy.model import ArchiveKind, Receipt, Recording, State
from archiverd.policy.naming import printable


@dataclass(frozen=True, slots=True)
class Before:
    """What is left behind: the state, why it was in it, and the job that held the recording."""

    state: State
    reason: str
    job: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a recording's history. `before` is None where the recording was not known."""

    recording: Recording  # as it is committed now
    before: Before | None
    trouble: bool = False  # somebody may have to look

    @property
    def made_archive(self) -> bool:
        """Whether this is the moment from which there is an archive."""
        new = self.before is not None and self.before.state not in (State.ARCHIVED, State.DONE)
        return new and self.recording.state is State.ARCHIVED and self.recording.receipt is not None

    @property
    def is_repeated(self) -> bool:
        """Whether it says no more than what stood there already."""
        said = (self.recording.state, self.recording.reason)
        return self.before is not None and (self.before.state, self.before.reason) == said and not self.trouble


def words(change: Change) -> str:
    """The line of the log."""
    recording, receipt = change.recording, change.recording.receipt
    path = printable(recording.path)
    if change.made_archive and receipt is not None:
        return f"{path}: {_archived(recording, receipt)}"
    said = "quarantined, it stays where it is" if recording.state is State.QUARANTINED else recording.state
    return f"{path}: {said}: {recording.reason}" if recording.reason else f"{path}: {said}"


def fields(change: Change) -> dict[str, str]:
    """What the line is about, by the names the log knows; only what there is."""
    recording, receipt = change.recording, change.recording.receipt
    found = {
        "recording": printable(recording.path),
        "camera": recording.name.camera,
        "job": recording.job or (change.before.job if change.before else ""),
        "state": str(recording.state),
        "reason": recording.reason,
        "rung": receipt.rung if change.made_archive and receipt is not None else "",
    }
    return {name: value for name, value in found.items() if value}


def made_by(receipt: Receipt) -> str:
    """How an archive was made, in words: why the recording is archived now."""
    if receipt.kind is ArchiveKind.VERBATIM:
        return f"the original bytes: {receipt.reason}"
    device = f" on {receipt.device}" if receipt.device else ""
    falls = "".join(f"; fell from {fall}" for fall in receipt.falls)
    return f"transcoded by {receipt.rung}{device}, {receipt.frames} frames{falls}"


def _archived(recording: Recording, receipt: Receipt) -> str:
    other_name = "" if recording.archive == recording.path else f" as {printable(recording.archive or '')}"
    by = f" by {receipt.rung}" if receipt.rung else ""
    on = f" on {receipt.device}" if receipt.device else ""
    # What the words before tell already is not told twice.
    why = receipt.reason if recording.reason in (made_by(receipt), receipt.reason) else recording.reason
    sizes = f"{receipt.archive.size} of {receipt.source.size} bytes"
    return f"archived{other_name} ({receipt.kind}{by}{on}): {sizes}{f'; {why}' if why else ''}"
