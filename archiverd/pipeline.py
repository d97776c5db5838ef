"""The Pipeline: builds everything from a Config, and runs it once: discover, plan, confirm, execute."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath

from archiverd.assembly import Assembly, MakeFiles, MakeProber
from archiverd.checker import Checker
from archiverd.cleanup_pass import Cleaned, Goes
from archiverd.config import Config
from archiverd.errors import DeviceError, Interrupted, LockedError, NoSpaceError, ResourceError, StartupError
from archiverd.media.prober import Prober
from archiverd.media.process import see_launcher
from archiverd.mender import Mender
from archiverd.one_cleanup import clean_up_once
from archiverd.policy import naming
from archiverd.policy.checking import CheckReport, Finding, Level, Mend, Mended, Severity
from archiverd.policy.falling import Standing
from archiverd.policy.holding_back import HeldPlan
from archiverd.policy.model import Recording, State, Tree
from archiverd.policy.outcome import Outcome, Result
from archiverd.policy.planning import Action, Planned, RunPlan, plan_run
from archiverd.policy.retention import CleanupPlan
from archiverd.policy.stop import StopToken
from archiverd.processor import FileProcessor
from archiverd.rebuilder import Rebuilt, tell_of
from archiverd.service.progress import ProgressReporter
from archiverd.storage.catalog import SOURCE_ROOT, Catalog, CatalogLostError, ClaimLostError
from archiverd.storage.file_manager import FileManager
from archiverd.storage.roots import read_marker, see_marked
from archiverd.workbench import MakeDisplay

log = logging.getLogger(__name__)

Confirm = Callable[[RunPlan], bool]
MakeReporter = Callable[[int, int], ProgressReporter]
Below = Callable[[ProgressReporter], AbstractContextManager[None]]  # the log's lines go above a reporter
Stopped = ResourceError | StartupError | Interrupted  # what ends a run early and blames no recording


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a run. `stopped` is the error that ended it early, None for a whole run."""

    plan: RunPlan
    outcomes: tuple[Outcome, ...]
    elapsed_s: float
    stopped: Stopped | None = None
    left: int = 0  # items of the plan whose turn did not come
    ladder: tuple[Standing, ...] = ()  # how each rung stood at the end
    cleaned: Cleaned | None = None  # what came of the cleanup after it, where one was asked for

    @property
    def exit_code(self) -> int:
        """0 when all went well, 1 when recordings failed or were quarantined, else that of what stopped it."""
        if self.stopped is not None:
            return self.stopped.exit_code
        trouble = any(outcome.result.is_trouble for outcome in self.outcomes)
        return 1 if trouble else 0 if self.cleaned is None else self.cleaned.exit_code


def _nobody(_plan: CleanupPlan, _held: HeldPlan | None) -> bool:
    """Nobody is there to be asked, and nothing is cleaned up."""
    return False


_GONE = "the catalog is not there any more; the next run makes it anew from the trees"


