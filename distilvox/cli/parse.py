"""From a verb's words to a call of its function; its help from its docstring, examples last."""

from __future__ import annotations

import inspect
import re
import shutil
import textwrap
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Literal, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from distilvox.console import out

MOST_COLUMNS = 100


def call(verb: str, function: Callable[..., None], args: Sequence[str]) -> None:
    """Calls the function with what the words say. Exits with 0 for `--help`, with 2 for words that do not fit."""
    wants_help = bool({"-h", "--help"} & set(args))
    description, examples = explain(function)
    if wants_help:
        out.print(description + "\n", markup=False, highlight=False, soft_wrap=True)
    try:
        tyro.cli(
            function,
            args=args,
            prog=f"distilvox {verb}",
            description="",
            config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
            registry=_REGISTRY,
        )
    except SystemExit as end:
        if wants_help and not end.code and examples:
            out.print("examples:\n" + examples, markup=False, highlight=False, soft_wrap=True)
        raise


def explain(function: Callable[..., None]) -> tuple[str, str]:
    """What a verb's docstring says before its arguments: (description, filled to the terminal; examples)."""
    doc = (inspect.getdoc(function) or "").partition("\nArgs:")[0]
    description, *examples = re.split(r"\nExamples?:\n", doc)
    width = min(shutil.get_terminal_size().columns, MOST_COLUMNS)
    filled = [
        textwrap.fill(" ".join(part.split()), width, break_on_hyphens=False)
        for part in description.strip().split("\n\n")
    ]
    shown = [textwrap.indent(textwrap.dedent(part.rstrip()), "  ") for part in examples]
    return "\n\n".join(filled), "\n".join(shown)


_REGISTRY = ConstructorRegistry()


@_REGISTRY.primitive_rule
def _choice(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """A `Literal` of strings; a wrong one names the nearest, as tables of ours do."""
    choices = get_args(info.type)
    if get_origin(info.type) is not Literal or not all(isinstance(choice, str) for choice in choices):
        return None

    def parse(words: list[str]) -> str:
        if words[0] in choices:
            return words[0]
        near = get_close_matches(words[0], choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{words[0]!r} is none of {', '.join(choices)}{hint}")

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="{" + ",".join(choices) + "}",
        instance_from_str=parse,
        is_instance=lambda value: value in choices,
        str_from_instance=lambda value: [value],
    )
