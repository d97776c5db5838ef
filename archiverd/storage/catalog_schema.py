"""The tables of the catalog, and how they came to be what they are."""

from __future__ import annotations

FILE_NAME = "catalog.sqlite"

APPLICATION_ID = 0x61726368  # "arch": tells a catalog from the database of another program

# Each entry brings the schema from the version of its index to the next. Never change one that was released.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE recording (
        id INTEGER PRIMARY KEY,
        path BLOB NOT NULL,
        ino INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        camera BLOB NOT NULL, taken_at TEXT NOT NULL, copy INTEGER NOT NULL,
        state TEXT NOT NULL, reason TEXT NOT NULL,
        not_before REAL NOT NULL, seen_at REAL NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, crashes INTEGER NOT NULL DEFAULT 0,
        job TEXT NOT NULL DEFAULT '',
        archive BLOB, archive_sha256 TEXT NOT NULL DEFAULT '', archive_size INTEGER NOT NULL DEFAULT 0,
        receipt TEXT,
        disposed_to BLOB,
        UNIQUE (path, ino, size, mtime_ns)
    ) STRICT;
    CREATE INDEX recording_by_state ON recording (state, taken_at);
    CREATE INDEX recording_by_archive ON recording (archive) WHERE archive IS NOT NULL;
    CREATE INDEX recording_by_job ON recording (job) WHERE job <> '';
    CREATE INDEX recording_by_disposed_to ON recording (disposed_to) WHERE disposed_to IS NOT NULL;
    CREATE TABLE snapshot (
        id INTEGER PRIMARY KEY,
        recording INTEGER NOT NULL REFERENCES recording (id) ON DELETE CASCADE,
        path BLOB NOT NULL,
        ino INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        disposed INTEGER NOT NULL DEFAULT 0,
        disposed_to BLOB,
        UNIQUE (path, ino, size, mtime_ns)
    ) STRICT;
    CREATE INDEX snapshot_by_recording ON snapshot (recording);
    CREATE TABLE history (
        id INTEGER PRIMARY KEY,
        recording INTEGER NOT NULL REFERENCES recording (id) ON DELETE CASCADE,
        at REAL NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL
    ) STRICT;
    CREATE INDEX history_by_recording ON history (recording, id);
    """,
    # The tree of `disposed_to`. What was let go of before that was asked went to the trash.
    """
    ALTER TABLE snapshot ADD COLUMN disposed_in TEXT NOT NULL DEFAULT 'trash';
    CREATE INDEX snapshot_by_disposed_to ON snapshot (disposed_to) WHERE disposed_to IS NOT NULL;
    """,
    # What encoded each archive, and the first fall on the way there, are asked for of all at once.
    """
    ALTER TABLE recording ADD COLUMN rung TEXT NOT NULL DEFAULT '';
    ALTER TABLE recording ADD COLUMN fell TEXT NOT NULL DEFAULT '';
    UPDATE recording SET rung = COALESCE(json_extract(receipt, '$.rung'), '') WHERE json_valid(receipt);
    CREATE INDEX recording_by_rung ON recording (rung) WHERE rung <> '';
    CREATE INDEX recording_by_fall ON recording (id) WHERE fell <> '';
    """,
    # What is wrong now, and what is still to be handed on of it, so that a restart tells nothing twice.
    """
    CREATE TABLE problem (
        kind TEXT NOT NULL, subject TEXT NOT NULL,
        message TEXT NOT NULL, remedy TEXT NOT NULL,
        since REAL NOT NULL, gone_at REAL,
        PRIMARY KEY (kind, subject)
    ) STRICT;
    CREATE TABLE notice (
        id INTEGER PRIMARY KEY,
        change TEXT NOT NULL,
        kind TEXT NOT NULL, subject TEXT NOT NULL,
        message TEXT NOT NULL, remedy TEXT NOT NULL,
        since REAL NOT NULL, at REAL NOT NULL
    ) STRICT;
    CREATE INDEX recording_by_due ON recording (state, not_before);
    """,
    # What lies in the trash, where it came from, why and since when; and for a while what lay there. What was let go of
    # before that was asked went there with the last line of its history.
    """
    CREATE TABLE trash (
        path BLOB PRIMARY KEY,
        ino INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        camera BLOB NOT NULL,
        origin_tree TEXT NOT NULL, origin BLOB NOT NULL,
        reason TEXT NOT NULL,
        trashed_at REAL NOT NULL,
        recording INTEGER REFERENCES recording (id) ON DELETE SET NULL,
        given_up INTEGER NOT NULL DEFAULT 0,
        gone_at REAL, gone_why TEXT NOT NULL DEFAULT ''
    ) STRICT, WITHOUT ROWID;
    INSERT OR REPLACE INTO trash (path, ino, size, mtime_ns, camera, origin_tree, origin, reason, trashed_at, recording)
        SELECT disposed_to, ino, size, mtime_ns, camera, 'source', path, reason, COALESCE((SELECT at FROM history WHERE
            history.recording = recording.id ORDER BY history.id DESC LIMIT 1), seen_at), id
        FROM recording WHERE disposed_to IS NOT NULL AND state <> 'gone' ORDER BY disposed_to;
    INSERT OR IGNORE INTO trash (path, ino, size, mtime_ns, camera, origin_tree, origin, reason, trashed_at, recording)
        SELECT disposed_to, ino, size, mtime_ns, camera, 'source', path, reason, COALESCE((SELECT at FROM history WHERE
            history.recording = recording.id ORDER BY history.id DESC LIMIT 1), seen_at), id
        FROM recording WHERE disposed_to IS NOT NULL AND state = 'gone' ORDER BY disposed_to;
    INSERT OR IGNORE INTO trash (path, ino, size, mtime_ns, camera, origin_tree, origin, reason, trashed_at, recording)
        SELECT snapshot.disposed_to, snapshot.ino, snapshot.size, snapshot.mtime_ns, camera, 'source', snapshot.path,
            'it went with its recording', COALESCE((SELECT at FROM history WHERE
            history.recording = recording.id ORDER BY history.id DESC LIMIT 1), seen_at), recording.id
        FROM snapshot JOIN recording ON recording.id = snapshot.recording
        WHERE snapshot.disposed_to IS NOT NULL AND disposed_in = 'trash' ORDER BY snapshot.disposed_to;
    CREATE INDEX trash_by_time ON trash (trashed_at) WHERE gone_at IS NULL;
    CREATE INDEX trash_by_end ON trash (gone_at) WHERE gone_at IS NOT NULL;
    CREATE INDEX trash_by_recording ON trash (recording) WHERE recording IS NOT NULL;
    """,
    # Receipts apart: each is longer than the row of its recording, and that is written anew with every step.
    """
    CREATE TABLE receipt (
        recording INTEGER PRIMARY KEY REFERENCES recording (id) ON DELETE CASCADE,
        body TEXT NOT NULL
    ) STRICT;
    INSERT INTO receipt SELECT id, receipt FROM recording WHERE receipt IS NOT NULL;
    ALTER TABLE recording DROP COLUMN receipt;
    """,
    # How many are in each state, and their bytes, is told without a look at half a million rows.
    """
    DROP INDEX recording_by_due;
    CREATE INDEX recording_by_due ON recording (state, not_before, size);
    """,
)
