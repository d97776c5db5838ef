"""The catalog: index and journal of every recording, in one SQLite file. With its kin here the only SQL of the program.

The trees are the truth and the catalog can be lost; what it saves is work, and it remembers why. Every step of
a recording is committed here before or after the step on disk, as `docs/design/crash-table.md` lists.

Paths are stored as bytes (`os.fsencode`), for names need not be UTF-8.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import PurePosixPath

from archiverd.errors import SourceChanged
from archiverd.policy.change import Before
from archiverd.policy.model import (
    Event,
    Fingerprint,
    FoundFile,
    FoundRecording,
    Known,
    Place,
    Receipt,
    Recording,
    Snapshot,
    State,
    Trashed,
    Tree,
)
from archiverd.policy.planning import STANDS_AGAIN
from archiverd.policy.problems import Course, Notice
from archiverd.policy.quiet import Upload
from archiverd.policy.rebuilding import KnownAgain
from archiverd.policy.recovery import EXCUSED
from archiverd.policy.room import Taken
from archiverd.storage.catalog_connection import (
    SOURCE_ROOT,
    TREES_READ,
    CatalogLostError,
    ClaimLostError,
)
from archiverd.storage.catalog_retention import CatalogRetention
from archiverd.storage.catalog_rows import (
    problem_values,
    read_course,
    read_fingerprint,
    read_found_file,
    read_known_file,
    read_notice,
    reason_text,
)

__all__ = ("SOURCE_ROOT", "TREES_READ", "Catalog", "CatalogLostError", "ClaimLostError")

_TOLD_ONE_BY_ONE = 20  # recordings that a scan found, in the log
_ASKED_AT_ONCE = 1000  # paths
LONGEST_WAIT_S = 2 * 86400.0  # nothing is put off for longer
_LATELY = 20_000  # recordings: those of a camera that is rare among them are not looked for further back

_OVER = {State.GONE: "the source is there again", State.REMOVED: STANDS_AGAIN}  # and why it is archived once more
_FINISHED = (State.DONE, State.REMOVED, State.GONE)


class Catalog(CatalogRetention):
    """What is known of every recording; one connection to the file, of the thread that opened it."""

    # -- offers and claims --------------------------------------------------------------------------------

    def offer(
        self, found: FoundRecording, now: float, *, reason: str, not_before: float | None = None
    ) -> Recording:  # fmt: skip
        """Enter a recording seen in the source tree, with its snapshots, and return its row.

        The same path with another fingerprint is another recording, whatever became of the first: a row that
        still waits is brought up to date, one that was quarantined or lost is closed, one that was archived
        keeps its receipt. The same content, where it was gone or its archive was removed, waits again, from
        nothing. It is due at `not_before`, by default at once.
        """
        with self._writing():
            return self._load(self._offer(found, now, reason, now if not_before is None else not_before))

    def offer_all(self, offers: Iterable[tuple[FoundRecording, str, float]], now: float) -> None:
        """Enter many, each with a reason and the moment it is due, in one commit."""
        with self._writing():
            for found, reason, not_before in offers:
                self._offer(found, now, reason, not_before)

    def enter_found(self, found: Sequence[tuple[FoundFile, float]], reason: str, now: float) -> list[FoundFile]:
        """Enter clips that a scan found unknown, each with the moment it is due, in one commit.

        Returns those of whose path something is known by now: they are to be looked at. More than a few are told in one
        line of the log: a tree that is new may hold half a million.
        """
        with self._writing() as connection:
            known = self._known([clip.key for clip, _ in found])
            fresh = [(clip, due) for clip, due in found if clip.key not in known]
            first = self.last_id() + 1
            connection.executemany(
                "INSERT INTO recording (id, path, ino, size, mtime_ns, camera, taken_at, copy, state, reason,"
                " not_before, seen_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (number, os.fsencode(clip.key), *clip.fingerprint, os.fsencode(clip.name.camera),
                     clip.name.taken_at.isoformat(), clip.name.copy, State.WAITING, reason, due, now)
                    for number, (clip, due) in enumerate(fresh, first)
                ),
            )  # fmt: skip
            connection.executemany(
                "INSERT INTO history (recording, at, state, reason) VALUES (?, ?, ?, ?)",
                ((number, now, State.WAITING, reason) for number in range(first, first + len(fresh))),
            )
            if len(fresh) <= _TOLD_ONE_BY_ONE:
                self._changes += [(number, None, False) for number in range(first, first + len(fresh))]
        if len(fresh) > _TOLD_ONE_BY_ONE:
            self._change_log.tell_found([clip for clip, _ in fresh])
        return [clip for clip, _ in found if clip.key in known]

    def _known(self, keys: Sequence[str]) -> set[str]:
        """Those of these paths of which something is known."""
        known: set[str] = set()
        for at in range(0, len(keys), _ASKED_AT_ONCE):
            some = [os.fsencode(key) for key in keys[at : at + _ASKED_AT_ONCE]]
            marks = ", ".join("?" * len(some))
            rows = self._connection.execute(f"SELECT path FROM recording WHERE path IN ({marks})", some)  # noqa: S608  (only marks are put in)
            known.update(os.fsdecode(row["path"]) for row in rows)
        return known

    def _offer(self, found: FoundRecording, now: float, reason: str, not_before: float) -> int:
        connection, clip = self._connection, found.clip
        row = self._find(clip)
        if row is None:
            row = self._enter(clip, now, reason, not_before)
        elif row["state"] in _OVER:
            self._set(row, State.WAITING, _OVER[State(row["state"])], now, not_before)
            connection.execute(
                "UPDATE recording SET archive = NULL, archive_sha256 = '', archive_size = 0, attempts = 0, crashes = 0"
                " WHERE id = ?",
                (row["id"],),
            )
            self._put_receipt(row["id"], None)
        identity = int(row["id"])
        self._close_replaced(clip, identity, now)
        # Seen by a clock that was ahead: from now on it counts from now.
        connection.execute("UPDATE recording SET seen_at = ? WHERE id = ? AND seen_at > ?", (now, identity, now))
        for snapshot in found.snapshots:
            _attach(connection, identity, snapshot.path, snapshot.fingerprint)
        return identity

    def _find(self, clip: FoundFile) -> sqlite3.Row | None:
        mark = clip.fingerprint
        found: sqlite3.Row | None = self._connection.execute(
            "SELECT * FROM recording WHERE path = ? AND ino = ? AND size = ? AND mtime_ns = ?",
            (os.fsencode(clip.path), mark.ino, mark.size, mark.mtime_ns),
        ).fetchone()
        return found

    def _enter(self, clip: FoundFile, now: float, reason: str, not_before: float) -> sqlite3.Row:
        """Make the row of a content of a path that was not seen before."""
        path, mark, name = os.fsencode(clip.path), clip.fingerprint, clip.name
        waiting = self._connection.execute(
            "SELECT * FROM recording WHERE path = ? AND +state = ?", (path, State.WAITING)
        ).fetchone()
        if waiting is not None:
            self._connection.execute(
                "UPDATE recording SET ino = ?, size = ?, mtime_ns = ?, seen_at = ?, attempts = 0, crashes = 0"
                " WHERE id = ?",
                (mark.ino, mark.size, mark.mtime_ns, now, waiting["id"]),
            )
            if waiting["reason"] == reason_text(reason):  # it is still coming in: that is one change
                self._connection.execute(
                    "UPDATE recording SET not_before = ? WHERE id = ?", (not_before, waiting["id"])
                )
            else:
                self._set(waiting, State.WAITING, "the file has changed", now, not_before)
        else:
            cursor = self._connection.execute(
                "INSERT INTO recording (path, ino, size, mtime_ns, camera, taken_at, copy, state, reason,"
                " not_before, seen_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (path, mark.ino, mark.size, mark.mtime_ns, os.fsencode(name.camera), name.taken_at.isoformat(),
                 name.copy, State.WAITING, reason_text(reason), not_before, now),
            )  # fmt: skip
            self._note(int(cursor.lastrowid or 0), State.WAITING, reason, now, before=None)
        row = self._find(clip)
        assert row is not None, "a row just entered"
        return row

    def _close_replaced(self, clip: FoundFile, identity: int, now: float) -> None:
        """Close the rows of other contents that stood at this path and were not archived.

        One that is just being let go of is closed by whoever does that.
        """
        for old in self._connection.execute(
            "SELECT * FROM recording WHERE path = ? AND id <> ? AND state IN (?, ?) AND job = ''",
            (os.fsencode(clip.path), identity, State.WAITING, State.QUARANTINED),
        ).fetchall():
            self._set(old, State.GONE, "replaced by another upload of the same name", now, now)

    def attach(self, recording: Recording, snapshots: Iterable[FoundFile]) -> Recording:
        """Note that snapshots belong to a recording that is known already."""
        with self._writing() as connection:
            for snapshot in snapshots:
                _attach(connection, recording.id, snapshot.path, snapshot.fingerprint)
            return self._load(recording.id)

    def enter_known(
        self, known: Iterable[KnownAgain], now: float, trashed_at: Mapping[PurePosixPath, float] | None = None
    ) -> None:
        """Enter recordings that the trees still tell of. One that is entered already stays as it is.

        `trashed_at` tells since when files lie at their places in the trash; of others, since now.
        """
        times = trashed_at or {}
        with self._writing() as connection:
            for row in known:
                self._enter_known(connection, row, now, times)

    def _enter_known(
        self, connection: sqlite3.Connection, known: KnownAgain, now: float, times: Mapping[PurePosixPath, float]
    ) -> None:
        mark, name = known.fingerprint, known.name
        archive = known.archive
        entered = connection.execute(
            "INSERT OR IGNORE INTO recording (path, ino, size, mtime_ns, camera, taken_at, copy, state, reason,"
            " not_before, seen_at, archive, archive_size, disposed_to)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                os.fsencode(known.path), mark.ino, mark.size, mark.mtime_ns, os.fsencode(name.camera),
                name.taken_at.isoformat(), name.copy, known.state, reason_text(known.reason), now, now,
                None if archive is None else os.fsencode(archive.file.path),
                0 if archive is None else archive.file.fingerprint.size,
                None if known.disposed_to is None else os.fsencode(known.disposed_to),
            ),
        )  # fmt: skip
        if not entered.rowcount:
            return
        identity = int(entered.lastrowid or 0)
        self._put_receipt(identity, known.receipt(now))
        # Not told in the log one by one: there may be a million, and none has changed.
        self._history(identity, known.state, f"known again, for the catalog was made anew: {known.reason}", now)
        if known.disposed_to is not None:
            at = times.get(known.disposed_to, now)
            self._enter_trashed(_of_source(identity, known, known.disposed_to, known.reason, at))
        if known.retired is not None and archive is not None:
            at, origin = times.get(known.retired, now), Place(Tree.ARCHIVE, archive.file.path)
            seen = archive.file.fingerprint
            self._enter_trashed(Trashed(known.retired, seen, name.camera, origin, known.reason, at, identity))
        for snapshot in known.snapshots:
            _attach(connection, identity, snapshot.path, snapshot.fingerprint)
            _mark_disposed(connection, snapshot.path, snapshot.fingerprint, snapshot.disposed_to)
            self._enter_snapshot(snapshot, snapshot.disposed_to, times, now, known.came_from(snapshot))

    def claim(self, recording: Recording, job: str, now: float) -> Recording:
        """Make `job` the owner of a recording that waits (it becomes ACTIVE) or is archived (it stays so).

        Raises: ClaimLostError when it is in neither state any more.
        """
        with self._writing():
            if recording.state is State.ARCHIVED:
                self._move(
                    recording, State.ARCHIVED, recording.reason, now, from_=State.ARCHIVED, logged=False, job=job
                )
            else:
                self._move(recording, State.ACTIVE, "claimed", now, from_=State.WAITING, job=job)
            return self._load(recording.id)

    # -- steps of a recording -----------------------------------------------------------------------------

    def wait(
        self, recording: Recording, reason: str, not_before: float, now: float, *, failed: bool = False,
        trouble: bool = False,
    ) -> Recording:  # fmt: skip
        """Put a recording back to wait, from whatever state its owner holds it in; `failed` counts an attempt.

        `trouble`, here and elsewhere, makes its line of the log a warning.
        """
        with self._writing():
            _see_unclaimed(recording)
            self._move(
                recording, State.WAITING, reason, now, from_=recording.state, trouble=trouble or failed, job="",
                not_before=not_before,
                attempts=recording.attempts + failed, archive=None, archive_sha256="", archive_size=0,
            )  # fmt: skip
            self._put_receipt(recording.id, None)
            return self._load(recording.id)

    def crashed(self, recording: Recording, reason: str, not_before: float, now: float) -> Recording:
        """Put a recording back to wait whose job died with the process, and count that."""
        with self._writing():
            self._move(
                recording, State.WAITING, reason, now, from_=recording.state, trouble=True, job="",
                not_before=not_before,
                crashes=recording.crashes + 1, archive=None, archive_sha256="", archive_size=0,
            )  # fmt: skip
            self._put_receipt(recording.id, None)
            return self._load(recording.id)

    def publishing(
        self, recording: Recording, archive: PurePosixPath, sha256: str, size: int, receipt: Receipt, now: float
    ) -> Recording:
        """Commit the name an archive is about to be given, with all that proves it, before it is given.

        May be called again with another name when the first turned out to be taken.
        """
        with self._writing():
            self._move(
                recording, State.PUBLISHING, f"as {os.fspath(archive)!r}", now, from_=recording.state,
                archive=os.fsencode(archive), archive_sha256=sha256, archive_size=size,
            )  # fmt: skip
            self._put_receipt(recording.id, receipt)
            return self._load(recording.id)

    def archived(self, recording: Recording, receipt: Receipt, reason: str, now: float) -> Recording:
        """Commit that the archive stands under its final name, with its receipt."""
        with self._writing():
            self._move(
                recording, State.ARCHIVED, reason, now, from_=recording.state, attempts=0, crashes=0,
                rung=receipt.rung, fell=reason_text(next(iter(receipt.falls), "")),
            )  # fmt: skip
            self._put_receipt(recording.id, receipt)
            return self._load(recording.id)

    def adopted(self, recording: Recording, archive: PurePosixPath, receipt: Receipt, now: float) -> Recording:
        """Commit that an archive found standing is the archive of this recording.

        Raises: SourceChanged where it is just being removed.
        """
        with self._writing():
            if self._is_being_removed(archive):
                raise SourceChanged("the archive it was to be is being removed")
            self._move(
                recording, State.ARCHIVED, receipt.reason, now, from_=State.ACTIVE, attempts=0, crashes=0,
                archive=os.fsencode(archive), archive_sha256=receipt.archive_sha256,
                archive_size=receipt.archive.size, rung=receipt.rung, fell="",
            )  # fmt: skip
            self._put_receipt(recording.id, receipt)
            return self._load(recording.id)

    def hold(
        self, recording: Recording, reason: str, not_before: float, now: float, *, trouble: bool = False
    ) -> Recording:
        """Leave an archived recording archived: its source can't be let go of now, and why."""
        again = reason == recording.reason  # what is held each day anew needs no line for each
        with self._writing():
            # The job stays: should a `.gone` file still stand, its name is what leads back to this recording.
            self._move(
                recording, State.ARCHIVED, reason, now, from_=State.ARCHIVED, logged=not again,
                trouble=trouble, not_before=not_before,
            )  # fmt: skip
            return self._load(recording.id)

    def release(self, path: PurePosixPath, now: float) -> None:
        """Have what is archived of a source path, and was held, let go of as soon as may be."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE recording SET not_before = ? WHERE path = ? AND +state = ? AND not_before > ?",
                (now, os.fsencode(path), State.ARCHIVED, now),
            )

    def take_up_again(self, recording: Recording, reason: str, now: float) -> Recording:
        """Take a finished recording back to ARCHIVED, for there is something of it to dispose of again.

        Raises: ClaimLostError also where its archive is just being removed.
        """
        with self._writing():
            _see_unclaimed(recording)
            self._move(recording, State.ARCHIVED, reason, now, from_=State.DONE, not_before=now)
            return self._load(recording.id)

    def done(
        self, recording: Recording, disposed_to: PurePosixPath | None, reason: str, now: float, *,
        trouble: bool = False,
    ) -> Recording:  # fmt: skip
        """Commit that the source is let go of: its place in the trash, or None when it was deleted."""
        with self._writing():
            self._move(
                recording, State.DONE, reason, now, from_=State.ARCHIVED, trouble=trouble, job="",
                disposed_to=None if disposed_to is None else os.fsencode(disposed_to),
            )  # fmt: skip
            if disposed_to is not None:
                self._enter_trashed(_of_source(recording.id, recording, disposed_to, reason, now), renew=False)
            return self._load(recording.id)

    def quarantine(self, recording: Recording, reason: str, now: float) -> Recording:
        """Set a recording aside in the catalog; its files stay where they are."""
        with self._writing():
            self._move(recording, State.QUARANTINED, reason, now, from_=recording.state, job="", not_before=now)
            return self._load(recording.id)

    def retry(self, recording: Recording, now: float) -> Recording:
        """Have a recording that is quarantined, or waits after a failure, tried again at once, from nothing.

        Raises: ClaimLostError where it is neither any more, or is just being let go of.
        """
        with self._writing():
            _see_unclaimed(recording)
            self._move(
                recording, State.WAITING, "to be tried again, as asked", now, from_=recording.state, job="",
                not_before=now, attempts=0, crashes=0,
            )  # fmt: skip
            return self._load(recording.id)

    def gone(self, recording: Recording, reason: str, now: float) -> Recording:
        """Commit that a source went away before it was archived."""
        with self._writing():
            self._move(recording, State.GONE, reason, now, from_=recording.state, job="", not_before=now)
            return self._load(recording.id)

    def taken_back(self, recording: Recording, reason: str, now: float) -> Recording:
        """Close the row of a source that is taken back from the trash: its place there is not its own any more."""
        with self._writing():
            self._move(
                recording, State.GONE, reason, now, from_=recording.state, job="", disposed_to=None, not_before=now
            )
            if recording.disposed_to is not None:
                self._close_trashed([recording.disposed_to], reason, now)
            return self._load(recording.id)

    def snapshot_disposed(self, snapshot: Snapshot, disposed_to: Place | None, now: float) -> None:
        """Commit that a snapshot was let go of, and where it went; None when it was deleted."""
        with self._writing() as connection:
            _mark_disposed(connection, snapshot.path, snapshot.fingerprint, disposed_to)
            self._enter_snapshot(snapshot, disposed_to, {}, now)

    def _enter_snapshot(
        self, snapshot: Snapshot, place: Place | None, times: Mapping[PurePosixPath, float], now: float,
        came_from: Place | None = None,
    ) -> None:  # fmt: skip
        """Note that a snapshot lies in the trash, where that is its place; it came from beside its clip by default."""
        if place is None or place.tree is not Tree.TRASH:
            return
        mark = snapshot.fingerprint
        owner = self._connection.execute(
            "SELECT recording.id, recording.camera FROM snapshot JOIN recording ON recording.id = snapshot.recording"
            " WHERE snapshot.path = ? AND snapshot.ino = ? AND snapshot.size = ? AND snapshot.mtime_ns = ?",
            (os.fsencode(snapshot.path), mark.ino, mark.size, mark.mtime_ns),
        ).fetchone()
        if owner is None:
            return
        camera, at = os.fsdecode(owner["camera"]), times.get(place.path, now)
        origin = came_from or Place(Tree.SOURCE, snapshot.path)
        one = Trashed(place.path, mark, camera, origin, "it went with its recording", at, int(owner["id"]))
        self._enter_trashed(one, renew=False)

    def _set(self, row: sqlite3.Row, state: State, reason: str, now: float, not_before: float) -> None:
        self._connection.execute(
            "UPDATE recording SET state = ?, reason = ?, not_before = ?, job = '' WHERE id = ?",
            (state, reason_text(reason), not_before, row["id"]),
        )
        with self._making_sense():
            before = Before(State(row["state"]), row["reason"], row["job"])
        self._note(row["id"], state, reason, now, before=before)

    # -- questions ----------------------------------------------------------------------------------------

    def changed(self) -> bool:
        """Whether somebody else has committed something since this was asked last; True when asked first. Cheap."""
        with self._faults():
            version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        before, self._version_seen = self._version_seen, version
        return version != before

    def recordings(self, states: Iterable[State] = tuple(State)) -> list[Recording]:
        """All recordings in these states, oldest first, with their snapshots."""
        wanted = tuple(states)
        marks = ", ".join("?" for _ in wanted)
        return self._select(f"state IN ({marks}) ORDER BY taken_at, id", wanted)

    def oldest(self, state: State, most: int) -> list[Recording]:
        """The first of the recordings in a state, at most so many, oldest first, with their snapshots."""
        return self._select("state = ? ORDER BY taken_at, id LIMIT ?", (state, most))

    def at_path(self, path: PurePosixPath) -> list[Recording]:
        """Every recording that had this path in the source, archive or trash tree, in the order they came.

        A snapshot's path finds its recording. What was removed from archive or trash is found as long as it is known.
        """
        name = os.fsencode(path)
        return self._select(
            "path = ? OR archive = ? OR disposed_to = ?"
            " OR id IN (SELECT recording FROM snapshot WHERE path = ? OR disposed_to = ?)"
            " OR id IN (SELECT recording FROM trash WHERE path = ?) ORDER BY id",
            (name, name, name, name, name, name),
        )

    def standing_at(self, path: PurePosixPath) -> list[Recording]:
        """Every content that stood at a path of the source tree, in the order they came."""
        return self._select("path = ? ORDER BY id", (os.fsencode(path),))

    def due(self, now: float, *, newest_first: bool = False) -> Recording | None:
        """What is to be taken up next: a source that is to be let go of, else the oldest clip that has waited enough.

        One with whose job the process died more than once comes after all others: were it the cause, they would never
        have a turn, and were it not, it would be hit again and again.
        What is due later than anything is ever put off was put off by a clock that was ahead, and is due.
        """
        order = "taken_at DESC, id" if newest_first else "taken_at, id"
        for state, which, first in (
            (State.ARCHIVED, "", "not_before, id"),
            (State.WAITING, f" AND crashes <= {EXCUSED}", order),  # by the index; the others are few
            (State.WAITING, f" AND crashes > {EXCUSED}", f"crashes, {order}"),
        ):
            found = self._select(
                f"state = ? AND (not_before <= ? OR not_before > ?){which} ORDER BY {first} LIMIT 1",
                (state, now, now + LONGEST_WAIT_S),
            )
            if found:
                return found[0]
        return None

    def next_due(self, now: float) -> float | None:
        """When there will be something to take up again, in seconds since the epoch; None where nothing waits."""
        ahead = now + LONGEST_WAIT_S
        with self._faults():
            due = [
                self._connection.execute(
                    "SELECT (SELECT MIN(not_before) FROM recording WHERE state = ?1),"
                    " (SELECT MAX(not_before) FROM recording WHERE state = ?1) > ?2",
                    (state, ahead),
                ).fetchone()
                for state in (State.ARCHIVED, State.WAITING)
            ]
        return min((now if beyond else float(first) for first, beyond in due if first is not None), default=None)

    def queue(self, now: float) -> tuple[int, int]:
        """How many recordings wait for their turn, and how many for their time."""
        with self._faults():
            row = self._connection.execute(
                "SELECT COUNT(*), COALESCE(SUM(not_before <= ?), 0) FROM recording WHERE state = ?",
                (now, State.WAITING),
            ).fetchone()
        return int(row[1]), int(row[0]) - int(row[1])

    def put_off(self, directory: PurePosixPath, now: float, not_before: float) -> int:
        """Have all that waits and is due directly in a directory taken up at another moment; returns how many."""
        above = os.fsencode(directory) + b"/"
        with self._writing() as connection:
            # In the order of bytes "0" follows on "/".
            return connection.execute(
                "UPDATE recording SET not_before = ? WHERE +state = ? AND not_before <= ?"
                " AND path >= ? AND path < ? AND instr(substr(path, ?), x'2f') = 0",
                (not_before, State.WAITING, now, above, above[:-1] + b"0", len(above) + 1),
            ).rowcount

    def make_due(self, recording: Recording, not_before: float) -> None:
        """Have a recording that waits, or is archived, taken up at another moment. Tells of no change of state."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE recording SET not_before = ? WHERE id = ? AND state IN (?, ?)",
                (not_before, recording.id, State.ARCHIVED, State.WAITING),
            )

    def known_in(self, directory: PurePosixPath, *, unfinished: bool = False) -> Known:
        """What is known of the files that stand, or stood, directly in one directory of the source tree.

        `unfinished` leaves out the clips that are done with or gone, of which an empty directory may have had many.
        Snapshots are those that are to go with a clip that is neither.
        """
        above = os.fsencode(directory) + b"/" if directory.parts else b""
        where = "instr(substr({0}, ?), x'2f') = 0" + (" AND {0} >= ? AND {0} < ?" if above else "")
        # In the order of bytes "0" follows on "/".
        values = (len(above) + 1, *((above, above[:-1] + b"0") if above else ()))
        with self._faults():
            clips = self._connection.execute(
                "SELECT path, ino, size, mtime_ns, state, not_before FROM recording WHERE"  # noqa: S608  (this function's own words)
                f" {where.format('path')} AND NOT (? AND state IN (?, ?, ?))",
                (*values, unfinished, *_FINISHED),
            ).fetchall()
            snapshots = self._connection.execute(
                "SELECT snapshot.path, snapshot.ino, snapshot.size, snapshot.mtime_ns"  # noqa: S608  (as above)
                " FROM snapshot JOIN recording ON recording.id = snapshot.recording"
                f" WHERE {where.format('snapshot.path')} AND disposed = 0 AND state NOT IN (?, ?, ?)",
                (*values, *_FINISHED),
            ).fetchall()
        with self._making_sense():
            return Known(
                tuple(read_known_file(row, len(above)) for row in clips),
                frozenset((os.fsdecode(row["path"][len(above) :]), read_fingerprint(row)) for row in snapshots),
            )

    def unfinished_directories(self) -> list[PurePosixPath]:
        """The directories of the source tree with recordings that are neither done with nor gone, sorted."""
        with self._faults():
            cursor = self._connection.cursor()
            cursor.row_factory = None  # a tuple is made more quickly: there may be half a million
            rows = cursor.execute("SELECT path FROM recording WHERE state NOT IN (?, ?, ?)", _FINISHED)
            above = {path[: path.rfind(b"/") + 1] for (path,) in rows}
        return sorted(PurePosixPath(os.fsdecode(path)) for path in above)

    def done_between(self, first: datetime, last: datetime, cameras: Collection[str]) -> list[FoundFile]:
        """The clips of these cameras that are archived and let go of and were taken from `first` to `last`, as found.

        Asked twice for each recording: only what is told is read.
        """
        marks = ", ".join("?" * len(cameras))
        with self._faults():
            rows = self._connection.execute(
                "SELECT path, ino, size, mtime_ns, camera, taken_at, copy FROM recording"  # noqa: S608  (only marks are put in)
                f" WHERE state = ? AND taken_at BETWEEN ? AND ? AND camera IN ({marks}) ORDER BY taken_at, id",
                (State.DONE, first.isoformat(), last.isoformat(), *map(os.fsencode, cameras)),
            ).fetchall()
        with self._making_sense():
            return [read_found_file(row) for row in rows]

    def problems(self) -> tuple[list[Course], list[Notice]]:
        """The problems that were told and not closed, and what of them is still to be handed on, in order.

        What makes no sense there is left out: it is no reason to set a catalog aside.
        """
        with self._faults():
            rows = self._connection.execute("SELECT * FROM problem ORDER BY since, kind, subject").fetchall()
            later = self._connection.execute("SELECT * FROM notice ORDER BY id").fetchall()
        courses, untold = map(read_course, rows), map(read_notice, later)
        return [course for course in courses if course], [notice for notice in untold if notice]

    def keep_problems(self, courses: Iterable[Course], untold: Iterable[Notice]) -> None:
        """Keep these open problems, and these notices to be handed on, in place of those of before."""
        open_now = [(*problem_values(course.problem), course.since, course.gone_at) for course in courses]
        later = [(notice.change, *problem_values(notice.problem), notice.since, notice.at) for notice in untold]
        with self._writing() as connection:
            connection.execute("DELETE FROM problem")
            connection.execute("DELETE FROM notice")
            connection.executemany("INSERT INTO problem VALUES (?, ?, ?, ?, ?, ?)", open_now)
            connection.executemany(
                "INSERT INTO notice (change, kind, subject, message, remedy, since, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                later,
            )

    def note_hash(self, recording: Recording, sha256: str) -> None:
        """Note the SHA-256 of an archive of which none was known."""
        receipt = recording.receipt
        assert receipt is not None, "an archive has a receipt"
        with self._writing() as connection:
            noted = connection.execute(
                "UPDATE recording SET archive_sha256 = ? WHERE id = ? AND archive_sha256 = ''", (sha256, recording.id)
            ).rowcount
            if noted:
                self._put_receipt(recording.id, replace(receipt, archive_sha256=sha256))

    def of_job(self, job: str) -> Recording | None:
        """The recording that a job owns."""
        rows = self._select("job = ? AND job <> ''", (job,))
        return rows[0] if rows else None

    def reload(self, recording: Recording) -> Recording:
        """The row as it stands now."""
        return self.by_id(recording.id)

    def by_id(self, identity: int) -> Recording:
        """The row of an id that was read before."""
        with self._faults():
            return self._load(identity)

    def unfinished(self, identity: int) -> Recording | None:
        """The row of that id, where it is there and waits, or is at work."""
        wanted = (identity, State.WAITING, State.ACTIVE, State.PUBLISHING)
        return next(iter(self._select("id = ? AND state IN (?, ?, ?)", wanted)), None)

    def history(self, recording: Recording) -> list[Event]:
        """Everything that happened to a recording, in order."""
        with self._faults():
            rows = self._connection.execute(
                "SELECT at, state, reason FROM history WHERE recording = ? ORDER BY id", (recording.id,)
            ).fetchall()
        with self._making_sense():
            return [Event(row["at"], State(row["state"]), row["reason"]) for row in rows]

    def counts(self) -> dict[State, tuple[int, int]]:
        """How many recordings, and how many bytes of source, are in each state."""
        with self._faults():
            rows = self._connection.execute(
                "SELECT state, COUNT(*) AS files, SUM(size) AS bytes FROM recording GROUP BY state"
            ).fetchall()
        with self._making_sense():
            return {State(row["state"]): (row["files"], row["bytes"]) for row in rows}

    def newest(self, state: State) -> tuple[int, Recording | None]:
        """How many recordings are in a state, and the one of them that was taken last."""
        with self._faults():
            files = self._connection.execute("SELECT COUNT(*) FROM recording WHERE state = ?", (state,)).fetchone()[0]
        rows = self._select("state = ? ORDER BY taken_at DESC, id DESC LIMIT 1", (state,))
        return int(files), rows[0] if rows else None

    def last_id(self) -> int:
        """The id of the recording that was entered last; 0 where there is none."""
        with self._faults():
            return int(self._connection.execute("SELECT COALESCE(MAX(id), 0) FROM recording").fetchone()[0])

    def uploads(self, after: int, limit: int) -> list[Upload]:
        """The recordings that were entered after the one of an id, at most so many, in the order they were."""
        with self._faults():
            rows = self._connection.execute(
                "SELECT id, camera, mtime_ns, seen_at FROM recording WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
            ).fetchall()
        return [Upload(row["id"], os.fsdecode(row["camera"]), row["mtime_ns"] / 1e9, row["seen_at"]) for row in rows]

    def has_encoded(self, rung: str) -> bool:
        """Whether a rung has made an archive."""
        with self._faults():
            row = self._connection.execute("SELECT EXISTS (SELECT 1 FROM recording WHERE rung = ?)", (rung,)).fetchone()
        return bool(row[0])

    def archived_totals(self) -> tuple[int, int, int]:
        """Archives committed: how many, bytes of their sources, bytes of the archives."""
        with self._faults():
            row = self._connection.execute(
                "SELECT COUNT(*), COALESCE(SUM(size), 0), COALESCE(SUM(archive_size), 0) FROM recording"
                " WHERE state IN (?, ?)",
                (State.ARCHIVED, State.DONE),
            ).fetchone()
        return row[0], row[1], row[2]

    def encoded(self) -> dict[str, int]:
        """How many archives each rung made."""
        with self._faults():
            rows = self._connection.execute(
                "SELECT rung, COUNT(*) AS archives FROM recording WHERE rung <> '' GROUP BY rung"
            ).fetchall()
        return {str(row["rung"]): int(row["archives"]) for row in rows}

    def latest_taken(self, camera: str, latest: int) -> list[Taken]:
        """What the latest archives that were encoded for a camera took of their sources; none of long ago."""
        with self._faults():
            rows = self._connection.execute(
                "SELECT size, archive_size FROM recording WHERE id > (SELECT MAX(id) FROM recording) - ?"
                " AND camera = ? AND rung <> '' AND archive_size > 0 ORDER BY id DESC LIMIT ?",
                (_LATELY, os.fsencode(camera), latest),
            ).fetchall()
        return [Taken(row["size"], row["archive_size"]) for row in rows]

    def falls(self, latest: int) -> tuple[int, list[Recording]]:
        """How many archives were not made by the rung that was to make them, and the latest of these."""
        with self._faults():
            total = self._connection.execute("SELECT COUNT(*) FROM recording WHERE fell <> ''").fetchone()[0]
        return int(total), self._select("fell <> '' ORDER BY id DESC LIMIT ?", (latest,))

    def remembers(self) -> tuple[bool, bool]:
        """Whether it knows of files in the archive tree, and in the trash."""
        with self._faults():
            row = self._connection.execute(
                "SELECT EXISTS (SELECT 1 FROM receipt), EXISTS (SELECT 1 FROM recording WHERE disposed_to IS NOT NULL)"
            ).fetchone()
        return bool(row[0]), bool(row[1])


