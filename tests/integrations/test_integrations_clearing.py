"""Many files removed from one directory, on real file systems: what was meant goes, all else stays.

Each test runs on the disk of the tests, and as root also on small file systems of each kind.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path, PurePosixPath

import pytest

from archiverd.errors import Interrupted, ResourceError
from archiverd.policy.model import Fingerprint, Tree
from archiverd.policy.stop import NeverStop, StopToken
from archiverd.storage.clearing import PROTECTED, Cleared, ClearingFailed
from tests import images
from tests.images import KINDS, Kind
from tests.integrations.test_integrations_file_manager import (
    CHILD,
    DAY,
    MTIME_NS,
    Trees,
    everything_under,
    file_system_besides,
    python,
    run,
    strace,
)

ASIDE = DAY / ".archiverd-j1.gone"
NAMES = tuple(f"REO_front_2026070112{number:02}00.mp4" for number in range(6))
MANY = tuple(f"REO_front_20260701{number // 60:02}{number % 60:02}00.mp4" for number in range(300))
BEFORE_TRASHED = PurePosixPath("archived") / DAY


@pytest.fixture(params=[None, *KINDS], ids=lambda kind: kind or "here")
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty directory on a disk of each kind."""
    with images.mounted(request.param, tmp_path / "disk") if request.param else nullcontext(tmp_path) as where:
        yield where


@pytest.fixture
def trees(disk: Path) -> Trees:
    return Trees({tree: disk / tree for tree in Tree})


@pytest.fixture
def plain(tmp_path: Path) -> Trees:
    """Trees on the disk of the tests alone, where the kind of the disk is no matter."""
    return Trees({tree: tmp_path / tree for tree in Tree})


@pytest.fixture
def elsewhere(disk: Path) -> Iterator[Path]:
    """An empty directory on another file system than `disk`."""
    with tempfile.TemporaryDirectory(dir=file_system_besides(disk), prefix="archiverd-test-") as name:
        yield Path(name)


@pytest.fixture
def apart(disk: Path, elsewhere: Path) -> Trees:
    return Trees({Tree.SOURCE: disk / "source", Tree.ARCHIVE: disk / "archive", Tree.TRASH: elsewhere / "trash"})


def content(name: str) -> bytes:
    return name.encode() * 200


def put_all(
    trees: Trees, tree: Tree = Tree.ARCHIVE, directory: PurePosixPath = DAY, names: tuple[str, ...] = NAMES
) -> list[tuple[str, Fingerprint]]:
    """A directory of files, and what `clear` is told of them."""
    return [
        (name, Fingerprint.of(trees.put(tree, directory / name, content(name)).stat(follow_symlinks=False)))
        for name in names
    ]


def clear(
    trees: Trees, wanted: list[tuple[str, Fingerprint]], *, tree: Tree = Tree.ARCHIVE, to_trash: bool = False,
    go_on: Callable[[], bool] = lambda: True, stop: StopToken | None = None,
) -> Cleared:  # fmt: skip
    return trees.files.clear(tree, DAY, wanted, "j1", to_trash=to_trash, go_on=go_on, stop=stop)


def before(number: int, do: Callable[[], object]) -> Callable[[], bool]:
    """A `go_on` that acts before the file of that number, and goes on."""
    asked = iter(range(1000))

    def go_on() -> bool:
        if next(asked) == number:
            do()
        return True

    return go_on


def standing(trees: Trees, tree: Tree = Tree.ARCHIVE) -> dict[str, bytes]:
    root = trees.roots[tree]
    return {path: (root / path).read_bytes() for path in trees.names(tree)}


def all_of(names: tuple[str, ...], directory: PurePosixPath = DAY) -> dict[str, bytes]:
    return {str(directory / name): content(name) for name in names}


# -- what goes --------------------------------------------------------------------------------------------


def test_clear_removes_what_is_wanted_and_nothing_else(trees: Trees) -> None:
    wanted = put_all(trees)
    blocks = {name: trees.at(Tree.ARCHIVE, DAY / name).stat().st_blocks * 512 for name in NAMES}
    cleared = clear(trees, wanted[:4])
    assert cleared == Cleared({name: blocks[name] for name in NAMES[:4]}, {}, {})
    assert standing(trees) == all_of(NAMES[4:])
    assert os.listdir(trees.at(Tree.ARCHIVE, DAY)).count(ASIDE.name) == 0


@pytest.mark.parametrize("tree", [Tree.SOURCE, Tree.ARCHIVE])
def test_clear_moves_into_the_trash_and_frees_nothing_there(trees: Trees, tree: Tree) -> None:
    wanted, there = put_all(trees, tree), DAY if tree is Tree.SOURCE else BEFORE_TRASHED
    cleared = clear(trees, wanted, tree=tree, to_trash=True)
    assert cleared == Cleared(dict.fromkeys(NAMES, 0), {}, {name: there / name for name in NAMES})
    assert (standing(trees, tree), standing(trees, Tree.TRASH)) == ({}, all_of(NAMES, there))
    assert {path.stat().st_mtime_ns for path in trees.at(Tree.TRASH, there).iterdir()} == {MTIME_NS}


