"""What a confined program sees: the files it was given, what it needs to start, and no more. By the real kernel."""

from __future__ import annotations

import logging
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from archiverd.errors import StartupError
from archiverd.media import confinement, process
from archiverd.media.confinement import landlock_version
from archiverd.media.process import Finished, Limits, run, see_launcher
from archiverd.policy.stop import NeverStop
from tests.program import CHECKOUT
from tests.screen import until

FREE = Limits(stall_s=math.inf, wall_s=60)
CONFINED = replace(FREE, confined=True)
PYTHON = os.path.realpath(sys.executable)
DENIED = "Permission denied"
SOCKETS = """
import socket, sys
for name in ("INET STREAM", "INET DGRAM", "INET6 DGRAM", "UNIX STREAM", "NETLINK RAW"):
    family, kind = name.split()
    try:
        socket.socket(getattr(socket, "AF_" + family), getattr(socket, "SOCK_" + kind))
        print(family, kind, "opened")
    except PermissionError:
        print(family, kind, "refused")
"""
IO_URING = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall(425, 1, None), errno.errorcode[ctypes.get_errno()])
"""
DIES = """
import math, sys
from archiverd.media.process import Limits, run
from archiverd.policy.stop import NeverStop
words = f"sleep 0.3; echo lives; exec sleep {sys.argv[1]}"
limits = Limits(stall_s=math.inf, wall_s=600, confined=True)
run(("sh", "-c", words), stop=NeverStop(), limits=limits, on_line=lambda line: print(line, flush=True))
"""


@pytest.fixture(autouse=True)
def _nothing_is_known_of_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_unconfined", set())


@pytest.fixture
def given(tmp_path: Path) -> Iterator[int]:
    """An open file that may be read."""
    (tmp_path / "given").write_text("given\n")
    handle = os.open(tmp_path / "given", os.O_RDONLY)
    yield handle
    os.close(handle)


def go(*argv: str, limits: Limits = CONFINED, handles: tuple[int, ...] = ()) -> tuple[Finished, list[str]]:
    lines: list[str] = []
    return run(argv, stop=NeverStop(), limits=limits, pass_fds=handles, on_line=lines.append), lines


def sh(script: str, limits: Limits = CONFINED, handles: tuple[int, ...] = ()) -> tuple[Finished, list[str]]:
    return go("sh", "-c", script, limits=limits, handles=handles)


def test_this_kernel_has_landlock() -> None:
    """All that follows is shown with it."""
    assert landlock_version() >= 1


def test_a_file_that_was_given_is_read_and_its_neighbour_is_not(tmp_path: Path, given: int) -> None:
    (tmp_path / "neighbour").write_text("secret\n")
    finished, lines = go("cat", f"/proc/self/fd/{given}", str(tmp_path / "neighbour"), handles=(given,))
    assert lines == ["given"]
    assert finished.stderr.strip().endswith(f"neighbour: {DENIED}")


OTHERS = ("/etc/passwd", "/root", "/home", "/var/log", "/tmp", "/proc/1/environ", "/proc/self/maps")


@pytest.mark.parametrize("path", OTHERS)
def test_what_others_own_is_not_opened(path: str) -> None:
    finished, lines = go("cat", path)
    assert lines == []
    assert finished.stderr.strip().endswith(f"{path}: {DENIED}")


def test_a_file_open_for_reading_is_not_written(tmp_path: Path, given: int) -> None:
    finished, _ = sh(f"echo more > /proc/self/fd/{given}", handles=(given,))
    assert DENIED in finished.stderr
    assert (tmp_path / "given").read_text() == "given\n"


def test_a_file_open_for_writing_is_written_and_read_again_and_nothing_is_made_beside_it(tmp_path: Path) -> None:
    """As ffmpeg does, who opens its output anew to move the index to the front."""
    handle = os.open(tmp_path / "output", os.O_RDWR | os.O_CREAT)
    script = f"echo output > /proc/self/fd/{handle}; cat /proc/self/fd/{handle}; echo x > beside; mkdir directory"
    finished, lines = sh(f"cd {tmp_path}; {script}", handles=(handle,))
    os.close(handle)
    assert lines == ["output"]
    assert finished.stderr.count(DENIED) == 2
    assert os.listdir(tmp_path) == ["output"]


def test_a_file_without_a_name_can_be_given() -> None:
    handle = os.memfd_create("output", 0)
    sh(f"echo output > /proc/self/fd/{handle}", handles=(handle,))
    assert os.pread(handle, 100, 0) == b"output\n"
    os.close(handle)


@pytest.mark.parametrize("seen", [True, False])
def test_a_device_is_seen_by_whom_it_is_told(tmp_path: Path, *, seen: bool) -> None:
    node = tmp_path / "node"
    node.touch()
    _, lines = sh(f"echo x >> {node} && echo used", limits=replace(CONFINED, devices=(str(node),) if seen else ()))
    assert lines == (["used"] if seen else [])


def test_no_socket_of_any_kind_can_be_opened() -> None:
    _, free = go(PYTHON, "-ISc", SOCKETS, limits=FREE)
    _, lines = go(PYTHON, "-ISc", SOCKETS)
    assert [line.rsplit(" ", 1)[1] for line in free] == ["opened"] * 5
    assert [line.rsplit(" ", 1)[1] for line in lines] == ["refused"] * 5


def test_io_uring_is_not_there() -> None:
    _, lines = go(PYTHON, "-ISc", IO_URING)
    assert lines == ["-1 ENOSYS"]


@pytest.mark.parametrize("limits", [FREE, CONFINED], ids=["unconfined", "confined"])
def test_resource_limits_hold_either_way(limits: Limits) -> None:
    _, lines = sh("ulimit -c; ulimit -f; ulimit -v", limits=replace(limits, file_bytes=1 << 20, memory_bytes=1 << 30))
    assert lines == ["0", "2048", str(1 << 20)]


def test_archiverd_itself_stays_free(tmp_path: Path) -> None:
    before = threading.active_count()
    go("true")
    (tmp_path / "free").write_text("x")
    socket.socket().close()
    assert threading.active_count() == before
    assert subprocess.run(("cat", "/etc/passwd"), capture_output=True).returncode == 0


def test_a_confined_program_ends_with_an_archiverd_that_is_killed() -> None:
    seconds = f"{time.time_ns() % 10**6 + 10**6}"  # tells it from others
    with subprocess.Popen((sys.executable, "-c", DIES, seconds), stdout=subprocess.PIPE, cwd=CHECKOUT) as dying:
        assert dying.stdout is not None
        try:
            assert dying.stdout.readline() == b"lives\n"  # and so does the thread that started it
            until(lambda: running(seconds) == 1)
        finally:
            dying.send_signal(signal.SIGKILL)
    until(lambda: running(seconds) == 0)


def running(seconds: str) -> int:
    found = 0
    for process_of in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone since
            found += process_of.joinpath("cmdline").read_bytes().endswith(f"sleep\0{seconds}\0".encode())
    return found


def test_without_landlock_sockets_are_closed_and_the_rest_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(confinement, "landlock_version", lambda: 0)
    monkeypatch.setattr(process, "landlock_version", lambda: 0)
    assert sh("cat /etc/passwd > /dev/null && echo seen")[1] == ["seen"]
    assert "refused" in go(PYTHON, "-ISc", SOCKETS)[1][0]
    see_launcher()
    assert "the kernel has no Landlock: an ffmpeg sees every file that archiverd sees" in caplog.text


def test_a_machine_whose_sockets_cannot_be_closed_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    see_launcher()
    assert "sockets" not in caplog.text
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    see_launcher()
    assert "sockets can't be closed to an ffmpeg here" in caplog.text
    assert sh("echo runs")[1] == ["runs"]


def test_a_program_that_does_not_start_confined_is_started_unconfined_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As one whose libraries stand where nobody looks for them."""
    monkeypatch.setattr(confinement, "_PROGRAMS", ())
    monkeypatch.setattr(confinement, "_beside", lambda _program: ())
    with caplog.at_level(logging.WARNING):
        assert [sh("echo works")[1] for _ in range(2)] == [["works"], ["works"]]
    assert caplog.text.count("does not start confined") == 1
    assert "it runs unconfined, and sees every file that archiverd sees" in caplog.text


