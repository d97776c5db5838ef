"""The bars of ProgressReporter on a terminal. Apart from it, so that rich is loaded only where bars are shown."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO

from rich.console import Console, ConsoleDimensions
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from archiverd.service.standing import (
    NAME_WIDTH,
    CurrentFile,
    Standing,
    clock_text,
    file_left_s,
    percent_text,
    rate_text,
    shortened,
)

WIDEST = 120  # columns: a longer bar says no more
BAR_FROM = 72  # columns: below this the numbers need the room


class _Terminal(Console):
    """A console that leaves the cursor to be seen."""

    def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002  (rich's signature)
        # A process that is killed cannot bring a hidden cursor back.
        return False


class BarsView:
    """Two bars at the bottom of a terminal: the current file, and all of them. Gone when closed."""

    def __init__(self, stream: TextIO, standing: Standing, environ: Mapping[str, str]) -> None:
        self._stream = stream
        self._standing = standing
        self._console = _Terminal(
            file=stream,
            force_terminal=True,
            force_interactive=True,
            force_jupyter=False,
            markup=False,
            emoji=False,
            highlight=False,
            _environ=environ,  # TERM, NO_COLOR, …
        )
        self._live = Live(
            get_renderable=lambda: bars(self._standing, self._console.width),
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def draw(self, standing: Standing) -> None:
        self._standing = standing
        self._measure()
        self._live.start()
        self._live.refresh()

    def print_above(self, text: str) -> None:
        self._measure()
        self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        self._live.stop()

    def _measure(self) -> None:
        # Asked of this very stream, each time: the window may have another size by now.
        columns, rows = os.get_terminal_size(self._stream.fileno())
        self._console.size = ConsoleDimensions(columns or 80, rows or 24)  # some terminals do not tell: 0


def bars(standing: Standing, width: int) -> Table:
    """The two rows for a terminal of this many columns: label, bar where there is room, per cent, numbers."""
    label_width = NAME_WIDTH if width >= BAR_FROM else max(8, width // 3)
    columns = [Column(no_wrap=True, overflow="ellipsis", max_width=label_width)]
    if width >= BAR_FROM:
        columns.append(Column(ratio=1))
    columns += [Column(no_wrap=True, justify="right", min_width=5), Column(no_wrap=True, overflow="ellipsis")]
    table = Table.grid(*columns, padding=(0, 1))
    table.width = min(width, WIDEST)
    current = standing.current
    if current is not None:
        fraction = current.fraction
        percent = "" if fraction is None else percent_text(fraction)
        _row(table, width, shortened(current.name, label_width), fraction or 0.0, percent, _of_file(current))
    count = f"{standing.done_files}/{standing.total_files} files"
    _row(table, width, count, standing.fraction, percent_text(standing.fraction), _of_all(standing))
    return table


def _row(table: Table, width: int, label: str, fraction: float, percent: str, numbers: str) -> None:
    bar = [ProgressBar(total=1.0, completed=fraction, complete_style="cyan", finished_style="green")]
    table.add_row(Text(label), *(bar if width >= BAR_FROM else ()), Text(percent), Text(numbers, style="dim"))


def _of_file(current: CurrentFile) -> str:
    left_s = file_left_s(current)
    parts = [current.stage] if current.stage else []
    if current.speed:
        parts.append(f"{current.speed:.1f}x")
    if left_s is not None:
        parts.append(f"{clock_text(left_s)} left")
    return ", ".join(parts)


def _of_all(standing: Standing) -> str:
    parts = [clock_text(standing.elapsed_s)]
    if standing.bytes_per_s is not None:
        parts.insert(0, rate_text(standing.bytes_per_s))
    if standing.left_s is not None:
        parts.append(f"{clock_text(standing.left_s)} left")
    return ", ".join(parts)
