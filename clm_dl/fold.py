"""Fold: one split by time of a churn experiment; its snapshots, its network, and every model's scores on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.baselines.churn import fit_score
from clm_dl.clock import Clock
from clm_dl.data.features import rfm_features
from clm_dl.data.scores import scores_table
from clm_dl.data.snapshots import build_snapshots, check_classes
from clm_dl.data.store import EventStore
from clm_dl.fit import HPARAMS, Network, build_datamodule, event_writer, fit_network, prepare_network
from clm_dl.metrics.calibration import PlattCalibrator
from clm_dl.metrics.summary import summarise
from clm_dl.run import MODEL, save_model
from clm_dl.scoring import churn_probabilities, customer_vectors
from clm_dl.settings import baseline_settings
from clm_dl.visual.tensorboard import write_final

Log = Callable[[str], None]
MAX_PROJECTED = 5000  # customers in TensorBoard's projector


class Fold:
    """Snapshots of one split by time; `fit` trains the network, `scores` adds the baselines."""

    def __init__(self, settings: Mapping[str, Any], store: EventStore, number: int, folder: Path, clock: Clock):
        self.settings, self.store, self.clock = settings, store, clock
        self.folder = folder / f"fold_{number}" if number else folder
        self.snapshots = clock("snapshots", build_snapshots, store, **settings["snapshots"], fold=number, labels=settings["labels"])
        check_classes(self.snapshots)
        self.network: Network | None = None
        if settings["encoder"]["name"] != "none":
            datamodule = clock("network", build_datamodule, settings, store, self.snapshots)
            self.network = clock("network", prepare_network, settings, datamodule, self.folder)

    @property
    def fingerprint(self) -> str:
        return self.snapshots.fingerprint(self.store)

    def fit(self, log: Log) -> None:
        """Train the network, if there is one."""
        if self.network:
            self.clock("network", fit_network, self.network, self.settings, self.folder, log)

    def scores(self, log: Log) -> pd.DataFrame:
        """The Scores table of every model on validation and test."""
        self.fit(log)
        parts = [self.clock("network", self._network_scores, self.network)] if self.network else []
        baselines = baseline_settings(self.settings)
        if baselines["baselines"]:
            X = self.clock("features", rfm_features, self.store, self.snapshots)
            parts.append(self.clock("baselines", fit_score, X, self.snapshots, store=self.store, log=log, **baselines))
        return pd.concat(parts, ignore_index=True)

    def _network_scores(self, network: Network) -> pd.DataFrame:
        """Raw and Platt-calibrated on the newest validation cutoff; saves the scoring checkpoint."""
        task, datamodule, snapshots = network.task, network.datamodule, self.snapshots
        index = np.flatnonzero(np.isin(snapshots.split, ("val", "test")))
        raw = churn_probabilities(task, datamodule, index)
        chosen = snapshots.calibration[index]
        calibration = PlattCalibrator().fit(raw[chosen], snapshots.label[index][chosen])
        if network.trainer.is_global_zero:
            save_model(
                self.folder / MODEL, task.cpu(), vocabulary=datamodule.vocabulary, schema=datamodule.schema,
                calibration=calibration.to_dict(),
            )  # fmt: skip
        held_out = snapshots.select(index)
        return scores_table(self.store, held_out, model="network", task=task.name, score=calibration.predict(raw), score_raw=raw)

    def summarise(self, scores: pd.DataFrame, fingerprint: str, counts: Mapping[str, Any]) -> dict[str, Any]:
        """metrics.json."""
        return churn_metrics(self.settings, scores, fingerprint, counts)

    def write_final(self, scores: pd.DataFrame, metrics: Mapping[str, Any]) -> None:
        """What TensorBoard shows once a run is over: PR curve, reliability, hparams with the final metric, projector of customers."""
        if self.network is None or (writer := event_writer(self.network.trainer)) is None:
            return
        test = np.flatnonzero(self.snapshots.split == "test")
        shown = np.sort(np.random.default_rng(0).permutation(test)[:MAX_PROJECTED])
        table = scores[(scores["model"] == "network") & (scores["split"] == "test")].reset_index(drop=True)
        metadata = table.iloc[np.searchsorted(test, shown)]
        write_final(
            writer, scores, metrics, {key: self.settings[key] for key in HPARAMS},
            embeddings=customer_vectors(self.network.task, self.network.datamodule, shown),
            metadata=metadata[["customer_id", "cutoff", "label", "score"]],
        )  # fmt: skip


def churn_metrics(settings: Mapping[str, Any], scores: pd.DataFrame, fingerprint: str, counts: Mapping[str, Any]) -> dict[str, Any]:
    """metrics.json of churn scores, of a fold or of a table."""
    return summarise(
        scores, task="churn", fingerprint=fingerprint, data_counts=counts,
        resamples=settings["bootstrap"], threshold=settings["threshold"], seed=settings["seed"],
    )  # fmt: skip
