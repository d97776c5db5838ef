"""The command line: parse, call, print, exit code. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout, suppress
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from archiverd import __version__
from archiverd.cleanup_verb import asking, cleaned_json, cleanup, tell
from archiverd.daemon_verb import daemon
from archiverd.errors import ArchiverError, ConfigError, Interrupted, StartupError, UsageError
from archiverd.options import (
    PATH,
    Options,
    encoders,
    everywhere,
    input_directory,
    load_config,
    log_levels,
    trees,
    work,
)
from archiverd.service_verbs import service_group
from archiverd.trash_verbs import trash_group
from archiverd.verbs import (
    ask,
    catalog_path,
    complain,
    load_for,
    may_ask,
    moment,
    print_answers,
    print_json,
    print_lines,
    print_table,
    say,
)

if TYPE_CHECKING:
    from archiverd.config import Config
    from archiverd.pipeline import Pipeline, Summary
    from archiverd.policy.model import Tree
    from archiverd.policy.planning import RunPlan
    from archiverd.policy.stop import StopToken
    from archiverd.service.progress import ProgressReporter
    from archiverd.storage.catalog import Catalog
    from archiverd.storage.file_manager import FileManager


_ORPHANS_WITHIN_S = 0.05  # `status` is to answer at once, however large the source tree is


def main() -> None:
    """Run the command line and exit with its code, whatever has become of where the output went."""
    from archiverd.service.logger import forget_lost_output

    code = run_command_line(sys.argv[1:])
    forget_lost_output()
    sys.exit(code)


def run_command_line(arguments: list[str]) -> int:
    """Run the command line and return its exit code; every error of ours is told on stderr."""
    try:
        code = cli.main(args=arguments, prog_name="archiverd", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        return error.exit_code
    except click.Abort:
        return 128 + 2
    except Interrupted as stop:
        return stop.exit_code
    except ArchiverError as error:
        complain(error)
        return error.exit_code
    except BrokenPipeError:
        return 0  # the reader of our output has gone (`archiverd list | head`): no fault
    except OSError as error:
        complain(_in_words(error))
        return StartupError.exit_code


def _in_words(error: OSError) -> StartupError:
    from archiverd.policy.naming import printable

    where = f"{printable(os.fsdecode(error.filename))}: " if isinstance(error.filename, str | bytes) else ""
    advice = (
        "Run it as the user archiverd runs as, with sudo for instance" if isinstance(error, PermissionError) else ""
    )
    return StartupError(f"{where}{error.strerror or error}", advice=advice)


# -- verbs ------------------------------------------------------------------------------------------------


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="archiverd")
def cli() -> None:
    """Archive camera footage: transcode each clip, prove the archive, then let go of the source.

    \b
    Example:
      archiverd run /camera --dry-run
    """  # noqa: D301  (click wants the character \b, not the letters)


@cli.command()
@input_directory
@trees
@work
@encoders
@everywhere
def run(**options: Any) -> int:  # Any: option values by name, checked by Config
    """Archive what stands in DIRECTORY, once: discover, plan, confirm, execute.

    \b
    Examples:
      archiverd run /camera --dry-run     print the plan, change nothing
      archiverd run /camera               ask, then do it
      archiverd run /camera --no-confirm  for cron
    """  # noqa: D301  (click wants the character \b, not the letters)
    from archiverd.pipeline import Pipeline
    from archiverd.service.graceful_exit import GracefulExit

    config = load_config(options).config
    with GracefulExit() as stop:
        pipeline = Pipeline(config, stop)
        if config.dry_run:
            return _preview(pipeline, config, options)
        return _run(pipeline, config, options, stop)


def _preview(pipeline: Pipeline, config: Config, options: Options) -> int:
    from archiverd import reports
    from archiverd.service.logger import Logger

    _, console = log_levels(config, options)
    with Logger(console):
        plan = pipeline.preview()
    if options["as_json"]:
        print_json({"plan": reports.plan_json(plan)})
        return 0
    _print_plan(plan)
    click.echo("Nothing was changed (--dry-run).")
    return 0


def _run(pipeline: Pipeline, config: Config, options: Options, stop: StopToken) -> int:
    from archiverd.service.logger import Logger
    from archiverd.service.progress import ProgressReporter

    may_ask(config)
    level, console = log_levels(config, options)
    log_file = config.log_file if os.path.isdir(config.log_file.parent) else None  # noqa: PTH112  (is_dir may raise)
    with Logger(level, log_file, console_level=console) as logger:

        def confirm(plan: RunPlan) -> bool:
            as_json = bool(options["as_json"])
            if not as_json or not config.no_confirm:
                _print_plan(plan, err=as_json)
            return config.no_confirm or _ask(plan, stop)

        def make_reporter(files: int, size: int) -> ProgressReporter:
            return ProgressReporter(files, size, quiet=bool(options["quiet"]))

        summary = pipeline.run(confirm, make_reporter, logger.below, asking(config, options, stop))
    if summary is None:
        click.echo("No recording was touched.", err=True)
        return 0
    if options["as_json"]:
        print_json(_summary_json(summary))
    else:
        if not summary.plan.work:
            _print_plan(summary.plan)
        print_lines(_summary_lines(summary))
        if summary.cleaned is not None:
            tell(summary.cleaned, options)
    if summary.stopped is not None and isinstance(summary.stopped, ArchiverError):
        complain(summary.stopped)
    return summary.exit_code


def _print_plan(plan: RunPlan, *, err: bool = False) -> None:
    from archiverd import reports

    if plan.items:
        print_table(reports.plan_table(plan), err=err)
    print_lines(reports.plan_lines(plan), err=err)


def _ask(plan: RunPlan, stop: StopToken) -> bool:
    return ask(f"Go ahead with {len(plan.work)} recordings?", stop)


def _summary_lines(summary: Summary) -> list[str]:
    from archiverd import reports
    from archiverd.policy.planning import Action

    plan = summary.plan
    waiting = len(plan.of(Action.WAIT))
    lines = reports.summary_lines(summary.outcomes, waiting, summary.elapsed_s, plan.orphans, summary.ladder)
    if not summary.left:
        return lines
    return [f"Ended early: {summary.left} of {len(plan.work)} are left to the next run.", *lines]


def _summary_json(summary: Summary) -> dict[str, object]:
    from archiverd import reports
    from archiverd.policy.falling import standings_json

    return {
        "plan": reports.plan_json(summary.plan),
        "outcomes": [reports.outcome_json(outcome) for outcome in summary.outcomes],
        "elapsed_s": round(summary.elapsed_s, 3),
        "ladder": standings_json(summary.ladder),
        "stopped": None if summary.stopped is None else str(summary.stopped),
        "cleanup": None if summary.cleaned is None else cleaned_json(summary.cleaned),
    }


cli.add_command(daemon)
cli.add_command(cleanup)


@cli.command()
@input_directory
@click.option("--explain", type=PATH, metavar="PATH", help="Tell why this path is, or is not, a recording.")
@everywhere
def discover(explain: Path | None, **options: Any) -> int:  # Any: option values by name, checked by Config
    """List what stands in DIRECTORY: recordings with camera and time, and what is left alone. Changes nothing.

    With --explain, exits with 0 for a recording or a snapshot, with 1 for anything else.

    \b
    Examples:
      archiverd discover /camera
      archiverd discover /camera --explain /camera/front/clip-0001.mp4
    """  # noqa: D301  (click wants the character \b, not the letters)
    import time

    from archiverd import reports
    from archiverd.examiner import Examiner
    from archiverd.pipeline import Pipeline
    from archiverd.policy.stop import NeverStop
    from archiverd.service.logger import Logger

    config = load_config(options).config if explain is None else load_for([explain], options)
    examiner = Examiner(config, Pipeline(config, NeverStop()).roots, time.time)
    with Logger(log_levels(config, options)[1]):
        if explain is not None:
            answer = examiner.explain(explain)
            if options["as_json"]:
                print_json(reports.explanation_json(answer))
            else:
                print_lines(reports.explanation_lines(answer))
            return 0 if answer.answer.is_footage else 1
        found = examiner.discover()
    if options["as_json"]:
        print_json(reports.discovery_json(found))
        return 0
    if found.recordings:
        print_table(reports.discovery_table(found))
    print_lines(reports.discovery_lines(found))
    return 0


@cli.command()
@input_directory
@everywhere
def status(**options: Any) -> int:  # Any: option values by name, checked by Config
    """Say what is wrong, what the daemon does now, and how many recordings are where on their way.

    \b
    Example:
      archiverd status /camera
    """  # noqa: D301  (click wants the character \b, not the letters)
    import time

    from archiverd import reports
    from archiverd.live import find_daemon
    from archiverd.outlook import orphans, outlook, roots_of

    config = load_config(options).config
    with _catalog(config) as catalog:
        expected = outlook(config, catalog)
        running = find_daemon(config.state_dir)
        backlog = catalog.backlog(time.time())
        alone = orphans(config, _ORPHANS_WITHIN_S)
        report = reports.status_json(catalog, roots_of(config), alone, running, expected, backlog)
    if options["as_json"]:
        print_json(report)
    else:
        print_lines(reports.status_lines(report, expected, backlog))
    return 0


@cli.command("list")
@input_directory
@click.option("--camera", metavar="GLOB", help="Only cameras whose name fits, for instance 'front*'.")
@click.option("--since", metavar="WHEN", help="Only what was taken since then: 2026-11-01, or '3 days'.")
@click.option("--state", metavar="STATE", help="Only recordings in this state, for instance quarantined.")
@everywhere
def list_command(camera: str | None, since: str | None, state: str | None, **options: Any) -> int:  # Any: as above
    """List recordings.

    \b
    Example:
      archiverd list /camera --camera 'front*' --since '3 days'
    """  # noqa: D301  (click wants the character \b, not the letters)
    from archiverd import reports
    from archiverd.policy.model import State

    config = load_config(options).config
    if state is not None and state not in list(State):
        raise UsageError(f"--state {state}: there is no such state", advice=f"States are {', '.join(State)}")
    begin = moment(since)
    with _catalog(config) as catalog:
        recordings = [
            recording
            for recording in catalog.recordings((State(state),) if state else tuple(State))
            if (camera is None or fnmatchcase(recording.name.camera, camera))
            and (begin is None or recording.name.taken_at >= begin)
        ]
    if options["as_json"]:
        print_json([reports.recording_json(recording) for recording in recordings])
    elif recordings:
        print_table(reports.list_table(recordings))
    else:
        click.echo("No recordings.")
    return 0


@cli.command()
@click.argument("path", type=PATH)
@click.option("--directory", metavar="DIR", help="The input directory.  [/camera]")
@everywhere
def why(path: Path, **options: Any) -> int:  # Any: as above
    """Tell everything known of one file, in any tree, and what happens to it next.

    \b
    Example:
      archiverd why /camera/2026/11/23/REO_front_20261123081500.mp4
    """  # noqa: D301  (click wants the character \b, not the letters)
    from archiverd import reports
    from archiverd.live import find_daemon

    config = load_for([path], options)
    ((tree, place),) = _places(config, [path])
    running = find_daemon(config.state_dir).running
    with _catalog(config) as catalog:
        found = [(row, catalog.history(row), catalog.trash_of(row.id)) for row in catalog.at_path(place)]
    if options["as_json"]:
        events = [
            reports.recording_json(row)
            | {"history": [{"at": e.at, "state": e.state, "reason": e.reason} for e in history]}
            for row, history, _ in found
        ]
        print_json(events)
    roots = _roots(config)
    for row, history, lying in [] if options["as_json"] else found:
        print_lines(reports.why_lines(row, history, roots, lying, running=running))
    if not found and not options["as_json"]:
        of_snapshot = _of_snapshot(config, (tree, place))
        names = config.patterns.in_tree(tree)
        words = reports.unknown_lines(path, names, tree, place, of_snapshot, running=running)
        print_lines(words)
    return 0 if found else 1


def _roots(config: Config) -> dict[Tree, Path]:
    from archiverd.pipeline import Pipeline
    from archiverd.policy.stop import NeverStop

    return Pipeline(config, NeverStop()).roots


def _of_snapshot(config: Config, place: tuple[Tree, PurePosixPath]) -> str:
    """What the next run would do about a snapshot in the source tree that the catalog does not know."""
    from archiverd.pipeline import Pipeline
    from archiverd.policy.model import Tree
    from archiverd.policy.naming import FileKind
    from archiverd.policy.stop import NeverStop

    tree, path = place
    if tree is not Tree.SOURCE or config.patterns.kind(path) is not FileKind.SNAPSHOT:
        return ""
    return Pipeline(config, NeverStop()).preview().of_snapshot(path)


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PATH...")
@click.option("--directory", metavar="DIR", help="The input directory.  [/camera]")
@everywhere
def protect(paths: tuple[Path, ...], **options: Any) -> int:  # Any: as above
    """Keep recordings in their tree, whatever their age: puts a .keep file beside each.

    \b
    Example:
      archiverd protect /camera/2026/11/23/REO_front_20261123081500.mp4
    """  # noqa: D301  (click wants the character \b, not the letters)
    from archiverd import owner

    config = load_for(paths, options)
    return print_answers(owner.protect(_files(config), config.patterns, _places(config, paths)), options)


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PATH...")
@click.option("--directory", metavar="DIR", help="The input directory.  [/camera]")
@everywhere
def unprotect(paths: tuple[Path, ...], **options: Any) -> int:  # Any: as above
    """Protect recordings no more: removes the .keep file beside each.

    \b
    Example:
      archiverd unprotect /camera/2026/11/23/REO_front_20261123081500.mp4
    """  # noqa: D301  (click wants the character \b, not the letters)
    import time

    from archiverd import owner

    config = load_for(paths, options)
    places = _places(config, paths)
    with _catalog_to_tell(config) as catalog:
        return print_answers(owner.unprotect(_files(config), config.patterns, places, catalog, time.time()), options)


@cli.command()
@click.argument("paths", nargs=-1, type=PATH, metavar="[PATH...]")
@click.option("--all", "everything", is_flag=True, help="All that are quarantined.")
@click.option("--directory", metavar="DIR", help="The input directory.  [/camera]")
@everywhere
def retry(paths: tuple[Path, ...], everything: bool, **options: Any) -> int:  # Any: as above
    """Have recordings that were quarantined, or wait after a failure, tried again: by the daemon at once, or a run.

    \b
    Examples:
      archiverd retry /camera/2026/11/23/REO_front_20261123081500.mp4
      archiverd retry --all
    """  # noqa: D301  (click wants the character \b, not the letters)
    import time

    from archiverd import owner
    from archiverd.live import find_daemon
    from archiverd.storage.catalog import Catalog

    if bool(paths) == everything:
        raise UsageError("name recordings, or give --all", advice="`archiverd list --state quarantined` names them")
    config = load_for(paths, options)
    when = owner.AT_ONCE if find_daemon(config.state_dir).running else owner.NEXT_RUN
    with Catalog(catalog_path(config)) as catalog:
        if everything:
            answers = owner.retry_all(catalog, time.time(), when)
            if not answers and not options["as_json"]:
                click.echo("Nothing is quarantined.")
            return print_answers(answers, options)
        wanted = [path for _, path in _places(config, paths)]
        return print_answers(owner.retry(catalog, wanted, time.time(), when), options)


def _files(config: Config) -> FileManager:
    from archiverd.pipeline import Pipeline
    from archiverd.policy.stop import NeverStop
    from archiverd.storage.file_manager import FileManager, Modes

    return FileManager(Pipeline(config, NeverStop()).roots, "", Modes())


def _places(config: Config, paths: Iterable[Path]) -> list[tuple[Tree, PurePosixPath]]:
    """Which tree each path lies in, and where. Raises: UsageError for one in none."""
    from archiverd.pipeline import Pipeline
    from archiverd.policy.stop import NeverStop
    from archiverd.trees import relative_to_root

    roots = Pipeline(config, NeverStop()).roots
    places = []
    for path in paths:
        placed = relative_to_root(path, roots)
        if placed is None:
            raise UsageError(
                f"{path}: lies in none of the trees of {config.directory}", advice="Name the input with --directory"
            )
        places.append(placed)
    return places


def _catalog(config: Config) -> AbstractContextManager[Catalog]:
    from archiverd.storage.catalog import Catalog

    return Catalog.to_read(catalog_path(config))


@contextmanager
def _catalog_to_tell(config: Config) -> Iterator[Catalog | None]:
    """The catalog, to leave word in; None where there is none that this user can use."""
    from archiverd.storage.catalog import Catalog, CatalogLostError
    from archiverd.storage.catalog_schema import FILE_NAME

    path = config.state_dir / FILE_NAME
    with ExitStack() as stack:
        catalog = None
        with suppress(CatalogLostError):
            catalog = stack.enter_context(Catalog(path)) if path.exists() else None
        yield catalog


@cli.command()
@input_directory
@click.option("--quick", "level", flag_value="quick", help="Names and sizes only.")
@click.option("--full", "level", flag_value="full", help="Read and decode every archive too.")
@click.option("--repair", is_flag=True, help="Mend what can be mended without touching any footage.")
@trees
@everywhere
def check(level: str | None, repair: bool, **options: Any) -> int:  # Any: as above
    """Prove that what stands on the disk is what was promised, and name what is not.

    Looks at the boxes of every archive and at its receipt. Changes nothing, and works beside a run, unless --repair is
    given.

    \b
    Examples:
      archiverd check /camera             every archive is there, whole, and as it was committed
      archiverd check /camera --full      and every byte of it is
      archiverd check /camera --repair    clear away what jobs left, know again what was forgotten
    """  # noqa: D301  (click wants the character \b, not the letters)
    from archiverd import reports
    from archiverd.pipeline import Pipeline
    from archiverd.policy.checking import Level
    from archiverd.service.graceful_exit import GracefulExit
    from archiverd.service.logger import Logger
    from archiverd.service.progress import ProgressReporter

    config = load_config(options).config
    log_level, console = log_levels(config, options)
    log_file = config.log_file if repair and os.path.isdir(config.log_file.parent) else None  # noqa: PTH112  (as above)

    def make_reporter(files: int, size: int) -> ProgressReporter:
        return ProgressReporter(files, size, quiet=bool(options["quiet"]))

    with GracefulExit() as stop, Logger(log_level, log_file, console_level=console) as logger:
        report = Pipeline(config, stop).check(
            Level(level or Level.NORMAL), make_reporter, logger.below, repair=repair
        )  # fmt: skip
    if options["as_json"]:
        print_json(reports.check_json(report))
    else:
        print_lines(reports.check_lines(report))
    return report.exit_code


@cli.command()
@input_directory
@encoders
@everywhere
def probe(**options: Any) -> int:  # Any: as above
    """Try what this machine can encode with, on tiny clips, and say why what does not work does not.

    Changes nothing, and needs no catalog. Exits with 69 where nothing works that `hardware` asks for.

    \b
    Examples:
      archiverd probe                      all there is
      archiverd probe --hardware qsv       does Quick Sync work here?
      archiverd probe --device /dev/dri/renderD129
    """  # noqa: D301  (click wants the character \b, not the letters)
    from archiverd import reports
    from archiverd.pipeline import Pipeline
    from archiverd.policy.falling import rungs_for
    from archiverd.policy.probing import works
    from archiverd.service.graceful_exit import GracefulExit
    from archiverd.service.logger import Logger

    config = load_config(options).config
    shows = sys.stderr.isatty() and not options["quiet"]

    def begin(rung: str, kind: str) -> None:
        if shows:
            say(f"Trying {rung} with {kind} footage ...")

    with GracefulExit() as stop, Logger(log_levels(config, options)[1]):
        prober = Pipeline(config, stop).prober()
        equipment = prober.equipment()
        if not options["as_json"]:
            print_lines(reports.equipment_lines(equipment))
        probed = prober.probe_all(equipment, begin)
    good = works(rungs_for(config.hardware), probed)
    if options["as_json"]:
        print_json(reports.probe_json(equipment, probed, config.codec, config.hardware, works=good))
    else:
        print_table(reports.probe_table(probed, config.codec))
        print_lines(reports.probe_lines(probed, config.hardware, works=good))
    return 0 if good else StartupError.exit_code


cli.add_command(service_group)
cli.add_command(trash_group)


@cli.group("config")
def config_group() -> None:
    """Look at the configuration, or make one."""


@config_group.command("check")
@input_directory
@everywhere
def config_check(**options: Any) -> int:  # Any: as above
    """Load the configuration and name every problem; where there is none, say what goes when."""
    from archiverd.config import doubts, rule_lines, rules_json

    loaded = load_config(options)
    if doubtful := doubts(loaded):
        raise ConfigError(doubtful)
    if options["as_json"]:
        print_json(
            {
                "file": None if loaded.file is None else str(loaded.file),
                "problems": [],
                "rules": rules_json(loaded.config),
            }
        )
    else:
        click.echo(f"{loaded.file or 'defaults'}: good")
        print_lines(f"  {line}" for line in rule_lines(loaded.config))
    return 0


@config_group.command("show")
@input_directory
@everywhere
def config_show(**options: Any) -> int:  # Any: as above
    """Print every setting, and where it comes from."""
    from archiverd.config import as_json, show

    loaded = load_config(options)
    if options["as_json"]:
        print_json(as_json(loaded))
        return 0
    for key, value, source in show(loaded):
        click.echo(f"{key} = {value}  # {source}")
    return 0


@config_group.command("init")
@input_directory
@click.option("--file", "target", type=PATH, metavar="FILE", help="Write this file.  [/etc/archiverd/archiverd.toml]")
@click.option("--yes", is_flag=True, help="Take the answers that are found, and ask nothing.")
@click.option("--dry-run", is_flag=True, help="Print the file and write nothing.")
def config_init(directory: str | None, target: Path | None, yes: bool, dry_run: bool) -> int:
    """Look at this machine, ask the few questions that matter, and write a configuration.

    DIRECTORY is where the cameras upload; without it that is looked for. A file that is there is never overwritten.

    \b
    Examples:
      sudo archiverd config init
      archiverd config init /camera --yes --dry-run
    """  # noqa: D301  (click wants the character \b, not the letters)
    from archiverd import dialogue
    from archiverd.config import DEFAULT_FILE
    from archiverd.survey import survey

    if not yes and not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on", advice="Give --yes to take the answers that are found")
    path = (target or DEFAULT_FILE).absolute()
    if not dry_run:
        dialogue.see_place(path)
    given = None if directory is None else PurePosixPath(os.path.abspath(directory))  # noqa: PTH100  (no symlink followed)
    with redirect_stdout(sys.stderr):  # so that the file alone goes to where --dry-run prints it
        click.echo("Looking at this machine; nothing is changed, and nothing on the network is looked into.")
        try:
            seen = survey(given)
            answers = dialogue.answers(seen, given, dialogue.take_found if yes else dialogue.ask_person)
        except click.Abort:
            click.echo("\nNothing was written.")
            raise
    text = dialogue.file_text(answers, seen)
    dialogue.check(text, path)
    if dry_run:
        click.echo(text, nl=False)
        return 0
    dialogue.write(text, path)
    print_lines(dialogue.next_steps(path))
    return 0
