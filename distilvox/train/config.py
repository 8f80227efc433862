"""Everything that decides a run, as frozen dataclasses: what the user asked for, and nothing derived."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from distilvox.errors import UserError, require, unknown
from distilvox.losses.objective import ObjectiveConfig
from distilvox.views.draws import ViewConfig


def _check_names(config: Any, *names: str) -> None:
    """Refuses a value that is not one of its field's literals: a typo must not train something else."""
    hints = get_type_hints(type(config))
    for name in names:
        if getattr(config, name) not in get_args(hints[name]):
            raise unknown(name, str(getattr(config, name)), get_args(hints[name]))


@dataclass(frozen=True)
class TargetConfig:
    """How the teacher is used.

    Attributes:
        sees: the same `view` as the student (crop, noise and all), or the whole clean `utterance`.
        views: how many views of the corpus the cache holds; epoch e sees view e mod `views`, the student too.
        live: run the teacher on every step. Slow; the reference for the cache, which is still made: the class
            centres are fitted on it.
        centre: remove the mean of the teacher's training embeddings before every cosine: `yes`, `no`, or `auto`,
            which does so for a teacher that brings no class centres of its own (its space was not trained for them).
        head: the class centres: `auto` (the teacher's own, matched by name, else means), `matched`, `fitted`, `means`.
    """

    sees: Literal["view", "utterance"] = "utterance"
    views: int = 5
    live: bool = False
    centre: Literal["auto", "yes", "no"] = "auto"
    head: Literal["auto", "matched", "fitted", "means"] = "auto"

    def __post_init__(self) -> None:
        require(self.views >= 1, "the cache needs at least one view", got=self.views, allowed="1 or more")
        _check_names(self, "sees", "head")


@dataclass(frozen=True)
class TrainConfig:
    """Length, batch, optimiser and the machine.

    Attributes:
        epochs: passes over the corpus.
        batch_size: utterances a step, over all processes together.
        learning_rate: peak of AdamW's schedule: linear warm-up, then half a cosine down to `final_rate` of it.
            Never scaled by the number of processes.
        final_rate: what the learning rate ends at, as a fraction of its peak.
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
    batch_size: int = 32
    learning_rate: float = 1e-3
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
        for name in ("learning_rate", "warmup_epochs", "weight_decay", "max_grad_norm"):
            value = getattr(self, name)
            require(math.isfinite(value), f"{name} must be finite", got=value)
        _check_names(self, "precision")


@dataclass(frozen=True)
class RunConfig:
    """One run, whole.

    Attributes:
        student: a name from `distilvox.models.MODELS`.
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


def full_name(config: Any, name: str) -> str:
    """`epochs` → `train.epochs`: where a field stands, by its name alone or already in full.

    Raises:
        UserError: an unknown name (lists those known) or one that stands in two places.
    """
    parts = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    nested = {part: _names(value) for part, value in parts.items() if dataclasses.is_dataclass(value)}
    part, dot, rest = name.partition(".")
    if (dot and rest in nested.get(part, ())) or (name in parts and name not in nested):
        return name
    places = [f"{p}.{name}" for p, names in nested.items() if name in names]
    if len(places) > 1:
        raise UserError(
            f"the field {name!r} stands in {len(places)} places", got=name, allowed=", ".join(places)
        )
    if not places and name in nested:
        return name
    if not places:
        known = [p for p in parts if p not in nested] + [n for names in nested.values() for n in names]
        raise unknown("field of a run", name, known)
    return places[0]


def replace_fields(config: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a nested frozen config with some fields set, each by its name or by `part.name`.

    >>> replace_fields(RunConfig(), {"epochs": 3, "kd_weight": 0.5}).train.epochs
    3

    Raises:
        UserError: an unknown name (lists those known), one that stands in two places (say which: `part.name`),
            one field set twice, a value of the wrong kind or range.
    """
    found: dict[str, str] = {}
    for name, value in values.items():
        full = full_name(config, name)
        if full in found:
            raise UserError("a field is set twice", got=f"{found[full]} and {name}")
        found[full] = name
        part, dot, rest = full.partition(".")
        inside = getattr(config, part)
        if dot:
            config = dataclasses.replace(
                config, **{part: dataclasses.replace(inside, **{rest: _fitting(inside, rest, value)})}
            )
        elif dataclasses.is_dataclass(inside) and value is not None and type(value) is not type(inside):
            raise UserError(
                f"{name!r} is a table of fields",
                got=repr(value),
                remedy=f"set them one by one: {name}.{_names(inside)[0]}",
            )
        else:
            config = dataclasses.replace(config, **{part: _fitting(config, part, value)})
    return config


def _fitting(config: Any, name: str, value: Any) -> Any:
    """The value, if its field takes it: lists become tuples, whole numbers become floats where floats stand."""
    hint = get_type_hints(type(config))[name]
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind is tuple and isinstance(value, list | tuple):
        item = {float: _number}.get(inner[0])
        many = inner[-1] is Ellipsis or len(value) == len(inner)
        if item is not None and many and all(map(item, value)):
            return tuple(float(v) for v in value)
    elif kind is float and _number(value):
        return float(value)
    elif kind is int and _number(value) and value == int(value):
        return int(value)
    elif kind is Literal or (kind in (bool, str, dict) and isinstance(value, kind)):
        if kind is Literal and value not in inner:
            raise unknown(name, str(value), inner)
        return value
    elif (dataclasses.is_dataclass(value) or value is None) and type(value) in (hint, *inner):
        return value
    old = getattr(config, name)
    raise UserError(
        f"the field {name!r} is of the wrong kind", got=repr(value), allowed=f"a value like {old!r}"
    )


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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
