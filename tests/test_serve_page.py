"""The page: served whole, with nothing from elsewhere in it; what it makes of samples, libsndfile reads."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

from distilvox.serve.app import PAGE
from tests.serving import client, stand_in

FILES = sorted(path.name for path in PAGE.iterdir())
NAMESPACE = "http://www.w3.org/2000/svg"
"""The one address in it, which names a format and is never fetched."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("page")
    with client(stand_in(folder / "bundle"), folder / "a.book") as one:
        yield one


@pytest.mark.parametrize("name", FILES)
def test_nothing_comes_from_elsewhere(name: str) -> None:
    text = (PAGE / name).read_text(encoding="utf-8").replace(NAMESPACE, "")
    assert not re.search(r"https?://|\b(src|href|url|import)\W+//|@import", text)


@pytest.mark.parametrize("name", FILES)
def test_nothing_runs_that_is_not_in_a_file_of_its_own(name: str) -> None:
    """What the content security policy would block, and what would make a person's name into HTML."""
    text = (PAGE / name).read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(", text)
    if name.endswith(".html"):
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_pages_and_all_that_they_name_are_served(opened: TestClient, path: str) -> None:
    page = opened.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    named = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert len(named) >= 4
    for one in named:
        assert opened.get(f"/{one.lstrip('./')}").status_code == 200, one


def test_scripts_are_served_as_scripts(opened: TestClient) -> None:
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
    for name in FILES:
        kind = opened.get(f"/page/{name}").headers["content-type"]
        assert kind.partition(";")[0] == kinds[Path(name).suffix]
        imported = re.findall(r'from "\./(\S+?)"', (PAGE / name).read_text(encoding="utf-8"))
        assert set(imported) <= set(FILES)


def test_every_part_that_the_script_asks_for_is_on_the_page() -> None:
    page, script = ((PAGE / name).read_text(encoding="utf-8") for name in ("index.html", "page.js"))
    ids = set(re.findall(r'id="(\w+)"', page))
    assert set(re.findall(r'\bat\("(\w+)"\)', script)) <= ids
    slots = set(re.findall(r'data-slot="(\w+)"', page))
    assert set(re.findall(r'recordings\("(\w+)"\)', script)) == slots
    assert set(re.findall(r'for="(\w+)"|aria-labelledby="(\w+)"', page)) <= {("", one) for one in ids}


def test_it_can_be_read_in_light_and_dark() -> None:
    """Contrast of text and of the parts that carry meaning, as WCAG 2 computes it."""
    style = (PAGE / "style.css").read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--(\w+): #(\w{6})", part)) for part in style.split("@media")[:2])
    assert light.keys() == dark.keys()
    for colours in (light, dark):
        for name, least in {"ink": 7, "quiet": 4.5, "speech": 4.5, "yes": 4.5, "no": 4.5}.items():
            assert min(contrast(colours[name], colours[paper]) for paper in ("paper", "card")) >= least, name


def contrast(first: str, second: str) -> float:
    def light(colour: str) -> float:
        parts = np.array([int(colour[k : k + 2], 16) / 255 for k in (0, 2, 4)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05

    ratio = light(first) / light(second)
    return max(ratio, 1 / ratio)


def test_a_wave_made_in_the_browser_is_read(tmp_path: Path) -> None:
    """The function that makes WAV of a recording, run by Node on samples with some beyond full scale."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node, to run the page's JavaScript")
    shutil.copy(PAGE / "sound.js", tmp_path / "sound.mjs")
    script = (
        'import { wav } from "./sound.mjs"; const x = Float32Array.from([0, 0.5, -0.5, 1, -1, 2, -2]);'
        "process.stdout.write(new Uint8Array(wav(x, 44100)));"
    )
    (tmp_path / "run.mjs").write_text(script)
    made = subprocess.run([node, tmp_path / "run.mjs"], capture_output=True, check=True).stdout
    samples, rate = soundfile.read(io.BytesIO(made), dtype="int16")
    assert rate == 44_100
    assert samples.tolist() == [0, 16384, -16383, 32767, -32767, 32767, -32767]
