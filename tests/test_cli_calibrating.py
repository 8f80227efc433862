"""calibrate: from pairs of files to thresholds on a bundle's card, and decisions that go by them."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distilvox.ship.bundle import Bundle
from distilvox.ship.card import FILES
from tests.making import buzz
from tests.running import refused, run, succeed
from tests.test_ship_runtime import write_card, write_model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a stand-in model, three files each of twelve voices, and all pairs of them."""
    home = tmp_path_factory.mktemp("calibrating")
    (home / "bundle").mkdir()
    for name in FILES:
        write_model(home / "bundle" / name)
    write_card(home / "bundle")
    rng = np.random.default_rng(0)
    names = []
    for k in range(12):
        for number in range(3):
            names.append(f"v{k}/{number}")
            path = home / "speech" / f"{names[-1]}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, buzz(rng, 80 * 1.1**k * rng.uniform(0.9, 1.1), 24_000), 16_000)
    pairs = [(int(a.split("/")[0] == b.split("/")[0]), a, b) for a, b in combinations(names, 2)]
    (home / "pairs.txt").write_text("".join(f"{label} {a} {b}.wav\n" for label, a, b in pairs))
    return home


def test_few_pairs_give_ratios_and_no_thresholds(home: Path, tmp_path: Path) -> None:
    bundle, words = home / "bundle", ("--pairs", home / "pairs.txt", "--folder", home / "speech")
    made = ("--out", tmp_path / "c.json", "--html", tmp_path / "c.html")
    ran = succeed("calibrate", bundle, *words, "--write", *made)
    assert "are needed" in ran.out
    assert "decides by this calibration from now on" in ran.err
    found = json.loads((tmp_path / "c.json").read_text())
    assert {one["threshold"] for one in found["calibration"]["thresholds"]} == {None}
    assert found["calibration"]["speakers"] == 12
    assert 0 < found["figures"]["all"]["min_cllr"] <= found["figures"]["all"]["cllr"]
    assert "<svg" in (tmp_path / "c.html").read_text()
    opened = Bundle.open(bundle)
    opened.read("README.md")
    opened.read("model.onnx")
    assert opened.card.calibration is not None
    assert "are needed" in (bundle / "README.md").read_text()
    a = home / "speech/v0/0.wav"
    decision = json.loads(run("verify", bundle, a, a, "--json", "--force").out)
    assert decision["llr"] > 0.5
    assert decision["threshold"] == 0.5  # the card's older one
    assert decision["note"].startswith("no threshold for 1 s of sound")


def test_mistakes_are_named(home: Path, tmp_path: Path) -> None:
    pairs, bundle = home / "pairs.txt", home / "bundle"
    assert "one of --corpus and --folder" in refused(2, "calibrate", bundle, "--pairs", pairs)
    words = ("--pairs", pairs, "--folder", tmp_path)
    assert "no recording of the pairs' 'v0/0'" in refused(2, "calibrate", bundle, *words)
    assert "--write is for a bundle" in refused(2, "calibrate", tmp_path, *words, "--write")
