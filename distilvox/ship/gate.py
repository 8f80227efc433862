"""What a model refuses to compare: too little, faint or clipped speech, and what is no speech.

Two questions are asked of a recording: whether it sounds like speech (`quality`, the same for all models), and
whether its embedding is as long as the model's embeddings of speech (`lengths`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from distilvox.ship.lengths import Lengths
from distilvox.ship.quality import Bounds, Quality, refusal
from distilvox.ship.samples import Source, named
from distilvox.sound import AudioError


class Refused(AudioError):
    """A recording that could be embedded and should not be: `reason` says why, with number and bound."""

    def __init__(self, source: Source, reason: str) -> None:
        super().__init__(
            named(source),
            reason,
            remedy="record again, or use it all the same: --force (in Python force=True)",
        )


def check_voice(
    source: Source,
    quality: Quality | None,
    embed: Callable[[], np.ndarray],
    *,
    lengths: Lengths | None,
    bounds: Bounds,
    force: bool,
) -> tuple[np.ndarray, str | None]:
    """Embeds a recording unless something speaks against it; what does so is returned where `force` is given.

    Args:
        source: for messages.
        quality: of the recording; None for a stored embedding.
        embed: gives the embedding [D]; not called for a recording that is refused by its sound.
        lengths: of embeddings of speech; None where the model states none.
        bounds: what the recording must have.
        force: use it all the same.

    Raises:
        Refused: something does, and `force` is not given.
    """
    reason = None if quality is None else refusal(quality, bounds)
    if reason is not None and not force:
        raise Refused(source, reason)
    embedding = embed()
    if reason is None and lengths is not None:
        reason = lengths.refusal(embedding)
        if reason is not None and not force:
            raise Refused(source, reason)
    return embedding, reason
