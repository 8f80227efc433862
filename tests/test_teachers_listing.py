"""`distilvox teachers`: every scheme, what is installed of it, and the licence of what is."""

from __future__ import annotations

import importlib.util
import json
from importlib import metadata
from pathlib import Path

import pytest

from distilvox.teachers import listing
from distilvox.teachers.table import SCHEMES
from tests.running import said, succeed


def test_every_scheme_is_listed_with_what_is_installed() -> None:
    lines = {line["scheme"]: line for line in json.loads(succeed("teachers", "--json").out)["teachers"]}
    assert list(lines) == list(SCHEMES)
    ge2e = lines["ge2e"]
    assert ge2e["ready"]
    assert ge2e["bytes"] == Path(ge2e["file"]).stat().st_size > 1e6
    assert ge2e["version"] == metadata.version("resemblyzer")
    assert ge2e["licence"] == "Apache-2.0"
    assert (lines["onnx"]["package"], lines["onnx"]["ready"], lines["onnx"]["licence"]) == (None, True, None)


def test_the_table_is_for_people() -> None:
    shown = said(succeed("teachers").out)
    for name in SCHEMES:
        assert f"{name}:" in shown
    assert "Apache-2.0" in shown


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(listing, "weights_of", lambda scheme: None)
    assert listing.here(listing.describe("hf")) == "not ready: needs transformers"
    assert listing.here(listing.describe("ge2e")) == "not ready: needs resemblyzer"
    assert listing.here(listing.describe("run")) == "ready"
    assert listing.describe("ge2e")["bytes"] is None
