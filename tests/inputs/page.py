"""The tables of inputs as docs/inputs.md."""

from __future__ import annotations

from tests.inputs.lists import TABLES, TRIALS, Text
from tests.inputs.recordings import RECORDINGS, Recording
from tests.inputs.sources import MAKERS, REASONS

HEAD = """\
# What is read, what is rejected, what is noted

Each row is made and read by a test, which looks for these words. Written by `python -m tests.inputs` from the tables
in `tests/inputs/`.

`distilvox pack` names every rejected file in OUT/rejected.tsv and every note in OUT/notes.tsv, and counts both. What it
rejects, `embed`, `verify` and `enrol` refuse, by the same code; noises and rooms are read by it too.
"""


def page() -> str:
    """The page, whole."""
    return (
        HEAD
        + _sources()
        + _section("Recordings", RECORDINGS)
        + _section("Tables (`pack --table`)", TABLES)
        + _section("Trial lists", TRIALS)
    )


def _sources() -> str:
    lines = [f"| {kind} | read | recognised as `{form}` |" for kind, (form, _) in MAKERS.items()]
    lines += [f"| {form}: {kind} | rejected | {words} … |" for kind, (form, _, words) in REASONS.items()]
    return "\n".join(
        ["\n## Sources of `pack`\n", "| given | what becomes of it | words |", "|---|---|---|", *lines, ""]
    )


def _section(title: str, rows: tuple[Recording, ...] | tuple[Text, ...]) -> str:
    lines = [f"\n## {title}\n", "| given | what becomes of it | words |", "|---|---|---|"]
    lines += [f"| {row.kind} | {row.outcome} | {_words(row)} |" for row in rows]
    return "\n".join([*lines, ""])


def _words(row: Recording | Text) -> str:
    return f"{row.words.strip().replace('|', ',')} …" if len(row.words) > 1 else ""
