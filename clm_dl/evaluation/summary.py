"""From the Scores table to metrics.json: every model on the same snapshots, with intervals and paired differences.

metrics.json (values are {"value", "low", "high"}; null where undefined, and the bounds of what has no interval):
    format, task, fingerprint, resamples, seed, and what the task adds (see `Judged.extras`)
    split.{test,val}.{overall and the other parts}.<model>.<metric>
    split.{test,val}.per_cutoff.<date>.<model>.<metric>
    split.{test,val}.raw.<model>.<metric>                 before calibration, {"value"} only
    reference.{test,val}                                  counts, and what a constant answer reaches
    difference.{test,test_<part>}."<model> - <other>"     of the leading models, each against all others
    best_baseline {"name", "chosen_on"}, data
    smallest_detectable_difference                        of the main metric, where the task asks for it
    tasks.<question>                                      of a run with several questions: each one's own metrics.json
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clm_dl.data.zone import UTC, Zone
from clm_dl.evaluation.bootstrap import Bootstrap, Floats, Measure, bootstrap
from clm_dl.evaluation.metric import NETWORK, Metrics

FORMAT = 1
POWER = 2.8  # 1.96 + 0.84 standard errors: seen in 80 % of repetitions at the 5 % level
Bools = NDArray[np.bool_]
Drawn = dict[str, dict[str, Floats]]  # part of a split -> model -> its figures on all resamples [R, K]


class Table(Protocol):
    """One split of the Scores table, N snapshots whose labels are known, every model on the same ones."""

    @property
    def cutoff(self) -> pd.DatetimeIndex: ...

    def __len__(self) -> int: ...

    def select(self, rows_N: Bools) -> Any: ...


class Judged(Protocol):
    """What the figures of a run need to know of its task."""

    name: ClassVar[str]
    calibrated: ClassVar[bool]  # whether answers are calibrated, so that there are figures of before
    detectable: ClassVar[bool]  # whether the smallest detectable difference is worked out
    chosen_on: ClassVar[tuple[str, ...]]  # splits that may choose the best baseline, the first that has figures
    leads_with_best: ClassVar[bool]  # whether the best model is named and compared beside the network

    @property
    def best_by(self) -> tuple[str, ...]: ...

    def metrics(self, summary: Mapping[str, Any] | None = None) -> Metrics: ...

    def read(self, scores: pd.DataFrame, split: str, *, models: Sequence[str] | None = None) -> Any: ...

    def parts(self, table: Any) -> dict[str, Any]: ...

    def by_cutoff(self, table: Any) -> dict[str, Any]: ...

    def measure(self, table: Any, *, raw: bool = False) -> Measure: ...

    def reference(self, table: Any) -> dict[str, Any]: ...

    def baselines(self, models: Sequence[str]) -> list[str]: ...


def summarise(
    task: Judged,
    tables: Mapping[str, Table],
    *,
    fingerprint: str,
    counts: Mapping[str, Any],
    extras: Mapping[str, Any],
    resamples: int,
    seed: int,
    drawn: Drawn | None = None,
) -> dict[str, Any]:
    """metrics.json of one question, JSON-able, in the shape above; `tables`: "test" and "val", see `Judged.read`.

    `drawn`: what is known of some models' resamples, to which those of all are added; see `Measure.each`.
    """
    drawn = {} if drawn is None else drawn

    def resampled(rows: Table, part: str) -> Bootstrap:
        measure = task.measure(rows)
        boot = bootstrap(measure, resamples=resamples, seed=seed, known=drawn.get(part))
        places = {name: measure.models.index(name) for name in measure.each}
        drawn[part] = {name: boot.resampled[:, place, : len(measure.metrics)] for name, place in places.items()}
        return boot

    splits: dict[str, Any] = {}
    boots: dict[str, dict[str, Bootstrap]] = {}
    for split, table in tables.items():
        boots[split] = {
            part: resampled(rows, f"{split} {part}")
            if len(rows) or part == "overall"
            else Bootstrap((), (), np.empty((0, 0)), np.empty((0, 0, 0)))
            for part, rows in task.parts(table).items()
        }
        splits[split] = {part: boot.intervals() for part, boot in boots[split].items()}
        splits[split]["per_cutoff"] = {
            date: (
                boots[split]["overall"] if len(rows) == len(table) else resampled(rows, f"{split} {date}")
            ).intervals()
            for date, rows in task.by_cutoff(table).items()
        }
        if task.calibrated:
            splits[split]["raw"] = bootstrap(task.measure(table, raw=True), resamples=0).values()
    metrics = {
        "format": FORMAT,
        "task": task.name,
        "fingerprint": fingerprint,
        "resamples": resamples,
        "seed": seed,
        "split": splits,
        "reference": {split: task.reference(table) for split, table in tables.items()},
        "data": {"snapshots": {split: len(table) for split, table in tables.items()}, **counts},
        **extras,
    }
    models = list(splits["test"]["overall"])
    metrics["best_baseline"] = best_model(task, metrics, task.baselines(models))
    leaders = [NETWORK] if NETWORK in models else []
    if task.leads_with_best:
        metrics["best_model"] = best_model(task, metrics, models)
        leaders += [metrics["best_model"]["name"]] if metrics["best_model"]["name"] not in (NETWORK, None) else []
    metrics["difference"] = {
        "test" if part == "overall" else f"test_{part}": boot.differences(*leaders)
        for part, boot in boots["test"].items()
        if leaders and boot.models
    }
    if task.detectable:
        metrics["smallest_detectable_difference"] = _smallest(task, boots["test"]["overall"], leaders, metrics)
    return to_json(metrics)


def best_model(task: Judged, metrics: Mapping[str, Any], names: Sequence[str]) -> dict[str, str | None]:
    """{"name", "chosen_on"}: the best of `names` on validation by `task.best_by`, ties by the next metric and by name.

    Where validation has no figures (no such split, one class) the test split decides if it may, which flatters.
    """
    known = task.metrics(metrics)
    for split in task.chosen_on:
        overall = metrics["split"][split]["overall"]
        found = {name: overall[name] for name in names if name in overall}
        places = {
            name: tuple(known[metric].badness(values[metric]["value"]) for metric in task.best_by)
            for name, values in found.items()
        }
        places = {name: place for name, place in places.items() if place[0] < math.inf}
        if places:
            return {"name": min(places, key=lambda name: (places[name], name)), "chosen_on": split}
    return {"name": None, "chosen_on": None}


def dates_of(table: Table, zone: Zone = UTC) -> dict[str, Any]:
    """Cutoff as text, see `Zone.iso` -> its rows; rows without a time (of a table of customers) are in none."""
    known = table.cutoff.unique().dropna().sort_values()
    names = [zone.iso(time) for time in known.as_unit("us").asi8]
    return {name: table.select(np.asarray(table.cutoff == date)) for name, date in zip(names, known, strict=True)}


def to_json(value: Any) -> Any:
    """Plain Python numbers, text keys, and None for NaN and infinities."""
    if isinstance(value, Mapping):
        return {str(key): to_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(part) for part in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def _smallest(task: Judged, boot: Bootstrap, leaders: Sequence[str], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """2.8 standard errors of the paired difference in the main metric of a leading model and the best baseline."""
    best, main = metrics["best_baseline"]["name"], task.metrics(metrics).main.name
    others = [name for name in (*leaders, *boot.models) if name != best]
    if best not in boot.models or not others:
        return {main: None, "between": None}
    return {main: POWER * boot.difference_error(others[0], best, main), "between": f"{others[0]} - {best}"}
