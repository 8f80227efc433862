"""So many at once, so many waiting, the others are told to come again; and the limits on bodies in bytes and time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from distilvox.held import Held
from distilvox.serve.desk import Desk
from distilvox.serve.problems import Turned
from distilvox.serve.service import Service
from tests.serving import client, fault, stand_in, wav


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_in(tmp_path_factory.mktemp("desk") / "bundle")


def test_a_full_queue_is_said_and_empties(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One works, one waits, the third is sent away; then all is as before."""
    begun, go = threading.Semaphore(0), threading.Event()
    plain = Service.embed

    def slow(self: Service, file: Held) -> object:
        begun.release()
        assert go.wait(20)
        return plain(self, file)

    monkeypatch.setattr(Service, "embed", slow)
    with client(bundle, tmp_path / "a.book", queue=1) as one, ThreadPoolExecutor(2) as pool:

        def ask() -> int:
            return one.post("/embed", files={"file": wav(0, 210)}).status_code

        first = pool.submit(ask)
        assert begun.acquire(timeout=20)
        second = pool.submit(ask)
        while one.get("/health").json()["inside"] < 2:
            pass
        response = one.post("/embed", files={"file": wav(0, 210)})
        said = fault(response, 503)
        assert response.headers["Retry-After"] == "2"
        assert (said["what"], said["got"]) == ("the service is busy", "2 requests inside")
        assert fault(one.get("/people"), 503)["remedy"].startswith("try again in 2 s")
        go.set()
        assert (first.result(20), second.result(20)) == (200, 200)
        assert one.get("/health").json()["inside"] == 0
        assert ask() == 200


def test_nobody_waits_for_ever() -> None:
    async def main() -> None:
        desk, go = Desk(1, 5, 0.05), threading.Event()
        first = asyncio.create_task(desk.do(lambda: go.wait(20)))
        await asyncio.sleep(0)
        with pytest.raises(Turned, match=r"the service is busy[\s\S]*no thread free for 0\.05 s"):
            await desk.do(int)
        go.set()
        assert await first
        assert await desk.do(int) == 0
        desk.close()

    asyncio.run(main())


def test_at_most_as_many_work_as_there_are_threads() -> None:
    async def main() -> list[bool]:
        desk, working, seen = Desk(2, 50, 20), threading.Semaphore(2), []

        def work() -> None:
            seen.append(working.acquire(blocking=False))
            working.release()

        await asyncio.gather(*(desk.do(work) for _ in range(30)))
        desk.close()
        return seen

    assert asyncio.run(main()) == [True] * 30


def test_a_body_that_states_its_size_is_refused_before_it_is_read(bundle: Path, tmp_path: Path) -> None:
    with client(bundle, tmp_path / "a.book", most_bytes=100_000) as one:
        files = {"file": b"x" * 200_000}
        said = fault(one.post("/embed", files=files), 413)
        assert said["allowed"] == "100,000 bytes"
        assert "--max-mb" in said["remedy"]
        headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": "1" + "0" * 30}
        fault(one.post("/embed", content=b"", headers=headers), 413)
        assert one.post("/embed", files={"file": wav(0, 210)}).status_code == 200


def test_a_body_that_does_not_is_read_no_further(bundle: Path, tmp_path: Path) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(100):
            sent += 1
            yield b"\0" * 100_000

    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    with client(bundle, tmp_path / "a.book", most_bytes=300_000) as one:
        said = fault(one.post("/embed", content=endless(), headers=kind), 413)
        assert said["got"] == "more than 300,000 bytes"
        assert one.get("/health").json()["inside"] == 0


def test_a_slow_client_is_sent_away(bundle: Path, tmp_path: Path) -> None:
    """Its body never ends; the application is spoken to directly, for a test client sends whole bodies."""

    async def never() -> AsyncIterator[dict]:
        yield {"type": "http.request", "body": b"--b\r\n", "more_body": True}
        await asyncio.sleep(60)

    async def ask(app: object) -> list[dict]:
        body, sent = never(), []

        async def send(message: dict) -> None:
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=b")]
        scope = {"type": "http", "method": "POST", "path": "/embed", "headers": headers, "query_string": b""}
        scope |= {"http_version": "1.1", "scheme": "http", "server": ("localhost", 8321), "root_path": ""}
        await app(scope, lambda: anext(body), send)  # type: ignore[operator]
        return sent

    with client(bundle, tmp_path / "a.book", send_seconds=1) as one:
        start, content = asyncio.run(ask(one.app))[:2]
        assert start["status"] == 408
        assert b"the body came too slowly" in content["body"]
        assert one.get("/health").json()["inside"] == 0
