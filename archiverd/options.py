"""The options that several verbs share, under the names and with the defaults their users know."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from archiverd.config import Config, Loaded

Options = dict[str, Any]  # Any: option values by name, checked by Config
Command = Callable[..., int]

PATH = click.Path(path_type=Path)


def _stacked(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


everywhere = _stacked(
    click.option("--config", "config_file", type=PATH, metavar="FILE", help="Read this configuration file."),
    click.option("--state-dir", metavar="DIR", help="Where the catalog is.  [{input}/.archiverd]"),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    click.option("-v", "--verbose", count=True, help="Say more."),
    click.option("-q", "--quiet", count=True, help="Say less."),
)

input_directory = click.argument("directory", required=False, metavar="[DIRECTORY]")

trees = _stacked(
    click.option("--output", metavar="DIR", help="Where archives go.  [{input}/archived]"),
    click.option("--trash-root", metavar="DIR", help="Where sources go.  [{input}/.deleted]"),
    click.option("--log-file", metavar="FILE", help="The log file.  [{input}/archiver.log]"),
)

cleaning = _stacked(
    click.option("--dry-run", is_flag=True, default=None, help="Print the plan and change nothing."),
    click.option("--clean-output", is_flag=True, default=None, help="Have age and size be for the archive tree too."),
    click.option("--delete", is_flag=True, default=None, help="Delete for good instead of moving to the trash."),
    click.option("--no-confirm", is_flag=True, default=None, help="Do not ask."),
    click.option("--age", metavar="DAYS", help="What is older goes when it is cleaned up.  [30]"),
    click.option("--max-size", metavar="SIZE", help="What a tree may hold, for instance 500GB."),
)

work = _stacked(
    click.option("--cleanup", is_flag=True, default=None, help="Remove what is too old or too much at the end."),
    click.option("--no-skip", is_flag=True, default=None, help="Archive again what is archived already."),
    cleaning,
)

encoders = _stacked(
    click.option("--hardware", metavar="KIND", help="auto, qsv, vaapi or software.  [auto]"),
    click.option("--codec", metavar="CODEC", help="hevc or h264.  [hevc]"),
    click.option("--device", metavar="PATH", help="The one device that may encode, for instance /dev/dri/renderD129."),
)


# -- what they come to ------------------------------------------------------------------------------------


def load_config(options: Options) -> Loaded:
    """The configuration of a call: its options over the file over the defaults. Raises: ConfigError."""
    from archiverd.config import load

    known = ("config_file", "as_json", "verbose", "quiet")
    return load(options["config_file"], {key: value for key, value in options.items() if key not in known})


def log_levels(config: Config, options: Options, *, console_from_warning: bool = True) -> tuple[int, int]:
    """The levels of the log file and of the console.

    Where plan, progress and summary say the rest the console begins at warnings; `-v` and `-q` move it.
    """
    steps = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
    level: int = getattr(logging, config.log_level.upper())
    first = max(level, logging.WARNING) if console_from_warning else level
    console = steps.index(first) - options["verbose"] + options["quiet"]
    return level, steps[min(max(console, 0), len(steps) - 1)]
