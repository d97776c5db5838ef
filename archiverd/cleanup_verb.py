"""The verb `cleanup`, and what `run --cleanup` shows and asks. Nothing heavy is imported before it is called."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from archiverd.errors import Interrupted, LockedError
from archiverd.options import Options, cleaning, everywhere, input_directory, load_config, log_levels, trees
from archiverd.verbs import ask, complain, may_ask, print_json, print_lines, print_table

if TYPE_CHECKING:
    from archiverd.cleanup_pass import Cleaned, Goes
    from archiverd.config import Config
    from archiverd.one_cleanup import OneCleanup
    from archiverd.policy.holding_back import HeldPlan
    from archiverd.policy.retention import CleanupPlan
    from archiverd.policy.stop import StopToken


@click.command()
@input_directory
@click.option("--confirm-held", is_flag=True, help="Go ahead with what was held, or would be.")
@trees
@cleaning
@everywhere
def cleanup(confirm_held: bool, **options: Any) -> int:  # Any: option values by name, checked by Config
    """Remove what the rules say is too old, or too much, from the source, archive and trash trees.

    The archive is touched only with --clean-output, or by [[retention]] rules about it. With -v every file is named.

    \b
    Examples:
      archiverd cleanup /camera --dry-run       what would go, what stays, and why
      archiverd cleanup /camera                 ask, then do it
      archiverd cleanup /camera --confirm-held  have a held cleanup go ahead
    """  # noqa: D301  (click wants the character \b, not the letters)
    from archiverd.live import find_daemon
    from archiverd.one_cleanup import OneCleanup
    from archiverd.service.graceful_exit import GracefulExit

    config = load_config(options).config
    with GracefulExit() as stop:
        once = OneCleanup(config, stop)
        if config.dry_run:
            return _preview(once, config, options)
        if find_daemon(config.state_dir).running:
            if confirm_held:
                return _confirm_held(once, options)
            raise LockedError(
                f"{config.directory}: a daemon serves it, and cleans up by itself",
                advice="--dry-run shows what it would do, --confirm-held has what it holds go ahead",
            )
        return _clean(once, config, options, stop, whatever=confirm_held)


def _preview(cleanup: OneCleanup, config: Config, options: Options) -> int:
    from archiverd import reports
    from archiverd.policy.naming import printable
    from archiverd.policy.retention import rules_for_nobody
    from archiverd.service.logger import Logger

    with Logger(log_levels(config, options)[1]):
        plan, held = cleanup.preview()
    if options["as_json"]:
        with_files = bool(options["verbose"])
        print_json({"plan": reports.cleanup_json(plan, with_files=with_files), "held": held or None})
        return 0
    show_plan(plan, held, options)
    for number, rule in rules_for_nobody(config.retention, {camera for _, camera in plan.holdings.by_camera}):
        click.echo(f"retention[{number}]: no camera that is known fits {', '.join(map(printable, rule.cameras))}.")
    click.echo("Nothing was changed (--dry-run).")
    return 0


def _confirm_held(cleanup: OneCleanup, options: Options) -> int:
    from archiverd.policy.words import size_words

    held = cleanup.confirm_held()
    words = "Nothing is held."
    if held is not None:
        words = f"The daemon goes ahead with {held.files} files, {size_words(held.size)}: {held.why}"
    if options["as_json"]:
        print_json({"confirmed": None if held is None else {"files": held.files, "bytes": held.size, "why": held.why}})
    else:
        click.echo(words)
    return 0


def _clean(
    cleanup: OneCleanup, config: Config, options: Options, stop: StopToken, *, whatever: bool
) -> int:  # fmt: skip
    from archiverd.service.logger import Logger

    may_ask(config)
    level, console = log_levels(config, options)
    log_file = config.log_file if os.path.isdir(config.log_file.parent) else None  # noqa: PTH112  (is_dir may raise)
    with Logger(level, log_file, console_level=console):
        cleaned = cleanup.clean(asking(config, options, stop, whatever=whatever))
    tell(cleaned, options)
    return cleaned.exit_code


def asking(config: Config, options: Options, stop: StopToken, *, whatever: bool = False) -> Goes:
    """Shows a plan, and asks for a word on it. `whatever`: what is held goes ahead too."""

    def goes(plan: CleanupPlan, held: HeldPlan | None) -> bool:
        waits = held is not None and not whatever
        if not plan.removals or (config.no_confirm and not waits):
            return True
        show_plan(plan, held.why if held is not None and waits else "", options, err=bool(options["as_json"]))
        if config.no_confirm:
            return False
        if waits:
            return ask(f"It is held, for the reason above. Remove these {plan.total.files} files all the same?", stop)
        return ask(f"Remove these {plan.total.files} files?", stop)

    return goes


def show_plan(plan: CleanupPlan, held: str, options: Options, *, err: bool = False) -> None:
    """The plan of a cleanup, with -v also file by file."""
    from archiverd import reports

    if plan.removals:
        print_table(reports.cleanup_table(plan), err=err)
    if options["verbose"]:
        print_lines(reports.removal_lines(plan), err=err)
    print_lines(reports.cleanup_lines(plan), err=err)
    if held:
        click.echo(f"Held: {held}. The same with --confirm-held has it go ahead.", err=err)


def tell(cleaned: Cleaned, options: Options) -> None:
    """What came of a cleanup."""
    from archiverd import reports

    if options["as_json"]:
        print_json(cleaned_json(cleaned))
    elif cleaned.declined:
        click.echo("Nothing was removed.", err=True)
    else:
        if not cleaned.plan.removals:
            show_plan(cleaned.plan, "", options)
        print_lines(reports.cleaned_lines(cleaned.done.removed, cleaned.done.refused))
    if cleaned.stopped is not None and not isinstance(cleaned.stopped, Interrupted):
        complain(cleaned.stopped)


def cleaned_json(cleaned: Cleaned) -> dict[str, object]:
    """What came of a cleanup, for programs."""
    from archiverd import reports

    return {
        "plan": reports.cleanup_json(cleaned.plan),
        "removed": reports.removed_json(cleaned.done.removed),
        "refused": reports.refused_json(cleaned.done.refused),
        "held": None if cleaned.held is None else cleaned.held.why,
        "declined": cleaned.declined,
        "stopped": None if cleaned.stopped is None else str(cleaned.stopped),
    }
