"""Whether what stands on the disk is what archiverd promised: pure, from what was seen to findings.

The invariants I1 to I7 are those of docs/design/invariants.md. A finding says what is wrong, where, what to do, and
whether `check --repair` can mend it without touching any evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import PurePosixPath
from typing import assert_never

from archiverd.policy.model import ArchiveKind, Receipt, Recording, Snapshot, State, Tree
from archiverd.policy.told import Told


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
    ENTER = "enter"  # what stands in the trees is entered into the catalog
    RECOVER = "recover"  # traces of jobs are cleared away, as each start does
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
    value: str = ""  # what HASH notes, and ACCEPT


@dataclass(frozen=True, slots=True)
class Mended:
    """What became of a finding that was to be mended."""

    words: str
    holds: bool = True  # nothing is wrong there any more


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found, and how much was looked at."""

    findings: tuple[Finding, ...]
    recordings: int
    archives: int
    archive_bytes: int
    in_trash: int


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The whole of a check: what was found, worst first, what was looked at, and what became of the findings."""

    level: Level
    findings: tuple[Finding, ...]
    checked: Checked
    mended: Mapping[Finding, Mended] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """1 while somebody should look at a finding."""
        return 1 if any(finding.severity.is_trouble for finding in self.left()) else 0

    def left(self) -> tuple[Finding, ...]:
        """The findings that were not mended."""
        return tuple(f for f in self.findings if f not in self.mended or not self.mended[f].holds)


@dataclass(frozen=True, slots=True)
class Standing:
    """A file that was looked at, as far as the level asks. What was not looked at is None."""

    regular: bool
    size: int = 0  # bytes
    mtime_ns: int = 0
    fault: str | None = None  # of its box walk, "" when clean
    told: Told | None = None  # what it says of its source
    sha256: str | None = None
    decode_error: str | None = None  # of a strict decode, "" when clean
    frames: int | None = None  # that decoded
    unseen: str = ""  # why it could not be looked at as far as the level asks, in words


@dataclass(frozen=True, slots=True)
class Seen:
    """What stands on the disk of one recording."""

    archive: Standing | None
    source_stands: bool | None  # under its own name, of its size and time; None where that can't be seen
    trashed_stands: bool | None  # where the catalog says it went, likewise
    elsewhere: bool = False  # another archive of the very content stands, or stood till it was removed by the rules
    given_up: bool = False  # it was let go of as it was: no archive of it is expected


_AT_A_START = "A run that begins when none is at work mends it"


def judge(recording: Recording, seen: Seen) -> tuple[Finding, ...]:
    """Hold one recording against what stands of it; what is not archived yet, or not any more, promises nothing."""
    match recording.state:
        case State.DONE if recording.job and seen.archive is None:
            found = [_being_removed(recording)]
        case State.ARCHIVED | State.DONE:
            found = list(_judge_archived(recording, seen))
        case State.GONE if recording.disposed_to is not None and seen.trashed_stands and not seen.given_up:
            found = [_alone_in_trash(recording)]
        case State.ACTIVE | State.PUBLISHING:
            found = [_held(recording)]
        case State.WAITING | State.QUARANTINED | State.GONE | State.REMOVED:
            found = []
        case unreachable:
            assert_never(unreachable)
    return tuple(found)


def _judge_archived(recording: Recording, seen: Seen) -> Iterator[Finding]:
    receipt, archive = recording.receipt, seen.archive
    if receipt is None or recording.archive is None:
        words = "counts as archived, and no receipt says where"
        yield Finding(Severity.BROKEN, "I1", words, Tree.SOURCE, recording.path, recording=recording.id)
        return
    if archive is None:
        if not seen.elsewhere:  # else it was made anew, for another upload of the same clip
            yield _archive_gone(recording, seen)
        return
    if archive.unseen:
        yield _of_archive(recording, Severity.DOUBT, "I2", f"could not be looked at: {archive.unseen}")
        return
    wrong = _wrong_with(archive, receipt)
    if wrong is not None:
        yield _of_archive(recording, Severity.BROKEN, *wrong, advice=_copy_of(seen))
        return
    if archive.mtime_ns != receipt.archive.mtime_ns and archive.sha256 is None:
        words = "was written to, or given another time, since it was committed"
        yield _of_archive(
            recording, Severity.DOUBT, "I1", words, advice="`archiverd check --full` compares its content"
        )
    if not receipt.archive_sha256 and archive.sha256 is not None:
        words = "its SHA-256 is not in the catalog, which was made anew"
        advice = "`archiverd check --full --repair` notes it"
        note = _of_archive(recording, Severity.NOTE, "I4", words, advice=advice, mend=Mend.HASH)
        yield replace(note, value=archive.sha256)


def _wrong_with(archive: Standing, receipt: Receipt) -> tuple[str, str] | None:
    """The first thing wrong with an archive that stands, and the invariant; None where nothing is."""
    if not archive.regular:
        return "I5", "is no regular file any more"
    if archive.size != receipt.archive.size:
        return "I1", f"holds {archive.size} bytes, and was committed with {receipt.archive.size}"
    if archive.fault:
        return "I2", f"is not whole: {archive.fault}"
    if archive.fault is not None and receipt.kind is ArchiveKind.TRANSCODED:
        told = "none" if archive.told is None else archive.told.sha256
        if told != receipt.source_sha256:
            return "I1", f"names another source: {told}, and its receipt {receipt.source_sha256}"
    if archive.sha256 is not None and receipt.archive_sha256 not in ("", archive.sha256):
        return (
            "I1",
            f"its bytes have changed: SHA-256 {archive.sha256}, and was committed with {receipt.archive_sha256}",
        )
    if archive.decode_error:
        return "I2", f"does not decode: {archive.decode_error}"
    if archive.frames is not None and archive.frames != receipt.frames:
        return "I2", f"decodes to {archive.frames} frames, and was committed with {receipt.frames}"
    return None


def is_to_decode(receipt: Receipt) -> bool:
    """Whether an archive must decode. Original bytes need not: that may be why they were kept, and their hash tells."""
    return not _may_be_original(receipt)


def _may_be_original(receipt: Receipt) -> bool:
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
    if seen.source_stands is None or seen.trashed_stands is None:
        words = "is not there, and it could not be seen whether its source is"
        return _of_archive(recording, Severity.DOUBT, "I1", words, advice="archiverd's user needs to read the trees")
    return _of_archive(
        recording, Severity.LOST, "I1", "is not there, and neither is its source",
        advice="Look in backups, and for a disk that is not mounted",
    )  # fmt: skip


def _copy_of(seen: Seen) -> str:
    """Where the evidence still is, when an archive is broken."""
    if seen.source_stands:
        return "Its source stands: move the archive away, and the next run archives it again"
    if seen.trashed_stands:
        return "Move the archive away: `archiverd check --repair` then takes its source back from the trash"
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


def _held(recording: Recording) -> Finding:
    return Finding(
        Severity.NOTE, "I7", "a job holds it: at work now, or left by a process that died", Tree.SOURCE, recording.path,
        _AT_A_START, Mend.RECOVER, recording.id,
    )  # fmt: skip


def _being_removed(recording: Recording) -> Finding:
    words = "is not there: it is being removed by the rules, or that was cut short by the death of a process"
    return replace(_of_archive(recording, Severity.NOTE, "I7", words, mend=Mend.RECOVER), advice=_AT_A_START)


def judge_snapshot(recording: Recording, snapshot: Snapshot, standing: Standing | None) -> Finding | None:
    """Hold a snapshot that was put beside its archive, the only copy of it, against what stands there.

    Its size and time are known, and not its hash.
    """
    place = snapshot.disposed_to
    if place is None or place.tree is not Tree.ARCHIVE:
        return None

    def finding(severity: Severity, what: str, advice: str = "") -> Finding:
        return Finding(severity, "I1", what, place.tree, place.path, advice, recording=recording.id)

    if standing is None:
        return finding(
            Severity.LOST, "the snapshot is not there", "Look in backups, and for a disk that is not mounted"
        )
    if standing.unseen:
        return finding(Severity.DOUBT, f"the snapshot could not be looked at: {standing.unseen}")
    if not standing.regular:
        return finding(Severity.BROKEN, "the snapshot is no regular file any more")
    mark = snapshot.fingerprint
    if standing.size != mark.size:
        return finding(Severity.BROKEN, f"the snapshot holds {standing.size} bytes, and was put there with {mark.size}")
    if standing.mtime_ns != mark.mtime_ns:
        return finding(Severity.DOUBT, "the snapshot was written to, or given another time, since it was put there")
    return None


def judge_absent(tree: Tree, archives: int) -> Finding:
    """What is to be said of a root that is not there, once, instead of each file it holds."""
    words = f"its disk is not there, so it seems: {archives} archives were not looked at"
    return Finding(Severity.DOUBT, "I6", words, tree)


def judge_unknown(tree: Tree, path: PurePosixPath, standing: Standing, *, source_stands: bool) -> Finding:
    """Hold a clip that no recording knows against what may stand in its tree.

    `source_stands`: the source that it names in its metadata is there.
    """
    if standing.fault:
        of = "" if standing.told is None else f", of {standing.told.source}"
        advice = "Is it a copy of yours that was cut short? archiverd leaves it alone"
        if of:
            advice = "It is an archive that was damaged: look for its source in the trash, and in backups"
        words = f"no recording knows it{of}, and it is not whole: {standing.fault}"
        return Finding(Severity.BROKEN, "I2", words, tree, path, advice=advice)
    if standing.unseen:
        words = f"no recording knows it, and it could not be looked at: {standing.unseen}"
        return Finding(Severity.DOUBT, "I2", words, tree, path)
    if standing.decode_error:
        words = f"no recording knows it, and it does not decode: {standing.decode_error}"
        return Finding(Severity.DOUBT, "I2", words, tree, path, mend=Mend.ENTER)
    if source_stands:
        words = "no recording knows it yet; the source it names stands, and the next run compares them"
        return Finding(Severity.NOTE, "I4", words, tree, path)
    return Finding(Severity.DOUBT, "I4", "no recording knows it", tree, path, mend=Mend.ENTER)


def judge_shared(recordings: Iterable[Recording]) -> tuple[Finding, ...]:
    """One archive is of one content: two receipts that say otherwise can't both be true.

    Asked of what counts on an archive: the name of one that was removed is free for another.
    """
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


def judge_leftover(tree: Tree, path: PurePosixPath, *, is_part: bool, ours: bool, owned: bool) -> Finding | None:
    """Hold a part, or a file that is set aside, against the jobs there are.

    `ours`: it bears this catalog's name, as only parts do. `owned`: a recording's job has it.
    """
    if owned:
        return None
    if is_part and ours:
        words = "a part of a job that is over; each start removes it"
        return Finding(Severity.NOTE, "I7", words, tree, path, mend=Mend.RECOVER)
    if is_part:
        advice = "If no archiverd works on this tree under another catalog, remove it: a part is never an only copy"
        return Finding(Severity.DOUBT, "I7", "a part of another catalog", tree, path, advice)
    return Finding(
        Severity.DOUBT, "I1", "was set aside by a job nobody knows: it may be the only copy of a source", tree, path,
        advice="Its archive may tell its name; else look at it, and give it one", mend=Mend.ENTER,
    )  # fmt: skip


def judge_aside_directory(tree: Tree, path: PurePosixPath) -> Finding:
    """What is to be said of a directory in which a batch of removals sets files aside."""
    return Finding(
        Severity.NOTE, "I7", "files are set aside in it to be removed: at work now, or left by a process that died",
        tree, path, "A run that begins when none is at work gives them their names back", Mend.RECOVER,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class SeenRoot:
    """What the marker of a root says; `problem` where it can't be read or is none."""

    tree: Tree
    marked: bool
    catalog: str = ""
    marked_as: str = ""
    problem: str = ""


