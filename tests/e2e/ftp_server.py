"""Real FTP servers over a camera's tree, each a process of its own: pyftpdlib, and vsftpd where there is one."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.program import CHECKOUT, environment
from tests.screen import until

USER = "anonymous"
_UNPACKED = CHECKOUT / ".venv/vsftpd"  # where ./dev puts it: installed, it would serve the whole machine
_VSFTPD = """\
listen=YES
listen_address=127.0.0.1
listen_port={port}
background=NO
run_as_launching_user=YES
ftp_username={user}
anonymous_enable=YES
local_enable=NO
no_anon_password=YES
anon_root={root}
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_umask=022
seccomp_sandbox=NO
xferlog_enable=NO
"""


def servers() -> tuple[str, ...]:
    """The names of those there are on this machine."""
    return ("pyftpdlib", "vsftpd") if _vsftpd() else ("pyftpdlib",)


@contextlib.contextmanager
def serving(server: str, root: Path, folder: Path) -> Iterator[int]:
    """Let anybody upload below `root`, from this machine; yields the port. `folder` is the server's own."""
    start = {"pyftpdlib": _start_pyftpdlib, "vsftpd": _start_vsftpd}[server]
    process, port = start(root, folder)
    try:
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # vsftpd has a process for each connection
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def _start_pyftpdlib(root: Path, _folder: Path) -> tuple[subprocess.Popen[str], int]:
    command = (sys.executable, "-W", "ignore", "-m", "tests.e2e.pyftpd", str(root))
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT, env=environment(), start_new_session=True
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def _start_vsftpd(root: Path, folder: Path) -> tuple[subprocess.Popen[str], int]:
    user, config = pwd.getpwuid(os.geteuid()).pw_name, folder / "vsftpd.conf"
    for _ in range(5):  # somebody may take a port before it does
        port = _free_port()
        config.write_text(_VSFTPD.format(port=port, user=user, root=root))
        process = subprocess.Popen(
            (_vsftpd(), str(config)), stdin=subprocess.DEVNULL, text=True, env=environment(), start_new_session=True
        )
        if _comes_up(process, port):
            return process, port
        process.wait()
    raise AssertionError("vsftpd does not come up; what it said is above")


def _comes_up(process: subprocess.Popen[str], port: int) -> bool:
    until(lambda: process.poll() is not None or _answers(port))
    return process.poll() is None


def _vsftpd() -> str:
    return shutil.which("vsftpd", path=f"{os.environ['PATH']}:/usr/sbin:{_UNPACKED / 'usr/sbin'}") or ""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True
