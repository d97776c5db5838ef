"""What looks right and is not: files that pass for archives, roots that pass for ours, changes at the last moment."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

from archiverd.cli import run_command_line
from archiverd.config import load
from archiverd.errors import Interrupted, ResourceError
from archiverd.pipeline import Pipeline, Summary
from archiverd.policy import naming
from archiverd.policy.model import State, Tree
from archiverd.policy.outcome import Result
from archiverd.policy.stop import NeverStop
from archiverd.storage.file_manager import FileManager, Room
from tests.e2e import rig as rigs
from tests.e2e.invariants import assert_no_traces, assert_nothing_lost
from tests.e2e.rig import UNPRIVILEGED, Rig, at, content, results, sha256_of

# -- archives that are none ---------------------------------------------------------------------------------


def test_small_copy_of_the_source_is_not_taken_for_its_archive(rig: Rig) -> None:
    upload = rig.upload("a", audio="aac")
    proxy = rig.archive / upload.path
    proxy.parent.mkdir(parents=True)
    small = ("-vf", "scale=64:48", "-c:v", "libx265", "-x265-params", "log-level=error", "-crf", "51", "-c:a", "copy")
    subprocess.run(("ffmpeg", "-v", "error", "-i", rig.camera / upload.path, *small, proxy), check=True)
    before = sha256_of(proxy)
    rig.strangers.add(upload.path)
    assert results(rig.run_inside()) == [Result.TRANSCODED]
    assert rig.row(upload).archive == naming.numbered(upload.path, 2)
    assert sha256_of(proxy) == before
    assert_nothing_lost(rig)


def test_source_under_another_name_is_not_taken_for_its_archive(rig: Rig) -> None:
    upload = rig.upload("a")
    alias = rig.archive / upload.path
    alias.parent.mkdir(parents=True)
    os.link(rig.camera / upload.path, alias)
    rig.strangers.add(upload.path)
    assert results(rig.run_inside(delete=True)) == [Result.TRANSCODED]
    assert rig.row(upload).archive == naming.numbered(upload.path, 2)


def test_archiving_again_and_again_leaves_one_archive(rig: Rig) -> None:
    upload = rig.upload("a")
    rig.keep(upload)
    for _ in range(4):
        rig.run_inside(no_skip=True)
    assert len(list(rig.archive.rglob("*.mp4"))) == 1


def test_sound_nobody_can_decode_is_kept_with_the_whole(rig: Rig) -> None:
    upload = rig.upload("a", audio="aac")
    source = rig.camera / upload.path
    strange = source.read_bytes().replace(b"mp4a", b"zzzz").replace(b"esds", b"zzzz")
    mtime = source.stat().st_mtime
    source.write_bytes(strange)
    os.utime(source, (mtime, mtime))
    summary = rig.run_inside()
    assert results(summary) == [Result.VERBATIM]
    assert summary.outcomes[0].reason == "ffmpeg knows no decoder for its sound"
    assert (rig.archive / upload.path).read_bytes() == strange


# -- the last look ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deleting", [False, True])
def test_snapshot_replaced_as_it_is_set_aside_stays(rig: Rig, deleting: bool) -> None:
    rig.upload("a", snapshots=1)
    picture = rig.camera / next(iter(rig.snapshots))

    def replace() -> None:
        picture.write_bytes(b"of another event")

    rig.run_inside(at("set_aside:before#2", replace), delete=deleting)
    assert picture.read_bytes() == b"of another event"


def test_snapshot_that_is_being_written_stays(rig: Rig) -> None:
    rig.upload("a", snapshots=1)
    picture = rig.camera / next(iter(rig.snapshots))
    with picture.open("r+b") as upload:
        assert results(rig.run_inside(delete=True)) == [Result.TRANSCODED]
        upload.write(b"the second half")
    assert picture.read_bytes().startswith(b"the second half")


def test_archive_taken_away_after_the_source_was_set_aside_brings_it_back(rig: Rig) -> None:
    upload = rig.upload("a")
    summary = rig.run_inside(at("set_aside:after", (rig.archive / upload.path).unlink), delete=True)
    assert results(summary) == [Result.FAILED]
    assert sha256_of(rig.camera / upload.path) == upload.sha256
    assert results(rig.run_inside(delete=True)) == [Result.TRANSCODED]


def test_archives_that_vanish_again_and_again_do_not_go_on_for_ever(rig: Rig) -> None:
    upload = rig.upload("a")

    def take_away(step: str) -> None:
        if step.startswith("set_aside:after"):
            (rig.archive / upload.path).unlink(missing_ok=True)

    assert [results(rig.run_inside(take_away)) for _ in range(2)] == [[Result.FAILED]] * 2
    assert sha256_of(rig.camera / upload.path) == upload.sha256


# -- roots --------------------------------------------------------------------------------------------------


@pytest.fixture(name="apart")
def _apart(rig: Rig) -> Rig:
    """Archive and trash outside of the input."""
    rig.archive, rig.trash = rig.base / "archive", rig.base / "trash"
    return rig


def test_empty_mountpoint_of_the_source_finishes_nothing(apart: Rig) -> None:
    state = str(apart.base / "state")
    upload = apart.upload("a", snapshots=1)
    waiting = apart.upload("b", apart.path(7))
    os.truncate(apart.camera / waiting.path, 2000)
    os.utime(apart.camera / waiting.path, (1_700_000_000, 1_700_000_000))
    apart.run_until_killed("set_aside:after", state_dir=state)
    away = apart.camera.rename(apart.base / "away")
    apart.camera.mkdir()
    preview = Pipeline(load(apart.config_file, apart._overrides({"state_dir": state})).config, NeverStop()).preview()
    assert (preview.items, preview.vanished) == ((), ())
    assert results(apart.run_inside(state_dir=state)) == []
    shutil.rmtree(apart.camera)
    away.rename(apart.camera)
    assert Result.DISPOSED in results(apart.run_inside(state_dir=state))
    assert not list(apart.camera.rglob("*.gone"))
    assert sha256_of(apart.trash / upload.path) == upload.sha256


def test_archives_never_go_to_a_bare_mountpoint_though_the_catalog_is_lost(apart: Rig) -> None:
    apart.upload("a")
    assert apart.run_to_the_end() == 0
    second = apart.upload("b", apart.path(7))
    apart.forget()
    apart.archive.rename(apart.base / "unmounted")
    apart.archive.mkdir()
    assert apart.run_to_the_end() == 69
    assert list(apart.archive.iterdir()) == []
    assert sha256_of(apart.camera / second.path) == second.sha256


def test_trace_that_cannot_be_mended_keeps_nobody_from_the_others(rig: Rig) -> None:
    stuck = rig.upload("a")
    other = rig.upload("b", rig.path(-3 * 24 * 60))
    rig.run_until_killed("finish_part:after", order="newest")
    day = (rig.archive / stuck.path).parent
    day.chmod(0o555)
    assert rig.run(wrapper=UNPRIVILEGED) == 1
    assert rig.row(other).state is State.DONE
    day.chmod(0o755)
    assert rig.run() == 0
    assert_nothing_lost(rig)


# -- what the owner does meanwhile --------------------------------------------------------------------------


def test_protected_source_that_its_owner_removed_is_done_with(rig: Rig) -> None:
    upload = rig.upload("a")
    rig.keep(upload)
    rig.run_inside()
    (rig.camera / upload.path).unlink()
    rig.run_inside()
    assert rig.row(upload).state is State.DONE
    assert rig.run_inside().plan.work == ()


def test_recording_that_does_not_fit_waits_and_the_others_go_on(rig: Rig) -> None:
    first, second = rig.upload("a"), rig.upload("b", rig.path(7))
    sizes = [(rig.camera / upload.path).stat().st_size for upload in (first, second)]

    class Tight(FileManager):
        def free_room(self, tree: Tree) -> Room:
            stands = self.status(Tree.SOURCE, first.path)
            assert tree is Tree.ARCHIVE
            self.asked = getattr(self, "asked", 0) + 1
            return Room(sizes[0] - 1 if stands and self.asked == 1 else sizes[1], 1, 0)

    summary = _run(rig, Tight)
    assert results(summary) == [Result.WAITING, Result.TRANSCODED]
    assert (summary.exit_code, rig.row(first).attempts) == (69, 0)
    assert str(sizes[0] - 1) in summary.outcomes[0].reason
    assert sha256_of(rig.camera / first.path) == first.sha256


class OutOfRoom(FileManager):
    """Has room when the first archive is begun, none when that is looked at again, and room from then on."""

    asked = 0

    def free_room(self, tree: Tree) -> Room:
        assert tree is Tree.ARCHIVE
        self.asked += 1
        return Room(0 if self.asked == 2 else 2**40, 1, 0)


def test_transcode_that_outgrows_the_room_it_was_begun_in_waits_and_the_others_go_on(rig: Rig) -> None:
    rig.upload("a")
    rig.upload("b", rig.path(7))
    rig.fake_ffmpeg("""
        if transcoding and first_time():
            sys.stderr.write("av_interleaved_write_frame(): No space left on device\\n")
            sys.exit(1)
        """)
    summary = _run(rig, OutOfRoom)
    assert results(summary) == [Result.WAITING, Result.TRANSCODED]
    assert "and 0 are free for it" in summary.outcomes[0].reason
    assert [row.attempts for row in rig.rows()] == [0, 0]
    assert_no_traces(rig)


class Unreadable(FileManager):
    """Of a disk with a bad sector: the first clip of all can't be read."""

    disk = Tree.SOURCE

    @contextlib.contextmanager
    def opened(self, tree: Tree, path: PurePosixPath) -> Iterator[int]:
        if tree is self.disk and path.name.endswith("100000.mp4"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self.roots[tree] / path))
        with super().opened(tree, path) as handle:
            yield handle


