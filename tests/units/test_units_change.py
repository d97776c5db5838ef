"""Committed changes of recordings as lines of the log, and their fields."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

import pytest

from archiverd.policy.change import Before, Change, fields, made_by, words
from archiverd.policy.model import ArchiveKind, ClipName, Receipt, Recording, State
from tests.recordings import PATH, TAKEN_AT, receipt, recording

WAITING = Before(State.WAITING, "found")
ACTIVE = Before(State.ACTIVE, "claimed", "j1")
PUBLISHING = Before(State.PUBLISHING, "as 'x'", "j1")
ARCHIVED = Before(State.ARCHIVED, "transcoded", "j1")
VERBATIM = receipt(kind=ArchiveKind.VERBATIM, rung="", reason="it would not shrink")


def archived(of: Receipt, reason: str | None = None, archive: PurePosixPath = PATH) -> Recording:
    said = made_by(of) if reason is None else reason
    return recording(State.ARCHIVED, receipt=of, reason=said, archive=archive, job="j1")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (Change(recording(reason="found"), None), "waiting: found"),
        (Change(recording(State.ACTIVE, reason="claimed"), WAITING), "active: claimed"),
        (Change(recording(State.QUARANTINED, reason="no moov"), ACTIVE), "quarantined, it stays where it is: no moov"),
        (Change(recording(State.GONE, reason=""), ACTIVE), "gone"),
        (Change(archived(receipt()), PUBLISHING), "archived (transcoded by software): 400 of 1000 bytes"),
        (
            Change(archived(receipt(rung="qsv", device="/dev/dri/D128"), archive=PurePosixPath("x~2.mp4")), ACTIVE),
            "archived as x~2.mp4 (transcoded by qsv on /dev/dri/D128): 400 of 1000 bytes",
        ),
        (Change(archived(VERBATIM), PUBLISHING), "archived (verbatim): 400 of 1000 bytes; it would not shrink"),
        (
            Change(archived(receipt(), "found published after a restart"), PUBLISHING),
            "archived (transcoded by software): 400 of 1000 bytes; found published after a restart",
        ),
        (Change(archived(receipt(), "protected by its .keep file"), ARCHIVED), "archived: protected by its .keep file"),
        (Change(archived(receipt(), "late"), Before(State.DONE, "let go")), "archived: late"),
    ],
)  # fmt: skip
def test_change_is_told_in_a_line(change: Change, line: str) -> None:
    assert words(change) == f"{PATH}: {line}"


def test_change_is_told_by_fields() -> None:
    assert fields(Change(archived(receipt()), PUBLISHING)) == {
        "recording": str(PATH),
        "camera": "front",
        "job": "j1",
        "state": "archived",
        "reason": "transcoded by software, 30 frames",
        "rung": "software",
    }


@pytest.mark.parametrize(
    "change",
    [
        Change(archived(receipt(), "protected"), ARCHIVED),
        Change(recording(State.DONE, receipt=receipt(), job="j1"), ARCHIVED),
        Change(archived(VERBATIM), PUBLISHING),
    ],
    ids=["held", "done", "verbatim"],
)
def test_rung_is_told_where_it_made_an_archive(change: Change) -> None:
    assert "rung" not in fields(change)


def test_job_that_ends_with_the_change_is_told() -> None:
    assert fields(Change(recording(State.WAITING), ACTIVE))["job"] == "j1"


def test_names_are_printable_in_line_and_path() -> None:
    hostile = os.fsdecode(b"caf\xe9\n_20260630081500.mp4")
    row = recording(path=PurePosixPath(hostile), name=ClipName("caf", TAKEN_AT))
    escaped = r"caf\xe9\n_20260630081500.mp4"
    assert words(Change(row, None)) == f"{escaped}: waiting: new"
    assert fields(Change(row, None))["recording"] == escaped


@pytest.mark.parametrize(
    ("before", "trouble", "repeated"),
    [
        (Before(State.WAITING, "new"), False, True),
        (Before(State.WAITING, "new"), True, False),
        (Before(State.WAITING, "other"), False, False),
        (Before(State.ACTIVE, "new"), False, False),
        (None, False, False),
    ],
)
def test_what_stood_there_already_is_no_news(before: Before | None, trouble: bool, repeated: bool) -> None:
    assert Change(recording(reason="new"), before, trouble).is_repeated is repeated
