"""Draws applied to a batch, on the device that trains: speed, then room, noise, gain, and silence.

Each step touches only the rows that have it. Nothing is clipped: what follows is float.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy.fft
import torch
from jaxtyping import Complex64, Float, Float32, Float64, Int16, Int64
from torch import Tensor

from distilvox.errors import require
from distilvox.views.bank import Bank
from distilvox.views.draws import Draws

ZERO_CROSSINGS = 24  # of the windowed sinc, each side
KAISER_BETA = 5.5  # leaves −55 dB beyond the slope
SLOPE = 1.75 / ZERO_CROSSINGS  # half the width of the slope that this window has, as a part of its middle
SILENCE = 1e-6  # level (−120 dB) below which a stretch of noise counts as silent
ZEROS_DB = -96.0  # the level of one step of 16 bits: what is muted deeper is all zeros
KEPT_SPECTRA = 1 << 28
"""Bytes that the spectra of a bank's rooms may take, 256 MB: 1,600 rooms for crops of 2 s."""


@dataclass(frozen=True)
class DeviceBank:
    """A bank laid out on a device for views of N samples.

    Args:
        noise: all noises end to end, each continued by N samples of its own beginning.
        offsets: where each noise begins in `noise`.
        lengths: their own lengths.
        rooms: responses, zero-padded to one length.
        spectra: of the rooms, as `room_spectra` makes them; None where they would be too many to keep.
        samples: N.
        sample_rate: Hz.
    """

    noise: Float32[Tensor, " S"]
    offsets: Int64[np.ndarray, " I"]
    lengths: Int64[np.ndarray, " I"]
    rooms: Float32[Tensor, "R L"]
    spectra: Complex64[Tensor, "R K"] | None
    samples: int
    sample_rate: int

    @property
    def device(self) -> torch.device:
        return self.rooms.device

    @classmethod
    def place(cls, bank: Bank, samples: int, device: torch.device | str = "cpu") -> DeviceBank:
        """Copies the bank to the device, once for a whole training."""
        lengths = np.array([noise.size for noise in bank.noises], np.int64)
        offsets = np.cumsum(lengths + samples) - (lengths + samples)
        looped = [np.resize(noise, noise.size + samples) for noise in bank.noises]
        rooms = np.zeros((len(bank.rooms), max((room.size for room in bank.rooms), default=1)), np.float32)
        for row, room in zip(rooms, bank.rooms, strict=True):
            row[: room.size] = room
        noise = np.concatenate([np.zeros(0, np.float32), *looped])
        responses = torch.from_numpy(rooms).to(device)
        kept = 0 < 4 * len(rooms) * points(samples, rooms.shape[1]) <= KEPT_SPECTRA
        return cls(
            torch.from_numpy(noise).to(device),
            offsets.astype(np.int64),
            lengths,
            responses,
            room_spectra(responses, samples) if kept else None,
            samples,
            bank.sample_rate,
        )


@lru_cache(maxsize=64)
def speed_kernel(speed: float) -> tuple[Float32[np.ndarray, "K M"], int, int]:
    """The band-limited interpolator of a speed, as a matrix: K input samples → M output samples.

    The speed is taken as the nearest fraction p/q with q ≤ 100 (0.9 = 9/10). Of the outputs, each q
    lie on p inputs, so one small matrix, moved p·g inputs at a time, makes q·g outputs at a time. The
    filter is a Kaiser-windowed sinc whose slope ends at the lower of both Nyquist frequencies.

    Returns:
        the matrix, the step in input samples, and how many zeros stand before the first input.
    """
    ratio = Fraction(speed).limit_denominator(100)
    blocks = max(1, round(40 / ratio.denominator))
    outputs, step = ratio.denominator * blocks, ratio.numerator * blocks
    cutoff = min(1.0, 1.0 / float(ratio)) * (1 - SLOPE)
    reach = math.ceil(ZERO_CROSSINGS / cutoff)
    centres = np.arange(outputs) * float(ratio)
    inputs = np.arange(-reach, math.floor(centres[-1]) + reach + 2)
    kernel = interpolator(inputs[:, None] - centres[None, :], cutoff)
    return kernel.astype(np.float32), step, reach


