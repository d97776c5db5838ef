"""How long after a camera has closed its file ffmpeg begins with it, beyond the time a file has to be quiet.

Clips are written into a tree under their final names, one after the other on a steady beat, while the daemon runs.
ffmpeg and ffprobe are fakes that take no time and answer as the real ones did for the first such clip, so that no
clip waits for the one before: each tells of its start through a FIFO, read by the process that wrote the clips, and by
one clock. What is told is the first program that is started for a clip (ffprobe), and its transcode (ffmpeg).

The reference in the same run is a program that does nothing but notice: `inotifywait -m`, told of the same closes.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import re
import selectors
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from archiverd.config import Config
from bench import command, daemon
from bench.command import BenchError
from tools import footage

TARGET_MS = 50.0  # p95, from the moment the file has been quiet for long enough to the start of ffmpeg
QUOTED = "Unmanic 0.4.1 took 5.5 s for a lone file (measured earlier on this kind of machine, not in this run)"
_CLIP = footage.Clip("bench-latency", 160, 120, "10", 0.5, crf=12, noise=8)
_CAMERAS = 50  # which take turns: each uploads every ten seconds, at five clips a second
_CONFIG = 'hardware = "software"\ncodec = "h264"\npreset = "ultrafast"\n'
_PATIENCE_S = 60
_JITTER = 0.1  # of the beat: on a beat of its own the daemon would be met always at the same moment
_NAME = re.compile(r'"source": "([^"]+)"')

# Modes: `through` runs the real program, `record` keeps what it answers, `replay` answers so and tells of its start.
# `turn` is what ffprobe is asked for next: only one program runs at a time.
_FAKE = """\
#!/bin/sh
read -r mode turn <{folder}/state
case "$*" in
    *-version* | *archiverd=probe*) mode=through ;;
    *-show_packets*) kind=probe ;;
    *-map_metadata*) kind=transcode ;;
    *) kind=decode ;;
