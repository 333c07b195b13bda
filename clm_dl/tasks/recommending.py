"""RecommendingTask: what a task promises whose answers are ranked lists of items.

Shapes: V catalogue, D width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.tasks.base import Answers, ScoredTask
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.network import SequenceNetwork


class RecommendingTask(ScoredTask):
    """Answers are scorers of the catalogue (`clm_dl.retrieval.Scorer`)."""

    recommends = True

    @abstractmethod
    def wanted(self, k: int | None, where: Mapping[str, Any] | None) -> tuple[int, np.ndarray]:
        """Length of a list (None: the run's own), and bool [V]: the items that `where` leaves; or ValueError."""

    @abstractmethod
    def lists(
        self, network: SequenceNetwork | None, cases: Cases, answers: Answers, wanted: tuple[int, np.ndarray]
    ) -> pd.DataFrame:
        """The best wanted items of each of the cases, with reasons."""

    @abstractmethod
    def item_vectors(self, network: SequenceNetwork) -> np.ndarray:
        """`[V, D]`, those of the catalogue, in the space of the customers' vectors."""
