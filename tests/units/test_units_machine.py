"""What is reckoned from a look at a machine: mounts, file systems, what comes in a day, how long disks last."""

from __future__ import annotations

from datetime import date
from pathlib import PurePosixPath

import pytest

from archiverd.policy.machine import (
    INTEL,
    Access,
    Day,
    FileSystem,
    Nature,
    RenderNode,
    bytes_per_day,
    file_system_of,
    forecasts,
    is_of_the_system,
    parse_mountinfo,
    places_for_files,
)

TODAY = date(2026, 7, 10)

MOUNTINFO = r"""27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
22 27 0:21 / /proc rw,relatime - proc proc rw
33 27 8:1 / /mnt/old\040disk ro,nosuid shared:5 master:1 - vfat /dev/sda1 ro
34 27 0:50 / /mnt/nas rw - autofs systemd-1 rw,fd=5
35 34 0:51 / /mnt/nas rw - nfs4 nas:/cams rw,vers=4.2

not a line of it
36 27 0:52 / /mnt/short rw
"""


def fs(point: str, kind: str = "ext4", device: str = "", free: int | None = 100, **changes: bool) -> FileSystem:
    return FileSystem(PurePosixPath(point), kind, device or point, size=1000, free=free, **changes)


def test_mountinfo_is_read_with_its_escapes_and_the_uppermost_of_each_mount_point() -> None:
    assert parse_mountinfo(MOUNTINFO) == (
        FileSystem(PurePosixPath("/"), "ext4", "254:0"),
        FileSystem(PurePosixPath("/proc"), "proc", "0:21"),
        FileSystem(PurePosixPath("/mnt/old disk"), "vfat", "8:1", read_only=True),
        FileSystem(PurePosixPath("/mnt/nas"), "nfs4", "0:51"),
    )


NODE = PurePosixPath("/dev/dri/renderD128")


@pytest.mark.parametrize(
    ("kind", "nature"),
    [
        ("ext4", Nature.LOCAL),
        ("btrfs", Nature.LOCAL),
        ("fuseblk", Nature.LOCAL),
        ("fuse.mergerfs", Nature.LOCAL),
        ("nfs4", Nature.REMOTE),
        ("cifs", Nature.REMOTE),
        ("fuse.sshfs", Nature.REMOTE),
        ("fuse.unheard-of", Nature.REMOTE),
        ("autofs", Nature.NONE),
        ("proc", Nature.NONE),
        ("unheard-of", Nature.NONE),
    ],
)
def test_nature_of_a_file_system_is_told_by_its_kind(kind: str, nature: Nature) -> None:
    assert fs("/x", kind).nature is nature


@pytest.mark.parametrize(
    ("file_system", "words"),
    [
        (fs("/x"), []),
        (fs("/x", "xfs"), []),
        (fs("/x", read_only=True), ["read-only"]),
        (fs("/x", "vfat"), ["4 GiB", "owners and modes"]),
        (fs("/x", "exfat"), ["owners and modes"]),
        (fs("/x", "fuseblk"), ["owners and modes"]),
        (fs("/x", "tmpfs"), ["restart"]),
        (fs("/x", "nfs4"), ["another machine"]),
        (fs("/x", "cifs", read_only=True), ["read-only", "another machine"]),
    ],
)
def test_limits_of_a_file_system_are_named(file_system: FileSystem, words: list[str]) -> None:
    assert len(file_system.limits) == len(words)
    assert all(word in limit for word, limit in zip(words, file_system.limits, strict=True))


@pytest.mark.parametrize(
    ("path", "point"),
    [("/mnt/a/b", "/mnt/a"), ("/mnt/a", "/mnt/a"), ("/mnt/ab", "/mnt"), ("/srv", None)],
)
def test_path_lies_on_the_nearest_mount_above_it(path: str, point: str | None) -> None:
    mounts = (fs("/mnt"), fs("/mnt/a"))
    found = file_system_of(mounts, PurePosixPath(path))
    assert (None if found is None else str(found.mount_point)) == point


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/boot/efi", True), ("/snap/core/1", True), ("/run/user/0", True), ("/run/media/me/disk", False), ("/", False),
     ("/srv", False), ("/bootleg", False)],
)  # fmt: skip
def test_mount_points_of_the_system_are_known(path: str, expected: bool) -> None:
    assert is_of_the_system(PurePosixPath(path)) is expected


