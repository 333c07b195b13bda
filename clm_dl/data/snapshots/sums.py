"""Sums over runs of a store's rows, as differences of integer prefix sums: no other customer and no later row has a
part in one, not even in its last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

UNIT = 2.0**20  # a value is taken in units of 1e-6, and the whole of it that lies beyond in units of 1e6
LARGEST = 1e18  # what is further from 0 counts as this; of amounts it is quarantined
EXACT = 2.0**63 / UNIT  # totals below fit one integer


def prefix_sums(values: np.ndarray) -> np.ndarray:
    """Integer prefix sums `[len + 1]`: entry i is the sum before i. They may wrap around; differences stay exact."""
    result = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=result[1:], dtype=np.int64)
    return result


class Sums:
    """Sums of a float column, whose missing values count as 0."""

    def __init__(self, values: np.ndarray) -> None:
        known = np.clip(np.nan_to_num(values.astype(np.float64)), -LARGEST, LARGEST)
        self.large: np.ndarray | None = None
        if np.abs(known).sum() >= EXACT / 2:  # one integer might not hold a customer's total
            large = np.rint(known / UNIT)
            self.large = prefix_sums(large.astype(np.int64))
            known = known - large * UNIT
        self.small = prefix_sums(np.rint(known * UNIT).astype(np.int64))

    def between(self, first: Any, last: Any) -> np.ndarray:
        """Float64: the sums of the rows first ≤ row < last."""
        small: np.ndarray = self.small[last] - self.small[first]
        if self.large is None:
            return small / UNIT
        large = self.large[last] - self.large[first] + (small >> 40)  # so that one addition rounds
        total: np.ndarray = large * UNIT + (small & (2**40 - 1)) / UNIT
        return total
