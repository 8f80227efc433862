"""ReDimNet2: every published switch against golden values, the small student's stem, and the door."""

from __future__ import annotations

from collections.abc import Callable
from math import floor, log10
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distilvox.errors import UserError
from distilvox.models import MODELS, build, macs, parameters_count
from distilvox.models.ecapa import AttentivePooling
from distilvox.models.redimnet2 import ReDimNet2Config
from distilvox.models.redimnet2_blocks import (
    Attention,
    ChannelNorm,
    ConvNeXtBlock,
    FeedForward,
    Mixture,
    ResidualBlock,
    TimeBlock,
    Transformer,
    to_map,
    to_plane,
)
from tests.reference.fill import fill, fill_state

NETWORKS = (
    *(f"redimnet2_{name}" for name in ("b0", "b1", "b2", "small_gnorm", "small_dual", "small_other")),
    *(f"wespeaker_redimnet2_{name}" for name in ("b0", "b1", "b2", "b6")),
)
BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "ResBasicBlock": lambda: ResidualBlock(6, 1),
    "ConvNeXtLikeBlock 1d": lambda: ConvNeXtBlock(12, [(19,)]),
    "ConvNeXtLikeBlock 2d, two kernels, group divisor 2": lambda: ConvNeXtBlock(6, [(3, 3), (3, 5)], 2),
    "LayerNorm channels_first": lambda: ChannelNorm(7),
    "TransformerEncoderLayer (n_mlp = n_state)": lambda: Transformer(16, 16),
    "TimeContextBlock1d conv+att": lambda: TimeBlock(20, 8, "conv+att"),
    "TimeContextBlock1d att": lambda: TimeBlock(20, 8, "att"),
    "FeedForward (gelu_new)": lambda: FeedForward(8, 12),
    "MultiHeadAttention": lambda: Attention(8),
    "ASTP global_context_att": lambda: AttentivePooling(10, 128, global_context=True),
}


def configuration(given: dict[str, Any]) -> ReDimNet2Config:
    """The golden constructor arguments in our words."""
    stages = given["stages_setup"]
    return ReDimNet2Config(
        mels=given["F"],
        embedding_dim=given["embed_dim"],
        channels=given["C"],
        bin_strides=tuple(stage[0][0] for stage in stages),
        time_strides=tuple(stage[0][1] for stage in stages),
        blocks=tuple(stage[1] for stage in stages),
        expansions=tuple(float(stage[2]) for stage in stages),
        reductions=tuple(stage[4] or 0 for stage in stages),
        out_channels=given["out_channels"] or 0,
        out_plane=given["return_2d_output"],
        time_block=given.get("block_1d_type", "conv+att"),
        plane_block=given.get("block_2d_type", "basic_resnet"),
        divisor=given.get("group_divisor", 1),
        grouped_strides=given.get("compress_tconvs", True),
        group_norm=given.get("agg_gnorm", False),
        dual=given.get("dual_agg", False),
        embedding_norm=given.get("emb_bn", False),
    )


def features(frames: int, *, sweep: bool, mels: int = 72) -> Tensor:
    """The two golden inputs [1, T, F]."""
    t, f = np.arange(frames, dtype=np.float64)[:, None], np.arange(mels)[None, :]
    first = (0.3 + t / 100) * np.sin(0.0007 * t * t + 0.3 * f) if sweep else np.sin(0.05 * t + 0.3 * f)
    return torch.from_numpy(first + 0.5 * np.cos(0.011 * t * (f + 1))).float()[None]


