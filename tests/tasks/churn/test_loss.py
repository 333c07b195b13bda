"""Binary cross-entropy against arithmetic done by hand: censored labels, positive weights, smoothing."""

import math

import pytest
import torch

from clm_dl.tasks.churn.loss import binary_cross_entropy


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
