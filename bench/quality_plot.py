"""The plot of `bench/quality.py` as SVG: the worst frame over size, clip by clip. Text stays text."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from html import escape

from archiverd.policy.verdict import WORTH_IT
from bench.quality import CURVE_PRESET, Point, Result

_COLUMNS = 4
_WIDTH, _HEIGHT = 250, 215  # of a panel, its frame and the room around it
_LEFT, _TOP, _RIGHT, _BOTTOM = 40, 26, 14, 34
_COLOURS = {"hevc": "#0b6e99", "h264": "#c2571a"}
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # per cent
_FOOT = 46

Setting = tuple[str, str, int]


class _Scale:
    """Where a size and a likeness are drawn, the same in every panel, so that clips can be held against each other."""

    def __init__(self, shares: Collection[float], likenesses: Collection[float]) -> None:
        self.least = max((tick for tick in _TICKS if tick <= min(shares)), default=_TICKS[0])
        self.most = min((tick for tick in _TICKS if tick >= max(shares)), default=_TICKS[-1])
        self.step = 5 if max(likenesses) > 1 else 0.02
        self.low = math.floor(min(likenesses) / self.step) * self.step
        self.high = math.ceil(max(likenesses) / self.step) * self.step

    def x(self, share: float) -> float:
        part = math.log(share / self.least) / math.log(self.most / self.least)
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)

    def y(self, likeness: float) -> float:
        part = (likeness - self.low) / (self.high - self.low)
        return _HEIGHT - _BOTTOM - part * (_HEIGHT - _TOP - _BOTTOM)


def plot(result: Result, defaults: Collection[Setting]) -> str:
    """The whole picture."""
    shares = {point: 100 * point.size / result.upload(point.clip).size for point in result.points}
    scale = _Scale(shares.values(), [point.worst for point in result.points])
    rows = math.ceil(len(result.uploads) / _COLUMNS)
    columns = min(_COLUMNS, len(result.uploads))
    width, height = max(columns * _WIDTH, 2 * _WIDTH), rows * _HEIGHT + _FOOT
    shape = f'width="{width}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {shape} font-family="sans-serif" font-size="11" fill="#222">',
        f'<rect {shape} fill="#fff"/>',
    ]
    for number, upload in enumerate(result.uploads):
        down, across = divmod(number, _COLUMNS)
        points = [point for point in result.points if point.clip == upload.name]
        lines.append(f'<g transform="translate({across * _WIDTH} {down * _HEIGHT})">')
        lines += [*_frame(scale, f"{upload.name} ({upload.rate:.1f} Mb/s)"), *_points(scale, points, shares, defaults)]
        lines.append("</g>")
    measure = "VMAF of the worst frame" if result.vmaf else "SSIM"
    lines += [*_legend(rows * _HEIGHT, f"{measure} over size of the archive, % of the camera's clip"), "</svg>"]
    return "\n".join(lines) + "\n"


def _frame(scale: _Scale, title: str) -> Iterable[str]:
    """Axes, and the region in which the original is kept."""
    left, right = scale.x(scale.least), scale.x(scale.most)
    top, bottom = scale.y(scale.high), scale.y(scale.low)
    worth = 100 * WORTH_IT
    yield f'<text x="{_LEFT}" y="16" font-weight="bold">{escape(title)}</text>'
    if scale.least < worth < scale.most:
        x = scale.x(worth)
        yield f'<rect x="{x:.1f}" y="{top}" width="{right - x:.1f}" height="{bottom - top:.1f}" fill="#eee"/>'
    for tick in (each for each in _TICKS if scale.least <= each <= scale.most):
        x = scale.x(tick)
        yield f'<path d="M{x:.1f} {top:.1f}V{bottom:.1f}" stroke="#ddd"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 14:.1f}" text-anchor="middle">{tick}</text>'
    for number in range(round((scale.high - scale.low) / scale.step) + 1):
        value = scale.low + number * scale.step
        y = scale.y(value)
        yield f'<path d="M{left:.1f} {y:.1f}H{right:.1f}" stroke="#ddd"/>'
        yield f'<text x="{left - 5:.1f}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'


def _points(
    scale: _Scale, points: Collection[Point], shares: dict[Point, float], defaults: Collection[Setting]
) -> Iterable[str]:
    for codec, colour in _COLOURS.items():
        curve = sorted(
            (each for each in points if each.setting[:2] == (codec, CURVE_PRESET)), key=lambda each: each.size
        )
        way = " ".join(f"{scale.x(shares[each]):.1f},{scale.y(each.worst):.1f}" for each in curve)
        yield f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        for point in (each for each in points if each.codec == codec):
            x, y = scale.x(shares[point]), scale.y(point.worst)
            told = f"<title>{codec} {point.preset} {point.quality}: {shares[point]:.0f} %, {point.worst:.4g}</title>"
            fill = colour if point.preset == CURVE_PRESET else "#fff"
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{fill}" stroke="{colour}">{told}</circle>'
            if point.setting in defaults:
                yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _legend(top: int, axes: str) -> Iterable[str]:
    yield f'<text x="{_LEFT}" y="{top + 12}">{escape(axes)}</text>'
    x = _LEFT
    for codec, colour in _COLOURS.items():
        yield f'<path d="M{x} {top + 30}h24" stroke="{colour}" stroke-width="1.5"/>'
        yield f'<text x="{x + 30}" y="{top + 34}">{codec} {CURVE_PRESET}</text>'
        x += 95
    yield f'<text x="{x}" y="{top + 34}">hollow: other presets; ringed: default; grey: original kept</text>'
