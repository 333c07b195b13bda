"""Spend and orders of a window as distributions: zero-inflated lognormal and negative binomial, their losses, means and
quantiles.

Shapes: B snapshots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

NUM_PARAMETERS = 5
SIGMA = (-2.0, 1.0)  # bounds of the log of the spread: without them one outlier makes every mean explode
SIZE = (-4.0, 4.0)  # bounds of the log of the negative binomial's size


@dataclass(frozen=True)
class ValueDistribution:
    """What a customer spends in the label window, and in how many orders; all tensors are float32 `[B]`.

    Spend is 0 with probability 1 − p, else lognormal (Wang, Liu & Miao 2019, A Deep Probabilistic Model for Customer
    Lifetime Value Prediction). Orders are negative binomial with variance mean + mean² / size.

    Attributes:
        logit_B: of p. mu_B, sigma_B: of the standardised log of a spend above 0, (log spend − center) / scale.
        orders_B: mean number of orders. size_B: of their negative binomial.
        center, scale: mean and standard deviation of the log spends above 0 in training. largest: the largest of them,
            in money.
    """

    logit_B: Tensor
    mu_B: Tensor
    sigma_B: Tensor
    orders_B: Tensor
    size_B: Tensor
    center: float
    scale: float
    largest: float

    @classmethod
    def of(cls, output_B5: Tensor, *, center: float, scale: float, largest: float, orders: float) -> ValueDistribution:
        """Of a head's five outputs; at zero they say p = ½, the log spends of training, and its mean `orders`."""
        logit_B, mu_B, log_sigma_B, log_rate_B, log_size_B = output_B5.float().unbind(-1)
        rate_B = (log_rate_B + math.log(orders)).clamp(max=math.log(1e6)).exp()
        return cls(
            logit_B,
            mu_B,
            log_sigma_B.clamp(*SIGMA).exp(),
            rate_B,
            log_size_B.clamp(*SIZE).exp(),
            center,
            scale,
            largest,
        )

    def mean(self) -> Tensor:
        """Expected spend `[B]` in money; of those who spend at most the largest spend of training."""
        spread_B = self.scale * self.sigma_B
        spend_B = (self.center + self.scale * self.mu_B + 0.5 * spread_B**2).exp()
        return self.logit_B.sigmoid() * spend_B.clamp(max=self.largest)

    def quantile(self, level: float | Tensor) -> Tensor:
        """Spend `[B]` that is not exceeded with probability `level`: 0 up to 1 − p, then lognormal, capped."""
        p_B = self.logit_B.sigmoid()
        rest_B = ((level - 1 + p_B) / p_B).clamp(0.0, 1 - 1e-6)
        log_B = self.center + self.scale * (self.mu_B + self.sigma_B * torch.special.ndtri(rest_B))
        return log_B.exp().clamp(max=self.largest)

    def interval(self, coverage: float) -> tuple[Tensor, Tensor]:
        """Ends `[B]` of an interval of probability `coverage`: central, or from 0 on where 0 outweighs its tail."""
        tail = (1 - coverage) / 2
        below_B = torch.where(1 - self.logit_B.sigmoid() < tail, tail, 0.0)
        return self.quantile(below_B), self.quantile(below_B + coverage)

    def spend_loss(self, spend_B: Tensor) -> Tensor:
        """Negative log-likelihood `[B]` in nats of (whether anything is spent, its standardised log)."""
        some_B = spend_B > 0
        standard_B = (torch.where(some_B, spend_B, 1.0).log() - self.center) / self.scale
        normal_B = (
            self.sigma_B.log() + 0.5 * math.log(2 * math.pi) + 0.5 * ((standard_B - self.mu_B) / self.sigma_B) ** 2
        )
        return F.binary_cross_entropy_with_logits(self.logit_B, some_B.float(), reduction="none") + some_B * normal_B

    def orders_loss(self, orders_B: Tensor) -> Tensor:
        """Negative log-likelihood `[B]` in nats of the number of orders."""
        size_B, mean_B = self.size_B, self.orders_B
        log_total_B = (size_B + mean_B).log()
        return (
            torch.lgamma(size_B)
            + torch.lgamma(orders_B + 1)
            - torch.lgamma(orders_B + size_B)
            - size_B * (size_B.log() - log_total_B)
            - orders_B * (mean_B.clamp(min=1e-30).log() - log_total_B)
        )


def value_loss(distribution: ValueDistribution, target_B2: Tensor, *, orders_weight: float = 1.0) -> Tensor:
    """Mean loss over the snapshots whose spend and orders (`target_B2`) are known, NaN otherwise; 0 when none is."""
    known_B = ~target_B2.isnan().any(dim=-1)
    spend_B, orders_B = target_B2.nan_to_num(0.0).unbind(-1)
    loss_B = distribution.spend_loss(spend_B) + orders_weight * distribution.orders_loss(orders_B)
    return (loss_B * known_B).sum() / known_B.sum().clamp(min=1)
