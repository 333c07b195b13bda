"""Forecasts: the worked ARIMA, the choice of an order, a backtest that cannot see the future, bad input."""

import importlib
from typing import Any

import numpy as np
import pytest

from clm_dl.lifecycle.forecast import Arima, backtest, differences

GOLDEN = [10, 12, 14, 13, 15, 11, 10, 9, 12, 14]


def test_worked_example() -> None:
    model = Arima((2, 1, 1)).fit(GOLDEN)
    assert round(float(model.forecast(1)[0]), 2) == 15.26
    assert model.converged_
    chosen = Arima(d=1, drift=False, criterion="bic").fit(GOLDEN)
    assert chosen.order_ == (0, 1, 0)
    assert round(float(chosen.forecast(1)[0]), 2) == 14.0
    assert Arima(d=1, drift=False).fit(GOLDEN).order_ == (0, 1, 0)  # AICc is as strict here


def test_differences_by_kpss() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=200)
    assert [differences(noise), differences(noise.cumsum()), differences(noise.cumsum().cumsum())] == [0, 1, 2]
    assert differences(np.ones(30)) == 0


def test_the_order_of_a_known_process_is_found_and_forecast() -> None:
    rng = np.random.default_rng(1)
    y = np.zeros(300)
    for at in range(1, 300):
        y[at] = 0.8 * y[at - 1] + rng.normal()
    model = Arima(max_p=2, max_q=1).fit(100 + y)
    assert model.order_[1] == 0
    assert model.drift_
    forecast = model.forecast(60)
    assert forecast[0] == pytest.approx(100 + 0.8 * y[-1], abs=0.7)
    assert forecast[-1] == pytest.approx(100, abs=1)  # back to its level
    low, high = model.interval(60).T
    assert (low < forecast).all()
    assert (forecast < high).all()
    assert np.diff(high - low)[:5].min() > 0


def test_drift_is_chosen_where_there_is_one() -> None:
    y = 3.0 * np.arange(60) + np.random.default_rng(0).normal(size=60).cumsum()
    model = Arima(max_p=1, max_q=1, d=1).fit(y)
    assert model.drift_
    assert model.forecast(10)[-1] == pytest.approx(y[-1] + 30, abs=6)


def test_a_backtest_does_not_see_the_future() -> None:
    rng = np.random.default_rng(0)
    y = 50 + rng.normal(size=40).cumsum()
    settings: dict[str, Any] = {"num_periods": 4, "origins": [20, 28], "models": {"arima": Arima((1, 1, 0))}}
    table = backtest(y, **settings)
    assert len(table) == 2 * 4 * 3
    changed = y.copy()
    changed[28:] = 1000.0
    again = backtest(changed, **settings)
    assert (table["forecast"] == again["forecast"]).all()
    assert (table["actual"] != again["actual"]).any()
    row = table[(table["origin"] == 28) & (table["step"] == 2)].set_index("model")
    assert row["actual"].unique().tolist() == [y[29]]
    assert row.loc["last", "forecast"] == y[27]
    assert row.loc["mean", "forecast"] == pytest.approx(y[:28].mean())
    assert row.loc["arima", "forecast"] == Arima((1, 1, 0)).fit(y[:28]).forecast(2)[1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Arima().fit([1, 2]), "at least 3 periods"),
        (lambda: Arima().fit([1, 2, np.nan, 4]), "finite in every period"),
        (lambda: Arima((1, 0)), "order is p, d, q"),
        (lambda: Arima(criterion="aic"), "criterion must be one of aicc, bic, got 'aic'"),
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


def test_a_candidate_that_cannot_be_fitted_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    from statsmodels.tsa.arima.model import ARIMA

    real = ARIMA.fit

    def fit(self: Any, *args: Any, **options: Any) -> Any:
        if self.k_ar > 0:
            raise np.linalg.LinAlgError("LU decomposition error.")
        return real(self, *args, **options)

    monkeypatch.setattr(ARIMA, "fit", fit)
    assert Arima(max_p=1, max_q=1).fit(GOLDEN).order_[0] == 0
    with pytest.raises(ValueError, match=r"no ARIMA could be fitted to 10 periods, of order \(1, 0, 0\)"):
        Arima((1, 0, 0)).fit(GOLDEN)


def test_without_statsmodels_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'clm-dl\[analysis\]'"):
        Arima((0, 1, 0)).fit(GOLDEN)
