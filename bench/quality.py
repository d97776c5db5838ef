"""What codec, preset and quality do to surveillance footage: size, likeness to the camera's clip, and processor time.

Each clip is what a camera would upload; each archive is made of it by the very command of archiverd's software rung,
and held against it frame by frame: luma SSIM, VMAF where an ffmpeg has libvmaf, and SSIM of what moves alone.
Time is user and system time of ffmpeg and never the clock, for the machine may have more to do than this.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from archiverd.config import Codec, Config
from archiverd.policy.encoding import EncodeSettings
from archiverd.policy.verdict import too_large
from bench import command
from bench.command import BenchError
from tools import footage

CURVE_PRESET = "fast"
CURVES = {"hevc": (20, 23, 26, 29, 32), "h264": (17, 20, 23, 26, 29)}
PRESETS = ("veryfast", CURVE_PRESET, "medium", "slow")
PRESET_QUALITY = {"hevc": 26, "h264": 23}  # at which presets are held against each other
REFERENCE = ("h264", "fast", 23)  # of whose processor time the others' is told

_PACKAGE = "opencv-doc"  # of Debian
_FILM = "usr/share/doc/opencv-doc/examples/data/vtest.avi"
_VMAF_EVERY = 3  # frames; each would cost as much as an encode
_SATURATED = 99.0  # VMAF: from there on two archives that differ are told to be the same
_STEP = "settb=1/1000,setpts=N"  # frames are compared by their number: the two containers count time differently


@dataclass(frozen=True, slots=True)
class Scene:
    """A camera's clip, and the crop filter that shows only what moves in it ("" for nothing)."""

    clip: footage.Clip
    about: str
    moving: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    """A camera's clip as it was measured."""

    name: str
    about: str
    seconds: float
    frames: int
    size: int  # bytes

    @property
    def rate(self) -> float:
        """Mb/s."""
        return self.size * 8 / 1e6 / self.seconds


@dataclass(frozen=True, slots=True)
class Point:
    """One archive of one clip."""

    clip: str
    codec: str
    preset: str
    quality: int
    size: int  # bytes
    cpu_s: float  # user and system, decoding the source included
    ssim: float  # mean of the frames, luma
    moving_ssim: float | None  # the same of the object alone
    vmaf: float | None  # mean of the frames that were looked at
    lowest_vmaf: float | None  # of these frames

    @property
    def setting(self) -> tuple[str, str, int]:
        return self.codec, self.preset, self.quality

    @property
    def likeness(self) -> float:
        """What archives are compared by: VMAF, or else SSIM."""
        return self.ssim if self.vmaf is None else self.vmaf

    @property
    def worst(self) -> float:
        """What a default is chosen by: VMAF of the worst frame, or else SSIM."""
        return self.ssim if self.lowest_vmaf is None else self.lowest_vmaf


@dataclass(frozen=True, slots=True)
class Result:
    """Everything measured in one go, and on what."""

    measured_at: str
    machine: dict[str, str]
    vmaf: str  # the ffmpeg that told VMAF; "" for none
    uploads: tuple[Upload, ...]
    points: tuple[Point, ...]

    def upload(self, name: str) -> Upload:
        return next(each for each in self.uploads if each.name == name)

    def of(self, setting: tuple[str, str, int]) -> tuple[Point, ...]:
        """The archives made with a setting, one for each clip."""
        return tuple(point for point in self.points if point.setting == setting)

    def curve(self, clip: str, codec: str) -> tuple[Point, ...]:
        """The archives of a clip in all qualities, with one codec and preset."""
        return tuple(point for point in self.points if (point.clip, *point.setting[:2]) == (clip, codec, CURVE_PRESET))

    def kept(self, point: Point) -> bool:
        """Whether archiverd would keep the original, because the archive is not worth it."""
        return too_large(point.size, self.upload(point.clip).size)


# ---- what is measured


def defaults() -> tuple[tuple[str, str, int], ...]:
    """What archiverd encodes with, where its owner says nothing but the codec."""
    configs = (Config(codec=Codec.HEVC), Config(codec=Codec.H264))
    return tuple((str(config.codec), str(config.preset), config.crf) for config in configs)


def settings() -> tuple[tuple[str, str, int], ...]:
    """Every setting that is measured: for each codec a curve of qualities, the presets at one of these, the default."""
    wanted = {REFERENCE, *defaults()}
    for codec, qualities in CURVES.items():
        wanted |= {(codec, CURVE_PRESET, each) for each in qualities}
        wanted |= {(codec, preset, PRESET_QUALITY[codec]) for preset in PRESETS}
    return tuple(sorted(wanted))


