"""What the catalog tells of the pace: how much waits, what came lately, and what was archived."""

from __future__ import annotations

from archiverd.policy.backlog import DAY_S, HOUR_S, Backlog, Pace
from archiverd.policy.model import State
from archiverd.storage.catalog_connection import CatalogConnection


class CatalogRates(CatalogConnection):
    """Questions that are asked each minute: they cost what came in a day and what waits, not all that is held."""

    def backlog(self, now: float) -> Backlog:
        """What waits for its turn, and how that has changed lately. `now` in seconds since the epoch."""
        with self._faults():
            waiting = self._connection.execute(
                "SELECT COUNT(*) FROM recording WHERE state = ? AND not_before <= ?", (State.WAITING, now)
            ).fetchone()[0]
            # A file may bear a time of long ago: a thousand of the first to be due are asked since when they wait.
            first = self._connection.execute(
                "SELECT MIN(MAX(not_before, seen_at)) FROM (SELECT not_before, seen_at FROM recording"
                " WHERE state = ? AND not_before <= ? ORDER BY not_before LIMIT 1000)",
                (State.WAITING, now),
            ).fetchone()[0]
            longest_s = 0.0 if first is None else max(0.0, now - first)
            came, archived = self._came(now), self._archived(now)
        day, hour = (Pace(*both) for both in zip(came, archived, strict=True))
        return Backlog(int(waiting), longest_s, day, hour)

    def _came(self, now: float) -> tuple[int, int]:
        """The uploads of the last day, and of the last hour.

        What was found when a tree was new did not come then: it was written long before.
        """
        day, hour = self._connection.execute(
            "SELECT COUNT(*), COALESCE(SUM(seen_at >= ?), 0) FROM recording"
            " WHERE id >= ? AND seen_at BETWEEN ? AND ? AND mtime_ns >= (seen_at - ?) * 1e9",
            (now - HOUR_S, self._first_since("recording", "seen_at", now - DAY_S), now - DAY_S, now, DAY_S),
        ).fetchone()
        return int(day), int(hour)

    def _archived(self, now: float) -> tuple[int, int]:
        """The recordings that were archived in the last day, and in the last hour."""
        day, hour = self._connection.execute(
            "SELECT COUNT(DISTINCT recording), COUNT(DISTINCT CASE WHEN at >= ? THEN recording END) FROM history"
            " WHERE id >= ? AND at BETWEEN ? AND ? AND state = ?",
            (now - HOUR_S, self._first_since("history", "at", now - DAY_S), now - DAY_S, now, State.ARCHIVED),
        ).fetchone()
        return int(day), int(hour)

    def _first_since(self, table: str, column: str, since: float) -> int:
        """An id from which on the rows of that moment and later are found, where times rise with ids.

        By halves: no index is kept for it. After a clock that was ahead it may be of a row before, or of one too late.
        """
        low, high = 1, int(self._connection.execute(f"SELECT COALESCE(MAX(id), 0) FROM {table}").fetchone()[0]) + 1  # noqa: S608  (our own words)
        while low < high:
            middle = (low + high) // 2
            row = self._connection.execute(
                f"SELECT {column} FROM {table} WHERE id >= ? ORDER BY id LIMIT 1",  # noqa: S608  (as above)
                (middle,),
            ).fetchone()
            if row[0] < since:
                low = middle + 1
            else:
                high = middle
        return low
