"""A look at the machine before there is a configuration: disks, uploads, devices, groups. Changes nothing.

It is bounded in time and in directory entries, follows no symlink below where it begins, and touches nothing on a file
system that another machine or program answers for: what is mounted where is read from /proc/self/mountinfo, and a
path is taken apart so that no step of it leads there unseen. A server that is away can't make it hang.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import date
from itertools import islice
from pathlib import Path, PurePosixPath

from archiverd.errors import StartupError
from archiverd.media.hardware import find_nodes
from archiverd.policy.machine import (
    Day,
    FileSystem,
    Nature,
    Survey,
    Uploads,
    is_of_the_system,
    parse_mountinfo,
)
from archiverd.policy.model import Tree
from archiverd.policy.name_patterns import CANONICAL
from archiverd.policy.naming import NotAClip, is_snapshot_name, parse_clip_name
from archiverd.storage.roots import read_marker

_TOP = PurePosixPath("/")
_DEPTH = 3  # directories below where a search begins: /srv/ftp/cameras/front
_DEPTH_OF_MOUNT = 2
_ABOVE_UPLOADS = (
    ("camera", 1),
    ("srv", _DEPTH),
    ("mnt", _DEPTH),
    ("media", _DEPTH),
    ("run/media", _DEPTH),
)  # and homes

_LONGEST_S = 5.0
_MOST_ENTRIES = 100_000
_MOST_PER_DIRECTORY = 2_000
_MOST_PER_DAY = 20_000
_SAMPLED_DAYS = 4  # of which today's is not over
_DAYS_TRIED = 40  # newest date directories looked into for them
_MOST_LINKS = 40


def survey(
    given: PurePosixPath | None = None, *, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic
) -> Survey:
    """Look at the machine; of directories for uploads only at the one given, if one is.

    `root` stands before /proc, /dev, /sys and the directories that are searched; tests move it. `clock` counts seconds.

    Raises: StartupError where the mounts can't be read.
    """
    mounts = parse_mountinfo(_mountinfo(root))
    look = _Look(mounts, clock)
    camera = PurePosixPath(root, "camera")
    uploads = look.search(_places(look, root, mounts)) if given is None else [look.at(given)]
    return Survey(
        seen_on=date.today(),
        file_systems=tuple(map(look.measured, mounts)),
        uploads=tuple(uploads),
        nodes=find_nodes(root),
        groups=_groups(),
        is_root=os.geteuid() == 0,
        cut_short=look.cut_short,
        camera=camera if look.is_directory(camera) else None,
    )


def look_at(path: PurePosixPath, seen: Survey) -> Uploads:
    """A look at one more directory, as `survey` takes it."""
    return _Look(seen.file_systems, time.monotonic).at(path)


class _Look:
    """One bounded look over directories."""

    def __init__(self, file_systems: Iterable[FileSystem], clock: Callable[[], float]) -> None:
        self._shunned = {mount.mount_point for mount in file_systems if mount.nature is not Nature.LOCAL}
        self._clock = clock
        self._deadline = clock() + _LONGEST_S
        self._entries_left = _MOST_ENTRIES
        self.cut_short = False

    def search(self, places: Iterable[tuple[PurePosixPath, int]]) -> list[Uploads]:
        """Directories with clips at or below each place, at most so many levels down, nearest first."""
        queue = deque(places)
        seen: set[PurePosixPath] = set()
        found = []
        while queue:
            path, depth = queue.popleft()
            if path in seen:
                continue
            seen.add(path)
            names = self.directories(path)
            if self._is_ours(path):
                continue
            uploads = self._uploads(path, names)
            if uploads.days:
                found.append(uploads)
            elif depth:
                queue.extend((path / name, depth - 1) for name in names if not name.startswith(".") and not _year(name))
        return found

    def at(self, path: PurePosixPath) -> Uploads:
        """What stands in one directory, clips or none."""
        resolved = self.resolved(path)
        if resolved is None:
            return Uploads(path, looked=False)
        return replace(self._uploads(resolved, self.directories(resolved)), path=path)

    def directories(self, path: PurePosixPath) -> list[str]:
        """The names of the directories in one, symlinks not counted; none where it may not be looked into."""
        return [entry.name for entry in self._entries(path, _MOST_PER_DIRECTORY) if self._is_directory(path, entry)]

    def resolved(self, path: PurePosixPath) -> PurePosixPath | None:
        """The path with its symlinks followed; None where they lead to what may hang, or nowhere."""
        here, rest, links = _TOP, deque(path.parts[1:]), 0
        while rest:
            name = rest.popleft()
            step = here.parent if name == ".." else here / name
            if step in self._shunned:
                return None
            try:
                target = PurePosixPath(os.readlink(step))  # noqa: PTH115  (no Path: what is read need not be one here)
            except OSError:  # not a symlink, or not there
                here = step
                continue
            links += 1
            if links > _MOST_LINKS:
                return None
            here = _TOP if target.is_absolute() else here
            rest.extendleft(reversed([part for part in target.parts if part != "/"]))
        return here

    def is_directory(self, path: PurePosixPath) -> bool:
        resolved = self.resolved(path)
        return resolved is not None and os.path.isdir(resolved)  # noqa: PTH112  (is_dir may raise)

    def measured(self, mount: FileSystem) -> FileSystem:
        """A file system with its size and free space, where asking can't hang."""
        point = self.resolved(mount.mount_point)
        if point is None:
            return mount
        try:
            room = os.statvfs(point)
        except OSError:  # mounted over, or closed to this user
            return mount
        return replace(mount, size=room.f_blocks * room.f_frsize, free=room.f_bavail * room.f_frsize)

    def _entries(self, path: PurePosixPath, most: int) -> list[os.DirEntry[str]]:
        if path in self._shunned:
            return []
        if self._entries_left <= 0 or self._clock() > self._deadline:
            self.cut_short = True
            return []
        try:
            with os.scandir(path) as entries:
                listed = list(islice(entries, min(most, self._entries_left)))
        except OSError:  # gone, or closed to this user: not where we would find anything
            return []
        self._entries_left -= len(listed)
        return listed

    def _is_directory(self, path: PurePosixPath, entry: os.DirEntry[str]) -> bool:
        # The mount point is known by its name: asking for its status could already hang.
        if path / entry.name in self._shunned:
            return False
        try:
            return entry.is_dir(follow_symlinks=False)
        except OSError:
            return False

    def _is_ours(self, path: PurePosixPath) -> bool:
        """Whether a directory is marked as an archive or a trash."""
        try:
            marker = read_marker(Path(path))
        except StartupError:  # a file of that name that is no marker of ours, or that we may not read
            return False
        return marker is not None and marker.tree not in ("", Tree.SOURCE)

    # -- one directory of uploads -------------------------------------------------------------------------

    def _uploads(self, path: PurePosixPath, names: Iterable[str]) -> Uploads:
        years = sorted(name for name in names if _year(name))
        newest = islice(self._days(path, years), _DAYS_TRIED)
        days: list[Day] = []
        cameras: set[str] = set()
        unknown = 0
        for day in newest:
            found, strange = self._read_day(path / day, cameras)
            unknown += strange
            if found.clips:
                days.append(found)
            if len(days) == _SAMPLED_DAYS:
                break
        writable = os.access(path, os.W_OK | os.X_OK)
        return Uploads(path, True, tuple(days), tuple(sorted(cameras)), self._first(path, years), unknown, writable)

    def _days(self, path: PurePosixPath, years: list[str]) -> Iterable[PurePosixPath]:
        """The date directories, newest first; each level is listed when its turn comes."""
        for year in reversed(years):
            for month in sorted(self.directories(path / year), reverse=True):
                if _is_date((year, month, "01")):
                    days = sorted(self.directories(path / year / month), reverse=True)
                    yield from (PurePosixPath(year, month, day) for day in days if _is_date((year, month, day)))

    def _first(self, path: PurePosixPath, years: list[str]) -> date | None:
        """The first date there is a directory of."""
        for year in years:
            for month in sorted(self.directories(path / year)):
                days = self.directories(path / year / month) if _is_date((year, month, "01")) else []
                days = sorted(day for day in days if _is_date((year, month, day)))
                if days:
                    return date(int(year), int(month), int(days[0]))
        return None

    def _read_day(self, path: PurePosixPath, cameras: set[str]) -> tuple[Day, int]:
        """The clips of a day, and how many .mp4 there are besides; the cameras' names are added."""
        entries = self._entries(path, _MOST_PER_DAY)
        clips = size = unknown = 0
        for entry in entries:
            name = parse_clip_name(entry.name)
            if isinstance(name, NotAClip):
                unknown += entry.name.lower().endswith(".mp4")
                continue
            with suppress(OSError):  # gone since it was listed
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and not is_snapshot_name(entry.name):
                    clips, size = clips + 1, size + status.st_size
                    cameras.add(name.camera)
        when = date(*map(int, path.parts[-3:]))
        return Day(when, clips, size, whole=len(entries) < _MOST_PER_DAY and not self.cut_short), unknown


