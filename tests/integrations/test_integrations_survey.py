"""A look at a machine: made-up ones, whose mounts are told and whose directories are real; and the one we run on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest

from archiverd.errors import StartupError
from archiverd.policy.machine import Access, Survey, Uploads
from archiverd.survey import look_at, survey
from tests.machine import TODAY, Machine
from tests.program import environment


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


def paths(seen: Survey) -> set[Path]:
    return {Path(uploads.path) for uploads in seen.uploads}


def only(seen: Survey) -> Uploads:
    (uploads,) = seen.uploads
    return uploads


# ---- where uploads are found


@pytest.mark.parametrize(
    "place",
    [
        "camera", "camera/ftp", "srv/cams", "srv/ftp/upload/cams", "mnt/disk/cams", "media/me/disk/cams",
        "run/media/me/disk/cams", "home/cam", "home/cam/ftp/a/b",
    ],
)  # fmt: skip
def test_uploads_are_found_where_people_have_them(machine: Machine, place: str) -> None:
    where = machine.uploads(place, 1)
    assert paths(survey(root=machine.root)) == {where}


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("srv/a/b/c/d", id="too deep"),
        pytest.param("srv/.hidden", id="hidden"),
        pytest.param("opt/cams", id="elsewhere"),
        pytest.param("etc/cams", id="of the system"),
    ],
)
def test_uploads_are_not_looked_for_everywhere(machine: Machine, place: str) -> None:
    machine.uploads(place, 1)
    assert paths(survey(root=machine.root)) == set()


def test_mounts_of_disks_are_looked_into_wherever_they_are(machine: Machine) -> None:
    where = machine.mount("data/disk one") / "cams"
    machine.uploads("data/disk one/cams", 1)
    assert paths(survey(root=machine.root)) == {where}


def test_every_tree_of_uploads_is_found_once(machine: Machine) -> None:
    machine.mount("mnt/disk")
    machine.mount("mnt/bind", device="8:17")
    expected = {machine.uploads("mnt/disk/a", 1), machine.uploads("mnt/disk/b", 2), machine.uploads("home/u/c", 3)}
    seen = survey(root=machine.root)
    assert paths(seen) == expected
    assert len(seen.uploads) == 3


def test_what_lies_below_uploads_is_not_taken_for_others(machine: Machine) -> None:
    where = machine.uploads("camera", 1)
    machine.uploads("camera/archived", 1)
    assert paths(survey(root=machine.root)) == {where}


@pytest.mark.parametrize("tree", ["archive", "trash"])
def test_archive_and_trash_are_not_taken_for_uploads(machine: Machine, tree: str) -> None:
    (machine.path("camera")).mkdir()
    where = machine.uploads("camera/kept", 1)
    (where / ".archiverd-root").write_text(f'{{"catalog": "c", "tree": "{tree}", "state_dir": "/s"}}')
    assert paths(survey(root=machine.root)) == set()


@pytest.mark.parametrize("marker", ['{"catalog": "c", "tree": "source", "state_dir": "/s"}', "", "no marker at all"])
def test_marker_of_another_kind_hides_no_uploads(machine: Machine, marker: str) -> None:
    where = machine.uploads("camera", 1)
    (where / ".archiverd-root").write_text(marker)
    assert paths(survey(root=machine.root)) == {where}


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "REO_front_20260701100000.jpg", "clip.mp4", ".REO_front_20260701100000.mp4.part"],
)
def test_directories_without_clips_are_no_uploads(machine: Machine, name: str) -> None:
    day = machine.path("camera/2026/07/01")
    day.mkdir(parents=True)
    (day / name).touch()
    assert paths(survey(root=machine.root)) == set()


def test_default_directory_is_told_where_it_is_there(machine: Machine) -> None:
    assert survey(root=machine.root).camera is None
    machine.path("camera").mkdir()
    assert survey(root=machine.root).camera == PurePosixPath(machine.path("camera"))


def test_given_directory_is_the_only_one_looked_at(machine: Machine) -> None:
    machine.uploads("camera", 1)
    given = machine.path("srv")
    given.mkdir()
    seen = survey(PurePosixPath(given), root=machine.root)
    assert (paths(seen), only(seen).days, only(seen).looked) == ({given}, (), True)


# ---- what is told of them


def test_uploads_are_told_with_their_days_cameras_and_sizes(machine: Machine) -> None:
    machine.uploads("camera", 0, 1, 2, 3, 4, 400, camera="front", size=700)
    machine.uploads("camera", 1, camera="Hof hinten", size=11, clips=3)
    uploads = only(survey(root=machine.root))
    assert uploads.cameras == ("Hof hinten", "front")
    assert uploads.first == TODAY - timedelta(days=400)
    assert [(TODAY - day.date).days for day in uploads.days] == [0, 1, 2, 3]
    assert [(day.clips, day.size, day.whole) for day in uploads.days] == [
        (2, 1400, True), (5, 1433, True), (2, 1400, True), (2, 1400, True),
    ]  # fmt: skip


def test_days_without_clips_are_passed_over(machine: Machine) -> None:
    machine.uploads("camera", 5)
    for ago in range(5):
        machine.path(f"camera/{TODAY - timedelta(days=ago):%Y/%m/%d}").mkdir(parents=True, exist_ok=True)
    assert [(TODAY - day.date).days for day in only(survey(root=machine.root)).days] == [5]


def test_names_that_are_not_known_are_counted(machine: Machine) -> None:
    machine.uploads("camera", 1)
    day = machine.path(f"camera/{TODAY - timedelta(days=1):%Y/%m/%d}")
    for name in ("one.mp4", "two.MP4", "three.txt"):
        (day / name).touch()
    (day / "REO_front_20260101000000.mp4").symlink_to("/nowhere")
    uploads = only(survey(root=machine.root))
    assert (uploads.unknown_names, uploads.days[0].clips) == (2, 2)


# ---- what is never touched


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "autofs", "unheard-of"])
def test_what_may_hang_is_not_looked_into(machine: Machine, kind: str) -> None:
    for place in ("mnt/nas", "srv/cams/nas", "camera"):
        machine.mount(place, kind, device="0:50")
        machine.uploads(place, 1)
    seen = survey(root=machine.root)
    assert (paths(seen), seen.camera) == (set(), None)
    assert [mount.size for mount in seen.file_systems if mount.kind == kind] == [None] * 3


def test_local_disk_below_what_may_hang_is_not_asked(machine: Machine) -> None:
    machine.mount("mnt/nas", "nfs4", device="0:50")
    inner = machine.mount("mnt/nas/disk")
    machine.uploads("mnt/nas/disk", 1)
    seen = survey(root=machine.root)
    assert paths(seen) == set()
    assert [mount.size for mount in seen.file_systems if Path(mount.mount_point) == inner] == [None]


@pytest.mark.parametrize(
    ("link", "target"),
    [("camera", "mnt/nas/cams"), ("srv", "mnt/by-way"), ("camera", "mnt/../mnt/nas/cams"), ("home", "mnt/by-way")],
)
def test_symlink_is_not_followed_to_what_may_hang(machine: Machine, link: str, target: str) -> None:
    machine.mount("mnt/nas", "nfs4", device="0:50")
    machine.uploads("mnt/nas/cams", 1)
    machine.path("mnt/by-way").symlink_to(machine.path("mnt/nas"))
    machine.path(link).symlink_to(target)
    assert paths(survey(root=machine.root)) == set()


def test_given_directory_that_may_hang_is_not_looked_into(machine: Machine) -> None:
    nas = machine.mount("mnt/nas", "nfs4", device="0:50")
    machine.uploads("mnt/nas/cams", 1)
    uploads = only(survey(PurePosixPath(nas, "cams"), root=machine.root))
    assert (uploads.path, uploads.looked, uploads.days) == (PurePosixPath(nas, "cams"), False, ())


def test_a_look_asks_nothing_of_what_may_hang(machine: Machine, tmp_path: Path) -> None:
    """By the calls the kernel sees: none names anything there, none opens anything there by another name."""
    for place, kind in (("mnt/nas", "nfs4"), ("mnt/cloud", "fuse.rclone"), ("camera", "autofs")):
        machine.mount(place, kind, device="0:50")
        machine.uploads(place, 1)
    machine.path("srv").symlink_to(machine.path("mnt/nas"))
    machine.path("home").symlink_to("mnt/cloud")
    machine.uploads("mnt/cams", 1)
    program = f"from pathlib import Path; from archiverd.survey import survey; survey(root=Path({str(machine.root)!r}))"
    trace = tmp_path / "trace"
    command = ("strace", "-f", "-y", "-e", "trace=file", "-o", trace, sys.executable, "-c", program)
    subprocess.run(command, check=True, timeout=120, env=environment())
    told = trace.read_text()
    asked = {Path(path) for path in re.findall(r'^[^"]*"([^"]*)"', told, re.MULTILINE)}
    opened = {Path(path) for path in re.findall(r"= [0-9]+<([^>]*)>$", told, re.MULTILINE)}
    assert machine.path("mnt/cams") in asked & opened
    shunned = [machine.path(place) for place in ("mnt/nas", "mnt/cloud", "camera")]
    assert [path for path in asked | opened if any(path.is_relative_to(place) for place in shunned)] == []


def test_symlink_below_a_place_is_not_followed(machine: Machine) -> None:
    where = machine.uploads("opt/cams", 1)
    machine.path("srv").mkdir()
    machine.path("srv/link").symlink_to(where)
    machine.path("srv/loop").symlink_to("loop")
    assert paths(survey(root=machine.root)) == set()


def test_place_that_is_a_symlink_is_followed(machine: Machine) -> None:
    """Where /srv or /camera leads is the owner's choice."""
    where = machine.uploads("opt/cams", 1)
    machine.path("camera").symlink_to("opt/../opt/cams")
    seen = survey(root=machine.root)
    assert paths(seen) == {where}
    assert seen.camera == PurePosixPath(machine.path("camera"))


