"""The report: whole without a network, honest about what is missing, safe with any name."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilvox.errors import UserError
from distilvox.report import Speed, style, write_report
from distilvox.report.figures import label
from distilvox.report.groups import groups, named_by_settings
from distilvox.report.inputs import gather
from distilvox.report.read import read_runs
from tests.chromium import PROGRAM, Browser
from tests.report_pages import Page, make_run

SECTIONS = {"eer", "det", "scores", "learning", "map", "models", "sources"}
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [
        make_run(tmp_path / f"{kd}-seed{seed}", kd=kd, seed=seed, gap=gap)
        for kd, gap in (("none", 1.5), ("nskd", 2.5))
        for seed in range(2)
    ]


def spread(*values: float) -> dict[str, Any]:
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)), "runs": list(values)}


STUDY = {
    "methods": {
        name: {"eer": spread(*eers), "min_dcf_0.01": spread(0.5, 0.6), "min_dcf_0.05": spread(0.4, 0.5)}
        for name, eers in (("none", (0.22, 0.24)), ("nskd", (0.10, 0.11)))
    },
    "paired": {
        "none": {},
        "nskd": {"none": {"difference": -0.12, "low": -0.15, "high": -0.1, "relative": -0.5}},
    },
    "baselines": {"none": "none", "nskd": "none"},
    "seeds": [0, 1],
}


def test_a_whole_report(runs: list[Path], tmp_path: Path) -> None:
    speed = [
        Speed("nskd-seed1", 330_880, 1_320_000, 6.0, 3.0),
        Speed("ge2e:", 1_400_000, 5_700_000, 30.0, 3.0),
    ]
    out = write_report(
        runs, tmp_path / "r.html", title="A study", study=STUDY, speed=speed, notes=["Synthetic voices."],
        command="distilvox study x.yaml",
    )  # fmt: skip
    page = Page(out)
    assert set(page.ids) >= SECTIONS
    assert len(page.ids) == len(set(page.ids))
    assert out.stat().st_size < 8e6
    for words in (
        "A study", "dev.txt: 1,500 trials", "over 6 speakers", "raw cosine",
        "These runs were trained on none of them.",
        "best of 4", "Synthetic voices.", "distilvox study x.yaml", "c0ffee", "feedbeef", "0.1.0", "330,880",
        "1.3 MB", "6 ms / 3 s", "0.002", "7.90%", "-12.00 (-15.00 … -10.00)", "total: what is minimised",
        "nskd (2 seeds)",
    ):  # fmt: skip
        assert words in page.text, words
    drawn = {figure["id"] for figure in json.loads(page.figures)}
    assert drawn >= {"plot-eer", "plot-det", "plot-scores", "plot-part-0", "plot-part-eer", "plot-map"}
    assert drawn <= set(page.ids)
    assert len(page.figure("plot-det")["data"]) == 3 * len(runs)
    eer = page.figure("plot-eer")
    assert [trace["x"] for trace in eer["data"]] == [
        [pytest.approx(23)],
        [22, 24],
        [pytest.approx(10.5)],
        [10, 11],
        [pytest.approx(7.9)],
    ]
    assert eer["layout"]["shapes"][0]["x0"] == pytest.approx(7.9)


def test_nothing_is_loaded_from_outside(runs: list[Path], tmp_path: Path) -> None:
    page = Page(write_report(runs, tmp_path / "r.html", title="t"))
    for tag, found in page.tags:
        assert "src" not in found, tag
        assert tag not in ("link", "img", "iframe", "base"), tag
        assert (found.get("href") or "#").startswith("#"), found
    policy = next(found["content"] for tag, found in page.tags if "http-equiv" in found)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_the_same_runs_give_the_same_page(runs: list[Path], tmp_path: Path) -> None:
    first, second = (write_report(runs, tmp_path / name, title="t") for name in ("a.html", "b.html"))
    assert first.read_bytes() == second.read_bytes()


def hostile(tmp_path: Path) -> Path:
    run = make_run(
        tmp_path / "<b>run<br>", speakers=(EVIL, "</script>", "&amp;", "<b>x"), teacher=f"ge2e:{EVIL[:8]}"
    )
    return write_report(
        [run], tmp_path / "r.html", title=EVIL, notes=[EVIL + "note"], command="</pre>" + EVIL
    )


def test_names_are_text(tmp_path: Path) -> None:
    page = Page(hostile(tmp_path))
    assert [tag for tag, _ in page.tags].count("script") == 3
    assert (
        "b" not in [tag for tag, found in page.tags if not tag.startswith("h")] or "<b>run<br>" in page.text
    )
    for words in (EVIL, EVIL + "note", "</pre>" + EVIL, "<b>run<br>"):
        assert words in page.text
    assert "<" not in page.figures, "no tag can end the script"
    names = [trace["name"] for trace in page.figure("plot-map")["data"] if "name" in trace]
    assert sorted(names) == sorted(map(label, (EVIL, "</script>", "&amp;", "<b>x")))
    assert not any("<" in name for name in names)
    assert "<b>" not in page.figure("plot-det")["data"][0]["name"]


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        (["evaluation.json", "scores.npz"], "not evaluated"),
        (["scores.npz"], "no scores.npz"),
        (["log.jsonl"], "no training steps"),
        (["preflight.json"], "raw cosine"),
        (["evaluation.json", "scores.npz", "log.jsonl", "preflight.json"], "One run, not evaluated yet"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, lost: list[str], words: str) -> None:
    run = make_run(tmp_path / "run")
    for name in lost:
        (run / name).unlink()
    page = Page(write_report([run], tmp_path / "r.html", title="t"))
    assert words in page.text
    assert set(page.ids) >= SECTIONS
    assert "no model.safetensors" in page.text


def test_scores_that_are_not_numbers(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with np.load(run / "scores.npz") as held:
        values = dict(held)
    values["scores"][:3] = np.nan
    np.savez(run / "scores.npz", **values)
    (run / "log.jsonl").write_text('{"step": 0, "epoch": 0.0, "total": NaN}\n')
    assert (
        "3 of 1,500 scores are not finite" in Page(write_report([run], tmp_path / "r.html", title="t")).text
    )
    values["scores"][:3] = 0
    values["embeddings"][:4] = np.nan
    values["embeddings"][4] = 0
    np.savez(run / "scores.npz", **values)
    figure = Page(write_report([run], tmp_path / "r.html", title="t")).figure("plot-map")
    assert sum(len(trace["x"]) for trace in figure["data"] if trace["mode"] == "markers") == 36 - 5


def test_trained_speakers_are_admitted(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", trained=("bob", "t1", "bob@0.9"))
    assert "Caution: 1 of these speakers" in Page(write_report([run], tmp_path / "r.html", title="t")).text


def test_the_best_run_is_a_student(tmp_path: Path) -> None:
    teacher = make_run(tmp_path / "teacher", gap=4.0, kd="none")
    student = make_run(tmp_path / "student", gap=1.0, teacher=f"run:{teacher}")
    assert "Scores of student" in Page(write_report([teacher, student], tmp_path / "r.html", title="t")).text
    assert "Scores of teacher" in Page(write_report([teacher], tmp_path / "r.html", title="t")).text


def test_the_door(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    out = tmp_path / "r.html"
    with pytest.raises(UserError, match="at least one run"):
        write_report([], out, title="t")
    with pytest.raises(UserError, match="no run folder here"):
        write_report([tmp_path], out, title="t")
    with pytest.raises(UserError, match="given twice"):
        write_report([run, run / ".." / "run"], out, title="t")
    with pytest.raises(UserError, match="not the result of a study"):
        write_report([run], out, title="t", study={"methods": {}})
    (run / "log.jsonl").write_text("{\n{}\n")
    with pytest.raises(UserError, match="this log is damaged"):
        write_report([run], out, title="t")
    (run / "log.jsonl").unlink()
    (run / "scores.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match="these scores are damaged"):
        write_report([run], out, title="t")
    assert not out.exists()
    assert not list(tmp_path.glob(".r.html*"))


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / part / "run") for part in "ab"]
    assert [run.name for run in read_runs(folders)] == ["a/run", "b/run"]


def by_count(tmp_path: Path) -> list[Path]:
    """Two objectives on two numbers of speakers, two seeds each; folders whose names say nothing."""
    return [
        make_run(
            tmp_path / f"run{k}",
            kd=kd,
            seed=seed,
            gap=gap,
            steps=60,
            trained=tuple(f"t{n}" for n in range(count)),
        )
        for k, (kd, count, seed, gap) in enumerate(
            (kd, count, seed, gap + count / 20)
            for kd, gap in (("none", 1.0), ("nskd", 1.5))
            for count in (5, 20)
            for seed in (0, 1)
        )
    ]


def test_runs_that_only_the_seed_tells_apart_are_one_method(tmp_path: Path) -> None:
    runs = by_count(tmp_path)
    config = json.loads((runs[0] / "config.json").read_text())
    config |= {"command": "distilvox train --out 'a b'", "commit": "abc123", "distilvox": "9"}
    (runs[0] / "config.json").write_text(json.dumps(config))
    found = groups(named_by_settings(read_runs(runs)), None)
    assert [len(group.runs) for group in found] == [2, 2, 2, 2]
    assert [group.variant for group in found] == ["none", "none", "nskd", "nskd"]
    assert [group.speakers for group in found] == [5, 20, 5, 20]
    assert len({style.colour(group.tint) for group in found}) == 2
    config["train"]["epochs"] = 5
    (runs[0] / "config.json").write_text(json.dumps(config))
    assert len(groups(named_by_settings(read_runs(runs)), None)) == 5


def test_more_speakers_are_a_curve(tmp_path: Path) -> None:
    runs = by_count(tmp_path)
    page = Page(write_report(runs, tmp_path / "r.html", title="t"))
    figure = page.figure("plot-speakers")
    lines = [trace for trace in figure["data"] if trace["mode"] == "lines+markers"]
    assert [(trace["name"], trace["x"]) for trace in lines] == [("none", [5, 20]), ("nskd", [5, 20])]
    rates = [run.eer or 0.0 for run in read_runs(runs)]
    for k, trace in enumerate(lines):
        for j in range(2):
            pair = 100 * np.array(rates[4 * k + 2 * j : 4 * k + 2 * j + 2])
            assert trace["y"][j] == pytest.approx(pair.mean(), abs=1e-3)
            assert trace["error_y"]["array"][j] == pytest.approx(pair.std(ddof=1), abs=1e-3)
    assert figure["layout"]["xaxis"]["type"] == "log"
    assert "More training speakers" in page.text
    page = Page(write_report(runs[:2], tmp_path / "r.html", title="t"))
    assert "speakers" not in page.ids, "one number of speakers is no curve"


def test_a_study_alone(tmp_path: Path) -> None:
    fields = {"none": {"objective": "none"}, "nskd": {"objective": "nskd"}}
    again = {"methods": {"nskd": {"eer": spread(0.08, 0.09)}}}
    agreed = {
        "nskd": {"teacher": "ge2e:", "cosine": spread(0.71, 0.73), "rank_correlation": spread(0.6, 0.6)}
    }
    study = STUDY | {"title": EVIL, "base": {"student": "resnet-s"}, "fields": fields, "agreement": agreed}
    page = Page(write_report([], tmp_path / "r.html", title="t", study=study))
    assert "rests on a study's result alone" in page.text
    assert EVIL in page.text
    assert "0.720" in page.text
    assert {"eer", "agreement", "sources"} <= set(page.ids)
    assert not {"det", "learning", "models"} & set(page.ids)
    whole = study | {"asnorm": again | {"paired": STUDY["paired"]}}
    found = groups([], whole)
    assert found[1].extra["asnorm_eer"] == pytest.approx(0.085)


def test_what_a_report_is_asked_to_show(runs: list[Path], tmp_path: Path) -> None:
    assert gather(runs) == (runs, None)
    path = tmp_path / "study.json"
    told = {"title": "t", "teacher": "ge2e:", "trial_list": "dev.txt", "trials": 100, "scores": "raw cosine"}
    study = STUDY | told
    path.write_text(json.dumps(study))
    assert gather(runs) == (runs, study), "the study that they lie in"
    assert gather([tmp_path]) == (sorted(runs), study)
    assert gather([path]) == ([], study)
    with pytest.raises(UserError, match="one study"):
        gather([path, tmp_path])
    path.write_text("[1]")
    with pytest.raises(UserError, match=r"result of a study is damaged(.|\n)*Expected object, got array"):
        gather([path])


def test_every_number_has_its_command_and_commit(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"a-seed{seed}", seed=seed) for seed in range(3)]
    typed = shlex.join(["distilvox", "distil", "--out", "<b>it's"])
    for run in runs[:2]:
        config = json.loads((run / "config.json").read_text())
        (run / "config.json").write_text(json.dumps(config | {"command": typed, "commit": "5eed" * 10}))
    text = Page(write_report(runs, tmp_path / "r.html", title="t", command="distilvox report")).text
    for words in (typed, "at commit " + "5eed" * 10, "a-seed0, a-seed1", "not known of 1 of 3 runs"):
        assert words in text, words


def test_a_second_judgement_and_an_agreement_are_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    agreed = {"cosine": 0.512, "rank_correlation": 0.634, "neighbours": 0.345, "neighbours_by_chance": 0.0301}
    normed = {"asnorm": {"eer": 0.0777, "min_dcf": {"0.01": 0.333}}, "agreement": agreed}
    (run / "normed.json").write_text(json.dumps(normed))
    text = Page(write_report([run], tmp_path / "r.html", title="t")).text
    for words in ("Agreement with the teacher", "0.512", "0.634", "34.5%", "3.0%", "7.77%", "0.333"):
        assert words in text, words


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if PROGRAM is None:
        pytest.skip("needs chromium, to see the page as a reader does")
    opened = Browser(tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every figure, and names that would be tags."""
    folder = tmp_path_factory.mktemp("page")
    evil = (EVIL, "</script>", "&amp;", "<b>x")
    runs = [
        make_run(
            folder / f"<img src=x>{count}-{kd}-seed{seed}", kd=kd, seed=seed, steps=60, speakers=evil,
            trained=tuple(f"t{n}" for n in range(count)),
        )
        for kd, count, seed in (("none", 5, 0), ("none", 20, 0), ("nskd", 5, 0), ("nskd", 5, 1), ("nskd", 20, 0))
    ]  # fmt: skip
    return write_report(runs, folder / "r.html", title=EVIL, notes=[EVIL], command=EVIL)


