"""Problems: each is told once as it opens and once as it closes, over restarts, flapping, and a disk that fails."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

import pytest

from archiverd.errors import ResourceError
from archiverd.policy.problems import Change, Course, Notice, Problem, ProblemKind, review, times_of
from archiverd.problems import Problems

NOW = 1_800_000_000.0
PAUSED = Problem(ProblemKind.PAUSED, "", "/camera is full", "Make room")
FRONT = Problem(ProblemKind.QUIET, "front", "front has sent nothing")
DOOR = Problem(ProblemKind.QUIET, "door", "door has sent nothing")
CONFIG = Problem(ProblemKind.CONFIG, "", "age: write a number")


class Memory:
    """A catalog that keeps problems, and whose disk may fail."""

    def __init__(self) -> None:
        self.courses: list[Course] = []
        self.untold: list[Notice] = []
        self.commits = 0
        self.fails = False

    def problems(self) -> tuple[list[Course], list[Notice]]:
        if self.fails:
            raise ResourceError("the disk fails")
        return self.courses, self.untold

    def keep_problems(self, courses: Iterable[Course], untold: Iterable[Notice]) -> None:
        if self.fails:
            raise ResourceError("the disk fails")
        self.courses, self.untold = list(courses), list(untold)
        self.commits += 1


class Outlet:
    """Takes notices, and settles them when told to."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.taken: list[Notice] = []
        self.done: list[Notice] = []

    def offer(self, notice: Notice) -> bool:
        if len(self.taken) >= self.room:
            return False
        self.taken.append(notice)
        return True

    def settled(self) -> list[Notice]:
        done, self.done = self.done, []
        return done

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(notice.change.value, notice.problem.key) for notice in self.taken]


