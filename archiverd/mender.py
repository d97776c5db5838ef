"""Mender: what `check --repair` does about findings. It removes nothing but parts, and changes no archive."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import assert_never

from archiverd.errors import JobError
from archiverd.policy import naming
from archiverd.policy.checking import Finding, Mend, Mended
from archiverd.policy.model import Place, Recording, State, Tree
from archiverd.policy.stop import StopToken
from archiverd.storage.catalog import SOURCE_ROOT, Catalog, ClaimLostError
from archiverd.storage.file_manager import FileManager

log = logging.getLogger(__name__)


class Mender:
    """Mends under the locks of all three roots, which whoever makes it holds."""

    def __init__(
        self, catalog: Catalog, files: FileManager, rebuild: Callable[[], object], recover: Callable[[], object],
        stop: StopToken, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._files = files
        self._rebuild = rebuild
        self._recover = recover
        self._stop = stop
        self._clock = clock

    def mend(self, findings: Iterable[Finding]) -> dict[Finding, Mended]:
        """Mend what can be, and say what became of it.

        Entering comes first: what it puts back and enters, the clearing away of traces then knows.
        """
        order = list(Mend)
        wanted = sorted(findings, key=lambda finding: order.index(finding.mend))
        kinds = {finding.mend for finding in wanted}
        if Mend.ENTER in kinds:
            self._rebuild()
        if Mend.RECOVER in kinds:
            self._recover()
        done = {}
        for finding in wanted:
            self._stop.check()
            mended = self._tried(finding)
            if mended is not None:
                done[finding] = mended
                log.info("%s: %s: %s", naming.printable(finding.path or ""), finding.what, mended.words)
        return done

    def _tried(self, finding: Finding) -> Mended | None:
        try:
            return self._one(finding)
        except (OSError, JobError, ClaimLostError) as error:
            return Mended(f"could not be mended: {error}", holds=False)

    def _one(self, finding: Finding) -> Mended | None:
        match finding.mend:
            case Mend.NOTHING | Mend.RENEW:
                return None
            case Mend.RECOVER:
                return self._told_of_trace(finding)
            case Mend.ENTER:
                return self._told_of_entry(finding)
            case Mend.RESTORE:
                return self._restore(self._recording(finding))
            case Mend.HASH:
                self._catalog.note_hash(self._recording(finding), finding.value)
                return Mended("noted")
            case Mend.ACCEPT:
                self._catalog.correct(SOURCE_ROOT, finding.value)
                return Mended("taken for the source root from now on")
            case unreachable:
                assert_never(unreachable)

    def _recording(self, finding: Finding) -> Recording:
        assert finding.recording is not None, "a finding of this kind is about a recording"
        return self._catalog.by_id(finding.recording)

    def _told_of_trace(self, finding: Finding) -> Mended:
        if finding.recording is not None:
            return Mended(f"it is {self._recording(finding).state} now")
        if not self._is_gone(finding):
            return Mended("still there: the log says why", holds=False)
        is_aside = finding.path is not None and naming.parse_gone_name(finding.path.name) is not None
        return Mended("what it held has its names back" if is_aside else "removed")

    def _told_of_entry(self, finding: Finding) -> Mended:
        if self._is_gone(finding):
            return Mended("its archive told its name, and it was put back")
        assert finding.path is not None, "what is entered has a name"
        if self._is_entered(finding.path, of_archive=finding.tree is Tree.ARCHIVE):
            return Mended("entered into the catalog")
        return Mended("left as it is: the next run may know more", holds=False)

    def _is_entered(self, path: PurePosixPath, *, of_archive: bool) -> bool:
        rows = self._catalog.at_path(path)
        if of_archive:
            return any(row.archive == path for row in rows if row.state is not State.REMOVED)
        lies = self._catalog.trash_at(path)
        is_archive = lies is not None and lies.origin.tree is Tree.ARCHIVE
        return is_archive or any(row.disposed_to == path for row in rows)

    def _is_gone(self, finding: Finding) -> bool:
        assert finding.tree is not None, "what was found stands in a tree"
        assert finding.path is not None, "under a name"
        return self._files.status(finding.tree, finding.path) is None

    def _restore(self, recording: Recording) -> Mended:
        """Take a source back from the trash. Its row is closed first: a death then leaves it there, known to no row."""
        assert recording.disposed_to is not None, "what is taken back lies in the trash"
        reason = "no archive of it stood; its source was taken back from the trash, to be archived again"
        lies = recording.disposed_to
        self._catalog.taken_back(recording, reason, self._clock())
        place = self._files.move(
            Place(Tree.TRASH, lies),
            Place(Tree.SOURCE, recording.path),
            secrets.token_hex(6),
            self._stop,
        )
        return Mended(f"its source stands again as {naming.printable(place)}: the next run archives it")
