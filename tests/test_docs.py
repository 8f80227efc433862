"""What is written is true: the page of the command line is current, examples in docstrings and pages work."""

from __future__ import annotations

import contextlib
import difflib
import doctest
import importlib
import io
import pkgutil
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

import distilvox
from distilvox.cli import VERBS
from distilvox.cli.pages import COMMAND, help_of, page
from tests.journey import Journey, travelled
from tests.making import murmur
from tests.running import run

HOME = Path(__file__).parents[1]
PAGES = [path for path in (HOME / "README.md", *sorted((HOME / "docs").glob("*.md"))) if path.exists()]
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(distilvox.__path__, "distilvox.")
    if not module.name.endswith("__main__")
)


def test_the_page_of_the_command_line_is_current() -> None:
    written = (HOME / "docs" / "cli.md").read_text(encoding="utf-8")
    changed = list(
        difflib.unified_diff(written.splitlines(), page().splitlines(), "docs/cli.md", "--help", n=0)
    )
    assert not changed, "\n".join([f"docs/cli.md is out of date; write it anew: {COMMAND}", *changed[:40]])


def test_the_page_says_nothing_about_this_machine() -> None:
    shown = page()
    assert "\x1b" not in shown
    assert str(HOME) not in shown
    assert str(Path.home()) not in shown
    assert COMMAND in shown.splitlines()[0]
    assert re.findall(r"^## (\w+)$", shown, re.MULTILINE) == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_explained(verb: str) -> None:
    """Each option is followed by words, not by its default alone."""
    for option, words in options(help_of(verb)).items():
        explained = re.sub(r"\((default:[^)]*|required)\)", "", words).strip()
        assert len(explained) > 5, f"{verb} {option} is not explained"


OPTION = re.compile(r"  (?:-\w, )?(--\w[\w.-]*)(?: [A-Z{\[][^ ]*(?: \[?[A-Z]+\]*| \.\.\.\]+)*)?(?:  +(.*))?$")
"""A line of help that begins an option: its name, what its value is called, and perhaps its explanation."""


def options(shown: str) -> dict[str, str]:
    """Option → what its help says, out of a page of help."""
    found: dict[str, str] = {}
    name = None
    for line in shown.partition("\n options\n")[2].partition("\nexamples:")[0].splitlines():
        if start := OPTION.match(line):
            name = start[1]
            found[name] = start[2] or ""
        elif name is not None and line.startswith("   "):
            found[name] = f"{found[name]} {line.strip()}".strip()
        else:
            name = None
    return found


def test_options_are_found_on_a_page_of_help() -> None:
    found = options(help_of("distil"))
    assert found["--corpus"].startswith("the training speakers: a folder")
    assert found["--objective"].startswith("the kind of knowledge distillation")
    assert {
        "--help",
        "--student-options",
        "--resume",
        "--epochs",
        "--targets.sees",
        "--views.snr-db",
    } <= found.keys()


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0


# ---- README and docs -----------------------------------------------------------------------------------------

BLOCK = re.compile(r"(?:<!-- (not run|run) -->\s*)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(*languages: str, marks: tuple[str | None, ...] = (None, "run")) -> list:
    """Every block in these languages and with one of these marks on a page, with its place as its name."""
    return [
        pytest.param(block[3], id=f"{path.name}:{text[: block.start(3)].count(chr(10)) + 1}")
        for path in PAGES
        for text in [path.read_text(encoding="utf-8")]
        for block in BLOCK.finditer(text)
        if block[2] in languages and block[1] in marks
    ]


@pytest.fixture
def at_home(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder that holds what examples speak of: speech/, train/, dev/, trials.txt, runs/, bundle/, enrol.wav …"""
    journey: Journey = travelled(tmp_path_factory)
    shutil.copytree(journey.bundle, tmp_path / "bundle")
    (tmp_path / "runs").mkdir()
    for name, there in {"runs/big": "big", "runs/student": "small"}.items():
        (tmp_path / name).symlink_to(journey.home / there)
    for name in ("speech", "train", "dev", "trials.txt"):
        (tmp_path / name).symlink_to(journey.home / name)
    rng = np.random.default_rng(0)
    voice = murmur(
        rng, 80, 40_000
    )  # one recording with four noises: to so small a model others would be strangers
    for name in ("enrol.wav", "test.wav", "a.wav", "b.wav"):
        soundfile.write(tmp_path / name, voice + rng.integers(-8, 9, len(voice), np.int16), 16_000)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("source", blocks("python"))
def test_python_on_a_page_runs(source: str, at_home: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(source, "README.md", "exec"), {"__name__": "__main__"})


def commands(source: str) -> list[list[str]]:
    """The words of every `distilvox …` in a block of shell: continued lines joined, comments left out."""
    found = []
    for line in source.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        while "distilvox" in words:
            words = words[words.index("distilvox") + 1 :]
            ends = [k for k, word in enumerate(words) if word in ("&&", "||", "|", ";", ">", "distilvox")]
            if words and not (ends and ends[0] == 0):
                found.append(words[: ends[0] if ends else None])
    return found


def test_commands_are_found_in_shell() -> None:
    source = (
        "pip install distilvox  # no\n$ torchrun -m distilvox distil --out \\\n  b && distilvox verify x > y"
    )
    assert commands(source) == [["distil", "--out", "b"], ["verify", "x"]]


@pytest.mark.parametrize("source", blocks("sh", "bash", "shell", "console"))
def test_commands_on_a_page_exist(source: str) -> None:
    for verb, *words in commands(source):
        if verb.startswith("-") or verb == "VERB":
            continue
        assert verb in VERBS
        known = options(help_of(verb))
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, f"distilvox {verb} has no {word}"


@pytest.mark.parametrize("source", blocks("sh", marks=("run",)))
def test_commands_on_a_page_run(source: str, at_home: Path) -> None:
    """One after another, each as a person would type it; `verify` and `identify` may say no."""
    for line, words in zip(source.splitlines(), commands(source), strict=True):
        ran = run(*words)
        assert ran.code in ((0, 3) if words[0] in ("verify", "identify") else (0,)), f"{line}\n{ran.err}"


def pages_in(menu: list) -> list[str]:
    """The pages of a menu of mkdocs.yml, whatever they lie under."""
    found: list[str] = []
    for entry in menu:
        for below in entry.values():
            found += pages_in(below) if isinstance(below, list) else [below]
    return found


def test_the_menu_of_the_site_is_the_pages_that_there_are() -> None:
    menu = yaml.safe_load((HOME / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert sorted(pages_in(menu)) == sorted(path.name for path in PAGES if path.parent.name == "docs")


@pytest.mark.parametrize(
    "page", [path for path in PAGES if path.parent.name == "docs"], ids=lambda path: path.name
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Files and headings; `make docs` checks them once more, as the site has them."""
    for target, heading in re.findall(
        r"\]\((?!\w+:)([^)#\s]*)#?([^)\s]*)\)", page.read_text(encoding="utf-8")
    ):
        there = page.parent / target if target else page
        assert there.is_file(), f"{page.name}: {target}"
        if heading:
            titles = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            known = [
                re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles
            ]
            assert heading in known, f"{page.name}: {target}#{heading}"


@pytest.mark.parametrize("verb", VERBS)
def test_commands_in_examples_exist(verb: str) -> None:
    test_commands_on_a_page_exist(help_of(verb).partition("examples:\n")[2])
