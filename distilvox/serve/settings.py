"""Where a service listens, who may use it, and the most that it takes."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from distilvox.errors import UserError, require
from distilvox.limits import check_limit

LEAST_KEY = 16
"""Letters of a key."""


@dataclass(frozen=True)
class Settings:
    """How a service behaves.

    Args:
        host: address to listen at; one that others reach needs a key.
        port: 1 to 65,535; 0 takes a free one.
        key: what a client sends as `X-API-Key`; None asks for none.
        threads: recordings judged at once, each on one core.
        queue: requests that may wait beside them.
        most_bytes: of a request's body.
        most_seconds: of one recording.
        send_seconds: how long a client may take to send its body.
        wait_seconds: how long a request may wait for a thread.
        most_files: recordings in one request.
    """

    host: str = "127.0.0.1"
    port: int = 8321
    key: str | None = field(default=None, repr=False)
    threads: int = 2
    queue: int = 64
    most_bytes: int = 16 << 20
    most_seconds: float = 120.0
    send_seconds: float = 30.0
    wait_seconds: float = 30.0
    most_files: int = 10

    def __post_init__(self) -> None:
        require(0 <= self.port < 65_536, "a port is a number", got=self.port, allowed="1 to 65535, or 0")
        require(self.threads >= 1, "threads must be at least 1", got=self.threads)
        check_limit("threads", self.threads, what="threads")
        for name in ("queue", "most_bytes", "most_seconds", "send_seconds", "wait_seconds", "most_files"):
            value = getattr(self, name)
            require(value >= (name != "queue"), f"{name} must be at least 1", got=value)
        if self.key is not None:
            good = len(self.key) >= LEAST_KEY and self.key.isascii() and self.key.isprintable()
            require(
                good,
                "this key is no good",
                got=f"{len(self.key)} letters",
                allowed=f"at least {LEAST_KEY} printable ASCII letters",
                remedy="make one: python -c 'import secrets; print(secrets.token_urlsafe())'",
            )
        elif not self.is_local:
            raise UserError(
                "a service that others can reach needs a key",
                got=f"host {self.host}, no key",
                allowed="127.0.0.1, ::1 or localhost without a key",
                remedy="write a key to a file that you alone can read, and give --key-file FILE",
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def key_from(path: Path) -> str:
    """The key in a file: its one word.

    Raises:
        UserError: no such file, or several words.
    """
    if not path.is_file():
        raise UserError("no file with a key here", got=path, remedy="write the key into it")
    words = path.read_text(encoding="utf-8", errors="replace").split()
    require(len(words) == 1, f"a file with a key holds one word: {path}", got=f"{len(words)} words")
    return words[0]
