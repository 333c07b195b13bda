"""A network for the columns of a table: every number in bins, then an ensemble of perceptrons that share their weights.

Shapes: B rows, F columns, P bins, K members, I inputs and D outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clm_dl.nn.dropout import Dropout
from clm_dl.nn.heads import PiecewiseLinear


class EnsembleLinear(nn.Module):
    """K linear maps that share one matrix: each member scales what goes in and what comes out, and adds its own bias.
    [B, K, I] -> [B, K, D]

    BatchEnsemble (Wen, Tran, Ba 2020). Members that begin alike stay alike, so `scale_KI` gives the first layer of a
    network scales that differ; without it all begin at 1.
    """

    def __init__(self, input_size: int, output_size: int, *, num_members: int, scale_KI: Tensor | None = None) -> None:
        super().__init__()
        reach = max(1, input_size) ** -0.5
        self.weight_DI = nn.Parameter(torch.empty(output_size, input_size).uniform_(-reach, reach))
        self.scale_KI = nn.Parameter(torch.ones(num_members, input_size) if scale_KI is None else scale_KI)
        self.scale_KD = nn.Parameter(torch.ones(num_members, output_size))
        self.bias_KD = nn.Parameter(torch.empty(output_size).uniform_(-reach, reach).repeat(num_members, 1))

    def forward(self, x_BKI: Tensor) -> Tensor:
        return torch.addcmul(self.bias_KD, (x_BKI * self.scale_KI) @ self.weight_DI.T, self.scale_KD)


class TabularNetwork(nn.Module):
    """Logits of every member. [B, F] -> [B, K]; the mean of their probabilities is what the network says.

    TabM (Gorishniy, Kotelnikov, Babenko 2024, TabM: Advancing tabular deep learning with parameter-efficient
    ensembling) on piecewise linear bins (Gorishniy, Rubachev, Babenko 2022): at first a member scales all bins of a
    column by one random number, so that each looks at the columns in its own way.

    Args:
        edges: of the bins of each column, rising; fewer than two leave the column out.
    """

    def __init__(
        self, edges: Sequence[Sequence[float]], *, num_members: int, hidden_size: int, num_layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.bins = PiecewiseLinear(edges, reach=1.0)
        scale_KF = torch.randn(num_members, len(edges))
        widths = [self.bins.output_size] + [hidden_size] * num_layers
        self.layers = nn.ModuleList(
            EnsembleLinear(
                widths[place],
                widths[place + 1],
                num_members=num_members,
                scale_KI=scale_KF[:, self.bins.column_P] if place == 0 else None,
            )
            for place in range(num_layers)
        )
        self.dropout = Dropout(dropout)
        reach = hidden_size**-0.5
        self.weight_KD = nn.Parameter(torch.empty(num_members, hidden_size).uniform_(-reach, reach))
        self.bias_K = nn.Parameter(torch.zeros(num_members))

    def forward(self, x_BF: Tensor) -> Tensor:
        return self.logits(self.bins(x_BF))

    def logits(self, bins_BP: Tensor) -> Tensor:
        """Of rows in bins, which learn nothing: in training they are made once. [B, P] -> [B, K]"""
        h_BKD = bins_BP[:, None].expand(-1, len(self.bias_K), -1)
        for layer in self.layers:
            h_BKD = self.dropout(layer(h_BKD).relu())
        return (h_BKD * self.weight_KD).sum(-1) + self.bias_K
