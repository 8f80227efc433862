"""A repository's name stands for a folder: from the hub's cache, and without a network wherever one is faked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from distilvox.errors import UserError
from distilvox.teachers.hub import folder_of, pick
from tests.hub_making import answer, put, use_cache

FILES = [["model.pt", "model.bin"], ["config.yaml"]]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_cache(monkeypatch, tmp_path / "hub")


def test_a_path_that_exists_wins(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(cache, "owner/name", {"model.pt": b"1"})
    monkeypatch.chdir(tmp_path)
    assert folder_of("owner/name", scheme="x", files=FILES).is_relative_to(cache)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert folder_of("owner/name", scheme="x", files=FILES) == Path("owner/name")
    with pytest.raises(
        UserError, match=r"(?s)a revision is of a repository.*revision=v1.*leave the revision out"
    ):
        folder_of("owner/name", scheme="x", files=FILES, revision="v1")


def test_a_revision_is_a_branch_a_tag_or_a_commit(cache: Path) -> None:
    first = put(cache, "owner/name", {"model.pt": b"1"})
    put(cache, "owner/name", {"model.pt": b"2"}, branch="v2")
    read = {
        revision: (
            folder_of("owner/name", scheme="x", files=FILES, revision=revision) / "model.pt"
        ).read_bytes()
        for revision in ("", "main", "v2", first)
    }
    assert read == {"": b"1", "main": b"1", "v2": b"2", first: b"1"}
    with pytest.raises(
        UserError, match=r"owner/name at revision v3 is no folder here and not in the local cache"
    ):
        folder_of("owner/name", scheme="x", files=FILES, revision="v3")


def test_offline_asks_nobody(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the environment of huggingface_hub or by the URI; the fixture fails the test where the hub is asked."""
    put(cache, "owner/name", {"model.pt": b"1"})
    with pytest.raises(UserError) as caught:
        folder_of("owner/other", scheme="x", files=FILES)
    assert str(caught.value).splitlines() == [
        "owner/other is no folder here and not in the local cache, and the Hugging Face hub is not asked (offline)",
        "  remedy:  give the folder of a downloaded repository (x:FOLDER), or connect to the network",
    ]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert (folder_of("owner/name", scheme="x", files=FILES, offline="1") / "model.pt").read_bytes() == b"1"


def test_without_a_network_the_cache_serves_and_says_so(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: HfApi, name: str, **_: Any) -> None:
        raise ConnectionError("no route")

    put(cache, "owner/name", {"model.pt": b"1"})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(HfApi, "list_repo_files", fail)
    assert folder_of("owner/name", scheme="x", files=FILES, offline="no").is_relative_to(cache)
    said = " ".join(capsys.readouterr().err.split())
    assert "hub cannot be reached: owner/name is taken from the local cache" in said
    with pytest.raises(
        UserError, match=r"owner/other is no folder.*hub cannot be reached \(ConnectionError\)"
    ):
        folder_of("owner/other", scheme="x", files=FILES)


def test_only_what_is_on_the_list_is_fetched(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def fetch(name: str, **options: Any) -> str:
        asked.append({"name": name, **options})
        return "somewhere"

    there = ["README.md", "config.yaml", "model.bin", "model.pt", "model.py", "hubconf.py", "big.safetensors"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(HfApi, "list_repo_files", lambda self, name, revision: there)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert folder_of("owner/name", scheme="x", files=FILES, revision="v1") == Path("somewhere")
    wanted = ["model.pt", "config.yaml", "README.md"]
    assert asked == [{"name": "owner/name", "revision": "v1", "allow_patterns": wanted}]


def test_of_alternatives_the_first_that_is_there() -> None:
    shards = ["model-1.safetensors", "model-2.safetensors"]
    assert pick(shards, [["model.safetensors", "model-*.safetensors", "*.bin"]]) == shards
    assert pick(["pytorch_model.bin"], [["*.safetensors", "*.bin"], ["label_encoder.txt"]]) == [
        "pytorch_model.bin"
    ]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            RepositoryNotFoundError,
            r"(?s)no such repository on the Hugging Face hub: a/b.*mind the spelling.*x:FOLDER",
        ),
        (GatedRepoError, r"(?s)a/b asks for consent.*accept on https://huggingface\.co/a/b and log in"),
        (RevisionNotFoundError, r"the repository a/b has no revision 'v9'"),
    ],
)
def test_what_the_hub_refuses_is_said(
    cache: Path, monkeypatch: pytest.MonkeyPatch, error: type[HfHubHTTPError], message: str
) -> None:
    def fail(self: HfApi, name: str, **_: Any) -> None:
        raise error("no", response=answer(404))

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(HfApi, "list_repo_files", fail)
    with pytest.raises(UserError, match=message):
        folder_of("a/b", scheme="x", files=FILES, revision="v9")


@pytest.mark.parametrize(
    "rest", ["/nowhere/at/all", "./runs/none", "runs", "a b/c", "https://huggingface.co/a/b", "../a"]
)
def test_what_is_no_name_is_no_folder(cache: Path, rest: str) -> None:
    with pytest.raises(UserError, match=r"(?s)no such file or folder for x:.*x:OWNER/NAME"):
        folder_of(rest, scheme="x", files=FILES)
