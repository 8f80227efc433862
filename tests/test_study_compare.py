"""What a comparison says of runs whose scores are known, and what it refuses to compare."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilvox.errors import UserError
from distilvox.evaluation.metrics import eer
from distilvox.files import read_json, write_json
from distilvox.study.budget import check_budgets
from distilvox.study.compare import COLUMNS, compare, markdown, render, rows
from distilvox.study.grid import run_folder
from distilvox.study.recipe import Recipe
from distilvox.study.terms import settings
from distilvox.train.config import RunConfig

SPEAKERS = np.repeat([f"d{k:02d}" for k in range(20)], 3)
ENROL, TEST = np.triu_indices(len(SPEAKERS), 1)
LABELS = SPEAKERS[ENROL] == SPEAKERS[TEST]
RECIPE = Recipe(
    title="toy",
    teacher="ge2e:",
    base={"epochs": 3},
    methods={"none": {"objective": "none"}, "kld": {"objective": "kld"}, "deep": {"student": "resnet-s"}},
    seeds=(0, 1),
    baselines=dict.fromkeys(("none", "kld", "deep"), "none"),
)
STRENGTH = {"none": 1.0, "kld": 2.0, "deep": 1.5}
"""By how much a method's target trials stand out."""


def make_study(out: Path, recipe: Recipe = RECIPE) -> Path:
    for method, seed in recipe.runs():
        folder = run_folder(out, method, seed)
        folder.mkdir(parents=True)
        config = recipe.config(method, seed)
        has_teacher = config.objective.objective != "none"
        record = {
            "version": 1,
            "speakers": ["a", "b"],
            "corpus": {
                "path": f"somewhere/{method}",
                "id": "c0ffee",
                "utterances": utterances(config),
                "hours": 1.0,
            },
            "bank": "ba2c",
            "teacher": {"uri": "ge2e:", "id": "1234"} if has_teacher else None,
            **settings(config),
        }
        write_json(folder / "config.json", record)
        rng = np.random.default_rng([seed, len(method)])
        save_scores(folder, rng.standard_normal(len(LABELS)) + STRENGTH.get(method, 1.0) * LABELS)
    return out


def utterances(config: RunConfig) -> int:
    return config.subset.total or 640


def save_scores(folder: Path, scores: np.ndarray, labels: np.ndarray = LABELS) -> None:
    np.savez(folder / "scores.npz", scores=scores, labels=labels, enrol=ENROL, test=TEST, speakers=SPEAKERS)
    judged = {
        "trial_list": "dev.txt",
        "trials": len(LABELS),
        "scores": "raw cosine",
        "eer": eer(scores, labels),
        "min_dcf": {"0.01": 0.5, "0.05": 0.25},
    }
    write_json(folder / "evaluation.json", judged)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return make_study(tmp_path / "study")


def change(run: Path, name: str, value: Any) -> None:
    record = read_json(run / "config.json", noun="run")
    inside = record
    *way, last = name.split(".")
    for key in way:
        inside = inside[key]
    inside[last] = value
    write_json(run / "config.json", record)


def test_means_spreads_and_paired_differences_agree_with_one_another(study: Path) -> None:
    result = compare(RECIPE, study, replicates=200)
    json.dumps(result, allow_nan=False)
    for method, found in result["methods"].items():
        runs = [eer(np.load(run_folder(study, method, s) / "scores.npz")["scores"], LABELS) for s in (0, 1)]
        assert found["eer"]["runs"] == runs
        assert found["eer"]["mean"] == pytest.approx(sum(runs) / 2)
        assert found["eer"]["std"] == pytest.approx(abs(runs[0] - runs[1]) / 2**0.5)
        assert method not in result["paired"][method]
        for other, pair in result["paired"][method].items():
            means = result["methods"][method]["eer"]["mean"], result["methods"][other]["eer"]["mean"]
            assert pair["difference"] == pytest.approx(means[0] - means[1])
            assert pair["low"] <= pair["difference"] <= pair["high"]
            mirrored = result["paired"][other][method]
            assert (pair["low"], pair["high"]) == pytest.approx((-mirrored["high"], -mirrored["low"]))
    assert result["paired"]["kld"]["none"]["high"] < 0  # the better method is seen to be better
    assert result["paired"]["none"]["kld"]["low"] > 0


def test_the_table_shows_what_was_found(study: Path) -> None:
    result = compare(RECIPE, study, replicates=50)
    page, table = markdown(result), rows(result)
    assert [row[0] for row in table] == list(RECIPE.methods)
    assert all(len(row) == len(COLUMNS) for row in table)
    assert table[0][5:8] == ("–", "–", "–")
    assert table[1][5] == "none"
    assert table[1][6].startswith("-")  # a lower EER is a negative change
    assert f"{result['methods']['kld']['eer']['mean']:.2%}" == table[1][1]
    assert all(" | ".join(row) in page for row in table)
    assert "dev.txt, raw cosine, 2 seeds" in page
    assert render(result).row_count == 3


