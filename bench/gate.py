"""How many pairs of what is no speech a bundle accepts, with its gate and without: `python -m bench.gate BUNDLE`.

Every pair of sounds from `tests/nonspeech.py`, several draws of each, and of noises that were recorded; and how many
recordings of real speech the gate refuses, to verify and to enrol.
"""

from __future__ import annotations

import argparse
import sys
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np

from distilvox.audio import read_audio
from distilvox.ship.quality import ENROL, VERIFY, Bounds
from distilvox.ship.runtime import Verifier, Voice
from distilvox.sound import AudioError
from tests.nonspeech import MADE

SHARED = Path(__file__).resolve().parents[2] / "shared" / "corpora"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--draws", type=int, default=4, help="of each kind of sound")
    parser.add_argument("--speech", type=Path, default=SHARED / "chorus" / "audio")
    parser.add_argument("--noise", type=Path, default=SHARED / "noise" / "background")
    parser.add_argument("--every", type=int, default=25, help="of the recordings, one in so many")
    options = parser.parse_args()
    verifier = Verifier.load(options.bundle)
    rng = np.random.default_rng(0)
    made = [
        make(rng, int(rng.uniform(1, 5) * 16_000)).astype(np.float32)
        for make in MADE.values()
        for _ in range(options.draws)
    ]
    recorded = [read_audio(path)[:80_000] for path in sorted(options.noise.rglob("*.opus"))]
    out = sys.stdout.write
    out("| what | pairs | accepted without the gate | accepted with it |\n|---|---:|---:|---:|\n")
    for what, waves in (("made sounds", made), ("recorded noises", recorded)):
        voices = [examined(verifier, wave) for wave in waves]
        pairs = list(combinations_with_replacement([one for one in voices if one is not None], 2))
        every = len(voices) * (len(voices) + 1) // 2
        without = sum(accepts(verifier, *pair) for pair in pairs)
        passed = [pair for pair in pairs if pair[0].refusal is None and pair[1].refusal is None]
        out(f"| {what} | {every:,} | {without:,} | {sum(accepts(verifier, *pair) for pair in passed):,} |\n")
    files = sorted(options.speech.rglob("*.opus"))[:: options.every]
    for what, bounds in (("verify", VERIFY), ("enrol", ENROL)):
        found = [examined(verifier, read_audio(path), bounds) for path in files]
        refused = sum(one is None or one.refusal is not None for one in found)
        out(f"\nOf {len(files):,} recordings of speech, {refused:,} are refused to {what}.\n")


def examined(verifier: Verifier, wave: np.ndarray, bounds: Bounds = VERIFY) -> Voice | None:
    """The voice, with what speaks against it; None where there is no sound at all."""
    try:
        return verifier.examine(wave, bounds=bounds, force=True)
    except AudioError:
        return None


def accepts(verifier: Verifier, one: Voice, two: Voice) -> bool:
    """By the threshold on the bundle's card."""
    point = verifier.card.operating_point
    return point is not None and verifier.score(one.embedding, two.embedding) > point.threshold


if __name__ == "__main__":
    main()
