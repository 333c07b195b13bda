"""Sums are those of whole numbers, however much money it is, and no other customer's money has a part in them."""

from fractions import Fraction

import numpy as np
import pytest

from clm_dl.data.snapshots.sums import Sums


@pytest.mark.parametrize("size", [1e2, 5e11, 3e14, 2e17])
def test_a_sum_is_exact_to_its_last_bit_whatever_else_is_in_the_log(size: float) -> None:
    rng = np.random.default_rng(0)
    own = (rng.normal(size=200) * size).astype(np.float32)
    first, last = np.arange(0, 100), np.arange(100, 200)
    exact = [Fraction(0)]
    for value in own:
        exact.append(exact[-1] + round(Fraction(float(value)) * 2**20))
    expected = [float((exact[j] - exact[i]) / 2**20) for i, j in zip(first, last, strict=True)]
    for other in (0.0, 1.0, 1e9, 1e17, np.nan):
        values = np.append(own, np.full(50, other, np.float32))
        assert Sums(values).between(first, last).tolist() == expected


def test_many_customers_of_much_money_do_not_wrap_around() -> None:
    values = np.full(100_000, 5e17, np.float32)
    sums = Sums(values).between(np.arange(0, 100_000, 20), np.arange(20, 100_001, 20))
    assert np.allclose(sums, 1e19, rtol=1e-6)
