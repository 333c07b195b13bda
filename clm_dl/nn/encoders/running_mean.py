"""The null model among the encoders: an event-wise MLP and its causal running mean, blind to order.

Shapes: B snapshots, T events, D width.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class RunningMean(nn.Module):
    """h_t = mean of MLP(x_1 … x_t): x_BTD, mask_BT -> h_BTD of width `output_size`, zero at padding.

    Whatever a recurrent encoder gains over this one it owes to the order of events.
    """

    def __init__(self, input_size: int, *, hidden_size: int = 64, num_layers: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        widths = [input_size] + [hidden_size] * num_layers
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.GELU(), nn.Dropout(dropout)]
        self.mlp = nn.Sequential(*layers)
        self.output_size = hidden_size

    def forward(self, x_BTD: Tensor, mask_BT: Tensor, time_BT: Tensor | None = None) -> Tensor:
        # right padding: t events so far
        count_T = torch.arange(1, x_BTD.shape[1] + 1, device=x_BTD.device, dtype=torch.float32)
        h_BTD = self.mlp(x_BTD).float().cumsum(1) / count_T.unsqueeze(-1)
        return h_BTD.masked_fill(~mask_BT.unsqueeze(-1), 0.0)
