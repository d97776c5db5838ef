"""What a scan finds in real directories, and what it leaves alone."""

from __future__ import annotations

import gc
import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path, PurePosixPath

import pytest

from archiverd.errors import StartupError
from archiverd.policy.model import ClipName, Discovery, Fingerprint, FoundFile, Listing, Tree
from archiverd.policy.name_patterns import CANONICAL, NamePatterns, compile_names
from archiverd.policy.naming import keep_name
from archiverd.storage.discovery import FileDiscovery, Ignored

NOW = datetime(2026, 7, 2, 8, 0, 0).timestamp()
WRITTEN = datetime(2026, 7, 1, 12, 1, 0).timestamp()
DAY = "2026/07/01"
CLIP = f"{DAY}/REO_Front_20260701120000.mp4"
PART = ".archiverd-1f2e3d4c-42.part"
GONE = ".archiverd-43.gone"


def discovery(root: Path, *exclude: Path, names: NamePatterns = CANONICAL) -> FileDiscovery:
    return FileDiscovery(root, names=names, exclude=exclude, snapshot_window_s=60.0, now=lambda: NOW)


def scan(root: Path, *exclude: Path, names: NamePatterns = CANONICAL) -> Discovery:
    return discovery(root, *exclude, names=names).scan()


def put(root: Path, path: str, content: bytes = b"film") -> Path:
    where = root / path
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_bytes(content)
    os.utime(where, (WRITTEN, WRITTEN))
    return where


def clips(found: Discovery) -> list[str]:
    return [str(recording.clip.path) for recording in found.recordings]


def make_fifo(where: Path) -> None:
    os.mkfifo(where)


def make_socket(where: Path) -> None:
    parent = os.open(where.parent, os.O_PATH)  # a socket's own path may not be longer than 108 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{parent}/{where.name}")
    os.close(parent)


