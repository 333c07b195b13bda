"""Contrast of sub-sequences (Babaev et al. 2022, CoLES): slices of one history shall lie close together, those of
others apart.

Shapes: B snapshots, M slices of all of them (the `num` of a snapshot one after the other), T tokens, D width, F numeric
fields, L lines.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from clm_dl.nn.selection import picks_out

if TYPE_CHECKING:
    from clm_dl.data.sequences.batch import EventBatch


def draw_slices(
    length_B: Tensor, *, num: int, min_tokens: int, max_tokens: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """(start_M, length_M): `num` random slices of each history, lengths and then places drawn evenly."""
    total_M = length_B.repeat_interleave(num)

    def share() -> Tensor:
        device = length_B.device if generator is None else generator.device
        return torch.rand(len(total_M), generator=generator, device=device).to(length_B.device)

    low_M, high_M = total_M.clamp(max=min_tokens), total_M.clamp(max=max_tokens)
    length_M = low_M + (share() * (high_M - low_M + 1)).long()
    start_M = (share() * (total_M - length_M + 1)).long()
    return start_M, length_M


def take_slices(batch: EventBatch, start_M: Tensor, length_M: Tensor, *, max_tokens: int) -> EventBatch:
    """Tokens [start, start + length) of each history as M rows, none longer than `max_tokens`; gap and age stay as they
    are, the time begins anew.
    """
    (num_rows, num_tokens), num = batch.mask_BT.shape, len(start_M) // len(batch)
    row_M = torch.arange(num_rows, device=start_M.device).repeat_interleave(num)
    longest = int(length_M.max()) if picks_out(length_M) else min(max_tokens, num_tokens)
    step_T = torch.arange(longest, device=start_M.device)
    mask_MT = step_T < length_M[:, None]
    place_MT = torch.where(mask_MT, row_M[:, None] * num_tokens + start_M[:, None] + step_T, 0)  # in the flat [B·T]

    def taken(value: Tensor) -> Tensor:
        found: Tensor = value.flatten(0, 1)[place_MT]
        return found.masked_fill(~(mask_MT if found.ndim == 2 else mask_MT.unsqueeze(-1)), 0)

    bags = {}
    for name, (ids_L, offset_N) in batch.bags.items():
        count_N = offset_N.diff()[place_MT.flatten()] * mask_MT.flatten()
        moved_N = F.pad(count_N.cumsum(0), (1, 0))
        shift_N = offset_N[place_MT.flatten()] - moved_N[:-1]
        # at most all lines once a slice; what is more stands behind the last bag
        num_lines = int(moved_N[-1]) if picks_out(ids_L) else num * len(ids_L)
        place_L = torch.arange(num_lines, device=ids_L.device)
        token_L = torch.searchsorted(moved_N[1:], place_L, right=True).clamp(max=len(shift_N) - 1)
        bags[name] = (ids_L[(place_L + shift_N[token_L]).clamp(max=len(ids_L) - 1)], moved_N)
    tokens = ("numeric_BTF", "gap_BT", "age_BT", "hour_BT", "weekday_BT", "month_BT", "time_BT")
    rows = ("recency_B", "tenure_B", "static_BS", "known_BK", "label_B", "target_BK", "index_B")
    values = {name: taken(getattr(batch, name)) for name in tokens}
    values["time_BT"] = (values["time_BT"] - values["time_BT"][:, :1]).masked_fill(~mask_MT, 0.0)
    return replace(
        batch,
        categorical={name: taken(ids_BT) for name, ids_BT in batch.categorical.items()},
        bags=bags,
        mask_BT=mask_MT,
        length_B=length_M,
        **values,
        **{name: getattr(batch, name)[row_M] for name in rows},
    )


def contrastive_loss(z_MD: Tensor, real_M: Tensor | None = None, *, num: int, margin: float, negatives: int) -> Tensor:
    """Loss of each slice [M], 0 of one that is not `real_M`, Hadsell et al. 2006 with hard negatives as in CoLES.

    Half the mean squared distance to the other slices of its history, plus half the mean of max(0, margin − distance)²
    over the `negatives` slices of other histories that are nearest.

    Distances are between vectors of length 1; in a batch of one history there is nothing to be apart from.
    """
    z_MD = F.normalize(z_MD.float(), dim=1)
    square_MM = (2.0 - 2.0 * z_MD @ z_MD.T).clamp(min=0.0)
    owner_M = torch.arange(len(z_MD), device=z_MD.device) // num
    same_MM = owner_M[:, None] == owner_M
    real_M = torch.ones_like(same_MM[0]) if real_M is None else real_M
    near_M = 0.5 * (square_MM * same_MM).sum(1) / (num - 1)  # the distance to itself is 0
    count = min(negatives, len(z_MD) - num)
    if count == 0:
        return near_M * real_M
    hardest_MK = square_MM.masked_fill(same_MM | ~real_M, torch.inf).topk(count, dim=1, largest=False).values
    distance_MK = (hardest_MK + 1e-8).sqrt()  # the root has no slope at 0; what is infinitely far costs nothing
    apart_M = (margin - distance_MK).clamp(min=0.0).square().sum(1) / (real_M.sum() - num).clamp(1, count)
    return (near_M + 0.5 * apart_M) * real_M
