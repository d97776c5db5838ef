"""The page on speed and scale: what it says of the figures that were kept."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from bench import performance
from bench.chart import Axis, chart, even, tens
from bench.command import BenchError

MACHINE = {"cpu": "a chip", "cores": "2", "kernel": "6", "python": "3.11", "commit": "abc"}


def part(ours_s: float, reference_s: float = 1.0) -> dict[str, Any]:
    return {"rounds": [{"ours_s": ours_s, "reference_s": reference_s}] * 3, "rss_mib": 60.0}


def size(files: int, **parts: float) -> dict[str, Any]:
    figures = {"look": 4.0, "adoption": 9.0, "rescan": 4.0, "version": 1.1, "status": 1.2} | parts
    return {"files": files, "parts": {name: part(ours_s) for name, ours_s in figures.items()}}


def scale_of(**parts: float) -> dict[str, Any]:
    return {"measured_at": "2026-11-29", "machine": MACHINE, "sizes": [size(10_000), size(1_000_000, **parts)]}


@pytest.mark.parametrize(
    ("parts", "row"),
    [
        pytest.param({"look": 4.9}, "| 4.9 x | 5 x | yes |", id="met"),
        pytest.param({"look": 5.1}, "| 5.1 x | 5 x | **no** |", id="missed"),
        pytest.param({"status": 1.31}, "| +310 ms | +300 ms | **no** |", id="milliseconds"),
    ],
)
def test_the_table_tells_whether_a_mark_was_reached_by_the_largest_tree(parts: dict[str, float], row: str) -> None:
    text = performance.text({"scale": scale_of(**parts)})
    assert row in text
    assert "Not measured here: cleanup, idle, latency, overhead, fleet." in text


def test_the_newest_of_each_kind_is_told_between_the_marks(tmp_path: Path) -> None:
    for day, look in (("28", 40.0), ("29", 4.5)):
        (tmp_path / f"scale-2026-11-{day}T000000.json").write_text(json.dumps(scale_of(look=look)))
    guide = tmp_path / "performance.md"
    guide.write_text(f"before\n{performance.BEGIN}\nold\n{performance.END}\nafter\n")

    written = performance.write(performance.newest(tmp_path), guide)

    text = guide.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "4.5 x" in text
    assert "old" not in text
    assert [path.name for path in written] == ["performance.md", "performance-growth.svg"]


def test_without_results_or_marks_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no results"):
        performance.newest(tmp_path)
    guide = tmp_path / "performance.md"
    guide.write_text("a page of something else")
    with pytest.raises(BenchError, match="lacks the lines"):
        performance.write({"scale": scale_of()}, guide)
    assert guide.read_text() == "a page of something else"


def test_a_chart_is_a_picture_with_a_line_for_each_series() -> None:
    lines = {"a": [(10.0, 1.0), (100.0, 2.0)], "b & c": [(10.0, 0.0), (100.0, 2.0)]}
    drawn = ET.fromstring(chart("Title", tens("files", 10, 100), even("us", 2.0), lines))  # noqa: S314  (as above)
    texts = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}polyline"))) == 2
    assert {"Title", "a", "b & c"} <= set(texts)


@pytest.mark.parametrize(("most", "last"), [(2.0, 2.5), (9.0, 10.0), (864.0, 1000.0), (0.0, 1e-9)])
def test_marks_of_an_even_axis_are_round_and_hold_all(most: float, last: float) -> None:
    assert even("", most).marks[-1] == pytest.approx(last, rel=0.01, abs=1e-9)


def test_a_logarithmic_axis_has_a_mark_for_each_power_of_ten() -> None:
    axis = tens("", 10_000, 1_000_000)
    assert axis == Axis("", [1e4, 1e5, 1e6], logarithmic=True)
    assert axis.share(1e5) == pytest.approx(0.5)
