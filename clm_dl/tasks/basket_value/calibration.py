"""LogNormalCalibrator: expected log amounts made right, and expected amounts of them.

Shapes: N snapshots.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clm_dl.errors import UserError

Floats = NDArray[np.float64]


class LogNormalCalibrator:
    """log amount ~ N(intercept + slope · answer, deviation²): least squares of the log amounts; constant answers get
    slope 1.
    """

    def __init__(self, slope: float = 1.0, intercept: float = 0.0, deviation: float = 0.0) -> None:
        self.slope, self.intercept, self.deviation = slope, intercept, deviation

    def fit(self, answer: ArrayLike, amount: ArrayLike) -> LogNormalCalibrator:
        """Fit on expected log amounts and amounts `[N]`, > 0; returns self. ValueError without a snapshot."""
        x_N, y_N = np.asarray(answer, dtype=np.float64), np.log(np.asarray(amount, dtype=np.float64))
        if not len(y_N):
            raise UserError("calibration needs next orders, got none: choose a validation cutoff that orders follow")
        varies = x_N.std() > 1e-9
        self.slope = float(np.cov(x_N, y_N, bias=True)[0, 1] / x_N.var()) if varies else 1.0
        self.intercept = float(y_N.mean() - self.slope * x_N.mean())
        self.deviation = float(np.std(y_N - self.slope * x_N))
        return self

    def median(self, answer: ArrayLike) -> Floats:
        """Money `[N]`."""
        return np.exp(self.intercept + self.slope * np.asarray(answer, dtype=np.float64))

    def mean(self, answer: ArrayLike) -> Floats:
        """Money to be expected `[N]`."""
        return self.median(answer) * np.exp(self.deviation**2 / 2)

    def to_dict(self) -> dict[str, float]:
        return {"slope": self.slope, "intercept": self.intercept, "deviation": self.deviation}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> LogNormalCalibrator:
        return cls(**state)
