"""Which snapshot belongs to which clip.

A camera names both by the moment each was begun, which for one event differ by some seconds; they may even stand
in the directories of two days.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from pathlib import PurePosixPath

from archiverd.policy.model import ClipName, FoundFile


@dataclass(frozen=True, slots=True)
class Pairing:
    """Every snapshot in exactly one place: with a clip, or among the orphans."""

    by_clip: Mapping[PurePosixPath, tuple[FoundFile, ...]]  # only clips that have any; each tuple oldest first
    orphans: tuple[FoundFile, ...]


def pair(clips: Sequence[FoundFile], snapshots: Iterable[FoundFile], window_s: float) -> Pairing:
    """What `owners` says, by the paths of the clips."""
    found, orphans = owners(clips, snapshots, window_s)
    by_clip: dict[PurePosixPath, tuple[FoundFile, ...]] = {}
    for number, files in found.items():  # a path may have had several contents
        path = clips[number].path
        by_clip[path] = (*by_clip.get(path, ()), *files)
    return Pairing(by_clip, orphans)


def owners(
    clips: Sequence[FoundFile], snapshots: Iterable[FoundFile], window_s: float
) -> tuple[dict[int, tuple[FoundFile, ...]], tuple[FoundFile, ...]]:
    """Give each snapshot to the clip of its own directory and stem, else to its camera's nearest within `window_s`.

    Between two equally near clips the one that began first takes it: it may still have been recording when
    the picture was taken, the later one was not. Between clips of one second: the lowest `~N`, then the first path.
    A clip may get several snapshots. O(n log n) in the number of files.

    Returns the snapshots of the clips that have any, by the number of the clip, and those that belong to none; each
    oldest first.
    """
    by_stem = _by_stem(clips)
    found: dict[int, list[FoundFile]] = defaultdict(list)
    others = []
    for snapshot in snapshots:
        owner = by_stem[snapshot.where].get(snapshot.filename[:-4])
        if owner is None:
            others.append(snapshot)
        else:
            found[owner].append(snapshot)
    orphans = []
    by_camera = _by_camera(clips) if others else {}
    for snapshot in sorted(others, key=_order):
        owner = _nearest(by_camera.get(snapshot.name.camera), snapshot, window_s)
        if owner is None:
            orphans.append(snapshot)
        else:
            found[owner].append(snapshot)
    return {number: tuple(sorted(files, key=_order)) for number, files in found.items()}, tuple(orphans)


def pair_asked(
    asked: Sequence[FoundFile], clips: Sequence[FoundFile], snapshots: Sequence[FoundFile], window_s: float
) -> Pairing:
    """What `pair` says of the files asked for, where `clips` and `snapshots` are all that stand `near` them.

    `by_clip` holds the clips asked for with their snapshots, and the owners of the snapshots asked for with these.
    """
    pairing = pair(clips, snapshots, window_s)
    wanted = {file.path for file in asked}
    by_clip = {}
    for clip, theirs in pairing.by_clip.items():
        kept = theirs if clip in wanted else tuple(file for file in theirs if file.path in wanted)
        if kept:
            by_clip[clip] = kept
    return Pairing(by_clip, tuple(file for file in pairing.orphans if file.path in wanted))


class Near:
    """The moments of some cameras at which files may decide what belongs to the files asked about.

    A snapshot is at most `window_s` from its clip, and so is any other clip it may belong to.
    """

    def __init__(self, asked: Sequence[FoundFile], window_s: float) -> None:
        self._spans: dict[str, _Spans] = {}
        moments: dict[str, list[datetime]] = defaultdict(list)
        for file in asked:
            moments[file.name.camera].append(file.name.taken_at)
        for camera, taken in moments.items():
            self._spans[camera] = _spans(taken, timedelta(seconds=2 * window_s))
        every = sorted(span for spans in self._spans.values() for span in zip(*spans, strict=True))
        self.spans = _merged(every, timedelta(days=1))
        """First and last moments of all cameras together, in order; what lies less than a day apart is one."""

    def holds(self, name: ClipName) -> bool:
        """Whether a file of this name is near one that was asked about."""
        spans = self._spans.get(name.camera)
        if spans is None:
            return False
        begins, ends = spans
        before = bisect_right(begins, name.taken_at) - 1
        return before >= 0 and name.taken_at <= ends[before]


_Spans = tuple[list[datetime], list[datetime]]  # first and last moments of spans that do not touch, in order


def _spans(taken: Sequence[datetime], reach: timedelta) -> _Spans:
    spans = [(_shifted(moment, -reach), _shifted(moment, reach)) for moment in sorted(taken)]
    merged = _merged(spans, timedelta())
    return [first for first, _ in merged], [last for _, last in merged]


def _merged(spans: Iterable[tuple[datetime, datetime]], gap: timedelta) -> list[tuple[datetime, datetime]]:
    """The spans, which come in order of their beginnings, with those made one that are at most `gap` apart."""
    merged: list[tuple[datetime, datetime]] = []
    for first, last in spans:
        if merged and first - merged[-1][1] <= gap:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _shifted(moment: datetime, by: timedelta) -> datetime:
    """The moment so much later, or the end of the calendar on that side."""
    try:
        return moment + by
    except OverflowError:
        return datetime.min if by < timedelta() else datetime.max.replace(microsecond=0)


_order = attrgetter("name.taken_at", "name.copy", "where", "filename")
_Times = tuple[list[datetime], list[int]]  # of one camera's clips, both oldest first


def _by_stem(clips: Sequence[FoundFile]) -> Mapping[PurePosixPath, dict[str, int]]:
    """The number of each clip by its directory and its name without extension, which is always of three letters."""
    by_stem: dict[PurePosixPath, dict[str, int]] = defaultdict(dict)
    for number, clip in enumerate(clips):
        of_directory = by_stem[clip.where]
        other = of_directory.setdefault(clip.filename[:-4], number)
        if other != number and _order(clip) < _order(clips[other]):
            of_directory[clip.filename[:-4]] = number
    return by_stem


def _by_camera(clips: Sequence[FoundFile]) -> dict[str, _Times]:
    by_camera: dict[str, _Times] = {}
    for number in sorted(range(len(clips)), key=lambda number: _order(clips[number])):
        name = clips[number].name
        times, of_camera = by_camera.setdefault(name.camera, ([], []))
        times.append(name.taken_at)
        of_camera.append(number)
    return by_camera


def _nearest(of_camera: _Times | None, snapshot: FoundFile, window_s: float) -> int | None:
    if of_camera is None:
        return None
    times, numbers = of_camera
    moment = snapshot.name.taken_at
    after = bisect_left(times, moment)
    before = bisect_left(times, times[after - 1]) if after else after  # the first of those that began in that second
    best = before
    if before == after or (after < len(times) and times[after] - moment < moment - times[before]):
        best = after
    return numbers[best] if abs(times[best] - moment).total_seconds() <= window_s else None
