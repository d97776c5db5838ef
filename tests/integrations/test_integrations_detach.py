"""Going into the background: real forks, a real pipe, and what is left of the caller in the daemon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from archiverd.storage.pid_file import PidFile
from tests.screen import until

CHECKOUT = Path(__file__).resolve().parents[2]

PROGRAM = """
import fcntl, os, signal, sys, threading
from pathlib import Path
from archiverd.errors import ArchiverError, Interrupted, LockedError, StartupError
from archiverd.service.detach import detach
from archiverd.service.graceful_exit import GracefulExit
from archiverd.storage.pid_file import PidFile

base, silence_s = Path(sys.argv[1]), float(sys.argv[2])
print(os.environ.get("SAID_FIRST", ""), end="")  # into a buffer

def pause(seconds):
    threading.Event().wait(seconds)

def serve(launcher):
{body}

try:
    code = detach(serve, PidFile(base / "archiverd.pid"), base / "log", lambda line: print(line, file=sys.stderr),
                  silence_s=silence_s)
except ArchiverError as error:
    print(f"archiverd: {{error}}", file=sys.stderr)
    code = error.exit_code
(base / f"code-{{os.getpid()}}").write_text(str(code))
sys.exit(code)
"""
SERVES = """
with GracefulExit() as stop:
    launcher()
    stop.wait(60)
    return 0
"""


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    """Where the daemon's files are; what is left of it at the end is killed."""
    yield tmp_path
    for _ in tmp_path.glob("born-*"):
        if not is_gone(born(tmp_path)):
            os.kill(born(tmp_path), signal.SIGKILL)


def start(
    base: Path, body: str, *, silence_s: float = 60, redirections: str = "", env: Mapping[str, str] | None = None,
    pass_fds: tuple[int, ...] = (),
) -> subprocess.Popen[str]:  # fmt: skip
    """What a person starts; `body` is what the daemon does. `redirections` are a shell's."""
    born = '(base / f"born-{os.getpid()}").touch()\n'
    program = PROGRAM.format(body=textwrap.indent(born + body.strip("\n"), "    "))
    command = [sys.executable, "-c", program, str(base), str(silence_s)]
    if redirections:
        command = ["sh", "-c", f'exec "$0" "$@" {redirections}', *command]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=base,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **(env or {})}, pass_fds=pass_fds,
    )  # fmt: skip


def run(base: Path, body: str, **how: Any) -> tuple[int, str]:  # Any: as `start` takes it
    """The exit code of the launcher, and all it and the daemon said on standard error until both let go of it."""
    with start(base, body, **how) as process:
        _, told = process.communicate(timeout=60)
        return process.returncode, told


def born(base: Path) -> int:
    """The process the daemon runs in."""
    (file,) = base.glob("born-*")
    return int(file.name.partition("-")[2])


def daemon_of(base: Path) -> int:
    return int((base / "archiverd.pid").read_text())


