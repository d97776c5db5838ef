"""The table of `archiverd probe`, what stands above and below it, and the same as JSON."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from rich.console import Console

from archiverd import reports
from archiverd.policy.diagnosis import Cause, Diagnosis
from archiverd.policy.hardware import Equipment, Ffmpeg, Place
from archiverd.policy.machine import INTEL, RenderNode
from archiverd.policy.probing import Probed
from archiverd.policy.rungs import Engine, Kind, RateControl, Rung

NODE = RenderNode(
    PurePosixPath("/dev/dri/renderD128"), INTEL, device_id="0x46d1", driver="i915", group="render", mode=0o660
)
EQUIPMENT = Equipment(
    Ffmpeg("/usr/bin/ffmpeg", "5.1.9", 5, ("--enable-libmfx",)), (NODE,), ("iHD",), ("libmfx-gen.so.1.2",), "6.1.0",
    "3", "debian", Place.MACHINE, "archiverd",
)  # fmt: skip
NO_SESSION = Diagnosis(Cause.NO_SESSION, "Quick Sync does not start", "sudo apt install libmfx-gen1.2")
ENGINE = Engine(Rung.VAAPI, RateControl.ICQ_LOW_POWER, str(NODE.path))
WORKS = Probed(Rung.VAAPI, Kind.H264, ENGINE, str(NODE.path), speed=12.34, likeness=0.99876)
NOT_QSV = [Probed.failed(Rung.QSV, kind, NO_SESSION, str(NODE.path)) for kind in Kind]
NO_DEPTH = Probed.failed(Rung.VAAPI, Kind.HEVC_10, Diagnosis(Cause.NO_CODEC, "no Main10 [here]"), str(NODE.path))


def table(*probed: Probed, width: int = 80) -> list[list[str]]:
    """The cells of each row below the head."""
    text = io.StringIO()
    Console(file=text, width=width).print(reports.probe_table(probed, "hevc"))
    lines = [line for line in text.getvalue().splitlines() if line.strip()]
    return [[cell.strip() for cell in line.strip().split("  ") if cell.strip()] for line in lines[2:]]


def test_rung_that_fails_as_a_whole_has_one_row() -> None:
    assert table(*NOT_QSV) == [["qsv", "any", "no"]]


def test_rung_that_fails_with_all_footage_for_one_reason_has_one_row() -> None:
    failed = [Probed.failed(Rung.VAAPI, kind, Diagnosis(Cause.NO_RATE_CONTROL, "no way")) for kind in Kind]
    assert table(*failed) == [["vaapi", "any", "no"]]


def test_rung_that_fails_for_several_reasons_has_a_row_for_each_kind() -> None:
    failed = [Probed.failed(Rung.VAAPI, kind, Diagnosis(Cause.NO_CODEC, f"no {kind}")) for kind in Kind]
    assert [row[1] for row in table(*failed)] == ["h264", "hevc", "hevc 10-bit"]


@pytest.mark.parametrize("width", [80, 200])
def test_widest_row_is_one_line(width: int) -> None:
    engine = Engine(Rung.QSV_ENCODE, RateControl.QVBR_LOW_POWER, str(NODE.path))
    widest = Probed(Rung.QSV_ENCODE, Kind.HEVC_10, engine, str(NODE.path), speed=123.4)
    assert table(widest, width=width) == [["qsv-encode", "hevc 10-bit", "yes", "qvbr, low power", "123.4x"]]


def test_rung_that_works_for_some_footage_has_a_row_for_each_kind() -> None:
    assert table(WORKS, NO_DEPTH) == [
        ["vaapi", "h264", "yes", "icq, low power", "12.3x"],
        ["vaapi", "hevc 10-bit", "no"],
    ]


def test_rung_that_is_lost_on_the_way_hides_no_row() -> None:
    lost = Probed.failed(Rung.VAAPI, Kind.HEVC, Diagnosis(Cause.LOST, "the device failed"))
    assert [row[1] for row in table(WORKS, lost)] == ["h264", "hevc"]


def test_reason_and_remedy_are_told_once_with_their_rungs() -> None:
    encode = [replace(one, rung=Rung.QSV_ENCODE) for one in NOT_QSV]
    assert reports.probe_lines([*NOT_QSV, *encode, WORKS, NO_DEPTH], "auto", works=True) == [
        "qsv, qsv-encode: Quick Sync does not start.",
        "  sudo apt install libmfx-gen1.2.",
        "vaapi (hevc 10-bit): no Main10 [here].",
        "Best here: vaapi on /dev/dri/renderD128.",
        "hardware = auto: works.",
    ]


def test_remedy_of_several_reasons_is_told_once_below_them() -> None:
    other = [replace(one, rung=Rung.QSV_ENCODE, reason="no session either") for one in NOT_QSV]
    assert reports.probe_lines([*NOT_QSV, *other], "qsv", works=False) == [
        "qsv: Quick Sync does not start.",
        "qsv-encode: no session either.",
        "  sudo apt install libmfx-gen1.2.",
        "hardware = qsv: does not work.",
    ]


def test_long_reasons_and_remedies_are_folded_between_words() -> None:
    long = Diagnosis(Cause.NO_CODEC, " ".join(["reason"] * 30) + ".", " ".join(["remedy-all"] * 20))
    lines = reports.probe_lines([Probed.failed(Rung.VAAPI, Kind.H264, long), WORKS], "auto", works=True)
    assert max(map(len, lines)) <= 80
    assert " ".join(line.strip() for line in lines[:-2]) == f"vaapi (h264): {long.reason} {long.remedy}."


def test_nothing_that_works_is_told() -> None:
    assert reports.probe_lines([NO_DEPTH], "vaapi", works=False)[-1] == "hardware = vaapi: does not work."


def test_what_was_found_stands_above() -> None:
    assert reports.equipment_lines(EQUIPMENT) == [
        "Program: ffmpeg 5.1.9 (/usr/bin/ffmpeg; with Quick Sync)",
        "Device:  /dev/dri/renderD128 (Intel, i915, open to this user)",
        "Drivers: iHD (VA-API)",
        "         libmfx-gen.so.1.2 (Quick Sync)",
        "Kernel:  Linux 6.1.0, machine, i915.enable_guc=3",
    ]


def test_what_was_not_found_is_said() -> None:
    assert reports.equipment_lines(Equipment()) == [
        "Program: ffmpeg of an unknown version (ffmpeg; how it was built it does not tell)",
        "Device:  none seen",
        "Drivers: none found (VA-API)",
        "         none found (Quick Sync)",
        "Kernel:  Linux of an unknown release, machine",
    ]


def test_json_holds_all_of_it() -> None:
    told = reports.probe_json(EQUIPMENT, [WORKS, NO_DEPTH], "hevc", "auto", works=True)
    assert told["devices"] == [
        {
            "path": "/dev/dri/renderD128", "vendor": "0x8086", "device_id": "0x46d1", "driver": "i915",
            "access": "open", "group": "render", "mode": "0660", "generation": 12,
        }
    ]  # fmt: skip
    assert told["ffmpeg"] == {"path": "/usr/bin/ffmpeg", "version": "5.1.9", "major": 5, "flags": ["--enable-libmfx"]}
    assert (told["works"], told["hardware"], told["codec"], told["enable_guc"]) == (True, "auto", "hevc", "3")
    works, fails = told["probes"]
    assert (works["usable"], works["rate_control"], works["speed"], works["likeness"]) == (
        True, "icq, low power", 12.34, 0.9988,
    )  # fmt: skip
    assert (fails["usable"], fails["cause"], fails["reason"], fails["remedy"]) == (
        False, "no codec", "no Main10 [here]", None,
    )  # fmt: skip
