"""Many runs side by side: seeds of a configuration averaged, differences paired where snapshots are the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from clm_dl.evaluation.bootstrap import Bootstrap, bootstrap, interval
from clm_dl.evaluation.metric import NETWORK
from clm_dl.evaluation.summary import Judged

IGNORED = ("seed", "paths", "hydra", "logger", "callbacks", "study")  # settings that make no other experiment


class Scored(Protocol):
    """One question of a finished run."""

    @property
    def path(self) -> Path: ...

    @property
    def task(self) -> Judged: ...

    @property
    def config(self) -> Mapping[str, Any]: ...

    @property
    def metrics(self) -> Mapping[str, Any]: ...

    @property
    def scores(self) -> pd.DataFrame: ...


@dataclass(frozen=True)
class Group:
    """Runs that differ by their seed alone. `name` lists the settings that set the group apart from the others."""

    name: str
    runs: tuple[Scored, ...]
    model: str  # the network, or without one the best baseline

    @property
    def fingerprint(self) -> str:
        return str(self.runs[0].metrics["fingerprint"])

    def mean(self, metric: str) -> tuple[float, float]:
        """Mean and standard deviation over seeds of the test metric; NaN deviation for a single seed."""
        values = [
            run.metrics["split"]["test"]["overall"].get(self.model, {}).get(metric, {}).get("value")
            for run in self.runs
        ]
        known = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        return float(known.mean()), float(known.std(ddof=1)) if len(known) > 1 else float("nan")


def group_runs(runs: Sequence[Scored]) -> list[Group]:
    """Group runs that differ by their seed alone and scored the same snapshots, in the order given; a second run of one
    seed, which tells nothing of others, is of a group of its own.
    """
    found: dict[tuple[Any, ...], list[Scored]] = {}
    seeds: Counter[tuple[Any, ...]] = Counter()
    settings = [flat_settings({key: value for key, value in run.config.items() if key not in IGNORED}) for run in runs]
    for run, flat in zip(runs, settings, strict=True):
        settled = (run.metrics["fingerprint"], *sorted(flat.items()))
        one = (run.config.get("seed"), settled)
        found.setdefault((seeds[one], settled), []).append(run)
        seeds[one] += 1
    differing = differing_settings(settings)
    groups = []
    for members in found.values():
        flat = settings[runs.index(members[0])]
        name = ", ".join(f"{part}={flat[part]}" for part in differing if part in flat)
        overall = members[0].metrics["split"]["test"]["overall"]
        model = NETWORK if NETWORK in overall else str(members[0].metrics["best_baseline"]["name"])
        groups.append(Group(name if len(name) < 120 else members[0].path.name, tuple(members), model))
    named = [group.name for group in groups]
    return [
        Group(
            group.name if named.count(group.name) == 1 and group.name else group.runs[0].path.name,
            group.runs,
            group.model,
        )
        for group in groups
    ]


def differing_settings(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys that tell configurations apart, without those that follow from the choice of their group."""
    names = {key for flat in settings for key in flat}
    differing = sorted(name for name in names if len({flat.get(name) for flat in settings}) > 1)
    return [name for name in differing if not _follows(name, differing, settings)]


def paired_difference(
    group: Group, other: Group | None, *, other_model: str | None = None, part: str = "overall", resamples: int = 1000
) -> dict[str, dict[str, float]] | None:
    """`group` minus `other` for every test metric: {"value", "low", "high"}, resampled over customers and over seeds.

    Seeds are averaged metric by metric, never score by score. `other_model` names another model of `other`'s runs;
    without `other` the figures of `group` itself are given. `part` is one of metrics.json, of ranked runs: overall,
    repeats, new, cold_items, few_events. None where the two did not score the same snapshots, or the part has no
    target: then nothing paired can be said.
    """
    known = [one.runs[0].metrics["split"]["test"][part] for one in (group, other) if one]
    if not all(known) or (other is not None and group.fingerprint != other.fingerprint):
        return None
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(group.runs), size=(resamples, len(group.runs)))
    boot, value_K, draws_RK = _over_seeds(group.runs, group.model, drawn, part)
    other_K, other_RK = np.zeros_like(value_K), np.zeros_like(draws_RK)
    if other is not None:
        pairs = len(group.runs) == len(other.runs)  # the same draw of seeds on both sides
        drawn_other = drawn if pairs else rng.integers(len(other.runs), size=(resamples, len(other.runs)))
        _, other_K, other_RK = _over_seeds(other.runs, other_model or other.model, drawn_other, part)
    found = {}
    for k, metric in enumerate(boot.metrics):
        corrected = metric in boot.distances
        difference = interval(float(value_K[k] - other_K[k]), (draws_RK - other_RK)[:, k], corrected=corrected)
        if not np.isnan(difference["low"]):
            found[metric] = difference
    return found


def _over_seeds(
    runs: Sequence[Scored], model: str, drawn_RS: np.ndarray, part: str
) -> tuple[Bootstrap, np.ndarray, np.ndarray]:
    """One seed's bootstrap, every metric's mean over seeds [K], and that of each draw of customers and seeds [R, K]."""
    boots = [bootstrap_of(run, model, resamples=len(drawn_RS), part=part) for run in runs]
    draws_SRK = np.stack([boot.draws[:, 0] for boot in boots])
    rows = np.arange(len(drawn_RS))[:, None]
    return (boots[0], np.mean([boot.value[0] for boot in boots], axis=0), draws_SRK[drawn_RS, rows].mean(axis=1))


def bootstrap_of(run: Scored, model: str, *, resamples: int, split: str = "test", part: str = "overall") -> Bootstrap:
    """The model's metrics on the same draws of customers for every run of one fingerprint."""
    table = run.task.read(run.scores, split, models=[model])
    return bootstrap(run.task.measure(run.task.parts(table)[part]), resamples=resamples)


def _follows(name: str, differing: Sequence[str], settings: Sequence[Mapping[str, str]]) -> bool:
    """Whether `name` (encoder.layer_norm) is known once its group's choice (encoder.name) is, in all of `settings`."""
    choice = f"{name.partition('.')[0]}.name"
    if name == choice or choice not in differing:
        return False
    found = {(flat.get(choice), flat.get(name)) for flat in settings}
    return len(found) == len({flat.get(choice) for flat in settings})


def flat_settings(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Every key of a configuration, dotted, with its value as text."""
    flat: dict[str, str] = {}
    for key, part in value.items():
        flat |= flat_settings(part, f"{prefix}{key}.") if isinstance(part, Mapping) else {f"{prefix}{key}": str(part)}
    return flat