def test_one_seed_has_no_spread(tmp_path: Path) -> None:
    recipe = replace(RECIPE, seeds=(5,))
    result = compare(recipe, make_study(tmp_path / "study", recipe), replicates=50)
    assert {found["eer"]["std"] for found in result["methods"].values()} == {None}
    assert {row[2] for row in rows(result)} == {"–"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("corpus.id", "beef", r"not trained on equal terms[\s\S]*corpus\.id: 'c0ffee' and 'beef'"),
        ("teacher.id", "666", r"kld-seed0 and kld-seed1 .*equal terms[\s\S]*teacher\.id: '1234' and '666'"),
        ("speakers", ["a", "c"], r"equal terms[\s\S]*speakers"),
        ("train.epochs", 4, r"kld-seed1 was trained otherwise[\s\S]*train\.epochs: 4, not 3"),
        ("train.seed", 0, r"kld-seed1 was trained otherwise[\s\S]*train\.seed: 0, not 1"),
        ("objective.kd_scale", 1.0, r"trained otherwise[\s\S]*objective\.kd_scale"),
        ("model.config.channels", 9, r"trained otherwise[\s\S]*model\.config\.channels"),
        ("views.seconds", 9.0, r"trained otherwise[\s\S]*views\.seconds"),
        ("distilvox", "9.9", r"equal terms[\s\S]*distilvox"),
    ],
)
def test_runs_on_unequal_terms_are_refused_by_the_field(
    name: str, value: Any, message: str, study: Path
) -> None:
    change(run_folder(study, "kld", 1), name, value)
    with pytest.raises(UserError, match=message):
        compare(RECIPE, study)


SUBSETS = replace(
    RECIPE,
    methods={
        "few": {"subset.speakers": 2, "subset.total": 320, "epochs": 6, "objective": "none"},
        "many": {"subset.speakers": 4, "subset.total": 640, "epochs": 3, "objective": "none"},
    },
    baselines={"few": "few", "many": "many"},
)


def test_runs_on_subsets_hear_as_much(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", SUBSETS)
    change(run_folder(study, "few", 0), "speakers", ["a"])
    change(run_folder(study, "few", 1), "speakers", ["a"])
    result = compare(SUBSETS, study, replicates=20)
    assert result["budget"]["few"] == {"steps": 60, "utterances": 1920, "seconds": 3840.0}
    assert result["budget"]["few"] == result["budget"]["many"]
    assert result["crops"]["few"] == result["crops"]["many"]
    assert result["crops"]["few"]["bank"] == "ba2c"
    change(run_folder(study, "few", 0), "train.batch_size", 16)
    with pytest.raises(
        UserError, match=r"few-seed0 was trained otherwise[\s\S]*train\.batch_size: 16, not 32"
    ):
        compare(SUBSETS, study)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("corpus.id", "beef", r"equal terms[\s\S]*corpus\.id: 'c0ffee' and 'beef'[\s\S]*subset\.speakers"),
        ("bank", "bad", r"equal terms[\s\S]*bank: 'ba2c' and 'bad'"),
        ("distilvox", "9.9", r"equal terms[\s\S]*distilvox"),
        ("subset.per_speaker", 3, r"many-seed1 was trained otherwise[\s\S]*subset\.per_speaker: 3, not 0"),
        ("train.warmup_epochs", 3.0, r"many-seed1 was trained otherwise[\s\S]*warmup_epochs: 3\.0, not 1\.0"),
    ],
)
def test_a_table_of_fields_frees_these_fields_alone(
    name: str, value: Any, message: str, tmp_path: Path
) -> None:
    study = make_study(tmp_path / "study", SUBSETS)
    change(run_folder(study, "many", 1), name, value)
    with pytest.raises(UserError, match=message):
        compare(SUBSETS, study)


def test_unequal_budgets_are_refused_by_their_steps() -> None:
    short = {**SUBSETS.methods, "many": {**SUBSETS.methods["many"], "epochs": 2}}
    with pytest.raises(UserError, match=r"steps differ[\s\S]*many 40 \(640 utterances\); few 60 \(320"):
        check_budgets(replace(SUBSETS, methods=short), {"few": 320, "many": 640})
    longer = {**SUBSETS.methods, "many": {**SUBSETS.methods["many"], "views.seconds": 3.0}}
    with pytest.raises(UserError, match=r"seconds differ[\s\S]*few 3840"):
        check_budgets(replace(SUBSETS, methods=longer), {"few": 320, "many": 640})
    lengths = {"short": {"epochs": 1}, "long": {"epochs": 9}}
    study = replace(RECIPE, methods=lengths, baselines=dict.fromkeys(lengths, "short"))
    assert check_budgets(study, {"short": 640, "long": 640})["long"]["steps"] == 180


@pytest.mark.parametrize(
    ("name", "value"), [("corpus.path", "x"), ("teacher.uri", "x"), ("train.threads", 7)]
)
def test_where_things_lie_does_not_matter(name: str, value: Any, study: Path) -> None:
    change(run_folder(study, "kld", 1), name, value)
    assert compare(RECIPE, study, replicates=20)["trials"] == len(LABELS)


def test_a_missing_run_is_named(study: Path) -> None:
    (run_folder(study, "kld", 1) / "evaluation.json").unlink()
    with pytest.raises(UserError, match=r"no finished run here: .*kld-seed1[\s\S]*run the study again"):
        compare(RECIPE, study)


def test_scores_of_other_trials_are_refused(study: Path) -> None:
    labels = LABELS.copy()
    labels[[0, 2]] = labels[[2, 0]]  # as many trials, as many targets, another list
    assert labels.sum() == LABELS.sum()
    save_scores(run_folder(study, "kld", 1), np.arange(len(labels)) / 1e3, labels)
    with pytest.raises(UserError, match=r"kld-seed1 was judged by other trials than none-seed0"):
        compare(RECIPE, study)
    run = run_folder(study, "kld", 1)
    write_json(
        run / "evaluation.json", {**read_json(run / "evaluation.json", noun=""), "trial_list": "test.txt"}
    )
    with pytest.raises(UserError, match="judged by different trials"):
        compare(RECIPE, study)


def test_lost_or_damaged_scores_are_named(study: Path) -> None:
    path = run_folder(study, "kld", 1) / "scores.npz"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"scores are damaged: .*kld-seed1"):
        compare(RECIPE, study)
    path.unlink()
    with pytest.raises(UserError, match=r"no scores here: .*kld-seed1"):
        compare(RECIPE, study)
