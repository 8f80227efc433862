"""What a file from outside must hold, checked whole at the door: a wrong type is an error that names its field."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from distilvox.errors import UserError

Kind = TypeVar("Kind")

Finite = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
"""A number that is neither NaN nor infinite."""

Rate = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]

ANY_KEY = "[...]"


def fitting(kind: type[Kind], value: Any, *, noun: str, path: Path | str, remedy: str | None = None) -> Kind:
    """Plain values of JSON or YAML as the msgspec structure `kind`.

    Args:
        noun: what the file is called in the message.

    Raises:
        UserError: a field is missing or of the wrong type or range (names it in full).
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, _, at = str(error).rpartition(" - at `$")
        field = _named(kind, value, at.rstrip("`")) if what else ""
        raise UserError(
            f"this {noun} is damaged: {path}" + (f", at {field}" if field else ""),
            got=(what or str(error)).replace("`", ""),
            remedy=remedy,
        ) from None


def _named(kind: type, value: Any, at: str) -> str:
    """The field's place with its keys by name, where msgspec says that it is under any key.

    >>> from msgspec import Struct
    >>> class Table(Struct):
    ...     rates: dict[str, float]
    >>> _named(Table, {"rates": {"a": 1.0, "b": "x"}}, ".rates[...]")
    'rates.b'
    """
    steps: list[Any] = []
    for part in re.findall(r"\.?([^.\[]+)|(\[\.\.\.\])|\[(\d+)\]", at):
        name, any_key, number = part
        if not any_key:
            steps.append(int(number) if number else name)
            continue
        table = _at(value, steps)
        alone = (key for key in table if not _fits(kind, _replaced(value, steps, {key: table[key]})))
        steps.append(next(alone, "…"))
    return ".".join(str(step) for step in steps)


def _at(value: Any, steps: list[Any]) -> Any:
    for step in steps:
        value = value[step]
    return value


def _replaced(value: Any, steps: list[Any], new: Any) -> Any:
    """A copy of nested tables and lists in which what stands at `steps` is `new`."""
    if not steps:
        return new
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[steps[0]] = _replaced(value[steps[0]], steps[1:], new)
    return copy


def _fits(kind: type, value: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True
