"""The daemon as it is measured: started on a tree, seen to be ready, and what it takes of processor and memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.command import CHECKOUT, BenchError
from tools.readiness import NotReadyError, heard

READY_WITHIN_S = 300
_END_WITHIN_S = 30
_TICKS = os.sysconf("SC_CLK_TCK")  # per second
_MIB = 1024  # kB


@dataclass(frozen=True, slots=True)
class Use:
    """What a process has used so far, the children it has waited for included."""

    cpu_s: float
    rss_mib: float
    most_rss_mib: float


def use_of(pid: int) -> Use:
    """Of a process that is alive. Source: proc_pid_stat(5), proc_pid_status(5). Raises: OSError."""
    # The second field, in brackets, may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines())
    rss, most = (int(status[name].split()[0]) / _MIB for name in ("VmRSS", "VmHWM"))
    return Use(sum(map(int, fields[11:15])) / _TICKS, rss, most)


@contextlib.contextmanager
def running(tree: Path, config: Path, programs: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon on a tree, ready; ended as systemd ends it. `programs` are before all others on its PATH.

    What it says goes to `daemon.log` beside the configuration. Raises: BenchError where it does not come up, is gone
    at the end, or does not end well.
    """
    log = config.with_name("daemon.log")
    path = os.environ["PATH"] if programs is None else f"{programs}:{os.environ['PATH']}"
    line = (sys.executable, "-m", "archiverd", "daemon", str(tree), "--config", str(config))
    with heard() as ready, log.open("ab") as output:
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(CHECKOUT), "NOTIFY_SOCKET": ready.address}
        process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", env=environment
        )
        try:
            ready.wait(READY_WITHIN_S)
            yield process
            _end(process, log)
        except NotReadyError as error:
            raise BenchError(f"{error}; it said: {said(log)}") from error
        finally:
            process.kill()
            process.wait(_END_WITHIN_S)


def _end(process: subprocess.Popen[bytes], log: Path) -> None:
    process.terminate()
    try:
        code = process.wait(_END_WITHIN_S)
    except subprocess.TimeoutExpired:
        raise BenchError(f"the daemon did not end within {_END_WITHIN_S} s; it said: {said(log)}") from None
    if code != 0:
        raise BenchError(f"the daemon exited {code}; it said: {said(log)}")


def said(log: Path) -> str:
    """The end of a log."""
    return log.read_text(errors="replace")[-2000:]


def pause(seconds: float) -> None:
    """Let time pass."""
    threading.Event().wait(seconds)


def calm(pid: int, *, within_s: float, ticks: int = 2, over_s: float = 3.0) -> None:
    """Wait until a process does next to nothing: so few ticks for so long. Raises: BenchError, OSError."""
    deadline = time.monotonic() + within_s
    while True:
        before = use_of(pid).cpu_s
        pause(over_s)
        if (use_of(pid).cpu_s - before) * _TICKS <= ticks:
            return
        if time.monotonic() > deadline:
            raise BenchError(f"after {within_s:g} s the daemon is still at work")


# ---- reports


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Rows of words, the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    return [
        "  ".join(cell.ljust(width) if not at else cell.rjust(width) for at, (cell, width) in enumerate(cells))
        for row in (heads, *rows)
        for cells in [list(zip(row, widths, strict=True))]
    ]


def met(value: float, most: float, unit: str) -> str:
    """Whether a figure is what it is to be."""
    return f"{value:.4g} {unit}, to be under {most:g} {unit}: {'met' if value < most else 'MISSED'}"
