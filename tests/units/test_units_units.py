"""The files that make archiverd a service: what they hold for a machine, and what is done about those that stand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from archiverd.policy import units
from archiverd.policy.machine import FileSystem
from archiverd.policy.units import Act, Machine, drop_in, install_steps, removal_steps, sha256

CAMERA = PurePosixPath("/camera")
MACHINE = Machine(
    program=("/opt/archiverd/bin/archiverd",),
    config_file=None,
    trees=(CAMERA, CAMERA / "archived", CAMERA / ".deleted"),
    others=(CAMERA / ".archiverd",),
)


def mounted(*points: str) -> tuple[FileSystem, ...]:
    return tuple(
        FileSystem(PurePosixPath(point), "ext4", f"8:{number}") for number, point in enumerate(("/", *points))
    )  # fmt: skip


def trees(*paths: str) -> tuple[PurePosixPath, ...]:
    return tuple(map(PurePosixPath, paths))


def lines(machine: Machine) -> list[str]:
    return [line for line in drop_in(machine).splitlines() if not line.startswith("#")]


# -- the drop-in --------------------------------------------------------------------------------------------------


def test_drop_in_of_the_default_layout() -> None:
    assert lines(MACHINE) == [
        "[Unit]",
        "RequiresMountsFor=/camera",
        "",
        "[Service]",
        "ExecStart=",
        "ExecStart=/opt/archiverd/bin/archiverd daemon",
        "ReadWritePaths=-/camera",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"program": ("/x",), "config_file": PurePosixPath("/a b")}, 'ExecStart=/x daemon --config "/a b"'),
        ({"program": ("/v/python", "-m", "archiverd")}, "ExecStart=/v/python -m archiverd daemon"),
        ({"program": ("/v/$x%i/archiverd",)}, "ExecStart=/v/$$x%%i/archiverd daemon"),
        ({"groups": ("render", "ftp")}, "SupplementaryGroups=render ftp"),
        ({"stop_timeout_s": 45.5}, "TimeoutStopSec=76"),
        ({"setgid_directories": True}, "RestrictSUIDSGID=no"),
        ({"encodes_in_software": True}, "MemoryDenyWriteExecute=yes"),
        ({"trees": trees("/home/ftp/cameras")}, "ProtectHome=read-only"),
        ({"program": ("/home/me/.venv/bin/archiverd",)}, "ProtectHome=read-only"),
        ({"trees": trees('/cam "1"')}, 'ReadWritePaths="-/cam \\"1\\""'),
        ({"mounts": mounted("/camera")}, "WantedBy=camera.mount"),
        ({"mounts": mounted("/camera/archived")}, "RequiresMountsFor=/camera/archived"),
    ],
)  # fmt: skip
def test_drop_in_says_what_is_of_the_machine(changes: dict[str, object], line: str) -> None:
    assert line in lines(replace(MACHINE, **changes))  # type: ignore[arg-type]  # of several types
    assert line not in lines(MACHINE)


def test_unit_waits_long_enough_for_the_usual_stop_timeout() -> None:
    assert not [line for line in lines(replace(MACHINE, stop_timeout_s=30)) if "TimeoutStopSec" in line]


def test_path_that_no_unit_file_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="can"):
        drop_in(replace(MACHINE, trees=trees("/cam\nera")))


@pytest.mark.parametrize(
    ("paths", "mounts", "opened"),
    [
        (("/camera", "/camera/archived"), (), ("/camera",)),
        (("/data/in", "/data/out", "/data/trash"), (), ("/data",)),
        (("/srv/ftp/in", "/srv/ftp/trash"), ("/srv",), ("/srv/ftp",)),
        (("/mnt/disk/in", "/mnt/disk/trash"), ("/mnt/disk",), ("/mnt/disk",)),
        (("/mnt/in", "/mnt/trash"), (), ("/mnt/in", "/mnt/trash")),
        (("/camera", "/archive"), (), ("/camera", "/archive")),
        (("/home/in", "/home/trash"), (), ("/home/in", "/home/trash")),
        (("/home/ftp/in", "/home/ftp/trash"), (), ("/home/ftp",)),
        (("/var/lib/in", "/var/lib/trash"), (), ("/var/lib/in", "/var/lib/trash")),
        (("/usr/a/in", "/usr/a/trash"), (), ("/usr/a/in", "/usr/a/trash")),
        (("/data/in", "/data/out"), ("/data/out",), ("/data/in", "/data/out")),
        (("/data/in", "/disk/out", "/data/trash"), ("/disk",), ("/data", "/disk/out")),
    ],
)
def test_trees_of_one_file_system_are_opened_together_where_nothing_else_is(
    paths: tuple[str, ...], mounts: tuple[str, ...], opened: tuple[str, ...]
) -> None:
    machine = replace(MACHINE, trees=trees(*paths), others=(), mounts=mounted(*mounts))

    assert set(units.writable(machine)) == set(trees(*opened))


def test_what_systemd_makes_for_the_unit_is_not_opened_again() -> None:
    machine = replace(MACHINE, others=(units.STATE_DIR, units.LOGS_DIR / "x", PurePosixPath("/elsewhere")))

    assert units.writable(machine) == (CAMERA, PurePosixPath("/elsewhere"))


@pytest.mark.parametrize(
    ("point", "unit"),
    [
        ("/", "-.mount"),
        ("/srv/ftp", "srv-ftp.mount"),
        ("/mnt/my-disk 1", "mnt-my\\x2ddisk\\x201.mount"),
        ("/.hidden/.x", "\\x2ehidden-.x.mount"),
        ("/ä", "\\xc3\\xa4.mount"),
    ],
)
def test_mount_units_have_the_names_systemd_escape_gives(point: str, unit: str) -> None:
    """As `systemd-escape -p --suffix=mount` of systemd 252 prints them."""
    assert units.mount_unit(PurePosixPath(point)) == unit


def test_disk_of_the_system_starts_no_service() -> None:
    assert units.mount_units(trees("/usr/cam", "/x"), mounted("/usr")) == frozenset()


@pytest.mark.parametrize(("version", "there"), [(0, False), (252, False), (253, True), (257, True)])
def test_reload_is_notified_where_systemd_knows_it(version: int, there: bool) -> None:
    assert ("notify-reload.conf" in [file.source for file in units.shipped_for(version)]) is there


@pytest.mark.parametrize(
    ("text", "version"), [("systemd 252 (252.39-1~deb12u1)\n+PAM", 252), ("systemd 257.5", 257), ("", 0), ("x 1", 0)]
)
def test_version_is_read(text: str, version: int) -> None:
    assert units.parse_version(text) == version


# -- files that stand ---------------------------------------------------------------------------------------------

PATH = PurePosixPath("/etc/x")
OTHER = PurePosixPath("/etc/y")


@pytest.mark.parametrize(
    ("stands", "installed", "act"),
    [
        (None, None, Act.WRITE),
        ("new", None, Act.LEAVE),
        ("old", "old", Act.RENEW),
        ("mine", "old", Act.EDITED),
        ("mine", None, Act.EDITED),
    ],
)
def test_what_is_done_to_a_file_follows_from_who_wrote_it(stands: str | None, installed: str | None, act: Act) -> None:
    standing = {} if stands is None else {PATH: stands}
    hashes = {} if installed is None else {PATH: sha256(installed)}

    (step,) = install_steps({PATH: "new"}, standing, hashes)

    assert (step.act, step.before, step.after) == (act, stands, "new")


def test_file_that_is_wanted_no_more_goes() -> None:
    steps = install_steps({PATH: "new"}, {PATH: "new", OTHER: "old"}, {PATH: sha256("new"), OTHER: sha256("old")})

    assert [(step.path, step.act) for step in steps] == [(PATH, Act.LEAVE), (OTHER, Act.REMOVE)]


def test_removal_takes_what_was_installed_and_still_is_so() -> None:
    steps = removal_steps({PATH: "a", OTHER: "edited"}, {PATH: sha256("a"), OTHER: sha256("b"), CAMERA: sha256("")})

    assert [(step.path, step.act) for step in steps] == [(PATH, Act.REMOVE), (OTHER, Act.EDITED)]


def test_list_of_what_was_installed_survives_its_file() -> None:
    installed = {PATH: sha256("a"), OTHER: sha256("b")}

    assert units.parse_list(units.list_text(installed)) == installed


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"files": 1}', '{"files": {"relative": "x"}}'])
def test_list_that_does_not_read_as_one_names_nothing(text: str) -> None:
    assert units.parse_list(text) == {}


def test_difference_is_shown_as_diff_shows_it() -> None:
    (step,) = install_steps({PATH: "a\nb\n"}, {PATH: "a\nc\n"}, {})

    assert step.difference[2:] == ["@@ -1,2 +1,2 @@", " a", "-c", "+b"]
