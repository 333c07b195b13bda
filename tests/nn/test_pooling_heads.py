"""Poolings and the binary head against arithmetic done by hand."""

import math

import pytest
import torch
from torch.testing import assert_close

from clm_dl.nn import POOLINGS, BinaryHead, build_pooling

H_BTD = torch.tensor(
    [[[1.0, -2.0], [3.0, -4.0], [100.0, 100.0]], [[5.0, -6.0], [100.0, 100.0], [100.0, 100.0]], [[100.0, 100.0]] * 3]
)
MASK_BT = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("last", [[3.0, -4.0], [5.0, -6.0], [0.0, 0.0]]),
        ("mean", [[2.0, -3.0], [5.0, -6.0], [0.0, 0.0]]),
        ("max", [[3.0, -2.0], [5.0, -6.0], [0.0, 0.0]]),
    ],
)
def test_pooling_reads_real_events_only(name, expected):
    assert_close(build_pooling(name, 2)(H_BTD, MASK_BT), torch.tensor(expected))


def test_attention_weighs_by_its_query():
    pool = build_pooling("attention", 2)
    with torch.no_grad():
        pool.score.weight.copy_(
            torch.tensor([[0.5 * math.log(3.0), 0.0]])
        )  # scores differ by log 3: weights 1/4 and 3/4
    assert_close(pool(H_BTD, MASK_BT), torch.tensor([[2.5, -3.5], [5.0, -6.0], [0.0, 0.0]]))


@pytest.mark.parametrize("name", POOLINGS)
def test_gradient_is_finite_and_zero_at_padding(name):
    h_BTD = H_BTD.clone().requires_grad_()
    build_pooling(name, 2)(h_BTD, MASK_BT).square().sum().backward()
    assert h_BTD.grad.isfinite().all()
    assert (h_BTD.grad[~MASK_BT] == 0).all()
    assert h_BTD.grad[MASK_BT].abs().sum() > 0


def test_unknown_pooling_is_named():
    with pytest.raises(ValueError, match="pooling must be one of last, mean, max, attention, got 'first'"):
        build_pooling("first", 2)


def test_head_linear_or_hidden(fixed_init):
    z_BD, extra_BE = torch.ones(3, 4), torch.zeros(3, 2)
    for hidden_size in (0, 8):
        head = fixed_init(BinaryHead(4, extra_size=2, hidden_size=hidden_size))
        assert head(z_BD, extra_BE).shape == (3,)
        assert not torch.equal(head(z_BD, extra_BE), head(z_BD, extra_BE + 1))
    assert BinaryHead(4)(z_BD).abs().max() < 0.2
