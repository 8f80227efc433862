"""What a page draws: the shape of a wave, and the spans of sound that were put into it."""

from __future__ import annotations

import numpy as np
import pytest

from distilvox.serve.outline import COLUMNS, peaks, spans
from tests.serving import voice


@pytest.mark.parametrize("samples", [1, COLUMNS - 1, COLUMNS, COLUMNS + 1, 16_001])
def test_every_sample_is_in_one_column(rng: np.random.Generator, samples: int) -> None:
    wave = 0.1 * rng.random(samples).astype(np.float32)
    for at in {0, samples // 2, samples - 1}:
        one = wave.copy()
        one[at] = -0.9
        found = peaks(one)
        assert len(found) == min(samples, COLUMNS)
        assert found.index(0.9) == pytest.approx(at * len(found) // samples, abs=1)
        assert found.count(0.9) == 1


def test_spans_lie_where_the_sound_is(rng: np.random.Generator) -> None:
    hush = 1e-5 * rng.standard_normal(16_000)
    speech = voice(1, 210)
    found = spans(np.concatenate([hush, speech, hush, speech, hush]).astype(np.float32))
    assert len(found) == 2
    np.testing.assert_allclose(found, [(1.0, 2.5), (3.5, 5.0)], atol=0.12)
    assert spans(np.zeros(8_000, np.float32)) == []
