"""One experiment: store → cases → inputs → fit → answers → calibrate → scores → metrics → show."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf

from clm_dl.baselines.spec import Fitted
from clm_dl.config import as_saved, plain
from clm_dl.data.open import open_store
from clm_dl.data.store.attributes import attribute_values
from clm_dl.data.store.store import EventStore
from clm_dl.evaluation.leakage import leakage_lines
from clm_dl.evaluation.metric import NETWORK
from clm_dl.experiment.before import same_run
from clm_dl.experiment.checks import check_writable
from clm_dl.experiment.fitted import keep_best
from clm_dl.experiment.manifest import sound_checkpoint
from clm_dl.experiment.pretrained import Start
from clm_dl.experiment.probe import probe
from clm_dl.experiment.run_files import (
    CARDS,
    ITEMS,
    clear_results,
    helper_process,
    read_config,
    results_of,
    run_status,
    save_trained,
    write_json,
    write_parquet,
)
from clm_dl.experiment.run_home import check_folder, locked
from clm_dl.experiment.scoring import network_answers, network_rows, run_metrics, score_baselines
from clm_dl.experiment.settings import Plan, read_plan
from clm_dl.experiment.shared import Shared
from clm_dl.experiment.timing import Clock
from clm_dl.tasks.balance import balance_line
from clm_dl.tasks.base import Answers, Task
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.processes import together
from clm_dl.training.fit import Training, check_training, fit, prepare_training
from clm_dl.training.memory import shortage_said
from clm_dl.training.pruning import Pruning, Watcher
from clm_dl.visual.card import model_card
from clm_dl.visual.facts import log_lines
from clm_dl.visual.html import render_report
from clm_dl.visual.results import Results
from clm_dl.visual.tensorboard import write_results
from clm_dl.writing import write_text

Log = Callable[[str], None]
HPARAMS = ("seed", "encoder", "task", "sequence", "vocabulary")  # the groups that TensorBoard's hparams show


@dataclass(frozen=True, eq=False)
class Fold:
    """One split by time: its cases, and the network that is trained on them, if any."""

    folder: Path
    cases: Cases
    training: Training | None


def describe_labels(counts: Mapping[str, int]) -> str:
    """Rows of a label file, and those that became no snapshot, by reason."""
    lost = ", ".join(
        f"{name.replace('_', ' ')}: {rows:,}" for name, rows in counts.items() if rows and name != "given_rows"
    )
    return f"labels: {counts['given_rows']:,} rows given{f', without a snapshot: {lost}' if lost else ''}"


def run_experiment(
    config: DictConfig,
    *,
    frame: Any = None,
    log: Log = print,
    is_locked: bool = False,
    shared: Path | None = None,
    watcher: Watcher | None = None,
) -> Path:
    """Train and evaluate what `config` (of train.yaml) describes.

    Args:
        frame: the event log as a pandas, Polars or Arrow table, instead of `data.path`.
        is_locked: whoever calls keeps other runs out of the run directory.
        shared: a folder of baselines that other runs have fitted, and may use of this one.
        watcher: of a search, which may stop the training of the one network.

    Returns:
        The run directory. Bad input raises before it is touched.

    Raises:
        ValueError, FileNotFoundError: one sentence for the person who wrote the configuration or the log.
        Pruned: the watcher stopped it.
    """
    plan, clock = read_plan(plain(config)), Clock()
    saved = as_saved(config, plan.config)
    if not helper_process():
        check_folder(plan.folder, overwrite=plan.overwrite, resumed=plan.resumes_in_place)
        check_writable(plan.folder)
    if plan.settings.has_network and not plan.is_table:
        check_training(plan.training, plan.folder)
    if plan.init:
        read_config(Path(plan.init))  # says whether it is a run
    task, data = plan.task, {**plan.data, "frame": frame} if frame is not None else plan.data
    folds: list[Fold] = []
    if plan.is_table:
        with clock("baselines"):
            scores, counts = task.table_scores(data, log)
        if counts.get("repeats"):
            log(
                f"table: {counts['repeats']:,} rows equal another customer's in every column, "
                f"{counts['repeats_across_folds']:,} of them one in another fold, where a model has learnt it"
            )
    else:
        with clock("prepare"):
            store = open_store(data, plan.paths, log)
        folds = [prepare_fold(plan, store, number, clock) for number in range(plan.folds)]
        if watcher and len(folds) == 1 and folds[0].training:
            folds[0].training.trainer.callbacks.append(Pruning(watcher))  # type: ignore[attr-defined]
        counts = {**store.counts, "customers": store.num_customers, "events": store.num_events, **store.facts}
        if attributes := attribute_values(store):
            counts["written"] = {**counts.get("written", {}), "attributes": attributes}
        if given := dict(folds[0].cases.snapshots.counts):  # of a label file
            counts["labels"] = given
            log(describe_labels(given))
        with clock("features"):
            counts |= probe(folds[0].cases)
    notes = [note for fold in folds if fold.training for note in fold.training.inputs.notes]
    for line in (*log_lines(counts), *leakage_lines(counts.get("leakage")), *dict.fromkeys(notes)):
        log(line)
    if helper_process():
        for fold in folds:
            train_fold(fold, task, clock, log)
        raise SystemExit(0)  # the first process judges and writes
    alone = not is_locked and frame is None
    if alone and (same := same_run(plan.folder, saved, task, lambda: fingerprint_of(task, folds, counts))):
        log(f"same as:     {same}; its results are there")
    lock = nullcontext() if is_locked else locked(plan.folder)
    with lock, run_status(plan.folder):
        clear_results(plan.folder, resumed=plan.resumes_in_place)
        write_text(plan.folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(saved)))
        write_json(plan.folder / "versions.json", versions := environment())
        if balanced := balance_line(task.settings, task.balances):
            log(balanced)
        known = Shared(shared, versions) if shared else None
        kept: list[dict[str, list[Fitted]]] = []
        told: list[dict[str, dict[str, str]]] = []
        tables = []
        answers = [train_fold(fold, task, clock, log) for fold in folds]  # before anybody waits for the baselines
        for fold, answered in zip(folds, answers, strict=True):
            rows, fitted, calibration = score_fold(fold, task, answered, clock, log, known)
            tables += rows
            kept.append(fitted)
            told.append(calibration)
        if folds:
            scores = pd.concat(tables, ignore_index=True)
        write_parquet(scores, plan.folder / "scores.parquet")
        with clock("metrics"):
            cases, options = [fold.cases for fold in folds], dict[str, Any](resamples=plan.resamples, seed=plan.seed)
            options |= {"calibration": told[0] if told else None, "shared": known}
            metrics = run_metrics(task, scores, cases, counts, fingerprint=counts.get("fingerprint"), **options)
        write_json(plan.folder / "metrics.json", metrics)
        for question in task.questions if folds else ():
            own = metrics.get("tasks", {}).get(question.name, metrics)
            keep_best(plan.folder, question, kept[0].get(question.name, []), own)
        show(replace(plan, config=saved), folds, scores, metrics, clock)
    return plan.folder


def fingerprint_of(task: Task, folds: list[Fold], counts: Mapping[str, Any]) -> str:
    """That of all folds, or of a table."""
    return str(counts.get("fingerprint") or "-".join(task.fingerprint(fold.cases) for fold in folds))


def prepare_fold(plan: Plan, store: EventStore, number: int, clock: Clock) -> Fold:
    """Cases, inputs and the untrained network of one fold; raises where nothing can be learnt or measured."""
    task, folder = plan.task, plan.folder / f"fold_{number}" if number else plan.folder
    with clock("snapshots"):
        cases = task.cases(store, fold=number)
    start = Start.open(plan.init, plan.config, cases) if plan.init else None
    if start:
        task.start_from(start.vectors)
    if plan.training.checkpoint:
        sound_checkpoint(Path(plan.training.checkpoint))
    if not task.settings.has_network:
        return Fold(folder, cases, None)
    with clock("network"):
        inputs = task.inputs(cases, **(start.inputs if start else {}))
        training = prepare_training(task, inputs, plan.training, folder, fingerprint=task.fingerprint(cases))
        if start:
            start.load_weights(training.network)
    return Fold(folder, cases, training)


def train_fold(fold: Fold, task: Task, clock: Clock, log: Log) -> dict[str, Answers]:
    """Fit the network, if there is one; its answers by question. Every process of a distributed run does its share."""
    if not fold.training:
        return {}
    network, inputs = fold.training.network, fold.training.inputs
    with clock("network"), shortage_said(network.options, fold.training.trainer.strategy.root_device):
        task.prepare(network, inputs)
        fit(fold.training, fold.folder, log)
        with together():
            return network_answers(task, fold.cases, network, inputs)


def score_fold(
    fold: Fold, task: Task, answers: Mapping[str, Answers], clock: Clock, log: Log, shared: Shared | None
) -> tuple[list[pd.DataFrame], dict[str, list[Fitted]], dict[str, dict[str, str]]]:
    """Scores of network and baselines on validation and test, and of every question the fitted baselines, and how each
    model was calibrated, in words.
    """
    cases, tables, told = fold.cases, list[pd.DataFrame](), dict[str, dict[str, str]]()

    def tell(question: str, model: str, calibration: Any) -> None:
        if words := getattr(calibration, "told", None):
            told.setdefault(question, {})[model] = words
            log(f"calibration of {model}{f' ({question})' if task.holds_tasks else ''}: {words}")

    fold.folder.mkdir(exist_ok=True)
    if task.catalogue is not None:
        if task.catalogue.missing:
            missing, num = task.catalogue.missing, len(task.catalogue)
            log(f"catalogue: nothing is known of {missing:,} of {num:,} items but their ids")
        write_parquet(task.catalogue.to_frame(), fold.folder / ITEMS)
    if fold.training:
        with clock("network"):
            network, inputs = fold.training.network, fold.training.inputs
            tables, calibrations = network_rows(task, cases, answers)
            known: Any = {"vocabulary": inputs.vocabulary, "schema": inputs.schema, "calibrations": calibrations}
            save_trained(fold.folder, task, network.cpu(), **known)
        for name, calibration in calibrations.items():
            tell(name, NETWORK, calibration)
    kept: dict[str, list[Fitted]] = {}
    with clock("baselines"):
        for question in task.questions:
            part, name = task.cases_of(question, cases), question.name
            of_network = {NETWORK: answers[name]} if name in answers else {}
            for fitted, found in score_baselines(question, part, of_network, log, shared):
                tables.append(found)
                kept.setdefault(name, []).append(fitted)
                tell(name, fitted.spec.name, fitted.calibration)
    return tables, kept, told


def show(plan: Plan, folds: list[Fold], scores: pd.DataFrame, metrics: dict[str, Any], clock: Clock) -> list[Results]:
    """TensorBoard, model card and report of a run that is over, from what is in memory."""
    task, folder, cards = plan.task, plan.folder, []
    with clock("tensorboard"):
        if folds and (cards := task.cards(folds[0].cases, scores, metrics)):
            write_json(folder / CARDS, cards)
    status = {"state": "finished", "reason": None}
    known = {"cards": cards, "status": status, "timing": clock.seconds, "backtest": None}
    questions = results_of(task, folder, plan.config, metrics, scores, **known)
    training = folds[0].training if folds else None
    if training and training.writer:
        with clock("tensorboard"):
            projected = task.projected(training.network, training.inputs, folds[0].cases, scores)
            write_results(training.writer, questions, {key: plan.config[key] for key in HPARAMS}, projected)
    write_json(folder / "timing.json", clock.seconds)
    write_text(folder / "model_card.md", model_card(questions, task.name))
    write_text(folder / "report.html", render_report([questions], title=task.name))
    return questions


def environment() -> dict[str, Any]:
    """Versions, machine and git commit of this process."""
    packages = ("torch", "pytorch-lightning", "numpy", "pandas", "scikit-learn", "lightgbm")
    here = Path(__file__).parent
    commit = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True)
    return {
        "clm_dl": version("clm-dl"),
        "python": platform.python_version(),
        **{name: version(name) for name in (*packages, "hydra-core", "ibis-framework", "duckdb")},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "commit": commit.stdout.strip() or None,
    }
