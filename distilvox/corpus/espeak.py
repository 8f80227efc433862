"""eSpeak NG as a function: a voice file and a sentence in, samples out, the same bits every time.

The shared library and its data come with the PyPI package `espeakng_loader`; ctypes binds them. The
functions bound here are those of eSpeak NG's public `speak_lib.h` and `espeak_ng.h`.
"""

from __future__ import annotations

import _ctypes
import ctypes
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from distilvox.errors import UserError, require

ENGINE_RATE = 22_050
"""Samples a second that the engine makes."""

VOICES_PER_PROCESS = 150
"""Speakers that one process renders on average: the engine leaks some 0.2 MB each time it is loaded."""

_LONGEST_PATH = 120
"""Bytes: the engine keeps its data path in a buffer of 160 and writes file names behind it unchecked."""

_PHONEMES = ("phondata", "phonindex", "phontab", "intonations", "lang")
_SYNCHRONOUS, _DONT_EXIT, _UTF8 = 2, 0x8000, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_SAMPLES = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def require_engine() -> None:
    """Raises a `UserError` where the package with the engine is not installed."""
    require(
        importlib.util.find_spec("espeakng_loader") is not None,
        "synthetic speakers need eSpeak NG, and the package espeakng_loader is not installed",
        remedy="pip install 'distilvox[synth]'",
    )


class Engine:
    """One loaded eSpeak NG with one voice of our own, `speaker`. Use as a context manager.

    The engine never resets some of its state (the phase of the flutter, the breath filters), so audio
    would depend on everything said before. `set_voice` therefore unloads the shared library and loads
    it anew, which takes under a millisecond; `say` seeds the engine's noise. After `set_voice` the
    audio depends on the voice and on the sentences since, and on nothing else. The package's own data
    is never written: the engine reads a temporary folder of links to it.

    Args:
        languages: names of the dictionaries to have, such as "en".
    """

    def __init__(self, languages: tuple[str, ...]) -> None:
        require_engine()
        import espeakng_loader

        self._library = str(espeakng_loader.get_library_path())
        self._handle: ctypes.CDLL | None = None
        self._chunks: list[bytes] = []
        self._callback = _SAMPLES(self._collect)
        parent = tempfile.gettempdir()
        require(
            len(os.fsencode(parent)) <= _LONGEST_PATH,
            "the path of the temporary folder is too long for eSpeak NG",
            got=parent,
            allowed=f"at most {_LONGEST_PATH} bytes",
            remedy="set TMPDIR to a shorter path",
        )
        self._folder = Path(tempfile.mkdtemp(prefix="voice"))
        data = Path(espeakng_loader.get_data_path())
        for name in (*_PHONEMES, *(f"{language}_dict" for language in languages)):
            _link(data / name, self._folder / name)
        self._voice = self._folder / "voices" / "!v" / "speaker"
        self._voice.parent.mkdir(parents=True)

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unload()
        shutil.rmtree(self._folder, ignore_errors=True)

    def set_voice(self, base: str, voice: str) -> None:
        """Loads the engine anew with a voice.

        Args:
            base: language file under the data's `lang`, such as "gmw/en-US".
            voice: text of a voice file in eSpeak NG's syntax, `language variant` first.
        """
        self._voice.write_text(voice)
        self._unload()
        handle = ctypes.CDLL(self._library)
        self._handle = handle
        rate = handle.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(self._folder), _DONT_EXIT)
        if rate != ENGINE_RATE:
            raise UserError("eSpeak NG did not start", got=f"sample rate {rate}", allowed=str(ENGINE_RATE))
        handle.espeak_SetSynthCallback(self._callback)
        if handle.espeak_SetVoiceByName(f"{base}+speaker".encode()) != 0:
            raise UserError("eSpeak NG cannot load this language", got=base)

    def say(self, sentence: str, *, noise: int, rate: int, pitch: int, pitch_range: int) -> np.ndarray:
        """Speaks with the voice set, and adds no pause at the end.

        Args:
            sentence: what to say.
            noise: seed of the breath noise, ≥ 0.
            rate: words a minute, 80 to 450; the voice file's `speed` scales it.
            pitch: 0 to 99, 50 is the voice's own.
            pitch_range: 0 to 99, 50 is the voice's own.

        Returns:
            int16 [N] at `ENGINE_RATE`.
        """
        handle = self._handle
        if handle is None:
            raise RuntimeError("say() before set_voice()")
        handle.espeak_SetParameter(_RATE, rate, 0)
        handle.espeak_SetParameter(_PITCH, pitch, 0)
        handle.espeak_SetParameter(_RANGE, pitch_range, 0)
        handle.espeak_ng_SetRandSeed(ctypes.c_long(noise))
        self._chunks.clear()
        text = sentence.encode() + b"\0"
        if handle.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 1, 0, _UTF8, None, None) != 0:
            raise UserError("eSpeak NG cannot speak this sentence", got=sentence)
        handle.espeak_Synchronize()
        return np.frombuffer(b"".join(self._chunks), dtype=np.int16)

    def _collect(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    def _unload(self) -> None:
        if self._handle is None:
            return
        self._handle.espeak_Terminate()
        if sys.platform == "win32":
            _ctypes.FreeLibrary(self._handle._handle)
        else:
            _ctypes.dlclose(self._handle._handle)
        self._handle = None


def _link(source: Path, target: Path) -> None:
    """A symbolic link, or a copy where the system has none to give."""
    try:
        target.symlink_to(source)
    except OSError:
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
