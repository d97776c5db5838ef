"""What people read. Names and reasons come from outside: none of it may be obeyed by a terminal or taken for markup."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from archiverd import reports
from archiverd.policy.admission import Patience
from archiverd.policy.explanation import Answer, Explanation, Mark, Step
from archiverd.policy.falling import STANDINGS as WORD
from archiverd.policy.falling import Breaker, Footing, Standing, Standings
from archiverd.policy.live import Daemon, Live, Phase, Task
from archiverd.policy.model import (
    ArchiveKind,
    Discovery,
    Event,
    Fingerprint,
    FoundRecording,
    Orphans,
    Place,
    Recording,
    Snapshot,
    State,
    Trashed,
    Tree,
)
from archiverd.policy.name_patterns import CANONICAL
from archiverd.policy.naming import MARKER_NAME
from archiverd.policy.outcome import Outcome, Result
from archiverd.policy.planning import Action, Manner, Orphan, RunPlan, plan_run
from archiverd.policy.problems import Course, Problem, ProblemKind
from archiverd.policy.rungs import Kind, Rung
from archiverd.policy.words import size_words
from archiverd.reports.forecast import NOT_KNOWN
from archiverd.storage.catalog import Catalog
from tests.recordings import MARK, NOW, OLD_NS, PATH, found, receipt, recording, snapshot_of

# Markup, a line of its own, an escape sequence, a byte that is no UTF-8, and a character that turns text around.
HOSTILE = "[red]x[blink]\n\x1b[31m\udcff\u202e"
SHOWN = r"[red]x[blink]\n\x1b[31m\xff\u202e"
HOSTILE_PATH = PurePosixPath(f"2026/06/30/{HOSTILE}_20260630081500.mp4")
SHOWN_PATH = f"2026/06/30/{SHOWN}_20260630081500.mp4"
HOSTILE_REASON = "read \x07 and [bold]\r\nforged: done"
SHOWN_REASON = r"read \x07 and [bold]\r\nforged: done"


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is Berlin's, wherever the test runs."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def plan_of(*recordings: FoundRecording, known: Sequence[Recording] = (), delete: bool = False) -> RunPlan:
    manner = Manner(Patience(60, 600), delete=delete)
    return plan_run(Discovery(recordings, (), {}, ()), known, manner, NOW)


def shown(table: Table, width: int = 400) -> list[str]:
    """The lines of a table on a terminal that shows colours and obeys markup."""
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=True, color_system=None, legacy_windows=False).print(table)
    return [line.rstrip() for line in stream.getvalue().splitlines() if line.strip()]


def cells(table: Table) -> list[list[str]]:
    """The cells of each row, as they are shown."""
    _, _, *rows = shown(table)
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in rows]


def assert_harmless(lines: Sequence[str]) -> None:
    for line in lines:
        assert line.isprintable(), line
        line.encode("utf-8")


# ---- numbers


@given(st.integers(0, 2**60))
def test_size_reads_as_everywhere(size: int) -> None:
    assert reports.size_text(size) == size_words(size)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (0.4, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (61, "1:01"), (3599, "59:59"), (3600, "1:00:00"),
     (3661, "1:01:01"), (360_000, "100:00:00")],
)  # fmt: skip
def test_span_reads(seconds: float, text: str) -> None:
    assert reports.span_text(seconds) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"), [(0, 100, "0 %"), (1, 3, "33 %"), (100, 100, "100 %"), (300, 100, "300 %"), (5, 0, "-")]
)
def test_share_reads(part: int, whole: int, text: str) -> None:
    assert reports.share_text(part, whole) == text


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        pytest.param(1782986400.25, "2026-07-02 12:00:00+02:00", id="summer"),
        pytest.param(1767265200, "2026-01-01 12:00:00+01:00", id="winter"),
    ],
)
def test_moment_reads_in_local_time(moment: float, text: str) -> None:
    assert reports.time_text(moment) == text


# ---- plans


def test_plan_table_says_what_is_done_and_why() -> None:
    plan = plan_of(found(snapshots=(snapshot_of(),), doubts=("its name says 1970", "and more")))
    assert cells(reports.plan_table(plan)) == [
        ["archive", str(PATH), "1 kB", "1", "new (its name says 1970; and more)"]
    ]


def test_plan_table_shows_hostile_names_as_they_are_spelt() -> None:
    known = recording(State.QUARANTINED, HOSTILE_PATH, reason=HOSTILE_REASON)
    lines = shown(reports.plan_table(plan_of(found(HOSTILE_PATH), known=[known])))
    assert len(lines) == 3
    assert SHOWN_PATH in lines[2]
    assert f"quarantined: {SHOWN_REASON}" in lines[2]
    assert_harmless(lines)


def test_plan_table_folds_what_is_too_long_and_loses_nothing() -> None:
    header, *lines = shown(reports.plan_table(plan_of(found())), width=60)
    column = [line[header.index("recording") :].split(" ")[0] for line in lines[1:]]
    assert len(column) > 1
    assert "".join(column) == str(PATH)


WITH_EVERYTHING = RunPlan(
    items=(),
    ignored={"foreign name": 3, "symlink": 1},
    orphans=(Orphan(PATH.with_suffix(".jpg"), 1782986460, "it"), Orphan(PATH, 1782986400, "it")),
    delete=False,
    vanished=(recording(), recording(State.QUARANTINED)),
)


@pytest.mark.parametrize(
    ("plan", "lines"),
    [
        pytest.param(plan_of(), ["There is nothing here."], id="nothing"),
        pytest.param(
            plan_of(found()),
            [
                "To archive: 1 recording, 1 kB",
                "Sources and their snapshots are moved to the trash once their archives are proven.",
            ],
            id="one, its source to the trash",
        ),
        pytest.param(
            plan_of(found(), found(PATH.with_name("b_20260630081500.mp4")), delete=True),
            [
                "To archive: 2 recordings, 2 kB",
                "Sources and their snapshots are deleted once their archives are proven.",
            ],
            id="two, their sources deleted",
        ),
        pytest.param(
            replace(plan_of(found()), archive_snapshots=True),
            [
                "To archive: 1 recording, 1 kB",
                "Sources are moved to the trash once their archives are proven.",
                "Snapshots are put beside the archives.",
            ],
            id="one, its snapshots beside the archive",
        ),
        pytest.param(
            plan_of(found(), known=[recording(State.QUARANTINED)]),
            ["Quarantined: 1 recording, 1 kB"],
            id="nothing to do: no word of what becomes of sources",
        ),
        pytest.param(
            WITH_EVERYTHING,
            [
                "No longer there, to be noted: 2",
                "Snapshots without a recording, left alone: 2, the oldest of 2026-07-02 12:00:00+02:00",
                "Left alone, foreign name: 3",
                "Left alone, symlink: 1",
            ],
            id="only what is left alone",
        ),
    ],
)
def test_plan_says(plan: RunPlan, lines: list[str]) -> None:
    assert reports.plan_lines(plan) == lines


@pytest.mark.parametrize(
    ("action", "known", "mark", "text"),
    [
        (Action.ARCHIVE, None, MARK, "To archive"),
        (Action.DISPOSE, State.ARCHIVED, MARK, "Archived, source to go"),
        (Action.WAIT, None, MARK._replace(mtime_ns=int(NOW * 1e9)), "Too young"),
        (Action.KEEP, State.DONE, MARK, "Archived and protected"),
        (Action.LEAVE, State.QUARANTINED, MARK, "Quarantined"),
    ],
)
def test_every_action_is_named(action: Action, known: State | None, mark: Fingerprint, text: str) -> None:
    seen = found(mark=mark, protected=action is Action.KEEP)
    plan = plan_of(seen, known=[] if known is None else [recording(known)])
    assert plan.totals().keys() == {action}
    assert reports.plan_lines(plan)[0] == f"{text}: 1 recording, 1 kB"


def test_plan_as_json() -> None:
    orphan = Orphan(HOSTILE_PATH, NOW, "a recording")
    plan = replace(plan_of(found(doubts=("a doubt",))), ignored={"symlink": 1}, orphans=(orphan,))
    assert through_json(reports.plan_json(plan)) == {
        "items": [
            {
                "path": str(PATH), "camera": "front", "bytes": 1000, "snapshots": 0, "action": "archive",
                "reason": "new", "doubts": ["a doubt"],
            }
        ],
        "totals": {"archive": {"recordings": 1, "bytes": 1000}},
        "ignored": {"symlink": 1},
        "orphans": [{"path": SHOWN_PATH, "written_at": NOW, "waits_for": "a recording"}],
        "leftovers": [],
        "vanished": [],
        "notes": [],
        "sources": "trash",
        "snapshots": "dispose",
    }  # fmt: skip


def through_json(value: object) -> object:
    """The value after a trip as UTF-8, as a program that reads it sees it."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8"))


