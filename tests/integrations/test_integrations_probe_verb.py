"""`archiverd probe` as a program: on this machine, which has no GPU, and with an ffmpeg that pretends one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fakes.ffmpeg import FakeFfmpeg, Node, fails
from tests.program import archiverd, standing, typed

NODE = "/dev/null"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "camera"
    root.mkdir()
    return root


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeFfmpeg:
    programs = tmp_path / "programs"
    programs.mkdir()
    fake = FakeFfmpeg(tmp_path / "gpu", nodes=(Node(NODE),))
    fake.install(programs)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return fake


def test_machine_without_a_gpu_works_in_software_and_is_told_why_not_else(root: Path) -> None:
    told = archiverd("probe", root, "--device", NODE)
    assert told.code == 0
    assert "Program: ffmpeg " in told.out
    assert "no VA-API driver starts on /dev/null" in told.out
    assert told.out.endswith("Best here: software.\nhardware = auto: works.\n")
    assert max(map(len, told.out.splitlines())) <= 80  # in a pipe, and so in any terminal
    assert told.err == ""


@pytest.mark.parametrize("hardware", ["qsv", "vaapi"])
def test_hardware_that_does_not_work_ends_with_69(root: Path, hardware: str) -> None:
    told = archiverd("probe", root, "--hardware", hardware, "--device", NODE)
    assert told.code == 69
    assert told.out.endswith(f"hardware = {hardware}: does not work.\n")


def test_hardware_that_works_is_told(root: Path, gpu: FakeFfmpeg) -> None:
    gpu.script("qsv", then=fails("no_runtime"), probes=True)
    told = archiverd("probe", root, "--hardware", "qsv", "--device", NODE, "--json")
    assert told.code == 0
    assert told.json["works"] is True
    usable = {(probe["rung"], probe["kind"]): probe["usable"] for probe in told.json["probes"]}
    assert usable == {
        (rung, kind): rung != "qsv"
        for rung in ("qsv", "qsv-encode", "vaapi", "software")
        for kind in ("h264", "hevc", "hevc 10-bit")
    }
    assert gpu.mistakes() == []


@pytest.mark.usefixtures("gpu")
def test_probe_needs_no_input_and_writes_nothing(root: Path) -> None:
    before = standing(root)
    assert archiverd("probe", root, "--device", NODE).code == 0
    assert standing(root) == before
    assert archiverd("probe", root / "gone", "--hardware", "software", "--device", NODE).code == 0


def test_each_probe_is_made_anew(root: Path, gpu: FakeFfmpeg) -> None:
    assert archiverd("probe", root, "--hardware", "vaapi", "--device", NODE).code == 0
    gpu.script("vaapi", then=fails("device_lost"), probes=True)
    assert archiverd("probe", root, "--hardware", "vaapi", "--device", NODE).code == 69


@pytest.mark.usefixtures("gpu")
def test_codec_is_probed_that_was_asked_for(root: Path) -> None:
    told = archiverd("probe", root, "--codec", "h264", "--device", NODE, "--json").json
    deep = [probe for probe in told["probes"] if probe["kind"] == "hevc 10-bit" and probe["rung"] == "vaapi"]
    assert [probe["cause"] for probe in deep] == ["not fit"]


def test_no_ffmpeg_is_told(root: Path, tmp_path: Path) -> None:
    told = archiverd("probe", root, PATH=str(tmp_path))
    assert told.code == 69
    assert "ffmpeg was not found" in told.err


def test_terminal_is_told_what_is_tried(root: Path) -> None:
    with typed("probe", root, "--device", NODE) as screen:
        assert screen.end() == 0
        assert "Trying software with hevc 10-bit footage" in screen.output
        assert "Best here: software." in screen.output
