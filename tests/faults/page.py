"""The table of faults as docs/faults.md."""

from __future__ import annotations

from tests.faults.table import FAULTS, Fault

HEAD = """\
# What can go wrong, and what is never lost

Each row is caused on purpose by the test named in it, which looks for these words in the message that it gets and for
what is kept afterwards. Written by `python -m tests.faults` from `tests/faults/table.py`.

Exit codes: 2 for input that is not usable, 1 for work that could not be completed, 143 after SIGTERM, 130 after Ctrl-C.
"""


def page() -> str:
    """The page, whole."""
    return HEAD + "".join(_section(row) for row in FAULTS)


def _section(row: Fault) -> str:
    lines = [f"\n## {row.kind[0].upper()}{row.kind[1:]}\n", row.happens, ""]
    if row.sees:
        ends = "" if row.exits is None else f" Exit code {row.exits}."
        lines += [f"- The user sees: `{row.sees.strip()}` …{ends}"]
    elif row.exits is not None:
        lines += [f"- Exit code {row.exits}."]
    lines += [f"- Kept: {row.kept}", f"- Caused by: `tests/{row.test}`", ""]
    return "\n".join(lines)
