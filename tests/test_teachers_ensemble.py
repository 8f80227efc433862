"""Several teachers as one: each keeps what is its own, and nothing is computed twice."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from distilvox.corpus.store import Corpus
from distilvox.errors import UserError
from distilvox.evaluation.judge import Judge
from distilvox.evaluation.score import cosine_scores
from distilvox.models.head import cosines
from distilvox.teachers import TeacherHead, load
from distilvox.teachers.base import Teacher, freeze
from distilvox.teachers.config import TargetConfig
from distilvox.teachers.ensemble import Ensemble, members_of, side_by_side
from distilvox.train.loop import fit
from distilvox.views.bank import synthetic_bank
from distilvox.views.batches import make_views
from distilvox.views.draws import ViewConfig
from tests.making import make_corpus, make_trials, tiny_config
from tests.teaching import Prepared, prepared

BANK = synthetic_bank(0, seconds=0.5)
VIEWS = ViewConfig(seconds=0.5)


class Spectrum(Teacher):
    """Hears pitch: log magnitudes from `low` on, in bins of 2 Hz. It counts the waves that it embeds."""

    def __init__(
        self, low: int = 20, size: int = 128, head: TeacherHead | None = None, rate: int = 16_000
    ) -> None:
        super().__init__(uri=f"toy:{low}", id=f"{low:08d}{size:08d}", sample_rate=rate, embedding_dim=size)
        self.low, self.own, self.calls = low, head, 0

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B D"]:
        self.calls += len(waves)
        return torch.fft.rfft(waves, n=8_192).abs()[:, self.low : self.low + self.embedding_dim].log1p()

    def head(self) -> TeacherHead | None:
        return self.own


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "train", speakers=4, utterances=4)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    folder = tmp_path_factory.mktemp("dev")
    dev = make_corpus(folder / "dev", speakers=4, seed=1, prefix="d")
    return Judge.open(dev, make_trials(dev, folder / "trials.txt"))


def prepare(
    teacher: Teacher, corpus: Corpus, cache: Path | None, judge: Judge | None = None, **fields: Any
) -> Prepared:
    frozen = freeze(teacher, "cpu")
    return prepared(frozen, corpus, crops=VIEWS, bank=BANK, scale=4.0, cache=cache, judge=judge, **fields)


def test_its_cosine_is_the_mean_of_its_members_cosines() -> None:
    members = Spectrum(20, 96), Spectrum(150, 64), Spectrum(300, 10)
    both = freeze(Ensemble(members), "cpu")
    waves = torch.randn(6, 4_000)
    expected = torch.stack([cosines(one.embed(waves), one.embed(waves)) for one in members]).mean(0)
    found = both.embed(waves)
    torch.testing.assert_close(cosines(found, found), expected)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(6))
    assert (both.embedding_dim, both.head(), both.uri) == (170, None, "toy:20,toy:150,toy:300")
    assert both.embed(waves[:0]).shape == (0, 170)
    assert members_of(both) == members
    assert members_of(members[0]) == (members[0],)
    ids = {Ensemble(some).id for some in (members, members[:2], members[1:], members[::-1])}
    assert len(ids) == 4


def test_one_teacher_side_by_side_is_itself() -> None:
    units = F.normalize(torch.randn(5, 7), dim=-1)
    torch.testing.assert_close(side_by_side([units]), units)


def test_each_member_keeps_its_centre_and_its_own_rows(corpus: Corpus, tmp_path: Path) -> None:
    solo = prepare(Spectrum(20), corpus, tmp_path / "a")
    rows = torch.cat([solo.head.weight.flip(0), torch.randn(1, 128)])
    own = TeacherHead(rows, (*reversed(corpus.speakers), "stranger"))
    teachers = Spectrum(150, 64), Spectrum(20, head=own)
    each = [prepare(one, corpus, tmp_path / str(k)) for k, one in enumerate(teachers)]
    both = prepare(Ensemble(teachers), corpus, tmp_path / "both")
    batch = make_views(corpus, np.array([3, 0, 9]), 0, VIEWS, BANK)
    torch.testing.assert_close(both.embed(batch, 0), side_by_side([one.embed(batch, 0) for one in each]))
    torch.testing.assert_close(both.head.weight, side_by_side([one.head.weight for one in each]))
    assert both.head.how == (
        "teacher head: toy:150 4 are class means of its embeddings; centred by the training mean"
        " + toy:20 4 of 4 rows are the teacher's own, matched by name"
    )
    assert both.head.own == ()  # no row is everybody's own
    means = torch.stack([cosines(one.embed(batch, 0), one.head.weight) for one in each]).mean(0)
    torch.testing.assert_close(cosines(both.embed(batch, 0), both.head.weight), means)


@pytest.mark.parametrize("sees", ["utterance", "view"])
def test_two_cached_teachers_make_an_ensemble_without_embedding_anew(
    sees: str, corpus: Corpus, judge: Judge
) -> None:
    fields = {"sees": sees, "views": 2}
    for low in (20, 150):
        prepare(Spectrum(low), corpus, None, judge, **fields)
    members = Spectrum(20), Spectrum(150)
    prepare(Ensemble(members), corpus, None, judge, **fields)
    assert [one.calls for one in members] == [16, 16]  # the sample of 8 that every start checks, twice


def test_live_equals_cached(corpus: Corpus, tmp_path: Path) -> None:
    batch = make_views(corpus, np.arange(5), 1, VIEWS, BANK)
    for sees in ("utterance", "view"):
        cached, live = (
            prepare(
                Ensemble([Spectrum(20), Spectrum(150)]),
                corpus,
                tmp_path / sees,
                sees=sees,
                views=2,
                live=live,
            )
            for live in (False, True)
        )
        assert float(F.cosine_similarity(cached.embed(batch, 1), live.embed(batch, 1)).min()) > 0.999


def test_its_eer_is_that_of_the_mean_of_both_scores(corpus: Corpus, judge: Judge, tmp_path: Path) -> None:
    members = Spectrum(20), Spectrum(150)
    found = prepare(Ensemble(members), corpus, tmp_path, judge).preflight
    enrol, test = judge.trials.enrol, judge.trials.test
    scores = [cosine_scores(judge.embed(one.embed), enrol, test) for one in members]
    assert found.dev_eer is not None
    at = judge.eer(judge.embed(freeze(Ensemble(members), "cpu").embed))
    assert found.dev_eer == pytest.approx(at, abs=1e-6)
    np.testing.assert_allclose(
        cosine_scores(judge.embed(Ensemble(members).embed), enrol, test), np.mean(scores, axis=0), atol=1e-6
    )
    alone = [prepare(one, corpus, tmp_path / one.uri, judge).preflight for one in members]
    assert [one.dev_eer for one in found.members] == [one.dev_eer for one in alone]
    assert [one.dev_eer_centred for one in found.members] == [one.dev_eer_centred for one in alone]


def test_the_way_to_average_reaches_targets_and_preflight(corpus: Corpus, tmp_path: Path) -> None:
    teachers = Spectrum(20), Spectrum(150, 64)
    logits, probabilities = (
        prepare(Ensemble(teachers), corpus, tmp_path, ensemble=how) for how in ("logits", "probabilities")
    )
    assert (logits.sizes, probabilities.sizes) == ((), (128, 64))
    assert prepare(teachers[0], corpus, tmp_path / "solo", ensemble="probabilities").sizes == ()
    mean = np.mean([one.target_probability for one in probabilities.preflight.members])
    assert probabilities.preflight.target_probability == pytest.approx(mean, rel=1e-5)
    assert logits.preflight.target_probability != pytest.approx(mean, rel=1e-3)
    door: Any = inspect.unwrap(TargetConfig.__init__)  # not the tests' own checks
    with pytest.raises(UserError, match=r"unknown ensemble\n.*'mean'\n.*logits, probabilities"):
        door(object.__new__(TargetConfig), ensemble="mean")


@pytest.mark.parametrize("how", ["logits", "probabilities"])
def test_a_student_learns_from_two(how: str, corpus: Corpus, judge: Judge, tmp_path: Path) -> None:
    config = tiny_config(objective="nskd", epochs=1, ensemble=how)
    teacher = freeze(Ensemble([Spectrum(20), Spectrum(150, 64)]), "cpu")
    out = fit(
        config,
        corpus=corpus,
        out=tmp_path / how,
        teacher=teacher,
        judge=judge,
        bank=BANK,
        device="cpu",
        force=True,
    )  # by force: on so few trials one of these toys may be no better than chance
    record = json.loads((out / "config.json").read_text())
    assert record["targets"]["ensemble"] == how
    assert record["teacher"] == teacher.record()
    assert (record["teacher"]["uri"], record["teacher"]["id"]) == ("toy:20,toy:150", teacher.id)
    looked = json.loads((out / "preflight.json").read_text())
    assert [member["teacher"] for member in looked["members"]] == ["toy:20", "toy:150"]
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert all(line["nskd"] > 0 for line in lines if "nskd" in line)
    assert load_file(out / "model.safetensors")["projection.weight"].shape == (192, 8)


def test_one_permuted_member_is_named(corpus: Corpus, tmp_path: Path) -> None:
    right = prepare(Spectrum(20), corpus, tmp_path / "a")
    shifted = TeacherHead(right.head.weight.roll(1, dims=0), tuple(corpus.speakers))
    found = prepare(Ensemble([Spectrum(150), Spectrum(20, head=shifted)]), corpus, tmp_path / "b").preflight
    assert any(verdict.startswith("toy:20: the labels look permuted") for verdict in found.verdicts)
    assert not any("toy:150" in verdict for verdict in found.verdicts)
    assert [one.ok for one in found.members] == [True, False]
    assert [one["teacher"] for one in found.to_json()["members"]] == ["toy:150", "toy:20"]


def test_what_is_no_ensemble_is_refused() -> None:
    with pytest.raises(UserError, match=r"one of them is none\n.*'b'\n.*ge2e:.*\n.*path with a comma"):
        load("run:runs/a,b")
    with pytest.raises(UserError, match=r"one of them is none\n.*''"):
        load("ge2e:,")
    with pytest.raises(UserError, match=r"two teachers or more\n.*1"):
        Ensemble([Spectrum()])
    with pytest.raises(UserError, match=r"differ in sample rate\n.*8000, 16000"):
        Ensemble([Spectrum(), Spectrum(30, rate=8_000)])
    with pytest.raises(UserError, match=r"holds a teacher twice\n.*toy:20, toy:20"):
        Ensemble([Spectrum(), Spectrum(30), Spectrum()])
