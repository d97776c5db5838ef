"""A machine as it was looked at before there is a configuration, and what can be reckoned from that.

Paths here are absolute. The looking itself is `archiverd/survey.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import PurePosixPath


class Nature(StrEnum):
    """What a file system lies on."""

    LOCAL = "local"  # a disk of this machine
    REMOTE = "remote"  # another machine, or a program: it may answer never
    NONE = "none"  # nothing that keeps files: /proc, cgroups, a mount that is still to come


_LOCAL = frozenset(
    {
        "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuse.exfat", "fuse.mergerfs", "fuse.ntfs-3g",
        "fuseblk", "jfs", "msdos", "nilfs2", "ntfs", "ntfs3", "overlay", "reiserfs", "tmpfs", "vfat", "xfs", "zfs",
    }
)  # fmt: skip
_REMOTE = frozenset(
    {
        "9p", "afs", "ceph", "cifs", "davfs", "gfs2", "glusterfs", "lustre", "nfs", "nfs4", "ocfs2", "smb3", "smbfs",
        "vboxsf", "virtiofs",
    }
)  # fmt: skip
_FAT = frozenset({"vfat", "msdos"})
_WITHOUT_OWNERS = frozenset({"exfat", "fuse.exfat", "fuse.ntfs-3g", "fuseblk", "ntfs", "ntfs3"}) | _FAT
_OF_THE_SYSTEM = frozenset({"boot", "dev", "etc", "proc", "run", "snap", "sys", "usr"})

_OCTAL = re.compile(r"\\([0-7]{3})")
INTEL = "0x8086"
AMD = "0x1002"
NVIDIA = "0x10de"
_VENDORS = {INTEL: "Intel", AMD: "AMD", NVIDIA: "NVIDIA"}

# The generation of Intel's GPUs by the first two digits of the PCI device id: include/drm/intel/pciids.h of Linux.
# Where two generations share them (Apollo Lake has some of Haswell's), the one that most machines have.
_GENERATIONS = {
    **dict.fromkeys(("01", "04", "0a", "0c", "0d", "0f"), 7),  # Sandy Bridge to Haswell
    **dict.fromkeys(("16", "22"), 8),  # Broadwell, Braswell
    **dict.fromkeys(("19", "1a", "31", "3e", "59", "5a", "87", "9b"), 9),  # Skylake to Comet Lake, Apollo, Gemini Lake
    **dict.fromkeys(("45", "4e", "8a"), 11),  # Ice, Elkhart, Jasper Lake
    **dict.fromkeys(
        ("46", "49", "4c", "56", "64", "7d", "9a", "a7", "b0", "b6", "e2"), 12
    ),  # Tiger Lake and later, Arc
}


@dataclass(frozen=True, slots=True)
class FileSystem:
    """One mount. `device` is the same for every mount of one file system; sizes are None where nobody looked."""

    mount_point: PurePosixPath
    kind: str  # as the kernel names it: ext4, nfs4
    device: str  # major:minor
    read_only: bool = False
    size: int | None = None  # bytes
    free: int | None = None  # bytes this user may still write

    @property
    def nature(self) -> Nature:
        if self.kind in _LOCAL:
            return Nature.LOCAL
        # A file system that is a program answers when that program does: but for the few named, like a remote one.
        return Nature.REMOTE if self.kind in _REMOTE or self.kind.startswith("fuse") else Nature.NONE

    @property
    def knows_owners(self) -> bool:
        """Whether its files have owners and modes."""
        return self.kind not in _WITHOUT_OWNERS

    @property
    def limits(self) -> tuple[str, ...]:
        """What speaks against keeping footage here, in words that follow on "it "."""
        found = []
        if self.read_only:
            found.append("is mounted read-only")
        if self.kind in _FAT:
            found.append("takes no file of 4 GiB or more")
        if not self.knows_owners:
            found.append("may know no owners and modes, which archives are given")
        if self.kind == "tmpfs":
            found.append("lies in memory: what it holds is gone after a restart")
        if self.nature is Nature.REMOTE:
            found.append("lies behind another machine or program: while that is away archiverd hangs or stops")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Day:
    """The clips of one date directory. `whole` is false where not all of it was looked at."""

    date: date
    clips: int
    size: int  # bytes
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Uploads:
    """A directory cameras upload into, or might. `days` are the newest ones with clips, newest first."""

    path: PurePosixPath
    looked: bool = True  # false where looking could have hung
    days: tuple[Day, ...] = ()
    cameras: tuple[str, ...] = ()
    first: date | None = None  # of the date directories there are
    unknown_names: int = 0  # .mp4 files in those days whose names archiverd does not know
    writable: bool = True


class Access(StrEnum):
    """Whether this user may work with a device."""

    OPEN = "open"
    CLOSED = "closed"  # there, and not to be read and written by this user
    MISSING = "missing"  # nothing of that name, or a symlink that leads nowhere
    NO_DEVICE = "no device"  # a file, a directory


_ACCESS_WORDS = {
    Access.OPEN: "open to this user",
    Access.CLOSED: "closed to this user",
    Access.MISSING: "not there",
    Access.NO_DEVICE: "no device",
}


@dataclass(frozen=True, slots=True)
class RenderNode:
    """A device that may encode. What the kernel does not tell here (a container without /sys) is empty."""

    path: PurePosixPath
    vendor: str = ""  # as the kernel writes it: 0x8086
    access: Access = Access.OPEN
    device_id: str = ""  # of PCI, as the kernel writes it: 0x46d1
    driver: str = ""  # the kernel's: i915, xe, amdgpu
    group: str = ""  # that owns the node
    mode: int = 0  # permission bits

    @property
    def is_intel(self) -> bool:
        return self.vendor == INTEL

    @property
    def generation(self) -> int | None:
        """The generation of an Intel GPU's media engine; None where it is not known, or of another maker."""
        return _GENERATIONS.get(self.device_id.lower().removeprefix("0x")[:2]) if self.is_intel else None

    @property
    def words(self) -> str:
        maker = _VENDORS.get(self.vendor, f"vendor {self.vendor or 'unknown'}")
        driver = f", {self.driver}" if self.driver else ""
        return f"{self.path} ({maker}{driver}, {_ACCESS_WORDS[self.access]})"


