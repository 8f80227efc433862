from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from distilvox import locks
from distilvox.corpus.store import Corpus, CorpusWriter
from distilvox.corpus.subset import part
from distilvox.errors import UserError
from distilvox.teachers import blocks, cache
from distilvox.teachers.base import Teacher, freeze
from distilvox.teachers.cache import TeacherCache
from distilvox.teachers.live import LiveTeacher
from distilvox.views.bank import Bank, synthetic_bank
from distilvox.views.draws import ViewConfig

UTTERANCES = 21
RICH: dict[str, Any] = {"speeds": (0.9, 1.0, 1.1), "noise_probability": 0.6, "room_probability": 0.3}
CONFIG = ViewConfig(seed=3, seconds=0.25, **RICH)


class Bands(Teacher):
    """Mean absolute value of 16 fixed random filters: quick, and different for every view."""

    def __init__(self, id: str = "bands", gain: float = 1.0, sample_rate: int = 16_000) -> None:
        super().__init__(uri="test:bands", id=id, sample_rate=sample_rate, embedding_dim=16)
        generator = torch.Generator().manual_seed(5)
        self.register_buffer("filters", gain * torch.randn(16, 1, 32, generator=generator))
        self.calls = 0

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B D"]:
        self.calls += len(waves)
        return (
            torch.nn.functional.conv1d(waves[:, None], self.get_buffer("filters"), stride=16).abs().mean(-1)
        )

    def head(self) -> None:
        return None


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    rng = np.random.default_rng(1)
    writer = CorpusWriter(tmp_path_factory.mktemp("corpus") / "c")
    for index in range(UTTERANCES):
        colour = np.cumsum(rng.standard_normal(9_000 + 100 * (index % 4))) * rng.uniform(20, 60)
        wave = np.clip(colour - colour.mean(), -20_000, 20_000).astype(np.int16)
        writer.add(f"s{index % 5}/u{index:02d}", f"s{index % 5}", "x", wave)
    return writer.finish()


@pytest.fixture(scope="module")
def bank() -> Bank:
    return synthetic_bank(seconds=0.5)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 8)


def teacher(**options: Any) -> Teacher:
    return freeze(Bands(**options), "cpu")


def open_cache(folder: Path, corpus: Corpus, bank: Bank, **changes: Any) -> TeacherCache:
    options: dict[str, Any] = {"view_config": CONFIG, "bank": bank, "views": 2}
    who = changes.pop("teacher", None) or teacher()
    return TeacherCache.open_or_build(folder, who, corpus, **{**options, **changes})


def test_cached_equals_live_for_every_view(tmp_path: Path, corpus: Corpus, bank: Bank) -> None:
    cache = open_cache(tmp_path / "t", corpus, bank)
    live = LiveTeacher(teacher(), corpus, CONFIG, bank, "view", "cpu")
    everyone = np.arange(UTTERANCES)
    for view in range(2):
        truth = live.embed(view, everyone)
        torch.testing.assert_close(cache.get(view, everyone), truth, rtol=1e-3, atol=1e-6)
        assert torch.equal(cache.all(view), cache.get(view, everyone))
    assert not torch.equal(cache.all(0), cache.all(1))
    mixed = cache.get(np.array([1, 0]), np.array([4, 20]))
    assert torch.equal(mixed, torch.stack([cache.all(1)[4], cache.all(0)[20]]))
    assert cache.get(0, everyone[:0]).shape == (0, 16)
    assert (tmp_path / "t" / "embeddings.f16").stat().st_size == 2 * UTTERANCES * 16 * 2


def test_whole_utterances_are_seen_clean_and_once(tmp_path: Path, corpus: Corpus, bank: Bank) -> None:
    cache = open_cache(tmp_path / "t", corpus, bank, views=1, sees="utterance")
    wave = torch.from_numpy(corpus.wave(3).copy()).float()[None] / 32768
    torch.testing.assert_close(cache.all()[3], teacher().embed(wave)[0], rtol=1e-3, atol=1e-6)
    again = open_cache(
        tmp_path / "t", corpus, Bank(), views=1, sees="utterance", view_config=ViewConfig(seed=9)
    )
    assert torch.equal(again.all(), cache.all())  # neither views nor noises matter to it
    with pytest.raises(UserError, match="one view only"):
        open_cache(tmp_path / "t", corpus, bank, views=2, sees="utterance")


def test_opening_again_only_checks(tmp_path: Path, corpus: Corpus, bank: Bank) -> None:
    open_cache(tmp_path / "t", corpus, bank)
    again = Bands()
    open_cache(tmp_path / "t", corpus, bank, teacher=freeze(again, "cpu"))
    assert again.calls == 8


