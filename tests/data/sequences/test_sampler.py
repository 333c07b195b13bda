"""TokenBudgetSampler: complete, within its budget, little padding, seeded, and equal on every rank."""

import numpy as np
import pytest

from clm_dl.data.sequences.draw import CustomerDraw
from clm_dl.data.sequences.sampler import TokenBudgetSampler

LENGTH = np.minimum(np.random.default_rng(0).geometric(0.03, 5000), 128)


def epoch(epoch=0, **arguments):
    sampler = TokenBudgetSampler(LENGTH, **{"max_tokens": 2048, "seed": 3} | arguments)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    return batches


@pytest.mark.parametrize(
    "arguments", [{}, {"shuffle": False}, {"max_tokens": None, "batch_size": 64}, {"batch_size": 20}]
)
def test_every_snapshot_once_and_within_the_limits(arguments):
    batches = epoch(**arguments)
    assert np.array_equal(np.sort(np.concatenate(batches)), np.arange(len(LENGTH)))
    if arguments.get("max_tokens", 2048):
        assert max(len(batch) * LENGTH[batch].max() for batch in batches) <= 2048 * 1.05
    if size := arguments.get("batch_size"):
        assert max(map(len, batches)) <= size


def share_of_both(left, right):
    """Share of the batches of one epoch that are batches of the other, too."""
    left, right = ({frozenset(batch.tolist()) for batch in batches} for batches in (left, right))
    return len(left & right) / min(len(left), len(right))


def test_one_seed_and_epoch_give_the_same_batches_in_the_same_order():
    assert all(np.array_equal(a, b) for a, b in zip(epoch(2), epoch(2), strict=True))


@pytest.mark.parametrize("other", [{"epoch": 3}, {"epoch": 2, "seed": 4}])
@pytest.mark.parametrize("limits", [{}, {"max_tokens": None, "batch_size": 64}])
def test_another_epoch_or_seed_puts_other_snapshots_together_in_another_order(other, limits):
    left, right = epoch(2, **limits), epoch(**other, **limits)
    assert share_of_both(left, right) < 0.1
    longest = [np.array([LENGTH[batch].max() for batch in batches]) for batches in (left, right)]
    num = min(map(len, longest))
    assert abs(np.corrcoef(longest[0][:num], longest[1][:num])[0, 1]) < 0.4


def test_every_epoch_has_the_same_number_of_batches():
    assert len({len(epoch(number)) for number in range(20)}) == 1


def test_batches_are_not_in_order_of_length():
    longest = np.array([LENGTH[batch].max() for batch in epoch()])
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.3


def test_little_padding():
    sampler = TokenBudgetSampler(LENGTH, max_tokens=2048)
    assert 1.0 <= sampler.padding_ratio() < 1.15
    assert LENGTH.max() * len(LENGTH) / LENGTH.sum() > 3, "without buckets"


@pytest.mark.parametrize("shuffle", [True, False])
def test_ranks_share_an_epoch_evenly(shuffle):
    ranks = [epoch(5, rank=rank, world_size=3, shuffle=shuffle) for rank in range(3)]
    assert len({len(batches) for batches in ranks}) == 1
    assert np.array_equal(
        np.sort(np.concatenate([np.concatenate(batches) for batches in ranks])), np.arange(len(LENGTH))
    )


@pytest.mark.parametrize("drawn", [False, True])
def test_ranks_deal_out_the_batches_that_one_process_would_have(drawn):
    """Of twice the size; each gets as many, of about the same lengths."""
    how = {"max_tokens": None, "draw": drawing() if drawn else None}
    ranks = [epoch(4, rank=rank, world_size=2, batch_size=20, **how) for rank in range(2)]
    for whole, *parts in zip(epoch(4, batch_size=40, **how), *ranks, strict=True):
        assert set(whole) == set(np.concatenate(parts))
        assert abs(len(parts[0]) - len(parts[1])) <= 1
        assert abs(LENGTH[parts[0]].max() - LENGTH[parts[1]].max()) <= np.ptp(LENGTH[whole])


@pytest.mark.parametrize("number", [3, 4, 7, 50, 1001])
def test_what_is_only_read_comes_once_however_many_ranks_read_it(number):
    for world_size in (2, 3):
        how = {"max_tokens": 256, "shuffle": False, "world_size": world_size}
        ranks = [list(TokenBudgetSampler(LENGTH[:number], rank=rank, **how)) for rank in range(world_size)]
        assert len({len(batches) for batches in ranks}) == 1
        read = [np.concatenate(batches) for batches in ranks]
        assert np.array_equal(np.sort(np.concatenate(read)), np.arange(number))
        for batch in (batch for batches in ranks for batch in batches):
            assert (len(batch) - 1) * LENGTH[batch].max() <= 256


