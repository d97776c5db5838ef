"""The three trees: what looks through each, and in which a path lies."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from archiverd.policy import naming
from archiverd.policy.model import Tree
from archiverd.policy.name_patterns import NamePatterns
from archiverd.policy.naming import is_own_at_top, is_own_at_top_of_trash
from archiverd.storage.discovery import FileDiscovery, always
from archiverd.storage.file_manager import FileManager

log = logging.getLogger(__name__)


def discoveries(
    roots: dict[Tree, Path],
    state_dir: Path,
    names: NamePatterns,
    snapshot_window_s: float,
    now: Callable[[], float],
    go_on: Callable[[], None] = always,
) -> dict[Tree, FileDiscovery]:
    """One FileDiscovery for each tree; none descends into another's root. `names` are the source tree's."""
    return {
        tree: FileDiscovery(
            root,
            names=names.in_tree(tree),
            exclude=[other for other in (*roots.values(), state_dir) if other != root],
            snapshot_window_s=snapshot_window_s,
            now=now,
            go_on=go_on,
            own_at_top=is_own_at_top_of_trash if tree is Tree.TRASH else is_own_at_top,
        )
        for tree, root in roots.items()
    }


def relative_to_root(path: Path, roots: dict[Tree, Path]) -> tuple[Tree, PurePosixPath] | None:
    """Which tree a path lies in, and where below its root; None for a path in none. The innermost root wins."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  (resolve() would follow a symlink the user asks about)
    inside = [(tree, root) for tree, root in roots.items() if absolute.is_relative_to(root)]
    if not inside:
        return None
    tree, root = max(inside, key=lambda pair: len(pair[1].parts))
    return tree, PurePosixPath(absolute.relative_to(root))


class Keeps:
    """Which files of a tree a `.keep` stands beside; each directory is read once."""

    def __init__(self, files: FileManager, tree: Tree) -> None:
        self._files = files
        self._tree = tree
        self._stems: dict[PurePosixPath, frozenset[str]] = {}

    def protect(self, path: PurePosixPath) -> bool:
        """Whether one stands beside this file."""
        stems = self._stems.get(path.parent)
        if stems is None:
            names = self._files.names(self._tree, path.parent)
            stems = frozenset(name.rpartition(".")[0] for name in names if naming.is_keep_name(name))
            self._stems[path.parent] = stems
        return naming.keep_name(path.name).rpartition(".")[0] in stems


def put_back_cleared(files: FileManager, tree: Tree, leftovers: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """Give what a batch of removals had set aside when it died its names back; the other leftovers are returned.

    To be done before anything is taken for missing. What can't be mended now is told, and left.
    """
    others = []
    for path in leftovers:
        try:
            if not is_aside_directory(files, tree, path):
                others.append(path)
                continue
            for back in files.put_back_all(tree, path):
                log.info("%s: was set aside by a removal that died; put back", naming.printable(back))
        except OSError as error:
            log.warning("%s: left by a removal that died, can't be mended now: %s", naming.printable(path), error)
    return others


def is_aside_directory(files: FileManager, tree: Tree, path: PurePosixPath) -> bool:
    """Whether a leftover is a directory in which a batch of removals sets files aside."""
    if naming.parse_gone_name(path.name) is None:
        return False
    status = files.status(tree, path)
    return status is not None and stat.S_ISDIR(status.st_mode)
