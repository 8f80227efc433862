from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from distilvox.errors import UserError
from distilvox.teachers import TeacherHead
from distilvox.teachers.heads import FittedHead, fit_head, training_mean
from distilvox.teachers.preflight import Preflight, preflight, refuse

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
