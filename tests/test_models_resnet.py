"""ResNets of any depth: the published sizes, the layout of their blocks, and the second embedding layer."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from distilvox.errors import UserError
from distilvox.models import MODELS, build, parameters_count
from distilvox.models.resnet import EXPANSION, ResNet, ResNetConfig
from tests.reference.fill import features, fill
from tests.reference.resnet import resnet

DEEP = {
    "resnet18": (ResNetConfig(blocks=(2, 2, 2, 2)), "4.11"),
    "resnet34": (ResNetConfig(blocks=(3, 4, 6, 3)), "6.63"),
    "resnet152": (ResNetConfig(blocks=(3, 8, 36, 3), bottleneck=True), "19.8"),
    "resnet221": (ResNetConfig(blocks=(6, 16, 48, 3), bottleneck=True), "23.8"),
    "resnet293": (ResNetConfig(blocks=(10, 20, 64, 3), bottleneck=True), "28.6"),
}
"""Configuration, and millions of parameters as WeSpeaker's page of VoxCeleb results prints them."""


@pytest.mark.parametrize("name", DEEP)
def test_sizes_are_the_published_ones_to_the_printed_digit(name: str) -> None:
    config, printed = DEEP[name]
    with torch.device("meta"):
        count = parameters_count(config.build())
    assert f"{count / 1e6:.{len(printed.partition('.')[2])}f}" == printed


def test_the_table_holds_these_depths() -> None:
    for name in MODELS.keys() & DEEP.keys():
        assert MODELS[name] == DEEP[name][0]
    assert len(MODELS.keys() & DEEP.keys()) >= 4


def test_half_the_width_is_a_quarter_of_the_convolutions() -> None:
    full, half = (build("resnet34", channels=channels).backbone for channels in (32, 16))
    wide = full.get_parameter("layer3.4.conv2.weight")
    assert wide.numel() == 4 * half.get_parameter("layer3.4.conv2.weight").numel()


def small(**fields: Any) -> ResNet:
    config = ResNetConfig(mels=8, blocks=(1, 2, 1, 1), channels=4, embedding_dim=6)
    return ResNet(dataclasses.replace(config, **fields))


def test_a_bottleneck_has_the_published_names_in_their_order() -> None:
    model = small(bottleneck=True)
    expected = []
    for part, shape in {
        "conv1": [8, 16, 1, 1],
        "bn1": [8],
        "conv2": [8, 8, 3, 3],
        "bn2": [8],
        "conv3": [32, 8, 1, 1],
        "bn3": [32],
        "shortcut.0": [32, 16, 1, 1],
        "shortcut.1": [32],
    }.items():
        norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        for name in ("weight",) if len(shape) == 4 else norm:
            expected.append((f"layer2.0.{part}.{name}", [] if name == "num_batches_tracked" else shape))
    state = [(name, list(value.shape)) for name, value in model.state_dict().items()]
    assert [entry for entry in state if entry[0].startswith("layer2.0.")] == expected
    assert not [name for name, _ in state if name.startswith("layer2.1.shortcut")]
    assert any(name.startswith("layer1.0.shortcut") for name, _ in state)  # 4 channels become 16
    assert dict(state)["seg_1.weight"] == [6, 2 * 8 * 4 * EXPANSION]


@pytest.mark.parametrize("two_emb_layer", [False, True])
@pytest.mark.parametrize("bottleneck", [False, True])
def test_every_kind_computes_what_the_reference_does(bottleneck: bool, two_emb_layer: bool) -> None:
    model = small(bottleneck=bottleneck, two_emb_layer=two_emb_layer)
    fill(model)
    model.eval()
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}
    for frames in (9, 30):
        given = features(frames, mels=8).repeat(2, 1, 1)
        given[1] *= 0.5
        with torch.no_grad():
            found = model(given.float()).double().numpy()
        truth = resnet(state, given.numpy())
        assert np.abs(found - truth).max() < 1e-5 * np.abs(truth).max()


def test_a_second_embedding_layer_adds_what_some_checkpoints_have() -> None:
    one, two = (dict(small(two_emb_layer=more).state_dict()) for more in (False, True))
    added = [name for name in two if name not in one]
    norm = [f"seg_bn_1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")]
    assert added == [*norm, "seg_2.weight", "seg_2.bias"] == list(two)[-5:]
    assert two["seg_2.weight"].shape == (6, 6)


def test_a_deep_one_trains() -> None:
    # Eight channels: in the backward pass of four, torch 2.13's own convolutions write past their memory on a CPU.
    model = small(bottleneck=True, two_emb_layer=True, channels=8).train()
    model(torch.randn(3, 20, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("option", ["bottleneck", "two_emb_layer"])
def test_a_choice_is_true_or_false(option: str) -> None:
    with pytest.raises(UserError, match=rf"option {option} of model 'resnet-s' is of the wrong kind"):
        build("resnet-s", **{option: 1})


def test_training_is_the_same_network_in_another_layout() -> None:
    """On the CPU, planes have their channels last in training: outputs and gradients as with channels first."""
    network = ResNetConfig(blocks=(1, 1, 1, 1), channels=8, embedding_dim=5, mels=16).build()
    features, found = torch.randn(3, 20, 16), []
    for planar in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.compiler, "is_compiling", lambda planar=planar: planar)
            embedding = network.train()(features)
        grads = torch.autograd.grad(embedding.sin().sum(), list(network.parameters()))
        found.append([embedding.detach(), *grads])
    for last, first in zip(*found, strict=True):
        torch.testing.assert_close(last, first, rtol=1e-3, atol=1e-4)


def test_attentive_pooling_replaces_the_statistics_alone() -> None:
    plain, attentive = small().state_dict(), small(attentive=True)
    added = [name for name in attentive.state_dict() if name not in plain]
    assert added == [f"pool.linear{k}.{part}" for k in (1, 2) for part in ("weight", "bias")]
    features = torch.randn(3, 21, 8)
    together = attentive.eval()(features)
    alone = torch.cat([attentive(item[None]) for item in features])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
