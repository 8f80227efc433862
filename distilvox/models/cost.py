"""What a model costs to store and to run."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from distilvox.models.student import Student


def parameters_count(model: nn.Module) -> int:
    """Learnt numbers; the running statistics of batch norms are not among them."""
    return sum(parameter.numel() for parameter in model.parameters())


def macs(model: Student, seconds: float = 2.0) -> int:
    """Multiply–accumulates of the backbone's convolutions and linear layers for one utterance.

    The front end is left out, as in the literature; it adds about 23 million for each second.
    Counted from shapes alone, on a copy without numbers: nothing is computed, and the model is left alone.
    """
    frontend = model.frontend.config
    frames = frontend.frames(round(seconds * frontend.sample_rate))
    backbone = copy.deepcopy(model.backbone).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone(torch.zeros(1, frames, frontend.mels, device="meta"))
    return counter.get_total_flops() // 2