def test_clear_copies_into_a_trash_on_another_disk_and_frees_its_own(apart: Trees) -> None:
    wanted = put_all(apart)
    blocks = {name: apart.at(Tree.ARCHIVE, DAY / name).stat().st_blocks * 512 for name in NAMES}
    cleared = clear(apart, wanted, to_trash=True)
    assert cleared == Cleared(blocks, {}, {name: BEFORE_TRASHED / name for name in NAMES})
    assert (standing(apart), standing(apart, Tree.TRASH)) == ({}, all_of(NAMES, BEFORE_TRASHED))
    assert {path.stat().st_mtime_ns for path in apart.at(Tree.TRASH, BEFORE_TRASHED).iterdir()} == {MTIME_NS}
    assert os.listdir(apart.at(Tree.ARCHIVE, DAY)) == []


@pytest.mark.parametrize("is_apart", [False, True], ids=["same", "apart"])
def test_clear_replaces_nothing_in_the_trash(trees: Trees, apart: Trees, is_apart: bool) -> None:
    trees = apart if is_apart else trees
    wanted = put_all(trees)
    trees.put(Tree.TRASH, BEFORE_TRASHED / NAMES[1], b"of before")
    cleared = clear(trees, wanted, to_trash=True)
    second = BEFORE_TRASHED / NAMES[1].replace(".mp4", "~2.mp4")
    assert cleared.moved[NAMES[1]] == second
    expected = all_of(NAMES, BEFORE_TRASHED)
    expected |= {str(second): content(NAMES[1]), str(BEFORE_TRASHED / NAMES[1]): b"of before"}
    assert (standing(trees), standing(trees, Tree.TRASH)) == ({}, expected)


def test_clear_counts_the_bytes_of_the_last_name_alone(trees: Trees) -> None:
    wanted = put_all(trees)
    root = trees.at(Tree.ARCHIVE, DAY)
    (root / "kept elsewhere").hardlink_to(root / NAMES[0])
    (root / NAMES[1]).unlink()
    (root / NAMES[1]).hardlink_to(root / NAMES[2])  # both go: the second of them is the last name
    wanted[1] = (NAMES[1], wanted[2][1])
    cleared = clear(trees, wanted[:4])
    assert [cleared.gone[name] > 0 for name in NAMES[:4]] == [False, False, True, True]
    assert (root / "kept elsewhere").read_bytes() == content(NAMES[0])


def test_clear_of_a_year_old_hundred_takes_names_that_are_no_text_and_the_longest(trees: Trees) -> None:
    names = ["\udcff\udcfe.mp4", "n" * 251 + ".mp4", "a b\n.jpg", "~2.mp4", "-rf"]
    wanted = [(name, Fingerprint.of(trees.put(Tree.ARCHIVE, DAY / name, b"x").stat())) for name in names]
    assert clear(trees, wanted).gone.keys() == set(names)
    assert standing(trees) == {}


# -- what stays -------------------------------------------------------------------------------------------


def written_to(path: Path) -> None:
    path.write_bytes(b"a new upload")


def of_another_time(path: Path) -> None:
    os.utime(path, ns=(MTIME_NS, MTIME_NS + 1))


def made_anew(path: Path) -> None:
    """Same size and time, another file."""
    kept = path.read_bytes()
    (path.parent / "fresh").write_bytes(kept)
    os.utime(path.parent / "fresh", ns=(MTIME_NS, MTIME_NS))
    os.replace(path.parent / "fresh", path)


def a_symlink(path: Path) -> None:
    path.rename(path.parent / "was")
    path.symlink_to("was")


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_bytes(b"x")


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("to_trash", [False, True], ids=["delete", "trash"])
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (written_to, "is another file than the one that was to go"),
        (of_another_time, "is another file than the one that was to go"),
        (made_anew, "is another file than the one that was to go"),
        (a_symlink, "is no regular file"),
        (a_directory, "is no regular file"),
        (a_pipe, "is no regular file"),
        (Path.unlink, "is not there any more"),
    ],
)
def test_what_is_not_the_file_that_was_meant_stays_and_the_rest_goes(
    plain: Trees, change: Callable[[Path], object], why: str, to_trash: bool
) -> None:
    wanted = put_all(plain)
    root = plain.at(Tree.ARCHIVE, DAY)
    change(root / NAMES[1])
    left = {name for name in os.listdir(root) if name not in NAMES} | ({NAMES[1]} & set(os.listdir(root)))
    marks = {name: (root / name).lstat() for name in left}
    cleared = clear(plain, wanted, to_trash=to_trash)
    assert (list(cleared.refused), set(cleared.gone)) == ([NAMES[1]], set(NAMES) - {NAMES[1]})
    assert cleared.refused[NAMES[1]].startswith(why)
    assert {name: (root / name).lstat().st_ino for name in os.listdir(root)} == {
        name: mark.st_ino for name, mark in marks.items()
    }


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "a/b", f"{NAMES[0]}\0x"])
def test_what_is_no_name_of_one_file_is_refused_and_nothing_touched(plain: Trees, name: str) -> None:
    wanted = put_all(plain)
    plain.put(Tree.ARCHIVE, DAY.parent / "other", b"x")
    cleared = clear(plain, [(name, wanted[0][1])])
    assert cleared == Cleared({}, {name: "is not the name of one file"}, {})
    assert len(standing(plain)) == len(NAMES) + 1


