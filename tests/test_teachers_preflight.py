from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace
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
from distilvox.teachers.preflight import DevTrials, Preflight, preflight, refuse

CLASSES, EACH, DIM = 20, 5, 32
NAMES = tuple(f"speaker{label:02d}" for label in range(CLASSES))


def voices(spread: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings [U, D] around a direction for each class, labels, directions."""
    directions = F.normalize(torch.randn(CLASSES, DIM), dim=-1)
    labels = torch.arange(CLASSES).repeat(EACH)
    noise = spread * torch.randn(len(labels), DIM) / DIM**0.5
    return directions[labels] + noise, labels, directions


def dev(embeddings: Tensor, labels: Tensor) -> DevTrials:
    """All pairs of the embeddings as trials."""
    enrol, test = np.triu_indices(len(labels), 1)
    who = labels.numpy()
    utterances = tuple(str(row) for row in range(len(who)))
    trials = SimpleNamespace(
        name="dev", utterances=utterances, enrol=enrol, test=test, labels=who[enrol] == who[test]
    )
    return DevTrials(embeddings.numpy(), trials)


def look(head: FittedHead, embeddings: Tensor, labels: Tensor, **options: Any) -> Preflight:
    return preflight("test:", head, embeddings, labels, scale=16.0, **options)


def test_a_good_teacher_passes() -> None:
    embeddings, labels, directions = voices()
    for own in (TeacherHead(directions, NAMES), None):
        head = fit_head(own, embeddings, labels, NAMES)
        found = look(head, embeddings, labels, dev=dev(embeddings, labels))
        assert found.ok
        assert found.accuracy > 0.95
        assert found.dev_eer is not None
        assert found.dev_eer < 0.1
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
    assert found.dev_eer is None


def test_the_entropy_of_equal_non_targets_is_the_log_of_their_number() -> None:
    embeddings = torch.eye(4).repeat(3, 1)
    head = FittedHead(torch.eye(4), "by hand", 0)
    found = preflight("test:", head, embeddings, torch.arange(4).repeat(3), scale=5.0)
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
        found = look(
            fit_head(own, embeddings, shuffled, NAMES), embeddings, shuffled, dev=dev(embeddings, labels)
        )
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
    found = look(shifted, embeddings[first], labels[first], dev=dev(embeddings, labels))
    assert found.means_accuracy is None
    assert "permuted" in found.verdicts[0]


def test_a_chance_teacher_is_seen() -> None:
    _, labels, _ = voices()
    noise = torch.randn(len(labels), DIM)
    found = look(fit_head(None, noise, labels, NAMES, how="means"), noise, labels, dev=dev(noise, labels))
    assert found.dev_eer is not None
    assert found.dev_eer > 0.4
    assert any("no better than chance" in verdict for verdict in found.verdicts)
    head = fit_head(None, noise, labels, NAMES, how="means")
    mirrored = dev(voices()[0], labels)
    trials = SimpleNamespace(**{**vars(mirrored.trials), "labels": ~mirrored.trials.labels})
    worse = look(head, *voices()[:2], dev=DevTrials(mirrored.embeddings, trials))
    assert "no better than chance" in worse.verdicts[0]


def test_centring_shows_in_the_dev_rates_and_in_the_accuracy() -> None:
    embeddings, labels, _ = voices()
    cone = F.normalize(embeddings, dim=-1) * 0.2 + torch.randn(DIM) * torch.rand(len(labels), 1).add(0.5)
    centre = training_mean(cone)
    head = fit_head(None, cone, labels, NAMES, how="means", centre=centre)
    found = look(head, cone, labels, centre=centre, dev=dev(cone, labels))
    raw = look(fit_head(None, cone, labels, NAMES, how="means"), cone, labels)
    assert found.dev_eer is not None
    assert found.dev_eer_centred is not None
    assert found.dev_eer_centred < found.dev_eer
    assert found.entropy < raw.entropy


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
        preflight("test:", head, embeddings, labels, scale=0.0)
    with pytest.raises(UserError, match="two speakers"):
        look(FittedHead(head.weight[:1], "", 0), embeddings, labels * 0)
