"""Bayesian network: the worked example of Bayes' rule, a dependence that naive Bayes counts twice, structure, bad
input.
"""

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from clm_dl.baselines.tabular.bayes_net import BayesNet


def test_worked_example() -> None:
    """P(complained | churn) = .6, P(churn) = .3, P(complained) = .4: P(churn | complained) = .6 × .3 / .4 = .45."""
    churned = np.repeat([1, 1, 0, 0], [1800, 1200, 2200, 4800])
    complained = np.repeat([1.0, 0.0, 1.0, 0.0], [1800, 1200, 2200, 4800])
    model = BayesNet(num_bins=2, smoothing=1e-9).fit(complained[:, None], churned)
    assert model.predict_proba(np.array([[1.0]]))[0, 1] == pytest.approx(0.45, abs=1e-3)
    assert model.predict_proba(np.array([[0.0]]))[0, 1] == pytest.approx(1200 / 6000, abs=1e-3)


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray]:
    """Churn follows x0; x1 is x0 with noise, x2 is x1 with noise, x3 is nothing."""
    rng = np.random.default_rng(0)
    x0 = rng.normal(size=6000)
    y = (rng.random(6000) < 1 / (1 + np.exp(1.5 - 1.5 * x0))).astype(int)
    x1 = x0 + 0.1 * rng.normal(size=6000)
    x2 = x1 + 0.1 * rng.normal(size=6000)
    return np.stack([x0, x1, x2, rng.normal(size=6000)], axis=1), y


def test_it_finds_the_chain(world: tuple[np.ndarray, np.ndarray]) -> None:
    parent = BayesNet().fit(*world).parent_
    assert parent[:3].tolist() == [-1, 0, 1]


def test_copies_of_a_feature_make_naive_bayes_too_sure_and_not_the_tree(world: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = world
    fit, test = slice(0, 4000), slice(4000, None)
    tree, naive = (BayesNet(tree=tree).fit(X[fit], y[fit]).predict_proba(X[test]) for tree in (True, False))
    np.testing.assert_allclose(tree.sum(1), 1)
    assert log_loss(y[test], tree) < log_loss(y[test], naive) - 0.05
    assert tree[:, 1].mean() == pytest.approx(y[test].mean(), abs=0.02)
    assert roc_auc_score(y[test], tree[:, 1]) > 0.75


def test_rows_are_scored_alone_and_far_values_fall_into_the_outer_bins(world: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = world
    model = BayesNet().fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X[:50])[7], model.predict_proba(X[7:8])[0])
    far = X[:1].copy()
    far[0] = 1e9
    assert np.isfinite(model.predict_proba(far)).all()


def test_constant_features_are_harmless(world: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = world
    more = np.c_[X, np.zeros(len(X)), np.ones(len(X))]
    np.testing.assert_allclose(
        BayesNet().fit(more, y).predict_proba(more), BayesNet().fit(X, y).predict_proba(X), atol=1e-3
    )


def test_bad_settings_are_one_sentence(world: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="num_bins ≥ 2 and smoothing > 0, got 1"):
        BayesNet(num_bins=1).fit(*world)
