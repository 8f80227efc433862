"""Confidence intervals of error rates: bootstrap over speakers, not over trials.

Trials share speakers, so they are far from independent, and an interval over trials is much too narrow
(Bengio and Mariéthoz, "A statistical significance test for person authentication", Odyssey 2004). Here whole
speakers are drawn with replacement, as Bisani and Ney (ICASSP 2004) draw whole segments. A speaker drawn w
times stands for w speakers who happen to be alike, so

- a target trial of speaker i counts w_i times (once within each copy),
- a non-target trial of speakers i and j counts w_i · w_j times (each copy of i against each copy of j),
- trials between two copies of one speaker do not exist in the list, and are not made up.

With product weights this is the bootstrap of crossed factors, which errs a little on the wide side
(Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007).

What an interval covers: how the rate would differ on *other speakers* drawn like these, recorded and paired
in the same way. It does not cover another language, channel or duration; nor, unless training seeds are
given to `paired_bootstrap`, another run of training; nor choosing the best of many systems on these trials.
Percentile intervals are too narrow for few speakers (below about 20).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from distilvox.errors import UserError, require
from distilvox.evaluation.metrics import block_ends, check_trials, eer, interpolate


@dataclass(frozen=True)
class Paired:
    """System B against system A on the same trials; differences are B - A, so negative means B is better.

    eer_a, eer_b: mean EER over seeds. difference: eer_b - eer_a; relative: difference / eer_a, None where
    system A makes no errors; low and high: the ends of their intervals. p: two-sided bootstrap p-value for
    "no difference". replicates: the usable ones. seeds: runs of each system; with one, the interval covers
    the choice of speakers alone.
    """

    eer_a: float
    eer_b: float
    difference: float
    low: float
    high: float
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    p: float
    level: float
    replicates: int
    seeds: int
    speakers: int


class SpeakerTrials:
    """Trials sorted once by score, for many weighted EERs: O(n) each, without sorting again.

    Args:
        scores, labels: [n], as for `metrics.eer`.
        enrol, test: speaker numbers [n] in [0, S).
    """

    def __init__(self, scores: np.ndarray, labels: np.ndarray, enrol: np.ndarray, test: np.ndarray) -> None:
        order = np.argsort(scores, kind="stable")
        ends = block_ends(scores[order])
        labels = labels[order]
        self._target = enrol[order][labels]
        self._enrol = enrol[order][~labels]
        self._test = test[order][~labels]
        # how many trials of each class every point of the DET curve rejects, from none to all
        self._targets_below = np.concatenate([[0], np.cumsum(labels)[ends]])
        self._others_below = np.concatenate([[0], ends + 1]) - self._targets_below

    def eers(self, draws: Int[np.ndarray, "R S"]) -> Float[np.ndarray, " R"]:
        """EER with each speaker counted as often as each row of `draws` says; NaN where a class is gone.

        The same as `metrics.eer` of the trials written out as often as they count.
        """
        return np.array([self._eer(weights) for weights in draws], dtype=np.float64)

    def _eer(self, weights: np.ndarray) -> float:
        target = np.concatenate([[0], np.cumsum(weights[self._target])])
        other = np.concatenate([[0], np.cumsum(weights[self._enrol] * weights[self._test])])
        targets, others = int(target[-1]), int(other[-1])
        if targets == 0 or others == 0:
            return float("nan")
        first, last = 0, len(self._targets_below) - 1  # bisect for the first point with p_miss >= p_fa
        while first < last:
            middle = (first + last) // 2
            missed, correct = target[self._targets_below[middle]], other[self._others_below[middle]]
            if missed * others >= (others - correct) * targets:  # in exact integers
                last = middle
            else:
                first = middle + 1
        points = slice(first - 1, first + 1)  # the curve's point 0 accepts all, so first is at least 1
        miss = target[self._targets_below[points]] / targets
        fa = (others - other[self._others_below[points]]) / others
        return interpolate((float(miss[0]), float(fa[0])), (float(miss[1]), float(fa[1])))


def number_speakers(
    labels: np.ndarray,
    enrol_speaker: Sequence[object] | np.ndarray,
    test_speaker: Sequence[object] | np.ndarray,
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], int]:
    """(enrol, test, S): the speakers of each trial numbered 0 .. S - 1.

    Raises:
        UserError: a target trial of two speakers, or a non-target trial of one: it names the first.
    """
    both = np.concatenate([np.asarray(enrol_speaker), np.asarray(test_speaker)])
    n = len(labels)
    require(
        len(enrol_speaker) == n and len(test_speaker) == n,
        "every trial needs its two speakers",
        got=f"{n} trials, {len(enrol_speaker)} enrol and {len(test_speaker)} test speakers",
    )
    names, numbers = np.unique(both, return_inverse=True)
    enrol, test = numbers[:n], numbers[n:]
    wrong = np.flatnonzero((enrol == test) != labels)
    if len(wrong):
        k = wrong[0]
        raise UserError(
            f"{len(wrong)} trials contradict the speakers, the first is trial {k} (counted from 0), "
            f"a {'target' if labels[k] else 'non-target'} trial",
            got=f"speakers {names[enrol[k]]} and {names[test[k]]}",
            remedy="the trial list is mislabelled, or belongs to another corpus",
        )
    return enrol, test, len(names)


def _draws(rng: np.random.Generator, speakers: int, replicates: int) -> Int[np.ndarray, "R S"]:
    """How often each speaker is drawn in each replicate: rows sum to S."""
    return rng.multinomial(speakers, np.full(speakers, 1 / speakers), size=replicates)


def _check_draws(replicates: int, level: float) -> None:
    require(replicates >= 1, "too few bootstrap replicates", got=replicates, allowed="at least 1")
    require(0 < level < 1, "level is a probability", got=level, allowed="0 < level < 1")


def _interval(values: Float[np.ndarray, " R"], level: float) -> tuple[float, float]:
    """Percentile interval; replicates that lost a whole class (NaN) are left out."""
    valid = values[np.isfinite(values)]
    require(
        2 * len(valid) >= len(values),
        "too few speakers for a confidence interval: most resamples have only one class of trials",
        got=f"{len(valid)} usable resamples of {len(values)}",
        remedy="use a trial list with more speakers",
    )
    low, high = np.quantile(valid, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_eer(
    scores: np.ndarray,
    labels: np.ndarray,
    enrol_speaker: Sequence[object] | np.ndarray,
    test_speaker: Sequence[object] | np.ndarray,
    *,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """(low, high): percentile interval of the EER over speakers, as fractions.

    Args:
        scores, labels: [n], as for `metrics.eer`.
        enrol_speaker, test_speaker: [n] names or numbers; equal exactly in target trials.
        replicates: resamples of the speakers; level: probability that the interval is to hold.
    """
    _check_draws(replicates, level)
    scores, labels = check_trials(scores, labels)
    enrol, test, speakers = number_speakers(labels, enrol_speaker, test_speaker)
    trials = SpeakerTrials(scores, labels, enrol, test)
    draws = _draws(np.random.default_rng(seed), speakers, replicates)
    return _interval(trials.eers(draws), level)


def paired_bootstrap(
    scores_a: Sequence[np.ndarray],
    scores_b: Sequence[np.ndarray],
    labels: np.ndarray,
    enrol_speaker: Sequence[object] | np.ndarray,
    test_speaker: Sequence[object] | np.ndarray,
    *,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Paired:
    """Mean EER of system B against system A, over trial speakers and training seeds at once.

    In a replicate both systems see the same draw of speakers and of seed pairs. Of k seeds, k - 1 are drawn
    with replacement: that makes the variance of the mean unbiased (Rao and Wu, JASA 1988), where k of k would
    understate it by (k - 1) / k, a third with three seeds. The tails stay those of so few seeds: with two
    or three the true coverage lies below `level`.

    Args:
        scores_a, scores_b: one array [n] of scores for each training seed; the k-th of both share a seed.
        labels, enrol_speaker, test_speaker, replicates, level: as for `bootstrap_eer`.
    """
    systems = {"a": scores_a, "b": scores_b}
    found = paired_bootstraps(
        systems, [("a", "b")], labels, enrol_speaker, test_speaker, replicates=replicates, level=level, seed=seed
    )  # fmt: skip
    return found["a", "b"]


def paired_bootstraps(
    systems: Mapping[str, Sequence[np.ndarray]],
    pairs: Sequence[tuple[str, str]],
    labels: np.ndarray,
    enrol_speaker: Sequence[object] | np.ndarray,
    test_speaker: Sequence[object] | np.ndarray,
    *,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[tuple[str, str], Paired]:
    """`paired_bootstrap` of several pairs (A, B) of systems: what a replicate makes of a system is computed once.

    Args:
        systems: name → one array [n] of scores for each training seed.
    """
    _check_draws(replicates, level)
    named = {name: systems[name] for pair in pairs for name in pair}
    counts = [len(runs) for runs in named.values()]
    if not counts:
        return {}
    seeds = counts[0]
    require(
        seeds >= 1 and set(counts) == {seeds},
        "a paired comparison needs the same seeds of both systems",
        got=" and ".join(map(str, counts)),
    )
    checked = {name: [check_trials(s, labels)[0] for s in runs] for name, runs in named.items()}
    labels = check_trials(next(iter(named.values()))[0], labels)[1]
    enrol, test, speakers = number_speakers(labels, enrol_speaker, test_speaker)
    rng = np.random.default_rng(seed)
    draws = _draws(rng, speakers, replicates)
    picks = np.ones((replicates, 1), np.int64)
    if seeds > 1:
        picks = rng.multinomial(seeds - 1, np.full(seeds, 1 / seeds), size=replicates)
    shares = picks / picks.sum(axis=1, keepdims=True)

    means, rates = {}, {}
    for name, runs in checked.items():
        each = np.empty((replicates, seeds))
        for k, scores in enumerate(runs):
            each[:, k] = SpeakerTrials(scores, labels, enrol, test).eers(draws)
        means[name] = (each * shares).sum(axis=1)
        rates[name] = float(np.mean([eer(s, labels) for s in runs]))
    return {(a, b): _paired(rates[a], rates[b], means[a], means[b], level, seeds, speakers) for a, b in pairs}


def _paired(
    eer_a: float, eer_b: float, of_a: np.ndarray, of_b: np.ndarray, level: float, seeds: int, speakers: int
) -> Paired:
    """From the EERs, and the mean EERs [replicates] of both systems."""
    difference = of_b - of_a
    low, high = _interval(difference, level)
    relative = np.full(len(difference), np.nan)
    np.divide(difference, of_a, out=relative, where=of_a > 0)
    relative_low, relative_high = None, None
    if eer_a > 0 and np.isfinite(relative).mean() >= 0.5:
        relative_low, relative_high = _interval(relative, level)
    valid = difference[np.isfinite(difference)]
    tail = min(int((valid <= 0).sum()), int((valid >= 0).sum()))
    return Paired(
        eer_a=eer_a,
        eer_b=eer_b,
        difference=eer_b - eer_a,
        low=low,
        high=high,
        relative=(eer_b - eer_a) / eer_a if eer_a > 0 else None,
        relative_low=relative_low,
        relative_high=relative_high,
        p=min(1.0, 2 * (tail + 1) / (len(valid) + 1)),
        level=level,
        replicates=len(valid),
        seeds=seeds,
        speakers=speakers,
    )
