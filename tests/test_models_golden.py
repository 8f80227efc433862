"""The architectures that can load published checkpoints: names, shapes, order and values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from distilvox.models.backbone import BackboneConfig
from distilvox.models.campplus import CAMPPlusConfig
from distilvox.models.ecapa import ECAPAConfig
from distilvox.models.eres2net import ERes2NetConfig
from distilvox.models.resnet import ResNetConfig
from distilvox.models.simam import SimAMConfig
from distilvox.models.xvector import XVectorConfig
from tests.reference.fill import features, fill_state, sweep

V2 = ERes2NetConfig(version=2, channels=64, base_width=26, embedding_dim=192)
ARCHITECTURES: dict[str, BackboneConfig] = {
    "wespeaker_xvec": XVectorConfig(),
    "wespeaker_resnet34": ResNetConfig(),
    "wespeaker_resnet34_two_emb": ResNetConfig(two_emb_layer=True),
    "wespeaker_campplus": CAMPPlusConfig(),
    "wespeaker_ecapa_tdnn_glob_c512": ECAPAConfig(),
    "wespeaker_ecapa_c512_emb_bn": ECAPAConfig(embedding_norm=True),
    "wespeaker_simam_resnet34_asp": SimAMConfig(),
    "3dspeaker_campplus": CAMPPlusConfig(embedding_dim=192),
    "3dspeaker_eres2net_base": ERes2NetConfig(),
    "3dspeaker_eres2netv2": V2,
    "3dspeaker_eres2netv2_w24s4ep4": replace(V2, base_width=24, scale=4, expansion=4),
}
LARGE = 15_000_000
"""Parameters from which one case must do: a forward pass then takes seconds on a busy core."""


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_layout_and_embedding_equal_the_published_implementation(
    name: str, golden: Callable[[str], Any]
) -> None:
    truth = golden(name)
    with torch.device("meta"):  # no time for weights that the rule replaces
        model = ARCHITECTURES[name].build()
    state = [
        [key, list(value.shape), str(value.dtype).removeprefix("torch.")]
        for key, value in model.state_dict().items()
    ]
    assert state == truth["state"]
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters == truth["parameters"]
    model.load_state_dict(fill_state(truth["state"]), assign=True)
    model.eval()
    cases = [(case, features) for case in truth["cases"]] + [
        (case, sweep) for case in truth.get("sweep_cases", [])
    ]
    for case, make in cases if parameters < LARGE else cases[:1]:
        expected = torch.tensor(case["embedding"], dtype=torch.float64)
        with torch.no_grad():
            found = model(make(case["frames"]).float())[0]
        assert found.dtype == torch.float32
        deviation = (found.double() - expected).abs().max() / expected.abs().max()
        assert deviation < 1e-4, f"{deviation:.1e} of the largest value"
