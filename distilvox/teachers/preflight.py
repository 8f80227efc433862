"""Before training: is this teacher worth learning from, and do its labels fit the corpus?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from rich.markup import escape
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from distilvox.errors import UserError, require
from distilvox.evaluation.evaluate import TrialList
from distilvox.evaluation.metrics import eer
from distilvox.evaluation.score import cosine_scores
from distilvox.teachers.heads import FittedHead, centred, training_mean

CHANCE_EER = 0.45
GOOD_EER = 0.35
MOST_EXAMPLES = 20_000
BLOCK = 2048


class DevTrials(NamedTuple):
    """The teacher's embeddings [n, D_t] of `trials.utterances`, in that order, and the trials."""

    embeddings: np.ndarray
    trials: TrialList


@dataclass(frozen=True)
class Preflight:
    """What was found; rates are fractions.

    Args:
        teacher: its name or URI.
        head: where the class centres came from.
        speakers, examples: C, and how many training views were looked at.
        scale: of the logits behind `target_probability` and `entropy`; no margin.
        accuracy: share of views nearest to their own speaker's centre.
        means_accuracy: the same with class means that leave the view itself out, over speakers with two
            views or more; None where there is none.
        own_accuracy: `accuracy` over the speakers whose rows are the teacher's own; None without any.
        chance: 1 / C.
        target_probability: mean p_y.
        entropy: mean entropy over the C − 1 non-targets, nats.
        dev_eer, dev_eer_centred: on the dev trials, raw and with the training mean removed.
        verdicts: reasons not to train; empty if all is well.
    """

    teacher: str
    head: str
    speakers: int
    examples: int
    scale: float
    accuracy: float
    means_accuracy: float | None
    own_accuracy: float | None
    chance: float
    target_probability: float
    entropy: float
    dev_eer: float | None
    dev_eer_centred: float | None
    verdicts: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.verdicts

    @property
    def effective_non_targets(self) -> float:
        """How many equally likely non-targets would have that entropy: exp(entropy), 1 to C − 1."""
        return math.exp(self.entropy)

    def render(self) -> Table:
        """A table for people."""
        table = Table("pre-flight", escape(self.teacher), title=None, show_edge=False)
        rows = [
            ("EER on the dev trials", _percent(self.dev_eer)),
            ("  training mean removed", _percent(self.dev_eer_centred)),
            ("class centres", escape(self.head.removeprefix("teacher head: "))),
            ("accuracy on training views", f"{_percent(self.accuracy)} (chance {self.chance:.2%})"),
            ("  by means of the other views", _percent(self.means_accuracy)),
            (f"mean target probability, scale {self.scale:g}", f"{self.target_probability:.3f}"),
            (
                "entropy over non-targets",
                f"{self.entropy:.2f} nats, as {self.effective_non_targets:.1f} of {self.speakers - 1}",
            ),
            *(("[bold red]verdict[/]", escape(verdict)) for verdict in self.verdicts),
        ]
        for row in rows:
            table.add_row(*row)
        return table


def _percent(rate: float | None) -> str:
    return "not known" if rate is None else f"{rate:.2%}"


def preflight(
    teacher: str,
    head: FittedHead,
    embeddings: Float[Tensor, "U D"],
    labels: Int[Tensor, " U"],
    *,
    scale: float,
    centre: Float[Tensor, " D"] | None = None,
    dev: DevTrials | None = None,
) -> Preflight:
    """Looks at a teacher over the training speakers and, if given, on the dev trials.

    Args:
        teacher: its name or URI, for the table.
        head: class centres [C, D_t] in label order.
        embeddings: [U, D_t] of training views; above 20,000, evenly spaced ones are looked at.
        labels: [U] in [0, C).
        scale: of the teacher's logits, above 0.
        centre: μ that the head was made with, if any.
        dev: the teacher's own dev embeddings and trials.
    """
    classes = head.weight.shape[0]
    labels = labels.long()
    require(scale > 0, "the scale of the teacher's logits is too small", got=scale, allowed="> 0")
    require(len(embeddings) > 0, "a pre-flight needs embeddings of training views")
    require(classes > 1, "a pre-flight needs at least two speakers", got=classes)
    units = centred(embeddings, centre)
    count = min(len(units), MOST_EXAMPLES)
    rows = torch.from_numpy(np.linspace(0, len(units) - 1, count).astype(np.int64))
    seen = _look(head.weight, units, labels, rows, scale)
    right, means_right, usable, probability, entropy = seen
    is_own = torch.zeros(classes, dtype=torch.bool)
    is_own[list(head.own)] = True
    own = is_own[labels[rows]]
    dev_eer, dev_centred = _dev(dev, embeddings)
    return Preflight(
        teacher=teacher,
        head=head.how,
        speakers=classes,
        examples=count,
        scale=scale,
        accuracy=_share(right) or 0.0,
        means_accuracy=_share(means_right[usable]),
        own_accuracy=_share(right[own]),
        chance=1 / classes,
        target_probability=float(probability.mean()),
        entropy=float(entropy.mean()),
        dev_eer=dev_eer,
        dev_eer_centred=dev_centred,
        verdicts=tuple(_judge(right, means_right, usable, own, 1 / classes, dev_eer, dev_centred)),
    )


