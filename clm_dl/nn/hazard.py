"""Discrete-time hazards: the chance to leave in each interval of a grid, given that it was reached; head, curve and loss.

Shapes: B snapshots, D width, E extra inputs, S intervals (one ends at each horizon).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class HazardHead(nn.Module):
    """z_BD, extra_BE -> logit_BS: an MLP with one hidden layer (`hidden_size=0`: linear). Starts near 0: hazards of a half."""

    def __init__(self, input_size: int, *, num_intervals: int, extra_size: int = 0, hidden_size: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        width = input_size + extra_size
        hidden: list[nn.Module] = [nn.Linear(width, hidden_size), nn.GELU(), nn.Dropout(dropout)] if hidden_size else []
        self.hidden = nn.Sequential(*hidden)
        self.output = nn.Linear(hidden_size or width, num_intervals)
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)

    def forward(self, z_BD: Tensor, extra_BE: Tensor) -> Tensor:
        logit_BS: Tensor = self.output(self.hidden(torch.cat([z_BD, extra_BE], dim=-1)))  # [B,D] + [B,E] -> [B,D+E] -> [B,S]
        return logit_BS


def survival_curve(logit_BS: Tensor) -> Tensor:
    """P(active through each horizon) `[B, S]`: the product of 1 − hazard so far, so that it never rises from one horizon to the next."""
    return F.logsigmoid(-logit_BS.float()).cumsum(dim=-1).exp()


def hazard_loss(logit_BS: Tensor, left_BS: Tensor) -> Tensor:
    """Censored negative log-likelihood in nats a snapshot, over the snapshots of which an interval is known; 0 when none is.

    `left_BS` is 1 in the interval in which a customer left, 0 in those that were survived, NaN in those that were not reached or not
    followed to their end. Then the likelihood of a history is a product of Bernoulli terms (Singer & Willett 1993; Gensheimer &
    Narasimhan 2019; Kvamme & Borgan 2021), which is their cross-entropy.
    """
    known_BS = ~left_BS.isnan()
    loss_BS = F.binary_cross_entropy_with_logits(logit_BS.float(), left_BS.nan_to_num(0.0), weight=known_BS.float(), reduction="none")
    return loss_BS.sum() / known_BS.any(dim=-1).sum().clamp(min=1)
