"""Line charts as SVG, without a library: a few hundred points, a legend, linear or log axes."""
from __future__ import annotations

import dataclasses
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 480
LEFT, RIGHT, TOP, BOTTOM = 78, 220, 40, 52
# Told apart by people who do not see all colours; the dashes tell more than twelve apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f3c8d",
           "#80ba5a", "#a5aa99", "#b2182b", "#666666")
DASHES = ("", "6 3", "2 2")

Series = dict[str, list[tuple[float, float]]]


@dataclasses.dataclass(frozen=True)
class Axis:
    label: str
    log: bool = False
    ticks: tuple[float, ...] = ()  # those wanted; none: chosen
    zero: bool = False  # a linear axis that begins at 0


class Scale:
    """Values to pixels along one axis."""

    def __init__(self, axis: Axis, values: list[float], pixels: tuple[float, float]) -> None:
        self.axis, self.pixels = axis, pixels
        low, high = min([*values, *axis.ticks]), max([*values, *axis.ticks])
        if axis.log:
            low, high = math.log(low), math.log(high)
        elif axis.zero:
            low = min(low, 0.0)
        margin = (high - low) * 0.04 or 0.5
        self.low = low if axis.zero and not axis.log else low - margin
        self.high = high + margin

    def at(self, value: float) -> float:
        value = math.log(value) if self.axis.log else value
        begin, end = self.pixels
        return begin + (value - self.low) / (self.high - self.low) * (end - begin)

    def ticks(self) -> list[float]:
        if self.axis.ticks:
            return list(self.axis.ticks)
        if self.axis.log:
            first, last = math.floor(self.low / math.log(10)), math.ceil(self.high / math.log(10))
            steps = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5)]
            return [step for step in steps if self.low <= math.log(step) <= self.high]
        rough = (self.high - self.low) / 6
        unit = 10.0**math.floor(math.log10(rough))
        step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough)
        begin = math.ceil(self.low / step)
        return [n * step for n in range(begin, math.floor(self.high / step) + 1)]


def shown(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value / 1000:g}k" if abs(value) < 1e6 else f"{value / 1e6:g}M"
    return f"{value:g}" if abs(value) >= 1e-9 else "0"


def text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>'


def frame(title: str, x: Scale, y: Scale) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [text(LEFT, 22, title, 'font-size="15" font-weight="bold"')]
    for value in x.ticks():
        at = x.at(value)
        parts.append(f'<path d="M{at:.1f} {TOP}V{bottom}" stroke="#e4e4e4"/>')
        parts.append(text(at, bottom + 16, shown(value), 'text-anchor="middle"'))
    for value in y.ticks():
        at = y.at(value)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{right}" stroke="#e4e4e4"/>')
        parts.append(text(LEFT - 6, at + 4, shown(value), 'text-anchor="end"'))
    parts.append(f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#444"/>')
    parts.append(text((LEFT + right) / 2, HEIGHT - 12, x.axis.label, 'text-anchor="middle"'))
    middle = (TOP + bottom) / 2
    parts.append(text(16, middle, y.axis.label,
                      f'text-anchor="middle" transform="rotate(-90 16 {middle:.1f})"'))
    return parts


def line_chart(title: str, x_axis: Axis, y_axis: Axis, series: Series) -> str:
    """The chart as text; series without points are left out. Points of a log axis must be above 0.
    A line goes through its points in the order that they are given."""
    drawn = {name: points for name, points in series.items() if points}
    if not drawn:
        return ""
    every = [point for points in drawn.values() for point in points]
    x = Scale(x_axis, [point[0] for point in every], (LEFT, WIDTH - RIGHT))
    y = Scale(y_axis, [point[1] for point in every], (HEIGHT - BOTTOM, TOP))
    parts = frame(title, x, y)
    for number, (name, points) in enumerate(drawn.items()):
        colour = COLOURS[number % len(COLOURS)]
        dash = DASHES[number // len(COLOURS) % len(DASHES)]
        pixels = [(x.at(px), y.at(py)) for px, py in points]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in pixels)
        style = f'stroke="{colour}" stroke-width="{2.6 if number == 0 else 1.6}"'
        parts.append(f'<polyline points="{path}" fill="none" {style} stroke-dasharray="{dash}"/>')
        parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.6" fill="{colour}"/>'
                  for px, py in pixels]
        row = TOP + 8 + number * 17
        left = WIDTH - RIGHT + 14
        parts.append(f'<path d="M{left} {row}h22" {style} stroke-dasharray="{dash}"/>')
        parts.append(text(left + 28, row + 4, name))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">\n'
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n'
            + "\n".join(parts) + "\n</svg>\n")
