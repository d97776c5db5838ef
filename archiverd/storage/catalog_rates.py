"""What the catalog tells of the pace: how much waits, what came lately, and what was archived."""

from __future__ import annotations

from archiverd.policy.backlog import DAY_S, HOUR_S, Backlog, Pace
from archiverd.policy.model import State
from archiverd.storage.catalog_connection import CatalogConnection


class CatalogRates(CatalogConnection):
    """Questions that are asked each minute, and cost no more the more the catalog holds."""

    def backlog(self, now: float) -> Backlog:
        """What waits for its turn, and how that has changed lately. `now` in seconds since the epoch."""
        with self._faults():
            waiting = self._connection.execute(
                "SELECT COUNT(*) FROM recording WHERE state = ? AND not_before <= ?", (State.WAITING, now)
            ).fetchone()[0]
            first = self._connection.execute(
                "SELECT MAX(not_before, seen_at) FROM recording WHERE state = ? AND not_before <= ?"
                " ORDER BY not_before LIMIT 1",
                (State.WAITING, now),
            ).fetchone()
            longest_s = 0.0 if first is None else max(0.0, now - first[0])
            return Backlog(int(waiting), longest_s, self._pace(now - DAY_S), self._pace(now - HOUR_S))

    def _pace(self, since: float) -> Pace:
        """What came and went since. What was found when a tree was new did not come then: it was written before."""
        came = self._connection.execute(
            "SELECT COUNT(*) FROM recording WHERE id >= ? AND mtime_ns >= ?",
            (self._first_since("recording", "seen_at", since), int(since * 1e9)),
        ).fetchone()[0]
        archived = self._connection.execute(
            "SELECT COUNT(DISTINCT recording) FROM history WHERE id >= ? AND state = ?",
            (self._first_since("history", "at", since), State.ARCHIVED),
        ).fetchone()[0]
        return Pace(int(came), int(archived))

    def _first_since(self, table: str, column: str, since: float) -> int:
        """The id of the first row of that moment or later, where times rise with ids; one more than the last for none.

        By halves: no index is kept for it.
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
