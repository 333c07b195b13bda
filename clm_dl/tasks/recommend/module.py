"""RankedModule: the Lightning module of a network that recommends; it validates by exact ranks over the whole
catalogue.

Shapes: N snapshots, B of them, V catalogue, D width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from clm_dl.retrieval import take_ragged
from clm_dl.tasks.module import SequenceTask
from clm_dl.tasks.recommend.accuracy import snapshot_metrics
from clm_dl.tasks.recommend.cases import RankedCases
from clm_dl.tasks.recommend.network import RecommendNetwork
from clm_dl.tasks.recommend.ranks import rank


class RankedModule(SequenceTask):
    """As SequenceTask; what is to be found, and what customers had already, stands in `cases`."""

    network: RecommendNetwork

    def __init__(self, network: RecommendNetwork, cases: RankedCases, *, monitor: str, k: int, repeats: str) -> None:
        super().__init__(network, monitor=monitor, mode="max")
        self.cases, self.k, self.repeats = cases, k, repeats

    def digest(self, found: list[Any]) -> list[Any]:
        """The accuracy of each snapshot, and the items that any list holds: ranking is most of the work."""
        index_N = torch.cat([index for index, _ in found]).cpu().numpy()
        z_ND, tower, k = torch.cat([z for _, z in found]), self.network.tower, self.k
        place = np.empty(int(index_N.max()) + 1, dtype=np.int64)
        place[index_N] = np.arange(len(index_N))
        vectors_VD, num_items = tower.vectors(), tower.num_items

        def scorer(index_B: np.ndarray) -> Tensor:
            rows_B = torch.from_numpy(place[index_B]).to(z_ND.device)
            return tower.similarity(z_ND[rows_B], vectors_VD).float().cpu()

        index_N.sort()
        ranks = rank(
            scorer,
            index_N,
            targets=take_ragged(self.cases.targets, index_N),
            seen=take_ragged(self.cases.seen, index_N),
            num_items=num_items,
            k=k,
            repeats=self.repeats,
        )
        accuracy = snapshot_metrics(
            ranks.target_offsets, ranks.above, ranks.ties, ranks.candidates, num_items=num_items, k=k
        )
        return [([accuracy[name] for name in self._means], np.unique(ranks.top[ranks.top >= 0]))]

    def judge(self, found: list[Any]) -> dict[str, Tensor | float]:
        accuracies, listed = zip(*found, strict=True)
        means: dict[str, Tensor | float] = {
            name: float(np.nanmean(np.concatenate(parts)))
            for name, *parts in zip(self._means, *accuracies, strict=True)
        }
        covered = len(np.unique(np.concatenate(listed))) / self.network.tower.num_items
        return means | {f"coverage@{self.k}": covered}

    @property
    def _means(self) -> tuple[str, str]:
        return f"ndcg@{self.k}", f"hr@{self.k}"
