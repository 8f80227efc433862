"""How much of its teacher is in a student: laws, plain loops, and a finished run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from distilvox.corpus.store import Corpus
from distilvox.errors import UserError
from distilvox.evaluation import agreement as module
from distilvox.evaluation.agreement import (
    Agreement,
    agreement,
    aligned_cosine,
    rank_correlation,
    shared_neighbours,
)
from distilvox.evaluation.judge import Judge, agreement_of_run, save_evaluation
from distilvox.files import read_json
from tests.making import make_corpus, make_trials
from tests.reference.agreement import slow_aligned_cosine, slow_rank_correlation, slow_shared_neighbours


class Case(NamedTuple):
    """Embeddings of 20 speakers of 6 utterances in 8 dimensions, far from the origin, and trials of them."""

    teacher: np.ndarray
    speakers: np.ndarray
    enrol: np.ndarray
    test: np.ndarray

    def agree(self, student: np.ndarray, teacher: np.ndarray | None = None) -> Agreement:
        other = self.teacher if teacher is None else teacher
        return agreement(student, other, enrol=self.enrol, test=self.test, speakers=self.speakers)


@pytest.fixture
def case(rng: np.random.Generator) -> Case:
    number = np.repeat(np.arange(20), 6)
    teacher = 3 + 2 * rng.standard_normal((20, 8))[number] + rng.standard_normal((120, 8))
    enrol, test = (side[::7] for side in np.triu_indices(120, 1))
    return Case(teacher, np.array([f"s{k:02}" for k in number]), enrol, test)


def rotation(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """[rows, columns], rows <= columns, that keeps lengths and angles."""
    return np.linalg.qr(rng.standard_normal((columns, rows)))[0].T


# ---- laws ----


def test_a_rotated_copy_agrees_perfectly(case: Case, rng: np.random.Generator) -> None:
    for width in (8, 13):
        lengths = np.exp(rng.standard_normal((120, 1)))
        student = lengths * case.teacher @ rotation(rng, 8, width)
        for found in (case.agree(student), case.agree(case.teacher, student)):
            assert found.cosine == pytest.approx(1)
            assert found.rank_correlation == pytest.approx(1, abs=1e-6)
            assert found.neighbours == 1


def test_unrelated_models_agree_by_chance(case: Case, rng: np.random.Generator) -> None:
    """Although both live in a cone, where a plain cosine is far from 0."""
    for width in (5, 8, 30):
        found = case.agree(20 + rng.standard_normal((120, width)))
        assert abs(found.cosine) < 0.15
        assert abs(found.rank_correlation) < 0.15
        assert found.neighbours == pytest.approx(10 / 119, abs=0.05)
        assert found.neighbours_by_chance == 10 / 119


def test_alignment_is_judged_where_it_was_not_fitted(case: Case, rng: np.random.Generator) -> None:
    """With as many dimensions as utterances, a map that is judged on its own data fits noise perfectly."""
    noise = rng.standard_normal((120, 100))
    other = rng.standard_normal((120, 100))
    assert abs(aligned_cosine(noise, other, case.speakers)) < 0.1
    left, _, right = np.linalg.svd(noise.T @ other)
    fitted = (
        (noise @ left @ right * other).sum(1) / np.linalg.norm(noise, axis=1) / np.linalg.norm(other, axis=1)
    )
    assert fitted.mean() > 0.5


def test_more_noise_is_less_agreement(case: Case, rng: np.random.Generator) -> None:
    noise = rng.standard_normal(case.teacher.shape)
    turn = rotation(rng, 8, 8)
    found = [case.agree((case.teacher + size * noise) @ turn) for size in (0.1, 0.7, 2.0, 8.0)]
    for name in ("cosine", "rank_correlation", "neighbours"):
        values = [getattr(one, name) for one in found]
        assert values == sorted(values, reverse=True)
        assert values[0] > 0.9 > 0.5 > values[-1]


def test_it_is_symmetric(case: Case, rng: np.random.Generator) -> None:
    student = case.teacher + rng.standard_normal(case.teacher.shape)
    there, back = case.agree(student), case.agree(case.teacher, student)
    assert there.cosine == pytest.approx(back.cosine)
    assert there.rank_correlation == pytest.approx(back.rank_correlation)
    assert there.neighbours == back.neighbours


def test_the_order_of_utterances_changes_nothing(case: Case, rng: np.random.Generator) -> None:
    student = case.teacher + rng.standard_normal(case.teacher.shape)
    order = rng.permutation(120)
    back = order.argsort()
    moved = agreement(
        student[order], case.teacher[order],
        enrol=back[case.enrol], test=back[case.test], speakers=case.speakers[order],
    )  # fmt: skip
    found = case.agree(student)
    assert moved.to_json() == pytest.approx(found.to_json())


# ---- plain loops ----


def test_the_slow_references_say_the_same(case: Case, rng: np.random.Generator) -> None:
    student = case.teacher + rng.standard_normal(case.teacher.shape)
    pairs = list(zip(case.enrol.tolist(), case.test.tolist(), strict=True))[:200]
    sides = case.enrol[:200], case.test[:200]
    assert rank_correlation(student, case.teacher, *sides) == pytest.approx(
        slow_rank_correlation(student, case.teacher, pairs)
    )
    cosine = slow_aligned_cosine(student, case.teacher, case.speakers.tolist())
    assert aligned_cosine(student, case.teacher, case.speakers) == pytest.approx(cosine)
    some = slice(0, 30)
    for top in (1, 3, 10):
        slow = slow_shared_neighbours(student[some], case.teacher[some], top)
        assert shared_neighbours(student[some], case.teacher[some], top=top) == pytest.approx(slow)


def test_blocks_and_queries_bound_the_work(
    case: Case, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = case.teacher + rng.standard_normal(case.teacher.shape)
    whole = shared_neighbours(student, case.teacher)
    monkeypatch.setattr(module, "BLOCK_VALUES", 1000)
    assert shared_neighbours(student, case.teacher) == whole
    monkeypatch.setattr(module, "QUERIES", 60)
    assert shared_neighbours(student, case.teacher) == pytest.approx(whole, abs=0.1)
    assert shared_neighbours(case.teacher, case.teacher) == 1


# ---- edges ----


def test_a_collapsed_student_agrees_with_nothing(case: Case) -> None:
    found = case.agree(np.ones((120, 3)))
    assert (found.cosine, found.rank_correlation) == (0, 0)
    assert found.neighbours < 0.3


def test_two_utterances_have_one_neighbour() -> None:
    enrol, test = np.array([0, 1]), np.array([1, 0])
    found = agreement(np.eye(2), np.eye(2), enrol=enrol, test=test, speakers=["a", "b"])
    assert (found.neighbours, found.neighbours_by_chance) == (1, 1)


def test_bad_input_is_refused(case: Case) -> None:
    rows = case.teacher
    sides = {"enrol": case.enrol, "test": case.test}
    with pytest.raises(UserError, match=r"the same utterances\n.*119 embeddings of the student, 120 of the"):
        agreement(rows[:-1], rows, **sides, speakers=case.speakers)
    with pytest.raises(UserError, match=r"120 of the teacher, 119 speakers"):
        agreement(rows, rows, **sides, speakers=case.speakers[1:])
    with pytest.raises(UserError, match=r"speakers to fit and others to judge\n.*1 speaker"):
        agreement(rows, rows, **sides, speakers=["one"] * 120)
    with pytest.raises(UserError, match="at least two trials"):
        rank_correlation(rows, rows, case.enrol[:1], case.test[:1])
    with pytest.raises(UserError, match="at least two utterances"):
        shared_neighbours(rows[:1], rows[:1])
    broken = rows.copy()
    broken[3] = np.nan
    with pytest.raises(UserError, match="embedding 3 is not finite"):
        case.agree(broken)


# ---- a judged run ----


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    corpus: Corpus = make_corpus(tmp_path_factory.mktemp("dev") / "dev", speakers=5, utterances=4)
    return Judge.open(corpus, make_trials(corpus, corpus.path.parent / "trials.txt"))


def test_a_finished_run_is_compared_later(judge: Judge, tmp_path: Path, rng: np.random.Generator) -> None:
    rows = len(judge.rows)
    student = rng.standard_normal((rows, 6)).astype(np.float32)
    teacher = np.concatenate([student, 0.3 * rng.standard_normal((rows, 3))], axis=1)
    judged = judge.judge(student, replicates=20)
    save_evaluation(tmp_path, judged, judge, student)
    found = agreement_of_run(tmp_path, teacher)
    assert found == judge.agreement(student, teacher)
    assert found.rank_correlation > 0.8
    with pytest.raises(
        UserError, match=rf"other trials than the teacher's[\s\S]*{rows} utterances in .*{rows - 1} "
    ):
        agreement_of_run(tmp_path, teacher[1:])
    with pytest.raises(UserError, match="no scores here"):
        agreement_of_run(tmp_path / "elsewhere", teacher)


def test_an_evaluation_says_its_agreement_if_there_is_one(
    judge: Judge, tmp_path: Path, rng: np.random.Generator
) -> None:
    student = rng.standard_normal((len(judge.rows), 6)).astype(np.float32)
    plain = judge.judge(student, replicates=20)
    found = judge.agreement(student, student)
    judged = judge.judge(student, teacher=student, replicates=20)
    assert judged.agreement == found
    assert judged.to_json() == {**plain.to_json(), "agreement": found.to_json()}
    save_evaluation(tmp_path, judged, judge, student)
    held = read_json(tmp_path / "evaluation.json", noun="evaluation")
    assert json.loads(json.dumps(held, allow_nan=False)) == judged.to_json()
