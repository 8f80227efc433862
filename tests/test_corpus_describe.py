from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from distilvox.corpus.describe import describe, render
from distilvox.corpus.store import Corpus, CorpusWriter


def corpus_of(path: Path, seconds: dict[str, list[float]], **columns: object) -> Corpus:
    writer = CorpusWriter(path)
    for speaker, durations in seconds.items():
        for i, duration in enumerate(durations):
            wave = np.ones(round(duration * 16_000), dtype=np.int16)
            writer.add(f"{speaker}/{i % 2}/{i}", speaker, str(i % 2), wave, **columns)
    return writer.finish()


def shown(corpus: Corpus) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(render(describe(corpus)))
    return capture.get()


def test_counts_and_quantiles(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "c", {"anna": [0.5, 1.0, 1.5], "bert": [6.0], "carl": [2.0, 2.5]})
    result = describe(corpus)
    assert {key: result[key] for key in ("speakers", "sessions", "utterances")} == {
        **{"speakers": 3, "sessions": 5, "utterances": 6}
    }
    assert result["hours"] == pytest.approx(13.5 / 3600)
    spread = result["utterances_per_speaker"]
    assert [spread[key] for key in ("min", "median", "mean", "max")] == [1, 2, 2, 3]
    assert [result["seconds"][key] for key in ("min", "median", "mean", "max")] == [0.5, 1.75, 2.25, 6.0]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_histograms_hold_everything_once_and_between_their_edges(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    durations = {f"s{i}": rng.uniform(0.5, 9, rng.integers(1, 9)).tolist() for i in range(5)}
    corpus = corpus_of(tmp_path / "c", durations)
    result = describe(corpus)
    per_speaker = [len(values) for values in durations.values()]
    for name, values in (("seconds", corpus.samples / 16_000), ("utterances_per_speaker", per_speaker)):
        bins = result[name]["histogram"]
        assert sum(entry["count"] for entry in bins) == len(values)
        assert bins[0]["count"] > 0
        assert bins[-1]["count"] > 0
        for entry in bins:
            end = np.inf if entry["to"] is None else entry["to"]
            assert entry["count"] == sum(entry["from"] <= value < end for value in values)


def test_extra_columns_are_summed_up_by_kind(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "c", {"anna": [0.5, 0.5]}, age=31.0, gender="f")
    assert describe(corpus)["columns"] == {
        "age": {"type": "number", "min": 31.0, "median": 31.0, "mean": 31.0, "max": 31.0},
        "gender": {"type": "text", "values": 1, "most_frequent": {"f": 2}},
    }


def test_a_picture_shows_numbers_and_bars_and_trusts_no_name(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "c", {"anna": [0.6, 1.2, 1.3], "bert": [1.4]}, note="[red]x[/red] [/]")
    text = shown(corpus)
    for part in (
        "speakers",
        "utterances per speaker: min 1",
        "1 - 2",
        "3 utterances",
        "█",
        "[red]x[/red] [/]",
    ):
        assert part in text


def test_a_corpus_of_nothing_is_described(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "c", {})
    result = describe(corpus)
    assert (result["speakers"], result["utterances"], result["hours"]) == (0, 0, 0.0)
    assert result["seconds"] == {"min": None, "median": None, "mean": None, "max": None, "histogram": []}
    assert "duration in seconds: none" in shown(corpus)
