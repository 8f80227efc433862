"""Label-level knowledge distillation, whole and in its two parts: target and non-target speakers.

Letters: z and t are the student's and the teacher's logits over the temperature τ, q and p their
softmax, y the target speaker. Each loss is a Kullback-Leibler divergence KL(teacher || student):

    label_kd       over all C speakers
    target_kd      between (p_y, 1 − p_y) and (q_y, 1 − q_y)
    non_target_kd  over the other C − 1 speakers, renormalised

and label_kd = target_kd + (1 − p_y) · non_target_kd: a confident teacher, p_y near 1, switches the
non-target part off. Taken alone, it counts fully.

All three return [B], carry the factor τ² (so that gradients keep their size as τ grows), stay in log
space in float32 (float64 for float64), and send no gradient to the teacher, whose logits they detach.

Source: Truong et al., *Emphasized Non-Target Speaker Knowledge in Knowledge Distillation for Automatic
Speaker Verification*, arXiv 2309.14838, section 2; the decomposition is from Zhao et al., *Decoupled
Knowledge Distillation*, arXiv 2203.08679, section 3.1.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from distilvox.losses.checks import Number, check_classification, check_pair, check_range, precise


def target_kd(
    student_logits: Float[Tensor, "B C"],
    teacher_logits: Float[Tensor, "B C"],
    labels: Int[Tensor, " B"],
    *,
    temperature: Number = 1.0,
) -> Float[Tensor, " B"]:
    """TSKD: how differently student and teacher believe in the target speaker against all others.

    Args:
        student_logits: scaled cosines, any finite range. −inf is a speaker of probability 0.
        teacher_logits: the same speakers in the same order.
        labels: the target speakers, in [0, C), C >= 2.
        temperature: τ > 0.
    """
    z, t = prepare(student_logits, teacher_logits, labels, temperature)
    return temperature**2 * divergence(_target_or_not(t, labels), _target_or_not(z, labels))


def non_target_kd(
    student_logits: Float[Tensor, "B C"],
    teacher_logits: Float[Tensor, "B C"],
    labels: Int[Tensor, " B"],
    *,
    temperature: Number = 1.0,
) -> Float[Tensor, " B"]:
    """NSKD: how differently student and teacher compare the other speakers with one another.

    The target logits, the student's and the teacher's, have no influence. 0 for C = 2.
    Arguments as in `target_kd`.
    """
    z, t = prepare(student_logits, teacher_logits, labels, temperature)
    log_q = F.log_softmax(without_target(z, labels), dim=1)
    log_p = F.log_softmax(without_target(t, labels), dim=1)
    return temperature**2 * divergence(log_p, log_q)


def label_kd(
    student_logits: Float[Tensor, "B C"],
    teacher_logits: Float[Tensor, "B C"],
    labels: Int[Tensor, " B"],
    *,
    temperature: Number = 1.0,
) -> Float[Tensor, " B"]:
    """KLD, conventional label-level KD (Hinton et al., arXiv 1503.02531): KL over all C speakers.

    Arguments as in `target_kd`; the labels are checked but have no influence.
    """
    z, t = prepare(student_logits, teacher_logits, labels, temperature)
    return temperature**2 * divergence(F.log_softmax(t, dim=1), F.log_softmax(z, dim=1))


def prepare(student: Tensor, teacher: Tensor, labels: Tensor, temperature: Number) -> tuple[Tensor, Tensor]:
    """Checks the arguments; z and t in float32 or better, t without gradient."""
    check_pair("the logits", student, teacher)
    check_classification(student, labels)
    check_range("temperature", temperature, 0, math.inf)
    return precise(student) / temperature, precise(teacher.detach()) / temperature


def without_target(logits: Float[Tensor, "B C"], labels: Int[Tensor, " B"]) -> Float[Tensor, "B C"]:
    """A copy in which the target speaker has probability 0."""
    return logits.scatter(1, labels.long()[:, None], -math.inf)


def _target_or_not(logits: Float[Tensor, "B C"], labels: Int[Tensor, " B"]) -> Float[Tensor, "B 2"]:
    """log q_y and log(1 − q_y), both to full relative precision however sure the model is.

    From the log odds a = z_y − log Σ_{i≠y} exp z_i they are log σ(a) and log σ(−a). Neither a softmax
    rounded to 1 nor the difference of two nearly equal log-sum-exps comes in between.
    """
    target = logits.gather(1, labels.long()[:, None]).squeeze(1)
    odds = target - without_target(logits, labels).logsumexp(dim=1)
    return F.logsigmoid(torch.stack([odds, -odds], dim=1))


def divergence(log_p: Float[Tensor, "B K"], log_q: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
    """KL(p || q) of each row, in which p = 0 contributes exactly 0, and gradient 0, even where q = 0."""
    p = log_p.exp()
    return (p * torch.where(p > 0, log_p - log_q, 0)).sum(dim=1)
