"""Errors that a user can act on: what is wrong, what was got, what is allowed, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class UserError(Exception):
    """A problem the user can mend. The command line prints it without a traceback.

    Args:
        what: one sentence that says what is wrong.
        got: the value received, shown as it is.
        allowed: the legal values or range.
        remedy: what to do about it.
        exit_code: what the command line exits with: 2 for wrong input or usage (default),
            1 where the input was understood but the work could not be completed.
    """

    def __init__(
        self,
        what: str,
        *,
        got: object = None,
        allowed: str | None = None,
        remedy: str | None = None,
        exit_code: int = 2,
    ) -> None:
        self.what = what
        self.got = got
        self.allowed = allowed
        self.remedy = remedy
        self.exit_code = exit_code
        lines = [what]
        if got is not None:
            lines.append(f"  got:     {got}")
        if allowed is not None:
            lines.append(f"  allowed: {allowed}")
        if remedy is not None:
            lines.append(f"  remedy:  {remedy}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels between processes whole, whatever arguments a subclass takes; `got` as its text."""
        state = {**vars(self), "got": None if self.got is None else str(self.got)}
        return _restore, (type(self), str(self), state)


def _restore(kind: type[UserError], message: str, state: dict[str, Any]) -> UserError:
    error = kind.__new__(kind, message)
    vars(error).update(state)
    return error


def unknown(noun: str, got: str, known: Iterable[str], *, remedy: str | None = None) -> UserError:
    """The error for a name that is not in a table: lists the known names, suggests the nearest.

    >>> print(unknown("objective", "nksd", ["none", "kld", "nskd"]))
    unknown objective
      got:     'nksd'
      allowed: kld, none, nskd
      remedy:  did you mean 'nskd'?
    """
    names = sorted(known)
    near = difflib.get_close_matches(got, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else remedy
    return UserError(f"unknown {noun}", got=repr(got), allowed=", ".join(names), remedy=hint)


def require(
    condition: bool,
    what: str,
    *,
    got: object = None,
    allowed: str | None = None,
    remedy: str | None = None,
) -> None:
    """Raises a `UserError` unless the condition holds: the check at the door, in one line."""
    if not condition:
        raise UserError(what, got=got, allowed=allowed, remedy=remedy)
