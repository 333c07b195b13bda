"""Fold: one split by time of an experiment on snapshots (churn, propensity; others build on it), and every model's
scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.baselines.tabular.classifier import fit_score
from clm_dl.data.sequences.datamodule import SequenceDataModule
from clm_dl.data.snapshots.features import rfm_features
from clm_dl.data.snapshots.snapshots import Snapshots, build_snapshots, check_classes
from clm_dl.data.store.store import EventStore
from clm_dl.evaluation.calibration import PlattCalibrator
from clm_dl.evaluation.scores import scores_table
from clm_dl.evaluation.splits import NETWORK
from clm_dl.experiment.inference import churn_probabilities, customer_vectors
from clm_dl.experiment.pretrained import input_schema, load_weights, open_pretrained, vectors
from clm_dl.experiment.run_files import MODEL, save_model
from clm_dl.experiment.settings import baseline_settings
from clm_dl.experiment.timing import Clock
from clm_dl.tasks.churn.summary import summarise
from clm_dl.tasks.module import SequenceTask
from clm_dl.training.fit import HPARAMS, Network, build_datamodule, event_writer, fit_network, prepare_network
from clm_dl.visual.tensorboard import write_final as write_final_churn

Log = Callable[[str], None]
MAX_PROJECTED = 5000  # customers in TensorBoard's projector


class Fold:
    """Snapshots of one split by time; `fit` trains the network, `scores` adds the baselines.

    `network=False` makes none: to score a finished run's network again. `snapshots` are those of another fold on the
    same split.
    """

    write: Callable[..., None] = staticmethod(write_final_churn)

    def __init__(
        self,
        settings: Mapping[str, Any],
        store: EventStore,
        number: int,
        folder: Path,
        clock: Clock,
        *,
        network: bool = True,
        snapshots: Snapshots | None = None,
    ):
        self.settings, self.store, self.clock = settings, store, clock
        self.folder = folder / f"fold_{number}" if number else folder
        self.snapshots = clock("snapshots", self.take_snapshots, number) if snapshots is None else snapshots
        self.held_out = np.flatnonzero(np.isin(self.snapshots.split, ("val", "test")))
        self.target_NK = self.targets()
        self.network: Network | None = None
        self.init = open_pretrained(settings, self.snapshots) if network and settings["init"] else None
        if network and settings["encoder"]["name"] != "none":
            inputs = {"vocabulary": self.init.vocabulary, "schema": input_schema(self.init)} if self.init else {}
            datamodule = clock("network", build_datamodule, settings, store, self.snapshots, self.target_NK, **inputs)
            datamodule.schema.update(self.head_schema())
            self.network = clock("network", prepare_network, settings, datamodule, self.folder)
            if self.init:
                load_weights(self.network.task, self.init)

    def take_snapshots(self, number: int) -> Snapshots:
        """The snapshots of fold `number`; raises ValueError where nothing can be learnt or measured."""
        snapshots = build_snapshots(
            self.store, **self.settings["snapshots"], fold=number, labels=self.settings["labels"]
        )
        check_classes(snapshots)
        return snapshots

    def targets(self) -> np.ndarray | None:
        """Float `[N, K]`: what the network learns from beside the label; raises ValueError where nothing can be learnt."""
        return None

    def head_schema(self) -> dict[str, Any]:
        """What the head must know of the training targets, as entries of the schema."""
        return {}

    @property
    def fingerprint(self) -> str:
        return self.snapshots.fingerprint(self.store)

    def check(self, fingerprint: str) -> None:
        """Raise ValueError unless these are the snapshots that a run's metrics.json names."""
        if self.fingerprint != fingerprint.split("-")[0]:
            raise changed(self.folder)

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
            parts.append(self.clock("baselines", self.baseline_scores, X, log=log, **baselines))
        return pd.concat(parts, ignore_index=True)

    def baseline_scores(self, X: pd.DataFrame, **options: Any) -> pd.DataFrame:
        """Rows of the Scores table of every chosen baseline."""
        embedding = vectors(self.init, self.store, self.snapshots) if self.init else None
        return fit_score(
            X, self.snapshots, store=self.store, task=self.settings["task"]["name"], embedding=embedding, **options
        )

    def outcome(self, snapshots: Snapshots) -> np.ndarray:
        """What came true of `snapshots`, `[N]`, NaN censored."""
        return snapshots.label

    def answers(self, task: SequenceTask, datamodule: SequenceDataModule, index_N: np.ndarray) -> np.ndarray:
        """The network's answers before calibration, a row for each of the snapshots `index_N`."""
        return churn_probabilities(task, datamodule, index_N)

    def calibrate(self, answers: np.ndarray, outcome: np.ndarray, *, aged: bool = False) -> Any:
        """The calibration of `answers`, fitted on the `outcome` of the same snapshots; `aged`: they came long after
        training.
        """
        return PlattCalibrator().fit(answers, outcome)

    def table(
        self, snapshots: Snapshots, answers: np.ndarray, calibration: Any, outcome: np.ndarray, *, model: str
    ) -> pd.DataFrame:
        """Rows of the Scores table of `answers` and their calibration."""
        score, name = calibration.predict(answers), self.settings["task"]["name"]
        return scores_table(self.store, snapshots, model=model, task=name, score=score, score_raw=answers).assign(
            label=outcome
        )

    def network_scores(
        self, task: SequenceTask, datamodule: SequenceDataModule, calibration: Any = None
    ) -> tuple[pd.DataFrame, Any]:
        """The network's rows of the Scores table and its calibration (fitted on the newest validation cutoff where not
        given).
        """
        held_out, answers = self.snapshots.select(self.held_out), self.answers(task, datamodule, self.held_out)
        outcome = self.outcome(held_out)
        if calibration is None:
            chosen = self.snapshots.calibration[self.held_out]
            calibration = self.calibrate(answers[chosen], outcome[chosen])
        return self.table(held_out, answers, calibration, outcome, model=NETWORK), calibration

    def _network_scores(self, network: Network) -> pd.DataFrame:
        """Scores, and the scoring checkpoint saved."""
        table, calibration = self.network_scores(network.task, network.datamodule)
        if network.trainer.is_global_zero:
            save_model(
                self.folder / MODEL,
                network.task.cpu(),
                vocabulary=network.datamodule.vocabulary,
                schema=network.datamodule.schema,
                calibration=calibration.to_dict(),
            )
        return table

    def summarise(self, scores: pd.DataFrame, fingerprint: str, counts: Mapping[str, Any]) -> dict[str, Any]:
        """metrics.json."""
        return churn_metrics(self.settings, scores, fingerprint, counts)

    def write_final(self, scores: pd.DataFrame, metrics: Mapping[str, Any]) -> None:
        """What TensorBoard shows once a run is over: figures, hparams with the final metrics, projector of customers."""
        if self.network is None or (writer := event_writer(self.network.trainer)) is None:
            return
        test = np.flatnonzero(self.snapshots.split == "test")
        shown = np.sort(np.random.default_rng(0).permutation(test)[:MAX_PROJECTED])
        table = scores[(scores["model"] == NETWORK) & (scores["split"] == "test")]
        table = table.drop_duplicates(
            ["cutoff", "customer_id"], ignore_index=True
        )  # a row a snapshot, of survival that of the first horizon
        metadata = table.iloc[np.searchsorted(test, shown)]
        self.write(
            writer,
            scores,
            metrics,
            {key: self.settings[key] for key in HPARAMS},
            embeddings=customer_vectors(self.network.task, self.network.datamodule, shown),
            metadata=metadata[["customer_id", "cutoff", "label", "score"]],
        )


def churn_metrics(
    settings: Mapping[str, Any], scores: pd.DataFrame, fingerprint: str, counts: Mapping[str, Any]
) -> dict[str, Any]:
    """metrics.json of churn or propensity scores, of a fold or of a table."""
    return summarise(
        scores,
        task=settings["task"]["name"],
        fingerprint=fingerprint,
        data_counts=counts,
        resamples=settings["bootstrap"],
        threshold=settings["threshold"],
        seed=settings["seed"],
    )


def changed(folder: Path) -> ValueError:
    """The log of the run in `folder` is not what it was trained on."""
    return ValueError(
        f"the snapshots of {folder} cannot be made again: its log or labels changed since it was trained; train anew"
    )
