"""Economics: the worked examples, conventions against explicit sums, bad input."""

from collections.abc import Callable

import numpy as np
import pytest

from clm_dl.lifecycle.economics import acquisition_cost, cohort_rates, discounted_clv, retention_clv

FLOWS = [1000, 800, 600, 500, 400]


def test_worked_example_of_both_conventions() -> None:
    assert round(discounted_clv(FLOWS, 0.1), 2) == 2610.91
    assert round(discounted_clv(FLOWS, 0.1, start_of_period=True), 2) == 2872.00


def test_customers_are_rows() -> None:
    both = discounted_clv([FLOWS, FLOWS[::-1]], 0.1)
    assert both.tolist() == pytest.approx([discounted_clv(FLOWS, 0.1), discounted_clv(FLOWS[::-1], 0.1)])
    assert discounted_clv(FLOWS, 0.0) == sum(FLOWS)


@pytest.mark.parametrize("start", [False, True])
def test_retention_is_a_stream_of_cash_flows(start: bool) -> None:
    survivors = 0.8 ** (np.arange(12) + (not start))
    assert retention_clv(50, 0.8, 0.1, num_periods=12, start_of_period=start) == pytest.approx(
        discounted_clv(50 * survivors, 0.1, start_of_period=start)
    )
    assert retention_clv(50, 0.8, 0.1, start_of_period=start) == pytest.approx(
        retention_clv(50, 0.8, 0.1, num_periods=1000, start_of_period=start)
    )
    assert retention_clv(50, 0.8, 0.1) == pytest.approx(50 * 0.8 / 0.3)  # m · r / (1 + d − r)
    np.testing.assert_allclose(retention_clv([50, 100], [0.8, 0.8], 0.1), [50 * 0.8 / 0.3, 100 * 0.8 / 0.3])


def test_one_denominator() -> None:
    assert cohort_rates(1000, 50) == (0.05, 0.95)
    assert acquisition_cost(5000, 100) == 50


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: discounted_clv([], 0.1), "cash_flows is empty"),
        (lambda: discounted_clv([1, float("nan")], 0.1), "cash_flows must be finite"),
        (lambda: discounted_clv([1], -1), "rate is the interest a period and must be > −1, got -1"),
        (lambda: retention_clv(1, 1.2, 0.1), r"retention .* must be in \[0, 1\], got 1.2"),
        (lambda: retention_clv(1, 1.0, 0.0), "never ends"),
        (lambda: retention_clv(1, 0.5, 0.0, num_periods=0), "num_periods must be ≥ 1"),
        (lambda: cohort_rates(100, 120), "of 100 customers at the start 120 cannot have left"),
        (lambda: acquisition_cost(100, 0), "at least one customer"),
    ],
)
def test_bad_input_is_one_sentence(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
