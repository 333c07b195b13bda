"""Economics: discounted customer lifetime value, the convention of its periods said aloud, and the rates around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from clm_dl.errors import UserError


def discounted_clv(cash_flows: ArrayLike, rate: float, *, start_of_period: bool = False) -> float | np.ndarray:
    """Present value of cash flows `[…, P]` at an interest `rate` a period: Σ flow_k / (1 + rate)^k.

    Args:
        cash_flows: one number a period, the next period first; several customers are rows.
        rate: 0.1 is 10 % a period, in the period of the cash flows.
        start_of_period: false: flows come at the end of their period, so k = 1, 2, …; true: at its start, so k = 0, 1,
            …

    Returns:
        A float for one customer, an array `[…]` for several.
    """
    flows = np.asarray(cash_flows, dtype=np.float64)
    if flows.ndim == 0 or flows.shape[-1] == 0:
        raise UserError("cash_flows is empty: give one number a period")
    if not np.isfinite(flows).all():
        raise UserError("cash_flows must be finite, got a missing or infinite one: give 0 for a period without")
    _check_rate(rate)
    value = flows @ (1.0 + rate) ** -(np.arange(flows.shape[-1]) + (0.0 if start_of_period else 1.0))
    return float(value) if value.ndim == 0 else np.asarray(value)


def retention_clv(
    margin: ArrayLike,
    retention: ArrayLike,
    rate: float,
    *,
    num_periods: int | None = None,
    start_of_period: bool = False,
) -> float | np.ndarray:
    """Discounted value of customers who each period stay with chance `retention` and then bring `margin`.

    At the end of period k = 1, 2, … whoever is still there, retention^k of them, pays; with `start_of_period` they pay
    when period k = 0, 1, … begins, the first time for certain.

    Args:
        margin: profit a period and customer (revenue × margin rate − cost to serve), a number or `[N]`.
        retention: in [0, 1], a number or `[N]`. num_periods: null = for ever.
    """
    kept, profit = np.asarray(retention, dtype=np.float64), np.asarray(margin, dtype=np.float64)
    share = (kept >= 0) & (kept <= 1)
    if not share.all():
        raise UserError(
            f"retention is a share of the customers a period and must be in [0, 1], got {kept[~share].flat[0]:g}"
        )
    _check_rate(rate)
    factor = kept / (1.0 + rate)
    if num_periods is None and (factor >= 1).any():
        raise UserError("retention ≥ 1 + rate never ends: give num_periods, or a rate above 0")
    if num_periods is not None and num_periods < 1:
        raise UserError(f"num_periods must be ≥ 1 or null, got {num_periods}")
    series = 1 / (1 - factor) if num_periods is None else (factor[..., None] ** np.arange(num_periods)).sum(-1)
    value = profit * series * (1.0 if start_of_period else factor)
    return float(value) if value.ndim == 0 else np.asarray(value)


def cohort_rates(num_start: float, num_lost: float) -> tuple[float, float]:
    """Churn and retention of a period, shares of the customers at its start that sum to 1; newcomers do not count."""
    if not 0 <= num_lost <= num_start or num_start == 0:
        raise UserError(f"of {num_start:g} customers at the start {num_lost:g} cannot have left: count the same cohort")
    return num_lost / num_start, (num_start - num_lost) / num_start


def acquisition_cost(spend: float, num_acquired: float) -> float:
    """CAC: spend on acquisition over the customers acquired by it."""
    if not (spend >= 0 and num_acquired > 0):
        raise UserError(
            f"acquisition cost needs spend ≥ 0 and at least one customer acquired, got {spend:g} and {num_acquired:g}"
        )
    return spend / num_acquired


def _check_rate(rate: float) -> None:
    if not (np.isfinite(rate) and rate > -1):
        raise UserError(f"rate is the interest a period and must be > −1, got {rate} (10 % is 0.1)")
