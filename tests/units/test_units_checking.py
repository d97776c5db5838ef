"""What a check makes of what it saw: findings with a severity, a place, and what mends them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiverd.policy.checking import (
    Checked,
    CheckReport,
    Finding,
    Level,
    Mend,
    Mended,
    Seen,
    SeenRoot,
    Severity,
    Standing,
    counted,
    is_to_decode,
    judge,
    judge_aside_directory,
    judge_leftover,
    judge_root,
    judge_shared,
    judge_source_root,
    judge_unknown,
    worst_first,
)
from archiverd.policy.model import ArchiveKind, Fingerprint, Receipt, Recording, State, Tree
from archiverd.policy.told import Told
from tests.recordings import MARK, OLD_NS, PATH, receipt, recording

ARCHIVE = PurePosixPath("2026/06/30/REO_front_20260630081500.mp4")
TOLD = Told(PATH, "5" * 64, MARK.size, MARK.mtime_ns)
WHOLE = Standing(True, 400, OLD_NS, "", TOLD, "a" * 64, "", 30)


def archived(state: State = State.DONE, kind: Receipt | None = None, **changes: Any) -> Recording:
    fields: dict[str, Any] = {"archive": ARCHIVE, "receipt": kind or receipt(), "disposed_to": PATH}
    return recording(state, **fields | changes)


def seen(archive: Standing | None = WHOLE, *, source: bool | None = False, trashed: bool | None = True) -> Seen:
    return Seen(archive, source, trashed)


def only(findings: tuple[Finding, ...]) -> Finding:
    (finding,) = findings
    return finding


@pytest.mark.parametrize("state", [State.ARCHIVED, State.DONE])
def test_archive_that_stands_as_it_was_committed_is_no_finding(state: State) -> None:
    assert judge(archived(state), seen()) == ()


@pytest.mark.parametrize("trashed", [True, False, None])
@pytest.mark.parametrize("archive", [None, WHOLE, Standing(False), replace(WHOLE, size=399)])
def test_archive_that_was_removed_is_missed_by_nobody(archive: Standing | None, trashed: bool | None) -> None:
    assert judge(archived(State.REMOVED), seen(archive, trashed=trashed)) == ()


def test_archive_that_is_just_being_removed_is_a_note() -> None:
    finding = only(judge(archived(job="r1"), seen(None, trashed=False)))
    assert (finding.severity, finding.mend, finding.path) == (Severity.NOTE, Mend.RECOVER, ARCHIVE)


def test_archive_that_is_to_be_removed_and_stands_must_be_whole() -> None:
    assert judge(archived(job="r1"), seen()) == ()
    assert only(judge(archived(job="r1"), seen(replace(WHOLE, size=399)))).severity is Severity.BROKEN


def test_source_that_was_given_up_may_lie_in_the_trash_alone() -> None:
    given_up = replace(seen(None), given_up=True)
    assert judge(recording(State.GONE, disposed_to=PATH), given_up) == ()


@pytest.mark.parametrize("state", [State.WAITING, State.QUARANTINED, State.GONE])
def test_what_is_not_archived_promises_nothing(state: State) -> None:
    assert judge(recording(state), seen(None, trashed=False)) == ()


@pytest.mark.parametrize("state", [State.ACTIVE, State.PUBLISHING])
def test_job_at_work_is_a_note(state: State) -> None:
    finding = only(judge(recording(state, job="j1"), seen(None)))
    assert (finding.severity, finding.mend, finding.recording) == (Severity.NOTE, Mend.RECOVER, 1)


@pytest.mark.parametrize(
    ("source", "trashed", "severity", "mend", "words"),
    [
        (True, False, Severity.DOUBT, Mend.NOTHING, "its source stands, and the next run archives it again"),
        (True, None, Severity.DOUBT, Mend.NOTHING, "its source stands, and the next run archives it again"),
        (False, True, Severity.BROKEN, Mend.RESTORE, f"its source lies in the trash as {PATH}"),
        (None, True, Severity.BROKEN, Mend.RESTORE, f"its source lies in the trash as {PATH}"),
        (False, False, Severity.LOST, Mend.NOTHING, "and neither is its source"),
        (None, False, Severity.DOUBT, Mend.NOTHING, "could not be seen whether its source is"),
        (False, None, Severity.DOUBT, Mend.NOTHING, "could not be seen whether its source is"),
    ],
)
def test_missing_archive_is_as_bad_as_what_is_left_of_its_source(
    source: bool | None, trashed: bool | None, severity: Severity, mend: Mend, words: str
) -> None:
    finding = only(judge(archived(), seen(None, source=source, trashed=trashed)))
    assert (finding.severity, finding.mend, finding.tree, finding.path) == (severity, mend, Tree.ARCHIVE, ARCHIVE)
    assert words in finding.what


@pytest.mark.parametrize(
    ("standing", "invariant", "words"),
    [
        (Standing(False), "I5", "is no regular file"),
        (replace(WHOLE, size=399), "I1", "holds 399 bytes, and was committed with 400"),
        (replace(WHOLE, fault="no moov"), "I2", "is not whole: no moov"),
        (replace(WHOLE, told=None), "I1", "names another source: none"),
        (replace(WHOLE, told=replace(TOLD, sha256="6" * 64)), "I1", "names another source: 6666"),
        (replace(WHOLE, sha256="b" * 64), "I1", "its bytes have changed"),
        (replace(WHOLE, decode_error="oops"), "I2", "does not decode: oops"),
        (replace(WHOLE, frames=29), "I2", "decodes to 29 frames, and was committed with 30"),
    ],
)
def test_archive_that_is_not_what_was_committed_is_broken_and_left_to_its_owner(
    standing: Standing, invariant: str, words: str
) -> None:
    finding = only(judge(archived(), seen(standing)))
    assert (finding.severity, finding.invariant, finding.mend) == (Severity.BROKEN, invariant, Mend.NOTHING)
    assert words in finding.what


@pytest.mark.parametrize(
    ("source", "trashed", "advice"),
    [
        (True, True, "Its source stands: move the archive away"),
        (False, True, "Move the archive away: `archiverd check --repair` then takes its source back"),
        (False, False, "Its source is not there any more: look in backups"),
    ],
)
def test_broken_archive_says_where_its_evidence_still_is(source: bool, trashed: bool, advice: str) -> None:
    finding = only(judge(archived(), seen(replace(WHOLE, size=1), source=source, trashed=trashed)))
    assert finding.advice.startswith(advice)


def test_archive_that_could_not_be_looked_at_is_a_doubt_and_not_broken() -> None:
    finding = only(judge(archived(), seen(Standing(True, unseen="Permission denied"))))
    assert (finding.severity, finding.what) == (Severity.DOUBT, "could not be looked at: Permission denied")


@pytest.mark.parametrize("looked", [{}, {"fault": "", "told": TOLD}], ids=["quick", "normal"])
def test_archive_with_another_time_is_a_doubt_until_its_content_is_compared(looked: dict[str, Any]) -> None:
    touched = Standing(True, 400, OLD_NS + 1, **looked)
    assert only(judge(archived(), seen(touched))).severity is Severity.DOUBT
    assert judge(archived(), seen(replace(WHOLE, mtime_ns=OLD_NS + 1))) == ()


def test_archive_without_a_receipt_is_broken() -> None:
    assert only(judge(archived(receipt=None), seen())).severity is Severity.BROKEN


@pytest.mark.parametrize(
    ("kind", "decodes"),
    [
        (receipt(), True),
        (receipt(kind=ArchiveKind.VERBATIM), False),
        (receipt(kind=ArchiveKind.ADOPTED), True),
        (receipt(kind=ArchiveKind.ADOPTED, archive_sha256="5" * 64), False),
        (receipt(kind=ArchiveKind.REBUILT), True),
        (receipt(kind=ArchiveKind.REBUILT, source_sha256="", archive_sha256=""), False),
    ],
)
def test_original_bytes_need_not_decode(kind: Receipt, decodes: bool) -> None:
    assert is_to_decode(kind) is decodes


def test_original_bytes_name_no_source() -> None:
    verbatim = receipt(kind=ArchiveKind.VERBATIM, source_sha256="a" * 64)
    assert judge(archived(kind=verbatim), seen(replace(WHOLE, told=None, decode_error=None, frames=None))) == ()


def test_hash_that_is_not_known_is_a_note_that_carries_it() -> None:
    rebuilt = receipt(kind=ArchiveKind.REBUILT, archive_sha256="")
    finding = only(judge(archived(kind=rebuilt), seen()))
    assert (finding.severity, finding.mend, finding.value) == (Severity.NOTE, Mend.HASH, "a" * 64)
    assert judge(archived(kind=rebuilt), seen(replace(WHOLE, sha256=None))) == ()


@pytest.mark.parametrize("trashed", [True, False, None])
def test_source_alone_in_the_trash_is_broken_and_can_be_taken_back(trashed: bool | None) -> None:
    found = judge(recording(State.GONE, disposed_to=PATH), seen(None, trashed=trashed))
    assert [(f.severity, f.tree, f.mend) for f in found] == (
        [(Severity.BROKEN, Tree.TRASH, Mend.RESTORE)] if trashed else []
    )


@pytest.mark.parametrize(
    ("standing", "source_stands", "severity", "mend"),
    [
        (WHOLE, False, Severity.DOUBT, Mend.ENTER),
        (WHOLE, True, Severity.NOTE, Mend.NOTHING),
        (replace(WHOLE, fault="cut"), True, Severity.BROKEN, Mend.NOTHING),
        (replace(WHOLE, decode_error="oops"), False, Severity.DOUBT, Mend.ENTER),
        (Standing(True, unseen="denied"), False, Severity.DOUBT, Mend.NOTHING),
    ],
)
def test_clip_that_no_recording_knows(standing: Standing, source_stands: bool, severity: Severity, mend: Mend) -> None:
    finding = judge_unknown(Tree.ARCHIVE, ARCHIVE, standing, source_stands=source_stands)
    assert (finding.severity, finding.mend, finding.path) == (severity, mend, ARCHIVE)
    assert "no recording knows it" in finding.what


@pytest.mark.parametrize(
    ("is_part", "ours", "owned", "expected"),
    [
        (True, True, True, None),
        (False, False, True, None),
        (True, True, False, (Severity.NOTE, Mend.RECOVER)),
        (True, False, False, (Severity.DOUBT, Mend.NOTHING)),
        (False, False, False, (Severity.DOUBT, Mend.ENTER)),
    ],
)
def test_trace_of_a_job(is_part: bool, ours: bool, owned: bool, expected: tuple[Severity, Mend] | None) -> None:
    finding = judge_leftover(Tree.SOURCE, PATH, is_part=is_part, ours=ours, owned=owned)
    assert (finding and (finding.severity, finding.mend)) == expected


def test_what_a_removal_has_set_aside_is_a_note_that_a_start_mends() -> None:
    finding = judge_aside_directory(Tree.ARCHIVE, PATH)
    assert (finding.severity, finding.invariant, finding.mend) == (Severity.NOTE, "I7", Mend.RECOVER)
    assert (finding.tree, finding.path) == (Tree.ARCHIVE, PATH)


@pytest.mark.parametrize(
    ("root", "words"),
    [
        (SeenRoot(Tree.TRASH, marked=False), "has no marker"),
        (SeenRoot(Tree.TRASH, marked=False, problem="can't be read"), "can't be read"),
        (SeenRoot(Tree.TRASH, True, "c2", "trash"), "belongs to catalog c2, not to c1"),
        (SeenRoot(Tree.TRASH, True, "c1", "archive"), "is marked as the archive tree"),
    ],
)
def test_root_that_is_not_the_right_one_is_broken(root: SeenRoot, words: str) -> None:
    finding = judge_root(root, "c1")
    assert finding is not None
    assert (finding.severity, finding.invariant) == (Severity.BROKEN, "I6")
    assert words in finding.what


@pytest.mark.parametrize(
    ("root", "catalog"),
    [
        (SeenRoot(Tree.TRASH, True, "c1", "trash"), "c1"),
        (SeenRoot(Tree.TRASH, True), "c1"),  # an empty marker: its owner says that this is the place
        (SeenRoot(Tree.TRASH, True, "c1", "trash"), None),
    ],
)
def test_root_that_is_the_right_one_is_no_finding(root: SeenRoot, catalog: str | None) -> None:
    assert judge_root(root, catalog) is None


def test_another_source_root_is_a_doubt_that_carries_what_is_accepted() -> None:
    finding = judge_source_root("new", "old")
    assert finding is not None
    assert (finding.severity, finding.mend, finding.value) == (Severity.DOUBT, Mend.ACCEPT, "new")
    assert judge_source_root("old", "old") is None
    assert judge_source_root("new", None) is None


def test_archive_that_stands_for_two_contents_is_broken() -> None:
    one, other = archived(), archived(kind=receipt(source_sha256="6" * 64))
    assert only(judge_shared([one, other])).path == ARCHIVE
    assert judge_shared([one, one]) == ()
    assert judge_shared([one, archived(kind=receipt(source_sha256=""))]) == ()


FINDINGS = st.builds(
    Finding, st.sampled_from(Severity), st.just("I1"), st.text(max_size=3), st.sampled_from([None, *Tree]),
    st.sampled_from([None, PATH, ARCHIVE.with_name("x.mp4")]), mend=st.sampled_from(Mend),
)  # fmt: skip


@given(st.lists(FINDINGS))
def test_findings_come_worst_first_and_none_is_left_out(findings: list[Finding]) -> None:
    ordered = worst_first(findings)
    severities = [list(Severity).index(finding.severity) for finding in ordered]
    assert severities == sorted(severities)
    assert sorted(map(repr, ordered)) == sorted(map(repr, findings))
    assert sum(counted(findings).values()) == len(findings)


@pytest.mark.parametrize(
    ("severity", "mended", "code"),
    [
        (Severity.NOTE, None, 0),
        (Severity.DOUBT, None, 1),
        (Severity.LOST, None, 1),
        (Severity.BROKEN, Mended("done"), 0),
        (Severity.BROKEN, Mended("could not", holds=False), 1),
    ],
)
def test_exit_code_tells_whether_somebody_should_look(severity: Severity, mended: Mended | None, code: int) -> None:
    finding = Finding(severity, "I1", "what")
    checked = Checked((finding,), 1, 1, 400, 0)
    report = CheckReport(Level.NORMAL, (finding,), checked, {} if mended is None else {finding: mended})
    assert report.exit_code == code


def test_row_of_a_receipt_with_another_size_is_read_from_the_receipt() -> None:
    grown = receipt(archive=Fingerprint(21, 500, OLD_NS))
    assert only(judge(archived(kind=grown), seen())).what == "holds 400 bytes, and was committed with 500"
