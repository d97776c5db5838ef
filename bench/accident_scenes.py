"""Seven accidents, as programs can have them done to themselves: each with real clips, and with a look at the trees."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import secrets
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from bench.accident_outcomes import Content, Facts, File, Outcome, facts_of, outcome
from bench.accident_programs import Program, encoders, wait_for
from bench.command import BenchError
from tools import footage
from tools.footage import Clip

DISK_MIB = 24  # of the disk that is too small
_CLIP = Clip("accident", 640, 360, "15", 4.0, noise=3, layout="moov_first", crf=26)
_LONG = replace(_CLIP, name="accident-long", fps="25", seconds=6.0)
_CONTROL = replace(_CLIP, name="accident-control", seconds=1.0)
_FILLER = "filler.bin"
_SCRIPT = '#!/bin/sh\n# a backup job that was told the wrong name\nexec tar -cf - /srv | gzip > "$1"\n'
_PAGE = "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body><h1>502</h1></body></html>\n"
_START = (datetime.now() - timedelta(days=2)).replace(hour=10, minute=0, second=0, microsecond=0)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things take, in seconds."""

    pause: float = 150.0  # of a writer: longer than any quiet period that a program waits for
    archived: float = 900.0  # a clip at most, what is waited for before it included
    noticed: float = 180.0  # that a disk is full


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one content."""

    name: str
    outcome: Outcome
    facts: Facts
    told: tuple[str, ...]  # where it was told, the first few


@dataclass(frozen=True, slots=True)
class Report:
    """What became of an accident."""

    accident: str
    program: str
    contents: tuple[Told, ...]
    left: tuple[str, ...]  # what lies about afterwards
    goes_on: bool  # a good clip that came after it was archived


@dataclass(slots=True)
class Scene:
    """A program, and the contents that were sent to it."""

    program: Program
    patience: Patience
    contents: list[Content] = field(default_factory=list)
    camera: str = field(default_factory=lambda: f"front{secrets.token_hex(3)}")  # none has the name of another's
    left: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)  # noted in the middle
    seen: dict[tuple[str, int, int, int], File] = field(default_factory=dict)  # looked at, as long as it is the same

    def path(self, number: int) -> Path:
        """Where the camera uploads its clip of a minute."""
        return footage.upload_path(self.program.tree, self.camera, _START + timedelta(minutes=number))

    def sent(self, path: Path, data: bytes, frames: int, *, complete: bool = True) -> None:
        """Note that this content stands under that path."""
        self.contents.append(Content(path.stem, _sha256(data), frames, complete))

    def archived(self, content: Content) -> bool:
        return self.facts(content, told=False, goes_on=True).whole

    def facts(self, content: Content, *, told: bool, goes_on: bool) -> Facts:
        others = [other for other in self.contents if other is not content]
        return facts_of(content, self.files(), others, told=told, goes_on=goes_on)

    def tells(self, content: Content) -> list[str]:
        noted = [line for line in self.told if content.name in line]
        return list(dict.fromkeys(noted + self.program.told(content.name)))

    def files(self) -> list[File]:
        """All that stands in the trees."""
        paths = sorted({*self.program.tree.rglob("*"), *self.program.archives.rglob("*")})
        return [file for path in paths if (file := self._looked_at(path))]

    def _looked_at(self, path: Path) -> File | None:
        """None of what is no file, or is gone since, or takes up room on a disk."""
        try:
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode) or path.name == _FILLER:
                return None
            mark = (str(path), status.st_ino, status.st_size, status.st_ctime_ns)
            if mark not in self.seen:
                self.seen[mark] = _file(path, self.program)
            return self.seen[mark]
        except FileNotFoundError:
            return None


# ---- the accidents


def truncated(scene: Scene) -> None:
    data = _data(_CLIP)
    path = scene.path(1)
    _write(path, data[: len(data) * 6 // 10])
    scene.sent(path, data[: len(data) * 6 // 10], _frames(_CLIP), complete=False)


def slow(scene: Scene) -> None:
    """Both clips at once: one with its index first, one with it last."""
    _both(scene, _trickle)


def resumed(scene: Scene) -> None:
    _both(scene, _in_two)


def _both(scene: Scene, write: Callable[[Path, bytes, float], None]) -> None:
    clips = (_CLIP, replace(_CLIP, name="accident-moov-last", seconds=3.0, layout="moov_last"))
    writers = []
    for number, clip in enumerate(clips, 1):
        data, path = _data(clip), scene.path(number)
        writers.append(threading.Thread(target=write, args=(path, data, scene.patience.pause), name=path.name))
        scene.sent(path, data, _frames(clip))
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()


def _trickle(path: Path, data: bytes, pause_s: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    third = len(data) // 3 + 1
    with path.open("wb", buffering=0) as file:
        for at in range(0, len(data), third):
            if at:
                _pause(pause_s)
            file.write(data[at : at + third])


def _in_two(path: Path, data: bytes, pause_s: float) -> None:
    _write(path, data[: len(data) // 2])
    _pause(pause_s)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(data[len(data) // 2 :])


def killed(scene: Scene) -> None:
    data, path = _data(_LONG), scene.path(1)
    _write(path, data)
    scene.sent(path, data, _frames(_LONG))
    if not wait_for(lambda: bool(encoders(path.stem)), scene.patience.archived, 0.02):
        raise BenchError(f"{scene.program.name} never began with {path.name}")
    _pause(0.3)
    scene.program.kill()
    if not wait_for(lambda: not encoders(path.stem), 1.0):
        scene.left.append("the ffmpeg of the killed program, at work")
    scene.program.start()


def script(scene: Scene) -> None:
    for number, text in enumerate((_SCRIPT, _PAGE), 1):
        path = scene.path(number)
        _write(path, text.encode())
        scene.sent(path, text.encode(), 0)


def disk_full(scene: Scene) -> None:
    """The disk has room for the upload, where that goes there too, and not for what becomes of it."""
    program, data, path = scene.program, _data(_CLIP), scene.path(1)
    filler = program.small / _FILLER
    path.parent.mkdir(parents=True, exist_ok=True)
    _fill(filler, but_for=(len(data) if path.is_relative_to(program.small) else 0) + (48 << 10))
    _write(path, data)
    scene.sent(path, data, _frames(_CLIP))
    content = scene.contents[-1]
    wait_for(lambda: bool(scene.tells(content)), scene.patience.noticed, 0.5)
    scene.told += scene.tells(content)
    filler.unlink()


def two_for_one(scene: Scene) -> None:
    """The same name in two directories at once; then the same path again, when the first is archived."""
    clips = [replace(_CLIP, name=f"accident-two-{number}", seconds=1.4 + number / 5) for number in range(4)]
    path = scene.path(1)
    next_day = footage.upload_path(scene.program.tree, scene.camera, _START + timedelta(days=1)).parent
    for clip, where in zip(clips[:2], (path, next_day / path.name), strict=True):
        _write(where, _data(clip))
        scene.sent(where, _data(clip), _frames(clip))
    again = scene.path(9)
    for clip in clips[2:]:
        _write(again, _data(clip))
        scene.sent(again, _data(clip), _frames(clip))
        content = scene.contents[-1]
        wait_for(lambda content=content: scene.archived(content), scene.patience.archived, 0.5)  # type: ignore[misc]
        wait_for(lambda: scene.program.settled(again.stem), scene.patience.archived, 0.5)


@dataclass(frozen=True, slots=True)
class Accident:
    """One of the seven."""

    name: str
    title: str
    about: str  # two sentences
    happens: Callable[[Scene], None]
    small_disk: bool = False


ACCIDENTS = (
    Accident(
        "truncated",
        "An upload that was cut off, and plays",
        "The camera writes the index of its clip first, and the connection breaks for good at 60 % of the file. A "
        "player shows it as a clip of full length that ends early.",
        truncated,
    ),
    Accident(
        "slow",
        "A slow writer",
        "A clip grows in three steps with pauses that are longer than any quiet period, and is held open all the "
        "time. One clip has its index first and plays from its first third on, one has it last.",
        slow,
    ),
    Accident(
        "resumed",
        "Closed at half, and continued",
        "An FTP upload breaks off at half, and the server closes the file; later the camera takes it up again and "
        "appends the rest. One clip has its index first and plays in the meantime, one has it last.",
        resumed,
    ),
    Accident(
        "killed",
        "Killed in the middle of a transcode",
        "The program gets SIGKILL, as from the kernel when memory runs out, while its ffmpeg encodes. It is started "
        "again at once.",
        killed,
    ),
    Accident(
        "script",
        "A text by the name of a clip",
        "A shell script and the HTML page of a proxy's error are uploaded under names that end in `.mp4`. Nothing in "
        "them can be archived, and they are not the program's to throw away.",
        script,
    ),
    Accident(
        "disk-full",
        "A full disk at the destination",
        "The disk that the output goes to has room for less than the output. When the program has said so, or after "
        "three minutes, room is made.",
        disk_full,
        small_disk=True,
    ),
    Accident(
        "two-for-one",
        "Two sources for one destination",
        "Two different clips of one name come into the directories of two days, as around midnight. Then a camera "
        "uploads a clip and, when that is archived, another one under the same path, as after its clock was set back.",
        two_for_one,
    ),
)


def run(accident: Accident, program: Program, patience: Patience) -> Report:
    """Have it happen to a program that is not started yet, and look. Raises: BenchError, FootageError, OSError."""
    with _disk(program.small if accident.small_disk else None):
        try:
            program.start()
            scene = Scene(program, patience)
            accident.happens(scene)
            goes_on = _good_clip_is_archived(scene)
            return _report(accident, scene, goes_on)
        finally:
            program.stop()


def _good_clip_is_archived(scene: Scene) -> bool:
    """Send one more, good clip; whether it was archived, after all that came before it was settled."""
    path, data = scene.path(30), _data(_CONTROL)
    _write(path, data)
    scene.sent(path, data, _frames(_CONTROL))
    control = scene.contents.pop()
    goes_on = wait_for(lambda: scene.archived(control), scene.patience.archived, 0.5)
    names = {content.name for content in scene.contents} | {control.name}
    wait_for(lambda: all(scene.program.settled(name) for name in names), scene.patience.archived, 0.5)
    return goes_on


def _report(accident: Accident, scene: Scene, goes_on: bool) -> Report:
    contents = []
    for content in scene.contents:
        told = scene.tells(content)
        facts = scene.facts(content, told=bool(told), goes_on=goes_on)
        contents.append(Told(content.name, outcome(facts), facts, tuple(told[:3])))
    left = (*scene.left, *scene.program.strays())
    return Report(accident.name, scene.program.name, tuple(contents), left, goes_on)


# ---- files and disks


@contextlib.contextmanager
def _disk(where: Path | None) -> Iterator[None]:
    """A small disk mounted there; nothing without a place for one. Raises: BenchError without the right to mount."""
    if where is None:
        yield
        return
    where.mkdir(parents=True, exist_ok=True)
    line = ("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "accident", str(where))
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"a small disk is needed, and only root may mount one: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(("umount", "--lazy", str(where)), check=True)


def _fill(filler: Path, *, but_for: int) -> None:
    """Have only so many bytes left on its disk."""
    filler.touch()
    room = os.statvfs(filler)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, room.f_bavail * room.f_frsize - but_for))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _file(path: Path, program: Program) -> File:
    data = path.read_bytes()
    name = str(path.relative_to(program.place))
    if path.suffix != ".mp4":
        return File(name, _sha256(data), 0)
    frames, codec, clean = _look(path)
    apart = program.archives != program.tree
    archive = path.is_relative_to(program.archives) and (apart or codec == "hevc")
    return File(name, _sha256(data), frames, codec, clean, archive)


def _look(path: Path) -> tuple[int, str, bool]:
    """Frames that can be decoded, codec, and whether nothing is wrong with it."""
    line = (
        "ffprobe", "-v", "error", "-count_frames", "-select_streams", "v:0",
        "-show_entries", "stream=codec_name,nb_read_frames", "-of", "json", f"file:{path}",
    )  # fmt: skip
    done = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=600)
    streams = json.loads(done.stdout or "{}").get("streams") or [{}]
    count = str(streams[0].get("nb_read_frames", "0"))
    return int(count) if count.isdigit() else 0, str(streams[0].get("codec_name", "")), not done.stderr.strip()


@functools.cache
def _frames(clip: Clip) -> int:
    """Of a clip that is whole."""
    return _look(footage.cached(clip))[0]


def _data(clip: Clip) -> bytes:
    return footage.cached(clip).read_bytes()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
