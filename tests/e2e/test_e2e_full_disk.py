"""A daemon whose disk is filled to the brim by somebody else: it makes room by the rules, and goes on archiving."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pytest

from archiverd.cli import run_command_line
from archiverd.policy.model import Recording, State, Tree
from archiverd.policy.room import floor
from tests.e2e.invariants import assert_no_traces
from tests.e2e.rig import Rig, Upload, sha256_of
from tests.e2e.serving import SOON, serving
from tests.holdings import House, clip_of
from tests.images import KINDS, Kind, bound, fill, mounted
from tests.screen import until

_MIN_FREE = 2 * 10**9  # of which a small disk is to have a tenth
_SHARE = 100  # of a disk is one old file of ours
PAST = 20  # recordings of the past, a day apart


@dataclass
class Home:
    """A rig of which one or all trees stand on a small disk, with what it has archived in the past."""

    rig: Rig
    disk: Path
    kept: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # what is somebody else's on it
    past: list[Recording] = field(default_factory=list)  # oldest first

    @property
    def free(self) -> int:
        room = os.statvfs(self.disk)
        return room.f_bavail * room.f_frsize

    @property
    def size(self) -> int:
        room = os.statvfs(self.disk)
        return room.f_blocks * room.f_frsize

    @property
    def floor(self) -> int:
        return floor(self.size, _MIN_FREE)

    @property
    def unit(self) -> int:
        return self.size // _SHARE // 4096 * 4096

    def is_above_floor(self) -> bool:
        return self.free >= self.floor

    def fill_to_the_brim(self) -> None:
        """Somebody else takes all that is left on the disk."""
        ballast = self.disk / "somebody"
        ballast.mkdir()
        fill(ballast)
        self.kept = self.ballast()
        assert self.free < self.floor // 4

    def ballast(self) -> dict[str, tuple[int, int, int]]:
        found = {}
        for path in (self.disk / "somebody").iterdir():
            status = path.lstat()
            found[path.name] = status.st_ino, status.st_size, status.st_mtime_ns
        return found

    def standing(self, tree: Tree) -> list[PurePosixPath]:
        """What is left of the past in a tree, oldest first."""
        root = self.rig.trash if tree is Tree.TRASH else self.rig.archive
        return [row.path for row in self.past if (root / row.path).exists()]

    def states(self) -> dict[PurePosixPath, State]:
        return {row.path: row.state for row in self.rig.rows()}

    def asked(self, verb: str, *arguments: str) -> int:
        """What the command line answers."""
        trees = ("--output", str(self.rig.archive), "--trash-root", str(self.rig.trash))
        options = ("--config", str(self.rig.config_file), *(("--directory",) if verb == "why" else trees))
        return run_command_line([verb, *arguments, *options, str(self.rig.camera)])


@contextlib.contextmanager
def home(rig: Rig, kind: Kind, small: Tree | None, settings: str = "", *, trashed: bool = True) -> Iterator[Home]:
    """Twenty recordings of the past, a day apart, on trees of which `small` (None: all) stands on a small disk.

    Each has its archive, and its source in the trash where they are `trashed`. A cleanup went ahead by these rules.
    """
    rig.archive, rig.trash = rig.base / "archived", rig.base / "trashed"
    places = {None: rig.camera, Tree.ARCHIVE: rig.base / "small", Tree.TRASH: rig.base / "small"}
    bystanders = {path: path.read_bytes() for path in rig.bystanders}
    if small is None:
        rig.archive, rig.trash = rig.camera / "archived", rig.camera / ".deleted"
    with mounted(kind, places[small]) as disk:
        if small is None:
            for path, data in bystanders.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        elif small is Tree.ARCHIVE:
            rig.archive = disk / "archived"
        else:
            rig.trash = disk / "trashed"
        text = rig.config_file.read_text().replace('min_free = "none"\n', "").replace('settle = "0 s"\n', "")
        rig.config_file.write_text(f'{text}min_free = "2GB"\n{SOON}{settings}')
        made = Home(rig, disk)
        house = House(rig.base, output=rig.archive, trash_root=rig.trash)
        house.now, house.content = time.time(), clip_of
        with house.open():
            made.past = [
                house.archived("garden", 40 - number, made.unit, trashed_days_ago=25 - number if trashed else None)
                for number in range(PAST)
            ]
        assert made.asked("cleanup", "--no-confirm", "--quiet") == 0
        yield made


@contextlib.contextmanager
def uploading(rig: Rig, names: Sequence[str]) -> Iterator[list[Upload]]:
    """A camera that uploads clips one after the other, each as often as it takes until the disk has room for it."""
    uploads: list[Upload] = []
    over = threading.Event()

    def upload() -> None:
        for number, name in enumerate(names):
            while not over.wait(0.1):
                with contextlib.suppress(OSError):
                    uploads.append(rig.upload(name, rig.path(number)))
                    break

    thread = threading.Thread(target=upload, name="camera")
    thread.start()
    try:
        yield uploads
    finally:
        over.set()
        thread.join(30)


def assert_archived_once(rig: Rig, uploads: Sequence[Upload]) -> None:
    rows = rig.rows()
    archives = {sha256_of(path) for path in rig.archive.rglob("*front_*.mp4")}
    for upload in uploads:
        (row,) = (row for row in rows if row.receipt is not None and row.receipt.source_sha256 == upload.sha256)
        assert row.receipt is not None
        assert row.state is State.DONE
        assert row.receipt.archive_sha256 in archives
        assert not (rig.camera / upload.path).exists()
    assert len(list(rig.archive.rglob("*front_*.mp4"))) == len(uploads)


def all_done(home: Home, uploads: Sequence[Upload], many: int) -> bool:
    states = home.states()
    return len(uploads) == many and all(states.get(upload.path) is State.DONE for upload in uploads)


@pytest.mark.parametrize(
    ("kind", "small"),
    [*((kind, None) for kind in KINDS), *((kind, Tree.TRASH) for kind in KINDS if kind in (Kind.EXT4, Kind.BTRFS))],
)
def test_oldest_of_the_trash_makes_room_and_archiving_goes_on(rig: Rig, kind: Kind, small: Tree | None) -> None:
    with home(rig, kind, small) as its:
        its.fill_to_the_brim()
        wanted = int(its.floor * 1.1) - its.free
        with serving(rig, settings=SOON) as daemon, uploading(rig, "ab") as uploads:
            until(lambda: all_done(its, uploads, 2), 60)
            assert its.is_above_floor()
            assert daemon.stop() == 0
        left = its.standing(Tree.TRASH)
        assert left == [row.path for row in its.past[-len(left) :]], "the oldest, and nothing younger"
        # What came since: the sources, their archives, and what the catalog keeps in reserve.
        came = sum((path.stat().st_size + 80_000) for path in rig.archive.rglob("*front_*.mp4")) + its.size // 100
        assert (PAST - len(left) - 1) * its.unit < wanted + came
        assert its.standing(Tree.ARCHIVE) == [row.path for row in its.past]
        assert its.ballast() == its.kept
        assert_archived_once(rig, uploads)
        assert_no_traces(rig)
        assert its.asked("check") == 0


OLDEST = 'when_full = "oldest"\n'
GUARANTEED = OLDEST + '[[retention]]\ncameras = "garden"\nkeep = "32 days"\n'  # which are the eleven youngest


@pytest.mark.parametrize(
    ("kind", "small", "settings"),
    [(Kind.TMPFS, None, OLDEST), (Kind.XFS, Tree.ARCHIVE, GUARANTEED)] if KINDS else [],
)
def test_oldest_archives_make_room_where_their_owner_allows_it(
    rig: Rig, kind: Kind, small: Tree | None, settings: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """For good, and `why` says so. What is guaranteed stays, and archiving goes on in what room there is."""
    with home(rig, kind, small, settings, trashed=False) as its:
        its.fill_to_the_brim()
        with serving(rig, settings=SOON) as daemon, uploading(rig, "ab") as uploads:
            until(lambda: all_done(its, uploads, 2), 60)
            assert its.is_above_floor() == (settings == OLDEST)
            assert daemon.stop() == 0
        left = its.standing(Tree.ARCHIVE)
        assert left == [row.path for row in its.past[-len(left) :]], "the oldest, and nothing younger"
        assert len(left) == 11 or settings == OLDEST
        assert [its.states()[row.path] for row in its.past] == (
            [State.REMOVED] * (PAST - len(left)) + [State.DONE] * len(left)
        )
        assert its.standing(Tree.TRASH) == []
        assert its.ballast() == its.kept
        assert_archived_once(rig, uploads)
        assert_no_traces(rig)
        assert its.asked("check") == 0
        capsys.readouterr()
        assert its.asked("why", str(rig.camera / its.past[0].path)) == 0
        assert f"no room left on the disk of {rig.camera if small is None else rig.archive}" in capsys.readouterr().out


DUE = """clean_output = true
delete = true
age = "10 days"
max_removal = 100
"""


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is Kind.EXT4])
def test_no_archive_makes_room_unless_its_owner_allows_it(rig: Rig, kind: Kind) -> None:
    with home(rig, kind, Tree.ARCHIVE) as its:
        its.fill_to_the_brim()
        with serving(rig, settings=SOON) as daemon, uploading(rig, "ab") as uploads:
            daemon.says("more are to become free, and nothing more may go")
            until(lambda: len(uploads) == 2 and len(its.states()) == PAST + 2, 30)
            daemon.says("are free for it")
            assert not [path for path in rig.archive.rglob("*.mp4") if "front" in path.name]

            for path in sorted((its.disk / "somebody").iterdir())[: len(its.kept) // 2]:
                path.unlink()
            until(lambda: all_done(its, uploads, 2), 60)
            assert daemon.stop() == 0
        assert its.standing(Tree.ARCHIVE) == its.standing(Tree.TRASH) == [row.path for row in its.past]
        assert_archived_once(rig, uploads)
        assert its.asked("check") == 0


@pytest.mark.parametrize(("kind", "small"), [(Kind.EXT4, Tree.TRASH), (Kind.TMPFS, Tree.ARCHIVE)] if KINDS else [])
def test_nothing_is_removed_while_a_root_is_unmounted(rig: Rig, kind: Kind, small: Tree, tmp_path: Path) -> None:
    """What is due then, in every tree, goes once its disk is there again."""
    beside = tmp_path / "beside"
    beside.mkdir()
    with home(rig, kind, small) as its, bound(its.disk, beside), serving(rig, settings=SOON) as daemon:
        subprocess.run(("umount", "--lazy", str(its.disk)), check=True)
        rig.config_file.write_text(rig.config_file.read_text() + DUE)
        daemon.signal(signal.SIGHUP)
        daemon.says(f"the marker of the {small} root is gone")
        other = rig.archive if small is Tree.TRASH else rig.trash
        there = beside / ("trashed" if small is Tree.TRASH else "archived")
        assert len(list(other.rglob("garden*"))) == len(list(there.rglob("garden*"))) == PAST
        assert list(its.disk.iterdir()) == []

        subprocess.run(("mount", "--bind", str(beside), str(its.disk)), check=True)
        until(lambda: not its.standing(Tree.ARCHIVE), 60)
        until(lambda: its.standing(Tree.TRASH) == [row.path for row in its.past[-4:]], 60)
        assert daemon.stop() == 0
        assert its.asked("check") == 0