def test_plan_as_json_says_that_snapshots_are_archived() -> None:
    assert reports.plan_json(replace(plan_of(), archive_snapshots=True))["snapshots"] == "archive"


def test_plan_as_json_says_that_sources_are_deleted() -> None:
    assert reports.plan_json(plan_of(delete=True))["sources"] == "delete"


def test_plan_as_json_holds_hostile_names() -> None:
    (item,) = reports.plan_json(plan_of(found(HOSTILE_PATH)))["items"]
    assert (item["path"], item["camera"]) == (SHOWN_PATH, SHOWN)


# ---- recordings

PICTURE = PATH.with_suffix(".jpg")
ARCHIVED = recording(
    State.DONE, reason="source moved to the trash", archive=PATH, archive_sha256="a" * 64, archive_size=400,
    receipt=receipt(), disposed_to=PATH.with_stem(f"{PATH.stem}~2"),
    snapshots=(
        Snapshot(1, PATH.with_suffix(".jpg"), Fingerprint(12, 100, OLD_NS), Place(Tree.TRASH, PICTURE), disposed=True),
        Snapshot(5, PATH.with_name("other.jpg"), MARK, Place(Tree.ARCHIVE, PICTURE), disposed=True),
        Snapshot(2, PATH.with_name("second.jpg"), Fingerprint(13, 100, OLD_NS), None, disposed=True),
        Snapshot(3, PATH.with_name("third.jpg"), Fingerprint(14, 100, OLD_NS)),
    ),
)  # fmt: skip
HOSTILE_RECORDING = replace(
    recording(State.QUARANTINED, HOSTILE_PATH, reason=HOSTILE_REASON),
    archive=HOSTILE_PATH,
    disposed_to=HOSTILE_PATH,
    receipt=receipt(encoder=HOSTILE_REASON, checks=(HOSTILE_REASON,)),
    snapshots=(Snapshot(4, HOSTILE_PATH, MARK, Place(Tree.ARCHIVE, HOSTILE_PATH), disposed=True),),
)


