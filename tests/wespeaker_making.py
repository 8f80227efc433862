"""Model folders as WeSpeaker leaves them: `config.yaml`, a state dict with its classifier, perhaps names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from distilvox.models import build
from tests.reference.fill import rule

SMALL = {"feat_dim": 80, "hid_dim": 8, "stats_dim": 12, "embed_dim": 6, "pooling_func": "TSTP"}
"""An XVEC of a few thousand parameters."""

FEATURES = {"fbank_args": {"num_mel_bins": 80, "frame_shift": 10, "frame_length": 25, "dither": 1.0}}
MARGIN = {"project_type": "arc_margin", "scale": 32.0, "easy_margin": False}


def filled(state: Sequence[Sequence[Any]]) -> dict[str, Tensor]:
    """The tensors of a golden state list (name, shape, dtype), by the golden fill rule."""
    tensors = {}
    for k, (name, shape, dtype) in enumerate(state):
        wave = np.sin(0.37 * np.arange(int(np.prod(shape)), dtype=np.float64) + 1.3 * k)
        if dtype == "float32":
            tensors[name] = torch.from_numpy(rule(name.split(".")[-1], tuple(shape), wave)).float()
        else:
            tensors[name] = torch.zeros(shape, dtype=getattr(torch, dtype))
    return tensors


def small_state() -> dict[str, Tensor]:
    """Random weights of the XVEC of `SMALL`."""
    student = build("xvector", channels=8, last_channels=12, embedding_dim=6, hidden=6)
    return student.backbone.state_dict()


def write_folder(
    folder: Path,
    state: dict[str, Tensor],
    *,
    model: str = "XVEC",
    args: dict[str, Any] = SMALL,
    rows: Tensor | None = None,
    names: Sequence[str] = (),
    data: dict[str, Any] = FEATURES,
    projection: dict[str, Any] = MARGIN,
    file: str = "avg_model.pt",
    **more: Any,
) -> Path:
    """Writes a model folder; `rows` is the classifier [C, D], `names` become the file spk2id."""
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    config = {
        "exp_dir": "exp/one",
        "model": model,
        "model_args": args,
        "dataset_args": data,
        "projection_args": projection,
        "optimizer": "SGD",
        **more,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    tensors = state if rows is None else {**state, "projection.weight": rows}
    torch.save(tensors, folder / file)
    if names:
        (folder / "spk2id").write_text("".join(f"{name} {row}\n" for row, name in enumerate(names)))
    return folder
