"""The trash: a line for each file, how much all of it is, and what is to go for good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from archiverd.policy.answer import Answer
from archiverd.policy.model import Trashed
from archiverd.policy.naming import printable
from archiverd.reports.words import LISTED, JsonObject, add_row, safe, size_text, table_of, time_text

if TYPE_CHECKING:
    from rich.table import Table


class Lying(Protocol):
    """A file that lies in the trash."""

    @property
    def what(self) -> Trashed: ...

    @property
    def size(self) -> int: ...

    @property
    def protected(self) -> bool: ...


def trash_table(files: Sequence[Lying]) -> Table:
    """Files of the trash, a line each."""
    table = table_of("trashed at", "camera", "size", "from", "path", "why")
    for file in files:
        one = file.what
        why = f"{one.reason} (protected)" if file.protected else one.reason
        path, size = printable(one.path), size_text(file.size)
        add_row(table, time_text(one.trashed_at), one.camera, size, one.origin.tree, path, why)
    return table


def trash_json(files: Sequence[Lying]) -> JsonObject:
    """The same as JSON, and how much it is together."""
    return {
        "files": [
            {
                "path": printable(file.what.path),
                "camera": printable(file.what.camera),
                "bytes": file.size,
                "trashed_at": file.what.trashed_at,
                "from": file.what.origin.tree,
                "origin": printable(file.what.origin.path),
                "reason": file.what.reason,
                "protected": file.protected,
            }
            for file in files
        ],
        "total": {"files": len(files), "bytes": sum(file.size for file in files)},
    }


def trash_lines(files: Sequence[Lying]) -> list[str]:
    """How much it is together."""
    if not files:
        return ["Nothing of that lies in the trash."]
    return safe([f"{_many(files)}, the oldest there since {time_text(files[0].what.trashed_at)}"])


def emptying_lines(going: Sequence[Lying], kept: int) -> list[str]:
    """What is to go for good, oldest first, and how much stays."""
    lines = ["Nothing in the trash is to go."]
    if going:
        oldest, newest = going[0].what, going[-1].what
        lines = [
            f"To be deleted for good: {_many(going)}",
            f"  oldest: {time_text(oldest.trashed_at)}  {printable(oldest.path)}",
            f"  newest: {time_text(newest.trashed_at)}  {printable(newest.path)}",
        ]
    if kept:
        lines.append(f"Protected, and stays: {kept} files")
    return safe(lines)


def emptied_lines(files: int, freed: int, refused: Sequence[Answer]) -> list[str]:
    """What has gone for good, and what did not."""
    lines = [f"Deleted for good: {files} files; {size_text(freed)} are free again"]
    lines += [f"  {printable(one.path)}: {one.words}" for one in refused[:LISTED]]
    if len(refused) > LISTED:
        lines.append(f"  and {len(refused) - LISTED} more")
    return safe(lines)


def _many(files: Sequence[Lying]) -> str:
    return f"{len(files)} files, {size_text(sum(file.size for file in files))}"
