"""What is done about the traces of a process that died."""

from __future__ import annotations

import pytest

from archiverd.policy.model import Fingerprint, Recording, State
from archiverd.policy.naming import PartName, gone_name, parse_gone_name
from archiverd.policy.recovery import (
    CRASH_LIMIT,
    Aside,
    Deaths,
    Removal,
    Trace,
    after_death,
    after_removal,
    again_after_s,
    aside_step,
    owner_of_gone,
    removable_part,
    snapshot_job,
)
from tests.recordings import MARK, recording

LAST = CRASH_LIMIT - 1  # crashes counted before this one, which is the last allowed


ALONE = Deaths(1, CRASH_LIMIT)  # the last deaths were all of this recording


@pytest.mark.parametrize(
    ("state", "stands", "crashes", "trace"),
    [
        pytest.param(State.ACTIVE, False, 0, Trace.REDO, id="at work"),
        pytest.param(State.ACTIVE, True, 0, Trace.REDO, id="at work: what stands there is not of this job"),
        pytest.param(State.PUBLISHING, False, 0, Trace.REDO, id="publishing, no archive"),
        pytest.param(State.PUBLISHING, True, 0, Trace.FINISH, id="publishing, archive stands"),
        pytest.param(State.ACTIVE, False, LAST - 1, Trace.REDO, id="four deaths in a row"),
        pytest.param(State.ACTIVE, False, LAST, Trace.QUARANTINE, id="five deaths in a row"),
        pytest.param(State.ACTIVE, False, LAST + 5, Trace.QUARANTINE, id="more deaths"),
        pytest.param(State.PUBLISHING, False, LAST, Trace.QUARANTINE, id="five deaths, no archive"),
        pytest.param(State.PUBLISHING, True, LAST, Trace.FINISH, id="five deaths, yet its archive stands"),
    ],
)
def test_recording_whose_job_died_is(state: State, stands: bool, crashes: int, trace: Trace) -> None:
    row = recording(state, crashes=crashes)
    assert after_death(row, ALONE, archive_stands=stands, others_fare_well=True) is trace


@pytest.mark.parametrize(
    ("deaths", "others_fare_well"),
    [
        pytest.param(Deaths(1, LAST), True, id="another died between"),
        pytest.param(ALONE, False, id="another was blamed, and nothing has gone well since"),
    ],
)
def test_recording_that_died_often_is_put_off_where_that_may_be_the_machine(
    deaths: Deaths, others_fare_well: bool
) -> None:
    row = recording(State.ACTIVE, crashes=LAST)
    assert after_death(row, deaths, archive_stands=False, others_fare_well=others_fare_well) is Trace.PUT_OFF


def test_deaths_in_a_row_are_those_of_one_recording() -> None:
    deaths = Deaths()
    counts = []
    for one in (7, 7, 8, 7, 7, 7):
        deaths = deaths.then(one)
        counts.append(deaths.in_a_row)
    assert counts == [1, 2, 1, 1, 2, 3]


@pytest.mark.parametrize("deaths", [Deaths(), Deaths(7, 3, 99, 8)])
def test_deaths_are_read_as_they_were_kept(deaths: Deaths) -> None:
    assert Deaths.from_text(deaths.to_text()) == deaths


@pytest.mark.parametrize("text", [None, "", "3", "{}", '{"recording": "a", "in_a_row": 1, "blamed_to": 1}', "[" * 9999])
def test_deaths_that_make_no_sense_are_none(text: str | None) -> None:
    assert Deaths.from_text(text) == Deaths()


def test_recording_waits_for_longer_after_each_death_and_never_for_good() -> None:
    waits = [again_after_s(crashes) for crashes in (1, 2, 3, 4, 5, 6, 7, 10, 11, 10_000)]
    assert waits == [0, 15, 30, 60, 600, 1200, 2400, 19_200, 21_600, 21_600]


def test_five_deaths_are_the_limit() -> None:
    assert CRASH_LIMIT == 5


@pytest.mark.parametrize(
    ("catalog", "removable"),
    [("c0ffee", True), ("c0ffe", False), ("C0FFEE", False), ("c0ffee-2", False)],
)
def test_part_may_go_only_when_it_is_of_this_catalog(catalog: str, removable: bool) -> None:
    assert removable_part(PartName(catalog, "1"), "c0ffee") is removable


def _of(state: State) -> Recording:
    return recording(state, job="ab12")


@pytest.mark.parametrize(
    ("owner", "name_free", "step"),
    [
        pytest.param(None, True, Aside.LEAVE, id="nobody's, name free"),
        pytest.param(None, False, Aside.LEAVE, id="nobody's"),
        pytest.param(_of(State.ARCHIVED), True, Aside.PUT_BACK, id="archived, name free"),
        pytest.param(_of(State.ARCHIVED), False, Aside.FINISH, id="archived, name taken by another upload"),
        *(
            pytest.param(_of(state), free, Aside.PUT_BACK, id=f"{state}, name {'free' if free else 'taken'}")
            for state in State
            if state is not State.ARCHIVED
            for free in (True, False)
        ),
    ],
)
def test_file_set_aside_is(owner: Recording | None, name_free: bool, step: Aside) -> None:
    assert aside_step(owner, name_free=name_free) is step


@pytest.mark.parametrize(
    ("seen", "others", "step"),
    [
        pytest.param(None, False, Removal.FINISH, id="gone"),
        pytest.param(MARK, False, Removal.RELEASE, id="stands"),
        pytest.param(MARK._replace(ino=99), True, Removal.RELEASE, id="a copy of it stands, and another counts on it"),
        pytest.param(MARK._replace(size=1), False, Removal.RELEASE, id="changed, and nobody else's: the check tells"),
        pytest.param(MARK._replace(size=1), True, Removal.FINISH, id="another has its name"),
        pytest.param(MARK._replace(mtime_ns=1), True, Removal.FINISH, id="another of its size has its name"),
    ],
)
def test_claim_that_is_found_at_a_start(seen: Fingerprint | None, others: bool, step: Removal) -> None:
    assert after_removal(MARK, seen, others=others) is step


@pytest.mark.parametrize(
    ("job", "owner"),
    [
        pytest.param("ab12", ("ab12", None), id="a clip"),
        pytest.param("ab12s0", ("ab12", 0), id="its first snapshot"),
        pytest.param("ab12s17", ("ab12", 17), id="a later one"),
        pytest.param("", ("", None), id="nothing"),
    ],
)
def test_gone_name_speaks_of(job: str, owner: tuple[str, int | None]) -> None:
    assert owner_of_gone(job) == owner


@pytest.mark.parametrize("number", [0, 1, 9, 10, 123])
def test_snapshot_job_survives_the_file_name(number: int) -> None:
    job = parse_gone_name(gone_name(snapshot_job("0123456789ab", number)))
    assert job is not None
    assert owner_of_gone(job) == ("0123456789ab", number)


def test_jobs_of_a_clip_and_its_snapshots_differ() -> None:
    jobs = {"ab12", *(snapshot_job("ab12", number) for number in range(20))}
    assert len(jobs) == 21
