"""The files that make archiverd a service of systemd: where each goes, what it holds on this machine, and what is done
about one that stands there already.

Paths are absolute; where a machine is installed below a prefix, they are those it will have once it runs. What the
settings do is told in docs/guide/service.md.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import os
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from archiverd.policy.machine import FileSystem, file_system_of, is_of_the_system

UNIT = "archiverd.service"
USER = "archiverd"
STATE_DIR = PurePosixPath("/var/lib/archiverd")  # StateDirectory= of the unit
LOGS_DIR = PurePosixPath("/var/log/archiverd")  # LogsDirectory= of the unit

_UNITS = PurePosixPath("/etc/systemd/system")
_DROP_INS = _UNITS / f"{UNIT}.d"
MACHINE_FILE = _DROP_INS / "10-machine.conf"
SYSUSERS_FILE = PurePosixPath("/etc/sysusers.d/archiverd.conf")
TMPFILES_FILE = PurePosixPath("/etc/tmpfiles.d/archiverd.conf")
LIST_FILE = PurePosixPath("/etc/archiverd/service.json")
"""What was put where, by content: so that uninstalling removes that and no more."""

_NOTIFY_RELOAD_SINCE = 253  # the systemd that knows Type=notify-reload; others take the unit for one of type simple
_STOP_MARGIN_S = 30  # what stopping takes beside the end of an ffmpeg
_UNIT_STOP_S = 60  # TimeoutStopSec= of the unit
_FORMAT = 1
_HOMES = ("home", "root")
_PLAIN = frozenset(f"{string.ascii_letters}{string.digits}:_.")  # in the name of a unit

# How deep a directory must lie to be opened to writing as a whole, by the first part of its path. What has no number
# here is a directory somebody made for a purpose of his own: /camera, /data.
_DEPTHS = {"srv": 1, "home": 2, "opt": 2, "mnt": 2, "media": 2, "var": 3, "run": 3, "root": 2}
_NEVER = frozenset({"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "sbin", "sys", "tmp", "usr"})


@dataclass(frozen=True, slots=True)
class Shipped:
    """A file that is the same on each machine: its name among the shipped ones, and where it goes."""

    source: str
    target: PurePosixPath
    since: int = 0  # the first systemd that understands it


SHIPPED = (
    Shipped("archiverd.service", _UNITS / UNIT),
    Shipped("archiverd-failed@.service", _UNITS / "archiverd-failed@.service"),
    Shipped("notify-reload.conf", _DROP_INS / "10-notify-reload.conf", _NOTIFY_RELOAD_SINCE),
    Shipped("sysusers.d/archiverd.conf", SYSUSERS_FILE),
    Shipped("tmpfiles.d/archiverd.conf", TMPFILES_FILE),
)


def shipped_for(version: int) -> tuple[Shipped, ...]:
    """The shipped files for this version of systemd; 0 where it is not known."""
    return tuple(file for file in SHIPPED if version >= file.since)


def parse_version(text: str) -> int:
    """The version `systemctl --version` tells ("systemd 252 (252.39-1)"); 0 where it tells none."""
    found = re.match(r"systemd (\d{1,5})\b", text)
    return int(found[1]) if found else 0


# -- what is of this machine ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Machine:
    """What the drop-in of a machine is made of."""

    program: tuple[str, ...]  # what starts archiverd, without its verb
    config_file: PurePosixPath | None  # where it is not the default one
    trees: tuple[PurePosixPath, ...]  # source, archive, trash
    others: tuple[PurePosixPath, ...] = ()  # directories that are written beside the trees: state, log
    mounts: tuple[FileSystem, ...] = ()
    groups: tuple[str, ...] = ()  # beside that of the user
    stop_timeout_s: float = 10.0
    setgid_directories: bool = False
    encodes_in_software: bool = False  # nothing else is there, or allowed


def drop_in(machine: Machine) -> str:
    """The text of the drop-in. Raises: ValueError for a path no unit file can hold."""
    unit = [f"RequiresMountsFor={_quoted(path)}" for path in _on_disks_of_their_own(machine)]
    mounts = sorted(mount_units(machine.trees, machine.mounts))
    install = ["", "[Install]", *(f"WantedBy={name}" for name in mounts)] if mounts else []
    lines = [
        "# What is of this machine, after its configuration. `archiverd service install` writes it anew; settings of",
        "# your own go into another drop-in: `systemctl edit archiverd`.",
        "[Unit]",
        *unit,
        "",
        "[Service]",
        "ExecStart=",
        f"ExecStart={_command(machine)}",
        *(f"ReadWritePaths={_quoted(f'-{path}')}" for path in writable(machine)),
        *_special(machine),
        *install,
    ]
    return "\n".join(lines) + "\n"


def _command(machine: Machine) -> str:
    config = () if machine.config_file is None else ("--config", str(machine.config_file))
    return " ".join(_quoted(word).replace("$", "$$") for word in (*machine.program, "daemon", *config))


def _special(machine: Machine) -> list[str]:
    """The settings only some machines need."""
    lines = []
    if machine.groups:
        lines.append(f"SupplementaryGroups={' '.join(machine.groups)}")
    if machine.stop_timeout_s + _STOP_MARGIN_S > _UNIT_STOP_S:
        lines.append(f"TimeoutStopSec={math.ceil(machine.stop_timeout_s) + _STOP_MARGIN_S}")
    if any(_is_in_a_home(path) for path in (*machine.trees, *machine.others, PurePosixPath(machine.program[0]))):
        lines.append("ProtectHome=read-only")
    if machine.setgid_directories:
        lines.append("RestrictSUIDSGID=no")
    if machine.encodes_in_software:
        lines.append("MemoryDenyWriteExecute=yes")
    return lines


def _is_in_a_home(path: PurePosixPath) -> bool:
    return len(path.parts) > 1 and path.parts[1] in _HOMES


def writable(machine: Machine) -> tuple[PurePosixPath, ...]:
    """The directories that are opened to writing: as few as take in all that is written.

    Each is a mount of its own, and no rename leads from one to another: trees of one file system are opened together,
    by a directory above them, where there is one that holds nothing else of the system.
    """
    trees = _outermost(machine.trees)
    groups: dict[PurePosixPath, list[PurePosixPath]] = {}
    for path in trees:
        mount = file_system_of(machine.mounts, path)
        groups.setdefault(PurePosixPath("/") if mount is None else mount.mount_point, []).append(path)
    opened = [path for paths in groups.values() for path in _together(paths)]
    made_by_systemd = (STATE_DIR, LOGS_DIR)
    others = [path for path in machine.others if not any(path.is_relative_to(made) for made in made_by_systemd)]
    return _outermost((*opened, *others))


def _together(paths: Sequence[PurePosixPath]) -> Sequence[PurePosixPath]:
    above = PurePosixPath(os.path.commonpath(paths))
    return (above,) if _may_be_opened(above) else paths


def _may_be_opened(path: PurePosixPath) -> bool:
    first = path.parts[1] if len(path.parts) > 1 else ""
    return bool(first) and first not in _NEVER and len(path.parts) - 1 >= _DEPTHS.get(first, 1)


def _on_disks_of_their_own(machine: Machine) -> list[PurePosixPath]:
    """The directories, without those that lie in another on the same mount."""
    paths = tuple(dict.fromkeys((*machine.trees, *machine.others)))

    def has(holder: PurePosixPath, path: PurePosixPath) -> bool:
        same = file_system_of(machine.mounts, holder) == file_system_of(machine.mounts, path)
        return holder != path and path.is_relative_to(holder) and same

    return [path for path in paths if not any(has(holder, path) for holder in paths)]


def _outermost(paths: Iterable[PurePosixPath]) -> tuple[PurePosixPath, ...]:
    """Each path once, without those that lie in another."""
    unique = tuple(dict.fromkeys(paths))
    return tuple(path for path in unique if not any(path != other and path.is_relative_to(other) for other in unique))


def mount_units(trees: Iterable[PurePosixPath], mounts: Iterable[FileSystem]) -> frozenset[str]:
    """The units of the disks the trees lie on, but for that of the system."""
    points = {mount.mount_point for tree in trees if (mount := file_system_of(mounts, tree)) is not None}
    return frozenset(mount_unit(point) for point in points if len(point.parts) > 1 and not is_of_the_system(point))


def mount_unit(point: PurePosixPath) -> str:
    """The name of the unit of a mount point, as systemd-escape(1) writes it with `-p --suffix=mount`."""
    parts = [os.fsencode(part) for part in point.parts[1:]]
    name = "-".join("".join(_escaped(byte) for byte in part) for part in parts)
    return f"{name.replace('.', _escaped(0x2E, plain=False), 1) if name.startswith('.') else name or '-'}.mount"


def _escaped(byte: int, *, plain: bool = True) -> str:
    return chr(byte) if plain and chr(byte) in _PLAIN else f"\\x{byte:02x}"


def _quoted(value: PurePosixPath | str) -> str:
    """A word of a unit file. Source: systemd.syntax(7), "Quoting", and systemd.unit(5), "Specifiers"."""
    text = str(value)
    if not text.isprintable():
        raise ValueError(f"{text!r} holds what no file of systemd can")
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"' if re.search(r"[\s\"'\\;#]", text) else text


# -- files that stand already -----------------------------------------------------------------------------


class Act(StrEnum):
    """What is to be done about one file."""

    WRITE = "new"
    RENEW = "changed"  # as we wrote it, and we write another one now
    LEAVE = "as it is"
    EDITED = "edited"  # somebody else's content
    REMOVE = "to be removed"


@dataclass(frozen=True, slots=True)
class FileStep:
    """One file: what stands, and what is to. `before` and `after` are None for no file."""

    path: PurePosixPath
    act: Act
    before: str | None
    after: str | None

    @property
    def difference(self) -> list[str]:
        """The lines of `diff -u`, from what stands to what is to; none for what is to be removed."""
        if self.before is None or self.after is None:
            return []
        before, after = self.before.splitlines(), self.after.splitlines()
        return list(difflib.unified_diff(before, after, str(self.path), "installed", lineterm=""))


Hashes = Mapping[PurePosixPath, str]  # what was installed: SHA-256 of each file


def install_steps(
    wanted: Mapping[PurePosixPath, str], standing: Mapping[PurePosixPath, str], installed: Hashes
) -> list[FileStep]:
    """What is to be done so that the wanted files stand, and none that an earlier install put there beside them."""
    steps = [_to_write(path, text, standing.get(path), installed) for path, text in wanted.items()]
    return steps + removal_steps(standing, {path: sha for path, sha in installed.items() if path not in wanted})


def _to_write(path: PurePosixPath, text: str, before: str | None, installed: Hashes) -> FileStep:
    if before is None:
        return FileStep(path, Act.WRITE, None, text)
    if before == text:
        return FileStep(path, Act.LEAVE, before, text)
    return FileStep(path, Act.RENEW if installed.get(path) == sha256(before) else Act.EDITED, before, text)


def removal_steps(standing: Mapping[PurePosixPath, str], installed: Hashes) -> list[FileStep]:
    """What is to be done so that nothing that was installed stands."""
    return [
        FileStep(path, Act.REMOVE if sha256(standing[path]) == sha else Act.EDITED, standing[path], None)
        for path, sha in installed.items()
        if path in standing
    ]


def sha256(text: str) -> str:
    """Of a file's content."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def list_text(installed: Hashes) -> str:
    """The list of what was installed, as it is kept."""
    files = {str(path): sha for path, sha in sorted(installed.items())}
    return json.dumps({"format": _FORMAT, "files": files}, indent=2) + "\n"


def parse_list(text: str) -> dict[PurePosixPath, str]:
    """The list that was kept; nothing where it does not read as one."""
    try:
        files = json.loads(text)["files"]
        return {PurePosixPath(path): str(sha) for path, sha in files.items() if PurePosixPath(path).is_absolute()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


# -- what is run ------------------------------------------------------------------------------------------

Argv = tuple[str, ...]


def commands_after_install(missing: Iterable[PurePosixPath], *, start: bool) -> list[Argv]:
    """What is run when the files stand. `missing`: trees the service may not make itself."""
    return [
        ("systemd-sysusers", str(SYSUSERS_FILE)),
        ("systemd-tmpfiles", "--create", str(TMPFILES_FILE)),
        *(("install", "-d", "-m", "0750", "-o", USER, "-g", USER, str(path)) for path in missing),
        ("systemctl", "daemon-reload"),
        ("systemctl", "enable", UNIT),
        *([("systemctl", "restart", UNIT)] if start else []),
    ]


BEFORE_UNINSTALL: tuple[Argv, ...] = (("systemctl", "disable", "--now", UNIT),)
AFTER_UNINSTALL: tuple[Argv, ...] = (("systemctl", "daemon-reload"),)
