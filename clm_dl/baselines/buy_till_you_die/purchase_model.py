"""PurchaseModel: what the models of repeat purchases share: fitting, checks of a history, the questions they answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from clm_dl.baselines.buy_till_you_die.likelihood import maximise
from clm_dl.errors import UserError


class PurchaseModel(ABC):
    """What the three models of repeat purchases share; `[N]` customers, times in any one unit, counted from the first
    purchase.

    frequency: repeat purchases (all but the first). recency: time from the first purchase to the last, 0 without a
        repeat.
    t: time from the first purchase to the cutoff. Every method takes these three, each with the default None = the
        customers of `fit`;
    frequency = recency = t = 0 is a customer who has just bought for the first time. A horizon begins at the cutoff and
    broadcasts against the customers: a number, or `[P, 1]` for P horizons of each.

    Args:
        limits: accept parameters that run to 0 or infinity (no dropout, no heterogeneity) instead of raising
            ConvergenceError.
    """

    names: Sequence[str]
    starts: Sequence[Sequence[float]]

    def __init__(self, *, limits: bool = False):
        self.limits = limits

    def fit(self, frequency: ArrayLike, recency: ArrayLike, t: ArrayLike) -> Any:
        """Maximum likelihood; sets the parameters (`r_`, `alpha_`, …) and `log_likelihood_`, the sum over customers.

        Raises:
            ValueError: bad numbers, or nobody who bought twice. ConvergenceError: the likelihood has no maximum.
        """
        x, t_x, T = self._fitted = check_history(frequency, recency, t)
        if not len(x):
            raise UserError("no customers, so there is nothing to learn")
        if not T.max() > 0:
            raise UserError("t is 0 for every customer: the data cover one period only, so nobody can have come back")
        if not x.any():
            raise UserError("frequency is 0 for every customer: nobody bought twice, so there is no rate to learn")
        scale = float(T.mean())  # so that the unit of time changes nothing
        (x, t_x, T), weight = count_equal(x, t_x / scale, T / scale)
        parameters, value = maximise(
            lambda theta, rows: self._likelihood(theta, x[rows], t_x[rows], T[rows]),
            weight,
            names=self.names,
            starts=self.starts,
            limits=self.limits,
        )
        for name, number in zip(self.names, parameters, strict=True):
            setattr(self, f"{name}_", float(number * scale if name in ("alpha", "beta") else number))
        self.log_likelihood_ = value - float(x @ weight) * float(np.log(scale))
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Without the customers of `fit`."""
        return {name: value for name, value in self.__dict__.items() if name != "_fitted"}

    def probability_alive(
        self, frequency: ArrayLike | None = None, recency: ArrayLike | None = None, t: ArrayLike | None = None
    ) -> np.ndarray:
        """P(has not left by the cutoff) `[N]`. Its complement is no churn probability: the living may buy nothing."""
        alive, left = self._log_odds(*self._history(frequency, recency, t))
        return np.asarray(expit(alive - left))

    def probability_inactive(
        self,
        horizon: ArrayLike,
        frequency: ArrayLike | None = None,
        recency: ArrayLike | None = None,
        t: ArrayLike | None = None,
    ) -> np.ndarray:
        """P(no purchase in the next `horizon`) `[N]`.

        To have bought x times, last at t_x, and then nothing until T + h is the history (x, t_x, T + h), so its chance
        given (x, t_x, T) is the ratio of the two likelihoods. That holds for each of these models, whenever customers
        may leave.
        """
        x, t_x, T = self._history(frequency, recency, t)
        now, later = (np.logaddexp(*self._log_odds(x, t_x, until)) for until in (T, T + check_horizon(horizon)))
        return np.asarray(np.exp(np.minimum(later - now, 0.0)))

    def expected_purchases(
        self,
        horizon: ArrayLike,
        frequency: ArrayLike | None = None,
        recency: ArrayLike | None = None,
        t: ArrayLike | None = None,
    ) -> np.ndarray:
        """Purchases to be expected in the next `horizon`, given the history `[N]`."""
        x, t_x, T = self._history(frequency, recency, t)
        return self.probability_alive(x, t_x, T) * self._purchases_alive(check_horizon(horizon), x, T)

    def _history(self, *given: ArrayLike | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if not hasattr(self, "log_likelihood_"):
            raise UserError(f"{type(self).__name__} is not fitted: call fit(frequency, recency, t) first")
        if all(values is None for values in given):
            return self._fitted
        if any(values is None for values in given):
            raise UserError("give frequency, recency and t together, or none of them for the customers of fit")
        return check_history(*given)  # type: ignore[arg-type]

    @abstractmethod
    def _likelihood(
        self, theta: np.ndarray, x: np.ndarray, t_x: np.ndarray, T: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log-likelihood `[N]` at log-parameters `theta`, and its slopes in them `[P, N]`."""

    @abstractmethod
    def _log_odds(self, x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logs of the likelihood's two parts, alive at T and left before, but for factors without T that they share."""

    @abstractmethod
    def _purchases_alive(self, horizon: np.ndarray, x: np.ndarray, T: np.ndarray) -> np.ndarray:
        """Purchases to be expected of those who are alive at T."""


def check_history(frequency: ArrayLike, recency: ArrayLike, t: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three as float64 `[N]`; raises ValueError in one sentence where they cannot be a history."""
    x, t_x, T = (np.atleast_1d(np.asarray(values, dtype=np.float64)) for values in (frequency, recency, t))
    if not x.shape == t_x.shape == T.shape or x.ndim != 1:
        raise UserError(
            f"frequency, recency and t must have one value a customer, got shapes {x.shape}, {t_x.shape} and {T.shape}"
        )
    for name, values in {"frequency": x, "recency": t_x, "t": T}.items():
        if not np.isfinite(values).all() or (values < 0).any():
            raise UserError(f"{name} must be finite and ≥ 0, got {values[~(np.isfinite(values) & (values >= 0))][0]:g}")
    if (t_x > T).any():
        row = int(np.flatnonzero(t_x > T)[0])
        raise UserError(
            f"recency is the time from the first purchase to the last and cannot exceed t, got {t_x[row]:g} of "
            f"{T[row]:g}"
        )
    if ((x == 0) & (t_x > 0)).any():
        raise UserError("recency must be 0 where frequency is 0: without a repeat purchase the first is the last")
    return x, t_x, T


def check_horizon(horizon: ArrayLike) -> np.ndarray:
    """As float64, finite and ≥ 0."""
    value = np.asarray(horizon, dtype=np.float64)
    if not np.isfinite(value).all() or (value < 0).any():
        raise UserError(f"horizon must be finite and ≥ 0, in the unit of t, got {value.min():g}")
    return value


def count_equal(*columns: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """The distinct rows of equally long columns, sorted, and how often each occurs."""
    order = np.lexsort(columns[::-1])
    ordered = [column[order] for column in columns]
    first = np.r_[True, np.any([np.diff(column) != 0 for column in ordered], axis=0)]
    return [column[first] for column in ordered], np.diff(np.r_[np.flatnonzero(first), len(order)]).astype(float)
