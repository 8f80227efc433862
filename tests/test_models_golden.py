"""The architectures that can load published WeSpeaker checkpoints: names, shapes, order and values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from distilvox.models.campplus import CAMPPlus, CAMPPlusConfig
from distilvox.models.ecapa import ECAPA, ECAPAConfig
from distilvox.models.resnet import ResNet, ResNetConfig
from distilvox.models.xvector import XVector, XVectorConfig
from tests.reference.fill import features, fill

ARCHITECTURES = {
    "wespeaker_xvec": lambda: XVector(XVectorConfig()),
    "wespeaker_resnet34": lambda: ResNet(ResNetConfig()),
    "wespeaker_campplus": lambda: CAMPPlus(CAMPPlusConfig()),
    "wespeaker_ecapa_tdnn_glob_c512": lambda: ECAPA(ECAPAConfig()),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_layout_and_embedding_equal_the_published_implementation(
    name: str, golden: Callable[[str], Any]
) -> None:
    truth = golden(name)
    model: nn.Module = ARCHITECTURES[name]()
    state = [
        [key, list(value.shape), str(value.dtype).removeprefix("torch.")]
        for key, value in model.state_dict().items()
    ]
    assert state == truth["state"]
    assert sum(p.numel() for p in model.parameters()) == truth["parameters"]
    fill(model)
    model.eval()
    for case in truth["cases"]:
        expected = torch.tensor(case["embedding"], dtype=torch.float64)
        with torch.no_grad():
            found = model(features(case["frames"]).float())[0]
        assert found.dtype == torch.float32
        deviation = (found.double() - expected).abs().max() / expected.abs().max()
        assert deviation < 1e-4, f"{deviation:.1e} of the largest value"
