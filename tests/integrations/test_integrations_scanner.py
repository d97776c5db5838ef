"""What a Scanner finds in real trees against a real catalog, a step at a time, by an invented clock."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pytest

from archiverd.errors import ResourceError
from archiverd.policy.model import FoundRecording, Listing, Recording
from archiverd.policy.name_patterns import CANONICAL, compile_names
from archiverd.policy.watching import Observing
from archiverd.scanner import Scanner
from archiverd.service.inbox import Inbox
from archiverd.storage.catalog import Catalog
from archiverd.storage.discovery import FileDiscovery
from tests.recordings import NOW, receipt

OLD = NOW - 3 * 86400
DAY = "2026/07/01"
YESTERDAY = "2026/06/30"


class Finder(FileDiscovery):
    """Remembers which directories it read, and which it looked at."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, snapshot_window_s=60.0, now=lambda: NOW)
        self.read: list[str] = []
        self.looked_at: list[str] = []

    def mark(self, where: PurePosixPath) -> int | None:
        self.looked_at.append(str(where))
        return super().mark(where)

    def listing(self, where: PurePosixPath) -> Listing | None:
        self.read.append(str(where))
        return super().listing(where)


@dataclass
class Tree:
    """A source tree with a catalog and a Scanner, some time after NOW."""

    root: Path
    catalog: Catalog
    now: float = NOW
    lost: bool = False
    work_s: Iterator[float] = field(default_factory=lambda: itertools.repeat(0.0))

    def __post_init__(self) -> None:
        self.inbox = Inbox()
        self.find = Finder(self.root)
        self.scanner = Scanner(
            self.find, self.catalog, self.inbox, CANONICAL, verify=self._verify, old_after_s=3600.0,
            clock=lambda: next(self.work_s),
        )  # fmt: skip

    def _verify(self) -> None:
        if self.lost:
            raise ResourceError("the root is another")

    def put(self, path: str, written: float = OLD) -> Path:
        where = self.root / path
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(b"film")
        os.utime(where, (written, written))
        return where

    def rest(self) -> None:
        """As if nothing was made, renamed or removed for days."""
        for path in (self.root, *self.root.rglob("*")):
            if path.is_dir():
                os.utime(path, (OLD, OLD))

    def scan(self, after_s: float = 0.0) -> list[str]:
        """Step until nothing is to be done; what came into the inbox, as it came."""
        self.now += after_s
        self.find.read.clear()
        self.find.looked_at.clear()
        came: list[str] = []
        for _ in range(10_000):
            wait_until = self.scanner.step(self.now)
            came += [clip.key for clip in self.inbox.take_found(10**6)]
            came += [str(seen.path) for seen in self.inbox.take(10**6)]
            if wait_until > self.now:
                return came
        raise AssertionError("it does not come to rest")

    def know(self, *paths: str) -> list[Recording]:
        """Enter what stands at these paths into the catalog, as it is offered."""
        sighting = self.find.look(map(PurePosixPath, paths))
        pairing = self.find.pairs(sighting.clips)
        return [
            self.catalog.offer(FoundRecording(clip, pairing.by_clip.get(clip.path, ())), self.now, reason="new")
            for clip in sighting.clips
        ]

    def archive(self, row: Recording) -> Recording:
        claimed = self.catalog.claim(row, "j1", self.now)
        published = self.catalog.publishing(claimed, PurePosixPath("a.mp4"), "a" * 64, 4, receipt(), self.now)
        return self.catalog.archived(published, receipt(), "transcoded", self.now)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    (tmp_path / "camera").mkdir()
    with Catalog(tmp_path / "catalog.sqlite", new_id="c1") as catalog:
        yield Tree(tmp_path / "camera", catalog)


CLIP = f"{DAY}/x_20260701120000.mp4"
SNAPSHOT = f"{DAY}/x_20260701120001.jpg"
OLDER = f"{YESTERDAY}/x_20260630120000.mp4"


def test_at_first_all_that_is_unknown_is_looked_at_the_newest_first(tree: Tree) -> None:
    for path in (OLDER, CLIP, SNAPSHOT, f"{DAY}/notes.txt", "elsewhere/x_20260701120000.mp4"):
        tree.put(path)
    came = tree.scan()
    assert came == [CLIP, OLDER, SNAPSHOT]
    scanned = tree.scanner.last_full
    assert scanned is not None
    assert (scanned.directories, scanned.files, scanned.at) == (6, 3, NOW)
    assert tree.scanner.is_over


def test_what_is_known_is_left_in_peace(tree: Tree) -> None:
    for path in (CLIP, SNAPSHOT):
        tree.put(path)
    tree.know(CLIP)
    assert tree.scan() == []


