"""`archiverd trash`: what lies there, to have it back, to have it gone for good."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from archiverd.errors import UsageError
from archiverd.options import PATH, Options, everywhere, input_directory, load_config, log_levels
from archiverd.verbs import ask, catalog_path, load_for, moment, print_answers, print_json, print_lines, print_table
from archiverd.verbs import seconds as seconds_of

if TYPE_CHECKING:
    from archiverd.config import Config
    from archiverd.policy.stop import StopToken
    from archiverd.trash import Lying, Trash

_camera = click.option("--camera", metavar="GLOB", help="Only of cameras whose name fits, for instance 'front*'.")


@click.group("trash")
def trash_group() -> None:
    """See what lies in the trash, take it back, or have it gone for good."""


@trash_group.command("list")
@input_directory
@_camera
@click.option("--since", metavar="WHEN", help="Only what went there since then: 2026-11-01, or '3 days'.")
@click.option("--from", "tree", metavar="TREE", help="Only what came from this tree: source or archive.")
@everywhere
def trash_list(camera: str | None, since: str | None, tree: str | None, **options: Any) -> int:  # Any: see cli
    """List what lies in the trash: since when, from where, and why.

    \b
    Examples:
      archiverd trash list /camera --camera 'front*' --since '3 days'
      archiverd trash list /camera --from archive
    """  # noqa: D301  (click wants the character \b, not the letters)
    from archiverd import reports
    from archiverd.policy.model import Tree
    from archiverd.policy.stop import NeverStop
    from archiverd.service.logger import Logger
    from archiverd.trash import Wanted

    if tree not in (None, Tree.SOURCE, Tree.ARCHIVE):
        raise UsageError(f"--from {tree}: nothing comes from there", advice="Write source or archive")
    begin = moment(since)
    wanted = Wanted(camera, None if tree is None else Tree(tree), None if begin is None else begin.timestamp())
    config = load_config(options).config
    with Logger(log_levels(config, options)[1]), _trash(config, NeverStop(), to_read=True) as trash:
        found = trash.lying(wanted)
    if options["as_json"]:
        print_json(reports.trash_json(found))
        return 0
    if found:
        print_table(reports.trash_table(found))
    print_lines(reports.trash_lines(found))
    return 0


@trash_group.command("restore")
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PATH...")
@click.option("--directory", metavar="DIR", help="The input directory.  [/camera]")
@everywhere
def trash_restore(paths: tuple[Path, ...], **options: Any) -> int:  # Any: see cli
    """Take recordings back to where they were, each with its snapshots, and protect them there.

    PATH is one in the trash, as `trash list` shows it. Nothing is overwritten: a name that is taken leads to ~2.

    \b
    Example:
      archiverd trash restore 2026/11/23/REO_front_20261123081500.mp4
    """  # noqa: D301  (click wants the character \b, not the letters)
    from archiverd.service.graceful_exit import GracefulExit

    config = load_for([path for path in paths if path.is_absolute() or os.path.lexists(path)], options)
    places = [_place(config, path) for path in paths]
    with GracefulExit() as stop, _logged(config, options), _trash(config, stop) as trash:
        answers = trash.restore(places)
    return print_answers(answers, options)


@trash_group.command("empty")
@input_directory
@click.option("--older-than", metavar="AGE", help="Only what has lain there for so long, for instance '30 days'.")
@_camera
@click.option("--no-confirm", is_flag=True, default=None, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Print what would go and change nothing.")
@everywhere
def trash_empty(older_than: str | None, camera: str | None, *, dry_run: bool, **options: Any) -> int:  # Any: see cli
    """Delete what lies in the trash for good: shows what that is, and asks. What is protected there stays.

    \b
    Examples:
      archiverd trash empty /camera --dry-run
      archiverd trash empty /camera --older-than '30 days' --no-confirm
    """  # noqa: D301  (click wants the character \b, not the letters)
    import time

    from archiverd import reports
    from archiverd.policy.naming import printable
    from archiverd.service.graceful_exit import GracefulExit
    from archiverd.trash import Wanted

    before = None if older_than is None else time.time() - seconds_of("--older-than", older_than)
    config = load_config(options).config
    if not dry_run and not config.no_confirm and not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on", advice="Give --no-confirm to go ahead without asking")
    with GracefulExit() as stop, _logged(config, options), _trash(config, stop, to_read=dry_run) as trash:
        found = trash.lying(Wanted(camera, before=before))
        going = [one for one in found if not one.protected]
        as_json = bool(options["as_json"])
        if not as_json or not config.no_confirm:
            print_lines(reports.emptying_lines(going, len(found) - len(going)), err=as_json)
        if dry_run:
            return _previewed(going, as_json=as_json)
        if going and not (config.no_confirm or ask(f"Delete {len(going)} files for good?", stop)):
            click.echo("Nothing was deleted.", err=True)
            return 0
        emptied = trash.empty(going)
        if as_json:
            refused = [{"path": printable(one.path), "reason": one.words} for one in emptied.refused]
            print_json({"files": emptied.files, "freed": emptied.freed, "refused": refused})
        elif going:
            print_lines(reports.emptied_lines(emptied.files, emptied.freed, emptied.refused))
        stop.check()
    return 1 if emptied.refused else 0


def _previewed(going: list[Lying], *, as_json: bool) -> int:
    from archiverd import reports

    if as_json:
        print_json(reports.trash_json(going))
    else:
        click.echo("Nothing was changed (--dry-run).")
    return 0


@contextmanager
def _logged(config: Config, options: Options) -> Iterator[None]:
    """With the log file that a run of this configuration has."""
    from archiverd.service.logger import Logger

    level, console = log_levels(config, options)
    log_file = config.log_file if os.path.isdir(config.log_file.parent) else None  # noqa: PTH112  (is_dir may raise)
    with Logger(level, log_file, console_level=console):
        yield


@contextmanager
def _trash(config: Config, stop: StopToken, *, to_read: bool = False) -> Iterator[Trash]:
    """The trash of a configuration, and its catalog. Raises: StartupError where there is none."""
    from archiverd.assembly import Assembly
    from archiverd.policy.model import Tree
    from archiverd.storage.catalog import Catalog
    from archiverd.storage.roots import see_marked_by
    from archiverd.trash import Trash

    parts = Assembly(config, stop)
    path = catalog_path(config)
    with Catalog.to_read(path) if to_read else Catalog(path) as catalog:
        files = parts.files(catalog.id, parts.modes())

        def verify(tree: Tree) -> None:
            see_marked_by(catalog.id, tree, parts.roots[tree])

        finder = parts.finders()[Tree.TRASH]
        yield Trash(files, finder, config.patterns, catalog, verify=verify, stop=stop, clock=parts.clock)


def _place(config: Config, path: Path) -> PurePosixPath:
    """Where a path lies below the trash: as it stands there, or as it is seen from here. Raises: UsageError."""
    root = config.trash_root
    there = Path(os.path.normpath(root / path))
    here = Path(os.path.abspath(path))  # noqa: PTH100  (resolve() would follow a symlink)
    place = here if here.is_relative_to(root) and not os.path.lexists(there) else there
    if not place.is_relative_to(root) or place == root:
        raise UsageError(f"{path}: does not lie in the trash {root}", advice="Name the input with --directory")
    return PurePosixPath(place.relative_to(root))
