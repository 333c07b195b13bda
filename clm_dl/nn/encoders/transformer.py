"""Transformer: pre-norm blocks, causal or not, positions learned or rotary (which may run in days); SASRec, eSASRec,
BERT4Rec.

Shapes: B snapshots, T events, D width, H heads, E head width, R = E/2 rotation planes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clm_dl.errors import UserError
from clm_dl.nn.dropout import Dropout

POSITIONS = ("rope", "time", "learned", "none")
ACTIVATIONS = ("gelu", "relu", "swiglu")


def rotation(place_BT: Tensor, rate_R: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of place × rate, [B, 1, T, R] each, always in float32: bf16 cannot count days."""
    angle_BTR = place_BT.float().unsqueeze(-1) * rate_R
    return angle_BTR.cos().unsqueeze(1), angle_BTR.sin().unsqueeze(1)


def rotate(x_BHTE: Tensor, cos_BTR: Tensor, sin_BTR: Tensor) -> Tensor:
    """Rotary embedding (Su et al. 2021): each pair (i, i + R) is turned, so scores depend on distance only."""
    left, right = x_BHTE.chunk(2, dim=-1)
    return torch.cat([left * cos_BTR - right * sin_BTR, left * sin_BTR + right * cos_BTR], dim=-1).type_as(x_BHTE)


class FeedForward(nn.Module):
    """D -> F -> D with GELU or ReLU, or gated (SwiGLU, Shazeer 2020)."""

    def __init__(self, size: int, *, hidden_size: int, activation: str) -> None:
        super().__init__()
        self.gated = activation == "swiglu"
        self.activation = F.relu if activation == "relu" else F.gelu
        self.input = nn.Linear(size, 2 * hidden_size if self.gated else hidden_size)
        self.output = nn.Linear(hidden_size, size)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTF = self.input(x_BTD)
        if self.gated:
            gate_BTF, value_BTF = y_BTF.chunk(2, dim=-1)
            return self.output(F.silu(gate_BTF) * value_BTF)
        return self.output(self.activation(y_BTF))


