"""Puts archiverd's service in place, takes it away, and sees what keeps the service's user from its work.

What the files hold and what is done about them is `policy/units.py`. Nothing here asks anybody: the verbs do
(`service_verbs.py`).
"""

from __future__ import annotations

import grp
import math
import os
import pwd
import shlex
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from archiverd.config import DEFAULT, Config, Hardware, Loaded
from archiverd.errors import StartupError, UsageError
from archiverd.media import process
from archiverd.media.hardware import find_nodes, look_at_node
from archiverd.policy import units
from archiverd.policy.machine import FileSystem, file_system_of, parse_mountinfo
from archiverd.policy.naming import MARKER_NAME, printable
from archiverd.policy.permissions import (
    AclEntry,
    Finding,
    Kind,
    Obstacle,
    Tag,
    finding,
    is_masked,
    lets_in,
    of_tomorrow,
    parse_acl,
)
from archiverd.policy.stop import StopToken
from archiverd.policy.units import USER, Act, Argv, FileStep, Machine
from archiverd.storage.catalog_schema import FILE_NAME as CATALOG_NAME
from archiverd.storage.file_manager import remove_empty, remove_file, replace_file
from archiverd.storage.roots import read_marker

ROOT = Path("/")

_MODE = 0o644
_SYSTEMD_RUNS = Path("/run/systemd/system")  # sd_booted(3)
_COMMAND = process.Limits(stall_s=math.inf, wall_s=600)
_LOOK = process.Limits(stall_s=math.inf, wall_s=120)
_MOST_PATHS = 20  # of one kind of obstacle
_FULL_ACCESS = ("-readable", "-writable", "-executable")

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is to be done, in order: the first commands, the files, the last commands."""

    steps: tuple[FileStep, ...]
    before: tuple[Argv, ...] = ()
    after: tuple[Argv, ...] = ()

    @property
    def edited(self) -> tuple[FileStep, ...]:
        """The files that hold what somebody else wrote."""
        return tuple(step for step in self.steps if step.act is Act.EDITED)


def see_possible(prefix: Path | None) -> None:
    """See that the service can be put here, or taken away. Raises: StartupError where it can't."""
    if prefix is not None:
        return
    if not _SYSTEMD_RUNS.is_dir():
        raise StartupError(
            "systemd does not run this machine",
            advice="Start archiverd otherwise, or install the files for another machine with --prefix DIR",
        )
    if os.geteuid() != 0:
        raise StartupError(
            "only root may install or remove a service",
            advice="Do it with sudo, or look at what would be done with --dry-run",
        )


def this_program(argv0: str) -> tuple[str, ...]:
    """What starts the archiverd that runs here, from anywhere: its script, or its Python with `-m`."""
    script = Path(argv0).absolute()
    if script.name == "__main__.py" or not os.access(script, os.X_OK):
        return (sys.executable, "-m", "archiverd")
    return (str(script),)


def see_input(config: Config) -> None:
    """See that the input is there. Raises: StartupError where it is not."""
    if not config.directory.is_dir():
        raise StartupError(
            f"{config.directory}: the input directory is not there",
            advice="Is it mounted? Without a configuration yet, begin with: archiverd config init",
        )


# -- the plans --------------------------------------------------------------------------------------------


def machine(loaded: Loaded, config_file: Path | None, program: tuple[str, ...], prefix: Path | None) -> Machine:
    """What the drop-in is made of. Of this machine itself nothing is looked at for another one's `prefix`.

    `config_file`: the one that is to be named to the service.
    """
    config = loaded.config
    here = prefix is None
    log = () if loaded.sources["log_file"] == DEFAULT else (PurePosixPath(config.log_file.parent),)
    return Machine(
        program=program,
        config_file=None if config_file is None else PurePosixPath(config_file),
        trees=(PurePosixPath(config.directory), PurePosixPath(config.output), PurePosixPath(config.trash_root)),
        others=(PurePosixPath(config.state_dir), *log),
        mounts=_mounts() if here else (),
        groups=_groups(config, here=here),
        stop_timeout_s=config.stop_timeout,
        setgid_directories=bool(config.dir_mode & stat.S_ISGID),
        encodes_in_software=config.hardware is Hardware.SOFTWARE or (here and not _devices(config)),
    )


def plan_install(machine: Machine, prefix: Path | None, stop: StopToken, *, start: bool) -> Plan:
    """What installing does. Raises: StartupError."""
    version = units.parse_version(_output(("systemctl", "--version"), stop)) if prefix is None else 0
    wanted = {file.target: _shipped_text(file.source) for file in units.shipped_for(version)}
    try:
        wanted[units.MACHINE_FILE] = units.drop_in(machine)
    except ValueError as error:
        raise StartupError(str(error), advice="Give the directory another name") from error
    installed = _installed(prefix)
    standing = _standing((*wanted, *installed), prefix)
    steps = units.install_steps(wanted, standing, installed)
    after = () if prefix is not None else units.commands_after_install(_missing_trees(machine), start=start)
    return Plan(tuple(steps), after=tuple(after))


