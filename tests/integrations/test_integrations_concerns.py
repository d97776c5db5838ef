"""What the catalog and the disks tell of problems, asked of a real catalog."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath

import pytest

from archiverd.concerns import Concerns
from archiverd.policy.backlog import Pace
from archiverd.policy.falling import STANDINGS, Breaker, Footing, Standing, Standings
from archiverd.policy.model import Fingerprint, FoundRecording
from archiverd.policy.problems import Course, Problem, ProblemKind
from archiverd.policy.recovery import CRASH_LIMIT, Deaths
from archiverd.policy.rungs import Kind, Rung
from archiverd.problems import Problems
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_connection import DEATHS
from archiverd.storage.catalog_schema import FILE_NAME
from tests.recordings import MARK, NOW, PATH, found, receipt

HOUR, DAY = 3600.0, 86_400.0
NODE = "/dev/dri/renderD128"
HUNG = Breaker(3, 600.0, NOW + 600, "it hangs", "Look at the kernel log")


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(tmp_path / FILE_NAME) as opened:
        yield opened


class Watch:
    """Concerns and the problems they report, over a time that passes as it is told."""

    def __init__(self, catalog: Catalog, places: dict[str, Path] | None = None, min_free: int | None = 10**9) -> None:
        self.catalog = catalog
        self.problems = Problems()
        self.now = NOW
        self.heard_until: float | None = None
        self.concerns = Concerns(
            catalog, self.problems, places=places or {}, min_free=min_free,
            heard_until=lambda: self.now if self.heard_until is None else self.heard_until,
        )  # fmt: skip

    def pass_by(self, seconds: float, step_s: float = 600.0) -> None:
        """Let time pass, looking now and then."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + step_s)
            self.look()

    def look(self) -> None:
        for _ in range(200):
            again_at = self.concerns.step(self.now)
            if again_at > self.now:
                assert again_at == self.now + 2
                break
        self.problems.step(self.now, self.catalog)

    def open(self, kind: ProblemKind) -> list[Problem]:
        return [course.problem for course in self.problems.open() if course.problem.kind is kind]


def upload(camera: str, at: float, seen_at: float | None = None) -> tuple[FoundRecording, float]:
    stamp = datetime.fromtimestamp(at).strftime("%Y%m%d%H%M%S")
    mark = Fingerprint(int(at), 1000, int(at * 1e9))
    return found(PurePosixPath(f"REO_{camera}_{stamp}.mp4"), mark), at if seen_at is None else seen_at


def enter(catalog: Catalog, uploads: Iterable[tuple[str, float]]) -> None:
    """Cameras with the moments of their uploads, entered all at once."""
    rows = [
        (f"{number} {camera}".encode("utf-8", "surrogateescape"), int(at * 1e9), os.fsencode(camera), at)
        for number, (camera, at) in enumerate(uploads)
    ]
    with catalog._writing() as connection:
        connection.executemany(
            "INSERT INTO recording (path, ino, size, mtime_ns, camera, taken_at, copy, state, reason, not_before,"
            " seen_at) VALUES (?, 1, 1, ?, ?, '2026-06-30T08:15:00', 1, 'done', '', 0, ?)",
            rows,
        )


def half_hours(days: int) -> Iterator[float]:
    """Each half hour from 8:00 to 20:00 on the days before, and up to noon today."""
    for day in reversed(range(days)):
        morning = NOW - day * DAY - 4 * HOUR
        yield from (morning + half * HOUR / 2 for half in range(25) if morning + half * HOUR / 2 <= NOW)


def upload_for_days(catalog: Catalog, camera: str, days: int) -> None:
    enter(catalog, ((camera, at) for at in half_hours(days)))


# -- deaths -----------------------------------------------------------------------------------------------


def test_deaths_for_which_nobody_is_quarantined_are_told_until_it_is_archived(catalog: Catalog) -> None:
    watch = Watch(catalog)
    row = catalog.offer(found(), NOW, reason="new")
    for number in range(CRASH_LIMIT):
        watch.look()
        assert watch.open(ProblemKind.QUARANTINED) == []
        row = catalog.crashed(catalog.claim(row, f"j{number}", NOW), "the process died", NOW, NOW)
    catalog.correct(DEATHS, Deaths(put_off=row.id).to_text())
    watch.pass_by(20)
    (problem,) = watch.open(ProblemKind.QUARANTINED)
    assert problem.message.startswith(f"archiverd dies again and again, 5 times while working on {PATH}")
    row = catalog.publishing(catalog.claim(row, "j9", NOW), PATH, "a" * 64, 400, receipt(), NOW)
    catalog.archived(row, receipt(), "transcoded", NOW)
    watch.pass_by(140, 20)
    assert watch.open(ProblemKind.QUARANTINED) == []


