"""Calibration of money: the total and the steepness of the mean, and intervals that hold however wrong the forecast."""

import json

import numpy as np
import pytest

from clm_dl.tasks.value.calibration import ValueCalibrator


def test_calibration_gets_the_total_and_the_steepness_right_and_survives_the_disk() -> None:
    rng = np.random.default_rng(0)
    truth = rng.lognormal(2, 1, 20_000)
    spend = truth * (rng.random(20_000) < 0.3) / 0.3
    raw = 3 * truth**0.5
    calibrator = ValueCalibrator().fit(raw, spend)
    assert calibrator.slope == pytest.approx(2.0, abs=0.1)
    assert calibrator.predict(raw).sum() == pytest.approx(spend.sum())
    again = ValueCalibrator.from_dict(json.loads(json.dumps(calibrator.to_dict())))
    np.testing.assert_array_equal(again.predict(raw), calibrator.predict(raw))
    flat = ValueCalibrator().fit(np.full(20_000, 7.0), spend)
    assert (flat.slope, flat.predict([7.0])[0]) == (1.0, pytest.approx(spend.mean()))
    tenure = rng.uniform(1, 6, 20_000)
    aged = ValueCalibrator().fit(raw, spend * np.exp(-0.5 * tenure), tenure)
    assert aged.age == pytest.approx(-0.5, abs=0.05)
    assert aged.predict(raw, tenure).sum() == pytest.approx((spend * np.exp(-0.5 * tenure)).sum())
    assert ValueCalibrator().fit(raw, spend, np.full(20_000, 3.0)).age == 0  # tenure that does not vary
    with pytest.raises(ValueError, match="needs spend above 0"):
        ValueCalibrator().fit(raw, np.zeros_like(raw))


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_conformal_intervals_hold_however_wrong_the_forecast(factor: float) -> None:
    rng = np.random.default_rng(1)
    scale = rng.lognormal(3, 1, 8000)
    spend = np.where(rng.random(8000) < 0.7, scale * rng.lognormal(0, 0.5, 8000), 0.0)
    low, high = np.where(np.arange(8000) % 2, 0.0, 0.1 * scale * factor), 2 * scale * factor
    fit, rest = slice(0, 4000), slice(4000, None)
    calibrator = ValueCalibrator().fit_interval(low[fit], high[fit], spend[fit], coverage=0.9)
    below, above = calibrator.interval(low[rest], high[rest])
    assert ((spend[rest] >= below) & (spend[rest] <= above)).mean() >= 0.88
    assert (below[low[rest] == 0] == 0).all()


@pytest.mark.parametrize(
    ("num", "coverage", "rank"),  # rank = ceil((num + 1) · coverage), num where there are too few
    [(10, 0.9, 10), (20, 0.9, 19), (20, 0.8, 17), (19, 0.5, 10), (4, 0.9, 4), (1, 0.5, 1)],
)
def test_conformal_interval_of_few_snapshots_counts_the_new_one(num: int, coverage: float, rank: int) -> None:
    """A new snapshot is one of num + 1 alike: the end is the smallest that holds `coverage` of all of them."""
    spend = np.expm1(np.random.default_rng(0).permutation(np.arange(1.0, num + 1)))  # 1, 2, … on the log scale
    zero = np.zeros(num)
    calibrator = ValueCalibrator().fit_interval(zero, zero, spend, coverage=coverage)
    assert calibrator.widen == pytest.approx(rank)
    low, high = calibrator.interval([0.0, np.expm1(2.0)], [0.0, np.expm1(3.0)])
    np.testing.assert_allclose(np.log1p(low), [0.0, max(2.0 - rank, 0.0)], atol=1e-12)  # from zero stays from zero
    np.testing.assert_allclose(np.log1p(high), [rank, 3.0 + rank])


def test_conformal_interval_of_few_snapshots_looks_below_as_above() -> None:
    """Spend from 2 below the interval to 1 above it, on the log scale: too narrow by 2; by −1 where all lie inside."""
    low, high = np.expm1(np.full(5, 4.0)), np.expm1(np.full(5, 6.0))
    outside = ValueCalibrator().fit_interval(low, high, np.expm1([2.0, 4.5, 5.0, 5.5, 7.0]), coverage=0.8)
    assert outside.widen == pytest.approx(2.0)
    inside = ValueCalibrator().fit_interval(low, high, np.full(5, np.expm1(5.0)), coverage=0.8)
    assert inside.widen == pytest.approx(-1.0)
    np.testing.assert_allclose(inside.interval(low, high), [np.expm1(np.full(5, 5.0))] * 2)


def test_a_total_that_is_off_at_every_cutoff_is_made_right_and_a_season_is_left_out() -> None:
    rng = np.random.default_rng(0)
    raw = np.exp(rng.normal(2.0, 1.0, (3, 4000)))
    cutoff = np.repeat(np.arange(3), 4000)
    for factors, expected in (([0.5, 0.5, 0.5], 0.5), ([1.3, 0.8, 1.3], 1.0)):
        spend = raw * np.array(factors)[:, None] * rng.gamma(2.0, 0.5, raw.shape)
        fitted = ValueCalibrator().fit_over(raw.ravel(), spend.ravel(), cutoff=cutoff, newest=cutoff == 2)
        assert fitted.predict(raw).sum() / raw.sum() == pytest.approx(expected, abs=0.06), fitted.told
    fitted.orders = ValueCalibrator(slope=0.9, told="raw")
    again = ValueCalibrator.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert again.orders is not None
    assert (again.orders.slope, again.orders.told, again.told) == (0.9, "raw", fitted.told)
