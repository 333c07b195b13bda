"""RankedFold: a recommendation experiment; its histories and targets, its network, and every model's ranked lists on
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from clm_dl.baselines.recommenders.base import Recommender
from clm_dl.baselines.recommenders.content import NoContent
from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.data.ranking.protocols import build_ranking
from clm_dl.data.store.store import EventStore
from clm_dl.data.tables import write_parquet
from clm_dl.errors import UserError
from clm_dl.evaluation.splits import NETWORK
from clm_dl.experiment.fold import changed
from clm_dl.experiment.inference import network_scorer
from clm_dl.experiment.run_files import CARDS, ITEMS, MODEL, save_model, write_json
from clm_dl.experiment.settings import baseline_settings, build_recommender
from clm_dl.experiment.timing import Clock
from clm_dl.retrieval import take_ragged
from clm_dl.tasks.recommend.cards import card_text, sample_cards
from clm_dl.tasks.recommend.inputs import RankingDataModule
from clm_dl.tasks.recommend.module import NextItemTask
from clm_dl.tasks.recommend.ranks import AMONG, Scorer, rank, seen_items
from clm_dl.tasks.recommend.scores import Ranks, join_ranks, ranked_scores
from clm_dl.tasks.recommend.summary import summarise_ranking
from clm_dl.training.fit import HPARAMS, Network, batch_options, event_writer, fit_network, prepare_network
from clm_dl.visual.tensorboard_ranked import item_table, write_final_ranked

Log = Callable[[str], None]
KEPT_BYTES = 1 << 28  # of one model's scores
BLOCK = 1 << 22  # scores worked out at a time
UNIT = {"next_item": "line", "next_order": "order"}  # what is predicted at a time


class RankedFold:
    """Training histories, validation and test targets; `fit` trains the network, `scores` adds the baselines and
    hybrids.

    `network=False` makes none: to rank a finished run's network again with `scores_of`.
    """

    def __init__(
        self, settings: Mapping[str, Any], store: EventStore, folder: Path, clock: Clock, *, network: bool = True
    ):
        self.settings, self.store, self.folder, self.clock = settings, store, folder, clock
        task = settings["task"]
        if not store.has("item"):
            raise UserError(
                f"the log of data={settings['data']['name']} has no items to recommend: set data.roles.item"
            )
        self.ranking = clock(
            "snapshots",
            build_ranking,
            store,
            protocol=settings["protocol"],
            unit=UNIT[task["name"]],
            snapshots=settings["snapshots"],
        )
        self.ranking.check()
        self.snapshots = self.ranking.snapshots
        self.catalogue = clock("catalogue", Catalogue.from_store, store, self.ranking.training_rows, **task["content"])
        if not 1 <= settings["k"] <= len(self.catalogue.item_ids):
            raise UserError(
                f"k must be from 1 to the {len(self.catalogue.item_ids)} items of the catalogue, got {settings['k']}"
            )
        self.network: Network | None = None
        if network and settings["encoder"]["name"] != "none":
            task = {**task, "repeats": settings["policy"]["repeats"], "k": settings["k"]}
            datamodule = clock(
                "network", RankingDataModule, store, self.ranking, self.catalogue, **batch_options(settings)
            )
            self.network = clock("network", prepare_network, {**settings, "task": task}, datamodule, folder)
            _task(self.network).load_catalogue(self.catalogue)
        self.held_out = np.flatnonzero(self.snapshots.split != "train")
        self.seen = seen_items(store.column("item"), self.snapshots.start, self.snapshots.stop)

    @property
    def fingerprint(self) -> str:
        return self.ranking.fingerprint(self.store)

    def check(self, fingerprint: str) -> None:
        """Raise ValueError unless these are the snapshots that a run's metrics.json names."""
        if self.fingerprint != fingerprint:
            raise changed(self.folder)

    def fit(self, log: Log) -> None:
        """Train the network, if there is one."""
        if self.network:
            self.clock("network", fit_network, self.network, self.settings, self.folder, log)

    def scores(self, log: Log) -> pd.DataFrame:
        """The Scores table: every model's top k and the rank of every target, on validation and test."""
        if self.catalogue.missing:
            log(
                f"catalogue: nothing is known of {self.catalogue.missing:,} of {len(self.catalogue):,} items but their "
                "ids"
            )
        self.fit(log)
        write_parquet(self.catalogue.to_frame(), self.folder / ITEMS)
        single: dict[str, Scorer] = {}
        if self.network:
            single[NETWORK] = self.clock("network", self._network_scorer, self.network)
        return self.scores_of(self.fit_baselines(single, log=log)[1])

    def fit_baselines(
        self, single: Mapping[str, Scorer], *, only: str | None = None, log: Log = lambda line: None
    ) -> tuple[dict[str, Any], dict[str, Scorer]]:
        """The fitted baselines and hybrids by name, and the scorers of them and of what `single` has; `only` one model
        and its members.
        """
        chosen = baseline_settings(self.settings)["baselines"]
        if only is not None:
            [asked] = [config for config in chosen if config["name"] == only]
            members = asked.get("members", ())  # None: of all that are no hybrids
            chosen = [
                asked,
                *(one for one in chosen if "members" not in one and (members is None or one["name"] in members)),
            ]
        models: dict[str, Any] = {}
        single, hybrids = dict(single), {}
        for config in sorted(chosen, key=lambda config: "members" in config):  # hybrids combine what stands before them
            name = config["name"]
            log(f"baseline: {name}")
            model = build_recommender(config, self.settings)
            if isinstance(model, Recommender):
                try:
                    single[name] = self.clock(name, self._recommender_scorer, model)
                except NoContent as error:
                    if self.settings["baselines"] != "all":
                        raise
                    log(f"baseline {name} is left out: {error}")
                    continue
            else:
                options = {"store": self.store, "repeats": self.settings["policy"]["repeats"], "k": self.settings["k"]}
                self.clock(name, model.fit, single, self.ranking, self.seen, len(self.catalogue.item_ids), **options)
                hybrids[name] = self.clock(name, self._kept, model)
            models[name] = model
        return models, {**single, **hybrids}

    def scores_of(self, scorers: Mapping[str, Scorer]) -> pd.DataFrame:
        """The Scores table of these models."""
        # models whose softmax is a probability
        probable = {NETWORK} if self.settings["task"]["loss"]["name"] == "softmax" else set()
        ranks = {
            (name, among): found
            for name, scorer in scorers.items()
            for among, found in self.clock("ranks", self._ranks, scorer, softmax=name in probable).items()
        }
        task = self.settings["task"]["name"]
        return self.clock(
            "ranks",
            ranked_scores,
            self.store,
            self.ranking,
            ranks,
            catalogue=self.catalogue,
            task=task,
            unit=UNIT[task],
        )

    def _network_scorer(self, network: Network) -> Scorer:
        """Scores by the trained network; saves the scoring checkpoint."""
        task, datamodule = _task(network), network.datamodule
        scorer = network_scorer(task, datamodule, self.held_out)
        if network.trainer.is_global_zero:
            save_model(
                self.folder / MODEL, task, vocabulary=datamodule.vocabulary, schema=datamodule.schema, calibration={}
            )
        return self._kept(scorer)

    def _recommender_scorer(self, model: Recommender) -> Scorer:
        model.fit(self.store, self.ranking.training_stop)
        start_N, stop_N = self.snapshots.start, self.snapshots.stop
        # never the target's time
        at_N = np.asarray(self.store.time)[stop_N - 1] if self.ranking.positional else self.snapshots.cutoff
        return self._kept(model.scorer(self.store, start_N, stop_N, at_N))

    def _kept(self, scorer: Scorer) -> Scorer:
        """The scorer with all its scores worked out once, where they fit: hybrids ask for them again and again."""
        fits = len(self.held_out) <= self._kept_rows
        return self._worked_out(scorer, self.held_out) if fits else scorer

    @property
    def _kept_rows(self) -> int:
        """Snapshots whose scores by one model fit into KEPT_BYTES."""
        return max(1, KEPT_BYTES // (4 * len(self.catalogue.item_ids)))

    def _worked_out(self, scorer: Scorer, index_N: np.ndarray) -> Scorer:
        """The scorer of the snapshots `index_N` [N], in order, from a table of their scores."""
        step = max(1, BLOCK // len(self.catalogue.item_ids))
        parts = [
            torch.as_tensor(scorer(index_N[first : first + step])).float() for first in range(0, len(index_N), step)
        ]
        score_NV = torch.cat(parts)
        return lambda index_B: score_NV[np.searchsorted(index_N, index_B)]

    def _ranks(self, scorer: Scorer, *, softmax: bool) -> dict[str, Ranks]:
        """The rankings of the catalogue, the repeats and the new items, from scores that are worked out once."""
        parts: dict[str, list[Ranks]] = {among: [] for among in AMONG}
        for first in range(0, len(self.held_out), self._kept_rows):
            index_N = self.held_out[first : first + self._kept_rows]
            kept = self._worked_out(scorer, index_N)
            for among in AMONG:
                ranks = rank(
                    kept,
                    index_N,
                    targets=take_ragged((self.ranking.target_offsets, self.ranking.targets), index_N),
                    seen=take_ragged(self.seen, index_N),
                    num_items=len(self.catalogue.item_ids),
                    k=self.settings["k"],
                    repeats=self.settings["policy"]["repeats"],
                    among=among,
                    softmax=softmax,
                )
                parts[among].append(ranks)
        return {among: join_ranks(found) for among, found in parts.items()}

    def summarise(self, scores: pd.DataFrame, fingerprint: str, counts: Mapping[str, Any]) -> dict[str, Any]:
        """metrics.json."""
        settings = self.settings
        trained = settings["encoder"]["name"] != "none"
        hybrids = [config for config in baseline_settings(settings)["baselines"] if "members" in config]
        with_network = [config["name"] for config in hybrids if trained and NETWORK in (config["members"] or [NETWORK])]
        return summarise_ranking(
            scores,
            task=settings["task"]["name"],
            fingerprint=fingerprint,
            data_counts=counts,
            catalogue=self.catalogue,
            k=settings["k"],
            resamples=settings["bootstrap"],
            seed=settings["seed"],
            protocol=settings["protocol"],
            policy=settings["policy"],
            counts=self.ranking.counts,
            with_network=with_network,
        )

    def write_final(self, scores: pd.DataFrame, metrics: Mapping[str, Any]) -> None:
        """Recommendation cards for the report; of a network also what TensorBoard shows: items in the projector,
        hparams, the cards.
        """
        cards = sample_cards(scores, self.store, self.snapshots, model=metrics["best_model"]["name"])
        write_json(self.folder / CARDS, cards)
        if self.network is None or (writer := event_writer(self.network.trainer)) is None:
            return
        with torch.inference_mode():
            vectors_VD = _task(self.network).tower.vectors().numpy()
        write_final_ranked(
            writer,
            scores,
            metrics,
            {key: self.settings[key] for key in HPARAMS},
            item_vectors=vectors_VD,
            item_metadata=item_table(self.catalogue),
            cards=[card_text(card) for card in cards],
        )


def _task(network: Network) -> NextItemTask:
    assert isinstance(network.task, NextItemTask)
    return network.task