# -- more than can be archived ------------------------------------------------------------------------------


def come_and_go(watch: Watch, hours: int, *, each_hour: int, archived: int) -> None:
    """Uploads of so many hours, of which so many an hour are archived, oldest first."""
    for _ in range(hours):
        clips = [upload("front", watch.now + number)[0] for number in range(each_hour)]
        watch.catalog.offer_all([(clip, "closed", watch.now) for clip in clips], watch.now)
        watch.pass_by(HOUR / 2)
        for _ in range(archived):
            row = watch.catalog.due(watch.now)
            if row is not None:
                claimed = watch.catalog.claim(row, "job", watch.now)
                row = watch.catalog.publishing(claimed, row.path, "a" * 64, 400, receipt(), watch.now)
                watch.catalog.done(watch.catalog.archived(row, receipt(), "transcoded", watch.now), None, "", watch.now)
        watch.pass_by(HOUR / 2)


def test_a_queue_that_grows_is_told_in_time_and_until_it_does_not(catalog: Catalog) -> None:
    watch = Watch(catalog)
    come_and_go(watch, 2, each_hour=10, archived=10)
    assert watch.open(ProblemKind.BEHIND) == []
    come_and_go(watch, 4, each_hour=10, archived=5)
    (problem,) = watch.open(ProblemKind.BEHIND)
    assert "recordings come faster than they are archived" in problem.message
    come_and_go(watch, 16, each_hour=5, archived=10)
    assert watch.open(ProblemKind.BEHIND) == []
    assert catalog.backlog(watch.now).waiting == 0


def test_what_came_in_an_outage_is_no_problem_while_it_is_made_up_for(catalog: Catalog) -> None:
    watch = Watch(catalog)
    come_and_go(watch, 1, each_hour=100, archived=20)
    come_and_go(watch, 4, each_hour=5, archived=20)
    assert catalog.backlog(watch.now).longest_s > 3600
    assert watch.open(ProblemKind.BEHIND) == []


def test_what_came_in_a_pause_is_no_problem_when_the_work_goes_on(catalog: Catalog) -> None:
    watch = Watch(catalog)
    watch.problems.found(ProblemKind.PAUSED, [Problem(ProblemKind.PAUSED, "", "the disk is full")])
    come_and_go(watch, 4, each_hour=10, archived=0)
    watch.problems.found(ProblemKind.PAUSED, [])
    come_and_go(watch, 4, each_hour=10, archived=30)
    assert watch.open(ProblemKind.BEHIND) == []
    assert catalog.backlog(watch.now).waiting < 10


def test_the_pace_counts_nothing_of_a_clock_that_was_ahead(catalog: Catalog) -> None:
    watch = Watch(catalog)
    watch.now += 400 * DAY
    come_and_go(watch, 4, each_hour=10, archived=10)
    watch.now = NOW
    come_and_go(watch, 4, each_hour=10, archived=0)
    assert catalog.backlog(watch.now).day == Pace(40, 0)


def test_the_longest_wait_is_told_though_files_bear_times_of_long_ago(catalog: Catalog) -> None:
    watch = Watch(catalog)
    come_and_go(watch, 4, each_hour=10, archived=0)
    old = Fingerprint(1, 1000, int((NOW - 900 * DAY) * 1e9))
    clip = found(PATH.with_name("REO_front_20240101081500.mp4"), old).clip
    catalog.enter_found([(clip, NOW - 900 * DAY)], "new", watch.now)
    assert catalog.backlog(watch.now).longest_s > 3 * HOUR


def test_a_tree_that_is_new_is_no_queue_that_grows(catalog: Catalog) -> None:
    watch = Watch(catalog)
    mark = Fingerprint(1, 1000, int((NOW - 9 * DAY) * 1e9))
    clips = [found(PATH.with_name(f"REO_front_202501{n + 10}081500.mp4"), mark).clip for n in range(20)]
    catalog.enter_found([(clip, NOW) for clip in clips], "new", NOW)
    watch.pass_by(6 * HOUR)
    assert catalog.backlog(watch.now).waiting == 20
    assert catalog.backlog(watch.now).day.came == 0
    assert watch.open(ProblemKind.BEHIND) == []


