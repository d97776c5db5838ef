"""FileProcessor: one recording, from its claim to a source that was let go of.

Reads top to bottom as the way of a recording: claim, admit, transcode, verify, publish, dispose. The order of
commits in the catalog and steps on disk is what makes a death at any moment harmless; `docs/design/crash-table.md`
goes through it.
"""

from __future__ import annotations

import errno
import logging
import os
import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import assert_never

from archiverd.adoption import StandingArchives
from archiverd.disposal import Disposer
from archiverd.errors import (
    DeviceError,
    Interrupted,
    JobError,
    NoSpaceError,
    ResourceError,
    SourceChanged,
    SourceInvalid,
    StartupError,
    StuckError,
)
from archiverd.maker import ArchiveMaker, Made
from archiverd.media import boxes
from archiverd.media.probe import probe
from archiverd.media.source import Source, declared_frames
from archiverd.policy import naming
from archiverd.policy.admission import Admitted, Look, Refused, Wait, admit, quiet_s
from archiverd.policy.change import made_by
from archiverd.policy.clip_info import select
from archiverd.policy.model import Fingerprint, Receipt, Recording, State, Tree
from archiverd.policy.outcome import Outcome, Result
from archiverd.policy.retry import Fault, Quarantine, Retry, Vanished, after_fault
from archiverd.policy.room import LATEST, expected
from archiverd.service.log_fields import about
from archiverd.storage.catalog import ClaimLostError
from archiverd.storage.open_files import environment_fault, writers
from archiverd.trees import relative_to_root
from archiverd.workbench import Workbench, outcome

log = logging.getLogger(__name__)

NEEDS_RIGHT = "archiverd's user needs to read it, and to write in its directory"
_LONGEST_SET_BACK_S = 3600.0
_LONGEST_WITHOUT_ROOM_S = 300.0  # room that is made is to be used
_HOLD_S = 60.0  # of an archived clip whose source can't be let go of
_LONGEST_HOLD_S = 6 * 3600.0
_SET_BACK_S = 60.0  # of a clip that can't be archived now, where others can


