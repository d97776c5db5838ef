"""Every change to the trees on real file systems: nothing overwritten, nothing outside touched, all of it durable."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path, PurePosixPath

import pytest
from pytest_mock import MockerFixture

from archiverd.errors import Interrupted, ResourceError, SourceChanged
from archiverd.policy.model import Place, Tree
from archiverd.policy.stop import NeverStop, StopToken
from archiverd.storage.file_manager import FileManager, Modes
from archiverd.storage.open_files import environment_faults, writers
from tools import footage

REPOSITORY = Path(__file__).parents[2]
DAY = PurePosixPath("2026/07/01")
CLIP = DAY / "REO_front_20260701120000.mp4"
SECOND = DAY / "REO_front_20260701120000~2.mp4"
THIRD = DAY / "REO_front_20260701120000~3.mp4"
PART = DAY / ".archiverd-c1-j1.part"
ASIDE = DAY / ".archiverd-j1.gone"
FILM = bytes(range(256)) * 12_000  # three chunks of a copy
MTIME_NS = 1_782_000_000_123_456_789
STOP = NeverStop()


class Trees:
    """Three trees and the FileManager over them."""

    def __init__(self, roots: dict[Tree, Path], modes: Modes | None = None) -> None:
        self.roots = roots
        for root in roots.values():
            root.mkdir(parents=True, exist_ok=True)
        self.files = FileManager(roots, "c1", modes or Modes())

    def at(self, tree: Tree, path: PurePosixPath) -> Path:
        return self.roots[tree] / path

    def put(self, tree: Tree, path: PurePosixPath, content: bytes = FILM) -> Path:
        where = self.at(tree, path)
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(content)
        os.utime(where, ns=(MTIME_NS, MTIME_NS))
        return where

    def names(self, tree: Tree) -> list[str]:
        """All files of a tree, by their paths in it."""
        root = self.roots[tree]
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees({tree: tmp_path / tree for tree in Tree})


def file_system_besides(directory: Path) -> Path:
    """A directory on another file system than this one, without any right of root's."""
    device = directory.stat().st_dev
    candidates = [Path("/dev/shm"), Path(tempfile.gettempdir()), Path("/var/tmp"), Path.home(), Path("/run")]
    return next(path for path in candidates if path.stat().st_dev != device and os.access(path, os.W_OK))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """An empty directory on another file system than `tmp_path`."""
    with tempfile.TemporaryDirectory(dir=file_system_besides(tmp_path), prefix="archiverd-test-") as name:
        yield Path(name)


@pytest.fixture
def apart(tmp_path: Path, elsewhere: Path) -> Trees:
    """Three trees, the trash on a file system of its own."""
    return Trees(
        {Tree.SOURCE: tmp_path / "source", Tree.ARCHIVE: tmp_path / "archive", Tree.TRASH: elsewhere / "trash"}
    )


def python(script: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", script, *map(str, arguments)]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, errors="surrogateescape", timeout=120
    )


def strace(record: Path, *options: str) -> list[str]:
    return ["strace", "-qq", "-y", "-s", "300", "-o", str(record), *options]


def can_mount() -> bool:
    """Whether this process has CAP_SYS_ADMIN (bit 21)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    capabilities = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return os.geteuid() == 0 and bool(int(capabilities, 16) >> 21 & 1)


@contextmanager
def mounted(where: Path, *arguments: str | Path) -> Iterator[None]:
    subprocess.run(["mount", *arguments, where], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", where], check=True)


# What the trees of a child are, with its FileManager.
CHILD = """
import os, sys, threading
from pathlib import Path, PurePosixPath
from archiverd.errors import ArchiverError
from archiverd.policy.model import Place, Tree
from archiverd.policy.stop import NeverStop
from archiverd.storage.file_manager import FileManager, Modes
files = FileManager(dict(zip(Tree, map(Path, sys.argv[1:4]))), "c1", Modes())
day = PurePosixPath("2026/07/01")
clip, part, aside = day / "REO_front_20260701120000.mp4", day / ".archiverd-c1-j1.part", day / ".archiverd-j1.gone"
"""


# -- looking ----------------------------------------------------------------------------------------------


def test_status_tells_what_stands_there(trees: Trees) -> None:
    trees.put(Tree.SOURCE, CLIP, b"film")
    status = trees.files.status(Tree.SOURCE, CLIP)
    assert status is not None
    assert (status.st_size, status.st_mtime_ns) == (4, MTIME_NS)


@pytest.mark.parametrize("path", [CLIP, DAY.parent / "02" / CLIP.name, PurePosixPath("file") / CLIP.name])
def test_status_of_what_is_not_there_is_none(trees: Trees, path: PurePosixPath) -> None:
    trees.put(Tree.SOURCE, SECOND)
    (trees.roots[Tree.SOURCE] / "file").touch()
    assert trees.files.status(Tree.SOURCE, path) is None


@pytest.mark.parametrize(
    ("taken", "expected"), [([], CLIP), ([CLIP], SECOND), ([CLIP, SECOND], THIRD), ([SECOND], CLIP)]
)
def test_free_name_is_the_first_that_is_free(trees: Trees, taken: list[PurePosixPath], expected: PurePosixPath) -> None:
    for path in taken:
        trees.put(Tree.ARCHIVE, path)
    assert trees.files.free_name(Tree.ARCHIVE, CLIP) == expected


def test_free_name_takes_a_dangling_symlink_for_taken(trees: Trees) -> None:
    trees.put(Tree.ARCHIVE, SECOND)
    trees.at(Tree.ARCHIVE, CLIP).symlink_to("nowhere")
    assert trees.files.free_name(Tree.ARCHIVE, CLIP) == THIRD


def test_names_tells_everything_in_a_directory_in_order(trees: Trees) -> None:
    for path in (SECOND, CLIP, ASIDE, DAY / "below" / "clip.mp4"):
        trees.put(Tree.SOURCE, path)
    assert trees.files.names(Tree.SOURCE, DAY) == [ASIDE.name, CLIP.name, SECOND.name, "below"]


def test_names_of_the_root_tells_them(trees: Trees) -> None:
    trees.put(Tree.SOURCE, CLIP)
    assert trees.files.names(Tree.SOURCE, PurePosixPath()) == ["2026"]


@pytest.mark.parametrize("directory", ["2027", "2026/07/02", "file", "file/below", "link"])
def test_names_of_what_is_no_directory_are_none(trees: Trees, tmp_path: Path, directory: str) -> None:
    trees.put(Tree.SOURCE, CLIP)
    (trees.roots[Tree.SOURCE] / "file").touch()
    fill(tmp_path / "outside")
    (trees.roots[Tree.SOURCE] / "link").symlink_to(tmp_path / "outside")
    assert trees.files.names(Tree.SOURCE, PurePosixPath(directory)) == []


# -- parts ------------------------------------------------------------------------------------------------


@pytest.fixture(params=[0o000, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes_of(trees: Trees, *paths: PurePosixPath) -> list[str]:
    return [oct(stat.S_IMODE(trees.at(Tree.ARCHIVE, path).stat().st_mode)) for path in paths]


def make_part(trees: Trees, content: bytes = FILM, path: PurePosixPath = PART) -> None:
    with trees.files.new_part(Tree.ARCHIVE, path) as handle:
        os.write(handle, content)
        trees.files.finish_part(handle, MTIME_NS)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("modes", [Modes(), Modes(0o600, 0o700), Modes(0o664, 0o2775)])
def test_a_part_and_its_directories_have_their_modes_under_any_umask(tmp_path: Path, modes: Modes) -> None:
    trees = Trees({tree: tmp_path / tree for tree in Tree}, modes)
    make_part(trees)
    directories = [PurePosixPath("2026"), PurePosixPath("2026/07"), DAY]
    assert modes_of(trees, PART, *directories) == [oct(modes.file), *[oct(modes.directory)] * 3]


def test_an_unfinished_part_is_nobody_elses_to_read(trees: Trees) -> None:
    with trees.files.new_part(Tree.ARCHIVE, PART):
        assert modes_of(trees, PART) == [oct(0o600)]


def test_directories_that_stand_keep_their_modes(trees: Trees) -> None:
    trees.at(Tree.ARCHIVE, PurePosixPath("2026/07")).mkdir(parents=True)
    trees.at(Tree.ARCHIVE, PurePosixPath("2026/07")).chmod(0o711)
    make_part(trees)
    assert modes_of(trees, PurePosixPath("2026/07")) == [oct(0o711)]


def test_a_part_and_its_directories_have_their_group(tmp_path: Path) -> None:
    """Root may give any group, others one of their own."""
    group = 12_345 if os.geteuid() == 0 else [os.getgid(), *os.getgroups()][-1]
    trees = Trees({tree: tmp_path / tree for tree in Tree}, Modes(group=group))
    make_part(trees)
    places = [PurePosixPath("2026"), PurePosixPath("2026/07"), DAY, PART]
    assert [trees.at(Tree.ARCHIVE, path).stat().st_gid for path in places] == [group] * 4


def test_a_finished_part_has_the_time_of_its_source(trees: Trees) -> None:
    make_part(trees)
    assert trees.at(Tree.ARCHIVE, PART).stat().st_mtime_ns == MTIME_NS


@pytest.mark.parametrize("taken", ["file", "dangling symlink"])
def test_new_part_never_takes_a_name_that_is_taken(trees: Trees, tmp_path: Path, taken: str) -> None:
    trees.put(Tree.ARCHIVE, CLIP)
    if taken == "file":
        trees.put(Tree.ARCHIVE, PART, b"another's")
    else:
        trees.at(Tree.ARCHIVE, PART).symlink_to(tmp_path / "outside")
    with pytest.raises(FileExistsError), trees.files.new_part(Tree.ARCHIVE, PART):
        pass
    assert not (tmp_path / "outside").exists()


def test_remove_part_removes_it(trees: Trees) -> None:
    trees.put(Tree.ARCHIVE, PART)
    trees.files.remove_part(Tree.ARCHIVE, PART)
    assert trees.names(Tree.ARCHIVE) == []


@pytest.mark.parametrize("path", [PART, DAY.parent / "02" / PART.name, PurePosixPath("file") / PART.name])
def test_remove_part_of_what_is_not_there_is_content(trees: Trees, path: PurePosixPath) -> None:
    trees.put(Tree.ARCHIVE, CLIP)
    (trees.roots[Tree.ARCHIVE] / "file").touch()
    trees.files.remove_part(Tree.ARCHIVE, path)
    assert trees.names(Tree.ARCHIVE) == [str(CLIP), "file"]


@pytest.mark.parametrize(
    "name",
    [CLIP.name, ASIDE.name, ".archiverd-root", "film.part", ".archiverd-.part", ".archiverd-c1-j1.part.mp4", "notes"],
)
def test_remove_part_removes_nothing_but_parts(trees: Trees, name: str) -> None:
    trees.put(Tree.ARCHIVE, DAY / name)
    with pytest.raises(ValueError, match="is not a part"):
        trees.files.remove_part(Tree.ARCHIVE, DAY / name)
    assert trees.names(Tree.ARCHIVE) == [str(DAY / name)]


# -- publishing -------------------------------------------------------------------------------------------


def test_publish_gives_the_part_its_name(trees: Trees) -> None:
    make_part(trees)
    trees.files.publish(Tree.ARCHIVE, PART, CLIP)
    assert (trees.names(Tree.ARCHIVE), trees.at(Tree.ARCHIVE, CLIP).read_bytes()) == ([str(CLIP)], FILM)


def file_there(where: Path) -> None:
    where.write_bytes(b"another's")


def symlink_there(where: Path) -> None:
    where.symlink_to("nowhere")


def directory_there(where: Path) -> None:
    where.mkdir()


TAKEN = [file_there, symlink_there, directory_there]

PUBLISHES = """
try:
    files.publish(Tree.ARCHIVE, part, clip)
