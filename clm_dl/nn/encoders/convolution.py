"""Causal dilated convolution: residual blocks that see 1 + (kernel_size − 1)·(2^num_layers − 1) events back.

Shapes: B snapshots, T events, D width, K kernel taps. Layer norm, never batch norm, so that padding and batch-mates
change nothing.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class ConvolutionBlock(nn.Module):
    """h + W·dropout(GELU(causal_conv(norm(h)))): one tap set with the given dilation, then a pointwise map."""

    def __init__(self, size: int, *, kernel_size: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.reach = (kernel_size - 1) * dilation  # events back
        self.norm = nn.LayerNorm(size)
        self.conv = nn.Conv1d(size, size, kernel_size, dilation=dilation)
        self.output = nn.Linear(size, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h_BTD: Tensor) -> Tensor:
        past_BDT = F.pad(self.norm(h_BTD).transpose(1, 2), (self.reach, 0))  # zeros before the first event only
        y_BTD = F.gelu(self.conv(past_BDT)).transpose(1, 2)
        return h_BTD + self.dropout(self.output(self.dropout(y_BTD)))


class CausalConvolution(nn.Module):
    """Dilations 1, 2, 4, … (Bai, Kolter, Koltun 2018): x_BTD, mask_BT -> h_BTD of width `output_size`, 0 at padding."""

    def __init__(
        self, input_size: int, *, hidden_size: int = 64, num_layers: int = 6, kernel_size: int = 3, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.input = nn.Linear(input_size, hidden_size)
        self.blocks = nn.ModuleList(
            ConvolutionBlock(hidden_size, kernel_size=kernel_size, dilation=2**depth, dropout=dropout)
            for depth in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_size)
        self.output_size = hidden_size

    def forward(self, x_BTD: Tensor, mask_BT: Tensor, time_BT: Tensor | None = None) -> Tensor:
        h_BTD = self.input(x_BTD)
        for block in self.blocks:
            h_BTD = block(h_BTD)
        return self.norm(h_BTD).masked_fill(~mask_BT.unsqueeze(-1), 0.0)
