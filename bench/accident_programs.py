"""The programs that accidents happen to: archiverd's daemon, and Unmanic as it is installed from PyPI.

Each is started on a directory of its own, killed, asked what it says of a clip, and looked at from outside.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from archiverd.config import Config
from archiverd.policy.encoding import EncodeSettings
from archiverd.policy.model import State
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_schema import FILE_NAME
from bench import command
from bench.command import CHECKOUT, BenchError
from tools.readiness import NotReadyError, heard

START_S = 300  # a busy machine
_QUIET_S = 15  # for so long Unmanic has no task at all: its scans and events are behind it then
_LOUD = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b", re.IGNORECASE)
_STRAY = re.compile(r"\.part$|\.gone$|-WORKING-|unmanic_file_conversion")
_LENIENT = {"-xerror": 1, "-err_detect": 2, "-abort_on": 2, "-max_error_rate": 2}  # words that go with each


class Program(Protocol):
    """What an accident asks of a program. `small` is where a disk that is too small is to be mounted."""

    name: str
    place: Path
    tree: Path  # into which cameras upload
    archives: Path  # where archives stand: the tree itself where a program works in place
    small: Path

    def start(self) -> None: ...

    def kill(self) -> None: ...

    def stop(self) -> None: ...

    def told(self, name: str) -> list[str]:
        """Where it names this clip, and says that something is wrong with it."""

    def settled(self, name: str) -> bool:
        """Whether it means to do nothing more with this clip before something changes."""

    def strays(self) -> list[str]:
        """What lies about that is neither a source nor an archive, below the place."""


class Started:
    """A program in a session of its own, so that whatever it leaves behind can be found and ended."""

    def __init__(self, place: Path) -> None:
        self._output = place / "output"
        self._process: subprocess.Popen[bytes] | None = None
        self._sessions: list[int] = []

    def start(self, line: tuple[str, ...], environment: Mapping[str, str], cwd: Path) -> None:
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd, start_new_session=True,
                env={**os.environ, **environment},
            )  # fmt: skip
        self._sessions.append(self._process.pid)

    def ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def kill(self) -> None:
        """SIGKILL to the program alone, as the kernel's out-of-memory killer does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    def stop(self) -> None:
        """Ask it to end, and end all that is left of its sessions."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
        for session in self._sessions:
            for pid in _members(session):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(30)

    def said(self) -> str:
        return self._output.read_text(errors="replace") if self._output.exists() else ""


def _members(session: int) -> list[int]:
    return [pid for pid, fields in _processes() if int(fields[3]) == session]


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Every process with the fields of its stat from the third on. Source: proc_pid_stat(5)."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(entry.name), (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()


def encoders(name: str) -> list[int]:
    """The ffmpeg processes that encode a clip of this name now."""
    found = []
    for pid, fields in _processes():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            if (
                any(name in word for word in words)
                and Path(words[0]).name == "ffmpeg"
                and "libx265" in words
                and fields[0] != "Z"
            ):
                found.append(pid)
    return found


def wait_for(condition: Callable[[], bool], within_s: float, every_s: float = 0.05) -> bool:
    """Whether it came true in time."""
    deadline, pause = time.monotonic() + within_s, threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(every_s)
    return True


def strays_below(place: Path, *trees: Path) -> list[str]:
    """Files and directories whose names say that they were meant to go."""
    found = [path for tree in trees for path in tree.rglob("*") if _STRAY.search(path.name)]
    return sorted({str(path.relative_to(place)) for path in found})


def loud_lines(text: str, name: str) -> list[str]:
    """The lines of a log of a warning or worse that name a clip."""
    return [line for line in text.splitlines() if name in line and _LOUD.search(line)]


# ---- archiverd


class Archiverd:
    """The daemon of this checkout; `settings` are lines of its configuration, beside those that it comes with."""

    def __init__(self, place: Path, settings: str = 'hardware = "software"\n') -> None:
        self.name = "archiverd"
        self.place = place
        self.tree = place / "camera"
        self.archives = self.tree / "archived"
        self.small = self.tree
        self._config = place / "archiverd.toml"
        self._settings = settings
        self._listening = contextlib.ExitStack()
        self._started = Started(place)
        self.tree.mkdir(parents=True)

    def start(self) -> None:
        self._config.write_text(self._settings)
        line = (sys.executable, "-m", "archiverd", "daemon", str(self.tree), "--config", str(self._config))
        ready = self._listening.enter_context(heard())
        environment = {"PYTHONPATH": str(CHECKOUT), "NOTIFY_SOCKET": ready.address}
        self._started.start(line, environment, self.place)
        try:
            ready.wait(START_S)
        except NotReadyError as error:
            raise BenchError(f"{error}; it said: {self._started.said()[-2000:]}") from error

    def kill(self) -> None:
        self._started.kill()

    def stop(self) -> None:
        self._started.stop()
        self._listening.close()

    def told(self, name: str) -> list[str]:
        log = [f"log: {line}" for line in loud_lines(self._started.said(), name)]
        return log + [f"list: {state}: {reason}" for state, reason in self._rows(name) if state is State.QUARANTINED]

    def settled(self, name: str) -> bool:
        rows = self._rows(name)
        return bool(rows) and all(state in {State.DONE, State.QUARANTINED, State.GONE} for state, _ in rows)

    def strays(self) -> list[str]:
        return strays_below(self.place, self.tree)

    def _rows(self, name: str) -> list[tuple[State, str]]:
        """As `archiverd list` shows them."""
        with Catalog.to_read(self.tree / ".archiverd" / FILE_NAME) as catalog:
            return [(row.state, row.reason) for row in catalog.recordings() if name in row.path.name]


# ---- Unmanic


@dataclass(frozen=True, slots=True)
class Setup:
    """How Unmanic is set up. Beside it: one worker; file monitor and library scanner on; a scan at each start."""

    name: str
    strict: bool = True  # the very ffmpeg command of archiverd's software rung, which ends at the first error
    apart: bool = False  # archives go to another directory and sources are removed; else the source is replaced
    wait_s: int = 0  # files that have changed within it are not taken
    scan_every_min: int = 1440


SETUPS = (  # the page tells of each
    Setup("Unmanic", strict=False),
    Setup("Unmanic, strict"),
    Setup("Unmanic, strict, apart, waiting", apart=True, wait_s=60, scan_every_min=1),
)

PLUGIN = "archive_clips"
PLUGIN_SOURCE = '''\
"""Archives camera clips with one ffmpeg command: made by `./dev bench accidents` for the comparison."""

import json
import mimetypes
import os
import subprocess
import time

SETUP = json.load(open(os.path.join(os.path.dirname(__file__), "setup.json")))


def codecs(path):
    """Of the video streams; None where ffprobe finds no clip."""
    if not (mimetypes.guess_type(path)[0] or "").startswith("video/"):
        return None
    line = ["ffprobe", "-loglevel", "quiet", "-print_format", "json", "-show_streams", path]
    done = subprocess.run(line, capture_output=True)
    streams = json.loads(done.stdout or "{}").get("streams", []) if done.returncode == 0 else []
    return [stream["codec_name"] for stream in streams if stream["codec_type"] == "video"]


def on_library_management_file_test(data):
    """Take every clip that is not HEVC yet; leave what has changed a moment ago."""
    path = data["path"]
    if SETUP["wait_s"] and os.stat(path).st_ctime > time.time() - SETUP["wait_s"]:
        data["add_file_to_pending_tasks"] = False
        return
    found = codecs(path)
    if found and "hevc" not in found:
        data["add_file_to_pending_tasks"] = True


def on_worker_process(data):
    """Run the command on a clip; on nothing else."""
    if codecs(data["file_in"]):
        names = {"@SOURCE": data["file_in"], "@TARGET": data["file_out"]}
        command = SETUP["command"]
        for mark, name in names.items():
            command = [word.replace(mark, name) for word in command]
        data["exec_command"] = command


def on_postprocessor_file_movement(data):
    """Where archives go apart: there, in the tree of the sources, and the source is removed."""
    if SETUP["destination"]:
        below = os.path.relpath(data["source_data"]["abspath"], SETUP["library"])
        data["file_out"] = os.path.join(SETUP["destination"], below)
        os.makedirs(os.path.dirname(data["file_out"]), exist_ok=True)
        data["copy_file"] = True
        data["remove_source_file"] = True
        data["run_default_file_copy"] = False
'''
_RUNNERS = ("on_library_management_file_test", "on_worker_process", "on_postprocessor_file_movement")


@dataclass(slots=True)
class _Api:
    """Its HTTP API, version 2."""

    port: int = field(default=0)

    def get(self, what: str) -> Any:  # Any: a document of JSON
        return self._asked("GET", what, None)

    def post(self, what: str, body: Mapping[str, Any]) -> Any:
        return self._asked("POST", what, json.dumps(body))

    def _asked(self, method: str, what: str, body: str | None) -> Any:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, f"/unmanic/api/v2/{what}", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        if answer.status != http.client.OK:
            raise BenchError(f"Unmanic answers {answer.status} to {what}: {text[:500]!r}")
        return json.loads(text)


class Unmanic:
    """Unmanic from PyPI, with all it writes below one directory, and the one plugin above."""

    def __init__(self, place: Path, program: Path, setup: Setup) -> None:
        self.name = setup.name
        self.place = place
        self.tree = place / "camera"
        self.archives = place / "archive" if setup.apart else self.tree
        self.small = self.archives
        self._setup = setup
        self._program = program
        self._home = place / "home"
        self._cache = place / "cache"
        self._log = self._home / ".unmanic" / "logs" / "unmanic.log"
        self._started = Started(place)
        self._api = _Api()
        self._installed = False
        self._asked_at = self._busy_at = 0.0
        self._at = 0  # how long its log was at the last start
        self.tree.mkdir(parents=True)
        self.archives.mkdir(exist_ok=True)
        self._cache.mkdir()

    def start(self) -> None:
        if not self._installed:
            self._install()
        self._run()
        wait_for(lambda: "spawning EventProcessor" in self._log_since_start(), START_S)

    def _install(self) -> None:
        """Settings, plugin, library and one worker; then stop it, for a start finds all of it in force at once."""
        settings = self._home / ".unmanic" / "config" / "settings.json"
        settings.parent.mkdir(parents=True)
        settings.write_text(json.dumps({
            "library_path": str(self.tree), "cache_path": str(self._cache), "log_path": str(self._log.parent),
            "enable_library_scanner": True, "run_full_scan_on_start": True,
            "schedule_full_scan_minutes": self._setup.scan_every_min,
        }))  # fmt: skip
        make = ("--manage-plugins", "--create-plugin", "--plugin-id", PLUGIN, "--plugin-name", "Archive clips")
        line = (str(self._program), *make, "--plugin-runners", *_RUNNERS)
        done = subprocess.run(line, capture_output=True, text=True, env=self._environment(), timeout=START_S)
        plugin = self._home / ".unmanic" / "plugins" / PLUGIN
        if not (plugin / "info.json").exists():
            raise BenchError(f"Unmanic made no plugin: {(done.stdout + done.stderr)[-2000:]}")
        (plugin / "plugin.py").write_text(PLUGIN_SOURCE)
        (plugin / "setup.json").write_text(json.dumps({
            "command": ffmpeg_command(self._setup.strict), "wait_s": self._setup.wait_s, "library": str(self.tree),
            "destination": str(self.archives) if self._setup.apart else "",
        }))  # fmt: skip
        self._run()
        library = {
            "id": 1, "name": "cameras", "path": str(self.tree), "locked": False, "enable_remote_only": False,
            "enable_scanner": True, "enable_inotify": True, "priority_score": 0, "tags": [],
        }  # fmt: skip
        enabled = {"library_id": 1, "plugin_id": PLUGIN, "name": "Archive clips", "description": "", "icon": ""}
        self._api.post("settings/library/write", {"library_config": library, "plugins": {"enabled_plugins": [enabled]}})
        worker = {
            "id": 0, "locked": False, "name": "one", "number_of_workers": 1, "worker_event_schedules": [], "tags": [],
        }  # fmt: skip
        self._api.post("settings/worker_group/write", worker)
        self._started.stop()
        self._installed = True

    def _run(self) -> None:
        self._at = len(self._log.read_text(errors="replace")) if self._log.exists() else 0
        self._api.port = _free_port()
        line = (str(self._program), "--address", "127.0.0.1", "--port", str(self._api.port))
        self._started.start(line, {"HOME_DIR": str(self._home)}, self.place)
        if not wait_for(self._answers, START_S, 0.2):
            raise BenchError(f"Unmanic did not answer within {START_S} s; it said: {self._started.said()[-2000:]}")

    def _answers(self) -> bool:
        if self._started.ended():
            raise BenchError(f"Unmanic ended at its start; it said: {self._started.said()[-2000:]}")
        try:
            return bool(self._api.get("settings/libraries"))
        except OSError:
            return False

    def kill(self) -> None:
        self._started.kill()

    def stop(self) -> None:
        self._started.stop()

    def told(self, name: str) -> list[str]:
        log = [f"log: {line}" for line in loud_lines(self._log.read_text(errors="replace"), name)]
        failed = [
            f"completed tasks: failed: {task['task_label']}"
            for task in self._api.post("history/tasks", {"length": 100})["results"]
            if name in task["task_label"] and not task["task_success"]
        ]
        return log + failed

    def settled(self, name: str) -> bool:  # noqa: ARG002  (it tells no more of a clip than that it waits)
        busy = self._api.post("pending/tasks", {"length": 1})["recordsTotal"]  # of any state, post-processing too
        workers = self._api.get("workers/status")["workers_status"]
        now, asked_at = time.monotonic(), self._asked_at
        self._asked_at = now
        if busy or not all(worker["idle"] for worker in workers) or now - asked_at > _QUIET_S:
            self._busy_at = now  # or may have been, since nobody looked
        return now - self._busy_at >= _QUIET_S

    def strays(self) -> list[str]:
        return strays_below(self.place, self.tree, self.archives, self._cache)

    def _log_since_start(self) -> str:
        return self._log.read_text(errors="replace")[self._at :] if self._log.exists() else ""

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "HOME_DIR": str(self._home)}


def unmanic_program(where: Path) -> Path:
    """The program in an environment, or beside a Python. Raises: BenchError."""
    absolute = where.absolute()  # not resolved: a Python of an environment is a link out of it
    for candidate in (absolute / "bin" / "unmanic", absolute.parent / "unmanic"):
        if candidate.is_file():
            return candidate
    raise BenchError(f"there is no Unmanic at {where}: python3 -m venv DIR && DIR/bin/pip install unmanic")


def unmanic_version(program: Path) -> str:
    said = command.run((str(program), "--version"), Path("/")).stdout
    found = re.search(r"\d+\.\d+[\w.~+-]*", said)
    return found[0] if found else said.strip()


def ffmpeg_command(strict: bool) -> list[str]:
    """archiverd's, on a silent clip, with marks for its files; or the same without what makes it fail at errors."""
    settings = EncodeSettings("hevc", Config().crf, Config().preset)
    words = list(command.transcode(Path("@SOURCE"), Path("@TARGET"), settings, sound=False))
    program = shutil.which(words[0])
    if program is None:
        raise BenchError(f"there is no {words[0]} on PATH")
    return words if strict else list(_without(words, _LENIENT))


def _without(words: list[str], options: Mapping[str, int]) -> Iterator[str]:
    skip = 0
    for word in words:
        skip = max(skip, options.get(word, 0))
        if not skip:
            yield word
        skip = max(0, skip - 1)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
