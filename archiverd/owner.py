"""What an owner asks of single recordings: protect them, let them go again, have them tried once more.

All of it works beside a run: a `.keep` is made or removed in one step, and a row is moved only from the state it
was seen in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from archiverd.policy.model import Recording, State, Tree
from archiverd.policy.name_patterns import NamePatterns
from archiverd.policy.naming import FileKind
from archiverd.storage.catalog import Catalog, ClaimLostError
from archiverd.storage.file_manager import FileManager

Place = tuple[Tree, PurePosixPath]

_CAN_BE_TRIED = (State.QUARANTINED, State.WAITING)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was done about one path, in words; `refused` where nothing could be."""

    path: PurePosixPath
    words: str
    refused: bool = False


def protect(files: FileManager, names: NamePatterns, places: Iterable[Place]) -> list[Answer]:
    """Put a `.keep` beside each clip. `names` are the source tree's."""
    return [_change(files.protect, names, place, "protected", "was protected already") for place in places]


def unprotect(files: FileManager, names: NamePatterns, places: Iterable[Place]) -> list[Answer]:
    """Take the `.keep` beside each clip away. `names` are the source tree's."""
    return [_change(files.unprotect, names, place, "protected no more", "was not protected") for place in places]


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


def retry(catalog: Catalog, paths: Iterable[PurePosixPath], now: float) -> list[Answer]:
    """Have the recordings of these source paths tried again."""
    answers = []
    for path in paths:
        rows = [row for row in catalog.at_path(path) if row.path == path and row.state in _CAN_BE_TRIED]
        answers += [_retry(catalog, row, now) for row in rows] or [
            Answer(path, "neither waits nor is quarantined", refused=True)
        ]
    return answers


def retry_all(catalog: Catalog, now: float) -> list[Answer]:
    """Have everything that is quarantined tried again."""
    return [_retry(catalog, row, now) for row in catalog.recordings((State.QUARANTINED,))]


def _retry(catalog: Catalog, row: Recording, now: float) -> Answer:
    try:
        catalog.retry(row, now)
    except ClaimLostError:
        return Answer(row.path, "is being worked on by now", refused=True)
    return Answer(row.path, "is tried again by the next run")
