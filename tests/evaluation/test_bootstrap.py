"""The bootstrap, of the metrics of a binary label: it equals a plain loop over resamples with scikit-learn's
sample_weight, and is paired.
"""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn import metrics as sk

from clm_dl.evaluation.bootstrap import Bootstrap, bootstrap, interval
from clm_dl.evaluation.calibration import ece
from clm_dl.evaluation.classification import confusion, lift_at_k
from clm_dl.tasks.churn.metrics import binary_measure
from clm_dl.tasks.churn.scores import ScoreTable


def bootstrapped(
    customer: np.ndarray, label: np.ndarray, scores: dict[str, np.ndarray], *, threshold: float = 0.5, **options: int
) -> Bootstrap:
    """Of the metrics of a binary label."""
    table = ScoreTable(customer, pd.DatetimeIndex([]), label, label == 1, scores, scores, 0)
    return bootstrap(binary_measure(table, scores, threshold=threshold), **options)


def sample(
    num: int, num_customers: int, num_models: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    customer = rng.integers(0, num_customers, num)
    label = (rng.random(num) < 0.2).astype(float)
    scores = {
        f"m{i}": np.clip(0.2 + 0.1 * rng.standard_normal(num) + 0.1 * label, 0.01, 0.99) for i in range(num_models)
    }
    scores["m0"] = np.round(scores["m0"], 1)  # ties
    return customer, label, scores


def reference(label, score, weight) -> list[float]:
    cells = confusion(label, score, 0.25, weight)
    return [
        sk.roc_auc_score(label, score, sample_weight=weight),
        sk.average_precision_score(label, score, sample_weight=weight),
        sk.average_precision_score(1 - label, -score, sample_weight=weight),
        sk.log_loss(label, score, sample_weight=weight),
        sk.brier_score_loss(label, score, sample_weight=weight),
        ece(np.repeat(label, weight), np.repeat(score, weight)),
        lift_at_k(np.repeat(label, weight), np.repeat(score, weight), 0.1),
        lift_at_k(np.repeat(label, weight), np.repeat(score, weight), 0.1) * 0.1,
        sk.accuracy_score(label, score >= 0.25, sample_weight=weight),
        sk.f1_score(label, score >= 0.25, sample_weight=weight, zero_division=0),
        cells.precision,
        sk.recall_score(label, score >= 0.25, sample_weight=weight),
    ]


def test_equals_a_plain_loop():
    customer, label, scores = sample(300, 90, 2)
    found = bootstrapped(customer, label, scores, resamples=20, seed=7, threshold=0.25)
    codes = np.unique(customer, return_inverse=True)[1]
    num_customers = codes.max() + 1
    rng = np.random.default_rng(7)
    for r in range(20):
        weight = np.bincount(rng.integers(num_customers, size=num_customers), minlength=num_customers)[codes]
        for m, score in enumerate(scores.values()):
            assert found.resampled[r, m] == pytest.approx(reference(label, score, weight), abs=1e-9, nan_ok=True)
    assert found.value[1] == pytest.approx(reference(label, scores["m1"], np.ones(300, dtype=int)), abs=1e-9)


def test_a_score_at_the_threshold_is_named():
    label, score = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.5, 0.5, 0.25, 0.75])
    found = bootstrapped(np.arange(4), label, {"m": score}, resamples=20, threshold=0.5)
    cells = confusion(label, score, 0.5)
    for metric in ("accuracy", "precision", "recall", "f1"):
        assert found.interval("m", metric)["value"] == pytest.approx(getattr(cells, metric))
    assert found.interval("m", "precision")["value"] == pytest.approx(1 / 3)
    assert np.nanmax(found.resampled[:, 0, found.metrics.index("recall")]) == 1  # without the other positive


def bias_corrected(value: float, draws: np.ndarray) -> tuple[float, float]:
    """Efron's bias-corrected percentiles, by the book."""
    z = norm.ppf((draws < value).mean())
    low, high = np.quantile(draws, norm.cdf(2 * z + norm.ppf([0.025, 0.975])))
    return float(low), float(high)


def test_intervals_and_differences_are_bias_corrected_percentiles_of_paired_resamples():
    customer, label, scores = sample(500, 100, 3)
    found = bootstrapped(customer, label, scores, resamples=200, seed=1)
    k = found.metrics.index("auroc")
    interval = found.interval("m1", "auroc")
    expected = bias_corrected(interval["value"], found.resampled[:, 1, k])
    assert (interval["low"], interval["high"]) == pytest.approx(expected)
    paired = found.resampled[:, 1, k] - found.resampled[:, 2, k]
    difference = found.difference("m1", "m2", "auroc")
    expected = bias_corrected(difference["value"], paired)
    assert (difference["low"], difference["high"]) == pytest.approx(expected)
    assert difference["value"] == found.interval("m1", "auroc")["value"] - found.interval("m2", "auroc")["value"]
    assert found.difference_error("m1", "m2", "auroc") == pytest.approx(paired.std(ddof=1))
    assert found.difference("m1", "m1", "auroc") == {"value": 0, "low": 0, "high": 0}


