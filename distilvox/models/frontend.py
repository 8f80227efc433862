"""What features a model takes: one frozen record, part of every student and of every teacher with log-mels.

A network is worth nothing without the features that it was trained on, and these differ between toolkits in
ways that no shape shows. So they are a record of their own: in the run's configuration, in the card, in the
metadata of exported graphs, and in the key of a teacher's cache.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from distilvox.errors import UserError, require, unknown

KALDI_FLOOR = float(np.finfo(np.float32).eps)
"""What Kaldi raises mel energies to before the logarithm, at whatever scale its samples have."""

WINDOWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hamming": lambda turn: 0.54 - 0.46 * np.cos(turn),
    "hann": lambda turn: 0.5 - 0.5 * np.cos(turn),
    "povey": lambda turn: (0.5 - 0.5 * np.cos(turn)) ** 0.85,
}
"""Kaldi's windows, over an angle that makes one full turn from the first sample to the last."""


def mel(hertz: Float[np.ndarray, " X"]) -> Float[np.ndarray, " X"]:
    """mel = 1127 ln(1 + hertz / 700)."""
    return 1127.0 * np.log1p(hertz / 700.0)


def mel_matrix(front: FrontEnd) -> Float[np.ndarray, "K F"]:
    """[K, F] float64, K = points / 2: triangles of height 1 whose sides are straight in mel, not in hertz."""
    lowest, highest = mel(np.array([front.low, front.high]))
    edges = np.linspace(lowest, highest, front.mels + 2)
    bins = mel(np.arange(front.points // 2) * front.sample_rate / front.points)[:, None]
    low, peak, high = edges[:-2], edges[1:-1], edges[2:]
    weights = np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak))
    return np.maximum(weights, 0.0)


def check_windows(window: str, sample_rate: int) -> None:
    """Refuses an unknown window, and a sample rate (Hz) at which 25 ms or 10 ms are no whole number of samples."""
    if window not in WINDOWS:
        raise unknown("window of the front end", window, WINDOWS)
    require(
        sample_rate > 0 and sample_rate % 200 == 0,
        "the front end cannot cut 25 ms windows every 10 ms at this sample rate",
        got=sample_rate,
        allowed="a multiple of 200 Hz, such as 8000 or 16000",
    )


