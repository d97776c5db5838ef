"""A process that watches a tree, and what may happen to both: it notices by itself, and no file is missed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.screen import until

REPOSITORY = Path(__file__).parents[2]
# Permissions do not hold root up: it runs without its capabilities. Anybody else has none to begin with.
UNPRIVILEGED = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []


class Lookout:
    """The process of `tests/lookout.py`."""

    def __init__(self, base: Path, before: Sequence[str]) -> None:
        self.root = base / "camera"
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        self.process = subprocess.Popen(
            [*before, sys.executable, str(REPOSITORY / "tests" / "lookout.py"), str(base)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self._log: list[str] = []
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def ask(self) -> dict[str, Any]:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write("\n")
        stdin.flush()
        said: dict[str, Any] = json.loads(stdout.readline())
        return said

    def sees(self, clips: int) -> None:
        until(lambda: self.ask()["clips"] == clips)

    def settles(self) -> None:
        until(lambda: self.ask()["settled"])

    @property
    def log(self) -> str:
        return "".join(self._log)

    def logs(self, words: str) -> None:
        until(lambda: words in self.log)

    def becomes_idle(self) -> None:
        """Wait until a second goes by in which a fifth of a core is enough."""
        since, used_s = time.monotonic(), self.ask()["cpu_s"]

        def idle() -> bool:
            nonlocal since, used_s
            now = time.monotonic()
            if now - since < 1.0:
                return False
            before, used_s = used_s, self.ask()["cpu_s"]
            since, span_s = now, now - since
            return bool(used_s - before < span_s / 5)

        until(idle)

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(20) == 0, self.log
        self._reader.join(10)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)
        self._reader.join(10)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._log.append(line)


@contextmanager
def looking_out(base: Path, *before: str) -> Iterator[Lookout]:
    lookout = Lookout(base, before)
    try:
        yield lookout
        lookout.end()
    finally:
        lookout.kill()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "camera" / "2026/07/01").mkdir(parents=True)
    return tmp_path


def put(root: Path, count: int, *, day: str = "2026/07/01", first: int = 0) -> None:
    """So many clips, empty, in the directory of a day."""
    (root / day).mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        hour, minute, second = number // 3600, number // 60 % 60, number % 60
        os.mknod(f"{root}/{day}/REO_x_20260701{hour:02}{minute:02}{second:02}.mp4")


def test_what_comes_while_the_process_stands_still_is_seen_and_then_it_is_idle(base: Path) -> None:
    """More than the kernel keeps for later: it tells only that there was more."""
    with looking_out(base) as lookout:
        for day in range(1, 5):
            put(lookout.root, 1, day=f"2026/07/{day:02}")
        lookout.settles()
        lookout.sees(4)
        lookout.process.send_signal(signal.SIGSTOP)
        for day in range(1, 6):
            put(lookout.root, 5000, day=f"2026/07/{day:02}", first=1)
        lookout.process.send_signal(signal.SIGCONT)
        lookout.sees(25_004)
        lookout.logs("is watched again")
        lookout.becomes_idle()
        put(lookout.root, 1, day="2026/07/05", first=6000)
        lookout.sees(25_005)
    assert lookout.log.count("more happened at once than the kernel keeps") == 1


def test_a_root_that_is_removed_and_made_again_is_watched_again(base: Path) -> None:
    with looking_out(base) as lookout:
        lookout.settles()
        shutil.rmtree(lookout.root)
        lookout.root.mkdir()
        put(lookout.root, 300)
        lookout.sees(300)
        lookout.settles()
        put(lookout.root, 10, day="2026/07/02", first=300)
        lookout.sees(310)
        lookout.becomes_idle()
    assert lookout.log.count("lost: ") == 1


def can_mount() -> bool:
    return os.geteuid() == 0 and subprocess.run(["losetup", "--find"], capture_output=True, check=False).returncode == 0


@contextmanager
def disk(base: Path) -> Iterator[None]:
    """An ext4 file system on a loop device, mounted on the root and marked as one."""
    image = base / "disk.img"
    image.touch()
    os.truncate(image, 16 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    mount(base)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", base / "camera"], check=False, stderr=subprocess.DEVNULL)


def mount(base: Path) -> None:
    subprocess.run(["mount", "-o", "loop", base / "disk.img", base / "camera"], check=True)


if can_mount():

    def test_a_disk_that_is_unmounted_and_mounted_again_is_watched_again(base: Path) -> None:
        with disk(base), looking_out(base) as lookout:
            put(lookout.root, 20)
            lookout.settles()
            lookout.sees(20)
            subprocess.run(["umount", "--lazy", lookout.root], check=True)
            lookout.logs("lost: ")
            # What its directory was before it was mounted on is not marked as ours.
            mount(base)
            put(lookout.root, 30, first=20)
            lookout.sees(50)
            lookout.settles()
            put(lookout.root, 10, day="2026/07/02", first=50)
            lookout.sees(60)
            lookout.becomes_idle()


def test_directories_beyond_the_limit_of_watches_are_told_of_and_looked_into(base: Path) -> None:
    for day in range(100):
        put(base / "camera", 1, day=f"2026/{day // 25 + 1:02}/{day % 25 + 1:02}", first=day)
    limited = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    script = 'echo 50 > /proc/sys/user/max_inotify_watches && exec "$@"'
    with looking_out(base, *limited, script, "sh") as lookout:
        lookout.settles()
        lookout.sees(100)
        (told,) = lookout.ask()["problems"]["watching"]
        assert "directories are not watched" in told
        assert "sysctl fs.inotify.max_user_watches=" in told
        put(lookout.root, 1, day="2026/01/05", first=200)
        put(lookout.root, 1, day="2026/04/02", first=201)
        lookout.sees(102)
        lookout.becomes_idle()
    assert lookout.log.count("not watched") == 1


def test_a_root_that_may_not_be_read_is_told_of_until_it_may(base: Path) -> None:
    put(base / "camera", 1)
    for name in ("archived", "trash", "state"):
        (base / name).mkdir()
    with looking_out(base, *UNPRIVILEGED) as lookout:
        lookout.settles()
        lookout.sees(1)
        lookout.root.chmod(0o311)
        until(lambda: "can't be read" in str(lookout.ask()["problems"]["watching"]))
        put(lookout.root, 20, first=1)
        lookout.root.chmod(0o755)
        lookout.sees(21)
        until(lambda: lookout.ask()["problems"]["watching"] == [])
    assert lookout.log.count("can't be read: Permission denied") == 1
