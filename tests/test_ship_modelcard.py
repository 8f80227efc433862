"""The README as a model card: front matter that YAML reads whatever the names, and limits that are stated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from distilvox.ship.card import Card
from distilvox.ship.lengths import Lengths
from distilvox.ship.modelcard import front_matter, uses
from distilvox.ship.readme import render

CARD = Card(
    model={"name": "xvector-s", "embedding_dim": 16, "parameters": 128},
    space="0123456789abcdef",
    training={"speakers": 3, "corpus": {"licence": "CC-BY-4.0"}},
    teacher={"uri": "ge2e:", "id": "t", "licence": "Apache-2.0"},
    objective={},
    metrics={"eer": 0.0612, "min_dcf": {"0.05": 0.3, "0.01": 0.5}, "trial_list": "dev.txt", "trials": 41_746},
    operating_point=None,
    parity={"model.onnx": {"worst": 1e-6}},
    int8={"cosine_mean": 0.99, "note": ""},
    distilvox="0.1.0",
    files={
        name: {"bytes": 1}
        for name in ("model.onnx", "model.int8.onnx", "model.fbank.onnx", "model.safetensors")
    },
)


def read(text: str) -> dict[str, Any]:
    """The front matter as Hugging Face finds it: between the first two lines of three dashes."""
    start, matter, _ = text.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(matter)


def test_front_matter_states_what_is_known() -> None:
    found = read(render(CARD))
    assert found["library_name"] == "distilvox"
    assert found["license"] == "other"
    assert "speaker-verification" in found["tags"]
    assert found["inherited_licences"] == {"training_speech": "CC-BY-4.0", "teacher_weights": "Apache-2.0"}
    (model,) = found["model-index"]
    (result,) = model["results"]
    assert (model["name"], result["dataset"]["name"]) == ("xvector-s", "dev.txt")
    metrics = [(one["type"], one["value"]) for one in result["metrics"]]
    assert metrics == [("eer", 6.12), ("min_dcf", 0.5), ("min_dcf", 0.3)]


def test_what_was_not_measured_is_not_stated() -> None:
    bare = replace(CARD, metrics=None, teacher=None, training={"speakers": 3})
    assert set(read(render(bare))) == {"library_name", "pipeline_tag", "tags", "license", "license_name"}


HOSTILE = ["a: b", "---\nx: 1", '"', "\\", "[x]", "#", "\u2028", "!!python/x", "名", "🦊", "a\tb\0"]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_names_stay_data(hostile: str) -> None:
    metrics = {"eer": 0.1, "trial_list": hostile}
    card = replace(CARD, model={**CARD.model, "name": hostile}, metrics=metrics)
    text = front_matter(replace(card, teacher={"licence": hostile}))
    (model,) = read(text + "\n")["model-index"]
    assert model["name"] == model["results"][0]["dataset"]["name"] == hostile
    assert "\n---\n" not in text.removeprefix("---\n").removesuffix("\n---")


def test_use_and_limits_are_stated() -> None:
    text = uses(replace(CARD, speech={"float32": Lengths(4.0, 11.0, 32)}))
    assert "measured on 32 recordings" in text
    assert "less than 0.3 s of sound (1 s to enrol)" in text
    for word in ("played back", "synthesised", "imitate", "biometric data", "second proof"):
        assert word in text
    assert "no range of lengths" in uses(CARD)
    assert uses(CARD) in render(CARD)
