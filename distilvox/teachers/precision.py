"""The precision that large teachers compute in, decided in one place."""

from __future__ import annotations

import torch

HALF_ON = ("cuda",)
"""Kinds of device on which a large teacher's matrix products run in bfloat16."""


def large_model(device: torch.device) -> torch.autocast:
    """A context: bfloat16 products on a GPU, float32 elsewhere. The weights stay float32.

    On a GPU this costs about 1 % of a hidden state's length; softmax and norms stay float32.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type in HALF_ON)
