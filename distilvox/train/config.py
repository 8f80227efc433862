"""Everything that decides a run, as frozen dataclasses: what the user asked for, and nothing derived."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from distilvox.errors import UserError, require, unknown
from distilvox.losses.objective import ObjectiveConfig
from distilvox.views.draws import ViewConfig


@dataclass(frozen=True)
class TargetConfig:
    """How the teacher is used.

    Attributes:
        sees: the same `view` as the student (crop, noise and all), or the whole clean `utterance`.
        views: how many views of the corpus the cache holds; epoch e sees view e mod `views`, the student too.
        live: run the teacher on every step instead of caching. Slow; the reference for the cache.
        centre: remove the mean of the teacher's training embeddings before every cosine.
        head: the teacher's class centres: `auto` (matched by name, else fitted), `matched`, `fitted`, `means`.
    """

    sees: Literal["view", "utterance"] = "utterance"
    views: int = 5
    live: bool = False
    centre: bool = True
    head: Literal["auto", "matched", "fitted", "means"] = "auto"

    def __post_init__(self) -> None:
        require(self.views >= 1, "the cache needs at least one view", got=self.views, allowed="1 or more")


@dataclass(frozen=True)
class TrainConfig:
    """Length, batch, optimiser and the machine.

    Attributes:
        epochs: passes over the corpus.
        batch_size: utterances a step, over all processes together.
        learning_rate: peak of AdamW's schedule: linear warm-up, then half a cosine down to `final_rate` of it.
            Never scaled by the number of processes.
        warmup_epochs: length of the rise.
        weight_decay: on matrices and filters, not on biases and norms.
        max_grad_norm: gradients are clipped to this length.
        seed: of the weights and of the order of utterances (the crops have their own, `views.seed`).
        evaluate_epochs: judge on the trials every so many epochs (and always at the end).
        checkpoint_steps: write a checkpoint every so many steps (and after every epoch).
        precision: of the network; `auto` is bf16 where the processor computes it, else float32.
        threads: CPU threads of torch; 0 leaves torch's own choice.
    """

    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 2e-3
    final_rate: float = 0.01
    warmup_epochs: float = 1.0
    weight_decay: float = 1e-2
    max_grad_norm: float = 5.0
    seed: int = 0
    evaluate_epochs: int = 5
    checkpoint_steps: int = 200
    precision: Literal["auto", "float32", "bf16"] = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "a run needs at least one epoch", got=self.epochs, allowed="1 or more")
        require(
            self.batch_size >= 2,
            "batch normalisation needs a batch",
            got=self.batch_size,
            allowed="2 or more",
        )
        require(
            self.learning_rate > 0,
            "the learning rate must be positive",
            got=self.learning_rate,
            allowed="> 0",
        )
        require(
            0 <= self.final_rate <= 1,
            "the final rate is a fraction of the peak",
            got=self.final_rate,
            allowed="0 to 1",
        )
        require(
            self.warmup_epochs >= 0, "warm-up cannot be negative", got=self.warmup_epochs, allowed="0 or more"
        )
        require(
            self.weight_decay >= 0,
            "weight decay cannot be negative",
            got=self.weight_decay,
            allowed="0 or more",
        )
        require(
            self.max_grad_norm > 0,
            "the gradient bound must be positive",
            got=self.max_grad_norm,
            allowed="> 0",
        )
        require(self.seed >= 0, "a seed is not negative", got=self.seed, allowed="0 or more")
        require(self.evaluate_epochs >= 1, "evaluate every 1 or more epochs", got=self.evaluate_epochs)
        require(self.checkpoint_steps >= 1, "checkpoint every 1 or more steps", got=self.checkpoint_steps)
        require(
            self.threads >= 0,
            "threads cannot be negative",
            got=self.threads,
            allowed="0 (torch's choice) or more",
        )


@dataclass(frozen=True)
class RunConfig:
    """One run, whole: loads again from the run folder's `config.json`.

    Attributes:
        student: a name from `distilvox models`.
        student_options: fields of that student's config that differ from its defaults.
        targets: how the teacher is used; None for plain training.
    """

    student: str = "xvector-s"
    student_options: dict[str, Any] = field(default_factory=dict)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    views: ViewConfig = field(default_factory=ViewConfig)
    targets: TargetConfig | None = field(default_factory=TargetConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


def to_json(config: Any) -> dict[str, Any]:
    """A nested dataclass as plain JSON values; tuples become lists."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return value

    return plain(config)


def replace_fields(config: Any, values: dict[str, Any]) -> Any:
    """A copy of a nested frozen config with some fields set, by name, at whatever depth they stand.

    >>> replace_fields(RunConfig(), {"epochs": 3, "kd_weight": 0.5}).train.epochs
    3

    Raises:
        UserError: an unknown name (lists those known) or one that stands in two places (say which: `part.field`).
    """
    for name, value in values.items():
        config = _replace(config, name, value)
    return config


def _replace(config: Any, name: str, value: Any) -> Any:
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    if name in fields and (value is None or not dataclasses.is_dataclass(fields[name])):
        old = fields[name]
        if isinstance(old, tuple) and isinstance(value, list):
            value = tuple(value)
        if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        return dataclasses.replace(config, **{name: value})
    part, _, rest = name.partition(".")
    if rest and part in fields and dataclasses.is_dataclass(fields[part]):
        return dataclasses.replace(config, **{part: _replace(fields[part], rest, value)})
    parts = [p for p, v in fields.items() if dataclasses.is_dataclass(v) and name in _names(v)]
    if len(parts) > 1:
        allowed = ", ".join(f"{p}.{name}" for p in parts)
        raise UserError(f"the field {name!r} stands in {len(parts)} places", got=name, allowed=allowed)
    if not parts:
        known = [n for n, v in fields.items() if not dataclasses.is_dataclass(v)]
        known += [n for v in fields.values() if dataclasses.is_dataclass(v) for n in _names(v)]
        raise unknown("field of a run", name, known)
    return dataclasses.replace(config, **{parts[0]: _replace(fields[parts[0]], name, value)})


def _names(config: Any) -> list[str]:
    return [f.name for f in dataclasses.fields(config)]


def differences(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted names of the leaves in which two JSON configs differ, in order."""
    found: list[str] = []
    for key in sorted(a.keys() | b.keys()):
        left, right = a.get(key), b.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            found += differences(left, right, f"{prefix}{key}.")
        elif left != right:
            found.append(f"{prefix}{key}")
    return found
