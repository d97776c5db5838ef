"""Outlook: what `status` tells of room, reach and snapshots, without the parts a run is made of.

Those take longer to load than all the rest of it takes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from archiverd.config import Config, WhenFull
from archiverd.errors import StartupError
from archiverd.policy.forecast import RATE_DAYS, Forecast, forecast
from archiverd.policy.inventory import Inventory
from archiverd.policy.model import Orphans, Tree
from archiverd.policy.retention import Policy
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_connection import INVENTORY
from archiverd.storage.roots import rooms_of
from archiverd.trees import discoveries

log = logging.getLogger(__name__)


class _TooLargeError(Exception):
    """There is more to look at than there is time for."""


def roots_of(config: Config) -> dict[Tree, Path]:
    """The roots of the three trees."""
    return {Tree.SOURCE: config.directory, Tree.ARCHIVE: config.output, Tree.TRASH: config.trash_root}


def outlook(config: Config, catalog: Catalog, clock: Callable[[], float] = time.time) -> Forecast | None:
    """How far back footage reaches, and when room runs out; None before anything of that was looked at."""
    inventory, began = Inventory.from_text(catalog.recall(INVENTORY)), catalog.began_at()
    if inventory is None or began is None:
        return None
    now, roots = clock(), roots_of(config)
    policy = Policy(config.rules, config.delete, config.when_full is WhenFull.OLDEST)
    rates, rooms = catalog.lately(RATE_DAYS, now), rooms_of({str(tree): root for tree, root in roots.items()})
    return forecast(
        inventory, policy, rates, rooms, now, min_free=config.min_free, known_since=began, gone=catalog.latest_gone()
    )  # fmt: skip


def orphans(config: Config, within_s: float) -> Orphans:
    """The snapshots in the source tree whose recording does not stand there, if that can be told so soon."""
    ends_at = time.monotonic() + within_s

    def go_on() -> None:
        if time.monotonic() > ends_at:
            raise _TooLargeError

    finders = discoveries(
        roots_of(config), config.state_dir, config.patterns, config.snapshot_window, time.time, go_on=go_on
    )  # fmt: skip
    try:
        return Orphans(finders[Tree.SOURCE].scan().orphans)
    except StartupError as error:
        log.warning("%s", error)
        return Orphans(unseen="the source tree can't be looked at now")
    except _TooLargeError:
        return Orphans(unseen="the source tree is too large to be looked through here; archiverd discover does it")
