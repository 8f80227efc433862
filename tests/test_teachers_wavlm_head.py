"""The back end of the paper's teacher against the reference implementation's own numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distilvox.losses.margin import aam
from distilvox.models.ecapa import ECAPA, ECAPAConfig
from distilvox.models.head import cosines
from distilvox.teachers.wavlm_head import WavLMECAPA
from tests.reference.fill import fill

CENTRES = "loss_calculator.projection.weight"


def golden_input() -> Tensor:
    """[1, 1024, 99] by the formula in the golden file."""
    c = np.arange(1024, dtype=np.float64)[:, None]
    t = np.arange(99, dtype=np.float64)[None, :]
    return torch.from_numpy(np.sin(0.07 * t + 0.013 * c) + 0.4 * np.cos(0.0021 * t * (c + 1)))[None].float()


class WithCentres(WavLMECAPA):
    """The head with the class centres where the checkpoint has them, for the fill rule counts entries."""

    def __init__(self) -> None:
        super().__init__(feat_dim=1024, channels=512, embedding_dim=256)
        self.loss_calculator = nn.Module()
        self.loss_calculator.projection = nn.Linear(256, 5994, bias=False)


def test_layout_embedding_cosines_and_margin_equal_the_reference_implementation(
    golden: Callable[[str], Any],
) -> None:
    truth = golden("wavlm_ecapa_head")
    model = WithCentres()
    state = [
        [name, list(value.shape), str(value.dtype).removeprefix("torch.")]
        for name, value in model.state_dict().items()
    ]
    assert state == truth["state"]
    fill(model)
    model.eval()
    with torch.no_grad():
        embedding = model(golden_input())
        similar = cosines(embedding, model.state_dict()[CENTRES])
        logits = aam(similar, torch.tensor([truth["label"]]), margin=truth["margin"], scale=truth["scale"])[
            0
        ].double()
    expected = torch.tensor(truth["embedding"], dtype=torch.float64)
    assert embedding.shape == (1, 256)
    assert (embedding[0].double() - expected).abs().max() < 1e-4 * expected.abs().max()
    first = torch.tensor(truth["cosines_first8"], dtype=torch.float64)
    torch.testing.assert_close(similar[0, :8].double(), first, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        logits[:4], torch.tensor(truth["logits_first4"], dtype=torch.float64), rtol=0, atol=3e-5
    )
    assert float(logits[truth["label"]]) == pytest.approx(truth["logit_of_label_with_margin"], abs=3e-5)


@pytest.fixture
def tiny() -> WavLMECAPA:
    model = WavLMECAPA(feat_dim=12, channels=16, embedding_dim=6).eval()
    fill(model)
    return model


def test_it_is_an_ecapa_without_context_on_normalised_features(tiny: WavLMECAPA) -> None:
    student = ECAPA(ECAPAConfig(mels=12, embedding_dim=6, channels=16, global_context=False)).eval()
    names = list(student.state_dict())
    student.load_state_dict(dict(zip(names, tiny.state_dict().values(), strict=True)))
    features = torch.randn(2, 12, 40)
    mean, deviation = features.mean(2, keepdim=True), features.std(2, keepdim=True, correction=0)
    alike = (features - mean) / (deviation.square() + 1e-5).sqrt()
    with torch.no_grad():
        torch.testing.assert_close(tiny(features), student(alike.transpose(1, 2)), rtol=1e-4, atol=1e-4)


def test_level_and_offset_of_a_channel_do_not_matter(tiny: WavLMECAPA) -> None:
    features = torch.randn(2, 12, 40)
    moved = features * (1 + torch.rand(12, 1)) + torch.randn(12, 1)
    with torch.no_grad():
        first, second = tiny(features), tiny(moved)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-3 * float(first.abs().max()))


@pytest.mark.parametrize("frames", [2, 24, 149])
def test_a_batch_equals_its_items_alone(tiny: WavLMECAPA, frames: int) -> None:
    features = torch.randn(3, 12, frames) * torch.logspace(-1, 1, 3)[:, None, None]
    with torch.no_grad():
        together = tiny(features)
        alone = torch.cat([tiny(item[None]) for item in features])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5 * float(together.abs().max()))
