"""What the daemon costs where nothing is to be done: processor and memory, over a catalog of a hundred thousand.

A real recording is archived, and its rows in the catalog are multiplied; each copy has an archive that stands, as a
small file. Two trees are measured: one whose sources are gone, as they are after their archives are proven, and one
whose sources all stand, each kept by a `.keep` beside it. 2,740 a day, up to now: the days that are looked through
every minute are as full as the others.

The reference in the same run, for the same time, is a Python that waits for something that never comes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from archiverd.policy.model import ClipName, Fingerprint
from archiverd.policy.naming import archive_path
from archiverd.storage.catalog_schema import FILE_NAME
from bench import command, daemon
from bench.command import BenchError
from bench.daemon import Use
from tools import footage

TARGET_PERCENT, TARGET_MIB = 0.5, 80.0  # of one core; resident
QUOTED = ("Unmanic 0.4.1 *", "1.4 %", "90", "", "", "")
QUOTED_NOTE = "* measured earlier on this kind of machine, not in this run"
_CLIP = footage.Clip("bench-idle", 160, 120, "10", 0.5, crf=12, noise=8)
_CONFIG = 'settle = "0 s"\nhardware = "software"\npreset = "ultrafast"\n'
_DAILY = 2740
_CAMERAS = 10
_STUB = b"an archive, or a source, as far as its size and its hash go\n"
_IDLE = (sys.executable, "-c", "import threading; threading.Event().wait()")
_CALM_WITHIN_S = 300
_BATCH = 5000

Row = dict[str, Any]  # Any: SQLite's own value types, by column name


class Variant(StrEnum):
    """What is left of the sources."""

    GONE = "sources gone"
    STANDING = "sources kept"


@dataclass(frozen=True, slots=True)
class Measured:
    """One process over the time of the measurement."""

    name: str
    cpu_percent: float  # of one core
    rss_mib: float
    most_rss_mib: float
    ready_s: float | None = None  # from its start to READY=1
    calm_s: float | None = None  # from there until nothing is left to do


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run."""

    measured_at: str
    recordings: int
    seconds: float
    machine: dict[str, str]
    variants: tuple[Measured, ...]
    reference: Measured


def run(recordings: int, seconds: float, work: Path | None = None) -> Result:
    """Measure each variant for so long. Says on stderr how far it is. Raises: BenchError, FootageError, OSError."""
    measured, references = [], []
    for variant in Variant:
        with tempfile.TemporaryDirectory(prefix="archiverd-bench-", dir=work) as place:
            print(f"{variant}: making a tree of {recordings} recordings", file=sys.stderr)
            config = Path(place, "archiverd.toml")
            config.write_text(_CONFIG)
            tree = Path(place, "camera")
            fill(tree, config, recordings, variant)
            print(f"{variant}: measuring for {seconds:g} s, once the daemon is calm", file=sys.stderr)
            one, reference = _over(tree, config, seconds, f"archiverd, {variant}")
        measured.append(one)
        references.append(reference)
    return Result(
        datetime.now(UTC).isoformat(timespec="seconds"), recordings, seconds, command.machine(), tuple(measured),
        max(references, key=lambda reference: reference.cpu_percent),
    )  # fmt: skip


def _over(tree: Path, config: Path, seconds: float, name: str) -> tuple[Measured, Measured]:
    began = time.monotonic()
    with daemon.running(tree, config) as process, _waiting() as reference:
        ready_s = time.monotonic() - began
        daemon.calm(process.pid, within_s=_CALM_WITHIN_S)
        calm_s = time.monotonic() - began - ready_s
        before, before_reference = daemon.use_of(process.pid), daemon.use_of(reference.pid)
        began = time.monotonic()
        daemon.pause(seconds)
        took_s = time.monotonic() - began
        after, after_reference = daemon.use_of(process.pid), daemon.use_of(reference.pid)
    return (
        between(name, before, after, took_s, ready_s=ready_s, calm_s=calm_s),
        between("reference: a Python that waits", before_reference, after_reference, took_s),
    )


def between(name: str, before: Use, after: Use, took_s: float, **times: float) -> Measured:
    """What a process used from one moment to another."""
    cpu_percent = 100 * (after.cpu_s - before.cpu_s) / took_s
    return Measured(name, cpu_percent, after.rss_mib, after.most_rss_mib, **times)


