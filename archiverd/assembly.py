"""Assembly: builds each part of one archiverd from its Config. Everything that runs is put together here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from archiverd.cleaner import Cleaner, Terms
from archiverd.config import Config, Order, Snapshots, WhenFull
from archiverd.ladder import Ladder
from archiverd.media.prober import Prober
from archiverd.media.process import Limits
from archiverd.media.transcoder import Transcoder
from archiverd.media.verifier import Verifier
from archiverd.outlook import roots_of
from archiverd.policy.admission import Patience
from archiverd.policy.encoding import EncodeSettings
from archiverd.policy.model import Recording, Tree
from archiverd.policy.planning import Manner
from archiverd.policy.stop import StopToken
from archiverd.rebuilder import Rebuilder
from archiverd.recoverer import Recoverer
from archiverd.remover import CleaningTools, Moment
from archiverd.stock import Stock
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_file import usable_catalog
from archiverd.storage.catalog_schema import FILE_NAME
from archiverd.storage.discovery import FileDiscovery
from archiverd.storage.file_manager import FileManager, Modes
from archiverd.storage.roots import Roots
from archiverd.sweep import Sweep
from archiverd.trees import discoveries
from archiverd.workbench import Display, JobSettings, Workbench, as_it_is

MakeFiles = Callable[[dict[Tree, Path], str, Modes], FileManager]
MakeProber = Callable[..., Prober]


class Assembly:
    """The parts, made when they are asked for. `make_files` and `make_prober` let a test stand its own in.

    `stop` is heeded by all that is built; `clock` tells seconds since the epoch.
    """

    def __init__(
        self, config: Config, stop: StopToken, *, clock: Callable[[], float] = time.time,
        make_files: MakeFiles = FileManager, make_prober: MakeProber = Prober,
    ) -> None:  # fmt: skip
        self.config = config
        self.stop = stop
        self.clock = clock
        self._make_files = make_files
        self._make_prober = make_prober
        self.roots = roots_of(config)
        self.catalog_path = config.state_dir / FILE_NAME

    # -- trees and catalog --------------------------------------------------------------------------------

    @contextmanager
    def opened(self, *, thoroughly: bool = True) -> Iterator[tuple[Catalog, FileManager, Roots]]:
        """The roots locked and the catalog open and examined, with what moves files between them.

        Raises: StartupError, LockedError, ResourceError, before anything is begun.
        """
        config = self.config
        with (
            Roots(self.roots, config.state_dir) as roots,
            usable_catalog(
                self.catalog_path,
                roots.identity(),
                self.clock(),
                thoroughly=thoroughly,
                alive=lambda: self.stop.requested,
            ) as catalog,
        ):
            in_archive, in_trash = catalog.remembers()
            roots.claim(catalog.id, {Tree.ARCHIVE: in_archive, Tree.TRASH: in_trash})
            yield catalog, self.files(catalog.id, self.modes()), roots

    def finders(self) -> dict[Tree, FileDiscovery]:
        """What looks through each tree."""
        config = self.config
        return discoveries(
            self.roots, config.state_dir, config.patterns, config.snapshot_window, self.clock, go_on=self.stop.check
        )  # fmt: skip

    def files(self, catalog_id: str, modes: Modes = Modes()) -> FileManager:  # noqa: B008  (a frozen value)
        """What moves files between the trees."""
        return self._make_files(self.roots, catalog_id, modes)

    def modes(self) -> Modes:
        """What archives and their directories are given."""
        return Modes(self.config.file_mode, self.config.dir_mode, self.config.gid)

    def rebuilder(self, catalog: Catalog, files: FileManager) -> Rebuilder:
        """What makes a lost catalog anew."""
        return Rebuilder(catalog, files, self.finders(), self.config.patterns, self.stop, self.clock)

    def recoverer(self, catalog: Catalog, files: FileManager) -> Recoverer:
        """What mends the traces of a process that died."""
        return Recoverer(catalog, files, self.finders(), self.stop, self.clock)

    def cleaner(self, catalog: Catalog, files: FileManager, verify: Callable[[Tree], None]) -> Cleaner:
        """What cleans up the trees. `verify` raises ResourceError where a root is not the one that is ours."""
        config, finders, moment = self.config, self.finders(), Moment(self.stop)
        stocks = {tree: Stock(tree, finders[tree], catalog, files, self.clock) for tree in (Tree.ARCHIVE, Tree.TRASH)}
        take_back = self.recoverer(catalog, files).take_back_removals
        tools = CleaningTools(catalog, files, verify, stocks, config.patterns, moment, self.stop, take_back, self.clock)
        sweep = Sweep(
            finders[Tree.SOURCE], catalog, files, config.patterns, window_s=config.snapshot_window, clock=self.clock
        )  # fmt: skip
        return Cleaner(tools, sweep, self.terms())

    def terms(self) -> Terms:
        """What the owner wants cleaned up."""
        config = self.config
        return Terms(config.rules, config.delete, config.when_full is WhenFull.OLDEST, config.min_free)

    # -- what a job goes by -------------------------------------------------------------------------------

    def manner(self) -> Manner:
        """How recordings are planned."""
        return Manner(
            self.patience(), newest_first=self.config.order is Order.NEWEST, again=self.config.no_skip,
            delete=self.config.delete, snapshot_window_s=self.config.snapshot_window,
            archive_snapshots=self.config.snapshots is Snapshots.ARCHIVE, names=self.config.patterns,
        )  # fmt: skip

    def patience(self) -> Patience:
        """How long a file found by a scan is waited for."""
        return Patience(self.config.settle, self.config.quarantine_after)

    def workbench(
        self, catalog: Catalog, files: FileManager, roots: Roots, transcoder: Transcoder, ladder: Ladder,
        display: Display, *, patience: Patience | None = None,
        with_snapshots: Callable[[Recording], Recording] = as_it_is,
    ) -> Workbench:  # fmt: skip
        """What a job works with; `patience` other than that of a run, which has found all snapshots itself."""
        config, limits = self.config, self.limits()
        to_archive = config.snapshots is Snapshots.ARCHIVE
        settings = JobSettings(
            patience or self.patience(), config.attempts, config.delete, limits, config.patterns, to_archive,
            config.min_free,
        )  # fmt: skip
        verifier = Verifier(transcoder, limits, self.stop)
        return Workbench(
            catalog, files, roots, transcoder, ladder, verifier, settings, self.stop, display, self.clock,
            with_snapshots,
        )  # fmt: skip

    def transcoder(self) -> Transcoder:
        return Transcoder(self.encode_settings(), self.limits(), self.stop)

    def ladder(self, catalog: Catalog) -> Ladder:
        config, settings = self.config, self.encode_settings()
        return Ladder(self.prober(), settings, config.hardware, config.device_rest, catalog, self.clock)

    def prober(self) -> Prober:
        """What tries to encode on this machine, as a run would."""
        return self._make_prober(self.encode_settings(), self.limits(), self.stop, device=self.config.device)

    def encode_settings(self) -> EncodeSettings:
        config = self.config
        return EncodeSettings(config.codec, config.crf, config.preset, config.max_height)

    def limits(self) -> Limits:
        config = self.config
        return Limits(
            stall_s=config.stall_timeout, wall_s=config.job_timeout, stop_s=config.stop_timeout,
            memory_bytes=config.max_memory, nice=config.nice, idle_io=config.idle_io, confined=config.confine,
        )  # fmt: skip
