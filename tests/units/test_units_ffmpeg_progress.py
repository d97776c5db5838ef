"""ffmpeg's own account of how far it is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiverd.media.ffmpeg_progress import Position, ProgressFeed

# As ffmpeg 5.1 prints them.
AT_START = """\
frame=0
fps=0.00
stream_0_0_q=0.0
bitrate=N/A
total_size=0
out_time_us=N/A
out_time_ms=N/A
out_time=N/A
dup_frames=0
drop_frames=0
speed=N/A
progress=continue
"""
AT_WORK = """\
frame=75
fps=149.32
stream_0_0_q=28.0
bitrate= 219.4kbits/s
total_size=65584
out_time_us=2391293
out_time_ms=2391293
out_time=00:00:02.391293
dup_frames=0
drop_frames=0
speed=4.76x
progress=continue
"""
AT_END = """\
frame=100
fps=152.00
stream_0_0_q=-1.0
bitrate= 320.1kbits/s
total_size=160064
out_time_us=4000000
out_time_ms=4000000
out_time=00:00:04.000000
dup_frames=0
drop_frames=0
speed=6.08x
progress=end
"""
INTO_NOTHING = """\
frame=100
fps=0.00
stream_0_0_q=-0.0
bitrate=N/A
total_size=N/A
out_time_us=4000000
out_time_ms=4000000
out_time=00:00:04.000000
dup_frames=0
drop_frames=0
speed=  42x
progress=end
"""
BEFORE_ZERO = AT_WORK.replace("2391293", "-21333").replace("00:00:02.391293", "-00:00:00.021333")


def told(*blocks: str) -> ProgressFeed:
    feed = ProgressFeed()
    for block in blocks:
        take(feed, block)
    return feed


def take(feed: ProgressFeed, block: str) -> list[bool]:
    """What `feed` says to each line."""
    return [feed.feed(line) for line in block.splitlines()]


@pytest.mark.parametrize(
    ("blocks", "position"),
    [
        pytest.param((), Position(), id="nothing"),
        pytest.param((AT_START,), Position(0, 0.0, 0, None), id="at the start, N/A throughout"),
        pytest.param((AT_START, AT_WORK), Position(75, 2.391293, 65584, 4.76), id="at work"),
        pytest.param((AT_START, AT_WORK, AT_END), Position(100, 4.0, 160064, 6.08), id="at the end"),
        pytest.param((INTO_NOTHING,), Position(100, 4.0, 0, 42.0), id="an output without size"),
        pytest.param((AT_WORK, AT_START), Position(0, 2.391293, 0, None), id="N/A keeps what was known, 0 does not"),
        pytest.param((BEFORE_ZERO,), Position(75, 0.0, 65584, 4.76), id="a time before zero"),
    ],
)
def test_position_is(blocks: tuple[str, ...], position: Position) -> None:
    assert told(*blocks).position == position


@pytest.mark.parametrize(
    ("line", "position"),
    [
        pytest.param("frame=  12", Position(frames=12), id="frames, padded"),
        pytest.param("frame=-1", Position(), id="frames below zero"),
        pytest.param("out_time_us=1500000", Position(out_time_s=1.5), id="time in microseconds"),
        pytest.param("out_time_ms=1500000", Position(), id="the other time is not needed"),
        pytest.param("out_time=00:00:01.500000", Position(), id="nor the third"),
        pytest.param("out_time_us=" + "9" * 400, Position(out_time_s=(2**63 - 1) / 1e6), id="time beyond all bounds"),
        pytest.param("out_time_us=" + "9" * 5000, Position(), id="time too long to read"),
        pytest.param("total_size=1024", Position(size_bytes=1024), id="size"),
        pytest.param("speed=0.5x", Position(speed=0.5), id="speed"),
        pytest.param("speed=N/A", Position(), id="no speed"),
        pytest.param("speed=0x", Position(), id="standing still"),
        pytest.param("speed=1e+07x", Position(), id="a speed of the first moment"),
        pytest.param("speed=nanx", Position(), id="no number"),
        pytest.param("speed=infx", Position(), id="no finite number"),
        pytest.param("frame=\r", Position(), id="no value"),
        pytest.param("frame", Position(), id="no equals sign"),
        pytest.param("nonsense=7", Position(), id="an unknown key"),
        pytest.param("", Position(), id="an empty line"),
    ],
)
def test_line_says(line: str, position: Position) -> None:
    assert told(line, "progress=continue").position == position


def test_position_is_that_of_the_last_whole_block() -> None:
    feed = told(AT_WORK)
    take(feed, AT_END.removesuffix("progress=end\n"))
    assert feed.position == told(AT_WORK).position


def test_only_the_line_that_ends_a_block_says_further() -> None:
    said = take(ProgressFeed(), AT_WORK)
    assert said == [False] * (len(said) - 1) + [True]


@pytest.mark.parametrize(
    ("before", "after", "further"),
    [
        pytest.param("", "", False, id="nothing yet"),
        pytest.param("frame=1", "frame=1", False, id="the same"),
        pytest.param("frame=1", "frame=2", True, id="a frame more"),
        pytest.param("frame=2", "frame=1", False, id="a frame less"),
        pytest.param("out_time_us=1", "out_time_us=2", True, id="later"),
        pytest.param("out_time_us=2", "out_time_us=1", False, id="earlier"),
        pytest.param("out_time_us=2", "out_time_us=N/A", False, id="no time any more"),
        pytest.param("total_size=1", "total_size=2", True, id="larger"),
        pytest.param("total_size=2", "total_size=1", False, id="smaller"),
        pytest.param("total_size=2\nframe=1", "total_size=1\nframe=2", True, id="a frame more, though smaller"),
        pytest.param("speed=1x", "speed=2x", False, id="only faster"),
        pytest.param("fps=1", "fps=2", False, id="only another rate"),
    ],
)
def test_block_is_further(before: str, after: str, further: bool) -> None:
    feed = told(before, "progress=continue")
    take(feed, after)
    assert feed.feed("progress=continue") is further


def test_end_is_further_only_when_something_is() -> None:
    feed = told(AT_END)
    assert take(feed, AT_END)[-1] is False


KEYS = ["frame", "out_time_us", "total_size", "speed", "progress", "out_time_ms", "bitrate", ""]
digits = st.integers(1, 5000).map(lambda count: "9" * count)  # more than a float, or Python's own reading, holds
values = st.one_of(st.integers().map(str), digits, st.floats().map(str), st.text(max_size=20), st.just("N/A"))
lines = st.one_of(st.text(), st.builds(lambda key, value: f"{key}={value}", st.sampled_from(KEYS), values))


@given(st.lists(lines, max_size=40))
def test_any_lines_leave_a_finite_position(given_lines: list[str]) -> None:
    feed = ProgressFeed()
    for line in given_lines:
        feed.feed(line)
    position = feed.position
    assert min(position.frames, position.out_time_s, position.size_bytes) >= 0
    assert math.isfinite(position.out_time_s)
    assert position.speed is None or 0 < position.speed < math.inf


@given(st.lists(lines, max_size=40))
def test_further_means_that_something_grew(given_lines: list[str]) -> None:
    feed = ProgressFeed()
    for line in given_lines:
        before = feed.position
        if feed.feed(line):
            after = feed.position
            assert (after.frames, after.out_time_s, after.size_bytes) != (
                min(after.frames, before.frames),
                min(after.out_time_s, before.out_time_s),
                min(after.size_bytes, before.size_bytes),
            )
