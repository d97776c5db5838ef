"""Letting go of the source of an archived recording: the last doubt, the trash, the snapshots."""

from __future__ import annotations

import logging
import os
from pathlib import PurePosixPath

from archiverd.policy import naming
from archiverd.policy.model import Fingerprint, Receipt, Recording, Tree
from archiverd.policy.outcome import Outcome, Result
from archiverd.policy.recovery import snapshot_job
from archiverd.storage.file_manager import writers
from archiverd.workbench import Workbench, outcome

log = logging.getLogger(__name__)


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
        if self._is_protected(recording):
            now = self._bench.clock()
            self._bench.catalog.hold(recording, "protected by its .keep file", now, now)
            return outcome(recording, Result.KEPT if result is Result.DISPOSED else result, "source is protected")
        self._bench.display.stage("letting go of the source")
        for tree in Tree:
            self._bench.roots.verify(tree)
        if not self._archive_stands(recording, receipt):
            self._put_back(recording)
            return None
        return self._dispose(recording, receipt, result)

    def _is_protected(self, recording: Recording) -> bool:
        keep = recording.path.with_name(naming.keep_name(recording.path.name))
        return self._bench.files.status(Tree.SOURCE, keep) is not None

    def _archive_stands(self, recording: Recording, receipt: Receipt) -> bool:
        """Whether the archive is the file that was committed; where anything about it changed, by its SHA-256."""
        if recording.archive is None:
            return False
        status = self._bench.files.status(Tree.ARCHIVE, recording.archive)
        if status is None or status.st_size != receipt.archive.size:
            return False
        if Fingerprint.of(status) == receipt.archive:
            return True
        with self._bench.files.opened(Tree.ARCHIVE, recording.archive) as handle:
            return self._bench.files.sha256(handle, self._bench.stop) == receipt.archive_sha256

    def _dispose(self, recording: Recording, receipt: Receipt, result: Result) -> Outcome:
        aside = _aside(recording)
        if self._bench.files.status(Tree.SOURCE, aside) is None:
            named = self._bench.files.status(Tree.SOURCE, recording.path)
            if named is None or Fingerprint.of(named) != receipt.source:
                return self._dispose_of_the_rest(recording, receipt, result, taken_away=named is None)
            aside = self._bench.files.set_aside(Tree.SOURCE, recording.path, recording.job)
        try:
            doubt = self._doubt(aside, receipt)
            if not doubt:
                self._dispose_of_snapshots(recording)
                place = self._remove(aside, recording.path, recording.job)
                self._bench.catalog.done(recording, place, _let_go_of(place), self._bench.clock())
                return outcome(recording, result, receipt.reason)
        except BaseException:
            self._put_back(recording)
            raise
        back = self._bench.files.put_back(Tree.SOURCE, aside, recording.path)
        self._bench.catalog.done(
            recording, None, f"{doubt}; the new content is a recording of its own", self._bench.clock()
        )
        log.warning("%s: %s; it stays, as %s", naming.printable(recording.path), doubt, naming.printable(back))
        return outcome(recording, result, f"{doubt}; what stands there now is a recording of its own")

    def _put_back(self, recording: Recording) -> None:
        """Give the source and snapshots that were set aside their names back, where they still stand aside."""
        asides = [(_aside_snapshot(recording, n), snapshot.path) for n, snapshot in enumerate(recording.snapshots)]
        for aside, path in [(_aside(recording), recording.path), *asides]:
            if self._bench.files.status(Tree.SOURCE, aside) is not None:
                self._bench.files.put_back(Tree.SOURCE, aside, path)

    def _dispose_of_the_rest(
        self, recording: Recording, receipt: Receipt, result: Result, *, taken_away: bool
    ) -> Outcome:
        """The source is not under its name any more: finish what a disposal that was cut short left to do."""
        if not taken_away:
            reason = "another upload has taken the source's name; that is a recording of its own"
            self._bench.catalog.done(recording, None, reason, self._bench.clock())
            return outcome(recording, result, reason)
        self._dispose_of_snapshots(recording)
        place = self._place_in_trash(recording.path, receipt)
        self._bench.catalog.done(recording, place, "its source was gone already", self._bench.clock())
        return outcome(recording, result, receipt.reason)

    def _doubt(self, aside: PurePosixPath, receipt: Receipt) -> str:
        """Why a source that was set aside may not go: it is not, or no longer, what the archive was made of."""
        with self._bench.files.opened(Tree.SOURCE, aside) as handle:
            if Fingerprint.of(os.fstat(handle)) != receipt.source:
                return "the source changed after it was archived"
            if writers(handle):
                return "somebody has the source open for writing"
            if self._bench.files.sha256(handle, self._bench.stop) != receipt.source_sha256:
                return "the source's content changed after it was archived"
        return ""

    def _dispose_of_snapshots(self, recording: Recording) -> None:
        for number, snapshot in enumerate(recording.snapshots):
            if snapshot.disposed:
                continue
            job = snapshot_job(recording.job, number)
            aside = _aside_snapshot(recording, number)
            if self._bench.files.status(Tree.SOURCE, aside) is None:
                status = self._bench.files.status(Tree.SOURCE, snapshot.path)
                if status is None or Fingerprint.of(status) != snapshot.fingerprint:
                    continue
                aside = self._bench.files.set_aside(Tree.SOURCE, snapshot.path, job)
            self._bench.catalog.snapshot_disposed(snapshot, self._remove(aside, snapshot.path, job))

    def _remove(self, aside: PurePosixPath, origin: PurePosixPath, job: str) -> PurePosixPath | None:
        """Trash or delete a file that was set aside; its place in the trash, or None."""
        if self._bench.settings.delete:
            self._bench.files.delete(Tree.SOURCE, aside)
            return None
        return self._bench.files.trash(Tree.SOURCE, aside, origin, job, self._bench.stop)

    def _place_in_trash(self, path: PurePosixPath, receipt: Receipt) -> PurePosixPath | None:
        """Where a source went that was moved to the trash before that could be committed."""
        candidate, number = path, 1
        while (status := self._bench.files.status(Tree.TRASH, candidate)) is not None:
            if Fingerprint.of(status) == receipt.source:
                return candidate
            number += 1
            candidate = naming.numbered(path, number)
        return None


def _aside(recording: Recording) -> PurePosixPath:
    return recording.path.with_name(naming.gone_name(recording.job))


def _aside_snapshot(recording: Recording, number: int) -> PurePosixPath:
    return recording.snapshots[number].path.with_name(naming.gone_name(snapshot_job(recording.job, number)))


def _let_go_of(place: PurePosixPath | None) -> str:
    return "source deleted" if place is None else "source moved to the trash"
