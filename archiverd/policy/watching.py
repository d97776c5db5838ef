"""How new files are noticed: by the kernel's word or by looking, and what speaks against trusting that word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from archiverd.policy.machine import FileSystem, Nature, file_system_of

_ENOUGH_WATCHES = 524288  # about 1 KiB of kernel memory each, taken only where a directory is watched
_ENOUGH_INSTANCES = 1024
_KEEP_SETTING = "/etc/sysctl.d/60-archiverd.conf"


class Observer(StrEnum):
    """Who notices new files: `observer` in the configuration."""

    AUTO = "auto"  # the kernel tells, where the file system does
    POLL = "poll"  # scans alone, and more of them


class Observing(StrEnum):
    """How new files are noticed."""

    INOTIFY = "inotify"
    POLL = "poll"


@dataclass(frozen=True, slots=True)
class Way:
    """How new files are noticed in this tree, and why."""

    observing: Observing
    reason: str


class DoubtKind(StrEnum):
    """Why the kernel's word can't be trusted now. One told of stays the same doubt while it lasts."""

    GONE = "gone"  # the root is not there
    UNREADABLE = "unreadable"  # the root is there, and may not be read
    REPLACED = "replaced"  # another directory stands in its place
    DEAF = "deaf"  # the root is not watched any more
    ENDED = "ended"  # a thread of the watcher died
    OVERFLOW = "overflow"  # more happened than the kernel keeps for later
    WATCH_LIMIT = "watch limit"  # some directories are not watched
    NOT_STARTED = "not started"  # nothing is watched at all


@dataclass(frozen=True, slots=True)
class Doubt:
    """One reason to look for oneself."""

    kind: DoubtKind
    message: str  # what is wrong, and where
    remedy: str  # what to do; empty where archiverd mends it by itself

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


def choose_way(
    setting: Observer, file_systems: Sequence[FileSystem], root: PurePosixPath, exclude: Iterable[PurePosixPath] = ()
) -> Way:
    """Decide how new files below `root` are noticed. Of what lies below `exclude` nothing is to be noticed.

    Inotify tells what is done through this machine's own kernel. What another machine writes on a network file
    system, or a program puts into its own, it does not. Source: inotify(7).
    """
    if setting is Observer.POLL:
        return Way(Observing.POLL, "so it is configured")
    held = file_system_of(file_systems, root)
    left_out = tuple(exclude)
    within = (
        mount
        for mount in file_systems
        if mount.mount_point.is_relative_to(root) and not any(map(mount.mount_point.is_relative_to, left_out))
    )
    for mount in (*([] if held is None else [held]), *within):
        if mount.nature is Nature.REMOTE:
            return Way(
                Observing.POLL, f"{mount.mount_point} is {mount.kind}, which does not tell what others write there"
            )
    return Way(Observing.INOTIFY, "the kernel tells")


def watch_limit(missed: int, example: str, limit: int | None) -> Doubt:
    """The doubt that `missed` directories, one of them `example`, are not watched; `limit` is the kernel's of now."""
    enough = max(_ENOUGH_WATCHES, 2 * (limit or 0))
    of_now = "" if limit is None else f" ({limit})"
    return Doubt(
        DoubtKind.WATCH_LIMIT,
        f"{missed} {'directory is' if missed == 1 else 'directories are'} not watched, {example} for one:"
        f" fs.inotify.max_user_watches{of_now} is reached. What comes there is found by scans alone, later",
        _sysctl("max_user_watches", enough),
    )


def nothing_watched(root: str, limited: str, limit: int | None) -> Doubt:
    """The doubt that `root` is not watched at all, for a limit of the kernel, `limit` of now, is reached.

    `limited` is the name of the setting: max_user_watches or max_user_instances.
    """
    enough = max(_ENOUGH_WATCHES if limited == "max_user_watches" else _ENOUGH_INSTANCES, 2 * (limit or 0))
    of_now = "" if limit is None else f" ({limit})"
    return Doubt(
        DoubtKind.NOT_STARTED,
        f"{root}: nothing is watched, for fs.inotify.{limited}{of_now} is reached. What comes is found by scans alone,"
        " later",
        _sysctl(limited, enough),
    )


def _sysctl(name: str, value: int) -> str:
    setting = f"fs.inotify.{name}={value}"
    return f"Run: sysctl {setting} (and write that line into {_KEEP_SETTING}, to keep it)"


_WELL_S = 600.0
_SHORTEST_S, _LONGEST_S = 5.0, 300.0
_LIMITED_S, _LONGEST_LIMITED_S = 300.0, 3600.0


def pause_s(tries: int, *, limited: bool) -> float:
    """How long to wait before watching is begun anew for the `tries`-th time in a row (from 1), in seconds.

    What was an accident is mended at once. One that comes back is given time, and a limit is given to its owner.
    """
    if limited:
        return float(min(_LONGEST_LIMITED_S, _LIMITED_S * 2 ** min(tries - 1, 10)))
    return 0.0 if tries <= 1 else float(min(_LONGEST_S, _SHORTEST_S * 2 ** min(tries - 2, 10)))


def is_well(well_since: float, now: float) -> bool:
    """Whether watching has gone well for so long that the next doubt is an accident again. Seconds since the epoch."""
    return now - well_since >= _WELL_S
