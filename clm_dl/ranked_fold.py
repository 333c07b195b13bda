"""RankedFold: a recommendation experiment; its histories and targets, its network, and every model's ranked lists on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from clm_dl.baselines.recommend import Recommender
from clm_dl.clock import Clock
from clm_dl.config import build
from clm_dl.data.catalogue import Catalogue
from clm_dl.data.datamodule import SequenceDataModule
from clm_dl.data.protocols import build_ranking
from clm_dl.data.ranked import RankingDataModule
from clm_dl.data.ranked_scores import ranked_scores
from clm_dl.data.store import EventStore
from clm_dl.fit import Network, fit_network, prepare_network
from clm_dl.metrics.ranking import AMONG, Ranks, Scorer, rank, seen_items
from clm_dl.metrics.ranking_summary import summarise_ranking
from clm_dl.metrics.summary import NETWORK
from clm_dl.retrieval import take_ragged
from clm_dl.run import ITEMS, MODEL, save_model
from clm_dl.scoring import customer_vectors
from clm_dl.settings import baseline_settings
from clm_dl.tables import write_parquet
from clm_dl.tasks import NextItemTask

Log = Callable[[str], None]
UNIT = {"next_item": "line", "next_order": "order"}  # what is predicted at a time


class RankedFold:
    """Training histories, validation and test targets; `fit` trains the network, `scores` adds the baselines and hybrids.

    `network=False` makes none: to rank a finished run's network again with `scores_of`.
    """

    def __init__(self, settings: Mapping[str, Any], store: EventStore, folder: Path, clock: Clock, *, network: bool = True):
        self.settings, self.store, self.folder, self.clock = settings, store, folder, clock
        task = settings["task"]
        if not store.has("item"):
            raise ValueError(f"the log of data={settings['data']['name']} has no items to recommend: set data.roles.item")
        self.ranking = clock(
            "snapshots", build_ranking, store, protocol=settings["protocol"], unit=UNIT[task["name"]], snapshots=settings["snapshots"]
        )
        self.ranking.check()
        self.snapshots = self.ranking.snapshots
        self.catalogue = clock("catalogue", Catalogue.from_store, store, self.ranking.training_rows, **task["content"])
        if not 1 <= settings["k"] <= len(self.catalogue.item_ids):
            raise ValueError(f"k must be from 1 to the {len(self.catalogue.item_ids)} items of the catalogue, got {settings['k']}")
        self.network: Network | None = None
        if network and settings["encoder"]["name"] != "none":
            task = {**task, "repeats": settings["policy"]["repeats"]}
            datamodule = clock("network", ranking_datamodule, settings, store, self.ranking, self.catalogue)
            self.network = clock("network", prepare_network, {**settings, "task": task}, datamodule, folder)
            _task(self.network).load_catalogue(self.catalogue)
        self.held_out = np.flatnonzero(self.snapshots.split != "train")
        self.seen = seen_items(store.column("item"), self.snapshots.start, self.snapshots.stop)

    @property
    def fingerprint(self) -> str:
        return self.ranking.fingerprint(self.store)

    def fit(self, log: Log) -> None:
        """Train the network, if there is one."""
        if self.network:
            self.clock("network", fit_network, self.network, self.settings, self.folder, log)

    def scores(self, log: Log) -> pd.DataFrame:
        """The Scores table: every model's top k and the rank of every target, on validation and test."""
        self.fit(log)
        write_parquet(self.catalogue.to_frame(), self.folder / ITEMS)
        single: dict[str, Scorer] = {}
        if self.network:
            single[NETWORK] = self.clock("network", self._network_scorer, self.network)
        chosen = baseline_settings(self.settings)
        hybrids: dict[str, Scorer] = {}
        for config in sorted(chosen["baselines"], key=lambda config: "members" in config):  # hybrids combine what stands before them
            name = config["name"]
            log(f"baseline: {name}")
            model = build({key: value for key, value in config.items() if key not in ("name", "task")}, trusted=chosen["trusted"])
            if isinstance(model, Recommender):
                single[name] = self.clock(name, self._recommender_scorer, model)
            else:
                repeats = self.settings["policy"]["repeats"]
                num_items = len(self.catalogue.item_ids)
                fitted = self.clock(name, model.fit, single, self.ranking, self.seen, num_items, store=self.store, repeats=repeats)
                hybrids[name] = fitted
        return self.scores_of({**single, **hybrids})

    def scores_of(self, scorers: Mapping[str, Scorer]) -> pd.DataFrame:
        """The Scores table of these models."""
        ranks = {(name, among): self.clock("ranks", self._rank, scorer, among) for name, scorer in scorers.items() for among in AMONG}
        task = self.settings["task"]["name"]
        return self.clock(
            "ranks", ranked_scores, self.store, self.ranking, ranks, catalogue=self.catalogue, task=task, unit=UNIT[task]
        )  # fmt: skip

    def _network_scorer(self, network: Network) -> Scorer:
        """Scores by the trained network; saves the scoring checkpoint."""
        task, datamodule = _task(network), network.datamodule
        scorer = network_scorer(task, datamodule, self.held_out)
        if network.trainer.is_global_zero:
            save_model(self.folder / MODEL, task, vocabulary=datamodule.vocabulary, schema=datamodule.schema, calibration={})
        return scorer

    def _recommender_scorer(self, model: Recommender) -> Scorer:
        model.fit(self.store, self.ranking.training_stop)
        start_N, stop_N = self.snapshots.start, self.snapshots.stop
        at_N = np.asarray(self.store.time)[stop_N - 1] if self.ranking.positional else self.snapshots.cutoff  # never the target's time

        def scorer(index_B: np.ndarray) -> np.ndarray:
            return model.scores(self.store, start_N[index_B], stop_N[index_B], at_N[index_B])

        return scorer

    def _rank(self, scorer: Scorer, among: str) -> Ranks:
        index_N = self.held_out
        return rank(
            scorer, index_N, targets=take_ragged((self.ranking.target_offsets, self.ranking.targets), index_N),
            seen=take_ragged(self.seen, index_N), num_items=len(self.catalogue.item_ids), k=self.settings["k"],
            repeats=self.settings["policy"]["repeats"], among=among,
        )  # fmt: skip

    def summarise(self, scores: pd.DataFrame, fingerprint: str, counts: Mapping[str, Any]) -> dict[str, Any]:
        """metrics.json."""
        settings = self.settings
        trained = settings["encoder"]["name"] != "none"
        hybrids = [config for config in baseline_settings(settings)["baselines"] if "members" in config]
        with_network = [config["name"] for config in hybrids if trained and NETWORK in (config["members"] or [NETWORK])]
        return summarise_ranking(
            scores, task=settings["task"]["name"], fingerprint=fingerprint, data_counts=counts, catalogue=self.catalogue,
            k=settings["k"], resamples=settings["bootstrap"], seed=settings["seed"], protocol=settings["protocol"],
            policy=settings["policy"], counts=self.ranking.counts, with_network=with_network,
        )  # fmt: skip

    def write_final(self, scores: pd.DataFrame, metrics: Mapping[str, Any]) -> None:
        """TEMP"""