def scenes(film: Path) -> tuple[Scene, ...]:
    """The real clip and the made ones, each of these at two bit rates."""
    real = footage.Clip(
        "vtest", 768, 576, "10", 8.0, preset="veryfast", bitrate="2.5M", buffer="2.5M", film=str(film), film_from_s=20.0
    )
    walkers = "crop=384:280:384:140"
    return (
        Scene(real, "people walking, 768x576 at 10 fps, a real camera's", walkers),
        *(scene for rate in ("2.5M", "8M") for scene in _made(1920, 1080, 5.0, rate)),
    )


def quick_scenes() -> tuple[Scene, ...]:
    """One tiny clip: that all of it runs is seen in seconds."""
    return (_made(320, 180, 1.0, "400k")[1],)


def _made(width: int, height: int, seconds: float, rate: str) -> tuple[Scene, ...]:
    shape = f"{width}x{height} at 15 fps"
    day = footage.Clip("", width, height, "15", seconds, preset="veryfast", bitrate=rate, buffer=rate)
    label = rate.replace("M", " Mb/s").replace("k", " kb/s")
    still = replace(day, name=f"still {label}", noise=5, objects=0)
    night = replace(day, name=f"night {label}", noise=16, night=True)
    motion = replace(day, name=f"motion {label}", noise=3, objects=5)
    return (
        Scene(still, f"nothing moves, a sensor's noise by day, {shape}"),
        Scene(night, f"grain of the night, one object, {shape}", _follow(night)),
        Scene(motion, f"five objects before a still scene, {shape}", _follow(motion)),
    )


def _follow(clip: footage.Clip) -> str:
    """The crop that stays with the object in front."""
    width, height, x, y = footage.object_box(clip, clip.objects - 1, f"(n/{clip.fps})")
    return f"crop={width}:{height}:x='{x}':y='{y}'"


def real_film() -> Path:
    """The surveillance film of Debian's package opencv-doc, fetched once and not installed.

    Raises: BenchError where it can't be had; OSError.
    """
    kept = footage.default_cache_dir() / _PACKAGE / Path(_FILM).name
    if kept.exists():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as name:
        place = Path(name)
        try:
            command.run(("apt-get", "-q", "download", _PACKAGE), cwd=place)
            command.run(("dpkg-deb", "-x", *(str(each) for each in place.glob("*.deb")), "."), cwd=place)
        except BenchError as error:
            raise BenchError(f"no real clip: {error}. Put vtest.avi of Debian's {_PACKAGE} at {kept}") from error
        (place / _FILM).replace(kept)
    return kept


# ---- measuring


def run(*, quick: bool) -> Result:
    """Measure, and say on stderr how far it is. Takes a quarter of an hour of one processor; `quick` seconds.

    Raises: BenchError, FootageError, OSError.
    """
    wanted = quick_scenes() if quick else scenes(real_film())
    judge = vmaf_ffmpeg()
    uploads, points = [], []
    for number, scene in enumerate(wanted, start=1):
        source = footage.cached(scene.clip)
        found = [measure(scene, source, setting, judge) for setting in settings()]
        points += [point for point, _ in found]
        seconds, frames = scene.clip.seconds, found[0][1]
        uploads.append(Upload(scene.clip.name, scene.about, seconds, frames, source.stat().st_size))
        print(f"clip {number} of {len(wanted)}: {scene.clip.name}", file=sys.stderr)
    return Result(
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=command.machine(),
        vmaf=_version(judge) if judge else "",
        uploads=tuple(uploads),
        points=tuple(points),
    )