@contextlib.contextmanager
def _waiting() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(_IDLE, stdin=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


# ---- the tree


def fill(tree: Path, config: Path, recordings: int, variant: Variant) -> None:
    """Archive one recording for real, and make so many copies of it. Raises: BenchError, FootageError, OSError."""
    began = datetime.now().replace(microsecond=0)
    first = footage.upload_path(tree, "template", began - timedelta(days=1))
    first.parent.mkdir(parents=True)
    shutil.copyfile(footage.cached(_CLIP), first)
    shutil.copyfile(footage.cached_snapshot(_CLIP), first.with_suffix(".jpg"))
    if variant is Variant.STANDING:
        first.with_suffix(".keep").touch()
    line = (sys.executable, "-m", "archiverd", "run", str(tree), "--config", str(config), "--no-confirm", "--quiet")
    command.run(line)
    with contextlib.closing(sqlite3.connect(tree / ".archiverd" / FILE_NAME)) as catalog:
        catalog.row_factory = sqlite3.Row
        template = _Template.read(catalog)
        for batch in _batches(_copy(tree, template, began, number, variant) for number in range(1, recordings)):
            _enter(catalog, batch)


@dataclass(frozen=True, slots=True)
class _Template:
    """The rows of the one real recording."""

    recording: Row
    receipt: Row
    snapshot: Row
    history: tuple[Row, ...]

    @classmethod
    def read(cls, catalog: sqlite3.Connection) -> _Template:
        recordings, receipts, snapshots, history = (
            [dict(row) for row in catalog.execute(f"SELECT * FROM {table}")]  # noqa: S608  (our own words)
            for table in ("recording", "receipt", "snapshot", "history")
        )
        if len(recordings) != 1 or len(snapshots) != 1:
            raise BenchError(f"one recording and its snapshot were to be archived, and were not: {recordings}")
        return cls(recordings[0], receipts[0], snapshots[0], tuple(history))


def _copy(tree: Path, template: _Template, began: datetime, number: int, variant: Variant) -> dict[str, list[Row]]:
    """Another recording like the template, its files made; its rows by table."""
    taken_at = began - timedelta(seconds=round(number * 86400 / _DAILY))
    name = ClipName(f"cam{number % _CAMERAS}", taken_at)
    path = PurePosixPath(footage.upload_path(Path(), name.camera, taken_at))
    archive = archive_path(name, path.name)
    archived = _stub(tree / "archived" / archive, taken_at)
    if variant is Variant.STANDING:
        source = _stub(tree / path, taken_at)
        (tree / path.with_suffix(".keep")).touch()
    else:
        source = Fingerprint(ino=1 << 40 | number, size=len(_STUB), mtime_ns=int(taken_at.timestamp() * 1e9))
    sha256 = hashlib.sha256(_STUB).hexdigest()
    receipt = json.loads(template.receipt["body"]) | {
        "source": source._asdict(), "source_sha256": sha256, "archive": archived._asdict(), "archive_sha256": sha256,
    }  # fmt: skip
    recording = template.recording | source._asdict() | {
        "id": number + 1, "path": os.fsencode(path), "camera": name.camera.encode(), "taken_at": taken_at.isoformat(),
        "job": template.recording["job"] and f"{number:012x}", "archive": os.fsencode(archive),
        "archive_sha256": sha256, "archive_size": len(_STUB),
    }  # fmt: skip
    snapshot = template.snapshot | {
        "id": number + 1, "recording": number + 1, "ino": 1 << 41 | number,
        "path": os.fsencode(path.with_suffix(".jpg")),
    }  # fmt: skip
    for row, place in ((recording, path), (snapshot, path.with_suffix(".jpg"))):
        if row["disposed_to"] is not None:
            row["disposed_to"] = os.fsencode(place)
    history = [
        line | {"id": number * len(template.history) + at + 1, "recording": number + 1}
        for at, line in enumerate(template.history)
    ]
    snapshots = [] if variant is Variant.STANDING else [snapshot]
    receipts = [{"recording": number + 1, "body": json.dumps(receipt)}]
    return {"recording": [recording], "receipt": receipts, "snapshot": snapshots, "history": history}


def _stub(path: Path, taken_at: datetime) -> Fingerprint:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_STUB)
    os.utime(path, (taken_at.timestamp(),) * 2)
    return Fingerprint.of(path.stat())


def _batches(copies: Iterator[Mapping[str, list[Row]]]) -> Iterator[dict[str, list[Row]]]:
    """Many copies in one transaction: a commit for each would take as long as a day's work."""
    batch: dict[str, list[Row]] = {}
    for number, copy in enumerate(copies, 1):
        for table, rows in copy.items():
            batch.setdefault(table, []).extend(rows)
        if number % _BATCH == 0:
            yield batch
            batch = {}
    yield batch


def _enter(catalog: sqlite3.Connection, batch: Mapping[str, list[Row]]) -> None:
    """Insert rows, by table, in one transaction."""
    with catalog:
        for table, rows in batch.items():
            if rows:
                columns, values = ", ".join(rows[0]), ", ".join(f":{column}" for column in rows[0])
                line = f"INSERT INTO {table} ({columns}) VALUES ({values})"  # noqa: S608  (our own words)
                catalog.executemany(line, rows)


# ---- reports


def table(result: Result) -> str:
    """The figures, for people."""
    measured = (*result.variants, result.reference)
    worst = max(one.cpu_percent for one in result.variants), max(one.rss_mib for one in result.variants)
    lines = [
        f"{result.recordings} recordings in the catalog, {result.seconds:g} s each",
        *(f"{name:<8}{value}" for name, value in result.machine.items()),
        "",
        *daemon.table(("", "of one core", "RSS MiB", "most", "ready s", "calm s"), [*map(_row, measured), QUOTED]),
        QUOTED_NOTE,
        "",
        f"processor: {daemon.met(worst[0], TARGET_PERCENT, '%')}",
        f"memory: {daemon.met(worst[1], TARGET_MIB, 'MiB')}",
    ]
    return "\n".join(lines)


def _row(one: Measured) -> tuple[str, ...]:
    times = ("" if value is None else f"{value:.1f}" for value in (one.ready_s, one.calm_s))
    return (one.name, f"{one.cpu_percent:.2f} %", f"{one.rss_mib:.1f}", f"{one.most_rss_mib:.1f}", *times)
