"""PSI and total bias against plain references."""

import math

import numpy as np
import pytest

from clm_dl.evaluation.drift import SMALLEST, psi, total_bias


def test_psi_is_the_sum_over_bins() -> None:
    then = np.arange(100.0)  # tenths: 10 % each
    now = np.concatenate([np.repeat(5.0, 30), np.arange(10.0, 80.0)])  # 30 % in the first tenth, none in the last two
    shares = [0.3] + [0.1] * 7 + [SMALLEST] * 2
    assert psi(then, now) == pytest.approx(sum((q - 0.1) * math.log(q / 0.1) for q in shares), abs=0.02)
    assert psi(then, then) == 0.0


def test_psi_does_not_depend_on_order_and_missing_values_have_a_bin() -> None:
    rng = np.random.default_rng(0)
    then, now = rng.normal(size=5000), rng.normal(size=3000)
    assert psi(then, now) == psi(rng.permutation(then), rng.permutation(now)) < 0.02
    half = np.where(rng.random(3000) < 0.5, np.nan, now)
    assert psi(then, half) > 1
    assert psi(np.full(50, np.nan), np.full(9, np.nan)) == 0.0
    assert psi(np.repeat([0.0, 1.0], 50), np.repeat([0.0, 1.0], 5)) == 0.0  # ties share a bin
    assert math.isnan(psi(then, []))


def test_total_bias() -> None:
    assert total_bias([1, 0, 1, 0], [0.9, 0.5, 0.9, 0.7]) == pytest.approx(0.5)
    assert math.isnan(total_bias([0, 0], [0.1, 0.1]))
