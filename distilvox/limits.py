"""The most that may be asked for: a number for everything that could bring a machine down, and a way to raise it."""

from __future__ import annotations

import os

from distilvox.errors import UserError, require

LIMITS: dict[str, tuple[float, str]] = {
    "threads": (1024, "threads"),
    "jobs": (1024, "processes"),
    "epochs": (100_000, "epochs"),
    "batch_size": (1_000_000, "utterances"),
    "view_seconds": (600, "seconds of a crop"),
    "layer_size": (65_536, "channels or dimensions of a layer"),
    "study_runs": (10_000, "runs of one study"),
}
"""What is limited → the most, and of what. `DISTILVOX_MOST_THREADS=4096` in the environment raises the first."""

SEEDS = 2**63
"""Seeds are below this: every library takes them, and JSON keeps every digit."""


def limit(name: str) -> float:
    """The most of what is limited, as the environment raises or lowers it."""
    number, _ = LIMITS[name]
    stated = os.environ.get(_variable(name))
    if stated is None:
        return number
    try:
        return float(stated)
    except ValueError:
        raise UserError(f"the limit {_variable(name)} is no number", got=repr(stated)) from None


def check_limit(name: str, value: float, *, what: str) -> None:
    """Refuses a value above the limit; `what` names the option or the field.

    >>> check_limit("threads", 8, what="--threads")
    """
    most, (_, unit) = limit(name), LIMITS[name]
    require(
        value <= most,
        f"{what} is more than any machine should be asked for",
        got=f"{value:,}",
        allowed=f"up to {most:,g} {unit}",
        remedy=f"if it is meant, set {_variable(name)}={value} in the environment",
    )


def check_seed(value: int, *, what: str) -> None:
    """Refuses a seed that is negative or beyond what every library takes."""
    require(0 <= value < SEEDS, f"{what} is out of range", got=value, allowed="0 to 2**63 - 1")


def _variable(name: str) -> str:
    return f"DISTILVOX_MOST_{name.upper()}"
