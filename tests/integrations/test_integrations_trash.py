"""What an owner asks of the trash, where somebody else does something at the same time."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

from archiverd.errors import ResourceError, StartupError
from archiverd.policy.model import Fingerprint, Place, Trashed, Tree
from archiverd.policy.name_patterns import CANONICAL
from archiverd.policy.stop import NeverStop, StopToken
from archiverd.service.log_fields import fields_of
from archiverd.storage.catalog import Catalog
from archiverd.storage.clearing import Cleared, ClearingFailed
from archiverd.storage.file_manager import FileManager, Modes
from archiverd.trash import EMPTIED, NOT_KNOWN, Trash, Wanted
from archiverd.trees import discoveries
from tests.recordings import found

NOW = 1_800_000_000.0
DAY = PurePosixPath("2026/07/01")


def clip(second: int, suffix: str = ".mp4") -> PurePosixPath:
    return DAY / f"REO_front_202607011200{second:02}{suffix}"


class Files(FileManager):
    """Has something done before each batch, or fails in the middle of one."""

    before_batch: Callable[[], object] = staticmethod(lambda: None)
    fails_after: int | None = None

    def clear(self, tree, directory, wanted, job, *, to_trash, go_on, stop=None):  # type: ignore[no-untyped-def]  # as FileManager's
        self.before_batch()
        if self.fails_after is None:
            return super().clear(tree, directory, wanted, job, to_trash=to_trash, go_on=go_on, stop=stop)
        done = super().clear(tree, directory, wanted[: self.fails_after], job, to_trash=to_trash, go_on=go_on)
        raise ClearingFailed(ResourceError("the disk fails"), Cleared(done.gone, done.refused))


class Box:
    """Three trees on one disk, a catalog, and what is asked of the trash."""

    def __init__(self, base: Path, catalog: Catalog) -> None:
        self.roots = {tree: base / tree for tree in Tree}
        for root in self.roots.values():
            root.mkdir()
        self.catalog = catalog
        self.files = Files(self.roots, catalog.id, Modes())
        self.lost: set[Tree] = set()

    def trash(self, stop: StopToken | None = None) -> Trash:
        finder = discoveries(self.roots, self.roots[Tree.SOURCE] / ".state", CANONICAL, 60.0, lambda: NOW)[Tree.TRASH]
        return Trash(
            self.files, finder, CANONICAL, self.catalog, verify=self._verify, stop=stop or NeverStop(),
            clock=lambda: NOW,
        )  # fmt: skip

    def _verify(self, tree: Tree) -> None:
        if tree in self.lost:
            raise StartupError(f"the {tree} tree is not there")

    def put(self, path: PurePosixPath, *, known: bool = True, at: float = NOW) -> Path:
        """A file in the trash."""
        file = self.roots[Tree.TRASH] / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(str(path).encode())
        if known:
            mark = Fingerprint.of(file.stat())
            self.catalog.trashed(Trashed(path, mark, "front", Place(Tree.SOURCE, path), "let go of", at), at)
        return file

    def lies(self, path: PurePosixPath) -> bool:
        return (self.roots[Tree.TRASH] / path).exists()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Catalog(tmp_path / "catalog.sqlite") as catalog:
        yield Box(tmp_path, catalog)


class StopAfter(NeverStop):
    """A stop that comes when it has been asked for so often."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    @property
    def requested(self) -> bool:
        self.left -= 1
        return self.left < 0


def paths(box: Box, wanted: Wanted | None = None) -> list[PurePosixPath]:
    return [one.what.path for one in box.trash().lying(wanted or Wanted())]


def test_what_went_there_first_comes_first_whatever_it_is_called(box: Box) -> None:
    box.put(clip(1), at=NOW)
    box.put(clip(2), at=NOW - 10)
    assert paths(box) == [clip(2), clip(1)]
    assert paths(box, Wanted(before=NOW)) == [clip(2)]
    assert paths(box, Wanted(since=NOW)) == [clip(1)]
    assert paths(box, Wanted(tree=Tree.ARCHIVE)) == []
    assert paths(box, Wanted(camera="fr?nt")) == [clip(2), clip(1)]
    assert paths(box, Wanted(camera="back")) == []


def test_file_that_was_replaced_is_not_the_one_the_catalog_knows(box: Box) -> None:
    box.put(clip(1)).write_bytes(b"another")
    (one,) = box.trash().lying()
    assert (one.what.reason, one.size) == (NOT_KNOWN, 7)


def test_trash_that_is_not_there_is_not_an_empty_one(box: Box) -> None:
    box.put(clip(1))
    going = box.trash().lying()
    box.lost.add(Tree.TRASH)
    with pytest.raises(StartupError):
        box.trash().lying()
    with pytest.raises(StartupError):
        box.trash().empty(going)
    with pytest.raises(StartupError):
        box.trash().restore([clip(1), clip(2)])
    assert box.lies(clip(1))


