"""Model folders as ModelScope and FunASR leave them: `configuration.json`, `config.yaml`, a bare state dict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

CONF = {
    "feat_dim": 80,
    "embedding_size": 192,
    "growth_rate": 32,
    "bn_size": 4,
    "init_channels": 128,
    "config_str": "batchnorm-relu",
    "memory_efficient": True,
    "output_level": "segment",
}


def modelscope(
    folder: Path, state: dict[str, Tensor], *, file: str = "campplus_cn_common.bin", **model_config: Any
) -> Path:
    """Writes a folder of ModelScope; `model_config` replaces what a 192-d network says there."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {"sample_rate": 16_000, "fbank_dim": 80, "emb_size": 192, **model_config}
    model = {"type": "cam++-sv", "model_config": said, "pretrained_model": file}
    settings = {"framework": "pytorch", "task": "speaker-verification", "model": model}
    (folder / "configuration.json").write_text(json.dumps(settings))
    torch.save(state, folder / file)
    return folder


def funasr(folder: Path, state: dict[str, Tensor], *, model: str = "CAMPPlus", **conf: Any) -> Path:
    """Writes a folder of FunASR, its weights under the name that needs no other file."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "model": model,
        "model_conf": {**CONF, **conf},
        "frontend": "WavFrontend",
        "frontend_conf": {"fs": 16_000},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    torch.save(state, folder / "model.pt")
    return folder
