"""Binary metrics against scikit-learn: random input with ties, constants, one class, nothing."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from clm_dl.evaluation import classification as c

CASES = {
    "random": lambda rng: (rng.integers(0, 2, 300), rng.random(300)),
    "ties": lambda rng: (rng.integers(0, 2, 300), rng.integers(0, 6, 300) / 6),
    "constant": lambda rng: (rng.integers(0, 2, 100), np.full(100, 0.3)),
    "rare": lambda rng: ((np.arange(200) == 7).astype(int), np.round(rng.random(200), 1)),
    "extreme": lambda rng: (rng.integers(0, 2, 50), rng.integers(0, 2, 50).astype(float)),
}


@pytest.fixture(params=CASES)
def case(request):
    rng = np.random.default_rng(len(request.param))
    label, score = CASES[request.param](rng)
    weight = rng.integers(0, 4, len(label)).astype(float)
    weight[label == 1] += 1
    return label.astype(float), score, weight


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_scikit_learn(case, weighted):
    label, score, weight = case
    weight = weight if weighted else None
    expect = {
        c.auroc: sk.roc_auc_score(label, score, sample_weight=weight),
        c.auprc: sk.average_precision_score(label, score, sample_weight=weight),
        c.auprc_stay: sk.average_precision_score(1 - label, -score, sample_weight=weight),
        c.log_loss: sk.log_loss(label, score, sample_weight=weight),
    }
    for metric, value in expect.items():
        assert metric(label, score, weight) == pytest.approx(value, abs=1e-9), metric.__name__
    found = c.confusion(label, score, 0.35, weight)
    named = score >= 0.35
    table = sk.confusion_matrix(label, named, sample_weight=weight)
    assert (found.true_negative, found.false_positive, found.false_negative, found.true_positive) == pytest.approx(
        tuple(table.ravel())
    )
    assert found.accuracy == pytest.approx(sk.accuracy_score(label, named, sample_weight=weight))
    assert found.f1 == pytest.approx(sk.f1_score(label, named, sample_weight=weight, zero_division=0))
    assert found.recall == pytest.approx(sk.recall_score(label, named, sample_weight=weight))
    if named.any():
        assert found.precision == pytest.approx(sk.precision_score(label, named, sample_weight=weight, zero_division=0))


def test_a_score_at_the_threshold_is_named():
    found = c.confusion([1, 0, 1, 0], [0.5, 0.5, 0.25, 0.75], threshold=0.5)
    assert (found.true_positive, found.false_positive, found.false_negative, found.true_negative) == (1, 2, 1, 0)
    assert c.confusion([1, 0], [1.0, 0.0], threshold=1.0).accuracy == 1
    assert c.confusion([1, 0], [1.0, 0.0], threshold=0.0).recall == 1


@pytest.mark.parametrize("k", [0.03, 0.1, 0.5, 1.0])
def test_lift_is_the_mean_over_random_tie_breaks(k):
    rng = np.random.default_rng(3)
    label, score = rng.integers(0, 2, 200).astype(float), rng.integers(0, 4, 200) / 4
    reached = [label[np.lexsort((rng.random(200), -score))][: round(k * 200)].mean() for _ in range(4000)]
    assert c.lift_at_k(label, score, k) == pytest.approx(np.mean(reached) / label.mean(), abs=0.03)
    assert c.recall_at_k(label, score, k) == pytest.approx(c.lift_at_k(label, score, k) * k)


def test_order_of_rows_changes_nothing():
    rng = np.random.default_rng(5)
    label, score = rng.integers(0, 2, 200).astype(float), rng.integers(0, 5, 200) / 5
    mixed = rng.permutation(200)
    for metric in (c.auroc, c.auprc, c.auprc_stay, c.lift_at_k):
        assert metric(label[mixed], score[mixed]) == pytest.approx(metric(label, score), abs=1e-12)


@pytest.mark.parametrize("prevalence", [0.05, 0.5, 0.85])
def test_a_perfect_ranking_meets_the_ceiling_of_lift(prevalence):
    label = (np.arange(1000) < 1000 * prevalence).astype(float)
    assert c.lift_at_k(label, label, 0.1) == pytest.approx(c.lift_ceiling(prevalence, 0.1))


def test_the_larger_class_is_named_whichever_it_is():
    assert c.majority_floor([1, 0, 0, 0]) == c.majority_floor([0, 1, 1, 1]) == 0.75


@pytest.mark.parametrize("label", [np.zeros(5), np.ones(5), np.zeros(0)])
def test_undefined_is_nan_without_a_warning(label):
    score = np.linspace(0.1, 0.9, len(label))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(c.auroc(label, score))
        assert np.isnan(c.auprc(label, score)) == (not label.any())
        assert np.isnan(c.lift_at_k(label, score)) == (not label.any())
        assert np.isnan(c.log_loss(label, score)) == (len(label) == 0)
        assert np.isnan(c.confusion(label, score, 2.0).precision)
        assert np.isnan(c.majority_floor(label)) == (len(label) == 0)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="1 censored"):
        c.auroc([1, 0, np.nan], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="1 NaN of 2"):
        c.auroc([1, 0], [0.1, np.nan])
    with pytest.raises(ValueError, match="one label a score"):
        c.log_loss([1, 0], [0.1])
    with pytest.raises(ValueError, match="fraction"):
        c.lift_at_k([1, 0], [0.1, 0.2], k=10)
