"""When the tree is looked through, and what of a directory is to be looked at again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from archiverd.policy.model import Fingerprint, FoundFile, Known, KnownFile, Listing, State
from archiverd.policy.name_patterns import CANONICAL
from archiverd.policy.scanning import (
    Differences,
    Looked,
    Reach,
    Timetable,
    differences,
    due,
    looked,
    next_due,
    pace_of,
    recent,
)
from archiverd.policy.watching import Observing
from tests.recordings import MARK, NOW, PATH, name_of, snapshot_of

CLIP = FoundFile.at(PATH, MARK, name_of(PATH))
DAY_S = 86400.0
OLD_NS = int((NOW - 3 * DAY_S) * 1e9)
HERE = Listing(PATH.parent, OLD_NS, (CLIP,), (), frozenset(), (), complete=True)
EMPTY = replace(HERE, clips=())
DONE_TODAY = Timetable(all_at=NOW - 100, recent_at=NOW - 5)


def row(state: State, name: str = PATH.name, mark: Fingerprint = MARK, not_before: float = NOW - 1) -> KnownFile:
    return KnownFile(name, mark, state, not_before)


@pytest.mark.parametrize(
    ("timetable", "observing", "reach", "at"),
    [
        pytest.param(Timetable(), Observing.INOTIFY, Reach.ALL, NOW, id="at the start"),
        pytest.param(DONE_TODAY, Observing.INOTIFY, None, NOW + 55, id="nothing for a minute"),
        pytest.param(DONE_TODAY, Observing.POLL, None, NOW + 5, id="nothing for ten seconds"),
        pytest.param(replace(DONE_TODAY, recent_at=NOW - 60), Observing.INOTIFY, Reach.RECENT, NOW, id="a minute"),
        pytest.param(replace(DONE_TODAY, recent_at=NOW - 10), Observing.POLL, Reach.RECENT, NOW, id="ten seconds"),
        pytest.param(replace(DONE_TODAY, all_at=NOW - DAY_S), Observing.INOTIFY, Reach.ALL, NOW, id="a day"),
        pytest.param(replace(DONE_TODAY, all_at=NOW - 3600), Observing.POLL, Reach.ALL, NOW, id="an hour"),
        pytest.param(replace(DONE_TODAY, requested=True), Observing.INOTIFY, Reach.ALL, NOW, id="as requested"),
        pytest.param(replace(DONE_TODAY, recent_at=NOW + 9), Observing.INOTIFY, Reach.RECENT, NOW, id="clock set back"),
    ],
)
def test_the_tree_is_looked_through_when_it_is_due(
    timetable: Timetable, observing: Observing, reach: Reach | None, at: float
) -> None:
    assert due(timetable, pace_of(observing), NOW) is reach
    assert next_due(timetable, pace_of(observing), NOW) == at


@pytest.mark.parametrize(
    "known",
    [pytest.param((), id="nothing"), pytest.param((row(State.DONE, mark=Fingerprint(9, 9, 9)),), id="another content")],
)
def test_a_clip_of_which_nothing_is_known_is_to_be_entered(known: tuple[KnownFile, ...]) -> None:
    assert differences(HERE, Known(known), CANONICAL, NOW) == Differences(unknown=(CLIP,))


@pytest.mark.parametrize(
    ("known", "calls"),
    [
        pytest.param((row(State.GONE),), True, id="there again"),
        pytest.param((row(State.REMOVED),), True, id="there again after its archive was removed"),
        pytest.param((row(State.DONE),), True, id="let go of, and stands"),
        pytest.param((row(State.ARCHIVED),), True, id="archived, and not protected any more"),
        pytest.param((row(State.ARCHIVED, not_before=NOW + 1),), False, id="archived, its disposal waits"),
        pytest.param((row(State.DONE, mark=Fingerprint(9, 9, 9)), row(State.WAITING)), False, id="known"),
        *(
            pytest.param((row(state),), False, id=state)
            for state in (State.WAITING, State.ACTIVE, State.PUBLISHING, State.QUARANTINED)
        ),
    ],
)
def test_a_clip_is_looked_at_where_its_row_says_that_something_is_to_be_done(
    known: tuple[KnownFile, ...], calls: bool
) -> None:
    assert differences(HERE, Known(known), CANONICAL, NOW) == Differences(clips=(PATH,) if calls else ())


@pytest.mark.parametrize("state", [State.ARCHIVED, State.DONE])
def test_a_protected_clip_that_is_archived_is_left_in_peace(state: State) -> None:
    protected = replace(HERE, protected=frozenset({PATH}))
    assert differences(protected, Known((row(state),)), CANONICAL, NOW) == Differences()


@pytest.mark.parametrize(
    ("state", "missed"),
    [(state, state in (State.WAITING, State.QUARANTINED, State.ARCHIVED)) for state in State],
)
def test_a_clip_that_should_stand_there_and_does_not_is_missed(state: State, missed: bool) -> None:
    assert differences(EMPTY, Known((row(state),)), CANONICAL, NOW).missing == ((PATH,) if missed else ())


def test_nothing_is_missed_where_not_all_could_be_seen_or_names_are_read_otherwise_now() -> None:
    known = Known((row(State.WAITING),))
    assert differences(replace(EMPTY, complete=False), known, CANONICAL, NOW) == Differences()
    assert differences(EMPTY, Known((row(State.WAITING, "of other cameras.mp4"),)), CANONICAL, NOW) == Differences()


@pytest.mark.parametrize("state", State)
def test_a_snapshot_of_a_clip_whose_turn_is_to_come_waits_for_that(state: State) -> None:
    both = replace(HERE, snapshots=(snapshot_of(),))
    over = state in (State.ARCHIVED, State.DONE, State.REMOVED, State.GONE)
    assert bool(differences(both, Known((row(state),)), CANONICAL, NOW).snapshots) is over
    assert not differences(both, Known(), CANONICAL, NOW).snapshots


def test_a_snapshot_is_told_where_it_goes_with_no_recording() -> None:
    snapshot = snapshot_of()
    with_snapshot = replace(EMPTY, snapshots=(snapshot,))
    assert differences(with_snapshot, Known(), CANONICAL, NOW).snapshots == (snapshot,)
    known = Known(snapshots=frozenset({(snapshot.path.name, snapshot.fingerprint)}))
    assert differences(with_snapshot, known, CANONICAL, NOW) == Differences()


@pytest.mark.parametrize(
    ("listing", "found", "quiet"),
    [
        pytest.param(HERE, Differences(), True, id="quiet"),
        pytest.param(HERE, Differences(clips=(PATH,)), False, id="something to do"),
        pytest.param(HERE, Differences(unknown=(CLIP,)), False, id="something unknown"),
        pytest.param(HERE, Differences(missing=(PATH,)), False, id="something missing"),
        pytest.param(replace(HERE, complete=False), Differences(), False, id="not all seen"),
        pytest.param(replace(HERE, modified_ns=int((NOW - 1) * 1e9)), Differences(), False, id="modified just now"),
        pytest.param(HERE, Differences(snapshots=(snapshot_of(),)), True, id="an old snapshot of nothing"),
        pytest.param(
            HERE, Differences(snapshots=(snapshot_of()._replace(fingerprint=Fingerprint(1, 1, int(NOW * 1e9))),)),
            False, id="a young one",
        ),
    ],
)  # fmt: skip
def test_a_directory_is_quiet_when_it_need_not_be_read_until_it_is_modified(
    listing: Listing, found: Differences, quiet: bool
) -> None:
    assert looked(listing, found, old_after_s=3600.0, now=NOW).quiet is quiet


def modified(**ages_days: float) -> dict[PurePosixPath, Looked]:
    return {
        PurePosixPath(path.replace("_", "/")): Looked(int((NOW - age * DAY_S) * 1e9), NOW, True, frozenset())
        for path, age in ages_days.items()
    }


def test_recent_are_directories_that_changed_in_two_days_and_all_above_them() -> None:
    directories = modified(y=90, y_05=60, y_05_30=60, y_06=1, y_06_29=3, y_06_30=1.9, y_07_01=0, y_07=0.5, y_06_28=4)
    assert {str(path) for path in recent(directories, 100, NOW)} == {
        ".", "y", "y/06", "y/06/30", "y/07", "y/07/01",
    }  # fmt: skip


def test_recent_are_some_however_long_ago_and_never_too_many() -> None:
    long_ago = modified(a=90, b=80, c=70, d=60, e=50)
    assert {str(path) for path in recent(long_ago, 100, NOW)} == {".", "b", "c", "d", "e"}
    many = modified(**{f"a{number}": number / 1000 for number in range(100)})
    assert len(recent(many, 10, NOW)) == 11