def make_device(where: Path) -> None:
    """A device node, where this user may make one; a FIFO, which is no file of ours either, where not."""
    try:
        os.mknod(where, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        os.mkfifo(where)


def make_symlink_to_clip(where: Path) -> None:
    where.symlink_to(Path(CLIP).name)


def make_dangling_symlink(where: Path) -> None:
    where.symlink_to("nowhere")


TYPES = [
    pytest.param(make_fifo, Ignored.SPECIAL, id="FIFO"),
    pytest.param(make_socket, Ignored.SPECIAL, id="socket"),
    pytest.param(make_device, Ignored.SPECIAL, id="device"),
    pytest.param(make_symlink_to_clip, Ignored.SYMLINK, id="symlink"),
    pytest.param(make_dangling_symlink, Ignored.SYMLINK, id="dangling symlink"),
    pytest.param(Path.mkdir, Ignored.DIRECTORY, id="directory"),
]


def test_recording_is_found_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    clip = put(tmp_path, CLIP)
    snapshot = put(tmp_path, f"{DAY}/REO_Front_20260701120007.jpg")
    (recording,) = scan(tmp_path).recordings
    assert recording.clip.path == PurePosixPath(CLIP)
    assert recording.clip.name == ClipName("Front", datetime(2026, 7, 1, 12, 0, 0))
    assert recording.clip.fingerprint == Fingerprint.of(clip.stat())
    assert [file.path for file in recording.snapshots] == [PurePosixPath(f"{DAY}/{snapshot.name}")]
    assert recording.snapshots[0].fingerprint == Fingerprint.of(snapshot.stat())
    assert not recording.protected
    assert recording.doubts == ()


def test_recordings_come_by_time_and_then_by_path(tmp_path: Path) -> None:
    paths = [
        "2026/06/30/b_20260630235959.mp4",
        "2026/06/30/z_20260701000000.mp4",
        f"{DAY}/a_20260701000000.mp4",
        f"{DAY}/b_20260701000000.mp4",
        "2025/01/01/a_20260701000001.mp4",
    ]
    for path in reversed(paths):
        put(tmp_path, path)
    assert clips(scan(tmp_path)) == paths


def test_snapshot_without_recording_is_an_orphan(tmp_path: Path) -> None:
    put(tmp_path, CLIP)
    put(tmp_path, f"{DAY}/REO_Back_20260701120000.jpg")
    found = scan(tmp_path)
    assert [str(file.path) for file in found.orphans] == [f"{DAY}/REO_Back_20260701120000.jpg"]
    assert found.recordings[0].snapshots == ()


def test_snapshot_is_paired_across_midnight(tmp_path: Path) -> None:
    put(tmp_path, "2026/06/30/x_20260630235958.mp4")
    put(tmp_path, f"{DAY}/x_20260701000003.jpg")
    assert [str(file.path) for file in scan(tmp_path).recordings[0].snapshots] == [f"{DAY}/x_20260701000003.jpg"]


@pytest.mark.parametrize(
    ("keep", "protected"),
    [
        (f"{DAY}/REO_Front_20260701120000.keep", True),
        (f"{DAY}/REO_Front_20260701120000.KEEP", True),
        (f"{DAY}/REO_Front_20260701120000~2.keep", False),
        (f"{DAY}/REO_Back_20260701120000.keep", False),
        ("2026/07/02/REO_Front_20260701120000.keep", False),
        (f"{DAY}/.keep", False),
    ],
)
def test_keep_protects_the_clip_it_stands_beside(tmp_path: Path, keep: str, protected: bool) -> None:
    put(tmp_path, CLIP)
    put(tmp_path, keep, b"")
    assert scan(tmp_path).recordings[0].protected is protected


def test_keep_of_the_longest_name_protects(tmp_path: Path) -> None:
    put(tmp_path, f"{DAY}/" + "x" * 236 + "_20260701120000.mp4")
    put(tmp_path, f"{DAY}/" + "x" * 235 + "_20260701120000.keep")
    assert scan(tmp_path).recordings[0].protected


def test_keep_that_is_a_dangling_symlink_protects(tmp_path: Path) -> None:
    put(tmp_path, CLIP)
    (tmp_path / CLIP).with_suffix(".keep").symlink_to("nowhere")
    assert scan(tmp_path).recordings[0].protected


def test_keep_is_not_counted_as_foreign(tmp_path: Path) -> None:
    put(tmp_path, f"{DAY}/REO_Front_20260701120000.keep", b"")
    assert scan(tmp_path).ignored == {}


def test_doubtful_time_is_told(tmp_path: Path) -> None:
    put(tmp_path, "1970/01/01/x_19700101000000.mp4")
    (recording,) = scan(tmp_path).recordings
    assert "before 2005" in recording.doubts[0]


@pytest.mark.parametrize(
    "filename",
    [
        "two\nlines_20260701120000.mp4",
        "-rf_20260701120000.mp4",
        "\x1b[2J_20260701120000.mp4",
        os.fsdecode(b"caf\xe9_20260701120000.mp4"),
        "カメラ 前_01_20260701120000.mp4",
        "x" * 236 + "_20260701120000.mp4",
        ". ._20260701120000.mp4",
    ],
)
def test_odd_name_survives(tmp_path: Path, filename: str) -> None:
    put(tmp_path, f"{DAY}/{filename}")
    (recording,) = scan(tmp_path).recordings
    assert os.fsencode(recording.clip.path) == os.fsencode(f"{DAY}/{filename}")
    assert (tmp_path / recording.clip.path).read_bytes() == b"film"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (f"{DAY}/Thumbs.db", Ignored.FOREIGN),
        (f"{DAY}/test.mp4", Ignored.FOREIGN),
        (f"{DAY}/REO_Front_20260701120000.mp4.part", Ignored.FOREIGN),
        (f"{DAY}/.archiverd-root", Ignored.FOREIGN),
        (f"{DAY}/x_20260231120000.mp4", Ignored.IMPOSSIBLE),
        (f"{DAY}/x_20260701250000.jpg", Ignored.IMPOSSIBLE),
        ("x_20260701120000.mp4", Ignored.OUTSIDE),
        ("2026/x_20260701120000.mp4", Ignored.OUTSIDE),
        ("2026/07/x_20260701120000.mp4", Ignored.OUTSIDE),
        ("2026/07/02", Ignored.OUTSIDE),
        ("2026/.archiverd-root", Ignored.OUTSIDE),
        ("other/x_20260701120000.mp4", Ignored.OTHER_DIRECTORY),
        ("2026/7/1/x_20260701120000.mp4", Ignored.OTHER_DIRECTORY),
        ("2026/13/01/x_20260701120000.mp4", Ignored.OTHER_DIRECTORY),
        ("2026/02/31/x_20260231120000.mp4", Ignored.OTHER_DIRECTORY),
        ("20260/07/01/x_20260701120000.mp4", Ignored.OTHER_DIRECTORY),
        ("2026/archived/x_20260701120000.mp4", Ignored.OTHER_DIRECTORY),
        (f"{DAY}/REO_Front_20260701120001.mp4/x_20260701120000.mp4", Ignored.DIRECTORY),
        (f"{DAY}/more/x_20260701120000.mp4", Ignored.DIRECTORY),
    ],
)
def test_what_is_not_ours_is_left_alone_and_counted(tmp_path: Path, path: str, reason: Ignored) -> None:
    put(tmp_path, CLIP)
    put(tmp_path, path)
    found = scan(tmp_path)
    assert (clips(found), dict(found.ignored)) == ([CLIP], {reason: 1})


@pytest.mark.parametrize("filename", ["REO_Front_20260701120001.mp4", "Thumbs.db", ".archiverd-1f-42.part"])
@pytest.mark.parametrize(("make", "reason"), TYPES)
def test_other_type_is_left_alone_whatever_its_name(
    tmp_path: Path, make: object, reason: Ignored, filename: str
) -> None:
    put(tmp_path, CLIP)
    make(tmp_path / DAY / filename)  # type: ignore[operator]  # one of the makers above
    found = scan(tmp_path)
    assert (clips(found), found.leftovers, dict(found.ignored)) == ([CLIP], (), {reason: 1})


