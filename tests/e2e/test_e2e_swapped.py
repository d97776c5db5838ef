"""A directory of source, archive or trash swapped for a symlink that leads outside, at every step of a run.

Nothing behind the symlink is touched, nothing is lost, and the next run, the directory being back, does what is left.

Each run has three recordings, of three years: the first has its day swapped, the second its month, the third its year.
Their clips have two videos, so that they are archived verbatim, in the same steps and without an encoder.
"""

from __future__ import annotations

import functools
from collections import Counter
from datetime import datetime
from pathlib import Path, PurePosixPath

import pytest

from archiverd.config import load
from archiverd.pipeline import Pipeline, Summary
from archiverd.policy.model import Tree
from archiverd.policy.stop import NeverStop
from tests.e2e.invariants import assert_no_traces, contents
from tests.e2e.rig import KnownProber, Rig, Upload, WatchedFiles, _above_nothing, _quiet_reporter
from tests.e2e.test_e2e_kill import ASIDE, BY_RENAME, MAKING, steps
from tests.outcomes import RecordProperty, tell
from tests.program import Standing, standing
from tools import damage, footage

LEVELS = ("day", "month", "year")
DEPTHS = dict(zip(LEVELS, (3, 2, 1), strict=True))
TAKEN = (datetime(2023, 5, 6, 7, 8, 9), datetime(2024, 6, 7, 8, 9, 10), datetime(2025, 7, 8, 9, 10, 11))

# What comes of one recording with a snapshot, in order; "planned" is when the plan is made and the answer is yes.
STEPS = ("planned", *steps(MAKING, ASIDE, ASIDE, BY_RENAME, BY_RENAME))


@functools.cache
def content(number: int) -> bytes:
    """Two videos, and a trailer that makes it another file."""
    return damage.two_pictures(damage.SILENT) + damage.box(b"free", bytes(number + 1))


class Swapped:
    """One directory that is swapped for a symlink, and what stands behind it."""

    def __init__(self, rig: Rig, tree: Tree, path: PurePosixPath, level: str) -> None:
        root = {Tree.SOURCE: rig.camera, Tree.ARCHIVE: rig.archive, Tree.TRASH: rig.trash}[tree]
        place = PurePosixPath(*path.parts[: DEPTHS[level]])
        self.directory = root / place
        self.kept = rig.base / "kept" / level
        self.outside = rig.base / "outside-of-all" / level
        self.done = False
        decoy = self.outside / path.relative_to(place)
        decoy.parent.mkdir(parents=True)
        for name in (decoy, decoy.with_suffix(".jpg")):
            name.write_bytes(b"of somebody else")
        self.before: Standing = standing(self.outside)

    def swap(self) -> None:
        """Where the directory is not there yet, the symlink takes its place."""
        self.kept.parent.mkdir(exist_ok=True)
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        if self.directory.exists():
            self.directory.rename(self.kept)
        self.directory.symlink_to(self.outside)
        self.done = True

    def restore(self) -> None:
        self.directory.unlink()
        if self.kept.exists():
            self.kept.rename(self.directory)

    @property
    def untouched(self) -> bool:
        return standing(self.outside) == self.before and self.directory.is_symlink()


class Day:
    """Three recordings, and the directories of each."""

    def __init__(self, rig: Rig, tree: Tree) -> None:
        self.rig = rig
        paths = [PurePosixPath(footage.upload_path(Path(), "front", taken_at)) for taken_at in TAKEN]
        self.uploads: list[Upload] = [rig.upload_bytes(content(n), path) for n, path in enumerate(paths)]
        for path, taken_at in zip(paths, TAKEN, strict=True):
            rig._upload_snapshot("a", path, taken_at.second)
        rig.programs.joinpath("ffmpeg").write_text("#!/bin/sh\nexit 0\n")  # need only be there
        rig.programs.joinpath("ffmpeg").chmod(0o755)
        self.swaps = [Swapped(rig, tree, path, level) for path, level in zip(paths, LEVELS, strict=True)]

    def run(self, step: str = "") -> Summary:
        """A run; each directory is swapped when its recording comes to the step."""
        seen: Counter[str] = Counter()

        def on_step(numbered: str) -> None:
            name = numbered.partition("#")[0]
            if name == "new_part:before":
                self.turn += 1
                seen.clear()
            seen[name] += 1
            now = name if seen[name] == 1 else f"{name}#{seen[name]}"
            self.steps[self.turn].append(now)
            if now == step:
                self.swaps[self.turn].swap()

        def on_plan(_: object) -> bool:
            for swapped in self.swaps if step == "planned" else []:
                swapped.swap()
            return True

        self.turn, self.steps = -1, [[], [], []]
        config = load(self.rig.config_file, self.rig._overrides({})).config
        make_files = functools.partial(WatchedFiles, on_step=on_step)
        pipeline = Pipeline(config, NeverStop(), make_files=make_files, make_prober=KnownProber)
        summary = pipeline.run(on_plan, _quiet_reporter, _above_nothing)
        assert summary is not None
        return summary

    turn: int
    steps: list[list[str]]


def assert_kept(rig: Rig, uploads: list[Upload]) -> None:
    """Each clip and snapshot stands as a source or in the trash, if only in a directory that was swapped away."""
    kept = contents(rig, rig.camera).keys() | contents(rig, rig.trash).keys() | contents(rig, rig.base / "kept").keys()
    assert {upload.sha256 for upload in uploads} | set(rig.snapshots.values()) <= kept


def assert_each_archived_once(rig: Rig, uploads: list[Upload]) -> None:
    """Each clip is once in the archive, as the bytes it was, and once in the trash, with its snapshot."""
    archives, trashed = contents(rig, rig.archive), contents(rig, rig.trash)
    assert {sha256: len(places) for sha256, places in archives.items()} == {upload.sha256: 1 for upload in uploads}
    assert trashed.keys() == {upload.sha256 for upload in uploads} | set(rig.snapshots.values())
    assert {len(places) for places in trashed.values()} == {1}
    assert not contents(rig, rig.camera)
    assert_no_traces(rig)


def test_steps_of_a_run_are_those_that_are_swapped_at(rig: Rig) -> None:
    day = Day(rig, Tree.SOURCE)
    day.run()
    assert day.steps == [list(STEPS[1:])] * 3


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("tree", Tree)
def test_directory_swapped_for_a_symlink_is_not_followed(
    rig: Rig, tree: Tree, step: str, record_property: RecordProperty
) -> None:
    day = Day(rig, tree)
    summary = day.run(step)
    for level, swapped, outcome in zip(LEVELS, day.swaps, summary.outcomes, strict=True):
        tell(record_property, "swapped", f"{level} of the {tree} for a symlink, at a step", outcome.result.value, "")
        assert swapped.done
        assert swapped.untouched
    assert_kept(rig, day.uploads)
    for swapped in day.swaps:
        swapped.restore()

    again = day.run()

    assert not any(outcome.result.is_trouble for outcome in again.outcomes)
    assert_each_archived_once(rig, day.uploads)
