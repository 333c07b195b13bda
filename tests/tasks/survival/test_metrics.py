"""Survival metrics: equal to scikit-survival's, undisturbed by the order of rows, and honest about censoring."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss
from sksurv.metrics import brier_score, concordance_index_censored, concordance_index_ipcw, integrated_brier_score
from sksurv.util import Surv

from clm_dl.evaluation.bootstrap import Bootstrap, bootstrap
from clm_dl.evaluation.calibration import ece
from clm_dl.evaluation.classification import auroc, log_loss
from clm_dl.tasks.survival.metrics import (
    brier_terms,
    c_index,
    hazards,
    integrated_brier,
    restricted_mean,
    still_followed,
    survival_measure,
)
from clm_dl.tasks.survival.scores import CurveScores

DAYS = [28, 56, 91, 182]


def snapshots(num: int = 400, *, censoring: bool = True, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels [N, S] of customers followed for different times, and a forecast that knows something of them."""
    rng = np.random.default_rng(seed)
    scale = rng.lognormal(4.5, 0.6, num)
    left = rng.exponential(scale)
    followed = rng.choice([40.0, 100.0, 200.0], num) if censoring else np.full(num, 200.0)
    label = np.where(followed[:, None] >= DAYS, (left[:, None] >= DAYS).astype(float), np.nan)
    active = np.exp(-np.array(DAYS) / (scale * rng.lognormal(0, 0.3, num))[:, None])
    return label, np.round(active, 2)  # rounded: ties


def bootstrapped(
    customer: np.ndarray, label: np.ndarray, curves: dict[str, np.ndarray], days: list[int], *, resamples: int
) -> Bootstrap:
    table = CurveScores(customer, pd.DatetimeIndex([]), np.ones(len(label), bool), label, curves, curves)
    return bootstrap(survival_measure(table, curves, days), resamples=resamples)


def as_surv(label: np.ndarray) -> np.ndarray:
    """scikit-survival's view: who left at the end of the interval, who is censored half an interval after the last
    known one.
    """
    ends = np.array([0.0, *DAYS])
    known = (label == 1).sum(axis=1)
    is_left = (label == 0).any(axis=1)
    censored = np.append((ends[:-1] + ends[1:]) / 2, DAYS[-1] + 1)
    return Surv.from_arrays(is_left, np.where(is_left, ends[np.minimum(known + 1, len(DAYS))], censored[known]))


@pytest.mark.parametrize("censoring", [False, True])
def test_brier_and_its_integral_are_those_of_scikit_survival(censoring):
    label, active = snapshots(censoring=censoring)
    surv = as_surv(label)
    _, expected = brier_score(surv, surv, active, DAYS)
    np.testing.assert_allclose(brier_terms(label, active).mean(axis=0), expected, atol=1e-12)
    assert integrated_brier(label, active, DAYS) == pytest.approx(
        integrated_brier_score(surv, surv, active, DAYS), abs=1e-12
    )
    assert np.isnan(label).any() == censoring


@pytest.mark.parametrize("censoring", [False, True])
def test_concordance_is_that_of_scikit_survival(censoring):
    label, active = snapshots(censoring=censoring)
    surv, lifetime = as_surv(label), restricted_mean(active, DAYS)
    expected = concordance_index_ipcw(surv, surv, -lifetime)[0]
    assert c_index(label, lifetime) == pytest.approx(expected, abs=1e-12)
    if not censoring:  # then Uno's is Harrell's
        assert expected == pytest.approx(
            concordance_index_censored(surv["event"], surv["time"], -lifetime)[0], abs=1e-12
        )


def test_weights_make_up_for_customers_who_are_followed_for_less():
    full, active = snapshots(40_000, censoring=False)
    label, _ = snapshots(40_000, censoring=True)
    truth = integrated_brier(full, active, DAYS)
    assert integrated_brier(label, active, DAYS) == pytest.approx(truth, abs=0.004)
    assert still_followed(full).tolist() == [1, 1, 1, 1]
    np.testing.assert_allclose(still_followed(label), [1, 2 / 3, 2 / 3, 1 / 3], atol=0.02)


def test_who_is_not_even_followed_through_the_first_horizon_is_at_risk_of_it():
    nan = np.nan
    label = [[nan, nan, nan], [1, nan, nan], [1, 1, 1], [1, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(still_followed(label), [1 - 1 / 5, (1 - 1 / 5) * (1 - 1 / 3), (1 - 1 / 5) * (1 - 1 / 3)])


def test_bootstrap_holds_the_metrics_of_each_horizon_and_is_paired():
    label, active = snapshots()
    customer = np.arange(len(label)) // 2
    boot = bootstrapped(customer, label, {"a": active, "b": active, "c": active[::-1]}, DAYS, resamples=60)
    each = [f"{name}@{days}" for days in DAYS for name in ("auroc", "log_loss", "brier", "ece")]
    assert boot.metrics == ("c_index", "ibs", "log_loss", "ece", *each)
    for s, days in enumerate(DAYS):
        known = ~np.isnan(label[:, s])
        for name, function in (("auroc", auroc), ("log_loss", log_loss), ("brier", brier_score_loss), ("ece", ece)):
            assert boot.interval("a", f"{name}@{days}")["value"] == pytest.approx(
                function(label[known, s], active[known, s])
            )
    values = [boot.interval("a", f"ece@{days}")["value"] for days in DAYS]
    assert boot.interval("a", "ece")["value"] == max(values)
    assert boot.interval("a", "c_index")["value"] == pytest.approx(c_index(label, restricted_mean(active, DAYS)))
    assert boot.interval("a", "ibs")["value"] == pytest.approx(integrated_brier(label, active, DAYS))
    assert boot.difference("a", "b", "c_index") == {"value": 0, "low": 0, "high": 0}
    low, high = (boot.interval("a", "c_index")[end] for end in ("low", "high"))
    assert low < boot.interval("a", "c_index")["value"] < high
    assert boot.difference("a", "c", "c_index")["low"] > 0


def test_bootstrap_draws_customers_with_all_their_snapshots():
    label, active = snapshots(200)
    twice = bootstrapped(
        np.tile(np.arange(200), 2), np.tile(label, (2, 1)), {"a": np.tile(active, (2, 1))}, DAYS, resamples=50
    )
    once = bootstrapped(np.arange(200), label, {"a": active}, DAYS, resamples=50)
    np.testing.assert_allclose(twice.resampled, once.resampled, atol=1e-9)


def test_restricted_mean_is_the_area_under_the_curve():
    assert restricted_mean([[0.5, 0.5]], [0, 28]).tolist() == [14.0]
    assert restricted_mean([[0.5]], [28]).tolist() == [21.0]  # from 1 at the cutoff
    assert restricted_mean([[1.0, 0.5, 0.0]], [10, 20, 40]).tolist() == [10 + 7.5 + 5]


def test_hazards_give_the_curve_back():
    curve = np.array([[0.8, 0.4, 0.3], [1.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    assert hazards(curve)[0] == pytest.approx([0.2, 0.5, 0.25])
    np.testing.assert_allclose(np.cumprod(1 - hazards(curve), axis=1), curve)


def test_nobody_left_gives_no_concordance():
    assert np.isnan(c_index(np.ones((5, 2)), np.arange(5)))
    assert np.isnan(bootstrapped([], np.empty((0, 2)), {"a": np.empty((0, 2))}, [1, 2], resamples=3).value[:, 0]).all()
