"""What the catalog says of what may go, and keeps of what went: archives, the trash, and rows that are over.

Claims keep whoever removes archives and whoever archives apart: a row that is DONE, or QUARANTINED, and has a job is
being let go of, and nobody else moves it. `not_before` of a row that is over (REMOVED, GONE) is when it was last
touched.

A `+` before a column keeps SQLite from going by its index: that of the states leads through a million rows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from archiverd.policy.model import Fingerprint, Held, Place, Recording, State, Trashed, Tree
from archiverd.storage.catalog_rates import CatalogRates
from archiverd.storage.catalog_rows import read_held, read_path, read_trashed, reason_text, trashed_values

_PAGE = 1000  # rows
_TOUCHED = 2000  # lines of the history
_DAY_S = 86400.0
_COUNTING = (State.ACTIVE, State.PUBLISHING, State.ARCHIVED)  # rows of these may still need the archive they name
_IN_SOURCE = (State.WAITING, State.ACTIVE, State.PUBLISHING, State.ARCHIVED, State.QUARANTINED)

_SAME_ARCHIVE = "archive = (SELECT archive FROM recording WHERE id = ?)"
_LAST_SAID = "(SELECT reason FROM history WHERE history.recording = recording.id ORDER BY history.id DESC LIMIT 1)"
_TRASH_COLUMNS = "path, ino, size, mtime_ns, camera, origin_tree, origin, reason, trashed_at, recording"


class CatalogRetention(CatalogRates):
    """What is asked and noted when something is removed by the rules, or taken back."""

    # -- the trash ----------------------------------------------------------------------------------------

    def trashed(self, one: Trashed, now: float) -> None:
        """Enter what was moved to the trash; what is known to have lain at that place before is replaced."""
        with self._writing() as connection:
            self._enter_trashed(one)
            connection.execute(
                "INSERT INTO history (recording, at, state, reason) SELECT id, ?, state, ? FROM recording WHERE id = ?",
                (now, reason_text(f"moved from the {one.origin.tree} tree to the trash: {one.reason}"), one.recording),
            )

    def trash_in(self, directory: PurePosixPath) -> dict[str, Trashed]:
        """What is known of the files directly in one directory of the trash, by their names."""
        question = f"SELECT {_TRASH_COLUMNS} FROM trash WHERE {{where}} AND gone_at IS NULL"  # noqa: S608  (this module's own words)
        rows = self._rows_in(question, "path", directory)
        with self._making_sense():
            return {one.path.name: one for one in map(read_trashed, rows)}

    def trash_all(self) -> Iterator[Trashed]:
        """All that is known to lie in the trash, oldest first; read in pages, so that who commits need not wait."""
        last: tuple[float, bytes] = (float("-inf"), b"")
        while True:
            with self._faults():
                rows = self._connection.execute(
                    f"SELECT {_TRASH_COLUMNS} FROM trash WHERE gone_at IS NULL AND (trashed_at, path) > (?, ?)"  # noqa: S608  (as above)
                    " ORDER BY trashed_at, path LIMIT ?",
                    (*last, _PAGE),
                ).fetchall()
            with self._making_sense():
                page = [read_trashed(row) for row in rows]
            if not page:
                return
            last = (rows[-1]["trashed_at"], rows[-1]["path"])
            yield from page

    def trash_at(self, path: PurePosixPath) -> Trashed | None:
        """What is known to lie at a place in the trash."""
        with self._faults():
            row = self._connection.execute(
                f"SELECT {_TRASH_COLUMNS} FROM trash WHERE path = ? AND gone_at IS NULL",  # noqa: S608  (as above)
                (os.fsencode(path),),
            ).fetchone()
        with self._making_sense():
            return None if row is None else read_trashed(row)

    def trash_like(self, mark: Fingerprint) -> list[PurePosixPath]:
        """Where files of this fingerprint are known to lie in the trash. Looks at all that lies there."""
        with self._faults():
            rows = self._connection.execute(
                "SELECT path FROM trash WHERE ino = ? AND size = ? AND mtime_ns = ? AND gone_at IS NULL",
                (mark.ino, mark.size, mark.mtime_ns),
            ).fetchall()
        with self._making_sense():
            return [read_path(row["path"]) for row in rows]

    def trash_of(self, recording: int) -> list[Trashed]:
        """What of a recording is known to lie in the trash, oldest first."""
        with self._faults():
            rows = self._connection.execute(
                f"SELECT {_TRASH_COLUMNS} FROM trash WHERE recording = ? AND gone_at IS NULL ORDER BY trashed_at, path",  # noqa: S608  (as above)
                (recording,),
            ).fetchall()
        with self._making_sense():
            return [read_trashed(row) for row in rows]

    def trash_gone(self, paths: Iterable[PurePosixPath], why: str, now: float) -> None:
        """Note that files were removed from the trash, in one commit. What is not known to lie there is passed over."""
        gone = list(paths)
        with self._writing() as connection:
            connection.executemany(
                "INSERT INTO history (recording, at, state, reason)"
                " SELECT recording.id, ?1, recording.state, CASE"
                "  WHEN recording.disposed_to = trash.path THEN 'its source in the trash was removed: ' || ?2"
                "  WHEN EXISTS (SELECT 1 FROM snapshot WHERE snapshot.disposed_to = trash.path)"
                "   THEN 'its snapshot in the trash was removed: ' || ?2"
                "  WHEN trash.origin_tree = 'archive' THEN 'its archive in the trash was removed: ' || ?2"
                "  ELSE 'its file in the trash was removed: ' || ?2 END"
                " FROM trash JOIN recording ON recording.id = trash.recording"
                " WHERE trash.path = ?3 AND trash.gone_at IS NULL",
                ((now, reason_text(why), os.fsencode(path)) for path in gone),
            )
            self._close_trashed(gone, why, now)
            self._let_go_of_places(gone, now)

    def trash_restored(self, one: Trashed, to: Place, now: float) -> None:
        """Note that a file was taken back from the trash, and where it stands now.

        The archive of a recording is its archive again where that was REMOVED, and that of others of which it is known
        to be the same, by its SHA-256. A source is found by the next look.
        """
        words = f"taken back from the trash as {os.fspath(to.path)!r} in the {to.tree} tree"
        lay = os.fsencode(one.path)
        with self._writing() as connection:
            row = connection.execute("SELECT * FROM recording WHERE id = ?", (one.recording,)).fetchone()
            self._close_trashed([one.path], words, now)
            self._let_go_of_places([one.path], now, restored=to)
            if row is None:
                return
            again = []
            if to.tree is Tree.ARCHIVE and one.origin.tree is Tree.ARCHIVE and row["state"] == State.REMOVED:
                again = connection.execute(
                    "SELECT id FROM recording WHERE archive = ?1 AND state = ?2 AND archive_size = ?3"
                    " AND archive_sha256 = ?4 AND ?1 = ?5 AND ?3 = ?6 AND (archive_sha256 <> '' OR id = ?7)",
                    (row["archive"], State.REMOVED, row["archive_size"], row["archive_sha256"],
                     os.fsencode(one.origin.path), one.fingerprint.size, row["id"]),
                ).fetchall()  # fmt: skip
            connection.executemany(
                "UPDATE recording SET state = ?, reason = ?, archive = ?, not_before = ? WHERE id = ?",
                ((State.DONE, reason_text(words), os.fsencode(to.path), now, of["id"]) for of in again),
            )
            told = {int(of["id"]): State.DONE for of in again} or {int(row["id"]): State(row["state"])}
            what = "its archive" if again else "its source" if row["disposed_to"] == lay else "a file of it"
            for identity, state in told.items():
                self._history(identity, state, f"{what} was {words}", now)

    def is_given_up(self, recording: Recording) -> bool:
        """Whether the source of a recording lies in the trash because it was let go of without an archive."""
        place = None if recording.disposed_to is None else os.fsencode(recording.disposed_to)
        with self._faults():
            row = self._connection.execute(
                "SELECT given_up FROM trash WHERE path = ? AND recording = ? AND gone_at IS NULL",
                (place, recording.id),
            ).fetchone()
        return row is not None and bool(row["given_up"])

    def _enter_trashed(self, one: Trashed, *, renew: bool = True, given_up: bool = False) -> None:
        """Enter a file in the trash. `renew`: also where the same is known to lie there, else it keeps its time."""
        self._connection.execute(_enter_words(renew=renew), (*trashed_values(one), given_up))

    def _close_trashed(self, paths: Iterable[PurePosixPath], why: str, now: float) -> None:
        self._connection.executemany(
            "UPDATE trash SET gone_at = ?, gone_why = ? WHERE path = ? AND gone_at IS NULL",
            ((now, reason_text(why), os.fsencode(path)) for path in paths),
        )

    def _let_go_of_places(self, paths: Sequence[PurePosixPath], now: float, restored: Place | None = None) -> None:
        """Have no row say any more that its source or snapshot lies at these places in the trash.

        Another file may be given the place. A row that is over was touched by that.
        """
        names = [(os.fsencode(path),) for path in paths]
        self._connection.executemany(
            "UPDATE recording SET disposed_to = NULL, not_before = CASE WHEN state IN ('removed', 'gone') THEN ?"
            " ELSE not_before END WHERE disposed_to = ?",
            ((now, *name) for name in names),
        )
        change, values = "disposed_to = NULL", tuple[bytes, ...]()
        if restored is not None and restored.tree is Tree.SOURCE:
            change = "disposed_to = NULL, disposed = 0"
        elif restored is not None:
            change, values = "disposed_to = ?, disposed_in = 'archive'", (os.fsencode(restored.path),)
        self._connection.executemany(
            f"UPDATE snapshot SET {change} WHERE disposed_to = ? AND disposed_in = 'trash'",  # noqa: S608  (as above)
            ((*values, *name) for name in names),
        )

    # -- archives -----------------------------------------------------------------------------------------

    def archives_in(self, directory: PurePosixPath) -> dict[str, Held]:
        """What is known of the files directly in one directory of the archive, by their names.

        Of several rows that count on one archive it is one that is not DONE, where there is such a one; of several
        snapshots one of a row that is DONE.
        """
        counting = self._rows_in(
            "SELECT archive, id, state, camera, taken_at, seen_at, archive_size FROM recording"
            " WHERE {where} AND +state NOT IN ('removed', 'gone')",
            "archive",
            directory,
        )
        beside = self._rows_in(
            "SELECT snapshot.disposed_to, recording.id, state, camera, taken_at, seen_at, snapshot.size"
            " FROM snapshot JOIN recording ON recording.id = snapshot.recording"
            " WHERE {where} AND disposed_in = 'archive'",
            "snapshot.disposed_to",
            directory,
        )
        held: dict[str, Held] = {}
        with self._making_sense():
            for name, one in read_held(beside, _length(directory), is_snapshot=True):
                if name not in held or held[name].state is not State.DONE:
                    held[name] = one
            for name, one in read_held(counting, _length(directory), is_snapshot=False):
                if name not in held or held[name].is_snapshot or held[name].state is State.DONE:
                    held[name] = one
        return held

    def _rows_in(self, question: str, column: str, directory: PurePosixPath) -> list[Any]:  # Any: SQLite's own types
        where, values = _directly_in(column, directory)
        with self._faults():
            return self._connection.execute(question.format(where=where), values).fetchall()

    def claim_removal(self, wanted: Sequence[tuple[int, str]], job: str) -> set[int]:
        """Make `job` the owner of the archives of these recordings, each with the reason it is to go; one commit.

        Returns the ids of those it owns now: DONE, no other job's, and nothing that is not done with counts on
        the archive. All that are DONE with one archive are claimed together.
        """
        by_reason: dict[str, list[int]] = {}
        for identity, reason in wanted:
            by_reason.setdefault(reason_text(reason), []).append(identity)
        with self._writing() as connection:
            for text, ids in by_reason.items():
                connection.execute(
                    "UPDATE recording SET job = ?1, reason = ?2 WHERE +state = ?4 AND job = '' AND archive IN"  # noqa: S608  (as above)
                    f" (SELECT archive FROM recording WHERE id {_AMONG} AND +state = ?4 AND job = '')"
                    f" AND {_NOBODY_ELSE}",
                    (job, text, json.dumps(ids), State.DONE, *_COUNTING),
                )
            return self._owned({identity for identity, _ in wanted}, job)

    def _owned(self, wanted: set[int], job: str) -> set[int]:
        rows = self._connection.execute(
            "SELECT id FROM recording WHERE job = ? AND job <> '' AND +state = ?", (job, State.DONE)
        )
        return wanted & {int(row["id"]) for row in rows}

    def removed(
        self, gone: Sequence[tuple[int, Trashed | None]], job: str, now: float,
        beside: Sequence[tuple[PurePosixPath, Trashed | None]] = (),
    ) -> None:  # fmt: skip
        """Note that archives are gone which `job` had claimed: each recording, and what lies in the trash of it.

        All that were DONE with one archive are REMOVED with it, each for the reason it was claimed with. `beside` names
        the snapshots in the archive tree that went, each with what lies in the trash of it. One commit, and no line in
        the log for each: whoever removes them tells of them.
        """
        with self._writing() as connection:
            claimed = (
                "WHERE job = ?1 AND +state = ?2 AND archive IN"  # noqa: S608  (as above)
                f" (SELECT archive FROM recording WHERE id {_AMONG})"
            )
            values = (job, State.DONE, json.dumps([identity for identity, _ in gone]), now, State.REMOVED)
            connection.execute(
                "INSERT INTO history (recording, at, state, reason)"  # noqa: S608  (as above)
                f" SELECT id, ?4, ?5, reason FROM recording {claimed}",
                values,
            )
            connection.execute(f"UPDATE recording SET state = ?5, job = '', not_before = ?4 {claimed}", values)  # noqa: S608  (as above)
            moved = [one for one in (*(one for _, one in gone), *(one for _, one in beside)) if one is not None]
            connection.executemany(_enter_words(renew=True), ((*trashed_values(one), False) for one in moved))
            connection.executemany(
                "UPDATE snapshot SET disposed_to = ?, disposed_in = 'trash'"
                " WHERE disposed_to = ? AND disposed_in = 'archive'",
                (
                    (None if lies is None else os.fsencode(lies.path), os.fsencode(stood))
                    for stood, lies in beside
                ),
            )  # fmt: skip

    def release_removal(self, ids: Iterable[int], job: str) -> None:
        """Give back what was claimed and not removed after all: it is again what its history says of it."""
        with self._writing() as connection:
            connection.executemany(
                f"UPDATE recording SET job = '', reason = COALESCE({_LAST_SAID}, reason)"  # noqa: S608  (as above)
                f" WHERE job = ? AND +state IN (?, ?) AND (id = ? OR {_SAME_ARCHIVE})",
                ((job, State.DONE, State.QUARANTINED, identity, identity) for identity in ids),
            )

    def claimed_removals(self) -> list[Recording]:
        """What is being let go of now, or was left so by a process that died."""
        return self._select("job > '' AND job <> '' AND +state IN (?, ?) ORDER BY +id", (State.DONE, State.QUARANTINED))

    def counts_on(self, archive: PurePosixPath, other: Recording) -> bool:
        """Whether a recording of another job, or of none, has this archive, or is about to."""
        with self._faults():
            row = self._connection.execute(
                "SELECT EXISTS (SELECT 1 FROM recording WHERE archive = ? AND job <> ? AND +state IN (?, ?, ?, ?))",
                (os.fsencode(archive), other.job, State.DONE, *_COUNTING),
            ).fetchone()
        return bool(row[0])

    def _is_being_removed(self, archive: PurePosixPath) -> bool:
        row = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM recording WHERE archive = ? AND +state = ? AND +job <> '')",
            (os.fsencode(archive), State.DONE),
        ).fetchone()
        return bool(row[0])

    # -- what has changed ---------------------------------------------------------------------------------

    def last_change(self) -> int:
        """How far the history has come, for `touched_since`."""
        with self._faults():
            return int(self._connection.execute("SELECT COALESCE(MAX(id), 0) FROM history").fetchone()[0])

    def archived_since(self, change: int) -> bool:
        """Whether an archive was made, or found standing, since the history had come so far; True where it has not."""
        if not change:
            return True
        with self._faults():
            row = self._connection.execute(
                "SELECT EXISTS (SELECT 1 FROM history WHERE id > ?1 AND state = 'archived')"
                " OR COALESCE((SELECT MAX(id) FROM history), 0) < ?1",  # its latest lines were forgotten
                (change,),
            ).fetchone()
        return bool(row[0])

    def began_at(self) -> float | None:
        """When the first line of its history was written, in seconds since the epoch; None where none was."""
        with self._faults():
            row = self._connection.execute("SELECT at FROM history ORDER BY id LIMIT 1").fetchone()
        return None if row is None else float(row["at"])

    def touched_since(self, change: int) -> tuple[int, set[Place]]:
        """How far the history has come since, by some thousand lines at most, and where with them something came or
        went: directories of archive and trash.
        """
        with self._faults():
            rows = self._connection.execute(
                "SELECT history.id, archive, disposed_to FROM history JOIN recording ON recording.id = recording"
                " WHERE history.id > ? AND history.state IN ('archived', 'done', 'removed', 'gone')"
                " ORDER BY history.id LIMIT ?",
                (change, _TOUCHED),
            ).fetchall()
        touched = {Place(Tree.ARCHIVE, _directory(row["archive"])) for row in rows if row["archive"] is not None}
        touched |= {Place(Tree.TRASH, _directory(row["disposed_to"])) for row in rows if row["disposed_to"] is not None}
        return (rows[-1]["id"] if rows else change), touched

    def sources_touched_since(self, change: int) -> tuple[int, set[PurePosixPath] | None]:
        """How far the history has come since, and in which directories of the source tree a recording stood, or a
        snapshot of one, of which it says that it is done with, gone, or waits to be let go of.

        None for all of them: its latest lines were forgotten.
        """
        with self._faults():
            last = self.last_change()
            rows = self._connection.execute(
                "WITH changed AS (SELECT DISTINCT recording FROM history"
                " WHERE id > ? AND state IN ('archived', 'done', 'removed', 'gone'))"
                " SELECT path FROM changed JOIN recording ON recording.id = changed.recording"
                " UNION SELECT path FROM changed JOIN snapshot ON snapshot.recording = changed.recording",
                (change,),
            )
            touched = {os.path.dirname(row["path"]) for row in rows}
        return last, {PurePosixPath(os.fsdecode(where)) for where in touched} if last >= change else None

    def knows_of(self, directory: PurePosixPath, tree: Tree = Tree.SOURCE) -> bool:
        """Whether something of ours stands, or stood, in a directory of a tree, or below it; never of its root."""
        table, column = _PATHS[tree]
        above = os.fsencode(directory) + b"/"
        query = f"SELECT EXISTS (SELECT 1 FROM {table} WHERE {column} >= ? AND {column} < ?)"  # noqa: S608  (as above)
        with self._faults():
            row = self._connection.execute(query, (above, above[:-1] + b"0")).fetchone()
        return bool(row[0])

    # -- the source tree ----------------------------------------------------------------------------------

    def source_totals(self) -> dict[tuple[str, State], tuple[int, int]]:
        """Files and bytes of the clips that stand in the source tree, by camera and state."""
        marks = ", ".join("?" * len(_IN_SOURCE))
        with self._faults():
            rows = self._connection.execute(
                "SELECT camera, state, COUNT(*) AS files, SUM(size) AS bytes FROM recording"  # noqa: S608  (only marks are put in)
                f" WHERE state IN ({marks}) GROUP BY camera, state",
                _IN_SOURCE,
            ).fetchall()
        return {(os.fsdecode(row["camera"]), State(row["state"])): (row["files"], row["bytes"]) for row in rows}

    def quarantined(self) -> list[Recording]:
        """What is quarantined, oldest first."""
        return self._select("state = ? ORDER BY taken_at, id", (State.QUARANTINED,))

    def claim_quarantined(self, recording: Recording, job: str, reason: str) -> Recording:
        """Make `job` the owner of a quarantined recording whose source is to be let go of, and why.

        Raises: ClaimLostError where somebody else has it, or it is not quarantined any more.
        """
        with self._writing():
            self._move(
                recording, State.QUARANTINED, reason, 0.0, from_=State.QUARANTINED, logged=False, job=job
            )  # fmt: skip
            return self._load(recording.id)

    def trash_quarantined(self, recording: Recording, trashed: Trashed | None, now: float) -> Recording:
        """Commit that the source of a quarantined recording was let go of: moved to the trash, or None when deleted.

        No archive of it is expected. Raises: ClaimLostError where it was moved meanwhile.
        """
        with self._writing():
            reason = recording.reason if trashed is None else trashed.reason
            lies = None if trashed is None else os.fsencode(trashed.path)
            self._move(
                recording, State.GONE, reason, now, from_=State.QUARANTINED, job="", disposed_to=lies, not_before=now
            )
            if trashed is not None:
                self._enter_trashed(trashed, given_up=True)
            return self._load(recording.id)

    def count_from(self, first: float, now: float) -> None:
        """Have what a clock noted that said less than `first`, and so was lost, count from now. In one commit.

        It is when a recording was seen, or quarantined, and when a file was moved to the trash.
        """
        with self._writing() as connection:
            connection.execute("UPDATE recording SET seen_at = ? WHERE seen_at < ?", (now, first))
            connection.execute(
                "UPDATE recording SET not_before = ? WHERE state = ? AND not_before < ?",
                (now, State.QUARANTINED, first),
            )
            connection.execute("UPDATE trash SET trashed_at = ? WHERE gone_at IS NULL AND trashed_at < ?", (now, first))

    # -- what is long gone, and what comes ----------------------------------------------------------------

    def forget(self, before: float, limit: int) -> int:
        """Forget at most so many rows of what is gone since before a moment, in seconds since the epoch; how many.

        Recordings that are REMOVED or GONE and of which nothing lies in trash or archive any more, and what lay in the
        trash. Where nothing is so old it costs next to nothing.
        """
        with self._writing() as connection:
            rows = 0
            for state in (State.REMOVED, State.GONE):
                rows += connection.execute(
                    "DELETE FROM recording WHERE id IN (SELECT id FROM recording WHERE state = ? AND not_before < ?"
                    " AND job = '' AND disposed_to IS NULL"
                    " AND NOT EXISTS (SELECT 1 FROM trash WHERE trash.recording = recording.id AND gone_at IS NULL)"
                    " AND NOT EXISTS (SELECT 1 FROM snapshot WHERE snapshot.recording = recording.id"
                    "  AND snapshot.disposed_to IS NOT NULL) LIMIT ?)",
                    (state, before, limit - rows),
                ).rowcount
            rows += connection.execute(
                "DELETE FROM trash WHERE path IN (SELECT path FROM trash WHERE gone_at < ? LIMIT ?)",
                (before, limit - rows),
            ).rowcount
            return rows

    def lately(self, days: int, now: float) -> dict[str, tuple[int, int, int]]:
        """What was recorded in the last days and is archived, by camera: how many, bytes of sources and of archives.

        By the time it was taken, not by when it was archived: a backlog, or a catalog that was made anew, is no rate.
        What was removed since counts too.
        """
        since, until = (datetime.fromtimestamp(at).isoformat() for at in (now - days * _DAY_S, now + _DAY_S))
        with self._faults():
            rows = self._connection.execute(
                "SELECT camera, COUNT(*) AS files, SUM(size) AS bytes, SUM(archive_size) AS archived FROM recording"
                " WHERE state IN (?, ?, ?) AND taken_at BETWEEN ? AND ? GROUP BY camera",
                (State.ARCHIVED, State.DONE, State.REMOVED, since, until),
            ).fetchall()
        return {os.fsdecode(row["camera"]): (row["files"], row["bytes"], row["archived"]) for row in rows}

    def latest_gone(self) -> dict[tuple[Tree, str], float]:
        """From when the latest is that has gone from archive and trash, by tree and camera, as long as it is known.

        Of an archive when it was taken, as its name says; of what lay in the trash when it went there.
        """
        with self._faults():
            archives = self._connection.execute(
                "SELECT camera, MAX(taken_at) AS latest FROM recording WHERE state = ? GROUP BY camera",
                (State.REMOVED,),
            ).fetchall()
            trash = self._connection.execute(
                "SELECT camera, MAX(trashed_at) AS latest FROM trash WHERE gone_at IS NOT NULL GROUP BY camera"
            ).fetchall()
        with self._making_sense():
            found = {
                (Tree.ARCHIVE, os.fsdecode(row["camera"])): _moment_of(datetime.fromisoformat(row["latest"]))
                for row in archives
            }
            return found | {(Tree.TRASH, os.fsdecode(row["camera"])): float(row["latest"]) for row in trash}


def _moment_of(taken_at: datetime) -> float:
    """In seconds since the epoch; long ago for what is no moment this machine can tell."""
    try:
        return taken_at.timestamp()
    except (ValueError, OverflowError, OSError):
        return float("-inf")


# The ids in the third value, a list in JSON.
_AMONG = "IN (SELECT value FROM json_each(?3))"

# No row that is not done with has the archive, and none that is, under another job.
_NOBODY_ELSE = (
    "NOT EXISTS (SELECT 1 FROM recording AS other WHERE other.archive = recording.archive"
    " AND (+other.state IN (?5, ?6, ?7) OR (+other.state = ?4 AND other.job NOT IN ('', ?1))))"
)


def _enter_words(*, renew: bool) -> str:
    """The statement that enters a file in the trash: the ten values of it, and whether it was given up."""
    kept = "" if renew else " WHERE trash.gone_at IS NOT NULL OR trash.recording IS NOT excluded.recording"
    return (
        f"INSERT INTO trash ({_TRASH_COLUMNS}, given_up) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  (this module's own words)
        " ON CONFLICT (path) DO UPDATE SET ino = excluded.ino, size = excluded.size, mtime_ns = excluded.mtime_ns,"
        " camera = excluded.camera, origin_tree = excluded.origin_tree, origin = excluded.origin,"
        " reason = excluded.reason, trashed_at = excluded.trashed_at, recording = excluded.recording,"
        f" given_up = excluded.given_up, gone_at = NULL, gone_why = ''{kept}"
    )


def _length(directory: PurePosixPath) -> int:
    """Of what stands before the name of a file in it, in bytes."""
    return len(os.fsencode(directory)) + 1 if directory.parts else 0


def _directory(path: bytes) -> PurePosixPath:
    return PurePosixPath(os.fsdecode(path)).parent


_PATHS = {Tree.SOURCE: ("recording", "path"), Tree.ARCHIVE: ("recording", "archive"), Tree.TRASH: ("trash", "path")}


def _directly_in(column: str, directory: PurePosixPath) -> tuple[str, tuple[object, ...]]:
    """The condition that a path stands directly in a directory, and its values."""
    if not directory.parts:
        return f"instr({column}, x'2f') = 0", ()
    above = os.fsencode(directory) + b"/"
    # In the order of bytes "0" follows on "/".
    where = f"{column} >= ? AND {column} < ? AND instr(substr({column}, ?), x'2f') = 0"
    return where, (above, above[:-1] + b"0", len(above) + 1)
