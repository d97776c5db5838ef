"""Rows of the catalog as values, and values as what its columns hold.

Paths are bytes there (`os.fsencode`), a receipt is a JSON object. What archiverd never wrote makes no sense and raises
ValueError, KeyError or TypeError.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from archiverd.policy.model import (
    ArchiveKind,
    ClipName,
    Fingerprint,
    FoundFile,
    Held,
    KnownFile,
    Place,
    Receipt,
    Recording,
    Snapshot,
    State,
    Trashed,
    Tree,
)
from archiverd.policy.problems import Change, Course, Notice, Problem, ProblemKind
from archiverd.policy.tree_path import is_below

Row = Mapping[str, Any]  # Any: SQLite's own value types, by column name


def read_recording(row: Row, snapshots: Iterable[Snapshot]) -> Recording:
    """A row of the table of recordings, with its snapshots."""
    return Recording(
        id=row["id"],
        path=read_path(row["path"]),
        fingerprint=read_fingerprint(row),
        name=_read_name(row),
        state=State(row["state"]),
        reason=row["reason"],
        not_before=row["not_before"],
        seen_at=row["seen_at"],
        attempts=row["attempts"],
        crashes=row["crashes"],
        job=row["job"],
        archive=read_optional_path(row["archive"]),
        archive_sha256=row["archive_sha256"],
        archive_size=row["archive_size"],
        receipt=None if row["receipt"] is None else read_receipt(row["receipt"]),
        disposed_to=read_optional_path(row["disposed_to"]),
        snapshots=tuple(snapshots),
    )


def _read_name(row: Row) -> ClipName:
    return ClipName(os.fsdecode(row["camera"]), datetime.fromisoformat(row["taken_at"]), row["copy"])


def read_found_file(row: Row) -> FoundFile:
    """The clip of a row of the table of recordings, as it was found."""
    return FoundFile.at(read_path(row["path"]), read_fingerprint(row), _read_name(row))


def read_snapshot(row: Row) -> Snapshot:
    """A row of the table of snapshots."""
    went_to = read_optional_path(row["disposed_to"])
    return Snapshot(
        id=row["id"],
        path=read_path(row["path"]),
        fingerprint=read_fingerprint(row),
        disposed_to=None if went_to is None else Place(Tree(row["disposed_in"]), went_to),
        disposed=bool(row["disposed"]),
    )


def read_known_file(row: Row, skip: int) -> KnownFile:
    """What is known of one content of a file; the first `skip` bytes of its path are those of its directory."""
    name = os.fsdecode(row["path"][skip:])
    return KnownFile(name, read_fingerprint(row), State(row["state"]), row["not_before"])


def read_trashed(row: Sequence[Any]) -> Trashed:
    """The first ten columns of a row of the table of what lies in the trash."""
    path, ino, size, mtime_ns, camera, tree, origin, reason, trashed_at, recording = row
    lies = read_path(path)
    # Most came from the very path, and making one more takes as long as all the rest.
    came_from = Place(Tree(tree), lies if origin == path else read_path(origin))
    mark = Fingerprint(ino, size, mtime_ns)
    return Trashed(lies, mark, os.fsdecode(camera), came_from, reason, trashed_at, recording)


def trashed_values(one: Trashed) -> tuple[bytes, int, int, int, bytes, str, bytes, str, float, int | None]:
    """What lies in the trash, as its first ten columns hold it."""
    mark = one.fingerprint
    return (
        os.fsencode(one.path), mark.ino, mark.size, mark.mtime_ns, os.fsencode(one.camera), one.origin.tree,
        os.fsencode(one.origin.path), reason_text(one.reason), one.trashed_at, one.recording,
    )  # fmt: skip


def read_held(rows: Iterable[Sequence[Any]], skip: int, *, is_snapshot: bool) -> Iterator[tuple[str, Held]]:
    """What is known of files in the archive, by name: path, id, state, camera, times and size of each.

    The first `skip` bytes of a path are those of its directory. Asked of thousands at a time: words are made once.
    """
    states: dict[str, State] = {str(state): state for state in State}
    cameras: dict[bytes, str] = {}
    for path, identity, state, camera, taken_at, seen_at, size in rows:
        name = cameras.get(camera) or cameras.setdefault(camera, os.fsdecode(camera))
        taken = datetime.fromisoformat(taken_at)
        yield os.fsdecode(path[skip:]), Held(identity, states[state], name, taken, seen_at, size, is_snapshot)


def read_fingerprint(row: Row) -> Fingerprint:
    """The fingerprint in a row."""
    return Fingerprint(row["ino"], row["size"], row["mtime_ns"])


def reason_text(reason: str) -> str:
    """The reason with what SQLite's TEXT can't hold (a name that is not UTF-8) escaped."""
    return reason.encode("utf-8", "backslashreplace").decode("utf-8")


def read_path(value: bytes) -> PurePosixPath:
    """A path below a root. Raises: ValueError for one that leads elsewhere."""
    text = os.fsdecode(value)
    if not is_below(text):
        raise ValueError(f"{text!r} is no path below a root")
    return PurePosixPath(text)


def read_optional_path(value: bytes | None) -> PurePosixPath | None:
    """A path, or none."""
    return None if value is None else read_path(value)


def receipt_text(receipt: Receipt) -> str:
    """A receipt as its column holds it."""
    return json.dumps(receipt.as_json(), ensure_ascii=True)


def read_receipt(text: str) -> Receipt:
    """What a column of receipts holds."""
    values = json.loads(text)
    values["kind"] = ArchiveKind(values["kind"])
    values["source"] = Fingerprint(**values["source"])
    values["archive"] = Fingerprint(**values["archive"])
    values["checks"] = tuple(values["checks"])
    values["falls"] = tuple(values.get("falls", ()))
    return Receipt(**values)


def read_course(row: Row) -> Course | None:
    """A row of the table of problems: one that was told and not closed. None for a kind nobody knows."""
    problem = _problem(row)
    return None if problem is None else Course(problem, row["since"], is_open=True, gone_at=row["gone_at"])


def read_notice(row: Row) -> Notice | None:
    """A row of the table of what is to be handed on; None where that makes no sense."""
    problem = _problem(row)
    if problem is None or row["change"] not in set(Change):
        return None
    return Notice(Change(row["change"]), problem, row["since"], row["at"])


def _problem(row: Row) -> Problem | None:
    if row["kind"] not in set(ProblemKind):
        return None
    return Problem(ProblemKind(row["kind"]), row["subject"], row["message"], row["remedy"])


def problem_values(problem: Problem) -> tuple[str, str, str, str]:
    """A problem as its four columns hold it."""
    return problem.kind, problem.subject, problem.message, problem.remedy
