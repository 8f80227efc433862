"""An environment stricter than any user's: warnings are errors, shapes and dtypes are checked at run time."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook

CHECKED = ("losses", "models", "views", "teachers", "evaluation")
install_import_hook([f"distilvox.{part}" for part in CHECKED], "beartype.beartype")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real speech and golden values that lies beside the project."""
    if not SHARED.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{SHARED} is missing, and CI must not skip the tests that need it")
        pytest.skip(f"needs the golden values and the speech in {SHARED}, which is not there")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared: Path) -> Callable[[str], Any]:
    """Reads one file of golden values, by its name without the extension."""
    return lambda name: json.loads((shared / "golden" / f"{name}.json").read_text())


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Randomness handed out by the test's name, so that no test moves another's."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(autouse=True)
def torch_seed(request: pytest.FixtureRequest) -> None:
    torch.manual_seed(zlib.crc32(request.node.nodeid.encode()))
