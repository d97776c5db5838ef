"""What one run will do about each recording, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiverd.policy.admission import Patience
from archiverd.policy.model import Discovery, Fingerprint, FoundFile, FoundRecording, Recording, State
from archiverd.policy.name_patterns import compile_names
from archiverd.policy.planning import Action, Manner, Orphan, Planned, RunPlan, plan_run
from tests.recordings import MARK, NOW, OLD_NS, PATH, found, name_of, recording, snapshot_of

MANNER = Manner(Patience(settle_s=60, quarantine_after_s=600))
AGAIN = replace(MANNER, again=True)
YOUNG = MARK._replace(mtime_ns=int((NOW - 5) * 1e9))
JUST_WRITTEN = "written 5 s ago, may still be uploading"
REPLACED = MARK._replace(ino=99, size=7)  # another upload under the same name


def discovery(*recordings: FoundRecording, incomplete: bool = False) -> Discovery:
    return Discovery(recordings, (), {}, (), incomplete)


def plan(
    recordings: list[FoundRecording], known: list[Recording], manner: Manner = MANNER, now: float = NOW
) -> RunPlan:  # fmt: skip
    return plan_run(discovery(*recordings), known, manner, now)


def only(run: RunPlan) -> Planned:
    (item,) = run.items
    return item


def decided(known: Recording | None, manner: Manner, *, protected: bool, mark: Fingerprint) -> tuple[Action, str]:
    seen = [found(mark=mark, protected=protected)]
    item = only(plan(seen, [] if known is None else [known], manner))
    return item.action, item.reason


WAITING = recording(State.WAITING, reason="stopped, as asked")
NEW = recording(State.WAITING, reason="new")
ACTIVE = recording(State.ACTIVE, reason="claimed")
PUBLISHING = recording(State.PUBLISHING, reason="")
ARCHIVED = recording(State.ARCHIVED, reason="transcoded by software, 30 frames")
DONE = recording(State.DONE, reason="source moved to the trash")
QUARANTINED = recording(State.QUARANTINED, reason="not a whole clip: no moov")
GONE = recording(State.GONE, reason="the source is not there any more")
REMOVED = recording(State.REMOVED, reason="older than 90 days")

INTERRUPTED = (Action.ARCHIVE, "its job was interrupted")
KEPT = (Action.KEEP, "archived; protected by its .keep file")
LEFT = (Action.LEAVE, "quarantined: not a whole clip: no moov")
ONCE_MORE = (Action.ARCHIVE, "archived already; again, as asked, and the old archive goes to the trash")
LET_GO = (Action.DISPOSE, "archived; transcoded by software, 30 frames")
STANDS_AGAIN = (Action.DISPOSE, "archived and let go of, but its source stands again")
TOO_YOUNG = (Action.WAIT, JUST_WRITTEN)


@pytest.mark.parametrize("newest_first", [False, True])
def test_what_the_process_died_with_has_its_turn_after_all_others(newest_first: bool) -> None:
    paths = [PATH.with_name(f"REO_front_202606300815{second:02}.mp4") for second in range(4)]
    deaths = dict(zip(paths, (3, 1, 2, 0), strict=True))  # one counts for nothing
    rows = [recording(path=path, crashes=crashes) for path, crashes in deaths.items()]

    run = plan([found(path) for path in paths], rows, replace(MANNER, newest_first=newest_first))

    without = [paths[3], paths[1]] if newest_first else [paths[1], paths[3]]
    assert [item.path for item in run.items] == [*without, paths[2], paths[0]]


@pytest.mark.parametrize(
    ("known", "plain", "protected", "again", "again_and_protected"),
    [
        pytest.param(None, *[(Action.ARCHIVE, "new")] * 4, id="unknown"),
        pytest.param(NEW, *[(Action.ARCHIVE, "new")] * 4, id="new, and not come to yet"),
        pytest.param(WAITING, *[(Action.ARCHIVE, "waited: stopped, as asked")] * 4, id="waiting"),
        pytest.param(ACTIVE, *[INTERRUPTED] * 4, id="active"),
        pytest.param(PUBLISHING, *[INTERRUPTED] * 4, id="publishing"),
        pytest.param(ARCHIVED, LET_GO, KEPT, ONCE_MORE, ONCE_MORE, id="archived"),
        pytest.param(DONE, STANDS_AGAIN, KEPT, ONCE_MORE, ONCE_MORE, id="done, and there again"),
        pytest.param(QUARANTINED, *[LEFT] * 4, id="quarantined"),
        pytest.param(GONE, *[(Action.ARCHIVE, "the source is there again")] * 4, id="gone, and there again"),
        pytest.param(
            REMOVED,
            *[(Action.ARCHIVE, "its archive was removed, and its source stands again")] * 4,
            id="its archive removed, and there again",
        ),
    ],
)
@pytest.mark.parametrize("case", ["plain", "protected", "again", "again_and_protected"])
def test_recording_is_planned(
    known: Recording | None, plain: object, protected: object, again: object, again_and_protected: object, case: str
) -> None:
    wanted = {
        "plain": plain, "protected": protected, "again": again, "again_and_protected": again_and_protected,
    }[case]  # fmt: skip
    manner = AGAIN if case.startswith("again") else MANNER
    assert decided(known, manner, protected=case.endswith("protected"), mark=MARK) == wanted


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        pytest.param(None, TOO_YOUNG, id="unknown"),
        pytest.param(NEW, TOO_YOUNG, id="new"),
        pytest.param(WAITING, TOO_YOUNG, id="waiting"),
        pytest.param(GONE, TOO_YOUNG, id="gone, and there again"),
        pytest.param(REMOVED, TOO_YOUNG, id="its archive removed, and there again"),
        pytest.param(ACTIVE, INTERRUPTED, id="active: settled before it was claimed"),
        pytest.param(ARCHIVED, LET_GO, id="archived: settled before"),
        pytest.param(DONE, STANDS_AGAIN, id="done: settled before"),
        pytest.param(QUARANTINED, LEFT, id="quarantined"),
    ],
)
def test_recording_just_written_is_planned(known: Recording | None, expected: tuple[Action, str]) -> None:
    row = None if known is None else replace(known, fingerprint=YOUNG, seen_at=NOW - 5)
    assert decided(row, MANNER, protected=False, mark=YOUNG) == expected


@pytest.mark.parametrize(
    ("age_s", "seen_ago_s", "action"),
    [
        pytest.param(60, 0, Action.ARCHIVE, id="exactly settled by its mtime"),
        pytest.param(59.5, 0, Action.WAIT, id="not quite"),
        pytest.param(-3600, 60, Action.ARCHIVE, id="mtime in the future, seen long ago"),
        pytest.param(-3600, 59.5, Action.WAIT, id="mtime in the future, seen lately"),
    ],
)
def test_waiting_recording_settles(age_s: float, seen_ago_s: float, action: Action) -> None:
    mark = MARK._replace(mtime_ns=int((NOW - age_s) * 1e9))
    row = recording(fingerprint=mark, seen_at=NOW - seen_ago_s)
    assert only(plan([found(mark=mark)], [row])).action is action


def test_unknown_recording_of_the_future_waits_until_it_was_seen_for_long_enough() -> None:
    mark = MARK._replace(mtime_ns=int((NOW + 3600) * 1e9))
    assert only(plan([found(mark=mark)], [])).action is Action.WAIT


def test_recording_that_is_to_wait_for_a_retry_is_tried_by_a_run() -> None:
    assert only(plan([found()], [recording(not_before=NOW + 3600, attempts=2)])).action is Action.ARCHIVE


def test_archived_recording_without_a_reason_says_its_source_is_here() -> None:
    assert only(plan([found()], [recording(State.ARCHIVED, reason="")])).reason == "archived; its source is still here"


def test_item_carries_what_was_found_and_what_is_known() -> None:
    seen = found(snapshots=(snapshot_of(),), doubts=("its name says 1970",))
    row = recording()
    assert only(plan([seen], [row])) == Planned(
        PATH, "front", 1000, Action.ARCHIVE, "new", seen, row, snapshots=1, doubts=("its name says 1970",)
    )


def test_rows_of_other_contents_and_paths_say_nothing_of_this_one() -> None:
    elsewhere = recording(State.QUARANTINED, PATH.with_name("REO_back_20260630081500.mp4"))
    before = recording(State.DONE, fingerprint=REPLACED)
    item = only(plan([found()], [elsewhere, before]))
    assert (item.action, item.reason, item.known) == (Action.ARCHIVE, "new", None)


# ---- what is not there any more


@pytest.mark.parametrize("seen", [[], [found(mark=REPLACED)]], ids=["nothing there", "another upload there"])
@pytest.mark.parametrize("manner", [MANNER, AGAIN], ids=["plain", "again"])
def test_unfinished_disposal_is_finished(seen: list[FoundRecording], manner: Manner) -> None:
    run = plan(seen, [ARCHIVED], manner)
    assert [item for item in run.items if item.found is None] == [
        Planned(PATH, "front", 1000, Action.DISPOSE, "its disposal was begun and not finished", None, ARCHIVED)
    ]
    assert len(run.items) == 1 + len(seen)


@pytest.mark.parametrize("state", [state for state in State if state is not State.ARCHIVED])
def test_nothing_is_planned_for_what_is_not_there(state: State) -> None:
    assert plan([], [recording(state)]).items == ()


@pytest.mark.parametrize("state", State)
def test_vanished_is_what_should_be_there_and_is_not(state: State) -> None:
    row = recording(state)
    assert plan([], [row]).vanished == ((row,) if state in {State.WAITING, State.QUARANTINED} else ())


@pytest.mark.parametrize("mark", [MARK, REPLACED], ids=["the same", "another upload"])
def test_nothing_vanished_where_its_name_stands(mark: Fingerprint) -> None:
    assert plan([found(mark=mark)], [WAITING]).vanished == ()


def test_nothing_vanished_where_the_names_do_not_fit_it_any_more() -> None:
    assert plan([], [WAITING, QUARANTINED], replace(MANNER, names=compile_names(("dahua",)))).vanished == ()


def test_nothing_vanished_where_not_everything_was_read() -> None:
    assert plan_run(discovery(incomplete=True), [WAITING, QUARANTINED], MANNER, NOW).vanished == ()


# ---- the whole


def clips(*names: str) -> list[FoundRecording]:
    return [found(PurePosixPath(f"2026/06/30/{name}.mp4")) for name in names]


SHUFFLED = ["b_20260630090000", "a_20260630080000", "c_20260630070000", "a_20260630090000"]
OLDEST_FIRST = ["c_20260630070000", "a_20260630080000", "a_20260630090000", "b_20260630090000"]


@pytest.mark.parametrize(
    ("newest_first", "stems"), [(False, OLDEST_FIRST), (True, OLDEST_FIRST[::-1])], ids=["oldest first", "newest first"]
)
def test_order_is_by_when_it_was_taken(newest_first: bool, stems: list[str]) -> None:
    run = plan(clips(*SHUFFLED), [], replace(MANNER, newest_first=newest_first))
    assert [item.path.stem for item in run.items] == stems


def test_unfinished_disposal_takes_its_place_in_time() -> None:
    path = PurePosixPath("2026/06/30/a_20260630083000.mp4")
    stems = [item.path.stem for item in plan(clips(*SHUFFLED), [recording(State.ARCHIVED, path)]).items]
    assert stems.index(path.stem) == 2


def test_totals_count_recordings_and_bytes_of_each_action() -> None:
    sizes = {"a_20260630080000": 5, "b_20260630080000": 7, "c_20260630080000": 11}
    seen = [replace_size(clip, sizes[clip.clip.path.stem]) for clip in clips(*sizes)]
    known = [recording(State.QUARANTINED, seen[2].clip.path, fingerprint=seen[2].clip.fingerprint)]
    assert plan(seen, known).totals() == {Action.ARCHIVE: (2, 12), Action.LEAVE: (1, 11)}


def replace_size(seen: FoundRecording, size: int) -> FoundRecording:
    return seen._replace(clip=seen.clip._replace(fingerprint=seen.clip.fingerprint._replace(size=size)))


def test_totals_of_nothing_are_nothing() -> None:
    assert plan([], []).totals() == {}


@pytest.mark.parametrize("action", Action)
def test_only_archiving_and_disposing_change_something(action: Action) -> None:
    assert action.changes_something is (action in {Action.ARCHIVE, Action.DISPOSE})


def test_work_is_what_changes_something_in_order() -> None:
    run = plan([found(), *clips("z_20260630100000")], [QUARANTINED])
    assert [item.path.stem for item in run.work] == ["z_20260630100000"]
    assert [item.path for item in run.of(Action.LEAVE)] == [PATH]


@pytest.mark.parametrize("delete", [True, False])
def test_plan_says_where_sources_go(delete: bool) -> None:
    assert plan([], [], replace(MANNER, delete=delete)).delete is delete


def test_plan_says_what_is_left_alone_in_order_of_its_reason() -> None:
    seen = Discovery((), (snapshot_of(),), {"symlink": 2, "foreign name": 1}, ())
    run = plan_run(seen, [], MANNER, NOW)
    assert list(run.ignored.items()) == [("foreign name", 1), ("symlink", 2)]
    assert paths_of(run.orphans) == [PATH.with_suffix(".jpg")]


# ---- whatever is found and known

paths = st.builds(
    lambda camera, minutes: PurePosixPath(
        f"2026/06/30/{camera}_{datetime(2026, 6, 30) + timedelta(minutes=minutes):%Y%m%d%H%M%S}.mp4"
    ),
    st.sampled_from(["a", "b c", "d_01"]),
    st.integers(0, 5),
)
marks = st.builds(
    Fingerprint, st.integers(1, 3), st.integers(0, 5), st.sampled_from([OLD_NS, OLD_NS * 2, YOUNG.mtime_ns, -1])
)
founds = st.lists(
    st.builds(lambda path, mark, protected: found(path, mark, protected=protected), paths, marks, st.booleans()),
    unique_by=lambda seen: seen.clip.path, max_size=12,
)  # fmt: skip
knowns = st.lists(
    st.builds(
        lambda path, mark, state: recording(state, path, fingerprint=mark, name=name_of(path)),
        paths, marks, st.sampled_from(State),
    ),
    unique_by=lambda row: (row.path, row.fingerprint), max_size=12,
)  # fmt: skip
manners = st.builds(
    Manner, st.just(MANNER.patience), newest_first=st.booleans(), again=st.booleans(), delete=st.booleans()
)


@given(founds, knowns, manners)
def test_every_recording_found_is_planned_exactly_once(
    seen: list[FoundRecording], known: list[Recording], manner: Manner
) -> None:
    planned = [item.found for item in plan(seen, known, manner).items if item.found is not None]
    assert sorted(planned, key=lambda item: item.clip.path) == sorted(seen, key=lambda item: item.clip.path)


@given(founds, knowns, manners)
def test_item_without_a_file_is_an_unfinished_disposal(
    seen: list[FoundRecording], known: list[Recording], manner: Manner
) -> None:
    items = [item for item in plan(seen, known, manner).items if item.found is None]
    standing = {(item.clip.path, item.clip.fingerprint) for item in seen}
    missing = [r for r in known if r.state is State.ARCHIVED and (r.path, r.fingerprint) not in standing]
    assert {item.action for item in items} <= {Action.DISPOSE}
    assert sorted((i.path, i.known.fingerprint.ino if i.known else 0) for i in items) == sorted(
        (row.path, row.fingerprint.ino) for row in missing
    )


@given(founds, knowns, manners)
def test_planning_twice_gives_the_same(seen: list[FoundRecording], known: list[Recording], manner: Manner) -> None:
    assert plan(seen, known, manner) == plan(list(seen), list(known), manner)


@given(st.data(), founds, knowns, manners)
def test_plan_does_not_depend_on_the_order_of_what_was_found(
    data: st.DataObject, seen: list[FoundRecording], known: list[Recording], manner: Manner
) -> None:
    shuffled = data.draw(st.permutations(seen))
    assert [item.path for item in plan(shuffled, known, manner).items] == [
        item.path for item in plan(seen, known, manner).items
    ]


@given(founds, knowns, manners)
def test_nothing_archived_is_let_go_unasked(
    seen: list[FoundRecording], known: list[Recording], manner: Manner
) -> None:  # fmt: skip
    """A source goes only when its own content, not just its name, is known to be archived."""
    for item in plan(seen, known, manner).of(Action.DISPOSE):
        assert item.known is not None
        assert item.known.state in {State.ARCHIVED, State.DONE}
        assert item.found is None or item.found.clip.fingerprint == item.known.fingerprint
        assert item.found is None or not item.found.protected


# ---- snapshots that come late

LATE = FoundFile.at(PATH.with_suffix(".jpg"), Fingerprint(77, 500, OLD_NS), name_of(PATH))


def paths_of(orphans: Iterable[Orphan]) -> list[PurePosixPath]:
    return [orphan.path for orphan in orphans]


def plan_late(*rows: Recording, snapshot: FoundFile = LATE, window_s: float = 60.0) -> RunPlan:
    found = Discovery((), (snapshot,), {}, ())
    return plan_run(found, rows, Manner(Patience(60, 600), snapshot_window_s=window_s), NOW)


def test_snapshot_that_comes_late_goes_the_way_of_its_recording() -> None:
    row = recording(State.DONE)
    plan = plan_late(row)
    assert [(item.action, item.known, item.late, item.found) for item in plan.items] == [
        (Action.DISPOSE, row, (LATE,), None)
    ]
    assert plan.orphans == ()


@pytest.mark.parametrize("state", [state for state in State if state is not State.DONE])
def test_snapshot_whose_recording_is_not_done_stays_an_orphan(state: State) -> None:
    plan = plan_late(recording(state))
    assert paths_of(plan.orphans) == [LATE.path]
    assert not any(item.late for item in plan.items)


def test_late_snapshot_that_is_too_young_waits() -> None:
    young = LATE._replace(fingerprint=Fingerprint(77, 500, int((NOW - 59) * 1e9)))
    assert paths_of(plan_late(recording(State.DONE), snapshot=young).orphans) == [LATE.path]


def test_late_snapshot_beyond_the_window_stays_an_orphan() -> None:
    later = LATE.name._replace(taken_at=LATE.name.taken_at + timedelta(seconds=61))
    far = FoundFile.at(PATH.with_name("another.jpg"), LATE.fingerprint, later)
    assert paths_of(plan_late(recording(State.DONE), snapshot=far).orphans) == [far.path]


def test_late_snapshot_goes_to_the_newest_of_one_path() -> None:
    first, second = recording(State.DONE), replace(recording(State.DONE), id=99)
    assert [item.known for item in plan_late(first, second).items] == [second]


def picture(stem: str, mtime_ns: int = OLD_NS) -> FoundFile:
    path = PATH.with_name(f"{stem}.jpg")
    return FoundFile.at(path, Fingerprint(78, 500, mtime_ns), name_of(path))


FIRST, SECOND = (PATH.with_name(f"REO_front_202606300815{second}.mp4") for second in ("00", "40"))


def plan_beside(
    *snapshots: FoundFile, standing: PurePosixPath = SECOND, known: Recording | None = None, incomplete: bool = False
) -> RunPlan:
    """One recording is done with; another stands in the tree, and the scan gave it all the snapshots."""
    row = recording(State.DONE, FIRST, name=name_of(FIRST)) if known is None else known
    seen = discovery(found(standing, snapshots=snapshots), incomplete=incomplete)
    return plan_run(seen, [row], MANNER, NOW)


@pytest.mark.parametrize(
    ("second", "late"),
    [
        pytest.param("09", True, id="nearer to the one that is done with"),
        pytest.param("31", False, id="nearer to the one that stands"),
        pytest.param("20", True, id="as near to both: the first may still have been recording"),
    ],
)
def test_snapshot_belongs_to_the_nearest_clip_also_where_that_is_done_with(second: str, late: bool) -> None:
    snapshot = picture(f"REO_front_202606300815{second}")
    run = plan_beside(snapshot)
    assert [item.late for item in run.items if item.late] == ([(snapshot,)] if late else [])
    (stands,) = [item.found for item in run.items if item.found]
    assert stands.snapshots == (() if late else (snapshot,))


def test_snapshot_of_a_source_that_stands_again_goes_with_that() -> None:
    snapshot = picture("REO_front_20260630081509")
    run = plan_beside(snapshot, standing=FIRST)
    assert [(item.snapshots, item.late) for item in run.items] == [(1, ())]


def test_snapshots_stay_with_what_stands_where_not_everything_can_be_seen() -> None:
    snapshot = picture("REO_front_20260630081509")
    run = plan_beside(snapshot, incomplete=True)
    assert [(item.snapshots, item.late) for item in run.items] == [(1, ())]


def test_snapshot_that_came_late_and_is_too_young_waits_for_its_own_clip() -> None:
    """It is not given to the other one meanwhile."""
    run = plan_beside(picture("REO_front_20260630081509", int((NOW - 3599) * 1e9)))
    assert [(item.snapshots, item.late) for item in run.items] == [(0, ())]
    assert [orphan.waits_for for orphan in run.orphans] == [f"60 minutes to have passed, then to follow {FIRST}"]


@pytest.mark.parametrize("stamp", ["00010101000000", "99991231235959"])
def test_snapshot_from_the_ends_of_time_is_an_orphan(stamp: str) -> None:
    run = plan_beside(picture(f"REO_front_{stamp}"))
    assert [orphan.waits_for for orphan in run.orphans] == ["a recording of its camera within 60 s of it"]


@pytest.mark.parametrize(("written_s", "told_s"), [(-3600, -3600), (3600, 0)], ids=["an hour ago", "in the future"])
def test_orphan_is_told_since_when(written_s: int, told_s: int) -> None:
    orphan = picture("REO_back_20260630081500", int((NOW + written_s) * 1e9))
    run = plan_run(Discovery((), (orphan,), {}, ()), [], MANNER, NOW)
    assert [told.written_at for told in run.orphans] == [NOW + told_s]


def test_orphans_are_told_oldest_first() -> None:
    done = recording(State.DONE, FIRST, name=name_of(FIRST))
    young = picture("REO_front_20260630081509", YOUNG.mtime_ns)
    others = [picture("REO_back_20260630081400"), picture("REO_back_20260630081600")]
    run = plan_run(Discovery((), (others[1], young, others[0]), {}, ()), [done], MANNER, NOW)
    assert paths_of(run.orphans) == [others[0].path, young.path, others[1].path]


@pytest.mark.parametrize(
    ("stem", "words"),
    [
        ("REO_front_20260630081509", f"It goes with {FIRST}, of which the next run makes: dispose, archived; its"),
        ("REO_front_20260630081531", f"It goes with {SECOND}, of which the next run makes: archive, new."),
        ("REO_back_20260630081500", "It waits for a recording of its camera within 60 s of it. Until then it is left"),
    ],
)
def test_plan_tells_what_becomes_of_a_snapshot(stem: str, words: str) -> None:
    snapshot = picture(stem)
    run = plan_beside(snapshot)
    assert run.of_snapshot(snapshot.path).startswith(words)
    assert run.of_snapshot(PATH.with_name("another.jpg")) == ""


@pytest.mark.parametrize("archiving", [True, False])
def test_plan_says_where_snapshots_go(archiving: bool) -> None:
    assert plan([], [], replace(MANNER, archive_snapshots=archiving)).archive_snapshots is archiving
