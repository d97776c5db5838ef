"""Recordings: a line each, the state of all, the story of one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from archiverd.policy.backlog import Backlog, backlog_words
from archiverd.policy.falling import STANDINGS, Footing, Standings, standings_json
from archiverd.policy.forecast import Forecast
from archiverd.policy.holding_back import HeldPlan
from archiverd.policy.live import NO_DAEMON, Daemon
from archiverd.policy.model import Event, Fingerprint, Orphans, Receipt, Recording, Snapshot, State, Trashed, Tree
from archiverd.policy.name_patterns import NamePatterns
from archiverd.policy.naming import MARKER_NAME, FileKind, NotAClip, is_snapshot_name, keep_name, printable
from archiverd.policy.words import size_words
from archiverd.reports.daemon import daemon_json, daemon_lines, problem_lines, problems_json
from archiverd.reports.forecast import NOT_KNOWN, forecast_json, forecast_lines
from archiverd.reports.runs import standing_lines
from archiverd.reports.words import (
    LISTED,
    JsonObject,
    add_row,
    path_json,
    safe,
    share_text,
    size_text,
    table_of,
    time_text,
)
from archiverd.storage.catalog_connection import HELD

if TYPE_CHECKING:
    from rich.table import Table

    from archiverd.storage.catalog import Catalog

_NAMED = 100  # recordings of a state, in what is told of all

_NOT_READ = "not known: not read since the catalog was made anew"

_GONE = " (not there any more)"
_NO_DISK = " (its disk is not there now)"
_LOOK = "Its archive should stand, and does not: `archiverd check` says what can be done."
_NEXT = {
    State.WAITING: "It is archived when its time has come, by the next run.",
    State.ACTIVE: "It is being worked on.",
    State.PUBLISHING: "Its archive is being given its name.",
    State.ARCHIVED: "Its archive is committed; its source goes with the next run, unless it is protected.",
    State.DONE: "Nothing: it is archived and its source was let go of.",
    State.REMOVED: "Nothing: its archive was removed. Should its source stand again, it is archived again.",
    State.QUARANTINED: (
        "It stays for its `age`, then goes to the trash. `archiverd retry` has it tried again, as does a new upload."
    ),
    State.GONE: "Nothing: its source went away, or was let go of, before it was archived.",
}


def recording_json(recording: Recording) -> JsonObject:
    """One recording with its receipt, as JSON."""
    receipt = recording.receipt
    return {
        "path": printable(recording.path),
        "camera": printable(recording.name.camera),
        "taken_at": recording.name.taken_at.isoformat(),
        "bytes": recording.fingerprint.size,
        "state": recording.state,
        "reason": recording.reason,
        "attempts": recording.attempts,
        "archive": path_json(recording.archive),
        "disposed_to": path_json(recording.disposed_to),
        "snapshots": [_snapshot_json(snapshot) for snapshot in recording.snapshots],
        "receipt": None if receipt is None else receipt.as_json(),
    }


def _snapshot_json(snapshot: Snapshot) -> JsonObject:
    place = snapshot.disposed_to
    return {
        "path": printable(snapshot.path),
        "disposed": snapshot.disposed,
        "disposed_to": None if place is None else printable(place.path),
        "disposed_in": None if place is None else place.tree,
    }


def list_table(recordings: Iterable[Recording]) -> Table:
    """Recordings, a line each."""
    table = table_of("taken at", "camera", "state", "size", "archive", "recording", "why")
    for recording in recordings:
        archived = size_text(recording.archive_size) if recording.receipt else ""
        add_row(
            table, recording.name.taken_at.isoformat(sep=" "), printable(recording.name.camera), recording.state,
            size_text(recording.fingerprint.size), archived, printable(recording.path), recording.reason,
        )  # fmt: skip
    return table


# -- status -----------------------------------------------------------------------------------------------


def status_json(
    catalog: Catalog, roots: Mapping[Tree, Path], orphans: Orphans = Orphans(), daemon: Daemon = NO_DAEMON,  # noqa: B008  (a frozen value)
    outlook: Forecast | None = None, backlog: Backlog | None = None,
) -> JsonObject:  # fmt: skip
    """Problems, the daemon, queue, totals, and what needs somebody to look.

    Of what waits and is quarantined the oldest are named, a hundred at most. `orphans` are those of the source tree.
    `outlook`: what is to be expected of room and reach; None before that is known. `backlog`: what waits for its turn.
    """
    archived, before, after = catalog.archived_totals()
    troubled = catalog.oldest(State.QUARANTINED, _NAMED)
    waiting = catalog.oldest(State.WAITING, _NAMED)
    active = catalog.recordings((State.ACTIVE, State.PUBLISHING))
    problems, _untold = catalog.problems()
    return {
        "problems": problems_json(problems),
        "daemon": daemon_json(daemon),
        "catalog": catalog.id,
        "roots": {tree: printable(path) for tree, path in roots.items()},
        "roots_not_there": [tree for tree, path in roots.items() if not _is_there(path)],
        "states": {state: {"recordings": n, "bytes": size} for state, (n, size) in catalog.counts().items()},
        "archived": {"recordings": archived, "source_bytes": before, "archive_bytes": after},
        "backlog": None if backlog is None else {**asdict(backlog), "over_in_s": backlog.over_in_s},
        "active": [_reason_json(row) for row in active],
        "waiting": [_reason_json(row) for row in waiting],
        "quarantined": [_reason_json(row) for row in troubled],
        "orphans": _orphans_json(orphans),
        "encoding": _encoding_json(catalog),
        "cleanup_held": _held_json(HeldPlan.from_text(catalog.recall(HELD))),
        "forecast": None if outlook is None else forecast_json(outlook),
    }


def _held_json(held: HeldPlan | None) -> JsonObject | None:
    return None if held is None else {"why": held.why, "since": held.since, "files": held.files, "bytes": held.size}


def _held_lines(held: JsonObject | None) -> list[str]:
    if held is None:
        return []
    return [
        f"A cleanup of {held['files']} files, {size_words(held['bytes'])}, is held since {time_text(held['since'])}:",
        f"  {held['why']}. archiverd cleanup --dry-run shows it, --confirm-held has it go ahead",
    ]


def _encoding_json(catalog: Catalog) -> JsonObject:
    """What encoded the archives, what fell on the way, and how the rungs stood when that was told last."""
    total, latest = catalog.falls(LISTED)
    return {
        "archives": catalog.encoded(),
        "fell": {"recordings": total, "latest": [_fallen_json(row, row.receipt) for row in latest if row.receipt]},
        "rungs": standings_json(Standings.from_text(catalog.recall(STANDINGS)).rungs),
    }


def _fallen_json(row: Recording, receipt: Receipt) -> JsonObject:
    made_by = receipt.rung or receipt.kind
    return {
        "path": printable(row.path), "at": receipt.committed_at, "made_by": made_by, "falls": list(receipt.falls),
    }  # fmt: skip


def _encoding_lines(encoding: JsonObject) -> list[str]:
    archives, fell = encoding["archives"], encoding["fell"]
    lines = [f"Encoded by {', '.join(f'{rung} {count}' for rung, count in archives.items())}"] if archives else []
    used = [rung for rung in encoding["rungs"] if rung["footing"] == Footing.USED]
    lines += (
        [f"Best now: {used[0]['rung']}" + (f" on {used[0]['device']}" if used[0]["device"] else "")] if used else []
    )
    lines += standing_lines(encoding["rungs"])
    if fell["recordings"]:
        lines.append(f"Fell from a better rung, and archived all the same: {fell['recordings']}, the latest:")
        lines += [
            f"  {one['path']} ({time_text(one['at'])}, made by {one['made_by']}): {'; '.join(one['falls'])}"
            for one in fell["latest"]
        ]
    return lines


def _orphans_json(orphans: Orphans) -> JsonObject:
    oldest = min(orphans.files, key=lambda orphan: orphan.fingerprint.mtime_ns, default=None)
    return {
        "snapshots": None if orphans.unseen else len(orphans.files),
        "oldest": None if oldest is None else printable(oldest.path),
        "unseen": orphans.unseen,
    }


def _reason_json(row: Recording) -> JsonObject:
    return {"path": printable(row.path), "reason": row.reason}


def status_lines(status: JsonObject, outlook: Forecast | None = None, backlog: Backlog | None = None) -> list[str]:
    """The status, as text; with what is to be expected of room and reach, and of what waits."""
    archived = status["archived"]
    lines = problem_lines(status["problems"], running=status["daemon"]["running"])
    lines += daemon_lines(status["daemon"])
    missing = status["roots_not_there"]
    lines += [f"{tree:8} {path}{_NO_DISK if tree in missing else ''}" for tree, path in status["roots"].items()]
    lines += [f"{state:12} {n['recordings']:6}  {size_text(n['bytes'])}" for state, n in status["states"].items()]
    lines.append(
        f"Archived: {archived['recordings']}, {size_text(archived['source_bytes'])} as "
        f"{size_text(archived['archive_bytes'])} ({share_text(archived['archive_bytes'], archived['source_bytes'])})"
    )
    lines += [backlog_words(backlog)] if backlog is not None and backlog.waiting else []
    lines += _held_lines(status["cleanup_held"])
    lines += [NOT_KNOWN] if outlook is None else forecast_lines(outlook)
    lines += _encoding_lines(status["encoding"])
    for title, key, states in (
        ("Working on", "active", (State.ACTIVE, State.PUBLISHING)),
        ("Waiting", "waiting", (State.WAITING,)),
        ("Quarantined", "quarantined", (State.QUARANTINED,)),
    ):
        rows: Sequence[JsonObject] = status[key]
        if rows:
            lines.append(f"{title}:")
            lines += [f"  {row['path']}: {row['reason']}" for row in rows[:LISTED]]
        total = sum(status["states"].get(state, {"recordings": 0})["recordings"] for state in states)
        if total > LISTED:
            lines.append(f"  and {total - LISTED} more (archiverd list --state {key})")
    orphans = status["orphans"]
    if orphans["unseen"]:
        lines.append(f"Snapshots without a recording: {orphans['unseen']}.")
    elif orphans["snapshots"]:
        lines.append(f"Snapshots without a recording in the source tree: {orphans['snapshots']}")
        lines.append(f"  the oldest is {orphans['oldest']} (archiverd why PATH tells what it waits for)")
    return safe(lines)


# -- why --------------------------------------------------------------------------------------------------


def why_lines(
    recording: Recording, history: Iterable[Event], roots: Mapping[Tree, Path] | None = None,
    lying: Sequence[Trashed] = (), *, running: bool = False,
) -> list[str]:  # fmt: skip
    """The story of one recording, in order, what of it does not stand below the roots any more, and what comes next.

    `lying`: what of it is known to lie in the trash. `running`: a daemon is.
    """
    lines = [
        f"{printable(recording.path)}: {recording.state}" + (f", {recording.reason}" if recording.reason else ""),
        (
            f"  camera {printable(recording.name.camera)}, taken at {recording.name.taken_at}, "
            f"{size_text(recording.fingerprint.size)}"
        ),
    ]
    lines += [f"  snapshot {printable(snapshot.path)}{_went_to(snapshot, roots)}" for snapshot in recording.snapshots]
    receipt = recording.receipt
    if receipt is not None and recording.archive is not None:
        is_removed = recording.state is State.REMOVED
        lines.append(
            f"  archive {printable(recording.archive)}: {receipt.kind}, {size_text(receipt.archive.size)} "
            f"({share_text(receipt.archive.size, receipt.source.size)}), sha256 {receipt.archive_sha256 or _NOT_READ}"
            f"{'' if is_removed else _absent(roots, Tree.ARCHIVE, recording.archive)}"
        )
        lines += _removed_lines(roots, lying) if is_removed else []
        if receipt.encoder:
            device = f" on {receipt.device}" if receipt.device else ""
            lines.append(f"  encoded in {receipt.encode_s:.1f} s by {receipt.rung}{device}, {receipt.encoder}")
        lines += [f"  fell from {fall}" for fall in receipt.falls]
        lines += [f"  checked: {check}" for check in receipt.checks]
    if recording.disposed_to is not None:
        absent = _absent(roots, Tree.TRASH, recording.disposed_to)
        lines.append(f"  source in the trash as {printable(recording.disposed_to)}{absent}")
    lines += [f"  {time_text(event.at)}  {event.state}: {event.reason}" for event in history]
    archive = None if receipt is None else recording.archive
    gone = archive is not None and _absent(roots, Tree.ARCHIVE, archive) == _GONE
    lost = gone and recording.state is State.DONE and not recording.job  # else it is just being removed
    lines.append(f"  Next: {_LOOK if lost else _next(recording, roots, lying, running=running)}")
    return safe(lines)


def _removed_lines(roots: Mapping[Tree, Path] | None, lying: Sequence[Trashed]) -> list[str]:
    """Where the archive of a removed recording is."""
    lines = []
    for one in filter(_is_archive, lying):
        then = _absent(roots, Tree.TRASH, one.path) or f": {_restore(roots, one)}"
        lines.append(f"  archive in the trash as {printable(one.path)}{then}")
    return lines or ["  archive deleted for good"]


def _is_archive(one: Trashed) -> bool:
    return one.origin.tree is Tree.ARCHIVE and not is_snapshot_name(one.path.name)


def _is_wanted(recording: Recording, one: Trashed) -> bool:
    """Whether it is what there was of a recording that is over: its archive, or the source that never had one."""
    return _is_archive(one) if recording.state is State.REMOVED else one.path == recording.disposed_to


def _restore(roots: Mapping[Tree, Path] | None, one: Trashed) -> str:
    """What takes a file back from the trash."""
    path = one.path if roots is None else roots[Tree.TRASH] / one.path
    return f"`archiverd trash restore {shlex.quote(printable(path))}` takes it back"


def _next(
    recording: Recording, roots: Mapping[Tree, Path] | None, lying: Sequence[Trashed], *, running: bool
) -> str:  # fmt: skip
    """What happens to it next; a daemon does without a run what else the next run does."""
    if recording.state in (State.REMOVED, State.GONE):
        if roots is not None and _stands(roots[Tree.SOURCE] / recording.path, recording):
            return _again(roots[Tree.SOURCE] / recording.path, running=running)
        wanted = [one for one in lying if _is_wanted(recording, one) and not _absent(roots, Tree.TRASH, one.path)]
        return f"{_NEXT[recording.state]}{f' {_restore(roots, wanted[0])}.' if wanted else ''}"
    if running and recording.state is State.WAITING:
        return f"The daemon archives it, not before {time_text(recording.not_before)}."
    if running and recording.state is State.ARCHIVED:
        return "Its archive is committed; the daemon lets go of its source, unless it is protected."
    return _NEXT[recording.state]


def _stands(path: Path, recording: Recording) -> bool:
    """Whether the very source of a recording stands at a path."""
    try:
        stands = Fingerprint.of(path.lstat())
    except OSError:
        return False
    return (stands.size, stands.mtime_ns) == (recording.fingerprint.size, recording.fingerprint.mtime_ns)


def _again(source: Path, *, running: bool) -> str:
    """What comes of a source that stands again."""
    stays = ", and stays, for it is protected" if os.path.lexists(source.with_name(keep_name(source.name))) else ""
    return f"Its source stands again: {'the daemon' if running else 'the next run'} looks at it, to archive it{stays}."


def _absent(roots: Mapping[Tree, Path] | None, tree: Tree, path: PurePosixPath) -> str:
    if roots is None or os.path.lexists(roots[tree] / path):
        return ""
    return _GONE if _is_there(roots[tree]) else _NO_DISK


def _is_there(root: Path) -> bool:
    """Whether a root bears its marker: else its disk is not there."""
    return os.path.lexists(root / MARKER_NAME)


def _went_to(snapshot: Snapshot, roots: Mapping[Tree, Path] | None) -> str:
    if not snapshot.disposed:
        return ""
    if snapshot.disposed_to is None:
        return " (deleted)"
    where = "beside the archive" if snapshot.disposed_to.tree is Tree.ARCHIVE else "in the trash"
    absent = _absent(roots, snapshot.disposed_to.tree, snapshot.disposed_to.path)
    return f" ({where} as {printable(snapshot.disposed_to.path)}){absent}"


def unknown_lines(
    path: Path, names: NamePatterns, tree: Tree, place: PurePosixPath, of_snapshot: str = "", *, running: bool = False
) -> list[str]:  # fmt: skip
    """What can be said of a file the catalog does not know: `place` is its path in its tree, `names` that tree's.

    `of_snapshot` is what the plan says of a snapshot; `running`: a daemon is.
    """
    lines = [f"{printable(path)}: not in the catalog"]
    if not os.path.lexists(path):
        return [*lines, "  There is no such file either."]
    if not place.name:
        return [*lines, f"  It is the root of the {tree} tree."]
    match names.kind(place):
        case FileKind.CLIP if tree is not Tree.SOURCE:
            lines.append(f"  It stands in the {tree} tree, and no recording knows it: `archiverd check` says more.")
        case FileKind.CLIP:
            lines.append(f"  Its name is that of a recording. The {'daemon' if running else 'next run'} looks at it.")
        case FileKind.SNAPSHOT:
            lines.append("  A snapshot. It goes the way of a recording of its camera, once there is one close in time.")
            lines += [f"  {of_snapshot}"] if of_snapshot else []
        case FileKind.KEEP:
            lines.append("  It protects the recording of its name: that is archived, and its source stays.")
        case FileKind.PART | FileKind.GONE:
            lines.append("  A job of archiverd made it or set it aside. The next run mends it, if it knows that job.")
        case FileKind.MARKER:
            lines.append("  It tells whose tree this is. Leave it where it is.")
        case FileKind.FOREIGN:
            name = names.parse(place)
            reason = name.reason if isinstance(name, NotAClip) else "its name is none of ours"
            lines.append(f"  It is not a recording: {reason}. archiverd leaves it alone.")
    return lines
