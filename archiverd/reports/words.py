"""What all reports are made of: sizes, times, tables, and lines that are safe to print."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from archiverd.policy.naming import printable
from archiverd.policy.words import size_words

if TYPE_CHECKING:
    from rich.table import Table

JsonObject = dict[str, Any]  # Any: what json.dumps takes

LISTED = 10  # of a kind that are named one by one


def size_text(size: float) -> str:
    """Bytes as people read them."""
    return size_words(size)


def time_text(seconds: float) -> str:
    """A moment in local time."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="seconds")


def date_text(seconds: float) -> str:
    """The day of a moment, in local time."""
    return datetime.fromtimestamp(seconds).date().isoformat()


def span_text(seconds: float) -> str:
    """A duration, to the second."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def share_text(part: int, whole: int) -> str:
    """A part of a whole, in percent."""
    return f"{100 * part / whole:.0f} %" if whole else "-"


def path_json(path: PurePosixPath | None) -> str | None:
    """A path as JSON can hold it, escaped where it is not UTF-8."""
    return None if path is None else printable(path)


def safe(lines: Iterable[str]) -> list[str]:
    """The lines with what a terminal would obey, or a log not encode, escaped; each stays one line."""
    return [printable(line) for line in lines]


def table_of(*columns: str) -> Table:
    """An empty table with these columns, numbers to the right."""
    from rich import box  # noqa: PLC0415  (rich is loaded only where it is shown)
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column, justify="right" if column in ("files", "size", "archive", "snapshots") else "left", overflow="fold"
        )
    return table


def add_row(table: Table, *cells: str) -> None:
    """Add a row of plain text: a name or a reason may hold what rich would take for markup, or a terminal obey."""
    from rich.text import Text  # noqa: PLC0415

    table.add_row(*(Text(printable(cell)) for cell in cells))
