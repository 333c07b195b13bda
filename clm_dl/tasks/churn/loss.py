"""Losses that know about censored labels.

Shapes: B snapshots. A censored label is NaN: it takes no part and gives no gradient.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def binary_cross_entropy(
    logit_B: Tensor, label_B: Tensor, *, positive_weight: float = 1.0, label_smoothing: float = 0.0
) -> Tensor:
    """Mean cross-entropy in nats over the labels that are known; 0 when none is.

    `positive_weight` multiplies the loss of the positives (the odds come out that many times too high: undo it by prior
    correction), `label_smoothing` = s trains towards s/2 and 1 − s/2.
    """
    known_B = ~label_B.isnan()
    label_B = label_B.nan_to_num(0.0)
    weight_B = known_B * (1.0 + (positive_weight - 1.0) * label_B)
    target_B = label_B * (1.0 - label_smoothing) + 0.5 * label_smoothing
    loss_B = F.binary_cross_entropy_with_logits(logit_B.float(), target_B, weight=weight_B, reduction="none")
    return loss_B.sum() / known_B.sum().clamp(min=1)
