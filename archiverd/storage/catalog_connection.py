"""The file of the catalog, open: what makes it one, its faults, its transactions, and the words that are kept in it.

The journal is SQLite's rollback journal with `synchronous=EXTRA`: a power cut undoes no commit (`FULL` does not sync
the directory after the journal is unlinked, so an old journal can come back), and a full file system gives an error
where WAL's shared memory gives SIGBUS.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from archiverd.errors import ArchiverError, ResourceError, StartupError
from archiverd.policy.change import Before, Change
from archiverd.policy.model import Receipt, Recording, Snapshot, State
from archiverd.storage.catalog_rows import read_recording, read_snapshot, read_trashed, reason_text, receipt_text
from archiverd.storage.catalog_schema import APPLICATION_ID, MIGRATIONS
from archiverd.storage.change_log import ChangeLog

# What the catalog keeps a word about: `remember`, `recall`, `correct`.
SOURCE_ROOT = "source_root"  # the nonce of the source root it began with
TREES_READ = "trees_read"  # when all that the trees told of what is done was entered
ACCEPTED = "cleanup"  # by which rules, and when, a cleanup last went ahead
HELD = "cleanup_held"  # one that waits for its owner
DEATHS = "deaths"  # the latest deaths of the process within a job
INVENTORY = "inventory"  # what stood in archive and trash when that was looked at last

_PATIENCE_S = 20.0  # a commit waits so long for who reads: somebody checks a large catalog
_DISK_ADVICE = "Look at the disk that holds it: space, rights, and whether it is mounted read-only"
_BUSY_ADVICE = "Another program holds it for long: a copy that is made of it, perhaps. The work goes on by itself"
_PAGE = 1000  # rows
_RECORDINGS = "SELECT *, (SELECT body FROM receipt WHERE receipt.recording = recording.id) AS receipt FROM recording"
_WRITE_VERSION, _WRITE_VERSIONS = 18, (1, 2)  # the byte of the header that says who may write, and what that may be
_STEPS = 1_000_000  # of SQLite's machine, some milliseconds
_TRIED, _TRIED_CHARACTERS = "tried", 8192  # a word that is written to see whether one can be


def _nobody_asks() -> None:
    return


class ClaimLostError(ArchiverError):
    """A recording was not in the state its owner left it in: somebody else moved it."""


class OlderSchemaError(StartupError):
    """A catalog that an earlier archiverd wrote can't be read before it is brought up to date."""


class CatalogLostError(StartupError):
    """The file can't serve as the catalog. `readable`: nothing is wrong with it but that it may not be written."""

    def __init__(self, message: str, *, readable: bool = False) -> None:
        advice = "The next run sets the file aside and makes it anew from the trees: no recording is lost by that"
        if readable:
            advice = "Run it as the user archiverd runs as. A run as this one would go on with a copy of the file"
        super().__init__(message, advice=advice)
        self.readable = readable


