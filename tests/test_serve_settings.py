"""Settings are checked at the door; the verb says where it listens, and ends when it is told to."""

from __future__ import annotations

import http.client
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from distilvox.errors import UserError
from distilvox.serve.settings import Settings, key_from
from distilvox.serve.start import config, listening, opened
from distilvox.ship.book import Book
from distilvox.ship.ready import READY
from tests.running import refused
from tests.serving import client, stand_in, wav

KEY = "0123456789abcdef"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_in(tmp_path_factory.mktemp("settings") / "bundle")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", "", "localhost.example.org"])
def test_a_public_host_needs_a_key(host: str) -> None:
    with pytest.raises(UserError, match=r"others can reach needs a key[\s\S]*--key-file"):
        Settings(host=host)
    assert not Settings(host=host, key=KEY).is_local


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_this_machine_needs_none(host: str) -> None:
    assert Settings(host=host).is_local


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"port": 65_536}, "a port is a number"),
        ({"port": -1}, "a port is a number"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"threads": 10_000}, "more than any machine"),
        ({"queue": -1}, "queue must be at least"),
        ({"most_bytes": 0}, "most_bytes must be at least 1"),
        ({"most_seconds": float("nan")}, "most_seconds must be at least 1"),
        ({"key": "short"}, r"this key is no good[\s\S]*5 letters[\s\S]*at least 16"),
        ({"key": "schlüssel mit umlaut"}, "this key is no good"),
    ],
)
def test_wrong_settings_are_named(fields: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Settings(**fields)
    assert str(fields.get("key")) not in str(caught.value)


def test_a_key_is_not_shown() -> None:
    assert KEY not in repr(Settings(key=KEY))


def test_a_file_with_a_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert key_from(tmp_path / "key") == KEY
    (tmp_path / "two").write_text("a b")
    with pytest.raises(UserError, match="holds one word"):
        key_from(tmp_path / "two")
    with pytest.raises(UserError, match="no file with a key here"):
        key_from(tmp_path)


def test_without_a_book_people_are_forgotten(bundle: Path) -> None:
    with opened(Settings(), bundle=bundle, book=None, precision=None) as app:
        with TestClient(app, base_url="http://localhost") as one:
            assert one.get("/health").json()["keeps"] is False
            sent = one.post("/enrol", data={"name": "A"}, files={"file": wav(0, 210)})
            assert sent.status_code == 200
        path = next(Path(os.environ.get("TMPDIR", "/tmp")).glob("distilvox-serve-*"))
        assert stat.S_IMODE((path / "people.book").stat().st_mode) == 0o600
    assert not path.exists()


def test_a_book_knows_its_model(bundle: Path, tmp_path: Path) -> None:
    with client(bundle, tmp_path / "a.book") as one:
        one.post("/enrol", data={"name": "A"}, files={"file": wav(0, 210)})
    with opened(Settings(), bundle=None, book=tmp_path / "a.book", precision=None):
        pass
    with Book.open(tmp_path / "a.book") as book:
        assert [person.name for person in book.people()] == ["A"]


def test_without_a_word_the_ready_student_is_served(tmp_path: Path) -> None:
    with opened(Settings(), bundle=None, book=tmp_path / "new.book", precision=None):
        pass
    with Book.open(tmp_path / "new.book") as book:
        assert book.space.model == READY


def test_uvicorn_logs_nobody_and_bounds_connections(bundle: Path) -> None:
    with opened(Settings(threads=2, queue=8), bundle=bundle, book=None, precision=None) as app:
        found = config(app, Settings(threads=2, queue=8))
        assert (found.access_log, found.limit_concurrency, found.proxy_headers) == (False, 104, False)


def test_a_taken_port_is_named() -> None:
    with listening("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(UserError, match=rf"cannot listen at 127\.0\.0\.1, port {port}[\s\S]*--port 0"):
            listening("127.0.0.1", port)
    with pytest.raises(UserError, match="cannot listen at no such host"):
        listening("no such host", 0)


def test_the_verb_refuses(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISTILVOX_KEY", raising=False)
    assert "needs a key" in refused(2, "serve", bundle, "--host", "0.0.0.0")
    assert "--max-mb must be above 0" in refused(2, "serve", bundle, "--max-mb", "0")
    assert "no file with a key here" in refused(2, "serve", bundle, "--key-file", tmp_path / "none")
    monkeypatch.setenv("DISTILVOX_KEY", "short")
    assert "this key is no good" in refused(2, "serve", bundle)


def test_the_verb_serves_until_it_is_told_to_stop(bundle: Path, tmp_path: Path) -> None:
    """A real server on a real port; slow readers of its output see where it listens."""
    words = [sys.executable, "-m", "distilvox", "serve", bundle, "--book", tmp_path / "a.book", "--port", "0"]
    server = subprocess.Popen([*map(str, words)], stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        said = server.stderr.readline()
        assert said.startswith("distilvox serves at http://127.0.0.1:"), said
        port = int(said.split(":")[2].split()[0])
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        link.request("GET", "/health")
        answer = link.getresponse()
        assert (answer.status, b'"ready":true' in answer.read()) == (200, True)
        assert answer.headers["Server"] is None
        link.close()
    finally:
        server.send_signal(signal.SIGINT)
        rest = server.communicate(timeout=30)[1]
    assert server.returncode in (0, 130), rest
    assert "Traceback" not in rest
