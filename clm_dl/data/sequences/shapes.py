"""ShapedSampler: batches of a few shapes that come again in every epoch, so that what is compiled or kept for a shape
serves again.

Shapes: N snapshots, U distinct lengths, C of them counted up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from clm_dl.data.sequences.sampler import TokenBudgetSampler

OTHER = 2  # shapes beside the full one of each length: of a short rest, and of the batches that are halved
CANDIDATES = 512  # lengths that may be an edge
PARTS = 4  # a batch that is not full is filled up to so many parts of a full one


class ShapedSampler(TokenBudgetSampler):
    """As the sampler of a training pass, but every batch has one of a few lengths, and as many rows as others of its
    length: it yields (rows, tokens that each is padded to).

    A pass is shuffled and ordered by the length that each snapshot is padded to. Each length, from the longest on,
    makes whole batches, the last of which takes shuffled snapshots of the next shorter length; what is wanting at the
    end is filled up with the row `filler`, which is nobody's. Lengths are chosen once, so that the fewest tokens are
    padding.

    Args:
        num_shapes: about the most that an epoch has. filler: the row of the dataset that counts nothing.
    """

    def __init__(self, length_N: np.ndarray, *, num_shapes: int, filler: int, **how: Any) -> None:
        self.filler, self.edges = filler, best_lengths(np.asarray(length_N), max(1, num_shapes - OTHER))
        super().__init__(length_N, **how)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches()[self.rank :: self.num_replicas]:
            size, width = self.shape(batch)
            yield np.append(self.index_N[batch], np.full(size - len(batch), self.filler)), width

    def shape(self, batch: np.ndarray) -> tuple[int, int]:
        width = int(self.edges[self._bucket(batch).max()])
        full = self._size(width, 1.0) or len(batch)
        parts = -(-np.arange(1, PARTS + 1) * full // PARTS)  # a batch of a tightened pass may have more than a full one
        return int(min((part for part in parts if part >= len(batch)), default=len(batch))), width

    def _pools(self, number: int) -> list[np.ndarray]:
        order = self._order(number)
        return [order[np.argsort(-self._bucket(order), kind="stable")]] if len(order) else []

    def _cut(self, pools: list[np.ndarray], budget: float) -> list[np.ndarray]:
        batches: list[np.ndarray] = []
        for pool in pools:
            bucket, first = self._bucket(pool), 0
            while first < len(pool):
                own = int(np.searchsorted(-bucket, -bucket[first], side="right")) - first
                size = self._size(int(self.edges[bucket[first]]), budget) or own
                number = -(-own // size)
                part = pool[first : first + number * size]
                batches += [part[place::number] for place in range(number)]  # each has one of the bucket's own
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
