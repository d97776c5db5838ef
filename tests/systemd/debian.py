"""A Debian 12 of its own, made once and kept, and booted: systemd as PID 1, its journal, units, users and mounts.

It is made by mmdebstrap, and kept in ~/.cache/archiverd-tests (XDG_CACHE_HOME) for as long as what it is made of stays
the same. Each boot writes into a layer above it, which is thrown away. It has no network but its own loopback.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.program import CHECKOUT, Ran
from tests.screen import until

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
PACKAGES = ("systemd-sysv", "python3-venv", "ffmpeg", "acl", "vsftpd")
SCRIPTS = "/opt/archiverd/bin"
LEFT_OUT = ("doc", "info", "locale", "man")  # of /usr/share
CERTIFICATES = "/etc/ssl/certs"

_LEADERS = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd", "/sbin/init")


# --- what it is made of ----------------------------------------------------------------------------------------------


def requirements() -> list[str]:
    """What archiverd needs from PyPI, as uv.lock pins it."""
    packages = {package["name"]: package for package in tomllib.loads((CHECKOUT / "uv.lock").read_text())["package"]}
    wanted, found = ["archiverd"], set[str]()
    while wanted:
        package = packages[wanted.pop()]
        names = [dependency["name"] for dependency in package.get("dependencies", ()) if "marker" not in dependency]
        wanted += [name for name in names if name not in found]
        found |= set(names)
    return sorted(f"{name}=={packages[name]['version']}" for name in found)


def made_root() -> Path:
    """The root directory, made where it is not there yet."""
    recipe = json.dumps([SUITE, MIRROR, PACKAGES, SCRIPTS, LEFT_OUT, requirements()])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "archiverd-tests"
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / f"debian-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.is_dir():
            for old in cache.glob("debian-*"):  # of another recipe, or not finished
                shutil.rmtree(old)
            fresh = root.with_suffix(".new")
            _make(fresh)
            fresh.rename(root)
    return root


def _make(root: Path) -> None:
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT]
    _do(
        "mmdebstrap", "--quiet", "--mode=root", "--variant=apt", f"--include={','.join(PACKAGES)}",
        "--dpkgopt=force-unsafe-io", *excluded, SUITE, str(root), MIRROR,
    )  # fmt: skip
    venv = str(Path(SCRIPTS).parent)
    pip = f"{SCRIPTS}/pip install -q --disable-pip-version-check {' '.join(requirements())}"
    trusted = (f"--bind-ro={CERTIFICATES}", "-E", f"PIP_CERT={CERTIFICATES}/ca-certificates.crt")
    _do(
        "systemd-nspawn", "-q", "-D", str(root), "--register=no", "--keep-unit", "--pipe", "--resolv-conf=bind-host",
        *trusted, "sh", "-ec", f"python3 -m venv {venv}; {pip}",
    )  # fmt: skip


def _do(*argv: str) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}{done.stderr}"


def wheel(folder: Path) -> Path:
    """This checkout, packed."""
    _do(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(CHECKOUT))
    (path,) = folder.glob("*.whl")
    return path


# --- booted ----------------------------------------------------------------------------------------------------------


class Debian:
    """A Debian that runs, from `with` to its end. `files` are put into it before it boots."""

    def __init__(self, root: Path, folder: Path, files: Mapping[str, str]) -> None:
        self._lower = root
        self._folder = folder
        self._files = files
        self._stack = ExitStack()
        self.leader = 0  # the process number of its PID 1, here

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            merged = stack.enter_context(self._layers())
            for name, text in self._files.items():
                path = merged / name.lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            groups = stack.enter_context(_groups_of_its_own())
            self._boot(merged, groups, stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @contextmanager
    def _layers(self) -> Iterator[Path]:
        """The root with a layer to write into above it, in memory: it may lie on an overlay itself."""
        self._folder.mkdir(exist_ok=True)
        _do("mount", "-t", "tmpfs", "tmpfs", str(self._folder))
        try:
            upper, work, merged = (self._folder / name for name in ("upper", "work", "root"))
            for path in (upper, work, merged):
                path.mkdir(mode=0o755)
            layers = f"lowerdir={self._lower},upperdir={upper},workdir={work}"
            _do("mount", "-t", "overlay", "overlay", "-o", layers, str(merged))
            try:
                yield merged
            finally:
                _do("umount", "-l", str(merged))
        finally:
            _do("umount", "-l", str(self._folder))

    def _boot(self, root: Path, groups: Sequence[Path], stack: ExitStack) -> None:
        join = "".join(f"echo $$ > '{group}/cgroup.procs'; " for group in groups)
        argv = (
            "systemd-nspawn", "-q", "-D", str(root), "-b", "--register=no", "--keep-unit", "--private-network",
            "--system-call-filter=@memlock",  # a machine has it, and without it libgcrypt complains in each ffmpeg
            "--console=pipe", "-M", "archiverd-test",
        )  # fmt: skip
        console = stack.enter_context((self._folder / "console").open("wb"))
        process = subprocess.Popen(
            ("sh", "-c", f'{join}exec "$@"', "sh", *argv),
            stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        )  # fmt: skip
        stack.callback(self._end, process)
        until(lambda: self._find_leader(process), 30)
        until(self._is_up, 60)

    def _find_leader(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, self.console
        for child in _children(process.pid):
            with suppress(OSError):
                if _command(child) in _LEADERS:
                    self.leader = child
        return self.leader != 0

    def _is_up(self) -> bool:
        return self.run("systemctl", "is-system-running", code=None).out.strip() in ("running", "degraded")

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            if self.leader:
                os.kill(self.leader, signal.SIGRTMIN + 4)  # poweroff.target: systemd(1)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)

    @property
    def console(self) -> str:
        """What was told on its console."""
        return (self._folder / "console").read_text(errors="replace")

    def path(self, inside: str) -> Path:
        """A file of it, seen from here: through its own mounts, as its root sees it."""
        return Path(f"/proc/{self.leader}/root{inside}")

    def run(self, *argv: str, code: int | None = 0, within_s: float = 120) -> Ran:
        """Run a command in it, as its root. It has to exit with `code`; None for any."""
        done = subprocess.run(
            ("nsenter", "-t", str(self.leader), "-a", *argv),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=within_s,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"},
        )  # fmt: skip
        assert code in (None, done.returncode), f"{' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return Ran(done.returncode, done.stdout, done.stderr)

    def shell(self, script: str, *, code: int | None = 0) -> Ran:
        return self.run("sh", "-ec", script, code=code)

    def write(self, inside: str, text: str) -> None:
        self.path(inside).parent.mkdir(parents=True, exist_ok=True)
        self.path(inside).write_text(text)

    def properties(self, unit: str, *names: str) -> dict[str, str]:
        lines = self.run("systemctl", "show", unit, *(f"-p{name}" for name in names)).out.splitlines()
        return dict(line.split("=", 1) for line in lines)

    def journal(self, *matches: str) -> list[dict[str, Any]]:  # Any: fields as journald has them
        """The entries that match, oldest first."""
        text = self.run("journalctl", "-o", "json", "--no-pager", *matches).out
        return [json.loads(line) for line in text.splitlines()]

    def becomes(self, condition: Callable[[], bool], within_s: float = 60) -> None:
        """Wait for a condition; the end of the journal is told where it does not come."""
        try:
            until(condition, within_s)
        except AssertionError as error:
            said = self.run("journalctl", "-o", "short", "--no-pager", "-n", "60", code=None).out
            raise AssertionError(f"{error}; the journal ends with\n{said}") from error


def _children(pid: int) -> Iterator[int]:
    """The processes below one, however deep."""
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield int(child)
            yield from _children(int(child))


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()


@contextmanager
def _groups_of_its_own() -> Iterator[list[Path]]:
    """A control group below ours in each hierarchy systemd uses: two that boot at once do not share one."""
    groups = [group / f"archiverd-test-{os.getpid()}" for group in _our_groups()]
    for group in groups:
        group.mkdir(exist_ok=True)
    try:
        yield groups
    finally:
        for folder in [folder for group in groups for folder, _, _ in os.walk(group, topdown=False)]:
            with suppress(OSError):
                Path(folder).rmdir()


def _our_groups() -> Iterator[Path]:
    top = Path("/sys/fs/cgroup")
    mounts = {"name=systemd": top / "systemd", "": top / "unified" if (top / "unified").is_dir() else top}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in mounts:
            yield mounts[controllers] / path.strip("/")


if __name__ == "__main__":
    print(made_root())
