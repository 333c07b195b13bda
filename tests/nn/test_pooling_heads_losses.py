"""Poolings, the binary head and the loss against arithmetic done by hand."""

import math

import pytest
import torch
from torch.testing import assert_close

from clm_dl.nn import POOLINGS, BinaryHead, build_pooling
from clm_dl.tasks.churn.loss import binary_cross_entropy

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


def test_loss_leaves_out_censored_labels():
    logit_B = torch.tensor([0.0, 2.0, 50.0], requires_grad=True)
    loss = binary_cross_entropy(logit_B, torch.tensor([1.0, 0.0, math.nan]))
    loss.backward()
    assert loss.item() == pytest.approx((math.log(2) + math.log1p(math.exp(2))) / 2, rel=1e-6)
    assert logit_B.grad[2] == 0
    assert logit_B.grad.isfinite().all()


def test_loss_of_an_all_censored_batch_is_zero_with_zero_gradient():
    logit_B = torch.ones(2, requires_grad=True)
    loss = binary_cross_entropy(logit_B, torch.full((2,), math.nan))
    loss.backward()
    assert loss.item() == 0
    assert (logit_B.grad == 0).all()


def test_positive_weight_shifts_the_odds_by_itself():
    """The constant that minimises the weighted loss has odds of weight × positives / negatives: what prior correction
    undoes.
    """
    label_B, logit = torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.tensor(math.log(6.0 / 3), requires_grad=True)
    binary_cross_entropy(logit.expand(4), label_B, positive_weight=6.0).backward()
    assert logit.grad.item() == pytest.approx(0.0, abs=1e-6)


def test_label_smoothing_moves_both_classes():
    logit = torch.tensor(math.log(0.95 / 0.05), requires_grad=True)
    binary_cross_entropy(logit.expand(2), torch.ones(2), label_smoothing=0.1).backward()
    assert logit.grad.item() == pytest.approx(0.0, abs=1e-6)
