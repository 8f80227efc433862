from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from distilvox.errors import UserError
from distilvox.teachers import TeacherHead
from distilvox.teachers.heads import FitConfig, fit_head, in_sorted_order
from distilvox.teachers.vectors import training_mean
from distilvox.teachers.voxceleb2 import dev_speakers

NAMES = ("ann", "ben", "cai", "dov")


def clusters(per_class: int = 12, spread: float = 0.4, dim: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings [U, D] of any length around four directions, labels, and the directions."""
    directions = F.normalize(torch.randn(len(NAMES), dim), dim=-1)
    labels = torch.arange(len(NAMES)).repeat(per_class)
    lengths = torch.rand(len(labels), 1) * 5 + 0.1
    return (
        (directions[labels] + spread * torch.randn(len(labels), dim) / dim**0.5) * lengths,
        labels,
        directions,
    )


def test_rows_are_matched_by_name_whatever_their_order() -> None:
    embeddings, labels, directions = clusters()
    order = torch.tensor([2, 0, 3, 1])
    own = TeacherHead(directions[order] * 7, tuple(NAMES[row] for row in order))
    found = fit_head(own, embeddings, labels, NAMES)
    torch.testing.assert_close(found.weight, directions)
    assert found.matched == 4
    assert found.own == (0, 1, 2, 3)
    assert "4 of 4 rows are the teacher's own, matched by name" in found.how
    assert torch.equal(fit_head(own, embeddings, labels, NAMES, how="matched").weight, found.weight)


@pytest.mark.parametrize("how", ["means", "fitted"])
def test_a_partial_match_makes_the_rest_and_says_so(how: str) -> None:
    embeddings, labels, directions = clusters()
    own = TeacherHead(torch.stack([directions[3], directions[1]]), ("dov", "ben"))
    found = fit_head(own, embeddings, labels, NAMES, unmatched=how)
    made = fit_head(None, embeddings, labels, NAMES, how=how)
    torch.testing.assert_close(found.weight[[1, 3]], directions[[1, 3]])
    torch.testing.assert_close(found.weight[[0, 2]], made.weight[[0, 2]])
    assert (found.matched, made.matched) == (2, 0)
    assert "2 of 4 rows are the teacher's own" in found.how
    assert f"2 are {'class means' if how == 'means' else 'an AAM head fitted'}" in found.how


@pytest.mark.parametrize("how", ["means", "fitted"])
def test_a_head_of_1211_names_over_1251_speakers(how: str) -> None:
    """VoxCeleb1: a teacher trained on its development part, a corpus that also holds the test speakers."""
    names = [f"id1{number:04d}" for number in range(1, 1252)]
    held_out = set(range(269, 309))  # id10270 to id10309
    known = [label for label in range(1251) if label not in held_out]
    directions = F.normalize(torch.randn(1251, 24), dim=-1)
    labels = torch.arange(1251).repeat(2)
    embeddings = directions[labels] + 0.1 * torch.randn(2502, 24)
    order = torch.tensor(known)[torch.randperm(len(known))]
    own = TeacherHead(3 * directions[order], tuple(names[row] for row in order))
    config = FitConfig(epochs=2)
    found = fit_head(own, embeddings, labels, names, unmatched=how, config=config)
    assert (found.matched, found.own) == (1211, tuple(known))
    torch.testing.assert_close(found.weight[known], directions[known])
    rest = sorted(held_out)
    assert (embeddings @ found.weight.T).argmax(1)[rest].tolist() == rest
    assert "1,211 of 1,251 rows are the teacher's own, matched by name; 40 are " in found.how
    with pytest.raises(UserError, match=r"no row for 40 of 1251 training speakers\n.*id10270, id10271"):
        fit_head(own, embeddings, labels, names, how="matched")


def test_means_are_the_normalised_sums_of_unit_vectors() -> None:
    embeddings, labels, _ = clusters()
    found = fit_head(None, embeddings, labels, NAMES, how="means")
    for label in range(4):
        rows = [row / row.norm() for row in embeddings[labels == label].double()]
        total = torch.stack(rows).sum(0)
        torch.testing.assert_close(found.weight[label].double(), total / total.norm(), atol=1e-6, rtol=0)


def test_a_fitted_head_lowers_the_margin_loss_and_repeats_bit_for_bit() -> None:
    embeddings, labels, _ = clusters(spread=1.5)
    config = FitConfig(epochs=20, batch_examples=16, learning_rate=0.05)
    means = fit_head(None, embeddings, labels, NAMES, how="means").weight
    fitted = fit_head(None, embeddings, labels, NAMES, how="fitted", config=config).weight
    again = fit_head(None, embeddings, labels, NAMES, how="fitted", config=config).weight
    units = F.normalize(embeddings, dim=-1)

    def loss(weight: Tensor) -> float:
        angles = (units @ weight.T).clamp(-1, 1).arccos()
        angles[torch.arange(len(labels)), labels] += config.margin
        return float(F.cross_entropy(config.scale * angles.cos(), labels))

    assert loss(fitted) < 0.9 * loss(means)
    assert torch.equal(fitted, again)
    torch.testing.assert_close(fitted.norm(dim=-1), torch.ones(4))


def test_fitting_stays_finite_at_a_centre() -> None:
    embeddings = torch.eye(4).repeat(5, 1)  # every embedding lies exactly on its centre
    found = fit_head(None, embeddings, torch.arange(4).repeat(5), NAMES, how="fitted")
    assert bool(torch.isfinite(found.weight).all())
    assert (embeddings @ found.weight.T).argmax(1).tolist() == [0, 1, 2, 3] * 5


def test_centring_moves_embeddings_and_own_rows_alike() -> None:
    embeddings, labels, _ = clusters()
    cone = F.normalize(embeddings, dim=-1) + 4 * F.normalize(torch.ones(8), dim=0)
    centre = training_mean(cone)
    torch.testing.assert_close(centre, F.normalize(cone, dim=-1).mean(0))
    found = fit_head(None, cone, labels, NAMES, how="means", centre=centre)
    crowded = fit_head(None, cone, labels, NAMES, how="means")
    off = ~torch.eye(4, dtype=torch.bool)
    assert (crowded.weight @ crowded.weight.T)[off].min() > 0.7
    assert (found.weight @ found.weight.T)[off].min() < 0.3
    own = TeacherHead(crowded.weight, NAMES)
    expected = F.normalize(crowded.weight - centre, dim=-1)
    torch.testing.assert_close(fit_head(own, cone, labels, NAMES, centre=centre).weight, expected)
    assert "centred" in found.how


def test_a_speaker_without_utterances_needs_a_row_of_the_teachers() -> None:
    embeddings, labels, directions = clusters()
    keep = labels != 2
    with pytest.raises(UserError, match=r"(?s)speakers without an utterance.*: 1.*cai"):
        fit_head(None, embeddings[keep], labels[keep], NAMES)
    own = TeacherHead(directions, NAMES)
    assert fit_head(own, embeddings[keep], labels[keep], NAMES).matched == 4


def test_bad_input_is_refused_at_the_door() -> None:
    embeddings, labels, directions = clusters()
    with pytest.raises(UserError, match=r"(?s)unknown way.*mean.*did you mean 'means'"):
        fit_head(None, embeddings, labels, NAMES, how="mean")
    with pytest.raises(UserError, match=r"(?s)unknown way.*lacks.*did you mean 'fitted'"):
        fit_head(None, embeddings, labels, NAMES, unmatched="fited")
    with pytest.raises(UserError, match="named twice"):
        fit_head(None, embeddings, labels, ("ann", "ben", "ann", "dov"))
    with pytest.raises(UserError, match=r"(?s)no speaker's.*0 to 3.*0 to 2"):
        fit_head(None, embeddings, labels, NAMES[:3])
    with pytest.raises(UserError, match="no embeddings"):
        fit_head(None, embeddings[:0], labels[:0], NAMES)
    with pytest.raises(UserError, match="at least two speakers"):
        fit_head(None, embeddings[:1], labels[:1], NAMES[:1])
    with pytest.raises(UserError, match="NaN"):
        fit_head(None, embeddings * float("nan"), labels, NAMES)
    with pytest.raises(UserError, match=r"(?s)dimension.*5 and 8"):
        fit_head(TeacherHead(torch.ones(1, 5), ("ann",)), embeddings, labels, NAMES)
    with pytest.raises(UserError, match=r"(?s)no row for 3 of 4.*ben, cai, dov"):
        fit_head(TeacherHead(directions[:1], ("ann",)), embeddings, labels, NAMES, how="matched")
    with pytest.raises(UserError, match=r"(?s)no direction.*ann"):
        fit_head(None, embeddings * (labels != 0)[:, None], labels, NAMES, how="means")
    with pytest.raises(UserError, match=r"(?s)names a speaker twice.*ann"):
        TeacherHead(torch.ones(2, 3), ("ann", "ann"))
    with pytest.raises(UserError, match="2 rows, 1 names"):
        TeacherHead(torch.ones(2, 3), ("ann",))
    with pytest.raises(UserError, match="no embeddings"):
        training_mean(embeddings[:0])


def test_5994_unnamed_rows_are_voxceleb2s_for_a_subset_too() -> None:
    known = dev_speakers()
    rows = torch.arange(2.0 * len(known)).reshape(len(known), 2)
    subset = [known[4_000], known[7], "someone else"]
    head = in_sorted_order(rows, subset)
    assert head is not None
    assert head.names == known
    assert torch.equal(head.weight, rows)
    units = F.normalize(torch.randn(6, 2), dim=-1)
    made = fit_head(head, units, torch.tensor([0, 1, 2, 0, 1, 2]), subset, assumed=True)
    torch.testing.assert_close(made.weight[1], F.normalize(rows[7], dim=-1))
    assert (made.own, made.assumed) == ((0, 1), True)
    assert "assumed in sorted order" in made.how
    assert in_sorted_order(rows, ["nobody", "of", "them"]) is None
    assert in_sorted_order(rows[:2], ["b", "a"]) is not None