def test_place_that_is_a_loop_of_symlinks_ends(machine: Machine) -> None:
    machine.path("camera").symlink_to("camera")
    assert paths(survey(root=machine.root)) == set()


# ---- a look has its bounds


def test_look_ends_when_its_time_is_over(machine: Machine) -> None:
    machine.uploads("srv/cams", 1)
    ticks = iter(range(0, 10_000, 6))
    seen = survey(root=machine.root, clock=lambda: next(ticks))
    assert (paths(seen), seen.cut_short) == (set(), True)


def test_whole_look_is_not_cut_short(machine: Machine) -> None:
    machine.uploads("srv/cams", 1)
    assert not survey(root=machine.root).cut_short


def test_directory_of_very_many_is_looked_at_in_part(machine: Machine) -> None:
    crowd = machine.path("srv/crowd")
    crowd.mkdir(parents=True)
    for number in range(2500):
        (crowd / f"{number}.txt").touch()
    where = machine.uploads("srv/cams", 1)
    began = time.monotonic()
    assert paths(survey(root=machine.root)) == {where}
    assert time.monotonic() - began < 5


def test_directory_that_may_not_be_read_stops_nothing(machine: Machine) -> None:
    where = machine.uploads("srv/cams", 1)
    machine.path("mnt").touch()  # a file where a directory is looked for
    (where.parent / "2026").touch()
    assert paths(survey(root=machine.root)) == {where}


