"""What the log tells of a job: each change of a recording once, and of every line, whom it is about."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from archiverd.service.log_fields import fields_of
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_schema import FILE_NAME
from tests.e2e.rig import Rig, Upload


class Heard(logging.Handler):
    """Every line with its fields, as the journal's handler would send them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(fields_of(record) | {"level": record.levelname, "logger": record.name})

    def changes_of(self, upload: Upload) -> list[dict[str, str]]:
        return [line for line in self.lines if "state" in line and line["recording"] == str(upload.path)]


@pytest.fixture
def heard() -> Iterator[Heard]:
    logger, handler = logging.getLogger("archiverd"), Heard()
    before = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


def test_each_change_of_each_recording_is_told_once(rig: Rig, heard: Heard) -> None:
    good = rig.upload("a", snapshots=1)
    bad = rig.upload_bytes(b"no clip at all", rig.path(1, "back"))
    rig.run_inside()

    with Catalog.to_read(rig.state / FILE_NAME) as catalog:
        for upload in (good, bad):
            (row,) = catalog.at_path(upload.path)
            told = [(line["state"], line["reason"]) for line in heard.changes_of(upload)]
            assert told == [(event.state, event.reason) for event in catalog.history(row)]
    assert [line["level"] for line in heard.changes_of(good)] == ["INFO"] * 5
    assert [line["level"] for line in heard.changes_of(bad)] == ["INFO", "INFO", "WARNING"]
    assert [line.get("rung") for line in heard.changes_of(good)] == [None, None, None, "software", None]


def test_every_line_of_a_job_tells_whom_it_is_about(rig: Rig, heard: Heard) -> None:
    upload = rig.upload("a")
    rig.fake_ffmpeg("if transcoding: sys.exit('it does not work')")
    rig.run_inside()

    states = [number for number, line in enumerate(heard.lines) if "state" in line]
    job = heard.lines[states[1] : states[-1] + 1]
    assert [heard.lines[number]["state"] for number in states] == ["waiting", "active", "waiting"]
    assert {line["logger"] for line in job} >= {"archiverd.maker", "archiverd.storage.change_log"}
    about = {(line.get("recording"), line.get("camera"), line.get("job")) for line in job}
    assert about == {(str(upload.path), "front", job[0]["job"])}
