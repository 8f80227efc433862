"""The licence of weights, as the model card beside them says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from distilvox.teachers.licence import of_folder


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags: [x]\n---\n# Model\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: our-own\n---\n", "our-own"),
        ("---\nlicense: other\n---\n", None),
        ("---\nlicense: [mit, x]\n---\n", None),
        ("---\nlicense: mit\n", None),  # the head never ends
        ("---\n: : :\n---\n", None),
        ("---\n- a\n---\n", None),
        ("---\nlicense: !!python/object/apply:os.system [true]\n---\n", None),
        ("# Model\nlicense: mit\n", None),
        ("", None),
    ],
)
def test_what_the_head_of_a_card_says(tmp_path: Path, card: str, licence: str | None) -> None:
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    assert of_folder(tmp_path) == licence


def test_no_card_says_nothing(tmp_path: Path) -> None:
    assert of_folder(tmp_path) is None
