"""A look at what a machine has to encode with: nodes, drivers, runtimes, the kernel, and ffmpeg's build."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from archiverd.errors import StartupError
from archiverd.media.hardware import find_ffmpeg, find_nodes, look, look_at_node, refusal, traits
from archiverd.policy.hardware import Equipment, Ffmpeg, Place
from archiverd.policy.machine import Access, RenderNode
from archiverd.policy.stop import NeverStop
from tests.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def seen(machine: Machine) -> Equipment:
    return look(Ffmpeg("ffmpeg"), find_nodes(machine.root), machine.root)


def test_node_is_told_with_all_the_kernel_tells(machine: Machine) -> None:
    machine.node("renderD128", "0x8086", device_id="0x46d1", driver="i915")
    (node,) = find_nodes(machine.root)
    status = Path("/dev/null").stat()
    assert node == RenderNode(
        PurePosixPath("/dev/dri/renderD128"), "0x8086", Access.OPEN, "0x46d1", "i915", "root", status.st_mode & 0o7777
    )


def test_nodes_come_by_number(machine: Machine) -> None:
    for number in (1000, 129, 128):
        machine.node(f"renderD{number}", None)
    machine.node("card0", None)
    assert [node.path.name for node in find_nodes(machine.root)] == ["renderD128", "renderD129", "renderD1000"]


def test_nodes_beside_the_one_that_is_named_are_told(machine: Machine) -> None:
    for number in (128, 129):
        machine.node(f"renderD{number}", "0x8086")
    named = look_at_node(Path("/dev/dri/renderD129"), machine.root)
    assert look(Ffmpeg("ffmpeg"), [named], machine.root).others == (PurePosixPath("/dev/dri/renderD128"),)
    assert seen(machine).others == ()


def test_machine_without_devices_has_none(machine: Machine) -> None:
    assert find_nodes(machine.root) == ()


def test_container_without_sys_hides_whose_a_node_is(machine: Machine) -> None:
    machine.path("dev/dri").mkdir(parents=True)
    machine.path("dev/dri/renderD128").symlink_to("/dev/null")
    (node,) = find_nodes(machine.root)
    assert (node.access, node.vendor, node.driver, node.generation) == (Access.OPEN, "", "", None)


def test_node_of_any_name_is_known_by_its_number(machine: Machine) -> None:
    machine.path("dev/dri").mkdir(parents=True)
    machine.path("dev/mine").symlink_to("/dev/null")
    number = Path("/dev/null").stat().st_rdev
    machine.file(f"sys/dev/char/{os.major(number)}:{os.minor(number)}/device/vendor", "0x1002\n")
    assert look_at_node(Path("/dev/mine"), machine.root).vendor == "0x1002"


@pytest.mark.parametrize(("target", "access"), [("gone", Access.MISSING), ("/etc", Access.NO_DEVICE)])
def test_what_is_no_device_is_told(machine: Machine, target: str, access: Access) -> None:
    machine.path("dev/dri").mkdir(parents=True)
    machine.path("dev/dri/renderD128").symlink_to(target)
    assert [node.access for node in find_nodes(machine.root)] == [access]


def test_what_the_kernel_refuses_is_told_in_its_words(machine: Machine) -> None:
    machine.node("renderD128", None)
    (node,) = find_nodes(machine.root)
    assert refusal(node, machine.root) == ""
    machine.path("dev/dri/renderD128").unlink()
    assert refusal(node, machine.root) == "No such file or directory"


@pytest.mark.parametrize(
    "folder",
    ["usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib", "usr/lib64", "usr/local/lib"],
)
def test_drivers_and_runtimes_are_found_where_distributions_put_them(machine: Machine, folder: str) -> None:
    machine.file(f"{folder}/dri/iHD_drv_video.so", "")
    machine.file(f"{folder}/dri/i915_dri.so", "")
    machine.file(f"{folder}/libmfx-gen.so.1.2", "")
    machine.file(f"{folder}/libmfx.so.1", "")
    told = seen(machine)
    assert (told.va_drivers, told.runtimes) == (("iHD",), ("libmfx-gen.so.1.2",))


def test_driver_of_another_repository_is_found(machine: Machine) -> None:
    machine.file("usr/lib64/dri-nonfree/iHD_drv_video.so", "")
    machine.file("usr/lib64/dri-freeworld/radeonsi_drv_video.so", "")
    assert seen(machine).va_drivers == ("iHD", "radeonsi")


def test_kernel_and_distribution_are_told(machine: Machine) -> None:
    machine.file("proc/sys/kernel/osrelease", "6.12.8-amd64\n")
    machine.file("sys/module/i915/parameters/enable_guc", "-1\n")
    machine.file("etc/os-release", "ID=ubuntu\nID_LIKE=debian\n")
    told = seen(machine)
    assert (told.kernel, told.guc, told.distribution) == ("6.12.8-amd64", "-1", "debian")


def test_what_can_not_be_seen_is_empty(machine: Machine) -> None:
    told = seen(machine)
    assert (told.kernel, told.guc, told.distribution, told.va_drivers) == ("", "", "", ())
    assert told.user


@pytest.mark.parametrize(
    ("file", "text", "place"),
    [
        (".dockerenv", "", Place.CONTAINER),
        ("run/.containerenv", "", Place.CONTAINER),
        ("run/systemd/container", "lxc", Place.CONTAINER),
        ("proc/cpuinfo", "flags\t\t: fpu vme hypervisor lahf_lm\n", Place.GUEST),
        ("proc/cpuinfo", "flags\t\t: fpu vme lahf_lm\n", Place.MACHINE),
    ],
)
def test_where_archiverd_runs_is_told(machine: Machine, file: str, text: str, place: Place) -> None:
    machine.file(file, text)
    assert seen(machine).place is place


def test_real_ffmpeg_tells_of_itself() -> None:
    told = find_ffmpeg(NeverStop())
    assert told.major >= 5
    assert told.version
    assert told.flags


@pytest.mark.parametrize("body", ["exit 1", "echo; exit 0", "echo 'ffmpeg version ?'"])
def test_ffmpeg_that_tells_nothing_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    told = find_ffmpeg(NeverStop())
    assert (told.path, told.major, told.has_qsv) == (str(program), 0, None)


def test_no_ffmpeg_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartupError, match="ffmpeg was not found"):
        find_ffmpeg(NeverStop())


def test_file_is_known_by_where_it_really_stands(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("1")
    (tmp_path / "new").write_text("1")
    os.utime(tmp_path / "old", (1, 1))
    os.utime(tmp_path / "new", (1, 1))
    link = tmp_path / "ffmpeg"
    link.symlink_to("old")
    before = traits([link])
    assert traits([link, link]) == before
    link.unlink()
    link.symlink_to("new")
    assert traits([link]) != before
    link.unlink()
    assert traits([link]) == (f"{link} -",)
