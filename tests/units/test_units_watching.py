"""How new files are noticed: what the mounts say."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from archiverd.policy.machine import FileSystem
from archiverd.policy.watching import Observer, Observing, choose_way, nothing_watched, pause_s, watch_limit

CAMERA = PurePosixPath("/srv/camera")
DISK = FileSystem(PurePosixPath("/"), "ext4", "8:1")


def mount(where: str, kind: str) -> FileSystem:
    return FileSystem(PurePosixPath(where), kind, f"0:{len(where)}")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuse.mergerfs", "bcachefs"])
def test_a_file_system_of_this_machine_is_watched(kind: str) -> None:
    assert choose_way(Observer.AUTO, [DISK, mount("/srv", kind)], CAMERA).observing is Observing.INOTIFY


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "vboxsf", "fuse.sshfs", "ceph"])
@pytest.mark.parametrize("where", ["/srv", "/srv/camera", "/srv/camera/2026"])
def test_a_file_system_that_others_write_to_is_looked_at(kind: str, where: str) -> None:
    way = choose_way(Observer.AUTO, [DISK, mount(where, kind)], CAMERA)
    assert way.observing is Observing.POLL
    assert where in way.reason
    assert kind in way.reason


def test_what_is_left_out_or_lies_elsewhere_does_not_count() -> None:
    mounts = [DISK, mount("/srv/camera/archived", "nfs4"), mount("/mnt", "nfs4"), mount("/srv/cameras", "nfs4")]
    way = choose_way(Observer.AUTO, mounts, CAMERA, [CAMERA / "archived"])
    assert way.observing is Observing.INOTIFY


def test_the_owner_may_have_it_looked_at_anywhere() -> None:
    assert choose_way(Observer.POLL, [DISK], CAMERA).observing is Observing.POLL


def test_where_no_mount_is_known_the_kernel_is_asked() -> None:
    assert choose_way(Observer.AUTO, [], CAMERA).observing is Observing.INOTIFY


def test_a_limit_is_told_with_what_to_type() -> None:
    doubt = watch_limit(201, "/camera/2026", 8192)
    assert "201 directories are not watched, /camera/2026 for one: fs.inotify.max_user_watches (8192)" in str(doubt)
    assert "sysctl fs.inotify.max_user_watches=524288" in doubt.remedy
    assert "max_user_watches=2000000" in watch_limit(1, "/camera", 1000000).remedy
    assert "sysctl fs.inotify.max_user_instances=1024" in str(nothing_watched("/camera", "max_user_instances", None))
    assert "sysctl fs.inotify.max_user_watches=524288" in str(nothing_watched("/camera", "max_user_watches", 0))


def test_an_accident_is_mended_at_once_and_what_comes_back_is_given_time() -> None:
    assert [pause_s(tries, limited=False) for tries in (1, 2, 3, 4, 9, 10**6)] == [0, 5, 10, 20, 300, 300]
    assert [pause_s(tries, limited=True) for tries in (1, 2, 5, 10**6)] == [300, 600, 3600, 3600]