def test_each_minute_only_what_changed_lately_is_read(tree: Tree) -> None:
    tree.put(CLIP)
    tree.put(OLDER)
    tree.know(CLIP, OLDER)
    tree.rest()
    tree.scan()
    assert tree.scan(59) == []
    assert tree.find.read == []
    new = f"{DAY}/x_20260701120500.mp4"
    tree.put(new)
    assert tree.scan(1) == [new]
    assert tree.find.read == [DAY]
    assert tree.scan(60) == [new]  # nobody has entered it into the catalog so far
    tree.know(new)
    tree.rest()
    assert tree.scan(60) == []
    assert tree.scan(60) == []
    assert tree.find.read == []


def test_a_new_directory_is_gone_down_to_wherever_it_comes(tree: Tree) -> None:
    tree.put(OLDER)
    tree.know(OLDER)
    tree.scan()
    moved_in = tree.put("2027/01/01/x_20270101000000.mp4")
    tree.rest()  # a directory that was moved in keeps its old time
    os.utime(tree.root, (NOW, NOW))
    assert tree.scan(60) == [str(moved_in.relative_to(tree.root))]


def test_polling_goes_faster_and_finds_what_was_written_over_in_place(tree: Tree) -> None:
    tree.scanner.observe(Observing.POLL)
    tree.put(CLIP)
    tree.know(CLIP)
    tree.rest()
    tree.scan()
    os.utime(tree.root / CLIP, (NOW, NOW))
    assert tree.scan(10) == []
    assert tree.scan(50) == [CLIP]
    assert tree.scan(10) == [CLIP]


@pytest.mark.parametrize(("observing", "all_s"), [(Observing.INOTIFY, 86400), (Observing.POLL, 3600)])
def test_all_is_looked_through_in_time_and_as_requested(tree: Tree, observing: Observing, all_s: float) -> None:
    tree.scanner.observe(observing)
    for month in range(1, 10):
        tree.put(f"2026/0{month}/01/x_20260{month}01000000.jpg")
    tree.rest()
    tree.scan()
    everything = set(tree.find.looked_at)
    assert len(everything) == 20
    tree.scan(all_s - 61)
    assert set(tree.find.looked_at) < everything
    tree.scan(61)
    assert set(tree.find.looked_at) == everything
    tree.scanner.request()
    assert not tree.scanner.is_over
    tree.scan()
    assert set(tree.find.looked_at) == everything


def test_a_snapshot_in_another_directory_than_its_clip_is_looked_at_when_that_is_done(tree: Tree) -> None:
    clip, snapshot = f"{YESTERDAY}/x_20260630235959.mp4", f"{DAY}/x_20260701000001.jpg"
    tree.put(clip)
    tree.put(snapshot)
    (row,) = tree.know(clip)
    assert len(row.snapshots) == 1
    tree.rest()
    assert tree.scan() == []
    (tree.root / clip).unlink()
    tree.catalog.done(tree.archive(row), None, "let go of", tree.now)  # and the snapshot was too young to go with it
    tree.scanner.request()
    assert tree.scan() == [snapshot]


@pytest.mark.parametrize("quiet_s", [60, 86400])
def test_what_is_as_it_was_is_not_read_again(tree: Tree, quiet_s: float) -> None:
    for path in (CLIP, SNAPSHOT, OLDER):
        tree.put(path)
    tree.know(CLIP, OLDER)
    tree.rest()
    tree.scan()
    tree.scan(quiet_s)
    tree.scanner.request()
    assert tree.scan() == []
    assert tree.find.read == []
    scanned = tree.scanner.last_full
    assert scanned is not None
    assert (scanned.directories, scanned.files) == (6, 3)


def test_what_was_written_over_in_place_is_found_by_a_look_at_all(tree: Tree) -> None:
    clip = tree.put(CLIP)
    tree.put(OLDER)
    tree.know(CLIP, OLDER)
    tree.rest()
    tree.scan()
    with clip.open("ab") as file:
        file.write(b", and more of it")
    os.utime(clip, (OLD, OLD))
    assert tree.scan(60) == []
    tree.scanner.request()
    assert tree.scan() == [CLIP]
    assert tree.find.read == [DAY]


def test_a_directory_is_read_again_when_the_catalog_says_otherwise(tree: Tree) -> None:
    tree.put(CLIP)
    (row,) = tree.know(CLIP)
    tree.rest()
    tree.scan()
    tree.catalog.done(tree.archive(row), None, "let go of", tree.now)  # and it stands there all the same
    tree.scanner.request()
    assert tree.scan() == [CLIP]


