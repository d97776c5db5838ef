"""A camera's tree to run archiverd on, in this process or as a program, and ways to meddle with a run."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

from archiverd.cli import run_command_line
from archiverd.config import load
from archiverd.media.prober import Prober
from archiverd.pipeline import Pipeline, Summary
from archiverd.policy.hardware import Equipment
from archiverd.policy.model import Place, Recording, Tree
from archiverd.policy.outcome import Result
from archiverd.policy.probing import Probed
from archiverd.policy.rungs import SOFTWARE, Kind, Rung
from archiverd.policy.stop import NeverStop, StopToken
from archiverd.service.progress import ProgressReporter
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_schema import FILE_NAME
from archiverd.storage.file_manager import FileManager, Modes
from tools import footage

CHECKOUT = Path(__file__).resolve().parents[2]
START = (datetime.now() - timedelta(days=2)).replace(hour=10, minute=0, second=0, microsecond=0)

# As root, without the rights that make root one: permissions are then those of anybody.
UNPRIVILEGED = ("setpriv", "--inh-caps=-all", "--bounding-set=-all") if os.geteuid() == 0 else ()

_SYS_ADMIN = 21  # the number of CAP_SYS_ADMIN, which mounting needs


def can_mount() -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return os.geteuid() == 0 and bool(int(effective, 16) >> _SYS_ADMIN & 1)


_CONFIG = """
settle = "0 s"
preset = "ultrafast"
nice = 0
idle_io = false
min_free = "none"
"""
_PROGRAM = """\
import os, sys, time
def run_real():
    status = os.spawnv(os.P_WAIT, {real!r}, [{real!r}, *arguments])
    if status:
        sys.exit(1)
