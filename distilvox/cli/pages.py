"""`python -m distilvox.cli.pages > docs/cli.md`: the help of every verb on one page."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress

from distilvox.cli import VERBS, main

COMMAND = "python -m distilvox.cli.pages > docs/cli.md"
COLUMNS = 80
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def page() -> str:
    """The whole of docs/cli.md: one section a verb, in the order of `VERBS`."""
    verbs = "\n".join(f"- [`{verb}`](#{verb}): {line}" for verb, (_, line) in VERBS.items())
    sections = [f"## {verb}\n\n{_block(help_of(verb))}" for verb in VERBS]
    head = f"<!-- Generated: do not edit. To write it anew: {COMMAND} -->\n\n# The command line\n\n"
    return head + _block(help_of()) + "\n\n" + "\n\n".join([verbs, *sections]) + "\n"


def help_of(*verb: str) -> str:
    """What `distilvox [VERB] --help` prints on 80 columns, without colour."""
    with _columns(COLUMNS), redirect_stdout(io.StringIO()) as shown, suppress(SystemExit):
        main([*verb, "--help"])
    lines = _ANSI.sub("", shown.getvalue()).splitlines()
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def _block(text: str) -> str:
    return f"```text\n{text}\n```"


@contextmanager
def _columns(count: int) -> Iterator[None]:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201 (the page is the output)
