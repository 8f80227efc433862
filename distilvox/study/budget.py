"""Equal budget and equal crops: how much a run hears, from which address its views are drawn, and that all agree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from distilvox.errors import UserError
from distilvox.study.recipe import Recipe
from distilvox.train.config import RunConfig, full_name, to_json
from distilvox.train.stages import stages

TOLERANCE = 0.02
"""By how much budgets may differ where subsets are studied: whole epochs of different corpora hardly ever agree."""

LENGTH = frozenset({"train.epochs", "train.batch_size", "views.seconds"})
"""Fields that decide the budget on a given corpus (and all of fine-tuning): a study of these alone varies it."""


def budget(config: RunConfig, utterances: int) -> dict[str, float]:
    """What a run on so many utterances does: optimiser steps, utterances heard, seconds of audio heard."""
    plan = stages(config, utterances)
    heard = [stage.steps * min(stage.batch_size, utterances) for stage in plan]
    seconds = [count * stage.views.seconds for count, stage in zip(heard, plan, strict=True)]
    return {"steps": plan[-1].end_step, "utterances": sum(heard), "seconds": sum(seconds)}


def crops(config: RunConfig) -> dict[str, Any]:
    """What its crops are a function of, besides utterance and epoch: the seed, and a hash of all that a view is."""
    held = json.dumps(to_json(config.views), sort_keys=True)
    return {"seed": config.views.seed, "views": hashlib.sha256(held.encode()).hexdigest()[:16]}


def studied_fields(recipe: Recipe) -> set[str]:
    """The full names of all fields in which the recipe's methods differ from its base."""
    fields = {name for changes in recipe.methods.values() for name in changes}
    return {name if name == "teacher" else full_name(RunConfig(), name) for name in fields}


def check_budgets(recipe: Recipe, utterances: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """The budget of every method; refuses a study in which they differ.

    They may differ where the length of training is what is studied. Where the recipe studies subsets, epochs are there
    to make up for the size of each, and every budget must agree with the others.

    Args:
        utterances: method → how many it trains on.

    Raises:
        UserError: two methods differ by more than 2 % (names them and their steps).
    """
    found = {m: budget(recipe.config(m, recipe.seeds[0]), n) for m, n in utterances.items()}
    studied = studied_fields(recipe)
    subsets = any(name.startswith("subset.") for name in studied)
    length = studied & LENGTH or any(name.startswith("finetune.") for name in studied)
    if length and not subsets:
        return found
    for unit in ("steps", "seconds"):
        least, most = (pick(found, key=lambda m: found[m][unit]) for pick in (min, max))
        if found[most][unit] > (1 + TOLERANCE) * found[least][unit]:
            raise UserError(
                f"the runs of this study would not have equal budgets: {unit} differ",
                got="; ".join(
                    f"{m} {found[m][unit]:g} ({utterances[m]:,} utterances)" for m in (least, most)
                ),
                allowed=f"differences of {TOLERANCE:.0%}",
                remedy="set epochs together with the subset, so that all take as many steps",
            )
    return found
