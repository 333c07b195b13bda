"""Forecasts of a series: ARIMA chosen by AICc, and a backtest on growing histories against last value and mean."""

from __future__ import annotations

import importlib
import itertools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from clm_dl.errors import MissingExtra, UserError

CRITERIA = ("aicc", "bic")
MAX_TERMS = 4  # p + q of a candidate


class Arima:
    """ARIMA(p, d, q) of a series, by maximum likelihood (statsmodels, extra `analysis`).

    Args:
        order: p, d, q; null = chosen: d by KPSS tests (5 %), as few differences as make the series level, then p, q and
            drift by the criterion. Criteria of different d do not compare, so they choose nothing but the rest.
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
        max_p: int = 3,
        max_q: int = 3,
        criterion: str = "aicc",
    ):
        if criterion not in CRITERIA:
            raise UserError(f"criterion must be one of {', '.join(CRITERIA)}, got {criterion!r}")
        if order is not None and (len(order) != 3 or min(order) < 0):
            raise UserError(f"order is p, d, q, three counts, got {list(order)}")
        self.order, self.d, self.drift = order, d, drift
        self.max_p, self.max_q, self.criterion = max_p, max_q, criterion

    def fit(self, series: ArrayLike) -> Arima:
        """Fit `[W]` values, the newest last; sets `order_`, `drift_`, `criterion_` and `converged_`."""
        y = check_series(series)
        if self.order is not None:
            candidates = [(tuple(self.order), bool(self.drift))]
        else:
            d = differences(y) if self.d is None else self.d
            drifts = ([False, True] if self.drift is None else [self.drift]) if d <= 1 else [False]
            pairs = [
                (p, q) for p, q in itertools.product(range(self.max_p + 1), range(self.max_q + 1)) if p + q <= MAX_TERMS
            ]
            candidates = [((p, d, q), drift) for (p, q) in pairs for drift in drifts]
            room = len(y) - d - 2  # AICc divides by observations − parameters − 1
            candidates = [(order, drift) for order, drift in candidates if order[0] + order[2] + drift + 1 < room] or [
                ((0, d, 0), False)
            ]
        fitted = [(self._fit_one(y, order, drift), order, drift) for order, drift in candidates]
        fitted = [one for one in fitted if one[0] is not None]
        if not fitted:
            raise UserError(
                f"no ARIMA could be fitted to {len(y)} periods, of order {self.order or 'any'}: try (0, 1, 0)"
            )
        self.result_, self.order_, self.drift_ = min(fitted, key=lambda one: self._criterion(one[0]))
        self.criterion_, self.converged_ = self._criterion(self.result_), _converged(self.result_)
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

    def _fit_one(self, y: np.ndarray, order: tuple[int, ...], drift: bool) -> Any:
        model = _statsmodels("statsmodels.tsa.arima.model").ARIMA
        trend = ("c", "t")[order[1]] if drift else "n"
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # poor starting values and unconverged candidates: said by `converged_`, passed over in a choice
            try:
                return model(y, order=order, trend=trend).fit()
            except np.linalg.LinAlgError:  # the climb left the stationary region
                return None

    def _criterion(self, result: Any) -> float:
        value = float(getattr(result, self.criterion))
        return value if np.isfinite(value) and (self.order is not None or _converged(result)) else np.inf


def differences(series: ArrayLike, max_d: int = 2) -> int:
    """How often to difference until KPSS (5 %) finds the series level."""
    y = check_series(series)
    kpss = _statsmodels("statsmodels.tsa.stattools").kpss
    for d in range(max_d):
        if np.ptp(y) == 0 or len(y) < 8:
            return d
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a p-value outside the table is still on its side of 5 %
            if kpss(y, regression="c", nlags="auto")[1] >= 0.05:
                return d
        y = np.diff(y)
    return max_d


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


def _converged(result: Any) -> bool:
    return bool(result.mle_retvals["converged"])


def _statsmodels(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra("forecasts need the package statsmodels: pip install 'clm-dl[analysis]'") from error
