"""The pure parts of running a program: the launcher's argv, the environment, lines, bounded stderr, the words."""

from __future__ import annotations

import math
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiverd.media.process import Ending, Finished, Limits, ending_of, environment, launcher, never_began, within
from archiverd.media.process_output import BothEnds, LineCutter, printable

TOOLS = {name: f"/bin/{name}" for name in ("setpriv", "prlimit", "nice", "ionice")}
FREE = Limits(stall_s=math.inf, wall_s=math.inf)
ALL = Limits(stall_s=120, wall_s=3600, memory_bytes=1 << 30, file_bytes=5000, nice=10, idle_io=True)


def test_launcher_with_every_limit_asks_every_tool() -> None:
    assert launcher(ALL, TOOLS) == (
        *("/bin/setpriv", "--pdeathsig", "KILL", "--"),
        *("/bin/prlimit", "--as=1073741824", "--fsize=5000", "--core=0", "--"),
        *("/bin/nice", "-n", "10"),
        *("/bin/ionice", "-c", "3"),
    )


def test_launcher_without_limits_ties_the_life_and_forbids_cores() -> None:
    assert launcher(FREE, TOOLS) == (
        *("/bin/setpriv", "--pdeathsig", "KILL", "--"),
        *("/bin/prlimit", "--core=0", "--"),
    )


@pytest.mark.parametrize("missing", sorted(TOOLS))
def test_launcher_leaves_out_a_missing_tool_and_only_that(missing: str) -> None:
    argv = launcher(ALL, {name: path for name, path in TOOLS.items() if name != missing})
    assert {name for name, path in TOOLS.items() if path in argv} == TOOLS.keys() - {missing}


def test_launcher_without_tools_is_empty() -> None:
    assert launcher(ALL, {}) == ()


@pytest.mark.parametrize(
    ("asked", "hard", "expected"),
    [
        (None, 100, None),
        (50, 100, 50),
        (500, 100, 100),
        (500, resource.RLIM_INFINITY, 500),
    ],
)
def test_within_lowers_to_the_hard_limit(asked: int | None, hard: int, expected: int | None) -> None:
    limits = Limits(stall_s=1, wall_s=2, memory_bytes=asked, file_bytes=asked)
    lowered = within(limits, hard, hard)
    assert (lowered.memory_bytes, lowered.file_bytes) == (expected, expected)


def test_environment_holds_only_the_fixed_set_and_the_extra() -> None:
    assert environment("/bin", LIBVA_DRIVER_NAME="iHD") == {
        "PATH": "/bin",
        "HOME": "/nonexistent",
        "LANG": "C",
        "LC_ALL": "C",
        "LIBVA_DRIVER_NAME": "iHD",
    }


@pytest.mark.parametrize(
    ("returncode", "stop_requested", "expected"),
    [
        (0, False, Ending.EXITED),
        (1, False, Ending.EXITED),
        (-9, False, Ending.SIGNALLED),
        (0, True, Ending.EXITED),
        (255, True, Ending.STOPPED),
        (-15, True, Ending.STOPPED),
    ],
)
def test_ending_of_an_exit_heeds_a_stop_only_on_failure(
    returncode: int, stop_requested: bool, expected: Ending
) -> None:
    assert ending_of(returncode, stop_requested=stop_requested) is expected


@pytest.mark.parametrize(
    ("returncode", "stderr", "expected"),
    [
        (127, "ionice: failed to execute /usr/bin/ffmpeg: No such file or directory\n", True),
        (126, "prlimit: failed to execute /usr/bin/ffmpeg: Permission denied\n", True),
        (127, "nice: '/usr/bin/ffmpeg': No such file or directory\n", True),
        (127, "ffmpeg: error while loading shared libraries: libavcodec.so.59: cannot open\n", True),
        (1, "ionice: failed to execute /usr/bin/ffmpeg\n", False),
        (127, "", False),
        (126, "something else\n", False),
    ],
)
def test_never_began_knows_the_launchers_words(returncode: int, stderr: str, expected: bool) -> None:
    assert never_began(returncode, stderr) is expected