def test_more_ranks_than_snapshots_repeat():
    ranks = [list(TokenBudgetSampler(np.array([4, 2]), max_tokens=8, rank=rank, world_size=4)) for rank in range(4)]
    assert len({len(batches) for batches in ranks}) == 1
    assert set(np.concatenate([batches[0] for batches in ranks])) == {0, 1}


def test_index_and_long_sequences():
    batches = list(
        TokenBudgetSampler(np.array([500, 3, 3]), index_N=np.array([70, 80, 90]), max_tokens=10, shuffle=False)
    )
    assert [batch.tolist() for batch in batches] == [[70], [80, 90]]
    assert list(TokenBudgetSampler(np.array([], dtype=int), max_tokens=10)) == []


@pytest.mark.parametrize("arguments", [{"max_tokens": None}, {"max_tokens": 0}, {"batch_size": 0}])
def test_bad_limits(arguments):
    with pytest.raises(ValueError, match="batch"):
        epoch(**arguments)


# --- passes over the customers, and epochs of so many batches

OWNER = np.repeat(np.arange(500), 10)  # of LENGTH


def drawing(seed=3):
    return CustomerDraw(OWNER, mean=3, seed=seed)


def test_a_pass_reads_what_is_drawn():
    passes = [np.sort(np.concatenate(epoch(number, draw=drawing()))) for number in range(4)]
    for number, read in enumerate(passes):
        assert np.array_equal(read, drawing()(number))
    assert len(np.unique(np.concatenate(passes))) == len(LENGTH)


def test_a_draw_of_everything_changes_no_batch():
    everything = CustomerDraw(OWNER, mean=10, seed=3)
    for number in (0, 3):
        for one, other in zip(epoch(number), epoch(number, draw=everything), strict=True):
            assert np.array_equal(one, other)


@pytest.mark.parametrize("num_steps", [1, 7, 100, 250])
@pytest.mark.parametrize("draw", [None, drawing()])
def test_epochs_of_so_many_batches_are_the_passes_in_their_order(num_steps, draw):
    passes = [batch for number in range(8) for batch in epoch(number, draw=draw)]
    wanted = range(min(4, len(passes) // num_steps))
    found = [batch for number in wanted for batch in epoch(number, num_steps=num_steps, draw=draw)]
    assert len(found) == num_steps * len(wanted)
    assert all(np.array_equal(one, other) for one, other in zip(found, passes, strict=False))


def test_many_customers_take_more_steps_than_were_asked_for():
    draw = drawing()
    whole = len(epoch(draw=draw))
    assert len(epoch(draw=draw, num_steps=3, num_passes=0.5)) == -(-whole // 2)
    assert len(epoch(draw=draw, num_steps=whole, num_passes=0.5)) == whole
    assert len(epoch(draw=draw, num_passes=0.5)) == whole, "without steps an epoch is a pass"


def test_an_epoch_does_not_depend_on_the_ones_read_before():
    """Of a resumed run: the epoch alone says what it reads."""
    sampler = TokenBudgetSampler(LENGTH, max_tokens=2048, seed=3, draw=drawing(), num_steps=30)
    straight = []
    for number in range(6):
        sampler.set_epoch(number)
        straight.append(list(sampler))
    for number in (5, 2):
        assert all(map(np.array_equal, straight[number], epoch(number, draw=drawing(), num_steps=30)))


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_steps_of_an_epoch(world_size):
    how = {"draw": drawing(), "num_steps": 5, "world_size": world_size}
    for number in range(3):
        ranks = [epoch(number, rank=rank, **how) for rank in range(world_size)]
        assert [len(batches) for batches in ranks] == [5] * world_size
        read = np.concatenate([np.concatenate(batches) for batches in ranks])
        assert len(np.unique(read)) == len(read), "an epoch within a pass reads nothing twice"


def test_little_padding_of_what_is_drawn():
    assert TokenBudgetSampler(LENGTH, max_tokens=2048, draw=drawing()).padding_ratio() < 1.25


def test_nothing_to_read_has_no_steps():
    assert list(TokenBudgetSampler(np.array([], dtype=int), max_tokens=10, num_steps=5)) == []
