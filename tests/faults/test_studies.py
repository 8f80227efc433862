"""A study.json whose content is wrong: refused with the field's name, or shown without a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distilvox.errors import UserError
from distilvox.report import write_report
from distilvox.report.inputs import gather
from distilvox.study.compare import markdown
from tests.faults.mutations import Mutation, mutations
from tests.faults.table import fault


def spread(mean: float) -> dict[str, Any]:
    return {"mean": mean, "std": 0.001, "runs": [mean]}


RATES = {name: {"eer": spread(eer), "min_dcf_0.01": spread(0.7), "min_dcf_0.05": spread(0.5)}
         for name, eer in (("none", 0.12), ("nskd", 0.08))}  # fmt: skip
PAIR = {"difference": -0.04, "low": -0.06, "high": -0.02, "relative": -0.3}
PAIRED = {"none": {"nskd": PAIR}, "nskd": {"none": PAIR}}
STUDY: dict[str, Any] = {
    "title": "t", "teacher": "ge2e:", "seeds": [0, 1], "baselines": {"none": "none", "nskd": "none"},
    "trial_list": "dev.txt", "trials": 100, "scores": "raw cosine", "methods": RATES, "paired": PAIRED,
    "base": {"epochs": 2}, "fields": {"none": {"objective": "none"}, "nskd": {"objective": "nskd"}},
    "asnorm": {"scores": "AS-norm", "trial_list": "dev.txt", "methods": RATES, "paired": PAIRED},
    "agreement": {name: {"teacher": "ge2e:", "rank_correlation": spread(0.5)} for name in RATES},
}  # fmt: skip
SHOWN = 8
"""Of the mutations that are accepted, so many are shown as a page: that costs a second each."""


def write(path: Path, study: object) -> Path:
    path.write_text(json.dumps(study))
    return path


def test_a_wrong_type_is_named(tmp_path: Path) -> None:
    row = fault("a study.json of the wrong types")
    path = tmp_path / "study.json"
    assert gather([write(path, STUDY)])[1] == STUDY
    accepted: list[Mutation] = []
    refused = 0
    for mutation in mutations(STUDY):
        write(path, mutation.value)
        try:
            gather([path])
        except UserError as error:
            refused += row.sees in error.what
            assert error.exit_code == row.exits  # noqa: PT017
        else:
            accepted.append(mutation)
            markdown(mutation.value)
    assert refused > 1500
    for mutation in accepted[:: max(1, len(accepted) // SHOWN)]:
        try:
            write_report([], tmp_path / "page.html", title="t", study=mutation.value)
        except UserError as error:
            assert str(path.parent) in str(error) or error.what  # noqa: PT017


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": {**RATES, "nskd": {**RATES["nskd"], "eer": {"mean": "x"}}}}, "methods.nskd.eer.mean"),
        ({"paired": {**PAIRED, "nskd": {"none": {**PAIR, "low": None}}}}, "paired.nskd.none.low"),
        ({"paired": {"none": {}}}, r"paired.nskd\n.*nothing against 'none'"),
        ({"baselines": {"none": "none", "nskd": "kld"}}, r"baselines.nskd\n.*'kld', which is no method"),
        ({"agreement": {}}, "agreement"),
        ({"seeds": [0, "1"]}, "seeds.1"),
    ],
)  # fmt: skip
def test_the_field_is_named_with_its_method(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"damaged: .*, at {message}"):
        gather([write(tmp_path / "study.json", STUDY | change)])
