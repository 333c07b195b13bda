"""CustomerDraw: a few snapshots of each customer, others in each pass, however dense the training cutoffs are.

Shapes: N snapshots.
"""

from __future__ import annotations

import numpy as np


class CustomerDraw:
    """`draw(p)`: positions (ascending int64) of the snapshots of pass p, `mean` times the customers, or all if fewer.

    A pass reads the same share of every customer's snapshots, up to rounding, so that it looks like all of them: who is
    in the population at more cutoffs comes more often. The snapshots of a customer are put in a seeded order once, and
    a pass takes up where the one before it ended, round and round. So every pass has M of N snapshots, ⌈N / M⌉ passes
    read all, none is read twice before, and (seed, p) say which.

    Args:
        customer_N: whose snapshot it is; any integers.
    """

    def __init__(self, customer_N: np.ndarray, *, mean: int, seed: int) -> None:
        customer_N = np.asarray(customer_N)
        self.number = min(len(customer_N), mean * len(np.unique(customer_N)))  # M
        shuffled_N = np.random.default_rng([seed, 2]).permutation(len(customer_N))
        grouped_N = shuffled_N[np.argsort(customer_N[shuffled_N], kind="stable")]
        self.turn_N = np.empty(len(customer_N), np.int64)  # customer by customer
        self.turn_N[grouped_N] = np.arange(len(customer_N))

    def __call__(self, number: int) -> np.ndarray:
        size = max(1, len(self.turn_N))
        return np.flatnonzero((self.turn_N - number) * self.number % size < self.number)  # every (N / M)th