def test_a_pause_is_told_as_such_alone(catalog: Catalog) -> None:
    watch = Watch(catalog)
    watch.problems.found(ProblemKind.PAUSED, [Problem(ProblemKind.PAUSED, "", "the disk is full")])
    come_and_go(watch, 4, each_hour=10, archived=0)
    assert watch.open(ProblemKind.PAUSED)
    assert watch.open(ProblemKind.BEHIND) == []


# -- quarantined ------------------------------------------------------------------------------------------


def test_quarantined_recordings_are_one_problem_until_none_is_left(catalog: Catalog) -> None:
    watch = Watch(catalog)
    watch.look()
    assert watch.open(ProblemKind.QUARANTINED) == []
    rows = []
    problem: Problem | None = None
    for number in (1, 2):
        name = PATH.with_name(f"REO_front_2026063008150{number}.mp4")
        row = catalog.offer(found(name, MARK._replace(ino=number)), NOW, reason="new")
        rows.append(catalog.quarantine(row, "not a whole clip", NOW))
        watch.pass_by(20)
        (problem,) = watch.open(ProblemKind.QUARANTINED)
    assert problem is not None
    assert problem.message == f"2 recordings are quarantined, the newest of them {rows[1].path}: not a whole clip"
    assert "archiverd retry" in problem.remedy
    catalog.retry(rows[1], NOW)
    watch.pass_by(20)
    (problem,) = watch.open(ProblemKind.QUARANTINED)
    assert problem.message == f"one recording is quarantined, {rows[0].path}: not a whole clip"
    catalog.retry(rows[0], NOW)
    watch.pass_by(140, 20)
    assert watch.open(ProblemKind.QUARANTINED) == []


