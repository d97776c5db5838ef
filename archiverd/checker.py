"""Checker: holds what stands on the disk against what the catalog says and archiverd promises. Changes nothing."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import replace
from pathlib import PurePosixPath

from archiverd.errors import StartupError, TranscodeFailed
from archiverd.media import boxes
from archiverd.media.ffmpeg_progress import Position
from archiverd.media.own_tag import read_own_tag
from archiverd.media.transcoder import Transcoder
from archiverd.policy import naming
from archiverd.policy.checking import (
    Checked,
    Finding,
    Level,
    Seen,
    SeenRoot,
    Severity,
    Standing,
    is_to_decode,
    judge,
    judge_absent,
    judge_aside_directory,
    judge_leftover,
    judge_root,
    judge_shared,
    judge_snapshot,
    judge_source_root,
    judge_unknown,
)
from archiverd.policy.model import Discovery, FoundRecording, Place, Receipt, Recording, State, Tree
from archiverd.policy.recovery import owner_of_gone
from archiverd.policy.stop import StopToken
from archiverd.policy.told import Told, parse_told
from archiverd.storage.catalog import SOURCE_ROOT, Catalog
from archiverd.storage.discovery import FileDiscovery
from archiverd.storage.file_manager import FileManager
from archiverd.storage.roots import read_marker
from archiverd.trees import is_aside_directory
from archiverd.workbench import FilesDisplay, MakeDisplay

# States something stands of: of the last two only in the trash.
_PROMISING = (State.ACTIVE, State.PUBLISHING, State.ARCHIVED, State.DONE, State.GONE, State.REMOVED)
_OVER = (State.GONE, State.REMOVED)  # nothing stands for them in the archive


class Checker:
    """Looks at the trees of one catalog. Takes no lock: it works beside a run.

    The trees are listed before the catalog is read, and a finding about a recording counts only while its row stays
    as it was: so what a run does meanwhile is no finding.
    """

    def __init__(
        self, catalog: Catalog | None, files: FileManager, discoveries: dict[Tree, FileDiscovery], level: Level,
        transcoder: Transcoder, stop: StopToken,
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._files = files
        self._discoveries = discoveries
        self._level = level
        self._transcoder = transcoder
        self._stop = stop

    def check(self, make_display: MakeDisplay) -> Checked:
        """Look at everything, as far as the level asks. Raises: Interrupted; ResourceError where the machine fails."""
        findings = list(self._check_roots())
        absent = {finding.tree for finding in findings if finding.severity is Severity.BROKEN}
        found: dict[Tree, Discovery] = {}
        for tree in (tree for tree in Tree if tree not in absent or tree is Tree.SOURCE):
            try:
                found[tree] = self._discoveries[tree].scan()
            except StartupError as error:
                findings.append(Finding(Severity.BROKEN, "I6", error.message, tree, advice=error.advice))
                absent.add(tree)
        rows = [] if self._catalog is None else self._catalog.recordings(_PROMISING)
        findings += judge_shared(row for row in rows if row.state not in _OVER)
        findings += self._check_unseen(found)
        findings += self._check_leftovers(found)
        archives = {row.archive for row in rows if row.archive is not None and row.state not in _OVER}
        if Tree.ARCHIVE in absent:
            findings.append(judge_absent(Tree.ARCHIVE, len(archives)))
        sizes = {r.clip.path: r.clip.fingerprint.size for r in _in(found, Tree.ARCHIVE)}
        unknown = self._unknown(rows, found)
        total = len(archives | {*sizes}) + sum(tree is Tree.TRASH for tree, _ in unknown)
        with make_display(total, sum(sizes.values())) as display:
            look = _Look(self._files, self._level, self._transcoder, self._stop, display, self._nonce(Tree.ARCHIVE))
            findings += self._check_recordings(rows, look, absent)
            findings += self._check_unknown(unknown, look)
        return Checked(
            tuple(findings), len(rows), len(sizes), sum(sizes.values()), len(_in(found, Tree.TRASH))
        )  # fmt: skip

    # -- roots --------------------------------------------------------------------------------------------

    def _check_roots(self) -> Iterator[Finding]:
        catalog_id = None if self._catalog is None else self._catalog.id
        for tree in Tree:
            finding = judge_root(self._seen_root(tree), catalog_id)
            if finding is not None:
                yield finding
        if self._catalog is not None:
            finding = judge_source_root(self._nonce(Tree.SOURCE), self._catalog.recall(SOURCE_ROOT))
            if finding is not None:
                yield finding

    def _seen_root(self, tree: Tree) -> SeenRoot:
        try:
            marker = read_marker(self._files.roots[tree])
        except StartupError as error:
            return SeenRoot(tree, marked=False, problem=error.message)
        if marker is None:
            return SeenRoot(tree, marked=False)
        return SeenRoot(tree, True, marker.catalog, marker.tree)

    def _nonce(self, tree: Tree) -> str:
        try:
            marker = read_marker(self._files.roots[tree])
        except StartupError:  # told of as the root's own finding
            return ""
        return "" if marker is None else marker.nonce

    # -- what no row speaks of ----------------------------------------------------------------------------

    def _check_unseen(self, found: dict[Tree, Discovery]) -> Iterator[Finding]:
        for tree, discovery in found.items():
            if discovery.incomplete:
                words = "not everything could be read, the log says what: it may hold what is missing elsewhere"
                yield Finding(
                    Severity.DOUBT, "I6", words, tree, advice="archiverd's user needs to read all of the tree"
                )
            for reason, count in discovery.ignored.items():
                yield Finding(Severity.NOTE, "I5", f"left alone, {reason}: {count}", tree)

    def _check_leftovers(self, found: dict[Tree, Discovery]) -> Iterator[Finding]:
        # A scan tells of those beside recordings, this walk also of those beside retired archives in the trash.
        for tree, path in ((one, path) for one in found for path in self._discoveries[one].scan_leftovers()):
            if self._is_aside_directory(tree, path):
                yield judge_aside_directory(tree, path)
                continue
            part = naming.parse_part_name(path.name)
            job, _ = owner_of_gone(part.job if part is not None else naming.parse_gone_name(path.name) or "")
            owner = None if self._catalog is None else self._catalog.of_job(job)
            ours = part is not None and self._catalog is not None and part.catalog == self._catalog.id
            owned = owner is not None and (part is None or ours)
            finding = judge_leftover(tree, path, is_part=part is not None, ours=ours, owned=owned)
            if finding is not None and self._still_there(tree, path):
                yield finding

    def _is_aside_directory(self, tree: Tree, path: PurePosixPath) -> bool:
        try:
            return is_aside_directory(self._files, tree, path)
        except OSError:  # told as a directory that can't be read
            return False

    def _still_there(self, tree: Tree, path: PurePosixPath) -> bool:
        try:
            return self._files.status(tree, path) is not None
        except OSError:  # it was there when it was listed, and nothing says that it is not
            return True

    def _unknown(self, rows: Iterable[Recording], found: dict[Tree, Discovery]) -> list[tuple[Tree, PurePosixPath]]:
        """The clips in archive and trash that no row of a recording names."""
        known = {
            Tree.ARCHIVE: {row.archive for row in rows if row.state not in _OVER},
            Tree.TRASH: {place for row in rows for place in _places_in_trash(row)},
        }
        return [
            (tree, one.clip.path)
            for tree, paths in known.items()
            for one in _in(found, tree)
            if one.clip.path not in paths
        ]

    def _check_unknown(self, unknown: Iterable[tuple[Tree, PurePosixPath]], look: _Look) -> Iterator[Finding]:
        for tree, clip in unknown:
            standing = None if self._is_known_by_now(tree, clip) else look.at(tree, clip, decode=tree is Tree.ARCHIVE)
            if standing is not None:
                yield judge_unknown(tree, clip, standing, source_stands=self._source_stands(standing.told))

    def _source_stands(self, told: Told | None) -> bool:
        return told is not None and self._stands(Tree.SOURCE, told.source, told.size, told.mtime_ns) is True

    def _stands(self, tree: Tree, path: PurePosixPath | None, size: int, mtime_ns: int | None) -> bool | None:
        """Whether a file of this size, and time where one is given, stands there; None where that can't be seen."""
        try:
            status = None if path is None else self._files.status(tree, path)
        except OSError:  # told as a directory that can't be read
            return None
        if status is None or not stat.S_ISREG(status.st_mode):
            return False
        return status.st_size == size and mtime_ns in (None, status.st_mtime_ns)

    def _is_known_by_now(self, tree: Tree, path: PurePosixPath) -> bool:
        """Whether it is known: entered since the rows were read, or as an archive in the trash, of no recording."""
        rows = [] if self._catalog is None else self._catalog.at_path(path)
        if tree is Tree.ARCHIVE:
            return any(path == row.archive and row.state not in _OVER for row in rows)
        lies = None if self._catalog is None else self._catalog.trash_at(path)
        if lies is not None and lies.origin.tree is Tree.ARCHIVE:
            return True
        return any(path in _places_in_trash(row) or (lies is not None and row.id == lies.recording) for row in rows)

    # -- recordings ---------------------------------------------------------------------------------------

    def _check_recordings(self, rows: Sequence[Recording], look: _Look, absent: Set[Tree | None]) -> Iterator[Finding]:
        """Hold each row against what stands. Of what should stand in a tree that is absent nothing is said."""
        owned = {row.disposed_to for row in rows if row.state in (State.ARCHIVED, State.DONE, State.REMOVED)}
        for row in rows:
            if Tree.ARCHIVE in absent and row.state in (State.ARCHIVED, State.DONE):
                continue
            if row.state is State.GONE and row.disposed_to in owned:  # it was archived after all
                continue
            findings = self._judge(row, look, absent)
            if findings and self._catalog is not None:
                fresh = self._catalog.reload(row)
                findings = findings if fresh == row else self._judge(fresh, look, absent)
            yield from findings

    def _judge(self, row: Recording, look: _Look, absent: Set[Tree | None]) -> tuple[Finding, ...]:
        found = judge(row, self._seen(row, look, absent))
        if row.state is State.REMOVED or (row.state is State.DONE and row.job):  # its snapshots go with its archive
            return found
        snapshots = (judge_snapshot(row, snapshot, look.at_place(snapshot.disposed_to)) for snapshot in row.snapshots)
        return (*found, *filter(None, snapshots))

    def _seen(self, row: Recording, look: _Look, absent: Set[Tree | None]) -> Seen:
        mark, archive = row.fingerprint, None
        if row.archive is not None and row.state in (State.ARCHIVED, State.DONE):
            decode = row.receipt is not None and is_to_decode(row.receipt)
            archive = look.at(Tree.ARCHIVE, row.archive, decode=decode)
        trashed = None if Tree.TRASH in absent else self._stands(Tree.TRASH, row.disposed_to, mark.size, None)
        source = self._stands(Tree.SOURCE, row.path, mark.size, mark.mtime_ns)
        in_trash = row.state is State.GONE and row.disposed_to is not None and self._catalog is not None
        given_up = in_trash and self._catalog is not None and self._catalog.is_given_up(row)
        return Seen(archive, source, trashed, archive is None and self._stands_elsewhere(row), given_up)

    def _stands_elsewhere(self, row: Recording) -> bool:
        """Whether another archive of the content of this row's source stands, or stood till it was removed."""
        receipt = row.receipt
        if receipt is None or not receipt.source_sha256 or self._catalog is None:
            return False
        others = (other for other in self._catalog.at_path(row.path) if other.archive != row.archive)
        return any(self._stands_for(other, receipt) for other in others)

    def _stands_for(self, other: Recording, receipt: Receipt) -> bool:
        """Whether the archive of another row is what is left of what a receipt is of."""
        if other.archive is None or other.receipt is None or other.receipt.source_sha256 != receipt.source_sha256:
            return False
        if other.state is State.REMOVED:  # it was made after this one was lost, and has gone by the rules
            return other.receipt.committed_at > receipt.committed_at
        return self._stands(Tree.ARCHIVE, other.archive, other.archive_size, None) is True


