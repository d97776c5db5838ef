"""Which snapshot belongs to which clip.

A camera names both by the moment each was begun, which for one event differ by some seconds; they may even stand
in the directories of two days.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from pathlib import PurePosixPath

from archiverd.policy.model import FoundFile


@dataclass(frozen=True, slots=True)
class Pairing:
    """Every snapshot in exactly one place: with a clip, or among the orphans."""

    by_clip: Mapping[PurePosixPath, tuple[FoundFile, ...]]  # only clips that have any; each tuple oldest first
    orphans: tuple[FoundFile, ...]


def pair(clips: Sequence[FoundFile], snapshots: Sequence[FoundFile], window_s: float) -> Pairing:
    """Give each snapshot to the clip of its own directory and stem, else to its camera's nearest within `window_s`.

    Between two equally near clips the one that began first takes it: it may still have been recording when
    the picture was taken, the later one was not. Between clips of one second: the lowest `~N`, then the first path.
    A clip may get several snapshots. O(n log n) in the number of files.
    """
    if not snapshots:
        return Pairing({}, ())
    by_stem: dict[str, FoundFile] = {}
    by_camera: dict[str, _Times] = {}
    for clip in sorted(clips, key=_order):
        by_stem.setdefault(_stem(clip), clip)
        times, of_camera = by_camera.setdefault(clip.name.camera, ([], []))
        times.append(clip.name.taken_at)
        of_camera.append(clip)
    found: dict[PurePosixPath, list[FoundFile]] = defaultdict(list)
    orphans = []
    for snapshot in sorted(snapshots, key=_order):
        owner = by_stem.get(_stem(snapshot)) or _nearest(by_camera.get(snapshot.name.camera), snapshot, window_s)
        if owner is None:
            orphans.append(snapshot)
        else:
            found[owner.path].append(snapshot)
    return Pairing({path: tuple(files) for path, files in found.items()}, tuple(orphans))


_order = attrgetter("name.taken_at", "name.copy", "path")
_Times = tuple[list[datetime], list[FoundFile]]  # of one camera, both oldest first


def _stem(file: FoundFile) -> str:
    """Directory and name without extension, which of clips and snapshots is always of three letters."""
    return str(file.path)[:-4]


def _nearest(of_camera: _Times | None, snapshot: FoundFile, window_s: float) -> FoundFile | None:
    if of_camera is None:
        return None
    times, clips = of_camera
    moment = snapshot.name.taken_at
    after = bisect_left(times, moment)
    before = bisect_left(times, times[after - 1]) if after else after  # the first of those that began in that second
    best = before
    if before == after or (after < len(times) and times[after] - moment < moment - times[before]):
        best = after
    return clips[best] if abs(times[best] - moment).total_seconds() <= window_s else None
