"""CAM++: masks against a loop over frames, lengths around whole segments, the door, and ONNX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor

from distilvox.errors import UserError
from distilvox.models import MODELS, build
from distilvox.models.campplus import CAMPPlus, CAMPPlusConfig, MaskedLayer, contexts, members
from distilvox.ship.parity import relative_error
from distilvox.ship.trace import write_onnx
from tests.reference.fill import fill

TINY = CAMPPlusConfig(
    mels=16,
    embedding_dim=6,
    head_channels=3,
    head_blocks=1,
    channels=10,
    layers=(1, 2, 1),
    growth=5,
    bottleneck=2,
    segment=7,
)
"""Odd widths and a short segment, so that a fast test crosses many of them."""

FRAMES = ((58, 1), (199, 2), (201, 1), (777, 2), (1_998, 1))
"""Lengths and batches for ONNX, 0.6 s to 20 s: 29 to 999 frames at the masks, in segments of 100."""


def filled(config: CAMPPlusConfig) -> CAMPPlus:
    """In evaluation mode, with every weight and statistic by the golden fill rule."""
    model = config.build()
    fill(model)
    return model.eval()


def slow_contexts(frames: Tensor, segment: int) -> Tensor:
    """Frame by frame, in float64: the mean of its own segment, as far as that goes, plus the mean of all."""
    total = frames.shape[2]
    wide = frames.double()
    columns = []
    for t in range(total):
        start = t - t % segment
        mates = [wide[:, :, k] for k in range(start, min(start + segment, total))]
        columns.append(sum(mates) / len(mates) + wide.sum(2) / total)
    return torch.stack(columns, dim=2).to(frames.dtype)


def fast_contexts(frames: Tensor, segment: int) -> Tensor:
    """A column for each segment, and one for the empty one behind."""
    return contexts(frames, members(frames, segment))


def slow_masked(layer: MaskedLayer, frames: Tensor, member: Tensor) -> Tensor:
    """As published: a mask for every frame from that frame's context."""
    inner = torch.relu(layer.linear1(slow_contexts(frames, int(member[0].sum()))))
    return layer.linear_local(frames) * torch.sigmoid(layer.linear2(inner))


