"""Metrics of a binary label on the same resamples of customers, and what constant scores reach.

Shapes: N snapshots, C customers, R resamples, M models, K metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clm_dl.evaluation.bootstrap import Measure, customer_codes
from clm_dl.evaluation.classification import (
    Confusion,
    confusion_cells,
    lift_ceiling,
    log_loss,
    log_loss_terms,
    majority_floor,
)
from clm_dl.evaluation.metric import Metric, Metrics
from clm_dl.evaluation.ranked import Ranking
from clm_dl.tasks.churn.scores import ScoreTable

Floats = NDArray[np.float64]
BINS = 15
METRICS = Metrics(
    [
        Metric("auroc", "AUC", shown="main"),
        Metric("auprc", "PR-AUC", shown="table"),
        Metric("auprc_stay", "PR-AUC of staying"),
        Metric("log_loss", "log loss", "low", shown="tile"),
        Metric("brier", "Brier", "low"),
        Metric("ece", "ECE", "low", shown="table", paired=False, distance=True),
        Metric("lift@10", "lift@10 %", digits=2, shown="tile"),
        Metric("recall@10", "recall@10 %"),
        Metric("accuracy", "accuracy"),
        Metric("f1", "F1"),
        Metric("precision", "precision", shown="file"),
        Metric("recall", "recall", shown="file"),
    ]
)


def binary_measure(table: ScoreTable, scores: Mapping[str, Floats], *, threshold: float) -> Measure:
    """The metrics of `scores` (model -> probabilities [N]); whoever has `threshold` or more counts as named."""
    code_N, num = customer_codes(table.customer)
    plans = {name: _Plan(table.label, score_N, code_N, num, threshold) for name, score_N in scores.items()}
    return Measure(
        tuple(scores),
        tuple(metric.name for metric in METRICS),
        lambda weight_RC: np.stack([plan(weight_RC) for plan in plans.values()], axis=1),
        num,
        num,
        distances=METRICS.distances,
        each=plans,
    )


class _Plan:
    """What one model's metrics need for any weighting of customers: its ranking, and sums of terms by customer."""

    def __init__(
        self, label_N: Floats, score_N: Floats, code_N: NDArray[np.int64], num_customers: int, threshold: float
    ) -> None:
        cells = confusion_cells(label_N, score_N >= threshold)
        terms = (np.ones_like(label_N), log_loss_terms(label_N, score_N), (label_N - score_N) ** 2, *cells)
        self.terms_C7 = np.column_stack(
            [np.bincount(code_N, weights=term_N, minlength=num_customers) for term_N in terms]
        )
        self.ranking = Ranking(label_N, score_N, code_N)

    def __call__(self, weight_RC: Floats) -> Floats:
        """[R, C] -> [R, K] in the order of METRICS."""
        ranked = self.ranking(weight_RC, bins=BINS, tops=[0.1])
        rows_R, log_loss_R, squared_R, *cells = (weight_RC @ self.terms_C7).T
        recall10_R = ranked.recall()[:, 0]
        with np.errstate(invalid="ignore", divide="ignore"):
            found = {
                "auroc": ranked.auroc(),
                "auprc": ranked.auprc(),
                "auprc_stay": ranked.auprc_stay(),
                "log_loss": log_loss_R / rows_R,
                "brier": squared_R / rows_R,
                "ece": ranked.ece(),
                "lift@10": recall10_R / 0.1,
                "recall@10": recall10_R,
            }
        confusions = [Confusion(*row) for row in np.array(cells).T.tolist()]
        for name in ("accuracy", "f1", "precision", "recall"):
            found[name] = np.array([getattr(confusion, name) for confusion in confusions])
        return np.column_stack([found[metric.name] for metric in METRICS])


def reference(table: ScoreTable) -> dict[str, Any]:
    """Counts, what a constant score reaches, and what nobody can exceed, at this prevalence."""
    label_N = table.label
    rate = float(label_N.mean()) if len(label_N) else float("nan")
    constant = log_loss(label_N, np.full(len(label_N), rate)) if len(label_N) else float("nan")
    return {
        "snapshots": len(label_N),
        "customers": len(np.unique(table.customer)),
        "censored": table.num_censored,
        "prevalence": rate,
        "floor": {
            "auroc": 0.5,
            "auprc": rate,
            "auprc_stay": 1 - rate,
            "log_loss": constant,
            "brier": rate * (1 - rate),
            "lift@10": 1.0,
            "recall@10": 0.1,
            "accuracy": majority_floor(label_N),
            "f1": 2 * rate / (1 + rate),
        },
        "ceiling": {"lift@10": lift_ceiling(rate), "recall@10": lift_ceiling(rate) * 0.1},
    }
