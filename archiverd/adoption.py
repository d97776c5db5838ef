"""Archives that stand already: whether one is, beyond doubt, the archive of a source."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import PurePosixPath

from archiverd.errors import TranscodeFailed, VerificationFailed
from archiverd.media.probe import probe
from archiverd.media.source import Source
from archiverd.policy import naming
from archiverd.policy.model import ArchiveKind, ClipName, Fingerprint, Place, Receipt, Recording, Trashed, Tree
from archiverd.policy.told import TAG, parse_told
from archiverd.policy.verdict import agrees
from archiverd.workbench import Workbench

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """An archive that is proven: where it stands, how it is known, and which file exactly was looked at."""

    path: PurePosixPath
    proof: str
    fingerprint: Fingerprint
    sha256: str


class StandingArchives:
    """Finds and adopts them. That a file stands under the right name says nothing."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def find(
        self, recording: Recording, source: Source, sha256: str, distrusted: PurePosixPath | None
    ) -> Standing | None:
        """An archive of this very content that stands under one of the source's names.

        Only two things are proof: that its bytes are the source's, in a file of its own; or that its metadata
        names the source's SHA-256, and it verifies against the source. `distrusted` has failed its receipt.
        """
        for candidate in self._candidates(recording):
            standing = None if candidate == distrusted else self._proof(recording, candidate, source, sha256)
            if standing is not None:
                return standing
        return None

    def _candidates(self, recording: Recording) -> list[PurePosixPath]:
        """What stands in the archive for this camera and second, whatever its number: gaps prove nothing."""
        wanted = naming.archive_path(recording.name, recording.path.name)
        directory, name_there = wanted.parent, naming.parse_clip_name(wanted.name)
        assert isinstance(name_there, ClipName), "every archive has a canonical name"
        found = []
        for name in self._bench.files.names(Tree.ARCHIVE, directory):
            clip = naming.parse_clip_name(name)
            if not isinstance(clip, ClipName) or naming.is_snapshot_name(name):
                continue
            if (clip.camera, clip.taken_at) == (name_there.camera, name_there.taken_at):
                found.append(directory / name)
        return found

    def _proof(self, recording: Recording, archive: PurePosixPath, source: Source, sha256: str) -> Standing | None:
        """The proof that an archive is this source's; None where there is none."""
        try:
            with self._bench.files.opened(Tree.ARCHIVE, archive) as handle:
                status = os.fstat(handle)
                if os.path.samestat(status, os.fstat(source.handle)):
                    log.warning("%s: is the source itself, and no archive of it", naming.printable(archive))
                    return None
                theirs = self._bench.files.sha256(handle, self._bench.stop)
                words = "its bytes are the source's"
                if theirs != sha256:
                    words = self._proof_by_name(handle, status.st_size, source, sha256)
                return Standing(archive, words, Fingerprint.of(status), theirs) if words else None
        except (OSError, TranscodeFailed) as error:
            log.warning(
                "%s: stands where the archive of %s belongs, and can't be compared: %s",
                naming.printable(archive), naming.printable(recording.path), error,
            )  # fmt: skip
            return None

    def _proof_by_name(self, handle: int, size: int, source: Source, sha256: str) -> str:
        tags = probe(handle, stop=self._bench.stop, limits=self._bench.settings.limits).tags
        told = parse_told(tags.get(TAG, ""), self._bench.roots.nonce(Tree.ARCHIVE))
        if told is None or told.sha256 != sha256:
            return ""
        self._bench.display.stage("comparing with the archive that stands")
        show = self._bench.show(source)
        decoded = self._bench.transcoder.decode(source.handle, encoded_audio=False, on_position=show)
        if decoded.error:
            return ""
        evidence = self._bench.verifier.evidence(
            source, decoded.frames, handle, size, height=self._bench.height(source), on_position=show
        )
        return "its metadata names this source, and it verifies" if agrees(evidence) else ""

    def adopt(self, recording: Recording, source: Source, sha256: str, standing: Standing) -> Recording:
        """Take an archive that stands, and is proven, for the archive of this recording.

        Raises: VerificationFailed where another file stands there by now.
        """
        self._bench.files.sync_file(Tree.ARCHIVE, standing.path)
        status = self._bench.files.status(Tree.ARCHIVE, standing.path)
        if status is None or Fingerprint.of(status) != standing.fingerprint:
            raise VerificationFailed("the archive that stood there is not the one that was proven any more")
        now = self._bench.clock()
        receipt = Receipt(
            kind=ArchiveKind.ADOPTED, source=recording.fingerprint, source_sha256=sha256,
            archive=standing.fingerprint, archive_sha256=standing.sha256, rung="", encoder="",
            reason=f"stood there already: {standing.proof}", frames=source.declared_frames,
            duration_s=source.info.duration_s, checks=(standing.proof,), claimed_at=now, encode_s=0.0, verify_s=0.0,
            committed_at=now,
        )  # fmt: skip
        return self._bench.catalog.adopted(recording, standing.path, receipt, now)

    def retire(self, recording: Recording, old: PurePosixPath) -> None:
        """Move an archive that was made anew to the trash. One rename: no death leaves it between two names."""
        status = self._bench.files.status(Tree.ARCHIVE, old)
        place = self._bench.files.trash(Tree.ARCHIVE, old, old, recording.job, self._bench.stop)
        now = self._bench.clock()
        if status is not None:
            camera, reason = recording.name.camera, "another archive was made in its place, as asked"
            one = Trashed(place, Fingerprint.of(status), camera, Place(Tree.ARCHIVE, old), reason, now, recording.id)
            self._bench.catalog.trashed(one, now)
        log.info("%s: replaced; the old archive is in the trash as %s", naming.printable(old), naming.printable(place))