class CatalogConnection:
    """One connection to the catalog file; belongs to the thread that opened it. What is asked of it: `Catalog`.

    Raises, from any method: ResourceError when the disk under the catalog fails or is full; CatalogLostError when
    the file is damaged, of a newer version, or may not be written; StartupError when it is another program's.
    """

    def __init__(self, path: Path, *, read_only: bool = False, new_id: str | None = None) -> None:
        self.path = path
        self.id = ""
        self._read_only = read_only
        self._new_id = new_id
        self._version_seen = -1
        self._changes: list[tuple[int, Before | None, bool]] = []  # of the transaction: id, before, trouble
        self._change_log = ChangeLog()

    def __enter__(self) -> Self:
        with self._faults():
            self._connection = self._connect()
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise
        return self

    @classmethod
    def to_read(cls, path: Path) -> AbstractContextManager[Self]:
        """A catalog to ask questions of, whose file is not written to.

        Where a process died within a commit, SQLite must first take that commit back, and one that an earlier
        archiverd wrote must be brought up to date; this is then done in a copy.
        """
        return _reading(cls, path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    # -- opening ------------------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        if self._read_only:
            # `as_uri` escapes what would otherwise be a query or a fragment in the path.
            connection = sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=10)
        else:
            created = not self.path.exists()
            if created:
                # SQLite makes its file world-readable; where people walked by is nobody's business.
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640))
            # SQLite would open it to read, and fail at the first commit.
            if not os.access(self.path, os.W_OK) and not _is_on_read_only_disk(self.path):
                raise CatalogLostError(f"{self.path}: may not be written by this user", readable=True)
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=_PATIENCE_S)
            if created:
                _sync_directory(self.path.parent)
        connection.row_factory = sqlite3.Row
        # A flipped bit in a reason is no reason to know nothing of its row.
        connection.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
        return connection

    def _prepare(self) -> None:
        connection = self._connection
        self._recognize()
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        if not self._read_only:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA synchronous = EXTRA")
            self._migrate()
        version = self._version()
        if self._read_only and 0 < version < len(MIGRATIONS):
            raise OlderSchemaError(f"{self.path}: the catalog has schema {version}")
        if version != len(MIGRATIONS):
            raise CatalogLostError(
                f"{self.path}: the catalog was written by a newer archiverd (schema {version}, this one knows"
                f" {len(MIGRATIONS)})"
            )
        row = connection.execute("SELECT value FROM about WHERE key = 'id'").fetchone()
        if row is None:
            raise self._damaged("it has no id")
        self.id = str(row["value"])

    def examine(self, *, thoroughly: bool = True, alive: Callable[[], object] = _nobody_asks) -> None:
        """Look through the whole file for damage: its structure and, thoroughly, whether every row still makes sense.

        `alive` is called now and then. Raises: CatalogLostError. A flipped bit that leaves another sensible value goes
        unnoticed.
        """
        with self._faults(), self._alive(alive):
            check = "integrity_check" if thoroughly else "quick_check"
            said = self._connection.execute(f"PRAGMA {check}(1)").fetchone()[0]
            if said != "ok":
                raise self._damaged(said)
            if _columns(self._connection) != _columns_of_a_new_one():
                raise self._damaged("its tables are not those of a catalog")
            if thoroughly:
                self._make_sense_of_all()
        if not self._read_only:  # that it can be written is to show now, and not in the middle of a run
            with self._faults():
                self._write_nothing()

    def _write_nothing(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        finally:
            if self._connection.in_transaction:  # on a full disk SQLite has ended it by itself
                self._connection.execute("ROLLBACK")

    def _make_sense_of_all(self) -> None:
        """Read every row. A page at a time: who commits waits for no more than that."""
        with self._making_sense():
            for row in self._connection.execute("SELECT DISTINCT state FROM history").fetchall():
                State(row["state"])
            for row in self._pages(_RECORDINGS):
                read_recording(row, ())
            for row in self._pages("SELECT * FROM snapshot"):
                read_snapshot(row)
            for row in self._pages("SELECT * FROM trash", "path", b""):
                read_trashed(row[:10])

    def _pages(
        self, question: str, key: str = "id", last: object = -1
    ) -> Iterator[Any]:  # Any: as `read_recording` takes it
        while rows := self._connection.execute(
            f"{question} WHERE {key} > ? ORDER BY {key} LIMIT ?",
            (last, _PAGE),
        ).fetchall():
            yield from rows
            last = rows[-1][key]

    @contextmanager
    def _alive(self, alive: Callable[[], object]) -> Iterator[None]:
        """Call it now and then while a statement takes its time."""

        def go_on() -> int:
            alive()
            return 0

        self._connection.set_progress_handler(go_on, _STEPS)
        try:
            yield
        finally:
            self._connection.set_progress_handler(None, 0)

    def _recognize(self) -> None:
        """See that the file is a catalog, or empty, before anything is changed in it."""
        application = self._connection.execute("PRAGMA application_id").fetchone()[0]
        tables = self._connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()[0]
        ours = "SELECT COUNT(*) FROM sqlite_schema WHERE name IN ('recording', 'snapshot', 'history', 'about')"
        if application != APPLICATION_ID and self._connection.execute(ours).fetchone()[0] == 4:
            raise self._damaged("its application id is not that of a catalog")
        if application != APPLICATION_ID and tables:
            raise StartupError(
                f"{self.path}: is the database of another program", advice="Move the file aside, or choose another"
            )

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def _migrate(self) -> None:
        with self._transaction():
            version = self._version()
            # Not executescript: that commits what came before it.
            for statement in ";\n".join(MIGRATIONS[version:]).split(";\n"):
                self._connection.execute(statement)
            if version == 0:
                identity = self._new_id or secrets.token_hex(4)
                self._connection.execute("INSERT INTO about VALUES ('id', ?)", (identity,))
                self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            if version < len(MIGRATIONS):
                self._connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One write transaction: all of it is committed, or none."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Turn SQLite's errors into ours: the disk's faults pause the work, a damaged file is told as such."""
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            # The general error means here that a table or column is missing: no statement is wrong by itself.
            code = getattr(error, "sqlite_errorcode", None)
            if code == sqlite3.SQLITE_ERROR or (code == sqlite3.SQLITE_READONLY and self._denies_writing()):
                raise self._damaged(error) from error
            busy = code is not None and code & 0xFF == sqlite3.SQLITE_BUSY
            raise ResourceError(
                f"{self.path}: the catalog can't be used: {error}", advice=_BUSY_ADVICE if busy else _DISK_ADVICE
            ) from error
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter of names in the schema
            raise self._damaged(error) from error

    def _denies_writing(self) -> bool:
        """Whether its header says that it is only to be read, as none of ours does.

        The error alone does not: SQLite takes a file that it can't open to write, for want of a handle or because the
        disk fails, and opens it to read. Source: sqlite.org/fileformat2.html, "File format version numbers".
        """
        if self._read_only:
            return False
        try:
            with self.path.open("rb") as file:
                header = file.read(_WRITE_VERSION + 1)
        except OSError:
            return False
        return len(header) > _WRITE_VERSION and header[_WRITE_VERSION] not in _WRITE_VERSIONS

    def _damaged(self, why: object) -> CatalogLostError:
        return CatalogLostError(f"{self.path}: the catalog is damaged: {why}")

    @contextmanager
    def _making_sense(self) -> Iterator[None]:
        """Turn rows into values. What archiverd never wrote there is damage."""
        try:
            yield
        except (ValueError, LookupError, TypeError) as error:
            raise self._damaged(f"a row makes no sense: {error}") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; what it has added to the history is told in the log once it is committed."""
        self._changes.clear()
        with self._faults(), self._transaction():
            yield self._connection
            # Read within it: once it is committed, nothing may fail any more.
            changes = [Change(self._load(identity), before, trouble) for identity, before, trouble in self._changes]
        for change in changes:
            self._change_log.tell(change)

    # -- rows and their history ---------------------------------------------------------------------------

    def _move(
        self, recording: Recording, state: State, reason: str, now: float, *, from_: State, logged: bool = True,
        trouble: bool = False, **columns: Any,
    ) -> None:  # fmt: skip  # Any: SQLite's own value types, by column name
        """One conditional update, and its line of history; `trouble` where somebody may have to look.

        Raises: ClaimLostError when the row is not in `from_` under the job the caller knows.
        """
        assignments = "".join(f", {name} = ?" for name in columns)
        changed = self._connection.execute(
            f"UPDATE recording SET state = ?, reason = ?{assignments} WHERE id = ? AND state = ? AND job = ?",  # noqa: S608  (column names are this module's own words)
            (state, reason_text(reason), *columns.values(), recording.id, from_, recording.job),
        ).rowcount
        if changed != 1:
            raise ClaimLostError(f"{recording.path}: no longer {from_} under job {recording.job or 'none'}")
        if logged:
            before = Before(from_, recording.reason, recording.job)
            self._note(recording.id, state, reason, now, before=before, trouble=trouble)

    def _note(
        self, identity: int, state: State, reason: str, now: float, *, before: Before | None, trouble: bool = False
    ) -> None:
        """A line of the history; it becomes one of the log with the commit."""
        self._history(identity, state, reason, now)
        self._changes.append((identity, before, trouble))

    def _history(self, identity: int, state: State, reason: str, now: float) -> None:
        self._connection.execute(
            "INSERT INTO history (recording, at, state, reason) VALUES (?, ?, ?, ?)",
            (identity, now, state, reason_text(reason)),
        )

    def _select(self, where: str, values: Sequence[object]) -> list[Recording]:
        with self._faults():
            rows = self._connection.execute(f"{_RECORDINGS} WHERE {where}", values).fetchall()
            theirs = self._connection.execute(
                f"SELECT * FROM snapshot WHERE recording IN (SELECT id FROM recording WHERE {where}) ORDER BY path",  # noqa: S608  (the conditions are this module's own)
                values,
            ).fetchall()  # before anything is made of it: nobody who commits waits for that
            snapshots: dict[int, list[Snapshot]] = {}
            with self._making_sense():
                for row in theirs:
                    snapshots.setdefault(row["recording"], []).append(read_snapshot(row))
                return [read_recording(row, snapshots.get(row["id"], [])) for row in rows]

    def _put_receipt(self, identity: int, receipt: Receipt | None) -> None:
        """Keep the receipt of a recording in place of the one of before; None: it has none."""
        if receipt is None:
            self._connection.execute("DELETE FROM receipt WHERE recording = ?", (identity,))
        else:
            self._connection.execute(
                "INSERT OR REPLACE INTO receipt (recording, body) VALUES (?, ?)", (identity, receipt_text(receipt))
            )

    def _load(self, identity: int) -> Recording:
        return self._select("id = ?", (identity,))[0]

    # -- words --------------------------------------------------------------------------------------------

    def remember(self, key: str, value: str) -> str:
        """Keep a word about the trees the first time it is told; what is kept is returned from then on."""
        with self._writing() as connection:
            connection.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (key, value))
            row = connection.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
        return str(row["value"])

    def recall(self, key: str) -> str | None:
        """The word about the trees that was told first; None where none was."""
        with self._faults():
            row = self._connection.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row["value"])

    def correct(self, key: str, value: str) -> None:
        """Keep another word about the trees than before."""
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (key, value))

    def see_writable(self) -> None:
        """See that a commit would go through now. Raises: ResourceError, CatalogLostError."""
        self.correct(_TRIED, "x" * _TRIED_CHARACTERS)
        self.correct(_TRIED, "")


Kind = TypeVar("Kind", bound=CatalogConnection)


@contextmanager
def _reading(kind: type[Kind], path: Path) -> Iterator[Kind]:
    with ExitStack() as stack:
        try:
            catalog = kind(path, read_only=True)
            stack.enter_context(catalog)
        except (ResourceError, OlderSchemaError) as error:
            journal = path.with_name(path.name + "-journal")
            if isinstance(error, ResourceError) and not journal.exists():
                raise
            copies = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="archiverd-")))
            for file in filter(Path.exists, (path, journal)):
                shutil.copy2(file, copies / file.name)
            catalog = kind(copies / path.name)
            stack.enter_context(catalog)
        yield catalog


def _columns(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    """Every column by its table. Not the text of the schema: that may differ with the SQLite that wrote it."""
    rows = connection.execute(
        "SELECT tables.name, columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns"
        " WHERE tables.type = 'table'"
    )
    return {(str(table), str(column)) for table, column in rows}


def _columns_of_a_new_one() -> set[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(";\n".join(MIGRATIONS))
        return _columns(connection)


def _is_on_read_only_disk(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