def is_gone(pid: int) -> bool:
    """Whether a process is over; a zombie is, whoever may have to bury it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def end(base: Path, pid: int) -> str:
    """Stop the daemon; its exit code."""
    os.kill(pid, signal.SIGTERM)
    until(lambda: is_gone(pid))
    return (base / f"code-{pid}").read_text()


# --- a daemon that comes to be ready


def test_launcher_ends_well_when_the_daemon_is_ready_and_the_daemon_goes_on(base: Path) -> None:
    assert run(base, SERVES) == (0, "")

    pid = daemon_of(base)
    assert not is_gone(pid)
    assert end(base, pid) == "0"


def test_nothing_of_the_caller_is_left_in_the_daemon(base: Path) -> None:
    reader, writer = os.pipe()
    assert (
        run(
            base,
            SERVES.replace("with GracefulExit() as stop", "launcher()\npause(60)\nwith 0"),
            pass_fds=(reader, writer),
        )[0]
        == 0
    )
    os.close(reader)
    os.close(writer)

    pid = daemon_of(base)
    process = Path(f"/proc/{pid}")
    assert {file.name: os.readlink(file) for file in (process / "fd").iterdir()} == dict.fromkeys("012", "/dev/null")
    assert os.readlink(process / "cwd") == "/"
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    assert status["Umask"] == "0027"
    assert os.getsid(pid) not in (os.getsid(0), pid)  # no leader: no terminal it opens becomes its own
    assert int(status["SigCgt"], 16) & (1 << (signal.SIGTERM - 1)) == 0


def test_pid_file_is_taken_away_at_the_end(base: Path) -> None:
    run(base, SERVES)
    end(base, daemon_of(base))

    assert not (base / "archiverd.pid").exists()


def test_stale_pid_file_is_harmless(base: Path) -> None:
    (base / "archiverd.pid").write_text(f"{os.getpid()}\n")

    assert run(base, SERVES)[0] == 0
    pid = daemon_of(base)
    assert pid != os.getpid()
    end(base, pid)


def test_pid_file_of_another_daemon_is_left_alone(base: Path) -> None:
    run(base, SERVES)
    pid = daemon_of(base)
    (base / "archiverd.pid").write_text("1\n")
    end(base, pid)

    assert (base / "archiverd.pid").read_text() == "1\n"


def test_pid_file_that_can_not_be_written_stops_nothing(base: Path) -> None:
    (base / "archiverd.pid").mkdir()
    code, told = run(base, SERVES)

    pid = born(base)
    assert (code, end(base, pid)) == (0, "0")
    assert "the pid file can't be written" in told


def test_what_the_daemon_says_is_heard_until_it_is_ready(base: Path) -> None:
    says = 'print("{0}")\nprint("{0}", file=sys.stderr)\n'
    body = f"{says.format('before')}launcher()\n{says.format('after')}return 0"
    with start(base, body, env={"SAID_FIRST": "first\n"}) as process:
        assert process.communicate(timeout=60) == ("first\nbefore\n", "before\n")


def test_caller_without_standard_streams_starts_a_daemon_too(base: Path) -> None:
    with start(base, "launcher()\npause(60)", redirections="<&- >&- 2>&-") as process:
        assert process.wait(60) == 0

    files = Path(f"/proc/{daemon_of(base)}/fd").iterdir()
    assert {file.name: os.readlink(file) for file in files} == dict.fromkeys("012", "/dev/null")


def test_daemon_that_fails_later_is_no_failed_start(base: Path) -> None:
    assert run(base, 'launcher()\nraise StartupError("the disk went away")') == (0, "")
    until(lambda: len(list(base.glob("code-*"))) == 2)

    assert sorted(path.read_text() for path in base.glob("code-*")) == ["0", "69"]
    until(lambda: not (base / "archiverd.pid").exists())


# --- a daemon that does not


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        (
            'raise LockedError("/camera: is locked", advice="End the other one")',
            75,
            "archiverd: /camera: is locked. End the other one\n",
        ),
        ('raise StartupError("no ffmpeg")', 69, "archiverd: no ffmpeg\n"),
        ('raise StartupError(os.fsdecode(b"caf\\xe9 \\n") + "x" * 10000)', 69, "archiverd: caf\\udce9 \nxxx"),
        ('open("/nonexistent/file")', 69, "archiverd: [Errno 2] No such file or directory: '/nonexistent/file'\n"),
        ("raise Interrupted(15)", 143, "archiverd: the daemon was stopped by signal 15 before it was ready\n"),
        ("return 0", 69, "archiverd: the daemon ended before it was ready\n"),
        ("return 75", 75, "archiverd: the daemon ended before it was ready\n"),
    ],
    ids=["locked", "startup", "long and no utf-8", "os error", "interrupted", "returned 0", "returned 75"],
)
def test_launcher_ends_with_the_daemons_error_and_exit_code(base: Path, body: str, code: int, told: str) -> None:
    found, said = run(base, body, env={"PYTHONIOENCODING": "utf-8:backslashreplace"})

    assert found == code
    assert said.startswith(told)
    assert not (base / "archiverd.pid").exists()


def test_daemon_that_dies_without_a_word_is_told(base: Path) -> None:
    code, told = run(base, "launcher.alive('recovering')\nos.kill(os.getpid(), signal.SIGKILL)")

    assert code == 69
    assert told.startswith("archiverd: the daemon ended before it was ready (recovering), without a word. Look in ")


def test_bug_in_the_daemon_is_told_with_its_traceback(base: Path) -> None:
    code, told = run(base, "raise RuntimeError('a bug')")

    assert code == 69
    assert told.index("RuntimeError: a bug") < told.index("archiverd: the daemon ended before it was ready (starting)")


def test_daemon_without_a_sign_of_life_is_left_alone_and_told(base: Path) -> None:
    with start(base, "os.close(1)\nos.close(2)\npause(60)", silence_s=1.0) as process:
        _, told = process.communicate(timeout=60)

    pid = born(base)
    assert process.returncode == 69
    assert f"no sign of life since 1 s (starting); process {pid} is left alone" in told
    assert not is_gone(pid)


def test_signs_of_life_are_waited_for_longer(base: Path) -> None:
    code, _ = run(
        base, "for _ in range(3):\n    pause(1)\n    launcher.alive('recovering')\nlauncher()\nreturn 0", silence_s=2.5
    )

    assert code == 0


def test_interrupt_of_the_launcher_ends_the_daemon(base: Path) -> None:
    with start(base, "(base / 'waits').touch()\npause(60)") as process:
        until((base / "waits").exists)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    pid = born(base)
    until(lambda: is_gone(pid))
    assert process.returncode == -signal.SIGINT


def test_launcher_that_is_killed_is_no_matter_to_the_daemon(base: Path) -> None:
    with start(base, "(base / 'waits').touch()\npause(1)\nlauncher.alive('recovering')" + SERVES) as process:
        until((base / "waits").exists)
        process.kill()

    until((base / "archiverd.pid").exists)
    assert end(base, daemon_of(base)) == "0"


def test_service_manager_gets_no_detached_daemon(base: Path) -> None:
    code, told = run(base, SERVES, env={"NOTIFY_SOCKET": "/run/systemd/notify"})

    assert code == 2
    assert told.startswith("archiverd: --detach: a service manager started this")
    assert list(base.glob("born-*")) == []


# --- the pid file by itself


@pytest.mark.parametrize("content", ["", "1\n", "{ours}1\n", "garbage"])
def test_pid_file_of_others_is_not_removed(tmp_path: Path, content: str) -> None:
    path = tmp_path / "archiverd.pid"
    path.write_text(content.format(ours=os.getpid()))
    PidFile(path).remove()

    assert path.read_text() == content.format(ours=os.getpid())


def test_pid_file_that_is_not_there_is_removed_already(tmp_path: Path) -> None:
    PidFile(tmp_path / "archiverd.pid").remove()

    assert list(tmp_path.iterdir()) == []


def test_interrupt_before_the_daemon_has_said_who_it_is_ends_it_too() -> None:
    """As typed right after the start: the launcher is interrupted at its first wait, and only then the word comes."""
    launcher = """
import os, signal, sys
from pathlib import Path
from archiverd.service import detach
reader, writer = os.pipe()
wait = detach._Wait(reader, Path("log"), print, 60.0)
if (daemon := os.fork()) == 0:
    signal.pause()

def interrupted():
    os.write(writer, detach.Report(detach.Said.ALIVE, daemon, "starting").to_line())
    signal.raise_signal(signal.SIGINT)

wait._last_report = interrupted
try:
    wait.wait()
except KeyboardInterrupt:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(daemon, 0)[1]) + 100)
"""
    done = subprocess.run((sys.executable, "-c", launcher), timeout=60)
    assert done.returncode == 100 - signal.SIGTERM
