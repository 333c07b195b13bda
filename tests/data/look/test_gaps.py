"""The horizon that gaps suggest: a round number near their 80th percentile that leaves room for every split."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm_dl.data.look.gaps import FEWEST, PART, ROUND, Days, suggest
from clm_dl.data.zone import DAY, Zone

START = 1_640_995_200_000_000  # 2022-01-01


def shop(num_customers: int, num_days: int, gap: float, *, leave: float = 0.002, seed: int = 0) -> Days:
    """Customers who come back after `gap` days on average, and may leave each day."""
    rng = np.random.default_rng(seed)
    pairs = set()
    for customer in range(num_customers):
        day, stop = rng.uniform(0, num_days / 3), rng.exponential(1 / leave)
        while day < min(num_days, stop):
            pairs.add((customer, int(day)))
            day += 1 + rng.exponential(gap)
    return of(sorted(pairs), num_days)


def of(pairs: list[tuple[int, int]], num_days: int, zone: str = "UTC") -> Days:
    customer, day = np.array(pairs, np.int64).reshape(-1, 2).T
    customer = np.unique(customer, return_inverse=True)[1]
    end = START + num_days * DAY
    return Days(customer.astype(np.int64), Zone(zone).utc(START + day * DAY), START - 1, end, Zone(zone), True)


@pytest.mark.parametrize(("gap", "horizon"), [(4, 7), (8, 14), (16, 28), (26, 42)])
def test_it_is_the_round_number_next_to_the_80th_percentile(gap: float, horizon: int) -> None:
    found = suggest(shop(400, 700, gap))
    assert found.horizon_days == horizon
    assert found.active_days in (2 * horizon, 3 * horizon, 4 * horizon)
    assert found.every_days <= horizon
    assert found.fits
    assert set(found.churn) == {"train", "val", "test"}
    assert not found.val_customers


def test_a_short_log_bounds_it() -> None:
    found = suggest(shop(400, 120, 30))
    assert found.horizon_days <= 120 / PART
    assert "120 days of log" in found.why


def test_a_horizon_for_which_hardly_anybody_is_there_is_passed_over() -> None:
    rng = np.random.default_rng(0)
    visits = {(customer, int(day)) for customer in range(60) for day in rng.uniform(0, 3000, 12)}
    days = of(sorted({(customer, day + k) for customer, day in visits for k in range(6)}), 3010)
    found = suggest(days)
    assert np.quantile(days.gaps, 0.8) == 1
    assert found.horizon_days > 7
    assert found.fits
    assert "with 1 days some split has too few who leave" in found.why


def test_nobody_ever_comes_back() -> None:
    found = suggest(of([(customer, customer % 50) for customer in range(200)], 50))
    assert not found.fits
    assert found.why == "nobody has come back yet"


@settings(max_examples=30, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400)), min_size=1, max_size=60, unique=True),
    zone=st.sampled_from(["UTC", "America/Santiago"]),
)
def test_any_log_gets_a_legal_suggestion(pairs: list[tuple[int, int]], zone: str) -> None:
    days = of(sorted(pairs), max(day for _, day in pairs) + 1, zone)
    found = suggest(days)
    assert found.horizon_days in ROUND or found.horizon_days < 1
    assert 0 < found.every_days <= found.horizon_days <= found.active_days
    assert found.horizon_days <= max(1, days.span / PART)
    assert 0 <= found.val_customers < 1
    assert FEWEST > 1
