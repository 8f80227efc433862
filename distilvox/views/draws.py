"""Every random choice of a view, drawn from its address (seed, utterance, v) and from nothing else.

A counter-based hash replaces a generator with state, so that workers, ranks, the make-up of a batch
and resuming cannot change a draw, and a view can be cached.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt64

from distilvox.errors import UserError, require, unknown
from distilvox.limits import check_limit

# One stream of numbers for each purpose. A new purpose gets a new number and moves no other's draws.
START, SPEED, NOISE, NOISE_CHOICE, NOISE_START, SNR, ROOM, ROOM_CHOICE, GAIN, ORDER = range(1, 11)
SILENCE, SILENCE_START, SILENCE_LENGTH, SILENCE_LEVEL = range(11, 15)


@dataclass(frozen=True)
class ViewConfig:
    """What may be drawn: by default crops, gain, and a silence in one view of five.

    Noise, rooms and speed make a verifier robust where training is long (Kaldi's recipes use 0.9, 1.0 and 1.1, noise at
    0 to 15 dB). In short trainings on clean speech they cost much; see the lab notebook for how much.

    Args:
        seed: of every random choice about a view, 0 … 2⁶⁴ − 1.
        seconds: length of a view, after the change of speed; above 0.
        speeds: factors, each equally likely, 0.5 … 2; 1.1 is faster and higher in pitch.
        speed_is_new_speaker: a voice at another speed counts as another speaker (C classes for each speed).
        noise_probability: share of the views with a noise mixed in, 0 … 1.
        snr_db: least and greatest signal-to-noise ratio, dB.
        room_probability: share of the views that sound as in a room, 0 … 1.
        gain_db: least and greatest gain, dB.
        silence_probability: share of the views in which a stretch is muted, 0 … 1: a gap, or an end cut off.
        silence_seconds: least and greatest length of that stretch; at most half a view.
        silence_db: least and greatest level of what is heard there, dBFS; below -96, digital zeros.
    """

    seed: int = 0
    seconds: float = 2.0
    speeds: tuple[float, ...] = (1.0,)
    speed_is_new_speaker: bool = False
    noise_probability: float = 0.0
    snr_db: tuple[float, float] = (0.0, 15.0)
    room_probability: float = 0.0
    gain_db: tuple[float, float] = (-6.0, 6.0)
    silence_probability: float = 0.2
    silence_seconds: tuple[float, float] = (0.1, 1.0)
    silence_db: tuple[float, float] = (-120.0, -55.0)

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**64, "bad seed of the views", got=self.seed, allowed="0 to 2**64 - 1")
        require(
            0 < self.seconds < math.inf, "bad length of a view", got=self.seconds, allowed="seconds above 0"
        )
        check_limit("view_seconds", self.seconds, what="--views.seconds")
        require(
            len(self.speeds) > 0
            and all(0.5 <= speed <= 2 for speed in self.speeds)
            and len(set(self.speeds)) == len(self.speeds),
            "bad speeds",
            got=self.speeds,
            allowed="one or more different factors from 0.5 to 2",
        )
        require(
            not self.speed_is_new_speaker or 1.0 in self.speeds,
            "no speed 1.0 to carry the speakers' own names",
            got=self.speeds,
            allowed="speeds that hold 1.0, where another speed is another speaker",
        )
        for name in ("noise_probability", "room_probability", "silence_probability"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"bad {name}", got=value, allowed="0 to 1")
        require(
            len(self.silence_seconds) == 2
            and 0 <= self.silence_seconds[0] <= self.silence_seconds[1] < math.inf,
            "bad silence_seconds",
            got=self.silence_seconds,
            allowed="(least, greatest), seconds from 0 on",
        )
        for name in ("snr_db", "gain_db", "silence_db"):
            pair = getattr(self, name)
            require(
                len(pair) == 2 and -200 <= pair[0] <= pair[1] <= 200,
                f"bad {name}",
                got=pair,
                allowed="(least, greatest), each from -200 to 200 dB",
            )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ViewConfig:
        """The config that `dataclasses.asdict` wrote, back from JSON (which has lists for tuples)."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise unknown("option of the views", name, known)
        given: dict[str, Any] = {"silence_probability": 0.0}  # of before there was any
        given |= {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**given)

    def without_augmentation(self) -> ViewConfig:
        """The same crops' length and seed; no speed, noise, room, gain or silence."""
        return dataclasses.replace(
            self,
            speeds=(1.0,),
            speed_is_new_speaker=False,
            noise_probability=0.0,
            room_probability=0.0,
            gain_db=(0.0, 0.0),
            silence_probability=0.0,
        )

    def samples(self, sample_rate: int) -> int:
        """N, the samples of a view; at least 1."""
        return max(1, round(self.seconds * sample_rate))


