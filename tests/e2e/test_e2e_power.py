"""A power cut at every flush of the disks under archiverd: the next start leaves nothing lost and nothing twice."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from archiverd.cli import run_command_line
from archiverd.policy.model import State, Tree
from tests.e2e.invariants import (
    archives_by_name,
    assert_all_archived,
    assert_archives_sound,
    assert_final_names_are_whole,
    assert_no_traces,
    assert_nothing_lost,
    assert_snapshots_archived,
    contents,
    picture_of,
)
from tests.e2e.rig import Rig
from tests.e2e.test_e2e_killed_cleanup import Killed
from tests.images import Kind
from tests.power import DURABLE, EVERY_POINT, Cut, Disks, disks
from tests.program import ARCHIVERD, unmeasured

pytestmark = pytest.mark.usefixtures("replayed")

# One disk for all; a disk for the sources, one for the archives, one for the trash.
LAYOUTS: list[tuple[Kind, ...]] = [(kind,) for kind in DURABLE]
LAYOUTS += [(*DURABLE[first:], *DURABLE[:first]) for first in range(len(DURABLE))]


def on_disks(*ways: str) -> list[tuple[str, tuple[Kind, ...]]]:
    """Each way on each layout where all is wanted; else the first on each, and each other on one of them."""
    wanted = [(way, kinds) for way in (ways if EVERY_POINT else ways[:1]) for kinds in LAYOUTS]
    return wanted if EVERY_POINT else wanted + list(zip(ways[1:], LAYOUTS[1:], strict=False))


# Where archives go that the rules remove, and on which disks that is: one for all trees, and one for the trash.
CLEANUPS: list[tuple[str, tuple[Kind, ...]]] = [
    (where, (kind,)) for where in ("nowhere", "the same disk") for kind in DURABLE
]
CLEANUPS += [("another disk", (kind, other)) for kind, other in zip(DURABLE, (*DURABLE[1:], *DURABLE[:1]), strict=True)]
if not EVERY_POINT:
    CLEANUPS = CLEANUPS[::4]  # each way once, on another kind each


def told(value: str | tuple[Kind, ...]) -> str:
    return value if isinstance(value, str) else "+".join(value)


def places_of(rig: Rig, kinds: Sequence[Kind]) -> list[tuple[Kind, Path]]:
    """Where the disks are to be mounted: under all trees, or under source, archive and trash one each."""
    places = [rig.camera]
    if len(kinds) > 1:
        rig.archive, rig.trash = rig.base / "archived", rig.base / "trashed"
        places += [rig.archive, rig.trash]
        where = f"output = '{rig.archive}'\ntrash_root = '{rig.trash}'\n"
        rig.config_file.write_text(rig.config_file.read_text() + where)
    return list(zip(kinds, places, strict=True))


def put_back(bystanders: dict[Path, bytes]) -> None:
    """What is no business of archiverd's, on disks that are fresh now."""
    for path, data in bystanders.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def assert_after_each_cut(its: Disks, every: int, holds: Callable[[Cut], None]) -> None:
    """Look at what is left after each power cut, or each of `every` so many.

    Where a file system shows the very files it showed after another cut before the end, what follows is known.
    """
    failures, seen = [], set()
    for cut in its.cuts(every):
        with its.after(cut):
            picture = picture_of_all(its)
            if picture in seen and cut.at < its.end:
                continue
            seen.add(picture)
            try:
                holds(cut)
            except (AssertionError, OSError, ValueError) as error:
                failures.append(f"{cut}: {error}")
    print(f"{len(seen)} of them with other files than before")
    assert seen
    assert not failures, f"{len(failures)} power cuts:\n" + "\n".join(failures)


def picture_of_all(its: Disks) -> frozenset[tuple[Path, str, str]]:
    """All that stands on the disks, but for the log."""
    found = {(place, path, what) for _, place in its.places for path, what in picture_of(place).items()}
    return frozenset((place, path, what) for place, path, what in found if path != "archiver.log")


def assert_sound(rig: Rig) -> None:
    assert run_command_line(["check", "--full", "--quiet", str(rig.camera), "--config", str(rig.config_file)]) == 0


@pytest.mark.parametrize(("way", "kinds"), on_disks("trash", "delete", "snapshots", "first"), ids=told)
def test_power_cut_while_a_clip_is_archived_loses_nothing(rig: Rig, way: str, kinds: tuple[Kind, ...]) -> None:
    """A run that moves the source to the trash, that deletes it, that archives its snapshot, that is the very first."""
    bystanders = {path: path.read_bytes() for path in rig.bystanders}
    options = ["--delete"] if way == "delete" else []
    with disks(*places_of(rig, kinds)) as its:
        with its.recording():
            put_back(bystanders)
            if way == "snapshots":
                rig.config_file.write_text(rig.config_file.read_text() + 'snapshots = "archive"\n')
            if way != "first":
                rig.upload("a")
                assert rig.run_to_the_end(*options) == 0
            clip = rig.upload("b", rig.path(7, "back"), snapshots=1)
            its.begin()
            assert rig.run(*options) == 0
            its.told()

        def holds(cut: Cut) -> None:
            assert_final_names_are_whole(rig)
            if cut.at == its.end:  # the run had said that it was done
                assert rig.row(clip).state is State.DONE
                assert not (rig.camera / clip.path).exists()
            assert rig.run_to_the_end(*options) == 0
            assert_all_archived(rig, deleting=way == "delete")
            if way == "snapshots":
                assert_snapshots_archived(rig)
            assert_sound(rig)

        assert_after_each_cut(its, 29, holds)


