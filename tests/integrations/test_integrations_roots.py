"""Markers and locks on real directories, between real processes, over real mounts."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from archiverd.errors import LockedError, ResourceError, StartupError
from archiverd.policy.model import Tree
from archiverd.policy.naming import MARKER_NAME as MARKER
from archiverd.storage.roots import Marker, Roots, disks_of, read_marker, see_disks, source_root_above

REPOSITORY = Path(__file__).parents[2]
NOTHING_KNOWN = {Tree.ARCHIVE: False, Tree.TRASH: False}
ALL_KNOWN = {Tree.ARCHIVE: True, Tree.TRASH: True}
BESIDE = (Tree.ARCHIVE, Tree.TRASH)  # the roots that may be on disks of their own


class Place:
    """Where the three trees of a test and its state directory are."""

    def __init__(self, base: Path) -> None:
        self.paths = {
            Tree.SOURCE: base / "camera",
            Tree.ARCHIVE: base / "camera" / "archived",
            Tree.TRASH: base / "camera" / ".deleted",
        }
        self.state_dir = base / "camera" / ".archiverd"
        self.paths[Tree.SOURCE].mkdir()

    def roots(self) -> Roots:
        return Roots(self.paths, self.state_dir)

    def marker(self, tree: Tree) -> Path:
        return self.paths[tree] / MARKER

    def marking(self, tree: Tree) -> Marker:
        """What the marker of a root says, but for its nonce, which is another each time."""
        marker = read_marker(self.paths[tree])
        assert marker is not None
        return replace(marker, nonce="")

    def claim(self, catalog: str = "c1") -> None:
        """What one run leaves: three roots that belong to a catalog."""
        with self.roots() as roots:
            roots.claim(catalog, NOTHING_KNOWN)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def everything_under(directory: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(directory)): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [directory, *directory.rglob("*")]
    }


def can_mount() -> bool:
    """Whether this process has CAP_SYS_ADMIN (bit 21)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    capabilities = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return os.geteuid() == 0 and bool(int(capabilities, 16) >> 21 & 1)


def mount_tmpfs(where: Path, options: str = "size=1m") -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", where], check=True)


def unmount(where: Path) -> None:
    subprocess.run(["umount", "--lazy", where], check=True)


# -- entering ---------------------------------------------------------------------------------------------


def test_enter_makes_the_last_directory_of_each_root(place: Place) -> None:
    with place.roots():
        made = [place.paths[Tree.ARCHIVE], place.paths[Tree.TRASH], place.state_dir]
        assert [stat.S_IMODE(path.stat().st_mode) & 0o027 for path in made] == [0, 0, 0]


def test_enter_refuses_an_input_that_is_missing(place: Place) -> None:
    place.paths[Tree.SOURCE].rmdir()
    with pytest.raises(StartupError, match="the input directory is not there"), place.roots():
        pass
    assert not place.paths[Tree.SOURCE].exists()


def test_enter_refuses_an_input_that_is_a_file(place: Place) -> None:
    place.paths[Tree.SOURCE].rmdir()
    place.paths[Tree.SOURCE].touch()
    with pytest.raises(StartupError, match="the input directory is not there"), place.roots():
        pass


@pytest.mark.parametrize("tree", BESIDE)
def test_enter_refuses_a_root_that_is_a_file(place: Place, tree: Tree) -> None:
    place.paths[tree].touch()
    with pytest.raises(StartupError, match="is not a directory"), place.roots():
        pass


@pytest.mark.parametrize("tree", BESIDE)
def test_enter_never_makes_the_parents_of_a_root(place: Place, tmp_path: Path, tree: Tree) -> None:
    place.paths[tree] = tmp_path / "disk" / "tree"
    with pytest.raises(StartupError, match="disk is not there"), place.roots():
        pass
    assert not (tmp_path / "disk").exists()


