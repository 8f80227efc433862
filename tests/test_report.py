"""The report: whole without a network, honest about what is missing, safe with any name."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilvox.errors import UserError
from distilvox.report import Speed, write_report
from distilvox.report.figures import label
from distilvox.report.read import read_runs
from tests.report_pages import Page, make_run

SECTIONS = {"eer", "det", "scores", "learning", "map", "models", "sources"}
EVIL = "<script>alert(1)</script>"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


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


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, to see the page as a reader does")
def test_a_browser_draws_it(tmp_path: Path) -> None:
    out = hostile(tmp_path)
    seen = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--no-first-run",
            f"--user-data-dir={tmp_path}/user",
            "--enable-logging=stderr", "--virtual-time-budget=8000", "--dump-dom", out.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in seen.stderr, seen.stderr
    count = len(json.loads(Page(out).figures))
    assert f'data-drawn="{count}"' in seen.stdout
    drawn = seen.stdout.partition("<main>")[2].partition("<footer>")[0]
    assert drawn.count("js-plotly-plot") == count
    assert "<script>alert" not in drawn
    assert "&lt;script&gt;ale" in drawn, "the speaker's name stands on the map as text"
