"""Renders synthetic speakers: drawn voice, sessions (mood and channel) and sentences, to int16 at 16 kHz.

Every draw comes from a generator addressed by (seed, what, speaker, session, utterance), and a session's
utterances are said in order after the engine was loaded anew. So a wave depends on its own address alone:
not on how many speakers or utterances were asked for, nor on which process made it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import soxr

from distilvox.corpus.channel import LONGEST, Channel, apply_channel, draw_channel
from distilvox.corpus.espeak import ENGINE_RATE, Engine
from distilvox.corpus.sentences import GRAMMARS, draw_sentence
from distilvox.corpus.voices import draw_mood, draw_voice, voice_file
from distilvox.sound import SAMPLE_RATE

SHORTEST = 2.0
"""Seconds. A shorter utterance gets another sentence; one above `LONGEST` is cut and faded out."""

_VOICE, _SESSION, _SPEECH = range(3)
_WORDS_A_MINUTE = 175
_SILENCE = int(0.12 * ENGINE_RATE)
_FADE = int(0.02 * SAMPLE_RATE)


@dataclass(frozen=True)
class Utterance:
    """One utterance of the corpus: int16 wave [N] at 16 kHz; `pitch` in Hz is the middle of its speaker's."""

    name: str
    speaker: str
    session: str
    wave: np.ndarray
    language: str
    pitch: float


def render(seed: int, speakers: Sequence[int], utterances: int) -> list[Utterance]:
    """The utterances of some speakers, given by number, in order."""
    with Engine(tuple(GRAMMARS)) as engine:
        return [item for speaker in speakers for item in _render_speaker(engine, seed, speaker, utterances)]


def _random(seed: int, *address: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, *address))))


def _render_speaker(engine: Engine, seed: int, speaker: int, utterances: int) -> Iterator[Utterance]:
    random = _random(seed, _VOICE, speaker)
    voice = draw_voice(random)
    sessions = int(random.integers(2, 4))
    name = f"synth{speaker:04d}"
    for session in range(min(sessions, utterances)):
        random = _random(seed, _SESSION, speaker, session)
        channel = draw_channel(random)
        engine.set_voice(voice.base, voice_file(draw_mood(voice, random)))
        for turn in range(len(range(session, utterances, sessions))):
            wave = _speak(engine, voice.language, channel, _random(seed, _SPEECH, speaker, session, turn))
            yield Utterance(
                name=f"{name}/s{session}/{turn:02d}",
                speaker=name,
                session=f"s{session}",
                wave=wave,
                language=voice.language,
                pitch=round(voice.pitch, 1),
            )


def _speak(engine: Engine, language: str, channel: Channel, random: np.random.Generator) -> np.ndarray:
    manner = {
        "noise": int(random.integers(1 << 31)),
        "rate": round(_WORDS_A_MINUTE * np.exp(random.normal(0.0, 0.08))),
        "pitch": round(float(np.clip(random.normal(50.0, 7.0), 30.0, 70.0))),
        "pitch_range": round(float(np.clip(random.normal(50.0, 15.0), 10.0, 90.0))),
    }
    silence = np.zeros(_SILENCE, np.int16)
    spoken = [silence]
    while sum(map(len, spoken)) < (SHORTEST + 0.01) * ENGINE_RATE:
        spoken += [engine.say(draw_sentence(language, random), **manner), silence]
    wave = soxr.resample(np.concatenate(spoken).astype(np.float32), ENGINE_RATE, SAMPLE_RATE, "HQ")
    wave = apply_channel(wave[: int(LONGEST * SAMPLE_RATE)], channel, random)
    wave[-_FADE:] *= np.linspace(1.0, 0.0, _FADE, dtype=np.float32)
    peak = 32767.0 * 10.0 ** (random.uniform(-15.0, -1.0) / 20.0)
    return np.rint(wave * (peak / np.abs(wave).max())).astype(np.int16)
