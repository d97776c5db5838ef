"""`config init`: tells what was seen, asks the few questions, and makes of the answers a file that loads.

What is told and asked goes to standard output; the caller turns that to where it wants it.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import click

from archiverd.config import DEFAULT_FILE, file_line, load, written
from archiverd.errors import ConfigError, Problem, StartupError, UsageError
from archiverd.policy import setup
from archiverd.policy.machine import (
    FileSystem,
    Survey,
    Uploads,
    bytes_per_day,
    file_system_of,
    forecasts,
    places_for_files,
)
from archiverd.policy.naming import printable
from archiverd.policy.setup import Answer, Key, Question
from archiverd.reports import size_text
from archiverd.storage.file_manager import write_new
from archiverd.survey import look_at

Accept = Callable[[str], str]  # an answer as typed -> as it is kept; raises UsageError where it can't be one
Choose = Callable[[Question, Accept], str]

_NO_FILE = Path("/nonexistent/archiverd.toml")
_MODE = 0o644
_PATHS = (Key.DIRECTORY, Key.OUTPUT, Key.TRASH_ROOT)
_ABOUT = """\
# archiverd: the settings of this machine, as `archiverd config init` found them and its owner answered.
#
# A line that is commented out says the default. Every other key: docs/ref/config.md.
# `archiverd config check` names everything that is wrong here, `archiverd config show` what is in force.
"""


# -- who answers ------------------------------------------------------------------------------------------


def ask_person(question: Question, accept: Accept) -> str:
    """Ask on the terminal until there is an answer. Raises: click.Abort at Ctrl-C and at the end of input."""

    def value(typed: str) -> str:
        try:
            return accept(typed.strip())
        except UsageError as error:
            raise click.UsageError(error.message) from error

    offered = f" [{printable(question.suggestion)}]" if question.suggestion else ""
    answer: str = click.prompt(
        f"{question.key}{offered}", default=question.suggestion or None, show_default=False, value_proc=value
    )
    return answer


def take_found(question: Question, accept: Accept) -> str:
    """Take the answer that was found. Raises: UsageError where there is none, or it can't be one."""
    if not question.suggestion:
        raise UsageError(
            f"{question.asks} {question.why}", advice="Name the directory: archiverd config init DIRECTORY"
        )
    value = accept(question.suggestion)
    click.echo(f"{question.key}: {printable(value)}")
    return value


# -- the questions, one after the other -------------------------------------------------------------------


