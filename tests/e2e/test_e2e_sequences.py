"""Uploads, disks and programs that change at the worst moment of a run: nothing is lost, nothing is there twice."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archiverd.errors import ResourceError, StartupError
from archiverd.policy.model import ArchiveKind, State
from archiverd.policy.outcome import Result
from tests.e2e.invariants import (
    Places,
    assert_all_archived,
    assert_archives_sound,
    assert_no_traces,
    assert_nothing_lost,
    contents,
)
from tests.e2e.rig import UNPRIVILEGED, Rig, Upload, at, at_each, can_mount, content, results, sha256_of
from tools.footage import Audio

# How a camera uploads a name again: a new file in its place, or the same file written anew.
REUPLOADS = pytest.mark.parametrize("reupload", [Rig.upload, Rig.overwrite], ids=["replaced", "written-over"])

# A process that has a file open for writing until its stdin ends; it may give it another content first.
WRITER = """
import sys
with open(sys.argv[1], "r+b") as file:
    if len(sys.argv) > 2:
        with open(sys.argv[2], "rb") as fresh:
            file.write(fresh.read())
        file.truncate()
        file.flush()
    print("ready", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def writing(path: Path, fresh: Path | None = None) -> Iterator[None]:
    """Another process has the file open for writing; with `fresh` it first writes that content into it."""
    command = (sys.executable, "-c", WRITER, str(path), *([str(fresh)] if fresh else []))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        yield


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory on another file system than the rig's."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as path:
        yield Path(path)


def archives(rig: Rig) -> set[str]:
    return {path.name for path in rig.archive.rglob("*.mp4")}


def gone_file(rig: Rig) -> Path:
    """The one file that is set aside now."""
    (path,) = rig.camera.rglob(".archiverd-*.gone")
    return path


# ---- the same name uploaded again


@pytest.mark.parametrize("moment", ["new_part:after", "finish_part:before", "finish_part:after"])
@REUPLOADS
def test_reupload_during_a_job_keeps_the_old_content_from_being_published(
    rig: Rig, moment: str, reupload: Callable[[Rig, str, object], Upload]
) -> None:
    old = rig.upload("a")

    rig.run_inside(at(moment, lambda: reupload(rig, "b", old.path)))

    assert archives(rig) == set()
    assert sha256_of(rig.camera / old.path) == rig.uploads[-1].sha256
    assert rig.row(old).state is State.WAITING
    assert results(rig.run_inside()) == [Result.TRANSCODED]
    assert_all_archived(rig, overwritten=[old.sha256])


def test_reupload_while_ffmpeg_reads_waits_for_the_next_run(rig: Rig) -> None:
    old = rig.upload("a")
    fresh = content("b")
    rig.fake_ffmpeg(f"""
        if transcoding and first_time():
            with open({str(rig.camera / old.path)!r} + "x", "wb") as file, open({str(fresh)!r}, "rb") as source:
                file.write(source.read())
            os.rename(file.name, {str(rig.camera / old.path)!r})
        """)

    first = rig.run_inside()

    assert results(first) == [Result.WAITING]
    assert first.exit_code == 0
    assert archives(rig) == set()
    rig.uploads.append(Upload(old.path, sha256_of(fresh)))
    rig.run_inside()
    assert_all_archived(rig, overwritten=[old.sha256])


def test_rewrite_that_restores_size_and_time_is_noticed(rig: Rig) -> None:
    old = rig.upload("a")
    source = rig.camera / old.path
    before = source.stat()

    def rewrite() -> None:
        data = bytearray(source.read_bytes())
        data[-1] ^= 1
        source.write_bytes(data)
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))

    summary = rig.run_inside(at("finish_part:after", rewrite))

    assert results(summary) == [Result.WAITING]
    assert archives(rig) == set()


