"""What is in a corpus: counts, utterances per speaker, durations; as plain values and as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from distilvox.corpus.store import Corpus
from distilvox.corpus.table import UNKNOWN

_SECONDS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 60)
_COUNTS = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100, 200, 500, 1000)
_MOST_VALUES = 8


def describe(corpus: Corpus) -> dict[str, Any]:
    """Counts, hours, quantiles and histograms, ready for JSON.

    A histogram is a list of {"from", "to", "count"}: from ≤ value < to, with to = None for the last bin.
    Seconds and counts are per utterance and per speaker. Quantiles of nothing are None.
    """
    known = corpus.labels != UNKNOWN
    per_speaker = np.bincount(corpus.labels[known], minlength=len(corpus.speakers))
    seconds = corpus.samples / corpus.sample_rate
    speaker = corpus.labels.tolist()
    sessions = len(set(zip(speaker, corpus.sessions, strict=True)))  # those of nobody too
    return {
        "path": str(corpus.path),
        "id": corpus.id,
        "licence": corpus.licence,
        "sample_rate": corpus.sample_rate,
        "speakers": len(corpus.speakers),
        "sessions": sessions,
        "utterances": len(corpus),
        "without_speaker": int(np.count_nonzero(~known)),
        "hours": corpus.seconds / 3600,
        "utterances_per_speaker": {**_spread(per_speaker), "histogram": _histogram(per_speaker, _COUNTS)},
        "seconds": {**_spread(seconds), "histogram": _histogram(seconds, _SECONDS)},
        "columns": {name: _column(values) for name, values in corpus.columns.items()},
    }


def render(description: dict[str, Any]) -> RenderableType:
    """What `describe` returned, for a rich console."""
    facts = Table.grid(padding=(0, 2))
    for name in ("path", "speakers", "sessions", "utterances"):
        value = description[name]
        facts.add_row(name, escape(value) if isinstance(value, str) else f"{value:,}")
    if description["without_speaker"]:
        facts.add_row("  without a speaker", f"{description['without_speaker']:,}")
    facts.add_row("hours", f"{description['hours']:.2f}")
    facts.add_row("id", description["id"][:16])
    facts.add_row("licence", escape(description["licence"] or "not stated"))
    parts: list[RenderableType] = [facts]
    for key, title, unit in (
        ("utterances_per_speaker", "utterances per speaker", "speakers"),
        ("seconds", "duration in seconds", "utterances"),
    ):
        parts += ["", _chart(description[key], title, unit)]
    if description["columns"]:
        parts += ["", _columns(description["columns"])]
    return Group(*parts)


def _spread(values: np.ndarray) -> dict[str, float | None]:
    if not len(values):
        return dict.fromkeys(("min", "median", "mean", "max"))
    results = {"min": values.min(), "median": np.median(values), "mean": values.mean(), "max": values.max()}
    return {name: float(value) for name, value in results.items()}


def _histogram(values: np.ndarray, edges: tuple[int, ...]) -> list[dict[str, int | None]]:
    """The bins between `edges`, and one from the last edge on; empty bins at both ends are left out."""
    counts = np.bincount(np.searchsorted(edges, values, side="right") - 1, minlength=len(edges))
    ends = (*edges[1:], None)
    bins = [{"from": a, "to": b, "count": int(n)} for a, b, n in zip(edges, ends, counts, strict=True)]
    filled = np.flatnonzero(counts)
    return bins[filled[0] : filled[-1] + 1] if len(filled) else []


def _column(values: list) -> dict[str, Any]:
    if all(isinstance(value, (int, float)) for value in values):
        return {"type": "number", **_spread(np.asarray(values, dtype=np.float64))}
    names, counts = np.unique(np.asarray(values, dtype=str), return_counts=True)
    most = np.argsort(-counts, kind="stable")[:_MOST_VALUES]
    return {
        "type": "text",
        "values": len(names),
        "most_frequent": {str(names[i]): int(counts[i]) for i in most},
    }


def _chart(spread: dict[str, Any], title: str, unit: str) -> Group:
    quantiles = ", ".join(
        f"{name} {spread[name]:,.4g}" for name in ("min", "median", "mean", "max") if spread[name] is not None
    )
    table = Table(box=None, show_header=False)
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column(width=40)
    most = max((entry["count"] for entry in spread["histogram"]), default=1)
    for entry in spread["histogram"]:
        start, end = entry["from"], entry["to"]
        whole = end is not None and unit == "speakers"  # counts: the last value inside the bin
        last = f"{end - 1}" if whole else f"{end}"
        label = f"{start} +" if end is None else f"{start}" if last == str(start) else f"{start} - {last}"
        table.add_row(label, f"{entry['count']:,} {unit}", Bar(most, 0, entry["count"], width=40))
    return Group(Text(f"{title}: {quantiles or 'none'}", style="italic"), table)


def _columns(columns: dict[str, Any]) -> Table:
    table = Table(title="other columns", title_justify="left", box=None, show_header=False)
    for name, column in columns.items():
        if column["type"] == "number":
            shown = ", ".join(f"{k} {v:,.4g}" for k, v in column.items() if isinstance(v, float))
        elif max(column["most_frequent"].values(), default=1) == 1:
            shown = f"{column['values']:,} values, all different"
        else:
            pairs = (f"{value or '(empty)'} {count:,}" for value, count in column["most_frequent"].items())
            shown = ", ".join(pairs) + (" …" if column["values"] > _MOST_VALUES else "")
        table.add_row(escape(name), escape(shown))
    return table