class UnreadableArchive(Unreadable):
    """Of an archive disk with one: the archive of the first clip can't be read."""

    disk = Tree.ARCHIVE


class Dying(Unreadable):
    """Of a disk that takes nothing any more either."""

    def see_writable(self, tree: Tree) -> None:
        raise ResourceError(f"{self.roots[tree]}: {os.strerror(errno.EIO)}")


def test_one_clip_that_cannot_be_read_is_charged_and_the_others_go_on(rig: Rig) -> None:
    first, second = rig.upload("a"), rig.upload("b", rig.path(7))
    summary = _run(rig, Unreadable)
    assert (results(summary), summary.exit_code) == ([Result.FAILED, Result.TRANSCODED], 1)
    assert str(rig.camera / first.path) in summary.outcomes[0].reason
    assert [rig.row(upload).attempts for upload in (first, second)] == [1, 0]


def test_one_archive_that_cannot_be_read_keeps_its_source_and_the_others_go_on(rig: Rig) -> None:
    """It is to be read, for it is not quite as it was committed: its disk was copied, perhaps."""
    first = rig.upload("a")
    keep = rig.keep(first)
    assert rig.run_inside().exit_code == 0
    os.utime(rig.archive / first.path, (1_700_000_000, 1_700_000_000))
    keep.unlink()
    rig.upload("b", rig.path(7))
    summary = _run(rig, UnreadableArchive)
    assert (results(summary), summary.exit_code) == ([Result.FAILED, Result.TRANSCODED], 1)
    assert str(rig.archive / first.path) in summary.outcomes[0].reason
    assert (rig.row(first).state, rig.row(first).attempts) == (State.ARCHIVED, 0)
    assert sha256_of(rig.camera / first.path) == first.sha256


