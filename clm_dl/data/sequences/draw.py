"""CustomerDraw: a few snapshots of each customer, others in each pass, however dense the training cutoffs are.

Shapes: N snapshots.
"""

from __future__ import annotations

import numpy as np


class CustomerDraw:
    """`draw(p)`: positions (ascending int64) of at most `most` snapshots of each customer that pass p reads.

    The snapshots of a customer are put in a seeded order once, and a pass takes up where the one before it ended, round
    and round. So n of them are all read within ⌈n / most⌉ passes, none is read twice before, and (seed, p) say it all.

    Args:
        customer_N: whose snapshot it is; any integers.
    """

    def __init__(self, customer_N: np.ndarray, *, most: int, seed: int) -> None:
        customer_N = np.asarray(customer_N)
        _, customer_N, count_U = np.unique(customer_N, return_inverse=True, return_counts=True)
        shuffled_N = np.random.default_rng([seed, 2]).permutation(len(customer_N))
        grouped_N = shuffled_N[np.argsort(customer_N[shuffled_N], kind="stable")]
        self.most, self.count_N = most, count_U[customer_N]
        self.place_N = np.empty(len(customer_N), np.int64)  # in the order of its customer
        self.place_N[grouped_N] = np.arange(len(customer_N)) - np.repeat(np.cumsum(count_U) - count_U, count_U)

    def __call__(self, number: int) -> np.ndarray:
        return np.flatnonzero((self.place_N - number * self.most) % self.count_N < self.most)