except FileExistsError:
    print("taken")
else:
    print("published")
"""

# How a kernel or file system without RENAME_NOREPLACE answers; the second is what the C library makes of it.
WITHOUT_NOREPLACE = {"renameat2": None, "link and unlink, EINVAL": "EINVAL", "link and unlink, ENOSYS": "ENOSYS"}
EITHER_RENAME = pytest.mark.parametrize("refusal", WITHOUT_NOREPLACE.values(), ids=WITHOUT_NOREPLACE.keys())


def child(trees: Trees, script: str, record: Path, refusal: str | None) -> list[str]:
    """Run a script over the trees, renameat2 being refused or not, and return what it says, line by line."""
    inject = ["-e", f"inject=renameat2:error={refusal}"] if refusal else []
    command = strace(record, "-f", "-e", "trace=renameat2,linkat", *inject)
    ended = run([*command, *python(CHILD + script, *(trees.roots[tree] for tree in Tree))])
    assert ended.returncode == 0, ended.stderr
    calls = record.read_text(encoding="utf-8")
    assert ("INJECTED" in calls, "linkat(" in calls) == (bool(refusal), bool(refusal)), calls
    return ended.stdout.splitlines()


@EITHER_RENAME
def test_publish_names_by_either_call(trees: Trees, tmp_path: Path, refusal: str | None) -> None:
    trees.put(Tree.ARCHIVE, PART)
    said = child(trees, PUBLISHES, tmp_path / "strace", refusal)
    assert (said, trees.names(Tree.ARCHIVE)) == (["published"], [str(CLIP)])


@EITHER_RENAME
@pytest.mark.parametrize("take", TAKEN)
def test_publish_never_replaces(
    trees: Trees, tmp_path: Path, refusal: str | None, take: Callable[[Path], None]
) -> None:
    trees.put(Tree.ARCHIVE, PART)
    take(trees.at(Tree.ARCHIVE, CLIP))
    before = trees.at(Tree.ARCHIVE, CLIP).lstat()
    said = child(trees, PUBLISHES, tmp_path / "strace", refusal)
    assert (said, trees.at(Tree.ARCHIVE, CLIP).lstat()) == (["taken"], before)
    assert trees.at(Tree.ARCHIVE, PART).read_bytes() == FILM


RACES = """
rounds, rivals = 40, ("one", "two")
barrier = threading.Barrier(len(rivals))
winners = [[] for _ in range(rounds)]

def publish(rival):
    for number in range(rounds):
        own, final = day / f".archiverd-c1-{rival}{number}.part", day / f"front_{20260701120000 + number}.mp4"
        with files.new_part(Tree.ARCHIVE, own) as handle:
            os.write(handle, rival.encode())
        barrier.wait(30)
        try:
            files.publish(Tree.ARCHIVE, own, final)
        except FileExistsError:
            continue
        winners[number].append(rival)

threads = [threading.Thread(target=publish, args=(rival,)) for rival in rivals]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for number, won in enumerate(winners):
    print(number, *won, (Path(sys.argv[2]) / day / f"front_{20260701120000 + number}.mp4").read_text())
"""


@EITHER_RENAME
def test_two_that_publish_one_name_never_both_win(trees: Trees, tmp_path: Path, refusal: str | None) -> None:
    """In each round exactly one wins, the content is the winner's, and the loser keeps its part."""
    lines = [line.split() for line in child(trees, RACES, tmp_path / "strace", refusal)]
    assert [(len(line), line[1] == line[-1]) for line in lines] == [(3, True)] * 40
    assert sum(name.endswith(".part") for name in trees.names(Tree.ARCHIVE)) == 40


# -- durability -------------------------------------------------------------------------------------------

_SYNC = re.compile(r"(?:fsync|fdatasync)\(\d+<(.*?)>(?:\(deleted\))?\)\s+= 0")
_RENAME = re.compile(r'renameat2\(\d+<(.*)>, "(.*)", \d+<(.*)>, "(.*)", RENAME_NOREPLACE\)\s+= 0')
_UNLINK = re.compile(r'unlinkat\(\d+<(.*)>, "(.*)", 0\)\s+= 0')
_COMMIT = re.compile(r'unlink\("(.*)-journal"\)\s+= 0')


def step_of(call: str) -> str:
    """What a successful system call did, in words; empty for any other."""
    if match := _SYNC.fullmatch(call):
        return f"sync {match[1]}"
    if match := _RENAME.fullmatch(call):
        return f"rename {match[1]}/{match[2]} to {match[3]}/{match[4]}"
    if match := _UNLINK.fullmatch(call):
        return f"remove {match[1]}/{match[2]}"
    if match := _COMMIT.fullmatch(call):
        return f"commit {match[1]}"
    return ""


def steps(record: Path) -> list[str]:
    """What was done that a power cut could undo or halve, in order."""
    calls = record.read_text(encoding="utf-8").splitlines()
    return [step for step in map(step_of, calls) if step]


def steps_of(trees: Trees, script: str, record: Path) -> list[str]:
    """The steps of a script over the trees."""
    command = strace(record, "-e", "trace=fsync,fdatasync,renameat2,unlinkat")
    ended = run([*command, *python(CHILD + script, *(trees.roots[tree] for tree in Tree))])
    assert ended.returncode == 0, ended.stderr
    return steps(record)


def sync_up(root: Path) -> list[str]:
    """The directories of a clip brought to the disk, from its own up to the root."""
    return [*(f"sync {root / part}" for part in (DAY, *DAY.parents[:-1])), f"sync {root}"]


def test_finish_part_brings_the_part_to_the_disk(trees: Trees, tmp_path: Path) -> None:
    script = """
with files.new_part(Tree.ARCHIVE, part) as handle:
    os.write(handle, b"film")
    files.finish_part(handle, 1)
"""
    assert steps_of(trees, script, tmp_path / "strace") == [f"sync {trees.at(Tree.ARCHIVE, PART)}"]


def test_publish_brings_every_directory_to_the_disk_after_the_name(trees: Trees, tmp_path: Path) -> None:
    trees.put(Tree.ARCHIVE, PART)
    root = trees.roots[Tree.ARCHIVE]
    assert steps_of(trees, PUBLISHES, tmp_path / "strace") == [
        f"rename {root / PART} to {root / CLIP}",
        *sync_up(root),
    ]


def test_sync_file_brings_the_file_and_every_directory_to_the_disk(trees: Trees, tmp_path: Path) -> None:
    trees.put(Tree.ARCHIVE, CLIP)
    root = trees.roots[Tree.ARCHIVE]
    assert steps_of(trees, "files.sync_file(Tree.ARCHIVE, clip)", tmp_path / "strace") == [
        f"sync {root / CLIP}",
        *sync_up(root),
    ]


def test_delete_brings_the_directory_to_the_disk(trees: Trees, tmp_path: Path) -> None:
    trees.put(Tree.SOURCE, ASIDE)
    root = trees.roots[Tree.SOURCE]
    assert steps_of(trees, "files.delete(Tree.SOURCE, aside)", tmp_path / "strace") == [
        f"remove {root / ASIDE}",
        f"sync {root / DAY}",
    ]


TRASHES = """
print(files.trash(Tree.SOURCE, aside, clip, "j1", NeverStop()))
"""


def test_trash_by_rename_brings_both_places_to_the_disk(trees: Trees, tmp_path: Path) -> None:
    trees.put(Tree.SOURCE, ASIDE)
    source, trash = trees.roots[Tree.SOURCE], trees.roots[Tree.TRASH]
    assert steps_of(trees, TRASHES, tmp_path / "strace") == [
        f"sync {source / ASIDE}",  # who uploaded it may not have done that
        f"rename {source / ASIDE} to {trash / CLIP}",
        *sync_up(trash),
        f"sync {source / DAY}",
    ]


