"""The same trials under conditions: noise, a room, codecs, little speech. What a door hears is rarely clean.

Both sides of a trial are changed, each utterance by its own draw: from its row in the corpus, so that every model
hears the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float32, Int16

from distilvox.errors import unknown
from distilvox.evaluation.codecs import CODECS, Codec, through
from distilvox.evaluation.embed import Speech
from distilvox.views.augment import add_noise, add_room
from distilvox.views.bank import Bank

Change = Callable[[Float32[np.ndarray, " N"], np.random.Generator], Float32[np.ndarray, " _"]]

SECONDS = (1.0, 2.0, 3.0, 5.0)
SNR_DB = (10.0, 0.0)


@dataclass(frozen=True)
class Condition:
    """How utterances are changed.

    Args:
        name: in tables.
        change: a wave in [-1, 1] and the utterance's own generator → what is heard, as long.
        seconds: only the first of these are heard; None: all.
    """

    name: str
    change: Change
    seconds: float | None = None


class Changed:
    """A corpus as it is heard under a condition; see `embed.Speech`."""

    def __init__(self, corpus: Speech, condition: Condition) -> None:
        self.corpus, self.condition = corpus, condition
        self.sample_rate, self.utterances = corpus.sample_rate, corpus.utterances
        most = None if condition.seconds is None else round(condition.seconds * corpus.sample_rate)
        self.samples = np.asarray(corpus.samples) if most is None else np.minimum(corpus.samples, most)

    def wave(self, index: int) -> Int16[np.ndarray, " N"]:
        wave = self.corpus.wave(index)[: int(self.samples[index])].astype(np.float32) / 32768
        heard = self.condition.change(wave, np.random.default_rng(index))
        return np.round(heard * 32768).clip(-32768, 32767).astype(np.int16)


def conditions(bank: Bank, names: Sequence[str] = ()) -> list[Condition]:
    """All conditions, or those that are named, in the order of the table.

    Args:
        bank: the noises and rooms to draw from.
        names: as `Condition.name`.

    Raises:
        UserError: no condition has that name.
    """
    found = [Condition("clean", lambda wave, rng: wave)]
    found += [Condition(f"noise, {snr:g} dB", partial(noisy, bank=bank, snr_db=snr)) for snr in SNR_DB]
    found += [Condition("room", partial(roomy, bank=bank))]
    found += [Condition(name, partial(coded, codec=codec)) for name, codec in CODECS.items()]
    found += [Condition(f"first {s:g} s", lambda wave, rng: wave, seconds=s) for s in SECONDS]
    there = {condition.name: condition for condition in found}
    for name in names:
        if name not in there:
            raise unknown("condition", name, there)
    return [condition for condition in found if not names or condition.name in names]


def coded(
    wave: Float32[np.ndarray, " N"], rng: np.random.Generator, *, codec: Codec
) -> Float32[np.ndarray, " N"]:
    """Through a codec and back."""
    return through(wave, codec)


def noisy(
    wave: Float32[np.ndarray, " N"], rng: np.random.Generator, *, bank: Bank, snr_db: float
) -> Float32[np.ndarray, " N"]:
    """With one noise of the bank, from a drawn start on, again and again if it is short."""
    noise = bank.noises[int(rng.integers(len(bank.noises)))]
    noise = np.resize(np.roll(noise, -int(rng.integers(noise.size))), wave.size)
    waves = add_noise(torch.from_numpy(wave)[None], torch.from_numpy(noise)[None], np.array([snr_db]))
    return waves[0].numpy()


def roomy(
    wave: Float32[np.ndarray, " N"], rng: np.random.Generator, *, bank: Bank
) -> Float32[np.ndarray, " N"]:
    """As heard in one room of the bank."""
    room = bank.rooms[int(rng.integers(len(bank.rooms)))]
    waves = add_room(torch.from_numpy(wave)[None], torch.from_numpy(room)[None], np.zeros(1, np.int64))
    return waves[0].numpy()