@pytest.mark.parametrize("total", [1, 2, 6, 7, 8, 13, 14, 15, 50])
def test_contexts_are_those_of_a_loop_over_frames(total: int) -> None:
    frames = torch.randn(2, 3, total) + 1
    *found, empty = fast_contexts(frames, 7).unbind(2)
    assert len(found) == -(-total // 7)
    slow = slow_contexts(frames, 7)
    torch.testing.assert_close(torch.stack(found, 2), slow[:, :, ::7], rtol=1e-5, atol=1e-5)
    published = torch.nn.functional.avg_pool1d(frames, 7, 7, ceil_mode=True) + frames.mean(2, keepdim=True)
    torch.testing.assert_close(torch.stack(found, 2), published, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(empty, frames.mean(2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("total", [1, 99, 100, 101, 250])
def test_the_context_of_a_constant_is_twice_the_constant_at_every_length(total: int) -> None:
    found = fast_contexts(torch.full((1, 1, total), 3.0), 100)[:, :, :-1]
    torch.testing.assert_close(found, torch.full_like(found, 6.0))


def test_order_within_a_segment_is_no_context_and_order_between_segments_is() -> None:
    frames = torch.randn(1, 2, 20)
    within = torch.cat([frames[:, :, torch.randperm(10)], frames[:, :, 10:]], dim=2)
    torch.testing.assert_close(fast_contexts(within, 10), fast_contexts(frames, 10), rtol=1e-5, atol=1e-5)
    first, second, _ = fast_contexts(frames, 10).unbind(2)
    turned_first, turned_second, _ = fast_contexts(frames.roll(10, dims=2), 10).unbind(2)
    torch.testing.assert_close(turned_first, second, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(turned_second, first, rtol=1e-5, atol=1e-5)
    assert (first - second).abs().max() > 0.01


@pytest.mark.parametrize("total", [3, 13, 14, 15, 16, 28, 29, 30, 97])
def test_the_model_is_that_of_a_mask_for_every_frame(total: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = filled(TINY)
    features = torch.randn(2, total, 16)
    with torch.no_grad():
        fast = model(features)
        monkeypatch.setattr(MaskedLayer, "forward", slow_masked)
        torch.testing.assert_close(fast, model(features), rtol=1e-4, atol=1e-5)
        monkeypatch.setattr(MaskedLayer, "forward", lambda layer, frames, _: layer.linear_local(frames))
        assert (fast - model(features)).abs().max() > 0.01 * fast.abs().max()


def test_a_short_last_segment_has_gradients_as_the_loop_has_them() -> None:
    layer = MaskedLayer(4, 3, kernel=3, dilation=2)
    frames = torch.randn(2, 4, 17, requires_grad=True)
    member = members(frames.detach(), 7)
    weights = torch.randn(2, 3, 17)
    wanted = [frames, *layer.parameters()]
    fast = torch.autograd.grad((layer(frames, member) * weights).sum(), wanted)
    slow = torch.autograd.grad((slow_masked(layer, frames, member) * weights).sum(), wanted)
    for found, true in zip(fast, slow, strict=True):
        torch.testing.assert_close(found, true, rtol=1e-4, atol=1e-5)


def test_a_batch_of_several_segments_equals_its_items_alone() -> None:
    model = filled(TINY)
    features = torch.randn(3, 50, 16)
    with torch.no_grad():
        together, alone = model(features), torch.cat([model(item[None]) for item in features])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert model(torch.zeros(0, 50, 16)).shape == (0, 6)


@pytest.mark.parametrize("total", [3, 29])
def test_gradients_are_finite_on_silence_and_on_noise(total: int) -> None:
    for features in (torch.zeros(2, total, 16), torch.randn(2, total, 16)):
        model = TINY.build().train()
        model(features).square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_strides_over_frequency_may_come_earlier_at_the_same_size() -> None:
    early = replace(TINY, head_strides=(2, 2, 2, 1)).build()
    late = TINY.build()
    assert late.head(torch.zeros(1, 16, 5)).shape == early.head(torch.zeros(1, 16, 5)).shape == (1, 6, 5)
    early.load_state_dict(late.state_dict(), strict=True)
    assert replace(TINY, head_strides=(2, 2, 2, 2)).build()(torch.randn(2, 9, 16)).shape == (2, 6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CAMPPlusConfig(growth=0), "CAM.*: growth must be a whole number above 0\n  got:     0"),
        (lambda: CAMPPlusConfig(segment=-1), "segment must be a whole number above 0"),
        (lambda: CAMPPlusConfig(embedding_dim=0), "embedding_dim must be a whole number above 0"),
        (
            lambda: CAMPPlusConfig(layers=(4, 0, 4)),
            r"layers must be whole numbers above 0\n  got:     \(4, 0, 4\)\n  allowed: such as \(12, 24",
        ),
        (lambda: CAMPPlusConfig(dilations=(1, 2, -2)), "dilations must be whole numbers above 0"),
        (lambda: CAMPPlusConfig(head_strides=(0, 2, 2, 2)), "head_strides must be whole numbers above 0"),
        (lambda: CAMPPlusConfig(mels=84), "mels must be a multiple of 8, the product of head_strides"),
        (lambda: CAMPPlusConfig(head_strides=(2, 2, 2, 3)), "mels must be a multiple of 24"),
        (lambda: CAMPPlusConfig(kernel=4), "kernel must be odd\n  got:     4"),
        (lambda: CAMPPlusConfig(growth=1, bottleneck=1), "growth times bottleneck must be at least 2"),
        (lambda: build("campplus-s", layers=(4, 6)), "option layers of model 'campplus-s' is of the wrong"),
        (
            lambda: filled(TINY)(torch.zeros(1, 2, 16)),
            "too few frames for CAMPPlus\n  got:     2\n  allowed: at least 3",
        ),
    ],
)
def test_refuses_at_the_door(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()


def test_three_frames_are_enough() -> None:
    assert filled(TINY)(torch.randn(1, 3, 16)).isfinite().all()


@pytest.mark.parametrize(
    "config", [MODELS["campplus-s"], CAMPPlusConfig(layers=(1, 1, 1))], ids=["small", "full width"]
)
def test_onnx_equals_pytorch_below_one_segment_and_at_twenty_seconds(
    config: CAMPPlusConfig, tmp_path: Path
) -> None:
    model = filled(config)
    example = torch.randn(2, 101, config.mels)
    names = ("feats", "embeddings")
    path = tmp_path / "model.onnx"
    write_onnx(model, path, example, names=names, length="frames", shortest=48, metadata={})
    session = onnxruntime.InferenceSession(str(path))
    for frames, batch in FRAMES:
        features = torch.randn(batch, frames, config.mels) * torch.linspace(0.1, 2, frames)[:, None]
        with torch.no_grad():
            truth = model(features).numpy()
        assert relative_error(session.run(None, {"feats": features.numpy()})[0], truth) < 1e-5
