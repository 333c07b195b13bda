"""Poolings: h_BTD, mask_BT -> z_BD, one vector a snapshot; a row that is all padding gives zeros and finite gradients.

Shapes: B snapshots, T events, D width. Padding stands on the right.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clm_dl.errors import UserError


class LastPooling(nn.Module):
    """The state after the last real event."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.output_size = size

    def forward(self, h_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        length_B1 = mask_BT.sum(1, keepdim=True)
        index_B1D = (length_B1 - 1).clamp(min=0).unsqueeze(-1).expand(-1, 1, h_BTD.shape[-1])
        return h_BTD.gather(1, index_B1D).squeeze(1).masked_fill(length_B1 == 0, 0.0)


class MeanPooling(nn.Module):
    """The mean over real events."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.output_size = size

    def forward(self, h_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        total_BD = h_BTD.masked_fill(~mask_BT.unsqueeze(-1), 0.0).sum(1)
        return total_BD / mask_BT.sum(1, keepdim=True).clamp(min=1)


class MaxPooling(nn.Module):
    """The largest value of each channel over real events."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.output_size = size

    def forward(self, h_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        h_BTD = h_BTD.masked_fill(~mask_BT.unsqueeze(-1), torch.finfo(h_BTD.dtype).min)
        return h_BTD.amax(1).masked_fill(~mask_BT.any(1, keepdim=True), 0.0)


class AttentionPooling(nn.Module):
    """A weighted mean over real events, the weights by a learned query."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.score = nn.Linear(size, 1, bias=False)  # a bias would cancel in the softmax
        self.output_size = size

    def forward(self, h_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        hidden_BT1 = ~mask_BT.unsqueeze(-1)
        score_BT1 = self.score(h_BTD).float()
        weight_BT1 = (
            score_BT1.masked_fill(hidden_BT1, torch.finfo(torch.float32).min).softmax(1).masked_fill(hidden_BT1, 0.0)
        )
        return (weight_BT1 * h_BTD.masked_fill(hidden_BT1, 0.0)).sum(1)


POOLINGS: dict[str, type[nn.Module]] = {
    "last": LastPooling,
    "mean": MeanPooling,
    "max": MaxPooling,
    "attention": AttentionPooling,
}


def build_pooling(name: str, size: int) -> nn.Module:
    """The pooling called `name` for states of width `size`; its `output_size` is the width of z_BD."""
    if name not in POOLINGS:
        raise UserError(f"pooling must be one of {', '.join(POOLINGS)}, got {name!r}")
    return POOLINGS[name](size)
