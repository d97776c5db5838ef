"""What one run will do, and why: a value that is printed before it is carried out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import PurePosixPath

from archiverd.policy.admission import Patience, quiet_s, unsettled
from archiverd.policy.model import ClipName, Discovery, FoundFile, FoundRecording, Recording, State
from archiverd.policy.name_patterns import CANONICAL, NamePatterns
from archiverd.policy.naming import printable
from archiverd.policy.pairing import pair
from archiverd.policy.recovery import EXCUSED

_NEW = "new"
STANDS_AGAIN = "its archive was removed, and its source stands again"  # why it is archived once more


class Action(StrEnum):
    """What a run does about one recording."""

    ARCHIVE = "archive"  # transcode, prove, publish, then let go of the source
    DISPOSE = "dispose"  # the archive is committed: let go of the source
    WAIT = "wait"  # too young
    KEEP = "keep"  # archived and protected: the source stays
    LEAVE = "leave"  # quarantined: somebody has to look

    @property
    def changes_something(self) -> bool:
        return self in (Action.ARCHIVE, Action.DISPOSE)


@dataclass(frozen=True, slots=True)
class Planned:
    """One recording in a plan. `found` is None where only the catalog still knows of it."""

    path: PurePosixPath
    camera: str
    size: int  # bytes, of the clip
    action: Action
    reason: str
    found: FoundRecording | None
    known: Recording | None
    snapshots: int = 0
    doubts: tuple[str, ...] = ()
    late: tuple[FoundFile, ...] = ()  # snapshots that came when their recording was done with


@dataclass(frozen=True, slots=True)
class Orphan:
    """A snapshot whose recording is not there, or not yet to be followed. It is left alone."""

    path: PurePosixPath
    written_at: float  # seconds since the epoch, never in the future
    waits_for: str


@dataclass(frozen=True, slots=True)
class Manner:
    """How a run is to go."""

    patience: Patience
    newest_first: bool = False
    again: bool = False  # archive anew what is archived already
    delete: bool = False  # sources are deleted, not moved to the trash
    snapshot_window_s: float = 60.0  # how far a snapshot may be from its recording
    archive_snapshots: bool = False  # they are put beside the archive instead of going with the source
    names: NamePatterns = CANONICAL  # of the source tree: what they do not fit is not seen, and may well be there


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The whole of a run, in the order it is carried out."""

    items: tuple[Planned, ...]
    ignored: Mapping[str, int]  # what is left alone in the source tree, by reason
    orphans: tuple[Orphan, ...]  # oldest first, by their names
    delete: bool
    archive_snapshots: bool = False
    leftovers: tuple[PurePosixPath, ...] = ()  # set aside or begun by a job nobody knows
    vanished: tuple[Recording, ...] = ()  # waited or were quarantined, and are not there any more
    notes: tuple[str, ...] = ()  # what else is to be told before it is carried out

    def of(self, action: Action) -> tuple[Planned, ...]:
        return tuple(item for item in self.items if item.action is action)

    @property
    def work(self) -> tuple[Planned, ...]:
        """The items that change something."""
        return tuple(item for item in self.items if item.action.changes_something)

    def of_snapshot(self, path: PurePosixPath) -> str:
        """What a snapshot in the source tree goes with or waits for, as a sentence; empty for one that is not there."""
        for orphan in self.orphans:
            if orphan.path == path:
                return f"It waits for {orphan.waits_for}. Until then it is left alone."
        for item in self.items:
            theirs = (*item.late, *(item.found.snapshots if item.found else ()))
            if any(snapshot.path == path for snapshot in theirs):
                return (
                    f"It goes with {printable(item.path)}, of which the next run makes: {item.action}, {item.reason}."
                )
        return ""

    def totals(self) -> dict[Action, tuple[int, int]]:
        """Recordings and bytes for each action."""
        sizes = {action: [item.size for item in self.of(action)] for action in Action}
        return {action: (len(found), sum(found)) for action, found in sizes.items() if found}


