"""Small real file systems: made in sparse files, mounted for a test, and unmounted whatever happens. As root only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path

_MIB = 1 << 20


class Kind(StrEnum):
    """A kind of file system."""

    EXT4 = "ext4"
    XFS = "xfs"
    BTRFS = "btrfs"
    TMPFS = "tmpfs"


# About the smallest that mkfs makes.
_SIZES = {Kind.EXT4: 16 * _MIB, Kind.XFS: 300 * _MIB, Kind.BTRFS: 110 * _MIB, Kind.TMPFS: 16 * _MIB}
_MAKING = {
    Kind.EXT4: ("mkfs.ext4", "-q", "-F", "-m", "0"),  # nothing kept for root, who is to see it full
    Kind.XFS: ("mkfs.xfs", "-q", "-f"),
    Kind.BTRFS: ("mkfs.btrfs", "-q", "-f", "--mixed"),  # a full one of these refuses mkdir and rename alike
}


def can_mount() -> bool:
    """Whether this process may mount images: as root with CAP_SYS_ADMIN (bit 21), and loop devices."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    capabilities = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    may = os.geteuid() == 0 and bool(int(capabilities, 16) >> 21 & 1)
    return may and subprocess.run(["losetup", "--find"], capture_output=True).returncode == 0


KINDS: tuple[Kind, ...] = tuple(Kind) if can_mount() else ()


@contextmanager
def mounted(kind: Kind, where: Path) -> Iterator[Path]:
    """A fresh file system of this kind, mounted on a directory that is made."""
    where.mkdir(parents=True, exist_ok=True)
    image = where.with_name(f"{where.name}.{kind}")
    if kind is Kind.TMPFS:
        options = f"size={_SIZES[kind]},nr_inodes=200"  # unlimited, a full one takes a million empty files more
        _run("mount", "-t", "tmpfs", "-o", options, "none", str(where))
    else:
        format_image(kind, image)
        mount_image(kind, image, where)
    try:
        yield where
    finally:
        _run("umount", "--lazy", str(where))
        image.unlink(missing_ok=True)


def format_image(kind: Kind, image: Path) -> None:
    """A fresh file system in a sparse file."""
    image.touch()
    os.truncate(image, _SIZES[kind])
    _run(*_MAKING[kind], str(image))


def mount_image(kind: Kind, image: Path, where: Path) -> None:
    """Mount an image on a directory that stands, by a loop device of its own."""
    _run("mount", "-t", kind, "-o", "loop", str(image), str(where))


def unmount(where: Path) -> None:
    """Unmount what nobody uses any more, with all that is to be written."""
    _run("umount", str(where))


@contextmanager
def bound(directory: Path, where: Path) -> Iterator[None]:
    """A directory mounted a second time, on another that stands."""
    _run("mount", "--bind", str(directory), str(where))
    try:
        yield
    finally:
        _run("umount", "--lazy", str(where))


@contextmanager
def flagged(path: Path, flag: str) -> Iterator[None]:
    """A file or directory with a flag of chattr(1) for as long as the test takes: "i" immutable, "a" append-only."""
    _run("chattr", f"+{flag}", str(path))
    try:
        yield
    finally:
        _run("chattr", f"-{flag}", str(path))


def fill(directory: Path) -> None:
    """Write until nothing more goes on the disk, not even an empty file: in steps that become smaller and smaller."""
    number = 0
    for size in (*(_MIB << power for power in range(8, -1, -1)), 65_536, 4_096, 1, 0):
        with suppress(OSError):  # no room for one more of this size
            while True:
                _take_room(directory / f"fill-{number}", size)
                number += 1
    os.sync()


def _take_room(path: Path, size: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        if size > _MIB:
            os.posix_fallocate(handle, 0, size)
        else:
            left = size
            while left:
                left -= os.write(handle, b"\xff" * left)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(handle)


def _run(*command: str) -> None:
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
