"""`scheme:rest?key=value&key=value`: what a teacher's URI says, taken apart in one place.

File names may hold `?`: what exists as a file or folder whole is one, and options begin at the last `?` only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from distilvox.errors import require, unknown


class Parts(NamedTuple):
    """A URI taken apart.

    Attributes:
        scheme: what stands before the colon; empty where there is no colon.
        rest: a path or a name; may be empty.
        options: key → value, in the order given.
    """

    scheme: str
    rest: str
    options: dict[str, str]


def take_apart(uri: str) -> Parts:
    """The parts of one teacher's URI.

    >>> take_apart("onnx:models/what?.onnx?window=povey&mean_norm=no")
    Parts(scheme='onnx', rest='models/what?.onnx', options={'window': 'povey', 'mean_norm': 'no'})
    >>> take_apart("ge2e:")
    Parts(scheme='ge2e', rest='', options={})

    Errors:
        UserError: an option that is not `key=value`, or one that is given twice.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon:
        return Parts("", uri, {})
    path, mark, text = rest.rpartition("?")
    if not mark or Path(rest).exists() or ("=" not in text and not Path(path).exists()):
        return Parts(scheme, rest, {})
    options: dict[str, str] = {}
    for term in text.split("&"):
        key, equals, value = term.partition("=")
        require(
            bool(key and equals and value),
            f"an option of {scheme}: is written key=value",
            got=repr(term),
            allowed=f"{scheme}:{path}?key=value&key=value",
        )
        require(key not in options, f"an option of {scheme}: is given twice", got=uri)
        options[key] = value
    return Parts(scheme, path, options)


def options_of(load: Callable[..., Any]) -> tuple[str, ...]:
    """The options that a scheme takes: the keyword-only parameters of its `load`."""
    parameters = inspect.signature(load).parameters.values()
    return tuple(one.name for one in parameters if one.kind is one.KEYWORD_ONLY)


def check_options(scheme: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuses an option that the scheme does not take; lists those that it takes.

    Errors:
        UserError naming the first.
    """
    taken = tuple(known)
    for key in given:
        if key not in taken:
            raise unknown(f"option of {scheme}:", key, taken)


def yes_or_no(key: str, value: str) -> bool:
    """An option that is a switch.

    Errors:
        UserError if it is none of 1, yes, true, 0, no, false.
    """
    known = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}
    if value.lower() not in known:
        raise unknown(f"value of the option {key}", value, known)
    return known[value.lower()]
