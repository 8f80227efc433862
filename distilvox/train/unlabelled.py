"""Speech whose speaker nobody knows, before a training: what of it an objective can use, and its recordings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from distilvox.corpus.labels import labelled, recordings
from distilvox.corpus.store import Corpus
from distilvox.corpus.table import UNKNOWN
from distilvox.errors import require
from distilvox.losses.config import ObjectiveConfig


def learnt_from(corpus: Corpus, objective: ObjectiveConfig, say: Callable[[str], None]) -> Corpus:
    """The utterances that the objective learns from: those without a speaker only where a part needs none.

    Args:
        say: takes lines for people.

    Raises:
        UserError: no utterance has a speaker, and a part needs them.
    """
    loose = int(np.count_nonzero(corpus.labels == UNKNOWN))
    if not loose:
        return corpus
    name = f"the objective {objective.objective!r}"
    if not objective.needs_no_label:
        say(f"{loose:,} of {len(corpus):,} utterances have no speaker: {name} learns nothing from them")
        return labelled(corpus, wanted=name)
    require(
        bool(corpus.speakers) or not objective.over_speakers,
        f"no utterance of {corpus.path} has a speaker, and {name} needs them",
        allowed="cosine, mse, ukld, unskd, or sums of them: ukld+cosine",
    )
    have = "none of the" if loose == len(corpus) else f"{len(corpus) - loose:,} of"
    say(
        f"{have} {len(corpus):,} utterances have a speaker: the others give no cross entropy, and {name} "
        "what needs no label; whether they are speakers of the trials, nobody can check"
    )
    return corpus


def recordings_of(corpus: Corpus, objective: ObjectiveConfig, device: torch.device) -> Tensor | None:
    """The recording of every utterance, int64 [U] on the device; None where nothing is told apart by it."""
    found = recordings(corpus)
    if not objective.over_utterances or (found < 0).all():
        return None
    return torch.from_numpy(found).to(device)