@dataclass(frozen=True)
class FrontEnd:
    """Log-mel features as Kaldi computes them, without dither; the defaults are WeSpeaker's.

    Args:
        sample_rate: Hz, a multiple of 200; windows of 25 ms every 10 ms.
        mels: F, triangular filters, equally spaced in mel from `low` to `high`.
        window: a key of `WINDOWS`.
        low, high: Hz, 0 ≤ low < high ≤ half the rate.
        emphasis: what of each sample's predecessor is taken off, 0 … 1.
        scale: of a full-scale sample: 32768 counts 16-bit integers, 1 leaves samples in [-1, 1].
        floor: mel energies are raised to it, at that scale; above 0. At 32768 Kaldi's lies below the noise of
            a 16-bit recording, so digital silence becomes an outlier that no training speech has.
        snip_edges: whole windows only, T = 1 + (N - 400) // 160; else T = (N + 80) // 160, windows centred on
            their shifts and samples beyond the ends mirrored.
        mean_norm: each filter's mean over the frames is taken off, so that gain and any fixed channel drop out.
        gate_db: frames that lie more than this below the utterance's loud ones hold no sound and are
            replaced by the utterance's other frames (`models.gate`); 0 keeps all.
    """

    sample_rate: int = 16_000
    mels: int = 80
    window: str = "hamming"
    low: float = 20.0
    high: float = 8_000.0
    emphasis: float = 0.97
    scale: float = 32768.0
    floor: float = KALDI_FLOOR
    snip_edges: bool = True
    mean_norm: bool = True
    gate_db: float = 0.0

    def __post_init__(self) -> None:
        check_windows(self.window, self.sample_rate)
        require(
            0 <= self.low < self.high <= self.sample_rate / 2,
            "the mel filters of the front end must lie between 0 Hz and half the sample rate",
            got=f"{self.low:g} to {self.high:g} Hz",
            allowed=f"0 <= low < high <= {self.sample_rate / 2:g}",
        )
        for name, least, most in (
            ("emphasis", 0, 1), ("scale", 1e-6, 1e6), ("floor", 1e-30, 1e6), ("gate_db", 0, 200)
        ):  # fmt: skip
            value = getattr(self, name)
            require(
                least <= value <= most,
                f"bad {name} of the front end",
                got=value,
                allowed=f"{least:g} … {most:g}",
            )
        weights = mel_matrix(self) if self.mels > 0 else np.zeros((1, 1))
        require(
            bool((weights.max(axis=0) > 0).all()),
            "the front end cannot make this many mel filters: some would catch no bin of the spectrum",
            got=self.mels,
            allowed="1 or more; 80 is usual at 16 kHz, 40 at 8 kHz",
        )

    @property
    def samples(self) -> int:
        """Of a window, and of the shortest waveform."""
        return self.sample_rate // 40

    @property
    def shift(self) -> int:
        """Samples between frames."""
        return self.sample_rate // 100

    @property
    def points(self) -> int:
        """Of the Fourier transform; K = points / 2 bins are kept (Nyquist has mel weight 0 or is above `high`)."""
        return 1 << (self.samples - 1).bit_length()

    @property
    def mirrored(self) -> tuple[int, int]:
        """Samples that the edges are continued by, mirrored, in front and behind."""
        if self.snip_edges:
            return 0, 0
        before = (self.samples - self.shift) // 2
        return before, self.samples - self.shift - before + self.shift // 2

    def frames(self, samples: int) -> int:
        """T of an utterance of N samples; 0 where not even one window fits."""
        if samples < self.samples:
            return 0
        return 1 + (samples + sum(self.mirrored) - self.samples) // self.shift

    def taper(self) -> Float[np.ndarray, " W"]:
        """The window times the scale, float64."""
        turn = 2 * np.pi * np.arange(self.samples) / (self.samples - 1)
        return self.scale * WINDOWS[self.window](turn)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str = "the front end") -> FrontEnd:
        """What `to_json` wrote; a field that it does not name is refused, one that is absent has its default.

        Args:
            where: what holds the values, for messages.
        """
        known = {field.name: type(field.default) for field in dataclasses.fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise unknown(f"field of {where}", name, known)
            kind = type(value)
            fits = kind is known[name] or (kind is int and known[name] is float)
            require(
                fits, f"{where}: {name} is of the wrong kind", got=repr(value), allowed=known[name].__name__
            )
        return cls(**values)


GATE_DB = 50.0
"""Between the pauses of clean speech and the quietest of its sounds; which depth costs what: docs/results.md."""

PRESETS: dict[str, FrontEnd] = {
    "sherpa": FrontEnd(window="povey", high=7_600.0, scale=1.0, snip_edges=False, gate_db=GATE_DB),
    "wespeaker": FrontEnd(),
    "3dspeaker": FrontEnd(window="povey", scale=1.0),
}
"""By name: what sherpa-onnx computes by itself (with our gate behind it), WeSpeaker's, 3D-Speaker's."""

DEFAULT = "sherpa"
"""The preset that students are made with unless asked otherwise: what ships then runs in sherpa-onnx as it is."""


def read_frontend(text: str) -> FrontEnd:
    """A preset by name, with any of its fields set anew behind a question mark.

    >>> read_frontend("3dspeaker?mels=40&high=7600").mels
    40

    Raises:
        UserError: no preset of that name, no such field, a value of the wrong kind or range.
    """
    name, _, rest = text.partition("?")
    if name not in PRESETS:
        raise unknown("front end", name, PRESETS)
    terms = [term.partition("=") for term in filter(None, rest.split("&"))]
    return dataclasses.replace(PRESETS[name], **read_fields({field: value for field, _, value in terms}))


def read_fields(texts: Mapping[str, str]) -> dict[str, Any]:
    """Fields of a front end out of text, each of its kind.

    Raises:
        UserError: no such field, or a value that is not of its kind.
    """
    known = {field.name: type(field.default) for field in dataclasses.fields(FrontEnd)}
    for field in texts:
        if field not in known:
            raise unknown("field of a front end", field, known)
    return {field: _read(known[field], text, f"{field} of the front end") for field, text in texts.items()}


def _read(kind: type, text: str, what: str) -> Any:
    """Text as one of the kinds that a field may have."""
    if kind is bool:
        require(text in ("true", "false"), f"bad {what}", got=repr(text), allowed="true or false")
        return text == "true"
    try:
        return kind(text)
    except ValueError:
        raise UserError(f"bad {what}", got=repr(text), allowed=kind.__name__) from None
