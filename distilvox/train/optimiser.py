"""How a training turns gradients into weights."""

from __future__ import annotations

import torch
from torch import nn

from distilvox.train.config import TrainConfig


def make_optimiser(module: nn.Module, train: TrainConfig) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices and filters only."""
    matrices = [p for p in module.parameters() if p.ndim >= 2]
    vectors = [p for p in module.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": train.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=train.learning_rate, fused=True)