def test_go_on_ends_the_batch_between_two_files(plain: Trees) -> None:
    answers = iter([True, True, False])
    cleared = clear(plain, put_all(plain), go_on=lambda: next(answers))
    assert (set(cleared.gone), cleared.refused) == (set(NAMES[:2]), {})
    assert standing(plain) == all_of(NAMES[2:])


def test_a_batch_that_does_not_begin_changes_nothing(plain: Trees) -> None:
    wanted = put_all(plain)
    untouched = everything_under(plain.roots[Tree.ARCHIVE])
    assert clear(plain, wanted, go_on=lambda: False) == Cleared({}, {}, {})
    assert everything_under(plain.roots[Tree.ARCHIVE]) == untouched


class StopAtOnce(NeverStop):
    def check(self) -> None:
        raise Interrupted(15)


def test_a_stop_within_a_copy_ends_the_batch_and_puts_the_file_back(apart: Trees) -> None:
    cleared = clear(apart, put_all(apart), to_trash=True, stop=StopAtOnce())
    assert (cleared, standing(apart), standing(apart, Tree.TRASH)) == (Cleared({}, {}, {}), all_of(NAMES), {})


def test_what_lies_in_the_trash_is_not_moved_there(plain: Trees) -> None:
    with pytest.raises(ValueError, match="is not moved there"):
        clear(plain, put_all(plain, Tree.TRASH), tree=Tree.TRASH, to_trash=True)


def test_clear_of_a_directory_that_is_not_there_refuses_all(plain: Trees) -> None:
    cleared = clear(plain, [(name, Fingerprint(1, 1, 1)) for name in NAMES])
    assert cleared.refused == dict.fromkeys(NAMES, "its directory is not there any more")


# -- symlinks and mounts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("to_trash", [False, True], ids=["delete", "trash"])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("when", [0, 2])
def test_a_directory_swapped_for_a_symlink_between_two_files_ends_the_batch(
    plain: Trees, tmp_path: Path, depth: int, when: int, to_trash: bool
) -> None:
    """What was a directory of the tree stands outside of it from then on, and nothing more is removed there."""
    wanted = put_all(plain)
    swapped, outside = plain.roots[Tree.ARCHIVE].joinpath(*DAY.parts[:depth]), tmp_path / "outside"

    def swap() -> None:
        swapped.rename(outside)
        swapped.symlink_to(outside)

    cleared = clear(plain, wanted, go_on=before(when, swap), to_trash=to_trash)
    assert set(cleared.gone) == set(NAMES[:when])
    assert cleared.refused == dict.fromkeys(NAMES[when:], "its directory was moved or removed meanwhile")
    assert sorted(os.listdir(outside.joinpath(*DAY.parts[depth:]))) == list(NAMES[when:])


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_directory_that_is_a_symlink_is_not_followed(plain: Trees, tmp_path: Path, depth: int) -> None:
    wanted = put_all(plain)
    swapped = plain.roots[Tree.ARCHIVE].joinpath(*DAY.parts[:depth])
    swapped.rename(tmp_path / "outside")
    swapped.symlink_to(tmp_path / "outside")
    untouched = everything_under(tmp_path / "outside")
    cleared = clear(plain, wanted)
    assert (cleared.gone, set(cleared.refused)) == ({}, set(NAMES))
    assert everything_under(tmp_path / "outside") == untouched


@pytest.mark.parametrize("when", [-1, 2], ids=["before", "between two files"])
def test_a_trash_swapped_for_a_symlink_takes_nothing(plain: Trees, tmp_path: Path, when: int) -> None:
    wanted, trash = put_all(plain), plain.roots[Tree.TRASH]
    (tmp_path / "outside").mkdir()

    def swap() -> None:
        if (trash / "archived").exists():
            (trash / "archived").rename(trash / "was")
        (trash / "archived").symlink_to(tmp_path / "outside")

    if when < 0:
        swap()
    cleared = clear(plain, wanted, to_trash=True, go_on=before(when, swap))
    gone = max(when, 0)
    assert (set(cleared.gone), set(cleared.refused)) == (set(NAMES[:gone]), set(NAMES[gone:]))
    assert os.listdir(tmp_path / "outside") == []
    assert standing(plain) == all_of(NAMES[gone:])


@contextmanager
def below_the_root_of_all(directory: Path) -> Iterator[tuple[Path, PurePosixPath]]:
    yield Path("/"), PurePosixPath(*directory.parts[1:])


@contextmanager
def bound_into_the_tree(directory: Path) -> Iterator[tuple[Path, PurePosixPath]]:
    with tempfile.TemporaryDirectory(dir=directory.parent) as root:
        (Path(root) / DAY).mkdir(parents=True)
        with images.bound(directory, Path(root) / DAY):
            yield Path(root), DAY


BOUND = [bound_into_the_tree] if KINDS else []


@pytest.mark.parametrize("mount", [below_the_root_of_all, *BOUND])
def test_nothing_is_cleared_on_another_mount(
    elsewhere: Path, plain: Trees, mount: Callable[[Path], AbstractContextManager[tuple[Path, PurePosixPath]]]
) -> None:
    (elsewhere / "day").mkdir()
    for name in NAMES:
        (elsewhere / "day" / name).write_bytes(content(name))
    wanted = [(name, Fingerprint.of((elsewhere / "day" / name).stat())) for name in NAMES]
    untouched = everything_under(elsewhere / "day")
    with mount(elsewhere / "day") as (root, day):
        files = Trees({**plain.roots, Tree.ARCHIVE: root}).files
        cleared = files.clear(Tree.ARCHIVE, day, wanted, "j1", to_trash=False, go_on=lambda: True)
        assert files.remove_empty(Tree.ARCHIVE, day / "below") == []
    why = "is on another mount than the archive root; nothing is removed there"
    assert cleared == Cleared({}, dict.fromkeys(NAMES, why), {})
    assert everything_under(elsewhere / "day") == untouched


