from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from distilvox.errors import UserError
from distilvox.teachers import precision
from distilvox.teachers.wavlm import conv_layers, convert, derive_config, hidden_states, to_config
from tests.reference import wavlm as reference
from tests.reference.fill import fill_state
from tests.wavlm_making import random_wavlm


def states_of(state: dict[str, Tensor], config: dict[str, Any], waves: Tensor) -> tuple[list[Tensor], Tensor]:
    """Every layer's input, the last one's output, and the encoder's output."""
    model = convert(state, config, where="a test")
    before_norm = []
    model.encoder.layers[-1].register_forward_hook(lambda module, given, out: before_norm.append(out[0]))
    with torch.no_grad():
        found = hidden_states(model, waves)
    return [*found[:-1], before_norm[0]], found[-1]


def test_hidden_states_equal_the_golden_values(golden: Callable[[str], Any]) -> None:
    data = golden("wavlm_tiny")
    n = np.arange(16_000.0)
    wave = torch.from_numpy(0.3 * np.sin(0.05 * n) + 0.1 * np.sin((0.0007 * n**2) % 6.28)).float()
    wave = F.layer_norm(wave, wave.shape)
    state = fill_state(data["state"])
    states, out = states_of(state, data["config"], wave[None])
    assert len(states) == len(data["hidden_states"])
    for ours, theirs in zip(states, data["hidden_states"], strict=True):
        assert ours.shape == (1, data["frames"], 64)
        np.testing.assert_allclose(ours[0, [0, 10, 40], :8], theirs, atol=2e-5)
    np.testing.assert_allclose(
        states[-1][0, [0, 10, 40], :8], data["final"], atol=2e-5
    )  # before the last norm
    truth, truth_out = reference.hidden_states(wave, state, large=True, farthest=80)
    for ours, true in zip([*states, out], [*truth, truth_out], strict=True):
        torch.testing.assert_close(ours[0].double(), true, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("large", [True, False])
def test_both_layouts_equal_a_slow_reading(large: bool) -> None:
    state = random_wavlm(large=large)
    waves = torch.randn(2, 10_000)
    config = derive_config(state, where="a test")
    assert config["normalize"] is config["layer_norm_first"] is large
    states, out = states_of(state, config, waves)
    for row in range(2):
        truth, truth_out = reference.hidden_states(waves[row], state, large=large, farthest=800)
        for ours, true in zip([*states, out], [*truth, truth_out], strict=True):
            torch.testing.assert_close(ours[row].double(), true, atol=1e-4, rtol=1e-4)


def test_the_configuration_is_read_off_the_shapes(golden: Callable[[str], Any]) -> None:
    data = golden("wavlm_tiny")
    derived = derive_config(fill_state(data["state"]), where="a test")
    derived["max_distance"] = data["config"]["max_distance"]  # the one thing that no shape shows
    assert to_config(derived).to_dict() == to_config(data["config"]).to_dict()


def test_bfloat16_keeps_the_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    state = random_wavlm()
    model = convert(state, derive_config(state, where="a test"), where="a test")
    waves = torch.randn(1, 8_000)
    with torch.no_grad(), precision.large_model(waves.device):
        exact = hidden_states(model, waves)[-1]
    monkeypatch.setattr(precision, "HALF_ON", ("cpu",))
    with torch.no_grad(), precision.large_model(waves.device):
        states = hidden_states(model, waves)
    half = states[-1]
    assert {state.dtype for state in (exact, *states)} == {torch.float32}  # the residual stream too
    assert not torch.equal(half, exact)
    assert float(F.cosine_similarity(half.flatten(), exact.flatten(), dim=0)) > 0.999


def test_tensors_that_do_not_fit_are_named_as_the_file_names_them() -> None:
    state = random_wavlm()
    config = derive_config(state, where="a test")
    del state["encoder.layers.1.self_attn.grep_a"]
    state["encoder.layers.1.fc1.weight"] = torch.zeros(24, 15)
    state["encoder.pos_conv.0.weight_g"][0, 0, 3] = float("nan")
    state["final_proj.weight"] = torch.zeros(1)
    with pytest.raises(UserError) as caught:
        convert(state, config, where="w.pt")
    message = str(caught.value)
    assert "the weights in w.pt do not fit the model" in message
    assert "encoder.layers.1.self_attn.grep_a is missing" in message
    assert "encoder.layers.1.fc1.weight has shape [24, 15], expected [24, 16]" in message
    assert "encoder.pos_conv.0.weight_g holds NaN" in message
    assert "final_proj.weight is unexpected" in message


@pytest.mark.parametrize(
    "name",
    [
        "post_extract_proj.weight",
        "encoder.layers.0.self_attn.grep_a",
        "feature_extractor.conv_layers.6.0.weight",
    ],
)
def test_a_size_that_cannot_be_read_is_named(name: str) -> None:
    state = random_wavlm()
    state[name] = torch.zeros(0)
    with pytest.raises(UserError, match=rf"(?s)w\.pt do not fit.*{name} has shape \[0\]"):
        derive_config(state, where="w.pt")
    del state[name]
    with pytest.raises(UserError, match=f"{name} is missing"):
        derive_config(state, where="w.pt")
    with pytest.raises(UserError, match=r"pre\.post_extract_proj\.weight is missing"):
        derive_config(state, where="w.pt", prefix="pre.")


def test_heads_must_divide_the_width() -> None:
    state = random_wavlm()
    state["encoder.layers.0.self_attn.grep_a"] = torch.zeros(1, 3, 1, 1)
    with pytest.raises(UserError, match="width 16, 3 heads"):
        derive_config(state, where="w.pt")


def test_configurations_that_transformers_cannot_follow_are_refused() -> None:
    config = derive_config(random_wavlm(), where="a test")
    with pytest.raises(UserError, match="lacks encoder_layers"):
        to_config({name: value for name, value in config.items() if name != "encoder_layers"})
    with pytest.raises(
        UserError, match=r"(?s)unknown extractor_mode of a WavLM.*'conv2d'.*default, layer_norm"
    ):
        to_config(config | {"extractor_mode": "conv2d"})
    with pytest.raises(UserError, match="unknown activation_fn of a WavLM"):
        to_config(config | {"activation_fn": "glu"})
    with pytest.raises(UserError, match="without gated relative positions"):
        to_config(config | {"gru_rel_pos": False})


@pytest.mark.parametrize("text", ["", "512", "[(512,10)]", "[(512,10,5)] * 1000", "__import__('os')", "[]"])
def test_convolutions_are_read_as_numbers_only(text: str) -> None:
    with pytest.raises(UserError, match="no list of"):
        conv_layers(text)