@pytest.mark.parametrize("link", ["2027", "2026/08", "2026/07/02"])
def test_symlinked_directory_is_never_entered(tmp_path: Path, link: str) -> None:
    root = tmp_path / "camera"
    put(root, CLIP)
    outside = tmp_path / "outside"
    for path in ("x_20260701120000.mp4", "02/x_20260701120000.mp4", "08/02/x_20260701120000.mp4"):
        put(outside, path)
    (root / link).symlink_to(outside)
    found = scan(root)
    assert (clips(found), dict(found.ignored)) == ([CLIP], {Ignored.SYMLINK: 1})


def test_root_may_be_reached_through_a_symlink(tmp_path: Path) -> None:
    put(tmp_path / "disk", CLIP)
    (tmp_path / "camera").symlink_to("disk")
    assert clips(scan(tmp_path / "camera")) == [CLIP]


@contextmanager
def beside(script: str, *arguments: Path) -> Iterator[None]:
    """A Python script that goes on beside the test, from its first line of output on."""
    argv = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"begun\n"
            yield
            assert process.poll() is None  # it has not come to grief
        finally:
            process.kill()


SWAP = """
import os, sys
month, aside, link = sys.argv[1:]
print("begun", flush=True)
while True:
    os.rename(month, aside)
    os.rename(link, month)
    os.rename(month, link)
    os.rename(aside, month)
"""


def test_directory_swapped_for_a_symlink_leads_nowhere(tmp_path: Path) -> None:
    """A parent alternates between a directory and a symlink out of the tree while it is scanned."""
    root = tmp_path / "camera"
    put(root, CLIP)
    put(tmp_path, "outside/01/secret_20260701120000.mp4")
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    seen: set[str] = set()
    caught = 0
    blind: set[bool] = set()
    deadline = time.monotonic() + 60
    with beside(SWAP, root / "2026/07", tmp_path / "aside", tmp_path / "link"):
        while caught < 5 and time.monotonic() < deadline:
            found = scan(root)
            seen.update(clips(found))
            caught += found.ignored.get(Ignored.REPLACED, 0)
            blind |= {found.incomplete} if Ignored.REPLACED in found.ignored else set()
    assert caught >= 5  # it was a symlink when it was about to be opened
    assert seen <= {CLIP}
    assert blind == {True}


COME_AND_GO = """
import os, sys
day, other = sys.argv[1:]
names = [f"{day}/x_20260701{minute:04}00.mp4" for minute in range(60)]
print("begun", flush=True)
while True:
    os.mkdir(other)
    for name in names:
        os.close(os.open(name, os.O_CREAT))
    os.rmdir(other)
    for name in names:
        os.unlink(name)
"""


def test_what_vanishes_meanwhile_is_passed_over(tmp_path: Path) -> None:
    """Files and directories come and go while the tree is scanned; one stays, and is found each time."""
    put(tmp_path, CLIP)
    counts: set[int] = set()
    scans = 0
    deadline = time.monotonic() + 60
    with beside(COME_AND_GO, tmp_path / DAY, tmp_path / "2026/07/02"):
        while (len(counts) < 10 or scans < 1000) and time.monotonic() < deadline:
            found = scan(tmp_path)
            assert CLIP in clips(found)
            assert found.ignored == {}
            counts.add(len(found.recordings))
            scans += 1
    assert len(counts) >= 10  # the scans did meet the coming and going


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("exists", [True, False])
def test_garbage_collection_is_left_as_it_was(tmp_path: Path, running: bool, exists: bool) -> None:
    (gc.enable if running else gc.disable)()
    try:
        with nullcontext() if exists else pytest.raises(StartupError):
            scan(tmp_path if exists else tmp_path / "missing")
        assert gc.isenabled() is running
    finally:
        gc.enable()


# ---- other makes, and patterns of one's own

MAKES = compile_names(("dahua", "hikvision", "reolink"))
DAHUA_HOUR = "garden/AMC01/2026-07-01/001/dav/12"
DAHUA_CLIP = f"{DAHUA_HOUR}/12.00.00-12.00.30[M][0@0][0].mp4"
DAHUA_PICTURE = "garden/AMC01/2026-07-01/001/jpg/12/00/05[M][0@0][0].jpg"
HIKVISION_CLIP = "NVR/Camera 01/192.168.1.64_01_20260701120000383_MOTION_DETECTION.mp4"
HIKVISION_PICTURE = "NVR/Camera 01/192.168.1.64_01_20260701120003120_MOTION_DETECTION.jpg"


def test_three_makes_in_one_tree_are_found_with_their_snapshots(tmp_path: Path) -> None:
    for path in (CLIP, f"{DAY}/REO_Front_20260701120002.jpg", DAHUA_CLIP, DAHUA_PICTURE, HIKVISION_CLIP):
        put(tmp_path, path)
    put(tmp_path, HIKVISION_PICTURE)
    found = scan(tmp_path, names=MAKES)
    told = [
        (str(one.clip.path), one.clip.name.camera, [str(snapshot.path) for snapshot in one.snapshots], one.doubts)
        for one in found.recordings
    ]
    assert told == [
        (CLIP, "Front", [f"{DAY}/REO_Front_20260701120002.jpg"], ()),
        (HIKVISION_CLIP, "192.168.1.64_01", [HIKVISION_PICTURE], ()),
        (DAHUA_CLIP, "garden_AMC01_001", [DAHUA_PICTURE], ()),
    ]
    assert {one.clip.name.taken_at for one in found.recordings} == {datetime(2026, 7, 1, 12)}
    assert (dict(found.ignored), found.orphans, found.incomplete) == ({}, (), False)


