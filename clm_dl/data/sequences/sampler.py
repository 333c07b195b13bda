"""TokenBudgetSampler: batches of snapshots of like length, so that little is padding; seeded, equal on every rank.

Shapes: N snapshots.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DistributedSampler

from clm_dl.data.sequences.draw import CustomerDraw
from clm_dl.errors import UserError

POOL_BATCHES = 50  # batches that a pool of the shuffled snapshots is sorted and cut into
SLACK = 1.02  # batches a pass may have beyond the first count, so that every pass has the same number


class TokenBudgetSampler(DistributedSampler[Any]):
    """Yields int64 index arrays, one a batch, of about `max_tokens` padded tokens (length of the longest × snapshots).

    A pass of training: shuffle all, cut into pools, sort each pool by length, cut it into batches, shuffle the batches.
    Every snapshot that the pass draws comes once, the number of batches is the same each pass and on each rank (a batch
    is halved where one is wanting). Without `shuffle`: sorted by length, everything once. The order depends on (seed,
    pass) alone, so an epoch of any resumed run is what it was. Processes that share the epoch deal out every batch,
    which is as many times larger: a step of theirs is a step of one process with that batch, and none waits long for
    the others. Nothing comes twice on that account, unless there are fewer snapshots than processes.

    An epoch is a pass, or the next `num_steps` batches of pass after pass, at least as many as `num_passes` have.

    Args:
        length_N: tokens of each snapshot. index_N: its row; None = 0 … N − 1.
        max_tokens: token budget of a rank's batch; None = none. A longer single sequence is a batch of its own.
        batch_size: largest number of snapshots of it; None = only the budget counts.
        draw: which snapshots a pass reads; None = all.
        num_steps: batches of an epoch; None = those of a pass. num_passes: the share of a pass that they are at least.
        rank, world_size: this process among those that share the epoch.
    """

    def __init__(
        self,
        length_N: np.ndarray,
        *,
        index_N: np.ndarray | None = None,
        max_tokens: int | None = None,
        batch_size: int | None = None,
        draw: CustomerDraw | None = None,
        num_steps: int | None = None,
        num_passes: float = 0.0,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        for name, value in {"max_tokens_per_batch": max_tokens, "batch_size": batch_size}.items():
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1, got {value}")
        if max_tokens is None and batch_size is None:
            raise UserError("a batch has no size: give max_tokens_per_batch or batch_size")
        super().__init__(range(len(length_N)), num_replicas=world_size, rank=rank, shuffle=shuffle, seed=seed)  # type: ignore[arg-type]
        self.length_N = np.asarray(length_N, dtype=np.int64)
        self.index_N = np.arange(len(length_N)) if index_N is None else np.asarray(index_N, dtype=np.int64)
        self.max_tokens, self.batch_size, self.draw, self.num_steps = max_tokens, batch_size, draw, num_steps
        self.num_passes = num_passes
        mean = max(float(self.length_N.mean()), 1.0) if len(self.length_N) else 1.0
        typical = min(max_tokens / mean if max_tokens else np.inf, batch_size or np.inf)
        self.pool = max(1, round(POOL_BATCHES * typical))
        if batch_size:
            self.pool = -(-self.pool // batch_size) * batch_size
        self.pool *= world_size
        self._kept: tuple[int, list[np.ndarray]] | None = None  # a pass and its batches
        self.pass_batches = self._count()

    def __len__(self) -> int:
        if self.num_steps is None or not self.pass_batches:
            return self.pass_batches
        return max(self.num_steps, math.ceil(self.num_passes * self.pass_batches))

    def __iter__(self) -> Iterator[Any]:
        return (self.index_N[self.dealt(batch)] for batch in self.batches())

    def dealt(self, batch: np.ndarray) -> np.ndarray:
        """What of a batch this rank gets; something of every one."""
        return np.resize(batch, max(len(batch), self.num_replicas))[self.rank :: self.num_replicas]

    def batches(self) -> list[np.ndarray]:
        """Positions in `length_N` of every batch of the epoch, which the ranks deal out."""
        number = len(self)
        found: list[np.ndarray] = []
        while len(found) < number:
            which, first = divmod(self.epoch * number + len(found), self.pass_batches)
            found += self._pass(which)[first : first + number - len(found)]
        return found

    def _pass(self, number: int) -> list[np.ndarray]:
        if self._kept is None or self._kept[0] != number:
            self._kept = number, self._batches(number)
        return self._kept[1]

    def _batches(self, number: int) -> list[np.ndarray]:
        pools = self._pools(number)
        budget = 1.0
        while len(batches := self._cut(pools, budget)) > self.pass_batches:
            budget *= 1.01
        batches = _split_to(batches, self.pass_batches, least=self.num_replicas)
        if self.shuffle:
            order = np.random.default_rng([self.seed, number, 1]).permutation(len(batches))
            batches = [batches[position] for position in order]
        return batches

    def _count(self) -> int:
        """Batches that a pass is to have."""
        count = len(self._cut(self._pools(0), 1.0))
        return int(np.ceil(count * SLACK)) if self.shuffle and self.max_tokens else count

    def padding_ratio(self) -> float:
        """Padded over real tokens, over the epoch."""
        batches = self.batches()
        real = sum(int(self.length_N[batch].sum()) for batch in batches)
        return sum(size * width for size, width in map(self.shape, batches)) / max(real, 1)

    def shape(self, batch: np.ndarray) -> tuple[int, int]:
        """Rows and tokens a row of a batch, with its padding."""
        return len(batch), int(self.length_N[batch].max())

    def _pools(self, number: int) -> list[np.ndarray]:
        """Positions that a pass reads, pool by pool, each sorted from the longest to the shortest."""
        if not self.shuffle:
            return [np.argsort(-self.length_N, kind="stable")] if len(self.length_N) else []
        order = self._order(number)
        pools = np.split(order, range(self.pool, len(order), self.pool)) if len(order) else []
        return [pool[np.argsort(-self.length_N[pool], kind="stable")] for pool in pools]

    def _order(self, number: int) -> np.ndarray:
        """Positions that a pass reads, shuffled."""
        rng = np.random.default_rng([self.seed, number, 0])
        return rng.permutation(len(self.length_N) if self.draw is None else self.draw(number))

    def _size(self, length: int, budget: float) -> int | None:
        """Snapshots that a batch of all ranks may hold whose longest has this length; None = any number."""
        size = self.batch_size if self.max_tokens is None else max(1, int(self.max_tokens * budget) // length)
        return size and min(size, self.batch_size or size) * self.num_replicas

    def _cut(self, pools: list[np.ndarray], budget: float) -> list[np.ndarray]:
        """The longest comes first, so it alone decides how many snapshots a batch may hold."""
        batches = []
        for pool in pools:
            lengths, first = self.length_N[pool].tolist(), 0
            while first < len(pool):
                size = self._size(lengths[first], budget) or len(pool)
                batches.append(pool[first : first + size])
                first += size
            if len(batches) > 1 and len(batches[-1]) < self.num_replicas:  # what is left would not go round
                batches[-2:] = [np.concatenate(batches[-2:])]
        return batches


def _split_to(batches: list[np.ndarray], number: int, *, least: int) -> list[np.ndarray]:
    """Halve the largest batches until there are `number`, of at least `least` snapshots; repeat whole batches where
    nothing is left to halve.
    """
    while batches and len(batches) < number:
        largest = max(range(len(batches)), key=lambda place: len(batches[place]))
        batch = batches.pop(largest)
        half = -(-len(batch) // (2 * least)) * least
        batches += [batch[:half], batch[half:]] if len(batch) - half >= least else [batch, batch]
    return batches
