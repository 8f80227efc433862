"""The teacher's side of a step: the right embedding for each utterance, the right centre for each speaker."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from distilvox.corpus.store import Corpus
from distilvox.errors import UserError
from distilvox.evaluation.judge import Judge
from distilvox.teachers.base import Teacher, TeacherHead
from distilvox.teachers.config import TargetConfig
from distilvox.teachers.inspect import baseline_of, inspect
from distilvox.teachers.places import cache_name, default_cache
from distilvox.teachers.taught import Taught
from distilvox.train.config import RunConfig, replace_fields
from distilvox.train.distributed import World
from distilvox.train.loop import fit
from distilvox.train.stages import stage_targets, stages, taught_stages
from distilvox.train.targets import Targets
from distilvox.views.bank import Bank, synthetic_bank
from distilvox.views.batches import make_views
from distilvox.views.draws import ViewConfig, view_speakers
from tests.making import make_corpus, make_trials, tiny_config
from tests.teaching import CPU, Prepared, prepared

BANK = synthetic_bank(0, seconds=0.5)
VIEWS = ViewConfig(seconds=0.5, speeds=(0.9, 1.0, 1.1), noise_probability=0.6, room_probability=0.3)


class Spectrum(Teacher):
    """A teacher that hears pitch: log magnitudes below 500 Hz. It has no head."""

    def __init__(self, id: str = "0123456789abcdef") -> None:
        super().__init__(uri="toy:", id=id, sample_rate=16_000, embedding_dim=128)

    def forward(self, waves: Tensor) -> Tensor:
        return torch.fft.rfft(waves, n=8_192).abs()[:, 20:148].log1p()

    def head(self) -> TeacherHead | None:
        return None


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "train", speakers=4, utterances=4)


def opened(
    teacher: Teacher, corpus: Corpus, cache: Path | None, config: TargetConfig, views: ViewConfig
) -> Taught:
    return Taught.open(
        teacher, corpus, config=config, views=views, bank=BANK, device=CPU, ranks=World(), cache=cache
    )


def prepare(corpus: Corpus, folder: Path, **fields: Any) -> Prepared:
    return prepared(Spectrum(), corpus, crops=VIEWS, bank=BANK, cache=folder, **fields)


@pytest.mark.parametrize("centre", ["yes", "no"])
@pytest.mark.parametrize("sees", ["view", "utterance"])
def test_the_cache_gives_what_the_live_teacher_gives(
    sees: str, centre: str, corpus: Corpus, tmp_path: Path, rng: np.random.Generator
) -> None:
    cached, live = (
        prepare(corpus, tmp_path, sees=sees, views=1 + 2 * (sees == "view"), centre=centre, live=live)
        for live in (False, True)
    )
    for view in (0, 2):
        batch = make_views(corpus, rng.permutation(len(corpus))[:5], view, VIEWS, BANK)
        ours, theirs = cached.embed(batch, view), live.embed(batch, view)
        assert ours.shape == (5, 128)
        assert ours.dtype == torch.float32
        assert float(F.cosine_similarity(ours, theirs).min()) > 0.999
        one = make_views(corpus, batch.utterances[2:3], view, VIEWS, BANK)
        torch.testing.assert_close(cached.embed(one, view)[0], ours[2])


def test_a_view_is_its_own_and_an_utterance_has_one(corpus: Corpus, tmp_path: Path) -> None:
    batch = make_views(corpus, np.arange(4), 0, VIEWS, BANK)
    viewed = prepare(corpus, tmp_path / "v", sees="view", views=2)
    whole = prepare(corpus, tmp_path / "u", sees="utterance")
    assert not torch.allclose(viewed.embed(batch, 0), viewed.embed(batch, 1), atol=1e-3)
    assert torch.equal(whole.embed(batch, 0), whole.embed(batch, 7))


@pytest.mark.parametrize("how", ["means", "fitted"])
def test_rows_of_the_head_are_the_speakers_in_label_order(how: str, corpus: Corpus, tmp_path: Path) -> None:
    targets = prepare(corpus, tmp_path, head=how)
    every = make_views(corpus, np.arange(len(corpus)), 0, VIEWS, BANK)
    scores = F.normalize(targets.embed(every, 0)) @ targets.head.weight.T
    assert float((scores.argmax(1) == every.labels).float().mean()) > 0.9
    assert targets.preflight.accuracy > 0.9


def test_speeds_that_make_speakers_have_their_own_rows(corpus: Corpus, tmp_path: Path) -> None:
    views = replace(VIEWS, speed_is_new_speaker=True)
    taught = opened(Spectrum(), corpus, tmp_path, TargetConfig(sees="view", views=6), views)
    assert len(taught.centres.weight) == len(view_speakers(views, corpus.speakers)) == 12
    with pytest.raises(
        UserError, match=r"cannot know the speakers that a speed change makes[\s\S]*sees view"
    ):
        opened(Spectrum(), corpus, None, TargetConfig(sees="utterance"), views)


def test_the_teacher_s_own_eer_is_the_judge_s(corpus: Corpus, tmp_path: Path) -> None:
    dev = make_corpus(tmp_path / "dev", speakers=4, seed=1, prefix="d")
    judge = Judge.open(dev, make_trials(dev, tmp_path / "trials.txt"))
    found = prepare(corpus, tmp_path / "cache", judge=judge).preflight
    assert found.dev_eer == judge.eer(judge.embed(Spectrum().embed))
    assert found.trial_list == "trials.txt"
    assert found.dev_eer_centred is not None


def test_trials_are_embedded_once(corpus: Corpus, tmp_path: Path) -> None:
    dev = make_corpus(tmp_path / "dev", speakers=4, seed=1, prefix="d")
    judge = Judge.open(dev, make_trials(dev, tmp_path / "trials.txt"))
    seen: list[int] = []

    class Counting(Spectrum):
        def forward(self, waves: Tensor) -> Tensor:
            seen.append(len(waves))
            return super().forward(waves)

    def look(judge: Judge) -> float | None:
        seen.clear()
        ready = prepared(Counting(), corpus, crops=VIEWS, bank=BANK, cache=tmp_path / "cache", judge=judge)
        return ready.preflight.dev_eer

    rate = look(judge)
    assert sum(seen) == len(corpus) + len(judge.rows) + 16
    assert look(judge) == rate
    assert sum(seen) == 16  # the sample that every start checks, of the training speech and of the trials
    lines = sorted((tmp_path / "trials.txt").read_text().splitlines())
    (tmp_path / "few.txt").write_text("\n".join([*lines[:4], *lines[-4:]]))
    few = Judge.open(dev, tmp_path / "few.txt")
    assert len(few.rows) < len(judge.rows)
    assert look(few) == pytest.approx(few.eer(few.embed(Spectrum().embed)), abs=1e-6)


def test_a_baseline_needs_trials(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"compared by trials\n.*none\n.*--trials"):
        baseline_of(tmp_path, None)


@pytest.mark.parametrize("head", ["auto", "means"])
def test_rows_that_nobody_names_serve_in_sorted_order_under_auto(
    head: str, corpus: Corpus, tmp_path: Path
) -> None:
    rows = prepare(corpus, tmp_path, head="means", centre="no").head.weight
    how: dict[str, Any] = {"head": head}

    class Nameless(Spectrum):
        def unnamed_head(self) -> Tensor:
            return self.rows

        def __init__(self, rows: Tensor) -> None:
            super().__init__()
            self.rows = rows

    def found(rows: Tensor) -> Prepared:
        return prepared(Nameless(rows), corpus, crops=VIEWS, bank=BANK, cache=tmp_path, **how)

    right, wrong, fewer = found(rows), found(rows.roll(1, dims=0)), found(rows[1:])
    assumed = "assumed in sorted order: the checkpoint names no speakers"
    assert (assumed in right.head.how) == (head == "auto")
    assert right.preflight.ok
    assert wrong.preflight.ok == (head != "auto")
    assert assumed not in fewer.head.how
    if head == "auto":
        torch.testing.assert_close(right.head.weight, rows)
        assert assumed.split(":")[0] in wrong.preflight.verdicts[0]


def test_two_settings_never_claim_one_cache(corpus: Corpus) -> None:
    other_bank = synthetic_bank(1, seconds=0.5)
    seen = TargetConfig(sees="view")

    def name(config: TargetConfig, views: ViewConfig = VIEWS, bank: Bank = BANK, id: str = "a" * 16) -> str:
        return cache_name(Spectrum(id), config, views, bank)

    names = [
        name(TargetConfig()),
        name(seen),
        name(seen, id="b" * 16),
        name(TargetConfig(sees="view", views=6)),
        name(seen, replace(VIEWS, seed=1)),
        name(seen, replace(VIEWS, seconds=0.6)),
        name(seen, replace(VIEWS, noise_probability=0.5)),
        name(seen, replace(VIEWS, speeds=(1.0,))),
        name(seen, bank=other_bank),
    ]
    assert len(set(names)) == len(names)
    assert name(TargetConfig()) == name(
        TargetConfig(head="means", live=True), replace(VIEWS, seed=1), other_bank
    )
    assert name(seen) == name(replace(seen, centre="no", live=True))
    place = default_cache(corpus, Spectrum(), seen, VIEWS, BANK)
    assert place.parent == corpus.path.parent / "train.cache"


def test_a_training_from_the_cache_holds_neither_teacher_nor_embeddings(
    corpus: Corpus, tmp_path: Path
) -> None:
    teacher = Spectrum()
    gone, size = weakref.ref(teacher), 4 * len(corpus) * teacher.embedding_dim * 4

    def large() -> set[int]:
        gc.collect()
        every = (one for one in gc.get_objects() if type(one) is Tensor)
        return {id(one) for one in every if one.untyped_storage().nbytes() == size}

    before = large()
    taught = opened(teacher, corpus, tmp_path, TargetConfig(sees="view", views=4), VIEWS)
    targets = Targets.of(taught)
    inspect(taught, scale=16.0)
    del teacher, taught
    assert large() <= before
    assert gone() is None
    assert targets.utterances().shape == (len(corpus), 128)
    batch = make_views(corpus, np.arange(3), 2, VIEWS, BANK)
    assert targets.embed(batch, 2).shape == (3, 128)


class Second(World):
    """Hears ones from rank 0."""

    def sent(self, values: Tensor) -> Tensor:
        return torch.ones_like(values)


def test_the_class_centres_of_every_stage_are_rank_0_s(corpus: Corpus, tmp_path: Path) -> None:
    config = replace_fields(
        RunConfig(), {"finetune.epochs": 1, "targets.sees": "view", "targets.views": 1, "batch_size": 4}
    )
    config = replace(config, views=VIEWS)
    plan = stages(config, len(corpus))
    taught = taught_stages(
        plan, Spectrum(), corpus, config=config, bank=BANK, device=CPU, cache=tmp_path / "cache", world=Second()
    )  # fmt: skip
    first, second = stage_targets(taught, Second())
    assert bool((first.head.weight == 1).all())
    assert bool((second.head.weight == 1).all())


def test_a_student_that_was_fine_tuned_is_compared_with_its_teacher_too(
    corpus: Corpus, tmp_path: Path
) -> None:
    dev = make_corpus(tmp_path / "dev", speakers=4, seed=1, prefix="d")
    judge = Judge.open(dev, make_trials(dev, tmp_path / "trials.txt"))
    config = replace_fields(
        RunConfig(), {"finetune.epochs": 1, "targets.sees": "view", "targets.views": 1, "batch_size": 4}
    )
    config = replace(config, views=VIEWS)
    taught = taught_stages(
        stages(config, len(corpus)), Spectrum(), corpus, config=config, bank=BANK, device=CPU, cache=tmp_path / "c"
    )  # fmt: skip
    first, last = stage_targets(taught, World(), judge)
    assert first.trials is not None
    assert last.trials is not None
    assert first.trials.shape == last.trials.shape == (len(judge.rows), 128)
    assert not np.allclose(first.trials, last.trials)  # each less the mean of what its stage hears


@pytest.mark.parametrize("live", [False, True])
def test_a_teacher_leaves_the_device_once_it_is_cached(live: bool, corpus: Corpus, tmp_path: Path) -> None:
    class Watched(Spectrum):
        did: ClassVar[list[str]] = []

        def to(self, *args: Any, **more: Any) -> Any:
            self.did.append("moves")
            return super().to(*args, **more)

        def forward(self, waves: Tensor) -> Tensor:
            self.did.append("embeds")
            return super().forward(waves)

    Watched.did.clear()
    config = tiny_config(epochs=1, **{"targets.live": live})
    fit(config, corpus=corpus, out=tmp_path / "run", teacher=Watched(), bank=BANK, device="cpu", force=True)
    assert Watched.did[0] == "moves"
    assert Watched.did[-1] == ("embeds" if live else "moves")
    assert "embeds" in Watched.did
