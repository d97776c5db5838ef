"""Makes camera-like clips with ffmpeg: a static scene, an object that moves through it, sensor noise.

    python -m tools.footage sample DIR    a few clips of two cameras, some of them damaged, to try archiverd on
    python -m tools.footage forty DIR     forty clips that differ in whatever cameras differ in

Nothing here is random: the same clip and the same ffmpeg give the same pictures. What was made once is kept in a
cache and copied from there.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import hashlib
import itertools
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Literal

Codec = Literal["h264", "hevc"]
Audio = Literal["none", "aac", "pcm_alaw", "pcm_mulaw"]
Layout = Literal["moov_last", "moov_first", "fragmented"]
Rotation = Literal[0, 90, 180, 270]

CAMERAS = ("front", "Garden Gate_01")
SNAPSHOT_LAG = timedelta(seconds=4)  # of every third snapshot; the others have the second of their clip
SCRIPT = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"

_ENCODERS = {"h264": "libx264", "hevc": "libx265"}
_SAMPLE_RATES = {"aac": 16_000, "pcm_alaw": 8_000, "pcm_mulaw": 8_000}  # Hz, as cameras have them
_MOVFLAGS = {
    "moov_last": (),
    "moov_first": ("-movflags", "+faststart"),
    "fragmented": ("-movflags", "+frag_keyframe+empty_moov+default_base_moof"),
}
_INVARIABLY = ("ffmpeg", "-hide_banner", "-nostdin", "-y", "-v", "error", "-filter_threads", "1")
_TICKS = 90_000  # per second: the time base of clips whose frames come at varying distances


class FootageError(Exception):
    """ffmpeg did not make what was asked of it."""


@dataclass(frozen=True, slots=True)
class Clip:
    """What a clip is to be. Its container is MP4, or QuickTime when the audio is G.711, which MP4 cannot hold."""

    name: str  # its own scene and noise follow from it
    width: int = 640
    height: int = 360
    fps: str = "15"  # frames per second, a fraction where need be: "30000/1001"
    seconds: float = 1.5
    codec: Codec = "h264"
    audio: Audio = "none"
    rotation: Rotation = 0  # degrees clockwise the player has to turn the picture
    full_range: bool = False
    vfr: bool = False  # frames missing, the others off their beat
    layout: Layout = "moov_last"
    pix_fmt: str = "yuv420p"
    bframes: int = 0
    crf: int = 16
    bitrate: str = ""  # "4M"; instead of crf
    buffer: str = ""  # "4M": how far the encoder may run ahead of `bitrate`, which is then kept to, as cameras do
    preset: str = "ultrafast"
    noise: int = 3  # strength, 0 to 100
    objects: int = 1  # that move through the scene
    night: bool = False  # dark and without colour; the noise is as strong as by day
    film: str = ""  # a file whose pictures, from `film_from_s` on, are shown instead of the drawn scene
    film_from_s: float = 0.0
    created: str = "2024-03-09T16:30:00.000000Z"  # creation_time of the container and its tracks


# ---- the command, as a value


def command(clip: Clip, path: Path) -> tuple[str, ...]:
    """The ffmpeg command that makes `clip`, upright, at `path`, which ends in `.mp4` whatever it holds."""
    return (
        *_INVARIABLY,
        *_inputs(clip),
        "-t",
        str(clip.seconds),
        *_video(clip),
        *_audio(clip),
        *_container(clip),
        _file(path),
    )


def _file(path: Path) -> str:
    return f"file:{path}"


def _inputs(clip: Clip) -> tuple[str, ...]:
    picture = _film(clip) if clip.film else ("-f", "lavfi", "-i", scene(clip))
    if clip.audio == "none":
        return picture
    sound = f"sine=frequency={300 + _seed(clip) % 500}:sample_rate={_SAMPLE_RATES[clip.audio]}:beep_factor=3"
    return (*picture, *_primed(clip), "-f", "lavfi", "-i", sound)


def _film(clip: Clip) -> tuple[str, ...]:
    return ("-ss", str(clip.film_from_s), "-i", _file(Path(clip.film)))


def _primed(clip: Clip) -> tuple[str, ...]:
    """Let the encoder's first frame, which it puts before the sound, begin at 0 in fragments, as cameras do.

    Elsewhere an edit list holds what would be a negative time; a header written before the first frame has none.
    """
    if clip.audio != "aac" or clip.layout != "fragmented":
        return ()
    return ("-itsoffset", str(1024 / _SAMPLE_RATES["aac"]))


def scene(clip: Clip) -> str:
    """The filter graph of the picture: one still of a fractal, objects crossing it, noise anew in every frame."""
    seed = _seed(clip)
    still = f"mandelbrot=s={clip.width}x{clip.height}:r={clip.fps}:maxiter=120:start_x=-0.743:start_y=-0.131"
    frozen = f"trim=end_frame=1,loop=loop=-1:size=1,setpts=N/({clip.fps}*TB)"
    sampling = "yuv444" if "444" in clip.pix_fmt else "yuv420"
    crossed = "".join(_object(clip, number, sampling) for number in range(clip.objects))
    dark = ("lutyuv=y=16+(val-16)*2/5:u=128:v=128",) if clip.night else ()
    noise = (f"noise=alls={clip.noise}:allf=t:all_seed={seed}",) if clip.noise else ()
    spread = ("scale=in_range=tv:out_range=pc",) if clip.full_range else ()
    finish = (f"format={sampling}p", *dark, *noise, *spread, f"format={clip.pix_fmt}", *_beat(clip))
    return f"{still}:start_scale=0.02,{frozen},hue=h={seed % 360}{crossed},{','.join(finish)}"


def _object(clip: Clip, number: int, sampling: str) -> str:
    """The part of the graph that lays one more object over what there is."""
    width, height, x, y = object_box(clip, number, "t")
    below, thing = f"[below{number}]", f"[thing{number}]"
    return (
        f"{below};testsrc2=s={width}x{height}:r={clip.fps}{thing};"
        f"{below}{thing}overlay=x='{x}':y='{y}':format={sampling}"
    )


def object_box(clip: Clip, number: int, seconds: str) -> tuple[int, int, str, str]:
    """Width and height of an object, and where its upper left corner is, as expressions of the time in `seconds`."""
    width, height = max(clip.width // 7, 16), max(clip.height // 5, 16)
    x = f"mod({seconds}*{clip.width}/{4 + number}+{number}*{clip.width}/3,{clip.width - width})"
    return width, height, x, f"{clip.height}/2+{clip.height}/4*sin(2*{seconds}+{number})"


def _beat(clip: Clip) -> tuple[str, ...]:
    """Frames missing here and there, the rest up to a quarter of a frame early or late. The first stands at 0."""
    if not clip.vfr:
        return ()
    off = round(_TICKS / Fraction(clip.fps) / 4)
    return ("select='mod(n,7)-3'", f"settb=1/{_TICKS}", f"setpts='PTS+{off}*sin(1.7*N)'")


def _video(clip: Clip) -> tuple[str, ...]:
    held = ("-maxrate", clip.bitrate, "-bufsize", clip.buffer) if clip.buffer else ()
    rate = ("-b:v", clip.bitrate, *held) if clip.bitrate else ("-crf", str(clip.crf))
    every = max(1, round(Fraction(clip.fps) / 2)) if clip.layout == "fragmented" else round(Fraction(clip.fps) * 2)
    timing = ("-fps_mode", "passthrough", "-enc_time_base", f"1:{_TICKS}") if clip.vfr else ()
    quiet = ("-x265-params", "log-level=error", "-tag:v", "hvc1") if clip.codec == "hevc" else ()
    colour = ("-color_range", "pc") if clip.full_range else ()
    shape = ("-g", str(every), "-bf", str(clip.bframes), "-pix_fmt", clip.pix_fmt)
    return ("-c:v", _ENCODERS[clip.codec], "-preset", clip.preset, *rate, *quiet, *shape, *colour, *timing)


def _audio(clip: Clip) -> tuple[str, ...]:
    return () if clip.audio == "none" else ("-c:a", clip.audio)


def _container(clip: Clip) -> tuple[str, ...]:
    timescale = ("-video_track_timescale", str(_TICKS)) if clip.vfr else ()
    kind = "mov" if clip.audio.startswith("pcm") else "mp4"
    when = f"creation_time={clip.created}"
    return ("-metadata", when, "-metadata:s:v:0", when, *timescale, *_MOVFLAGS[clip.layout], "-f", kind)


def _seed(clip: Clip) -> int:
    return int.from_bytes(hashlib.sha256(clip.name.encode()).digest()[:3], "big")


# ---- making


def make(clip: Clip, path: Path) -> None:
    """Make `clip` at `path`. Its mtime is left as it falls.

    Raises: FootageError, with what ffmpeg said; OSError.
    """
    path = path.absolute()
    _run(command(clip, path))
    if clip.rotation:
        _turn(path, _matrix(clip))


def _matrix(clip: Clip) -> bytes:
    """The display matrix that turns the picture clockwise and moves it back to the origin: nine 32-bit numbers.

    Source: QuickTime File Format, "Matrices": 16.16 fixed point, the last column 2.30.
    """
    one, width, height = 1 << 16, clip.width << 16, clip.height << 16
    a, b, c, d, x, y = {
        0: (one, 0, 0, one, 0, 0),
        90: (0, one, -one, 0, height, 0),
        180: (-one, 0, 0, -one, width, height),
        270: (0, -one, one, 0, 0, width),
    }[clip.rotation]
    return struct.pack(">9i", a, b, 0, c, d, 0, x, y, 1 << 30)


def _turn(path: Path, matrix: bytes) -> None:
    """Put a display matrix into the header of the first track, the video.

    Written here and not asked of ffmpeg, whose option and tag for it change with its version, the sign too.
    """
    data = path.read_bytes()
    at, end = 0, len(data)
    for kind in (b"moov", b"trak", b"tkhd"):
        at, end = _box(data, at, end, kind)
    with path.open("r+b") as file:
        file.seek(at + 40)  # version 0: flags, times, track, duration, layer, group and volume come before it
        file.write(matrix)


def _box(data: bytes, at: int, end: int, kind: bytes) -> tuple[int, int]:
    """Where the contents of the first box of a kind begin and end. Raises: FootageError."""
    while at + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, at)
        if name == kind:
            return at + 8, at + size
        at += max(size, 8)
    raise FootageError(f"ffmpeg wrote no {kind.decode()} box")


def snapshot(clip_path: Path, path: Path) -> None:
    """Write the first frame of a clip as a JPEG. Raises: FootageError."""
    source = ("-f", "mov", "-i", _file(clip_path.absolute()))
    shape = ("-frames:v", "1", "-q:v", "5", "-pix_fmt", "yuvj420p", "-f", "mjpeg")
    _run((*_INVARIABLY, *source, *shape, _file(path.absolute())))


def cut(path: Path, share: float) -> None:
    """Leave only the first `share` (0 to 1) of a file, as an upload that broke off does; its mtime stays."""
    status = path.stat()
    os.truncate(path, int(status.st_size * share))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, errors="replace", timeout=300)
    except subprocess.CalledProcessError as error:
        raise FootageError(f"{command[0]} exited {error.returncode}: {str(error.stderr)[-2000:].strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise FootageError(f"{command[0]} was not done after {error.timeout:.0f} s") from error
    return done.stdout


def ffmpeg_version() -> str:
    """The first line of `ffmpeg -version`, of the ffmpeg that is first on PATH now. Raises: FootageError."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise FootageError("there is no ffmpeg on PATH")
    return _version(program)


