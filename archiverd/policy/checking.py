"""Whether what stands on the disk is what archiverd promised: pure, from what was seen to findings.

The invariants I1 to I7 are those of docs/design/invariants.md. A finding says what is wrong, where, what to do, and
whether `check --repair` can mend it without touching any evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from archiverd.policy.model import ArchiveKind, Receipt, Recording, State, Tree


class Level(StrEnum):
    """How far a check looks."""

    QUICK = "quick"  # names and sizes
    NORMAL = "normal"  # and the boxes of every archive, and what it says of its source
    FULL = "full"  # and every byte: SHA-256, and a strict decode


class Severity(StrEnum):
    """How bad a finding is, worst first."""

    LOST = "lost"  # evidence that cannot be brought back from here
    BROKEN = "broken"  # a promise does not hold
    DOUBT = "doubt"  # it could not be seen whether it holds
    NOTE = "note"  # nothing is wrong, and somebody may want to know

    @property
    def is_trouble(self) -> bool:
        """Whether somebody should look."""
        return self is not Severity.NOTE


class Mend(StrEnum):
    """What `--repair` does about a finding."""

    NOTHING = "nothing"  # the owner has to decide
    RENEW = "renew"  # the catalog is set aside and made anew
    RECOVER = "recover"  # traces of jobs are cleared away, as each start does
    ENTER = "enter"  # what stands in the trees is entered into the catalog
    RESTORE = "restore"  # a source is taken back from the trash, to be archived again
    HASH = "hash"  # the SHA-256 of an archive is noted
    ACCEPT = "accept"  # the source root that is there is taken for the right one


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a check found. `tree` and `path` say where; both None for what concerns the whole."""

    severity: Severity
    invariant: str  # "I1", …
    what: str
    tree: Tree | None = None
    path: PurePosixPath | None = None
    advice: str = ""
    mend: Mend = Mend.NOTHING
    recording: int | None = None  # its id in the catalog


@dataclass(frozen=True, slots=True)
class Standing:
    """A file that was looked at, as far as the level asks. What was not looked at is None."""

    regular: bool
    size: int = 0  # bytes
    mtime_ns: int = 0
    fault: str | None = None  # of its box walk, "" when clean
    told_sha256: str | None = None  # the source its metadata names, "" for none
    sha256: str | None = None
    decode_error: str | None = None  # of a strict decode, "" when clean
    frames: int | None = None  # that decoded


@dataclass(frozen=True, slots=True)
class Seen:
    """What stands on the disk of one recording."""

    archive: Standing | None
    source_stands: bool  # under its own name, of its size and time
    trashed_stands: bool  # where the catalog says it went


def judge(recording: Recording, seen: Seen) -> tuple[Finding, ...]:
    """Hold one recording against what stands of it; what is not archived yet promises nothing."""
    match recording.state:
        case State.ARCHIVED | State.DONE:
            found = list(_judge_archived(recording, seen))
        case State.GONE if recording.disposed_to is not None and seen.trashed_stands:
            found = [_alone_in_trash(recording)]
        case State.ACTIVE | State.PUBLISHING:
            words = "a job holds it: at work now, or left by a process that died, and then the next start mends it"
            found = [_of_source(recording, Severity.NOTE, "I7", words, mend=Mend.RECOVER)]
        case _:
            found = []
    return tuple(found)


def _judge_archived(recording: Recording, seen: Seen) -> Iterator[Finding]:
    receipt, archive = recording.receipt, seen.archive
    if receipt is None or recording.archive is None:
        yield _of_source(recording, Severity.BROKEN, "I1", "counts as archived, and no receipt says where")
        return
    if archive is None:
        yield _archive_gone(recording, seen)
        return
    wrong = _wrong_with(archive, receipt)
    if wrong is not None:
        yield _of_archive(recording, Severity.BROKEN, *wrong, advice=_copy_of(recording, seen))
        return
    if archive.mtime_ns != receipt.archive.mtime_ns and archive.sha256 is None:
        words = "was written to, or given another time, since it was committed"
        yield _of_archive(
            recording, Severity.DOUBT, "I1", words, advice="`archiverd check --full` compares its content"
        )
    if not receipt.archive_sha256 and archive.sha256 is not None:
        words = "its SHA-256 is not in the catalog, which was made anew"
        yield _of_archive(recording, Severity.NOTE, "I4", words, mend=Mend.HASH)


