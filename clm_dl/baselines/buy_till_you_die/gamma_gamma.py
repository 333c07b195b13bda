"""Spend: the Gamma-Gamma model of what a purchase is worth, given how many there were and their mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma, gammaln

from clm_dl.baselines.buy_till_you_die.likelihood import maximise
from clm_dl.errors import UserError


class GammaGamma:
    """Gamma-Gamma: a purchase's value ~ Gamma(p, ν), and ν ~ Gamma(q, gamma) among customers; how often one buys says
    nothing of it.

    Fader, Hardie (2013), The Gamma-Gamma model of monetary value.

    Args:
        limits: accept parameters that run to 0 or infinity instead of raising ConvergenceError.
    """

    names = ("p", "q", "gamma")
    starts = ((1.0, 1.0, 0.0), (0.0, 0.0, 0.0), (2.0, 1.5, -1.0), (0.5, 2.0, 1.0))

    def __init__(self, *, limits: bool = False):
        self.limits = limits

    def fit(self, frequency: ArrayLike, mean_value: ArrayLike) -> GammaGamma:
        """Maximum likelihood; sets `p_`, `q_`, `gamma_` and `log_likelihood_`, the sum over the customers used.

        Args:
            frequency: `[N]`, how many purchases `mean_value` is the mean of (the repeat purchases, by convention).
                Customers with 0 purchases, or a mean of exactly 0, which a Gamma cannot give, are not used.
            mean_value: `[N]`, ≥ 0.
        """
        x, mean = check_spend(frequency, mean_value)
        used = (x > 0) & (mean > 0)
        if not used.any():
            raise UserError(
                "no customer has both a purchase and a mean value above 0: all spend is zero, so there is nothing to "
                "learn"
            )
        x, mean = x[used], mean[used]
        scale = float(mean.mean())  # so that the currency changes nothing
        parameters, value = maximise(
            lambda theta, rows: _likelihood(theta, x[rows], mean[rows] / scale),
            np.ones(len(x)),
            names=self.names,
            starts=self.starts,
            limits=self.limits,
        )
        self.p_, self.q_, self.gamma_ = float(parameters[0]), float(parameters[1]), float(parameters[2] * scale)
        self.log_likelihood_ = value - len(x) * float(np.log(scale))
        return self

    def expected_value(self, frequency: ArrayLike, mean_value: ArrayLike) -> np.ndarray:
        """Value to be expected of a customer's next purchase `[N]`: its own mean, shrunk to that of all.

        Infinite where p·frequency + q ≤ 1, that is for customers without a purchase when q ≤ 1.
        """
        if not hasattr(self, "log_likelihood_"):
            raise UserError("GammaGamma is not fitted: call fit(frequency, mean_value) first")
        x, mean = check_spend(frequency, mean_value)
        below = self.p_ * x + self.q_ - 1
        with np.errstate(divide="ignore"):
            return np.asarray(np.where(below > 0, self.p_ * (self.gamma_ + x * mean) / np.maximum(below, 0), np.inf))


def _likelihood(theta: np.ndarray, x: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood `[N]` at the logs of p, q and gamma, and its slopes in them `[3, N]`."""
    p, q, gamma = np.exp(theta)
    all_p, rest = p * x, np.log(gamma + x * mean)
    value = (
        gammaln(all_p + q)
        - gammaln(all_p)
        - gammaln(q)
        + q * theta[2]
        - np.log(mean)
        + all_p * np.log(x * mean)
        - (all_p + q) * rest
    )
    slope = [
        all_p * (digamma(all_p + q) - digamma(all_p) + np.log(x * mean) - rest),
        q * (digamma(all_p + q) - digamma(q) + theta[2] - rest),
        q - (all_p + q) * gamma / (gamma + x * mean),
    ]
    return value, np.stack(slope)


def check_spend(frequency: ArrayLike, mean_value: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 `[N]`; raises ValueError in one sentence for negative or missing values."""
    x, mean = (np.atleast_1d(np.asarray(values, dtype=np.float64)) for values in (frequency, mean_value))
    if x.shape != mean.shape or x.ndim != 1:
        raise UserError(
            f"frequency and mean_value must have one value a customer, got shapes {x.shape} and {mean.shape}"
        )
    for name, values in {"frequency": x, "mean_value": mean}.items():
        if not np.isfinite(values).all() or (values < 0).any():
            wrong = values[~(np.isfinite(values) & (values >= 0))][0]
            raise UserError(f"{name} must be finite and ≥ 0, got {wrong:g}: leave returns out of the spend")
    return x, mean