def _places(look: _Look, root: Path, mounts: Iterable[FileSystem]) -> list[tuple[PurePosixPath, int]]:
    """Where uploads are looked for, and how deep below."""
    top = PurePosixPath(root)
    places = [(top / name, depth) for name, depth in _ABOVE_UPLOADS]
    home = look.resolved(top / "home")
    places += [(home / name, _DEPTH) for name in look.directories(home)] if home is not None else []
    places += [
        (mount.mount_point, _DEPTH_OF_MOUNT)
        for mount in mounts
        if mount.nature is Nature.LOCAL and mount.mount_point != _TOP and not is_of_the_system(mount.mount_point)
    ]
    return [(resolved, depth) for path, depth in places if (resolved := look.resolved(path)) is not None]


def _year(name: str) -> bool:
    return _is_date((name, "01", "01"))


def _is_date(parts: tuple[str, str, str]) -> bool:
    return CANONICAL.folder(parts) is not None


# -- everything else --------------------------------------------------------------------------------------


def _mountinfo(root: Path) -> str:
    try:
        return (root / "proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise StartupError(
            f"/proc/self/mountinfo can't be read: {error.strerror}",
            advice="Without it archiverd can't tell which file systems may be touched",
        ) from error


def _groups() -> tuple[str, ...]:
    """The groups of the invoking user: under sudo, of the one who called it."""
    ids = {os.getegid(), *os.getgroups()}
    caller = os.environ.get("SUDO_USER", "")
    if os.geteuid() == 0 and caller:
        with suppress(KeyError):
            ids = set(os.getgrouplist(caller, pwd.getpwnam(caller).pw_gid))
    names = []
    for number in sorted(ids):
        with suppress(KeyError):  # a number without a name
            names.append(grp.getgrgid(number).gr_name)
    return tuple(names)