@functools.cache
def _version(program: str) -> str:
    return _run((program, "-version")).partition("\n")[0]


# ---- the cache


def default_cache_dir() -> Path:
    """`archiverd-footage` in $XDG_CACHE_HOME or ~/.cache; in the temporary directory where those cannot be written."""
    wanted = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "archiverd-footage"
    try:
        wanted.mkdir(parents=True, exist_ok=True)
    except OSError:
        return _temporary_cache_dir()
    return wanted if os.access(wanted, os.W_OK) else _temporary_cache_dir()


def _temporary_cache_dir() -> Path:
    return Path(tempfile.gettempdir()) / f"archiverd-footage-{os.getuid()}"


def cached(clip: Clip, cache_dir: Path | None = None) -> Path:
    """The cached file of `clip`, made now if need be. It is shared: copy it (`place`), never change it.

    Any number of processes may ask at once; one makes it, the others wait. Raises: FootageError, OSError.
    """
    recipe = (ffmpeg_version(), command(clip, Path("clip.mp4")), _matrix(clip))
    return _kept(repr(recipe), ".mp4", cache_dir, functools.partial(make, clip))


def cached_snapshot(clip: Clip, cache_dir: Path | None = None) -> Path:
    """The cached JPEG of the first frame of `clip`; shared as `cached` is. Raises: FootageError, OSError."""
    source = cached(clip, cache_dir)
    return _kept(f"{source.stem} snapshot", ".jpg", cache_dir, functools.partial(snapshot, source))