def _see_unclaimed(recording: Recording) -> None:
    """Raises: ClaimLostError where it is just being removed: that job is nobody else's."""
    if recording.job and recording.state in (State.DONE, State.QUARANTINED):
        raise ClaimLostError(f"{recording.path}: no longer {recording.state} and free: job {recording.job} removes it")


def _of_source(identity: int, row: Recording | KnownAgain, lies: PurePosixPath, reason: str, at: float) -> Trashed:
    """The source of a recording, in the trash."""
    return Trashed(lies, row.fingerprint, row.name.camera, Place(Tree.SOURCE, row.path), reason, at, identity)


def _attach(connection: sqlite3.Connection, identity: int, path: PurePosixPath, mark: Fingerprint) -> None:
    """Note that a snapshot belongs to a recording; one seen before goes to the recording it is paired with now."""
    connection.execute(
        "INSERT INTO snapshot (recording, path, ino, size, mtime_ns) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (path, ino, size, mtime_ns)"
        " DO UPDATE SET recording = excluded.recording, disposed = 0, disposed_to = NULL",
        (identity, os.fsencode(path), mark.ino, mark.size, mark.mtime_ns),
    )


def _mark_disposed(
    connection: sqlite3.Connection, path: PurePosixPath, mark: Fingerprint, disposed_to: Place | None
) -> None:
    connection.execute(
        "UPDATE snapshot SET disposed = 1, disposed_to = ?, disposed_in = ?"
        " WHERE path = ? AND ino = ? AND size = ? AND mtime_ns = ?",
        (
            None if disposed_to is None else os.fsencode(disposed_to.path),
            Tree.TRASH if disposed_to is None else disposed_to.tree,
            os.fsencode(path), mark.ino, mark.size, mark.mtime_ns,
        ),
    )  # fmt: skip
