"""docs/faults.md is what the table says, and every row's test exists."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.faults.__main__ import PAGE
from tests.faults.page import page
from tests.faults.table import FAULTS, Fault

TESTS = Path(__file__).parents[1]


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.faults"


@pytest.mark.parametrize("row", FAULTS, ids=lambda row: row.kind)
def test_every_fault_is_caused_by_a_test(row: Fault) -> None:
    file, _, name = row.test.partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_no_kind_stands_twice() -> None:
    kinds = [row.kind for row in FAULTS]
    assert len(set(kinds)) == len(kinds)
