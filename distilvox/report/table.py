"""The tables of the page: methods with sizes, speed and error rates; their runs; agreement; a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from distilvox.report.figures import teachers
from distilvox.report.groups import Group, speakers_of
from distilvox.report.rates import by_speakers
from distilvox.report.read import Run, Speed, number, short, table
from distilvox.study import compare

NONE = "–"


def percent(rate: float | None) -> str:
    return NONE if rate is None else f"{rate:.2%}"


def interval(run: Run) -> str:
    if run.interval is None:
        return NONE
    low, high = run.interval
    return f"{100 * low:.2f} – {high:.2%}"


def size(count: float | None) -> str:
    """Bytes as people read them.

    >>> [size(n) for n in (None, 900, 2_500_000)]
    ['–', '0.9 kB', '2.5 MB']
    """
    if count is None:
        return NONE
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def factor(value: float | None) -> str:
    """A real-time factor."""
    if value is None or value <= 0:
        return NONE
    return f"{value:.2g}"


def html_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    text: Sequence[int],
    best: int = -1,
    drop: bool = False,
) -> str:
    """A table that scrolls sideways on a narrow screen.

    Args:
        columns, rows: plain text; escaped here.
        text: the columns that hold words (left-aligned), not numbers.
        best: the row to set in bold.
        drop: leave out columns without any value.
    """
    if drop and rows:
        kept = [k for k in range(len(columns)) if any(row[k] != NONE for row in rows)]
        columns, rows = [columns[k] for k in kept], [[row[k] for k in kept] for row in rows]
        text = [place for place, k in enumerate(kept) if k in text]
    head = "".join(f"<th{_kind(k in text)} scope='col'>{escape(name)}</th>" for k, name in enumerate(columns))
    body = "".join(
        ("<tr class='best'>" if k == best else "<tr>")
        + "".join(_cell(cell, j, j in text) for j, cell in enumerate(row))
        + "</tr>"
        for k, row in enumerate(rows)
    )
    return (
        "<div class='scroll' tabindex='0' role='region' aria-label='table'>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(cell: str, column: int, is_text: bool) -> str:
    if column == 0:
        return f"<th{_kind(is_text)} scope='row'>{escape(cell)}</th>"
    return f"<td{_kind(is_text)}>{escape(cell)}</td>"


def _kind(is_text: bool) -> str:
    return " class='text'" if is_text else ""


MODELS = (
    "method", "model", "objective", "teacher", "speakers", "seeds", "EER", "± or 95 % interval", "minDCF 0.01",
    "minDCF 0.05", "AS-norm EER", "AS-norm minDCF 0.01", "parameters", "MACs for 2 s", "size", "time",
    "real-time factor", "epochs",
)  # fmt: skip
MODELS_TEXT = (0, 1, 2, 3)
RATES = {8: "min_dcf_0.01", 9: "min_dcf_0.05", 11: "asnorm_min_dcf_0.01"}


def models_table(
    groups: Sequence[Group], speed: Sequence[Speed], macs: Mapping[str, int], best: Run | None
) -> str:
    """One row a method, then one for every other model whose speed was measured; columns without a value go."""
    timed = {item.name: item for item in speed}
    rows = [_model_row(group, timed, macs) for group in groups]
    names = {run.name for group in groups for run in group.runs}
    known = teachers([run for group in groups for run in group.runs])
    for item in speed:
        if item.name not in names:
            row = [item.name] + [NONE] * (len(MODELS) - 1)
            row[6] = percent(known.get(short(item.name)))
            row[12], row[14:17] = f"{item.parameters:,}", [size(item.bytes), *_speed_cells(item)]
            rows.append(row)
    mark = next((k for k, group in enumerate(groups) if best is not None and best in group.runs), -1)
    return html_table(MODELS, rows, MODELS_TEXT, best=mark, drop=True)


def _model_row(group: Group, timed: Mapping[str, Speed], macs: Mapping[str, int]) -> list[str]:
    first = group.runs[0] if group.runs else None
    train = table(first.config, "train") if first else {}
    item = next((timed[run.name] for run in group.runs if run.name in timed), None)
    arithmetic = next((macs[run.name] for run in group.runs if run.name in macs), None)
    parameters = item.parameters if item else first.parameters if first else None
    count = item.bytes if item else first.bytes if first else None
    ends = NONE
    if group.spread:
        ends = f"± {100 * (group.high - (group.mean or 0.0)):.2f}"
    elif group.low < group.high:
        ends = f"{100 * group.low:.2f} – {group.high:.2%}"
    rates = {k: group.extra.get(name) for k, name in RATES.items()}
    return [
        group.name,
        group.student,
        group.objective,
        short(first.teacher) if first and first.teacher else NONE,
        NONE if group.speakers is None else f"{group.speakers:,}",
        str(len(group.rates)) if group.rates else NONE,
        percent(group.mean),
        ends,
        *(NONE if (cost := rates[k]) is None else f"{cost:.3f}" for k in (8, 9)),
        percent(group.extra.get("asnorm_eer")),
        NONE if (cost := rates[11]) is None else f"{cost:.3f}",
        NONE if parameters is None else f"{parameters:,}",
        NONE if arithmetic is None else f"{arithmetic / 1e6:,.1f} M",
        size(count),
        *(_speed_cells(item) if item else [NONE, NONE]),
        str(train.get("epochs", NONE)),
    ]


def _speed_cells(item: Speed) -> list[str]:
    time = number(item.milliseconds)
    shown = NONE if time is None else f"{time:.3g} ms / {round(item.seconds_of_speech, 1):g} s"
    return [shown, factor(number(item.real_time_factor))]


RUNS = (
    "run", "seed", "EER", "95 % interval", "threshold", "minDCF 0.01", "minDCF 0.05", "AS-norm EER",
    "speakers trained on",
)  # fmt: skip


def runs_table(runs: Sequence[Run], best: Run | None) -> str:
    """One row a run: what each seed came to."""
    rows = []
    for run in runs:
        more, count = run.more, speakers_of(run)
        threshold = number(run.evaluation.get("eer_threshold"))
        rows.append(
            [
                run.name,
                str(table(run.config, "train").get("seed", NONE)),
                percent(run.eer),
                interval(run),
                NONE if threshold is None else f"{threshold:.3f}",
                *(
                    NONE if (cost := more.get(f"min_dcf_{prior}")) is None else f"{cost:.3f}"
                    for prior in ("0.01", "0.05")
                ),
                percent(more.get("asnorm_eer")),
                NONE if count is None else f"{count:,}",
            ]
        )
    return html_table(RUNS, rows, (0,), best=-1 if best is None else list(runs).index(best), drop=True)


AGREEMENT = (
    "method",
    "cosine, once aligned",
    "rank correlation of scores",
    "nearest 10 in common",
    "by chance",
)


def agreement_table(groups: Sequence[Group]) -> str:
    """How much of the teacher is in each student; empty where nobody asked."""
    rows = []
    for group in groups:
        found = {
            name: group.extra.get(f"agreement_{name}")
            for name in ("cosine", "rank_correlation", "neighbours", "neighbours_by_chance")
        }
        if found["cosine"] is not None:
            shown = [NONE if value is None else f"{value:.3f}" for value in list(found.values())[:2]]
            shares = [NONE if value is None else f"{value:.1%}" for value in list(found.values())[2:]]
            rows.append([group.name, *shown, *shares])
    return html_table(AGREEMENT, rows, (0,), drop=True) if rows else ""


def speakers_table(groups: Sequence[Group]) -> str:
    """The numbers of the speaker-count figure."""
    rows = [
        [student, variant, f"{group.speakers:,}", percent(group.mean), _ends(group), str(len(group.rates))]
        for (student, variant), line in by_speakers(groups).items()
        for group in line
    ]
    return html_table(("student", "objective", "speakers", "EER", "error bar", "seeds"), rows, (0, 1))


def _ends(group: Group) -> str:
    return f"{100 * group.low:.2f} – {group.high:.2%}"


def study_table(study: Mapping[str, Any]) -> str:
    """The comparison that `distilvox study` prints."""
    return html_table(compare.COLUMNS, compare.rows(dict(study)), (0, 5), drop=True)
