"""The pre-flight of a teacher over its corpus: its trials, its class centres, its other window, each member of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distilvox.corpus.table import UNKNOWN
from distilvox.errors import UserError
from distilvox.evaluation.judge import Judge
from distilvox.teachers.advice import Baseline, read_baseline
from distilvox.teachers.ensemble import side_by_side
from distilvox.teachers.heads import FittedHead
from distilvox.teachers.preflight import Preflight, preflight
from distilvox.teachers.probe import probe
from distilvox.teachers.taught import Taught
from distilvox.teachers.vectors import Chosen, SideBySide, centred


def inspect(
    taught: Taught,
    *,
    scale: float,
    judge: Judge | None = None,
    baseline: Baseline | None = None,
    measure: bool = False,
) -> Preflight | None:
    """Looks at a teacher before anybody learns from it; None where no utterance has a speaker.

    Args:
        scale: of the cosines, for its probabilities.
        judge: dev trials for its own EER, if any.
        baseline: a run judged by these trials, to compare it with.
        measure: also run it on a little training speech: two views, speed, memory.
    """
    if not taught.names:
        return None
    members, corpus, views = taught.members, taught.shown.corpus, taught.members[0].heard.source.views
    known = (taught.labels != UNKNOWN).nonzero()[:, 0]
    labels, sources = taught.labels[known], torch.arange(len(corpus)).repeat(views)[known]
    trials = [] if judge is None else [one.trials(judge, taught.ranks) for one in members]
    windows = [None if judge is None else one.other_window(judge, taught.ranks) for one in members]
    measured = probe(taught.enter, taught.shown) if measure else None

    def look(uri: str, head: FittedHead, some: slice, **more: Any) -> Preflight:
        if judge is not None:
            raw, less = trials[some], [one.mean for one in members[some]]
            without = [centred(dev, mean) for dev, mean in zip(raw, less, strict=True)]
            more |= {"dev_eer": judge.eer(_joined(raw)), "dev_eer_centred": judge.eer(_joined(without))}
            more["trial_list"] = judge.trials.name
        sizes = taught.sizes if len(members[some]) > 1 else ()
        shown = Chosen(SideBySide([one.units for one in members[some]]), known)
        return preflight(
            uri, head, shown, labels, taught.names, scale=scale, utterances=sources, sizes=sizes, **more
        )  # fmt: skip

    alone = windows[0] if len(members) == 1 else None
    found = look(
        taught.shown.teacher.uri, taught.centres, slice(None), baseline=baseline, probe=measured, window=alone
    )
    if len(members) == 1:
        return found
    return found.with_members(
        [
            look(one.teacher.uri, taught.heads[k], slice(k, k + 1), window=windows[k])
            for k, one in enumerate(members)
        ]
    )


def baseline_of(run: Path, judge: Judge | None) -> Baseline:
    """What a run, judged by these trials, has a teacher to beat."""
    if judge is None:
        raise UserError("a baseline is compared by trials", got="none", remedy="give --trials too")
    return read_baseline(run, trial_list=judge.trials.name, trials=len(judge.trials.labels))


def _joined(parts: Sequence[Tensor]) -> np.ndarray:
    return (parts[0] if len(parts) == 1 else side_by_side(parts)).numpy()
