"""What a sweep has found: on the terminal, and trials.csv and report.html in its folder."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from clm_dl.errors import UserError
from clm_dl.experiment.history import epoch_means, read_history
from clm_dl.experiment.sweep.importance import importance
from clm_dl.experiment.sweep.place import REPORT, TRIALS
from clm_dl.experiment.sweep.trials import Trial, of_other_data, rank, read_trials, seeds
from clm_dl.locks import exclusive
from clm_dl.visual.sweep import print_sweep, render_sweep
from clm_dl.writing import replacing


def sum_up(sweep: Path, trusted: Sequence[str] = (), *, page: Path | None = None) -> None:
    """Print the ranked trials, and write them to trials.csv and report.html (or `page`)."""
    trials = read_trials(sweep, trusted)
    table = rank(trials)
    together, metrics = seeds(table), {trial.metric.name: trial.metric for trial in trials if trial.metric}
    print_sweep(table, together, metrics)
    if others := of_other_data(trials):
        print(
            f"note: the log has changed since: {', '.join(others)} scored other snapshots than the rest, so their "
            "figures do not compare; delete their folders to run them again, or choose another sweep=NAME"
        )
    page, commands = page or sweep / REPORT, next_commands(sweep, table)
    with exclusive(sweep):  # another start of the sweep may end at the same time
        with replacing(sweep / TRIALS) as temporary:
            table.to_csv(temporary, index=False)
        known = {"title": f"Sweep {sweep.name}", "commands": commands, "importance": importance(table)}
        html = render_sweep(table, together, curves(trials), metrics, **known)
        with replacing(page) as temporary:
            temporary.write_text(html, encoding="utf-8")
    finished, pruned = (sum(trial.state == state for trial in trials) for state in ("finished", "pruned"))
    also = f", {pruned} pruned" if pruned else ""
    print(f"{finished} of {len(trials)} trials finished{also}: {sweep / TRIALS}, {page}\nnext:")
    print("\n".join(f"  {command}" for command in commands))


def curves(trials: Sequence[Trial]) -> pd.DataFrame:
    """Columns trial, epoch, name, value: what was watched in training, of every trial with a readable record."""
    found = [pd.DataFrame(columns=["trial", "epoch", "name", "value"])]
    for trial in trials:
        try:
            means = epoch_means(read_history(trial.folder))
        except (UserError, OSError):
            continue
        found.append(means.assign(trial=trial.name)[found[0].columns.tolist()])
    known = [table for table in found if len(table)]
    return pd.concat(known, ignore_index=True) if known else found[0]


def next_commands(sweep: Path, table: pd.DataFrame) -> list[str]:
    """The report again, curves beside each other, and the best trial applied."""
    commands = [f"clm-report {shlex.quote(f'sweep={sweep}')}", f"tensorboard --logdir {shlex.quote(str(sweep))}"]
    best = table.loc[(table["verdict"] == "best") & (table["model"] == "network"), "trial"]
    if len(best):
        run = shlex.quote(f"run={sweep / best.iloc[0]}")
        commands.append(f"clm-predict {run} input=new.parquet output=scores.parquet")
    return commands
