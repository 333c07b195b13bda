"""Rankings under many weightings: the same as rows repeated by their weight, in scikit-learn and scipy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sk

from clm_dl.evaluation.ranked import Ranking, curve, rank_correlation

Rows = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    """Labels, scores with ties, customers and three weightings of them; somebody of each class always counts."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num, customers, levels = draw(st.integers(4, 40)), draw(st.integers(1, 8)), draw(st.sampled_from([1, 3, 1000]))
    label_N = rng.integers(0, 2, num).astype(float)
    label_N[:2] = 0, 1
    code_N = rng.integers(0, customers, num)
    weight_RC = rng.integers(0, 4, (3, customers)).astype(float)
    weight_RC[:, code_N[:2]] += 1
    return label_N, rng.integers(0, levels, num) / levels, code_N, weight_RC


@settings(max_examples=60, deadline=None)
@given(rows())
def test_a_weight_is_as_many_rows(given_rows: Rows) -> None:
    label_N, score_N, code_N, weight_RC = given_rows
    found = Ranking(label_N, score_N, code_N)(weight_RC, bins=5, tops=[0.3, 0.1])
    for place, weight_C in enumerate(weight_RC):
        times_N = weight_C[code_N].astype(int)
        label, score = np.repeat(label_N, times_N), np.repeat(score_N, times_N)
        assert found.auroc()[place] == pytest.approx(sk.roc_auc_score(label, score), abs=1e-12)
        assert found.auprc()[place] == pytest.approx(sk.average_precision_score(label, score), abs=1e-12)
        assert found.auprc_stay()[place] == pytest.approx(sk.average_precision_score(1 - label, -score), abs=1e-12)
        alone = Ranking(label, score)(bins=5, tops=[0.3, 0.1])
        for ours, other in zip((*found.bins(), found.recall()), (*alone.bins(), alone.recall()), strict=True):
            np.testing.assert_allclose(ours[place], other[0], atol=1e-12)
        np.testing.assert_allclose(alone.bins()[0].mean(), score.mean(), atol=1e-12)
        np.testing.assert_allclose(alone.bins()[1].mean(), label.mean(), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(rows())
def test_rank_correlation_is_spearmans(given_rows: Rows) -> None:
    label_N, score_N, code_N, weight_RC = given_rows
    other_N = label_N + score_N.round(1)
    found = rank_correlation(Ranking(label_N, score_N, code_N), Ranking(label_N, other_N, code_N), weight_RC)
    for place, weight_C in enumerate(weight_RC):
        times_N = weight_C[code_N].astype(int)
        one, other = np.repeat(score_N, times_N), np.repeat(other_N, times_N)
        if len(np.unique(one)) == 1 or len(np.unique(other)) == 1:
            assert np.isnan(found[place])
        else:
            assert found[place] == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-9)


def test_bins_and_top_by_hand() -> None:
    ranked = Ranking([1, 0, 1, 0, 0], [0.9, 0.8, 0.8, 0.2, 0.1])(bins=5, tops=[0.4])
    mean, rate = ranked.bins()
    np.testing.assert_allclose(mean, [[0.9, 0.8, 0.8, 0.2, 0.1]])
    np.testing.assert_allclose(rate, [[1, 0.5, 0.5, 0, 0]])  # those with equal scores carry their common rate
    assert ranked.top[0, 0] == 1.5
    assert ranked.ece()[0] == pytest.approx((0.1 + 0.3 + 0.3 + 0.2 + 0.1) / 5)


def test_who_does_not_count_changes_nothing_and_nobody_is_undefined() -> None:
    label, score, code = [1.0, 0, 1, 0], [0.9, 0.5, 0.5, 0.1], [0, 1, 2, 3]
    weight_RC = np.array([[1.0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 1, 0]])
    found = Ranking(label, score, code)(weight_RC, bins=2, tops=[0.5])
    without = Ranking([1.0, 0, 0], [0.9, 0.5, 0.1])(bins=2, tops=[0.5])
    assert found.auroc()[0] == without.auroc()[0]
    np.testing.assert_array_equal(found.bins()[0][0], without.bins()[0][0])
    assert np.isnan([found.auroc()[1], found.auprc()[1], found.ece()[1], found.recall()[1, 0]]).all()
    assert np.isnan([found.auroc()[2], found.auprc_stay()[2]]).all()
    assert found.auprc()[2] == 1


def test_the_curve_steps_over_ties() -> None:
    found = curve([1, 0, 1, 0], [0.5, 0.5, 0.9, 0.1])
    np.testing.assert_array_equal(found.mass, [0, 1, 3, 4])
    np.testing.assert_array_equal(found.positive, [0, 1, 2, 2])


def test_compiled_where_nothing_may_be_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package folder and a home that nobody may write: numba has nowhere to keep what it compiled."""
    import clm_dl.evaluation.ranked as ranked

    kept = []

    def njit(**options: object) -> object:
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function '_passes': no locator available")
        kept.append(options)
        return lambda function: function

    monkeypatch.setattr(ranked, "njit", njit)
    plain = SimpleNamespace()
    assert ranked._compiled(lambda: plain)() is plain
    assert len(kept) == 1