def test_no_clip_is_charged_for_a_disk_that_is_gone(rig: Rig) -> None:
    first, second = rig.upload("a"), rig.upload("b", rig.path(7))
    summary = _run(rig, Dying)
    assert (results(summary), summary.exit_code) == ([], 69)
    assert (rig.row(first).state, rig.row(first).attempts) == (State.WAITING, 0)
    assert [upload.path for upload in (first, second) if (rig.camera / upload.path).exists()] == [
        first.path, second.path,
    ]  # fmt: skip
    assert results(rig.run_inside()) == [Result.TRANSCODED] * 2


def test_original_bytes_are_copied_only_where_they_fit(rig: Rig) -> None:
    data = bytearray(content("a").read_bytes())
    data[30_000:40_000] = bytes(10_000)  # of the pictures: it does not decode strictly
    first = rig.upload_bytes(bytes(data), rig.path())
    rig.upload("b", rig.path(7))
    summary = _run(rig, OutOfRoom)
    assert results(summary) == [Result.WAITING, Result.TRANSCODED]
    assert f"its archive may take {len(data)} bytes" in summary.outcomes[0].reason
    assert_no_traces(rig)
    assert results(rig.run_inside()) == [Result.VERBATIM]
    assert sha256_of(rig.archive / first.path) == first.sha256


