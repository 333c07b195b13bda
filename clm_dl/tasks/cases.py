"""Cases: who is asked, when, and what came true.

Shapes: N snapshots, K targets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from clm_dl.data.ids import lookup
from clm_dl.data.snapshots.features import rfm_features
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.retrieval import one_or_many

HELD_OUT = ("val", "test")


@dataclass(frozen=True, eq=False)
class Cases:
    """Who is asked, when, and what came true.

    Attributes:
        outcome: float [N, …], what answers are held against, NaN unknown; None where nothing is.
        target_NK: float32, what the network learns from beside the label.
        in_population: bool [N], who fits the population rule, where everyone is asked.
        counts: customers or snapshots by reason, for metrics.json. memo: what is worked out once for them, shared by
            the questions of a run.
    """

    store: EventStore
    snapshots: Snapshots
    outcome: np.ndarray | None = None
    target_NK: np.ndarray | None = None
    in_population: np.ndarray | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    memo: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.snapshots)

    @cached_property
    def held_out(self) -> np.ndarray:
        """int64: the snapshots that are scored."""
        return np.flatnonzero(np.isin(self.snapshots.split, HELD_OUT))

    @property
    def features(self) -> pd.DataFrame:
        """History features and customer attributes `[N, F]`, worked out once."""
        if "features" not in self.memo:
            self.memo["features"] = rfm_features(self.store, self.snapshots)
        return self.memo["features"]

    def select(self, rows: np.ndarray) -> Self:
        """The cases of a bool mask or an integer index."""
        arrays = {name: getattr(self, name) for name in ("outcome", "target_NK", "in_population")}
        chosen: Any = {name: None if value is None else value[rows] for name, value in arrays.items()}
        return replace(self, snapshots=self.snapshots.select(rows), memo={}, **chosen)

    def of_customers(self, customers: Sequence[Any]) -> Self:
        """Those of the given ids, each once, by the rule of `clm_dl.data.ids`; ValueError for one without a history."""
        customers = one_or_many(customers)
        if not customers:
            raise UserError("customers names nobody: give ids, or leave it out for everyone in the log")
        place = lookup(self.store.customer_ids[self.snapshots.customer], customers)
        if (place < 0).any():
            missing = [str(customer) for customer, found in zip(customers, place, strict=True) if found < 0]
            raise UserError(
                f"customer {missing[0]!r} has no event before the cutoff, so there is no history to recommend from: "
                "leave it out"
            )
        return self.select(pd.unique(place))

    def digest(self, *more: bytes) -> str:
        """The snapshots' fingerprint and further bytes in one hash."""
        text = self.snapshots.fingerprint(self.store).encode() + b"".join(more)
        return hashlib.blake2b(text, digest_size=16).hexdigest()
