from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import TextIO

import pytest

from archiverd.errors import Interrupted
from archiverd.service.bars import BarsView
from archiverd.service.log_lines import Display, one_line
from archiverd.service.progress import ProgressReporter, is_terminal
from archiverd.service.standing import (
    CurrentFile,
    Standing,
    clamped,
    clock_text,
    file_left_s,
    percent_text,
    plain_line,
    rate_text,
    shortened,
    time_left_s,
)
from tests.screen import Terminal, terminal, until

NEVER_S = 3600.0
XTERM = {"TERM": "xterm-256color"}
CLIP = "REO_front_20260730120000.mp4"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def current(
    *, duration_s: float | None = 60.0, fraction: float | None = 0.5, speed: float | None = 2.0, furthest: float = 0.0
) -> CurrentFile:
    return CurrentFile(CLIP, 1000, duration_s, 0.0, "transcoding", fraction, furthest, speed)


# --- numbers


@pytest.mark.parametrize(
    ("elapsed_s", "done_bytes", "total_bytes", "expected"),
    [
        (10.0, 25, 100, 30.0),
        (10.0, 100, 100, 0.0),
        (10.0, 150, 100, 0.0),  # files may have grown since they were counted
        (10.0, 0, 100, None),
        (0.0, 50, 100, None),
        (4.9, 50, 100, None),
        (10.0, 0, 0, None),
        (10.0, 50, 0, None),
        (-5.0, 50, 100, None),
    ],
)
def test_time_left_goes_by_the_rate_so_far(
    elapsed_s: float, done_bytes: float, total_bytes: float, expected: float | None
) -> None:
    assert time_left_s(elapsed_s, done_bytes, total_bytes) == expected


@pytest.mark.parametrize(
    ("duration_s", "fraction", "speed", "expected"),
    [
        (60.0, 0.5, 2.0, 15.0),
        (60.0, 1.0, 2.0, 0.0),
        (None, 0.5, 2.0, None),
        (60.0, None, 2.0, None),
        (60.0, 0.5, None, None),
        (60.0, 0.5, 0.0, None),
    ],
)
def test_time_left_of_a_file_goes_by_its_speed(
    duration_s: float | None, fraction: float | None, speed: float | None, expected: float | None
) -> None:
    assert file_left_s(current(duration_s=duration_s, fraction=fraction, speed=speed)) == expected


@pytest.mark.parametrize(
    ("fraction", "expected"), [(0.3, 0.3), (-1, 0), (1.5, 1), (float("nan"), 0), (float("inf"), 1)]
)
def test_fraction_stays_within_bounds(fraction: float, expected: float) -> None:
    assert clamped(fraction) == expected


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        (Standing(4, 1000, 1, 250), 0.25),
        (Standing(4, 4000, 1, 1000, current=current(furthest=0.5)), 0.375),
        (Standing(4, 0, 1, 0), 0.25),
        (Standing(0, 0), 0.0),
        (Standing(1, 100, 1, 200), 1.0),
    ],
)
def test_overall_fraction_goes_by_bytes_then_by_files(standing: Standing, expected: float) -> None:
    assert standing.fraction == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "0:00:00"), (70.9, "0:01:10"), (3600, "1:00:00"), (360000, "100:00:00")]
)
def test_clock_text(seconds: float, expected: str) -> None:
    assert clock_text(seconds) == expected


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (0, "0.0 B/s"),
        (999.9, "999.9 B/s"),
        (999.96, "1.0 kB/s"),
        (9_800_000, "9.8 MB/s"),
        (2.5e9, "2.5 GB/s"),
        (2.5e12, "2500.0 GB/s"),
    ],
)
def test_rate_text(rate: float, expected: str) -> None:
    assert rate_text(rate) == expected


@pytest.mark.parametrize(("fraction", "expected"), [(0, "0 %"), (0.999, "99 %"), (1, "100 %")])
def test_percent_is_rounded_down(fraction: float, expected: str) -> None:
    assert percent_text(fraction) == expected


@pytest.mark.parametrize(
    ("name", "expected"), [(CLIP, "REO_f…20260730120000.mp4"), ("x" * 24, "x" * 24), ("a.mp4", "a.mp4"), ("", "")]
)
def test_shortened_name_keeps_its_end(name: str, expected: str) -> None:
    assert shortened(name, 24) == expected


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        (Standing(40, 1000), "0/40 files, 0 %, elapsed 0:00:00"),
        (
            Standing(40, 40_000_000, 12, 12_000_000, 70.0, current(fraction=0.42, speed=1.8)),
            (
                "12/40 files, 30 %, REO_f…20260730120000.mp4 transcoding 42 % 1.8x, 171.4 kB/s, elapsed 0:01:10, "
                "left 0:02:43"
            ),
        ),
        (
            Standing(40, 40_000_000, 12, 12_000_000, 4.0, current(fraction=None, speed=None)),
            "12/40 files, 30 %, REO_f…20260730120000.mp4 transcoding, 3.0 MB/s, elapsed 0:00:04",
        ),
    ],
)
def test_plain_line_says_all_that_is_known(standing: Standing, expected: str) -> None:
    assert plain_line(standing) == expected


