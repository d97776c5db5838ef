"""ArchiveMaker: fills a part with what is to become the archive, and can say why it may.

A clip goes down the ladder: the first rung whose output is proven makes its archive. A failure is looked at before it
is called one: where the source itself does not decode strictly the rung is not to blame, and the original bytes become
the archive, as they do where no rung takes the clip at all.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace

from archiverd.errors import (
    DeviceError,
    JobError,
    ResourceError,
    SourceChanged,
    StuckError,
    TranscodeFailed,
    VerificationFailed,
)
from archiverd.media.source import Source
from archiverd.media.transcoder import Decoded, Transcoded
from archiverd.policy import naming
from archiverd.policy.falling import Fall
from archiverd.policy.model import ArchiveKind, Recording, Tree
from archiverd.policy.rungs import Engine
from archiverd.policy.told import TAG, Told, tell
from archiverd.policy.verdict import Evidence, Ruling, grown, source_frames, verdict
from archiverd.workbench import Workbench

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Made:
    """The content of a finished part, and how it came to be."""

    kind: ArchiveKind
    reason: str
    frames: int
    checks: tuple[str, ...]
    rung: str = ""
    device: str = ""
    encoder: str = ""
    encode_s: float = 0.0
    verify_s: float = 0.0
    falls: tuple[str, ...] = ()  # the rungs that did not make it, each with why


class ArchiveMaker:
    """Makes one archive at a time, for the thread that transcodes."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def make(self, recording: Recording, source: Source, sha256: str, target: int) -> Made:
        """Fill the open, empty file `target`.

        Raises: TranscodeFailed, VerificationFailed of the last rung, where every rung failed on a sound source;
        SourceChanged; NoSpaceError, ResourceError, DeviceError; Interrupted.
        """
        if source.selection.whole_only:
            return self._verbatim(source, sha256, target, source.selection.whole_only)
        descent = _Descent(self._bench, recording, source, sha256)
        made = descent.go(target)
        if isinstance(made, str):
            made = self._verbatim(source, sha256, target, made)
        return replace(made, falls=descent.falls)

    def _verbatim(self, source: Source, sha256: str, target: int, reason: str) -> Made:
        """Make the original bytes the content of the part."""
        self._bench.display.stage("copying")
        self._bench.see_room(source.size, held=os.fstat(target).st_blocks * 512)
        if self._bench.files.copy(source.handle, target, self._bench.stop) != sha256:
            raise SourceChanged("it changed while it was copied")
        return Made(
            ArchiveKind.VERBATIM, reason, source.declared_frames, (f"sha256 {sha256} read back from the copy",)
        )  # fmt: skip