def test_building_resumes_where_it_stopped(tmp_path: Path, corpus: Corpus, bank: Bank) -> None:
    whole = open_cache(tmp_path / "whole", corpus, bank)

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        assert total == 2 * UTTERANCES
        if done >= 16:
            raise Stop

    with pytest.raises(Stop):
        open_cache(tmp_path / "t", corpus, bank, progress=stop)
    rest = Bands()
    resumed = open_cache(tmp_path / "t", corpus, bank, teacher=freeze(rest, "cpu"))
    assert rest.calls == 2 * UTTERANCES - 16 + 8
    assert torch.equal(resumed.all(0), whole.all(0))
    assert torch.equal(resumed.all(1), whole.all(1))


def test_a_kill_between_embeddings_and_mark_loses_that_block_only(
    tmp_path: Path, corpus: Corpus, bank: Bank
) -> None:
    whole = open_cache(tmp_path / "t", corpus, bank)
    expected = whole.all(1)
    marks = tmp_path / "t" / "done.u8"
    marks.write_bytes(b"\1\1\1\1\0\1")
    data = bytearray((tmp_path / "t" / "embeddings.f16").read_bytes())
    start = (UTTERANCES + 8) * 16 * 2
    data[start : start + 100] = b"\0" * 100
    (tmp_path / "t" / "embeddings.f16").write_bytes(data)
    assert torch.equal(open_cache(tmp_path / "t", corpus, bank).all(1), expected)


def test_without_a_key_nothing_in_the_folder_counts(tmp_path: Path, corpus: Corpus, bank: Bank) -> None:
    expected = open_cache(tmp_path / "t", corpus, bank).all(0)
    (tmp_path / "t" / "key.json").unlink()
    (tmp_path / "t" / "embeddings.f16").write_bytes(b"\0" * 2 * UTTERANCES * 16 * 2)
    assert torch.equal(open_cache(tmp_path / "t", corpus, bank).all(0), expected)


def test_two_ranks_write_what_one_writes(tmp_path: Path, corpus: Corpus, bank: Bank) -> None:
    one = open_cache(tmp_path / "one", corpus, bank)
    meeting = threading.Barrier(2, timeout=20)
    found: dict[int, TeacherCache] = {}
    seen = [Bands(), Bands()]

    def work(rank: int) -> None:
        found[rank] = open_cache(
            tmp_path / "two",
            corpus,
            bank,
            teacher=freeze(seen[rank], "cpu"),
            rank=rank,
            world_size=2,
            barrier=lambda: void(meeting.wait()),
        )

    def void(_: int) -> None:
        return None

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rank in range(2):
        assert torch.equal(found[rank].all(1), one.all(1))
        assert seen[rank].calls < 2 * UTTERANCES
    with pytest.raises(UserError, match="need a barrier"):
        open_cache(tmp_path / "two", corpus, bank, world_size=2)


def test_the_second_of_two_processes_waits_and_finds_it_whole(
    tmp_path: Path, corpus: Corpus, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, waiting = threading.Event(), threading.Event()
    monkeypatch.setattr(locks, "say", lambda text: waiting.set())

    class Patient(Bands):
        """Begins, then goes on only when somebody waits for it."""

        def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B D"]:
            begun.set()
            assert waiting.wait(20)
            return super().forward(waves)

    first, second = Patient(), Bands()
    found: list[TeacherCache] = []

    def work() -> None:
        found.append(open_cache(tmp_path / "t", corpus, bank, teacher=freeze(first, "cpu")))

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(20)
    found.append(open_cache(tmp_path / "t", corpus, bank, teacher=freeze(second, "cpu")))
    thread.join()
    assert (first.calls, second.calls) == (2 * UTTERANCES + 8, 8)
    assert torch.equal(found[0].all(1), found[1].all(1))


def test_who_waited_in_vain_for_another_cache_is_told(
    tmp_path: Path, corpus: Corpus, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder held nothing when it was looked at; when the lock was free, it held another teacher's."""

    @contextmanager
    def slow(folder: Path, **_: object) -> Iterator[None]:
        live = LiveTeacher(teacher(id="faster"), corpus, CONFIG, bank, "view", "cpu")
        blocks.prepare(folder, live.key(2))
        yield

    monkeypatch.setattr(cache, "alone", slow)
    with pytest.raises(UserError, match="teacher_id: faster → bands"):
        open_cache(tmp_path / "t", corpus, bank)


def test_a_whole_cache_is_only_read(tmp_path: Path, corpus: Corpus, bank: Bank) -> None:
    open_cache(tmp_path / "t", corpus, bank)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "t").iterdir()}
    open_cache(tmp_path / "t", corpus, bank)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "t").iterdir()} == before


