"""The Pipeline: builds everything from a Config, and runs it once: discover, plan, confirm, execute."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from archiverd.config import Config, Order
from archiverd.errors import Interrupted, LockedError, NoSpaceError, ResourceError, StartupError
from archiverd.media.process import Limits
from archiverd.media.transcoder import Transcoder
from archiverd.media.verifier import Verifier
from archiverd.policy import naming
from archiverd.policy.admission import Patience
from archiverd.policy.encoding import EncodeSettings
from archiverd.policy.model import Recording, State, Tree
from archiverd.policy.outcome import Outcome, Result
from archiverd.policy.planning import Action, Manner, Planned, RunPlan, plan_run
from archiverd.policy.stop import StopToken
from archiverd.processor import FileProcessor
from archiverd.scanner import Scanner, discoveries
from archiverd.service.progress import ProgressReporter
from archiverd.storage.catalog import FILE_NAME, Catalog, ClaimLostError
from archiverd.storage.discovery import FileDiscovery
from archiverd.storage.file_manager import FileManager, Modes
from archiverd.storage.roots import Roots, read_marker
from archiverd.workbench import JobSettings, Workbench

log = logging.getLogger(__name__)

_SOURCE_ROOT = "source_root"  # the catalog's word for the nonce of the source root it knows

Confirm = Callable[[RunPlan], bool]
MakeReporter = Callable[[int, int], ProgressReporter]
Below = Callable[[ProgressReporter], AbstractContextManager[None]]  # the log's lines go above a reporter
MakeFiles = Callable[[dict[Tree, Path], str, Modes], FileManager]
Stopped = ResourceError | StartupError | Interrupted  # what ends a run early and blames no recording


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a run. `stopped` is the error that ended it early, None for a whole run."""

    plan: RunPlan
    outcomes: tuple[Outcome, ...]
    elapsed_s: float
    stopped: Stopped | None = None
    left: int = 0  # items of the plan whose turn did not come

    @property
    def exit_code(self) -> int:
        """0 when all went well, 1 when recordings failed or were quarantined, else that of what stopped it."""
        if self.stopped is not None:
            return self.stopped.exit_code
        return 1 if any(outcome.result.is_trouble for outcome in self.outcomes) else 0


