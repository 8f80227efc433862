"""evaluate --conditions: the same trials clean, in noise, in rooms, through codecs, cut short."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor

from distilvox.cli.embedding import embed_trials
from distilvox.evaluation.conditions import Changed, conditions
from distilvox.evaluation.evaluate import Evaluation
from distilvox.evaluation.judge import Judge
from distilvox.views.bank import load_bank


def judge_conditions(
    judge: Judge,
    model: str,
    embed: Callable[[Tensor], Tensor],
    device: torch.device,
    *,
    noise: Path | None,
    rooms: Path | None,
    replicates: int,
) -> dict[str, Evaluation]:
    """Condition → what the trials say under it, raw cosine, in the order of the table."""
    found = {}
    for condition in conditions(load_bank(noise, rooms)):
        embeddings = embed_trials(
            judge, f"{model}, {condition.name}", embed, device, Changed(judge.corpus, condition)
        )
        found[condition.name] = judge.judge(embeddings, replicates=replicates)
    return found


def conditions_table(model: str, found: dict[str, Evaluation]) -> Table:
    """One row a condition; rates with their 95 % intervals over speakers."""
    first = next(iter(found.values()))
    table = Table(
        "condition, both sides", "EER", "95 %", *(f"minDCF {prior}" for prior in first.min_dcf),
        title=f"{model} on {first.trial_list}, {first.trials:,} trials, {first.scoring}", title_justify="left",
    )  # fmt: skip
    for name, one in found.items():
        low, high = one.eer_ci
        table.add_row(
            name,
            f"{one.eer:.2%}",
            f"{low:.2%} – {high:.2%}",
            *(f"{cost:.3f}" for cost in one.min_dcf.values()),
        )
    return table