def test_other_makes_are_left_alone_where_they_are_not_named(tmp_path: Path) -> None:
    for path in (CLIP, DAHUA_CLIP, HIKVISION_CLIP, "10.0.0.5_01_20260701120000383_TIMING.jpg"):
        put(tmp_path, path)
    found = scan(tmp_path)
    assert (clips(found), dict(found.ignored)) == ([CLIP], {Ignored.OTHER_DIRECTORY: 2, Ignored.OUTSIDE: 1})


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (f"{DAHUA_HOUR}/12.00.00-12.00.30[M][0@0][0].idx", Ignored.FOREIGN),
        (f"{DAHUA_HOUR}/12.00.31-12.00.40[M][0@0][0].mp4_", Ignored.FOREIGN),
        (f"{DAHUA_HOUR}/12.00.61-12.00.40[M][0@0][0].mp4", Ignored.IMPOSSIBLE),
        (f"{DAHUA_HOUR}/more/x.mp4", Ignored.DIRECTORY),
        ("garden/AMC01/2026-07-01/001/x.mp4", Ignored.OUTSIDE),
        ("garden/AMC01/2026-07-01/001/idx/x.mp4", Ignored.OTHER_DIRECTORY),
        ("garden/AMC01/2026-02-30/001/dav/12/12.00.00-12.00.30[M][0@0][0].mp4", Ignored.OTHER_DIRECTORY),
        ("garden/AMC01/DVRWorkDirectory", Ignored.FOREIGN),  # recorders' exports may stand there
        (".Trash-0/AMC01/2026-07-01/001/dav/12/12.00.00-12.00.30[M][0@0][0].mp4", Ignored.OTHER_DIRECTORY),
        ("lost+found/2026-07-01/001/dav/12/12.00.00-12.00.30[M][0@0][0].mp4", Ignored.OTHER_DIRECTORY),
    ],
)
def test_what_is_not_of_the_make_is_left_alone_and_counted(tmp_path: Path, path: str, reason: Ignored) -> None:
    put(tmp_path, DAHUA_CLIP)
    put(tmp_path, path)
    found = scan(tmp_path, names=compile_names(("dahua",)))
    assert (clips(found), dict(found.ignored)) == ([DAHUA_CLIP], {reason: 1})


def test_trees_of_ours_are_no_directories_of_a_camera(tmp_path: Path) -> None:
    for tree in ("archived", ".deleted", ".archiverd", "elsewhere"):
        put(tmp_path, f"{tree}/2026-07-01/001/dav/12/12.00.00-12.00.30[M][0@0][0].mp4")
    found = scan(tmp_path, tmp_path / "elsewhere", names=MAKES)
    assert (clips(found), dict(found.ignored)) == ([], {})


@pytest.mark.parametrize("keep", ["12.00.00-12.00.30[M][0@0][0].keep", "12.00.00-12.00.30[M][0@0][0].KEEP"])
def test_keep_protects_a_clip_of_any_make(tmp_path: Path, keep: str) -> None:
    put(tmp_path, DAHUA_CLIP)
    put(tmp_path, f"{DAHUA_HOUR}/{keep}", b"")
    found = scan(tmp_path, names=MAKES)
    assert (found.recordings[0].protected, dict(found.ignored)) == (True, {})


def test_keep_that_was_shortened_protects_though_its_stem_fits_no_pattern(tmp_path: Path) -> None:
    names = compile_names((r"(?P<stamp>\d{14})_(?P<camera>x+)_end",))
    clip = PurePosixPath(f"20260701120000_{'x' * 232}_end.mp4")
    put(tmp_path, str(clip))
    put(tmp_path, keep_name(clip.name), b"")
    assert len(clip.name) == 255
    assert scan(tmp_path, names=names).recordings[0].protected


def test_directory_that_holds_files_and_directories_is_read_and_gone_down(tmp_path: Path) -> None:
    names = compile_names((r"(?P<camera>.+)_(?P<stamp>\d{14})", r"(?P<camera>.+)/(?P<stamp>\d{14})"))
    paths = ["a/20260701120000.mp4", "b_20260701120001.mp4", "c/20260701120002.mp4"]
    for path in (*paths, "c/more/20260701120003.mp4", "notes.txt"):
        put(tmp_path, path)
    found = scan(tmp_path, names=names)
    assert (clips(found), dict(found.ignored)) == (paths, {Ignored.DIRECTORY: 1, Ignored.FOREIGN: 1})


