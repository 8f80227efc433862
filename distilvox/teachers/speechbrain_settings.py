"""`hyperparams.yaml` of SpeechBrain, read as inert text: does it say that the features are SpeechBrain's own?

SpeechBrain builds objects from its tags (`!new:`, `!ref`, `!apply:`); here a tag is a word and builds nothing. The
same network is published by 3D-Speaker with other features, so a folder without this file says nothing of them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from distilvox.errors import UserError, require

SETTINGS = "hyperparams.yaml"
FEATURES = "new:speechbrain.lobes.features.Fbank"
DEFAULTS: dict[str, Any] = {
    "deltas": False, "context": False, "requires_grad": False, "sample_rate": 16_000, "f_min": 0, "f_max": 8_000,
    "n_fft": 400, "filter_shape": "triangular", "win_length": 25, "hop_length": 10,
}  # fmt: skip
"""Arguments of its `Fbank` besides `n_mels` → the values that ours has; absent ones have them."""
TAG = "!"


class Inert(yaml.SafeLoader):
    """Reads a tagged table as a plain one with the tag under `!`, any other tagged value as its text."""


def _plain(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {**loader.construct_mapping(node, deep=True), TAG: tag}
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


Inert.add_multi_constructor(TAG, _plain)


def own_features(folder: Path, mels: int) -> bool:
    """Whether the folder's settings say SpeechBrain's Fbank as it is here; False where they say nothing.

    Args:
        mels: what the network takes.

    Errors:
        UserError: settings that are no YAML, or that say an Fbank with other arguments.
    """
    path = folder / SETTINGS
    if not path.is_file():
        return False
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=Inert)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise UserError(
            f"these settings are damaged: {path}", got=" ".join(str(error).split())[:160]
        ) from None
    found = config.get("compute_features") if isinstance(config, dict) else None
    if not isinstance(found, dict) or found.get(TAG) != FEATURES:
        return False
    said = {name: resolve(value, config) for name, value in found.items() if name != TAG}
    expected = {**DEFAULTS, "n_mels": mels}
    wrong = [
        f"{name}: {value}" for name, value in said.items() if name not in expected or value != expected[name]
    ]
    norm = config.get("mean_var_norm")
    if isinstance(norm, dict) and norm.get("std_norm", True):
        wrong.append("mean_var_norm with std_norm")
    require(
        not wrong,
        f"{path} says other features than those of spkrec-ecapa-voxceleb",
        got="; ".join(wrong),
        allowed=", ".join(f"{name}: {value}" for name, value in expected.items()),
    )
    return True


def resolve(value: Any, config: dict[str, Any]) -> Any:
    """A reference `<name>` to another setting, followed once; anything else as it is."""
    name = re.fullmatch(r"<(\w+)>", value) if isinstance(value, str) else None
    return config.get(name[1], value) if name else value
