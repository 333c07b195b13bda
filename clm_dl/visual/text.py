"""Figures as text: .857 [.849, .865], +.0042, better, worse or a tie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Figure = Mapping[str, float | None]  # {"value", "low", "high"}
UNDEFINED: Figure = {"value": None, "low": None, "high": None}
# whatever follows an @
LOWER_IS_BETTER = {"log_loss", "brier", "ece", "ibs", "loss", "decile_mape", "mae", "rmse", "orders_mae", "width"}
NEITHER = (
    "novelty@",
    "diversity@",
    "popularity@",
    "repeat_ratio@",
    "bias",
    "orders_bias",
    "coverage",
)  # metrics that describe and do not judge
TWO_DIGITS = ("lift@", "novelty@", "mae", "rmse", "width")  # metrics that are no shares


def lower_is_better(metric: str) -> bool:
    """Whether a smaller figure is the better one."""
    return metric.split("@")[0] in LOWER_IS_BETTER


def digits(metric: str) -> int:
    """Decimals that a metric is shown with."""
    return 2 if metric.startswith(TWO_DIGITS) else 3


def number(value: float | None, digits: int = 3) -> str:
    """.857, 1.22, −.004, and – where undefined."""
    if value is None:
        return "–"
    text = f"{abs(value):.{digits}f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + (text[1:] if text.startswith("0.") else text)


def with_interval(found: Figure, digits: int = 3) -> str:
    """.857 [.849, .865], or .857 where there is no interval."""
    text = number(found["value"], digits)
    if found["value"] is None or found["low"] is None:
        return text
    return f"{text} [{number(found['low'], digits)}, {number(found['high'], digits)}]"


def signed(found: Figure, digits: int = 4) -> str:
    """+.0042 [−.0010, +.0094]"""
    value, low, high = (
        ("+" if part is not None and part > 0 else "") + number(part, digits)
        for part in (found["value"], found["low"], found["high"])
    )
    return f"{value} [{low}, {high}]"


def mean_sd(found: tuple[float, float], digits: int = 3) -> str:
    """.857 ± .002, or .857 for one seed."""
    mean, deviation = (None if math.isnan(part) else part for part in found)
    return number(mean, digits) + (f" ± {number(deviation, digits)}" if deviation is not None else "")


def verdict(difference: Figure, metric: str) -> str:
    """better, worse or a tie: whether the interval of a difference excludes 0."""
    low, high = difference["low"], difference["high"]
    if low is None or high is None:
        return "undefined"
    if low <= 0 <= high:
        return "a tie"
    return "better" if (low > 0) != lower_is_better(metric) else "worse"


def best_value(metric: str, values: Sequence[float | None]) -> float | None:
    """The best of the values that are defined; None where there are none, or no best."""
    known = [value for value in values if value is not None and not metric.startswith(NEITHER)]
    return (min if lower_is_better(metric) else max)(known) if known else None