def test_trash_by_copy_brings_the_copy_to_the_disk_before_the_original_goes(apart: Trees, tmp_path: Path) -> None:
    apart.put(Tree.SOURCE, ASIDE)
    source, trash = apart.roots[Tree.SOURCE], apart.roots[Tree.TRASH]
    assert steps_of(apart, TRASHES, tmp_path / "strace") == [
        f"sync {source / ASIDE}",  # before it was known that it is a copy that counts
        f"sync {trash / PART}",
        f"rename {trash / PART} to {trash / CLIP}",
        *sync_up(trash),
        f"remove {source / ASIDE}",
        f"sync {source / DAY}",
    ]


def test_trash_brings_a_copy_that_stood_there_to_the_disk_before_the_original_goes(
    apart: Trees, tmp_path: Path
) -> None:
    """Who died after the copy may have died before its fsync."""
    apart.put(Tree.SOURCE, ASIDE)
    apart.put(Tree.TRASH, CLIP)
    source, trash = apart.roots[Tree.SOURCE], apart.roots[Tree.TRASH]
    done = steps_of(apart, TRASHES, tmp_path / "strace")
    assert done[done.index(f"sync {trash / CLIP}") :] == [
        f"sync {trash / CLIP}",
        *sync_up(trash),
        f"remove {source / ASIDE}",
        f"sync {source / DAY}",
    ]


FINISHES_AND_PUBLISHES = """
def attempt():
    with files.new_part(Tree.ARCHIVE, part) as handle:
        os.write(handle, b"film")
        files.finish_part(handle, 1)
    files.publish(Tree.ARCHIVE, part, clip)
try:
    attempt()
except ArchiverError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("when", [1, 2, 5], ids=["the part", "its directory", "the root"])
def test_a_failed_fsync_is_told_and_not_tried_again(trees: Trees, tmp_path: Path, when: int) -> None:
    """After the error the kernel takes the pages for clean: a second fsync would succeed and prove nothing."""
    command = strace(tmp_path / "strace", "-e", "trace=fsync", "-e", f"inject=fsync:error=EIO:when={when}")
    ended = run([*command, *python(CHILD + FINISHES_AND_PUBLISHES, *(trees.roots[tree] for tree in Tree))])
    calls = (tmp_path / "strace").read_text(encoding="utf-8").splitlines()
    assert (ended.stdout, len(calls), "INJECTED" in calls[-1]) == ("ResourceError\n", when, True)


def test_a_run_relies_on_nothing_that_is_not_on_the_disk(tmp_path: Path) -> None:
    """One clip through the whole program: what a step relies on is on the disk before it is taken."""
    camera = tmp_path / "camera"
    clip = camera / CLIP
    clip.parent.mkdir(parents=True)
    footage.place(footage.Clip("durable", 160, 120, seconds=1.0), clip)
    os.utime(clip, ns=(MTIME_NS, MTIME_NS))
    command = strace(
        tmp_path / "strace", "-ff", "--seccomp-bpf", "-e", "trace=fsync,fdatasync,renameat2,unlinkat,unlink"
    )
    ended = run([*command, sys.executable, "-m", "archiverd", "run", str(camera), "--no-confirm"])
    assert ended.returncode == 0, ended.stderr + ended.stdout
    (worker,) = [file for file in tmp_path.glob("strace.*") if "RENAME_NOREPLACE" in file.read_text(encoding="utf-8")]
    assert essence(steps(worker), camera) == [
        "sync archived/2026/07/01/PART",
        "commit CATALOG",
        "rename archived/2026/07/01/PART to archived/2026/07/01/CLIP",
        "sync archived/2026/07/01",
        "sync archived/2026/07",
        "sync archived/2026",
        "sync archived",
        "commit CATALOG",
        "rename 2026/07/01/CLIP to 2026/07/01/GONE",
        "sync 2026/07/01/GONE",
        "rename 2026/07/01/GONE to .deleted/2026/07/01/CLIP",
        "sync .deleted/2026/07/01",
        "sync .deleted/2026/07",
        "sync .deleted/2026",
        "sync .deleted",
        "sync 2026/07/01",
        "commit CATALOG",
    ]


def essence(done: list[str], camera: Path) -> list[str]:
    """The steps from the finished part on, without what changes from run to run, and without SQLite's own syncs."""
    told = "\n".join(done).replace(f"{camera}/", "")
    for pattern, word in (
        (r"\.archiverd-\w+-\w+\.part", "PART"),
        (r"\.archiverd-\w+\.gone", "GONE"),
        (re.escape(CLIP.name), "CLIP"),
        (r"\.archiverd/catalog\.sqlite", "CATALOG"),
    ):
        told = re.sub(pattern, word, told)
    lines = [line for line in told.splitlines() if not re.fullmatch(r"sync (CATALOG.*|\.archiverd)", line)]
    return lines[lines.index("sync archived/2026/07/01/PART") :]


# -- copying ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"film", FILM], ids=["empty", "small", "three chunks"])
def test_copy_is_the_original_and_tells_its_sha256(trees: Trees, content: bytes) -> None:
    trees.put(Tree.SOURCE, CLIP, content)
    with trees.files.opened(Tree.SOURCE, CLIP) as source, trees.files.new_part(Tree.ARCHIVE, PART) as copy:
        sha256 = trees.files.copy(source, copy, STOP)
    assert (sha256, trees.at(Tree.ARCHIVE, PART).read_bytes()) == (hashlib.sha256(content).hexdigest(), content)


def test_copy_leaves_nothing_of_what_was_there_before(trees: Trees) -> None:
    trees.put(Tree.SOURCE, CLIP, b"film")
    with trees.files.opened(Tree.SOURCE, CLIP) as source, trees.files.new_part(Tree.ARCHIVE, PART) as copy:
        os.write(copy, FILM)
        trees.files.copy(source, copy, STOP)
    assert trees.at(Tree.ARCHIVE, PART).read_bytes() == b"film"


def test_sha256_leaves_the_offset_alone(trees: Trees) -> None:
    trees.put(Tree.SOURCE, CLIP)
    with trees.files.opened(Tree.SOURCE, CLIP) as handle:
        os.lseek(handle, 7, os.SEEK_SET)
        assert trees.files.sha256(handle, STOP) == hashlib.sha256(FILM).hexdigest()
        assert os.lseek(handle, 0, os.SEEK_CUR) == 7


