"""Scoring: a trained network applied to snapshots, to a new log, or for its customer vectors."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import expit

from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.open import open_store
from clm_dl.data.sequences.datamodule import SequenceDataModule
from clm_dl.data.snapshots.cutoffs import parse_cutoff
from clm_dl.data.snapshots.labels import label_span
from clm_dl.data.snapshots.later import later_snapshots, scoring_snapshots
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.evaluation.calibration import PlattCalibrator
from clm_dl.evaluation.scores import curve_table, scores_table, value_table
from clm_dl.experiment.settings import RANKED
from clm_dl.run import Run
from clm_dl.tasks.module import SequenceTask
from clm_dl.tasks.recommend.module import NextItemTask
from clm_dl.tasks.recommend.ranks import Scorer
from clm_dl.tasks.survival.metrics import hazards, restricted_mean
from clm_dl.tasks.value.calibration import ValueCalibrator
from clm_dl.tasks.value.module import HIGH, LOW, MEAN, MEDIAN, ORDERS
from clm_dl.tasks.value.window import window_spend

RULE = ("horizon_days", "gap_days", "active_days", "recent_days")  # of who is scored, and for which window
# tasks with one outcome a snapshot, on which a frozen network can be calibrated anew
ONE_OUTCOME = ("churn", "propensity", "value")
TENURE = 5  # column of `value_forecasts`, behind those of a forecast
MAX_TOKENS = 8192  # padded tokens of a batch, where the task has no budget of its own


@torch.inference_mode()
def churn_probabilities(task: SequenceTask, datamodule: SequenceDataModule, index_N: np.ndarray) -> np.ndarray:
    """Prior-corrected, uncalibrated P(churn) `[N]` of the snapshots `index_N`, in that order."""
    return expit(_apply(task, datamodule, index_N, task.logits).astype(np.float64))


@torch.inference_mode()
def survival_curves(task: SequenceTask, datamodule: SequenceDataModule, index_N: np.ndarray) -> np.ndarray:
    """Uncalibrated P(active through each horizon) `[N, S]` of the snapshots `index_N`, in that order."""
    return _apply(task, datamodule, index_N, task.active).astype(np.float64)


@torch.inference_mode()
def value_forecasts(task: SequenceTask, datamodule: SequenceDataModule, index_N: np.ndarray) -> np.ndarray:
    """Uncalibrated forecasts `[N, 6]` of the snapshots `index_N`, in that order: the columns of `ValueTask.forecast`,
    then log tenure.
    """
    forecast_N5 = _apply(task, datamodule, index_N, task.forecast)
    return np.column_stack([forecast_N5, datamodule.dataset.tenure_N.numpy()[index_N]]).astype(np.float64)


@torch.inference_mode()
def customer_vectors(task: SequenceTask, datamodule: SequenceDataModule, index_N: np.ndarray) -> np.ndarray:
    """Pooled vectors `[N, D]` of the snapshots `index_N`, in that order."""
    return _apply(task, datamodule, index_N, task.embed)


def network_scorer(task: NextItemTask, datamodule: SequenceDataModule, index_N: np.ndarray) -> Scorer:
    """Scores of the snapshots `index_N` (ascending), whose vectors are worked out once; leaves the task on the CPU."""
    z_ND = torch.from_numpy(customer_vectors(task, datamodule, index_N))
    with torch.inference_mode():
        vectors_VD = task.cpu().tower.vectors()

    @torch.inference_mode()
    def scorer(index_B: np.ndarray) -> torch.Tensor:
        return task.tower.similarity(z_ND[np.searchsorted(index_N, index_B)], vectors_VD)

    return scorer


def _apply(task: SequenceTask, datamodule: SequenceDataModule, index_N: np.ndarray, function: Any) -> np.ndarray:
    task.eval()
    parts, order = [], []
    for batch in datamodule.loader(index_N):
        parts.append(function(batch.to(task.device)).float().cpu())
        order.append(batch.index_B.cpu())
    values = torch.cat(parts).numpy()
    position = np.empty(len(datamodule.snapshots), dtype=np.int64)
    position[torch.cat(order).numpy()] = np.arange(len(values))  # batches are sorted by length
    return values[position[index_N]]


def fit_value_calibrator(
    answers_N6: np.ndarray, spend_N: np.ndarray, *, coverage: float, aged: bool = False
) -> ValueCalibrator:
    """Mean and interval of forecasts, calibrated on what was spent; `aged`: long after training, when tenure counts,
    too.
    """
    calibrator = ValueCalibrator().fit(answers_N6[:, MEAN], spend_N, answers_N6[:, TENURE] if aged else None)
    return calibrator.fit_interval(answers_N6[:, LOW], answers_N6[:, HIGH], spend_N, coverage=coverage)


def calibrated_forecasts(
    answers_N6: np.ndarray, calibration: ValueCalibrator
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Expected spend `[N]`, and median, low, high and expected_orders, each `[N]`; only mean and interval are
    calibrated.
    """
    low, high = calibration.interval(answers_N6[:, LOW], answers_N6[:, HIGH])
    rest = {"median": answers_N6[:, MEDIAN], "low": low, "high": high, "expected_orders": answers_N6[:, ORDERS]}
    return calibration.predict(answers_N6[:, MEAN], answers_N6[:, TENURE]), rest


