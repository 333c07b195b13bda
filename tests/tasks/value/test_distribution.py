"""Spend and orders as distributions: scipy's densities, means and quantiles by simulation, clamps that hold, censored
rows apart.
"""

import numpy as np
import pytest
import torch
from scipy import stats

from clm_dl.tasks.value.distribution import SIGMA, ValueDistribution, value_loss

SCALES = {"center": 3.2, "scale": 0.8, "largest": 5000.0, "orders": 0.7}


@pytest.fixture
def distribution() -> ValueDistribution:
    return ValueDistribution.of(torch.randn(200, 5, generator=torch.Generator().manual_seed(0)), **SCALES)


def test_orders_loss_is_the_negative_binomial_of_scipy(distribution: ValueDistribution) -> None:
    orders = torch.arange(200).float() % 7
    size, mean = distribution.size_B.numpy().astype(float), distribution.orders_B.numpy().astype(float)
    expected = -stats.nbinom.logpmf(orders.numpy(), size, size / (size + mean))
    np.testing.assert_allclose(distribution.orders_loss(orders).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_spend_loss_is_the_zero_inflated_lognormal_of_scipy(distribution: ValueDistribution) -> None:
    spend = torch.where(torch.arange(200) % 3 == 0, 0.0, torch.linspace(0.5, 900, 200))
    p = distribution.logit_B.sigmoid().numpy().astype(float)
    spread = 0.8 * distribution.sigma_B.numpy().astype(float)
    log_density = stats.lognorm.logpdf(
        spend.numpy(), s=spread, scale=np.exp(3.2 + 0.8 * distribution.mu_B.numpy().astype(float))
    )
    of_logs = (
        log_density + np.log(np.maximum(spend.numpy(), 1e-9)) + np.log(0.8)
    )  # density of the standardised log, not of the money
    expected = -np.where(spend.numpy() > 0, np.log(p) + of_logs, np.log1p(-p))
    np.testing.assert_allclose(distribution.spend_loss(spend).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_mean_quantile_and_interval_are_those_of_draws(distribution: ValueDistribution) -> None:
    rng = np.random.default_rng(0)
    levels = (0.5, 0.95)
    low_B, high_B = distribution.interval(0.9)
    for b in range(20):
        p, mu, sigma = (
            float(part[b]) for part in (distribution.logit_B.sigmoid(), distribution.mu_B, distribution.sigma_B)
        )
        if sigma > 1.5:
            continue
        drawn = np.where(rng.random(200_000) < p, np.exp(3.2 + 0.8 * (mu + sigma * rng.standard_normal(200_000))), 0.0)
        assert float(distribution.mean()[b]) == pytest.approx(drawn.mean(), rel=0.05)
        for level in levels:
            assert float(distribution.quantile(level)[b]) == pytest.approx(np.quantile(drawn, level), rel=0.05, abs=0.5)
        assert ((drawn >= float(low_B[b])) & (drawn <= float(high_B[b]))).mean() == pytest.approx(
            0.9, abs=0.01
        ) or 1 - p > 0.9


def test_nothing_explodes() -> None:
    wild = ValueDistribution.of(torch.full((3, 5), 80.0), **SCALES)
    assert (wild.mean() <= SCALES["largest"]).all()
    assert (wild.quantile(0.999) <= SCALES["largest"]).all()
    assert float(wild.sigma_B.max()) == pytest.approx(np.exp(SIGMA[1]))
    assert torch.isfinite(wild.orders_B).all()
    assert torch.isfinite(wild.orders_loss(torch.zeros(3))).all()


def test_a_censored_row_has_no_loss_and_no_gradient() -> None:
    output = (0.3 * torch.randn(4, 5)).requires_grad_()
    target = torch.tensor([[0.0, 0.0], [float("nan"), float("nan")], [30.0, 2.0], [5.0, 1.0]])
    value_loss(ValueDistribution.of(output, **SCALES), target).backward()
    assert output.grad is not None
    assert (output.grad[1] == 0).all()
    assert (output.grad[2] != 0).all()
    known = torch.tensor([0, 2, 3])
    whole, part = (
        value_loss(ValueDistribution.of(output[rows], **SCALES), target[rows]) for rows in (torch.arange(4), known)
    )
    torch.testing.assert_close(whole, part)
    assert value_loss(ValueDistribution.of(output[1:2], **SCALES), target[1:2]) == 0
