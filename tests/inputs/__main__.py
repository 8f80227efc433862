"""`python -m tests.inputs` writes docs/inputs.md from the table."""

from __future__ import annotations

from pathlib import Path

from tests.inputs.page import page

PAGE = Path(__file__).parents[2] / "docs" / "inputs.md"

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
