"""Walks by directory handle on real directories: what they reach, what they refuse, what they leave open."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pytest

from archiverd.storage import paths

DEEP = ("2026", "07", "01")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.joinpath(*DEEP).mkdir(parents=True)
    return root


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory beside the tree that looks just like it."""
    where = tmp_path / "outside"
    where.joinpath(*DEEP).mkdir(parents=True)
    return where


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory whose path fits into a socket's address."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def inode(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def inode_of(handle: int) -> tuple[int, int]:
    status = os.fstat(handle)
    return status.st_dev, status.st_ino


def descriptors() -> set[str]:
    return {f"{name} {os.readlink(f'/proc/self/fd/{name}')}" for name in still_open()}


def still_open() -> list[str]:
    with os.scandir("/proc/self/fd") as entries:
        names = [entry.name for entry in entries]
    return [name for name in names if os.path.lexists(f"/proc/self/fd/{name}")]


# -- directories ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", range(4))
def test_directory_opens_what_stands_there(tree: Path, depth: int) -> None:
    with paths.directory(tree, DEEP[:depth]) as handle:
        assert inode_of(handle) == inode(tree.joinpath(*DEEP[:depth]))


def test_parent_opens_the_directory_of_a_file(tree: Path) -> None:
    with paths.parent(tree, PurePosixPath(*DEEP, "clip.mp4")) as handle:
        assert inode_of(handle) == inode(tree.joinpath(*DEEP))


def test_directory_takes_a_root_that_is_a_symlink(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree)
    with paths.directory(tmp_path / "link", DEEP) as handle:
        assert inode_of(handle) == inode(tree.joinpath(*DEEP))


@pytest.mark.parametrize("depth", range(3))
def test_directory_refuses_a_symlink_at_any_depth(tree: Path, outside: Path, depth: int) -> None:
    swapped = tree.joinpath(*DEEP[: depth + 1])
    swapped.rename(tree / "was")
    swapped.symlink_to(outside.joinpath(*DEEP[: depth + 1]))
    with pytest.raises(NotADirectoryError), paths.directory(tree, DEEP):
        pass


@pytest.mark.parametrize("name", ["", ".", "..", "2026/07", "/", "../outside"])
def test_directory_refuses_what_is_not_one_plain_name(tree: Path, outside: Path, name: str) -> None:
    assert outside.is_dir()
    with pytest.raises(OSError, match="not the name of one directory"), paths.directory(tree, (name,)):
        pass


@pytest.mark.parametrize(
    ("parts", "expected"),
    [(("2026", "08"), FileNotFoundError), (("file",), NotADirectoryError), (("file", "07"), NotADirectoryError)],
)
def test_directory_tells_what_is_missing(tree: Path, parts: tuple[str, ...], expected: type[OSError]) -> None:
    (tree / "file").write_bytes(b"")
    with pytest.raises(expected), paths.directory(tree, parts):
        pass


@pytest.mark.parametrize("name", ["Stra\udcdfe", "a\nb", "x" * 255, "…" * 85])
def test_directory_opens_names_of_any_bytes(tree: Path, name: str) -> None:
    (tree / name).mkdir()
    with paths.directory(tree, (name,)) as handle:
        assert inode_of(handle) == inode(tree / name)


@contextmanager
def swapping(tree: Path, outside: Path) -> Iterator[None]:
    """A thread swaps a directory for a symlink to the outside, and back, as fast as it can."""
    month, spare, link = tree / "2026" / "07", tree / "2026" / "spare", tree / "2026" / "link"
    link.symlink_to(outside / "2026" / "07")
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for old, new in ((month, spare), (link, month), (month, link), (spare, month)):
                old.rename(new)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        yield
    finally:
        over.set()
        swapper.join()


def reached(tree: Path) -> tuple[int, int] | None:
    """The directory a walk comes to, or None where it is refused."""
    try:
        with paths.directory(tree, DEEP) as handle:
            return inode_of(handle)
    except (FileNotFoundError, NotADirectoryError):
        return None


