"""Costs counted by hand, for each kind of layer that models are made of."""

from __future__ import annotations

import pytest
import torch

from distilvox.models import build, macs, parameters_count
from distilvox.models.frontend import PRESETS


def test_an_x_vector_counted_by_hand() -> None:
    student = build(
        "xvector-s", PRESETS["wespeaker"], channels=3, last_channels=7, hidden=11, embedding_dim=13
    ).train()
    # 198 frames; the five layers leave 194, 190, 184, 184, 184 of them
    layers = 80 * 3 * 5 * 194 + 3 * 3 * 3 * 190 + 3 * 3 * 3 * 184 + 3 * 3 * 184 + 3 * 7 * 184
    assert macs(student, seconds=2.0) == layers + 14 * 11 + 11 * 13
    weights = 80 * 3 * 5 + 3 * 3 * 3 + 3 * 3 * 3 + 3 * 3 + 3 * 7 + 14 * 11 + 11 * 13
    assert parameters_count(student) == weights + 4 * 3 + 7 + 11 + 13


def test_a_resnet_of_bottlenecks_counted_by_hand() -> None:
    student = build(
        "resnet-s",
        PRESETS["wespeaker"],
        mels=8,
        channels=2,
        blocks=(1, 1, 1, 1),
        bottleneck=True,
        embedding_dim=5,
    )
    planes = [8 * 48, 8 * 48, 4 * 24, 2 * 12, 1 * 6]  # 48 frames; input and output of each stage
    inputs, total = 2, planes[0] * 9 * 2
    for k, width in enumerate((2, 4, 8, 16)):
        before, after = planes[k], planes[k + 1]
        total += before * inputs * width + after * (9 * width * width + 4 * width * width)
        total += after * inputs * 4 * width
        inputs = 4 * width
    assert macs(student, seconds=0.495) == total + 2 * 64 * 5


def test_counting_leaves_the_model_as_it_was() -> None:
    student = build("xvector-s").train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    macs(student)
    assert student.training
    assert student.backbone.training
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_cost_grows_with_length_and_with_the_model() -> None:
    small, large = build("xvector-s"), build("resnet-s")
    assert macs(small, 1.0) < macs(small) < macs(large)
    assert macs(large, 4.0) == pytest.approx(2 * macs(large), rel=0.02)
