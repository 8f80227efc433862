"""The front end's features by FFT, for training on a CPU: a third of the time of the one matrix.

The same steps in Kaldi's order, a few utterances at a time, so that every pass over the frames stays in the
processor's cache (over a whole batch, an FFT is no faster than the matrix). Its rounding is that of an FFT: relative
to the loudest bin of a frame, where the matrix's is relative to each bin. That is 1e-4 of a nat in the emptiest bins.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

FRAMES = 800
"""Frames at a time: with 512 points each, their spectra fill 1.6 MB."""


def energies_by_fft(
    waves: Float[Tensor, "B N"],
    taper: Float[Tensor, " W"],
    filters: Float[Tensor, "K F"],
    *,
    shift: int,
    emphasis: float,
) -> Float[Tensor, "B T F"]:
    """Mel energies of float32 waves on the CPU; no gradient.

    Args:
        waves: of about mean zero, N ≥ W.
        taper: the window, times full scale.
        filters: one row for each of K bins, without the last (Nyquist): the transform has 2 · K points.
        shift: samples between frames.
        emphasis: what of each sample's predecessor is taken off; the first sample of a frame is its own.
    """
    window, size = len(taper), 2 * len(filters)
    frames = 1 + (waves.shape[1] - window) // shift
    out = waves.new_empty(len(waves), frames, filters.shape[1])
    together = max(1, FRAMES // frames)
    padded = waves.new_zeros(together, frames, size)
    for start in range(0, len(waves), together):
        part = waves[start : start + together]
        differences = part.clone()
        differences[:, 1:] -= emphasis * part[:, :-1]
        framed, filled = part.unfold(1, window, shift), padded[: len(part)]
        # Pre-emphasis of a constant leaves 1 − emphasis of it, also of the mean that each frame loses.
        means = (1 - emphasis) * framed.mean(dim=2, keepdim=True)
        torch.sub(differences.unfold(1, window, shift), means, out=filled[..., :window])
        filled[..., 0] = (1 - emphasis) * framed[..., 0] - means[..., 0]
        filled[..., :window] *= taper
        squares = torch.view_as_real(torch.fft.rfft(filled)).square_()[:, :, :-1]
        torch.matmul(squares[..., 0] + squares[..., 1], filters, out=out[start : start + together])
    return out