class _Look:
    """Looks at single files, as far as the level asks, and shows which."""

    def __init__(
        self, files: FileManager, level: Level, transcoder: Transcoder, stop: StopToken, display: FilesDisplay,
        secret: str,
    ) -> None:  # fmt: skip
        self._secret = secret  # of the archive root
        self._files = files
        self._level = level
        self._transcoder = transcoder
        self._stop = stop
        self._display = display

    def at(self, tree: Tree, path: PurePosixPath, *, decode: bool) -> Standing | None:
        """What stands at a path; None where nothing does. `decode`: it is to decode, where the level asks that."""
        self._stop.check()
        try:
            status = self._files.status(tree, path)
        except OSError as error:
            return Standing(True, unseen=error.strerror or str(error))
        if status is None:
            return None
        if not stat.S_ISREG(status.st_mode):
            return Standing(regular=False)
        seen = Standing(True, status.st_size, status.st_mtime_ns)
        if self._level is Level.QUICK:
            return seen
        self._display.begin(naming.printable(path.name), status.st_size, None)
        try:
            with self._files.opened(tree, path) as handle:
                seen = self._looked_into(handle, seen, decode=decode)
        except FileNotFoundError:
            return None
        except OSError as error:
            seen = replace(seen, unseen=error.strerror or str(error))
        self._display.end("")
        return seen

    def at_place(self, place: Place | None) -> Standing | None:
        """The size and time of what was put beside an archive; None for all else, and where nothing stands."""
        if place is None or place.tree is not Tree.ARCHIVE:
            return None
        try:
            status = self._files.status(place.tree, place.path)
        except OSError as error:
            return Standing(True, unseen=error.strerror or str(error))
        return status and Standing(stat.S_ISREG(status.st_mode), status.st_size, status.st_mtime_ns)

    def _looked_into(self, handle: int, seen: Standing, *, decode: bool) -> Standing:
        seen = replace(seen, fault=boxes.walk(handle).fault, told=parse_told(read_own_tag(handle), self._secret))
        if self._level is Level.NORMAL:
            return seen
        self._display.stage("reading every byte")
        seen = replace(seen, sha256=self._files.sha256(handle, self._stop))
        if not decode or seen.fault:
            return seen
        self._display.stage("decoding")
        try:
            decoded = self._transcoder.decode(handle, encoded_audio=False, on_position=_ignore)
        except TranscodeFailed as failure:
            return replace(seen, unseen=failure.message)
        return replace(seen, decode_error=decoded.error, frames=decoded.frames)


def _places_in_trash(row: Recording) -> tuple[PurePosixPath | None, ...]:
    """Where a source lies, and where one lies whose disposal goes on just now."""
    return (row.disposed_to, row.path) if row.state is State.ARCHIVED else (row.disposed_to,)


def _in(found: dict[Tree, Discovery], tree: Tree) -> tuple[FoundRecording, ...]:
    """The recordings found in a tree; none where it was not looked through."""
    return found[tree].recordings if tree in found else ()


def _ignore(_position: Position) -> None:
    return