def first_time():
    try:
        os.close(os.open({once!r}, os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False
def probing():  # whether this strict decode is of the output of a probe
    try:
        os.unlink({probe!r})
        return True
    except FileNotFoundError:
        return False
arguments = sys.argv[1:]
if "archiverd=probe" in arguments:
    open({probe!r}, "w").close()
transcoding = "-map_metadata" in arguments and "archiverd=probe" not in arguments
strictly_decoding = "-map_metadata" not in arguments and "null" in arguments and not probing()
with open({log!r}, "a") as log:
    log.write(("transcode" if transcoding else "decode" if strictly_decoding else "other") + "\\n")
target = arguments[-1].removeprefix("file:") if transcoding else ""
{body}
os.execv({real!r}, [{real!r}, *arguments])
"""


@dataclass(frozen=True, slots=True)
class Upload:
    """A clip as it was uploaded: its path below the source root, and the SHA-256 of its bytes."""

    path: PurePosixPath
    sha256: str


@functools.cache
def content(name: str, audio: footage.Audio = "none") -> Path:
    """The file of half a second of footage; another name is another content."""
    return footage.cached(footage.Clip(f"e2e-{name}", 160, 120, "10", 0.5, audio=audio, crf=12, noise=8))


@functools.cache
def picture(name: str) -> Path:
    return footage.cached_snapshot(footage.Clip(f"e2e-{name}", 160, 120, "10", 0.5, crf=12, noise=8))


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Rig:
    """Three trees and a search path of their own. Knows every content that was ever uploaded."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.camera = base / "camera"
        self.archive = self.camera / "archived"
        self.trash = self.camera / ".deleted"
        self.state = self.camera / ".archiverd"
        self.programs = base / "programs"  # first on PATH: fakes stand here, and it marks every child of ours
        self.config_file = base / "archiverd.toml"
        self.uploads: list[Upload] = []
        self.snapshots: dict[PurePosixPath, str] = {}
        self.snapshot_mtimes: dict[PurePosixPath, int] = {}
        self.strangers: set[PurePosixPath] = set()  # what the test itself puts into the archive tree
        for directory in (self.camera, self.programs):
            directory.mkdir()
        self.config_file.write_text(_CONFIG)
        self.bystanders = self._make_bystanders()
        self.real_ffmpeg = shutil.which("ffmpeg") or "ffmpeg"

    def _make_bystanders(self) -> dict[Path, str]:
        """Files that are no business of archiverd's: within its trees, and without, where symlinks lead."""
        day = (self.camera / self.path()).parent
        outside = self.base / "outside"
        for directory in (day, outside / "01/01"):
            directory.mkdir(parents=True)
        clip = "REO_front_20200101100000.mp4"
        files = (day / "notes.txt", day / "test.mp4", self.camera / "readme", outside / "01/01" / clip)
        for file in files:
            file.write_text(f"of somebody else: {file.name}")
        (day / self.path(59).name).symlink_to(files[-1])
        (self.camera / "2020").symlink_to(outside)
        return {file: sha256_of(file) for file in files}

    def assert_bystanders_untouched(self) -> None:
        assert {file: sha256_of(file) for file in self.bystanders} == self.bystanders

    # -- uploads ------------------------------------------------------------------------------------------

    def path(self, minute: int = 0, camera: str = "front") -> PurePosixPath:
        return PurePosixPath(footage.upload_path(Path(), camera, START + timedelta(minutes=minute)))

    def upload(
        self, name: str, path: PurePosixPath | None = None, *, audio: footage.Audio = "none", snapshots: int = 0
    ) -> Upload:
        """Write a clip anew under its name, as a re-upload does that replaces the file; snapshots beside it."""
        upload = self.upload_bytes(content(name, audio).read_bytes(), path or self.path())
        for second in range(snapshots):
            self._upload_snapshot(name, upload.path, second)
        return upload

    def upload_bytes(self, data: bytes, path: PurePosixPath) -> Upload:
        target = self.camera / path
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(".upload")
        fresh.write_bytes(data)
        an_hour_ago = fresh.stat().st_mtime - 3600
        os.utime(fresh, (an_hour_ago, an_hour_ago))
        fresh.replace(target)
        upload = Upload(path, hashlib.sha256(data).hexdigest())
        self.uploads.append(upload)
        return upload

    def overwrite(self, name: str, path: PurePosixPath) -> Upload:
        """Write another clip into the file that stands, as an FTP server does with a re-upload."""
        data = content(name).read_bytes()
        (self.camera / path).write_bytes(data)
        upload = Upload(path, hashlib.sha256(data).hexdigest())
        self.uploads.append(upload)
        return upload

    def _upload_snapshot(self, name: str, clip: PurePosixPath, second: int) -> None:
        stem = clip.stem
        path = clip.with_name(f"{stem[:-2]}{second:02}.jpg")
        data = picture(name).read_bytes() + bytes([second])
        (self.camera / path).write_bytes(data)
        self.snapshots[path] = hashlib.sha256(data).hexdigest()
        self.snapshot_mtimes[path] = (self.camera / path).stat().st_mtime_ns

    def archive_snapshots(self) -> None:
        """From now on snapshots go beside the archive of their recording."""
        self.config_file.write_text(_CONFIG + 'snapshots = "archive"\n')

    def keep(self, upload: Upload) -> Path:
        path = (self.camera / upload.path).with_suffix(".keep")
        path.touch()
        return path

    # -- running ------------------------------------------------------------------------------------------

    @property
    def options(self) -> tuple[str, ...]:
        return (
            str(self.camera), "--config", str(self.config_file),
            "--output", str(self.archive), "--trash-root", str(self.trash),
        )  # fmt: skip

    @contextlib.contextmanager
    def started(
        self, *options: str, wrapper: tuple[str, ...] = (), stdin: int = subprocess.DEVNULL
    ) -> Iterator[subprocess.Popen[str]]:
        """`archiverd run` as a program, its output in a file; killed at the end if it is still there."""
        with self.started_verb("run", *options, wrapper=wrapper, stdin=stdin) as process:
            yield process

    @contextlib.contextmanager
    def started_verb(
        self, verb: str, *options: str, wrapper: tuple[str, ...] = (), stdin: int = subprocess.DEVNULL
    ) -> Iterator[subprocess.Popen[str]]:
        """Another verb, likewise."""
        command = (*wrapper, sys.executable, "-m", "archiverd", verb, *self.options, *options)
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        with self.output.open("a") as output:
            process = subprocess.Popen(
                command, stdin=stdin, stdout=output, stderr=output, cwd="/", text=True, env=environment
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)

    @property
    def output(self) -> Path:
        return self.base / "output"

    def run(self, *options: str, wrapper: tuple[str, ...] = ()) -> int:
        """`archiverd run --no-confirm` as a program, to its end; its exit code."""
        with self.started("--no-confirm", *options, wrapper=wrapper) as process:
            return process.wait(120)

    def run_inside(
        self, on_step: Callable[[str], None] | None = None, *, stop: StopToken | None = None, **options: object
    ) -> Summary:
        """One run in this process, `on_step` told of each step of its FileManager."""
        return run_watched(self.config_file, self._overrides(options), on_step or _ignore, stop or NeverStop())

    def run_until_killed(self, step: str, **options: object) -> None:
        """A run in a process of its own that kills itself at a step."""
        command = (
            sys.executable, "-m", "tests.e2e.killed", step, str(self.config_file),
            json.dumps(self._overrides(options)),
        )  # fmt: skip
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120)
        assert done.returncode == -signal.SIGKILL, f"it was not killed at {step}: {done}"

    def run_to_the_end(self, *options: str) -> int:
        """`archiverd run --no-confirm` by its command line, in this process; its exit code."""
        return run_command_line(["run", "--no-confirm", "--quiet", *self.options, *options])

    def _overrides(self, options: Mapping[str, object]) -> dict[str, object]:
        paths = {"directory": self.camera, "output": self.archive, "trash_root": self.trash}
        return {key: str(path) for key, path in paths.items()} | dict(options)

    # -- what stands --------------------------------------------------------------------------------------

    def row(self, upload: Upload) -> Recording:
        """The newest row of a path."""
        with Catalog.to_read(self.state / FILE_NAME) as catalog:
            return [row for row in catalog.recordings() if row.path == upload.path][-1]

    def rows(self) -> list[Recording]:
        """Every row of the catalog. Raises: StartupError, ResourceError where there is none."""
        with Catalog.to_read(self.state / FILE_NAME) as catalog:
            return catalog.recordings()

    def forget(self) -> None:
        """Lose the catalog."""
        shutil.rmtree(self.state)

    # -- fakes on PATH ------------------------------------------------------------------------------------

    def fake_ffmpeg(self, body: str = "") -> None:
        """Stand a program before ffmpeg that counts its runs, does `body`, then becomes the real one.

        `body` is Python: `transcoding`, `strictly_decoding`, `target` tell of the run, `first_time()` is true once,
        `run_real()` runs ffmpeg to its end, `arguments` may be changed.
        """
        program, script = self.programs / "ffmpeg", self.base / "ffmpeg.py"
        (self.base / "once").unlink(missing_ok=True)
        script.write_text(
            _PROGRAM.format(
                python=sys.executable, real=self.real_ffmpeg, log=str(self.ffmpeg_log),
                once=str(self.base / "once"), probe=str(self.base / "probe"),
                body=textwrap.dedent(body),
            )
        )  # fmt: skip
        # Through a shell: the interpreter's path may hold a space, which no first line of a script can.
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -IS {shlex.quote(str(script))} "$@"\n')
        program.chmod(0o755)

    @property
    def ffmpeg_log(self) -> Path:
        return self.base / "ffmpeg.log"

    def ffmpeg_runs(self, kind: str) -> int:
        return self.ffmpeg_log.read_text().split().count(kind) if self.ffmpeg_log.exists() else 0


def run_watched(
    config_file: Path, overrides: Mapping[str, object], on_step: Callable[[str], None], stop: StopToken
) -> Summary:
    """One run in this process, without questions."""
    config = load(config_file, overrides).config
    pipeline = Pipeline(
        config, stop, make_files=functools.partial(WatchedFiles, on_step=on_step), make_prober=KnownProber
    )
    summary = pipeline.run(lambda _: True, _quiet_reporter, _above_nothing)
    assert summary is not None
    return summary


def results(summary: Summary) -> list[Result]:
    return [outcome.result for outcome in summary.outcomes]


def at(step: str, action: Callable[[], object]) -> Callable[[str], None]:
    """Do something once, when a step comes for the first time."""
    return at_each({step: action})


def at_each(actions: Mapping[str, Callable[[], object]]) -> Callable[[str], None]:
    left = dict(actions)

    def on_step(step: str) -> None:
        action = left.pop(step, None)
        if action is not None:
            action()

    return on_step


class KnownProber(Prober):
    """Knows that software works, as the catalog of every run but the first tells; looks at devices as ever."""

    def probe(self, rung: Rung, kind: Kind, equipment: Equipment | None = None) -> Probed:
        if rung is Rung.SOFTWARE:
            return Probed(rung, kind, SOFTWARE)
        return super().probe(rung, kind, equipment)


class WatchedFiles(FileManager):
    """A FileManager that tells of each of its steps, before and after: `set_aside:before`, `set_aside:after`, …

    What comes again has its number: `trash:before#2`.
    """

    def __init__(
        self, roots: Mapping[Tree, Path], catalog_id: str, modes: Modes, *, on_step: Callable[[str], None]
    ) -> None:
        super().__init__(roots, catalog_id, modes)
        self._on_step = on_step
        self._seen: Counter[str] = Counter()

    def _tell(self, step: str) -> None:
        self._seen[step] += 1
        number = self._seen[step]
        self._on_step(step if number == 1 else f"{step}#{number}")

    @contextlib.contextmanager
    def _around(self, name: str) -> Iterator[None]:
        self._tell(f"{name}:before")
        yield
        self._tell(f"{name}:after")

    @contextlib.contextmanager
    def new_part(self, tree: Tree, path: PurePosixPath) -> Iterator[int]:
        self._tell("new_part:before")
        with super().new_part(tree, path) as handle:
            self._tell("new_part:after")
            yield handle

    def finish_part(self, handle: int, mtime_ns: int) -> None:
        with self._around("finish_part"):
            super().finish_part(handle, mtime_ns)

    def publish(self, tree: Tree, part: PurePosixPath, final: PurePosixPath) -> None:
        with self._around("publish"):
            super().publish(tree, part, final)

    def sync_up(self, tree: Tree, path: PurePosixPath) -> None:
        self._tell("sync_up:before")  # the name is given, and not yet durable
        super().sync_up(tree, path)

    def sync_file(self, tree: Tree, path: PurePosixPath) -> None:
        with self._around("sync_file"):
            super().sync_file(tree, path)

    def remove_part(self, tree: Tree, path: PurePosixPath) -> None:
        with self._around("remove_part"):
            super().remove_part(tree, path)

    def set_aside(self, tree: Tree, path: PurePosixPath, job: str) -> PurePosixPath:
        with self._around("set_aside"):
            return super().set_aside(tree, path, job)

    def put_back(self, tree: Tree, aside: PurePosixPath, path: PurePosixPath) -> PurePosixPath:
        with self._around("put_back"):
            return super().put_back(tree, aside, path)

    def delete(self, tree: Tree, path: PurePosixPath) -> None:
        with self._around("delete"):
            super().delete(tree, path)

    def move(self, old: Place, new: Place, job: str, stop: StopToken, *, own: bool = False) -> PurePosixPath:
        with self._around("trash" if new.tree is Tree.TRASH else "move"):
            return super().move(old, new, job, stop, own=own)

    def _publish_copy(
        self, part: PurePosixPath, new: Place, sha256: str, original: os.stat_result, stop: StopToken
    ) -> PurePosixPath:
        with self._around("publish_copy"):  # after it the copy stands, and the original as `.gone`
            return super()._publish_copy(part, new, sha256, original, stop)


def _ignore(_step: str) -> None:
    return


def _quiet_reporter(files: int, size: int) -> ProgressReporter:
    return ProgressReporter(files, size, quiet=True)


def _above_nothing(_reporter: ProgressReporter) -> AbstractContextManager[None]:
    return nullcontext()