def test_a_distance_loses_the_noise_of_its_groups():
    """Of a calibrated score the ECE is noise alone: the interval goes from 0 to the figure; percentiles miss both."""
    rng = np.random.default_rng(5)
    score = rng.uniform(0.05, 0.95, 600)
    label = (rng.random(600) < score).astype(float)
    found = bootstrapped(np.arange(600), label, {"m": score, "far": np.clip(score + 0.2, 0, 1)}, resamples=300)
    one, far = (found.interval(name, "ece") for name in ("m", "far"))
    assert np.quantile(found.resampled[:, 0, found.metrics.index("ece")], 0.025) > one["value"] > 0.02
    assert one["low"] < 0.005
    assert one["high"] == one["value"]
    assert far["low"] < 0.2 * (1 - 0.1) < far["high"] + 0.02
    square = 2 * far["value"] ** 2 - found.resampled[:, 1, found.metrics.index("ece")] ** 2
    expected = np.quantile(np.sqrt(np.maximum(square, 0)), [0.025, 0.975])
    assert (far["low"], far["high"]) == pytest.approx(tuple(expected))
    difference = found.difference("far", "m", "ece")
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert difference["high"] > far["value"]  # one of the two has no error at all


@given(
    value=st.floats(-1e3, 1e3),
    draws=st.lists(st.one_of(st.floats(-1e3, 1e3), st.just(float("nan"))), min_size=1, max_size=30),
    corrected=st.booleans(),
)
def test_an_interval_holds_its_value_whatever_the_draws(value: float, draws: list[float], corrected: bool) -> None:
    found = interval(value, np.array(draws), corrected=corrected)
    if np.isnan(draws).all():
        assert np.isnan([found["low"], found["high"]]).all()
    else:
        assert found["low"] <= value <= found["high"]
        known = [*(draw for draw in draws if not np.isnan(draw)), value]
        assert min(known) <= found["low"]
        assert found["high"] <= max(known)


def test_same_seed_same_result_and_models_do_not_change_each_other(monkeypatch):
    customer, label, scores = sample(400, 80, 3)
    found = bootstrapped(customer, label, scores, resamples=30, seed=3)
    alone = bootstrapped(customer, label, {"m2": scores["m2"]}, resamples=30, seed=3)
    assert np.array_equal(found.resampled[:, 2], alone.resampled[:, 0], equal_nan=True)
    monkeypatch.setattr("clm_dl.evaluation.bootstrap.BLOCK", 1)
    blocks = bootstrapped(customer, label, scores, resamples=30, seed=3)
    assert found.resampled == pytest.approx(blocks.resampled, abs=1e-12, nan_ok=True)
    assert not np.array_equal(found.resampled, bootstrapped(customer, label, scores, resamples=30, seed=4).resampled)


def test_what_is_known_of_a_model_is_taken_and_the_others_are_worked_out_to_the_same_bits(monkeypatch):
    monkeypatch.setattr("clm_dl.evaluation.bootstrap.BLOCK", 900)  # several blocks
    customer, label, scores = sample(300, 90, 3)
    whole = bootstrapped(customer, label, scores, resamples=30, seed=7)
    for names in (["m0"], ["m2", "m1"], list(scores)):
        known = {name: whole.resampled[:, whole.models.index(name)] for name in names}
        found = bootstrapped(customer, label, scores, resamples=30, seed=7, known=known)
        assert np.array_equal(found.resampled, whole.resampled, equal_nan=True)
        assert np.array_equal(found.value, whole.value, equal_nan=True)
    known["m1"] = known["m1"] + 1  # not worked out again
    assert bootstrapped(customer, label, scores, resamples=30, known=known).resampled[0, 1, 0] == known["m1"][0, 0]


def test_customers_are_resampled_not_snapshots():
    """Ten copies of every snapshot add nothing: by customer the interval stays as wide, by snapshot it would shrink
    threefold.
    """
    rng = np.random.default_rng(0)
    label = (rng.random(200) < 0.4).astype(float)
    score = np.clip(0.4 + 0.2 * rng.standard_normal(200) + 0.1 * label, 0.01, 0.99)
    once = bootstrapped(np.arange(200), label, {"m": score}, resamples=300).interval("m", "auroc")
    label, score = np.repeat(label, 10), np.repeat(score, 10)
    ten = bootstrapped(np.repeat(np.arange(200), 10), label, {"m": score}, resamples=300).interval("m", "auroc")
    assert ten == pytest.approx(once, abs=1e-9)
    apart = bootstrapped(np.arange(2000), label, {"m": score}, resamples=300).interval("m", "auroc")
    assert (apart["high"] - apart["low"]) < 0.5 * (ten["high"] - ten["low"])


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(120):
        label = np.repeat([0.0, 1.0], [150, 50])
        score = 1 / (1 + np.exp(-rng.normal(label, 1)))  # AUC of two unit normals one apart: .7602
        found = bootstrapped(np.arange(200), label, {"m": score}, resamples=200).interval("m", "auroc")
        hits += found["low"] <= 0.7602 <= found["high"]
    assert 0.87 <= hits / 120 <= 0.995


@pytest.mark.parametrize("label", [np.zeros(6), np.ones(6), np.zeros(0)])
def test_one_class_or_nothing_is_nan_without_warnings(label):
    found = bootstrapped(np.arange(len(label)), label, {"m": np.full(len(label), 0.3)}, resamples=5)
    assert np.isnan(list(found.interval("m", "auroc").values())).all()
    assert np.isnan(found.interval("m", "log_loss")["value"]) == (len(label) == 0)


def test_fast_enough():
    """A tenth of the full work (10 models × 7,000 snapshots × 1,000 resamples takes about 6 s on one core)."""
    customer, label, scores = sample(7000, 2400, 10)
    start = time.process_time()
    bootstrapped(customer, label, scores, resamples=100)
    assert time.process_time() - start < 3
