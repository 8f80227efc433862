"""The whole method in one file: what distilvox does, in plain NumPy, without anything that makes it fast.

A teacher has embedded the training utterances. A student (here one matrix, W) learns to tell their speakers apart, and
to see the speakers as the teacher sees them: not so much which one it is (TSKD) as how alike all the others are (NSKD).

    total = CE(AAM-softmax) + w(epoch) · (α · TSKD + γ · NSKD)

Letters: B utterances, C speakers, D the student's embedding size, E the teacher's; y the target speaker of each.
Every loss is [B]; its gradient by the logits [B, C] stands beside it.

Sources: Truong et al., arXiv 2309.14838 (the method); Deng et al., arXiv 1801.07698 (the margin); Zhao et al.,
arXiv 2203.08679 (KL = TSKD + (1 − p_y) · NSKD).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Array = np.ndarray


# ---- scores: cosines to class centres ----------------------------------------------------------------------------


def unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def through_unit(grad: Array, vectors: Array) -> Array:
    """From the gradient by unit vectors, that by the vectors: what would only lengthen them falls away."""
    u = unit(vectors)
    return (grad - u * (u * grad).sum(1, keepdims=True)) / np.linalg.norm(vectors, axis=1, keepdims=True)


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def one_hot(y: Array, classes: int) -> Array:
    return np.eye(classes)[y]


# ---- the cross entropy, made harder by a margin ------------------------------------------------------------------


def with_margin(cosines: Array, y: Array, margin: float) -> tuple[Array, Array]:
    """The target's angle θ grows by the margin; behind π − margin a straight line goes on. Also d out / d cosine."""
    target = one_hot(y, cosines.shape[1]).astype(bool)
    angle = np.arccos(np.clip(cosines, -1, 1))
    near = angle < np.pi - margin
    moved = np.where(near, np.cos(angle + margin), cosines - (1 - np.cos(margin)))
    slope = np.where(near, np.sin(angle + margin) / np.maximum(np.sin(angle), 1e-12), 1.0)
    return np.where(target, moved, cosines), np.where(target, slope, 1.0)


def cross_entropy(logits: Array, y: Array) -> tuple[Array, Array]:
    q = softmax(logits)
    return -np.log(q[np.arange(len(y)), y]), q - one_hot(y, q.shape[1])


# ---- the two parts of distillation -------------------------------------------------------------------------------


def tskd(z: Array, t: Array, y: Array) -> tuple[Array, Array]:
    """How sure of the target: KL between (p_y, 1 − p_y) of the teacher and (q_y, 1 − q_y) of the student."""
    rows = np.arange(len(y))
    q, p = softmax(z), softmax(t)[rows, y]
    q_y = q[rows, y]
    loss = p * np.log(p / q_y) + (1 - p) * np.log((1 - p) / (1 - q_y))
    return loss, ((q_y - p) / (1 - q_y))[:, None] * (one_hot(y, q.shape[1]) - q)


def nskd(z: Array, t: Array, y: Array) -> tuple[Array, Array]:
    """How alike the others are: KL between the softmaxes over the C − 1 speakers that are not the target."""
    target = one_hot(y, z.shape[1]).astype(bool)
    q, p = (softmax(np.where(target, -np.inf, logits)) for logits in (z, t))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(target, 0.0, p * (np.log(p) - np.log(q)))
    return terms.sum(1), q - p


def kld(z: Array, t: Array) -> Array:
    """Conventional distillation, one KL over all speakers: the sum of both parts, the second times 1 − p_y.

    A teacher that is sure of the target, p_y near 1, switches NSKD off: that is what the method undoes.
    """
    p, q = softmax(t), softmax(z)
    return (p * (np.log(p) - np.log(q))).sum(1)


# ---- the objective, and how it reaches what is trained -----------------------------------------------------------


class Settings(NamedTuple):
    """Numbers of the objective; `warmup` in epochs, for the margin and for the weight of distillation alike."""

    scale: float = 32.0
    margin: float = 0.2
    kd_scale: float = 16.0
    kd_weight: float = 4.0
    alpha: float = 1.0
    gamma: float = 1.0
    warmup: float = 1.0


class Weights(NamedTuple):
    """What is trained: the student W [F, D], its class centres [C, D], and P [E, D] into the teacher's space."""

    student: Array
    centres: Array
    projection: Array


class Found(NamedTuple):
    total: float
    ce: float
    tskd: float
    nskd: float
    gradients: Weights


def objective(
    weights: Weights,
    features: Array,
    y: Array,
    teacher: Array,
    teacher_centres: Array,
    epoch: float,
    now: Settings,
) -> Found:
    """One batch: the loss and its gradients.

    Args:
        features: [B, F], what the student hears.
        teacher: [B, E], the teacher's embeddings of the same utterances.
        teacher_centres: [C, E], its class centres of the training speakers; frozen, as the teacher is.
        epoch: epochs done, fractions count.
    """
    ramp = min(1.0, epoch / now.warmup) if now.warmup else 1.0
    embeddings = features @ weights.student
    projected = embeddings @ weights.projection.T
    own, guides = unit(weights.centres), unit(teacher_centres)

    # Tell the speakers apart, by the student's own class centres.
    cosines, slope = with_margin(unit(embeddings) @ own.T, y, ramp * now.margin)
    ce, by_x = cross_entropy(now.scale * cosines, y)
    by_cosines = now.scale * slope * by_x / len(y)

    # See them as the teacher does, by the teacher's class centres.
    z = now.kd_scale * unit(projected) @ guides.T
    t = now.kd_scale * unit(teacher) @ guides.T
    target, by_target = tskd(z, t, y)
    others, by_others = nskd(z, t, y)
    weight = ramp * now.kd_weight
    by_z = now.kd_scale * weight * (now.alpha * by_target + now.gamma * by_others) / len(y)

    total = ce.mean() + weight * (now.alpha * target.mean() + now.gamma * others.mean())
    by_projected = through_unit(by_z @ guides, projected)
    by_embeddings = through_unit(by_cosines @ own, embeddings) + by_projected @ weights.projection
    gradients = Weights(
        student=features.T @ by_embeddings,
        centres=through_unit(by_cosines.T @ unit(embeddings), weights.centres),
        projection=by_projected.T @ embeddings,
    )
    return Found(float(total), float(ce.mean()), float(target.mean()), float(others.mean()), gradients)


# ---- training ----------------------------------------------------------------------------------------------------


def train(
    weights: Weights, features: Array, y: Array, teacher: Array, teacher_centres: Array, *,
    epochs: int, batch: int, rate: float, now: Settings = Settings(),  # noqa: B008 (a tuple)
) -> tuple[Weights, list[Found]]:  # fmt: skip
    """Gradient descent over whole batches, in order; the weights at its end, and what every step found."""
    steps, log = len(y) // batch, []
    for step in range(epochs * steps):
        rows = slice(step % steps * batch, (step % steps + 1) * batch)
        found = objective(weights, features[rows], y[rows], teacher[rows], teacher_centres, step / steps, now)
        weights = Weights(*(w - rate * g for w, g in zip(weights, found.gradients, strict=True)))
        log.append(found)
    return weights, log


def class_means(teacher: Array, y: Array, classes: int) -> Array:
    """The teacher's class centres where it brings none: the mean direction of each speaker's utterances."""
    return unit(one_hot(y, classes).T @ unit(teacher))
