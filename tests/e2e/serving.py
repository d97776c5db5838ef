"""A daemon as its service manager starts it, listening to what it tells that manager."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from archiverd.policy.model import State
from tests.e2e.rig import CHECKOUT, Rig, Upload
from tests.screen import until

SOON = 'settle = "2 s"\nsettle_closed = "0.2 s"\n'  # beside the rig's own settings


class Serving:
    """One `archiverd daemon`, and the messages it has sent."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path, listener: socket.socket) -> None:
        self.process = process
        self._output = output
        self._listener = listener
        self.messages: list[str] = []
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while message := self._listener.recv(65536):
                self.messages.append(message.decode())

    @property
    def log(self) -> str:
        return self._output.read_text()

    def says(self, words: str, within_s: float = 60.0) -> None:
        """Wait until its log holds these words."""
        until(lambda: words in self.log or self.process.poll() is not None, within_s)
        assert words in self.log, self.log

    def tells(self, message: str, times: int = 1) -> None:
        """Wait until it has told the service manager so."""
        until(lambda: self.messages.count(message) >= times or self.process.poll() is not None, 60)
        assert self.messages.count(message) >= times, (self.messages, self.log)

    def signal(self, signum: signal.Signals) -> None:
        self.process.send_signal(signum)

    def stop(self) -> int:
        """Have it stop, and wait for that; its exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(60)


@contextlib.contextmanager
def begun(rig: Rig, *options: str, settings: str = SOON) -> Iterator[Serving]:
    """A daemon over the trees of a rig, killed at the end where it still goes on."""
    address = str(rig.base / "notify")
    with (
        contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener,
        (rig.base / "daemon.output").open("ab") as output,
    ):
        Path(address).unlink(missing_ok=True)
        listener.bind(address)
        text = rig.config_file.read_text().replace('settle = "0 s"\n', "")
        rig.config_file.write_text(text if settings in text else text + settings)
        command = (sys.executable, "-m", "archiverd", "daemon", *rig.options, *options)
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "NOTIFY_SOCKET": address}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=output, stdout=output, env=environment)
        try:
            yield Serving(process, rig.base / "daemon.output", listener)
        finally:
            process.kill()
            process.wait(10)


@contextlib.contextmanager
def serving(rig: Rig, *options: str, settings: str = SOON) -> Iterator[Serving]:
    """The same, once it is ready."""
    with begun(rig, *options, settings=settings) as daemon:
        daemon.tells("READY=1")
        yield daemon


def becomes(rig: Rig, upload: Upload, state: State, within_s: float = 60.0) -> None:
    """Wait until the newest row of an upload is in a state."""
    until(lambda: state_of(rig, upload) is state, within_s)


def state_of(rig: Rig, upload: Upload) -> State | None:
    rows = [row for row in rig.rows() if row.path == upload.path]
    return rows[-1].state if rows else None


def ends(condition: Callable[[], bool]) -> None:
    until(condition, 60)
