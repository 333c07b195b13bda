"""What the recommended lists are like, whoever buys: their novelty, diversity, popularity, repeats, and what they
cover.

Shapes: N snapshots, K places of the list, V catalogue, E width of an item's content vector.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clm_dl.data.ranking.catalogue import Catalogue

Floats = NDArray[np.float64]
BLOCK = 4096  # lists whose vectors are held at once


def slate_metrics(
    top: NDArray[np.int64], top_repeat: NDArray[np.bool_], catalogue: Catalogue, *, k: int = 10
) -> dict[str, Floats]:
    """Figures of each list, [N] each; `top` [N, K] holds item codes (−1: no item), `top_repeat` whether they are in the
    history.

    novelty: mean −log2 of an item's share of the training lines, one line added to each item. popularity: mean share of
        the catalogue
    sold less often (equals count half), in [0, 1]; .5 is a random list. diversity: 1 − mean similarity of two items of
    the list: the cosine of their vectors, else the share of the categories they have in common; NaN where the catalogue
    has neither, or for lists of one. repeat_ratio: share of the list that is in the history. NaN for an empty list.
    """
    from scipy.stats import rankdata  # half a second to import

    count_V = catalogue.count
    surprise_V = -np.log2((count_V + 1) / (count_V.sum() + len(count_V)))
    percentile_V = (rankdata(count_V) - 0.5) / len(count_V)
    listed = top >= 0
    return {
        f"novelty@{k}": _mean(surprise_V[top], listed),
        f"diversity@{k}": _diversity(top, catalogue),
        f"popularity@{k}": _mean(percentile_V[top], listed),
        f"repeat_ratio@{k}": _mean(top_repeat.astype(np.float64), listed),
    }


def coverage(top: NDArray[np.int64], num_items: int) -> float:
    """Share of the catalogue that is in some list."""
    return np.count_nonzero(np.bincount(top[top >= 0])) / num_items


def _mean(value_NK: Floats, listed_NK: NDArray[np.bool_]) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.where(listed_NK, value_NK, 0.0).sum(1) / listed_NK.sum(1)


def _diversity(top: NDArray[np.int64], catalogue: Catalogue) -> Floats:
    """[N]: 1 − mean over pairs of places of the similarity."""
    similar_N, listed = np.zeros(len(top)), top >= 0
    num_N = listed.sum(1)
    if catalogue.vectors.shape[1]:
        length_V1 = np.linalg.norm(catalogue.vectors, axis=1, keepdims=True)
        unit_VE = catalogue.vectors / np.where(length_V1 > 0, length_V1, 1)
        for start in range(0, len(top), BLOCK):
            rows = slice(start, start + BLOCK)
            unit_NKE = np.where(listed[rows, :, None], unit_VE[top[rows]], 0).astype(np.float64)
            # [N,K,E] -> [N]: the squared length of the sum holds every pair twice, and each item with itself once
            similar_N[rows] = (unit_NKE.sum(1) ** 2).sum(1) - (unit_NKE**2).sum((1, 2))
    elif catalogue.categorical:
        for code_V in catalogue.categorical.values():
            code_NK = np.where(listed, code_V[top], -1)
            equal_NKK = (code_NK[:, :, None] == code_NK[:, None]) & (code_NK >= 0)[:, :, None]
            similar_N += (equal_NKK.sum((1, 2)) - (code_NK >= 0).sum(1)) / len(catalogue.categorical)
    else:
        return np.full(len(top), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(num_N > 1, 1 - similar_N / (num_N * (num_N - 1)), np.nan)