@pytest.mark.parametrize(("where", "kinds"), CLEANUPS, ids=told)
def test_power_cut_while_archives_are_cleaned_up_leaves_each_or_its_removal(
    tmp_path: Path, where: str, kinds: tuple[Kind, ...]
) -> None:
    """Of archives that are deleted, or moved to a trash on their disk, or on another."""
    options = ["--delete"] if where == "nowhere" else []
    trash = tmp_path / "elsewhere/trash" if len(kinds) > 1 else None
    with disks(*zip(kinds, (tmp_path / "camera", tmp_path / "elsewhere"), strict=False)) as its:
        with its.recording():
            cleanup = Killed(tmp_path, trash, each_day=2)
            its.begin()
            assert cleanup.clean_up(*options) == 0
            its.told()

        def holds(cut: Cut) -> None:
            cleanup.start()
            gone = cleanup.assert_whole(where)
            assert gone == len(cleanup.rows) or cut.at < its.end
            again = ["cleanup", str(cleanup.house.root), "--no-confirm", "--confirm-held", "--quiet", *options]
            assert run_command_line([*again, "--config", str(cleanup.config)]) == 0
            assert cleanup.assert_whole(where) == len(cleanup.rows)
            house = cleanup.house
            assert len(house.standing(Tree.ARCHIVE)) == 1, "what was not to go stands"
            assert len(house.standing(Tree.TRASH)) == (0 if where == "nowhere" else len(cleanup.rows))

        assert_after_each_cut(its, 13, holds)


@pytest.mark.parametrize(("way", "kinds"), on_disks("restore")[:: 1 if EVERY_POINT else 3], ids=told)
def test_power_cut_while_a_clip_is_restored_leaves_it_in_the_trash_or_protected(
    rig: Rig, way: str, kinds: tuple[Kind, ...]
) -> None:
    bystanders = {path: path.read_bytes() for path in rig.bystanders}
    with disks(*places_of(rig, kinds)) as its:
        with its.recording():
            put_back(bystanders)
            clip = rig.upload("a", snapshots=1)
            assert rig.run_to_the_end() == 0
            restoring = (*ARCHIVERD, "trash", way, "--directory", rig.camera, "--config", rig.config_file, clip.path)
            its.begin()
            subprocess.run(restoring, check=True, capture_output=True, env=unmeasured(), timeout=120)
            its.told()

        def holds(cut: Cut) -> None:
            stands, lies = (clip.sha256 in contents(rig, root) for root in (rig.camera, rig.trash))
            keep = (rig.camera / clip.path).with_suffix(".keep")
            assert keep.exists() or not stands
            assert stands or (lies and cut.at < its.end)
            apart = len(kinds) > 1
            # Of a rename of which the new directory is synced and the old not yet, btrfs shows both names.
            assert not (stands and lies) or apart or (rig.camera / clip.path).samefile(rig.trash / clip.path)
            assert rig.run_to_the_end() == 0
            assert_nothing_lost(rig)
            assert_no_traces(rig)
            assert_sound(rig)
            if lies:
                assert run_command_line([*map(str, restoring[3:])]) == 0
                assert len(contents(rig, rig.camera)[clip.sha256]) == 1
                assert clip.sha256 not in contents(rig, rig.trash)

        assert_after_each_cut(its, 13, holds)


@pytest.mark.parametrize(("way", "kinds"), on_disks("unsynced")[:: 1 if EVERY_POINT else 2], ids=told)
def test_power_cut_after_an_upload_that_nobody_synced_loses_none_that_was_told_as_archived(
    rig: Rig, way: str, kinds: tuple[Kind, ...]
) -> None:
    """The disk may not have its source yet; once it is archived, both its archive and what lies in the trash are."""
    bystanders = {path: path.read_bytes() for path in rig.bystanders}
    with disks(*places_of(rig, kinds)) as its:
        with its.recording():
            put_back(bystanders)
            rig.upload("a")
            assert rig.run_to_the_end() == 0
            its.begin()
            clip = rig.upload(way, rig.path(7, "back"), snapshots=1)
            assert rig.run() == 0
            its.told()

        def holds(cut: Cut) -> None:
            assert_final_names_are_whole(rig)
            before = clip.sha256 in archives_by_name(rig)
            assert rig.run_to_the_end() in (0, 1)
            archives = assert_archives_sound(rig)
            assert clip.sha256 in archives or not before
            if cut.at == its.end:
                assert clip.sha256 in archives
                assert clip.sha256 in contents(rig, rig.trash)
            assert_no_traces(rig)
            assert_sound(rig)

        assert_after_each_cut(its, 29, holds)