@pytest.mark.parametrize("moment", ["publish:after", "remove_part:after", "set_aside:before"])
@REUPLOADS
def test_reupload_after_the_archive_stands_is_a_recording_of_its_own(
    rig: Rig, moment: str, reupload: Callable[[Rig, str, object], Upload]
) -> None:
    """`set_aside:before` is between the last check of the source's name and its renaming."""
    old = rig.upload("a")

    rig.run_inside(at(moment, lambda: reupload(rig, "b", old.path)))

    new = rig.uploads[-1]
    assert sha256_of(rig.camera / old.path) == new.sha256
    assert_nothing_lost(rig, overwritten=[old.sha256])
    assert_no_traces(rig)
    rig.run_inside()
    assert_all_archived(rig, overwritten=[old.sha256])
    assert archives(rig) == {old.path.name, f"{old.path.stem}~2.mp4"}


def test_reupload_after_the_source_is_set_aside_leaves_both(rig: Rig) -> None:
    old = rig.upload("a")

    rig.run_inside(at("set_aside:after", lambda: rig.upload("b")))
    rig.run_inside()

    assert_all_archived(rig)
    assert {path.name for path in rig.trash.rglob("*.mp4")} == {old.path.name, f"{old.path.stem}~2.mp4"}


@pytest.mark.parametrize("fresh", [None, "b"], ids=["open", "written"])
@pytest.mark.parametrize("deleting", [False, True], ids=["trash", "delete"])
def test_write_into_a_source_set_aside_puts_it_back(rig: Rig, fresh: str | None, deleting: bool) -> None:
    old = rig.upload("a")
    with contextlib.ExitStack() as stack:

        def begin_to_write() -> None:
            stack.enter_context(writing(gone_file(rig), content(fresh) if fresh else None))

        rig.run_inside(at("set_aside:after", begin_to_write), delete=deleting)

        assert sha256_of(rig.camera / old.path) == sha256_of(content(fresh or "a"))
        assert not list(rig.trash.rglob("*.mp4"))
    if fresh:
        rig.uploads.append(Upload(old.path, sha256_of(content(fresh))))
    rig.run_inside(delete=deleting)
    assert_all_archived(rig, overwritten=[old.sha256] if fresh else [], deleting=deleting)


def test_source_that_is_being_written_waits(rig: Rig) -> None:
    upload = rig.upload("a")
    with writing(rig.camera / upload.path):
        assert results(rig.run_inside()) == [Result.WAITING]
        assert rig.row(upload).reason == "is being written"

    rig.run_inside()

    assert_all_archived(rig)


def test_source_taken_away_during_its_job_is_noted_as_gone(rig: Rig) -> None:
    upload = rig.upload("a")

    rig.run_inside(at("finish_part:before", (rig.camera / upload.path).unlink))

    assert archives(rig) == set()
    rig.run_inside()
    assert rig.row(upload).state is State.GONE
    assert_no_traces(rig)


def test_source_taken_away_while_it_waits_for_its_turn_is_gone_and_no_failure(rig: Rig) -> None:
    first, second = rig.upload("a"), rig.upload("b", rig.path(1))

    summary = rig.run_inside(at("publish:after", (rig.camera / second.path).unlink))

    assert results(summary) == [Result.TRANSCODED, Result.GONE]
    assert summary.exit_code == 0
    assert rig.row(first).state is State.DONE
    assert_all_archived(rig, overwritten=[second.sha256])


def test_snapshots_changed_or_taken_away_meanwhile_are_left_alone(rig: Rig) -> None:
    rig.upload("a", snapshots=3)
    first, second, third = sorted(rig.snapshots)

    def meddle() -> None:
        (rig.camera / first).unlink()
        (rig.camera / second).write_bytes(b"another picture")

    summary = rig.run_inside(at("set_aside:before", meddle))

    assert results(summary) == [Result.TRANSCODED]
    assert (rig.camera / second).read_bytes() == b"another picture"
    assert {path.name for path in rig.trash.rglob("*.jpg")} == {third.name}


# ---- the archive meanwhile


def evict(archive: Path) -> None:
    archive.unlink()