class StopAt(NeverStop):
    """Does something at the n-th time it is asked whether to stop."""

    def __init__(self, when: int, act: Callable[[], None]) -> None:
        super().__init__()
        self._left = when
        self._act = act

    def check(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._act()


def interrupt() -> None:
    raise Interrupted(signal.SIGTERM)


def test_copy_that_does_not_read_back_is_told(trees: Trees) -> None:
    """The disk changes a byte between the writing and the reading."""
    trees.put(Tree.SOURCE, CLIP)
    copy = trees.at(Tree.ARCHIVE, PART)

    def change_a_byte() -> None:
        with copy.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\x00")

    with (
        trees.files.opened(Tree.SOURCE, CLIP) as source,
        trees.files.new_part(Tree.ARCHIVE, PART) as target,
        pytest.raises(ResourceError, match="does not read back"),
    ):
        trees.files.copy(source, target, StopAt(4, change_a_byte))


@pytest.mark.parametrize("when", range(1, 7))
def test_copy_ends_on_a_stop_at_any_chunk(trees: Trees, when: int) -> None:
    """Three chunks are written, and three read back."""
    trees.put(Tree.SOURCE, CLIP)
    with (
        trees.files.opened(Tree.SOURCE, CLIP) as source,
        trees.files.new_part(Tree.ARCHIVE, PART) as target,
        pytest.raises(Interrupted),
    ):
        trees.files.copy(source, target, StopAt(when, interrupt))


# -- full disks -------------------------------------------------------------------------------------------

ARCHIVES = """
try:
    with files.opened(Tree.SOURCE, clip) as source, files.new_part(Tree.ARCHIVE, part) as target:
        files.copy(source, target, NeverStop())
        files.finish_part(target, 1)
    files.publish(Tree.ARCHIVE, part, clip)
except ArchiverError as error:
    print(type(error).__name__)
files.remove_part(Tree.ARCHIVE, part)
"""


@pytest.mark.parametrize(
    "fault",
    [
        "pwrite64:error=ENOSPC:when=2+",
        "pwrite64:error=EDQUOT",
        "pwrite64:error=EIO:when=3",
        "ftruncate:error=EIO",
        "renameat2:error=ENOSPC",
        "renameat2:error=EIO",
        "mkdirat:error=EROFS",
        "fchmod:error=EIO:when=4",
        "utimensat:error=EROFS",
    ],  # the first three fchmod are of the directories
)
def test_a_disk_that_takes_no_archive_is_told_and_the_part_can_be_removed(
    trees: Trees, tmp_path: Path, fault: str
) -> None:
    trees.put(Tree.SOURCE, CLIP)
    command = strace(tmp_path / "strace", "-e", f"inject={fault}")
    ended = run([*command, *python(CHILD + ARCHIVES, *(trees.roots[tree] for tree in Tree))])
    assert "INJECTED" in (tmp_path / "strace").read_text(encoding="utf-8")
    assert (ended.stdout, trees.names(Tree.ARCHIVE)) == ("ResourceError\n", []), ended.stderr


COPIES = """
try:
    with files.opened(Tree.SOURCE, clip) as source, files.new_part(Tree.ARCHIVE, part) as target:
        files.copy(source, target, NeverStop())
except (ArchiverError, OSError) as error:
    print(type(error).__name__, getattr(error, "errno", ""))
"""


@pytest.mark.parametrize(
    ("tree", "path", "fault", "told"),
    [
        pytest.param(Tree.SOURCE, CLIP, "pread64:error=EIO:when=1", f"OSError {errno.EIO}", id="reading"),
        pytest.param(Tree.SOURCE, CLIP, "pread64:error=EIO:when=3", f"OSError {errno.EIO}", id="reading on"),
        pytest.param(Tree.ARCHIVE, PART, "pwrite64:error=EIO:when=1", "ResourceError", id="writing"),
        pytest.param(Tree.ARCHIVE, PART, "pwrite64:error=EIO:when=3", "ResourceError", id="writing on"),
        pytest.param(Tree.ARCHIVE, PART, "pread64:error=EIO:when=1", "ResourceError", id="reading back"),
    ],
)
def test_a_copy_blames_the_file_for_what_cannot_be_read_and_the_disk_for_the_rest(
    trees: Trees, tmp_path: Path, tree: Tree, path: PurePosixPath, fault: str, told: str
) -> None:
    trees.put(Tree.SOURCE, CLIP)
    command = strace(tmp_path / "strace", "-P", str(trees.at(tree, path)), "-e", f"inject={fault}")
    ended = run([*command, *python(CHILD + COPIES, *(trees.roots[tree] for tree in Tree))])
    assert "INJECTED" in (tmp_path / "strace").read_text(encoding="utf-8")
    assert ended.stdout.strip() == told, ended.stderr


def test_a_disk_that_takes_no_new_file_is_told(trees: Trees, tmp_path: Path) -> None:
    """Only the open of the part fails: its directory stands already."""
    trees.put(Tree.SOURCE, CLIP)
    day = trees.at(Tree.ARCHIVE, DAY)
    day.mkdir(parents=True)
    command = strace(tmp_path / "strace", "-P", str(day), "-e", "inject=openat:error=ENOSPC:when=1")
    ended = run([*command, *python(CHILD + ARCHIVES, *(trees.roots[tree] for tree in Tree))])
    assert f'"{PART.name}", ' in (tmp_path / "strace").read_text(encoding="utf-8").splitlines()[0]
    assert ended.stdout == "ResourceError\n", ended.stderr


@contextmanager
def small_disk(where: Path) -> Iterator[None]:
    """A file system of two megabytes, less than FILM."""
    image = where.with_name(f"{where.name}.image")
    image.touch()
    os.truncate(image, 2 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", image], check=True)
    with mounted(where, "-o", "loop", image):
        yield


@contextmanager
def disk_without_inodes(where: Path) -> Iterator[None]:
    with mounted(where, "-t", "tmpfs", "-o", "nr_inodes=4", "none"):
        yield


# Real disks where they can be mounted, beside what strace says in their stead.
FULL = [small_disk, disk_without_inodes] if can_mount() else []


@pytest.mark.parametrize("disk", [nullcontext, *([small_disk] if can_mount() else [])])
def test_free_bytes_are_what_an_ordinary_user_may_write(
    trees: Trees, disk: Callable[[Path], AbstractContextManager[None]]
) -> None:
    """What the small disk keeps for root does not count. Others write to the disk of the tests at the same time."""
    deadline = time.monotonic() + 60
    with disk(trees.roots[Tree.ARCHIVE]):
        while room_of(trees.files) != ordinary_room(trees.roots[Tree.ARCHIVE]):
            assert time.monotonic() < deadline


def room_of(files: FileManager) -> tuple[int, int, int, int]:
    return (files.free_bytes(Tree.ARCHIVE), *files.free_room(Tree.ARCHIVE)[:3])


def ordinary_room(directory: Path) -> tuple[int, int, int, int]:
    room = os.statvfs(directory)
    free = room.f_bavail * room.f_frsize
    return free, free, room.f_blocks * room.f_frsize, directory.stat().st_dev


def test_free_bytes_are_of_the_file_system_of_the_tree(tmp_path: Path) -> None:
    """Nothing can be written to /proc."""
    files = FileManager({Tree.SOURCE: tmp_path, Tree.ARCHIVE: Path("/proc")}, "c1", Modes())
    assert (files.free_bytes(Tree.ARCHIVE), files.free_bytes(Tree.SOURCE) > 0) == (0, True)


@pytest.mark.parametrize("full", [*FULL, None])
def test_trash_on_a_full_disk_is_told_and_changes_nothing(
    trees: Trees, tmp_path: Path, full: Callable[[Path], AbstractContextManager[None]] | None
) -> None:
    trees.put(Tree.SOURCE, ASIDE)
    with full(trees.roots[Tree.TRASH]) if full else nullcontext():
        said = trash_in_a_child(trees, tmp_path / "strace", without_disk=full is None)
        assert (said, trees.names(Tree.SOURCE), trees.names(Tree.TRASH)) == ("ResourceError\n", [str(ASIDE)], [])


def trash_in_a_child(trees: Trees, record: Path, *, without_disk: bool) -> str:
    """What a child says that moves to the trash; with the answers of a full disk where there is none."""
    script = """
try:
    files.trash(Tree.SOURCE, aside, clip, "j1", NeverStop())
except ArchiverError as error:
    print(type(error).__name__)
"""
    faults = ["-e", "inject=renameat2:error=EXDEV", "-e", "inject=pwrite64:error=ENOSPC:when=2+"]
    command = strace(record, *(faults if without_disk else []))
    ended = run([*command, *python(CHILD + script, *(trees.roots[tree] for tree in Tree))])
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


FAULTS_OF_THE_MACHINE = [
    errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE,
    errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.ESHUTDOWN,
]  # fmt: skip
FAULTS_OF_A_FILE = [
    errno.ENOENT, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EXDEV, errno.ELOOP, errno.ENOTDIR, errno.EISDIR,
    errno.ENAMETOOLONG, errno.EINVAL,
]  # fmt: skip


@pytest.mark.parametrize("code", FAULTS_OF_THE_MACHINE, ids=errno.errorcode.get)
def test_faults_of_the_machine_blame_no_file(code: int) -> None:
    with pytest.raises(ResourceError, match=r"2026/07/01\\xff: "), environment_faults(f"{DAY}\udcff"):
        raise OSError(code, os.strerror(code))


@pytest.mark.parametrize("code", FAULTS_OF_A_FILE, ids=errno.errorcode.get)
def test_faults_of_a_file_pass_as_they_are(code: int) -> None:
    fault = OSError(code, os.strerror(code))
    with pytest.raises(OSError, match=re.escape(os.strerror(code))) as caught, environment_faults(CLIP):
        raise fault
    assert caught.value is fault


# -- setting aside ----------------------------------------------------------------------------------------


def test_set_aside_renames_beside_its_place(trees: Trees) -> None:
    trees.put(Tree.SOURCE, CLIP)
    assert trees.files.set_aside(Tree.SOURCE, CLIP, "j1") == ASIDE
    assert trees.names(Tree.SOURCE) == [str(ASIDE)]


def test_set_aside_never_replaces(trees: Trees) -> None:
    trees.put(Tree.SOURCE, CLIP)
    trees.put(Tree.SOURCE, ASIDE, b"another's")
    with pytest.raises(FileExistsError):
        trees.files.set_aside(Tree.SOURCE, CLIP, "j1")
    assert trees.at(Tree.SOURCE, ASIDE).read_bytes() == b"another's"


@pytest.mark.parametrize(("taken", "place"), [([], CLIP), ([CLIP], SECOND), ([CLIP, SECOND], THIRD)])
def test_put_back_takes_the_first_free_name(trees: Trees, taken: list[PurePosixPath], place: PurePosixPath) -> None:
    """A camera may have uploaded under the name while the file stood aside."""
    trees.put(Tree.SOURCE, ASIDE)
    for path in taken:
        trees.put(Tree.SOURCE, path, b"another's")
    assert trees.files.put_back(Tree.SOURCE, ASIDE, CLIP) == place
    contents = {path: trees.at(Tree.SOURCE, path).read_bytes() for path in [*taken, place]}
    assert contents == {**dict.fromkeys(taken, b"another's"), place: FILM}


def test_set_aside_and_put_back_change_nothing_of_the_file(trees: Trees) -> None:
    before = trees.put(Tree.SOURCE, CLIP).stat()
    trees.files.put_back(Tree.SOURCE, trees.files.set_aside(Tree.SOURCE, CLIP, "j1"), CLIP)
    after = trees.at(Tree.SOURCE, CLIP).stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_mode) == (before.st_ino, before.st_mtime_ns, before.st_mode)


@EITHER_RENAME
def test_set_aside_and_put_back_by_either_call(trees: Trees, tmp_path: Path, refusal: str | None) -> None:
    trees.put(Tree.SOURCE, CLIP)
    script = """
files.set_aside(Tree.SOURCE, clip, "j1")
(Path(sys.argv[1]) / clip).write_bytes(b"uploaded meanwhile")
print(files.put_back(Tree.SOURCE, aside, clip))
"""
    assert child(trees, script, tmp_path / "strace", refusal) == [str(SECOND)]
    assert trees.names(Tree.SOURCE) == [str(CLIP), str(SECOND)]


def test_delete_removes_for_good(trees: Trees) -> None:
    trees.put(Tree.SOURCE, ASIDE)
    trees.files.delete(Tree.SOURCE, ASIDE)
    assert trees.names(Tree.SOURCE) == []


def test_delete_of_a_symlink_removes_only_the_link(trees: Trees) -> None:
    trees.put(Tree.SOURCE, CLIP)
    trees.at(Tree.SOURCE, ASIDE).symlink_to(CLIP.name)
    trees.files.delete(Tree.SOURCE, ASIDE)
    assert trees.names(Tree.SOURCE) == [str(CLIP)]


# -- the trash --------------------------------------------------------------------------------------------

SAME_DISK_OR_NOT = pytest.mark.parametrize("kind", ["trees", "apart"], ids=["same disk", "other disk"])


@pytest.fixture
def either(request: pytest.FixtureRequest, kind: str) -> Trees:
    """The trash on the disk of the source, or on another."""
    made: Trees = request.getfixturevalue(kind)
    return made


def trash(trees: Trees, tree: Tree = Tree.SOURCE) -> PurePosixPath:
    return trees.files.trash(tree, ASIDE, CLIP, "j1", STOP)


@SAME_DISK_OR_NOT
def test_trash_moves_to_the_path_the_file_had(either: Trees) -> None:
    either.put(Tree.SOURCE, ASIDE)
    assert trash(either) == CLIP
    assert (either.names(Tree.SOURCE), either.names(Tree.TRASH)) == ([], [str(CLIP)])


@SAME_DISK_OR_NOT
def test_trash_keeps_what_comes_from_the_archive_apart(either: Trees) -> None:
    either.put(Tree.ARCHIVE, ASIDE)
    assert trash(either, Tree.ARCHIVE) == "archived" / CLIP
    assert either.names(Tree.TRASH) == [f"archived/{CLIP}"]


@SAME_DISK_OR_NOT
@pytest.mark.parametrize("mode", [0o600, 0o644], ids=oct)
def test_trash_keeps_content_and_time_and_modes(either: Trees, mode: int) -> None:
    either.put(Tree.SOURCE, ASIDE).chmod(mode)
    status = either.at(Tree.TRASH, trash(either)).stat()
    assert (either.at(Tree.TRASH, CLIP).read_bytes(), status.st_mtime_ns, oct(stat.S_IMODE(status.st_mode))) == (
        FILM, MTIME_NS, oct(mode)
    )  # fmt: skip


@SAME_DISK_OR_NOT
@pytest.mark.parametrize(("taken", "place"), [([CLIP], SECOND), ([CLIP, SECOND], THIRD)])
def test_trash_never_replaces(either: Trees, taken: list[PurePosixPath], place: PurePosixPath) -> None:
    either.put(Tree.SOURCE, ASIDE)
    for path in taken:
        either.put(Tree.TRASH, path, FILM[:-1] + b"?")
    assert trash(either) == place
    assert either.at(Tree.TRASH, place).read_bytes() == FILM
    assert {either.at(Tree.TRASH, path).read_bytes() for path in taken} == {FILM[:-1] + b"?"}


@SAME_DISK_OR_NOT
def test_trash_makes_its_directories_with_their_modes(either: Trees) -> None:
    either.put(Tree.SOURCE, ASIDE)
    trash(either)
    directories = [either.at(Tree.TRASH, path) for path in (DAY, *DAY.parents[:-1])]
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in directories} == {oct(0o750)}


