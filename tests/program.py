"""archiverd as its users start it, and what stands in a directory before and after."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import select
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
NO_CONFIG = Path("/dev/null")  # an empty file: no test goes by what stands in /etc of its machine
ARCHIVERD = (sys.executable, "-m", "archiverd")


@dataclass(frozen=True, slots=True)
class Ran:
    """A run of the program that is over."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # Any: what json.loads returns; raises where stdout is not exactly one document
        return json.loads(self.out)


def environment(**extra: str) -> dict[str, str]:
    """Ours, without what fixes the size of a terminal (pytest-xdist sets it)."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    return {**kept, "PYTHONPATH": str(CHECKOUT), "TERM": "xterm", **extra}


def unmeasured() -> dict[str, str]:
    """The same, and no coverage is measured in the child: what it loads and opens is its own."""
    return {name: value for name, value in environment().items() if not name.startswith("COVERAGE")}


def archiverd(
    *arguments: str | bytes | Path, config: Path | None = NO_CONFIG, stdin: int = subprocess.DEVNULL, **env: str
) -> Ran:
    """Run the program to its end. `config` is given as `--config`, None for not at all."""
    options = () if config is None else ("--config", config)
    done = subprocess.run(
        (*ARCHIVERD, *arguments, *options),
        stdin=stdin, capture_output=True, text=True, errors="surrogateescape", env=environment(**env), timeout=240,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


class Typed:
    """archiverd on a terminal: everything it writes comes out here, and what is typed goes in."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int) -> None:
        self.process = process
        self._terminal = terminal
        self._read = bytearray()

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def shows(self, words: str) -> bool:
        self.read(0.02)
        return words in self.output

    def read(self, for_s: float) -> bool:
        """Read what comes within a time; False when no more can come."""
        ready, _, _ = select.select([self._terminal], [], [], for_s)
        try:
            chunk = os.read(self._terminal, 65536) if ready else None
        except OSError:  # EIO: nobody has the other side open any more
            return False
        self._read += chunk or b""
        return chunk != b""

    def end(self) -> int:
        deadline = time.monotonic() + 120
        while self.read(0.5):
            assert time.monotonic() < deadline, self.output
        return self.process.wait(60)

    @property
    def output(self) -> str:
        return bytes(self._read).decode()


@contextmanager
def typed(*arguments: str | Path) -> Iterator[Typed]:
    terminal, inside = os.openpty()
    termios.tcsetwinsize(inside, (24, 120))
    try:
        command = (*ARCHIVERD, *arguments, "--config", NO_CONFIG)
        with subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, env=environment()) as process:
            os.close(inside)
            yield Typed(process, terminal)
            process.kill()
    finally:
        os.close(terminal)


@dataclass(frozen=True, slots=True)
class Entry:
    """All that can be seen of one file or directory, but when it was read."""

    ino: int
    mode: int
    size: int
    mtime_ns: int
    content: str  # SHA-256 of a file, target of a symlink


Standing = dict[bytes, Entry]


def standing(root: Path, *, but: tuple[str, ...] = ()) -> Standing:
    """Everything at and below `root` by its path there, except the names `but` directly in it."""
    found = {b"": _entry(root)}
    for folder, directories, files in os.walk(root):
        if Path(folder) == root:
            directories[:] = [name for name in directories if name not in but]
            files = [name for name in files if name not in but]  # noqa: PLW2901  (the listing, filtered)
        for name in (*directories, *files):
            path = Path(folder, name)
            found[os.fsencode(path.relative_to(root))] = _entry(path)
    return found


def _entry(path: Path) -> Entry:
    status = path.lstat()
    content = ""
    if path.is_symlink():
        content = str(path.readlink())
    elif path.is_file():
        content = sha256_of(path)
    size = 0 if path.is_dir() else status.st_size
    return Entry(status.st_ino, status.st_mode, size, status.st_mtime_ns, content)


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """A directory that `build` fills, once for all the processes this test session runs in."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, whole = base / name, base / f"{name}.whole"
    with _locked(base / f"{name}.lock"):
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            build(folder)
            whole.touch()
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