# --- where it is no terminal


def test_updates_write_nothing(stream: io.StringIO) -> None:
    with ProgressReporter(1, 1000, stream=stream, interval_s=NEVER_S) as reporter:
        reporter.begin(CLIP, 1000, 60.0)
        reporter.stage("transcoding")
        for number in range(1000):
            reporter.update(number / 1000, 1.0)

    assert stream.getvalue() == ""


def test_line_shows_the_standing_of_now(stream: io.StringIO, clock: Clock) -> None:
    with ProgressReporter(4, 4000, stream=stream, interval_s=NEVER_S, clock=clock) as reporter:
        reporter.begin(CLIP, 1000, 60.0)
        reporter.stage("transcoding")
        reporter.update(0.5, 1.8)
        clock.now += 10
        reporter.refresh()

    assert stream.getvalue() == (
        "0/4 files, 12 %, REO_f…20260730120000.mp4 transcoding 50 % 1.8x, 50.0 B/s, elapsed 0:00:10, left 0:01:10\n"
    )


def test_line_comes_by_itself_every_interval(stream: io.StringIO) -> None:
    with ProgressReporter(1, 1000, stream=stream, interval_s=0.02) as reporter:
        reporter.begin(CLIP, 1000, 60.0)
        reporter.stage("verifying")  # a stage that tells nothing

        until(lambda: stream.getvalue().count("verifying") >= 3)


def test_end_of_each_file_is_one_line(stream: io.StringIO, clock: Clock) -> None:
    with ProgressReporter(2, 2000, stream=stream, interval_s=NEVER_S, clock=clock) as reporter:
        reporter.begin(CLIP, 1000, 60.0)
        clock.now += 12
        reporter.end("archived")
        reporter.begin("b.mp4", 1000, None)
        reporter.end("failed: 1\n2")

    assert stream.getvalue().splitlines() == [
        f"1/2 files, {CLIP}: archived, took 0:00:12",
        "2/2 files, b.mp4: failed: 1\\n2, took 0:00:00",
    ]


def test_new_stage_forgets_the_fraction_but_not_the_whole(stream: io.StringIO, clock: Clock) -> None:
    with ProgressReporter(2, 2000, stream=stream, interval_s=NEVER_S, clock=clock) as reporter:
        reporter.begin(CLIP, 1000, 60.0)
        reporter.update(1.0, 1.8)
        reporter.stage("verifying")
        reporter.update(0.1, None)
        reporter.refresh()

    assert stream.getvalue() == "0/2 files, 50 %, REO_f…20260730120000.mp4 verifying 10 %, elapsed 0:00:00\n"


def test_calls_without_a_file_change_nothing(stream: io.StringIO) -> None:
    with ProgressReporter(2, 2000, stream=stream, interval_s=NEVER_S) as reporter:
        reporter.stage("transcoding")
        reporter.update(0.5, 1.0)
        reporter.end("archived")
        reporter.refresh()

    assert stream.getvalue() == "0/2 files, 0 %, elapsed 0:00:00\n"


def test_name_cannot_make_a_line_of_its_own(stream: io.StringIO) -> None:
    with ProgressReporter(1, 0, stream=stream, interval_s=NEVER_S) as reporter:
        reporter.begin("a\n\x1b[2Jb.mp4", 0, None)
        reporter.end("archived")

    assert stream.getvalue() == "1/1 files, a\\n\\x1b[2Jb.mp4: archived, took 0:00:00\n"


def test_quiet_shows_only_what_the_log_says(stream: io.StringIO) -> None:
    with ProgressReporter(1, 0, stream=stream, interval_s=0.001, quiet=True) as reporter:
        reporter.begin(CLIP, 0, None)
        reporter.print_above("a log line")
        reporter.end("archived")

    assert stream.getvalue() == "a log line\n"


def test_log_line_is_written_before_and_after_the_display(stream: io.StringIO) -> None:
    reporter = ProgressReporter(1, 0, stream=stream, interval_s=NEVER_S)
    display: Display = reporter
    display.print_above("before")
    with reporter:
        pass
    display.print_above("after")

    assert stream.getvalue() == "before\nafter\n"


