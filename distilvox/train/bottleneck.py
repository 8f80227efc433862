"""What the timed parts of a step mean: which of them training waits for, what to do about it, how long it will take."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

AHEAD = ("reading", "augmenting")
"""Parts that a thread does for later steps while the others run."""

STUDENT = ("front end", "student forward", "student backward")
VOXCELEB2, EPOCHS = 1_092_009, 150

ADVICE: dict[str, str] = {
    "reading": "a faster disk, or a GPU with three times the corpus in free memory: it is copied there whole",
    "augmenting": "train on a GPU, where it is done in batch; or draw fewer rooms and speeds, which cost the most",
    "front end": "train on a GPU; on a CPU it is a real part of a small student's step",
    "teacher": "leave --targets.live out: its embeddings are then computed once and looked up",
    "student": "nothing: this is what you pay for. A smaller student, bf16 or a faster device make it shorter",
    "loss": "an objective without the teacher's logits (cosine), or fewer classes: no --views.speed-is-new-speaker",
    "communication": "larger batches for each process, or a faster network between them",
    "optimiser": "larger batches: its time does not depend on them",
}
"""Part → what makes it shorter."""


@dataclass(frozen=True)
class Profile:
    """Where the time of a training step goes.

    Attributes:
        student, device, precision, objective: what was timed.
        processes, batch_size: over all processes together.
        utterances, speakers: of the corpus; speakers at other speeds count.
        crops_from, teacher_from: where crops and the teacher's embeddings came from, in words.
        steps: timed, after a warm-up.
        parts: seconds, the median of each part timed alone, in the order of a step.
        live_teacher: seconds in which the teacher itself embeds the batch, whatever the step uses; None without one.
        step: seconds of a whole step as training takes it, batches made ahead and nothing waited for: a median.
    """

    student: str
    device: str
    precision: str
    objective: str
    processes: int
    batch_size: int
    utterances: int
    speakers: int
    crops_from: str
    teacher_from: str
    steps: int
    parts: dict[str, float]
    live_teacher: float | None
    step: float

    @property
    def held_up(self) -> float:
        """Seconds of a step that its own parts do not explain: it waits for its batch, or shares the processor."""
        return max(0.0, self.step - sum(s for name, s in self.parts.items() if name not in AHEAD))

    @property
    def bottleneck(self) -> str:
        """The part that costs a step the most: a key of `ADVICE`."""
        costs = {name: s for name, s in self.parts.items() if name not in AHEAD}
        costs["student"] = costs.pop("student forward") + costs.pop("student backward")
        costs[max(AHEAD, key=lambda name: self.parts[name])] = self.held_up
        return max(costs, key=lambda name: costs[name])

    @property
    def utilisation(self) -> float:
        """Share of the step in the student itself, its front end included."""
        return sum(self.parts[name] for name in STUDENT) / self.step

    @property
    def crops_per_second(self) -> float:
        return self.batch_size / self.step

    def hours(self, utterances: int, epochs: int = 1) -> float:
        """What so many utterances would take at this rate."""
        return utterances * epochs / self.crops_per_second / 3600

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "sum_of_parts": sum(self.parts.values()),
            "held_up": self.held_up,
            "bottleneck": self.bottleneck,
            "advice": ADVICE[self.bottleneck],
            "utilisation": self.utilisation,
            "crops_per_second": self.crops_per_second,
            "epoch_hours": self.hours(self.utterances),
            "voxceleb2_hours": self.hours(VOXCELEB2, EPOCHS),
        }

    def render(self) -> Group:
        """For people: the parts, the verdict, the hours."""
        table = Table(box=None, pad_edge=False)
        for title in ("part", "ms a step", "of a step"):
            table.add_column(title, justify="left" if title == "part" else "right")
        for name, seconds in self.parts.items():
            ahead = " (made ahead, in a thread)" if name in AHEAD else ""
            table.add_row(name + ahead, f"{1e3 * seconds:,.1f}", f"{seconds / self.step:.0%}")
        table.add_section()
        total = sum(self.parts.values())
        table.add_row("one after another", f"{1e3 * total:,.1f}", f"{total / self.step:.0%}")
        table.add_row("a step in training", f"{1e3 * self.step:,.1f}", "100%", style="bold")
        several = f", {self.processes} processes" if self.processes > 1 else ""
        lines = [
            f"{self.student}, {self.objective}, batch {self.batch_size}, {self.speakers:,} speakers, "
            f"{self.device} {self.precision}{several}; medians of {self.steps} steps",
            self.crops_from
            + (f"; the teacher's embeddings from {self.teacher_from}" if self.teacher_from else ""),
        ]
        after = [f"bottleneck: {self.bottleneck}. What helps: {ADVICE[self.bottleneck]}."]
        after.append(
            f"{self.utilisation:.0%} of a step is the student's; {1e3 * self.held_up:,.1f} ms of it wait for the next "
            "batch or share the processor with its making."
        )
        if self.live_teacher is not None:
            after.append(f"The teacher itself takes {1e3 * self.live_teacher:,.1f} ms for such a batch.")
        after.append(
            f"{self.crops_per_second:,.0f} crops a second: {self.hours(self.utterances):,.2f} hours an epoch of this "
            f"corpus; {self.hours(VOXCELEB2, EPOCHS):,.0f} hours for VoxCeleb2 ({VOXCELEB2:,} utterances, {EPOCHS} "
            "epochs), if its speakers cost no more than these."
        )
        return Group(*map(Text, lines), Text(), table, Text(), *map(Text, after))
