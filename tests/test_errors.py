"""Errors say what, got, allowed and remedy, and arrive whole wherever they are raised."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from distilvox.errors import UserError, require, unknown
from distilvox.sound import AudioError


class Picky(UserError):
    """A subclass that takes other arguments than its base, one of them needed by name."""

    def __init__(self, first: str, *, second: int) -> None:
        super().__init__(f"{first} {second}", exit_code=1)
        self.second = second


ERRORS = [
    UserError("plain"),
    UserError("whole", got="3", allowed="1 or 2", remedy="take 2", exit_code=1),
    UserError("lines\nof text", got=["a", 1]),
    unknown("verb", "trian", ["train", "distil"]),
    AudioError("a.wav", "too short"),
    Picky("x", second=7),
]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_an_error_travels_between_processes(error: UserError, protocol: int) -> None:
    there = pickle.loads(pickle.dumps(error, protocol))
    assert type(there) is type(error)
    assert str(there) == str(error)
    same = {**vars(error), "got": None if error.got is None else str(error.got)}
    assert vars(there) == same
    assert str(copy.deepcopy(error)) == str(error)


def test_what_cannot_be_pickled_travels_as_text() -> None:
    def unpicklable() -> None: ...

    error = UserError("no", got=unpicklable)
    there = pickle.loads(pickle.dumps(error))
    assert str(there) == str(error)
    assert there.got == str(unpicklable)


def fail() -> None:
    raise AudioError("a.wav", "too short")


def test_an_error_of_a_pool_arrives_as_itself() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(AudioError, match=r"cannot use a\.wav: too short") as caught,
    ):
        pool.submit(fail).result()
    assert (caught.value.reason, caught.value.exit_code) == ("too short", 2)


def test_the_message_holds_all_parts_in_order() -> None:
    error = UserError("what", got=0, allowed="1", remedy="do")
    assert str(error) == "what\n  got:     0\n  allowed: 1\n  remedy:  do"
    assert str(UserError("what")) == "what"
    assert UserError("what").exit_code == 2


def test_an_unknown_name_lists_the_known_and_suggests_the_nearest() -> None:
    near, far = unknown("verb", "trian", ["train", "pack"]), unknown("verb", "?", ["train"], remedy="--help")
    assert "allowed: pack, train" in str(near)
    assert near.remedy == "did you mean 'train'?"
    assert far.remedy == "--help"
    assert unknown("verb", "?", []).allowed == ""


def test_require_is_silent_where_all_is_well() -> None:
    require(True, "never")
    with pytest.raises(UserError, match=r"broken\s+got:     0"):
        require(False, "broken", got=0)
