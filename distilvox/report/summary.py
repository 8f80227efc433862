"""The findings in words: the best run, what it was judged by, how far that may be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from distilvox.report.figures import teachers
from distilvox.report.groups import Group
from distilvox.report.read import Run
from distilvox.report.table import interval, percent


def best_run(runs: Sequence[Run]) -> Run | None:
    """The lowest EER among the students judged by the trials that most of them were judged by.

    A run that others learn from is no student, unless nothing else was evaluated.
    """
    judged = [run for run in runs if run.eer is not None]
    masters = {run.name for run in judged if any(learns_from(other, run) for other in runs)}
    judged = [run for run in judged if run.name not in masters] or judged
    if not judged:
        return None
    usual = Counter(run.trials for run in judged).most_common(1)[0][0]
    return min((run for run in judged if run.trials == usual), key=lambda run: run.eer or 0.0)


def learns_from(student: Run, other: Run) -> bool:
    """Whether the teacher of `student` is the run `other`; folders may have moved, so their names count."""
    scheme, _, folder = (student.teacher or "").partition(":")
    return scheme == "run" and Path(folder).name == other.folder.name and student is not other


def summary(runs: Sequence[Run], best: Run | None) -> str:
    """What was found and how far it may be trusted, in a few sentences."""
    many = f"{len(runs)} runs" if len(runs) > 1 else "One run"
    if best is None:
        return f"{many}, not evaluated yet."
    name, scoring, trials, targets = best.trials
    held = best.evaluation
    judged = [run for run in runs if run.eer is not None]
    count = f"{many}, judged" if len(judged) == len(runs) else f"{many}, {len(judged)} of them judged"
    alone = len(judged) == 1
    subject = (
        f"The equal error rate of {best.name} is" if alone else f"The best student is {best.name}: its EER is"
    )
    words = [
        f"{count} on {name}: {trials:,} trials ({targets:,} of one and the same speaker) over "
        f"{held.get('speakers', 'an unknown number of')} speakers, scored by {scoring}.",
        known_speakers(judged),
        f"{subject} {percent(best.eer)}"
        + (f"; the 95 % interval over speakers is {interval(best)}." if best.interval else "."),
    ]
    same = [run for run in judged if run.trials == best.trials]
    if len(same) > 1:
        words.append(f"It is the best of {len(same)} on the same trials, which flatters it a little.")
    if len(same) < len(judged):
        words.append("Other runs were judged by other trials: their rates cannot be compared with these.")
    return " ".join(word for word in words if word)


def known_speakers(judged: Sequence[Run]) -> str:
    """Whether speakers of the trials were trained on: one sentence, or nothing where it is not known."""
    both: set[str] = set()
    scored = [run for run in judged if run.scores is not None and run.config["speakers"] is not None]
    for run in scored:
        trained = set(run.config["speakers"])
        both |= {name for name in run.scores.speakers.tolist() if name in trained} if run.scores else set()
    if both:
        return f"Caution: {len(both)} of these speakers were trained on, which flatters every rate here."
    return "These runs were trained on none of them." if scored and len(scored) == len(judged) else ""


def tiles(runs: Sequence[Run], best: Run | None) -> str:
    """The figures to remember."""
    if best is None:
        return ""
    shown = [(percent(best.eer), f"lowest EER: {best.name}", " first")]
    if best.interval:
        low, high = (100 * end for end in best.interval)
        shown.append((f"{low:.1f} – {high:.1f}%", "its 95 % interval over speakers", ""))
    for name, rate in list(teachers(runs).items())[:1]:
        shown.append((percent(rate), f"EER of the teacher {name}", ""))
    if best.parameters is not None:
        shown.append((f"{best.parameters / 1e6:.2f} M", f"parameters of {best.config['model']['name']}", ""))
    shown.append((f"{best.trials[2]:,}", f"trials in {best.trials[0]}", ""))
    return _tiles(shown)


def _tiles(shown: Sequence[tuple[str, str, str]]) -> str:
    made = "".join(
        f"<div class='tile{kind}'><b>{escape(x)}</b><span>{escape(y)}</span></div>" for x, y, kind in shown
    )
    return f"<div class='tiles'>{made}</div>"


def study_summary(study: Mapping[str, Any], groups: Sequence[Group]) -> str:
    """What a study found, where its runs are not at hand."""
    best = min((group for group in groups if group.rates), key=lambda group: group.mean or 0.0, default=None)
    trials = study.get("trials")
    words = (
        f"{study.get('title', 'A study')}: {len(groups)} methods, {len(study.get('seeds', []))} seeds each, judged "
        f"on {study.get('trial_list', 'unnamed trials')}"
        + (f" ({trials:,} trials)" if isinstance(trials, int) else "")
        + f", scored by {study.get('scores', 'an unknown score')}."
    )
    if best is None:
        return words
    return (
        words
        + f" The lowest mean EER is that of {best.name}: {percent(best.mean)}. It is the best of {len(groups)} on "
        "the same trials, which flatters it a little."
    )


def study_tiles(study: Mapping[str, Any], groups: Sequence[Group]) -> str:
    """The figures to remember of a study without runs."""
    judged = sorted((group for group in groups if group.rates), key=lambda group: group.mean or 0.0)
    if not judged:
        return ""
    best = judged[0]
    shown = [(percent(best.mean), f"lowest mean EER: {best.name}", " first")]
    if best.spread:
        shown.append((f"± {100 * (best.high - (best.mean or 0.0)):.2f}", "its spread over seeds, points", ""))
    baseline = study["baselines"].get(best.name)
    base = next((group for group in judged if group.name == baseline and group is not best), None)
    if base is not None and base.mean and best.mean is not None:
        shown.append((f"{best.mean / base.mean - 1:+.1%}", f"against {base.name} ({percent(base.mean)})", ""))
    if isinstance(study.get("trials"), int):
        shown.append((f"{study['trials']:,}", f"trials in {study.get('trial_list', 'the list')}", ""))
    return _tiles(shown)