def plan_run(discovery: Discovery, known: Iterable[Recording], manner: Manner, now: float) -> RunPlan:
    """Plan a run over what was found and what the catalog knows; `now` in seconds since the epoch.

    Nothing follows from what was not found where not everything could be seen (`discovery.incomplete`).
    """
    rows: dict[PurePosixPath, list[Recording]] = {}
    for recording in known:
        rows.setdefault(recording.path, []).append(recording)
    discovery, late_by_clip = _with_known_clips(discovery, rows, manner)
    items = [_plan_found(found, rows.get(found.clip.path, []), manner, now) for found in discovery.recordings]
    seen = {(found.clip.path, found.clip.fingerprint) for found in discovery.recordings}
    unfinished = (row for rows_of_path in rows.values() for row in rows_of_path if row.state is State.ARCHIVED)
    items += [
        Planned(
            row.path, row.name.camera, row.fingerprint.size, Action.DISPOSE,
            "its disposal was begun and not finished", None, row,
        )
        for row in unfinished
        if (row.path, row.fingerprint) not in seen and not discovery.incomplete
    ]  # fmt: skip
    late, orphans = _plan_late_snapshots(discovery, late_by_clip, manner, now)
    items += late
    items.sort(key=_age, reverse=manner.newest_first)
    items.sort(key=_deaths)
    found_paths = {found.clip.path for found in discovery.recordings}
    absent = (row for rows_of_path in rows.values() for row in rows_of_path if row.path not in found_paths)
    return RunPlan(
        items=tuple(items),
        ignored=dict(sorted(discovery.ignored.items())),
        orphans=orphans,
        delete=manner.delete,
        archive_snapshots=manner.archive_snapshots,
        leftovers=discovery.leftovers,
        vanished=() if discovery.incomplete else tuple(row for row in absent if _is_missed(row, manner)),
    )


_LATE_AFTER_S = 3600.0  # for the clip a late snapshot really belongs to may still be uploading
_EXPECTED = (State.WAITING, State.QUARANTINED)  # their sources should be in the tree


def _is_missed(row: Recording, manner: Manner) -> bool:
    return row.state in _EXPECTED and not row.job and isinstance(manner.names.parse(row.path), ClipName)


def _age(item: Planned) -> tuple[str, PurePosixPath]:
    name = item.found.clip.name if item.found else item.known.name if item.known else None
    return (name.taken_at.isoformat() if name else "", item.path)


def _deaths(item: Planned) -> int:
    """How often the process died with its job, as far as that counts: those without have their turn first."""
    return max(0, item.known.crashes - EXCUSED) if item.known else 0


_Late = list[tuple[Recording, tuple[FoundFile, ...]]]  # recordings that are done with, and what came after them


def _with_known_clips(
    discovery: Discovery, rows: Mapping[PurePosixPath, list[Recording]], manner: Manner
) -> tuple[Discovery, _Late]:
    """The discovery with each snapshot at the clip it belongs to, also where that is archived and let go of.

    A clip that stands in the tree is no reason to give it a snapshot that was taken nearer to one that went before.
    """
    snapshots = [*discovery.orphans, *(s for found in discovery.recordings for s in found.snapshots)]
    if not snapshots or discovery.incomplete:
        return discovery, []
    standing = {found.clip.path for found in discovery.recordings}
    first, last = (pick(s.name.taken_at for s in snapshots) for pick in (min, max))
    window = timedelta(seconds=manner.snapshot_window_s)
    done = {
        path: row
        for path, of_path in rows.items()
        for row in of_path
        if row.state is State.DONE and path not in standing
        if first - row.name.taken_at <= window and row.name.taken_at - last <= window
    }
    clips = [FoundFile.at(row.path, row.fingerprint, row.name) for row in done.values()]
    clips += [found.clip for found in discovery.recordings]
    pairing = pair(clips, snapshots, manner.snapshot_window_s)
    recordings = tuple(
        found._replace(snapshots=pairing.by_clip.get(found.clip.path, ())) for found in discovery.recordings
    )
    late = [(row, pairing.by_clip[path]) for path, row in done.items() if path in pairing.by_clip]
    return replace(discovery, recordings=recordings, orphans=pairing.orphans), late


