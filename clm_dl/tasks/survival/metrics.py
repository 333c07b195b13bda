"""Survival metrics on a grid of horizons: Brier and concordance weighted for censoring, calibration by horizon, with a
customer bootstrap.

A label is 1 active through the horizon, 0 left before it, NaN censored. Labels of one snapshot go 1 … 1 0 … 0 and end
in NaN where it was not followed further, so time is the interval in which a customer left: two that left in the same
interval are not compared.

Shapes: N snapshots, S horizons, C customers, R resamples, K metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clm_dl.evaluation.bootstrap import Measure, customer_codes
from clm_dl.evaluation.classification import log_loss, log_loss_terms
from clm_dl.evaluation.metric import Metric, Metrics
from clm_dl.evaluation.ranked import Ranking
from clm_dl.tasks.survival.scores import CurveScores

Floats = NDArray[np.float64]
BINS = 15
BY_HORIZON: tuple[tuple[str, str, Literal["high", "low"]], ...] = (
    ("auroc", "AUC", "high"),
    ("log_loss", "log loss", "low"),
    ("brier", "Brier", "low"),
    ("ece", "ECE", "low"),
)


def known_metrics(horizons_days: Sequence[float]) -> Metrics:
    """Of the whole curve (log loss is the mean over horizons, ECE that of the worst), then by horizon: auroc@28, …"""
    each = [
        Metric(f"{name}@{days:g}", f"{title}, {days:g} days", better, distance=name == "ece")
        for days in horizons_days
        for name, title, better in BY_HORIZON
    ]
    return Metrics(
        [
            Metric("c_index", "C-index", shown="main"),
            Metric("ibs", "integrated Brier", "low", shown="tile"),
            Metric("log_loss", "log loss", "low", shown="table"),
            Metric("ece", "ECE, worst", "low", shown="tile", distance=True),
            *each,
        ]
    )


def still_followed(label_NS: ArrayLike) -> Floats:
    """[S]: Kaplan–Meier estimate of the chance to be followed through each horizon, censoring the event (Graf 1999)."""
    label_NS = np.asarray(label_NS, dtype=float)
    at_risk_NS = _reached(label_NS)
    at_risk_S, censored_S = at_risk_NS.sum(axis=0), (at_risk_NS & np.isnan(label_NS)).sum(axis=0)
    return np.cumprod(1 - np.divide(censored_S, at_risk_S, out=np.zeros(len(at_risk_S)), where=at_risk_S > 0))


def left_in(label_NS: ArrayLike) -> NDArray[np.bool_]:
    """[N, S]: whether the customer left in the interval that ends at the horizon."""
    label_NS = np.asarray(label_NS, dtype=float)
    return _reached(label_NS) & (label_NS == 0)


def brier_terms(label_NS: ArrayLike, active_NS: ArrayLike) -> Floats:
    """[N, S]: squared errors of P(active) / P(still followed), 0 where censored; their mean is the Brier score."""
    label_NS, active_NS = np.asarray(label_NS, dtype=float), np.asarray(active_NS, dtype=float)
    followed_S = still_followed(label_NS)
    weight_S = np.divide(1.0, followed_S, out=np.zeros_like(followed_S), where=followed_S > 0)
    left_NS = np.cumsum(left_in(label_NS) * weight_S, axis=1)  # weighted as of the interval in which they left
    terms_NS: Floats = active_NS**2 * left_NS + (1 - active_NS) ** 2 * (label_NS == 1) * weight_S
    return terms_NS


def integrate(value_RS: Floats, horizons_days: Sequence[float]) -> Floats:
    """[R]: mean over the time from the first to the last horizon, by the trapezoidal rule; of one horizon its value."""
    days_S = np.asarray(horizons_days, dtype=float)
    if len(days_S) == 1:
        return value_RS[:, 0]
    return np.asarray(np.trapezoid(value_RS, days_S, axis=1) / (days_S[-1] - days_S[0]))


def integrated_brier(label_NS: ArrayLike, active_NS: ArrayLike, horizons_days: Sequence[float]) -> float:
    """Integrated Brier score with inverse-probability-of-censoring weights (Graf et al. 1999)."""
    return float(integrate(brier_terms(label_NS, active_NS).mean(axis=0)[None], horizons_days)[0])


def c_index(label_NS: ArrayLike, lifetime_N: ArrayLike) -> float:
    """P(who left later has the longer predicted lifetime), censoring-weighted (Uno 2011), ties half; NaN: no pairs."""
    lifetime_N = np.asarray(lifetime_N, dtype=float)
    return float(_Concordance(np.asarray(label_NS, dtype=float), lifetime_N)(np.ones((1, len(lifetime_N))))[0])


def restricted_mean(active_NS: ArrayLike, horizons_days: Sequence[float]) -> Floats:
    """[N]: expected remaining lifetime, days up to the last horizon: area under the curve, linear between horizons."""
    active_NS, days = np.asarray(active_NS, dtype=float), [float(value) for value in horizons_days]
    if days[0] > 0:
        days, active_NS = [0.0, *days], np.column_stack([np.ones(len(active_NS)), active_NS])
    return np.asarray(np.trapezoid(active_NS, days, axis=1))


def hazards(active_NS: ArrayLike) -> Floats:
    """[N, S]: P(left by the horizon | active through the one before); 1 where nobody is left."""
    active_NS = np.asarray(active_NS, dtype=float)
    before_NS = np.column_stack([np.ones(len(active_NS)), active_NS[:, :-1]])
    return 1 - np.divide(active_NS, before_NS, out=np.zeros_like(active_NS), where=before_NS > 0)


def survival_measure(table: CurveScores, curves: Mapping[str, Floats], horizons_days: Sequence[float]) -> Measure:
    """Metrics of `curves` (model -> P(active) [N, S]); P(still followed) is that of the whole sample."""
    code_N, num = customer_codes(table.customer)
    plans = {name: _Plan(table.label, curve, code_N, num, horizons_days) for name, curve in curves.items()}
    known = known_metrics(horizons_days)
    return Measure(
        tuple(curves),
        tuple(metric.name for metric in known),
        lambda weight_RC: np.stack([plan(weight_RC) for plan in plans.values()], axis=1),
        num,
        num,
        distances=known.distances,
        each=plans,
    )


def reference(table: CurveScores, horizons_days: Sequence[float]) -> dict[str, Any]:
    """How many are active through each horizon, and what the same curve for everyone, that of this split, reaches."""
    label_NS = table.label
    known_NS = ~np.isnan(label_NS)
    names = [f"{days:g}" for days in horizons_days]
    active_S = np.divide(
        np.nansum(label_NS, axis=0), known_NS.sum(axis=0), out=np.full(len(names), np.nan), where=known_NS.any(axis=0)
    )
    floor = {"c_index": 0.5} | {f"auroc@{name}": 0.5 for name in names}
    if known_NS.any(axis=0).all():
        floor["ibs"] = integrated_brier(label_NS, np.broadcast_to(active_S, label_NS.shape), horizons_days)
        losses = [
            log_loss(label_N[known_N], np.full(int(known_N.sum()), active))
            for label_N, known_N, active in zip(label_NS.T, known_NS.T, active_S, strict=True)
        ]
        floor["log_loss"] = float(np.mean(losses))
        floor |= {f"log_loss@{name}": loss for name, loss in zip(names, losses, strict=True)}
        floor |= {f"brier@{name}": active * (1 - active) for name, active in zip(names, active_S.tolist(), strict=True)}
    return {
        "snapshots": len(label_NS),
        "customers": len(np.unique(table.customer)),
        "censored": dict(zip(names, (~known_NS).sum(axis=0).tolist(), strict=True)),
        "active": dict(zip(names, active_S.tolist(), strict=True)),
        "floor": floor,
    }


class _Plan:
    """One model's metrics for any weighting of customers."""

    def __init__(
        self,
        label_NS: Floats,
        active_NS: Floats,
        code_N: NDArray[np.int64],
        num_customers: int,
        horizons_days: Sequence[float],
    ) -> None:
        self.horizons = horizons_days
        self.concordance = _Concordance(label_NS, restricted_mean(active_NS, horizons_days), code_N)
        self.rows_C = np.bincount(code_N, minlength=num_customers).astype(np.float64)

        def by_customer(term_N: Floats, rows_N: NDArray[np.bool_] | None = None) -> Floats:
            code = code_N if rows_N is None else code_N[rows_N]
            return np.bincount(code, weights=term_N, minlength=num_customers).astype(np.float64)

        self.brier_CS = np.column_stack([by_customer(terms_N) for terms_N in brier_terms(label_NS, active_NS).T])
        self.each = []
        for label_N, active_N in zip(label_NS.T, active_NS.T, strict=True):
            known_N = ~np.isnan(label_N)
            label_N, active_N = label_N[known_N], active_N[known_N]
            terms_C3 = np.column_stack(
                [
                    by_customer(term_N, known_N)
                    for term_N in (np.ones_like(label_N), log_loss_terms(label_N, active_N), (label_N - active_N) ** 2)
                ]
            )
            self.each.append((Ranking(label_N, active_N, code_N[known_N]), terms_C3))

    def __call__(self, weight_RC: Floats) -> Floats:
        """[R, C] -> [R, K] in the order of `known_metrics`."""
        with np.errstate(invalid="ignore", divide="ignore"):
            ibs_R = integrate(weight_RC @ self.brier_CS / (weight_RC @ self.rows_C)[:, None], self.horizons)
            each = []
            for ranking, terms_C3 in self.each:
                ranked = ranking(weight_RC, bins=BINS)
                rows_R, log_loss_R, squared_R = (weight_RC @ terms_C3).T
                each.append(np.stack([ranked.auroc(), log_loss_R / rows_R, squared_R / rows_R, ranked.ece()], axis=1))
        each_RS4 = np.stack(each, axis=1)
        whole = (self.concordance(weight_RC), ibs_R, each_RS4[:, :, 1].mean(axis=1), each_RS4[:, :, 3].max(axis=1))
        return np.column_stack([*whole, each_RS4.reshape(len(weight_RC), -1)])