class TransformerBlock(nn.Module):
    """h + attention(norm(h)), then h + feedforward(norm(h)); dropout on both branches.

    `gated` scales each channel of a branch by sigmoid(W h) (LiGR, Borisyuk et al. 2024; the block of eSASRec,
    Tikhonovich et al. 2025).
    """

    def __init__(
        self, size: int, *, num_heads: int, feedforward_size: int, activation: str, gated: bool, dropout: float
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(size)
        self.qkv = nn.Linear(size, 3 * size)
        self.output = nn.Linear(size, size)
        self.feedforward_norm = nn.LayerNorm(size)
        self.feedforward = FeedForward(size, hidden_size=feedforward_size, activation=activation)
        self.gates = nn.ModuleList(nn.Linear(size, size) for _ in range(2)) if gated else None
        self.dropout = Dropout(dropout)

    def forward(self, h_BTD: Tensor, turn: tuple[Tensor, Tensor] | None, seen_B1TT: Tensor | None) -> Tensor:
        """`seen_B1TT`: which tokens each one attends to; None is the causal order, where padding is in the future."""
        # [B,T,3D] -> [B,T,3,H,E]
        qkv_BTHE = self.qkv(self.attention_norm(h_BTD)).unflatten(-1, (3, self.num_heads, -1))
        q_BHTE, k_BHTE, v_BHTE = qkv_BTHE.permute(2, 0, 3, 1, 4).unbind(0)
        if turn is not None:
            q_BHTE, k_BHTE = rotate(q_BHTE, *turn), rotate(k_BHTE, *turn)
        a_BHTE = F.scaled_dot_product_attention(
            q_BHTE, k_BHTE, v_BHTE, attn_mask=seen_B1TT, is_causal=seen_B1TT is None
        )
        h_BTD = self._add(h_BTD, self.output(a_BHTE.transpose(1, 2).flatten(2)), 0)
        return self._add(h_BTD, self.feedforward(self.feedforward_norm(h_BTD)), 1)

    def _add(self, h_BTD: Tensor, branch_BTD: Tensor, number: int) -> Tensor:
        if self.gates is not None:
            branch_BTD = branch_BTD * self.gates[number](h_BTD).sigmoid()
        return self.dropout(branch_BTD, h_BTD)


class CausalTransformer(nn.Module):
    """x_BTD, mask_BT, time_BT -> h_BTD of width `output_size`, zero at padding. Wants a learning-rate warm-up.

    `positions`: "rope" turns by the event's place in the sequence, "time" by time_BT in days (any origin: only
        differences count),
    "learned" adds a vector for each of `max_positions` places, "none" leaves order to the causal mask.
    `base`: slowest turn is about one radian per `base` places or days.
    `feedforward_size`: None is 4 × hidden_size (gelu, relu) or 8/3 × hidden_size (swiglu), the same number of weights.
    `causal`: false lets each token see the later ones too, for masked training. `gated`: see `TransformerBlock`.
    An input of width `hidden_size` is taken as it is, any other goes through a linear map.
    """

    def __init__(
        self,
        input_size: int,
        *,
        hidden_size: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
        feedforward_size: int | None = None,
        activation: str = "gelu",
        positions: str = "rope",
        base: float = 10_000.0,
        max_positions: int = 512,
        causal: bool = True,
        gated: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if positions not in POSITIONS:
            raise UserError(f"positions must be one of {', '.join(POSITIONS)}, got {positions!r}")
        if activation not in ACTIVATIONS:
            raise UserError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        if hidden_size % (2 * num_heads):
            raise UserError(f"hidden_size must be a multiple of 2 × num_heads = {2 * num_heads}, got {hidden_size}")
        if feedforward_size is None:
            feedforward_size = 8 * hidden_size // 3 if activation == "swiglu" else 4 * hidden_size
        self.positions, self.causal = positions, causal
        self.input = nn.Identity() if input_size == hidden_size else nn.Linear(input_size, hidden_size)
        self.place_TD = nn.Parameter(0.02 * torch.randn(max_positions, hidden_size)) if positions == "learned" else None
        options: dict[str, Any] = {
            "num_heads": num_heads,
            "feedforward_size": feedforward_size,
            "activation": activation,
            "gated": gated,
        }
        self.blocks = nn.ModuleList(
            TransformerBlock(hidden_size, **options, dropout=dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_size)
        self.dropout = Dropout(dropout)
        self.output_size = hidden_size
        num_planes = hidden_size // num_heads // 2
        self.rate_R: Tensor
        self.register_buffer("rate_R", base ** (-torch.arange(num_planes) / num_planes), persistent=False)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor, time_BT: Tensor | None = None) -> Tensor:
        h_BTD = self.input(x_BTD)
        num, turn, seen_B1TT = x_BTD.shape[1], None, None
        if self.positions == "time":
            if time_BT is None:
                raise UserError(
                    "positions=time needs time_BT in days, got None; pass the batch's time_BT or take positions=rope"
                )
            turn = rotation(time_BT, self.rate_R)
        elif self.positions == "rope":
            turn = rotation(torch.arange(num, device=x_BTD.device).unsqueeze(0), self.rate_R)
        elif self.place_TD is not None:
            if num > len(self.place_TD):
                raise UserError(
                    f"encoder.max_positions is {len(self.place_TD)}, got {num} tokens; raise it or lower "
                    "sequence.max_tokens"
                )
            h_BTD = h_BTD + self.place_TD[:num]
        if not self.causal:
            # a token always sees itself, so that a row that is all padding stays finite
            seen_B1TT = mask_BT[:, None, None, :] | torch.eye(num, dtype=torch.bool, device=x_BTD.device)
        h_BTD = self.dropout(h_BTD)
        for block in self.blocks:
            h_BTD = block(h_BTD, turn, seen_B1TT)
        return self.norm(h_BTD).masked_fill(~mask_BT.unsqueeze(-1), 0.0)
