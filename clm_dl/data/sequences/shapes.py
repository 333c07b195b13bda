"""ShapedSampler: batches of a few shapes that come again in every epoch, so that what is compiled or kept for a shape
serves again.

Shapes: N snapshots, U distinct lengths, C of them counted up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from clm_dl.data.sequences.sampler import TokenBudgetSampler

CANDIDATES = 512  # lengths that batches may be padded to, of which a few are chosen
STEPS = (8, 4, 2, 1, 4, 2, 1)  # places by which a length is moved to find a better one
PARTS = 4  # of few data, a batch that is not full is filled up to a quarter, a half, … of a full one
DRAWN = 6  # passes of a draw that are looked at: all shall have as many batches as the one with most, and one more
REST = 2  # shapes that this may add


class ShapedSampler(TokenBudgetSampler):
    """As the sampler of a training pass, but every batch has one of a few lengths, and as many rows as others of its
    length: it yields (rows, tokens that each is padded to).

    Each length, from the longest on, makes whole batches of the shuffled snapshots that are padded to it and, as many
    as are wanting, of those of the next shorter one. What is wanting at the end of a pass, and where a pass would have
    a batch less than another, is filled up with the row `filler`, which is nobody's. Lengths are chosen once, so that
    little is padding.

    Args:
        num_shapes: the most that a pass has. filler: the row of the dataset that counts nothing.
    """

    def __init__(self, length_N: np.ndarray, *, num_shapes: int, filler: int, **how: Any) -> None:
        length_N, draw = np.asarray(length_N), how.get("draw")
        self.max_tokens, self.batch_size = how.get("max_tokens"), how.get("batch_size")
        self.num_replicas = how.get("world_size", 1)
        read_N = length_N if draw is None else length_N[draw(0)]
        edges = fitted(best_lengths(read_N, num_shapes), read_N, lambda length: self._size(length, 1.0) or len(read_N))
        self.edges = np.append(edges[:-1], length_N.max(initial=1))
        self.filler, self.parts = filler, 1
        super().__init__(length_N, **how)
        used = {width for _, width in map(self.shape, self._pass(0))}
        self.parts = PARTS if len(used) <= num_shapes - REST else 1

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches():
            size, width = self.shape(batch)
            mine, rows = self.index_N[self.dealt(batch)], -(-size // self.num_replicas)
            yield np.append(mine, np.full(rows - len(mine), self.filler)), width

    def shape(self, batch: np.ndarray) -> tuple[int, int]:
        width = int(self.edges[self._bucket(batch).max()])
        full = self._size(width, 1.0) or len(batch)
        part = min(self.parts, -(-len(batch) * self.parts // full))
        return max(len(batch), -(-part * full // self.parts)), width  # in a pass that is tightened it may be more

    def _count(self) -> int:
        counts = [len(self._cut(self._pools(number), 1.0)) for number in range(1 if self.draw is None else DRAWN)]
        return max(counts) + (len(counts) > 1)

    def _pools(self, number: int) -> list[np.ndarray]:
        order = self._order(number)
        return [order[np.argsort(-self._bucket(order), kind="stable")]]

    def _cut(self, pools: list[np.ndarray], budget: float) -> list[np.ndarray]:
        batches: list[np.ndarray] = []
        (pool,), first = pools, 0
        bucket = self._bucket(pool)
        while first < len(pool):
            own = int(np.searchsorted(-bucket, -bucket[first], side="right")) - first
            size = self._size(int(self.edges[bucket[first]]), budget) or own
            number = -(-own // size)
            part = pool[first : first + number * size]
            batches += [part[turn::number] for turn in range(number)]  # each has one of the bucket's own
            first += len(part)
        return batches

    def _bucket(self, positions: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.edges, self.length_N[positions])


def best_lengths(length_N: np.ndarray, number: int) -> np.ndarray:
    """Rising lengths, at most `number`, the last the longest of all, such that rounding up to them pads the least.

    Dynamic programming over the distinct lengths; of many, those at even shares of the tokens are tried.
    """
    length_U, count_U = np.unique(length_N, return_counts=True)
    if not len(length_U):
        return length_U
    upto_U = np.cumsum(count_U)
    if len(length_U) > CANDIDATES:
        tokens_U = np.cumsum(length_U * count_U)
        places = np.searchsorted(tokens_U, tokens_U[-1] * np.arange(1, CANDIDATES + 1) / CANDIDATES)
        places = np.unique(np.append(places.clip(max=len(length_U) - 1), len(length_U) - 1))
        length_U, upto_U = length_U[places], upto_U[places]
    before_C = np.append(0, upto_U)
    # padded tokens of the snapshots after candidate i up to candidate j: all as long as j
    cost_CU = length_U * (upto_U - before_C[:, None]).astype(np.float64)
    cost_CU[np.tril_indices(len(before_C), -1, len(length_U))] = np.inf
    best_C, chosen = np.append(0.0, np.full(len(length_U), np.inf)), []
    for _ in range(min(number, len(length_U))):
        total_CU = best_C[:, None] + cost_CU
        chosen.append(total_CU.argmin(0))
        best_C = np.append(0.0, total_CU.min(0))
    edges, place = [], len(length_U) - 1
    for step in reversed(chosen):
        edges.append(length_U[place])
        place = step[place] - 1
        if place < 0:
            break
    return np.array(edges[::-1])


def fitted(edges: np.ndarray, length_N: np.ndarray, size: Callable[[int], int]) -> np.ndarray:
    """Lengths near `edges` that pad less when whole batches of size(length) are cut, found by moving one at a time."""
    length_U, count_U = np.unique(length_N, return_counts=True)
    upto = np.append(0, np.cumsum(count_U)).tolist()
    lengths = length_U.tolist()
    sizes = [size(length) for length in lengths]

    def padded(places: list[int]) -> int:
        total, taken = 0, 0  # tokens; rows that longer batches took beforehand
        for low, place in reversed(list(pairwise([-1, *places]))):
            own = upto[place + 1] - upto[low + 1] - taken
            number = max(0, -(-own // sizes[place]))
            total += number * sizes[place] * lengths[place]
            taken = number * sizes[place] - own
        return total

    best = np.searchsorted(length_U, edges).tolist()
    least = padded(best) if best else 0
    for step in STEPS:
        for turn in range(len(best) - 1):
            for move in (-step, step):
                while best[turn - 1] * (turn > 0) - (turn == 0) < (place := best[turn] + move) < best[turn + 1]:
                    other = [*best[:turn], place, *best[turn + 1 :]]
                    if (now := padded(other)) >= least:
                        break
                    best, least = other, now
    return length_U[best]