@contextmanager
def snapshots_of(
    run: Run, events: Any, cutoff: Any
) -> Iterator[tuple[EventStore, SequenceDataModule, Snapshots, np.ndarray]]:
    """The log prepared up to the cutoff in a temporary store, everyone's snapshot, and who is in the population."""
    config = run.config
    at = None if cutoff is None else parse_cutoff(cutoff)
    data: Mapping[str, Any] = config["data"]
    with tempfile.TemporaryDirectory(prefix="clm_dl-") as folder:
        if events is None and data["name"] == "simulator":
            store = open_store(data, config["paths"])
        else:
            source = (
                {}
                if events is None
                else {"path": str(events)}
                if isinstance(events, (str, Path))
                else {"frame": events}
            )
            if source and data.get("sources"):
                raise UserError(
                    "this run was trained on several data.sources: predict from its own log by leaving input out"
                )
            store = prepare_store(
                {"data_dir": config["paths"]["data_dir"], **data, **source}, Path(folder) / "store", before=at
            )
        rule = {key: config["snapshots"][key] for key in RULE}
        if at is None:  # the end of the data, but behind the last event: what is known to date is history
            at = max(store.end, int(np.asarray(store.time).max()) + 1)
        snapshots, in_population = scoring_snapshots(store, at, labels=config["labels"], **rule)
        yield store, scoring_datamodule(run, store, snapshots), snapshots, in_population


def scoring_datamodule(run: Run, store: EventStore, snapshots: Snapshots) -> SequenceDataModule:
    """Batches of `snapshots` with the run's vocabulary and scalers, which are never refitted.

    The vocabulary of a ranked run holds the whole catalogue, so that its items keep their ids; another log's new items
    are UNK.
    """
    sequence, task = run.config["sequence"], run.config["task"]
    if task["name"] in RANKED:
        # nothing known at the cutoff enters, see RankingDataModule
        sequence, calendar = {**sequence, "features": False}, None
    else:
        calendar = run.config["data"].get("calendar")
    return SequenceDataModule(
        store,
        snapshots,
        **sequence,
        vocabulary=run.vocabulary,
        schema=run.schema,
        calendar=calendar,
        max_tokens_per_batch=task["max_tokens_per_batch"] or MAX_TOKENS,
    )


