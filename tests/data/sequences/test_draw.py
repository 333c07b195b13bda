"""CustomerDraw: a few snapshots of every customer, others each pass, and all of them in time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clm_dl.data.sequences.draw import CustomerDraw

OWNERS = arrays(np.int64, st.integers(0, 60), elements=st.integers(-3, 8))


@given(OWNERS, st.integers(1, 9), st.integers(0, 3), st.integers(0, 30))
def test_as_many_of_each_customer_as_there_are_up_to_the_limit(owner, most, seed, number):
    drawn = CustomerDraw(owner, most=most, seed=seed)(number)
    assert np.array_equal(drawn, np.unique(drawn)), "none twice, in the order of the rows"
    for customer, count in zip(*np.unique(owner, return_counts=True), strict=True):
        assert (owner[drawn] == customer).sum() == min(count, most)


@given(OWNERS, st.integers(1, 9), st.integers(0, 3), st.integers(0, 30))
def test_every_snapshot_is_read_within_as_many_passes_as_a_customer_fills(owner, most, seed, start):
    draw = CustomerDraw(owner, most=most, seed=seed)
    count = np.bincount(owner + 3, minlength=1).max(initial=0)
    times = np.zeros(len(owner), int)
    for number in range(-(-count // most)):
        times[draw(start + number)] += 1
    assert (times >= 1).all()


def test_passes_and_seeds_draw_others():
    owner = np.repeat(np.arange(50), 40)
    drawn = [set(CustomerDraw(owner, most=4, seed=seed)(number).tolist()) for seed, number in ((0, 0), (0, 1), (1, 0))]
    assert not drawn[0] & drawn[1], "a customer's next ones, as long as there are some"
    assert len(drawn[0] & drawn[2]) < 0.25 * len(drawn[0])
    assert CustomerDraw(owner, most=4, seed=0)(0).tolist() == sorted(drawn[0])


def test_a_pass_sees_all_times_of_a_customer():
    """Rows are sorted by cutoff: a pass must not be one stretch of them."""
    owner = np.tile(np.arange(100), 60)
    when = CustomerDraw(owner, most=6, seed=0)(3) // 100
    assert np.bincount(when // 15, minlength=4) / len(when) == pytest.approx(0.25, abs=0.06)
