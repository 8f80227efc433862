"""The table of faults: what can happen, what the user sees, what is never lost, and the test that causes it.

A test asks for its row by name (`fault`) and looks for what it `sees` in the message that it caused: so docs/faults.md,
which `python -m tests.faults` writes from here, says what is so.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        kind: its name.
        happens: what can happen.
        sees: words of the message that the user gets.
        exits: the exit code of the verb; None where it goes on.
        kept: what is never lost.
        test: file and function in tests/ that causes it.
    """

    kind: str
    happens: str
    sees: str
    exits: int | None
    kept: str
    test: str


FAULTS = (
    Fault(
        "two at once",
        "A second `pack`, `synth`, `trials`, `train`, `distil`, `import`, `export`, `study`, `demo` or `embed` writes "
        "where one is at work.",
        "another process writes here: ",
        1,
        "All that the first one does: the second touches nothing. The message names its process and since when.",
        "faults/test_two_at_once.py::test_the_second_is_refused",
    ),
    Fault(
        "two at one teacher cache",
        "Two processes begin one teacher cache.",
        "another process writes ",
        None,
        "The second waits and finds the cache whole: no embedding is computed twice.",
        "test_teachers_cache.py::test_the_second_of_two_processes_waits_and_finds_it_whole",
    ),
    Fault(
        "a kill while a file is written",
        "SIGKILL, a crash or a power cut strikes while a file is written.",
        "",
        None,
        "The old file; its unfinished successor goes when a verb next works in that folder.",
        "test_files.py::test_a_sweep_removes_what_the_dead_left_and_nothing_else",
    ),
)


def fault(kind: str) -> Fault:
    """The row of that name."""
    return next(row for row in FAULTS if row.kind == kind)