def test_leftovers_are_listed_in_the_directories_of_every_make(tmp_path: Path) -> None:
    for path in (f"{DAHUA_HOUR}/{GONE}", f"NVR/{GONE}", GONE, f"garden/AMC01/2026-07-01/001/{GONE}", f"{DAY}/{GONE}"):
        put(tmp_path, path)
    expected = (GONE, f"{DAY}/{GONE}", f"NVR/{GONE}", f"{DAHUA_HOUR}/{GONE}")
    found = discovery(tmp_path, names=MAKES)
    assert found.scan_leftovers() == found.scan().leftovers == tuple(sorted(map(PurePosixPath, expected)))


OWN_AT_TOP = [".archiverd-root", "archiver.log", "archiver.log.1", "archiver.log.2.gz"]
OWN_DIRECTORIES = [".archiverd", "archived", ".deleted"]


@pytest.mark.parametrize("filename", OWN_AT_TOP)
def test_own_file_at_the_top_is_not_foreign(tmp_path: Path, filename: str) -> None:
    put(tmp_path, filename)
    assert scan(tmp_path).ignored == {}


@pytest.mark.parametrize("name", OWN_DIRECTORIES)
def test_own_directory_at_the_top_is_neither_foreign_nor_a_source(tmp_path: Path, name: str) -> None:
    put(tmp_path, f"{name}/{CLIP}")
    found = scan(tmp_path)
    assert (clips(found), dict(found.ignored)) == ([], {})


@pytest.mark.parametrize("where", ["2020", "2026/08", "2026/07/02", "trash", "2026/trash", f"{DAY}/trash"])
def test_excluded_directory_is_not_entered_and_not_counted(tmp_path: Path, where: str) -> None:
    put(tmp_path, CLIP)
    for below in ("", "01/", "01/01/"):
        put(tmp_path, f"{where}/{below}x_20260701120000.mp4")
    found = scan(tmp_path, tmp_path / where)
    assert (clips(found), dict(found.ignored)) == ([CLIP], {})


def test_excluded_directory_is_known_by_what_it_is(tmp_path: Path) -> None:
    put(tmp_path, "camera/2020/01/01/x_20260701120000.mp4")
    (tmp_path / "trash").symlink_to("camera/2020")
    assert clips(scan(tmp_path / "camera", tmp_path / "trash")) == []


def test_symlink_that_names_an_excluded_directory_is_not_counted(tmp_path: Path) -> None:
    put(tmp_path, f"disk/{CLIP}")
    root = tmp_path / "camera"
    root.mkdir()
    (root / "trash").symlink_to(tmp_path / "disk")
    found = scan(root, root / "trash")
    assert (clips(found), dict(found.ignored)) == ([], {})


def test_root_among_the_excluded_is_scanned(tmp_path: Path) -> None:
    put(tmp_path, CLIP)
    assert clips(scan(tmp_path, tmp_path, tmp_path / "missing")) == [CLIP]


def test_leftovers_are_told_and_not_counted_as_foreign(tmp_path: Path) -> None:
    put(tmp_path, f"{DAY}/{PART}")
    put(tmp_path, f"2026/06/30/{GONE}")
    found = scan(tmp_path)
    assert found.leftovers == (PurePosixPath(f"2026/06/30/{GONE}"), PurePosixPath(f"{DAY}/{PART}"))
    assert (found.recordings, dict(found.ignored)) == ((), {})


@pytest.mark.parametrize(
    "names",
    [
        CANONICAL,
        compile_names(
            (r"(?P<year>\d{4})/.+/.+/(?P<camera>.+)_(?P<stamp>\d{14})", r".+/.+/.+/.+/(?P<camera>.+)_(?P<stamp>\d{14})")
        ),
    ],
)
def test_what_a_removal_has_set_aside_is_a_leftover_and_nothing_in_it_a_clip(
    tmp_path: Path, names: NamePatterns
) -> None:
    """Also where the patterns would take its directory for one of recordings."""
    put(tmp_path, CLIP)
    put(tmp_path, f"{DAY}/{GONE}/REO_Front_20260701120000.mp4")
    found, aside = discovery(tmp_path, names=names), PurePosixPath(f"{DAY}/{GONE}")
    scanned = found.scan()
    assert (clips(scanned), scanned.leftovers, scanned.ignored) == ([CLIP], (aside,), {})
    assert found.scan_leftovers() == (aside,)
    listing = found.listing(PurePosixPath(DAY))
    assert listing is not None
    assert ([str(clip.path) for clip in listing.clips], listing.below) == ([CLIP], ())
    within = found.listing(aside)
    assert (within and within.clips, found.look([aside / "REO_Front_20260701120000.mp4"]).clips) == ((), ())


@pytest.mark.parametrize("make", [make_symlink_to_clip, make_fifo])
def test_what_only_bears_the_name_of_a_removal_is_no_leftover(tmp_path: Path, make: Callable[[Path], object]) -> None:
    put(tmp_path, CLIP)
    make(tmp_path / DAY / GONE)
    assert discovery(tmp_path).scan_leftovers() == scan(tmp_path).leftovers == ()