def test_story_of_an_archived_recording() -> None:
    history = [Event(1782986400, State.WAITING, "new"), Event(1782986460, State.DONE, "source moved to the trash")]
    assert reports.why_lines(ARCHIVED, history) == [
        "2026/06/30/REO_front_20260630081500.mp4: done, source moved to the trash",
        "  camera front, taken at 2026-06-30 08:15:00, 1 kB",
        "  snapshot 2026/06/30/REO_front_20260630081500.jpg (in the trash as 2026/06/30/REO_front_20260630081500.jpg)",
        "  snapshot 2026/06/30/other.jpg (beside the archive as 2026/06/30/REO_front_20260630081500.jpg)",
        "  snapshot 2026/06/30/second.jpg (deleted)",
        "  snapshot 2026/06/30/third.jpg",
        f"  archive 2026/06/30/REO_front_20260630081500.mp4: transcoded, 400 bytes (40 %), sha256 {'a' * 64}",
        "  encoded in 1.2 s by software, hevc (Lavf59.27.100)",
        "  checked: frames: 30 of 30",
        "  source in the trash as 2026/06/30/REO_front_20260630081500~2.mp4",
        "  2026-07-02 12:00:00+02:00  waiting: new",
        "  2026-07-02 12:01:00+02:00  done: source moved to the trash",
        "  Next: Nothing: it is archived and its source was let go of.",
    ]


def test_story_of_a_verbatim_archive_names_no_encoder() -> None:
    verbatim = replace(ARCHIVED, receipt=receipt(kind=ArchiveKind.VERBATIM, rung="", encoder="", checks=()))
    assert not [line for line in reports.why_lines(verbatim, []) if "encoded" in line or "checked" in line]


@pytest.mark.parametrize("state", State)
def test_story_says_what_comes_next(state: State) -> None:
    *_, last = reports.why_lines(recording(state), [])
    assert last.startswith("  Next: ")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State.WAITING, "The daemon archives it, not before {due}."),
        (State.ARCHIVED, "Its archive is committed; the daemon lets go of its source, unless it is protected."),
    ],
)
def test_story_says_what_a_daemon_does_next(state: State, words: str) -> None:
    *_, last = reports.why_lines(recording(state), [], running=True)
    assert last == f"  Next: {words.format(due=reports.time_text(NOW - 60))}"


def test_story_without_a_reason_ends_with_the_state() -> None:
    first, *_ = reports.why_lines(recording(State.ACTIVE, reason=""), [])
    assert first.endswith(".mp4: active")


def test_story_of_a_hostile_name_stays_text() -> None:
    lines = reports.why_lines(HOSTILE_RECORDING, [Event(NOW, State.WAITING, HOSTILE_REASON)])
    assert lines[0] == f"{SHOWN_PATH}: quarantined, {SHOWN_REASON}"
    assert len(lines) == len(reports.why_lines(replace(HOSTILE_RECORDING, path=PATH), [Event(NOW, State.DONE, "x")]))
    assert_harmless(lines)


def test_list_shows_a_recording_a_line() -> None:
    table = reports.list_table([ARCHIVED, recording(State.WAITING, reason="new")])
    assert cells(table) == [
        ["2026-06-30 08:15:00", "front", "done", "1 kB", "400 bytes", str(PATH), "source moved to the trash"],
        ["2026-06-30 08:15:00", "front", "waiting", "1 kB", str(PATH), "new"],
    ]


def test_list_shows_hostile_names_as_they_are_spelt() -> None:
    lines = shown(reports.list_table([HOSTILE_RECORDING]))
    assert SHOWN_PATH in lines[2]
    assert SHOWN_REASON in lines[2]
    assert_harmless(lines)


def test_recording_as_json() -> None:
    told = through_json(reports.recording_json(ARCHIVED))
    assert isinstance(told, dict)
    assert told["receipt"] == {
        "kind": "transcoded", "source": {"ino": 11, "size": 1000, "mtime_ns": OLD_NS}, "source_sha256": "5" * 64,
        "archive": {"ino": 21, "size": 400, "mtime_ns": OLD_NS}, "archive_sha256": "a" * 64, "rung": "software",
        "encoder": "hevc (Lavf59.27.100)", "reason": "", "frames": 30, "duration_s": 2.0,
        "device": "", "falls": [],
        "checks": ["frames: 30 of 30"], "claimed_at": NOW, "encode_s": 1.25, "verify_s": 0.5, "committed_at": NOW + 2,
    }  # fmt: skip
    del told["receipt"], told["snapshots"]
    assert told == {
        "path": str(PATH), "camera": "front", "taken_at": "2026-06-30T08:15:00", "bytes": 1000, "state": "done",
        "reason": "source moved to the trash", "attempts": 0, "archive": str(PATH),
        "disposed_to": "2026/06/30/REO_front_20260630081500~2.mp4",
    }  # fmt: skip


def test_recording_as_json_without_an_archive_has_none() -> None:
    told = reports.recording_json(recording())
    assert (told["archive"], told["disposed_to"], told["receipt"], told["snapshots"]) == (None, None, None, [])


