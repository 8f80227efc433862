"""A teacher at work on a little real training speech: does it agree with itself, and what does it cost?"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from distilvox.errors import require
from distilvox.evaluation.embed import embed_corpus
from distilvox.teachers.live import BATCH, LiveTeacher
from distilvox.views.batches import make_views

UTTERANCES = 64
WHOLE = 16


@dataclass(frozen=True)
class Probe:
    """What was measured; cosines in [-1, 1], rates as fractions.

    Args:
        utterances: how many were shown, each in two views (crop, noise and all).
        same: mean cosine of two views of an utterance.
        different: mean cosine of views of different speakers.
        recognised: share of first views whose nearest second view, among those of other speakers and its
            own utterance's, is its own utterance's.
        speed: seconds of speech embedded in a second of computing, of what the teacher is shown in training.
        memory_bytes: the peak, of the GPU's tensors or of this whole process.
        device: where: `cpu` or the GPU's name.
    """

    utterances: int
    same: float
    different: float
    recognised: float
    speed: float
    memory_bytes: int
    device: str

    @property
    def agreement(self) -> float:
        """How much nearer two views of an utterance are than two speakers: 0 (not at all) to 2."""
        return self.same - self.different


def probe(
    embed: Callable[[Tensor], Tensor], live: LiveTeacher, *, clock: Callable[[], float] = time.perf_counter
) -> Probe:
    """Shows the teacher two views of up to 64 utterances spread over the corpus.

    Args:
        embed: waves [B, N] → what enters the cosines of training (centred, if that is so) [B, D_t].
        live: the corpus, what a view is, and what the teacher is shown in training.
        clock: seconds.

    Errors:
        UserError if the sample holds one speaker only.
    """
    corpus, device = live.corpus, torch.device(live.device)
    count = min(UTTERANCES, len(corpus))
    rows = np.unique(np.linspace(0, len(corpus) - 1, count).astype(np.int64))
    speakers = torch.as_tensor(np.asarray(corpus.labels)[rows])
    require(len(torch.unique(speakers)) > 1, "two views tell a teacher only if there are two speakers")
    watch = Stopwatch(embed, device, corpus.sample_rate, clock)
    embed(torch.zeros(1, corpus.sample_rate, device=device))  # the first call pays for everybody
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    first, second = (
        torch.cat(
            [watch(_waves(live, batch, view)).cpu() for batch in np.split(rows, range(BATCH, count, BATCH))]
        )
        for view in (0, 1)
    )
    if live.sees == "utterance":
        watch = Stopwatch(embed, device, corpus.sample_rate, clock)
        embed_corpus(watch, corpus, rows[:: max(1, len(rows) // WHOLE)], device=device)
    same, different, recognised = agree(first, second, speakers)
    return Probe(len(rows), same, different, recognised, watch.speed, _peak_memory(device), _name(device))


class Stopwatch:
    """An `embed` that counts the speech it is given and the time that it takes."""

    def __init__(
        self,
        embed: Callable[[Tensor], Tensor],
        device: torch.device,
        sample_rate: int,
        clock: Callable[[], float],
    ) -> None:
        self.embed, self.device, self.sample_rate, self.clock = embed, device, sample_rate, clock
        self.speech = self.taken = 0.0

    def __call__(self, waves: Tensor) -> Tensor:
        self._wait()
        start = self.clock()
        found = self.embed(waves)
        self._wait()
        self.taken += self.clock() - start
        self.speech += waves.numel() / self.sample_rate
        return found

    @property
    def speed(self) -> float:
        return self.speech / max(self.taken, 1e-9)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def agree(
    first: Float[Tensor, "n D"], second: Float[Tensor, "n D"], speakers: Int[Tensor, " n"]
) -> tuple[float, float, float]:
    """(`same`, `different`, `recognised`) of two views of n utterances; see `Probe`."""
    cosines = F.normalize(first.double(), dim=-1) @ F.normalize(second.double(), dim=-1).T
    others = speakers[:, None] != speakers
    rivals = cosines.masked_fill(~others, -torch.inf).amax(1)
    own = cosines.diagonal()
    return float(own.mean()), float(cosines[others].mean()), float((own > rivals).double().mean())


def _waves(live: LiveTeacher, rows: Int[np.ndarray, " B"], view: int) -> Tensor:
    return make_views(live.corpus, rows, view, live.view_config, live.bank, live.device).waves


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
