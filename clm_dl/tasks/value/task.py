"""ValueTask: what customers spend in the label window, and in how many orders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd

from clm_dl.baselines.spec import Spec
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.evaluation.bootstrap import Measure
from clm_dl.evaluation.metric import Metrics
from clm_dl.options import Within
from clm_dl.tasks.base import Answers
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.options import HeadOptions
from clm_dl.tasks.snapshots import SnapshotTask
from clm_dl.tasks.value.calibration import ValueCalibrator
from clm_dl.tasks.value.metrics import METRICS, reference, value_measure
from clm_dl.tasks.value.question import ValueQuestion
from clm_dl.tasks.value.scores import ValueScores, read_values, value_table
from clm_dl.tasks.value.window import RETURNS, window_orders, window_spend

if TYPE_CHECKING:
    from clm_dl.baselines.tabular.regressor import TabularRegressor
    from clm_dl.visual.pages import Pages

SMALLEST_SCALE = 1e-2  # of log spends that hardly differ
MEAN, MEDIAN, LOW, HIGH, ORDERS, TENURE = range(6)  # columns of the network's answers; baselines have the first alone


@dataclass(frozen=True)
class ValueOptions(HeadOptions):
    """returns: amounts below 0, refuse or ignore; coverage: of the interval around the spend; orders_weight: of the
    loss of the number of orders.
    """

    returns: str
    coverage: float
    orders_weight: Annotated[float, Within(0)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.returns not in RETURNS:
            raise UserError(f"task.returns must be one of {', '.join(RETURNS)}, got {self.returns!r}")
        if not 0 < self.coverage < 1:
            raise UserError(f"task.coverage must lie strictly between 0 and 1, got {self.coverage}")


class ValueTask(SnapshotTask):
    """An outcome is (spend, orders) `[N, 2]`, NaN censored; answers have the columns MEAN … TENURE."""

    name = "value"
    monitor = "val/nll"
    watched = ("decile_mape", "coverage")
    of_network = ("orders_weight",)
    options: ValueOptions
    options_type = ValueOptions
    num_targets = 2

    def check(self) -> None:
        labels = self.settings.labels["name"]
        if labels != "no_event":
            raise UserError(
                f"task=value forecasts the spend of the label window, got labels={labels}: set labels=no_event"
            )

    def outcome(self, store: EventStore, snapshots: Snapshots) -> tuple[np.ndarray, np.ndarray]:
        spend = window_spend(store, snapshots, returns=self.options.returns)
        value_N2 = np.column_stack([spend, window_orders(store, snapshots)])
        return value_N2, value_N2.astype(np.float32)

    def check_cases(self, cases: Cases) -> None:
        assert cases.outcome is not None
        for split in ("train", "val", "test"):
            spend = cases.outcome[cases.snapshots.split == split, 0]
            if not np.nansum(spend) > 0:
                raise UserError(
                    f"all-zero spend in {split}: nobody of {len(spend):,} snapshots spends in the label window, so "
                    "there is nothing to learn or measure: check data.roles.amount and snapshots.horizon_days"
                )

    def head_schema(self, cases: Cases) -> dict[str, Any]:
        """The scales of the head, fitted on the training snapshots."""
        assert cases.outcome is not None
        return {"value": value_scales(cases.outcome[cases.snapshots.training])}

    def blank_schema(self) -> dict[str, Any]:
        return super().blank_schema() | {"value": value_scales(np.ones((1, 2)))}

    def fingerprint(self, cases: Cases) -> str:
        assert cases.outcome is not None
        return cases.digest(np.nan_to_num(cases.outcome, nan=-1.0).astype("<f8").tobytes())

    def question(self, schema: Mapping[str, Any], *, columns: slice = slice(None)) -> ValueQuestion:
        options = self.options
        return ValueQuestion(
            scales=schema["value"],
            coverage=options.coverage,
            orders_weight=options.orders_weight,
            head_size=options.head_size,
            dropout=options.dropout,
            columns=columns,
        )

    def told(self, output: np.ndarray, inputs: SequenceInputs, rows: np.ndarray) -> np.ndarray:
        return np.column_stack([output, inputs.dataset.tenure_N.numpy()[rows]]).astype(np.float64)

    def estimator(self, spec: Spec) -> TabularRegressor:
        from clm_dl.baselines.tabular.regressor import TabularRegressor  # predicting shall not wait for scikit-learn

        return TabularRegressor.of(spec, impute=self.settings.impute, seed=self.settings.seed)

    def learnt(self, cases: Cases) -> np.ndarray:
        assert cases.outcome is not None
        return cases.outcome[:, 0]

    def calibrate(
        self, answers: Answers, cases: Cases, rows: np.ndarray, *, model: Any = None, aged: bool = False
    ) -> ValueCalibrator:
        """Mean, interval and orders; `aged`: long after training, when tenure counts, too."""
        assert cases.outcome is not None
        snapshots, value_N2, columns = cases.snapshots, cases.outcome[rows], answers.reshape(len(rows), -1)
        known = np.ones(len(rows), bool) if aged else snapshots.validation[rows]
        newest = known if aged else snapshots.calibration[rows]

        def mean(column: int, truth: int) -> ValueCalibrator:
            said, true = columns[known, column], value_N2[known, truth]
            if aged:
                return ValueCalibrator().fit(said, true, columns[known, TENURE] if answers.ndim > 1 else None)
            return ValueCalibrator().fit_over(said, true, cutoff=snapshots.cutoff[rows][known], newest=newest[known])

        calibrator = mean(MEAN, 0)
        if answers.ndim == 1:
            return calibrator
        calibrator.orders = mean(ORDERS, 1)
        if calibrator.told:
            calibrator.told = f"{calibrator.told}; orders: {calibrator.orders.told}"
        low, high, spend = columns[newest, LOW], columns[newest, HIGH], value_N2[newest, 0]
        return calibrator.fit_interval(low, high, spend, coverage=self.options.coverage)

    def read_calibration(self, state: Mapping[str, Any]) -> ValueCalibrator:
        return ValueCalibrator.from_dict(state)

    def write(self, cases: Cases, rows: np.ndarray, answers: Answers, calibration: Any, *, model: str) -> pd.DataFrame:
        cases = cases.select(rows)
        value_N2 = np.full((len(cases), 2), np.nan) if cases.outcome is None else cases.outcome
        further: dict[str, np.ndarray] = {}
        if answers.ndim == 1:
            mean, score = answers, calibration.predict(answers)
        else:  # all but the median is calibrated
            mean, score = answers[:, MEAN], calibration.predict(answers[:, MEAN], answers[:, TENURE])
            low, high = calibration.interval(answers[:, LOW], answers[:, HIGH])
            orders = calibration.orders or ValueCalibrator()
            further = {"median": answers[:, MEDIAN], "low": low, "high": high}
            further["expected_orders"] = orders.predict(answers[:, ORDERS], answers[:, TENURE])
        columns = {"score": score, "score_raw": mean, "spend": value_N2[:, 0], "orders": value_N2[:, 1]}
        return value_table(cases.store, cases.snapshots, task=self.name, model=model, further=further, **columns)

    # --- figures

    @property
    def pages(self) -> Pages:
        from clm_dl.tasks.value.pages import ValuePages  # draws

        return ValuePages(self.metrics)

    def metrics(self, summary: Mapping[str, Any] | None = None) -> Metrics:
        return METRICS

    def read(self, scores: pd.DataFrame, split: str, *, models: Sequence[str] | None = None) -> ValueScores:
        return read_values(scores, split, models)

    def measure(self, table: ValueScores, *, raw: bool = False) -> Measure:
        return value_measure(table, table.raw if raw else table.forecasts)

    def reference(self, table: ValueScores) -> dict[str, Any]:
        return reference(table)

    def extras(self, tables: Mapping[str, Any], cases: Iterable[Cases]) -> dict[str, Any]:
        return {"interval": self.options.coverage}


def value_scales(value_N2: np.ndarray) -> dict[str, float]:
    """What the outputs are relative to, from training's spend and orders: see `distribution.ValueDistribution`."""
    spend, orders = value_N2[:, 0], value_N2[:, 1]
    logs = np.log(spend[spend > 0])
    return {
        "center": float(logs.mean()),
        "scale": max(float(logs.std()), SMALLEST_SCALE),
        "largest": float(spend.max()),
        "orders": float(orders.mean()),
    }
