"""The record of a front end: what it refuses, and that it comes back from text and from JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from distilvox.errors import UserError
from distilvox.models.frontend import DEFAULT, PRESETS, FrontEnd, read_frontend


@pytest.mark.parametrize("name", PRESETS)
def test_comes_back_from_json(name: str) -> None:
    assert FrontEnd.from_json(json.loads(json.dumps(PRESETS[name].to_json()))) == PRESETS[name]


def test_the_default_is_what_sherpa_onnx_computes() -> None:
    front = PRESETS[DEFAULT]
    assert (front.window, front.low, front.high, front.snip_edges) == ("povey", 20, 7_600, False)
    assert front.gate_db > 0


def test_runs_of_before_have_wespeakers() -> None:
    assert FrontEnd.from_json({}) == PRESETS["wespeaker"] == FrontEnd()


def test_a_preset_with_fields_set_anew() -> None:
    found = read_frontend("wespeaker?window=povey&snip_edges=false&mels=40&gate_db=30")
    assert found == replace(FrontEnd(), window="povey", snip_edges=False, mels=40, gate_db=30.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sherpas", r"front end(.|\n)*sherpas(.|\n)*wespeaker"),
        ("sherpa?windo=povey", r"field of a front end(.|\n)*windo"),
        ("sherpa?mels=many", r"bad mels of the front end\n  got:     'many'\n  allowed: int"),
        ("sherpa?snip_edges=1", r"bad snip_edges(.|\n)*true or false"),
        ("sherpa?window=hanning", r"window of the front end(.|\n)*hann"),
        ("sherpa?high=9000", r"between 0 Hz and half the sample rate\n  got:     20 to 9000 Hz"),
        ("sherpa?floor=0", r"bad floor"),
        ("sherpa?gate_db=-3", r"bad gate_db of the front end\n  got:     -3"),
        ("sherpa?scale=nan", r"bad scale"),
    ],
)
def test_refuses_what_is_none(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_frontend(text)


def test_a_record_of_the_wrong_kind_is_refused_by_field() -> None:
    with pytest.raises(
        UserError, match=r"the card: window is of the wrong kind\n  got:     3\n  allowed: str"
    ):
        FrontEnd.from_json({"window": 3}, "the card")
    with pytest.raises(UserError, match=r"field of the card"):
        FrontEnd.from_json({"windows": "povey"}, "the card")
