"""`archiverd service`: shows what installing or removing the service does, asks, and has it done."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiverd.errors import UsageError
from archiverd.options import PATH

if TYPE_CHECKING:
    from archiverd.installer import Plan
    from archiverd.policy.permissions import Finding
    from archiverd.policy.units import FileStep

_prefix = click.option(
    "--prefix", type=PATH, metavar="DIR", help="Another machine's files, below DIR: nothing is run, and no root needed."
)
_yes = click.option("--yes", is_flag=True, help="Do not ask. What somebody has edited is left as it is.")
_dry_run = click.option("--dry-run", is_flag=True, help="Print what would be written and run, and do nothing.")


@click.group("service")
def service_group() -> None:
    """Have systemd run archiverd, or no longer."""


@service_group.command("install")
@click.option("--config", "config_file", type=PATH, metavar="FILE", help="The configuration the service is to read.")
@click.option("--start", is_flag=True, help="Start the service too, or start it anew.")
@_prefix
@_yes
@_dry_run
def service_install(
    config_file: Path | None, prefix: Path | None, *, start: bool, yes: bool, dry_run: bool
) -> int:  # fmt: skip
    """Put the service in place: its user, its units, and the rights it needs on the configured trees.

    Shows what is to be written and run, and asks. May be called again, after a change of the configuration for
    instance. Says at last what keeps the service's user from its work, and what mends it; then it exits with 1.

    \b
    Examples:
      sudo archiverd service install
      archiverd service install --dry-run
    """  # noqa: D301  (click wants the character \b, not the letters)
    from archiverd import installer
    from archiverd.config import DEFAULT_FILE, load
    from archiverd.policy.units import UNIT
    from archiverd.service.graceful_exit import GracefulExit

    if not dry_run:
        installer.see_possible(prefix)
    named = None if config_file is None else config_file.absolute()
    default = DEFAULT_FILE if prefix is None else prefix / DEFAULT_FILE.relative_to("/")
    loaded = load(named, {}, default_file=default)
    if prefix is None:
        installer.see_input(loaded.config)
    with GracefulExit() as stop:
        machine = installer.machine(loaded, named, installer.this_program(sys.argv[0]), prefix)
        plan = installer.plan_install(machine, prefix, stop, start=start)
        if dry_run:
            _show(plan, prefix, whole=True)
            click.echo("Nothing was changed (--dry-run).")
            return 0
        _show(plan, prefix, whole=False)
        overwrite = _ask(plan, yes=yes)
        installer.carry_out(plan, overwrite, prefix, click.echo, stop)
        found = None if prefix is not None else installer.findings(loaded, machine, stop)
    _say_findings(found or [])
    if any(finding.keeps for finding in found or []):
        return 1
    if prefix is not None:
        click.echo("Next, on that machine: systemd-sysusers, then systemctl enable --now archiverd")
    elif start:
        click.echo("It runs: systemctl status archiverd, journalctl -u archiverd")
    else:
        click.echo(f"Next: systemctl start {UNIT.removesuffix('.service')} (restart, where it runs already)")
    return 0


@service_group.command("uninstall")
@_prefix
@_yes
@_dry_run
def service_uninstall(prefix: Path | None, *, yes: bool, dry_run: bool) -> int:
    """Stop the service and remove what installing put in place.

    Footage, catalog, configuration, logs and the user stay.

    \b
    Example:
      sudo archiverd service uninstall
    """  # noqa: D301  (click wants the character \b, not the letters)
    from archiverd import installer
    from archiverd.policy.units import USER
    from archiverd.service.graceful_exit import GracefulExit

    if not dry_run:
        installer.see_possible(prefix)
    plan = installer.plan_uninstall(prefix)
    if not plan.steps:
        click.echo("Nothing is installed.")
        return 0
    _show(plan, prefix, whole=dry_run)
    if dry_run:
        click.echo("Nothing was changed (--dry-run).")
        return 0
    with GracefulExit() as stop:
        installer.carry_out(plan, _ask(plan, yes=yes), prefix, click.echo, stop)
    click.echo(f"Footage, catalog, configuration, logs and the user {USER} are left: its files are its own.")
    return 0


# -- showing and asking -----------------------------------------------------------------------------------


def _show(plan: Plan, prefix: Path | None, *, whole: bool) -> None:
    """The plan; the texts of all files that are written where it is to be `whole`, else that of the drop-in."""
    import shlex

    from archiverd.installer import place
    from archiverd.policy.naming import printable
    from archiverd.policy.units import MACHINE_FILE, Act

    _commands("To be run first:", map(shlex.join, plan.before))
    click.echo("Files:")
    for step in plan.steps:
        click.echo(f"  {printable(place(step.path, prefix))}: {step.act}")
        if step.act in (Act.EDITED, Act.RENEW):
            _indented(step.difference)
        elif step.act is Act.WRITE and (whole or step.path == MACHINE_FILE):
            _indented((step.after or "").splitlines())
    if not whole and any(step.act is Act.WRITE for step in plan.steps):
        click.echo("  (--dry-run prints the others too, which are the same on each machine)")
    _commands("To be run:", map(shlex.join, plan.after))


def _commands(head: str, commands: Iterable[str]) -> None:
    for number, command in enumerate(commands):
        if number == 0:
            click.echo(head)
        click.echo(f"  {command}")


def _indented(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(f"      {line}")


def _ask(plan: Plan, *, yes: bool) -> list[FileStep]:
    """Ask for leave, and for each edited file whether it is to go; those that are. Raises: UsageError, click.Abort."""
    from archiverd.policy.naming import printable

    if yes:
        return []
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on", advice="Give --yes to go ahead without asking")
    click.confirm("Go ahead?", abort=True)
    return [step for step in plan.edited if click.confirm(f"{printable(step.path)} was edited: give the edit up?")]


def _say_findings(found: Iterable[Finding]) -> None:
    import shutil

    commands: list[str] = []
    for finding in found:
        click.echo(finding.words)
        commands += finding.commands
    _commands("What mends it (then call `archiverd service install` again, which looks once more):", commands)
    if any(command.startswith("setfacl") for command in commands) and shutil.which("setfacl") is None:
        click.echo("setfacl is not there: apt install acl")