@pytest.mark.parametrize(
    ("path", "listed"),
    [
        (f"{DAY}/{PART}", True),
        (f"{DAY}/{GONE}", True),
        (f"archived/{DAY}/{PART}", True),
        (f"archived/{DAY}/{GONE}", True),
        (f"archived/{PART}", False),
        (f"any/{DAY}/{GONE}", False),
        (f"2026/{PART}", False),
        (PART, False),
        (f"a/b/{DAY}/{PART}", False),
        (f"2020/{DAY}/{PART}", False),
        (f"excluded/{DAY}/{PART}", False),
        (f"{DAY}/REO_Front_20260701120000.part", False),
        (f"{DAY}/{PART}/directory", False),
    ],
)
def test_leftovers_in_the_trash_are_listed_also_among_retired_archives(tmp_path: Path, path: str, listed: bool) -> None:
    put(tmp_path, CLIP)
    put(tmp_path, path)
    found = discovery(tmp_path, tmp_path / "excluded", names=CANONICAL.in_tree(Tree.TRASH)).scan_leftovers()
    assert found == ((PurePosixPath(path),) if listed else ())


def test_leftovers_are_not_looked_for_through_symlinks(tmp_path: Path) -> None:
    put(tmp_path, f"outside/{DAY}/{PART}")
    root = tmp_path / "camera"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    assert discovery(root).scan_leftovers() == ()


def test_missing_root_is_a_startup_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="camera: No such file") as caught:
        scan(tmp_path / "camera")
    assert caught.value.advice


def test_root_that_is_a_file_is_a_startup_error_that_names_it(tmp_path: Path) -> None:
    put(tmp_path, "camera")
    with pytest.raises(StartupError, match="camera: Not a directory"):
        discovery(tmp_path / "camera").scan_leftovers()


def test_empty_root_is_no_error(tmp_path: Path) -> None:
    assert scan(tmp_path) == Discovery((), (), {}, ())


def test_nothing_is_changed_and_no_descriptor_is_left(tmp_path: Path) -> None:
    put(tmp_path, CLIP)
    put(tmp_path, f"{DAY}/{PART}")
    before = (sorted(map(str, tmp_path.rglob("*"))), os.listdir("/proc/self/fd"))
    scan(tmp_path)
    discovery(tmp_path).scan_leftovers()
    assert (sorted(map(str, tmp_path.rglob("*"))), os.listdir("/proc/self/fd")) == before


SCAN = """
import json, logging, sys
from pathlib import Path
from archiverd.errors import StartupError
from archiverd.storage.discovery import FileDiscovery
root, closing, modes = Path(sys.argv[1]), Path(sys.argv[2]), [int(mode, 8) for mode in sys.argv[3:]]
logging.basicConfig(format="%(levelname)s %(message)s")
discovery = FileDiscovery(root, snapshot_window_s=60, now=lambda: 1782979200.0)
try:
    for mode in modes:
        closing.chmod(mode)
        found = discovery.scan()
    discovery.scan_leftovers()
except StartupError as error:
    sys.exit(f"StartupError {error}")
print(json.dumps([[str(one.clip.path) for one in found.recordings], found.ignored, found.incomplete]))
"""


def scan_elsewhere(*before: str, root: Path, closing: str, modes: list[str]) -> subprocess.CompletedProcess[str]:
    """Scan in a process of its own, begun by the command `before`: once with each of the modes of `closing`."""
    argv = [*before, sys.executable, "-c", SCAN, str(root), str(root / closing), *modes]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


# Permissions do not hold root up: it scans without its capabilities. Anybody else has none to begin with.
UNPRIVILEGED = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []


@pytest.fixture
def three_days(tmp_path: Path) -> Iterator[Path]:
    """A tree of three days, of which a test may close what it likes: it is opened again at the end."""
    for day in ("2026/06/30", DAY, "2026/07/02"):
        put(tmp_path, f"{day}/x_20260701120000.mp4")
        put(tmp_path, f"{day}/x_20260701120001.mp4")
    yield tmp_path
    for directory in (tmp_path, tmp_path / "2026", tmp_path / "2026/07", tmp_path / DAY):
        directory.chmod(0o700)


@pytest.mark.parametrize(
    ("where", "mode", "left"),
    [
        (DAY, "000", ["2026/06/30", "2026/07/02"]),
        (DAY, "400", ["2026/06/30", "2026/07/02"]),  # may be listed, not searched
        ("2026/07", "000", ["2026/06/30"]),
        ("2026", "000", []),
    ],
)
def test_unreadable_directory_is_counted_once_and_the_rest_is_found(
    three_days: Path, where: str, mode: str, left: list[str]
) -> None:
    done = scan_elsewhere(*UNPRIVILEGED, root=three_days, closing=where, modes=[mode])
    found, ignored, incomplete = json.loads(done.stdout)
    assert sorted({str(PurePosixPath(path).parent) for path in found}) == left
    assert (ignored, incomplete) == ({"unreadable directory": 1}, True)


@pytest.mark.parametrize(
    ("modes", "warnings"),
    [(["000"], 1), (["400"], 1), (["000", "000", "000"], 1), (["000", "700", "000"], 2), (["000", "700"], 1)],
)
def test_unreadable_directory_is_logged_with_its_path_once_while_it_lasts(
    three_days: Path, modes: list[str], warnings: int
) -> None:
    done = scan_elsewhere(*UNPRIVILEGED, root=three_days, closing=DAY, modes=modes)
    assert done.stderr == f"WARNING cannot read {three_days / DAY}: Permission denied; left alone\n" * warnings


