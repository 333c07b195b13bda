"""SurvivalFold: one split by time of a survival experiment; everyone's lifetime as far as it was followed, and every
model's curves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.baselines.tabular.hazard import fit_score_curves
from clm_dl.data.sequences.datamodule import SequenceDataModule
from clm_dl.evaluation.calibration import CurveCalibrator
from clm_dl.evaluation.scores import curve_table
from clm_dl.experiment.fold import Fold
from clm_dl.experiment.inference import survival_curves
from clm_dl.tasks.module import SequenceTask
from clm_dl.tasks.survival.lifetimes import calibration_rows, check_followed, lifetimes
from clm_dl.tasks.survival.summary import summarise_survival
from clm_dl.visual.tensorboard_figures import write_final_figures


class SurvivalFold(Fold):
    """As Fold; a row of the Scores table is a snapshot and a horizon."""

    write: Callable[..., None] = staticmethod(write_final_figures)

    def targets(self) -> np.ndarray:
        """The intervals in which customers left."""
        self.horizons = self.settings["task"]["horizons_days"]
        self.life = self.clock("snapshots", lifetimes, self.store, self.snapshots, self.settings["labels"])
        check_followed(self.life, self.snapshots.split, self.horizons, self.snapshots.horizon_days)
        self.active_NS = self.life.active(self.horizons)
        return self.life.intervals(self.horizons)

    @property
    def fingerprint(self) -> str:
        """That of the snapshots and of who was active through which horizon."""
        active = np.nan_to_num(self.active_NS, nan=-1.0).astype("<i1")
        return hashlib.blake2b(
            self.snapshots.fingerprint(self.store).encode() + active.tobytes(), digest_size=16
        ).hexdigest()

    def baseline_scores(self, X: pd.DataFrame, **options: Any) -> pd.DataFrame:
        return fit_score_curves(X, self.snapshots, self.life, self.horizons, store=self.store, **options)

    def network_scores(
        self, task: SequenceTask, datamodule: SequenceDataModule, calibration: Any = None
    ) -> tuple[pd.DataFrame, Any]:
        """Each horizon calibrated on the newest validation cutoff that was followed so far."""
        raw_NS = survival_curves(task, datamodule, self.held_out)
        label_NS = self.active_NS[self.held_out]
        if calibration is None:
            calibration = CurveCalibrator().fit(
                raw_NS, label_NS, calibration_rows(self.snapshots, self.active_NS)[self.held_out]
            )
        table = curve_table(
            self.store,
            self.snapshots.select(self.held_out),
            self.horizons,
            model="network",
            active=calibration.predict(raw_NS),
            active_raw=raw_NS,
            label=label_NS,
        )
        return table, calibration

    def summarise(self, scores: pd.DataFrame, fingerprint: str, counts: Mapping[str, Any]) -> dict[str, Any]:
        return summarise_survival(
            scores,
            horizons_days=self.horizons,
            fingerprint=fingerprint,
            data_counts=counts,
            resamples=self.settings["bootstrap"],
            seed=self.settings["seed"],
        )
