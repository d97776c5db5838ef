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
