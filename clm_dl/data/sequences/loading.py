"""DeviceLoader: batches for a device that shall not wait: gathered where the histories lie, or made a few ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from clm_dl.data.sequences.batch import EventBatch, EventDataset

SHARE = 0.5  # of the device's free memory that histories may take: the rest is for the network
AHEAD = 3  # batches that a thread has ready; to send one from a worker process costs more than to make it


class DeviceLoader(DataLoader[EventBatch]):
    """What a DataLoader of an EventDataset gives, made without worker processes.

    Histories on the device: the indices of the epoch travel there in one piece, before its first batch; the sizes of
    batches are known here. Histories on the host: a thread gathers them into pinned memory, from which
    `EventBatch.to(…, non_blocking=True)` takes them.
    """

    dataset: EventDataset

    def __iter__(self) -> Iterator[EventBatch]:  # type: ignore[override]
        return self._ahead() if self.dataset.device.type == "cpu" else self._resident()

    def _resident(self) -> Iterator[EventBatch]:
        items = [item if isinstance(item, tuple) else (item, None) for item in self.sampler]
        rows = [np.atleast_1d(np.asarray(index, dtype=np.int64)) for index, _ in items]
        index = torch.from_numpy(np.concatenate([np.empty(0, np.int64), *rows])).to(self.dataset.device)
        for index_B, one, (_, width) in zip(index.split([len(one) for one in rows]), rows, items, strict=True):
            yield self.dataset.gather(index_B, *self.dataset.sizes(one, width))

    def _ahead(self) -> Iterator[EventBatch]:
        pinned = torch.cuda.is_available()

        def make(item: Any) -> EventBatch:
            batch = self.dataset[item]
            return batch.pin_memory() if pinned else batch

        ready: deque[Future[EventBatch]] = deque()
        with ThreadPoolExecutor(1) as thread:
            for item in self.sampler:
                ready.append(thread.submit(make, item))
                if len(ready) > AHEAD:
                    yield ready.popleft().result()
            while ready:
                yield ready.popleft().result()


def fits(dataset: EventDataset, device: torch.device) -> bool:
    """Whether the histories take no more than SHARE of what is free on a device that says how much that is."""
    return device.type == "cuda" and dataset.num_bytes <= SHARE * torch.cuda.mem_get_info(device)[0]
