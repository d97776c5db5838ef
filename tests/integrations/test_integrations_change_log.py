"""Every change the catalog commits is one line of the log, with its fields, and nothing else is."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

from archiverd.errors import ArchiverError
from archiverd.policy.model import Fingerprint, FoundRecording, Recording, State
from archiverd.policy.rebuilding import KnownAgain
from archiverd.service.log_fields import fields_of
from archiverd.storage.catalog import Catalog, ClaimLostError
from archiverd.storage.catalog_schema import FILE_NAME
from tests.recordings import MARK, NOW, PATH, found, name_of, receipt

ARCHIVE = PurePosixPath("2026/06/30/REO_front_20260630081500.mp4")
Step = Callable[[Catalog, Recording], Recording]

Line = tuple[str, str, str]  # level, state, reason


@pytest.fixture
def catalog(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Catalog]:
    caplog.set_level(logging.DEBUG)
    with Catalog(tmp_path / FILE_NAME, new_id="c1") as opened:
        yield opened


def offered(catalog: Catalog) -> Recording:
    return catalog.offer(found(), NOW, reason="found")


def claimed(catalog: Catalog, row: Recording | None = None) -> Recording:
    return catalog.claim(row or offered(catalog), "j1", NOW)


def archived(catalog: Catalog) -> Recording:
    return catalog.archived(
        catalog.publishing(claimed(catalog), ARCHIVE, "a" * 64, 400, receipt(), NOW), receipt(), "transcoded", NOW
    )


def lines(caplog: pytest.LogCaptureFixture) -> list[Line]:
    """The lines since this was asked last."""
    told = [fields_of(record) | {"level": record.levelname} for record in caplog.records]
    caplog.clear()
    return [(line["level"], line.get("state", ""), line.get("reason", "")) for line in told]


def test_way_of_a_recording_is_a_line_for_each_state(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    row = catalog.done(archived(catalog), None, "source deleted", NOW)

    assert lines(caplog) == [("INFO", event.state, event.reason) for event in catalog.history(row)]
    assert [event.state for event in catalog.history(row)] == ["waiting", "active", "publishing", "archived", "done"]


def test_line_tells_recording_camera_job_and_rung(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    archived(catalog)

    assert fields_of(caplog.records[-1]) == {
        "recording": str(PATH), "camera": "front", "job": "j1", "rung": "software", "state": "archived",
        "reason": "transcoded",
    }  # fmt: skip
    assert caplog.records[-1].getMessage().startswith(f"{PATH}: archived (transcoded by software): 400 of 1000 bytes")


@pytest.mark.parametrize(
    ("begin", "step", "line"),
    [
        (claimed, lambda c, row: c.quarantine(row, "no moov", NOW), ("WARNING", "quarantined", "no moov")),
        (claimed, lambda c, row: c.wait(row, "it died", NOW, NOW, failed=True), ("WARNING", "waiting", "it died")),
        (claimed, lambda c, row: c.wait(row, "odd", NOW, NOW, trouble=True), ("WARNING", "waiting", "odd")),
        (claimed, lambda c, row: c.wait(row, "later", NOW, NOW), ("INFO", "waiting", "later")),
        (
            claimed,
            lambda c, row: c.crashed(row, "the process died while working on it", NOW, NOW),
            ("WARNING", "waiting", "the process died while working on it"),
        ),
        (claimed, lambda c, row: c.gone(row, "not there", NOW), ("INFO", "gone", "not there")),
        (claimed, lambda c, row: c.adopted(row, ARCHIVE, receipt(), NOW), ("INFO", "archived", "")),
        (archived, lambda c, row: c.hold(row, "protected", NOW, NOW), ("INFO", "archived", "protected")),
        (archived, lambda c, row: c.hold(row, "no right", NOW, NOW, trouble=True), ("WARNING", "archived", "no right")),
        (archived, lambda c, row: c.done(row, None, "other", NOW, trouble=True), ("WARNING", "done", "other")),
    ],
)  # fmt: skip
def test_change_is_told_once_at_its_level(
    begin: Callable[[Catalog], Recording], step: Step, line: Line, catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    row = begin(catalog)
    lines(caplog)
    step(catalog, row)

    assert lines(caplog) == [line]


@pytest.mark.parametrize(
    "step", [lambda c, row: c.hold(row, "transcoded", NOW + 60, NOW), lambda c, row: c.claim(row, "j2", NOW)],
    ids=["held as before", "claimed to be let go of"],
)  # fmt: skip
def test_what_changes_nothing_is_not_told(step: Step, catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    row = archived(catalog)
    lines(caplog)
    step(catalog, row)

    assert lines(caplog) == []


def changed() -> FoundRecording:
    return found(mark=Fingerprint(99, 2000, MARK.mtime_ns + 1))


@pytest.mark.parametrize(
    ("begin", "seen", "told"),
    [
        (offered, found, []),
        (offered, changed, []),  # it is still coming in
        (
            lambda c: c.wait(claimed(c), "is being written", NOW, NOW),
            changed,
            [("INFO", "waiting", "the file has changed")],
        ),
        (
            lambda c: c.quarantine(claimed(c), "no moov", NOW),
            changed,
            [("INFO", "waiting", "found"), ("INFO", "gone", "replaced by another upload of the same name")],
        ),
        (
            lambda c: c.gone(claimed(c), "not there", NOW),
            found,
            [("INFO", "waiting", "the source is there again")],
        ),
    ],
    ids=["seen again", "growing", "changed", "replaced", "back"],
)  # fmt: skip
def test_offer_is_told_where_it_changes_something(
    begin: Callable[[Catalog], Recording],
    seen: Callable[[], FoundRecording],
    told: list[Line],
    catalog: Catalog,
    caplog: pytest.LogCaptureFixture,
) -> None:
    begin(catalog)
    lines(caplog)
    catalog.offer(seen(), NOW, reason="found")

    assert lines(caplog) == told


def test_looks_that_find_nothing_new_are_told_as_details(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    row = offered(catalog)
    for reason in ("is being written", "is being written", "is being written", "not whole yet"):
        row = catalog.wait(claimed(catalog, row), reason, NOW, NOW)
    catalog.publishing(claimed(catalog, row), ARCHIVE, "a" * 64, 400, receipt(), NOW)

    told = [(level, reason) for level, _, reason in lines(caplog) if level != "DEBUG"]
    assert told == [
        ("INFO", "found"),
        ("INFO", "claimed"),
        ("INFO", "is being written"),
        ("INFO", "not whole yet"),
        ("INFO", f"as {str(ARCHIVE)!r}"),
    ]


def test_job_after_a_failure_is_told_again(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    row = catalog.wait(claimed(catalog), "is being written", NOW, NOW)
    row = catalog.wait(claimed(catalog, row), "ffmpeg failed", NOW, NOW, failed=True)
    lines(caplog)
    claimed(catalog, row)

    assert lines(caplog) == [("INFO", "active", "claimed")]


def test_job_on_a_changed_file_is_told(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    catalog.wait(claimed(catalog), "is being written", NOW, NOW)
    row = catalog.offer(changed(), NOW, reason="found")
    lines(caplog)
    claimed(catalog, row)

    assert lines(caplog) == [("INFO", "active", "claimed")]


def test_failures_in_a_row_are_each_told(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    row = offered(catalog)
    for _ in range(2):
        row = catalog.wait(claimed(catalog, row), "ffmpeg failed", NOW, NOW, failed=True)

    assert lines(caplog)[1:] == [("INFO", "active", "claimed"), ("WARNING", "waiting", "ffmpeg failed")] * 2


def test_what_is_not_committed_is_not_told(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    row = offered(catalog)
    catalog.quarantine(claimed(catalog, row), "no moov", NOW)
    lines(caplog)
    with pytest.raises(ClaimLostError):
        catalog.claim(row, "j2", NOW)
    catalog.remember("key", "value")

    assert lines(caplog) == []


def test_change_that_can_not_be_committed_is_not_told(
    tmp_path: Path, catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    row = offered(catalog)
    lines(caplog)
    other = sqlite3.connect(tmp_path / FILE_NAME)
    other.execute("CREATE TRIGGER full AFTER INSERT ON history BEGIN SELECT RAISE(ABORT, 'full'); END")
    other.close()
    with pytest.raises(ArchiverError, match="full"):
        catalog.claim(row, "j1", NOW)

    assert lines(caplog) == []


def test_what_is_known_again_is_not_told_one_by_one(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    catalog.enter_known(
        [KnownAgain(PATH, MARK, name_of(PATH), State.GONE, "its source lies in the trash", None, PATH)], NOW
    )

    assert lines(caplog) == []
