"""EventEmbedding: one vector an event out of its categorical values, its numbers and its time.

Shapes: B snapshots, T events, D width, F numeric fields, V ids of a vocabulary,
L values of all bags of a batch one after the other, N = B·T.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clm_dl.errors import UserError
from clm_dl.nn.embedding_bag import bag_mean

if TYPE_CHECKING:
    from clm_dl.data.sequences.batch import EventBatch

PAD, UNKNOWN = 0, 1  # ids of padding and of a value that is not in the vocabulary
CALENDAR = {"hour": 24, "weekday": 7, "month": 12}  # values of each calendar field
HARMONICS = {"hour": 2, "weekday": 3, "month": 2}  # three harmonics tell all seven weekdays apart


class RobustScale(nn.Module):
    """(x − center) / scale, clipped to ±`clip`, 0 (the center) for NaN. A scale of 0 is 1. [..., F] -> [..., F]"""

    def __init__(self, statistics: Sequence[Mapping[str, float]], *, clip: float = 5.0) -> None:
        super().__init__()
        self.clip = clip
        self.center_F: Tensor
        self.scale_F: Tensor
        self.register_buffer("center_F", torch.tensor([float(item["center"]) for item in statistics]))
        self.register_buffer("scale_F", torch.tensor([float(item["scale"]) or 1.0 for item in statistics]))

    def forward(self, value: Tensor) -> Tensor:
        return (
            ((value - self.center_F) / self.scale_F).nan_to_num(0.0, self.clip, -self.clip).clamp(-self.clip, self.clip)
        )


def signed_log1p(value: Tensor) -> Tensor:
    """sign(x) · log(1 + |x|): amounts and counts on a scale where ten times more is one step, refunds below zero."""
    return value.sign() * value.abs().log1p()


def embedding_size(num_values: int, *, largest: int) -> int:
    """Width for a vocabulary: 1.6 · n^0.56 (fastai's rule of thumb), at most `largest`."""
    return min(largest, math.ceil(1.6 * num_values**0.56))


def calendar_table(name: str) -> Tensor:
    """[values, 2 · harmonics]: sine and cosine of each value of a calendar field: hour 23 stands beside hour 0."""
    angle = 2 * math.pi * torch.arange(CALENDAR[name]) / CALENDAR[name]
    return torch.cat(
        [wave(k * angle).unsqueeze(-1) for k in range(1, HARMONICS[name] + 1) for wave in (torch.sin, torch.cos)],
        dim=-1,
    )


class EventEmbedding(nn.Module):
    """EventBatch -> x_BTD of width `output_size`; what stands at padding is arbitrary but finite, encoders ignore it.

    Categorical fields: a table each, the mean over an order's lines when `schema["bags"]`. Numeric fields: signed
    log1p, robustly scaled, with a missing flag; they, the two times (gap, age) and the calendar go through one linear
    map of `numeric_size`.

    Args:
        schema: {"categorical": {field: number of ids}, "bags": bool, "numeric": {field: {"center", "scale"} of the
            signed log1p}, "time": {"gap": …, "age": …}}, in the order of the batch's columns.
        sizes: width by field, for fields that are not to follow the rule of `embedding_size`.
        max_size: the largest width the rule gives.
        numeric_size: width of the numeric part.
        calendar: calendar fields to use, of hour, weekday and month.
        dropout: share of the channels of x_BTD zeroed in training, the same for all events of a snapshot.
        unknown_rate: share of the categorical values replaced by UNK in training, so that UNK means something when it
            comes.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        *,
        sizes: Mapping[str, int] | None = None,
        max_size: int = 32,
        numeric_size: int = 32,
        calendar: Sequence[str] = ("hour", "weekday", "month"),
        dropout: float = 0.0,
        unknown_rate: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = sizes or {}
        if unknown := [name for name in sizes if name not in schema["categorical"]]:
            raise UserError(
                f"embedding sizes name {unknown[0]!r}, which is none of the categorical fields "
                f"{list(schema['categorical'])}"
            )
        if unknown := [name for name in calendar if name not in CALENDAR]:
            raise UserError(f"calendar must be of {', '.join(CALENDAR)}, got {unknown[0]!r}")
        self.bags, self.calendar, self.unknown_rate = bool(schema["bags"]), tuple(calendar), unknown_rate
        self.fields = tuple(schema["categorical"])
        self.tables = nn.ParameterList()  # by position: a ModuleDict takes no field called "type" or "a.b"
        for name, count in schema["categorical"].items():
            table_VD = 0.05 * torch.randn(count, sizes.get(name) or embedding_size(count, largest=max_size))
            table_VD[PAD] = 0.0
            self.tables.append(nn.Parameter(table_VD))
        self.scale = RobustScale([*schema["numeric"].values(), schema["time"]["gap"], schema["time"]["age"]])
        for name in self.calendar:
            self.register_buffer(f"table_{name}", calendar_table(name), persistent=False)
        width = 2 * len(schema["numeric"]) + 2 + 2 * sum(HARMONICS[name] for name in self.calendar)
        self.numeric = nn.Linear(width, numeric_size)
        self.dropout = nn.Dropout1d(dropout)
        self.output_size = numeric_size + sum(table_VD.shape[1] for table_VD in self.tables)

    def forward(self, batch: EventBatch) -> Tensor:
        numeric_BTF = batch.numeric_BTF
        value_BTF = torch.cat(
            [signed_log1p(numeric_BTF), batch.gap_BT.unsqueeze(-1), batch.age_BT.unsqueeze(-1)], dim=-1
        )
        dense = [self.scale(value_BTF), numeric_BTF.isnan().float()]
        dense += [F.embedding(getattr(batch, f"{name}_BT"), getattr(self, f"table_{name}")) for name in self.calendar]
        parts = [self.numeric(torch.cat(dense, dim=-1))]
        for name, table_VD in zip(self.fields, self.tables, strict=True):
            if self.bags:
                ids_L, offset_N = batch.bags[name]
                parts.append(bag_mean(table_VD, self.drop_words(ids_L), offset_N).unflatten(0, batch.mask_BT.shape))
            else:
                parts.append(F.embedding(self.drop_words(batch.categorical[name]), table_VD, padding_idx=PAD))
        return self.dropout(torch.cat(parts, dim=-1).transpose(1, 2)).transpose(1, 2)

    def drop_words(self, ids: Tensor) -> Tensor:
        """Replaces a share of the known ids by UNK in training; padding stays padding."""
        if not self.training or self.unknown_rate == 0.0:
            return ids
        drop = (torch.rand(ids.shape, device=ids.device) < self.unknown_rate) & (ids > UNKNOWN)
        return ids.masked_fill(drop, UNKNOWN)
