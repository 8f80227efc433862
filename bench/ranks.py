"""`python -m bench.ranks`: one training step of every student on 1, 2, 4 and 8 processes, the same 32 utterances.

Writes docs/results/ranks.json: loss, length of the gradient, and its cosine with that of one process, with batch norm
as training computes it and with batch norm left to each process. Float32, the objective of distillation (nskd).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from distilvox import models
from distilvox.files import read_json, write_json
from distilvox.losses.config import ObjectiveConfig
from distilvox.losses.objective import Objective
from distilvox.models.head import SpeakerHead
from distilvox.ship.speed import machine
from distilvox.train.config import StageConfig, TrainConfig
from distilvox.train.distributed import World
from distilvox.train.optimiser import make_optimiser
from distilvox.train.stages import Stage
from distilvox.train.step import Learner, train_step
from distilvox.views.batches import Batch, Views
from distilvox.views.draws import ViewConfig

OUT = Path(__file__).resolve().parents[1] / "docs/results/ranks.json"
BATCH, SPEAKERS, TEACHER_DIM, SIZES = 32, 24, 16, (1, 2, 4, 8)
OBJECTIVE = ObjectiveConfig("nskd", kd_warmup_epochs=0.0, margin_warmup_epochs=0.0)
NO_CLIP = 1e30


def one_step(
    name: str,
    world: World,
    *,
    utterances: int = BATCH,
    seconds: float = 0.5,
    together: bool = True,
    options: dict[str, Any] | None = None,
) -> dict[str, Tensor]:
    """One step of a student by `train_step`, as its process: all that it leaves, by name.

    Args:
        together: batch norm as in training; else each process normalises its own share.
        options: of the student.

    Returns:
        "loss" over the whole batch; the gradient of each parameter, "grad NAME"; what `state_dict` holds after it.
    """
    torch.manual_seed(0)
    student = models.build(name, **(options or {}))
    head = SpeakerHead([f"s{k}" for k in range(SPEAKERS)], student.embedding_dim)
    objective = Objective(OBJECTIVE, head, teacher_centres=torch.randn(SPEAKERS, TEACHER_DIM))
    voices = 0.1 * torch.randn(utterances, round(16_000 * seconds)) * torch.rand(utterances, 1)
    labels, taught = torch.randint(SPEAKERS, (utterances,)), torch.randn(utterances, TEACHER_DIM)
    mine = torch.from_numpy(np.array_split(np.arange(utterances), world.size)[world.rank])
    train, cpu = TrainConfig(), torch.device("cpu")
    learner = Learner.of(
        student, objective, train=train, device=cpu, bf16=False, world=world if together else World()
    )
    if not together and world.size > 1:
        learner = replace(learner, model=DistributedDataParallel(learner.module), world=world)
    stage = Stage(
        StageConfig("", "", 1, utterances, 1e-3, 1.0, 0.0, ViewConfig(), OBJECTIVE), utterances, 0, 0, 1
    )
    batch = Batch(0, 0, Views(voices[mine], labels[mine], mine.numpy()))
    optimiser = make_optimiser(learner.module, train)
    parts = train_step(learner, optimiser, stage, batch, taught[mine], max_grad_norm=NO_CLIP)
    grads = {f"grad {k}": p.grad.clone() for k, p in learner.module.named_parameters() if p.grad is not None}
    return {"loss": world.mean(parts["total"]), **grads, **learner.module.state_dict()}


def gradient(found: dict[str, Tensor]) -> Tensor:
    """All gradients as one vector, in float64."""
    return torch.cat([value.double().flatten() for name, value in found.items() if name.startswith("grad ")])


def work(rank: int, size: int, names: Sequence[str], folder: str) -> None:
    """One process: every student, both ways; the first saves what it finds."""
    torch.set_num_threads(1)
    if size > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/meet-{names[0]}-{size}", rank=rank, world_size=size
        )
    for name in names:
        for together in (True, False) if size > 1 else (True,):
            found = one_step(name, World(rank, size), together=together)
            if rank == 0:
                torch.save(
                    {"loss": found["loss"], "gradient": gradient(found)}, f"{folder}/{size}{together}.{name}"
                )
    if size > 1:
        dist.barrier()
        dist.destroy_process_group()


def rows(names: Sequence[str], sizes: Sequence[int] = SIZES) -> list[dict[str, Any]]:
    """The table: a row a student and number of processes."""
    get_context("forkserver").set_forkserver_preload([__name__])
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            for size in sizes:
                mp.start_processes(work, args=(size, [name], folder), nprocs=size, start_method="forkserver")
            alone = torch.load(f"{folder}/1True.{name}", weights_only=True)
            for size in sizes:
                row: dict[str, Any] = {"student": name, "processes": size, "utterances_each": BATCH // size}
                for together in (True, False) if size > 1 else (True,):
                    found = torch.load(f"{folder}/{size}{together}.{name}", weights_only=True)
                    row["together" if together else "each_its_own"] = {
                        "loss": float(found["loss"]),
                        "length": float(found["gradient"].norm()),
                        "cosine": float(torch.cosine_similarity(found["gradient"], alone["gradient"], dim=0)),
                    }
                table.append(row)
                sys.stderr.write(f"{row}\n")
    return table


def markdown(found: dict[str, Any]) -> str:
    """The table of docs/results.md."""
    lines = [
        "| student | processes × utterances | loss | length of the gradient | cosine with one process's | "
        "cosine, batch norm left to each |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in found["rows"]:
        ours, own = row["together"], row.get("each_its_own")
        lines.append(
            f"| {row['student']} | {row['processes']} × {row['utterances_each']} | {ours['loss']:.5f} | "
            f"{ours['length']:.4f} | {ours['cosine']:.7f} | {'–' if own is None else format(own['cosine'], '.3f')} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ranks", description=__doc__)
    parser.add_argument("--students", nargs="*", choices=list(models.MODELS), default=list(models.MODELS))
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    before = read_json(options.out, noun="earlier table")["rows"] if options.out.exists() else []
    kept = {row["student"]: [r for r in before if r["student"] == row["student"]] for row in before}
    for name in options.students:  # written after each: a run that is ended has what it measured
        kept[name] = rows([name])
        table = [row for student in models.MODELS if student in kept for row in kept[student]]
        write_json(options.out, {"machine": machine(), "batch": BATCH, "seconds": 0.5, "rows": table})
    sys.stdout.write(markdown(read_json(options.out, noun="table")))


if __name__ == "__main__":
    main()
