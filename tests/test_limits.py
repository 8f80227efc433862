"""Nothing that is asked for by mistake brings a machine down; who means it says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from distilvox import models
from distilvox.corpus.subset import SubsetConfig
from distilvox.errors import UserError
from distilvox.limits import LIMITS, check_limit, check_seed, limit
from distilvox.ship.runtime import Verifier
from distilvox.study.recipe import read_recipe
from distilvox.train.config import FineTuneConfig, TrainConfig
from distilvox.views.draws import ViewConfig
from tests.faults.table import fault

TOO_MUCH: dict[str, Callable[[], object]] = {
    "threads": lambda: TrainConfig(threads=100_000),
    "epochs": lambda: TrainConfig(epochs=10**9),
    "batch_size": lambda: TrainConfig(batch_size=10**9),
    "view_seconds": lambda: ViewConfig(seconds=1e9),
    "layer_size": lambda: models.build("xvector-s", channels=10**9),
    "finetune": lambda: FineTuneConfig(seconds=1e9),
    "runtime": lambda: Verifier.load("bundle", threads=100_000),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_too_much_is_refused_with_the_number_and_the_way_to_raise_it(name: str) -> None:
    row = fault("too much is asked for")
    with pytest.raises(UserError, match=rf"{row.sees}\n.*\n.*up to [\d,e+]+[\s\S]*DISTILVOX_MOST_") as caught:
        TOO_MUCH[name]()
    assert caught.value.exit_code == row.exits


def test_a_grid_of_nine_million_runs_is_refused_before_one_is_built(tmp_path: Path) -> None:
    axes = "\n".join(
        f"  {name}: [{', '.join(map(str, range(1, 201)))}]" for name in ("kd_scale", "gamma", "alpha")
    )
    recipe = f"teacher: x\ngrid:\n{axes}\nmethods: {{a: {{}}}}\nseeds: [0]\nbaseline: a\n"
    (tmp_path / "r.yaml").write_text(recipe)
    with pytest.raises(UserError, match=r"the number of runs of .*\n.*8,000,000\n.*up to 10,000 runs"):
        read_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64, 10**30])
def test_a_seed_beyond_64_bits_is_refused(seed: int) -> None:
    for make in (
        lambda: TrainConfig(seed=seed),
        lambda: SubsetConfig(seed=seed),
        lambda: check_seed(seed, what="x"),
    ):
        with pytest.raises(UserError, match=r"out of range|cannot be negative"):
            make()
    check_seed(2**63 - 1, what="x")


def test_the_environment_raises_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILVOX_MOST_THREADS", "5000")
    assert TrainConfig(threads=4096).threads == 4096
    monkeypatch.setenv("DISTILVOX_MOST_THREADS", "many")
    with pytest.raises(UserError, match="the limit DISTILVOX_MOST_THREADS is no number"):
        TrainConfig(threads=1)


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_allows_itself_and_no_more(name: str) -> None:
    check_limit(name, limit(name), what="it")
    with pytest.raises(UserError, match="it is more than any machine"):
        check_limit(name, limit(name) + 1, what="it")
