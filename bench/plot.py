"""Curves as one SVG file without anything outside it: both axes logarithmic, light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from bench.scaling import Curve

WIDTH, HEIGHT, COLUMNS = 470, 300, 2
LEFT, RIGHT, TOP, BOTTOM = 62, 122, 40, 44

STYLE = """
svg { --paper: #ffffff; --ink: #18202b; --soft: #566273; --grid: #e8ecf1;
  --c0: #0072b2; --c1: #d55e00; --c2: #008f68; --c3: #b9558d; }
@media (prefers-color-scheme: dark) { svg { --paper: #10141a; --ink: #e7ecf2; --soft: #9ba8b8; --grid: #29313d;
  --c0: #4fa8e0; --c1: #f5854a; --c2: #2cc295; --c3: #e49ac4; } }
rect { fill: var(--paper); }
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--soft); }
.title { font-weight: 600; font-size: 13px; fill: var(--ink); }
.grid { stroke: var(--grid); }
.linear { stroke: var(--soft); stroke-dasharray: 2 4; fill: none; }
""" + "".join(
    f".c{k} {{ stroke: var(--c{k}); fill: none; stroke-width: 2; }} .d{k} {{ fill: var(--c{k}); }}\n"
    for k in range(4)
)


def drawing(curves: Sequence[Curve]) -> str:
    """The whole file: a panel for each `Curve.panel`, in order of appearance; at most four curves in one."""
    panels: dict[str, list[Curve]] = {}
    for curve in curves:
        panels.setdefault(curve.panel, []).append(curve)
    width, height = COLUMNS * WIDTH, -(-len(panels) // COLUMNS) * HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape('; '.join(panels))}</title>",
        f'<style>{STYLE}</style><rect width="{width}" height="{height}"/>',
    ]
    for number, (title, some) in enumerate(panels.items()):
        row, column = divmod(number, COLUMNS)
        parts.append(f'<g transform="translate({column * WIDTH} {row * HEIGHT})">')
        parts += panel(title, some)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


class Scale:
    """A logarithmic axis: values to pixels, with room for the lowest and the highest of them."""

    def __init__(self, values: Iterable[float], first: float, last: float) -> None:
        logs = [math.log10(value) for value in values]
        self.low, self.high = min(logs), max(logs)
        if self.high - self.low < 1:
            self.low, self.high = self.low - 0.5, self.high + 0.5
        self.first, self.last = first, last

    def __call__(self, value: float) -> float:
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self.first + part * (self.last - self.first), 1)

    def decades(self) -> list[float]:
        """The powers of ten in its range."""
        return [10.0**k for k in range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)]


def panel(title: str, curves: Sequence[Curve]) -> list[str]:
    """Elements of one panel, its upper left corner at 0, 0."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    x = Scale([size for curve in curves for size in curve.sizes], LEFT, right)
    y = Scale([cost for curve in curves for cost in curve.costs], bottom, TOP)
    parts = [f'<text class="title" x="{LEFT}" y="20">{escape(title)}, {curves[0].unit}</text>']
    for value in x.decades():
        parts.append(f'<path class="grid" d="M{x(value)} {TOP}V{bottom}"/>')
        parts.append(f'<text x="{x(value)}" y="{bottom + 18}" text-anchor="middle">{short(value)}</text>')
    for value in y.decades():
        parts.append(f'<path class="grid" d="M{LEFT} {y(value)}H{right}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4}" text-anchor="end">{short(value)}</text>')
    parts.append(
        f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{curves[0].axis}</text>'
    )
    parts.append(linear(x, y, curves[0]))
    heights = apart([y(curve.costs[-1]) for curve in curves], 15)
    for k, (curve, height) in enumerate(zip(curves, heights, strict=True)):
        points = [(x(size), y(cost)) for size, cost in zip(curve.sizes, curve.costs, strict=True)]
        parts.append(f'<path class="c{k}" d="M{"L".join(f"{a} {b}" for a, b in points)}"/>')
        parts += [f'<circle class="d{k}" cx="{a}" cy="{b}" r="3"/>' for a, b in points]
        parts.append(f'<text class="d{k}" x="{right + 8}" y="{height + 4}">{escape(curve.name)}</text>')
    return parts


def linear(x: Scale, y: Scale, curve: Curve) -> str:
    """A dotted line of slope 1 through the last point of a curve, as far as the panel goes."""
    size, cost = math.log10(curve.sizes[-1]), math.log10(curve.costs[-1])
    start = max(x.low, size - (cost - y.low))
    begin = (x(10**start), y(10 ** (cost - (size - start))))
    return f'<path class="linear" d="M{begin[0]} {begin[1]}L{x(10**size)} {y(10**cost)}"/>'


def apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Heights of labels, near those wanted and at least `gap` from one another.

    >>> apart([10.0, 50.0, 12.0], 15)
    [10.0, 50.0, 25.0]
    """
    found, last = dict.fromkeys(range(len(wanted)), 0.0), -math.inf
    for k in sorted(found, key=lambda k: wanted[k]):
        last = found[k] = max(wanted[k], last + gap)
    return [found[k] for k in range(len(wanted))]


def short(value: float) -> str:
    """A power of ten in few characters.

    >>> [short(value) for value in (0.01, 1.0, 10000.0, 1e6)]
    ['0.01', '1', '10 k', '1 M']
    """
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