@pytest.mark.parametrize("name", NETWORKS)
def test_layout_and_embedding_equal_the_published_implementation(
    name: str, golden: Callable[[str], Any]
) -> None:
    truth = golden(name)
    model = configuration(truth.get("kwargs") or truth["built_as"]).build().eval()
    wanted = [entry for entry in truth["state"] if not entry[0].startswith(("spec.", "frontend."))]
    state = [[key, list(value.shape), str(value.dtype)[6:]] for key, value in model.state_dict().items()]
    assert state == wanted
    assert sum(p.numel() for p in model.parameters()) == truth["parameters"]
    tensors = fill_state(truth["state"])
    model.load_state_dict({key: tensors[key] for key, *_ in wanted})
    pairs = [(case, key) for key in ("cases", "sweep_cases") for case in truth[key]]
    for case, key in pairs:
        expected = torch.tensor(case["embedding"], dtype=torch.float64)
        with torch.no_grad():
            found = model(features(case["frames"], sweep=key == "sweep_cases"))[0]
        assert (found.double() - expected).abs().max() < 1e-4 * expected.abs().max()
    if "backbone" in truth:
        part = truth["backbone"]
        with torch.no_grad():
            maps = model.backbone(features(part["frames"], sweep=False).transpose(1, 2))[0]
        expected = torch.tensor(part["values"], dtype=torch.float64)
        found = maps[:12, [0, 1, 2, -1]].flatten().double()
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def block_input(shape: list[int]) -> Tensor:
    """[1, C, T] or [1, C, F, T] float64, by the formula in the golden file."""
    t, c = np.arange(shape[-1]), np.arange(shape[1]).reshape(-1, *[1] * (len(shape) - 2))
    f = np.arange(shape[2])[:, None] if len(shape) == 4 else 0
    values = np.sin(0.31 * t + 0.7 * c + 0.43 * f) + 0.5 * np.cos(0.05 * t * (c + 1) - 0.2 * f)
    return torch.from_numpy(values)[None]


def written(value: float) -> float:
    """Half a unit of the seventh digit, with which the golden values are written."""
    return 0.5 * 10.0 ** (floor(log10(abs(value))) - 6) if value else 1e-12


def test_blocks_equal_the_published_ones_to_the_last_digit(golden: Callable[[str], Any]) -> None:
    blocks = {block["name"]: block for block in golden("redimnet2_blocks")["blocks"]}
    for name, make in BLOCKS.items():
        truth, block = blocks[name], make()
        assert [[key, list(value.shape)] for key, value in block.state_dict().items()] == [
            entry[:2] for entry in truth["state"]
        ]
        fill(block)
        rows = name.startswith(("FeedForward", "MultiHead"))
        shape = [1, truth["shape"][2], truth["shape"][1]] if rows else truth["shape"]
        values = 2 * block_input(shape).transpose(1, 2) if rows else block_input(shape)
        pooling = name.startswith("ASTP")  # computes its statistics in float32
        block, values = (block.eval(), values.float()) if pooling else (block.double().eval(), values)
        with torch.no_grad():
            found = block(values).flatten().tolist()
        slack = (2e-6 if pooling else 1e-9) * max(map(abs, truth["output"]))
        for ours, theirs in zip(found, truth["output"], strict=True):
            assert abs(ours - theirs) <= written(theirs) + slack, name


def test_maps_and_planes_and_their_mixture_equal_the_published_ones(golden: Callable[[str], Any]) -> None:
    blocks = {block["name"].split("(")[0]: block for block in golden("redimnet2_blocks")["blocks"]}
    frames = to_map(block_input([1, 3, 4, 2]))
    assert frames.flatten().tolist() == pytest.approx(blocks["to1d"]["output"], abs=1e-6)
    assert to_plane(frames, 2).flatten().tolist() == pytest.approx(blocks["to2d"]["output"], abs=1e-6)
    mixture, values = Mixture(3, 5).double(), block_input([1, 5, 4])
    fill(mixture)
    mixed = mixture([values, -2 * values, 0.5 * values]).flatten().tolist()
    assert mixed == pytest.approx(blocks["weigth1d"]["output"], abs=1e-6)


def published_macs(name: str, *, frames: int = 200) -> tuple[int, int]:
    """Products of the published layers, and these with two operations for each value of a batch norm.

    The published pooling lays mean and deviation beside every frame; ours multiplies them once.
    """
    total, normed = 0, 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total, normed
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            total += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += output.numel() * module.in_features
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            normed += output.numel()
        elif isinstance(module, AttentivePooling):
            total += frames * module.linear1.weight.numel()

    backbone = build(f"redimnet2-{name}").backbone.to("meta").eval()
    for module in backbone.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        backbone(torch.zeros(1, frames, 72, device="meta"))
    return total, total + 2 * normed


