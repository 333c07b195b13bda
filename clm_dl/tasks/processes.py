"""Several processes at one run: each does its share of what all of them are asked, and all get the whole of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
import torch.distributed as dist

Item = TypeVar("Item")
Found = TypeVar("Found")
_together: ContextVar[bool] = ContextVar("together", default=False)


@contextmanager
def together() -> Iterator[None]:
    """Within it every process of a distributed run does the same, and `share` divides the work.

    Outside, and in a run of one process, a process works alone: the first one draws and judges while the others wait
    or have ended.
    """
    token = _together.set(dist.is_available() and dist.is_initialized())
    try:
        yield
    finally:
        _together.reset(token)


def share() -> dict[str, int]:
    """rank and world_size of this process among those that work together."""
    if not _together.get():
        return {"rank": 0, "world_size": 1}
    return {"rank": dist.get_rank(), "world_size": dist.get_world_size()}


def gathered(mine: Found, device: torch.device | str = "cpu") -> list[Found]:
    """What every process found, in their order, equal on all of them; its tensors on `device`. Alone: `[mine]`."""
    if not _together.get():
        return [mine]
    buffer = io.BytesIO()
    torch.save(mine, buffer)  # not as it is: a tensor would arrive on the device that it left
    sent: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(sent, buffer.getvalue())
    return [torch.load(io.BytesIO(one), map_location=device, weights_only=False) for one in sent]


def each(function: Callable[[Item], Found], items: Sequence[Item]) -> list[Found]:
    """`[function(item), …]` in their order, the items dealt out to the processes; tensors arrive on the CPU."""
    rank, world_size = share().values()
    found = gathered([function(item) for item in items[rank::world_size]])
    return [found[place % world_size][place // world_size] for place in range(len(items))]
