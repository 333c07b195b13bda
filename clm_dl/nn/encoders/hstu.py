"""HSTU: attention by SiLU instead of softmax, with a bias for the distance in places and in time (Zhai et al. 2024).

Shapes: B snapshots, T events, D width, H heads, E head width, K time buckets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clm_dl.errors import UserError
from clm_dl.nn.dropout import Dropout

SECONDS = 86_400.0
LOG_STEP = 0.301  # a bucket is 35 % longer than the one before: 64 of them reach from a second to seven years


def time_bucket(time_BT: Tensor, num_buckets: int) -> Tensor:
    """Bucket of the time from event j to event i, [B, T, T]: logarithmic in seconds, 0 for the same second and for what
    lies ahead.

    Only the times of events in the input are read, never that of the event to be predicted.
    """
    second_BTT = (time_BT.unsqueeze(2) - time_BT.unsqueeze(1)).float().clamp(min=0.0) * SECONDS
    return (second_BTT.log1p() / LOG_STEP).long().clamp(max=num_buckets - 1)


class HSTUBlock(nn.Module):
    """h + W(norm(A v) · u), where u, v, q, k = SiLU(W norm(h)), A = SiLU(q·k + bias), the mean of the events so far."""

    def __init__(self, size: int, *, num_heads: int, max_positions: int, num_buckets: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.input_norm, self.attention_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.uvqk, self.output = nn.Linear(size, 4 * size), nn.Linear(size, size)
        self.place = nn.Parameter(0.02 * torch.randn(max_positions))
        self.time = nn.Parameter(0.02 * torch.randn(num_buckets)) if num_buckets else None
        self.dropout = Dropout(dropout)

    def forward(self, h_BTD: Tensor, distance_TT: Tensor, bucket_BTT: Tensor | None) -> Tensor:
        u_BTD, v_BTD, q_BTD, k_BTD = F.silu(self.uvqk(self.input_norm(h_BTD))).chunk(4, dim=-1)
        v_BHTE, q_BHTE, k_BHTE = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (v_BTD, q_BTD, k_BTD))
        bias = self.place[distance_TT.clamp(0, len(self.place) - 1)]
        if self.time is not None and bucket_BTT is not None:
            bias = bias + F.embedding(bucket_BTT, self.time.unsqueeze(1)).squeeze(-1).unsqueeze(1)  # [B,1,T,T]
        weight_BHTT = F.silu(q_BHTE @ k_BHTE.transpose(-1, -2) + bias).masked_fill(distance_TT < 0, 0.0)
        # the mean over the events so far
        a_BTD = (weight_BHTT @ v_BHTE).transpose(1, 2).flatten(2) / (distance_TT[:, :1] + 1)
        return h_BTD + self.output(self.dropout(self.attention_norm(a_BTD) * u_BTD))


class HSTU(nn.Module):
    """x_BTD, mask_BT, time_BT -> h_BTD of width `output_size`, zero at padding.

    `max_positions`: distances from there on share a bias. `num_buckets`: of time differences; 0 leaves time out.
    An input of width `hidden_size` is taken as it is, any other goes through a linear map.
    """

    def __init__(
        self,
        input_size: int,
        *,
        hidden_size: int = 64,
        num_layers: int = 2,
        num_heads: int = 2,
        max_positions: int = 512,
        num_buckets: int = 64,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if hidden_size % num_heads:
            raise UserError(f"hidden_size must be a multiple of num_heads = {num_heads}, got {hidden_size}")
        self.num_buckets = num_buckets
        self.input = nn.Identity() if input_size == hidden_size else nn.Linear(input_size, hidden_size)
        options = {"num_heads": num_heads, "max_positions": max_positions, "num_buckets": num_buckets}
        self.blocks = nn.ModuleList(HSTUBlock(hidden_size, **options, dropout=dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(hidden_size)
        self.dropout = Dropout(dropout)
        self.output_size = hidden_size

    def forward(self, x_BTD: Tensor, mask_BT: Tensor, time_BT: Tensor | None = None) -> Tensor:
        bucket_BTT = None
        if self.num_buckets:
            if time_BT is None:
                raise UserError(
                    "encoder hstu needs time_BT in days, got None; pass the batch's time_BT or take num_buckets=0"
                )
            bucket_BTT = time_bucket(time_BT, self.num_buckets)
        place_T = torch.arange(x_BTD.shape[1], device=x_BTD.device)
        distance_TT = place_T.unsqueeze(1) - place_T
        h_BTD = self.dropout(self.input(x_BTD))
        for block in self.blocks:
            h_BTD = block(h_BTD, distance_TT, bucket_BTT)
        return self.norm(h_BTD).masked_fill(~mask_BT.unsqueeze(-1), 0.0)