class _Seen(NamedTuple):
    right: Bool[Tensor, " n"]
    means_right: Bool[Tensor, " n"]
    usable: Bool[Tensor, " n"]
    probability: Float[Tensor, " n"]
    entropy: Float[Tensor, " n"]


def _look(
    weight: Float[Tensor, "C D"],
    units: Float[Tensor, "U D"],
    labels: Int[Tensor, " U"],
    rows: Int[Tensor, " n"],
    scale: float,
) -> _Seen:
    """Per looked-at view: right by the head, right by the other views' means, whether there are such
    views, p_y, and the entropy over non-targets."""
    sums = torch.zeros_like(weight).index_add_(0, labels, units)
    counts = torch.bincount(labels, minlength=len(weight))
    means = F.normalize(sums, dim=-1)
    parts = []
    for block in rows.split(BLOCK):
        unit, label = units[block], labels[block]
        column = label[:, None]
        logits = scale * unit @ weight.T
        non_target = logits.scatter(1, column, -torch.inf)
        log_q = non_target.log_softmax(1)
        by_means = unit @ means.T
        others = F.normalize(sums[label] - unit, dim=-1)
        by_means.scatter_(1, column, (unit * others).sum(1, keepdim=True))
        parts.append(
            _Seen(
                logits.argmax(1) == label,
                by_means.argmax(1) == label,
                counts[label] > 1,
                logits.softmax(1).gather(1, column)[:, 0],
                -(log_q.exp() * log_q.masked_fill(log_q.isinf(), 0)).sum(1),
            )
        )
    return _Seen(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _dev(dev: DevTrials | None, embeddings: Float[Tensor, "U D"]) -> tuple[float | None, float | None]:
    if dev is None:
        return None, None
    units = F.normalize(torch.from_numpy(dev.embeddings).float(), dim=-1).numpy()
    trials, mean = dev.trials, training_mean(embeddings).numpy()
    raw = cosine_scores(units, trials.enrol, trials.test)
    removed = cosine_scores(units, trials.enrol, trials.test, centre=mean)
    return eer(raw, trials.labels), eer(removed, trials.labels)


def _share(right: Bool[Tensor, " n"]) -> float | None:
    return float(right.double().mean()) if len(right) else None


def _beats_chance(right: Bool[Tensor, " n"], chance: float) -> bool:
    """More hits than chance by three standard deviations of the binomial."""
    expected = len(right) * chance
    return float(right.sum()) > expected + 3 * math.sqrt(expected * (1 - chance))


def _judge(
    right: Bool[Tensor, " n"],
    means_right: Bool[Tensor, " n"],
    usable: Bool[Tensor, " n"],
    own: Bool[Tensor, " n"],
    chance: float,
    raw: float | None,
    removed: float | None,
) -> list[str]:
    verdicts = []
    if raw is not None and removed is not None and min(raw, removed) >= CHANCE_EER:
        verdicts.append(f"the teacher is no better than chance: {raw:.1%} EER on the dev trials")
    both = own & usable
    by_rows, by_means = _share(right[both]), _share(means_right[both])
    grouped = _beats_chance(means_right[usable], chance)
    if by_rows is not None and by_means is not None and grouped and by_rows < 0.5 * by_means:
        verdicts.append(
            f"the labels look permuted: the teacher's own rows, matched by name, are right for {by_rows:.1%} "
            f"of the training views, means of its embeddings by label for {by_means:.1%}"
        )
    elif bool((usable | own).any()) and not grouped and not _beats_chance(right[own], chance):
        good = raw is not None and removed is not None and min(raw, removed) < GOOD_EER
        verdicts.append(
            "the labels look permuted: views with one label are no nearer to each other than to the rest, "
            f"though the teacher has {raw:.1%} EER on the dev trials"
            if good
            else "the teacher is no better than chance on the training views (or their labels are permuted)"
        )
    return verdicts


def refuse(preflight: Preflight, *, force: bool) -> list[str]:
    """The verdicts as warnings where `force`, else an error that holds them; nothing if all is well."""
    if preflight.verdicts and not force:
        raise UserError(
            f"pre-flight refuses the teacher {preflight.teacher}",
            got="; ".join(preflight.verdicts),
            remedy="mend the speaker names or choose another teacher; --force trains all the same",
            exit_code=1,
        )
    return list(preflight.verdicts)
