from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from distilvox.errors import UserError
from distilvox.files import write_json
from distilvox.losses.ensemble import teacher_logits
from distilvox.teachers import Teacher, TeacherHead
from distilvox.teachers.advice import reach, read_baseline, suggest
from distilvox.teachers.heads import FittedHead, fit_head, in_sorted_order
from distilvox.teachers.live import LiveTeacher
from distilvox.teachers.preflight import Preflight, preflight, refuse
from distilvox.teachers.probe import Probe, agree, probe
from distilvox.teachers.vectors import training_mean
from distilvox.views.bank import synthetic_bank
from distilvox.views.draws import ViewConfig
from tests.making import make_corpus

CLASSES, EACH, DIM = 20, 5, 32
NAMES = tuple(f"speaker{label:02d}" for label in range(CLASSES))


def voices(spread: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings [U, D] around a direction for each class, labels, directions."""
    directions = F.normalize(torch.randn(CLASSES, DIM), dim=-1)
    labels = torch.arange(CLASSES).repeat(EACH)
    noise = spread * torch.randn(len(labels), DIM) / DIM**0.5
    return directions[labels] + noise, labels, directions


def look(head: FittedHead, embeddings: Tensor, labels: Tensor, **options: Any) -> Preflight:
    return preflight("test:", head, embeddings, labels, NAMES, scale=16.0, **options)


def text_of(found: Preflight) -> str:
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(found.render())
    return console.export_text()


def test_a_good_teacher_passes() -> None:
    embeddings, labels, directions = voices()
    for own in (TeacherHead(directions, NAMES), None):
        head = fit_head(own, embeddings, labels, NAMES)
        found = look(head, embeddings, labels, dev_eer=0.1, dev_eer_centred=0.08, trial_list="dev.txt")
        assert found.ok
        assert found.accuracy > 0.95
        assert (found.dev_eer, found.dev_eer_centred, found.trial_list) == (0.1, 0.08, "dev.txt")
        assert refuse(found, force=False) == []


def test_figures_equal_the_plain_computation() -> None:
    embeddings, labels, _ = voices()
    head = fit_head(None, embeddings, labels, NAMES, how="means")
    found = look(head, embeddings, labels)
    probabilities, entropies, right, by_means = [], [], [], []
    units = [row / np.linalg.norm(row) for row in embeddings.double().numpy()]
    for row, (unit, label) in enumerate(zip(units, labels.tolist(), strict=True)):
        p = np.exp(16 * head.weight.double().numpy() @ unit)
        probabilities.append(p[label] / p.sum())
        right.append(p.argmax() == label)
        q = np.delete(p, label) / np.delete(p, label).sum()
        entropies.append(-(q * np.log(q)).sum())
        cosines = []
        for other in range(CLASSES):
            mates = [units[k] for k in range(other, len(units), CLASSES) if k != row]
            mean = np.sum(mates, axis=0)
            cosines.append(mean @ unit / np.linalg.norm(mean))
        by_means.append(np.argmax(cosines) == label)
    assert found.target_probability == pytest.approx(np.mean(probabilities), rel=1e-5)
    assert found.entropy == pytest.approx(np.mean(entropies), rel=1e-5)
    assert found.accuracy == np.mean(right)
    assert found.means_accuracy == pytest.approx(np.mean(by_means))
    assert 1 <= found.effective_non_targets <= CLASSES - 1
    assert found.chance == 1 / CLASSES


def test_the_entropy_of_equal_non_targets_is_the_log_of_their_number() -> None:
    embeddings = torch.eye(4).repeat(3, 1)
    head = FittedHead(torch.eye(4), "by hand", 0)
    found = preflight("test:", head, embeddings, torch.arange(4).repeat(3), "abcd", scale=5.0)
    assert found.entropy == pytest.approx(np.log(3), rel=1e-5)
    assert found.effective_non_targets == pytest.approx(3, rel=1e-5)
    assert found.target_probability == pytest.approx(np.exp(5) / (np.exp(5) + 3), rel=1e-5)


def test_permuted_names_of_the_teachers_rows_are_seen() -> None:
    embeddings, labels, directions = voices()
    shifted = TeacherHead(directions.roll(1, dims=0), NAMES)
    found = look(fit_head(shifted, embeddings, labels, NAMES), embeddings, labels)
    assert found.own_accuracy is not None
    assert found.own_accuracy < 0.1
    assert found.means_accuracy is not None
    assert found.means_accuracy > 0.8
    assert "labels look permuted" in found.verdicts[0]
    named = re.search(r"speaker(\d+) is nearest to the row of speaker(\d+)", found.verdicts[0])
    assert named is not None
    assert (int(named[1]) + 1) % CLASSES == int(named[2])
    with pytest.raises(UserError, match=r"(?s)refuses the teacher test:.*permuted.*--force"):
        refuse(found, force=False)
    assert refuse(found, force=True) == list(found.verdicts)


def test_permuted_rows_are_seen_where_half_of_the_speakers_match() -> None:
    embeddings, labels, directions = voices()
    half = CLASSES // 2
    own = TeacherHead(directions[:half].roll(1, dims=0), NAMES[:half])
    assert "permuted" in look(fit_head(own, embeddings, labels, NAMES), embeddings, labels).verdicts[0]


def test_permuted_utterance_labels_are_seen_with_and_without_own_rows() -> None:
    embeddings, labels, directions = voices()
    shuffled = labels[torch.randperm(len(labels))]
    for own in (TeacherHead(directions, NAMES), None):
        found = look(fit_head(own, embeddings, shuffled, NAMES), embeddings, shuffled, dev_eer=0.1)
        assert "labels look permuted" in found.verdicts[0]
        blind = look(fit_head(own, embeddings, shuffled, NAMES), embeddings, shuffled)
        assert "no better than chance on the training views" in blind.verdicts[0]


def test_permuted_rows_are_seen_with_one_utterance_a_speaker() -> None:
    embeddings, labels, directions = voices()
    first = slice(0, CLASSES)
    straight = fit_head(TeacherHead(directions, NAMES), embeddings[first], labels[first], NAMES)
    assert look(straight, embeddings[first], labels[first]).ok
    shifted = fit_head(
        TeacherHead(directions.roll(1, dims=0), NAMES), embeddings[first], labels[first], NAMES
    )
    found = look(shifted, embeddings[first], labels[first], dev_eer=0.1)
    assert found.means_accuracy is None
    assert "permuted" in found.verdicts[0]


def test_two_views_of_an_utterance_do_not_vouch_for_each_other() -> None:
    embeddings, labels, _ = voices()
    shuffled = labels[torch.randperm(len(labels))].repeat(2)
    twice = torch.cat([embeddings, embeddings + 0.01 * torch.randn_like(embeddings)])
    sources = torch.arange(len(labels)).repeat(2)
    head = fit_head(None, twice, shuffled, NAMES)
    found = look(head, twice, shuffled, utterances=sources, dev_eer=0.1)
    assert "labels look permuted" in found.verdicts[0]
    once = look(fit_head(None, embeddings, labels, NAMES, how="means"), embeddings, labels)
    same = torch.cat([embeddings, embeddings])
    again = look(
        fit_head(None, same, labels.repeat(2), NAMES, how="means"), same, labels.repeat(2), utterances=sources
    )
    assert again.means_accuracy == pytest.approx(once.means_accuracy)
    assert again.ok


def test_a_chance_teacher_is_seen() -> None:
    embeddings, labels, _ = voices()
    noise = torch.randn(len(labels), DIM)
    found = look(fit_head(None, noise, labels, NAMES, how="means"), noise, labels)
    assert "no better than chance on the training views" in found.verdicts[0]
    head = fit_head(None, embeddings, labels, NAMES, how="means")
    assert "no better than chance: 45.0% EER" in look(head, embeddings, labels, dev_eer=0.45).verdicts[0]
    assert look(head, embeddings, labels, dev_eer=0.45, dev_eer_centred=0.4).ok
    assert look(head, embeddings, labels, dev_eer=0.449).ok


def test_the_record_is_json_and_holds_every_figure() -> None:
    embeddings, labels, _ = voices()
    found = look(fit_head(None, embeddings, labels, NAMES), embeddings, labels, dev_eer=0.5)
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["verdicts"] == list(found.verdicts)
    assert record["ok"] is False
    assert record["accuracy"] == found.accuracy
    assert record["effective_non_targets"] == found.effective_non_targets


def test_a_centre_is_taken_from_the_views_too() -> None:
    embeddings, labels, _ = voices()
    cone = F.normalize(embeddings, dim=-1) + 3 * F.normalize(torch.ones(DIM), dim=0)
    centre = training_mean(cone)
    spread = look(fit_head(None, cone, labels, NAMES, centre=centre), cone, labels, centre=centre)
    crowded = look(fit_head(None, cone, labels, NAMES), cone, labels)
    assert spread.accuracy > 0.9
    assert spread.entropy < crowded.entropy
    assert spread.target_probability > crowded.target_probability


def test_the_table_shows_names_from_data_as_they_are() -> None:
    embeddings, labels, _ = voices()
    found = look(fit_head(None, embeddings, labels, NAMES), embeddings, labels)
    found = replace(found, teacher="run:[red]x[/red]", verdicts=("the labels [bold]look",))
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(found.render())
    text = console.export_text()
    assert "run:[red]x[/red]" in text
    assert "the labels [bold]look" in text
    assert f"of {CLASSES - 1}" in text


# ---- rows without names ----


def test_unnamed_rows_are_assumed_in_sorted_order_and_the_sentence_says_so() -> None:
    embeddings, labels, directions = voices()
    shuffled = torch.randperm(CLASSES)  # the corpus's order is nobody's business
    names = [NAMES[label] for label in shuffled]
    mine = torch.argsort(shuffled)[labels]
    own = in_sorted_order(directions, names)
    found = fit_head(own, embeddings, mine, names, assumed=True)
    assert (
        "20 of 20 rows are the teacher's own, assumed in sorted order: the checkpoint names no" in found.how
    )
    assert found.assumed
    assert preflight("test:", found, embeddings, mine, names, scale=16.0).accuracy > 0.95
    assert in_sorted_order(directions[1:], names) is None
    assert in_sorted_order(None, names) is None


def test_unnamed_rows_in_another_order_are_caught_by_accuracy() -> None:
    embeddings, labels, directions = voices()
    own = in_sorted_order(directions[torch.randperm(CLASSES)], NAMES)
    found = look(fit_head(own, embeddings, labels, NAMES, assumed=True), embeddings, labels, dev_eer=0.1)
    assert "look permuted: the teacher's own rows, assumed in sorted order, are right" in found.verdicts[0]
    assert found.verdicts[0].endswith("--targets.head means does without these rows")
    with pytest.raises(UserError, match="permuted"):
        refuse(found)


def test_named_rows_in_another_order_do_no_harm() -> None:
    embeddings, labels, directions = voices()
    order = torch.randperm(CLASSES)
    own = TeacherHead(directions[order], tuple(NAMES[row] for row in order))
    found = look(fit_head(own, embeddings, labels, NAMES), embeddings, labels, dev_eer=0.1)
    assert found.ok
    assert found.own_accuracy is not None
    assert found.own_accuracy > 0.95


# ---- advice ----


def test_the_suggestions_do_what_they_say() -> None:
    embeddings, labels, _ = voices(spread=0.3)
    for sizes in ((), (20, 12)):
        weight = fit_head(None, embeddings, labels, NAMES, how="means").weight
        units = F.normalize(embeddings, dim=-1)
        found = suggest(weight, units, labels, scale=20.0, sizes=sizes)
        assert found.scale is not None
        assert found.temperature is not None
        for logits in (
            teacher_logits(units, weight, labels, sizes=sizes, scale=found.scale),
            teacher_logits(units, weight, labels, sizes=sizes, scale=20.0) / found.temperature,
        ):
            reached = logits.softmax(1)[torch.arange(len(labels)), labels].mean()
            assert float(reached) == pytest.approx(0.85, abs=2e-3)
        if not sizes:
            assert found.temperature == pytest.approx(20 / found.scale, rel=2e-3)


def test_nothing_is_suggested_to_a_teacher_that_is_right_too_rarely() -> None:
    embeddings, labels, directions = voices()
    own = TeacherHead(directions.roll(1, dims=0), NAMES)
    found = look(fit_head(own, embeddings, labels, NAMES), embeddings, labels)
    assert (found.suggested_scale, found.suggested_temperature) == (None, None)
    assert "right too rarely" in text_of(found)


def test_a_sharp_head_is_advised_of_and_not_refused() -> None:
    embeddings, labels, _ = voices(spread=0.3)
    head = fit_head(None, embeddings, labels, NAMES, how="means")
    sharp = preflight("test:", head, embeddings, labels, NAMES, scale=30.0)
    assert sharp.target_probability > 0.95
    assert sharp.suggested_scale is not None
    assert (sharp.ok, refuse(sharp)) == (True, [])
    weight = f"a weight of {1 - sharp.target_probability:.1%}"
    assert f"--kd-scale {sharp.suggested_scale:.3g} or --temperature" in sharp.advice[0]
    assert weight in sharp.advice[0]
    again = preflight("test:", head, embeddings, labels, NAMES, scale=sharp.suggested_scale)
    assert again.target_probability == pytest.approx(0.85, abs=2e-3)
    assert again.advice == ()


def test_own_rows_that_are_right_less_often_than_means_are_advised_against() -> None:
    embeddings, labels, directions = voices()
    good = look(fit_head(TeacherHead(directions, NAMES), embeddings, labels, NAMES), embeddings, labels)
    assert not any("own rows" in line for line in good.advice)
    rows = directions.clone()
    rows[:5] = rows[:5].roll(1, dims=0)  # a quarter of the rows are others'
    poor = look(fit_head(TeacherHead(rows, NAMES), embeddings, labels, NAMES), embeddings, labels)
    assert poor.ok
    assert poor.own_accuracy is not None
    assert poor.own_accuracy < 0.8
    assert f"own rows are right for {poor.own_accuracy:.1%}" in poor.advice[0]
    assert "--targets.head means" in poor.advice[0]


def test_a_teacher_worse_than_the_student_alone_is_advised_of(tmp_path: Path) -> None:
    embeddings, labels, _ = voices()
    head = fit_head(None, embeddings, labels, NAMES, how="means")
    write_json(tmp_path / "evaluation.json", {"trial_list": "dev.txt", "trials": 9, "eer": 0.06})
    alone = read_baseline(tmp_path, trial_list="dev.txt", trials=9)
    worse = look(head, embeddings, labels, dev_eer=0.1, dev_eer_centred=0.079, baseline=alone)
    assert "worse (7.90% EER) than this student trained alone (6.00%" in worse.advice[0]
    assert worse.ok
    better = look(head, embeddings, labels, dev_eer=0.1, dev_eer_centred=0.05, baseline=alone)
    for harmless in (better, look(head, embeddings, labels, dev_eer=0.1)):
        assert not any("worse" in advice for advice in harmless.advice)
    with pytest.raises(UserError, match=r"different trials\n.*dev.txt with 9 trials\n.*dev.txt with 8"):
        read_baseline(tmp_path, trial_list="dev.txt", trials=8)
    write_json(tmp_path / "evaluation.json", {"eer": 0.06})
    with pytest.raises(UserError, match="evaluation is damaged"):
        read_baseline(tmp_path, trial_list="dev.txt", trials=9)
    with pytest.raises(UserError, match=r"no evaluation here[\s\S]*--trials"):
        read_baseline(tmp_path / "none", trial_list="dev.txt", trials=9)


def test_reach_finds_the_first_crossing() -> None:
    assert reach(lambda x: x, 5.0) == pytest.approx(5.0, rel=1e-3)
    assert reach(lambda x: 0.9 * np.sin(x) if x < 3 else 0.0, 0.45) == pytest.approx(np.pi / 6, rel=1e-3)
    assert reach(lambda x: 0.5, 0.85) is None


# ---- live measurements ----


def test_agreement_equals_the_plain_loops() -> None:
    first, second = torch.randn(7, 5), torch.randn(7, 5)
    speakers = torch.tensor([0, 0, 1, 2, 1, 3, 3])
    cosine = [[float(F.cosine_similarity(a, b, dim=0)) for b in second] for a in first]
    pairs = [(i, j) for i in range(7) for j in range(7)]
    others = [(i, j) for i, j in pairs if speakers[i] != speakers[j]]
    best = [max(cosine[i][j] for j in range(7) if (i, j) in others) for i in range(7)]
    same, different, recognised = agree(first, second, speakers)
    assert same == pytest.approx(np.mean([cosine[i][i] for i in range(7)]), abs=1e-6)
    assert different == pytest.approx(np.mean([cosine[i][j] for i, j in others]), abs=1e-6)
    assert recognised == np.mean([cosine[i][i] > best[i] for i in range(7)])
    assert agree(first, 3 * first, speakers)[0] == pytest.approx(1)


@pytest.mark.parametrize("sees", ["view", "utterance"])
def test_the_probe_counts_speech_and_time(sees: str, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "c", speakers=3, utterances=6)
    views = ViewConfig(seconds=0.5)

    class Slow(Teacher):
        """Takes a second of the test's clock for every call."""

        now = 0.0

        def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B D"]:
            self.now += 1
            return torch.fft.rfft(waves, n=8_192).abs()[:, 20:148].log1p()

        def head(self) -> TeacherHead | None:
            return None

    teacher = Slow(uri="slow:", id="slow", sample_rate=16_000, embedding_dim=128)
    live = LiveTeacher(teacher, corpus, views, synthetic_bank(seconds=0.5), sees, "cpu")
    found = probe(teacher.embed, live, clock=lambda: teacher.now)
    assert found.utterances == 18
    if sees == "view":
        assert found.speed == pytest.approx(18 * 0.5)  # 18 crops in one call, twice
    else:
        assert found.speed == pytest.approx(float(corpus.samples.mean()) / 16_000, rel=0.1)  # one by one
    assert found.same > found.different
    assert found.memory_bytes > 2**20
    assert found.device == "cpu"
    alone = make_corpus(tmp_path / "one", speakers=1)
    with pytest.raises(UserError, match="two speakers"):
        probe(teacher.embed, replace(live, corpus=alone))


def test_what_was_measured_is_shown_and_recorded() -> None:
    embeddings, labels, _ = voices()
    seen = Probe(64, 0.75, 0.25, 0.9, 1234.5, 2**30, "cpu")
    found = look(fit_head(None, embeddings, labels, NAMES), embeddings, labels, probe=seen)
    shown = text_of(found)
    for part in ("cosine 0.750, of different speakers 0.250", "90.00%", "1,234.5 s on cpu", "1.00 GiB"):
        assert part in shown
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["probe"]["agreement"] == 0.5
    assert record["probe"]["speed"] == 1234.5
    assert record["suggested_scale"] == found.suggested_scale
    assert record["advice"] == list(found.advice)


def test_bad_input_is_refused_at_the_door() -> None:
    embeddings, labels, _ = voices()
    head = fit_head(None, embeddings, labels, NAMES)
    with pytest.raises(UserError, match="needs embeddings"):
        look(head, embeddings[:0], labels[:0])
    with pytest.raises(UserError, match="scale"):
        preflight("test:", head, embeddings, labels, NAMES, scale=0.0)
    with pytest.raises(UserError, match="two speakers"):
        look(FittedHead(head.weight[:1], "", 0), embeddings, labels * 0)
    with pytest.raises(UserError, match=r"(?s)differ in number.*19, 20"):
        preflight("test:", head, embeddings, labels, NAMES[1:], scale=1.0)
