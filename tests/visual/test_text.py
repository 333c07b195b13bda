"""Figures as text."""

import pytest

from clm_dl.visual.text import number, signed, with_interval


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.8574, 3, ".857"),
        (1.2166, 2, "1.22"),
        (-0.0042, 3, "−.004"),
        (-0.0001, 3, ".000"),
        (None, 3, "–"),
        (1.0, 3, "1.000"),
    ],
)
def test_number(value: float | None, digits: int, text: str) -> None:
    assert number(value, digits) == text


def test_intervals() -> None:
    found = {"value": 0.857, "low": 0.849, "high": 0.865}
    assert with_interval(found) == ".857 [.849, .865]"
    assert signed({"value": 0.004, "low": -0.001, "high": 0.009}) == "+.0040 [−.0010, +.0090]"