@pytest.mark.parametrize("place", [CLIP, SECOND])
def test_trash_needs_no_second_copy_of_what_stands_there(apart: Trees, place: PurePosixPath) -> None:
    """The process died between the copy and the removal of the original."""
    apart.put(Tree.SOURCE, ASIDE)
    apart.put(Tree.TRASH, CLIP, b"another's")
    inode = apart.put(Tree.TRASH, place).stat().st_ino
    assert trash(apart) == place
    assert apart.names(Tree.SOURCE) == []
    assert apart.names(Tree.TRASH) == sorted({str(CLIP), str(place)})
    assert apart.at(Tree.TRASH, place).stat().st_ino == inode


def test_trash_writes_over_the_part_a_dead_process_left(apart: Trees) -> None:
    apart.put(Tree.SOURCE, ASIDE)
    apart.put(Tree.TRASH, PART, b"half")
    assert trash(apart) == CLIP
    assert (apart.names(Tree.TRASH), apart.at(Tree.TRASH, CLIP).read_bytes()) == ([str(CLIP)], FILM)


@pytest.mark.parametrize("when", [1, 3, 4, 6])
def test_trash_that_is_stopped_leaves_the_original_and_nothing_else(apart: Trees, when: int) -> None:
    apart.put(Tree.SOURCE, ASIDE)
    with pytest.raises(Interrupted):
        apart.files.trash(Tree.SOURCE, ASIDE, CLIP, "j1", StopAt(when, interrupt))
    assert (apart.names(Tree.SOURCE), apart.names(Tree.TRASH)) == ([str(ASIDE)], [])


# The calls of a move to the trash, by kind, and how many of each there are.
KILLS = {
    "trees": {"mkdirat": 3, "fchmod": 3, "renameat2": 1, "fsync": 5},
    "apart": {"mkdirat": 3, "fchmod": 3, "pwrite64": 3, "utimensat": 1, "fsync": 6, "renameat2": 2, "unlinkat": 1},
}


@pytest.mark.parametrize(
    ("kind", "call", "when"),
    [(kind, call, n + 1) for kind, calls in KILLS.items() for call, count in calls.items() for n in range(count)],
)
def test_trash_that_is_killed_loses_nothing_and_is_finished_by_the_next(
    either: Trees, tmp_path: Path, call: str, when: int
) -> None:
    """SIGKILL at the n-th call of its kind."""
    either.put(Tree.SOURCE, ASIDE)
    command = strace(tmp_path / "strace", "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={when}")
    ended = run([*command, *python(CHILD + TRASHES, *(either.roots[tree] for tree in Tree))])
    assert ended.returncode == -signal.SIGKILL
    places = [either.at(Tree.SOURCE, ASIDE), either.at(Tree.TRASH, CLIP)]
    assert FILM in [place.read_bytes() for place in places if place.exists()]
    if places[0].exists():
        trash(either)
    assert (either.names(Tree.SOURCE), either.names(Tree.TRASH)) == ([], [str(CLIP)])


# -- moving between any two trees -------------------------------------------------------------------------

WAYS = [(old, new) for old in Tree for new in Tree if old is not new]
MODES = Modes(0o604, 0o751)


@contextmanager
def on_one_disk(base: Path, _elsewhere: Path, _apart: Tree) -> Iterator[dict[Tree, Path]]:
    yield {tree: base / tree for tree in Tree}


@contextmanager
def on_two_disks(base: Path, elsewhere: Path, apart: Tree) -> Iterator[dict[Tree, Path]]:
    yield {tree: (elsewhere if tree is apart else base) / tree for tree in Tree}


@contextmanager
def on_two_mounts_of_one_disk(base: Path, _elsewhere: Path, apart: Tree) -> Iterator[dict[Tree, Path]]:
    """As a hardened service sees its trees: st_dev is the same, and a rename is refused all the same."""
    (base / "shown").mkdir()
    (base / apart).mkdir()
    with mounted(base / apart, "--bind", base / "shown"):
        yield {tree: base / tree for tree in Tree}


LAYOUTS = [on_one_disk, on_two_disks, *([on_two_mounts_of_one_disk] if can_mount() else [])]


@pytest.fixture
def laid(
    request: pytest.FixtureRequest, tmp_path: Path, elsewhere: Path, way: tuple[Tree, Tree]
) -> Iterator[Trees]:  # fmt: skip
    """Three trees; where the two of `way` stand to each other is the layout of the test."""
    with request.param(tmp_path, elsewhere, way[1]) as roots:
        yield Trees(roots, MODES)


ANY_WAY = pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way[0]} to {way[1]}")
ANY_LAYOUT = pytest.mark.parametrize("laid", LAYOUTS, indirect=True)


def move(trees: Trees, way: tuple[Tree, Tree], *, own: bool = False) -> PurePosixPath:
    return trees.files.move(Place(way[0], ASIDE), Place(way[1], CLIP), "j1", STOP, own=own)


@ANY_LAYOUT
@ANY_WAY
def test_move_brings_a_file_as_it_is_to_any_tree(laid: Trees, way: tuple[Tree, Tree]) -> None:
    laid.put(way[0], ASIDE).chmod(0o600)
    assert move(laid, way) == CLIP
    status = laid.at(way[1], CLIP).stat()
    assert (laid.names(way[0]), laid.names(way[1])) == ([], [str(CLIP)])
    assert laid.at(way[1], CLIP).read_bytes() == FILM
    assert (status.st_mtime_ns, oct(stat.S_IMODE(status.st_mode))) == (MTIME_NS, oct(0o600))


@ANY_LAYOUT
@ANY_WAY
def test_move_of_what_is_to_be_our_own_makes_a_new_file_with_our_modes(laid: Trees, way: tuple[Tree, Tree]) -> None:
    """A second name that its uploader has, or a handle left open, leads to another file."""
    other_name = laid.put(way[0], ASIDE).with_name("of_the_uploader")
    other_name.hardlink_to(laid.at(way[0], ASIDE))
    assert move(laid, way, own=True) == CLIP
    status = laid.at(way[1], CLIP).stat()
    assert laid.at(way[1], CLIP).read_bytes() == other_name.read_bytes() == FILM
    assert (status.st_nlink, status.st_mtime_ns, oct(stat.S_IMODE(status.st_mode))) == (1, MTIME_NS, oct(0o604))
    assert oct(stat.S_IMODE(laid.at(way[1], DAY).stat().st_mode)) == oct(0o751)


def test_move_of_what_is_to_be_our_own_gives_it_our_group(tmp_path: Path) -> None:
    group = 12_345 if os.geteuid() == 0 else [os.getgid(), *os.getgroups()][-1]
    trees = Trees({tree: tmp_path / tree for tree in Tree}, Modes(group=group))
    trees.put(Tree.SOURCE, ASIDE)
    move(trees, (Tree.SOURCE, Tree.ARCHIVE), own=True)
    assert {trees.at(Tree.ARCHIVE, path).stat().st_gid for path in (CLIP, DAY)} == {group}


OWN_OR_NOT = pytest.mark.parametrize("own", [False, True], ids=["as it is", "our own"])


