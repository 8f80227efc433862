"""The depthwise-separable TDNN: its cost, its context, and what its convolutions stand for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from distilvox.errors import UserError
from distilvox.models import build, macs, parameters_count
from distilvox.models.dstdnn import DSTDNN, DSTDNNConfig, separable
from distilvox.models.frontend import PRESETS


def test_it_is_small_enough_for_a_microcontroller() -> None:
    student = build("dstdnn-s", PRESETS["wespeaker"])
    frames = 99  # 198 frames, halved
    entry, block, last = 80 * 5 + 80 * 128, 128 * 5 + 128 * 128, 128 * 192
    assert macs(student, 2.0) == frames * (entry + 5 * block + last) + 384 * 128 <= 20e6
    norms, biases = 6 * 2 * 128, 192 + 128
    assert parameters_count(student) == entry + 5 * block + last + 384 * 128 + norms + biases <= 200_000


def test_a_separable_convolution_is_a_convolution_whose_kernel_is_a_product() -> None:
    layer = separable(3, 4, dilation=2, stride=2).double().eval()
    state = dict(layer.named_parameters())
    kernel = state["1.weight"] * state["0.weight"][:, 0]  # [O, I, 1] · [I, 5]
    frames = torch.randn(2, 3, 17, dtype=torch.float64)
    dense = F.conv1d(frames, kernel, stride=2, padding=4, dilation=2)
    torch.testing.assert_close(layer(frames), dense / (1 + 1e-5) ** 0.5)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_frame_reaches_as_far_as_the_dilations_add_up_to(depth: int) -> None:
    model = DSTDNN(DSTDNNConfig(channels=4, depth=depth, last_channels=3, embedding_dim=2)).eval()
    with torch.no_grad():  # no ReLU may hide a difference
        for parameter in model.parameters():
            parameter.abs_()
    seen: list[torch.Tensor] = []
    model.last.register_forward_hook(lambda *parts: seen.append(parts[2]))
    features = torch.rand(1, 121, 80)
    moved = features.clone()
    moved[:, 60] += 1
    with torch.no_grad():
        model(features), model(moved)
    touched = (seen[0] != seen[1]).any(dim=1)[0].nonzero()[:, 0]
    reach = 1 + 2 * sum(range(1, depth + 1))
    assert (touched.min(), touched.max()) == (30 - reach, 30 + reach)


@pytest.mark.parametrize("field", ["mels", "channels", "depth", "last_channels", "embedding_dim"])
def test_nothing_is_refused_as_a_size(field: str) -> None:
    with pytest.raises(UserError, match=f"DSTDNN: {field} must be a whole number above 0\n  got:     0"):
        build("dstdnn-s", **{field: 0})
