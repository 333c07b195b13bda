"""Value metrics: equal to plain loops and to scipy, undisturbed by the order of tied rows, paired by customer."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from support import metrics_of, task_of

from clm_dl.evaluation.bootstrap import Bootstrap, bootstrap
from clm_dl.tasks.value.metrics import NAMES, decile_mape, deciles, gain, gini, spearman, value_measure
from clm_dl.tasks.value.scores import Forecast, ValueScores, read_values


def spends(num: int = 500, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Spend that is often zero, and a rounded forecast (ties) that knows something of it."""
    rng = np.random.default_rng(seed)
    scale = rng.lognormal(3, 1, num)
    spend = np.where(rng.random(num) < 0.4, scale * rng.lognormal(0, 0.5, num), 0.0).round(2)
    return spend, np.round(0.4 * scale * rng.lognormal(0, 0.4, num), 0) + 1


def bootstrapped(
    customer: np.ndarray, spend: np.ndarray, orders: np.ndarray, forecast: Forecast, **options: int
) -> Bootstrap:
    everyone = np.ones(len(spend), bool)
    table = ValueScores(customer, pd.DatetimeIndex([]), everyone, spend, orders, {"one": forecast}, {}, 0)
    return bootstrap(value_measure(table, table.forecasts), **options)


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
    boot = bootstrapped(np.repeat(np.arange(250), 2), spend, orders, forecast, resamples=3, seed=5)
    drawn = np.random.default_rng(5).integers(250, size=250)
    rows = np.concatenate([[2 * c, 2 * c + 1] for c in drawn])
    again = Forecast(score[rows], score[rows] / 2, score[rows] * 2, np.full(500, 0.4))
    once = bootstrapped(np.arange(500), spend[rows], orders[rows], again, resamples=0)
    np.testing.assert_allclose(boot.resampled[0, 0], once.value[0], atol=1e-10)
    assert not np.isnan(boot.value).any()


def test_errors_coverage_and_orders_by_hand() -> None:
    spend, score = np.array([0.0, 10.0, 30.0, 0.0]), np.array([1.0, 14.0, 20.0, 5.0])
    forecast = Forecast(
        score, np.array([0.0, 5.0, 31.0, 1.0]), np.array([2.0, 10.0, 40.0, 9.0]), np.array([0.0, 1.0, 1.0, 0.5])
    )
    boot = bootstrapped(np.arange(4), spend, np.array([0.0, 1.0, 3.0, 0.0]), forecast, resamples=0)
    found = dict(zip(boot.metrics, boot.value[0], strict=True))
    assert found["mae"] == pytest.approx((1 + 4 + 10 + 5) / 4)
    assert found["rmse"] == pytest.approx(np.sqrt((1 + 16 + 100 + 25) / 4))
    assert found["bias"] == pytest.approx(0.0)
    assert found["coverage"] == pytest.approx(0.5)
    assert found["width"] == pytest.approx((2 + 5 + 9 + 8) / 4)
    assert found["orders_mae"] == pytest.approx(2.5 / 4)
    assert found["orders_bias"] == pytest.approx(2.5 / 4 - 1)


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


def summary(scores: pd.DataFrame) -> dict[str, Any]:
    return metrics_of(task_of("task=value"), scores)


def test_metrics_are_complete_and_json(scores: pd.DataFrame) -> None:
    metrics = summary(scores)
    assert metrics["interval"] == 0.9
    test = metrics["split"]["test"]
    assert list(test["overall"]) == ["network", "ridge"]
    assert set(test["per_cutoff"]) == {"2020-06-01", "2020-07-01"}
    for part in (test["overall"], test["recent"], *test["per_cutoff"].values()):
        assert set(part["network"]) == set(NAMES)
        assert part["ridge"]["coverage"]["value"] is None
        assert part["network"]["coverage"]["value"] is not None
    table = read_values(scores, "test")
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
    with pytest.raises(ValueError, match="same test snapshots and labels"):
        summary(scores.drop(scores.index[(scores["model"] == "network") & (scores["split"] == "test")][:3]))
    alone = summary(scores[(scores["model"] == "ridge") & (scores["split"] == "test")])
    assert alone["difference"] == {}
    assert alone["split"]["val"]["overall"] == {}
    assert alone["best_baseline"] == {"name": None, "chosen_on": None}


def test_each_forecast_alone_has_the_figures_that_it_has_among_others():
    (spend, said), rng = spends(60, seed=3), np.random.default_rng(0)
    forecasts = {"one": Forecast(said), "other": Forecast(rng.gamma(2.0, 5.0, 60))}
    table = ValueScores(np.arange(60), pd.DatetimeIndex([]), np.ones(60, bool), spend, spend, forecasts, {}, 0)
    measure, weight_RC = value_measure(table, forecasts), rng.integers(0, 3, (5, 60)).astype(float)
    for m, name in enumerate(forecasts):
        assert np.array_equal(measure.each[name](weight_RC), measure.values(weight_RC)[:, m], equal_nan=True)