# -- rights -----------------------------------------------------------------------------------------------

UNPRIVILEGED = """
import ctypes, encodings.ascii, json, os, sys
from pathlib import Path, PurePosixPath
from archiverd.policy.model import Fingerprint, Tree
from archiverd.storage.file_manager import FileManager, Modes
root = Path(sys.argv[1])
files = FileManager({tree: root / tree for tree in Tree}, "c1", Modes())
try:
    os.setgid(65534)
    os.setuid(65534)
except PermissionError:
    pass  # not root, or root without its rights: modes bind it as well
else:
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # dumpable again, as one that began as this user: it may read /proc/self
day = PurePosixPath("2026/07/01")
stand = sorted(path for path in (root / "archive" / day).iterdir())
wanted = [(path.name, Fingerprint.of(path.lstat())) for path in stand]
cleared = files.clear(Tree.ARCHIVE, day, wanted, "j1", to_trash=False, go_on=lambda: True)
print(json.dumps([list(cleared.gone), list(cleared.refused.values())]))
"""


@pytest.fixture
def open_to_all() -> Iterator[Trees]:
    """Trees that another user reaches."""
    with tempfile.TemporaryDirectory(prefix="archiverd-test-") as name:
        os.chmod(name, 0o755)
        yield Trees({tree: Path(name) / tree for tree in Tree})


def cleared_by_another(trees: Trees) -> str:
    done = run(python(UNPRIVILEGED, trees.roots[Tree.ARCHIVE].parent))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_directory_that_may_not_be_written_to_is_refused_with_what_helps(open_to_all: Trees) -> None:
    put_all(open_to_all)
    day = open_to_all.at(Tree.ARCHIVE, DAY)
    day.chmod(0o555)
    told = cleared_by_another(open_to_all)
    assert told.startswith("[[], [\"archiverd's user may not change its directory: give it the right to write")
    assert standing(open_to_all) == all_of(NAMES)
    day.chmod(0o755)


def test_a_file_that_cannot_be_seen_is_not_told_to_be_gone(open_to_all: Trees) -> None:
    """Its directory may be listed, and not searched; what it holds was seen before."""
    put_all(open_to_all)
    day = open_to_all.at(Tree.ARCHIVE, DAY)
    marks = {name: Fingerprint.of((day / name).stat()) for name in NAMES}
    day.chmod(0o644)
    seen = ", ".join(f"{name!r}: Fingerprint{(one.ino, one.size, one.mtime_ns)}" for name, one in marks.items())
    script = UNPRIVILEGED.replace("path.lstat()", "None").replace("Fingerprint.of(None)", f"{{{seen}}}[path.name]")
    done = run(python(script, open_to_all.roots[Tree.ARCHIVE].parent))
    day.chmod(0o755)
    assert done.stdout.count("archiverd's user may not change its directory") == len(NAMES), done.stderr
    assert standing(open_to_all) == all_of(NAMES)


if KINDS:  # as root

    def test_files_of_others_in_a_sticky_directory_stay_and_our_own_go(open_to_all: Trees) -> None:
        put_all(open_to_all)
        day = open_to_all.at(Tree.ARCHIVE, DAY)
        day.chmod(0o1777)
        for name in NAMES[:2]:
            os.chown(day / name, 65534, 65534)
        told = cleared_by_another(open_to_all)
        assert told.startswith(f'[["{NAMES[0]}", "{NAMES[1]}"], ["belongs to another user, and its directory is sticky')
        assert (standing(open_to_all), told.count("`chmod -t`")) == (all_of(NAMES[2:]), len(NAMES) - 2)


FLAGGED = [kind for kind in KINDS if kind is not Kind.TMPFS]


@pytest.mark.parametrize("to_trash", [False, True], ids=["delete", "trash"])
@pytest.mark.parametrize("flag", ["i", "a"])
@pytest.mark.parametrize("kind", [None, *FLAGGED], ids=str)
def test_what_the_system_protects_stays_and_the_rest_goes(
    tmp_path: Path, kind: Kind | None, flag: str, to_trash: bool
) -> None:
    with ExitStack() as stack:
        base = stack.enter_context(images.mounted(kind, tmp_path / "disk")) if kind else tmp_path
        trees = Trees({tree: base / tree for tree in Tree})
        wanted, day = put_all(trees), trees.at(Tree.ARCHIVE, DAY)
        protected = NAMES[2:4] if kind else ()
        for name in protected:
            stack.enter_context(images.flagged(day / name, flag))
        cleared = clear(trees, wanted, to_trash=to_trash)
        assert standing(trees) == all_of(protected)
        assert all("`chattr -i -a` lifts it" in why for why in cleared.refused.values())
        assert set(cleared.refused) == set(protected)


