"""Every run of a study is judged twice, once; and one recipe is one result, wherever and whenever it is run."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from distilvox.cli.judging import study
from distilvox.corpus.store import Corpus
from distilvox.corpus.subset import SubsetConfig, training_part
from distilvox.errors import UserError
from distilvox.evaluation.judge import Judge, agreement_of_run, load_embeddings
from distilvox.evaluation.metrics import eer
from distilvox.evaluation.norm import as_norm, cohort_statistics
from distilvox.evaluation.score import cosine_scores
from distilvox.files import read_json, write_json
from distilvox.models.runfolder import load_student
from distilvox.study import judging
from distilvox.study.compare import COLUMNS, compare, markdown, rows
from distilvox.study.judging import judge_grid, load_normed
from distilvox.study.recipe import Recipe, read_recipe
from distilvox.train.config import to_json
from distilvox.train.loop import fit
from distilvox.views.bank import load_bank, synthetic_bank
from tests.making import TINY, make_corpus, make_trials, tiny_config

BANK = synthetic_bank(0, seconds=0.5)
RUNS = ("none-seed3", "kld-seed3")
HEARS = {"targets.sees": "view", "targets.views": 1, "targets.centre": "yes"}
"""A mean over views is another than that over whole utterances."""


class World(NamedTuple):
    root: Path
    recipe: Path
    given: dict[str, Any]

    def study(self, out: Path) -> dict[str, Any]:
        study(self.recipe, out=out, **self.given)
        found: dict[str, Any] = json.loads((out / "study.json").read_text())
        return found

    def judge(self, out: Path, **options: Any) -> list[str]:
        said: list[str] = []
        more = {"bank": partial(load_bank, None, None), "say": said.append}
        judge_grid(self.read(), out, **{**self.given, **more, **options})
        return said

    def read(self) -> Recipe:
        return read_recipe(self.recipe)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("twice")
    train = make_corpus(root / "train")
    trials = make_trials(make_corpus(root / "dev", speakers=4, seed=1, prefix="d"), root / "trials.txt")
    taught = tiny_config(
        targets=None, objective="none", epochs=12, learning_rate=1e-2, silence_probability=0.0
    )
    fit(taught, corpus=train, out=root / "teacher", device="cpu", bank=BANK)
    config = to_json(tiny_config(epochs=1))
    base = {f"{part}.{k}": v for part in ("train", "views") for k, v in config[part].items() if k != "seed"}
    values = {
        "teacher": f"run:{root / 'teacher'}",
        "base": {**base, "views.seed": 0, "student_options": TINY, **HEARS},
        "methods": {"none": {"objective": "none"}, "kld": {"objective": "kld"}},
        "seeds": [3],
        "baseline": "none",
    }
    write_json(root / "toy.yaml", values)  # JSON is YAML
    given = {"corpus": root / "train", "trials": trials, "trials_corpus": root / "dev", "device": "cpu"}
    return World(root, root / "toy.yaml", given)


@pytest.fixture(scope="module")
def done(world: World) -> Path:
    world.study(world.root / "done")
    return world.root / "done"


def test_one_recipe_is_one_result(world: World, done: Path, tmp_path: Path) -> None:
    first, second = json.loads((done / "study.json").read_text()), world.study(tmp_path / "elsewhere")
    told = first.pop("origin"), second.pop("origin")
    assert json.dumps(first) == json.dumps(second)
    assert str(world.root) not in json.dumps(
        {k: v for k, v in first.items() if k not in ("teacher", "agreement")}
    )
    for origin in told:
        assert origin["recipe"] == {"file": "toy.yaml", "text": world.recipe.read_text()}
        assert set(origin["runs"]) == set(RUNS)
    assert (done / "study.md").read_text() == (tmp_path / "elsewhere" / "study.md").read_text()


def test_the_second_judgement_is_what_its_parts_give(world: World, done: Path) -> None:
    judge, corpus = (
        Judge.open(world.root / "dev", world.root / "trials.txt"),
        Corpus.open(world.root / "train"),
    )
    cohort = training_part(corpus, SubsetConfig(per_speaker=1))
    result = compare(world.read(), done, replicates=20)
    assert result["cohort"] == {"corpus": corpus.id, "speakers": 6, "seconds": 3.0, "top": 3}
    for name in RUNS:
        held, scores = load_normed(done / name)
        student = load_student(done / name).student
        others = judging.embed_corpus(student, cohort, np.arange(6), device="cpu", max_seconds=3.0)
        embeddings = load_embeddings(done / name)
        raw = cosine_scores(embeddings, judge.trials.enrol, judge.trials.test)
        statistics = cohort_statistics(embeddings, others.astype(np.float64), top=3)
        expected = as_norm(raw, judge.trials.enrol, judge.trials.test, *statistics)
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
        assert held["asnorm"]["eer"] == pytest.approx(eer(expected, judge.trials.labels), abs=1e-6)
        assert "AS-norm" in held["asnorm"]["scores"]
        assert "mean removed" in held["centred"]["scores"]
        method = name.removesuffix("-seed3")
        assert result["asnorm"]["methods"][method]["eer"]["runs"] == [held["asnorm"]["eer"]]
        assert result["centred"]["methods"][method]["eer"]["runs"] == [held["centred"]["eer"]]
        taught = judging.taught_trials(
            world.read().teacher, corpus, world.read().config(method, 3), judge,
            bank=synthetic_bank(0), device=judging.pick_device("cpu"), cache=None,
        )  # fmt: skip
        assert held["agreement"] == agreement_of_run(done / name, taught).to_json()


def test_a_study_and_its_run_agree_on_the_agreement(done: Path) -> None:
    """Both ask one teacher: its mean is that of what it heard in training, whoever asks."""
    ran = read_json(done / "kld-seed3" / "evaluation.json", noun="evaluation")["agreement"]
    assert load_normed(done / "kld-seed3")[0]["agreement"] == pytest.approx(ran, abs=1e-9)


def test_no_speaker_of_the_trials_is_in_the_cohort(world: World, tmp_path: Path) -> None:
    train = Corpus.open(world.root / "train")
    lines = [f"1 {a} {b}" for a, b in zip(train.utterances[:6], train.utterances[1:7], strict=True)]
    (tmp_path / "own.txt").write_text("\n".join([*lines, f"0 {train.utterances[0]} {train.utterances[7]}"]))
    judge = Judge.open(train, tmp_path / "own.txt")
    cohort = judging.cohort_of(train, judge)
    assert set(cohort.speakers) == set(train.speakers) - set(judge.speakers.tolist())
    assert 0 < len(cohort.speakers) < len(train.speakers)


def test_trials_and_teachers_are_known_by_their_content(world: World, tmp_path: Path) -> None:
    train, config = Corpus.open(world.root / "train"), world.read().config("kld", 3)
    text = (world.root / "trials.txt").read_text()
    (tmp_path / "trials.txt").write_text("".join(text.splitlines(keepends=True)[:-2]))
    edited, judge = (Judge.open(world.root / "dev", place / "trials.txt") for place in (tmp_path, world.root))
    key = judging.judging_key(train, judge, "a:", "1" * 16, config, BANK)
    assert judging.judging_key(train, edited, "a:", "1" * 16, config, BANK) != key
    assert judging.judging_key(train, judge, "a:", "2" * 16, config, BANK) != key


def test_the_table_shows_both_kinds_of_score_and_says_so(world: World, done: Path) -> None:
    result = compare(world.read(), done, replicates=20)
    page = markdown(result)
    assert "trials.txt, raw cosine, 1 seeds; on the right raw cosine, AS-norm with the nearest 3 of 6" in page
    table = {row[0]: row for row in rows(result)}
    for method, row in table.items():
        shown = dict(zip(COLUMNS[8:], row[8:], strict=True))
        assert shown["AS-norm EER"] == f"{result['asnorm']['methods'][method]['eer']['mean']:.2%}"
        assert shown["agreement"] == f"{result['agreement'][method]['rank_correlation']['mean']:.2f}"
    assert table["kld"][12][0] in "+-"
    assert table["none"][12] == "–"


def test_what_is_judged_is_not_judged_again_and_what_is_not_is(
    world: World, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Path(shutil.copytree(done, tmp_path / "study"))
    none, kld = (study / name for name in RUNS)
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(judging, "load", None)  # no teacher is loaded
        assert world.judge(study) == []
    (none / "normed.json").unlink()
    (none / "normed.npz").unlink()
    there = (kld / "normed.json").stat().st_mtime_ns
    assert "agreement" in world.judge(study)[0]
    assert (kld / "normed.json").stat().st_mtime_ns == there
    after = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    assert {p: b for p, b in after.items() if p.suffix != ".npz"} == {
        p: b for p, b in before.items() if p.suffix != ".npz"
    }


def test_judgements_of_different_kinds_are_not_compared(world: World, done: Path, tmp_path: Path) -> None:
    study = Path(shutil.copytree(done, tmp_path / "study"))
    path = study / RUNS[1] / "normed.json"
    held = read_json(path, noun="judgement")
    held["key"]["cohort"]["top"] = 2
    write_json(path, held)
    with pytest.raises(UserError, match=r"judged again in different ways[\s\S]*run the study again"):
        compare(world.read(), study, replicates=20)
    world.judge(study)
    assert compare(world.read(), study, replicates=20) == compare(world.read(), done, replicates=20)


def test_a_study_without_second_judgements_is_compared_by_raw_scores(
    world: World, done: Path, tmp_path: Path
) -> None:
    study = Path(shutil.copytree(done, tmp_path / "study"))
    (study / RUNS[0] / "normed.json").unlink()
    result = compare(world.read(), study, replicates=20)
    assert "asnorm" not in result
    assert rows(result)[0][8:] == ("–",) * 7
