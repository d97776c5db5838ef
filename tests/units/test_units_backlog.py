"""When it is told that recordings come faster than they are archived."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archiverd.policy.backlog import DAY_S, Backlog, Pace, backlog_words, behind

GROWS = Backlog(waiting=300, longest_s=7200.0, day=Pace(1000, 700), hour=Pace(60, 30))


@pytest.mark.parametrize(
    ("backlog", "told"),
    [
        pytest.param(GROWS, True, id="grows"),
        pytest.param(replace(GROWS, longest_s=3599.0), False, id="nothing waits for long"),
        pytest.param(replace(GROWS, day=Pace(1000, 1000)), False, id="as much as came was archived that day"),
        pytest.param(replace(GROWS, hour=Pace(30, 31)), False, id="an outage is made up for"),
        pytest.param(replace(GROWS, hour=Pace(0, 0)), True, id="nothing goes on at all"),
    ],
)
def test_a_problem_is_that_the_queue_grows_and_the_first_has_waited_for_long(backlog: Backlog, told: bool) -> None:
    assert bool(behind(backlog)) is told


@pytest.mark.parametrize(("since_pause_s", "told"), [(0.0, False), (3600.0, False), (3601.0, True), (-5.0, True)])
def test_a_pause_and_the_hour_after_it_are_no_problem_of_the_pace(since_pause_s: float, told: bool) -> None:
    assert bool(behind(GROWS, since_pause_s)) is told


def test_the_problem_tells_the_figures_and_what_mends_it() -> None:
    (problem,) = behind(GROWS)
    assert "1000 came in a day, and 700 were archived; 300 wait, the first for 2 hours" in problem.message
    assert "archiverd probe" in problem.remedy


@pytest.mark.parametrize(
    ("backlog", "over_in_s"),
    [
        pytest.param(replace(GROWS, waiting=0), 0.0, id="nothing waits"),
        pytest.param(GROWS, None, id="never"),
        pytest.param(replace(GROWS, day=Pace(700, 700)), None, id="it stays as it is"),
        pytest.param(replace(GROWS, day=Pace(700, 1300)), DAY_S / 2, id="half a day"),
        pytest.param(replace(GROWS, longest_s=60.0, day=Pace(1000, 600)), DAY_S / 2, id="what comes is kept up with"),
    ],
)
def test_the_end_of_a_queue_is_reckoned_by_the_last_day(backlog: Backlog, over_in_s: float | None) -> None:
    assert backlog.over_in_s == over_in_s


@pytest.mark.parametrize(
    ("backlog", "words"),
    [
        pytest.param(replace(GROWS, waiting=0), "", id="nothing waits"),
        pytest.param(
            GROWS,
            "300 wait for their turn, the first for 2 hours; in the last day 1000 came and 700 were archived, at that"
            " pace they become no fewer",
            id="never",
        ),
        pytest.param(
            replace(GROWS, longest_s=600.0, day=Pace(700, 800)),
            "300 wait for their turn, the first for 10 minutes; in the last day 700 came and 800 were archived, at that"
            " pace they are done in 3 days",
            id="in time",
        ),
    ],
)
def test_what_waits_is_told_in_a_line(backlog: Backlog, words: str) -> None:
    assert backlog_words(backlog) == words
