"""For the tests of the report: run folders as training leaves them, and a page as a browser reads it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from distilvox.evaluation.metrics import curve_eer, curve_min_dcf, det_curve


def make_run(
    folder: Path,
    *,
    kd: str = "nskd",
    seed: int = 0,
    gap: float = 2.0,
    steps: int = 400,
    speakers: tuple[str, ...] = ("ann", "bob", "cyd", "dan", "eve", "fay"),
    teacher: str = "ge2e:",
    trained: tuple[str, ...] = ("t1", "t2"),
) -> Path:
    """A finished run folder as `train` leaves it, without weights; `gap` parts targets from non-targets."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    write = {
        "config.json": {
            "version": 1, "distilvox": "0.1.0", "model": {"name": "xvector-s", "config": {}},
            "objective": {"objective": kd}, "train": {"epochs": 4, "seed": seed}, "trials": "dev.txt",
            "corpus": {"path": "/data/train", "id": "c0ffee" * 8},
            "teacher": {"uri": teacher, "id": "feedbeef"}, "speakers": list(trained),
        },
        "preflight.json": {"teacher": teacher, "dev_eer": 0.079, "trial_list": "dev.txt"},
    }  # fmt: skip
    names = np.repeat(speakers, 6)
    enrol, test = rng.integers(0, len(names), (2, 1500))
    labels = names[enrol] == names[test]
    rng = np.random.default_rng(seed)
    scores = (labels * gap + rng.normal(size=1500)) / 10
    curve = det_curve(scores, labels)
    eer, threshold = curve_eer(curve)
    write["evaluation.json"] = {
        "eer": eer, "eer_ci": [0.8 * eer, 1.2 * eer], "eer_threshold": threshold, "scores": "raw cosine",
        "min_dcf": {str(p): curve_min_dcf(curve, p_target=p) for p in (0.01, 0.05)},
        "speakers": len(speakers), "trials": 1500, "target_trials": int(labels.sum()),
        "trial_list": "dev.txt",
    }  # fmt: skip
    for name, value in write.items():
        (folder / name).write_text(json.dumps(value))
    embeddings = rng.normal(size=(len(names), 8)) + 3 * rng.normal(size=(len(speakers), 8)).repeat(6, axis=0)
    np.savez(
        folder / "scores.npz", scores=scores.astype(np.float32), labels=labels, enrol=enrol, test=test,
        speakers=names, embeddings=embeddings.astype(np.float32),
    )  # fmt: skip
    lines: list[dict[str, Any]] = [
        {
            "step": k,
            "epoch": k / 100,
            "learning_rate": 1e-3,
            "total": 9.0 - k / 100,
            "ce": 8.0,
            "kd_weight": 1.0,
        }
        | ({} if kd == "none" else {kd: 1.0 if k % 7 else float("nan")})
        | {"accuracy": 0.5, "grad_norm": 1.0}
        for k in range(steps)
    ]
    lines.append({"step": steps, "epoch": 4.0, "evaluation": {"eer": eer}})
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


class Page(HTMLParser):
    """What a browser would find: ids, the tags with their attributes, the text outside of scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = self.figures = ""
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self.ids += [found["id"] or ""] if "id" in found else []
        if tag not in ("meta", "line", "br"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script" and self.ids[-1] == "figures" and not self.figures:
            self.figures = data
        elif not self._open or self._open[-1] not in ("script", "style"):
            self.text += data

    def figure(self, name: str) -> dict[str, Any]:
        return next(figure for figure in json.loads(self.figures) if figure["id"] == name)
