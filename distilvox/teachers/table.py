"""The one table of teacher URIs: `scheme:rest` → a loaded, frozen teacher."""

from __future__ import annotations

from collections.abc import Callable

import torch

from distilvox.errors import UserError, unknown
from distilvox.teachers import ge2e, run
from distilvox.teachers.base import Teacher, freeze

SCHEMES: dict[str, Callable[[str], Teacher]] = {
    "ge2e": ge2e.load,  # ge2e: (installed resemblyzer) or ge2e:FILE (its .pt or its wheel)
    "run": run.load,  # run:FOLDER, a model trained by distilvox
}


def load(uri: str, *, device: torch.device | str = "cpu") -> Teacher:
    """Loads a teacher: frozen, in evaluation mode, on `device`.

    Args:
        uri: `scheme:rest`, for instance `ge2e:` or `run:runs/teacher`.
        device: where it runs.

    Errors:
        UserError if the scheme is unknown or missing, or if what it names cannot be loaded.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon:
        known = ", ".join(f"{name}:…" for name in SCHEMES)
        raise UserError(
            "a teacher is given as scheme:rest", got=repr(uri), allowed=known, remedy=f"perhaps run:{uri}"
        )
    if scheme not in SCHEMES:
        raise unknown("kind of teacher", scheme, SCHEMES)
    return freeze(SCHEMES[scheme](rest), device)
