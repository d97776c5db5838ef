"""A terminal to test on: a real pty, and the screen that what came out of it makes."""

from __future__ import annotations

import contextlib
import os
import re
import termios
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

_TOKEN = re.compile(r"\x1b\[(?P<args>[\d;?]*)(?P<final>[A-Za-z])|(?P<control>[\r\n])|(?P<text>[^\x1b\r\n]+)")


def screen_of(output: str) -> list[str]:
    """The lines a terminal of endless size shows after this output; empty ones at the end left out.

    Knows what the display may use: text, CR, LF, cursor up, erase line, colours. Anything else is an error.
    """
    lines, row, column = [""], 0, 0
    position = 0
    while position < len(output):
        token = _TOKEN.match(output, position)
        assert token is not None, f"unexpected output {output[position : position + 20]!r}"
        position = token.end()
        match token["final"] or token["control"]:
            case None:
                text = token["text"]
                lines[row] = lines[row].ljust(column)[:column] + text + lines[row][column + len(text) :]
                column += len(text)
            case "\r":
                column = 0
            case "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            case "A":
                row = max(0, row - int(token["args"] or 1))
            case "K":
                lines[row] = ""
            case "m":
                continue
            case other:
                raise AssertionError(f"unexpected control {other!r} {token['args']!r}")
    shown = [line.rstrip() for line in lines]
    while shown and not shown[-1]:
        shown.pop()
    return shown


class Terminal:
    """A pty whose output is read as it comes. `stream` is its inner side, as a program sees it."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self._master, slave = os.openpty()
        self._read = bytearray()
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8", errors="backslashreplace")
        self.resize(columns, rows)
        self._reader = threading.Thread(target=self._drain, name="terminal", daemon=True)
        self._reader.start()

    def resize(self, columns: int, rows: int = 24) -> None:
        termios.tcsetwinsize(self.stream.fileno(), (rows, columns))

    def type(self, keys: str | bytes) -> None:
        """What a person types; "\x03" is Ctrl-C, "\x04" Ctrl-D."""
        os.write(self._master, keys if isinstance(keys, bytes) else keys.encode())

    @property
    def output(self) -> str:
        return bytes(self._read).decode("utf-8", "replace")

    @property
    def screen(self) -> list[str]:
        return screen_of(self.output)

    def shows(self, condition: Callable[[list[str]], bool]) -> list[str]:
        """The first screen seen for which the condition holds; an assertion when there is none in time."""
        seen: list[str] = []

        def holds() -> bool:
            seen[:] = self.screen
            return condition(seen)

        until(holds)
        return seen

    def close(self) -> str:
        """Close the inner side; returns all that came out."""
        with contextlib.suppress(OSError):
            self.stream.close()
        self._reader.join(10)
        return self.output

    def _drain(self) -> None:
        with contextlib.suppress(OSError):  # EIO: nobody has the inner side open any more
            while block := os.read(self._master, 65536):
                self._read += block
        os.close(self._master)


@contextlib.contextmanager
def terminal(columns: int = 80, rows: int = 24) -> Iterator[Terminal]:
    opened = Terminal(columns, rows)
    try:
        yield opened
    finally:
        opened.close()


def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait until the condition holds; an assertion when it does not in time."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        pause.wait(0.01)
