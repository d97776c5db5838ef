"""What a program says, cut and bounded: lines of its stdout, both ends of its stderr."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

MAX_LINE: Final = 64 * 1024  # bytes of one line on stdout; the rest of a longer line is dropped
STDERR_HEAD: Final = 4 * 1024  # bytes
STDERR_TAIL: Final = 16 * 1024  # bytes

_ADDRESS: Final = re.compile(r" @ 0x[0-9a-f]+")
# libgcrypt, which ffmpeg loads, where memory can't be locked (containers): nothing about what ffmpeg reads.
_UNLOCKED: Final = re.compile(r"^Warning: using insecure memory!\n?", re.MULTILINE)


class LineCutter:
    """Lines out of chunks of bytes, with bounded memory: a line longer than `max_line` bytes loses its end."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._max_line = max_line
        self._open = bytearray()

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The lines that `chunk` completes, without newline; what is not UTF-8 is replaced by U+FFFD."""
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            self._keep(piece)
            yield from self.close(even_empty=True)
        self._keep(rest)

    def close(self, *, even_empty: bool = False) -> Iterator[str]:
        """The line that is still open, if there is one."""
        line = self._open.decode("utf-8", "replace")
        self._open.clear()
        if line or even_empty:
            yield line

    def _keep(self, piece: bytes) -> None:
        self._open += piece[: self._max_line - len(self._open)]


class BothEnds:
    """The first and the last bytes of a stream of any length."""

    def __init__(self, head: int = STDERR_HEAD, tail: int = STDERR_TAIL) -> None:
        self._head_size = head
        self._tail_size = tail
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0  # bytes

    def feed(self, chunk: bytes) -> None:
        room = self._head_size - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[room:]
        excess = max(0, len(self._tail) - self._tail_size)
        self._dropped += excess
        del self._tail[:excess]

    def text(self) -> str:
        """What was kept as printable text: other bytes and characters, except newlines, as backslash escapes."""
        if not self._dropped:
            return printable(bytes(self._head + self._tail))
        return f"{printable(bytes(self._head))}\n[... {self._dropped} bytes ...]\n{printable(bytes(self._tail))}"


def printable(raw: bytes) -> str:
    """UTF-8 as text that is safe to show: no control, bidirectional or broken characters, newlines kept.

    The memory addresses in ffmpeg's `[h264 @ 0x55d0c8]` are left out: they tell nobody anything, and one fault
    would read differently each time. So is what a library says of the machine, and not of the file.
    """
    text = _UNLOCKED.sub("", _ADDRESS.sub("", raw.decode("utf-8", "backslashreplace")))
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
