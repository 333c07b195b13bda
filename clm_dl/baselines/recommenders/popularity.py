"""What everyone buys, what everyone buys lately, what one has bought before: the floor, and the bar in grocery data."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from clm_dl.baselines.recommenders.base import Recommender
from clm_dl.data.snapshots.cutoffs import DAY
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError


class Popular(Recommender):
    """Lines of each item in the training rows, the same for everybody."""

    def _fit(self, store: EventStore, start: np.ndarray, stop: np.ndarray) -> None:
        pass

    def _scores(self, store: EventStore, start: np.ndarray, stop: np.ndarray, at: np.ndarray) -> np.ndarray:
        return np.repeat(self.count_[None].astype(np.float32), len(start), axis=0)


class RecentPopular(Recommender):
    """Popularity at the cutoff: a training line counts half as much with every `half_life_days`, and not at all from
    the cutoff's day on.

    Whole days are counted, so an hour more or less changes nothing within a day.

    Attributes:
        first_day_: int64. daily_: float32 sparse `[D, V]`, training lines of each item on each of the D days from
            `first_day_`.
    """

    def __init__(self, *, half_life_days: float = 14.0):
        self.half_life_days = half_life_days

    def _fit(self, store: EventStore, start: np.ndarray, stop: np.ndarray) -> None:
        check_half_life(self.half_life_days)
        lines = self.lines(store, start, stop)
        day = store.zone.local(np.asarray(store.time)[lines.event]) // DAY
        self.first_day_ = int(day.min())
        shape = (int(day.max()) - self.first_day_ + 1, len(self.item_ids_))
        self.daily_ = sparse.csr_array(
            (np.ones(len(day), np.float32), (day - self.first_day_, lines.item)), shape=shape
        )

    def _scores(self, store: EventStore, start: np.ndarray, stop: np.ndarray, at: np.ndarray) -> np.ndarray:
        days, block = np.unique(store.zone.local(at) // DAY, return_inverse=True)
        past = days[:, None] - (self.first_day_ + np.arange(self.daily_.shape[0]))  # [B] cutoff days x [D] -> [B, D]
        weight = np.where(past > 0, np.exp2(-np.maximum(past, 0) / self.half_life_days), 0)
        return np.asarray(weight.astype(np.float32) @ self.daily_)[block]


class Repeat(Recommender):
    """Repeat purchase: each item by its lines in the customer's own history, each halved with every `half_life_days`
    since.

    What is not in the history follows behind all that is, by popularity.
    """

    def __init__(self, *, half_life_days: float = 90.0):
        self.half_life_days = half_life_days

    def _fit(self, store: EventStore, start: np.ndarray, stop: np.ndarray) -> None:
        check_half_life(self.half_life_days)

    def _scores(self, store: EventStore, start: np.ndarray, stop: np.ndarray, at: np.ndarray) -> np.ndarray:
        lines = self.lines(store, start, stop)
        days = (np.asarray(at)[lines.snapshot] - np.asarray(store.time)[lines.event]) / DAY
        own = self.interactions(store, start, stop, np.exp2(-days / self.half_life_days))
        scores = np.repeat((self.count_ / (self.count_.max() + 1))[None].astype(np.float32), len(start), axis=0)
        row, item = own.tocoo().coords
        scores[row, item] = 1 + own.data
        return scores


def check_half_life(days: float) -> None:
    """Raise ValueError unless the half-life is above 0 days."""
    if not days > 0:
        raise UserError(f"half_life_days must be > 0, got {days}")
