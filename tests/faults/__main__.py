"""`python -m tests.faults` writes docs/faults.md from the table."""

from __future__ import annotations

from pathlib import Path

from tests.faults.page import page

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
