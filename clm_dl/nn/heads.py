"""Heads: what turns a pooled vector and the facts known at the cutoff into a prediction.

Shapes: B snapshots, D width, E extra inputs, S static attributes or outputs, K facts known at the cutoff, P bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from clm_dl.nn.embedding import RobustScale

if TYPE_CHECKING:
    from clm_dl.data.sequences.batch import EventBatch


class PiecewiseLinear(nn.Module):
    """Each number as the share of every bin that it has passed: what a tree splits on, a linear map can weigh. [B, E]
    -> [B, P]

    Piecewise linear encoding (Gorishniy et al. 2022, On Embeddings for Numerical Features), a column for each pair of
    neighbouring edges. Inner bins go from 0 to 1; below the first and above the last edge the outer bins go on, up to
    `reach` widths. NaN gives zeros.
    """

    def __init__(self, edges: Sequence[Sequence[float]], *, reach: float = 5.0) -> None:
        super().__init__()
        bins = [
            (column, low, high, low == known[0], high == known[-1])
            for column, known in enumerate(edges)
            for low, high in pairwise(known)
        ]
        self.column_P: Tensor
        self.low_P: Tensor
        self.width_P: Tensor
        self.floor_P: Tensor
        self.ceiling_P: Tensor
        self.register_buffer("column_P", torch.tensor([column for column, *_ in bins], dtype=torch.long))
        self.register_buffer("low_P", torch.tensor([low for _, low, *_ in bins]))
        self.register_buffer("width_P", torch.tensor([high - low for _, low, high, *_ in bins]))
        self.register_buffer("floor_P", torch.tensor([-reach if is_first else 0.0 for *_, is_first, _ in bins]))
        self.register_buffer("ceiling_P", torch.tensor([1.0 + reach if is_last else 1.0 for *_, is_last in bins]))
        self.output_size = len(bins)

    def forward(self, value_BE: Tensor) -> Tensor:
        share_BP = (value_BE[:, self.column_P] - self.low_P) / self.width_P
        return share_BP.clamp(self.floor_P, self.ceiling_P).nan_to_num(0.0)


class HeadFeatures(nn.Module):
    """EventBatch -> extra_BE: recency, tenure, static attributes and facts known at the cutoff: scaled, missing flags,
    piecewise linear.

    Only here does the time from the last event to the cutoff enter. `schema["head"]` gives {"center", "scale", "edges"}
    of recency, of tenure and of each static attribute in the order of static_BS; `schema["known"]` likewise of the
    columns of known_BK. Without edges a number is only scaled. Tenure and the numbers of known_BK count as their
    outermost edge where they lie beyond it: they grow with the log, and later cutoffs would otherwise ask for what
    training never saw. Recency goes on beyond its edges unless `bounded_recency`. Recency and tenure are always known;
    the others get a flag each. E = 2 + 2S + 2K + P = `output_size`.
    """

    def __init__(self, schema: Mapping[str, Any], *, bounded_recency: bool = False) -> None:
        super().__init__()
        head, known = schema["head"], list(schema["known"].values())
        static = [name for name in head if name not in ("recency", "tenure")]
        self.num_static, self.num_known = len(static), len(known)
        statistics = [head["recency"], head["tenure"], *(head[name] for name in static), *known]
        ends = [item.get("edges") or [-torch.inf, torch.inf] for item in statistics]
        if not bounded_recency:
            ends[0] = [-torch.inf, torch.inf]
        self.smallest_E: Tensor
        self.largest_E: Tensor
        self.register_buffer("smallest_E", torch.tensor([edges[0] for edges in ends]))
        self.register_buffer("largest_E", torch.tensor([edges[-1] for edges in ends]))
        self.scale = RobustScale(statistics)
        self.bins = PiecewiseLinear([item.get("edges", []) for item in statistics])
        self.output_size = 2 + 2 * (self.num_static + self.num_known) + self.bins.output_size

    def forward(self, batch: EventBatch) -> Tensor:
        parts = [torch.stack([batch.recency_B, batch.tenure_B], dim=-1)]
        if self.num_static:
            parts.append(batch.static_BS)
        if self.num_known:
            parts.append(batch.known_BK)
        value_BE = torch.cat(parts, dim=-1).clamp(self.smallest_E, self.largest_E)  # NaN stays NaN
        return torch.cat([self.scale(value_BE), value_BE[:, 2:].isnan().float(), self.bins(value_BE)], dim=-1)


class VectorHead(nn.Module):
    """z_BD, extra_BE -> output_BS: an MLP with one hidden layer (`hidden_size=0`: linear). Starts near 0."""

    def __init__(
        self, input_size: int, *, num_outputs: int, extra_size: int = 0, hidden_size: int = 64, dropout: float = 0.1
    ) -> None:
        super().__init__()
        width = input_size + extra_size
        hidden: list[nn.Module] = [nn.Linear(width, hidden_size), nn.GELU(), nn.Dropout(dropout)] if hidden_size else []
        self.hidden = nn.Sequential(*hidden)
        self.output = nn.Linear(hidden_size or width, num_outputs)
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)

    def forward(self, z_BD: Tensor, extra_BE: Tensor | None = None) -> Tensor:
        input_BD = z_BD if extra_BE is None else torch.cat([z_BD, extra_BE], dim=-1)  # [B,D] + [B,E] -> [B,D+E]
        output_BS: Tensor = self.output(self.hidden(input_BD))
        return output_BS


class BinaryHead(VectorHead):
    """z_BD, extra_BE -> logit_B; the first loss is about ln 2."""

    def __init__(self, input_size: int, *, extra_size: int = 0, hidden_size: int = 64, dropout: float = 0.1) -> None:
        super().__init__(input_size, num_outputs=1, extra_size=extra_size, hidden_size=hidden_size, dropout=dropout)

    def forward(self, z_BD: Tensor, extra_BE: Tensor | None = None) -> Tensor:
        return super().forward(z_BD, extra_BE).squeeze(-1)