@pytest.mark.parametrize(
    ("name", "parameters", "giga", "products", "operations"),
    [
        ("b0", 1.1, 0.33, 0.318, 0.327),
        ("b1", 2.1, 0.56, 0.548, 0.561),
        ("b2", 3.6, 0.95, 0.933, 0.949),
        ("b3", 4.1, 2.70, 2.683, 2.720),
    ],
)
def test_the_published_sizes(
    name: str, parameters: float, giga: float, products: float, operations: float
) -> None:
    """Table of the project's README, which does not say what its MACs count: parameters in millions, cut off.

    Two seconds without the front end. Products alone stay up to 4 % below the table; with two operations for each
    value of a batch norm, B0 to B2 have its very digits, and B3 is 0.7 % above.
    """
    student = build(f"redimnet2-{name}")
    assert floor(parameters_count(student) / 1e5) / 10 == parameters
    found = [value / 1e9 for value in published_macs(name)]
    assert found == pytest.approx([products, operations], abs=5e-4)
    assert found[1] == pytest.approx(giga, abs=0.005 if name != "b3" else 0.025)


def test_our_macs_leave_out_what_is_computed_once() -> None:
    """The products of two seconds as published, less the pooling's context, plus the products of frames with frames."""
    stages = ReDimNet2Config()
    widths = [stages.rows // reduction for reduction in stages.reductions]
    lengths = [200, 200, 100, 100, 50, 50]
    between = sum(2 * width * length**2 for width, length in zip(widths, lengths, strict=True))
    context = 2 * 576 * 128
    assert macs(build("redimnet2-b0")) == published_macs("b0")[0] - 199 * context + between


def test_a_stem_that_strides_takes_every_other_bin_and_frame() -> None:
    small = ReDimNet2Config(
        mels=16,
        embedding_dim=6,
        channels=4,
        stem_strides=(2, 2),
        bin_strides=(1, 2),
        time_strides=(1, 2),
        blocks=(1, 1),
        expansions=(1.0, 1.0),
        reductions=(4, 4),
    )
    model = small.build().eval()
    assert (model.min_frames, model.backbone.bins) == (8, 4)
    values = torch.randn(3, 19, 16)
    with torch.no_grad():
        assert torch.equal(model(values), model(values[:, :16]))
        conv = model.backbone.stem[0]
        assert isinstance(conv, nn.Conv2d)
        plane = values[:, :16].transpose(1, 2)[:, None]
        stem = nn.functional.conv2d(plane, conv.weight, conv.bias, stride=2, padding=1)
        seen: list[Tensor] = []
        conv.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        model(values)
    torch.testing.assert_close(seen[0], stem)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": 0}, "channels must be above 0"),
        ({"reductions": (-1,) * 6}, "reductions must be 0 or more"),
        ({"blocks": (1, 2)}, "its stages differ in number"),
        ({"mels": 70}, "mels must be a multiple of 8"),
        ({"stem_strides": (1, 3)}, "stem_strides must be 1 or 2"),
        ({"time_strides": (7, 7, 1, 1, 1, 1)}, "divide the frames too often\n  got:     49"),
        ({"reductions": (37,) * 6}, "must be a multiple of 4, the attention's heads"),
        ({"divisor": 5}, "must be a multiple of divisor"),
        ({"kernels": (3, 4)}, "kernels must be pairs of odd numbers"),
        ({"time_block": "att+conv"}, r"(?s)unknown time_block.*conv\+att"),
        ({"plane_block": "resnet"}, "(?s)unknown plane_block.*basic_resnet"),
    ],
)
def test_refuses_at_the_door(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ReDimNet2Config(**fields)


def test_the_small_student_takes_the_features_of_sherpa_onnx() -> None:
    assert MODELS["redimnet2-s"].mels == 80
    assert 300_000 <= parameters_count(build("redimnet2-s")) <= 600_000
