"""EventBatch: a padded batch of histories, and EventDataset, which gathers one from flat arrays without a loop over
customers.

Shapes: N snapshots, B snapshots of a batch, T tokens, L lines of a batch, F numeric fields, S static attributes,
K facts known at the cutoff.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from clm_dl.data.sequences.tokens import DAY, Sequences
from clm_dl.data.sequences.vocabulary import PAD, Vocabulary
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.errors import UserError


@dataclass
class EventBatch:
    """B histories, right-padded to the longest of the batch. Padding holds 0 (PAD) and is False in `mask_BT`.

    Attributes:
        categorical: line tokens: `{field: int64 [B, T]}`, vocabulary ids. Empty for order tokens.
        bags: order tokens: `{field: (ids int64 [L], offsets int64 [B·T + 1])}`, for `embedding_bag(…,
            include_last_offset=True)`; padding has an empty bag. Empty for line tokens.
        numeric_BTF: float32, raw values, NaN missing.
        gap_BT, age_BT: float32, log1p of days since the previous and since the first token of the customer (cut off or
            not).
        hour_BT, weekday_BT, month_BT: int64, of the store's zone; 0–23, Monday 0 – Sunday 6, January 0 – December 11.
        time_BT: float32, days since the first token of the window.
        mask_BT: bool. length_B: int64.
        recency_B, tenure_B: float32, log1p of days from the last, and from the first, event to the cutoff.
        static_BS: float32, NaN missing. known_BK: float32, NaN missing: calendar sums of the label window, history
            features.
        label_B: float32, NaN censored. target_BK: float32, NaN unknown: what a task wants to know beside the label; K
            is 0 for most.
        index_B: int64, rows of the Snapshots.
    """

    categorical: dict[str, Tensor]
    bags: dict[str, tuple[Tensor, Tensor]]
    numeric_BTF: Tensor
    gap_BT: Tensor
    age_BT: Tensor
    hour_BT: Tensor
    weekday_BT: Tensor
    month_BT: Tensor
    time_BT: Tensor
    mask_BT: Tensor
    length_B: Tensor
    recency_B: Tensor
    tenure_B: Tensor
    static_BS: Tensor
    known_BK: Tensor
    label_B: Tensor
    target_BK: Tensor
    index_B: Tensor

    def __len__(self) -> int:
        return len(self.index_B)

    @property
    def num_events(self) -> int:
        """Lines gathered: the lines in the bags of order tokens, else the tokens."""
        if self.bags:
            return len(next(iter(self.bags.values()))[0])
        return int(self.length_B.sum())

    def _map(self, change: Callable[[Tensor], Tensor]) -> EventBatch:
        parts: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        shared: dict[int, Tensor] = {}  # the bags share their offsets: move them once

        def once(tensor: Tensor) -> Tensor:
            return shared.setdefault(id(tensor), change(tensor)) if id(tensor) not in shared else shared[id(tensor)]

        for name, part in parts.items():
            if isinstance(part, Tensor):
                parts[name] = change(part)
            elif name == "bags":
                parts[name] = {field: (change(ids), once(offsets)) for field, (ids, offsets) in part.items()}
            else:
                parts[name] = {field: change(ids) for field, ids in part.items()}
        return EventBatch(**parts)

    def to(self, device: Any, non_blocking: bool = False) -> EventBatch:
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> EventBatch:
        return self._map(lambda tensor: tensor.pin_memory())


class EventDataset(Dataset[EventBatch]):
    """Batches by index array: `dataset[index_B]` is one EventBatch. Use it with a batch of indices per item, never one
    by one.

    Everything that can be done once is done here: vocabulary ids of all lines, calendar and times of all tokens. A row
    of padding stands behind the last token, so that a batch is a handful of gathers.

    Args:
        max_tokens: the last so many tokens of a history are kept.
        static_US, static_N: float32 `[U, S]`, distinct attributes, and the row of each snapshot there.
        known_NK, target_NK: float32 `[N, K]`; without targets K is 0.
    """

    def __init__(
        self,
        sequences: Sequences,
        vocabulary: Vocabulary,
        snapshots: Snapshots,
        *,
        max_tokens: int,
        static_US: np.ndarray,
        static_N: np.ndarray,
        known_NK: np.ndarray,
        target_NK: np.ndarray | None = None,
    ):
        if max_tokens < 1:
            raise UserError(f"sequence.max_tokens must be at least 1, got {max_tokens}")
        first, last = sequences.token_range(snapshots)
        if (last <= first).any():
            raise UserError(
                f"{int((last <= first).sum())} snapshots have no event before their cutoff: leave them out of the "
                "population"
            )
        self.bags = sequences.token == "order"
        self.length_N = torch.from_numpy(np.minimum(last - first, max_tokens))
        self.start_N = torch.from_numpy(last) - self.length_N
        self.recency_N = _log_days(snapshots.cutoff - sequences.time[last - 1])
        self.tenure_N = _log_days(snapshots.cutoff - sequences.time[first])
        self.static_N = torch.from_numpy(np.asarray(static_N, dtype=np.int64))
        self.label_N = torch.from_numpy(np.asarray(snapshots.label, dtype=np.float32))
        self.static_US, self.known_NK = torch.from_numpy(static_US), torch.from_numpy(known_NK)
        self.target_NK = (
            torch.zeros(len(self.label_N), 0)
            if target_NK is None
            else torch.from_numpy(np.asarray(target_NK, np.float32))
        )
        time = sequences.time
        local = sequences.store.zone.local(time)
        self.time = torch.from_numpy(_with_padding(time))
        self.number = torch.from_numpy(_with_padding(np.column_stack([sequences.gap, sequences.age, sequences.values])))
        calendar = [
            local // (DAY // 24) % 24,
            (local // DAY + 3) % 7,
            local.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) % 12,
        ]  # 1970-01-01: Thursday
        self.calendar = torch.from_numpy(_with_padding(np.column_stack(calendar).astype(np.uint8)))
        ids = {
            name: sequences.ids(name, vocabulary.lookup(name, sequences.store.dictionary(name)))
            for name in sequences.categorical
        }
        self.ids = {name: torch.from_numpy(np.append(value, np.int32(PAD))) for name, value in ids.items()}
        self.line_offset = torch.from_numpy(np.asarray(sequences.line_offsets, dtype=np.int64))
        self.num_lines = torch.from_numpy(_with_padding(np.diff(sequences.line_offsets).astype(np.int64)))

    def __len__(self) -> int:
        return len(self.length_N)

    def __getitem__(self, index: Any) -> EventBatch:
        index_B = torch.as_tensor(np.atleast_1d(np.asarray(index, dtype=np.int64)))
        start_B, length_B = self.start_N[index_B], self.length_N[index_B]
        step_T = torch.arange(int(length_B.max()))
        mask_BT = step_T < length_B[:, None]
        place_BT = torch.where(mask_BT, start_B[:, None] + step_T, len(self.time) - 1)  # padding gathers the last row
        place = place_BT.flatten()
        number = self.number.index_select(0, place).unflatten(0, mask_BT.shape)  # [B,T,2+F]
        calendar = self.calendar.index_select(0, place).unflatten(0, mask_BT.shape).long()
        elapsed_BT = (self.time[place_BT] - self.time[start_B][:, None]).double() / DAY
        categorical: dict[str, Tensor] = {}
        bags: dict[str, tuple[Tensor, Tensor]] = {}
        if self.bags and self.ids:
            # a history's tokens, and so its lines, are neighbours: line l of the batch is line l + shift of the store
            count = self.num_lines.index_select(0, place)
            offset = torch.cat([count.new_zeros(1), count.cumsum(0)])
            first_B = self.line_offset[start_B]
            num_B = self.line_offset[start_B + length_B] - first_B
            line_L = torch.repeat_interleave(first_B - (num_B.cumsum(0) - num_B), num_B, output_size=int(offset[-1]))
            line_L += torch.arange(len(line_L))
            bags = {name: (ids.index_select(0, line_L).long(), offset) for name, ids in self.ids.items()}
        else:
            categorical = {
                name: ids.index_select(0, place).long().view(mask_BT.shape) for name, ids in self.ids.items()
            }
        return EventBatch(
            categorical=categorical,
            bags=bags,
            numeric_BTF=number[..., 2:],
            gap_BT=number[..., 0],
            age_BT=number[..., 1],
            hour_BT=calendar[..., 0],
            weekday_BT=calendar[..., 1],
            month_BT=calendar[..., 2],
            time_BT=torch.where(mask_BT, elapsed_BT, 0.0).float(),
            mask_BT=mask_BT,
            length_B=length_B,
            recency_B=self.recency_N[index_B],
            tenure_B=self.tenure_N[index_B],
            static_BS=self.static_US[self.static_N[index_B]],
            known_BK=self.known_NK[index_B],
            label_B=self.label_N[index_B],
            target_BK=self.target_NK[index_B],
            index_B=index_B,
        )


def _with_padding(array: np.ndarray) -> np.ndarray:
    """The array with a row of zeros behind the last."""
    return np.concatenate([array, np.zeros_like(array, shape=(1, *array.shape[1:]))])


def _log_days(microseconds: np.ndarray) -> Tensor:
    return torch.from_numpy(np.log1p(microseconds / DAY).astype(np.float32))
