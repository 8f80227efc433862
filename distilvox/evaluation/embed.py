"""Embeddings of whole utterances, in batches of one exact length: no padding, no masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from distilvox.errors import UserError, require


@runtime_checkable
class Speech(Protocol):
    """What embedding needs of a corpus: `distilvox.corpus.store.Corpus` has it."""

    @property
    def sample_rate(self) -> int: ...

    @property
    def utterances(self) -> Sequence[str]: ...

    @property
    def samples(self) -> np.ndarray: ...

    def wave(self, index: int) -> np.ndarray: ...


def one_by_one(embed: Callable[[np.ndarray], np.ndarray]) -> Callable[[Tensor], Tensor]:
    """What embeds one wave, float32 [N] → [D], as what embeds a batch: [B, N] → [B, D]."""
    return lambda waves: torch.from_numpy(np.stack([embed(wave) for wave in waves.cpu().numpy()]))


def equal_length_batches(
    lengths: Int[np.ndarray, " n"], most_samples: int
) -> Iterator[Int[np.ndarray, " B"]]:
    """Positions [B] in batches of one exact length, longest first (the largest memory need comes first).

    A batch holds `most_samples` samples at most, but always at least one utterance.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    for stop in [*np.flatnonzero(np.diff(lengths[order])) + 1, len(order)]:
        while start < stop:
            size = max(1, most_samples // max(1, int(lengths[order[start]])))
            batch = order[start : min(start + size, stop)]
            yield batch
            start += len(batch)


def embed_corpus(
    embed: Callable[[Tensor], Tensor],
    corpus: Speech,
    indices: Int[np.ndarray, " n"],
    *,
    device: str | torch.device,
    seconds_per_batch: float = 60.0,
    max_seconds: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> Float[np.ndarray, "n D"]:
    """Embeds utterances whole, float32 [n, D], in the order of `indices`.

    Args:
        embed: waves [B, N] in [-1, 1), float32 on `device` -> embeddings [B, D]; in evaluation mode.
        corpus: where the utterances are; int16 samples become float32 / 32768 on the device.
        indices: utterances of the corpus [n], at least one; repeats are allowed.
        seconds_per_batch: audio in a batch, greater than 0; a longer utterance is a batch by itself.
        max_seconds: longer utterances are cut to their first `max_seconds`; None embeds them whole.
        progress: called after every batch with the number of utterances it held.

    Raises:
        UserError: nothing to embed, an index outside the corpus, or a non-finite embedding (it names the
            utterance).
    """
    require(len(indices) > 0, "there are no utterances to embed")
    require(seconds_per_batch > 0, "seconds_per_batch is too small", got=seconds_per_batch, allowed="> 0")
    count = len(corpus.utterances)
    require(
        int(indices.min()) >= 0 and int(indices.max()) < count,
        "an utterance to embed is not in the corpus",
        got=f"{int(indices.min())} to {int(indices.max())}",
        allowed=f"0 to {count - 1}",
    )
    lengths = np.asarray(corpus.samples)[indices].astype(np.int64)
    if max_seconds is not None:
        require(max_seconds > 0, "max_seconds is too small", got=max_seconds, allowed="> 0")
        lengths = np.minimum(lengths, max(1, round(max_seconds * corpus.sample_rate)))

    result: np.ndarray | None = None
    with torch.inference_mode():
        for batch in equal_length_batches(lengths, int(seconds_per_batch * corpus.sample_rate)):
            length = int(lengths[batch[0]])
            waves = np.stack([corpus.wave(int(indices[k]))[:length] for k in batch])
            output = embed(torch.from_numpy(waves).to(device).float() / 32768)
            rows = output.float().cpu().numpy()
            require(
                rows.ndim == 2 and len(rows) == len(batch),
                "the model did not return one embedding for each utterance",
                got=f"shape {tuple(rows.shape)} for {len(batch)} utterances",
            )
            bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
            if len(bad):
                raise UserError(
                    f"the embedding of {corpus.utterances[int(indices[batch[bad[0]]])]} is not finite",
                    remedy="the weights are damaged or training diverged: use an earlier checkpoint",
                )
            if result is None:
                result = np.empty((len(indices), rows.shape[1]), dtype=np.float32)
            result[batch] = rows
            if progress is not None:
                progress(len(batch))
    assert result is not None  # indices is not empty
    return result
