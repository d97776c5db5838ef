from __future__ import annotations

import io
import logging
import os
import re
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from archiverd.service import logger as logger_module
from archiverd.service.log_lines import LineFormatter, ThreadSafeStreamHandler, goes_to_journal, one_line
from archiverd.service.logger import Logger

log = logging.getLogger("archiverd.test")


class Above:
    """A display that keeps what it was given."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def print_above(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def full() -> Iterator[TextIO]:
    """A stream that takes nothing: what is written to it fails with ENOSPC."""
    file = open("/dev/full", "w", encoding="utf-8", buffering=1)  # noqa: SIM115  (closed below, and failing at it)
    yield file
    with pytest.raises(OSError, match="No space left"):
        file.close()


def record_of(message: str, *args: object, level: int = logging.INFO, fails: bool = False) -> logging.LogRecord:
    record = logging.LogRecord("archiverd.test", level, __file__, 1, message, args, None)
    record.created = 1785412800.25
    if fails:
        try:
            raise OSError("first\nsecond \x1b[2J")
        except OSError:
            record.exc_info = sys.exc_info()
    return record


# --- one line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("REO_Vorgarten BE_01.mp4", "REO_Vorgarten BE_01.mp4"),
        ("カメラ ü 🎥", "カメラ ü 🎥"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2J\x9b2J\x7f\x00", r"\x1b[2J\x9b2J\x7f\x00"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        ("4pm\u202egpj", r"4pm\u202egpj"),
        (os.fsdecode(b"caf\xe9.mp4"), r"caf\xe9.mp4"),
        ("\ud800", r"\ud800"),
    ],
)
def test_one_line_escapes_what_is_not_plain_text(text: str, expected: str) -> None:
    assert one_line(text) == expected


@pytest.mark.parametrize("number", [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xDC80, 0xDFFF])
def test_one_line_leaves_a_single_line_that_encodes(number: int) -> None:
    text = one_line(f"a{chr(number)}b")

    assert text.splitlines() == [text]
    assert text.encode("utf-8")


# --- formatter


def test_line_begins_with_local_time_offset_level_and_logger() -> None:
    line = LineFormatter().format(record_of("%d files", 3))

    assert re.fullmatch(r"2026-07-(29|30|31)T\d\d:\d\d:00\.250[+-]\d\d:\d\d INFO archiverd\.test: 3 files", line)


def test_message_cannot_begin_a_line_of_its_own() -> None:
    line = LineFormatter().format(record_of("%s seen", "a.mp4\n2026-07-30T12:00:00.000+02:00 INFO archiverd: forged"))

    assert len(line.splitlines()) == 1


def test_traceback_keeps_its_lines_indented_and_clean() -> None:
    first, *further = LineFormatter().format(record_of("failed", fails=True)).split("\n")

    assert first.endswith("archiverd.test: failed")
    assert len(further) > 3
    assert all(line.startswith("  ") for line in further)
    assert further[-2:] == ["  OSError: first", "  second \\x1b[2J"]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (logging.DEBUG, "<7>DEBUG archiverd.test: m"),
        (logging.INFO, "<6>INFO archiverd.test: m"),
        (logging.WARNING, "<4>WARNING archiverd.test: m"),
        (logging.ERROR, "<3>ERROR archiverd.test: m"),
        (logging.CRITICAL, "<2>CRITICAL archiverd.test: m"),
    ],
)
def test_journal_line_has_a_priority_and_no_time(level: int, expected: str) -> None:
    assert LineFormatter(journal=True).format(record_of("m", level=level)) == expected


def test_journal_priority_stands_on_each_line_of_a_traceback() -> None:
    lines = LineFormatter(journal=True).format(record_of("failed", level=logging.ERROR, fails=True)).split("\n")

    assert all(line.startswith("<3>") for line in lines)
    assert all(line.startswith("<3>  ") for line in lines[1:])


def test_journal_is_known_by_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as file:
        status = os.fstat(file.fileno())

        assert goes_to_journal(file, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})


@pytest.mark.parametrize("environ", [{}, {"JOURNAL_STREAM": ""}, {"JOURNAL_STREAM": "1:2"}])
def test_other_streams_are_not_the_journal(tmp_path: Path, environ: dict[str, str]) -> None:
    with (tmp_path / "stderr").open("w") as file:
        assert not goes_to_journal(file, environ)


@pytest.mark.parametrize("kind", ["memory", "closed", "none"])
def test_stream_without_a_file_is_not_the_journal(tmp_path: Path, kind: str) -> None:
    closed = (tmp_path / "stderr").open("w")
    closed.close()
    streams: dict[str, TextIO | None] = {"memory": io.StringIO(), "closed": closed, "none": None}

    assert not goes_to_journal(streams[kind], {"JOURNAL_STREAM": "1:2"})


# --- stream handler


def test_lines_go_above_the_display(stream: io.StringIO) -> None:
    above = Above()
    handler = ThreadSafeStreamHandler(stream, display=above)

    handler.handle(record_of("one"))

    assert (above.texts, stream.getvalue()) == (["one"], "")


@pytest.mark.parametrize("displayed", [False, True])
def test_arguments_that_do_not_fit_are_counted_and_told_once(
    stream: io.StringIO, displayed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = ThreadSafeStreamHandler(stream, display=Above() if displayed else None)

    for _ in range(3):
        handler.handle(record_of("%d files", "three"))

    told = capsys.readouterr().err
    assert handler.failures == 3
    assert told.count("a line of the log is lost") == 1
    assert "test_units_logger.py:1" in told


def test_full_stream_is_counted_and_told_once(full: TextIO, capsys: pytest.CaptureFixture[str]) -> None:
    handler = ThreadSafeStreamHandler(full)

    for _ in range(3):
        handler.handle(record_of("one"))

    told = capsys.readouterr().err
    assert handler.failures == 3
    assert told.splitlines() == [
        "archiverd: a line of the log is lost: No space left on device (logged at test_units_logger.py:1)"
    ]


def test_closed_stream_does_not_raise(stream: io.StringIO) -> None:
    handler = ThreadSafeStreamHandler(stream)
    stream.close()

    handler.handle(record_of("one"))
    handler.flush()

    assert handler.failures == 1


@pytest.mark.parametrize("stderr", ["none", "closed", "full"])
def test_stderr_that_fails_as_well_does_not_raise(stderr: str, full: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    streams: dict[str, TextIO | None] = {"none": None, "closed": closed, "full": full}
    full.write("so that closing it fails in each case")
    monkeypatch.setattr(sys, "stderr", streams[stderr])
    handler = ThreadSafeStreamHandler(closed)

    handler.handle(record_of("one"))

    assert handler.failures == 1


def test_lines_of_many_threads_stay_whole(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        handler = ThreadSafeStreamHandler(file)

        def write(letter: str) -> None:
            for _ in range(100):
                handler.handle(record_of(letter * 200))

        threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    lines = (tmp_path / "out").read_text(encoding="utf-8").splitlines()
    assert sorted(lines) == sorted([letter * 200 for letter in "abcd"] * 100)


# --- Logger


def test_logger_writes_to_console_and_file(tmp_path: Path, stream: io.StringIO) -> None:
    with Logger(logging.INFO, tmp_path / "a.log", stream=stream):
        log.info("one %s", "clip")

    assert stream.getvalue().endswith("INFO archiverd.test: one clip\n")
    assert (tmp_path / "a.log").read_text(encoding="utf-8") == stream.getvalue()


def test_console_takes_its_own_level(tmp_path: Path, stream: io.StringIO) -> None:
    with Logger(logging.INFO, tmp_path / "a.log", stream=stream, console_level=logging.ERROR):
        log.info("one")

    assert (stream.getvalue(), (tmp_path / "a.log").read_text().count("one")) == ("", 1)


def test_file_takes_its_own_level(tmp_path: Path, stream: io.StringIO) -> None:
    with Logger(logging.WARNING, tmp_path / "a.log", stream=stream, console_level=logging.DEBUG):
        log.debug("one")

    assert (stream.getvalue().count("one"), (tmp_path / "a.log").read_text()) == (1, "")


def test_logger_leaves_everything_as_it_was(tmp_path: Path, stream: io.StringIO) -> None:
    root = logging.getLogger("archiverd")
    before = (root.level, root.propagate, list(root.handlers))

    with Logger(logging.DEBUG, tmp_path / "a.log", stream=stream):
        during = (root.level, root.propagate, list(root.handlers))

    assert (root.level, root.propagate, list(root.handlers)) == before
    assert during != before


def test_logger_can_be_closed_twice_and_started_again(tmp_path: Path, stream: io.StringIO) -> None:
    logger = Logger(logging.INFO, tmp_path / "a.log", stream=stream)
    logger.start()
    logger.close()
    logger.close()
    with logger:
        log.info("one")

    assert stream.getvalue().count("one") == 1


def test_lines_go_above_a_display_only_while_it_is_shown(stream: io.StringIO) -> None:
    above = Above()
    with Logger(logging.INFO, stream=stream) as logger:
        with logger.below(above):
            log.info("during")
        log.info("after")

    assert ["during" in text for text in above.texts] == [True]
    assert ("during" in stream.getvalue(), "after" in stream.getvalue()) == (False, True)


def test_display_of_a_logger_that_is_not_started_is_an_error() -> None:
    with pytest.raises(ValueError, match="not started"), Logger(logging.INFO).below(Above()):
        pass


def test_log_file_is_made_for_owner_and_group(tmp_path: Path, stream: io.StringIO) -> None:
    before = os.umask(0)
    try:
        with Logger(logging.INFO, tmp_path / "a.log", stream=stream):
            log.info("one")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "a.log").stat().st_mode) == 0o640


def test_log_file_turns_over_and_keeps_five(tmp_path: Path, stream: io.StringIO) -> None:
    line = "x" * (512 * 1024)
    with Logger(logging.INFO, tmp_path / "a.log", stream=stream, console_level=logging.CRITICAL):
        for _ in range(60):
            log.info(line)

    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sorted(sizes) == ["a.log", *(f"a.log.{number}" for number in range(1, 6))]
    assert max(sizes.values()) <= 4 * 1024 * 1024


def test_name_that_is_not_utf8_is_logged_as_bytes(tmp_path: Path, stream: io.StringIO) -> None:
    with Logger(logging.INFO, tmp_path / "a.log", stream=stream):
        log.info("%s", Path(os.fsdecode(b"caf\xe9.mp4")))

    assert rb"caf\xe9.mp4" in (tmp_path / "a.log").read_bytes()


def test_level_can_be_changed_while_it_logs(tmp_path: Path, stream: io.StringIO) -> None:
    with Logger(logging.WARNING, tmp_path / "a.log", stream=stream) as logger:
        log.info("before")
        logger.set_level(logging.DEBUG)
        log.debug("after")
        logger.set_level(logging.ERROR, console_level=logging.WARNING)
        log.info("neither")
        log.warning("console")

    assert [line.split(": ")[-1] for line in stream.getvalue().splitlines()] == ["after", "console"]
    assert [line.split(": ")[-1] for line in (tmp_path / "a.log").read_text().splitlines()] == ["after"]


def test_level_changed_leaves_the_lines_of_a_failing_file_to_the_console(stream: io.StringIO) -> None:
    with Logger(logging.INFO, Path("/dev/full"), stream=stream) as logger:
        log.info("lost")
        logger.set_level(logging.INFO, console_level=logging.ERROR)
        log.info("told")

    assert stream.getvalue().endswith("INFO archiverd.test: told\n")


def test_level_of_a_logger_that_is_not_started_is_an_error() -> None:
    with pytest.raises(ValueError, match="not started"):
        Logger(logging.INFO).set_level(logging.DEBUG)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("missing/a.log", "No such file or directory"),
        ("directory", "Is a directory"),
        ("link", "Too many levels of symbolic links"),
        ("file/a.log", "Not a directory"),
    ],
)
def test_log_file_that_cannot_be_opened_is_named_once_and_the_console_takes_over(
    tmp_path: Path, stream: io.StringIO, place: str, reason: str
) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")

    with Logger(logging.INFO, tmp_path / place, stream=stream, console_level=logging.ERROR):
        log.info("one")

    warning, line = stream.getvalue().splitlines()
    assert f"log file {tmp_path / place} cannot be written: {reason}" in warning
    assert line.endswith("one")
    assert (tmp_path / "file").read_text() == ""


def test_log_file_on_a_full_disk_is_named_once_and_the_console_takes_over(stream: io.StringIO) -> None:
    with Logger(logging.INFO, Path("/dev/full"), stream=stream, console_level=logging.ERROR):
        log.info("one")
        log.info("two")
        log.error("three")

    warning, *lines = stream.getvalue().splitlines()
    assert "log file /dev/full cannot be written: No space left on device" in warning
    assert [line.split(": ")[-1] for line in lines] == ["one", "two", "three"]


def test_log_file_that_cannot_turn_over_stops_nothing(tmp_path: Path, stream: io.StringIO) -> None:
    # A directory that is not empty stands where the last kept file would go: os.replace onto it fails, also for root.
    (tmp_path / "a.log.1" / "x").mkdir(parents=True)
    (tmp_path / "a.log").write_bytes(b"x" * logger_module.LOG_FILE_BYTES)
    for number in range(2, 6):
        (tmp_path / f"a.log.{number}" / "x").mkdir(parents=True)

    with Logger(logging.INFO, tmp_path / "a.log", stream=stream, console_level=logging.ERROR):
        log.info("one")
        log.info("two")

    assert stream.getvalue().count("cannot be written") == 1


def test_faulty_call_is_not_taken_for_a_faulty_file(
    tmp_path: Path, stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    with Logger(logging.INFO, tmp_path / "a.log", stream=stream):
        log.info("%d files", "three")

    assert stream.getvalue() == ""
    assert "a line of the log is lost: TypeError" in capsys.readouterr().err


def test_console_under_systemd_has_priorities_while_the_file_has_times(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w", encoding="utf-8") as console:
        status = os.fstat(console.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        with Logger(logging.INFO, tmp_path / "a.log", stream=console, environ=environ, journal=tmp_path / "none"):
            log.warning("one")

    assert (tmp_path / "stderr").read_text() == "<4>WARNING archiverd.test: one\n"
    assert (tmp_path / "a.log").read_text().startswith("20")