@dataclass(frozen=True)
class Draws:
    """The choices for B views.

    Args:
        start: first sample, in the source, 0 … samples − 1.
        length: samples to read, N × speed rounded; an utterance that ends sooner is repeated.
        speed_index: into `ViewConfig.speeds`.
        speed: the factor itself.
        noise: into the bank; −1 for none.
        noise_start: where in the noise, as a fraction [0, 1).
        snr_db: wanted signal-to-noise ratio, dB.
        room: into the bank; −1 for none.
        gain_db: dB.
        silence: first and last + 1 of the samples that are muted, within 0 … N; the same twice for none.
        silence_db: level of what is heard there, dBFS.
    """

    start: Int64[np.ndarray, " B"]
    length: Int64[np.ndarray, " B"]
    speed_index: Int64[np.ndarray, " B"]
    speed: Float64[np.ndarray, " B"]
    noise: Int64[np.ndarray, " B"]
    noise_start: Float64[np.ndarray, " B"]
    snr_db: Float64[np.ndarray, " B"]
    room: Int64[np.ndarray, " B"]
    gain_db: Float64[np.ndarray, " B"]
    silence: Int64[np.ndarray, "B 2"]
    silence_db: Float64[np.ndarray, " B"]

    def rows_by_speed(self) -> list[Int64[np.ndarray, " _"]]:
        """The views of each speed that was drawn; together they are all of them, and none is empty."""
        return [np.flatnonzero(self.speed == speed) for speed in np.unique(self.speed)]


