"""FileProcessor: one recording, from its claim to a source that was let go of.

Reads top to bottom as the way of a recording: claim, admit, transcode, verify, publish, dispose. The order of
commits in the catalog and steps on disk is what makes a death at any moment harmless; `docs/design/crash-table.md`
goes through it.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Protocol

from archiverd.errors import (
    Interrupted,
    JobError,
    ResourceError,
    SourceChanged,
    SourceInvalid,
    TranscodeFailed,
    VerificationFailed,
)
from archiverd.media import boxes
from archiverd.media.ffmpeg_progress import Position
from archiverd.media.probe import probe
from archiverd.media.process import Limits
from archiverd.media.transcoder import Transcoder
from archiverd.media.verifier import Source, Verifier, declared_frames
from archiverd.policy import naming
from archiverd.policy.admission import Admitted, Look, Patience, Refused, Wait, admit, quiet_s
from archiverd.policy.clip_info import select
from archiverd.policy.model import ArchiveKind, Fingerprint, Receipt, Recording, State, Tree
from archiverd.policy.recovery import snapshot_job
from archiverd.policy.retry import Quarantine, Retry, after_failure
from archiverd.policy.stop import StopToken
from archiverd.policy.verdict import Evidence, Ruling, agrees, grown, proves_content, verdict
from archiverd.storage.catalog import Catalog
from archiverd.storage.file_manager import FileManager, writers
from archiverd.storage.roots import Roots

log = logging.getLogger(__name__)

TAG = "archiverd"  # the key under which an archive carries the essentials of its receipt


class Result(StrEnum):
    """What became of one recording in one go."""

    TRANSCODED = "transcoded"
    VERBATIM = "verbatim"
    ADOPTED = "adopted"
    DISPOSED = "disposed"  # archived before; its source is gone now
    KEPT = "kept"  # archived; the source stays, for it is protected
    WAITING = "waiting"
    GONE = "gone"
    FAILED = "failed"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one recording, in words and bytes."""

    path: PurePosixPath
    result: Result
    reason: str
    source_size: int = 0  # bytes
    archive_size: int = 0  # bytes; of archives made or adopted in this go


