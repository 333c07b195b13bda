"""Discrete-time hazards: the chance to leave in each interval of a grid, given that it was reached; curve and loss.

Shapes: B snapshots, S intervals (one ends at each horizon).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F


def survival_curve(logit_BS: Tensor) -> Tensor:
    """P(active through each horizon) `[B, S]`: the product of 1 − hazard so far, which never rises."""
    return F.logsigmoid(-logit_BS.float()).cumsum(dim=-1).exp()


def hazard_loss(logit_BS: Tensor, left_BS: Tensor, *, weight_S: Tensor | None = None) -> Tensor:
    """Censored negative log-likelihood in nats a snapshot, over the snapshots of which an interval is known; 0 when
    none is.

    `left_BS` is 1 in the interval in which a customer left, 0 in those that were survived, NaN in those that were not
    reached or not followed to their end. Then the likelihood of a history is a product of Bernoulli terms (Singer &
    Willett 1993; Gensheimer & Narasimhan 2019; Kvamme & Borgan 2021), which is their cross-entropy.
    `weight_S` multiplies the loss of leaving in each interval.
    """
    known_BS = ~left_BS.isnan()
    options: Any = {"weight": known_BS.float(), "pos_weight": weight_S, "reduction": "none"}
    loss_BS = F.binary_cross_entropy_with_logits(logit_BS.float(), left_BS.nan_to_num(0.0), **options)
    return loss_BS.sum() / known_BS.any(dim=-1).sum().clamp(min=1)
