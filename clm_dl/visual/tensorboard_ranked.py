"""TensorBoard at the end of a ranked run: items in the projector, final scalars with hparams, figures, recommendation
cards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch.utils.tensorboard import SummaryWriter

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.evaluation.splits import NETWORK
from clm_dl.tasks.recommend.figures import ranked_figures
from clm_dl.visual.families import family
from clm_dl.visual.tensorboard import write_hparams, write_projector

MAX_COLORS = 50  # values of a column that the projector still colours
OTHER = "other"


def write_final_ranked(
    writer: SummaryWriter,
    scores: pd.DataFrame,
    metrics: Mapping[str, Any],
    hparams: Mapping[str, Any],
    *,
    item_vectors: np.ndarray,
    item_metadata: pd.DataFrame,
    cards: Sequence[str],
) -> None:
    """Write what only a finished run has: final scalars of every model, figures, hparams, the items' vectors, and
    cards.

    `scores` is the Scores table; `item_vectors` [V, D] with one row of `item_metadata` each (see `item_table`); `cards`
    are Markdown (see `recommendations.card_text`). Call it once a run: TensorBoard shows one hparams entry a writer.
    """
    shown, overall = family(metrics), metrics["split"]["test"]["overall"]
    names = shown.ordered(overall)
    for caption, figure in ranked_figures(scores, metrics, names).items():
        writer.add_figure(f"test/{caption.lower().replace(' ', '_')}", figure)
    for name in names:
        figures = {m: overall[name][m]["value"] for m in shown.columns if overall[name][m]["value"] is not None}
        if name == NETWORK:
            write_hparams(writer, hparams, {f"test/{m}": value for m, value in figures.items()})
        else:
            for m, value in figures.items():
                writer.add_scalar(f"test_{name}/{m}", value)
    for number, card in enumerate(cards):
        writer.add_text("recommendations", card, number)
    write_projector(writer, item_vectors, item_metadata, tag="items")
    writer.flush()


def item_table(catalogue: Catalogue) -> pd.DataFrame:
    """What the projector shows of each item: item_id, its categories (rare values as "other", so that they can be
    coloured), count.
    """
    table = catalogue.to_frame()[["item_id", *catalogue.categorical, "count"]]
    for name in catalogue.categorical:
        kept = table[name].value_counts().index[: MAX_COLORS - 2]  # beside other and missing
        table[name] = table[name].where(table[name].isin(kept) | table[name].isna(), OTHER).fillna("missing")
    return table
