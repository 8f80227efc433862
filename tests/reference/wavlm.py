"""WavLM in its original naming, float64, straight from a state dict: one utterance, one head at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

State = Mapping[str, Tensor]
STRIDES = (5, 2, 2, 2, 2, 2, 2)


def norm(x: Tensor, s: State, name: str) -> Tensor:
    mean, var = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)
    return (x - mean) / (var + 1e-5).sqrt() * s[f"{name}.weight"] + s[f"{name}.bias"]


def linear(x: Tensor, s: State, name: str) -> Tensor:
    return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def convolutions(wave: Tensor, s: State, large: bool) -> Tensor:
    """[N] → [T, W]: layer norm over channels after each (Large), or over time after the first (Base)."""
    x = wave[None]
    for place, stride in enumerate(STRIDES):
        name = f"feature_extractor.conv_layers.{place}"
        x = F.conv1d(x, s[f"{name}.0.weight"], stride=stride)
        if large:
            x = norm(x.T, s, f"{name}.2.1").T
        elif place == 0:
            mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, correction=0)
            x = (x - mean) / (var + 1e-5).sqrt() * s[f"{name}.2.weight"][:, None] + s[f"{name}.2.bias"][
                :, None
            ]
        x = gelu(x)
    return x.T


def positions(x: Tensor, s: State) -> Tensor:
    """The grouped positional convolution, its weight normalised a tap: [T, E] → [T, E]."""
    v, g = s["encoder.pos_conv.0.weight_v"], s["encoder.pos_conv.0.weight_g"]
    weight = g * v / v.square().sum((0, 1), keepdim=True).sqrt()
    width = weight.shape[2]
    groups = x.shape[1] // weight.shape[1]
    out = F.conv1d(x.T, weight, s["encoder.pos_conv.0.bias"], padding=width // 2, groups=groups).T
    return gelu(out[: len(x)])


def bucket(distance: int, buckets: int, farthest: int) -> int:
    """Of key minus query: half the buckets for each sign, near ones exact, far ones logarithmic."""
    half = buckets // 2
    start = half if distance > 0 else 0
    near, exact = abs(distance), half // 2
    if near < exact:
        return start + near
    far = exact + int(math.log(near / exact) / math.log(farthest / exact) * (half - exact))
    return start + min(far, half - 1)


def attention(x: Tensor, bias: Tensor, s: State, name: str) -> Tensor:
    """Self-attention with a gated bias [H, T, T]: the gate of each query comes from its own input."""
    heads, dim = bias.shape[0], x.shape[1] // bias.shape[0]
    query, key, value = (linear(x, s, f"{name}.{part}_proj") for part in "qkv")
    outs = []
    for head in range(heads):
        part = slice(head * dim, head * dim + dim)
        sums = linear(x[:, part], s, f"{name}.grep_linear").unflatten(1, (2, 4)).sum(2).sigmoid()
        gate = sums[:, 0] * (sums[:, 1] * s[f"{name}.grep_a"][0, head, 0, 0] - 1) + 2
        scores = query[:, part] @ key[:, part].T / math.sqrt(dim) + gate[:, None] * bias[head]
        outs.append(scores.softmax(1) @ value[:, part])
    return linear(torch.cat(outs, 1), s, f"{name}.out_proj")


def hidden_states(wave: Tensor, state: State, *, large: bool, farthest: int) -> tuple[list[Tensor], Tensor]:
    """The input of every layer and the output of the last, [T, E] each; and the encoder's output."""
    s = {name: value.double() for name, value in state.items()}
    x = norm(convolutions(wave.double(), s, large), s, "layer_norm")
    x = linear(x, s, "post_extract_proj")
    x = x + positions(x, s)
    if not large:
        x = norm(x, s, "encoder.layer_norm")
    table = s["encoder.layers.0.self_attn.relative_attention_bias.weight"]
    places = range(len(x))
    where = torch.tensor([[bucket(key - query, len(table), farthest) for key in places] for query in places])
    bias = table[where].permute(2, 0, 1)
    states = [x]
    for layer in range(sum(name.endswith("fc1.weight") for name in s)):
        name = f"encoder.layers.{layer}"
        if large:
            x = x + attention(norm(x, s, f"{name}.self_attn_layer_norm"), bias, s, f"{name}.self_attn")
            inner = gelu(linear(norm(x, s, f"{name}.final_layer_norm"), s, f"{name}.fc1"))
            x = x + linear(inner, s, f"{name}.fc2")
        else:
            x = norm(x + attention(x, bias, s, f"{name}.self_attn"), s, f"{name}.self_attn_layer_norm")
            inner = linear(gelu(linear(x, s, f"{name}.fc1")), s, f"{name}.fc2")
            x = norm(x + inner, s, f"{name}.final_layer_norm")
        states.append(x)
    return states, norm(x, s, "encoder.layer_norm") if large else x