# -- room -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("free", "told"), [(0.2, False), (0.09, True)])
def test_a_disk_without_room_for_this_user_is_one_problem_however_much_of_ours_stands_there(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, told: bool
) -> None:
    (tmp_path / "trash").mkdir()
    places = {"source": tmp_path, "trash": tmp_path / "trash", "archive": tmp_path / "not there"}
    room = os.statvfs_result((4096, 4096, 1000, 1000, int(1000 * free), 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _path: room)
    watch = Watch(catalog, places, min_free=2**40)
    watch.pass_by(60, 20)
    assert [problem.subject for problem in watch.open(ProblemKind.DISK)] == ([str(tmp_path)] if told else [])
    assert all("source, trash has" in problem.message for problem in watch.open(ProblemKind.DISK))


# -- hardware ---------------------------------------------------------------------------------------------


def stands(footing: Footing, kind: Kind | None = Kind.H264, device: str = NODE) -> Standing:
    return Standing(Rung.QSV, kind, footing, device, HUNG)


@pytest.mark.parametrize(
    ("standings", "worked", "told"),
    [
        ([stands(Footing.USED)], True, False),
        ([stands(Footing.RESTS)], False, True),
        ([stands(Footing.USED), stands(Footing.RESTS, Kind.HEVC)], False, True),
        ([stands(Footing.UNUSABLE)], True, True),
        ([stands(Footing.UNUSABLE)], False, False),  # it never worked here
        ([stands(Footing.USED), stands(Footing.UNUSABLE, Kind.HEVC_10)], True, False),  # for some footage alone
        ([Standing(Rung.QSV, None, Footing.UNTRIED)], True, False),
        ([stands(Footing.UNUSABLE, device="")], True, False),
    ],
)
def test_hardware_that_worked_and_does_not_now_is_told(
    catalog: Catalog, standings: list[Standing], worked: bool, told: bool
) -> None:
    if worked:
        row = catalog.claim(catalog.offer(found(), NOW, reason="new"), "ab12", NOW)
        made = receipt(rung="qsv")
        catalog.archived(catalog.publishing(row, PATH, "a" * 64, 400, made, NOW), made, "transcoded", NOW)
    catalog.correct(STANDINGS, Standings("a machine", tuple(standings)).to_text())
    watch = Watch(catalog)
    watch.look()
    message = f"qsv on {NODE} worked and does not now, clips go on without it: it hangs"
    expected = [Problem(ProblemKind.HARDWARE, "qsv", message, "Look at the kernel log")] if told else []
    assert watch.open(ProblemKind.HARDWARE) == expected


# -- quiet cameras ----------------------------------------------------------------------------------------


def quiet(watch: Watch) -> list[str]:
    return [problem.subject for problem in watch.open(ProblemKind.QUIET)]


def test_camera_that_falls_silent_is_told_until_it_uploads_again_over_a_restart(catalog: Catalog) -> None:
    upload_for_days(catalog, "T\udcfcr", 10)
    upload_for_days(catalog, "door", 3)
    watch = Watch(catalog)
    watch.pass_by(1.9 * HOUR)
    assert quiet(watch) == []
    watch.pass_by(0.3 * HOUR)
    assert quiet(watch) == [r"T\xfcr"]
    watch.pass_by(20 * HOUR)  # through the night, where such a pause is usual
    assert quiet(watch) == [r"T\xfcr"]

    again = Watch(catalog)
    again.now = watch.now
    again.pass_by(3 * HOUR)
    assert quiet(again) == [r"T\xfcr"]
    catalog.offer(*upload("T\udcfcr", again.now), reason="new")
    again.pass_by(20)
    assert quiet(again) == []


def test_camera_that_stays_away_for_a_month_is_given_up(catalog: Catalog) -> None:
    upload_for_days(catalog, "front", 10)
    watch = Watch(catalog)
    watch.pass_by(30.5 * DAY, HOUR / 5)
    (problem,) = watch.open(ProblemKind.QUIET)
    assert problem.message.endswith("and counts as taken away")
    watch.pass_by(DAY, HOUR / 5)
    assert quiet(watch) == []


def test_what_the_catalog_tells_no_more_of_stays_a_problem(catalog: Catalog) -> None:
    known = Course(Problem(ProblemKind.QUIET, "front", "front is quiet"), NOW - DAY, is_open=True)
    catalog.keep_problems([known], [])
    watch = Watch(catalog)
    watch.problems.step(NOW, catalog)
    watch.pass_by(DAY)
    assert quiet(watch) == ["front"]
    watch.pass_by(31 * DAY)
    assert quiet(watch) == []


def test_while_the_worker_is_busy_no_camera_is_quiet(catalog: Catalog) -> None:
    upload_for_days(catalog, "front", 10)
    watch = Watch(catalog)
    watch.heard_until = NOW + HOUR
    watch.pass_by(6 * HOUR)
    assert quiet(watch) == []
    watch.heard_until = None
    watch.pass_by(20)
    assert quiet(watch) == ["front"]


@pytest.mark.parametrize("jump", [40 * DAY, -40 * DAY])
def test_a_clock_that_jumps_raises_no_alarm(catalog: Catalog, jump: float) -> None:
    upload_for_days(catalog, "front", 10)
    watch = Watch(catalog)
    watch.look()
    watch.now += jump
    watch.pass_by(0.9 * HOUR)
    catalog.offer(*upload("front", watch.now), reason="new")
    watch.pass_by(600)
    watch.now -= jump
    watch.pass_by(0.5 * HOUR)
    assert quiet(watch) == []


def test_a_machine_that_slept_listens_before_it_says_a_camera_is_quiet(catalog: Catalog) -> None:
    upload_for_days(catalog, "front", 10)
    watch = Watch(catalog)
    watch.look()
    watch.now += DAY
    watch.pass_by(0.9 * HOUR)
    assert quiet(watch) == []
    watch.pass_by(2 * HOUR)
    assert quiet(watch) == ["front"]


def test_what_came_while_the_clock_was_ahead_hides_no_silence_after(catalog: Catalog) -> None:
    watch = Watch(catalog)
    watch.now = NOW - 10 * DAY
    enter(catalog, [("front", NOW + 40 * DAY)])
    watch.now += 50 * DAY
    watch.look()
    watch.now -= 50 * DAY
    watch.look()
    upload_for_days(catalog, "front", 9)
    watch.now = NOW
    watch.look()
    watch.pass_by(3 * HOUR)
    assert quiet(watch) == ["front"]


def test_cameras_made_up_by_an_uploader_are_neither_kept_without_end_nor_told(catalog: Catalog) -> None:
    upload_for_days(catalog, "front", 10)
    enter(catalog, ((f"c{number}", NOW + 300) for number in range(3000)))
    watch = Watch(catalog)
    assert [watch.concerns.step(NOW) for _ in range(4)] == [NOW, NOW, NOW, NOW + 2]
    assert len(watch.concerns._cameras._rhythms) == 500
    watch.pass_by(3 * HOUR)
    assert quiet(watch) == ["front"]
