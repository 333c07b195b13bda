"""Survival metrics on a grid of horizons: Brier and concordance weighted for censoring, calibration by horizon, with a
customer bootstrap.

A label is 1 active through the horizon, 0 left before it, NaN censored. Labels of one snapshot go 1 … 1 0 … 0 and end
in NaN where it was not followed further, so time is the interval in which a customer left: two that left in the same
interval are not compared.

Shapes: N snapshots, S horizons, C customers, R resamples, K metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clm_dl.evaluation.bootstrap import BLOCK, Bootstrap, draw
from clm_dl.evaluation.classification import accumulate, log_loss_terms, rank

Floats = NDArray[np.float64]
BINS = 15


def metric_names(horizons_days: Sequence[float]) -> tuple[str, ...]:
    """Of the whole curve, then by horizon: c_index, ibs, log_loss (mean over horizons), ece (of the worst horizon),
    auroc@28, …
    """
    each = [f"{name}@{days:g}" for days in horizons_days for name in ("auroc", "log_loss", "brier", "ece")]
    return "c_index", "ibs", "log_loss", "ece", *each


def still_followed(label_NS: ArrayLike) -> Floats:
    """[S]: Kaplan–Meier estimate of the chance to be followed through each horizon, censoring being the event (Graf et
    al. 1999).
    """
    label_NS = np.asarray(label_NS, dtype=float)
    at_risk_NS = _reached(label_NS)
    at_risk_S, censored_S = at_risk_NS.sum(axis=0), (at_risk_NS & np.isnan(label_NS)).sum(axis=0)
    return np.cumprod(1 - np.divide(censored_S, at_risk_S, out=np.zeros(len(at_risk_S)), where=at_risk_S > 0))


def left_in(label_NS: ArrayLike) -> NDArray[np.bool_]:
    """[N, S]: whether the customer left in the interval that ends at the horizon."""
    label_NS = np.asarray(label_NS, dtype=float)
    return _reached(label_NS) & (label_NS == 0)


def brier_terms(label_NS: ArrayLike, active_NS: ArrayLike) -> Floats:
    """[N, S]: squared errors of P(active), weighted by 1 / P(still followed), 0 where censored; their mean is the Brier
    score.
    """
    label_NS, active_NS = np.asarray(label_NS, dtype=float), np.asarray(active_NS, dtype=float)
    followed_S = still_followed(label_NS)
    weight_S = np.divide(1.0, followed_S, out=np.zeros_like(followed_S), where=followed_S > 0)
    left_NS = np.cumsum(left_in(label_NS) * weight_S, axis=1)  # weighted as of the interval in which they left
    terms_NS: Floats = active_NS**2 * left_NS + (1 - active_NS) ** 2 * (label_NS == 1) * weight_S
    return terms_NS


def integrate(value_RS: Floats, horizons_days: Sequence[float]) -> Floats:
    """[R]: mean over the time from the first to the last horizon, by the trapezoidal rule; of a single horizon its
    value.
    """
    days_S = np.asarray(horizons_days, dtype=float)
    if len(days_S) == 1:
        return value_RS[:, 0]
    return np.asarray(np.trapezoid(value_RS, days_S, axis=1) / (days_S[-1] - days_S[0]))


def integrated_brier(label_NS: ArrayLike, active_NS: ArrayLike, horizons_days: Sequence[float]) -> float:
    """Integrated Brier score with inverse-probability-of-censoring weights (Graf et al. 1999)."""
    return float(integrate(brier_terms(label_NS, active_NS).mean(axis=0)[None], horizons_days)[0])


def c_index(label_NS: ArrayLike, lifetime_N: ArrayLike) -> float:
    """P(who left later has the longer predicted lifetime), weighted for censoring (Uno et al. 2011), ties half; NaN
    without pairs.
    """
    lifetime_N = np.asarray(lifetime_N, dtype=float)
    return float(_Concordance(np.asarray(label_NS, dtype=float), lifetime_N)(np.ones((1, len(lifetime_N))))[0])


def restricted_mean(active_NS: ArrayLike, horizons_days: Sequence[float]) -> Floats:
    """[N]: expected remaining lifetime in days up to the last horizon: the area under the curve, linear between
    horizons.
    """
    active_NS, days = np.asarray(active_NS, dtype=float), [float(value) for value in horizons_days]
    if days[0] > 0:
        days, active_NS = [0.0, *days], np.column_stack([np.ones(len(active_NS)), active_NS])
    return np.asarray(np.trapezoid(active_NS, days, axis=1))


def hazards(active_NS: ArrayLike) -> Floats:
    """[N, S]: P(left by the horizon | active through the one before), of the first horizon P(left by it); 1 where nobody is left."""
    active_NS = np.asarray(active_NS, dtype=float)
    before_NS = np.column_stack([np.ones(len(active_NS)), active_NS[:, :-1]])
    return 1 - np.divide(active_NS, before_NS, out=np.zeros_like(active_NS), where=before_NS > 0)


def survival_bootstrap(
    customer: ArrayLike,
    label_NS: ArrayLike,
    curves: Mapping[str, ArrayLike],
    horizons_days: Sequence[float],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Bootstrap:
    """Metrics of `curves` (model -> P(active) [N, S]), resampled by `customer` [N]; P(still followed) is that of the
    whole sample.

    The same seed and customers give the same resamples whatever the models.
    """
    label_NS = np.asarray(label_NS, dtype=float)
    code_N = np.unique(np.asarray(customer), return_inverse=True)[1]
    num_customers = int(code_N.max()) + 1 if len(code_N) else 0
    plans = [
        _Plan(label_NS, np.asarray(curve, dtype=float), code_N, num_customers, horizons_days)
        for curve in curves.values()
    ]
    names = metric_names(horizons_days)
    value = np.array([plan(np.ones((1, num_customers)))[0] for plan in plans]).reshape(len(plans), len(names))
    resampled = np.full((resamples, len(plans), len(names)), np.nan)
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK // max(1, len(code_N)))
    for start in range(0, resamples if num_customers else 0, block):
        weight_RC = draw(rng, min(block, resamples - start), num_customers)
        for m, plan in enumerate(plans):
            resampled[start : start + block, m] = plan(weight_RC)
    return Bootstrap(tuple(curves), value, resampled, names)


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
        self.horizons, self.code_N = horizons_days, code_N
        self.concordance = _Concordance(label_NS, restricted_mean(active_NS, horizons_days))

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
            order = rank(active_N)
            rows_N = order.rows_N
            self.each.append((label_N[rows_N], active_N[rows_N], code_N[known_N][rows_N], order.ends_G, terms_C3))

    def __call__(self, weight_RC: Floats) -> Floats:
        """[R, C] -> [R, K] in the order of `metric_names`."""
        weight_RN = np.take(weight_RC, self.code_N, axis=1, mode="clip")
        with np.errstate(invalid="ignore", divide="ignore"):
            ibs_R = integrate(weight_RC @ self.brier_CS / weight_RN.sum(axis=1, keepdims=True), self.horizons)
            each = []
            for label_N, active_N, code_N, ends_G, terms_C3 in self.each:
                curve = accumulate(label_N, active_N, ends_G, np.take(weight_RC, code_N, axis=1, mode="clip"))
                rows_R, log_loss_R, squared_R = (weight_RC @ terms_C3).T
                each.append(np.stack([curve.auroc(), log_loss_R / rows_R, squared_R / rows_R, curve.ece(BINS)], axis=1))
        each_RS4 = np.stack(each, axis=1)
        whole = (self.concordance(weight_RN), ibs_R, each_RS4[:, :, 1].mean(axis=1), each_RS4[:, :, 3].max(axis=1))
        return np.column_stack([*whole, each_RS4.reshape(len(weight_RC), -1)])


class _Concordance:
    """Pairs of who left in an interval and who was active through it, summed over intervals: an AUC for each, in one
    ranking.
    """

    def __init__(self, label_NS: Floats, lifetime_N: Floats) -> None:
        order = rank(-lifetime_N)  # the shortest predicted lifetime first
        self.rows_N, self.ends_G = order.rows_N, order.ends_G
        self.left_NS, self.active_NS = left_in(label_NS)[self.rows_N], label_NS[self.rows_N] == 1
        followed_S = still_followed(label_NS)
        self.weight_S = np.divide(1.0, followed_S**2, out=np.zeros_like(followed_S), where=followed_S > 0)

    def __call__(self, weight_RN: Floats) -> Floats:
        """[R, N] -> [R]."""
        sorted_RN = np.take(weight_RN, self.rows_N, axis=1)
        concordant_R, pairs_R = np.zeros(len(weight_RN)), np.zeros(len(weight_RN))
        for left_N, active_N, weight in zip(self.left_NS.T, self.active_NS.T, self.weight_S, strict=True):
            known_N = left_N | active_N
            curve = accumulate(left_N.astype(float), np.zeros(len(left_N)), self.ends_G, sorted_RN * known_N)
            active_RG = curve.mass - curve.positive
            concordant_R += (
                weight * np.einsum("rg,rg->r", np.diff(active_RG), curve.positive[:, 1:] + curve.positive[:, :-1]) / 2
            )
            pairs_R += weight * curve.positive[:, -1] * active_RG[:, -1]
        return np.divide(concordant_R, pairs_R, out=np.full(len(pairs_R), np.nan), where=pairs_R > 0)


def _reached(label_NS: Floats) -> NDArray[np.bool_]:
    """[N, S]: active through, and followed through, the horizon before; the first interval is reached by all."""
    return np.column_stack([np.ones(len(label_NS), dtype=bool), label_NS[:, :-1] == 1])
