"""Why a path is, or is not, a recording, told from what was found out about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

import pytest

from archiverd.policy.admission import Look, Patience
from archiverd.policy.explanation import Answer, Explanation, Facts, Mark, Standing, explain
from archiverd.policy.model import Tree
from archiverd.policy.name_patterns import CANONICAL, NamePatterns, compile_names

NAMES = compile_names(("dahua", "reolink"))
NOW = datetime(2026, 7, 1, 13, 0, 0).timestamp()
CLIP = PurePosixPath("2026/07/01/REO_front_20260701120000.mp4")
PICTURE = CLIP.with_suffix(".jpg")
WHOLE = Look(quiet_s=3600, being_written=False, fault="", has_video=True, open_ended=False)


def facts(place: PurePosixPath = CLIP, **changes: Any) -> Facts:
    """What is found of a whole clip that was written an hour ago; `changes` are fields of Facts."""
    known = Facts(
        f"/camera/{place}", "/camera", Tree.SOURCE, place, NOW, above=(Standing.DIRECTORY,) * (len(place.parts) - 1),
        standing=Standing.FILE, size=1000, mtime_ns=int((NOW - 3600) * 1e9), look=WHOLE,
    )  # fmt: skip
    return replace(known, **changes)


def explained(known: Facts, names: NamePatterns = NAMES) -> Explanation:
    return explain(known, names, Patience(settle_s=60, quarantine_after_s=600), 60.0)


def told(known: Facts, mark: Mark) -> list[str]:
    return [step.words for step in explained(known).steps if step.mark is mark]


def test_recording_is_explained_step_by_step() -> None:
    explanation = explained(facts(snapshots=(PICTURE,)))
    assert (explanation.path, explanation.answer) == (f"/camera/{CLIP}", Answer.RECORDING)
    assert [f"{step.mark}: {step.words}" for step in explanation.steps] == [
        f"yes: lies in the source tree /camera, as {CLIP}",
        'note: dahua: component 3, "01", does not fit: (?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})',
        "yes: reolink: fits",
        "yes: its path says: camera front, taken at 2026-07-01 12:00:00",
        "yes: is a regular file of 1000 bytes",
        f"note: its snapshot is {PICTURE}",
        "yes: is whole, quiet, and nobody is seen to write it: a run takes it",
    ]


def test_copy_by_our_own_mark_is_told() -> None:
    words = told(facts(CLIP.with_stem(f"{CLIP.stem}~2")), Mark.YES)
    assert "its path says: camera front, taken at 2026-07-01 12:00:00, 2 by archiverd's own count of this name" in words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tree": None}, "lies outside the source tree /camera"),
        ({"tree": Tree.ARCHIVE}, "lies in the archive tree, which is never a source, also inside the source tree"),
        ({"tree": Tree.TRASH}, "lies in the trash tree, which is never a source, also inside the source tree"),
        ({"in_state": True}, "lies in the directory of the catalog, which is never a source"),
        (
            {"place": PurePosixPath("archived") / CLIP},
            "archived at the top of a tree is archiverd's own, and never a source",
        ),
        ({"above": (Standing.DIRECTORY, Standing.SYMLINK)}, "2026/07 is a symlink, and none is followed below the"),
        ({"above": (Standing.UNKNOWN,), "standing": Standing.UNKNOWN}, "2026 is out of sight"),
        ({"standing": Standing.SYMLINK}, "is a symlink, and none is followed"),
        ({"standing": Standing.SPECIAL}, "is a FIFO, socket or device"),
        ({"above": (Standing.SYMLINK,), "standing": Standing.NOTHING}, "2026 is a symlink, and none is followed"),
        ({"place": CLIP.with_name("notes.mp4"), "standing": Standing.NOTHING}, "is not there"),
        ({"place": CLIP.with_name("notes.mp4")}, "no pattern of `names` fits it"),
        ({"place": CLIP.with_suffix(".avi")}, "no pattern of `names` fits it"),
        ({"place": CLIP.with_name("x_20260701250000.mp4")}, "impossible date 20260701250000"),
        ({"place": CLIP.with_suffix(".keep")}, "is named as the file that protects a recording that is not there"),
        ({"place": CLIP.with_suffix(".keep"), "keeps": CLIP}, f"is named as the file that protects {CLIP}"),
        ({"place": CLIP.with_name(".archiverd-1f-2a.part")}, "has a name that archiverd gives to files of its own"),
        ({"place": PurePosixPath(".archiverd-root")}, ".archiverd-root at the top of a tree is archiverd's own"),
    ],
)  # fmt: skip
def test_what_is_neither_is_told_why(changes: dict[str, Any], words: str) -> None:
    known = facts(**changes)
    assert explained(known).answer is Answer.NEITHER
    assert [said for said in told(known, Mark.NO) if said.startswith(words)]


@pytest.mark.parametrize("above", [(Standing.NOTHING,), (Standing.DIRECTORY,) * 3], ids=["no directory", "no file"])
@pytest.mark.parametrize(
    ("place", "answer"),
    [(CLIP, Answer.WOULD_BE_RECORDING), (PICTURE, Answer.WOULD_BE_SNAPSHOT)],
    ids=["clip", "picture"],
)
def test_what_is_not_there_yet_is_told_what_it_would_be(
    place: PurePosixPath, answer: Answer, above: tuple[Standing, ...]
) -> None:
    explanation = explained(facts(place, above=above, standing=Standing.NOTHING))
    assert (explanation.answer, explanation.answer.is_footage) == (answer, False)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("x/REO_front_20260701120000.mp4", 'component 1, "x", does not fit: (?P<year>[0-9]{4})'),
        ("2026/02/31/x.mp4", 'component 3, "31", belongs to no real date: (?P<day>[0-9]{2})'),
        ("2026/07/01/02/x.mp4", 'component 4, "02", is a directory where files belong'),
        ("2026/07/x.mp4", 'component 3, "x.mp4", stands where a directory belongs: (?P<day>[0-9]{2})'),
        ("2026/07/01/x.mov", 'component 4, "x.mov", does not end in .mp4 or .jpg: '),
    ],
)
def test_first_component_that_does_not_fit_is_named(place: str, words: str) -> None:
    (said,) = [said for said in told(facts(PurePosixPath(place)), Mark.NOTE) if said.startswith("reolink: ")]
    assert said.startswith(f"reolink: {words}")


@pytest.mark.parametrize(
    ("place", "mark", "words"),
    [
        ("2026/07/01", Mark.NOTE, "is a directory in which recordings may stand"),
        ("2026/07", Mark.NOTE, "is a directory below which recordings may stand, and not in itself"),
        ("2026/13", Mark.NO, "is a directory that no pattern fits, and is not looked into: "),
    ],
)
def test_directory_is_told_apart(place: str, mark: Mark, words: str) -> None:
    explanation = explained(facts(PurePosixPath(place), standing=Standing.DIRECTORY), CANONICAL)
    assert explanation.answer is Answer.NEITHER
    assert explanation.steps[-1].mark is mark
    assert explanation.steps[-1].words.startswith(words)


def test_source_tree_itself_is_told() -> None:
    known = facts(PurePosixPath(), standing=Standing.DIRECTORY, above=())
    assert (explained(known).answer, told(known, Mark.NOTE)) == (Answer.NEITHER, ["is the source tree itself"])


def test_way_through_a_symlink_to_the_tree_is_told() -> None:
    words = told(facts(really=f"/camera/{CLIP}"), Mark.NOTE)
    assert words[0] == f"is reached through a symlink; without it: /camera/{CLIP}"


@pytest.mark.parametrize(
    ("owner", "mark", "words"),
    [
        (CLIP, Mark.YES, f"belongs to {CLIP}, and goes with it"),
        (None, Mark.NOTE, "is an orphan: no recording of front began within 60 s; it is left alone"),
    ],
)
def test_snapshot_is_told_whose_it_is(owner: PurePosixPath | None, mark: Mark, words: str) -> None:
    known = facts(PICTURE, belongs_to=owner)
    assert explained(known).answer is Answer.SNAPSHOT
    assert told(known, mark)[-1] == words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"keep": CLIP.with_suffix(".keep")}, f"is protected by {CLIP.with_suffix('.keep')}: it is archived, and"),
        ({"mtime_ns": 0}, "its time is doubtful: its name says 2026-07-01 12:00:00, but it was last written"),
        ({"look": None}, "can't be read: no run can archive it"),
        ({"look": replace(WHOLE, quiet_s=5)}, "a run leaves it for now: written 5 s ago, may still be uploading; "),
        ({"look": replace(WHOLE, being_written=True)}, "a run leaves it for now: is being written"),
        ({"look": replace(WHOLE, quiet_s=90, fault="no moov")}, "a run leaves it for now: not a whole clip yet: no"),
        ({"look": replace(WHOLE, fault="no moov")}, "a run quarantines it, and it stays where it is: not a whole cl"),
    ],
)  # fmt: skip
def test_recording_that_needs_a_word_is_a_recording_still(changes: dict[str, Any], words: str) -> None:
    known = facts(**changes)
    assert explained(known).answer is Answer.RECORDING
    assert [said for said in told(known, Mark.NOTE) if said.startswith(words)]
