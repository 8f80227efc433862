"""ReDimNet2's front ends against features of the published code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from distilvox.errors import UserError
from distilvox.teachers.redimnet2_features import KINDS, ReDimNet2Fbank, ReDimNet2Features
from tests.redimnet2_making import wave


def test_the_golden_features(golden: Callable[[str], Any]) -> None:
    for case in golden("redimnet2_frontend")["cases"]:
        front = ReDimNet2Fbank(ReDimNet2Features(case["front_end"], 72, case["norm_signal"]))
        found = front(wave(case["samples"]))[0].T.numpy()
        truth = np.array(case["values"]).reshape(72, case["frames"])
        np.testing.assert_allclose(found, truth, atol=5e-4)  # the published float32 run: 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_equals_its_items_alone_and_silence_stays_finite(kind: str) -> None:
    front = ReDimNet2Fbank(ReDimNet2Features(kind))
    waves = torch.stack([0.1 * torch.randn(6_000), torch.zeros(6_000)])
    torch.testing.assert_close(front(waves), torch.cat([front(one[None]) for one in waves]))
    assert bool(torch.isfinite(front(waves)).all())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"(?s)unknown front end of ReDimNet2.*tf"):
        ReDimNet2Features("stft")
    with pytest.raises(UserError, match="bad mels"):
        ReDimNet2Features(mels=0)
    with pytest.raises(UserError, match=r"(?s)shorter than one window.*399 samples"):
        ReDimNet2Fbank(ReDimNet2Features())(torch.zeros(1, 399))
