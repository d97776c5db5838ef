"""What an owner asks of single recordings: protect them, let them go again, have them tried once more.

All of it works beside a run: a `.keep` is made or removed in one step, and a row is moved only from the state it
was seen in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

from archiverd.policy.answer import Answer
from archiverd.policy.model import Recording, State, Tree
from archiverd.policy.name_patterns import NamePatterns
from archiverd.policy.naming import FileKind
from archiverd.storage.catalog import Catalog, ClaimLostError
from archiverd.storage.file_manager import FileManager

Place = tuple[Tree, PurePosixPath]

NEXT_RUN = "by the next run"
AT_ONCE = "now, by the daemon"

_CAN_BE_TRIED = (State.QUARANTINED, State.WAITING)


def protect(files: FileManager, names: NamePatterns, places: Iterable[Place]) -> list[Answer]:
    """Put a `.keep` beside each clip. `names` are the source tree's."""
    return [_change(files.protect, names, place, "protected", "was protected already") for place in places]


def unprotect(
    files: FileManager, names: NamePatterns, places: Iterable[Place], catalog: Catalog | None, now: float
) -> list[Answer]:  # fmt: skip
    """Take the `.keep` beside each clip away, and have what was kept let go of. `names` are the source tree's.

    Without a catalog that is found out by the next look at the trees.
    """
    answers = []
    for tree, path in places:
        answers.append(_change(files.unprotect, names, (tree, path), "protected no more", "was not protected"))
        if catalog is not None and tree is Tree.SOURCE and not answers[-1].refused:
            catalog.release(path, now)
    return answers


def _change(
    change: Callable[[Tree, PurePosixPath], bool], names: NamePatterns, place: Place, changed: str, unchanged: str
) -> Answer:
    tree, path = place
    if names.in_tree(tree).kind(path) is not FileKind.CLIP:
        return Answer(path, "is not a recording", refused=True)
    try:
        return Answer(path, changed if change(tree, path) else unchanged)
    except OSError as error:
        return Answer(path, f"can't be {changed}: {error.strerror}", refused=True)


def retry(catalog: Catalog, paths: Iterable[PurePosixPath], now: float, when: str = NEXT_RUN) -> list[Answer]:
    """Have the recordings of these source paths tried again; `when` says in words when that will be."""
    answers = []
    for path in paths:
        rows = [row for row in catalog.at_path(path) if row.path == path and row.state in _CAN_BE_TRIED]
        answers += [_retry(catalog, row, now, when) for row in rows] or [
            Answer(path, "neither waits nor is quarantined", refused=True)
        ]
    return answers


def retry_all(catalog: Catalog, now: float, when: str = NEXT_RUN) -> list[Answer]:
    """Have everything that is quarantined tried again."""
    return [_retry(catalog, row, now, when) for row in catalog.recordings((State.QUARANTINED,))]


def _retry(catalog: Catalog, row: Recording, now: float, when: str) -> Answer:
    try:
        catalog.retry(row, now)
    except ClaimLostError:
        return Answer(row.path, "is being worked on by now", refused=True)
    return Answer(row.path, f"is tried again {when}")