def truncate(archive: Path) -> None:
    os.truncate(archive, archive.stat().st_size // 2)


def replace(archive: Path) -> None:
    size = archive.stat().st_size
    fresh = archive.with_suffix(".fresh")
    fresh.write_bytes(content("other").read_bytes()[:size])
    fresh.replace(archive)


@pytest.mark.parametrize("harm", [evict, truncate, replace])
@pytest.mark.parametrize("deleting", [False, True], ids=["trash", "delete"])
def test_archive_harmed_while_its_source_waits_is_made_again_before_the_source_goes(
    rig: Rig, harm: Callable[[Path], None], deleting: bool
) -> None:
    upload = rig.upload("a")
    keep = rig.keep(upload)
    rig.run_inside()
    assert rig.row(upload).state is State.ARCHIVED
    harm(rig.archive / upload.path)
    if harm is not evict:
        rig.strangers.add(upload.path)
    keep.unlink()
    seen: list[Places] = []

    rig.run_inside(at("set_aside:before", lambda: seen.append(assert_archives_sound(rig))), delete=deleting)

    assert [set(places) for places in seen] == [{upload.sha256}]
    assert_all_archived(rig, deleting=deleting)


@pytest.mark.parametrize("harm", [evict, truncate, replace])
def test_archive_harmed_right_after_it_was_committed_is_made_again_by_the_next_run(
    rig: Rig, harm: Callable[[Path], None]
) -> None:
    upload = rig.upload("a")
    if harm is not evict:
        rig.strangers.add(upload.path)

    assert results(rig.run_inside(at("publish:after", lambda: harm(rig.archive / upload.path)))) == [Result.FAILED]

    assert sha256_of(rig.camera / upload.path) == upload.sha256
    rig.run_inside()
    assert_all_archived(rig)


# ---- names that are taken


def test_name_uploaded_twice_keeps_both_in_archive_and_trash(rig: Rig) -> None:
    """Summer time ends: the camera gives the same name an hour later."""
    first = rig.upload("a")
    rig.run_inside()
    rig.upload("b")
    rig.run_inside()

    assert_all_archived(rig)
    both = {first.path.name, f"{first.path.stem}~2.mp4"}
    assert archives(rig) == both
    assert {path.name for path in rig.trash.rglob("*.mp4")} == both


def test_same_content_uploaded_twice_gets_one_archive(rig: Rig) -> None:
    rig.upload("a")
    rig.run_inside()
    rig.upload("a")

    summary = rig.run_inside()

    assert results(summary) == [Result.ADOPTED]
    assert_nothing_lost(rig)
    assert_no_traces(rig)
    assert len(archives(rig)) == 1


def test_two_cameras_in_one_second_get_their_own_archives(rig: Rig) -> None:
    paths = [rig.path(0, "front"), rig.path(0, "back")]
    for name, path in zip("ab", paths, strict=True):
        rig.upload(name, path)

    rig.run_inside()

    assert_all_archived(rig)
    assert archives(rig) == {path.name for path in paths}


def test_one_name_in_two_date_directories_keeps_both(rig: Rig) -> None:
    first = rig.upload("a")
    rig.upload("b", first.path.parent.parent / "01" / first.path.name)

    rig.run_inside()

    assert_all_archived(rig)
    assert archives(rig) == {first.path.name, f"{first.path.stem}~2.mp4"}


def test_destination_taken_by_other_content_is_left_as_it_is(rig: Rig) -> None:
    upload = rig.upload("a")
    stranger = rig.archive / upload.path
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"no clip at all")
    rig.strangers.add(upload.path)

    rig.run_inside()

    assert stranger.read_bytes() == b"no clip at all"
    assert_all_archived(rig)


def test_destination_taken_at_the_last_moment_is_left_as_it_is(rig: Rig) -> None:
    upload = rig.upload("a")
    stranger = rig.archive / upload.path
    rig.strangers.add(upload.path)

    rig.run_inside(at("publish:before", lambda: stranger.write_bytes(b"no clip at all")))

    assert stranger.read_bytes() == b"no clip at all"
    assert rig.row(upload).archive == upload.path.with_stem(f"{upload.path.stem}~2")
    assert_all_archived(rig)


# ---- archives that stand already


def test_archive_of_a_lost_catalog_is_adopted_without_a_transcode(rig: Rig) -> None:
    rig.fake_ffmpeg()
    upload = rig.upload("a")
    keep = rig.keep(upload)
    rig.run_inside()
    assert rig.ffmpeg_runs("transcode") == 1
    rig.forget()

    summary = rig.run_inside()

    assert results(summary) == [Result.ADOPTED]
    assert rig.ffmpeg_runs("transcode") == 1
    keep.unlink()
    rig.run_inside()
    assert_all_archived(rig)


