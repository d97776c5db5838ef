"""Recoverer: brings trees and catalog together again after a process that died."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import assert_never

from archiverd.policy import naming
from archiverd.policy.model import Fingerprint, Place, Recording, State, Trashed, Tree
from archiverd.policy.outcome import Outcome, Result
from archiverd.policy.recovery import (
    Aside,
    Deaths,
    Removal,
    Trace,
    after_death,
    after_removal,
    again_after_s,
    aside_step,
    owner_of_gone,
    removable_part,
)
from archiverd.policy.stop import StopToken
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_connection import DEATHS
from archiverd.storage.discovery import FileDiscovery
from archiverd.storage.file_manager import FileManager
from archiverd.trees import put_back_cleared

log = logging.getLogger(__name__)


class Recoverer:
    """Looks for what a dead process left in the trees of one catalog, under their locks."""

    def __init__(
        self, catalog: Catalog, files: FileManager, discoveries: dict[Tree, FileDiscovery], stop: StopToken,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._files = files
        self._discoveries = discoveries
        self._stop = stop
        self._clock = clock

    def recover(self) -> list[Outcome]:
        """Bring the trees and the catalog together again after a death of the process; harmless after none.

        Returns what became of recordings that somebody should look at now.

        What removals had set aside has its names back before all else: till then it seems missing. Then the jobs: what
        their parts and set-aside files mean depends on what becomes of them. What can't be mended now (no right to a
        directory, a disk that fails there) is told, and left for the next start.
        """
        troubles: list[Outcome] = []
        leftovers = {
            tree: put_back_cleared(self._files, tree, self._discoveries[tree].scan_leftovers()) for tree in Tree
        }
        for recording in self._catalog.recordings((State.ACTIVE, State.PUBLISHING)):
            self._stop.check()
            with _told_if_it_fails(recording.path):
                self._recover_job(recording, troubles)
        for tree in Tree:
            for path in leftovers[tree]:
                self._stop.check()
                with _told_if_it_fails(path):
                    self._recover_leftover(tree, path)
        self._recover_removals()
        return troubles

    def take_back(self) -> None:
        """Let go of the claims that a job could not give back itself, for the catalog could not be written then.

        To be called between two jobs. Nothing is counted against a recording: nobody died.
        """
        for recording in self._catalog.recordings((State.ACTIVE, State.PUBLISHING)):
            self._recover_job(recording, [], died=False)

    def take_back_removals(self) -> None:
        """The same of what a cleanup had claimed, or set aside, when the machine failed. To be called between two."""
        for tree in Tree:
            put_back_cleared(self._files, tree, self._discoveries[tree].scan_leftovers())
        self._recover_removals()

    def _recover_removals(self) -> None:
        for recording in self._catalog.claimed_removals():  # what stood aside has its name back by now
            self._stop.check()
            with _told_if_it_fails(recording.path):
                self._recover_removal(recording)

    def _recover_job(self, recording: Recording, troubles: list[Outcome], *, died: bool = True) -> None:
        stands = recording.state is State.PUBLISHING and self._stands(recording)
        if not died and not stands:
            now = self._clock()
            self._catalog.wait(recording, "its job could not go on", now, now)
            return
        now, deaths = self._clock(), Deaths.from_text(self._catalog.recall(DEATHS))
        if died:
            deaths = deaths.then(recording.id)
        crashes = recording.crashes + 1
        fare_well = self._catalog.archived_since(deaths.blamed_to)
        match after_death(recording, deaths, archive_stands=stands, others_fare_well=fare_well):
            case Trace.FINISH:
                assert recording.archive is not None, "a recording being published has the name of its archive"
                assert recording.receipt is not None, "and its receipt"
                self._files.sync_file(Tree.ARCHIVE, recording.archive)
                receipt = replace(recording.receipt, committed_at=now)
                self._catalog.archived(recording, receipt, "its archive was found published after a restart", now)
            case Trace.QUARANTINE:
                reason = f"the process died {crashes} times in a row while working on it"
                self._catalog.quarantine(recording, reason, now)
                self._note(replace(deaths, blamed_to=self._catalog.last_change()))
                troubles.append(Outcome(recording.path, Result.QUARANTINED, reason, recording.fingerprint.size))
            case Trace.REDO:
                again_at = now + again_after_s(crashes)
                self._catalog.crashed(recording, "the process died while working on it", again_at, now)
                self._note(deaths)
            case Trace.PUT_OFF:
                reason = f"the process died {crashes} times while working on it; the machine may be at fault"
                self._catalog.crashed(recording, reason, now + again_after_s(crashes), now)
                self._note(replace(deaths, put_off=recording.id))
            case unreachable:
                assert_never(unreachable)

    def _note(self, deaths: Deaths) -> None:
        """Once the row says what became of it: a death between the two counts one too few, and never the same twice."""
        self._catalog.correct(DEATHS, deaths.to_text())

    def _recover_removal(self, recording: Recording) -> None:
        """Let go of a claim whose job died, or note what that job has removed and could not say so."""
        place, wanted, others = Place(Tree.SOURCE, recording.path), recording.fingerprint, False
        if recording.state is State.DONE:
            assert recording.archive is not None, "a recording whose archive was claimed has one"
            assert recording.receipt is not None, "and its receipt"
            place, wanted = Place(Tree.ARCHIVE, recording.archive), recording.receipt.archive
            others = self._catalog.counts_on(recording.archive, recording)
            self._note_removed_snapshots(recording)
            if self._catalog.reload(recording).job != recording.job:  # done with, for another has the same archive
                return
        status = self._files.status(place.tree, place.path)
        seen = None if status is None else Fingerprint.of(status)
        match after_removal(wanted, seen, others=others):
            case Removal.RELEASE:
                self._catalog.release_removal([recording.id], recording.job)
                if recording.state is State.DONE:
                    self._note_copy(recording, place, wanted)
            case Removal.FINISH:
                self._finish_removal(recording, place, wanted)
            case unreachable:
                assert_never(unreachable)

    def _finish_removal(self, recording: Recording, place: Place, wanted: Fingerprint) -> None:
        now = self._clock()
        lies = self._in_trash(place, wanted)
        one = None
        if lies is not None:
            one = Trashed(lies, wanted, recording.name.camera, place, recording.reason, now, recording.id)
        if recording.state is State.DONE:
            self._catalog.removed([(recording.id, one)], recording.job, now)
        else:
            self._catalog.trash_quarantined(recording, one, now)
        log.info("%s: was removed by a job that died (%s); noted", naming.printable(place.path), recording.reason)

    def _note_copy(self, recording: Recording, place: Place, wanted: Fingerprint) -> None:
        """Note a copy in a trash on another disk, where the death came before the original was removed.

        The next cleanup finds that it is the same, and makes no second one.
        """
        lies = self._in_trash(place, wanted)
        if lies is not None:
            now = self._clock()
            one = Trashed(lies, wanted, recording.name.camera, place, recording.reason, now, recording.id)
            self._catalog.trashed(one, now)
            log.info("%s: lies in the trash too, copied by a job that died; noted", naming.printable(lies))

    def _note_removed_snapshots(self, recording: Recording) -> None:
        """Note which of the snapshots beside a claimed archive are not there any more."""
        now, beside = self._clock(), []
        for snapshot in recording.snapshots:
            place = snapshot.disposed_to
            if (
                place is None
                or place.tree is not Tree.ARCHIVE
                or self._files.status(place.tree, place.path) is not None
            ):
                continue
            lies, mark, camera = (
                self._in_trash(place, snapshot.fingerprint),
                snapshot.fingerprint,
                recording.name.camera,
            )
            one = None if lies is None else Trashed(lies, mark, camera, place, recording.reason, now, recording.id)
            beside.append((place.path, one))
        if beside:
            self._catalog.removed([], recording.job, now, beside)

    def _in_trash(self, origin: Place, wanted: Fingerprint) -> PurePosixPath | None:
        """Where a file lies that was moved to the trash before that could be noted: by its size and time."""
        retired = PurePosixPath(naming.RETIRED) if origin.tree is Tree.ARCHIVE else PurePosixPath()
        candidate, number = retired / origin.path, 1
        while (status := self._files.status(Tree.TRASH, candidate)) is not None:
            known = self._catalog.trash_at(candidate)
            if known is None and (status.st_size, status.st_mtime_ns) == (wanted.size, wanted.mtime_ns):
                return candidate
            number += 1
            candidate = naming.numbered(retired / origin.path, number)
        return None

    def _stands(self, recording: Recording) -> bool:
        """Whether a file of exactly the committed size and content stands under the committed name."""
        if recording.archive is None:
            return False
        status = self._files.status(Tree.ARCHIVE, recording.archive)
        if status is None or status.st_size != recording.archive_size:
            return False
        try:
            with self._files.opened(Tree.ARCHIVE, recording.archive) as handle:
                return self._files.sha256(handle, self._stop) == recording.archive_sha256
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINVAL, errno.ELOOP):
                return False
            raise

    def _recover_leftover(self, tree: Tree, path: PurePosixPath) -> None:
        part = naming.parse_part_name(path.name)
        if part is None:
            self._recover_aside(tree, path)
        elif removable_part(part, self._catalog.id):
            self._files.remove_part(tree, path)
            log.info("%s: a part of a job that died; removed", naming.printable(path))
        else:
            log.warning("%s: a part of another catalog in the %s tree; left alone", naming.printable(path), tree)

    def _recover_aside(self, tree: Tree, path: PurePosixPath) -> None:
        job, snapshot_id = owner_of_gone(naming.parse_gone_name(path.name) or "")
        owner = self._catalog.of_job(job) if tree is Tree.SOURCE else None
        origin = _origin(owner, snapshot_id)
        free = origin is None or self._files.status(tree, origin) is None
        match aside_step(owner if origin is not None else None, name_free=free):
            case Aside.PUT_BACK:
                assert origin is not None, "a file with an owner has a name to go back to"
                back = self._files.put_back(tree, path, origin)
                log.info("%s: was set aside by a job that died; put back", naming.printable(back))
            case Aside.FINISH:
                log.info("%s: its disposal goes on", naming.printable(path))
            case Aside.LEAVE if self._lies_in_trash(tree, path):
                log.info("%s: lies in the trash; it had this name too, and has it no more", naming.printable(path))
            case Aside.LEAVE:
                log.warning("%s: set aside by a job nobody knows, its name is lost; left alone", naming.printable(path))
            case unreachable:
                assert_never(unreachable)

    def _lies_in_trash(self, tree: Tree, path: PurePosixPath) -> bool:
        """Whether a file was moved to the trash and a power cut gave it its name of before back: that is taken away.

        On btrfs a rename is two changes, and the second may be lost though its directory was synced.
        """
        status = self._files.status(tree, path)
        lies = [] if status is None else self._catalog.trash_like(Fingerprint.of(status))
        return any(self._files.drop_second_name(Place(tree, path), Place(Tree.TRASH, place)) for place in lies)


@contextmanager
def _told_if_it_fails(path: PurePosixPath) -> Iterator[None]:
    """One trace that can't be mended keeps nobody from the others."""
    try:
        yield
    except OSError as error:
        log.warning("%s: left by a job that died, can't be mended now: %s", naming.printable(path), error)


def _origin(owner: Recording | None, snapshot_id: int | None) -> PurePosixPath | None:
    """The name a set-aside file had: the recording's, or its snapshot's."""
    if owner is None:
        return None
    if snapshot_id is None:
        return owner.path
    return next((snapshot.path for snapshot in owner.snapshots if snapshot.id == snapshot_id), None)
