"""A profile names what a step waits for, from parts that are those of training."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from distilvox.corpus.store import Corpus
from distilvox.errors import UserError
from distilvox.teachers.base import Teacher, TeacherHead
from distilvox.teachers.cache import TeacherCache
from distilvox.teachers.places import default_cache
from distilvox.train import loop
from distilvox.train import profile as profile_module
from distilvox.train.bottleneck import ADVICE, AHEAD, Profile
from distilvox.train.config import RunConfig, replace_fields
from distilvox.train.profile import profile
from distilvox.views.bank import synthetic_bank
from tests.making import make_corpus, tiny_config
from tests.running import TINY, refused, succeed

BANK = synthetic_bank(2, seconds=0.2)
CPU = torch.device("cpu")


class Bands(Teacher):
    """Embeds by the energies of six stretches of the utterance; counts its calls."""

    def __init__(self) -> None:
        super().__init__(uri="bands:", id="b" * 16, sample_rate=16_000, embedding_dim=6)
        self.calls = 0

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return torch.stack([part.square().mean(dim=1) for part in waves.chunk(6, dim=1)], dim=1)

    def head(self) -> TeacherHead | None:
        return None


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("profile") / "corpus", speakers=3, utterances=4)


MADE = Profile(
    student="tiny", device="cpu", precision="float32", objective="nskd", processes=1, batch_size=32,
    utterances=3200, speakers=10, crops_from="crops come from the memory map", teacher_from="their cache", steps=20,
    parts={"reading": 0.01, "augmenting": 0.02, "teacher": 0.01, "front end": 0.02, "student forward": 0.03,
           "loss": 0.04, "student backward": 0.02, "optimiser": 0.01},
    live_teacher=3.0, step=0.16,
)  # fmt: skip


def slower(part: str, seconds: float) -> Profile:
    parts = {**MADE.parts, part: seconds}
    return replace(MADE, parts=parts, step=sum(s for name, s in parts.items() if name not in AHEAD))


@pytest.mark.parametrize("part", ["teacher", "front end", "loss", "optimiser", "communication"])
def test_the_slowest_part_is_the_bottleneck(part: str) -> None:
    assert slower(part, 0.5).bottleneck == part


def test_forward_and_backward_are_one_part() -> None:
    assert MADE.bottleneck == "student"  # 0.05 together, though the loss takes longer than either


def test_what_is_done_ahead_counts_only_where_it_holds_a_step_up() -> None:
    ahead = {**MADE.parts, "reading": 5.0}
    assert replace(MADE, parts=ahead).bottleneck == "student"
    held = replace(MADE, parts=ahead, step=5.0)
    assert held.bottleneck == "reading"
    assert held.held_up == pytest.approx(5.0 - 0.13)
    assert replace(MADE, step=1.0).bottleneck == "augmenting"
    assert replace(MADE, step=0.01).held_up == 0


def test_rates_follow_from_the_step() -> None:
    assert MADE.crops_per_second == pytest.approx(200)
    assert MADE.hours(3200) * 3600 == pytest.approx(16)
    found = MADE.to_json()
    assert found["voxceleb2_hours"] == pytest.approx(1_092_009 * 150 / 200 / 3600)
    assert found["utilisation"] == pytest.approx(0.07 / 0.16)
    assert found["sum_of_parts"] == pytest.approx(0.16)
    assert found["advice"] == ADVICE["student"]


def test_people_read_parts_verdict_and_hours() -> None:
    console = Console(width=200, file=io.StringIO())
    with console.capture() as caught:
        console.print(MADE.render())
    text = caught.get()
    for words in (
        *MADE.parts,
        "bottleneck: student",
        "200 crops a second",
        "VoxCeleb2",
        "3,000.0 ms",
        "memory map",
    ):
        assert words in text


def measured(corpus: Corpus, *, teacher: Teacher | None = None, config: RunConfig | None = None) -> Profile:
    return profile(config or tiny_config(), corpus=corpus, bank=BANK, device=CPU, steps=2, teacher=teacher)


def test_every_part_of_a_step_is_timed(corpus: Corpus) -> None:
    alone = measured(corpus)
    assert list(alone.parts) == [
        "reading", "augmenting", "front end", "student forward", "loss", "student backward", "optimiser",
    ]  # fmt: skip
    assert alone.objective == "none"
    assert alone.live_teacher is None
    assert alone.step > 0
    assert all(seconds > 0 for seconds in alone.parts.values())
    assert alone.speakers == 3
    assert not list(corpus.path.parent.glob("*.cache"))  # nothing is written


def test_a_cache_is_read_where_there_is_one_and_made_up_where_not(corpus: Corpus, tmp_path: Path) -> None:
    teacher, config = Bands(), replace_fields(tiny_config(), {"sees": "view", "targets.views": 2})
    found = measured(corpus, teacher=teacher, config=config)
    assert found.teacher_from.startswith("made-up numbers")
    assert found.objective == "nskd"
    assert found.live_teacher is not None
    assert "teacher" in found.parts
    assert teacher.calls == 4  # timed itself, and no cache was built

    assert config.targets is not None
    folder = default_cache(corpus, teacher, config.targets, config.views, BANK)
    TeacherCache.open_or_build(folder, teacher, corpus, view_config=config.views, bank=BANK, views=2)
    assert measured(corpus, teacher=teacher, config=config).teacher_from == "their cache"


def test_live_targets_run_the_teacher_on_every_step(corpus: Corpus) -> None:
    teacher = Bands()
    live = replace_fields(tiny_config(), {"sees": "view", "live": True})
    assert "itself" in measured(corpus, teacher=teacher, config=live).teacher_from
    assert teacher.calls == (3 + 2) + 4 + (3 + 2 + 1)


def test_nothing_is_timed_without_a_step(corpus: Corpus) -> None:
    with pytest.raises(UserError, match="no step to time"):
        profile(tiny_config(), corpus=corpus, bank=BANK, device=CPU, steps=0)


def test_the_verb_prints_a_table_or_json(corpus: Corpus) -> None:
    words = ("profile", "--corpus", corpus.path, *TINY, "--steps", 1)
    ran = succeed(*words)
    assert "bottleneck: " in ran.out
    assert "without one" in ran.err
    assert '"bottleneck"' in succeed(*words, "--json").out
    assert "unknown model" in refused(2, "profile", "--corpus", corpus.path, "--student", "xvectr")


def test_whole_steps_are_those_of_training(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The very function that `fit` calls, on the chosen part, with warm-ups over and nothing learnt."""
    seen: list[tuple[int, float, float]] = []
    true = profile_module.train_step

    def spying(learner: Any, optimiser: Any, stage: Any, batch: Any, target: Any, **more: Any) -> Any:
        now = learner.module.objective.config.at(stage.own_epoch(batch.step))
        seen.append((len(batch.views.labels), now.margin, now.kd_weight))
        before = [p.detach().clone() for p in learner.module.parameters()]
        found = true(learner, optimiser, stage, batch, target, **more)
        assert all(torch.equal(a, b) for a, b in zip(before, learner.module.parameters(), strict=True))
        return found

    monkeypatch.setattr(profile_module, "train_step", spying)
    config = tiny_config(**{"subset.speakers": 2, "subset.per_speaker": 2, "weight_decay": 0.0})
    found = measured(corpus, teacher=Bands(), config=config)
    assert (found.utterances, found.speakers) == (4, 2)
    assert seen == [(4, 0.2, 4.0)] * 6
    assert loop.train_step is true