@pytest.mark.parametrize(("flag", "kind"), [(flag, kind) for flag in "ia" for kind in FLAGGED] or [("", None)], ids=str)
def test_nothing_goes_from_a_directory_the_system_protects(tmp_path: Path, flag: str, kind: Kind | None) -> None:
    """An append-only one takes the aside directory and keeps it, empty, until it may be removed."""
    with ExitStack() as stack:
        base = stack.enter_context(images.mounted(kind, tmp_path / "disk")) if kind else tmp_path
        trees = Trees({tree: base / tree for tree in Tree})
        wanted, day = put_all(trees), trees.at(Tree.ARCHIVE, DAY)
        with images.flagged(day, flag) if flag else nullcontext():
            cleared = clear(trees, wanted if flag else [])
            assert cleared.gone == {}
            assert set(cleared.refused) == (set(NAMES) if flag else set())
        assert all("`lsattr` shows that" in why for why in cleared.refused.values())
        if flag == "a":
            assert trees.files.put_back_all(Tree.ARCHIVE, ASIDE) == []
        assert sorted(os.listdir(day)) == list(NAMES)


# -- full disks -------------------------------------------------------------------------------------------

NO_ROOM = "mkdirat:error=ENOSPC"
CLEARS = """
from archiverd.policy.model import Fingerprint
from archiverd.storage.clearing import ClearingFailed
to_trash = sys.argv[4] == "trash"
root = files.roots[Tree.ARCHIVE] / day
files._make_directories(Tree.TRASH, ("archived", *day.parts))
wanted = [(name, Fingerprint.of(os.lstat(root / name))) for name in sorted(os.listdir(root))]
try:
    cleared = files.clear(Tree.ARCHIVE, day, wanted, "j1", to_trash=to_trash, go_on=lambda: True)
    print("cleared", len(cleared.gone), len(cleared.refused), *cleared.refused.values())
except ClearingFailed as error:
    print("failed", len(error.cleared.gone), len(error.cleared.refused), error)
"""