def test_recording_as_json_holds_hostile_names() -> None:
    told = through_json(reports.recording_json(HOSTILE_RECORDING))
    assert isinstance(told, dict)
    assert (told["path"], told["archive"], told["camera"]) == (SHOWN_PATH, SHOWN_PATH, SHOWN)
    assert told["snapshots"] == [
        {"path": SHOWN_PATH, "disposed": True, "disposed_to": SHOWN_PATH, "disposed_in": "archive"}
    ]


def unknown_lines(path: Path) -> list[str]:
    """What is said of a file in a date directory."""
    return reports.unknown_lines(path, CANONICAL, Tree.SOURCE, PurePosixPath("2026/06/30", path.name))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("notes.txt", "It is not a recording: its name does not end in .mp4 or .jpg. archiverd leaves it alone."),
        (
            "front_20260230000000.mp4",
            "It is not a recording: impossible date 20260230000000. archiverd leaves it alone.",
        ),
        (
            "front_20260630081500.jpg",
            "A snapshot. It goes the way of a recording of its camera, once there is one close in time.",
        ),
        (
            "front_20260630081500.keep",
            "It protects the recording of its name: that is archived, and its source stays.",
        ),
        (
            ".archiverd-0a1b2c.gone",
            "A job of archiverd made it or set it aside. The next run mends it, if it knows that job.",
        ),
        (
            ".archiverd-aa-0a1b2c.part",
            "A job of archiverd made it or set it aside. The next run mends it, if it knows that job.",
        ),
        (".archiverd-root", "It tells whose tree this is. Leave it where it is."),
    ],
)
def test_unknown_file_is_told_apart(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).touch()
    assert unknown_lines(tmp_path / name) == [f"{tmp_path / name}: not in the catalog", f"  {words}"]


def test_unknown_file_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "front_20260630081500.mp4"
    assert unknown_lines(path) == [f"{path}: not in the catalog", "  There is no such file either."]