@pytest.mark.parametrize(
    ("width", "height", "dark", "touch"), [(1280, 900, False, False), (390, 844, True, True)]
)
def test_a_browser_draws_it(
    browser: Browser, everything: Path, *, width: int, height: int, dark: bool, touch: bool
) -> None:
    browser.open(everything, width=width, height=height, dark=dark, touch=touch)
    figures = json.loads(Page(everything).figures)
    assert {"plot-eer", "plot-speakers", "plot-det", "plot-scores", "plot-map"} <= {f["id"] for f in figures}
    assert browser.value("document.documentElement.dataset.drawn") == str(len(figures))
    holds = "one => one.querySelector('.main-svg .trace, .main-svg .point')"
    empty = f"[...document.querySelectorAll('.plot')].filter(one => !({holds})(one)).length"
    assert browser.value(empty) == 0, "every plot holds something"
    assert browser.value("document.documentElement.scrollWidth") <= width, "the page does not scroll sideways"
    paper = browser.value("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper.strip("rgb()").split(","))) < 200) == dark
    ink = browser.value("document.querySelector('#plot-det .xtitle').style.fill")
    assert (sum(map(int, ink.strip("rgb()").split(","))) > 384) == dark, "plots are painted for their paper"
    assert browser.value("document.scripts.length") == 3
    assert browser.value("document.querySelectorAll('img').length") == 0
    shown = browser.value("document.querySelector('#plot-map').textContent")
    assert EVIL[:13] in shown, "a speaker's name stands on the map as text"
    before = browser.value("document.querySelector('#plot-scores').innerHTML")
    select = "document.querySelector('[data-figure=plot-scores]')"
    browser.value(f"{select}.value = '1'; {select}.dispatchEvent(new Event('change'))")
    assert browser.value("document.querySelector('#plot-scores').innerHTML") != before, "a reader may choose"
    assert browser.complaints() == []
    asked = [url for url in browser.requests() if not url.startswith(("data:", "blob:"))]
    assert asked == [everything.as_uri()], "no request leaves the page"
