"""The words of a command line of ffmpeg, taken apart as ffmpeg does it.

This and what else `program.py` imports are plain classes and functions: `dataclasses` and `typing` cost longer to
import than the rest of a call takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

Table = dict[str, dict[str, str]]


class UnknownOptionError(Exception):
    """A word that no part of ffmpeg has as an option."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Option:
    """`-c:v hevc_qsv`: name "c", spec "v", value "hevc_qsv"; the value of a flag is None."""

    __slots__ = ("flag", "name", "spec", "value")

    def __init__(self, flag: str, value: str | None) -> None:
        self.flag = flag
        self.value = value
        self.name, _, self.spec = flag[1:].partition(":")

    @property
    def is_for_video(self) -> bool:
        return not self.spec or self.spec.startswith("v") or self.spec.isdigit()

    @property
    def words(self) -> list[str]:
        return [self.flag] if self.value is None else [self.flag, self.value]


class File:
    """An input or output with the options before it; the global ones stand among those of whatever follows."""

    __slots__ = ("options", "reads", "url")

    def __init__(self, options: list[Option], url: str, *, reads: bool) -> None:
        self.options = options
        self.url = url
        self.reads = reads

    def value(self, *flags: str) -> str | None:
        """Of the last of these flags that is given."""
        values = [option.value for option in self.options if option.flag in flags]
        return values[-1] if values else None

    @property
    def codec(self) -> str:
        """The codec named for the video."""
        named = [option.value for option in self.options if option.name in ("c", "codec") and option.is_for_video]
        return named[-1] or "" if named else ""

    @property
    def words(self) -> list[str]:
        words = [word for option in self.options for word in option.words]
        return [*words, "-i", self.url] if self.reads else [*words, self.url]


def taken_apart(words: Sequence[str], takes_value: Callable[[str], bool]) -> list[File]:
    """The files of a command line. `takes_value` raises UnknownOptionError for a name it has never heard of."""
    files: list[File] = []
    options: list[Option] = []
    left = iter(words)
    for word in left:
        if word == "-" or not word.startswith("-"):
            files.append(File(options, word, reads=False))
            options = []
        elif word == "-i":
            files.append(File(options, next(left, ""), reads=True))
            options = []
        else:
            options.append(_option(word, left, takes_value))
    if options:
        files.append(File(options, "", reads=False))
    return files


def _option(word: str, left: Iterator[str], takes_value: Callable[[str], bool]) -> Option:
    return Option(word, next(left, "") if takes_value(word[1:].partition(":")[0]) else None)


def filters_of(graph: str) -> list[tuple[str, str]]:
    """The filters of a simple chain, each with its arguments as written; quotes and backslashes are heeded."""
    return [(name, arguments) for name, _, arguments in (part.partition("=") for part in split(graph, ","))]


def split(text: str, mark: str) -> list[str]:
    """The parts between the marks that stand neither within quotes nor behind a backslash."""
    parts, quoted, escaped = [""], False, False
    for letter in text:
        if letter == mark and not quoted and not escaped:
            parts.append("")
            continue
        quoted ^= letter == "'" and not escaped
        escaped = letter == "\\" and not escaped
        parts[-1] += letter
    return parts
