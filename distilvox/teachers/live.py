"""The teacher run on the spot: what the cache is built from, and the reference it is tested against."""

from __future__ import annotations

import dataclasses
import json
from functools import cached_property
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from distilvox.errors import require, unknown
from distilvox.evaluation.embed import Speech as WholeUtterances
from distilvox.evaluation.embed import embed_corpus
from distilvox.teachers.base import Teacher
from distilvox.views.augment import DeviceBank
from distilvox.views.bank import Bank
from distilvox.views.batches import Utterances, make_views
from distilvox.views.draws import ViewConfig

Sees = Literal["view", "utterance"]
KEY_VERSION = 1
BATCH = 64


@runtime_checkable
class Speech(Utterances, WholeUtterances, Protocol):
    """A corpus that can be seen in views and whole, and named: `distilvox.corpus.store.Corpus` is one."""

    @property
    def id(self) -> str: ...


@dataclasses.dataclass(frozen=True)
class LiveTeacher:
    """A teacher, and what it is shown.

    Args:
        teacher: on `device`.
        corpus: U utterances at the teacher's sample rate.
        view_config, bank: what a view is.
        sees: one of `Sees`: `view`, the same view as the student; `utterance`, the whole clean
            utterance every time.
        device: where views are made and embedded.
    """

    teacher: Teacher
    corpus: Speech
    view_config: ViewConfig
    bank: Bank
    sees: str
    device: torch.device | str

    def __post_init__(self) -> None:
        if self.sees not in get_args(Sees):
            raise unknown("thing for the teacher to see", self.sees, get_args(Sees))
        require(
            self.teacher.sample_rate == self.corpus.sample_rate,
            "teacher and corpus differ in sample rate",
            got=f"{self.teacher.sample_rate} and {self.corpus.sample_rate} Hz",
            remedy="pack the corpus at the teacher's rate",
        )
        require(len(self.corpus) > 0, "the corpus has no utterances")

    def embed(self, view: int, indices: Int[np.ndarray, " B"]) -> Float[Tensor, "B D"]:
        """Embeddings [B, D_t] float32 on the CPU of view `view` of the utterances `indices`."""
        if self.sees == "utterance":
            found = embed_corpus(self.teacher.embed, self.corpus, indices, device=self.device)
            return torch.from_numpy(found)
        parts = []
        for start in range(0, len(indices), BATCH):
            batch = indices[start : start + BATCH]
            waves = make_views(self.corpus, batch, view, self.view_config, self._placed, self.device).waves
            parts.append(self.teacher.embed(waves).cpu())
        return torch.cat(parts)

    @cached_property
    def _placed(self) -> DeviceBank:
        samples = self.view_config.samples(self.corpus.sample_rate)
        return DeviceBank.place(self.bank, samples, self.device)

    def key(self, views: int) -> dict[str, Any]:
        """Everything that the cached numbers depend on, flat, as JSON holds it."""
        key: dict[str, Any] = {
            "version": KEY_VERSION,
            "teacher_id": self.teacher.id,
            "teacher_uri": self.teacher.uri,
            "corpus_id": self.corpus.id,
            "sees": self.sees,
            "views": views,
            "utterances": len(self.corpus),
            "embedding_dim": self.teacher.embedding_dim,
        }
        if self.sees == "view":
            key["bank_id"] = self.bank.id
            key |= {f"view.{name}": value for name, value in dataclasses.asdict(self.view_config).items()}
        return json.loads(json.dumps(key))