def test_lines_of_many_threads_stay_whole(stream: io.StringIO) -> None:
    def work(reporter: ProgressReporter, letter: str) -> None:
        for number in range(100):
            reporter.print_above(letter * 50)
            reporter.update(number / 100, 1.0)

    with ProgressReporter(1, 1000, stream=stream, interval_s=0.001) as reporter:
        reporter.begin("", 1000, None)
        threads = [threading.Thread(target=work, args=(reporter, letter)) for letter in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    lines = [line for line in stream.getvalue().splitlines() if "files" not in line]
    assert sorted(lines) == sorted([letter * 50 for letter in "abcd"] * 100)


@pytest.mark.parametrize("kind", ["closed", "full", "pipe"])
def test_stream_that_takes_nothing_does_not_raise(kind: str) -> None:
    with failing(kind) as broken, ProgressReporter(1, 1000, stream=broken, interval_s=NEVER_S) as reporter:
        reporter.begin(CLIP, 1000, None)
        reporter.refresh()
        reporter.print_above("a log line")
        reporter.end("archived")


def test_process_without_stderr_does_not_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)

    with ProgressReporter(1, 1000, interval_s=NEVER_S) as reporter:
        reporter.refresh()
        reporter.print_above("a log line")


class failing:  # noqa: N801  (reads as a function where it is used)
    """A stream that is closed, full, or a pipe nobody reads; goes without a sound."""

    def __init__(self, kind: str) -> None:
        if kind == "full":
            descriptor = os.open("/dev/full", os.O_WRONLY)
        else:
            reader, descriptor = os.pipe()
            os.close(reader)
        self._descriptor = descriptor
        self._stream = os.fdopen(os.dup(descriptor), "w", encoding="utf-8")
        if kind == "closed":
            self._stream.close()

    def __enter__(self) -> TextIO:
        return self._stream

    def __exit__(self, *_: object) -> None:
        if not self._stream.closed:
            with open(os.devnull, "w", encoding="utf-8") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
            self._stream.close()
        os.close(self._descriptor)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [(XTERM, True), ({"TERM": "dumb"}, False), ({"TERM": "unknown"}, False), ({"TERM": ""}, False), ({}, False)],
)
def test_terminal_is_one_that_can_move_its_cursor(environ: Mapping[str, str], expected: bool) -> None:
    with terminal() as tty:
        assert is_terminal(tty.stream, environ) is expected


def test_dumb_terminal_gets_plain_lines() -> None:
    with terminal() as tty:
        with reporter_on(tty, environ={"TERM": "dumb"}) as reporter:
            reporter.begin(CLIP, 1000, None)
            reporter.end("archived")
        output = tty.close()

    assert output == f"1/2 files, {CLIP}: archived, took 0:00:00\r\n"


