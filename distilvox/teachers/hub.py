"""`OWNER/NAME` instead of a folder: a repository of the Hugging Face hub, through huggingface_hub and its cache.

Only files on a list are fetched, never code; what is fetched is read like any folder. The library is imported
where a name is given: a folder needs none of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from distilvox.console import say
from distilvox.errors import UserError, require
from distilvox.teachers.uri import yes_or_no

REPO = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
CARD = "README.md"
"""Fetched from every repository: its head names the licence."""

Files = Sequence[Sequence[str]]
"""What is needed of a repository: of each entry the first pattern that matches a file there; none may."""


def folder_of(rest: str, *, scheme: str, files: Files, revision: str = "", offline: str = "") -> Path:
    """What a URI names: a file or folder that exists, else a repository's files in the hub's cache.

    The hub is asked once, for the list of files and what is new; without a network, or where `HF_HUB_OFFLINE`
    or `offline` say so, the cache alone answers.

    Args:
        rest: a path, or OWNER/NAME.
        scheme: for messages.
        files: the only ones that are fetched, besides the card.
        revision: a branch, a tag or a commit; the main branch if empty.
        offline: whether the hub may not be asked; a switch as in `yes_or_no`, no if empty.

    Errors:
        UserError: no such path and no name of a repository; no such repository or revision; one that asks for
            consent first; one that is not in the cache while the hub cannot be reached.
    """
    path = Path(rest)
    if path.exists():
        require(
            not revision,
            f"a revision is of a repository, and {rest} is a path that exists",
            got=f"revision={revision}",
            remedy="leave the revision out",
        )
        return path
    require(
        REPO.fullmatch(rest) is not None,
        f"no such file or folder for {scheme}:",
        got=rest,
        allowed=f"{scheme}:FOLDER, or {scheme}:OWNER/NAME of a repository on the Hugging Face hub",
    )
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or (offline and yes_or_no("offline", offline)):
        return cached(rest, revision, scheme, why="is not asked (offline)")
    return fetched(rest, revision, scheme, files)


def fetched(name: str, revision: str, scheme: str, files: Files) -> Path:
    """The folder of a repository in the cache, after what it lacks was fetched."""
    from huggingface_hub import HfApi, errors, snapshot_download

    try:
        there = HfApi().list_repo_files(name, revision=revision or None)
        wanted = [*pick(there, files), CARD]
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=wanted))
    except errors.RevisionNotFoundError:
        raise UserError(f"the repository {name} has no revision {revision!r}") from None
    except errors.GatedRepoError:
        raise UserError(
            f"{name} asks for consent before it gives its files",
            remedy=f"accept on https://huggingface.co/{name} and log in (hf auth login), or fetch the folder yourself",
        ) from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"no such folder, and no such repository on the Hugging Face hub: {name}",
            remedy=f"mind the spelling; a private one needs a login (hf auth login); or give {scheme}:FOLDER",
        ) from None
    except Exception as error:  # networks, proxies and whatever library is beneath raise anything at all
        found = cached(name, revision, scheme, why=f"cannot be reached ({type(error).__name__})")
        say(f"the Hugging Face hub cannot be reached: {name} is taken from the local cache")
        return found


def cached(name: str, revision: str, scheme: str, *, why: str) -> Path:
    """The folder of a repository as the cache has it; the network is not asked.

    Args:
        why: what the hub does instead, for the message.

    Errors:
        UserError if it is not there.
    """
    from huggingface_hub import errors, snapshot_download

    try:
        return Path(
            snapshot_download(name, revision=revision or None, local_files_only=True, allow_patterns=[])
        )
    except errors.LocalEntryNotFoundError:
        at = f" at revision {revision}" if revision else ""
        raise UserError(
            f"{name}{at} is no folder here and not in the local cache, and the Hugging Face hub {why}",
            remedy=f"give the folder of a downloaded repository ({scheme}:FOLDER), or connect to the network",
        ) from None


def pick(there: Sequence[str], files: Files) -> list[str]:
    """The names of a repository's files that are needed: of each entry those of its first pattern with any.

    >>> pick(["a.safetensors", "a.bin", "run.py"], [["*.safetensors", "*.bin"], ["config.json"]])
    ['a.safetensors']
    """
    found: list[str] = []
    for patterns in files:
        matches = ([name for name in there if fnmatchcase(name, one)] for one in patterns)
        found += next((some for some in matches if some), [])
    return found
