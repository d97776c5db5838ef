"""One pass of a cleanup: look, plan, have it held or go ahead, carry it out. The same for the daemon and a command."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass

from archiverd.cleaner import Cleaner
from archiverd.errors import Interrupted, ResourceError, StartupError
from archiverd.policy.holding_back import Accepted, HeldPlan, clock_fault, why_held
from archiverd.policy.model import Tree
from archiverd.policy.retention import FIRST_CLOCK, CleanupPlan, Disk, way_words
from archiverd.policy.words import size_words
from archiverd.remover import Done
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_connection import ACCEPTED, HELD, INVENTORY

log = logging.getLogger(__name__)

SHOW = "`archiverd cleanup --dry-run` tells what stays, and why"
CONFIRM = (
    "`archiverd cleanup --dry-run`, with the same options if there were any, shows it, --confirm-held has it go ahead"
)

Goes = Callable[[CleanupPlan, HeldPlan | None], bool]  # whether a plan, which may be held, is to be carried out


@dataclass(frozen=True, slots=True)
class Caution:
    """How much may go at once where something has changed, and how long the catalog remembers what is gone."""

    max_removal: int  # per cent of a tree
    history_s: float
    leaps: bool = True  # a clock that leapt is such a change


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What came of a pass. `stopped` is the error that ended it early, None for a whole one."""

    plan: CleanupPlan
    done: Done
    disks: tuple[Disk, ...] = ()  # as they were when it was planned
    held: HeldPlan | None = None  # it waits to be confirmed, and nothing was removed
    declined: bool = False
    stopped: ResourceError | Interrupted | None = None

    @property
    def exit_code(self) -> int:
        """0 when all went well, 1 where something waits, or could not be removed or reached, else that of a stop."""
        if self.stopped is not None:
            return self.stopped.exit_code
        return 1 if self.done.refused or self.held is not None or self.plan.shortfalls else 0


def clean_up(
    cleaner: Cleaner, catalog: Catalog, caution: Caution, goes: Goes, *, sweep: bool, resting: Collection[str] = ()
) -> Generator[None, None, Cleaned]:
    """One pass, pausing when a moment of work is over. `sweep`: with a look through the source tree.

    `resting`: disks, by path, for whose room nothing is removed now.
    Raises: StartupError where the clock tells no ages; ResourceError, Interrupted before anything is removed.
    """
    if sweep and not clock_fault(cleaner.now()):
        catalog.count_from(FIRST_CLOCK, cleaner.now())
    yield from cleaner.look()
    if sweep:
        yield from cleaner.look_at_source()
    now, done = cleaner.now(), Done()
    fault = clock_fault(now)
    if fault:
        raise StartupError(f"nothing is cleaned up: {fault}", advice="Set the clock")
    policy = cleaner.policy(resting)
    plan = cleaner.plan(policy, now)
    catalog.correct(INVENTORY, cleaner.inventory().to_text())
    held = hold_back(catalog, cleaner, plan, caution, now)
    if not goes(plan, held):
        return Cleaned(plan, done, policy.disks, held, declined=held is None)
    if held is not None or _proves(plan):
        go_ahead(catalog, cleaner.terms_text(), now)
    stopped: ResourceError | Interrupted | None = None
    try:
        yield from cleaner.apply(plan, policy, done)
    except (ResourceError, Interrupted) as error:
        stopped = error
    finally:
        cleaner.forget_source()  # what was seen there is old by the next pass
        _tell(done)
    if plan.removals and stopped is None:
        catalog.correct(INVENTORY, cleaner.inventory().to_text())
    return Cleaned(plan, done, policy.disks, stopped=stopped)


def _proves(plan: CleanupPlan) -> bool:
    """Whether a plan that may go ahead says that its rules are the usual ones: over nothing any rules would."""
    return any(plan.holdings.of(tree).files for tree in (Tree.ARCHIVE, Tree.TRASH))


def hold_back(
    catalog: Catalog, cleaner: Cleaner, plan: CleanupPlan, caution: Caution, now: float
) -> HeldPlan | None:  # fmt: skip
    """Hold a plan back where something has changed and much would go, and note that; None where it may go ahead."""
    terms, before = cleaner.terms_text(), Accepted.from_text(catalog.recall(ACCEPTED))
    why = why_held(plan, terms, before, caution.max_removal, now, leaps=caution.leaps)
    if not why:
        return None
    earlier = HeldPlan.from_text(catalog.recall(HELD))
    since = earlier.since if earlier is not None and earlier.terms == terms else now
    held = HeldPlan(why, terms, since, plan.total.files, plan.total.size)
    if held != earlier:
        catalog.correct(HELD, held.to_text())
        log.warning("a cleanup of %d files, %s, is held: %s", held.files, size_words(held.size), held.why)
    return held


def go_ahead(catalog: Catalog, terms: str, now: float) -> None:
    """Note that a cleanup goes ahead by these terms: they are the usual ones from now on."""
    catalog.correct(ACCEPTED, Accepted(terms, now).to_text())
    if catalog.recall(HELD):
        catalog.correct(HELD, "")


def confirm(catalog: Catalog, now: float) -> HeldPlan | None:
    """Have what is held go ahead; None where nothing is."""
    held = HeldPlan.from_text(catalog.recall(HELD))
    if held is not None:
        go_ahead(catalog, held.terms, now)
    return held


def _tell(done: Done) -> None:
    """Tell in the log what was removed, a line for each tree and reason."""
    for (tree, reason, to_trash), one in done.removed.items():
        how, files = way_words(to_trash=to_trash), "file" if one.files == 1 else "files"
        log.info("cleanup: %d %s, %s, of the %s %s: %s", one.files, files, size_words(one.size), tree, how, reason)
