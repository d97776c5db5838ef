"""A cleanup whose trees somebody meddles with: nothing outside is touched, the rest goes on, each failure is named."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from archiverd.cli import run_command_line
from archiverd.config import WhenFull
from archiverd.errors import ResourceError
from archiverd.policy.model import Recording, State, Tree
from archiverd.policy.retention import LINKED, CleanupPlan
from archiverd.remover import Done
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_schema import FILE_NAME
from archiverd.storage.file_manager import FileManager, Room
from tests import images
from tests.e2e.rig import UNPRIVILEGED
from tests.holdings import House
from tests.images import KINDS, Kind
from tests.program import ARCHIVERD, unmeasured

TREES = [Tree.ARCHIVE, Tree.TRASH]
AGES = (50, 95, 140)  # days: each recording in a month of its own


@contextmanager
def aged(base: Path, **settings: Any) -> Iterator[tuple[House, list[Recording]]]:
    """A house whose archives, and whose trash, are all too old: the youngest first."""
    with House(base, min_free=None, clean_output=True, delete=True, **settings).open() as house:
        yield house, [house.archived("front", days, trashed_days_ago=days - 5) for days in AGES]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory that is nobody's business."""
    made = tmp_path / "outside"
    made.mkdir()
    return made


def cleaned(house: House, between: Callable[[], object] = lambda: None) -> tuple[CleanupPlan, Done]:
    """One whole cleanup; `between` its plan and its removals something happens."""
    cleaner, done = house.cleaner(), Done()
    cleaner.finish(cleaner.look())
    policy = cleaner.policy()
    plan = cleaner.plan(policy, cleaner.now())
    between()
    cleaner.finish(cleaner.apply(plan, policy, done))
    return plan, done


def at(house: House, tree: Tree, row: Recording) -> Path:
    """Where a recording stands in archive or trash: it has the same path in both."""
    return house.roots_by_tree[tree] / row.path


def assert_stays(house: House, tree: Tree, row: Recording) -> None:
    """The catalog says what it said before, and nobody has a claim on it."""
    now = house.catalog.by_id(row.id)
    if tree is Tree.ARCHIVE:
        assert (now.state, now.job) == (State.DONE, "")
        assert now.reason in {line.reason for line in house.catalog.history(now)}
    else:
        assert house.catalog.trash_at(row.path) is not None
    assert house.catalog.claimed_removals() == []


def assert_goes(house: House, tree: Tree, row: Recording) -> None:
    assert not at(house, tree, row).exists()
    if tree is Tree.ARCHIVE:
        assert house.catalog.by_id(row.id).state is State.REMOVED
    else:
        assert house.catalog.trash_at(row.path) is None


def assert_refused(done: Done, tree: Tree, row: Recording, words: str, log: str) -> None:
    (why,) = (why for place, why in done.refused.items() if (place.tree, place.path) == (tree, row.path))
    assert words in why
    assert f"{row.path}: can't be removed from the {tree}: {why}" in log


def assert_no_traces(house: House) -> None:
    assert not [path for tree in Tree for path in house.roots_by_tree[tree].rglob(".archiverd-*.gone")]


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("depth", [1, 2, 3], ids=["day", "month", "year"])
def test_directory_that_is_swapped_for_a_symlink_after_the_plan_leads_nowhere(
    tmp_path: Path, outside: Path, tree: Tree, depth: int, caplog: pytest.LogCaptureFixture
) -> None:
    with aged(tmp_path) as (house, rows):
        swapped = rows if depth == 3 else rows[1:2]
        place = at(house, tree, rows[1]).parents[depth - 1]

        def swap() -> None:
            shutil.copytree(place, outside, dirs_exist_ok=True, copy_function=os.link)  # the very files
            place.rename(place.with_name("moved"))
            place.symlink_to(outside)

        _, done = cleaned(house, swap)
        assert len([path for path in outside.rglob("*.mp4") if path.stat().st_nlink == 2]) == len(swapped)
        assert len(list(place.with_name("moved").rglob("*.mp4"))) == len(swapped)
        other = Tree.ARCHIVE if tree is Tree.TRASH else Tree.TRASH
        for row in rows:
            assert_goes(house, other, row)
            if row in swapped:
                assert_stays(house, tree, row)
                assert_refused(done, tree, row, "directory", caplog.text)
            else:
                assert_goes(house, tree, row)
        assert_no_traces(house)


