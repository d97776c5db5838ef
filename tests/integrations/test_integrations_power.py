"""What a power cut leaves of single files and of the catalog, on file systems of which every write is recorded."""

from __future__ import annotations

import mmap
import os
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath

import pytest

from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_file import usable_catalog
from archiverd.storage.catalog_schema import FILE_NAME
from tests.images import KINDS, Kind
from tests.power import Cut, Disks, Kept, disks
from tests.recordings import NOW, found

DURABLE = tuple(kind for kind in KINDS if kind is not Kind.TMPFS)
COMMITS = 12


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


# -- whether the tests of power cuts are honest ----------------------------------------------------------------


@pytest.mark.parametrize("kind", DURABLE)
def test_what_was_synced_is_left_and_what_was_not_is_lost(tmp_path: Path, kind: Kind) -> None:
    """Of files that are written and copied away at once. A disk that is unmounted in time has them all."""
    place, data = tmp_path / "disk", os.urandom(100_000)
    with disks((kind, place)) as its:
        with its.recording():
            its.begin()
            (place / "synced").write_bytes(data)
            sync(place / "synced")
            sync(place)
            (place / "named").write_bytes(data)
            sync(place / "named")
            (place / "named").rename(place / "renamed")
            (place / "unsynced").write_bytes(data)
            assert content(place / "unsynced") == data
            now = its.now()
        for kept in Kept:
            with its.after(Cut(now, kept)):
                assert content(place / "synced") == data
                assert content(place / "unsynced") in (None, b"")
                assert content(place / "named") == data
                assert content(place / "renamed") is None
        with its.after(Cut(its.end, Kept.ALL)):
            assert content(place / "synced") == content(place / "renamed") == content(place / "unsynced") == data
            assert content(place / "named") is None


@pytest.mark.parametrize("kind", DURABLE)
def test_what_a_disk_was_not_told_to_flush_is_kept_or_lost_or_kept_in_parts(tmp_path: Path, kind: Kind) -> None:
    """Of a file that is overwritten past the page cache: its bytes reach the disk, and stay in the cache of that."""
    place, size = tmp_path / "disk", 64 * 4096
    old, new = b"o" * size, b"n" * size
    with disks((kind, place)) as its:
        with its.recording():
            (place / "file").write_bytes(old)
            its.begin()
            block = mmap.mmap(-1, size)  # as aligned as that needs
            block.write(new)
            handle = os.open(place / "file", os.O_WRONLY | os.O_DIRECT)
            os.pwrite(handle, block, 0)
            unflushed = its.now()
            os.fsync(handle)
            flushed = its.now()
            os.close(handle)

        def left(at: int, kept: Kept) -> bytes | None:
            with its.after(Cut(at, kept, seed=1)):
                return content(place / "file")

        assert [left(flushed, kept) for kept in Kept] == [new] * 3
        if kind is Kind.BTRFS:  # writes what is new in another place, and points there once it is flushed
            assert [left(unflushed, kept) for kept in Kept] == [old] * 3
            return
        assert left(unflushed, Kept.ALL) == new
        assert left(unflushed, Kept.NOTHING) == old
        some = left(unflushed, Kept.SOME)
        assert some is not None
        assert set(some) == set(old + new)


# -- the catalog -----------------------------------------------------------------------------------------------


def path_of(number: int) -> PurePosixPath:
    return PurePosixPath(f"2026/06/30/REO_front_2026063008{number:02}00.mp4")


def opened(place: Path, new_id: str) -> AbstractContextManager[Catalog]:
    return usable_catalog(place / FILE_NAME, new_id, NOW, thoroughly=True, alive=lambda: None)


def read_anew(place: Path) -> tuple[str, list[PurePosixPath]]:
    """The id of the catalog that a start has, and the paths of its recordings."""
    with opened(place, "c2") as catalog:
        return catalog.id, [row.path for row in catalog.recordings()]


def commit_some(its: Disks, catalog: Catalog) -> list[int]:
    """Offer recordings, one with each commit; the places in the record at which a commit was told as done."""
    told = []
    for number in range(COMMITS):
        catalog.offer(found(path_of(number)), NOW, reason="x" * 3000)  # which takes pages of its own
        told.append(its.now())
    return told


@pytest.mark.parametrize("kind", DURABLE)
def test_commit_that_was_told_survives_each_power_cut_and_a_torn_one_is_taken_back(tmp_path: Path, kind: Kind) -> None:
    place = tmp_path / "disk"
    with disks((kind, place)) as its:
        with its.recording(), Catalog(place / FILE_NAME, new_id="c1") as catalog:
            its.begin()
            told = commit_some(its, catalog)
        torn = 0
        for cut in its.cuts(7):
            committed = sum(at <= cut.at for at in told)
            with its.after(cut):
                journal = content(place / f"{FILE_NAME}-journal")
                torn += bool(journal and journal.strip(b"\0"))
                name, paths = read_anew(place)
                assert name == "c1", f"{cut}: it was made anew"
                assert paths in ([path_of(n) for n in range(many)] for many in (committed, committed + 1)), cut
                assert [file.name for file in place.glob(f"{FILE_NAME}*")] == [FILE_NAME], cut
        assert torn > 3


@pytest.mark.parametrize("kind", DURABLE)
def test_power_cut_while_the_catalog_is_made_leaves_one_that_opens_or_none(tmp_path: Path, kind: Kind) -> None:
    place = tmp_path / "disk"
    with disks((kind, place)) as its:
        with its.recording():
            its.begin()
            with opened(place, "c1") as catalog:
                made = its.now()
                catalog.remember("word", "first")
                said = its.now()
        for cut in its.cuts(7):
            with its.after(cut), opened(place, "c2") as catalog:
                assert catalog.id == "c1" or (cut.at < made and catalog.id == "c2"), cut
                assert catalog.recall("word") == "first" or cut.at < said, cut
                assert not list(place.glob("*damaged*")), cut
