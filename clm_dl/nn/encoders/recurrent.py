"""Recurrent encoders: LSTM, GRU and plain RNN over right-padded sequences, never packed.

Shapes: B snapshots, T events, D width. A recurrence reads left to right and padding stands on the right, so padding
cannot reach a real position and `pack_padded_sequence` (5 to 9 times slower on a CPU than length-bucketed batches) is
not needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn


class Recurrent(nn.Module):
    """Stacked recurrent layers of one `cell`: x_BTD, mask_BT -> h_BTD of width `output_size`, zero at padding.

    `dropout` acts between layers and on the output with one mask for all events of a sequence (Gal and Ghahramani 2016;
    random numbers for every event would cost a tenth of the step), `layer_norm` after every layer, `projection_size` is
    the width of a final linear map (None: the output has `hidden_size`). time_BT is accepted and not read: time enters
    through the embedding.
    """

    cell: ClassVar[Callable[..., nn.RNNBase]]

    def __init__(
        self,
        input_size: int,
        *,
        hidden_size: int = 64,
        num_layers: int = 1,
        dropout: float = 0.1,
        layer_norm: bool = False,
        projection_size: int | None = None,
    ) -> None:
        super().__init__()
        widths = [input_size] + [hidden_size] * (num_layers - 1)
        self.layers = nn.ModuleList(self.cell(width, hidden_size, batch_first=True) for width in widths)
        for layer in self.layers:
            # gates lie as input, forget, cell, output; forget starts at 1 (Jozefowicz et al. 2015)
            if isinstance(layer, nn.LSTM):
                nn.init.ones_(layer.all_weights[0][3][hidden_size : 2 * hidden_size])
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_size) if layer_norm else nn.Identity() for _ in widths)
        self.projection = nn.Identity() if projection_size is None else nn.Linear(hidden_size, projection_size)
        self.dropout = nn.Dropout1d(dropout)
        self.output_size = hidden_size if projection_size is None else projection_size

    def forward(self, x_BTD: Tensor, mask_BT: Tensor, time_BT: Tensor | None = None) -> Tensor:
        h_BTD = x_BTD
        for layer, norm in zip(self.layers, self.norms, strict=True):
            h_BTD = self.dropout(norm(layer(h_BTD)[0]).transpose(1, 2)).transpose(1, 2)
        return self.projection(h_BTD).masked_fill(~mask_BT.unsqueeze(-1), 0.0)


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997)."""

    cell = nn.LSTM


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014)."""

    cell = nn.GRU


class RNN(Recurrent):
    """Plain recurrence with tanh (Elman 1990): what gates are compared with."""

    cell = nn.RNN
