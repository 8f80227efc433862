"""Speed of judging, with the error beside it: `python -m bench.scoring` prints a Markdown table."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from distilvox.evaluation.confidence import SpeakerTrials, bootstrap_eer
from distilvox.evaluation.metrics import eer
from distilvox.evaluation.norm import as_norm, cohort_statistics
from distilvox.evaluation.score import cosine_scores
from tests.reference import asnorm as slow_asnorm
from tests.reference import metrics as reference

Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def rows() -> list[tuple[str, float, float, float]]:
    """(what, seconds, baseline's seconds for the same work, largest difference)."""
    rng = np.random.default_rng(0)
    table = []

    embeddings = rng.standard_normal((10_000, 256)).astype(np.float32)
    enrol, test = rng.integers(0, 10_000, (2, 1_000_000))
    ours, scores = timed(lambda: cosine_scores(embeddings, enrol, test))
    wide = embeddings.astype(np.float64)
    part = 20_000
    theirs, naive = timed(
        lambda: [
            wide[a] @ wide[b] / (np.linalg.norm(wide[a]) * np.linalg.norm(wide[b]))
            for a, b in zip(enrol[:part], test[:part], strict=True)
        ]
    )
    error = float(np.abs(scores[:part] - naive).max())
    table.append(("1,000,000 cosines, D 256; one by one", ours, theirs * len(enrol) / part, error))

    speech, cohort = rng.standard_normal((5_000, 256)), rng.standard_normal((6_000, 256))
    enrol, test = rng.integers(0, 5_000, (2, 1_000_000))

    def normalised() -> np.ndarray:
        scores = cosine_scores(speech, enrol, test)
        return as_norm(scores, enrol, test, *cohort_statistics(speech, cohort))

    ours, scores = timed(normalised)
    part = 200
    theirs, loop = timed(lambda: slow_asnorm.as_norm(speech, enrol[:part], test[:part], cohort, 300))
    error = float(np.abs(scores[:part] - loop).max())
    what = "1,000,000 trials of 5,000 utterances with AS-norm, 6,000 cohort speakers, top 300; trial by trial"
    table.append((what, ours, theirs * len(enrol) / part, error))

    labels = rng.random(2_000) < 0.1
    points = rng.standard_normal(2_000) + 2 * labels
    ours, rate = timed(lambda: eer(points, labels))
    theirs, slow = timed(lambda: reference.eer(points, labels))
    table.append(("EER of 2,000 trials; every threshold", ours, theirs, abs(rate - slow)))

    enrol_speaker, other = rng.integers(0, 117, (2, 41_746))
    test_speaker = np.where(rng.random(41_746) < 0.1, enrol_speaker, other)
    labels = enrol_speaker == test_speaker
    points = rng.standard_normal(41_746) + 2.5 * labels
    ours, _ = timed(lambda: bootstrap_eer(points, labels, enrol_speaker, test_speaker))
    draws = rng.multinomial(117, np.full(117, 1 / 117), size=10)
    fast = SpeakerTrials(points, labels, enrol_speaker, test_speaker).eers(draws)

    def written_out() -> list[float]:
        times = [np.where(labels, w[enrol_speaker], w[enrol_speaker] * w[test_speaker]) for w in draws]
        return [eer(np.repeat(points, k), np.repeat(labels, k)) for k in times]

    theirs, slow_rates = timed(written_out)
    error = float(np.abs(fast - slow_rates).max())
    table.append(("1,000 replicates, 41,746 trials, 117 speakers; sorted anew", ours, theirs * 100, error))
    return table


def main() -> None:
    lines = ["| work; baseline | seconds | times faster | largest difference |", "|---|---|---|---|"]
    lines += [
        f"| {what} | {ours:.3f} | {base / ours:.1f} | {error:.1e} |" for what, ours, base, error in rows()
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
