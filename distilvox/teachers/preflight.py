"""Before training: is this teacher worth learning from, and do its labels fit the corpus?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from distilvox.errors import UserError, require
from distilvox.teachers.advice import SENSIBLE, Baseline, advise, suggest
from distilvox.teachers.heads import FittedHead
from distilvox.teachers.look import judge, look, share
from distilvox.teachers.probe import Probe
from distilvox.teachers.vectors import Units, Vectors
from distilvox.teachers.window import OtherWindow

MOST_EXAMPLES = 20_000


@dataclass(frozen=True)
class Preflight:
    """What was found; rates are fractions.

    Args:
        teacher: its name or URI.
        head: where the class centres came from.
        speakers, examples: C, and how many training views were looked at.
        scale: of the logits behind `target_probability` and `entropy`; no margin.
        accuracy: share of views nearest to their own speaker's centre.
        means_accuracy: the same with class means that leave the utterance itself out, over speakers with
            two utterances or more; None where there is none.
        own_accuracy: `accuracy` over the speakers whose rows are the teacher's own; None without any.
        chance: 1 / C.
        target_probability: mean p_y.
        entropy: mean entropy over the C − 1 non-targets, nats.
        dev_eer, dev_eer_centred: on the dev trials, raw and with the training mean removed.
        trial_list: the name of these trials.
        suggested_scale, suggested_temperature: what would make `target_probability` 0.85: another scale, or a
            temperature at this one; None where nothing does.
        verdicts: reasons not to train; empty if all is well.
        advice: what would make it teach better; trains all the same.
        baseline: a run that it was compared with.
        probe: two views, speed and memory, where they were measured.
        window: how it does under the other window, where it has log-mels of ours and trials were given.
        members: what was found of each teacher of an ensemble.
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
    trial_list: str | None
    suggested_scale: float | None
    suggested_temperature: float | None
    verdicts: tuple[str, ...]
    advice: tuple[str, ...]
    baseline: Baseline | None = None
    probe: Probe | None = None
    window: OtherWindow | None = None
    members: tuple[Preflight, ...] = ()

    def with_members(self, members: Sequence[Preflight]) -> Preflight:
        """Of an ensemble: what is wrong with one of its teachers is wrong with it."""
        theirs = [f"{one.teacher}: {verdict}" for one in members for verdict in one.verdicts]
        return dataclasses.replace(self, members=tuple(members), verdicts=(*self.verdicts, *theirs))

    @property
    def ok(self) -> bool:
        return not self.verdicts

    @property
    def effective_non_targets(self) -> float:
        """How many equally likely non-targets would have that entropy: exp(entropy), 1 to C − 1."""
        return math.exp(self.entropy)

    def to_json(self) -> dict[str, Any]:
        """Every figure, under its name here."""
        plain = dataclasses.asdict(self) | {
            "ok": self.ok,
            "effective_non_targets": self.effective_non_targets,
            "verdicts": list(self.verdicts),
            "advice": list(self.advice),
            "members": [member.to_json() for member in self.members],
        }
        if self.probe is not None:
            plain["probe"]["agreement"] = self.probe.agreement
        return plain

    def render(self) -> Table:
        """A table for people."""
        table = Table("pre-flight", escape(self.teacher), show_edge=False)
        for name, text in (*self._rows(), *self._measured()):
            table.add_row(name, text)
        for member in self.members:
            rates = (
                f"{_percent(member.dev_eer)} EER, {_percent(member.dev_eer_centred)} training mean removed"
            )
            table.add_row(
                f"of these, {escape(member.teacher)}", f"{rates}; accuracy {_percent(member.accuracy)}"
            )
        for verdict in self.verdicts:
            table.add_row("[bold red]verdict[/]", escape(verdict))
        for advice in self.advice:
            table.add_row("[bold yellow]advice[/]", escape(advice))
        return table

    def _rows(self) -> list[tuple[str, str]]:
        """What was found in the embeddings."""
        scale, temperature = self.suggested_scale, self.suggested_temperature
        reached = f"scale {scale:.3g}" if scale else "out of reach: it is right too rarely"
        reached += f", or temperature {temperature:.3g} at scale {self.scale:g}" if temperature else ""
        return [
            (f"EER on {escape(self.trial_list or 'the dev trials')}", _percent(self.dev_eer)),
            ("  training mean removed", _percent(self.dev_eer_centred)),
            ("class centres", escape(self.head.removeprefix("teacher head: "))),
            ("accuracy on training views", f"{_percent(self.accuracy)} (chance {self.chance:.2%})"),
            ("  by means of the other utterances", _percent(self.means_accuracy)),
            (f"mean target probability, scale {self.scale:g}", f"{self.target_probability:.3f}"),
            (f"  for {SENSIBLE:g}", reached),
            (
                "entropy over non-targets",
                f"{self.entropy:.2f} nats, as {self.effective_non_targets:.1f} of {self.speakers - 1}",
            ),
        ]

    def _measured(self) -> list[tuple[str, str]]:
        """What was measured live, and whom it was compared with."""
        rows = []
        if self.probe is not None:
            seen = self.probe
            alike = f"cosine {seen.same:.3f}, of different speakers {seen.different:.3f}"
            rows = [
                ("two views of an utterance", f"{alike}; told apart: {_percent(seen.recognised)}"),
                ("speech embedded in a second", f"{seen.speed:,.1f} s on {escape(seen.device)}"),
                ("memory, at most", f"{seen.memory_bytes / 2**30:.2f} GiB"),
            ]
        if self.window is not None:
            rows.append((f"EER under a {self.window.other} window", _percent(self.window.other_eer)))
        if self.baseline is not None:
            rows.append((f"EER of {escape(self.baseline.name)}", _percent(self.baseline.eer)))
        return rows