class Pipeline:
    """One archiverd over three trees. `make_files` lets a test stand its own FileManager in."""

    def __init__(
        self, config: Config, stop: StopToken, *, clock: Callable[[], float] = time.time,
        make_files: MakeFiles = FileManager,
    ) -> None:  # fmt: skip
        self._config = config
        self._stop = stop
        self._clock = clock
        self._make_files = make_files
        self.roots = {Tree.SOURCE: config.directory, Tree.ARCHIVE: config.output, Tree.TRASH: config.trash_root}
        self._catalog_path = config.state_dir / FILE_NAME

    # -- planning only ------------------------------------------------------------------------------------

    def preview(self) -> RunPlan:
        """The plan a run would carry out now. Writes nothing, takes no lock.

        Raises: StartupError where the input is not there; LockedError where a root is another catalog's.
        """
        known: list[Recording] = []
        remembered = None
        if self._catalog_path.exists():
            with Catalog.to_read(self._catalog_path) as catalog:
                self._compare_markers(catalog.id)
                known, remembered = catalog.recordings(), catalog.recall(_SOURCE_ROOT)
        finders = self._discoveries()
        found = finders[Tree.SOURCE].scan()
        marker = read_marker(self.roots[Tree.SOURCE])
        if remembered is not None and (marker is None or marker.nonce != remembered):
            found = replace(found, incomplete=True)
        return plan_run(found, known, self._manner(), self._clock())

    def _discoveries(self) -> dict[Tree, FileDiscovery]:
        config = self._config
        return discoveries(self.roots, config.state_dir, config.patterns, config.snapshot_window, self._clock)

    def _compare_markers(self, catalog_id: str) -> None:
        for tree, root in self.roots.items():
            marker = read_marker(root)
            if marker is not None and marker.catalog not in ("", catalog_id):
                raise LockedError(f"{root}: the {tree} tree belongs to catalog {marker.catalog}, not to {catalog_id}")

    def _manner(self) -> Manner:
        return Manner(
            self._patience(), newest_first=self._config.order is Order.NEWEST, again=self._config.no_skip,
            delete=self._config.delete, snapshot_window_s=self._config.snapshot_window, names=self._config.patterns,
        )  # fmt: skip

    def _patience(self) -> Patience:
        return Patience(self._config.settle, self._config.quarantine_after)

    # -- one run ------------------------------------------------------------------------------------------

    def run(self, confirm: Confirm, make_reporter: MakeReporter, below: Below) -> Summary | None:
        """Recover, plan, ask, and carry the plan out. None where the answer was no.

        Raises: StartupError, LockedError, ConfigError before anything is begun; Interrupted likewise. What
        stops the work later is in the Summary.
        """
        began, config = self._clock(), self._config
        with self._opened() as (catalog, files, roots):
            finders = self._discoveries()
            scanner = Scanner(catalog, files, finders, self._stop, self._clock)
            troubles = scanner.recover()
            transcoder = self._transcoder()
            transcoder.prove()
            found = scanner.scan()
            if catalog.remember(_SOURCE_ROOT, roots.nonce(Tree.SOURCE)) != roots.nonce(Tree.SOURCE):
                log.warning(
                    "%s: is not the source root it was; what is missing there counts as not seen", config.directory
                )
                found = replace(found, incomplete=True)
            plan = plan_run(found, catalog.recordings(), self._manner(), self._clock())
            if plan.work and not confirm(plan):
                return None
            self._note(catalog, plan)
            with make_reporter(len(plan.work), sum(item.size for item in plan.work)) as reporter, below(reporter):
                processor = FileProcessor(self._workbench(catalog, files, roots, transcoder, reporter))
                outcomes, stopped = self._carry_out(catalog, processor, plan, reporter)
        left = len(plan.work) - len(outcomes)
        return Summary(plan, (*troubles, *outcomes), self._clock() - began, stopped, left)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Catalog, FileManager, Roots]]:
        config = self._config
        with (
            Roots(self.roots, config.state_dir) as roots,
            Catalog(self._catalog_path, new_id=roots.identity()) as catalog,
        ):
            in_archive, in_trash = catalog.remembers()
            roots.claim(catalog.id, {Tree.ARCHIVE: in_archive, Tree.TRASH: in_trash})
            modes = Modes(config.file_mode, config.dir_mode, config.gid)
            yield catalog, self._make_files(self.roots, catalog.id, modes), roots

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
            return catalog.stands_again(row, self._clock())
        if item.action is Action.ARCHIVE and row.state in (State.ARCHIVED, State.DONE):
            return catalog.wait(row, item.reason, self._clock(), self._clock())
        return row

    def _carry_out(
        self, catalog: Catalog, processor: FileProcessor, plan: RunPlan, reporter: ProgressReporter
    ) -> tuple[list[Outcome], Stopped | None]:
        outcomes: list[Outcome] = []
        too_large: NoSpaceError | None = None
        try:
            for item in plan.work:
                self._stop.check()
                reporter.begin(naming.printable(item.path.name), item.size, None)
                try:
                    outcome = processor.process(self._offer(catalog, item), again=self._config.no_skip)
                except ClaimLostError as error:
                    outcome = Outcome(item.path, Result.WAITING, error.message, item.size)
                except NoSpaceError as error:
                    log.error("%s: %s", naming.printable(item.path), error)  # noqa: TRY400  (an expected fault)
                    outcome, too_large = Outcome(item.path, Result.WAITING, error.message, item.size), error
                outcomes.append(outcome)
                reporter.end(outcome.result)
        except (ResourceError, StartupError, Interrupted) as error:
            log.warning("the run ends early: %s", error)
            return outcomes, error
        return outcomes, too_large

    def _workbench(
        self, catalog: Catalog, files: FileManager, roots: Roots, transcoder: Transcoder, display: ProgressReporter
    ) -> Workbench:
        config, limits = self._config, self._limits()
        settings = JobSettings(self._patience(), config.attempts, config.delete, limits)
        verifier = Verifier(transcoder, limits, self._stop)
        return Workbench(
            catalog, files, roots, transcoder, verifier, settings, self._stop, display, self._clock
        )  # fmt: skip

    def _transcoder(self) -> Transcoder:
        config = self._config
        settings = EncodeSettings(config.codec, config.crf, config.preset, config.max_height)
        return Transcoder(settings, self._limits(), self._stop)

    def _limits(self) -> Limits:
        config = self._config
        return Limits(
            stall_s=config.stall_timeout, wall_s=config.job_timeout, stop_s=config.stop_timeout,
            memory_bytes=config.max_memory, nice=config.nice, idle_io=config.idle_io,
        )  # fmt: skip
