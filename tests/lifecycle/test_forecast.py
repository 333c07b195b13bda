"""Forecasts: the worked ARIMA, the choice of an order, intervals, a backtest that cannot see the future, bad input."""

import importlib
from typing import Any

import numpy as np
import pytest

from clm_dl.lifecycle.forecast import Arima, backtest

GOLDEN = [10, 12, 14, 13, 15, 11, 10, 9, 12, 14]


def test_worked_example() -> None:
    model = Arima((2, 1, 1)).fit(GOLDEN)
    assert round(float(model.forecast(1)[0]), 2) == 15.26
    assert model.converged_
    for criterion in ("aicc", "bic"):
        chosen = Arima(d=1, criterion=criterion).fit(GOLDEN)
        assert (chosen.order_, chosen.drift_) == ((0, 1, 0), False)
        assert chosen.forecast(2).round(2).tolist() == [14.0, 14.0]


def test_differences_are_chosen() -> None:
    noise = np.random.default_rng(0).normal(size=200)
    found = [Arima(drift=False).fit(y).order_[1] for y in (noise, noise.cumsum(), noise.cumsum().cumsum())]
    assert found == [0, 1, 2]


@pytest.mark.parametrize("series", [[4.0] * 12, [1.0, 2, 4], range(20)])
def test_a_series_without_noise_goes_on(series: Any) -> None:
    model = Arima().fit(series)
    expected = {1: [20, 21]}.get(model.order_[1], [np.mean(series)] * 2)
    np.testing.assert_allclose(model.forecast(2), expected, atol=1e-3)


def test_the_order_of_a_known_process_is_found_and_forecast() -> None:
    rng = np.random.default_rng(1)
    y = np.zeros(300)
    for at in range(1, 300):
        y[at] = 0.8 * y[at - 1] + rng.normal()
    model = Arima(d=0, criterion="bic").fit(100 + y)
    assert (model.order_, model.drift_) == ((1, 0, 0), True)
    assert sum(Arima(d=0).fit(100 + y).order_) > 1  # AICc is laxer
    forecast = model.forecast(60)
    assert forecast[0] == pytest.approx(100 + 0.8 * y[-1], abs=0.7)
    assert forecast[-1] == pytest.approx(100, abs=1)  # back to its level


def test_drift_is_chosen_where_there_is_one() -> None:
    y = 3.0 * np.arange(60) + np.random.default_rng(0).normal(size=60).cumsum()
    model = Arima(d=1).fit(y)
    assert model.drift_
    assert model.forecast(10)[-1] == pytest.approx(y[-1] + 30, abs=6)
    assert not Arima(d=1, drift=False).fit(y).drift_
    assert Arima(d=2, drift=True).fit(y).drift_ is False  # it would be a parabola


def test_intervals_hold_their_share_of_random_walks() -> None:
    shares, inside = [0.5, 0.9], []
    for y in np.random.default_rng(0).normal(size=(300, 65)).cumsum(axis=1):
        model = Arima((0, 1, 0)).fit(y[:60])
        low, high = np.stack([model.interval(5, share) for share in shares]).transpose(2, 0, 1)  # [shares, 5 periods]
        assert (np.diff(high - low) > 0).all()
        inside.append((low <= y[60:]) & (y[60:] <= high))
    np.testing.assert_allclose(np.mean(inside, axis=0), np.tile(shares, (5, 1)).T, atol=0.07)  # 2.4 standard errors


def test_a_backtest_does_not_see_the_future() -> None:
    rng = np.random.default_rng(0)
    y = 50 + rng.normal(size=40).cumsum()
    settings: dict[str, Any] = {"num_periods": 4, "origins": [20, 28]}
    table = backtest(y, **settings)
    assert len(table) == 2 * 4 * 3
    changed = np.append(y[:28], rng.permutation(y[28:]))
    again = backtest(changed, **settings)
    assert (table["forecast"] == again["forecast"]).all()
    assert (table["actual"] != again["actual"]).any()
    row = table[(table["origin"] == 28) & (table["step"] == 2)].set_index("model")
    assert row["actual"].unique().tolist() == [y[29]]
    assert row.loc["last", "forecast"] == y[27]
    assert row.loc["mean", "forecast"] == pytest.approx(y[:28].mean())
    assert row.loc["arima", "forecast"] == Arima().fit(y[:28]).forecast(2)[1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Arima().fit([1, 2]), "at least 3 periods"),
        (lambda: Arima().fit([1, 2, np.nan, 4]), "finite in every period"),
        (lambda: Arima((1, 0)), "order is p, d, q"),
        (lambda: Arima((0, 2, 0), drift=True), r"at most one difference, got the order \[0, 2, 0\]"),
        (lambda: Arima(criterion="aic"), "criterion must be one of aicc, bic, got 'aic'"),
        (lambda: Arima((2, 2, 2)).fit([1, 2, 3]), r"no ARIMA of order \(2, 2, 2\) fits 3 periods"),
        (lambda: Arima().forecast(1), "not fitted"),
        (lambda: Arima((0, 1, 0)).fit(GOLDEN).forecast(0), "num_periods must be ≥ 1"),
        (
            lambda: backtest(GOLDEN, num_periods=4, origins=[5, 8]),
            r"at least 3 values before and 4 after them in 10, got \[8\]",
        ),
    ],
)
def test_bad_input_is_one_sentence(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("order", [None, (0, 1, 0)])
def test_without_the_packages_the_extra_is_named(order: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'clm-dl\[analysis\]'"):
        Arima(order).fit(GOLDEN)
