"""CurveCalibrator: survival curves calibrated by a Platt calibrator a horizon, so that they still never rise.

Shapes: N snapshots, S horizons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clm_dl.evaluation.calibration import PlattCalibrator


class CurveCalibrator:
    """Each horizon of curves [N, S] by itself, then cut so that no horizon exceeds the one before it."""

    def __init__(self, horizons: Sequence[PlattCalibrator] = ()) -> None:
        self.horizons = list(horizons)

    def fit_over(
        self, active_NS: ArrayLike, label_NS: ArrayLike, *, known_NS: ArrayLike, cutoff: ArrayLike, newest_NS: ArrayLike
    ) -> CurveCalibrator:
        """Fit each horizon on the newest of the known validation rows, see `corrected`; returns self."""
        parts = (np.asarray(part).T for part in (active_NS, label_NS, known_NS, newest_NS))
        self.horizons = [
            PlattCalibrator().fit_over(
                active_N[known_N], label_N[known_N], cutoff=np.asarray(cutoff)[known_N], newest=newest_N[known_N]
            )
            for active_N, label_N, known_N, newest_N in zip(*parts, strict=True)
        ]
        return self

    def fit(self, active_NS: ArrayLike, label_NS: ArrayLike, chosen_NS: ArrayLike) -> CurveCalibrator:
        """Fit each horizon on its chosen rows, whose labels must be known; returns self."""
        columns = zip(np.asarray(active_NS).T, np.asarray(label_NS).T, np.asarray(chosen_NS).T, strict=True)
        self.horizons = [
            PlattCalibrator().fit(active_N[chosen_N], label_N[chosen_N]) for active_N, label_N, chosen_N in columns
        ]
        return self

    def predict(self, active_NS: ArrayLike) -> NDArray[np.float64]:
        """Calibrated curves, of the shape of `active_NS`."""
        columns = zip(self.horizons, np.asarray(active_NS).T, strict=True)
        calibrated_NS = np.column_stack([horizon.predict(active_N) for horizon, active_N in columns])
        return np.asarray(np.minimum.accumulate(calibrated_NS, axis=1))

    @property
    def told(self) -> str | None:
        """How each horizon was calibrated, in words."""
        return "; ".join(filter(None, (horizon.told for horizon in self.horizons))) or None

    def to_dict(self) -> dict[str, Any]:
        return {"horizons": [horizon.to_dict() for horizon in self.horizons]}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> CurveCalibrator:
        return cls([PlattCalibrator.from_dict(horizon) for horizon in state["horizons"]])
