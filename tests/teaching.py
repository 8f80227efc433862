"""A teacher made ready for a training in one call, and looked at: what most tests of teachers begin with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distilvox.corpus.store import Corpus
from distilvox.evaluation.judge import Judge
from distilvox.teachers.base import Teacher
from distilvox.teachers.config import TargetConfig
from distilvox.teachers.heads import FittedHead
from distilvox.teachers.inspect import inspect
from distilvox.teachers.preflight import Preflight
from distilvox.teachers.taught import Taught
from distilvox.train.distributed import World
from distilvox.train.targets import Targets
from distilvox.views.bank import Bank
from distilvox.views.batches import Views
from distilvox.views.draws import ViewConfig

CPU = torch.device("cpu")


@dataclass
class Prepared:
    """Targets, and the pre-flight of their teacher."""

    targets: Targets
    preflight: Preflight

    @property
    def head(self) -> FittedHead:
        return self.targets.head

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.targets.sizes

    def embed(self, views: Views, view: int) -> Tensor:
        return self.targets.embed(views, view)


def prepared(
    teacher: Teacher, corpus: Corpus, *, crops: ViewConfig, bank: Bank, scale: float = 16.0,
    cache: Path | None = None, judge: Judge | None = None, **fields: Any,
) -> Prepared:  # fmt: skip
    """Fields are those of `TargetConfig`."""
    taught = Taught.open(
        teacher, corpus, config=TargetConfig(**fields), views=crops, bank=bank, device=CPU, ranks=World(), cache=cache
    )  # fmt: skip
    looked = inspect(taught, scale=scale, judge=judge)
    assert looked is not None
    return Prepared(Targets.of(taught, judge), looked)
