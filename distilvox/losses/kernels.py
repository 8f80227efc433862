"""Triton kernels of the streaming objective: one goes over the classes, one over the utterances.

Both take logits a tile at a time from rows (embeddings of length 1, times their scale, over ln 2) and
centres (of any length; `inverse` is one over it), hide each row's target, and leave nothing of size
[B, C] in memory:

    class_sums    for each row, over its classes: mass, mean value and energy of the softmax
    centre_grads  for each centre, over all rows: the gradient that the rows' softmaxes send it

A program of `class_sums` holds a tile of rows and walks a share of the classes; the shares merge by the
law of `distilvox.losses.statistics`. A program of `centre_grads` holds a tile of centres and walks all
rows. No two programs write to the same place, so results do not depend on the order they run in.

`precision` says how float32 is multiplied: "ieee" exactly; "tf32x3" on the tensor cores, in three
products of halves, with an error like float32's; "tf32" in one, with three digits.

`distilvox.losses.fused` calls them. They run on NVIDIA GPUs; with TRITON_INTERPRET=1 in the environment,
from before Python starts, on any processor, slowly.

Source: tiles after FlashAttention, Dao et al., arXiv 2205.14135: centres are its keys and its values.
"""

from __future__ import annotations

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from distilvox.losses.statistics import HIDDEN, Sums
from distilvox.models.head import SHORTEST

INNER = 32
"""Entries of an embedding that a product takes at a time."""

TILES: dict[int, tuple[int, int, int]] = {
    128: (64, 32, 8),
    256: (64, 32, 8),
    512: (32, 16, 8),
    1024: (16, 16, 8),
}
"""Embedding size up to → rows of the tile that a program holds, of the one that it walks over, and warps.

Compiled for a Hopper GPU, exact products spill no register and TF32 ones up to 256 entries some; not yet timed
on one. `python -m bench.gpu --tune` times others.
"""

OVER_SUBSCRIBED = 2
"""Programs for each of a GPU's multiprocessors."""

_HIDDEN = tl.constexpr(HIDDEN)


