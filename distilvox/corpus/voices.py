"""Drawn voices: what makes a synthetic speaker that speaker, as a voice file of eSpeak NG.

The widths of these draws set how hard the corpus is; `synthetic.py` holds the figure they were set by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

BASES = {
    "en": (
        "gmw/en",
        "gmw/en-US",
        "gmw/en-US-nyc",
        "gmw/en-029",
        "gmw/en-GB-scotland",
        "gmw/en-GB-x-rp",
        "gmw/en-GB-x-gbclan",
        "gmw/en-GB-x-gbcwmd",
    ),
    "de": ("gmw/de",),
    "es": ("roa/es", "roa/es-419"),
    "fr": ("roa/fr", "roa/fr-BE", "roa/fr-CH"),
    "it": ("roa/it",),
}
"""Language files of eSpeak NG by dictionary: the accents that a speaker of the language may have."""

_LANGUAGES = ("en", "de", "es", "fr", "it")
_SHARES = (0.6, 0.1, 0.1, 0.1, 0.1)


_FORMANTS = 9
_TONE_HZ = (600, 1200, 2000, 3000)
_TONE = np.array([170.0, 135.0, 110.0, 110.0])  # the engine's own heights there
_BREATH_HZ = np.array([200.0, 200.0, 400.0, 400.0, 400.0, 600.0, 600.0, 600.0])


@dataclass(frozen=True)
class Voice:
    """One speaker.

    Fields:
        language: the dictionary, a key of `BASES`.
        base: the language file, the accent.
        female: whether the engine's female defaults hold.
        pitch: the middle of the pitch range, Hz; `span`, its top over its bottom.
        frequency, height, width: of the formants 0 to 8, in percent of the accent's.
        tone: height of the spectrum at 600, 1,200, 2,000 and 3,000 Hz, at most 255.
        breath, breath_width: of the breath noise at the formants 1 to 8.
        fixed: further lines of the voice file.
    """

    language: str
    base: str
    female: bool
    pitch: float
    span: float
    frequency: np.ndarray
    height: np.ndarray
    width: np.ndarray
    tone: np.ndarray
    breath: np.ndarray
    breath_width: np.ndarray
    fixed: tuple[str, ...]


def draw_voice(random: np.random.Generator) -> Voice:
    """A speaker, from a generator that belongs to that speaker alone."""
    language = _LANGUAGES[random.choice(len(_LANGUAGES), p=_SHARES)]
    female = bool(random.random() < 0.5)
    # A shorter vocal tract shifts all formants up together; each formant then strays on its own.
    tract = (110.0 if female else 99.0) * _stray(random, 0.05)
    return Voice(
        language=language,
        base=BASES[language][random.integers(len(BASES[language]))],
        female=female,
        pitch=float((200.0 if female else 112.0) * _stray(random, 0.17)),
        span=float(random.uniform(1.25, 1.7)),
        frequency=tract * _stray(random, 0.035, _FORMANTS),
        height=100.0 * _stray(random, 0.15, _FORMANTS),
        width=100.0 * _stray(random, 0.2, _FORMANTS),
        tone=_TONE * _stray(random, 0.12, len(_TONE)),
        breath=random.uniform(0.0, 6.0, 8) * (random.random() < 0.5),
        breath_width=_BREATH_HZ * random.uniform(0.6, 1.6),
        fixed=(
            f"roughness {random.integers(0, 5)}",
            f"flutter {random.integers(1, 7)}",
            f"voicing {random.uniform(50, 120):.0f}",
            f"consonants {random.uniform(70, 130):.0f} {random.uniform(70, 130):.0f}",
            f"speed {random.uniform(85, 120):.0f}",
            f"intonation {random.integers(1, 5)}",
            "stressAdd " + " ".join(f"{x:.0f}" for x in random.normal(0.0, 12.0, 8)),
        ),
    )


def draw_mood(voice: Voice, random: np.random.Generator) -> Voice:
    """The same speaker on another day: rested or hoarse, near or loud, so that sessions differ in voice.

    Without it any trained model tells these speakers apart by their constants.
    """
    return replace(
        voice,
        pitch=voice.pitch * float(_stray(random, 0.05)),
        frequency=voice.frequency * _stray(random, 0.01) * _stray(random, 0.018, _FORMANTS),
        height=voice.height * _stray(random, 0.08, _FORMANTS),
        width=voice.width * _stray(random, 0.1, _FORMANTS),
        tone=voice.tone * _stray(random, 0.06, len(_TONE)),
        breath=voice.breath * random.uniform(0.5, 1.4) + random.uniform(0.0, 1.0, 8),
    )


def voice_file(voice: Voice) -> str:
    """The voice in eSpeak NG's syntax, to lay over the accent `voice.base`."""
    low = voice.pitch / voice.span**0.5
    lines = [
        "language variant",
        f"gender {'female' if voice.female else 'male'}",
        f"pitch {low:.0f} {low * voice.span:.0f}",
        "breath " + _integers(voice.breath),
        "breathw " + _integers(voice.breath_width),
        "tone " + " ".join(f"{at} {min(x, 255):.0f}" for at, x in zip(_TONE_HZ, voice.tone, strict=True)),
    ]
    formants = zip(voice.frequency, voice.height, voice.width, strict=True)
    lines += [f"formant {n} {f:.0f} {h:.0f} {w:.0f}" for n, (f, h, w) in enumerate(formants)]
    return "\n".join([*lines, *voice.fixed]) + "\n"


def _stray(random: np.random.Generator, width: float, size: int | None = None) -> np.ndarray:
    """Factors about 1, log-normal: `width` is the standard deviation of their logarithm."""
    return np.exp(random.normal(0.0, width, size))


def _integers(values: np.ndarray) -> str:
    return " ".join(f"{x:.0f}" for x in values)
