"""What names say, and which names archiverd gives."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiverd.policy.model import ClipName
from archiverd.policy.name_patterns import CANONICAL
from archiverd.policy.naming import (
    FileKind,
    NotAClip,
    PartName,
    archive_path,
    archived_snapshot_name,
    doubts,
    gone_name,
    is_snapshot_name,
    keep_name,
    kind_of,
    numbered,
    parse_clip_name,
    parse_gone_name,
    parse_part_name,
    part_name,
    printable,
)

NOON = datetime(2026, 7, 1, 12, 0, 0)
UNDECODABLE = os.fsdecode(b"caf\xe9")

# Whatever a camera may be called: what a file name can hold, undecodable bytes included.
CAMERAS = st.binary(min_size=1, max_size=60).filter(lambda raw: b"/" not in raw and b"\0" not in raw).map(os.fsdecode)


@pytest.mark.parametrize(
    ("filename", "camera", "taken_at", "copy"),
    [
        ("REO_Front_20260701120000.mp4", "Front", NOON, 1),
        ("Front_20260701120000.mp4", "Front", NOON, 1),
        ("REO_Front_20260701120000.jpg", "Front", NOON, 1),
        ("REO_Front_20260701120000.MP4", "Front", NOON, 1),
        ("REO_Front_20260701120000.JpG", "Front", NOON, 1),
        ("REO_Front door_01_20260701120000.mp4", "Front door_01", NOON, 1),
        ("Camera BE_01_20260701120000.mp4", "Camera BE_01", NOON, 1),
        ("REO_a.b.mp4_20260701120000.mp4", "a.b.mp4", NOON, 1),
        ("REO_20250101000000_20260701120000.mp4", "20250101000000", NOON, 1),
        ("REO_REO_x_20260701120000.mp4", "REO_x", NOON, 1),
        ("REO_20260701120000.mp4", "REO", NOON, 1),
        ("reo_x_20260701120000.mp4", "reo_x", NOON, 1),
        ("REO_-rf_20260701120000.mp4", "-rf", NOON, 1),
        ("-rf_20260701120000.mp4", "-rf", NOON, 1),
        ("REO_two\nlines_20260701120000.mp4", "two\nlines", NOON, 1),
        ("REO_カメラ_20260701120000.mp4", "カメラ", NOON, 1),
        (f"REO_{UNDECODABLE}_20260701120000.mp4", UNDECODABLE, NOON, 1),
        ("REO_Front_20260701120000~2.mp4", "Front", NOON, 2),
        ("REO_Front_20260701120000~10.mp4", "Front", NOON, 10),
        ("REO_a~3_20260701120000.mp4", "a~3", NOON, 1),
        ("REO_Front_20240229235959.mp4", "Front", datetime(2024, 2, 29, 23, 59, 59), 1),
        ("REO_Front_19700101000000.mp4", "Front", datetime(1970, 1, 1), 1),
    ],
)
def test_clip_name_is_read_from_the_right(filename: str, camera: str, taken_at: datetime, copy: int) -> None:
    assert parse_clip_name(filename) == ClipName(camera, taken_at, copy)


@pytest.mark.parametrize(
    "filename",
    [
        "",
        "mp4",
        ".mp4",
        "test",
        "test.mp4",
        "testftp123.jpg",
        "20260701120000.mp4",
        "_20260701120000.mp4",
        "Front-20260701120000.mp4",
        "Front_2026070112000.mp4",
        "Front_20260701120000_.mp4",
        "Front_20260701120000 .mp4",
        "Front_20260701120000.mp4.tmp",
        "Front_20260701120000.mp4\n",
        "Front_20260701120000.avi",
        "Front_20260701120000.keep",
        "Front_20260701120000",
        "Front_20260701120000~.mp4",
        "Front_20260701120000~0.mp4",
        "Front_20260701120000~1.mp4",
        "Front_20260701120000~02.mp4",
        "Front_20260701120000~-2.mp4",
        "Front_20260701120000~2~3.mp4",
        "Front_20260701120000~" + "9" * 200 + ".mp4",
        "Front_\uff12\uff10\uff12\uff160701120000.mp4",
        "Front_20260701120000~\uff12.mp4",
    ],
)
def test_other_name_is_no_clip_and_no_impossible_date(filename: str) -> None:
    parsed = parse_clip_name(filename)
    assert isinstance(parsed, NotAClip)
    assert not parsed.impossible_date


@pytest.mark.parametrize(
    "stamp",
    [
        "20260231000000",
        "20250229000000",
        "20261301000000",
        "20260001000000",
        "20260100000000",
        "00000101000000",
        "20260101250000",
        "20260101240000",
        "20260101006000",
        "20260101000060",
        "99999999999999",
    ],
)
def test_impossible_stamp_is_no_clip_and_says_so(stamp: str) -> None:
    assert parse_clip_name(f"REO_x_{stamp}.mp4") == NotAClip(f"impossible date {stamp}", impossible_date=True)


@given(camera=CAMERAS, taken_at=st.datetimes(min_value=datetime(1000, 1, 1)), prefix=st.sampled_from(["", "REO_"]))
def test_every_clip_name_gives_back_its_camera_and_time(camera: str, taken_at: datetime, prefix: str) -> None:
    whole = prefix + camera
    # A camera called "REO_x" without the prefix can't be told from a camera "x" with it.
    expected = whole[4:] if whole.startswith("REO_") and len(whole) > 4 else whole
    moment = taken_at.replace(microsecond=0)
    assert parse_clip_name(f"{whole}_{moment:%Y%m%d%H%M%S}.mp4") == ClipName(expected, moment)


@pytest.mark.parametrize(
    ("filename", "kind"),
    [
        ("REO_Front_20260701120000.mp4", FileKind.CLIP),
        ("REO_Front_20260701120000~2.MP4", FileKind.CLIP),
        ("REO_Front_20260701120000.jpg", FileKind.SNAPSHOT),
        ("REO_Front_20260701120000.keep", FileKind.KEEP),
        ("REO_Front_20260701120000~2.keep", FileKind.KEEP),
        ("REO_Front_20260701120000.KEEP", FileKind.KEEP),
        (".keep", FileKind.FOREIGN),
        ("notes.keep", FileKind.FOREIGN),
        ("REO_Front_20260231120000.keep", FileKind.FOREIGN),
        (".archiverd-1f2e3d4c-42.part", FileKind.PART),
        (".archiverd-42.part", FileKind.FOREIGN),
        (".archiverd--42.part", FileKind.FOREIGN),
        (".archiverd-1f2e3d4c-.part", FileKind.FOREIGN),
        (".archiverd-1f2e3d4c-42.part\n", FileKind.FOREIGN),
        (".archiverd-1f2e3d4c-42.PART", FileKind.FOREIGN),
        ("archiverd-1f2e3d4c-42.part", FileKind.FOREIGN),
        (".archiverd-42.gone", FileKind.GONE),
        (".archiverd-1f-42.gone", FileKind.FOREIGN),
        (".archiverd-.gone", FileKind.FOREIGN),
        (".archiverd-root", FileKind.MARKER),
        (".archiverd-root2", FileKind.FOREIGN),
        (".archiverd", FileKind.FOREIGN),
        ("REO_Front_20260231120000.mp4", FileKind.FOREIGN),
        ("REO_Front_20260701120000.mp4.part", FileKind.FOREIGN),
        ("Thumbs.db", FileKind.FOREIGN),
        ("", FileKind.FOREIGN),
    ],
)
def test_kind_is_known_by_the_name(filename: str, kind: FileKind) -> None:
    assert kind_of(filename) is kind


@pytest.mark.parametrize(
    ("filename", "snapshot"),
    [
        ("x_20260701120000.jpg", True),
        ("x_20260701120000.JPG", True),
        ("x_20260701120000.mp4", False),
        ("jpg_20260701120000.MP4", False),
    ],
)
def test_snapshot_is_known_by_the_extension(filename: str, snapshot: bool) -> None:
    assert is_snapshot_name(filename) is snapshot


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("2026", "07", "01"), True),
        (("2024", "02", "29"), True),
        (("2026", "02", "29"), False),
        (("2026", "7", "1"), False),
        (("2026", "007", "1"), False),
        (("26", "07", "01"), False),
        (("0000", "01", "01"), False),
        (("2026", "13", "01"), False),
        (("2026", "00", "01"), False),
        (("\uff12\uff10\uff12\uff16", "07", "01"), False),
        (("+026", "07", "01"), False),
        (("2026", "07"), False),
        (("2026", "07", "01", "x"), False),
        (("2026/07", "01"), False),
        (("2026", "07", "01\n"), False),
        ((), False),
    ],
)
def test_date_directory_is_a_real_date_in_4_2_2_digits(parts: tuple[str, ...], expected: bool) -> None:
    folder = CANONICAL.folder(parts)
    assert (folder is not None and folder.holds_files) is expected


def test_part_name_tells_catalog_and_job() -> None:
    assert part_name("1f2e3d4c", "42") == ".archiverd-1f2e3d4c-42.part"


def test_part_name_is_read_back() -> None:
    assert parse_part_name(part_name("0b5e-11f0", "a1")) == PartName("0b5e-11f0", "a1")


def test_gone_name_is_read_back() -> None:
    assert gone_name("42") == ".archiverd-42.gone"
    assert parse_gone_name(gone_name("42")) == "42"


@pytest.mark.parametrize("job", ["", "a-b", "a/b", "a.b", "a\n", "é", "x" * 300])
def test_id_that_does_not_fit_in_a_name_is_refused(job: str) -> None:
    with pytest.raises(ValueError, match="ids that cannot stand"):
        part_name("1f2e3d4c", job)
    with pytest.raises(ValueError, match="ids that cannot stand"):
        gone_name(job)


@pytest.mark.parametrize(
    ("filename", "keep"),
    [
        ("REO_Front_20260701120000.mp4", "REO_Front_20260701120000.keep"),
        ("REO_Front_20260701120000~2.MP4", "REO_Front_20260701120000~2.keep"),
        ("REO_a.b_20260701120000.mp4", "REO_a.b_20260701120000.keep"),
        ("x" * 236 + "_20260701120000.mp4", "x" * 235 + "_20260701120000.keep"),
        ("x" * 234 + "_20260701120000~2.mp4", "x" * 233 + "_20260701120000~2.keep"),
    ],
)
def test_keep_stands_under_the_stem_of_its_clip_and_fits(filename: str, keep: str) -> None:
    assert len(filename) <= 255
    assert keep_name(filename) == keep


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("REO_Front_20260701120000.mp4", "2026/07/01/REO_Front_20260701120000.mp4"),
        ("Front_20260701120000.MP4", "2026/07/01/Front_20260701120000.mp4"),
        ("REO_Front_20260701120000~2.mp4", "2026/07/01/REO_Front_20260701120000~2.mp4"),
        ("REO_a.b_20260701120000.mp4", "2026/07/01/REO_a.b_20260701120000.mp4"),
        ("REO_Front_00090102000000.mp4", "0009/01/02/REO_Front_00090102000000.mp4"),
    ],
)
def test_archive_stands_under_the_date_of_the_name(filename: str, expected: str) -> None:
    name = parse_clip_name(filename)
    assert isinstance(name, ClipName)
    assert archive_path(name, filename) == PurePosixPath(expected)
    assert archived_snapshot_name(name, f"{filename[:-4]}.JPG") == PurePosixPath(expected).with_suffix(".jpg").name


@pytest.mark.parametrize(
    ("path", "n", "expected"),
    [
        ("a/x_20260701120000.mp4", 2, "a/x_20260701120000~2.mp4"),
        ("a/x_20260701120000~2.mp4", 3, "a/x_20260701120000~3.mp4"),
        ("a/x_20260701120000~12.mp4", 2, "a/x_20260701120000~2.mp4"),
        ("a/x_20260701120000~1.mp4", 2, "a/x_20260701120000~1~2.mp4"),
        ("x.y_20260701120000.JPG", 2, "x.y_20260701120000~2.JPG"),
        ("a/" + "x" * 236 + "_20260701120000.mp4", 2, "a/" + "x" * 234 + "_20260701120000~2.mp4"),
        ("a/" + "x" * 236 + "_20260701120000.mp4", 10, "a/" + "x" * 233 + "_20260701120000~10.mp4"),
        ("é" * 118 + "_20260701120000.mp4", 2, "é" * 117 + "_20260701120000~2.mp4"),
        ("y" + "カ" * 78 + "_20260701120000.mp4", 2, "y" + "カ" * 77 + "_20260701120000~2.mp4"),
        ("\udce9" * 236 + "_20260701120000.mp4", 2, "\udce9" * 234 + "_20260701120000~2.mp4"),
        ("n" * 255, 2, "n" * 253 + "~2"),
    ],
)
def test_numbered_name_replaces_the_mark_and_fits(path: str, n: int, expected: str) -> None:
    assert numbered(PurePosixPath(path), n) == PurePosixPath(expected)


@pytest.mark.parametrize("n", [-1, 0, 1, 1_000_000_000])
def test_number_that_could_not_be_read_back_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match="further content"):
        numbered(PurePosixPath("x_20260701120000.mp4"), n)


def test_name_without_room_for_a_mark_is_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        numbered(PurePosixPath("x." + "y" * 253), 2)


@given(
    camera=st.binary(min_size=1, max_size=236), n=st.integers(2, 999_999_999), extension=st.sampled_from(["mp4", "JPG"])
)
def test_numbered_clip_is_read_back_and_fits(camera: bytes, n: int, extension: str) -> None:
    clean = os.fsdecode(camera.replace(b"/", b"-").replace(b"\0", b"-"))
    path = numbered(PurePosixPath(f"2026/07/01/{clean}_20260701120000.{extension}"), n)
    name = parse_clip_name(path.name)
    assert isinstance(name, ClipName)
    assert (name.taken_at, name.copy) == (NOON, n)
    assert len(os.fsencode(path.name)) <= 255
    assert os.fsdecode(os.fsencode(path.name)) == path.name


def epoch(moment: datetime) -> float:
    return moment.timestamp()


def mtime_ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000


@pytest.mark.parametrize(
    ("taken_at", "written_at", "words"),
    [
        (NOON, NOON, []),
        (NOON, NOON + timedelta(hours=23), []),
        (NOON, NOON - timedelta(hours=23), []),
        (NOON, NOON + timedelta(hours=25), ["but it was last written 2026-07-02 13:00:00"]),
        (NOON, NOON - timedelta(hours=25), ["but it was last written 2026-06-30 11:00:00"]),
        (NOON + timedelta(hours=23), NOON + timedelta(hours=23), []),
        (NOON + timedelta(hours=25), NOON + timedelta(hours=25), ["more than a day in the future"]),
        (datetime(2004, 12, 31, 23, 59, 59), datetime(2004, 12, 31), ["before 2005"]),
        (datetime(2005, 1, 1), datetime(2005, 1, 1), []),
        (datetime(1970, 1, 1), NOON, ["before 2005", "but it was last written"]),
        (datetime(2030, 1, 1), NOON, ["more than a day in the future", "but it was last written"]),
        (datetime(9999, 12, 31, 23, 59, 59), NOON, ["more than a day in the future", "but it was last written"]),
        (datetime(1, 1, 1), NOON, ["before 2005", "but it was last written"]),
    ],
)
def test_doubts_name_what_speaks_against_the_time(taken_at: datetime, written_at: datetime, words: list[str]) -> None:
    found = doubts(ClipName("x", taken_at), mtime_ns(written_at), epoch(NOON))
    assert len(found) == len(words)
    assert all(word in doubt and str(taken_at) in doubt for word, doubt in zip(words, found, strict=True))


@pytest.mark.parametrize("mtime", [2**63 - 1, -(2**63), 10**30])
def test_doubts_survive_a_file_time_that_is_no_date(mtime: int) -> None:
    assert len(doubts(ClipName("x", NOON), mtime, epoch(NOON))) == 1


@pytest.fixture
def central_european_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("central_european_time")
@pytest.mark.parametrize("hour_in_utc", [0, 1])
def test_repeated_hour_is_no_doubt(hour_in_utc: int) -> None:
    written = datetime(2026, 10, 25, hour_in_utc, 30, tzinfo=UTC).timestamp()
    assert datetime.fromtimestamp(written) == datetime(2026, 10, 25, 2, 30)
    assert doubts(ClipName("x", datetime(2026, 10, 25, 2, 30)), int(written) * 10**9, written) == ()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("a/REO_カメラ 1.mp4", "a/REO_カメラ 1.mp4"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[31mred", "\\x1b[31mred"),
        (UNDECODABLE, "caf\\xe9"),
        ("right\u202eleft", "right\\u202eleft"),
    ],
)
def test_printable_escapes_what_a_terminal_would_obey(path: str, shown: str) -> None:
    assert printable(path) == shown
