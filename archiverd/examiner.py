"""The examiner: what stands in the source tree, and what a single path in it is. Reads, and needs no catalog."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from archiverd.config import Config
from archiverd.media import boxes
from archiverd.policy.admission import Look, Patience, quiet_s
from archiverd.policy.explanation import Explanation, Facts, Standing, explain
from archiverd.policy.model import Discovery, Tree
from archiverd.policy.naming import is_keep_name, is_snapshot_name, keep_name
from archiverd.storage import paths
from archiverd.storage.open_files import writers
from archiverd.trees import discoveries, relative_to_root


class Examiner:
    """Looks at one source tree and changes nothing. `roots` are those of `config`."""

    def __init__(self, config: Config, roots: dict[Tree, Path], clock: Callable[[], float]) -> None:
        self._config = config
        self._roots = roots
        self._clock = clock

    def discover(self) -> Discovery:
        """What stands in the source tree. Raises: StartupError where it can't be read."""
        config = self._config
        finders = discoveries(self._roots, config.state_dir, config.patterns, config.snapshot_window, self._clock)
        return finders[Tree.SOURCE].scan()

    def explain(self, path: Path) -> Explanation:
        """Why a path is, or is not, a recording. Raises: StartupError where the source tree can't be read."""
        config = self._config
        patience = Patience(config.settle, config.quarantine_after)
        return explain(self._facts(path), config.patterns, patience, config.snapshot_window)

    def _facts(self, path: Path) -> Facts:
        placed, really = relative_to_root(path, self._roots), ""
        if placed is None:
            real = os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118  (resolve() raises on loops)
            placed = relative_to_root(Path(real), self._roots)
            really = "" if placed is None else real
        tree, place = placed or (None, PurePosixPath())
        in_state = Path(really or os.path.abspath(path)).is_relative_to(self._config.state_dir)  # noqa: PTH100  (as in relative_to_root: symlinks stay)
        facts = Facts(
            str(path), str(self._roots[Tree.SOURCE]), tree, place, self._clock(), in_state=in_state, really=really
        )
        if tree is not Tree.SOURCE or not place.parts:
            return facts
        return self._stands(self._goes(facts))

    def _goes(self, facts: Facts) -> Facts:
        """What stands on the way from the root, and at its end."""
        parts = facts.place.parts
        found: list[Standing] = []
        status: os.stat_result | Standing = Standing.NOTHING
        for depth, name in enumerate(parts):
            status = self._status(parts[:depth], name)
            found.append(status if isinstance(status, Standing) else _standing(status.st_mode))
            if found[-1] is not Standing.DIRECTORY or depth == len(parts) - 1:
                break
        if len(found) < len(parts):
            end = Standing.NOTHING if found[-1] is Standing.NOTHING else Standing.UNKNOWN
            return replace(facts, above=tuple(found), standing=end)
        facts = replace(facts, above=tuple(found[:-1]), standing=found[-1])
        return (
            facts if isinstance(status, Standing) else replace(facts, size=status.st_size, mtime_ns=status.st_mtime_ns)
        )

    def _status(self, above: tuple[str, ...], name: str) -> os.stat_result | Standing:
        try:
            with paths.directory(self._roots[Tree.SOURCE], above) as handle:
                return os.stat(name, dir_fd=handle, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return Standing.NOTHING
        except OSError:  # no right to search it, a disk that fails, a name that is too long
            return Standing.UNKNOWN

    def _stands(self, facts: Facts) -> Facts:
        """What belongs to a regular file: its recording or snapshots, its protection, and whether it is whole."""
        if facts.standing is not Standing.FILE:
            return facts
        found, place = self.discover(), facts.place
        if is_keep_name(place.name):
            kept = (one.clip.path for one in found.recordings if one.protected)
            wanted = (clip for clip in kept if _is_keep_of(place, clip))
            return replace(facts, keeps=next(wanted, None))
        owner = next((one for one in found.recordings if place in [file.path for file in one.snapshots]), None)
        if owner is not None or is_snapshot_name(place.name):
            return replace(facts, belongs_to=None if owner is None else owner.clip.path)
        recording = next((one for one in found.recordings if one.clip.path == place), None)
        if recording is None:
            return facts
        keep = place.with_name(keep_name(place.name)) if recording.protected else None
        snapshots = tuple(file.path for file in recording.snapshots)
        return replace(facts, keep=keep, snapshots=snapshots, look=self._look(place))

    def _look(self, place: PurePosixPath) -> Look | None:
        """What a run sees of a clip before it takes it; None where it can't be read."""
        try:
            with paths.parent(self._roots[Tree.SOURCE], place) as directory:
                handle = paths.open_file(directory, place.name)
        except OSError:
            return None
        try:
            walk = boxes.walk(handle)
            now = self._clock()
            return Look(
                quiet_s=quiet_s(os.fstat(handle).st_mtime_ns / 1e9, now, now),
                being_written=writers(handle),
                fault=walk.fault,
                has_video=any(track.handler == "vide" for track in walk.tracks),
                open_ended=walk.layout is boxes.Layout.FRAGMENTED and not walk.has_mfra,
            )
        except OSError:  # a disk that fails there
            return None
        finally:
            os.close(handle)


def _is_keep_of(keep: PurePosixPath, clip: PurePosixPath) -> bool:
    wanted = clip.with_name(keep_name(clip.name))
    return keep.parent == wanted.parent and keep.name[:-5] == wanted.name[:-5]


def _standing(mode: int) -> Standing:
    if stat.S_ISREG(mode):
        return Standing.FILE
    if stat.S_ISDIR(mode):
        return Standing.DIRECTORY
    return Standing.SYMLINK if stat.S_ISLNK(mode) else Standing.SPECIAL