def answers(seen: Survey, given: PurePosixPath | None, choose: Choose) -> dict[Key, Answer]:
    """Every question with its answer. `given` is the directory of uploads where it needs no asking."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # what is not UTF-8 is an answer too, to be refused
    dialogue = _Dialogue(seen, choose)
    where = setup.where_cameras_upload(seen)
    if given is None:
        dialogue.put(where, _upload_lines(seen))
    else:
        named = replace(where, suggestion=str(given), why="Named on the command line.")
        dialogue.put(named, _upload_lines(seen), take_found)
    dialogue.put(setup.where_archives_go(dialogue.seen, dialogue.path(Key.DIRECTORY)), _disk_lines(seen.file_systems))
    if dialogue.put(setup.what_becomes_of_originals(), dialogue.forecast_lines()) == setup.TRASH:
        dialogue.put(setup.where_the_trash_is(dialogue.path(Key.DIRECTORY)))
        dialogue.put(dialogue.how_long_in_the_trash())
    dialogue.put(setup.what_gives_way())
    dialogue.put(setup.who_may_read(), [f"Your groups: {', '.join(seen.groups)}."] if seen.groups else [])
    click.echo(f"\nWhat encodes?\n  {setup.hardware_in_words(seen.nodes)}\n")
    return dialogue.answers


class _Dialogue:
    """The answers so far, and what was seen to go on from."""

    def __init__(self, seen: Survey, choose: Choose) -> None:
        self.seen = seen
        self.answers: dict[Key, Answer] = {}
        self._choose = choose

    def path(self, key: Key) -> PurePosixPath:
        return PurePosixPath(self.answers[key].value)

    def put(self, question: Question, lines: Iterable[str] = (), choose: Choose | None = None) -> str:
        """Have one question answered, tell what speaks against the answer, and return it."""
        click.echo(f"\n{question.asks}")
        for line in (*lines, question.why):
            click.echo(f"  {printable(line)}")
        value = (choose or self._choose)(question, lambda typed: self._accepted(question.key, typed))
        why = question.why if value == question.suggestion else f"The answer to: {question.asks}"
        if question.key is Key.DIRECTORY:
            why = setup.clips_in_words(self._look_at(PurePosixPath(value)))
        for doubt in setup.doubts(question.key, value, self.seen, self.answers):
            click.echo(f"  Beware: {doubt}")
        self.answers[question.key] = Answer(value, why)
        return value

    def forecast_lines(self) -> list[str]:
        """How long the disks last for each answer, where there are clips to reckon from."""
        directory, output = self.path(Key.DIRECTORY), self.path(Key.OUTPUT)
        lines: list[str] = []
        for choice, trash in ((setup.TRASH, directory), (setup.DELETE, None)):
            lasting = forecasts(self.seen.file_systems, self._day_bytes() or 0, output, trash)
            lines += [
                f"{choice}: {lasts.file_system.mount_point} lasts for {lasts.days} days or more." for lasts in lasting
            ]
        return lines

    def how_long_in_the_trash(self) -> Question:
        disk = file_system_of(self.seen.file_systems, self.path(Key.TRASH_ROOT))
        return setup.how_long_in_the_trash(None if disk is None else disk.free, self._day_bytes())

    def _day_bytes(self) -> int | None:
        return bytes_per_day(self._look_at(self.path(Key.DIRECTORY)).days, self.seen.seen_on)

    def _look_at(self, path: PurePosixPath) -> Uploads:
        """What stands in a directory of uploads, by what was seen or a look of its own."""
        known = next((uploads for uploads in self.seen.uploads if uploads.path == path), None)
        if known is None:
            known = look_at(path, self.seen)
            self.seen = replace(self.seen, uploads=(*self.seen.uploads, known))
        return known

    # -- what is an answer --------------------------------------------------------------------------------

    def _accepted(self, key: Key, typed: str) -> str:
        fault = setup.fault(key, typed, self.seen)
        if fault:
            raise UsageError(fault)
        if key is Key.DELETE:
            return typed
        before: dict[str, object] = {path: self.answers[path].value for path in _PATHS if path in self.answers}
        try:
            config = load(None, {**before, key: typed}, default_file=_NO_FILE).config
        except ConfigError as error:
            raise UsageError("; ".join(_said(problem, key) for problem in error.problems)) from error
        if key in _PATHS:
            return self._accepted_path(key, typed, getattr(config, key))
        return typed if key is Key.GROUP else str(written(config, key))

    def _accepted_path(self, key: Key, typed: str, resolved: Path) -> str:
        """The path as it was typed, where that stays true wherever archiverd runs; else resolved."""
        if not os.path.isdir(resolved) and (key is Key.DIRECTORY or os.path.lexists(resolved)):  # noqa: PTH112  (may raise)
            raise UsageError(f"{printable(resolved)}: there is no such directory")
        if not os.path.isdir(resolved.parent):  # noqa: PTH112  (may raise)
            raise UsageError(f"{printable(resolved)}: can't be made, for {printable(resolved.parent)} is not there")
        path = PurePosixPath(typed)
        return str(path if path.is_absolute() and ".." not in path.parts else resolved)


def _said(problem: Problem, key: Key) -> str:
    return problem.message if problem.key == key else f"{problem.key}: {problem.message}"


# -- what was seen, in lines ------------------------------------------------------------------------------


def _upload_lines(seen: Survey) -> list[str]:
    lines = []
    for uploads in seen.uploads:
        day_bytes = bytes_per_day(uploads.days, seen.seen_on)
        daily = "" if day_bytes is None else f" About {size_text(day_bytes)} a day."
        lines.append(f"{uploads.path}: {setup.clips_in_words(uploads)}{daily}")
    if seen.cut_short:
        lines.append("There was more to look through than a short look takes: perhaps not all was found.")
    return lines


def _disk_lines(file_systems: Iterable[FileSystem]) -> list[str]:
    lines = []
    for place in places_for_files(file_systems):
        room = (
            "size not known" if place.free is None else f"{size_text(place.free)} free of {size_text(place.size or 0)}"
        )
        lines.append(f"{place.mount_point}  {place.kind}, {room}{''.join(f'; {limit}' for limit in place.limits)}")
    return lines


# -- the file ---------------------------------------------------------------------------------------------


def file_text(given: Mapping[Key, Answer], seen: Survey) -> str:
    """The file that holds the answers."""
    parts = [_ABOUT]
    for setting in setup.settings(given):
        line = file_line(setting.key, setting.value)
        parts.append(f"# {printable(setting.why)}\n{'# ' if setting.is_default else ''}{line}\n")
    parts.append(f"# {printable(setup.hardware_in_words(seen.nodes))}\n# {file_line('hardware', 'auto')}\n")
    return "\n".join(parts)


def check(text: str, target: Path) -> None:
    """Load the text as archiverd will, before it is put anywhere. Raises: ConfigError."""
    handle = os.memfd_create("archiverd.toml")
    try:
        os.write(handle, text.encode("utf-8"))
        load(Path(f"/proc/self/fd/{handle}"), {})
    except ConfigError as error:
        raise ConfigError([replace(problem, where=str(target)) for problem in error.problems]) from error
    finally:
        os.close(handle)


def see_place(target: Path) -> None:
    """See that the file may be written, before anybody is asked anything.

    Raises: UsageError where it is there already, StartupError where it can't be made.
    """
    if os.path.lexists(target):
        raise _there_already(target)
    folder = target.parent if target.parent.is_dir() else target.parent.parent
    if not folder.is_dir():
        raise StartupError(f"{target}: can't be made, for {folder} is not there")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartupError(
            f"{target}: can't be made, for this user may not write in {folder}",
            advice="Do it as root (sudo archiverd config init), or write another file with --file FILE",
        )


def write(text: str, target: Path) -> None:
    """Write the file, whole or not at all. Raises: UsageError where it is there by now, StartupError."""
    try:
        write_new(target, text.encode("utf-8"), _MODE)
    except FileExistsError as error:
        raise _there_already(target) from error
    except OSError as error:
        raise StartupError(f"{target}: can't be written: {error.strerror}") from error


def next_steps(target: Path) -> list[str]:
    """What to do with a file that was written."""
    option = "" if target == DEFAULT_FILE else f" --config {target}"
    return [f"Written: {printable(target)}", f"Look at what would be done: archiverd run --dry-run{printable(option)}"]


def _there_already(target: Path) -> UsageError:
    return UsageError(
        f"{printable(target)}: is there already, and is not overwritten",
        advice="Write another file with --file FILE, or print it with --dry-run",
    )
