"""Markov: what follows what within a few steps, asked with the last steps of the history."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from clm_dl.baselines.recommenders.base import Recommender, age
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError, choice


class Markov(Recommender):
    """Decayed item-to-item transitions: item j that follows i by g steps counts 1/g, up to `window` steps.

    Counts become shares of all that follows i, shrunk towards zero by `shrink`; the step at age a of the history (0 =
    the last) then adds its items' shares times (a + 1)^−decay, up to `context` steps. After Garcin et al. 2013 and the
    sequential rules of Ludewig & Jannach 2018.

    Args:
        window: of the counts, in steps. context: of the history, in steps. decay: 0 = all steps of the context alike.
        shrink: pseudo-count that holds rarely seen items back.
        unit: of a step: "line", or "order" for baskets: every item of one order is followed by every item of the next.

    Attributes:
        transitions_: float32 sparse `[V, V]`; row i: shares of what follows i, summing to less than 1.
    """

    def __init__(
        self, *, window: int = 5, context: int = 5, decay: float = 1.0, shrink: float = 5.0, unit: str = "line"
    ):
        self.window = window
        self.context = context
        self.decay = decay
        self.shrink = shrink
        self.unit = unit

    def _fit(self, store: EventStore, start: np.ndarray, stop: np.ndarray) -> None:
        for name, value in (("window", self.window), ("context", self.context)):
            if value < 1:
                raise UserError(f"{name} must be at least 1 step, got {value}")
        lines = self.lines(store, start, stop)
        step = (
            lines.event
            if choice(self.unit, ("line", "order"), "unit") == "line"
            else np.cumsum(store.order_start)[lines.event] - 1
        )
        num_steps = int(step.max()) + 1
        owner = np.full(num_steps, -1)  # customer of each step; −1 for steps without training items
        owner[step] = lines.snapshot
        items = sparse.csr_array(
            (np.ones(len(step), np.float32), (step, lines.item)), shape=(num_steps, len(self.item_ids_))
        )
        items.data[:] = 1
        total = sparse.csr_array((len(self.item_ids_),) * 2, dtype=np.float32)
        for gap in range(1, self.window + 1):
            earlier = np.flatnonzero((owner[:-gap] == owner[gap:]) & (owner[gap:] >= 0))
            total = total + (items[earlier].T @ items[earlier + gap]) / gap
        total = sparse.csr_array(total, dtype=np.float32)
        share = 1 / np.maximum(total.sum(axis=1) + self.shrink, np.finfo(np.float32).tiny)
        self.transitions_ = sparse.csr_array(sparse.diags_array(share.astype(np.float32)) @ total)

    def _scores(self, store: EventStore, start: np.ndarray, stop: np.ndarray, at: np.ndarray) -> np.ndarray:
        steps = age(store, self.lines(store, start, stop), stop, self.unit)
        weight = np.where(steps < self.context, (steps + 1.0) ** -self.decay, 0)
        return np.asarray((self.interactions(store, start, stop, weight) @ self.transitions_).toarray())
