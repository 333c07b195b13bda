"""BasketValueTask: what a customer's next order is worth, whenever it comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clm_dl.baselines.spec import Spec
from clm_dl.data.snapshots.snapshots import Snapshots, build_snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.evaluation.bootstrap import Measure
from clm_dl.evaluation.metric import Metrics
from clm_dl.tasks.base import Answers
from clm_dl.tasks.basket_value.calibration import LogNormalCalibrator
from clm_dl.tasks.basket_value.metrics import METRICS, basket_measure, reference
from clm_dl.tasks.basket_value.next_order import next_order
from clm_dl.tasks.basket_value.question import BasketQuestion
from clm_dl.tasks.basket_value.scores import BasketScores, read_baskets
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.options import HeadOptions
from clm_dl.tasks.snapshots import SnapshotTask
from clm_dl.tasks.value.scores import value_table

if TYPE_CHECKING:
    from clm_dl.tasks.basket_value.baselines import LogAmountRegressor
    from clm_dl.visual.pages import Pages

SMALLEST_SCALE = 1e-2  # of log amounts that hardly differ
AMOUNT, DAYS = range(2)  # columns of an outcome


class BasketValueTask(SnapshotTask):
    """An outcome is (amount, days until it) `[N, 2]`, NaN unknown; answers are expected log amounts `[N]`. A label says
    no more than that an order is known.
    """

    name = "basket_value"
    monitor = "val/nll"
    watched = ("decile_mape",)
    options_type = HeadOptions
    num_targets = 1

    def check(self) -> None:
        labels = self.settings.labels["name"]
        if labels != "no_event":
            raise UserError(f"task=basket_value has labels of its own, got labels={labels}: set labels=no_event")

    # --- who is asked, and what came true

    def outcome(self, store: EventStore, snapshots: Snapshots) -> tuple[np.ndarray, np.ndarray]:
        order_N2 = next_order(store, snapshots)
        return order_N2, order_N2[:, [AMOUNT]].astype(np.float32)

    def cases(self, store: EventStore, *, fold: int = 0) -> Cases:
        assert self.settings.rule is not None
        snapshots = build_snapshots(store, self.settings.rule, fold=fold, labels=self.settings.labels)
        cases = self._cases(store, snapshots)
        label = np.where(np.isnan(self.learnt(cases)), np.nan, 1.0)
        cases = replace(cases, snapshots=replace(snapshots, label=label))
        self.check_cases(cases)
        return cases

    def check_cases(self, cases: Cases) -> None:
        for split in ("train", "val", "test"):
            known = ~np.isnan(self.learnt(cases)[cases.snapshots.split == split])
            if known.sum() < 2:
                raise UserError(
                    f"{known.sum()} of {len(known):,} snapshots in {split} are followed by an order above 0 that may "
                    "be known: choose earlier cutoffs or check data.roles.amount"
                )

    def fingerprint(self, cases: Cases) -> str:
        assert cases.outcome is not None
        return cases.digest(np.nan_to_num(cases.outcome, nan=-1.0).astype("<f8").tobytes())

    # --- network and baselines

    def head_schema(self, cases: Cases) -> dict[str, Any]:
        """The scale of the head, of the log amounts of training."""
        logs = np.log(self.learnt(cases)[cases.snapshots.training])
        return {self.name: {"center": float(logs.mean()), "scale": max(float(logs.std()), SMALLEST_SCALE)}}

    def blank_schema(self) -> dict[str, Any]:
        return super().blank_schema() | {self.name: {"center": 0.0, "scale": 1.0}}

    def question(self, schema: Mapping[str, Any], *, columns: slice = slice(None)) -> BasketQuestion:
        options = {"head_size": self.options.head_size, "dropout": self.options.dropout}
        return BasketQuestion(scales=schema[self.name], columns=columns, **options)

    def estimator(self, spec: Spec) -> LogAmountRegressor:
        from clm_dl.tasks.basket_value.baselines import LogAmountRegressor  # waits for scikit-learn

        return LogAmountRegressor.of(spec, impute=self.settings.impute, seed=self.settings.seed)

    def learnt(self, cases: Cases) -> np.ndarray:
        assert cases.outcome is not None
        return cases.outcome[:, AMOUNT]

    # --- calibration, and the Scores table

    def calibrate(
        self, answers: Answers, cases: Cases, rows: np.ndarray, *, model: Any = None, aged: bool = False
    ) -> LogNormalCalibrator:
        """`aged`: on next orders within the label window, which are known when the next cutoff asks for them."""
        assert cases.outcome is not None
        part, order_N2 = cases.snapshots, cases.outcome[rows]
        window = part.gap_days + part.horizon_days
        if aged:
            soon = order_N2[:, DAYS] < window
            return LogNormalCalibrator().fit(answers[soon], order_N2[soon, AMOUNT])
        known = part.validation[rows]
        at = {"cutoff": part.cutoff[rows][known], "newest": part.calibration[rows][known]}
        return LogNormalCalibrator().fit_over(answers[known], order_N2[known, AMOUNT], **at)

    def read_calibration(self, state: Mapping[str, Any]) -> LogNormalCalibrator:
        return LogNormalCalibrator.from_dict(state)

    def write(self, cases: Cases, rows: np.ndarray, answers: Answers, calibration: Any, *, model: str) -> pd.DataFrame:
        """Rows whose score is the expected amount, beside it the median."""
        cases = cases.select(rows)
        amount = np.full(len(cases), np.nan) if cases.outcome is None else self.learnt(cases)
        return value_table(
            cases.store,
            cases.snapshots,
            task=self.name,
            model=model,
            score=calibration.mean(answers),
            score_raw=np.exp(answers),
            spend=amount,
            orders=np.full(len(cases), np.nan),
            further={"median": calibration.median(answers)},
        )

    # --- figures

    @property
    def pages(self) -> Pages:
        from clm_dl.tasks.basket_value.pages import BasketPages  # draws

        return BasketPages(self.metrics)

    def metrics(self, summary: Mapping[str, Any] | None = None) -> Metrics:
        return METRICS

    def read(self, scores: pd.DataFrame, split: str, *, models: Sequence[str] | None = None) -> BasketScores:
        return read_baskets(scores, split, models)

    def measure(self, table: BasketScores, *, raw: bool = False) -> Measure:
        return basket_measure(table, raw=raw)

    def reference(self, table: BasketScores) -> dict[str, Any]:
        return reference(table)
