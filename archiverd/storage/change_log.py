"""ChangeLog: each committed change of a recording as one line of the log, with fields to look it up by."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from operator import attrgetter

from archiverd.policy.change import Change, fields, words
from archiverd.policy.model import FoundFile, State
from archiverd.policy.naming import printable

log = logging.getLogger(__name__)


class ChangeLog:
    """Tells the changes of one catalog; belongs to the thread the catalog belongs to.

    A recording that is looked at again and again while its upload goes on (claimed, and back to waiting for the same
    reason) is told at the level DEBUG: nothing about it has changed.
    """

    def __init__(self) -> None:
        self._waits: dict[int, str] = {}  # why those wait that were looked at, by id

    def tell(self, change: Change) -> None:
        """Write the line. Raises nothing."""
        level = self._level(change)
        if log.isEnabledFor(level):
            log.log(level, "%s", words(change), extra=fields(change))

    def tell_found(self, clips: Sequence[FoundFile]) -> None:
        """Write one line for many recordings that a scan found at once. Raises nothing."""
        first = min(clips, key=attrgetter("name.taken_at"))
        log.info("%d recordings were found and wait for their turn, the first is %s", len(clips), printable(first.key))

    def _level(self, change: Change) -> int:
        if change.trouble or change.recording.state is State.QUARANTINED:
            self._waits.pop(change.recording.id, None)
            return logging.WARNING
        news = not change.is_repeated and not self._is_looked_at_again(change)
        return logging.INFO if news else logging.DEBUG

    def _is_looked_at_again(self, change: Change) -> bool:
        recording = change.recording
        waited = self._waits.get(recording.id)
        if recording.state is State.ACTIVE:
            return waited is not None
        if recording.state is State.WAITING and change.before is not None and change.before.state is State.ACTIVE:
            self._waits[recording.id] = recording.reason
            return waited == recording.reason
        self._waits.pop(recording.id, None)
        return False
