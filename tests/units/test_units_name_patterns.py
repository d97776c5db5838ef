"""What paths say by the name patterns: of each make that is shipped, and of an owner's own."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiverd.policy.makes import MAKES
from archiverd.policy.model import ClipName, Tree
from archiverd.policy.name_patterns import CANONICAL, Misfit, NamePatterns, compile_names
from archiverd.policy.naming import FileKind, NotAClip, archive_path, parse_clip_name

NOON = datetime(2026, 7, 1, 12, 0, 0)
STAMP = "20260701120000"
UNDECODABLE = os.fsdecode(b"caf\xe9")
ALL = compile_names(tuple(MAKES))


def parse(names: NamePatterns, path: str) -> ClipName | NotAClip:
    return names.parse(PurePosixPath(path))


# ---- the makes


REOLINK = [
    ("2026/07/01/REO_Front_20260701120000.mp4", "Front", NOON),
    ("2026/07/01/Camera BE_01_20260701120000.jpg", "Camera BE_01", NOON),
    ("2026/06/30/REO_Front_20260701120000.mp4", "Front", NOON),  # the directory is that of the upload
]
HIKVISION = [
    ("192.168.1.64_01_20260701120000383_TIMING.jpg", "192.168.1.64_01", NOON),
    ("10.55.48.12_01_20260701120000101_MOTION_DETECTION.mp4", "10.55.48.12_01", NOON),
    ("10.11.37.189_01_20260701120000492_FACE_DETECTION.jpg", "10.11.37.189_01", NOON),
    ("gg_733804851_20260701120000348_MOTION_DETECTION.jpg", "gg_733804851", NOON),
    ("192.168.1.65_01_20260701120000_LINE_CROSSING.jpg", "192.168.1.65_01", NOON),
    ("192.168.1.64/192.168.1.64_01_20260701120000123_TIMING.jpg", "192.168.1.64_01", NOON),
    ("DVR/Camera 01/192.168.1.64_02_20260701120000123_TIMING.MP4", "192.168.1.64_02", NOON),
]
DAHUA = [
    ("2026-07-01/001/dav/12/12.00.00-12.05.14[M][0@0][0].mp4", "001", NOON),
    ("2026-07-01/001/jpg/12/00/00[M][0@0][0].jpg", "001", NOON),
    ("AMC0028V_795UUB/2026-07-01/001/jpg/12/00/00[M][0@0][0].jpg", "AMC0028V_795UUB_001", NOON),
    ("BackYard/2026-07-01/002/dav/12/12.00.00-12.00.26[R][0@0][0].mp4", "BackYard_002", NOON),
    ("192.168.1.108/2026-07-01/001/dav/12/12.00.00-12.15.00[R][0@0][0].mp4", "192.168.1.108_001", NOON),
    ("192.168.1.108/2026-07-01/001/jpg/12/12.00.00[M][0@0][0].jpg", "192.168.1.108_001", NOON),
    ("Sippe3/2026-07-01/001/jpg/12/00.00[M][0@0][0].jpg", "Sippe3_001", NOON),
    ("cam1/AMC09446207B/2026-07-01/001/dav/12/12.00.00-12.07.27[A][0@0][0].MP4", "cam1_AMC09446207B_001", NOON),
    ("IPC-HDBW5238R-AS/4D027/2026-07-01/pic_001/12/00/00[M][0@0][1].jpg", "IPC-HDBW5238R-AS_4D027_001", NOON),
    ("sd/2026-07-01/001/jpg/12/00/00[M][0@0][0][31736].jpg", "sd_001", NOON),
    ("PorchEast/AMC018M7/2026-07-01/12hour/jpg/12.00.00[M][0@0][0].jpg", "PorchEast_AMC018M7", NOON),
    ("NVR_ch4_main_20260701120000_20260701130000.mp4", "NVR_ch4", NOON),
    ("shop/店_ch1_main_20260701120000_20260701130000.mp4", "店_ch1", NOON),
]


@pytest.mark.parametrize(
    ("make", "path", "camera", "taken_at"),
    [
        *(("reolink", *example) for example in REOLINK),
        *(("hikvision", *example) for example in HIKVISION),
        *(("dahua", *example) for example in DAHUA),
    ],
)
@pytest.mark.parametrize("among_others", [False, True])
def test_name_of_a_make_says_camera_and_time(
    make: str, path: str, camera: str, taken_at: datetime, among_others: bool
) -> None:
    names = ALL if among_others else compile_names((make,))
    assert parse(names, path) == ClipName(camera, taken_at)
    assert names.kind(PurePosixPath(path)) is (FileKind.CLIP if path.lower().endswith("4") else FileKind.SNAPSHOT)


@pytest.mark.parametrize(
    ("make", "path"),
    [
        ("reolink", "REO_Front_20260701120000.mp4"),
        ("reolink", "front/2026/07/01/REO_Front_20260701120000.mp4"),
        ("reolink", "2026/07/01/12/REO_Front_20260701120000.mp4"),
        ("reolink", "2026/02/31/REO_Front_20260701120000.mp4"),
        ("reolink", "2026/07/01/192.168.1.64_01_20260701120000383_TIMING.jpg"),
        ("hikvision", "192.168.1.64_01_20260701120000383.jpg"),  # no event
        ("hikvision", "192.168.1.64_01_2026070112000038_TIMING.jpg"),  # two digits of milliseconds
        ("hikvision", "01_202607011200003831_TIMING.jpg"),
        ("hikvision", "a/b/c/192.168.1.64_01_20260701120000383_TIMING.jpg"),
        ("hikvision", ".Trash-1000/192.168.1.64_01_20260701120000383_TIMING.jpg"),
        ("hikvision", "#recycle/192.168.1.64_01_20260701120000383_TIMING.jpg"),
        ("hikvision", "hiv00001.mp4"),  # the recorder's own blocks
        ("dahua", "cam1/2026-07-01/001/dav/12/12.00.00-12.05.14[M][0@0][0].dav"),
        ("dahua", "cam1/2026-07-01/001/dav/12/12.00.00-12.05.14[M][0@0][0].idx"),
        ("dahua", "cam1/2026-07-01/001/dav/12/12.00.00-12.05.14[M][0@0][0].mp4_"),  # still being written
        ("dahua", "cam1/2026-07-01/001/dav/12/12.00.00-12.05.14.mp4"),
        ("dahua", "cam1/20260701/001/dav/12/12.00.00-12.05.14[M][0@0][0].mp4"),
        ("dahua", "cam1/2026-07-01/1/dav/12/12.00.00-12.05.14[M][0@0][0].mp4"),
        ("dahua", "a/b/c/2026-07-01/001/dav/12/12.00.00-12.05.14[M][0@0][0].mp4"),
        ("dahua", "@eaDir/2026-07-01/001/dav/12/12.00.00-12.05.14[M][0@0][0].mp4"),
        ("dahua", "lost+found/2026-07-01/001/dav/12/12.00.00-12.05.14[M][0@0][0].mp4"),
        ("dahua", "2026-02-31/001/dav/12/12.00.00-12.05.14[M][0@0][0].mp4"),
        ("dahua", "cam1/DVRWorkDirectory"),
    ],
)
def test_other_name_is_none_of_the_makes(make: str, path: str) -> None:
    parsed = parse(compile_names((make,)), path)
    assert isinstance(parsed, NotAClip)
    assert not parsed.impossible_date


@pytest.mark.parametrize(
    ("path", "stamp"),
    [
        ("2026/07/01/x_20260701240000.mp4", "20260701240000"),
        ("c_20260231120000123_TIMING.jpg", "20260231120000"),
        ("cam1/2026-07-01/001/dav/12/12.00.61-12.05.14[M][0@0][0].mp4", "20260701120061"),
    ],
)
def test_impossible_time_of_a_name_is_told(path: str, stamp: str) -> None:
    assert parse(ALL, path) == NotAClip(f"impossible date {stamp}", impossible_date=True)


def test_mark_of_a_taken_name_is_no_part_of_it() -> None:
    path = "cam1/2026-07-01/001/dav/12/12.00.00-12.05.14[M][0@0][0]~3.mp4"
    assert parse(ALL, path) == ClipName("cam1_001", NOON, 3)


def test_keep_of_a_clip_is_known_by_its_stem() -> None:
    folder = ALL.folder(("cam1", "2026-07-01", "001", "dav", "12"))
    assert folder is not None
    assert folder.kind("12.00.00-12.05.14[M][0@0][0].keep") is FileKind.KEEP
    assert folder.kind("notes.keep") is FileKind.FOREIGN


@pytest.mark.parametrize("make", MAKES.values(), ids=lambda make: make.word)
def test_make_is_named_by_its_word_and_compiles(make: object) -> None:
    word = next(word for word, known in MAKES.items() if known is make)
    assert compile_names((word,)).patterns
    assert {pattern.element for pattern in compile_names((word,)).patterns} == {word}


# ---- patterns of one's own


@pytest.mark.parametrize(
    ("pattern", "path", "camera"),
    [
        (r"(?P<camera>.+)/(?P<stamp>\d{14})", "front/20260701120000.mp4", "front"),
        (r"(?P<camera>.+)-(?P<stamp>\d{14})\d{3}", "front-20260701120000123.mp4", "front"),
        (r"(?P<camera>.+) (?P<stamp>\d{4}-\d\d-\d\d \d\d.\d\d.\d\d)", "a b 2026-07-01 12.00.00.mp4", "a b"),
        (r"(?P<camera>.+)/(?P<stamp>[-0-9T]+)", "front/2026-07-01T12-00-00.mp4", "front"),
        (r"(?P<date>\d{8})/(?P<camera>.+)_(?P<time>\d{6})", "20260701/front_120000.mp4", "front"),
        (r"(?P<date>\d{4}-\d\d-\d\d)/(?P<time>\d\d-\d\d-\d\d) (?P<camera>.+)", "2026-07-01/12-00-00 x.mp4", "x"),
        (r"(?P<date>.+)/(?P<camera>.+)_(?P<time>\d\d_\d\d_\d\d)", "2026_07_01/x_12_00_00.mp4", "x"),
        (
            r"(?P<camera>\w+)/(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?P<hour>\d\d)/(?P<minute>\d\d)M(?P<second>\d\d)S",
            "yi/2026070112/00M00S.mp4",
            "yi",
        ),
        (
            r"(?P<camera>.+) - (?P<month>\d{1,2})-(?P<day>\d{1,2})-(?P<year>\d{4})-(?P<time>\d{6})",
            "Front Door - 7-1-2026-120000.mp4",
            "Front Door",
        ),
        (r"(?P<camera>.+)/(?P<camera>ch\d)/(?P<camera>.)_(?P<stamp>\d{14})", f"n/ch1/m_{STAMP}.mp4", "n_ch1_m"),
        (r"(?P<camera>a|b)c_(?P<stamp>\d{14})", f"ac_{STAMP}.mp4", "a"),
        (r"(?P<year>.+)/(?P<month>.+)/(?P<camera>.+)_(?P<stamp>\d{14})", f"2026/07/x_{STAMP}.mp4", "x"),
        (r"(?P<camera>.+)_(?P<stamp>\d{14})", f"two\nlines_{STAMP}.mp4", "two\nlines"),
        (r"(?P<camera>.+)_(?P<stamp>\d{14})", f"{UNDECODABLE}_{STAMP}.mp4", UNDECODABLE),
        (r"(?i)cam_(?P<camera>.+)_(?P<stamp>\d{14})", f"CAM_x_{STAMP}.mp4", "x"),
    ],
)  # fmt: skip
def test_pattern_of_ones_own_says_camera_and_time(pattern: str, path: str, camera: str) -> None:
    assert parse(compile_names((pattern,)), path) == ClipName(camera, NOON)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        (r"(?P<camera>a)?_(?P<stamp>\d{14})", f"_{STAMP}.mp4"),  # no camera said
        (r"(?P<camera>.)_(?P<stamp>\d{14})?", "a_.mp4"),  # no time said
        (r"(?P<camera>.)(?P<date>\d{8})?_(?P<time>\d{6})", "a_120000.mp4"),
        (r"(?P<camera>.+)_(?P<stamp>\d{14})", "x" * 300 + f"_{STAMP}.mp4"),
        (r"(?P<camera>.+)/(?P<stamp>\d{14})", "x" * 300 + f"/{STAMP}.mp4"),
        (r"(?P<year>\d+)/(?P<month>\d+)/(?P<camera>.+)_(?P<stamp>\d{14})", f"2026/13/x_{STAMP}.mp4"),
    ],
)
def test_name_that_leaves_something_unsaid_does_not_fit(pattern: str, path: str) -> None:
    assert isinstance(parse(compile_names((pattern,)), path), NotAClip)


@pytest.mark.parametrize("stamp", ["\uff12\uff10\uff12\uff160701120000", "2026070112000²", "20260701 1200"])
def test_digits_of_other_scripts_are_no_time(stamp: str) -> None:
    parsed = parse(compile_names((r"(?P<camera>.)_(?P<stamp>.+)",)), f"a_{stamp}.mp4")
    assert isinstance(parsed, NotAClip)
    assert parsed.impossible_date


def test_first_pattern_that_fits_wins() -> None:
    usual, odd = r"(?P<camera>.)_(?P<stamp>\d{14})", r".(?P<camera>_)(?P<stamp>\d{14})"
    assert parse(compile_names((usual, odd)), f"x_{STAMP}.mp4") == ClipName("x", NOON)
    assert parse(compile_names((odd, usual)), f"x_{STAMP}.mp4") == ClipName("_", NOON)


def test_pattern_that_reads_an_impossible_date_leaves_the_name_to_the_next() -> None:
    backwards = r"(?P<camera>.)_(?P<stamp>\d{14})\d{3}"
    forwards = r"(?P<camera>.)_\d{3}(?P<stamp>\d{14})"
    assert parse(compile_names((backwards, forwards)), f"x_999{STAMP}.mp4") == ClipName("x", NOON)


@pytest.mark.parametrize(
    ("element", "said"),
    [
        ("reo-link", "is neither a make (reolink, hikvision, dahua) nor a pattern with (?P<camera>…) and a time"),
        ("", "is neither a make"),
        (r"(?P<camera>.+", "component 1 is no regular expression (missing ), unterminated subpattern"),
        (r"(?P<camera>[^/]+)_(?P<stamp>\d{14})", "a / stands between components only, and names hold none"),
        (r"x/(?P<camera>.+)(?P<camera>.)_(?P<stamp>\d{14})", "component 2 is no regular expression (redefinition of"),
        (
            r"(?P<camera>.{99999999999})_(?P<stamp>\d{14})",
            "component 1 is no regular expression (the repetition number",
        ),
        (r"/(?P<camera>.+)_(?P<stamp>\d{14})", "component 1 is empty"),
        (r"a//(?P<camera>.+)_(?P<stamp>\d{14})", "component 2 is empty"),
        (r"(?P<camera>.+)_(?P<stamp>\d{14})/", "component 2 is empty"),
        (r"x/" * 32 + r"(?P<camera>.+)_(?P<stamp>\d{14})", "has more than 32 components"),
        (r"(?P<camera>.+)_(?P<stamp>\d{14}).mp4", "ends in .mp4, which a name is looked at without; leave the ending"),
        (r"(?P<camera>.+)_(?P<stamp>\d{14})\.mp4", r"ends in \.mp4, which a name is looked at without"),
        (r"x/(?P<camera>.+)_(?P<stamp>\d{14})\.JPG$", r"ends in \.JPG$, which a name is looked at without"),
        (r"archived/(?P<camera>.+)_(?P<stamp>\d{14})", "begins with archived, which is archiverd's own at the top"),
        (r"\.deleted/(?P<camera>.+)_(?P<stamp>\d{14})", "begins with .deleted, which is archiverd's own at the top"),
        (r".archiverd/(?P<camera>.+)_(?P<stamp>\d{14})", "begins with .archiverd, which is archiverd's own at the top"),
        (r"(?P<stamp>\d{14})", "the group camera is missing"),
        (r"(?P<kamera>.+)_(?P<stamp>\d{14})", "there is no group kamera; groups are camera, stamp, date, time, year"),
        (r"(?P<stamp>\d+)/(?P<camera>.+)_(?P<stamp>\d{14})", "the group stamp stands twice"),
        (r"(?P<camera>.+)", "the time is not complete: date and time missing"),
        (r"(?P<camera>.+)_(?P<date>\d{8})", "the time is not complete: time missing"),
        (r"(?P<camera>.+)_(?P<time>\d{6})", "the time is not complete: date missing"),
        (r"(?P<camera>.+)_(?P<date>\d{8})_(?P<hour>\d\d)(?P<minute>\d\d)", "the time is not complete: second missing"),
        (r"(?P<camera>.+)_(?P<month>\d{2})_(?P<time>\d{6})", "the time is not complete: year and day missing"),
        (r"(?P<day>\d\d)/(?P<camera>.+)_(?P<date>\d{8})(?P<time>\d{6})", "date says all that year, month and day say"),
        (r"(?P<hour>\d\d)/(?P<camera>.+)_(?P<date>\d{8})(?P<time>\d{6})", "hour, minute and second are said already"),
        (r"(?P<hour>\d\d)/(?P<camera>.+)_(?P<stamp>\d{14})", "hour, minute and second are said already"),
        (r"(?P<time>\d{6})/(?P<camera>.+)_(?P<stamp>\d{14})", "stamp says all that time says"),
        (r"(?P<camera>(.+)+)_(?P<stamp>\d{14})", "component 1 repeats a group that ends in a repetition"),
        (r"(?P<camera>(?:[a-z]*){2,})_(?P<stamp>\d{14})", "component 1 repeats a group that ends in a repetition"),
        (r"(?P<camera>(a{2,}?)*)_(?P<stamp>\d{14})", "component 1 repeats a group that ends in a repetition"),
    ],
)
def test_element_that_is_no_pattern_is_refused_in_words(element: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^element 1, ") as caught:
        compile_names((element,))
    assert said in str(caught.value)


def test_every_element_that_is_wrong_is_named() -> None:
    with pytest.raises(ValueError, match=r'^element 1, "a": .*; element 3, "b": ') as caught:
        compile_names(("a", "reolink", "b"))
    assert "element 2" not in str(caught.value)


def test_no_names_are_refused() -> None:
    with pytest.raises(ValueError, match="is empty; name a make"):
        compile_names(())


@pytest.mark.parametrize(
    "element",
    [
        r"(?P<camera>\w+\+)_(?P<stamp>\d{14})",
        r"(?P<camera>(?:ab){2,})_(?P<stamp>\d{14})",
        r"(?P<camera>(?:\d+\.){3})_(?P<stamp>\d{14})",
        r"(?P<camera>(\++x)*)_(?P<stamp>\d{14})",
    ],
)
def test_harmless_repetition_is_taken(element: str) -> None:
    assert compile_names((element,)).patterns


# ---- where a walk goes down


@pytest.mark.parametrize(
    ("parts", "files", "directories"),
    [
        ((), True, True),
        (("2026",), True, True),
        (("cam1",), True, True),
        (("cam1", "2026-07-01", "001"), False, True),
        (("cam1", "2026-07-01", "001", "dav", "12"), True, False),
        (("2026", "07", "01"), True, False),
        (("2026-07-01", "001", "jpg", "12", "30"), True, False),
    ],
)
def test_folder_tells_what_may_stand_in_it(parts: tuple[str, ...], files: bool, directories: bool) -> None:
    folder = ALL.folder(parts)
    assert folder is not None
    assert (folder.holds_files, folder.holds_directories) == (files, directories)


@pytest.mark.parametrize(
    "parts", [("a", "b", "c"), ("2026", "07", "32"), ("2026-07-01", "001", "notes"), (".Trash",), ("lost+found",)]
)
def test_no_walk_goes_where_no_pattern_can_fit(parts: tuple[str, ...]) -> None:
    assert ALL.folder(parts) is None


def test_folders_of_a_date_go_as_far_as_the_date_may_be_real() -> None:
    names = compile_names((r"(?P<day>\d\d)/(?P<month>\d\d)/(?P<year>\d{4})/(?P<camera>.)_(?P<time>\d{6})",))
    assert names.folder(("29", "02")) is not None
    assert names.folder(("30", "02")) is None
    assert names.folder(("29", "02", "2023")) is None


@pytest.mark.parametrize(
    ("tree", "path", "is_clip"),
    [
        (Tree.SOURCE, DAHUA[3][0], True),
        (Tree.SOURCE, REOLINK[0][0], False),
        (Tree.ARCHIVE, DAHUA[3][0], False),
        (Tree.ARCHIVE, REOLINK[0][0], True),
        (Tree.TRASH, DAHUA[3][0], True),
        (Tree.TRASH, REOLINK[0][0], False),
        (Tree.TRASH, f"archived/{REOLINK[0][0]}", True),
    ],
)
def test_each_tree_has_its_patterns(tree: Tree, path: str, is_clip: bool) -> None:
    names = compile_names(("dahua",)).in_tree(tree)
    assert isinstance(parse(names, path), ClipName) is is_clip


@pytest.mark.parametrize(
    ("path", "component", "reason"),
    [
        ("notes/x.mp4", 0, "does not fit"),
        ("2026/13/01/x_20260701120000.mp4", 1, "belongs to no real date"),
        ("2026/07/01/12/x_20260701120000.mp4", 3, "is a directory where files belong"),
        ("2026/07/x_20260701120000.mp4", 2, "stands where a directory belongs"),
        ("2026/07/01/x.mp4", 3, "does not fit"),
        ("2026/07/01/x_20260701120000.avi", 3, "does not end in .mp4 or .jpg"),
    ],
)
def test_misfit_tells_where_a_path_leaves_the_pattern(path: str, component: int, reason: str) -> None:
    (misfit,) = CANONICAL.misfits(PurePosixPath(path))
    assert (misfit.component, misfit.reason) == (component, reason)


def test_misfit_of_a_make_is_that_of_the_pattern_that_came_furthest() -> None:
    misfits = ALL.misfits(PurePosixPath("cam1/2026-07-01/001/dav/12/12.00.00.mp4"))
    found = {misfit.pattern.element: misfit for misfit in misfits}
    assert list(found) == list(MAKES)
    assert isinstance(found["dahua"], Misfit)
    assert (found["dahua"].component, found["reolink"].component) == (5, 0)


def test_path_that_fits_has_no_misfit_with_its_make() -> None:
    misfits = ALL.misfits(PurePosixPath(DAHUA[3][0]))
    assert [misfit.pattern.element for misfit in misfits] == ["reolink", "hikvision"]


# ---- the archive's name


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (REOLINK[0][0], "2026/07/01/REO_Front_20260701120000.mp4"),
        (HIKVISION[0][0], "2026/07/01/192.168.1.64_01_20260701120000.mp4"),
        (DAHUA[3][0], "2026/07/01/BackYard_002_20260701120000.mp4"),
        ("cam1/2026-07-01/001/dav/12/12.00.00-12.05.14[M][0@0][0]~3.mp4", "2026/07/01/cam1_001_20260701120000~3.mp4"),
        ("REO_x/2026-07-01/001/dav/12/12.00.00[M].mp4", "2026/07/01/REO_REO_x_001_20260701120000.mp4"),
        ("é" * 126 + "/2026-07-01/001/dav/12/12.00.00[M].mp4", f"2026/07/01/{'é' * 118}_20260701120000.mp4"),
    ],
)
def test_archive_has_a_canonical_name_whatever_its_source_is_called(path: str, expected: str) -> None:
    name = parse(ALL, path)
    assert isinstance(name, ClipName)
    assert archive_path(name, PurePosixPath(path).name) == PurePosixPath(expected)


def test_canonical_name_that_says_another_camera_is_not_kept() -> None:
    names = compile_names((r"(?P<camera>.+)/.+_(?P<stamp>\d{14})",))
    name = parse(names, f"front/cam_{STAMP}.mp4")
    assert isinstance(name, ClipName)
    assert archive_path(name, f"cam_{STAMP}.mp4").name == f"front_{STAMP}.mp4"


# ---- whatever is uploaded, whatever is configured


names_of_files = st.binary(min_size=1, max_size=80).map(
    lambda raw: os.fsdecode(raw.replace(b"/", b"-").replace(b"\0", b"-"))
)
fitting = st.sampled_from([pattern for make in MAKES.values() for pattern in make.patterns]).flatmap(
    lambda text: st.tuples(
        *(st.from_regex(component, fullmatch=True, alphabet=st.characters(exclude_characters="/\0", codec="utf-8"))
          for component in text.split("/"))
    )
)  # fmt: skip


@given(parts=st.lists(names_of_files, min_size=1, max_size=7), ending=st.sampled_from([".mp4", ".JPG", "", ".keep"]))
def test_any_name_is_a_clip_or_none(parts: list[str], ending: str) -> None:
    path = PurePosixPath(*parts[:-1], parts[-1] + ending)
    for names in (ALL, CANONICAL, ALL.in_tree(Tree.TRASH)):
        assert isinstance(names.parse(path), ClipName | NotAClip)
        assert names.kind(path) in FileKind
        assert all(misfit.reason for misfit in names.misfits(path))


@given(parts=fitting, copy=st.none() | st.integers(2, 999_999_999))
def test_archive_of_what_fits_says_the_same_camera_and_second(parts: tuple[str, ...], copy: int | None) -> None:
    mark = f"~{copy}" if copy else ""
    path = PurePosixPath(*parts[:-1], f"{parts[-1]}{mark}.mp4")
    name = ALL.parse(path)
    if isinstance(name, NotAClip):  # a date that is none, or a component that is too long or that a path can't hold
        return
    archive = archive_path(name, path.name)
    read = parse_clip_name(archive.name)
    assert isinstance(read, ClipName)
    assert (read.taken_at, read.copy) == (name.taken_at, name.copy)
    assert read.camera == name.camera or (len(os.fsencode(archive.name)) > 250 and name.camera.startswith(read.camera))
    assert isinstance(CANONICAL.parse(archive), ClipName)


@given(camera=names_of_files, moment=st.datetimes(min_value=datetime(1, 1, 1)), copy=st.integers(1, 99))
def test_archive_of_any_camera_says_the_same_camera_and_second(camera: str, moment: datetime, copy: int) -> None:
    name = ClipName(camera, moment.replace(microsecond=0), copy)
    assert parse_clip_name(archive_path(name, "anything.mp4").name) == name


pieces = st.sampled_from(
    ["(?P<camera>", "(?P<stamp>", "(?P<date>", "(?P<x>", "(?:", "(", ")", "[", "]", "[^", "/", ".+", "*", "+", "?",
     "{2}", "{2,}", "|", r"\d", r"\d{14}", "_", "\\", "^", "$", r"\Z", "(?i)", "(?=", "a", "é", "\n", "\udce9"]
)  # fmt: skip


@given(texts=st.lists(st.lists(pieces, max_size=12).map("".join) | st.sampled_from(list(MAKES)), max_size=3))
def test_any_names_compile_or_are_refused_in_words(texts: list[str]) -> None:
    try:
        names = compile_names(tuple(texts))
    except ValueError:
        return
    for path in ("a_20260701120000.mp4", "20260701120000/a.jpg", "a/a/2026.mp4", "2026/07/01/a.keep"):
        assert isinstance(parse(names, path), ClipName | NotAClip)


@pytest.mark.parametrize(
    "filename", ["_" * 240, "a_" * 120, "1" * 240, "a_20260701" * 24, "[M]" * 80, "ch1_main_" * 26]
)
def test_hostile_name_takes_no_time_by_the_makes(filename: str) -> None:
    began = time.process_time()
    for parts in ((), ("x",), ("x", "y"), ("2026-07-01", "001", "dav", "12")):
        ALL.parse(PurePosixPath(*parts, f"{filename}.mp4"))
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("names", "path", "may"),
    [
        (("reolink",), "", True),
        (("reolink",), "2026", True),
        (("reolink",), "2025", False),
        (("reolink",), "2026/06", True),
        (("reolink",), "2026/05", False),
        (("reolink",), "2026/06/30", True),
        (("reolink",), "2026/07/01", True),
        (("reolink",), "2026/07/02", False),
        (("hikvision",), "device/camera", True),
        (("dahua",), "2026-06-30/001/jpg/23/58", True),
        (("dahua",), "2026-06-30/001/jpg/23/57", False),
        (("dahua",), "2026-06-29", True),  # also fits a directory of no date
        (("dahua",), "2026-06-29/001/jpg", False),
        ((r"(?P<time>\d{6})/(?P<camera>.+)_(?P<date>\d{8})",), "120000", True),  # on some day
        ((r"(?P<stamp>\d{14})/(?P<camera>.+)",), "20260701000059", True),
        ((r"(?P<stamp>\d{14})/(?P<camera>.+)",), "20260701000101", False),
        ((r"(?P<day>\d\d)/(?P<camera>.+)_(?P<year>\d{4})-(?P<month>\d\d)_(?P<time>\d{6})",), "15", True),
    ],
)
def test_folder_tells_whether_its_path_leaves_room_for_a_moment(names: tuple[str, ...], path: str, may: bool) -> None:
    folder = compile_names(names).folder(PurePosixPath(path).parts)
    assert folder is not None
    assert folder.may_hold(datetime(2026, 6, 30, 23, 58), datetime(2026, 7, 1, 0, 1)) is may
