"""The three trees: what looks through each, and in which a path lies."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from archiverd.policy.model import Tree
from archiverd.policy.name_patterns import NamePatterns
from archiverd.storage.discovery import FileDiscovery, always


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
