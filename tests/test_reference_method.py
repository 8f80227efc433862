"""The method in plain NumPy is what the fast paths compute: loss, parts, gradients, and a whole small training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from distilvox.losses.config import ObjectiveConfig
from distilvox.losses.objective import Objective
from distilvox.models.head import SpeakerHead
from distilvox.teachers import heads
from tests.reference import method
from tests.reference.method import Settings, Weights

B, C, F, D, E = 12, 7, 5, 4, 6
NOW = Settings(gamma=2.0, warmup=2.0)
CONFIG = ObjectiveConfig("nskd", gamma=2.0, kd_warmup_epochs=2.0, margin_warmup_epochs=2.0)


class Given:
    """Toy embeddings: speakers are directions, utterances scatter around them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.y = np.arange(B) % C
        voices = rng.standard_normal((C, F))
        self.features = voices[self.y] + 0.3 * rng.standard_normal((B, F))
        self.teacher = voices[self.y] @ rng.standard_normal((F, E)) + 0.3 * rng.standard_normal((B, E))
        self.centres = method.class_means(self.teacher, self.y, C)
        self.weights = Weights(*(rng.standard_normal(size) for size in ((F, D), (C, D), (E, D))))

    def fast(self) -> tuple[Objective, Tensor]:
        """The product's objective with the same weights, and the student's matrix, in float64."""
        objective = Objective(
            CONFIG,
            SpeakerHead([f"s{k}" for k in range(C)], D),
            teacher_centres=torch.from_numpy(self.centres),
        ).double()
        assert objective.projection is not None
        with torch.no_grad():
            objective.head.weight.copy_(torch.from_numpy(self.weights.centres))
            objective.projection.weight.copy_(torch.from_numpy(self.weights.projection))
        return objective, torch.from_numpy(self.weights.student).clone().requires_grad_()


@pytest.fixture
def given(rng: np.random.Generator) -> Given:
    return Given(rng)


@pytest.mark.parametrize("epoch", [0.0, 0.5, 2.0, 9.0])
def test_loss_parts_and_gradients_are_those_of_the_fast_path(epoch: float, given: Given) -> None:
    slow = method.objective(given.weights, given.features, given.y, given.teacher, given.centres, epoch, NOW)
    objective, student = given.fast()
    total, parts = objective(
        torch.from_numpy(given.features) @ student, torch.from_numpy(given.y), torch.from_numpy(given.teacher),
        epoch=epoch,
    )  # fmt: skip
    total.backward()
    assert float(total.detach()) == pytest.approx(slow.total, rel=1e-10)
    for name in ("ce", "tskd", "nskd"):
        assert float(parts[name]) == pytest.approx(getattr(slow, name), rel=1e-9, abs=1e-12)
    assert objective.projection is not None
    trained = (student, objective.head.weight, objective.projection.weight)
    for weight, truth in zip(trained, slow.gradients, strict=True):
        assert weight.grad is not None
        np.testing.assert_allclose(weight.grad.numpy(), truth, rtol=1e-8, atol=1e-10)


def test_a_whole_training_is_that_of_the_fast_path_and_learns(given: Given) -> None:
    end, log = method.train(
        given.weights, given.features, given.y, given.teacher, given.centres,
        epochs=40, batch=6, rate=1e-2, now=NOW,
    )  # fmt: skip
    objective, student = given.fast()
    assert objective.projection is not None
    trained = (student, objective.head.weight, objective.projection.weight)
    features, y, teacher = (torch.from_numpy(v) for v in (given.features, given.y, given.teacher))
    for step in range(80):
        rows = slice(step % 2 * 6, step % 2 * 6 + 6)
        total, _ = objective(features[rows] @ student, y[rows], teacher[rows], epoch=step / 2)
        grads = torch.autograd.grad(total, trained)
        with torch.no_grad():
            for weight, grad in zip(trained, grads, strict=True):
                weight -= 1e-2 * grad
        assert float(total.detach()) == pytest.approx(log[step].total, rel=1e-6)
    for weight, truth in zip(trained, end, strict=True):
        np.testing.assert_allclose(weight.detach().numpy(), truth, rtol=1e-5, atol=1e-7)
    assert log[-1].total < 0.5 * max(found.total for found in log)


def test_conventional_distillation_is_the_two_parts_the_second_switched_off_by_confidence(
    given: Given,
) -> None:
    z, t = (3 * np.random.default_rng(k).standard_normal((B, C)) for k in (1, 2))
    p_y = method.softmax(t)[np.arange(B), given.y]
    whole = method.tskd(z, t, given.y)[0] + (1 - p_y) * method.nskd(z, t, given.y)[0]
    np.testing.assert_allclose(method.kld(z, t), whole, rtol=1e-12)


def test_class_means_are_those_of_the_teacher_s_head(given: Given) -> None:
    units = torch.nn.functional.normalize(torch.from_numpy(given.teacher).float(), dim=1)
    fast = heads.class_means(units, torch.from_numpy(given.y), C)
    np.testing.assert_allclose(fast.numpy(), given.centres, atol=1e-6)


def test_it_stays_a_file_that_is_read_in_one_sitting() -> None:
    assert len(Path(method.__file__).read_text().splitlines()) < 200
