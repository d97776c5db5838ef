"""What a machine has to encode with, from what was read there; and which of its devices a rung may try."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from archiverd.policy.hardware import Ffmpeg, candidates, distribution_of, parse_version, va_driver
from archiverd.policy.machine import AMD, INTEL, NVIDIA, RenderNode
from archiverd.policy.rungs import Rung

DEBIAN = """ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2026 the FFmpeg developers
built with gcc 12 (Debian 12.2.0-14+deb12u1)
configuration: --prefix=/usr --enable-gpl --enable-libmfx --disable-sndio --toolchain=hardened
libavutil      57. 28.100 / 57. 28.100
libavcodec     59. 37.100 / 59. 37.100
"""
GIT = """ffmpeg version N-118315-g0a1b2c3d4e-20260101 Copyright (c) 2000-2026 the FFmpeg developers
  configuration: --enable-libvpl --enable-vaapi
libavcodec     61. 31.101 / 61. 31.101
"""
TAGGED = """ffmpeg version n9.0.2-17-g2a571b6068-20260930 Copyright (c) 2000-2026 the FFmpeg developers
  configuration: --enable-gpl
"""
VENDORS = {128: NVIDIA, 129: AMD, 130: "", 131: INTEL}
NODES = tuple(RenderNode(PurePosixPath(f"/dev/dri/renderD{number}"), vendor) for number, vendor in VENDORS.items())


@pytest.mark.parametrize(
    ("text", "version", "major", "has_qsv"),
    [
        (DEBIAN, "5.1.9-0+deb12u1", 5, True),
        (GIT, "N-118315-g0a1b2c3d4e-20260101", 7, True),
        (TAGGED, "n9.0.2-17-g2a571b6068-20260930", 9, False),
        ("ffmpeg version 7.1.5-0+deb13u1 Copyright", "7.1.5-0+deb13u1", 7, None),
        ("ffmpeg version 20260101-strange Copyright\nlibavcodec 60. 3.100", "20260101-strange", 6, None),
        ("what is this", "", 0, None),
        ("", "", 0, None),
    ],
    ids=["debian", "git", "tagged", "terse", "of a date", "strange", "silent"],
)
def test_ffmpeg_is_known_by_what_it_tells_of_itself(text: str, version: str, major: int, has_qsv: bool | None) -> None:
    told = parse_version("/usr/bin/ffmpeg", text)
    assert (told.version, told.major, told.has_qsv) == (version, major, has_qsv)


def test_flags_are_those_that_put_something_in_or_leave_it_out() -> None:
    assert parse_version("ffmpeg", DEBIAN).flags == ("--enable-gpl", "--enable-libmfx", "--disable-sndio")


@pytest.mark.parametrize(
    ("ffmpeg", "words"),
    [
        (Ffmpeg("/bin/ffmpeg", "5.1", 5, ("--enable-libmfx",)), "ffmpeg 5.1 (/bin/ffmpeg; with Quick Sync)"),
        (Ffmpeg("/bin/ffmpeg", "7.1", 7, ("--enable-gpl",)), "ffmpeg 7.1 (/bin/ffmpeg; without Quick Sync)"),
        (Ffmpeg("ff"), "ffmpeg of an unknown version (ff; how it was built it does not tell)"),
    ],
)
def test_ffmpeg_is_told_in_words(ffmpeg: Ffmpeg, words: str) -> None:
    assert ffmpeg.words == words


@pytest.mark.parametrize(
    ("os_release", "family"),
    [
        ('NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="12"', "debian"),
        ("ID=ubuntu\nID_LIKE=debian", "debian"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"', "debian"),
        ("ID=fedora\nVERSION_ID=41", "fedora"),
        ("ID=arch", "arch"),
        ("", ""),
    ],
)
def test_distribution_is_known_by_its_family(os_release: str, family: str) -> None:
    assert distribution_of(os_release) == family


@pytest.mark.parametrize(
    ("rung", "numbers"),
    [
        (Rung.QSV, [131, 130]),  # Intel's first, then whatever may be one
        (Rung.QSV_ENCODE, [131, 130]),
        (Rung.VAAPI, [129, 131, 130, 128]),  # NVIDIA's last
        (Rung.SOFTWARE, []),
    ],
)
def test_devices_are_tried_likeliest_first(rung: Rung, numbers: list[int]) -> None:
    assert [int(node.path.name.removeprefix("renderD")) for node in candidates(rung, NODES)] == numbers


@pytest.mark.parametrize(
    ("rung", "drivers", "named"),
    [
        (Rung.QSV, ("i965", "iHD"), "iHD"),
        (Rung.QSV_ENCODE, ("iHD",), "iHD"),
        (Rung.QSV, ("i965",), ""),
        (Rung.VAAPI, ("i965", "iHD"), ""),
    ],
)
def test_driver_is_named_only_where_quick_sync_needs_it(rung: Rung, drivers: tuple[str, ...], named: str) -> None:
    assert va_driver(rung, drivers) == named
