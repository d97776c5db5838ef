"""ProgressReporter: bars on a terminal, a plain line now and then elsewhere, and the log's lines above them."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Protocol, TextIO

from archiverd.service.log_lines import one_line
from archiverd.service.standing import CurrentFile, Standing, clamped, clock_text, plain_line

FRAME_S = 0.25  # between two drawings of the bars


class View(Protocol):
    """Where the standing is shown. Called by one thread at a time; may raise OSError and ValueError."""

    def draw(self, standing: Standing) -> None:
        """Show how far the work has come."""

    def print_above(self, text: str) -> None:
        """Write lines (no final newline) that stay."""

    def close(self) -> None:
        """Leave the stream as it was found."""


class LinesView:
    """Plain lines. No stream (stderr closed from outside) shows nothing."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def draw(self, standing: Standing) -> None:
        self.print_above(plain_line(standing))

    def print_above(self, text: str) -> None:
        if self._stream is None:
            return
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        return


class ProgressReporter:
    """Shows how far the work has come, from `with` to its end, and is the Display that log lines go through.

    On a terminal (TERM other than dumb): two bars, drawn four times a second. Elsewhere a line every `interval_s`
    seconds and one at the end of each file. `quiet` shows neither, but still writes what `print_above` is given. A
    thread of its own does the drawing: a long silent stage shows its time too, and an update costs next to nothing.

    Any thread may call anything. A stream that is closed, full or gone never raises.
    """

    def __init__(
        self,
        total_files: int,
        total_bytes: int,
        *,
        stream: TextIO | None = None,  # stderr
        interval_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        quiet: bool = False,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._stream: TextIO | None = sys.stderr if stream is None else stream
        self._interval_s = interval_s
        self._clock = clock
        self._quiet = quiet
        self._environ = environ
        self._lock = threading.RLock()  # over the standing and the stream
        self._standing = Standing(total_files, total_bytes)
        self._view: View = LinesView(self._stream)
        self._bars = False
        self._began_s = 0.0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> ProgressReporter:
        self._began_s = self._clock()
        if self._quiet:
            return self
        self._bars = is_terminal(self._stream, self._environ)
        if self._bars and self._stream is not None:
            from archiverd.service.bars import BarsView  # noqa: PLC0415  (rich is loaded only where it is shown)

            self._view = BarsView(self._stream, self._standing, self._environ)
        self._thread = threading.Thread(target=self._draw_on, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        with self._showing() as view:
            self._view = LinesView(self._stream)
            view.close()

    def begin(self, name: str, size_bytes: int, duration_s: float | None) -> None:
        """A file is taken up. One that was not ended is not counted."""
        with self._lock:
            current = CurrentFile(one_line(name), size_bytes, duration_s, self._clock())
            self._standing = replace(self._standing, current=current)

    def stage(self, text: str) -> None:
        """The current file enters a stage, named as it goes on: "transcoding", "verifying"."""
        with self._lock:
            current = self._standing.current
            if current is not None:
                current = replace(current, stage=one_line(text), fraction=None, speed=None)
                self._standing = replace(self._standing, current=current)

    def update(self, fraction: float, speed: float | None) -> None:
        """The stage is done by `fraction` (0..1), at `speed` seconds of playing time a second."""
        with self._lock:
            current = self._standing.current
            if current is not None:
                fraction = clamped(fraction)
                furthest = max(current.furthest, fraction)
                current = replace(current, fraction=fraction, furthest=furthest, speed=speed)
                self._standing = replace(self._standing, current=current)

    def end(self, outcome: str) -> None:
        """The current file is done with, whatever came of it: "archived", "failed: …"; "" where it needs no line."""
        with self._showing() as view:
            before, current = self._standing, self._standing.current
            if current is None:
                return
            self._standing = replace(
                before,
                done_files=before.done_files + 1,
                done_bytes=before.done_bytes + current.size_bytes,
                current=None,
            )
            if outcome and not self._bars and not self._quiet:
                took = clock_text(self._clock() - current.began_s)
                count = f"{self._standing.done_files}/{self._standing.total_files} files"
                view.print_above(f"{count}, {current.name}: {one_line(outcome)}, took {took}")

    def print_above(self, text: str) -> None:
        """Write lines (no final newline) above what is shown."""
        with self._showing() as view:
            view.print_above(text)

    def refresh(self) -> None:
        """Show the standing of now. The thread's one turn."""
        with self._showing() as view:
            view.draw(replace(self._standing, elapsed_s=max(0.0, self._clock() - self._began_s)))

    def _draw_on(self) -> None:
        period_s = FRAME_S if self._bars else self._interval_s
        while not self._over.wait(period_s):
            self.refresh()

    @contextlib.contextmanager
    def _showing(self) -> Iterator[View]:
        """Hold the lock over the view. A stream that will not take what is written is no reason to stop."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            yield self._view


def is_terminal(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    """Whether the stream is a terminal that can move its cursor."""
    if stream is None or environ.get("TERM", "") in {"", "dumb", "unknown"}:
        return False
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False
