"""OneCleanup: a cleanup on somebody's word."""

from __future__ import annotations

import time
from collections.abc import Callable

from archiverd.assembly import Assembly
from archiverd.cleanup_pass import Caution, Cleaned, Goes, clean_up, confirm
from archiverd.config import Config
from archiverd.errors import StartupError
from archiverd.policy.holding_back import Accepted, HeldPlan, clock_fault, why_held
from archiverd.policy.model import Tree
from archiverd.policy.retention import CleanupPlan
from archiverd.policy.stop import StopToken
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_connection import ACCEPTED, TREES_READ
from archiverd.storage.file_manager import FileManager
from archiverd.storage.roots import Roots, see_marked_by

_FORGOTTEN = 1000  # rows in one commit


class OneCleanup:
    """Cleans up the trees of one archiverd, once."""

    def __init__(self, config: Config, stop: StopToken, *, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._parts = Assembly(config, stop, clock=clock)

    def preview(self) -> tuple[CleanupPlan, str]:
        """What a cleanup would remove now, and why it would be held; "" where it would not. Writes nothing.

        Raises: StartupError where there is nothing to clean up, LockedError where a root is another catalog's.
        """
        self._see_catalog()
        with Catalog.to_read(self._parts.catalog_path) as catalog:
            cleaner = self._parts.cleaner(catalog, self._parts.files(catalog.id), self._verify(catalog.id))
            cleaner.finish(cleaner.look())
            cleaner.finish(cleaner.look_at_source())
            now, accepted = cleaner.now(), Accepted.from_text(catalog.recall(ACCEPTED))
            plan, most = cleaner.plan(cleaner.policy(), now), self._config.max_removal
            held = why_held(plan, cleaner.terms_text(), accepted, most, now, leaps=False)
            return plan, clock_fault(now) or held

    def clean(self, goes: Goes) -> Cleaned:
        """Plan, ask, and carry out, under the locks of all three roots.

        Raises: StartupError, LockedError before anything is begun; Interrupted likewise.
        """
        self._see_catalog()
        with self._parts.opened() as (catalog, files, roots):
            if catalog.recall(TREES_READ) is None:
                raise StartupError(
                    f"{self._parts.catalog_path}: the catalog was made anew and does not know the trees yet",
                    advice=f"Let a run read them first: archiverd run {self._config.directory}",
                )
            self._parts.recoverer(catalog, files).recover()
            return clean_up_once(self._parts, catalog, files, roots, goes)

    def confirm_held(self) -> HeldPlan | None:
        """Have the daemon go ahead with what it holds; None where it holds nothing."""
        with Catalog(self._parts.catalog_path) as catalog:
            return confirm(catalog, self._clock())

    def _see_catalog(self) -> None:
        """Without a catalog nobody knows what may go."""
        path = self._parts.catalog_path
        if not path.exists():
            raise StartupError(
                f"{path}: there is no catalog yet, and without one nothing is cleaned up",
                advice=f"Begin with: archiverd run {self._config.directory} --dry-run",
            )

    def _verify(self, catalog_id: str) -> Callable[[Tree], None]:
        return lambda tree: see_marked_by(catalog_id, tree, self._parts.roots[tree])


def clean_up_once(parts: Assembly, catalog: Catalog, files: FileManager, roots: Roots, goes: Goes) -> Cleaned:
    """One cleanup by whoever holds the locks. Raises: StartupError where the clock is not to be trusted."""
    cleaner = parts.cleaner(catalog, files, roots.verify)
    caution = Caution(parts.config.max_removal, parts.config.history, leaps=False)
    cleaned = cleaner.finish(clean_up(cleaner, catalog, caution, goes, sweep=True))
    while cleaned.stopped is None and catalog.forget(parts.clock() - caution.history_s, _FORGOTTEN):
        parts.stop.check()
    return cleaned