def messages(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


# -- when a problem opens and closes ----------------------------------------------------------------------


def opened(problem: Problem, since: float = NOW) -> Course:
    return Course(problem, since, is_open=True)


@pytest.mark.parametrize("kind", list(ProblemKind))
def test_a_problem_opens_once_when_it_has_stood_long_enough(kind: ProblemKind) -> None:
    problem = Problem(kind, "x", "wrong")
    stands_s = times_of(kind).opens_after_s
    first = review((), {kind: [problem]}, NOW)
    assert [n.change for n in first.notices] == ([] if stands_s else [Change.OPENED])
    due = review(first.courses, {kind: [problem]}, NOW + stands_s)
    assert due.courses == (opened(problem),)
    assert len(first.notices + due.notices) == 1
    assert review(due.courses, {kind: [problem]}, NOW + stands_s + 1).notices == ()


@pytest.mark.parametrize("kind", list(ProblemKind))
def test_a_problem_closes_once_when_it_has_been_gone_long_enough(kind: ProblemKind) -> None:
    problem = Problem(kind, "x", "wrong")
    first = review([opened(problem)], {kind: []}, NOW)
    due = review(first.courses, {kind: []}, NOW + times_of(kind).closes_after_s)
    assert due.courses == ()
    assert [n.change for n in first.notices + due.notices] == [Change.CLOSED]


def test_a_pause_of_seconds_is_told_of_never() -> None:
    short = review((), {ProblemKind.PAUSED: [PAUSED]}, NOW)
    over = review(short.courses, {ProblemKind.PAUSED: []}, NOW + 29)
    assert over == review((), {}, NOW)


def test_a_problem_that_comes_back_soon_is_the_same_problem() -> None:
    gone = review([opened(PAUSED)], {ProblemKind.PAUSED: []}, NOW + 100)
    back = review(gone.courses, {ProblemKind.PAUSED: [PAUSED]}, NOW + 219)
    assert gone.courses[0].gone_at == NOW + 100
    assert back.courses == (opened(PAUSED),)
    assert gone.notices == back.notices == ()


def test_another_message_is_noted_and_not_told() -> None:
    renewed = replace(PAUSED, message="/camera is still full")
    reviewed = review([opened(PAUSED)], {ProblemKind.PAUSED: [renewed]}, NOW)
    assert reviewed.courses == (opened(renewed),)
    assert reviewed.notices == ()


def test_a_kind_nobody_has_spoken_of_is_left_as_it_was() -> None:
    assert review([opened(PAUSED)], {ProblemKind.QUIET: []}, NOW + 9999).courses == (opened(PAUSED),)


def test_problems_of_one_kind_are_told_apart_by_their_subject() -> None:
    reviewed = review([opened(FRONT)], {ProblemKind.QUIET: [DOOR]}, NOW)
    assert [(n.change, n.problem) for n in reviewed.notices] == [(Change.CLOSED, FRONT), (Change.OPENED, DOOR)]


def test_a_clock_set_back_delays_no_problem_for_long() -> None:
    ahead = Course(PAUSED, NOW + 86400)
    first = review([ahead], {ProblemKind.PAUSED: [PAUSED]}, NOW)
    assert review(first.courses, {ProblemKind.PAUSED: [PAUSED]}, NOW + 30).notices
    gone = replace(opened(PAUSED), gone_at=NOW + 86400)
    closing = review([gone], {ProblemKind.PAUSED: []}, NOW)
    assert review(closing.courses, {ProblemKind.PAUSED: []}, NOW + 120).notices


def test_what_a_camera_calls_itself_is_one_line_that_can_be_printed() -> None:
    hostile = Problem(ProblemKind.QUIET, "T\udcfcr\n\x1b[31m", "T\udcfcr\n\x1b[31m is quiet")
    assert (hostile.subject, hostile.message) == (r"T\xfcr\n\x1b[31m", r"T\xfcr\n\x1b[31m is quiet")
    assert replace(hostile) == hostile


# -- logged, kept, handed on ------------------------------------------------------------------------------


def test_opening_and_closing_are_logged_once_with_the_remedy(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    problems = Problems()
    problems.found(ProblemKind.DISK, [replace(PAUSED, kind=ProblemKind.DISK)])
    for second in range(40):
        problems.step(NOW + second)
    problems.found(ProblemKind.DISK)
    for second in range(40, 200):
        problems.step(NOW + second)
    assert messages(caplog) == [
        ("ERROR", "problem: /camera is full. Make room"),
        ("INFO", "over: /camera is full"),
    ]


def test_what_its_reporter_has_logged_is_not_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    problems = Problems()
    problems.found(ProblemKind.CONFIG, [CONFIG])
    problems.step(NOW)
    problems.found(ProblemKind.CONFIG)
    problems.step(NOW + 1)
    assert messages(caplog) == [("INFO", f"over: {CONFIG.message}")]


def test_line_of_a_quiet_camera_is_found_by_its_camera(caplog: pytest.LogCaptureFixture) -> None:
    problems = Problems()
    problems.found(ProblemKind.QUIET, [FRONT])
    problems.step(NOW)
    assert [getattr(record, "camera", None) for record in caplog.records] == ["front"]


def test_open_problems_are_those_that_were_told() -> None:
    problems = Problems()
    problems.found(ProblemKind.PAUSED, [PAUSED])
    problems.found(ProblemKind.QUIET, [FRONT])
    assert problems.step(NOW) == NOW + 1
    assert [course.problem for course in problems.open()] == [FRONT]


def test_a_restart_tells_nothing_again_and_closes_what_was_mended(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    memory, outlet = Memory(), Outlet()
    before = Problems(outlet)
    before.found(ProblemKind.CONFIG, [CONFIG])
    before.found(ProblemKind.QUIET, [FRONT])
    before.step(NOW, memory)
    outlet.done = list(outlet.taken)
    before.step(NOW + 1, memory)
    caplog.clear()
    again = Outlet()
    after = Problems(again)
    after.found(ProblemKind.QUIET, [FRONT])
    after.step(NOW + 60, memory)
    assert again.told == []
    assert messages(caplog) == []
    after.found(ProblemKind.CONFIG)
    after.step(NOW + 61, memory)
    assert again.told == [("closed", "config:")]
    assert [course.problem for course in memory.courses] == [FRONT]


def test_what_was_found_before_a_catalog_was_open_is_the_problem_it_knows() -> None:
    memory, outlet = Memory(), Outlet()
    memory.courses = [opened(PAUSED, NOW - 500)]
    problems = Problems(outlet)
    problems.found(ProblemKind.PAUSED, [PAUSED])
    problems.step(NOW)
    problems.step(NOW + 1, memory)
    problems.step(NOW + 60, memory)
    assert outlet.told == []
    assert memory.courses == [opened(PAUSED, NOW - 500)]


def test_a_catalog_that_is_opened_anew_gets_what_stands_and_gives_nothing_back() -> None:
    first, second = Memory(), Memory()
    second.courses = [opened(FRONT)]
    problems = Problems()
    problems.found(ProblemKind.CONFIG, [CONFIG])
    problems.step(NOW, first)
    problems.step(NOW + 1, second)
    assert second.courses == [opened(CONFIG)]


def test_a_commit_is_made_only_where_something_changed() -> None:
    memory = Memory()
    problems = Problems()
    problems.found(ProblemKind.CONFIG, [CONFIG])
    for second in range(10):
        problems.step(NOW + second, memory)
    assert memory.commits == 1


def test_a_disk_that_fails_stops_no_telling_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory()
    memory.fails = True
    problems = Problems()
    problems.found(ProblemKind.QUIET, [FRONT])
    problems.step(NOW, memory)
    problems.step(NOW + 1, memory)
    assert [text.split(":")[0] for _, text in messages(caplog)] == [
        "what is told of problems can't be kept, and may be told again after a restart",
        "problem",
    ]
    memory.fails = False
    problems.step(NOW + 2, memory)
    assert memory.courses == [opened(FRONT)]


def test_what_was_not_handed_on_is_handed_on_after_a_restart_in_its_order() -> None:
    memory = Memory()
    before = Problems(Outlet(room=0))
    before.found(ProblemKind.CONFIG, [CONFIG])
    before.step(NOW, memory)
    before.found(ProblemKind.CONFIG)
    before.step(NOW + 1, memory)
    again = Outlet()
    after = Problems(again)
    after.step(NOW + 2, memory)
    assert again.told == [("opened", "config:"), ("closed", "config:")]
    again.done = list(again.taken)
    after.step(NOW + 3, memory)
    after.step(NOW + 4, memory)
    assert (memory.untold, len(again.taken)) == ([], 2)


def test_what_the_outlet_has_is_not_offered_again() -> None:
    outlet = Outlet()
    problems = Problems(outlet)
    problems.found(ProblemKind.CONFIG, [CONFIG])
    problems.step(NOW)
    problems.step(NOW + 1)
    assert outlet.told == [("opened", "config:")]


def test_no_more_is_kept_to_be_handed_on_than_somebody_would_read(caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory()
    problems = Problems(Outlet(room=0))
    problems.found(ProblemKind.QUIET, [Problem(ProblemKind.QUIET, str(n), f"{n} is quiet") for n in range(101)])
    problems.step(NOW, memory)
    assert len(memory.untold) == 100
    assert "too much to hand on to on_problem, never handed on: 0 is quiet" in caplog.text
