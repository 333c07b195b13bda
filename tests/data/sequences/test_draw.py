"""CustomerDraw: a few snapshots of every customer, others each pass, and all of them in time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clm_dl.data.sequences.draw import CustomerDraw

OWNERS = arrays(np.int64, st.integers(0, 60), elements=st.integers(-3, 8))
SIZES = (st.integers(1, 9), st.integers(0, 3), st.integers(0, 30))


@given(OWNERS, *SIZES)
def test_a_pass_has_as_many_as_customers_call_for_and_the_same_share_of_each(owner, mean, seed, number):
    drawn, (customers, counts) = CustomerDraw(owner, mean=mean, seed=seed)(number), np.unique(owner, return_counts=True)
    assert len(drawn) == min(len(owner), mean * len(customers)), "in every pass, however many there are"
    assert np.array_equal(drawn, np.unique(drawn)), "none twice, in the order of the rows"
    for customer, count in zip(customers, counts, strict=True):
        assert abs((owner[drawn] == customer).sum() - count * len(drawn) / len(owner)) < 1


@given(OWNERS, *SIZES)
def test_every_snapshot_is_read_before_any_comes_again(owner, mean, seed, start):
    draw = CustomerDraw(owner, mean=mean, seed=seed)
    times, size = np.zeros(len(owner), int), max(1, len(draw(0)))
    for number in range(-(-len(owner) // size)):
        assert times[draw(start + number)].max(initial=0) <= (number >= len(owner) // size)
        times[draw(start + number)] += 1
    assert (times >= 1).all()


def test_passes_and_seeds_draw_others():
    owner = np.repeat(np.arange(50), 40)
    drawn = [set(CustomerDraw(owner, mean=4, seed=seed)(number).tolist()) for seed, number in ((0, 0), (0, 1), (1, 0))]
    assert not drawn[0] & drawn[1], "a customer's next ones, as long as there are some"
    assert len(drawn[0] & drawn[2]) < 0.25 * len(drawn[0])
    assert CustomerDraw(owner, mean=4, seed=0)(0).tolist() == sorted(drawn[0])


def test_a_pass_sees_all_times_of_a_customer():
    """Rows are sorted by cutoff: a pass must not be one stretch of them."""
    owner = np.tile(np.arange(100), 60)
    when = CustomerDraw(owner, mean=6, seed=0)(3) // 100
    assert np.bincount(when // 15, minlength=4) / len(when) == pytest.approx(0.25, abs=0.06)


def test_denser_cutoffs_make_no_longer_pass():
    sizes = [len(CustomerDraw(np.tile(np.arange(30), 12 * times), mean=12, seed=0)(0)) for times in (1, 2, 4, 14)]
    assert sizes == [360] * 4