class Display(Protocol):
    """Where a job shows how far it is."""

    def stage(self, text: str) -> None: ...

    def update(self, fraction: float, speed: float | None) -> None: ...


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What a job goes by, beside what ffmpeg is told."""

    patience: Patience
    attempts: int
    delete: bool
    limits: Limits


@dataclass(frozen=True, slots=True)
class _Made:
    """The content of a finished part, and how it came to be."""

    kind: ArchiveKind
    reason: str
    rung: str
    encoder: str
    frames: int
    checks: tuple[str, ...]
    encode_s: float
    verify_s: float


class FileProcessor:
    """Works on one recording at a time, for the thread that owns the catalog connection."""

    def __init__(
        self, catalog: Catalog, files: FileManager, roots: Roots, transcoder: Transcoder, settings: JobSettings,
        stop: StopToken, display: Display, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._files = files
        self._roots = roots
        self._transcoder = transcoder
        self._verifier = Verifier(transcoder, settings.limits, stop)
        self._settings = settings
        self._stop = stop
        self._display = display
        self._clock = clock

    def process(self, recording: Recording, *, again: bool = False) -> Outcome:
        """Take one recording as far as it goes now.

        `again` makes a new archive where one stands already, and moves the old one to the trash.
        Raises: ResourceError where the machine fails, Interrupted on a stop; the recording then waits unharmed.
        """
        claimed = self._catalog.claim(recording, recording.job or secrets.token_hex(6), self._clock())
        try:
            if claimed.state is State.ARCHIVED:
                return self._let_go(claimed, Result.DISPOSED)
            return self._archive(claimed, again=again)
        except (JobError, OSError) as error:
            return self._after_failure(claimed, error)
        except (ResourceError, Interrupted) as error:
            self._release(claimed, error)
            raise

    # -- from source to archive ---------------------------------------------------------------------------

    def _archive(self, recording: Recording, *, again: bool) -> Outcome:
        with self._opened_source(recording) as (handle, before):
            self._display.stage("examining")
            refusal, walk = self._admit(recording, handle)
            if refusal is not None:
                return refusal
            sha256 = self._files.sha256(handle, self._stop)
            info = probe(handle, stop=self._stop, limits=self._settings.limits)
            if info.video is None:
                raise SourceInvalid("ffprobe finds no video in it")
            source = Source(handle, before.st_size, declared_frames(walk), info, select(info))
            standing = self._standing_archive(recording, source, sha256)
            if standing is not None and not again:
                archived = self._adopt(recording, source, sha256, standing)
            else:
                archived = self._make_archive(recording, source, sha256, before)
        if standing is not None and again:
            self._retire(archived, standing[0])
        kind = archived.receipt.kind if archived.receipt else ArchiveKind.TRANSCODED
        return self._let_go(archived, Result(kind.value))

    @contextmanager
    def _opened_source(self, recording: Recording) -> Iterator[tuple[int, os.stat_result]]:
        """The source, open, as it was offered. Raises: SourceChanged where it is not that file any more."""
        self._roots.verify(Tree.SOURCE)
        with self._files.opened(Tree.SOURCE, recording.path) as handle:
            status = os.fstat(handle)
            if Fingerprint.of(status) != recording.fingerprint:
                raise SourceChanged("it has changed since it was found")
            yield handle, status

    def _admit(self, recording: Recording, handle: int) -> tuple[Outcome | None, boxes.BoxWalk]:
        walk = boxes.walk(handle)
        look = Look(
            quiet_s=quiet_s(recording.fingerprint.mtime_ns / 1e9, recording.seen_at, self._clock()),
            being_written=writers(handle),
            fault=walk.fault,
            has_video=any(track.handler == "vide" for track in walk.tracks),
            open_ended=walk.layout is boxes.Layout.FRAGMENTED and not walk.has_mfra,
        )
        match admit(look, self._settings.patience):
            case Admitted():
                return None, walk
            case Wait(reason, for_s):
                self._catalog.wait(recording, reason, self._clock() + for_s, self._clock())
                return self._outcome(recording, Result.WAITING, reason), walk
            case Refused(reason):
                return self._quarantine(recording, reason), walk

    def _make_archive(
        self, recording: Recording, source: Source, sha256: str, before: os.stat_result
    ) -> Recording:  # fmt: skip
        """Write, prove and publish the archive of a source; the part is gone at the end, whatever comes."""
        self._roots.verify(Tree.ARCHIVE)
        wanted = naming.archive_path(recording.name, recording.path.name)
        part = self._files.part_path(wanted.parent, recording.job)
        claimed_at = self._clock()
        try:
            with self._files.new_part(Tree.ARCHIVE, part) as target:
                made = self._fill_part(recording, source, sha256, target)
                self._display.stage("publishing")
                self._files.finish_part(target, recording.fingerprint.mtime_ns)
                receipt = self._receipt(recording, source, sha256, target, made, claimed_at)
                self._still_the_same(source.handle, before, recording)
                return self._publish(recording, part, wanted, receipt)
        finally:
            self._files.remove_part(Tree.ARCHIVE, part)

    def _fill_part(self, recording: Recording, source: Source, sha256: str, target: int) -> _Made:
        """Fill the part with a transcode that is proven, or with the original bytes, and say which and why."""
        if source.selection.whole_only:
            return self._verbatim(source, sha256, target, source.selection.whole_only)
        self._display.stage("transcoding")
        try:
            transcoded = self._transcoder.transcode(
                source.handle, target, source.info, source.selection,
                {TAG: _tag(recording, sha256)}, source.size, self._show(source),
            )  # fmt: skip
        except TranscodeFailed as failure:
            return self._verbatim(source, sha256, target, self._excuse(source, failure))
        if transcoded.grown_to is not None:
            return self._verbatim(source, sha256, target, grown(transcoded.grown_to, source.size))
        self._display.stage("verifying")
        began = self._clock()
        evidence = self._evidence(source, transcoded.frames, target)
        ruled = verdict(evidence)
        match ruled.ruling:
            case Ruling.REJECT:
                raise VerificationFailed(f"the output is not proven: {ruled.reason}")
            case Ruling.VERBATIM:
                return self._verbatim(source, sha256, target, ruled.reason)
            case Ruling.ARCHIVE:
                return _Made(
                    ArchiveKind.TRANSCODED, "", transcoded.rung, _encoder(evidence), evidence.output_frames,
                    tuple(str(check) for check in ruled.checks), transcoded.elapsed_s, self._clock() - began,
                )  # fmt: skip

    def _excuse(self, source: Source, failure: TranscodeFailed) -> str:
        """Why the source itself makes its transcode fail. Raises: the failure, where the source is sound."""
        self._display.stage("examining the source")
        decoded = self._transcoder.decode(source.handle, encoded_audio=False, on_position=self._show(source))
        if not decoded.error:
            raise failure
        return f"it does not decode strictly: {decoded.error}"

    def _evidence(self, source: Source, source_frames: int, target: int) -> Evidence:
        video, limit = source.info.video, self._transcoder.settings.max_height
        height = 0 if video is None else video.height
        return self._verifier.evidence(
            source, source_frames, target, os.fstat(target).st_size,
            height=min(height, limit) if limit is not None else height, on_position=self._show(source),
        )  # fmt: skip

    def _verbatim(self, source: Source, sha256: str, target: int, reason: str) -> _Made:
        """Make the original bytes the content of the part."""
        self._display.stage("copying")
        if self._files.copy(source.handle, target, self._stop) != sha256:
            raise SourceChanged("it changed while it was copied")
        check = f"sha256 {sha256} read back from the copy"
        return _Made(ArchiveKind.VERBATIM, reason, "", "", source.declared_frames, (check,), 0.0, 0.0)

    def _receipt(
        self, recording: Recording, source: Source, sha256: str, target: int, made: _Made, claimed_at: float
    ) -> Receipt:
        return Receipt(
            kind=made.kind,
            source=recording.fingerprint,
            source_sha256=sha256,
            archive=Fingerprint.of(os.fstat(target)),
            archive_sha256=self._files.sha256(target, self._stop),
            rung=made.rung,
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
        now_open, named = os.fstat(handle), self._files.status(Tree.SOURCE, recording.path)
        if named is None:
            raise SourceChanged("it was taken away during its transcode")
        same = Fingerprint.of(now_open) == recording.fingerprint == Fingerprint.of(named)
        if not same or now_open.st_ctime_ns != before.st_ctime_ns or writers(handle):
            raise SourceChanged("it was written to during its transcode")

    def _publish(
        self, recording: Recording, part: PurePosixPath, wanted: PurePosixPath, receipt: Receipt
    ) -> Recording:
        """Commit the name, give it, make it durable, commit the archive. A taken name leads to the next."""
        self._roots.verify(Tree.ARCHIVE)
        while True:
            final = self._files.free_name(Tree.ARCHIVE, wanted)
            recording = self._catalog.publishing(
                recording, final, receipt.archive_sha256, receipt.archive.size, receipt, self._clock()
            )
            try:
                self._files.publish(Tree.ARCHIVE, part, final)
            except FileExistsError:
                log.debug("%s: taken a moment ago", naming.printable(final))
                continue
            receipt = replace(receipt, committed_at=self._clock())
            archived = self._catalog.archived(recording, receipt, _told(receipt), self._clock())
            _log_archived(archived, receipt)
            return archived

    # -- archives that stand already ----------------------------------------------------------------------

    def _standing_archive(
        self, recording: Recording, source: Source, sha256: str
    ) -> tuple[PurePosixPath, str] | None:
        """An archive of this very content that stands under one of the source's names, and how it is known.

        That a file stands there says nothing: it is taken for this source's archive only if a receipt or its
        own metadata names this content, or its bytes or its sound are this source's, and it verifies.
        """
        wanted = naming.archive_path(recording.name, recording.path.name)
        number, candidate = 1, wanted
        while self._files.status(Tree.ARCHIVE, candidate) is not None:
            proof = self._proof(recording, candidate, source, sha256)
            if proof:
                return candidate, proof
            number += 1
            candidate = naming.numbered(wanted, number)
        return None

    def _proof(self, recording: Recording, archive: PurePosixPath, source: Source, sha256: str) -> str:
        """How it is known that an archive is this source's; empty where it is not."""
        try:
            with self._files.opened(Tree.ARCHIVE, archive) as handle:
                status = os.fstat(handle)
                if status.st_size == source.size and self._files.sha256(handle, self._stop) == sha256:
                    return "its bytes are the source's"
                owner = self._catalog.archive_owner(archive)
                if owner is not None and owner.receipt is not None and owner.receipt.source_sha256 != sha256:
                    return ""
                return self._proof_by_content(handle, status.st_size, source, sha256)
        except (OSError, TranscodeFailed) as error:
            log.warning(
                "%s: stands where the archive of %s belongs, and can't be compared: %s",
                naming.printable(archive), naming.printable(recording.path), error,
            )  # fmt: skip
            return ""

    def _proof_by_content(self, handle: int, size: int, source: Source, sha256: str) -> str:
        self._display.stage("comparing with the archive that stands")
        told = _told_source(probe(handle, stop=self._stop, limits=self._settings.limits).tags.get(TAG, ""))
        if told not in ("", sha256):
            return ""
        decoded = self._transcoder.decode(source.handle, encoded_audio=False, on_position=self._show(source))
        if decoded.error:
            return ""
        evidence = self._verifier.evidence(
            source, decoded.frames, handle, size, height=None, on_position=self._show(source)
        )
        if told == sha256:
            return "its metadata names this source, and it verifies" if agrees(evidence) else ""
        return "its frames and its sound are the source's" if proves_content(evidence) else ""

    def _adopt(
        self, recording: Recording, source: Source, sha256: str, standing: tuple[PurePosixPath, str]
    ) -> Recording:
        """Take an archive that stands, and is proven, for the archive of this recording."""
        archive, proof = standing
        self._files.sync_file(Tree.ARCHIVE, archive)
        with self._files.opened(Tree.ARCHIVE, archive) as handle:
            status, archive_sha256 = os.fstat(handle), self._files.sha256(handle, self._stop)
        now = self._clock()
        receipt = Receipt(
            kind=ArchiveKind.ADOPTED, source=recording.fingerprint, source_sha256=sha256,
            archive=Fingerprint.of(status), archive_sha256=archive_sha256, rung="", encoder="",
            reason=f"stood there already: {proof}", frames=source.declared_frames,
            duration_s=source.info.duration_s, checks=(proof,), claimed_at=now, encode_s=0.0, verify_s=0.0,
            committed_at=now,
        )  # fmt: skip
        adopted = self._catalog.adopted(recording, archive, receipt, now)
        _log_archived(adopted, receipt)
        return adopted

    def _retire(self, recording: Recording, old: PurePosixPath) -> None:
        """Move an archive that was made anew to the trash."""
        aside = self._files.set_aside(Tree.ARCHIVE, old, recording.job)
        place = self._files.trash(Tree.ARCHIVE, aside, old, recording.job, self._stop)
        log.info("%s: replaced; the old archive is in the trash as %s", naming.printable(old), naming.printable(place))

    # -- letting go of the source -------------------------------------------------------------------------

    def _let_go(self, recording: Recording, result: Result) -> Outcome:
        """Dispose of an archived recording's source and snapshots, if its archive stands and it is not protected."""
        receipt = recording.receipt
        assert receipt is not None, "an archived recording has its receipt"
        if self._is_protected(recording):
            self._catalog.hold(recording, "protected by its .keep file", self._clock(), self._clock())
            return self._outcome(recording, Result.KEPT if result is Result.DISPOSED else result, "source is protected")
        self._display.stage("letting go of the source")
        for tree in Tree:
            self._roots.verify(tree)
        if not self._archive_stands(recording, receipt):
            reason = f"its archive {naming.printable(recording.archive or '')} no longer stands as it was committed"
            log.warning("%s: %s; it is archived again", naming.printable(recording.path), reason)
            return self.process(self._catalog.wait(recording, reason, self._clock(), self._clock()))
        return self._dispose(recording, receipt, result)

    def _is_protected(self, recording: Recording) -> bool:
        keep = recording.path.with_name(naming.keep_name(recording.path.name))
        return self._files.status(Tree.SOURCE, keep) is not None

    def _archive_stands(self, recording: Recording, receipt: Receipt) -> bool:
        """Whether the archive is the file that was committed; where anything about it changed, by its SHA-256."""
        if recording.archive is None:
            return False
        status = self._files.status(Tree.ARCHIVE, recording.archive)
        if status is None or status.st_size != receipt.archive.size:
            return False
        if Fingerprint.of(status) == receipt.archive:
            return True
        with self._files.opened(Tree.ARCHIVE, recording.archive) as handle:
            return self._files.sha256(handle, self._stop) == receipt.archive_sha256

    def _dispose(self, recording: Recording, receipt: Receipt, result: Result) -> Outcome:
        aside = recording.path.with_name(naming.gone_name(recording.job))
        if self._files.status(Tree.SOURCE, aside) is None:
            named = self._files.status(Tree.SOURCE, recording.path)
            if named is None or Fingerprint.of(named) != receipt.source:
                return self._dispose_of_the_rest(recording, receipt, result, taken_away=named is None)
            aside = self._files.set_aside(Tree.SOURCE, recording.path, recording.job)
        try:
            doubt = self._doubt(aside, receipt)
            if not doubt:
                self._dispose_of_snapshots(recording)
                place = self._remove(aside, recording.path, recording.job)
                self._catalog.done(recording, place, _let_go_of(place), self._clock())
                return self._outcome(recording, result, receipt.reason)
        except BaseException:
            if self._files.status(Tree.SOURCE, aside) is not None:
                self._files.put_back(Tree.SOURCE, aside, recording.path)
            raise
        back = self._files.put_back(Tree.SOURCE, aside, recording.path)
        self._catalog.done(recording, None, f"{doubt}; the new content is a recording of its own", self._clock())
        log.warning("%s: %s; it stays, as %s", naming.printable(recording.path), doubt, naming.printable(back))
        return self._outcome(recording, result, f"{doubt}; what stands there now is a recording of its own")

    def _dispose_of_the_rest(
        self, recording: Recording, receipt: Receipt, result: Result, *, taken_away: bool
    ) -> Outcome:
        """The source is not under its name any more: finish what a disposal that was cut short left to do."""
        if not taken_away:
            reason = "another upload has taken the source's name; that is a recording of its own"
            self._catalog.done(recording, None, reason, self._clock())
            return self._outcome(recording, result, reason)
        self._dispose_of_snapshots(recording)
        place = self._place_in_trash(recording.path, receipt)
        self._catalog.done(recording, place, "its source was gone already", self._clock())
        return self._outcome(recording, result, receipt.reason)

    def _doubt(self, aside: PurePosixPath, receipt: Receipt) -> str:
        """Why a source that was set aside may not go: it is not, or no longer, what the archive was made of."""
        with self._files.opened(Tree.SOURCE, aside) as handle:
            if Fingerprint.of(os.fstat(handle)) != receipt.source:
                return "the source changed after it was archived"
            if writers(handle):
                return "somebody has the source open for writing"
            if self._files.sha256(handle, self._stop) != receipt.source_sha256:
                return "the source's content changed after it was archived"
        return ""

    def _dispose_of_snapshots(self, recording: Recording) -> None:
        for number, snapshot in enumerate(recording.snapshots):
            if snapshot.disposed:
                continue
            job = snapshot_job(recording.job, number)
            aside = snapshot.path.with_name(naming.gone_name(job))
            if self._files.status(Tree.SOURCE, aside) is None:
                status = self._files.status(Tree.SOURCE, snapshot.path)
                if status is None or Fingerprint.of(status) != snapshot.fingerprint:
                    continue
                aside = self._files.set_aside(Tree.SOURCE, snapshot.path, job)
            self._catalog.snapshot_disposed(snapshot, self._remove(aside, snapshot.path, job))

    def _remove(self, aside: PurePosixPath, origin: PurePosixPath, job: str) -> PurePosixPath | None:
        """Trash or delete a file that was set aside; its place in the trash, or None."""
        if self._settings.delete:
            self._files.delete(Tree.SOURCE, aside)
            return None
        return self._files.trash(Tree.SOURCE, aside, origin, job, self._stop)

    def _place_in_trash(self, path: PurePosixPath, receipt: Receipt) -> PurePosixPath | None:
        """Where a source went that was moved to the trash before that could be committed."""
        candidate, number = path, 1
        while (status := self._files.status(Tree.TRASH, candidate)) is not None:
            if Fingerprint.of(status) == receipt.source:
                return candidate
            number += 1
            candidate = naming.numbered(path, number)
        return None

    # -- what can go wrong --------------------------------------------------------------------------------

    def _after_failure(self, claimed: Recording, error: JobError | OSError) -> Outcome:
        """Put a recording where its own fault leaves it. The source is untouched in every case."""
        recording, now = self._catalog.reload(claimed), self._clock()
        reason = _words(error)
        if recording.state is State.ARCHIVED:
            log.error("%s: archived, but its source can't be let go of: %s", naming.printable(recording.path), reason)
            self._catalog.hold(recording, reason, now + 60, now)
            return self._outcome(recording, Result.FAILED, f"archived, but its source stays: {reason}")
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not self._source_is_there(recording):
            self._catalog.gone(recording, "the source is not there any more", now)
            return self._outcome(recording, Result.GONE, "the source is not there any more")
        if isinstance(error, SourceChanged):
            log.info("%s: %s; it waits to be looked at again", naming.printable(recording.path), reason)
            self._catalog.wait(recording, reason, now + self._settings.patience.settle_s, now)
            return self._outcome(recording, Result.WAITING, reason)
        if isinstance(error, SourceInvalid):
            return self._quarantine(recording, reason)
        match after_failure(recording.attempts + 1, self._settings.attempts, random.random()):  # noqa: S311  (jitter)
            case Quarantine():
                return self._quarantine(recording, f"{reason} (after {recording.attempts + 1} attempts)")
            case Retry(for_s):
                log.warning("%s: %s; tried again later", naming.printable(recording.path), reason)
                self._catalog.wait(recording, reason, now + for_s, now, failed=True)
                return self._outcome(recording, Result.FAILED, reason)

    def _source_is_there(self, recording: Recording) -> bool:
        return self._files.status(Tree.SOURCE, recording.path) is not None

    def _quarantine(self, recording: Recording, reason: str) -> Outcome:
        log.warning("%s: quarantined, it stays where it is: %s", naming.printable(recording.path), reason)
        self._catalog.quarantine(recording, reason, self._clock())
        return self._outcome(recording, Result.QUARANTINED, reason)

    def _release(self, claimed: Recording, error: ResourceError | Interrupted) -> None:
        """Let a recording go that is not to blame: back to waiting, with nothing counted against it.

        One that is being published stays so: the next start sees what stands, and goes on from there.
        """
        try:
            recording, now = self._catalog.reload(claimed), self._clock()
            reason = "stopped, as asked" if isinstance(error, Interrupted) else f"paused: {error.message}"
            if recording.state is State.ACTIVE:
                self._catalog.wait(recording, reason, now, now)
            elif recording.state is State.ARCHIVED:
                self._catalog.hold(recording, reason, now, now)
        except ResourceError as second:
            log.warning("%s: stays claimed until the next start: %s", naming.printable(claimed.path), second)

    def _outcome(self, recording: Recording, result: Result, reason: str) -> Outcome:
        archive_size = 0
        if result in (Result.TRANSCODED, Result.VERBATIM, Result.ADOPTED):
            archive_size = recording.archive_size
        return Outcome(recording.path, result, reason, recording.fingerprint.size, archive_size)

    def _show(self, source: Source) -> Callable[[Position], None]:
        total = source.info.duration_s

        def show(position: Position) -> None:
            self._display.update(min(1.0, position.out_time_s / total) if total > 0 else 0.0, position.speed)

        return show


