"""Value metrics: equal to plain loops and to scipy, undisturbed by the order of tied rows, paired by customer."""

import json

import numpy as np
import pandas as pd
import pytest
from clm_dl.tasks.value.summary import summarise_value, value_scores
from scipy.stats import spearmanr

from clm_dl.tasks.value.calibration import ValueCalibrator
from clm_dl.tasks.value.metrics import METRICS, Forecast, decile_mape, deciles, gain, gini, spearman, value_bootstrap


def spends(num: int = 500, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Spend that is often zero, and a rounded forecast (ties) that knows something of it."""
    rng = np.random.default_rng(seed)
    scale = rng.lognormal(3, 1, num)
    spend = np.where(rng.random(num) < 0.4, scale * rng.lognormal(0, 0.5, num), 0.0).round(2)
    return spend, np.round(0.4 * scale * rng.lognormal(0, 0.4, num), 0) + 1


def plain_gini(spend: np.ndarray, score: np.ndarray) -> float:
    """Area under the gain curve less one half, averaged over random orders of ties."""
    rng, areas = np.random.default_rng(0), []
    for _ in range(400):
        order = np.lexsort((rng.random(len(score)), -score))
        curve = np.concatenate([[0], np.cumsum(spend[order]) / spend.sum()])
        areas.append(((curve[1:] + curve[:-1]) / 2).mean() - 0.5)
    return float(np.mean(areas))


def test_gini_is_that_of_a_plain_loop_and_1_for_the_truth() -> None:
    spend, score = spends()
    assert gini(spend, score) == pytest.approx(plain_gini(spend, score) / plain_gini(spend, spend), abs=2e-3)
    assert gini(spend, spend) == pytest.approx(1.0)
    assert gini(spend, -spend) < 0
    assert gini(spend, np.ones_like(spend)) == pytest.approx(0.0, abs=1e-12)
    assert np.isnan(gini(np.ones(5), np.arange(5.0)))


def test_spearman_is_that_of_scipy() -> None:
    spend, score = spends()
    assert spearman(spend, score) == pytest.approx(spearmanr(spend, score).statistic, abs=1e-12)
    assert np.isnan(spearman(spend, np.ones_like(spend)))


def test_deciles_are_groups_of_equal_size() -> None:
    spend, _ = spends()
    score = np.random.default_rng(1).permutation(500).astype(float)  # no ties
    order = np.argsort(score)
    means = spend[order].reshape(10, 50).mean(axis=1)
    got_score, got_spend = deciles(spend, score)
    np.testing.assert_allclose(got_spend, means)
    np.testing.assert_allclose(got_score, score[order].reshape(10, 50).mean(axis=1))
    assert decile_mape(spend, score) == pytest.approx(np.mean(np.abs(got_score - means) / means))
    share, reached = gain(spend, score)
    assert (share[0], reached[0], share[-1], reached[-1]) == (0, 0, 1, 1)


def test_the_order_of_rows_changes_nothing_and_a_resample_repeats_customers() -> None:
    spend, score = spends()
    mixed = np.random.default_rng(2).permutation(500)
    for metric in (gini, spearman, decile_mape):
        assert metric(spend, score) == pytest.approx(metric(spend[mixed], score[mixed]), abs=1e-12)
    orders, forecast = (spend > 0).astype(float), Forecast(score, score / 2, score * 2, np.full(500, 0.4))
    boot = value_bootstrap(np.repeat(np.arange(250), 2), spend, orders, {"one": forecast}, resamples=3, seed=5)
    drawn = np.random.default_rng(5).integers(250, size=250)
    rows = np.concatenate([[2 * c, 2 * c + 1] for c in drawn])
    again = Forecast(score[rows], score[rows] / 2, score[rows] * 2, np.full(500, 0.4))
    once = value_bootstrap(np.arange(500), spend[rows], orders[rows], {"one": again}, resamples=0)
    np.testing.assert_allclose(boot.resampled[0, 0], once.value[0], atol=1e-10)
    assert not np.isnan(boot.value).any()


def test_errors_coverage_and_orders_by_hand() -> None:
    spend, score = np.array([0.0, 10.0, 30.0, 0.0]), np.array([1.0, 14.0, 20.0, 5.0])
    forecast = Forecast(
        score, np.array([0.0, 5.0, 31.0, 1.0]), np.array([2.0, 10.0, 40.0, 9.0]), np.array([0.0, 1.0, 1.0, 0.5])
    )
    boot = value_bootstrap(np.arange(4), spend, np.array([0.0, 1.0, 3.0, 0.0]), {"one": forecast}, resamples=0)
    found = dict(zip(METRICS, boot.value[0], strict=True))
    assert found["mae"] == pytest.approx((1 + 4 + 10 + 5) / 4)
    assert found["rmse"] == pytest.approx(np.sqrt((1 + 16 + 100 + 25) / 4))
    assert found["bias"] == pytest.approx(0.0)
    assert found["coverage"] == pytest.approx(0.5)
    assert found["width"] == pytest.approx((2 + 5 + 9 + 8) / 4)
    assert found["orders_mae"] == pytest.approx(2.5 / 4)
    assert found["orders_bias"] == pytest.approx(2.5 / 4 - 1)


def test_calibration_gets_the_total_and_the_steepness_right_and_survives_the_disk() -> None:
    rng = np.random.default_rng(0)
    truth = rng.lognormal(2, 1, 20_000)
    spend = truth * (rng.random(20_000) < 0.3) / 0.3
    raw = 3 * truth**0.5
    calibrator = ValueCalibrator().fit(raw, spend)
    assert calibrator.slope == pytest.approx(2.0, abs=0.1)
    assert calibrator.predict(raw).sum() == pytest.approx(spend.sum())
    again = ValueCalibrator.from_dict(json.loads(json.dumps(calibrator.to_dict())))
    np.testing.assert_array_equal(again.predict(raw), calibrator.predict(raw))
    flat = ValueCalibrator().fit(np.full(20_000, 7.0), spend)
    assert (flat.slope, flat.predict([7.0])[0]) == (1.0, pytest.approx(spend.mean()))
    tenure = rng.uniform(1, 6, 20_000)
    aged = ValueCalibrator().fit(raw, spend * np.exp(-0.5 * tenure), tenure)
    assert aged.age == pytest.approx(-0.5, abs=0.05)
    assert aged.predict(raw, tenure).sum() == pytest.approx((spend * np.exp(-0.5 * tenure)).sum())
    assert ValueCalibrator().fit(raw, spend, np.full(20_000, 3.0)).age == 0  # tenure that does not vary
    with pytest.raises(ValueError, match="needs spend above 0"):
        ValueCalibrator().fit(raw, np.zeros_like(raw))


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_conformal_intervals_hold_however_wrong_the_forecast(factor: float) -> None:
    rng = np.random.default_rng(1)
    scale = rng.lognormal(3, 1, 8000)
    spend = np.where(rng.random(8000) < 0.7, scale * rng.lognormal(0, 0.5, 8000), 0.0)
    low, high = np.where(np.arange(8000) % 2, 0.0, 0.1 * scale * factor), 2 * scale * factor
    fit, rest = slice(0, 4000), slice(4000, None)
    calibrator = ValueCalibrator().fit_interval(low[fit], high[fit], spend[fit], coverage=0.9)
    below, above = calibrator.interval(low[rest], high[rest])
    assert ((spend[rest] >= below) & (spend[rest] <= above)).mean() >= 0.88
    assert (below[low[rest] == 0] == 0).all()


@pytest.mark.parametrize(
    ("num", "coverage", "rank"),  # rank = ceil((num + 1) · coverage), num where there are too few
    [(10, 0.9, 10), (20, 0.9, 19), (20, 0.8, 17), (19, 0.5, 10), (4, 0.9, 4), (1, 0.5, 1)],
)
def test_conformal_interval_of_few_snapshots_counts_the_new_one(num: int, coverage: float, rank: int) -> None:
    """A new snapshot is one of num + 1 alike: the end is the smallest that holds `coverage` of all of them."""
    spend = np.expm1(np.random.default_rng(0).permutation(np.arange(1.0, num + 1)))  # 1, 2, … on the log scale
    zero = np.zeros(num)
    calibrator = ValueCalibrator().fit_interval(zero, zero, spend, coverage=coverage)
    assert calibrator.widen == pytest.approx(rank)
    low, high = calibrator.interval([0.0, np.expm1(2.0)], [0.0, np.expm1(3.0)])
    np.testing.assert_allclose(np.log1p(low), [0.0, max(2.0 - rank, 0.0)], atol=1e-12)  # from zero stays from zero
    np.testing.assert_allclose(np.log1p(high), [rank, 3.0 + rank])


def test_conformal_interval_of_few_snapshots_looks_below_as_above() -> None:
    """Spend from 2 below the interval to 1 above it, on the log scale: too narrow by 2; by −1 where all lie inside."""
    low, high = np.expm1(np.full(5, 4.0)), np.expm1(np.full(5, 6.0))
    outside = ValueCalibrator().fit_interval(low, high, np.expm1([2.0, 4.5, 5.0, 5.5, 7.0]), coverage=0.8)
    assert outside.widen == pytest.approx(2.0)
    inside = ValueCalibrator().fit_interval(low, high, np.full(5, np.expm1(5.0)), coverage=0.8)
    assert inside.widen == pytest.approx(-1.0)
    np.testing.assert_allclose(inside.interval(low, high), [np.expm1(np.full(5, 5.0))] * 2)


@pytest.fixture
def scores() -> pd.DataFrame:
    frames = []
    for seed, (split, cutoff) in enumerate((("val", "2020-03-01"), ("test", "2020-06-01"), ("test", "2020-07-01"))):
        spend, score = spends(150, seed)
        spend = np.where(np.arange(150) < 5, np.nan, spend) if cutoff == "2020-07-01" else spend
        for model in ("ridge", "network"):
            better = np.nan_to_num(spend) * 0.5 + score if model == "network" else score
            frame = {
                "customer_id": [f"c{i:03d}" for i in range(150)],
                "cutoff": pd.Timestamp(cutoff, tz="UTC"),
                "split": split,
                "model": model,
            }
            frame |= {
                "task": "value",
                "horizon": 91.0,
                "score": better,
                "score_raw": 2 * better,
                "label": spend,
                "recent": score > 8,
            }
            known = {"low": 0.0, "high": 3 * better, "expected_orders": 0.5} if model == "network" else {}
            frames.append(
                pd.DataFrame(
                    frame
                    | {"orders": np.where(np.isnan(spend), np.nan, spend > 0), "median": np.nan}
                    | dict.fromkeys(("low", "high", "expected_orders"), np.nan)
                    | known
                )
            )
    return pd.concat(frames, ignore_index=True).sample(frac=1, random_state=0)


def summary(scores: pd.DataFrame) -> dict:
    return summarise_value(scores, coverage=0.9, fingerprint="f", data_counts={"events": 3}, resamples=40)


def test_metrics_are_complete_and_json(scores: pd.DataFrame) -> None:
    metrics = summary(scores)
    json.dumps(metrics, allow_nan=False)
    test = metrics["split"]["test"]
    assert list(test["overall"]) == ["network", "ridge"]
    assert set(test["per_cutoff"]) == {"2020-06-01", "2020-07-01"}
    for part in (test["overall"], test["recent"], *test["per_cutoff"].values()):
        assert set(part["network"]) == set(METRICS)
        assert part["ridge"]["coverage"]["value"] is None
        assert part["network"]["coverage"]["value"] is not None
    table = value_scores(scores, "test")
    assert test["overall"]["network"]["gini"]["value"] == pytest.approx(
        gini(table.spend, table.forecasts["network"].score)
    )
    assert test["raw"]["network"]["bias"]["value"] == pytest.approx(
        2 * (1 + test["overall"]["network"]["bias"]["value"]) - 1
    )
    assert metrics["reference"]["test"]["censored"] == 5
    assert metrics["best_baseline"] == {"name": "ridge", "chosen_on": "val"}
    assert metrics["difference"]["test"]["network - ridge"]["gini"]["low"] > 0


def test_models_must_share_snapshots_and_a_split_may_be_missing(scores: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="same test snapshots and spends"):
        summary(scores.drop(scores.index[(scores["model"] == "network") & (scores["split"] == "test")][:3]))
    alone = summary(scores[(scores["model"] == "ridge") & (scores["split"] == "test")])
    assert alone["difference"] == {}
    assert alone["split"]["val"]["overall"] == {}
    assert alone["best_baseline"] == {"name": None, "chosen_on": None}