def judge_root(root: SeenRoot, catalog_id: str | None) -> Finding | None:
    """Hold the marker of a root against the catalog; `catalog_id` None where there is none to ask."""
    advice = "Is its disk mounted, and is the path right? If it is the right place, an empty marker file says so"
    if root.problem:
        return Finding(Severity.BROKEN, "I6", root.problem, root.tree, advice=advice)
    if not root.marked:
        return Finding(
            Severity.BROKEN, "I6", "the root has no marker, so nothing is removed there", root.tree, advice=advice
        )
    if not root.catalog or catalog_id is None:
        return None
    if root.catalog != catalog_id:
        words = f"the root belongs to catalog {root.catalog}, not to {catalog_id}"
        return Finding(Severity.BROKEN, "I6", words, root.tree, advice=advice)
    if root.marked_as != root.tree:
        words = f"the root is marked as the {root.marked_as} tree"
        return Finding(Severity.BROKEN, "I6", words, root.tree, advice="Look at directory, output and trash_root")
    return None


def judge_source_root(nonce: str, remembered: str | None) -> Finding | None:
    """Whether the source root is the one the catalog began with."""
    if remembered is None or nonce == remembered:
        return None
    words = "the root is another than the one the catalog knows: nothing follows from what is missing there"
    advice = "If it is the right one, `archiverd check --repair` takes it for that"
    return Finding(Severity.DOUBT, "I6", words, Tree.SOURCE, advice=advice, mend=Mend.ACCEPT, value=nonce)


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """In the order they are read."""
    order = list(Severity)
    return tuple(
        sorted(findings, key=lambda f: (order.index(f.severity), str(f.tree or ""), f.path or PurePosixPath()))
    )


def counted(findings: Iterable[Finding]) -> dict[Severity, int]:
    """How many there are of each severity, worst first, the empty ones too."""
    counts = Counter(finding.severity for finding in findings)
    return {severity: counts[severity] for severity in Severity}