@OWN_OR_NOT
@ANY_LAYOUT
@pytest.mark.parametrize("way", [(Tree.TRASH, Tree.SOURCE), (Tree.SOURCE, Tree.ARCHIVE)])
def test_move_never_replaces(laid: Trees, way: tuple[Tree, Tree], own: bool) -> None:
    laid.put(way[0], ASIDE)
    for path in (CLIP, SECOND):
        laid.put(way[1], path, FILM[:-1] + b"?")
    assert move(laid, way, own=own) == THIRD
    contents = [laid.at(way[1], path).read_bytes() for path in (CLIP, SECOND, THIRD)]
    assert contents == [FILM[:-1] + b"?"] * 2 + [FILM]


@OWN_OR_NOT
@pytest.mark.parametrize("laid", [on_two_disks], indirect=True)
@pytest.mark.parametrize("way", [(Tree.TRASH, Tree.SOURCE), (Tree.SOURCE, Tree.ARCHIVE)])
def test_move_needs_no_second_copy_of_what_stands_there(laid: Trees, way: tuple[Tree, Tree], own: bool) -> None:
    """The process died between the copy and the removal of the original."""
    laid.put(way[0], ASIDE)
    inode = laid.put(way[1], CLIP).stat().st_ino
    assert move(laid, way, own=own) == CLIP
    assert (laid.names(way[0]), laid.names(way[1])) == ([], [str(CLIP)])
    assert laid.at(way[1], CLIP).stat().st_ino == inode


def test_move_of_our_own_does_not_take_the_original_for_its_copy(trees: Trees) -> None:
    """A hard link, or a bind mount, can show the original in the other tree. Then it is no copy."""
    trees.put(Tree.SOURCE, ASIDE)
    trees.at(Tree.ARCHIVE, DAY).mkdir(parents=True)
    trees.at(Tree.ARCHIVE, CLIP).hardlink_to(trees.at(Tree.SOURCE, ASIDE))
    assert move(trees, (Tree.SOURCE, Tree.ARCHIVE), own=True) == SECOND
    assert trees.at(Tree.ARCHIVE, SECOND).stat().st_nlink == 1


@OWN_OR_NOT
def test_move_onto_its_own_place_loses_nothing(trees: Trees, own: bool) -> None:
    trees.put(Tree.SOURCE, CLIP)
    trees.files.move(Place(Tree.SOURCE, CLIP), Place(Tree.SOURCE, CLIP), "j1", STOP, own=own)
    (left,) = trees.names(Tree.SOURCE)
    assert (trees.roots[Tree.SOURCE] / left).read_bytes() == FILM


@OWN_OR_NOT
def test_move_of_what_is_written_to_meanwhile_leaves_it_and_nothing_else(apart: Trees, own: bool) -> None:
    original = apart.put(Tree.SOURCE, ASIDE)

    def write() -> None:
        with original.open("ab") as file:
            file.write(b"the rest")

    with pytest.raises(SourceChanged, match="it was written to while it was moved"):
        apart.files.move(Place(Tree.SOURCE, ASIDE), Place(Tree.TRASH, CLIP), "j1", StopAt(5, write), own=own)
    assert (apart.names(Tree.SOURCE), apart.names(Tree.TRASH)) == ([str(ASIDE)], [])
    assert original.read_bytes() == FILM + b"the rest"


MOVES_TO_ARCHIVE = """
print(files.move(Place(Tree.SOURCE, aside), Place(Tree.ARCHIVE, clip), "j1", NeverStop(), own=True))
"""
RESTORES = """
print(files.move(Place(Tree.TRASH, clip), Place(Tree.SOURCE, clip), "j1", NeverStop()))
"""


def test_move_of_our_own_brings_the_copy_to_the_disk_before_the_original_goes(trees: Trees, tmp_path: Path) -> None:
    trees.put(Tree.SOURCE, ASIDE)
    source, archive = trees.roots[Tree.SOURCE], trees.roots[Tree.ARCHIVE]
    assert steps_of(trees, MOVES_TO_ARCHIVE, tmp_path / "strace") == [
        f"sync {archive / PART}",
        f"rename {archive / PART} to {archive / CLIP}",
        *sync_up(archive),
        f"remove {source / ASIDE}",
        f"sync {source / DAY}",
    ]


# What a move is killed at: the calls by kind, and how many of each there are.
MOVES_KILLED = [
    (MOVES_TO_ARCHIVE, on_one_disk, (Tree.SOURCE, Tree.ARCHIVE), ASIDE,
     {"fchmod": 4, "pwrite64": 3, "utimensat": 1, "fsync": 6, "renameat2": 1, "unlinkat": 1}),
    (RESTORES, on_one_disk, (Tree.TRASH, Tree.SOURCE), CLIP, {"fchmod": 3, "renameat2": 1, "fsync": 5}),
    (RESTORES, on_two_disks, (Tree.TRASH, Tree.SOURCE), CLIP,
     {"fchmod": 4, "pwrite64": 3, "utimensat": 1, "fsync": 6, "renameat2": 2, "unlinkat": 1}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "laid", "way", "begin", "call", "when"),
    [(*move, call, n + 1) for *move, calls in MOVES_KILLED for call, count in calls.items() for n in range(count)],
    indirect=["laid"],
)
def test_move_that_is_killed_loses_nothing_and_is_finished_by_the_next(
    laid: Trees, tmp_path: Path, script: str, way: tuple[Tree, Tree], begin: PurePosixPath, call: str, when: int
) -> None:
    """SIGKILL at the n-th call of its kind."""
    old, new = laid.put(way[0], begin), laid.at(way[1], CLIP)
    trees = [laid.roots[tree] for tree in Tree]
    command = strace(tmp_path / "strace", "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={when}")
    ended = run([*command, *python(CHILD + script, *trees)])
    assert ended.returncode == -signal.SIGKILL
    assert FILM in [place.read_bytes() for place in (old, new) if place.exists()]
    if old.exists():
        assert run(python(CHILD + script, *trees)).stdout == f"{CLIP}\n"
    assert (laid.names(way[0]), laid.names(way[1])) == ([], [str(CLIP)])
    assert new.read_bytes() == FILM


# -- a link and unlink that is cut between the two --------------------------------------------------------

SETS_ASIDE = 'print(files.set_aside(Tree.SOURCE, clip, "j1"))'
PUTS_BACK = "print(files.put_back(Tree.SOURCE, aside, clip))"


def cut(trees: Trees, script: str, record: Path) -> None:
    """Kill a process that renames by link and unlink, between the two."""
    faults = ["-e", "inject=renameat2:error=EINVAL", "-e", "inject=unlinkat:signal=SIGKILL:when=1"]
    command = strace(record, "-e", "trace=renameat2,linkat,unlinkat", *faults)
    ended = run([*command, *python(CHILD + script, *(trees.roots[tree] for tree in Tree))])
    assert ended.returncode == -signal.SIGKILL, ended.stderr


@EITHER_RENAME
@pytest.mark.parametrize("first", [SETS_ASIDE, PUTS_BACK], ids=["set aside", "put back"])
def test_put_back_after_a_cut_rename_leaves_one_name(
    trees: Trees, tmp_path: Path, first: str, refusal: str | None
) -> None:
    inode = trees.put(Tree.SOURCE, CLIP if first is SETS_ASIDE else ASIDE).stat().st_ino
    cut(trees, first, tmp_path / "killed")
    assert trees.names(Tree.SOURCE) == [str(ASIDE), str(CLIP)]
    assert child(trees, PUTS_BACK, tmp_path / "strace", refusal) == [str(CLIP)]
    assert (trees.names(Tree.SOURCE), trees.at(Tree.SOURCE, CLIP).stat().st_ino) == ([str(CLIP)], inode)


@EITHER_RENAME
@pytest.mark.parametrize("tree", [Tree.SOURCE, Tree.ARCHIVE])
def test_trash_after_a_cut_rename_leaves_one_name(
    trees: Trees, tmp_path: Path, tree: Tree, refusal: str | None
) -> None:
    inode = trees.put(tree, ASIDE).stat().st_ino
    script = f'print(files.trash(Tree.{tree.name}, aside, clip, "j1", NeverStop()))'
    place = CLIP if tree is Tree.SOURCE else "archived" / CLIP
    cut(trees, script, tmp_path / "killed")
    assert (trees.names(tree), trees.names(Tree.TRASH)) == ([str(ASIDE)], [str(place)])
    assert child(trees, script, tmp_path / "strace", refusal) == [str(place)]
    assert (trees.names(tree), trees.names(Tree.TRASH)) == ([], [str(place)])
    assert trees.at(Tree.TRASH, place).stat().st_ino == inode


@pytest.mark.parametrize("place", [SECOND, THIRD])
def test_put_back_knows_its_file_under_a_later_name(trees: Trees, place: PurePosixPath) -> None:
    """The cut rename had found the first names taken."""
    trees.put(Tree.SOURCE, ASIDE)
    taken = [CLIP, SECOND][: 1 if place == SECOND else 2]
    for path in taken:
        trees.put(Tree.SOURCE, path)
    trees.at(Tree.SOURCE, place).hardlink_to(trees.at(Tree.SOURCE, ASIDE))
    assert trees.files.put_back(Tree.SOURCE, ASIDE, CLIP) == place
    assert trees.names(Tree.SOURCE) == sorted(map(str, [*taken, place]))


def test_trash_knows_its_file_under_a_later_name(trees: Trees) -> None:
    trees.put(Tree.SOURCE, ASIDE)
    trees.put(Tree.TRASH, CLIP)
    trees.at(Tree.TRASH, SECOND).hardlink_to(trees.at(Tree.SOURCE, ASIDE))
    assert trash(trees) == SECOND
    assert (trees.names(Tree.SOURCE), trees.names(Tree.TRASH)) == ([], [str(CLIP), str(SECOND)])


