"""Small random checkpoints in the original naming of WavLM, for tests."""

from __future__ import annotations

import torch
from torch import Tensor

KERNELS = (10, 3, 3, 3, 3, 2, 2)


def shapes(
    *, large: bool, width: int = 16, inner: int = 24, layers: int = 2, heads: int = 2
) -> dict[str, tuple]:
    """Names and shapes of a tiny WavLM: 8 channels, 32 buckets, a positional convolution of 8 taps."""
    found: dict[str, tuple] = {"mask_emb": (width,)}
    for place, kernel in enumerate(KERNELS):
        name = f"feature_extractor.conv_layers.{place}"
        found[f"{name}.0.weight"] = (8, 8 if place else 1, kernel)
        if large or place == 0:
            norm = f"{name}.2.1" if large else f"{name}.2"
            found |= {f"{norm}.weight": (8,), f"{norm}.bias": (8,)}
    found |= {"layer_norm.weight": (8,), "layer_norm.bias": (8,)}
    found |= {"post_extract_proj.weight": (width, 8), "post_extract_proj.bias": (width,)}
    found |= {"encoder.pos_conv.0.bias": (width,), "encoder.pos_conv.0.weight_g": (1, 1, 8)}
    found["encoder.pos_conv.0.weight_v"] = (width, width // 2, 8)
    found |= {"encoder.layer_norm.weight": (width,), "encoder.layer_norm.bias": (width,)}
    found["encoder.layers.0.self_attn.relative_attention_bias.weight"] = (32, heads)
    for layer in range(layers):
        name = f"encoder.layers.{layer}"
        for part in "kvq":
            found |= {f"{name}.self_attn.{part}_proj.weight": (width, width)}
            found |= {f"{name}.self_attn.{part}_proj.bias": (width,)}
        found |= {f"{name}.self_attn.out_proj.weight": (width, width)}
        found |= {f"{name}.self_attn.out_proj.bias": (width,)}
        found |= {f"{name}.self_attn.grep_linear.weight": (8, width // heads)}
        found |= {f"{name}.self_attn.grep_linear.bias": (8,), f"{name}.self_attn.grep_a": (1, heads, 1, 1)}
        found |= {f"{name}.fc1.weight": (inner, width), f"{name}.fc1.bias": (inner,)}
        found |= {f"{name}.fc2.weight": (width, inner), f"{name}.fc2.bias": (width,)}
        for norm in ("self_attn_layer_norm", "final_layer_norm"):
            found |= {f"{name}.{norm}.weight": (width,), f"{name}.{norm}.bias": (width,)}
    return found


def random_wavlm(*, large: bool = True) -> dict[str, Tensor]:
    """Random weights of a useful size: matrices keep a signal's length, norms are about 1."""
    state = {}
    for name, shape in shapes(large=large).items():
        value = torch.randn(shape)
        if len(shape) > 1 and "grep_a" not in name and "weight_g" not in name:
            value = value * (shape[0] / value.numel()) ** 0.5
        elif name.endswith("weight"):
            value = 1 + 0.2 * value
        state[name] = value
    return state