class _Descent:
    """One clip's way down the ladder."""

    def __init__(self, bench: Workbench, recording: Recording, source: Source, sha256: str) -> None:
        self._bench = bench
        self._recording = recording
        self._source = source
        self._sha256 = sha256
        self._decoded: Decoded | None = None  # the source, strictly, where that had to be asked apart
        self._falls: list[Fall] = []

    @property
    def falls(self) -> tuple[str, ...]:
        """The rungs that were to make it and did not, each with why."""
        return tuple(str(fall) for fall in self._falls if fall.here)

    def go(self, target: int) -> Made | str:
        """A proven transcode; or why the original bytes are to be the archive."""
        ladder, info = self._bench.ladder, self._source.info
        failed = None
        for rung in ladder.rungs:
            step = ladder.step(rung, info)
            if isinstance(step, Fall):
                self._fall(step, logging.INFO)
                continue
            try:
                made = self._on(step, target)
            except (TranscodeFailed, VerificationFailed) as error:
                fault = self._fault_of_source()
                if fault:
                    return fault
                if step.rung.on_device:
                    self._fall(ladder.failed(step, info, error), logging.WARNING)
                else:
                    self._fall(Fall(rung, error.message), logging.DEBUG)
                    failed = error
            else:
                if isinstance(made, Made):
                    ladder.worked(step, info)
                return made
        if failed is not None:
            raise failed if len(self.falls) == 1 else type(failed)("; ".join(self.falls))
        return self._without_a_rung()

    def _fall(self, fall: Fall, level: int) -> None:
        self._falls.append(fall)
        if fall.here:
            path = naming.printable(self._recording.path)
            log.log(level, "%s: falls from %s", path, fall, extra={"rung": fall.rung})

    def _on(self, engine: Engine, target: int) -> Made | str:
        """The same of one rung. Raises: TranscodeFailed, VerificationFailed."""
        bench, source = self._bench, self._source
        bench.display.stage("transcoding")
        transcoded = self._transcode(engine, target)
        if transcoded.grown_to is not None:
            return self._by(engine, grown(transcoded.grown_to, source.size))
        frames = transcoded.frames
        # Frames that are missing may be the source's, or may be left out by a device.
        if not engine.rung.decodes_strictly or (engine.rung.on_device and frames != source.declared_frames):
            fault = self._fault_of_source()
            if fault:
                return fault
            frames = self._decoded_source().frames
        bench.display.stage("verifying")
        began = bench.clock()
        try:
            evidence = self._evidence(engine, frames, target)
        except TranscodeFailed as failure:
            if failure.killed:
                raise JobError(f"its proof did not come to an end: {failure.message}") from failure
            raise
        ruled = verdict(evidence)
        if ruled.ruling is Ruling.REJECT:
            raise VerificationFailed(f"the output is not proven: {ruled.reason}")
        if ruled.ruling is Ruling.VERBATIM:
            return self._by(engine, ruled.reason)
        return Made(
            ArchiveKind.TRANSCODED, "", evidence.output_frames, tuple(map(str, ruled.checks)), engine.rung,
            engine.device, _encoder(evidence), transcoded.elapsed_s, bench.clock() - began,
        )  # fmt: skip

    def _transcode(self, engine: Engine, target: int) -> Transcoded:
        bench = self._bench
        try:
            return bench.transcoder.transcode(
                self._source, target, engine, {TAG: self._tag()}, bench.show(self._source)
            )  # fmt: skip
        except StuckError as error:
            if not engine.rung.on_device:
                raise
            # The program may wake, and write on: nothing else is to be written into its part.
            bench.ladder.stuck(engine.device, error.message, error.advice)
            raise DeviceError(f"{engine.device} hangs: {error.message}", advice=error.advice) from error

    def _tag(self) -> str:
        """What the archive is to say of its source."""
        mark = self._recording.fingerprint
        told = Told(self._recording.path, self._sha256, mark.size, mark.mtime_ns)
        return tell(told, self._bench.roots.nonce(Tree.ARCHIVE))

    def _evidence(self, engine: Engine, frames: int, target: int) -> Evidence:
        return self._bench.verifier.evidence(
            self._source, frames, target, os.fstat(target).st_size,
            height=self._bench.height(self._source), on_position=self._bench.show(self._source),
            compare_pictures=engine.rung.on_device,
        )  # fmt: skip

    def _decoded_source(self) -> Decoded:
        """The strict decode of the source, once. Raises: JobError where it says nothing of the source."""
        if self._decoded is None:
            self._bench.display.stage("examining the source")
            try:
                self._decoded = self._bench.transcoder.decode(
                    self._source.handle,
                    encoded_audio=bool(self._source.selection.encoded_audio),
                    on_position=self._bench.show(self._source),
                )
            except TranscodeFailed as failure:
                raise JobError(failure.message) from failure
        return self._decoded

    def _fault_of_source(self) -> str:
        """Why the source itself is to blame for a failure; empty where it is sound."""
        decoded = self._decoded_source()
        if decoded.error:
            return f"it does not decode strictly: {decoded.error}"
        check = source_frames(decoded.frames, self._source.declared_frames)
        return "" if check.holds else str(check)

    def _by(self, engine: Engine, reason: str) -> str:
        return f"{reason} (tried by {engine.rung} on {engine.device})" if engine.rung.on_device else reason

    def _without_a_rung(self) -> str:
        """Why the original bytes are to be the archive: no rung takes such a clip, whenever it is asked.

        Raises: DeviceError where one would, but not now; ResourceError where nothing else is left for any clip.
        """
        words = "; ".join(map(str, self._falls))
        if all(fall.for_good for fall in self._falls):
            return f"nothing that is allowed encodes it: {words}"
        advice = '`archiverd probe` tells more; hardware = "auto" would encode in software meanwhile'
        if self._bench.ladder.has_footing:
            raise DeviceError(f"nothing that is allowed encodes it now: {words}", advice=advice)
        raise ResourceError(f"nothing that is allowed encodes now: {words}", advice=advice)


def _encoder(evidence: Evidence) -> str:
    video = evidence.output.video
    return (video.encoder or video.codec) if video else ""
