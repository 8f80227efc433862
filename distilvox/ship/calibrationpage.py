"""A calibration as one HTML page: where scores lie, how true probabilities are, and the thresholds. No script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from distilvox.ship.calibrating import Calibrated, Scored
from distilvox.ship.calibration import Threshold, duration_name

WIDTH, HEIGHT, BINS = 560, 220, 80

STYLE = """
:root { color-scheme: light dark; --a: #2a78d6; --b: #c4553b; --line: #8888; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .2rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, td.note { text-align: left; }
svg { width: 100%; height: auto; } text { font: 12px system-ui, sans-serif; fill: currentColor; }
@media (prefers-color-scheme: dark) { :root { --a: #6cabf5; --b: #f08a6f; } }
"""


def render(model: str, trials: Scored, done: Calibrated) -> str:
    """The whole page, as text."""
    found = done.calibration
    overall = done.figures["all"]
    rows = "".join(row(one) for one in found.thresholds)
    return f"""<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Calibration of {escape(model)}</title><style>{STYLE}</style>
<h1>Calibration of {escape(model)}</h1>
<p>Fitted on {found.trials:,} trials ({found.target_trials:,} of one speaker) of {found.speakers:,} people,
{escape(found.fitted_on)}; judged on other people, {escape(found.judged_on)}. Cost of the likelihood ratios (Cllr)
{overall["cllr"]:.3f} bits, at best {overall["min_cllr"]:.3f}; EER {overall["eer"]:.2%}.</p>
<h2>Scores</h2>{histogram(trials)}
<h2>Stated and found probability of one speaker, at even odds</h2>{diagram(done.figures["reliability"])}
<h2>Thresholds</h2><table><tr><th>sound in the shorter recording</th><th>false accepts asked for</th>
<th>threshold</th><th>found</th><th>95 %</th><th>misses</th></tr>{rows}</table></html>
"""


def row(one: Threshold) -> str:
    """A row of the table."""
    start = f"<tr><td>{duration_name(one.seconds)}</td><td>{one.rate:.2%}</td>"
    if one.threshold is None:
        return f'{start}<td class="note" colspan="4">none: {escape(one.note)}</td></tr>'
    if one.false_accept is None or one.miss is None:
        return f'{start}<td>{one.threshold:.4f}</td><td class="note" colspan="3">{escape(one.note)}</td></tr>'
    spread = "" if one.low is None or one.high is None else f"{one.low:.2%} – {one.high:.2%}"
    cells = (f"{one.threshold:.4f}", f"{one.false_accept:.3%}", spread, f"{one.miss:.1%}")
    return start + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def histogram(trials: Scored) -> str:
    """Both classes' scores, each of area 1."""
    low, high = float(trials.scores.min()), float(trials.scores.max())
    edges = np.linspace(low, high + 1e-9, BINS + 1)
    shares = [
        np.histogram(trials.scores[rows], edges)[0] / rows.sum() for rows in (~trials.labels, trials.labels)
    ]
    top = max(share.max() for share in shares)
    paths = "".join(
        f'<path d="{path(np.arange(BINS) / (BINS - 1), share / top)}" fill="none" stroke="var(--{ink})"'
        f' stroke-width="2"/><text x="{70 + 250 * k}" y="14" style="fill: var(--{ink})">{word}</text>'
        for k, (share, ink, word) in enumerate(
            zip(shares, "ba", ("different people", "one speaker"), strict=True)
        )
    )
    return drawing("scores", paths, f"{low:.2f}", f"{high:.2f}")


def diagram(points: Sequence[dict[str, float]]) -> str:
    """Found against stated; on the dotted line both are equal."""
    dots = "".join(
        f'<circle cx="{WIDTH * p["stated"]:.1f}" cy="{HEIGHT * (1 - p["found"]):.1f}" r="4" fill="var(--a)">'
        f"<title>stated {p['stated']:.1%}, found {p['found']:.1%}, {p['trials']:,} trials</title></circle>"
        for p in points
    )
    line = f'<path d="M0 {HEIGHT} L{WIDTH} 0" stroke="var(--line)" stroke-dasharray="4"/>'
    return drawing("reliability", line + dots, "0 %", "100 % stated")


def drawing(name: str, content: str, left: str, right: str) -> str:
    """The frame of a drawing, with words at the ends of its axis."""
    ends = f'<text x="0" y="{HEIGHT + 16}">{left}</text>'
    ends += f'<text x="{WIDTH}" y="{HEIGHT + 16}" text-anchor="end">{right}</text>'
    box = f"-4 -4 {WIDTH + 8} {HEIGHT + 24}"
    return f'<svg viewBox="{box}" role="img" aria-label="{name}">{content}{ends}</svg>'


def path(x: np.ndarray, y: np.ndarray) -> str:
    """An SVG path through points in [0, 1]²."""
    points = (f"{WIDTH * a:.1f} {HEIGHT * (1 - b):.1f}" for a, b in zip(x, y, strict=True))
    return "M" + " L".join(points)
