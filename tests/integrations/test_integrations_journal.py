"""What the journal gets: a real datagram socket stands in for journald's, a file for the stream that leads there."""

from __future__ import annotations

import logging
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TextIO

import pytest

from archiverd.policy.model import ClipName
from archiverd.service.journal import JournalHandler
from archiverd.service.log_fields import about
from archiverd.service.logger import Logger
from tests.journald import Journald, logging_to
from tests.recordings import PATH, TAKEN_AT, recording

log = logging.getLogger("archiverd.test")


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    listening = Journald(tmp_path / "socket")
    yield listening
    listening.close()


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[TextIO]:
    with (tmp_path / "stderr").open("w+", encoding="utf-8") as file:
        yield file


def text_of(stream: TextIO) -> str:
    stream.seek(0)
    return stream.read()


def test_line_is_an_entry_with_its_priority_and_where_it_comes_from(journald: Journald, stream: TextIO) -> None:
    with logging_to(journald.path, stream):
        log.warning("%d files", 3)

    (entry,) = journald.entries
    line = entry.pop("CODE_LINE")
    assert line.isdigit()
    assert entry == {
        "MESSAGE": "3 files",
        "PRIORITY": "4",
        "SYSLOG_FACILITY": "3",
        "SYSLOG_IDENTIFIER": "archiverd",
        "CODE_FILE": __file__,
        "CODE_FUNC": "test_line_is_an_entry_with_its_priority_and_where_it_comes_from",
        "LOGGER": "archiverd.test",
        "THREAD_NAME": "MainThread",
    }
    assert text_of(stream) == ""


def test_line_has_the_fields_it_brings(journald: Journald, stream: TextIO) -> None:
    with logging_to(journald.path, stream):
        log.info(
            "m", extra={"camera": "front", "state": "archived", "reason": "r", "rung": "qsv", "job": "", "else": 1}
        )

    (entry,) = journald.entries
    assert [entry.get(name) for name in ("CAMERA", "STATE", "REASON", "RUNG", "JOB")] == [
        "front", "archived", "r", "qsv", None,
    ]  # fmt: skip
    assert not [name for name in entry if "ELSE" in name]


def test_line_of_a_job_tells_of_whom_and_only_while_it_lasts(journald: Journald, stream: TextIO) -> None:
    with logging_to(journald.path, stream):
        with about(recording(), "ab12"):
            log.info("one")
            log.info("two", extra={"state": "waiting", "job": "cd34"})
        log.info("three")

    names = ("RECORDING", "CAMERA", "JOB", "STATE")
    assert [[entry.get(name) for name in names] for entry in journald.entries] == [
        [str(PATH), "front", "ab12", None],
        [str(PATH), "front", "cd34", "waiting"],
        [None, None, None, None],
    ]


def test_no_name_makes_a_field_or_a_line_of_its_own(journald: Journald, stream: TextIO) -> None:
    hostile = os.fsdecode(b"caf\xe9\nPRIORITY=0\n\n\x1b[2J")
    row = recording(path=PurePosixPath(f"{hostile}.mp4"), name=ClipName(hostile, TAKEN_AT))
    with logging_to(journald.path, stream), about(row, "ab12"):
        log.info("%s seen", hostile, extra={"reason": hostile})

    (entry,) = journald.entries
    escaped = r"caf\xe9\nPRIORITY=0\n\n\x1b[2J"
    assert entry["PRIORITY"] == "6"
    assert (entry["CAMERA"], entry["REASON"], entry["MESSAGE"]) == (escaped, escaped, f"{escaped} seen")
    assert entry["RECORDING"] == f"{escaped}.mp4"


def test_traceback_follows_the_message(journald: Journald, stream: TextIO) -> None:
    with logging_to(journald.path, stream):
        try:
            raise OSError("first\nsecond \x1b")
        except OSError:
            log.exception("failed")

    lines = journald.entries[0]["MESSAGE"].split("\n")
    assert lines[0] == "failed"
    assert lines[-2:] == ["  OSError: first", r"  second \x1b"]


def test_entry_too_large_for_a_datagram_arrives(journald: Journald, stream: TextIO) -> None:
    with logging_to(journald.path, stream):
        log.info("%s", "x" * 2_000_000)

    assert len(journald.entries[0]["MESSAGE"]) == 2_000_000


def test_lines_go_to_the_stream_while_there_is_no_journald(tmp_path: Path, stream: TextIO) -> None:
    path = tmp_path / "socket"
    with logging_to(path, stream):
        log.warning("one")
        journald = Journald(path)
        log.warning("two")
        journald_heard = journald.entries
        journald.close()
        log.warning("three")

    assert [entry["MESSAGE"] for entry in journald_heard] == ["two"]
    assert text_of(stream) == "<4>WARNING archiverd.test: one\n<4>WARNING archiverd.test: three\n"


def test_lines_go_to_the_stream_while_journald_does_not_read(journald: Journald, stream: TextIO) -> None:
    with logging_to(journald.path, stream):
        for number in range(2000):
            log.info("%d", number)

    queued = [int(entry["MESSAGE"]) for entry in journald.entries]
    written = [int(line.rpartition(": ")[2]) for line in text_of(stream).splitlines()]
    assert queued + written == list(range(2000))
    assert queued


@pytest.mark.timeout(30)
def test_lines_that_nobody_takes_are_lost_and_counted(journald: Journald) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8", buffering=1) as stream, os.fdopen(reader, "rb"):
        handler = JournalHandler(journald.path, stream)
        for _ in range(5000):
            handler.handle(logging.LogRecord("archiverd.test", logging.INFO, __file__, 1, "m" * 100, (), None))
        handler.close()

        assert handler.failures > 0
        assert select.select([reader], [], [], 0)[0]


@pytest.mark.usefixtures("journald")
def test_arguments_that_do_not_fit_are_told_once(
    tmp_path: Path, stream: TextIO, capsys: pytest.CaptureFixture[str]
) -> None:
    with logging_to(tmp_path / "socket", stream):
        log.info("%d files", "three")
        log.info("%d files", "three")

    assert capsys.readouterr().err.count("a line of the log is lost: TypeError") == 1


def test_level_of_the_journal_can_be_changed(journald: Journald, stream: TextIO) -> None:
    with logging_to(journald.path, stream, logging.WARNING) as logger:
        log.info("before")
        logger.set_level(logging.DEBUG)
        log.debug("after")

    assert [(entry["MESSAGE"], entry["PRIORITY"]) for entry in journald.entries] == [("after", "7")]


def test_stream_that_is_not_the_journals_gets_plain_lines(journald: Journald, stream: TextIO) -> None:
    with Logger(logging.INFO, stream=stream, environ={"JOURNAL_STREAM": "1:2"}, journal=journald.path):
        log.info("one")

    assert journald.entries == []
    assert text_of(stream).endswith("INFO archiverd.test: one\n")


def test_logging_off_systemd_loads_no_journal() -> None:
    import subprocess  # noqa: PLC0415  (this one test asks what a new process has loaded)

    program = "import logging, sys; from archiverd.service.logger import Logger\nwith Logger(20): pass\n"
    program += "print('logging_journald' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert told.stdout == "False\n"
