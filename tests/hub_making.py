"""A cache of the Hugging Face hub as huggingface_hub lays it out, made without the network."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import HfApi, constants


def put(cache: Path, name: str, files: dict[str, bytes], *, branch: str = "main") -> str:
    """Adds a revision of a repository to a cache; returns its commit.

    blobs/ holds the contents by their hash, snapshots/COMMIT/ links to them, refs/BRANCH names the commit.
    """
    home = cache / f"models--{name.replace('/', '--')}"
    commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
    for path, content in files.items():
        blob = home / "blobs" / hashlib.sha256(content).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = home / "snapshots" / commit / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    ref = home / "refs" / branch
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(commit, encoding="ascii")
    return commit


def put_folder(cache: Path, name: str, folder: Path) -> str:
    """The same, of the files in a folder."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return put(cache, name, files)


def use_cache(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """Points huggingface_hub at a cache, and makes any use of its network an error of the test."""

    def refuse(self: object, name: str, **_: Any) -> None:
        raise AssertionError(f"the network was asked for {name}")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for ask in ("list_repo_files", "repo_info", "list_repo_tree"):
        monkeypatch.setattr(HfApi, ask, refuse)
    return cache


def answer(status: int) -> Any:
    """What an error of the hub holds: enough of an HTTP response for its constructor."""
    return SimpleNamespace(status_code=status, headers={}, request=None, text="", url="")
