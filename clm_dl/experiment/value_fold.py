"""ValueFold: one split by time of a value experiment; what everyone spends in the label window, and every model's
forecasts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.baselines.tabular.regressor import fit_score_value
from clm_dl.data.sequences.datamodule import SequenceDataModule
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.errors import UserError
from clm_dl.evaluation.scores import value_table
from clm_dl.experiment.fold import Fold
from clm_dl.experiment.inference import calibrated_forecasts, fit_value_calibrator, value_forecasts
from clm_dl.tasks.module import SequenceTask
from clm_dl.tasks.value.calibration import ValueCalibrator
from clm_dl.tasks.value.summary import summarise_value
from clm_dl.tasks.value.window import window_orders, window_spend
from clm_dl.visual.tensorboard_figures import write_final_figures

SMALLEST_SCALE = 1e-2  # of log spends that hardly differ


class ValueFold(Fold):
    """As Fold; an outcome is (spend, orders) `[N, 2]`, NaN censored, and answers have the columns of
    `scoring.value_forecasts`.
    """

    write: Callable[..., None] = staticmethod(write_final_figures)

    def targets(self) -> np.ndarray:
        """Spend and orders of every snapshot's label window."""
        self.value = self.clock("snapshots", self.outcome, self.snapshots)
        for split in ("train", "val", "test"):
            spend = self.value[self.snapshots.split == split, 0]
            if not np.nansum(spend) > 0:
                raise UserError(
                    f"all-zero spend in {split}: nobody of {len(spend):,} snapshots spends in the label window, so "
                    "there is nothing to learn or measure: check data.roles.amount and snapshots.horizon_days"
                )
        return self.value.astype(np.float32)

    def head_schema(self) -> dict[str, Any]:
        """The scales of the head, fitted on the training snapshots."""
        return {"value": value_scales(self.value[self.snapshots.training])}

    @property
    def fingerprint(self) -> str:
        """That of the snapshots and of what was spent."""
        value = np.nan_to_num(self.value, nan=-1.0).astype("<f8")
        return hashlib.blake2b(
            self.snapshots.fingerprint(self.store).encode() + value.tobytes(), digest_size=16
        ).hexdigest()

    def outcome(self, snapshots: Snapshots) -> np.ndarray:
        spend = window_spend(self.store, snapshots, returns=self.settings["task"]["returns"])
        return np.column_stack([spend, window_orders(self.store, snapshots)])

    def answers(self, task: SequenceTask, datamodule: SequenceDataModule, index_N: np.ndarray) -> np.ndarray:
        return value_forecasts(task, datamodule, index_N)

    def calibrate(self, answers: np.ndarray, outcome: np.ndarray, *, aged: bool = False) -> ValueCalibrator:
        return fit_value_calibrator(answers, outcome[:, 0], coverage=self.settings["task"]["coverage"], aged=aged)

    def table(
        self, snapshots: Snapshots, answers: np.ndarray, calibration: Any, outcome: np.ndarray, *, model: str
    ) -> pd.DataFrame:
        score, forecast = calibrated_forecasts(answers, calibration)
        return value_table(
            self.store,
            snapshots,
            model=model,
            score=score,
            score_raw=answers[:, 0],
            spend=outcome[:, 0],
            orders=outcome[:, 1],
            forecast=forecast,
        )

    def baseline_scores(self, X: pd.DataFrame, **options: Any) -> pd.DataFrame:
        return fit_score_value(X, self.snapshots, self.value, store=self.store, **options)

    def summarise(self, scores: pd.DataFrame, fingerprint: str, counts: Mapping[str, Any]) -> dict[str, Any]:
        return summarise_value(
            scores,
            coverage=self.settings["task"]["coverage"],
            fingerprint=fingerprint,
            data_counts=counts,
            resamples=self.settings["bootstrap"],
            seed=self.settings["seed"],
        )


def value_scales(value_N2: np.ndarray) -> dict[str, float]:
    """What ValueTask's outputs are relative to, from the spend and orders of training snapshots: see
    `nn.spend.ValueDistribution`.
    """
    spend, orders = value_N2[:, 0], value_N2[:, 1]
    logs = np.log(spend[spend > 0])
    return {
        "center": float(logs.mean()),
        "scale": max(float(logs.std()), SMALLEST_SCALE),
        "largest": float(spend.max()),
        "orders": float(orders.mean()),
    }