def interpolator(offsets: Float64[np.ndarray, "*S"], cutoff: float) -> Float64[np.ndarray, "*S"]:
    """h(t) at offsets t in input samples: a sinc low-pass at `cutoff` (1 = input Nyquist), Kaiser window."""
    reach = ZERO_CROSSINGS / cutoff
    inside = np.clip(1 - (offsets / reach) ** 2, 0, None)
    window = np.where(inside > 0, np.i0(KAISER_BETA * np.sqrt(inside)) / np.i0(KAISER_BETA), 0.0)
    return cutoff * np.sinc(cutoff * offsets) * window


def change_speed(waves: Float[Tensor, "B L"], speed: float, samples: int) -> Float[Tensor, "B N"]:
    """Resamples so that it plays `speed` times as fast (and as high); exactly the input at speed 1.

    The outside of the crop counts as silence. Needs full float32 products: keep TF32 off.
    """
    if speed == 1.0:
        return (
            waves
            if waves.shape[1] == samples
            else torch.nn.functional.pad(waves, (0, samples - waves.shape[1]))
        )
    kernel, step, reach = speed_kernel(speed)
    frames = -(-samples * step // (kernel.shape[1] * step)) if samples else 0
    needed = (frames - 1) * step + kernel.shape[0]
    padded = torch.nn.functional.pad(waves, (reach, needed - reach - waves.shape[1]))
    with torch.autocast(waves.device.type, enabled=False):
        out = padded.unfold(1, kernel.shape[0], step) @ torch.from_numpy(kernel).to(waves)
    return out.flatten(1)[:, :samples]


def points(samples: int, taps: int) -> int:
    """Of a Fourier transform that convolves so many samples with so many without wrapping around."""
    return scipy.fft.next_fast_len(samples + taps - 1, real=True)


def room_spectra(responses: Float32[Tensor, "R L"], samples: int) -> Complex64[Tensor, "R K"]:
    """The responses' transforms, for waves of N = `samples`."""
    return torch.fft.rfft(responses, n=points(samples, responses.shape[1]))


def add_room(
    waves: Float32[Tensor, "B N"],
    responses: Float32[Tensor, "R L"],
    which: Int64[np.ndarray, " B"],
    spectra: Complex64[Tensor, "R K"] | None = None,
) -> Float32[Tensor, "B N"]:
    """Convolves each row with its response and keeps the first N samples: the direct path is not delayed.

    `spectra` are those of all responses, if they are at hand.
    """
    samples, position = waves.shape[1], which
    if spectra is None:
        used, position = np.unique(which, return_inverse=True)
        spectra = room_spectra(responses[torch.from_numpy(used).to(waves.device)], samples)
    size = points(samples, responses.shape[1])
    product = torch.fft.rfft(waves, n=size)
    product *= spectra[torch.from_numpy(position).to(waves.device)]
    return torch.fft.irfft(product, n=size)[:, :samples]


def add_noise(
    waves: Float32[Tensor, "B N"], noise: Float32[Tensor, "B N"], snr_db: Float64[np.ndarray, " B"]
) -> Float32[Tensor, "B N"]:
    """Adds noise so that power(speech) / power(noise), over the row, is the SNR asked for.

    Silent noise (below −120 dB) adds nothing, and silent speech stays silent.
    """
    speech, level = (torch.linalg.vector_norm(x, dim=1) / x.shape[1] ** 0.5 for x in (waves, noise))
    wanted = torch.from_numpy((10.0 ** (-snr_db / 20)).astype(np.float32)).to(waves.device)
    scale = torch.where(level > SILENCE, wanted * speech / level.clamp_min(SILENCE), 0.0)
    return torch.addcmul(waves, noise, scale[:, None])


def mute(
    waves: Float32[Tensor, "B N"], silence: Int64[np.ndarray, "B 2"], level_db: Float64[np.ndarray, " B"]
) -> Float32[Tensor, "B N"]:
    """Puts white noise of a level (dBFS; zeros below −96) where each row is muted; written in place."""
    rows = np.flatnonzero(silence[:, 0] < silence[:, 1])
    if not rows.size:
        return waves
    hiss = torch.from_numpy(np.random.default_rng(0).standard_normal(waves.shape[1]).astype(np.float32))
    level = np.where(level_db < ZEROS_DB, 0.0, 10.0 ** (level_db / 20))
    for row in rows.tolist():
        first, end = silence[row].tolist()
        waves[row, first:end] = (hiss[first:end] * float(level[row])).to(waves.device)
    return waves


def _stretches(bank: DeviceBank, rows: np.ndarray, draws: Draws) -> Float32[Tensor, "R N"]:
    """N samples of each row's noise from its drawn start, running on from its end to its beginning."""
    noise = draws.noise[rows]
    begin = bank.offsets[noise] + (draws.noise_start[rows] * bank.lengths[noise]).astype(np.int64)
    return bank.noise.unfold(0, bank.samples, 1).index_select(0, torch.from_numpy(begin).to(bank.device))


def _take(waves: Float32[Tensor, "B N"], rows: Int64[np.ndarray, " R"]) -> Float32[Tensor, "R N"]:
    """Some rows; without a copy where they are all."""
    return waves if rows.size == len(waves) else waves[torch.from_numpy(rows).to(waves.device)]


def _replace(
    waves: Float32[Tensor, "B N"], rows: Int64[np.ndarray, " R"], new: Float32[Tensor, "R N"]
) -> Float32[Tensor, "B N"]:
    """The waves with some rows new, written in place; the new ones themselves where they are all."""
    if rows.size == len(waves):
        return new
    waves[torch.from_numpy(rows).to(waves.device)] = new
    return waves


class Group(NamedTuple):
    """The crops of all views of one speed, on the device, and which views they are."""

    rows: Int64[np.ndarray, " R"]
    crops: Int16[Tensor, "R L"]


def stack_groups(
    crops: Sequence[Int16[np.ndarray, " _"]], draws: Draws, device: torch.device | str
) -> list[Group]:
    """The B crops that the draws asked for, speed by speed, on the device.

    Raises:
        UserError: crops and draws do not belong together.
    """
    require(
        [crop.size for crop in crops] == draws.length.tolist(),
        "the crops are not those that were drawn",
        allowed="one crop for each draw, of the drawn length",
    )
    return [
        Group(rows, torch.from_numpy(np.stack([crops[row] for row in rows.tolist()])).to(device))
        for rows in draws.rows_by_speed()
    ]


def augment(
    crops: Sequence[Int16[np.ndarray, " _"]], draws: Draws, bank: DeviceBank
) -> Float32[Tensor, "B N"]:
    """Applies draws to the B crops that they asked for, on the bank's device.

    Args:
        crops: int16, each of its `draws.length`.
        draws: of the same B views.
        bank: placed on the device for N samples; the draws' noises and rooms point into it.

    Returns:
        waves, about −1 … 1 before gain; on the CPU the same batch gives the same bits.

    Raises:
        UserError: crops and draws do not belong together.
    """
    return augment_groups(stack_groups(crops, draws, bank.device), draws, bank)


def augment_groups(groups: Sequence[Group], draws: Draws, bank: DeviceBank) -> Float32[Tensor, "B N"]:
    """`augment` for crops that are on the device already."""
    with torch.no_grad():
        waves = torch.empty(len(draws.speed), bank.samples, device=bank.device)
        for rows, crops in groups:
            at_speed = change_speed(crops * (1 / 32768), float(draws.speed[rows[0]]), bank.samples)
            waves = _replace(waves, rows, at_speed)

        rows = np.flatnonzero(draws.room >= 0)
        if rows.size:
            heard = add_room(_take(waves, rows), bank.rooms, draws.room[rows], bank.spectra)
            waves = _replace(waves, rows, heard)

        rows = np.flatnonzero(draws.noise >= 0)
        if rows.size:
            noise = _stretches(bank, rows, draws)
            waves = _replace(waves, rows, add_noise(_take(waves, rows), noise, draws.snr_db[rows]))

        if draws.gain_db.any():
            gain = torch.from_numpy((10.0 ** (draws.gain_db / 20)).astype(np.float32)).to(bank.device)
            waves *= gain[:, None]
        return mute(waves, draws.silence, draws.silence_db)
