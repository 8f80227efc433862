"""Whom a bundle was trained on, without naming anybody: marks that answer for a name, and list none.

A mark is 32 bits of a hash over the bundle's space and a name. Who asks for a name learns whether it was among the
training speakers, as the check of an evaluation needs; names cannot be read out of it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from distilvox.errors import UserError

_BYTES = 4


@dataclass(frozen=True)
class Seen:
    """A set of marks: `name in seen` says whether a speaker was trained on, wrongly so once in 2³² / speakers.

    >>> "anna" in Seen.of(["anna", "bert"], "space"), "carl" in Seen.of(["anna", "bert"], "space")
    (True, False)
    """

    space: str
    marks: frozenset[bytes]

    @classmethod
    def of(cls, names: Iterable[str], space: str) -> Seen:
        return cls(space, frozenset(_mark(name, space) for name in names))

    @classmethod
    def from_text(cls, text: str, space: str) -> Seen:
        """What `to_text` wrote; a UserError if it is damaged."""
        try:
            data = base64.b64decode(text, validate=True)
        except (ValueError, TypeError) as error:
            raise UserError("the card's marks of training speakers are damaged", got=str(error)) from None
        return cls(space, frozenset(data[k : k + _BYTES] for k in range(0, len(data), _BYTES)))

    def to_text(self) -> str:
        """Base64 of the sorted marks: one line of text."""
        return base64.b64encode(b"".join(sorted(self.marks))).decode()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _mark(name, self.space) in self.marks


def _mark(name: str, space: str) -> bytes:
    return hashlib.blake2b(f"{space} {name}".encode(), digest_size=_BYTES).digest()
