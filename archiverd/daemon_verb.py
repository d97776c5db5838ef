"""The verb `daemon`. Nothing heavy is imported before it is called."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from archiverd.errors import UsageError
from archiverd.options import Options, encoders, everywhere, input_directory, load_config, log_levels, trees, work

_TELLER_S = 5.0  # for the command that tells of a problem to end

if TYPE_CHECKING:
    from archiverd.config import Config, Loaded
    from archiverd.daemon import Launcher


@click.command()
@input_directory
@click.option("--detach", is_flag=True, help="Go on in the background; for machines without systemd.")
@trees
@work
@encoders
@everywhere
def daemon(detach: bool, **options: Any) -> int:  # Any: option values by name, checked by Config
    """Watch DIRECTORY, and archive each clip when its upload is over; until it is stopped.

    SIGTERM and SIGINT end it, SIGHUP has it read its configuration anew, SIGUSR1 has it look through the whole tree.

    \b
    Examples:
      archiverd daemon /camera            in the foreground, as a service manager wants it
      archiverd daemon /camera --detach   in the background, without one
    """  # noqa: D301  (click wants the character \b, not the letters)
    loaded = load_config(options)
    if loaded.config.dry_run:
        raise UsageError(
            "a daemon has no dry run", advice=f"See what it would do: archiverd run {loaded.config.directory} --dry-run"
        )
    if not detach:
        return _serve(loaded, options, _Nobody())
    from archiverd.service import detach as background
    from archiverd.storage.pid_file import FILE_NAME, PidFile

    config = loaded.config
    pid_file = PidFile(config.state_dir / FILE_NAME)
    return background.detach(partial(_serve, loaded, options), pid_file, config.log_file, partial(click.echo, err=True))


class _Nobody:
    """In the foreground nobody waits for the start but the service manager, which is told as such."""

    def alive(self, _doing: str, /) -> None:
        return

    def __call__(self) -> None:
        return


def _serve(loaded: Loaded, options: Options, launcher: Launcher) -> int:
    """Serve until the stop, with everything opened here: a process that detaches has forked before."""
    from archiverd.daemon import NOTES, STOP_SIGNALS, Daemon
    from archiverd.problems import Problems
    from archiverd.service.graceful_exit import GracefulExit
    from archiverd.service.logger import Logger
    from archiverd.service.notify import Notifier
    from archiverd.teller import Teller

    level, console = _levels(loaded.config, options)
    with (
        GracefulExit(STOP_SIGNALS, notes=NOTES) as stop,
        Logger(level, _log_file(loaded), console_level=console) as logger,
    ):
        teller = Teller(loaded.config.on_problem, stop)

        def apply(reloaded: Loaded) -> None:
            level, console = _levels(reloaded.config, options)
            logger.set_level(level, console_level=console)
            teller.use(reloaded.config.on_problem)

        teller.start()
        try:
            Daemon(
                loaded, stop, Problems(teller), reload=lambda: load_config(options), apply=apply,
                launcher=launcher, notifier=Notifier(),
            ).serve()  # fmt: skip
        finally:
            stop.request()
            teller.join(time.monotonic() + _TELLER_S)
    return 0


def _levels(config: Config, options: Options) -> tuple[int, int]:
    """The levels of the log file and of the console: nothing but the log tells what a daemon does."""
    return log_levels(config, options, console_from_warning=False)


def _log_file(loaded: Loaded) -> Any:  # Any: a Path, or None
    """The log file; where the journal has the log, only one that was asked for."""
    import sys

    from archiverd.config import DEFAULT
    from archiverd.service.log_lines import goes_to_journal

    path = loaded.config.log_file
    if loaded.sources["log_file"] == DEFAULT and goes_to_journal(sys.stderr, os.environ):
        return None
    return path if os.path.isdir(path.parent) else None  # noqa: PTH112  (is_dir may raise)
