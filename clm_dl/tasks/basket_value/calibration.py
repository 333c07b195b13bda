"""LogNormalCalibrator: expected log amounts made right, and expected amounts of them.

Shapes: N snapshots.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clm_dl.errors import UserError
from clm_dl.evaluation.correction import Line, corrected

Floats = NDArray[np.float64]


class LogNormalCalibrator:
    """log amount ~ N(intercept + slope · answer, deviation²): least squares of the log amounts; constant answers get
    slope 1.
    """

    def __init__(
        self, slope: float = 1.0, intercept: float = 0.0, deviation: float = 0.0, told: str | None = None
    ) -> None:
        self.slope, self.intercept, self.deviation, self.told = slope, intercept, deviation, told

    def fit(self, answer: ArrayLike, amount: ArrayLike) -> LogNormalCalibrator:
        """Fit on expected log amounts and amounts `[N]`, > 0; returns self. ValueError without a snapshot."""
        x_N, y_N = np.asarray(answer, dtype=np.float64), np.log(np.asarray(amount, dtype=np.float64))
        line = _least_squares(x_N, y_N)
        self.slope, self.intercept = line.slope, line.intercept
        self.deviation = float(np.std(y_N - self.slope * x_N))
        return self

    def fit_over(
        self, answer: ArrayLike, amount: ArrayLike, *, cutoff: ArrayLike, newest: ArrayLike
    ) -> LogNormalCalibrator:
        """Fit on the `newest` of validation snapshots at several cutoffs, chosen and shrunk by the others, see
        `corrected`; returns self.
        """
        x_N, y_N = np.asarray(answer, dtype=np.float64), np.log(np.asarray(amount, dtype=np.float64))
        newest_N = np.asarray(newest, dtype=bool)

        def fit(kind: str, rows_N: NDArray[np.bool_]) -> Line:
            if kind == "intercept":
                return Line(1.0, float((y_N - x_N)[rows_N].mean()))
            return Line() if kind == "raw" else _least_squares(x_N[rows_N], y_N[rows_N])

        def loss(line: Line, rows_N: NDArray[np.bool_]) -> float:
            return float(np.mean((y_N[rows_N] - line(x_N[rows_N])) ** 2))

        found = corrected(fit, loss, x_N, cutoff_N=np.asarray(cutoff), newest_N=newest_N)
        self.slope, self.intercept, self.told = found.line.slope, found.line.intercept, found.told("level and slope")
        self.deviation = float(np.std((y_N - self.slope * x_N)[newest_N]))
        return self

    def median(self, answer: ArrayLike) -> Floats:
        """Money `[N]`."""
        return np.exp(self.intercept + self.slope * np.asarray(answer, dtype=np.float64))

    def mean(self, answer: ArrayLike) -> Floats:
        """Money to be expected `[N]`."""
        return self.median(answer) * np.exp(self.deviation**2 / 2)

    def to_dict(self) -> dict[str, Any]:
        told = {"told": self.told} if self.told else {}
        return {"slope": self.slope, "intercept": self.intercept, "deviation": self.deviation, **told}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> LogNormalCalibrator:
        return cls(**state)


def _least_squares(x_N: Floats, y_N: Floats) -> Line:
    if not len(y_N):
        raise UserError("calibration needs next orders, got none: choose a validation cutoff that orders follow")
    slope = float(np.cov(x_N, y_N, bias=True)[0, 1] / x_N.var()) if x_N.std() > 1e-9 else 1.0
    return Line(slope, float(y_N.mean() - slope * x_N.mean()))
