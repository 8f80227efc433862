"""Batch norm over the batch of all processes, forward and backward: R processes are then one.

Each process reduces its own rows to a count, a mean and a sum of squares around it; these travel, 2 C + 1 numbers a
layer, and merge by Chan's rule in float64, in the order of the ranks: every process ends with the same bits, and shares
may differ in size. Backwards, the two sums over the whole batch that the gradient needs are added up likewise.
Gradients of weight and bias stay each process's own: data parallelism averages them with all others.

Sources: Ioffe and Szegedy, "Batch Normalization", arXiv 1502.03167, §3; Chan, Golub and LeVeque, "Updating Formulae and
a Pairwise Algorithm for Computing Sample Variances", 1979, equation 1.5.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


class Moments(NamedTuple):
    """Of the values of each channel: their number, mean [C] and biased variance [C], in float64."""

    number: float
    mean: Tensor
    variance: Tensor


def merge(counts: Tensor, means: Tensor, variances: Tensor) -> Moments:
    """The moments of all rows from those of R shares.

    Args:
        counts: [R], above 0.
        means, variances: [R, C], the variances biased.
    """
    total = counts.sum()
    weights = (counts / total)[:, None]
    mean = (weights * means).sum(0)
    return Moments(float(total), mean, (weights * (variances + (means - mean) ** 2)).sum(0))


def moments(values: Tensor, group: dist.ProcessGroup | None = None) -> Moments:
    """The moments of `values` [B, C, …] of every process in the group together; each holds at least one row."""
    channels = values.shape[1]
    zeros, ones = values.new_zeros(
        2, channels, dtype=torch.float32
    )  # float32 moments, of bfloat16 values too
    mean, variance = torch.batch_norm_update_stats(values, zeros, ones, 0.0)
    own = torch.cat([mean, variance, mean.new_tensor([values.numel() // channels])]).double()
    every = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(every, own, group=group)
    table = torch.stack(every)
    return merge(table[:, -1], table[:, :channels], table[:, channels:-1])


class _Normalise(torch.autograd.Function):
    """(values − mean) / deviation · weight + bias, by moments that depend on every process's values."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        of: Moments,
        eps: float,
        group: dist.ProcessGroup | None,
    ) -> Tensor:
        mean, variance = of.mean.float(), of.variance.float()
        ctx.save_for_backward(values, weight, mean, variance)
        ctx.others = (of, eps, group, bias is not None)
        return F.batch_norm(values, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, mean, variance = ctx.saved_tensors
        of, eps, group, biased = ctx.others
        grad, through_unit, through_sum = torch.ops.aten.native_batch_norm_backward(
            upstream, values, weight, mean, variance, None, None, False, eps, [True, True, True]
        )  # as if the moments were constants: Σ upstream · unit values is the weight's, Σ upstream the bias's
        sums = torch.stack([through_sum, through_unit]).double()
        dist.all_reduce(sums, group=group)
        inverse = (of.variance + eps).rsqrt()
        slope = -weight.double() * inverse**2 * sums[1] / of.number
        level = -weight.double() * inverse * sums[0] / of.number - slope * of.mean
        shape = (1, -1) + (1,) * (values.ndim - 2)
        grad = grad.addcmul(values, slope.to(grad.dtype).view(shape)).add_(level.to(grad.dtype).view(shape))
        return grad, through_unit, through_sum if biased else None, None, None, None


class SyncNorm(_BatchNorm):
    """A batch norm of any number of dimensions, over all processes while it trains. `synchronised` makes it."""

    group: dist.ProcessGroup | None = None

    def _check_input_dim(self, input: Tensor) -> None:
        """[B, C, …] with any number of dimensions behind."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        of = moments(input.detach(), self.group)
        self._remember(of)
        weight = input.new_ones(input.shape[1], dtype=torch.float32) if self.weight is None else self.weight
        return _Normalise.apply(input, weight, self.bias, of, self.eps, self.group)

    @torch.no_grad()
    def _remember(self, of: Moments) -> None:
        """Moves the running moments, as `nn.BatchNorm1d` does: the variance unbiased."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(of.mean.float(), share)
        self.running_var.lerp_((of.variance * (of.number / max(of.number - 1, 1))).float(), share)


def synchronised(module: nn.Module, group: dist.ProcessGroup | None = None) -> nn.Module:
    """The module with every batch norm in it over all processes of the group; parameters and names stay.

    On CUDA it is torch's `SyncBatchNorm`, whose kernels do the same; elsewhere `SyncNorm`.

    Args:
        module: on its device already; changed in place, unless it is itself a batch norm.
        group: None is all processes.
    """
    if any(tensor.is_cuda for tensor in (*module.parameters(), *module.buffers())):
        return nn.SyncBatchNorm.convert_sync_batchnorm(module, group)
    if isinstance(module, _BatchNorm):
        return _like(module, group)
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm):
                setattr(parent, name, _like(child, group))
    return module


def _like(norm: _BatchNorm, group: dist.ProcessGroup | None) -> SyncNorm:
    made = SyncNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    made.group = group
    made._parameters, made._buffers = norm._parameters, norm._buffers
    return made.train(norm.training)
