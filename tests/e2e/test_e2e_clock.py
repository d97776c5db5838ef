"""Wrong clocks and odd dates: the program while its clock is lost or leaps, other centuries, summer time."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from zoneinfo import ZoneInfo

import pytest

from archiverd.policy.model import State
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_connection import ACCEPTED
from archiverd.storage.catalog_schema import FILE_NAME
from tests.e2e.clock import Clock, written_at
from tests.e2e.invariants import assert_all_archived
from tests.e2e.rig import START, Rig, Upload, sha256_of
from tests.e2e.serving import SOON, becomes, serving
from tests.screen import until

HOUR_S, DAY_S, YEAR_S = 3600, 86_400, 365 * 86_400
RULE = '[[retention]]\nage = "30 days"\n'


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(tmp_path, monkeypatch)


def uploaded(rig: Rig, name: str, moment: datetime, written: float | None = None, camera: str = "front") -> Upload:
    """A clip whose name says a moment, written at another where that is given."""
    path = PurePosixPath(f"{moment:%Y/%m/%d}/REO_{camera}_{moment:%Y%m%d%H%M%S}.mp4")
    upload = rig.upload(name, path)
    if written is not None:
        written_at(rig.camera / path, written)
    return upload


def archived_before(rig: Rig, days_ago: int) -> Upload:
    """A clip that was archived while all was right."""
    moment = datetime.now().replace(microsecond=0) - timedelta(days=days_ago)
    upload = uploaded(rig, f"{days_ago} days ago", moment, moment.timestamp())
    rig.run_inside()
    assert rig.row(upload).state is State.DONE
    return upload


def archive_of(rig: Rig, upload: Upload) -> Path:
    archive = rig.row(upload).archive
    assert archive is not None
    return rig.archive / archive


def has_cleaned_up(rig: Rig) -> bool:
    with Catalog.to_read(rig.state / FILE_NAME) as catalog:
        return bool(catalog.recall(ACCEPTED))


# -- the clock of the machine -----------------------------------------------------------------------------------------


def test_machine_that_begins_at_1970_archives_and_cleans_up_once_its_clock_is_set(rig: Rig, clock: Clock) -> None:
    old, young = archived_before(rig, 40), archived_before(rig, 3)
    clock.say(DAY_S)
    settings = f"{SOON}max_removal = 100\n{RULE}"
    with serving(rig, settings=settings) as daemon:
        daemon.says("the clock of this machine says 1970-01-02")
        fresh = uploaded(rig, "at 1970", datetime.now().replace(microsecond=0), clock.now - 30)
        lost = uploaded(rig, "camera lost too", datetime(1970, 1, 2, 0, 0, 5), clock.now - 30)
        becomes(rig, fresh, State.DONE)
        becomes(rig, lost, State.DONE)
        assert archive_of(rig, old).exists()

        clock.set_right()
        until(lambda: not archive_of(rig, old).exists(), 60)
        assert daemon.stop() == 0
    assert rig.row(old).state is State.REMOVED
    for upload in (young, fresh, lost):
        assert archive_of(rig, upload).exists(), upload.path
        place = rig.row(upload).disposed_to
        assert place is not None
        assert sha256_of(rig.trash / place) == upload.sha256


def test_clock_that_leaps_back_and_forth_holds_up_no_clip_and_removes_none(rig: Rig, clock: Clock) -> None:
    before = archived_before(rig, 3)
    with serving(rig, settings=SOON + RULE) as daemon:
        until(lambda: has_cleaned_up(rig), 60)
        for number, leap_s in enumerate((5 * HOUR_S, -8 * HOUR_S, 3 * YEAR_S, -6 * YEAR_S)):
            clock.leap(leap_s)
            upload = uploaded(rig, f"leap {number}", START + timedelta(minutes=number), clock.now)
            becomes(rig, upload, State.DONE)
            if leap_s == 3 * YEAR_S:
                daemon.says("by a clock that now says")
        clock.set_right()
        last = uploaded(rig, "all is right", START + timedelta(hours=1), clock.now + 2 * YEAR_S)  # a file of the future
        becomes(rig, last, State.DONE)
        assert daemon.stop() == 0
    assert archive_of(rig, before).exists()
    assert_all_archived(rig)


# -- names ------------------------------------------------------------------------------------------------------------

REAL = ("19990101000000", "20240229235959", "20380119031408", "21000101000000", "21000228235959", "20000229120000")
IMPOSSIBLE = ("20230229120000", "21000229120000", "20260701240000", "20260701120060", "20260700120000")


def test_dates_of_other_centuries_are_archived_and_those_that_never_were_are_left_alone(rig: Rig, clock: Clock) -> None:
    """In the year 2040, when seconds since 1970 take more than 31 bits."""
    clock.say(datetime(2040, 2, 29, 12, 0).timestamp())
    for stamp in REAL:
        uploaded(rig, stamp, datetime.strptime(stamp, "%Y%m%d%H%M%S"), clock.now - HOUR_S)
    left = []
    for stamp in IMPOSSIBLE:
        path = rig.camera / stamp[:4] / stamp[4:6] / stamp[6:8] / f"REO_front_{stamp}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"nobody knows when")
        left.append(path)

    assert rig.run() == 0
    for path in left:
        assert path.read_bytes() == b"nobody knows when"
        path.unlink()
    assert_all_archived(rig)
    for upload in rig.uploads:
        assert archive_of(rig, upload) == rig.archive / upload.path


# -- summer time ------------------------------------------------------------------------------------------------------

REPEATED = [
    ("Europe/Berlin", datetime(2025, 10, 26, 2, 30)),
    ("America/Sao_Paulo", datetime(2018, 2, 17, 23, 30)),
    ("Australia/Lord_Howe", datetime(2025, 4, 6, 1, 45)),
]
MISSING = [
    ("Europe/Berlin", datetime(2026, 3, 29, 2, 30)),
    ("America/Sao_Paulo", datetime(2018, 11, 4, 0, 30)),
    ("Australia/Lord_Howe", datetime(2025, 10, 5, 2, 15)),
]


def in_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()


@pytest.fixture
def _zone_again(monkeypatch: pytest.MonkeyPatch) -> object:
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_zone_again")
@pytest.mark.parametrize(("zone", "moment"), REPEATED, ids=[zone for zone, _ in REPEATED])
def test_hour_that_comes_twice_gives_two_archives_of_one_name(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, zone: str, moment: datetime
) -> None:
    in_zone(zone, monkeypatch)
    for fold in (0, 1):
        written = moment.replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()
        uploaded(rig, f"{zone} {fold}", moment, written)
        rig.run_inside()

    assert_all_archived(rig)
    stem = f"REO_front_{moment:%Y%m%d%H%M%S}"
    assert sorted(path.name for path in rig.archive.rglob("*.mp4")) == [f"{stem}.mp4", f"{stem}~2.mp4"]


@pytest.mark.usefixtures("_zone_again")
@pytest.mark.parametrize(("zone", "moment"), MISSING, ids=[zone for zone, _ in MISSING])
def test_hour_that_never_was_is_archived_as_any_other(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, zone: str, moment: datetime
) -> None:
    in_zone(zone, monkeypatch)
    upload = uploaded(rig, f"{zone} missing", moment, moment.replace(tzinfo=ZoneInfo(zone)).timestamp())
    rig.run_inside()

    assert_all_archived(rig)
    assert archive_of(rig, upload) == rig.archive / upload.path
