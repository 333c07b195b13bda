"""Scorers of the catalogue: the network's, scores worked out once, and their exact ranks.

Shapes: N snapshots, B of them, V catalogue, D width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.retrieval import Scorer, take_ragged
from clm_dl.tasks.network import customer_vectors
from clm_dl.tasks.processes import each
from clm_dl.tasks.recommend.cases import RankedCases
from clm_dl.tasks.recommend.network import RecommendNetwork
from clm_dl.tasks.recommend.ranks import AMONG, Ranks, join_ranks, rank

KEPT_BYTES = 1 << 28  # of one model's scores
BLOCK = 1 << 22  # scores worked out at a time


def network_scorer(network: RecommendNetwork, inputs: SequenceInputs, index_N: np.ndarray) -> Scorer:
    """Scores of the snapshots `index_N` (ascending) from vectors worked out once; leaves the network on the CPU."""
    z_ND = torch.from_numpy(customer_vectors(network, inputs, index_N))
    with torch.inference_mode():
        vectors_VD = network.cpu().tower.vectors()

    @torch.inference_mode()
    def scorer(index_B: np.ndarray) -> torch.Tensor:
        return network.tower.similarity(z_ND[np.searchsorted(index_N, index_B)], vectors_VD)

    return scorer


def kept(scorer: Scorer, index_N: np.ndarray, num_items: int) -> Scorer:
    """The scorer with all its scores worked out once, where they fit: hybrids ask for them again and again."""
    return worked_out(scorer, index_N, num_items) if len(index_N) <= _kept_rows(num_items) else scorer


def worked_out(scorer: Scorer, index_N: np.ndarray, num_items: int) -> Scorer:
    """The scorer of the snapshots `index_N` [N], in order, from a table of their scores."""
    step = max(1, BLOCK // num_items)
    blocks = [index_N[first : first + step] for first in range(0, len(index_N), step)]
    score_NV = torch.cat(each(lambda block: torch.as_tensor(scorer(block)).float(), blocks))
    return lambda index_B: score_NV[np.searchsorted(index_N, index_B)]


def all_ranks(
    cases: RankedCases, rows: np.ndarray, scorer: Scorer, *, k: int, repeats: str, softmax: bool
) -> dict[str, Ranks]:
    """Rankings of the catalogue, of the repeats and of the new items for `rows`, from scores worked out once."""
    parts: dict[str, list[Ranks]] = {among: [] for among in AMONG}
    num_items = len(cases.catalogue)
    for first in range(0, len(rows), _kept_rows(num_items)):
        index_N = rows[first : first + _kept_rows(num_items)]
        block = worked_out(scorer, index_N, num_items)
        targets, seen = take_ragged(cases.targets, index_N), take_ragged(cases.seen, index_N)
        for among in AMONG:
            options: Any = {"num_items": num_items, "k": k, "repeats": repeats, "among": among, "softmax": softmax}
            parts[among].append(rank(block, index_N, targets=targets, seen=seen, **options))
    return {among: join_ranks(found) for among, found in parts.items()}


def _kept_rows(num_items: int) -> int:
    """Snapshots whose scores by one model fit into KEPT_BYTES."""
    return max(1, KEPT_BYTES // (4 * num_items))