def test_unreadable_directory_of_others_at_the_top_is_no_warning(tmp_path: Path) -> None:
    put(tmp_path, CLIP)
    (tmp_path / "lost+found").mkdir()
    done = scan_elsewhere(*UNPRIVILEGED, root=tmp_path, closing="lost+found", modes=["000"])
    assert json.loads(done.stdout) == [[CLIP], {"directory of something else": 1}, False]
    assert done.stderr == ""


def test_unreadable_root_is_a_startup_error(three_days: Path) -> None:
    done = scan_elsewhere(*UNPRIVILEGED, root=three_days, closing="", modes=["000"])
    assert done.stderr.startswith(f"StartupError cannot read the directory {three_days}: Permission denied. Check")


def test_date_directory_on_another_mount_is_scanned(tmp_path: Path) -> None:
    put(tmp_path, CLIP)
    day = tmp_path / "2026/07/02"
    day.mkdir()
    script = 'mount -t tmpfs none "$0" && : > "$0/x_20260702120000.mp4" && exec "$@"'
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    alone = ["unshare", *rights, "--mount", "sh", "-c", script, str(day)]
    done = scan_elsewhere(*alone, root=tmp_path, closing="", modes=["700"])
    assert json.loads(done.stdout)[0] == [CLIP, "2026/07/02/x_20260702120000.mp4"]
    assert not list(day.iterdir())


# -- one directory, and single paths -----------------------------------------------------------------------


def paths(files: Iterable[FoundFile]) -> list[str]:
    return sorted(str(file.path) for file in files)


def test_listing_tells_all_of_one_directory_and_nothing_of_those_below(tmp_path: Path) -> None:
    clip, snapshot = put(tmp_path, CLIP), put(tmp_path, f"{DAY}/REO_Front_20260701120007.jpg")
    put(tmp_path, f"{DAY}/REO_Front_20260701120000.keep")
    put(tmp_path, f"{DAY}/notes.txt")
    put(tmp_path, "2026/07/02/REO_Front_20260702120000.mp4")
    os.utime(tmp_path / DAY, ns=(5, 5))
    listing = discovery(tmp_path).listing(PurePosixPath(DAY))
    assert listing is not None
    assert paths(listing.clips) == [str(clip.relative_to(tmp_path))]
    assert paths(listing.snapshots) == [str(snapshot.relative_to(tmp_path))]
    assert listing.protected == {PurePosixPath(CLIP)}
    assert (listing.modified_ns, listing.complete, listing.below) == (5, True, ())
    above = discovery(tmp_path).listing(PurePosixPath("2026/07"))
    assert above is not None
    assert above.below == ("01", "02")


NOTHING_SAID = Listing(PurePosixPath(DAY), 0, (), (), frozenset(), (), complete=False)


def test_listing_of_a_directory_that_is_not_there_is_none_and_of_one_not_to_be_looked_into_is_empty(
    tmp_path: Path,
) -> None:
    assert discovery(tmp_path).listing(PurePosixPath(DAY)) is None
    assert discovery(tmp_path).modified_ns(PurePosixPath(DAY)) is None
    put(tmp_path, CLIP)
    assert discovery(tmp_path, tmp_path / "2026").listing(PurePosixPath(DAY)) == NOTHING_SAID
    assert discovery(tmp_path, tmp_path / "2026").modified_ns(PurePosixPath(DAY)) == 0
    elsewhere = discovery(tmp_path).listing(PurePosixPath("lost+found"))
    assert elsewhere is not None
    assert not elsewhere.complete
    (tmp_path / DAY).rename(tmp_path / "moved")
    (tmp_path / DAY).symlink_to(tmp_path / "moved")
    assert discovery(tmp_path).listing(PurePosixPath(DAY)) is None


LOOK = """
import logging, sys
from pathlib import Path, PurePosixPath
from archiverd.storage.discovery import FileDiscovery
root, clip = Path(sys.argv[1]), PurePosixPath(sys.argv[2])
logging.basicConfig(format="%(levelname)s %(message)s")
discovery = FileDiscovery(root, snapshot_window_s=60, now=lambda: 1782979200.0)
for mode in sys.argv[3:]:
    (root / clip.parent).chmod(int(mode, 8))
    listing = discovery.listing(clip.parent)
    discovery.listing(clip.parent.parent)
    sighting = discovery.look([clip])
    print(listing.complete, len(listing.clips), len(sighting.clips), len(sighting.missing))
"""


@pytest.mark.parametrize("mode", ["000", "400"])
def test_single_looks_at_what_is_unreadable_say_nothing_of_it_and_warn_once_while_it_lasts(
    three_days: Path, mode: str
) -> None:
    clip = f"{DAY}/x_20260701120000.mp4"
    argv = [*UNPRIVILEGED, sys.executable, "-c", LOOK, str(three_days), clip, mode, mode, "700", mode]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    unseen = "False 0 0 0"
    assert done.stdout.splitlines() == [unseen, unseen, "True 2 1 0", unseen]
    warning = f"WARNING cannot read {three_days / DAY}: Permission denied; left alone\n"
    assert done.stderr == warning * 2