def test_enter_takes_roots_that_are_symlinks(place: Place, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    place.paths[Tree.ARCHIVE].symlink_to(tmp_path / "disk")
    place.claim()
    assert (tmp_path / "disk" / MARKER).is_file()
    assert place.marking(Tree.ARCHIVE) == Marker("c1", "archive", str(place.state_dir))


HOLDS = """
import sys
from pathlib import Path
from archiverd.policy.model import Tree
from archiverd.policy.naming import MARKER_NAME as MARKER
from archiverd.storage.roots import Roots, source_root_above
source, archive, trash, state_dir = map(Path, sys.argv[1:5])
with Roots({Tree.SOURCE: source, Tree.ARCHIVE: archive, Tree.TRASH: trash}, state_dir) as roots:
    if sys.argv[5]:
        roots.claim(sys.argv[5], {})
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another_process(
    place: Place, paths: dict[Tree, Path], catalog: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """Another process has these roots: the source only, or all of them for a catalog."""
    command: list[str | Path] = [sys.executable, "-c", HOLDS, *(paths[tree] for tree in Tree), place.state_dir, catalog]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        try:
            yield child
        finally:
            child.kill()


def test_enter_beside_another_process_is_refused_with_75(place: Place) -> None:
    with (
        held_by_another_process(place, place.paths),
        pytest.raises(LockedError, match="another archiverd is at work on this source tree") as caught,
        place.roots(),
    ):
        pass
    assert caught.value.exit_code == 75


def test_enter_beside_another_process_makes_nothing(place: Place) -> None:
    with held_by_another_process(place, place.paths):
        shutil.rmtree(place.paths[Tree.ARCHIVE])
        with pytest.raises(LockedError), place.roots():
            pass
        assert not place.paths[Tree.ARCHIVE].exists()


@pytest.mark.parametrize("tree", BESIDE)
def test_claim_of_a_root_that_another_process_has_is_refused_with_75(place: Place, tmp_path: Path, tree: Tree) -> None:
    """Two inputs, one archive or trash: the second process gets its own source, and no more."""
    elsewhere = {other: tmp_path / f"other {other}" for other in Tree} | {tree: place.paths[tree]}
    elsewhere[Tree.SOURCE].mkdir()
    with held_by_another_process(place, elsewhere, "c1"), place.roots() as roots:
        with pytest.raises(LockedError, match=f"another archiverd is at work on this {tree} tree") as caught:
            roots.claim("c1", NOTHING_KNOWN)
        assert caught.value.exit_code == 75


def test_enter_after_the_other_process_was_killed_succeeds(place: Place) -> None:
    with held_by_another_process(place, place.paths, "c1") as child:
        child.kill()
        child.wait(timeout=60)
        with place.roots() as roots:
            roots.claim("c1", ALL_KNOWN)


def test_leaving_gives_every_lock_back(place: Place) -> None:
    place.claim()
    with held_by_another_process(place, place.paths, "c1") as child:
        assert child.poll() is None


def test_a_refused_entry_gives_its_lock_back(place: Place) -> None:
    place.paths[Tree.TRASH].touch()
    with pytest.raises(StartupError), place.roots():
        pass
    place.paths[Tree.TRASH].unlink()
    with held_by_another_process(place, place.paths, "c1") as child:
        assert child.poll() is None


def test_locks_are_not_inherited_by_children(place: Place) -> None:
    """A child that outlives its parent would keep the trees locked."""
    with place.roots() as roots:
        roots.claim("c1", NOTHING_KNOWN)
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    with child, held_by_another_process(place, place.paths, "c1"):
        assert child.poll() is None
        child.kill()


# -- whose roots they are ---------------------------------------------------------------------------------


def test_claim_marks_every_root(place: Place) -> None:
    place.claim()
    assert {tree: place.marking(tree) for tree in Tree} == {
        tree: Marker("c1", tree.value, str(place.state_dir)) for tree in Tree
    }


def test_claim_again_changes_no_marker(place: Place) -> None:
    place.claim()
    before = everything_under(place.paths[Tree.SOURCE])
    with place.roots() as roots:
        roots.claim("c1", ALL_KNOWN)
    assert everything_under(place.paths[Tree.SOURCE]) == before


def nonces(roots: Roots) -> dict[Tree, str]:
    return {tree: roots.nonce(tree) for tree in Tree}


def test_claim_gives_each_root_a_nonce_of_its_own(place: Place) -> None:
    with place.roots() as roots:
        roots.claim("c1", NOTHING_KNOWN)
        assert len({*nonces(roots).values(), ""}) == 4


def test_nonce_is_the_one_its_marker_holds(place: Place) -> None:
    with place.roots() as roots:
        roots.claim("c1", NOTHING_KNOWN)
        held = {tree: json.loads(place.marker(tree).read_bytes())["nonce"] for tree in Tree}
        assert nonces(roots) == held


def test_nonce_stays_from_run_to_run(place: Place) -> None:
    told = []
    for _ in range(2):
        with place.roots() as roots:
            roots.claim("c1", NOTHING_KNOWN)
            told.append(nonces(roots))
    assert told[0] == told[1]


def made_anew_by_hand(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()
    (root / MARKER).touch()


def adopted_by_hand(root: Path) -> None:
    (root / MARKER).write_bytes(b"")


@pytest.mark.parametrize("renew", [made_anew_by_hand, adopted_by_hand])
@pytest.mark.parametrize("tree", Tree)
def test_nonce_of_a_root_made_anew_is_another(tmp_path: Path, tree: Tree, renew: Callable[[Path], None]) -> None:
    place = Place(tmp_path)
    place.paths |= {other: tmp_path / other for other in BESIDE}
    told = []
    for _ in range(2):
        with place.roots() as roots:
            roots.claim("c1", NOTHING_KNOWN)
            told.append(nonces(roots))
        renew(place.paths[tree])
    assert {other for other in Tree if told[0][other] != told[1][other]} == {tree}


def test_claim_leaves_a_marker_without_nonce_as_it_is(place: Place) -> None:
    place.claim()
    values = json.loads(place.marker(Tree.SOURCE).read_bytes())
    del values["nonce"]
    place.marker(Tree.SOURCE).write_text(json.dumps(values))
    before = place.marker(Tree.SOURCE).read_bytes()
    with place.roots() as roots:
        roots.claim("c1", ALL_KNOWN)
        assert (roots.nonce(Tree.SOURCE), place.marker(Tree.SOURCE).read_bytes()) == ("", before)


def test_claim_writes_a_state_directory_that_is_not_utf8(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.state_dir = tmp_path / "T\udcfcr"
    place.claim()
    marker = read_marker(place.paths[Tree.SOURCE])
    assert marker is not None
    assert marker.state_dir == str(place.state_dir)


@pytest.mark.parametrize("tree", Tree)
def test_claim_for_another_catalog_is_refused_with_75(place: Place, tree: Tree) -> None:
    place.claim()
    for other in set(Tree) - {tree}:
        place.marker(other).unlink()
    before = place.marker(tree).read_bytes()
    with place.roots() as roots, pytest.raises(LockedError, match="belongs to catalog c1") as caught:
        roots.claim("c2", NOTHING_KNOWN)
    assert (caught.value.exit_code, place.marker(tree).read_bytes()) == (75, before)


@pytest.mark.parametrize(("one", "other"), [(Tree.ARCHIVE, Tree.TRASH), (Tree.SOURCE, Tree.ARCHIVE)])
def test_claim_of_swapped_trees_is_refused(tmp_path: Path, one: Tree, other: Tree) -> None:
    place = Place(tmp_path)
    place.paths = {tree: tmp_path / tree for tree in Tree}
    place.paths[Tree.SOURCE].mkdir()
    place.claim()
    place.paths[one], place.paths[other] = place.paths[other], place.paths[one]
    with (
        place.roots() as roots,
        pytest.raises(LockedError, match=f"is the {other} tree of this catalog, not its {one}"),
    ):
        roots.claim("c1", ALL_KNOWN)


@pytest.mark.parametrize("tree", Tree)
def test_claim_that_is_refused_marks_no_root(place: Place, tree: Tree) -> None:
    """One root is another catalog's; the owner has made empty markers in the other two."""
    place.claim("c2")
    for other in set(Tree) - {tree}:
        place.marker(other).write_bytes(b"")
    with place.roots() as roots, pytest.raises(LockedError, match="belongs to catalog c2"):
        roots.claim("c1", NOTHING_KNOWN)
    assert {other: place.marking(other).catalog for other in Tree} == {**dict.fromkeys(Tree, ""), tree: "c2"}


# Who tells that a root was in use: the catalog, the source that is marked already, or both.
IN_USE = {"the catalog": (True, False), "the source": (False, True), "both": (True, True)}


@pytest.mark.parametrize(("remembered", "source_marked"), IN_USE.values(), ids=IN_USE.keys())
@pytest.mark.parametrize("tree", BESIDE)
def test_claim_of_a_root_that_lost_its_marker_is_refused_and_nothing_is_written_there(
    place: Place, tree: Tree, remembered: bool, source_marked: bool
) -> None:
    place.claim()
    place.marker(tree).unlink()
    if not source_marked:
        place.marker(Tree.SOURCE).unlink()
    before = everything_under(place.paths[tree])
    with place.roots() as roots, pytest.raises(StartupError, match=f"the {tree} root has no marker") as caught:
        roots.claim("c1", {tree: remembered})
    assert (caught.value.exit_code, everything_under(place.paths[tree])) == (69, before)


@pytest.mark.parametrize("tree", BESIDE)
def test_claim_that_misses_a_root_leaves_the_source_unmarked(place: Place, tree: Tree) -> None:
    with place.roots() as roots, pytest.raises(StartupError, match=f"the {tree} root has no marker"):
        roots.claim("c1", {tree: True})
    assert place.marking(Tree.SOURCE) == Marker("", "", "")


@pytest.mark.parametrize("tree", BESIDE)
def test_claim_of_a_root_without_marker_where_nothing_is_known_marks_it(place: Place, tree: Tree) -> None:
    """Neither the catalog nor a marked source knows of it: it may be new."""
    place.claim()
    place.marker(tree).unlink()
    place.marker(Tree.SOURCE).unlink()
    with place.roots() as roots:
        roots.claim("c1", NOTHING_KNOWN)
    assert place.marking(tree) == Marker("c1", tree.value, str(place.state_dir))


def test_claim_of_a_source_that_lost_its_marker_marks_it(place: Place) -> None:
    """A new, empty input is welcome: nothing is ever removed for being missing there."""
    place.claim()
    place.marker(Tree.SOURCE).unlink()
    with place.roots() as roots:
        roots.claim("c1", ALL_KNOWN)
    assert place.marking(Tree.SOURCE) == Marker("c1", "source", str(place.state_dir))


@pytest.mark.parametrize("content", [b"", b"\n", b" \n\t"])
@pytest.mark.parametrize("tree", Tree)
def test_claim_adopts_an_empty_marker(place: Place, tree: Tree, content: bytes) -> None:
    """The owner says by it: this is the disk."""
    place.claim()
    place.marker(tree).write_bytes(content)
    with place.roots() as roots:
        roots.claim("c1", ALL_KNOWN)
    assert place.marking(tree) == Marker("c1", tree.value, str(place.state_dir))


def symlink(marker: Path) -> None:
    marker.symlink_to(marker.parent.parent / "elsewhere")


def symlink_to_a_marker(marker: Path) -> None:
    target = marker.parent / "real"
    target.write_text(json.dumps({"catalog": "c1", "tree": "archive", "state_dir": ""}))
    marker.symlink_to(target)


def directory(marker: Path) -> None:
    marker.mkdir()


def fifo(marker: Path) -> None:
    os.mkfifo(marker)


def other_text(marker: Path) -> None:
    marker.write_text("my backup disk")


def other_json(marker: Path) -> None:
    marker.write_text('["c1", "archive"]')


def missing_key(marker: Path) -> None:
    marker.write_text('{"catalog": "c1", "tree": "archive"}')


def not_utf8(marker: Path) -> None:
    marker.write_bytes(b'{"catalog": "\xff"}')


NO_MARKERS = [symlink, symlink_to_a_marker, directory, fifo, other_text, other_json, missing_key, not_utf8]


@pytest.mark.parametrize("make", NO_MARKERS)
@pytest.mark.parametrize("tree", Tree)
def test_what_is_not_a_marker_is_refused_and_left_alone(
    place: Place, tmp_path: Path, tree: Tree, make: Callable[[Path], None]
) -> None:
    place.claim()
    place.marker(tree).unlink()
    make(place.marker(tree))
    before = place.marker(tree).lstat()
    with pytest.raises(StartupError, match=MARKER), place.roots() as roots:
        roots.claim(roots.identity(), ALL_KNOWN)
    after = place.marker(tree).lstat()
    assert (after.st_ino, after.st_mtime_ns, (tmp_path / "elsewhere").exists()) == (
        before.st_ino, before.st_mtime_ns, False
    )  # fmt: skip


@pytest.mark.parametrize("make", NO_MARKERS)
def test_read_marker_refuses_what_is_not_one(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / MARKER)
    with pytest.raises(StartupError, match=MARKER):
        read_marker(tmp_path)


@pytest.mark.parametrize("name", [".", "none", "none/none", "file"])
def test_read_marker_where_there_is_none_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert read_marker(tmp_path / name) is None


# -- identity ---------------------------------------------------------------------------------------------


def test_identity_of_new_roots_is_new_each_time(place: Place) -> None:
    with place.roots() as roots:
        assert len({roots.identity(), roots.identity(), ""}) == 3


@pytest.mark.parametrize("left", [tuple(Tree), *((tree,) for tree in Tree)])
def test_identity_after_the_catalog_is_lost_is_the_one_the_markers_name(place: Place, left: tuple[Tree, ...]) -> None:
    place.claim("c1")
    for tree in set(Tree) - set(left):
        place.marker(tree).unlink()
    with place.roots() as roots:
        assert roots.identity() == "c1"


def test_identity_leaves_empty_markers_out(place: Place) -> None:
    place.claim("c1")
    place.marker(Tree.ARCHIVE).write_bytes(b"")
    with place.roots() as roots:
        assert roots.identity() == "c1"


def test_identity_of_markers_that_disagree_is_refused_with_75(place: Place, tmp_path: Path) -> None:
    place.claim("c1")
    other = tmp_path / "other"
    other.mkdir()
    Place(other).claim("c2")
    place.paths[Tree.ARCHIVE] = other / "camera" / "archived"
    with place.roots() as roots, pytest.raises(LockedError, match="belong to different catalogs") as caught:
        roots.identity()
    assert caught.value.exit_code == 75


# -- while it runs ----------------------------------------------------------------------------------------


@contextmanager
def marker_removed(root: Path) -> Iterator[None]:
    (root / MARKER).unlink()
    yield


@contextmanager
def marker_replaced(root: Path) -> Iterator[None]:
    (root / "copy").write_bytes((root / MARKER).read_bytes())
    (root / "copy").rename(root / MARKER)
    yield


@contextmanager
def marker_symlinked(root: Path) -> Iterator[None]:
    (root / MARKER).rename(root / "moved")
    (root / MARKER).symlink_to("moved")
    yield


@contextmanager
def removed(root: Path) -> Iterator[None]:
    shutil.rmtree(root)
    yield


@contextmanager
def made_anew(root: Path) -> Iterator[None]:
    content = (root / MARKER).read_bytes()
    shutil.rmtree(root)
    root.mkdir()
    (root / MARKER).write_bytes(content)
    yield


@contextmanager
def moved_away(root: Path) -> Iterator[None]:
    root.rename(root.with_name("moved"))
    yield


@contextmanager
def mounted_over(root: Path) -> Iterator[None]:
    mount_tmpfs(root)
    try:
        yield
    finally:
        unmount(root)


LOSSES = [marker_removed, marker_replaced, marker_symlinked, removed, made_anew, moved_away]


@pytest.mark.parametrize("tree", Tree)
def test_verify_of_a_root_that_stands_is_content(place: Place, tree: Tree) -> None:
    with place.roots() as roots:
        roots.claim("c1", NOTHING_KNOWN)
        (place.paths[tree] / "2026").mkdir()
        roots.verify(tree)


@pytest.mark.parametrize("loss", [*LOSSES, *([mounted_over] if can_mount() else [])])
@pytest.mark.parametrize("tree", Tree)
def test_verify_tells_a_root_that_is_lost(
    tmp_path: Path, tree: Tree, loss: Callable[[Path], AbstractContextManager[None]]
) -> None:
    place = Place(tmp_path)
    place.paths |= {other: tmp_path / other for other in BESIDE}
    with place.roots() as roots:
        roots.claim("c1", NOTHING_KNOWN)
        with loss(place.paths[tree]), pytest.raises(ResourceError, match=f"the {tree} root is"):
            roots.verify(tree)


@contextmanager
def disk(where: Path) -> Iterator[None]:
    where.mkdir()
    mount_tmpfs(where)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", where], check=False, stderr=subprocess.DEVNULL)


@contextmanager
def stand_in_disk(where: Path) -> Iterator[None]:
    where.mkdir()
    yield


def take_stand_in_away(where: Path) -> None:
    """What an unmount shows to those who look: the bare directory that was mounted over."""
    where.rename(where.with_name("unmounted"))
    where.mkdir()


DISKS = [pytest.param(stand_in_disk, take_stand_in_away, id="directory")]
if can_mount():
    DISKS.append(pytest.param(disk, unmount, id="mount"))


@pytest.mark.parametrize(("plug", "unplug"), DISKS)
def test_verify_tells_a_disk_that_was_unmounted(
    place: Place, plug: Callable[[Path], AbstractContextManager[None]], unplug: Callable[[Path], None]
) -> None:
    with plug(place.paths[Tree.ARCHIVE]), place.roots() as roots:
        roots.claim("c1", NOTHING_KNOWN)
        unplug(place.paths[Tree.ARCHIVE])
        with pytest.raises(ResourceError, match="the marker of the archive root is gone"):
            roots.verify(Tree.ARCHIVE)


@pytest.mark.parametrize(("plug", "unplug"), DISKS)
def test_claim_on_the_bare_mount_point_is_refused_and_nothing_is_written_there(
    place: Place, plug: Callable[[Path], AbstractContextManager[None]], unplug: Callable[[Path], None]
) -> None:
    with plug(place.paths[Tree.ARCHIVE]):
        place.claim()
        unplug(place.paths[Tree.ARCHIVE])
        with place.roots() as roots, pytest.raises(StartupError, match="Perhaps its disk is not mounted"):
            roots.claim("c1", ALL_KNOWN)
        assert list(place.paths[Tree.ARCHIVE].iterdir()) == []


# -- disks that can't be written to -----------------------------------------------------------------------


@contextmanager
def read_only(where: Path) -> Iterator[None]:
    """Nothing but a mount is read-only to root."""
    where.mkdir()
    if not can_mount():
        where.chmod(0o555)
        yield
        where.chmod(0o755)
        return
    mount_tmpfs(where, "ro")
    try:
        yield
    finally:
        unmount(where)


def test_claim_on_a_read_only_disk_is_told(place: Place) -> None:
    with (
        read_only(place.paths[Tree.ARCHIVE]),
        place.roots() as roots,
        pytest.raises(StartupError, match="the marker of the archive root can't be written"),
    ):
        roots.claim("c1", NOTHING_KNOWN)


CLAIMS = """
import sys
from pathlib import Path
from archiverd.errors import ArchiverError
from archiverd.policy.model import Tree
from archiverd.policy.naming import MARKER_NAME as MARKER
from archiverd.storage.roots import Roots, source_root_above
source, archive, trash, state_dir = map(Path, sys.argv[1:5])
with Roots({Tree.SOURCE: source, Tree.ARCHIVE: archive, Tree.TRASH: trash}, state_dir) as roots:
    try:
        roots.claim("c1", {})
    except ArchiverError as error:
        print(type(error).__name__)
"""


def claims(place: Place, record: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A claim in a process of its own, under strace."""
    traced: list[str | Path] = ["strace", "-qq", "-y", "-s", "4096", "-o", record, *options]
    command: list[str | Path] = [sys.executable, "-c", CLAIMS, *(place.paths[tree] for tree in Tree), place.state_dir]
    return subprocess.run([*traced, *command], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)


_MADE = re.compile(r'mkdir\("(.*)", \d+\)\s+= 0')
_WRITTEN = re.compile(r"pwrite64\(\d+<(.*?)>, .*\)\s+= \d+")
_SYNCED = re.compile(r"fsync\(\d+<(.*)>\)\s+= 0")


def steps(record: Path, base: Path) -> list[str]:
    """What was made, written and brought to the disk below `base`, in order."""
    kinds = (("make", _MADE), ("write", _WRITTEN), ("sync", _SYNCED))
    calls = record.read_text(encoding="utf-8").splitlines()
    done = [(word, match[1]) for call in calls for word, kind in kinds if (match := kind.fullmatch(call))]
    return [f"{word} {os.path.relpath(path, base)}" for word, path in done if path.startswith(str(base))]


def test_roots_and_markers_are_on_the_disk_and_the_source_is_marked_last(place: Place, tmp_path: Path) -> None:
    """The parent of a root that was made, and the root of a marker that was written, as well as the marker."""
    ended = claims(place, tmp_path / "strace", "-e", "trace=mkdir,pwrite64,fsync")
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert steps(tmp_path / "strace", place.paths[Tree.SOURCE]) == [
        "make archived", "sync .",
        "make .deleted", "sync .",
        "make .archiverd", "sync .",
        f"write archived/{MARKER}", f"sync archived/{MARKER}", "sync archived",
        f"write .deleted/{MARKER}", f"sync .deleted/{MARKER}", "sync .deleted",
        f"write {MARKER}", f"sync {MARKER}", "sync .",
    ]  # fmt: skip


def test_claim_again_writes_nothing_and_syncs_what_a_death_may_have_left(place: Place, tmp_path: Path) -> None:
    place.claim()
    claims(place, tmp_path / "strace", "-e", "trace=mkdir,pwrite64,fsync")
    assert steps(tmp_path / "strace", place.paths[Tree.SOURCE]) == [
        "sync ."
    ]  # above the state: archive and trash were made, and synced, before the source was marked


@pytest.mark.parametrize("call", ["pwrite64", "fsync"])
@pytest.mark.parametrize("when", [1, 2, 3])
def test_claim_that_is_killed_can_be_done_again(place: Place, tmp_path: Path, call: str, when: int) -> None:
    """At the n-th of the markers, or of the syncs that come with making the roots."""
    ended = claims(place, tmp_path / "strace", "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={when}")
    assert ended.returncode == -signal.SIGKILL
    place.claim()
    assert {tree: place.marking(tree) for tree in Tree} == {
        tree: Marker("c1", tree.value, str(place.state_dir)) for tree in Tree
    }


@pytest.mark.parametrize("when", range(4, 10))
def test_claim_that_a_disk_fails_to_keep_is_told(place: Place, tmp_path: Path, when: int) -> None:
    """Each of the three markers, and the directory of each; three syncs go before, of the roots that are made."""
    ended = claims(place, tmp_path / "strace", "-e", "trace=fsync", "-e", f"inject=fsync:error=EIO:when={when}")
    assert "INJECTED" in (tmp_path / "strace").read_text(encoding="utf-8")
    assert ended.stdout == "ResourceError\n", ended.stderr


@pytest.mark.parametrize(("call", "told"), [("read", "StartupError"), ("pread64", "ResourceError")])
def test_marker_that_the_disk_fails_to_read_is_told_as_such(place: Place, tmp_path: Path, call: str, told: str) -> None:
    """Nobody is advised to replace it. One look at a marker is by its path, the other at the one that is locked."""
    place.claim()
    marker = str(place.marker(Tree.ARCHIVE))
    ended = claims(place, tmp_path / "strace", "-P", marker, "-e", f"inject={call}:error=EIO")
    assert "INJECTED" in (tmp_path / "strace").read_text(encoding="utf-8")
    assert ended.stdout == f"{told}\n", ended.stderr


def test_claim_on_a_full_disk_is_told_and_goes_on_later(place: Place, tmp_path: Path) -> None:
    """strace stands for the disk: the marker can be made, and nothing can be written into it."""
    ended = claims(place, tmp_path / "strace", "-e", "inject=pwrite64:error=ENOSPC")
    assert "INJECTED" in (tmp_path / "strace").read_text(encoding="utf-8")
    assert ended.stdout == "ResourceError\n", ended.stderr
    place.claim()
    assert place.marking(Tree.SOURCE) == Marker("c1", "source", str(place.state_dir))


def test_source_root_is_found_above_any_path_in_it(place: Place) -> None:
    place.claim()
    source = place.paths[Tree.SOURCE]
    assert source_root_above(source / "2026/01/02/not there.mp4") == source
    assert source_root_above(place.paths[Tree.ARCHIVE] / "2026/01/02/clip.mp4") == source


def test_source_root_above_a_path_in_none_is_none(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text("somebody else's")
    assert source_root_above(tmp_path / "clip.mp4") is None


# --- disks that are not where they were


def test_place_on_another_file_system_is_none_to_begin_anew_in(tmp_path: Path) -> None:
    root = tmp_path / "camera"
    root.mkdir()
    before = disks_of([root])
    elsewhere = dict.fromkeys(before, next(iter(before.values())) + 1)  # as where its disk was unmounted

    see_disks(before)
    with pytest.raises(ResourceError, match="another file system than it was"):
        see_disks(elsewhere)
    root.rmdir()
    with pytest.raises(ResourceError, match="another file system than it was"):
        see_disks(elsewhere)


@pytest.mark.parametrize("name", [MARKER, "catalog.sqlite"])
def test_disk_that_holds_what_is_ours_may_have_another_number(tmp_path: Path, name: str) -> None:
    before = disks_of([tmp_path])
    (tmp_path / name).touch()

    see_disks({path: device + 1 for path, device in before.items()})


def test_directory_that_was_not_there_has_no_disk(tmp_path: Path) -> None:
    assert disks_of([tmp_path / "nowhere"]) == {}