class _Concordance:
    """Pairs of who left in an interval and who was active through it, summed over intervals: an AUC for each."""

    def __init__(self, label_NS: Floats, lifetime_N: Floats, code_N: NDArray[np.int64] | None = None) -> None:
        code_N = np.arange(len(lifetime_N)) if code_N is None else code_N
        self.rankings = []  # of who is known in each interval: the shortest predicted lifetime first
        for left_N, active_N in zip(left_in(label_NS).T, (label_NS == 1).T, strict=True):
            known_N = left_N | active_N
            self.rankings.append(Ranking(left_N[known_N], -lifetime_N[known_N], code_N[known_N]))
        followed_S = still_followed(label_NS)
        self.weight_S = np.divide(1.0, followed_S**2, out=np.zeros_like(followed_S), where=followed_S > 0)

    def __call__(self, weight_RC: Floats) -> Floats:
        """[R, C] -> [R]."""
        concordant_R, pairs_R = np.zeros(len(weight_RC)), np.zeros(len(weight_RC))
        for ranking, weight in zip(self.rankings, self.weight_S.tolist(), strict=True):
            ranked = ranking(weight_RC)
            concordant_R += weight * (ranked.area - ranked.gain**2 / 2)
            pairs_R += weight * ranked.gain * (ranked.mass - ranked.gain)
        return np.divide(concordant_R, pairs_R, out=np.full(len(pairs_R), np.nan), where=pairs_R > 0)


def _reached(label_NS: Floats) -> NDArray[np.bool_]:
    """[N, S]: active through, and followed through, the horizon before; the first interval is reached by all."""
    return np.column_stack([np.ones(len(label_NS), dtype=bool), label_NS[:, :-1] == 1])
