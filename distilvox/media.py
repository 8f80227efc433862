"""Recordings in formats that libsndfile does not read (m4a, mp4, webm …), decoded by PyAV where that is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from distilvox.containers import CONVERT
from distilvox.sound import AudioError

_SLACK = 0.2
"""Seconds that a container's duration may pass what its sound decodes to: padding of the codec, a video's tail."""


def decode(path: Path) -> tuple[np.ndarray, int]:
    """The first track of sound, whole: float32 [n, K], and its rate.

    Raises:
        AudioError: PyAV is not installed, no sound in it, not audio, or cut off.
    """
    if not path.is_file():
        raise AudioError(path, "a folder, not a file" if path.is_dir() else "no such file")
    if not path.stat().st_size:
        raise AudioError(path, "empty file")
    if find_spec("av") is None:
        install = "pip install 'distilvox[media]'"
        raise AudioError(path, f"libsndfile does not read {path.suffix.lower()}: {CONVERT}, or {install}")
    import av

    try:
        with av.open(
            str(path), options={"protocol_whitelist": "file"}
        ) as container:  # no playlist's addresses
            if not container.streams.audio:
                raise AudioError(path, "no sound in it")
            track = container.streams.audio[0]
            planes = av.AudioResampler(format="fltp")  # of the same rate and channels
            parts = [
                part.to_ndarray() for frame in container.decode(track) for part in planes.resample(frame)
            ]
            promised = float((track.duration or 0) * (track.time_base or 0))
            rate = int(track.rate)
    except av.FFmpegError as error:
        raise AudioError(path, f"not audio ({(error.strerror or 'its form is not known').lower()})") from None
    if not parts:
        raise AudioError(path, "no sound in it")
    wave = np.concatenate(parts, axis=1).T.astype(np.float32, copy=False)
    if len(wave) / rate + _SLACK < promised:
        raise AudioError(path, f"truncated: {len(wave) / rate:.2f} of {promised:.2f} s")
    return wave, rate
