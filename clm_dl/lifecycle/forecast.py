"""Forecasts of a series: ARIMA of an order that AutoARIMA chooses, and a backtest against last value and mean."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from clm_dl.errors import MissingExtra, UserError, choice


class Arima:
    """ARIMA(p, d, q) of a series: statsforecast's AutoARIMA chooses, statsmodels fits (extra `analysis`).

    The fit is not statsforecast's, whose climb to the maximum likelihood fails for many given orders of short series
    (2.0.1: moving averages that cannot be inverted).

    Args:
        order: p, d, q; null = chosen: d by KPSS tests, p and q stepwise by the criterion.
        d: differences to take where `order` is null; null = by KPSS.
        drift: a constant (d = 0) or a drift (d = 1); null = chosen with p and q. A fixed order with null has none.
        criterion: aicc or bic.
    """

    def __init__(
        self,
        order: Sequence[int] | None = None,
        *,
        d: int | None = None,
        drift: bool | None = None,
        criterion: str = "aicc",
    ):
        if order is not None and (len(order) != 3 or min(order) < 0):
            raise UserError(f"order is p, d, q, three counts, got {list(order)}")
        if order is not None and order[1] > 1 and drift:
            raise UserError(f"a drift needs at most one difference, got the order {list(order)}: leave drift out")
        self.order, self.d, self.drift = order, d, drift
        self.criterion = choice(criterion, ("aicc", "bic"), "criterion")

    def fit(self, series: ArrayLike) -> Arima:
        """Fit `[W]` values, the newest last; sets `order_`, `drift_` and `converged_`."""
        y, order = check_series(series), self.order
        auto = _load("statsforecast.models").AutoARIMA if order is None else None
        model = _load("statsmodels.tsa.arima.model").ARIMA
        try:
            self.order_, self.drift_ = self._choose(auto, y) if order is None else (tuple(order), bool(self.drift))
            trend = ("c", "t")[self.order_[1]] if self.drift_ else "n"
            with warnings.catch_warnings():  # poor starting values; no convergence, which `converged_` says
                warnings.filterwarnings("ignore", category=UserWarning, module="statsmodels")
                self.result_ = model(y, order=self.order_, trend=trend).fit()
        except (ValueError, IndexError, np.linalg.LinAlgError) as error:  # either package's ways to give up
            raise UserError(f"no ARIMA of order {order or 'any'} fits {len(y)} periods: try (0, 1, 0)") from error
        self.converged_ = bool(self.result_.mle_retvals["converged"])
        return self

    def forecast(self, num_periods: int) -> np.ndarray:
        """Expected values of the next periods `[num_periods]`."""
        return np.asarray(self._ahead(num_periods).predicted_mean)

    def interval(self, num_periods: int, coverage: float = 0.95) -> np.ndarray:
        """Low and high `[num_periods, 2]`."""
        return np.asarray(self._ahead(num_periods).conf_int(alpha=1 - coverage))

    def _ahead(self, num_periods: int) -> Any:
        if not hasattr(self, "result_"):
            raise UserError("Arima is not fitted: call fit(series) first")
        if num_periods < 1:
            raise UserError(f"num_periods must be ≥ 1, got {num_periods}")
        return self.result_.get_forecast(num_periods)

    def _choose(self, auto: Any, y: np.ndarray) -> tuple[tuple[int, ...], bool]:
        wanted = self.drift is not False
        with np.errstate(divide="ignore"):  # the AICc of three periods divides by 0
            found = auto(d=self.d, ic=self.criterion, allowdrift=wanted, allowmean=wanted).fit(y).model_
        p, q, _, _, _, d, _ = found["arma"]
        drift = not found["coef"].keys().isdisjoint(("intercept", "drift")) if self.drift is None else self.drift
        return (p, d, q), drift and d < 2


def backtest(
    series: ArrayLike, *, num_periods: int, origins: Sequence[int], models: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Forecasts of `num_periods` from each origin, each fitted anew on the values before it and on no later one.

    Args:
        origins: how many values lie before each forecast.
        models: with `fit(series)` and `forecast(num_periods)`, by name; null = arima, `Arima()`. The last value and the
            mean are added.

    Returns:
        One row an origin, step ahead (1, 2, …) and model: origin, step, model, actual, forecast.
    """
    y = check_series(series)
    wrong = [origin for origin in origins if not 3 <= origin <= len(y) - num_periods]
    if num_periods < 1 or not len(origins) or wrong:
        raise UserError(
            f"origins must leave at least 3 values before and {num_periods} after them in {len(y)}, got "
            f"{wrong or list(origins)}"
        )
    models = {"arima": Arima()} if models is None else models
    parts = []
    for origin in origins:
        before = y[:origin]
        forecasts = {
            **{name: model.fit(before).forecast(num_periods) for name, model in models.items()},
            "last": np.full(num_periods, before[-1]),
            "mean": np.full(num_periods, before.mean()),
        }
        for name, values in forecasts.items():
            rows = {"origin": origin, "step": np.arange(1, num_periods + 1), "model": name}
            parts.append(pd.DataFrame(rows | {"actual": y[origin : origin + num_periods], "forecast": values}))
    return pd.concat(parts, ignore_index=True)


def check_series(series: ArrayLike) -> np.ndarray:
    """As float64 `[W]`; raises ValueError where it is too short or has gaps."""
    y = np.asarray(series, dtype=np.float64)
    if y.ndim != 1 or len(y) < 3:
        raise UserError(f"a series needs at least 3 periods, one value each, got shape {y.shape}")
    if not np.isfinite(y).all():
        raise UserError("a series must be finite in every period: give 0 where nothing happened")
    return y


def _load(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra("forecasts need statsforecast and statsmodels: pip install 'clm-dl[analysis]'") from error
