"""Every recipe that comes with distilvox can be run: it is read, and its budgets, steps and command add up."""

from __future__ import annotations

from pathlib import Path

import pytest

from distilvox.study.budget import check_budgets
from distilvox.study.recipe import Recipe, read_recipe
from distilvox.train.stages import stages

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))
COUNTING = [path for path in RECIPES if path.name.startswith("speakers-")]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_read_and_says_how_to_run_it(path: Path) -> None:
    recipe, text = read_recipe(path), path.read_text(encoding="utf-8")
    assert len(recipe.methods) * len(recipe.seeds) == len(recipe.runs()) >= 1
    head = text[: text.index("title:")]
    assert f"distilvox study recipes/{path.name} --corpus" in head
    for said in ("# Cost:", "# Result:"):
        assert said in head
    assert f"{len(recipe.runs())} run" in head


def sizes(recipe: Recipe) -> dict[str, int]:
    """Method → how many utterances its subset has."""
    chosen = {method: recipe.config(method, recipe.seeds[0]).subset for method in recipe.methods}
    return {method: s.total or s.speakers * s.per_speaker for method, s in chosen.items()}


@pytest.mark.parametrize("path", COUNTING, ids=lambda path: path.stem)
def test_every_number_of_speakers_takes_as_many_steps(path: Path) -> None:
    recipe = read_recipe(path)
    budgets = check_budgets(recipe, sizes(recipe))
    assert len({tuple(budget.values()) for budget in budgets.values()}) == 1  # to the step, not only nearly
    rises = set()
    for method, utterances in sizes(recipe).items():
        config = recipe.config(method, recipe.seeds[0])
        (stage,) = stages(config, utterances)
        loss = config.objective
        rises.add(stage.warmup_steps)
        rises |= {round(e * stage.epoch_steps) for e in (loss.kd_warmup_epochs, loss.margin_warmup_epochs)}
        assert f"{stage.steps} steps" in path.read_text(encoding="utf-8")
    assert len(rises) == 1


def test_the_speaker_count_goes_over_the_whole_range() -> None:
    counts = {
        path.stem: sorted({recipe.config(m, 1).subset.speakers for m in recipe.methods})
        for path in COUNTING
        for recipe in [read_recipe(path)]
    }
    assert counts["speakers-fixed-per-speaker"] == [50, 200, 800, 1600]
    assert counts["speakers-fixed-total"] == [50, 165, 500, 1000]
    assert counts["speakers-fixed-total-synthetic"][-1] == 1600
