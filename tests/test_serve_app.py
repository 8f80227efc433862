"""Each path answers what it says, and everything else that is sent to it with a clear status and the house's form."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from distilvox.held import Held
from distilvox.serve.service import Service
from distilvox.ship.book import Book
from distilvox.ship.runtime import Verifier
from tests.inputs.recordings import RECORDINGS, Recording, written
from tests.running import tree
from tests.serving import client, fault, stand_in, voice, wav


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_in(tmp_path_factory.mktemp("serve") / "bundle")


@pytest.fixture(scope="module")
def opened(bundle: Path) -> Iterator[TestClient]:
    """A service with Anna and Bert in its book."""
    with client(bundle, bundle.parent / "people.book") as one:
        for name, pitch in (("Anna", 210), ("Bert O'Hara", 95)):
            files = [("file", (f"{k}.wav", wav(k, pitch))) for k in range(2)]
            assert one.post("/enrol", data={"name": name}, files=files).status_code == 200
        yield one


# --- what is right --------------------------------------------------------------------------------------


def test_health(opened: TestClient) -> None:
    said = opened.get("/health").json()
    assert said["ready"] is True
    assert said["model"] == "stand-in"
    assert (said["threshold"], said["calibrated"], said["keeps"], said["needs_key"]) == (
        True,
        False,
        True,
        False,
    )
    assert (said["inside"], said["most_bytes"], said["most_seconds"]) == (0, 16 << 20, 120)


def test_embed_gives_what_the_runtime_gives(opened: TestClient, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(7, 180))
    said = opened.post("/embed", files={"file": ("a.wav", wav(7, 180))}).json()
    verifier = Verifier.load(bundle)
    np.testing.assert_allclose(said["embedding"], verifier.embed(tmp_path / "a.wav"), rtol=1e-6)
    assert said["space"] == verifier.space
    told = said["recording"]
    assert (told["name"], told["length"]) == ("a.wav", 1.5)
    assert 1 < told["quality"]["seconds"] < 1.5
    assert "s of sound at" in told["summary"]
    assert len(told["peaks"]) == 240
    assert max(told["peaks"]) == pytest.approx(np.abs(voice(7, 180)).max(), abs=1e-3)
    assert all(0 <= a < b <= 1.52 for a, b in told["speech"])


def test_verify_two_recordings(opened: TestClient, bundle: Path, tmp_path: Path) -> None:
    files = {"file": ("a.wav", wav(7, 210)), "other": ("b.flac", written(voice(8, 210), format="FLAC"))}
    said = opened.post("/verify", files=files).json()
    for name, (_, content) in files.items():
        (tmp_path / f"{name}.wav").write_bytes(content)
    decision = Verifier.load(bundle).verify(tmp_path / "file.wav", tmp_path / "other.wav")
    assert said["decision"] == json.loads(decision.to_json())
    assert said["words"] == str(decision)
    assert [one["name"] for one in said["recordings"]] == ["a.wav", "b.flac"]
    by_hand = opened.post("/verify", files=files, data={"threshold": "1"}).json()
    assert by_hand["decision"]["accept"] is False
    assert "given by hand" in by_hand["decision"]["note"]


def test_verify_an_enrolled_person(opened: TestClient) -> None:
    file = {"file": ("a.wav", wav(9, 210))}
    own = opened.post("/verify", files=file, data={"name": "Anna"}).json()
    other = opened.post("/verify", files=file, data={"name": "Bert O'Hara"}).json()
    assert own["decision"]["score"] > other["decision"]["score"]
    assert "2 recordings enrolled" in own["decision"]["note"]


def test_identify(opened: TestClient) -> None:
    for pitch, name in ((210, "Anna"), (95, "Bert O'Hara")):
        said = opened.post("/identify", files={"file": ("x.wav", wav(11, pitch))}).json()
        assert said["people"][0]["name"] == name
        assert len(said["people"]) == 2
        assert "a stranger is compared with 2 people" in said["decision"]["note"]
    said = opened.post("/identify", files={"file": ("x.wav", wav(11, 210))}, data={"top": "1"}).json()
    assert [one["name"] for one in said["people"]] == ["Anna"]


def test_people_come_and_go(bundle: Path, tmp_path: Path) -> None:
    with client(bundle, tmp_path / "a.book") as one:
        assert one.get("/people").json() == []
        assert (
            fault(one.post("/identify", files={"file": wav(0, 210)}), 409)["what"] == "nobody is enrolled yet"
        )
        files = [("file", ("1.wav", wav(1, 210))), ("file", ("1 again.wav", wav(1, 210)))]
        said = one.post("/enrol", data={"name": "名前 <b>"}, files=files).json()
        assert (said["name"], said["added"], said["known"], said["count"]) == ("名前 <b>", 1, 1, 1)
        assert [(p["name"], p["recordings"]) for p in one.get("/people").json()] == [("名前 <b>", 1)]
        assert one.delete("/people", params={"name": "名前 <b>"}).json() == {"name": "名前 <b>"}
        assert one.get("/people").json() == []
        gone = fault(one.delete("/people", params={"name": "名前 <b>"}), 404)
        assert gone["what"] == "nobody of this name is enrolled"
        assert fault(one.delete("/people"), 400)["what"] == "name is wrong"


def test_one_that_does_not_fit_is_named(bundle: Path, tmp_path: Path) -> None:
    with client(bundle, tmp_path / "a.book") as one:
        files = [("file", (f"{k}.wav", wav(k, 210))) for k in range(3)] + [
            ("file", ("other.wav", wav(5, 80)))
        ]
        book = Book.open(tmp_path / "a.book")
        said = fault(one.post("/enrol", data={"name": "A"}, files=files), 409)
        assert "do not fit the others" in said["what"]
        assert "other.wav" in said["got"]
        assert "force=true" in said["remedy"]
        assert len(book) == 0
        forced = one.post("/enrol", data={"name": "A", "force": "true"}, files=files).json()
        assert (forced["added"], "other.wav" in forced["misfits"]) == (4, True)
        book.close()


# --- what is wrong with a recording ---------------------------------------------------------------------


HELD = [one for one in RECORDINGS if not one.name.endswith(".m4a")]
"""What can be read from memory: PyAV reads files, and no audio is written here."""


def test_what_would_have_to_be_a_file_is_refused_by_name(opened: TestClient) -> None:
    response = opened.post("/embed", files={"file": ("a.m4a", b"\0\0\0\x20ftypM4A ")})
    assert fault(response, 422)["what"].startswith(
        "cannot use a.m4a: libsndfile does not read .m4a: convert it"
    )


@pytest.mark.parametrize("kind", HELD, ids=lambda one: one.kind)
def test_a_recording_is_judged_as_by_pack(opened: TestClient, kind: Recording) -> None:
    content = kind.make(voice(3, 180))
    response = opened.post("/embed", files={"file": (kind.name, content)})
    if kind.outcome == "rejected":
        said = fault(response, 422)
        assert said["what"].startswith(f"cannot use {kind.name}: {kind.words}")
    elif response.status_code == 200:
        notes = response.json()["recording"]["notes"]
        assert bool(notes) == (kind.outcome == "noted")
        assert any(note.startswith(kind.words) for note in notes) or not kind.words
    else:  # clipped, or at half its speed: not what passes for speech
        assert kind.outcome == "noted"
        assert re.search("clipped|no speech", fault(response, 422)["what"])


NO_SPEECH = {
    "noise": lambda rng, n: 0.1 * rng.standard_normal(n),
    "a tone": lambda rng, n: 0.3 * np.sin(np.arange(n)),
    "steps": lambda rng, n: 0.3 * np.sign(np.sin(np.arange(n) / 40)),
    "clicks": lambda rng, n: np.where(np.arange(n) % 8000 == 99, 0.9, 0.0),
    "silence": lambda rng, n: np.zeros(n),
}


@pytest.mark.parametrize("kind", NO_SPEECH)
@pytest.mark.parametrize("path", ["/embed", "/verify", "/enrol", "/identify"])
def test_what_is_no_speech_is_refused(
    opened: TestClient, rng: np.random.Generator, path: str, kind: str
) -> None:
    before = opened.get("/people").json()
    files = {"file": ("x.wav", written(NO_SPEECH[kind](rng, 48_000)))}
    data = {"name": "Anna"} if path in ("/verify", "/enrol") else {}
    assert fault(opened.post(path, files=files, data=data), 422)["what"].startswith("cannot use x.wav: ")
    assert opened.get("/people").json() == before


def test_a_long_recording_is_refused_before_it_is_decoded(bundle: Path, tmp_path: Path) -> None:
    with client(bundle, tmp_path / "a.book", most_seconds=2) as one:
        assert one.post("/embed", files={"file": wav(0, 210)}).status_code == 200
        long = written(np.zeros(100 * 8_000), 8_000, format="FLAC")
        assert len(long) < 20_000
        said = fault(one.post("/embed", files={"file": ("long.flac", long)}), 422)
        assert said["what"] == "cannot use long.flac: too long: 100.0 s, at most 2 s are taken"
        wide = written(np.zeros((192_000, 8)), 192_000, format="FLAC")
        said = fault(one.post("/embed", files={"file": ("wide.flac", wide)}), 422)
        assert "too many samples: 1,536,000, 8 channels at 192,000 Hz" in said["what"]


# --- what is wrong with a form --------------------------------------------------------------------------

GOOD = ("a.wav", b"RIFF")
WRONG = [
    ("/embed", {"wave": GOOD}, {}, "unknown field", 400),
    ("/verify", {"file": GOOD}, {}, "with what is it to be compared?", 400),
    ("/verify", {"file": GOOD, "other": GOOD}, {"name": "Anna"}, "with what is it to be compared?", 400),
    ("/verify", {"file": GOOD, "other": GOOD}, {"threshold": "nan"}, "threshold is a number", 400),
    ("/verify", {"file": GOOD, "other": GOOD}, {"threshold": "2"}, "threshold is a number", 400),
    ("/verify", {"file": GOOD, "other": GOOD}, {"false_accept": "one"}, "false_accept is a number", 400),
    ("/verify", {"file": ("a.wav", wav(0, 210))}, {"name": "Ann"}, "nobody of this name", 404),
    ("/enrol", {"file": GOOD}, {}, "a value in the field 'name'", 400),
    ("/enrol", {"file": GOOD}, {"name": "\x1b[2J"}, "only letters that can be printed", 400),
    ("/enrol", {"file": GOOD}, {"name": "a" * 1000}, "a name is too long", 400),
    ("/enrol", {"file": GOOD}, {"name": "a", "force": "1"}, "force is true or false", 400),
    ("/enrol", {"name": GOOD, "file": GOOD}, {}, "a value in the field 'name'", 400),
    ("/identify", {"file": GOOD}, {"top": "0"}, "top is a number", 400),
    ("/identify", {"file": GOOD}, {"top": "1e9"}, "top is a number", 400),
    ("/identify", {"file": GOOD}, {"name": "x" * 3000}, "this form cannot be read", 400),
]


@pytest.mark.parametrize(("path", "files", "data", "what", "status"), WRONG)
def test_wrong_values_are_named(
    opened: TestClient, path: str, files: dict, data: dict, what: str, status: int
) -> None:
    assert what in fault(opened.post(path, files=files, data=data), status)["what"]


def test_a_text_in_a_recordings_place(opened: TestClient) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nhello\r\n--b--\r\n'
    said = fault(send(opened, body), 400)
    assert said["what"] == "the form needs one recording in the field 'file'"


def send(opened: TestClient, body: bytes, kind: str = "multipart/form-data; boundary=b") -> Response:
    return opened.post("/embed", content=body, headers={"Content-Type": kind})


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "multipart/form-data", 400),
        (b"", "multipart/form-data; boundary=b", 400),
        (b"garbage", "multipart/form-data; boundary=b", 400),
        (b"--b\r\n\r\n\r\n--b--", "multipart/form-data; boundary=b", 400),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\n\r\n--b--", "multipart/form-data; boundary=b", 400),
        (b"--b\r\n" * 999, "multipart/form-data; boundary=b", 400),
        (b"{}", "application/json", 415),
        (b"file=x", "application/x-www-form-urlencoded", 415),
        (b"RIFF", "audio/wav", 415),
    ],
)
def test_a_body_that_is_no_form(opened: TestClient, body: bytes, kind: str, status: int) -> None:
    fault(send(opened, body, kind), status)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../../etc/passwd", "passwd"),
        ("/etc/shadow", "shadow"),
        ("C:\\Windows\\x.wav", "x.wav"),
        ("\x1b[2J.wav", "[2J.wav"),
        ("<script>alert(1)</script>", "script>"),
        ("x" * 1000 + ".wav", "x" * 116 + ".wav"),
    ],
)
def test_a_files_name_is_data(opened: TestClient, sent: str, shown: str) -> None:
    said = fault(opened.post("/embed", files={"file": (sent, b"")}), 422)
    name = said["what"].removeprefix("cannot use ").removesuffix(": empty file")
    assert name.endswith(shown[-60:])
    assert len(name) <= 120
    assert "/" not in name
    assert name.isprintable()


def test_paths_and_methods_that_are_not_there(opened: TestClient) -> None:
    assert fault(opened.get("/nothing"), 404)["got"] == "GET /nothing"
    assert fault(opened.get("/embed"), 405)["what"] == "method not allowed"
    fault(opened.get("/page/../app.py"), 404)
    fault(opened.get("/page/%2e%2e/app.py"), 404)
    fault(opened.get("/page/%2e%2e%2f%2e%2e%2ferrors.py"), 404)


def test_what_must_not_happen_leaves_in_the_same_form(
    opened: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Service, file: Held) -> None:
        raise ZeroDivisionError("a secret of the machine")

    monkeypatch.setattr(Service, "embed", broken)
    said = fault(opened.post("/embed", files={"file": wav(0, 210)}), 500)
    assert "secret" not in str(said)
    assert opened.get("/health").json()["inside"] == 0


def test_a_damaged_book_is_said_without_its_path(bundle: Path, tmp_path: Path) -> None:
    with client(bundle, tmp_path / "a.book") as one:
        for file in tmp_path.glob("a.book*"):
            file.write_bytes(b"no book" * 1000)
        said = fault(one.get("/people"), 500)
        assert said["what"] == "the book cannot be used"
        assert str(tmp_path) not in str(said)


# --- nothing is kept ------------------------------------------------------------------------------------


def test_no_file_of_a_recording_is_left_or_made(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recording of three megabytes: form parsers write those to the disk."""
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: pytest.fail("a file was made"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with client(bundle, tmp_path / "a.book") as one:
        long = written(np.tile(voice(1, 210), 70))
        assert len(long) > 3_000_000
        assert one.post("/embed", files={"file": ("a.wav", long)}).status_code == 200
        assert (
            one.post("/enrol", files={"file": ("a.wav", wav(1, 210))}, data={"name": "A"}).status_code == 200
        )
    assert all(name.startswith("a.book") for name in tree(tmp_path))
    assert sum(map(len, tree(tmp_path).values())) < 100_000


def test_many_bad_requests_leave_no_descriptor_open(opened: TestClient) -> None:
    def held() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before, cut = held(), written(voice(1, 180))[:-999]
    for _ in range(10):
        opened.post("/embed", files={"file": cut})
        send(opened, b"garbage")
    assert held() <= before + 1


def test_openapi_names_every_field_and_fault(opened: TestClient) -> None:
    said = opened.get("/openapi.json").json()
    assert set(said["paths"]) == {"/embed", "/verify", "/enrol", "/identify", "/health", "/people"}
    for path in ("/embed", "/verify", "/enrol", "/identify"):
        post = said["paths"][path]["post"]
        assert "multipart/form-data" in post["requestBody"]["content"]
        assert {"400", "413", "422", "503"} <= post["responses"].keys()
    assert said["components"]["schemas"]["Fault"]["properties"].keys() == {"what", "got", "allowed", "remedy"}
    assert {"score", "threshold", "probability"} <= said["components"]["schemas"]["Decision"][
        "properties"
    ].keys()
