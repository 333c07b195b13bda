"""RankedCases: histories, the catalogue that is ranked for them, and what is to be found.

Shapes: N snapshots, V catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.data.ranking.ranking import Ranking
from clm_dl.retrieval import Ragged, take_ragged
from clm_dl.tasks.cases import Cases


@dataclass(frozen=True, eq=False, kw_only=True)
class RankedCases(Cases):
    """Attributes:
    catalogue: items by code. seen: (offsets [N + 1], item codes), the distinct items of each history.
    ranking: protocol and targets; None where there is nothing to be found, as in a prediction.
    unit: what is predicted at a time, "line" or "order".
    """

    catalogue: Catalogue
    seen: Ragged
    unit: str
    ranking: Ranking | None = None

    def select(self, rows: np.ndarray) -> Self:
        """The cases of a bool mask or an integer index, without what is to be found."""
        one = super().select(rows)
        return replace(one, seen=take_ragged(self.seen, np.arange(len(self))[rows]), ranking=None)

    @property
    def targets(self) -> Ragged:
        """(offsets [N + 1], item codes) of what is to be found."""
        if self.ranking is None:
            return np.zeros(len(self) + 1, np.int64), np.empty(0, np.int64)
        return self.ranking.target_offsets, self.ranking.targets

    @property
    def positional(self) -> bool:
        """Whether a history ends right before its target, whose time may not be looked at."""
        return self.ranking is not None and self.ranking.positional

    @cached_property
    def at(self) -> np.ndarray:
        """int64 `[N]`, microseconds: the moment that a recommender may know of, never the target's own time."""
        last = np.asarray(self.store.time)[self.snapshots.stop - 1]
        return last if self.positional else self.snapshots.cutoff
