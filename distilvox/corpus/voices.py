"""Drawn voices: what makes a synthetic speaker that speaker, as a voice file of eSpeak NG.

The widths of these draws set how hard the corpus is; `synthetic.py` holds the figure they were set by.
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Voice:
    """One speaker: the dictionary, the accent, the middle of the pitch range in Hz, the voice file."""

    language: str
    base: str
    pitch: float
    text: str


def draw_voice(random: np.random.Generator) -> Voice:
    """A speaker, from a generator that belongs to that speaker alone."""
    language = _LANGUAGES[random.choice(len(_LANGUAGES), p=_SHARES)]
    base = BASES[language][random.integers(len(BASES[language]))]
    female = random.random() < 0.5
    low = (165.0 if female else 92.0) * np.exp(random.normal(0.0, 0.17))
    high = low * random.uniform(1.25, 1.7)
    # A shorter vocal tract shifts all formants up together; each formant then strays on its own.
    tract = (110.0 if female else 99.0) * np.exp(random.normal(0.0, 0.05))
    lines = ["language variant", f"gender {'female' if female else 'male'}", f"pitch {low:.0f} {high:.0f}"]
    for formant in range(9):
        frequency = tract * np.exp(random.normal(0.0, 0.045))
        height = 100.0 * np.exp(random.normal(0.0, 0.20))
        width = 100.0 * np.exp(random.normal(0.0, 0.25))
        lines.append(f"formant {formant} {frequency:.0f} {height:.0f} {width:.0f}")
    if random.random() < 0.5:
        breath = random.uniform(0.0, 6.0, 8)
        lines.append("breath 0 " + " ".join(f"{x:.0f}" for x in breath[1:]))
    if random.random() < 0.5:
        widths = np.array([200, 200, 400, 400, 400, 600, 600, 600]) * random.uniform(0.6, 1.6)
        lines.append("breathw " + " ".join(f"{x:.0f}" for x in widths))
    # Height of the spectrum at four frequencies; the engine's own are 170, 135, 110, 110.
    tone = np.array([170.0, 135.0, 110.0, 110.0]) * np.exp(random.normal(0.0, 0.15, 4))
    points = zip((600, 1200, 2000, 3000), np.minimum(tone, 250.0), strict=True)
    lines.append("tone " + " ".join(f"{at} {x:.0f}" for at, x in points))
    lines += [
        f"roughness {random.integers(0, 5)}",
        f"flutter {random.integers(1, 7)}",
        f"voicing {random.uniform(50, 120):.0f}",
        f"consonants {random.uniform(70, 130):.0f} {random.uniform(70, 130):.0f}",
        f"speed {random.uniform(85, 120):.0f}",
        f"intonation {random.integers(1, 5)}",
        "stressAdd " + " ".join(f"{x:.0f}" for x in random.normal(0.0, 12.0, 8)),
    ]
    return Voice(language, base, float(np.sqrt(low * high)), "\n".join(lines) + "\n")
