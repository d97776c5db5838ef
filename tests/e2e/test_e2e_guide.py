"""The guide, done as it is written: every command of it is typed at a terminal, every line it shows is looked for.

A block marked `console` is a session: `$ ` begins a command, what follows is what the screen shows. `…` stands for
whatever stands there, alone on a line for any number of lines. A line that ends a question with an answer is typed.
`<!-- exits with N -->` before a block tells the exit code of its last command, 0 without. A block marked `crontab` is
a line of one.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from tests.program import CHECKOUT, environment
from tests.screen import terminal
from tools import footage

GUIDE = CHECKOUT / "docs" / "guide" / "first-steps.md"
CAMERAS = ("front", "back", "yard", "garage", "gate", "side")
START = datetime(2026, 3, 14, 7, 0)
_PLACE = "/srv/ftp/cameras"  # in the guide
_CONFIG = "/etc/archiverd/archiverd.toml"
_INSTALLED = "/usr/local/bin/archiverd"
_QUESTION = re.compile(r"(?P<question>\w+ \[.*\]:|(?:Go ahead|Delete) .*\[y/N\]) ?(?P<answer>.*)")


@dataclass(frozen=True, slots=True)
class Typed:
    """One command of a session, what the screen shows after it, and how it ends."""

    command: str
    shown: tuple[str, ...]
    code: int


def sessions(text: str) -> Iterator[Typed]:
    blocks = re.findall(r"(?ms)^(?:<!-- exits with (\d+) -->\n)?^```(console|crontab)\n(.*?)^```", text)
    for code, kind, block in blocks:
        if kind == "crontab":
            _, _, _, _, _, command = block.strip().split(maxsplit=5)
            yield Typed(command, (), int(code or 0))
            continue
        parts = re.split(r"(?m)^\$ ", block)[1:]
        for number, part in enumerate(parts, 1):
            command, *shown = part.rstrip("\n").split("\n")
            yield Typed(command, tuple(shown), int(code or 0) if number == len(parts) else 0)


class Recorder:
    """The box of the guide: six cameras, one cut-off upload, archiverd and sudo on the search path."""

    def __init__(self, base: Path) -> None:
        self.cameras = base / "cameras"
        self._programs = base / "programs"
        self._config = base / "archiverd.toml"
        self._programs.mkdir()
        clips = footage.tree(self.cameras, footage.SAMPLE[:7], start=START, cameras=CAMERAS)
        footage.cut(clips[6], 0.6)
        os.utime(clips[6], (START.timestamp(), START.timestamp()))
        self._program("sudo", 'exec "$@"')
        archiverd = shlex.join((sys.executable, "-m", "archiverd"))
        config = shlex.quote(str(self._config))
        self._program(
            "archiverd",
            f'case "$1 $2" in\n"config init") exec {archiverd} "$@" --file {config} ;;\n'
            f'*) exec {archiverd} "$@" --config {config} ;;\nesac',
        )

    def _program(self, name: str, body: str) -> None:
        (self._programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (self._programs / name).chmod(0o755)

    def here(self, text: str) -> str:
        """A line of the guide, as it is on this box."""
        for there, here in ((_PLACE, self.cameras), (_INSTALLED, "archiverd"), (_CONFIG, self._config)):
            text = text.replace(there, str(here))
        return text

    def type(self, typed: Typed) -> tuple[int, list[str]]:
        """Type a command and the answers it is shown to get; how it ended, and the screen."""
        for marker in self.cameras.rglob(".archiverd-root"):  # as old as one is when a trash is emptied
            os.utime(marker, (START.timestamp(), START.timestamp()))
        path = f"{self._programs}:{os.environ['PATH']}"
        with terminal(160) as screen:
            stream = screen.stream
            process = subprocess.Popen(
                ("sh", "-c", self.here(typed.command)), cwd=self.cameras.parent, env=environment(PATH=path, HOME="."),
                stdin=stream, stdout=stream, stderr=stream,
            )  # fmt: skip
            try:
                for question in filter(None, map(_QUESTION.fullmatch, typed.shown)):
                    screen.shows(partial(is_asked, self.here(question["question"])))
                    screen.type(f"{question['answer']}\n")
                code = process.wait(120)
            finally:
                process.kill()
                process.wait(10)
            screen.close()
            return code, screen.screen


def is_asked(question: str, lines: list[str]) -> bool:
    return bool(lines) and matches(question, lines[-1])


def matches(expected: str, line: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, expected.split("…"))), line) is not None


def shows(expected: list[str], lines: list[str]) -> bool:
    """Whether the screen shows what is expected, `…` on a line standing for any lines."""
    if not expected:
        return not lines
    if expected[0].strip() == "…":
        return any(shows(expected[1:], lines[skipped:]) for skipped in range(len(lines) + 1))
    return bool(lines) and matches(expected[0], lines[0]) and shows(expected[1:], lines[1:])


def test_guide_holds_in_every_command_and_every_line_it_shows(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    done = list(sessions(GUIDE.read_text("utf-8")))
    for typed in done:
        code, screen = recorder.type(typed)
        told = f"$ {typed.command}\n" + "\n".join(screen)
        assert code == typed.code, told
        assert shows([recorder.here(line) for line in typed.shown], screen) or not typed.shown, told
    assert len(done) > 10


@pytest.mark.parametrize(
    ("expected", "lines", "fits"),
    [
        (["a", "b"], ["a", "b"], True),
        (["a"], ["a", "b"], False),
        (["a", "…"], ["a", "b", "c"], True),
        (["…", "c"], ["a", "b", "c"], True),
        (["…", "b"], ["a", "b", "c"], False),
        (["took …s"], ["took 0.3 s"], True),
        (["took …s"], ["took"], False),
        (["…"], [], True),
    ],
)
def test_lines_of_the_guide_are_compared_as_said(expected: list[str], lines: list[str], fits: bool) -> None:
    assert shows(expected, lines) is fits