# ---- disks, devices, groups


def test_file_systems_are_told_with_their_room(machine: Machine) -> None:
    disk = machine.mount("mnt/disk", "xfs", options="ro,relatime")
    room = os.statvfs(disk)
    (found,) = (mount for mount in survey(root=machine.root).file_systems if Path(mount.mount_point) == disk)
    assert (found.kind, found.read_only, found.size) == ("xfs", True, room.f_blocks * room.f_frsize)
    assert found.free is not None


def test_render_nodes_are_told_with_vendor_and_access(machine: Machine) -> None:
    machine.node("renderD128", "0x8086")
    machine.node("renderD129", None)
    machine.node("card0", "0x8086")
    machine.path("dev/dri/renderD130").symlink_to("gone")  # may not be opened, not by root either
    told = [(node.path.name, node.vendor, node.access) for node in survey(root=machine.root).nodes]
    assert told == [
        ("renderD128", "0x8086", Access.OPEN), ("renderD129", "", Access.OPEN), ("renderD130", "", Access.MISSING),
    ]  # fmt: skip


def test_groups_are_those_of_whom_sudo_was_called_by(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    ours = survey(root=machine.root).groups
    assert ours
    monkeypatch.setenv("SUDO_USER", "nobody")
    theirs = survey(root=machine.root).groups
    assert theirs == (("nogroup",) if os.geteuid() == 0 else ours)
    monkeypatch.setenv("SUDO_USER", "no such user")
    assert survey(root=machine.root).groups == ours


def test_machine_that_does_not_tell_its_mounts_is_not_searched(machine: Machine) -> None:
    machine.path("proc/self/mountinfo").unlink()
    with pytest.raises(StartupError, match="mountinfo can't be read"):
        survey(root=machine.root)


# ---- looking closer, and for real


def test_directory_that_was_typed_is_looked_at_in_the_same_way(machine: Machine) -> None:
    nas = machine.mount("mnt/nas", "nfs4", device="0:50")
    seen = survey(root=machine.root)
    elsewhere = machine.uploads("opt/cams", 1)
    assert len(look_at(PurePosixPath(elsewhere), seen).days) == 1
    assert not look_at(PurePosixPath(nas), seen).looked


def test_this_machine_is_looked_at_in_a_moment() -> None:
    began = time.monotonic()
    seen = survey()
    assert time.monotonic() - began < 15
    assert any(mount.mount_point == PurePosixPath("/") for mount in seen.file_systems)
    assert seen.is_root is (os.geteuid() == 0)