esac
case $mode.$kind in
    through.*)
        exec {real} "$@" ;;
    record.probe)
        {real} "$@" >{folder}/probe-"$turn" || exit
        cat {folder}/probe-"$turn" ;;
    record.transcode)
        {real} "$@" >{folder}/transcode || exit
        for last; do :; done
        cat "${{last#file:}}" >{folder}/output
        echo record output >{folder}/state
        cat {folder}/transcode ;;
    record.decode)
        {real} "$@" >{folder}/decode || exit
        echo record source >{folder}/state
        cat {folder}/decode ;;
    replay.probe)
        [ "$turn" = output ] || echo probe >{folder}/started
        cat {folder}/probe-"$turn" ;;
    replay.transcode)
        echo "transcode $*" >{folder}/started
        for last; do :; done
        cat {folder}/output >"${{last#file:}}"
        echo replay output >{folder}/state
        cat {folder}/transcode ;;
    replay.decode)
        echo replay source >{folder}/state
        cat {folder}/decode ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Spread:
    """Latencies in milliseconds."""

    p50: float
    p95: float
    most: float

    @classmethod
    def of(cls, latencies_s: Sequence[float]) -> Spread:
        """Of at least one, by the nearest rank."""
        ranked = sorted(latencies_s)
        return cls(*(1000 * ranked[max(0, math.ceil(share * len(ranked)) - 1)] for share in (0.5, 0.95, 1.0)))


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run."""

    measured_at: str
    clips: int
    per_second: float
    settle_closed_s: float
    reference: str  # what noticed the same closes
    machine: dict[str, str]
    probe: Spread  # close to the start of ffprobe, without the settling
    ffmpeg: Spread  # the same of ffmpeg
    noticed: Spread  # close to the reference's line


@dataclass(slots=True)
class _Seen:
    """Moments by the monotonic clock, by the name of a clip."""

    closed: dict[str, float] = field(default_factory=dict)
    probed: dict[str, float] = field(default_factory=dict)
    started: dict[str, float] = field(default_factory=dict)
    noticed: dict[str, float] = field(default_factory=dict)
    last_probe: float = 0.0

    def since_close(self, moments: dict[str, float], settle_s: float = 0.0) -> list[float]:
        return [moments[name] - closed - settle_s for name, closed in self.closed.items()]


class Tree:
    """A directory with a camera's tree, the fakes, and what they have to say."""

    def __init__(self, folder: Path) -> None:
        self.camera = folder / "camera"
        self.programs = folder / "programs"
        self.config = folder / "archiverd.toml"
        self.fifo = folder / "started"
        self._folder = folder
        self._clip = footage.cached(_CLIP).read_bytes()
        self._number = 0

    def prepare(self) -> None:
        """Write everything but clips. Raises: BenchError where ffmpeg is not there."""
        for folder in (self._next_path().parent, self.programs):
            folder.mkdir(parents=True)
        self.config.write_text(_CONFIG)
        os.mkfifo(self.fifo)
        self.set("through")
        for name in ("ffmpeg", "ffprobe"):
            real = shutil.which(name)
            if real is None:
                raise BenchError(f"there is no {name} on PATH")
            program = self.programs / name
            program.write_text(_FAKE.format(folder=shlex.quote(str(self._folder)), real=shlex.quote(real)))
            program.chmod(0o755)

    def set(self, mode: str) -> None:
        """What the fakes are to do from now on."""
        (self._folder / "state").write_text(f"{mode} source\n")

    def upload(self) -> tuple[str, float]:
        """Write the next clip; its name, and when it was closed."""
        path = self._next_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._number += 1
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(handle, self._clip)
        closed = time.monotonic()
        os.close(handle)
        return path.name, closed

    def _next_path(self) -> Path:
        return footage.upload_path(self.camera, f"cam{self._number % _CAMERAS}", datetime.now())

    def wait_for_archives(self) -> None:
        """Until every clip is archived and its source gone. Raises: BenchError where that takes too long."""
        deadline = time.monotonic() + _PATIENCE_S
        while any(self.camera.glob("[0-9]*/*/*/REO_*.mp4")):
            if time.monotonic() > deadline:
                said = daemon.said(self.config.with_name("daemon.log"))
                raise BenchError(f"clips are not archived {_PATIENCE_S} s later; the daemon said: {said}")
            daemon.pause(0.1)


def run(per_second: float, seconds: float, work: Path | None = None) -> Result:
    """Measure for so long. Raises: BenchError, FootageError, OSError."""
    with tempfile.TemporaryDirectory(prefix="archiverd-bench-", dir=work) as place:
        tree = Tree(Path(place))
        tree.prepare()
        with daemon.running(tree.camera, tree.config, tree.programs), _reference(tree.camera) as (name, noticing):
            for mode in ("through", "record"):
                tree.set(mode)
                tree.upload()
                tree.wait_for_archives()
            tree.set("replay")
            seen = _measured(tree, noticing, round(per_second * seconds), 1 / per_second)
            tree.wait_for_archives()
    settle_s = Config().settle_closed
    return Result(
        datetime.now(UTC).isoformat(timespec="seconds"), len(seen.closed), per_second, settle_s, name,
        command.machine(), Spread.of(seen.since_close(seen.probed, settle_s)),
        Spread.of(seen.since_close(seen.started, settle_s)), Spread.of(seen.since_close(seen.noticed)),
    )  # fmt: skip