def test_directory_never_leads_out_while_it_is_swapped(tree: Path, outside: Path) -> None:
    inside, walks = inode(tree.joinpath(*DEEP)), Counter[tuple[int, int] | None]()
    until = time.monotonic() + 30
    with swapping(tree, outside):
        while min(walks[None], walks[inside]) < 200 and time.monotonic() < until:
            walks[reached(tree)] += 1
    assert set(walks) == {None, inside}


# -- files ------------------------------------------------------------------------------------------------


def test_open_file_reads_a_regular_file(tree: Path) -> None:
    (tree / "clip.mp4").write_bytes(b"film")
    with paths.directory(tree) as directory:
        handle = paths.open_file(directory, "clip.mp4")
        try:
            assert os.read(handle, 10) == b"film"
        finally:
            os.close(handle)


def make_fifo(where: Path) -> None:
    os.mkfifo(where)


def make_directory(where: Path) -> None:
    where.mkdir()


def make_symlink(where: Path) -> None:
    (where.parent / "target").write_bytes(b"film")
    where.symlink_to("target")


def make_socket(where: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(where))


@pytest.mark.parametrize(
    ("make", "code"),
    [
        pytest.param(make_fifo, errno.EINVAL, id="FIFO"),
        pytest.param(make_directory, errno.EINVAL, id="directory"),
        pytest.param(make_symlink, errno.ELOOP, id="symlink"),
        pytest.param(make_socket, errno.ENXIO, id="socket"),
    ],
)
def test_open_file_refuses_anything_but_a_regular_file(
    short_directory: Path, make: Callable[[Path], None], code: int
) -> None:
    make(short_directory / "clip.mp4")
    with paths.directory(short_directory) as directory, pytest.raises(OSError, match=r"clip\.mp4") as caught:
        paths.open_file(directory, "clip.mp4")
    assert caught.value.errno == code


# -- descriptors ------------------------------------------------------------------------------------------


def test_walks_close_what_they_open(tree: Path) -> None:
    make_fifo(tree / "fifo")
    before = descriptors()
    with paths.directory(tree, DEEP) as handle:
        during = descriptors() - before
    with pytest.raises(FileNotFoundError), paths.directory(tree, (*DEEP, "none", "none")):
        pass
    with paths.directory(tree) as handle, pytest.raises(OSError, match="not a regular file"):
        paths.open_file(handle, "fifo")
    assert (len(during), descriptors()) == (1, before)


def test_walks_leave_nothing_open_to_children(tree: Path) -> None:
    (tree / "clip.mp4").write_bytes(b"film")
    with paths.directory(tree, DEEP) as directory, paths.directory(tree) as root:
        handle = paths.open_file(root, "clip.mp4")
        inherited = {os.get_inheritable(descriptor) for descriptor in (directory, root, handle)}
        os.close(handle)
    assert inherited == {False}


# -- mounts -----------------------------------------------------------------------------------------------


def can_mount() -> bool:
    """Whether this process has CAP_SYS_ADMIN (bit 21)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    capabilities = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return os.geteuid() == 0 and bool(int(capabilities, 16) >> 21 & 1)


def other_file_system(_tree: Path) -> Iterator[Path]:
    yield Path("/proc")


def bind_mount(tree: Path) -> Iterator[Path]:
    """The same directory a second time, through another mount of the same file system."""
    where = tree / "bound"
    where.mkdir()
    subprocess.run(["mount", "--bind", tree / "2026", where], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", "--lazy", where], check=True)


OTHER_MOUNTS = [other_file_system, *([bind_mount] if can_mount() else [])]


@pytest.fixture(params=OTHER_MOUNTS)
def other_mount(request: pytest.FixtureRequest, tree: Path) -> Iterator[Path]:
    yield from request.param(tree)


def test_mount_id_tells_mounts_apart(tree: Path, other_mount: Path) -> None:
    with paths.directory(tree) as here, paths.directory(other_mount) as there:
        assert paths.mount_id(here) != paths.mount_id(there)


def test_mount_id_is_one_for_all_of_a_mount(tree: Path) -> None:
    with paths.directory(tree) as root, paths.directory(tree, DEEP) as deep:
        assert paths.mount_id(root) == paths.mount_id(deep)
