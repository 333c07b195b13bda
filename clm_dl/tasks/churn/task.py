"""ChurnTask and PropensityTask: the probability that a label comes true in the window after the cutoff."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import expit

from clm_dl.baselines.spec import Spec
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.evaluation.bootstrap import Measure
from clm_dl.evaluation.calibration import PlattCalibrator
from clm_dl.evaluation.metric import Metrics
from clm_dl.evaluation.scores import scores_table
from clm_dl.options import Share
from clm_dl.tasks.balance import balance_fact, balanced_odds, undersampled
from clm_dl.tasks.base import Answers
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.churn.metrics import METRICS, binary_measure, reference
from clm_dl.tasks.churn.profit import profit_by_model
from clm_dl.tasks.churn.question import ChurnQuestion
from clm_dl.tasks.churn.scores import ScoreTable, read_scores
from clm_dl.tasks.options import HeadOptions
from clm_dl.tasks.snapshots import SnapshotTask

if TYPE_CHECKING:
    from clm_dl.baselines.tabular.classifier import TabularClassifier
    from clm_dl.visual.pages import Pages


@dataclass(frozen=True)
class ChurnOptions(HeadOptions):
    """positive_weight: of the loss of label 1, corrected for; label_smoothing: s trains towards s/2 and 1 − s/2."""

    positive_weight: float
    label_smoothing: Share

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.positive_weight > 0:
            raise UserError(f"task.positive_weight must be > 0, got {self.positive_weight}")


class ChurnTask(SnapshotTask):
    """P(churn): 1 churned, 0 not, NaN censored."""

    name = "churn"
    monitor = "val/log_loss"
    detectable = True
    watched = ("ece",)
    balances = ("class_weight", "undersample")
    of_network = ("positive_weight", "label_smoothing")
    chosen_on = ("val", "test")  # a table of customers has no validation
    options: ChurnOptions
    options_type = ChurnOptions
    reads_tables = True

    def check(self) -> None:
        if self.settings.rule is not None and self.settings.labels["name"] == "event":
            raise UserError("labels=event says whether something happened, which is no churn: set task=propensity")

    def outcome(self, store: EventStore, snapshots: Snapshots) -> tuple[np.ndarray, None]:
        return snapshots.label, None

    def head_schema(self, cases: Cases) -> dict[str, Any]:
        """With `imbalance`: the weight of label 1, and how many times too high its odds come out."""
        imbalance, training = self.settings.imbalance, cases.snapshots.training
        if imbalance not in self.balances:
            return {}
        odds = float(balanced_odds(cases.snapshots.label[training]))
        return {self.name: {"positive_weight": odds if imbalance == "class_weight" else 1.0, "odds": odds}}

    def trained(self, cases: Cases) -> np.ndarray | None:
        if self.settings.imbalance != "undersample":
            return None
        return undersampled(cases.snapshots.label, cases.snapshots.training, seed=self.settings.seed)

    def question(self, schema: Mapping[str, Any], *, columns: slice = slice(None)) -> ChurnQuestion:
        options = self.options
        return ChurnQuestion(
            **{"positive_weight": options.positive_weight, **schema.get(self.name, {})},
            label_smoothing=options.label_smoothing,
            head_size=options.head_size,
            dropout=options.dropout,
        )

    def told(self, output: np.ndarray, inputs: SequenceInputs, rows: np.ndarray) -> np.ndarray:
        """Prior-corrected, uncalibrated P(label 1) `[N]`."""
        return np.asarray(expit(output))

    def estimator(self, spec: Spec) -> TabularClassifier:
        from clm_dl.baselines.tabular.classifier import TabularClassifier  # predicting shall not wait for scikit-learn

        settings = self.settings
        return TabularClassifier.of(spec, impute=settings.impute, imbalance=settings.imbalance, seed=settings.seed)

    def learnt(self, cases: Cases) -> np.ndarray:
        return cases.snapshots.label

    def calibrate(
        self, answers: Answers, cases: Cases, rows: np.ndarray, *, model: Any = None, aged: bool = False
    ) -> PlattCalibrator:
        snapshots, calibrator = cases.snapshots, PlattCalibrator(prior=None if model is None else model.prior)
        if aged:
            return calibrator.fit(answers, snapshots.label[rows])
        known = snapshots.validation[rows]
        at = {"cutoff": snapshots.cutoff[rows][known]}
        return calibrator.fit_over(
            answers[known], snapshots.label[rows][known], **at, newest=snapshots.calibration[rows][known]
        )

    def read_calibration(self, state: Mapping[str, Any]) -> PlattCalibrator:
        return PlattCalibrator.from_dict(state)

    def write(self, cases: Cases, rows: np.ndarray, answers: Answers, calibration: Any, *, model: str) -> pd.DataFrame:
        cases = cases.select(rows)
        score = calibration.predict(answers)
        names = {"model": model, "task": self.name}
        return scores_table(cases.store, cases.snapshots, **names, score=score, score_raw=answers)

    def table_scores(
        self, data: Mapping[str, Any], say: Callable[[str], None] = print
    ) -> tuple[pd.DataFrame, dict[str, Any]]:
        from clm_dl.tasks.churn.table import table_scores  # predicting shall not wait for scikit-learn

        return table_scores(data, self.settings, say)

    # --- figures

    @property
    def pages(self) -> Pages:
        from clm_dl.tasks.churn.pages import ChurnPages  # draws

        return ChurnPages(self.metrics)

    def metrics(self, summary: Mapping[str, Any] | None = None) -> Metrics:
        return METRICS

    @property
    def best_by(self) -> tuple[str, ...]:
        return "auroc", "log_loss"

    @property
    def objective(self) -> str:
        return "log_loss"

    def read(self, scores: pd.DataFrame, split: str, *, models: Sequence[str] | None = None) -> ScoreTable:
        return read_scores(scores, split, models)

    def measure(self, table: ScoreTable, *, raw: bool = False) -> Measure:
        return binary_measure(table, table.raw if raw else table.score, threshold=self.settings.threshold)

    def reference(self, table: ScoreTable) -> dict[str, Any]:
        return reference(table)

    def extras(self, tables: Mapping[str, Any], cases: Iterable[Cases]) -> dict[str, Any]:
        profit = self.settings.profit
        return {
            "threshold": self.settings.threshold,
            "profit": profit_by_model(tables["test"], tables["val"], benefit=profit.benefit, cost=profit.cost),
            "population": {},  # of old, always empty; a reader may look for the key
            **balance_fact(self.settings, self.balances),
        }


class PropensityTask(ChurnTask):
    """As ChurnTask; positive = what is asked for happened (`labels=event`, or a label that is given)."""

    name = "propensity"
    reads_tables = False

    def check(self) -> None:
        labels = self.settings.labels["name"]
        if labels not in ("event", "given", "churn_event"):
            raise UserError(
                f"task=propensity asks whether something happens, got labels={labels}: choose labels=event or give "
                "labels=FILE"
            )
