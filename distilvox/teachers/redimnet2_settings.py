"""What ReDimNet2's checkpoints say of themselves: keyword arguments of the published class → our configuration.

Names do not give the architecture: WeSpeaker's B0, B1 and B2 are smaller than those that PalabraAI published.
Source: PalabraAI/redimnet2, `redimnet2/redimnet2.py`; wenet-e2e/wespeaker, `wespeaker/models/redimnet2.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distilvox.errors import UserError, require
from distilvox.limits import check_limit
from distilvox.models.redimnet2 import ReDimNet2Config
from distilvox.teachers.redimnet2_features import ReDimNet2Features

DEFAULTS: dict[str, Any] = {
    "F": 72,
    "C": 24,
    "out_channels": None,
    "return_2d_output": False,
    "block_1d_type": "conv+att",
    "block_2d_type": "basic_resnet",
    "compress_tconvs": True,
    "group_divisor": 1,
    "agg_gnorm": False,
    "dual_agg": False,
    "embed_dim": 192,
    "emb_bn": False,
    "feat_type": "pt",
    "spec_params": {},
    "stages_setup": [
        [[1, 1], 2, 4, [[3, 3]], 24],
        [[2, 1], 3, 3, [[3, 3]], 24],
        [[1, 2], 4, 2, [[3, 3]], 24],
        [[2, 1], 5, 1, [[3, 3]], 24],
        [[1, 2], 4, 1, [[3, 3]], 24],
        [[2, 1], 3, 1, [[3, 3]], 24],
    ],
}
"""What the published class takes where a file says nothing."""

FIXED: dict[str, tuple[Any, Any]] = {
    "causal": ("none", False),
    "spec_in_channels": (1, 1),
    "use_freq_pos_enc": (False, False),
    "fm_weigthing_type": ("NC", "NC"),
    "hop_length": (160, 160),
    "pooling_func": ("ASTP", "ASTP"),
    "global_context_att": (True, True),
    "pad_right_samples": (None, None),
    "before_pool_offset": (None, None),
    "return_all_outputs": (False, False),
}
"""Argument → the one value that is known here, and what the class takes where a file says nothing."""

OF_TRAINING = ("num_classes", "feat_agg_dropout", "head_activation")
"""Arguments that change no embedding."""

SPECTRUM: dict[str, Any] = {
    "do_preemph": True,
    "n_mels": 72,
    "sample_rate": 16_000,
    "hop_length": 160,
    "win_length": 400,
    "n_fft": 512,
    "f_min": 20,
    "f_max": 7_600,
    "eps": 1e-8,
}
"""Settings of the front end → the one value that is known here, and the published class's."""

OF_SPECTRUM_TRAINING = ("do_spec_aug", "freq_mask_width", "time_mask_width")
FEATURES = {"tf": "tf", "tf_mel": "tf", "pt": "pt", "pt_mel": "pt"}

WESPEAKER: dict[str, dict[str, Any]] = {
    "ReDimNet2B0": {"C": 12, "out_channels": 64, "reductions": (36, 36, 36, 36, 18, 18)},
    "ReDimNet2B1": {"C": 16, "out_channels": 64, "reductions": (32, 32, 32, 32, 16, 16)},
    "ReDimNet2B2": {
        "C": 20,
        "out_channels": 64,
        "bins": (1, 2, 1, 3, 1, 2),
        "reductions": (40, 30, 30, 20, 20, 10),
    },
    "ReDimNet2B6": {
        "C": 64,
        "out_channels": 224,
        "return_2d_output": True,
        "blocks": (3, 4, 5, 5, 4, 3),
        "expansions": (3, 2, 2, 1, 0.75, 0.5),
        "reductions": (64, 64, 48, 48, 32, 24),
    },
}
"""WeSpeaker's sizes by name, as far as golden values exist; its stages differ in these."""


def of_wespeaker(name: str) -> dict[str, Any]:
    """The class's arguments for one of `WESPEAKER`."""
    size = dict(WESPEAKER[name])
    bins, blocks = size.pop("bins", (1, 2, 1, 2, 1, 2)), size.pop("blocks", (2, 3, 4, 5, 4, 3))
    expansions, reductions = size.pop("expansions", (2, 1, 1, 1, 1, 1)), size.pop("reductions")
    stages = [
        [[bins[k], (1, 1, 2, 1, 2, 1)[k]], blocks[k], expansions[k], [[3, 3]], reductions[k]]
        for k in range(6)
    ]
    return {**size, "causal": "none", "feat_type": "tf", "stages_setup": stages}