def _wrong_with(archive: Standing, receipt: Receipt) -> tuple[str, str] | None:
    """The first thing wrong with an archive that stands, and the invariant; None where nothing is."""
    if not archive.regular:
        return "I5", "is no regular file any more"
    if archive.size != receipt.archive.size:
        return "I1", f"holds {archive.size} bytes, and was committed with {receipt.archive.size}"
    if archive.fault:
        return "I2", f"is not whole: {archive.fault}"
    if archive.told_sha256 is not None and receipt.kind is ArchiveKind.TRANSCODED:
        told = archive.told_sha256 or "none"
        if told != receipt.source_sha256:
            return "I1", f"names another source: {told}, and its receipt {receipt.source_sha256}"
    if archive.sha256 is not None and receipt.archive_sha256 not in ("", archive.sha256):
        return (
            "I1",
            f"its bytes have changed: SHA-256 {archive.sha256}, and was committed with {receipt.archive_sha256}",
        )
    if archive.decode_error and not _may_be_original(receipt):
        return "I2", f"does not decode: {archive.decode_error}"
    if archive.frames is not None and archive.frames != receipt.frames and not _may_be_original(receipt):
        return "I2", f"decodes to {archive.frames} frames, and was committed with {receipt.frames}"
    return None


def _may_be_original(receipt: Receipt) -> bool:
    """Whether the archive holds the original bytes, which may well not decode: that is why they were kept."""
    match receipt.kind:
        case ArchiveKind.TRANSCODED:
            return False
        case ArchiveKind.VERBATIM:
            return True
        case ArchiveKind.ADOPTED:
            return receipt.archive_sha256 == receipt.source_sha256
        case ArchiveKind.REBUILT:
            return not receipt.source_sha256


def _archive_gone(recording: Recording, seen: Seen) -> Finding:
    if seen.source_stands:
        words = "is not there; its source stands, and the next run archives it again"
        return _of_archive(recording, Severity.DOUBT, "I1", words)
    if seen.trashed_stands:
        words = f"is not there; its source lies in the trash as {recording.disposed_to}"
        return _of_archive(recording, Severity.BROKEN, "I1", words, mend=Mend.RESTORE)
    return _of_archive(
        recording, Severity.LOST, "I1", "is not there, and neither is its source",
        advice="Look in backups, and for a disk that is not mounted",
    )  # fmt: skip


def _copy_of(recording: Recording, seen: Seen) -> str:
    """Where the evidence still is, when an archive is broken."""
    if seen.source_stands:
        return "Its source stands: move the archive away, and the next run archives it again"
    if seen.trashed_stands:
        return f"Its source lies in the trash as {recording.disposed_to}: keep that"
    return "Its source is not there any more: look in backups"


def _alone_in_trash(recording: Recording) -> Finding:
    return Finding(
        Severity.BROKEN, "I1", "lies in the trash, and no archive of it is known", Tree.TRASH, recording.disposed_to,
        mend=Mend.RESTORE, recording=recording.id,
    )  # fmt: skip


def _of_archive(
    recording: Recording, severity: Severity, invariant: str, what: str, *, advice: str = "", mend: Mend = Mend.NOTHING
) -> Finding:
    return Finding(severity, invariant, what, Tree.ARCHIVE, recording.archive, advice, mend, recording.id)


def _of_source(
    recording: Recording, severity: Severity, invariant: str, what: str, *, mend: Mend = Mend.NOTHING
) -> Finding:
    return Finding(severity, invariant, what, Tree.SOURCE, recording.path, mend=mend, recording=recording.id)


def judge_unknown(tree: Tree, path: PurePosixPath, standing: Standing) -> Finding:
    """Hold a clip that no recording knows against what may stand in its tree."""
    if standing.fault:
        return Finding(
            Severity.BROKEN, "I2", f"no recording knows it, and it is not whole: {standing.fault}", tree, path,
            advice="Is it a copy of yours that was cut short? archiverd leaves it alone",
        )  # fmt: skip
    if standing.decode_error:
        words = f"no recording knows it, and it does not decode: {standing.decode_error}"
        return Finding(Severity.DOUBT, "I2", words, tree, path, mend=Mend.ENTER)
    return Finding(Severity.DOUBT, "I4", "no recording knows it", tree, path, mend=Mend.ENTER)


def judge_shared(recordings: Iterable[Recording]) -> tuple[Finding, ...]:
    """One archive is of one content: two receipts that say otherwise can't both be true."""
    contents: dict[PurePosixPath, set[str]] = {}
    for recording in recordings:
        receipt = recording.receipt
        if recording.archive is not None and receipt is not None and receipt.source_sha256:
            contents.setdefault(recording.archive, set()).add(receipt.source_sha256)
    return tuple(
        Finding(
            Severity.BROKEN, "I3", f"stands for {len(sources)} sources of different content", Tree.ARCHIVE, archive,
            advice="`archiverd why` names them: compare them with what lies in the trash",
        )
        for archive, sources in sorted(contents.items())
        if len(sources) > 1
    )  # fmt: skip


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """In the order they are read."""
    order = list(Severity)
    return tuple(sorted(findings, key=lambda f: (order.index(f.severity), f.tree or "", f.path or PurePosixPath())))


def counted(findings: Iterable[Finding]) -> dict[Severity, int]:
    """How many there are of each severity, worst first, the empty ones too."""
    counts = Counter(finding.severity for finding in findings)
    return {severity: counts[severity] for severity in Severity}
