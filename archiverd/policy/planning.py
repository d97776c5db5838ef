"""What one run will do, and why: a value that is printed before it is carried out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from archiverd.policy.admission import Patience, quiet_s, unsettled
from archiverd.policy.model import ClipName, Discovery, FoundFile, FoundRecording, Recording, State
from archiverd.policy.name_patterns import CANONICAL, NamePatterns
from archiverd.policy.pairing import pair

_NEW = "new"


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
class Manner:
    """How a run is to go."""

    patience: Patience
    newest_first: bool = False
    again: bool = False  # archive anew what is archived already
    delete: bool = False  # sources are deleted, not moved to the trash
    snapshot_window_s: float = 60.0  # how far a snapshot may be from its recording
    names: NamePatterns = CANONICAL  # of the source tree: what they do not fit is not seen, and may well be there


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The whole of a run, in the order it is carried out."""

    items: tuple[Planned, ...]
    ignored: Mapping[str, int]  # what is left alone in the source tree, by reason
    orphans: tuple[PurePosixPath, ...]  # snapshots without a recording; left alone
    delete: bool
    leftovers: tuple[PurePosixPath, ...] = ()  # set aside or begun by a job nobody knows
    vanished: tuple[Recording, ...] = ()  # waited or were quarantined, and are not there any more

    def of(self, action: Action) -> tuple[Planned, ...]:
        return tuple(item for item in self.items if item.action is action)

    @property
    def work(self) -> tuple[Planned, ...]:
        """The items that change something."""
        return tuple(item for item in self.items if item.action.changes_something)

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
    late = [] if discovery.incomplete else _plan_late_snapshots(discovery.orphans, rows, manner, now)
    items += late
    items.sort(key=_age, reverse=manner.newest_first)
    taken = {snapshot.path for item in late for snapshot in item.late}
    found_paths = {found.clip.path for found in discovery.recordings}
    absent = (row for rows_of_path in rows.values() for row in rows_of_path if row.path not in found_paths)
    return RunPlan(
        items=tuple(items),
        ignored=dict(sorted(discovery.ignored.items())),
        orphans=tuple(orphan.path for orphan in discovery.orphans if orphan.path not in taken),
        delete=manner.delete,
        leftovers=discovery.leftovers,
        vanished=() if discovery.incomplete else tuple(row for row in absent if _is_missed(row, manner)),
    )


_LATE_AFTER_S = 3600.0
_EXPECTED = (State.WAITING, State.QUARANTINED)  # their sources should be in the tree


def _is_missed(row: Recording, manner: Manner) -> bool:
    return row.state in _EXPECTED and isinstance(manner.names.parse(row.path), ClipName)


def _age(item: Planned) -> tuple[str, PurePosixPath]:
    name = item.found.clip.name if item.found else item.known.name if item.known else None
    return (name.taken_at.isoformat() if name else "", item.path)


def _plan_late_snapshots(
    orphans: Iterable[FoundFile], rows: Mapping[PurePosixPath, list[Recording]], manner: Manner, now: float
) -> list[Planned]:
    """Snapshots go the way of their recording, also when that was archived and let go of before they came.

    Only after an hour, for the clip a snapshot really belongs to may still be uploading.
    """
    wait_s = max(manner.patience.settle_s, _LATE_AFTER_S)
    settled = [o for o in orphans if now - o.fingerprint.mtime_ns / 1e9 >= wait_s]
    done = {path: row for path, of_path in rows.items() for row in of_path if row.state is State.DONE}
    clips = [FoundFile(row.path, row.fingerprint, row.name) for row in done.values()]
    paired = pair(clips, settled, manner.snapshot_window_s).by_clip
    return [
        Planned(
            path, done[path].name.camera, sum(snapshot.fingerprint.size for snapshot in snapshots), Action.DISPOSE,
            "archived; its snapshot came later", None, done[path], len(snapshots), late=snapshots,
        )
        for path, snapshots in paired.items()
    ]  # fmt: skip


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
        case State.WAITING | State.GONE:
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
    return _NEW if row.reason == _NEW else f"waited: {row.reason}"


def _when_settled(found: FoundRecording, seen_at: float, manner: Manner, now: float, reason: str) -> tuple[Action, str]:
    quiet = quiet_s(found.clip.fingerprint.mtime_ns / 1e9, seen_at, now)
    waiting = unsettled(quiet, manner.patience)
    return (Action.WAIT, waiting.reason) if waiting else (Action.ARCHIVE, reason)