def test_places_for_files_are_each_file_system_once() -> None:
    mounts = (
        fs("/srv/deep/bind", device="8:1"), fs("/srv", device="8:1"), fs("/", device="8:2"), fs("/boot", device="8:3"),
        fs("/proc", "proc"), fs("/tmp", "tmpfs"), fs("/mnt/nas", "nfs4", free=None),
    )  # fmt: skip
    assert [str(place.mount_point) for place in places_for_files(mounts)] == ["/", "/srv", "/mnt/nas"]


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ([], None),
        ([Day(TODAY, 5, 5000)], None),  # today is not over
        ([Day(date(2026, 7, 9), 5, 5000, whole=False)], None),
        ([Day(TODAY, 1, 1), Day(date(2026, 7, 9), 5, 5000), Day(date(2026, 7, 8), 5, 2001)], 3501),
        ([Day(date(2026, 7, 11), 1, 9_000_000), Day(date(2026, 7, 9), 1, 7)], 7),  # a clock that runs ahead
    ],
)
def test_bytes_per_day_are_the_mean_of_the_days_that_are_over(days: list[Day], expected: int | None) -> None:
    assert bytes_per_day(days, TODAY) == expected


MOUNTS = (fs("/", free=1000), fs("/big", free=10_000), fs("/nas", "nfs4", free=None))


@pytest.mark.parametrize(
    ("output", "trash", "expected"),
    [
        ("/c/archived", "/c/.deleted", {"/": 5}),  # both stay on one disk
        ("/c/archived", None, {"/": 10}),
        ("/big/archived", "/c/.deleted", {"/big": 100, "/": 10}),
        ("/big/archived", None, {"/big": 100}),
        ("/nas/archived", "/c/.deleted", {"/": 10}),  # nobody knows how much is free there
    ],
)
def test_forecast_reckons_what_stays_on_each_disk(output: str, trash: str | None, expected: dict[str, int]) -> None:
    found = forecasts(MOUNTS, 100, PurePosixPath(output), None if trash is None else PurePosixPath(trash))
    assert {str(forecast.file_system.mount_point): forecast.days for forecast in found} == expected


def test_nothing_to_reckon_from_is_no_forecast() -> None:
    assert forecasts(MOUNTS, 0, PurePosixPath("/a"), None) == []


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (RenderNode(NODE, INTEL), "/dev/dri/renderD128 (Intel, open to this user)"),
        (RenderNode(NODE, INTEL, driver="i915"), "/dev/dri/renderD128 (Intel, i915, open to this user)"),
        (RenderNode(NODE, "0x1234", Access.CLOSED), "/dev/dri/renderD128 (vendor 0x1234, closed to this user)"),
        (RenderNode(NODE), "/dev/dri/renderD128 (vendor unknown, open to this user)"),
        (RenderNode(NODE, access=Access.MISSING), "/dev/dri/renderD128 (vendor unknown, not there)"),
        (RenderNode(NODE, access=Access.NO_DEVICE), "/dev/dri/renderD128 (vendor unknown, no device)"),
    ],
)
def test_render_node_is_told_in_words(node: RenderNode, words: str) -> None:
    assert node.words == words


@pytest.mark.parametrize(
    ("device_id", "generation"),
    [
        ("0x0412", 7),  # Haswell
        ("0x1616", 8),  # Broadwell
        ("0x3185", 9),  # Gemini Lake
        ("0x9bc8", 9),  # Comet Lake
        ("0x4e61", 11),  # Jasper Lake
        ("0x46d1", 12),  # Alder Lake-N: the N100
        ("0x56A5", 12),  # Arc
        ("0xffff", None),
        ("", None),
    ],
)
def test_generation_of_an_intel_gpu_is_known_by_its_device_id(device_id: str, generation: int | None) -> None:
    assert RenderNode(NODE, INTEL, device_id=device_id).generation == generation


def test_gpu_of_another_maker_has_no_generation_of_intels() -> None:
    assert RenderNode(NODE, "0x1002", device_id="0x1616").generation is None