def clear_in_a_child(trees: Trees, tmp_path: Path, where: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = strace(tmp_path / "strace", *options) if options else []
    return run([*command, *python(CHILD + CLEARS, *(trees.roots[tree] for tree in Tree), where)])


@pytest.mark.parametrize("kind", [None, *KINDS], ids=str)
def test_a_disk_that_is_full_to_the_brim_is_cleared(tmp_path: Path, kind: Kind | None) -> None:
    """Where there is no disk to be filled, one is that makes no directory."""
    with images.mounted(kind, tmp_path / "disk") if kind else nullcontext(tmp_path) as base:
        trees = Trees({tree: base / tree for tree in Tree})
        wanted = put_all(trees)
        if kind is None:
            options = ["-P", str(trees.at(Tree.ARCHIVE, DAY)), "-e", f"inject={NO_ROOM}"]
            assert clear_in_a_child(trees, tmp_path, "delete", *options).stdout == f"cleared {len(NAMES)} 0\n"
        else:
            images.fill(base)
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                (trees.at(Tree.ARCHIVE, DAY) / "more").mkdir()
            assert clear(trees, wanted).gone.keys() == set(NAMES)
        assert (standing(trees), os.listdir(trees.at(Tree.ARCHIVE, DAY))) == ({}, [])


def test_a_disk_with_room_for_an_aside_directory_and_no_other_name_is_cleared(plain: Trees, tmp_path: Path) -> None:
    """As a btrfs answers that fills up meanwhile."""
    put_all(plain)
    ended = clear_in_a_child(plain, tmp_path, "delete", "-e", "inject=renameat2:error=ENOSPC:when=3+")
    assert "INJECTED" in (tmp_path / "strace").read_text(encoding="utf-8")
    assert ended.stdout == f"cleared {len(NAMES)} 0\n", ended.stderr
    assert os.listdir(plain.at(Tree.ARCHIVE, DAY)) == []


@pytest.mark.parametrize("kind", [None, *KINDS], ids=str)
def test_a_full_disk_is_cleared_into_a_trash_on_another(tmp_path: Path, kind: Kind | None) -> None:
    with ExitStack() as stack:
        base = stack.enter_context(images.mounted(kind, tmp_path / "disk")) if kind else tmp_path
        other = stack.enter_context(
            tempfile.TemporaryDirectory(dir=file_system_besides(base), prefix="archiverd-test-")
        )
        trees = Trees({Tree.SOURCE: base / "source", Tree.ARCHIVE: base / "archive", Tree.TRASH: Path(other)})
        wanted = put_all(trees)
        if kind is None:
            options = ["-P", str(trees.at(Tree.ARCHIVE, DAY)), "-e", f"inject={NO_ROOM}"]
            assert clear_in_a_child(trees, tmp_path, "trash", *options).stdout == f"cleared {len(NAMES)} 0\n"
        else:
            images.fill(base)
            assert clear(trees, wanted, to_trash=True).gone.keys() == set(NAMES)
        assert (standing(trees), standing(trees, Tree.TRASH)) == ({}, all_of(NAMES, BEFORE_TRASHED))


@pytest.mark.parametrize("kind", [None, *KINDS], ids=str)
def test_a_full_disk_that_holds_its_trash_itself_is_told_and_all_stands(tmp_path: Path, kind: Kind | None) -> None:
    """What is only moved there frees nothing."""
    with images.mounted(kind, tmp_path / "disk") if kind else nullcontext(tmp_path) as base:
        trees = Trees({tree: base / tree for tree in Tree})
        wanted = put_all(trees)
        if kind is None:
            options = ["-P", str(trees.roots[Tree.TRASH]), "-e", f"inject={NO_ROOM}"]
            assert "ResourceError" in clear_in_a_child(trees, tmp_path, "trash", *options).stderr
        else:
            images.fill(base)
            with pytest.raises(ResourceError, match="Make room there"):
                clear(trees, wanted, to_trash=True)
        assert (standing(trees), standing(trees, Tree.TRASH)) == (all_of(NAMES), {})


@pytest.mark.parametrize("to_trash", [False, True], ids=["delete", "trash"])
def test_what_changed_stays_on_a_full_disk_too(plain: Trees, tmp_path: Path, to_trash: bool) -> None:
    """The child's own listing is what is wanted: a symlink and a directory are no files."""
    put_all(plain)
    day = plain.at(Tree.ARCHIVE, DAY)
    a_symlink(day / NAMES[0])
    a_directory(day / NAMES[1])
    options = ["-P", str(day), "-e", f"inject={NO_ROOM}"]
    where = "trash" if to_trash else "delete"
    assert clear_in_a_child(plain, tmp_path, where, *options).stdout.startswith("cleared 5 2 is no regular file")
    assert sorted(os.listdir(day)) == list(NAMES[:2])


def test_a_file_that_took_the_name_in_that_very_moment_is_told_of(plain: Trees, tmp_path: Path) -> None:
    """Of a full disk. unlink is made to answer that it is done, and the file that was looked at keeps its names."""
    put_all(plain)
    day = plain.at(Tree.ARCHIVE, DAY)
    options = ["-P", str(day), "-e", f"inject={NO_ROOM}", "-e", "inject=unlinkat:retval=0:when=2"]
    ended = clear_in_a_child(plain, tmp_path, "delete", *options)
    assert ended.stdout == f"cleared {len(NAMES) - 1} 1 lost its name to another file in the moment it was to go\n"
    assert "another file got this name as it was removed from a full disk" in ended.stderr


# -- faults and deaths ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "fault", "gone"),
    [
        ("delete", "unlinkat:error=EIO:when=3", 2),
        ("delete", "unlinkat:error=EROFS:when=1", 0),
        ("delete", "mkdirat:error=EROFS:when=4+", 0),  # the first three are of the trash
        ("delete", "renameat2:error=ESTALE:when=2", 1),
        ("trash", "renameat2:error=ENOSPC:when=4", 1),  # a second one is on its way into the trash
        ("trash", "renameat2:error=EIO:when=2", 0),
    ],
)
def test_a_fault_of_the_machine_ends_the_batch_and_puts_back_what_stands_aside(
    plain: Trees, tmp_path: Path, where: str, fault: str, gone: int
) -> None:
    put_all(plain)
    if "mkdirat" in fault:
        fault = "mkdirat:error=EROFS"
        options = ["-P", str(plain.at(Tree.ARCHIVE, DAY)), "-e", f"inject={fault}"]
    else:
        options = ["-e", f"inject={fault}"]
    ended = clear_in_a_child(plain, tmp_path, where, *options)
    assert "INJECTED" in (tmp_path / "strace").read_text(encoding="utf-8")
    assert ended.stdout.startswith(f"failed {gone} 0 "), ended.stderr
    assert sorted(os.listdir(plain.at(Tree.ARCHIVE, DAY))) == list(NAMES[gone:])
    trashed = all_of(NAMES[:gone], BEFORE_TRASHED) if where == "trash" else {}
    assert standing(plain, Tree.TRASH) == trashed


@pytest.mark.parametrize(
    ("where", "call", "when"),
    [
        ("delete", "mkdirat", 5),  # the first four are of the trash
        *(("delete", "renameat2", when) for when in (1, 2, 6)),
        *(("delete", "unlinkat", when) for when in (1, 2, 6, 7)),  # the seventh is of the aside directory
        ("delete", "fsync", 1),
        ("trash", "mkdirat", 9),
        *(("trash", "renameat2", when) for when in (1, 2, 3, 12)),
        ("trash", "unlinkat", 1),
        *(("trash", "fsync", when) for when in (6, 7)),  # the first five are of the way to the trash
    ],
)
def test_a_batch_that_is_killed_loses_nothing_and_is_put_back(
    plain: Trees, tmp_path: Path, where: str, call: str, when: int
) -> None:
    """Each file stands under its own name: in its place, aside, or in the trash, or was removed for good."""
    put_all(plain)
    plain.files._make_directories(Tree.TRASH, BEFORE_TRASHED.parts)
    day = plain.at(Tree.ARCHIVE, DAY)
    ended = clear_in_a_child(plain, tmp_path, where, "-e", f"inject={call}:signal=KILL:when={when}")
    assert ended.returncode == -signal.SIGKILL, ended
    aside = day / ASIDE.name
    stand = [path.name for path in day.iterdir() if path != aside]
    set_aside = os.listdir(aside) if aside.exists() else []
    trashed = [PurePosixPath(path).name for path in plain.names(Tree.TRASH)]
    assert len({*stand, *set_aside, *trashed}) == len([*stand, *set_aside, *trashed])
    if where == "trash":
        assert len(set_aside) <= 1
        assert {*stand, *set_aside, *trashed} == set(NAMES)
    else:
        assert sorted([*stand, *set_aside]) == list(NAMES[len(NAMES) - len([*stand, *set_aside]) :])
    back = plain.files.put_back_all(Tree.ARCHIVE, ASIDE)
    assert (sorted(back), aside.exists()) == ([DAY / name for name in sorted(set_aside)], False)
    assert standing(plain) == all_of(tuple(sorted([*stand, *set_aside])))


