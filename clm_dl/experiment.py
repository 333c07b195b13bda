"""One experiment: store → snapshots → network and baselines → Scores → run directory. What every command and the API run."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf

from clm_dl.baselines.churn import build_baseline, fit_score
from clm_dl.config import nearest, plain
from clm_dl.data.features import rfm_features
from clm_dl.data.scores import scores_table
from clm_dl.data.snapshots import Snapshots, build_snapshots, check_classes
from clm_dl.data.store import EventStore
from clm_dl.data.table import table_scores
from clm_dl.fit import Fitted, Network, fit_network, prepare_network
from clm_dl.metrics.summary import METRICS, summarise
from clm_dl.run import Run, clear_results, helper_process, run_status, write_json
from clm_dl.stores import open_store
from clm_dl.tables import write_parquet
from clm_dl.visual.card import model_card
from clm_dl.visual.html import render_report

Log = Callable[[str], None]


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
    folder, clock = Path(settings["paths"]["output_dir"]), Clock()
    if settings["data"]["name"] == "table":
        scores, counts = clock("baselines", table_scores, {**settings["data"], "frame": frame}, **baseline_settings(settings))
        folds: list[Fold] = []
    else:
        data = {**settings["data"], "frame": frame} if frame is not None else settings["data"]
        store = clock("prepare", open_store, data, settings["paths"], log)
        folds = [Fold(settings, store, fold, folder, clock) for fold in range(settings["snapshots"]["folds"])]
        counts = {**store.counts, "customers": store.num_customers, "events": store.num_events}
    if helper_process():
        for fold in folds:
            fold.fit(clock, log)
        raise SystemExit(0)
    clear_results(folder, resumed=bool(settings["ckpt"]) and folder.resolve() in Path(settings["ckpt"]).resolve().parents)
    OmegaConf.save(OmegaConf.create(settings), folder / "config.yaml")
    write_json(folder / "versions.json", environment())
    with run_status(folder):
        fingerprint = counts.get("fingerprint", "")
        if folds:
            scores = pd.concat([fold.scores(clock, log) for fold in folds], ignore_index=True)
            fingerprint = "-".join(fold.snapshots.fingerprint(store) for fold in folds)
            counts["snapshots"] = {
                split: int(sum((fold.snapshots.split == split).sum() for fold in folds)) for split in ("train", "val", "test")
            }
        metrics = clock(
            "metrics", summarise, scores, task="churn", fingerprint=fingerprint, data_counts=counts,
            resamples=settings["bootstrap"], threshold=settings["threshold"], seed=settings["seed"],
        )  # fmt: skip
        write_parquet(scores, folder / "scores.parquet")
        write_json(folder / "metrics.json", metrics)
        if folds and folds[0].fitted:
            clock("tensorboard", folds[0].fitted.write_final, folder, settings, scores, metrics)
        write_json(folder / "timing.json", clock.seconds)
    (folder / "model_card.md").write_text(model_card(folder))
    (folder / "report.html").write_text(render_report([folder]))
    return Run(folder)


class Fold:
    """One split by time: its snapshots, and in the end every model's scores on them."""

    def __init__(self, settings: Mapping[str, Any], store: EventStore, number: int, folder: Path, clock: Clock):
        self.settings, self.store = settings, store
        self.folder = folder / f"fold_{number}" if number else folder
        self.snapshots = clock("snapshots", build_snapshots, store, **settings["snapshots"], fold=number, labels=settings["labels"])
        check_classes(self.snapshots)
        self.network: Network | None = None
        if settings["encoder"]["name"] != "none":
            self.network = clock("network", prepare_network, settings, store, self.snapshots, self.folder)
        self.fitted: Fitted | None = None

    def fit(self, clock: Clock, log: Log) -> None:
        if self.network:
            self.fitted = clock("network", fit_network, self.network, self.settings, self.snapshots, self.folder, log)

    def scores(self, clock: Clock, log: Log) -> pd.DataFrame:
        self.fit(clock, log)
        parts = [network_scores(self.fitted, self.store, self.snapshots)] if self.fitted else []
        baselines = baseline_settings(self.settings)
        if baselines["baselines"]:
            X = clock("features", rfm_features, self.store, self.snapshots)
            parts.append(clock("baselines", fit_score, X, self.snapshots, store=self.store, log=log, **baselines))
        return pd.concat(parts, ignore_index=True)


def network_scores(fitted: Fitted, store: EventStore, snapshots: Snapshots) -> pd.DataFrame:
    """The network's rows of the Scores table: validation and test, raw and calibrated."""
    held_out = snapshots.select(fitted.index)
    return scores_table(
        store, held_out, model="network", task="churn", score=fitted.calibration.predict(fitted.probability), score_raw=fitted.probability
    )


def check(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, after the checks that need no data."""
    seed = settings["seed"]
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be an integer from 0 to 2^32 − 1, got {seed!r}")
    if settings["objective"] not in METRICS:
        raise ValueError(
            f"objective must be one of {', '.join(METRICS)}, got {settings['objective']!r}{nearest(settings['objective'], METRICS)}"
        )
    chosen = baseline_settings(settings)
    for config in chosen["baselines"]:
        build_baseline(config, **{key: chosen[key] for key in ("seed", "impute", "imbalance", "trusted")})
    if settings["ckpt"] and settings["snapshots"].get("folds", 1) > 1:
        raise ValueError(f"ckpt resumes one network, got snapshots.folds={settings['snapshots']['folds']}: set snapshots.folds=1")
    if settings["encoder"]["name"] == "none" and not chosen["baselines"]:
        raise ValueError("encoder=none and baselines=none leave nothing to train: choose an encoder or a baseline")
    if settings["encoder"]["name"] == "none" and settings["ckpt"]:
        raise ValueError("ckpt resumes a network, but encoder=none trains no network: choose the encoder of the checkpoint")
    return settings


def baseline_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The chosen baselines' configurations, with how to impute, balance and seed them."""
    known, chosen = settings["baseline"], settings["baselines"]
    names = list(known) if chosen == "all" else [] if chosen in ("none", None) else [chosen] if isinstance(chosen, str) else list(chosen)
    for name in names:
        if name not in known:
            raise ValueError(f"no baseline {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    return {"baselines": [known[name] for name in names], **{key: settings[key] for key in ("seed", "impute", "imbalance", "trusted")}}


def environment() -> dict[str, Any]:
    """Versions, machine and git commit of this process."""
    packages = ("torch", "pytorch-lightning", "numpy", "pandas", "scikit-learn", "lightgbm", "hydra-core", "ibis-framework", "duckdb")
    here = Path(__file__).parent
    commit = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True)
    return {
        "clm_dl": version("clm-dl"),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "commit": commit.stdout.strip() or None,
    }


class Clock:
    """Seconds spent in each part of the experiment."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - started, 3)