def test_a_program_that_does_not_start_at_all_is_no_matter_of_confinement(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken"
    true = Path(shutil.which("true") or "").read_bytes()
    broken.write_bytes(true.replace(b"/ld-linux", b"/xx-linux"))  # by what it is to be loaded
    broken.chmod(0o755)
    with pytest.raises(StartupError):
        go(str(broken))
    assert "confined" not in caplog.text


def test_a_program_that_only_says_it_did_not_start_stays_confined(caplog: pytest.LogCaptureFixture) -> None:
    """As one could that an upload has taken over."""
    claims = "echo sh: error while loading shared libraries >&2; cat /etc/passwd; exit 127"
    lines: list[str] = []
    with pytest.raises(StartupError):
        run(("sh", "-c", claims), stop=NeverStop(), limits=CONFINED, on_line=lines.append)
    assert lines == []
    assert "unconfined" not in caplog.text


def test_a_script_is_run_unconfined_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody knows what a wrapper of the owner's needs."""
    script = tmp_path / "wrapper"
    script.write_text(f"#!/bin/sh\necho ran >> {tmp_path}/log\n")
    script.chmod(0o755)
    go(str(script))
    go(str(script))
    assert (tmp_path / "log").read_text() == "ran\nran\n"
    assert caplog.text.count("is a script: it runs unconfined") == 1
