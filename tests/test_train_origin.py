"""What a run remembers of how it was made: words that can be typed again, the commit of the code."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from distilvox.errors import UserError
from distilvox.files import write_json
from distilvox.train.folder import open_run
from distilvox.train.origin import code_commit, typed_command

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.mark.parametrize(
    "program", ["distilvox", "/opt/a b/bin/distilvox", "/x/distilvox/__main__.py", "distilvox.exe"]
)
def test_a_command_can_be_typed_again(program: str) -> None:
    words = ["train", "--out", "my runs/$HOME", "it's", ""]
    command = typed_command([program, *words])
    assert command is not None
    assert shlex.split(command) == ["distilvox", *words], "the program by its name, wherever it lies"


@pytest.mark.parametrize(
    "argv", [[], [""], ["-c"], ["/opt/bin/pytest", "distilvox"], ["/x/other/__main__.py"]]
)
def test_other_programs_have_no_command(argv: list[str]) -> None:
    assert typed_command(argv) is None


@needs_git
def test_the_commit_is_that_of_the_checkout_that_holds_the_code(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ("-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false")
        return subprocess.run(
            ["git", "-C", str(tmp_path), *who, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    package = tmp_path / "package"
    package.mkdir()
    code = package / "__init__.py"
    code.write_text("")
    assert code_commit(package) is None, "no checkout"
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    assert code_commit(package) is None, "installed inside a checkout of something else"
    git("add", "package")
    git("commit", "-q", "-m", "second")
    git("tag", "v1")
    assert code_commit(package) == git("rev-parse", "HEAD")
    code.write_text("changed = 1\n")
    assert code_commit(package) == git("rev-parse", "HEAD") + "-dirty"
    assert code_commit(tmp_path / "none") is None


def test_a_run_goes_on_by_another_command_and_commit(tmp_path: Path) -> None:
    record = {"train": {"seed": 1}, "command": "distilvox train", "commit": "a"}
    write_json(tmp_path / "config.json", {"train": {"seed": 1}})
    (tmp_path / "model.safetensors").write_bytes(b"")
    open_run(tmp_path, record, resume=True)
    open_run(tmp_path, record | {"command": None, "commit": None}, resume=True)
    with pytest.raises(UserError, match=r"changed: train\.seed$|changed: train\.seed\n"):
        open_run(tmp_path, record | {"train": {"seed": 2}}, resume=True)