def predict(run: Run, events: Any = None, *, cutoff: Any = None, recalibrate: bool = False) -> pd.DataFrame:
    """One calibrated score for every customer with an event before the cutoff; of a survival run, one for each horizon.

    Args:
        events: a path or a table in the format the run was trained on; None for the run's own log.
        cutoff: ISO date or time (UTC when it names no zone); None for the end of the log, all of its events included.
            Nothing at or after it is read.
        recalibrate: calibrate on the newest cutoff of this log whose labels are known, not as in training; of
            ONE_OUTCOME tasks.

    Returns:
        The Scores table with split "predict", empty labels, and `in_population`: whether the customer fits the run's
        population rule. Of a survival run also `hazard`, the chance to leave by the horizon of who was active through
        the one before, and `remaining_days`, the expected remaining lifetime up to the last horizon. Of a value run
        score is the expected spend of the window in money, beside median, low and high (an interval of `task.coverage`)
        and expected_orders. Of a multi-task run the rows of every question, one below the other.
    """
    if run.question in RANKED:
        raise UserError(f"run {run.path} answers {run.question} with ranked lists: use run.recommend")
    if run.question == "pretrain":
        raise UserError(
            f"run {run.path} was pretrained and answers no question: start a run from it with init, or use its embed"
        )
    with snapshots_of(run, events, cutoff) as (store, datamodule, snapshots, in_population):
        if recalibrate and run.question not in ONE_OUTCOME:
            raise UserError(
                f"recalibrate is for runs of {' or '.join(ONE_OUTCOME)}, got one of {run.question}: leave it out"
            )
        calibration = newest_calibration(run, store) if recalibrate else None
        tables = [_predict(part, store, datamodule, snapshots, in_population, calibration) for part in run.questions]
        return pd.concat(tables, ignore_index=True)


def _predict(
    run: Run,
    store: EventStore,
    datamodule: SequenceDataModule,
    snapshots: Snapshots,
    in_population: np.ndarray,
    calibration: Any,
) -> pd.DataFrame:
    """Rows of one question; `calibration` None is the run's."""
    everyone, calibration = np.arange(len(snapshots)), run.calibration if calibration is None else calibration
    if run.question == "survival":
        horizons = run.config["task"]["horizons_days"]
        raw_NS = survival_curves(run.task, datamodule, everyone)
        active_NS = calibration.predict(raw_NS)
        nothing = np.full(raw_NS.shape, np.nan)
        table = curve_table(
            store, snapshots, horizons, model="network", active=active_NS, active_raw=raw_NS, label=nothing
        )
        table["hazard"] = hazards(active_NS).ravel()
        table["remaining_days"] = np.repeat(restricted_mean(active_NS, horizons), len(horizons))
        return table.assign(in_population=np.repeat(in_population, len(horizons)))
    if run.question == "value":
        answers_N6, unknown = value_forecasts(run.task, datamodule, everyone), np.full(len(snapshots), np.nan)
        score, forecast = calibrated_forecasts(answers_N6, calibration)
        table = value_table(
            store,
            snapshots,
            model="network",
            score=score,
            score_raw=answers_N6[:, MEAN],
            spend=unknown,
            orders=unknown,
            forecast=forecast,
        )
        return table.assign(in_population=in_population)
    raw = churn_probabilities(run.task, datamodule, everyone)
    table = scores_table(
        store, snapshots, model="network", task=run.question, score=calibration.predict(raw), score_raw=raw
    )
    return table.assign(in_population=in_population)


def newest_calibration(run: Run, store: EventStore) -> PlattCalibrator | ValueCalibrator:
    """The calibration on the newest cutoff of `store` whose labels are all known."""
    config, rule = run.config["labels"], {key: run.config["snapshots"][key] for key in RULE}
    newest = later_snapshots(store, np.array([store.end - label_span(store, config, **rule)]), **rule, labels=config)
    datamodule, everyone = scoring_datamodule(run, store, newest), np.arange(len(newest))
    if run.question == "value":
        task = run.config["task"]
        spend_N = window_spend(store, newest, returns=task["returns"])
        return fit_value_calibrator(
            value_forecasts(run.task, datamodule, everyone), spend_N, coverage=task["coverage"], aged=True
        )
    return PlattCalibrator().fit(churn_probabilities(run.task, datamodule, everyone), newest.label)


def embed(run: Run, events: Any = None, *, cutoff: Any = None) -> pd.DataFrame:
    """Customer vectors as of the cutoff: columns customer_id, cutoff, z0 … z(D−1); arguments as in `predict`."""
    with snapshots_of(run, events, cutoff) as (store, datamodule, snapshots, _):
        z_ND = customer_vectors(run.task, datamodule, np.arange(len(snapshots)))
        keys = scores_table(store, snapshots, model="network", task=run.question, score=np.nan, score_raw=np.nan)[
            ["customer_id", "cutoff"]
        ]
        return pd.concat([keys, pd.DataFrame(z_ND, columns=[f"z{d}" for d in range(z_ND.shape[1])])], axis=1)