def test_lost_catalog_costs_no_recording(rig: Rig) -> None:
    rig.upload("a", snapshots=1)
    rig.run_inside()
    rig.upload("b")
    rig.forget()

    rig.run_inside()

    assert_all_archived(rig)


@pytest.mark.parametrize("audio", ["none", "aac"])
def test_foreign_clip_of_the_same_length_is_not_adopted(rig: Rig, audio: Audio) -> None:
    upload = rig.upload("a", audio=audio)
    stranger = rig.archive / upload.path
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(content("b", audio).read_bytes())
    rig.strangers.add(upload.path)

    summary = rig.run_inside()

    assert results(summary) == [Result.TRANSCODED]
    assert sha256_of(stranger) == sha256_of(content("b", audio))
    assert_all_archived(rig)


def test_own_archive_that_is_damaged_is_not_adopted(rig: Rig) -> None:
    upload = rig.upload("a")
    keep = rig.keep(upload)
    rig.run_inside()
    rig.forget()
    truncate(rig.archive / upload.path)
    rig.strangers.add(upload.path)
    keep.unlink()

    summary = rig.run_inside()

    assert results(summary) == [Result.FAILED, Result.TRANSCODED]  # the damaged one is told
    assert_all_archived(rig)


def test_original_bytes_standing_in_the_archive_are_adopted(rig: Rig) -> None:
    rig.fake_ffmpeg()
    upload = rig.upload("a")
    standing = rig.archive / upload.path
    standing.parent.mkdir(parents=True)
    standing.write_bytes((rig.camera / upload.path).read_bytes())

    summary = rig.run_inside()

    assert results(summary) == [Result.ADOPTED]
    assert rig.ffmpeg_runs("transcode") == 0
    assert_all_archived(rig)


def test_no_skip_commits_a_new_archive_and_puts_the_old_one_in_the_trash(rig: Rig) -> None:
    upload = rig.upload("a")
    keep = rig.keep(upload)
    rig.run_inside()
    seen: list[set[str]] = []

    rig.run_inside(at("trash:before", lambda: seen.append(archives(rig))), no_skip=True)

    new = f"{upload.path.stem}~2.mp4"
    assert seen == [{upload.path.name, new}]  # the old one goes when the new one stands
    assert archives(rig) == {new}
    assert (rig.trash / "archived" / upload.path).is_file()
    keep.unlink()
    rig.run_inside()
    assert_all_archived(rig)


# ---- protection


def test_protected_source_is_archived_and_stays_until_it_is_protected_no_more(rig: Rig) -> None:
    upload = rig.upload("a", snapshots=1)
    keep = rig.keep(upload)

    first, second = rig.run_inside(), rig.run_inside()

    assert (results(first), results(second)) == ([Result.TRANSCODED], [])
    assert (rig.camera / upload.path).is_file()
    assert not list(rig.trash.rglob("*.mp4"))
    keep.unlink()
    rig.run_inside()
    assert_all_archived(rig)


def test_protection_set_while_the_clip_is_archived_holds_its_source(rig: Rig) -> None:
    upload = rig.upload("a")

    rig.run_inside(at("publish:after", lambda: rig.keep(upload)))

    assert (rig.camera / upload.path).is_file()
    assert_nothing_lost(rig)


# ---- rights and disks


@pytest.mark.parametrize("deleting", [(), ("--delete",)], ids=["trash", "delete"])
def test_directory_that_may_not_be_written_keeps_the_source_until_it_may(rig: Rig, deleting: tuple[str, ...]) -> None:
    upload = rig.upload("a")
    day = (rig.camera / upload.path).parent
    day.chmod(0o555)
    try:
        code = rig.run(*deleting, wrapper=UNPRIVILEGED)
        row = rig.row(upload)
        assert (code, row.state, row.attempts, row.crashes) == (1, State.ARCHIVED, 0, 0)
        assert (rig.camera / upload.path).is_file()
        assert_nothing_lost(rig)
    finally:
        day.chmod(0o755)

    assert rig.run(*deleting, wrapper=UNPRIVILEGED) == 0

    assert_all_archived(rig, deleting=bool(deleting))


