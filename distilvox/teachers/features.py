"""What a URI says of a teacher's features, where its layout does not: `?frontend=3dspeaker`, `?window=povey` …"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from distilvox.errors import require, unknown
from distilvox.models.frontend import PRESETS, WINDOWS, FrontEnd, read_fields

BY_WINDOW = {"hamming": "wespeaker", "povey": "3dspeaker"}
"""A window given alone → the preset that has it: nobody is known to take the one with the other's scale."""

FIND_OUT = (
    "who made the file knows; where nobody does, `distilvox teacher URI --corpus … --trials …` compares the EER "
    "under both windows"
)


def said(options: Mapping[str, str], known: FrontEnd | None) -> FrontEnd | None:
    """The front end that a URI gives, or None where it says nothing and nothing is known.

    `frontend` takes a preset whole, all but the gate, which belongs to our own students; each other option sets
    the field of `FrontEnd` with its name. `window` where nothing is known means the preset that has it.

    Args:
        options: from the URI; an empty one is not given.
        known: what the layout itself says, if it does; single fields change it.

    Errors:
        UserError: a preset, a window or a value that is none.
    """
    given = {key: value for key, value in options.items() if value}
    preset = given.pop("frontend", "")
    window = given.get("window", "")
    if preset and preset not in PRESETS:
        raise unknown("front end", preset, PRESETS)
    if window and window not in WINDOWS:
        raise unknown("window of the front end", window, WINDOWS)
    base = dataclasses.replace(PRESETS[preset], gate_db=0.0) if preset else known
    if base is None and window in BY_WINDOW:
        base = PRESETS[BY_WINDOW[window]]
    if base is None:
        require(
            not given,
            "single fields of a front end are given, and not what they belong to",
            got=", ".join(f"{key}={value}" for key, value in given.items()),
            allowed=f"frontend={'|'.join(PRESETS)} beside them, or window={'|'.join(BY_WINDOW)}",
        )
        return None
    if preset and known is not None:  # the rate is the network's, whatever the preset says
        high = base.high * known.sample_rate / base.sample_rate
        base = dataclasses.replace(base, sample_rate=known.sample_rate, high=high)
    return dataclasses.replace(base, **read_fields(given))


def choices(scheme: str, rest: str) -> str:
    """What the URI may say, for a message."""
    shown = {
        "wespeaker": "WeSpeaker's: Hamming window, samples at 16-bit scale",
        "3dspeaker": "3D-Speaker's and FunASR's: Povey window, samples in ±1",
        "sherpa": "what sherpa-onnx computes: Povey, 20 to 7,600 Hz, mirrored edges",
    }
    return "; ".join(f"{scheme}:{rest}?frontend={name} ({shown[name]})" for name in PRESETS)