def _plan_late_snapshots(
    discovery: Discovery, late: _Late, manner: Manner, now: float
) -> tuple[list[Planned], tuple[Orphan, ...]]:
    """Snapshots go the way of their recording, also when that was archived and let go of before they came.

    Only after an hour, for the clip a snapshot really belongs to may still be uploading.
    """
    wait_s = follows_after_s(manner.patience.settle_s)
    none = f"a recording of its camera within {manner.snapshot_window_s:.0f} s of it"
    orphans = [(snapshot, none) for snapshot in discovery.orphans]
    items = []
    for row, snapshots in late:
        settled = tuple(snapshot for snapshot in snapshots if _age_s(snapshot, now) >= wait_s)
        if settled:
            items.append(_plan_late(row, settled))
        waiting = f"{wait_s / 60:.0f} minutes to have passed, then to follow {printable(row.path)}"
        orphans += [(snapshot, waiting) for snapshot in snapshots if snapshot not in settled]
    orphans.sort(key=lambda orphan: (orphan[0].name.taken_at, orphan[0].path))
    return items, tuple(Orphan(orphan.path, now - max(0.0, _age_s(orphan, now)), why) for orphan, why in orphans)


def follows_after_s(settle_s: float) -> float:
    """How old a snapshot must be to follow a recording that was let go of: a nearer one may still be uploading."""
    return max(settle_s, _LATE_AFTER_S)


def _age_s(file: FoundFile, now: float) -> float:
    return now - file.fingerprint.mtime_ns / 1e9


def _plan_late(row: Recording, snapshots: tuple[FoundFile, ...]) -> Planned:
    return Planned(
        row.path, row.name.camera, sum(snapshot.fingerprint.size for snapshot in snapshots), Action.DISPOSE,
        "archived; its snapshot came later", None, row, len(snapshots), late=snapshots,
    )  # fmt: skip


def _plan_found(found: FoundRecording, rows: list[Recording], manner: Manner, now: float) -> Planned:
    row = next((row for row in rows if row.fingerprint == found.clip.fingerprint), None)
    action, reason = _decide(found, row, manner, now)
    return Planned(
        found.clip.path, found.clip.name.camera, found.clip.fingerprint.size, action, reason, found, row,
        len(found.snapshots), found.doubts,
    )  # fmt: skip


def _decide(found: FoundRecording, row: Recording | None, manner: Manner, now: float) -> tuple[Action, str]:
    if row is None:
        return _when_settled(found, now, manner, now, _NEW)
    match row.state:
        case State.ARCHIVED | State.DONE:
            return _archived_already(found, row, manner)
        case State.QUARANTINED:
            return Action.LEAVE, f"quarantined: {row.reason}"
        case State.ACTIVE | State.PUBLISHING:
            return Action.ARCHIVE, "its job was interrupted"
        case State.WAITING | State.GONE | State.REMOVED:
            return _when_settled(found, row.seen_at, manner, now, _why_now(row))


def _archived_already(found: FoundRecording, row: Recording, manner: Manner) -> tuple[Action, str]:
    if manner.again:
        return Action.ARCHIVE, "archived already; again, as asked, and the old archive goes to the trash"
    if found.protected:
        return Action.KEEP, "archived; protected by its .keep file"
    if row.state is State.DONE:
        return Action.DISPOSE, "archived and let go of, but its source stands again"
    return Action.DISPOSE, "archived; " + (row.reason or "its source is still here")


def _why_now(row: Recording) -> str:
    """Why one that waited, or was lost, is archived now: the reason in its row says only why it was not till now."""
    if row.state is State.GONE:
        return "the source is there again"
    if row.state is State.REMOVED:
        return STANDS_AGAIN
    return _NEW if row.reason == _NEW else f"waited: {row.reason}"


def _when_settled(found: FoundRecording, seen_at: float, manner: Manner, now: float, reason: str) -> tuple[Action, str]:
    quiet = quiet_s(found.clip.fingerprint.mtime_ns / 1e9, seen_at, now)
    waiting = unsettled(quiet, manner.patience)
    return (Action.WAIT, waiting.reason) if waiting else (Action.ARCHIVE, reason)