def _mix(bits: UInt64[np.ndarray, ...]) -> UInt64[np.ndarray, ...]:
    """The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014; Stafford's variant 13)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def hash64(*words: int | np.ndarray) -> UInt64[np.ndarray, ...]:
    """64 well-mixed bits of a tuple of words (each 0 … 2⁶⁴ − 1; arrays broadcast). Order matters."""
    state = np.zeros(1, np.uint64)
    for word in words:
        state = _mix((state ^ np.asarray(word).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15))
    return state


def uniform(*words: int | np.ndarray) -> Float64[np.ndarray, ...]:
    """A number in [0, 1) for a tuple of words: the top 53 bits of their hash."""
    return (hash64(*words) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def draw(
    config: ViewConfig,
    addresses: UInt64[np.ndarray, " B"],
    samples: Int64[np.ndarray, " B"],
    view: int | np.integer | Int64[np.ndarray, " B"],
    *,
    noises: int,
    rooms: int,
    sample_rate: int = 16_000,
) -> Draws:
    """Draws a view of each of B utterances; B may be 0.

    Args:
        addresses: the utterances' 64-bit addresses.
        samples: their lengths, each at least 1.
        view: which view, v ≥ 0; one for all or one for each.
        noises: noises in the bank; with 0 none is drawn.
        rooms: rooms in the bank; with 0 none is drawn.

    Raises:
        UserError: an utterance holds no sample, or a view is below 0.
    """
    require(bool((samples > 0).all()), "an utterance without a sample has no view", got="0 samples")
    views = np.broadcast_to(np.asarray(view, np.int64), addresses.shape)
    require(bool((views >= 0).all()), "bad number of a view", got=view, allowed="0 and above")

    def u(purpose: int) -> Float64[np.ndarray, " B"]:
        return uniform(config.seed, addresses, views, purpose)

    def pick(purpose: int, choices: int | np.ndarray) -> Int64[np.ndarray, " B"]:
        return (u(purpose) * choices).astype(np.int64)

    def between(purpose: int, low: float, high: float) -> Float64[np.ndarray, " B"]:
        return low + (high - low) * u(purpose)

    def some(purpose: int, probability: float, choice: int, choices: int) -> Int64[np.ndarray, " B"]:
        return np.where((u(purpose) < probability) & (choices > 0), pick(choice, choices), -1)

    speed_index = pick(SPEED, len(config.speeds))
    speed = np.array(config.speeds, np.float64)[speed_index]
    length = np.maximum(1, np.rint(config.samples(sample_rate) * speed)).astype(np.int64)
    starts = np.where(samples >= length, samples - length + 1, samples)
    whole = config.samples(sample_rate)
    muted = np.where(
        u(SILENCE) < config.silence_probability, between(SILENCE_LENGTH, *config.silence_seconds), 0.0
    )
    muted = np.minimum(muted, config.seconds / 2)
    begin = u(SILENCE_START) * whole - muted * sample_rate / 2  # half of it may hang over an end
    silence = np.stack([begin, begin + muted * sample_rate], axis=1).clip(0, whole).astype(np.int64)
    return Draws(
        start=pick(START, starts),
        length=length,
        speed_index=speed_index,
        speed=speed,
        noise=some(NOISE, config.noise_probability, NOISE_CHOICE, noises),
        noise_start=u(NOISE_START),
        snr_db=between(SNR, *config.snr_db),
        room=some(ROOM, config.room_probability, ROOM_CHOICE, rooms),
        gain_db=between(GAIN, *config.gain_db),
        silence=silence,
        silence_db=between(SILENCE_LEVEL, *config.silence_db),
    )


def speed_classes(config: ViewConfig) -> tuple[float, ...]:
    """The speeds that count as speakers of their own: 1.0 first, the others rising, in any listed order."""
    if not config.speed_is_new_speaker:
        return (1.0,)
    return (1.0, *sorted(speed for speed in config.speeds if speed != 1.0))


def view_labels(
    config: ViewConfig, labels: Int64[np.ndarray, " B"], draws: Draws, *, speakers: int
) -> Int64[np.ndarray, " B"]:
    """Labels 0 … C·K − 1 among `view_speakers`: label + C·k, with k the class of the drawn speed; −1 stays −1."""
    if not config.speed_is_new_speaker:
        return labels
    classes = speed_classes(config)
    block = np.array([classes.index(speed) for speed in config.speeds], np.int64)
    return np.where(labels < 0, labels, labels + speakers * block[draws.speed_index])


def view_speakers(config: ViewConfig, names: Sequence[str]) -> list[str]:
    """The names of the classes: the bare names, then all at the next speed (`id10001@0.9`), and so on."""
    return [name if speed == 1.0 else f"{name}@{speed}" for speed in speed_classes(config) for name in names]


def check_same_speakers(ours: ViewConfig, theirs: ViewConfig) -> None:
    """Checks that both ends of a distillation agree on who a voice at another speed is.

    Args:
        ours: what this training draws.
        theirs: what the teacher was trained on.

    Raises:
        UserError: at one end a change of speed keeps the speaker, at the other it makes a new one; or both make
            new ones, at other speeds.
    """
    same = ours.speed_is_new_speaker == theirs.speed_is_new_speaker
    name = "speeds" if same else "speed_is_new_speaker"
    if not same or speed_classes(ours) != speed_classes(theirs):
        raise UserError(
            f"teacher and student would not mean the same speakers: {name} differs",
            got=f"{getattr(ours, name)} here, {getattr(theirs, name)} in the teacher's training",
            remedy=f"use the teacher's {name}, or --views.speeds 1.0",
        )
