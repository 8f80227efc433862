"""ECAPA-TDNN: against a slow reading of the layout at any length, its export, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from distilvox.errors import UserError
from distilvox.models import MODELS, build, macs, parameters_count
from distilvox.models.ecapa import ECAPA, AttentivePooling, ECAPAConfig
from distilvox.models.frontend import PRESETS
from distilvox.ship.trace import write_onnx
from tests.reference import ecapa as reference
from tests.reference.fill import features, fill

TINY = ECAPAConfig(
    mels=12, embedding_dim=5, channels=24, scale=3, dilations=(1, 2, 5), pooled=10, bottleneck=4
)


def filled(config: ECAPAConfig) -> ECAPA:
    model = ECAPA(config).eval()
    fill(model)
    return model


@pytest.mark.parametrize("global_context", [True, False])
@pytest.mark.parametrize("scale", [2, 3, 8])
@pytest.mark.parametrize("frames", [2, 3, 17, 64])
def test_equals_the_reference_at_every_length(frames: int, scale: int, global_context: bool) -> None:
    config = ECAPAConfig(12, 5, 24, scale, (1, 2, 5), 10, 4, global_context)
    model = filled(config)
    given = torch.cat([features(frames, 12), 0.3 * torch.randn(2, frames, 12, dtype=torch.float64)])
    truth = reference.wespeaker(model.state_dict(), given.numpy(), config.dilations)
    with torch.no_grad():
        found = model(given.float()).numpy()
    assert np.abs(found - truth).max() < 1e-5 * np.abs(truth).max()


def test_the_reference_itself_equals_the_golden_value(golden: Callable[[str], dict]) -> None:
    model = filled(ECAPAConfig())
    for case in golden("wespeaker_ecapa_tdnn_glob_c512")["cases"]:
        expected = np.array(case["embedding"])
        found = reference.wespeaker(model.state_dict(), features(case["frames"]).numpy(), (2, 3, 4))[0]
        assert np.abs(found - expected).max() < 1e-6 * np.abs(expected).max()


def test_wider_layouts_are_one_line() -> None:
    with torch.device("meta"):
        wide, plain = ECAPA(ECAPAConfig(channels=1024)), ECAPA(ECAPAConfig(global_context=False))
    assert wide.conv.weight.shape == (1536, 3072, 1)
    assert 14.65e6 <= parameters_count(wide) < 14.66e6  # WeSpeaker's table says 14.65 M
    assert parameters_count(plain) == 6_190_720 - 2 * 1536 * 128
    assert plain.pool.linear1.weight.shape == (128, 1536, 1)


def test_the_small_one_is_small() -> None:
    student = build("ecapa-s")
    assert 300_000 <= parameters_count(student) <= 1_000_000
    assert macs(student, 2.0) <= 60_000_000
    assert student.embedding_dim == 128
    assert isinstance(MODELS["ecapa512"], ECAPAConfig)


def test_cost_is_counted_by_hand() -> None:
    student = build(
        "ecapa-s", PRESETS["wespeaker"], channels=6, scale=3, pooled=7, bottleneck=2, embedding_dim=3
    )
    block = 2 * 6 * 6 + 2 * 3 * 2 * 2  # a frame; its gate once an utterance
    frame = 80 * 6 * 5 + 3 * block + 18 * 7 + 7 * 2 + 2 * 7
    assert macs(student, seconds=2.0) == 198 * frame + 3 * 2 * 6 * 2 + 14 * 2 + 14 * 3


@pytest.mark.parametrize("frames", [2, 3, 40])
def test_attention_sees_the_frame_its_mean_and_its_unbiased_deviation(frames: int) -> None:
    pooling = AttentivePooling(3, 4, global_context=True)
    torch.nn.init.normal_(pooling.linear2.weight, std=3)
    given = torch.randn(2, 3, frames)
    context = torch.cat([given.mean(2), given.std(2)], dim=1)[..., None].expand(-1, -1, frames)
    seen = torch.cat([given, context], dim=1)
    weights = torch.softmax(pooling.linear2(torch.tanh(pooling.linear1(seen))), dim=2)
    mean = (weights * given).sum(2)
    deviation = ((weights * given.square()).sum(2) - mean.square()).sqrt()
    torch.testing.assert_close(pooling(given), torch.cat([mean, deviation], 1), rtol=1e-4, atol=1e-4)


def test_pooling_without_attention_is_mean_and_deviation() -> None:
    pooling = AttentivePooling(3, 2, global_context=True)
    torch.nn.init.zeros_(pooling.linear2.weight)
    frames = torch.randn(2, 3, 9)
    plain = torch.cat([frames.mean(2), frames.std(2, correction=0)], dim=1)
    torch.testing.assert_close(pooling(frames), plain, rtol=1e-5, atol=1e-5)


def test_pooling_does_not_know_the_order_of_frames_nor_how_often_they_come() -> None:
    pooling = AttentivePooling(3, 2, global_context=False)
    frames = torch.randn(2, 3, 9)
    pooled = pooling(frames)
    torch.testing.assert_close(pooling(frames[..., torch.randperm(9)]), pooled)
    torch.testing.assert_close(pooling(frames.repeat(1, 1, 4)), pooled)


def test_a_constant_channel_has_the_floor_for_deviation_and_a_finite_gradient() -> None:
    pooling = AttentivePooling(3, 2, global_context=True)
    frames = torch.full((2, 3, 9), 4.0, requires_grad=True)
    pooled = pooling(frames)
    torch.testing.assert_close(pooled[:, :3], torch.full((2, 3), 4.0))
    torch.testing.assert_close(pooled[:, 3:], torch.full((2, 3), 1e-7**0.5))
    (pooled * torch.randn(2, 6)).sum().backward()
    assert frames.grad is not None
    assert frames.grad.isfinite().all()


def test_statistics_stay_exact_under_autocast() -> None:
    """A large mean with small deviations: bfloat16 sums would keep none of it."""
    pooling = AttentivePooling(2, 2, global_context=True)
    torch.nn.init.zeros_(pooling.linear2.weight)
    frames = 100 + torch.randn(1, 2, 400)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = pooling(frames)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled[:, 2:], frames.std(2, correction=0), rtol=1e-3, atol=0)


def test_onnx_equals_pytorch_at_lengths_it_has_not_seen(tmp_path: Path) -> None:
    student = build("ecapa-s").eval()
    fill(student)
    path = tmp_path / "model.onnx"
    names = ("waveform", "embedding")
    write_onnx(
        student, path, torch.randn(2, 32_000), names=names, length="samples", shortest=8_000, metadata={}
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch, samples in ((1, 9_600), (3, 12_345), (1, 31_999), (2, 80_001), (1, 320_000)):
        waves = 0.1 * torch.randn(batch, samples)
        with torch.no_grad():
            truth = student(waves).numpy()
        found = session.run(None, {"waveform": waves.numpy()})[0]
        assert np.linalg.norm(found - truth, axis=1).max() < 1e-4 * np.linalg.norm(truth, axis=1).min()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ECAPAConfig(channels=0), "channels must be a whole number above 0\n  got:     0"),
        (lambda: ECAPAConfig(bottleneck=0), "bottleneck must be a whole number above 0"),
        (lambda: ECAPAConfig(scale=1), "scale must be at least 2\n  got:     1"),
        (lambda: ECAPAConfig(channels=100), r"multiple of scale\n  got:     100 channels, scale 8"),
        (lambda: ECAPAConfig(dilations=(1, 0, 2)), r"three whole numbers above 0\n  got:     \(1, 0, 2\)"),
        (lambda: build("ecapa-s", dilations=[1, 2]), r"wrong kind\n  got:     \(1, 2\)"),
        (lambda: build("ecapa-s", global_context=1), "wrong kind"),
        (lambda: ECAPA(TINY)(torch.zeros(1, 1, 12)), r"too few frames for ECAPA\n  got:     1"),
        (lambda: ECAPA(TINY)(torch.zeros(1, 0, 12)), "too few frames for ECAPA"),
    ],
)
def test_refuses_at_the_door(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()


def test_the_embeddings_norm_is_the_last_layer_or_nothing() -> None:
    config = ECAPAConfig(channels=8, scale=2, pooled=8, bottleneck=4, embedding_dim=5)
    plain, normed = config.build(), replace(config, embedding_norm=True).build()
    added = [name for name in normed.state_dict() if name not in plain.state_dict()]
    assert added == [
        f"bn2.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ]
    plain.load_state_dict(normed.state_dict(), strict=False)
    normed.bn2.load_state_dict({"weight": torch.full((5,), 3.0), "bias": torch.ones(5)}, strict=False)
    features = torch.randn(2, 30, 80)
    torch.testing.assert_close(normed.eval()(features), 3 * plain.eval()(features) + 1, rtol=1e-4, atol=1e-4)