def test_nothing_is_restored_to_a_tree_that_is_not_there(box: Box) -> None:
    box.put(clip(1))
    box.lost.add(Tree.SOURCE)
    (answer,) = box.trash().restore([clip(1)])
    assert (answer.refused, answer.words) == (True, "can't be restored: the source tree is not there")
    assert box.lies(clip(1))
    assert box.catalog.trash_at(clip(1)) is not None


@pytest.mark.parametrize("path", [clip(1), clip(1, ".jpg")])
def test_keep_that_comes_after_the_list_was_made_keeps_clip_and_snapshot(box: Box, path: PurePosixPath) -> None:
    for suffix in (".mp4", ".jpg"):
        box.put(clip(1, suffix))
    going = [one for one in box.trash().lying() if one.what.path == path]
    box.put(clip(1, ".keep"), known=False)
    assert box.trash().empty(going).files == 0
    assert box.lies(path)


def test_file_that_changes_after_the_list_was_made_stays_and_is_told(box: Box) -> None:
    changing = box.put(clip(1))
    box.put(clip(2))
    going = box.trash().lying()
    box.files.before_batch = lambda: changing.write_bytes(b"another")
    emptied = box.trash().empty(going)
    assert emptied.files == 1
    assert [(one.path, one.refused) for one in emptied.refused] == [(clip(1), True)]
    assert (box.lies(clip(1)), box.lies(clip(2))) == (True, False)
    assert (box.catalog.trash_at(clip(1)) is None, box.catalog.trash_at(clip(2)) is None) == (False, True)


def test_stop_ends_it_between_two_files_with_what_is_gone_committed(box: Box) -> None:
    for second in range(4):
        box.put(clip(second))
    emptied = box.trash(StopAfter(3)).empty(box.trash().lying())  # asked once before the batch
    assert emptied.files == 2
    assert [box.lies(clip(second)) for second in range(4)] == [False, False, True, True]
    assert [box.catalog.trash_at(clip(second)) is None for second in range(4)] == [True, True, False, False]


def test_what_is_gone_when_the_machine_fails_is_committed(box: Box) -> None:
    for second in range(3):
        box.put(clip(second))
    box.files.fails_after = 1
    with pytest.raises(ResourceError, match="the disk fails"):
        box.trash().empty(box.trash().lying())
    assert [box.catalog.trash_at(clip(second)) is None for second in range(3)] == [True, False, False]


def test_each_file_that_goes_for_good_is_told_in_the_log(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    row = box.catalog.offer(found(clip(1)), NOW, reason="new")
    file = box.put(clip(1), known=False)
    mark = Fingerprint.of(file.stat())
    box.catalog.trashed(Trashed(clip(1), mark, "front", Place(Tree.SOURCE, clip(1)), "let go of", NOW, row.id), NOW)
    box.put(clip(2))
    going = box.trash().lying()
    (box.roots[Tree.TRASH] / clip(2)).write_bytes(b"changed")
    with caplog.at_level(logging.INFO):
        box.trash().empty(going)
    (line,) = [line for line in caplog.records if line.name == "archiverd.trash"]
    assert (line.levelname, line.getMessage()) == ("INFO", f"{clip(1)}: deleted from the trash for good: {EMPTIED}")
    fields = fields_of(line)
    assert fields.pop("job")
    assert fields == {"recording": str(clip(1)), "camera": "front", "reason": EMPTIED}


def test_directories_that_are_empty_go_and_no_other(box: Box) -> None:
    box.put(clip(1))
    other = box.put(PurePosixPath("2026/07/02/REO_front_20260702120000.mp4"))
    box.trash().empty([one for one in box.trash().lying() if one.what.path == clip(1)])
    assert not (box.roots[Tree.TRASH] / DAY).exists()
    assert other.is_file()


def test_symlink_in_the_trash_is_neither_listed_nor_restored_nor_followed(box: Box, tmp_path: Path) -> None:
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(b"of somebody else")
    box.put(clip(1))
    (box.roots[Tree.TRASH] / clip(2)).symlink_to(outside)
    assert paths(box) == [clip(1)]
    (answer,) = box.trash().restore([clip(2)])
    assert answer.refused
    assert os.path.lexists(box.roots[Tree.TRASH] / clip(2))


def test_snapshot_the_catalog_does_not_know_comes_with_the_clip_of_its_name(box: Box) -> None:
    for suffix in (".mp4", ".jpg"):
        box.put(clip(1, suffix), known=False)
    assert [answer.path for answer in box.trash().restore([clip(1, ".jpg"), clip(1)])] == [clip(1), clip(1, ".jpg")]
    assert (box.roots[Tree.SOURCE] / clip(1, ".keep")).is_file()


def test_orphan_comes_back_alone_and_protected(box: Box) -> None:
    box.put(clip(1, ".jpg"))
    (answer,) = box.trash().restore([clip(1, ".jpg")])
    assert answer.words == "restored to the source tree, protected"
    assert (box.roots[Tree.SOURCE] / clip(1, ".keep")).is_file()
