"""One experiment: store → snapshots → network and baselines → Scores → run directory. What every command and the API
run.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf

from clm_dl.config import plain
from clm_dl.data.log.interchange import spell_out
from clm_dl.data.open import open_store
from clm_dl.data.tables import write_parquet
from clm_dl.experiment.fold import Fold, churn_metrics
from clm_dl.experiment.multitask_fold import MultiTaskFold
from clm_dl.experiment.pretrain_fold import PretrainFold
from clm_dl.experiment.ranked_fold import RankedFold
from clm_dl.experiment.run_files import clear_results, helper_process, run_status, write_json
from clm_dl.experiment.settings import RANKED, baseline_settings, check
from clm_dl.experiment.survival_fold import SurvivalFold
from clm_dl.experiment.timing import Clock
from clm_dl.experiment.value_fold import ValueFold
from clm_dl.run import Run
from clm_dl.tasks.churn.table import table_scores
from clm_dl.visual.card import model_card
from clm_dl.visual.html import render_report

Log = Callable[[str], None]
FOLDS: dict[str, type[Fold]] = {  # of tasks that read a history a snapshot
    "churn": Fold,
    "propensity": Fold,
    "survival": SurvivalFold,
    "value": ValueFold,
    "multitask": MultiTaskFold,
    "pretrain": PretrainFold,
}


def run_experiment(config: DictConfig, *, frame: Any = None, log: Log = print) -> Run:
    """Train and evaluate what `config` (of train.yaml) describes.

    Args:
        frame: the event log as a pandas, Polars or Arrow table, instead of `data.path`.

    Returns:
        The finished run. Bad input raises before the run directory is touched.

    Raises:
        ValueError, FileNotFoundError: one sentence for the person who wrote the configuration or the log.
    """
    settings = check(plain(config))
    settings["data"] = spell_out(settings["data"])
    folder, clock = Path(settings["paths"]["output_dir"]), Clock()
    folds: Sequence[Fold] | Sequence[RankedFold] = []
    if settings["data"]["name"] == "table":
        table, counts = clock(
            "baselines", table_scores, {**settings["data"], "frame": frame}, **baseline_settings(settings)
        )
    else:
        data = {**settings["data"], "frame": frame} if frame is not None else settings["data"]
        store = clock("prepare", open_store, data, settings["paths"], log)
        if settings["task"]["name"] in RANKED:
            folds = [RankedFold(settings, store, folder, clock)]
        else:
            fold_type = FOLDS[settings["task"]["name"]]
            folds = [
                fold_type(settings, store, number, folder, clock) for number in range(settings["snapshots"]["folds"])
            ]
        counts = {**store.counts, "customers": store.num_customers, "events": store.num_events}
    if helper_process():
        for fold in folds:
            fold.fit(log)
        raise SystemExit(0)
    clear_results(
        folder, resumed=bool(settings["ckpt"]) and folder.resolve() in Path(settings["ckpt"]).resolve().parents
    )
    OmegaConf.save(OmegaConf.create(settings), folder / "config.yaml")
    write_json(folder / "versions.json", environment())
    with run_status(folder):
        if folds:
            scores = pd.concat([fold.scores(log) for fold in folds], ignore_index=True)
            fingerprint = "-".join(fold.fingerprint for fold in folds)
            counts["snapshots"] = {
                split: int(sum((fold.snapshots.split == split).sum() for fold in folds))
                for split in ("train", "val", "test")
            }
            metrics = clock("metrics", folds[0].summarise, scores, fingerprint, counts)
        else:
            scores, fingerprint = table, counts["fingerprint"]
            metrics = clock("metrics", churn_metrics, settings, scores, fingerprint, counts)
        write_parquet(scores, folder / "scores.parquet")
        write_json(folder / "metrics.json", metrics)
        if folds:
            clock("tensorboard", folds[0].write_final, scores, metrics)
        write_json(folder / "timing.json", clock.seconds)
    (folder / "model_card.md").write_text(model_card(folder))
    (folder / "report.html").write_text(render_report([folder]))
    return Run(folder)


def environment() -> dict[str, Any]:
    """Versions, machine and git commit of this process."""
    packages = (
        "torch",
        "pytorch-lightning",
        "numpy",
        "pandas",
        "scikit-learn",
        "lightgbm",
        "hydra-core",
        "ibis-framework",
        "duckdb",
    )
    here = Path(__file__).parent
    commit = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True)
    return {
        "clm_dl": version("clm-dl"),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "commit": commit.stdout.strip() or None,
    }
