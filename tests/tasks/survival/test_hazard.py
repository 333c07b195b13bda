"""Hazards: a curve that cannot rise, the censored likelihood in closed form, and hazards that are learnt from
incomplete follow-up.
"""

import math

import torch

from clm_dl.tasks.survival.hazard import hazard_loss, survival_curve

NAN = float("nan")


def test_curve_never_rises_and_is_the_product_of_what_is_survived() -> None:
    torch.manual_seed(0)
    logit = 50 * torch.randn(200, 6)
    curve = survival_curve(logit)
    assert (curve.diff(dim=-1) <= 0).all()
    assert ((curve >= 0) & (curve <= 1)).all()
    torch.testing.assert_close(survival_curve(logit / 50), (1 - torch.sigmoid(logit / 50)).cumprod(dim=-1))


def test_loss_is_the_censored_likelihood() -> None:
    hazard = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9], [0.5, 0.5, 0.5]])
    left = torch.tensor(
        [[0.0, 0, 0], [0, 1, NAN], [0, NAN, NAN], [NAN, NAN, NAN]]
    )  # stayed, left, followed for one interval, for none
    expected = -(math.log(0.9 * 0.8 * 0.7) + math.log(0.6 * 0.5) + math.log(0.3)) / 3
    torch.testing.assert_close(hazard_loss(torch.logit(hazard), left), torch.tensor(expected))


def test_unknown_intervals_have_no_gradient_and_nothing_known_no_loss() -> None:
    logit = torch.zeros(2, 3, requires_grad=True)
    left = torch.tensor([[0.0, 1, NAN], [NAN, NAN, NAN]])
    hazard_loss(logit, left).backward()
    assert logit.grad is not None
    assert (logit.grad != 0).tolist() == [[True, True, False], [False, False, False]]
    assert hazard_loss(torch.zeros(2, 3), torch.full((2, 3), NAN)) == 0


def test_likelihood_finds_the_hazards_though_most_are_followed_briefly() -> None:
    torch.manual_seed(0)
    true, num = torch.tensor([0.3, 0.1, 0.4]), 60_000
    is_left = torch.rand(num, 3) < true
    reached = torch.cat([torch.ones(num, 1, dtype=torch.bool), ~is_left[:, :-1].cumsum(dim=1).bool()], dim=1)
    followed = torch.randint(1, 4, (num, 1)) > torch.arange(3)
    left = torch.where(reached & followed, is_left.float(), NAN)
    logit = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([logit], max_iter=50)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = hazard_loss(logit.expand(num, 3), left)
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(torch.sigmoid(logit.detach()), true, atol=0.01, rtol=0)
