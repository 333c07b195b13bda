"""ShapedSampler: few shapes, the same ones in each epoch, little padding, every snapshot once."""

import numpy as np
import pytest

from clm_dl.data.sequences.draw import CustomerDraw
from clm_dl.data.sequences.shapes import ShapedSampler, best_lengths

RNG = np.random.default_rng(0)
NUM = 12_000
LENGTHS = {
    "lognormal": np.clip(np.round(RNG.lognormal(np.log(80) - 0.32, 0.8, NUM)), 5, 400).astype(np.int64),
    "geometric": np.minimum(RNG.geometric(0.03, 3 * NUM), 128),
    "equal": np.full(NUM, 50),
    "one giant": np.append(RNG.integers(10, 30, NUM - 1), 20_000),
}
FILLER = 10**6


def sampler(length_N, **how):
    return ShapedSampler(length_N, **({"num_shapes": 12, "filler": FILLER, "max_tokens": 8192, "seed": 3} | how))


def epoch(one, number):
    one.set_epoch(number)
    batches = list(one)
    assert len(batches) == len(one)
    return batches


@pytest.mark.parametrize("limits", [{}, {"batch_size": 64}])
@pytest.mark.parametrize("name", LENGTHS)
def test_few_shapes_little_padding_and_every_snapshot_once(name, limits):
    length_N, shapes = LENGTHS[name], []
    one = sampler(length_N, **limits)
    for number in range(3):
        batches = epoch(one, number)
        rows = np.concatenate([rows for rows, _ in batches])
        assert np.array_equal(np.sort(rows[rows != FILLER]), np.arange(len(length_N)))
        shapes.append({(len(rows), width) for rows, width in batches})
        assert len(shapes[-1]) <= 12
        padded = sum(len(rows) * width for rows, width in batches)
        assert padded / length_N.sum() == pytest.approx(one.padding_ratio())
        assert one.padding_ratio() <= 1.15
        for rows, width in batches:
            assert length_N[rows[rows != FILLER]].max() <= width
            assert len(rows) * width <= max(8192, width)
    assert shapes[0] == shapes[1] == shapes[2]


def test_epochs_put_other_snapshots_together_in_another_order():
    one = sampler(LENGTHS["lognormal"])
    left, right = ({frozenset(rows.tolist()) for rows, _ in epoch(one, number)} for number in (0, 1))
    assert len(left & right) < 0.1 * len(left)
    widths = [width for _, width in epoch(one, 0)]
    assert abs(np.corrcoef(widths, np.arange(len(widths)))[0, 1]) < 0.3
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(epoch(one, 2), epoch(one, 2), strict=True))


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_an_epoch_evenly(world_size):
    ranks = [epoch(sampler(LENGTHS["geometric"], rank=rank, world_size=world_size), 1) for rank in range(world_size)]
    assert len({len(batches) for batches in ranks}) == 1
    rows = np.concatenate([rows for batches in ranks for rows, _ in batches])
    assert np.array_equal(np.sort(rows[rows != FILLER]), np.arange(3 * NUM))
    assert len({(len(rows), width) for batches in ranks for rows, width in batches}) <= 12


def test_drawn_cutoffs_and_epochs_of_so_many_steps_have_few_shapes_too():
    draw = CustomerDraw(np.repeat(np.arange(NUM // 10), 10), mean=3, seed=0)
    one = sampler(LENGTHS["lognormal"], draw=draw, max_tokens=2048, num_steps=50)
    for number in range(8):
        batches = epoch(one, number)
        assert len(batches) == 50
        assert len({(len(rows), width) for rows, width in batches}) <= 12
    assert one.padding_ratio() < 1.2


@pytest.mark.parametrize("number", [1, 2, 3, 9])
def test_the_best_lengths_are_those_of_a_search_through_all(number):
    from itertools import combinations

    length_N = np.minimum(np.random.default_rng(number).geometric(0.2, 60), 9)
    distinct = np.unique(length_N)

    def padded(edges):
        return int(np.array(edges)[np.searchsorted(edges, length_N)].sum())

    best = min(
        padded([*rest, distinct[-1]])
        for size in range(min(number, len(distinct)))
        for rest in combinations(distinct[:-1].tolist(), size)
    )
    edges = best_lengths(length_N, number)
    assert len(edges) <= number
    assert edges[-1] == distinct[-1]
    assert padded(edges) == best


def test_little_data():
    assert list(sampler(np.array([], dtype=int))) == []
    rows = np.concatenate([rows for rows, _ in sampler(np.array([500, 3, 3]), max_tokens=10)])
    assert sorted(rows[rows != FILLER].tolist()) == [0, 1, 2]