def _run(rig: Rig, make_files: Callable[..., FileManager]) -> Summary:
    paths = {"directory": rig.camera, "output": rig.archive, "trash_root": rig.trash}
    config = load(rig.config_file, {key: str(path) for key, path in paths.items()}).config
    summary = Pipeline(config, NeverStop(), make_files=make_files).run(
        lambda _: True, rigs._quiet_reporter, rigs._above_nothing
    )
    assert summary is not None
    return summary


def test_quarantined_clip_that_is_touched_is_tried_again(rig: Rig) -> None:
    upload = rig.upload("a")
    source: Path = rig.camera / upload.path
    whole = source.read_bytes()
    os.truncate(source, 1000)
    os.utime(source, (1_700_000_000, 1_700_000_000))
    assert results(rig.run_inside()) == [Result.QUARANTINED]
    source.write_bytes(whole)
    os.utime(source, (1_700_000_001, 1_700_000_001))
    assert results(rig.run_inside()) == [Result.TRANSCODED]


# -- what comes late ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("deleting", [False, True])
def test_snapshot_that_comes_late_goes_the_way_of_its_recording(rig: Rig, deleting: bool) -> None:
    upload = rig.upload("a")
    rig.run_inside(delete=deleting)
    before = rig.row(upload)
    picture = rig.camera / upload.path.with_name(f"{upload.path.stem[:-2]}04.jpg")
    picture.write_bytes(rigs.picture("a").read_bytes())
    assert rig.run_inside(delete=deleting).plan.items == ()  # its clip may still be uploading
    os.utime(picture, (time.time() - 3601, time.time() - 3601))

    summary = rig.run_inside(delete=deleting)

    assert results(summary) == [Result.DISPOSED]
    assert not picture.exists()
    row = rig.row(upload)
    assert (row.state, row.disposed_to, row.archive) == (State.DONE, before.disposed_to, before.archive)
    assert (rig.trash / upload.path.with_name(picture.name)).exists() != deleting
    assert rig.run_inside(delete=deleting).plan.items == ()


def test_stop_while_a_late_snapshot_is_set_aside_puts_it_back(rig: Rig) -> None:
    upload = rig.upload("a")
    rig.run_inside()
    picture = rig.camera / upload.path.with_suffix(".jpg")
    picture.write_bytes(b"late")
    os.utime(picture, (time.time() - 7200, time.time() - 7200))

    def stop() -> None:
        raise Interrupted(15)

    assert rig.run_inside(at("set_aside:after", stop)).exit_code == 143

    assert picture.read_bytes() == b"late"
    assert_no_traces(rig)
    assert results(rig.run_inside()) == [Result.DISPOSED]


# -- what a second review raised ----------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".KEEP", ".Keep"])
def test_keep_protects_in_any_case(rig: Rig, ending: str) -> None:
    upload = rig.upload("a")
    (rig.camera / upload.path).with_suffix(ending).touch()
    rig.run_inside(delete=True)
    assert sha256_of(rig.camera / upload.path) == upload.sha256


