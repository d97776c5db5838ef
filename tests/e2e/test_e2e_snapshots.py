"""Snapshots: with their recording, beside its archive, late, or without one. None is lost, whatever comes between."""

from __future__ import annotations

import grp
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest

from archiverd.cli import run_command_line
from archiverd.config import Config
from archiverd.errors import ResourceError
from archiverd.outlook import orphans
from archiverd.policy import naming
from archiverd.policy.model import Place, State, Tree
from archiverd.policy.outcome import Result
from archiverd.storage.discovery import FileDiscovery
from tests.e2e.invariants import (
    assert_all_archived,
    assert_no_traces,
    assert_nothing_lost,
    assert_snapshots_archived,
    contents,
    picture_of,
)
from tests.e2e.rig import START, Rig, Upload, at, results, sha256_of
from tools import footage

GROUP = grp.getgrall()[-1] if os.geteuid() == 0 else grp.getgrgid(os.getgid())


@pytest.fixture(name="elsewhere")
def _elsewhere() -> Iterator[Path]:
    """A directory on another file system than the rig's."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as path:
        yield Path(path)


@pytest.fixture(name="keeping", params=["same disk", "archive elsewhere", "trash elsewhere"])
def _keeping(request: pytest.FixtureRequest, rig: Rig, elsewhere: Path) -> Rig:
    """A rig whose snapshots go beside their archives."""
    rig.archive_snapshots()
    if request.param == "archive elsewhere":
        rig.archive = elsewhere / "archive"
    if request.param == "trash elsewhere":
        rig.trash = elsewhere / "trash"
    return rig


EITHER_END = pytest.mark.parametrize("deleting", [False, True], ids=["trash", "delete"])
EITHER_SETTING = pytest.mark.parametrize("archiving", [False, True], ids=["disposed", "archived"])


def clip_at(moment: datetime, camera: str = "front") -> PurePosixPath:
    return PurePosixPath(footage.upload_path(Path(), camera, moment))


def put_snapshot(rig: Rig, path: PurePosixPath, data: bytes = b"of this event", *, age_s: float = 7200) -> Path:
    """A snapshot that came some time ago."""
    target = rig.camera / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    os.utime(target, (time.time() - age_s,) * 2)
    return target


def snapshots_of(rig: Rig, upload: Upload) -> dict[PurePosixPath, Place | None]:
    """Where each went, as the catalog tells."""
    return {snapshot.path: snapshot.disposed_to for snapshot in rig.row(upload).snapshots}


def ask(rig: Rig, verb: str, *options: str | Path) -> int:
    trees = ("--config", str(rig.config_file))
    return run_command_line([verb, *trees, *map(str, options)])


# -- beside the archive -------------------------------------------------------------------------------------


@EITHER_END
def test_snapshots_go_beside_the_archive_of_their_recording(keeping: Rig, deleting: bool) -> None:
    keeping.upload("a", snapshots=2)
    keeping.upload("b", keeping.path(7, "back"), snapshots=1)

    assert results(keeping.run_inside(delete=deleting)) == [Result.TRANSCODED] * 2

    assert_all_archived(keeping, deleting=deleting)
    assert_snapshots_archived(keeping)
    assert keeping.run_inside(delete=deleting).plan.items == ()


def test_snapshot_beside_an_archive_has_the_modes_and_group_of_archives(keeping: Rig) -> None:
    upload = keeping.upload("a", snapshots=1)
    (picture,) = keeping.snapshots
    (keeping.camera / picture).chmod(0o666)
    with keeping.config_file.open("a") as config:
        config.write(f'file_mode = "0604"\ndir_mode = "0751"\ngroup = "{GROUP.gr_name}"\n')
    keeping.run_inside()
    archives = [(keeping.archive / path).stat() for path in (upload.path, upload.path.with_name(picture.name))]
    assert {(oct(stat.S_IMODE(s.st_mode)), s.st_gid) for s in archives} == {(oct(0o604), GROUP.gr_gid)}
    day = (keeping.archive / upload.path).parent.stat()
    assert (oct(stat.S_IMODE(day.st_mode)), day.st_gid) == (oct(0o751), GROUP.gr_gid)


def test_snapshot_beside_an_archive_is_no_file_its_uploader_has_a_hold_on(keeping: Rig) -> None:
    upload = keeping.upload("a", snapshots=1)
    (picture,) = keeping.snapshots
    (keeping.base / "link").hardlink_to(keeping.camera / picture)
    keeping.run_inside()
    (keeping.base / "link").write_bytes(b"forged")
    assert sha256_of(keeping.archive / upload.path.with_name(picture.name)) == keeping.snapshots[picture]


def test_snapshot_never_replaces_what_stands_beside_the_archive(keeping: Rig) -> None:
    upload = keeping.upload("a", snapshots=1)
    (picture,) = keeping.snapshots
    stranger = keeping.archive / upload.path.with_name(picture.name)
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"of another event")
    keeping.run_inside()
    assert stranger.read_bytes() == b"of another event"
    place = naming.numbered(picture, 2)
    assert snapshots_of(keeping, upload) == {picture: Place(Tree.ARCHIVE, place)}
    assert sha256_of(keeping.archive / place) == keeping.snapshots[picture]


@EITHER_END
def test_snapshot_that_stands_beside_the_archive_already_is_not_archived_twice(keeping: Rig, deleting: bool) -> None:
    """Another upload of the very picture: the second one goes where sources go."""
    upload = keeping.upload("a", snapshots=1)
    (picture,) = keeping.snapshots
    twin = keeping.archive / upload.path.with_name(picture.name)
    twin.parent.mkdir(parents=True)
    twin.write_bytes((keeping.camera / picture).read_bytes())
    os.utime(twin, (1_700_000_000, 1_700_000_000))
    inode = twin.stat().st_ino
    keeping.run_inside(delete=deleting)
    assert snapshots_of(keeping, upload) == {picture: Place(Tree.ARCHIVE, picture)}
    assert [path.name for path in keeping.archive.rglob("*.jpg")] == [picture.name]
    assert (twin.stat().st_ino, twin.stat().st_mtime) == (inode, 1_700_000_000)
    assert (keeping.trash / picture).exists() != deleting
    assert not (keeping.camera / picture).exists()


def test_snapshots_of_an_upload_of_the_same_name_are_both_kept(keeping: Rig) -> None:
    keeping.upload("a", snapshots=1)
    keeping.run_inside()
    keeping.upload("b", snapshots=1)  # its picture takes the first one's name in the rig's notes
    keeping.run_inside()
    assert len({sha256_of(path) for path in keeping.archive.rglob("*.jpg")}) == 2
    assert not list(keeping.trash.rglob("*.jpg"))
    assert_no_traces(keeping)


def test_snapshots_of_a_protected_recording_stay_with_it(keeping: Rig) -> None:
    upload = keeping.upload("a", snapshots=2)
    keep = keeping.keep(upload)
    assert results(keeping.run_inside()) == [Result.TRANSCODED]
    assert contents(keeping, keeping.camera).keys() == {upload.sha256, *keeping.snapshots.values()}
    assert not list(keeping.archive.rglob("*.jpg"))
    keep.unlink()
    assert results(keeping.run_inside()) == [Result.DISPOSED]
    assert_snapshots_archived(keeping)


def test_archiving_again_leaves_each_snapshot_in_one_place(keeping: Rig) -> None:
    upload = keeping.upload("a", snapshots=1)
    keep = keeping.keep(upload)
    keeping.run_inside()
    keep.unlink()
    assert results(keeping.run_inside(no_skip=True)) == [Result.TRANSCODED]
    assert keeping.row(upload).archive == naming.numbered(upload.path, 2)
    assert_snapshots_archived(keeping)
    assert (keeping.trash / "archived" / upload.path).is_file()
    assert_nothing_lost(keeping)
    assert_no_traces(keeping)


def test_dry_run_tells_where_snapshots_will_go_and_changes_nothing(
    keeping: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    keeping.upload("a", snapshots=1)
    before = picture_of(keeping.base)
    assert keeping.run_to_the_end("--dry-run") == 0
    told = capsys.readouterr().out
    assert "Sources are moved to the trash once their archives are proven." in told
    assert "Snapshots are put beside the archives." in told
    assert picture_of(keeping.base) == before


def test_why_finds_a_snapshot_beside_the_archive(keeping: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    upload = keeping.upload("a", snapshots=1)
    (picture,) = keeping.snapshots
    keeping.run_inside()
    output = f'output = "{keeping.archive}"\ntrash_root = "{keeping.trash}"\n'
    keeping.config_file.write_text(keeping.config_file.read_text() + output)
    assert ask(keeping, "why", keeping.archive / picture, "--directory", keeping.camera) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{upload.path}: done")
    assert f"  snapshot {picture} (beside the archive as {picture})" in told.splitlines()
    assert ask(keeping, "why", keeping.camera / picture, "--directory", keeping.camera, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["snapshots"] == [
        {"path": str(picture), "disposed": True, "disposed_to": str(picture), "disposed_in": "archive"}
    ]


def test_scan_of_the_archive_finds_each_snapshot_with_its_recording(keeping: Rig) -> None:
    keeping.upload("a", snapshots=2)
    keeping.run_inside()
    keeping.upload("b", snapshots=1)
    keeping.upload("c", keeping.path(7, "back"), snapshots=1)
    keeping.run_inside()
    found = FileDiscovery(keeping.archive, snapshot_window_s=60, now=time.time).scan()
    assert (found.orphans, found.leftovers) == ((), ())
    assert {path: count for path, count in found.ignored.items() if "outside" not in path} == {}
    assert sum(len(recording.snapshots) for recording in found.recordings) == 4
    assert all(s.name.camera == r.clip.name.camera for r in found.recordings for s in r.snapshots)


# -- at the last moment -------------------------------------------------------------------------------------


def test_snapshot_replaced_as_it_is_set_aside_stays(keeping: Rig) -> None:
    keeping.upload("a", snapshots=1)
    picture = keeping.camera / next(iter(keeping.snapshots))
    keeping.run_inside(at("set_aside:before#2", lambda: picture.write_bytes(b"of another event")))
    assert picture.read_bytes() == b"of another event"
    assert not list(keeping.archive.rglob("*.jpg"))


def test_snapshot_that_is_being_written_stays(keeping: Rig) -> None:
    keeping.upload("a", snapshots=1)
    picture = keeping.camera / next(iter(keeping.snapshots))
    with picture.open("r+b") as upload:
        assert results(keeping.run_inside(delete=True)) == [Result.TRANSCODED]
        upload.write(b"the second half")
    assert picture.read_bytes().startswith(b"the second half")


@pytest.mark.parametrize("step", ["new_part:after#2", "finish_part:before#2", "publish_copy:after"])
def test_snapshot_written_to_while_it_is_copied_is_archived_whole_by_the_next_run(keeping: Rig, step: str) -> None:
    upload = keeping.upload("a", snapshots=1)
    (path,) = keeping.snapshots
    picture = keeping.camera / path
    whole = picture.read_bytes() + b"the rest"

    def write() -> None:
        (aside,) = [gone for gone in picture.parent.glob("*.gone") if gone.read_bytes() + b"the rest" == whole]
        with aside.open("ab") as file:
            file.write(b"the rest")

    assert results(keeping.run_inside(at(step, write))) == [Result.FAILED]
    assert picture.read_bytes() == whole
    assert sha256_of(keeping.camera / upload.path) == upload.sha256
    assert results(keeping.run_inside()) == [Result.DISPOSED]
    (place,) = [snapshot.disposed_to for snapshot in keeping.row(upload).snapshots if snapshot.disposed_to]
    assert (keeping.archive / place.path).read_bytes() == whole
    assert len(list(keeping.archive.rglob("*.jpg"))) == (2 if step == "publish_copy:after" else 1)
    assert_no_traces(keeping)


@pytest.mark.parametrize("step", ["move:before", "new_part:before#2", "publish_copy:before", "publish_copy:after"])
def test_disk_that_fails_while_a_snapshot_is_archived_leaves_clip_and_snapshot(keeping: Rig, step: str) -> None:
    keeping.upload("a", snapshots=1)

    def fail() -> None:
        raise ResourceError("no space left on device")

    summary = keeping.run_inside(at(step, fail))
    assert summary.exit_code == ResourceError.exit_code
    sources = contents(keeping, keeping.camera)
    assert {upload.sha256 for upload in keeping.uploads} | set(keeping.snapshots.values()) == sources.keys()
    assert_no_traces(keeping)
    assert results(keeping.run_inside()) == [Result.DISPOSED]
    assert_all_archived(keeping)
    assert_snapshots_archived(keeping)


def test_link_planted_where_a_snapshot_is_to_go_is_not_followed(keeping: Rig) -> None:
    upload = keeping.upload("a", snapshots=1)
    (picture,) = keeping.snapshots
    outside = keeping.base / "outside.jpg"
    outside.write_bytes((keeping.camera / picture).read_bytes())
    link = keeping.archive / picture
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    keeping.run_inside()
    assert link.is_symlink()
    assert snapshots_of(keeping, upload) == {picture: Place(Tree.ARCHIVE, naming.numbered(picture, 2))}
    assert sha256_of(keeping.archive / naming.numbered(picture, 2)) == keeping.snapshots[picture]


# -- late ---------------------------------------------------------------------------------------------------


def choose(rig: Rig, archiving: bool) -> None:
    if archiving:
        rig.archive_snapshots()


def place_of(upload: Upload, picture: PurePosixPath, *, archiving: bool) -> Place:
    return Place(Tree.ARCHIVE, upload.path.with_name(picture.name)) if archiving else Place(Tree.TRASH, picture)


@EITHER_SETTING
def test_late_snapshot_goes_the_way_of_its_recording(rig: Rig, archiving: bool) -> None:
    choose(rig, archiving)
    upload = rig.upload("a")
    rig.run_inside()
    before = rig.row(upload)
    picture = upload.path.with_name(f"{upload.path.stem[:-2]}04.jpg")
    put_snapshot(rig, picture, age_s=3500)
    assert rig.run_inside().plan.items == ()  # its clip may still be uploading
    put_snapshot(rig, picture)

    assert results(rig.run_inside()) == [Result.DISPOSED]

    row, place = rig.row(upload), place_of(upload, picture, archiving=archiving)
    assert (row.state, row.disposed_to, row.archive) == (State.DONE, before.disposed_to, before.archive)
    assert snapshots_of(rig, upload) == {picture: place}
    standing = (rig.archive if archiving else rig.trash) / place.path
    assert standing.read_bytes() == b"of this event"
    assert not (rig.camera / picture).exists()
    assert rig.run_inside().plan.items == ()


@EITHER_SETTING
def test_late_snapshot_of_the_next_day_goes_with_the_clip_of_midnight(rig: Rig, archiving: bool) -> None:
    choose(rig, archiving)
    midnight = START.replace(hour=23, minute=59, second=50)
    upload = rig.upload("a", clip_at(midnight))
    rig.run_inside()
    picture = clip_at(midnight + timedelta(seconds=15)).with_suffix(".jpg")
    assert picture.parent != upload.path.parent
    put_snapshot(rig, picture)
    assert results(rig.run_inside()) == [Result.DISPOSED]
    assert snapshots_of(rig, upload) == {picture: place_of(upload, picture, archiving=archiving)}


@EITHER_SETTING
@pytest.mark.parametrize("other", ["protected", "quarantined", "too young"])
def test_late_snapshot_follows_the_nearest_clip_though_another_stands_there(
    rig: Rig, archiving: bool, other: str
) -> None:
    """One clip is done with; the other, within the window of the picture too, is not."""
    choose(rig, archiving)
    done = rig.upload("a", clip_at(START))
    rig.run_inside()
    stands = rig.upload("b", clip_at(START + timedelta(seconds=40)))
    make(rig, stands, other)
    near_done, near_other = (clip_at(START + timedelta(seconds=s)).with_suffix(".jpg") for s in (9, 31))
    for picture in (near_done, near_other):
        put_snapshot(rig, picture, str(picture).encode())

    rig.run_inside()

    assert snapshots_of(rig, done) == {near_done: place_of(done, near_done, archiving=archiving)}
    assert (rig.camera / near_other).read_bytes() == str(near_other).encode()
    assert set(snapshots_of(rig, stands)) == {near_other}


def make(rig: Rig, upload: Upload, what: str) -> None:
    source = rig.camera / upload.path
    match what:
        case "protected":
            rig.keep(upload)
        case "quarantined":
            os.truncate(source, 1000)
            os.utime(source, (1_700_000_000, 1_700_000_000))
        case _:
            rig.config_file.write_text(rig.config_file.read_text().replace('settle = "0 s"', 'settle = "30 minutes"'))
            os.utime(source)


@EITHER_SETTING
@pytest.mark.parametrize("clip", ["protected", "quarantined", "too young"])
def test_late_snapshot_stays_with_a_clip_that_stays(rig: Rig, archiving: bool, clip: str) -> None:
    choose(rig, archiving)
    upload = rig.upload("a")
    make(rig, upload, clip)
    rig.run_inside()
    picture = put_snapshot(rig, upload.path.with_suffix(".jpg"))
    summary = rig.run_inside()
    assert summary.plan.orphans == ()
    assert picture.read_bytes() == b"of this event"


def test_snapshot_that_is_not_its_cameras_is_left_alone(rig: Rig) -> None:
    rig.archive_snapshots()
    rig.upload("a")
    rig.run_inside()
    picture = put_snapshot(rig, rig.path(0, "back").with_suffix(".jpg"))
    assert rig.run_inside().plan.items == ()
    assert picture.is_file()


@EITHER_SETTING
def test_kill_after_a_late_snapshot_went_is_noted_by_the_next_run(rig: Rig, archiving: bool) -> None:
    choose(rig, archiving)
    upload = rig.upload("a")
    rig.run_inside()
    picture = upload.path.with_suffix(".jpg")
    put_snapshot(rig, picture)
    rig.run_until_killed("move:after" if archiving else "trash:after")
    assert snapshots_of(rig, upload) == {picture: None}
    rig.run_inside()
    assert snapshots_of(rig, upload) == {picture: place_of(upload, picture, archiving=archiving)}
    assert_no_traces(rig)
    assert rig.run_inside().plan.items == ()


# -- orphans ------------------------------------------------------------------------------------------------


def test_snapshot_without_a_recording_is_told_and_left_alone(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    lonely = put_snapshot(rig, rig.path(50, "back").with_suffix(".jpg"), age_s=90_000)
    put_snapshot(rig, rig.path(51, "yard").with_suffix(".jpg"))
    since = datetime.fromtimestamp(lonely.stat().st_mtime).astimezone().isoformat(sep=" ", timespec="seconds")
    rig.upload("a")
    line = f"Snapshots without a recording, left alone: 2, the oldest of {since}"

    assert run_command_line(["run", "--no-confirm", *rig.options]) == 0
    assert capsys.readouterr().out.splitlines().count(line) == 2  # in the plan, and in the summary
    assert lonely.is_file()

    assert ask(rig, "status", rig.camera) == 0
    told = capsys.readouterr().out.splitlines()
    path = lonely.relative_to(rig.camera)
    assert told[-2:] == [
        "Snapshots without a recording in the source tree: 2",
        f"  the oldest is {path} (archiverd why PATH tells what it waits for)",
    ]
    assert ask(rig, "status", rig.camera, "--json") == 0
    assert json.loads(capsys.readouterr().out)["orphans"] == {"snapshots": 2, "oldest": str(path), "unseen": ""}


def test_snapshots_of_a_tree_that_takes_too_long_are_not_counted_for_the_status(rig: Rig) -> None:
    put_snapshot(rig, rig.path(50).with_suffix(".jpg"), age_s=600)
    config = Config(directory=rig.camera)
    assert len(orphans(config, 60.0).files) == 1
    assert "too large" in orphans(config, 0.0).unseen


def test_why_tells_what_a_snapshot_waits_for(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    done = rig.upload("a")
    rig.run_inside()
    waiting = rig.upload("b", rig.path(7))
    pictures = {
        rig.path(50).with_suffix(".jpg"): "It waits for a recording of its camera within 60 s of it. "
        "Until then it is left alone.",
        done.path.with_suffix(".jpg"): f"It waits for 60 minutes to have passed, then to follow {done.path}. "
        "Until then it is left alone.",
        waiting.path.with_suffix(".jpg"): f"It goes with {waiting.path}, of which the next run makes: archive, new.",
    }
    for picture, words in pictures.items():
        put_snapshot(rig, picture, age_s=600)
        assert ask(rig, "why", rig.camera / picture, "--directory", rig.camera) == 1
        assert f"  {words}" in capsys.readouterr().out.splitlines()


def test_status_is_told_though_the_source_tree_is_gone(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    state = str(rig.base / "state")
    rig.upload("a")
    rig.run_inside(state_dir=state)
    rig.camera.rename(rig.base / "away")
    assert ask(rig, "status", rig.camera, "--state-dir", state) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "Snapshots without a recording: the source tree can't be looked at now."
    )
