"""A checksum of itself in a table of JSON: one changed digit is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distilvox.errors import require

SEAL = "sha256"
"""The key of the checksum; what is sealed has none of that name at its top."""


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The table with its checksum in it.

    >>> sorted(sealed({"threshold": 0.5}))
    ['sha256', 'threshold']
    """
    return {**content, SEAL: checksum(content)}


def checksum(content: Mapping[str, Any]) -> str:
    """sha256 (hex) of the table but for its seal, in canonical form: keys in order, no space, numbers as Python writes
    them back to the same bits."""
    plain = {key: value for key, value in content.items() if key != SEAL}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def check_seal(content: Mapping[str, Any], *, noun: str, path: Path | str, remedy: str) -> None:
    """Refuses a table without a checksum of itself, or with that of another.

    Raises:
        UserError: what was read is not what was written.
    """
    measured, stated = checksum(content), content.get(SEAL)
    require(
        stated == measured,
        f"this {noun} is damaged or altered since it was written: {path}",
        got=f"sha256 {measured} of what it says",
        allowed=f"sha256 {stated}, stated in it" if stated else "a sha256 in it: there is none",
        remedy=remedy,
    )
