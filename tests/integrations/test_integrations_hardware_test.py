"""The opt-in test for machines with a GPU: left out by default, failing without one, and what its report holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.fakes.ffmpeg import FakeFfmpeg, Node, fails
from tests.program import CHECKOUT, environment

TEST = CHECKOUT / "tests/e2e/test_e2e_hardware.py"


def run_pytest(folder: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    config = ("-c", str(CHECKOUT / "pyproject.toml"), "-p", "no:cacheprovider", "-n", "1")
    command = (sys.executable, "-m", "pytest", *config, *options, str(TEST))
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment(**env), timeout=240)


def test_test_is_left_out_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert "1 deselected" in run_pytest(tmp_path, "--collect-only").stdout


def test_machine_without_a_gpu_fails_and_is_told_why(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "-m", "hardware", ARCHIVERD_TEST_DEVICE="/dev/null")
    assert done.returncode == 1
    assert "no device encodes on this machine: no VA-API driver starts on /dev/null" in done.stdout
    report = (tmp_path / "hardware-report.txt").read_text()
    assert "    | Device creation failed: -542398533." in report
    assert "software   h264        works" in report
    assert report.strip() in done.stdout  # shown, from whatever process the test ran in
    assert report.count("sudo apt install intel-media-va-driver-non-free") == 1
    assert f"{report}\nPlease paste hardware-report.txt into a bug report" in done.stdout
    assert "Traceback" not in done.stdout
    assert "def test_" not in done.stdout  # no line of the test itself


def test_machine_with_a_gpu_passes_and_tells_all(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    fake = FakeFfmpeg(tmp_path / "gpu", nodes=(Node("/dev/null"),))
    fake.install(programs)
    for rung in ("qsv", "qsv-encode"):
        fake.script(rung, then=fails("no_runtime"), probes=True)
    path = f"{programs}:{os.environ['PATH']}"
    done = run_pytest(tmp_path, "-m", "hardware", ARCHIVERD_TEST_DEVICE="/dev/null", PATH=path)
    assert done.returncode == 0, done.stdout
    report = (tmp_path / "hardware-report.txt").read_text()
    for words in (
        "Program: ffmpeg 5.1",
        "Device:  /dev/null",
        "qsv        h264        no     no session: Quick Sync does not start on /dev/null",
        "    | [AVHWDeviceContext] Error initializing an MFX session: -3.",
        "vaapi      hevc 10-bit works  icq on /dev/null",
        "Clips of a real size:",
        "  vaapi h264: ",
        "likeness 0.9",
        "A run over all of them ended with 0:",
    ):
        assert words in report
    assert fake.mistakes() == []
