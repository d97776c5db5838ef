"""What the kernel tells of real directories, and how it is noticed that it tells no more."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import inotify_rm_watch

from archiverd.policy.watching import DoubtKind
from archiverd.service.inbox import Inbox, Seen
from archiverd.service.watcher import Watcher
from tests.screen import until

DAY = "2026/07/01"
NAME = "REO_front_20260701120000.mp4"


class Watched:
    """A root that is watched, and all that came into the inbox so far."""

    def __init__(self, root: Path, *exclude: Path) -> None:
        self.root = root
        self.inbox = Inbox()
        self.watcher = Watcher(root, exclude, self.inbox)
        self._seen: dict[str, Seen] = {}

    def seen(self) -> dict[str, Seen]:
        for one in self.inbox.take(10**6):
            before = self._seen.get(str(one.path))
            self._seen[str(one.path)] = Seen(one.path, one.closed or (before is not None and before.closed))
        return self._seen

    def sees(self, *paths: str, closed: bool = False) -> None:
        until(lambda: all(path in self.seen() and self.seen()[path].closed == closed for path in paths))

    def kinds(self) -> list[DoubtKind]:
        return [doubt.kind for doubt in self.watcher.doubts()]


@contextmanager
def watched(root: Path, *exclude: Path) -> Iterator[Watched]:
    under = Watched(root, *exclude)
    under.watcher.start()
    until(lambda: under.watcher.watching or bool(under.watcher.doubts()))
    try:
        yield under
    finally:
        assert under.watcher.stop(10) == ()
        assert [thread.name for thread in threading.enumerate() if thread.name.startswith("watcher")] == []


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "camera" / DAY).mkdir(parents=True)
    return tmp_path / "camera"


def test_a_file_that_is_written_and_closed_is_told_as_closed(root: Path) -> None:
    with watched(root) as under:
        (root / DAY / NAME).write_bytes(b"clip")
        under.sees(f"{DAY}/{NAME}", closed=True)
        assert under.watcher.doubts() == ()


def test_files_moved_and_linked_into_the_tree_are_told_though_nobody_closes_them(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "upload"
    outside.write_bytes(b"clip")
    with watched(root) as under:
        os.link(outside, root / DAY / "REO_a_20260701120000.mp4")
        outside.rename(root / DAY / "REO_b_20260701120000.MP4")
        (tmp_path / "deep" / "02").mkdir(parents=True)
        (tmp_path / "deep" / "02" / NAME).write_bytes(b"clip")
        (tmp_path / "deep").rename(root / "2026" / "08")
        under.sees(f"{DAY}/REO_a_20260701120000.mp4", f"{DAY}/REO_b_20260701120000.MP4")
        under.sees("2026/08", "2026/08/02", f"2026/08/02/{NAME}")


def test_a_file_renamed_when_its_writer_has_closed_it_is_told_as_closed(root: Path) -> None:
    """What FTP servers do that hide an upload until it is over."""
    with watched(root) as under:
        hidden = root / DAY / f".in.{NAME}."
        hidden.write_bytes(b"clip")
        hidden.rename(root / DAY / NAME)
        under.sees(f"{DAY}/{NAME}", closed=True)


def test_files_written_into_directories_as_these_are_made_are_all_told(root: Path) -> None:
    with watched(root) as under:
        wanted = []
        for minute in range(300):
            directory = root / "2026" / f"{minute:03}" / "01"
            directory.mkdir(parents=True)
            (directory / NAME).write_bytes(b"clip")
            wanted.append(f"2026/{minute:03}/01/{NAME}")
        until(lambda: under.seen().keys() >= set(wanted))
        assert under.watcher.doubts() == ()


def test_what_is_not_the_cameras_is_not_told(root: Path, tmp_path: Path) -> None:
    archive = root / "kept"
    archive.mkdir()
    with watched(root, archive, tmp_path / "elsewhere") as under:
        for path in (
            "kept/a.mp4", "archived/b.mp4", ".archiverd/catalog.sqlite-journal", f"{DAY}/.archiverd-1-2.part",
            f"{DAY}/.archiverd-3.mp4", f"{DAY}/notes.txt", "archiver.log",
        ):  # fmt: skip
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_bytes(b"x")
        ours = [f"{DAY}/REO_front_20260701120000{ending}" for ending in (".mp4", ".jpg", ".keep")]
        for path in ours:
            (root / path).write_bytes(b"x")
        under.sees(*ours, closed=True)
        assert under.seen().keys() == set(ours)


def test_a_name_that_is_not_utf_8_is_told_as_it_is(root: Path) -> None:
    name = os.fsdecode(b"REO_caf\xe9_20260701120000.mp4")
    with watched(root) as under:
        (root / DAY / name).write_bytes(b"clip")
        under.sees(f"{DAY}/{name}", closed=True)


def test_a_root_that_is_a_symlink_is_watched_where_it_leads(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    with watched(tmp_path / "link") as under:
        (root / "REO_front_20260701120000.mp4").write_bytes(b"clip")
        under.sees("REO_front_20260701120000.mp4", closed=True)


def test_a_root_removed_and_made_again_is_a_doubt(root: Path) -> None:
    with watched(root) as under:
        shutil.rmtree(root)
        until(lambda: under.kinds() == [DoubtKind.GONE])
        root.mkdir()
        until(lambda: under.kinds() in ([DoubtKind.REPLACED], [DoubtKind.ENDED]))


def test_a_root_that_is_not_there_is_a_doubt_and_nothing_runs(tmp_path: Path) -> None:
    with watched(tmp_path / "nowhere") as under:
        assert under.kinds() == [DoubtKind.GONE]


def test_a_root_whose_watch_is_gone_is_a_doubt_though_it_stands_as_before(root: Path) -> None:
    """What an unmount leaves when the same disk is mounted again at once: all looks the same, and nothing is told."""
    with watched(root) as under:
        reader = under.watcher._reader
        assert reader is not None
        assert reader._first is not None
        inotify_rm_watch(reader._inotify_fd, reader._first)
        until(lambda: under.kinds() == [DoubtKind.DEAF])


def test_a_thread_that_dies_is_a_doubt_with_what_killed_it(root: Path, tmp_path: Path) -> None:
    with watched(root) as under:
        (root / DAY).rename(tmp_path / "taken")
        (root / DAY).mkdir()
        until(lambda: DAY in under.seen())
        shutil.rmtree(root / DAY)
        (tmp_path / "taken").rmdir()
        until(lambda: under.kinds() == [DoubtKind.ENDED])
        assert "watcher-read ended: KeyError" in str(under.watcher.doubts()[0])
