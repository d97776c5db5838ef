"""A chart of lines as SVG. Text stays text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 640, 300
_LEFT, _TOP, _RIGHT, _BOTTOM = 64, 30, 150, 44
_COLOURS = ("#0b6e99", "#c2571a", "#3c7d3c", "#7a4ea3")

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows, and where its marks stand. `logarithmic`: each mark is ten times the one before."""

    words: str
    marks: Sequence[float]
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Where a value stands, from 0 to 1."""
        scale: Callable[[float], float] = math.log10 if self.logarithmic else float
        least, most = scale(self.marks[0]), scale(self.marks[-1])
        return (scale(max(value, self.marks[0])) - least) / (most - least)


def even(words: str, most: float, count: int = 5) -> Axis:
    """An axis from 0 up to what holds `most`, with round marks."""
    step = 10 ** math.floor(math.log10(max(most, 1e-9) / count))
    step = next(step * factor for factor in (1, 2, 5, 10, 20) if step * factor * count >= most)
    return Axis(words, [number * step for number in range(count + 1)])


def tens(words: str, least: float, most: float) -> Axis:
    """A logarithmic axis from the power of ten below to the one above."""
    first, last = math.floor(math.log10(least)), math.ceil(math.log10(most))
    return Axis(words, [10.0**power for power in range(first, max(last, first + 1) + 1)], logarithmic=True)


def chart(title: str, x: Axis, y: Axis, lines: Mapping[str, Points]) -> str:
    """The chart, with the name of each line at its end."""
    shape = f'width="{_WIDTH}" height="{_HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {shape} font-family="sans-serif" font-size="11" fill="#222">',
        f'<rect {shape} fill="#fff"/>',
        f'<text x="{_LEFT}" y="18" font-weight="bold">{escape(title)}</text>',
        *_axes(x, y),
    ]
    places: list[float] = []
    for (name, points), colour in zip(lines.items(), _COLOURS, strict=False):
        parts += _line(name, [(_x(x.share(a)), _y(y.share(b))) for a, b in points], colour, places)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axes(x: Axis, y: Axis) -> Iterable[str]:
    left, right, top, bottom = _x(0), _x(1), _y(1), _y(0)
    for mark in x.marks:
        at = _x(x.share(mark))
        yield f'<path d="M{at:.1f} {top:.1f}V{bottom:.1f}" stroke="#ddd"/>'
        yield f'<text x="{at:.1f}" y="{bottom + 14:.1f}" text-anchor="middle">{mark:,.10g}</text>'
    for mark in y.marks:
        at = _y(y.share(mark))
        yield f'<path d="M{left:.1f} {at:.1f}H{right:.1f}" stroke="#ddd"/>'
        yield f'<text x="{left - 5:.1f}" y="{at + 4:.1f}" text-anchor="end">{mark:,.10g}</text>'
    yield f'<text x="{left:.1f}" y="{_HEIGHT - 8}">{escape(x.words)}; up: {escape(y.words)}</text>'


def _line(name: str, points: Points, colour: str, places: list[float]) -> Iterable[str]:
    way = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    yield f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
    if len(points) <= 10:
        yield from (f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{colour}"/>' for a, b in points)
    a, b = points[-1]
    while any(abs(b - other) < 13 for other in places):  # no two names on one another
        b -= 13
    places.append(b)
    yield f'<text x="{a + 7:.1f}" y="{b + 4:.1f}" fill="{colour}">{escape(name)}</text>'


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)