def test_a_large_batch_removes_what_is_wanted_and_nothing_else(plain: Trees) -> None:
    """Of which the most is unlinked by threads."""
    wanted = put_all(plain, names=MANY)
    blocks = {name: plain.at(Tree.ARCHIVE, DAY / name).stat().st_blocks * 512 for name in MANY}
    stays = MANY[100]
    plain.at(Tree.ARCHIVE, DAY / stays).with_suffix(".keep").touch()
    cleared = clear(plain, wanted)
    assert dict(cleared.gone) == {name: size for name, size in blocks.items() if name != stays}
    assert cleared.refused == {stays: PROTECTED}
    assert standing(plain) == all_of((stays,)) | {str(DAY / stays.replace(".mp4", ".keep")): b""}


def test_without_a_thread_to_be_had_a_large_batch_goes_all_the_same(
    plain: Trees, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_more(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    wanted = put_all(plain, names=MANY)
    monkeypatch.setattr(threading.Thread, "start", none_more)
    assert clear(plain, wanted).gone.keys() == set(MANY)
    assert standing(plain) == {}


def test_a_large_batch_stops_when_it_is_to(plain: Trees, monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast files are set aside: what waits to be unlinked is little."""
    wanted, gone = put_all(plain, names=MANY), Counter[str]()
    unlink = os.unlink

    def slowly(name: str, *, dir_fd: int) -> None:
        threading.Event().wait(0.002)
        unlink(name, dir_fd=dir_fd)
        gone["files"] += 1

    monkeypatch.setattr(os, "unlink", slowly)
    cleared = clear(plain, wanted, go_on=lambda: gone["files"] < 20)
    assert len(cleared.gone) < 20 + 6 * 32  # those at work, those that wait, and those not yet given


# Of whichever thread comes to that many: three do.
@pytest.mark.parametrize("when", [1, 30, 70])
def test_a_fault_of_the_machine_within_a_large_batch_puts_back_what_stands_aside(
    plain: Trees, tmp_path: Path, when: int
) -> None:
    put_all(plain, names=MANY)
    ended = clear_in_a_child(plain, tmp_path, "delete", "-f", "-e", f"inject=unlinkat:error=EIO:when={when}")
    assert "INJECTED" in (tmp_path / "strace").read_text(encoding="utf-8")
    left = {path.name for path in plain.at(Tree.ARCHIVE, DAY).glob("*.mp4")}
    assert ended.stdout.startswith(f"failed {len(MANY) - len(left)} 0 "), ended.stderr
    assert len(left) > (len(MANY) - 3 * when) // 2


@pytest.mark.parametrize("when", [1, 30, 70])
def test_a_large_batch_that_is_killed_is_put_back(plain: Trees, tmp_path: Path, when: int) -> None:
    put_all(plain, names=MANY)
    ended = clear_in_a_child(plain, tmp_path, "delete", "-f", "-e", f"inject=unlinkat:signal=KILL:when={when}")
    assert ended.returncode == -signal.SIGKILL, ended
    left = {path.name for path in plain.at(Tree.ARCHIVE, DAY).rglob("*.mp4")}
    assert len(MANY) - len(left) < 3 * when
    plain.files.put_back_all(Tree.ARCHIVE, ASIDE)
    assert standing(plain) == all_of(tuple(sorted(left)))


def test_a_batch_brings_its_directories_to_the_disk_once(plain: Trees, tmp_path: Path) -> None:
    """The trash before the directory that the files leave."""
    put_all(plain)
    clear_in_a_child(plain, tmp_path, "trash", "-e", "trace=renameat2,fsync,rmdir,unlinkat")
    lines = (tmp_path / "strace").read_text(encoding="utf-8").splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("renameat2"))
    calls = [line.partition("(")[0] for line in lines]
    assert calls.count("renameat2") == 2 * len(NAMES)
    assert calls[last + 1 :] == ["fsync", "unlinkat", "fsync"]
    assert str(BEFORE_TRASHED) in lines[last + 1]
    assert "AT_REMOVEDIR" in lines[last + 2]
    assert f"archive/{DAY}" in lines[last + 3]


# -- what a death left ------------------------------------------------------------------------------------


def test_put_back_all_replaces_nothing(trees: Trees) -> None:
    trees.put(Tree.ARCHIVE, ASIDE / NAMES[0], content(NAMES[0]))
    trees.put(Tree.ARCHIVE, ASIDE / NAMES[1], content(NAMES[1]))
    trees.put(Tree.ARCHIVE, DAY / NAMES[0], b"a new one")
    second = DAY / NAMES[0].replace(".mp4", "~2.mp4")
    assert trees.files.put_back_all(Tree.ARCHIVE, ASIDE) == [second, DAY / NAMES[1]]
    assert standing(trees) == {
        str(DAY / NAMES[0]): b"a new one", str(second): content(NAMES[0]), str(DAY / NAMES[1]): content(NAMES[1])
    }  # fmt: skip
    assert not trees.at(Tree.ARCHIVE, ASIDE).exists()


def test_a_batch_goes_on_with_what_stands_aside_of_its_own_job(plain: Trees) -> None:
    """A file that could not be put back, or somebody's own, is not removed with the aside directory."""
    wanted = put_all(plain)
    plain.put(Tree.ARCHIVE, ASIDE / "of before", b"x")
    assert clear(plain, wanted).gone.keys() == set(NAMES)
    assert standing(plain) == {str(ASIDE / "of before"): b"x"}


def test_put_back_all_of_what_is_not_there_is_content(plain: Trees) -> None:
    plain.at(Tree.ARCHIVE, DAY).mkdir(parents=True)
    assert plain.files.put_back_all(Tree.ARCHIVE, ASIDE) == []


# -- empty directories ------------------------------------------------------------------------------------


def test_remove_empty_removes_a_directory_and_those_above_it(trees: Trees) -> None:
    trees.at(Tree.ARCHIVE, DAY).mkdir(parents=True)
    assert trees.files.remove_empty(Tree.ARCHIVE, DAY) == [DAY, DAY.parent, DAY.parent.parent]
    assert os.listdir(trees.roots[Tree.ARCHIVE]) == []


@pytest.mark.parametrize(
    ("held", "removed"),
    [
        (DAY / "clip.mp4", []),
        (DAY.parent / "02" / "clip.mp4", [DAY]),
        (PurePosixPath("2026/08/01/clip.mp4"), [DAY, DAY.parent]),
    ],
)
def test_remove_empty_leaves_what_holds_anything(
    plain: Trees, held: PurePosixPath, removed: list[PurePosixPath]
) -> None:
    plain.at(Tree.ARCHIVE, DAY).mkdir(parents=True)
    plain.put(Tree.ARCHIVE, held, b"x")
    assert plain.files.remove_empty(Tree.ARCHIVE, DAY) == removed
    assert standing(plain) == {str(held): b"x"}


def test_remove_empty_goes_on_where_a_death_ended_it(plain: Trees) -> None:
    plain.at(Tree.ARCHIVE, DAY.parent).mkdir(parents=True)
    assert plain.files.remove_empty(Tree.ARCHIVE, DAY) == [DAY.parent, DAY.parent.parent]


@pytest.mark.parametrize("directory", [PurePosixPath(), PurePosixPath("link"), PurePosixPath("link/below")])
def test_remove_empty_removes_no_root_and_follows_no_symlink(
    plain: Trees, tmp_path: Path, directory: PurePosixPath
) -> None:
    (tmp_path / "outside" / "below").mkdir(parents=True)
    (plain.roots[Tree.ARCHIVE] / "link").symlink_to(tmp_path / "outside")
    assert plain.files.remove_empty(Tree.ARCHIVE, directory) == []
    assert (tmp_path / "outside" / "below").is_dir()
    assert os.listdir(plain.roots[Tree.ARCHIVE]) == ["link"]


RETRIES = """
try:
    with files.new_part(Tree.ARCHIVE, part) as handle:
        os.write(handle, b"film")
    print(files.move(Place(Tree.SOURCE, clip), Place(Tree.TRASH, clip), "j1", NeverStop()))
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("tree", [Tree.ARCHIVE, Tree.TRASH])
@pytest.mark.parametrize("when", ["openat:error=ENOENT:when=1", "renameat2:error=ENOENT:when=1"])
def test_a_directory_that_vanishes_before_it_is_written_to_is_made_once_more(
    plain: Trees, tmp_path: Path, tree: Tree, when: str
) -> None:
    plain.put(Tree.SOURCE, DAY / "REO_front_20260701120000.mp4", b"film")
    options = ["-P", str(plain.at(tree, DAY.parent)), "-P", str(plain.at(tree, DAY)), "-e", f"inject={when}"]
    for root in (Tree.ARCHIVE, Tree.TRASH):
        plain.at(root, DAY).mkdir(parents=True)
    ended = run([*strace(tmp_path / "strace", *options), *python(CHILD + RETRIES, *(plain.roots[one] for one in Tree))])
    assert ended.stdout == "2026/07/01/REO_front_20260701120000.mp4\n", ended.stderr
    assert plain.at(Tree.ARCHIVE, DAY / ".archiverd-c1-j1.part").read_bytes() == b"film"


def test_free_room_is_what_df_tells(trees: Trees) -> None:
    root = trees.roots[Tree.ARCHIVE]
    told, room = trees.files.free_room(Tree.ARCHIVE), os.statvfs(root)
    assert (told.size, told.device) == (room.f_blocks * room.f_frsize, root.stat().st_dev)
    assert 0 < told.free <= told.size


def test_an_aside_directory_is_nobody_elses_to_look_into(plain: Trees) -> None:
    modes: list[int] = []
    day = plain.at(Tree.ARCHIVE, DAY)
    clear(plain, put_all(plain), go_on=before(1, lambda: modes.append(stat.S_IMODE((day / ASIDE.name).stat().st_mode))))
    assert modes == [0o700]


def test_the_fault_of_a_batch_is_one_of_the_machine() -> None:
    assert issubclass(ClearingFailed, ResourceError)
