"""SimAM ResNet: what its attention is, and what is refused. Values: test_models_golden."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from distilvox.errors import UserError
from distilvox.models import build, parameters_count
from distilvox.models.simam import AttentivePlanes, SimAMConfig, SimAMResNet, simam

SMALL = {"mels": 16, "embedding_dim": 5, "channels": 8, "blocks": (1, 1, 1, 1)}


def small(**options: Any) -> SimAMResNet:
    return SimAMConfig(**{**SMALL, **options}).build().eval()


def test_a_batch_equals_its_items_at_every_length() -> None:
    model = small()
    for frames in (2, 9, 33):
        features = torch.randn(3, frames, 16)
        together = model(features)
        assert together.shape == (3, 5)
        alone = torch.cat([model(item[None]) for item in features])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert model(torch.zeros(0, 9, 16)).shape == (0, 5)
    assert model(torch.zeros(1, 9, 16)).isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.randn(1, 9, 16)).dtype == torch.float32


def test_attention_equals_a_plain_loop(rng: np.random.Generator) -> None:
    planes = rng.standard_normal((2, 3, 4, 5))
    truth = np.empty_like(planes)
    for b, c in np.ndindex(2, 3):
        plane = planes[b, c]
        away = (plane - plane.mean()) ** 2
        energy = away / (4 * (away.sum() / (plane.size - 1) + 1e-4)) + 0.5
        truth[b, c] = plane / (1 + np.exp(-energy))
    np.testing.assert_allclose(simam(torch.from_numpy(planes).float()).numpy(), truth, rtol=1e-5, atol=1e-6)


def test_pooling_of_frames_that_are_alike_has_their_mean_and_the_floor() -> None:
    planes = torch.randn(2, 3, 4, 1).expand(-1, -1, -1, 6)
    pooled = AttentivePlanes(12).eval()(planes)
    torch.testing.assert_close(pooled[:, :12], planes[..., 0].flatten(1))
    torch.testing.assert_close(pooled[:, 12:], torch.full((2, 12), 1e-5).sqrt())


def test_the_deep_one_has_a_hundred_layers_and_the_published_size() -> None:
    blocks = (6, 16, 24, 3)
    assert 2 * sum(blocks) + 2 == 100
    with torch.device("meta"):
        deep = SimAMConfig(blocks=blocks).build()
    assert parameters_count(deep) == pytest.approx(50.2e6, rel=2e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mels": 12}, "mels must be a multiple of 8"),
        ({"blocks": (1, 0, 1, 1)}, "blocks must be four whole numbers above 0"),
        ({"channels": 0}, "channels must be a whole number above 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        small(**options)


def test_too_few_frames_are_refused_and_half_a_second_is_enough() -> None:
    with pytest.raises(UserError, match="too few frames for SimAMResNet"):
        small()(torch.zeros(1, 1, 16))
    student = build("simam34", channels=4, blocks=(1, 1, 1, 1), embedding_dim=5).eval()
    assert student(torch.randn(1, 8_000) * 0.1).isfinite().all()
