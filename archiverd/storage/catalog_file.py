"""The catalog, ready to be written: a file that can't serve as one is set aside, and a new one begun.

Nothing is lost by that, for the trees are the truth; what they still tell is entered by the Rebuilder.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from archiverd.errors import ResourceError, StartupError
from archiverd.policy.naming import printable
from archiverd.storage.catalog import Catalog, CatalogLostError
from archiverd.storage.file_manager import set_file_aside
from archiverd.storage.reserve import Reserve

log = logging.getLogger(__name__)


@contextmanager
def usable_catalog(
    path: Path, new_id: str, now: float, *, thoroughly: bool, alive: Callable[[], object]
) -> Iterator[Catalog]:  # fmt: skip
    """The catalog, open and examined; made where there is none, under the lock on the roots.

    `thoroughly`: row by row. `alive` is called now and then meanwhile.

    A file that is damaged, of a newer version or another user's is set aside under a name with the moment (`now`,
    seconds since the epoch). One that may only be read is copied: it is sound. On a full disk the reserve is given up.
    It is looked at twice before that: SQLite tells of a page that could not be read, once, in the words of damage.

    Raises: StartupError where it can be neither used nor set aside; ResourceError where the disk fails.
    """
    with ExitStack() as stack:
        try:
            catalog = _opened(stack, path, new_id, thoroughly, alive)
        except CatalogLostError as at_first:
            try:
                catalog = _opened(stack, path, new_id, thoroughly, alive)
            except CatalogLostError as lost:
                _replace(path, lost, now)
                catalog = _opened(stack, path, new_id, thoroughly, alive)
            else:
                log.warning("%s; not so when it was read again: the disk under it may be failing", at_first.message)
        except ResourceError:
            if not Reserve(path.parent).give_up():
                raise
            catalog = _opened(stack, path, new_id, thoroughly, alive)
        else:
            Reserve(path.parent).keep()
        yield catalog


def _opened(
    stack: ExitStack, path: Path, new_id: str, thoroughly: bool, alive: Callable[[], object]
) -> Catalog:  # fmt: skip
    with ExitStack() as attempt:
        catalog = attempt.enter_context(Catalog(path, new_id=new_id))
        catalog.examine(thoroughly=thoroughly, alive=alive)
        stack.push(attempt.pop_all())
    return catalog


def _replace(path: Path, lost: CatalogLostError, now: float) -> None:
    if lost.readable and not os.access(path, os.R_OK):
        raise StartupError(
            f"{path}: may neither be written nor read by this user",
            advice="Run archiverd as the user whose file it is, or give the file to the user it runs as (chown)",
        )
    moment = datetime.fromtimestamp(now).strftime("%Y%m%dT%H%M%S")
    try:
        aside = set_file_aside(path, f"{'unwritable' if lost.readable else 'damaged'}-{moment}")
        if lost.readable:
            _copy(aside, path)
    except OSError as error:
        raise StartupError(
            f"{lost.message}; and it can't be set aside: {error.strerror}",
            advice=f"archiverd's user needs to write in {printable(path.parent)}",
        ) from error
    made = "copied, and used on" if lost.readable else "made anew from the trees"
    log.error("%s; set aside as %s, and %s", lost.message, printable(aside), made)


def _copy(aside: Path, path: Path) -> None:
    """Copy a sound catalog, with the journal of a commit that was cut short, into a file of our own."""
    for ending in ("-journal", ""):  # the journal first: without it the file would be taken for whole
        source = aside.with_name(aside.name + ending)
        if not source.exists():
            continue
        target = path.with_name(path.name + ending)
        shutil.copyfile(source, target)
        target.chmod(0o640)
        with target.open("rb") as handle:
            os.fsync(handle.fileno())
