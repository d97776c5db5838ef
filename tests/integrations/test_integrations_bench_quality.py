"""`./dev bench quality` on a tiny clip: what it measures, and what it writes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import command, quality, quality_guide
from bench.quality import Point, Result
from tools import footage
from tools.footage import Clip

ROOT = Path(__file__).resolve().parents[2]
PAGE = f"# Before\n\n{quality_guide.BEGIN}\nstale\n{quality_guide.END}\n\nAfter.\n"
STILL = Clip("bench-still", 160, 120, "10", 1.0, crf=10, noise=4, preset="veryfast")


@dataclass(frozen=True)
class Measured:
    done: subprocess.CompletedProcess[str]
    result: Result
    kept: Path
    guide: Path


def bench(*words: str | Path) -> subprocess.CompletedProcess[str]:
    argv = (sys.executable, "-m", "bench", "quality", *map(str, words))
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    place = tmp_path_factory.mktemp("bench")
    guide = place / "quality.md"
    guide.write_text(PAGE)
    done = bench("--quick", "--guide", guide, "--results", place)
    assert done.returncode == 0, done.stderr
    (kept,) = place.glob("quality-*.json")
    return Measured(done, quality.kept(kept), kept, guide)


def point(measured: Measured, codec: str, crf: int) -> Point:
    (found,) = measured.result.of((codec, quality.CURVE_PRESET, crf))
    return found


def test_every_setting_is_measured_once(measured: Measured) -> None:
    assert sorted(each.setting for each in measured.result.points) == sorted(quality.settings())


@pytest.mark.parametrize("codec", quality.CURVES)
def test_better_quality_is_larger_and_more_alike(measured: Measured, codec: str) -> None:
    best, worst = (point(measured, codec, crf) for crf in (quality.CURVES[codec][0], quality.CURVES[codec][-1]))
    assert best.size > 1.5 * worst.size
    assert 1 > best.ssim > worst.ssim > 0
    assert best.moving_ssim is not None
    assert worst.moving_ssim is not None
    assert 1 > best.moving_ssim > worst.moving_ssim > 0
    assert best.likeness > worst.likeness


def test_time_is_that_of_the_encoder(measured: Measured) -> None:
    assert 0 < point(measured, "h264", 23).cpu_s < point(measured, "hevc", 20).cpu_s


def test_uploads_are_as_long_as_their_frames_say(measured: Measured) -> None:
    (upload,) = measured.result.uploads
    assert (upload.frames, upload.seconds) == (15, 1.0)
    assert upload.size == footage.cached(quality.quick_scenes()[0].clip).stat().st_size


def test_verdict_is_the_one_archiverd_would_give(measured: Measured) -> None:
    whole = measured.result.uploads[0].size
    told = {row[1].strip("*"): row[-1] for row in rows(measured.guide) if row[-1] in ("archive", "original kept")}
    assert told == {
        " ".join(map(str, each.setting)): "original kept" if each.size >= 0.95 * whole else "archive"
        for each in measured.result.points
    }
    assert set(told.values()) == {"archive", "original kept"}  # the grain of the night gives both


def rows(page: Path) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")]


def test_defaults_stand_out(measured: Measured) -> None:
    bold = {cell.strip("*") for row in rows(measured.guide) for cell in row if cell.startswith("**")}
    assert bold == {" ".join(map(str, each)) for each in quality.defaults()}


def test_words_around_the_figures_stay(measured: Measured) -> None:
    text = measured.guide.read_text()
    assert text.startswith(f"# Before\n\n{quality_guide.BEGIN}\n")
    assert text.endswith(f"{quality_guide.END}\n\nAfter.\n")
    assert "stale" not in text
    assert measured.done.stdout.strip() in text


def test_plot_shows_every_archive(measured: Measured) -> None:
    svg = ElementTree.fromstring(measured.guide.with_suffix(".svg").read_text())  # noqa: S314  (of our own making)
    told = [title.text or "" for title in svg.iter("{http://www.w3.org/2000/svg}title")]
    assert sorted(each.split(":")[0] for each in told) == sorted(
        " ".join(map(str, each)) for each in quality.settings()
    )


def test_kept_figures_are_told_again_without_measuring(measured: Measured, tmp_path: Path) -> None:
    guide = tmp_path / "again.md"
    guide.write_text(PAGE)
    done = bench("--again", measured.kept, "--guide", guide)
    assert done.stdout == measured.done.stdout
    assert guide.read_text() == measured.guide.read_text()


@pytest.mark.parametrize(
    ("page", "figures", "said"),
    [
        pytest.param("# No marks\n", lambda text: text, "lacks the lines", id="no marks"),
        pytest.param(PAGE, lambda _: "{}", "is no kept result", id="other json"),
        pytest.param(PAGE, lambda text: text[:-9], "is no kept result", id="cut off"),
    ],
)
def test_what_can_not_be_told_leaves_the_page_alone(
    measured: Measured, tmp_path: Path, page: str, figures: Callable[[str], str], said: str
) -> None:
    guide, kept = tmp_path / "quality.md", tmp_path / "kept.json"
    guide.write_text(page)
    kept.write_text(figures(measured.kept.read_text()))
    done = bench("--again", kept, "--guide", guide)
    assert done.returncode == 1
    assert said in done.stderr
    assert guide.read_text() == page


def compared(tmp_path: Path, archive: Path, source: Path, moving: str = "") -> str:
    command.run(quality.compare_command("ffmpeg", archive, source, moving, vmaf=False), cwd=tmp_path)
    return (tmp_path / ("moving" if moving else "ssim")).read_text()


def test_what_moves_is_compared_where_it_is(tmp_path: Path) -> None:
    (scene,) = quality.quick_scenes()
    with_it, without = (footage.cached(replace(scene.clip, objects=number, noise=0, crf=10)) for number in (1, 0))
    pictures, moving = compared(tmp_path, without, with_it), compared(tmp_path, without, with_it, scene.moving)
    assert min(ssim(pictures)) > 0.9  # all but the object is the same
    assert max(ssim(moving)) < 0.6


def ssim(lines: str) -> list[float]:
    return [float(line.split("Y:")[1].split()[0]) for line in lines.splitlines()]


def test_frames_are_compared_by_number_whatever_the_containers_count_in(tmp_path: Path) -> None:
    source, other = footage.cached(replace(STILL, fps="30000/1001")), tmp_path / "other.mp4"
    command.run(("ffmpeg", "-v", "error", "-i", str(source), "-c", "copy", "-video_track_timescale", "997", str(other)))
    lines = compared(tmp_path, other, source).splitlines()
    assert len(lines) == 30
    assert all("All:1.000000" in line for line in lines)


def test_archive_with_a_frame_less_than_its_source_is_no_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    shorter = 'case "$*" in *-xerror*) exec /usr/bin/ffmpeg -t 0.9 "$@" ;; esac'
    program.write_text(f'#!/bin/sh\n{shorter}\nexec /usr/bin/ffmpeg "$@"\n')
    program.chmod(0o755)
    source = footage.cached(STILL)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    with pytest.raises(command.BenchError, match="9 frames were encoded and 10 compared"):
        quality.measure(quality.Scene(STILL, ""), source, quality.REFERENCE, None)


@pytest.mark.parametrize(("filters", "found"), [(" .. libvmaf  VV->V", True), (" TS ssim  VV->V", False)])
def test_vmaf_is_told_by_an_ffmpeg_of_the_path_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filters: str, found: bool
) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\necho '{filters}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"/usr/bin:{tmp_path}:/bin")
    assert (quality.vmaf_ffmpeg() == str(program)) is found


def test_kept_result_holds_every_figure(measured: Measured) -> None:
    assert len(json.loads(measured.kept.read_text())["points"]) == len(quality.settings())
