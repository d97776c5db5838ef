"""What this machine has to encode with, by looking: render nodes, drivers, runtimes, the kernel, ffmpeg's build.

Looking opens no device (`refusal` does) and starts no program but ffmpeg. Everything is read below `root`, which tests
move. What a container or the lack of a right hides is left empty, and never an error.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from archiverd.media import process
from archiverd.policy.hardware import Equipment, Ffmpeg, Place, distribution_of, parse_version
from archiverd.policy.machine import Access, RenderNode
from archiverd.policy.stop import StopToken

_NODE = re.compile(r"renderD[0-9]{1,6}")
_LIBRARIES = ("usr/lib/*-linux-gnu*", "usr/lib", "usr/lib64", "usr/local/lib", "usr/local/lib/*-linux-gnu*")
_VA_DRIVERS = ("dri/*_drv_video.so", "dri-nonfree/*_drv_video.so", "dri-freeworld/*_drv_video.so")
_RUNTIMES = ("libmfx-gen.so.1.2", "libmfxhw64.so.1")
_ENOUGH = process.Limits(stall_s=10, wall_s=10, stop_s=1)
_MOST_READ = 4096  # bytes of a file of the kernel's


def find_nodes(root: Path = Path("/")) -> tuple[RenderNode, ...]:
    """The render nodes below /dev/dri, by number."""
    folder = root / "dev/dri"
    try:
        names = [name for name in os.listdir(folder) if _NODE.fullmatch(name)]  # noqa: PTH208  (names are all)
    except OSError:
        return ()
    names.sort(key=lambda name: int(name.removeprefix("renderD")))
    return tuple(look_at_node(Path("/dev/dri", name), root) for name in names)


def look_at_node(path: Path, root: Path = Path("/")) -> RenderNode:
    """What can be told of the device at `path`, of any name, without opening it."""
    shown = PurePosixPath(path)
    place = root / path.relative_to("/")
    try:
        status = place.stat()
    except OSError:
        return RenderNode(shown, access=Access.MISSING)
    if not stat.S_ISCHR(status.st_mode):
        return RenderNode(shown, access=Access.NO_DEVICE)
    device = _in_sys(root, path.name, status.st_rdev)
    return RenderNode(
        shown,
        vendor=_text(device / "vendor"),
        access=Access.OPEN if os.access(place, os.R_OK | os.W_OK) else Access.CLOSED,
        device_id=_text(device / "device"),
        driver=_target(device / "driver"),
        group=_group(status.st_gid),
        mode=stat.S_IMODE(status.st_mode),
    )


def look(ffmpeg: Ffmpeg, nodes: Iterable[RenderNode], root: Path = Path("/")) -> Equipment:
    """What stands beside these nodes and this ffmpeg."""
    modules = root / "sys/module/i915/parameters"
    nodes = tuple(nodes)
    named = {node.path for node in nodes}
    return Equipment(
        ffmpeg=ffmpeg,
        nodes=nodes,
        va_drivers=tuple(sorted({path.name.removesuffix("_drv_video.so") for path in _files(root, _VA_DRIVERS)})),
        runtimes=tuple(sorted({path.name for path in _files(root, _RUNTIMES)})),
        kernel=kernel(root),
        guc=_text(modules / "enable_guc"),
        distribution=distribution_of(_text(root / "etc/os-release")),
        place=_place(root),
        user=_user(),
        others=tuple(node.path for node in find_nodes(root) if node.path not in named),
    )


def kernel(root: Path = Path("/")) -> str:
    """The release of the kernel that runs."""
    return _text(root / "proc/sys/kernel/osrelease")


def boot(root: Path = Path("/")) -> str:
    """What tells this boot of the kernel from others."""
    return _text(root / "proc/sys/kernel/random/boot_id")


def refusal(node: RenderNode, root: Path = Path("/")) -> str:
    """How the kernel refuses to open a node, "" where it does not.

    Its mode does not tell all: a container may hold the node and not be allowed it.
    """
    try:
        os.close(os.open(root / node.path.relative_to("/"), os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def find_ffmpeg(stop: StopToken) -> Ffmpeg:
    """The ffmpeg on PATH, as it tells of itself.

    Raises: StartupError where there is none, or it does not start; Interrupted.
    """
    path = process.find_program("ffmpeg", os.environ.get("PATH", os.defpath))
    lines: list[str] = []
    finished = process.run(
        (path, "-version"), stop=stop, limits=_ENOUGH, on_line=lines.append, max_stdout=1 << 20
    )  # fmt: skip
    if finished.ending is process.Ending.STOPPED:
        stop.check()
    return parse_version(path, "\n".join(lines))


def traits(paths: Iterable[Path]) -> tuple[str, ...]:
    """Of each file where it really stands, its size and time: other ones are another file."""
    told = []
    for path in sorted(set(paths)):
        try:
            status, place = path.stat(), path.resolve()
        except (OSError, RuntimeError):  # gone; a loop of symlinks
            told.append(f"{path} -")
            continue
        told.append(f"{place} {status.st_size} {status.st_mtime_ns}")
    return tuple(told)


def drivers_and_runtimes(root: Path = Path("/")) -> list[Path]:
    """The files that talk to a GPU for ffmpeg."""
    return [*_files(root, _VA_DRIVERS), *_files(root, _RUNTIMES)]


def _files(root: Path, names: Iterable[str]) -> list[Path]:
    return [path for folder in _LIBRARIES for name in names for path in root.glob(f"{folder}/{name}")]


def _in_sys(root: Path, name: str, number: int) -> Path:
    """Where the kernel tells of a device: by its name, else, for a node somebody has renamed, by its number."""
    named = root / "sys/class/drm" / name / "device"
    if os.path.isdir(named):  # noqa: PTH112  (is_dir may raise)
        return named
    return root / f"sys/dev/char/{os.major(number)}:{os.minor(number)}/device"


def _place(root: Path) -> Place:
    if any(os.path.exists(root / name) for name in (".dockerenv", "run/.containerenv", "run/systemd/container")):  # noqa: PTH110  (exists may raise)
        return Place.CONTAINER
    return Place.GUEST if " hypervisor" in _text(root / "proc/cpuinfo") else Place.MACHINE


def _text(path: Path) -> str:
    """The beginning of a file, "" where it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MOST_READ).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _target(link: Path) -> str:
    """The last name of what a symlink points to, "" where there is none."""
    try:
        return link.readlink().name
    except OSError:
        return ""


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
