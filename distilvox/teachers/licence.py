"""The licence of a teacher's weights, as far as what they came with says."""

from __future__ import annotations

from pathlib import Path

import yaml

CARD = "README.md"
UNSAID = ("", "other", "unknown")


def of_folder(folder: Path) -> str | None:
    """What the head of a model card says: YAML between two lines of `---` at the top of README.md.

    A licence that is "other" there has its name under `license_name`. None where nothing is said, or what is
    said cannot be read.
    """
    path = folder / CARD
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if lines[:1] != ["---"] or "---" not in lines[1:]:
        return None
    try:
        head = yaml.safe_load("\n".join(lines[1 : lines.index("---", 1)]))
    except yaml.YAMLError:
        return None
    if not isinstance(head, dict):
        return None
    for key in ("license", "license_name"):
        name = head.get(key)
        if isinstance(name, str) and name.strip().lower() not in UNSAID:
            return " ".join(name.split())[:80]
    return None