@triton.jit
@no_type_check
def _products(
    a, a_at, a_inside, b, b_at, b_inside, dim,
    A: tl.constexpr, B: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Inner products [A, B] of vectors of `a` and of `b`, both [·, dim]."""
    found = tl.zeros([A, B], dtype=tl.float32)
    for first in range(0, dim, K):
        k = first + tl.arange(0, K)
        left = tl.load(a + a_at[:, None] * dim + k, mask=a_inside[:, None] & (k < dim), other=0.0)
        right = tl.load(b + b_at[:, None] * dim + k, mask=b_inside[:, None] & (k < dim), other=0.0)
        left, right = left.to(tl.float32), right.to(tl.float32)
        found = tl.dot(left, tl.trans(right), found, input_precision=PRECISION)
    return found


@triton.jit
@no_type_check
def _class_sums(
    rows, centres, inverse, values, value_inverse, columns,
    reference_out, mass_out, energy_out, top_out, moments_out,
    batch, classes, dim, size, share,
    ONLINE: tl.constexpr, R: tl.constexpr, N: tl.constexpr, K: tl.constexpr, V: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """One share of the classes for one tile of rows. Values are [classes, size], V >= size a power of two."""
    row = tl.program_id(0) * R + tl.arange(0, R)
    row_inside = row < batch
    row_at = row.to(tl.int64)
    column = tl.load(columns + row, mask=row_inside, other=-1)
    v = tl.arange(0, V)
    first = tl.program_id(1) * share
    last = tl.minimum(first + share, classes)
    top = tl.full([R], _HIDDEN, dtype=tl.float32)
    reference = top if ONLINE else tl.zeros([R], dtype=tl.float32)
    mass = tl.zeros([R], dtype=tl.float32)
    energy = tl.zeros([R], dtype=tl.float32)
    moments = tl.zeros([R, V], dtype=tl.float32)
    for start in range(first, last, N):
        n = start + tl.arange(0, N)
        inside = n < last
        at = n.to(tl.int64)
        x = _products(rows, row_at, row_inside, centres, at, inside, dim, R, N, K, PRECISION)
        x *= tl.load(inverse + n, mask=inside, other=0.0)[None, :]
        x = tl.where(inside[None, :] & (n[None, :] != column[:, None]), x, _HIDDEN)
        top = tl.maximum(top, tl.max(x, axis=1))
        if ONLINE:
            factor = tl.exp2(reference - top)
            mass, energy, moments = mass * factor, energy * factor, moments * factor[:, None]
            reference = top
        p = tl.exp2(x - reference[:, None])
        mass += tl.sum(p, axis=1)
        energy += tl.sum(p * x, axis=1)
        p *= tl.load(value_inverse + n, mask=inside, other=0.0)[None, :]
        value = tl.load(values + at[:, None] * size + v, mask=inside[:, None] & (v < size), other=0.0)
        moments = tl.dot(p, value.to(tl.float32), moments, input_precision=PRECISION)
    place = tl.program_id(1) * batch + row
    tl.store(reference_out + place, reference, mask=row_inside)
    tl.store(mass_out + place, mass, mask=row_inside)
    tl.store(energy_out + place, energy, mask=row_inside)
    tl.store(top_out + place, top, mask=row_inside)
    spot = moments_out + place.to(tl.int64)[:, None] * size + v
    tl.store(spot, moments, mask=row_inside[:, None] & (v < size))


@triton.jit
@no_type_check
def _centre_grads(
    rows, centres, inverse, columns, level, weight, values, owners, owner_inverse, out,
    batch, classes, dim, size, longest,
    ADD: tl.constexpr, N: tl.constexpr, R: tl.constexpr, K: tl.constexpr, V: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """One tile of centres over all rows. Values, owners and out are [·, size], V >= size a power of two."""
    n = tl.program_id(0) * N + tl.arange(0, N)
    inside = n < classes
    at = n.to(tl.int64)
    v = tl.arange(0, V)
    one_over = tl.load(inverse + n, mask=inside, other=0.0)
    grad = tl.zeros([N, V], dtype=tl.float32)
    for start in range(0, batch, R):
        row = start + tl.arange(0, R)
        row_inside = row < batch
        row_at = row.to(tl.int64)
        x = _products(centres, at, inside, rows, row_at, row_inside, dim, N, R, K, PRECISION)
        x = x * one_over[:, None] - tl.load(level + row, mask=row_inside, other=0.0)[None, :]
        column = tl.load(columns + row, mask=row_inside, other=-1)
        x = tl.where(n[:, None] != column[None, :], x, _HIDDEN)
        p = tl.exp2(x) * tl.load(weight + row, mask=row_inside, other=0.0)[None, :]
        value = tl.load(values + row_at[:, None] * size + v, mask=row_inside[:, None] & (v < size), other=0.0)
        grad = tl.dot(p, value, grad, input_precision=PRECISION)
    mine = inside[:, None] & (v < size)
    place = at[:, None] * size + v
    one_over = tl.load(owner_inverse + n, mask=inside, other=0.0)
    unit = tl.load(owners + place, mask=mine, other=0.0).to(tl.float32) * one_over[:, None]
    along = tl.where(one_over >= longest, 0.0, tl.sum(unit * grad, axis=1))
    grad = (grad - unit * along[:, None]) * one_over[:, None]
    if ADD:
        grad += tl.load(out + place, mask=mine, other=0.0).to(tl.float32)
    tl.store(out + place, grad.to(out.dtype.element_ty), mask=mine)


def class_sums(
    rows: Float[Tensor, "B D"],
    centres: Float[Tensor, "C D"],
    inverse: Float[Tensor, " C"],
    columns: Int[Tensor, " B"],
    values: Float[Tensor, "C K"],
    value_inverse: Float[Tensor, " C"],
    *,
    in_range: bool,
    precision: str,
) -> tuple[Sums, Float[Tensor, " B"]]:
    """The softmax of each row over the centres, but for its target, and the largest logit, in base 2.

    Args:
        rows: embeddings of length 1 times scale over ln 2, float32.
        centres: of any length and floating type.
        inverse: one over their lengths.
        columns: the row's target among the centres; outside [0, C) it has none here.
        values: what the moments are a sum of, each times its `value_inverse`.
        in_range: the logits are known not to pass `IN_RANGE`: the reference stays 0.
        precision: of the products, see above.

    Returns:
        Sums with moments [B, K + 1]: of the values, and of the logit itself.
    """
    rows, centres, columns, values = (given.contiguous() for given in (rows, centres, columns, values))
    (batch, dim), (classes, size) = rows.shape, values.shape
    room, held, walked, warps = _tiles(size)
    tiles = triton.cdiv(classes, walked)
    shares = min(
        tiles, max(1, OVER_SUBSCRIBED * _processors(rows.device) // max(1, triton.cdiv(batch, held)))
    )
    share = triton.cdiv(tiles, shares) * walked
    shares = triton.cdiv(classes, share)
    reference, mass, energy, top = rows.new_empty(4, shares, batch)
    moments = rows.new_empty(shares, batch, size)
    if batch:
        _class_sums[triton.cdiv(batch, held), shares](
            rows, centres, inverse, values, value_inverse, columns,
            reference, mass, energy, top, moments,
            batch, classes, dim, size, share,
            ONLINE=not in_range, R=held, N=walked, K=INNER, V=room, PRECISION=precision, num_warps=warps,
        )  # fmt: skip
    highest = reference.amax(dim=0)
    factor = torch.exp2(reference - highest)
    mass, energy = (mass * factor).sum(dim=0), (energy * factor).sum(dim=0)
    moments = moments.mul_(factor[:, :, None]).sum(dim=0)
    return Sums(highest, mass, torch.cat([moments, energy[:, None]], dim=1)), top.amax(dim=0)


def centre_grads(
    rows: Float[Tensor, "B D"],
    centres: Float[Tensor, "C D"],
    inverse: Float[Tensor, " C"],
    columns: Int[Tensor, " B"],
    level: Float[Tensor, " B"],
    weight: Float[Tensor, " B"],
    values: Float[Tensor, "B K"],
    owners: Float[Tensor, "C K"],
    owner_inverse: Float[Tensor, " C"],
    out: Float[Tensor, "C K"],
    *,
    add: bool,
    precision: str,
) -> None:
    """Writes, or adds, to `out`: Σ over rows of weight · softmax · value, through the owners' lengths.

    Args:
        rows, centres, inverse, columns, precision: as in `class_sums`.
        level: each row's reference, as `class_sums` found it.
        weight: of each row's softmax, over its mass.
        values: what a row sends, float32.
        owners: the centres whose gradient it is, of any length; `owner_inverse` is one over it.
        out: contiguous; in the owners' dtype or float32.
    """
    rows, centres, columns, level, weight, values, owners = (
        given.contiguous() for given in (rows, centres, columns, level, weight, values, owners)
    )
    (batch, dim), (classes, size) = rows.shape, owners.shape
    room, held, walked, warps = _tiles(size)
    _centre_grads[(triton.cdiv(classes, held),)](
        rows, centres, inverse, columns, level, weight, values, owners, owner_inverse, out,
        batch, classes, dim, size, 1 / SHORTEST,
        ADD=add, N=held, R=walked, K=INNER, V=room, PRECISION=precision, num_warps=warps,
    )  # fmt: skip


def _tiles(size: int) -> tuple[int, int, int, int]:
    """A power of two >= size, and the tiles and warps that suit it."""
    held = next(tile for most, tile in TILES.items() if size <= most)
    return max(16, triton.next_power_of_2(size)), *held


def _processors(device: torch.device) -> int:
    """Multiprocessors of a GPU; elsewhere as many as make several shares."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2
