"""ERes2Net and ERes2NetV2: what fusion is, what the options change, and what is refused. Values: test_models_golden."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from distilvox.errors import UserError
from distilvox.models import build
from distilvox.models.eres2net import CEILING, ERes2Net, ERes2NetConfig, Fusion, rectified

SMALL = {"mels": 16, "embedding_dim": 5, "channels": 8, "blocks": (1, 1, 1, 1)}


def small(**options: Any) -> ERes2Net:
    return ERes2NetConfig(**{**SMALL, **options}).build().eval()


@pytest.mark.parametrize("options", [{}, {"version": 2}, {"version": 2, "scale": 4, "expansion": 4}])
def test_a_batch_equals_its_items_at_every_length(options: dict[str, Any]) -> None:
    model = small(**options)
    for frames in (9, 16, 33):
        features = torch.randn(3, frames, 16)
        together = model(features)
        assert together.shape == (3, 5)
        alone = torch.cat([model(item[None]) for item in features])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert model(torch.zeros(0, 9, 16)).shape == (0, 5)
    assert model(torch.zeros(1, 9, 16)).isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.randn(1, 9, 16)).dtype == torch.float32


def test_fusion_of_a_plane_with_itself_doubles_it_and_never_loses_the_sum() -> None:
    fusion = Fusion(8).eval()
    first, second = torch.randn(2, 8, 3, 4), torch.randn(2, 8, 3, 4)
    torch.testing.assert_close(fusion(first, first), 2 * first)
    lean = (fusion(first, second) - first - second) / (first - second)
    assert lean.abs().max() < 1


def test_the_blocks_relu_has_a_ceiling() -> None:
    values = torch.tensor([[[[-1.0, 3.0, CEILING + 5]]]])
    assert rectified(values).flatten().tolist() == [0.0, 3.0, CEILING]


def test_groups_and_expansion_are_in_the_shapes() -> None:
    state = small(scale=3, base_width=24, expansion=4).state_dict()
    assert state["layer1.0.convs.2.weight"].shape == (3, 3, 3, 3)
    assert state["layer1.0.conv3.weight"].shape[:2] == (32, 9)
    assert state["layer3.0.fuse_models.1.local_att.0.weight"].shape == (3, 24, 1, 1)
    assert "layer2.0.fuse_models.0.local_att.0.weight" not in state


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 3}, "there is no such version"),
        ({"mels": 12}, "mels must be a multiple of 8"),
        ({"scale": 1}, "scale must be at least 2"),
        ({"blocks": (1, 0, 1, 1)}, "blocks must be four whole numbers above 0"),
        ({"channels": 0}, "channels must be a whole number above 0"),
        ({"channels": 2, "base_width": 8}, "so that a group has a channel"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        small(**options)


def test_too_few_frames_are_refused_and_half_a_second_is_enough() -> None:
    with pytest.raises(UserError, match="too few frames for ERes2Net"):
        small()(torch.zeros(1, 8, 16))
    student = build("eres2net", channels=8, blocks=(1, 1, 1, 1), embedding_dim=5).eval()
    assert student(torch.randn(1, 8_000) * 0.1).isfinite().all()
