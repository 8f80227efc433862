"""The tables of the page: models with sizes, speed and error rates; a study; where the numbers come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from distilvox.report.figures import teachers
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
    columns: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[int], best: int = -1
) -> str:
    """A table that scrolls sideways on a narrow screen.

    Args:
        columns, rows: plain text; escaped here.
        text: the columns that hold words (left-aligned), not numbers.
        best: the row to set in bold.
    """
    head = "".join(f"<th{_kind(k in text)} scope='col'>{escape(name)}</th>" for k, name in enumerate(columns))
    body = "".join(
        ("<tr class='best'>" if k == best else "<tr>")
        + "".join(f"<td{_kind(j in text)}>{escape(cell)}</td>" for j, cell in enumerate(row))
        + "</tr>"
        for k, row in enumerate(rows)
    )
    return (
        "<div class='scroll' tabindex='0' role='region' aria-label='table'>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _kind(is_text: bool) -> str:
    return " class='text'" if is_text else ""


MODELS = (
    "run", "model", "objective", "teacher", "EER", "95 % interval", "minDCF 0.01", "minDCF 0.05",
    "parameters", "size", "time", "real-time factor", "epochs", "seed",
)  # fmt: skip
MODELS_TEXT = (0, 1, 2, 3)


def models_table(runs: Sequence[Run], speed: Sequence[Speed], best: Run | None) -> str:
    """One row a run, then one for every other model whose speed was measured."""
    timed = {item.name: item for item in speed}
    rows = [_model_row(run, timed.get(run.name)) for run in runs]
    names = {run.name for run in runs}
    known = teachers(runs)
    for item in speed:
        if item.name not in names:
            rows.append(
                [
                    item.name,
                    *[NONE] * 3,
                    percent(known.get(short(item.name))),
                    *[NONE] * 3,
                    *_speed_cells(item, item.parameters, item.bytes),
                    NONE,
                    NONE,
                ]
            )
    return html_table(MODELS, rows, MODELS_TEXT, best=-1 if best is None else list(runs).index(best))


def _model_row(run: Run, timed: Speed | None) -> list[str]:
    costs = table(run.evaluation, "min_dcf")
    train = table(run.config, "train")
    dcf = [number(costs.get(prior)) for prior in ("0.01", "0.05")]
    return [
        run.name,
        str(run.config["model"]["name"]),
        run.objective,
        short(run.teacher) if run.teacher else NONE,
        percent(run.eer),
        interval(run),
        *(NONE if cost is None else f"{cost:.3f}" for cost in dcf),
        *_speed_cells(
            timed, timed.parameters if timed else run.parameters, timed.bytes if timed else run.bytes
        ),
        str(train.get("epochs", NONE)),
        str(train.get("seed", NONE)),
    ]


def _speed_cells(timed: Speed | None, parameters: int | None, count: int | None) -> list[str]:
    time = number(timed.milliseconds) if timed else None
    return [
        NONE if parameters is None else f"{parameters:,}",
        size(count),
        NONE if timed is None or time is None else f"{time:.3g} ms / {round(timed.seconds_of_speech, 1):g} s",
        factor(number(timed.real_time_factor)) if timed else NONE,
    ]


def study_table(study: Mapping[str, Any]) -> str:
    """The comparison that `distilvox study` prints."""
    return html_table(compare.COLUMNS, compare.rows(dict(study)), (0, 5))


SOURCES = ("run", "distilvox", "corpus", "corpus id", "teacher", "teacher id", "trials", "folder")


def sources_table(runs: Sequence[Run]) -> str:
    """What each run's numbers come from: versions and content ids, shortened to 16 digits."""
    rows = []
    for run in runs:
        corpus, teacher = table(run.config, "corpus"), table(run.config, "teacher")
        trials = run.config.get("trials") or run.evaluation.get("trial_list")
        rows.append(
            [
                run.name,
                str(run.config.get("distilvox", NONE)),
                str(corpus.get("path", NONE)),
                str(corpus.get("id", NONE))[:16],
                str(teacher.get("uri", NONE)),
                str(teacher.get("id", NONE))[:16],
                str(trials or NONE),
                str(run.folder),
            ]
        )
    return html_table(SOURCES, rows, range(len(SOURCES)))