def place(clip: Clip, path: Path, cache_dir: Path | None = None) -> None:
    """Write a copy of `clip` to `path`. Raises: FootageError, OSError."""
    shutil.copyfile(cached(clip, cache_dir), path)


def _kept(recipe: str, suffix: str, cache_dir: Path | None, produce: Callable[[Path], None]) -> Path:
    folder = cache_dir or default_cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(recipe.encode()).hexdigest()
    kept = folder / f"{key}{suffix}"
    if kept.exists():
        return kept
    with _locked(folder / f"{key}.lock"):
        if not kept.exists():
            fresh = folder / f"{key}.new{suffix}"
            produce(fresh)
            fresh.replace(kept)
    return kept


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`, which is made if it is not there and may be a directory."""
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    handle = os.open(path, flags | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# ---- trees


def tree(
    root: Path,
    clips: Iterable[Clip],
    *,
    start: datetime,
    cameras: Sequence[str] = CAMERAS,
    snapshots: bool = True,
    every: timedelta = timedelta(minutes=7),
    cache_dir: Path | None = None,
) -> list[Path]:
    """Write clips as a camera's uploads: `YYYY/MM/DD/REO_<camera>_<stamp>.mp4`, a JPEG beside each.

    The cameras take turns; clip n is of `start` (local time) plus n times `every`. The mtime of a clip is when it
    ended, that of a snapshot when it was taken. Returns the clips' paths, in order.
    Raises: FootageError, OSError.
    """
    written = []
    for index, (clip, camera) in enumerate(zip(clips, itertools.cycle(cameras), strict=False)):
        taken_at = start + index * every
        path = upload_path(root, camera, taken_at)
        _upload(cached(clip, cache_dir), path, taken_at + timedelta(seconds=clip.seconds))
        written.append(path)
        if snapshots:
            seen_at = taken_at + (SNAPSHOT_LAG if index % 3 == 2 else timedelta())
            _upload(cached_snapshot(clip, cache_dir), upload_path(root, camera, seen_at, ".jpg"), seen_at)
    return written


def upload_path(root: Path, camera: str, taken_at: datetime, suffix: str = ".mp4") -> Path:
    """Where a camera uploads what it took at `taken_at`."""
    return root / f"{taken_at:%Y/%m/%d}" / f"REO_{camera}_{taken_at:%Y%m%d%H%M%S}{suffix}"


def _upload(source: Path, path: Path, finished_at: datetime) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)
    os.utime(path, (finished_at.timestamp(), finished_at.timestamp()))


def sample(root: Path, *, now: datetime | None = None, cache_dir: Path | None = None) -> bool:
    """Fill `root` with a day of footage to try archiverd on: the day before `now`. False if it has footage already.

    Six good clips, an upload cut off at its end and one cut off behind its index, a playlist that calls itself a
    clip, snapshots, and a snapshot without a clip. All of it appears at once or, when interrupted, not at all.
    Raises: FootageError, OSError.
    """
    start = _yesterday(now, hour=7)

    def fill(folder: Path) -> None:
        clips = tree(folder, SAMPLE, start=start, every=timedelta(minutes=47), cache_dir=cache_dir)
        cut(clips[-2], 0.6)
        cut(clips[-1], 0.6)
        script = upload_path(folder, CAMERAS[0], start + timedelta(hours=8))
        script.write_text(SCRIPT)
        orphan = upload_path(folder, CAMERAS[1], start + timedelta(hours=9), ".jpg")
        shutil.copyfile(cached_snapshot(SAMPLE[0], cache_dir), orphan)
        for path, hours in ((script, 8), (orphan, 9)):
            taken_at = (start + timedelta(hours=hours)).timestamp()
            os.utime(path, (taken_at, taken_at))

    return _appear(root, fill)


def forty(root: Path, *, now: datetime | None = None, cache_dir: Path | None = None) -> bool:
    """Fill `root` with `FORTY`, all of the day before `now`, as `sample` does."""
    return _appear(root, lambda folder: tree(folder, FORTY, start=_yesterday(now, hour=6), cache_dir=cache_dir))


def _yesterday(now: datetime | None, *, hour: int) -> datetime:
    day = (now or datetime.now()) - timedelta(days=1)
    return day.replace(hour=hour, minute=0, second=0, microsecond=0)


def _appear(root: Path, fill: Callable[[Path], object]) -> bool:
    """Build a tree aside and move it in with one rename, which is why all of it has to be of one year."""
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root):
        for stale in root.glob(".footage-*"):
            shutil.rmtree(stale)
        if _has_footage(root):
            return False
        with tempfile.TemporaryDirectory(prefix=".footage-", dir=root) as aside:
            fill(Path(aside))
            (year,) = Path(aside).iterdir()
            year.rename(root / year.name)
    return True


def _has_footage(root: Path) -> bool:
    return any(path.suffix in (".mp4", ".jpg") for path in root.rglob("*"))


# ---- the clips


def _plain() -> Iterator[Clip]:
    """Every codec with every audio in every layout, sizes and rates taken in turn."""
    sizes = itertools.cycle(((320, 180), (640, 360), (354, 242), (480, 270), (352, 240)))
    rates = itertools.cycle(("15", "25", "12", "30000/1001", "20", "10", "30"))
    codecs: tuple[Codec, ...] = ("h264", "hevc")
    audios: tuple[Audio, ...] = ("none", "aac", "pcm_alaw", "pcm_mulaw")
    layouts: tuple[Layout, ...] = ("moov_last", "moov_first", "fragmented")
    kinds = itertools.product(codecs, audios, layouts)
    for (codec, audio, layout), (width, height), fps in zip(kinds, sizes, rates, strict=False):
        yield Clip(f"{codec}-{audio}-{layout}", width, height, fps, codec=codec, audio=audio, layout=layout)


_SPECIAL = (
    Clip("h264-vfr", audio="aac", vfr=True),
    Clip("hevc-vfr", 352, 240, "12", 2.0, "hevc", vfr=True, layout="moov_first"),
    Clip("h264-vfr-fragmented", 480, 270, "25", audio="pcm_alaw", vfr=True, layout="fragmented"),
    Clip("h264-rotated-90", audio="aac", rotation=90),
    Clip("hevc-rotated-180", 320, 180, codec="hevc", rotation=180, layout="moov_first"),
    Clip("h264-rotated-270", 352, 240, "25", audio="pcm_mulaw", rotation=270),
    Clip("h264-full-range", audio="aac", full_range=True),
    Clip("hevc-full-range", 480, 270, "20", codec="hevc", full_range=True),
    Clip("h264-odd-444", 321, 241, audio="aac", pix_fmt="yuv444p"),
    Clip("hevc-odd-444", 323, 181, codec="hevc", pix_fmt="yuv444p"),
    Clip("hevc-10-bit", codec="hevc", audio="aac", pix_fmt="yuv420p10le"),
    Clip("h264-4k", 3840, 2160, "12", 0.5, audio="aac", crf=20),
    Clip("h264-b-frames", fps="25", audio="aac", bframes=2),
    Clip(
        "hevc-b-frames-vfr-rotated", 354, 242, "30000/1001", codec="hevc", audio="aac", bframes=3, vfr=True, rotation=90
    ),
    Clip("h264-tiny", 320, 180, "10", audio="aac", crf=44, preset="medium", noise=0),
    Clip("hevc-tiny", 320, 180, "10", codec="hevc", crf=42, preset="medium", noise=0),
)


def _created_apart(clips: Iterable[Clip]) -> Iterator[Clip]:
    """Give each clip a creation time of its own, so that one clip's cannot pass for another's."""
    for minute, clip in enumerate(clips, start=10):
        yield replace(clip, created=f"2024-03-09T16:{minute:02}:07.000000Z")


FORTY: tuple[Clip, ...] = tuple(_created_apart((*_plain(), *_SPECIAL)))

SAMPLE: tuple[Clip, ...] = tuple(
    _created_apart(
        (
            Clip("sample-1", seconds=4, audio="aac"),
            Clip("sample-2", seconds=3),
            Clip("sample-3", seconds=5, codec="hevc", audio="aac", layout="moov_first"),
            Clip("sample-4", seconds=3, codec="hevc"),
            Clip("sample-5", seconds=4, audio="pcm_alaw", bframes=2),
            Clip("sample-6", seconds=3, audio="aac", crf=44, preset="medium", noise=0),
            Clip("sample-7", seconds=4, audio="aac"),  # to be cut off: without its index
            Clip("sample-8", seconds=4, audio="aac", layout="moov_first"),  # to be cut off: with it
        )
    )
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.footage", description="Make footage to try archiverd on.")
    parser.add_argument("what", choices=("sample", "forty"))
    parser.add_argument("directory", type=Path)
    given = parser.parse_args(arguments)
    fill = sample if given.what == "sample" else forty
    try:
        made = fill(given.directory)
    except (FootageError, OSError) as error:
        print(f"no footage made: {error}", file=sys.stderr)
        return 1
    print(f"{given.directory}: footage made" if made else f"{given.directory} has footage already; nothing done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