def test_look_tells_what_stands_at_paths_and_what_does_not(tmp_path: Path) -> None:
    put(tmp_path, CLIP)
    snapshot = put(tmp_path, f"{DAY}/REO_Front_20260701120007.jpg")
    put(tmp_path, f"{DAY}/notes.txt")
    fifo, symlink = f"{DAY}/fifo_20260701000000.mp4", f"{DAY}/link_20260701000000.mp4"
    os.mkfifo(tmp_path / fifo)
    (tmp_path / symlink).symlink_to(Path(CLIP).name)
    (tmp_path / "2026/08").symlink_to(tmp_path / "2026/07")
    gone = [f"{DAY}/gone_20260701000000.mp4", "2025/01/01/a_20250101000000.mp4", f"2026/08/01/{Path(CLIP).name}"]
    asked = [
        CLIP,
        str(snapshot.relative_to(tmp_path)),
        f"{DAY}/notes.txt",
        "elsewhere/a_20260701000000.mp4",
        fifo,
        symlink,
    ]
    sighting = discovery(tmp_path).look(map(PurePosixPath, [*asked, *gone]))
    assert paths(sighting.clips) == [CLIP]
    assert sighting.clips[0].fingerprint == Fingerprint.of((tmp_path / CLIP).stat())
    assert paths(sighting.snapshots) == [str(snapshot.relative_to(tmp_path))]
    assert sorted(map(str, sighting.missing)) == sorted([*gone, fifo, symlink])


def test_look_into_directories_finds_all_below_them_once(tmp_path: Path) -> None:
    put(tmp_path, CLIP)
    put(tmp_path, "2026/08/01/b_20260801000000.mp4")
    asked = [PurePosixPath(path) for path in ("2026/07", DAY, "2026/08", "nowhere", "2027")]
    sighting = discovery(tmp_path).look([PurePosixPath(CLIP)], asked)
    assert paths(sighting.clips) == [CLIP, "2026/08/01/b_20260801000000.mp4"]
    assert sighting.missing == ()


def test_pairs_are_those_of_a_whole_scan_across_midnight_and_with_what_went_before(tmp_path: Path) -> None:
    late = put(tmp_path, "2026/06/30/REO_Front_20260630235950.mp4")
    early = put(tmp_path, f"{DAY}/REO_Front_20260701000005.jpg")  # nearer to a clip that is archived already
    other = put(tmp_path, f"{DAY}/REO_Front_20260630235955.jpg")
    put(tmp_path, f"{DAY}/REO_Back_20260630235951.jpg")
    put(tmp_path, f"{DAY}/REO_Front_20260701120000.jpg")
    finder = discovery(tmp_path)
    sighting = finder.look([PurePosixPath(path.relative_to(tmp_path)) for path in (late, early)])
    pairing = finder.pairs(sighting.clips)
    owned = [str(path.relative_to(tmp_path)) for path in (other, early)]
    assert {str(clip): [str(file.path) for file in theirs] for clip, theirs in pairing.by_clip.items()} == {
        str(late.relative_to(tmp_path)): owned
    }
    before = FoundFile.at(
        PurePosixPath(f"{DAY}/REO_Front_20260701000006.mp4"), Fingerprint(1, 1, 1),
        ClipName("Front", datetime(2026, 7, 1, 0, 0, 6)),
    )  # fmt: skip
    assert paths(finder.pairs(sighting.clips, [before]).by_clip[sighting.clips[0].path]) == owned[:1]
    assert list(finder.pairs(sighting.snapshots, [before]).by_clip) == [before.path]
    assert list(finder.pairs(sighting.snapshots).by_clip) == [sighting.clips[0].path]


def test_pairs_read_no_directory_that_leaves_no_room_for_the_moment(tmp_path: Path) -> None:
    clip = put(tmp_path, CLIP)
    put(tmp_path, "2026/06/30/REO_Front_20260701120001.jpg")  # of that moment, in the directory of another
    (found,) = discovery(tmp_path).look([PurePosixPath(clip.relative_to(tmp_path))]).clips
    assert discovery(tmp_path).pairs([found]).by_clip == {}
    beside = put(tmp_path, f"{DAY}/REO_Front_20260701120001.jpg")
    assert paths(discovery(tmp_path).pairs([found]).by_clip[found.path]) == [str(beside.relative_to(tmp_path))]


def test_pairs_read_the_directory_of_a_clip_whatever_its_time(tmp_path: Path) -> None:
    """What a camera sends late may lie with the day it was sent."""
    clip, beside = (put(tmp_path, f"2026/07/09/REO_Front_20260701120000.{ending}") for ending in ("mp4", "jpg"))
    (found,) = discovery(tmp_path).look([PurePosixPath(clip.relative_to(tmp_path))]).clips
    assert paths(discovery(tmp_path).pairs([found]).by_clip[found.path]) == [str(beside.relative_to(tmp_path))]