def _tag(recording: Recording, sha256: str) -> str:
    """The receipt's essentials, for the archive's own metadata: enough to know it again without a catalog."""
    essentials = {
        "v": 1,
        "source": os.fspath(recording.path),
        "sha256": sha256,
        "size": recording.fingerprint.size,
        "mtime_ns": recording.fingerprint.mtime_ns,
    }
    return json.dumps(essentials, ensure_ascii=True)


def _told_source(tag: str) -> str:
    """The SHA-256 of the source that an archive's metadata names; empty where it names none."""
    try:
        values = json.loads(tag)
        return str(values["sha256"])
    except (ValueError, KeyError, TypeError):
        return ""


def _encoder(evidence: Evidence) -> str:
    video = evidence.output.video
    return f"{video.codec if video else ''} ({evidence.output.tags.get('encoder', 'ffmpeg')})"


def _told(receipt: Receipt) -> str:
    if receipt.kind is ArchiveKind.VERBATIM:
        return f"the original bytes: {receipt.reason}"
    return f"transcoded by {receipt.rung}, {receipt.frames} frames"


def _let_go_of(place: PurePosixPath | None) -> str:
    return "source deleted" if place is None else "source moved to the trash"


def _log_archived(recording: Recording, receipt: Receipt) -> None:
    log.info(
        "%s: archived as %s (%s): %d of %d bytes%s",
        naming.printable(recording.path), naming.printable(recording.archive or ""), receipt.kind,
        receipt.archive.size, receipt.source.size, f"; {receipt.reason}" if receipt.reason else "",
    )  # fmt: skip


def _words(error: JobError | OSError) -> str:
    if isinstance(error, JobError):
        return str(error)
    if error.errno == errno.ELOOP:
        return "a symlink stands in its place"
    return f"{naming.printable(str(error.filename))}: {error.strerror}" if error.filename else str(error.strerror or error)
