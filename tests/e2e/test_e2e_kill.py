"""archiverd killed at every step it takes, and at any moment: the next run leaves nothing lost and nothing twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from archiverd.errors import ResourceError, StartupError
from archiverd.policy.model import Place, State, Tree
from archiverd.policy.outcome import Result
from archiverd.policy.recovery import CRASH_LIMIT
from tests.e2e.invariants import (
    assert_all_archived,
    assert_checked,
    assert_no_traces,
    assert_nothing_lost,
    assert_snapshots_archived,
    children,
    contents,
    traces,
)
from tests.e2e.rig import Rig, results, sha256_of
from tests.screen import until

SEED = int(os.environ.get("ARCHIVERD_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
KILLS = 30

# Every step of a run that archives one clip and lets go of it and its snapshots, in order. What stands between two of
# them is a commit of the catalog, or nothing.
MAKING = (
    "new_part:before", "new_part:after", "finish_part:before", "finish_part:after",
    "publish:before", "sync_up:before", "publish:after", "remove_part:before", "remove_part:after",
)  # fmt: skip
ASIDE = ("set_aside:before", "set_aside:after")
BY_RENAME = ("trash:before", "sync_up:before", "trash:after")
BY_COPY = (
    "trash:before", "remove_part:before", "remove_part:after", "new_part:before", "new_part:after",
    "publish_copy:before", "publish:before", "sync_up:before", "publish:after", "publish_copy:after", "trash:after",
)  # fmt: skip
DELETING = ("delete:before", "delete:after")
TO_ARCHIVE = (
    "move:before", "remove_part:before", "remove_part:after", "new_part:before", "new_part:after",
    "finish_part:before", "finish_part:after",
    "publish_copy:before", "publish:before", "sync_up:before", "publish:after", "publish_copy:after", "move:after",
)  # fmt: skip


def steps(*parts: Sequence[str]) -> tuple[str, ...]:
    """All steps in order; what comes again gets its number."""
    named: list[str] = []
    seen: list[str] = []
    for step in (step for part in parts for step in part):
        seen.append(step)
        count = seen.count(step)
        named.append(step if count == 1 else f"{step}#{count}")
    return tuple(named)


# The clip is set aside, then each snapshot is set aside and let go of, then the clip is let go of.
STEPS = {
    "rename": steps(MAKING, ASIDE, ASIDE, BY_RENAME, ASIDE, BY_RENAME, BY_RENAME),
    "copy": steps(MAKING, ASIDE, ASIDE, BY_COPY, BY_COPY),
    "delete": steps(MAKING, ASIDE, ASIDE, DELETING, DELETING),
    "snapshots archived": steps(MAKING, ASIDE, ASIDE, TO_ARCHIVE, ASIDE, TO_ARCHIVE, BY_RENAME),
    "snapshots archived elsewhere": steps(MAKING, ASIDE, ASIDE, TO_ARCHIVE, BY_RENAME),
    "snapshots archived, source deleted": steps(MAKING, ASIDE, ASIDE, TO_ARCHIVE, DELETING),
}
SNAPSHOTS = {"rename": 2, "snapshots archived": 2}  # of the others one

# The steps up to the archive are the same in each way to let go.
FATAL = [
    *(("rename", step) for step in STEPS["rename"]),
    *((way, step) for way in STEPS if way != "rename" for step in STEPS[way][len(MAKING) :]),
]


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory on another file system than the rig's."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as path:
        yield Path(path)


def prepare(rig: Rig, way: str, elsewhere: Path) -> bool:
    """Upload one clip, and choose how sources are let go of; whether they are deleted."""
    rig.upload("a", snapshots=SNAPSHOTS.get(way, 1))
    if way == "copy":
        rig.trash = elsewhere / "trash"
    if way == "snapshots archived elsewhere":
        rig.archive = elsewhere / "archive"
    if "archived" in way:
        rig.archive_snapshots()
    return "delete" in way


def assert_all_done(rig: Rig, way: str, *, deleting: bool) -> None:
    assert_all_archived(rig, deleting=deleting)
    if "archived" in way:
        assert_snapshots_archived(rig)
    elif not deleting:
        places = {snapshot.disposed_to for row in rig.rows() for snapshot in row.snapshots}
        assert places == {Place(Tree.TRASH, path) for path in rig.snapshots}


def assert_a_copy_is_left(rig: Rig) -> None:
    """Right after a kill, before anybody mends anything: the bytes stand, or an archive does under its final name."""
    standing = contents(rig, rig.camera).keys() | contents(rig, rig.trash).keys()
    lost = [upload for upload in rig.uploads if upload.sha256 not in standing]
    assert not lost or list(rig.archive.rglob("*.mp4"))


@pytest.mark.parametrize("way", STEPS)
def test_steps_of_a_run_are_those_that_are_killed_at(rig: Rig, way: str, elsewhere: Path) -> None:
    deleting = prepare(rig, way, elsewhere)
    seen: list[str] = []

    rig.run_inside(seen.append, delete=deleting)

    assert tuple(seen) == STEPS[way]


@pytest.mark.parametrize(("way", "step"), FATAL, ids=[f"{n:02}-{way}-{step}" for n, (way, step) in enumerate(FATAL, 1)])
def test_kill_at_any_step_loses_nothing_and_is_mended_by_the_next_run(
    rig: Rig, way: str, step: str, elsewhere: Path
) -> None:
    deleting = prepare(rig, way, elsewhere)

    rig.run_until_killed(step, delete=deleting)

    assert_a_copy_is_left(rig)
    assert rig.run_to_the_end(*(["--delete"] if deleting else [])) == 0
    assert_all_done(rig, way, deleting=deleting)


@pytest.mark.parametrize(
    ("way", "fatal"),
    [
        ("rename", ("new_part:after", "remove_part:before")),
        ("rename", ("new_part:after", "remove_part:after")),
        ("rename", ("sync_up:before", "sync_file:before")),
        ("rename", ("sync_up:before", "sync_file:after")),
        ("rename", ("set_aside:after", "put_back:before")),
        ("rename", ("set_aside:after", "put_back:after", "trash:after")),
        ("rename", ("trash:after#2", "put_back:before", "trash:before")),
        ("copy", ("publish_copy:after", "put_back:after", "publish_copy:after")),
        ("copy", ("publish:before#3", "remove_part:before", "new_part:after", "publish_copy:after")),
        ("delete", ("delete:before", "put_back:after#2", "delete:after")),
        ("snapshots archived", ("publish_copy:after", "put_back:after#2", "publish_copy:after", "move:after")),
        ("snapshots archived", ("move:after", "move:after", "trash:after")),
        ("snapshots archived elsewhere", ("new_part:after#2", "remove_part:after", "publish_copy:after")),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_kill_of_the_run_that_mends_is_mended_too(
    rig: Rig, way: str, fatal: tuple[str, ...], elsewhere: Path
) -> None:  # fmt: skip
    deleting = prepare(rig, way, elsewhere)

    for step in fatal:
        rig.run_until_killed(step, delete=deleting)
        assert_a_copy_is_left(rig)

    assert rig.run_to_the_end(*(["--delete"] if deleting else [])) == 0
    assert_all_done(rig, way, deleting=deleting)


@pytest.mark.parametrize(
    "step",
    ["new_part:after", "publish:before", "sync_up:before", "remove_part:before", "set_aside:after", "trash:after#2"],
)
def test_reupload_after_a_kill_leaves_both_recordings(rig: Rig, step: str) -> None:
    old = rig.upload("a", snapshots=1)
    rig.run_until_killed(step)
    aside_or_trashed = step in ("set_aside:after", "trash:after#2")

    rig.upload("b")

    assert rig.run_to_the_end() == 0
    assert_all_archived(rig, overwritten=[] if aside_or_trashed else [old.sha256])
    assert_checked(rig)


def test_source_killed_on_its_way_to_the_trash_is_known_there_though_its_name_is_taken(rig: Rig) -> None:
    rig.upload("a", snapshots=1)
    rig.run_until_killed("trash:after#2")
    new = rig.upload("b")

    with open(rig.camera / new.path, "r+b"):  # it comes in still: the new one waits, and the old one is finished
        rig.run_to_the_end()

    assert_checked(rig)
    assert rig.run_to_the_end() == 0
    assert_all_archived(rig)
    assert_checked(rig)


@pytest.mark.parametrize("name_taken", [False, True], ids=["name-free", "name-taken"])
def test_archive_lost_after_a_kill_is_made_again_from_the_source_set_aside(rig: Rig, name_taken: bool) -> None:
    old = rig.upload("a", snapshots=1)
    rig.run_until_killed("set_aside:after#2")
    (rig.archive / old.path).unlink()
    if name_taken:
        rig.upload("b")

    for _ in range(2):
        rig.run_to_the_end()

    assert_all_archived(rig)


@pytest.mark.parametrize("step", ["trash:before", "trash:after"])
def test_kill_while_an_old_archive_is_retired_loses_neither(rig: Rig, step: str) -> None:
    upload = rig.upload("a")
    keep = rig.keep(upload)
    rig.run_inside()
    old = sha256_of(rig.archive / upload.path)

    rig.run_until_killed(step, no_skip=True)
    keep.unlink()

    assert rig.run_to_the_end() == 0
    new = rig.row(upload)
    assert new.archive == upload.path.with_stem(f"{upload.path.stem}~2")
    in_place = (rig.archive / upload.path).is_file()
    assert in_place == (step != "trash:after")
    assert old in (contents(rig, rig.archive) if in_place else contents(rig, rig.trash))
    rig.strangers.add(upload.path)  # where it was not retired it stands beside the new one, and nobody needs it
    assert_nothing_lost(rig)
    assert_no_traces(rig)


# ---- deaths in a row


def test_recording_that_takes_the_process_down_is_quarantined_at_last(rig: Rig) -> None:
    upload = rig.upload("a", snapshots=1)
    for _ in range(CRASH_LIMIT):
        rig.run_until_killed("finish_part:before")

    assert rig.run_to_the_end() == 1

    assert rig.row(upload).state is State.QUARANTINED
    assert contents(rig, rig.camera).keys() == {upload.sha256, *rig.snapshots.values()}
    assert_nothing_lost(rig)
    assert_no_traces(rig)


def test_recording_that_survives_its_last_chance_counts_from_nothing_again(rig: Rig) -> None:
    upload = rig.upload("a")
    for _ in range(CRASH_LIMIT - 1):
        rig.run_until_killed("finish_part:before")

    assert rig.run_to_the_end() == 0

    assert rig.row(upload).crashes == 0
    assert_all_archived(rig)


def test_machine_on_which_each_job_dies_has_nobody_quarantined(rig: Rig) -> None:
    both = [rig.upload(name, rig.path(minute)) for minute, name in enumerate("ab")]
    for _ in range(2 * CRASH_LIMIT):
        rig.run_until_killed("finish_part:before")

    assert rig.run_to_the_end() == 0

    assert [rig.row(upload).state for upload in both] == [State.DONE, State.DONE]
    assert_all_archived(rig)


def test_second_recording_is_not_blamed_before_one_has_gone_well(rig: Rig) -> None:
    first = rig.upload("a")
    for _ in range(CRASH_LIMIT):
        rig.run_until_killed("finish_part:before")
    second = rig.upload("b", rig.path(1))
    for _ in range(CRASH_LIMIT):
        rig.run_until_killed("finish_part:before")

    assert rig.run_to_the_end() == 0

    assert [rig.row(upload).state for upload in (first, second)] == [State.QUARANTINED, State.DONE]
    assert_nothing_lost(rig)
    assert_no_traces(rig)


@pytest.mark.parametrize("name", [".archiverd-0123456789abs1.gone", ".archiverd-0123456789ab.gone"])
def test_name_that_a_power_cut_gave_back_to_what_lies_in_the_trash_is_taken_away(rig: Rig, name: str) -> None:
    """Of a job that is over: on btrfs a rename is two changes, and the second was lost."""
    upload = rig.upload("a", snapshots=1)
    assert rig.run_to_the_end() == 0
    lies = rig.trash / (upload.path if "s1" not in name else next(iter(rig.snapshots)))
    aside = (rig.camera / upload.path).with_name(name)
    aside.parent.mkdir(parents=True, exist_ok=True)
    aside.hardlink_to(lies)
    assert rig.run_to_the_end() == 0
    assert_all_archived(rig)


def test_file_set_aside_by_a_job_nobody_knows_is_left_alone(rig: Rig) -> None:
    upload = rig.upload("a", snapshots=1)
    assert rig.run_to_the_end() == 0
    aside = (rig.camera / upload.path).with_name(".archiverd-0123456789ab.gone")
    aside.parent.mkdir(parents=True, exist_ok=True)
    aside.write_bytes((rig.trash / upload.path).read_bytes())
    assert rig.run_to_the_end() == 0
    assert traces(rig) == [aside]


def test_kill_in_mid_transcode_leaves_no_ffmpeg(rig: Rig) -> None:
    upload = rig.upload("a")
    rig.fake_ffmpeg('if transcoding and first_time(): arguments[0:0] = ["-readrate", "0.01"]')
    with rig.started("--no-confirm") as process:
        until(lambda: rig.ffmpeg_runs("transcode") == 1)
        until(lambda: any("readrate" in child for child in children(rig)))
        process.kill()

    until(lambda: not children(rig), within_s=1)
    assert traces(rig)
    assert rig.row(upload).state is State.ACTIVE
    assert results(rig.run_inside()) == [Result.TRANSCODED]
    assert_all_archived(rig)


# ---- any moment


def test_kills_at_random_moments_lose_nothing(rig: Rig) -> None:
    """The seed of the moments is printed, and can be given as ARCHIVERD_TEST_SEED; they follow the length of a run."""
    print(f"ARCHIVERD_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    run_s, killed = length_of_a_run(rig), 0

    for _ in range(3 * KILLS):
        if killed == KILLS:
            break
        upload_for_a_run(rig)
        let_through = next_death_quarantines(rig)
        if kill_after(rig, 60 if let_through else chance.uniform(0.3, 1.2) * run_s):
            killed, run_s = killed + 1, run_s * 1.02  # the machine may have become busier meanwhile
        elif not let_through:
            run_s *= 0.8

    assert killed == KILLS
    assert rig.run() == 0
    assert_all_archived(rig)
    assert {row.state for row in rig.rows()} == {State.DONE}


def length_of_a_run(rig: Rig) -> float:
    """How many seconds a run takes here and now that archives one clip."""
    (rig.base / "other").mkdir()
    other = Rig(rig.base / "other")
    other.upload("storm-0")
    began = time.monotonic()
    assert other.run() == 0
    return time.monotonic() - began


def upload_for_a_run(rig: Rig) -> None:
    """Bring what waits up to three clips."""
    sources = contents(rig, rig.camera)
    waiting = sum(upload.sha256 in sources for upload in rig.uploads)
    for number in range(len(rig.uploads), len(rig.uploads) + 3 - waiting):
        rig.upload(f"storm-{number}", rig.path(number, ("front", "back")[number % 2]), snapshots=number % 3)


def next_death_quarantines(rig: Rig) -> bool:
    """Whether a recording has died so often in a row that it has to be let through now."""
    with contextlib.suppress(StartupError, ResourceError):  # no catalog yet, or an empty one
        at_work = (State.ACTIVE, State.PUBLISHING)
        return any(row.crashes + (row.state in at_work) >= CRASH_LIMIT - 1 for row in rig.rows())
    return False


def kill_after(rig: Rig, seconds: float) -> bool:
    """Kill a run, and it alone, after some seconds; whether it was still at work. None of its children stays."""
    with rig.started("--no-confirm") as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
    until(lambda: not children(rig), within_s=1)
    return process.returncode == -signal.SIGKILL