def network_scorer(task: NextItemTask, datamodule: SequenceDataModule, index_N: np.ndarray) -> Scorer:
    """Scores of the snapshots `index_N` (ascending), whose vectors are worked out once; leaves the task on the CPU."""
    z_ND = torch.from_numpy(customer_vectors(task, datamodule, index_N))
    with torch.inference_mode():
        vectors_VD = task.cpu().tower.vectors()

    @torch.inference_mode()
    def scorer(index_B: np.ndarray) -> torch.Tensor:
        return task.tower.similarity(z_ND[np.searchsorted(index_N, index_B)], vectors_VD)

    return scorer


def _task(network: Network) -> NextItemTask:
    assert isinstance(network.task, NextItemTask)
    return network.task


def ranking_datamodule(settings: Mapping[str, Any], store: EventStore, ranking: Any, catalogue: Catalogue) -> RankingDataModule:
    """Batches of a ranking; vocabulary and scalers are fitted on its training rows."""
    task, vocabulary = settings["task"], settings["vocabulary"]
    return RankingDataModule(
        store, ranking, catalogue, **settings["sequence"],
        vocabulary_min_count=vocabulary["min_count"], vocabulary_max_size=vocabulary["max_size"], vocabulary_fields=vocabulary["fields"],
        batch_size=task["batch_size"], max_tokens_per_batch=task["max_tokens_per_batch"], num_workers=task["num_workers"],
        pin_memory=torch.cuda.is_available(), seed=settings["seed"],
    )  # fmt: skip
