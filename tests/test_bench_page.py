"""What `make bench` draws and writes is what was measured: the page and the drawing, from curves of known slope."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import Row, page, plot, scaling
from bench.scaling import Curve

SIZES = (1e3, 1e4, 1e5)


def curve(name: str, power: float, panel: str = "time") -> Curve:
    return Curve(panel, name, "C", "ms", SIZES, tuple(3 * size**power for size in SIZES))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_slope_is_the_power(power: float) -> None:
    assert curve("a", power).slope == pytest.approx(power)


def test_a_drawing_holds_every_point_where_it_belongs() -> None:
    some = [curve("a & b", 1.0), curve("flat", 0.0), curve("only", 0.0, panel="other <C>")]
    root = ElementTree.fromstring(plot.drawing(some))
    name = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{name}g")) == 2
    assert len(root.findall(f".//{name}circle")) == 9
    rising = [
        (float(dot.get("cx", "")), float(dot.get("cy", ""))) for dot in root.findall(f".//{name}circle")
    ]
    (x0, y0), (x1, y1), (x2, y2) = rising[:3]
    assert x2 - x1 == pytest.approx(x1 - x0, abs=0.2)
    assert y2 - y1 == pytest.approx(y1 - y0, abs=0.2)  # a power law is straight
    assert y0 > y1 > y2  # and more is higher
    assert len({y for _, y in rising[3:6]}) == 1
    words = [text.text for text in root.findall(f".//{name}text")]
    assert {"a & b", "flat", "only", "time, ms", "other <C>, ms", "100 k"} <= set(words)
    guide = root.find(f".//{name}path[@class='linear']")
    assert guide is not None
    assert (guide.get("d") or "").endswith(f"{x2} {y2}")


def test_the_page_shows_the_numbers_of_the_file() -> None:
    row = Row("work", "the obvious way", 0.001, 0.0123, 1e-7, "float64", "a note")
    part = {"date": "2031-02-03", "load": 0.25}
    found = {
        "hardware": "a processor",
        "parts": {
            "views": {**part, "found": [asdict(row)]},
            page.SCALING: {**part, "found": [asdict(curve("ours", 1.0)), asdict(curve("naive", 2.0))]},
        },
    }
    text = page.markdown(json.loads(json.dumps(found)))
    assert "a processor; 2031-02-03; load of the machine after each part: views 0.2, scaling 0.2." in text
    assert "| views | work | 1.0 | the obvious way | 12.3 | 12.30 | 1.0e-07 | float64 | a note |" in text
    assert f"]({page.DRAWING})" in text
    assert "| time, ms | C 1,000 | C 10,000 | C 100,000 | slope |" in text
    assert "| ours | 3,000.0 | 30,000.0 | 300,000.0 | 1.00 |" in text
    assert "## The objective on a GPU" not in text


def test_curves_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Smallest sizes; the memory of a process of its own is left to the real run."""
    monkeypatch.setattr(scaling, "THREADS", 1)
    monkeypatch.setattr(scaling, "grown", lambda who, batch, classes: -1.0)
    found = scaling.of_objective((16, 32), (2, 4), naive_classes=16)
    assert [(one.axis, one.unit, one.name, len(one.sizes)) for one in found] == [
        ("C", "ms", "ours", 2), ("C", "ms", "naive", 1), ("C", "MB", "ours", 2), ("C", "MB", "naive", 1),
        ("B", "ms", "ours", 2), ("B", "ms", "naive", 2),
    ]  # fmt: skip
    assert all(cost > 0 for one in found for cost in one.costs)
    hours = scaling.of_corpus((0.2,))
    assert [one.name for one in hours] == [
        "open",
        "open to first batch",
        "read a batch",
        "make a batch",
    ]
    assert all(cost > 0 for one in hours for cost in one.costs)
