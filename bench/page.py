"""BENCH.md from what was measured: nothing on it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import Row
from bench.gpu import Line, table
from bench.scaling import Curve

PAGE = Path("BENCH.md")
NUMBERS, DRAWING, GPU = (Path("docs/results") / name for name in ("bench.json", "scaling.svg", "gpu.json"))

SCALING = "scaling"
"""The part that holds curves; every other holds rows."""

Found = dict[str, Any]
"""`hardware`, and `parts`: name → date, load and what was found, each a `Row` or a `Curve` as a dictionary."""


def curves(found: Found) -> list[Curve]:
    part = found["parts"].get(SCALING, {"found": []})
    return [
        Curve(**{**one, "sizes": tuple(one["sizes"]), "costs": tuple(one["costs"])}) for one in part["found"]
    ]


def markdown(found: Found, gpu: Found | None = None) -> str:
    """The whole page; `gpu` is what `python -m bench.gpu --json` wrote."""
    dates = sorted({part["date"] for part in found["parts"].values()})
    loads = ", ".join(f"{name} {part['load']:.1f}" for name, part in found["parts"].items())
    lines = [
        "# Speed, beside error",
        "",
        "`make bench` writes this page. Median wall time of 5 calls or more on one thread; how many times faster than",
        "a baseline measured in the same run; and the largest error of our result, in the same row.",
        "",
        f"{found['hardware']}; {' and '.join(dates)}; load of the machine after each part: {loads}.",
        "",
        "| part | work | ms | baseline | its ms | times faster | largest error | from | more |",
        "|---|---|---:|---|---:|---:|---:|---|---|",
    ]
    for name, part in found["parts"].items():
        if name != SCALING:
            lines += [_row(name, Row(**one)) for one in part["found"]]
    if some := curves(found):
        lines += ["", *_scaling(some)]
    if gpu is not None:
        rows = [Line(**line) for line in gpu["lines"]]
        lines += ["", "## The objective on a GPU", "", gpu["where"], "", table(rows).rstrip()]
    return "\n".join(lines) + "\n"


def _row(part: str, row: Row) -> str:
    return (
        f"| {part} | {row.work} | {1e3 * row.seconds:,.1f} | {row.baseline} | {1e3 * row.baseline_seconds:,.1f} "
        f"| {row.faster:,.2f} | {row.error:.1e} | {row.of} | {row.note} |"
    )


def _scaling(some: list[Curve]) -> list[str]:
    lines = [
        "## Cost against size",
        "",
        "`slope` is that of the straight line through the logarithms: 1 is linear, 0 is constant. The dotted line in",
        "each panel is linear. The naive way ends where its matrices would fill a small machine.",
        "",
        f"![Cost against speakers, batch and hours]({DRAWING.as_posix()})",
    ]
    for panel in dict.fromkeys(curve.panel for curve in some):
        here = [curve for curve in some if curve.panel == panel]
        sizes = sorted({size for curve in here for size in curve.sizes})
        lines += [
            "",
            f"| {panel}, {here[0].unit} | {' | '.join(f'{here[0].axis} {size:,.0f}' for size in sizes)} | slope |",
            f"|---|{'---:|' * (len(sizes) + 1)}",
        ]
        for curve in here:
            cost = dict(zip(curve.sizes, curve.costs, strict=True))
            cells = (f"{cost[size]:,.1f}" if size in cost else "" for size in sizes)
            lines.append(f"| {curve.name} | {' | '.join(cells)} | {curve.slope:.2f} |")
    return lines
