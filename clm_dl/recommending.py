"""Recommending from a finished run: lists of items for customers, and vectors of items."""

from __future__ import annotations

from typing import Any

import pandas as pd

from clm_dl.experiment import inference
from clm_dl.run import Run


def recommend(run: Run, events: Any = None, **options: Any) -> pd.DataFrame:
    """The k best items of every customer (see `inference.recommend`)."""
    return inference.recommend(run.trained, events, **options)


def item_vectors(run: Run) -> pd.DataFrame:
    """The vectors of the run's whole catalogue, in the space of its customer vectors: columns item_id, z0 … z(D−1)."""
    return inference.item_vectors(run.trained)
