"""EventBatch: a padded batch of histories, and EventDataset, which gathers one from flat arrays without a loop over
customers.

Every size of a batch is known on the host, so that a device that gathers is asked for no number.

Shapes: N snapshots, B snapshots of a batch, T tokens, L lines of a batch, F numeric fields, S static attributes,
K facts known at the cutoff.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
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
    """B histories, right-padded to the longest or further. Padding holds 0 (PAD) and is False in `mask_BT`.

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
    def num_events(self) -> int | Tensor:
        """Lines gathered: the lines in the bags of order tokens, else the tokens, which stay where the batch lies."""
        if self.bags:
            return len(next(iter(self.bags.values()))[0])
        return self.length_B.sum()

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
    of padding stands behind the last token, so that a batch is a handful of gathers. Behind the last snapshot stands a
    filler: no history, nothing known, no label; it makes a batch of a size asked for and counts in no loss.

    Args:
        max_tokens: the last so many tokens of a history are kept.
        static_US, static_N: float32 `[U, S]`, distinct attributes, and the row of each snapshot there.
        known_NK, target_NK: float32 `[N, K]`; without targets K is 0.

    Attributes:
        lengths, num_lines: int64 `[N + 1]` on the host: tokens and lines of each row.
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
        first_line, num_tokens = np.asarray(sequences.line_offsets, dtype=np.int64), len(sequences.time)
        self.lengths = np.append(np.minimum(last - first, max_tokens), 0)
        start = np.append(last, num_tokens) - self.lengths
        self.num_lines = first_line[start + self.lengths] - first_line[start]
        self.length_N, self.start_N = torch.from_numpy(self.lengths), torch.from_numpy(start)
        self.recency_N = _log_days(np.append(snapshots.cutoff - sequences.time[last - 1], 0))
        self.tenure_N = _log_days(np.append(snapshots.cutoff - sequences.time[first], 0))
        self.static_N = torch.from_numpy(np.append(np.asarray(static_N, dtype=np.int64), len(static_US)))
        self.label_N = torch.from_numpy(np.append(np.asarray(snapshots.label, dtype=np.float32), np.float32(np.nan)))
        self.static_US = torch.from_numpy(_with_row(static_US, 0.0))
        self.known_NK = torch.from_numpy(_with_row(known_NK, 0.0))
        targets = np.zeros((len(snapshots), 0)) if target_NK is None else target_NK
        self.target_NK = torch.from_numpy(_with_row(np.asarray(targets, np.float32), np.nan))
        time = sequences.time
        local = sequences.store.zone.local(time)
        self.time = torch.from_numpy(_with_row(time, 0))
        self.number = torch.from_numpy(_with_row(np.column_stack([sequences.gap, sequences.age, sequences.values]), 0))
        calendar = [
            local // (DAY // 24) % 24,
            (local // DAY + 3) % 7,
            local.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) % 12,
        ]  # 1970-01-01: Thursday
        self.calendar = torch.from_numpy(_with_row(np.column_stack(calendar).astype(np.uint8), 0))
        ids = {
            name: sequences.ids(name, vocabulary.lookup(name, sequences.store.dictionary(name)))
            for name in sequences.categorical
        }
        self.ids = {name: torch.from_numpy(np.append(value, np.int32(PAD))) for name, value in ids.items()}
        self.line_offset = torch.from_numpy(first_line)
        self.lines_of_token = torch.from_numpy(_with_row(np.diff(first_line), 0))

    def __len__(self) -> int:
        return len(self.lengths) - 1

    @property
    def device(self) -> torch.device:
        """Where the histories lie."""
        return self.time.device

    @property
    def num_bytes(self) -> int:
        """What the histories take."""
        return sum(tensor.nbytes for tensor in self._tensors())

    def to(self, device: torch.device) -> EventDataset:
        """The same histories on another device."""
        moved = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(device))
        moved.ids = {name: value.to(device) for name, value in self.ids.items()}
        return moved

    def _tensors(self) -> Iterator[Tensor]:
        yield from (value for value in vars(self).values() if isinstance(value, Tensor))
        yield from self.ids.values()

    def __getitem__(self, index: Any) -> EventBatch:
        """Of rows, or of (rows, tokens that each is padded to)."""
        rows, width = index if isinstance(index, tuple) else (index, None)
        rows = np.atleast_1d(np.asarray(rows, dtype=np.int64))
        return self.gather(torch.from_numpy(rows).to(self.device), *self.sizes(rows, width))

    def sizes(self, rows: np.ndarray, width: int | None = None) -> tuple[int, int]:
        """T, `width` or the longest of these rows, and L of their batch."""
        longest = int(self.lengths[rows].max()) if width is None else width
        return longest, int(self.num_lines[rows].sum()) if self.bags else 0

    def gather(self, index_B: Tensor, num_tokens: int, num_lines: int) -> EventBatch:
        """The batch of rows that are on the device of the histories, of the sizes that `sizes` gives."""
        start_B, length_B = self.start_N[index_B], self.length_N[index_B]
        step_T = torch.arange(num_tokens, device=index_B.device)
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
            count = self.lines_of_token.index_select(0, place)
            offset = torch.cat([count.new_zeros(1), count.cumsum(0)])
            first_B = self.line_offset[start_B]
            num_B = self.line_offset[start_B + length_B] - first_B
            line_L = torch.repeat_interleave(first_B - (num_B.cumsum(0) - num_B), num_B, output_size=num_lines)
            line_L += torch.arange(num_lines, device=index_B.device)
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


def _with_row(array: np.ndarray, value: float) -> np.ndarray:
    """The array with a row of `value` behind the last."""
    return np.concatenate([array, np.full_like(array, value, shape=(1, *array.shape[1:]))])


def _log_days(microseconds: np.ndarray) -> Tensor:
    return torch.from_numpy(np.log1p(microseconds / DAY).astype(np.float32))
