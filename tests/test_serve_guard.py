"""Who may ask: no other host's name, no other page, nobody without the key; and what protects the page."""

from __future__ import annotations

import hmac
from pathlib import Path

import pytest

from tests.serving import client, fault, stand_in, wav

KEY = "correct-horse-battery"
PATHS = [
    ("POST", "/embed"),
    ("POST", "/verify"),
    ("POST", "/enrol"),
    ("POST", "/identify"),
    ("GET", "/people"),
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_in(tmp_path_factory.mktemp("guard") / "bundle")


def test_the_key(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared, plain = [], hmac.compare_digest

    def compare(first: bytes, second: bytes) -> bool:
        compared.append((first, second))
        return plain(first, second)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    with client(bundle, tmp_path / "a.book", key=KEY, host="0.0.0.0") as one:
        for method, path in [*PATHS, ("DELETE", "/people?name=x")]:
            assert fault(one.request(method, path), 401)["what"] == "no key"
            said = fault(one.request(method, path, headers={"X-API-Key": KEY[:-1]}), 401)
            assert said["what"] == "a wrong key"
            assert KEY not in str(said)
        assert set(compared) == {(KEY[:-1].encode(), KEY.encode())}
        fault(one.get("/people", headers=[(b"X-API-Key", b"\xe9")]), 401)
        good = {"X-API-Key": KEY}
        assert one.get("/people", headers=good).json() == []
        assert one.post("/embed", files={"file": wav(0, 210)}, headers=good).status_code == 200
        assert one.get("/health").json()["needs_key"] is True
        assert "X-API-Key" in str(one.get("/openapi.json").json()["components"]["securitySchemes"])


def test_another_hosts_name_is_refused_where_there_is_no_key(bundle: Path, tmp_path: Path) -> None:
    with client(bundle, tmp_path / "a.book") as one:
        for host in ("localhost:1", "127.0.0.1", "[::1]:8321"):
            assert one.get("/people", headers={"Host": host}).status_code == 200
        for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:8321", ""):
            said = fault(one.get("/people", headers={"Host": host}), 403)
            assert "127.0.0.1, ::1, localhost" in said["allowed"]


def test_another_page_is_refused(bundle: Path, tmp_path: Path) -> None:
    with client(bundle, tmp_path / "a.book") as one:
        own = {"Origin": "http://127.0.0.1:8321"}
        assert one.post("/embed", files={"file": wav(0, 210)}, headers=own).status_code == 200
        for origin in ("https://evil.example", "null", "http://127.0.0.1:9999"):
            said = fault(one.post("/enrol", headers={"Origin": origin}), 403)
            assert said["got"] == origin


def test_every_answer_protects_the_page(bundle: Path, tmp_path: Path) -> None:
    with client(bundle, tmp_path / "a.book") as one:
        for response in (
            one.get("/"),
            one.get("/health"),
            one.get("/nothing"),
            one.get("/", headers={"Host": "x"}),
        ):
            assert "default-src 'self'" in response.headers["Content-Security-Policy"]
            assert response.headers["Cache-Control"] == "no-store"
            assert "Access-Control-Allow-Origin" not in response.headers