def test_trash_on_another_file_system_gets_whole_copies(rig: Rig, elsewhere: Path) -> None:
    rig.trash = elsewhere / "trash"
    assert elsewhere.stat().st_dev != rig.camera.stat().st_dev
    for minute, name in enumerate("ab"):
        rig.upload(name, rig.path(minute), snapshots=2)

    assert rig.run_inside().exit_code == 0

    assert_all_archived(rig)
    mtimes = {path.stat().st_mtime_ns for path in rig.trash.rglob("*.mp4")}
    assert mtimes == {row.fingerprint.mtime_ns for row in rig.rows()}


def test_delete_lets_go_of_sources_that_are_archived(rig: Rig) -> None:
    for minute, name in enumerate("ab"):
        rig.upload(name, rig.path(minute), snapshots=2)

    assert rig.run_inside(delete=True).exit_code == 0

    assert_all_archived(rig, deleting=True)


@contextlib.contextmanager
def full_disk(path: Path) -> Iterator[Path]:
    """A small file system of its own at `path`, filled by the file that is returned but for a few blocks."""
    path.mkdir(exist_ok=True)
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)), check=True)
    try:
        filler = path / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                continue
        os.truncate(filler, filler.stat().st_size - 3 * 4096)  # room for a marker and two directories
        yield filler
    finally:
        subprocess.run(("umount", str(path)), check=True)


@contextlib.contextmanager
def told_disk_full(rig: Rig) -> Iterator[Path]:
    """An ffmpeg that says the disk is full for as long as the file that is returned stands."""
    filler = rig.base / "filler"
    filler.touch()
    rig.fake_ffmpeg(f"""
        if transcoding and os.path.exists({str(filler)!r}):
            sys.stderr.write("av_interleaved_write_frame(): No space left on device\\n")
            sys.exit(1)
        """)
    yield filler


@pytest.mark.parametrize("real", [False, True] if can_mount() else [False], ids=lambda real: "disk" if real else "told")
def test_full_archive_disk_pauses_the_work_and_counts_against_no_file(rig: Rig, real: bool) -> None:
    uploads = [rig.upload(name, rig.path(minute)) for minute, name in enumerate("ab")]
    with full_disk(rig.archive) if real else told_disk_full(rig) as filler:
        summary = rig.run_inside()

        assert summary.exit_code == 69
        assert set(results(summary)) <= {Result.WAITING}
        assert {(row.state, row.attempts, row.crashes) for row in rig.rows()} == {(State.WAITING, 0, 0)}
        assert {sha256_of(rig.camera / upload.path) for upload in uploads} == {upload.sha256 for upload in uploads}
        assert_no_traces(rig)
        filler.unlink()
        assert rig.run_inside().exit_code == 0
        assert_all_archived(rig)


def test_full_trash_disk_puts_back_everything_that_was_set_aside(rig: Rig) -> None:
    upload = rig.upload("a", snapshots=2)

    def fill() -> None:
        raise ResourceError(os.strerror(errno.ENOSPC))

    summary = rig.run_inside(at_each({"trash:before#2": fill}))

    assert summary.exit_code == 69
    assert rig.row(upload).state is State.ARCHIVED
    assert_no_traces(rig)
    assert_nothing_lost(rig)
    rig.run_inside()
    assert_all_archived(rig)


# ---- ffmpeg