def measure(scene: Scene, source: Path, setting: tuple[str, str, int], judge: str | None) -> tuple[Point, int]:
    """One archive of a clip, and of how many frames both are. Raises: BenchError, OSError."""
    codec, preset, quality = setting
    with tempfile.TemporaryDirectory(prefix="archiverd-bench-") as name:
        place = Path(name)
        archive = place / "archive.mp4"
        ran = command.run(command.transcode(source, archive, EncodeSettings(codec, quality, preset), sound=False))
        command.run(
            compare_command(judge or "ffmpeg", archive, source, scene.moving, vmaf=judge is not None), cwd=place
        )
        frames = _ssim(place / "ssim")
        encoded = int(ran.stdout.rsplit("frame=", 1)[-1].split()[0])
        if encoded != len(frames):
            raise BenchError(f"{scene.clip.name}: {encoded} frames were encoded and {len(frames)} compared")
        vmaf = _vmaf(place / "vmaf.json") if judge else []
        moving = _ssim(place / "moving") if scene.moving else []
        point = Point(
            scene.clip.name, codec, preset, quality,
            size=archive.stat().st_size,
            cpu_s=round(ran.cpu_s, 3),
            ssim=round(statistics.fmean(frames), 5),
            moving_ssim=round(statistics.fmean(moving), 5) if moving else None,
            vmaf=round(statistics.fmean(vmaf), 3) if vmaf else None,
            lowest_vmaf=round(min(vmaf), 3) if vmaf else None,
        )  # fmt: skip
        return point, len(frames)


def compare_command(ffmpeg: str, archive: Path, source: Path, moving: str, *, vmaf: bool) -> tuple[str, ...]:
    """Hold an archive against its source. Leaves the files `ssim`, `moving`, `vmaf.json` where it runs."""
    judges = ["ssim=stats_file=ssim"]
    if moving:
        judges.append("ssim=stats_file=moving")
    if vmaf:
        judges.append(f"libvmaf=log_fmt=json:log_path=vmaf.json:n_subsample={_VMAF_EVERY}")
    outputs = range(len(judges))
    graph = [f"[{side}:v]{_STEP},split={len(judges)}" + "".join(f"[{side}{n}]" for n in outputs) for side in (0, 1)]
    for n, judge in enumerate(judges):
        crop = f"{moving}," if "moving" in judge else ""
        graph += [f"[0{n}]{crop}null[got{n}]", f"[1{n}]{crop}null[was{n}]", f"[got{n}][was{n}]{judge}[out{n}]"]
    maps = (word for n in outputs for word in ("-map", f"[out{n}]"))
    inputs = ("-i", f"file:{archive}", "-i", f"file:{source}")
    return (ffmpeg, "-v", "error", "-nostdin", *inputs, "-lavfi", ";".join(graph), *maps, "-f", "null", "-")


def _ssim(path: Path) -> list[float]:
    """Luma of each frame, of lines like `n:1 Y:0.98 U:…`."""
    return [float(line.split("Y:", 1)[1].split()[0]) for line in path.read_text().splitlines()]


def _vmaf(path: Path) -> list[float]:
    return [frame["metrics"]["vmaf"] for frame in json.loads(path.read_text())["frames"]]


def vmaf_ffmpeg() -> str | None:
    """An ffmpeg with libvmaf: the first on PATH that has it, else that of the package imageio-ffmpeg."""
    on_path = (shutil.which("ffmpeg", path=folder) for folder in os.get_exec_path())
    found = find_spec("imageio_ffmpeg")
    packed = sorted(Path(found.origin or "").parent.glob("binaries/ffmpeg-*")) if found else []
    return next((each for each in (*on_path, *map(str, packed)) if each and _has_vmaf(each)), None)


@functools.cache
def _has_vmaf(ffmpeg: str) -> bool:
    return " libvmaf " in command.run((ffmpeg, "-hide_banner", "-v", "error", "-filters")).stdout


def _version(ffmpeg: str) -> str:
    return command.run((ffmpeg, "-version")).stdout.partition(" Copyright")[0]


# ---- what it comes to


def size_at_same_likeness(curve: Sequence[Point], point: Point) -> float | None:
    """The size of `point` over that of an archive on `curve` which is as like its source.

    Between two archives of the curve the logarithm of the size is taken to go straight. None where the curve does not
    reach that far, or where VMAF can't tell its archives apart.
    """
    rising = sorted((each for each in curve if each.likeness < _SATURATED), key=lambda each: each.likeness)
    for low, high in itertools.pairwise(rising):
        if low.likeness <= point.likeness <= high.likeness:
            span = high.likeness - low.likeness
            share = (point.likeness - low.likeness) / span if span else 0.0
            return float(point.size / (low.size * (high.size / low.size) ** share))
    return None


def kept(path: Path) -> Result:
    """A result that was kept. Raises: BenchError, OSError."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())  # Any: JSON, checked by the constructors' names
        uploads = tuple(Upload(**each) for each in found.pop("uploads"))
        return Result(**found | {"uploads": uploads, "points": tuple(Point(**each) for each in found["points"])})
    except (ValueError, TypeError, KeyError) as error:
        raise BenchError(f"{path} is no kept result of bench quality: {error}") from error
