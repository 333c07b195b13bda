"""TabularRegressor: every shipped value baseline on spend that is often zero, past mean by hand, bad input."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from support import asked_of, baseline_rows, changed, shipped

from clm_dl.baselines.spec import Spec
from clm_dl.baselines.tabular.regressor import TabularRegressor
from clm_dl.tasks.cases import Cases

ALL = shipped("value", "snapshots.horizon_days=91")


def regressor(spec: Spec, **options: str) -> TabularRegressor:
    """Unfitted, with fewer trees than are shipped."""
    quick = spec.name == "lightgbm_value" and spec is ALL[spec.name]
    model: TabularRegressor = TabularRegressor.of(changed(spec, n_estimators=60) if quick else spec, seed=0, **options)
    return model


def make_table(seed: int = 0, num: int = 3000) -> tuple[pd.DataFrame, np.ndarray]:
    """Customers with a rate and a value an order of their own; spend of the 91 days after the cutoff."""
    rng = np.random.default_rng(seed)
    rate, value = rng.gamma(1.0, 1 / 60, num), rng.gamma(4.0, 1 / 4.0, num) * 30
    tenure = rng.uniform(30, 300, num)
    repeats = rng.poisson(rate * tenure)
    last = np.where(repeats > 0, tenure * rng.beta(np.maximum(repeats, 1), 1), 0)
    orders = repeats + 1
    mean = value * rng.gamma(8.0 * orders) / (8 * orders)
    X = pd.DataFrame(
        {"recency": tenure - last, "tenure": tenure, "orders": orders, "spend": mean * orders, "spend_per_order": mean}
    )
    X["gap_mean"] = np.where(repeats > 0, last / np.maximum(repeats, 1), np.nan)
    X["static_age"] = pd.Series(rng.choice(["young", "old"], num)).astype("category")
    later = rng.poisson(rate * 91)
    y = np.where(later > 0, value * rng.gamma(8.0 * np.maximum(later, 1)) / 8, 0.0)
    return X.astype({name: np.float32 for name in X if name != "static_age"}), y


def test_all_five_are_there() -> None:
    assert set(ALL) == {"past_mean", "ridge", "lasso", "lightgbm_value", "bg_nbd_gamma_gamma"}


@pytest.mark.parametrize("name", ALL)
def test_every_baseline_orders_customers_and_gets_the_total_right(name: str) -> None:
    X, y = make_table()
    fit, held, test = slice(0, 1500), slice(1500, 2000), slice(2000, None)
    one, two = (regressor(ALL[name]).fit(X[fit], y[fit], X[held], y[held]).predict(X[test]) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (1000,)
    assert one.min() >= 0
    assert np.isfinite(one).all()
    assert spearmanr(one, y[test]).statistic > 0.35
    assert one.sum() == pytest.approx(y[test].sum(), rel=0.5 if name == "past_mean" else 0.15)


@pytest.mark.parametrize("name", ALL)
def test_test_rows_and_batch_mates_do_not_touch_a_prediction(name: str) -> None:
    X, y = make_table(num=800)
    model = regressor(ALL[name]).fit(X[:500], y[:500])
    np.testing.assert_allclose(model.predict(X[500:])[:1], model.predict(X[500:501]), rtol=1e-9)


def test_past_mean_by_hand() -> None:
    X, y = make_table(num=3)
    X[["spend", "tenure"]] = [[100.0, 200.0], [100.0, 10.0], [0.0, 100.0]]
    model = regressor(ALL["past_mean"]).fit(X, y + 1)
    assert model.predict(X).tolist() == pytest.approx([100 / 200 * 91, 100.0, 0.0])


def test_early_stopping_keeps_fewer_trees_of_the_objective_that_is_asked_for() -> None:
    X, y = make_table()
    spec = changed(ALL["lightgbm_value"], n_estimators=500, learning_rate=0.3, patience=5)
    model = regressor(spec).fit(X[:1000], y[:1000], X[1000:], y[1000:])
    assert model.estimator_.booster_.num_trees() < 100
    poisson = regressor(changed(ALL["lightgbm_value"], n_estimators=20, options={"objective": "poisson"})).fit(X, y)
    assert poisson.estimator_.booster_.dump_model()["objective"] == "poisson"


def test_the_newest_validation_cutoff_calibrates_and_neither_stops_nor_fits_anything(
    cases_of: Callable[..., Cases],
) -> None:
    X, y = make_table(num=1600)
    quick = {"n_estimators": 200, "learning_rate": 0.3, "min_child_samples": 20, "patience": 5}
    task = asked_of("value", changed(ALL["lightgbm_value"], **quick), ALL["ridge"])

    def scores(rows: slice) -> tuple[pd.Series, pd.Series]:
        """Of test, raw and calibrated, where these rows are of others who spend three times as much."""
        other, spend = X.copy(), y.copy()
        other.iloc[rows], spend[rows] = X.iloc[rows][::-1].to_numpy(), 3 * y[rows]
        value = np.column_stack([spend, spend > 0])
        table = baseline_rows(task, cases_of(other, (spend == 0).astype(float), horizon_days=91.0, outcome=value))
        table = table[table["split"] == "test"].set_index("model")
        return table["score_raw"], table["score"]

    oldest, newest, nobody = slice(800, 1000), slice(1000, 1200), slice(0, 0)
    (raw, score), (newest_raw, newest_score), (oldest_raw, _) = scores(nobody), scores(newest), scores(oldest)
    pd.testing.assert_series_equal(newest_raw, raw)
    assert not oldest_raw["lightgbm_value"].equals(raw["lightgbm_value"])  # it does stop by the older ones
    assert oldest_raw["ridge"].equals(raw["ridge"])
    for name in ("lightgbm_value", "ridge"):
        assert newest_score[name].mean() == pytest.approx(3 * score[name].mean(), rel=0.2)


@pytest.mark.parametrize(
    ("name", "y", "message"),
    [
        ("ridge", np.zeros(100), "all-zero spend in train"),
        ("ridge", np.r_[np.ones(99), -3.0], "must be finite and ≥ 0, got -3"),
        ("ridge", np.r_[np.ones(99), np.nan], "must be finite and ≥ 0, got nan"),
    ],
)
def test_bad_labels_are_one_sentence(name: str, y: np.ndarray, message: str) -> None:
    X, _ = make_table(num=100)
    with pytest.raises(ValueError, match=message):
        regressor(ALL[name]).fit(X, y)


def test_bad_settings_are_one_sentence() -> None:
    X, y = make_table(num=100)
    with pytest.raises(ValueError, match="impute must be one of"):
        regressor(ALL["ridge"], impute="guess").fit(X, y)
    with pytest.raises(ValueError, match="more than 0 days, got None"):
        regressor(changed(ALL["past_mean"], horizon_days=None)).fit(X, y)
    for name in ("past_mean", "bg_nbd_gamma_gamma"):
        with pytest.raises(ValueError, match=r"no column 'spend.*data\.roles\.amount"):
            regressor(ALL[name]).fit(X.drop(columns=["spend", "spend_per_order"]), y)
