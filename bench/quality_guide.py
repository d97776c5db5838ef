"""The figures of `bench/quality.py` for people: tables in Markdown and a plot, written into a page between marks."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench import quality
from bench.command import CHECKOUT, BenchError
from bench.quality import CURVE_PRESET, REFERENCE, Point, Result
from bench.quality_plot import plot

GUIDE = CHECKOUT / "docs" / "guide" / "quality.md"
BEGIN = "<!-- from here on written by ./dev bench quality -->"
END = "<!-- to here -->"

Setting = tuple[str, str, int]


def write(result: Result, guide: Path) -> None:
    """Put the tables between the marks of a page, and the plot beside it. Raises: BenchError, OSError."""
    page = guide.read_text("utf-8")
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise BenchError(f"{guide} lacks the lines {BEGIN!r} and {END!r}: nothing written there")
    guide.write_text(f"{head}{BEGIN}\n\n{tables(result)}\n{END}{tail}", "utf-8")
    guide.with_suffix(".svg").write_text(plot(result, quality.defaults()), "utf-8")


def tables(result: Result) -> str:
    """All tables, in Markdown."""
    parts = (
        ("### The clips", _clips(result)),
        ("### Quality", _qualities(result)),
        ("### The worst frame, and what moves", _worst(result)),
        ("### Presets", _presets(result)),
        ("### All figures", _all(result)),
    )
    return "\n\n".join(text for part in parts for text in part) + "\n"


def _clips(result: Result) -> str:
    rows = [(each.name, each.about, f"{each.frames}", f"{each.rate:.1f} Mb/s") for each in result.uploads]
    vmaf = f"VMAF by {result.vmaf}" if result.vmaf else "no ffmpeg with libvmaf was found"
    machine = result.machine
    told = f"{result.measured_at[:10]}, {machine['ffmpeg'].partition(' Copyright')[0]}, {vmaf}, {machine['cpu']}."
    return f"Measured {told}\n\n" + _table(("clip", "what it shows", "frames", "as uploaded"), rows)


def _qualities(result: Result) -> str:
    rows = []
    for setting in _curve_settings():
        cells = [_size_and_likeness(result, point) for point in result.of(setting)]
        rows.append((_name(setting), *cells, f"{_cost(result, setting):.1f}"))
    names = [each.name for each in result.uploads]
    intro = (
        f"Size of the archive in per cent of the camera's clip, and its {_measure(result)}. *kept*: the archive would "
        f"be so large that the original is kept. The last column is processor time, {_plain(REFERENCE)} being 1. "
        "Bold: the defaults."
    )
    return f"{intro}\n\n" + _table(("codec, preset, quality", *names, "time"), rows)


def _size_and_likeness(result: Result, point: Point) -> str:
    share = f"{_share(result, point):.0f} %" + (" *kept*" if result.kept(point) else "")
    return f"{share} / {_likeness(point)}"


def _curve_settings() -> list[Setting]:
    return [setting for setting in quality.settings() if setting[1] == CURVE_PRESET]


def _worst(result: Result) -> str:
    rows = []
    for setting in _curve_settings():
        points = result.of(setting)
        cells = [f"{_or_dash(each.lowest_vmaf, 1)} / {_or_dash(each.moving_ssim, 3)}" for each in points]
        rows.append((_name(setting), *cells))
    names = [each.name for each in result.uploads]
    intro = "VMAF of the worst frame of the clip, and the SSIM, mean of the frames, of what moves alone."
    return f"{intro}\n\n" + _table(("codec, preset, quality", *names), rows)


def _presets(result: Result) -> str:
    rows = []
    for codec, crf in quality.PRESET_QUALITY.items():
        rows += [_preset(result, (codec, preset, crf)) for preset in quality.PRESETS]
    intro = (
        "All clips together. The last two columns are sizes over that of an archive by the preset "
        f"`{CURVE_PRESET}` with the same {_measure(result)}: the mean of the clips, and the least and the most of them."
    )
    likeness, own, h264 = _measure(result), f"over {CURVE_PRESET}", f"over h264 {CURVE_PRESET}"
    return f"{intro}\n\n" + _table(("codec, preset, quality", "time", "size", likeness, own, h264), rows)


def _preset(result: Result, setting: Setting) -> tuple[str, ...]:
    points = result.of(setting)
    size = sum(point.size for point in points) / sum(each.size for each in result.uploads)
    return (
        _name(setting),
        f"{_cost(result, setting):.1f}",
        f"{100 * size:.0f} %",
        f"{statistics.fmean(point.likeness for point in points):.2f}",
        _over(result, points, setting[0]),
        _over(result, points, "h264"),
    )


def _over(result: Result, points: Iterable[Point], codec: str) -> str:
    """How sizes compare with those on the curve of a codec at the same likeness."""
    ratios = [quality.size_at_same_likeness(result.curve(point.clip, codec), point) for point in points]
    found = [ratio for ratio in ratios if ratio is not None]
    if not found:
        return "-"
    counted = "" if len(found) == len(ratios) else f", {len(found)} of {len(ratios)} clips"
    return f"{statistics.geometric_mean(found):.2f} ({min(found):.2f} to {max(found):.2f}{counted})"


def _all(result: Result) -> str:
    rows = [_row(result, point) for point in result.points]
    intro = (
        "*moving* is the SSIM of what moves alone, *lowest* the VMAF of the worst frame, *CPU* the seconds of "
        "processor time for a second of footage."
    )
    heads = ("clip", "codec, preset, quality", "kB", "size", "SSIM", "moving", "VMAF", "lowest", "CPU", "verdict")
    return f"{intro}\n\n" + _table(heads, rows)


def _row(result: Result, point: Point) -> tuple[str, ...]:
    return (
        point.clip,
        _name(point.setting),
        f"{point.size / 1000:.0f}",
        f"{_share(result, point):.0f} %",
        f"{point.ssim:.4f}",
        _or_dash(point.moving_ssim, 4),
        _or_dash(point.vmaf, 1),
        _or_dash(point.lowest_vmaf, 1),
        f"{point.cpu_s / result.upload(point.clip).seconds:.2f}",
        "original kept" if result.kept(point) else "archive",
    )


def _measure(result: Result) -> str:
    """What archives are compared by."""
    return "VMAF" if result.vmaf else "SSIM"


def _share(result: Result, point: Point) -> float:
    """Per cent of the camera's clip."""
    return 100 * point.size / result.upload(point.clip).size


def _cost(result: Result, setting: Setting) -> float:
    """Processor time over that of the reference, of all clips together."""
    return sum(point.cpu_s for point in result.of(setting)) / sum(point.cpu_s for point in result.of(REFERENCE))


def _likeness(point: Point) -> str:
    return f"{point.ssim:.3f}" if point.vmaf is None else f"{point.vmaf:.1f}"


def _or_dash(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _plain(setting: Setting) -> str:
    codec, preset, crf = setting
    return f"{codec} {preset} {crf}"


def _name(setting: Setting) -> str:
    return f"**{_plain(setting)}**" if setting in quality.defaults() else _plain(setting)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
