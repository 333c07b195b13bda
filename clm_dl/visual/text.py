"""Figures as text: .857 [.849, .865], +.0042."""

from __future__ import annotations

import math

from clm_dl.evaluation.metric import Figure


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
