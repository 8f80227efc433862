"""A training step with the teacher's cached embeddings, beside the same step with a large teacher run on the spot."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench import Row, median
from distilvox import models
from distilvox.losses.objective import Objective, ObjectiveConfig
from distilvox.models.head import SpeakerHead
from distilvox.train.config import TrainConfig
from distilvox.train.distributed import has_fast_bf16
from distilvox.train.optimiser import make_optimiser
from distilvox.train.step import Distiller

BATCH, SECONDS, SPEAKERS, DIM = 4, 2.0, 5994, 256
"""A small batch, so that the large teacher's part of the page takes a minute; the same for both."""

BF16 = has_fast_bf16(torch.device("cpu"))
"""The student's precision, as training chooses it; a teacher on the CPU is float32 there too."""

LARGE: dict[str, Any] = {
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
    "do_stable_layer_norm": True, "feat_extract_norm": "layer",
}  # fmt: skip
"""WavLM Large: 315 million parameters."""


def large_teacher() -> Callable[[Tensor], Tensor]:
    """WavLM Large with drawn weights: waves [B, N] → embeddings [B, D_t], a mean over time."""
    from transformers import WavLMConfig, WavLMModel

    torch.manual_seed(0)
    teacher = WavLMModel(WavLMConfig(**LARGE)).eval().requires_grad_(False)

    def embed(waves: Tensor) -> Tensor:
        with torch.no_grad():
            return teacher(waves).last_hidden_state.mean(dim=1)[:, :DIM]

    return embed


def waves() -> Tensor:
    """The batch of every step."""
    return 0.1 * torch.randn(BATCH, round(SECONDS * 16_000), generator=torch.Generator().manual_seed(0))


def stepper(name: str, teacher: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
    """One step of training a student, from waves to the optimiser; gives the loss."""
    torch.manual_seed(0)
    student = models.build(name)
    head = SpeakerHead([f"s{k}" for k in range(SPEAKERS)], student.embedding_dim)
    objective = Objective(ObjectiveConfig("nskd"), head, teacher_centres=torch.randn(SPEAKERS, DIM))
    module = Distiller(student, objective).train()
    optimiser = make_optimiser(module, TrainConfig(learning_rate=1e-30))
    batch, labels = waves(), torch.arange(BATCH)

    def step() -> Tensor:
        target = teacher(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=BF16):
            total, _ = module(batch, labels, target, 2.0)
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimiser.step()
        return total.detach()

    return step


def rows() -> list[Row]:
    if importlib.util.find_spec("transformers") is None:
        sys.stderr.write("no step beside a large live teacher: it needs pip install 'distilvox[teachers]'\n")
        return []
    live = large_teacher()
    kept = live(waves()).numpy().astype(np.float16)

    def cached(shown: Tensor) -> Tensor:
        return torch.from_numpy(kept[np.arange(len(shown))].astype(np.float32))

    found = []
    for name in ("xvector", "resnet34"):
        ours, theirs = stepper(name, cached), stepper(name, live)
        found.append(
            Row(
                work=f"a training step: {name}, batch {BATCH} of {SECONDS:g} s, {SPEAKERS:,} speakers, cached teacher",
                baseline="the same step, WavLM Large live",
                seconds=median(ours),
                baseline_seconds=median(theirs),
                error=float((ours() - theirs()).abs()),
                of="the loss of the live step, nats",
                note=f"student in {'bf16' if BF16 else 'float32'}",
            )
        )
    return found
