"""WavLM (Chen et al. 2021, arXiv 2110.13900) in its original naming → `transformers.WavLMModel`.

Both published layouts: Large (`layer_norm_first`, layer norms in the convolutions, normalised input) and
Base (group norm after the first convolution, layer norms after the sums).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import parametrize
from transformers import WavLMConfig, WavLMModel

from distilvox.errors import UserError, require, unknown
from distilvox.models.runfolder import match_tensors
from distilvox.teachers.precision import float32_out

STRIDES = (5, 2, 2, 2, 2, 2, 2)
KERNELS = (10, 3, 3, 3, 3, 2, 2)
MAX_DISTANCE = 800  # of every published WavLM, and not to be seen in any tensor's shape
NORMS = {"layer_norm": "layer", "default": "group"}
ACTIVATIONS = ("gelu", "relu")

RENAMES = (
    (r"^masked_spec_embed$", "mask_emb"),
    (r"^feature_projection\.layer_norm\.", "layer_norm."),
    (r"^feature_projection\.projection\.", "post_extract_proj."),
    (r"^(feature_extractor\.conv_layers\.\d+)\.conv\.", r"\1.0."),
    (r"^encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original0$", "encoder.pos_conv.0.weight_g"),
    (r"^encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original1$", "encoder.pos_conv.0.weight_v"),
    (r"^encoder\.pos_conv_embed\.conv\.bias$", "encoder.pos_conv.0.bias"),
    (r"^(encoder\.layers\.\d+)\.layer_norm\.", r"\1.self_attn_layer_norm."),
    (r"^(encoder\.layers\.\d+)\.attention\.gru_rel_pos_const$", r"\1.self_attn.grep_a"),
    (r"^(encoder\.layers\.\d+)\.attention\.gru_rel_pos_linear\.", r"\1.self_attn.grep_linear."),
    (r"^(encoder\.layers\.\d+)\.attention\.rel_attn_embed\.", r"\1.self_attn.relative_attention_bias."),
    (r"^(encoder\.layers\.\d+)\.attention\.", r"\1.self_attn."),
    (r"^(encoder\.layers\.\d+)\.feed_forward\.intermediate_dense\.", r"\1.fc1."),
    (r"^(encoder\.layers\.\d+)\.feed_forward\.output_dense\.", r"\1.fc2."),
)
"""Name in transformers → original name, by pattern. The norms of the convolutions depend on the layout."""


def original_name(name: str, config: WavLMConfig) -> str:
    """The original name of a tensor of `transformers.WavLMModel`."""
    norm = "2.1" if config.feat_extract_norm == "layer" else "2"
    name = re.sub(r"^(feature_extractor\.conv_layers\.\d+)\.layer_norm\.", rf"\1.{norm}.", name)
    for pattern, original in RENAMES:
        name = re.sub(pattern, original, name)
    return name


def to_config(original: Mapping[str, Any]) -> WavLMConfig:
    """The configuration of transformers for an original one (the `cfg` beside the original weights).

    Errors:
        UserError if a field is missing, or asks for what `transformers.WavLMModel` cannot do.
    """
    try:
        layers = conv_layers(original["conv_feature_layers"])
        activation, mode = original["activation_fn"], original["extractor_mode"]
        gated = original["relative_position_embedding"] and original["gru_rel_pos"]
        config = WavLMConfig(
            hidden_size=original["encoder_embed_dim"],
            intermediate_size=original["encoder_ffn_embed_dim"],
            num_hidden_layers=original["encoder_layers"],
            num_attention_heads=original["encoder_attention_heads"],
            hidden_act=activation,
            do_stable_layer_norm=original["layer_norm_first"],
            feat_extract_norm=NORMS.get(mode, "layer"),
            conv_dim=[width for width, _, _ in layers],
            conv_kernel=[kernel for _, kernel, _ in layers],
            conv_stride=[stride for _, _, stride in layers],
            conv_bias=original["conv_bias"],
            num_conv_pos_embeddings=original["conv_pos"],
            num_conv_pos_embedding_groups=original["conv_pos_groups"],
            num_buckets=original["num_buckets"],
            max_bucket_distance=original["max_distance"],
            mask_time_prob=0.05,  # above 0, so that the model has a place for mask_emb
            apply_spec_augment=False,
        )
    except KeyError as error:
        raise UserError(f"this WavLM configuration lacks {error.args[0]}") from None
    if mode not in NORMS:
        raise unknown("extractor_mode of a WavLM", str(mode), NORMS)
    if activation not in ACTIVATIONS:
        raise unknown("activation_fn of a WavLM", str(activation), ACTIVATIONS)
    require(
        gated,
        "a WavLM without gated relative positions has no counterpart in transformers",
        allowed="relative_position_embedding and gru_rel_pos true",
    )
    return config


def conv_layers(text: str) -> list[tuple[int, int, int]]:
    """(width, kernel, stride) of every convolution, out of the original's expression.

    >>> conv_layers("[(32,10,5)] + [(32,3,2)] * 2")
    [(32, 10, 5), (32, 3, 2), (32, 3, 2)]
    """

    found: list[tuple[int, int, int]] = []
    for term in text.split("+"):
        match = re.fullmatch(r"\s*\[(.*)\]\s*(?:\*\s*(\d{1,2})\s*)?", term)
        layers = re.findall(r"\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\)", match[1]) if match else []
        require(
            match is not None and bool(layers),
            "conv_feature_layers of this WavLM is no list of (width, kernel, stride)",
            got=repr(text)[:100],
            allowed="for instance [(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2",
        )
        times = int(match[2] or 1) if match else 0
        found += [(int(width), int(kernel), int(stride)) for width, kernel, stride in layers] * times
    return found


def shape_of(state: Mapping[str, Tensor], name: str, dims: int, *, where: str) -> tuple[int, ...]:
    """The shape of a tensor from which sizes are read: an error names it if it is missing or has others."""
    what = f"the weights in {where} do not fit the model"
    require(name in state, what, got=f"{name} is missing")
    found = tuple(state[name].shape)
    allowed = f"{dims} dimensions, none of size 0"
    require(
        len(found) == dims and 0 not in found, what, got=f"{name} has shape {list(found)}", allowed=allowed
    )
    return found


def derive_config(state: Mapping[str, Tensor], *, where: str, prefix: str = "") -> dict[str, Any]:
    """The original configuration, read off the shapes of the original tensors.

    Kernels and strides, the greatest distance of the relative positions (800), and which norms go with
    which layout (layer norms in the convolutions: Large) are those of the published models.

    Args:
        state: tensors in the original naming.
        where: the file, for the message.
        prefix: in front of every name.

    Errors:
        UserError naming a tensor that is missing or has another number of dimensions.
    """

    def shape(name: str, dims: int) -> tuple[int, ...]:
        return shape_of(state, prefix + name, dims, where=where)

    width = shape("post_extract_proj.weight", 2)[0]
    convolutions = [shape(f"feature_extractor.conv_layers.{place}.0.weight", 3) for place in range(7)]
    numbers = [re.match(re.escape(prefix) + r"encoder\.layers\.(\d+)\.", name) for name in state]
    large = f"{prefix}feature_extractor.conv_layers.0.2.1.weight" in state
    heads = shape("encoder.layers.0.self_attn.grep_a", 4)[1]
    position = shape("encoder.pos_conv.0.weight_v", 3)
    require(
        width % heads == 0 and width % position[1] == 0,
        f"the weights in {where} do not fit the model",
        got=f"width {width}, {heads} heads, positional convolution {list(position)}",
        allowed="a width that heads and groups divide",
    )
    layers = [(conv[0], k, s) for conv, k, s in zip(convolutions, KERNELS, STRIDES, strict=True)]
    return {
        "extractor_mode": "layer_norm" if large else "default",
        "layer_norm_first": large,
        "normalize": large,
        "conv_feature_layers": str(layers),
        "conv_bias": f"{prefix}feature_extractor.conv_layers.0.0.bias" in state,
        "encoder_layers": 1 + max(int(match[1]) for match in numbers if match),
        "encoder_embed_dim": width,
        "encoder_ffn_embed_dim": shape("encoder.layers.0.fc1.weight", 2)[0],
        "encoder_attention_heads": heads,
        "activation_fn": "gelu",
        "conv_pos": position[2],
        "conv_pos_groups": width // position[1],
        "relative_position_embedding": True,
        "gru_rel_pos": True,
        "num_buckets": shape("encoder.layers.0.self_attn.relative_attention_bias.weight", 2)[0],
        "max_distance": MAX_DISTANCE,
    }


def convert(
    state: Mapping[str, Tensor], original: Mapping[str, Any], *, where: str, prefix: str = ""
) -> WavLMModel:
    """A WavLM with the given weights, in float32 and evaluation mode.

    Args:
        state: tensors in the original naming; those under another prefix are not looked at.
        original: the original configuration.
        where: the file, for the message.
        prefix: in front of every name.

    Errors:
        UserError naming, as the file does, each tensor that is missing, extra, misshapen or not finite.
    """
    config = to_config(original)
    with torch.device("meta"):
        model = WavLMModel(config)
    own = model.state_dict()
    original_of = {name: prefix + original_name(name, config) for name in own}
    given = {name: value for name, value in state.items() if name.startswith(prefix)}
    found = match_tensors(given, {original_of[name]: own[name] for name in own}, where=where)
    renamed = {name: found[original_of[name]].float() for name in own}
    model.load_state_dict(renamed, assign=True)
    parametrize.remove_parametrizations(model.encoder.pos_conv_embed.conv, "weight")  # multiplied out, once
    model.encoder.dropout.register_forward_hook(float32_out)
    return model.eval()


def hidden_states(model: WavLMModel, waves: Float[Tensor, "B N"]) -> tuple[Float[Tensor, "B T D"], ...]:
    """The input of every layer and the encoder's output, L + 1 of [B, T, D], T = about N / 320.

    In the Large layout the output has been through the last layer norm and the inputs have not.
    """
    out = model(waves, output_hidden_states=True)
    return (*out.hidden_states[:-1], out.last_hidden_state)
