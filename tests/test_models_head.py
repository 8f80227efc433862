from __future__ import annotations

import pytest
import torch

from distilvox.errors import UserError
from distilvox.models.head import SpeakerHead, cosines, unit


def test_cosines_are_those_of_the_definition() -> None:
    embeddings, centres = torch.randn(5, 7, dtype=torch.float64), torch.randn(3, 7, dtype=torch.float64)
    for b in range(5):
        for c in range(3):
            expected = embeddings[b] @ centres[c] / (embeddings[b].norm() * centres[c].norm())
            assert cosines(embeddings, centres)[b, c].item() == pytest.approx(expected.item())


def test_neither_length_matters() -> None:
    head = SpeakerHead(["a", "b", "c"], 16)
    embeddings = torch.randn(4, 16)
    before = head(embeddings)
    head.weight.data *= torch.tensor([[0.1], [3.0], [50.0]])
    torch.testing.assert_close(head(1e-3 * embeddings), before)
    torch.testing.assert_close(head(1e3 * embeddings), before)


def test_centres_start_with_a_length_of_about_one_for_any_number_of_speakers() -> None:
    for speakers in (2, 500):
        head = SpeakerHead([str(i) for i in range(speakers)], 256)
        assert head.weight.norm(dim=1).mean().item() == pytest.approx(1.0, abs=0.15)
    assert head.names[:2] == ("0", "1")


def test_float32_under_autocast_and_exactly_the_same() -> None:
    head = SpeakerHead(["a", "b"], 64)
    embeddings = torch.randn(8, 64)
    expected = head(embeddings)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(head(embeddings), expected)
        low = head(embeddings.bfloat16())
    assert low.dtype == torch.float32
    assert torch.equal(low, head(embeddings.bfloat16().float()))
    assert head.double()(embeddings.double()).dtype == torch.float64


def test_a_zero_embedding_and_a_zero_centre_stay_finite() -> None:
    head = SpeakerHead(["a", "b"], 8)
    head.weight.data[1] = 0
    embeddings = torch.cat([torch.zeros(1, 8), torch.randn(1, 8)]).requires_grad_()
    scores = head(embeddings)
    (scores * torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    assert scores[0].tolist() == [0, 0]
    assert scores[1, 1].item() == 0
    for grad in (embeddings.grad, head.weight.grad):
        assert grad is not None
        assert grad.isfinite().all()
    assert unit(torch.zeros(0, 8)).shape == (0, 8)
    assert head(torch.zeros(0, 8)).shape == (0, 2)


def test_bad_heads_are_refused_at_the_door() -> None:
    for few in ([], ["only"]):
        with pytest.raises(UserError, match="one speaker"):
            SpeakerHead(few, 8)
    with pytest.raises(UserError, match=r"unique speaker names\n.*2 repeated: a, b"):
        SpeakerHead(["a", "b", "a", "b", "c"], 8)
    with pytest.raises(UserError, match="embedding size is out of range"):
        SpeakerHead(["a", "b"], 0)
    with pytest.raises(UserError, match=r"do not fit the speaker head\n.*D = 7\n.*D = 8"):
        SpeakerHead(["a", "b"], 8)(torch.zeros(3, 7))
