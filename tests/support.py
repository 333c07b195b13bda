"""What tests build on: the options of configs/ as dataclasses, snapshots and batches with single options changed."""

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from clm_dl.baselines.spec import Spec
from clm_dl.config import CONFIG_DIR, compose, plain
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.data.sequences.options import BatchOptions, SequenceOptions, VocabularyOptions
from clm_dl.data.snapshots.rule import SnapshotRule
from clm_dl.data.snapshots.snapshots import Snapshots, build_snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.evaluation.summary import summarise
from clm_dl.experiment.scoring import fit_baselines
from clm_dl.experiment.settings import read_task
from clm_dl.options import parse
from clm_dl.tasks.cases import Cases

VOCABULARY = ("min_count", "max_size", "fields")
BATCHES = {"batch_size": None, "max_tokens_per_batch": 8192, "num_workers": 0, "seed": 0}
OWN = {  # what a task needs beside the shop's log
    "propensity": ["labels=event", "labels.field=dept", "labels.values=[toys]"],
    "survival": ["task.horizons_days=[0,14,28]"],
    "multitask": ["task.horizons_days=[0,14,28]"],
    "next_item": ["sequence=line"],
    "pretrain": ["task.held_out=0.3"],
}


def options(cls: type[Any], group: str, **changes: Any) -> Any:
    """The dataclass of a file of configs/, with some of its values changed."""
    return parse(cls, OmegaConf.to_container(OmegaConf.load(CONFIG_DIR / f"{group}.yaml")) | changes, group)


def rule(**changes: Any) -> SnapshotRule:
    """The rule of snapshots/events."""
    return options(SnapshotRule, "snapshots/events", **({"active_days": None} | changes))


def snapshots_of(store: EventStore, **changes: Any) -> Snapshots:
    """Labelled snapshots by `rule`; fold, labels, follow_days and seed as in `build_snapshots`."""
    further = {name: changes.pop(name) for name in ("fold", "labels", "follow_days", "seed") if name in changes}
    return build_snapshots(store, rule(**changes), **further)


def inputs_of(store: EventStore, snapshots: Snapshots, **changes: Any) -> SequenceInputs:
    """Batches of orders, everything of sequence/order and vocabulary/default; `vocabulary` and `schema` of a run."""
    batches = {name: changes.pop(name, default) for name, default in BATCHES.items()}
    further = {name: changes.pop(name, None) for name in ("schema", "calendar", "targets", "history")}
    vocabulary = changes.pop("vocabulary", None)
    words = {name: changes.pop(f"vocabulary_{name}") for name in VOCABULARY if f"vocabulary_{name}" in changes}
    if vocabulary is None:
        vocabulary = options(VocabularyOptions, "vocabulary/default", **({"min_count": 1} | words))
    sequence = options(SequenceOptions, "sequence/order", **({"features": False, "exclude": []} | changes))
    chosen = {"sequence": sequence, "batches": BatchOptions(**batches), "vocabulary": vocabulary}
    return SequenceInputs(store, snapshots, **chosen, **further)


@cache
def _config(overrides: tuple[str, ...]) -> Any:
    return plain(compose("train", ["experiment=churn_events", "baselines=none", *overrides]))


def config_of(*overrides: str) -> dict[str, Any]:
    """The resolved configuration of a run on a log, without baselines."""
    return deepcopy(_config(overrides))


def task_of(*overrides: str) -> Any:
    """The task of `config_of`."""
    return read_task(config_of(*overrides))


def shipped(question: str, *overrides: str) -> dict[str, Spec]:
    """Every baseline of configs/ that answers a question, those that see a pretrained network's vectors among them."""
    own = ["sequence=line"] if question == "next_item" else []
    task = task_of(f"task={question}", "baselines=all", "init=RUN", *own, *overrides)
    return {spec.name: spec for spec in task.settings.specs}


def changed(spec: Spec, **options: Any) -> Spec:
    """The same baseline with other arguments of its estimator."""
    return replace(spec, make=lambda: spec.make().set_params(**options))


def asked_of(question: str, *specs: Spec, overrides: Sequence[str] = (), **settings: Any) -> Any:
    """The task of a question that is asked of these baselines alone."""
    task = task_of(f"task={question}", "encoder=none", *overrides)
    return type(task)(replace(task.settings, specs=specs, **settings))


def baseline_rows(task: Any, cases: Cases, log: Callable[[str], None] = lambda line: None) -> pd.DataFrame:
    """Rows of the Scores table of every chosen baseline, fitted on the training cases."""
    fitted = fit_baselines(task, cases, {}, log)
    rows = [task.write(cases, cases.held_out, said, one.calibration, model=one.spec.name) for one, said in fitted]
    return pd.concat(rows, ignore_index=True)


def metrics_of(
    task: Any,
    scores: pd.DataFrame,
    *,
    cases: Sequence[Any] = (),
    counts: Mapping[str, Any] | None = None,
    fingerprint: str = "abc",
    resamples: int = 40,
) -> dict[str, Any]:
    """metrics.json of a Scores table; `cases` where the task says something of them."""
    tables, known = {split: task.read(scores, split) for split in ("test", "val")}, {"counts": counts or {}, "seed": 0}
    extras = task.extras(tables, cases)
    metrics = summarise(task, tables, fingerprint=fingerprint, extras=extras, resamples=resamples, **known)
    json.dumps(metrics, allow_nan=False)
    return metrics
