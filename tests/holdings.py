"""Trees with recordings that are done, quarantined or trashed, for a cleanup: real files, and their rows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from archiverd.assembly import Assembly
from archiverd.cleaner import Cleaner
from archiverd.config import Config
from archiverd.policy.model import ArchiveKind, ClipName, Fingerprint, FoundFile, FoundRecording, Place, Recording, Tree
from archiverd.policy.stop import NeverStop, StopToken
from archiverd.storage.catalog import TREES_READ, Catalog
from archiverd.storage.file_manager import FileManager
from archiverd.storage.roots import Roots
from tests.recordings import receipt
from tools import damage, footage

NOW = datetime(2026, 7, 1, 12, 0).timestamp()
DAY_S = 86_400.0
_CLIP = footage.Clip("holdings", 64, 48, "10", 0.5, crf=40)


class House:
    """One archiverd over three trees, in the middle of its life. From `with` to its end it holds their locks."""

    def __init__(self, root: Path, *, stop: StopToken | None = None, **settings: Any) -> None:  # Any: keys of Config
        self.root = root / "camera"
        self.root.mkdir(parents=True, exist_ok=True)
        self.config = Config(directory=self.root, **settings)
        self.now = NOW
        self.content: Callable[[int], bytes] = lambda size: b"x" * size
        self.parts = Assembly(self.config, stop or NeverStop(), clock=lambda: self.now)
        self.roots_by_tree = self.parts.roots
        self.catalog: Catalog
        self.files: FileManager
        self.roots: Roots

    @contextmanager
    def open(self) -> Iterator[House]:
        """With its trees locked, and its catalog open."""
        with self.parts.opened() as (self.catalog, self.files, self.roots):
            self.catalog.remember(TREES_READ, "by the first run")
            self.catalog._connection.execute("PRAGMA synchronous = OFF")  # its disk loses no power
            yield self

    def cleaner(self) -> Cleaner:
        """What cleans it up."""
        return self.parts.cleaner(self.catalog, self.files, self.roots.verify)

    # -- what stands ----------------------------------------------------------------------------------------

    def archived(
        self, camera: str, days_ago: float, size: int = 1000, *, trashed_days_ago: float | None = None,
        snapshots: int = 0,
    ) -> Recording:  # fmt: skip
        """A recording that is done: its archive stands, and its source is gone, or lies in the trash since then."""
        taken_at = datetime.fromtimestamp(self.now - days_ago * DAY_S).replace(microsecond=0)
        path = upload(camera, taken_at)
        source = self.file(Tree.SOURCE, path, size, taken_at)
        moments = [taken_at + timedelta(seconds=number + 1) for number in range(snapshots)]
        theirs = [self.file(Tree.SOURCE, upload(camera, at).with_suffix(".jpg"), 100, at) for at in moments]
        archive = self.file(Tree.ARCHIVE, path, size, taken_at)
        at = self.now - (days_ago if trashed_days_ago is None else trashed_days_ago) * DAY_S
        row = self.catalog.offer(FoundRecording(source, tuple(theirs)), at, reason="new")
        row = self.catalog.claim(row, os.urandom(6).hex(), at)
        mark = archive.fingerprint
        told = replace(receipt(kind=ArchiveKind.VERBATIM, rung=""), source=source.fingerprint, archive=mark)
        row = self.catalog.publishing(row, archive.path, "a" * 64, mark.size, told, at)
        row = self.catalog.archived(row, told, "transcoded", at)
        to_trash = trashed_days_ago is not None
        for snapshot in row.snapshots:
            place = self._trash(snapshot.path) if to_trash else None
            self.catalog.snapshot_disposed(snapshot, None if place is None else Place(Tree.TRASH, place), at)
            self._unlink(snapshot.path)
        place = self._trash(row.path) if to_trash else None
        self._unlink(row.path)
        return self.catalog.done(row, place, "let go of", at)

    def quarantined(self, camera: str, days_ago: float, size: int = 1000) -> Recording:
        """A clip that could not be archived, set aside that long ago."""
        taken_at = datetime.fromtimestamp(self.now - days_ago * DAY_S).replace(microsecond=0)
        source = self.file(Tree.SOURCE, upload(camera, taken_at), size, taken_at)
        at = self.now - days_ago * DAY_S
        row = self.catalog.claim(self.catalog.offer(FoundRecording(source), at, reason="new"), "j1", at)
        return self.catalog.quarantine(row, "no moov", at)

    def waiting(self, camera: str, days_ago: float, size: int = 1000) -> Recording:
        """A clip that waits for its archive."""
        taken_at = datetime.fromtimestamp(self.now - days_ago * DAY_S).replace(microsecond=0)
        source = self.file(Tree.SOURCE, upload(camera, taken_at), size, taken_at)
        return self.catalog.offer(FoundRecording(source), self.now - days_ago * DAY_S, reason="new")

    def file(self, tree: Tree, path: PurePosixPath, size: int, when: datetime) -> FoundFile:
        """A file of that size and time in a tree."""
        file = self.roots_by_tree[tree] / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self.content(size))
        at = int(when.timestamp())
        os.utime(file, (at, at))
        camera = path.stem.rpartition("_")[0]
        return FoundFile.at(path, Fingerprint.of(file.lstat()), ClipName(camera, when))

    def keep(self, tree: Tree, path: PurePosixPath) -> None:
        """Protect what stands there."""
        (self.roots_by_tree[tree] / path.with_suffix(".keep")).touch()

    def _trash(self, path: PurePosixPath) -> PurePosixPath:
        lies = self.roots_by_tree[Tree.TRASH] / path
        lies.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(self.roots_by_tree[Tree.SOURCE] / path, lies)
        return path

    def _unlink(self, path: PurePosixPath) -> None:
        file = self.roots_by_tree[Tree.SOURCE] / path
        file.unlink(missing_ok=True)
        if not any(file.parent.iterdir()):
            os.removedirs(file.parent)

    # -- what became of it ----------------------------------------------------------------------------------

    def standing(self, tree: Tree) -> list[str]:
        """The names of the files in a tree, without archiverd's own at the top, and without other trees in it."""
        root = self.roots_by_tree[tree]
        others = {
            other for other in (*self.roots_by_tree.values(), self.config.state_dir) if other.is_relative_to(root)
        }
        others.discard(root)
        return sorted(
            path.name
            for path in root.rglob("*")
            if path.is_file() and path.parent != root and not others & set(path.parents)
        )


def clip_of(size: int) -> bytes:
    """A clip of that size: a box that players skip fills it up."""
    clip = footage.cached(_CLIP).read_bytes()
    return clip + damage.box(b"free", bytes(size - len(clip) - 8))


def upload(camera: str, taken_at: datetime) -> PurePosixPath:
    """Where a camera uploads what it took then."""
    return PurePosixPath(f"{taken_at:%Y/%m/%d}/{camera}_{taken_at:%Y%m%d%H%M%S}.mp4")