@pytest.mark.parametrize("kind", ["file", "dangling symlink"])
def test_unknown_recording_that_stands_is_looked_at_by_the_next_run(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "front_20260630081500.mp4"
    if kind == "file":
        path.touch()
    else:
        path.symlink_to("nowhere")
    assert unknown_lines(path)[1] == "  Its name is that of a recording. The next run looks at it."


def test_unknown_recording_where_no_recordings_lie_is_none(tmp_path: Path) -> None:
    path = tmp_path / "front_20260630081500.mp4"
    path.touch()
    lines = reports.unknown_lines(path, CANONICAL, Tree.SOURCE, PurePosixPath(path.name))
    assert lines[1].startswith("  It is not a recording: it lies where no recordings do: they are YYYY/MM/DD/")


def test_unknown_hostile_name_stays_text(tmp_path: Path) -> None:
    lines = unknown_lines(tmp_path / HOSTILE_PATH.name)
    assert SHOWN in lines[0]
    assert_harmless(lines)


# ---- what stands in the source tree


STANDING = Discovery(
    (
        found(HOSTILE_PATH, snapshots=(snapshot_of(),), protected=True, doubts=(HOSTILE_REASON,)),
        found(PATH),
    ),
    (snapshot_of(HOSTILE_PATH),),
    {"symlink": 2, "foreign name": 1},
    (HOSTILE_PATH.with_name(".archiverd-1f.gone"),),
    incomplete=True,
)


def test_discovery_table_has_a_line_for_each_recording() -> None:
    first, second = cells(reports.discovery_table(STANDING))
    shown = ["2026-06-30 08:15:00", SHOWN, "1 kB", "1", "yes", SHOWN_PATH, SHOWN_REASON]
    assert first == shown
    assert second == ["2026-06-30 08:15:00", "front", "1 kB", str(PATH)]


def test_discovery_lines_count_what_there_is_and_what_is_left_alone() -> None:
    lines = reports.discovery_lines(STANDING)
    assert_harmless(lines)
    assert lines == [
        "Recordings: 2 of 2 cameras, 2 kB, 1 snapshots",
        f"Snapshot without a recording: {SHOWN_PATH.removesuffix('mp4')}jpg",
        "Left by a job: 2026/06/30/.archiverd-1f.gone",
        "Left alone, foreign name: 1",
        "Left alone, symlink: 2",
        "Not everything could be read: what is missing here may still be there.",
    ]


def test_discovery_lists_ten_orphans_and_counts_the_others() -> None:
    orphans = tuple(snapshot_of(PATH.with_stem(f"front_202606300815{second:02}")) for second in range(13))
    lines = reports.discovery_lines(Discovery((), orphans, {}, ()))
    assert len(lines) == 12
    assert lines[-1] == "and 3 more snapshots without a recording"


def test_discovery_as_json_holds_everything() -> None:
    told = through_json(reports.discovery_json(STANDING))
    assert told == {
        "recordings": [
            {
                "path": SHOWN_PATH, "camera": SHOWN, "taken_at": "2026-06-30T08:15:00", "bytes": 1000,
                "snapshots": [str(PATH.with_suffix(".jpg"))], "protected": True, "doubts": [HOSTILE_REASON],
            },
            {
                "path": str(PATH), "camera": "front", "taken_at": "2026-06-30T08:15:00", "bytes": 1000,
                "snapshots": [], "protected": False, "doubts": [],
            },
        ],
        "orphans": [f"{SHOWN_PATH.removesuffix('mp4')}jpg"],
        "leftovers": ["2026/06/30/.archiverd-1f.gone"],
        "ignored": {"foreign name": 1, "symlink": 2},
        "incomplete": True,
    }  # fmt: skip


EXPLAINED = Explanation(
    f"/camera/{HOSTILE}", Answer.NEITHER, (Step(Mark.YES, "is"), Step(Mark.NOTE, HOSTILE), Step(Mark.NO, "is not"))
)


def test_explanation_lines_mark_each_step_and_end_with_the_answer() -> None:
    lines = reports.explanation_lines(EXPLAINED)
    assert_harmless(lines)
    assert lines == [
        f"/camera/{SHOWN}", "  + is", f"    {SHOWN}", "  - is not", "  = It is neither a recording nor a snapshot."
    ]  # fmt: skip


def test_explanation_as_json_holds_its_steps() -> None:
    assert through_json(reports.explanation_json(EXPLAINED)) == {
        "path": f"/camera/{SHOWN}",
        "answer": "neither",
        "steps": [
            {"mark": "yes", "words": "is"},
            {"mark": "note", "words": SHOWN},
            {"mark": "no", "words": "is not"},
        ],
    }


# ---- what is over, and where it is


@pytest.fixture(name="standing")
def _standing(tmp_path: Path) -> dict[Tree, Path]:
    """Three roots that are there."""
    roots = {tree: tmp_path / f"the {tree}" for tree in Tree}
    for root in roots.values():
        (root / PATH.parent).mkdir(parents=True)
        (root / MARKER_NAME).touch()
    return roots


REMOVED = replace(ARCHIVED, state=State.REMOVED, reason="older than 90 days", disposed_to=None, snapshots=())
RETIRED_PATH = PurePosixPath("archived") / PATH
IN_TRASH = Trashed(RETIRED_PATH, MARK, "front", Place(Tree.ARCHIVE, PATH), "older than 90 days", NOW, 1)
PICTURE_IN_TRASH = replace(IN_TRASH, path=RETIRED_PATH.with_suffix(".jpg"))


def test_removed_archive_that_lies_in_the_trash_can_be_taken_back(standing: dict[Tree, Path]) -> None:
    there = standing[Tree.TRASH] / RETIRED_PATH
    there.parent.mkdir(parents=True)
    there.touch()
    lines = reports.why_lines(REMOVED, [], standing, [PICTURE_IN_TRASH, IN_TRASH])
    back = f"`archiverd trash restore '{there}'` takes it back"
    assert [line for line in lines if "trash" in line] == [
        f"  archive in the trash as {RETIRED_PATH}: {back}",
        f"  Next: Nothing: its archive was removed. Should its source stand again, it is archived again. {back}.",
    ]
    assert "not there any more" not in "".join(lines)


def test_removed_archive_that_does_not_lie_in_the_trash_is_gone_for_good(standing: dict[Tree, Path]) -> None:
    lines = reports.why_lines(REMOVED, [], standing, [PICTURE_IN_TRASH])
    assert "  archive deleted for good" in lines
    assert lines[-1] == "  Next: Nothing: its archive was removed. Should its source stand again, it is archived again."


def test_quarantined_source_that_went_to_the_trash_can_be_taken_back(standing: dict[Tree, Path]) -> None:
    there = standing[Tree.TRASH] / PATH
    there.touch()
    one = replace(IN_TRASH, path=PATH, origin=Place(Tree.SOURCE, PATH))
    *_, last = reports.why_lines(recording(State.GONE, disposed_to=PATH), [], standing, [one])
    assert last.endswith(f"before it was archived. `archiverd trash restore '{there}'` takes it back.")


@pytest.mark.parametrize("state", [State.REMOVED, State.GONE])
@pytest.mark.parametrize("protected", [True, False])
def test_source_that_stands_again_is_told(standing: dict[Tree, Path], state: State, *, protected: bool) -> None:
    source = standing[Tree.SOURCE] / PATH
    source.write_bytes(b"x" * MARK.size)
    os.utime(source, ns=(MARK.mtime_ns, MARK.mtime_ns))
    if protected:
        source.with_suffix(".keep").touch()
    *_, last = reports.why_lines(replace(REMOVED, state=state), [], standing, running=True)
    stays = ", and stays, for it is protected" if protected else ""
    assert last == f"  Next: Its source stands again: the daemon looks at it, to archive it{stays}."


@pytest.mark.parametrize("state", [State.REMOVED, State.GONE])
def test_another_source_of_that_name_is_not_its_own(standing: dict[Tree, Path], state: State) -> None:
    (standing[Tree.SOURCE] / PATH).write_bytes(b"of another")
    *_, last = reports.why_lines(replace(REMOVED, state=state), [], standing)
    assert last.startswith("  Next: Nothing: ")


def test_root_without_its_marker_is_a_disk_that_is_not_there(standing: dict[Tree, Path]) -> None:
    there = reports.why_lines(ARCHIVED, [], standing)
    for tree in (Tree.ARCHIVE, Tree.TRASH):
        (standing[tree] / MARKER_NAME).unlink()
    lines = reports.why_lines(ARCHIVED, [], standing)
    assert [line.replace("not there any more", "its disk is not there now") for line in there[:-1]] == lines[:-1]
    assert sum("(its disk is not there now)" in line for line in lines) == 4
    assert "should stand, and does not" in there[-1]
    assert "should stand, and does not" not in lines[-1]
    back = reports.why_lines(REMOVED, [], standing, [IN_TRASH])
    assert f"  archive in the trash as {RETIRED_PATH} (its disk is not there now)" in back
    assert "restore" not in "".join(back)


def test_status_marks_the_root_whose_disk_is_not_there(catalog: Catalog, standing: dict[Tree, Path]) -> None:
    (standing[Tree.TRASH] / MARKER_NAME).unlink()
    status = reports.status_json(catalog, standing)
    assert status["roots_not_there"] == [Tree.TRASH]
    assert reports.status_lines(status)[1:4] == [
        f"source   {standing[Tree.SOURCE]}",
        f"archive  {standing[Tree.ARCHIVE]}",
        f"trash    {standing[Tree.TRASH]} (its disk is not there now)",
    ]


# ---- status


@pytest.fixture(name="catalog")
def _catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(tmp_path / "catalog.sqlite3") as catalog:
        yield catalog


ROOTS = {Tree.SOURCE: Path("/camera"), Tree.ARCHIVE: Path("/archive"), Tree.TRASH: Path(f"/{HOSTILE}")}


def test_status_of_a_new_catalog(catalog: Catalog) -> None:
    status = reports.status_json(catalog, ROOTS)
    assert status["roots"] == {Tree.SOURCE: "/camera", Tree.ARCHIVE: "/archive", Tree.TRASH: f"/{SHOWN}"}
    assert (status["catalog"], status["waiting"], status["quarantined"]) == (catalog.id, [], [])
    assert reports.status_lines(status) == [
        "Daemon: not running",
        "source   /camera (its disk is not there now)",
        "archive  /archive (its disk is not there now)",
        rf"trash    /{SHOWN} (its disk is not there now)",
        "Archived: 0, 0 bytes as 0 bytes (-)",
        NOT_KNOWN,
    ]


def test_status_counts_and_names_what_waits_and_what_is_quarantined(catalog: Catalog) -> None:
    catalog.offer(found(), NOW, reason="new")
    bad = catalog.offer(found(HOSTILE_PATH, MARK._replace(size=2048)), NOW, reason="new")
    catalog.quarantine(catalog.claim(bad, "ab12", NOW), HOSTILE_REASON, NOW)
    lines = reports.status_lines(reports.status_json(catalog, ROOTS))
    assert_harmless(lines)
    assert set(lines[4:6]) == {"waiting           1  1 kB", "quarantined       1  2.05 kB"}
    assert lines[6:] == [
        "Archived: 0, 0 bytes as 0 bytes (-)",
        NOT_KNOWN,
        "Waiting:",
        f"  {PATH}: new",
        "Quarantined:",
        f"  {SHOWN_PATH}: {SHOWN_REASON}",
    ]


def test_status_tells_what_is_worked_on_from_what_waits(catalog: Catalog) -> None:
    catalog.claim(catalog.offer(found(), NOW, reason="new"), "ab12", NOW)
    lines = reports.status_lines(reports.status_json(catalog, ROOTS))
    assert lines[-2:] == ["Working on:", f"  {PATH}: claimed"]
    assert "Waiting:" not in lines


def test_status_names_ten_and_counts_the_rest() -> None:
    rows = [{"path": f"{n}.mp4", "reason": "new"} for n in range(12)]
    lines = reports.status_lines(
        {"problems": [], "daemon": {"running": False, "died": False}, "roots": {}, "roots_not_there": [],
         "states": {"waiting": {"recordings": 500_012, "bytes": 1}, "quarantined": {"recordings": 10, "bytes": 1}},
         "active": [], "waiting": rows, "quarantined": rows[:10], "cleanup_held": None,
         "orphans": {"snapshots": None, "oldest": None, "unseen": "they are too many"},
         "encoding": {"archives": {}, "fell": {"recordings": 0, "latest": []}, "rungs": []},
         "archived": {"recordings": 3, "source_bytes": 4096, "archive_bytes": 1024}}
    )  # fmt: skip
    assert lines[3] == "Archived: 3, 4.1 kB as 1.02 kB (25 %)"
    assert lines[5:7] == ["Waiting:", "  0.mp4: new"]
    assert lines[15:18] == ["  9.mp4: new", "  and 500002 more (archiverd list --state waiting)", "Quarantined:"]
    assert lines[-2:] == ["  9.mp4: new", "Snapshots without a recording: they are too many."]


def test_status_names_a_hundred_of_those_that_wait(catalog: Catalog) -> None:
    names = [PATH.with_name(f"front_202607{n // 24 + 1:02}{n % 24:02}0000.mp4") for n in range(120)]
    catalog.offer_all([(found(name), "new", NOW) for name in names], NOW)
    status = reports.status_json(catalog, ROOTS)
    assert [row["path"] for row in status["waiting"]] == [str(name) for name in names[:100]]
    assert status["states"]["waiting"]["recordings"] == 120


FULL = Problem(ProblemKind.DISK, "/camera", f"{HOSTILE} is full", "Make room")
BUSY = Live(
    7, 1, "1.0", NOW, Phase.WORKING, task=Task("a.mp4", 5, NOW + 1, "front", 9.0, "transcoding", 0.42, 3.1), waiting=3,
    unread=2, watching="by events", scanned_at=NOW + 2, last="b.mp4: archived",
)  # fmt: skip


def test_status_tells_first_what_is_wrong_and_then_what_the_daemon_does(catalog: Catalog) -> None:
    catalog.keep_problems([Course(FULL, NOW, is_open=True)], ())
    status = reports.status_json(catalog, ROOTS, daemon=Daemon(running=True, live=BUSY))
    lines = reports.status_lines(status)
    assert_harmless(lines)
    later = reports.time_text(NOW + 2)
    assert lines[:7] == [
        "Problems:",
        f"  {SHOWN} is full (since {reports.time_text(NOW)})",
        "    Make room",
        f"Daemon: running since {reports.time_text(NOW)} as process 7, transcoding front 42 %, 3 waiting",
        f"  a.mp4, begun {reports.time_text(NOW + 1)}, at 3.1x",
        f"  new files are found by events, 2 seen and not looked at yet, everything was looked through {later}",
        "  last: b.mp4: archived",
    ]
    assert through_json(status["problems"]) == [
        {"kind": "disk", "subject": "/camera", "message": f"{SHOWN} is full", "remedy": "Make room", "since": NOW}
    ]
    told = status["daemon"]
    assert (told["running"], told["pid"], told["task"]["camera"], told["waiting"]) == (True, 7, "front", 3)


def test_status_tells_of_a_daemon_that_died_and_that_problems_are_of_its_time(catalog: Catalog) -> None:
    catalog.keep_problems([Course(FULL, NOW, is_open=True)], ())
    status = reports.status_json(catalog, ROOTS, daemon=Daemon(running=False, live=BUSY))
    lines = reports.status_lines(status)
    assert lines[0] == "Problems when the daemon ran last:"
    assert lines[3] == "Daemon: not running; the last one was killed, or lost its power"
    assert status["daemon"] == {"running": False, "died": True}


def test_status_tells_of_snapshots_without_a_recording(catalog: Catalog) -> None:
    older = snapshot_of(HOSTILE_PATH)._replace(fingerprint=Fingerprint(1, 2, OLD_NS - 1))
    lines = reports.status_lines(reports.status_json(catalog, ROOTS, Orphans((snapshot_of(), older))))
    assert lines[-2:] == [
        "Snapshots without a recording in the source tree: 2",
        f"  the oldest is {SHOWN_PATH[:-3]}jpg (archiverd why PATH tells what it waits for)",
    ]


# ---- the end of a run


def outcome(result: Result, reason: str = "", *, source_size: int = 0, archive_size: int = 0) -> Outcome:
    return Outcome(PATH, result, reason, source_size, archive_size)


def test_summary_of_a_run() -> None:
    outcomes = [
        outcome(Result.FAILED, "ffmpeg exited with 1", source_size=500),
        outcome(Result.TRANSCODED, source_size=4096, archive_size=1024),
        outcome(Result.TRANSCODED, source_size=2048, archive_size=512),
        outcome(Result.VERBATIM, "it does not decode strictly", source_size=1000, archive_size=1000),
    ]
    assert reports.summary_lines(outcomes, 2, 61.2) == [
        "transcoded: 2",
        "verbatim: 1",
        "failed: 1",
        "3 archived: 7.14 kB as 2.54 kB (35 %)",
        f"  failed {PATH}: ffmpeg exited with 1",
        f"  verbatim {PATH}: it does not decode strictly",
        "Too young, for a later run: 2",
        "Took 1:01.",
    ]


def test_summary_of_nothing() -> None:
    assert reports.summary_lines([], 0, 0.2) == ["Took 0:00."]


@pytest.mark.parametrize("result", Result)
def test_summary_counts_every_result(result: Result) -> None:
    assert f"{result}: 1" in reports.summary_lines([outcome(result)], 0, 0)


def test_summary_of_hostile_names_stays_text() -> None:
    lines = reports.summary_lines([Outcome(HOSTILE_PATH, Result.FAILED, HOSTILE_REASON)], 0, 0)
    assert f"  failed {SHOWN_PATH}: {SHOWN_REASON}" in lines
    assert_harmless(lines)


def test_outcome_as_json() -> None:
    told = reports.outcome_json(Outcome(HOSTILE_PATH, Result.ADOPTED, "stood there", 1000, 400))
    assert through_json(told) == {
        "path": SHOWN_PATH, "result": "adopted", "reason": "stood there", "source_bytes": 1000, "archive_bytes": 400,
        "rung": "", "falls": [],
    }  # fmt: skip


def test_summary_tells_what_encoded_and_what_fell() -> None:
    outcomes = [
        Outcome(PATH, Result.TRANSCODED, "", 1000, 400, "qsv"),
        Outcome(HOSTILE_PATH, Result.TRANSCODED, "", 1000, 400, "software", ("qsv: it hangs", "vaapi: no driver")),
        Outcome(PATH, Result.TRANSCODED, "", 1000, 400, "qsv"),
        Outcome(PATH, Result.DISPOSED, ""),
    ]
    lines = reports.summary_lines(outcomes, 0, 0)
    assert lines[3:6] == [
        "Encoded by qsv 2, software 1",
        "Fell from a better rung, and archived all the same: 1",
        f"  {SHOWN_PATH}: qsv: it hangs; vaapi: no driver",
    ]


def test_summary_names_ten_that_fell_and_counts_the_rest() -> None:
    outcomes = [Outcome(PATH, Result.TRANSCODED, "", 1, 1, "software", ("qsv: it hangs",)) for _ in range(13)]
    lines = reports.summary_lines(outcomes, 0, 0)
    assert sum(f"{PATH}: qsv: it hangs" in line for line in lines) == 10
    assert "  and 3 more (archiverd why PATH tells of each)" in lines


NODE = "/dev/dri/renderD128"
HANGS = Breaker(reason="it hangs", remedy="look", rest_s=90, rests_until=NOW + 60)
STANDINGS = (
    Standing(Rung.QSV, Kind.H264, Footing.RESTS, NODE, HANGS),
    Standing(Rung.QSV, Kind.HEVC, Footing.RESTS, NODE, HANGS),
    Standing(Rung.QSV_ENCODE, Kind.H264, Footing.RESTS, NODE, replace(HANGS, rests_until=NOW + 90)),
    Standing(Rung.VAAPI, Kind.H264, Footing.UNUSABLE, "", Breaker(reason=HOSTILE_REASON, remedy="install it")),
    Standing(Rung.SOFTWARE, Kind.H264, Footing.USED),
)


def test_rungs_that_are_not_used_are_told_together_with_what_mends_it() -> None:
    lines = reports.summary_lines([], 0, 0, (), STANDINGS)
    assert lines[:-1] == [
        f"qsv, qsv-encode on {NODE}: rests, it hangs",
        f"  not tried before {reports.time_text(NOW + 60)}, unless the machine is changed or started anew",
        "  look",
        f"vaapi: not used, {SHOWN_REASON}",
        "  install it",
    ]


def test_rung_that_is_not_used_for_some_footage_alone_is_told_with_it() -> None:
    standings = (
        Standing(Rung.QSV, Kind.H264, Footing.USED, NODE),
        Standing(Rung.QSV, Kind.HEVC_10, Footing.UNUSABLE, NODE, Breaker(reason="no Main10")),
    )
    lines = reports.summary_lines([], 0, 0, (), standings)
    assert lines[0] == f"qsv (hevc 10-bit) on {NODE}: not used, no Main10"


def test_status_tells_what_encoded_what_fell_and_how_the_rungs_stand(catalog: Catalog) -> None:
    row = catalog.claim(catalog.offer(found(), NOW, reason="new"), "ab12", NOW)
    made = receipt(rung="software", falls=(f"qsv: {HOSTILE_REASON}", "vaapi: too"))
    row = catalog.publishing(row, PATH, "a" * 64, 400, made, NOW)
    catalog.archived(row, made, "transcoded", NOW)
    catalog.correct(WORD, Standings("a machine", STANDINGS).to_text())
    status = reports.status_json(catalog, ROOTS)
    lines = reports.status_lines(status)
    assert "Encoded by software 1" in lines
    assert f"qsv, qsv-encode on {NODE}: rests, it hangs" in lines
    assert lines[-2:] == [
        "Fell from a better rung, and archived all the same: 1, the latest:",
        f"  {PATH} ({reports.time_text(NOW + 2)}, made by software): qsv: {SHOWN_REASON}; vaapi: too",
    ]
    assert "Best now: software" in lines
    told = through_json(status)
    assert isinstance(told, dict)
    assert [rung["footing"] for rung in told["encoding"]["rungs"]] == ["rests", "rests", "rests", "unusable", "used"]


def test_story_tells_where_it_was_encoded_and_from_which_rungs_it_fell() -> None:
    made = receipt(rung="vaapi", device=NODE, falls=("qsv: it hangs", "qsv-encode: it hangs"))
    lines = reports.why_lines(recording(State.ARCHIVED, archive=PATH, receipt=made), [])
    at = next(number for number, line in enumerate(lines) if "encoded in" in line)
    assert lines[at : at + 3] == [
        f"  encoded in 1.2 s by vaapi on {NODE}, hevc (Lavf59.27.100)",
        "  fell from qsv: it hangs",
        "  fell from qsv-encode: it hangs",
    ]


# ---- whatever a name holds

names = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=40) | st.binary(
    min_size=1, max_size=20
).map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_").decode("utf-8", "surrogateescape"))


@given(names, st.text(max_size=40))
def test_any_name_and_reason_stay_harmless_text(name: str, reason: str) -> None:
    path = PurePosixPath("2026/06/30") / f"{name}_20260630081500.mp4"
    row = recording(State.QUARANTINED, path, reason=reason)
    plan = plan_of(found(path), known=[row])
    assert_harmless(shown(reports.plan_table(plan)))
    assert_harmless(shown(reports.list_table([row])))
    assert_harmless(reports.plan_lines(plan))
    assert_harmless(reports.why_lines(row, [Event(NOW, State.WAITING, reason)]))
    assert_harmless(reports.summary_lines([Outcome(path, Result.FAILED, reason)], 0, 0))
    json.dumps(reports.plan_json(plan)).encode("ascii")


def test_local_time_of_these_tests_is_fixed() -> None:
    assert datetime.fromtimestamp(0).astimezone().tzname() == "CET"
