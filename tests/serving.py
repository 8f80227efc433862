"""A service of a stand-in model, and clients of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from distilvox.serve.app import make_app
from distilvox.serve.service import Service
from distilvox.serve.settings import Settings
from distilvox.ship.book import Book
from distilvox.ship.card import FILES
from distilvox.ship.enrolment import space_of
from distilvox.ship.runtime import Verifier
from tests.inputs.recordings import written
from tests.making import murmur
from tests.test_ship_runtime import POINT, write_card, write_model

FAULT = {"what", "got", "allowed", "remedy"}


def stand_in(folder: Path) -> Path:
    """A bundle of the smallest model, which tells bright voices from dull ones."""
    folder.mkdir()
    for name in FILES:
        write_model(folder / name)
    write_card(folder, point=replace(POINT, threshold=0.97))
    return folder


@lru_cache
def voice(seed: int, pitch: float, seconds: float = 1.5) -> np.ndarray:
    """Speech as far as the gate can tell, float64 [N]: bright above 150 Hz, dull below."""
    wave = murmur(np.random.default_rng(seed), pitch, round(seconds * 16_000)) / 32_768
    wave = np.convolve(wave, [1, -0.9] if pitch > 150 else np.full(9, 1 / 9), "same")
    return 0.5 * wave / np.abs(wave).max()


@lru_cache
def wav(seed: int, pitch: float, seconds: float = 1.5) -> bytes:
    return written(voice(seed, pitch, seconds))


@contextmanager
def client(bundle: Path, book: Path, **fields: Any) -> Iterator[TestClient]:
    """A client of a service with these settings, on its own machine."""
    settings = Settings(**{"threads": 1, **fields})
    verifier = Verifier.load(bundle)
    Book.open(book, space_of(verifier, bundle), create=True).close()
    app = make_app(Service(verifier, book, settings.most_seconds), settings, keeps=True)
    with TestClient(app, base_url="http://127.0.0.1:8321", raise_server_exceptions=False) as opened:
        yield opened


def fault(response: Any, status: int) -> dict[str, Any]:
    """The JSON of a response that must be an error of this status, in the house's form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    said = response.json()
    assert said.keys() == FAULT, said
    assert said["what"]
    return said