def test_equal_content_under_another_inode_is_another_file(trees: Trees) -> None:
    """Only a name of the very same file is dropped."""
    for path in (ASIDE, CLIP):
        trees.put(Tree.SOURCE, path)
    assert trees.files.put_back(Tree.SOURCE, ASIDE, CLIP) == SECOND
    assert trees.names(Tree.SOURCE) == [str(CLIP), str(SECOND)]


def test_trash_after_a_cut_rename_brings_both_places_to_the_disk(trees: Trees, tmp_path: Path) -> None:
    trees.put(Tree.SOURCE, ASIDE)
    cut(trees, TRASHES, tmp_path / "killed")
    source, trashed = trees.roots[Tree.SOURCE], trees.roots[Tree.TRASH]
    assert steps_of(trees, TRASHES, tmp_path / "strace") == [
        f"sync {source / ASIDE}",
        f"sync {trashed / DAY}",  # the new name first, for the old one goes next
        f"remove {source / ASIDE}",
        *sync_up(trashed),
        f"sync {source / DAY}",
    ]


# -- symlinks and mounts ----------------------------------------------------------------------------------

Operation = Callable[[FileManager, PurePosixPath], object]  # what a job does in the directory of a day

ON_SOURCE: dict[str, Operation] = {
    "opened": lambda files, day: files.opened(Tree.SOURCE, day / CLIP.name).__enter__(),
    "set_aside": lambda files, day: files.set_aside(Tree.SOURCE, day / CLIP.name, "j2"),
    "put_back": lambda files, day: files.put_back(Tree.SOURCE, day / ASIDE.name, day / THIRD.name),
    "delete": lambda files, day: files.delete(Tree.SOURCE, day / ASIDE.name),
    "trash": lambda files, day: files.trash(Tree.SOURCE, day / ASIDE.name, CLIP, "j1", STOP),
    "move": lambda files, day: files.move(
        Place(Tree.SOURCE, day / ASIDE.name), Place(Tree.TRASH, CLIP), "j1", STOP, own=True
    ),
}
ON_ARCHIVE: dict[str, Operation] = {
    "new_part": lambda files, day: files.new_part(Tree.ARCHIVE, day / ".archiverd-c1-j2.part").__enter__(),
    "publish": lambda files, day: files.publish(Tree.ARCHIVE, day / PART.name, day / THIRD.name),
    "sync_file": lambda files, day: files.sync_file(Tree.ARCHIVE, day / CLIP.name),
}
INTO_TRASH = {name: ON_SOURCE[name] for name in ("trash", "move")}
OPERATIONS = [
    pytest.param(tree, operation, id=f"{name} in {tree}")
    for tree, operations in ((Tree.SOURCE, ON_SOURCE), (Tree.ARCHIVE, ON_ARCHIVE), (Tree.TRASH, INTO_TRASH))
    for name, operation in operations.items()
]
REMOVALS: dict[str, Operation] = {
    **{name: ON_SOURCE[name] for name in ("set_aside", "put_back", "delete", "trash", "move")},
    "remove_part": lambda files, day: files.remove_part(Tree.SOURCE, day / PART.name),
}


def fill(directory: Path) -> None:
    """Every file an operation asks for."""
    directory.mkdir(parents=True, exist_ok=True)
    for path in (CLIP, ASIDE, PART):
        (directory / path.name).write_bytes(FILM)


def everything_under(directory: Path) -> dict[str, tuple[int, int, int]]:
    """All files and directories there, with what any change to them would change."""
    return {
        str(path.relative_to(directory)): (path.lstat().st_ino, path.lstat().st_mtime_ns, path.lstat().st_ctime_ns)
        for path in [directory, *directory.rglob("*")]
    }


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(("tree", "operation"), OPERATIONS)
@SAME_DISK_OR_NOT
def test_a_directory_swapped_for_a_symlink_leads_nowhere(
    either: Trees, tmp_path: Path, tree: Tree, operation: Operation, depth: int
) -> None:
    """What stands outside is just what the operation looks for."""
    outside = tmp_path / "outside"
    for other in Tree:
        fill(either.at(other, DAY))
    fill(outside.joinpath(*DAY.parts[depth:]))
    swapped = either.roots[tree].joinpath(*DAY.parts[:depth])
    swapped.rename(either.roots[tree] / "was")
    swapped.symlink_to(outside)
    before = everything_under(outside)
    with pytest.raises(NotADirectoryError):
        operation(either.files, DAY)
    assert everything_under(outside) == before


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_remove_part_through_a_symlink_removes_nothing(trees: Trees, tmp_path: Path, depth: int) -> None:
    outside = tmp_path / "outside"
    fill(outside.joinpath(*DAY.parts[depth:]))
    link = trees.roots[Tree.ARCHIVE].joinpath(*DAY.parts[:depth])
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    before = everything_under(outside)
    trees.files.remove_part(Tree.ARCHIVE, PART)
    assert everything_under(outside) == before


def test_status_through_a_symlink_is_none(trees: Trees, tmp_path: Path) -> None:
    fill(tmp_path / "outside" / "07" / "01")
    (trees.roots[Tree.SOURCE] / "2026").symlink_to(tmp_path / "outside")
    assert trees.files.status(Tree.SOURCE, CLIP) is None


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["FIFO", "directory"])
def test_opened_refuses_anything_but_a_regular_file(trees: Trees, make: Callable[[Path], None]) -> None:
    trees.at(Tree.SOURCE, DAY).mkdir(parents=True)
    make(trees.at(Tree.SOURCE, CLIP))
    with pytest.raises(OSError, match="not a regular file"), trees.files.opened(Tree.SOURCE, CLIP):
        pass


def test_opened_refuses_a_symlink(trees: Trees) -> None:
    trees.put(Tree.SOURCE, SECOND)
    trees.at(Tree.SOURCE, CLIP).symlink_to(SECOND.name)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)), trees.files.opened(Tree.SOURCE, CLIP):
        pass


@contextmanager
def below_the_root_of_all(directory: Path) -> Iterator[tuple[Path, PurePosixPath]]:
    """The root of the machine, and a directory of another disk below it."""
    yield Path("/"), PurePosixPath(*directory.parts[1:])


@contextmanager
def bound_into_the_tree(directory: Path) -> Iterator[tuple[Path, PurePosixPath]]:
    """A directory of the same disk, mounted into the tree: its st_dev tells nothing."""
    with tempfile.TemporaryDirectory(dir=directory.parent) as root:
        (Path(root) / DAY).mkdir(parents=True)
        with mounted(Path(root) / DAY, "--bind", directory):
            yield Path(root), DAY


@pytest.mark.parametrize("name", REMOVALS)
@pytest.mark.parametrize("mount", [below_the_root_of_all, *([bound_into_the_tree] if can_mount() else [])])
def test_nothing_is_removed_on_another_mount(
    elsewhere: Path, name: str, mount: Callable[[Path], AbstractContextManager[tuple[Path, PurePosixPath]]]
) -> None:
    fill(elsewhere / "disk")
    with mount(elsewhere / "disk") as (root, day):
        files = FileManager({Tree.SOURCE: root, Tree.TRASH: elsewhere / "disk"}, "c1", Modes())
        before = sorted((elsewhere / "disk").glob("*.*"))
        with pytest.raises(PermissionError, match="is on another mount than the source root"):
            REMOVALS[name](files, day)
        assert sorted((elsewhere / "disk").glob("*.*")) == before


@OWN_OR_NOT
@pytest.mark.parametrize("mount", [below_the_root_of_all, *([bound_into_the_tree] if can_mount() else [])])
def test_what_cannot_be_removed_is_not_copied_either(
    tmp_path: Path,
    elsewhere: Path,
    own: bool,
    mount: Callable[[Path], AbstractContextManager[tuple[Path, PurePosixPath]]],
) -> None:
    fill(elsewhere / "disk")
    with mount(elsewhere / "disk") as (root, day):
        trees = Trees({Tree.SOURCE: root, Tree.TRASH: tmp_path / "trash"})
        with pytest.raises(PermissionError, match="is on another mount than the source root"):
            trees.files.move(Place(Tree.SOURCE, day / ASIDE.name), Place(Tree.TRASH, CLIP), "j1", STOP, own=own)
        assert trees.names(Tree.TRASH) == []


@pytest.mark.parametrize("mount", [below_the_root_of_all, *([bound_into_the_tree] if can_mount() else [])])
def test_a_part_that_is_not_there_is_no_matter_on_another_mount(
    elsewhere: Path, mount: Callable[[Path], AbstractContextManager[tuple[Path, PurePosixPath]]]
) -> None:
    fill(elsewhere / "disk")
    (elsewhere / "disk" / PART.name).unlink()
    with mount(elsewhere / "disk") as (root, day):
        before = everything_under(elsewhere / "disk")
        FileManager({Tree.SOURCE: root}, "c1", Modes()).remove_part(Tree.SOURCE, day / PART.name)
        assert everything_under(elsewhere / "disk") == before


# -- writers ----------------------------------------------------------------------------------------------

HOLDS = """
import os, sys
handle = os.open(sys.argv[1], getattr(os, sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_another_process(path: Path, how: str) -> Iterator[None]:
    with subprocess.Popen(python(HOLDS, path, how), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield


@pytest.mark.parametrize(("how", "expected"), [("O_WRONLY", True), ("O_RDWR", True), ("O_RDONLY", False)])
def test_writers_tells_whether_another_process_has_the_file_open_to_write(
    trees: Trees, how: str, expected: bool
) -> None:
    clip = trees.put(Tree.SOURCE, CLIP)
    with held_by_another_process(clip, how), trees.files.opened(Tree.SOURCE, CLIP) as handle:
        assert writers(handle) is expected


def test_writers_of_what_was_closed_is_false(trees: Trees) -> None:
    clip = trees.put(Tree.SOURCE, CLIP)
    with held_by_another_process(clip, "O_WRONLY"):
        pass
    with trees.files.opened(Tree.SOURCE, CLIP) as handle:
        assert writers(handle) is False


def test_writers_holds_no_lease_afterwards(trees: Trees) -> None:
    """A lease that is held would make the camera's next upload wait."""
    trees.put(Tree.SOURCE, CLIP)
    with trees.files.opened(Tree.SOURCE, CLIP) as handle:
        writers(handle)
        assert fcntl.fcntl(handle, fcntl.F_GETLEASE) == fcntl.F_UNLCK