def test_rich_is_loaded_only_on_a_terminal() -> None:
    program = (
        "import io, sys\n"
        "from archiverd.service.progress import ProgressReporter\n"
        "with ProgressReporter(1, 1, stream=io.StringIO()) as reporter: reporter.refresh()\n"
        "sys.exit('rich' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


# --- on a terminal


def two_bars(screen: list[str]) -> bool:
    return len(screen) == 2 and "0/2 files" in screen[1]


def reporter_on(
    tty: Terminal, *, total_files: int = 2, total_bytes: int = 2000, environ: Mapping[str, str] = XTERM
) -> ProgressReporter:
    return ProgressReporter(total_files, total_bytes, stream=tty.stream, environ=environ)


def test_bars_show_the_file_and_all_files() -> None:
    with terminal(100) as tty, reporter_on(tty) as reporter:
        reporter.begin(CLIP, 1000, 60.0)
        reporter.stage("transcoding")
        reporter.update(0.5, 1.5)
        first, second = tty.shows(lambda screen: len(screen) == 2 and "25 %" in screen[1] and "B/s" in screen[1])

    assert first.startswith("REO_f…20260730120000.mp4 ━")
    assert first.endswith("50 % transcoding, 1.5x, 0:00:20 left")
    assert second.startswith("0/2 files")
    assert "25 %" in second
    assert "B/s, 0:00:0" in second


def test_bars_are_gone_at_the_end_and_the_log_stays() -> None:
    with terminal() as tty:
        with reporter_on(tty) as reporter:
            reporter.begin(CLIP, 1000, 60.0)
            tty.shows(two_bars)
            reporter.print_above("first line")
            reporter.print_above("second line\n  and more of it")
            reporter.refresh()
            reporter.end("archived")
            reporter.print_above("third line")
        tty.close()

        assert tty.screen == ["first line", "second line", "  and more of it", "third line"]


def test_log_lines_stand_above_the_bars() -> None:
    with terminal() as tty, reporter_on(tty) as reporter:
        reporter.begin(CLIP, 1000, 60.0)
        tty.shows(two_bars)
        reporter.print_above("a log line")
        tty.shows(lambda screen: screen[:1] == ["a log line"] and two_bars(screen[1:]))
        reporter.print_above("another log line")
        tty.shows(lambda screen: screen[:2] == ["a log line", "another log line"] and two_bars(screen[2:]))


@pytest.mark.parametrize("error", [Interrupted(2), ValueError("of ours"), KeyboardInterrupt()])
def test_terminal_is_clean_when_left_by_an_exception(error: BaseException) -> None:
    with terminal() as tty:
        with contextlib.suppress(type(error)), reporter_on(tty) as reporter:
            reporter.begin(CLIP, 1000, 60.0)
            tty.shows(two_bars)
            raise error
        output = tty.close()

        assert tty.screen == []
    assert output.count("\x1b[?25l") <= output.count("\x1b[?25h")  # the cursor is not left hidden


def test_no_thread_is_left(stream: io.StringIO) -> None:
    before = threading.active_count()
    for _ in range(200):
        with ProgressReporter(1, 0, stream=stream, interval_s=NEVER_S):
            pass

        assert threading.active_count() == before


@pytest.mark.parametrize("name", ["[red]a[/red].mp4", "[/].mp4", ":smile:.mp4", "[link=x]y.mp4"])
def test_name_is_never_markup(name: str) -> None:
    with terminal() as tty, reporter_on(tty) as reporter:
        reporter.begin(name, 1000, 60.0)
        reporter.print_above(name)

        tty.shows(lambda screen: [name in line for line in screen] == [True, True, False])


@pytest.mark.parametrize("name", ["a\nb\x1b[2Jc.mp4", os.fsdecode(b"caf\xe9.mp4"), "カメラ" * 20, "x" * 250])
@pytest.mark.parametrize("columns", [20, 40, 60, 72, 80, 250])
def test_bars_keep_to_two_lines_of_any_terminal(name: str, columns: int) -> None:
    standing = Standing(
        40, 40_000_000, 12, 12_000_000, 7000.0, CurrentFile(one_line(name), 10, 60.0, 0.0, "transcoding")
    )
    with terminal(columns) as tty:
        view = BarsView(tty.stream, standing, XTERM)
        view.draw(standing)
        view.draw(standing)
        tty.close()
        screen = tty.screen

    assert len(screen) == 2
    assert max(map(cells, screen)) <= columns


def cells(text: str) -> int:
    """The columns a text takes: those of the katakana in these tests are two wide."""
    return sum(2 if "\u3000" <= character <= "\u30ff" else 1 for character in text)


def test_bars_follow_the_width_of_the_terminal() -> None:
    with terminal(100) as tty, reporter_on(tty) as reporter:
        reporter.begin(CLIP, 1000, 60.0)
        tty.shows(lambda screen: two_bars(screen) and len(screen[1]) > 80)
        tty.resize(76)

        tty.shows(lambda screen: two_bars(screen) and 50 < max(map(len, screen)) <= 76)


def test_terminal_of_unknown_size_is_taken_for_a_usual_one() -> None:
    with terminal(0, 0) as tty, reporter_on(tty) as reporter:
        reporter.begin(CLIP, 1000, 60.0)

        tty.shows(lambda screen: two_bars(screen) and 60 < max(map(len, screen)) <= 80)


def test_no_color_is_heeded() -> None:
    with terminal() as tty, reporter_on(tty, environ={**XTERM, "NO_COLOR": "1"}) as reporter:
        reporter.begin(CLIP, 1000, 60.0)
        reporter.update(0.5, 1.0)
        tty.shows(lambda screen: two_bars(screen) and "50 %" in screen[0])

        assert not any(f"\x1b[{color}m" in tty.output for color in range(30, 38))


def test_terminal_that_goes_away_does_not_raise() -> None:
    master, slave = os.openpty()
    stream = os.fdopen(slave, "w", encoding="utf-8")
    with ProgressReporter(1, 1000, stream=stream, environ=XTERM) as reporter:
        reporter.begin(CLIP, 1000, 60.0)
        reporter.refresh()
        os.close(master)
        reporter.refresh()
        reporter.print_above("a log line")
        reporter.end("archived")

    with contextlib.suppress(OSError):
        stream.close()
