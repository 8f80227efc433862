"""Frames without sound are left out, so that silence before, within or behind speech says nothing.

Digital zeros, a muted microphone and discontinuous transmission give frames that no training speech has. A network
that averages over frames takes two recordings with the same silence for the same voice. So such frames
are replaced by the utterance's own frames with sound, in their order, from the first again when all were
taken: the number of frames stays, batches stay rectangular, and any backbone may stand behind.

The level of a frame is the mean of its log-mel features: it needs no waveform, and taking off each filter's
mean beforehand moves all levels alike. So the gate may stand behind anybody's features.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

LOUD = 10
"""The loud frames of an utterance are as loud as its tenth loudest: a click reaches three."""


def sounding(features: Float[Tensor, "B T F"], gate_db: float) -> Bool[Tensor, "B T"]:
    """Which frames lie within `gate_db` of the utterance's loud ones; with fewer than ten frames, all."""
    level = features.mean(dim=2)
    if features.shape[1] < LOUD:
        return torch.ones_like(level, dtype=torch.bool)
    loud = level.topk(LOUD, dim=1).values[:, -1:]
    return level >= loud - gate_db * math.log(10) / 10


def keep_sound(features: Float[Tensor, "B T F"], gate_db: float) -> Float[Tensor, "B T F"]:
    """The frames with sound, in their order and then from the first again, as many as there were frames.

    Features whose frames all have sound come back as they are. Gradients reach the frames that are kept.

    Args:
        features: log-mels (natural logarithm), each filter's mean over time taken off or not.
        gate_db: how far below the loud frames sound may lie, dB; above 0.
    """
    sound = sounding(features, gate_db)
    count = features.shape[1]
    places = torch.arange(count, device=features.device)
    # Where each frame stands in the order "with sound first": its place, moved behind all others if without.
    order = torch.where(sound, places, places + count).argsort(dim=1)
    taken = order.gather(1, places % sound.sum(dim=1, keepdim=True))
    return features.gather(1, taken[:, :, None].expand_as(features))
