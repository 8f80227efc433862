"""Checkpoints of ReDimNet2 as they are published: its class's arguments, tensors, the front end's matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distilvox.teachers.redimnet2_features import ReDimNet2Features
from distilvox.teachers.redimnet2_settings import WESPEAKER, of_wespeaker, read_settings
from tests.wespeaker_making import write_folder

SMALL: dict[str, Any] = {
    "C": 8,
    "causal": "none",
    "embed_dim": 8,
    "feat_type": "tf",
    "out_channels": 8,
    "spec_params": {"norm_signal": True},
    "stages_setup": [((1, 1), 1, 1, [(3, 3)], 36), ((2, 2), 1, 1, [(3, 3)], None)],
}
"""`model_config` of a network of two stages."""


def wave(samples: int) -> Tensor:
    """The golden waveform [1, N]."""
    n = np.arange(samples)
    tone = (
        0.3 * np.sin(0.02 * n) + 0.2 * np.sin(1e-4 * n**2) + 0.05 * np.sin(1.7 * n + 0.5 * np.sin(0.003 * n))
    )
    return torch.from_numpy(tone).float()[None]


def matrices(kind: str) -> dict[str, Tensor]:
    """What a file holds behind `spec.torchfbank.`."""
    config = ReDimNet2Features(kind)
    window, filters = torch.from_numpy(config.window()), torch.from_numpy(config.filters())
    filter_ = {"1.flipped_filter": torch.tensor([[[-0.97, 1.0]]])}
    if kind == "pt":
        return {**filter_, "2.spectrogram.window": window.float(), "2.mel_scale.fb": filters.float()}
    angle = 2 * torch.pi * torch.arange(256)[:, None] * torch.arange(400) / 512
    return {
        **filter_,
        "2.real_kernel_pt": (angle.cos() * window).float()[:, None],
        "2.image_kernel_pt": (-angle.sin() * window).float()[:, None],
        "2.melbanks_pt": filters.T.float()[:, :, None],
    }


def save_small(path: Path, *, said: dict[str, Any] | None = None, scaled: str = "", **config: Any) -> Path:
    """A checkpoint of `SMALL` with other arguments.

    Args:
        said: arguments that the file states, and its tensors do not have.
        scaled: a matrix of the front end that is ten percent off.
    """
    torch.manual_seed(0)
    made = SMALL | config
    network = read_settings(made, path)[0].build()
    front = matrices(made["feat_type"])
    front |= {scaled: 1.1 * front[scaled]} if scaled else {}
    state = network.state_dict() | {f"spec.torchfbank.{name}": value for name, value in front.items()}
    torch.save({"model_config": made | (said or {}), "state_dict": state}, path)
    return path


def wespeaker_folder(folder: Path, name: str) -> Path:
    """A model folder of WeSpeaker with a freshly drawn network, of B0's size where the name is not known."""
    spectrum = {"n_mels": 72, "do_preemph": True, "norm_signal": True}
    given = of_wespeaker(name if name in WESPEAKER else "ReDimNet2B0") | {"embed_dim": 8}
    network = read_settings(given | {"spec_params": spectrum}, folder)[0].build()
    front = {f"frontend.spec.torchfbank.{key}": value for key, value in matrices("tf").items()}
    data = {"frontend": "tfmel", "cmvn": False, "resample_rate": 16_000, "tfmel_args": spectrum}
    args = {"feat_dim": 72, "embed_dim": 8, "pooling_func": "ASTP"}
    return write_folder(folder, network.state_dict() | front, model=name, args=args, data=data)
