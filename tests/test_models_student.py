"""Students: what the table builds, what it refuses, and the laws that every model keeps."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distilvox.errors import UserError
from distilvox.models import MODELS, Student, build, parameters_count
from distilvox.models.frontend import PRESETS
from distilvox.models.pooling import StatisticsPooling

SMALL = [name for name in MODELS if name.endswith("-s")]
"""One of every architecture, so that a new one is held to every law without a word here."""

SHORTER: dict[str, dict[str, Any]] = {"redimnet2-s": {"blocks": [1, 1, 1, 1], "reductions": [20, 0, 0, 10]}}
"""Who takes long to trace: some of its blocks, every kind of them."""


def settled(name: str, **config: object) -> Student:
    """A student in evaluation mode whose batch norms have seen data, as after training."""
    student = build(name, **config)
    student.train()
    with torch.no_grad():
        student(0.1 * torch.randn(4, 9_000))
    return student.eval()


def test_every_architecture_has_a_small_variant_and_small_is_small() -> None:
    assert {type(config) for config in MODELS.values()} == {type(MODELS[name]) for name in SMALL}
    for name in SMALL:
        assert 100_000 <= parameters_count(build(name)) <= 1_000_000, name


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_says_what_it_is_for_in_one_line(name: str) -> None:
    about = MODELS[name].about
    assert 20 <= len(about) <= 100
    assert about.isprintable()


@pytest.mark.parametrize("name", SMALL)
def test_waveform_to_embedding(name: str) -> None:
    student = settled(name)
    for samples in (8_000, 8_001, 20_000):
        embeddings = student(torch.randn(3, samples))
        assert embeddings.shape == (3, student.embedding_dim)
        assert embeddings.dtype == torch.float32
        assert embeddings.isfinite().all()
    assert student(torch.zeros(0, 8_000)).shape == (0, student.embedding_dim)


@pytest.mark.parametrize("name", SMALL)
def test_a_batch_equals_its_items_alone(name: str) -> None:
    student = settled(name)
    waves = torch.randn(5, 9_000) * torch.logspace(-3, -1, 5)[:, None]
    with torch.no_grad():
        together = student(waves)
        alone = torch.cat([student(wave[None]) for wave in waves])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4 * float(together.abs().max()))


@pytest.mark.parametrize("name", SMALL)
def test_gain_does_not_move_the_embedding(name: str) -> None:
    student = settled(name)
    waves = 0.1 * torch.randn(2, 9_000)
    with torch.no_grad():
        quiet, loud = student(waves), student(5.0 * waves)
    torch.testing.assert_close(quiet, loud, rtol=0, atol=1e-3 * float(loud.abs().max()))


@pytest.mark.parametrize("name", SMALL)
def test_silence_embeds_and_trains_without_a_nan(name: str) -> None:
    student = build(name).train()
    student(torch.zeros(2, 9_000)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in student.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_autocast_runs_the_convolutions_in_bfloat16_and_returns_float32(name: str) -> None:
    student = settled(name)
    seen: set[torch.dtype] = set()

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.add(output.dtype)

    for module in student.backbone.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            module.register_forward_hook(note)
    waves = 0.1 * torch.randn(3, 9_000)
    exact = student(waves)
    assert seen == {torch.float32}
    seen.clear()
    with torch.autocast("cpu", torch.bfloat16):
        rough = student(waves)
    assert seen == {torch.bfloat16}
    assert rough.dtype == torch.float32
    assert torch.cosine_similarity(exact, rough).min() > 0.99


@pytest.mark.parametrize("name", MODELS)
def test_the_state_holds_the_backbone_alone(name: str) -> None:
    student = build(name)
    assert [key.removeprefix("backbone.") for key in student.state_dict()] == list(
        student.backbone.state_dict()
    )


@pytest.mark.parametrize("name", MODELS)
def test_name_and_configuration_survive_json_and_build_the_same_layout(name: str) -> None:
    student = build(name, embedding_dim=24)
    stored = json.loads(json.dumps({"name": student.name, "config": dataclasses.asdict(student.config)}))
    again = build(stored["name"], **stored["config"])
    assert again.config == student.config
    assert again.embedding_dim == 24
    again.load_state_dict(student.state_dict(), strict=True)


@pytest.mark.parametrize("name", SMALL)
def test_traces_once_for_every_batch_and_length(name: str) -> None:
    student = settled(name, **SHORTER.get(name, {}))
    dynamic = {"waves": {0: torch.export.Dim("B", min=1), 1: torch.export.Dim("N", min=8_000)}}
    traced = torch.export.export(student, (torch.randn(2, 12_345),), dynamic_shapes=dynamic).module()
    for batch, samples in ((1, 8_000), (3, 9_677), (2, 16_080)):
        waves = torch.randn(batch, samples)
        with torch.no_grad():
            torch.testing.assert_close(traced(waves), student(waves), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [(3,), (3, 5)])
def test_pooling_is_the_mean_and_the_unbiased_deviation(channels: tuple[int, ...]) -> None:
    frames = torch.randn(2, *channels, 7, dtype=torch.float32)
    flat = frames.double().reshape(2, -1, 7)
    mean = flat.sum(2) / 7
    deviation = ((flat - mean[..., None]).square().sum(2) / 6).sqrt()
    torch.testing.assert_close(
        StatisticsPooling()(frames), torch.cat([mean, deviation], 1).float(), rtol=1e-5, atol=1e-5
    )
    moved = StatisticsPooling()(frames[..., torch.randperm(7)])
    torch.testing.assert_close(StatisticsPooling()(frames), moved, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build("xvectors"), r"unknown model\n  got:     'xvectors'(.|\n)*did you mean 'xvector"),
        (
            lambda: build("xvector-s", embeding_dim=3),
            r"unknown option of model 'xvector-s'(.|\n)*channels, embedding_dim, hidden, last_channels, mels"
            r"\n  remedy:  did you mean 'embedding_dim'",
        ),
        (lambda: build("resnet-s", hidden=3), r"unknown option of model 'resnet-s'(.|\n)*blocks"),
        (lambda: build("xvector-s", channels=0), "channels must be a whole number above 0\n  got:     0"),
        (
            lambda: build("xvector-s", channels=1.5),
            r"option channels of model 'xvector-s' is of the wrong kind",
        ),
        (
            lambda: build("resnet-s", channels="16"),
            r"wrong kind\n  got:     '16'\n  allowed: a value like 16",
        ),
        (lambda: build("resnet-s", mels=81), "mels must be a multiple of 8"),
        (lambda: build("resnet-s", blocks=(1, 2, 3)), r"wrong kind\n  got:     \(1, 2, 3\)"),
        (lambda: build("resnet-s", blocks=[1, 0, 1, 1]), "blocks must be four whole numbers"),
        (lambda: build("xvector-s", mels=400), "this many mel filters"),
        (
            lambda: build("xvector-s", PRESETS["wespeaker"]).eval()(torch.zeros(1, 2_700)),
            r"too few frames for XVector\n  got:     15\n  allowed: at least 16",
        ),
        (
            lambda: build("resnet-s", PRESETS["wespeaker"]).eval()(torch.zeros(1, 1_600)),
            "too few frames for ResNet",
        ),
        (lambda: build("resnet-s")(torch.zeros(1, 10)), "shorter than one window"),
    ],
)
def test_refuses_at_the_door(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize("name", SMALL)
def test_the_shortest_utterance_that_is_taken_embeds(name: str) -> None:
    frames = build(name).backbone.min_frames
    assert 2 <= frames <= 48
    samples = 400 + 160 * (frames - 1)
    student = build(name, PRESETS["wespeaker"]).eval()
    assert student(torch.randn(1, samples)).isfinite().all()
    with pytest.raises(UserError, match="too few frames"):
        student(torch.randn(1, samples - 1))