@pytest.mark.parametrize("catalog", ["known", "lost"])
def test_shrunk_copy_that_kept_the_metadata_is_not_taken_for_the_archive(rig: Rig, catalog: str) -> None:
    upload = rig.upload("a", audio="aac")
    keep = rig.keep(upload)
    rig.run_inside()
    archive, small = rig.archive / upload.path, rig.base / "small.mp4"
    shrink = ("-vf", "scale=32:24", "-c:v", "libx265", "-x265-params", "log-level=error", "-crf", "51", "-c:a", "copy")
    tags = ("-movflags", "use_metadata_tags", "-map_metadata", "0")
    subprocess.run(("ffmpeg", "-v", "error", "-i", archive, *shrink, *tags, small), check=True)
    small.replace(archive)
    rig.strangers.add(upload.path)
    keep.unlink()
    if catalog == "lost":
        rig.forget()
    assert results(rig.run_inside(delete=True)) == [Result.TRANSCODED]
    assert rig.row(upload).archive == naming.numbered(upload.path, 2)


def test_content_changed_under_the_same_fingerprint_is_archived_too(rig: Rig) -> None:
    upload = rig.upload("a")
    keep = rig.keep(upload)
    rig.run_inside()
    source = rig.camera / upload.path
    times = source.stat()
    changed = bytearray(source.read_bytes())
    changed[changed.index(b"mdat") + 400] ^= 0xFF
    with source.open("r+b") as file:
        file.write(changed)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    keep.unlink()
    assert results(rig.run_inside()) == [Result.WAITING]
    rig.run_inside()
    assert not source.exists()
    assert len(list(rig.archive.rglob("*.mp4"))) == 2
    assert (rig.trash / upload.path).read_bytes() == bytes(changed)


def test_late_snapshot_is_left_where_not_everything_can_be_seen(apart: Rig) -> None:
    state = str(apart.base / "state")
    upload = apart.upload("a")
    apart.run_inside(state_dir=state)
    (apart.camera / ".archiverd-root").unlink()
    picture = apart.camera / upload.path.with_suffix(".jpg")
    picture.write_bytes(rigs.picture("a").read_bytes())
    os.utime(picture, (time.time() - 7200, time.time() - 7200))
    apart.run_inside(state_dir=state, delete=True)
    assert picture.is_file()


def test_late_snapshot_of_a_recording_whose_archive_is_gone_costs_no_evidence(rig: Rig) -> None:
    upload = rig.upload("a")
    rig.run_inside()
    (rig.archive / upload.path).unlink()
    picture = rig.camera / upload.path.with_suffix(".jpg")
    picture.write_bytes(rigs.picture("a").read_bytes())
    os.utime(picture, (time.time() - 7200, time.time() - 7200))
    assert results(rig.run_inside()) == [Result.FAILED]
    assert rig.row(upload).receipt is not None
    assert picture.is_file()


def test_kept_recording_that_is_overwritten_is_done_with(rig: Rig) -> None:
    upload = rig.upload("a")
    rig.keep(upload)
    rig.run_inside()
    rig.upload("b", upload.path)
    rig.run_inside()
    assert rig.run_inside().plan.work == ()


def test_question_asked_meanwhile_does_not_end_a_run(rig: Rig) -> None:
    upload, other = rig.upload("a"), rig.upload("b", rig.path(7))
    os.truncate(rig.camera / upload.path, 1000)
    os.utime(rig.camera / upload.path, (1_700_000_000, 1_700_000_000))
    rig.run_inside()
    (rig.camera / upload.path).unlink()
    again = rig.upload("c", rig.path(14))

    def ask_meanwhile(_plan: object) -> bool:
        options = ("--config", str(rig.config_file), "--directory", str(rig.camera))
        return run_command_line(["retry", *options, "--all"]) == 0

    paths = {"directory": rig.camera, "output": rig.archive, "trash_root": rig.trash}
    config = load(rig.config_file, {key: str(path) for key, path in paths.items()}).config
    summary = Pipeline(config, NeverStop()).run(ask_meanwhile, rigs._quiet_reporter, rigs._above_nothing)
    assert summary is not None
    assert results(summary) == [Result.TRANSCODED]
    assert [rig.row(done).state for done in (other, again)] == [State.DONE] * 2