class Pipeline:
    """One archiverd over three trees. `make_files` and `make_prober` let a test stand its own in."""

    def __init__(
        self, config: Config, stop: StopToken, *, clock: Callable[[], float] = time.time,
        make_files: MakeFiles = FileManager, make_prober: MakeProber = Prober,
    ) -> None:  # fmt: skip
        self._config = config
        self._stop = stop
        self._clock = clock
        self._parts = Assembly(config, stop, clock=clock, make_files=make_files, make_prober=make_prober)
        self.roots = self._parts.roots

    def prober(self) -> Prober:
        """What tries to encode on this machine, as a run would."""
        return self._parts.prober()

    # -- planning only ------------------------------------------------------------------------------------

    def preview(self) -> RunPlan:
        """The plan a run would carry out now. Writes nothing, takes no lock.

        Raises: StartupError where the input, or the disk of another root, is not there; LockedError where a root is
        another catalog's.
        """
        self._see_the_others()
        known, remembered, notes = self._remembered()
        found = self._parts.finders()[Tree.SOURCE].scan()
        marker = read_marker(self.roots[Tree.SOURCE])
        if remembered is not None and (marker is None or marker.nonce != remembered):
            found = replace(found, incomplete=True)
        return replace(plan_run(found, known, self._parts.manner(), self._clock()), notes=notes)

    def _remembered(self) -> tuple[list[Recording], str | None, tuple[str, ...]]:
        """What the catalog knows, the source root it knows, and what is to be told of a catalog that can't be used."""
        if not self._parts.catalog_path.exists():
            return [], None, (_GONE,) if self._is_in_use() else ()
        try:
            with Catalog.to_read(self._parts.catalog_path) as catalog:
                self._compare_markers(catalog.id)
                return catalog.recordings(), catalog.recall(SOURCE_ROOT), ()
        except CatalogLostError as lost:
            return [], None, (str(lost),)

    def _is_in_use(self) -> bool:
        marker = read_marker(self.roots[Tree.SOURCE])
        return marker is not None and bool(marker.catalog)

    def _see_the_others(self) -> None:
        """See that archive and trash are there, where the source root is in use: a run would begin with that."""
        for tree in (Tree.ARCHIVE, Tree.TRASH) if self._is_in_use() else ():
            see_marked(tree, self.roots[tree])

    def _compare_markers(self, catalog_id: str) -> None:
        for tree, root in self.roots.items():
            marker = read_marker(root)
            if marker is not None and marker.catalog not in ("", catalog_id):
                raise LockedError(f"{root}: the {tree} tree belongs to catalog {marker.catalog}, not to {catalog_id}")

    # -- one run ------------------------------------------------------------------------------------------

    def run(
        self, confirm: Confirm, make_reporter: MakeReporter, below: Below, goes: Goes = _nobody
    ) -> Summary | None:  # fmt: skip
        """Recover, plan, ask, carry the plan out, and clean up where that is asked for. None where the answer was no.

        Raises: StartupError, LockedError, ConfigError before anything is begun; Interrupted likewise. What
        stops the work later is in the Summary.
        """
        began, config = self._clock(), self._config
        with self._parts.opened() as (catalog, files, roots):
            rebuilder = self._parts.rebuilder(catalog, files)
            rebuilt = rebuilder.rebuild(_display(make_reporter, below)) if rebuilder.needed else Rebuilt()
            notes = tell_of(rebuilt)
            troubles = [*map(_unsound, rebuilt.unsound), *self._parts.recoverer(catalog, files).recover()]
            transcoder = self._parts.transcoder()
            ladder = self._parts.ladder(catalog)
            found = self._parts.finders()[Tree.SOURCE].scan()
            if catalog.remember(SOURCE_ROOT, roots.nonce(Tree.SOURCE)) != roots.nonce(Tree.SOURCE):
                log.warning(
                    "%s: is not the source root it was; what is missing there counts as not seen", config.directory
                )
                found = replace(found, incomplete=True)
            plan = replace(plan_run(found, catalog.recordings(), self._parts.manner(), self._clock()), notes=notes)
            if plan.of(Action.ARCHIVE):
                see_launcher()
                ladder.start()
            if plan.work and not confirm(plan):
                return None
            self._note(catalog, plan)
            with make_reporter(len(plan.work), sum(item.size for item in plan.work)) as reporter, below(reporter):
                processor = FileProcessor(self._parts.workbench(catalog, files, roots, transcoder, ladder, reporter))
                outcomes, stopped = self._carry_out(catalog, processor, plan, reporter)
            cleaned = None
            if config.cleanup and not isinstance(stopped, Interrupted):
                cleaned = clean_up_once(self._parts, catalog, files, roots, goes)
        left = len(plan.work) - len(outcomes)
        elapsed_s = self._clock() - began
        return Summary(plan, (*troubles, *outcomes), elapsed_s, stopped, left, ladder.standings(), cleaned)

    # -- proof ----------------------------------------------------------------------------------------------

    def check(self, level: Level, make_reporter: MakeReporter, below: Below, *, repair: bool = False) -> CheckReport:
        """Hold the trees against the catalog and the invariants. Only with `repair` anything is changed, or locked.

        Raises: StartupError where there is nothing to check, LockedError where `repair` meets another at work;
        ResourceError where the machine fails; Interrupted.
        """
        make_display = _display(make_reporter, below)
        with ExitStack() as stack:
            catalog, lost = self._examined(stack)
            if not repair:
                files = self._parts.files("" if catalog is None else catalog.id)
                checked = self._checker(catalog, files, level).check(make_display)
                return CheckReport(level, (*lost, *checked.findings), checked)
        with self._parts.opened() as (catalog, files, _roots):
            rebuilder = self._parts.rebuilder(catalog, files)
            if rebuilder.needed:
                rebuilder.rebuild(make_display)
            checked = self._checker(catalog, files, level).check(make_display)
            recover = self._parts.recoverer(catalog, files).recover
            rebuild = partial(rebuilder.rebuild, make_display)
            mended = Mender(catalog, files, rebuild, recover, self._stop, self._clock).mend(checked.findings)
        renewed = dict.fromkeys(lost, Mended("made anew from the trees; the log says what became of the old file"))
        return CheckReport(level, (*lost, *checked.findings), checked, renewed | mended)

    def _examined(self, stack: ExitStack) -> tuple[Catalog | None, tuple[Finding, ...]]:
        """The catalog, open to be read, and looked through for damage; None where it can't be used, with why."""
        if not self._parts.catalog_path.exists():
            if read_marker(self.roots[Tree.SOURCE]) is None:
                advice = f"Begin with: archiverd run {self._config.directory} --dry-run"
                raise StartupError(f"{self._parts.catalog_path}: there is no catalog yet", advice=advice)
            return None, (Finding(Severity.BROKEN, "I4", f"{self._parts.catalog_path}: is not there", mend=Mend.RENEW),)
        try:
            catalog = stack.enter_context(Catalog.to_read(self._parts.catalog_path))
            catalog.examine()
        except CatalogLostError as error:
            return None, (Finding(Severity.BROKEN, "I4", error.message, advice=error.advice, mend=Mend.RENEW),)
        return catalog, ()

    def _checker(self, catalog: Catalog | None, files: FileManager, level: Level) -> Checker:
        return Checker(catalog, files, self._parts.finders(), level, self._parts.transcoder(), self._stop)

    def _note(self, catalog: Catalog, plan: RunPlan) -> None:
        """Enter what the plan leaves to later runs: what has vanished, and since when the young are known."""
        for row in plan.vanished:
            with suppress(ClaimLostError):  # somebody has asked something of it since the plan was made
                catalog.gone(row, "the source is not there any more", self._clock())
        for item in plan.of(Action.WAIT):
            if item.found is not None:
                catalog.offer(item.found, self._clock(), reason=item.reason)

    def _offer(self, catalog: Catalog, item: Planned) -> Recording:
        """Enter one item of the plan into the catalog, when its turn has come, in the state it is claimed from."""
        row = item.known
        if item.found is not None:
            row = catalog.offer(item.found, self._clock(), reason=item.reason)
        assert row is not None, "an item is found, or known"
        if item.late:
            row = catalog.attach(row, item.late)
        if item.action is Action.DISPOSE and row.state is State.DONE:
            reason = item.reason if item.late else "its source stands again"
            return catalog.take_up_again(row, reason, self._clock())
        if item.action is Action.ARCHIVE and row.state in (State.ARCHIVED, State.DONE):
            return catalog.wait(row, item.reason, self._clock(), self._clock())
        return row

    def _carry_out(
        self, catalog: Catalog, processor: FileProcessor, plan: RunPlan, reporter: ProgressReporter
    ) -> tuple[list[Outcome], Stopped | None]:
        outcomes: list[Outcome] = []
        set_back: NoSpaceError | DeviceError | None = None  # made one clip wait, and no other
        try:
            for item in plan.work:
                self._stop.check()
                reporter.begin(naming.printable(item.path.name), item.size, None)
                try:
                    outcome = processor.process(self._offer(catalog, item), again=self._config.no_skip)
                except ClaimLostError as error:
                    outcome = Outcome(item.path, Result.WAITING, error.message, item.size)
                except (NoSpaceError, DeviceError) as error:
                    log.error("%s: %s", naming.printable(item.path), error)  # noqa: TRY400  (an expected fault)
                    outcome, set_back = Outcome(item.path, Result.WAITING, error.message, item.size), error
                outcomes.append(outcome)
                reporter.end(outcome.result)
        except (ResourceError, StartupError, Interrupted) as error:
            log.warning("the run ends early: %s", error)
            return outcomes, error
        return outcomes, set_back


def _display(make_reporter: MakeReporter, below: Below) -> MakeDisplay:
    """Shows which archive is being looked at, with the log's lines above it."""

    @contextmanager
    def make_display(files: int, size: int) -> Iterator[ProgressReporter]:
        with make_reporter(files, size) as reporter, below(reporter):
            yield reporter

    return make_display


def _unsound(archive: PurePosixPath) -> Outcome:
    return Outcome(archive, Result.FAILED, "stands in the archive, and is not whole: see archiverd check")
