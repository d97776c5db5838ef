"""The options that several verbs share, under the names and with the defaults their users know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

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

work = _stacked(
    click.option("--dry-run", is_flag=True, default=None, help="Print the plan and change nothing."),
    click.option("--cleanup", is_flag=True, default=None, help="Remove what is too old or too much."),
    click.option("--clean-output", is_flag=True, default=None, help="Clean up the archive tree too."),
    click.option("--delete", is_flag=True, default=None, help="Delete sources instead of moving them to the trash."),
    click.option("--no-confirm", is_flag=True, default=None, help="Do not ask."),
    click.option("--no-skip", is_flag=True, default=None, help="Archive again what is archived already."),
    click.option("--age", metavar="DAYS", help="What is older is cleaned up.  [30]"),
    click.option("--max-size", metavar="SIZE", help="What a tree may hold, for instance 500GB."),
)

encoders = _stacked(
    click.option("--hardware", metavar="KIND", help="auto, qsv, vaapi or software.  [auto]"),
    click.option("--codec", metavar="CODEC", help="hevc or h264.  [hevc]"),
    click.option("--device", metavar="PATH", help="The one device that may encode, for instance /dev/dri/renderD129."),
)