@dataclass(frozen=True, slots=True)
class Survey:
    """All that was seen."""

    seen_on: date
    file_systems: tuple[FileSystem, ...] = ()  # of each mount point the uppermost
    uploads: tuple[Uploads, ...] = ()
    nodes: tuple[RenderNode, ...] = ()
    groups: tuple[str, ...] = ()  # that the invoking user is in
    is_root: bool = False
    cut_short: bool = False  # there was more to look at than a look may take
    camera: PurePosixPath | None = None  # where cameras upload by default, where that is a directory


def parse_mountinfo(text: str) -> tuple[FileSystem, ...]:
    """The mounts of /proc/self/mountinfo; of those on one mount point the uppermost, which is told last.

    A line that does not read as one is passed over. Source: proc(5).
    """
    mounts: dict[PurePosixPath, FileSystem] = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")[0]
        if len(fields) < 6 or not kind:
            continue
        point = PurePosixPath(_OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4]))
        mounts[point] = FileSystem(point, kind, fields[2], read_only="ro" in fields[5].split(","))
    return tuple(mounts.values())


def file_system_of(file_systems: Iterable[FileSystem], path: PurePosixPath) -> FileSystem | None:
    """The file system a path lies on; None where none of these holds it."""
    holders = [mount for mount in file_systems if path.is_relative_to(mount.mount_point)]
    return max(holders, key=lambda mount: len(mount.mount_point.parts), default=None)


def is_of_the_system(path: PurePosixPath) -> bool:
    """Whether a mount point is part of the system: nobody keeps footage there, and nobody is offered to."""
    return len(path.parts) > 1 and path.parts[1] in _OF_THE_SYSTEM and path.parts[:3] != ("/", "run", "media")


def places_for_files(file_systems: Iterable[FileSystem]) -> list[FileSystem]:
    """The file systems somebody may keep footage on, each once, by the shortest of its mount points."""
    shown: dict[str, FileSystem] = {}
    for mount in sorted(file_systems, key=lambda mount: len(mount.mount_point.parts)):
        if mount.nature is not Nature.NONE and mount.kind != "tmpfs" and not is_of_the_system(mount.mount_point):
            shown.setdefault(mount.device, mount)
    return list(shown.values())


def bytes_per_day(days: Sequence[Day], seen_on: date) -> int | None:
    """What the cameras upload in a day: the mean of the days that are over and were looked at whole; None without."""
    over = [day.size for day in days if day.whole and day.date < seen_on]
    return -(-sum(over) // len(over)) if over else None


@dataclass(frozen=True, slots=True)
class Forecast:
    """For how many days at least a file system takes what comes."""

    file_system: FileSystem
    days: int


def forecasts(
    file_systems: Sequence[FileSystem], day_bytes: int, output: PurePosixPath, trash_root: PurePosixPath | None
) -> list[Forecast]:
    """How long the free space lasts on each file system something stays on. `trash_root` None: originals are deleted.

    An archive is reckoned as large as its clip, which is the most it can be: it lasts at least as long as said.
    """
    loads: dict[str, tuple[FileSystem, int]] = {}
    for path in (output, trash_root):
        mount = None if path is None else file_system_of(file_systems, path)
        if mount is not None:
            loads[mount.device] = (mount, loads.get(mount.device, (mount, 0))[1] + day_bytes)
    return [Forecast(mount, mount.free // load) for mount, load in loads.values() if mount.free is not None and load]
