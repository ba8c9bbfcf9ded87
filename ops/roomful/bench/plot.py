"""Growth as a plot: an SVG, written here because a hundred lines are less than one more package.

Figures whose names say of what they are the growth (`named`) become lines, in one panel for each
kind of thing that grows.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Final

from roomful.bench.measure import Figure

_GROWTH: Final = "growth, "
WIDTH: Final = 360
HEIGHT: Final = 260
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 40, 44
COLOURS: Final = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1")
_HEAD: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
    'font-family="sans-serif" font-size="11" fill="#333">\n'
    '<rect width="100%" height="100%" fill="#fff"/>\n'
)

Points = Sequence[tuple[float, float]]
Panel = Mapping[str, Points]
"""Lines by their names."""


def named(series: str, size: int) -> str:
    """What the figure of one point is called; `series` as "what grows, which line"."""
    return f"{_GROWTH}{series}: {size:,}"


def panels(found: Iterable[Figure]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """The points of all figures of growth, by what grows and by line."""
    made: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for figure in found:
        if figure.figure.startswith(_GROWTH):
            series, _, size = figure.figure.removeprefix(_GROWTH).rpartition(": ")
            what, _, line = series.partition(", ")
            lines = made.setdefault(what, {})
            lines.setdefault(line, []).append((float(size.replace(",", "")), figure.value))
    return made


def drawn(shown: Mapping[str, Panel], unit: str) -> str:
    """An SVG of panels side by side: both axes logarithmic, so that flat is flat everywhere."""
    parts = [_HEAD.format(width=WIDTH * len(shown), height=HEIGHT)]
    for number, (what, panel) in enumerate(shown.items()):
        parts.append(f'<g transform="translate({number * WIDTH} 0)">\n')
        parts.extend(_panel(what, panel, unit))
        parts.append("</g>\n")
    return "".join((*parts, "</svg>\n"))


class _Axis:
    """Values, as positions between `start` and `end`. It begins and ends at round numbers; all of
    these within are its `marks`, or only powers of ten, if there are enough."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        powers = range(
            math.floor(math.log10(min(values))) - 1, math.ceil(math.log10(max(values))) + 2
        )
        round_ones = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
        low = max(mark for mark in round_ones if mark <= min(values))
        high = min(mark for mark in round_ones if mark >= max(values) and mark > low)
        within = [mark for mark in round_ones if low <= mark <= high]
        tens = [mark for mark in within if f"{mark:e}".startswith("1.0")]
        self.marks = tens if len(tens) > 2 else within
        self._low, self._length = math.log10(low), math.log10(high / low)
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        part = (math.log10(value) - self._low) / self._length
        return round(self._start + part * (self._end - self._start), 1)


def _panel(what: str, panel: Panel, unit: str) -> Iterator[str]:
    points = [point for line in panel.values() for point in line]
    across = _Axis([x for x, _ in points], LEFT, WIDTH - RIGHT)
    heights = [y for _, y in points]
    # About a power of ten at the least: what is nearly flat is to look so.
    middle = math.sqrt(min(heights) * max(heights))
    up = _Axis([*heights, middle / 3, middle * 3], HEIGHT - BOTTOM, TOP)
    yield _text(LEFT, 16, f"CPU {unit} by {what}", 'font-weight="bold"')
    for mark in across.marks:
        x = across.at(mark)
        yield _line((x, TOP), (x, HEIGHT - BOTTOM), "#ddd")
        yield _text(x, HEIGHT - BOTTOM + 16, f"{mark:,.10g}", 'text-anchor="middle"')
    for mark in up.marks:
        y = up.at(mark)
        yield _line((LEFT, y), (WIDTH - RIGHT, y), "#ddd")
        yield _text(LEFT - 6, y + 4, f"{mark:,.10g}", 'text-anchor="end"')
    for number, (name, line) in enumerate(panel.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [(across.at(x), up.at(y)) for x, y in sorted(line)]
        for start, end in pairwise(places):
            yield _line(start, end, colour, 2)
        for x, y in places:
            yield f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>\n'
        if name:
            yield _text(LEFT + 90 * number, 32, name, f'fill="{colour}"')


def _line(start: tuple[float, float], end: tuple[float, float], colour: str, width: int = 1) -> str:
    (x1, y1), (x2, y2) = start, end
    ends = f'x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"/>\n'


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x}" y="{y}" {style}>{escape(text)}</text>\n'
