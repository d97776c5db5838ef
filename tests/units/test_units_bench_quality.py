"""The guide to quality says what was measured, of what the program does by default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from archiverd.config import Codec, Config
from archiverd.policy.verdict import WORTH_IT
from bench import quality, quality_guide
from bench.quality import Point

ROOT = Path(__file__).resolve().parents[2]
TEXT = quality_guide.GUIDE.read_text("utf-8")
HEAD, _, REST = TEXT.partition(quality_guide.BEGIN)
FIGURES, _, TAIL = REST.partition(quality_guide.END)
FIGURE = re.compile(r"\d+(?:\.\d+)? %|\d+\.\d+")


def point(size: int, likeness: float) -> Point:
    return Point("clip", "hevc", "fast", 26, size, 1.0, 0.9, None, likeness, likeness)


CURVE = (point(100, 80.0), point(400, 90.0), point(1600, 95.0))


@pytest.mark.parametrize(
    ("size", "likeness", "ratio"),
    [
        pytest.param(400, 90.0, 1.0, id="on a point"),
        pytest.param(100, 85.0, 0.5, id="between, by the logarithm"),
        pytest.param(1600, 92.5, 2.0, id="between two others"),
        pytest.param(100, 80.0, 1.0, id="at the end"),
        pytest.param(100, 79.9, None, id="below"),
        pytest.param(1600, 95.1, None, id="above"),
    ],
)
def test_size_at_same_likeness_is_read_off_the_curve(size: int, likeness: float, ratio: float | None) -> None:
    assert quality.size_at_same_likeness(CURVE[::-1], point(size, likeness)) == pytest.approx(ratio)


def test_size_at_same_likeness_is_unknown_where_vmaf_tells_nothing_apart() -> None:
    assert quality.size_at_same_likeness((point(100, 98.0), point(400, 99.8)), point(200, 98.5)) is None


def test_settings_hold_the_reference_and_the_defaults() -> None:
    assert {quality.REFERENCE, *quality.defaults()} <= set(quality.settings())


def test_defaults_are_those_of_the_configuration() -> None:
    assert quality.defaults() == tuple(
        (codec.value, Config().preset.value, Config(codec=codec).crf) for codec in (Codec.HEVC, Codec.H264)
    )


def test_guide_was_written_for_the_defaults_of_today() -> None:
    bold = set(re.findall(r"\| \*\*([\w ]+)\*\* \|", FIGURES))
    assert bold == {" ".join(map(str, each)) for each in quality.defaults()}


def test_guide_has_every_setting_of_every_clip() -> None:
    rows = [line for line in FIGURES.splitlines() if line.endswith((" archive |", " original kept |"))]
    assert len(rows) == 7 * len(quality.settings())


def test_figures_in_the_words_are_those_measured() -> None:
    measured = {*FIGURE.findall(FIGURES), f"{100 * WORTH_IT:.0f} %"}
    assert [figure for figure in FIGURE.findall(HEAD + TAIL) if figure not in measured] == []


def test_guide_shows_the_plot() -> None:
    assert f"]({quality_guide.GUIDE.with_suffix('.svg').name})" in HEAD + TAIL