class FileProcessor:
    """Works on one recording at a time, for the thread that owns the catalog connection."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._maker = ArchiveMaker(bench)
        self._standing = StandingArchives(bench)
        self._disposer = Disposer(bench)
        self._outgrew: set[int] = set()  # recordings that took more room than was expected, and there was

    def process(self, recording: Recording, *, again: bool = False, distrusted: PurePosixPath | None = None) -> Outcome:
        """Take one recording as far as it goes now.

        `again` makes a new archive where one stands already, and moves the old one to the trash. `distrusted` is
        a file in the archive that is not what its receipt says: it is not taken for this recording's archive.
        Raises: ResourceError where the machine fails, Interrupted on a stop; the recording then waits unharmed.
        """
        job = recording.job or secrets.token_hex(6)
        with about(recording, job):
            try:
                claimed = self._bench.catalog.claim(recording, job, self._bench.clock())
            except ClaimLostError as error:
                log.warning("%s", error)
                return outcome(recording, Result.WAITING, error.message)
            try:
                if claimed.state is State.ARCHIVED:
                    return self._let_go(claimed, Result.DISPOSED)
                return self._archive(claimed, again=again, distrusted=distrusted)
            except (JobError, OSError) as error:
                fault = self._fault_of_machine(claimed, error)
                if fault is None:
                    return self._after_failure(claimed, error)
                self._release(claimed, fault)
                raise fault from error
            except (ResourceError, StartupError, Interrupted) as error:
                self._release(claimed, error)
                raise
            except Exception as error:  # a bug of ours must not cost the other recordings their turn
                log.exception("%s: internal error", naming.printable(claimed.path))
                return self._after_failure(claimed, JobError(f"internal error: {type(error).__name__}: {error}"))

    # -- from source to archive ---------------------------------------------------------------------------

    def _archive(self, recording: Recording, *, again: bool, distrusted: PurePosixPath | None) -> Outcome:
        with self._opened_source(recording) as (handle, before):
            self._bench.display.stage("examining")
            refusal, walk = self._admit(recording, handle)
            if refusal is not None:
                return refusal
            sha256 = self._bench.files.sha256(handle, self._bench.stop)
            info = probe(handle, stop=self._bench.stop, limits=self._bench.settings.limits)
            if info.video is None:
                raise SourceInvalid("ffprobe finds no video in it")
            source = Source(handle, before.st_size, declared_frames(walk), info, select(info))
            standing = self._standing.find(recording, source, sha256, distrusted)
            if standing is not None and not again:
                archived = self._standing.adopt(recording, source, sha256, standing)
            else:
                archived = self._make_archive(recording, source, sha256, before)
        if standing is not None and again:
            self._standing.retire(archived, standing.path)
        assert archived.receipt is not None, "an archived recording has its receipt"
        return self._let_go(archived, Result(archived.receipt.kind.value))

    def _let_go(self, recording: Recording, result: Result) -> Outcome:
        """Dispose of the source; where the archive does not stand any more, begin again with the source."""
        let_go = self._disposer.let_go(self._bench.with_snapshots(recording), result)
        if let_go is not None:
            return let_go
        reason = f"its archive {naming.printable(recording.archive or '')} no longer stands as it was committed"
        now = self._bench.clock()
        if not self._source_is_there(recording):
            self._bench.catalog.hold(recording, f"{reason}, and its source is gone", now, now, trouble=True)
            return outcome(recording, Result.FAILED, f"{reason}, and its source is gone: look in the trash")
        waiting = self._bench.catalog.wait(recording, reason, now, now, trouble=True)
        if result is Result.DISPOSED:
            return self.process(waiting, distrusted=recording.archive)
        # It was made a moment ago: whatever takes it away would take the next one too.
        return outcome(waiting, Result.FAILED, reason)

    @contextmanager
    def _opened_source(self, recording: Recording) -> Iterator[tuple[int, os.stat_result]]:
        """The source, open, as it was offered. Raises: SourceChanged where it is not that file any more."""
        self._bench.roots.verify(Tree.SOURCE)
        with self._bench.files.opened(Tree.SOURCE, recording.path) as handle:
            status = os.fstat(handle)
            if Fingerprint.of(status) != recording.fingerprint:
                raise SourceChanged("it has changed since it was found")
            yield handle, status

    def _admit(self, recording: Recording, handle: int) -> tuple[Outcome | None, boxes.BoxWalk]:
        walk = boxes.walk(handle)
        look = Look(
            quiet_s=quiet_s(recording.fingerprint.mtime_ns / 1e9, recording.seen_at, self._bench.clock()),
            being_written=writers(handle),
            fault=walk.fault,
            has_video=any(track.handler == "vide" for track in walk.tracks),
            open_ended=walk.layout is boxes.Layout.FRAGMENTED and not walk.has_mfra,
        )
        match admit(look, self._bench.settings.patience):
            case Admitted():
                return None, walk
            case Wait(reason, for_s):
                self._bench.catalog.wait(recording, reason, self._bench.clock() + for_s, self._bench.clock())
                return outcome(recording, Result.WAITING, reason), walk
            case Refused(reason):
                return self._quarantine(recording, reason), walk

    def _make_archive(
        self, recording: Recording, source: Source, sha256: str, before: os.stat_result
    ) -> Recording:  # fmt: skip
        """Write, prove and publish the archive of a source; the part is gone at the end, whatever comes."""
        self._bench.roots.verify(Tree.ARCHIVE)
        self._see_that_it_fits(recording, source)
        wanted = naming.archive_path(recording.name, recording.path.name)
        part = self._bench.files.part_path(wanted.parent, recording.job)
        claimed_at = self._bench.clock()
        try:
            with self._bench.files.new_part(Tree.ARCHIVE, part) as target:
                made = self._make(recording, source, sha256, target)
                self._bench.display.stage("publishing")
                self._bench.files.finish_part(target, recording.fingerprint.mtime_ns)
                receipt = self._receipt(recording, source, sha256, target, made, claimed_at)
                self._still_the_same(source.handle, before, recording)
                return self._publish(recording, part, wanted, receipt)
        finally:
            self._bench.files.remove_part(Tree.ARCHIVE, part)

    def _see_that_it_fits(self, recording: Recording, source: Source) -> None:
        """See that there is room for what the archive may be expected to take. Raises: NoSpaceError."""
        latest = self._bench.catalog.latest_taken(recording.name.camera, LATEST)
        known = [] if recording.id in self._outgrew else latest
        self._bench.see_room(expected(source.size, known))

    def _make(self, recording: Recording, source: Source, sha256: str, target: int) -> Made:
        """Fill the part. One that outgrew the room it was begun in waits until there is room for all of its source."""
        try:
            made = self._maker.make(recording, source, sha256, target)
        except (DeviceError, StuckError):
            raise
        except ResourceError:
            self._outgrew.add(recording.id)
            # Where there is room for all of it, the machine failed for another reason, and any clip may be next.
            self._bench.see_room(source.size, held=os.fstat(target).st_blocks * 512)
            raise
        self._outgrew.discard(recording.id)
        return made

    def _receipt(
        self, recording: Recording, source: Source, sha256: str, target: int, made: Made, claimed_at: float
    ) -> Receipt:
        return Receipt(
            kind=made.kind,
            source=recording.fingerprint,
            source_sha256=sha256,
            archive=Fingerprint.of(os.fstat(target)),
            archive_sha256=self._bench.files.sha256(target, self._bench.stop),
            rung=made.rung,
            device=made.device,
            falls=made.falls,
            encoder=made.encoder,
            reason=made.reason,
            frames=made.frames,
            duration_s=source.info.duration_s,
            checks=made.checks,
            claimed_at=claimed_at,
            encode_s=made.encode_s,
            verify_s=made.verify_s,
            committed_at=0.0,
        )

    def _still_the_same(self, handle: int, before: os.stat_result, recording: Recording) -> None:
        """See that the source is the file the job began with, by its handle and by its name.

        ctime is asked too, within the one job: a writer can set the other times back, but not this one.
        """
        now_open, named = os.fstat(handle), self._bench.files.status(Tree.SOURCE, recording.path)
        if named is None:
            raise SourceChanged("it was taken away during its transcode")
        same = Fingerprint.of(now_open) == recording.fingerprint == Fingerprint.of(named)
        if not same or now_open.st_ctime_ns != before.st_ctime_ns or writers(handle):
            raise SourceChanged("it was written to during its transcode")

    def _publish(self, recording: Recording, part: PurePosixPath, wanted: PurePosixPath, receipt: Receipt) -> Recording:
        """Commit the name, give it, make it durable, commit the archive. A taken name leads to the next."""
        self._bench.roots.verify(Tree.ARCHIVE)
        while True:
            final = self._bench.files.free_name(Tree.ARCHIVE, wanted)
            recording = self._bench.catalog.publishing(
                recording, final, receipt.archive_sha256, receipt.archive.size, receipt, self._bench.clock()
            )
            try:
                self._bench.files.publish(Tree.ARCHIVE, part, final)
            except FileExistsError:
                log.debug("%s: taken a moment ago", naming.printable(final))
                continue
            receipt = replace(receipt, committed_at=self._bench.clock())
            return self._bench.catalog.archived(recording, receipt, made_by(receipt), self._bench.clock())

    # -- what can go wrong --------------------------------------------------------------------------------

    def _after_failure(self, claimed: Recording, error: JobError | OSError) -> Outcome:
        """Put a recording where its own fault leaves it. The source is untouched in every case."""
        recording, now = self._bench.catalog.reload(claimed), self._bench.clock()
        reason = _words(error, self._bench.files.roots[Tree.SOURCE] / claimed.path)
        if recording.state is State.ARCHIVED:
            since = now if recording.receipt is None else recording.receipt.committed_at
            again_at = now + min(max(_HOLD_S, now - since), _LONGEST_HOLD_S)  # the longer it has been so, the longer
            self._bench.catalog.hold(recording, reason, again_at, now, trouble=True)
            return outcome(recording, Result.FAILED, f"archived, but its source stays: {reason}")
        follows = after_fault(
            self._fault(recording, error),
            attempt=recording.attempts + 1,
            attempts=self._bench.settings.attempts,
            settle_s=self._bench.settings.patience.settle_s,
            since_s=now - recording.seen_at,
            jitter=random.random(),  # noqa: S311  (to spread the load, not to hide anything)
        )
        match follows:
            case Vanished():
                self._bench.catalog.gone(recording, "the source is not there any more", now)
                return outcome(recording, Result.GONE, "the source is not there any more")
            case Quarantine():
                tried = f" (after {recording.attempts + 1} attempts)" if recording.attempts else ""
                return self._quarantine(recording, f"{reason}{tried}")
            case Retry(for_s, counted):
                self._bench.catalog.wait(recording, reason, now + for_s, now, failed=counted, trouble=True)
                result = Result.WAITING if isinstance(error, SourceChanged) else Result.FAILED
                return outcome(recording, result, reason)
            case unreachable:
                assert_never(unreachable)

    def _fault_of_machine(self, claimed: Recording, error: JobError | OSError) -> ResourceError | None:
        """What an error is that this recording is not to blame for; None for the others."""
        if isinstance(error, JobError):
            return None
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return _fault_of(partial(self._bench.roots.verify, Tree.SOURCE))  # missing, or its root is gone itself
        where = error.filename or self._bench.files.roots[Tree.SOURCE] / claimed.path
        place = relative_to_root(Path(str(where)), self._bench.files.roots)
        if error.errno == errno.EIO and place is not None:
            # What can't be read there keeps this one waiting; a disk that takes nothing either, all.
            return _fault_of(partial(self._bench.files.see_writable, place[0]))
        return environment_fault(error, where)

    def _fault(self, recording: Recording, error: JobError | OSError) -> Fault:
        match error:
            case FileNotFoundError() | NotADirectoryError() if not self._source_is_there(recording):
                return Fault.TAKEN_AWAY
            case SourceChanged():
                return Fault.CHANGED
            case SourceInvalid():
                return Fault.INVALID
            case PermissionError():
                return Fault.REFUSED
            case OSError(errno=errno.EIO) if not self._is_about(recording, error):
                return Fault.REFUSED  # a directory above it
            case _:
                return Fault.FAILED

    def _is_about(self, recording: Recording, error: OSError) -> bool:
        """Whether it is the clip itself that an error is about; what was read of it open has no name."""
        return error.filename in (None, str(self._bench.files.roots[Tree.SOURCE] / recording.path))

    def _source_is_there(self, recording: Recording) -> bool:
        return self._bench.files.status(Tree.SOURCE, recording.path) is not None

    def _quarantine(self, recording: Recording, reason: str) -> Outcome:
        self._bench.catalog.quarantine(recording, reason, self._bench.clock())
        return outcome(recording, Result.QUARANTINED, reason)

    def _release(self, claimed: Recording, error: ResourceError | StartupError | Interrupted) -> None:
        """Let a recording go that is not to blame: back to waiting, with nothing counted against it.

        One that is being published stays so: the next start sees what stands, and goes on from there.
        """
        try:
            recording, now = self._bench.catalog.reload(claimed), self._bench.clock()
            reason = "stopped, as asked" if isinstance(error, Interrupted) else f"paused: {error.message}"
            due = now
            if isinstance(error, (NoSpaceError, DeviceError)):  # others may go on, and are to have their turn
                longest_s = _LONGEST_SET_BACK_S if isinstance(error, DeviceError) else _LONGEST_WITHOUT_ROOM_S
                due += min(max(_SET_BACK_S, now - recording.seen_at), longest_s)
            if recording.state is State.ACTIVE:
                self._bench.catalog.wait(recording, reason, due, now)
            elif recording.state is State.ARCHIVED:
                self._bench.catalog.hold(recording, reason, due, now)
        except ResourceError as second:
            log.warning("%s: stays claimed until the next start: %s", naming.printable(claimed.path), second)


def _fault_of(see: Callable[[], None]) -> ResourceError | None:
    """What speaks against the machine at a look at it."""
    try:
        see()
    except ResourceError as fault:
        return fault
    except OSError as error:  # no right, for one: nothing is seen
        log.debug("nothing is seen of the machine: %s", error)
    return None


def _words(error: JobError | OSError, source: Path) -> str:
    """What went wrong, and where: what was read of the open source has no name."""
    if isinstance(error, JobError):
        return str(error)
    if error.errno == errno.ELOOP:
        return "a symlink stands in its place"
    advice = f"; {NEEDS_RIGHT}" if isinstance(error, PermissionError) else ""
    return f"{naming.printable(str(error.filename or source))}: {error.strerror or error}{advice}"
