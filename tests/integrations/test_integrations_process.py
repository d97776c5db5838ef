"""Programs run under limits, with real programs: every ending, nothing left behind, nothing let in."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import archiverd
from archiverd.errors import Interrupted, StartupError
from archiverd.media.process import Ending, Finished, Limits, environment, run, see_launcher
from archiverd.media.process_output import MAX_LINE
from archiverd.policy.stop import NeverStop, StopToken
from tests.asked import Asked

FREE = Limits(stall_s=math.inf, wall_s=20, stop_s=5)
PATH = os.environ["PATH"]
REPOSITORY = Path(archiverd.__file__).parents[1]


@pytest.fixture
def asked() -> Iterator[Asked]:
    token = Asked()
    yield token
    token.close()


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No test may leave a child of this process, running or unreaped."""
    before = children()
    yield
    assert children() - before == set()


@pytest.mark.parametrize("there", [True, False])
def test_launcher_that_is_not_whole_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, there: bool
) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"] if there else str(tmp_path))
    see_launcher()
    assert ("an ffmpeg would outlive an archiverd that is killed" in caplog.text) is not there


def children() -> set[int]:
    me = str(os.getpid())
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return {pid for pid in pids if stat_fields(pid)[1:2] == [me]}


def stat_fields(pid: int) -> list[str]:
    """State, parent and so on from /proc/PID/stat, from its third field on; nothing for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def open_descriptors() -> list[str]:
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


def gone(pid: int) -> bool:
    """Whether the process is over; an orphan may wait for an init that does not reap."""
    return stat_fields(pid)[:1] in ([], ["Z"], ["X"])


def comes_true(condition: Callable[[], bool], within_s: float = 5.0) -> bool:
    until = time.monotonic() + within_s
    pause = threading.Event()
    while not condition():
        if time.monotonic() > until:
            return False
        pause.wait(0.01)
    return True


def sh(script: str) -> tuple[str, ...]:
    return ("sh", "-c", script)


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-E", "-c", code)


def go(
    argv: tuple[str, ...],
    *,
    stop: StopToken | None = None,
    limits: Limits = FREE,
    on_line: Callable[[str], bool | None] | None = None,
    max_stdout: int = 1 << 26,
    pass_fds: tuple[int, ...] = (),
    path: str = PATH,
) -> Finished:
    token = NeverStop() if stop is None else stop
    env = environment(path)
    return run(argv, stop=token, limits=limits, pass_fds=pass_fds, on_line=on_line, max_stdout=max_stdout, env=env)


def lines_of(argv: tuple[str, ...], limits: Limits = FREE, pass_fds: tuple[int, ...] = ()) -> list[str]:
    lines: list[str] = []
    finished = go(argv, limits=limits, pass_fds=pass_fds, on_line=lines.append)
    assert finished.ok, finished.stderr
    return lines


def archiverd_process(code: str) -> subprocess.Popen[str]:
    """Another Python with archiverd importable: for what would hurt this one."""
    prelude = (
        "import math, os, resource, signal\n"
        "from archiverd.media.process import *\n"
        "from archiverd.policy.stop import NeverStop\n"
        "FREE = Limits(stall_s=math.inf, wall_s=20)\n"
    )
    argv = [sys.executable, "-c", prelude + code]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY)


# --- it ends by itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 255])
def test_exit_code_is_reported(code: int) -> None:
    finished = go(sh(f"exit {code}"))
    assert (finished.ending, finished.returncode, finished.ok) == (Ending.EXITED, code, code == 0)


def test_argv_is_reported_as_asked_for() -> None:
    assert go(("true", "x")).argv == ("true", "x")


def test_death_by_signal_is_reported() -> None:
    finished = go(sh("kill -SEGV $$"))
    assert (finished.ending, finished.returncode) == (Ending.SIGNALLED, -signal.SIGSEGV)


def test_exit_is_noticed_at_once() -> None:
    assert go(("sleep", "0.2")).elapsed_s < 0.8


def test_exit_after_the_pipes_were_closed_is_waited_for_and_noticed_at_once() -> None:
    finished = go(sh("exec >&- 2>&-; sleep 0.3; exit 4"))
    assert finished.returncode == 4
    assert 0.3 <= finished.elapsed_s < 0.9


def test_failure_while_a_stop_is_asked_for_counts_as_stopped(asked: Asked) -> None:
    # The line comes from what the pipe still holds after the exit, so it was not our SIGTERM that ended the program.
    def on_line(line: str) -> None:
        if line == "first":
            assert comes_true(lambda: all(gone(pid) for pid in children()))
            asked()

    finished = go(sh("echo first; exit 255"), stop=asked, on_line=on_line)
    assert (finished.ending, finished.returncode) == (Ending.STOPPED, 255)


# --- it is ended -----------------------------------------------------------------------------------------------------


def test_run_without_progress_is_stalled() -> None:
    chatter = sh("while :; do echo alive; sleep 0.05; done")
    finished = go(chatter, limits=Limits(stall_s=0.4, wall_s=20, stop_s=5), on_line=lambda _: None)
    assert finished.ending is Ending.STALLED
    assert 0.4 <= finished.elapsed_s < 2


def test_silent_run_with_on_line_is_stalled() -> None:
    finished = go(("sleep", "60"), limits=Limits(stall_s=0.3, wall_s=20), on_line=lambda _: True)
    assert finished.ending is Ending.STALLED


def test_progress_holds_the_stall_off() -> None:
    steady = sh("for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.15; done")
    finished = go(steady, limits=Limits(stall_s=0.7, wall_s=20), on_line=lambda _: True)
    assert finished.ok, finished.describe()
    assert finished.elapsed_s > 0.7


def test_stall_limit_does_not_touch_a_run_without_on_line() -> None:
    assert go(("sleep", "0.4"), limits=Limits(stall_s=0.1, wall_s=20)).ok


def test_time_we_were_suspended_ourselves_is_no_stall() -> None:
    steady = "import time\nfor i in range(15): print(i, flush=True); time.sleep(0.1)"
    code = (
        "def on_line(line):\n    print(line, flush=True); return True\n"
        "limits = Limits(stall_s=0.8, wall_s=20)\n"
        f"print(run({python(steady)!r}, stop=NeverStop(), limits=limits, on_line=on_line).describe())"
    )
    with archiverd_process(code) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "0\n"
        assert comes_true(lambda: stat_fields(other.pid)[0] == "S")  # it waits for the next line
        other.send_signal(signal.SIGSTOP)
        threading.Event().wait(1.1)
        other.send_signal(signal.SIGCONT)
        assert "exited with 0" in other.stdout.read()


def test_run_beyond_the_wall_clock_is_timed_out() -> None:
    steady = sh("while :; do echo alive; sleep 0.05; done")
    finished = go(steady, limits=Limits(stall_s=20, wall_s=0.4), on_line=lambda _: True)
    assert finished.ending is Ending.TIMED_OUT
    assert 0.4 <= finished.elapsed_s < 2


def test_program_that_closed_its_pipes_is_timed_out_without_burning_the_processor() -> None:
    before = time.thread_time()
    finished = go(sh("exec >&- 2>&-; exec sleep 60"), limits=Limits(stall_s=1, wall_s=0.6))
    assert finished.ending is Ending.TIMED_OUT
    assert time.thread_time() - before < 0.2


def test_stop_asked_by_another_thread_ends_the_run_at_once(asked: Asked, tmp_path: Path) -> None:
    ready = tmp_path / "ready"

    def ask() -> None:
        if comes_true(ready.exists):
            asked()

    thread = threading.Thread(target=ask, name="asker")
    thread.start()
    finished = go(sh(f"touch {ready}; exec sleep 60"), stop=asked)
    answered_s = time.monotonic() - asked.asked_at
    thread.join(5)
    assert (finished.ending, finished.returncode) == (Ending.STOPPED, -signal.SIGTERM)
    assert answered_s < 0.5


def test_stop_asked_before_the_run_ends_it(asked: Asked) -> None:
    asked()
    finished = go(("sleep", "60"), stop=asked)
    assert finished.ending is Ending.STOPPED
    assert finished.elapsed_s < 2


def test_program_that_ignores_sigterm_is_killed_after_stop_s(asked: Asked) -> None:
    stubborn = sh("trap '' TERM; echo ready; while :; do sleep 0.1; done")
    limits = Limits(stall_s=math.inf, wall_s=20, stop_s=0.4)
    finished = go(stubborn, stop=asked, limits=limits, on_line=lambda _: asked())
    assert (finished.ending, finished.returncode) == (Ending.STOPPED, -signal.SIGKILL)
    assert 0.4 <= time.monotonic() - asked.asked_at < 2


def test_waiting_for_a_stopped_program_does_not_burn_the_processor(asked: Asked) -> None:
    before = time.thread_time()
    limits = Limits(stall_s=math.inf, wall_s=20, stop_s=0.6)
    go(
        sh("trap '' TERM; echo ready; while :; do sleep 0.1; done"),
        stop=asked,
        limits=limits,
        on_line=lambda _: asked(),
    )
    assert time.thread_time() - before < 0.2


def test_last_words_of_a_program_that_ended_before_our_signal_are_kept() -> None:
    def on_line(_: str) -> bool:
        assert comes_true(lambda: all(gone(pid) for pid in children()))
        return False

    finished = go(sh("echo bad; sleep 0.2; echo why >&2"), on_line=on_line)
    assert (finished.ending, finished.stderr) == (Ending.ABANDONED, "why\n")


def test_program_may_say_much_while_it_ends(asked: Asked) -> None:
    tidy = python(
        "import os, signal, sys\n"
        "def end(*_):\n"
        "    os.write(2, b'e' * 300_000); os.write(1, b'o' * 300_000); os.write(2, b'\\ndone\\n'); os._exit(7)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('ready', flush=True)\n"
        "while True: signal.pause()\n"
    )
    heard: list[str] = []

    def on_line(line: str) -> None:
        heard.append(line)
        asked()

    finished = go(tidy, stop=asked, on_line=on_line)
    assert (finished.ending, finished.returncode, heard) == (Ending.STOPPED, 7, ["ready"])
    assert finished.stderr.endswith("\ndone\n")


def test_second_wish_does_not_shorten_the_time_to_end(asked: Asked) -> None:
    slow = sh("trap 'sleep 0.5; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    timer = threading.Timer(0.6, asked)

    def on_line(_: str) -> bool:
        timer.start()
        return True

    finished = go(slow, stop=asked, limits=Limits(stall_s=0.4, wall_s=20, stop_s=5), on_line=on_line)
    timer.join()
    assert (finished.ending, finished.returncode) == (Ending.STALLED, 5)


def test_false_from_on_line_abandons_the_run() -> None:
    heard: list[str] = []

    def on_line(line: str) -> bool:
        heard.append(line)
        return line != "bad"

    finished = go(sh("echo good; echo bad; echo more; exec sleep 60"), on_line=on_line)
    assert (finished.ending, heard) == (Ending.ABANDONED, ["good", "bad"])


def test_false_for_a_line_heard_after_the_exit_still_abandons() -> None:
    assert go(("printf", "bad"), on_line=lambda _: False).ending is Ending.ABANDONED


@pytest.mark.parametrize("on_line", [None, lambda _: True], ids=["unheard", "heard"])
def test_flood_on_stdout_is_ended(on_line: Callable[[str], bool | None] | None) -> None:
    finished = go(("yes",), max_stdout=1 << 20, on_line=on_line)
    assert finished.ending is Ending.FLOODED
    assert finished.elapsed_s < 5


def test_small_flood_before_a_quick_exit_is_one_all_the_same() -> None:
    assert go(("printf", "12345"), max_stdout=4).ending is Ending.FLOODED
    assert go(("printf", "1234"), max_stdout=4).ok


def test_ffmpeg_is_stopped_in_order(asked: Asked, tmp_path: Path) -> None:
    encode = ("ffmpeg", "-nostdin", "-v", "error", "-progress", "pipe:1", "-re", "-f", "lavfi", "-i", "testsrc")
    output = f"file:{tmp_path}/out.mp4"
    finished = go((*encode, "-c:v", "mpeg4", output), stop=asked, on_line=lambda _: asked())
    assert (finished.ending, finished.returncode) == (Ending.STOPPED, 255)


# --- nobody is left --------------------------------------------------------------------------------------------------


def test_grandchild_that_holds_the_pipe_neither_hangs_us_nor_survives() -> None:
    pids: list[int] = []
    finished = go(sh("sleep 60 & echo $!; exit 3"), on_line=lambda line: pids.append(int(line)))
    assert (finished.ending, finished.returncode) == (Ending.EXITED, 3)
    assert finished.elapsed_s < 3
    assert comes_true(lambda: gone(pids[0]))


def test_grandchild_in_a_session_of_its_own_does_not_hang_us() -> None:
    pids: list[int] = []
    finished = go(sh("setsid sleep 60 & echo $!; exit 3"), on_line=lambda line: pids.append(int(line)))
    os.kill(pids[0], signal.SIGKILL)
    assert finished.returncode == 3
    assert finished.elapsed_s < 3


def test_stop_reaches_the_whole_group(asked: Asked) -> None:
    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.append(int(line))
        asked()

    go(sh("sh -c 'trap \"\" TERM; sleep 60; sleep 60' & echo $!; wait"), stop=asked, on_line=on_line)
    assert comes_true(lambda: gone(pids[0]))


@pytest.mark.parametrize("error", [KeyError("on_line"), Interrupted(signal.SIGTERM)], ids=["error", "interrupt"])
def test_whatever_on_line_raises_passes_and_leaves_no_process(error: BaseException) -> None:
    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.append(int(line))
        raise error

    with pytest.raises(type(error)):
        go(sh("trap '' TERM; echo $$; while :; do sleep 0.1; done"), on_line=on_line)
    assert gone(pids[0])


def test_whatever_the_stop_token_raises_passes_and_leaves_no_process(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    class Raising(NeverStop):
        @property
        def requested(self) -> bool:
            if pid_file.exists():
                raise Interrupted(signal.SIGINT)
            return False

    with pytest.raises(Interrupted):
        go(sh(f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 60"), stop=Raising())
    assert gone(int(pid_file.read_text(encoding="ascii")))


def test_runs_leave_no_descriptor_open() -> None:
    stop = NeverStop()
    stop.fileno()
    before = open_descriptors()
    go(("true",), stop=stop)
    go(("yes",), stop=stop, max_stdout=10)
    go(("sleep", "60"), stop=stop, limits=Limits(stall_s=1, wall_s=0.1))
    with pytest.raises(ZeroDivisionError):
        go(("echo",), stop=stop, on_line=lambda _: bool(1 / 0))
    assert open_descriptors() == before


def test_program_dies_with_archiverd(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 60"
    with archiverd_process(f"run({sh(script)!r}, stop=NeverStop(), limits=FREE)") as other:
        assert comes_true(pid_file.exists)
        pid = int(pid_file.read_text(encoding="ascii"))
        assert not gone(pid)
        other.kill()
    assert comes_true(lambda: gone(pid))


# --- what it says ----------------------------------------------------------------------------------------------------


def test_ten_megabytes_on_stderr_are_drained_and_bounded() -> None:
    finished = go(sh("echo first >&2; head -c 10485760 /dev/zero | tr '\\0' x >&2; echo; echo last >&2"))
    assert finished.ok
    assert finished.stderr.startswith("first\nxxx")
    assert finished.stderr.endswith("xxxlast\n")
    assert len(finished.stderr) < 21_000


def test_stderr_of_the_last_moment_is_kept() -> None:
    # As much as the pipe holds, so that it may all stand there at the exit.
    finished = go(python("import os; os.write(2, b'x' * 65_000 + b'end'); os._exit(1)"))
    assert finished.stderr.endswith("xend")


def test_megabyte_line_is_cut_and_the_next_one_is_whole() -> None:
    lines = lines_of(sh("head -c 1048576 /dev/zero | tr '\\0' x; echo; echo next"))
    assert [len(line) for line in lines] == [MAX_LINE, 4]


def test_lines_come_while_the_program_runs() -> None:
    began = time.monotonic()
    heard_s: list[float] = []
    go(sh("echo early; sleep 0.8"), on_line=lambda _: heard_s.append(time.monotonic() - began))
    assert heard_s[0] < 0.6


def test_last_line_needs_no_newline() -> None:
    assert lines_of(("printf", "one\ntwo")) == ["one", "two"]


# --- limits of the kernel --------------------------------------------------------------------------------------------


def test_file_beyond_the_limit_ends_the_program(tmp_path: Path) -> None:
    output = tmp_path / "out.raw"
    limits = Limits(stall_s=1, wall_s=20, file_bytes=100_000)
    argv = ("ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc", "-f", "rawvideo", f"file:{output}")
    finished = go(argv, limits=limits)
    assert finished.ending is Ending.SIGNALLED
    assert finished.describe() == "ffmpeg wrote more than 100000 bytes to a file and was killed"
    assert output.stat().st_size == 100_000


@pytest.mark.parametrize(("memory_bytes", "expected"), [(1 << 28, 1), (1 << 31, 0)])
def test_memory_beyond_the_limit_fails_inside(memory_bytes: int, expected: int) -> None:
    limits = Limits(stall_s=1, wall_s=20, memory_bytes=memory_bytes)
    finished = go(python("bytearray(1 << 29)"), limits=limits)
    assert (finished.ending, finished.returncode) == (Ending.EXITED, expected)
    assert ("MemoryError" in finished.stderr) is bool(expected)


def test_limit_above_our_own_hard_limit_is_lowered_to_it() -> None:
    code = (
        "os.setuid(65534)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "limits = Limits(stall_s=math.inf, wall_s=20, file_bytes=9000)\n"
        "lines = []\n"
        "argv = ('cat', '/proc/self/limits')\n"
        "print(run(argv, stop=NeverStop(), limits=limits, on_line=lines.append).describe(), *lines, sep='\\n')\n"
    )
    with archiverd_process(code) as other:
        output, _ = other.communicate(timeout=10)
    assert "cat exited with 0" in output
    assert re.search(r"Max file size +5000 +5000", output)


def test_no_core_is_dumped() -> None:
    limits = "\n".join(lines_of(("cat", "/proc/self/limits")))
    assert re.search(r"Max core file size +0 +0", limits)


def test_niceness_and_idle_io_reach_the_program() -> None:
    ours = os.nice(0)
    limits = Limits(stall_s=math.inf, wall_s=20, nice=7, idle_io=True)
    stat, ionice = lines_of(sh("cat /proc/self/stat; ionice -p $$"), limits=limits)
    assert int(stat.rpartition(")")[2].split()[16]) == min(19, ours + 7)
    assert ionice == "idle"


# --- what it gets ----------------------------------------------------------------------------------------------------


def test_program_sees_the_named_descriptors_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "given").write_text("the given file\n", encoding="ascii")
    look = (
        "import os, sys\n"
        "def is_open(fd):\n"
        "    try: os.fstat(fd)\n"
        "    except OSError: return False\n"
        "    return True\n"
        "print([fd for fd in range(1000) if is_open(fd)])\n"
        "print(open(f'/proc/self/fd/{sys.argv[1]}').read(), end='')\n"
    )
    with (
        (tmp_path / "given").open(encoding="ascii") as given,
        (tmp_path / "other").open("w", encoding="ascii") as other,
    ):
        os.set_inheritable(other.fileno(), True)
        fd = given.fileno()
        lines = lines_of((*python(look), str(fd)), pass_fds=(fd,))
    assert lines == [str(sorted([0, 1, 2, fd])), "the given file"]


def test_program_gets_the_fixed_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FFREPORT", "file=/tmp/report")
    lines: list[str] = []
    run(("env",), stop=NeverStop(), limits=FREE, on_line=lines.append)
    assert sorted(lines) == sorted(f"{name}={value}" for name, value in environment(PATH).items())


def test_stdin_is_empty_and_not_ours() -> None:
    code = "print(run(('cat',), stop=NeverStop(), limits=Limits(stall_s=9, wall_s=2)).describe())"
    with archiverd_process(code) as other:  # its stdin stays open and silent
        assert other.stdout is not None
        assert other.stdout.read() == "cat exited with 0\n"


@pytest.mark.parametrize("size", [1, 200_000])  # a pipe would hold 65,536
def test_stdin_is_what_is_given_and_then_its_end(size: int) -> None:
    lines: list[str] = []
    finished = run(("wc", "-c"), stop=NeverStop(), limits=FREE, on_line=lines.append, stdin=b"x" * size)
    assert (finished.ok, lines) == (True, [str(size)])


def test_program_that_reads_nothing_of_its_stdin_ends_well() -> None:
    assert run(("true",), stop=NeverStop(), limits=FREE, stdin=b"x" * 200_000).ok


def test_program_stands_in_the_root_directory() -> None:
    assert lines_of(("pwd",)) == ["/"]


def test_arguments_pass_no_shell() -> None:
    assert lines_of(("printf", "%s\n", "$(id) *; 'x")) == ["$(id) *; 'x"]


# --- it cannot start -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ffmpeg", "ffprobe"])
def test_missing_program_is_a_startup_error_that_names_the_package(name: str, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=rf"{name} was not found .*apt install ffmpeg"):
        go((name,), path=str(tmp_path))


def test_program_without_the_right_to_execute_is_a_startup_error(tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\n", encoding="ascii")
    with pytest.raises(StartupError, match=rf"{program} is not executable. .*chmod \+x"):
        go(("ffmpeg",), path=str(tmp_path))


@pytest.mark.parametrize("tools", [PATH, ""], ids=["launcher", "bare"])
def test_program_without_its_interpreter_is_a_startup_error(tools: str, tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/nonexistent/python\n", encoding="ascii")
    program.chmod(0o755)
    with pytest.raises(StartupError, match=r"ffmpeg (does not start|cannot be started): .*No such file"):
        go(("ffmpeg",), path=f"{tmp_path}:{tools}")


def test_run_without_the_launcher_tools_works(tmp_path: Path) -> None:
    (tmp_path / "true").symlink_to("/bin/true")
    assert go(("true",), path=str(tmp_path), limits=Limits(stall_s=1, wall_s=20, nice=5, idle_io=True)).ok


def test_too_few_descriptors_are_a_resource_error() -> None:
    code = (
        "stop = NeverStop(); used = stop.fileno()\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (used + 4, used + 4))\n"
        "try: run(('true',), stop=stop, limits=FREE)\n"
        "except ResourceError as error: print('ResourceError', error)\n"
    )
    with archiverd_process(code) as other:
        output, _ = other.communicate(timeout=10)
    assert output.startswith("ResourceError true cannot be started: Too many open files")


def test_ignored_sigchld_is_refused() -> None:
    code = (
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "try: print(run(('false',), stop=NeverStop(), limits=FREE))\n"
        "except StartupError as error: print('StartupError', error)\n"
    )
    with archiverd_process(code) as other:
        output, _ = other.communicate(timeout=10)
    assert output.startswith("StartupError SIGCHLD is ignored")
