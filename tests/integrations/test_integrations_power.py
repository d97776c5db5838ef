"""What a power cut leaves of single files and of the catalog, on file systems of which every write is recorded."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path, PurePosixPath

import pytest

from archiverd.policy.model import Fingerprint, Place, Tree
from archiverd.policy.stop import NeverStop
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_file import usable_catalog
from archiverd.storage.catalog_schema import FILE_NAME
from archiverd.storage.file_manager import FileManager, Modes
from tests.images import Kind
from tests.power import DURABLE, Cut, Disks, Kept, disks
from tests.recordings import NOW, found

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


# -- what the FileManager does durably -------------------------------------------------------------------------

CLIP, OTHER = PurePosixPath("2026/06/30/REO_front_20260630081500.mp4"), PurePosixPath("2026/07/01/other.mp4")
DATA = bytes(range(256)) * 400
JOB = "0123456789ab"
Left = dict[tuple[Tree, PurePosixPath], bytes | None]  # what is to stand where; None for nothing


def publish(files: FileManager) -> Left:
    part = files.part_path(OTHER.parent, JOB)
    with files.new_part(Tree.ARCHIVE, part) as handle:
        os.write(handle, DATA)
        files.finish_part(handle, 10**18)
    files.publish(Tree.ARCHIVE, part, OTHER)
    return {(Tree.ARCHIVE, OTHER): DATA, (Tree.ARCHIVE, part): None}


def trash(files: FileManager) -> Left:
    """An upload of just now, that nobody synced."""
    upload = CLIP.with_stem("upload")
    (files.roots[Tree.SOURCE] / upload).write_bytes(DATA)
    aside = files.set_aside(Tree.SOURCE, upload, JOB)
    files.trash(Tree.SOURCE, aside, upload, JOB, NeverStop())
    return {(Tree.TRASH, upload): DATA, (Tree.SOURCE, upload): None, (Tree.SOURCE, aside): None}


def delete(files: FileManager) -> Left:
    files.delete(Tree.SOURCE, CLIP)
    return {(Tree.SOURCE, CLIP): None}


def protect(files: FileManager) -> Left:
    files.protect(Tree.SOURCE, CLIP)
    return {(Tree.SOURCE, CLIP): DATA, (Tree.SOURCE, CLIP.with_suffix(".keep")): b""}


def unprotect(files: FileManager) -> Left:
    files.unprotect(Tree.TRASH, CLIP)
    return {(Tree.TRASH, CLIP): DATA, (Tree.TRASH, CLIP.with_suffix(".keep")): None}


def bring_back(files: FileManager) -> Left:
    files.bring_back(CLIP, Place(Tree.SOURCE, OTHER), JOB, NeverStop(), protected=True)
    return {(Tree.SOURCE, OTHER): DATA, (Tree.SOURCE, OTHER.with_suffix(".keep")): b"", (Tree.TRASH, CLIP): None}


def clear(files: FileManager, *, to_trash: bool = False) -> Left:
    mark = Fingerprint.of((files.roots[Tree.ARCHIVE] / CLIP).stat())
    cleared = files.clear(Tree.ARCHIVE, CLIP.parent, [(CLIP.name, mark)], JOB, to_trash=to_trash, go_on=lambda: True)
    assert list(cleared.gone) == [CLIP.name]
    return {(Tree.ARCHIVE, CLIP): None, (Tree.TRASH, "archived" / CLIP): DATA if to_trash else None}


DURABLY: dict[str, Callable[[FileManager], Left]] = {
    "publish": publish, "trash": trash, "delete": delete, "protect": protect, "unprotect": unprotect,
    "bring back": bring_back, "clear": clear, "clear to the trash": partial(clear, to_trash=True),
}  # fmt: skip


@pytest.mark.parametrize("kind", DURABLE)
@pytest.mark.parametrize(("do", "apart"), [(do, apart) for do in DURABLY for apart in (False, True)])
def test_change_that_is_to_be_durable_survives_a_power_cut_right_after_it(
    tmp_path: Path, kind: Kind, do: str, apart: bool
) -> None:
    """On one disk, and where the trash is on another."""
    disk, other = tmp_path / "disk", tmp_path / ("other" if apart else "disk")
    roots = {Tree.SOURCE: disk / "source", Tree.ARCHIVE: disk / "archive", Tree.TRASH: other / "trash"}
    with disks(*((kind, place) for place in dict.fromkeys((disk, other)))) as its:
        with its.recording():
            for root in roots.values():
                (root / CLIP.parent).mkdir(parents=True)
                (root / CLIP).write_bytes(DATA)
            (roots[Tree.TRASH] / CLIP.with_suffix(".keep")).touch()
            its.begin()
            left = DURABLY[do](FileManager(roots, "c1", Modes()))
            its.told()
        for kept in Kept:
            with its.after(Cut(its.end, kept)):
                assert {(tree, path): content(roots[tree] / path) for tree, path in left} == left


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
