"""Cameras of three makes in one tree: found, explained and archived under one layout."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest

from archiverd.cli import run_command_line
from archiverd.policy.model import Place, State, Tree
from archiverd.policy.outcome import Result
from tests.e2e.invariants import assert_all_archived, assert_snapshots_archived
from tests.e2e.rig import START, Rig, Upload, picture, results
from tests.program import archiverd, standing

LATER = START + timedelta(seconds=9)
DAHUA = PurePosixPath(
    f"garden/AMC01/{START:%Y-%m-%d}/001/dav/{START:%H}/{START:%H.%M.%S}-{LATER:%H.%M.%S}[M][0@0][0].mp4"
)
DAHUA_PICTURE = PurePosixPath(f"garden/AMC01/{START:%Y-%m-%d}/001/jpg/{LATER:%H/%M/%S}[M][0@0][0].jpg")
HIKVISION = PurePosixPath(f"192.168.1.64_01_{START:%Y%m%d%H%M%S}383_MOTION_DETECTION.mp4")
HIKVISION_PICTURE = PurePosixPath(f"192.168.1.64_01_{LATER:%Y%m%d%H%M%S}120_MOTION_DETECTION.jpg")
DAY = f"{START:%Y/%m/%d}"
STAMP = f"{START:%Y%m%d%H%M%S}"


@pytest.fixture
def makes(rig: Rig) -> Rig:
    """The rig, with the names of three makes."""
    rig.config_file.write_text(rig.config_file.read_text() + 'names = ["dahua", "hikvision", "reolink"]\n')
    return rig


def upload_picture(rig: Rig, name: str, path: PurePosixPath) -> None:
    target = rig.camera / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(picture(name).read_bytes())
    rig.snapshot_mtimes[path] = target.stat().st_mtime_ns
    rig.snapshots[path] = hashlib.sha256(target.read_bytes()).hexdigest()


def upload_all(rig: Rig) -> list[Upload]:
    uploads = [rig.upload("a", DAHUA), rig.upload("b", HIKVISION), rig.upload("c", snapshots=1)]
    upload_picture(rig, "a", DAHUA_PICTURE)
    upload_picture(rig, "b", HIKVISION_PICTURE)
    return uploads


def archives(rig: Rig) -> list[str]:
    return sorted(str(path.relative_to(rig.archive)) for path in rig.archive.rglob("*.mp4"))


def in_trash(rig: Rig) -> set[PurePosixPath]:
    files = (path for path in rig.trash.rglob("*") if path.suffix in (".mp4", ".jpg"))
    return {PurePosixPath(path.relative_to(rig.trash)) for path in files}


def test_three_makes_are_archived_under_one_layout_with_their_snapshots(makes: Rig) -> None:
    uploads = upload_all(makes)
    assert results(makes.run_inside()) == [Result.TRANSCODED] * 3
    assert_all_archived(makes)
    assert archives(makes) == [
        f"{DAY}/192.168.1.64_01_{STAMP}.mp4",
        f"{DAY}/REO_front_{STAMP}.mp4",
        f"{DAY}/garden_AMC01_001_{STAMP}.mp4",
    ]
    assert in_trash(makes) == {upload.path for upload in uploads} | set(makes.snapshots)
    assert makes.run_inside().plan.work == ()


def test_snapshots_of_other_makes_are_archived_under_canonical_names_and_known_again(
    makes: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    makes.config_file.write_text(makes.config_file.read_text() + 'snapshots = "archive"\n')
    uploads = upload_all(makes)
    makes.run_inside()
    assert_snapshots_archived(makes)
    places = [
        f"{DAY}/garden_AMC01_001_{LATER:%Y%m%d%H%M%S}.jpg",
        f"{DAY}/192.168.1.64_01_{LATER:%Y%m%d%H%M%S}.jpg",
        f"{DAY}/REO_front_{STAMP}.jpg",
    ]
    assert sorted(str(path.relative_to(makes.archive)) for path in makes.archive.rglob("*.jpg")) == sorted(places)
    makes.forget()
    makes.run_inside()
    beside = [[snapshot.disposed_to for snapshot in makes.row(upload).snapshots] for upload in uploads]
    assert beside == [[Place(Tree.ARCHIVE, PurePosixPath(place))] for place in places]
    capsys.readouterr()
    assert run_command_line(["check", *makes.options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [finding for finding in found if finding["tree"] == "archive"] == []


def test_snapshot_that_names_no_longer_fit_is_archived_under_the_name_of_its_clip(makes: Rig) -> None:
    makes.config_file.write_text(makes.config_file.read_text() + 'snapshots = "archive"\n')
    upload = makes.upload("a", DAHUA)
    upload_picture(makes, "a", DAHUA_PICTURE)
    makes.keep(upload)
    makes.run_inside()
    (makes.camera / DAHUA).with_suffix(".keep").unlink()
    makes.run_inside(names=[f".+/(?P<camera>AMC01)/(?P<date>.+)/001/dav/{START:%H}/(?P<time>.{{8}})-.+"])
    assert_snapshots_archived(makes)
    assert [path.name for path in makes.archive.rglob("*.jpg")] == [f"garden_AMC01_001_{STAMP}.jpg"]


def test_other_makes_are_adopted_when_the_catalog_is_lost(makes: Rig) -> None:
    uploads = upload_all(makes)
    for upload in uploads:
        makes.keep(upload)
    makes.run_inside()
    stood = archives(makes)
    makes.forget()
    assert results(makes.run_inside()) == [Result.ADOPTED] * 3
    assert archives(makes) == stood
    assert [makes.row(upload).state for upload in uploads] == [State.ARCHIVED] * 3


def test_source_that_was_set_aside_is_put_back_under_the_name_of_its_make(makes: Rig) -> None:
    upload = makes.upload("a", DAHUA)
    makes.run_until_killed("set_aside:after")
    assert not (makes.camera / DAHUA).exists()
    makes.run_inside()
    assert_all_archived(makes)
    assert makes.row(upload).disposed_to == DAHUA


def test_two_clips_of_one_camera_and_second_get_two_archives(makes: Rig) -> None:
    makes.upload("a", DAHUA)
    makes.upload("b", DAHUA.with_name(DAHUA.name.replace("[M]", "[A]")))
    assert results(makes.run_inside()) == [Result.TRANSCODED] * 2
    assert archives(makes) == [f"{DAY}/garden_AMC01_001_{STAMP}.mp4", f"{DAY}/garden_AMC01_001_{STAMP}~2.mp4"]
    assert_all_archived(makes)


def test_names_that_are_taken_away_leave_their_recordings_waiting(makes: Rig) -> None:
    upload = makes.upload("a", DAHUA)
    makes.fake_ffmpeg("if transcoding: sys.exit(1)")
    makes.run_inside()
    makes.fake_ffmpeg()
    makes.run_inside(names=["reolink"])
    assert makes.row(upload).state is State.WAITING
    assert results(makes.run_inside()) == [Result.TRANSCODED]
    assert_all_archived(makes)


def test_recording_of_another_make_that_vanishes_is_noted_as_gone(makes: Rig) -> None:
    upload = makes.upload("a", DAHUA)
    makes.fake_ffmpeg("if transcoding: sys.exit(1)")
    makes.run_inside()
    (makes.camera / DAHUA).rename(makes.base / "taken away.mp4")
    makes.run_inside()
    assert makes.row(upload).state is State.GONE


def test_clip_of_another_make_is_protected_in_every_tree(makes: Rig) -> None:
    makes.config_file.write_text(makes.config_file.read_text().replace(', "reolink"', ""))
    makes.upload("a", DAHUA)
    makes.upload("b", HIKVISION)
    options = ("--config", str(makes.config_file), "--directory", str(makes.camera))
    assert run_command_line(["protect", *options, str(makes.camera / DAHUA)]) == 0
    makes.run_inside()
    assert (makes.camera / DAHUA).is_file()
    archive = makes.archive / f"{DAY}/192.168.1.64_01_{STAMP}.mp4"
    for path in (archive, makes.trash / HIKVISION):
        assert run_command_line(["protect", *options, str(path)]) == 0
        assert path.with_suffix(".keep").is_file()


# ---- discover


def discover(rig: Rig, *arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = run_command_line(["discover", str(rig.camera), "--config", str(rig.config_file), *map(str, arguments)])
    return code, capsys.readouterr().out


def test_discover_lists_the_recordings_and_what_is_left_alone(makes: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    upload_all(makes)
    (makes.camera / DAHUA).with_suffix(".keep").touch()
    code, out = discover(makes, "--json", capsys=capsys)
    told = json.loads(out)
    assert code == 0
    assert {(one["path"], one["camera"], one["protected"], tuple(one["snapshots"])) for one in told["recordings"]} == {
        (str(DAHUA), "garden_AMC01_001", True, (str(DAHUA_PICTURE),)),
        (str(HIKVISION), "192.168.1.64_01", False, (str(HIKVISION_PICTURE),)),
        (str(makes.path()), "front", False, (str(makes.path().with_suffix(".jpg")),)),
    }
    assert told["ignored"] == {"foreign name": 3, "symlink": 2}
    code, out = discover(makes, capsys=capsys)
    assert code == 0
    assert f"{START:%Y-%m-%d %H:%M:%S}   garden_AMC01_001   " in out
    assert "Recordings: 3 of 3 cameras, " in out
    assert "Left alone, symlink: 2\n" in out


def test_discover_needs_no_ffmpeg_and_writes_nothing(makes: Rig) -> None:
    upload_all(makes)
    before = standing(makes.base)
    arguments = ("discover", makes.camera, "--json")
    told = archiverd(*arguments, config=makes.config_file, PATH=str(makes.programs))
    assert (told.code, len(told.json["recordings"]), told.err) == (0, 3, "")
    explained = archiverd(*arguments, "--explain", makes.camera / DAHUA, config=makes.config_file, PATH="")
    assert (explained.code, explained.json["answer"]) == (0, "recording")
    assert standing(makes.base) == before


@pytest.mark.parametrize(
    ("where", "code", "words"),
    [
        (str(DAHUA), 0, "+ its path says: camera garden_AMC01_001, taken at "),
        (str(DAHUA), 0, "+ is whole, quiet, and nobody is seen to write it: a run takes it"),
        (str(DAHUA_PICTURE), 0, f"+ belongs to {DAHUA}, and goes with it"),
        (str(HIKVISION_PICTURE), 0, "= It is a snapshot."),
        ("orphan", 0, "is an orphan: no recording of other_001 began within 60 s"),
        ("cut", 0, "a run quarantines it, and it stays where it is: not a whole clip: "),
        ("kept", 0, "is protected by "),
        ("keep", 1, f"- is named as the file that protects {DAY}/REO_kept_{STAMP}.mp4"),
        ("symlink", 1, "- is a symlink, and none is followed"),
        ("behind", 1, "- 2020 is a symlink, and none is followed below the root"),
        ("FIFO", 1, "- is a FIFO, socket or device"),
        (DAY, 1, "is a directory in which recordings may stand"),
        ("nothing", 1, "= It would be a recording."),
        ("foreign", 1, 'reolink: component 4, "notes.txt", does not end in .mp4 or .jpg'),
        ("archive", 1, "- lies in the archive tree, which is never a source, also inside the source tree"),
        ("state", 1, "- lies in the directory of the catalog, which is never a source"),
        ("outside", 1, "- lies outside the source tree "),
        ("relative", 0, "= It is a recording."),
        ("linked", 0, "is reached through a symlink; without it: "),
    ],
)
def test_explain_tells_what_a_path_is(
    makes: Rig, where: str, code: int, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_all(makes)
    day = makes.camera / DAY
    places = {
        "orphan": makes.camera / str(DAHUA_PICTURE).replace("garden/AMC01", "other"),
        "cut": day / f"REO_cut_{STAMP}.mp4",
        "kept": day / f"REO_kept_{STAMP}.mp4",
        "keep": day / f"REO_kept_{STAMP}.keep",
        "symlink": day / makes.path(59).name,
        "behind": makes.camera / "2020/01/01/REO_front_20200101100000.mp4",
        "FIFO": day / f"REO_pipe_{STAMP}.mp4",
        "nothing": day / f"REO_nothing_{STAMP}.mp4",
        "foreign": day / "notes.txt",
        "archive": makes.archive / makes.path(),
        "state": makes.state / "catalog.sqlite",
        "outside": makes.base / "outside",
        "relative": Path(os.path.relpath(makes.camera / DAHUA, makes.base)),
        "linked": makes.base / "link" / DAHUA,
    }
    upload_picture(makes, "a", PurePosixPath(places["orphan"].relative_to(makes.camera)))
    for name in ("cut", "kept"):
        makes.upload("c", PurePosixPath(places[name].relative_to(makes.camera)))
    os.truncate(places["cut"], 1000)
    os.utime(places["cut"], (START.timestamp(), START.timestamp()))
    places["keep"].touch()
    os.mkfifo(places["FIFO"])
    (makes.base / "link").symlink_to(makes.camera)
    monkeypatch.chdir(makes.base)
    got, out = discover(makes, "--explain", places.get(where, makes.camera / where), capsys=capsys)
    assert got == code
    assert any(line.strip().startswith(words) for line in out.splitlines()), out
