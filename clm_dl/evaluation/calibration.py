"""Calibration: expected calibration error on equal-mass bins, Platt scaling, and undoing a shifted base rate.

Shapes: N scored snapshots, S horizons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from clm_dl.errors import UserError
from clm_dl.evaluation.correction import Line, corrected
from clm_dl.evaluation.ranked import Ranking

CLIP = 1e-7  # probabilities enter the logit no closer to 0 and 1 than this (float32 scores reach both)


def ece(label: ArrayLike, p: ArrayLike, bins: int = 15, weight: ArrayLike | None = None) -> float:
    """Expected calibration error: mean over `bins` bins of equal mass of |mean p − rate|; in [0, 1], NaN without rows.

    A row on the edge of two bins is shared between them and tied scores carry their common rate, so the order of the
    rows never matters, and constant scores give exactly |mean p − rate|.
    """
    return float(Ranking(label, p)(weight, bins=bins).ece()[0])


def reliability(label: ArrayLike, p: ArrayLike, bins: int = 15) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The bins behind `ece`: (mean p, rate) of each equal-mass bin, both [bins], from low to high p."""
    mean_p_RK, rate_RK = Ranking(label, p)(bins=bins).bins()
    return mean_p_RK[0, ::-1], rate_RK[0, ::-1]


class PlattCalibrator:
    """p → expit(slope · logit(p) + intercept), fitted by maximum likelihood on Platt's smoothed labels (Platt 1999).

    The intercept moves the base rate, the slope the confidence. Constant scores get slope 1 and the intercept that
    meets the rate. `prior` (train_rate, sampled_rate) is undone first, see `prior_correction`. `told`: in words, how it
    was chosen.
    """

    def __init__(
        self,
        slope: float = 1.0,
        intercept: float = 0.0,
        *,
        prior: tuple[float, float] | None = None,
        told: str | None = None,
    ) -> None:
        self.slope, self.intercept, self.prior, self.told = float(slope), float(intercept), prior, told

    def fit(self, p: ArrayLike, y: ArrayLike) -> PlattCalibrator:
        """Fit on probabilities p [N] in [0, 1] and labels y [N] in {0, 1}; returns self. ValueError on one class."""
        line = self._line(self._logit(p), np.asarray(y, dtype=np.float64))
        self.slope, self.intercept = line.slope, line.intercept
        return self

    def fit_over(self, p: ArrayLike, y: ArrayLike, *, cutoff: ArrayLike, newest: ArrayLike) -> PlattCalibrator:
        """Fit on the `newest` of validation snapshots at several cutoffs, chosen and shrunk by the others, see
        `corrected`; returns self.
        """
        x_N, y_N = self._logit(p), np.asarray(y, dtype=np.float64)

        def fit(kind: str, rows_N: NDArray[np.bool_]) -> Line:
            if kind == "raw":
                return Line()
            return self._line(x_N[rows_N], y_N[rows_N], slope=None if kind == "line" else 1.0)

        def loss(line: Line, rows_N: NDArray[np.bool_]) -> float:
            z_N = line(x_N[rows_N])
            return float(np.mean(np.logaddexp(0, z_N) - y_N[rows_N] * z_N))

        found = corrected(fit, loss, x_N, cutoff_N=np.asarray(cutoff), newest_N=np.asarray(newest, dtype=bool))
        self.slope, self.intercept, self.told = found.line.slope, found.line.intercept, found.told("Platt")
        return self

    def _line(self, x_N: NDArray[np.float64], y_N: NDArray[np.float64], slope: float | None = None) -> Line:
        """By maximum likelihood; with a given slope the intercept alone, which then meets the rate."""
        if x_N.shape != y_N.shape or x_N.ndim != 1:
            raise UserError(f"calibration needs one label a score, got {x_N.shape} scores and {y_N.shape} labels")
        num_positive = float(y_N.sum())
        num_negative = len(y_N) - num_positive
        if num_positive == 0 or num_negative == 0:
            raise UserError(
                f"calibration needs both classes, got {num_positive:.0f} positive and {num_negative:.0f} negative "
                "labels; choose a validation cutoff with both"
            )
        target_N = np.where(y_N == 1, (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2))
        center, scale = float(x_N.mean()), float(x_N.std())
        if scale < 1e-9:
            return Line(1.0, float(logit(num_positive / len(y_N)) - center))
        if slope is not None:
            start = float(logit(num_positive / len(y_N)))
            reach = float(np.abs(slope * x_N).max()) + 1
            found = brentq(lambda level: expit(slope * x_N + level).mean() - y_N.mean(), start - reach, start + reach)
            return Line(slope, float(found))
        steepness, level = _fit_logistic((x_N - center) / scale, target_N)
        return Line(steepness / scale, level - steepness * center / scale)

    def predict(self, p: ArrayLike) -> NDArray[np.float64]:
        """Calibrated probabilities, of the shape of p."""
        return expit(self.slope * self._logit(p) + self.intercept)

    def to_dict(self) -> dict[str, Any]:
        known = {"prior": list(self.prior) if self.prior else None, "told": self.told}
        return {"slope": self.slope, "intercept": self.intercept, **{key: one for key, one in known.items() if one}}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> PlattCalibrator:
        prior = None if state.get("prior") is None else tuple(state["prior"])
        return cls(slope=state["slope"], intercept=state["intercept"], prior=prior, told=state.get("told"))

    def _logit(self, p: ArrayLike) -> NDArray[np.float64]:
        p = np.asarray(p, dtype=np.float64) if self.prior is None else prior_correction(p, *self.prior)
        return logit(np.clip(p, CLIP, 1 - CLIP))


def prior_correction(p: ArrayLike, train_rate: float, sampled_rate: float) -> NDArray[np.float64]:
    """Undo class weights or resampling: p was learnt at `sampled_rate`, the truth has `train_rate` (Elkan 2001)."""
    for name, rate in (("train_rate", train_rate), ("sampled_rate", sampled_rate)):
        if not 0 < rate < 1:
            raise UserError(f"{name} must lie strictly between 0 and 1, got {rate}; both classes are needed")
    p_N = np.asarray(p, dtype=np.float64)
    positive_N = p_N * (train_rate / sampled_rate)
    return positive_N / (positive_N + (1 - p_N) * ((1 - train_rate) / (1 - sampled_rate)))


def _fit_logistic(x_N: NDArray[np.float64], target_N: NDArray[np.float64]) -> tuple[float, float]:
    """Newton's method with step halving on the mean cross entropy of expit(slope · x + intercept)."""
    x_N2 = np.column_stack([x_N, np.ones_like(x_N)])

    def loss(theta_2: NDArray[np.float64]) -> float:
        z_N = x_N2 @ theta_2
        return float(np.mean(np.logaddexp(0, z_N) - target_N * z_N))

    theta_2 = np.array([0.0, logit(target_N.mean())])
    current = loss(theta_2)
    for _ in range(100):
        p_N = expit(x_N2 @ theta_2)
        gradient_2 = x_N2.T @ (p_N - target_N) / len(x_N)
        hessian_22 = (x_N2 * (p_N * (1 - p_N))[:, None]).T @ x_N2 / len(x_N) + 1e-12 * np.eye(2)
        step_2 = np.linalg.solve(hessian_22, gradient_2)
        size = 1.0
        while (proposed := loss(theta_2 - size * step_2)) > current and size > 1e-6:
            size /= 2
        if proposed > current:
            break
        theta_2, gain, current = theta_2 - size * step_2, current - proposed, proposed
        if gain < 1e-15 and np.abs(size * step_2).max() < 1e-9:
            break
    return float(theta_2[0]), float(theta_2[1])
