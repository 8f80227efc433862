"""Speech whose speaker nobody knows, in the objective: what it lacks, and what it must not be contrasted with."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor, nn

from distilvox.errors import require
from distilvox.models.head import SpeakerHead

UNKNOWN = -1
"""The label of an utterance without a speaker."""


class NoSpeakers(SpeakerHead):
    """The head of a corpus in which no utterance has a speaker: no class centres, [0, D], and nothing to learn.

    Args:
        dim: D, the embedding size.
    """

    def __init__(self, dim: int) -> None:
        nn.Module.__init__(self)
        self.names = ()
        self.weight = nn.Parameter(torch.empty(0, dim), requires_grad=False)


def same_recording(
    groups: Int[Tensor, " C"], part: slice, labels: Int[Tensor, " B"]
) -> Int[Tensor, "B N"] | Tensor:
    """Which classes of a block are cuts of the same recording as each row's own class: bool [B, N].

    Args:
        groups: the recording of every class, −1 where it is not known: such a class is like no other.
        labels: the rows' classes, in [0, C).
    """
    own = groups[labels]
    return (own[:, None] == groups[part]) & (own >= 0)[:, None]


def check_recordings(groups: Int[Tensor, " U"], utterances: int) -> None:
    """Refuses recordings that are not one for each of the training utterances, or one for all of them together."""
    require(
        len(groups) == utterances,
        "each training utterance needs its recording",
        got=f"{len(groups)} recordings, {utterances} utterances",
    )
    most = int(torch.bincount(groups[groups >= 0], minlength=1).max())
    require(
        most < utterances,
        "all training utterances are of one recording: there is nothing to contrast them with",
        got=f"{most:,} utterances of one session",
        remedy="give the sessions that there are, or none (-), or an objective of embeddings alone: cosine, mse",
    )
