"""Fields of nested frozen configurations by name: read, set, compared. A typo is an error that says what is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from distilvox.errors import UserError, unknown

QUALIFIED = frozenset({"finetune", "subset"})
"""Parts whose fields go by `part.name` alone: they repeat names of other parts, which keep the bare ones."""


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
    """`epochs` → `train.epochs`: where a field stands, by its name alone (`QUALIFIED` aside) or already in full.

    Raises:
        UserError: an unknown name (lists those known) or one that stands in two places.
    """
    parts = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    nested = {part: _names(value) for part, value in parts.items() if dataclasses.is_dataclass(value)}
    part, dot, rest = name.partition(".")
    if (dot and rest in nested.get(part, ())) or (name in parts and name not in nested):
        return name
    bare = {part: names for part, names in nested.items() if part not in QUALIFIED}
    places = [f"{p}.{name}" for p, names in bare.items() if name in names]
    if len(places) > 1:
        raise UserError(
            f"the field {name!r} stands in {len(places)} places", got=name, allowed=", ".join(places)
        )
    if not places and name in nested:
        return name
    if not places:
        known = [p for p in parts if p not in nested] + [n for names in bare.values() for n in names]
        known += [f"{p}.{n}" for p in nested.keys() - bare.keys() for n in nested[p]]
        raise unknown("field of a run", name, known)
    return places[0]


def replace_fields(config: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a nested frozen config with some fields set, each by its name or by `part.name`.

    >>> from distilvox.train.config import RunConfig
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
        many = inner[-1] is Ellipsis or len(value) == len(inner)
        if many and inner[0] is float and all(map(_number, value)):
            return tuple(float(v) for v in value)
        if many and inner[0] is str and all(isinstance(v, str) for v in value):
            return tuple(value)
    elif kind is float and _number(value):
        return float(value)
    elif kind is int and _number(value) and value == int(value):
        return int(value)
    elif kind is dict and isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return value
    elif kind is Literal or (kind in (bool, str) and isinstance(value, kind)):
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
    """A finite number that 64 bits hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 2**63


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
