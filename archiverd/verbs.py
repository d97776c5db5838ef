"""What several verbs share: how they print and ask, and which configuration and catalog they mean."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archiverd.errors import ArchiverError, ConfigError, StartupError, UsageError
from archiverd.options import Options, load_config

if TYPE_CHECKING:
    from rich.table import Table

    from archiverd.config import Config
    from archiverd.policy.answer import Answer
    from archiverd.policy.stop import StopToken

_WIDE = 200  # columns of a table that does not go to a terminal


# -- printing ---------------------------------------------------------------------------------------------


def say(line: str) -> None:
    """Tell it on stderr. Where that takes nothing (full, closed), there is nobody to tell, and the exit code does."""
    with suppress(OSError):
        click.echo(line, err=True)


def complain(error: ArchiverError) -> None:
    """Tell an error, and what helps, on stderr."""
    if isinstance(error, ConfigError):
        for problem in error.problems:
            say(f"archiverd: {problem}")
        return
    say(f"archiverd: {error.message}")
    if error.advice:
        say(f"  {error.advice}{'' if error.advice[-1] in '.?!' else '.'}")


def print_json(value: object) -> None:
    """Print it as one document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=True))


def print_lines(lines: Iterable[str], *, err: bool = False) -> None:
    """Print each on a line of its own."""
    for line in lines:
        click.echo(line, err=err)


def print_table(table: Table, *, err: bool = False) -> None:
    """Print it as wide as the terminal is."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    Console(file=stream, width=None if stream.isatty() else _WIDE, soft_wrap=False).print(table)


def print_answers(answers: Sequence[Answer], options: Options) -> int:
    """Print what was answered to each; the exit code."""
    from archiverd.policy.naming import printable

    told = [{"path": printable(a.path), "answer": a.words, "refused": a.refused} for a in answers]
    if options["as_json"]:
        print_json(told)
    else:
        print_lines(f"{answer['path']}: {answer['answer']}" for answer in told)
    return 1 if any(answer.refused for answer in answers) else 0


def may_ask(config: Config) -> None:
    """Raises: UsageError where somebody is to be asked, and there is no terminal."""
    if not config.no_confirm and not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on", advice="Give --no-confirm to go ahead without asking")


def ask(question: str, stop: StopToken) -> bool:
    """Ask on the terminal, and heed a stop while waiting for the answer."""
    click.echo(f"{question} [y/N] ", nl=False, err=True)
    ready, _, _ = select.select([sys.stdin, stop.fileno()], [], [])
    stop.check()
    return sys.stdin in ready and sys.stdin.readline().strip().lower() in ("y", "yes")


# -- what is meant ----------------------------------------------------------------------------------------


def moment(text: str | None) -> Any:  # Any: a datetime, or None
    """The moment that `--since` names."""
    from datetime import datetime, timedelta

    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        from pytimeparse.timeparse import timeparse as parse

        seconds = parse(text)
    if seconds is None:
        raise UsageError(f"--since {text}: is neither a date nor a duration", advice="Write 2026-11-01, or '3 days'")
    return datetime.now() - timedelta(seconds=seconds)


def seconds(option: str, text: str) -> float:
    """A duration with its unit. Raises: UsageError."""
    from pytimeparse.timeparse import timeparse as parse

    found = None if text.strip().isdecimal() else parse(text)
    if found is None or found < 0:
        raise UsageError(f"{option} {text}: is not a duration", advice="Write for instance '30 days'")
    return float(found)


def load_for(paths: Iterable[Path], options: Options) -> Config:
    """The configuration for some paths: where they lie in another input than the configured one, that input's."""
    from archiverd.pipeline import Pipeline
    from archiverd.policy.stop import NeverStop
    from archiverd.storage.roots import source_root_above
    from archiverd.trees import relative_to_root

    config = load_config(options).config
    roots = Pipeline(config, NeverStop()).roots
    stray = next((path for path in paths if relative_to_root(path, roots) is None), None)
    found = source_root_above(stray) if stray is not None and options["directory"] is None else None
    return config if found is None else load_config({**options, "directory": str(found)}).config


def catalog_path(config: Config) -> Path:
    """The catalog's file. Raises: StartupError where there is none."""
    from archiverd.storage.catalog_schema import FILE_NAME
    from archiverd.storage.roots import read_marker

    path = config.state_dir / FILE_NAME
    if path.exists():
        return path
    if not os.path.isdir(config.directory):  # noqa: PTH112  (is_dir may raise)
        raise StartupError(
            f"{config.directory}: the input directory is not there",
            advice="Is its disk mounted? A daemon that serves it waits for it, and says so in its log",
        )
    marker = read_marker(config.directory)
    if marker is not None and marker.state_dir and marker.state_dir != str(config.state_dir):
        raise StartupError(
            f"{path}: is not there; the catalog of this tree is in {marker.state_dir}",
            advice=f"Name it with --state-dir {marker.state_dir}, or with --config the file that does",
        )
    if marker is not None:
        raise StartupError(
            f"{path}: the catalog is not there any more",
            advice=f"The next run makes it anew from the trees: archiverd run {config.directory}",
        )
    raise StartupError(
        f"{path}: there is no catalog yet", advice=f"Begin with: archiverd run {config.directory} --dry-run"
    )