def test_writers_without_the_right_to_ask_is_none() -> None:
    """A file of root's, and a process that is not root."""
    script = """
import os
from archiverd.storage.open_files import writers
handle = os.open("/etc/passwd", os.O_RDONLY)
if os.geteuid() == 0:
    os.setuid(65534)
print(writers(handle))
"""
    assert run(python(script)).stdout == "None\n"


# -- bringing back ------------------------------------------------------------------------------------------

KEEP = CLIP.with_suffix(".keep")
SECOND = CLIP.with_name(f"{CLIP.stem}~2.mp4")
SECOND_KEEP = SECOND.with_suffix(".keep")


def bring_back(files: FileManager, *, tree: Tree = Tree.SOURCE, protected: bool = True) -> PurePosixPath:
    return files.bring_back(CLIP, Place(tree, CLIP), "j1", STOP, protected=protected)


class MeddledFiles(FileManager):
    """Has something done in the moment before a file gets its name."""

    meddle: Callable[[], object]

    def _bring_to(self, old: Place, new: Place, job: str, stop: StopToken) -> None:
        self.meddle()
        super()._bring_to(old, new, job, stop)


def meddled(trees: Trees, meddle: Callable[[], object]) -> MeddledFiles:
    files = MeddledFiles(trees.roots, "c1", Modes())
    files.meddle = meddle
    return files


@pytest.mark.parametrize("protected", [True, False])
@SAME_DISK_OR_NOT
def test_file_is_brought_back_as_it_was(either: Trees, protected: bool) -> None:
    either.put(Tree.TRASH, CLIP).chmod(0o600)
    assert bring_back(either.files, protected=protected) == CLIP
    status = either.at(Tree.SOURCE, CLIP).stat()
    assert either.at(Tree.SOURCE, CLIP).read_bytes() == FILM
    assert (status.st_mtime_ns, oct(stat.S_IMODE(status.st_mode))) == (MTIME_NS, oct(0o600))
    assert either.names(Tree.SOURCE) == ([str(KEEP)] if protected else []) + [str(CLIP)]
    assert either.names(Tree.TRASH) == []


@SAME_DISK_OR_NOT
def test_file_is_brought_back_beside_what_has_taken_its_name(either: Trees) -> None:
    either.put(Tree.TRASH, CLIP)
    stranger = either.put(Tree.SOURCE, CLIP)
    stranger.write_bytes(b"another")
    assert bring_back(either.files) == SECOND
    assert stranger.read_bytes() == b"another"
    assert either.names(Tree.SOURCE) == sorted(map(str, (CLIP, SECOND, SECOND_KEEP)))
    assert either.at(Tree.SOURCE, SECOND).read_bytes() == FILM


@pytest.mark.parametrize("protected", [True, False])
@SAME_DISK_OR_NOT
def test_file_that_is_back_already_only_leaves_the_trash(either: Trees, protected: bool) -> None:
    """As after a death between the copy and the end of the original."""
    either.put(Tree.TRASH, CLIP)
    inode = either.put(Tree.SOURCE, CLIP).stat().st_ino
    assert bring_back(either.files, protected=protected) == CLIP
    assert either.names(Tree.SOURCE) == ([str(KEEP)] if protected else []) + [str(CLIP)]
    assert either.at(Tree.SOURCE, CLIP).stat().st_ino == inode
    assert either.names(Tree.TRASH) == []


def test_file_that_has_two_names_loses_the_one_in_the_trash(trees: Trees) -> None:
    trashed = trees.put(Tree.TRASH, CLIP)
    there = trees.at(Tree.SOURCE, CLIP)
    there.parent.mkdir(parents=True)
    there.hardlink_to(trashed)
    assert bring_back(trees.files) == CLIP
    assert trees.names(Tree.SOURCE) == [str(KEEP), str(CLIP)]
    assert trees.names(Tree.TRASH) == []


@pytest.mark.parametrize("differs", ["content", "time"])
@SAME_DISK_OR_NOT
def test_file_of_another_content_or_time_is_not_taken_for_the_one_that_comes_back(
    either: Trees, differs: str
) -> None:  # fmt: skip
    either.put(Tree.TRASH, CLIP)
    stranger = either.put(Tree.SOURCE, CLIP, FILM[::-1] if differs == "content" else FILM)
    if differs == "time":
        os.utime(stranger, ns=(MTIME_NS, MTIME_NS + 1))
    assert bring_back(either.files) == SECOND
    assert either.names(Tree.SOURCE) == sorted(map(str, (CLIP, SECOND, SECOND_KEEP)))


@SAME_DISK_OR_NOT
def test_keep_stands_before_the_file_it_protects(either: Trees) -> None:
    either.put(Tree.TRASH, CLIP)
    seen: list[list[str]] = []
    bring_back(meddled(either, lambda: seen.append(either.names(Tree.SOURCE))))
    assert seen == [[str(KEEP)]]


@SAME_DISK_OR_NOT
def test_name_that_is_taken_at_the_last_moment_is_left_to_its_file_unprotected(either: Trees) -> None:
    either.put(Tree.TRASH, CLIP)
    done: list[Path] = []

    def take() -> None:
        if not done:
            done.append(either.put(Tree.SOURCE, CLIP))
            done[0].write_bytes(b"another")

    assert bring_back(meddled(either, take)) == SECOND
    assert done[0].read_bytes() == b"another"
    assert either.names(Tree.SOURCE) == sorted(map(str, (CLIP, SECOND, SECOND_KEEP)))


@SAME_DISK_OR_NOT
def test_file_that_is_removed_from_the_trash_meanwhile_leaves_no_keep(either: Trees) -> None:
    trashed = either.put(Tree.TRASH, CLIP)
    with pytest.raises(FileNotFoundError):
        bring_back(meddled(either, trashed.unlink))
    assert either.names(Tree.SOURCE) == []


@SAME_DISK_OR_NOT
def test_keep_that_stood_before_stays_whatever_comes(either: Trees) -> None:
    trashed = either.put(Tree.TRASH, CLIP)
    either.put(Tree.SOURCE, KEEP)
    with pytest.raises(FileNotFoundError):
        bring_back(meddled(either, trashed.unlink))
    assert either.names(Tree.SOURCE) == [str(KEEP)]


def no_nameless_files(mocker: MockerFixture) -> None:
    """As on a network file system: none makes a file without a name."""
    really = os.open

    def refuse(path: str, flags: int, *arguments: int, **options: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return really(path, flags, *arguments, **options)

    mocker.patch("os.open", refuse)


class SweptFiles(FileManager):
    """An archiverd starts in the middle of a copy, and takes it for what a dead job left."""

    def _see_unchanged(self, place: Place, was: os.stat_result) -> None:
        super()._see_unchanged(place, was)
        self.remove_part(Tree.SOURCE, self.part_path(CLIP.parent, "j1"))


def test_copy_without_a_name_is_nothing_that_a_start_could_sweep_away(apart: Trees) -> None:
    apart.put(Tree.TRASH, CLIP)
    assert bring_back(SweptFiles(apart.roots, "c1", Modes())) == CLIP
    assert apart.names(Tree.SOURCE) == [str(KEEP), str(CLIP)]


def test_file_is_brought_back_where_no_file_is_without_a_name(apart: Trees, mocker: MockerFixture) -> None:
    no_nameless_files(mocker)
    apart.put(Tree.TRASH, CLIP)
    assert bring_back(apart.files) == CLIP
    assert apart.names(Tree.SOURCE) == [str(KEEP), str(CLIP)]
    assert apart.at(Tree.SOURCE, CLIP).read_bytes() == FILM
    assert apart.names(Tree.TRASH) == []


def test_copy_that_a_start_sweeps_away_leaves_all_as_it_was(apart: Trees, mocker: MockerFixture) -> None:
    no_nameless_files(mocker)
    apart.put(Tree.TRASH, CLIP)
    with pytest.raises(SourceChanged, match="taken away by an archiverd that started"):
        bring_back(SweptFiles(apart.roots, "c1", Modes()))
    assert (apart.names(Tree.SOURCE), apart.names(Tree.TRASH)) == ([], [str(CLIP)])


BRINGS_BACK = 'print(files.bring_back(clip, Place(Tree.SOURCE, clip), "j1", NeverStop(), protected=True))'


def test_keep_is_on_the_disk_before_the_file_is_there(trees: Trees, tmp_path: Path) -> None:
    trees.put(Tree.TRASH, CLIP)
    source, trash = trees.roots[Tree.SOURCE], trees.roots[Tree.TRASH]
    assert steps_of(trees, BRINGS_BACK, tmp_path / "strace") == [
        *sync_up(source),
        f"rename {trash / CLIP} to {source / CLIP}",
        *sync_up(source),
        f"sync {trash / DAY}",
    ]


def test_copy_from_the_trash_is_on_the_disk_before_the_original_goes(apart: Trees, tmp_path: Path) -> None:
    apart.put(Tree.TRASH, CLIP)
    source, trash = apart.roots[Tree.SOURCE], apart.roots[Tree.TRASH]
    done = steps_of(apart, BRINGS_BACK, tmp_path / "strace")
    kept = len(sync_up(source))
    assert done[:kept] == sync_up(source)
    assert done[kept].startswith(f"sync {source / DAY}/#"), "a file without a name"
    assert done[kept + 1 :] == [*sync_up(source), f"remove {trash / CLIP}", f"sync {trash / DAY}"]
