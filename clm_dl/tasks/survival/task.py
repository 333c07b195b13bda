"""SurvivalTask: when customers leave, as P(active through each horizon)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clm_dl.baselines.spec import Spec
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.evaluation.bootstrap import Measure
from clm_dl.evaluation.metric import Metrics
from clm_dl.tasks.balance import balance_fact, balanced_odds
from clm_dl.tasks.base import Answers
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.options import HeadOptions
from clm_dl.tasks.snapshots import SnapshotTask
from clm_dl.tasks.survival.calibration import CurveCalibrator
from clm_dl.tasks.survival.durations import calibration_rows, check_followed, check_horizons, lifetimes
from clm_dl.tasks.survival.metrics import hazards, known_metrics, reference, restricted_mean, survival_measure
from clm_dl.tasks.survival.question import SurvivalQuestion
from clm_dl.tasks.survival.scores import CurveScores, curve_table, read_curves

if TYPE_CHECKING:
    from clm_dl.baselines.tabular.hazard import HazardModel
    from clm_dl.visual.pages import Pages


@dataclass(frozen=True)
class SurvivalOptions(HeadOptions):
    """horizons_days: ascending days after the cutoff; 0 = has not left at the cutoff."""

    horizons_days: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_horizons(self.horizons_days)


class SurvivalTask(SnapshotTask):
    """A customer leaves at the first moment at which churn comes true: at the last event before a silence of
    `snapshots.horizon_days` that begins at the cutoff or later (`labels=churn_event`: at the event that says so).

    Active through h: has not left before cutoff + h. So at horizon 0 this is 1 − P(churn), and the curve falls from
    there. See `lifetimes`.
    """

    name = "survival"
    monitor = "val/nll"
    balances = ("class_weight",)
    options: SurvivalOptions
    options_type = SurvivalOptions

    @property
    def horizons(self) -> tuple[float, ...]:
        return self.options.horizons_days

    @property
    def follow_days(self) -> float:  # type: ignore[override]
        return self.horizons[-1]

    @property
    def num_targets(self) -> int:  # type: ignore[override]
        return len(self.horizons)

    def outcome(self, store: EventStore, snapshots: Snapshots) -> tuple[np.ndarray, np.ndarray]:
        """Who was active through which horizon, and the intervals in which customers left."""
        life = lifetimes(store, snapshots, self.settings.labels)
        return life.active(self.horizons), life.intervals(self.horizons)

    def check_cases(self, cases: Cases) -> None:
        assert cases.outcome is not None
        assert cases.target_NK is not None
        silence_days = cases.snapshots.horizon_days
        check_followed(cases.outcome, cases.target_NK, cases.snapshots.split, self.horizons, silence_days)

    def fingerprint(self, cases: Cases) -> str:
        assert cases.outcome is not None
        return cases.digest(np.nan_to_num(cases.outcome, nan=-1.0).astype("<i1").tobytes())

    def head_schema(self, cases: Cases) -> dict[str, Any]:
        """With `imbalance`: how many times too high the odds of leaving in each interval come out."""
        if self.settings.imbalance not in self.balances:
            return {}
        return {self.name: {"odds": balanced_odds(self.learnt(cases)[cases.snapshots.training]).tolist()}}

    def question(self, schema: Mapping[str, Any], *, columns: slice = slice(None)) -> SurvivalQuestion:
        options = {"head_size": self.options.head_size, "dropout": self.options.dropout, **schema.get(self.name, {})}
        return SurvivalQuestion(num_horizons=len(self.horizons), columns=columns, **options)

    def estimator(self, spec: Spec) -> HazardModel:
        from clm_dl.baselines.tabular.classifier import TabularClassifier  # predicting shall not wait for scikit-learn
        from clm_dl.baselines.tabular.hazard import HazardModel

        settings = self.settings
        options = {"impute": settings.impute, "imbalance": settings.imbalance}
        return HazardModel(TabularClassifier.of(spec, seed=settings.seed, **options))

    def learnt(self, cases: Cases) -> np.ndarray:
        assert cases.target_NK is not None
        return cases.target_NK

    def calibrate(
        self, answers: Answers, cases: Cases, rows: np.ndarray, *, model: Any = None, aged: bool = False
    ) -> CurveCalibrator:
        """Each horizon on the newest validation cutoff that was followed so far."""
        assert cases.outcome is not None
        known_NS, active_NS = ~np.isnan(cases.outcome), cases.outcome[rows]
        if aged:
            return CurveCalibrator().fit(answers, active_NS, known_NS[rows])
        known_NS &= (cases.snapshots.split == "val")[:, None]
        newest_NS = calibration_rows(cases.snapshots, cases.outcome)[rows]
        at = {"cutoff": cases.snapshots.cutoff[rows], "known_NS": known_NS[rows], "newest_NS": newest_NS}
        return CurveCalibrator().fit_over(answers, active_NS, **at)

    def read_calibration(self, state: Mapping[str, Any]) -> CurveCalibrator:
        return CurveCalibrator.from_dict(state)

    def write(self, cases: Cases, rows: np.ndarray, answers: Answers, calibration: Any, *, model: str) -> pd.DataFrame:
        cases = cases.select(rows)
        label_NS = np.full(answers.shape, np.nan) if cases.outcome is None else cases.outcome
        curves = {"active": calibration.predict(answers), "active_raw": answers, "label": label_NS}
        return curve_table(cases.store, cases.snapshots, self.horizons, model=model, **curves)

    def predicted(self, table: pd.DataFrame, cases: Cases) -> pd.DataFrame:
        """Also `hazard`, the chance to leave by the horizon of who was active through the one before, and
        `remaining_days`, the expected remaining lifetime up to the last horizon.
        """
        active_NS = table["score"].to_numpy().reshape(len(cases), -1)
        remaining = np.repeat(restricted_mean(active_NS, self.horizons), len(self.horizons))
        return super().predicted(table.assign(hazard=hazards(active_NS).ravel(), remaining_days=remaining), cases)

    # --- figures

    @property
    def pages(self) -> Pages:
        from clm_dl.tasks.survival.pages import SurvivalPages  # draws

        return SurvivalPages(self.metrics, self.horizons)

    def metrics(self, summary: Mapping[str, Any] | None = None) -> Metrics:
        return known_metrics(self.horizons)

    @property
    def best_by(self) -> tuple[str, ...]:
        return ("ibs",)

    @property
    def objective(self) -> str:
        return "log_loss"

    def read(self, scores: pd.DataFrame, split: str, *, models: Sequence[str] | None = None) -> CurveScores:
        return read_curves(scores, split, models)

    def measure(self, table: CurveScores, *, raw: bool = False) -> Measure:
        return survival_measure(table, table.raw if raw else table.active, self.horizons)

    def reference(self, table: CurveScores) -> dict[str, Any]:
        return reference(table, self.horizons)

    def extras(self, tables: Mapping[str, Any], cases: Iterable[Cases]) -> dict[str, Any]:
        return {"horizons_days": list(self.horizons), **balance_fact(self.settings, self.balances)}