def test_missing_ffmpeg_ends_the_run_before_it_begins(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = rig.upload("a", snapshots=1)
    monkeypatch.setenv("PATH", str(rig.programs))

    with pytest.raises(StartupError, match="ffmpeg was not found") as caught:
        rig.run_inside()

    assert caught.value.exit_code == 69
    assert rig.rows() == []
    assert archives(rig) == set()
    assert contents(rig, rig.camera).keys() == {upload.sha256, *rig.snapshots.values()}


def test_missing_ffprobe_counts_against_no_file(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = rig.upload("a")
    rig.fake_ffmpeg()
    with monkeypatch.context() as only_ffmpeg:
        only_ffmpeg.setenv("PATH", str(rig.programs))
        codes = [rig.run_inside().exit_code for _ in range(5)]

    assert codes == [69] * 5
    row = rig.row(upload)
    assert (row.state, row.attempts, row.crashes) == (State.WAITING, 0, 0)
    rig.run_inside()
    assert_all_archived(rig)


def test_ffmpeg_that_always_fails_leads_to_quarantine_with_the_source_in_place(rig: Rig) -> None:
    upload = rig.upload("a", snapshots=1)
    rig.fake_ffmpeg("if transcoding: sys.exit(1)")

    runs = [rig.run_inside() for _ in range(4)]

    assert [results(run) for run in runs] == [[Result.FAILED], [Result.FAILED], [Result.QUARANTINED], []]
    assert [run.exit_code for run in runs] == [1, 1, 1, 0]
    assert rig.ffmpeg_runs("transcode") == 3
    assert sha256_of(rig.camera / upload.path) == upload.sha256
    assert archives(rig) == set()
    assert_nothing_lost(rig)
    assert_no_traces(rig)


def test_source_that_no_ffmpeg_run_decodes_is_kept_as_it_is(rig: Rig) -> None:
    upload = rig.upload("a")
    rig.fake_ffmpeg("""
        if transcoding or strictly_decoding:
            sys.stderr.write("it will not do\\n")
            sys.exit(1)
        """)

    summary = rig.run_inside()

    assert results(summary) == [Result.VERBATIM]
    assert sha256_of(rig.archive / upload.path) == upload.sha256
    assert_all_archived(rig)


def test_frames_left_out_by_ffmpeg_make_the_original_bytes_the_archive(rig: Rig) -> None:
    upload = rig.upload("a")
    rig.fake_ffmpeg('if transcoding: arguments[-1:-1] = ["-frames:v", "3"]')

    rig.run_inside()

    receipt = rig.row(upload).receipt
    assert receipt is not None
    assert receipt.kind is ArchiveKind.VERBATIM
    assert sha256_of(rig.archive / upload.path) == upload.sha256
    assert_all_archived(rig)


# Each takes an output that ffmpeg wrote and reported in full, and spoils it.
SPOILED = {
    "frames dropped": """
        run_real()
        os.spawnv(os.P_WAIT, {ffmpeg!r}, [{ffmpeg!r}, "-v", "error", "-i", target, "-c", "copy", "-frames:v", "3",
                  "-f", "mp4", {scratch!r}])
        with open({scratch!r}, "rb") as short, open(target, "r+b") as output:
            output.write(short.read())
            output.truncate()
        sys.exit(0)
        """,
    "truncated": "run_real(); os.truncate(target, os.stat(target).st_size * 2 // 3); sys.exit(0)",
    "one byte cut": "run_real(); os.truncate(target, os.stat(target).st_size - 1); sys.exit(0)",
    "empty": "run_real(); os.truncate(target, 0); sys.exit(0)",
    "damaged": """
        run_real()
        with open(target, "r+b") as output:
            output.seek(-400, 2)
            output.write(bytes(200))
        sys.exit(0)
        """,
    "half as high": 'arguments[-1:-1] = ["-vf", "scale=80:60"]',
    "late": 'arguments[-1:-1] = ["-vf", "setpts=PTS+N*0.05/TB"]',
    "nothing": "sys.exit(0)",
}


@pytest.mark.parametrize("harm", SPOILED)
def test_output_that_is_not_the_source_is_rejected_though_ffmpeg_ended_well(rig: Rig, harm: str) -> None:
    upload = rig.upload("a")
    body = SPOILED[harm].format(ffmpeg=rig.real_ffmpeg, scratch=str(rig.base / "scratch.mp4"))
    rig.fake_ffmpeg("if transcoding:\n" + "".join(f"    {line}\n" for line in body.split("\n")))

    summary = rig.run_inside()

    assert results(summary) == [Result.FAILED]
    assert archives(rig) == set()
    assert sha256_of(rig.camera / upload.path) == upload.sha256
    assert_no_traces(rig)