def plan_uninstall(prefix: Path | None) -> Plan:
    """What uninstalling does; without a step where nothing is installed."""
    installed = _installed(prefix)
    steps = tuple(units.removal_steps(_standing(installed, prefix), installed))
    if prefix is not None or not steps:
        return Plan(steps)
    unit = any(step.path.name == units.UNIT for step in steps)
    return Plan(steps, units.BEFORE_UNINSTALL if unit else (), units.AFTER_UNINSTALL)


def _mounts() -> tuple[FileSystem, ...]:
    return parse_mountinfo(Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape"))


def _devices(config: Config) -> list[str]:
    """The groups of the devices that may encode; "" for one whose group has no name."""
    nodes = find_nodes() if config.device is None else (look_at_node(config.device),)
    return [node.group for node in nodes if node.mode]


def _groups(config: Config, *, here: bool) -> tuple[str, ...]:
    """The groups whose rights the service needs: of archives, of devices, of uploads its members may change."""
    names = [config.group or ""]
    if here:
        names += [] if config.hardware is Hardware.SOFTWARE else _devices(config)
        names.append(_group_of_uploads(config.directory))
    return tuple(dict.fromkeys(name for name in names if name not in ("", "root", USER)))


def _group_of_uploads(directory: Path) -> str:
    """The group whose members may do all in the directory of uploads; "" for none."""
    with suppress(OSError, KeyError):
        status = directory.stat()
        if status.st_gid != 0 and _group_bits(PurePosixPath(directory), status) == stat.S_IRWXO:
            return grp.getgrgid(status.st_gid).gr_name
    return ""


def _group_bits(path: PurePosixPath, status: os.stat_result) -> int:
    """What its group may do with a file; of one that has an access control list the mode tells the mask instead."""
    mode = (status.st_mode & stat.S_IRWXG) >> 3
    entries = _acl(path, "access")
    return mode & next((entry.permissions for entry in entries if entry.tag == Tag.GROUP_OBJ), mode)


def _missing_trees(machine: Machine) -> list[PurePosixPath]:
    """Trees outside the input that are not there and that the service could not make: what is above is closed to it."""
    source = machine.trees[0]
    marker = read_marker(Path(source))
    if marker is not None and marker.catalog:
        return []  # of an input in use the others are there, or their disk is not
    return [
        path
        for path in dict.fromkeys((*machine.trees[1:], *machine.others))
        if not path.is_relative_to(source) and not os.path.lexists(path) and os.path.isdir(path.parent)  # noqa: PTH112  (may raise)
    ]


# -- the files --------------------------------------------------------------------------------------------


def _shipped_text(name: str) -> str:
    """A file that comes with archiverd: beside its modules, or beside the package in a checkout."""
    package = Path(__file__).parent
    folder = package / "systemd" if (package / "systemd").is_dir() else package.parent / "systemd"
    try:
        return (folder / name).read_text("utf-8")
    except OSError as error:
        raise StartupError(
            f"{folder / name}: a file of archiverd is missing: {error.strerror}", advice="Install archiverd anew"
        ) from error


def place(path: PurePosixPath, prefix: Path | None) -> Path:
    """Where a file of the machine below `prefix` stands here."""
    return (prefix or ROOT) / path.relative_to("/")


def _installed(prefix: Path | None) -> units.Hashes:
    text = _text(place(units.LIST_FILE, prefix))
    return {} if text is None else units.parse_list(text)


def _standing(paths: Iterable[PurePosixPath], prefix: Path | None) -> dict[PurePosixPath, str]:
    texts = {path: _text(place(path, prefix)) for path in paths}
    return {path: text for path, text in texts.items() if text is not None}


def _text(path: Path) -> str | None:
    """What stands there; None for nothing. A symlink is told as one: systemd masks a unit by such."""
    if path.is_symlink():
        return f"a symlink to {path.readlink()}\n"
    try:
        return path.read_text("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StartupError(f"{path}: can't be read: {error.strerror}") from error


def carry_out(plan: Plan, overwrite: Iterable[FileStep], prefix: Path | None, tell: Tell, stop: StopToken) -> None:
    """Do it, and tell each thing done. Of edited files only those of `overwrite` are touched.

    Raises: StartupError where a file can't be written or a command fails; what was done until then stands, and is done
    no second time by another call.
    """
    overwrite = set(overwrite)
    installed = dict(_installed(prefix))
    for argv in plan.before:
        _run(argv, tell, stop)
    for step in plan.steps:
        if step.act is Act.EDITED and step not in overwrite:
            installed = {path: sha for path, sha in installed.items() if path != step.path or step.after is not None}
            tell(f"left as it was edited: {printable(place(step.path, prefix))}")
            continue
        _carry_out_step(step, installed, prefix, tell)
    _keep_list(installed, prefix)
    for argv in plan.after:
        _run(argv, tell, stop)


def _carry_out_step(step: FileStep, installed: dict[PurePosixPath, str], prefix: Path | None, tell: Tell) -> None:
    path = place(step.path, prefix)
    try:
        if step.after is None:
            remove_file(path)
            if path.parent.name == f"{units.UNIT}.d":
                remove_empty(path.parent)
            installed.pop(step.path, None)
            tell(f"removed {printable(path)}")
            return
        installed[step.path] = units.sha256(step.after)
        if step.act is not Act.LEAVE:
            replace_file(path, step.after.encode("utf-8"), _MODE)
            tell(f"wrote {printable(path)}")
    except OSError as error:
        raise StartupError(f"{path}: can't be written: {error.strerror}") from error


def _keep_list(installed: units.Hashes, prefix: Path | None) -> None:
    path = place(units.LIST_FILE, prefix)
    try:
        if installed:
            replace_file(path, units.list_text(installed).encode("utf-8"), _MODE)
        elif path.exists():
            remove_file(path)
    except OSError as error:
        raise StartupError(f"{path}: can't be written: {error.strerror}") from error


# -- the commands -----------------------------------------------------------------------------------------


def _run(argv: Argv, tell: Tell, stop: StopToken) -> None:
    tell(f"$ {shlex.join(argv)}")
    finished = process.run(argv, stop=stop, limits=_COMMAND)
    stop.check()
    if not finished.ok:
        raise StartupError(
            f"{shlex.join(argv)}: {finished.describe()}",
            advice="When that is mended, call it again: it goes on from there",
        )


def _output(argv: Argv, stop: StopToken) -> str:
    lines: list[str] = []
    process.run(argv, stop=stop, limits=_LOOK, on_line=lines.append)
    stop.check()
    return "\n".join(lines)


# -- what the service's user may ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _As:
    """A user, with the groups the service gives it."""

    name: str
    uid: int
    gid: int
    gids: frozenset[int]

    def argv(self, *argv: str) -> Argv:
        """A command as this user, without any of root's rights. Source: setpriv(1)."""
        groups = ",".join(str(gid) for gid in sorted(self.gids))
        user = ("--reuid", str(self.uid), "--regid", str(self.gid), "--groups", groups)
        return ("setpriv", *user, "--inh-caps=-all", "--", *argv)


def findings(loaded: Loaded, machine: Machine, stop: StopToken) -> list[Finding] | None:
    """What keeps the service's user from its work, tried as that user. Changes nothing.

    None where there is no such user yet. Raises: UsageError where this process may not act for another user.
    """
    if os.geteuid() != 0:
        raise UsageError("only root may try what another user may do")
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        return None
    gids = {*os.getgrouplist(USER, entry.pw_gid), *(grp.getgrnam(name).gr_gid for name in machine.groups)}
    user = _As(USER, entry.pw_uid, entry.pw_gid, frozenset(gids))
    found = [finding(obstacle, USER, knows_owners=_knows_owners(obstacle, machine)) for obstacle in _obstacles(
        loaded, machine, user, stop
    )]  # fmt: skip
    tomorrow = None if found else _tomorrow(machine, user)
    return found if tomorrow is None else [tomorrow]


def _knows_owners(obstacle: Obstacle, machine: Machine) -> bool:
    mount = file_system_of(machine.mounts, obstacle.root)
    return mount is None or mount.knows_owners


def _obstacles(loaded: Loaded, machine: Machine, user: _As, stop: StopToken) -> list[Obstacle]:
    source, *own = dict.fromkeys((*machine.trees, *machine.others))
    program = PurePosixPath(machine.program[0])
    files = () if loaded.file is None else (PurePosixPath(loaded.file),)
    unreachable = _unreachable((source, *own, *files), user, stop)
    if unreachable:
        return [Obstacle(Kind.UNREACHABLE, unreachable[-1], (path,)) for path in unreachable]
    found = [*_uploads(source, own, user, stop), *_own(own, user, stop)]
    if loaded.file is not None and _find(user, (loaded.file,), ("-maxdepth", "0", "!", "-readable"), stop):
        found.append(Obstacle(Kind.UNREADABLE, PurePosixPath(loaded.file)))
    tried = process.run(user.argv(*machine.program, "--version"), stop=stop, limits=_LOOK)
    stop.check()
    if not tried.ok:
        found.append(Obstacle(Kind.PROGRAM, program, said=tried.describe()))
    return found


def _unreachable(paths: Iterable[PurePosixPath], user: _As, stop: StopToken) -> list[PurePosixPath]:
    """The directories above that the user may not go through, the uppermost of each path."""
    above = sorted({parent for path in paths for parent in path.parents if os.path.isdir(parent)})  # noqa: PTH112  (may raise)
    return [PurePosixPath(path) for path in _find(user, above, ("-maxdepth", "0", "!", "-executable"), stop)]


def _uploads(source: PurePosixPath, own: Sequence[PurePosixPath], user: _As, stop: StopToken) -> list[Obstacle]:
    """What of the source tree is shut to the user, and sticky directories, which root has to look for."""
    others = _without(own)
    no_directory = ("-type", "d", "!", *_all_of(_FULL_ACCESS))
    no_file = ("-type", "f", "!", "-readable")
    no_marker = ("-name", MARKER_NAME, "!", "-writable")
    shut = (*others, "(", *no_directory, "-o", *no_file, "-o", *no_marker, ")")
    sticky = (*others, "-type", "d", "-perm", "-1000", "!", "-user", user.name)
    found = []
    for kind, who, test in ((Kind.SHUT, user, shut), (Kind.STICKY, None, sticky)):
        paths = tuple(map(PurePosixPath, _find(who, (source,), test, stop)))
        if paths:
            masked = kind is Kind.SHUT and any(is_masked(_acl(path, "access"), user.uid, user.gids) for path in paths)
            found.append(Obstacle(kind, source, paths, masked=masked))
    return found


def _own(trees: Iterable[PurePosixPath], user: _As, stop: StopToken) -> list[Obstacle]:
    """What archiverd wrote as another user, and the service has to write."""
    shut = ("-type", "d", "!", *_all_of(_FULL_ACCESS))
    written = ("(", "-name", MARKER_NAME, "-o", "-name", f"{CATALOG_NAME}*", ")", "!", "-writable")
    found = []
    for tree in trees:
        if not os.path.isdir(tree):  # noqa: PTH112  (may raise)
            continue
        paths = _find(user, (tree,), ("(", *shut, "-o", *written, ")"), stop)
        if paths:
            found.append(Obstacle(Kind.OWN, tree, tuple(map(PurePosixPath, paths))))
    return found


def _without(trees: Iterable[PurePosixPath]) -> tuple[str, ...]:
    """The words of find(1) that leave these trees alone."""
    escaped = [_glob_escaped(str(tree)) for tree in trees]
    return tuple(word for path in escaped for word in ("!", "(", "-path", path, "-prune", ")"))


def _glob_escaped(text: str) -> str:
    return "".join(f"\\{char}" if char in "*?[\\" else char for char in text)


def _all_of(tests: Iterable[str]) -> tuple[str, ...]:
    return ("(", *tests, ")")


def _find(user: _As | None, starts: Iterable[os.PathLike[str]], tests: Sequence[str], stop: StopToken) -> list[str]:
    """The first paths find(1) finds, as this user or as ourselves: its tests ask the kernel (access(2)).

    Raises: StartupError where it takes too long: nobody knows then what it would have found.
    """
    paths: list[str] = []

    def take(line: str) -> bool:
        paths.append(line)
        return len(paths) < _MOST_PATHS

    argv = ("find", *map(os.fspath, starts), "-xdev", *tests, "-print")
    finished = process.run(argv if user is None else user.argv(*argv), stop=stop, limits=_LOOK, on_line=take)
    stop.check()
    if finished.ending is process.Ending.TIMED_OUT:
        raise StartupError(f"looking through {argv[1]} took too long", advice="Is its disk well?")
    return paths


def _tomorrow(machine: Machine, user: _As) -> Finding | None:
    """Whether what the FTP server makes next will be open too, as far as that shows."""
    source = machine.trees[0]
    access, default = _acl(source, "access"), _acl(source, "default")
    status = Path(source).stat()
    plainly = (
        status.st_uid == user.uid
        or (status.st_gid in user.gids and _group_bits(source, status) == stat.S_IRWXO)
        or status.st_mode & stat.S_IRWXO == stat.S_IRWXO
    )
    with os.scandir(source) as entries:
        seen = any(
            entry.is_dir(follow_symlinks=False) and PurePosixPath(entry.path) not in (*machine.trees, *machine.others)
            for entry in entries
        )
    return of_tomorrow(
        source,
        user.name,
        by_acl=lets_in(access, user.uid, user.gids) and not plainly,
        inherited=lets_in(default, user.uid, user.gids),
        seen=seen,
    )


def _acl(path: PurePosixPath, kind: str) -> tuple[AclEntry, ...]:
    try:
        return parse_acl(os.getxattr(path, f"system.posix_acl_{kind}"))
    except OSError:  # there is none, or the file system knows none
        return ()
