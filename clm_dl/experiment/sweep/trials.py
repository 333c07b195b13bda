"""The trials of a sweep, read from their folders and ranked by the validation objective."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.errors import MissingFile, UserError
from clm_dl.evaluation.bootstrap import Bootstrap, interval
from clm_dl.evaluation.comparison import bootstrap_of, differing_settings
from clm_dl.evaluation.metric import NETWORK, Figure, Metric
from clm_dl.experiment.identity import Settings, saved_settings
from clm_dl.experiment.run_files import read_config, read_results, read_status
from clm_dl.experiment.run_home import LOCK
from clm_dl.experiment.shared import SHARED
from clm_dl.experiment.sweep.objective import Judged, judged
from clm_dl.locks import claim
from clm_dl.visual.results import Results

RESAMPLES = 400  # of a difference to the best trial
SEED = "seed"
OF_DATA = ("data.", "labels.", "policy.", "protocol.", "sequence.", "snapshots.", "task.", "vocabulary.")


@dataclass(frozen=True, eq=False)
class Trial:
    """One folder of a sweep.

    Attributes:
        name: the path of the folder in that of the sweep.
        settings: what it was run with, see `settings_of`. results: of its first question, of a finished one.
        judged: its objective on validation. resumed: `seconds` count from where it went on.
        seconds: of all stages, but that of the baselines where the network is judged.
    """

    folder: Path
    name: str
    state: str
    reason: str
    settings: Settings
    results: Results | None = None
    judged: Judged | None = None
    seconds: float = float("nan")
    resumed: bool = False

    @property
    def metric(self) -> Metric | None:
        return self.results.known[self.results.config["objective"]] if self.results else None


def find_runs(path: Path) -> list[Path]:
    """`path` itself if it is a run directory, else every run directory below it."""
    files = [file for name in ("status.json", "manifest.json") for file in path.glob(f"**/{name}")]
    found = sorted({file.parent for file in files if SHARED not in file.relative_to(path).parts})
    folders = [folder for folder in found if not any(parent in found for parent in folder.parents)]
    if not folders:
        raise MissingFile(f"no run directory in {path}: give the folder that clm-train printed, or one above it")
    return folders


def read_trials(sweep: Path, trusted: Sequence[str] = ()) -> list[Trial]:
    """Every trial in the folder of a sweep, in the order of their numbers."""

    def number(folder: Path) -> tuple[int, str]:
        head = folder.name.partition("_")[0]
        return (int(head) if head.isdecimal() else 0, folder.name)

    return [_read(folder, str(folder.relative_to(sweep)), trusted) for folder in sorted(find_runs(sweep), key=number)]


def _read(folder: Path, name: str, trusted: Sequence[str]) -> Trial:
    settings = saved_settings(folder) or {}
    try:
        status = read_status(folder)
        if status["state"] == "finished":
            return _finished(folder, name, settings, trusted)
    except (UserError, OSError) as error:
        return Trial(folder, name, "damaged", str(error), settings)
    state, reason = status["state"], status["reason"] or ""
    if state == "running":
        with claim(folder / LOCK) as is_free:
            if is_free or not (folder / LOCK).exists():
                state, reason = "cut off", "its process was killed"
    return Trial(folder, name, state, reason, settings)


def _finished(folder: Path, name: str, settings: Settings, trusted: Sequence[str]) -> Trial:
    first = read_results(folder, trusted)[0]
    found = judged(first.metrics, first.known, first.config["objective"])
    shared = {"baselines"} if found and found.model == NETWORK else set()  # whoever came first has fitted them for all
    known = {stage: value for stage, value in first.timing.items() if isinstance(value, (int, float))}
    timing = {stage: value for stage, value in known.items() if stage not in shared}
    checkpoint = read_config(folder)["ckpt"]
    return Trial(
        folder,
        name,
        "finished",
        "",
        settings,
        results=first,
        judged=found,
        seconds=round(sum(timing.values()), 3) if timing else float("nan"),
        resumed=bool(checkpoint) and folder.resolve() in Path(checkpoint).resolve().parents,
    )


def rank(trials: Sequence[Trial]) -> pd.DataFrame:
    """One row a trial, the best first, those that did not finish last.

    Columns: rank (1 is the best; trials with another objective are ranked for themselves), trial (its folder's name),
    the settings that differ, state, model and split (whose figure it is), snapshots (the start of the fingerprint of
    those it was scored on), objective, value, low, high, difference,
    difference_low, difference_high (to the best, paired over customers; only where both scored the same snapshots),
    verdict (best, tie, behind), cheapest (of those that tie), seconds, resumed, reason.
    """
    # one whose settings were found to be wrong was not filled in with what follows from them
    differing = differing_settings(
        [trial.settings for trial in trials if trial.settings.get("objective", "None") != "None"]
    )
    differing = [name for name in differing if name != "objective"]  # a column of its own
    rows, order = [], list(dict.fromkeys(trial.metric.name for trial in trials if trial.metric))
    for name in order:
        alike = [trial for trial in trials if trial.metric and trial.metric.name == name]
        rows += _ranked(sorted(alike, key=_badness), differing)
    rows += [_row(trial, differing) for trial in trials if trial.metric is None]
    figures = ["objective", "value", "low", "high", "difference", "difference_low", "difference_high"]
    columns = ["rank", "trial", *differing, "state", "model", "split", "snapshots", *figures]
    table = pd.DataFrame(rows, columns=[*columns, "verdict", "cheapest", "seconds", "resumed", "reason"])
    for name in differing:
        with suppress(ValueError, TypeError):
            table[name] = pd.to_numeric(table[name])
    return table.astype({"rank": "Int64", "cheapest": bool, "resumed": bool})


def seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Trials that differ by their seed alone and scored the same snapshots, together: the settings that differ,
    objective, trials, mean, sd.

    The best mean first. Empty where no two trials differ by their seed alone.
    """
    start, end = table.columns.get_loc("trial"), table.columns.get_loc("state")
    others = [name for name in table.columns[start + 1 : end] if name != SEED]
    finished = table[table["value"].notna()]
    alike = [*others, "snapshots", "objective"]
    if SEED not in table or not finished.duplicated(alike).any():
        return pd.DataFrame(columns=[*others, "objective", "trials", "mean", "sd"])
    grouped = finished.groupby(alike, dropna=False, sort=False)  # sorted by rank, so the best leads
    found: pd.DataFrame = grouped.agg(
        trials=("value", "size"), mean=("value", "mean"), sd=("value", "std"), rank=("rank", "mean")
    ).reset_index()
    return found.sort_values("rank", kind="stable").drop(columns=["rank", "snapshots"]).reset_index(drop=True)


def of_other_data(trials: Sequence[Trial]) -> list[str]:
    """Names of finished trials whose settings of data and task another one has, too, that scored other snapshots: their
    log changed between two starts of the sweep. Those of the snapshots that most have are left out.
    """
    states: dict[tuple[tuple[str, str], ...], dict[str, list[str]]] = {}
    for trial in trials:
        if trial.results:
            asked = tuple((key, value) for key, value in sorted(trial.settings.items()) if key.startswith(OF_DATA))
            states.setdefault(asked, {}).setdefault(trial.results.metrics["fingerprint"], []).append(trial.name)
    found = []
    for by_state in states.values():
        *fewer, _ = sorted(by_state.values(), key=len)
        found += [name for names in fewer for name in names]
    return found


def _badness(trial: Trial) -> float:
    assert trial.metric is not None
    return trial.metric.badness(trial.judged.figure["value"] if trial.judged else None)


def _ranked(alike: Sequence[Trial], differing: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of finished trials with one objective, the best first."""
    best, rows = alike[0], []
    own: dict[str, Bootstrap] = {}
    for place, trial in enumerate(alike, start=1):
        row = _row(trial, differing)
        if trial.judged and best.judged:
            row |= {"rank": place, **_against(trial, best, own)}
        rows.append(row)
    tied = [row for row in rows if row["verdict"] in ("best", "tie") and row["seconds"] == row["seconds"]]
    whole = [row for row in tied if not row["resumed"]] or tied
    if whole:
        min(whole, key=lambda row: row["seconds"])["cheapest"] = True
    return rows


def _against(trial: Trial, best: Trial, own: dict[str, Bootstrap]) -> dict[str, Any]:
    """The verdict on a trial, and its paired difference to the best where there is one."""
    if trial is best:
        return {"verdict": "best"}
    if not (trial.results and trial.judged and best.results and best.judged and trial.metric):
        raise AssertionError("ranked without a figure")
    same = trial.results.metrics["fingerprint"] == best.results.metrics["fingerprint"]
    if not same or trial.judged.split != best.judged.split:
        return {"verdict": "tie" if _overlap(trial.judged.figure, best.judged.figure) else "behind"}
    if "best" not in own:
        own["best"] = _drawn(best)
    difference = _difference(_drawn(trial), own["best"], trial.metric)
    names = ("difference", "difference_low", "difference_high")
    found = dict(zip(names, difference.values(), strict=True))
    return {"verdict": "behind" if trial.metric.verdict(difference) == "worse" else "tie", **found}


def _drawn(trial: Trial) -> Bootstrap:
    assert trial.results is not None
    assert trial.judged is not None
    return bootstrap_of(trial.results, trial.judged.model, resamples=RESAMPLES, split=trial.judged.split)


def _difference(one: Bootstrap, best: Bootstrap, metric: Metric) -> dict[str, float]:
    k, draws_RK = one.metrics.index(metric.name), one.draws[:, 0] - best.draws[:, 0]
    value = float(one.value[0, k] - best.value[0, k])
    return interval(value, draws_RK[:, k], corrected=metric.name in one.distances)


def _overlap(one: Figure, other: Figure) -> bool:
    ends = [part[end] for part in (one, other) for end in ("low", "high")]
    if any(end is None or np.isnan(end) for end in ends):
        return False
    return bool(ends[0] <= ends[3] and ends[2] <= ends[1])  # type: ignore[operator]


def _row(trial: Trial, differing: Sequence[str]) -> dict[str, Any]:
    figure: Figure = trial.judged.figure if trial.judged else {}
    return {
        "trial": trial.name,
        **{name: trial.settings.get(name) for name in differing},
        "state": trial.state,
        "model": trial.judged.model if trial.judged else None,
        "split": trial.judged.split if trial.judged else None,
        "snapshots": trial.results.metrics["fingerprint"][:8] if trial.results else None,
        "objective": trial.metric.name if trial.metric else None,
        **{name: figure.get(name) for name in ("value", "low", "high")},
        "verdict": "",
        "cheapest": False,
        "seconds": trial.seconds,
        "resumed": trial.resumed,
        "reason": trial.reason,
    }