@contextlib.contextmanager
def _reference(tree: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """`inotifywait` on the tree, and the lines it writes. Raises: BenchError where it is not there."""
    program = shutil.which("inotifywait")
    if program is None:
        raise BenchError("there is no inotifywait on PATH: it is in Debian's package inotify-tools")
    line = (program, "-m", "-r", "-e", "close_write", "--format", "%f", str(tree))
    with (
        subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(process.kill)
        assert process.stdout is not None
        assert process.stderr is not None
        said = b""
        while b"established" not in said:
            said = process.stderr.readline()
            if not said:
                raise BenchError("inotifywait ended at once")
        yield shlex.join(("inotifywait", *line[1:-1])), process.stdout


def _measured(tree: Tree, noticing: IO[bytes], clips: int, beat_s: float) -> _Seen:
    """Upload so many clips, and note what is told of them. Raises: BenchError where one is not begun with."""
    seen, chance = _Seen(), random.Random(1)
    with _listening(tree, noticing, seen) as selector:
        began = time.monotonic()
        for number in range(clips):
            _listen(selector, until=began + beat_s * (number + chance.uniform(-_JITTER, _JITTER)))
            name, closed = tree.upload()
            seen.closed[name] = closed
        deadline = time.monotonic() + _PATIENCE_S
        while not seen.closed.keys() <= seen.started.keys() & seen.noticed.keys():
            if time.monotonic() > deadline:
                missing = len(seen.closed.keys() - seen.started.keys())
                raise BenchError(f"{missing} of {clips} clips were not begun with, {_PATIENCE_S} s later")
            _listen(selector, until=time.monotonic() + 0.5)
    return seen


@contextlib.contextmanager
def _listening(tree: Tree, noticing: IO[bytes], seen: _Seen) -> Iterator[selectors.BaseSelector]:
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        fifo = os.open(tree.fifo, os.O_RDWR | os.O_NONBLOCK)  # to read and write: it never ends
        stack.callback(os.close, fifo)
        os.set_blocking(noticing.fileno(), False)
        selector.register(fifo, selectors.EVENT_READ, _Lines(fifo, seen, _note_start))
        selector.register(noticing, selectors.EVENT_READ, _Lines(noticing.fileno(), seen, _note_notice))
        yield selector


def _listen(selector: selectors.BaseSelector, until: float) -> None:
    while (left := until - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            key.data.read()


Note = Callable[[_Seen, str, float], None]


class _Lines:
    """Lines from a descriptor, each noted with the moment at which it came."""

    def __init__(self, handle: int, seen: _Seen, note: Note) -> None:
        self._handle = handle
        self._seen = seen
        self._note = note
        self._rest = b""

    def read(self) -> None:
        now = time.monotonic()
        *lines, self._rest = (self._rest + os.read(self._handle, 65536)).split(b"\n")
        for line in lines:
            self._note(self._seen, line.decode("utf-8", "replace"), now)


def _note_start(seen: _Seen, line: str, now: float) -> None:
    if line == "probe":
        seen.last_probe = now
        return
    named = _NAME.search(line)
    if named is None:
        raise BenchError(f"the transcode of no clip was started: {line[:300]}")
    name = Path(named[1]).name
    seen.started.setdefault(name, now)
    seen.probed.setdefault(name, seen.last_probe)


def _note_notice(seen: _Seen, line: str, now: float) -> None:
    seen.noticed.setdefault(line, now)


# ---- reports


def table(result: Result) -> str:
    """The figures, for people."""
    rows = [
        ("close to ffprobe, beyond settling", result.probe),
        ("close to ffmpeg, beyond settling", result.ffmpeg),
        (f"reference: {result.reference}", result.noticed),
    ]
    pace = f"{result.clips} clips, {result.per_second:g} a second; settling takes {result.settle_closed_s:g} s"
    lines = [
        f"{pace}; ffmpeg and ffprobe are fakes that take no time",
        *(f"{name:<8}{value}" for name, value in result.machine.items()),
        "",
        *daemon.table(
            ("ms", "p50", "p95", "most"),
            [(name, *(f"{value:.1f}" for value in (each.p50, each.p95, each.most))) for name, each in rows],
        ),
        "",
        f"p95 of ffmpeg: {daemon.met(result.ffmpeg.p95, TARGET_MS, 'ms')}",
        QUOTED,
    ]
    return "\n".join(lines)
