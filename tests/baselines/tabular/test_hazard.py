"""HazardModel: the base rate is Kaplan–Meier's curve, hazards are learnt from those followed so far, curves do not
rise.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sksurv.nonparametric import kaplan_meier_estimator
from support import asked_of, baseline_rows, changed, shipped

from clm_dl.baselines.spec import Spec
from clm_dl.baselines.tabular.classifier import TabularClassifier
from clm_dl.baselines.tabular.hazard import HazardModel
from clm_dl.evaluation.classification import auroc
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.survival.calibration import CurveCalibrator
from clm_dl.tasks.survival.durations import Lifetimes
from clm_dl.tasks.survival.scores import read_curves

DAYS = [0, 28, 56]
ALL = shipped("survival")


def customers(num: int = 6000, seed: int = 0) -> tuple[pd.DataFrame, Lifetimes]:
    """Who was away for long leaves at once, who orders often stays longer; a third is followed for 30 days only."""
    rng = np.random.default_rng(seed)
    recency, orders = rng.gamma(2, 10, num), rng.poisson(4, num).astype(float)
    left = rng.exponential(10 * (1 + orders))
    left[rng.random(num) < 1 / (1 + np.exp(2 - 0.08 * recency))] = -np.inf
    return pd.DataFrame({"recency": recency, "orders": orders}), Lifetimes(left, rng.choice([30.0, 100, 100], num))


def test_which_baselines_answer_survival() -> None:
    assert list(ALL) == ["base_rate", "recency", "logistic", "lightgbm"]


def test_the_base_rate_is_the_kaplan_meier_curve() -> None:
    X, life = customers()
    left = life.intervals(DAYS)
    model = HazardModel(TabularClassifier.of(ALL["base_rate"], seed=0)).fit(X, left, X[:0], left[:0])
    survived, is_left = (left == 0).sum(axis=1), (left == 1).any(axis=1)
    _, expected = kaplan_meier_estimator(is_left, np.where(is_left, survived + 1, survived + 0.5))
    found = model.predict_curve(X.iloc[:2])
    np.testing.assert_allclose(found, [np.unique(expected)[::-1][: len(DAYS)]] * 2, atol=1e-9)
    full = Lifetimes(life.left_N, np.full(len(X), 100.0)).active(DAYS).mean(axis=0)
    np.testing.assert_allclose(found[0], full, atol=0.015)  # as if all had been followed


@pytest.fixture(scope="module")
def score(cases_of: Callable[..., Cases]) -> Callable[..., pd.DataFrame]:
    """Scores of a baseline, fitted on the first half of the rows."""

    def score(X: pd.DataFrame, life: Lifetimes, spec: Spec) -> pd.DataFrame:
        known = {"outcome": life.active(DAYS), "target_NK": life.intervals(DAYS)}
        task = asked_of("survival", spec, overrides=[f"task.horizons_days={DAYS}"])
        return baseline_rows(task, cases_of(X, (life.left_N < 0).astype(float), **known))

    return score


@pytest.mark.parametrize("name", ALL)
def test_every_baseline_scores_curves_that_do_not_rise(score: Callable[..., pd.DataFrame], name: str) -> None:
    X, life = customers()
    scores = score(X, life, changed(ALL[name], n_estimators=40) if name == "lightgbm" else ALL[name])
    assert set(scores["split"]) == {"val", "test"}
    assert scores["horizon"].tolist() == DAYS * 3000
    table = read_curves(scores, "test")
    np.testing.assert_array_equal(table.label, life.active(DAYS)[4500:])
    for curves in (table.active[name], table.raw[name]):
        assert (np.diff(curves, axis=1) <= 1e-12).all()
    validation = read_curves(scores, "val")
    newest = (validation.cutoff == validation.cutoff.max())[:, None] & ~np.isnan(validation.label)
    known = {"cutoff": validation.cutoff.astype("int64"), "known_NS": ~np.isnan(validation.label)}
    fitted = CurveCalibrator().fit_over(validation.raw[name], validation.label, newest_NS=newest, **known)
    calibrated = fitted.predict(table.raw[name])
    np.testing.assert_allclose(table.active[name], calibrated, rtol=1e-6)  # on the newest validation cutoff alone
    known = ~np.isnan(table.label[:, 2])
    least = {"base_rate": 0.49, "recency": 0.55}.get(name, 0.65)
    assert auroc(table.label[known, 2], table.active[name][known, 2]) > least


def test_the_newest_validation_cutoff_neither_stops_nor_fits_anything(score: Callable[..., pd.DataFrame]) -> None:
    X, life = customers(num=1600)
    spec = changed(ALL["lightgbm"], n_estimators=200, learning_rate=0.3, min_child_samples=20, patience=5)

    def raw(rows: slice) -> np.ndarray:
        """Of test, where these rows left when others of them did."""
        left = life.left_N.copy()
        left[rows] = left[rows][::-1]
        return read_curves(score(X, Lifetimes(left, life.followed_N), spec), "test").raw["lightgbm"]

    oldest, newest, nobody = slice(800, 1000), slice(1000, 1200), slice(0, 0)
    before = raw(nobody)
    np.testing.assert_array_equal(raw(newest), before)
    assert not np.array_equal(raw(oldest), before)  # it does stop by the older ones