@pytest.mark.parametrize("tree", TREES if KINDS else [])
@pytest.mark.parametrize("when", ["before the plan", "after the plan"])
def test_what_stands_on_another_mount_in_a_tree_is_not_touched(
    tmp_path: Path, outside: Path, tree: Tree, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    with aged(tmp_path) as (house, rows), ExitStack() as stack:
        place = at(house, tree, rows[1]).parent
        shutil.copytree(place, outside, dirs_exist_ok=True, copy_function=os.link)

        def mount() -> None:
            stack.enter_context(images.bound(outside, place))

        if when == "before the plan":
            mount()
        _, done = cleaned(house, mount if when == "after the plan" else lambda: None)
        assert (outside / rows[1].path.name).stat().st_nlink == 2
        assert_stays(house, tree, rows[1])
        if when == "after the plan":
            assert_refused(done, tree, rows[1], f"is on another mount than the {tree} root", caplog.text)
        for row in (rows[0], rows[2]):
            assert_goes(house, tree, row)
        assert_no_traces(house)


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("kind", [Kind.EXT4] if KINDS else [])
def test_what_is_immutable_stays_and_the_rest_goes(
    tmp_path: Path, kind: Kind, tree: Tree, caplog: pytest.LogCaptureFixture
) -> None:
    with images.mounted(kind, tmp_path / "camera"), aged(tmp_path) as (house, rows):
        beside = house.archived("back", AGES[1], trashed_days_ago=AGES[1] - 5)  # in the same directory
        with images.flagged(at(house, tree, rows[1]), "i"):
            _, done = cleaned(house)
            assert_stays(house, tree, rows[1])
            assert_refused(done, tree, rows[1], "`chattr -i -a` lifts it", caplog.text)
            assert len(done.refused) == 1
            for row in (rows[0], rows[2], beside):
                assert_goes(house, tree, row)
            assert_no_traces(house)
        cleaned(house)
        assert_goes(house, tree, rows[1])


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("mode", [0o555, 0o000], ids=["may not be written", "may not even be looked into"])
def test_directory_without_permission_stays_and_the_rest_goes(tmp_path: Path, tree: Tree, mode: int) -> None:
    """As another user, with the command."""
    with aged(tmp_path) as (house, rows):
        house.now = 0.0
    place = at(house, tree, rows[1]).parent
    place.chmod(mode)
    try:
        command = (*UNPRIVILEGED, *ARCHIVERD, "cleanup", house.root, "--no-confirm", "--confirm-held", "--json")
        options = ("--clean-output", "--delete", "--config", _config(tmp_path))
        ran = subprocess.run((*command, *options), capture_output=True, text=True, env=unmeasured(), check=False)
    finally:
        place.chmod(0o755)
    told = json.loads(ran.stdout)
    with house.open():
        assert_stays(house, tree, rows[1])
        for row in (rows[0], rows[2]):
            assert_goes(house, tree, row)
        assert_no_traces(house)
    if mode:
        assert (ran.returncode, [one["tree"] for one in told["refused"]]) == (1, [str(tree)])
        assert "archiverd's user may not change its directory" in told["refused"][0]["why"]
    assert str(rows[1].path.parent) in ran.stdout + ran.stderr


def _config(base: Path) -> Path:
    file = base / "archiverd.toml"
    file.write_text('min_free = "none"\n', "utf-8")
    return file


# -- hard links -------------------------------------------------------------------------------------------


class Cramped(FileManager):
    """Files on a disk without room, of which the removals free nothing that shows."""

    def free_room(self, _tree: Tree) -> Room:
        return Room(free=0, size=10**6, device=1)


@pytest.mark.parametrize("tree", TREES)
def test_what_has_another_name_makes_no_room_and_stays(tmp_path: Path, outside: Path, tree: Tree) -> None:
    in_trash = tree is Tree.TRASH
    with House(tmp_path, min_free=10_000, age=4000 * 86_400, when_full=WhenFull.OLDEST).open() as house:
        rows = [house.archived("front", days, 4096, trashed_days_ago=days - 5 if in_trash else None) for days in AGES]
        if in_trash:
            for row in rows:
                house.keep(Tree.ARCHIVE, row.path)
        for row in rows[1:]:
            os.link(at(house, tree, row), outside / row.path.name)
        house.files = Cramped(house.roots_by_tree, house.catalog.id, house.parts.modes())
        plan, done = cleaned(house)
        assert [removal.candidate.path for removal in plan.removals] == [rows[0].path]
        assert done.freed == {tree: 4096}
        assert plan.kept[tree, LINKED].files == 2
        assert [short.size for short in plan.shortfalls] == [11_000 - 4096]
        for _ in range(3):
            assert cleaned(house)[0].removals == ()
        for row in rows[1:]:
            assert_stays(house, tree, row)


def test_what_has_another_name_goes_for_its_age(tmp_path: Path, outside: Path) -> None:
    with aged(tmp_path) as (house, rows):
        for row in rows:
            os.link(at(house, Tree.ARCHIVE, row), outside / row.path.name)
        _, done = cleaned(house)
        for row in rows:
            assert_goes(house, Tree.ARCHIVE, row)
        assert done.freed[Tree.ARCHIVE] == 0
        assert len(list(outside.iterdir())) == 3


class FailingBehind(FileManager):
    """Of a disk that takes a file into the trash, and then nothing more."""

    def trash(self, *arguments: Any, **options: Any) -> PurePosixPath:  # Any: as they come
        lies = super().trash(*arguments, **options)
        raise ResourceError(f"{self.roots[Tree.TRASH] / lies}: {os.strerror(errno.EIO)}")


def test_what_the_machine_failed_in_the_midst_of_is_claimed_till_the_next_start_finds_it(tmp_path: Path) -> None:
    config = tmp_path / "archiverd.toml"
    config.write_text('min_free = "none"\nclean_output = true\n')
    with House(tmp_path, min_free=None, clean_output=True).open() as house:
        row = house.archived("front", 50)
        there = house.file(Tree.TRASH, "archived" / row.path, 5, datetime.fromtimestamp(house.now))  # its name is taken
        house.files = FailingBehind(house.roots_by_tree, house.catalog.id, house.parts.modes())
        with pytest.raises(ResourceError):
            cleaned(house)
        assert not at(house, Tree.ARCHIVE, row).exists()
        assert [one.id for one in house.catalog.claimed_removals()] == [row.id]
    options = ("--no-confirm", "--confirm-held", "--quiet", "--config", str(config))
    assert run_command_line(["cleanup", str(house.root), *options]) == 0
    with Catalog.to_read(house.config.state_dir / FILE_NAME) as catalog:
        assert (catalog.by_id(row.id).state, catalog.by_id(row.id).job) == (State.REMOVED, "")
        lies = catalog.trash_at(there.path.with_stem(f"{there.path.stem}~2"))
    assert lies is not None
    assert lies.recording == row.id
