"""Letting go of the source of an archived recording: the last doubt, the trash, the snapshots."""

from __future__ import annotations

import logging
import os
from pathlib import PurePosixPath
from typing import assert_never

from archiverd.policy import naming
from archiverd.policy.letting_go import PROTECTED, Follows, LastLook, doubt, what_follows
from archiverd.policy.model import ClipName, Fingerprint, Place, Receipt, Recording, Snapshot, Tree
from archiverd.policy.outcome import Outcome, Result
from archiverd.policy.recovery import snapshot_job
from archiverd.storage.open_files import writers
from archiverd.workbench import Workbench, outcome

log = logging.getLogger(__name__)

_NO_ROOM = "source deleted: no room in the trash"
_PROTECTED_S = 86_400.0  # before it is asked again whether a `.keep` still stands; `unprotect` asks at once


class Disposer:
    """Disposes of sources. Every step can be cut short by a death and is taken up again by the next start."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def let_go(self, recording: Recording, result: Result) -> Outcome | None:
        """Dispose of an archived recording's source and snapshots, if it is not protected.

        None where its archive does not stand as it was committed: nothing is removed then, and what an earlier
        disposal had set aside is put back.
        """
        receipt = recording.receipt
        assert receipt is not None, "an archived recording has its receipt"
        if self._is_protected(recording, receipt):
            return self._keep_protected(recording, result)
        self._bench.display.stage("letting go of the source")
        for tree in Tree:
            self._bench.roots.verify(tree)
        if not self._archive_stands(recording, receipt):
            self._put_back(recording)
            return None
        aside = self._set_aside(recording, receipt)
        if aside is None:
            return self._finish(recording, receipt, result)
        return self._dispose(recording, receipt, result, aside)

    def _keep_protected(self, recording: Recording, result: Result) -> Outcome:
        """Leave a source whose `.keep` was seen, also at the last moment, where it is."""
        self._put_back(recording)
        now = self._bench.clock()
        self._bench.catalog.hold(recording, PROTECTED, now + _PROTECTED_S, now)
        if self._bench.files.keep_beside(Tree.SOURCE, recording.path) is None:  # taken away a moment ago
            self._bench.catalog.release(recording.path, now)
        return outcome(recording, Result.KEPT if result is Result.DISPOSED else result, "source is protected")

    def _is_protected(self, recording: Recording, receipt: Receipt) -> bool:
        """Whether a `.keep` stands beside the very source that was archived."""
        named = self._bench.files.status(Tree.SOURCE, recording.path)
        stands = named is not None and Fingerprint.of(named) == receipt.source
        return stands and self._bench.files.keep_beside(Tree.SOURCE, recording.path) is not None

    def _archive_stands(self, recording: Recording, receipt: Receipt) -> bool:
        """Whether the archive is the file that was committed; where anything about it changed, by its SHA-256."""
        if recording.archive is None:
            return False
        status = self._bench.files.status(Tree.ARCHIVE, recording.archive)
        if status is None or status.st_size != receipt.archive.size:
            return False
        if Fingerprint.of(status) == receipt.archive:
            return True
        if not receipt.archive_sha256:  # no hash is known, and no source is ever let go of by such a receipt
            return status.st_mtime_ns == receipt.archive.mtime_ns
        with self._bench.files.opened(Tree.ARCHIVE, recording.archive) as handle:
            if self._bench.files.sha256(handle, self._bench.stop) != receipt.archive_sha256:
                return False
        # Somebody put it there anew: nothing says that it has reached the disk.
        self._bench.files.sync_file(Tree.ARCHIVE, recording.archive)
        return True

    def _set_aside(self, recording: Recording, receipt: Receipt) -> PurePosixPath | None:
        """Where the source stands aside, from now or from a disposal that was cut short; None where it is not there."""
        aside = _aside(recording)
        if self._bench.files.status(Tree.SOURCE, aside) is not None:
            return aside
        named = self._bench.files.status(Tree.SOURCE, recording.path)
        if named is None or Fingerprint.of(named) != receipt.source:
            return None
        return self._bench.files.set_aside(Tree.SOURCE, recording.path, recording.job)

    def _dispose(self, recording: Recording, receipt: Receipt, result: Result, aside: PurePosixPath) -> Outcome | None:
        try:
            look = self._last_look(aside, receipt.source, receipt.source_sha256)
            why_not = doubt(look)
            if not why_not and not self._archive_stands(recording, receipt):
                self._put_back(recording)
                return None
            if not why_not and self._bench.files.keep_beside(Tree.SOURCE, recording.path) is not None:
                return self._keep_protected(recording, result)
            if not why_not:
                self._dispose_of_snapshots(recording)
                place = self._remove(aside, recording.path, recording.job)
                reason, forced = self._how_it_went(place)
                self._bench.catalog.done(recording, place, reason, self._bench.clock(), trouble=forced)
                return outcome(recording, result, receipt.reason)
        except BaseException:
            self._put_back(recording)
            raise
        back = self._bench.files.put_back(Tree.SOURCE, aside, recording.path)
        if back != recording.path:
            log.warning("%s: stands as %s from now on", naming.printable(recording.path), naming.printable(back))
        return self._keep(recording, look, why_not)

    def _keep(self, recording: Recording, look: LastLook, why_not: str) -> Outcome:
        """Note what becomes of a source that was put back."""
        now = self._bench.clock()
        match what_follows(look):
            case Follows.NEW_RECORDING:
                reason = f"{why_not}: it is a recording of its own now"
                self._bench.catalog.done(recording, None, reason, now, trouble=True)
            case Follows.LATER:
                later = now + self._bench.settings.patience.settle_s
                self._bench.catalog.hold(recording, why_not, later, now, trouble=True)
            case Follows.ARCHIVE_AGAIN:
                self._bench.catalog.wait(recording, why_not, now, now, trouble=True)
            case unreachable:
                assert_never(unreachable)
        return outcome(recording, Result.WAITING, f"{why_not}: it stays")

    def _last_look(self, aside: PurePosixPath, expected: Fingerprint, sha256: str = "") -> LastLook:
        with self._bench.files.opened(Tree.SOURCE, aside) as handle:
            return LastLook(
                same_fingerprint=Fingerprint.of(os.fstat(handle)) == expected,
                being_written=writers(handle),
                same_content=self._bench.files.sha256(handle, self._bench.stop) == sha256 if sha256 else None,
            )

    def _put_back(self, recording: Recording) -> None:
        """Give the source and snapshots that were set aside their names back, where they still stand aside."""
        asides = [(_aside_snapshot(recording, snapshot), snapshot.path) for snapshot in recording.snapshots]
        for aside, path in [(_aside(recording), recording.path), *asides]:
            if self._bench.files.status(Tree.SOURCE, aside) is not None:
                self._bench.files.put_back(Tree.SOURCE, aside, path)

    def _finish(self, recording: Recording, receipt: Receipt, result: Result) -> Outcome:
        """The source is not under its name any more: finish what a disposal that was cut short left to do."""
        place = recording.disposed_to or self._moved_to(Place(Tree.TRASH, recording.path), receipt.source)
        if self._bench.files.status(Tree.SOURCE, recording.path) is not None:
            reason = "another upload has taken the source's name; that is a recording of its own"
            self._bench.catalog.done(recording, place, reason, self._bench.clock())
            return outcome(recording, result, reason)
        try:
            self._dispose_of_snapshots(recording)
        except BaseException:
            self._put_back(recording)
            raise
        reason = "its source was gone already" if recording.disposed_to is None else "its late snapshots were let go of"
        self._bench.catalog.done(recording, place, reason, self._bench.clock())
        return outcome(recording, result, receipt.reason)

    def _dispose_of_snapshots(self, recording: Recording) -> None:
        for snapshot in recording.snapshots:
            if not snapshot.disposed:
                self._dispose_of_snapshot(recording, snapshot)

    def _dispose_of_snapshot(self, recording: Recording, snapshot: Snapshot) -> None:
        """Like its clip: set aside, looked at once more, and only then removed. On doubt it stays."""
        aside = _aside_snapshot(recording, snapshot)
        if self._bench.files.status(Tree.SOURCE, aside) is None:
            status = self._bench.files.status(Tree.SOURCE, snapshot.path)
            if status is None:
                self._note_where_it_went(recording, snapshot)
                return
            if self._bench.clock() - status.st_mtime < self._bench.settings.patience.settle_s:
                return
            job = snapshot_job(recording.job, snapshot.id)
            aside = self._bench.files.set_aside(Tree.SOURCE, snapshot.path, job)
        why_not = doubt(self._last_look(aside, snapshot.fingerprint))
        if why_not:
            back = self._bench.files.put_back(Tree.SOURCE, aside, snapshot.path)
            log.warning("%s: %s; it stays", naming.printable(back), why_not)
            return
        if self._bench.settings.archive_snapshots:
            place: Place | None = self._archive_snapshot(recording, snapshot, aside)
        else:
            trashed = self._remove(aside, snapshot.path, snapshot_job(recording.job, snapshot.id))
            place = None if trashed is None else Place(Tree.TRASH, trashed)
        self._bench.catalog.snapshot_disposed(snapshot, place, self._bench.clock())

    def _archive_snapshot(self, recording: Recording, snapshot: Snapshot, aside: PurePosixPath) -> Place:
        """Put a snapshot beside the archive of its recording, unless another upload of its very bytes stands there."""
        files, job = self._bench.files, snapshot_job(recording.job, snapshot.id)
        wanted = self._beside_archive(recording, snapshot)
        with files.opened(Tree.SOURCE, aside) as handle:
            status = os.fstat(handle)
            twin = files.find(wanted, files.sha256(handle, self._bench.stop), status, self._bench.stop)
        standing = None if twin is None else files.status(Tree.ARCHIVE, twin)
        # One of the same time as well is this upload's own copy: a death came between it and the original's removal.
        if twin is None or standing is None or standing.st_mtime_ns == status.st_mtime_ns:
            return Place(Tree.ARCHIVE, files.move(Place(Tree.SOURCE, aside), wanted, job, self._bench.stop, own=True))
        log.info(
            "%s: stands beside the archive already, as %s", naming.printable(snapshot.path), naming.printable(twin)
        )
        files.sync_file(Tree.ARCHIVE, twin)
        self._remove(aside, snapshot.path, job)
        return Place(Tree.ARCHIVE, twin)

    def _beside_archive(self, recording: Recording, snapshot: Snapshot) -> Place:
        """Where a snapshot is to stand; one whose own path says nothing any more is named after its clip."""
        assert recording.archive is not None, "what is let go of has its archive"
        said = self._bench.settings.names.parse(snapshot.path)
        name = said if isinstance(said, ClipName) else recording.name._replace(copy=1)
        wanted = naming.archived_snapshot_name(name, snapshot.path.name)
        return Place(Tree.ARCHIVE, recording.archive.with_name(wanted))

    def _note_where_it_went(self, recording: Recording, snapshot: Snapshot) -> None:
        """Commit where a snapshot went that was moved by a process that died before it could say so."""
        for wanted in (self._beside_archive(recording, snapshot), Place(Tree.TRASH, snapshot.path)):
            path = self._moved_to(wanted, snapshot.fingerprint)
            if path is not None:
                self._bench.catalog.snapshot_disposed(snapshot, Place(wanted.tree, path), self._bench.clock())
                return

    def _remove(self, aside: PurePosixPath, origin: PurePosixPath, job: str) -> PurePosixPath | None:
        """Trash or delete a file that was set aside; its place in the trash, or None.

        On a disk that is nearly full the trash would keep what the archive was made to save.
        """
        if self._bench.settings.delete or not self._bench.has_room_in_trash():
            self._bench.files.delete(Tree.SOURCE, aside)
            return None
        return self._bench.files.trash(Tree.SOURCE, aside, origin, job, self._bench.stop)

    def _how_it_went(self, place: PurePosixPath | None) -> tuple[str, bool]:
        """How a source was let go of, in words, and whether its owner wanted it otherwise."""
        if place is not None:
            return "source moved to the trash", False
        return ("source deleted", False) if self._bench.settings.delete else (_NO_ROOM, True)

    def _moved_to(self, wanted: Place, original: Fingerprint) -> PurePosixPath | None:
        """Where a file went that was moved before that could be committed: by what a copy keeps too, size and time."""
        candidate, number = wanted.path, 1
        while (status := self._bench.files.status(wanted.tree, candidate)) is not None:
            if (status.st_size, status.st_mtime_ns) == (original.size, original.mtime_ns):
                return candidate
            number += 1
            candidate = naming.numbered(wanted.path, number)
        return None


def _aside(recording: Recording) -> PurePosixPath:
    return recording.path.with_name(naming.gone_name(recording.job))


def _aside_snapshot(recording: Recording, snapshot: Snapshot) -> PurePosixPath:
    return snapshot.path.with_name(naming.gone_name(snapshot_job(recording.job, snapshot.id)))