def test_some_utterances_of_a_corpus_are_a_corpus(tmp_path: Path, corpus: Corpus, bank: Bank) -> None:
    rows = np.array([7, 2, 20])
    few = part(corpus, rows)
    for sees in ("utterance", "view"):
        of_all, of_few = (LiveTeacher(teacher(), who, CONFIG, bank, sees, "cpu") for who in (corpus, few))
        torch.testing.assert_close(of_few.embed(1, np.array([2, 0])), of_all.embed(1, rows[[2, 0]]))
    assert list(few.utterances) == [corpus.utterances[row] for row in rows]
    ids = [part(corpus, np.array(some)).id for some in ([7, 2, 20], [2, 7, 20], [7, 2], [7, 2, 19])]
    assert len({*ids, corpus.id}) == 5
    open_cache(tmp_path / "t", corpus, bank)
    with pytest.raises(UserError, match=r"corpus_id.*utterances: 21 → 3"):
        TeacherCache.open_or_build(tmp_path / "t", teacher(), few, view_config=CONFIG, bank=bank, views=2)


def test_a_stale_key_names_what_changed(tmp_path: Path, corpus: Corpus, bank: Bank) -> None:
    open_cache(tmp_path / "t", corpus, bank)
    with pytest.raises(UserError, match=r"view\.seed: 3 → 4; views: 2 → 3"):
        open_cache(
            tmp_path / "t", corpus, bank, view_config=ViewConfig(seed=4, seconds=0.25, **RICH), views=3
        )
    with pytest.raises(UserError, match="teacher_id: bands → other"):
        open_cache(tmp_path / "t", corpus, bank, teacher=teacher(id="other"))
    with pytest.raises(UserError, match="bank_id"):
        open_cache(tmp_path / "t", corpus, Bank())
    with pytest.raises(UserError, match="sees: view → utterance"):
        open_cache(tmp_path / "t", corpus, bank, sees="utterance", views=1)


def test_a_teacher_that_moved_is_the_same_teacher(tmp_path: Path, corpus: Corpus, bank: Bank) -> None:
    open_cache(tmp_path / "t", corpus, bank)
    moved = teacher()
    moved.uri = "test:elsewhere"
    open_cache(tmp_path / "t", corpus, bank, teacher=moved)


def test_a_cache_that_disagrees_with_the_teacher_is_refused(
    tmp_path: Path, corpus: Corpus, bank: Bank
) -> None:
    cache = open_cache(tmp_path / "t", corpus, bank)
    values = np.fromfile(tmp_path / "t" / "embeddings.f16", np.float16).reshape(2, UTTERANCES, 16)
    values[1, 0] = values[1, 0][::-1]
    (tmp_path / "t" / "embeddings.f16").write_bytes(values.tobytes())
    with pytest.raises(UserError, match=r"(?s)disagrees with the teacher on s0/u00.*below 0\.001"):
        open_cache(tmp_path / "t", corpus, bank)
    assert cache.views == 2


def test_damaged_caches_are_refused(tmp_path: Path, corpus: Corpus, bank: Bank) -> None:
    open_cache(tmp_path / "t", corpus, bank)
    (tmp_path / "t" / "embeddings.f16").write_bytes(b"12")
    with pytest.raises(UserError, match=r"(?s)damaged.*another size.*2 bytes.*1344 bytes"):
        open_cache(tmp_path / "t", corpus, bank)
    (tmp_path / "t" / "embeddings.f16").unlink()
    with pytest.raises(UserError, match="no such file"):
        open_cache(tmp_path / "t", corpus, bank)
    (tmp_path / "t" / "key.json").write_text("{")
    with pytest.raises(UserError, match="teacher cache is damaged"):
        open_cache(tmp_path / "t", corpus, bank)
    key = LiveTeacher(teacher(), corpus, CONFIG, bank, "view", "cpu").key(2)
    blocks.prepare(tmp_path / "u", key)
    with pytest.raises(UserError, match="unfinished"):
        TeacherCache(tmp_path / "u", key)


def test_embeddings_beyond_float16_are_refused(tmp_path: Path, corpus: Corpus, bank: Bank) -> None:
    with pytest.raises(UserError, match=r"(?s)s\d/u\d\d does not fit float16.*live"):
        open_cache(tmp_path / "t", corpus, bank, teacher=teacher(gain=1e7))


def test_bad_requests_are_refused(tmp_path: Path, corpus: Corpus, bank: Bank) -> None:
    with pytest.raises(UserError, match=r"(?s)unknown thing.*utterance, view"):
        open_cache(tmp_path / "t", corpus, bank, sees="views")
    with pytest.raises(UserError, match="8000 and 16000 Hz"):
        open_cache(tmp_path / "t", corpus, bank, teacher=teacher(sample_rate=8_000))
    with pytest.raises(UserError, match="needs views"):
        open_cache(tmp_path / "t", corpus, bank, views=0)
    assert not (tmp_path / "t").exists()