def test_what_should_stand_there_and_does_not_is_looked_at_where_the_root_is_ours(tree: Tree) -> None:
    where = tree.put(CLIP)
    tree.put(OLDER)
    tree.know(CLIP, OLDER)
    tree.scan()
    where.unlink()
    tree.lost = True
    assert tree.scan(60) == []
    tree.lost = False
    assert tree.scan(60) == [CLIP]
    shutil.rmtree(tree.root / "2026/06")
    tree.scanner.request()
    assert sorted(tree.scan()) == [OLDER, CLIP]


def test_a_source_that_is_archived_is_looked_at_when_its_protection_is_gone(tree: Tree) -> None:
    tree.put(CLIP)
    keep = tree.put(CLIP.replace(".mp4", ".keep"))
    (row,) = tree.know(CLIP)
    tree.archive(row)
    assert tree.scan() == []
    keep.unlink()
    assert tree.scan(60) == [CLIP]


def test_a_snapshot_of_nothing_is_looked_at_once_and_once_it_is_old(tree: Tree) -> None:
    tree.put(SNAPSHOT, written=NOW)
    assert tree.scan() == [SNAPSHOT]
    assert tree.scan(60) == []
    assert tree.scan(3600) == [SNAPSHOT]
    assert tree.scan(3600) == []
    tree.put(SNAPSHOT, written=NOW - 1)  # another upload of its name
    assert tree.scan(60) == [SNAPSHOT]


def test_one_step_takes_half_a_second_and_a_recent_look_goes_before_a_whole_one(tree: Tree) -> None:
    tree.put(CLIP)
    tree.scan()
    new = f"{DAY}/x_20260701120500.mp4"
    for day in range(1, 21):
        tree.put(f"2025/01/{day:02}/x_202501{day:02}000000.mp4")
    tree.work_s = itertools.count(0.0, 0.2)
    tree.scanner.request()
    assert tree.scanner.step(tree.now) == tree.now
    assert 0 < len(tree.find.read) < 10
    tree.put(new)
    assert new in tree.scan(60)
    assert tree.scanner.is_over


def test_a_tree_that_is_new_goes_into_the_inbox_as_it_is_emptied(tree: Tree) -> None:
    tree.put(CLIP)
    for number in range(20_000):
        tree.inbox.put(f"before/{number}")
    assert tree.scanner.step(tree.now) == tree.now + 1
    assert len(tree.inbox) == 20_000
    tree.inbox.take(1)
    tree.scanner.step(tree.now)
    tree.inbox.take(19_999)
    assert tree.scan() == [CLIP]


def test_a_root_that_can_not_be_read_is_told_once_and_looked_through_when_it_can(
    tree: Tree, caplog: pytest.LogCaptureFixture
) -> None:
    tree.put(CLIP)
    tree.root.rename(tree.root.with_name("unmounted"))
    for _ in range(3):
        assert tree.scanner.step(tree.now) == tree.now + 5
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "can't be looked through now" in caplog.text
    tree.root.with_name("unmounted").rename(tree.root)
    assert tree.scan(5) == [CLIP]
    tree.scanner.request()
    tree.root.rename(tree.root.with_name("unmounted"))
    tree.scanner.step(tree.now)
    tree.root.with_name("unmounted").rename(tree.root)
    assert tree.scan(5) == [CLIP]
    assert "2026/07" in tree.find.read  # all of it, as requested


def test_names_that_are_not_utf_8_come_as_they_are(tree: Tree) -> None:
    name = f"{DAY}/" + os.fsdecode(b"caf\xe9_20260701120000.mp4")
    tree.put(name)
    assert tree.scan() == [name]
    tree.know(name)
    tree.scanner.request()
    assert tree.scan() == []


def test_layouts_without_dates_are_looked_through_by_what_changed(tmp_path: Path) -> None:
    names = compile_names(("hikvision",))
    with Catalog(tmp_path / "catalog.sqlite", new_id="c1") as catalog:
        find = FileDiscovery(tmp_path, names=names, snapshot_window_s=60.0, now=lambda: NOW)
        inbox = Inbox()
        scanner = Scanner(find, catalog, inbox, names, verify=lambda: None, old_after_s=3600.0)
        for device in ("a", "b"):
            (tmp_path / device).mkdir()
        while scanner.step(NOW) == NOW:
            continue
        clip = tmp_path / "b" / "10.0.0.1_01_20260701120000_MOTION.mp4"
        clip.write_bytes(b"film")
        while scanner.step(NOW + 60) == NOW + 60:
            continue
        assert [found.key for found in inbox.take_found(9)] == [str(clip.relative_to(tmp_path))]