def read_settings(given: object, where: Path | str) -> tuple[ReDimNet2Config, ReDimNet2Features]:
    """The network and the features that the published class makes of these arguments.

    Args:
        given: `model_config` of a checkpoint.
        where: the file, for messages.

    Errors:
        UserError: no table of arguments, or arguments that are not known here, each named.
    """
    require(
        isinstance(given, dict), f"{where} does not say which ReDimNet2 it holds", got=type(given).__name__
    )
    assert isinstance(given, dict)
    said = DEFAULTS | given
    problems = [
        f"{key}: {given.get(key, absent)} (known is {known})"
        for key, (known, absent) in FIXED.items()
        if given.get(key, absent) != known
    ]
    known_keys = (*DEFAULTS, *FIXED, *OF_TRAINING)
    problems += [f"{key} is unknown" for key in given if key not in known_keys]
    spectrum = said["spec_params"]
    problems += spectrum_problems(spectrum)
    if said["feat_type"] not in tuple(FEATURES):
        problems.append(f"feat_type: {said['feat_type']} (known are {', '.join(FEATURES)})")
    problems += [
        f"{key}: {said[key]} is of the wrong kind"
        for key, value in DEFAULTS.items()
        if key not in ("stages_setup", "spec_params") and not fits(said[key], value)
    ]
    stages = said["stages_setup"]
    if not (isinstance(stages, list | tuple) and stages and all(map(is_stage, stages))):
        problems.append("stages_setup is no list of [[bins, frames], blocks, expansion, kernels, reduction]")
    elif said["block_2d_type"] == "convnext_like" and len({str(stage[3]) for stage in stages}) > 1:
        problems.append("stages_setup: its stages differ in their kernels")
    if problems:
        shown = problems[:6] + ([f"and {len(problems) - 6} more"] if len(problems) > 6 else [])
        raise UserError(f"{where}: not a ReDimNet2 that is known here", got="; ".join(shown))
    for number in (said["F"], said["C"], said["embed_dim"], said["out_channels"] or 0):
        check_limit("layer_size", number, what=f"a width of the network in {where}")
    features = ReDimNet2Features(
        FEATURES[said["feat_type"]], said["F"], bool(spectrum.get("norm_signal", False))
    )
    return configured(said, stages), features


def configured(said: Mapping[str, Any], stages: list[Any]) -> ReDimNet2Config:
    """The checked arguments in our words; blocks that are no ConvNeXt's have no kernels, whatever is said."""
    kernels = stages[0][3] if said["block_2d_type"] == "convnext_like" else [(3, 3)]
    return ReDimNet2Config(
        mels=said["F"],
        embedding_dim=said["embed_dim"],
        channels=said["C"],
        bin_strides=tuple(stage[0][0] for stage in stages),
        time_strides=tuple(stage[0][1] for stage in stages),
        blocks=tuple(stage[1] for stage in stages),
        expansions=tuple(float(stage[2]) for stage in stages),
        reductions=tuple(stage[4] or 0 for stage in stages),
        out_channels=said["out_channels"] or 0,
        out_plane=said["return_2d_output"],
        time_block=said["block_1d_type"],
        plane_block=said["block_2d_type"],
        kernels=tuple(size for kernel in kernels for size in kernel),
        divisor=said["group_divisor"],
        grouped_strides=said["compress_tconvs"],
        group_norm=said["agg_gnorm"],
        dual=said["dual_agg"],
        embedding_norm=said["emb_bn"],
    )


def spectrum_problems(spectrum: object) -> list[str]:
    """What the settings of the front end ask for that is not known here."""
    if not isinstance(spectrum, dict):
        return [f"spec_params is a {type(spectrum).__name__}"]
    problems = [
        f"{key}: {spectrum[key]} (known is {known})"
        for key, known in SPECTRUM.items()
        if spectrum.get(key, known) != known
    ]
    known_keys = (*SPECTRUM, *OF_SPECTRUM_TRAINING, "norm_signal")
    return problems + [f"spec_params: {key} is unknown" for key in spectrum if key not in known_keys]


def fits(value: object, example: object) -> bool:
    """Whether a value is of the example's kind; None stands for a number that may be absent."""
    return value is None or type(value) is int if example is None else type(value) is type(example)


def is_stage(value: object) -> bool:
    """[[bins, frames], blocks, expansion, kernels, reduction or None]."""
    if not isinstance(value, list | tuple) or len(value) != 5:
        return False
    strides, blocks, expansion, kernels, reduction = value
    pairs = [strides, *kernels] if isinstance(kernels, list | tuple) and kernels else []
    return (
        bool(pairs)
        and all(is_pair(pair) for pair in pairs)
        and type(blocks) is int
        and 1 <= blocks <= 1_000
        and type(expansion) in (int, float)
        and 0 < expansion <= 64
        and (reduction is None or (type(reduction) is int and reduction > 0))
    )


def is_pair(value: object) -> bool:
    """Two whole numbers from 1 to 99."""
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(type(one) is int and 1 <= one <= 99 for one in value)
    )
