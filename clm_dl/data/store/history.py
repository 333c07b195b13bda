"""Search in time inside the rows of many customers at once."""

from __future__ import annotations

import numpy as np


def count_before(offsets: np.ndarray, time: np.ndarray, customer: np.ndarray, at: np.ndarray | int) -> np.ndarray:
    """How many of its customer's events lie strictly before `at`: a bisection inside every customer's rows at once.

    Args:
        offsets: int64 `[C + 1]`; customer `c` owns rows `offsets[c]:offsets[c + 1]` of `time`, sorted within it.
        time: int64 `[events]` microseconds; may be memory-mapped.
        customer: codes `[N]`. at: microseconds, `[N]` or one for all.

    Returns:
        int64 `[N]`; the first row not before `at` is `offsets[customer] + count`.
    """
    time = np.asarray(time)
    start = np.asarray(offsets)[customer]
    low, size = start.copy(), np.asarray(offsets)[customer + 1] - start
    at = np.broadcast_to(np.asarray(at, dtype=np.int64), low.shape)
    if not len(time):
        return np.zeros(low.shape, np.int64)
    last = len(time) - 1
    while size.max(initial=0) > 0:  # log2(longest history) rounds
        half = size >> 1
        middle = low + half
        later = (time[np.minimum(middle, last)] < at) & (size > 0)
        low = np.where(later, middle + 1, low)
        size = np.where(later, size - half - 1, half)
    return np.asarray(low - start)


def rows_where(offsets: np.ndarray, time: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets `[C + 1]` and times of the rows where `mask` holds: a smaller log that `count_before` can search."""
    return np.concatenate([[0], np.cumsum(mask)])[np.asarray(offsets)], np.asarray(time)[mask]