def _percent(rate: float | None) -> str:
    return "not known" if rate is None else f"{rate:.2%}"


def preflight(
    teacher: str,
    head: FittedHead,
    embeddings: Vectors,
    labels: Int[Tensor, " U"],
    names: Sequence[str],
    *,
    scale: float,
    utterances: Int[Tensor, " U"] | None = None,
    centre: Float[Tensor, " D"] | None = None,
    dev_eer: float | None = None,
    dev_eer_centred: float | None = None,
    trial_list: str | None = None,
    sizes: Sequence[int] = (),
    baseline: Baseline | None = None,
    probe: Probe | None = None,
    window: OtherWindow | None = None,
) -> Preflight:
    """Looks at a teacher over the training speakers.

    Args:
        teacher: its name or URI, for the table.
        head: class centres [C, D_t] in label order.
        embeddings: [U, D_t] of training views, read a block at a time; above 20,000, evenly spaced ones are looked at.
        labels: [U] in [0, C).
        names: C speaker names.
        scale: of the teacher's logits, above 0.
        utterances: [U] whose view each row is; None: every row is another utterance. Two views of one
            utterance are alike whatever its label, so they may not vouch for each other.
        centre: μ that the head was made with, if any.
        dev_eer, dev_eer_centred: the teacher's own, as fractions, if trials were given.
        trial_list: the name of these trials.
        sizes: of the parts of an ensemble whose probabilities are averaged.
        baseline: a run on the same trials to compare the teacher with.
        probe: what was measured live, if it was.
        window: what the other window gave, if it was tried.
    """
    classes = head.weight.shape[0]
    require(scale > 0, "the scale of the teacher's logits is too small", got=scale, allowed="> 0")
    require(len(embeddings) > 0, "a pre-flight needs embeddings of training views")
    require(classes > 1, "a pre-flight needs at least two speakers", got=classes)
    require(len(names) == classes, "names and class centres differ in number", got=f"{len(names)}, {classes}")
    sources = torch.arange(len(labels)) if utterances is None else utterances
    count = min(len(embeddings), MOST_EXAMPLES)
    rows = torch.linspace(0, len(embeddings) - 1, count, dtype=torch.float64).round().long()
    units, labels = Units(embeddings, centre), labels.long()
    seen = look(head.weight, units, labels, sources, rows, scale, sizes)
    suggestion = suggest(head.weight, units, labels, scale=scale, sizes=sizes)
    is_own = torch.zeros(classes, dtype=torch.bool)
    is_own[list(head.own)] = True
    own = is_own[seen.label]
    right = seen.by_head == seen.label
    best = min((rate for rate in (dev_eer, dev_eer_centred) if rate is not None), default=None)
    probability = float(seen.probability.mean())
    by_means = seen.by_means == seen.label
    advice = advise(
        scale=scale,
        target_probability=probability,
        suggestion=suggestion,
        dev_eer=best,
        baseline=baseline,
        own_accuracy=share(right[own & seen.usable]),
        means_accuracy=share(by_means[own & seen.usable]),
    )
    if window is not None and (sentence := window.advice()):
        advice.append(sentence)
    return Preflight(
        teacher=teacher,
        head=head.how,
        speakers=classes,
        examples=count,
        scale=scale,
        accuracy=share(right) or 0.0,
        means_accuracy=share(by_means[seen.usable]),
        own_accuracy=share(right[own]),
        chance=1 / classes,
        target_probability=probability,
        entropy=float(seen.entropy.mean()),
        dev_eer=dev_eer,
        dev_eer_centred=dev_eer_centred,
        trial_list=trial_list,
        suggested_scale=suggestion.scale,
        suggested_temperature=suggestion.temperature,
        verdicts=tuple(judge(seen, own, names, best, assumed=head.assumed)),
        advice=tuple(advice),
        baseline=baseline,
        probe=probe,
        window=window,
    )


def refuse(preflight: Preflight, force: bool = False) -> list[str]:
    """The verdicts as warnings where `force`, else an error that holds them; nothing if all is well."""
    if preflight.verdicts and not force:
        raise UserError(
            f"pre-flight refuses the teacher {preflight.teacher}",
            got="; ".join(preflight.verdicts),
            remedy="mend the speaker names or choose another teacher; --force trains all the same",
        )
    return list(preflight.verdicts)