@given(data=st.binary(), cuts=st.lists(st.integers(min_value=0, max_value=40)))
def test_lines_do_not_depend_on_how_the_bytes_come(data: bytes, cuts: list[int]) -> None:
    cutter = LineCutter()
    lines: list[str] = []
    start = 0
    for cut in [*cuts, len(data)]:
        lines += cutter.feed(data[start : start + cut])
        start += cut
    lines += cutter.close()
    *whole, rest = data.decode("utf-8", "replace").split("\n")
    assert lines == whole + ([rest] if rest else [])


@pytest.mark.parametrize("piece", [1, 3, 100])
def test_long_line_loses_its_end_and_not_the_next_line(piece: int) -> None:
    data = b"abcdefghij\n\nxyz"
    cutter = LineCutter(max_line=4)
    lines = [line for at in range(0, len(data), piece) for line in cutter.feed(data[at : at + piece])]
    assert [*lines, *cutter.close()] == ["abcd", "", "xyz"]


@given(chunks=st.lists(st.binary(max_size=30)))
def test_both_ends_keeps_a_short_stream_whole(chunks: list[bytes]) -> None:
    ends = BothEnds(head=400, tail=600)
    for chunk in chunks:
        ends.feed(chunk)
    assert ends.text() == printable(b"".join(chunks))


@pytest.mark.parametrize("piece", [1, 2, 100])
def test_both_ends_of_a_long_stream_says_how_much_is_missing(piece: int) -> None:
    data = b"ABCDEFGHIJKLMNOP"
    ends = BothEnds(head=3, tail=4)
    for at in range(0, len(data), piece):
        ends.feed(data[at : at + piece])
    assert ends.text() == "ABC\n[... 9 bytes ...]\nMNOP"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"a b\nc", "a b\nc"),
        ("カメラ".encode(), "カメラ"),
        (b"\x1b[31mred\x07\r\t\x7f", "\\x1b[31mred\\x07\\r\\t\\x7f"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("\u202egpj.exe\u2028".encode(), "\\u202egpj.exe\\u2028"),
    ],
)
def test_printable_escapes_what_a_terminal_would_obey(raw: bytes, expected: str) -> None:
    assert printable(raw) == expected


@pytest.mark.parametrize(
    ("ending", "returncode", "expected"),
    [
        (Ending.EXITED, 0, "ffmpeg exited with 0: worse"),
        (Ending.EXITED, 1, "ffmpeg exited with 1: worse"),
        (Ending.SIGNALLED, -11, "ffmpeg was killed by SIGSEGV: worse"),
        (Ending.SIGNALLED, -40, "ffmpeg was killed by signal 40: worse"),
        (Ending.SIGNALLED, -25, "ffmpeg wrote more than 5000 bytes to a file and was killed"),
        (Ending.STALLED, -9, "ffmpeg made no progress for 120 s and was killed: worse"),
        (Ending.TIMED_OUT, -9, "ffmpeg ran for more than 3600 s and was killed: worse"),
        (Ending.STOPPED, 255, "ffmpeg was stopped, as asked"),
        (Ending.ABANDONED, -15, "ffmpeg was stopped, for its output was refused: worse"),
        (Ending.FLOODED, -15, "ffmpeg wrote more to its standard output than allowed and was killed"),
    ],
)
def test_describe_says_each_ending_in_one_line(ending: Ending, returncode: int, expected: str) -> None:
    run = Finished(("/usr/bin/ffmpeg", "-i", "x"), ending, returncode, "bad\nworse\n \n", 1.0, ALL)
    assert run.describe() == expected


def test_describe_without_stderr_ends_with_the_number() -> None:
    assert Finished(("ffmpeg",), Ending.EXITED, 1, "", 1.0).describe() == "ffmpeg exited with 1"


@pytest.mark.parametrize(
    ("ending", "returncode", "expected"),
    [(Ending.EXITED, 0, True), (Ending.EXITED, 1, False), (Ending.STOPPED, 0, False), (Ending.FLOODED, 0, False)],
)
def test_ok_is_status_0_of_its_own_accord(ending: Ending, returncode: int, expected: bool) -> None:
    assert Finished(("ffmpeg",), ending, returncode, "", 1.0).ok is expected


def test_what_a_library_says_of_the_machine_is_not_said_of_the_file() -> None:
    assert printable(b"Warning: using insecure memory!\n") == ""
    assert printable(b"moov not found\nWarning: using insecure memory!\nend") == "moov not found\nend"
